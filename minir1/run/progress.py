"""What a person sees of a running phase, and what metrics.jsonl keeps of it.

report/metrics.md defines the names.
"""

import time
from collections import deque
from collections.abc import Callable
from statistics import median
from typing import Self

import torch
from torch import Tensor
from tqdm import tqdm

from minir1.config import RLConfig
from minir1.measure.diagnosis import diagnosis, trouble
from minir1.measure.evaluator import outcome
from minir1.model import Transformer
from minir1.report.reading import read_metrics
from minir1.rollout import Rollouts, sampling
from minir1.run.costs import operations, spent
from minir1.run.recorder import Recorder
from minir1.run.session import Session
from minir1.supervised import Step

SHOWN = {"loss": "loss {:.3f}", "kept": "kept {:.0f}", "dropped": "dropped {:.0f}"}
RL_SHOWN = {
    "accuracy": "right {:.0%}", "readable": "readable {:.0%}", "length": "length {:.0f}",
    "signal": "signal {:.0%}", "reverse_kl": "KL {:.3f}",
}
BUSY = 10  # times the median step
FIRST_CHECKPOINT = 20  # seconds of a phase after which its state is saved, whatever the steps say


class Progress:
    """A progress bar with the figure that matters, a clock, and a row of metrics per step.

    Leaving its block, by a fault too, draws the bar for the last time: what is said after it (how
    to go on, say) stays the last line. `steps` is None where their number is not known beforehand.
    """

    def __init__(self, session: Session, phase: str, steps: int | None, first: int = 0):
        self.session, self.run = session, session.run
        self.phase, self.steps, self.first = phase, steps, first
        self.flops = spent(session.run).get(phase, {}).get("flops", 0)  # of the steps before a stop
        self.bar = tqdm(
            total=steps, initial=first, desc=phase, unit="step", dynamic_ncols=True,
            disable=session.run.silent,
        )
        self.start = self.last = self.begun = time.time()
        self.kept = first > 0  # whether a state of this phase was saved
        self.paces = deque(maxlen=200)  # seconds of the last steps

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault) -> None:
        self.bar.close()

    def begin(self) -> None:
        """A step begins."""
        self.begun = time.time()

    def notice(self, seconds: float) -> None:
        """Say once if a step took ten times the median so far: threads that wait for a core that
        another program has make all others wait."""
        usual = median(self.paces) if len(self.paces) >= 5 else float("inf")
        self.paces.append(seconds)
        if seconds <= max(1.0, BUSY * usual) or self.session.noticed or self.run.silent:
            return  # a step of milliseconds may well take ten times as long
        if self.session.device.name == "cpu" and torch.get_num_threads() > 1:
            self.session.noticed = True
            slow = f"this step took {seconds:.0f} s, most {usual:.2g} s"
            tqdm.write(f"  {slow}: busy? try --threads 1")

    def checkpoint_due(self, done: int, every: int) -> bool:
        """Every so many steps; and of a run with one process once early, that a stop in the first
        minutes loses little (the clocks of several would not agree)."""
        alone = self.session.ranks.size == 1
        early = alone and not self.kept and time.time() - self.start >= FIRST_CHECKPOINT
        due = done % every == 0 or early
        self.kept |= due
        return due

    def row(self, step: int, shown: str = "", **figures) -> None:
        """Log one step, and what it took since the last one."""
        now = time.time()
        self.run.log(self.phase, step=step + 1, seconds_step=now - self.last, **figures)
        self.last = now
        self.bar.update(step + 1 - self.bar.n)
        words = [text.format(float(figures[k])) for k, text in SHOWN.items() if k in figures]
        self.bar.set_postfix_str(shown or ", ".join(words), refresh=False)


class SupervisedProgress(Progress):
    """Pretraining and fine-tuning. `every`: steps between two rows of metrics; above 1 all batches
    hold equally many tokens."""

    def __init__(
        self, session: Session, phase: str, model: Transformer, steps: int, first: int, every: int
    ):
        super().__init__(session, phase, steps, first)
        self.model, self.every = model, every
        self.seen = 0  # tokens since the start
        self.logged = first // every * every  # steps that the rows so far account for

    def step(self, s: Step, tokens: int, skipped: Tensor) -> None:
        """Log a step of so many `tokens`. `skipped`: updates left out so far (Learner.skipped)."""
        done = s.step + 1
        self.notice(time.time() - self.begun)
        self.seen += tokens
        if done % self.every != 0 and done != self.steps:
            self.bar.update()
            return
        trained, passed = (done - self.logged) * tokens, time.time() - self.start
        self.logged = done
        self.flops += operations(self.model, trained=trained)
        row = {"loss": s.loss, "grad_norm": s.grad_norm, "lr": s.lr, "tokens_s": self.seen / passed}
        if s.load_LE is not None:
            row["load_max"] = s.load_LE.max() * self.model.config.experts
        row |= {"tokens_sampled": 0, "tokens_trained": trained, "flops": self.flops}
        if self.every > 1:
            row |= {"tokens": done * tokens, "seconds": passed}
        row |= left_out(skipped)
        speed = f"{self.seen / passed / 1e3:.0f} k tokens/s"
        self.row(s.step, f"loss {float(s.loss):.3f}, {speed}{said(row)}", **row)


