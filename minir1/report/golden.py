"""Is a run as it should be? Its curves beside those of known-good runs of the same preset.

    python -m minir1 golden runs/cpu-0                              against results/zero/cpu-seed*
    python -m minir1 golden runs/mine --against results/zero/gpu-seed0

Exit status 0: within the band; 1: a figure left it (which one first, at which step, and the usual
causes); 2: nothing to compare.

The band of a figure: the mean of the golden runs' moving means, three standard deviations of a new
run around it (how far the golden runs lie apart and how much they jitter), and a floor. A figure
has left when it stays outside.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minir1.config import Config, UserError, to_json
from minir1.console import errors as cli
from minir1.console.files import read_settings
from minir1.measure.diagnosis import column, phase
from minir1.report.command import read_metrics, read_summary
from minir1.report.golden_figures import FIGURES, Figure
from minir1.report.words import entry, table

WINDOW = 9  # steps of a moving mean
# steps outside that count as leaving: more than one outlier moves; of validations two
STAY = WINDOW + 1
FEWEST = 10  # RL steps before which nothing can be said
# settings that may differ
FREE = {
    "seed", "out", "device", "dtype", "kernels", "compile", "threads", "corpus.workers",
    "rl.train_tokens", "eval",
}


@dataclass
class Band:
    """A figure's golden band over the steps that it shares with a run, and the run's own curve."""

    figure: Figure
    steps: list[float]
    low: np.ndarray
    high: np.ndarray
    run: np.ndarray
    left: int | None = None  # index at which the run left, if it did

    @property
    def side(self) -> str:
        return "below" if self.run[self.left] < self.low[self.left] else "above"

    def show(self, index: int) -> str:
        scale, unit = (100, "%") if self.figure.percent else (1, "")
        value, low, high = (
            f"{scale * x[index]:.3g}{unit}" for x in (self.run, self.low, self.high)
        )
        return f"{value} at step {self.steps[index]:.0f}; golden {low} to {high}"


# ---------------------------------------------------------------- comparing


def moving(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over `window` values around each, fewer at the ends.

    >>> moving(np.array([1.0, 2.0, 6.0]), 3).tolist()
    [1.5, 3.0, 4.0]
    """
    ones = np.ones(window)
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def compare(figure: Figure, golden: list[list[dict]], run: list[dict]) -> Band | None:
    """The band of one figure;

    None if the run or a golden run lacks it. Rows are those of metrics.jsonl.
    """
    curves = [dict(zip(*column(phase(rows, figure.phase), figure.name))) for rows in (run, *golden)]
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    window = min(WINDOW if figure.phase == "rl" else 1, max(1, len(steps) // 2 * 2 - 1))
    if len(steps) < (FEWEST if figure.phase == "rl" else 1):
        return None
    raw = np.array([[curve[step] for step in steps] for curve in curves])
    smooth = np.array([moving(row, window) for row in raw])
    mean, top = smooth[1:].mean(0), 1.0 if figure.percent else np.inf
    noise = (
        np.diff(raw[1:], axis=1).std() / (2 * window) ** 0.5
        if figure.phase != "validate"
        else sampling_error(golden[0])
    )
    apart = (
        moving(smooth[1:].var(0, ddof=1), min(41, len(steps))) ** 0.5
        if len(golden) > 1
        else 0.1 * np.abs(mean)
    )
    floor = figure.floor if figure.percent else figure.floor * np.abs(mean)
    reach = 3 * np.hypot(apart, noise) * (1 + 1 / len(golden)) ** 0.5 + floor
    band = Band(
        figure, steps, np.maximum(mean - reach, 0), np.minimum(mean + reach, top), smooth[0]
    )
    outside = ((band.run < band.low) & bool(figure.low)) | (
        (band.run > band.high) & bool(figure.high)
    )
    band.left = leaving(outside, min(STAY if figure.phase == "rl" else 2, len(steps)))
    return band


def sampling_error(rows: list[dict]) -> float:
    """Mean standard error of a run's validations."""
    errors = column(phase(rows, "validate"), "stderr")[1]
    return float(np.mean(errors)) if errors else 0.03


def leaving(outside: np.ndarray, stay: int) -> int | None:
    """Where the first `stay` steps outside begin; being outside at the very end counts from there
    on.

    >>> leaving(np.array([True, False, True, True, False]), 2), leaving(np.array([False, True, False]), 2)
    (2, None)
    """
    for i in range(len(outside) - stay + 1):
        if outside[i : i + stay].all():
            return i
    return None


# ---------------------------------------------------------------- reading runs


def read_config(run: Path) -> dict:
    """The settings of a run, by dotted name. Raises UserError if RUN is no run folder."""
    if not run.is_dir():
        raise UserError(f"no folder {run}")
    try:
        config = read_settings(run / "config.json")
    except FileNotFoundError:
        raise UserError(f"{run} is not a run folder: it holds no config.json") from None
    except (OSError, ValueError) as fault:
        raise UserError(f"{run / 'config.json'} cannot be read ({fault})") from fault
    if not isinstance(config, dict) or "preset" not in config:
        raise UserError(f"{run / 'config.json'} is not the configuration of a run")
    return flat(config)


def flat(config: dict, prefix: str = "") -> dict:
    """
    >>> flat({"rl": {"lr": 1, "kl": 0}, "seed": 2})
    {'rl.lr': 1, 'rl.kl': 0, 'seed': 2}
    """
    found = {}
    for name, value in config.items():
        found |= (
            flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return found


def golden_runs(preset: str, run: Path) -> list[Path]:
    """results/zero/PRESET-seed* of the working directory or of the repository, without the run
    itself.
    """
    for results in (Path("results/zero"), Path(__file__).parent.parent.parent / "results/zero"):
        found = [
            path
            for path in sorted(results.glob(f"{preset}-seed*"))
            if path.resolve() != run.resolve()
        ]
        if found:
            return found
    raise UserError(
        f"no golden runs of preset {preset} to compare it with: name one with --against"
    )


def differing(config: dict, golden: dict) -> list[str]:
    """Settings that are not the golden ones, as "rl.lr 0.001 (golden 0.0001)".

    What a run knows nothing of is newer than the run, and was as the default keeps it.
    """
    default = flat(json.loads(to_json(Config())))
    config, golden = default | config, default | golden
    names = [n for n in {**golden, **config} if n not in FREE and n.split(".")[0] not in FREE]
    return [
        f"{n} {config.get(n)} (golden {golden.get(n)})"
        for n in names
        if config.get(n) != golden.get(n)
    ]


# ---------------------------------------------------------------- the verdict


def final_test(run: Path, golden: list[Path]) -> tuple[str, bool] | None:
    """The final test accuracy beside the golden ones: (in words, whether it is within reach);

    None where there is none.
    """
    found = [entry(read_summary(path).get("zero")) for path in (run, *golden)]
    if not all("accuracy" in f for f in found):
        return None
    mine, others = found[0], [f["accuracy"] for f in found[1:]]
    apart = float(np.std(others, ddof=1)) if len(others) > 1 else 0.02
    error = max(mine.get("stderr", 0.0), found[1].get("stderr", 0.0))
    reach = 3 * max(apart, error) * (1 + 1 / len(others)) ** 0.5 + 0.02
    mean = float(np.mean(others))
    words = f"test accuracy {100 * mine['accuracy']:.1f}%; golden {100 * (mean - reach):.1f}% to {100 * (mean + reach):.1f}%"
    return words, abs(mine["accuracy"] - mean) <= reach


def report(bands: list[Band]) -> str:
    """A line a figure: where it stands at the last shared step, and whether it left."""
    rows = []
    for band in bands:
        verdict = (
            "within"
            if band.left is None
            else f"left {band.side} at step {band.steps[band.left]:.0f}"
        )
        rows.append((band.figure.label, band.show(-1), verdict))
    return table(("figure", "now", ""), rows)


def judge(run: Path, golden: list[Path], settings: list[str]) -> tuple[str, bool]:
    """(what to say, whether the run is within the band).

    Raises UserError if there is too little to compare.
    """
    rows, known = read_metrics(run), [read_metrics(path) for path in golden]
    if len(phase(rows, "rl")) < FEWEST:
        raise UserError(
            f"{run} holds {len(phase(rows, 'rl'))} RL steps: too early, {FEWEST} are needed"
        )
    bands = [band for figure in FIGURES if (band := compare(figure, known, rows)) is not None]
    if not any(band.figure.phase == "rl" for band in bands):
        raise UserError(f"{run} and {golden[0]} share no RL steps to compare")
    last, whole = phase(rows, "rl")[-1].get("step"), phase(known[0], "rl")[-1].get("step")
    said = [f"{run} against {', '.join(map(str, golden))}: {last} of {whole} steps"]
    said += [f"settings that differ: {'; '.join(settings)}"] if settings else []
    said += (
        ["one golden run only: how far such runs lie apart is a guess, and the band is wide"]
        if len(golden) == 1
        else []
    )
    said += [report(bands)]
    gone, final = [band for band in bands if band.left is not None], final_test(run, golden)
    said += [final[0]] if final else []
    if not gone:
        good = final is None or final[1]
        said.append(
            "Within the band."
            if good
            else "The curves are within the band, the final test is not: another test set or temperature?"
        )
        return "\n".join(said), good
    first = min(
        gone, key=lambda band: band.steps[band.left] if band.figure.phase != "pretrain" else -1
    )
    cause = first.figure.low if first.side == "below" else first.figure.high
    said.append(
        f"Left the band first: {first.figure.label}, {first.side} it ({first.show(first.left)})."
    )
    said.append(f"Usual causes: {'the settings that differ; ' if settings else ''}{cause}.")
    return "\n".join(said), False


def main(arguments: list[str]) -> int:
    """`RUN [--against GOLDEN ...]`. Exit status 0: within the band, 1: not. Raises UserError."""
    parser = argparse.ArgumentParser(
        "minir1 golden", description="Compare a run with known-good ones.", allow_abbrev=False
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="a run folder such as runs/cpu-0")
    parser.add_argument(
        "--against", metavar="GOLDEN", type=Path, nargs="+",
        help="golden runs (default: results/zero/PRESET-seed*)",
    )
    given = cli.parse(parser, arguments)
    config = read_config(given.run)
    golden = given.against or golden_runs(config["preset"], given.run)
    known = read_config(golden[0])
    presets = {str(read_config(path)["preset"]) for path in golden}
    if presets != {str(config["preset"])}:
        raise UserError(
            f"{given.run} is a {config['preset']} run, {golden[0]} a {known['preset']} run: nothing to compare"
        )
    words, good = judge(given.run, golden, differing(config, known))
    print(words)
    return 0 if good else 1
