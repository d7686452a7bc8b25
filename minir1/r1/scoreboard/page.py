"""The scoreboard as people read it: a table in Markdown, a figure, a page of answers."""

from pathlib import Path

from minir1.console.tables import markdown
from minir1.report.drawing import figure_of

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
NOTE = """Held-out problems and wordings, T = 0.6, top-p 0.95. In its language: share of words in
the prompt's language, over Countdown responses with at least five words; wordless ones are counted
apart. Mixed: words of thoughts in the other language. Readable: ended by itself, no attempt
repeated, every step true, a summary that states the answer. Novel wordings: all general kinds,
asked with words that training never shows; the columns before it combine known parts anew. FLOPs:
2 N a sampled and 6 N a trained token, N the parameters that a token uses. Dollars at $2 an hour.
Costs are of the stage itself, evaluation not counted."""
COLUMNS = {  # figure: heading
    "countdown": "Countdown pass@1", "cons": "cons", "arithmetic": "arithmetic",
    "instruction": "instructions", "fact": "facts", "json": "JSON", "dialogue": "dialogue",
    "decline": "decline", "self": "self", "novel": "novel wordings", "language": "in its language",
    "wordless": "wordless", "mixed": "mixed", "switched": "switch", "readable": "readable",
    "length": "tokens", "minutes": "minutes", "tokens": "M tokens", "flops": "PFLOPs",
    "dollars": "$",
}
# Figure: (unit, decimals). All others are shares, shown in percent.
UNITS = {"length": (1, 0), "minutes": (60, 1), "tokens": (1e6, 1)}
UNITS |= {"flops": (1e15, 3), "dollars": (1, 3)}
DRAWN = ("countdown", "language", "readable", "instruction", "fact")


def cell(row: dict, key: str, samples: int) -> str:
    """One figure as text; "" if it is not there.

    >>> cell({"fact": 0.5}, "fact", 16), cell({"cost": {"seconds": 90}}, "minutes", 16)
    ('50.0', '1.5')
    """
    cost = row.get("cost", {})
    tokens = cost.get("tokens_sampled", 0) + cost.get("tokens_trained", 0) if cost else None
    derived = {"cons": row.get(f"cons@{samples}"), "minutes": cost.get("seconds"), "tokens": tokens}
    value = (row | cost | derived).get(key)
    if value is None:
        return ""
    if key not in UNITS:
        error = row.get("countdown_stderr") if key == "countdown" else None
        return f"{100 * value:.1f}" + (f" ± {100 * error:.1f}" if error else "")
    unit, decimals = UNITS[key]
    return f"{value / unit:.{decimals}f}"


def table_text(rows: dict[str, dict], names: dict[str, str], samples: int) -> str:
    """The table in Markdown, and the paper's beside it."""
    head = ["stage", *(COLUMNS | {"cons": f"cons@{samples}"}).values()]
    lines = [[names[n], *(cell(row, key, samples) for key in COLUMNS)] for n, row in rows.items()]
    return f"{markdown(head, lines)}\n\n{NOTE}\n\n{PAPER}"


def prompts_page(examples: dict[str, list], names: dict[str, str]) -> str:
    """The same prompts, answered by every stage."""
    lines = ["# The same five prompts, answered by every stage", ""]
    for i, (question, _) in enumerate(next(iter(examples.values()), [])):
        lines += [f"## {question}", ""]
        for name, answered in examples.items():
            lines += [f"**{names[name]}**", "", "```", answered[i][1][:1500], "```", ""]
    return "\n".join(lines)


def draw_scoreboard(rows: dict[str, dict], names: dict[str, str], path: Path) -> None:
    """What the stages trade: reasoning, form, and general tasks, stage by stage."""
    stages = [name for name in rows if not name.startswith("student") and name != "dev2-plain"]
    figure, (axes,) = figure_of(size=(8, 4.5))
    for key in DRAWN:
        places = [i for i, name in enumerate(stages) if key in rows[name]]
        shares = [100 * rows[stages[i]][key] for i in places]
        axes.plot(places, shares, marker="o", label=COLUMNS[key])
    axes.set_xticks(range(len(stages)), [names[name] for name in stages])
    axes.set(ylabel="percent of held-out responses", ylim=(0, 102))
    axes.legend(loc="lower right", fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
