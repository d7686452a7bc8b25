"""Reinforcement learning with a learned process reward, beside the rule's.

    python results/unsuccessful/reward.py learned --seed 0 --out results/unsuccessful

The loop is train_zero.reinforce, plugged in as minir1/experiments/hacking does. Arms, each with the
same base, puzzles and numbers of samples:

    rule      1 for a right answer, -1 for a wrong one: R1-Zero
    learned   the mean over the steps of what a judge trained on the base's responses says of them
    both      the sum of the two
    stated    the mean over the steps of what the rules say: the judge without its errors
    wide      as learned; its judge has read responses of R1-Zero, too

OUT/reward-ARM-SEED.json grows with each measurement; --steps says how far it goes.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import torch
from judging import (
    LONGEST,
    Lines,
    Response,
    StepJudge,
    learn_judge,
    read,
    sample_responses,
)

from minir1.checkpoint import load_checkpoint
from minir1.config import Config, apply
from minir1.console.files import write_text
from minir1.data import find_checkpoint
from minir1.experiments.hacking.command import Bench, Plan, chase, truth
from minir1.fast.device import pick_device
from minir1.fast.engine import Engine
from minir1.model import Transformer
from minir1.rollout import Rollouts
from minir1.run.session import Session

ARMS = ("rule", "learned", "both", "stated", "wide")
SHOWN = 24  # responses kept of a measurement

# format counts as in R1-Zero: 0.1 beside rewards in 0..1 is 0.2 beside rewards in -1..1
PLAN = Plan(steps=80, prompts=16, group=8, max_tokens=LONGEST, format=0.2)

Proxy = Callable[[Rollouts], list[float]]


def process_reward(scores: list[torch.Tensor]) -> list[float]:
    """The mean over a response's steps of P(good), from 0..1 to -1..1."""
    return [2 * score_S2[:, 0].mean().item() - 1 for score_S2 in scores]


def stated_reward(responses: list[Response]) -> list[float]:
    """The same of what the rules say."""
    return [2 * sum(r.good) / len(r.good) - 1 for r in responses]


class Rewards:
    """The rewards of the arms, each a function of rollouts."""

    def __init__(self, judge: StepJudge):
        self.judge, self.tokenizer = judge, judge.tokenizer

    def learned(self, rollouts: Rollouts) -> list[float]:
        return process_reward(self.judge.read(read(rollouts, self.tokenizer)))

    def stated(self, rollouts: Rollouts) -> list[float]:
        return stated_reward(read(rollouts, self.tokenizer))

    def both(self, rollouts: Rollouts) -> list[float]:
        return [a + b for a, b in zip(self.learned(rollouts), truth(rollouts))]

    def of(self, arm: str) -> Proxy:
        return {"rule": truth, "both": self.both, "stated": self.stated}.get(arm, self.learned)


# ---------------------------------------------------------------- what is measured


def count_steps(responses: list[Response], scores: list[torch.Tensor]) -> dict[str, float]:
    """How the steps are, and what the judge says of them; sums over responses."""
    counts: Counter = Counter(responses=len(responses))
    for r, score_S2 in zip(responses, scores):
        lines = Lines(r.problem)
        good = [lines.judge(step) for step in r.steps[:-1]]
        said = score_S2[:-1, 0] > 0.5
        counts.update(
            right=r.right, steps=len(r.steps), lines=len(good), good_lines=sum(good),
            false=lines.false, empty=lines.empty, repeated=lines.repeated,
            after_hit=lines.after_hit, hit=lines.solved,
            lines_judged_good=int(said.sum()),
            bad_lines_judged_good=sum(s and not g for s, g in zip(said.tolist(), good)),
            answers_judged_right=int(score_S2[-1, 0] > 0.5),
            wrong_judged_right=int(score_S2[-1, 0] > 0.5) * (not r.right),
            answer_value=score_S2[-1, 0].item(),
        )
    return dict(counts)


