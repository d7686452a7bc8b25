"""The scoreboard: every stage on the same held-out problems, beside the paper's own table of stages.

    scoreboard.json   all figures            scoreboard.md   the table, and the paper's
    scoreboard.png    accuracy and form      prompts.md      the same five prompts answered by every stage

pass@1 is the mean over k responses at T = 0.6, top-p 0.95; cons@k is the share of problems whose most frequent answer is right.
For Countdown an answer votes by its expression with its numbers sorted out: any right expression counts as one and the same answer.
"""

import json
from collections import Counter
from dataclasses import replace
from hashlib import blake2b
from random import Random

import torch

from minir1.console.files import write_text
from minir1.measure.evaluator import many_problems
from minir1.r1.data.curation import readable, without_summary
from minir1.r1.data.language import foreign_share, mixing
from minir1.r1.pipeline.pipeline import Pipeline
from minir1.r1.pipeline.stages import sampler_for
from minir1.r1.preference.rewards import plain
from minir1.r1.scoreboard.page import draw_scoreboard, prompts_page, table_text
from minir1.r1.tasks import general
from minir1.rollout import Rollouts, roll_out, sampling
from minir1.tasks import draw_problems
from minir1.tasks.countdown import Countdown, evaluate
from minir1.transcript import parse

ROWS = {
    "base": "Base", "zero": "R1-Zero", "dev1": "Dev1", "dev2": "Dev2", "dev2-plain": "Dev2 without language reward", "dev3": "Dev3",
    "r1": "R1", "student-small": "distilled, small", "student-medium": "distilled, medium", "student-large": "distilled, large",
    "student-direct": "small, direct RL", "student-on-policy": "large, SFT then on-policy",
}  # fmt: skip

# ---------------------------------------------------------------- arithmetic on responses


def vote(problem, answer: str | None) -> str | None:
    """What an answer counts as in a majority: an expression by its value if it uses the numbers, anything else by its text.

    >>> vote(Countdown((3, 5), 8), "5 + 3"), vote(Countdown((3, 5), 8), "3 + 3"), vote(Countdown((3, 5), 8), None)
    ('= 8', '3 + 3', None)
    """
    if answer is None or not isinstance(problem, Countdown):
        return answer
    found = evaluate(answer)
    fits = found is not None and Counter(found[1]) == Counter(problem.numbers)
    return f"= {found[0]}" if fits else answer


def majority(problem, answers: list[str | None]) -> str | None:
    """The answer given most often, the first one of equals; None if there is none at all."""
    votes = [vote(problem, answer) for answer in answers]
    counted = Counter(v for v in votes if v is not None)
    if not counted:
        return None
    return answers[votes.index(counted.most_common(1)[0][0])]


def consensus(rollouts: Rollouts) -> float:
    """cons@k: share of problems whose majority answer is right."""
    answers = [parse(without_summary(text)).answer for text in rollouts.texts]
    groups = [answers[i : i + rollouts.group] for i in range(0, len(answers), rollouts.group)]
    chosen = [majority(problem, group) for problem, group in zip(rollouts.problems, groups)]
    return sum(a is not None and p.verify(a) for p, a in zip(rollouts.problems, chosen)) / len(groups)


def puzzle_figures(rollouts: Rollouts) -> dict[str, float]:
    """Everything that is read off Countdown responses."""
    right = torch.tensor([r.accuracy for r in rollouts.rewards]).view(-1, rollouts.group).mean(1)
    rows = [(rollouts.problem(i), text) for i, text in enumerate(rollouts.texts)]
    shares = torch.tensor([foreign_share(p, text) for p, text in rows]).view(-1, rollouts.group, 2).mean(1)
    (mixed, switched), errors = shares.mean(0).tolist(), [standard_error(column) for column in shares.unbind(1)]
    by_language = {
        f"countdown_{lang}": right[[p.lang == lang for p in rollouts.problems]].mean().item()
        for lang in ("en", "zh") if any(p.lang == lang for p in rollouts.problems)
    }  # fmt: skip
    return {
        "countdown": right.mean().item(),
        "countdown_stderr": standard_error(right),
        f"cons@{rollouts.group}": consensus(rollouts),
        "readable": sum(readable(p, text) for p, text in rows) / len(rows),
        "length": sum(rollouts.lengths()) / len(rows),
        "truncated": 1 - sum(rollouts.stopped) / len(rows),
        **mixing(rows), **by_language,
        "foreign_per_response": mixed, "foreign_per_response_stderr": errors[0],
        "switched_per_response": switched, "switched_per_response_stderr": errors[1],
    }  # fmt: skip


def standard_error(mean_P: torch.Tensor) -> float:
    """Of the mean over problems: the responses to one problem are not independent."""
    return mean_P.std().item() / len(mean_P) ** 0.5 if len(mean_P) > 1 else 0.0


