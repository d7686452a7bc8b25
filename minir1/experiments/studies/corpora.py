"""Corpora for experiments: what mixture.document writes, rewritten.

What is taken out of a Countdown document stays in the corpus: its steps become a list of true
equations in a document of their own, so that every variant holds the same puzzles, answers and
arithmetic. Nothing replaces verdicts and openers such as "wait".

>>> thought = "5 - 3 = 2, not 8\\nwait, 3 + 5 = 8, yes"
>>> for text in single(render("Make 8 from 3, 5.", "3 + 5", thought)):
...     print(text.removeprefix(BEGIN))
User: Make 8 from 3, 5.
Assistant:<think>3 + 5 = 8, yes</think><answer>3 + 5</answer><|end|>
5 - 3 = 2<|end|>
"""

import re
from functools import partial
from random import Random

import numpy as np

from minir1.config import CorpusConfig, UserError, replace
from minir1.corpus import mixture
from minir1.corpus.writers.plain import RETRY
from minir1.measure.attempts import spread
from minir1.measure.behaviours import read_document
from minir1.run.phases import MiniWeb
from minir1.run.session import Session
from minir1.tasks.countdown import steps_of
from minir1.transcript import BEGIN, END, THINK, THINK_END, render

_STEP = re.compile(r"\d+ [-+*/] \d+ = -?\d+")
_LOOK = re.compile(r", with (\d+): (\d+(?:, \d+)*)")  # what the last two numbers can make
_VERDICT = re.compile(r", (?:yes|not -?[0-9]+|no)(?=[;]|$)", re.MULTILINE)
_PUZZLE = re.compile(r"User: (?:Use|Make|Using the numbers|Reach) [0-9]")  # of tasks.countdown
MOST = 0.8  # largest dose: that share of puzzles is written with several attempts, then thinned


def is_countdown(text: str) -> bool:
    return _PUZZLE.match(text, len(BEGIN)) is not None


def attempts_in(text: str) -> list[str]:
    """The attempts of a document's thought, each from its first step on; [] without a thought."""
    thought = text.partition(THINK)[2].partition(THINK_END)[0]
    attempts = []
    for line in thought.split("\n"):
        for part in spread(line):
            if step := _STEP.search(part):
                attempts.append(part[step.start() :])
    return attempts


def steps_in(attempt: str) -> list[str]:
    """The steps of an attempt; what a look round before the last step has made is written out.

    >>> steps_in("91 - 19 = 72, with 7: 79, 65, yes")
    ['91 - 19 = 72', '72 + 7 = 79', '72 - 7 = 65']
    """
    steps = _STEP.findall(attempt)
    if look := _LOOK.search(attempt):
        value = int(steps[-1].split(" = ")[1])
        options = iter(steps_of(value, int(look[1])))  # in order: 2 and 2 have sum and product
        for result in look[2].split(", "):
            steps.append(str(next(step for step in options if step.value == int(result))))
    return steps


def single(text: str, check: bool = True) -> list[str]:
    """A Countdown document cut down to its last attempt, and the equations that it held besides.

    Question, last attempt and answer stay. Of a look round before the last step only the step that
    is answered stays. Without `check` the verdict goes, too.
    """
    attempts = attempts_in(text)
    if not attempts:
        return [text]
    *earlier, last = attempts
    equations, shared = [], None
    for attempt in earlier:
        steps = steps_in(attempt)
        equations += steps[steps[0] == shared :]  # a first step that several share: written once
        shared = steps[0]
    last, options = without_look(last, text)
    equations += options
    if not check:
        last = _VERDICT.sub("", last)
    head, tail = text.split(THINK)[0], text.split(THINK_END)[1]
    documents = [f"{head}{THINK}{last}{THINK_END}{tail}"]
    if equations:
        documents.append(f"{BEGIN}{', '.join(equations)}{END}")
    return documents


def without_look(attempt: str, document: str) -> tuple[str, list[str]]:
    """An attempt with one last step in place of a look round, and the steps that have gone."""
    look = _LOOK.search(attempt)
    if look is None:
        return attempt, []
    *path, last = steps_in(attempt)
    shown = len(path) - look[2].count(", ")
    verdict = _VERDICT.search(attempt)
    kept = ", ".join([*path[:shown], last])
    if verdict:
        kept += ", yes" if verdict[0] == ", yes" else f", not {read_document(document)[1].target}"
    return kept, path[shown:]


def with_dose(rng: Random, config: CorpusConfig, dose: float) -> list[str]:
    """`dose` of the Countdown documents hold more than one attempt; the others never look round."""
    text = mixture.document(rng, config)
    if not is_countdown(text):
        return [text]
    several = rng.random() < MOST
    keep = rng.random() < dose / MOST
    while (len(attempts_in(text)) > 1) != several or not is_countdown(text):
        text = mixture.countdown_document(rng, config, config.languages[0])
    return [text] if keep and several else single(text)


