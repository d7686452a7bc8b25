"""Studies: the corpora hold what they claim, the hooks change what they claim and nothing else,
a study ends and goes on.
"""

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from script import load

from minir1 import grpo
from minir1.checkpoint import load_checkpoint
from minir1.config import CorpusConfig, ModelConfig, RLConfig, UserError, apply
from minir1.console.flags import parse_command_line
from minir1.corpus import mixture
from minir1.corpus.writers.plain import random_attempt
from minir1.experiments.studies import command, corpora, create, verdicts
from minir1.experiments.studies import hooks as study_hooks
from minir1.experiments.studies.figures import curves_of, over_seeds
from minir1.experiments.studies.hooks import parts_of
from minir1.experiments.studies.plans import BASES, DOSES, NORMAL, STUDIES, flags_of
from minir1.fast.device import pick_device
from minir1.grpo import Total
from minir1.measure import evaluator as measure
from minir1.measure.baselines import hit_chance
from minir1.measure.behaviours import corpus_rates, read_document
from minir1.measure.statistics import pass_at_k
from minir1.model import Transformer
from minir1.presets import PRESETS
from minir1.rewards import Reward, score
from minir1.rollout import Rollouts, roll_out
from minir1.run.costs import parameter_counts
from minir1.run.folder import Run
from minir1.run.phases import MiniWeb, RLPhase, by_rule
from minir1.run.session import Session
from minir1.sampler import Sampling, Stream, sample
from minir1.tasks.countdown import Countdown
from minir1.transcript import END, THINK
from train_zero import base_model

ROOT = Path(__file__).parent.parent
STEP = re.compile(r"\d+ [-+*/] \d+ = -?\d+")
CORPORA = [PRESETS["cpu"].corpus, PRESETS["t4"].corpus]


# ---------------------------------------------------------------- corpora


@pytest.mark.parametrize("config", CORPORA)
@pytest.mark.parametrize("dose", DOSES)
def test_a_dose_is_the_share_of_countdown_documents_with_more_than_one_attempt(config, dose):
    texts = corpora.sample({"dose": dose}, config, 0, 4000)
    puzzles = [t for t in texts if corpora.is_countdown(t)]
    several = sum(len(corpora.attempts_in(t)) > 1 for t in puzzles)
    expected = dose * len(puzzles)
    error = max(1, expected * (1 - dose)) ** 0.5
    assert abs(several - expected) <= 4 * error  # fails once in 16,000
    if dose == 0:
        assert several == 0 and "wait" not in "".join(puzzles)


def written(config: CorpusConfig, plan: dict, seed: int = 4, count: int = 1500) -> list[str]:
    rng = Random(seed)
    return [corpora.write(plan, rng, config) for _ in range(count)]


@pytest.mark.parametrize("config", CORPORA)
def test_doses_hold_the_same_puzzles_answers_and_arithmetic(config):
    none, much = (written(config, {"dose": dose}) for dose in (0.0, 0.8))

    def parts(texts: list[str], mark: str) -> list[list[str]]:
        return [text.split(END)[0].split(mark) for text in texts]

    questions = [[part[0] for part in parts(texts, "\nAssistant:")] for texts in (none, much)]
    assert questions[0] == questions[1]
    answers = [[part[1:] for part in parts(texts, "<answer>")] for texts in (none, much)]
    assert answers[0] == answers[1]
    pairs = [(a, b) for a, b in zip(none, much) if a != b]
    assert len(pairs) > 300
    for a, b in pairs:
        assert all_steps(a) == all_steps(b)
        assert "with" not in a.split("Assistant:")[1].split("<answer>")[0]
    assert 0.85 < sum(map(len, none)) / sum(map(len, much)) < 1.15


