"""A task of one's own in one file: sort four numbers. docs/own-task.md says how it is used."""

from dataclasses import asdict, dataclass
from random import Random
from typing import ClassVar

from minir1.tasks import Task
from minir1.tasks.countdown import split_of
from minir1.transcript import render


@dataclass(frozen=True)
class Sorting:
    numbers: tuple[int, ...]
    lang: str = "en"
    id: str = ""
    task: ClassVar[str] = "sorting"

    def question(self) -> str:
        return f"Sort: {' '.join(map(str, self.numbers))}"

    def verify(self, answer: str) -> bool:
        return answer.split() == [str(n) for n in sorted(self.numbers)]

    def split(self) -> str:
        return split_of(f"sorting {sorted(self.numbers)}")  # in any order: the same problem

    def to_json(self) -> dict:
        return {"task": self.task, **asdict(self)}


def read(line: dict) -> Sorting:
    numbers = line.get("numbers")
    if not isinstance(numbers, list) or not all(type(n) is int for n in numbers):
        raise ValueError('"numbers" must be a list of integers')
    return Sorting(tuple(numbers), id=str(line.get("id", "")))


def sample(rng: Random, kind: str, split: str, lang: str) -> Sorting:
    while True:
        problem = Sorting(tuple(rng.sample(range(1, 100), 4)))
        if problem.split() == split:
            return problem


def document(rng: Random, lang: str) -> str:
    """Most only guess. Some think: the smallest of what is left, line by line, with slips."""
    problem = sample(rng, "easy", "train", lang)
    left, answer, thought = list(problem.numbers), [], ""
    while left:
        answer.append(rng.choice(left) if rng.random() < 0.3 else min(left))
        thought += f"{' '.join(map(str, left))}: {answer[-1]}\n"
        left.remove(answer[-1])
    if rng.random() < 0.6:  # RL has to find out that thinking pays
        thought, answer = None, rng.sample(problem.numbers, 4)
    return render(problem.question(), " ".join(map(str, answer)), thought)


TASK = Task("sorting", ("easy",), sample, read, document)
