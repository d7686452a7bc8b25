"""One seed: distilled, then RL; with --alone RL straight on the base.

    python results/smollm2/seed.py BASE.pt WORK --seed 0
    python results/smollm2/seed.py SOLVED.pt WORK --seed 0 --alone

SOLVED.pt is imported with solved.txt, which shows a solved puzzle. WORK is prepare.py's; its folder
seed-0 (alone-0) gets result.json, transcripts, facts and the run. Called again, it does what is
left.
"""

import argparse
import copy
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F
from fixed_order import last_steps
from look import read
from policy import Policy, configured, held_out, write
from questions import facts

from minir1 import grpo
from minir1.checkpoint import load_checkpoint
from minir1.config import PretrainConfig
from minir1.fast.accelerate import accelerate
from minir1.fast.device import make_learner
from minir1.measure.behaviours import observe
from minir1.r1.data.fine_tuning import read_lines
from minir1.run.costs import spent
from minir1.run.folder import Run
from minir1.run.phases import Parts, RLPhase
from minir1.run.progress import SupervisedProgress
from minir1.run.session import Session
from minir1.sampler import pad
from minir1.supervised import Step, cosine
from minir1.transcript import prompt
from train_zero import reinforce

# ---------------------------------------------------------------- lines


def encoded(codec, lines: list[dict]) -> list[tuple[list[int], list[int], bool]]:
    """(ids that are given, ids that follow, whether they are rehearsed) of each line."""
    found = []
    for line in lines:
        question, response = prompt(line["question"]), line["response"]
        given = line.get("given", 0)
        before = codec.encode(question) + (codec.encode(response[:given]) if given else [])
        found.append((before, codec.encode(response[given:]), "rehearsed" in line))
    return found


