"""train_r1.py, small: it ends, every stage goes on after a stop, stages can be chosen, and wrong input is told in one line."""

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
from minir1.tasks import problem_from_json

ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
MADE = ("base", "zero", "dev1", "dev2", "dev2-plain", "dev3", "r1", "student-small", "student-direct", "student-on-policy")


def start(*arguments) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "train_r1.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=ENVIRONMENT)


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


def figures(run: Path) -> dict:
    """The scoreboard without what the clock gave."""
    rows = json.loads((run / "scoreboard.json").read_text(encoding="utf-8"))["rows"]
    costs = {name: {k: v for k, v in row["cost"].items() if k not in ("seconds", "dollars")} for name, row in rows.items()}
    return {name: {k: v for k, v in row.items() if k != "cost"} | costs[name] for name, row in rows.items()}


def weights(run: Path, name: str) -> dict:
    return read(run / "checkpoints" / f"{name}.pt")["weights"]


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(bool((a[k] == b[k]).all()) for k in a)


def test_a_run_leaves_everything_it_promises(whole):
    names = ["config.json", "costs.json", "scoreboard.json", "scoreboard.md", "scoreboard.png", "prompts.md"]
    for name in names + [f"checkpoints/{made}.pt" for made in MADE]:
        assert (whole / name).stat().st_size > 0, name
    rows = figures(whole)
    assert set(rows) >= set(MADE) and all(0 <= row["countdown"] <= 1 for row in rows.values())
    assert rows["r1"]["flops"] > 0 and rows["zero"]["tokens_sampled"] > 0 and rows["dev3"]["tokens_sampled"] > 0
    prompts = (whole / "prompts.md").read_text(encoding="utf-8")
    assert prompts.count("## ") == 5 and prompts.count("**R1**") == 5
    assert not same(weights(whole, "dev3"), weights(whole, "base")) and not same(weights(whole, "r1"), weights(whole, "dev3"))


def test_the_data_of_every_stage_says_where_it_is_from_and_holds_no_held_out_problem(whole):
    seen = 0
    for path in whole.glob("*/data/*.jsonl"):
        for line in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            problem = problem_from_json(line["problem"])
            assert problem.split() == "train" and problem.question() == line["question"] and line["source"]
            seen += 1
    assert seen >= PRESETS["smoke"].rejection.general
    for path in whole.glob("*/data/counts.json"):
        counts = json.loads(path.read_text(encoding="utf-8"))
        source, responses, written = counts.pop("source"), counts.pop("responses"), counts.pop("written")
        by_language = [counts.pop(key) for key in list(counts) if key.startswith("kept ")]
        assert source in ("zero.pt", "dev2.pt") and sum(counts.values()) == responses and sum(by_language) == written


STOPS = [
    pytest.param("0", "0-zero", "rl", ["zero"], marks=pytest.mark.slow),
    ("2", "2-reasoning-rl", "rl_plain", ["dev2", "dev2-plain"]),
    pytest.param("3", "3-rejection-sampling", "sft", ["dev3"], marks=pytest.mark.slow),
    pytest.param("4", "4-all-scenarios", "rl", ["r1"], marks=pytest.mark.slow),
    ("5", "5-distillation", "direct", ["student-large", "student-direct", "student-on-policy"]),
]  # fmt: skip


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
    assert all(figures(run)[name] == figures(whole)[name] for name in names)  # what it cost in tokens too


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
    status, _, err = finish("--preset", "smoke", "--stages", "4", "--from", whole, "--out", tmp_path / "run")
    assert status == 0, err
    assert same(weights(tmp_path / "run", "r1"), weights(whole, "r1"))
    assert not (tmp_path / "run" / "1-cold-start").exists()
    rows = figures(tmp_path / "run")
    assert set(rows) == {"base", "zero", "dev1", "dev2", "dev2-plain", "dev3", "r1"}  # no student of the other run's R1
    assert rows["dev3"] == figures(whole)["dev3"]  # its costs too


def test_a_given_zero_is_taken_and_the_control_can_be_left_out(whole, tmp_path):
    given = ("--base", whole / "checkpoints" / "base.pt", "--zero", whole / "checkpoints" / "zero.pt")
    status, out, err = finish("--preset", "smoke", "--stages", "0-2", *given, "--no-control", "--out", tmp_path / "run")
    assert status == 0, err
    assert same(weights(tmp_path / "run", "zero"), weights(whole, "zero"))
    assert "R1-Zero" in out and "without language reward" not in out
    assert not (tmp_path / "run" / "checkpoints" / "dev2-plain.pt").exists()


