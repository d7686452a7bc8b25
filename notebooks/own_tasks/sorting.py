"""A task of one's own, in one file: sorting four numbers.

python -m minir1 teach --base base-cpu.pt --tasks notebooks/own_tasks/sorting.py:easy
python train_zero.py --base taught.pt --rl.tasks notebooks/own_tasks/sorting.py:easy=1
"""

import re
from dataclasses import asdict, dataclass
from random import Random
from typing import ClassVar

from minir1.tasks import Task
from minir1.tasks.countdown import split_of
from minir1.transcript import render

COUNTS = {"easy": 4, "hard": 6}
THINKS = 0.2  # documents with a thought; RL must find out that thinking pays


@dataclass(frozen=True)
class Sorting:
    numbers: tuple[int, ...]
    lang: str = "en"
    id: str = ""
    task: ClassVar[str] = "sorting"

    def question(self) -> str:
        return f"Sort {', '.join(map(str, self.numbers))}."

    def verify(self, answer: str) -> bool:
        return re.findall("[0-9]+", answer) == [str(n) for n in sorted(self.numbers)]

    def split(self) -> str:
        return split_of(f"sorting {sorted(self.numbers)}")

    def to_json(self) -> dict:
        return {"task": self.task, **asdict(self)}


def sample(rng: Random, kind: str, split: str, lang: str) -> Sorting:
    while True:
        problem = Sorting(tuple(rng.sample(range(1, 100), COUNTS[kind])))
        if problem.split() == split:
            return problem


def document(rng: Random, lang: str) -> str:
    """Mostly a guess; now and then a thought: the smallest of what is left, again and again."""
    problem, thought = sample(rng, "easy", "train", lang), None
    answer, left = rng.sample(problem.numbers, 4), list(problem.numbers)
    if rng.random() < THINKS:
        thought, answer = "", sorted(left)
        for n in answer:
            thought += f"{', '.join(map(str, left))}: {n}\n"
            left.remove(n)
    return render(problem.question(), ", ".join(map(str, answer)), thought)


def read(line: dict) -> Sorting:
    return Sorting(tuple(line["numbers"]))


TASK = Task("sorting", tuple(COUNTS), sample, read, document)
