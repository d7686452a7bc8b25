"""What does `golden` notice? Twelve wrong settings, three seeds each, and ten good runs.

    python results/golden/power.py train FOLDER --workers 8 --seconds 3600
    python results/golden/power.py table FOLDER > results/golden/README.md

`train` runs what FOLDER lacks, each on one thread, and stops in time; call it again to go on.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from minir1.config import UserError
from minir1.report.golden import differing, golden_runs, judge, read_config

ROOT = Path(__file__).resolve().parent.parent.parent
WRONG = {
    "ten times the learning rate": ("--rl.lr", "1.2e-3"),
    "a tenth of the learning rate": ("--rl.lr", "1.2e-5"),
    "advantages not divided by the deviation": ("--rl.scale", "none"),
    "12 updates for each rollout": ("--rl.minibatches", "12"),
    "a ratio that is never clipped": ("--rl.clip_low", "1", "--rl.clip_high", "1000"),
    "sampled and trained at temperature 0.6": ("--rl.temperature", "0.6"),
    "groups of 2": ("--rl.group_size", "2", "--rl.prompts", "96"),
    "4 prompts a step": ("--rl.prompts", "4"),
    "64 tokens at most": ("--rl.max_tokens", "64"),
    "a KL penalty of 1": ("--rl.kl", "1"),
    "form paid like being right": ("--rl.format_reward", "1"),
    "each response weighs the same": ("--rl.average", "response"),
}
GOOD, SEEDS = range(10, 20), range(20, 23)


def jobs() -> dict[str, tuple[str, ...]]:
    """Name of the run folder: flags. One seed of everything comes before the second."""
    good = {f"good-{seed}": ("--seed", str(seed)) for seed in GOOD}
    wrong = {
        f"wrong-{i}-{seed}": (*flags, "--seed", str(seed))
        for seed in SEEDS for i, flags in enumerate(WRONG.values())
    }
    return wrong | good


def train(folder: Path, workers: int, seconds: float) -> None:
    until = time.time() + seconds
    common = ["--preset", "cpu", "--device", "cpu", "--threads", "1"]
    common += ["--eval.answer_only_steps", "0", "--eval.many", "4"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def run(job: tuple[str, tuple[str, ...]]) -> None:
        name, flags = job
        out, left = folder / name, until - time.time()
        if left < 30 or (out / "summary.json").is_file():
            return
        begun = (out / "config.json").is_file()
        how = ["--resume", str(out)] if begun else [*common, *flags, "--out", str(out)]
        command = [sys.executable, str(ROOT / "train_zero.py"), *how]
        with (folder / f"{name}.log").open("ab") as log, suppress(subprocess.TimeoutExpired):
            subprocess.run(command, env=environment, stdout=log, stderr=log, timeout=left)

    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, jobs().items()))


def verdict(run: Path) -> str:
    """What `golden` says of a run, in a few words."""
    golden = golden_runs("cpu", run)
    config, known = read_config(run), read_config(golden[0])
    try:
        words, good = judge(run, golden, differing(config, known))
    except UserError:
        return "-"
    if good:
        return "within"
    first = [line for line in words.splitlines() if line.startswith("Left the band first: ")]
    if not first:
        return words.splitlines()[-1]
    return first[0].removeprefix("Left the band first: ").split("; golden")[0] + ")"


def table(folder: Path) -> str:
    """Markdown: a row for each wrong setting, then the good runs."""
    lines = ["| wrong setting | seed 20 | seed 21 | seed 22 |", "|---|---|---|---|"]
    for i, name in enumerate(WRONG):
        runs = [folder / f"wrong-{i}-{seed}" for seed in SEEDS]
        said = [verdict(run) if run.is_dir() else "-" for run in runs]
        lines.append(f"| {name} | {' | '.join(said)} |")
    good = [folder / f"good-{seed}" for seed in GOOD if (folder / f"good-{seed}").is_dir()]
    said = {run.name: verdict(run) for run in good}
    alarms = {name: words for name, words in said.items() if words != "within"}
    lines += ["", f"Good runs called bad: {len(alarms)} of {len(said)}."]
    return "\n".join(lines + [f"{name}: {words}" for name, words in alarms.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "table"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    parser.add_argument("--seconds", type=float, default=1e9, help="when to stop")
    chosen = parser.parse_args()
    if chosen.what == "train":
        train(chosen.folder, chosen.workers, chosen.seconds)
    else:
        print(table(chosen.folder))


if __name__ == "__main__":
    main()