def show(r: Response, score_S2: torch.Tensor) -> dict:
    steps = [
        {"step": text, "good": good, "judged": round(value, 3)}
        for text, good, value in zip(r.steps, r.good, score_S2[:, 0].tolist())
    ]
    return {"question": r.problem.question(), "right": r.right, "steps": steps}


class Watch:
    """The proxy that `chase` measures: notes more about the responses it is asked about."""

    def __init__(self, rewards: Rewards, save: Callable[[list[dict]], None]):
        self.rewards, self.save, self.rows, self.start = rewards, save, [], time.time()

    def __call__(self, rollouts: Rollouts) -> list[float]:
        responses = read(rollouts, self.rewards.tokenizer)
        scores = self.rewards.judge.read(responses)
        values = process_reward(scores)
        row = {"step": len(self.rows) * PLAN.every, "seconds": time.time() - self.start}
        row |= {"learned": mean(values), "stated": mean(stated_reward(responses))}
        row |= {"truth": mean([float(r.right) for r in responses])}
        row |= {"length": mean(rollouts.lengths()), "stopped": mean(rollouts.stopped)}
        row |= count_steps(responses, scores)
        row["shown"] = [show(*pair) for pair in list(zip(responses, scores))[:SHOWN]]
        for earlier in self.rows[1:]:
            earlier["shown"] = earlier["shown"][:4]
        self.rows.append(row)
        self.save(self.rows)
        return values


def mean(values: list) -> float:
    return sum(values) / len(values)


# ---------------------------------------------------------------- the command


def make_judge(
    arm: str, base: Transformer, tokenizer, dtype: torch.dtype, seed: int, count: int
) -> tuple[StepJudge, dict]:
    """A judge that has read `count` responses of the base, or half of them R1-Zero's."""
    policies, held_out = [base], min(2048, count)
    if arm == "wide":
        policies.append(load_checkpoint(find_checkpoint("zero-cpu.pt"))[0])
    train, held = [], []
    for i, policy in enumerate(policies):
        sampler, key = Engine(policy, dtype, 256, LONGEST).sample, f"judge {seed} {i}"
        how = (policy, tokenizer, sampler, key)
        train += sample_responses(*how, "train", count // len(policies))
        held += sample_responses(*how, "validation", held_out // len(policies))
    Random(f"mix {seed}").shuffle(train)
    return learn_judge(base, tokenizer, train, held, seed)


def run(
    arm: str, seed: int, out: Path, steps: int, read_first: int, problems: int,
    prompts: int = PLAN.prompts,
) -> Path:
    torch.manual_seed(seed)
    plan, start = replace(PLAN, steps=steps, problems=problems, prompts=prompts), time.time()
    config = apply(Config(seed=seed, device="cpu", rl=plan.rl()), {"eval.batch": 128})
    device = pick_device(config)
    base, tokenizer = load_checkpoint(find_checkpoint("base-cpu.pt"))
    session = Session.unsaved(config, device, tokenizer)
    judge, figures = make_judge(arm, base, tokenizer, device.dtype, seed, read_first)
    head = {"arm": arm, "seed": seed, "judge": figures, "judge_seconds": time.time() - start}
    head |= {"steps": steps, "prompts": plan.prompts, "group": plan.group}
    head |= {"torch": torch.__version__}
    print(json.dumps(head), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"reward-{arm}-{seed}.json"

    def save(rows: list[dict]) -> None:
        write_text(path, json.dumps(head | {"rows": rows}, indent=1, ensure_ascii=False))

    rewards = Rewards(judge)
    chase(Bench(session, "reasoning", plan), base, Watch(rewards, save), rewards.of(arm), arm)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("arm", choices=ARMS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=PLAN.steps)
    parser.add_argument("--read", type=int, default=8192, help="responses that train the judge")
    parser.add_argument("--problems", type=int, default=256, help="held-out puzzles measured")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(run(given.arm, given.seed, given.out, given.steps, given.read, given.problems))


if __name__ == "__main__":
    main()
