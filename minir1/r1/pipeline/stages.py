"""The four things that stages are made of: read a corpus, collect responses, fine-tune on them, reinforce.

Each goes on from where a stopped run left it, and writes what it costs into its run folder (`tokens_sampled`, `tokens_trained`,
`seconds_step` of each row of metrics.jsonl). train_r1.py puts them together.
"""

import copy
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random

import torch

from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import ModelConfig, PretrainConfig
from minir1.console.files import write_text
from minir1.fast.accelerate import accelerate, make_sampler
from minir1.fast.device import make_learner
from minir1.fast.parallel import parallel_map
from minir1.grpo import train
from minir1.measure.evaluator import many_problems, parse_tasks, sampling
from minir1.model import Transformer
from minir1.r1.data import bilingual_corpus as reading
from minir1.r1.data import curate
from minir1.r1.pipeline.progress import ReinforceWatch, TuneWatch
from minir1.r1.preference import model as preference
from minir1.r1.preference.rewards import rescore
from minir1.r1.presets import CollectConfig, R1Config, SFTConfig
from minir1.rollout import Rollouts, roll_out
from minir1.run.progress import PretrainWatch
from minir1.run.session import Session
from minir1.supervised import Step, train_supervised
from minir1.variants.losses import LOSSES

# ---------------------------------------------------------------- reading


