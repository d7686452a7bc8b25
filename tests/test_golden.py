"""A good run is called good, a bad one bad, with the figure that went wrong first and the step; bad
input is one line.
"""

import json
import math
import re
import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from minir1.__main__ import main as command
from minir1.config import Config, to_json
from minir1.console.flags import parse_command_line
from minir1.report import golden
from minir1.report.golden import compare, leaving, moving, slope
from minir1.report.golden_figures import FIGURES

ZERO = Path(__file__).parent.parent / "results" / "zero"
NAMES = (
    "accuracy", "length", "attempts", "entropy", "signal", "grad_norm", "gap", "format",
    "truncated", "hit_rate",
)


def curve(name: str, x: np.ndarray) -> np.ndarray:
    """A plausible course over a run; x runs from 0 to 1."""
    rise = 1 - np.exp(-5 * x)
    return {
        "accuracy": 0.25 + 0.5 * rise, "length": 40 + 60 * rise, "attempts": 1.3 + 3 * rise,
        "entropy": 0.3 - 0.05 * rise,
        "signal": 0.8 - 0.2 * rise, "grad_norm": 0.3 + 0 * x, "gap": 3e-7 + 0 * x,
        "format": 0.95 - 0.05 * rise,
        "truncated": 0.02 + 0.1 * rise, "hit_rate": 0.12 + 0.06 * rise,
    }[name]


def rows_of(seed: int, steps: int = 100, change=lambda rows: None) -> list[dict]:
    """A made-up run: the same course for every seed, a shift of its own, and jitter.

    `change` spoils it.
    """
    rng, x = np.random.default_rng(seed), np.arange(1, steps + 1) / 100
    values = {}
    for name in NAMES:
        y = curve(name, x)
        values[name] = y * (1 + 0.02 * rng.normal()) + 0.03 * y.mean() * rng.normal(size=steps)
    rows = [
        {"phase": "rl", "step": i + 1, **{n: float(values[n][i]) for n in NAMES}}
        for i in range(steps)
    ]
    change(rows)

    def exam(s: int) -> dict:
        accuracy = rows[s - 1]["accuracy"] if s else 0.25
        return {"phase": "validate", "step": s, "stderr": 0.03, "accuracy": accuracy}

    return rows + [exam(s) for s in range(0, steps + 1, 20)]