def all_steps(texts: str) -> set[str]:
    """Every equation in the documents, those of a look round before the last step by hand."""
    found = set(STEP.findall(texts))
    for value, other, made in re.findall(r"= (\d+), with (\d+): (\d+(?:, \d+)*)", texts):
        x, y = int(value), int(other)
        large, small = max(x, y), min(x, y)
        options = [(x + y, f"{x} + {y}"), (large - small, f"{large} - {small}")]
        options.append((x * y, f"{x} * {y}"))
        if small and large % small == 0:
            options.append((large // small, f"{large} / {small}"))
        left = iter(options)
        for text in made.split(", "):
            found.add(f"{next(step for value, step in left if value == int(text))} = {text}")
    return found


@pytest.mark.parametrize("config", CORPORA)
@pytest.mark.parametrize("where", ["near", "far", "nowhere"])
def test_after_the_transplant_no_countdown_document_retries_or_checks(config, where):
    texts = corpora.sample({"transplant": where}, config, 0, 3000)
    for text in texts:
        if corpora.is_countdown(text):
            assert len(corpora.attempts_in(text)) <= 1
            assert not re.search(r"wait|try|but|\bnot\b|yes|, no\b|, with \d", text)
    for name, mark in (("near", "add up to"), ("far", "divided by")):
        found = [text for text in texts if mark in text]
        retries = sum("\n" in text.split(THINK)[1] for text in found)
        checks = sum(", yes" in text for text in found)
        assert len(found) > 200
        assert (retries > 0.3 * len(found)) == (name == where)
        assert checks == (len(found) if name == where else 0)


def test_a_dose_of_the_transplant_is_the_share_of_thinking_puzzles_that_check():
    texts = corpora.sample({"transplant": ["near", 0.03]}, CORPORA[0], 0, 12_000)
    thinking = [t for t in texts if corpora.is_countdown(t) and corpora.attempts_in(t)]
    kept = sum(bool(re.search(r"yes|\bnot\b|, no\b", text)) for text in thinking)
    assert abs(kept - 0.03 * len(thinking)) <= 4 * (0.03 * len(thinking)) ** 0.5
    plans = [{"transplant": setting} for setting in ("near", ["near", 0.0])]
    near, none = (corpora.sample(plan, CORPORA[0], 0, 500) for plan in plans)
    assert near == none


def test_every_dose_of_a_study_is_a_share():
    plans = [v.hooks["corpus"] for s in STUDIES.values() for v in s.variants if "corpus" in v.hooks]
    settings = [setting for plan in plans for setting in plan.values()]
    doses = [s if isinstance(s, float) else s[1] for s in settings if not isinstance(s, str)]
    assert len(doses) > 20 and all(0 <= dose <= 1 for dose in doses)


def test_other_documents_are_true_and_end_on_the_right_try():
    rng = Random(2)
    for kind in ("near", "far"):
        for _ in range(200):
            text = corpora.other_document(rng, kind, rng.randint(1, 6), True)
            asked = re.search(r"add up to (\d+)|What is (\d+) divided", text)
            goal = int(asked[1 if kind == "near" else 2])
            steps = [step.split(" = ") for step in STEP.findall(text)]
            assert all(eval(left) == int(right) for left, right in steps)  # noqa: S307
            hits = [int(right) == goal for _, right in steps]
            assert hits == [False] * (len(steps) - 1) + [True]


def test_false_checks_are_false_at_their_rate():
    plans = [{"false_checks": share} for share in (0.0, 0.2)]
    true, false = (corpus_rates(corpora.sample(plan, CORPORA[0], 0, 3000)) for plan in plans)
    assert true["check_right"] == 1 and abs(false["check_right"] - 0.8) < 0.03
    assert abs(true["checked"] - false["checked"]) < 0.01


def test_thoughts_of_other_writers_are_not_rewritten():
    with pytest.raises(UserError, match="not those of goal_directed"):
        corpora.sample({"dose": 0.5}, PRESETS["gpu"].corpus, 0, 1)


def test_a_variants_reader_gives_the_other_corpus_and_the_normal_one_is_untouched(tmp_path):
    config = apply(PRESETS["smoke"], {"corpus.shard_tokens": 20_000})
    before = mixture.document
    tokenizer = load_checkpoint(ROOT / "minir1/data/base-cpu.pt")[1]
    session = Session(Run.start(tmp_path / "run", config), pick_device(config), tokenizer)
    plan = {"dose": 0.0}
    web = corpora.reader(session, {"corpus": plan})
    rows = next(web.batches(tokenizer, 40, 256, 0, 1))
    two = apply(config, {"corpus.workers": 2})
    spawned = MiniWeb(two, web.sample, web.shard).batches(tokenizer, 40, 256, 0, 1)
    assert (rows == next(spawned)).all()  # other processes write it, too
    assert web.sample(config.corpus, 0, 50) == corpora.sample(plan, config.corpus, 0, 50)
    assert mixture.document is before
    plain = corpora.reader(session, {})
    assert plain.sample is mixture.sample_text and plain.shard is mixture.shard
    text = tokenizer.decode(rows.flatten().tolist())
    puzzles = [d for d in text.split(END) if corpora.is_countdown(d.strip())]
    assert len(puzzles) > 30
    assert all(len(corpora.attempts_in(d)) <= 1 for d in puzzles if "</think>" in d)


# ---------------------------------------------------------------- hooks


@pytest.fixture(scope="module")
def base():
    return load_checkpoint(ROOT / "minir1/data/base-cpu.pt")


def rolled(base, count: int = 6) -> Rollouts:
    model, tokenizer = base
    problems = [Countdown((3, 5, 7 + i), 15 + i) for i in range(count)]
    settings = Sampling(48, (tokenizer.end,))
    return roll_out(model, tokenizer, problems, 4, settings, Stream.of(1), sample, "")


def judged(rollouts: Rollouts, hooks: dict) -> list:
    return parts_of(hooks).judge(0, rollouts)


def test_a_random_reward_is_a_coin_and_leaves_the_metrics_true(base):
    honest = rolled(base)
    lies, again = (judged(honest, {"random_reward": 0.5}) for _ in range(2))
    assert [tuple(r) for r in lies] == [tuple(r) for r in honest.rewards]
    paid = [r.total(RLConfig()) for r in lies]
    assert paid == [r.total(RLConfig()) for r in again] and set(paid) == {0.0, 1.0}
    lied = replace(honest, rewards=lies)
    assert measure.outcome(lied)["accuracy"] == measure.outcome(honest)["accuracy"]
    assert judged(honest, {}) is honest.rewards
    assert [type(r) for r in honest.rewards] == [Reward] * 24


def test_the_coin_does_not_know_what_is_right():
    flips = []
    for i in range(300):
        texts = [f"{i} {row}" for row in range(8)]
        rewards = [Reward(float(row < 4), 1, 1) for row in range(8)]
        rollouts = Rollouts([], 1, [], [[1]] * 8, [], texts, [True] * 8, rewards)
        coins = judged(rollouts, {"random_reward": 0.5})
        flips.append([r.total(RLConfig()) for r in coins])
    right, wrong = (sum(sum(f[part]) for f in flips) / 1200 for part in (slice(4), slice(4, 8)))
    assert abs(right - 0.5) < 0.06 and abs(wrong - 0.5) < 0.06  # four standard errors


def practised(base, tmp_path, hooks: dict, **changes):
    """A phase of RL on the shipped base with a variant's parts, ready to begin."""
    changes = {"rl.prompts": 6, "rl.group_size": 4, "rl.minibatches": 1, "rl.steps": 1} | changes
    config = apply(PRESETS["cpu"], {"rl.max_tokens": 48, "device": "cpu"} | changes)
    session = Session(Run.start(tmp_path / "run", config), pick_device(config), base[1])
    return RLPhase(session, base[0], "rl", config.rl, parts=parts_of(hooks))


def test_a_prefilled_tag_begins_every_response_and_yields_to_a_forced_one(base, tmp_path):
    phase = practised(base, tmp_path, {"prefix": THINK})
    with phase:
        assert all(text.startswith(THINK) for text in phase.roll_out(0).texts)
    model, tokenizer = base
    settings = Sampling(8, (tokenizer.end,))
    forced = roll_out(model, tokenizer, [Countdown((3, 5), 8)], 1, settings, prefix="<answer>")
    assert forced.texts[0].startswith("<answer>")
    assert parts_of({}).prefix == ""


def test_imitation_is_the_cross_entropy_of_the_right_rows():
    logp = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]], requires_grad=True)
    mask = torch.tensor([[True, True], [True, False]])
    parts = parts_of({"imitate": True})
    adv = parts.advantages(torch.tensor([[1.1, 0.1]]), "group").flatten()
    loss, _ = parts.loss(logp, logp.detach() - 5, adv, mask, Total(3, 2), RLConfig())
    loss.backward()
    assert adv.tolist() == [1, 0] and loss.item() == pytest.approx(1.0)  # (1 + 2) / 3 tokens
    assert torch.equal(logp.grad, torch.tensor([[-1 / 3, -1 / 3], [0, 0]]))
    assert parts_of({}).advantages is grpo.advantages


