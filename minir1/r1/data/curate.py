"""From what a policy wrote to what the next model reads: keep what is right and readable, rewrite it, say where it came from.

The R1 report, section 2.3.1 (cold start) and 2.3.3 (rejection sampling): chains of thought with mixed languages or
chaotic text are filtered out, and a summary stands after the thinking. Here both are rules. A response is dropped for the
first of REASONS that holds; what is kept is a line of JSON with its problem, its source and the text a model learns from.

>>> from minir1.tasks.countdown import Countdown
>>> said = "<think>3 * 3 = 9, 9 - 5 = 4, yes\\nwait, 3 + 5 = 8, 8 / 2 = 4, yes</think><answer>(3 + 5) / 2</answer><|end|>"
>>> reason_to_drop(Countdown((3, 5, 2), 4), said)
'false operands'
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import torch
from torch import Tensor

from minir1.corpus.writers.plain import RETRY, WORDS
from minir1.measure.behaviours import KEPT, attempts_of, observe, spread
from minir1.rewards import language_share, score
from minir1.rollout import Rollouts
from minir1.sampler import pad
from minir1.tasks.countdown import Countdown
from minir1.tokenizer import Tokenizer
from minir1.transcript import Problem, parse, prompt, render

SUMMARY = {"en": ("So {a} = {t}.", "The answer is {a}."), "zh": ("所以{a} = {t}。", "答案是{a}。")}
_OPENERS = tuple(word.strip() for words in RETRY.values() for word in words if word.strip())
_STEP = re.compile(r"(\d+) [-+*/] (\d+) = (\d+)")


# ---------------------------------------------------------------- judging


def reason_to_drop(problem: Problem, response: str) -> str:
    """Why this response is not worth learning from; "" if it is."""
    response = without_summary(response)
    said, seen = parse(response), observe(problem, response)
    if not score(problem, response).accuracy:
        return "wrong" if said.well_formed else "not well formed"
    if said.think is None:
        return "no thought"
    share = language_share(said.think, problem.lang)
    if share is not None and share < 1:
        return "other language"
    if seen.repeated:
        return "repeated attempt"
    if seen.wrong_steps:
        return "false step"
    if seen.checks_right < seen.checks:
        return "false check"
    if isinstance(problem, Countdown):
        lines = [part for line in said.think.split("\n") for part in spread(line)]
        if not all(_uses_what_is_there(problem, line) for line in lines):
            return "false operands"
        tries = attempts_of(problem, said.think)
        if not tries or not tries[-1].hit:
            return "answer from nowhere"
    return ""


def _uses_what_is_there(problem: Countdown, line: str) -> bool:
    """Every step of an attempt takes numbers that are given, planned for, or made on the way."""
    there = Counter(problem.numbers)
    planned = "need" in line or "make" in line or "还差" in line or "先凑" in line
    for a, b, value in _STEP.findall(line):
        for n in (int(a), int(b)):
            if there[n] == 0 and not planned:
                return False
            there[n] -= 1
        there[int(value)] += 1
    return True


def readable(problem: Problem, response: str) -> bool:
    """DESIGN's readability: stopped by itself, no repeated attempt, every step true, a summary that states the answer."""
    plain = without_summary(response)
    said, seen = parse(plain), observe(problem, plain)
    if not said.well_formed or seen.repeated or seen.wrong_steps:
        return False
    return bool(said.answer) and said.answer in summary_in(response)


# ---------------------------------------------------------------- rewriting


def rewrite(problem: Problem, response: str) -> str:
    """The same thinking in regular form, and one line that sums it up, in the prompt's language: a whole response.

    >>> from minir1.tasks.countdown import Countdown
    >>> said = "<think>5 - 3 = 2, 2 * 2 = 4, yes</think><answer>(5 - 3) * 2</answer><|end|>"
    >>> rewrite(Countdown((3, 5, 2), 4), said).removesuffix("<|end|>")
    '<think>5 - 3 = 2, 2 * 2 = 4, yes</think>So (5 - 3) * 2 = 4.<answer>(5 - 3) * 2</answer>'
    """
    said = parse(without_summary(response))
    assert said.think is not None and said.answer is not None, "only what reason_to_drop lets through is rewritten"
    thought = _regular(problem, said.think) if isinstance(problem, Countdown) else said.think
    return render_response(said.answer, thought, summary_of(problem, said.answer))


def without_summary(response: str) -> str:
    """The response as the core's template has it, which knows no summary."""
    return re.sub(r"(</think>)[^<>]*(<answer>)", r"\1\2", response)


def summary_in(response: str) -> str:
    """What stands between the thought and the answer; "" if nothing does."""
    found = re.search(r"</think>([^<>]*)<answer>", response)
    return found[1] if found else ""


def summary_of(problem: Problem, answer: str) -> str:
    puzzle, other = SUMMARY[problem.lang]
    return puzzle.format(a=answer, t=problem.target) if isinstance(problem, Countdown) else other.format(a=answer)


def render_response(answer: str, thought: str, summary: str) -> str:
    """A response with its end token, as the template has it."""
    document = render("", answer, thought)
    response = document[document.index("<think>") :]
    return response.replace("</think>", f"</think>{summary}", 1)


