"""Students: their shapes, what they cost, and that each way of teaching does what it says."""

import copy
import json
import math
from dataclasses import replace
from random import Random

import pytest
import torch
import torch.nn.functional as F

from minir1.config import apply
from minir1.console.errors import guard
from minir1.corpus.mixture import sample_text
from minir1.fast.device import Device, HalfLearner, pick_device
from minir1.model import Transformer
from minir1.presets import PRESETS
from minir1.r1.data.fine_tuning import fine_tune
from minir1.r1.preference.rewards import rescore
from minir1.r1.presets import PRESETS as R1_PRESETS
from minir1.r1.students import distillation
from minir1.r1.students.distillation import (
    SIZES,
    direct_rl,
    lesson,
    on_policy,
    pull,
    reverse_kl,
    student_config,
)
from minir1.rewards import Reward
from minir1.rollout import Batch
from minir1.run import phases
from minir1.run.costs import costs_of, operations, parameter_counts
from minir1.run.folder import Run
from minir1.run.phases import MiniWeb, Parts, RLPhase, pretrain
from minir1.run.session import Session
from minir1.sampler import sample
from minir1.supervised import Learner
from minir1.tasks import countdown
from minir1.tokenizer import Tokenizer
from train_zero import reinforce

CONFIG = apply(PRESETS["smoke"], {
    "rl.steps": 3, "rl.tasks": ("countdown:cpu=1",), "rl.checkpoint_every": 1,
    "pretrain.tokens": 8192, "pretrain.batch_tokens": 2048, "pretrain.checkpoint_every": 2,
})
LINES = 20 * [
    {"question": f"What is {n} + 1?", "response": f"<answer>{n + 1}</answer><|end|>"}
    for n in (1, 2)
]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(sample_text(CONFIG.corpus, 0, 300), 320)


@pytest.fixture
def session(tmp_path, tokenizer):
    return Session(Run.start(tmp_path / "run", CONFIG), pick_device(CONFIG), tokenizer)


@pytest.fixture
def student():
    torch.manual_seed(0)
    size = {"width": 32, "layers": 2, "head_width": 8, "dense_width": 64}
    return Transformer(replace(student_config("small", 320), **size))


def puzzles(step: int, count: int = 8):
    rng = Random(f"distill {step}")
    return [countdown.sample(rng, "cpu", "train", "en") for _ in range(count)]


def rows(session: Session, phase: str) -> list[dict]:
    lines = (session.run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["phase"] == phase]


# ---------------------------------------------------------------- shapes and costs


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_students_are_dense_twins_of_three_growing_sizes(scale):
    counts = [parameter_counts(Transformer(student_config(size, 512, scale))) for size in SIZES]
    assert all(everything == used for everything, used in counts)  # no experts
    millions = {"cpu": [0.3, 0.8, 2.0], "gpu": [1.3, 2.9, 8.1]}[scale]
    assert [round(n / 1e6, 1) for n, _ in counts] == millions


def test_an_unknown_size_or_scale_is_told():
    for arguments in (("tiny", 512), ("small", 512, "tpu")):
        with pytest.raises(ValueError, match="no student"):
            student_config(*arguments)


def test_operations_are_two_a_weight_read_and_six_a_weight_trained(student):
    n = sum(p.numel() for p in student.parameters())
    assert operations(student, read=10) == 20 * n and operations(student, trained=10) == 60 * n


# ---------------------------------------------------------------- reverse KL


def test_reverse_kl_by_hand():
    """Of distributions whose divergences differ: the forward one is 1.0021."""
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.1, 0.3, 0.6])
    by_hand = torch.tensor(0.7 * math.log(7) + 0.2 * math.log(2 / 3) + 0.1 * math.log(1 / 6))
    assert by_hand.item() == pytest.approx(1.1019, abs=1e-4)
    p_11V, q_11V = p.log()[None, None], q.log()[None, None]
    assert torch.allclose(reverse_kl(p_11V, q_11V + 3.0), by_hand)  # logits may be shifted
    # torch's takes (target, input)
    expected = F.kl_div(q.log(), p.log(), log_target=True, reduction="sum")
    assert torch.allclose(reverse_kl(p_11V, q_11V), expected)


def test_reverse_kl_is_zero_without_gradient_for_equal_models_and_pulls_towards_the_teacher():
    teacher = torch.tensor([[[2.0, 0.0, -1.0]]])
    same = teacher.clone().requires_grad_()
    reverse_kl(same, teacher).sum().backward()
    assert same.grad.abs().max() < 1e-7
    far = torch.zeros(1, 1, 3, requires_grad=True)
    value = reverse_kl(far, teacher).sum()
    value.backward()
    assert far.grad[0, 0, 0] < 0 < far.grad[0, 0, 2]  # descending raises what the teacher likes
    assert reverse_kl(far.detach() - 0.1 * far.grad, teacher).sum() < value


