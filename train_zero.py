"""R1-Zero from random weights: base model -> GRPO with rule rewards -> report.

    python train_zero.py                       the preset that fits this machine
    python train_zero.py --preset gpu --seed 1
    python train_zero.py --resume runs/gpu-1   go on after an interruption

Reads like section 2 of the R1 report: a base model, a template, rule rewards, GRPO; no fine-tuning
in between. Beside the trained policy stand the baselines that it must beat: blind search with the
same tokens and with as many attempts, the base that may not stop before it says yes, and a policy
that may only answer, trained by the same rules.
"""

import sys
from functools import partial

import torch

from minir1.checkpoint import load_checkpoint
from minir1.config import replace
from minir1.console.errors import guard
from minir1.data import find_checkpoint
from minir1.model import Transformer
from minir1.rollout import to_batch
from minir1.run.costs import parameter_counts
from minir1.run.phases import R1_ZERO, MiniWeb, Parts, RLPhase, pretrain
from minir1.run.session import Session
from minir1.run.summary import finish, next_steps
from minir1.transcript import ANSWER

# ---------------------------------------------------------------- reinforcement learning


def reinforce(phase: RLPhase) -> Transformer:
    """The algorithm: sample groups, compare within each group, move towards the better ones.

    R1 report, section 2.1, Eq. 1-3. Every RL of this project is this loop: R1-Zero, the stages of
    R1, students, reward hacking, studies. What they exchange is in `phase.parts`.
    """
    model, learner, rl, parts = phase.model, phase.learner, phase.rl, phase.parts
    device, pad = phase.session.device.name, phase.session.tokenizer.pad
    with phase:
        for step in phase.steps():
            rollouts = phase.roll_out(step)  # G responses to each question, judged by rule
            rollouts = parts.revise(model, rollouts)

            reward_B = torch.tensor([reward.total(rl) for reward in rollouts.rewards])
            reward_PG = reward_B.view(-1, rollouts.group)
            adv_B = parts.advantages(reward_PG, rl.scale).flatten()  # Eq. 3

            batch, lr = to_batch(rollouts, pad, device), phase.learning_rate(step)
            how = (rl, lr, phase.loss, phase.reference(step))
            stats = parts.update(model, learner, batch, adv_B, *how)  # Eq. 1

            phase.finish_step(step, rollouts, stats)
    return model.eval()


# ---------------------------------------------------------------- putting it together


def base_model(session: Session, reader: MiniWeb | None = None) -> Transformer:
    """The base: pretrained here on the mini-web, or a checkpoint, given or shipped."""
    config = session.config
    if config.from_scratch:
        return pretrain(session, config.model, reader or MiniWeb(config), compile_sampler=True)
    model, session.tokenizer = load_checkpoint(find_checkpoint(config.base) or config.base)
    return model


def r1_zero(session: Session, base: Transformer, parts: Parts = R1_ZERO) -> Transformer:
    """GRPO on the base with rule rewards, nothing else."""
    rl = session.config.rl
    return reinforce(RLPhase(session, base, "rl", rl, parts=parts, validate=True))


def answer_only(session: Session, base: Transformer, steps: int) -> Transformer:
    """A control: the same RL on a policy that may not think, for the answer tag is prefilled."""
    rl = replace(session.config.rl, steps=steps, max_tokens=64, early_tokens=0)
    parts = Parts(prefix=ANSWER)
    return reinforce(RLPhase(session, base, "answer_only", rl, parts=parts, validate=True))


def zero(session: Session) -> str:
    """All phases, each done once; returns the result in words."""
    config = session.config
    base = session.load_or_make("pretrain", lambda: base_model(session), "base")
    if config.rl.steps == 0:
        path = session.run.checkpoints / "base.pt"
        return f"the base model is {path}\n{next_steps(path)}"
    models = {"base": base}
    models["zero"] = session.load_or_make("rl", lambda: r1_zero(session, base), "zero")
    if steps := config.eval.answer_only_steps:
        work = partial(answer_only, session, base, steps)
        models["answer_only"] = session.load_or_make("answer_only", work)
    session.once("test", lambda: test(session, models))
    return finish(session.run, session.device, parameter_counts(base), sys.argv)


def test(session: Session, models: dict[str, Transformer]) -> dict:
    """The test set, used once: every policy and every baseline on the same held-out problems."""
    evaluator = session.evaluator(session.sampler(models["base"]))
    return evaluator.compare(models, session.problems, session.config)


def main(arguments: list[str]) -> None:
    session = Session.open(arguments)
    with session.resumable("train_zero.py"):
        print(zero(session))


if __name__ == "__main__":
    sys.exit(guard(main, sys.argv[1:], "train_zero.py"))
