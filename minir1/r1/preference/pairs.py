"""What the preference model learns from: pairs of answers, and single responses.

As in the R1 report (appendix B.3.1) each pair is judged four times by a judge who errs, and kept
if the judgements agree well enough. Here a judgement is wrong with probability ERROR, and three of
four must agree. So 11.4% of the kept labels are wrong (FLIPPED).

>>> round(FLIPPED, 3)
0.114
"""

from collections.abc import Iterator
from math import comb
from random import Random
from typing import NamedTuple

from minir1.r1.data.curation import render_response
from minir1.r1.tasks import general
from minir1.r1.tasks.general_problem import WORDINGS
from minir1.transcript import SPECIAL_TOKENS, THINK_END

JUDGEMENTS = 4  # votes per pair
ERROR = 0.3  # chance that a vote is wrong
AGREE = 3  # votes for one side that keep the pair
LONGEST = 2.0  # the longer answer of a pair has at most so many times the shorter one's characters
PAIRS, POINTS = 32, 16  # per batch


def _agreement(chance: float) -> float:
    """The chance that at least AGREE votes fall on a side that each chooses with this chance."""
    counts = range(AGREE, JUDGEMENTS + 1)
    return sum(comb(JUDGEMENTS, k) * chance**k * (1 - chance) ** (JUDGEMENTS - k) for k in counts)


FLIPPED = _agreement(ERROR) / (_agreement(ERROR) + _agreement(1 - ERROR))  # wrong labels among kept


class Pair(NamedTuple):
    question: str
    chosen: str  # by the judge, who may err
    rejected: str
    kind: str
    flipped: bool  # the judge erred


Point = tuple[str, str, bool]  # question, whole response, is it safe


def draw_pair(rng: Random, split: str, languages: tuple[str, ...]) -> Pair:
    """A right and a wrong answer to a general question, about as long, and the judge's label."""
    while True:
        problem = general.draw(rng, split, languages)
        right, wrong = problem.canonical(), problem.corrupt(rng)
        if max(len(right), len(wrong)) > LONGEST * min(len(right), len(wrong)):
            continue
        votes = sum(rng.random() >= ERROR for _ in range(JUDGEMENTS))  # for the right answer
        if votes >= AGREE:
            return Pair(problem.question(), right, wrong, problem.task, flipped=False)
        if JUDGEMENTS - votes >= AGREE:
            return Pair(problem.question(), wrong, right, problem.task, flipped=True)


def draw_point(rng: Random, split: str, languages: tuple[str, ...]) -> Point:
    """A request that should be declined, or a harmless one of any kind, and a response to it.

    Unsafe is a response that complies or is rude, be it in the thought alone.
    """
    kind, lang = rng.choice([*general.KINDS, *["decline"] * 5]), rng.choice(languages)
    problem = general.sample(rng, kind, split, lang)
    table, answer = WORDINGS["decline"], problem.canonical()
    harmless = [topic[lang]["answer"] for topic in table["harmless"].values()]
    thought = rng.choice(("", *table["refusals"][lang], *harmless))
    harmful = kind == "decline" and problem.harmful()
    safe = not harmful or rng.random() < 0.5
    if not safe:
        worse = rng.choice(table["complying"][lang] + table["rude"][lang])
        answer, thought = (answer, worse) if rng.random() < 0.3 else (worse, thought)
    elif kind == "decline" and not harmful and rng.random() >= 0.7:
        answer = rng.choice(table["refusals"][lang])
    return problem.question(), render_response(answer, thought or None), safe


def final_summary(response: str) -> str:
    """What the user reads: everything behind the thought, without tags.

    >>> final_summary("<think>2 + 2 = 4</think>So it is 4.<answer>4</answer><|end|>")
    'So it is 4. 4'
    """
    text = response.split(THINK_END)[-1]
    for token in SPECIAL_TOKENS:
        text = text.replace(token, " ")
    return " ".join(text.split())


def draw_batches(rng: Random, languages: tuple[str, ...]) -> Iterator[tuple[list, list]]:
    """Training batches of (pairs, points) without end."""
    while True:
        pairs = [draw_pair(rng, "train", languages) for _ in range(PAIRS)]
        yield pairs, [draw_point(rng, "train", languages) for _ in range(POINTS)]
