"""Measuring a policy, and the reference lines that every accuracy is shown beside."""


import torch

from minir1.config import Config
from minir1.fast.parallel import parallel_map
from minir1.measure.baselines import blind, blind_hit_rates
from minir1.measure.behaviours import summarise
from minir1.rollout import Rollouts, roll_out
from minir1.sampler import Sampling
from minir1.tasks import Problem, draw_problems, parse_tasks
from minir1.tokenizer import Tokenizer
from minir1.transcript import ANSWER, THINK


def many_problems(tasks, languages, split: str, key: str, count: int) -> list[Problem]:
    """draw_problems over all cores (harder problems take milliseconds each)."""
    parts = ((tasks, languages, split, f"{key} {i}", 64) for i in range(-(-count // 64)))
    return [problem for part in parallel_map(draw_problems, parts, 1 if count <= 512 else 0) for problem in part][:count]


def outcome(rollouts: Rollouts) -> dict[str, float]:
    """Accuracy (over problems, with its standard error), length, stopping and behaviours of scored rollouts."""
    right = torch.tensor([r.accuracy for r in rollouts.rewards]).view(-1, rollouts.group).mean(1)
    length = torch.tensor(rollouts.lengths(), dtype=torch.float32)
    return {
        "accuracy": right.mean().item(),
        "stderr": right.std().item() / len(right) ** 0.5 if len(right) > 1 else 0.0,
        "n": len(right),
        "format": sum(r.format for r in rollouts.rewards) / len(rollouts.rewards),
        "length": length.mean().item(),
        "length_p95": length.quantile(0.95).item(),
        "truncated": 1 - sum(rollouts.stopped) / len(rollouts.stopped),
        **summarise(rollouts),
    }


class Evaluator:
    """Measures policies on fixed problems, in batches that fit, with one sampler."""

    def __init__(self, tokenizer: Tokenizer, sampler, settings: Sampling, batch: int, device):
        self.tokenizer, self.sampler, self.settings, self.batch, self.device = tokenizer, sampler, settings, batch, device

    def roll(self, model, problems, samples: int = 1, seed: int = 0, settings=None, prefix: str = "") -> Rollouts:
        generator = torch.Generator(self.device).manual_seed(seed)
        step, parts = max(1, self.batch // samples), []
        for i in range(0, len(problems), step):
            chunk = problems[i : i + step]
            how = settings or self.settings
            parts.append(roll_out(model, self.tokenizer, chunk, samples, how, generator, self.sampler, prefix))
        merged = {f: [x for part in parts for x in getattr(part, f)] for f in Rollouts.__dataclass_fields__ if f != "group"}
        return Rollouts(group=samples, **merged)

    def examine(self, model, problems, samples: int = 1, seed: int = 0, settings=None, prefix: str = "") -> dict[str, float]:
        return outcome(self.roll(model, problems, samples, seed, settings, prefix))

    def forced(self, model, problems, seed: int = 0) -> dict[str, float]:
        """The base made to think and not allowed to end its thought before it says yes."""
        t, s = self.tokenizer, self.settings
        banned = tuple(t.id(x) for x in ("</think>", "<answer>", "<think>", "<|end|>"))
        until = t.ids_holding(", yes") + t.ids_holding("，对")
        settings = Sampling(s.max_tokens, s.stop_ids, s.temperature, s.top_p, banned, until)
        return self.examine(model, problems, 1, seed, settings, THINK)

    def answer_only(self, model, problems, seed: int = 0) -> dict[str, float]:
        return self.examine(model, problems, 1, seed, None, ANSWER)

    def pass_at_any(self, model, problems, samples: int = 64, seed: int = 0) -> float:
        """Share of problems that at least one of `samples` responses solves."""
        rollouts = self.roll(model, problems, samples, seed)
        return torch.tensor([r.accuracy for r in rollouts.rewards]).view(-1, samples).amax(1).mean().item()

    def compare(self, models: dict, draw, config: Config) -> dict:
        """The test, read once: every policy and every reference line on the same held-out problems.

        `models` holds "base", "zero" and perhaps "answer_only"; `draw(split, count)` gives the problems.
        """
        problems, base = draw("test", config.eval.problems), models["base"]
        some = problems[: config.eval.many]
        found = {name: self.examine(models[name], problems) for name in ("base", "zero")}
        tries = {k: found["zero"].get(f"attempts_{k}", 1.0) for k in range(2, 10)}
        references = {
            "blind_tokens": blind(problems, self.tokenizer, config.rl.max_tokens),
            "blind_attempts": blind(problems, self.tokenizer, 10**9, tries),
            "blind_hit_rates": blind_hit_rates(problems),
            "forced_base": self.forced(base, some),
            "pass64_base": self.pass_at_any(base, some[: max(1, len(some) // 4)]),
        }
        if "answer_only" in models:
            references["answer_only"] = self.answer_only(models["answer_only"], problems)
        for task, kind, _ in parse_tasks(config.rl.tasks):
            if task == "arithmetic":
                asked = draw_problems((f"{task}:{kind}",), config.corpus.languages, "test", f"test {kind}", config.eval.arithmetic)
                for name in found:
                    found[name].setdefault("arithmetic", {})[kind] = self.examine(models[name], asked)
        return found | {"references": references}


