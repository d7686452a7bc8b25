"""The end of a run: summary.json, plots, report.html, and the result in words."""

import os
import shlex
import time
from pathlib import Path

from minir1.console.files import write_json
from minir1.report import command as report
from minir1.report.words import summary_text
from minir1.run.folder import Run


def finish(run: Run, device, parameters: tuple[int, int], command: list[str]) -> str:
    """Write the summary, the plots and the page; returns what to print."""
    phases = run.seconds()
    summary = {
        "preset": run.config.preset, "seed": run.config.seed, "device": str(device),
        "date": time.strftime("%Y-%m-%d"),
        "command": "python " + " ".join([os.path.basename(command[0]), *command[1:]]),
        "parameters": {"all": parameters[0], "used_per_token": parameters[1]},
        "seconds": phases | {"total": sum(phases.values())}, **run.progress["test"]["result"],
    }
    write_json(run.path / "summary.json", summary)
    report.draw(run.path)
    page = report.write_html(run.path)
    words = summary_text(summary)
    return f"{words}\n\n{next_steps(run.checkpoints / 'zero.pt', run.path)}\nopen {page}"


def next_steps(checkpoint: Path, run: Path | None = None) -> str:
    """What to do with a finished checkpoint and, where `report` can draw it, its run folder.

    >>> print(next_steps(Path("r/zero.pt"), Path("r")))
    next: python -m minir1 play r/zero.pt    (ask it)
          python -m minir1 report r    (plots, page and summary again)
    """
    lines = [f"next: python -m minir1 play {shlex.quote(str(checkpoint))}    (ask it)"]
    if run is not None:
        again = "(plots, page and summary again)"
        lines.append(f"      python -m minir1 report {shlex.quote(str(run))}    {again}")
    return "\n".join(lines)
