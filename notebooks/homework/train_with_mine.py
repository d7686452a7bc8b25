"""R1-Zero with your five functions in the real loop: python train_with_mine.py [--steps 40]

Writes mine.jsonl (a row a step) and mine.png (your curve beside the golden run) into --out. It
takes the shipped base and the loop of train_zero.py, with as many puzzles a step as the golden run.
Responses are shorter than there (at most 128 tokens instead of 256), because your sampler keeps
rows that have ended.
"""

import argparse
import json
import sys
from pathlib import Path

from matplotlib.figure import Figure

import adapters
from minir1.checkpoint import load_checkpoint
from minir1.config import COUNT, Config, RLConfig, UserError, replace
from minir1.console import errors
from minir1.console.flags import Value, whole
from minir1.data import find_checkpoint
from minir1.fast.device import pick_device
from minir1.measure.diagnosis import column, phase
from minir1.measure.evaluator import outcome
from minir1.report.drawing import BLUE, RED, save, smooth
from minir1.run.phases import Parts, RLPhase
from minir1.run.session import Session
from minir1.tasks import draw_problems

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GOLDEN = ROOT / "results" / "zero" / "cpu-seed0" / "metrics.jsonl"
GAIN = 0.10  # what the last five steps must be above the first two, for the last 4 points


def practise(rl: RLConfig, path: Path) -> list[dict]:
    """The real loop with your functions; one row a step, written as they come."""
    from train_zero import reinforce  # it stands in ROOT

    config = Config(device="cpu", rl=rl)
    model, tokenizer = load_checkpoint(find_checkpoint("base-cpu.pt"))
    adapters.plug_attention(model)
    rows = []

    def puzzles(step: int) -> list:
        key = f"homework {step}"
        return adapters.judged(draw_problems(rl.tasks, ("en",), "train", key, rl.prompts))

    def note(step: int, phase: RLPhase, rollouts, stats: dict) -> None:
        row = {"phase": "rl", "step": step + 1} | outcome(rollouts) | stats
        rows.append(row)
        path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
        figures = f"right {row['accuracy']:4.0%}, {row['length']:5.1f} tokens"
        print(f"step {step + 1:>3}: {figures}", flush=True)

    parts = Parts(
        advantages=adapters.group_advantages,
        loss=adapters.grpo_loss,
        sampler=lambda model: adapters.sample,
        after=note,
    )
    session = Session.unsaved(config, pick_device(config), tokenizer)
    reinforce(RLPhase(session, model, "rl", rl, lambda step: (puzzles, (step,)), parts))
    return rows


def read_golden() -> list[dict]:
    if not GOLDEN.is_file():
        return []
    return [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]


def plot(rows: list[dict], path: Path) -> None:
    figure = Figure((9, 3.4), layout="constrained")
    curves = (("golden run, seed 0", phase(read_golden(), "rl"), BLUE), ("yours", rows, RED))
    for axes, name in zip(figure.subplots(1, 2), ("accuracy", "length")):
        for label, points, colour in curves:
            x, y = column(points, name)
            axes.plot(x, y, color=colour, alpha=0.3)
            axes.plot(x, smooth(y) if y else y, color=colour, label=label)
        axes.set(xlabel="step", title=name)
        axes.set_ylim(0)
        axes.legend()
    save(figure, path)


def parse(arguments: list[str]) -> argparse.Namespace:
    about = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser("train_with_mine.py", description=about, allow_abbrev=False)
    add = parser.add_argument
    count = Value(whole, COUNT)
    add("--steps", type=count, default=40, help="steps of reinforcement learning (default: 40)")
    add("--prompts", type=count, default=24, help="puzzles a step (default: 24)")
    add("--out", type=Path, default=HERE, help="folder of mine.jsonl and mine.png (default: here)")
    given = errors.parse(parser, arguments)
    if given.prompts % 2:
        raise UserError("--prompts must be even")
    return given


def main(arguments: list[str]) -> int:
    given = parse(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    rl = replace(RLConfig(), steps=given.steps, prompts=given.prompts, max_tokens=128)
    rows = practise(rl, given.out / "mine.jsonl")
    plot(rows, given.out / "mine.png")
    accuracy = [row["accuracy"] for row in rows]
    first = sum(accuracy[:2]) / len(accuracy[:2])
    last = sum(accuracy[-5:]) / len(accuracy[-5:])
    points = 4 if len(rows) >= 10 and last - first >= GAIN else 0
    gain = f"right {first:.0%} -> {last:.0%} (first two, last five steps)"
    print(f"{gain}: {points} of 4 points; see {given.out / 'mine.png'}")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(errors.guard(main, sys.argv[1:], "train_with_mine.py"))
