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
from minir1.corpus import batches, sample_text
from minir1.fast.parallel import ordered
from minir1.fast.precision import make_learner
from minir1.fast.setup import accelerate, make_sampler
from minir1.grpo import train
from minir1.model import Transformer
from minir1.rollout import Rollouts, roll_out
from minir1.supervised import fit
from minir1.tokenizer import Tokenizer
from minir1.tools.cli import guard
from minir1.tools.lab import Lab
from minir1.tools.measure import draw_problems, sampling
from minir1.tools.summary import finish, parameter_counts
from minir1.tools.watch import PretrainWatch, RLWatch
from minir1.transcript import ANSWER
from minir1.variants.losses import LOSSES
from minir1.variants.reference import Reference

SHIPPED = Path(__file__).parent / "minir1" / "data"

# ---------------------------------------------------------------- the base model


def base_model(lab: Lab) -> Transformer:
    """The base: given, shipped with the package, or pretrained here on the mini-web."""
    config, path = lab.config, lab.run.checkpoints / "base.pt"
    if not path.exists():
        if config.from_scratch:
            pretrain(lab, path)
        else:
            shipped = SHIPPED / config.base
            model, lab.tokenizer = load_checkpoint(shipped if shipped.is_file() else config.base)
            save_checkpoint(path, model, lab.tokenizer)
    model, lab.tokenizer = load_checkpoint(path, lab.device.name)
    return model


def pretrain(lab: Lab, path: Path) -> None:
    config, p = lab.config, lab.config.pretrain
    lab.tokenizer = Tokenizer.train(sample_text(config.corpus, config.seed, 5000), config.corpus.vocab_size)
    torch.manual_seed(config.seed)
    model = Transformer(replace(config.model, vocab_size=-(-len(lab.tokenizer) // 64) * 64)).to(lab.device.name)
    learner, steps = make_learner(model, p.weight_decay, p.clip, lab.device, p.optimizer), p.tokens // p.batch_tokens
    first = lab.restore("pretrain", model, learner)
    lab.announce_pretraining(model)
    run, rows = partial(ordered, workers=config.corpus.workers), p.batch_tokens // p.row_tokens
    source = batches(config.corpus, lab.tokenizer, config.seed, rows, p.row_tokens, first, steps - first, run)
    ids = ((torch.from_numpy(rows).to(lab.device.name, non_blocking=True), None) for rows in source)
    watch = PretrainWatch(lab.run, p, config.model.experts, steps, first)

    def on_step(step) -> None:
        watch.step(step)
        lab.warm_sampler(model)  # once a first step is done, which it would delay
        if step.step % p.checkpoint_every == p.checkpoint_every - 1 and step.step + 1 < steps:
            lab.keep("pretrain", step.step + 1, model, learner)

    with watch, accelerate(model, lab.device, config.compile, learner, early=True):
        fit(model, learner, ids, p, steps, on_step, first)
    save_checkpoint(path, model, lab.tokenizer)


# ---------------------------------------------------------------- reinforcement learning


def reinforce(lab: Lab, base: Transformer, phase: str, think: bool, steps: int) -> Transformer:
    """R1-Zero: GRPO on the base with rule rewards. Without `think` the answer tag is prefilled (a control)."""
    config, rl = lab.config, replace(lab.config.rl, steps=steps)
    model, tokenizer, device = copy.deepcopy(base), lab.tokenizer, lab.device
    learner = make_learner(model, 0.0, rl.clip, device)
    first = lab.restore(phase, model, learner)
    reference = Reference(copy.deepcopy(base), model, rl)
    if first and rl.kl > 0:
        reference.held.load_state_dict(lab.run.load_state(phase)["held"])
    prefix, settings = "" if think else ANSWER, sampling(tokenizer, rl.max_tokens if think else 64, rl.temperature)
    sampler = make_sampler(model, device, config)
    examiner, validation = lab.examiner(sampler), lab.problems("validation", config.eval.validation)
    keys = ((rl.tasks, config.corpus.languages, "train", f"{config.seed} {phase} {s}", rl.prompts) for s in range(first, steps))
    problems = ordered(draw_problems, keys, 1 if device.name == "cpu" else 4)
    watch = RLWatch(lab, phase, rl, steps, first, base)

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
            watch.validate(step + 1, examiner, model, validation, settings, prefix)
        if (step + 1) % rl.checkpoint_every == 0 and step + 1 < steps:
            lab.keep(phase, step + 1, model, learner, held=reference.held.state_dict() if rl.kl > 0 else None)

    with watch:
        if first == 0:
            watch.validate(0, examiner, model, validation, settings, prefix)
        with accelerate(model, device):
            train(model, learner, range(first, steps), rl, tokenizer.pad, generate, on_step, LOSSES[rl.loss], reference)
    return model


# ---------------------------------------------------------------- putting it together


def policy(lab: Lab, base: Transformer, name: str, think: bool, steps: int) -> Transformer:
    path = lab.run.checkpoints / f"{'zero' if think else name}.pt"
    lab.once(name, lambda: save_checkpoint(path, reinforce(lab, base, name, think, steps), lab.tokenizer))
    return load_checkpoint(path, lab.device.name)[0]


def main(arguments: list[str]) -> None:
    lab = Lab.open(arguments)
    with lab.resumable("train_zero.py"):
        print(zero(lab))


def zero(lab: Lab) -> str:
    """All phases, each done once; returns the result in words."""
    config = lab.config
    lab.once("pretrain", lambda: base_model(lab) and None)
    base = base_model(lab)
    if config.rl.steps == 0:
        return f"the base model is {lab.run.checkpoints / 'base.pt'}"
    models = {"base": base, "zero": policy(lab, base, "rl", True, config.rl.steps)}
    if config.eval.answer_only_steps:
        models["answer_only"] = policy(lab, base, "answer_only", False, config.eval.answer_only_steps)
    lab.once("test", lambda: lab.examiner(make_sampler(base, lab.device, config)).compare(models, lab.problems, config))
    return finish(lab.run, lab.device, parameter_counts(base), sys.argv)


if __name__ == "__main__":
    sys.exit(guard(main, sys.argv[1:], "train_zero.py"))