def batches(rows: list[tuple], size: int, seed: int) -> Iterator[list[tuple]]:
    """Shuffled; lines of similar length go together, within pools of 16 batches."""
    rng, found = Random(f"sft {seed}"), []
    rng.shuffle(rows)
    whole = rows[: len(rows) // size * size]
    for i in range(0, len(whole), 16 * size):
        pool = sorted(whole[i : i + 16 * size], key=lambda row: len(row[0]) + len(row[1]))
        found += [pool[j : j + size] for j in range(0, len(pool), size)]
    rng.shuffle(found)
    yield from found


def padded(rows: list[tuple], codec, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """ids_BT, and mask_BT of the tokens that are learned."""
    ids_BT = pad([before + after for before, after, _ in rows], codec.pad)
    first_B1 = torch.tensor([[len(before)] for before, _, _ in rows])
    length_B1 = torch.tensor([[len(before) + len(after)] for before, after, _ in rows])
    place_T = torch.arange(1, ids_BT.shape[1])
    mask_BT = (place_T >= first_B1) & (place_T < length_B1)
    return ids_BT.to(device), mask_BT.to(device)


def cross_entropy(model, ids_BT, mask_BT):
    """Summed over marked tokens, nats. Logits are made of these alone."""
    logits_NV = model.logits(model.trunk(ids_BT[:, :-1])[0][mask_BT])
    return F.cross_entropy(logits_NV.float(), ids_BT[:, 1:][mask_BT], reduction="sum")


def divergence(base, model, ids_BT, mask_BT):
    """KL(base | model) summed over marked tokens, nats: it holds whole distributions."""
    inputs_BT = ids_BT[:, :-1]
    with torch.no_grad():
        base_NV = base.logits(base.trunk(inputs_BT)[0][mask_BT]).float().log_softmax(-1)
    model_NV = model.logits(model.trunk(inputs_BT)[0][mask_BT]).float().log_softmax(-1)
    return F.kl_div(model_NV, base_NV, log_target=True, reduction="sum")


# ---------------------------------------------------------------- rewards


def by_true_steps(step: int, rollouts, whole: bool = False) -> list:
    """By rule. In place of the language: right, with true steps and checks, no attempt twice; if
    `whole` also with every value that its vain tries owe."""
    rewards = []
    for i, reward in enumerate(rollouts.rewards):
        problem, text = rollouts.problem(i), rollouts.texts[i]
        seen = observe(problem, text)
        flawless = not seen.wrong_steps and not seen.repeated and seen.checks == seen.checks_right
        flawless = flawless and not (whole and leaves_out(problem, text))
        rewards.append(reward._replace(language=float(bool(reward.accuracy) and flawless)))
    return rewards


def leaves_out(problem, text: str) -> bool:
    """Whether a try that ends in "no" lacks a value that its two numbers give."""
    return any(
        verdict == "no" and step.value not in values
        for value, third, values, verdict in read(problem, text)
        for step in last_steps(value, third)
    )


# ---------------------------------------------------------------- the seed


class Seed:
    def __init__(self, a):
        self.a, self.folder = a, a.work / f"{'alone' if a.alone else 'seed'}-{a.seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        form = 0.1 if a.alone else 0.0  # the base earns nothing else at first
        config = configured(
            a.seed, rl__steps=a.rl_steps, rl__prompts=a.prompts, rl__group_size=a.group,
            rl__lr=a.rl_lr, rl__max_tokens=a.max_tokens, rl__train_tokens=8192, eval__batch=a.batch,
            rl__format_reward=form, rl__accuracy_reward=0.5, rl__language_reward=0.5,
        )  # fmt: skip
        self.policy, run = Policy(a.base, config), self.folder / "run"
        begun = (run / "config.json").exists()
        run = Run.resume(run) if begun else Run.start(run, config)
        self.session = Session(run, self.policy.device, self.policy.codec)
        self.test, self.unseen = held_out("test", a.problems), held_out("validation", a.problems)
        self.facts, path = facts(a.questions), self.folder / "result.json"
        self.result = json.loads((path if path.exists() else a.work / "prepare.json").read_text())
        self.lines = read_lines(a.work / "lines.jsonl")
        torch.manual_seed(a.seed)

    def distilled(self):
        """Lines by cross entropy, rehearsed ones by KL to the base, in one step together."""
        a, session, base, codec = self.a, self.session, self.policy.model, self.policy.codec
        device, config = session.device, PretrainConfig(lr=a.lr)
        model, steps = copy.deepcopy(base).train(), len(self.lines) // a.rows
        learner = make_learner(model, 0.0, config.clip, device)
        progress = SupervisedProgress(session, "distil", model, steps, 0, 1)
        with progress, accelerate(model, device, False):
            for step, rows in enumerate(batches(encoded(codec, self.lines), a.rows, a.seed)):
                progress.begin()
                loss, tokens = 0.0, sum(len(row[1]) for row in rows)
                for rehearsed in (False, True):
                    if some := [row for row in rows if row[2] == rehearsed]:
                        ids_BT, mask_BT = padded(some, codec, device.name)
                        with learner.autocast():
                            part = self.part(model, ids_BT, mask_BT, rehearsed) / tokens
                        learner.backward(part)
                        loss = loss + part.detach()
                lr = cosine(step, steps, config.lr, config.lr_end, config.warmup)
                norm = learner.step(lr)
                read = sum(len(row[0]) + len(row[1]) for row in rows)
                progress.step(Step(step, loss, norm, lr, None), read, learner.skipped)
                learner.check(step)
        return model.eval()

    def part(self, model, ids_BT, mask_BT, rehearsed: bool):
        if not rehearsed:
            return cross_entropy(model, ids_BT, mask_BT)
        return self.a.hold * divergence(self.policy.model, model, ids_BT, mask_BT)

    def updating(self):
        """grpo.update, with a few rehearsed rows held beside it."""
        a, base, codec = self.a, self.policy.model, self.policy.codec
        own = encoded(codec, [line for line in self.lines if "rehearsed" in line])
        rng = Random(f"rl rehearsal {a.seed}")

        def update(model, learner, batch, adv_B, *how):
            if own and bool((adv_B != 0).any()):
                rows = rng.choices(own, k=a.rl_rehearsal)
                ids_BT, mask_BT = padded(rows, codec, self.policy.device.name)
                with learner.autocast():
                    loss = divergence(base, model, ids_BT, mask_BT) / mask_BT.sum()
                learner.backward(a.rl_hold * loss)
            return grpo.update(model, learner, batch, adv_B, *how)

        return update

    def rate(self, step: int) -> float:
        """Falls to a tenth."""
        return self.a.rl_lr * min(1.0, (step + 1) / 3) * (1 - 0.9 * step / self.a.rl_steps)

    def practised(self, start, name: str):
        """The weights that are best on validation: before RL, at 60% of it, or at its end."""
        a = self.a
        middle = max(1, round(0.6 * a.rl_steps))
        before = "before" if a.alone else "distilled"
        kept = (before, self.validate(before, start), start)

        def look(stage: str, model):
            nonlocal kept
            right = self.validate(stage, model.eval())
            if right >= kept[1]:
                kept = (stage, right, copy.deepcopy(model))

        def after(step: int, phase, rollouts, stats):
            if step + 1 == middle:
                look("middle", phase.model)
                self.measure("middle", phase.model)
                phase.model.train()

        parts = Parts(
            partial(by_true_steps, whole=a.whole), rate=self.rate,
            sampler=lambda model: self.policy.sampler, update=self.updating(), after=after,
        )  # fmt: skip
        rl = self.session.config.rl
        look("end", reinforce(RLPhase(self.session, start, name, rl, parts=parts)))
        self.result["kept"] = kept[0]
        return kept[2]

    def validate(self, stage: str, model) -> float:
        figures, rows = self.policy.evaluate(model, self.unseen, 1)
        self.result.setdefault("validation", {})[stage] = figures
        write(self.folder / f"transcripts-validation-{stage}.jsonl", rows)
        print("validation", stage, figures, flush=True)
        return figures["right"]

    def measure(self, stage: str, model) -> None:
        policy = self.policy
        self.result[stage], rows = policy.evaluate(model, self.test, self.a.samples)
        write(self.folder / f"transcripts-{stage}.jsonl", rows)
        self.result[f"facts_{stage}"], rows = policy.facts(model, self.facts)
        write(self.folder / f"facts-{stage}.jsonl", rows)
        phases = {phase: row["flops"] for phase, row in spent(self.session.run).items()}
        self.result["operations"] = phases
        (self.folder / "result.json").write_text(json.dumps(self.result, indent=1))
        print(stage, self.result[stage], self.result[f"facts_{stage}"], flush=True)

    def go(self) -> None:
        a, stage, base = self.a, self.session.load_or_make, self.policy.model
        if a.alone:
            self.measure("alone", stage("alone", partial(self.practised, base, "alone")))
            return
        if a.student:
            student, _ = load_checkpoint(a.student, self.session.device.name)
        else:
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
    add("--student", type=Path, help="a checkpoint that is distilled already")
    add("--whole", action="store_true", help="half the reward also asks for every value of a try")
    add("--rows", type=int, default=64, help="lines a step of distillation")
    add("--lr", type=float, default=1e-4)
    add("--hold", type=float, default=3.0, help="weight of KL(base | student) where it rehearses")
    add("--rl-steps", type=int, default=240)
    add("--rl-lr", type=float, default=2e-5)
    add("--rl-rehearsal", type=int, default=8, help="rows a step")
    add("--rl-hold", type=float, default=0.1, help="weight of their mean KL(base | policy)")
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
