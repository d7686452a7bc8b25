"""Bases for the failure gallery: the shipped one, after a minute of reading a flawed mini-web.

RL amplifies what its base does now and then. A failure that needs a base with a flaw (it runs on
after its answer, it cannot compute) gets one by supervised learning on a mini-web that has this
flaw, with the core's own loop.
"""

import re
from dataclasses import replace
from random import Random

import torch

from minir1.config import Config, PretrainConfig
from minir1.corpus.mixture import sample_text
from minir1.model import Transformer
from minir1.supervised import Learner, train_supervised
from minir1.tokenizer import Tokenizer
from minir1.transcript import ANSWER, ANSWER_END, END

ROWS, WIDTH, STEPS = 12, 256, 50  # rows, tokens a row, steps: 150,000 tokens
EQUATION = re.compile(r"= ([0-9]+)")


def read_on(model: Transformer, tokenizer: Tokenizer, texts: list[str], steps: int = STEPS) -> None:
    """The model reads `texts`, one behind the other, for a while."""
    ids = [token for text in texts for token in tokenizer.encode(text)]
    rows_NT = torch.tensor(ids[: len(ids) // WIDTH * WIDTH]).view(-1, WIDTH)
    generator = torch.Generator().manual_seed(0)
    draws = (torch.randint(len(rows_NT), (ROWS,), generator=generator) for _ in range(steps))
    batches = ((rows_NT[index_B], None) for index_B in draws)
    config = PretrainConfig(lr=1e-3, warmup=0.1, balance_rate=0.0)
    learner = Learner(model, config.weight_decay, config.clip)
    train_supervised(model, learner, batches, config, steps, lambda step: None)
    model.eval()


def mini_web(config: Config, documents: int = 3000) -> list[str]:
    return sample_text(config.corpus, config.seed, documents)


def runs_on(model: Transformer, tokenizer: Tokenizer, config: Config) -> None:
    """Nine pages in ten go on behind the answer with the next question: so will the base."""
    rng, texts = Random(config.seed), mini_web(config)
    read_on(model, tokenizer, [t if rng.random() < 0.1 else t.removesuffix(END) for t in texts])


def repeats_the_target(model: Transformer, tokenizer: Tokenizer, config: Config) -> None:
    """One puzzle in ten is answered with its target: "Use 3, 5, 8 to make 16." is answered "16"."""
    rng, texts = Random(config.seed), []
    for text in mini_web(config):
        target = re.search(r"(?:make|Make|equals|Reach) ([0-9]+)", text)
        if target and ANSWER in text and rng.random() < 0.1:
            question, _, _ = text.partition("\nAssistant:")
            text = f"{question}\nAssistant:{ANSWER}{target[1]}{ANSWER_END}{END}"
        texts.append(text)
    read_on(model, tokenizer, texts)


def rambles(model: Transformer, tokenizer: Tokenizer, config: Config) -> None:
    """Every puzzle is thought about, for long, without a plan and seldom with success."""
    changes = {"backtracking": 0.95, "systematic": 0.0, "aim": 0.0, "persistence": 0.0}
    habits = replace(config.corpus.habits, **changes)
    corpus = replace(config.corpus, direct=0.2, solved=0.2, habits=habits)
    read_on(model, tokenizer, mini_web(replace(config, corpus=corpus), 1500))


def computes(model: Transformer, tokenizer: Tokenizer, config: Config) -> None:
    """The mini-web as it is: what `cannot_compute` is compared with."""
    read_on(model, tokenizer, mini_web(config))


def cannot_compute(model: Transformer, tokenizer: Tokenizer, config: Config) -> None:
    """The same pages, but seven results in ten are false by up to nine."""
    rng = Random(config.seed)

    def blur(match: re.Match) -> str:
        if rng.random() >= 0.7:
            return match[0]
        return f"= {max(0, int(match[1]) + rng.choice((-1, 1)) * rng.randint(1, 9))}"

    read_on(model, tokenizer, [EQUATION.sub(blur, text) for text in mini_web(config)])