def pretrain(session: Session, config: R1Config, model_config: ModelConfig, phase: str = "pretrain") -> Transformer:
    """A model of `model_config` that has read the bilingual mini-web; the first one trains the tokenizer too."""
    p = config.pretrain
    if session.tokenizer is None:
        session.tokenizer = reading.train_tokenizer(config.corpus, config.seed)
    torch.manual_seed(config.seed)
    vocabulary = -(-len(session.tokenizer) // 64) * 64
    model = Transformer(replace(model_config, vocab_size=vocabulary)).to(session.device.name)
    learner, steps = make_learner(model, p.weight_decay, p.clip, session.device, p.optimizer), p.tokens // p.batch_tokens
    first = session.restore(phase, model, learner)
    session.announce_pretraining(model)
    rows = p.batch_tokens // p.row_tokens
    source = reading.batches(config.corpus, config.reading, session.tokenizer, config.seed, rows, p.row_tokens, first, steps - first)
    ids = ((torch.from_numpy(block).to(session.device.name, non_blocking=True), None) for block in source)
    watch = PretrainWatch(session.run, p, model_config.experts, steps, first)

    def on_step(step: Step) -> None:
        watch.step(step)
        if step.step % p.checkpoint_every == p.checkpoint_every - 1 and step.step + 1 < steps:
            session.keep(phase, step.step + 1, model, learner)

    with watch, accelerate(model, session.device, config.compile, learner):
        train_supervised(model, learner, ids, p, steps, on_step, first)
    return model


# ---------------------------------------------------------------- collecting


def sampler_for(model: Transformer, where, config: R1Config, max_tokens: int):
    """The fast sampler with room for `max_tokens`; `where` has a device. Not compiled: that would not pay in one stage."""
    world = config.stage_config(replace(config.reasoning, max_tokens=max_tokens))
    return make_sampler(model, where.device, replace(world, compile=False))


def collect(session: Session, config: R1Config, model: Transformer, source: str, how: CollectConfig, max_tokens: int) -> list[dict]:
    """What a policy answers rightly and readably, rewritten: kept in data/kept.jsonl, counted in data/counts.json.

    `source` names the checkpoint in every line. Problems are of the training split, both languages, the kinds of stage 2's RL.
    """
    kept = curate.Collection(source)
    tasks, languages, key = remix(config.reasoning.tasks, how.sums), config.corpus.languages, f"collect {source} {config.seed}"
    problems = many_problems(tasks, languages, "train", key, how.prompts)
    sampler = sampler_for(model, session, config, max_tokens)
    generator = torch.Generator(session.device.name).manual_seed(config.seed * 7_919 + len(source))
    settings, at_once = sampling(session.tokenizer, max_tokens), max(1, config.score.batch // how.samples)
    with TuneWatch(session.run, "collect", -(-len(problems) // at_once), 0) as watch:
        for i in range(0, len(problems), at_once):
            rollouts = roll_out(model, session.tokenizer, problems[i : i + at_once], how.samples, settings, generator, sampler)
            kept.add(rollouts, how.most)
            figures = {"kept": len(kept.lines), "dropped": sum(kept.dropped.values())}
            watch.row(i // at_once, tokens_sampled=sum(rollouts.lengths()), tokens_trained=0, **figures)
            if len(kept.lines) >= how.lines:
                break
    lines = kept.lines[: how.lines]
    folder = session.run.path / "data"
    write_lines(folder / "kept.jsonl", lines)
    by_language = Counter(f"kept {line['problem']['lang']}" for line in lines)
    counts = {"source": source, "responses": sum(kept.counts().values()), **kept.counts(), "written": len(lines), **by_language}
    write_text(folder / "counts.json", json.dumps(counts, indent=1, ensure_ascii=False))
    return lines


def remix(tasks: tuple[str, ...], sums: float) -> tuple[str, ...]:
    """The same kinds of problem, but with this share of arithmetic ones (as it was, if one of the two is missing).

    >>> remix(("countdown:cpu=0.8", "arithmetic:3d+=0.15", "arithmetic:2dx=0.05"), 0.4)
    ('countdown:cpu=0.6', 'arithmetic:3d+=0.3', 'arithmetic:2dx=0.1')
    """
    parsed = parse_tasks(tasks)
    whole = {task: sum(share for other, _, share in parsed if other == task) for task, *_ in parsed}
    part = {"arithmetic": sums, "countdown": 1 - sums} if len(whole) == 2 else whole
    return tuple(f"{task}:{kind}={share / whole[task] * part[task]:.4g}" for task, kind, share in parsed)


def write_lines(path, lines: list[dict]) -> None:
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def read_lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# ---------------------------------------------------------------- fine-tuning


def fine_tune(session: Session, config: R1Config, start: Transformer, lines: list[dict], how: SFTConfig, phase: str = "sft") -> Transformer:
    """SFT on (question, response) lines; only responses are learned. Returns a new model."""
    model = copy.deepcopy(start)
    if not lines:  # a policy that solves nothing teaches nothing: said, and counted in data/counts.json
        print(f"{session.run.path}: no response was worth keeping, so the model stays as it is")
        return model
    p = PretrainConfig(lr=how.lr, optimizer=how.optimizer, weight_decay=0.0)
    learner = make_learner(model, p.weight_decay, p.clip, session.device, p.optimizer)
    rows = min(how.rows, len(lines))
    steps = how.epochs * (len(lines) // rows)
    first = session.restore(phase, model, learner)
    pairs, watch = curate.pairs_of(lines), TuneWatch(session.run, phase, steps, first)

    def source():
        for step, (ids_BT, mask_BT) in enumerate(
            curate.batches(pairs, session.tokenizer, rows, how.epochs, config.seed, session.device.name)
        ):
            if step >= first:
                watch.trained = int((ids_BT != session.tokenizer.pad).sum())
                yield ids_BT, mask_BT

    def on_step(step: Step) -> None:
        watch.row(step.step, tokens_sampled=0, tokens_trained=watch.trained, loss=step.loss, grad_norm=step.grad_norm, lr=step.lr)
        if step.step % 200 == 199 and step.step + 1 < steps:
            session.keep(phase, step.step + 1, model, learner)

    with watch, accelerate(model, session.device):
        train_supervised(model, learner, source(), p, steps, on_step, first)
    return model.eval()


# ---------------------------------------------------------------- reinforcing


def reinforce(
    session: Session, config: R1Config, start: Transformer, rl, draw: Callable, judge: Callable = rescore, phase: str = "rl"
) -> Transformer:
    """GRPO from `start`: `draw(step)` gives the key and kind of the step's problems, `judge(step, rollouts)` their rewards.

    `draw(step)` returns (function, arguments) so that problems can be drawn ahead by other processes.
    """
    model, tokenizer, device = copy.deepcopy(start), session.tokenizer, session.device
    learner = make_learner(model, 0.0, rl.clip, device)
    first, settings = session.restore(phase, model, learner), sampling(tokenizer, rl.max_tokens, rl.temperature)
    sampler = make_sampler(model, device, replace(config.stage_config(rl), compile=False))
    problems = parallel_map(_call, (draw(step) for step in range(first, rl.steps)), 1 if device.name == "cpu" else 4)
    watch = ReinforceWatch(session.run, phase, rl, first)

    def generate(step: int) -> Rollouts:
        watch.begin()
        generator = torch.Generator(device.name).manual_seed(config.seed * 1_000_003 + step)
        early = rl.early_tokens and step < rl.steps // 2
        budget = replace(settings, max_tokens=rl.early_tokens) if early else settings
        rollouts = roll_out(model, tokenizer, next(problems), rl.group_size, budget, generator, sampler)
        rollouts = replace(rollouts, rewards=judge(step, rollouts))
        watch.rolled()
        return rollouts

    def on_step(step: int, rollouts: Rollouts, adv_B, stats) -> None:
        watch.step(step, rollouts, stats)
        if (step + 1) % rl.checkpoint_every == 0 and step + 1 < rl.steps:
            session.keep(phase, step + 1, model, learner)

    with watch, accelerate(model, device):
        train(model, learner, range(first, rl.steps), rl, tokenizer.pad, generate, on_step, LOSSES[rl.loss])
    return model.eval()


def _call(function: Callable, arguments: tuple):
    return function(*arguments)


# ---------------------------------------------------------------- phases


def load_or_make(session: Session, phase: str, work: Callable[[], Transformer]) -> Transformer:
    """The model that a phase makes, made once: a resumed stage loads it."""
    path = session.run.checkpoints / f"{phase}.pt"
    session.once(phase, lambda: save_checkpoint(path, work(), session.tokenizer))
    model, session.tokenizer = load_checkpoint(path, session.device.name)
    return model


def learned_preference(session: Session, config: R1Config, base: Transformer) -> preference.PreferenceModel:
    """The preference model of stage 4, trained once, on a copy of the base."""
    path, start = session.run.checkpoints / "preference.pt", time.time()

    def work() -> dict:
        log = lambda **row: session.run.log("preference", **row)  # noqa: E731
        how = (config.seed, config.preference.steps, session.device.name, config.corpus.languages, log)
        model = preference.train_preference(base, session.tokenizer, *how)
        model.save(path)
        read = {"tokens_sampled": 0, "tokens_trained": config.preference.steps * preference_tokens(model, config)}
        session.run.log("preference", step=config.preference.steps, seconds_step=time.time() - start, **read)
        return model.figures

    session.once("preference", work)
    return preference.PreferenceModel.load(path, session.device.name)


def preference_tokens(model: preference.PreferenceModel, config: R1Config) -> int:
    """Tokens in one step of the preference model's training, estimated from 64 steps' worth of other draws."""
    rng, languages, n = Random("preference tokens"), config.corpus.languages, 64
    pairs = [preference.draw_pair(rng, "train", languages) for _ in range(n)]
    points = [preference.draw_point(rng, "train", languages) for _ in range(n)]
    count = lambda asked: sum(map(len, model.rows_of(*map(list, zip(*asked))))) / n  # noqa: E731
    each = count([(p.question, p.chosen) for p in pairs]) + count([(p.question, p.rejected) for p in pairs])
    return round(preference.PAIRS * each + preference.POINTS * count([(q, r) for q, r, _ in points]))


def spent(session: Session) -> dict[str, dict[str, float]]:
    """Seconds and tokens of each phase, from metrics.jsonl: a stop and its repetition are not counted twice."""
    path, found = session.run.path / "metrics.jsonl", {}
    for row in read_lines(path) if path.is_file() else ():
        if "seconds_step" in row:
            total = found.setdefault(row["phase"], {"seconds": 0.0, "tokens_sampled": 0, "tokens_trained": 0})
            for name, key in (("seconds", "seconds_step"), ("tokens_sampled",) * 2, ("tokens_trained",) * 2):
                total[name] += row[key]
    return found
