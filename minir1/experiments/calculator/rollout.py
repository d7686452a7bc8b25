"""A calculator inside the thinking, which R1 lacked by its own account.

The model writes a call, `<tool>12345 * 678</tool>`. The sampler pauses. Our own exact evaluator
(tasks.countdown.evaluate: total, never evaluates code) computes. The output re-enters as forced
tokens, up to the end of the line, and the row goes on. Forced tokens are no actions:
Rollouts.actions keeps them out of the loss, and they count towards the token budget.

The tags are plain text, spelt in a few tokens each. A call ends where the model writes `</`: the
sampler pauses at tokens that begin with a slash, and the rest of the tag ("tool>") is forced like
the output. (A slash elsewhere costs a pause and nothing more; " / " is a token of its own in the
shipped tokenizers.) A malformed call, or one too many, gets an error in its context; nothing is
refused silently. A call that is never closed is never made: command.outcome counts these.

>>> reply("12345 * 67890", "en"), reply("12 ** 2", "en"), reply("1 / 0", "zh")
('838102050', 'error: not an expression', '错误：不是算式')
"""

import re
from dataclasses import dataclass, field, replace

import torch

from minir1.model import Transformer
from minir1.r1.data.curation import without_summary
from minir1.rewards import Reward, score
from minir1.rollout import Rollouts, Sampler
from minir1.sampler import UNNAMED, Samples, Sampling, Stream, sample
from minir1.tasks import Problem
from minir1.tasks.countdown import evaluate
from minir1.tokenizer import Tokenizer
from minir1.transcript import THINK, THINK_END, prompt

OPEN, CLOSE = "<tool>", "</tool>"
ERRORS = {
    "expression": {"en": "error: not an expression", "zh": "错误：不是算式"},
    "closed": {"en": "error: no call is open", "zh": "错误：没有算式"},
    "outside": {"en": "error: only while thinking", "zh": "错误：只在思考时用"},
    "many": {"en": "error: no calls are left", "zh": "错误：次数用完"},
}
_CALL = re.compile(r"<tool>((?:(?!</?tool>).)*)</tool>([^\n]*)\n?", re.DOTALL)


def reply(expression: str, lang: str) -> str:
    """An integer, a fraction in lowest terms, or an error in the prompt's language."""
    value = evaluate(expression)
    return ERRORS["expression"][lang] if value is None else str(value[0])


def pending(text: str, lang: str, calls: int, most_calls: int) -> str | None:
    """The reply to a response that ends in `</`, after `calls` earlier ones; None for any other."""
    if not text.endswith("</"):
        return None
    before, opened, expression = text.removesuffix("</").rpartition(OPEN)
    if not opened or CLOSE in expression:
        return ERRORS["closed"][lang]
    if THINK not in before or THINK_END in text:
        return ERRORS["outside"][lang]
    return ERRORS["many"][lang] if calls >= most_calls else reply(expression, lang)


def calls_in(text: str) -> list[tuple[str, str]]:
    """(expression, output) of each call of a response.

    >>> calls_in("<think><tool>3 * 5</tool>15\\nso 15</think><answer>15</answer>")
    [('3 * 5', '15')]
    """
    return _CALL.findall(text)


def without_calls(text: str) -> str:
    """The response without its calls and their outputs: what its language is judged on."""
    return _CALL.sub("", text)


def judge_by_rule(problem: Problem, response: str) -> Reward:
    """The core's rewards; calls and the summary behind the thought are allowed."""
    return score(problem, without_summary(without_calls(response)))


def pause_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Tokens that may complete `</`. (`</think>` is a single token that begins with `<`.)"""
    return tuple(i for i in tokenizer.ids_holding("/") if tokenizer.decode([i]).startswith("/"))


@dataclass
class _Row:
    """One response while it grows."""

    problem: Problem
    prompt_ids: list[int]
    ids: list[int] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    actions: list[bool] = field(default_factory=list)
    calls: int = 0
    running: bool = True
    stopped: bool = False

    def take(self, ids: list[int], logp: list[float], forced: bool, most: int) -> None:
        """Append tokens, up to `most` in all."""
        room = most - len(self.ids)
        self.ids += ids[:room]
        self.logp += logp[:room]
        self.actions += [not forced] * len(ids[:room])
        self.running = len(self.ids) < most


def roll_out_with_calculator(
    model: Transformer, tokenizer: Tokenizer, problems: list[Problem], group: int,
    settings: Sampling, stream: Stream = UNNAMED, sampler: Sampler = sample,
    most_calls: int = 6, prefix: str = "",
) -> Rollouts:
    """rollout.roll_out with a calculator: forced tokens are marked in `actions`.

    Works with any sampler of the core's signature. Raises ValueError for banned tokens: a row that
    is re-entered would forget that they have been freed.
    """
    if settings.ban_ids:
        raise ValueError("no banned tokens together with a calculator")
    prompt_ids = [tokenizer.encode(prompt(problem.question()) + prefix) for problem in problems]
    rows = [_Row(p, ids) for p, ids in zip(problems, prompt_ids) for _ in range(group)]
    paused = replace(settings, stop_ids=settings.stop_ids + pause_ids(tokenizer))
    _take_samples(rows, sampler(model, prompt_ids, group, paused, stream), settings)
    while True:
        for row in rows:
            if row.running:
                _answer_call(row, tokenizer, prefix, settings.max_tokens, most_calls)
        running = [row for row in rows if row.running]
        if not running:
            break
        again = [row.prompt_ids + row.ids for row in running]
        budget = _budget(running, again, settings.max_tokens, model.config.positions)
        some = replace(paused, max_tokens=budget)
        stream = Stream.of("after a call", *stream)  # tokens are counted afresh
        _take_samples(running, sampler(model, again, 1, some, stream), settings)
    response_ids = [row.ids for row in rows]
    texts = [prefix + text for text in tokenizer.decode_batch(response_ids)]
    rewards = [judge_by_rule(row.problem, text) for row, text in zip(rows, texts)]
    logp = [torch.tensor(row.logp) for row in rows]
    stopped = [row.stopped for row in rows]
    actions = [row.actions for row in rows]
    sampled = (problems, group, prompt_ids, response_ids, logp)
    return Rollouts(*sampled, texts, stopped, rewards, actions)


def _take_samples(rows: list[_Row], samples: Samples, settings: Sampling) -> None:
    """Append what was sampled; a row that neither stopped nor paused has used up its budget."""
    columns = (samples.ids_BT.tolist(), samples.logp_BT.tolist(), samples.length_B.tolist())
    for row, ids, logp, length in zip(rows, *columns):
        row.take(ids[:length], logp[:length], False, settings.max_tokens)
        row.stopped = row.ids[-1] in settings.stop_ids
        row.running &= not row.stopped


def _answer_call(row: _Row, tokenizer: Tokenizer, prefix: str, most: int, most_calls: int) -> None:
    """If a paused row has made a call: force the rest of the tag and the output into it."""
    text = prefix + tokenizer.decode(row.ids)
    output = pending(text, row.problem.lang, row.calls, most_calls)
    if output is not None:
        forced = tokenizer.encode(f"{CLOSE.removeprefix('</')}{output}\n")
        row.take(forced, [0.0] * len(forced), True, most)
        row.calls += 1


def _budget(rows: list[_Row], prompts: list[list[int]], most: int, positions: int) -> int:
    """Tokens for the next round: what any row may still write, where the longest prompt has room.

    In steps of 64, because an engine prepares for each budget.
    """
    left = max(most - len(row.ids) for row in rows)
    return min(most, -(-left // 64) * 64, positions - max(map(len, prompts)))
