"""report.html: one self-contained page with the summary in words, curves, and the rollouts.

The page is page.html filled in: data as JSON, and the scripts beside it, which draw from it. What a
model wrote is never markup: here it becomes a JSON string without `<`, there a text node; and the
page's policy lets only this very script run.
"""

import base64
import hashlib
import html
import re
from pathlib import Path

from minir1.console.tables import without_empty_columns
from minir1.measure.diagnosis import column, diagnosis, phase
from minir1.report import drawing, plots, words
from minir1.report.page.groups import embedded, fit, spaced

SCRIPTS = ("page.js", "curves.js", "rollouts.js")
BUDGET = 3_500_000  # bytes of transcripts on a page, all runs together
POINTS = 400  # of one curve
COLOURS = {  # of a plot -> class in page.css
    drawing.BLUE: "blue", drawing.SKY: "sky", drawing.RED: "red", drawing.GREEN: "green",
    drawing.PURPLE: "purple", drawing.ORANGE: "orange", drawing.GREY: "grey", drawing.INK: "ink",
}
LINES = ("blind_tokens", "blind_pairs", "forced_base")  # the table holds the others, too
COMPARED = ("accuracy", "hit_rate", "attempts", "repeated", "length", "truncated")

# ---------------------------------------------------------------- curves


def short(values: list[float]) -> list[float]:
    """At most POINTS of the values; four digits are enough for a picture."""
    return [float(f"{value:.4g}") for value in spaced(values, POINTS)]


def curve(rows: list[dict], name: str) -> dict | None:
    """x, y, and (for enough points) s: the moving mean. None without data."""
    steps, values = column(rows, name)
    if not values:
        return None
    points = {"x": spaced(steps, POINTS), "y": short(values)}
    if len(values) >= 12:
        points["s"] = short(drawing.smooth(values))
    return points


def curves_of(rows: list[dict]) -> dict[str, dict]:
    """Every curve that the page draws, by phase and metric: "rl.length"."""
    practice, validations = phase(rows, "rl"), phase(rows, "validate")
    curves = {}
    for panels in plots.PANELS.values():
        for _, metrics, *_ in panels:
            for name, *_ in plots.expand(practice, metrics):
                curves[f"rl.{name}"] = curve(practice, name)
    curves["rl.accuracy"] = curve(practice, "accuracy")
    curves["answer_only.accuracy"] = curve(phase(rows, "answer_only"), "accuracy")
    curves["pretrain.loss"] = curve(phase(rows, "pretrain"), "loss")
    points = curve(validations, "accuracy")
    if points:
        points["e"] = short(plots.errors_at(validations, points["x"]))
        points.pop("s", None)
    curves["validate.accuracy"] = points
    return {key: value for key, value in curves.items() if value}


def charts(all_rows: list[list[dict]]) -> list[dict]:
    """Sections of panels of curves, each curve once; the script leaves out panels without data."""
    accuracy = [
        ("validate.accuracy", "blue", "R1-Zero, validation puzzles"),
        ("rl.accuracy", "sky", "R1-Zero, training puzzles"),
        ("answer_only.accuracy", "purple", "answer only, training puzzles"),
    ]
    loss = [("pretrain.loss", "blue", "")]
    together = [row for rows in all_rows for row in phase(rows, "rl")]
    sections = [_section("accuracy", _panel("Right answers", accuracy, True) | {"main": True})]
    for name, panels in plots.PANELS.items():
        drawn = []
        for title, metrics, percent, logarithmic in panels:
            curves = []
            for metric, colour, label in plots.expand(together, metrics):
                curves.append((f"rl.{metric}", COLOURS[colour], label))
            drawn.append(_panel(title, curves, percent, logarithmic))
        sections.append(_section(name, *drawn))
    return [*sections, _section("pretrain", _panel("loss (nats a token)", loss))]


def _section(name: str, *panels: dict) -> dict:
    title, hint, _ = plots.PLOTS[name]
    return {"title": title, "hint": hint, "panels": panels}


def _panel(title: str, curves: list[tuple], percent=False, logarithmic=False) -> dict:
    drawn = [{"key": key, "colour": colour, "label": label} for key, colour, label in curves]
    return {"title": title, "percent": percent, "log": logarithmic, "curves": drawn}


def lines_of(summary: dict) -> list[dict]:
    """The reference lines: what costs nothing, or no learning."""
    known, lines = words.part(summary, "references"), []
    chosen = {key: known[key] for key in LINES if key in known}
    for value, label, colour, dashes in plots.reference_lines(summary | {"references": chosen}):
        dash = " ".join(str(2 * length) for length in dashes)
        lines.append({"value": value, "label": label, "colour": COLOURS[colour], "dash": dash})
    return lines


def run_data(name: str, rows: list[dict], summary: dict, samples: list[dict], budget: int) -> dict:
    """All that the script knows of a run."""
    zero = words.entry(summary.get("zero"))
    return {
        "name": name,
        "curves": curves_of(rows),
        "lines": lines_of(summary),
        "blind": words.blind_hit_rates(summary),
        "zero": {key: zero[key] for key in ("accuracy", "stderr") if key in zero},
        "samples": fit(samples, budget),
    }


# ---------------------------------------------------------------- words and tables


