"""R1-Zero from random weights: base model -> GRPO with rule rewards -> report.

    python train_zero.py                       the preset that fits this machine
    python train_zero.py --preset gpu --seed 1
    python train_zero.py --resume runs/gpu-1   go on after an interruption

Reads like section 2 of the R1 report: a base model, a template, rule rewards, GRPO; no fine-tuning in between.
Beside the trained policy stand the lines it must beat: blind search with the same tokens and with as many
attempts, the base forced to go on until it says yes, and a policy trained alike that may only answer.
"""

import copy
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import Config, UserError, parse_command_line, replace
from minir1.corpus import batches, ordered, sample_text
from minir1.fast.precision import Device, make_learner, pick_device
from minir1.fast.setup import accelerate, make_sampler
from minir1.grpo import learning_rate, train
from minir1.model import Transformer
from minir1.rollout import roll_out
from minir1.supervised import fit
from minir1.tokenizer import Tokenizer
from minir1.tools.cli import guard
from minir1.tools.measure import Examiner, blind, blind_hit_rates, draw_problems, many_problems, outcome, sampling
from minir1.tools.report import verdict
from minir1.tools.run import Run
from minir1.tools.summary import finish
from minir1.transcript import ANSWER
from minir1.variants.losses import LOSSES

SHIPPED = Path(__file__).parent / "minir1" / "data"


@dataclass
class Lab:
    """What every stage needs."""

    run: Run
    device: Device
    tokenizer: Tokenizer | None = None

    @property
    def config(self) -> Config:
        return self.run.config

    def examiner(self, sampler) -> Examiner:
        settings = sampling(self.tokenizer, self.config.rl.max_tokens)
        return Examiner(self.tokenizer, sampler, settings, self.config.eval.batch, self.device.name)

    def problems(self, split: str, count: int) -> list:
        """The first task's problems, the same for every seed; arithmetic kinds in practice stand apart."""
        return many_problems(self.config.rl.tasks[:1], self.config.corpus.languages, split, split, count)


# ---------------------------------------------------------------- the base model


def base_model(lab: Lab) -> Transformer:
    """The base: given, shipped with the package, or pretrained here on the mini-web."""
    config, path = lab.config, lab.run.checkpoints / "base.pt"
    if not path.exists():
        shipped = SHIPPED / f"base-{config.preset}.pt"
        given = config.base or ("" if config.from_scratch else shipped)
        if given:
            model, lab.tokenizer = load_checkpoint(given)
            save_checkpoint(path, model, lab.tokenizer)
        else:
            pretrain(lab, path)
    model, lab.tokenizer = load_checkpoint(path, lab.device.name)
    return model


