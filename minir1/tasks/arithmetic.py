"""Arithmetic: GPT-3's ten tasks, 6-digit sums, chain sums, products; with written working.

>>> problem = Arithmetic("What is 98 plus 45?", "143", key="45 + 98")
>>> problem.verify(" 143 "), problem.verify("0143"), problem.verify("142")
(True, False, False)
"""

import re
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from minir1.tasks import Task, check_split
from minir1.tasks.countdown import split_of

# GPT-3 (arXiv 2005.14165, section 3.9.1): nD+ and nD- draw operands from 0 to 10^n - 1.
GPT3_TASKS = ("2d+", "2d-", "3d+", "3d-", "4d+", "4d-", "5d+", "5d-", "2dx", "1dc")
KINDS = (*GPT3_TASKS, "6d+", "6d-", "chain", "3dx", "4dx", "5dx")

QUESTIONS = {
    "en": ("What is {e}?", "{e} =", "Compute {e}.", "How much is {e}?"),
    "zh": ("{e}等于多少？", "{e} =", "计算{e}。", "{e}是多少？"),
}
SPOKEN = {
    "en": {" + ": " plus ", " - ": " minus ", " * ": " times "},
    "zh": {" + ": "加", " - ": "减", " * ": "乘"},
}


@dataclass(frozen=True)
class Arithmetic:
    text: str
    answer: str
    lang: str = "en"
    id: str = ""
    key: str = ""
    task: ClassVar[str] = "arithmetic"

    def question(self) -> str:
        return self.text

    def verify(self, answer: str) -> bool:
        """True if `answer` is exactly the right integer, spaces around it aside."""
        if not isinstance(answer, str) or len(answer) > 64:
            return False
        return _integer(answer.strip(" ")) == self.answer

    def readable(self, answer: str) -> bool:
        """Whether `answer` is an integer, be it a wrong one."""
        return _integer(answer) is not None

    def split(self) -> str:
        return split_of("arithmetic " + (self.key or self.text))

    def to_json(self) -> dict:
        line = {"id": self.id, "task": self.task, "lang": self.lang}
        line |= {"question": self.text, "answer": self.answer}
        return line | ({"key": self.key} if self.key else {})

    @classmethod
    def from_json(cls, line: dict) -> "Arithmetic":
        """Raises ValueError with a reason if a field is missing or of the wrong kind."""
        question, answer = line.get("question"), str(line.get("answer")).strip()
        if not isinstance(question, str) or not question.strip():
            raise ValueError('"question" must be a text')
        if _integer(answer) is None:
            raise ValueError('"answer" must be an integer, as a text')
        lang, id, key = line.get("lang", "en"), line.get("id", ""), line.get("key", "")
        return cls(question, answer, str(lang), str(id), str(key))


def _integer(text: str) -> str | None:
    return text if re.fullmatch(r"-?[1-9][0-9]*|0", text) else None


# ---------------------------------------------------------------- sampling


def expression(rng: Random, kind: str) -> tuple[str, list]:
    """(text such as "(9 + 8) * 2", its parts) for a kind of KINDS.

    Parts are [a, op, b] or, for longer ones, nested: [[9, "+", 8], "*", 2]; chains nest to the
    left.
    """
    if kind == "1dc":
        a, b, c = (rng.randrange(10) for _ in range(3))
        p, q = rng.choice("+-*"), rng.choice("+-*")
        if rng.random() < 0.5:
            return f"({a} {p} {b}) {q} {c}", [[a, p, b], q, c]
        return f"{a} {q} ({b} {p} {c})", [a, q, [b, p, c]]
    if kind == "chain":
        terms = [rng.randrange(10 ** rng.randint(1, 4)) for _ in range(rng.randint(2, 6))]
        text, parts = str(terms[0]), terms[0]
        for term in terms[1:]:
            operator = rng.choice("+-")
            text, parts = f"{text} {operator} {term}", [parts, operator, term]
        return text, parts
    limit, operator = 10 ** int(kind[0]), kind[2].replace("x", "*")
    a, b = rng.randrange(limit), rng.randrange(limit)
    return f"{a} {operator} {b}", [a, operator, b]


def value_of(parts) -> int:
    if isinstance(parts, int):
        return parts
    a, b = value_of(parts[0]), value_of(parts[2])
    return a + b if parts[1] == "+" else a - b if parts[1] == "-" else a * b


def sample(rng: Random, kind: str = "2d+", split: str = "train", lang: str = "en") -> Arithmetic:
    """One problem of a kind, restricted to a split. Raises ValueError for unknown ones."""
    return sample_with_parts(rng, kind, split, lang)[0]


def sample_with_parts(rng: Random, kind: str, split: str, lang: str) -> tuple[Arithmetic, list]:
    if kind not in KINDS:
        raise ValueError(f"unknown arithmetic kind {kind!r}; choose from {', '.join(KINDS)}")
    check_split(split)
    while True:
        text, parts = expression(rng, kind)
        key = canonical(parts)
        if split_of("arithmetic " + key) == split:
            forms = QUESTIONS[lang]
            spoken = text
            if rng.random() < 0.5:
                for symbol, word in SPOKEN[lang].items():
                    spoken = spoken.replace(symbol, word)
            question = forms[int(rng.random() * len(forms))].format(e=spoken)
            return Arithmetic(question, str(value_of(parts)), lang, key=key), parts


def canonical(parts) -> str:
    """One key for all orders of writing the same sums and products, at every depth.

    >>> canonical([5, "+", 3]), canonical([[2, "*", [9, "+", 8]], "-", 1])
    ('3 + 5', '+ (8 + 9) * 2 - 1')
    """
    if isinstance(parts, int):
        return str(parts)
    a, operator, b = parts
    if isinstance(a, int) and isinstance(b, int):
        return f"{b} {operator} {a}" if operator in "+*" and a > b else f"{a} {operator} {b}"
    if operator in "+-":
        return " ".join(sorted(_terms(parts, "+")))
    factors = [f"({f})" if " " in f else f for f in map(canonical, _factors(parts, operator))]
    return f" {operator} ".join(sorted(factors) if operator == "*" else factors)


def _terms(parts, sign: str) -> list[str]:
    """Signed, with every bracket of sums and differences resolved."""
    if isinstance(parts, int) or parts[1] not in "+-":
        return [f"{sign} {canonical(parts)}"]
    a, operator, b = parts
    return _terms(a, sign) + _terms(b, sign if operator == "+" else "-+"[sign == "-"])


def _factors(parts, operator: str) -> list:
    """Of a product all factors, however they are bracketed; of a quotient its two parts."""
    if operator == "/":
        return [parts[0], parts[2]]
    if isinstance(parts, int) or parts[1] != "*":
        return [parts]
    return _factors(parts[0], "*") + _factors(parts[2], "*")


TASKS = (Task("arithmetic", KINDS, sample, Arithmetic.from_json),)
