"""Language and readability of responses, counted by rule.

Mixing: share of the words of a thought that are not in the prompt's language, and share of the thoughts with words of both
languages. Consistency (DESIGN.md section 9): share of the words in the prompt's language, averaged over the responses with at least
five words; responses without words are counted apart, because to say nothing is not to keep to a language.
"""

import re

from minir1.measure.behaviours import thought_of
from minir1.r1.data.curation import summary_in, without_summary
from minir1.transcript import Problem

_WORD = re.compile(r"[A-Za-z']+|[一-鿿]")
FEWEST = 5  # words of a response that counts for consistency


def spoken(response: str) -> str:
    """The words of a response: thought and summary, not the answer.

    >>> spoken("<think>3 + 5 = 8, yes</think>So 3 + 5 = 8.<answer>3 + 5</answer><|end|>")
    '3 + 5 = 8, yes So 3 + 5 = 8.'
    """
    return f"{thought_of(without_summary(response))} {summary_in(response)}".strip()


def count_words(text: str) -> tuple[int, int]:
    """(English words, Chinese characters).

    >>> count_words("wait, 3 + 5 不对")
    (1, 2)
    """
    words = _WORD.findall(text)
    chinese = sum(word >= "一" for word in words)
    return len(words) - chinese, chinese


def mixing(rows: list[tuple[Problem, str]]) -> dict[str, float]:
    """mixed: words of thoughts in the other language, of all their words. switched: thoughts with words of both, of all thoughts.

    language: consistency. wordless: responses without a word. few: those with one to four. By language of the prompt too.
    """
    found = {}
    for name, kept in (
        ("", rows),
        ("_en", [r for r in rows if r[0].lang == "en"]),
        ("_zh", [r for r in rows if r[0].lang == "zh"]),
    ):
        found |= {f"{key}{name}": value for key, value in _mixing(kept).items()}
    return found


def foreign_share(problem: Problem, response: str) -> tuple[float, float]:
    """(share of the thought's words in the other language, 1.0 if it has words of both); zeros without words.

    >>> from minir1.tasks.countdown import Countdown
    >>> foreign_share(Countdown((3, 5), 8), "<think>wait, 3 + 5 = 8，对</think><answer>3 + 5</answer><|end|>")
    (0.5, 1.0)
    """
    english, chinese = count_words(thought_of(without_summary(response)))
    foreign = english if problem.lang == "zh" else chinese
    return foreign / max(1, english + chinese), float(english > 0 and chinese > 0)


def _mixing(rows: list[tuple[Problem, str]]) -> dict[str, float]:
    words = foreign = switched = thoughts = wordless = few = 0
    shares = []
    for problem, text in rows:
        english, chinese = count_words(thought_of(without_summary(text)))
        thoughts += text.startswith("<think>")
        words += english + chinese
        foreign += english if problem.lang == "zh" else chinese
        switched += english > 0 and chinese > 0
        english, chinese = count_words(spoken(text))
        wordless += english + chinese == 0
        few += 0 < english + chinese < FEWEST
        if english + chinese >= FEWEST:
            shares.append((chinese if problem.lang == "zh" else english) / (english + chinese))
    n = max(1, len(rows))
    found = {"wordless": wordless / n, "few_words": few / n}
    found |= {"mixed": foreign / words} if words else {}
    found |= {"switched": switched / thoughts} if thoughts else {}
    return found | ({"language": sum(shares) / len(shares)} if shares else {})