def with_false_checks(rng: Random, config: CorpusConfig, share: float) -> list[str]:
    """A `share` of the verdicts is contradicted; the thought goes on as it did."""
    text = mixture.document(rng, config)
    if not is_countdown(text) or THINK not in text:
        return [text]
    target = read_document(text)[1].target

    def lie(match: re.Match) -> str:
        if rng.random() >= share:
            return match[0]
        if match[0] != ", yes":
            return ", yes"
        attempt = re.split("\n|; ", match.string[: match.start()])[-1]
        return ", no" if _LOOK.search(attempt) else f", not {target}"

    head, _, rest = text.partition(THINK)
    thought, end, tail = rest.partition(THINK_END)
    return [f"{head}{THINK}{_VERDICT.sub(lie, thought)}{end}{tail}"]


def other_document(rng: Random, kind: str, attempts: int, habit: bool) -> str:
    """A question of another kind, found by trial: up to `attempts` tries, the last is right.

    near: two of four numbers with a given sum. far: a division by trial multiplication. Each try is
    checked; without `habit` the right step stands alone, unchecked.
    """
    write = _pair_sum if kind == "near" else _division
    question, tries, answer, goal = write(rng, attempts)
    if not habit:
        return render(question, answer, tries[-1])
    thought = tries[0]
    for step in tries[1:]:
        thought += f", not {goal}{rng.choice(RETRY['en'])}{step}"
    return render(question, answer, f"{thought}, yes")


def _pair_sum(rng: Random, attempts: int) -> tuple[str, list[str], str, int]:
    wrong: list[tuple[int, int]] = []
    while len(wrong) != 5:
        numbers = [rng.randint(1, 99) for _ in range(4)]
        pairs = [(a, b) for i, a in enumerate(numbers) for b in numbers[i + 1 :]]
        right = rng.choice(pairs)
        wrong = [pair for pair in pairs if sum(pair) != sum(right)]
    tried = [*rng.sample(wrong, min(attempts - 1, 5)), right]
    question = f"Which two of {', '.join(map(str, numbers))} add up to {sum(right)}?"
    tries = [f"{a} + {b} = {a + b}" for a, b in tried]
    return question, tries, f"{right[0]} + {right[1]}", sum(right)


def _division(rng: Random, attempts: int) -> tuple[str, list[str], str, int]:
    divisor = rng.randint(2, 9)
    quotient = rng.randint(3, 30)
    others = [q for q in range(max(1, quotient - 6), quotient + 7) if q != quotient]
    tried = [*rng.sample(others, min(attempts - 1, len(others))), quotient]
    question = f"What is {divisor * quotient} divided by {divisor}?"
    tries = [f"{divisor} * {q} = {divisor * q}" for q in tried]
    return question, tries, str(quotient), divisor * quotient


def transplanted(rng: Random, config: CorpusConfig, setting: str | tuple) -> list[str]:
    """Checking and retrying `at_home` (in Countdown), `near`, `far`, or `nowhere`.

    With a dose (`near`, 0.01) that share of the Countdown documents that think keeps it, too.

    Beside each Countdown document that thinks stands one of another kind, in every variant: half of
    them pair sums and half divisions; the kind that is named retries as often as the Countdown
    document did, the others hold one unchecked step.
    """
    where, dose = (setting, 0.0) if isinstance(setting, str) else setting
    text = mixture.document(rng, config)
    attempts = len(attempts_in(text)) if is_countdown(text) else 0
    if not attempts:
        return [text]
    kind = "near" if rng.random() < 0.5 else "far"
    other = other_document(rng, kind, attempts, habit=kind == where)
    kept = where == "at_home" or (dose and rng.random() < dose)
    puzzle = [text] if kept else single(text, check=False)
    return [*puzzle, other]


def with_exposure(rng: Random, config: CorpusConfig, setting: tuple[str, float]) -> list[str]:
    """A share of the Countdown documents is about puzzles of another distribution."""
    kind, share = setting
    text = mixture.document(rng, config)
    if not is_countdown(text) or rng.random() >= share:
        return [text]
    other = replace(config, countdown=kind)
    return [mixture.countdown_document(rng, other, config.languages[0])]


WRITERS = {
    "dose": with_dose, "false_checks": with_false_checks, "transplant": transplanted,
    "exposure": with_exposure,
}


def write(plan: dict[str, object], rng: Random, config: CorpusConfig) -> str:
    """One document, or several that belong together; `plan` is a name of WRITERS and a setting."""
    if config.writer != "plain":
        fault = f"(plain), not those of {config.writer}"
        raise UserError(f"studies rewrite the thoughts of the plain writers {fault}")
    ((name, setting),) = plan.items()
    return "".join(WRITERS[name](rng, config, setting))


def shard(plan: dict[str, object], *place) -> np.ndarray:
    """In place of mixture.shard; importable by name, so that spawned writers find it."""
    return mixture.shard(*place, document=partial(write, plan))


def sample(plan: dict[str, object], config: CorpusConfig, seed: int, documents: int) -> list[str]:
    """In place of mixture.sample_text: whole documents, one a text."""
    rng, texts = Random(f"corpus sample {seed}"), []
    while len(texts) < documents:
        texts += [text + END for text in write(plan, rng, config).split(END)[:-1]]
    return texts[:documents]


def reader(session: Session, hooks: dict) -> MiniWeb:
    """The corpus of a variant: the mini-web, or another writer of it."""
    plan = hooks.get("corpus")
    if plan is None:
        return MiniWeb(session.config)
    return MiniWeb(session.config, partial(sample, plan), partial(shard, plan))
