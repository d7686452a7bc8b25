"""The scoreboard as people read it: a table in Markdown, a figure, a page of answers."""

from pathlib import Path

PAPER = """| R1 report, Table 3 | Zero | Dev1 | Dev2 | Dev3 | R1 |
|---|---|---|---|---|---|
| AIME 2024 | 77.9 | 59.0 | 74.0 | 78.1 | 79.8 |
| MATH-500 | 95.9 | 94.2 | 95.9 | 95.4 | 97.3 |
| LiveCodeBench | 50.0 | 57.5 | 63.5 | 64.6 | 65.9 |
| GPQA | 75.8 | 66.1 | 70.7 | 71.2 | 71.5 |
| IF-Eval | 46.6 | 71.7 | 72.0 | 78.1 | 83.3 |
| AlpacaEval 2 | 24.7 | 50.1 | 55.8 | 62.1 | 87.6 |
| ArenaHard | 53.6 | 77.0 | 73.2 | 75.6 | 92.3 |
"""
NOTE = """Held-out problems and wordings, T = 0.6, top-p 0.95. In its language: share of words in the prompt's language, over
Countdown responses with at least five words; wordless ones are counted apart. Mixed: words of thoughts in the other language.
Readable: ended by itself, no attempt repeated, every step true, a summary that states the answer. Novel wordings: all general
kinds, asked with words that training never shows; the columns before it combine known parts anew. FLOPs: 2 N a sampled and 6 N a
trained token, N the parameters that a token uses. Dollars at $2 an hour. Costs are of the stage itself, evaluation not counted."""
COLUMNS = (  # key, heading, how it is shown
    ("countdown", "Countdown pass@1", "%"), ("cons", "cons", "%"), ("arithmetic", "arithmetic", "%"),
    ("instruction", "instructions", "%"), ("fact", "facts", "%"), ("json", "JSON", "%"), ("dialogue", "dialogue", "%"),
    ("decline", "decline", "%"), ("self", "self", "%"), ("novel", "novel wordings", "%"),
    ("language", "in its language", "%"), ("wordless", "wordless", "%"),
    ("mixed", "mixed", "%"), ("switched", "switch", "%"), ("readable", "readable", "%"), ("length", "tokens", "n"),
    ("minutes", "minutes", "m"), ("tokens", "M tokens", "M"), ("flops", "PFLOPs", "P"), ("dollars", "$", "$"),
)  # fmt: skip


def cell(row: dict, key: str, form: str, samples: int) -> str:
    """One figure as text; "" if it is not there.

    >>> cell({"fact": 0.5}, "fact", "%", 16), cell({"cost": {"seconds": 90}}, "minutes", "m", 16)
    ('50.0', '1.5')
    """
    cost = row.get("cost", {})
    value = {
        "cons": row.get(f"cons@{samples}"), "minutes": cost.get("seconds"), "flops": cost.get("flops"),
        "dollars": cost.get("dollars"),
        "tokens": cost.get("tokens_sampled", 0) + cost.get("tokens_trained", 0) if cost else None,
    }.get(key, row.get(key))  # fmt: skip
    if value is None:
        return ""
    shown = {"%": 100 * value, "n": value, "m": value / 60, "M": value / 1e6, "P": value / 1e15, "$": value}[form]
    return f"{shown:.0f}" if form == "n" else f"{shown:.3f}" if form in "P$" else f"{shown:.1f}"


def table_text(rows: dict[str, dict], names: dict[str, str], samples: int) -> str:
    """The table in Markdown, and the paper's beside it."""
    head = [f"cons@{samples}" if key == "cons" else title for key, title, _ in COLUMNS]
    lines = ["| stage | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for name, row in rows.items():
        error = f" ± {100 * row['countdown_stderr']:.1f}" if row.get("countdown_stderr") else ""
        cells = [cell(row, key, form, samples) + (error if key == "countdown" else "") for key, _, form in COLUMNS]
        lines.append(f"| {names[name]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\n{NOTE}\n\n{PAPER}"


def prompts_page(pages: dict[str, list], names: dict[str, str]) -> str:
    """The same prompts, answered by every stage."""
    out = ["# The same five prompts, answered by every stage", ""]
    for i, (question, _) in enumerate(next(iter(pages.values()), [])):
        out += [f"## {question}", ""]
        for name, answered in pages.items():
            out += [f"**{names[name]}**", "", "```", answered[i][1][:1500], "```", ""]
    return "\n".join(out)


def draw_scoreboard(rows: dict[str, dict], names: dict[str, str], path: Path) -> None:
    """What the stages trade: reasoning, form, and general tasks, stage by stage."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stages = [name for name in rows if not name.startswith("student") and name != "dev2-plain"]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shown = (("countdown", "Countdown pass@1"), ("language", "in its language"), ("readable", "readable"),
             ("instruction", "instructions"), ("fact", "facts"))  # fmt: skip
    for key, label in shown:
        points = [(i, 100 * rows[name][key]) for i, name in enumerate(stages) if key in rows[name]]
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=label)
    axes.set_xticks(range(len(stages)), [names[name] for name in stages])
    axes.set(ylabel="percent of held-out responses", ylim=(0, 102))
    axes.legend(loc="lower right", fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