def pretrain(lab: Lab, path: Path) -> None:
    config, p = lab.config, lab.config.pretrain
    texts = sample_text(config.corpus, config.seed, 5000)
    lab.tokenizer = Tokenizer.train(texts, config.corpus.vocab_size)
    torch.manual_seed(config.seed)
    model = Transformer(replace(config.model, vocab_size=-(-len(lab.tokenizer) // 64) * 64)).to(lab.device.name)
    learner, steps = make_learner(model, p.weight_decay, p.clip, lab.device), p.tokens // p.batch_tokens
    first = restore(lab, "pretrain", model, learner)
    everything, used = model.parameter_counts()
    print(f"pretraining {everything / 1e6:.1f} M parameters ({used / 1e6:.1f} M used per token) on {p.tokens / 1e6:.0f} M tokens")
    rows = p.batch_tokens // p.row_tokens
    source = batches(config.corpus, lab.tokenizer, config.seed, rows, p.row_tokens, first, steps - first)
    ahead = ((torch.from_numpy(ids).to(lab.device.name, non_blocking=True), None) for ids in source)
    bar = tqdm(total=steps, initial=first, desc="pretrain", unit="step", dynamic_ncols=True)
    clock = time.time()

    def on_step(s) -> None:
        bar.update()
        if s.step % 20 == 19 or s.step == steps - 1:
            passed, seen = time.time() - clock, (s.step + 1 - first) * p.batch_tokens
            load = {} if s.load_LE is None else {"load_max": s.load_LE.max() * config.model.experts}
            row = {"tokens": (s.step + 1) * p.batch_tokens, "tokens_s": seen / passed, "seconds": passed}
            lab.run.log("pretrain", step=s.step, loss=s.loss, grad_norm=s.grad_norm, lr=s.lr, **row, **load)
            bar.set_postfix_str(f"loss {float(s.loss):.3f}, {seen / passed / 1e3:.0f} k tokens/s")
        if s.step % 500 == 499 and s.step != steps - 1:
            keep_state(lab, "pretrain", s.step + 1, model, learner)

    with accelerate(model, lab.device, config.compile):
        fit(model, learner, ahead, p, steps, on_step, first)
    bar.close()
    save_checkpoint(path, model, lab.tokenizer)


def keep_state(lab: Lab, phase: str, step: int, model, learner, **more) -> None:
    lab.run.save_state(phase, step, model=model.state_dict(), learner=learner.state(), **more)


def restore(lab: Lab, phase: str, model, learner) -> int:
    """Take up the last saved state of a phase; returns the step to go on from."""
    state = lab.run.load_state(phase)
    if state is None:
        return 0
    model.load_state_dict(state["model"])
    learner.restore(state["learner"])
    return state["step"]


# ---------------------------------------------------------------- reinforcement learning


def reinforce(lab: Lab, base: Transformer, phase: str, think: bool, steps: int) -> Transformer:
    """R1-Zero: GRPO on the base with rule rewards. Without `think` the answer tag is prefilled (a control)."""
    config, rl = lab.config, replace(lab.config.rl, steps=steps)
    model, tokenizer, device = copy.deepcopy(base), lab.tokenizer, lab.device
    learner = make_learner(model, 0.0, rl.clip, device)
    first = restore(lab, phase, model, learner)
    reference = Reference(copy.deepcopy(base), model, rl)
    if first and rl.kl > 0:
        reference.held.load_state_dict(lab.run.load_state(phase)["held"])
    prefix, settings = "" if think else ANSWER, sampling(tokenizer, rl.max_tokens if think else 64, rl.temperature)
    sampler = make_sampler(model, device, config)
    examiner, validation = lab.examiner(sampler), lab.problems("validation", config.eval.validation)
    keys = ((rl.tasks, config.corpus.languages, "train", f"{config.seed} {phase} {s}", rl.prompts) for s in range(first, steps))
    problems = ordered(draw_problems, keys, 1 if device.name == "cpu" else 4)
    bar = tqdm(total=steps, initial=first, desc=phase, unit="step", dynamic_ncols=True)
    clock = {"start": time.time(), "sampled": 0.0}
    history: list[dict] = []

    def generate(step: int):
        clock["step"] = time.time()
        generator = torch.Generator(device.name).manual_seed(config.seed * 1_000_003 + step)
        early = think and rl.early_tokens and step < steps // 2
        budget = replace(settings, max_tokens=rl.early_tokens) if early else settings
        rollouts = roll_out(model, tokenizer, next(problems), rl.group_size, budget, generator, sampler, prefix)
        clock["sampled"] = time.time()
        return rollouts

    def validate(step: int) -> None:
        rollouts = examiner.roll(model, validation, seed=step, settings=settings, prefix=prefix)
        result = outcome(rollouts)
        lab.run.log("validate" if think else "validate_answer_only", step=step, **result)
        if think:
            lab.run.samples("rl", step, transcripts(rollouts, step, 20))
            figure = f"{100 * result['accuracy']:.1f}% ± {100 * result['stderr']:.1f}"
            tqdm.write(f"  step {step:4d}: validation {figure}, {verdict(history)}")

    def on_step(step: int, rollouts, adv_B, stats) -> None:
        now = time.time()
        row = outcome(rollouts) | stats | {
            "reward": sum(r.total(rl) for r in rollouts.rewards) / len(rollouts.rewards),
            "language": sum(r.language for r in rollouts.rewards) / len(rollouts.rewards),
            "tokens": sum(rollouts.lengths()), "lr": learning_rate(step, rl), "seconds": now - clock["start"],
            "seconds_rollout": clock["sampled"] - clock["step"], "seconds_update": now - clock["sampled"],
        }  # fmt: skip
        row["tokens_s"] = row["tokens"] / (now - clock["step"])
        history.append(row)
        lab.run.log(phase, step=step + 1, **row)
        bar.update()
        bar.set_postfix_str(f"right {100 * row['accuracy']:.0f}%, length {row['length']:.0f}, signal {100 * row['signal']:.0f}%")
        if (step + 1) % rl.evaluate_every == 0 or step + 1 == steps:
            validate(step + 1)
        if (step + 1) % rl.checkpoint_every == 0 and step + 1 < steps:
            keep_state(lab, phase, step + 1, model, learner, held=reference.held.state_dict() if rl.kl > 0 else None)

    if first == 0:
        validate(0)
    with accelerate(model, device):
        train(model, learner, range(first, steps), rl, tokenizer.pad, generate, on_step, LOSSES[rl.loss], reference)
    bar.close()
    return model


class Reference:
    """The policy that the KL term holds on to: first the base, then, every kl_refresh steps, the policy itself.

    Without a KL term it only measures how far the policy has gone from the base, at validation steps.
    """

    def __init__(self, base: Transformer, model: Transformer, rl):
        self.held, self.model, self.rl = base, model, rl

    def __call__(self, step: int) -> Transformer | None:
        if self.rl.kl > 0 and step and step % self.rl.kl_refresh == 0:
            self.held = copy.deepcopy(self.model).requires_grad_(False)
        return self.held if self.rl.kl > 0 or step % self.rl.evaluate_every == 0 else None


def transcripts(rollouts, step: int, count: int) -> list[dict]:
    return [
        {"step": step, "id": str(i), "question": rollouts.problem(i).question(), "response": text,
         "correct": bool(rollouts.rewards[i].accuracy), "tokens": len(rollouts.response_ids[i])}
        for i, text in enumerate(rollouts.texts[:count])
    ]  # fmt: skip


# ---------------------------------------------------------------- the test, read once


def test(lab: Lab, models: dict[str, Transformer]) -> dict:
    """Every policy and every reference line on the same held-out problems."""
    config, base, zero = lab.config, models["base"], models["zero"]
    examiner = lab.examiner(make_sampler(base, lab.device, config))
    problems = lab.problems("test", config.eval.problems)
    some = problems[: config.eval.many]
    found = {"base": examiner.examine(base, problems), "zero": examiner.examine(zero, problems)}
    tries = {k: found["zero"].get(f"attempts_{k}", found["zero"].get("attempts", 1)) for k in (3, 4, 5, 6)}
    references = {
        "blind_tokens": blind(problems, lab.tokenizer, config.rl.max_tokens),
        "blind_attempts": blind(problems, lab.tokenizer, 10**9, tries),
        "blind_hit_rates": blind_hit_rates(problems),
        "forced_base": examiner.forced(base, some),
        "pass64_base": examiner.pass_at_any(base, some),
    }
    if "answer_only" in models:
        references["answer_only"] = examiner.answer_only(models["answer_only"], problems)
    for kind in [t.partition("=")[0].partition(":")[2] for t in config.rl.tasks if t.startswith("arithmetic")]:
        asked = draw_problems((f"arithmetic:{kind}",), config.corpus.languages, "test", f"test {kind}", config.eval.arithmetic)
        for name in found:
            found[name].setdefault("arithmetic", {})[kind] = examiner.examine(models[name], asked)
    return found | {"references": references}


# ---------------------------------------------------------------- putting it together


def open_run(arguments: list[str]) -> Run:
    if "--resume" in arguments:
        at = arguments.index("--resume")
        if len(arguments) != at + 2 or at:
            raise UserError("--resume takes a run folder and nothing else: its settings are in the folder")
        return Run.resume(Path(arguments[at + 1]))
    config = parse_command_line(arguments, default="gpu" if torch.cuda.is_available() else "cpu")
    draw_problems(config.rl.tasks, config.corpus.languages, "train", "check", 1)
    return Run.start(Path(config.out or f"runs/{config.preset}-{config.seed}"), config)


def phase(lab: Lab, name: str, work) -> object:
    """Do a phase once: a resumed run takes its recorded result."""
    if name not in lab.run.progress:
        start = time.time()
        result = work()
        lab.run.finish(name, {"seconds": time.time() - start, "result": result})
    return lab.run.progress[name]["result"]


def policy(lab: Lab, base: Transformer, name: str, think: bool, steps: int) -> Transformer:
    path = lab.run.checkpoints / f"{'zero' if think else name}.pt"
    phase(lab, name, lambda: save_checkpoint(path, reinforce(lab, base, name, think, steps), lab.tokenizer))
    return load_checkpoint(path, lab.device.name)[0]


def main(arguments: list[str]) -> None:
    start = time.time()
    run = open_run(arguments)
    config = run.config
    lab = Lab(run, pick_device(config))
    torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for every shape, and ours vary
    if config.threads:
        torch.set_num_threads(config.threads)
    random.seed(config.seed), np.random.seed(config.seed), torch.manual_seed(config.seed)
    print(f"minir1 zero: preset {config.preset}, seed {config.seed}, {lab.device}; run folder {run.path}")
    phase(lab, "pretrain", lambda: base_model(lab) and None)
    base = base_model(lab)
    if config.rl.steps == 0:
        print(f"the base model is {run.checkpoints / 'base.pt'}")
        return
    models = {"base": base, "zero": policy(lab, base, "rl", True, config.rl.steps)}
    if config.eval.answer_only_steps:
        models["answer_only"] = policy(lab, base, "answer_only", False, config.eval.answer_only_steps)
    phase(lab, "test", lambda: test(lab, models))
    print(finish(run, lab.device, base.parameter_counts(), time.time() - start, sys.argv))


if __name__ == "__main__":
    sys.exit(guard(main, sys.argv[1:]))