def _regular(problem: Countdown, thought: str) -> str:
    """Each attempt on its own line, each closed by its verdict, each new one opened by the same word."""
    words, lines = WORDS[problem.lang], [line for line in thought.split("\n") if line.strip()]
    opener = RETRY[problem.lang][0]
    out = []
    for line in lines:
        for word in _OPENERS:
            line = line.removeprefix(word).strip()
        parts = [_closed(problem, part, words, i > 0) for i, part in enumerate(line.split("; "))]
        out.append(line if KEPT.search(line) else "; ".join(parts))  # looks for a needed value have no verdict but yes
    return opener.join(out) if out else thought


_VERDICT = re.compile(r"[,，] ?(?:(yes|对)|(?:not |不是)(-?\d+)|(no|不行))[.。]?\s*$")
_AIM = re.compile(r"(?:need|make|还差|先凑) ?(-?\d+)[:：]")  # what a planned attempt aims at instead of the target
_LAST = re.compile(r"(\d+)\s*$")  # what an attempt ends on: a step's value, or the last one of those tried


def _closed(problem: Countdown, part: str, words: dict[str, str], shared: bool) -> str:
    """An attempt with its verdict in the prompt's language: yes; not 65; or no, where no last step was found."""
    said = _VERDICT.search(part)
    body = part[: said.start() if said else None].rstrip(" .。")
    ends = _LAST.search(body)
    goal = int((_AIM.findall(body) or [problem.target])[-1])
    whole = len(_STEP.findall(body)) + shared >= len(problem.numbers) - 1
    if said[1] if said else ends and int(ends[1]) == goal:
        return body + words["yes"]
    return body + (f"{words['no']}{said[2] if said else goal}" if (said[2] if said else whole) else words["none"])


# ---------------------------------------------------------------- collecting


@dataclass
class Collection:
    """What was kept, in order, and what was dropped, counted by reason."""

    source: str  # which checkpoint wrote it
    lines: list[dict] = field(default_factory=list)
    dropped: Counter = field(default_factory=Counter)
    seen: set = field(default_factory=set)

    def add(self, rollouts: Rollouts, most_per_problem: int = 4) -> None:
        for row, text in enumerate(rollouts.texts):
            problem = rollouts.problem(row)
            reason = reason_to_drop(problem, text)
            kept = "" if reason else rewrite(problem, text)
            key = (problem.question(), kept)
            if not reason and key in self.seen:
                reason = "duplicate"
            elif not reason and sum(line["question"] == problem.question() for line in self.lines[-64:]) >= most_per_problem:
                reason = "enough of this problem"
            if reason:
                self.dropped[reason] += 1
                continue
            self.seen.add(key)
            line = {"question": problem.question(), "response": kept, "problem": problem.to_json(), "source": self.source}
            self.lines.append(line)

    def counts(self) -> dict[str, int]:
        return {"kept": len(self.lines), **dict(self.dropped.most_common())}


# ---------------------------------------------------------------- learning from it


def pairs_of(lines: list[dict]) -> list[tuple[str, str]]:
    """(question, response) of curated lines."""
    return [(line["question"], line["response"]) for line in lines]


def emphasise(lines: list[dict], times: int) -> list[dict]:
    """Long searches are where a policy goes round in circles, and few of them are kept: these are read `times` as often.

    >>> short, long = ({"response": f"<think>{thought}</think>"} for thought in ("a", "a\\nb\\nc\\nd"))
    >>> [len(line["response"]) for line in emphasise([short, long], 2)]
    [16, 22, 22]
    """
    thought = lambda line: line["response"].rpartition("</think>")[0]  # noqa: E731 - "" where there is none
    return [line for line in lines for _ in range(times if thought(line).count("\n") >= 3 else 1)]


def batches(
    lines: list[tuple[str, str]], tokenizer: Tokenizer, rows: int, epochs: int, seed: int, device
) -> Iterator[tuple[Tensor, Tensor]]:
    """(ids_BT, mask_BT) of (question, response) pairs, padded on the right; only responses are learned.

    Shuffled every epoch; within pools of 16 batches, lines of similar length go together, so that little is padding.
    """
    rng, pairs = Random(f"sft {seed}"), [(tokenizer.encode(prompt(q)), tokenizer.encode(r)) for q, r in lines]
    for _ in range(epochs):
        rng.shuffle(pairs)
        whole, batches = pairs[: len(pairs) // rows * rows], []
        for i in range(0, len(whole), 16 * rows):
            pool = sorted(whole[i : i + 16 * rows], key=lambda pair: len(pair[0]) + len(pair[1]))
            batches += [pool[j : j + rows] for j in range(0, len(pool), rows)]
        rng.shuffle(batches)
        for chosen in batches:
            ids_BT = pad([p + r for p, r in chosen], tokenizer.pad)
            first_B1 = torch.tensor([[len(p)] for p, _ in chosen])
            length_B1 = torch.tensor([[len(p) + len(r)] for p, r in chosen])
            place_T = torch.arange(1, ids_BT.shape[1])  # of the token that is predicted
            yield ids_BT.to(device), ((place_T >= first_B1) & (place_T < length_B1)).to(device)
