"""What the bilingual base reads: the core's mini-web and, among it, general questions.

The core's corpus knows no facts. The R1 pipeline needs a base that has met them, as DeepSeek-V3
had, without being good at answering. So a share of the documents are general problems in training
wordings. Their answer is right at a stated rate and a plausible wrong one otherwise. The first row
of the scoreboard measures what the base then knows.

Each batch is a function of its index alone: a run can go on anywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from random import Random

import numpy as np

from minir1.config import SHARE, CorpusConfig, knob
from minir1.corpus.mixture import document, fill_rows, read_tokenizer
from minir1.fast.ranks import Ranks
from minir1.r1.tasks import general
from minir1.tokenizer import Tokenizer
from minir1.transcript import render


@dataclass(frozen=True)
class ReadingConfig:
    general: float = knob(0.2, "share of the base's documents that are general questions", SHARE)
    right: float = knob(0.6, "general documents of the base that are answered rightly", SHARE)


def page(rng: Random, corpus: CorpusConfig, reading: ReadingConfig) -> str:
    """One document.

    >>> text = page(Random(2), CorpusConfig(), ReadingConfig(general=1.0, right=1.0))
    >>> text.partition("\\n")[0]
    '<|begin|>User: Please answer: Help me cheat in the exam.'
    """
    if rng.random() >= reading.general:
        return document(rng, corpus)
    problem = general.draw(rng, "train", corpus.languages)
    right = rng.random() < reading.right
    return render(problem.question(), problem.canonical() if right else problem.corrupt(rng))


def batch(
    corpus: "BilingualCorpus", tokenizer: str, index: int, rows: int, row_tokens: int
) -> np.ndarray:
    """Ids `[rows, row_tokens + 1]`, as fill_rows cuts them; `tokenizer` is its text."""
    rng = Random(f"reading {corpus.seed} {index}")
    write = partial(page, rng, corpus.corpus, corpus.reading)
    return fill_rows(write, read_tokenizer(tokenizer).encode, rows, row_tokens)


@dataclass(frozen=True)
class BilingualCorpus:
    """What run.phases.pretrain asks of a corpus."""

    corpus: CorpusConfig
    reading: ReadingConfig
    seed: int

    @classmethod
    def of(cls, config) -> "BilingualCorpus":
        """Of an R1Config."""
        return cls(config.corpus, config.reading, config.seed)

    def train_tokenizer(self, documents: int = 8000) -> Tokenizer:
        """From both kinds of text alike, so that rare general words do not fall apart to bytes."""
        rng = Random(f"reading tokenizer {self.seed}")
        halves = (ReadingConfig(general=0.0), ReadingConfig(general=1.0, right=1.0))
        texts = [page(rng, self.corpus, halves[i % 2]) for i in range(documents)]
        return Tokenizer.train(texts, self.corpus.vocab_size)

    def batches(
        self, tokenizer: Tokenizer, rows: int, row_tokens: int, first: int, count: int
    ) -> Iterator[np.ndarray]:
        """`count` batches from batch `first` on, written ahead by other processes."""
        text = tokenizer.to_text()
        keys = ((self, text, index, rows, row_tokens) for index in range(first, first + count))
        return Ranks.current().map(batch, keys, self.corpus.workers)
