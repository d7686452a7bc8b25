"""What a person sees of a running phase, and what metrics.jsonl keeps of it. (metrics.md defines the names.)"""

import time
from typing import Self

from tqdm import tqdm

from minir1.config import PretrainConfig, RLConfig
from minir1.grpo import learning_rate
from minir1.measure.evaluator import Evaluator, outcome
from minir1.model import Transformer
from minir1.report.words import verdict
from minir1.run.folder import Run
from minir1.run.recorder import Recorder
from minir1.run.session import Session
from minir1.sampler import Sampling
from minir1.supervised import Step


class Watch:
    """A progress bar with the figure that matters, and a clock. Leaving its block, by a fault too, draws the bar for the last
    time: what is said after it (how to go on, say) stays the last line."""

    def __init__(self, run: Run, phase: str, steps: int | None, first: int):
        self.run, self.phase, self.steps, self.first = run, phase, steps, first  # steps None: not known beforehand
        self.bar = tqdm(total=steps, initial=first, desc=phase, unit="step", dynamic_ncols=True)
        self.start = time.time()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault) -> None:
        self.bar.close()


class PretrainWatch(Watch):
    def __init__(self, run: Run, config: PretrainConfig, experts: int, steps: int, first: int):
        super().__init__(run, "pretrain", steps, first)
        self.config, self.experts = config, experts

    def step(self, s: Step) -> None:
        self.bar.update()
        if s.step % 20 != 19 and s.step != self.steps - 1:
            return
        passed, seen = time.time() - self.start, (s.step + 1 - self.first) * self.config.batch_tokens
        row = {"tokens": (s.step + 1) * self.config.batch_tokens, "tokens_s": seen / passed, "seconds": passed}
        if s.load_LE is not None:
            row["load_max"] = s.load_LE.max() * self.experts
        self.run.log("pretrain", step=s.step + 1, loss=s.loss, grad_norm=s.grad_norm, lr=s.lr, **row)
        self.bar.set_postfix_str(f"loss {float(s.loss):.3f}, {seen / passed / 1e3:.0f} k tokens/s")


class RLWatch(Watch):
    """`base`: the policy before this phase, which the recorder compares with."""

    def __init__(self, session: Session, phase: str, config: RLConfig, steps: int, first: int, base: Transformer):
        super().__init__(session.run, phase, steps, first)
        self.config, self.history = config, []
        self.recorder = Recorder(base, config, session.device)
        self.begun = self.sampled = self.start

    def begin(self) -> None:
        self.begun = time.time()

    def rolled(self) -> None:
        self.sampled = time.time()

    def step(self, step: int, rollouts, stats: dict[str, float]) -> None:
        now, n = time.time(), len(rollouts.rewards)
        row = outcome(rollouts) | stats
        row |= {
            "reward": sum(r.total(self.config) for r in rollouts.rewards) / n,
            "language": sum(r.language for r in rollouts.rewards) / n,
            "tokens": sum(rollouts.lengths()),
            "tokens_s": sum(rollouts.lengths()) / (now - self.begun),
            "lr": learning_rate(step, self.config),
            "seconds_rollout": self.sampled - self.begun,
            "seconds_update": now - self.sampled,
            "seconds": now - self.start,
        }
        self.history.append(row)
        self.run.log(self.phase, step=step + 1, **row)
        self.bar.update()
        figures = f"right {100 * row['accuracy']:.0f}%, length {row['length']:.0f}, signal {100 * row['signal']:.0f}%"
        self.bar.set_postfix_str(figures)

    def validate(self, step: int, evaluator: Evaluator, model: Transformer, problems, settings: Sampling, prefix: str) -> None:
        """Measure on fixed held-out problems; R1-Zero's whole groups for a few of them are kept for the viewer."""
        rollouts = evaluator.roll(model, problems, seed=step, settings=settings, prefix=prefix)
        result = outcome(rollouts)
        self.run.log("validate" if self.phase == "rl" else f"validate_{self.phase}", step=step, **result)
        if self.phase == "rl":
            self.run.samples("rl", step, self.recorder.rows(step, evaluator, model, rollouts, settings, prefix))
        figure = f"{100 * result['accuracy']:.1f}% ± {100 * result['stderr']:.1f} right, {result['length']:.0f} tokens"
        said = f"; {verdict(self.history)}" if self.history else " (the base)"
        tqdm.write(f"  {self.phase} step {step:4d}: validation {figure}{said}")
