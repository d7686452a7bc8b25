"""R1-Zero from random weights: base model -> GRPO with rule rewards -> report.

    python train_zero.py                       the preset that fits this machine
    python train_zero.py --preset gpu --seed 1
    python train_zero.py --resume runs/gpu-1   go on after an interruption

Reads like section 2 of the R1 report: a base model, a template, rule rewards, GRPO; no fine-tuning in between.
Beside the trained policy stand the lines it must beat: blind search with the same tokens and with as many
attempts, the base forced to go on until it says yes, and a policy that may only answer,
trained by the same rules for fewer steps.
"""

import copy
import sys
from functools import partial
from pathlib import Path

import torch

from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import replace
from minir1.console.errors import guard
from minir1.corpus.mixture import batches, sample_text
from minir1.fast.accelerate import accelerate, make_sampler
from minir1.fast.device import make_learner
from minir1.fast.parallel import parallel_map
from minir1.fast.warm import Waiting
from minir1.grpo import train
from minir1.measure.evaluator import draw_problems, sampling
from minir1.model import Transformer
from minir1.rollout import Rollouts, roll_out
from minir1.run.progress import PretrainWatch, RLWatch
from minir1.run.session import Session
from minir1.run.summary import finish, parameter_counts
from minir1.supervised import train_supervised
from minir1.tokenizer import Tokenizer
from minir1.transcript import ANSWER
from minir1.variants.losses import LOSSES
from minir1.variants.reference import Reference

SHIPPED = Path(__file__).parent / "minir1" / "data"

# ---------------------------------------------------------------- the base model


def base_model(session: Session) -> Transformer:
    """The base: given, shipped with the package, or pretrained here on the mini-web."""
    config, path = session.config, session.run.checkpoints / "base.pt"
    if not path.exists():
        if config.from_scratch:
            pretrain(session, path)
        else:
            shipped = SHIPPED / config.base
            model, session.tokenizer = load_checkpoint(shipped if shipped.is_file() else config.base)
            save_checkpoint(path, model, session.tokenizer)
    model, session.tokenizer = load_checkpoint(path, session.device.name)
    return model


def pretrain(session: Session, path: Path) -> None:
    config, p = session.config, session.config.pretrain
    session.tokenizer = Tokenizer.train(sample_text(config.corpus, config.seed, 5000), config.corpus.vocab_size)
    torch.manual_seed(config.seed)
    model = Transformer(replace(config.model, vocab_size=-(-len(session.tokenizer) // 64) * 64)).to(session.device.name)
    learner, steps = make_learner(model, p.weight_decay, p.clip, session.device, p.optimizer), p.tokens // p.batch_tokens
    first = session.restore("pretrain", model, learner)
    session.announce_pretraining(model)
    run, rows = partial(parallel_map, workers=config.corpus.workers), p.batch_tokens // p.row_tokens
    source = batches(config.corpus, session.tokenizer, config.seed, rows, p.row_tokens, first, steps - first, run)
    ids = ((torch.from_numpy(rows).to(session.device.name, non_blocking=True), None) for rows in source)
    watch = PretrainWatch(session.run, p, config.model.experts, steps, first)

    def on_step(step) -> None:
        watch.step(step)
        session.warm_sampler(model)  # once a first step is done, which it would delay
        if step.step % p.checkpoint_every == p.checkpoint_every - 1 and step.step + 1 < steps:
            session.keep("pretrain", step.step + 1, model, learner)

    with watch, accelerate(model, session.device, config.compile, learner, early=Waiting):
        train_supervised(model, learner, ids, p, steps, on_step, first)
    save_checkpoint(path, model, session.tokenizer)


# ---------------------------------------------------------------- reinforcement learning


def reinforce(session: Session, base: Transformer, phase: str, think: bool, steps: int) -> Transformer:
    """R1-Zero: GRPO on the base with rule rewards. Without `think` the answer tag is prefilled (a control)."""
    config, rl = session.config, replace(session.config.rl, steps=steps)
    model, tokenizer, device = copy.deepcopy(base), session.tokenizer, session.device
    learner = make_learner(model, 0.0, rl.clip, device)
    first = session.restore(phase, model, learner)
    reference = Reference(copy.deepcopy(base), model, rl)
    if first and rl.kl > 0:
        reference.held.load_state_dict(session.run.load_state(phase)["held"])
    prefix, settings = "" if think else ANSWER, sampling(tokenizer, rl.max_tokens if think else 64, rl.temperature)
    sampler = make_sampler(model, device, config)
    evaluator, validation = session.evaluator(sampler), session.problems("validation", config.eval.validation)
    keys = ((rl.tasks, config.corpus.languages, "train", f"{config.seed} {phase} {s}", rl.prompts) for s in range(first, steps))
    problems = parallel_map(draw_problems, keys, 1 if device.name == "cpu" else 4)
    watch = RLWatch(session, phase, rl, steps, first, base)

    def generate(step: int) -> Rollouts:
        watch.begin()
        generator = torch.Generator(device.name).manual_seed(config.seed * 1_000_003 + step)
        early = think and rl.early_tokens and step < steps // 2
        budget = replace(settings, max_tokens=rl.early_tokens) if early else settings
        rollouts = roll_out(model, tokenizer, next(problems), rl.group_size, budget, generator, sampler, prefix)
        watch.rolled()
        return rollouts

    def on_step(step: int, rollouts: Rollouts, adv_B, stats) -> None:
        watch.step(step, rollouts, stats)
        if (step + 1) % rl.evaluate_every == 0 or step + 1 == steps:
            watch.validate(step + 1, evaluator, model, validation, settings, prefix)
        if (step + 1) % rl.checkpoint_every == 0 and step + 1 < steps:
            session.keep(phase, step + 1, model, learner, held=reference.held.state_dict() if rl.kl > 0 else None)

    with watch:
        if first == 0:
            watch.validate(0, evaluator, model, validation, settings, prefix)
        with accelerate(model, device):
            train(model, learner, range(first, steps), rl, tokenizer.pad, generate, on_step, LOSSES[rl.loss], reference)
    return model


# ---------------------------------------------------------------- putting it together


def policy(session: Session, base: Transformer, name: str, think: bool, steps: int) -> Transformer:
    path = session.run.checkpoints / f"{'zero' if think else name}.pt"
    session.once(name, lambda: save_checkpoint(path, reinforce(session, base, name, think, steps), session.tokenizer))
    return load_checkpoint(path, session.device.name)[0]


def main(arguments: list[str]) -> None:
    session = Session.open(arguments)
    with session.resumable("train_zero.py"):
        print(zero(session))


def zero(session: Session) -> str:
    """All phases, each done once; returns the result in words."""
    config = session.config
    session.once("pretrain", lambda: base_model(session) and None)
    base = base_model(session)
    if config.rl.steps == 0:
        return f"the base model is {session.run.checkpoints / 'base.pt'}"
    models = {"base": base, "zero": policy(session, base, "rl", True, config.rl.steps)}
    if config.eval.answer_only_steps:
        models["answer_only"] = policy(session, base, "answer_only", False, config.eval.answer_only_steps)
    session.once("test", lambda: session.evaluator(make_sampler(base, session.device, config)).compare(models, session.problems, config))
    return finish(session.run, session.device, parameter_counts(base), sys.argv)


if __name__ == "__main__":
    sys.exit(guard(main, sys.argv[1:], "train_zero.py"))
