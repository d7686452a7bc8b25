"""Five sentences at the end of a report: the cause of known failures and of wrong settings is
named, good runs are as they should be.

The runs are stored: results/failures/stored.py tells how.
"""

import json
import re
import shutil
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from script import load

from minir1.__main__ import main as command
from minir1.experiments.failures import runs
from minir1.experiments.failures.gallery import FAILURES
from minir1.measure.diagnosis import diagnosis
from minir1.report import causes, golden, verdict
from minir1.report.causes import Case
from minir1.report.golden_figures import FIGURES
from minir1.report.verdict import five_sentences

RESULTS = Path(__file__).parent.parent / "results"
LATE = RESULTS / "zero" / "gpu-seed4"  # a good run that dips at step 40
GOOD = sorted({*(RESULTS / "zero").glob("*-seed*")} - {LATE})  # of cpu, gpu and best
CAUSES = {  # what the sentence on the likely cause must say
    "stop-token": "stop token", "padding": "padding", "top-p": "top-p", "verifier": "verifier",
    "format-reward": "form is paid", "length-bias": "rl.average", "truncation": "rl.max_tokens",
    "kl-too-strong": "rl.kl", "lr-too-high": "rl.lr", "router-drift": "sampler and trainer",
    "cannot-compute": "base cannot compute", "zero-variance": "rl.tasks",
}
BUGS = {  # the same of mistakes in code, results/failures/bugs.json
    "fault_01": "what is rewarded becomes rarer", "fault_02": "at its own token",
    "fault_03": "each reward meets its response", "fault_04": "old weights",
    "fault_05": "sample as the loss assumes", "fault_06": "subtract the group's mean",
    "fault_07": "a verifier that can be cheated", "fault_08": "refuses right answers",
    "fault_09": "the KL term drives the policy away", "fault_10": "all puzzles of a step are alike",
    "fault_11": "the reward pays for something else", "fault_12": "rl.tasks",
    "fault_21": "sampled tokens only", "fault_23": "add up all micro-batches",
    "fault_24": "look at the ratio", "fault_25": "all responses to a puzzle are the same",
    "fault_27": "without dropout", "fault_28": "what pays for entropy",
    "fault_29": "the learning rate is -",
}
NOT_NAMED = {"fault_22", "fault_26", "fault_30"}
WRONG = (  # results/golden/power.py, in its order
    "rl.lr", "rl.lr", "rl.scale", "rl.minibatches", "rl.clip", "rl.temperature", "rl.group_size",
    "rl.prompts", "rl.max_tokens", "rl.kl", "form is paid", "rl.average",
)


@cache
def stored():
    return load("results/failures/stored.py")


def lines(path: str) -> dict[str, str]:
    text = (RESULTS / path).read_text(encoding="utf-8")
    return {json.loads(line)["name"]: line for line in text.splitlines()}


@pytest.fixture(scope="module", autouse=True)
def remembered():
    """Golden runs are read once."""
    plain = verdict.read_metrics
    verdict.read_metrics = cache(plain)
    yield
    verdict.read_metrics = plain


def named(runs: dict[str, str], causes: dict[str, str], place: Path, last: int = 4) -> list[str]:
    """The runs whose cause is named, in the fourth sentence or before sentence `last`."""
    found = []
    for name, line in runs.items():
        said = five_sentences(stored().unpack(line, place))
        assert len(said) == 5 and all(re.fullmatch(r".+\.", sentence) for sentence in said)
        if said[3].startswith("Likely cause, by its ") and causes[name] in "".join(said[3:last]):
            found.append(name)
    return found


def test_causes_of_the_gallery_are_named(tmp_path):
    runs = lines("failures/runs.jsonl")
    assert set(runs) == set(CAUSES) == set(FAILURES)
    assert len(named(runs, CAUSES, tmp_path)) == 12


def test_mistakes_in_code_are_named(tmp_path):
    runs = lines("failures/bugs.jsonl")
    told = json.loads((RESULTS / "failures" / "bugs.json").read_text("utf-8"))
    assert set(runs) == set(told) == set(BUGS) | NOT_NAMED
    runs = {name: line for name, line in runs.items() if name in BUGS}
    assert set(named(runs, BUGS, tmp_path, last=5)) == set(BUGS)


