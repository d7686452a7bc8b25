"""What a person sees of a stage while it runs, and what its metrics.jsonl keeps."""

import time

from minir1.config import RLConfig
from minir1.grpo import learning_rate
from minir1.r1.data.curate import readable
from minir1.r1.scoreboard.language import mixing
from minir1.r1.tasks.base import General
from minir1.rollout import Rollouts
from minir1.run.folder import Run
from minir1.run.progress import Watch


class TuneWatch(Watch):
    """Collecting and fine-tuning: a row a step."""

    def __init__(self, run: Run, phase: str, steps: int, first: int):
        super().__init__(run, phase, steps, first)
        self.last, self.trained = time.time(), 0

    def row(self, step: int, **figures) -> None:
        now = time.time()
        self.run.log(self.phase, step=step + 1, seconds_step=now - self.last, **figures)
        self.last = now
        self.bar.update()
        shown = [f"{k} {float(figures[k]):.3g}" for k in ("loss", "kept", "dropped") if k in figures]
        self.bar.set_postfix_str(", ".join(shown), refresh=False)


class ReinforceWatch(Watch):
    def __init__(self, run: Run, phase: str, rl: RLConfig, first: int):
        super().__init__(run, phase, rl.steps, first)
        self.rl, self.begun, self.sampled = rl, self.start, self.start

    def begin(self) -> None:
        self.begun = time.time()

    def rolled(self) -> None:
        self.sampled = time.time()

    def step(self, step: int, rollouts: Rollouts, stats: dict[str, float]) -> None:
        row = figures(rollouts, self.rl) | stats
        now, sampled = time.time(), sum(rollouts.lengths())
        row |= {
            "tokens_sampled": sampled,
            "tokens_trained": sampled + sum(map(len, rollouts.prompt_ids)) * rollouts.group,
            "lr": learning_rate(step, self.rl),
            "seconds_rollout": self.sampled - self.begun,
            "seconds_update": now - self.sampled,
            "seconds_step": now - self.begun,
        }
        self.run.log(self.phase, step=step + 1, **row)
        self.bar.update()
        said = f"right {100 * row.get('accuracy', 0):.0f}%, readable {100 * row.get('readable', 0):.0f}%"
        self.bar.set_postfix_str(f"{said}, in its language {100 * row.get('language', 0):.0f}%, length {row['length']:.0f}")


def figures(rollouts: Rollouts, rl: RLConfig) -> dict[str, float]:
    """accuracy, readable, mixed words and switches of the reasoning responses; general_* of the others; reward, length of all."""
    rewards, n = rollouts.rewards, len(rollouts.rewards)
    reasoning = [row for row in range(n) if not isinstance(rollouts.problem(row), General)]
    general = [row for row in range(n) if isinstance(rollouts.problem(row), General)]
    share = lambda rows, value: sum(map(value, rows)) / len(rows)  # noqa: E731
    found = {"reward": share(range(n), lambda row: rewards[row].total(rl)), "length": sum(rollouts.lengths()) / n}
    found["truncated"] = 1 - sum(rollouts.stopped) / n
    if reasoning:
        found["accuracy"] = share(reasoning, lambda row: rewards[row].accuracy)
        found["readable"] = share(reasoning, lambda row: readable(rollouts.problem(row), rollouts.texts[row]))
        found |= mixing([(rollouts.problem(row), rollouts.texts[row]) for row in reasoning])
    if general:
        found["general_accuracy"] = share(general, lambda row: rewards[row].accuracy)
        found["general_preference"] = share(general, lambda row: getattr(rewards[row], "preference", 0.0))
    return found