def write(path: Path, rows: list[dict], accuracy: float | None = None, **settings) -> Path:
    path.mkdir(parents=True)
    config = json.loads(to_json(Config()))
    for name, value in settings.items():
        place = config
        *parents, last = name.split("__")
        for parent in parents:
            place = place[parent]
        place[last] = value
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (path / "metrics.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    if accuracy is not None:
        summary = {"zero": {"accuracy": accuracy, "stderr": 0.018, "n": 512}}
        (path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return path


@pytest.fixture
def known(tmp_path) -> list[str]:
    return [str(write(tmp_path / f"golden{i}", rows_of(i), 0.74 + 0.01 * i)) for i in range(3)]


def judged(capsys, run: Path, known: list[str]) -> tuple[int, str]:
    status = command(["golden", str(run), "--against", *known])
    return status, capsys.readouterr().out


@pytest.mark.parametrize("seed", range(10, 30))
def test_another_seed_of_the_same_course_is_within(tmp_path, capsys, known, seed):
    status, said = judged(capsys, write(tmp_path / "run", rows_of(seed), 0.75), known)
    assert status == 0 and said.endswith("Within the band.\n"), said


def test_a_stalled_accuracy_is_named_with_its_step(tmp_path, capsys, known):
    bad = rows_of(
        11,
        change=lambda rows: [
            row.update(accuracy=0.4 + 0.01 * (row["step"] % 3)) for row in rows[12:]
        ],
    )
    status, said = judged(capsys, write(tmp_path / "run", bad, 0.41), known)
    assert status == 1
    place = r"\(([\d.]+)% at step (\d+); golden ([\d.]+)%"
    first = re.search(f"Left the band first: accuracy, training, below it {place}", said)
    assert first and 12 <= int(first[2]) <= 40 and float(first[1]) < float(first[3]), said
    assert "Usual causes: the reward does not reach the policy" in said


def test_the_cause_is_named_before_its_effects(tmp_path, capsys, known):
    def collapse(rows):
        for row in rows[39:]:
            row["entropy"] = 0.01
        for row in rows[54:]:
            row["accuracy"], row["length"] = 0.3, 20.0

    status, said = judged(capsys, write(tmp_path / "run", rows_of(12, change=collapse)), known)
    assert status == 1 and "Left the band first: entropy, training, below it" in said
    assert (
        34 <= int(re.search(r"first: .*?at step (\d+)", said)[1]) <= 41
        and "steps too large" in said
    )
    assert said.count("left below") >= 3  # the effects stand in the table


ABOVE = [
    ("gap", 1e5, "precision"), ("grad_norm", 9, "steps too large"), ("truncated", 6, "stop token"),
]


@pytest.mark.parametrize("name, factor, words", ABOVE)
def test_a_figure_above_its_band(tmp_path, capsys, known, name, factor, words):
    def spoil(rows):
        for row in rows[50:]:
            row[name] *= factor

    status, said = judged(capsys, write(tmp_path / "run", rows_of(13, change=spoil)), known)
    assert (
        status == 1 and f"Left the band first: {name}, training, above it" in said and words in said
    )


def test_what_is_better_on_a_side_that_is_no_fault_is_no_fault(tmp_path, capsys, known):
    def better(rows):
        for row in rows:
            row["gap"] = 0.0

    assert judged(capsys, write(tmp_path / "run", rows_of(14, change=better)), known)[0] == 0


def test_one_outlier_is_not_leaving(tmp_path, capsys, known):
    bad = rows_of(15)
    bad[60]["accuracy"] = 0.1
    assert judged(capsys, write(tmp_path / "run", bad), known)[0] == 0


def test_a_bad_final_test_alone_is_told(tmp_path, capsys, known):
    status, said = judged(capsys, write(tmp_path / "run", rows_of(16), 0.5), known)
    assert status == 1 and "the final test is not" in said and "test accuracy 50.0%" in said


@pytest.mark.parametrize("accuracy, known, errors, half", [
    (0.70, (0.60, 0.60), (0.01, 0.01, 0.03), 3 * 0.03 * 1.5**0.5 + 0.02),  # chance in one of them
    (0.70, (0.60, 0.60), (0.03, 0.01, 0.01), 3 * 0.03 * 1.5**0.5 + 0.02),  # or in the run itself
    (0.70, (0.55, 0.65), (0.03, 0.01, 0.01), 3 * 0.005**0.5 * 1.5**0.5 + 0.02),  # how they differ
    (0.70, (0.60,), (0.01, 0.01), 3 * 0.02 * 2**0.5 + 0.02),  # a guess of that
    (0.70, (0.60,), (0.04, 0.01), 3 * 0.04 * 2**0.5 + 0.02),
    (0.70, (0.60, 0.60), (), 0.02),  # of a run that knows no standard error
    (0.40, (0.30, 0.30), (0.01, 0.01, 0.01), 3 * 0.01 * 1.5**0.5 + 0.02),
])
def test_the_band_of_the_final_test_by_hand(tmp_path, accuracy, known, errors, half):
    """Three standard errors, and two points that are forgiven in any case."""
    runs = []
    for number, share in enumerate((accuracy, *known)):
        error = {"stderr": errors[number]} if errors else {}
        runs.append(tmp_path / str(number))
        runs[-1].mkdir()
        summary = json.dumps({"zero": {"accuracy": share} | error})
        (runs[-1] / "summary.json").write_text(summary, encoding="utf-8")
    words, good = golden.final_test(runs[0], runs[1:])
    low, high = (100 * (known[0] + known[-1]) / 2 + way * 100 * half for way in (-1, 1))
    assert words == f"test accuracy {100 * accuracy:.1f}%; golden {low:.1f}% to {high:.1f}%"
    assert good is (half > 0.1)
    for spoilt in ({}, {"zero": {"length": 40.0}}, {"zero": "lost"}):
        (runs[-1] / "summary.json").write_text(json.dumps(spoilt), encoding="utf-8")
        assert golden.final_test(runs[0], runs[1:]) is None


def test_a_short_run_is_compared_as_far_as_it_got(tmp_path, capsys, known):
    status, said = judged(capsys, write(tmp_path / "run", rows_of(17, steps=40)), known)
    assert status == 0 and "40 of 100 steps" in said and "at step 40" in said


def test_settings_that_differ_are_named(tmp_path, capsys, known):
    status, said = judged(
        capsys, write(tmp_path / "run", rows_of(18), rl__lr=1e-3, seed=7, eval__problems=9), known
    )
    assert status == 0 and "settings that differ: rl.lr 0.001 (golden 0.00012)\n" in said


def test_newer_settings_and_those_of_memory_do_not_differ(tmp_path, capsys, known):
    """A golden run of before a setting was made was run as the default keeps it."""
    for path in known:
        config = json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))
        del config["corpus"]["writer"]
        (Path(path) / "config.json").write_text(json.dumps(config), encoding="utf-8")
    status, said = judged(
        capsys, write(tmp_path / "run", rows_of(9), 0.75, rl__train_tokens=99), known
    )
    assert status == 0 and "differ" not in said
    _, said = judged(
        capsys, write(tmp_path / "other", rows_of(9), 0.75, corpus__writer="goal_directed"), known
    )
    assert "differ: corpus.writer goal_directed (golden plain)" in said
    assert (
        "one golden run only" not in said
        and "one golden run only" in judged(capsys, tmp_path / "run", known[:1])[1]
    )


