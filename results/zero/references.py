"""The references of README.md: python results/zero/references.py"""

from random import Random

from minir1.checkpoint import load_checkpoint
from minir1.config import Habits
from minir1.corpus.mixture import sample_text
from minir1.corpus.writers.plain import write_trace
from minir1.experiments.tables.problems import held_out
from minir1.measure.baselines import lookahead, perfect_writer
from minir1.measure.evaluator import many_problems
from minir1.presets import PRESETS
from minir1.tasks.countdown import sample
from minir1.tokenizer import Tokenizer

SYSTEMATIC = {"systematic": 1.0, "persistence": 0.0, "backtracking": 1.0, "most_attempts": 10**6}


def look_ahead() -> None:
    _, tokenizer = load_checkpoint("minir1/data/zero-cpu.pt")
    problems = many_problems(("countdown:3to4=1",), ("en",), "test", "test", 300)
    print("look-ahead, 1,024 tokens:", lookahead(problems, tokenizer, 1024))
    print("look-ahead, 41 states:", lookahead(problems, tokenizer, 10**9, 41))


def systematic_writer() -> None:
    _, tokenizer = load_checkpoint("minir1/data/base-gpu.pt")
    for small_first in (0.0, 1.0):
        rng = Random(1)
        habits = Habits(small_first=small_first, **SYSTEMATIC)
        puzzles = (sample(rng, "sos4", "validation") for _ in range(1000))
        traces = [write_trace(rng, p.numbers, p.target, habits, "en", None) for p in puzzles]
        lengths = [len(tokenizer.encode(t.thought)) for t in traces if t.solved]
        shares = [sum(n <= budget for n in lengths) / 1000 for budget in (256, 512, 980)]
        print(f"systematic writer, small first steps first {small_first}:", shares)


def perfect_writers() -> None:
    corpus = PRESETS["best"].corpus
    tokenizer = Tokenizer.train(sample_text(corpus, 0, 5000), corpus.vocab_size)
    for name in ("3to4", "sos4", "rg-easy", "rg-hard"):
        problems = held_out(name, 500)
        for writer in ("plain", "goal_directed"):
            budgets = (256, 512, 1024, 2048)
            right = [perfect_writer(problems, tokenizer, b, writer)["accuracy"] for b in budgets]
            print(f"perfect writer, {name}, {writer}:", right)


if __name__ == "__main__":
    look_ahead()
    systematic_writer()
    perfect_writers()
