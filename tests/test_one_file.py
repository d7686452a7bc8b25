"""R1-Zero in one file: short, alone, and the core's equal; its steps are small diffs that run."""

import ast
import difflib
import json
import random
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import zero_in_one_file as zero
from minir1 import grpo
from minir1.checkpoint import load_checkpoint
from minir1.config import RLConfig
from minir1.model import token_logp
from minir1.rewards import score
from minir1.rollout import Batch
from minir1.supervised import Learner
from minir1.tasks import countdown
from minir1.transcript import prompt
from steps import curves

torch.set_num_threads(1)

SOURCE = curves.FOLDER.parent / "zero_in_one_file.py"
CONFIG = RLConfig(group_size=zero.GROUP, minibatches=zero.UPDATES, clip=zero.MAX_NORM)


@pytest.fixture(scope="module")
def base() -> tuple:
    """The one file's model and tokenizer, and the core's."""
    return *zero.load(), *load_checkpoint(zero.BASE)


# ---------------------------------------------------------------- alone


def test_it_fits_on_a_few_screens_and_needs_nothing():
    lines = SOURCE.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 300 and max(map(len, lines)) <= 100
    modules = set()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            modules.add(node.module)
    outside = {name.split(".")[0] for name in modules} - sys.stdlib_module_names
    assert outside == {"torch", "tokenizers"}


# ---------------------------------------------------------------- equal to the core


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_its_puzzles_are_those_of_the_preset(split, base):
    rng = random.Random(split)
    for _ in range(40):
        numbers, target = zero.draw(rng, split)
        mine, problem = zero.Puzzle(numbers, target), countdown.Countdown(numbers, target)
        assert problem.split() == split and countdown.solve(numbers, target) is not None
        assert mine.prompt() == prompt(problem.question())
        assert base[1].encode(mine.prompt()).ids == base[3].encode(mine.prompt())


@given(st.lists(st.integers(0, 12), min_size=3, max_size=3), st.integers(0, 30))
def test_solvable_is_the_same(numbers, target):
    solution = countdown.solve(tuple(numbers), target)
    assert (target in zero.reachable(tuple(numbers))) == (solution is not None)


