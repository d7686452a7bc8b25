"""From what a policy wrote to what the next model reads: the right and readable, rewritten.

The R1 report, sections 2.3.1 (cold start) and 2.3.3 (rejection sampling): chains of thought with
mixed languages or chaotic text are filtered out, and a summary stands after the thinking. Here both
are rules. A response is dropped for the first fault that reason_to_drop finds. What is kept is a
line of JSON with its problem, its source and the text that a model learns from.

>>> from minir1.tasks.countdown import Countdown
>>> thought = "3 * 3 = 9, 9 - 5 = 4, yes\\nwait, 3 + 5 = 8, 8 / 2 = 4, yes"
>>> response = f"<think>{thought}</think><answer>(3 + 5) / 2</answer><|end|>"
>>> reason_to_drop(Countdown((3, 5, 2), 4), response)
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
from minir1.measure.attempts import KEPT, attempts_of, spread
from minir1.measure.behaviours import observe
from minir1.rewards import score
from minir1.rollout import Rollouts
from minir1.sampler import pad
from minir1.tasks import Problem
from minir1.tasks.countdown import Countdown
from minir1.tokenizer import Tokenizer
from minir1.transcript import parse, prompt, render

PUZZLE_SUMMARY = {"en": "So {a} = {t}.", "zh": "所以{a} = {t}。"}
SUMMARY = {"en": "The answer is {a}.", "zh": "答案是{a}。"}
_OPENERS = tuple(word.strip() for words in RETRY.values() for word in words if word.strip())
_STEP = re.compile(r"(\d+) [-+*/] (\d+) = (\d+)")


# ---------------------------------------------------------------- judging


def reason_to_drop(problem: Problem, response: str) -> str:
    """Why this response is not worth learning from; "" if it is."""
    response = without_summary(response)
    parts, seen, reward = parse(response), observe(problem, response), score(problem, response)
    if not reward.accuracy:
        return "wrong" if parts.well_formed else "not well formed"
    if parts.think is None:
        return "no thought"
    if reward.language < 1:
        return "other language"
    if seen.repeated:
        return "repeated attempt"
    if seen.wrong_steps:
        return "false step"
    if seen.checks_right < seen.checks:
        return "false check"
    return _puzzle_fault(problem, parts.think) if isinstance(problem, Countdown) else ""


def _puzzle_fault(problem: Countdown, thought: str) -> str:
    lines = [part for line in thought.split("\n") for part in spread(line)]
    if not all(_uses_what_is_there(problem, line) for line in lines):
        return "false operands"
    attempts = attempts_of(problem, thought)
    return "" if attempts and attempts[-1].hit else "answer from nowhere"


def _uses_what_is_there(problem: Countdown, line: str) -> bool:
    """Every step of an attempt takes numbers that are given, planned for, or made on the way."""
    there = Counter(problem.numbers)
    planned = any(word in line for word in ("need", "make", "还差", "先凑"))
    for a, b, value in _STEP.findall(line):
        for n in (int(a), int(b)):
            if there[n] == 0 and not planned:
                return False
            there[n] -= 1
        there[int(value)] += 1
    return True


def readable(problem: Problem, response: str) -> bool:
    """Ended by itself, no repeated attempt, every step true, a summary that states the answer."""
    return not unreadable(problem, response)


def unreadable(problem: Problem, response: str) -> str:
    """The first fault of a response, in words; "" if it is readable."""
    plain = without_summary(response)
    parts, seen = parse(plain), observe(problem, plain)
    faults = {
        "cut off or not well formed": not parts.well_formed, "repeated attempt": seen.repeated,
        "false step": seen.wrong_steps,
        "no summary": not parts.answer or parts.answer not in summary_in(response),
    }
    return next((fault for fault, found in faults.items() if found), "")


# ---------------------------------------------------------------- rewriting


def rewrite(problem: Problem, response: str) -> str:
    """The same thinking in regular form, and one line that sums it up, in the prompt's language.

    >>> from minir1.tasks.countdown import Countdown
    >>> response = "<think>5 - 3 = 2, 2 * 2 = 4, yes</think><answer>(5 - 3) * 2</answer><|end|>"
    >>> rewrite(Countdown((3, 5, 2), 4), response).removesuffix("<|end|>")
    '<think>5 - 3 = 2, 2 * 2 = 4, yes</think>So (5 - 3) * 2 = 4.<answer>(5 - 3) * 2</answer>'
    """
    think, answer, _ = parse(without_summary(response))
    assert think is not None and answer is not None, "only for what reason_to_drop lets through"
    thought = _regular(problem, think) if isinstance(problem, Countdown) else think
    return render_response(answer, thought, summary_of(problem, answer))


def without_summary(response: str) -> str:
    """The response as the core's template has it, which knows no summary."""
    return re.sub(r"(</think>)[^<>]*(<answer>)", r"\1\2", response)


def summary_in(response: str) -> str:
    """What stands between the thought and the answer; "" if nothing does."""
    match = re.search(r"</think>([^<>]*)<answer>", response)
    return match[1] if match else ""


def summary_of(problem: Problem, answer: str) -> str:
    if isinstance(problem, Countdown):
        return PUZZLE_SUMMARY[problem.lang].format(a=answer, t=problem.target)
    return SUMMARY[problem.lang].format(a=answer)


