"""What every general problem shares: a text, a language, and the wording that decides its split.

Held out are wordings, not contents. Training asks a fact under some wordings and the test under
others, so the test measures understanding of a question and not recall of a sentence. A wording is
put together from parts (opener, frame, phrase: facts.json, wordings.json). A hash of all parts
decides: a test question is a combination that training never shows, of parts that it does show.

A fourth split, `novel`, is harder: the last form of each list, which no other split uses. To
understand those takes a language, which our models have not read; the scoreboard shows both.
A problem without a wording (from somebody's file) is split by a hash of its text, as in the core.
"""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from random import Random
from typing import ClassVar

from minir1.tasks.countdown import split_of

SPLITS = ("train", "validation", "test", "novel")
LANGUAGES = ("en", "zh")

_HERE = Path(__file__).parent
FACTS = json.loads((_HERE / "facts.json").read_text(encoding="utf-8"))
WORDINGS = json.loads((_HERE / "wordings.json").read_text(encoding="utf-8"))


def pick(rng: Random, forms: list[str], split: str) -> str:
    """A form that the split may use: the last one is for `novel` alone.

    >>> pick(Random(0), ["a", "b", "c"], "train"), pick(Random(0), ["a", "b", "c"], "novel")
    ('b', 'c')
    """
    return rng.choice(forms[-1:] if split == "novel" else forms[:-1])


def fits(wording: str) -> bool:
    """Whether a combination of parts belongs to the split that it names.

    >>> [fits(f"{split} | Hello! | Name {{p}}.") for split in SPLITS]
    [True, False, False, True]
    """
    split, _, parts = wording.partition(" | ")
    return split in ("novel", split_of(f"wording {parts}"))


@dataclass(frozen=True, kw_only=True)
class GeneralProblem:
    """A problem whose answer a rule checks. A subclass is one kind, adds the fields it needs, and
    gives these methods:

    draw         (class) rng, split, lang -> a problem without its opener, worded as the split does
    accepts      answer -> whether a text that is not too long is right
    canonical    what a perfect model answers; the same for the same problem
    mistakes     rng -> plausible worse answers; some may happen to be right
    read_fields  (class) its own fields out of JSON; raises ValueError with a reason
    """

    text: str
    lang: str = "en"
    id: str = ""
    wording: str = ""  # "split | part | part ..."
    task: ClassVar[str]
    longest: ClassVar[int]  # characters of an answer; anything longer is wrong

    def question(self) -> str:
        return self.text

    def split(self) -> str:
        part = self.wording.partition(" | ")[0]
        return part if part in SPLITS else split_of(f"{self.task} {self.text}")

    def other_language(self) -> str:
        return LANGUAGES[1 - LANGUAGES.index(self.lang)]

    def verify(self, answer: str) -> bool:
        """True if the answer is right. Anything at all gives a bool; nothing is evaluated."""
        return isinstance(answer, str) and len(answer) <= self.longest and self.accepts(answer)

    def corrupt(self, rng: Random) -> str:
        """A plausible wrong answer, about as long as the right one if there is such a mistake."""
        right = self.canonical()
        wrong = [text for text in self.mistakes(rng) if text and not self.verify(text)]
        near = [text for text in wrong if 0.5 <= len(text) / len(right) <= 2]
        return rng.choice(near or wrong)

    def to_json(self) -> dict:
        line = {"id": self.id, "task": self.task, "lang": self.lang, "question": self.text}
        for field in fields(self)[len(fields(GeneralProblem)) :]:
            line[field.name] = as_lists(getattr(self, field.name))
        return line | ({"wording": self.wording} if self.wording else {})

    @classmethod
    def from_json(cls, line: dict) -> "GeneralProblem":
        """Raises ValueError with a reason if a field is missing or of the wrong kind."""
        text, lang = line.get("question"), line.get("lang", "en")
        if not isinstance(text, str) or not text.strip():
            raise ValueError('"question" must be a text')
        if lang not in LANGUAGES:
            raise ValueError(f'"lang" must be en or zh, not {lang!r}')
        names = {name: str(line.get(name, "")) for name in ("id", "wording")}
        return cls(text=text, lang=lang, **names, **cls.read_fields(line))


def as_lists(value):
    """Tuples as JSON has them."""
    return [as_lists(part) for part in value] if isinstance(value, tuple) else value
