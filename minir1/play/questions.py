"""What was typed, read as a problem that can be checked; the asking, token by token; and what a
response is worth.

Problems are asked in the corpus' own wordings: a small model has read no others.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from minir1.checkpoint import load_checkpoint
from minir1.config import UserError
from minir1.model import Transformer
from minir1.rewards import score
from minir1.sampler import Sampling, choose, prefill, sample
from minir1.tasks import Problem, arithmetic, countdown
from minir1.tasks.arithmetic import Arithmetic
from minir1.tasks.countdown import Countdown, evaluate
from minir1.tokenizer import Tokenizer
from minir1.transcript import parse, prompt

# ---------------------------------------------------------------- what was asked


class Asked(NamedTuple):
    question: str  # as the model reads it
    problem: Problem | None  # None: there is nothing to check it by


def recognise(text: str) -> Asked:
    """A Countdown puzzle, an arithmetic question, or any other text, which stays as it is. Total.

    >>> recognise("19 36 55 7 = 65").problem
    Countdown(numbers=(19, 36, 55, 7), target=65, lang='en', id='')
    >>> recognise("what is 4821+977").question, recognise("4821 + 977").problem.answer
    ('What is 4821 + 977?', '5798')
    >>> recognise("Who are you?")
    Asked(question='Who are you?', problem=None)
    """
    return _puzzle(text) or _sum(text) or Asked(text, None)


def _wording(form: str, **holes: str) -> re.Pattern:
    """A form of QUESTIONS as a pattern: in any case, spaces as one likes, the mark at its end left
    out or not.
    """
    pattern = re.sub(r"(\\ )+", r"\\s*", re.escape(form.rstrip(".?。？")))
    for name, hole in holes.items():
        pattern = pattern.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>{hole})")
    return re.compile(pattern + r"\s*[.?!。？！]*", re.IGNORECASE)


_NUMBERS, _TARGET = r"[0-9]{1,9}(?:[\s,、，]+[0-9]{1,9})+", r"-?[0-9]{1,9}"


def _puzzle(text: str) -> Asked | None:
    for lang, forms in countdown.QUESTIONS.items():
        for form in ("{n} = {t}", *forms):
            match = _wording(form, n=_NUMBERS, t=_TARGET).fullmatch(text)
            if match:
                problem = Countdown(
                    tuple(map(int, re.findall("[0-9]+", match["n"]))), int(match["t"]), lang
                )
                comma = "、" if lang == "zh" else ", "
                asked = form.format(n=comma.join(map(str, problem.numbers)), t=problem.target)
                return Asked(asked if form in forms else problem.question(), problem)
    return None


def _sum(text: str) -> Asked | None:
    text = text.translate(str.maketrans("×÷−＋－（）", "*/-+-()"))
    for lang, forms in arithmetic.QUESTIONS.items():
        for form in (*forms, "{e}"):
            match = _wording(form, e=".+?").fullmatch(text)
            found = _expression(match["e"].lower(), lang) if match else None
            if found:
                question = (form if form in forms else forms[0]).format(e=found[0])
                return Asked(question, Arithmetic(question, found[1], lang))
    return None


def _expression(text: str, lang: str) -> tuple[str, str] | None:
    """("98 plus 45", "143"): an expression as the corpus writes it, with its value, which must be
    an integer.
    """
    words = arithmetic.SPOKEN[lang]
    symbols = text
    for symbol, word in words.items():
        symbols = symbols.replace(word.strip(), symbol)
    spoken = symbols != text
    symbols = re.sub(r"\s*([-+*/])\s*", r" \1 ", " ".join(symbols.split()))
    symbols = symbols.replace("( ", "(").replace(" )", ")")
    found = evaluate(symbols)
    # what verify() admits
    if found is None or len(found[1]) < 2 or found[0].denominator != 1 or len(str(found[0])) > 64:
        return None
    if spoken:
        for symbol, word in words.items():
            symbols = symbols.replace(symbol, word)
    return symbols, str(found[0])


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
    return Response(
        answer, right, "" if right or answer is None else _reason(problem, answer), tokens, stopped
    )


def _reason(problem: Problem, answer: str) -> str:
    if isinstance(problem, Arithmetic):
        return f"it is {problem.answer}"
    found = evaluate(answer)
    if found is None:
        return "that is not an expression"
    return (
        f"that makes {found[0]}"
        if found[0] != problem.target
        else "it does not use each number once"
    )


# ---------------------------------------------------------------- asking


class Draw(NamedTuple):
    id: int
    # under the distribution it was drawn from; if greedy, under that of temperature 1
    chance: float
    top: list[tuple[int, float]]  # the most probable tokens there


@torch.no_grad()
def stream(
    model: Transformer, ids: list[int], settings: Sampling, generator: torch.Generator | None
) -> Iterator[Draw]:
    """One response as it is drawn, the very tokens of sampler.sample(model, [ids], 1, ...); banned
    tokens are not supported.
    """
    cache, logits_BV = prefill(model, [ids], 1, settings.max_tokens)
    free_B = torch.ones(1, dtype=torch.bool, device=logits_BV.device)
    for t in range(settings.max_tokens):
        token_B, _ = choose(logits_BV, settings, free_B, generator)
        id, p_V = int(token_B), (logits_BV[0] / (settings.temperature or 1.0)).softmax(-1)
        top = p_V.topk(min(5, len(p_V)))
        yield Draw(id, p_V[id].item(), list(zip(top.indices.tolist(), top.values.tolist())))
        if id in settings.stop_ids or t + 1 == settings.max_tokens:
            return
        logits_BV = model(token_B[:, None], cache)[:, -1]


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


class Voice(NamedTuple):
    """A model that is asked, with random numbers of its own."""

    name: str
    path: Path
    model: Transformer
    tokenizer: Tokenizer
    generator: torch.Generator

    def prepare(self, asked: Asked, budget: int, temperature: float) -> tuple[list[int], Sampling]:
        """Prompt and settings, the budget cut to the room there is.

        Raises UserError if there is none.
        """
        ids, positions = self.tokenizer.encode(prompt(asked.question)), self.model.config.positions
        if len(ids) >= positions:
            raise UserError(
                f"a prompt of {len(ids)} tokens is too long: {self.name} has {positions} positions"
            )
        return ids, Sampling(min(budget, positions - len(ids)), self.tokenizer.end_ids, temperature)

    def answers(self, asked: Asked, count: int, budget: int, temperature: float) -> list[Response]:
        """`count` responses, sampled at once."""
        ids, settings = self.prepare(asked, budget, temperature)
        drawn = sample(self.model, [ids], count, settings, self.generator)
        lengths = drawn.length_B.tolist()
        texts = self.tokenizer.decode_batch(
            [row[:n] for row, n in zip(drawn.ids_BT.tolist(), lengths)]
        )
        return [judge(asked.problem, *row) for row in zip(texts, lengths, drawn.stopped_B.tolist())]


def open_voice(path: Path, device: str, seed: int = 0) -> Voice:
    model, tokenizer = load_checkpoint(path, device)
    return Voice(path.stem, path, model, tokenizer, torch.Generator(device).manual_seed(seed))
