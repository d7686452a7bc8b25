"""t"""
from random import Random
from typing import Any

from minir1.config import UserError

Problem=Any

def parse_tasks(tasks: tuple[str, ...]) -> list[tuple[str, str, float]]:
    """("countdown:3to4=0.8", ...) as (task, kind, share). Raises UserError for anything else."""
    from minir1.tasks import arithmetic, countdown
    parsed = []
    for text in tasks:
        name, _, share = text.partition("=")
        task, _, kind = name.partition(":")
        known = {"countdown": countdown.DISTRIBUTIONS, "arithmetic": arithmetic.KINDS}.get(task, ())
        try:
            parsed.append((task, kind, float(share or 1)))
        except ValueError:
            raise UserError(f"--rl.tasks: {text!r} should read like countdown:3to4=0.8") from None
        if kind not in known:
            names = "|".join(countdown.DISTRIBUTIONS)
            raise UserError(f"--rl.tasks: no task {name!r}; there are countdown:{names} and arithmetic:KIND")
    return parsed


def draw_problems(tasks: tuple[str, ...], languages: tuple[str, ...], split: str, key: str, count: int) -> list[Problem]:
    """`count` problems of a mixture; `key` is the seed."""
    from minir1.tasks import arithmetic, countdown
    rng, parsed = Random(key), parse_tasks(tasks)
    weights = [share for _, _, share in parsed]
    problems = []
    for _ in range(count):
        task, kind, _ = rng.choices(parsed, weights)[0]
        module = countdown if task == "countdown" else arithmetic
        problems.append(module.sample(rng, kind, split, rng.choice(languages)))
    return problems


