"""The cross-entropy loop: the loss by hand, what the Learner does to which weights, and that a
resumed run is the same run."""

import io
import math
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from minir1.config import ModelConfig, PretrainConfig
from minir1.fast.device import Device, make_learner
from minir1.fast.graphs import Replayed
from minir1.model import Transformer, balance_loss, expert_load, move_router_bias
from minir1.supervised import Learner, Step, cosine, language_loss, train_supervised

torch.set_num_threads(1)

V = 24
TINY = ModelConfig(
    vocab_size=V, width=16, layers=3, heads=2, kv_rank=8, nope_width=4, rope_width=4, value_width=4,
    dense_width=24, experts=4, top_k=2, expert_width=8, positions=64, init_std=0.2,
)
DENSE = replace(TINY, experts=0)


def tiny(config: ModelConfig = TINY, seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(config)


def random_ids(seed: int = 0, B: int = 3, T: int = 9) -> torch.Tensor:
    return torch.randint(0, V, (B, T), generator=torch.Generator().manual_seed(seed))


def minus_log_softmax(logits: list[float], target: int) -> float:
    return math.log(sum(math.exp(z) for z in logits)) - logits[target]


def by_loop(model, ids: torch.Tensor, mask=None) -> float:
    """Mean over predicted tokens of -log p(next), each from a forward pass of its own prefix."""
    terms = []
    for b in range(len(ids)):
        for t in range(ids.shape[1] - 1):
            if mask is None or mask[b, t]:
                terms.append(
                    minus_log_softmax(
                        model(ids[b : b + 1, : t + 1])[0, -1].tolist(), int(ids[b, t + 1])
                    )
                )
    return sum(terms) / len(terms)


# ---------------------------------------------------------------- the loss


def test_language_loss_is_the_mean_cross_entropy_of_the_next_token():
    model, ids = tiny(DENSE), random_ids()
    loss, cross_entropy, load = language_loss(model, ids, None, PretrainConfig())
    assert loss.item() == pytest.approx(by_loop(model, ids), rel=1e-5)
    assert cross_entropy.item() == loss.item() and not cross_entropy.requires_grad and load is None


def test_the_mask_marks_the_tokens_to_be_predicted():
    model, ids = tiny(DENSE), random_ids()
    mask = torch.rand(3, 8, generator=torch.Generator().manual_seed(1)) < 0.4
    seen = []

    def watch(module, inputs, logits):
        logits.retain_grad()
        seen.append(logits)

    model.head.register_forward_hook(watch)
    loss, cross_entropy, _ = language_loss(model, ids, mask, PretrainConfig())
    loss.backward()
    assert torch.equal(seen[0].grad.abs().sum(-1) > 0, mask)  # nothing else is trained
    assert cross_entropy.item() == pytest.approx(by_loop(model, ids, mask), rel=1e-5)
    everything, _, _ = language_loss(model, ids, torch.ones_like(mask), PretrainConfig())
    assert everything.item() == pytest.approx(by_loop(model, ids), rel=1e-5)


def test_tokens_that_are_not_to_be_predicted_and_come_last_do_not_matter():
    model, ids = tiny(DENSE), random_ids()
    mask = torch.arange(8).expand(3, 8) < 5
    other = ids.clone()
    other[:, 6:] = (other[:, 6:] + 1) % V
    assert (
        language_loss(model, ids, mask, PretrainConfig())[0]
        == language_loss(model, other, mask, PretrainConfig())[0]
    )
    other[:, 5] = (other[:, 5] + 1) % V  # the last one that is predicted
    assert (
        language_loss(model, ids, mask, PretrainConfig())[0]
        != language_loss(model, other, mask, PretrainConfig())[0]
    )


def test_experts_add_the_balance_loss_and_report_their_load():
    model, ids = tiny(), random_ids()
    loss, cross_entropy, load = language_loss(model, ids, None, PretrainConfig(balance_loss=0.5))
    _, routing = model.trunk(ids[:, :-1])
    extra = 0.0  # V3 Eq. 17-20, in loops: per layer and row, sum over experts of f_i P_i
    for r in routing:
        for b in range(3):
            for e in range(4):
                f = 4 / (2 * 8) * sum(e in chosen for chosen in r.expert_BTK[b].tolist())
                p = sum(s[e] / sum(s) for s in r.score_BTE[b].tolist()) / 8
                extra += f * p / 3
    assert loss.item() == pytest.approx(cross_entropy.item() + 0.5 * extra, rel=1e-5)
    assert cross_entropy.item() == pytest.approx(by_loop(model, ids), rel=1e-5)
    assert load.shape == (2, 4)  # two expert layers (the first is dense)
    for layer, r in zip(load, routing):
        assert torch.equal(layer, r.expert_BTK.flatten().bincount(minlength=4))
    torch.testing.assert_close(balance_loss(routing).item(), extra, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_mtp_adds_its_weighted_loss_of_the_token_after_the_next(masked):
    config = replace(DENSE, mtp=True)
    model, ids = tiny(config), random_ids()
    mask = torch.rand(3, 8, generator=torch.Generator().manual_seed(0)) < 0.5 if masked else None
    assert mask is None or mask[:, 0].any()  # marks that multi-token prediction leaves out
    plain, cross_entropy, _ = language_loss(model, ids, mask, PretrainConfig(mtp_weight=0.0))
    loss, same, _ = language_loss(model, ids, mask, PretrainConfig(mtp_weight=0.3))
    assert (
        plain.item() == pytest.approx(by_loop(model, ids, mask), rel=1e-5)
        and same == cross_entropy == plain.detach()
    )
    terms = []
    for b in range(3):
        for t in range(
            7
        ):  # position t has read ids up to t, gets token t + 1 beside it, predicts token t + 2
            if mask is None or mask[b, t + 1]:
                hidden, _ = model.trunk(ids[b : b + 1, : t + 1])
                logits = model.mtp_logits(hidden, ids[b : b + 1, 1 : t + 2])[0][0, -1]
                terms.append(minus_log_softmax(logits.tolist(), int(ids[b, t + 2])))
    assert loss.item() == pytest.approx(plain.item() + 0.3 * sum(terms) / len(terms), rel=1e-5)


def test_mtp_trains_its_own_block_and_the_trunk():
    model = tiny(replace(TINY, mtp=True))
    loss, _, load = language_loss(model, random_ids(), None, PretrainConfig())
    loss.backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0
        for n, p in model.named_parameters()
        if n.startswith("mtp")
    )
    assert load.shape == (3, 4)  # the extra block is balanced, too


# ---------------------------------------------------------------- the schedule


def test_cosine_by_hand():
    # 1,000 steps, 2% warm-up: 20 steps. Then from 1 to 0.1: half-way (step 510) 0.55, a quarter 0.1
    # + 0.45 (1 + cos 45 deg)
    rate = lambda step: cosine(step, 1000, 2.0, 0.1, 0.02)  # noqa: E731
    assert (
        rate(0) == pytest.approx(2 / 20)
        and rate(9) == pytest.approx(1.0)
        and rate(19) == rate(20) == pytest.approx(2.0)
    )
    assert rate(510) == pytest.approx(1.1)
    assert rate(265) == pytest.approx(2 * (0.1 + 0.45 * (1 + math.sqrt(0.5))))
    assert rate(1000) == pytest.approx(0.2) and rate(5000) == pytest.approx(0.2)
    falling = [rate(step) for step in range(20, 1000)]
    assert falling == sorted(falling, reverse=True)


def test_cosine_of_very_short_runs():
    assert cosine(0, 1, 1.0, 0.1, 0.02) == 1.0
    assert cosine(0, 3, 1.0, 0.1, 0.0) == 1.0
    assert all(0 < cosine(step, 2, 1.0, 0.1, 1.0) <= 1 for step in range(3))


# ---------------------------------------------------------------- the learner


def test_weight_decay_falls_on_matrices_only():
    """With gradients of zero AdamW moves nothing but by decay: matrices shrink by lr * decay,
    vectors stay."""
    model = tiny()
    learner = Learner(model, weight_decay=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    learner.step(0.5)
    kinds = {name: p.ndim > 1 for name, p in model.named_parameters()}
    assert not kinds["norm.weight"] and kinds["head.weight"] and len(set(kinds.values())) == 2
    for name, p in model.named_parameters():
        torch.testing.assert_close(
            p.detach(), before[name] * (0.95 if kinds[name] else 1.0), rtol=1e-6, atol=0
        )


def test_every_parameter_is_learned_exactly_once():
    model = tiny(replace(TINY, mtp=True))
    owned = [id(p) for group in Learner(model).optimizer.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(id(p) for p in model.parameters()) and len(set(owned)) == len(
        owned
    )


def test_a_step_of_adamw_by_hand():
    """First step: m / (1 - 0.9) = g, v / (1 - 0.95) = g squared, so each weight moves by lr against
    its gradient's sign."""
    model = tiny(DENSE)
    learner = Learner(model)
    before = [p.detach().clone() for p in learner.parameters]
    loss, *_ = language_loss(model, random_ids(), None, PretrainConfig())
    learner.backward(loss)
    signs = [p.grad.sign() * (p.grad.abs() > 1e-5) for p in learner.parameters]
    learner.step(1e-3)
    for p, old, sign in zip(learner.parameters, before, signs):
        sure = sign != 0
        torch.testing.assert_close(
            (p.detach() - old)[sure], -1e-3 * sign[sure], rtol=2e-2, atol=1e-6
        )
        assert p.grad is None
    assert learner.optimizer.param_groups[0]["betas"] == (0.9, 0.95)


@pytest.mark.parametrize("clip", [0.05, 1e6])
def test_the_gradient_is_clipped_and_its_norm_before_that_is_reported(clip):
    model = tiny(DENSE)
    learner = Learner(model, clip=clip)
    loss, *_ = language_loss(model, random_ids(), None, PretrainConfig())
    learner.backward(loss)
    gradients = [p.grad.clone() for p in learner.parameters]
    norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients))
    assert norm > 0.05 and learner.step(0.1).item() == pytest.approx(norm, rel=1e-5)
    for p, g in zip(
        learner.parameters, gradients
    ):  # Adam's first moment after one step is a tenth of what it was given
        expected = 0.1 * g * min(1.0, clip / norm)
        torch.testing.assert_close(
            learner.optimizer.state[p]["exp_avg"], expected, rtol=1e-4, atol=1e-9
        )


# ---------------------------------------------------------------- the router's bias


HALF = {
    name: Device("cpu", "CPU", getattr(torch, name), "plain") for name in ("float16", "bfloat16")
}


@pytest.mark.parametrize("name", HALF)
@pytest.mark.parametrize("clip", [1e9, 1e-3])
def test_half_precision_clips_and_steps_on_the_true_gradient(name, clip):
    """Float16's scaled gradients are scaled back before they are measured, clipped and used."""
    learners = []
    for make in (lambda m: Learner(m, 0.1, clip), lambda m: make_learner(m, 0.1, clip, HALF[name])):
        model = tiny(DENSE)
        learner = make(model)
        with torch.autocast("cpu", enabled=False):  # equal gradients: only their scale may differ
            learner.backward(language_loss(model, random_ids(), None, PretrainConfig())[0])
        learners.append((learner, learner.step(0.01)))
    (plain, norm), (half, half_norm) = learners
    torch.testing.assert_close(half_norm, norm, rtol=1e-5, atol=0)
    assert 0.01 < norm < 100
    for p, q in zip(plain.parameters, half.parameters):
        moved, expected = half.optimizer.state[q]["exp_avg"], plain.optimizer.state[p]["exp_avg"]
        torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-9)
        torch.testing.assert_close(q, p, rtol=1e-4, atol=1e-5)


