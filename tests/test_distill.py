"""Students: their shapes, what they cost, and that each way of teaching moves them the way it says."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from minir1.checkpoint import load_checkpoint
from minir1.config import apply
from minir1.console.errors import guard
from minir1.corpus.mixture import sample_text
from minir1.fast.device import pick_device
from minir1.model import Transformer
from minir1.presets import PRESETS
from minir1.r1.preference.rewards import rescore
from minir1.r1.presets import PRESETS as R1_PRESETS
from minir1.r1.students import distill
from minir1.r1.students import stage as students
from minir1.r1.students.distill import SIZES, direct_rl, distil, on_policy, operations, pretrain_student, reverse_kl, student_config
from minir1.rewards import Reward
from minir1.run.costs import parameter_counts
from minir1.run.folder import Run
from minir1.run.session import Session
from minir1.supervised import Learner
from minir1.tasks import countdown
from minir1.tokenizer import Tokenizer

CONFIG = apply(PRESETS["smoke"], {
    "rl.steps": 3, "rl.tasks": ("countdown:cpu=1",), "pretrain.tokens": 8192, "pretrain.batch_tokens": 2048,
    "pretrain.checkpoint_every": 2, "rl.checkpoint_every": 1,
})  # fmt: skip
LINES = [{"question": f"What is {n} + 1?", "response": f"<answer>{n + 1}</answer><|end|>"} for n in (1, 2)] * 20


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(sample_text(CONFIG.corpus, 0, 300), 320)


@pytest.fixture
def session(tmp_path, tokenizer):
    return Session(Run.start(tmp_path / "run", CONFIG), pick_device(CONFIG), tokenizer)


@pytest.fixture
def student():
    torch.manual_seed(0)
    return Transformer(replace(student_config("small", 320), width=32, layers=2, head_width=8, dense_width=64))


def puzzles(step: int, count: int = 8):
    rng = Random(f"distill {step}")
    return [countdown.sample(rng, "cpu", "train", "en") for _ in range(count)]


def rows(session: Session, phase: str) -> list[dict]:
    found = [json.loads(line) for line in (session.run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in found if row["phase"] == phase]


# ---------------------------------------------------------------- shapes and costs


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_students_are_dense_twins_of_three_growing_sizes(scale):
    counts = [parameter_counts(Transformer(student_config(size, 512, scale))) for size in SIZES]
    assert all(everything == used for everything, used in counts)  # no experts
    assert [round(n / 1e6, 1) for n, _ in counts] == {"cpu": [0.3, 0.8, 2.0], "gpu": [1.3, 2.9, 8.1]}[scale]


def test_an_unknown_size_or_scale_is_told():
    for arguments in (("tiny", 512), ("small", 512, "tpu")):
        with pytest.raises(ValueError, match="no student"):
            student_config(*arguments)


def test_operations_are_two_a_weight_read_and_six_a_weight_trained(student):
    n = sum(p.numel() for p in student.parameters())
    assert operations(student, read=10) == 20 * n and operations(student, trained=10) == 60 * n


# ---------------------------------------------------------------- reverse KL


def test_reverse_kl_by_hand():
    p, q = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.25, 0.5, 0.25])
    by_hand = 0.5 * torch.tensor(2.0).log() + 0.25 * torch.tensor(0.5).log()
    assert torch.allclose(reverse_kl(p.log()[None, None], q.log()[None, None] + 3.0), by_hand)  # logits may be shifted
    expected = F.kl_div(q.log(), p.log(), log_target=True, reduction="sum")  # torch's takes (target, input)
    assert torch.allclose(reverse_kl(p.log()[None, None], q.log()[None, None]), expected)


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
    batch = distill.Batch(ids_BT, mask_BT, torch.zeros(2, 11), torch.tensor([12, 12]))
    with torch.no_grad():
        expected = reverse_kl(student(ids_BT[:, :-1]), teacher(ids_BT[:, :-1]))[mask_BT].mean()
    whole = distill._pull(student, teacher, learner, batch, 10_000)
    gradient = [p.grad.clone() for p in learner.parameters]
    learner.optimizer.zero_grad()
    parts = distill._pull(student, teacher, learner, batch, 12)  # a row at a time adds up to the same
    assert whole == pytest.approx(expected.item(), rel=1e-5) and parts == pytest.approx(whole, rel=1e-5)
    assert all(torch.allclose(a, p.grad, atol=1e-7) for a, p in zip(gradient, learner.parameters))


# ---------------------------------------------------------------- the ways to teach


def test_a_student_reads_the_corpus_and_goes_on_after_a_stop(session, tmp_path, monkeypatch):
    monkeypatch.setattr(distill, "_SHAPES", {"cpu": {"small": (32, 2, 8)}})
    whole = pretrain_student(session, "small", tmp_path / "a.pt")
    assert whole["steps"] == 4 and whole["tokens_trained"] == 8192
    state = session.run.load_state("pretrain_small")
    assert state["step"] == 2  # the last one kept
    again = pretrain_student(session, "small", tmp_path / "b.pt")  # takes up that state: two more steps
    same = {key: whole[key] for key in ("steps", "tokens_trained", "flops")}
    assert same == {key: again[key] for key in same}
    (a, _), (b, _) = load_checkpoint(tmp_path / "a.pt"), load_checkpoint(tmp_path / "b.pt")
    assert all(torch.allclose(x, y, atol=1e-6) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def test_distilling_learns_the_lines_and_leaves_the_given_student_alone(session, student, tmp_path):
    before = copy.deepcopy(student.state_dict())
    figures = distil(session, student, LINES, tmp_path / "s.pt", epochs=8, rows=8, lr=4e-3)
    losses = [row["loss"] for row in rows(session, "distil")]
    assert figures["steps"] == 40 and losses[-1] < 0.3 * losses[0]
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())


def test_direct_rl_spends_the_budget_of_the_other_way(session, student, tmp_path):
    budget = distil(session, student, LINES * 4, tmp_path / "s.pt", epochs=6, rows=8)["flops"]
    spent = direct_rl(session, student, tmp_path / "r.pt", flops=budget)
    steps = [row["flops"] for row in rows(session, "direct_rl")]
    largest = max(b - a for a, b in zip([0, *steps], steps))
    assert spent["steps"] >= 2 and abs(spent["flops"] - budget) <= 0.6 * largest
    one = operations(student, spent["tokens_sampled"], spent["tokens_trained"])
    assert spent["flops"] == one and spent["tokens_trained"] > spent["tokens_sampled"] > 0


def test_direct_rl_takes_steps_problems_and_rewards(session, student, tmp_path):
    seen = []

    def judge(step, rollouts):
        seen.append(step)
        return [Reward(float(row % 2), 0.0, 0.0) for row in range(len(rollouts.rewards))]

    figures = direct_rl(session, student, tmp_path / "r.pt", steps=2, draw=lambda step: puzzles(step, 4), judge=judge)
    assert figures["steps"] == 2 and seen == [0, 1]
    assert all(row["reward"] == pytest.approx(0.5) for row in rows(session, "direct_rl"))
    trained, _ = load_checkpoint(tmp_path / "r.pt")
    assert any(not torch.equal(a, b) for a, b in zip(trained.state_dict().values(), student.state_dict().values()))


def test_on_policy_distillation_brings_the_student_to_the_teacher(session, student, tmp_path):
    torch.manual_seed(1)
    teacher = copy.deepcopy(student)
    with torch.no_grad():
        teacher.head.weight.add_(0.05 * torch.randn_like(teacher.head.weight))
    judge = lambda step, rollouts: [SimpleNamespace(accuracy=step % 2) for _ in rollouts.rewards]  # noqa: E731
    said = "<think>3 + 5 = 8, yes</think><answer>3 + 5</answer><|end|>"
    lines = [{"question": p.question(), "response": said} for p in puzzles(0)]
    figures = on_policy(session, student, teacher, lines, puzzles, 20, tmp_path / "o.pt", lr=3e-3, judge=judge)
    kl, curated = ([row[name] for row in rows(session, "on_policy")] for name in ("reverse_kl", "reverse_kl_curated"))
    assert curated[-1] < 0.5 * curated[0] and curated != kl
    assert [row["accuracy"] for row in rows(session, "on_policy")] == 10 * [0, 1]
    assert figures["steps"] == 20 and kl[-1] < 0.5 * kl[0]
    assert figures["flops"] > operations(student, figures["tokens_sampled"], figures["tokens_trained"])  # the teacher's share
    assert Path(tmp_path / "o.pt").is_file()


def test_the_pipeline_judges_on_policy_answers_by_its_own_rules(monkeypatch):
    """The core's reward does not know summaries: every answer of a taught student would count as wrong."""
    asked = []
    monkeypatch.setattr(students, "load_checkpoint", lambda path, device: (None, None))
    monkeypatch.setattr(distill, "on_policy", lambda *given, **how: asked.append(how))
    run = SimpleNamespace(checkpoints=Path("nowhere"))
    where = SimpleNamespace(run=run, config=PRESETS["smoke"], device=SimpleNamespace(name="cpu"), once=lambda name, work: work())
    students.by_teacher(where, R1_PRESETS["smoke"], None, [])
    assert [how["judge"] for how in asked] == [rescore]


