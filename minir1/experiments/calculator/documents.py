"""What a model reads to learn to call the calculator: questions answered with calls.

What must be learned is to say when to call, to put a question into symbols, and to copy digits
exactly, both ways. Outputs are masked out of the loss as they are in reinforcement learning. One
document in ten holds a broken call with its error, masked too, and then the right one: so a model
learns to go on after an error without learning to make it.
"""

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from torch import Tensor

from minir1.experiments.calculator.rollout import CLOSE, OPEN, reply
from minir1.r1.data.curation import render_response, summary_of
from minir1.sampler import pad
from minir1.tasks import arithmetic
from minir1.tokenizer import Tokenizer
from minir1.transcript import prompt

KINDS = ("5dx", "4dx", "3dx", "chain", "6d+", "6d-", "1dc")
PRACTICE = (*KINDS, "chain", "1dc")  # the harder ones to copy, twice
BREAKS = (  # the calculator knows no powers, no equality, no operator without a number
    lambda expression: expression.replace(" ", " * ", 1),
    lambda expression: expression + " =",
    lambda expression: expression + " +",
    lambda expression: "(" + expression,
)


class Document(NamedTuple):
    question: str
    response: str
    forced: list[tuple[int, int]]  # spans of the response, in characters, that are not learned


def document(rng: Random, lang: str, kinds: tuple[str, ...] = PRACTICE) -> Document:
    """A training question, and its answer with a call; for longer sums, perhaps one a step."""
    kind = rng.choice(kinds)
    problem, parts = arithmetic.sample_with_parts(rng, kind, "train", lang)
    if kind == "chain" and rng.random() < 0.15:
        expressions = _steps(parts)
    else:
        expressions = [_text(parts, grouped=kind != "chain")]
    thought, forced = "", []
    if rng.random() < 0.1:
        # half of them of another question, or the right call would be copied from the broken one
        other = arithmetic.sample_with_parts(rng, rng.choice(kinds), "train", lang)[1]
        broken = rng.choice(BREAKS)(rng.choice((expressions[0], _text(other))))
        thought = f"{OPEN}{broken}{CLOSE}{reply(broken, lang)}\n"
        forced.append((0, len(thought)))
    for expression in expressions:
        thought += f"{OPEN}{expression}</"
        start = len(thought)
        thought += f"{CLOSE.removeprefix('</')}{reply(expression, lang)}\n"
        forced.append((start, len(thought)))
    response = render_response(problem.answer, thought, summary_of(problem, problem.answer))
    shift = response.index(thought)
    spans = [(start + shift, end + shift) for start, end in forced]
    return Document(problem.question(), response, spans)


def _text(parts, grouped: bool = True, inner: bool = False) -> str:
    """The expression as the question has it: one digit composites with parentheses, chains without.

    >>> _text([[9, "+", 8], "*", 2]), _text([[9, "+", 8], "-", 2], grouped=False)
    ('(9 + 8) * 2', '9 + 8 - 2')
    """
    if isinstance(parts, int):
        return str(parts)
    left, operator, right = parts
    text = f"{_text(left, grouped, True)} {operator} {_text(right, grouped, True)}"
    return f"({text})" if grouped and inner else text


def _steps(chain) -> list[str]:
    """One expression a step while values stay at 0 or above, else the whole at once.

    (The calculator reads no signs.)

    >>> _steps([[[9, "+", 8], "-", 2], "+", 5]), _steps([[2, "-", 9], "+", 8])
    (['9 + 8', '17 - 2', '15 + 5'], ['2 - 9 + 8'])
    """
    parts, steps = chain, []
    while isinstance(parts, list):
        value = arithmetic.value_of(parts[0])
        if value < 0:
            return [_text(chain, grouped=False)]
        steps.insert(0, f"{value} {parts[1]} {parts[2]}")
        parts = parts[0]
    return steps


def encode(document: Document, tokenizer: Tokenizer) -> tuple[list[int], list[bool]]:
    """Token ids of the response, piece by piece as a rollout holds them, and which are learned."""
    ids, learned, at = [], [], 0
    for start, end in [*document.forced, (len(document.response), len(document.response))]:
        for span, mark in ((slice(at, start), True), (slice(start, end), False)):
            piece = tokenizer.encode(document.response[span])
            ids += piece
            learned += [mark] * len(piece)
        at = end
    return ids, learned


def batches(
    documents: list[Document], tokenizer: Tokenizer, rows: int, seed: int, device
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of (ids_BT, mask_BT), padded on the right, forced spans masked out."""
    examples = [(tokenizer.encode(prompt(d.question)), *encode(d, tokenizer)) for d in documents]
    Random(f"lessons {seed}").shuffle(examples)
    for i in range(0, len(examples) - rows + 1, rows):
        ids, masks = [], []
        for question, response, learned in examples[i : i + rows]:
            ids.append(question + response)
            masks.append([False] * (len(question) - 1) + learned)
        yield pad(ids, tokenizer.pad).to(device), pad(masks, False).to(device)