# ---------------------------------------------------------------- one row


class Board:
    """Held-out problems, the same for every row, and how they are put to a model."""

    def __init__(self, pipeline: Pipeline):
        self.pipeline, s = pipeline, pipeline.config.score
        languages = pipeline.config.corpus.languages
        puzzles = (f"countdown:{pipeline.config.corpus.countdown.partition(',')[0]}",)
        self.puzzles = many_problems(puzzles, languages, "test", "scoreboard", s.countdown)
        draw = lambda kind: draw_problems((f"arithmetic:{kind}",), languages, "test", f"scoreboard {kind}", s.arithmetic)  # noqa: E731
        self.sums = [problem for kind in s.kinds for problem in draw(kind)]
        self.general = {kind: general_problems(kind, languages, s.general) for kind in general.KINDS}
        few = max(1, s.general // 4)
        self.general["novel"] = [p for kind in general.KINDS for p in general_problems(kind, languages, few, "novel")]

    def ask(self, model, sampler, problems: list, samples: int) -> Rollouts:
        """Scored responses at T = 0.6, top-p 0.95, all through the sampler's queue: no batch waits for its longest member."""
        s, tokenizer = self.pipeline.config.score, self.pipeline.tokenizer
        settings = sampling(tokenizer, s.max_tokens, 0.6, 0.95)
        generator = torch.Generator(self.pipeline.device.name).manual_seed(0)
        whole = roll_out(model, tokenizer, problems, samples, settings, generator, sampler)
        return replace(whole, rewards=[plain(whole.problem(i), text) for i, text in enumerate(whole.texts)])

    def row(self, name: str) -> dict[str, float]:
        """All figures of one checkpoint."""
        pipeline, s = self.pipeline, self.pipeline.config.score
        model = pipeline.model(name)
        sampler = sampler_for(model, pipeline, pipeline.config, s.max_tokens)
        parts = {"arithmetic": self.sums, **self.general}
        right = iter(self.ask(model, sampler, [problem for part in parts.values() for problem in part], 1).rewards)
        found = puzzle_figures(self.ask(model, sampler, self.puzzles, s.samples))
        return found | {name: sum(next(right).accuracy for _ in part) / len(part) for name, part in parts.items()}

    def examples(self, name: str) -> list[tuple[str, str]]:
        """(question, response) of five prompts: a puzzle in each language, a sum, a fact, an instruction."""
        model, (en, zh) = self.pipeline.model(name), self.pipeline.config.corpus.languages[:2]
        pick = lambda problems, lang: next((p for p in problems if p.lang == lang), problems[0])  # noqa: E731
        asked = [pick(self.puzzles, en), pick(self.puzzles, zh), self.sums[0], pick(self.general["fact"], en)]
        asked.append(pick(self.general["instruction"], zh))
        sampler = sampler_for(model, self.pipeline, self.pipeline.config, self.pipeline.config.score.max_tokens)
        rollouts = self.ask(model, sampler, asked, 1)
        return [(problem.question(), text) for problem, text in zip(asked, rollouts.texts)]


def general_problems(kind: str, languages: tuple[str, ...], count: int, split: str = "test") -> list:
    """Held-out wordings of one kind."""
    rng = Random(f"scoreboard {kind}")
    return [general.sample(rng, kind, split, languages[i % len(languages)]) for i in range(count)]


# ---------------------------------------------------------------- the whole


def write_scoreboard(pipeline: Pipeline) -> str:
    """Measure every stage that is there (each once), write the files, return the table."""
    costs, session = pipeline.line(), pipeline.session("score")
    names = [name for name in ROWS if name in costs]
    pipeline.model(names[0])
    board, rows, pages = Board(pipeline), {}, {}
    for name in names:
        print(f"scoreboard: {ROWS[name]}", flush=True)
        stamp = f"{name} {blake2b(pipeline.path(name).read_bytes(), digest_size=6).hexdigest()}"  # made again, measured again
        found = session.once(stamp, lambda name=name: {"figures": board.row(name), "examples": board.examples(name)})
        rows[name], pages[name] = found["figures"], found["examples"]
    rows = {name: row | {"cost": costs.get(name, {})} for name, row in rows.items()}
    head = {"preset": pipeline.config.preset, "seed": pipeline.config.seed, "device": str(pipeline.device)}
    write_text(pipeline.root / "scoreboard.json", json.dumps(head | {"rows": rows}, indent=1, ensure_ascii=False))
    text = table_text(rows, ROWS, pipeline.config.score.samples)
    write_text(pipeline.root / "scoreboard.md", text)
    write_text(pipeline.root / "prompts.md", prompts_page(pages, ROWS))
    draw_scoreboard(rows, ROWS, pipeline.root / "scoreboard.png")
    return text
