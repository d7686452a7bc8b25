"""R1-Zero with your five functions in the real loop: python train_with_mine.py [--steps 40]

Writes mine.jsonl (a row a step) and mine.png (your curve beside the golden run) into --out. It takes the shipped base
and the loop of minir1.grpo.train. Smaller steps than the golden run's (24 puzzles instead of 32, at most 128 tokens
instead of 256), because your sampler keeps rows that have ended.
"""

import argparse
import json
import sys
from pathlib import Path

import adapters
import torch

import minir1.grpo
from minir1.checkpoint import load_checkpoint
from minir1.config import RLConfig, UserError, replace
from minir1.rollout import roll_out
from minir1.supervised import Learner
from minir1.console import errors as cli
from minir1.report.drawing import BLUE, RED, save, smooth
from minir1.tasks import draw_problems
from minir1.measure.evaluator import outcome
from minir1.rollout import sampling
from minir1.report.words import column, phase

HERE = Path(__file__).parent
GOLDEN = HERE.parents[1] / "results" / "cpu-seed0" / "metrics.jsonl"
GAIN = 0.10  # what the last five steps must be above the first two, for the last 4 points


def practise(config: RLConfig, path: Path) -> list[dict]:
    """The real loop with your functions; one row a step, written as they come."""
    model, tokenizer = load_checkpoint(Path(minir1.__file__).parent / "data" / "base-cpu.pt")
    adapters.plug_attention(model)
    settings, rows = sampling(tokenizer, config.max_tokens), []

    def respond(step):
        problems = adapters.judged(draw_problems(config.tasks, ("en",), "train", f"homework {step}", config.prompts))
        generator = torch.Generator().manual_seed(step)
        return roll_out(model, tokenizer, problems, config.group_size, settings, generator, adapters.sample)

    def told(step, rollouts, adv_B, stats):
        rows.append({"phase": "rl", "step": step + 1} | outcome(rollouts) | stats)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        print(f"step {step + 1:>3}: right {rows[-1]['accuracy']:4.0%}, {rows[-1]['length']:5.1f} tokens", flush=True)

    minir1.grpo.advantages = lambda reward_PG, scale: adapters.advantages.advantages(reward_PG)
    minir1.grpo.train(
        model, Learner(model, clip=config.clip), range(config.steps), config, tokenizer.pad, respond, told, adapters.grpo_loss
    )
    return rows


def plot(rows: list[dict], path: Path) -> None:
    from matplotlib.figure import Figure

    golden = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()] if GOLDEN.is_file() else []
    figure = Figure((9, 3.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("accuracy", "length")):
        for label, found, colour in (("golden run, seed 0", phase(golden, "rl"), BLUE), ("yours", rows, RED)):
            x, y = column(found, name)
            axes.plot(x, y, color=colour, alpha=0.3)
            axes.plot(x, smooth(y) if y else y, color=colour, label=label)
        axes.set(xlabel="step", title=name)
        axes.set_ylim(0)
        axes.legend()
    save(figure, path)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("train_with_mine.py", description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--steps", type=int, default=40, help="steps of reinforcement learning (default: 40)")
    parser.add_argument("--prompts", type=int, default=24, help="puzzles a step (default: 24)")
    parser.add_argument("--out", type=Path, default=HERE, help="where mine.jsonl and mine.png go (default: this folder)")
    given = cli.parse(parser, arguments)
    if given.steps < 1 or given.prompts < 2 or given.prompts % 2:
        raise UserError("--steps must be at least 1, --prompts even and at least 2")
    given.out.mkdir(parents=True, exist_ok=True)
    config = replace(RLConfig(), steps=given.steps, prompts=given.prompts, max_tokens=128)
    rows = practise(config, given.out / "mine.jsonl")
    plot(rows, given.out / "mine.png")
    accuracy = [row["accuracy"] for row in rows]
    first, last = sum(accuracy[:2]) / len(accuracy[:2]), sum(accuracy[-5:]) / len(accuracy[-5:])
    points = 4 if len(rows) >= 10 and last - first >= GAIN else 0
    print(f"right {first:.0%} -> {last:.0%} (first two, last five steps): {points} of 4 points; see {given.out / 'mine.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.guard(main, sys.argv[1:], "train_with_mine.py"))
