"""Questions and answers from a file: --rl.tasks file:train.jsonl=1.

A line is {"question": "...", "answer": "..."}, perhaps with "split" (train, validation or test; a
hash of the question decides where it is missing) and "lang". An answer that is a number is compared
as a number (of "so ... #### 72", as in GSM8K, the 72), a choice (one capital letter) without its
parentheses, any other as text without regard to case and spaces at its ends. "read" says where in
<answer> it stands: boxed (the last \\boxed{}), last (the last number or choice), or all of it ("",
the default).
"""

import json
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import ClassVar

from minir1.config import UserError
from minir1.tasks import SPLITS, Task, problem_from_json
from minir1.tasks.countdown import split_of

_NUMBER = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30}|/[0-9]{1,30})?")
READ = ("boxed", "last")
_BOXED, _CHOICE = re.compile(r"\\boxed\{([^{}]*)\}"), re.compile(r"\b[A-Z]\b")
_NUMBERS = re.compile(r"-?[0-9]+(?:,[0-9]{3})*(?:[./][0-9]+)?")


def number(text: str) -> Fraction | None:
    """An integer, decimal or fraction, with commas between thousands; None for anything else.

    >>> number("1,200"), number("0.5"), number("3/0"), number("five")
    (Fraction(1200, 1), Fraction(1, 2), None, None)
    """
    text = re.sub(r"(?<=[0-9]),(?=[0-9]{3})", "", text.strip())
    if _NUMBER.fullmatch(text) is None or re.search(r"/0+$", text):
        return None
    return Fraction(text)


@dataclass(frozen=True)
class Line:
    text: str
    answer: str  # without spaces around it
    lang: str = "en"
    id: str = ""
    part: str = ""  # a split of its own; "": a hash decides
    where: str = ""  # one of READ, or all of <answer>
    task: ClassVar[str] = "file"

    def question(self) -> str:
        return self.text

    def verify(self, answer: str) -> bool:
        if not isinstance(answer, str) or len(answer) > 256:
            return False
        right = number(self.answer)
        if self.where:
            kind = _CHOICE if right is None else _NUMBERS
            answer = ["", *(_BOXED if self.where == "boxed" else kind).findall(answer)][-1]
        if right is not None:
            return number(answer) == right
        answer = answer.strip()
        if _CHOICE.fullmatch(self.answer):
            answer = answer.strip(" ().:")
        return answer.casefold() == self.answer.casefold()

    def readable(self, answer: str) -> bool:
        """Whether `answer` is a number where one was asked for, be it a wrong one."""
        return bool(self.where) or number(self.answer) is None or number(answer) is not None

    def split(self) -> str:
        return self.part or split_of(f"file {self.text}")

    def to_json(self) -> dict:
        line = {"id": self.id, "task": self.task, "lang": self.lang}
        line |= {"question": self.text, "answer": self.answer}
        more = {"split": self.part, "read": self.where}
        return line | {name: value for name, value in more.items() if value}

    @classmethod
    def from_json(cls, line: dict) -> "Line":
        """Raises ValueError with a reason if a field is missing or of the wrong kind."""
        question, answer, part = line.get("question"), line.get("answer"), line.get("split", "")
        if isinstance(answer, int | float) and not isinstance(answer, bool):
            answer = str(answer)
        if isinstance(answer, str):
            answer = answer.rpartition("####")[2].strip()
        for name, value in (("question", question), ("answer", answer)):
            if not isinstance(value, str) or not value.strip():
                raise ValueError(f'"{name}" must be a text')
        if part not in ("", *SPLITS):
            raise ValueError(f'"split" must be one of {", ".join(SPLITS)}, not {part!r}')
        if (where := line.get("read", "")) not in ("", *READ):
            raise ValueError(f'"read" must be one of {", ".join(READ)}, not {where!r}')
        if where == "last" and number(answer) is None and not _CHOICE.fullmatch(answer):
            raise ValueError('"read": last is for a number or a choice, such as B')
        lang, id = (str(line.get(name, default)) for name, default in (("lang", "en"), ("id", "")))
        return cls(question, answer, lang, id, part, where)


@lru_cache(8)
def read_file(path: str) -> dict[str, list[Line]]:
    """The problems of a file by split. Raises UserError, which names the malformed lines."""
    if not Path(path).is_file():
        raise UserError(f"no file {path}")
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8") from None
    problems, faults = {split: [] for split in SPLITS}, {}
    for i, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
            known = isinstance(line, dict)
            problem = problem_from_json({"id": str(i), **line, "task": "file"} if known else line)
        except (ValueError, RecursionError) as fault:
            faults[i] = str(fault)
            continue
        problems[problem.split()].append(problem)
    if faults:
        first, *others = faults
        few = ", ".join(map(str, others[:20])) + (", ..." if len(others) > 20 else "")
        more = f" (and lines {few})" if others else ""
        raise UserError(f"{path}: line {first}: {faults[first]}{more}")
    return problems


def sample(rng: Random, path: str, split: str = "train", lang: str = "en") -> Line:
    """One problem of a file, of a split; in `lang` if the file has any."""
    problems = read_file(path)[split]
    if not problems:
        raise UserError(f"{path} holds no problem of the {split} split")
    return rng.choice([p for p in problems if p.lang == lang] or problems)


TASKS = (Task("file", ("PATH",), sample, Line.from_json),)
