"""The languages of a response, counted by rule.

Mixing: the share of a thought's words that are not in the prompt's language, and the share of
thoughts with words of both languages. Consistency: the share of words in the prompt's language,
averaged over the responses with at least five words. Responses without words are counted apart,
because to say nothing is not to keep to a language.
"""

from minir1 import rewards
from minir1.measure.attempts import thought_of
from minir1.r1.data.curation import summary_in, without_summary
from minir1.tasks import Problem

FEWEST = 5  # words of a response that counts for consistency


def spoken(response: str) -> str:
    """The words of a response: thought and summary, not the answer.

    >>> spoken("<think>3 + 5 = 8, yes</think>So 3 + 5 = 8.<answer>3 + 5</answer><|end|>")
    '3 + 5 = 8, yes So 3 + 5 = 8.'
    """
    return f"{thought_of(without_summary(response))} {summary_in(response)}".strip()


def count_words(text: str, lang: str) -> tuple[int, int]:
    """(words in `lang`, words in the other language); a Chinese character counts as a word.

    >>> count_words("wait, 3 + 5 不对", "en"), count_words("wait, 3 + 5 不对", "zh")
    ((1, 2), (2, 1))
    """
    english, chinese = rewards.count_words(text)
    return (chinese, english) if lang == "zh" else (english, chinese)


def thought_words(problem: Problem, response: str) -> tuple[int, int]:
    """count_words of the thought."""
    return count_words(thought_of(without_summary(response)), problem.lang)


def foreign_share(problem: Problem, response: str) -> tuple[float, float]:
    """(share of the thought's words in the other language, 1.0 if it has both). No words: zeros.

    >>> from minir1.tasks.countdown import Countdown
    >>> response = "<think>wait, 3 + 5 = 8，对</think><answer>3 + 5</answer><|end|>"
    >>> foreign_share(Countdown((3, 5), 8), response)
    (0.5, 1.0)
    """
    own, foreign = thought_words(problem, response)
    return foreign / max(1, own + foreign), float(own > 0 and foreign > 0)


def mixing(rows: list[tuple[Problem, str]]) -> dict[str, float]:
    """Of all responses and, with _en or _zh behind the name, of those to prompts in one language:

    mixed: share of the thoughts' words that are in the other language. switched: share of thoughts
    with words of both. language: consistency. wordless: responses without a word. few_words: those
    with one to four. A share of nothing is left out.
    """
    metrics = {}
    for ending, languages in (("", ("en", "zh")), ("_en", ("en",)), ("_zh", ("zh",))):
        part = [row for row in rows if row[0].lang in languages]
        metrics |= {f"{name}{ending}": value for name, value in _mixing(part).items()}
    return metrics


def _mixing(rows: list[tuple[Problem, str]]) -> dict[str, float]:
    thoughts = [thought_words(*row) for row in rows]
    whole = [count_words(spoken(text), problem.lang) for problem, text in rows]
    words, count = sum(map(sum, thoughts)), sum(text.startswith("<think>") for _, text in rows)
    shares = [own / (own + foreign) for own, foreign in whole if own + foreign >= FEWEST]
    metrics = {
        "wordless": sum(sum(counts) == 0 for counts in whole) / max(1, len(rows)),
        "few_words": sum(0 < sum(counts) < FEWEST for counts in whole) / max(1, len(rows)),
    }
    if words:
        metrics["mixed"] = sum(foreign for _, foreign in thoughts) / words
    if count:
        metrics["switched"] = sum(own > 0 and foreign > 0 for own, foreign in thoughts) / count
    if shares:
        metrics["language"] = sum(shares) / len(shares)
    return metrics
