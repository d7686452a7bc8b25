"""Reward hacking, made to happen twice (R1 report, section 2.2 and Fig. 6; Gao et al., arXiv 2210.10760).

    python -m minir1.experiments.hacking.command preference minir1/data/base-r1-cpu.pt --languages en,zh --warm 200 --out runs/hacking
    python -m minir1.experiments.hacking.command reasoning minir1/data/base-r1-cpu.pt --languages en,zh --out runs/hacking

(or with --judge RUN/4-all-scenarios/checkpoints/preference.pt and RUN/checkpoints/dev3.pt of a pipeline run)

preference: general prompts, and the learned preference reward for far longer than R1 dared to (the last 400 of 1,700
steps). reasoning: what R1-Zero refused to do, a neural reward model in the place of the Countdown verifier, trained on right
and wrong responses of the very policy that then climbs it. Both follow the proxy and, on the same held-out problems, the
truth that a rule checks, beside the same RL with the rule as its reward. Each arm writes KIND-SEED-ARM.json; KIND.png draws
what there is in a folder, so that arms and seeds can run side by side.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch

from minir1.checkpoint import load_checkpoint
from minir1.config import Config, PretrainConfig, RLConfig
from minir1.console.errors import guard, parse
from minir1.console.files import write_text
from minir1.experiments.hacking.plot import draw_figure
from minir1.fast.accelerate import accelerate
from minir1.fast.device import Device, make_learner, pick_device
from minir1.fast.engine import Engine
from minir1.grpo import score_tokens, train
from minir1.measure.evaluator import sampling
from minir1.model import Transformer
from minir1.r1.data import curate
from minir1.r1.preference.model import POINTS_A_STEP, PreferenceModel, final_summary, response_of, train_points, train_preference
from minir1.r1.tasks import general
from minir1.rewards import score
from minir1.rollout import Rollouts, roll_out, to_batch
from minir1.supervised import train_supervised
from minir1.tasks import countdown
from minir1.tokenizer import Tokenizer
from minir1.transcript import Problem


@dataclass(frozen=True)
class Plan:
    """How an experiment is run."""

    steps: int = 120  # of reinforcement learning
    prompts: int = 16
    group: int = 8
    lr: float = 1e-4
    max_tokens: int = 64
    judge_steps: int = 100  # that train the reward model
    every: int = 10  # steps between measurements
    problems: int = 256  # measured, of the validation split
    format: float = 0.5  # weight of a well-formed response beside the proxy, which lies in -1..1 (R_general = R_RM + R_format)
    countdown: str = "cpu"
    languages: tuple[str, ...] = ("en",)


PLANS = {"preference": Plan(lr=5e-5, judge_steps=250), "reasoning": Plan(max_tokens=128)}
ARMS = ("hacked", "control")  # rewarded by the proxy; by the rule


class Hacked(NamedTuple):
    """A reward that a proxy gives; the truth is measured and does not count."""

    proxy: float
    accuracy: float
    format: float
    language: float
    weight: float  # of the format

    def total(self, config: RLConfig) -> float:
        return self.proxy + self.weight * self.format


Proxy = Callable[[Rollouts], list[float]]  # one number a response, in -1..1
Draw = Callable[[Random, str], Problem]  # a problem of a split


@dataclass(frozen=True)
class Bench:
    """What both experiments share: where and how, and the problems they ask."""

    tokenizer: Tokenizer
    device: Device
    plan: Plan
    seed: int
    draw: Draw
    arms: tuple[str, ...] = ARMS

    def problems(self, split: str, key: object, count: int) -> list[Problem]:
        rng = Random(f"hacking {split} {key}")
        return [self.draw(rng, split) for _ in range(count)]

    def roll(self, model: Transformer, sampler, problems: list[Problem], group: int, seed: int) -> Rollouts:
        settings = sampling(self.tokenizer, self.plan.max_tokens)
        generator = torch.Generator(self.device.name).manual_seed(seed)
        rollouts = roll_out(model, self.tokenizer, problems, group, settings, generator, sampler)
        rewards = [score(rollouts.problem(row), curate.without_summary(text)) for row, text in enumerate(rollouts.texts)]
        return replace(rollouts, rewards=rewards)


def truth(rollouts: Rollouts) -> list[float]:
    """The rule as a proxy, for the control: 1 for right, -1 for wrong."""
    return [2 * reward.accuracy - 1 for reward in rollouts.rewards]


# ---------------------------------------------------------------- climbing a reward


def chase(bench: Bench, start: Transformer, proxy: Proxy, reward: Proxy, say: str) -> list[dict]:
    """GRPO from `start` with `reward`; every few steps both `proxy` and truth, measured on the same held-out problems."""
    plan, model = bench.plan, copy.deepcopy(start)
    rl = RLConfig(steps=plan.steps, prompts=plan.prompts, group_size=plan.group, lr=plan.lr, lr_end=1.0, max_tokens=plan.max_tokens)
    learner, held = make_learner(model, 0.0, rl.clip, bench.device), bench.problems("validation", "", plan.problems)
    sampler = Engine(model, bench.device.dtype, max(plan.prompts * plan.group, 128), plan.max_tokens).sample
    rows: list[dict] = []

    def look(step: int) -> None:
        rows.append(measure(bench, model, start, sampler, held, proxy, step))
        figures = (f"{name} {rows[-1][name]:.3f}" for name in ("proxy", "truth", "format", "length", "kl", "correlation"))
        print(f"{say} step {step}: {', '.join(figures)}", flush=True)

    def generate(step: int) -> Rollouts:
        problems = bench.problems("train", f"{bench.seed} {step}", plan.prompts)
        rollouts = bench.roll(model, sampler, problems, plan.group, bench.seed * 1_000_003 + step)
        given = zip(reward(rollouts), rollouts.rewards)
        return replace(rollouts, rewards=[Hacked(value, *judged, plan.format) for value, judged in given])

    def on_step(step: int, rollouts: Rollouts, adv_B, stats) -> None:
        if (step + 1) % plan.every == 0:
            look(step + 1)

    look(0)
    with accelerate(model, bench.device):
        train(model, learner, range(plan.steps), rl, bench.tokenizer.pad, generate, on_step)
    return rows


def measure(bench: Bench, model, start, sampler, held: list[Problem], proxy: Proxy, step: int) -> dict:
    """Proxy and truth of one response to each held-out problem, how they go together, and how far the policy has gone.

    kl: nats a response, log pi - log pi_start summed over its tokens, averaged. correlation: of proxy and truth over the responses.
    """
    rollouts = bench.roll(model, sampler, held, 1, seed=step)
    values, right = torch.tensor(proxy(rollouts)), torch.tensor([reward.accuracy for reward in rollouts.rewards])
    batch = to_batch(rollouts, bench.tokenizer.pad, bench.device.name)
    learner = make_learner(start, 0.0, 1.0, bench.device)  # only for its number format
    now_BT, then_BT = (score_tokens(m, learner, batch, RLConfig()) for m in (model, start))
    together = torch.corrcoef(torch.stack([values, right]))[0, 1].nan_to_num().item()
    return {
        "step": step,
        "proxy": values.mean().item(),
        "truth": right.mean().item(),
        "format": sum(reward.format for reward in rollouts.rewards) / len(held),
        "length": sum(rollouts.lengths()) / len(held),
        "kl": ((now_BT - then_BT) * batch.mask_BT).sum(1).mean().item(),
        "correlation": together,
        "samples": [
            {"question": p.question(), "response": text, "proxy": round(value, 3), "right": bool(r)}
            for p, text, value, r in list(zip(held, rollouts.texts, values.tolist(), right.tolist()))[:8]
        ],
    }  # fmt: skip


# ---------------------------------------------------------------- two proxies


def preference_experiment(bench: Bench, start: Transformer, saved: str | None = None) -> dict:
    """General prompts under the preference model, a saved one or one trained here; it sees the final summary only."""
    plan, device = bench.plan, bench.device.name
    if saved:
        judge = PreferenceModel.load(saved, device)
    else:
        judge = train_preference(start, bench.tokenizer, bench.seed, plan.judge_steps, device, plan.languages)

    def proxy(rollouts: Rollouts) -> list[float]:
        questions = [rollouts.problem(row).question() for row in range(len(rollouts.texts))]
        return judge.score(questions, [final_summary(text) for text in rollouts.texts]).tolist()

    return {"judge": judge.figures} | _arms(bench, start, proxy)


def reasoning_experiment(bench: Bench, start: Transformer) -> dict:
    """Countdown under a neural judge of whole responses, trained on what `start` wrote and whether it was right."""
    sampler = Engine(start, bench.device.dtype, 256, bench.plan.max_tokens).sample
    counts = {"train": POINTS_A_STEP * bench.plan.judge_steps, "validation": 1024}
    told = {split: _graded(bench, start, sampler, split, n) for split, n in counts.items()}
    judge = train_points(start, bench.tokenizer, told["train"], bench.seed, bench.device.name)
    whole = lambda questions, responses: judge.harmless_score(questions, responses)  # noqa: E731
    value_N = whole([q for q, *_ in told["validation"]], [r for _, r, _ in told["validation"]])
    right_N = torch.tensor([right for *_, right in told["validation"]])
    figures = {"accuracy": ((value_N > 0) == right_N).float().mean().item(), "auc": auc(value_N, right_N)}

    def proxy(rollouts: Rollouts) -> list[float]:
        questions = [rollouts.problem(row).question() for row in range(len(rollouts.texts))]
        return whole(questions, rollouts.texts).tolist()

    return {"judge": figures | {"read": len(told["train"])}} | _arms(bench, start, proxy)


def _graded(bench: Bench, start: Transformer, sampler, split: str, count: int) -> list[tuple[str, str, bool]]:
    """(question, response, right) of `count` responses, two to a problem."""
    found = []
    for i in range(0, count, 256):
        problems = bench.problems(split, f"judge {bench.seed} {i}", min(256, count - i) // 2)
        rollouts = bench.roll(start, sampler, problems, 2, seed=i)
        right = [bool(reward.accuracy) for reward in rollouts.rewards]
        found += [(rollouts.problem(row).question(), text, right[row]) for row, text in enumerate(rollouts.texts)]
    return found


def auc(value_N: torch.Tensor, right_N: torch.Tensor) -> float:
    """Chance that a right response is valued above a wrong one; a half if there are none to compare.

    >>> auc(torch.tensor([0.1, 0.4, 0.3, 0.9]), torch.tensor([False, True, False, True]))
    1.0
    """
    differ = value_N[right_N][:, None] - value_N[~right_N]
    return ((differ > 0).float() + 0.5 * (differ == 0).float()).mean().item() if differ.numel() else 0.5


def _arms(bench: Bench, start: Transformer, proxy: Proxy) -> dict[str, list[dict]]:
    """The same policy, problems and random numbers under each reward; both measured with `proxy` and truth."""
    rewards = {"hacked": proxy, "control": truth}
    return {arm: chase(bench, start, proxy, rewards[arm], arm) for arm in bench.arms}


# ---------------------------------------------------------------- the command


def warm_up(bench: Bench, model: Transformer, steps: int, rows: int = 32) -> None:
    """Fine-tune on general questions and answers for a while: a base that has never met them has nothing to be judged."""
    rng, plan = Random(f"hacking warm {bench.seed}"), bench.plan
    asked = (general.documents(rng, rng.choice(plan.languages)) for _ in range(steps * rows))
    lines = [(question, response_of(answer)) for question, answer in asked]
    learner = make_learner(model, 0.0, 1.0, bench.device, "muon")
    batches = curate.batches(lines, bench.tokenizer, rows, 1, bench.seed, bench.device.name)
    with accelerate(model, bench.device):
        train_supervised(model, learner, batches, PretrainConfig(lr=1e-3, warmup=0.05), steps, lambda step: None)
    model.eval()


def draw_of(kind: str, plan: Plan) -> Draw:
    if kind == "reasoning":
        return lambda rng, split: countdown.sample(rng, plan.countdown, split, rng.choice(plan.languages))
    kinds, shares = list(general.KINDS), [share for _, share in general.KINDS.values()]
    return lambda rng, split: general.sample(rng, rng.choices(kinds, shares)[0], split, rng.choice(plan.languages))


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("minir1 hack", description="Optimise a learned reward for too long, and look.")
    parser.add_argument("kind", choices=list(PLANS))
    parser.add_argument("checkpoint", help="policy to start from; the reward model is a copy of it with a head")
    parser.add_argument("--out", type=Path, required=True, help="folder for KIND-SEED-ARM.json and KIND.png")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arm", choices=ARMS, help="only one of the two: rewarded by the proxy, or by the rule")
    parser.add_argument("--steps", type=int, help="RL steps")
    parser.add_argument("--judge", help="preference: a saved preference model, such as stage 4's; trained here if not given")
    parser.add_argument("--judge_steps", type=int, help="steps that train the reward model")
    parser.add_argument("--lr", type=float, help="learning rate of the RL")
    parser.add_argument("--max_tokens", type=int, help="longest response")
    parser.add_argument("--warm", type=int, default=0, help="steps of fine-tuning on general answers before everything")
    parser.add_argument("--countdown", default="cpu", help="distribution of the puzzles")
    parser.add_argument("--languages", default="en", help="en, zh or en,zh")
    parser.add_argument("--device", default="auto")
    given = parse(parser, arguments)
    changes = {name: getattr(given, name) for name in ("steps", "judge_steps", "lr", "max_tokens") if getattr(given, name)}
    plan = replace(PLANS[given.kind], languages=tuple(given.languages.split(",")), countdown=given.countdown, **changes)
    general.register()
    torch.manual_seed(given.seed)
    device, start = pick_device(Config(device=given.device)), time.time()
    model, tokenizer = load_checkpoint(given.checkpoint, device.name)
    bench = Bench(tokenizer, device, plan, given.seed, draw_of(given.kind, plan), (given.arm,) if given.arm else ARMS)
    if given.warm:
        warm_up(bench, model, given.warm)
    found = preference_experiment(bench, model, given.judge) if given.kind == "preference" else reasoning_experiment(bench, model)
    told = {"kind": given.kind, "seed": given.seed, "command": " ".join(arguments), "device": str(device), "plan": asdict(plan)}
    told |= {"seconds": time.time() - start, "judge": found["judge"]}
    for arm in bench.arms:
        whole = json.dumps(told | {"arm": arm, "rows": found[arm]}, indent=1, ensure_ascii=False)
        write_text(given.out / f"{given.kind}-{given.seed}-{arm}.json", whole)
    print(f"judge: {found['judge']}; see {draw_figure(given.kind, given.out)}")


if __name__ == "__main__":
    sys.exit(guard(main, sys.argv[1:], "minir1.experiments.hacking.command"))