def test_a_resumed_half_precision_learner_keeps_its_scale():
    """An overflow has halved it; begun anew, the same overflow would cost the same steps again."""
    one, two = (make_learner(tiny(DENSE), 0.0, 1.0, HALF["float16"]) for _ in range(2))
    first = one.scaler.get_scale()
    for factor in (math.inf, 1.0):
        one.backward(factor * sum(p.square().sum() for p in one.parameters))
        one.step(0.01)
    assert one.scaler.get_scale() == first / 2 != two.scaler.get_scale()
    two.restore(one.state())
    assert two.scaler.get_scale() == first / 2 and two.state()["scaler"] == one.state()["scaler"]


@pytest.mark.parametrize("name", HALF)
def test_half_precision_reads_in_half_precision_and_learns_in_float32(name):
    model, formats = tiny(DENSE), []
    model.head.register_forward_hook(lambda layer, given, out: formats.append(out.dtype))
    learner = make_learner(model, 0.0, 1.0, HALF[name])
    batches = [(random_ids(step), None) for step in range(2)]
    train_supervised(model, learner, batches, PretrainConfig(), 2, lambda step: None)
    assert formats == [getattr(torch, name)] * 2
    assert {p.dtype for p in learner.parameters} == {torch.float32}


def test_the_bias_moves_against_the_load_by_a_fixed_step():
    model = tiny()
    load = torch.tensor([[0.4, 0.25, 0.25, 0.1], [0.1, 0.2, 0.3, 0.4]])
    move_router_bias(model, load, 0.01)
    expected = torch.tensor([[-0.01, 0.0, 0.0, 0.01], [0.01, 0.01, -0.01, -0.01]])
    torch.testing.assert_close(
        torch.stack([layer.bias_E for layer in model.expert_layers()]), expected
    )


