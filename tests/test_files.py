"""What lies on the disk: damaged, foreign, in use by another, in the way."""

import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from minir1.__main__ import main
from minir1.checkpoint import load_checkpoint, read, save_checkpoint, write_whole
from minir1.config import UserError
from minir1.console.errors import guard
from minir1.console.files import read_object
from minir1.data import FOLDER, find_checkpoint
from minir1.fast.parallel import end_with_parent, parallel_map
from minir1.hub.pack import pack
from minir1.presets import PRESETS
from minir1.r1.data.fine_tuning import read_lines as read_curated
from minir1.r1.pipeline.pipeline import Pipeline
from minir1.report.reading import read_metrics
from minir1.run.folder import Run
from minir1.run.session import Session, resumable

ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def start(*command, **options) -> subprocess.Popen:
    """Python with these arguments."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    options = {"env": ENVIRONMENT} | options
    return subprocess.Popen([sys.executable, *map(str, command)], **options)


def finish(*command, **options) -> tuple[int, str, str]:
    process = start(*command, **options)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def one_line(capsys, status: int, *arguments) -> str:
    """What a command says when it ends with this status: one line."""
    assert main([str(argument) for argument in arguments]) == status
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said, said
    return said


# ---------------------------------------------------------------- checkpoints


@pytest.fixture(scope="module")
def shipped():
    return load_checkpoint(find_checkpoint("student-small-cpu.pt"))


@pytest.mark.parametrize("packing", [lambda name, value: value, pack], ids=["whole", "int8"])
def test_a_flipped_bit_is_refused(shipped, packing, tmp_path):
    """A seeded trial of 64 bits each; 50 of 64 loaded once."""
    path, rng = tmp_path / "x.pt", random.Random(0)
    save_checkpoint(path, *shipped, packing)
    load_checkpoint(path)
    whole = path.read_bytes()
    for place in [*rng.sample(range(len(whole)), 60), 0, -1, -40, -75]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(UserError):
            load_checkpoint(path)


def test_a_damaged_checkpoint_is_one_line(shipped, tmp_path, capsys):
    path = tmp_path / "x.pt"
    save_checkpoint(path, *shipped)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    assert "damaged" in one_line(capsys, 2, "pack", path, tmp_path / "y.pt")
    assert not (tmp_path / "y.pt").exists()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.pt")), ids=lambda path: path.name)
def test_what_is_shipped_loads(path):
    model, codec = load_checkpoint(path)
    text = "Use 3, 5, 8 to make 16."
    assert codec.decode(codec.encode(text)) == text
    assert model(torch.tensor([codec.encode(text)])).isfinite().all()


@pytest.mark.parametrize(
    "name, value",
    [
        ("layers", 10**9), ("width", 10**9), ("positions", 10**12), ("experts", 10**9),
        ("heads", 10**9), ("dense_width", 3), ("layers", -1), ("layers", "4"), ("width", None),
        ("top_k", [2]), ("mtp", True),
    ],
)
@pytest.mark.parametrize("packing", [lambda name, value: value, pack], ids=["whole", "int8"])
def test_a_configuration_of_other_weights_is_refused_before_anything_is_built(
    shipped, name, value, packing, tmp_path, capsys
):
    path = tmp_path / "x.pt"
    save_checkpoint(path, *shipped, packing)
    whole = read(path)
    write_whole(path, whole | {"config": whole["config"] | {name: value}})
    began = time.time()
    said = one_line(capsys, 2, "pack", path, tmp_path / "y.pt")
    assert "does not fit this version of minir1" in said and len(said) < 400
    assert time.time() - began < 5  # a billion layers took minutes


@pytest.mark.skipif(sys.platform == "win32", reason="no devices in folders there")
def test_a_device_is_never_replaced_by_a_checkpoint(tmp_path, capsys):
    """A pipe stands for /dev/null, which the code of before replaced for everybody."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        said = one_line(capsys, 1, "pack", find_checkpoint("student-small-cpu.pt"), path)
        assert f"cannot write {path}" in said
        assert pipe.is_fifo() and link.is_symlink()