def test_the_router_moves_away_from_busy_experts_and_padding_does_not_count(base, tmp_path):
    model, tokenizer = base
    rollouts = rolled(base)
    load = study_hooks.router_load(model, rollouts, tokenizer.pad)
    assert load.shape == (3, 4) and torch.allclose(load.sum(-1), torch.ones(3))
    one_by_one = 0
    for row in range(24):
        ids = torch.tensor([rollouts.prompt_ids[row // 4] + rollouts.response_ids[row]])
        chosen = [layer.expert_BTK.flatten() for layer in model.trunk(ids)[1]]
        one_by_one = one_by_one + torch.stack([torch.bincount(c, minlength=4) for c in chosen])
    assert torch.allclose(load, one_by_one / one_by_one.sum(-1, keepdim=True), atol=1e-6)
    phase = practised(base, tmp_path, {"router": 0.25})
    before = [layer.bias_E.clone() for layer in phase.model.expert_layers()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_hooks, "router_load", lambda *_: load)
        phase.parts.after(0, phase, rollouts, {})
    moved = torch.stack([m.bias_E - b for m, b in zip(phase.model.expert_layers(), before)])
    assert torch.allclose(moved, 0.25 * torch.sign(load.mean(-1, keepdim=True) - load))


# ---------------------------------------------------------------- plans


def test_every_size_of_a_group_draws_as_many_responses_as_the_default_run():
    rl = PRESETS["cpu"].rl
    groups = [v.flags for v in STUDIES["ablations"].variants if v.name.startswith("group_")]
    samples = {flags["rl.prompts"] * flags["rl.group_size"] for flags in groups}
    assert len(groups) == 4 and samples == {rl.prompts * rl.group_size}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_rl_from_a_base_of_its_own_is_as_in_the_stored_studies(device):
    """32 prompts a step at 1e-4; from the shipped base it is the preset's."""
    flags = flags_of(STUDIES["habits"].variants[0], "cpu", device, {})
    assert (flags["rl.prompts"], flags["rl.lr"]) == (32, 1e-4)
    assert not {"rl.prompts", "rl.lr"} & set(flags_of(NORMAL, "cpu", device, {}))
    assert flags_of(STUDIES["habits"].variants[0], "cpu", device, {"rl.lr": 3e-4})["rl.lr"] == 3e-4


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("scale, device", BASES)
def test_every_variant_is_a_valid_run(name, scale, device):
    for variant in STUDIES[name].variants:
        flags = flags_of(variant, scale, device, {})
        config = parse_command_line([f"--{key}={value}" for key, value in flags.items()])
        assert config.from_scratch == (variant.pretrained or scale == "smoke")
        others = {"budget", "dense_twin", "corpus", "arms", "asked"}
        assert set(variant.hooks) <= set(study_hooks.HOOKS) | others


def test_names_of_variants_are_folders_and_unlike():
    for plan in STUDIES.values():
        names = [v.name for v in plan.variants]
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(r"[\w.]+", name) for name in names)


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_the_dense_twin_uses_as_many_weights_a_token(scale):
    variant = next(v for v in STUDIES["ablations"].variants if v.name == "dense")
    flags = flags_of(variant, scale, "cuda", {})
    moe = PRESETS[scale].model
    changes = {name: flags[f"model.{name}"] for name in ("experts", "dense_width")}
    dense = apply(moe, changes)
    counts = [parameter_counts(Transformer(c))[1] for c in (moe, dense)]
    assert dense.experts == 0 and abs(counts[1] / counts[0] - 1) < 0.01
    assert isinstance(dense, ModelConfig)


def test_a_part_of_the_pretraining_budget():
    some = [v for v in STUDIES["ablations"].variants if "budget" in v.hooks]
    for common in ({}, {"pretrain.tokens": "8000000"}):
        tokens = [flags_of(v, "cpu", "cpu", common)["pretrain.tokens"] for v in some]
        assert tokens == [500_000, 2_000_000, 4_000_000]


def test_a_gpu_base_needs_a_gpu():
    with pytest.raises(UserError, match="needs a GPU"):
        flags_of(STUDIES["habits"].variants[0], "gpu", "cpu", {})


def test_curves_are_those_of_the_phase_that_a_run_is_about(tmp_path):
    def write(*rows: tuple[str, int, float]) -> None:
        lines = [dict(zip(("phase", "step", "accuracy"), row)) for row in rows]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / "metrics.jsonl").write_text(text)

    rows = [("validate", 20, 0.5), ("rl", 1, 0.4)]
    write(*rows)
    assert curves_of(tmp_path) == {"validate accuracy": [[20, 0.5]]}
    write(*rows, ("answer_only", 1, 0.2), ("validate_answer_only", 20, 0.3))
    assert curves_of(tmp_path) == {"validate accuracy": [[20, 0.3]]}


# ---------------------------------------------------------------- the command


def start(*arguments, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "minir1", "study", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, cwd=ROOT, **options)


def finish(*arguments) -> tuple[int, str, str]:
    process = start(*arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


SMALL = ("--scale", "smoke", "--devices", "cpu", "--workers", "2", "--seeds", "0")
SMALL += ("--variants", "normal,random,references")


def test_a_study_stops_in_time_says_what_is_missing_and_goes_on(tmp_path):
    out = tmp_path / "study"
    status, text, err = finish("controls", *SMALL, "--out", out, "--minutes", "0.001")
    missing = "missing: normal, seed 0; random, seed 0; references, seed 0"
    assert status == 1 and missing in text, err
    status, text, err = finish("controls", *SMALL, "--out", out)
    assert status == 0 and "missing" not in text, text + err
    summary = json.loads((out / "controls.json").read_text(encoding="utf-8"))
    assert set(summary["variants"]) == {"normal", "random", "references"} and not summary["missing"]
    normal = summary["variants"]["normal"]
    assert [step for step, _ in normal["seeds"]["0"]["curves"]["validate accuracy"]] == [0, 2, 4]
    references = summary["variants"]["references"]["references"]
    assert {"blind_tokens", "lookahead", "forced_base", "pass64_base"} <= set(references)
    assert over_seeds(normal, "zero", "accuracy") == [normal["seeds"]["0"]["zero"]["accuracy"]]
    assert set(normal["seeds"]["0"]["more_numbers"]) == {"base", "zero", "blind"}
    assert (out / "controls.png").stat().st_size > 5000
    lines = (out / "runs/random-0/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["phase"] == "rl"]
    assert any(0.2 < row["reward"] < 0.8 for row in rows)
    assert all(row["accuracy"] < 0.2 for row in rows)
    before = [path.stat().st_mtime_ns for path in sorted(out.rglob("metrics.jsonl"))]
    status, text, _ = finish("controls", *SMALL, "--out", out)
    assert status == 0 and "3 of them done" in text
    assert [path.stat().st_mtime_ns for path in sorted(out.rglob("metrics.jsonl"))] == before
    other = ("--out", out, "--set", "rl.lr=0.5")
    status, _, err = finish("controls", *SMALL, *other, "--variants", "normal,inverted")
    assert status == 2 and "other settings" in err
    ran = json.loads((out / "controls.json").read_text())["command"]
    status, *_ = finish("controls", *SMALL, *other, "--only-draw")
    drawn = json.loads((out / "controls.json").read_text())["command"]
    assert status == 0 and drawn == ran and "--only-draw" not in ran


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["weather"], "unknown study 'weather'"),
        (["controls", "--variants", "sunny"], "no variant 'sunny'"),
        (["controls", "--devices", "cuda:7"], "cuda:7 is not here"),
        (["controls", "--set", "rl.lr"], "should read like"),
        (["controls", "--set", "rl.speed=3", "--devices", "cpu"], "--rl.speed"),
        (["controls", "--seeds", "one"], "--seeds"),
        (["habits", "--scale", "gpu", "--devices", "cpu"], "needs a GPU"),
    ],
)
def test_what_the_user_can_put_right_is_one_line(tmp_path, arguments, message):
    status, _, err = finish(*arguments, "--out", tmp_path / "x")
    assert status == 2 and message in err and len(err.strip().splitlines()) == 1


