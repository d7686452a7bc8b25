"""What each step buys: trains the five steps with three seeds and draws their curves.

    cd notebooks && python -m steps.curves            # what curves.jsonl does not hold yet; draws
    python -m steps.curves --only step_3_group --seeds 1 --out mine.jsonl

A training of 40 steps takes some minutes on two cores, so all fifteen more than an hour. A line of
curves.jsonl is one of them: its file, its seed, the share of right responses of each step, and
that of 512 test puzzles at the end.
"""

import argparse
import json
import random
import time
from importlib import import_module
from pathlib import Path

import torch

import zero_in_one_file as zero

FOLDER = Path(__file__).parent
STEPS = [path.stem for path in sorted(FOLDER.glob("step_*.py"))]
NAMES = ["1 reward", "2 baseline", "3 group", "4 clip", "5 several updates"]
SMOOTH = 5  # steps that a point of a curve is the mean of
TEST_PUZZLES = 512


def run(name: str, seed: int, steps: int) -> dict:
    """One training from the base, and the test at its end."""
    began = time.time()
    train = (zero if name == "zero_in_one_file" else import_module(f"steps.{name}")).train
    model, codec = zero.load()
    right = train(model, codec, seed, steps)
    seconds = time.time() - began
    puzzles = [zero.draw(random.Random(i), "test") for i in range(TEST_PUZZLES)]
    torch.manual_seed(0)
    _, reward_B, _ = zero.respond(model, codec, puzzles)
    test = (reward_B > 1).float().mean().item()
    right = [round(share, 4) for share in right]
    return {"file": name, "seed": seed, "right": right, "test": test, "seconds": round(seconds)}


def smooth(right: list[float]) -> list[float]:
    """Each value's mean with those just before it."""
    parts = [right[max(0, i + 1 - SMOOTH) : i + 1] for i in range(len(right))]
    return [sum(part) / len(part) for part in parts]


def draw(runs: list[dict], path: Path) -> None:
    """A curve per step: the mean of its seeds, and their range."""
    import matplotlib.pyplot as plt  # not needed to train

    _, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    for name, label in zip(STEPS, NAMES):
        seeds = [smooth(line["right"]) for line in runs if line["file"] == name]
        if not seeds:
            continue
        by_step = list(zip(*seeds))
        x = range(1, len(by_step) + 1)
        (line,) = axes.plot(x, [sum(y) / len(y) for y in by_step], label=label)
        low, high = [min(y) for y in by_step], [max(y) for y in by_step]
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xlabel="step, each of 256 responses", ylabel="share of right responses")
    axes.set(ylim=(0, 1), title="What each step from REINFORCE to GRPO changes")
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    plt.savefig(path, dpi=150)
    plt.close()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=STEPS, choices=[*STEPS, "zero_in_one_file"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=Path, default=FOLDER / "curves.jsonl")
    parser.add_argument("--draw", action="store_true", help="only draw what is there")
    options = parser.parse_args(arguments)
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    runs = [json.loads(line) for line in lines]
    for name in () if options.draw else options.only:
        for seed in options.seeds:
            if any((line["file"], line["seed"]) == (name, seed) for line in runs):
                continue
            runs.append(run(name, seed, options.steps))
            with options.out.open("a") as file:
                file.write(json.dumps(runs[-1]) + "\n")
    draw(runs, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
