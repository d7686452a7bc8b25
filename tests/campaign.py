"""Slow campaigns, outside CI: what breaks when a run is killed, and when its files are spoilt.

    python tests/campaign.py kills 100 --seed 0          of train_zero, half of them with a KL term
    python tests/campaign.py kills 20 --seed 0 --r1      of train_r1
    python tests/campaign.py bits 64 --seed 0            one flipped bit in a checkpoint each

A killed run is resumed and must end with the metrics, results and weights of one that was not.
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
from minir1.config import UserError

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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("kills", "bits"))
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--r1", action="store_true")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    wrong = bits(given.count, rng) if given.what == "bits" else kills(given.count, rng, given.r1)
    print(f"{given.count - wrong} of {given.count} as they should be")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