def wrong_runs() -> tuple[dict[str, str], dict[str, str]]:
    runs = lines("golden/runs.jsonl")
    wrong = {name: line for name, line in runs.items() if name.startswith("wrong")}
    return wrong, {name: WRONG[int(name.split("-")[1])] for name in wrong}


def test_wrong_settings_are_named(tmp_path):
    wrong, causes = wrong_runs()
    assert len(wrong) == 36
    found = named(wrong, causes, tmp_path)
    within = {f"wrong-{i}-{seed}" for i in (4, 10) for seed in (20, 21, 22)}  # in 30 steps
    assert set(wrong) - set(found) == within


def test_what_left_first_stands_before_what_left_later(tmp_path):
    line = lines("golden/runs.jsonl")["wrong-1-20"]
    said = five_sentences(stored().unpack(line, tmp_path))
    assert "first: accuracy, training, below it (31.5% at step 7; golden 32.4% to" in said[1]
    assert said[2].startswith("Then left: entropy (above, step 9), attempts (below, step 11), ")


def test_four_that_left_later_are_named_and_the_others_counted():
    figure = next(f for f in FIGURES if f.name == "length" and f.phase == "rl" and not f.early)
    low, high, run = (np.log([x] * 9) for x in (30, 50, 80))
    bands = [golden.Band(figure, list(range(1, 10)), low, high, run, left) for left in range(7)]
    first = "What left the band of 5 golden runs first: length, training, above it"
    first += " (80 at step 1; golden 30 to 50)."
    for count, words in {0: "No other figure left it.", 1: "Then left: {}.", 4: "Then left: {}.",
                         5: "Then left: {} and 1 more.", 6: "Then left: {} and 2 more."}.items():
        names = ", ".join(f"length (above, step {i + 2})" for i in range(min(4, count)))
        said = verdict.departures("5 golden runs", *bands[: count + 1])
        assert said == [first, words.format(names)]


def test_the_page_says_what_the_report_says():
    page = (RESULTS / "failures" / "diagnoses.md").read_text(encoding="utf-8")
    assert page == stored().table() + "\n"


BY_CURVES = (11, 12)  # of 12 failures, of 12 wrong settings in three seeds each


def test_without_the_settings_less_is_named(tmp_path, monkeypatch):
    """By the curves alone, as if a bug in the code had done what the settings did."""
    monkeypatch.setattr(golden, "differences", lambda config, known: {})
    gallery = named(lines("failures/runs.jsonl"), CAUSES, tmp_path / "a", last=5)
    wrong = named(*wrong_runs(), tmp_path / "b", last=5)
    assert (len(gallery), len(wrong)) == BY_CURVES


@pytest.mark.parametrize("run", GOOD, ids=lambda run: run.name)
def test_good_runs_are_as_they_should_be(run):
    said = five_sentences(run)
    assert len(said) == 5 and said[3] == "It is as it should be."
    assert said[1].startswith("No figure left the band of ")


def test_one_good_run_is_called_bad():
    """The fifth of `gpu` dips for eight steps and ends as the best of the five: a false alarm."""
    said = five_sentences(LATE)
    assert "4 golden runs first: accuracy, validation, below it (68.9% at step 40;" in said[1]
    assert said[2] == "No other figure left it."


def test_a_good_run_that_is_no_golden_one(tmp_path):
    said = five_sentences(stored().unpack(lines("golden/runs.jsonl")["good-10"], tmp_path))
    assert said[1] == "No figure left the band of 5 golden runs."
    assert said[3] == "It is as it should be."


def test_packing_loses_nothing_that_the_sentences_need(tmp_path):
    run = RESULTS / "zero" / "gpu-plain"
    copy = tmp_path / "gpu-plain"
    shutil.copytree(run, copy)
    assert stored().pack(copy) == stored().pack(run)
    line = stored().pack(RESULTS / "zero" / "cpu-seed3")
    unpacked = stored().unpack(line, tmp_path / "b")
    shutil.copytree(RESULTS / "zero" / "cpu-seed3", tmp_path / "whole")
    assert five_sentences(unpacked) == five_sentences(tmp_path / "whole")


# ---------------------------------------------------------------- by hand


PAID = {"rl.accuracy_reward": 1.0, "rl.format_reward": 0.1, "rl.language_reward": 0.0,
        "rl.group_size": 8, "rl.kl": 0.0, "model.experts": 1}


