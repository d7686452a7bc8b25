"""Muon against torch.optim.Muon (one matrix at a time) and against the definition."""

import copy
from dataclasses import replace

import pytest
import torch

from minir1.config import ModelConfig
from minir1.fast.device import Device, HalfLearner, make_learner
from minir1.model import Transformer
from minir1.variants.muon import Muon, orthogonalise

TINY = ModelConfig(
    vocab_size=64, width=32, layers=2, heads=2, kv_rank=16, nope_width=8, value_width=16,
    dense_width=48, expert_width=24,
)
CPU = Device("cpu", "CPU", torch.float32, "plain")


def gradients_for(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator)


def test_singular_values_end_near_one_and_directions_stay():
    x = torch.randn(5, 24, 40, generator=torch.Generator().manual_seed(0))
    for matrix in (x, x.mT):
        y = orthogonalise(matrix).float()
        assert y.shape == matrix.shape
        values = torch.linalg.svdvals(y)
        assert values.min() > 0.6 and values.max() < 1.3
        u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
        middle = u.mT @ y @ vh.mT  # diagonal if the directions are the matrix's own
        off = middle - torch.diag_embed(torch.diagonal(middle, dim1=-2, dim2=-1))
        assert off.abs().max() < 0.05


def test_zero_gradient_moves_nothing():
    assert orthogonalise(torch.zeros(1, 4, 6)).abs().max() == 0


def matrices_of(x):
    """An expert layer's stack of matrices, or a matrix alone."""
    return x if x.ndim == 3 else x[None]


def test_same_as_the_library_matrix_by_matrix():
    torch.manual_seed(0)
    model = Transformer(TINY)
    muon = Muon(model, 0.1)
    marked = [p for group in muon.param_groups if group["orthogonal"] for p in group["params"]]
    twins = {p: [torch.nn.Parameter(m.clone()) for m in matrices_of(p.detach())] for p in marked}
    flat = [m for matrices in twins.values() for m in matrices]
    how = {"weight_decay": 0.1, "momentum": 0.95, "adjust_lr_fn": "match_rms_adamw"}
    library = torch.optim.Muon(flat, lr=0.01, **how)
    for group in muon.param_groups:
        group["lr"] = 0.01
    for step in range(3):
        gradients_for(model, step)
        for p, matrices in twins.items():
            for m, grad in zip(matrices, matrices_of(p.grad)):
                m.grad = grad.clone()
        muon.step()
        library.step()
    for p, matrices in twins.items():  # bfloat16 products, in another order
        assert torch.allclose(p, torch.stack(matrices).view_as(p), atol=2e-3), p.shape


def test_every_parameter_is_in_one_group_and_the_right_one():
    model = Transformer(replace(TINY, mtp=True))
    muon = Muon(model, 0.1)
    grouped = [p for group in muon.param_groups for p in group["params"]]
    assert len(grouped) == len(set(grouped)) == len(list(model.parameters()))
    names = {p: name for name, p in model.named_parameters()}
    for group in muon.param_groups:
        for p in group["params"]:
            name = names[p]
            plain = p.ndim < 2 or name.startswith(("embed", "head")) or name.endswith("router")
            assert group["orthogonal"] is not plain, name
            assert (group["weight_decay"] == 0) == (p.ndim < 2)


def test_others_take_adamws_step():
    torch.manual_seed(1)
    one, two = Transformer(TINY), Transformer(TINY)
    two.load_state_dict(one.state_dict())
    a, b = make_learner(one, 0.1, 1.0, CPU, "muon"), make_learner(two, 0.1, 1.0, CPU)
    for step in range(3):
        for model, learner in ((one, a), (two, b)):
            gradients_for(model, step)
            learner.step(0.01)
    assert torch.equal(one.embed.weight, two.embed.weight)
    assert torch.equal(one.norm.weight, two.norm.weight)
    outs = [model.blocks[0].attention.out.weight for model in (one, two)]
    assert not torch.equal(*outs)


def test_weight_decay_shrinks_every_matrix_by_the_same_factor_and_no_vector():
    """With gradients of zero nothing else moves: 1 - 0.5 * 0.1 a step."""
    torch.manual_seed(5)
    model = Transformer(TINY)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    learner = make_learner(model, 0.1, 1.0, CPU, "muon")
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    learner.step(0.5)
    for name, p in model.named_parameters():
        expected = before[name] * (0.95 if p.ndim > 1 else 1.0)
        torch.testing.assert_close(p.detach(), expected, rtol=1e-5, atol=1e-7, msg=name)


def test_state_survives_saving():
    torch.manual_seed(2)
    one, two = Transformer(TINY), Transformer(TINY)
    a, b = make_learner(one, 0.1, 1.0, CPU, "muon"), make_learner(two, 0.1, 1.0, CPU, "muon")
    gradients_for(one, 0)
    a.step(0.01)
    two.load_state_dict(one.state_dict())
    b.restore(copy.deepcopy(a.state()))
    for model, learner in ((one, a), (two, b)):
        gradients_for(model, 1)
        learner.step(0.01)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters()))


def test_an_overflow_in_float16_changes_nothing():
    """The scaler must skip the whole step, Muon's groups too."""
    torch.manual_seed(3)
    model = Transformer(TINY)
    learner = make_learner(model, 0.1, 1.0, Device("cpu", "CPU", torch.float16, "plain"), "muon")
    assert isinstance(learner, HalfLearner) and isinstance(learner.optimizer, Muon)
    before = [p.clone() for p in model.parameters()]
    learner.backward(model(torch.ones(1, 4, dtype=torch.long)).sum() * float("inf"))
    learner.step(0.01)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_both_learn(optimizer):
    torch.manual_seed(4)
    model = Transformer(TINY)
    learner = make_learner(model, 0.0, 1.0, CPU, optimizer)
    ids = torch.randint(64, (4, 17), generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(40):
        logits = model(ids[:, :-1]).flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten())
        learner.backward(loss)
        learner.step(0.01)
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
