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
from pathlib import Path

import torch

from minir1.checkpoint import FORMAT, read, write_whole
from minir1.config import Config, UserError, from_dict, to_json
from minir1.console.files import read_settings, write_text
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


class Run:
    silent = False  # whether progress bars are left out

    def __init__(self, path: Path, config: Config):
        self.path, self.config = path, config
        self.checkpoints = path / "checkpoints"
        self.progress: dict = {}
        self.lines = 0  # of metrics.jsonl

    @classmethod
    def start(cls, path: Path, config: Config) -> "Run":
        """A new folder. Raises UserError if it holds a run already."""
        if (path / "config.json").exists():
            how = f"go on with --resume {path}, or choose another --out"
            raise UserError(f"{path} holds a run: {how}")
        path.mkdir(parents=True, exist_ok=True)
        write_text(path / "config.json", to_json(config))
        return cls(path, config)

    @classmethod
    def nowhere(cls, config: Config) -> "Run":
        """A run that writes nothing."""
        return Unwritten(Path(os.devnull), config)

    @classmethod
    def resume(cls, path: Path) -> "Run":
        """A folder as its last checkpoint left it: later metrics are dropped, to be made again."""
        if not (path / "config.json").is_file():
            raise UserError(f"nothing to resume: {path} holds no config.json")
        try:
            config = check(from_dict(Config, read_settings(path / "config.json")))
        except (ValueError, TypeError) as fault:
            raise UserError(f"{path / 'config.json'} cannot be read ({fault})") from fault
        run = cls(path, config)
        if (path / "progress.json").is_file():
            run.progress = json.loads((path / "progress.json").read_text(encoding="utf-8"))
        run.lines = run.progress.get("lines", 0)
        state = run.load_state()
        if state is not None and state["phase"] not in run.progress:
            run.lines = state["lines"]
        metrics = path / "metrics.jsonl"
        text = metrics.read_text(encoding="utf-8") if metrics.is_file() else ""
        kept = text.split("\n")[: run.lines]
        write_text(metrics, "".join(line + "\n" for line in kept if line))
        return run

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
        if not (self.checkpoints / "state.pt").is_file():
            return None
        state = read(self.checkpoints / "state.pt")
        return state if phase in (None, state["phase"]) else None

    def finish(self, phase: str, result) -> None:
        """Record a phase's result; a resumed run will not repeat the phase."""
        self.progress |= {phase: _clean(result), "lines": self.lines}
        write_text(
            self.path / "progress.json", json.dumps(self.progress, indent=1, ensure_ascii=False)
        )


class Unwritten(Run):
    """A run without a folder: results are kept in memory, everything else is forgotten."""

    silent = True

    def log(self, phase: str, **row) -> None:
        pass

    def samples(self, phase: str, step: int, rows: list[dict]) -> None:
        pass

    def save_state(self, phase: str, step: int, **state) -> None:
        pass

    def load_state(self, phase: str | None = None) -> None:
        return None

    def finish(self, phase: str, result) -> None:
        self.progress[phase] = result