def left_out(skipped: Tensor) -> dict[str, int]:
    """{"skipped": updates left out so far}, or nothing if there are none."""
    return {"skipped": int(skipped)} if int(skipped) else {}


def said(row: dict) -> str:
    """How a progress bar says it."""
    return f", {row['skipped']} updates left out" if "skipped" in row else ""


Describe = Callable[[Rollouts, RLConfig], dict[str, float]]


def describe(rollouts: Rollouts, rl: RLConfig) -> dict[str, float]:
    """The metrics of one step's responses: accuracy, length, habits, and the mean reward."""
    n = len(rollouts.rewards)
    return outcome(rollouts) | {
        "reward": sum(r.total(rl) for r in rollouts.rewards) / n,
        "language": sum(r.language for r in rollouts.rewards) / n,
        "tokens": sum(rollouts.lengths()),
    }


def entropy(rollouts: Rollouts) -> float:
    """Nats per token over all sampled tokens, those of groups without signal, too. It is the mean
    of -log p: each token was drawn from that distribution, so (at top_p 1) it is unbiased."""
    logp_N = torch.cat(rollouts.logp).double()
    if rollouts.actions:
        logp_N = logp_N[torch.tensor([action for row in rollouts.actions for action in row])]
    return -logp_N.mean().item()


class RLProgress(Progress):
    """Reinforcement learning. `describe(rollouts, rl)` gives the metrics of a step's responses."""

    def __init__(
        self, session: Session, phase: str, rl: RLConfig, steps: int | None, first: int,
        describe: Describe,
    ):
        super().__init__(session, phase, steps, first)
        self.rl, self.describe = rl, describe
        rows = read_metrics(session.run.path)  # of the steps before a stop, for the diagnosis
        self.history = [row | {"phase": "rl"} for row in rows if row.get("phase") == phase]
        self.sampled = self.start

    def rolled_out(self) -> None:
        """Its responses are sampled and judged."""
        self.sampled = time.time()

    def step(
        self, step: int, model: Transformer, rollouts: Rollouts, seen: dict, stats: dict
    ) -> None:
        """Log a step. `seen`: what `describe` says. `stats` holds tokens_trained, and may hold
        tokens_scored (read once more), lr, skipped, and flops_more (a teacher's)."""
        now, sampled = time.time(), sum(rollouts.lengths())
        self.notice(now - self.begun)
        row = seen | {"tokens_sampled": sampled, "entropy_all": entropy(rollouts)}
        row |= {k: v for k, v in stats.items() if k not in ("flops_more", "tokens_scored")}
        read = sampled + sum(map(len, rollouts.prompt_ids)) + stats.get("tokens_scored", 0)
        self.flops += operations(model, read, stats["tokens_trained"]) + stats.get("flops_more", 0)
        row |= {
            "flops": self.flops, "tokens_s": sampled / (now - self.begun),
            "seconds_rollout": self.sampled - self.begun, "seconds_update": now - self.sampled,
            "seconds": now - self.start,
        }
        self.history.append({"step": step + 1} | row)
        words = [text.format(row[name]) for name, text in RL_SHOWN.items() if name in row]
        self.row(step, ", ".join(words) + said(row), **row)


class Validation:
    """Accuracy on fixed held-out problems while a phase of RL goes on.

    Of R1-Zero's own phase whole groups of responses to a few problems are kept for the viewer;
    `base` is the policy before the phase, which they are compared with.
    """

    def __init__(
        self, session: Session, progress: RLProgress, base: Transformer, sampler, prefix: str
    ):
        self.session, self.progress, self.prefix = session, progress, prefix
        self.evaluator = session.evaluator(sampler)
        self.problems = session.problems("validation", session.config.eval.validation)
        rl = progress.rl
        self.settings = sampling(session.tokenizer, rl.max_tokens, rl.temperature)
        self.recorder = Recorder(base, rl, session.device)

    def __call__(self, step: int, model: Transformer) -> None:
        phase, run = self.progress.phase, self.session.run
        how = (self.settings, self.prefix)
        rollouts = self.evaluator.roll(model, self.problems, 1, step, *how)
        result = outcome(rollouts)
        run.log("validate" if phase == "rl" else f"validate_{phase}", step=step, **result)
        if phase == "rl":
            run.samples("rl", step, self.recorder.rows(step, self.evaluator, model, rollouts, *how))
        accuracy = f"{100 * result['accuracy']:.1f}% ± {100 * result['stderr']:.1f} right"
        history = self.progress.history
        words = diagnosis(history) if history else trouble([result])
        said = ("" if history else " (the base)") + (f"; {words}" if words else "")
        figures = f"{accuracy}, {result['length']:.0f} tokens"
        tqdm.write(f"  {phase} step {step:4d}: validation {figures}{said}")
