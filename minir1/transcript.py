"""The prompt and the tags: the only module that knows them.

The paper's Table 1 in miniature. The prompt ends in "Assistant:"; choosing to think is part of
what reinforcement learning finds.

    <|begin|>User: Use 19, 36, 55, 7 to make 65.
    Assistant:<think>36 + 55 = 91, not 65 ...</think><answer>55 + 36 - 19 - 7</answer><|end|>

>>> parse("<think>1 + 1 = 2, yes</think><answer>1 + 1</answer><|end|>")
Transcript(think='1 + 1 = 2, yes', answer='1 + 1', well_formed=True)
>>> parse("<answer>1 + 1</answer><|end|>").well_formed, parse("it is 2<|end|>").answer
(True, None)
"""

import re
from typing import NamedTuple, Protocol

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
THINK, THINK_END = "<think>", "</think>"
ANSWER, ANSWER_END = "<answer>", "</answer>"
SPECIAL_TOKENS = (PAD, BEGIN, END, THINK, THINK_END, ANSWER, ANSWER_END)

_SHAPE = re.compile(r"(?:<think>(.*?)</think>)?\s*<answer>([^<>]*)</answer>(.*)", re.DOTALL)


class Transcript(NamedTuple):
    think: str | None  # None: answered without thinking
    answer: str | None  # None: there is no (single) answer
    well_formed: bool  # optional thinking, one answer, then the end token; nothing else


class Template(Protocol):
    """How a question is put, and how a response is read. This module is the paper's template.

    Where a response ends is the tokenizer's: TextCodec.end_ids.
    """

    def prompt(self, question: str) -> str: ...

    def parse(self, response: str) -> Transcript: ...


def prompt(question: str) -> str:
    """The text a model continues.

    >>> prompt("2 + 2 =")
    '<|begin|>User: 2 + 2 =\\nAssistant:'
    """
    return f"{BEGIN}User: {question}\nAssistant:"


def render(question: str, answer: str, think: str | None = None) -> str:
    """A whole document: prompt and response."""
    thought = "" if think is None else f"{THINK}{think}{THINK_END}"
    return f"{prompt(question)}{thought}{ANSWER}{answer}{ANSWER_END}{END}"


def parse(response: str) -> Transcript:
    """Read a response. Total: any text gives a Transcript."""
    ended = response.endswith(END)
    match = _SHAPE.fullmatch(response.removesuffix(END)) if response.count(ANSWER) == 1 else None
    if match is None or response.count(THINK) > 1:
        return Transcript(open_thought(response), None, False)
    stray = any(map((match[1] or "").__contains__, SPECIAL_TOKENS))
    return Transcript(match[1], match[2].strip(), ended and not match[3].strip() and not stray)


def open_thought(response: str) -> str | None:
    """From <think> to </think> or to the end; None if <think> does not open the response."""
    if not response.startswith(THINK):
        return None
    return response.removeprefix(THINK).split(THINK_END)[0].removesuffix(END)
