"""`python -m minir1 corpus`: the habits that a corpus really holds, measured on its text.

>>> read_document("<|begin|>User: Make 8 from 3, 5.\\nAssistant:<answer>3 + 5</answer><|end|>")[:2]
('countdown', Countdown(numbers=(3, 5), target=8, lang='en', id=''))
"""

import argparse
import json
import re

from minir1.config import UserError, apply
from minir1.console.errors import parse
from minir1.console.flags import parts
from minir1.corpus.mixture import sample_text
from minir1.measure.behaviours import (
    REFLECTION_WORDS,
    add_share,
    observe,
    reflections_in,
    steps_in,
    total,
)
from minir1.presets import PRESETS, check
from minir1.rewards import score
from minir1.tasks import arithmetic, countdown
from minir1.tasks.countdown import Countdown
from minir1.tokenizer import PIECES
from minir1.transcript import BEGIN, SPECIAL_TOKENS, THINK

_PIECE = re.compile("|".join(map(re.escape, SPECIAL_TOKENS)) + "|" + PIECES)

# ---------------------------------------------------------------- a document


def _readers(questions: dict[str, tuple[str, ...]], **parts: str) -> list[tuple[str, re.Pattern]]:
    """The wordings of a task turned round: patterns that find its parts in a question."""
    readers = []
    for lang, forms in questions.items():
        for form in forms:
            pattern = re.sub(r"([.?])", r"\\\1", form)
            for name, part in parts.items():
                pattern = pattern.replace(f"{{{name}}}", f"(?P<{name}>{part})")
            readers.append((lang, re.compile(pattern)))
    return readers


_PUZZLES = _readers(countdown.QUESTIONS, n="[0-9]+(?:(?:, |、)[0-9]+)*", t="[0-9]+")
_SUMS = _readers(arithmetic.QUESTIONS, e=r"(?:[-+*() 0-9加减乘]|plus|minus|times)+")


def read_document(text: str) -> tuple[str, Countdown | None, str]:
    """(kind, the puzzle if it is one, response) of a whole document.

    Kinds: countdown, arithmetic, equations, general.
    """
    question, separator, response = text.removeprefix(f"{BEGIN}User: ").partition("\nAssistant:")
    if not separator:
        return "equations", None, text
    for lang, pattern in _PUZZLES:
        if match := pattern.fullmatch(question):
            numbers = tuple(map(int, re.findall("[0-9]+", match["n"])))
            return "countdown", Countdown(numbers, int(match["t"]), lang), response
    is_sum = any(pattern.fullmatch(question) for _, pattern in _SUMS)
    return "arithmetic" if is_sum else "general", None, response


# ---------------------------------------------------------------- rates


def corpus_rates(texts: list[str]) -> dict[str, float]:
    """The rates of whole documents; a key without a denominator is left out.

    Shares of documents: share_countdown, share_arithmetic, share_equations, share_general. Of
    Countdown documents: direct (answered without thinking), right, right_direct, right_thinking. Of
    the thinking ones: retrying (more than one attempt), attempts (a mean). Of attempts: checked,
    hit_rate, hit_rate_3, ..., subgoals, backward, repeated; check_right of checks; backtracking of
    failed attempts; switched of thoughts. wrong_steps: of written steps anywhere.
    arithmetic_direct: of arithmetic documents. wait_1000 and so on: reflection words per 1,000
    tokens (pieces of minir1.tokenizer, which nearly always are one token). tokens: mean per
    document.
    """
    documents = [read_document(text) for text in texts]
    metrics: dict[str, float] = {}
    for kind in ("countdown", "arithmetic", "equations", "general"):
        count = sum(other == kind for other, _, _ in documents)
        add_share(metrics, f"share_{kind}", count, len(texts))
    sums = [response for kind, _, response in documents if kind == "arithmetic"]
    add_share(metrics, "arithmetic_direct", sum(not r.startswith(THINK) for r in sums), len(sums))
    metrics |= _puzzle_rates([(problem, text) for _, problem, text in documents if problem])
    steps = [step for kind, _, text in documents if kind != "general" for step in steps_in(text)]
    add_share(metrics, "wrong_steps", sum(not step.true for step in steps), len(steps))
    return metrics | _word_rates(texts)


