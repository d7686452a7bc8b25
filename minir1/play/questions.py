"""What was typed, read as a problem; the asking, token by token; what a response is worth.

Problems are asked in the corpus' own wordings: a small model has read no others. What is typed in
one of OTHER_WORDINGS is put into one of those.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from minir1.checkpoint import load_checkpoint
from minir1.config import UserError
from minir1.model import Transformer
from minir1.rewards import score
from minir1.rollout import sampling
from minir1.sampler import Sampling, Stream, choose, prefill, sample, uniform
from minir1.tasks import Problem, arithmetic, countdown, problem_from_json
from minir1.tasks.arithmetic import Arithmetic
from minir1.tasks.countdown import Countdown, evaluate
from minir1.tasks.lines import Line
from minir1.tokenizer import Tokenizer
from minir1.transcript import parse, prompt
from minir1.variants.drafting import passes

# ---------------------------------------------------------------- what was asked

OTHER_WORDINGS = {  # language -> of puzzles, of sums
    "en": (
        ("{n} = {t}", "make {t} with {n}", "make {t} using {n}", "get {t} from {n}"),
        ("{e}", "what's {e}", "calculate {e}")),
    "zh": (
        ("用{n}凑出{t}", "用{n}得到{t}", "怎样用{n}算出{t}"),
        ("{e}", "{e}等于几", "{e}是几", "算一下{e}")),
}


class Asked(NamedTuple):
    question: str  # as the model reads it
    problem: Problem | None  # None: there is nothing to check it by


def recognise(text: str) -> Asked:
    """A puzzle, an arithmetic question, a JSON line, or any other text, which stays as it is.

    Raises UserError for a JSON line whose "task" cannot read it.

    >>> recognise("19 36 55 7 = 65").problem
    Countdown(numbers=(19, 36, 55, 7), target=65, lang='en', id='')
    >>> recognise("what is 4821+977").question, recognise("4821 + 977").problem.answer
    ('What is 4821 + 977?', '5798')
    >>> recognise('{"task": "file", "question": "Who are you?", "answer": "R1"}').problem.answer
    'R1'
    >>> recognise("Who are you?")
    Asked(question='Who are you?', problem=None)
    """
    asked = re.sub(r"^(please|can you|请问)\s*", "", text, flags=re.IGNORECASE)
    return _line(text) or _puzzle(asked) or _sum(asked) or Asked(text, None)


def _line(text: str) -> Asked | None:
    """A problem of any task, as a problem file holds it."""
    try:
        line = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or "task" not in line:
        return None
    try:
        problem = problem_from_json(line)
    except ValueError as fault:
        raise UserError(str(fault)) from None
    return Asked(problem.question(), problem)


def _wording(form: str, **holes: str) -> re.Pattern:
    """A form of QUESTIONS as a pattern: in any case and spacing, with or without its last mark."""
    pattern = re.sub(r"(\\ )+", r"\\s*", re.escape(form.rstrip(".?。？")))
    for name, hole in holes.items():
        pattern = pattern.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>{hole})")
    return re.compile(pattern + r"\s*[.?!。？！]*", re.IGNORECASE)


_NUMBERS = r"[0-9]{1,9}(?:(?:[\s,、，]|and|和)+[0-9]{1,9})+"
_TARGET = r"-?[0-9]{1,9}"


def _puzzle(text: str) -> Asked | None:
    for lang, forms in countdown.QUESTIONS.items():
        for form in (*forms, *OTHER_WORDINGS[lang][0]):
            if match := _wording(form, n=_NUMBERS, t=_TARGET).fullmatch(text):
                numbers = re.findall("[0-9]+", match["n"])
                problem = Countdown(tuple(map(int, numbers)), int(match["t"]), lang)
                if form not in forms:
                    return Asked(problem.question(), problem)
                listed = ("、" if lang == "zh" else ", ").join(map(str, problem.numbers))
                return Asked(form.format(n=listed, t=problem.target), problem)
    return None


def _sum(text: str) -> Asked | None:
    text = text.translate(str.maketrans("×÷−＋－（）", "*/-+-()"))
    for lang, forms in arithmetic.QUESTIONS.items():
        for form in (*forms, *OTHER_WORDINGS[lang][1]):
            match = _wording(form, e=".+?").fullmatch(text)
            if match and (expression := _expression(match["e"].lower(), lang)):
                written, value = expression
                question = (form if form in forms else forms[0]).format(e=written)
                return Asked(question, Arithmetic(question, value, lang))
    return None


def _expression(text: str, lang: str) -> tuple[str, str] | None:
    """("98 plus 45", "143"): an expression as the corpus writes it, and its value, an integer."""
    written, words = text, arithmetic.SPOKEN[lang]
    for symbol, word in words.items():
        written = written.replace(word.strip(), symbol)
    spoken = written != text
    written = re.sub(r"\s*([-+*/])\s*", r" \1 ", " ".join(written.split()))
    written = written.replace("( ", "(").replace(" )", ")")
    result = evaluate(written)
    if result is None:
        return None
    value, numbers = result
    if len(numbers) < 2 or value.denominator != 1 or len(str(value)) > 64:
        return None  # verify() does not admit it
    if spoken:
        for symbol, word in words.items():
            written = written.replace(symbol, word)
    return written, str(value)


# ---------------------------------------------------------------- what was answered


class Response(NamedTuple):
    answer: str | None  # None: not well formed, or cut off
    right: bool | None  # None: there is nothing to check it by
    reason: str  # why a wrong answer is wrong
    tokens: int
    stopped: bool  # False: cut off


def judge(problem: Problem | None, text: str, tokens: int, stopped: bool) -> Response:
    """A response's worth by the task's verifier, as in training.

    >>> judge(Countdown((3, 5), 8), "<answer>3 * 5</answer><|end|>", 8, True)
    Response(answer='3 * 5', right=False, reason='that makes 15', tokens=8, stopped=True)
    """
    _, answer, well_formed = parse(text)
    answer = answer if well_formed else None
    if problem is None:
        return Response(answer, None, "", tokens, stopped)
    right = score(problem, text).accuracy == 1
    reason = "" if right or answer is None else _reason(problem, answer)
    return Response(answer, right, reason, tokens, stopped)


def _reason(problem: Problem, answer: str) -> str:
    if isinstance(problem, Arithmetic | Line):
        return f"it is {problem.answer}"
    if not isinstance(problem, Countdown):
        return ""
    result = evaluate(answer)
    if result is None:
        return "that is not an expression"
    if result[0] != problem.target:
        return f"that makes {result[0]}"
    return "it does not use each number once"


# ---------------------------------------------------------------- asking


class Draw(NamedTuple):
    id: int
    chance: float  # of the distribution it was drawn from; if greedy, of temperature 1's
    top: list[tuple[int, float]]  # the most probable tokens there
    free: bool = False  # it cost no forward pass: a draft was right


@torch.no_grad()
def stream(
    model: Transformer, ids: list[int], settings: Sampling, places: Stream, draft: bool = False
) -> Iterator[Draw]:
    """One response as it is drawn: the very tokens of sampler.sample(model, [ids], 1, ...), with
    `draft` in fewer forward passes (variants/drafting.py).

    Banned tokens are not supported.
    """
    if draft:
        for done in passes(model, [ids], 1, settings, places):
            first, second = done.token_B2[0].tolist()
            yield _draw(first, done.logits_B2V[0, 0], settings)
            if done.kept_B2[0, 1]:
                yield _draw(second, done.logits_B2V[0, 1], settings, free=True)
        return
    cache, logits_BV = prefill(model, [ids], 1, settings.max_tokens)
    free_B = torch.ones(1, dtype=torch.bool, device=logits_BV.device)
    response_B = torch.tensor([places.first], device=logits_BV.device)
    for t in range(settings.max_tokens):
        uniform_B = uniform(places.key, response_B, t)
        token_B, _ = choose(logits_BV, settings, free_B, uniform_B)
        id = int(token_B)
        yield _draw(id, logits_BV[0], settings)
        if id in settings.stop_ids or t + 1 == settings.max_tokens:
            return
        logits_BV = model(token_B[:, None], cache)[:, -1]


def _draw(id: int, logits_V: Tensor, settings: Sampling, free: bool = False) -> Draw:
    p_V = (logits_V[: settings.vocabulary] / (settings.temperature or 1.0)).softmax(-1)
    top = p_V.topk(min(5, len(p_V)))
    return Draw(id, p_V[id].item(), list(zip(top.indices.tolist(), top.values.tolist())), free)


def spell(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[str]:
    """Their text in pieces; a character made of several tokens waits until it is whole."""
    held, shown = [], 0
    for id in ids:
        held.append(id)
        text = tokenizer.decode(held)
        whole = text.rstrip("\ufffd")
        yield whole[shown:]
        held, shown = ([], 0) if whole == text else (held, len(whole))
    if held:
        yield tokenizer.decode(held)[shown:]


@dataclass
class Voice:
    """A model that is asked, with random numbers of its own."""

    name: str
    path: Path
    model: Transformer
    tokenizer: Tokenizer
    seed: int = 0
    asked: int = 0  # questions so far

    def draws(self) -> Stream:
        """Random numbers for the next question."""
        self.asked += 1
        return Stream.of("play", self.seed, self.asked)

    def prepare(self, asked: Asked, budget: int, temperature: float) -> tuple[list[int], Sampling]:
        """Prompt and settings, the budget cut to the room. Raises UserError if there is none."""
        ids = self.tokenizer.encode(prompt(asked.question))
        positions = self.model.config.positions
        if len(ids) >= positions:
            fault = f"a prompt of {len(ids)} tokens is too long"
            raise UserError(f"{fault}: {self.name} has {positions} positions")
        return ids, sampling(self.tokenizer, min(budget, positions - len(ids)), temperature)

    def answers(self, asked: Asked, count: int, budget: int, temperature: float) -> list[Response]:
        """`count` responses, sampled at once."""
        ids, settings = self.prepare(asked, budget, temperature)
        drawn = sample(self.model, [ids], count, settings, self.draws())
        lengths = drawn.length_B.tolist()
        rows = [row[:length] for row, length in zip(drawn.ids_BT.tolist(), lengths)]
        texts = self.tokenizer.decode_batch(rows)
        return [judge(asked.problem, *row) for row in zip(texts, lengths, drawn.stopped_B.tolist())]


def open_voice(path: Path, device: str, seed: int = 0) -> Voice:
    model, tokenizer = load_checkpoint(path, device)
    return Voice(path.stem, path, model, tokenizer, seed)
