"""The self-evolution page of a run: accuracy, length, reflection words, transcripts, one "aha".

    python -m minir1 evolution runs/gpu-0          writes runs/gpu-0/evolution.md and a plot
    python -m minir1 evolution results/zero/cpu-seed0 --out /tmp/page

Beside the rate of "wait" stands its rate in the corpus, and beside the "aha" how often the corpus
holds the same course of a thought: what looks new may have been read.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from minir1.config import Config, CorpusConfig, UserError, from_dict
from minir1.console.errors import make_parser, parse
from minir1.console.files import check_folder, read_settings
from minir1.console.flags import count
from minir1.console.tables import markdown
from minir1.corpus.mixture import sample_text
from minir1.experiments.tables.page import percent
from minir1.measure.attempts import attempts_of, spread, thought_of
from minir1.measure.behaviours import REFLECTION_WORDS, corpus_rates, read_document
from minir1.measure.diagnosis import column, phase
from minir1.report import drawing
from minir1.report.page.groups import spaced
from minir1.report.reading import read_lines, read_metrics
from minir1.tasks.countdown import Countdown
from minir1.transcript import BEGIN

TRANSCRIPTS, STEPS = 5, 4  # problems shown, and steps of each

# ---------------------------------------------------------------- samples


def read_samples(run: Path) -> list[dict]:
    """The first response of each step and problem, of RUN/samples or RUN/transcripts.jsonl."""
    files = sorted((run / "samples").glob("rl-*.jsonl")) or [run / "transcripts.jsonl"]
    first = {}
    for path in files:
        for row in read_lines(path):
            if {"step", "id", "question", "response"} <= set(row):
                first.setdefault((row["step"], row["id"]), row)
    return list(first.values())


def puzzle_of(row: dict) -> Countdown | None:
    """The puzzle that a sample answers; None if it is something else."""
    return read_document(f"{BEGIN}User: {row['question']}\nAssistant:{row['response']}")[1]


def word_rates(rows: Iterable[dict]) -> tuple[Counter, int]:
    """(how often each reflection word stands in the samples, tokens of the samples)."""
    counts, tokens = Counter(), 0
    for row in rows:
        words = map(str.lower, re.findall(r"[A-Za-z']+", thought_of(row["response"])))
        counts.update(word for word in words if word in REFLECTION_WORDS)
        tokens += row.get("tokens", 0)
    return counts, tokens


# ---------------------------------------------------------------- the course of a thought

Course = tuple[tuple[str, str, str], ...]


def course(problem: Countdown, response: str) -> Course:
    """(word that opens it, how it is planned, how it ends) of each attempt: what a thought is like,
    its numbers aside.

    >>> text = "<think>3 + 5 = 8, 8 * 2 = 16, not 4\\nwait, 3 + 5 = 8, 8 / 2 = 4, yes</think>"
    >>> course(Countdown((3, 5, 2), 4), text)
    (('', 'plain', 'miss'), ('wait', 'plain', 'hit'))
    """
    turns = []
    for line in thought_of(response).split("\n"):
        for i, text in enumerate(spread(line)):
            attempt = next(iter(attempts_of(problem, text)), None)
            if attempt is None:
                continue
            word = re.match(r"[a-z]+", line) if i == 0 else None
            plan = "subgoal" if attempt.subgoal else "plain"
            plan = "backward" if attempt.backward else plan
            turns.append((word[0] if word else "", plan, "hit" if attempt.hit else "miss"))
    return tuple(turns)


RULE = (
    "of the right responses whose hit is opened by a reflection word after a miss, to a problem "
    "that was answered wrongly at the first step, the earliest; of several the one with most "
    "attempts."
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
        turns = course(problem, row["response"])
        ends = [end for _, _, end in turns[-2:]]
        if ends == ["miss", "hit"] and turns[-1][0] in REFLECTION_WORDS:
            found.append(((row["step"], -len(turns), row["id"]), row))
    return min(found, key=lambda ranked: ranked[0], default=(None, None))[1]


def place_in_corpus(wanted: Course, texts: list[str]) -> dict[str, int]:
    """How many Countdown documents that think there are, that go exactly this way, that end in this
    one's last turn, and that have at least as many attempts.
    """
    counts = {"thoughts": 0, "same": 0, "turn": 0, "as_long": 0}
    for text in texts:
        kind, problem, response = read_document(text)
        if kind == "countdown" and thought_of(response):
            turns = course(problem, response)
            counts["thoughts"] += 1
            counts["same"] += turns == wanted
            counts["turn"] += len(turns) > 1 and turns[-2][2] == "miss" and turns[-1] == wanted[-1]
            counts["as_long"] += len(turns) >= len(wanted)
    return counts


# ---------------------------------------------------------------- the page

# metric -> (head of its column, title of its panel, in percent)
BY_STEP = {
    "accuracy": ("right", "right answers", True),
    "length": ("tokens", "tokens per response", False),
    "attempts": ("attempts", "attempts a response", False),
    "reflections": ("reflection words", "reflection words a response", False),
    "reflections_100": ("per 100 tokens", "reflection words per 100 tokens", False),
    "right_if_reflecting": ("right, if reflecting", "right, if reflecting", True),
    "hit_rate": ("hits an attempt", "", True),
}
PANELS = ("accuracy", "length", "reflections", "reflections_100", "right_if_reflecting", "attempts")


def by_step(rows: list[dict]) -> str:
    """The table of validations."""
    validations = phase(rows, "validate")
    known = [name for name in BY_STEP if any(name in row for row in validations)]
    lines = []
    for row in validations:
        line = [str(row["step"])]
        for name in known:
            in_percent = BY_STEP[name][2] or name not in row  # of nothing, percent says nothing
            line.append(percent(row.get(name)) if in_percent else f"{row[name]:.1f}")
        lines.append(line)
    count, words = validations[0].get("n", 0), ", ".join(REFLECTION_WORDS)
    note = f"Validation, {count} problems, one response each at T = 1. Reflection words: {words}."
    table = markdown(["step", *(BY_STEP[name][0] for name in known)], lines)
    return f"## By step\n\n{note}\n\n{table}\n\n![](plots/self-evolution.png)"


def words_section(samples: list[dict], rates: dict[str, float], thinking: dict[str, float]) -> str:
    """Each reflection word by step, beside the corpus."""
    steps = sorted({row["step"] for row in samples})
    counted = [word_rates(row for row in samples if row["step"] == step) for step in steps]
    lines = []
    for word in REFLECTION_WORDS:
        name = f"{word}_1000"
        if name not in rates and not any(counts[word] for counts, _ in counted):
            continue
        line = [word, f"{rates.get(name, 0):.1f}", f"{thinking.get(name, 0):.1f}"]
        for counts, tokens in counted:
            line.append(f"{1000 * counts[word] / max(1, tokens):.1f} ({counts[word]})")
        lines.append(line)
    head = ["per 1,000 tokens (how many)", "corpus", "its Countdown thoughts"]
    table = markdown(head + [f"step {step}" for step in steps], lines)
    sizes = ", ".join(f"{tokens:,}" for _, tokens in counted)
    note = (
        f"The samples hold {sizes} tokens. The corpus is that of the run's settings; "
        "a shipped base may have read an older one."
    )
    return f"## Reflection words and their rate in the corpus\n\n{note}\n\n{table}"


def transcripts(samples: list[dict]) -> str:
    """The first problems of the validation set over training."""
    steps = spaced(sorted({row["step"] for row in samples}), STEPS)
    problems: dict[str, dict[int, dict]] = {}
    for row in samples:
        problems.setdefault(row["id"], {})[row["step"]] = row
    whole = [rows for rows in problems.values() if set(steps) <= set(rows)]
    parts = ["## The same problems over training"]
    for rows in whole[:TRANSCRIPTS]:
        parts.append(f"### {rows[steps[0]]['question']}")
        parts += [_quoted(rows[step]) for step in steps]
    return "\n\n".join(parts)


def _quoted(row: dict) -> str:
    mark = "right" if row["correct"] else "wrong"
    head = f"Step {row['step']}, {mark}, {row.get('tokens', '?')} tokens:"
    return f"{head}\n\n```\n{row['response'][:2500]}\n```"


def aha_section(samples: list[dict], texts: list[str]) -> str:
    """One "aha", chosen by rule, and its place in the data."""
    row = aha(samples)
    head = f'## An "aha", and its place in the data\n\nChosen by rule: {RULE}'
    if row is None:
        return f"{head}\n\nThere is none among the samples of this run."
    wanted = course(puzzle_of(row), row["response"])
    turns = []
    for word, plan, end in wanted:
        planned = "" if plan == "plain" else f" ({plan})"
        turns.append(f"{word or 'first'}{planned}: {end}")
    counts = place_in_corpus(wanted, texts)
    turn, n = counts["turn"], counts["thoughts"]
    place = (
        f"Of {n:,} Countdown thoughts in the corpus {turn:,} ({percent(turn / max(1, n))}) end in "
        f'the same turn (a miss, then "{wanted[-1][0]}", then a hit), {counts["as_long"]:,} have '
        f"as many attempts, and {counts['same']:,} go exactly the same way, attempt by attempt. "
    )
    read, absent = "was read, not invented", "is not in this sample of the corpus"
    place += f"The turn {read if turn else absent}."
    course_words = f"Its course: {' -> '.join(turns)}."
    return "\n\n".join([head, row["question"], _quoted(row), course_words, place])


def draw(rows: list[dict], wait: float, out: Path) -> Path:
    """OUT/plots/self-evolution.png; `wait`: reflection words per 100 tokens of the corpus."""
    figure, grid = drawing.figure_of(2, 3, (12, 6))
    for axes, name in zip(grid, PANELS):
        drawing.dress(axes, *BY_STEP[name][1:], "RL step")
        practice, (x, y) = column(phase(rows, "rl"), name), column(phase(rows, "validate"), name)
        axes.plot(*practice, color=drawing.SKY, alpha=0.4, linewidth=0.9, label="training")
        axes.plot(x, y, color=drawing.BLUE, marker="o", markersize=3.5, label="validation")
        if name == "reflections_100":
            look = {"color": drawing.GREY, "dashes": (4, 2), "linewidth": 1.2}
            axes.axhline(wait, label="Countdown thoughts of the corpus", **look)
        axes.set_ylim(0)
    for axes in (grid[0], grid[3]):
        axes.legend(fontsize=8, frameon=False)
    return drawing.save(figure, out / "plots" / "self-evolution.png")


# ---------------------------------------------------------------- the command


def corpus_of(run: Path) -> CorpusConfig:
    """The corpus settings of a run. Raises UserError if this version can read none."""
    try:
        return from_dict(Config, read_settings(run / "config.json")).corpus
    except OSError as fault:
        raise UserError(f"{run / 'config.json'} cannot be read ({fault})") from fault


def main(arguments: list[str]) -> None:
    """`RUN`. Raises UserError."""
    about = "How a policy changed over RL, beside its corpus."
    parser, add = make_parser("evolution", about, allow_abbrev=False)
    add("run", metavar="RUN", type=Path, help="a run folder such as runs/gpu-0")
    documents = "corpus documents to compare with (default: 20000)"
    add("--documents", type=count, default=20_000, help=documents)
    add("--out", type=Path, help="where evolution.md and plots/ go (default: RUN)")
    options = parse(parser, arguments)
    run, out = options.run, options.out or options.run
    if not run.is_dir():
        raise UserError(f"no folder {run}")
    rows, samples = read_metrics(run), read_samples(run)
    if not phase(rows, "validate"):
        raise UserError(f"{run} holds no validation in metrics.jsonl: nothing to show")
    check_folder(out)
    texts = sample_text(corpus_of(run), 0, options.documents)
    thoughts = [t for t in texts if read_document(t)[0] == "countdown" and "<think>" in t]
    thinking = corpus_rates(thoughts)
    picture = draw(rows, thinking.get("reflections_1000", 0.0) / 10, out)
    command = f"    python -m minir1 evolution {' '.join(arguments)}"
    parts = [f"# Self-evolution of {run.resolve().name}", command, by_step(rows)]
    if samples:
        parts.append(words_section(samples, corpus_rates(texts), thinking))
        parts += [aha_section(samples, texts), transcripts(samples)]
    page = out / "evolution.md"
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(f"wrote {page}, {picture}")
