from random import Random

from minir1.corpus.writers import plain
from minir1.tasks import Problem, countdown
from minir1.tokenizer import Tokenizer


def blind(problems: list[Problem], tokenizer: Tokenizer, budget: int, attempts: dict[int, float] | None = None) -> dict[str, float]:
    """Blind search: random attempts, written and checked as the corpus writes them, until one hits.

    Stops after `budget` tokens or, when given, after `attempts[how many numbers]` attempts. Needs no training.
    """
    rng, right, tokens, tried, hits, by_count = Random("blind"), [], [], 0, 0, {}
    puzzles = [p for p in problems if isinstance(p, countdown.Countdown)]
    for problem in puzzles:
        used, solved, n = 3, False, 0
        limit = (attempts or {}).get(len(problem.numbers), float("inf"))
        while not solved and n < limit:
            steps = plain.random_attempt(rng, problem.numbers)
            line = f"\nwait, {', '.join(map(str, steps))}, not {problem.target}"
            used += len(tokenizer.encode(line))
            if used > budget:
                break
            n, solved = n + 1, steps[-1].value == problem.target
        tried, hits = tried + n, hits + solved
        right.append(solved)
        tokens.append(min(used, budget))
        by_count.setdefault(len(problem.numbers), []).append(solved)
    return {
        "accuracy": sum(right) / max(1, len(right)),
        "n": len(right),
        "length": sum(tokens) / max(1, len(tokens)),
        "hit_rate": hits / max(1, tried),
        **{f"accuracy_{k}": sum(v) / len(v) for k, v in sorted(by_count.items())},
    }


def blind_hit_rates(problems: list[Problem], repeats: int = 40) -> dict[str, float]:
    """Chance that one random attempt hits, by count of numbers."""
    rng, found = Random("blind hits"), {}
    for p in problems:
        if isinstance(p, countdown.Countdown):
            hits = sum(plain.random_attempt(rng, p.numbers)[-1].value == p.target for _ in range(repeats))
            found.setdefault(len(p.numbers), []).append(hits / repeats)
    return {f"hit_rate_{k}": sum(v) / len(v) for k, v in sorted(found.items())}
