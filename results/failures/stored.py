"""Runs to try a diagnosis on, one JSON line each: the broken arm of every failure, wrong settings.

    python results/failures/stored.py run FOLDER NAME ...     the broken arm of failures, seed 0
    python results/failures/stored.py pack FOLDER ... > results/failures/runs.jsonl
    python results/failures/stored.py table > results/failures/diagnoses.md

A line holds a run's name, its settings that are not those of results/zero/cpu-seed0, its columns of
RL metrics (four digits) and of validations, and its final test. Of a failure the test is the
gallery's examination: the core's verifier and sampler.
"""

import json
import re
import sys
import tempfile
from pathlib import Path

from minir1.config import to_json
from minir1.experiments.failures.command import jobs_of
from minir1.experiments.failures.gallery import FAILURES
from minir1.experiments.failures.runs import run_arm
from minir1.measure.diagnosis import phase
from minir1.report.golden import differences, flat, read_config
from minir1.report.golden_figures import FIGURES
from minir1.report.reading import read_metrics, read_summary
from minir1.report.verdict import five_sentences

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "results" / "zero" / "cpu-seed0"
NAMES = sorted({figure.name for figure in FIGURES} | {
    "step", "length_p95", "repeated", "reward", "kl", "n", "stderr", "lr", "entropy_all",
})


def run(out: Path, name: str, seed: int = 0, steps: int = 30, prompts: int = 24) -> None:
    """Train the broken arm; what the run itself would have logged goes into OUT/NAME."""
    job = jobs_of(name, FAILURES[name], [seed], steps, prompts)[0]
    result, config = run_arm(job), json.loads(to_json(job.config(job.arm.settings)))
    rows = [row | {"phase": "rl"} for row in result["logged"]]
    write(out / name, config, rows, result["exams"][-1])


def write(path: Path, config: dict, rows: list[dict], test: dict) -> None:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (path / "metrics.jsonl").write_text(lines, encoding="utf-8")
    if test:
        (path / "summary.json").write_text(json.dumps({"zero": test}), encoding="utf-8")


def digits(value) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def pack(path: Path) -> str:
    """A run folder as one line."""
    rows, test = read_metrics(path), read_summary(path).get("zero", {})
    kinds = {}
    for kind in ("rl", "validate"):
        part = phase(rows, kind)
        names = [name for name in NAMES if any(name in row for row in part)]
        kinds[kind] = {name: [digits(row.get(name)) for row in part] for name in names}
    settings = differences(read_config(path), read_config(GOLDEN))
    value = {
        "name": path.name, "settings": {name: mine for name, (mine, _) in settings.items()},
        "test": {name: digits(test[name]) for name in NAMES if name in test}, **kinds,
    }
    return json.dumps(value, separators=(",", ":"))


def unpack(line: str, out: Path) -> Path:
    """The run folder of a line, in OUT."""
    run = json.loads(line)
    config = json.loads((GOLDEN / "config.json").read_text(encoding="utf-8"))
    known = flat(config)
    for name, value in run["settings"].items():
        place, *rest = name.split(".")
        assert name in known, name
        if rest:
            config[place][".".join(rest)] = value
        else:
            config[place] = value
    rows = []
    for kind in ("validate", "rl"):
        for values in zip(*run[kind].values()):
            row = {name: value for name, value in zip(run[kind], values) if value is not None}
            rows.append({"phase": kind, **row})
    write(out / run["name"], config, rows, run["test"])
    return out / run["name"]


def table() -> str:
    """The page on what `report` says of all stored runs: Markdown."""
    lines = [
        "# What `report` says of failures and of wrong settings", "",
        "`python results/failures/stored.py table > results/failures/diagnoses.md`: the last two",
        "of five sentences on each stored run.", "",
        "| run | seen in | likely cause | to change |", "|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as place:
        for name in ("failures", "golden"):
            text = (ROOT / "results" / name / "runs.jsonl").read_text(encoding="utf-8")
            for line in text.splitlines():
                said = five_sentences(unpack(line, Path(place)))
                seen = re.search("by its (.*?):", said[3])
                cells = [sentence.partition(": ")[2] or sentence for sentence in said[-2:]]
                name = json.loads(line)["name"]
                lines.append(f"| {' | '.join([name, seen[1] if seen else '', *cells])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    what, *rest = sys.argv[1:] or ["help"]
    if what == "run":
        for name in rest[1:]:
            run(Path(rest[0]), name)
    elif what == "pack":
        print("\n".join(pack(Path(path)) for path in rest))
    elif what == "table":
        print(table())
    else:
        print(__doc__)
