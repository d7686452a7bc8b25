"""The run folder: configuration, metrics, samples, checkpoints.

It is written so that a kill loses nothing before the last checkpoint.

    config.json         every setting
    metrics.jsonl       one object a step; metrics.md defines the names
    progress.json       results of finished phases
    samples/            transcripts over training, for a fixed set of problems
    checkpoints/        state.pt (to resume), base.pt, zero.pt
    plots/, report.html, summary.json
"""

import json
import os
import sys
from pathlib import Path

import torch

from minir1.checkpoint import FORMAT, read, write_whole
from minir1.config import Config, UserError, apply, from_dict, to_json
from minir1.console import files
from minir1.console.files import Lock, lock, write_text
from minir1.measure.diagnosis import number
from minir1.presets import check


def _clean(value):
    """Numbers as JSON likes them: tensors read, five significant digits, no NaN."""
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    if isinstance(value, float):
        return float(f"{value:.5g}") if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {str(k): _clean(v) for k, v in value.items()}
    return [_clean(v) for v in value] if isinstance(value, (list, tuple)) else value


PARTS = (
    "config.json", "metrics.jsonl", "progress.json", "costs.json", "checkpoints", "samples",
    "summary.json",
)
MEMORY = ("rl.train_tokens", "eval.batch", "threads", "corpus.workers")  # may change on resume


def claim(path: Path) -> Lock:
    """A folder, made if need be, for this process alone. Raises UserError or OSError."""
    path.mkdir(parents=True, exist_ok=True)
    return lock(files.check_folder(path))


def refuse_leftovers(path: Path) -> None:
    """Raises UserError if a folder holds a run already, or parts of another one."""
    found = next((part for part in PARTS if os.path.lexists(path / part)), None)
    if found == "config.json":
        how = f"go on with --resume {path}, or choose another --out"
        raise UserError(f"{path} holds a run: {how}")
    if found:
        raise UserError(f"{path} holds {found} of another run: choose another --out, or remove it")


def is_result(value) -> bool:
    """Whether it is what Session.once records of a phase."""
    if not isinstance(value, dict) or "result" not in value:
        return False
    return number(value.get("seconds")) is not None


def is_row(line: str) -> bool:
    """Whether a line of metrics.jsonl is what `Run.log` writes: an object that names its phase."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and isinstance(row.get("phase"), str)


class Run:
    silent = False  # whether progress bars are left out
    lock: Lock | None = None  # keeps other processes out

    def __init__(self, path: Path, config: Config):
        self.path, self.config = path, config
        self.checkpoints = path / "checkpoints"
        self.progress: dict = {}
        self.lines = 0  # of metrics.jsonl

    @classmethod
    def start(cls, path: Path, config: Config) -> "Run":
        """A new folder. Raises UserError if it holds a run already, or parts of one."""
        run = cls(path, config)
        if not (path / "config.json").exists():
            run.lock = claim(path)
        refuse_leftovers(path)
        write_text(path / "config.json", to_json(config))
        return run

    @classmethod
    def resume(cls, path: Path, changes: dict | None = None) -> "Run":
        """A folder as its last checkpoint left it: later metrics are dropped, to be made again.

        `changes`: settings from now on, by dotted name, of those that MEMORY names.
        """
        if not (path / "config.json").is_file():
            raise UserError(f"nothing to resume: {path} holds no config.json")
        held = claim(path)
        try:
            before = from_dict(Config, files.read_settings(path / "config.json"))
            config = check(apply(before, changes or {}))
        except (ValueError, TypeError) as fault:
            raise UserError(f"{path / 'config.json'} cannot be read ({fault})") from fault
        run = cls(path, config)
        run.lock = held
        run._take_up()
        if config != before:
            write_text(path / "config.json", to_json(config))
        return run

    def _take_up(self) -> None:
        """Progress and metrics, cut back to the last checkpoint. Raises UserError."""
        path = self.path / "progress.json"
        if path.is_file():
            self.progress = files.read_object(path)
        lines = self.progress.get("lines", 0)
        phases = [value for name, value in self.progress.items() if name != "lines"]
        if type(lines) is not int or lines < 0 or not all(map(is_result, phases)):
            raise UserError(f"{path} cannot be read (it does not hold the results of phases)")
        state = self.load_state()
        if state is not None:  # of a phase that has ended it counts fewer lines
            lines = max(lines, state["lines"])
        metrics = self.path / "metrics.jsonl"
        text = metrics.read_text(encoding="utf-8", errors="replace") if metrics.is_file() else ""
        kept = [line for line in text.split("\n")[:lines] if line]
        for place, line in enumerate(kept, 1):
            if not is_row(line):
                raise UserError(f"{metrics}: line {place} is not a row of metrics")
        self.lines = len(kept)
        if self.lines < lines:
            print(f"minir1: {metrics} has lost {lines - self.lines} rows", file=sys.stderr)
        if text:
            write_text(metrics, "".join(line + "\n" for line in kept))

    def log(self, phase: str, **row) -> None:
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(_clean({"phase": phase, **row})) + "\n")
        self.lines += 1

    def samples(self, phase: str, step: int, rows: list[dict]) -> None:
        """Replace the transcripts of one validation; recorder.py defines the rows."""
        dense = {"ensure_ascii": False, "separators": (",", ":")}
        text = "".join(json.dumps(row, **dense) + "\n" for row in rows)
        write_text(self.path / "samples" / f"{phase}-{step:05d}.jsonl", text)

    def save_state(self, phase: str, step: int, **state) -> None:
        """What it takes to go on with `phase` from `step`."""
        value = {"format": FORMAT, "phase": phase, "step": step, "lines": self.lines, **state}
        write_whole(self.checkpoints / "state.pt", value)

    def load_state(self, phase: str | None = None) -> dict | None:
        """The last saved state, if there is one (of that phase)."""
        path = self.checkpoints / "state.pt"
        if not path.is_file():
            return None
        state = read(path)
        if not {"phase", "step", "lines"} <= state.keys():
            raise UserError(f"{path} is not the state of a run")
        return state if phase in (None, state["phase"]) else None

    def seconds(self) -> dict[str, float]:
        """Of each finished phase."""
        phases = {name: value for name, value in self.progress.items() if isinstance(value, dict)}
        return {name: phase["seconds"] for name, phase in phases.items()}

    def finish(self, phase: str, result) -> None:
        """Record a phase's result; a resumed run will not repeat the phase."""
        self.progress |= {phase: _clean(result), "lines": self.lines}
        files.write_json(self.path / "progress.json", self.progress)


class Unwritten(Run):
    """A run without a folder: rows and results are kept in memory, all else is forgotten."""

    silent = True

    def __init__(self, config: Config):
        super().__init__(Path(os.devnull), config)
        self.rows: list[dict] = []  # as metrics.jsonl would hold them

    def log(self, phase: str, **row) -> None:
        self.rows.append(_clean({"phase": phase, **row}))

    def samples(self, *what, **more) -> None:
        """Nothing is written, nothing is there."""

    save_state = load_state = samples

    def finish(self, phase: str, result) -> None:
        self.progress[phase] = result
