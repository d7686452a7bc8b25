"""What blind pairs would solve if they never tried the same two numbers twice: repeats.json.

    python results/zero/repeats.py
"""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

from minir1.checkpoint import load_checkpoint
from minir1.corpus.writers.plain import random_pair
from minir1.data import find_checkpoint
from minir1.measure.baselines import blind_pairs, search_pairs
from minir1.measure.evaluator import many_problems
from minir1.tasks.countdown import Countdown

TESTS = {  # the base whose tokenizer counts, puzzles, their number, tokens
    "laptop": ("base-cpu.pt", "countdown:cpu=1", 512, 256),
    "gpu": ("base-gpu.pt", "countdown:3to4=1", 2048, 1024),
    "best": ("base-gpu.pt", "countdown:3to4=1", 2048, 2048),  # no base of `best` is shipped
}
ENOUGH = 2000  # repeats in a row after which nothing new is left


def each_once(rng: Random, problem: Countdown) -> Iterator[tuple]:
    """What blind pairs draw, in their order, without those that were drawn before."""
    seen, repeats = set(), 0
    while repeats < ENOUGH:
        pair, way = random_pair(rng, problem.numbers)
        key = tuple(sorted(pair))
        repeats = repeats + 1 if key in seen else 0
        if repeats == 0:
            seen.add(key)
            yield pair, way


def main() -> None:
    found = {}
    for name, (base, task, count, budget) in TESTS.items():
        _, tokenizer = load_checkpoint(find_checkpoint(base))
        problems = many_problems((task,), ("en",), "test", "test", count)
        found[name] = {
            "blind_pairs": blind_pairs(problems, tokenizer, budget),
            "each_once": search_pairs(problems, tokenizer, budget, each_once, "blind pairs"),
        }
        print(name, found[name])
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