def test_a_single_golden_run_has_a_wider_band():
    figure = next(f for f in FIGURES if f.name == "accuracy" and f.phase == "rl")
    run = rows_of(20)
    one, three = (
        compare(figure, [rows_of(0)], run), compare(figure, [rows_of(i) for i in range(3)], run),
    )
    assert (one.high - one.low)[50] > (three.high - three.low)[50]


@pytest.mark.parametrize("name, floor", [("length", 0.1), ("loss", 0.03), ("thinking", 0.06)])
def test_golden_runs_that_agree_leave_room_for_jitter(name, floor):
    """By hand: a value that is 0.1 up and down in turns differs by 0.2 from step to step; of the
    means over 9 steps 0.2 / sqrt(18) is left. Two runs: times sqrt(3 / 2), three times that."""
    figure = next(f for f in FIGURES if f.name == name and f.phase == "rl" and not f.early)
    values = [0.5 + 0.1 * (-1) ** i for i in range(101)]
    values = [math.exp(value) for value in values] if name == "length" else values
    rows = [{"phase": "rl", "step": i, name: value} for i, value in enumerate(values)]
    band = compare(figure, [rows, rows], rows)
    half = 3 * 0.2 / 18**0.5 * 1.5**0.5 + floor
    assert (band.high - band.low)[50] / 2 == pytest.approx(half)
    assert (band.high + band.low)[50] / 2 == pytest.approx(0.5 + 0.1 / 9)


@pytest.mark.parametrize(
    "phase, name", [("rl", "accuracy"), ("rl", "length"), ("validate", "accuracy")]
)
def test_a_band_is_as_wide_as_what_it_measures_is_noisy(phase, name):
    """Golden runs that do not differ at all: only the noise of one run can widen their band."""
    figure = next(f for f in FIGURES if (f.phase, f.name) == (phase, name))

    def width(jitter: float) -> float:
        rows = [
            {"phase": phase, "step": step, "stderr": jitter, name: 0.5 + jitter * (-1) ** step}
            for step in range(40)
        ]
        band = compare(figure, [rows, rows], rows)
        return float(band.high[20] - band.low[20])

    quiet, noisy = width(0.0), width(0.05)
    # three standard errors of a new run on either side, over what is forgiven in any case
    assert noisy > quiet + 0.03


def test_the_band_of_one_run_and_of_a_slope_by_hand():
    rows = [{"phase": "rl", "step": i, "accuracy": 0.4, "length": 40} for i in range(100)]
    cases = {("accuracy", False): (0.04, 0.4, 0.03), ("length", False): (0.1, math.log(40), 0.1),
             ("accuracy", True): (0.0, 0.0, 0.03)}
    for (name, early), (apart, middle, floor) in cases.items():
        figure = next(f for f in FIGURES if (f.name, f.phase, f.early) == (name, "rl", early))
        band, half = compare(figure, [rows], rows), 3 * apart * 2**0.5 + floor
        assert (band.low[0], band.high[0]) == pytest.approx((middle - half, middle + half))


