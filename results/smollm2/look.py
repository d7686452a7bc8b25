"""What the stored responses do, by how they end: python results/smollm2/look.py WORK OUT.json

WORK/seed-*/transcripts-*.jsonl are seed.py's: the first response to 64 held-out puzzles a seed.
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path

from minir1.measure.behaviours import observe
from minir1.r1.data.fine_tuning import read_lines
from minir1.tasks.countdown import Countdown

FIRST_STEP = re.compile(r"^(?:[a-z]+,? )?(\d+) ([-+*/]) (\d+) = ", re.MULTILINE)


def counted(row: dict) -> Counter:
    text = row["text"].removeprefix("<think>")
    seen = observe(Countdown(tuple(row["numbers"]), row["target"]), row["text"])
    steps = [(op, *sorted((int(a), int(b)))) for a, op, b in FIRST_STEP.findall(text)]
    again = len(steps) - len(set(steps))
    return Counter(
        responses=1, attempts=seen.attempts, repeated=seen.repeated, same_step=again,
        with_repeat=seen.repeated > 0, with_same_step=again > 0,
        with_false_step=seen.wrong_steps > 0,
    )  # fmt: skip


def counts(work: Path, stage: str) -> dict[str, Counter]:
    found = {"all": Counter()}
    for path in sorted(work.glob(f"seed-*/transcripts-{stage}.jsonl")):
        for row in read_lines(path):
            for name in ("all", row["reason"]):
                found.setdefault(name, Counter()).update(counted(row))
    return found


if __name__ == "__main__":
    stages = {name: counts(Path(sys.argv[1]), name) for name in ("distilled", "distilled_rl")}
    Path(sys.argv[2]).write_text(json.dumps(stages, indent=1) + "\n", encoding="utf-8")
