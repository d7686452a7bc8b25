"""A reference that is computed, not trained: the corpus's own writer, who never errs, never tires and knows no budget.

The base has read thoughts of writers that mostly gave up. What a policy would solve that wrote exactly as they do, without a
mistake and until it is right, says how much of a result lies in the notation, and what is still missing is the model's.
"""

from importlib import import_module
from random import Random

from minir1.config import Habits
from minir1.tasks import Problem
from minir1.tasks.countdown import Countdown
from minir1.tokenizer import Tokenizer
from minir1.transcript import prompt, render

TIRELESS = Habits(systematic=1.0, persistence=0.0, backtracking=1.0, small_first=1.0, verification=1.0, most_attempts=10**9)


def perfect_writer(problems: list[Problem], tokenizer: Tokenizer, budget: int, writer: str) -> dict[str, float]:
    """The share of Countdown problems that `writer` (config.CorpusConfig.writer) solves within `budget` tokens, answer included."""
    rng, write, right, tokens, by_count = Random("perfect writer"), import_module(f"minir1.corpus.writers.{writer}").write_trace, [], [], {}
    for problem in problems:
        if isinstance(problem, Countdown) and len(problem.numbers) > 2:
            trace = write(rng, problem.numbers, problem.target, TIRELESS, problem.lang, None)
            document = render(problem.question(), trace.answer, trace.thought)
            used = len(tokenizer.encode(document)) - len(tokenizer.encode(prompt(problem.question())))
            right.append(trace.solved and used <= budget)
            tokens.append(min(used, budget))
            by_count.setdefault(len(problem.numbers), []).append(right[-1])
    return {
        "accuracy": sum(right) / max(1, len(right)),
        "n": len(right),
        "length": sum(tokens) / max(1, len(tokens)),
        **{f"accuracy_{k}": sum(v) / len(v) for k, v in sorted(by_count.items())},
    }