def test_students_are_taken_where_they_are_shipped_and_read_where_they_are_not(whole, tmp_path):
    bases, names = whole / "checkpoints" / "untaught-{size}.pt", [f"untaught-{size}" for size in ("small", "medium", "large")]
    given = ("--base", whole / "checkpoints" / "base.pt", "--students.bases", bases, "--out", tmp_path / "taken")
    status, out, err = finish("--preset", "smoke", "--stages", "students", *given)
    assert status == 0 and "scoreboard" not in out, err
    assert all(same(weights(tmp_path / "taken", name), weights(whole, name)) for name in names)
    assert not (tmp_path / "taken" / "0-students").exists() and not (tmp_path / "taken" / "scoreboard.json").exists()
    read = ("--preset", "smoke", "--from_scratch", "on", "--stages", "students", "--from", whole, "--students.bases", bases)
    status, _, err = finish(*read, "--seed", "1", "--out", tmp_path / "read")
    assert status == 0, err
    assert not any(same(weights(tmp_path / "read", name), weights(whole, name)) for name in names)
    strangers = ("--base", whole / "checkpoints" / "base.pt", "--students.bases", "base-cpu.pt", "--out", tmp_path / "strange")
    status, _, err = finish("--preset", "smoke", "--stages", "students", *strangers)  # another tokenizer
    assert status == 0 and (tmp_path / "strange" / "0-students").exists(), err


WRONG = [
    (("--preset", "tpu"), "unknown preset 'tpu'"),
    (("--preset", "smoke", "--stages", "5-2"), "--stages reads like"),
    (("--preset", "smoke", "--nonsense", "1"), "unrecognized arguments: --nonsense"),
    (("--preset", "smoke", "--from", "nowhere"), "--from nowhere: no run there"),
    (("--preset", "smoke", "--base", "nowhere.pt"), "--base: no checkpoint nowhere.pt"),
    (("--preset", "smoke", "--zero", "nowhere.pt"), "--zero: no checkpoint nowhere.pt"),
    (("--preset", "smoke", "--reasoning.group_size", "1"), "--reasoning.group_size must be at least 2"),
    (("--preset", "smoke", "--corpus.languages", "en"), "bilingual"),
    (("--preset", "smoke", "--cold.sums", "1.5"), "--cold.sums lies between 0 and 1"),
    (("--preset", "smoke", "--rejection.sums", "-1"), "--rejection.sums lies between 0 and 1"),
    (("--preset", "smoke", "--reasoning.tasks", "countdown:huge=1"), "--reasoning.tasks: no task 'countdown:huge'"),
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
        assert config.zero_rl.language_reward == 0 < config.reasoning.language_reward == config.scenarios.language_reward
        assert config.cold.general == 0 < config.rejection.general  # stage 3 adds what is not reasoning
        assert 0 < config.preference.last <= 0.5
    assert parse(["--preset", "cpu", "--reasoning.lr", "2e-4"]).reasoning.lr == 2e-4


def test_help_lists_the_flags_most_people_need(capsys):
    with pytest.raises(SystemExit) as leaving:
        parse(["--help"])
    assert leaving.value.code == 0
    said, flags = capsys.readouterr().out, ("--stages", "--from", "--zero", "--no-control", "--resume")
    assert all(flag in said for flag in flags) and "--pretrain.lr" not in said


def test_what_a_preset_turns_on_can_be_turned_off():
    assert parse(["--preset", "gpu"]).from_scratch and not parse(["--preset", "gpu", "--from_scratch", "off"]).from_scratch
    assert not parse(["--preset", "cpu"]).control and parse(["--preset", "cpu", "--control", "on"]).control


@pytest.mark.parametrize("stage", [train_r1.cold_start, train_r1.rejection_sampling])
def test_long_thoughts_are_read_more_often_in_both_fine_tunings(stage, tmp_path, monkeypatch):
    seen, how = [], CollectConfig(long=3, general=0)
    (tmp_path / "data").mkdir()
    lines = [{"response": f"<think>{thought}</think>"} for thought in ("a", "a\nb\nc\nd")]
    (tmp_path / "data" / "kept.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def learn(session, start, lines, **how):
        seen.extend(line["response"] for line in lines)

    monkeypatch.setattr(train_r1, "fine_tune", learn)
    session = SimpleNamespace(
        once=lambda *_: None, load_or_make=lambda phase, work: work(), run=SimpleNamespace(path=tmp_path)
    )
    config = replace(PRESETS["smoke"], cold=how, rejection=how)
    stage(SimpleNamespace(config=config, model=lambda *_: None, session=lambda *_: session, finish=lambda *_: None))
    assert [len(text) for text in seen] == [16, 22, 22, 22]