def case(rows: int = 20, test=None, settings=None, **figures) -> Case:
    """A healthy run, but for some figures: a number, or one for each row."""
    healthy = {
        "accuracy": 0.5, "length": 40, "length_p95": 90, "truncated": 0.02, "thinking": 0.6,
        "gap": 3e-7, "reward": 0.6, "wrong_steps": 0.02, "signal": 0.6, "entropy": 0.3,
        "format": 0.97, "grad_norm": 0.3, "loss": 0.1, "n": 32, "lr": 1e-4, "stderr": 0.05,
        "kl": 0.1,
    } | figures
    values = [{k: v[i] if isinstance(v, list) else v for k, v in healthy.items()}
              for i in range(rows)]
    rows = [{"phase": "rl", "step": i + 1, **row} for i, row in enumerate(values)]
    return Case(rows, test or {}, dict(PAID), settings or {}, [], {"accuracy": 0.5, "length": 40})


FALLING = [0.5 - 0.02 * i for i in range(20)]
FIGURE = {"phase": "rl", "early": False, "low": "", "high": "too much of it"}


def departed(found: Case, *names: str, step: int = 1, side: str = "above") -> Case:
    """The case, after these figures left their bands at this step."""
    figures = [SimpleNamespace(**FIGURE | {"name": name}) for name in names]
    found.gone = [SimpleNamespace(figure=f, steps=[step], left=0, side=side) for f in figures]
    return found


def configured(name: str, value: float, **figures) -> Case:
    found = case(**figures)
    found.config[name] = value
    return found


SHOWN = {
    "padding": case(length=96, length_p95=96),
    "disagreement": case(gap=0.05),
    "another_sampler": case(test={"thinking": 0.3, "length": 40}),
    "another_judge": case(test={"thinking": 0.6, "length": 40, "accuracy": 0.1}),
    "paid_for_form": configured("rl.format_reward", 1.0, reward=1.0, accuracy=0.45),
    "no_end": case(truncated=0.7),
    "false_sums": case(wrong_steps=[0.4] + [0.0] * 19),
    "far_setting": case(settings={"rl.steps": (1, 9), "rl.lr": (1e-3, 1e-4), "rl.prompts": (4, 8)}),
    "broken": case(loss=[0.1] * 10 + [None] * 10),
    "repeated_puzzle": case(accuracy=0.9, stderr=0.018),
    "strict_judge": case(accuracy=0.3),
    "other_reward": case(reward=1.5),
    "same_responses": case(signal=0.0),
    "rate_is_gone": case(lr=[1e-4] * 9 + [0.0] * 11),
    "unlike_ratio": case(clip_fraction=0.4),
    "lost_gradient": departed(case(grad_norm=0.1), "grad_norm", side="below"),
    "paid_for_noise": case(entropy=[0.3 + 0.1 * i for i in range(20)]),
    "uncentred": departed(case(grad_norm=90), "grad_norm"),
    "away_from_the_reference": configured("rl.kl", 0.5, kl=3.0),
    "backwards": departed(case(accuracy=FALLING, reward=FALLING), "accuracy", step=9),
    "said_by_the_run": case(entropy=[0.3] * 10 + [0.001] * 10),
}


@pytest.mark.parametrize("name", SHOWN)
def test_each_look_sees_its_own(name):
    """The look that its figures are for, and none of those before it."""
    looks = [look.__name__ for look in causes.LOOKS if look(SHOWN[name])]
    assert looks[0] == name, looks
    assert not [look for look in causes.LOOKS if look(case(test={
        "thinking": 0.55, "length": 45, "accuracy": 0.45}))]


def test_a_cause_is_told_as_seen_in_the_curves_or_in_the_settings():
    both = SHOWN["far_setting"], SHOWN["padding"]
    said = [verdict.cause_of(case)[0].partition(": ")[0] for case in both]
    assert said == ["Likely cause, by its settings", "Likely cause, by its curves"]


def test_every_far_setting_has_its_effect():
    for name, (factor, *_) in causes.SETTINGS.items():
        for value in (1.0 * factor, 1.0 / factor):
            words, change = causes.far_setting(case(settings={name: (value, 1.0)}))
            assert words.partition(": ")[2] and change == f"--{name} 1.0"


