"""Rewards by rule: text in, Reward out. No neural reward model, so nothing to talk round.

The R1 report (section 2.2): accuracy and format rewards; section 2.3 adds the share of words in the
prompt's language (Eq. 7). Deviation: (1) format weighs a tenth of accuracy by default, because a
small model could live on format alone.

>>> from minir1.tasks.countdown import Countdown
>>> score(Countdown((3, 5), 8), "<think>3 + 5 = 8, yes</think><answer>3 + 5</answer><|end|>")
Reward(accuracy=1.0, format=1.0, language=1.0)
"""

import re
from typing import NamedTuple

from minir1.config import RLConfig
from minir1.tasks import Problem
from minir1.transcript import parse

WORD = re.compile(r"[A-Za-z']+")
CHINESE = re.compile("[一-鿿]")


class Reward(NamedTuple):
    accuracy: float  # 1.0 if the verifier accepts the answer of a well-formed response
    format: float  # 1.0 if the response is well formed and ended by itself
    # share of the thought's words that are in the prompt's language; 1.0 without words
    language: float

    def total(self, config: RLConfig) -> float:
        weights = (config.accuracy_reward, config.format_reward, config.language_reward)
        return sum(weight * part for weight, part in zip(weights, self))


def count_words(text: str) -> tuple[int, int]:
    """(English words, Chinese characters): each character counts as a word."""
    return len(WORD.findall(text)), len(CHINESE.findall(text))


def language_share(text: str, lang: str) -> float | None:
    """Share of words in `lang`. None if there are no words.

    >>> language_share("wait, 3 + 5 不对", "en")
    0.3333333333333333
    """
    english, chinese = count_words(text)
    words = english + chinese
    return (chinese if lang == "zh" else english) / words if words else None


def score(problem: Problem, response: str, parse=parse) -> Reward:
    """Judge one response, prefix included. Total: any text gets a Reward."""
    thought, answer, well_formed = parse(response)
    right = well_formed and answer is not None and problem.verify(answer)
    foreign = problem.lang == "zh" or not (thought or "").isascii()  # words in ASCII are English
    share = language_share(thought, problem.lang) if foreign and thought else None
    return Reward(float(right), float(well_formed), 1.0 if share is None else share)
