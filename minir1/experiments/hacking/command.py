"""Reward hacking, made to happen twice (R1 report, 2.2 and Fig. 6; Gao et al., arXiv 2210.10760).

    python -m minir1 hack preference minir1/data/base-r1-cpu.pt --languages en,zh --warm 200 \\
        --out runs/hacking
    python -m minir1 hack reasoning minir1/data/base-r1-cpu.pt --languages en,zh --out runs/hacking

(or with --judge RUN/4-all-scenarios/checkpoints/preference.pt and RUN/checkpoints/dev3.pt of a
pipeline run)

preference: general prompts, and the learned preference reward for far longer than R1 dared to (the
last 400 of 1,700 steps). reasoning: what R1-Zero refused to do, a neural reward model in the place
of the Countdown verifier, trained on right and wrong responses of the very policy that then climbs
it. Both follow the proxy and, on the same held-out problems, the truth that a rule checks, beside
the same RL with the rule as its reward. Each arm writes KIND-SEED-ARM.json; KIND.png draws what
there is in a folder, so that arms and seeds can run side by side.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random

import torch

from minir1.checkpoint import load_checkpoint
from minir1.config import PERHAPS, Config, PretrainConfig, RLConfig, apply
from minir1.console.errors import make_parser, parse
from minir1.console.files import check_folder, write_json
from minir1.console.flags import Value, count, languages, length, seed, whole
from minir1.experiments.hacking.plot import draw_figure
from minir1.fast.device import make_learner, pick_device
from minir1.grpo import score_tokens
from minir1.model import Transformer
from minir1.r1.data import curation
from minir1.r1.preference import model as preference
from minir1.r1.preference.pairs import final_summary
from minir1.r1.preference.rewards import Judgement, plain, rejudged
from minir1.r1.tasks import general
from minir1.rewards import Reward
from minir1.rollout import Rollouts, roll_out, sampling, to_batch
from minir1.run.phases import Parts, RLPhase, supervised_phase
from minir1.run.session import Session
from minir1.sampler import Stream
from minir1.tasks import Problem, countdown
from train_zero import reinforce


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
    # weight of a well-formed response beside the proxy in -1..1 (R_general = R_RM + R_format)
    format: float = 0.5
    languages: tuple[str, ...] = ("en",)

    def rl(self) -> RLConfig:
        return RLConfig(
            steps=self.steps, prompts=self.prompts, group_size=self.group, lr=self.lr, lr_end=1.0,
            max_tokens=self.max_tokens, format_reward=self.format,
        )


PLANS = {"preference": Plan(lr=5e-5, judge_steps=250), "reasoning": Plan(max_tokens=128)}
ARMS = ("hacked", "control")  # rewarded by the proxy; by the rule


Proxy = Callable[[Rollouts], list[float]]  # one number per response, in -1..1


@dataclass(frozen=True)
class Bench:
    """What both experiments share: where and how, and the problems they ask."""

    session: Session
    kind: str
    plan: Plan
    arms: tuple[str, ...] = ARMS

    @property
    def seed(self) -> int:
        return self.session.config.seed

    def problems(self, split: str, key: object, count: int) -> list[Problem]:
        return draw_problems(self.kind, self.plan, split, key, count)

    def roll(self, model, sampler, problems: list[Problem], group: int, seed: int) -> Rollouts:
        tokenizer, stream = self.session.tokenizer, Stream.of("hacking", seed)
        settings = sampling(tokenizer, self.plan.max_tokens)
        rollouts = roll_out(model, tokenizer, problems, group, settings, stream, sampler)
        return rejudged(rollouts, plain)


def draw_problems(kind: str, plan: Plan, split: str, key: object, count: int) -> list[Problem]:
    """Puzzles for the neural judge of reasoning, general prompts for the preference model."""
    rng = Random(f"hacking {split} {key}")
    if kind == "preference":
        return [general.draw(rng, split, plan.languages) for _ in range(count)]
    draw = partial(countdown.sample, rng, "cpu", split)
    return [draw(rng.choice(plan.languages)) for _ in range(count)]


def hacked(value: float, true: Reward) -> Judgement:
    """A reward that a proxy gives; the truth is measured and does not count."""
    return Judgement(*true, preference=value, counts=False)


def truth(rollouts: Rollouts) -> list[float]:
    """The rule as a proxy, for the control: 1 for right, -1 for wrong."""
    return [2 * reward.accuracy - 1 for reward in rollouts.rewards]


# ---------------------------------------------------------------- climbing a reward


def chase(bench: Bench, start: Transformer, proxy: Proxy, reward: Proxy, arm: str) -> list[dict]:
    """GRPO from `start` with `reward`, every few steps measured on the same held-out problems."""
    plan, session = bench.plan, bench.session
    held, rows = bench.problems("validation", "", plan.problems), []

    def look(step: int, model: Transformer, sampler) -> None:
        rows.append(measure(bench, model, start, sampler, held, proxy, step))
        names = ("proxy", "truth", "format", "length", "kl", "correlation")
        figures = ", ".join(f"{name} {rows[-1][name]:.3f}" for name in names)
        print(f"{arm} step {step}: {figures}", flush=True)

    def draw(step: int) -> tuple:
        key = f"{bench.seed} {step}"
        return draw_problems, (bench.kind, plan, "train", key, plan.prompts)

    def judge(step: int, rollouts: Rollouts) -> list[Judgement]:
        judged = rejudged(rollouts, plain)
        return [*map(hacked, reward(judged), judged.rewards)]

    def after(step: int, phase: RLPhase, rollouts: Rollouts, stats) -> None:
        if (step + 1) % plan.every == 0:
            look(step + 1, phase.model, phase.sampler)

    look(0, start, session.sampler(start))
    parts = Parts(judge=judge, after=after)
    reinforce(RLPhase(session, start, arm, session.config.rl, draw, parts))
    return rows


def measure(
    bench: Bench, model, start, sampler, held: list[Problem], proxy: Proxy, step: int
) -> dict:
    """Proxy and truth of one response to each held-out problem, how they go together, and how far
    the policy has gone.

    kl: nats a response, log pi - log pi_start summed over its tokens, averaged. correlation: of
    proxy and truth over the responses.
    """
    rollouts = bench.roll(model, sampler, held, 1, seed=step)
    values = torch.tensor(proxy(rollouts))
    right = torch.tensor([reward.accuracy for reward in rollouts.rewards])
    session, shown = bench.session, zip(held, rollouts.texts, values.tolist(), right.tolist())
    batch = to_batch(rollouts, session.tokenizer.pad, session.device.name)
    learner = make_learner(start, 0.0, 1.0, session.device)  # only for its number format
    now_BT, then_BT = (score_tokens(m, learner, batch, RLConfig()) for m in (model, start))
    return {
        "step": step,
        "proxy": values.mean().item(),
        "truth": right.mean().item(),
        "format": sum(reward.format for reward in rollouts.rewards) / len(held),
        "length": sum(rollouts.lengths()) / len(held),
        "kl": ((now_BT - then_BT) * batch.mask_BT).sum(1).mean().item(),
        "correlation": torch.corrcoef(torch.stack([values, right]))[0, 1].nan_to_num().item(),
        "samples": [
            {"question": p.question(), "response": text, "proxy": round(value, 3), "right": bool(r)}
            for p, text, value, r in islice(shown, 8)
        ],
    }


# ---------------------------------------------------------------- two proxies


def questions_of(rollouts: Rollouts) -> list[str]:
    return [rollouts.problem(row).question() for row in range(len(rollouts.texts))]


def preference_experiment(bench: Bench, start: Transformer, saved: str | None = None) -> dict:
    """General prompts under a preference model, saved or trained here; it sees the summary only."""
    plan, device = bench.plan, bench.session.device.name
    if saved:
        judge = preference.PreferenceModel.load(saved, device)
    else:
        how = (bench.seed, plan.judge_steps, device, plan.languages)
        judge = preference.train_preference(start, bench.session.tokenizer, *how)

    def proxy(rollouts: Rollouts) -> list[float]:
        summaries = [final_summary(text) for text in rollouts.texts]
        return judge.score(questions_of(rollouts), summaries).tolist()

    return {"judge": judge.figures} | _arms(bench, start, proxy)


def reasoning_experiment(bench: Bench, start: Transformer) -> dict:
    """Countdown under a neural judge of whole responses, trained on `start`'s own."""
    session, plan = bench.session, bench.plan
    sampler = session.sampler(start)
    counts = {"train": preference.POINTS_A_STEP * plan.judge_steps, "validation": 1024}
    graded = {split: _graded(bench, start, sampler, split, n) for split, n in counts.items()}
    how = (bench.seed, session.device.name)
    judge = preference.train_points(start, session.tokenizer, graded["train"], *how)
    questions, responses, right = map(list, zip(*graded["validation"]))
    value_N, right_N = judge.harmless_score(questions, responses), torch.tensor(right)
    figures = {
        "accuracy": ((value_N > 0) == right_N).float().mean().item(),
        "auc": auc(value_N, right_N),
        "read": len(graded["train"]),
    }

    def proxy(rollouts: Rollouts) -> list[float]:
        return judge.harmless_score(questions_of(rollouts), rollouts.texts).tolist()

    return {"judge": figures} | _arms(bench, start, proxy)


