"""The report of a run: plots, one self-contained page, the result in words, and "is it learning?".

    python -m minir1 report runs/gpu-0                 RUN/plots/*.png, RUN/report.html, the summary
    python -m minir1 report runs/gpu-0 runs/gpu-1      the same for each, and seeds.png over all of them

Reads what is there: a run that was killed, or still goes on, or lacks some metrics, gets a shorter report.
metrics.md defines every metric.
"""

import argparse
import base64
import html
import json
from pathlib import Path

from minir1.config import UserError
from minir1.tools import plots
from minir1.tools.words import number, summary_text, verdict

__all__ = ["draw", "draw_seeds", "main", "read_metrics", "summary_text", "verdict", "write_html"]

STEPS, RESPONSES, CHARACTERS = 12, 16, 2500  # transcripts on the page: steps, responses a step, characters each

# ---------------------------------------------------------------- reading


def read_lines(path: Path) -> list[dict]:
    """The JSON objects of a file, one a line; anything else (a torn last line, say) is passed over."""
    found = []
    for line in path.read_bytes().decode("utf-8", "replace").split("\n") if path.is_file() else ():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def read_metrics(run: Path) -> list[dict]:
    """The rows of RUN/metrics.jsonl, also of a run that was killed in the middle of a line."""
    return read_lines(Path(run) / "metrics.jsonl")


def read_summary(run: Path) -> dict:
    """RUN/summary.json; {} while there is none."""
    try:
        value = json.loads((Path(run) / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


# ---------------------------------------------------------------- plots and page


def draw(run: Path) -> list[Path]:
    """RUN/plots/*.png: those that have data."""
    rows, summary, written = read_metrics(run), read_summary(run), []
    for name, (_, _, make) in plots.PLOTS.items():
        figure = make(rows, summary)
        if figure is not None:
            written.append(plots.save(figure, Path(run) / "plots" / f"{name}.png"))
    return written


def draw_seeds(runs: list[Path], out: Path) -> Path | None:
    """Accuracy and length of several runs in one picture, `out` (a .png, or a folder for seeds.png). None without data."""
    figure, out = plots.seeds_plot([read_metrics(run) for run in runs]), Path(out)
    return None if figure is None else plots.save(figure, out if out.suffix == ".png" else out / "seeds.png")


def write_html(run: Path) -> Path:
    """RUN/report.html from RUN/plots (drawn if they are not there), the summary and the samples."""
    run = Path(run)
    rows, summary = read_metrics(run), read_summary(run)
    pictures = {name: run / "plots" / f"{name}.png" for name in plots.PLOTS}
    if not any(path.is_file() for path in pictures.values()):
        draw(run)
    figures = [(*plots.PLOTS[name][:2], path.read_bytes()) for name, path in pictures.items() if path.is_file()]
    samples = [row for path in sorted((run / "samples").glob("*.jsonl")) for row in read_lines(path)]
    words = summary_text(summary) if summary else "The run has no summary yet."
    text = page(run.resolve().name, f"{words}\n\nDuring training: {verdict(rows)}.", figures, samples)
    (run / "report.html").write_bytes(text.encode("utf-8", "replace"))
    return run / "report.html"


# ---------------------------------------------------------------- the page

STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #666; --paper: #fff; --box: #f4f4f2; --right: #00704f; --wrong: #b34700 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ddd; --soft: #999; --paper: #161616; --box: #222; --right: #3fc79a; --wrong: #ff9455 }
  img { filter: invert(0.91) hue-rotate(180deg) }
}
body { margin: 0 auto; max-width: 62rem; padding: 1rem; color: var(--ink); background: var(--paper) }
body { font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem }
figure { margin: 0; overflow-x: auto } img { width: 100%; min-width: 38rem; max-width: 60rem; height: auto }
pre { background: var(--box); border-radius: 6px; padding: .7rem; font-size: 13px; line-height: 1.4 }
pre { overflow-x: auto; overflow-wrap: normal; unicode-bidi: isolate }
article pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0 1.2rem }
summary { cursor: pointer; padding: .4rem 0; font-weight: 600 }
.soft { color: var(--soft) } .right { color: var(--right) } .wrong { color: var(--wrong) }
article p { margin: 0 }
"""
# Control characters shown as pictures, and those that turn the direction of text made harmless.
VISIBLE = {c: 0x2400 + c for c in range(32) if c not in (9, 10)} | {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
VISIBLE |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)


def plain(value, most: int = 300) -> str:
    """Any value as text that a page can hold: nothing in it is markup.

    >>> plain("<b>5 & 6</b>\\0"), plain("x" * 9, 4)
    ('&lt;b&gt;5 &amp; 6&lt;/b&gt;␀', 'xxxx … (5 more characters)')
    """
    text = str(value)
    tail = f" … ({len(text) - most:,} more characters)" if len(text) > most else ""
    return html.escape(text[:most].translate(VISIBLE)) + tail


def page(title: str, words: str, figures: list[tuple[str, str, bytes]], samples: list[dict]) -> str:
    """The whole document. `figures`: (heading, how to read it, PNG). No script, and a policy that forbids the network."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>minir1: {plain(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{plain(title)}</h1>",
    ]
    for block in words.split("\n\n"):
        text = plain(block, 20_000)
        parts.append(f"<pre>{text}</pre>" if "  " in block else "<p>" + text.replace("\n", "<br>\n") + "</p>")
    for heading, hint, png in figures:
        picture = f'<img alt="{heading}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        parts += [f'<h2>{heading}</h2><p class="soft">{hint}</p>', f"<figure>{picture}</figure>"]
    return "\n".join([*parts, *_transcripts(samples), "</body></html>", ""])


