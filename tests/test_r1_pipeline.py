"""train_r1.py, small: it ends, every stage goes on after a stop, stages can be chosen, and wrong
input is answered by one line.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import train_r1
from minir1.checkpoint import read
from minir1.r1.pipeline.flags import parse
from minir1.r1.presets import PRESETS, CollectConfig
from minir1.r1.scoreboard import compare
from minir1.tasks import problem_from_json

ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
MODELS = ("base", "zero", "dev1", "dev2", "dev2-plain", "dev3", "r1")
STUDENTS = ("student-small", "student-direct", "student-on-policy")


def start(*arguments) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "train_r1.py"), *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    return subprocess.Popen(command, env=ENVIRONMENT, **streams)


def finish(*arguments) -> tuple[int, str, str]:
    process = start(*arguments)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    status, out, err = finish("--preset", "smoke", "--out", run)
    assert status == 0, err
    assert "| R1 |" in out and "AIME 2024" in out
    return run


def test_two_stages_are_compared_in_points(whole, monkeypatch, capsys):
    monkeypatch.setattr(compare, "paired", lambda first, second: (0.25, 0.125))
    compare.main([str(whole), "zero", "r1", "--problems", "8"])
    *_, zero, r1, difference = capsys.readouterr().out.splitlines()
    assert zero.startswith("zero: all ") and r1.startswith("r1: all ") and " of 8; " in r1
    assert difference == "r1 less zero: +25.0 points, standard error 12.5"


def figures(run: Path) -> dict:
    """The scoreboard without what the clock gave."""
    rows = json.loads((run / "scoreboard.json").read_text(encoding="utf-8"))["rows"]
    for row in rows.values():
        cost = row.pop("cost")
        row |= {name: value for name, value in cost.items() if name not in ("seconds", "dollars")}
    return rows


def weights(run: Path, name: str) -> dict:
    return read(run / "checkpoints" / f"{name}.pt")["weights"]


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(bool((a[k] == b[k]).all()) for k in a)


def test_a_run_leaves_everything_it_promises(whole):
    names = ["config.json", "costs.json", "prompts.md"]
    names += ["scoreboard.json", "scoreboard.md", "scoreboard.png"]
    names += [f"checkpoints/{name}.pt" for name in MODELS + STUDENTS]
    for name in names:
        assert (whole / name).stat().st_size > 0, name
    rows = figures(whole)
    assert set(rows) >= set(MODELS + STUDENTS)
    assert all(0 <= row["countdown"] <= 1 for row in rows.values())
    assert rows["r1"]["flops"] > 0
    assert rows["zero"]["tokens_sampled"] > 0 and rows["dev3"]["tokens_sampled"] > 0
    prompts = (whole / "prompts.md").read_text(encoding="utf-8")
    assert prompts.count("## ") == 5 and prompts.count("**R1**") == 5
    assert not same(weights(whole, "dev3"), weights(whole, "base"))
    assert not same(weights(whole, "r1"), weights(whole, "dev3"))


def test_the_data_of_every_stage_says_where_it_is_from_and_holds_no_held_out_problem(whole):
    seen = 0
    for path in whole.glob("*/data/*.jsonl"):
        for line in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            problem = problem_from_json(line["problem"])
            assert problem.split() == "train" and problem.question() == line["question"]
            assert line["source"]
            seen += 1
    assert seen >= PRESETS["smoke"].rejection.general
    for path in whole.glob("*/data/counts.json"):
        counts = json.loads(path.read_text(encoding="utf-8"))
        source, responses, written = map(counts.pop, ("source", "responses", "written"))
        by_language = [counts.pop(key) for key in list(counts) if key.startswith("kept ")]
        assert source in ("zero.pt", "dev2.pt")
        assert sum(counts.values()) == responses and sum(by_language) == written


STOPS = [
    pytest.param("0", "0-zero", "rl", ["zero"], marks=pytest.mark.slow),
    ("2", "2-reasoning-rl", "rl_plain", ["dev2", "dev2-plain"]),
    pytest.param("3", "3-rejection-sampling", "sft", ["dev3"], marks=pytest.mark.slow),
    pytest.param("4", "4-all-scenarios", "rl", ["r1"], marks=pytest.mark.slow),
    ("5", "5-distillation", "direct", ["student-large", "student-direct", "student-on-policy"]),
]


@pytest.mark.parametrize(("stage", "folder", "phase", "names"), STOPS)
def test_a_killed_stage_ends_with_the_same_model(whole, tmp_path, stage, folder, phase, names):
    run = tmp_path / "run"
    process = start("--preset", "smoke", "--stages", stage, "--from", whole, "--out", run)
    metrics = run / folder / "metrics.jsonl"
    for _ in range(6000):
        if metrics.is_file() and f'"phase": "{phase}"' in metrics.read_text(encoding="utf-8"):
            break
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    status, _, err = finish("--resume", run)
    assert status == 0, err
    assert all(same(weights(run, name), weights(whole, name)) for name in names)
    # what it cost in tokens too
    assert all(figures(run)[name] == figures(whole)[name] for name in names)


def test_ctrl_c_says_how_to_go_on(tmp_path):
    process = start("--preset", "smoke", "--out", tmp_path / "run")
    for _ in range(3000):
        if (tmp_path / "run" / "0-base" / "metrics.jsonl").is_file():
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and f"--resume {tmp_path / 'run'}" in err.splitlines()[-1]


def test_a_stage_takes_another_runs_checkpoints(whole, tmp_path):
    run = tmp_path / "run"
    status, _, err = finish("--preset", "smoke", "--stages", "4", "--from", whole, "--out", run)
    assert status == 0, err
    assert same(weights(run, "r1"), weights(whole, "r1"))
    assert not (run / "1-cold-start").exists()
    rows = figures(run)
    assert set(rows) == set(MODELS)  # no student of the other run's R1
    assert rows["dev3"] == figures(whole)["dev3"]  # its costs too


def test_a_given_zero_is_taken_and_the_control_can_be_left_out(whole, tmp_path):
    checkpoints, run = whole / "checkpoints", tmp_path / "run"
    taken = ("--base", checkpoints / "base.pt", "--zero", checkpoints / "zero.pt")
    chosen = ("--preset", "smoke", "--stages", "0-2", "--no-control")
    status, out, err = finish(*chosen, *taken, "--out", run)
    assert status == 0, err
    assert same(weights(run, "zero"), weights(whole, "zero"))
    assert "R1-Zero" in out and "without language reward" not in out
    assert not (run / "checkpoints" / "dev2-plain.pt").exists()


def test_students_are_taken_where_they_are_shipped_and_read_where_they_are_not(whole, tmp_path):
    base, bases = whole / "checkpoints" / "base.pt", whole / "checkpoints" / "untaught-{size}.pt"
    names = [f"untaught-{size}" for size in ("small", "medium", "large")]
    taken, trained, strange = (tmp_path / name for name in ("taken", "read", "strange"))
    students = ("--preset", "smoke", "--stages", "students", "--students.bases")
    status, out, err = finish(*students, bases, "--base", base, "--out", taken)
    assert status == 0 and "scoreboard" not in out, err
    assert all(same(weights(taken, name), weights(whole, name)) for name in names)
    assert not (taken / "0-students").exists() and not (taken / "scoreboard.json").exists()
    scratch = ("--from_scratch", "on", "--from", whole, "--seed", "1")
    status, _, err = finish(*students, bases, *scratch, "--out", trained)
    assert status == 0, err
    assert not any(same(weights(trained, name), weights(whole, name)) for name in names)
    # bases with another tokenizer
    status, _, err = finish(*students, "base-cpu.pt", "--base", base, "--out", strange)
    assert status == 0 and (strange / "0-students").exists(), err


WRONG = [
    (("--preset", "tpu"), "unknown preset 'tpu'"),
    (("--preset", "smoke", "--stages", "5-2"), "--stages reads like"),
    (("--preset", "smoke", "--nonsense", "1"), "unrecognized arguments: --nonsense"),
    (("--preset", "smoke", "--from", "nowhere"), "--from nowhere: no run there"),
    (("--preset", "smoke", "--base", "nowhere.pt"), "--base: no checkpoint nowhere.pt"),
    (("--preset", "smoke", "--zero", "nowhere.pt"), "--zero: no checkpoint nowhere.pt"),
    (
        ("--preset", "smoke", "--reasoning.group_size", "1"),
        "--reasoning.group_size lies between 2 and",
    ),
    (("--preset", "smoke", "--corpus.languages", "en"), "bilingual"),
    (("--preset", "smoke", "--cold.sums", "1.5"), "--cold.sums lies between 0 and 1"),
    (("--preset", "smoke", "--rejection.sums", "-1"), "--rejection.sums lies between 0 and 1"),
    (
        ("--preset", "smoke", "--reasoning.tasks", "countdown:huge=1"),
        "--reasoning.tasks: no task 'countdown:huge'",
    ),
    (("--resume", "nowhere"), "nothing to resume: nowhere"),
    (("--resume", "nowhere", "--seed", "1"), "--resume takes a run folder"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_input_is_one_clear_line(arguments, message, tmp_path, monkeypatch, capsys):
    import train_r1
    from minir1.console.errors import guard

    monkeypatch.chdir(tmp_path)
    assert guard(train_r1.main, list(arguments), "train_r1.py") == 2
    err = capsys.readouterr().err
    assert message in err and len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir()), "nothing is begun"


def test_a_stage_without_what_it_needs_says_so(tmp_path):
    status, _, err = finish("--preset", "smoke", "--stages", "2", "--out", tmp_path / "run")
    assert status == 2 and "stage 2 needs dev1.pt" in err.splitlines()[-1]


def test_a_folder_that_holds_a_run_is_not_overwritten(whole):
    status, _, err = finish("--preset", "smoke", "--out", whole)
    assert status == 2 and f"--resume {whole}" in err


def test_presets_say_what_the_paper_does():
    for config in PRESETS.values():
        stages = (config.zero_rl, config.reasoning, config.scenarios)
        zero, reasoning, scenarios = (stage.language_reward for stage in stages)
        assert zero == 0 < reasoning == scenarios
        # stage 3 adds what is not reasoning
        assert config.cold.general == 0 < config.rejection.general
        assert 0 < config.preference.last <= 0.5
    assert parse(["--preset", "cpu", "--reasoning.lr", "2e-4"]).reasoning.lr == 2e-4


def test_help_lists_the_flags_most_people_need(capsys):
    with pytest.raises(SystemExit) as leaving:
        parse(["--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    assert all(f"--{flag}" in text for flag in ("stages", "from", "zero", "no-control", "resume"))
    assert "--pretrain.lr" not in text


def test_what_a_preset_turns_on_can_be_turned_off():
    assert parse(["--preset", "gpu"]).from_scratch
    assert not parse(["--preset", "gpu", "--from_scratch", "off"]).from_scratch
    assert not parse(["--preset", "cpu"]).control
    assert parse(["--preset", "cpu", "--control", "on"]).control


@pytest.mark.parametrize("stage", [train_r1.cold_start, train_r1.rejection_sampling])
def test_long_thoughts_are_read_more_often_in_both_fine_tunings(stage, tmp_path, monkeypatch):
    seen, how = [], CollectConfig(long=3, general=0)
    (tmp_path / "data").mkdir()
    lines = [{"response": f"<think>{thought}</think>"} for thought in ("a", "a\nb\nc\nd")]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "data" / "kept.jsonl").write_text(text, encoding="utf-8")

    def learn(session, start, lines, **how):
        seen.extend(line["response"] for line in lines)

    monkeypatch.setattr(train_r1, "fine_tune", learn)
    nothing = lambda *_: None  # noqa: E731
    run = SimpleNamespace(path=tmp_path)
    session = SimpleNamespace(once=nothing, load_or_make=lambda phase, work: work(), run=run)
    config = replace(PRESETS["smoke"], cold=how, rejection=how)
    pipeline = {"model": nothing, "session": lambda *_: session, "finish": nothing}
    stage(SimpleNamespace(config=config, **pipeline))
    assert [len(text) for text in seen] == [16, 22, 22, 22]
