"""A number that is not finite changes no weight, no moment and no file, and is said in one line."""

import copy
import json
from types import SimpleNamespace

import pytest
import torch

import train_zero
from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import Diverged, ModelConfig, PretrainConfig, RLConfig, UserError
from minir1.data import find_checkpoint
from minir1.fast.device import Device, make_learner
from minir1.fast.engine import Engine
from minir1.grpo import update
from minir1.model import Transformer
from minir1.presets import PRESETS
from minir1.rollout import Batch
from minir1.sampler import Sampling, sample
from minir1.supervised import Learner, train_supervised

TINY = ModelConfig(
    vocab_size=24, width=16, layers=2, heads=2, kv_rank=8, nope_width=4, rope_width=4,
    value_width=4, dense_width=24, experts=4, top_k=2, expert_width=8, positions=64, init_std=0.2,
)
LEARNERS = [(kind, dtype) for kind in ("adamw", "muon")
            for dtype in (torch.float32, torch.bfloat16, torch.float16)]


def tiny() -> Transformer:
    torch.manual_seed(0)
    return Transformer(TINY)


def flat(value) -> list:
    """Every number in a nest of tensors, dicts and lists."""
    if isinstance(value, torch.Tensor):
        return value.flatten().tolist()
    if isinstance(value, dict):
        value = [*value.items()]
    return [x for v in value for x in flat(v)] if isinstance(value, list | tuple) else [value]


def everything(model, learner) -> list:
    state = learner.state()
    return flat([model.state_dict(), state.get("optimizer", state)])


@pytest.mark.parametrize("kind,dtype", LEARNERS)
@pytest.mark.parametrize("fault", ["gradient", "loss"])
def test_an_update_that_is_not_finite_is_left_out(kind, dtype, fault):
    model = tiny()
    device = Device("cpu", "CPU", dtype, "plain")
    learner = make_learner(model, 0.1, 1.0, device, kind)
    ids = torch.randint(0, 24, (2, 9), generator=torch.Generator().manual_seed(0))

    def backward(extra=0.0):
        with learner.autocast():
            loss = model(ids).float().logsumexp(-1).mean()
        learner.backward(loss + extra)

    backward()
    assert learner.step(1e-2).isfinite()
    before = everything(model, learner)
    backward(torch.inf if fault == "loss" else 0.0)
    if fault == "gradient":
        model.embed.weight.grad[3, 2] = torch.nan
    assert learner.step(1e-2).isnan()
    assert everything(model, learner) == before
    assert (int(learner.skipped), int(learner.in_a_row)) == (1, 1)
    backward()
    assert learner.step(1e-2).isfinite() and int(learner.in_a_row) == 0
    assert everything(model, learner) != before


def test_learning_gives_up_after_a_few_in_a_row_and_says_since_when():
    model, config = tiny(), PretrainConfig()
    learner = Learner(model)
    seen = []

    def batches():
        for step in range(40):
            if step == 10:
                model.embed.register_forward_hook(lambda *_: _[-1] * torch.nan)
            yield torch.arange(20).view(2, 10), None

    with pytest.raises(Diverged, match="since step 11: .* learning rate too high"):
        train_supervised(model, learner, batches(), config, 40, seen.append)
    assert len(seen) == 20 and all(p.isfinite().all() for p in model.parameters())
    bias = [layer.bias_E.abs().max().item() for layer in model.expert_layers()]
    assert max(bias) <= 10.5 * config.balance_rate  # ten moves, none after that


def test_a_short_run_gives_up_at_its_end():
    model = tiny()
    model.embed.register_forward_hook(lambda *_: _[-1] * torch.nan)
    batches = [(torch.arange(20).view(2, 10), None)] * 7
    with pytest.raises(Diverged, match="since step 1: .* 7 times in a row"):
        train_supervised(model, Learner(model), batches, PretrainConfig(), 7, lambda step: None)


@pytest.mark.parametrize("lost, since", [(5, 8), (6, 8), (7, 7)])
def test_it_says_since_which_step_where_a_step_has_several_updates(lost, since):
    learner = Learner(tiny())
    learner.in_a_row.fill_(lost)
    with pytest.raises(Diverged, match=f"since step {since}: .* {lost} times in a row"):
        learner.check(9, updates=2)  # the tenth step, the ninth ...
    learner.in_a_row.fill_(Learner.patience - 1)
    learner.check(9, updates=2)


