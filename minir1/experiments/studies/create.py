"""Does RL create, or only amplify? The measurements of the study `create`.

A base that has read few harder puzzles, or none, is trained by several recipes ("arms"). Base and
policies answer the same held-out harder puzzles, many times each. What is kept are counts a puzzle,
so that anyone can compute pass@k and its interval again.

>>> written = "<think>3 + 5 = 8, 8 * 4 = 32, yes</think><answer>(3 + 5) * 4</answer>"
>>> thought_through(Countdown((3, 5, 4), 32), written), shape("(3 + 5) * 4")
(True, '(x.x).x')
"""

import copy
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache, partial
from itertools import chain

import torch

from minir1.config import replace
from minir1.experiments.studies.corpora import reader
from minir1.experiments.studies.hooks import random_reward
from minir1.experiments.studies.rejection import rejection_sft
from minir1.measure.attempts import attempts_of, thought_of
from minir1.measure.baselines import hit_chance
from minir1.model import Transformer
from minir1.rollout import Rollouts
from minir1.run.phases import Parts, RLPhase, supervised_phase, training_problems
from minir1.run.session import Session
from minir1.tasks import draw_problems
from minir1.tasks.countdown import Countdown
from minir1.transcript import THINK, parse
from train_zero import reinforce

CONTROLS = {"coin", "rejection_sft", "more"}
TEMPERATURES = (0.7, 1.4)  # of the base, beside 1
SAMPLES = 1024  # of each puzzle
TURNS = 16  # as many samples each: 16,384 of the base where the policy does something new
NEW = 64  # puzzles at most


def thought_through(problem: Countdown, response: str) -> bool:
    """Whether the last attempt of the thought reaches the target, all of its steps being true."""
    attempts = attempts_of(problem, thought_of(response))
    return bool(attempts) and attempts[-1].hit and not attempts[-1].wrong_steps


def shape(answer: str) -> str:
    """An expression without its numbers and operators, as written."""
    return re.sub(r"[-+*/]", ".", re.sub(r"\d+", "x", answer)).replace(" ", "")


@cache
def puzzles(kind: str, split: str, count: int) -> list[Countdown]:
    """The held-out puzzles that bases and policies of every seed are asked."""
    return draw_problems((f"countdown:{kind}=1",), ("en",), split, f"create {split}", count)


def right_ones(rollouts: Rollouts) -> Iterator[tuple[list[str], int]]:
    """Of each puzzle: the right responses, and how many of them are right by their thought."""
    for i, problem in enumerate(rollouts.problems):
        rows = range(i * rollouts.group, (i + 1) * rollouts.group)
        hits = [rollouts.texts[row] for row in rows if rollouts.rewards[row].accuracy]
        yield hits, sum(thought_through(problem, text) for text in hits)


def counts(
    session: Session, model: Transformer, kind: str, temperature: float = 1.0,
    forced: bool = False, split: str = "validation", samples: int = SAMPLES,
) -> dict:
    """How often each held-out puzzle is answered right, and right by its thought.

    Lists have an entry a puzzle. `forced`: the model must think until it says yes.
    """
    config, samples = session.config, 8 if session.config.preset == "smoke" else samples
    problems = puzzles(kind, split, config.eval.problems)
    evaluator = session.evaluator(session.sampler(model))
    settings = evaluator.forced_settings() if forced else evaluator.settings
    how = (samples, config.seed, replace(settings, temperature=temperature), THINK * forced)
    right, thought, tokens, shapes = [], [], 0, Counter()
    for rollouts in evaluator.batches(model, problems, *how):
        tokens += sum(rollouts.lengths())
        for hits, reached in right_ones(rollouts):
            right.append(len(hits))
            thought.append(reached)
            shapes.update(shape(parse(text).answer) for text in hits)
    return {
        "puzzles": [[*problem.numbers, problem.target] for problem in problems],
        "samples": samples, "right": right, "thought": thought, "shapes": dict(shapes),
        "tokens": tokens / len(problems) / samples,
        "chance": [hit_chance(tuple(sorted(p.numbers)), p.target) for p in problems],
    }


