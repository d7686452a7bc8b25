"""Corpora for experiments: what `corpus.document` writes, rewritten.

Three experiments: a dose (what share of Countdown documents shows more than one attempt), false checks, and the transplant
(checking and retrying in documents of another kind only). What is taken out of a Countdown document stays in the corpus:
its steps become a list of true equations in a document of their own, so that every variant holds the same puzzles, the same
answers and the same arithmetic. Verdicts and openers such as "wait" are not made up for.

>>> thought = "5 - 3 = 2, not 8\\nwait, 3 + 5 = 8, yes"
>>> for text in single(render("Make 8 from 3, 5.", "3 + 5", thought)):
...     print(text.removeprefix(BEGIN))
User: Make 8 from 3, 5.
Assistant:<think>3 + 5 = 8, yes</think><answer>3 + 5</answer><|end|>
5 - 3 = 2<|end|>
"""

import re
from contextlib import contextmanager
from functools import partial
from random import Random

from minir1.config import CorpusConfig, UserError
from minir1.corpus import mixture as corpus
from minir1.corpus.mixture import (  # as they are: `corpus.document` is replaced while a shard is written
    countdown_document,
    document,
)
from minir1.corpus.mixture import shard as shard_as_ever
from minir1.measure.behaviours import read_document, spread
from minir1.tasks.countdown import steps_of
from minir1.transcript import BEGIN, END, THINK, THINK_END, render

_STEP = re.compile(r"\d+ [-+*/] \d+ = -?\d+")
_LOOK = re.compile(r", with (\d+): (\d+(?:, \d+)*)")  # what the last two numbers can make
_VERDICT = re.compile(r", (?:yes|not -?\d+|no)$")
_QUESTION = re.compile(r"User: (?:Use|Make|Using the numbers|Reach) [0-9]")  # the wordings of tasks.countdown
MOST = 0.8  # the largest dose: that share of Countdown documents is written with several attempts, then thinned

# ---------------------------------------------------------------- taking attempts out


def attempts_in(text: str) -> list[str]:
    """The attempts of a document's thought, each from its first step on; [] if it does not think."""
    if THINK not in text:
        return []
    thought = text.split(THINK)[1].split(THINK_END)[0]
    lines = [part for line in thought.split("\n") for part in spread(line)]
    found = [(line, _STEP.search(line)) for line in lines]
    return [line[step.start() :] for line, step in found if step]


def is_countdown(text: str) -> bool:
    return _QUESTION.match(text, len(BEGIN)) is not None


def steps_in(attempt: str) -> list[str]:
    """The steps of an attempt; what a look round before the last step has made is written out.

    >>> steps_in("91 - 19 = 72, with 7: 79, 65, yes")
    ['91 - 19 = 72', '72 + 7 = 79', '72 - 7 = 65']
    """
    steps, look = _STEP.findall(attempt), _LOOK.search(attempt)
    if look is None:
        return steps
    options = iter(steps_of(int(steps[-1].split(" = ")[1]), int(look[1])))  # in their order: 2 and 2 have sum and product
    return steps + [str(next(s for s in options if s.value == int(value))) for value in look[2].split(", ")]


def equations(steps: list[str]) -> str | None:
    return f"{BEGIN}{', '.join(steps)}{END}" if steps else None


def single(text: str, check: bool = True) -> list[str]:
    """A Countdown document cut down to its last attempt, and the equations that it held besides.

    Question, last attempt and answer stay. Of a look round before the last step only the step that is answered stays.
    Without `check` the verdict goes, too.
    """
    attempts = attempts_in(text)
    if not attempts:
        return [text]
    head, tail = text.split(THINK)[0], text.split(THINK_END)[1]
    kept, filler, shared = attempts[-1], [], None
    for attempt in attempts[:-1]:
        steps = steps_in(attempt)
        filler += steps[steps[0] == shared :]  # a first step that several attempts share is written once
        shared = steps[0]
    look = _LOOK.search(kept)
    if look:
        *path, last = steps_in(kept)
        shown = len(path) - look[2].count(", ")
        verdict = "" if look.end() == len(kept) else ", yes" if kept.endswith(", yes") else f", not {target_of(text)}"
        kept, filler = ", ".join([*path[:shown], last]) + verdict, filler + path[shown:]
    others = equations(filler)
    return [f"{head}{THINK}{kept if check else _VERDICT.sub('', kept)}{THINK_END}{tail}", *([others] if others else [])]


def target_of(text: str) -> int:
    """The target of a Countdown document."""
    return read_document(text)[1].target


# ---------------------------------------------------------------- the dose


def with_dose(rng: Random, config: CorpusConfig, dose: float) -> list[str]:
    """A document of the mixture in which `dose` of the Countdown documents hold more than one attempt, and no other looks round."""
    text = document(rng, config)
    if not is_countdown(text):
        return [text]
    several, keep = rng.random() < MOST, rng.random() < dose / MOST
    while (len(attempts_in(text)) > 1) != several or not is_countdown(text):
        text = countdown_document(rng, config, config.languages[0])
    return [text] if keep and several else single(text)