def plain(value) -> str:
    """Any value as text in HTML.

    >>> plain("<b>5 & 6</b>")
    '&lt;b&gt;5 &amp; 6&lt;/b&gt;'
    """
    return html.escape(str(value))


def headline_html(rows: list[dict], summary: dict) -> str:
    """Accuracy before and after in large figures, and of which problems it is; of an unfinished
    run also whether it is learning."""
    sides = [words.entry(summary.get(side)) for side in ("base", "zero")]
    problems, after = "test puzzles", "R1-Zero"
    if not all("accuracy" in side for side in sides):
        marks = [words.entry(row) for row in phase(rows, "validate")]
        sides = [mark for mark in marks if {"accuracy", "step"} <= mark.keys()]
        if len(sides) < 2:
            return f"<h1>No result yet</h1><p>{plain(diagnosis(rows))}.</p>"
        problems = "validation puzzles"
        after = f"step {sides[-1]['step']:.0f} of RL ({diagnosis(rows)})"
    base, zero = sides[0], sides[-1]
    digits = 0 if abs(zero["accuracy"] - base["accuracy"]) > 0.015 else 1
    shares = [(100 * side["accuracy"], 100 * words.error_of(side)) for side in (base, zero)]
    large = " → ".join(f"{share:.{digits}f}%" for share, _ in shares)
    exact = [f"{share:.1f}% ±\xa0{error:.1f}" for share, error in shares]
    count = f"{zero['n']:.0f} held-out" if "n" in zero else "Held-out"
    said = f"{count} {problems}, one response each: the base solves {exact[0]}, {after} {exact[1]}."
    return f"<h1>{large}</h1><p>{plain(said)}</p>"


def summary_html(rows: list[dict], summary: dict) -> str:
    """The summary in words and tables."""
    parts = [f"<p><strong>During training:</strong> {plain(diagnosis(rows))}.</p>"]
    for block in words.summary_blocks(summary) or ["The run has no summary yet."]:
        if isinstance(block, str):
            parts.append("<p>" + plain(block[:20_000]).replace("\n", "<br>") + "</p>")
        else:
            parts.append(table_html(*block))
    return "\n".join(parts)


def table_html(head: tuple, rows: list[tuple]) -> str:
    """A table; columns without any entry are left out."""
    top, *body = without_empty_columns(head, rows)
    lines = ["".join(f'<th scope="col">{plain(cell)}</th>' for cell in top)]
    for name, *cells in body:
        indent = ' class="sub"' if name.startswith("  ") else ""
        heading = f'<th scope="row"{indent}>{plain(name.strip())}</th>'
        lines.append(heading + "".join(f"<td>{plain(cell)}</td>" for cell in cells))
    table = "".join(f"<tr>{line}</tr>" for line in lines)
    region = 'class="scroll" tabindex="0" role="region" aria-label="table"'
    return f"<div {region}><table>{table}</table></div>"


def compared_html(names: list[str], summaries: list[dict]) -> str:
    """R1-Zero of several runs beside each other."""
    head = [words.BEFORE_AND_AFTER[key][0].strip() for key in COMPARED]
    rows = []
    for name, summary in zip(names, summaries):
        base, zero = words.entry(summary.get("base")), words.entry(summary.get("zero"))
        cells = [f"{100 * base['accuracy']:.1f}%" if "accuracy" in base else ""]
        for key in COMPARED:
            scale, unit = (100, "%") if words.BEFORE_AND_AFTER[key][1] else (1, "")
            cells.append(f"{scale * zero[key]:.1f}{unit}" if key in zero else "")
        rows.append((name, *cells))
    return table_html(("run", "base: right", *head), rows)


# ---------------------------------------------------------------- the page


def fingerprint(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def filled(folder: Path, scripts: tuple[str, ...], parts: dict[str, str]) -> str:
    """page.html of a folder with page.css, the scripts and all parts in their places, and a policy
    that lets these very scripts run alone."""
    names = ("page.html", "page.css", *scripts)
    page, style, *code = ((folder / name).read_text(encoding="utf-8") for name in names)
    script = "\n".join(code)
    allowed = f"style-src {fingerprint(style)}; script-src {fingerprint(script)}"
    policy = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    parts = parts | {"policy": policy, "style": style, "script": script}
    # In one pass, so that nothing inside a part is taken for a place to fill.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], page)


def build_page(runs: list[tuple[str, list[dict], dict, list[dict]]]) -> bytes:
    """The document, in UTF-8. `runs`: (name, rows of metrics.jsonl, summary, samples) of each."""
    names = [name for name, *_ in runs]
    data = [run_data(*run, budget=BUDGET // len(runs)) for run in runs]
    blocks = [summary_html(rows, summary) for _, rows, summary, _ in runs]
    headline = headline_html(*runs[0][1:3])
    if len(runs) > 1:
        compared = compared_html(names, [summary for _, _, summary, _ in runs])
        headline = f"<h1>{len(runs)} runs</h1>{compared}"
        for i, name in enumerate(names):
            head = f"<summary>{plain(name)}</summary>"
            blocks[i] = f"<details>{head}{blocks[i]}</details>"
    parts = {
        "title": plain(", ".join(names)),
        "headline": headline,
        "summary": "\n".join(blocks),
        "data": embedded({"runs": data, "charts": charts([rows for _, rows, *_ in runs])}),
    }
    return filled(Path(__file__).parent, SCRIPTS, parts).encode("utf-8", "replace")
