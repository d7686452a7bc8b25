"""The end of a report: five sentences on what happened, what left the band, what to change.

The sentence on the likely cause (causes.py) tells one that shows in the curves from one that is
only read off the settings.
"""

import math
from pathlib import Path

from minir1.config import UserError
from minir1.measure.diagnosis import phase, trouble
from minir1.report import golden
from minir1.report.causes import EARLY, LOOKS, Case, far_setting
from minir1.report.reading import read_metrics, read_summary
from minir1.report.words import entry


def five_sentences(run: Path) -> list[str]:
    """What happened, what left the golden band first, what then, the likely cause, what to change.

    One sentence while there is too little to say. Raises UserError if metrics cannot be read.
    """
    every_row = read_metrics(run)
    rows, test = phase(every_row, "rl"), entry(read_summary(run).get("zero"))
    if len(rows) < golden.FEWEST:
        return [f"Too early to say: {len(rows)} RL steps, {golden.FEWEST} are needed."]
    start = next(iter(phase(every_row, "validate")), {})
    case = Case(rows, test, {}, {}, [], start if start.get("step") == 0 else {})
    try:
        band, good = beside_golden(case, every_row, run)
    except UserError as fault:
        band, good = [f"No band: {fault}.", "So only the run itself can be looked at."], None
    if good is not False and not case.gone and not trouble(rows):
        well = "No fault shows, but a wrong setting can hide without a band."
        unchanged = "Change nothing, or one thing over several seeds."
        end = ["It is as it should be." if good else well, unchanged]
    else:
        end = cause_of(case)
    return [happened(case), *band, *end]


def cause_of(case: Case) -> list[str]:
    """Two sentences: the likely cause, and where it shows; what to change."""
    for look in LOOKS:
        if found := look(case):
            place = "settings" if look is far_setting else "curves"
            return [f"Likely cause, by its {place}: {found[0]}.", f"To change: {found[1]}."]
    unknown = "Likely cause: only the final test is off."
    return [unknown, "To change: look at its problems and its temperature."]


def happened(case: Case) -> str:
    parts = []
    for name, words in (("accuracy", "right answers in practice {:.0%} -> {:.0%}"),
                        ("length", "{:.0f} -> {:.0f} tokens per response")):
        if not math.isnan(case.mean(name)):
            parts.append(words.format(case.mean(name, EARLY), case.mean(name)))
    if "accuracy" in case.test:
        parts.append(f"{case.test['accuracy']:.0%} right in the test")
    return f"{len(case.rows)} steps: {', '.join(parts)}."


def beside_golden(case: Case, every_row: list[dict], run: Path) -> tuple[list[str], bool]:
    """Two sentences on the band, and whether the final test is within reach; completes the case.

    Raises UserError if there is nothing to compare with.
    """
    case.config = golden.read_config(run)
    paths = golden.golden_runs(case.config["preset"], run)
    case.settings = golden.differences(case.config, golden.read_config(paths[0]))
    known = [read_metrics(path) for path in paths]
    case.gone = golden.gone_of(golden.bands_of(every_row, known))
    _, good = golden.final_test(run, paths) or ("", True)
    runs = f"{len(paths)} golden runs" if len(paths) > 1 else "the golden run"
    if not case.gone:
        settings = ", ".join(case.settings) or "none"
        return [f"No figure left the band of {runs}.", f"Settings that differ: {settings}."], good
    return departures(runs, *case.gone), good


def departures(runs: str, first: golden.Band, *then: golden.Band) -> list[str]:
    """What left the band first; what left it then, four figures by name."""
    others = [f"{b.figure.name} ({b.side}, step {b.steps[b.left]:.0f})" for b in then[:4]]
    more = f" and {len(then) - 4} more" if then[4:] else ""
    after = f"Then left: {', '.join(others)}{more}." if then else "No other figure left it."
    return [f"What left the band of {runs} first: {first.departure}.", after]
