"""What was typed, read as a problem that can be checked; and what a response to it is worth.

Problems are asked in the corpus' own wordings: a small model has read no others.
"""

import re
from typing import NamedTuple

from minir1.rewards import score
from minir1.tasks import arithmetic, countdown
from minir1.tasks.arithmetic import Arithmetic
from minir1.tasks.countdown import Countdown, evaluate
from minir1.transcript import Problem, parse

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
    """A form of QUESTIONS as a pattern: in any case, spaces as one likes, the mark at its end left out or not."""
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
                problem = Countdown(tuple(map(int, re.findall("[0-9]+", match["n"]))), int(match["t"]), lang)
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
    """("98 plus 45", "143"): an expression as the corpus writes it, with its value, which must be an integer."""
    words = arithmetic.SPOKEN[lang]
    symbols = text
    for symbol, word in words.items():
        symbols = symbols.replace(word.strip(), symbol)
    spoken = symbols != text
    symbols = re.sub(r"\s*([-+*/])\s*", r" \1 ", " ".join(symbols.split()))
    symbols = symbols.replace("( ", "(").replace(" )", ")")
    found = evaluate(symbols)
    if found is None or len(found[1]) < 2 or found[0].denominator != 1 or len(str(found[0])) > 64:  # what verify() admits
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
    return Response(answer, right, "" if right or answer is None else _reason(problem, answer), tokens, stopped)


def _reason(problem: Problem, answer: str) -> str:
    if isinstance(problem, Arithmetic):
        return f"it is {problem.answer}"
    found = evaluate(answer)
    if found is None:
        return "that is not an expression"
    return f"that makes {found[0]}" if found[0] != problem.target else "it does not use each number once"