def render_response(answer: str, thought: str | None = None, summary: str = "") -> str:
    """A response with its end token, as the template has it; None leaves the thought out.

    >>> render_response("Paris")
    '<answer>Paris</answer><|end|>'
    """
    response = render("", answer, thought).removeprefix(prompt(""))
    return response.replace("</think>", f"</think>{summary}", 1)


def _regular(problem: Countdown, thought: str) -> str:
    """Each attempt on its own line, closed by its verdict; each new one opened by the same word."""
    lines = []
    for line in thought.split("\n"):
        if not line.strip():
            continue
        for word in _OPENERS:
            line = line.removeprefix(word).strip()
        if not KEPT.search(line):  # looks for a needed value have no verdict but yes
            attempts = enumerate(line.split("; "))
            line = "; ".join(_closed(problem, text, shared=i > 0) for i, text in attempts)
        lines.append(line)
    return RETRY[problem.lang][0].join(lines) or thought


_VERDICT = re.compile(r"[,，] ?(?:(yes|对)|(?:not |不是)(-?\d+)|(no|不行))[.。]?\s*$")
_AIM = re.compile(r"(?:need|make|还差|先凑) ?(-?\d+)[:：]")  # of a planned attempt, not the target
_LAST = re.compile(r"(\d+)\s*$")  # what an attempt ends on: a step's value, or the last one tried


def _closed(problem: Countdown, attempt: str, shared: bool) -> str:
    """An attempt with its verdict in the prompt's language: yes; not 65; or no (no last step hits).

    `shared`: its first step stands in the attempt before it."""
    words, verdict = WORDS[problem.lang], _VERDICT.search(attempt)
    body = attempt[: verdict.start() if verdict else None].rstrip(" .。")
    if verdict:
        yes, missed, _ = verdict.groups()
    else:
        last = _LAST.search(body)
        goal = (_AIM.findall(body) or [str(problem.target)])[-1]
        whole = len(_STEP.findall(body)) + shared >= len(problem.numbers) - 1
        yes = last and int(last[1]) == int(goal)
        missed = str(int(goal)) if whole else None
    if yes:
        return body + words["yes"]
    return body + (words["none"] if missed is None else words["no"] + missed)


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
            reason = reason or self._keep(problem, rewrite(problem, text), most_per_problem)
            if reason:
                self.dropped[reason] += 1

    def _keep(self, problem: Problem, response: str, most: int) -> str:
        """Keep a response; if not, the reason."""
        question = problem.question()
        if (question, response) in self.seen:
            return "duplicate"
        if sum(line["question"] == question for line in self.lines[-64:]) >= most:
            return "enough of this problem"
        self.seen.add((question, response))
        line = {"question": question, "response": response, "problem": problem.to_json()}
        self.lines.append(line | {"source": self.source})
        return ""

    def counts(self) -> dict[str, int]:
        return {"kept": len(self.lines), **dict(self.dropped.most_common())}


# ---------------------------------------------------------------- learning from it


def pairs_of(lines: list[dict]) -> list[tuple[str, str]]:
    """(question, response) of curated lines."""
    return [(line["question"], line["response"]) for line in lines]


def emphasise(lines: list[dict], times: int) -> list[dict]:
    """Long searches are read `times` as often: few are kept, and there policies go in circles.

    >>> short, long = ({"response": f"<think>{text}</think>"} for text in ("a", "a\\nb\\nc\\nd"))
    >>> [len(line["response"]) for line in emphasise([short, long], 2)]
    [16, 22, 22]
    """
    emphasised = []
    for line in lines:
        thought, _, _ = line["response"].rpartition("</think>")  # "" where there is none
        emphasised += [line] * (times if thought.count("\n") >= 3 else 1)
    return emphasised


def batches(
    lines: list[tuple[str, str]], tokenizer: Tokenizer, rows: int, epochs: int, seed: int, device
) -> Iterator[tuple[Tensor, Tensor]]:
    """(ids_BT, mask_BT) of (question, response) pairs, padded on the right.

    Only responses are learned. Shuffled every epoch. Within pools of 16 batches, lines of similar
    length go together, so that little is padding.
    """
    rng = Random(f"sft {seed}")
    pairs = [(tokenizer.encode(prompt(q)), tokenizer.encode(r)) for q, r in lines]
    for _ in range(epochs):
        rng.shuffle(pairs)
        whole = pairs[: len(pairs) // rows * rows]
        batches = []
        for i in range(0, len(whole), 16 * rows):
            pool = sorted(whole[i : i + 16 * rows], key=lambda pair: len(pair[0]) + len(pair[1]))
            batches += [pool[j : j + rows] for j in range(0, len(pool), rows)]
        rng.shuffle(batches)
        for batch in batches:
            ids_BT = pad([question + response for question, response in batch], tokenizer.pad)
            first_B1 = torch.tensor([[len(question)] for question, _ in batch])
            length_B1 = torch.tensor([[len(q) + len(r)] for q, r in batch])
            place_T = torch.arange(1, ids_BT.shape[1])  # of the token that is predicted
            mask_BT = (place_T >= first_B1) & (place_T < length_B1)
            yield ids_BT.to(device), mask_BT.to(device)
