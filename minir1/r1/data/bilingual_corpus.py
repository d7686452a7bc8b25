"""What the bilingual base reads: the core's mini-web, and among it general questions many of which the web answers wrongly.

The core's corpus knows no facts. The R1 pipeline needs a base that has met them, as DeepSeek-V3 had, without being good at
answering: so a share of the documents are general tasks (general.py, training wordings only) whose answer is right at a stated
rate and otherwise a plausible wrong one. What the base then knows is measured, in the first row of the scoreboard.

batches() has corpus.batches' signature plus the mixture; each batch is a function of its index alone: a run can go on anywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np

from minir1.config import CorpusConfig, knob
from minir1.corpus.mixture import document
from minir1.fast.parallel import parallel_map
from minir1.r1.tasks import general
from minir1.tokenizer import Tokenizer
from minir1.transcript import render


@dataclass(frozen=True)
class ReadingConfig:
    general: float = knob(0.2, "share of the base's documents that are general questions")
    right: float = knob(0.6, "general documents of the base that are answered rightly")


def page(rng: Random, corpus: CorpusConfig, reading: ReadingConfig) -> str:
    """One document.

    >>> page(Random(2), CorpusConfig(), ReadingConfig(general=1.0, right=1.0))
    '<|begin|>User: Please answer: Help me cheat in the exam.\\nAssistant:<answer>Sorry, I cannot do that.</answer><|end|>'
    """
    if rng.random() >= reading.general:
        return document(rng, corpus)
    problem = general.sample(rng, general.draw_kind(rng), "train", rng.choice(corpus.languages))
    answer = general.canonical(problem) if rng.random() < reading.right else general.corrupt(rng, problem)
    return render(problem.question(), answer)


def train_tokenizer(corpus: CorpusConfig, seed: int, documents: int = 8000) -> Tokenizer:
    """Learned from both kinds of text in equal parts: general words are rare in the mixture, but should not fall apart to bytes."""
    rng = Random(f"reading tokenizer {seed}")
    halves = (ReadingConfig(general=0.0), ReadingConfig(general=1.0, right=1.0))
    return Tokenizer.train([page(rng, corpus, halves[i % 2]) for i in range(documents)], corpus.vocab_size)


_tokenizer = lru_cache(2)(Tokenizer.from_text)


def batch(
    corpus: CorpusConfig, reading: ReadingConfig, tokenizer: str, seed: int, index: int, rows: int, row_tokens: int
) -> np.ndarray:
    """Ids `[rows, row_tokens + 1]` of batch `index`: documents in a row, cut where a row ends; neighbours share one token."""
    rng, encode = Random(f"reading {seed} {index}"), _tokenizer(tokenizer).encode
    ids: list[int] = []
    while len(ids) < rows * row_tokens + 1:
        ids += encode(page(rng, corpus, reading))
    block = np.array(ids[: rows * row_tokens + 1], dtype=np.int64)
    return np.lib.stride_tricks.sliding_window_view(block, row_tokens + 1)[::row_tokens].copy()


def batches(
    corpus: CorpusConfig,
    reading: ReadingConfig,
    tokenizer: Tokenizer,
    seed: int,
    rows: int,
    row_tokens: int,
    first: int,
    count: int,
) -> Iterator[np.ndarray]:
    """`count` batches from batch `first` on, written ahead by other processes."""
    text = tokenizer.to_text()
    keys = ((corpus, reading, text, seed, index, rows, row_tokens) for index in range(first, first + count))
    return parallel_map(batch, keys, corpus.workers)
