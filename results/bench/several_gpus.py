"""Seconds of RL steps and tokens a second of pretraining, by 1 process or by several of one host.

    python results/bench/several_gpus.py runs/speed
    torchrun --standalone --nproc_per_node 4 results/bench/several_gpus.py runs/speed
    python results/bench/several_gpus.py runs/speed --draw     of what is there: the figure

Each writes speed-PROCESSES.json into the folder. Four parts: a step of RL of the `gpu` preset, the
same with four times the prompts, pretraining on one ready batch, pretraining on its own corpus.
Times are medians of seven steps (RL), or a mean over 400 steps (pretraining), after those that
compile. The longest response is not divided: it takes as long on any number of cards. Without a
GPU the smoke preset stands in.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch

from minir1.checkpoint import load_checkpoint
from minir1.data import find_checkpoint
from minir1.fast.device import pick_device
from minir1.fast.ranks import Ranks
from minir1.presets import PRESETS
from minir1.report.drawing import BLUE, GREY, ORANGE, RED, dress, figure_of, save
from minir1.run.phases import MiniWeb, Parts, RLPhase, pretrain
from minir1.run.session import Session, set_up_torch
from train_zero import reinforce

CUDA = torch.cuda.is_available()
WARM, STEPS = (5, 7) if CUDA else (1, 2)  # of RL
READ, SKIPPED = (460, 60) if CUDA else (9, 3)  # steps of pretraining; those not timed
PARTS = {
    "rl": ("a step of RL", BLUE), "rl_quad": ("a step of four times as many prompts", ORANGE),
    "pretrain_ready": ("pretraining, one ready batch", RED),
    "pretrain_corpus": ("pretraining, its corpus", GREY),
}


class Timed(MiniWeb):
    """The corpus, with the time at which each batch is asked for. `ready`: one batch again."""

    def __init__(self, config, ready: bool):
        super().__init__(config)
        self.ready, self.times = ready, []

    def batches(self, tokenizer, rows, row_tokens, first, count):
        shape = (rows, row_tokens + 1)
        fixed = np.random.default_rng(0).integers(0, len(tokenizer), shape)
        written = super().batches(tokenizer, rows, row_tokens, first, count)
        for batch in (fixed for _ in range(count)) if self.ready else written:
            self.times.append(time.time())
            yield batch


class Speed:
    """What is measured, by this process and those beside it."""

    def __init__(self, ranks: Ranks, workers: int):
        config = PRESETS["gpu" if CUDA else "smoke"]
        self.config = replace(config, corpus=replace(config.corpus, workers=workers))
        self.ranks, self.device = ranks, pick_device(config)
        set_up_torch(config)

    def base(self):
        name = "base-gpu.pt" if CUDA else "base-cpu.pt"
        return load_checkpoint(find_checkpoint(name), self.device.name)

    def session(self, config) -> Session:
        return Session.unsaved(config, self.device, self.base()[1])

    def rl(self, times: int) -> dict:
        """Medians over the steps after those that compile. `times`: the preset's prompts."""
        rl = self.config.rl
        rl = replace(rl, steps=WARM + STEPS, prompts=times * rl.prompts, early_tokens=0)
        session = self.session(replace(self.config, rl=replace(rl, checkpoint_every=10**6)))
        rows, last = [], time.time()

        def after(step, phase, rollouts, stats):
            nonlocal last
            if CUDA:
                torch.cuda.synchronize()
            now, progress, lengths = time.time(), phase.progress, rollouts.lengths()
            rows.append({
                "seconds": now - last, "rollout": progress.sampled - progress.begun,
                "update": progress.last - progress.sampled, "tokens": sum(lengths),
                "longest": max(lengths), "reward": sum(r.total(rl) for r in rollouts.rewards),
            })
            last = now

        settings = session.config.rl
        phase = RLPhase(session, self.base()[0], "rl", settings, parts=Parts(after=after))
        self.ranks.same(reinforce(phase))
        return {name: median(row[name] for row in rows[WARM:]) for name in rows[0]}

    def pretraining(self, ready: bool) -> dict:
        """Tokens a second after the first steps. The host runs at most 20 steps ahead."""
        p = self.config.pretrain
        p = replace(p, tokens=READ * p.batch_tokens, checkpoint_every=10**6)
        config = replace(self.config, pretrain=p)
        reader, start = Timed(config, ready), time.time()
        model = pretrain(self.session(config), config.model, reader)
        if CUDA:
            torch.cuda.synchronize()
        seconds = time.time() - reader.times[SKIPPED]
        self.ranks.same(model)
        first = reader.times[SKIPPED] - start
        return {"tokens_s": (READ - SKIPPED) * p.batch_tokens / seconds, "before_s": first}


def measure(folder: Path, workers: int) -> None:
    """Rank 0 prints and writes each part as it comes: what is there counts, should time run out."""
    start, ranks = time.time(), Ranks.join()
    speed = Speed(ranks, workers)
    found = {
        "date": time.strftime("%Y-%m-%d"), "processes": ranks.size, "device": str(speed.device),
        "torch": torch.__version__,
    }
    parts = {
        "rl": lambda: speed.rl(1), "pretrain_ready": lambda: speed.pretraining(True),
        "pretrain_corpus": lambda: speed.pretraining(False), "rl_quad": lambda: speed.rl(4),
    }
    for name, part in parts.items():
        found[name] = part()
        if ranks.rank == 0:
            shown = {key: round(value, 3) for key, value in found[name].items()}
            print(f"{time.time() - start:6.1f} s  {ranks.size}: {name} {shown}", flush=True)
            text = json.dumps(found, indent=1)
            (folder / f"speed-{ranks.size}.json").write_text(text, encoding="utf-8")
    ranks.leave()


def times_as_fast(one: dict, several: dict, part: str) -> float:
    """Of the same work, by several processes."""
    key, inverse = ("seconds", -1) if part.startswith("rl") else ("tokens_s", 1)
    return (several[part][key] / one[part][key]) ** inverse


def draw(measured: list[dict]):
    """How many times as fast as one process, beside what a perfect division would give."""
    figure, (axes,) = figure_of(size=(6.5, 4.2))
    one, sizes = measured[0], [m["processes"] for m in measured]
    dress(axes, f"Several GPUs: {one['device']}", xlabel="GPUs")
    axes.set_ylabel("times as fast as one")
    axes.plot(sizes, sizes, color=GREY, linewidth=1, dashes=(4, 2), label="divided without loss")
    for part, (label, colour) in PARTS.items():
        speeds = [times_as_fast(one, m, part) for m in measured]
        look = {"color": colour, "marker": "o", "linewidth": 1.8}
        axes.plot(sizes, speeds, label=f"{label}: {speeds[-1]:.2f}", **look)
    axes.set_xticks(sizes)
    axes.legend(fontsize=8, frameon=False, labelcolor="linecolor", loc="upper left")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=0, help="of the corpus, a process; 0: all")
    parser.add_argument("--draw", action="store_true", help="of what the folder has")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if not options.draw:
        return measure(options.folder, options.workers)
    texts = [path.read_text(encoding="utf-8") for path in options.folder.glob("speed-*.json")]
    measured = sorted(map(json.loads, texts), key=lambda m: m["processes"])
    print(save(draw(measured), options.folder / "several-gpus.png"))


if __name__ == "__main__":
    sys.exit(main())