ANSWERS = [
    "2 + 3 * 4", "(2 + 3) * 4", "4*(3+2)", "4 / 3 * 2", "2 + 3", "02 + 3 * 4", "2 ** 3 + 4",
    "2 // 3 + 4", "-2 + 3 * 4", "2 3 4", "2(3)(4)", "2 + 3 * 4 )", "4 / (3 - 3)", "", "()",
    "2 + (3 * (4))", "2 +\n3 * 4", " 2 + 3 * 4 ", "２ + 3 * 4", "2 + 3 * 4 = 14", "2 + 3, 4",
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_verifier_agrees(answer):
    for target in (14, 20, 3, 10):
        theirs = countdown.Countdown((2, 3, 4), target).verify(answer)
        assert zero.Puzzle((2, 3, 4), target).verify(answer) == theirs


@given(st.text("0123456789+-*/() ", max_size=12))
def test_the_verifier_agrees_on_any_text(answer):
    value = countdown.evaluate(answer)
    numbers, target = (tuple(value[1]), value[0]) if value else ((1,), 1)
    theirs = countdown.Countdown(numbers, target).verify(answer)
    assert zero.Puzzle(numbers, target).verify(answer) == theirs


RESPONSES = [
    "<think>2 + 3</think><answer>2 + 3 * 4</answer><|end|>", "<answer>2 + 3 * 4</answer><|end|>",
    "<answer>2 + 3</answer><|end|>", "<answer>2 + 3 * 4</answer>", "2 + 3 * 4<|end|>", "<|end|>",
    "<think>a<answer>2 + 3 * 4</answer><|end|>", "<answer>2</answer><answer>3</answer><|end|>",
    "<answer>\n2 + 3 * 4 \n</answer><|end|>", "<think></think><answer>2 +\n3 * 4</answer><|end|>",
    "<think></think>\n<answer>2 + 3 * 4</answer>\n<|end|>", "<think></think> a <answer></answer>",
    "<answer>2 + 3 * 4</answer>!<|end|>", "<think></think><think></think><answer>2</answer><|end|>",
]


@pytest.mark.parametrize("response", RESPONSES)
def test_the_reward_agrees(response):
    theirs = score(countdown.Countdown((2, 3, 4), 14), response).total(CONFIG)
    assert zero.reward(zero.Puzzle((2, 3, 4), 14), response) == pytest.approx(theirs)


def test_logits_agree_with_and_without_a_cache(base):
    model, _, core, _ = base
    ids_BT = torch.randint(0, 480, (3, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs, mine = core(ids_BT), model(ids_BT)
        cache = torch.zeros(zero.c.layers, 3, 40, zero.c.kv_rank + zero.c.rope_width)
        steps = [model(ids_BT[:, :25], cache)]
        steps += [model(ids_BT[:, t : t + 1], cache, t) for t in range(25, 40)]
    torch.testing.assert_close(mine, theirs, atol=2e-4, rtol=1e-5)
    torch.testing.assert_close(torch.cat(steps, 1), theirs, atol=2e-4, rtol=1e-5)


def test_the_sampler_keeps_prompts_apart_and_log_probs_are_those_of_what_it_drew(base):
    """Prompts of different lengths, responses that end and one that is cut."""
    model, codec, core, _ = base
    puzzles = [zero.Puzzle((n, 25, 3), 40 + n) for n in range(1, 13)]
    prompts = [codec.encode(puzzle.prompt()).ids for puzzle in puzzles]
    assert len({len(ids) for ids in prompts}) > 1
    torch.manual_seed(3)
    end = codec.token_to_id("<|end|>")
    rollout = zero.sample(model, prompts, end)
    for row, ids in enumerate(prompts):
        assert rollout.ids_BT[row, : len(ids)].tolist() == ids
        place = torch.where(rollout.mask_BT[row])[0]
        response = rollout.ids_BT[row, 1:][place]
        assert place.tolist() == list(range(len(ids) - 1, len(ids) - 1 + len(place)))
        assert (response[:-1] != end).all()
        assert response[-1] == end or len(response) == zero.MAX_TOKENS
        whole = torch.tensor([[*ids, *response.tolist()]])
        with torch.no_grad():
            theirs = token_logp(core, whole)[0][0, len(ids) - 1 :]
        torch.testing.assert_close(rollout.logp_BT[row][place], theirs, atol=2e-4, rtol=1e-4)


def test_it_draws_as_often_as_the_policy_says(base):
    """The first token of 4,096 responses: at five deviations, a false alarm in a million."""
    model, codec, *_ = base
    prompt_ids = codec.encode(zero.Puzzle((23, 5, 13), 31).prompt()).ids
    torch.manual_seed(0)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(zero, "MAX_TOKENS", 1)
        rollout = zero.sample(model, [prompt_ids] * 4096, -1)
        probability_V = model(torch.tensor([prompt_ids]))[0, -1].softmax(-1)
    counts_V = rollout.ids_BT[:, -1].bincount(minlength=zero.c.vocab_size)
    deviation_V = (4096 * probability_V * (1 - probability_V)).sqrt()
    assert ((counts_V - 4096 * probability_V).abs() <= 5 * deviation_V + 2).all()


def test_advantages_and_loss_are_the_cores():
    torch.manual_seed(0)
    reward_PG = torch.randint(0, 2, (9, 8)).double() * 1.1
    reward_PG[0] = 1.1
    mine = zero.advantages(reward_PG)
    torch.testing.assert_close(mine, grpo.advantages(reward_PG), atol=1e-6, rtol=0)
    logp_BT = -torch.rand(12, 30, dtype=torch.float64)
    old_BT = logp_BT + 0.4 * torch.randn(12, 30, dtype=torch.float64)
    mask_BT, adv_B = torch.rand(12, 30) < 0.7, torch.randn(12, dtype=torch.float64)
    values, gradients = [], []
    for loss in (zero.clipped_loss, grpo.grpo_loss):
        leaf_BT = logp_BT.clone().requires_grad_()
        more = () if loss is zero.clipped_loss else (grpo.Total(1, 12), CONFIG)
        value = loss(leaf_BT, old_BT, adv_B, mask_BT, *more)
        value = value[0] if more else value
        values.append(value.detach())
        gradients += torch.autograd.grad(value, leaf_BT)
    torch.testing.assert_close(values[0], values[1], atol=1e-6, rtol=0)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=0)


def test_the_update_is_the_cores():
    """Two updates on one rollout, where the second one's ratios are off 1 and some are clipped."""
    model, codec = zero.load()
    core, _ = load_checkpoint(zero.BASE)
    puzzles = [p for i in range(4) for p in [zero.draw(random.Random(i), "train")] * zero.GROUP]
    torch.manual_seed(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zero, "MAX_TOKENS", 40)
        rollout, _, _ = zero.respond(model, codec, puzzles)
    rollout = rollout._replace(logp_BT=rollout.logp_BT + 0.2 * torch.randn_like(rollout.logp_BT))
    reward_PG = torch.tensor([[1.1, 0.1], [0.1, 0.1], [0.0, 1.1], [1.1, 0.0]]).repeat(1, 4)
    reward_PG[:, 0] = 0.1  # two values are not enough: an even group has no direction
    reward_PG[1] = 0.1  # no advantage: counts in the mean only
    adv_B = zero.advantages(reward_PG).flatten().double()
    before = {name: weight.clone() for name, weight in core.double().state_dict().items()}
    model.double().turn_TA = torch.view_as_complex(core.table.mT.contiguous())
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, (0.9, 0.95), weight_decay=0)
    zero.update(model, optimizer, rollout, adv_B)
    mask_BT, logp_BT = rollout.mask_BT, rollout.logp_BT.double()
    length_B = (mask_BT * torch.arange(2, mask_BT.shape[1] + 2)).amax(1)
    batch = Batch(rollout.ids_BT, mask_BT, logp_BT, length_B)
    stats = grpo.update(core, Learner(core, 0.0, CONFIG.clip), batch, adv_B, CONFIG, 1e-3)
    assert stats["clip_fraction"] > 0.01 and 0 < stats["signal"] < 1
    mine, theirs = model.state_dict(), core.state_dict()
    assert max((theirs[name] - before[name]).abs().max() for name in before) > 1e-3
    for name, weight in theirs.items():
        torch.testing.assert_close(mine[name], weight, atol=1e-6, rtol=0, msg=name)


# ---------------------------------------------------------------- steps


def code_of(name: str) -> list[str]:
    tree = ast.parse((curves.FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    tree.body = tree.body[1:]  # without its docstring
    return ast.unparse(tree).splitlines()


def test_each_step_is_a_small_diff_of_the_last():
    assert len(curves.STEPS) == len(curves.NAMES) == 5
    for before, after in zip(curves.STEPS, curves.STEPS[1:]):
        diff = list(difflib.ndiff(code_of(before), code_of(after)))
        assert 1 <= sum(line.startswith("+ ") for line in diff) <= 2, after
        assert 1 <= sum(line.startswith("- ") for line in diff) <= 2, after


def test_every_step_trains_and_curves_are_drawn(tmp_path, monkeypatch):
    """Two steps each, and the one file's; what is known is not trained again."""
    monkeypatch.setattr(zero, "MAX_TOKENS", 12)
    monkeypatch.setattr(curves, "TEST_PUZZLES", 16)
    out = tmp_path / "curves.jsonl"
    how = ["--seeds", "0", "--steps", "2", "--out", str(out)]
    for _ in range(2):
        curves.main(["--only", *curves.STEPS, "zero_in_one_file", *how])
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["file"] for line in lines] == [*curves.STEPS, "zero_in_one_file"]
    first = {line["right"][0] for line in lines[2:5]}
    assert len(first) == 1 and all(len(line["right"]) == 2 for line in lines)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_clipping_alone_changes_nothing(monkeypatch):
    """Step 4 says so: with one update per rollout the ratio is 1."""
    monkeypatch.setattr(zero, "MAX_TOKENS", 12)
    weights = []
    for name in curves.STEPS[2:4]:
        model, codec = zero.load()
        curves.import_module(f"steps.{name}").train(model, codec, 0, 1)
        weights.append(torch.cat([weight.flatten() for weight in model.parameters()]).detach())
    base_model, _ = zero.load()
    start = torch.cat([weight.flatten() for weight in base_model.parameters()]).detach()
    moved = (weights[0] - start).abs().mean()
    assert (weights[0] - weights[1]).abs().mean() < 0.02 * moved and moved > 1e-5