def test_looks_keep_to_their_limits():
    assert causes.padding(case(length=96, length_p95=96, truncated=0.7)) is None
    for test in ({"thinking": 0.9, "length": 40}, {"thinking": 0.6, "length": 80}):
        assert causes.another_sampler(case(test=test))
    assert causes.paid_for_form(case(reward=1.0, accuracy=0.3, thinking=0.95)) is None
    assert causes.said_by_the_run(SHOWN["said_by_the_run"])[1].startswith("lower --rl.lr")
    dense = case(gap=0.05)
    assert "router" in causes.disagreement(dense)[1]
    dense.config["model.experts"] = 0
    assert causes.disagreement(dense)[1] == "use --dtype float32"


def test_what_the_course_of_a_disagreement_says():
    growing = [0.0] + [0.002 * (i % 10) + 1e-4 * (i % 10 > 0) for i in range(19)]
    for found, words in (
        (case(gap=growing[1:11] * 2), "old weights"),
        (departed(case(gap=0.3), "format"), "not the golden ones"),
        (departed(case(gap=0.3), "format", step=9), "though its responses are the golden ones"),
        (case(gap=0.3, entropy=0.3, entropy_all=0.2), "more tokens than were sampled"),
        (departed(case(gap=0.3), "grad_norm"), "though its responses are the golden ones"),
    ):
        assert words in causes.disagreement(found)[0]


def test_practice_that_begins_elsewhere_is_told_by_its_spread():
    assert causes.repeated_puzzle(case(accuracy=0.9, stderr=0.03)) is None
    assert causes.repeated_puzzle(case(stderr=0.018)) is None
    assert causes.strict_judge(case(accuracy=0.3, length=80)) is None
    assert causes.strict_judge(case(accuracy=0.3, length=0)) is None
    wild = departed(case(accuracy=FALLING, reward=FALLING, grad_norm=5), "accuracy", step=9)
    assert causes.backwards(wild) is None
    assert causes.unlike_ratio(case(clip_fraction=0.4, gap=0.3)) is None
    assert causes.backwards(case(accuracy=FALLING, reward=FALLING)) is None


def test_stuck_is_what_leaves_the_early_rise_and_stays_as_it_was():
    def seen(early: bool, **figures):
        found = case(**figures)
        figure = next(f for f in FIGURES if f.name == "accuracy" and f.early == early)
        found.gone = [SimpleNamespace(figure=figure)]
        return causes.stuck(found)

    rising, falling = ([0.2 + way * 0.03 * i for i in range(20)] for way in (1, -1))
    assert seen(True) and not seen(False)
    assert not seen(True, accuracy=rising) and not seen(True, thinking=falling)


def test_pretraining_leaves_before_all_steps_of_rl():
    bands = [SimpleNamespace(figure=SimpleNamespace(phase=phase), steps=[step], left=0)
             for phase, step in (("rl", 3), ("pretrain", 500), ("validate", 2))]
    assert [band.steps[0] for band in golden.gone_of(bands)] == [500, 2, 3]


def test_a_limit_that_rl_can_live_with_is_no_missing_stop_token():
    falling = [0.9 - 0.045 * i for i in range(20)]
    assert causes.no_end(case(truncated=falling)) is None
    assert causes.no_end(case(truncated=[0.1] * 10 + [0.9] * 10)) is None


def test_the_setting_that_is_farthest_and_the_one_that_the_run_complains_of():
    far = {"rl.lr": (1e-2, 1e-4), "rl.tasks": (["countdown:hard=1"], ["countdown:cpu=1"])}
    words, change = causes.far_setting(case(settings=far))
    assert words.startswith("rl.lr is 0.01, golden 0.0001: the steps are too large")
    assert change == "--rl.lr 0.0001"
    hopeless = case(settings=far, accuracy=0.0, signal=0.0)
    assert causes.far_setting(hopeless)[1] == "--rl.tasks countdown:cpu=1"
    near = {"rl.lr": (2e-4, 1e-4), "rl.kl": (0.001, 0.0), "rl.recompute": (True, False)}
    assert causes.far_setting(case(settings=near)) is None
    worse = case(settings={"rl.lr": (1e-4, 1.2e-4)}, accuracy=FALLING)
    assert "--rl.lr" in causes.trouble(worse.rows) and causes.far_setting(worse) is None


