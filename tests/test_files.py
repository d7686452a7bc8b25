"""What lies on the disk: damaged, foreign, in use by another, in the way."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minir1.__main__ import main
from minir1.checkpoint import load_checkpoint, read, save_checkpoint, write_whole
from minir1.config import UserError
from minir1.data import FOLDER, find_checkpoint
from minir1.hub.pack import pack

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
    load_checkpoint(path)


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
