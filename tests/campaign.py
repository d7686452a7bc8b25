"""Slow campaigns, outside CI: what breaks when a run is killed, and when what it is given is wrong.

    python tests/campaign.py kills 100 --seed 0          of train_zero, half of them with a KL term
    python tests/campaign.py kills 20 --seed 0 --r1      of train_r1
    python tests/campaign.py bits 64 --seed 0            one flipped bit in a checkpoint each
    python tests/campaign.py inputs 600 --seed 0         a wrong setting or a spoilt file each

A killed run is resumed and must end with the metrics, results and weights of one that was not.
A wrong input must end with status 1 or 2, words on stderr, no traceback and no folder, in a minute.
Exit status 1 if anything differs.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import UserError, flags_of
from minir1.console.flags import TRAIN_ZERO
from minir1.r1.pipeline.flags import TRAIN_R1

ROOT = Path(__file__).resolve().parent.parent
CLOCKS = ("seconds", "tokens_s", "seconds_rollout", "seconds_update", "seconds_step")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
SMOKE = ["--preset", "smoke", "--rl.steps", "6", "--device", "cpu"]
KL = ["--rl.kl", "0.1", "--rl.kl_refresh", "3"]


def start(script: str, arguments: list[str]) -> subprocess.Popen:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, script, *arguments]
    return subprocess.Popen(command, env=ENVIRONMENT, cwd=ROOT, **quiet)


def outcome(run: Path) -> dict:
    """Metrics and weights of all that a run has made; without clocks."""
    found = {}
    for path in sorted(run.rglob("metrics.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        kept = [{k: v for k, v in row.items() if k not in CLOCKS} for row in rows]
        found[str(path.relative_to(run))] = kept
    for path in sorted(run.rglob("*.pt")):
        if path.name not in ("state.pt", "preference.pt"):
            model, _ = load_checkpoint(path)
            weights = torch.cat([w.flatten() for w in model.state_dict().values()])
            found[str(path.relative_to(run))] = weights.double().sum().item()
    return found


def kills(count: int, rng: random.Random, r1: bool) -> int:
    script, wrong = "train_r1.py" if r1 else "train_zero.py", 0
    whole, folder = {}, Path(tempfile.mkdtemp())
    for i in range(count):
        kl = i % 2 if not r1 else 0
        flags = ["--preset", "smoke"] if r1 else SMOKE + KL * kl
        if kl not in whole:
            began = time.time()
            assert start(script, [*flags, "--out", str(folder / f"whole{kl}")]).wait() == 0
            whole[kl] = (outcome(folder / f"whole{kl}"), time.time() - began)
        run, (expected, seconds) = folder / "killed", whole[kl]
        shutil.rmtree(run, ignore_errors=True)
        process, after = start(script, [*flags, "--out", str(run)]), rng.uniform(0.2, 1) * seconds
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        process.wait()
        begun = (run / "config.json").is_file()
        again = ["--resume", str(run)] if begun else [*flags, "--out", str(run)]
        status = start(script, again).wait()
        equal = status == 0 and outcome(run) == expected
        wrong += not equal
        said = "equal" if equal else "DIFFERENT"
        print(f"{i + 1}: killed after {after:.1f} s, {said}", flush=True)
    shutil.rmtree(folder)
    return wrong


def bits(count: int, rng: random.Random) -> int:
    """How many of the spoilt copies are loaded all the same."""
    with tempfile.TemporaryDirectory() as folder:
        whole, spoilt = Path(folder) / "whole.pt", Path(folder) / "spoilt.pt"
        save_checkpoint(whole, *load_checkpoint(ROOT / "minir1" / "data" / "base-cpu.pt"))
        content, loaded = whole.read_bytes(), 0
        for _ in range(count):
            at = rng.randrange(8 * len(content))
            bad = bytearray(content)
            bad[at // 8] ^= 1 << at % 8
            spoilt.write_bytes(bad)
            try:
                load_checkpoint(spoilt)
                loaded += 1
            except UserError:
                pass
    print(f"{count} flipped bits, {loaded} loaded")
    return loaded


def wrong_value(rng: random.Random) -> list[str]:
    """A training script with one setting that cannot be meant."""
    script, program = rng.choice((("train_zero.py", TRAIN_ZERO), ("train_r1.py", TRAIN_R1)))
    flags = [flag for flag in flags_of(program.kind) if flag[0] not in program.absent]
    name, hint, field = rng.choice(flags)
    allowed = field.metadata.get("allowed")
    if hint is bool:
        bad = ["perhaps", "2"]
    elif hint in (int, float):
        bad = ["nan", "inf", "word", "", "1e400", "9" * 30]
    elif allowed is not None:
        bad = ["nonsense", " "]
    else:  # a path, a mixture of tasks, a base
        bad = ["/dev/null/x", "nowhere/at.all"] if hint is str else ["nowhere/at.all", "x:="]
    return [script, "--preset", "smoke", "--out", "OUT", f"--{name}={rng.choice(bad)}"]


def wrong_file(rng: random.Random, folder: Path) -> list[str]:
    """A command with a file that is absent, empty, cut short, of another kind or shape."""
    model = (ROOT / "minir1" / "data" / "zero-cpu.pt").read_bytes()
    contents = {
        "empty": b"", "cut": model[: rng.randrange(1, len(model))], "bytes": rng.randbytes(999),
        "list": b"[1, 2]\n", "null": b"null\n", "deep": b"[" * 9999, "row": b'{"answer": []}\n',
        "latin": "\u00e9".encode("latin-1") * 9, "number": b"7\n", "object": b'{"": {"": []}}\n',
    }
    kind = rng.choice([*contents, "absent", "folder"])
    path = folder / f"bad-{kind}"
    if kind == "folder":
        path.mkdir(exist_ok=True)
    elif kind != "absent":
        path.write_bytes(contents[kind])
    bad, good = str(path), str(ROOT / "minir1" / "data" / "zero-cpu.pt")
    tools = [
        ["play", bad], ["pack", bad, "OUT"], ["export", bad, "OUT"], ["evolution", bad],
        ["report", bad], ["golden", bad], ["evaluate", bad], ["calculator", bad, "--out", "OUT"],
        ["evaluate", good, "--problems", bad], ["evaluate", "--answers", bad, "--problems", bad],
        ["tables", bad, "--out", "OUT"], ["teach", "--base", bad, "--tasks", "x=1", "--out", "OUT"],
    ]
    scripts = [
        ["train_zero.py", "--preset", "smoke", "--base", bad, "--out", "OUT"],
        ["train_zero.py", "--preset", "smoke", "--rl.tasks", f"file:{bad}=1", "--out", "OUT"],
        ["train_zero.py", "--resume", bad], ["train_r1.py", "--resume", bad],
    ]
    command = rng.choice(tools + scripts)
    return command if command in scripts else ["-m", "minir1", *command]


def inputs(count: int, rng: random.Random) -> int:
    """How many wrong inputs ended in a traceback, in silence, or were taken."""
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i in range(count):
            command = wrong_value(rng) if rng.random() < 0.5 else wrong_file(rng, folder)
            out = folder / f"out{i}"
            command = [str(out) if word == "OUT" else word for word in command]
            how = {"env": ENVIRONMENT, "cwd": ROOT, "capture_output": True, "text": True}
            try:
                ended = subprocess.run([sys.executable, *command], timeout=60, input="", **how)
                told, status = ended.stderr.strip(), ended.returncode
            except subprocess.TimeoutExpired:
                told, status = "", "no end within a minute"
            if (i + 1) % 50 == 0:
                print(f"{i + 1} tried, {wrong} wrong", flush=True)
            good = status in (1, 2) and told and "Traceback" not in told and not out.exists()
            if not good:
                wrong += 1
                print(f"{i + 1}: status {status}: {' '.join(command)}", flush=True)
                print(f"    {told[-300:]}", flush=True)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("kills", "bits", "inputs"))
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--r1", action="store_true")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    if given.what == "kills":
        wrong = kills(given.count, rng, given.r1)
    else:
        wrong = {"bits": bits, "inputs": inputs}[given.what](given.count, rng)
    print(f"{given.count - wrong} of {given.count} as they should be")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