def test_only_sampled_tokens_are_pulled(student, tokenizer):
    teacher, learner = copy.deepcopy(student), Learner(student)
    with torch.no_grad():
        teacher.head.weight.add_(0.1 * torch.randn_like(teacher.head.weight))
    ids_BT = torch.randint(7, 300, (2, 12))
    mask_BT = torch.zeros(2, 11, dtype=torch.bool)
    mask_BT[:, 4:9] = True
    batch = Batch(ids_BT, mask_BT, torch.zeros(2, 11), torch.tensor([12, 12]))
    with torch.no_grad():
        expected = reverse_kl(student(ids_BT[:, :-1]), teacher(ids_BT[:, :-1]))[mask_BT].mean()
    whole = pull(student, teacher, learner, batch, 10_000)
    gradient = [p.grad.clone() for p in learner.parameters]
    learner.optimizer.zero_grad()
    parts = pull(student, teacher, learner, batch, 12)  # a row at a time adds up to the same
    assert whole == pytest.approx(expected.item(), rel=1e-5)
    assert parts == pytest.approx(whole, rel=1e-5)
    assert all(torch.allclose(a, p.grad, atol=1e-7) for a, p in zip(gradient, learner.parameters))


def test_student_and_teacher_compute_in_the_learners_number_format(student):
    teacher, formats = copy.deepcopy(student), []
    for model in (student, teacher):
        model.blocks[0].attention.q.register_forward_hook(
            lambda layer, given, out: formats.append(out.dtype)
        )
    learner = HalfLearner(student, 0.0, 1.0, Device("cpu", "CPU", torch.bfloat16, "plain"))
    ids_BT, mask_BT = torch.randint(7, 300, (2, 12)), torch.ones(2, 11, dtype=torch.bool)
    batch = Batch(ids_BT, mask_BT, torch.zeros(2, 11), torch.tensor([12, 12]))
    pull(student, teacher, learner, batch, 10_000)
    assert formats == [torch.bfloat16] * 2


# ---------------------------------------------------------------- the ways to teach


def again(session: Session) -> Session:
    """The same run, resumed from its last checkpoint."""
    return Session(Run.resume(session.run.path), session.device, session.tokenizer)


def test_a_student_reads_the_corpus_and_goes_on_after_a_stop(session, monkeypatch):
    monkeypatch.setattr(distillation, "_SHAPES", {"cpu": {"small": (32, 2, 8)}})
    shape, phase = student_config("small", 320), "pretrain_small"
    a = pretrain(session, shape, MiniWeb(CONFIG), phase, every=1)
    whole = costs_of(session, phase)
    assert whole["steps"] == 4 and whole["tokens_trained"] == 8192
    state = session.run.load_state(phase)
    assert state["step"] == 2  # the last one kept
    resumed = again(session)
    b = pretrain(resumed, shape, MiniWeb(CONFIG), phase, every=1)  # two more steps
    same = ("steps", "tokens_trained", "flops")
    assert [whole[key] for key in same] == [costs_of(resumed, phase)[key] for key in same]
    pairs = zip(a.state_dict().values(), b.state_dict().values())
    assert all(torch.allclose(x, y, atol=1e-6) for x, y in pairs)


def test_distilling_learns_the_lines_and_leaves_the_given_student_alone(session, student):
    before = copy.deepcopy(student.state_dict())
    fine_tune(session, student, LINES, "distil", epochs=8, rows=8, lr=4e-3)
    losses = [row["loss"] for row in rows(session, "distil")]
    assert costs_of(session, "distil")["steps"] == 40 and losses[-1] < 0.3 * losses[0]
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())


def test_without_lines_the_model_stays_as_it_is(session, student, capsys):
    model = fine_tune(session, student, [], "distil", epochs=1, rows=8, lr=1e-3)
    pairs = zip(model.state_dict().values(), student.state_dict().values())
    assert all(torch.equal(a, b) for a, b in pairs)
    assert "no response was worth keeping" in capsys.readouterr().out


def test_direct_rl_spends_the_budget_of_the_other_way(session, student):
    fine_tune(session, student, LINES * 4, "distil", epochs=6, rows=8, lr=1e-3)
    budget = costs_of(session, "distil")["flops"]
    direct_rl(session, student, CONFIG.rl, budget)
    cost = costs_of(session, "direct")
    steps = [row["flops"] for row in rows(session, "direct")]
    largest = max(b - a for a, b in zip([0, *steps], steps))
    assert cost["steps"] >= 2 and abs(cost["flops"] - budget) <= 0.6 * largest
    one = operations(student, cost["tokens_sampled"], cost["tokens_trained"])
    assert one < cost["flops"] < 1.5 * one  # beside it each prompt is read once


def drawn(count: int):
    return lambda step: (puzzles, (step, count))


