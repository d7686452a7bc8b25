"""One seed: distilled, then RL; with --alone RL straight on the base.

    python results/smollm2/seed.py BASE.pt WORK --seed 0

WORK is prepare.py's. WORK/seed-0 (alone-0) gets result.json, transcripts, facts and the run. Called
again, it does what is left.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import torch
from policy import Policy, configured, held_out, write
from questions import facts

from minir1.r1.data.fine_tuning import fine_tune, read_lines
from minir1.run.folder import Run
from minir1.run.phases import Parts, RLPhase
from minir1.run.session import Session
from train_zero import reinforce


class Seed:
    def __init__(self, a):
        self.a, self.folder = a, a.work / f"{'alone' if a.alone else 'seed'}-{a.seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        config = configured(
            a.seed, rl__steps=a.rl_steps, rl__prompts=a.prompts, rl__group_size=a.group,
            rl__lr=a.rl_lr, rl__max_tokens=a.max_tokens, rl__train_tokens=8192, eval__batch=a.batch,
        )  # fmt: skip
        self.policy, run = Policy(a.base, config), self.folder / "run"
        begun = (run / "config.json").exists()
        run = Run.resume(run) if begun else Run.start(run, config)
        self.session = Session(run, self.policy.device, self.policy.codec)
        self.problems, self.facts = held_out(a.problems), facts(a.questions)
        self.result = json.loads((a.work / "prepare.json").read_text())
        torch.manual_seed(a.seed)

    def distilled(self):
        lines = read_lines(self.a.work / "lines.jsonl")
        how = {"epochs": 1, "rows": self.a.rows, "lr": 1e-4, "optimizer": "adamw"}
        return fine_tune(self.session, self.policy.model, lines, "distil", **how)

    def practised(self, start, name: str):
        parts = Parts(sampler=lambda model: self.policy.sampler)
        phase = RLPhase(self.session, start, name, self.session.config.rl, parts=parts)
        return reinforce(phase)

    def measure(self, stage: str, model) -> None:
        policy = self.policy
        self.result[stage], rows = policy.evaluate(model, self.problems, self.a.samples)
        write(self.folder / f"transcripts-{stage}.jsonl", rows)
        self.result[f"facts_{stage}"], rows = policy.facts(model, self.facts)
        write(self.folder / f"facts-{stage}.jsonl", rows)
        (self.folder / "result.json").write_text(json.dumps(self.result, indent=1))
        print(stage, self.result[stage], self.result[f"facts_{stage}"], flush=True)

    def go(self) -> None:
        stage, base = self.session.load_or_make, self.policy.model
        if self.a.alone:
            self.measure("alone", stage("alone", partial(self.practised, base, "alone")))
            return
        student = stage("distil", self.distilled)
        self.measure("distilled", student)
        self.measure("distilled_rl", stage("rl", partial(self.practised, student, "rl")))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("base", type=Path)
    add("work", type=Path)
    add("--seed", type=int, default=0)
    add("--alone", action="store_true")
    add("--rows", type=int, default=64, help="lines a step of distillation")
    add("--rl-steps", type=int, default=80)
    add("--rl-lr", type=float, default=2e-5)
    add("--prompts", type=int, default=32)
    add("--group", type=int, default=16)
    add("--max-tokens", type=int, default=256)
    add("--problems", type=int, default=512)
    add("--samples", type=int, default=4)
    add("--batch", type=int, default=512)
    add("--questions", type=int, help="facts, fewer for a test")
    Seed(parser.parse_args(arguments)).go()


if __name__ == "__main__":
    main()