def _puzzle_rates(documents: list[tuple[Countdown, str]]) -> dict[str, float]:
    right = {True: [], False: []}  # by whether it thinks
    thinking = []
    for problem, response in documents:
        thinks = response.startswith(THINK)
        right[thinks].append(score(problem, response).accuracy)
        if thinks:
            thinking.append((problem, observe(problem, response)))
    behaviours = [behaviour for _, behaviour in thinking]
    whole = total(behaviours)
    metrics: dict[str, float] = {}
    add_share(metrics, "direct", len(right[False]), len(documents))
    add_share(metrics, "right", sum(right[True] + right[False]), len(documents))
    add_share(metrics, "right_direct", sum(right[False]), len(right[False]))
    add_share(metrics, "right_thinking", sum(right[True]), len(right[True]))
    add_share(metrics, "retrying", sum(b.attempts > 1 for b in behaviours), len(behaviours))
    add_share(metrics, "attempts", whole.attempts, len(behaviours))
    add_share(metrics, "checked", whole.checks, whole.attempts)
    add_share(metrics, "hit_rate", whole.hits, whole.attempts)
    for name in ("subgoals", "backward", "repeated"):
        add_share(metrics, name, getattr(whole, name), whole.attempts)
    for count in sorted({len(problem.numbers) for problem, _ in thinking}):
        part = total([b for problem, b in thinking if len(problem.numbers) == count])
        add_share(metrics, f"hit_rate_{count}", part.hits, part.attempts)
    add_share(metrics, "check_right", whole.checks_right, whole.checks)
    add_share(metrics, "backtracking", whole.backtracks, whole.attempts - whole.hits)
    add_share(metrics, "switched", whole.switched, len(behaviours))
    return metrics


def _word_rates(texts: list[str]) -> dict[str, float]:
    """Each reflection word that occurs, and all of them, per 1,000 tokens; tokens per document."""
    text = "".join(texts)
    tokens = sum(1 for _ in _PIECE.finditer(text))
    counts = reflections_in(text)
    metrics = {f"{w}_1000": 1000 * counts[w] / tokens for w in REFLECTION_WORDS if counts[w]}
    add_share(metrics, "reflections_1000", 1000 * counts.total(), tokens)
    add_share(metrics, "tokens", tokens, len(texts))
    return metrics


# ---------------------------------------------------------------- the command

ROWS = {
    "share_countdown": "documents: Countdown",
    "share_arithmetic": "documents: arithmetic questions",
    "share_equations": "documents: lists of equations",
    "share_general": "documents: anything else",
    "arithmetic_direct": "arithmetic: answered without working",
    "direct": "Countdown: answered without thinking",
    "right": "Countdown: right",
    "right_direct": "  of those without thinking",
    "right_thinking": "  of those with thinking",
    "retrying": "thoughts with more than one attempt",
    "switched": "thoughts that mix languages",
    "checked": "attempts closed by a check",
    "check_right": "checks that are right",
    "backtracking": "failed attempts followed by another",
    "subgoals": "attempts that set a subgoal",
    "backward": "attempts that start from the target",
    "repeated": "attempts identical to an earlier one",
    "hit_rate": "attempts that hit",
    "wrong_steps": "written steps that are false",
    "attempts": "attempts in a thought",
    "tokens": "tokens in a document",
    "reflections_1000": "reflection words in 1,000 tokens",
}


def table(rates: dict[str, float]) -> str:
    """corpus_rates for people: shares in percent, means as they are."""
    order = list(ROWS)

    def place(name: str) -> tuple[int, bool]:
        """Rates by count of numbers follow the hit rate, single words come last."""
        row = name if name in ROWS else "hit_rate" if "hit_rate" in name else order[-1]
        return order.index(row), name not in ROWS

    lines = []
    for name in sorted(rates, key=place):
        label = ROWS.get(name)
        if label is None:
            label = f"  {name.removesuffix('_1000').replace('hit_rate_', 'numbers: ')}"
        mean = name in ("attempts", "tokens") or name.endswith("_1000")
        lines.append(f"{label:<40}{rates[name]:>8.{'2f' if mean else '2%'}}")
    return "\n".join(lines)


def build_parser() -> argparse.ArgumentParser:
    about = "Measure the pretraining corpus."
    parser = argparse.ArgumentParser("minir1 corpus", description=about, allow_abbrev=False)
    add = parser.add_argument
    add("--preset", default="cpu", choices=tuple(PRESETS), help="whose corpus (default: cpu)")
    add("--documents", type=int, default=20_000, help="documents to measure (default: 20000)")
    add("--languages", type=parts, help="en, zh or en,zh instead of the preset's")
    add("--seed", type=int, default=0, help="which documents (default: 0)")
    add("--json", action="store_true", help="print the rates as JSON, nothing else")
    return parser


def main(arguments: list[str]) -> None:
    """The rates of a preset's corpus, and some of its documents. Raises UserError."""
    arguments = parse(build_parser(), arguments)
    if arguments.documents < 1:
        raise UserError("--documents must be at least 1")
    config = PRESETS[arguments.preset]
    if arguments.languages:
        config = check(apply(config, {"corpus.languages": arguments.languages}))
    texts = sample_text(config.corpus, arguments.seed, arguments.documents)
    rates = corpus_rates(texts)
    if arguments.json:
        print(json.dumps(rates, indent=2, ensure_ascii=False))
        return
    of_what = f"the {arguments.preset} corpus, seed {arguments.seed}"
    print(f"{arguments.documents:,} documents of {of_what}\n\n{table(rates)}\n")
    for text in texts[:3]:
        print(f"{text}\n")