def test_fit_moves_the_bias_until_the_last_tenth_of_the_steps():
    model, biases, loads = tiny(), [torch.zeros(2, 4)], []

    def on_step(step):
        biases.append(torch.stack([layer.bias_E.clone() for layer in model.expert_layers()]))
        loads.append(step.load_LE)

    batches = [(random_ids(seed), None) for seed in range(10)]
    train_supervised(model, Learner(model), batches, PretrainConfig(balance_rate=0.01), 10, on_step)
    for step in range(9):
        change = biases[step + 1] - biases[step]
        torch.testing.assert_close(
            change, 0.01 * torch.sign(0.25 - loads[step]), rtol=1e-4, atol=1e-7
        )
    assert torch.equal(biases[10], biases[9]) and biases[9].abs().max() > 0


def test_the_bias_balances_experts_that_began_out_of_balance():
    """The point of it (V3 section 2.1.2): a layer that prefers one expert comes to use all of
    them."""
    model, loads = tiny(), []
    with torch.no_grad():
        for layer in model.expert_layers():
            layer.bias_E += torch.tensor([0.5, 0.0, 0.0, -0.5])
    batches = [(random_ids(seed, B=8, T=20), None) for seed in range(60)]
    train_supervised(
        model,
        Learner(model),
        batches,
        PretrainConfig(balance_rate=0.03, lr=1e-4),
        60,
        lambda step: loads.append(step.load_LE),
    )
    assert loads[0].max() > 0.45 and loads[-1].max() < 0.35 and loads[-1].min() > 0.15