def test_a_failed_run_is_named_with_its_reason(tmp_path, capsys):
    out = tmp_path / "study"
    arguments = ["controls", *SMALL[:-1], "normal", "--out", str(out)]
    arguments += ["--set", "base=nowhere.pt", "--set", "from_scratch=off"]
    assert command.main(arguments) == 1
    said = capsys.readouterr().out
    assert "no checkpoint at nowhere.pt" in said and "failed: normal, seed 0" in said


# ---------------------------------------------------------------- create or amplify


EXPOSED = [(0.1, "cpu-five"), (0.01, "cpu-large"), (0, "cpu-five")]


@pytest.mark.parametrize(("share", "kind"), EXPOSED)
def test_an_exposure_is_the_share_of_countdown_documents_about_harder_puzzles(share, kind):
    config = PRESETS["cpu"].corpus
    texts = corpora.sample({"exposure": [kind, share]}, config, 1, 4000)
    problems = [read_document(t)[1] for t in texts if corpora.is_countdown(t)]
    hard = [p for p in problems if len(p.numbers) > 3]
    expected = share * len(problems)
    assert abs(len(hard) - expected) <= 4 * expected**0.5
    assert all(p.split() == "train" for p in problems)
    if kind == "cpu-large":
        assert all(p.target >= 100 and len(p.numbers) == 4 for p in hard)


