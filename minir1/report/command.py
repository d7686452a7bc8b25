"""The report of a run: plots, one self-contained page, the result in words, and "is it learning?".

    python -m minir1 report runs/gpu-0                 RUN/plots/*.png, RUN/report.html, the summary
    python -m minir1 report runs/gpu-0 runs/gpu-1      the same for each; all of them compared

Reads what is there: a run that was killed, or still goes on, or lacks some metrics, gets a shorter
report. metrics.md defines every metric.
"""

from pathlib import Path

from minir1.config import UserError
from minir1.console.errors import make_parser, parse
from minir1.console.files import check_folder, check_writable
from minir1.measure.diagnosis import diagnosis
from minir1.report import drawing, plots
from minir1.report.page.groups import visible
from minir1.report.page.page import build_page
from minir1.report.reading import read_lines, read_metrics, read_summary
from minir1.report.seeds import seeds_plot
from minir1.report.verdict import five_sentences
from minir1.report.words import summary_text


def read_run(run: Path) -> tuple[str, list[dict], dict, list[dict]]:
    """(name, metrics, summary, samples) of a run folder: what its page is made of."""
    run = Path(run)
    # the latter in results/
    paths = [*sorted((run / "samples").glob("*.jsonl")), run / "transcripts.jsonl"]
    samples = [row for path in paths for row in read_lines(path)]
    return visible(run.resolve().name, 200), read_metrics(run), read_summary(run), samples


# ---------------------------------------------------------------- plots and page


def draw(run: Path) -> list[Path]:
    """RUN/plots/*.png: those that have data."""
    rows, summary = read_metrics(run), read_summary(run)
    written = []
    for name, (_, _, plot) in plots.PLOTS.items():
        figure = plot(rows, summary)
        if figure is not None:
            written.append(drawing.save(figure, Path(run) / "plots" / f"{name}.png"))
    return written


def draw_seeds(runs: list[Path], out: Path) -> Path | None:
    """Several runs in one picture, `out` (a .png, or a folder for seeds.png). None without data."""
    names = [Path(run).resolve().name for run in runs]
    figure = seeds_plot([read_metrics(run) for run in runs], names)
    if figure is None:
        return None
    return drawing.save(figure, out if out.suffix == ".png" else out / "seeds.png")


def write_html(run: Path) -> Path:
    """RUN/report.html from the metrics, the summary and the samples."""
    return write_comparison([run], Path(run) / "report.html")


def write_comparison(runs: list[Path], out: Path) -> Path:
    """One page over several runs, their curves in the same panels."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(build_page([read_run(run) for run in runs]))
    return out


# ---------------------------------------------------------------- command line


def main(arguments: list[str]) -> None:
    """`RUN [RUN2 ...]`. Raises UserError; prints help and raises SystemExit(0) for --help."""
    parser, add = make_parser("report", "Draw a run, write its page, print the result.")
    add("runs", metavar="RUN", nargs="+", type=Path, help="a run folder such as runs/cpu-0")
    place = "the picture of several runs (its page: the same name, .html)"
    place += "; else seeds.png and compare.html beside the first"
    add("--out", metavar="PNG", type=Path, help=place)
    options = parse(parser, arguments)
    runs, out = options.runs, options.out
    if out and len(runs) == 1:
        reason = "what is drawn of one stands in its folder"
        raise UserError(f"--out is for the picture of several runs; {reason}")
    for run in runs:
        if not run.is_dir():
            raise UserError(f"no folder {run}")
        if not (run / "metrics.jsonl").is_file():
            raise UserError(f"{run} is not a run folder: it holds no metrics.jsonl")
        check_folder(run)
    folder = runs[0].resolve().parent
    picture = out if out and out.suffix == ".png" else (out or folder) / "seeds.png"
    page = out.with_suffix(".html") if out else folder / "compare.html"
    for path in (picture, page) if len(runs) > 1 else ():
        path.parent.mkdir(parents=True, exist_ok=True)
        check_writable(path)
    for run in runs:
        pictures, summary = draw(run), read_summary(run)
        print(f"{summary_text(summary)}\n" if summary else f"{run}: no summary yet")
        print(f"during training: {diagnosis(read_metrics(run))}")
        print("\n".join(["diagnosis:", *five_sentences(run)]))
        print(f"wrote {len(pictures)} plots and {write_html(run)}")
    if len(runs) > 1:
        nothing = "no reinforcement learning step in these runs: nothing to draw together"
        print(f"wrote {picture}" if draw_seeds(runs, picture) else nothing)
        print(f"wrote {write_comparison(runs, page)}")
