"""Milliseconds of each part of an RL step, of one tree of minir1:

    python results/bench/parts.py TREE
    python results/bench/parts.py . --preset cpu --prompts 4 --group 4 --tokens 16 --steps 3

TREE, the root of a clone, comes first on sys.path, so that states of the code can be compared.
Two cases: `fixed`, all responses as long as allowed, paid by their share of digits; `own end`,
responses that end by themselves, judged by rule. Parts are measured in steps of their own, with a
wait for the device before and after each part; the whole step with no other waits than its own.
"""

import argparse
import statistics
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("tree")
parser.add_argument("--preset", default="gpu")
parser.add_argument("--prompts", type=int, default=64)
parser.add_argument("--group", type=int, default=16)
parser.add_argument("--tokens", type=int, default=256)
parser.add_argument("--steps", type=int, default=20)
OPTIONS = parser.parse_args()
sys.path.insert(0, OPTIONS.tree)

import torch  # noqa: E402

from minir1 import grpo  # noqa: E402
from minir1.checkpoint import load_checkpoint  # noqa: E402
from minir1.config import apply, replace  # noqa: E402
from minir1.experiments.bench.others import share_of_digits  # noqa: E402
from minir1.fast.accelerate import accelerate, make_sampler  # noqa: E402
from minir1.fast.device import make_learner, pick_device  # noqa: E402
from minir1.presets import PRESETS  # noqa: E402
from minir1.rollout import Batch, roll_out, sampling, to_batch  # noqa: E402
from minir1.run.progress import describe  # noqa: E402
from minir1.sampler import Sampling, Stream  # noqa: E402
from minir1.tasks import draw_problems  # noqa: E402

CONFIG = PRESETS[OPTIONS.preset]
DEVICE = pick_device(CONFIG)
COUNT = OPTIONS.prompts * OPTIONS.group
torch.backends.cuda.enable_cudnn_sdp(False)
MODEL, TOKENIZER = load_checkpoint(
    f"{OPTIONS.tree}/minir1/data/zero-{OPTIONS.preset}.pt", DEVICE.name
)
RL = replace(CONFIG.rl, prompts=OPTIONS.prompts, group_size=OPTIONS.group, minibatches=1)
PROBLEMS = draw_problems(RL.tasks, ("en",), "validation", "bench", OPTIONS.prompts)
LEARNER = make_learner(MODEL, 0.0, RL.clip, DEVICE)
SIZES = {"rl.prompts": OPTIONS.prompts, "rl.group_size": OPTIONS.group, "eval.batch": COUNT}
SAMPLER = make_sampler(MODEL, DEVICE, apply(CONFIG, SIZES), TOKENIZER)
FIXED = Sampling(OPTIONS.tokens, (TOKENIZER.pad,), ban_ids=(TOKENIZER.end, TOKENIZER.pad))
ON_HOST = hasattr(Batch, "sent")  # whether this tree's update wants its advantages on the host


def wait() -> None:
    if DEVICE.name == "cuda":
        torch.cuda.synchronize()


def seconds_of(function, *arguments, **options) -> tuple:
    """(seconds, result), the device idle before and after."""
    wait()
    start = time.perf_counter()
    result = function(*arguments, **options)
    wait()
    return time.perf_counter() - start, result


def untimed(name, function):
    return function


class Clock(dict):
    """Seconds by part, of one step."""

    def __call__(self, name, function):
        def call(*arguments, **options):
            seconds, result = seconds_of(function, *arguments, **options)
            self[name] = self.get(name, 0.0) + seconds
            return result

        return call


def advantages(rollouts, by_rule: bool) -> torch.Tensor:
    if by_rule:
        rewards = [reward.total(RL) for reward in rollouts.rewards]
    else:
        rewards = share_of_digits(rollouts.texts)
    adv_PG = torch.tensor(rewards).view(-1, OPTIONS.group)
    adv_B = grpo.advantages(adv_PG, RL.scale).flatten()
    return adv_B if ON_HOST else adv_B.to(DEVICE.name)


def step(number: int, how, by_rule: bool, clock=untimed) -> float:
    """One step as train_zero.reinforce does it: the mean length with the prompt."""
    draw, stream = clock("sampler", SAMPLER), Stream.of("bench", number)
    roll = clock("rollout", roll_out)
    rollouts = roll(MODEL, TOKENIZER, PROBLEMS, OPTIONS.group, how, stream, draw)
    adv_B = clock("reward, advantages", advantages)(rollouts, by_rule)
    batch = clock("to_batch", to_batch)(rollouts, TOKENIZER.pad, DEVICE.name)
    stats = clock("update", grpo.update)(MODEL, LEARNER, batch, adv_B, RL, 1e-6)
    clock("statistics", describe)(rollouts, RL)
    for figure in stats.values():
        float(figure)  # reading waits for the device
    return float(batch.length_B.float().mean())


def case(name: str, how, by_rule: bool, steps: int) -> None:
    parts, whole = [], []
    with accelerate(MODEL, DEVICE):
        for number in range(3):
            step(number, how, by_rule)
        for number in range(steps):
            clock = Clock()
            total, _ = seconds_of(step, number, how, by_rule, clock)
            parts.append(clock | {"sum": total})
        for number in range(steps):
            seconds, length = seconds_of(step, number, how, by_rule)
            whole.append(seconds)
    print(f"{name}: {COUNT} responses of {length:.0f} tokens, median of {steps} steps, ms")
    middle = {key: 1e3 * statistics.median(row[key] for row in parts) for key in parts[0]}
    middle["host work"] = middle["sum"] - middle["sampler"] - middle["update"]
    middle["WHOLE STEP"] = 1e3 * statistics.median(whole)
    middle["least"] = 1e3 * min(whole)
    for key, value in middle.items():
        print(f"    {key:20s}{value:9.1f}", flush=True)


def generation() -> None:
    """Tokens a second, and a hash of the tokens drawn: equal in trees that draw the same."""
    prompts = [
        TOKENIZER.encode(f"<|begin|>User: {problem.question()}\nAssistant:") for problem in PROBLEMS
    ]
    drawn = (MODEL, prompts, OPTIONS.group, FIXED)
    SAMPLER(*drawn)
    ids = SAMPLER(*drawn, Stream.of("bench", 7)).ids_BT.cpu().long()
    places = 1 + torch.arange(ids.numel()).view_as(ids) % 9973
    print("tokens drawn, a hash:", int((ids * places).sum()))
    seconds = statistics.median(seconds_of(SAMPLER, *drawn)[0] for _ in range(7))
    print(f"generation: {COUNT * OPTIONS.tokens / seconds / 1e6:.3f} M tokens/s", flush=True)


print(f"{OPTIONS.tree}: {DEVICE}, torch {torch.__version__}")
generation()
case("fixed", FIXED, False, OPTIONS.steps)
case("own end", sampling(TOKENIZER, OPTIONS.tokens), True, max(2, OPTIONS.steps // 2))