PUZZLE = Countdown((3, 5, 4), 32)


@pytest.mark.parametrize(("thought", "reached"), [
    ("3 + 5 = 8, 8 * 4 = 32, yes", True),
    ("3 * 5 = 15, 15 + 4 = 19, not 32\nwait, 3 + 5 = 8, 8 * 4 = 32, yes", True),
    ("3 + 5 = 9, 8 * 4 = 32, yes", False),  # a false step
    ("3 + 5 = 8, with 4: 12, 4, 32, yes", True),
    ("3 + 5 = 8, with 4: 13, 4, 32, yes", False),  # a false value among those looked at
    ("3 + 5 = 8, 8 + 4 = 12, not 32", False),  # the answer does not come from it
    ("8 * 4 = 32, yes", False),  # a number that it was not given
    ("", False),
])
def test_a_thought_counts_only_if_its_true_steps_reach_the_target(thought, reached):
    text = f"<think>{thought}</think><answer>(3 + 5) * 4</answer>"
    assert create.thought_through(PUZZLE, text) == reached


def test_random_attempts_hit_as_often_as_is_computed():
    rng, problem = Random(3), Countdown((2, 3, 7, 10), 24)
    chance = hit_chance(problem.numbers, problem.target)
    hits = sum(random_attempt(rng, problem.numbers)[-1].value == 24 for _ in range(20_000))
    assert chance > 0.005 and abs(hits / 20_000 - chance) < 4 * (chance / 20_000) ** 0.5


