"""What the stages of the R1 pipeline are made of: read a corpus, collect responses, reinforce.

Each goes on from where a stopped run left it. train_r1.py puts them together; fine-tuning is in
r1/data/fine_tuning.py, the RL loop in train_zero.py.
"""

import time
from collections import Counter
from dataclasses import replace
from functools import partial
from random import Random

from minir1.config import RLConfig
from minir1.console.files import write_json, write_lines
from minir1.fast.accelerate import make_sampler
from minir1.fast.ranks import roll_out
from minir1.measure.evaluator import many_problems
from minir1.model import Transformer
from minir1.r1.data import curation
from minir1.r1.data.metrics import describe_stage
from minir1.r1.preference import model as preference
from minir1.r1.preference.pairs import PAIRS, POINTS, draw_pair, draw_point
from minir1.r1.preference.rewards import rescore
from minir1.r1.presets import CollectConfig, R1Config
from minir1.rollout import sampling
from minir1.run.phases import Draw, Judge, Parts, RLPhase
from minir1.run.progress import Progress
from minir1.run.session import Session
from minir1.sampler import Stream
from minir1.tasks import parse_tasks
from train_zero import reinforce


def sampler_for(model: Transformer, where, config: R1Config, max_tokens: int):
    """The fast sampler with room for `max_tokens`. `where` has a device and a tokenizer. Not
    compiled: too short a use."""
    stage = config.stage_config(replace(config.reasoning, max_tokens=max_tokens))
    return make_sampler(model, where.device, replace(stage, compile=False), where.tokenizer)


def reinforce_stage(
    session: Session, start: Transformer, rl: RLConfig, draw: Draw, judge: Judge = rescore,
    phase: str = "rl",
) -> Transformer:
    """GRPO from `start` with a stage's problems and rewards."""
    parts = Parts(judge=judge, describe=describe_stage)
    return reinforce(RLPhase(session, start, phase, rl, draw, parts))


# ---------------------------------------------------------------- collecting


def collect(
    session: Session, config: R1Config, model: Transformer, source: str, how: CollectConfig,
    max_tokens: int,
) -> list[dict]:
    """What a policy answers rightly and readably, rewritten.

    Kept in data/kept.jsonl, counted in data/counts.json. `source` names the checkpoint in every
    line. Problems are of the training split, both languages, the kinds of stage 2's RL.
    """
    collection = curation.Collection(source)
    tasks, key = remix(config.reasoning.tasks, how.sums), f"collect {source} {config.seed}"
    problems = many_problems(tasks, config.corpus.languages, "train", key, how.prompts)
    sampler = sampler_for(model, session, config, max_tokens)
    stream = Stream.of("collect", source, config.seed)
    settings = sampling(session.tokenizer, max_tokens)
    at_once = max(1, config.score.batch // how.samples)
    with Progress(session, "collect", -(-len(problems) // at_once)) as progress:
        for i in range(0, len(problems), at_once):
            part, place = problems[i : i + at_once], stream.after(i * how.samples)
            asked = (part, how.samples, settings, place, sampler)
            rollouts = roll_out(model, session.tokenizer, *asked)
            collection.add(rollouts, how.most)
            figures = {"kept": len(collection.lines), "dropped": sum(collection.dropped.values())}
            sampled = sum(rollouts.lengths())
            progress.row(i // at_once, tokens_sampled=sampled, tokens_trained=0, **figures)
            if len(collection.lines) >= how.lines:
                break
    lines = collection.lines[: how.lines]
    write_lines(session.run.path / "data" / "kept.jsonl", lines)
    counts = {"source": source, "responses": sum(collection.counts().values())}
    counts |= collection.counts() | {"written": len(lines)}
    counts |= Counter(f"kept {line['problem']['lang']}" for line in lines)
    write_json(session.run.path / "data" / "counts.json", counts)
    return lines


def remix(tasks: tuple[str, ...], sums: float) -> tuple[str, ...]:
    """The same kinds of problem; of Countdown and arithmetic together, this share is arithmetic.

    Where one of the two is missing, and for other tasks, shares stay as they were.

    >>> remix(("countdown:cpu=0.8", "arithmetic:3d+=0.15", "arithmetic:2dx=0.05"), 0.4)
    ('countdown:cpu=0.6', 'arithmetic:3d+=0.3', 'arithmetic:2dx=0.1')
    >>> remix(("countdown:cpu=0.4", "arithmetic:3d+=0.1", "fact:fact=0.5"), 0.4)
    ('countdown:cpu=0.3', 'arithmetic:3d+=0.2', 'fact:fact=0.5')
    """
    parsed, whole = parse_tasks(tasks), Counter()
    for task, _, share in parsed:
        whole[task] += share
    part = dict(whole)
    if "arithmetic" in whole and "countdown" in whole:
        both = whole["arithmetic"] + whole["countdown"]
        part |= {"arithmetic": both * sums, "countdown": both * (1 - sums)}
    return tuple(
        f"{task}:{kind}={share / whole[task] * part[task]:.4g}"
        for task, kind, share in parsed if part[task] > 0
    )


# ---------------------------------------------------------------- the preference model


def learned_preference(
    session: Session, config: R1Config, base: Transformer
) -> preference.PreferenceModel:
    """The preference model of stage 4, trained once, on a copy of the base."""
    path, start = session.run.checkpoints / "preference.pt", time.time()
    steps, log = config.preference.steps, partial(session.run.log, "preference")

    def work() -> dict:
        how = (config.seed, steps, session.device.name, config.corpus.languages, log)
        model = preference.train_preference(base, session.tokenizer, *how)
        model.save(path)
        trained = steps * preference_tokens(model, config)
        seconds = time.time() - start
        log(step=steps, seconds_step=seconds, tokens_sampled=0, tokens_trained=trained)
        return model.figures

    session.once("preference", work)
    return preference.PreferenceModel.load(path, session.device.name)


def preference_tokens(model: preference.PreferenceModel, config: R1Config) -> int:
    """Tokens in one step of the preference model's training, estimated from 64 other draws."""
    rng, languages, n = Random("preference tokens"), config.corpus.languages, 64
    pairs = [draw_pair(rng, "train", languages) for _ in range(n)]
    points = [draw_point(rng, "train", languages) for _ in range(n)]

    def length(asked: list[tuple]) -> int:
        questions, responses, *_ = map(list, zip(*asked))
        return sum(map(len, model.rows_of(questions, responses)))

    both = [(p.question, text) for p in pairs for text in (p.chosen, p.rejected)]
    return round((PAIRS * length(both) + POINTS * length(points)) / n)
