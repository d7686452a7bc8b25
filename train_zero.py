"""R1-Zero from random weights: base model -> GRPO with rule rewards -> report.

    python train_zero.py                       the preset that fits this machine
    python train_zero.py --preset gpu --seed 1
    python train_zero.py --resume runs/gpu-1   go on after an interruption

Reads like section 2 of the R1 report: a base model, a template, rule rewards, GRPO; no fine-tuning in
between. Beside the trained policy stand the baselines that it must beat: blind search with the same
tokens and with as many attempts, the base that may not stop before it says yes, and a policy that may
only answer, trained by the same rules.
"""

import sys
from functools import partial

import torch

from minir1.checkpoint import load_checkpoint
from minir1.config import RLConfig, replace
from minir1.console.errors import guard
from minir1.data import find_checkpoint
from minir1.fast.accelerate import make_sampler
from minir1.fast.warm import Waiting
from minir1.model import Transformer
from minir1.rollout import to_batch
from minir1.run.costs import parameter_counts
from minir1.run.phases import R1_ZERO, Draw, MiniWeb, Parts, RLPhase, pretrain
from minir1.run.session import Session
from minir1.run.summary import finish
from minir1.transcript import ANSWER

# ---------------------------------------------------------------- reinforcement learning


def reinforce(
    session: Session, start: Transformer, phase: str, rl: RLConfig, draw: Draw | None = None,
    parts: Parts = R1_ZERO, validate: bool = False, budget: float | None = None,
) -> Transformer:  # fmt: skip
    """The algorithm: sample groups, compare within each group, move towards the better ones.

    R1 report, section 2.1, Eq. 1-3. Every RL of this project is this loop: R1-Zero, the stages of R1,
    students, reward hacking, studies. minir1/run/phases.py says what the arguments mean.
    """
    rl_phase = RLPhase(session, start, phase, rl, draw, parts, validate, budget)
    model, learner = rl_phase.model, rl_phase.learner
    with rl_phase:
        for step in rl_phase.steps():
            rollouts = rl_phase.roll_out(step)  # G judged responses to each question
            learned = parts.revise(model, rollouts) if parts.revise else rollouts

            reward_B = torch.tensor([reward.total(rl) for reward in learned.rewards])
            adv_PG = parts.advantages(reward_B.view(-1, learned.group), rl.scale)  # Eq. 3

            batch = to_batch(learned, session.tokenizer.pad, session.device.name)
            adv_B = adv_PG.flatten().to(session.device.name)
            lr, reference = rl_phase.learning_rate(step), rl_phase.reference(step)
            stats = parts.update(model, learner, batch, adv_B, rl, lr, rl_phase.loss, reference)  # Eq. 1

            rl_phase.finish_step(step, learned, stats)
    return model.eval()


# ---------------------------------------------------------------- putting it together


def base_model(session: Session, reader: MiniWeb | None = None) -> Transformer:
    """The base: pretrained here on the mini-web, or a checkpoint, given or shipped."""
    config = session.config
    if config.from_scratch:
        return pretrain(session, config.model, reader or MiniWeb(config), early=Waiting)
    model, session.tokenizer = load_checkpoint(find_checkpoint(config.base) or config.base)
    return model


def r1_zero(session: Session, base: Transformer, parts: Parts = R1_ZERO) -> Transformer:
    """GRPO on the base with rule rewards, nothing else."""
    return reinforce(session, base, "rl", session.config.rl, parts=parts, validate=True)


def answer_only(session: Session, base: Transformer, steps: int) -> Transformer:
    """A control: the same RL on a policy that may not think, for the answer tag is prefilled."""
    config = session.config
    rl = replace(config.rl, steps=steps, max_tokens=64, early_tokens=0)
    parts = Parts(prefix=ANSWER, sampler=lambda model: make_sampler(model, session.device, config))
    return reinforce(session, base, "answer_only", rl, parts=parts, validate=True)


def zero(session: Session) -> str:
    """All phases, each done once; returns the result in words."""
    config = session.config
    base = session.load_or_make("pretrain", lambda: base_model(session), "base")
    if config.rl.steps == 0:
        return f"the base model is {session.run.checkpoints / 'base.pt'}"
    models = {"base": base}
    models["zero"] = session.load_or_make("rl", lambda: r1_zero(session, base), "zero")
    if steps := config.eval.answer_only_steps:
        work = partial(answer_only, session, base, steps)
        models["answer_only"] = session.load_or_make("answer_only", work)
    session.once("test", lambda: test(session, models))
    return finish(session.run, session.device, parameter_counts(base), sys.argv)


def test(session: Session, models: dict[str, Transformer]) -> dict:
    """The test set, used once: every policy and every baseline on the same held-out problems."""
    sampler = make_sampler(models["base"], session.device, session.config)
    return session.evaluator(sampler).compare(models, session.problems, session.config)


def main(arguments: list[str]) -> None:
    session = Session.open(arguments)
    with session.resumable("train_zero.py"):
        print(zero(session))


if __name__ == "__main__":
    sys.exit(guard(main, sys.argv[1:], "train_zero.py"))
