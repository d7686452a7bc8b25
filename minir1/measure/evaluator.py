"""Measuring a policy on held-out problems."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain

import torch

from minir1.config import Config
from minir1.fast.ranks import Ranks, roll_out
from minir1.measure import baselines  # noqa: F401 - completes the registry
from minir1.measure.behaviours import summarise
from minir1.rollout import Rollouts
from minir1.sampler import Sampling, Stream
from minir1.tasks import Problem, draw_problems, find_task, parse_tasks
from minir1.tokenizer import Tokenizer
from minir1.transcript import ANSWER, THINK

AT_ONCE = 64  # problems that one process draws


def many_problems(tasks, languages, split: str, key: str, count: int) -> list[Problem]:
    """draw_problems over all cores (harder problems take milliseconds each)."""
    parts = range(-(-count // AT_ONCE))
    keys = ((tasks, languages, split, f"{key} {i}", AT_ONCE) for i in parts)
    drawn = Ranks.current().map(draw_problems, keys, 1 if count <= 512 else 0)
    return [*chain.from_iterable(drawn)][:count]


def outcome(rollouts: Rollouts) -> dict[str, float]:
    """Accuracy (over problems, with its standard error), length, stopping and habits."""
    right = torch.tensor([r.accuracy for r in rollouts.rewards]).view(-1, rollouts.group).mean(1)
    length = torch.tensor(rollouts.lengths(), dtype=torch.float32)
    return {
        "accuracy": right.mean().item(),
        "stderr": standard_error(right),
        "n": len(right), "format": sum(r.format for r in rollouts.rewards) / len(rollouts.rewards),
        "length": length.mean().item(), "length_p95": length.quantile(0.95).item(),
        "truncated": 1 - sum(rollouts.stopped) / len(rollouts.stopped), **summarise(rollouts),
    }


def standard_error(mean_P: torch.Tensor) -> float:
    """Of the mean over problems: the responses to one problem are not independent."""
    return mean_P.std().item() / len(mean_P) ** 0.5 if len(mean_P) > 1 else 0.0


class Evaluator:
    """Measures policies on fixed problems, in batches that fit, with one sampler."""

    def __init__(self, tokenizer: Tokenizer, sampler, settings: Sampling, batch: int):
        self.tokenizer = tokenizer
        self.sampler = sampler
        self.settings = settings
        self.batch = batch

    def batches(
        self, model, problems, samples: int = 1, seed: int = 0, settings=None, prefix: str = ""
    ) -> Iterator[Rollouts]:
        """`samples` scored responses to each problem, about `batch` responses at once."""
        batch, stream = Ranks.current().size * self.batch, Stream.of("evaluate", seed)
        step = max(1, batch // samples)
        for i in range(0, len(problems), step):
            part, place = problems[i : i + step], stream.after(i * samples)
            how = (samples, settings or self.settings, place, self.sampler, prefix)
            yield roll_out(model, self.tokenizer, part, *how)

    def roll(self, model, problems, samples: int = 1, *how, **more) -> Rollouts:
        """All batches as one."""
        return Rollouts.joined([*self.batches(model, problems, samples, *how, **more)], samples)

    def examine(self, model, problems, *how, **more) -> dict[str, float]:
        """The figures of `roll` with the same arguments."""
        return outcome(self.roll(model, problems, *how, **more))

    def forced_settings(self) -> Sampling | None:
        """Not allowed to end a thought before it says yes; None where the tags are no tokens."""
        t = self.tokenizer
        try:
            banned = tuple(t.id(x) for x in ("</think>", "<answer>", "<think>", "<|end|>"))
        except KeyError:
            return None
        until = t.ids_holding(", yes") + t.ids_holding("，对")
        return replace(self.settings, ban_ids=banned, until_ids=until)

    def forced(self, model, problems, seed: int = 0) -> dict[str, float]:
        """The base made to think and not allowed to end its thought before it says yes.

        {} for a base that never says yes: it could never end, which is no baseline; and for one
        whose tags are no tokens.
        """
        settings = self.forced_settings()
        if settings is None:
            return {}
        rollouts = self.roll(model, problems, 1, seed, settings, THINK)
        ends = set(settings.until_ids)
        said = any(not ends.isdisjoint(ids) for ids in rollouts.response_ids)
        return outcome(rollouts) if said else {}

    def pass_at_any(self, model, problems, samples: int = 64, seed: int = 0) -> float:
        """Share of problems that at least one of `samples` responses solves."""
        rollouts = self.roll(model, problems, samples, seed)
        right_PS = torch.tensor([r.accuracy for r in rollouts.rewards]).view(-1, samples)
        return right_PS.amax(1).mean().item()

    def compare(self, models: dict, draw, config: Config) -> dict:
        """The test set, used once: every policy and every baseline on the same held-out problems.

        `models` holds "base", "zero" and perhaps "answer_only"; `draw(split, count)` gives the
        problems. Baselines are those that the tasks of the problems name.
        """
        problems = draw("test", config.eval.problems)
        figures = {name: self.examine(models[name], problems) for name in ("base", "zero")}
        tries = {k: figures["zero"].get(f"attempts_{k}", 1.0) for k in range(2, 10)}
        references = {}
        for name in sorted({problem.task for problem in problems}):
            for key, reference in find_task(name).references.items():
                how = (problems, self.tokenizer, config.rl.max_tokens, tries)
                references[key] = Ranks.current().first(partial(reference, *how))
        some, base = problems[: config.eval.many], models["base"]
        if any(line != {} for line in references.values()):  # other tasks never write "yes", either
            references["forced_base"] = self.forced(base, some)
        references = {key: line for key, line in references.items() if line != {}}
        references["pass64_base"] = self.pass_at_any(base, some[: max(1, len(some) // 4)])
        if "answer_only" in models:
            references["answer_only"] = self.examine(models["answer_only"], problems, prefix=ANSWER)
        for name, line in figures.items():
            if sums := self.sums(models[name], config):
                line["arithmetic"] = sums
        return figures | {"references": references}

    def sums(self, model, config: Config) -> dict[str, dict]:
        """The figures of each arithmetic kind that is practised; none if eval.arithmetic is 0."""
        figures, languages, count = {}, config.corpus.languages, config.eval.arithmetic
        for task, kind, _ in parse_tasks(config.rl.tasks):
            if task == "arithmetic" and count:
                key = (f"{task}:{kind}",)
                asked = draw_problems(key, languages, "test", f"test {kind}", count)
                figures[kind] = self.examine(model, asked)
        return figures