def test_a_failure_is_trained_and_stored_as_the_runs_on_file_were(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "EXAM", 2)
    monkeypatch.setattr(runs, "LAST_EXAM", 4)
    stored().run(tmp_path, "truncation", steps=2, prompts=2)
    packed = json.loads(stored().pack(tmp_path / "truncation"))
    kept = json.loads(lines("failures/runs.jsonl")["truncation"])
    newer = {"lr", "entropy_all"}  # the runs on file are older than these columns
    assert packed["rl"].keys() - newer == kept["rl"].keys() - newer
    assert packed["rl"]["step"] == [1, 2]
    assert packed["settings"]["rl.max_tokens"] == kept["settings"]["rl.max_tokens"] == 24
    assert packed["test"]["n"] == 4 and packed["test"].keys() == kept["test"].keys()


def test_the_report_ends_with_them(tmp_path, capsys):
    run = tmp_path / "cpu-seed1"
    shutil.copytree(RESULTS / "zero" / "cpu-seed1", run)
    command(["report", str(run)])
    said = capsys.readouterr().out
    assert "diagnosis:\n100 steps: right answers in practice 31% -> 92%, 31 -> 87 tokens" in said
    rows = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    run = run.rename(tmp_path / "short")  # read_metrics remembers
    (run / "metrics.jsonl").write_text("\n".join(rows[:5]), encoding="utf-8")
    assert five_sentences(run) == ["Too early to say: 4 RL steps, 10 are needed."]


def test_a_test_that_alone_is_off_is_not_as_it_should_be(tmp_path):
    run = tmp_path / "cpu-seed2"
    shutil.copytree(RESULTS / "zero" / "cpu-seed2", run)
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    summary["zero"]["accuracy"] = 0.75
    (run / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    assert five_sentences(run)[3] == "Likely cause: only the final test is off."


def test_a_run_that_shares_no_steps_with_the_golden_ones_has_no_band(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(RESULTS / "zero" / "cpu-seed1", run)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    far = "".join(json.dumps(row | {"step": row["step"] + 1000}) + "\n" for row in rows)
    (run / "metrics.jsonl").write_text(far, encoding="utf-8")
    said = five_sentences(run)
    assert said[1].startswith("No band: the run and the golden runs share no RL steps")
    assert said[3].startswith("No fault shows")


def changed(run: Path, **figures) -> Path:
    """A copy of a golden run, with other figures in every row of RL."""
    shutil.copytree(RESULTS / "zero" / "cpu-seed1", run)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    rows = [row | figures if row["phase"] == "rl" else row for row in rows]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return run


def test_a_stage_of_r1_is_not_held_to_r1_zeros_band(tmp_path):
    said = five_sentences(changed(tmp_path / "run", readable=0.9))
    assert said[1].startswith("No band: a stage of R1 has no golden run")
    assert said[3].startswith("No fault shows")


def test_a_run_that_has_solved_everything_has_no_fault(tmp_path):
    solved = {"accuracy": 0.98, "signal": 0.04}
    run = changed(tmp_path / "run", **solved, readable=0.9)  # which has no band to leave
    assert diagnosis(verdict.read_metrics(run)).startswith("solved: accuracy 98%, so 96% of groups")
    assert five_sentences(run)[3:] == five_sentences(changed(tmp_path / "b", readable=0.9))[3:]
    above = five_sentences(changed(tmp_path / "c", **solved))
    assert above[1].startswith("What left the band") and "solved" not in above[3]


def test_without_golden_runs_the_run_speaks(tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(RESULTS / "zero" / "best-seed0", copy)
    config = (copy / "config.json").read_text(encoding="utf-8")
    (copy / "config.json").write_text(config.replace('"best"', '"t4"'), encoding="utf-8")
    said = five_sentences(copy)
    assert said[1].startswith("No band: no golden runs of preset t4") and len(said) == 5
    assert said[3].startswith("No fault shows, but") and said[4].startswith("Change nothing")
    run = tmp_path / "run"
    run.mkdir()
    rows = [{"phase": "rl", "step": i, "accuracy": 0.5, "gap": 0.3} for i in range(12)]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    said = five_sentences(run)
    assert "it holds no config.json" in said[1] and "nan" not in said[0]
    cause = "sampler and trainer disagree by 0.3 nats a token"
    assert said[3] == f"Likely cause, by its curves: {cause}."
