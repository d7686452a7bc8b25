"""Does RL create, or only amplify? The measurements of the study `create`.

A base that has read few harder puzzles, or none, is trained by several recipes ("arms"). Base and
policies answer the same held-out harder puzzles, many times each. What is kept are counts a puzzle,
so that anyone can compute pass@k and its interval again.

>>> written = "<think>3 + 5 = 8, 8 * 4 = 32, yes</think><answer>(3 + 5) * 4</answer>"
>>> thought_through(Countdown((3, 5, 4), 32), written), shape("(3 + 5) * 4")
(True, '(x.x).x')
"""

import re
from collections import Counter
from functools import partial

from minir1.config import replace
from minir1.experiments.studies.hooks import random_reward
from minir1.experiments.studies.rejection import rejection_sft
from minir1.measure.attempts import attempts_of, thought_of
from minir1.measure.baselines import hit_chance
from minir1.model import Transformer
from minir1.run.phases import Parts, RLPhase, training_problems
from minir1.run.session import Session
from minir1.tasks import draw_problems
from minir1.tasks.countdown import Countdown
from minir1.transcript import THINK, parse
from train_zero import reinforce

CONTROLS = {"coin", "rejection_sft"}
TEMPERATURES = (0.7, 1.4)  # of the base, beside 1


def thought_through(problem: Countdown, response: str) -> bool:
    """Whether the last attempt of the thought reaches the target, all of its steps being true."""
    attempts = attempts_of(problem, thought_of(response))
    return bool(attempts) and attempts[-1].hit and not attempts[-1].wrong_steps


def shape(answer: str) -> str:
    """An expression without its numbers and operators, as written."""
    return re.sub(r"[-+*/]", ".", re.sub(r"\d+", "x", answer)).replace(" ", "")


def counts(
    session: Session, model: Transformer, kind: str, temperature: float = 1.0, forced: bool = False
) -> dict:
    """How often each held-out puzzle is answered right, and right by its thought.

    Lists have an entry a puzzle. `forced`: the model must think until it says yes.
    """
    config = session.config
    samples, split = 8 if config.preset == "smoke" else 1024, "validation"
    where = (f"countdown:{kind}=1",), ("en",), split, f"create {split}"
    problems = draw_problems(*where, config.eval.problems)
    evaluator = session.evaluator(session.sampler(model))
    settings = evaluator.forced_settings() if forced else evaluator.settings
    how = (samples, config.seed, replace(settings, temperature=temperature), THINK * forced)
    right, thought, tokens, shapes = [], [], 0, Counter()
    for rollouts in evaluator.batches(model, problems, *how):
        tokens += sum(rollouts.lengths())
        for i, problem in enumerate(rollouts.problems):
            rows = range(i * samples, (i + 1) * samples)
            hits = [rollouts.texts[row] for row in rows if rollouts.rewards[row].accuracy]
            right.append(len(hits))
            thought.append(sum(thought_through(problem, text) for text in hits))
            shapes.update(shape(parse(text).answer) for text in hits)
    return {
        "puzzles": [[*problem.numbers, problem.target] for problem in problems],
        "samples": samples, "right": right, "thought": thought, "shapes": dict(shapes),
        "tokens": tokens / len(problems) / samples,
        "chance": [hit_chance(tuple(sorted(p.numbers)), p.target) for p in problems],
    }


def train(session: Session, base: Transformer, arm: str, kind: str) -> Transformer:
    """One recipe. Controls practise what `mixed` practises: the run's own tasks."""
    if arm == "rejection_sft":
        return rejection_sft(session, base)
    practised = {"below": "cpu", "at": kind}
    rl = session.config.rl
    if arm in practised:
        rl = replace(rl, tasks=(f"countdown:{practised[arm]}=1",))
    parts = random_reward(Parts(), 0.5) if arm == "coin" else Parts()
    draw = training_problems(session.config, rl, arm)
    return reinforce(RLPhase(session, base, arm, rl, draw, parts))


def cells(session: Session, base: Transformer, hooks: dict) -> dict:
    """The base and what every arm makes of it; with controls, other ways to sample the base too."""
    ((kind, _),) = hooks["corpus"].values()

    def measured(name: str, model: Transformer, **more) -> dict:
        return session.once(f"counts {name}", partial(counts, session, model, kind, **more))

    result = {"base": measured("base", base)}
    for arm in hooks["arms"]:
        make = partial(train, session, base, arm, kind)
        result[arm] = measured(arm, session.load_or_make(arm, make, arm))
    if set(hooks["arms"]) >= CONTROLS:
        for temperature in TEMPERATURES:
            name = f"base at {temperature}"
            result[name] = measured(name, base, temperature=temperature)
        result["base forced"] = measured("base forced", base, forced=True)
    return {"cells": result}
