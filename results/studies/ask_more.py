"""One puzzle, asked very often: how many responses are right, and how many right by their thought?

    python results/studies/ask_more.py RUN/checkpoints/base.pt 30,26,8,9,17 42 counts.jsonl

Samples as `study confirm` does (T = 1, at most 384 tokens), 2,048 at a time, until FILE holds
131,072; a line a round, with the right responses. The same command goes on where it was stopped.
"""

import argparse
import json
from pathlib import Path

from minir1.checkpoint import load_checkpoint
from minir1.config import apply
from minir1.console.flags import parts
from minir1.experiments.studies.create import right_ones
from minir1.fast.device import pick_device
from minir1.presets import PRESETS
from minir1.run.session import Session
from minir1.tasks.countdown import Countdown

ROUND = 2048
SETTINGS = {
    "rl.max_tokens": 384, "rl.early_tokens": 0, "kernels": "auto", "dtype": "auto",
    "eval.batch": 512,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("numbers", type=parts)
    parser.add_argument("target", type=int)
    parser.add_argument("file", type=Path, help="lines of JSON, added to")
    parser.add_argument("--samples", type=int, default=131_072)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    config = apply(PRESETS["t4"], SETTINGS)
    device = pick_device(config)
    model, tokenizer = load_checkpoint(options.checkpoint, device.name)
    session = Session.unsaved(config, device, tokenizer)
    evaluator = session.evaluator(session.sampler(model))
    problem = Countdown(tuple(map(int, options.numbers)), options.target)
    done = 0
    if options.file.is_file():
        done = len(options.file.read_text(encoding="utf-8").splitlines())
    for turn in range(done, -(-options.samples // ROUND)):
        seed = 1000 * (turn + 1) + options.seed
        for rollouts in evaluator.batches(model, [problem], ROUND, seed):
            ((hits, thought),) = right_ones(rollouts)
            row = {"samples": ROUND, "right": len(hits), "thought": thought, "texts": hits}
            with options.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            print(turn + 1, len(hits), thought, flush=True)


if __name__ == "__main__":
    main()
