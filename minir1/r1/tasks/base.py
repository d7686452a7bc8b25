"""What every general task shares: a text, a language, and the wording that decides the split.

Held out are *wordings*, not contents: a fact stands in training under some wordings and is asked in the test under others, so
the test measures understanding of the question and not recall of the sentence. A wording is put together from parts (opener, frame,
phrase: facts.json, wordings.json), and a hash of all of them decides: a test question is a combination that training never shows,
of parts that it does show. Harder is the fourth split, `novel`: the last form of each list, which nothing else ever uses. To
understand those takes a language, which our models have not read; the scoreboard tells both apart. A problem carries its split and
its parts in `wording`; a problem without one (from somebody's file) is split by a hash of its text, as the core does it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import ClassVar

from minir1.tasks.countdown import split_of

SPLITS = ("train", "validation", "test", "novel")
LANGUAGES = ("en", "zh")

_HERE = Path(__file__).parent
FACTS = json.loads((_HERE / "facts.json").read_text(encoding="utf-8"))
WORDINGS = json.loads((_HERE / "wordings.json").read_text(encoding="utf-8"))


def forms_of(forms: list, split: str) -> list:
    """The forms of a list that a split may use.

    >>> forms_of(["a", "b", "c", "d"], "train"), forms_of(["a", "b", "c", "d"], "novel")
    (['a', 'b', 'c'], ['d'])
    """
    return forms[-1:] if split == "novel" else forms[:-1]


def pick(rng: Random, forms: list, split: str) -> str:
    return rng.choice(forms_of(forms, split))


def wording(split: str, *parts: str) -> str:
    return " | ".join((split, *parts))


def fits(said: str) -> bool:
    """Whether a combination of parts belongs to the split that it names.

    >>> [fits(f"{split} | Hello! | Name {{p}}.") for split in SPLITS]
    [True, False, False, True]
    """
    split, _, parts = said.partition(" | ")
    return split in ("novel", split_of(f"wording {parts}"))


@dataclass(frozen=True, kw_only=True)
class General:
    """A problem: see the subclasses. Fields by name only, so that subclasses may add their own."""

    text: str
    lang: str = "en"
    id: str = ""
    wording: str = ""  # "split | part | part ..."
    task: ClassVar[str]

    def question(self) -> str:
        return self.text

    def split(self) -> str:
        part = self.wording.partition(" | ")[0]
        return part if part in SPLITS else split_of(f"{self.task} {self.text}")

    def verify(self, answer: str) -> bool:
        """True if the answer is right. Total: any text (or anything else) gives a bool; nothing is evaluated."""
        raise NotImplementedError

    def canonical(self) -> str:
        """What a perfect model answers; the same for the same problem."""
        raise NotImplementedError

    def mistakes(self, rng: Random) -> list[str]:
        """Plausible worse answers; those that happen to be right are dropped by corrupt()."""
        raise NotImplementedError

    def corrupt(self, rng: Random) -> str:
        """A wrong answer, about as long as the right one where one is to be had."""
        worse = [text for text in self.mistakes(rng) if text and not self.verify(text)]
        near = [text for text in worse if 0.5 <= len(text) / len(self.canonical()) <= 2]
        return rng.choice(near or worse)

    def own(self) -> dict:
        """The subclass's own fields, as JSON."""
        raise NotImplementedError

    @classmethod
    def read_own(cls, line: dict) -> dict:
        """The subclass's own fields out of JSON; ValueError with a reason if one is missing or of the wrong kind."""
        raise NotImplementedError

    def to_json(self) -> dict:
        shared = {"id": self.id, "task": self.task, "lang": self.lang, "question": self.text}
        return shared | self.own() | ({"wording": self.wording} if self.wording else {})

    @classmethod
    def from_json(cls, line: dict) -> "General":
        """Raises ValueError with a reason if a field is missing or of the wrong kind."""
        text, lang = line.get("question"), line.get("lang", "en")
        if not isinstance(text, str) or not text.strip():
            raise ValueError('"question" must be a text')
        if lang not in LANGUAGES:
            raise ValueError(f'"lang" must be en or zh, not {lang!r}')
        return cls(text=text, lang=lang, id=str(line.get("id", "")), wording=str(line.get("wording", "")), **cls.read_own(line))