@pytest.mark.parametrize("part", ["reward", "logp"])
def test_no_update_of_grpo_learns_from_what_is_not_finite(part):
    model = tiny()
    learner = Learner(model)
    draw = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(0, 24, (4, 9), generator=draw)
    mask_BT, logp_BT = torch.ones(4, 8, dtype=torch.bool), torch.full((4, 8), -1.0)
    adv_B = torch.tensor([1.0, -1.0, 1.0, -1.0])
    (adv_B if part == "reward" else logp_BT).view(-1)[0] = torch.nan
    batch = Batch(ids_BT, mask_BT, logp_BT, torch.full((4,), 9))
    before = copy.deepcopy(model.state_dict())
    stats = update(model, learner, batch, adv_B, RLConfig(group_size=2, minibatches=1), 1e-3)
    assert stats["grad_norm"] != stats["grad_norm"] and int(learner.skipped) == 1
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def broken() -> Transformer:
    model = tiny()
    model.blocks[1].attention.parameters().__next__().data[0] = torch.nan
    return model


@pytest.mark.parametrize("how", ["plain", "engine"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_sampler_draws_from_logits_that_are_not_finite(how, temperature):
    model, settings = broken(), Sampling(5, (0,), temperature)
    draw = sample if how == "plain" else Engine(model, torch.float32, 8, 16).sample
    with pytest.raises(Diverged, match="logits are not finite"):
        draw(model, [[1, 2], [3]], 2, settings)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(tmp_path, value):
    model, codec = load_checkpoint(find_checkpoint("base-cpu.pt"))
    good, bad = tmp_path / "good.pt", tmp_path / "bad.pt"
    save_checkpoint(good, model, codec)
    kept = good.read_bytes()
    file = torch.load(good)
    file["format"] = "minir1-1"  # of files without a checksum
    file["weights"]["embed.weight"][0, 0] = value
    torch.save(file, bad)
    with pytest.raises(UserError, match=r"bad.pt: the weights are not finite numbers \(embed"):
        load_checkpoint(bad)
    model.embed.weight.data[0, 0] = value
    with pytest.raises(Diverged, match="the weights are not finite"):
        save_checkpoint(good, model, codec)
    assert good.read_bytes() == kept


def whole_run(tmp_path, monkeypatch, faults) -> tuple[int, list[dict], SimpleNamespace]:
    """The smoke preset with one NaN in one gradient at some updates of RL."""
    true_step, count = Learner.step, [0]

    def step(self, lr):
        if lr < PRESETS["smoke"].pretrain.lr / 2:  # RL's rate
            count[0] += 1
            if count[0] in faults:
                self.parameters[0].grad[0, 0] = torch.nan
        return true_step(self, lr)

    monkeypatch.setattr(Learner, "step", step)
    run = tmp_path / "run"
    flags = ["--rl.steps", "8", "--eval.answer_only_steps", "0", "--rl.format_reward", "0.5"]
    arguments = ["--preset", "smoke", "--out", str(run), "--base", "base-cpu.pt", *flags]
    status = train_zero.guard(train_zero.main, arguments, "train_zero.py")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return status, [row for row in rows if row["phase"] == "rl"], run


def test_one_nan_in_one_gradient_costs_one_update(tmp_path, monkeypatch, capsys):
    status, rows, run = whole_run(tmp_path, monkeypatch, {5})
    assert status == 0 and len(rows) == 8
    assert [row.get("skipped", 0) for row in rows] == [0, 0, 1, 1, 1, 1, 1, 1]
    assert "1 updates left out" in capsys.readouterr().err
    load_checkpoint(run / "checkpoints" / "zero.pt")


def test_a_run_that_has_lost_its_numbers_stops_with_one_line(tmp_path, monkeypatch, capsys):
    status, rows, run = whole_run(tmp_path, monkeypatch, range(5, 1000))
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert status == 1 and len(rows) == 5
    assert "since step 3" in said and "--dtype float32" in said
    assert f"begin again with other settings: {run} keeps" in said and "--resume" not in said
    state = torch.load(run / "checkpoints" / "state.pt")
    assert all(weight.isfinite().all() for weight in state["model"].values())


def test_an_update_counts_the_tokens_it_trains_on():
    """Rows without an advantage are not trained on; with a reference all those are read again."""
    model = tiny()
    ids_BT = torch.randint(0, 24, (4, 9), generator=torch.Generator().manual_seed(0))
    mask_BT, logp_BT = torch.ones(4, 8, dtype=torch.bool), torch.full((4, 8), -1.0)
    batch = Batch(ids_BT, mask_BT, logp_BT, torch.tensor([9, 7, 8, 9]))
    adv_B = torch.tensor([1.0, -1.0, 0.0, 0.0])
    config = RLConfig(group_size=2, minibatches=1)
    stats = update(model, Learner(model), batch, adv_B, config, 1e-3)
    assert (stats["tokens_trained"], stats["tokens_scored"]) == (16, 0)
    stats = update(model, Learner(model), batch, adv_B, config, 1e-3, reference=tiny())
    assert (stats["tokens_trained"], stats["tokens_scored"]) == (16, 16)
    stats = update(model, Learner(model), batch, 0 * adv_B, config, 1e-3)
    assert (stats["tokens_trained"], stats["tokens_scored"]) == (0, 0)
