"""The mini-web: the documents a base model reads, in a stated mixture.

Reinforcement learning amplifies what the base already does now and then. So the corpus is an
experiment's independent variable: each habit of thought has a rate in `config.Habits`, and
`python -m minir1 corpus` measures the rates on the text itself. No question of the validation or
test split is ever written (a step inside another problem's working does not count).

>>> document(Random(0), CorpusConfig())[:39]
'<|begin|>User: How much is 33936 plus 6'
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib import import_module
from itertools import starmap
from random import Random
from types import ModuleType

import numpy as np

from minir1.config import CorpusConfig, Habits
from minir1.corpus.writers import plain
from minir1.tasks import arithmetic, countdown
from minir1.tasks.countdown import DISTRIBUTIONS, Countdown, Step, split_of
from minir1.tokenizer import TextCodec, Tokenizer
from minir1.transcript import BEGIN, END, render


def document(rng: Random, config: CorpusConfig) -> str:
    """One document of the mixture, from its begin to its end token."""
    lang = config.languages[int(rng.random() * len(config.languages))]
    draw = rng.random() - config.share_countdown
    if draw < 0:
        return countdown_document(rng, config, lang)
    draw -= config.share_arithmetic
    if draw < 0:
        return arithmetic_document(rng, config, lang)
    if draw < config.share_equations:
        return equations_document(rng, config)
    return general_document(rng, lang)


def countdown_document(rng: Random, config: CorpusConfig, lang: str) -> str:
    """A puzzle, answered at once (often wrongly) or thought about: try, check, retry or give up."""
    habits: Habits = config.habits_zh if lang == "zh" else config.habits
    problem, plan = _puzzle(rng, config, lang)
    numbers, target = problem.numbers, problem.target
    if rng.random() < config.direct:
        steps = plan or plain.random_attempt(rng, numbers)
        return render(problem.question(), countdown.compose(numbers, steps))
    trace = writer(config.writer).write_trace(rng, numbers, target, habits, lang, plan)
    return render(problem.question(), trace.answer, trace.thought)


def _puzzle(rng: Random, config: CorpusConfig, lang: str) -> tuple[Countdown, list[Step] | None]:
    """A puzzle of the training split and, for some, a solution. The others may have none."""
    names = config.countdown.split(",")
    kind = DISTRIBUTIONS[rng.choice(names) if len(names) > 1 else names[0]]
    while True:
        count, target = rng.choice(kind.counts), rng.randint(*kind.targets)
        count = 2 if rng.random() < config.pairs else count
        if count == 2 or rng.random() < config.solved:
            # pairs are what is left before a last step: larger numbers too
            highest = 3 * kind.highest if count == 2 else kind.highest
            planned = plain.planned_attempt(rng, count, highest, target)
            if planned is None:
                continue
            numbers, plan = planned
        else:
            plan = None
            numbers = tuple(1 + int(rng.random() * kind.highest) for _ in range(count))
        problem = Countdown(numbers, target, lang)
        if problem.split() == "train":
            return problem, plan


def writer(name: str) -> ModuleType:
    """The module of a writer of thoughts (`write_trace`) or of sums (`working`)."""
    return import_module(f"minir1.corpus.writers.{name}")


def arithmetic_document(rng: Random, config: CorpusConfig, lang: str) -> str:
    kind = arithmetic.KINDS[int(rng.random() * len(arithmetic.KINDS))]
    problem, parts = arithmetic.sample_with_parts(rng, kind, "train", lang)
    think = None if rng.random() < config.arithmetic_direct else writer(config.sums).working(parts)
    return render(problem.question(), problem.answer, think)


def equations_document(rng: Random, config: CorpusConfig) -> str:
    """True equations of the size that Countdown needs: where the base learns to compute."""
    highest = DISTRIBUTIONS[config.countdown.partition(",")[0]].highest
    lines = []
    while len(lines) < 8:
        reach = highest if rng.random() < 0.6 else 8 * highest
        x, y = 1 + int(rng.random() * reach), 1 + int(rng.random() * highest)
        options = countdown.steps_of(x, y)
        step = options[int(rng.random() * len(options))]
        key = arithmetic.canonical([step.a, step.operator, step.b])
        if split_of(f"arithmetic {key}") == "train":
            lines.append(str(step))
    return f"{BEGIN}{', '.join(lines)}{END}"


_EN = "sun river stone apple green quiet seven paper light house bird road"
_ZH = "太阳 河流 石头 苹果 绿色 安静 纸张 灯光 房子 小鸟 道路 雨水"
WORDS = {"en": _EN.split(), "zh": _ZH.split()}
QUESTIONS = {
    "en": (
        "Which is larger, {a} or {b}?", "How many words: {w}?", "Repeat: {w}",
        "What is the last word of: {w}?", "Hello",
    ),
    "zh": ("{a}和{b}哪个大？", "有几个词：{w}？", "重复：{w}", "最后一个词是什么：{w}？", "你好"),
}


HELLO = {"en": "Hello, what shall we work on?", "zh": "你好，我们做什么？"}


def general_document(rng: Random, lang: str) -> str:
    """Small questions of other kinds, so that the base is not a puzzle machine only."""
    words = rng.sample(WORDS[lang], rng.randint(2, 4))
    a, b = rng.randrange(1000), rng.randrange(1000)
    listed = (" " if lang == "en" else "、").join(words)
    answers = (max(a, b), len(words), listed, words[-1], HELLO[lang])
    which = rng.randrange(len(answers))
    return render(QUESTIONS[lang][which].format(a=a, b=b, w=listed), str(answers[which]))


# ---------------------------------------------------------------- shards


def sample_text(config: CorpusConfig, seed: int, documents: int) -> list[str]:
    rng = Random(f"corpus sample {seed}")
    return [document(rng, config) for _ in range(documents)]


def shard(
    config: CorpusConfig, tokenizer_text: str, seed: int, index: int, document=document
) -> np.ndarray:
    """`shard_tokens` token ids of shard `index`; the same wherever and whenever it is made.

    `document(rng, config)` writes one document, or several that belong together.
    """
    rng, tokenizer = Random(f"corpus {seed} {index}"), read_tokenizer(tokenizer_text)
    ids: list[int] = []
    while len(ids) < config.shard_tokens:
        ids += tokenizer.encode(document(rng, config))
    return np.array(ids[: config.shard_tokens], dtype=id_type(tokenizer))


def id_type(tokenizer: TextCodec) -> type:
    """The smallest type that holds every id."""
    return np.uint16 if len(tokenizer) <= 2**16 else np.int32


read_tokenizer = lru_cache(2)(Tokenizer.from_text)  # in each process: its cache is worth keeping


def batches(
    config: CorpusConfig, tokenizer: TextCodec, seed: int, rows: int, row_tokens: int, first: int,
    count: int, run=starmap, shard=shard,
) -> Iterator[np.ndarray]:
    """`count` batches `[rows, row_tokens + 1]` from batch `first` on.

    Neighbours share one token, documents run on. `run` writes the shards: starmap one by one,
    minir1.fast.parallel.parallel_map ahead and on several cores.
    """
    need, text = rows * row_tokens, tokenizer.to_text()
    first_shard, offset = divmod(first * need, config.shard_tokens)
    wanted = -(-(offset + count * need + 1) // config.shard_tokens)
    keys = ((config, text, seed, first_shard + i) for i in range(wanted))

    def cut(shards: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        buffer, skipped, written = np.empty(0, id_type(tokenizer)), offset, 0
        for piece in shards:
            buffer, skipped = np.concatenate([buffer, piece])[skipped:], 0
            while len(buffer) > need and written < count:
                yield rows_of(buffer[: need + 1], row_tokens)
                buffer, written = buffer[need:], written + 1

    return cut(run(shard, keys))  # which may begin at once


def rows_of(ids: np.ndarray, row_tokens: int) -> np.ndarray:
    """Ids in a row as rows `[rows, row_tokens + 1]` of which neighbours share one token."""
    windows = np.lib.stride_tricks.sliding_window_view(ids, row_tokens + 1)
    return windows[::row_tokens].astype(np.int64)


def fill_rows(write: Callable[[], str], encode, rows: int, row_tokens: int) -> np.ndarray:
    """`[rows, row_tokens + 1]` ids of documents in a row, cut where the last row ends."""
    ids: list[int] = []
    while len(ids) < rows * row_tokens + 1:
        ids += encode(write())
    return rows_of(np.array(ids[: rows * row_tokens + 1]), row_tokens)