def _graded(
    bench: Bench, start: Transformer, sampler, split: str, count: int
) -> list[tuple[str, str, bool]]:
    """(question, response, right) of `count` responses, two to a problem."""
    found = []
    for i in range(0, count, 256):
        problems = bench.problems(split, f"judge {bench.seed} {i}", min(256, count - i) // 2)
        rollouts = bench.roll(start, sampler, problems, 2, seed=i)
        right = [bool(reward.accuracy) for reward in rollouts.rewards]
        found += zip(questions_of(rollouts), rollouts.texts, right)
    return found


def auc(value_N: torch.Tensor, right_N: torch.Tensor) -> float:
    """Chance that a right response is valued above a wrong one; a half if there are none to
    compare.

    >>> auc(torch.tensor([0.1, 0.4, 0.3, 0.9]), torch.tensor([False, True, False, True]))
    1.0
    """
    differ = value_N[right_N][:, None] - value_N[~right_N]
    if not differ.numel():
        return 0.5
    return ((differ > 0).float() + 0.5 * (differ == 0).float()).mean().item()


def _arms(bench: Bench, start: Transformer, proxy: Proxy) -> dict[str, list[dict]]:
    """The same policy, problems and random numbers under each reward; both measured alike."""
    rewards = {"hacked": proxy, "control": truth}
    return {arm: chase(bench, start, proxy, rewards[arm], arm) for arm in bench.arms}


# ---------------------------------------------------------------- the command


def warm_up(bench: Bench, model: Transformer, steps: int, rows: int = 32) -> None:
    """Fine-tune on general answers: a base that has never met any has nothing to be judged."""
    rng, plan, session = Random(f"hacking warm {bench.seed}"), bench.plan, bench.session
    lines = []
    for _ in range(steps * rows):
        question, answer = general.documents(rng, rng.choice(plan.languages))
        lines.append((question, curation.render_response(answer)))

    def batches(first: int):
        device = session.device.name
        return curation.batches(lines, session.tokenizer, rows, 1, bench.seed, device)

    config = PretrainConfig(lr=1e-3, warmup=0.05, weight_decay=0.0)
    supervised_phase(session, model, "warm up", config, steps, batches)


def build_parser() -> argparse.ArgumentParser:
    parser, add = make_parser("hack", "Optimise a learned reward for too long, and look.")
    add("kind", choices=list(PLANS))
    add("checkpoint", help="policy to start from; the reward model is a copy of it with a head")
    add("--out", type=Path, required=True, help="folder for KIND-SEED-ARM.json and KIND.png")
    add("--seed", type=seed, default=0)
    add("--arm", choices=ARMS, help="only one of the two: rewarded by the proxy, or by the rule")
    add("--steps", type=count, help="RL steps")
    add("--judge", help="preference: a saved preference model, such as stage 4's")
    add("--judge_steps", type=count, help="steps that train the reward model")
    add("--max_tokens", type=length, help="longest response")
    warm = "steps of fine-tuning on general answers before all"
    add("--warm", type=Value(whole, PERHAPS), default=0, help=warm)
    add("--languages", type=languages, default="en", help="en, zh or en,zh")
    add("--device", default="auto")
    return parser


def main(arguments: list[str]) -> None:
    given = parse(build_parser(), arguments)
    names = ("languages", "steps", "judge_steps", "max_tokens")
    said = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    plan = replace(PLANS[given.kind], **said)
    check_folder(given.out)
    torch.manual_seed(given.seed)
    settings = {"seed": given.seed, "device": given.device, "rl": plan.rl()}
    config = apply(Config(**settings), {"eval.batch": 128})
    device, start = pick_device(config), time.time()
    model, tokenizer = load_checkpoint(given.checkpoint, device.name)
    session = Session.unsaved(config, device, tokenizer)
    bench = Bench(session, given.kind, plan, (given.arm,) if given.arm else ARMS)
    if given.warm:
        warm_up(bench, model, given.warm)
    learned = {"preference": partial(preference_experiment, saved=given.judge)}
    results = learned.get(given.kind, reasoning_experiment)(bench, model)
    head = {"kind": given.kind, "seed": given.seed, "command": " ".join(arguments)}
    head |= {"device": str(device), "plan": asdict(plan), "seconds": time.time() - start}
    for arm in bench.arms:
        found = head | {"judge": results["judge"], "arm": arm, "rows": results[arm]}
        write_json(given.out / f"{given.kind}-{given.seed}-{arm}.json", found)
    print(f"judge: {results['judge']}; see {draw_figure(given.kind, given.out)}")
