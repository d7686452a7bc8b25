"""The diagnosis names each cause within ten steps and says nothing of the kind of good runs; it is
the same from the folder as on the console.
"""

import math
import random
from pathlib import Path

import pytest

from minir1.__main__ import main as command
from minir1.config import Config
from minir1.measure.diagnosis import diagnosis, phase, trouble
from minir1.report.reading import read_metrics
from minir1.run.folder import Run
from minir1.run.progress import RLProgress, describe
from minir1.run.session import Session

GOOD = sorted((Path(__file__).parent.parent / "results" / "zero").glob("*/metrics.jsonl"))


def rows_of(steps: int, level: float = 0.4, **figures) -> list[dict]:
    """A run that goes on as it began; a figure is a number, or a function of the step."""
    noise, rows = random.Random(0), []
    for step in range(1, steps + 1):
        row = {
            "step": step, "accuracy": level + noise.gauss(0, 0.01), "format": 0.95, "length": 40,
            "truncated": 0.02, "repeated": 0.05, "thinking": 0.9, "signal": 0.6, "loss": -0.01,
            "entropy": 0.3, "clip_fraction": 1e-4, "grad_norm": 0.3, "gap": 3e-7, "kl": 0.002,
        }
        changes = {k: v(step) if callable(v) else v for k, v in figures.items()}
        rows.append(row | changes)
    return rows


def risen(course) -> list[dict]:
    """Sixty steps whose accuracy follows a course."""
    rows = rows_of(60, 0.0)
    return [row | {"accuracy": row["accuracy"] + course(i)} for i, row in enumerate(rows)]


def turns(before: float, after: float, at: int = 12):
    """A figure that changes at a step and stays so."""
    return lambda step: before if step < at else after