# ---------------------------------------------------------------- one writer, one run


def new_run(path: Path) -> Run:
    """A run that was stopped after two rows of reinforcement learning."""
    run = Run.start(path, PRESETS["smoke"])
    for step in (1, 2):
        run.log("rl", step=step, accuracy=0.5, tokens=9)
    run.save_state("rl", 2)
    return run


def resume(path: Path, *more: str) -> int:
    return guard(lambda arguments: Session.open(arguments) and 0, ["--resume", str(path), *more])


HOLD = """
import sys, time
from pathlib import Path
from minir1.console.files import lock
held = lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(100)
"""


def test_a_second_process_is_refused_and_a_dead_ones_lock_is_taken_over(tmp_path, capsys):
    new_run(tmp_path / "run")
    other = start("-c", HOLD, tmp_path / "run")
    assert other.stdout.readline() == "held\n"
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "rl", "step": 3}\n')  # of the process that has it
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert resume(tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert f"in use by another process ({other.pid})" in said and said.count("\n") == 1
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before
    other.kill()
    other.communicate()
    assert resume(tmp_path / "run") == 0
    assert (tmp_path / "run" / "metrics.jsonl").read_text() != before


@pytest.mark.parametrize("part", ["metrics.jsonl", "progress.json", "checkpoints"])
def test_leftovers_of_another_run_are_not_taken_up(tmp_path, part, capsys):
    run = new_run(tmp_path / "run")
    run.finish("pretrain", {"seconds": 1.0, "result": None})
    for path in [*run.path.iterdir()]:
        if path.name != part and path.is_file():
            path.unlink()
        elif path.name != part:
            shutil.rmtree(path)
    arguments = ["--preset", "smoke", "--out", str(tmp_path / "run")]
    assert guard(Session.open, arguments) == 2
    assert f"holds {part} of another run" in capsys.readouterr().err
    assert [path.name for path in run.path.iterdir() if path.name != ".lock"] == [part]


def test_rows_of_a_phase_that_has_ended_are_kept(tmp_path):
    """A state counts the rows until its step; stages name what they make not as they name the
    phase, and a kill before the next state lost the rows in between."""
    run = new_run(tmp_path / "run")
    run.log("rl", step=3, accuracy=0.5)
    run.finish("zero", {"seconds": 1.0, "result": None})
    run.log("next", step=1)
    again = Run.resume(tmp_path / "run")
    assert again.lines == 3
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [1, 2, 3]


def test_settings_that_only_memory_depends_on_may_change_on_resume(tmp_path, capsys):
    new_run(tmp_path / "run")
    assert resume(tmp_path / "run", "--rl.train_tokens", "512") == 0
    assert Run.resume(tmp_path / "run").config.rl.train_tokens == 512
    assert resume(tmp_path / "run", "--rl.lr", "1") == 2
    assert "only --rl.train_tokens" in capsys.readouterr().err


# ---------------------------------------------------------------- JSON of the wrong shape

SHAPES = ["[]", "3", "null", '"text"', "", "[" * 100_000, '{"a": 1}{', "\x00"]
NESTED = ['{"rl": 3, "preset": [1]}', '{"pretrain": 1}', '{"lines": "x"}', '{"seconds": {"a": []}}',
          '{"preset": "smoke", "seed": {}}', '{"zero": [1], "base": {"accuracy": []}}',
          '{"phase": 7}', '{"phase": "rl", "step": [], "tokens": "x"}']


def finished(path: Path) -> Path:
    run = new_run(path)
    for step in range(3, 30):
        run.log("rl", step=step, accuracy=0.5, tokens=9)
    run.log("validate", step=2, accuracy=0.5, stderr=0.1)
    summary = {"preset": "smoke", "seed": 0, "zero": {"accuracy": 0.5}, "seconds": {"total": 1.0}}
    (path / "summary.json").write_text(json.dumps(summary))
    run.finish("pretrain", {"seconds": 1.0, "result": None})
    return path


READ_BY = {
    "resume": ("config.json", "progress.json", "metrics.jsonl"),
    "report": ("metrics.jsonl", "summary.json"),
    "golden": ("config.json", "metrics.jsonl", "summary.json"),
    "evolution": ("config.json", "metrics.jsonl"),
}


def status_of(command: str, run: Path, other: Path) -> int:
    if command == "resume":
        return resume(run)
    more = {"golden": ["--against", str(other)], "evolution": ["--documents", "20"]}
    return main([command, str(run), *more.get(command, [])])


@pytest.mark.parametrize("command, name", [(c, name) for c in READ_BY for name in READ_BY[c]])
def test_json_of_the_wrong_shape_is_one_line(tmp_path, command, name, capsys):
    run, other = finished(tmp_path / "run"), finished(tmp_path / "other")
    whole = (run / name).read_bytes()
    assert status_of(command, run, other) == 0
    for text in SHAPES:
        if text or name not in ("metrics.jsonl",):  # no row yet is a run that has just begun
            (run / name).write_text(text)
            capsys.readouterr()
            assert status_of(command, run, other) == 2, text[:20]
            said = capsys.readouterr().err
            assert name in said and said.count("\n") == 1 and len(said) < 500
    for text in NESTED:  # no traceback, whatever it is worth
        (run / name).write_text(text)
        assert status_of(command, run, other) in (0, 1, 2), text
        (run / name).write_bytes(whole)


@pytest.mark.parametrize("line", ["[]", "3", '{"a": ', "null"])
def test_curated_lines_of_the_wrong_shape_are_one_line(tmp_path, line):
    path = tmp_path / "kept.jsonl"
    path.write_text('{"problem": {}}\n' + line + "\n")
    with pytest.raises(UserError, match="line 2"):
        read_curated(path)


@pytest.mark.parametrize("text", ["[]", "3", '{"dev1": 3}'])
def test_costs_of_the_wrong_shape_are_one_line(tmp_path, text, capsys):
    arguments = ["--preset", "smoke", "--stages", "0,1", "--out", str(tmp_path / "r1")]
    Pipeline.open(arguments)
    (tmp_path / "r1" / "costs.json").write_text(text)
    resumed = ["--resume", str(tmp_path / "r1"), "--reasoning.train_tokens", "700"]
    assert guard(lambda given: len(Pipeline.open(given).missing()), resumed) == 2
    said = capsys.readouterr().err
    assert "costs.json cannot be read" in said and said.count("\n") == 1
    assert read_object(tmp_path / "r1" / "config.json")["reasoning"]["train_tokens"] == 700


# ---------------------------------------------------------------- streams and signals


def test_any_stream_will_do(tmp_path):
    """ASCII only, and closed: what is printed holds a plus-minus sign."""
    run = tmp_path / "run"
    shutil.copytree(ROOT / "results" / "zero" / "cpu-seed0", run)
    ascii_only = ENVIRONMENT | {"PYTHONIOENCODING": "ascii"}
    status, out, err = finish("-m", "minir1", "report", run, env=ascii_only)
    assert status == 0, err
    assert "\\xb1" in out
    if sys.platform != "win32":
        (run / "report.html").unlink()
        command = f'exec "{sys.executable}" -m minir1 report "{run}" >&- 2>&-'
        assert subprocess.run(["sh", "-c", command], env=ENVIRONMENT).returncode == 0
        assert (run / "report.html").stat().st_size > 1000


def test_ctrl_c_stays_with_a_process_that_was_not_spawned():
    before = signal.getsignal(signal.SIGINT)
    end_with_parent()
    assert signal.getsignal(signal.SIGINT) is before is not signal.SIG_IGN


def test_sigterm_says_how_to_go_on(tmp_path):
    run = tmp_path / "run"
    process = start(ROOT / "train_zero.py", "--preset", "smoke", "--out", run)
    deadline = time.time() + 100
    while not (run / "checkpoints" / "state.pt").exists() and time.time() < deadline:
        time.sleep(0.02)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == (143 if sys.platform != "win32" else 1), err
    if sys.platform != "win32":
        assert "terminated; go on with: python" in err and err.endswith(f"--resume {run}\n")


WORK = """
import os, time
from minir1.fast.parallel import parallel_map
if __name__ == "__main__":
    results = parallel_map(os.getpid, [()] * 40, 2)
    print(*{next(results) for _ in range(30)}, flush=True)
    time.sleep(100)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks processes up in /proc")
def test_workers_end_when_their_parent_is_killed(tmp_path):
    (tmp_path / "work.py").write_text(WORK)
    process = start(tmp_path / "work.py")
    workers = process.stdout.readline().split()
    assert workers and all(os.path.exists(f"/proc/{worker}") for worker in workers)
    process.kill()
    process.communicate()
    deadline = time.time() + 20
    while any(map(alive, workers)) and time.time() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))


def test_work_for_other_processes_begins_before_the_first_result_is_wanted(tmp_path):
    results = parallel_map(os.mkdir, [(tmp_path / "made",)], 2)
    deadline = time.time() + 60
    while not (tmp_path / "made").exists() and time.time() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "made").is_dir() and list(results) == [None]


def alive(pid: str) -> bool:
    """Nobody may be there to bury it: a zombie is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("script, flag", [("train_zero.py", "--rl.train_tokens"),
                                          ("train_r1.py", "--*.train_tokens")])
def test_out_of_memory_names_the_setting(script, flag, capsys):
    def work(_):
        with resumable(script, Path("runs/x")):
            torch.empty(10**15)

    assert guard(work, [], script) == 1
    said = capsys.readouterr().err
    assert flag in said and "--resume runs/x" in said and said.count("\n") == 1
    assert guard(lambda _: torch.empty(10**15), []) == 1
    assert "no memory left: lower --batch" in capsys.readouterr().err


# ---------------------------------------------------------------- outputs


@pytest.mark.parametrize("name", ["report.html", "plots", "plots/accuracy.png", ".lock"])
def test_nothing_is_written_through_a_link_out_of_a_received_folder(tmp_path, name, capsys):
    run, outside = finished(tmp_path / "run"), tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.txt").write_text("mine")
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(outside if name == "plots" else outside / "mine.txt")
    assert "a link that leads out of it" in one_line(capsys, 1, "report", run)
    gc.collect()
    assert resume(run) == 1
    assert [path.read_text() for path in outside.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    "command",
    [
        ["tables", "nowhere.pt", "--out"], ["calculator", "nowhere.pt", "--out"],
        ["hack", "preference", "nowhere.pt", "--out"], ["export", "nowhere.pt"],
        ["bench", "nowhere.pt", "--out"], ["pack", "nowhere.pt"],
        ["study", "controls", "--out"], ["failures", "all", "--out"],
    ],
    ids=lambda command: command[0],
)
def test_where_the_output_goes_is_checked_before_the_work(tmp_path, command, capsys):
    """Before anything is loaded: no checkpoint is there, and that is not what is said."""
    (tmp_path / "file").write_text("in the way")
    folder = command[0] in ("bench", "pack")
    out = tmp_path if folder else tmp_path / "file" / "out"
    assert main([*command, str(out)]) in (1, 2)
    said = capsys.readouterr().err
    assert "cannot write" in said and said.count("\n") == 1


def test_a_report_grows_linearly(tmp_path):
    """20,000 rows took 75 s; measured in this process's own time."""
    run = finished(tmp_path / "run")
    names = ("accuracy", "reward", "length", "attempts", "checks", "entropy", "gap", "signal")
    rng = random.Random(0)
    rows = []
    for step in range(20_000):
        rows.append({"phase": "rl", "step": step} | {name: rng.random() for name in names})
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    began = time.process_time()
    assert main(["report", str(run)]) == 0
    assert time.process_time() - began < 15