def test_rl_takes_steps_problems_and_rewards(session, student):
    seen = []

    def judge(step, rollouts):
        seen.append(step)
        return [Reward(float(row % 2), 0.0, 0.0) for row in range(len(rollouts.rewards))]

    rl = replace(CONFIG.rl, steps=2)
    trained = reinforce(
        RLPhase(session, student, "direct_rl", rl, drawn(4), Parts(judge=judge))
    )
    assert costs_of(session, "direct_rl")["steps"] == 2 and seen == [0, 1]
    assert all(row["reward"] == pytest.approx(0.5) for row in rows(session, "direct_rl"))
    pairs = zip(trained.state_dict().values(), student.state_dict().values())
    assert any(not torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("early, expected", [(6, [6, 6, 9, 9, 9]), (0, [9] * 5)])
def test_responses_are_shorter_in_the_first_half_of_the_steps(session, student, early, expected):
    asked, longest = [], []

    def sampler(model):
        def spied(model, prompts, group, settings, generator):
            samples = sample(model, prompts, group, settings, generator)
            asked.append(settings.max_tokens)
            longest.append(int(samples.length_B.max()))
            return samples

        return spied

    rl = replace(CONFIG.rl, steps=5, max_tokens=9, early_tokens=early)
    reinforce(RLPhase(session, student, "early", rl, drawn(4), Parts(sampler=sampler)))
    assert asked == expected == longest  # none of an untrained student's groups all end before


def test_on_policy_distillation_brings_the_student_to_the_teacher(session, student):
    torch.manual_seed(1)
    teacher = copy.deepcopy(student)
    with torch.no_grad():
        teacher.head.weight.add_(0.05 * torch.randn_like(teacher.head.weight))

    def judge(step, rollouts):
        return [Reward(float(step % 2), 0.0, 0.0) for _ in rollouts.rewards]

    said = "<think>3 + 5 = 8, yes</think><answer>3 + 5</answer><|end|>"
    lines = [{"question": p.question(), "response": said} for p in puzzles(0)]
    rl = replace(CONFIG.rl, steps=20)
    on_policy(session, student, teacher, lines, rl, judge, 3e-3, drawn(8), "on_policy")
    taken = rows(session, "on_policy")
    kl, curated = ([row[name] for row in taken] for name in ("reverse_kl", "reverse_kl_curated"))
    assert curated[-1] < 0.5 * curated[0] and curated != kl
    assert [row["accuracy"] for row in taken] == 10 * [0, 1]
    cost = costs_of(session, "on_policy")
    assert cost["steps"] == 20 and kl[-1] < 0.5 * kl[0]
    own = operations(student, cost["tokens_sampled"], cost["tokens_trained"])
    assert cost["flops"] > own  # the teacher's share


def test_the_pipeline_judges_on_policy_answers_by_its_own_rules(session, student, monkeypatch):
    """The core's reward knows no summaries: every answer of a taught student would be wrong."""
    asked = []

    def stop(phase):
        asked.append((phase.name, phase.rl.steps, phase.parts.judge))
        return student

    monkeypatch.setattr(distillation, "reinforce", stop)
    session.run.log("on-policy", step=1, seconds_step=0.0, tokens_sampled=0, tokens_trained=0)
    config = R1_PRESETS["smoke"]
    distillation.by_teacher(session, config, student, student, LINES)
    assert asked == [("on-policy", config.students.on_policy_steps, rescore)]


def test_students_are_taught_a_random_part_of_the_lines_and_never_more_than_there_are():
    lines, config = [{"question": str(n)} for n in range(50)], R1_PRESETS["smoke"]
    few = replace(config, students=replace(config.students, lines=20))
    part = lesson(few, lines)
    assert len(part) == 20 and all(line in lines for line in part)
    assert len({line["question"] for line in part}) == 20
    assert part != lines[:20]
    assert part == lesson(few, lines) != lesson(replace(few, seed=1), lines)
    assert len(lesson(config, lines)) == 50


def test_each_way_to_teach_shows_how_far_it_is(session, student, capsys):
    said = "<think>3 + 5 = 8, yes</think><answer>3 + 5</answer><|end|>"
    lines = [{"question": p.question(), "response": said} for p in puzzles(0)]
    fine_tune(session, student, lines, "distil-tiny", epochs=2, rows=4, lr=1e-3)
    err = capsys.readouterr().err
    assert "distil-tiny: 100%" in err and "4/4" in err and "loss " in err
    single = replace(CONFIG.rl, steps=1, lr_end=1.0)
    reinforce(RLPhase(session, student, "one", single, drawn(4)))
    one = costs_of(session, "one")["flops"]
    capsys.readouterr()
    rl = replace(CONFIG.rl, lr_end=1.0)
    reinforce(RLPhase(session, student, "by-budget", rl, drawn(4), budget=2.2 * one))
    err = capsys.readouterr().err  # the number of steps was not known beforehand
    assert "by-budget: 100%" in err and "2/2" in err and "right " in err


@pytest.mark.parametrize("way", ["supervised", "rl"])
def test_an_interruption_while_teaching_is_told_on_the_last_line(
    session, student, capsys, monkeypatch, way
):
    def stop(*arguments, **how):
        raise KeyboardInterrupt("go on with: this")

    monkeypatch.setattr(phases, "train_supervised", stop)
    monkeypatch.setattr(phases, "roll_out", stop)  # what the two loops call
    rl = replace(CONFIG.rl, steps=2)
    teach = {
        "supervised": lambda _: fine_tune(session, student, LINES, epochs=1, rows=8, lr=1e-3),
        "rl": lambda _: reinforce(RLPhase(session, student, "rl", rl)),
    }[way]
    assert guard(teach, []) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "minir1: go on with: this"