NONE = {"accuracy": 0.0, "signal": 0.0}
CAUSES = {  # name -> (rows, words of the sentence)
    "cut off, at the first step": (
        rows_of(1, truncated=0.97, format=0.03, **NONE), "cut off 97% --rl.max_tokens"),
    "cut off, in a validation": (
        [{"accuracy": 0.0, "truncated": 0.97, "format": 0.03}], "cut off 97% --rl.max_tokens"),
    "cut off": (rows_of(10, truncated=0.97, format=0.03, **NONE), "cut off 97% --rl.max_tokens"),
    "nothing well formed": (rows_of(1, format=0.01, **NONE), "well formed 1% format"),
    "equal rewards": (rows_of(1, signal=0.0), "equal rewards accuracy 41% the reward"),
    "equal rewards, by the spread": (
        rows_of(5, signal=0.0, n=32, stderr=0.04), "equal rewards the reward"),
    "all right or all wrong, by the spread": (
        rows_of(5, signal=0.0, n=32, stderr=0.088), "all right or all wrong --rl.tasks"),
    "all right": (rows_of(5, 0.97, signal=0.02), "solved all right"),
    "all wrong": (rows_of(5, signal=0.0, accuracy=0.0), "100% of groups are all wrong --rl.tasks"),
    "learning rate far too high": (
        rows_of(18, accuracy=turns(0.4, 0.0), truncated=turns(0.02, 1.0), format=turns(0.95, 0.0),
                signal=turns(0.6, 0.0), thinking=turns(0.9, 0.0), length=turns(40, 256)),
        "falls apart 40% -> 0% lower --rl.lr"),
    "the same at once": (
        rows_of(4, accuracy=turns(0.4, 0.0, 3), truncated=turns(0.02, 1.0, 3),
                format=turns(0.95, 0.0, 3), signal=turns(0.6, 0.0, 3)),
        "falls apart 40% -> 0% lower --rl.lr"),
    "responses that end no longer": (
        rows_of(21, accuracy=0.005, truncated=turns(0.02, 1.0)),
        "falls apart cut off 2% -> 100% lower --rl.lr"),
    "responses without form": (
        rows_of(21, accuracy=0.005, format=turns(0.95, 0.2)),
        "falls apart well formed 95% -> 20% lower --rl.lr"),
    "gradient": (rows_of(21, grad_norm=turns(0.3, 60.0)), "gradient 0.3 -> 60 lower --rl.lr"),
    "clipping": (rows_of(21, clip_fraction=turns(1e-4, 0.5)), "50% clipped --rl.lr"),
    "clipping from the start": (rows_of(1, clip_fraction=0.5), "50% clipped --rl.lr"),
    "clipping of whole responses, which do not learn": (
        rows_of(21, clip_fraction=0.3), "30% clipped --rl.lr"),
    "KL, long after": (rows_of(60, kl=turns(0.002, 4.0)), "KL -> 4 lower --rl.lr"),
    "KL": (rows_of(21, kl=turns(0.002, 4.0)), "KL 0.002 -> 4 lower --rl.lr"),
    "KL from little": (rows_of(21, kl=turns(2e-5, 0.04)), "KL 2e-05 -> 0.04 lower --rl.lr"),
    "thinking": (
        rows_of(21, thinking=turns(0.9, 0.0)), "thinking stops 90% -> 0% --rl.max_tokens"),
    "repeating": (
        rows_of(21, length=turns(40, 200), repeated=turns(0.05, 0.8)),
        "repeat 40 -> 200 80% --rl.lr"),
    "not a number": (rows_of(21, loss=turns(0.1, math.nan)), "broken since step 12 loss --rl.lr"),
    "a ceiling": (risen(lambda i: 0.85 + 0.09 * i / 60), "levelling off 9 over the last 10 steps"),
    "a lower ceiling": (risen(lambda i: 0.8 - 0.5 * math.exp(-i / 8)), "levelling off 80%"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_a_cause_is_named_within_ten_steps(name):
    rows, words = CAUSES[name]
    said = trouble(rows) if "validation" in name else diagnosis(rows)
    place = 0
    for word in words.split():
        assert word in said[place:], f"{word!r} is missing: {said}"
        place = said.index(word, place)
    assert "nan" not in said


@pytest.mark.parametrize("name, value", [("grad_norm", 60.0), ("kl", 0.9), ("clip_fraction", 0.9)])
def test_a_single_spike_is_nothing(name, value):
    rows = rows_of(30)
    rows[25][name] = value
    assert not any(trouble(rows[:n]) for n in range(1, 31))


@pytest.mark.parametrize("spike", [1, 2, 3])
def test_a_single_spike_of_a_figure_that_is_measured_every_twenty_steps(spike):
    kl = {0: 2e-5, 20: 0.016, 40: 0.03, 60: 0.04, 80: 0.05} | {20 * spike: 2.7}
    rows = [row | {"kl": kl.get(i)} for i, row in enumerate(rows_of(100))]
    assert not any(trouble(rows[:n]) for n in range(1, 101))
    rows[20 * spike + 20]["kl"] = 3.0  # twice in a row is no spike
    assert trouble(rows[: 20 * spike + 21]).startswith("the policy leaps away from the base (KL ")


def test_longer_responses_repeat_only_if_they_did_not_before():
    """Two in five attempts repeated, and two in ten more than there were."""
    def said(before: float, after: float) -> str:
        return trouble(rows_of(21, length=turns(40, 200), repeated=turns(before, after)))

    for before, after, alarm in (
        (0.3, 0.45, False), (0.3, 0.49, False), (0.3, 0.51, True),
        (0.1, 0.39, False), (0.1, 0.41, True),
    ):
        assert said(before, after).startswith("responses repeat themselves") == alarm


def test_what_is_no_trouble():
    noisy = rows_of(12, accuracy=turns(0.4, 0.15, 10), stderr=0.1)
    tiny = rows_of(21, grad_norm=turns(0.001, 0.1))
    whole = [row | {"clip_fraction": 0.3} for row in risen(lambda i: 0.3 + i / 200)]
    ending = rows_of(21, 0.5, truncated=turns(0.02, 0.95))  # and right all the same
    sure = rows_of(21, 0.95, entropy=turns(0.3, 0.005))
    little = rows_of(21, accuracy=turns(0.12, 0.03))  # a tenth of all answers is not lost
    rare = rows_of(21, thinking=turns(0.25, 0.0))
    no_longer = rows_of(21, repeated=turns(0.05, 0.8), length=turns(40, 99))
    for rows in (noisy, tiny, whole, sure, little, rare, no_longer):
        assert trouble(rows) == ""
    assert "falls apart" not in trouble(ending)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.parent.name)
def test_no_alarm_at_any_step_of_a_good_run(path):
    rows = read_metrics(path.parent)
    practice = phase(rows, "rl")
    for n in range(1, len(practice) + 1):
        said = diagnosis(practice[:n])
        assert not trouble(practice[:n]) and not said.startswith("getting worse"), (n, said)
    assert not any(trouble([row]) for row in phase(rows, "validate"))
    kinds = ("levelling off", "solved", "learning")
    assert diagnosis(rows).startswith(kinds) and "85% -> 94%" not in diagnosis(rows)


# ---------------------------------------------------------------- figures that are not finite


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_report_says_what_the_console_said(tmp_path, capsys, value):
    """One update whose loss is not finite makes every weight so: from then on nothing is right."""
    broken = rows_of(7) + [row | {"step": row["step"] + 7} for row in rows_of(30, **NONE, loss=0.0)]
    broken[6] |= {"loss": value, "grad_norm": value}
    run = Run.start(tmp_path / "run", Config())
    for n, row in enumerate(broken, 1):
        run.log("rl", **row)
        said = diagnosis(broken[:n])
        assert said.startswith("broken since step 7: loss is not a number") == (n >= 7), (n, said)
        assert diagnosis(read_metrics(run.path)) == said
    assert command(["report", str(run.path)]) == 0
    assert "during training: broken since step 7: loss" in capsys.readouterr().out
    assert "broken since step 7" in (run.path / "report.html").read_text(encoding="utf-8")


def test_the_console_remembers_what_was_before_a_stop(tmp_path):
    run = Run.start(tmp_path / "run", Config())
    rows = rows_of(10)
    for row in rows:
        run.log("rl", **row)
    session = Session(run, None, None)
    for phase_of, count in (("rl", 10), ("answer_only", 0)):
        with RLProgress(session, phase_of, Config().rl, 20, 10, describe) as progress:
            assert len(progress.history) == count
            assert not count or diagnosis(progress.history) == diagnosis(rows)


def test_an_update_that_was_left_out_is_no_alarm_and_one_in_three_is():
    rows = rows_of(30)
    rows[24] |= {"grad_norm": math.inf}
    assert trouble(rows[:25]) and not trouble(rows[:26])
    for row in rows[21::3]:
        row["loss"] = math.nan
    assert trouble(rows).startswith("broken since step 28")


def test_pretraining_that_breaks_is_broken():
    rows = [{"phase": "pretrain", "step": 20 * i, "loss": 3.0 if i < 5 else None} for i in range(9)]
    assert diagnosis(rows).startswith("broken since step 100: loss is not a number")
    assert diagnosis(rows[:5]).startswith("pretraining: loss 3.00 -> 3.00")
