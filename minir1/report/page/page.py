"""report.html: one self-contained page with the summary in words, curves, and the rollouts.

The page is page.html filled in: data as JSON, and the scripts beside it, which draws from it. What
a model wrote is never markup: here it becomes a JSON string without `<`, there a text node; and the
page's policy lets only this very script run.
"""

import base64
import hashlib
import html
import re
from pathlib import Path

from minir1.measure.diagnosis import column, diagnosis, phase
from minir1.report import plots
from minir1.report.page.groups import embedded, fit
from minir1.report.words import BEFORE_AND_AFTER, REFERENCES, entry, references_of, summary_blocks

FOLDER = Path(__file__).parent
SCRIPTS = ("page.js", "curves.js", "rollouts.js")
BUDGET = 3_500_000  # bytes of transcripts on a page, all runs together
POINTS = 400  # of one curve
COLOURS = {
    plots.BLUE: "blue", plots.SKY: "sky", plots.RED: "red", plots.GREEN: "green",
    plots.PURPLE: "purple",
    plots.ORANGE: "orange", plots.GREY: "grey", plots.INK: "ink",
}  # fmt: skip

# ---------------------------------------------------------------- curves


def thin(values: list, most: int = POINTS) -> list:
    """At most `most` of the values, evenly taken, the first and the last among them.

    >>> thin([0, 1, 2, 3, 4, 5], 3)
    [0, 2, 5]
    """
    n = len(values)
    return values if n <= most else [values[i * (n - 1) // (most - 1)] for i in range(most)]


def short(value: float) -> float:
    return float(f"{value:.4g}")


def curve(rows: list[dict], name: str, x: str = "step") -> dict | None:
    """x, y, and (for enough points) s: the moving mean. None without data."""
    steps, values = column(rows, name, x)
    if not values:
        return None
    found = {"x": thin(steps), "y": [short(v) for v in thin(values)]}
    return found | (
        {"s": [short(v) for v in thin(plots.smooth(values))]} if len(values) >= 12 else {}
    )


def curves_of(rows: list[dict]) -> dict[str, dict]:
    """Every curve that the page draws, by phase and metric: "rl.length"."""
    practice, exam = phase(rows, "rl"), phase(rows, "validate")
    found = {
        f"rl.{name}": curve(practice, name)
        for panels in SECTIONS.values()
        for name in _metrics(practice, panels)
    }
    found |= {
        "rl.accuracy": curve(practice, "accuracy"), "validate.accuracy": curve(exam, "accuracy"),
    }
    found["answer_only.accuracy"] = curve(phase(rows, "answer_only"), "accuracy")
    found["pretrain.loss"] = curve(phase(rows, "pretrain"), "loss")
    if found["validate.accuracy"]:
        errors = dict(zip(*column(exam, "stderr")))
        found["validate.accuracy"]["e"] = [
            short(max(0.0, errors.get(x, 0.0))) for x in found["validate.accuracy"]["x"]
        ]
        found["validate.accuracy"].pop("s", None)
    return {key: value for key, value in found.items() if value}


def _metrics(rows: list[dict], panels: list[tuple]) -> list[str]:
    return [name for _, curves, *_ in panels for name, *_ in plots.expand(rows, curves)]


SECTIONS = {"length": plots.LENGTH, "evolution": plots.EVOLUTION, "health": plots.HEALTH}


def charts(all_rows: list[list[dict]]) -> list[dict]:
    """What to draw: sections of panels of curves.

    A panel without data is left out by the script.
    """
    main = [("validate.accuracy", "blue", "R1-Zero, validation"), ("rl.accuracy", "sky", "R1-Zero, training batches"),
            ("answer_only.accuracy", "purple", "answer only, training batches")]  # fmt: skip
    found = [_section("accuracy", [_panel("Right answers", main, True, False) | {"main": True}])]
    together = [row for rows in all_rows for row in phase(rows, "rl")]
    for name, panels in SECTIONS.items():
        drawn = []
        for title, curves, *how in panels:
            named = [
                (f"rl.{metric}", COLOURS[colour], text)
                for metric, colour, text in plots.expand(together, curves)
            ]
            drawn.append(_panel(title, named, *how))
        found.append(_section(name, drawn))
    return [
        *found,
        _section(
            "pretrain",
            [_panel("loss (nats a token)", [("pretrain.loss", "blue", "")], False, False)],
        ),
    ]


def _section(name: str, panels: list[dict]) -> dict:
    return {"title": plots.PLOTS[name][0], "hint": plots.PLOTS[name][1], "panels": panels}


def _panel(title: str, curves: list[tuple], percent: bool, logarithmic: bool) -> dict:
    keys = ("key", "colour", "label")
    return {
        "title": title, "percent": percent, "log": logarithmic,
        "curves": [dict(zip(keys, c)) for c in curves],
    }


def lines_of(summary: dict) -> list[dict]:
    """The reference lines: what costs nothing, or no learning."""
    found = [
        (line["accuracy"], REFERENCES[key], *plots.LOOKS[key])
        for key, line in references_of(summary).items()
        if "accuracy" in line
    ]
    base = entry(summary.get("base")).get("accuracy")
    found += [(base, "base, before RL (pass@1)", plots.INK, (3, 1.5))] if base is not None else []
    return [
        {"value": v, "label": t, "colour": COLOURS[c], "dash": " ".join(str(2 * d) for d in dash)}
        for v, t, c, dash in found
    ]


# ---------------------------------------------------------------- one run


def run_data(name: str, rows: list[dict], summary: dict, samples: list[dict], budget: int) -> dict:
    """All that the script knows of a run."""
    found = summary.get("references")
    return {
        "name": name,
        "curves": curves_of(rows),
        "lines": lines_of(summary),
        "blind": entry(found.get("blind_hit_rates")) if isinstance(found, dict) else {},
        "zero": {
            k: v for k, v in entry(summary.get("zero")).items() if k in ("accuracy", "stderr")
        },
        "samples": fit(samples, budget),
    }


def plain(value) -> str:
    """Any value as text in HTML.

    >>> plain("<b>5 & 6</b>")
    '&lt;b&gt;5 &amp; 6&lt;/b&gt;'
    """
    return html.escape(str(value))


def summary_html(rows: list[dict], summary: dict) -> str:
    """The summary in words and tables."""
    parts = [f"<p><strong>During training:</strong> {plain(diagnosis(rows))}.</p>"]
    for block in summary_blocks(summary) or ["The run has no summary yet."]:
        if isinstance(block, str):
            parts.append("<p>" + plain(block[:20_000]).replace("\n", "<br>") + "</p>")
        else:
            parts.append(table_html(*block))
    return "\n".join(parts)


def table_html(head: tuple, rows: list[tuple]) -> str:
    """A table; columns without any entry are left out."""
    keep = [i for i in range(len(head)) if i == 0 or any(row[i] for row in rows)]
    top = "".join(f'<th scope="col">{plain(head[i])}</th>' for i in keep)
    body = []
    for row in rows:
        indent = ' class="sub"' if row[0].startswith("  ") else ""
        cells = "".join(f"<td>{plain(row[i])}</td>" for i in keep[1:])
        body.append(f'<tr><th scope="row"{indent}>{plain(row[0].strip())}</th>{cells}</tr>')
    return f'<div class="scroll" tabindex="0" role="region" aria-label="table"><table><tr>{top}</tr>{"".join(body)}</table></div>'


def compared_html(names: list[str], summaries: list[dict]) -> str:
    """R1-Zero of several runs beside each other."""
    shown = {
        k: BEFORE_AND_AFTER[k]
        for k in ("accuracy", "hit_rate", "attempts", "repeated", "length", "truncated")
    }
    rows = []
    for name, summary in zip(names, summaries):
        base, zero = entry(summary.get("base")), entry(summary.get("zero"))
        cells = [f"{100 * base['accuracy']:.1f}%" if "accuracy" in base else ""]
        for key, (_, percent) in shown.items():
            cells.append(
                ""
                if key not in zero
                else f"{100 * zero[key]:.1f}%"
                if percent
                else f"{zero[key]:.1f}"
            )
        rows.append((name, *cells))
    return table_html(("run", "base: right", *(text.strip() for text, _ in shown.values())), rows)


# ---------------------------------------------------------------- the page


def asset(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def fingerprint(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def build_page(runs: list[tuple[str, list[dict], dict, list[dict]]]) -> bytes:
    """The document, in UTF-8.

    `runs`: (name, rows of metrics.jsonl, summary, rows of samples) of each.
    """
    names = [name for name, *_ in runs]
    data = [run_data(*run, budget=BUDGET // len(runs)) for run in runs]
    words = [summary_html(rows, summary) for _, rows, summary, _ in runs]
    if len(runs) > 1:
        folded = (
            f"<details><summary>{plain(name)}</summary>{text}</details>"
            for name, text in zip(names, words)
        )
        words = [compared_html(names, [summary for _, _, summary, _ in runs]), *folded]
    style, script = asset("page.css"), "\n".join(map(asset, SCRIPTS))
    allowed = f"style-src {fingerprint(style)}; script-src {fingerprint(script)}"
    parts = {
        "policy": f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'",
        "title": plain(", ".join(names)),
        "style": style,
        "script": script,
        "summary": "\n".join(words),
        "data": embedded({"runs": data, "charts": charts([rows for _, rows, *_ in runs])}),
    }
    # In one pass, so that nothing inside a part is taken for a place to fill.
    return re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m[1]], asset("page.html")).encode(
        "utf-8", "replace"
    )