def test_a_moving_mean_by_hand():
    assert moving(np.array([0.0, 3.0, 6.0, 3.0]), 3).tolist() == [1.5, 3.0, 4.0, 4.5]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda p: p / "none", "no folder"),
        (lambda p: (p / "empty").mkdir() or p / "empty", "holds no config.json"),
        (lambda p: write(p / "early", rows_of(1, steps=5)), "5 RL steps: too early"),
        (lambda p: write(p / "other", rows_of(1), preset="smoke"), "is a smoke run"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, capsys, known, make, message):
    run = make(tmp_path)
    assert command(["golden", str(run), "--against", *known]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.strip().splitlines()) == 1


def test_the_run_of_another_preset_is_named(tmp_path, capsys, known):
    other = write(tmp_path / "smoke", rows_of(1), preset="smoke")
    assert command(["golden", known[0], "--against", known[1], str(other)]) == 2
    assert f"{other} a smoke run: nothing to compare" in capsys.readouterr().err


def test_a_broken_configuration_and_a_preset_without_golden_runs(tmp_path, capsys, known):
    run = write(tmp_path / "run", rows_of(1), preset="smoke")
    assert (
        command(["golden", str(run)]) == 2
        and "no golden runs of preset smoke" in capsys.readouterr().err
    )
    (run / "config.json").write_text("{", encoding="utf-8")
    assert command(["golden", str(run)]) == 2 and "cannot be read" in capsys.readouterr().err


def test_a_stage_of_r1_has_no_golden_run_but_another_one(tmp_path, capsys):
    stages = [write(tmp_path / str(i), rows_of(i, change=told_readable)) for i in range(2)]
    assert command(["golden", str(stages[0])]) == 2
    assert "a stage of R1 has no golden run" in capsys.readouterr().err
    assert judged(capsys, stages[0], [str(stages[1])])[0] == 0


def told_readable(rows: list[dict]) -> None:
    for row in rows:
        row["readable"] = 0.9


def test_a_run_that_has_solved_everything_is_as_good_as_the_golden_ones(tmp_path, capsys):
    def solve(rows):
        for row in rows:
            row.update(accuracy=0.98, signal=0.04)

    runs = [write(tmp_path / str(i), rows_of(i, change=solve)) for i in range(3)]
    status, said = judged(capsys, runs[0], [str(run) for run in runs[1:]])
    assert status == 0 and said.endswith("Within the band.\n"), said


