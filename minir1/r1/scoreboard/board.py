"""The scoreboard: every stage on the same held-out problems, beside the paper's table of stages.

    scoreboard.json   all figures            scoreboard.md   the table, and the paper's
    scoreboard.png    accuracy and form      prompts.md      five prompts answered by every stage

pass@1 is the mean over k responses at T = 0.6, top-p 0.95. cons@k is the share of problems whose
most frequent answer is right. An expression votes by its value: all right ones are one answer.
"""

from hashlib import blake2b
from random import Random

import torch

from minir1.console.files import write_json, write_text
from minir1.fast.ranks import roll_out
from minir1.measure.evaluator import many_problems, standard_error
from minir1.measure.statistics import consensus_answer
from minir1.r1.data.curation import readable, without_summary
from minir1.r1.data.language import foreign_share, mixing
from minir1.r1.pipeline.pipeline import Pipeline
from minir1.r1.pipeline.stages import sampler_for
from minir1.r1.preference.rewards import plain, rejudged
from minir1.r1.scoreboard.page import draw_scoreboard, prompts_page, table_text
from minir1.r1.tasks import general
from minir1.rollout import Rollouts, sampling
from minir1.sampler import Stream
from minir1.tasks import draw_problems
from minir1.transcript import parse

ROWS = {  # checkpoint: heading
    "base": "Base", "zero": "R1-Zero", "dev1": "Dev1",
    "dev2": "Dev2", "dev2-plain": "Dev2 without language reward", "dev3": "Dev3", "r1": "R1",
    "student-small": "distilled, small", "student-medium": "distilled, medium",
    "student-large": "distilled, large", "student-direct": "small, direct RL",
    "student-on-policy": "large, SFT then on-policy",
}

# ---------------------------------------------------------------- arithmetic on responses


def consensus(rollouts: Rollouts) -> float:
    """cons@k: share of problems whose most frequent answer is right."""
    answers = [parse(without_summary(text)).answer for text in rollouts.texts]
    right = 0
    for i, problem in enumerate(rollouts.problems):
        group = answers[i * rollouts.group : (i + 1) * rollouts.group]
        right += problem.verify(consensus_answer(problem, group))
    return right / len(rollouts.problems)


def puzzle_figures(rollouts: Rollouts) -> dict[str, float]:
    """Everything that is read off Countdown responses."""
    group, rows = rollouts.group, range(len(rollouts.texts))
    right_P = torch.tensor([r.accuracy for r in rollouts.rewards]).view(-1, group).mean(1)
    asked = [(rollouts.problem(row), rollouts.texts[row]) for row in rows]
    foreign_P2 = torch.tensor([foreign_share(*row) for row in asked]).view(-1, group, 2).mean(1)
    foreign, switched = foreign_P2.mean(0).tolist()
    figures = {
        "countdown": right_P.mean().item(),
        "countdown_stderr": standard_error(right_P),
        f"cons@{group}": consensus(rollouts),
        "readable": sum(readable(*row) for row in asked) / len(rows),
        "length": sum(rollouts.lengths()) / len(rows),
        "truncated": 1 - sum(rollouts.stopped) / len(rows),
        "foreign_per_response": foreign,
        "foreign_per_response_stderr": standard_error(foreign_P2[:, 0]),
        "switched_per_response": switched,
        "switched_per_response_stderr": standard_error(foreign_P2[:, 1]),
    }
    for lang in ("en", "zh"):
        of_language = [problem.lang == lang for problem in rollouts.problems]
        if any(of_language):
            figures[f"countdown_{lang}"] = right_P[of_language].mean().item()
    return figures | mixing(asked)


# ---------------------------------------------------------------- one row