def _transcripts(samples: list[dict]) -> list[str]:
    """Responses by step, the first and the last step open."""
    by_step: dict[float, list[dict]] = {}
    for row in samples:
        step = number(row.get("step"))
        by_step.setdefault(-1.0 if step is None else step, []).append(row)
    steps = sorted(by_step)
    if len(steps) > STEPS:
        steps = sorted({steps[round(i * (len(steps) - 1) / (STEPS - 1))] for i in range(STEPS)})
    parts = ["<h2>What it wrote</h2>"] if steps else []
    for step in steps:
        rows = by_step[step]
        right, name = sum(row.get("correct") is True for row in rows), f"step {step:.0f}" if step >= 0 else "step not given"
        opened = " open" if step in (steps[0], steps[-1]) else ""
        parts.append(f"<details{opened}><summary>{name}: {right} of {len(rows)} right</summary>")
        parts += [_transcript(row) for row in rows[:RESPONSES]] + ["</details>"]
    return parts


def _transcript(row: dict) -> str:
    mark = {True: '<b class="right">✓ right</b>', False: '<b class="wrong">✗ wrong</b>'}.get(bool(row.get("correct")))
    tokens = f', {plain(row["tokens"], 20)} tokens' if "tokens" in row else ""
    asked = f'<p>{mark}<span class="soft">{tokens}</span> · {plain(row.get("question", ""))}</p>'
    return f'<article>{asked}<pre>{plain(row.get("response", ""), CHARACTERS)}</pre></article>'


# ---------------------------------------------------------------- command line


def main(arguments: list[str]) -> None:
    """`RUN [RUN2 ...]`. Raises UserError; prints help and raises SystemExit(0) for --help."""
    parser = argparse.ArgumentParser("minir1 report", description="Draw a run, write its page, print the result.")
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="a run folder such as runs/cpu-0")
    parser.add_argument("--out", metavar="PNG", type=Path, help="the picture of several runs; seeds.png beside the first of them")
    parser.error = lambda message: (_ for _ in ()).throw(UserError(f"{message} (see minir1 report --help)"))
    given = parser.parse_args(arguments)
    for run in given.runs:
        if not run.is_dir():
            raise UserError(f"no folder {run}")
        if not (run / "metrics.jsonl").is_file():
            raise UserError(f"{run} is not a run folder: it holds no metrics.jsonl")
    for run in given.runs:
        pictures, summary = draw(run), read_summary(run)
        print(f"{summary_text(summary)}\n" if summary else f"{run}: no summary yet")
        print(f"during training: {verdict(read_metrics(run))}\nwrote {len(pictures)} plots and {write_html(run)}")
    if len(given.runs) > 1:
        together = draw_seeds(given.runs, given.out or given.runs[0].resolve().parent)
        print(f"wrote {together}" if together else "no reinforcement learning step in these runs: nothing to draw together")