# ---------------------------------------------------------------- the loop

TEXT = torch.tensor(
    [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4, 3, 3, 8, 3, 2, 7, 9, 5]
)


@pytest.mark.parametrize(
    "config", [TINY, DENSE, replace(TINY, mtp=True)], ids=["experts", "dense", "mtp"]
)
def test_a_tiny_model_memorises_a_small_text(config):
    """From ln 24 = 3.2 nats a token to almost none; what it has learned is the text."""
    model, losses = tiny(replace(config, init_std=0.02)), []
    c = PretrainConfig(lr=1e-2, weight_decay=0.0)
    train_supervised(
        model,
        Learner(model),
        [(TEXT[None], None)] * 100,
        c,
        100,
        lambda step: losses.append(step.loss.item()),
    )
    assert losses[0] == pytest.approx(math.log(V), abs=0.1)
    assert losses[-1] < 0.1
    assert (model(TEXT[None, :-1]).argmax(-1) == TEXT[1:]).float().mean() > 0.95


def test_masked_tokens_are_not_learned():
    """Trained on the second half only, the first half stays as good as unknown."""
    model = tiny(replace(DENSE, init_std=0.02))
    mask = (torch.arange(31) >= 15)[None]
    train_supervised(
        model,
        Learner(model),
        [(TEXT[None], mask)] * 100,
        PretrainConfig(lr=1e-2, weight_decay=0.0),
        100,
        lambda step: None,
    )
    each = torch.nn.functional.cross_entropy(
        model(TEXT[None, :-1])[0], TEXT[1:], reduction="none"
    ).detach()
    assert each[15:].mean() < 0.1 and each[:15].mean() > 2


