"""The self-evolution page of a run, as the R1 report's figures: accuracy, length, reflection words,
transcripts, one "aha".

    python -m minir1 evolution runs/gpu-0          writes runs/gpu-0/evolution.md and two plots
    python -m minir1 evolution results/zero/cpu-seed0 --out /tmp/page

Beside the rate of "wait" stands its rate in the corpus, and beside the "aha" how often the corpus
holds the same course of a thought: what looks new may have been read.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from minir1.config import Config, CorpusConfig, UserError, from_dict
from minir1.console import errors as cli
from minir1.console.files import read_settings
from minir1.corpus.mixture import sample_text
from minir1.experiments.evolution import decomposition
from minir1.experiments.tables.page import markdown, percent
from minir1.measure.behaviours import (
    REFLECTION_WORDS,
    attempts_of,
    corpus_rates,
    read_document,
    spread,
    thought_of,
)
from minir1.measure.diagnosis import column, phase
from minir1.report import plots
from minir1.report.command import read_lines, read_metrics
from minir1.tasks.countdown import Countdown
from minir1.transcript import BEGIN

TRANSCRIPTS, STEPS = 5, 4  # problems shown, and steps of each

# ---------------------------------------------------------------- samples


def read_samples(run: Path) -> list[dict]:
    """One response for each step and problem (the first of its group), of RUN/samples or
    RUN/transcripts.jsonl.
    """
    files = sorted((run / "samples").glob("rl-*.jsonl")) or [run / "transcripts.jsonl"]
    rows = [
        row
        for path in files
        for row in read_lines(path)
        if {"step", "id", "question", "response"} <= set(row)
    ]
    return list({(row["step"], row["id"]): row for row in reversed(rows)}.values())[::-1]


def puzzle_of(row: dict) -> Countdown | None:
    """The puzzle that a sample answers; None if it is something else."""
    return read_document(f"{BEGIN}User: {row['question']}\nAssistant:{row['response']}")[1]


def word_rates(rows: Iterable[dict]) -> tuple[Counter, int]:
    """(how often each reflection word stands in the samples, tokens of the samples)."""
    found, tokens = Counter(), 0
    for row in rows:
        words = Counter(
            word.lower() for word in re.findall(r"[A-Za-z']+", thought_of(row["response"]))
        )
        found.update({word: words[word] for word in REFLECTION_WORDS if words[word]})
        tokens += row.get("tokens", 0)
    return found, tokens


# ---------------------------------------------------------------- the course of a thought

Course = tuple[tuple[str, str, str], ...]


def course(problem: Countdown, response: str) -> Course:
    """(word that opens it, how it is planned, how it ends) of each attempt: what a thought is like,
    its numbers aside.

    >>> course(Countdown((3, 5, 2), 4), "<think>3 + 5 = 8, 8 * 2 = 16, not 4\\nwait, 3 + 5 = 8, 8 / 2 = 4, yes</think>")
    (('', 'plain', 'miss'), ('wait', 'plain', 'hit'))
    """
    found = []
    for line in thought_of(response).split("\n"):
        for i, text in enumerate(spread(line)):
            tries = attempts_of(problem, text)
            if tries:
                opener = re.match(r"[a-z]+", line) if i == 0 else None
                plan = (
                    "backward" if tries[0].backward else "subgoal" if tries[0].subgoal else "plain"
                )
                found.append((opener[0] if opener else "", plan, "hit" if tries[0].hit else "miss"))
    return tuple(found)


RULE = (
    "of the right responses whose hit is opened by a reflection word after a miss, to a problem that was answered wrongly at "
    "the first step, the earliest; of several the one with most attempts."
)


def aha(rows: list[dict]) -> dict | None:
    """The sample that RULE chooses; None if there is none."""
    first = min((row["step"] for row in rows), default=0)
    failed = {row["id"] for row in rows if row["step"] == first and not row["correct"]}
    found = []
    for row in rows:
        problem = puzzle_of(row)
        if problem is None or not row["correct"] or row["step"] == first or row["id"] not in failed:
            continue
        tries = course(problem, row["response"])
        if (
            len(tries) > 1
            and tries[-1][0] in REFLECTION_WORDS
            and tries[-2][2] == "miss"
            and tries[-1][2] == "hit"
        ):
            found.append((row["step"], -len(tries), row["id"], row))
    return min(found, key=lambda f: f[:3])[3] if found else None


def place_in_corpus(wanted: Course, texts: list[str]) -> dict[str, int]:
    """How many Countdown documents that think there are, that go exactly this way, that end in this
    one's last turn, and that have at least as many attempts.
    """
    found = {"thoughts": 0, "same": 0, "turn": 0, "as_long": 0}
    for text in texts:
        kind, problem, response = read_document(text)
        if kind == "countdown" and thought_of(response):
            way = course(problem, response)
            found["thoughts"] += 1
            found["same"] += way == wanted
            found["turn"] += len(way) > 1 and way[-2][2] == "miss" and way[-1] == wanted[-1]
            found["as_long"] += len(way) >= len(wanted)
    return found


# ---------------------------------------------------------------- the page


BY_STEP = {
    "accuracy": "right",
    "length": "tokens",
    "attempts": "attempts",
    "reflections": "reflection words",
    "reflections_100": "per 100 tokens",
    "right_if_reflecting": "right, if reflecting",
    "hit_rate": "hits an attempt",
}
PANELS = (
    ("accuracy", "right answers", True), ("length", "tokens a response", False),
    ("reflections", "reflection words a response", False),
    ("reflections_100", "reflection words per 100 tokens", False),
    ("right_if_reflecting", "right, if reflecting", True),
    ("attempts", "attempts a response", False),
)


def by_step(rows: list[dict]) -> str:
    """The table of validations."""
    exam = phase(rows, "validate")
    names, shares = BY_STEP, ("accuracy", "right_if_reflecting", "hit_rate")
    known = [name for name in names if any(name in row for row in exam)]

    def show(row: dict, name: str) -> str:
        if name not in row:
            return ""
        return percent(row[name]) if name in shares else f"{row[name]:.1f}"

    table = markdown(
        ["step", *(names[n] for n in known)],
        [[str(row["step"]), *(show(row, n) for n in known)] for row in exam],
    )
    count = exam[0].get("n", 0)
    words = ", ".join(REFLECTION_WORDS)
    return f"## By step\n\nValidation, {count} problems, one response each at T = 1. Reflection words: {words}.\n\n{table}"


def taken_apart(rows: list[dict]) -> str:
    """The table of factors, first and last validation."""
    parts = []
    for count in decomposition.counts_of(phase(rows, "validate")):
        found = decomposition.taken_apart(rows, count)
        if len(found) > 1:
            (_, first), (last_step, last) = found[0], found[-1]
            gave = decomposition.shares(first, last)
            lines = [
                [decomposition.FACTORS[k], f"{first[k]:.3g}", f"{last[k]:.3g}", f"{gave[k]:+.2f}"]
                for k in first
            ]
            lines.append(
                [
                    "accuracy (the product)", *(f"{_product(p):.3g}" for p in (first, last)),
                    f"{sum(gave.values()):+.2f}",
                ]
            )
            name = f"{count[1:]} numbers" if count else "all puzzles"
            parts.append(
                markdown(
                    [name, f"step {found[0][0]:.0f}", f"step {last_step:.0f}", "ln of the growth"],
                    lines,
                )
            )
    return (
        "## Accuracy taken apart\n\n" + "\n\n".join(parts) + "\n\n![](plots/decomposition.png)"
        if parts
        else ""
    )


def _product(parts: dict[str, float]) -> float:
    total = 1.0
    for value in parts.values():
        total *= value
    return total


def words_section(samples: list[dict], rates: dict[str, float], thinking: dict[str, float]) -> str:
    """Each reflection word by step, beside the corpus."""
    steps = sorted({row["step"] for row in samples})
    counted = {step: word_rates(row for row in samples if row["step"] == step) for step in steps}
    words = [
        w
        for w in REFLECTION_WORDS
        if f"{w}_1000" in rates or any(found[w] for found, _ in counted.values())
    ]
    lines = []
    for word in words:
        cells = [f"{rates.get(f'{word}_1000', 0):.1f}", f"{thinking.get(f'{word}_1000', 0):.1f}"]
        lines.append(
            [
                word,
                *cells,
                *(
                    f"{1000 * found[word] / max(1, tokens):.1f} ({found[word]})"
                    for found, tokens in counted.values()
                ),
            ]
        )
    head = [
        "per 1,000 tokens (how many)", "corpus", "its Countdown thoughts",
        *(f"step {step}" for step in steps),
    ]
    sizes = ", ".join(f"{tokens:,}" for _, tokens in counted.values())
    note = f"The samples hold {sizes} tokens. The corpus is that of the run's settings; a shipped base may have read an older one."
    return f"## Reflection words and their rate in the corpus\n\n{note}\n\n{markdown(head, lines)}"


def chosen_steps(samples: list[dict]) -> list[int]:
    """At most STEPS steps, evenly, the first and the last among them."""
    steps = sorted({row["step"] for row in samples})
    return (
        sorted({steps[round(i * (len(steps) - 1) / (STEPS - 1))] for i in range(STEPS)})
        if steps
        else []
    )


def transcripts(samples: list[dict]) -> str:
    """The first problems of the validation set over training."""
    steps = chosen_steps(samples)
    ids = [
        i
        for i in dict.fromkeys(row["id"] for row in samples)
        if {r["step"] for r in samples if r["id"] == i} >= set(steps)
    ]
    found, parts = (
        {(row["step"], row["id"]): row for row in samples},
        ["## The same problems over training"],
    )
    for i in ids[:TRANSCRIPTS]:
        parts.append(f"### {found[steps[0], i]['question']}")
        parts += [_quoted(found[step, i]) for step in steps]
    return "\n\n".join(parts)


def _quoted(row: dict) -> str:
    mark = "right" if row["correct"] else "wrong"
    return f"Step {row['step']}, {mark}, {row.get('tokens', '?')} tokens:\n\n```\n{row['response'][:2500]}\n```"


def aha_section(samples: list[dict], texts: list[str]) -> str:
    """One "aha", chosen by rule, and its place in the data."""
    row = aha(samples)
    head = f'## An "aha", and its place in the data\n\nChosen by rule: {RULE}'
    if row is None:
        return f"{head}\n\nThere is none among the samples of this run."
    wanted = course(puzzle_of(row), row["response"])
    found = place_in_corpus(wanted, texts)
    way = " -> ".join(
        f"{opener or 'first'}{'' if plan == 'plain' else f' ({plan})'}: {end}"
        for opener, plan, end in wanted
    )
    n = found["thoughts"]
    return (
        f"{head}\n\n{row['question']}\n\n{_quoted(row)}\n\nIts course: {way}.\n\nOf {n:,} Countdown thoughts in the corpus "
        f'{found["turn"]:,} ({percent(found["turn"] / max(1, n))}) end in the same turn (a miss, then "{wanted[-1][0]}", then a '
        f"hit), {found['as_long']:,} have as many attempts, and {found['same']:,} go exactly the same way, attempt by attempt. "
        f"{'The turn was read, not invented.' if found['turn'] else 'The turn is not in this sample of the corpus.'}"
    )


def draw(rows: list[dict], wait: float, out: Path) -> list[Path]:
    """self-evolution.png and decomposition.png in OUT/plots."""
    exam, written = phase(rows, "validate"), []
    figure, grid = plots._figure(2, 3, (12, 6))
    for axes, (name, title, share) in zip(grid, PANELS):
        plots._dress(axes, title, share, "RL step")
        practice, (x, y) = column(phase(rows, "rl"), name), column(exam, name)
        axes.plot(*practice, color=plots.SKY, alpha=0.4, linewidth=0.9, label="training")
        axes.plot(x, y, color=plots.BLUE, marker="o", markersize=3.5, label="validation")
        if name == "reflections_100":
            axes.axhline(
                wait, color=plots.GREY, dashes=(4, 2), linewidth=1.2,
                label="Countdown thoughts of the corpus",
            )
        axes.set_ylim(0)
    for axes in (grid[0], grid[3]):
        axes.legend(fontsize=8, frameon=False)
    written.append(plots.save(figure, out / "plots" / "self-evolution.png"))
    parts = decomposition.figure_of(rows)
    return written + ([plots.save(parts, out / "plots" / "decomposition.png")] if parts else [])


# ---------------------------------------------------------------- the command


def corpus_of(run: Path) -> CorpusConfig:
    """The corpus settings of a run.

    Raises UserError if there are none that this version can read.
    """
    try:
        return from_dict(Config, read_settings(run / "config.json")).corpus
    except (OSError, ValueError, TypeError) as fault:
        raise UserError(f"{run / 'config.json'} cannot be read ({fault})") from fault


def main(arguments: list[str]) -> None:
    """`RUN`. Raises UserError."""
    parser = argparse.ArgumentParser(
        "minir1 evolution", description="How a policy changed over RL, beside its corpus.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="a run folder such as runs/gpu-0")
    parser.add_argument(
        "--documents", type=int, default=20_000,
        help="corpus documents to compare with (default: 20000)",
    )
    parser.add_argument("--out", type=Path, help="where evolution.md and plots/ go (default: RUN)")
    given = cli.parse(parser, arguments)
    if not given.run.is_dir():
        raise UserError(f"no folder {given.run}")
    rows, samples, out = read_metrics(given.run), read_samples(given.run), given.out or given.run
    if not phase(rows, "validate"):
        raise UserError(f"{given.run} holds no validation in metrics.jsonl: nothing to show")
    if given.documents < 1:
        raise UserError("--documents must be at least 1")
    texts = sample_text(corpus_of(given.run), 0, given.documents)
    thoughts = [
        text for text in texts if read_document(text)[0] == "countdown" and "<think>" in text
    ]
    rates, thinking = corpus_rates(texts), corpus_rates(thoughts)
    pictures = draw(rows, thinking.get("reflections_1000", 0.0) / 10, out)
    parts = [
        f"# Self-evolution of {given.run.resolve().name}",
        f"    python -m minir1 evolution {' '.join(arguments)}",
        by_step(rows),
    ]
    parts += ["![](plots/self-evolution.png)", taken_apart(rows)]
    if samples:
        parts += [
            words_section(samples, rates, thinking), aha_section(samples, texts),
            transcripts(samples),
        ]
    (out / "evolution.md").write_text(
        "\n\n".join(part for part in parts if part) + "\n", encoding="utf-8"
    )
    print(f"wrote {out / 'evolution.md'}, {', '.join(map(str, pictures))}")
