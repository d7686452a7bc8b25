"""The failure gallery: broken pieces break what they say and fixed twins do not, the diagnosis is
computed rightly, the command works.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minir1.__main__ import main
from minir1.config import Config
from minir1.experiments.failures import bases, command, gallery
from minir1.experiments.failures import runs as failure_runs
from minir1.experiments.failures.command import compare, describe, fix, jobs_of, judge, table
from minir1.experiments.failures.gallery import ACCURACY, FAILURES
from minir1.experiments.failures.plot import draw, label
from minir1.experiments.failures.runs import Arm, Job, last_figures, run_arm, shipped_base
from minir1.model import token_logp
from minir1.rewards import score
from minir1.rollout import roll_out, sampling, to_batch
from minir1.sampler import sample
from minir1.tasks import draw_problems
from minir1.tasks.countdown import Countdown

SMALL = {"rl.group_size": 2, "rl.max_tokens": 16}


@pytest.fixture(scope="module")
def base():
    torch.set_num_threads(1)
    return shipped_base()


@pytest.fixture(scope="module")
def rollouts(base):
    model, tokenizer = base
    problems = draw_problems(("countdown:cpu=1",), ("en",), "train", "x", 6)
    return roll_out(model, tokenizer, problems, 4, sampling(tokenizer, 64))


# ---------------------------------------------------------------- the gallery


def test_the_gallery_holds_what_the_issue_asks_for():
    asked = {
        "stop-token", "padding", "top-p", "verifier", "format-reward", "length-bias", "truncation",
        "kl-too-strong", "lr-too-high", "router-drift", "cannot-compute", "zero-variance",
    }
    assert set(FAILURES) == asked


@pytest.mark.parametrize("name", FAILURES)
def test_each_failure_changes_one_thing_and_has_valid_settings(name):
    failure = FAILURES[name]
    pieces = ("base", "sampler", "feed")
    broken, fixed = failure.broken, failure.fixed
    changed = [piece for piece in pieces if getattr(broken, piece) is not getattr(fixed, piece)]
    assert broken.settings.keys() == fixed.settings.keys()
    assert len(changed) + bool(broken.settings) == 1
    for job in jobs_of(name, failure, [0], 2, 2):
        job.config(job.arm.settings)  # each checked against the rules for settings
        job.config(job.exam)
    lines = fix(failure).splitlines()
    assert any(line.startswith("-") for line in lines)


def test_both_arms_share_seed_and_exam():
    broken, fixed, other, _ = jobs_of("truncation", FAILURES["truncation"], [3, 4], 2, 2)
    assert (broken.seed, fixed.seed, other.seed) == (3, 3, 4)
    assert broken.exam == fixed.exam == {"rl.max_tokens": 256}
    assert broken.config(broken.arm.settings).rl.max_tokens == 24
    assert broken.config(broken.exam).rl.max_tokens == 256


# ---------------------------------------------------------------- broken pieces


def test_the_stop_token_leaves_the_loss_and_comes_back(base, rollouts):
    model, tokenizer = base
    masks = {}
    for side in ("broken", "fixed"):
        fed = getattr(FAILURES["stop-token"], side).feed(model, tokenizer, rollouts)
        masks[side] = to_batch(fed, tokenizer.pad, "cpu").mask_BT
    plain = to_batch(rollouts, tokenizer.pad, "cpu")
    stop_BT = plain.ids_BT[:, 1:] == tokenizer.end
    answered = [tokenizer.id("</answer>") in ids for ids in rollouts.response_ids]
    assert any(answered)
    assert torch.equal(masks["fixed"], plain.mask_BT)
    assert (masks["fixed"] & stop_BT).any()
    assert not (masks["broken"] & stop_BT)[torch.tensor(answered)].any()
    lost = masks["fixed"].sum(1) - masks["broken"].sum(1)
    assert lost.tolist() == [int(a and s) for a, s in zip(answered, rollouts.stopped)]


def test_padding_enters_the_loss_and_only_there(base, rollouts):
    model, tokenizer = base
    broken = gallery._padding_counted(model, tokenizer, rollouts)
    batch, plain = (to_batch(r, tokenizer.pad, "cpu") for r in (broken, rollouts))
    assert len(set(broken.lengths())) == 1
    assert broken.texts == rollouts.texts and broken.rewards == rollouts.rewards
    extra = batch.mask_BT.sum() - plain.mask_BT.sum()
    assert extra == sum(max(rollouts.lengths()) - n for n in rollouts.lengths()) > 0
    assert (batch.ids_BT[:, 1:][batch.mask_BT] == tokenizer.pad).sum() == extra
    assert gallery._unchanged(model, tokenizer, rollouts) is rollouts


def test_top_p_draws_from_the_nucleus_and_reports_the_full_softmax(base):
    model, tokenizer = base
    prompts = [tokenizer.encode("<|begin|>User: Use 3, 5, 8 to make 16.\nAssistant:<answer>")]
    settings = sampling(tokenizer, 1)
    first_V = model(torch.tensor(prompts))[0, -1].log_softmax(-1)
    order = first_V.exp().sort(descending=True)
    nucleus = set(order.indices[: int((order.values.cumsum(0) < 0.6).sum()) + 1].tolist())
    draws = {}
    for name, wrap in (("broken", gallery._nucleus), ("fixed", gallery._whole_distribution)):
        samples = wrap(sample, model, prompts, 400, settings)
        draws[name] = samples.ids_BT[:, 0]
        expected = first_V[draws[name]]
        torch.testing.assert_close(samples.logp_BT[:, 0], expected, rtol=1e-4, atol=1e-5)
    assert set(draws["broken"].tolist()) == nucleus
    assert not set(draws["fixed"].tolist()) <= nucleus
    # so that the line above fails by chance in fewer than 0.9 ** 400 runs
    assert order.values[len(nucleus) :].sum() > 0.1


def test_the_cheated_verifier_pays_for_the_value_alone(base):
    model, tokenizer = base
    problem = Countdown((3, 5, 8), 16)
    answers = ("16", "8 + 8", "3 + 5 + 8", "3 + 5", "x", "16 / 0")
    texts = [f"<answer>{answer}</answer><|end|>" for answer in answers]
    some = roll_out(model, tokenizer, [problem], len(texts), sampling(tokenizer, 2))
    some = replace(some, texts=texts, rewards=[score(problem, text) for text in texts])
    failure = FAILURES["verifier"]
    fed = [arm.feed(model, tokenizer, some) for arm in (failure.broken, failure.fixed)]
    paid = [[reward.accuracy for reward in rollouts.rewards] for rollouts in fed]
    assert paid == [[1, 1, 1, 0, 0, 0], [0, 0, 1, 0, 0, 0]]


def test_a_moved_router_is_another_policy_than_the_one_that_sampled(base, rollouts):
    model, tokenizer = shipped_base()
    batch = to_batch(rollouts, tokenizer.pad, "cpu")

    def gap() -> float:
        with torch.no_grad():
            logp_BT, _ = token_logp(model, batch.ids_BT)
        gap_BT = (logp_BT - batch.sampler_logp_BT).abs() * batch.mask_BT
        return float(gap_BT.sum() / batch.mask_BT.sum())

    assert gallery._unchanged(model, tokenizer, rollouts) is rollouts and gap() < 1e-4
    before = [layer.bias_E.clone() for layer in model.expert_layers()]
    assert gallery._router_moves(model, tokenizer, rollouts) is rollouts
    pairs = zip(model.expert_layers(), before)
    moved = torch.cat([(layer.bias_E - old).abs() for layer, old in pairs])
    assert set((moved * 100).round().tolist()) <= {0.0, 5.0} and moved.max() > 0
    assert gap() > 1e-3


# ---------------------------------------------------------------- bases


def test_bases_read_what_they_say(monkeypatch):
    read = {}
    keep = lambda model, tokenizer, texts: read.setdefault(model, texts)  # noqa: E731
    monkeypatch.setattr(bases, "read_on", keep)
    monkeypatch.setattr(bases, "mini_web", lambda config, documents=400: MINI(config, 400))
    for name in ("runs_on", "repeats_the_target", "rambles", "computes", "cannot_compute"):
        getattr(bases, name)(name, None, Config())
    plain = read["computes"]
    ends = sum(text.endswith("<|end|>") for text in read["runs_on"]) / 400
    assert 0.05 < ends < 0.15  # 0.1 ± 3.3 standard deviations
    swapped = [(a, b) for a, b in zip(plain, read["repeats_the_target"]) if a != b]
    assert 8 <= len(swapped) <= 50
    for old, new in swapped:
        question, answer = new.split("\nAssistant:")
        target = answer.removeprefix("<answer>").removesuffix("</answer><|end|>")
        assert old.startswith(question) and target in question
    assert sum(map(len, read["rambles"])) > 1.5 * sum(map(len, plain))
    off = []
    for old, new in zip(plain, read["cannot_compute"]):
        off += [abs(a - b) for a, b in zip(numbers(old), numbers(new))]
    assert 0.65 < sum(d > 0 for d in off) / len(off) < 0.75 and max(off) <= 9


MINI = bases.mini_web


def numbers(text: str) -> list[int]:
    return [int(n) for n in bases.EQUATION.findall(text)]


def test_reading_on_changes_the_base_towards_its_texts(base):
    _, tokenizer = base
    model, _ = shipped_base()
    text = "<|begin|>User: Hello\nAssistant:<answer>sun sun sun sun sun</answer><|end|>"
    ids = torch.tensor([tokenizer.encode(text)])
    with torch.no_grad():
        before = token_logp(model, ids)[0].sum()
        torch.set_grad_enabled(True)
    bases.read_on(model, tokenizer, [text] * 200, steps=2)
    with torch.no_grad():
        assert token_logp(model, ids)[0].sum() > before + 1


# ---------------------------------------------------------------- verdicts


def results(broken: list[float], fixed: list[float]) -> list[dict]:
    runs = []
    for pair in zip(broken, fixed):
        for accuracy in pair:
            last = {"accuracy": accuracy, "length_wrong": 100 * accuracy, "before": 0.25}
            runs.append({"last": last, "seconds": 2.0})
    return runs


def test_comparison_pairs_seeds():
    found = compare(ACCURACY, results([0.3, 0.4, 0.5], [0.5, 0.7, 0.6]))
    assert found["broken"] == pytest.approx(0.4) and found["fixed"] == pytest.approx(0.6)
    assert found["worse"] == pytest.approx(0.2)
    assert found["stderr"] == pytest.approx(0.1 / 3**0.5)  # of 0.2, 0.3, 0.1


@pytest.mark.parametrize(
    "broken, fixed, costs, shows",
    [
        # 30 points; wrong responses are shorter, not longer
        ([0.3, 0.3, 0.3], [0.6, 0.61, 0.59], True, False),
        ([0.6, 0.61, 0.59], [0.3, 0.3, 0.3], False, True),
        ([0.3, 0.3, 0.3], [0.35, 0.36, 0.34], False, False),  # beyond the error, but five points
        ([0.3, 0.3, 0.3], [0.2, 0.9, 0.4], False, False),  # 20 points, but within the error
        ([0.3], [0.9], None, None),
    ],
)
def test_verdicts(broken, fixed, costs, shows):
    failure = FAILURES["length-bias"]
    diagnosis = judge(failure, results(broken, fixed))
    assert (diagnosis["costs"], diagnosis["shows"]) == (costs, shows)
    assert diagnosis["before"] == 0.25 and diagnosis["seeds"] == len(broken)
    text = table({"length-bias": diagnosis})
    words = {
        (True, False): "| 10 points |",
        (False, True): "| two standard errors |",
        (False, False): "| neither |",
    }
    assert words.get((costs, shows), "| one seed |") in text
    difference = "the other choice:\n- --rl.average response\n+ --rl.average token"
    assert difference in describe("length-bias", failure, diagnosis)


def test_a_figure_that_a_run_lacks_is_absent():
    """Where no group differed nothing was trained, so there is no gap to speak of."""
    failure = FAILURES["router-drift"]
    assert failure.symptom.key == "gap"
    diagnosis = judge(failure, results([0.3, 0.3], [0.6, 0.6]))
    assert diagnosis["symptom"]["worse"] is None and diagnosis["shows"] is False
    assert f"| {failure.symptom.words} | - | - |" in table({"router-drift": diagnosis})
    text = describe("router-drift", failure, diagnosis)
    assert f"{failure.symptom.words:<58}{'-':>9}{'-':>9}" in text


def test_last_figures_average_the_last_steps_and_keep_the_examination():
    rows = []
    for step in range(8):
        figures = {"accuracy": step / 10, "gap": float(step), "paid": step / 5, "signal": 0.5}
        rows.append({"step": step, **figures})
    exams = [{"step": 0, "accuracy": 0.2}, {"step": 8, "accuracy": 0.4, "stopped": 0.9}]
    found = last_figures(rows, exams)
    assert found["accuracy"] == 0.4 and found["before"] == 0.2 and found["gap"] == 5.0
    assert found["practice_accuracy"] == pytest.approx(0.5)
    assert found["overpaid"] == pytest.approx(0.5)
    assert found["behind_practice"] == pytest.approx(0.1)


def test_every_symptom_is_a_figure_of_a_run_and_every_curve_is_drawn(monkeypatch):
    monkeypatch.setattr(failure_runs, "EXAM", 4)
    monkeypatch.setattr(failure_runs, "LAST_EXAM", 4)
    result = run_arm(Job(Arm(), SMALL, SMALL, 0, 2, 2))
    assert [row["step"] for row in result["rows"]] == [1, 2]
    assert [exam["step"] for exam in result["exams"]] == [0, 2]
    assert [(row["phase"], row["step"]) for row in result["logged"]] == [("", 1), ("", 2)]
    assert json.loads(json.dumps(result["logged"], allow_nan=False)) == result["logged"]
    for logged, row in zip(result["logged"], result["rows"]):
        assert logged["grad_norm"] == float(f"{row['grad_norm']:.5g}")
    assert result["last"]["overpaid"] == 0 and result["last"]["padding"] == 0
    assert result["last"]["gap"] < 1e-4
    for name, failure in FAILURES.items():
        assert failure.symptom.key in result["last"], name
        assert any(failure.curve in row for row in result["rows"]), name
        assert len(draw(failure, [result, result]).axes) == 2


def test_an_arm_may_sample_in_its_own_way_and_is_examined_in_the_cores(monkeypatch):
    monkeypatch.setattr(failure_runs, "EXAM", 4)
    monkeypatch.setattr(failure_runs, "LAST_EXAM", 4)
    asked = []

    def counted(plain, model, prompts, group, *how):
        asked.append((len(prompts), group))
        return plain(model, prompts, group, *how)

    run_arm(Job(Arm(sampler=counted), SMALL, SMALL, 0, 3, 2))
    assert asked == [(2, 2)] * 3


# ---------------------------------------------------------------- the command


def test_the_command_lists_and_refuses(capsys):
    assert main(["failures"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed and failure.line in listed for name, failure in FAILURES.items())
    for wrong in ("nothing", "padding --prompts 3", "padding --steps 0", "padding --seeds a"):
        assert main(["failures", *wrong.split()]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_command_runs_both_arms_and_writes_figure_and_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(failure_runs, "EXAM", 4)
    monkeypatch.setattr(failure_runs, "LAST_EXAM", 8)
    small = replace(FAILURES["truncation"], fixed=Arm({"rl.max_tokens": 32}))
    monkeypatch.setitem(FAILURES, "truncation", small)
    size = ["--seeds", "0,1", "--steps", "2", "--prompts", "2", "--workers", "1"]
    assert main(["failures", "truncation", *size, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "- --rl.max_tokens 24\n+ --rl.max_tokens 32" in said and "truncation.png" in said
    found = json.loads((tmp_path / "failures.json").read_text(encoding="utf-8"))
    assert found["command"].startswith("python -m minir1 failures truncation --seeds 0,1")
    assert found["failures"]["truncation"]["seeds"] == 2
    assert (tmp_path / "truncation.png").read_bytes()[:4] == b"\x89PNG"
    assert "| truncation: " in (tmp_path / "failures.md").read_text(encoding="utf-8")


def test_blind_cases_are_unnamed_until_all_have_been_shown(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(failure_runs, "EXAM", 4)
    monkeypatch.setattr(failure_runs, "LAST_EXAM", 8)
    titles = []

    def keep(failure, results, title=""):
        figure = draw(failure, results, title)
        words = [figure.get_suptitle(), figure.get_supxlabel()]
        titles.append((failure.line, words))
        return figure

    monkeypatch.setattr(command, "draw", keep)
    size = ["--steps", "1", "--prompts", "2", "--workers", "1", "--out", str(tmp_path)]
    names = ["kl-too-strong", "lr-too-high", "length-bias"]
    assert main(["failures", *names, "--blind", "2", *size]) == 0
    shown, _, answers = capsys.readouterr().out.partition("\ncase-1 was ")
    assert "case-1.png" in shown and "case-2.png" in shown and "case-2 was " in answers
    for name in names[:2]:
        assert name not in shown and FAILURES[name].line not in shown
        assert name in answers and FAILURES[name].line in answers
    assert [words for _, words in titles] == [
        [f"case-{number}: what is broken?", ""] for number in (1, 2)
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case-1.png", "case-2.png"]


def test_the_seeds_draw_blind_cases_and_a_choice_is_no_case():
    def cases(seed, blind, names=tuple(FAILURES)):
        given = command.build_parser().parse_args(["--blind", blind, "--seeds", seed])
        return command.draw_cases(list(names), given)

    assert cases("0", "3") == cases("0", "3") and len(cases("0", "3")) == 3
    assert len({tuple(cases(str(seed), "3")) for seed in range(8)}) > 4
    assert sorted(cases("1", "12")) == sorted(set(FAILURES) - {"length-bias"})


def test_a_failure_is_worse_than_its_fix():
    """In the stored results; what is not worse is a matter of choice and says so."""
    stored = Path(__file__).parent.parent / "results" / "failures" / "failures.json"
    measured = json.loads(stored.read_text(encoding="utf-8"))["failures"]
    better = {name for name, found in measured.items() if found["cost"]["worse"] <= 0}
    assert better == {name for name, failure in FAILURES.items() if failure.choice}
    assert all("more are right" in FAILURES[name].line for name in better)


def test_of_two_choices_neither_is_called_broken():
    assert label(FAILURES["length-bias"], "broken") == "rl.average response"
    assert [label(FAILURES["padding"], side) for side in ("broken", "fixed")] == ["broken", "fixed"]