def cell(counts: list[int]) -> dict:
    return {"right": counts, "thought": counts, "samples": 16, "shapes": {}, "chance": [0.01] * 40}


@pytest.mark.parametrize(("before", "after", "word"), [
    (0, 2, "extends"), (2, 2, "nothing"), (4, 0, "narrows"),
])
def test_a_verdict_compares_pass_at_k_at_every_k(before, after, word):
    seeds = {str(i): {"base": cell([before] * 40), "at": cell([after] * 40)} for i in range(3)}
    summary = {"variants": {"five_1": {"seeds": seeds}}}
    (row,) = verdicts.decide(summary)
    assert row["right: RL"] == row["thought: RL"] == word
    assert row["right@1"] == [before / 16, after / 16]
    assert row["new puzzles"] == (120 if before == 0 else 0)


def test_more_for_one_answer_and_fewer_puzzles_sharpens_and_narrows():
    seeds = {str(i): {"base": cell([2] * 40), "at": cell([16, 0] * 20)} for i in range(3)}
    (row,) = verdicts.decide({"variants": {"five_1": {"seeds": seeds}}})
    assert row["right: RL"] == "sharpens and narrows"


def test_the_rows_of_create_follow_from_the_counts_that_are_stored():
    summary = json.loads((ROOT / "results/studies/create/create.json").read_text())
    assert len([v for v in summary["variants"].values() if len(v["seeds"]) == 3]) == 8
    variant = summary["variants"]["five_10"]
    row = next(r for r in summary["rows"] if (r["cell"], r["recipe"]) == ("five_10", "mixed"))
    for key in ("right", "thought"):
        for place, side in enumerate(("base", "mixed")):
            cells = [seed[side] for seed in variant["seeds"].values()]
            solved = [pass_at_k(1024, c, 1024) for one in cells for c in one[key]]
            assert row[f"{key}@k"][place] == pytest.approx(sum(solved) / len(solved), abs=1e-5)


def test_one_cell_of_create_from_end_to_end(tmp_path):
    few = ["rl.steps=1", "eval.problems=2", "rl.group_size=2", "rl.max_tokens=24", "eval.batch=16"]
    flags = [word for pair in few for word in ("--set", pair)]
    arguments = ["create", "--scale", "smoke", "--devices", "cpu", "--workers", "1", "--seeds", "0"]
    arguments += ["--variants", "five_1", "--out", str(tmp_path), *flags]
    assert command.main(arguments) == 0
    summary = json.loads((tmp_path / "create.json").read_text())
    cells = summary["variants"]["five_1"]["seeds"]["0"]
    arms = {"base", "below", "at", "mixed", "coin", "rejection_sft"}
    assert set(cells) == arms | {"base at 0.7", "base at 1.4", "base forced"}
    assert all(len(c["right"]) == 2 and c["samples"] == 8 for c in cells.values())


def test_a_cell_is_confirmed_on_test_puzzles_and_the_base_asked_again(tmp_path, monkeypatch):
    few = ["rl.steps=1", "eval.problems=3", "rl.group_size=2", "rl.max_tokens=8", "eval.batch=16"]
    flags = [f"--{pair}" for pair in few]
    variant = next(v for v in STUDIES["confirm"].variants if v.name == "five_10")
    hooks = variant.hooks | {"arms": ["mixed", "more"]}
    session = Session.open(["--preset", "smoke", "--seed", "3", "--out", str(tmp_path), *flags])
    base = session.load_or_make("pretrain", lambda: base_model(session, MiniWeb(session.config)))
    scored = []

    def right_ones(rollouts):  # the first samples of the base: none, of the policy: some, then one
        scored.append([problem.split() for problem in rollouts.problems])  # two puzzles, then one
        thought = {1: 0, 2: 0, 3: 2, 4: 5}.get(len(scored), int(len(scored) == 10))
        return [(["<answer>1 + 2</answer>"], thought)] * len(rollouts.problems)

    monkeypatch.setattr(create, "right_ones", right_ones)
    cells = create.cells(session, base, hooks)["cells"]
    assert {split for part in scored for split in part} == {"test"}
    assert cells["base"]["thought"] == [0, 0, 0] and cells["mixed"]["thought"] == [2, 2, 5]
    again = cells["mixed"]["again"]  # the last one is found in the second of 16 turns of 8 samples
    assert again["place"] == [2, 0, 1] and again["samples"] == [128, 128, 16]
    assert again["right"] == [16, 16, 2] and again["thought"] == [0, 0, 1]
    own, policy = {"thought": [1, 0, 0], "samples": 8}, {"thought": [2, 2, 0]}
    # neither what the base has thought through, nor what the policy has not
    assert create.again(session, base, "cpu-five", own, policy)["place"] == [1]