def test_students_are_taught_a_random_part_of_the_lines_and_never_more_than_there_are():
    lines, config = [{"question": str(n)} for n in range(50)], R1_PRESETS["smoke"]
    few = replace(config, students=replace(config.students, lines=20))
    taught = students.lesson(few, lines)
    assert len(taught) == 20 and all(line in lines for line in taught) and len({line["question"] for line in taught}) == 20
    assert taught != lines[:20] and taught == students.lesson(few, lines) != students.lesson(replace(few, seed=1), lines)
    assert len(students.lesson(config, lines)) == 50


def test_each_way_to_teach_shows_how_far_it_is(session, student, tmp_path, capsys):
    said = "<think>3 + 5 = 8, yes</think><answer>3 + 5</answer><|end|>"
    lines = [{"question": p.question(), "response": said} for p in puzzles(0)]
    distil(session, student, lines, tmp_path / "d.pt", epochs=2, rows=4, phase="distil-tiny")
    err = capsys.readouterr().err
    assert "distil-tiny: 100%" in err and "4/4" in err and "loss " in err
    one = direct_rl(session, student, tmp_path / "one.pt", steps=1, draw=lambda step: puzzles(step, 4), phase="one")["flops"]
    capsys.readouterr()
    direct_rl(session, student, tmp_path / "r.pt", flops=2.2 * one, draw=lambda step: puzzles(step, 4), phase="by-budget")
    err = capsys.readouterr().err
    assert "by-budget: 100%" in err and "2/2" in err and "right " in err  # the number of steps was not known beforehand


@pytest.mark.parametrize("way", ["fit", "train", "roll_out"])
def test_an_interruption_while_teaching_is_told_on_the_last_line(session, student, tmp_path, capsys, monkeypatch, way):
    def stop(*given, **how):
        raise KeyboardInterrupt("go on with: this")

    monkeypatch.setattr(distill, way, stop)  # what each way to teach calls in its loop
    teach = {
        "fit": lambda arguments: distil(session, student, LINES, tmp_path / "s.pt", rows=8),
        "train": lambda arguments: direct_rl(session, student, tmp_path / "s.pt", steps=2),
        "roll_out": lambda arguments: on_policy(session, student, student, LINES, puzzles, 2, tmp_path / "s.pt"),
    }[way]
    assert guard(teach, []) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "minir1: go on with: this"