class Board:
    """Held-out problems, the same for every row, and how they are put to a model."""

    def __init__(self, pipeline: Pipeline):
        config, s = pipeline.config, pipeline.config.score
        self.pipeline, languages = pipeline, config.corpus.languages
        tasks = (f"countdown:{config.corpus.countdown.partition(',')[0]}",)
        self.puzzles = many_problems(tasks, languages, "test", "scoreboard", s.countdown)
        self.sums = []
        for kind in s.kinds:
            task, key = (f"arithmetic:{kind}",), f"scoreboard {kind}"
            self.sums += draw_problems(task, languages, "test", key, s.arithmetic)
        self.general = {k: general_problems(k, languages, s.general) for k in general.KINDS}
        few, novel = max(1, s.general // 4), []
        for kind in general.KINDS:
            novel += general_problems(kind, languages, few, "novel")
        self.general["novel"] = novel

    def load(self, name: str) -> tuple:
        """(model, sampler) of a checkpoint."""
        model, config = self.pipeline.model(name), self.pipeline.config
        return model, sampler_for(model, self.pipeline, config, config.score.max_tokens)

    def ask(self, model, sampler, problems: list, samples: int) -> Rollouts:
        """Scored responses at T = 0.6, top-p 0.95; one queue, so none waits for the longest."""
        tokenizer = self.pipeline.tokenizer
        settings = sampling(tokenizer, self.pipeline.config.score.max_tokens, 0.6, 0.95)
        how = (samples, settings, Stream.of("scoreboard"), sampler)
        return rejudged(roll_out(model, tokenizer, problems, *how), plain)

    def row(self, name: str) -> dict[str, float]:
        """All figures of one checkpoint."""
        model, sampler = self.load(name)
        parts = {"arithmetic": self.sums, **self.general}
        together = [problem for part in parts.values() for problem in part]
        rewards = iter(self.ask(model, sampler, together, 1).rewards)
        samples = self.pipeline.config.score.samples
        figures = puzzle_figures(self.ask(model, sampler, self.puzzles, samples))
        for kind, part in parts.items():
            figures[kind] = sum(next(rewards).accuracy for _ in part) / len(part)
        return figures

    def examples(self, name: str) -> list[tuple[str, str]]:
        """(question, response): a puzzle in each language, a sum, a fact, an instruction."""
        en, zh = self.pipeline.config.corpus.languages[:2]
        facts, instructions = self.general["fact"], self.general["instruction"]
        asked = [first_in(self.puzzles, en), first_in(self.puzzles, zh), self.sums[0]]
        asked += [first_in(facts, en), first_in(instructions, zh)]
        rollouts = self.ask(*self.load(name), asked, 1)
        return [(problem.question(), text) for problem, text in zip(asked, rollouts.texts)]


def first_in(problems: list, lang: str):
    """The first problem in a language; the first of all if there is none."""
    return next((problem for problem in problems if problem.lang == lang), problems[0])


def general_problems(
    kind: str, languages: tuple[str, ...], count: int, split: str = "test"
) -> list:
    """Held-out wordings of one kind, the languages in turn."""
    rng = Random(f"scoreboard {kind}")
    langs = (languages[i % len(languages)] for i in range(count))
    return [general.sample(rng, kind, split, lang) for lang in langs]


# ---------------------------------------------------------------- the whole


def write_scoreboard(pipeline: Pipeline) -> str:
    """Measure every stage that is there (each once), write the files, return the table."""
    costs, session = pipeline.line(), pipeline.session("score")
    names = [name for name in ROWS if name in costs]
    board, rows, examples = Board(pipeline), {}, {}
    for name in names:
        print(f"scoreboard: {ROWS[name]}", flush=True)
        weights = blake2b(pipeline.path(name).read_bytes(), digest_size=6).hexdigest()

        def measure(name: str = name) -> dict:
            return {"figures": board.row(name), "examples": board.examples(name)}

        measured = session.once(f"{name} {weights}", measure)  # trained anew, measured anew
        rows[name] = measured["figures"] | {"cost": costs.get(name, {})}
        examples[name] = measured["examples"]
    config = pipeline.config
    whole = {"preset": config.preset, "seed": config.seed, "device": str(pipeline.device)}
    write_json(pipeline.root / "scoreboard.json", whole | {"rows": rows})
    table = table_text(rows, ROWS, config.score.samples)
    write_text(pipeline.root / "scoreboard.md", table)
    write_text(pipeline.root / "prompts.md", prompts_page(examples, ROWS))
    draw_scoreboard(rows, ROWS, pipeline.root / "scoreboard.png")
    return table
