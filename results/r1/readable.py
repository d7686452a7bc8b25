"""Which responses of R1 are readable, by how long it searches?

    python results/r1/readable.py runs/r1-gpu-0

Asks 4,096 held-out puzzles once each, as minir1.r1.scoreboard.compare does, and writes
RUN/readable.json: for each range of attempts how many responses there are, how many of them are
right, readable, both, and what is wrong with the others.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from minir1.measure.behaviours import observe
from minir1.r1.data.curation import unreadable, without_summary
from minir1.r1.scoreboard.compare import board_of
from minir1.tasks.countdown import Countdown

RANGES = {  # attempts: one more than the last
    "0 to 2": 3, "3 to 5": 6, "6 to 11": 12, "12 to 23": 24, "24 to 47": 48, "48 or more": 999,
}


def count(responses: Iterable[tuple[Countdown, bool, str]]) -> dict[str, dict[str, int]]:
    """Of (puzzle, whether the answer is right, response), by attempts; and of all of them."""
    found = {name: Counter() for name in ("all", *RANGES)}
    for problem, right, text in responses:
        fault, seen = unreadable(problem, text), observe(problem, without_summary(text))
        kind = next(name for name, end in RANGES.items() if seen.attempts < end)
        facts = {
            "responses": True, "right": right, "readable": not fault, fault: fault,
            "both": right and not fault, "with a false step": seen.wrong_steps,
            "with a repeated attempt": seen.repeated,
        }
        for name in ("all", kind):
            found[name].update(fact for fact, holds in facts.items() if holds)
    return {name: dict(sorted(counter.items())) for name, counter in found.items()}


def main() -> None:
    run = Path(sys.argv[1])
    board = board_of(run, 4096)
    asked = board.ask(*board.load("r1"), board.puzzles, 1)
    rights = [reward.accuracy > 0 for reward in asked.rewards]
    found = count(zip(asked.problems, rights, asked.texts))
    (run / "readable.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found["all"], indent=1))


if __name__ == "__main__":
    main()