def again(session: Session, base: Transformer, kind: str, before: dict, after: dict) -> dict:
    """The base asked anew about puzzles that the policy thinks through and it did not, until it
    does, or 16,384 times. First those that the policy thinks through most often, `NEW` at most.

    Lists have an entry a puzzle: its place, new samples, right ones, right ones by their thought.
    """
    pairs = enumerate(zip(before["thought"], after["thought"]))
    new = [(-policy, place) for place, (own, policy) in pairs if policy and not own]
    found = {place: [0, 0, 0] for _, place in sorted(new)[:NEW]}
    problems = puzzles(kind, "test", session.config.eval.problems)
    evaluator = session.evaluator(session.sampler(base))
    for turn in range(TURNS):
        left = [place for place, (_, _, thought) in found.items() if not thought]
        how = (before["samples"], 1000 * (turn + 1) + session.config.seed)
        asked = evaluator.batches(base, [problems[place] for place in left], *how)
        for place, (hits, thought) in zip(left, chain.from_iterable(map(right_ones, asked))):
            more = zip(found[place], (before["samples"], len(hits), thought))
            found[place] = [old + new for old, new in more]
    columns = zip(("samples", "right", "thought"), zip(*found.values()))
    return {"place": list(found)} | {name: list(column) for name, column in columns}


def read_on(session: Session, base: Transformer, hooks: dict) -> Transformer:
    """The base when it has read a fifth more, of new documents: about RL's operations."""
    config, web = session.config.pretrain, reader(session, hooks)
    first = config.tokens // config.batch_tokens
    steps, rows = max(1, first // 5), config.batch_tokens // config.row_tokens

    def batches(done: int) -> Iterator[tuple[torch.Tensor, None]]:
        size = (rows, config.row_tokens, first + done, steps - done)
        for block in web.batches(session.tokenizer, *size):
            yield torch.from_numpy(block).to(session.device.name), None

    return supervised_phase(session, copy.deepcopy(base), "more", config, steps, batches)


def train(session: Session, base: Transformer, arm: str, hooks: dict) -> Transformer:
    """One recipe. Controls practise what `mixed` practises: the run's own tasks."""
    if arm == "rejection_sft":
        return rejection_sft(session, base)
    if arm == "more":
        return read_on(session, base, hooks)
    practised = {"below": "cpu", "at": hooks["corpus"]["exposure"][0]}
    rl = session.config.rl
    if arm in practised:
        rl = replace(rl, tasks=(f"countdown:{practised[arm]}=1",))
    parts = random_reward(Parts(), 0.5) if arm == "coin" else Parts()
    draw = training_problems(session.config, rl, arm)
    return reinforce(RLPhase(session, base, arm, rl, draw, parts))


def cells(session: Session, base: Transformer, hooks: dict) -> dict:
    """The base and what every arm makes of it; with a coin, other ways to sample the base too.

    hooks["asked"]: test puzzles; controls a quarter as often, the base again about what is new.
    """
    kind, asked, arms = hooks["corpus"]["exposure"][0], hooks.get("asked", {}), hooks["arms"]

    def measured(name: str, model: Transformer, **more) -> dict:
        how = partial(counts, session, model, kind, **asked | more)
        return session.once(f"counts {name}", how)

    result = {"base": measured("base", base)}
    for arm in arms:
        model = session.load_or_make(arm, partial(train, session, base, arm, hooks), arm)
        fewer = {"samples": SAMPLES // 4} if asked and arm in CONTROLS else {}
        result[arm] = measured(arm, model, **fewer)
    for arm in [arm for arm in arms if asked and arm not in CONTROLS]:
        new = partial(again, session, base, kind, result["base"], result[arm])
        result[arm] = result[arm] | {"again": session.once(f"again {arm}", new)}
    if "coin" in arms:
        for temperature in TEMPERATURES:
            name = f"base at {temperature}"
            result[name] = measured(name, base, temperature=temperature)
        result["base forced"] = measured("base forced", base, forced=True)
    return {"cells": result}
