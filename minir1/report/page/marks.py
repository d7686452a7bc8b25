"""What the viewer marks in a response: attempts, checks, reflection words, language switches.

A mark is `[first, end, kind, what]`: characters first..end-1, and a few words for the reader.
Kinds: hit and miss (an attempt), yes and no (a check that is right, or false), reflect, switch. A
question that is no puzzle has no attempts; the rest is found in any text.

>>> text = "<think>5 - 3 = 2, not 8\\nwait, 3 + 5 = 8, yes</think>"
>>> for mark in find_marks("Make 8 from 3, 5.", text)[:4]:
...     print(mark)
[7, 16, 'miss', 'attempt 1 misses']
[16, 23, 'yes', 'check: right']
[24, 28, 'reflect', 'reflection']
[30, 39, 'hit', 'attempt 2 hits']
"""

import re

from minir1.measure.attempts import Attempt, attempts_of, thought_of
from minir1.measure.behaviours import REFLECTION_WORDS, read_document
from minir1.tasks import Problem
from minir1.transcript import THINK, prompt

LONGEST = 60_000  # characters of a response that are searched

_WORD = re.compile(r"[A-Za-z']+|[一-鿿]+")
_LONGEST_FIRST = sorted(REFLECTION_WORDS, key=len, reverse=True)
_ENGLISH = "|".join(word for word in _LONGEST_FIRST if word.isascii())
_CHINESE = "|".join(word for word in _LONGEST_FIRST if not word.isascii())
_REFLECTION = re.compile(rf"(?<![A-Za-z'])(?i:{_ENGLISH})(?![A-Za-z'])|{_CHINESE}")


def find_marks(question: str, response: str) -> list[list]:
    """All marks of a response, in order of their beginning. Total: any text gets a list."""
    thought = thought_of(response[:LONGEST])
    puzzle = read_document(prompt(question))[1]
    marks = _attempts(puzzle, thought) if puzzle else []
    marks += [[m.start(), m.end(), "reflect", "reflection"] for m in _REFLECTION.finditer(thought)]
    marks += _switches(thought)
    return sorted([first + len(THINK), end + len(THINK), *what] for first, end, *what in marks)


def _attempts(puzzle: Problem, thought: str) -> list[list]:
    marks, seen, start, count = [], set(), 0, 0
    for line in thought.split("\n"):
        end = 0
        for attempt in attempts_of(puzzle, line):
            count += 1
            first, end = _place(line, attempt.text, end)
            name = f"attempt {count} {describe(attempt, attempt.text in seen)}"
            marks.append([start + first, start + end, "hit" if attempt.hit else "miss", name])
            if attempt.check is not None:
                closing = end + len(line[end:].partition(";")[0].rstrip())
                check = ("yes", "check: right") if attempt.check else ("no", "check: false")
                marks.append([start + end, start + closing, *check])
            seen.add(attempt.text)
        start += len(line) + 1
    return marks


def _place(line: str, text: str, after: int) -> tuple[int, int]:
    """Where an attempt stands in its line: all of it or, behind a shared first step, the rest."""
    for part in (text, text.partition(", ")[2]):
        first = line.find(part, after)
        if part and first >= 0:
            return first, first + len(part)
    return after, len(line)


def describe(attempt: Attempt, repeated: bool) -> str:
    """What an attempt did, in words."""
    words = ["hits" if attempt.hit else "misses"]
    words += ["a repeat"] * repeated
    words += ["sets a subgoal"] * attempt.subgoal
    words += ["from the target back"] * attempt.backward
    words += ["false arithmetic"] * (attempt.wrong_steps > 0)
    return ", ".join(words)


def _switches(thought: str) -> list[list]:
    """Words whose script is not that of the word before them."""
    marks, before = [], None
    for match in _WORD.finditer(thought):
        chinese = match[0] >= "一"
        if before not in (None, chinese):
            words = f"switches to {'Chinese' if chinese else 'English'}"
            marks.append([match.start(), match.end(), "switch", words])
        before = chinese
    return marks