@pytest.mark.parametrize(
    "run", sorted(ZERO.glob("*-seed*")),
    ids=lambda run: run.name,
)
def test_a_shipped_run_holds_the_configuration_that_it_ran_with(run):
    config, summary = (
        json.loads((run / name).read_text(encoding="utf-8"))
        for name in ("config.json", "summary.json")
    )
    rows = [
        json.loads(line)
        for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    preset, _, seed = run.name.partition("-seed")
    assert (
        (config["preset"], config["seed"])
        == (summary["preset"], summary["seed"])
        == (preset, int(seed))
    )
    assert config["rl"]["steps"] == max(row["step"] for row in rows if row["phase"] == "rl")


# grad_norm of the first 20 steps of `train_zero.py --preset cpu --seed 0 --rl.scale none`
UNSCALED = [
    0.118, 0.131, 0.138, 0.124, 0.118, 0.161, 0.155, 0.133, 0.215, 0.132, 0.160, 0.153, 0.143,
    0.163, 0.216, 0.159, 0.157, 0.152, 0.162, 0.139,
]


def times(name: str, factor: float):
    return lambda step, row, rows: {name: factor * row[name]}


def held(at: float, last: int = 0):
    """Validations from step `last` on are at most so good."""
    return lambda step, row, rows: {"accuracy": min(row["accuracy"], at if step >= last else 1)}


WRONG = {  # name -> (phase, what becomes of a row, the figure that leaves)
    "advantages are not divided by the deviation": (
        "rl", lambda step, row, rows: {"grad_norm": UNSCALED[(step - 1) % 20]},
        "grad_norm, training, below"),
    "long gradients": ("rl", times("grad_norm", 3), "grad_norm, training, above"),
    "steps are clipped": ("rl", lambda step, row, rows: {"clip_fraction": 0.03},
                          "clip_fraction, training, above"),
    "another loss": ("rl", lambda step, row, rows: {"loss": row["loss"] + 0.2},
                     "loss, training, above"),
    "the loss has the other sign": ("rl", lambda step, row, rows: {"loss": 0.25 - row["loss"]},
                                    "loss, training, above"),
    "it hardly retries": ("rl", times("attempts", 0.6), "attempts, training, below"),
    "it retries too much": ("rl", times("attempts", 1.6), "attempts, training, above"),
    "short responses": ("rl", times("length", 0.6), "length, training, below"),
    "long responses": ("rl", times("length", 1.5), "length, training, above"),
    "it learns at a third of the speed": (
        "rl", lambda step, row, rows: rows[(step - 1) // 3] | {"step": step},
        "accuracy, early rise, below"),
    "fine-tuning on right answers": ("validate", held(0.57), "accuracy, validation, below"),
    "the last validation alone": ("validate", held(0.57, 100), "accuracy, validation, below"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_run_leaves_the_band_of_the_shipped_ones(tmp_path, capsys, name):
    kind, change, figure = WRONG[name]
    runs = [str(path) for path in sorted(ZERO.glob("cpu-seed*"))]
    copy = tmp_path / "copy"
    shutil.copytree(runs[0], copy)
    text = (copy / "metrics.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    chosen = [row for row in rows if row["phase"] == kind]
    changed = [
        row | change(row["step"], row, chosen) if row["phase"] == kind else row for row in rows
    ]
    lines = "".join(json.dumps(row) + "\n" for row in changed)
    (copy / "metrics.jsonl").write_text(lines, encoding="utf-8")
    status, said = judged(capsys, copy, runs[1:])
    label, _, side = figure.rpartition(", ")
    place = re.search(rf"^{label} .*left {side}", said, re.MULTILINE)
    assert status == 1 and place, said


def test_a_run_whose_last_loss_is_no_number_is_not_good(tmp_path, capsys, known):
    def spoil(rows):
        rows[-1]["loss"] = None  # as metrics.jsonl keeps it

    status, said = judged(capsys, write(tmp_path / "run", rows_of(20, change=spoil)), known)
    assert status == 1 and "Within the band, but broken since step 100: loss" in said


def test_every_wrong_setting_of_the_power_study_can_be_run_and_changes_one_thing():
    place = Path(__file__).parent.parent / "results" / "golden" / "power.py"
    spec = spec_from_file_location("power", place)
    power = module_from_spec(spec)
    spec.loader.exec_module(power)
    default = parse_command_line(["--preset", "cpu"])
    for name, flags in power.WRONG.items():
        config = parse_command_line(["--preset", "cpu", *flags])
        assert config != default, name
        if name == "groups of 2":
            rl, usual = config.rl, default.rl
            assert rl.prompts * rl.group_size == usual.prompts * usual.group_size
    rates = [float(flags[1]) for flags in power.WRONG.values() if flags[0] == "--rl.lr"]
    assert rates == pytest.approx([10 * default.rl.lr, default.rl.lr / 10])


def test_what_stays_outside_to_the_end_has_left():
    assert leaving([False] * 91 + [True] * 9, 10) == 91
    assert leaving([False] * 95 + [True] * 5, 10) is None  # as far as one outlier reaches
    assert leaving([False] * 80 + [True] * 9 + [False] * 11, 10) is None
    assert leaving([True], 1) == 0 and leaving([False], 1) is None


def test_a_slope_is_least_squares():
    assert slope(np.array([0.1, 0.3, 0.2, 0.4])) == pytest.approx((0.24, 0.1272792))  # by hand


def test_the_shipped_golden_runs_agree_and_a_spoiled_copy_does_not(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent)
    runs = sorted(Path("results/zero").glob("cpu-seed*"))
    assert len(runs) >= 2
    for run in runs:
        assert run not in golden.golden_runs("cpu", run)
        assert command(["golden", str(run)]) == 0, capsys.readouterr().out
    copy = tmp_path / "copy"
    shutil.copytree(runs[0], copy)
    rows = [
        json.loads(line)
        for line in (copy / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    for row in rows:
        if row["phase"] == "rl" and row["step"] > 20:
            row["accuracy"] = 0.4
    (copy / "metrics.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    capsys.readouterr()
    assert command(["golden", str(copy)]) == 1
    assert "Left the band first: accuracy, training, below it" in capsys.readouterr().out