def test_every_step_is_reported_with_what_the_optimizer_received():
    model, seen = tiny(), []
    learner, c = Learner(model), PretrainConfig(lr=1e-3, warmup=0.4)

    def on_step(step: Step):
        assert (
            step.lr
            == learner.optimizer.param_groups[0]["lr"]
            == learner.optimizer.param_groups[1]["lr"]
        )
        seen.append(step)

    train_supervised(
        model, learner, ((random_ids(seed), None) for seed in range(99)), c, 5, on_step
    )
    assert [s.step for s in seen] == [0, 1, 2, 3, 4]
    assert [s.lr for s in seen] == pytest.approx(
        [cosine(step, 5, 1e-3, 0.1, 0.4) for step in range(5)]
    )
    before = tiny()  # the first report is about the weights before the step
    assert seen[0].loss.item() == pytest.approx(by_loop(before, random_ids(0)), rel=1e-5)
    assert all(s.grad_norm > 0 for s in seen)


def test_fit_reads_no_more_batches_than_it_has_steps():
    model, batches = tiny(DENSE), iter([(random_ids(seed), None) for seed in range(5)])
    train_supervised(model, Learner(model), batches, PretrainConfig(), 3, lambda step: None)
    assert len(list(batches)) == 2


@pytest.mark.parametrize("mtp", [False, True])
def test_a_resumed_run_is_the_same_run_bit_by_bit(mtp):
    config, c = replace(TINY, mtp=mtp), PretrainConfig(lr=1e-2, balance_rate=0.01)
    batches = [(random_ids(seed), None) for seed in range(6)]
    straight, reports = tiny(config), []
    train_supervised(
        straight,
        Learner(straight, 0.1),
        batches,
        c,
        6,
        lambda step: reports.append(step.loss.item()),
    )

    first = tiny(config)
    learner = Learner(first, 0.1)
    disk, again = io.BytesIO(), []

    def on_step(step):
        again.append(step.loss.item())
        if step.step == 2:
            torch.save({"model": first.state_dict(), "learner": learner.state()}, disk)

    train_supervised(first, learner, batches[:3], c, 6, on_step)
    second = tiny(config, seed=9)  # other weights, to be replaced
    second_learner = Learner(second, 0.1)
    state = torch.load(io.BytesIO(disk.getvalue()), weights_only=True)
    second.load_state_dict(state["model"])
    second_learner.restore(state["learner"])
    train_supervised(
        second,
        second_learner,
        batches[3:],
        c,
        6,
        lambda step: again.append(step.loss.item()),
        first=3,
    )
    assert again == reports
    assert all(
        torch.equal(a, b)
        for a, b in zip(straight.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert not torch.equal(first.head.weight, second.head.weight)

    forgetful = tiny(config)  # the test notices a Learner that forgets its moments
    forgetful.load_state_dict(state["model"])
    train_supervised(
        forgetful, Learner(forgetful, 0.1), batches[3:], c, 6, lambda step: None, first=3
    )
    assert not torch.equal(forgetful.head.weight, straight.head.weight)


def test_expert_load_by_hand():
    model, ids = tiny(), random_ids()
    _, routing = model.trunk(ids)
    one = routing[0]._replace(expert_BTK=torch.tensor([[[0, 1], [0, 2]]]))
    # four choices: expert 0 twice, 1 and 2 once
    assert expert_load([one], 4).tolist() == [[0.5, 0.25, 0.25, 0.0]]


def test_padding_does_not_move_the_router():
    """A prompt does, though its tokens are not predicted, and so do they all for the block that
    predicts one more ahead: it has one place less in each row."""
    model, ids = tiny(replace(TINY, mtp=True)), random_ids(B=2, T=9)
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[1, 4:] = mask[:, :2] = False
    loads = []
    for filler in range(4):
        ids[1, 5:] = filler
        loads.append(language_loss(model, ids, mask, PretrainConfig())[2])
    assert all(torch.equal(load, loads[0]) for load in loads)
    assert loads[0].sum(1).tolist() == [2 * 12, 2 * 12, 2 * 10]  # two experts a token
    _, routing = model.trunk(ids[:, :-1])
    chosen = torch.cat([routing[0].expert_BTK[0], routing[0].expert_BTK[1, :4]]).flatten()
    assert torch.equal(loads[0][0], chosen.bincount(minlength=4))


def test_the_experts_of_multi_token_prediction_are_balanced_like_the_others():
    model = tiny(replace(TINY, mtp=True))
    learner, config = Learner(model), PretrainConfig()
    batches = [(random_ids(seed), None) for seed in range(4)]
    train_supervised(model, learner, batches, config, 4, lambda step: None)
    layers = model.expert_layers()
    assert len(layers) == 3 and layers[-1] is model.mtp_block.mixer
    assert all(layer.bias_E.abs().max() > 0 for layer in layers)


# ---------------------------------------------------------------- gradients from a graph


@pytest.mark.parametrize("config", [TINY, DENSE], ids=["experts", "dense"])
def test_gradients_from_a_graph_train_the_same_model(config, monkeypatch):
    """CUDA graphs need CUDA; a stand-in computes anew, into the tensors that the capture left, as a
    replay does. Each step before the capture runs on the capture's stream: with a compiler cache
    that an earlier run has filled, autograd would else bring the usual stream into the capture."""
    batches = [(random_ids(seed), None) for seed in range(7)] + [
        (random_ids(9, B=2), None)
    ]  # the last one has another shape
    for place, seed in ((5, 8), (1, 10)):  # and two a mask
        batches.insert(place, (random_ids(seed), random_ids(7)[:, 1:] < V // 2))
    plain, fast, losses, settings = (
        tiny(config),
        tiny(config),
        ([], []),
        PretrainConfig(lr=1e-2, balance_rate=0.01),
    )
    learner, replays, at, seen = Learner(fast), [], [None], []

    class Stream:
        def wait_stream(self, other):
            assert other is not self

    @contextmanager
    def on(stream):
        at.append(stream)
        yield
        at.pop()

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    usual = learner.gradients
    learner.gradients = lambda *given: seen.append(at[-1]) or usual(*given)
    graphed = Replayed(learner)

    class Graph:
        def replay(self):
            held = [p.grad for p in fast.parameters()]
            assert all(grad is None for grad in held)  # the optimizer let go of them
            rest = usual(language_loss, fast, graphed.ids_BT, None, settings)
            with torch.no_grad():
                for parameter, kept in graphed.gradients:
                    kept.copy_(parameter.grad)
                    parameter.grad = None
                for kept, new in zip(graphed.rest, rest):
                    kept is None or kept.copy_(new)
            replays.append(graphed.ids_BT.clone())

    def capture(graph, stream, **how):
        fast.zero_grad(set_to_none=True)
        return on(stream)

    original = graphed._capture

    def captured(*given):
        original(*given)
        fast.zero_grad(set_to_none=True)  # a real capture computes nothing

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    graphed._capture = captured
    learner.gradients = graphed
    train_supervised(
        plain,
        Learner(plain),
        batches,
        settings,
        len(batches),
        lambda step: losses[0].append(step.loss),
    )
    train_supervised(
        fast, learner, batches, settings, len(batches), lambda step: losses[1].append(step.loss)
    )
    assert torch.stack(losses[0]).tolist() == torch.stack(losses[1]).tolist()
    assert [ids.tolist() for ids in replays] == [batches[i][0].tolist() for i in (3, 4, 5, 7, 8)]
    own = graphed.stream
    assert seen == [own, None, own, own, None, None]  # masks, and another shape, go their own way
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), fast.parameters()))