def test_controls_of_a_confirmation_are_asked_a_quarter_as_often(tmp_path, monkeypatch):
    session = Session.open(["--preset", "smoke", "--seed", "3", "--out", str(tmp_path)])
    base = session.load_or_make("pretrain", lambda: base_model(session, MiniWeb(session.config)))
    asked = []
    monkeypatch.setattr(create, "counts", lambda *given, **how: asked.append(how) or {})
    monkeypatch.setattr(create, "train", lambda *given: base)
    monkeypatch.setattr(create, "again", lambda *given: {})
    hooks = next(v for v in STUDIES["confirm"].variants if v.name == "five_10").hooks
    create.cells(session, base, hooks)
    assert asked == [{"split": "test"}] * 2 + [{"split": "test", "samples": 256}] * 2


def test_reading_on_reads_documents_that_the_base_has_not(tmp_path, monkeypatch):
    session = Session.open(["--preset", "smoke", "--seed", "3", "--out", str(tmp_path)])
    base = session.load_or_make("pretrain", lambda: base_model(session, MiniWeb(session.config)))
    asked, whole = [], MiniWeb.batches

    def batches(self, tokenizer, rows, row_tokens, first, count):
        asked.append((first, count))
        return whole(self, tokenizer, rows, row_tokens, first, count)

    monkeypatch.setattr(MiniWeb, "batches", batches)
    create.read_on(session, base, {"corpus": {"exposure": ["cpu-five", 0.1]}})
    read = session.config.pretrain.tokens // session.config.pretrain.batch_tokens
    assert asked == [(read, read // 5)] and read >= 5


def test_controls_are_compared_at_their_own_k():
    base, few = cell([1] * 40), cell([2] * 40) | {"samples": 4}
    again = {"place": [0, 1, 2], "samples": [64] * 3, "right": [0, 3, 4], "thought": [0, 0, 1]}
    seeds = {str(i): {"base": base, "mixed": cell([3] * 40) | {"again": again}} for i in range(2)}
    seeds["1"]["more"] = few  # the other seed was ended before
    mixed, more = verdicts.decide({"variants": {"five_10": {"seeds": seeds}}})
    assert (mixed["recipe"], more["recipe"]) == ("mixed", "more")
    assert more["right@k"] == [pytest.approx(4 / 16), 1.0]  # pass@4 of one in 16, of two in 4
    assert [mixed["asked again"], mixed["never right"]] == [6, 2]
    assert [more["asked again"], more["never right"]] == [0, 0]
    assert more["thought: RL"] == "extends"


def test_bounds_of_a_gain_are_those_of_a_mean_over_puzzles():
    """All seeds alike: what is left is the standard error over 400 puzzles, 1.96 times it at 5%."""
    change_P = np.random.default_rng(1).normal(0.3, 1.0, 400)
    after = np.broadcast_to(change_P[None, :, None], (3, 400, 1))
    mean_K, low_K, high_K = verdicts.gain(np.zeros_like(after), after, 0.05)
    error = 1.96 * change_P.std() / 20
    assert mean_K[0] == pytest.approx(change_P.mean())
    assert low_K[0] == pytest.approx(change_P.mean() - error, abs=error / 10)
    assert high_K[0] == pytest.approx(change_P.mean() + error, abs=error / 10)


def test_verdicts_are_corrected_for_all_looks_of_a_study(monkeypatch):
    levels, gain = [], verdicts.gain
    monkeypatch.setattr(verdicts, "gain", lambda *how: levels.append(how[2]) or gain(*how))
    seeds = {"0": {"base": cell([1] * 40), "at": cell([2] * 40), "mixed": cell([2] * 40)}}
    verdicts.decide({"variants": {"five_1": {"seeds": seeds}, "five_10": {"seeds": seeds}}})
    assert levels == [0.05 / 8] * 8  # four cells, answers and thoughts


class Told:
    """In place of a session and its evaluator: responses are given, what was asked is kept."""

    def __init__(self, texts: list[str]):
        self.texts, self.asked = texts, []
        self.config, self.device = replace(PRESETS["smoke"], seed=5), None
        self.settings = Sampling(8, (0,), 1.0)

    def sampler(self, model) -> None: ...

    def evaluator(self, sampler) -> "Told":
        return self

    def forced_settings(self) -> Sampling:
        return replace(self.settings, ban_ids=(7,))

    def batches(self, model, problems, samples, seed, settings, prefix):
        self.asked.append((samples, seed, settings.temperature, settings.ban_ids, prefix))
        rewards = [score(p, t) for p in problems for t in self.texts]
        ids = [[1, 2, 3]] * len(rewards)
        texts = self.texts * len(problems)
        yield Rollouts(problems, samples, [], ids, [], texts, [], rewards)


def test_counts_are_of_right_answers_and_of_those_thought_through(monkeypatch):
    answer = "<answer>(3 + 5) * 4</answer><|end|>"
    thoughts = ["<think>3 + 5 = 8, 8 * 4 = 32, yes</think>"] * 2 + [""] * 3
    wrong = ["<answer>3 + 5 + 4</answer><|end|>"] * 3
    told = Told([thought + answer for thought in thoughts] + wrong)
    monkeypatch.setattr(create, "puzzles", lambda *how: [PUZZLE, PUZZLE])
    found = create.counts(told, None, "cpu", 0.7)
    assert found["right"] == [5, 5] and found["thought"] == [2, 2] and found["samples"] == 8
    assert found["shapes"] == {"(x.x).x": 10} and found["tokens"] == 3
    assert found["chance"] == [hit_chance((3, 4, 5), 32)] * 2
    create.counts(told, None, "cpu", forced=True)
    assert told.asked == [(8, 5, 0.7, (), ""), (8, 5, 1.0, (7,), THINK)]


@pytest.mark.parametrize(("arm", "tasks"), [
    ("below", ("countdown:cpu=1",)), ("at", ("countdown:cpu-five=1",)),
    ("mixed", ("countdown:cpu=1", "own")), ("coin", ("countdown:cpu=1", "own")),
])
def test_each_recipe_practises_what_its_name_says(monkeypatch, arm, tasks):
    told, made = Told([]), []
    told.config = apply(told.config, {"rl.tasks": ("countdown:cpu=1", "own")})
    monkeypatch.setattr(create, "RLPhase", lambda *how: made.append(how))
    monkeypatch.setattr(create, "reinforce", lambda phase: None)
    create.train(told, None, arm, {"corpus": {"exposure": ["cpu-five", 0.1]}})
    (_, _, name, rl, draw, parts), = made
    assert (name, rl.tasks) == (arm, tasks) and draw(0)[1][0] == tasks
    assert (parts.judge is by_rule) == (arm != "coin")


# ---------------------------------------------------------------- the base asked again, stored


@pytest.fixture(scope="module")
def again():
    return load("results/studies/again.py")


def test_the_page_shows_the_puzzles_that_the_base_never_thought_through(again):
    cells = json.loads((again.HERE / "again-five.json").read_text(encoding="utf-8"))
    rows = again.asked_again(cells["variants"]["five_10"]["seeds"])
    page = (again.HERE.parent / "create.md").read_text(encoding="utf-8")
    assert f"```text\n{again.table(rows)}\n```" in page
    for row in rows:
        if not row["thought"]:
            *numbers, target = row["puzzle"]
            assert row["samples"] == 17 * 1024 and row["RL"]
            solution = again.solution(tuple(numbers), target)
            assert Countdown(tuple(numbers), target).verify(solution)


def test_a_round_of_rare_thoughts_by_hand(again):
    """A uniform chance p: found in round n with the mean of (1 - p)^(n - 1) p = 1 / (n (n + 1)),
    left after n rounds with 1 / (n + 1); a share `never` of the puzzles is always left."""
    found, left = ({"samples": 1024 * 4, "thought": thought} for thought in (1, 0))
    for never in (0.0, 0.25):
        expected = (1 - never) / 12, never + (1 - never) / 4
        for row, chance in zip((found, left), expected):
            assert again.likelihood([row], never, 1, 1) == pytest.approx(math.log(chance))


def test_how_many_puzzles_left_would_surprise_by_hand(again):
    assert again.surprising(2, 0.5) == 3  # even both are left in a quarter of cases
    assert again.surprising(2, 0.05) == 2  # both: 0.0025; one at least: 0.0975