def with_false_checks(rng: Random, config: CorpusConfig, share: float) -> list[str]:
    """Verdicts contradicted at a rate: "yes" for a miss, "no" or "not 65" for a hit; the thought goes on as it did."""
    text = document(rng, config)
    if not is_countdown(text) or THINK not in text:
        return [text]
    goal = target_of(text)

    def lie(match: re.Match) -> str:
        if rng.random() >= share:
            return match[0]
        attempt = re.split("\n|; ", match.string[: match.start()])[-1]
        return ", yes" if match[0] != ", yes" else ", no" if _LOOK.search(attempt) else f", not {goal}"

    head, _, rest = text.partition(THINK)
    thought, end, tail = rest.partition(THINK_END)
    return [f"{head}{THINK}{re.sub(r', (?:yes|not -?[0-9]+|no)(?=[;]|$)', lie, thought, flags=re.MULTILINE)}{end}{tail}"]


# ---------------------------------------------------------------- the transplant

OPENERS = ("\nwait, ", "\ntry ", "\nbut ", "\nor ", "\n")  # the words of tasks.countdown


def other_document(rng: Random, kind: str, attempts: int, habit: bool) -> str:
    """A question of another kind, found by trial: up to `attempts` tries, each checked, until one is right.

    near: two of four numbers with a given sum. far: a division by trial multiplication. Without `habit` the right step
    stands alone, unchecked.
    """
    question, tries, answer, goal = (_pair_sum if kind == "near" else _division)(rng, attempts)
    if not habit:
        return render(question, answer, tries[-1])
    text = f", not {goal}".join(f"{rng.choice(OPENERS) if i else ''}{step}" for i, step in enumerate(tries))
    return render(question, answer, f"{text}, yes")


def _pair_sum(rng: Random, attempts: int) -> tuple[str, list[str], str, int]:
    while True:
        numbers = [rng.randint(1, 99) for _ in range(4)]
        pairs = [(a, b) for i, a in enumerate(numbers) for b in numbers[i + 1 :]]
        right = rng.choice(pairs)
        goal, wrong = sum(right), [p for p in pairs if sum(p) != sum(right)]
        if len(wrong) == 5:
            break
    tried = [*rng.sample(wrong, min(attempts - 1, 5)), right]
    question = f"Which two of {', '.join(map(str, numbers))} add up to {goal}?"
    return question, [f"{a} + {b} = {a + b}" for a, b in tried], f"{right[0]} + {right[1]}", goal


def _division(rng: Random, attempts: int) -> tuple[str, list[str], str, int]:
    divisor, quotient = rng.randint(2, 9), rng.randint(3, 30)
    others = [q for q in range(max(1, quotient - 6), quotient + 7) if q != quotient]
    tried = [*rng.sample(others, min(attempts - 1, len(others))), quotient]
    goal = divisor * quotient
    return f"What is {goal} divided by {divisor}?", [f"{divisor} * {q} = {divisor * q}" for q in tried], str(quotient), goal


def transplanted(rng: Random, config: CorpusConfig, where: str) -> list[str]:
    """Documents of the mixture with checking and retrying `at_home` (in Countdown), `near`, `far`, or `nowhere`.

    Beside each Countdown document that thinks stands one of another kind, in every variant: half of them pair sums and half
    divisions; the kind that is named retries as often as the Countdown document did, the others hold one unchecked step.
    """
    text = document(rng, config)
    attempts = len(attempts_in(text)) if is_countdown(text) else 0
    if not attempts:
        return [text]
    kind = "near" if rng.random() < 0.5 else "far"
    other = other_document(rng, kind, attempts, habit=kind == where)
    return [*([text] if where == "at_home" else single(text, check=False)), other]


# ---------------------------------------------------------------- in place of corpus.document

WRITERS = {"dose": with_dose, "false_checks": with_false_checks, "transplant": transplanted}


@contextmanager
def patched(place, name: str, value):
    """A module's name stands for something else, for a while."""
    kept = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, kept)


def write(plan: dict[str, object], rng: Random, config: CorpusConfig) -> str:
    """In place of corpus.document: one document, or several that belong together. `plan` names one of WRITERS and its setting."""
    if config.writer != "plain":
        raise UserError(f"studies rewrite the thoughts of the plain writers (plain), not those of {config.writer}")
    ((name, setting),) = plan.items()
    return "".join(WRITERS[name](rng, config, setting))


def shard(plan: dict[str, object], *arguments):
    """In place of corpus.shard, in any process: importable by name, so that spawned writers find it."""
    with patched(corpus, "document", partial(write, plan)):
        return shard_as_ever(*arguments)


def sample(plan: dict[str, object], config: CorpusConfig, seed: int, documents: int) -> list[str]:
    """In place of corpus.sample_text: whole documents, one a text."""
    rng, texts = Random(f"corpus sample {seed}"), []
    while len(texts) < documents:
        texts += [text + END for text in write(plan, rng, config).split(END)[:-1]]
    return texts[:documents]
