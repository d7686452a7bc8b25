"""Is a run as it should be? Its curves beside those of known-good runs of the same preset.

    python -m minir1 golden runs/cpu-0                              against results/zero/cpu-seed*
    python -m minir1 golden runs/mine --against results/zero/gpu-seed0

Exit status 0: within the band; 1: a figure left it (which one first, at which step, and the usual
causes); 2: nothing to compare.

The band of a figure: the mean of the golden runs' moving means, three standard deviations of a new
run around it (how far the golden runs lie apart and how much they jitter), and a floor. Positive
figures are compared by their logarithms, shares as they are, the early slope as one number. A
figure has left when it stays outside.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minir1.config import Config, UserError, to_json
from minir1.console.errors import make_parser, parse
from minir1.console.files import read_settings
from minir1.measure.diagnosis import column, phase, trouble
from minir1.report.golden_figures import FIGURES, Figure
from minir1.report.reading import read_metrics, read_summary
from minir1.report.words import entry, table

WINDOW = 9  # steps of a moving mean
# values outside that count as leaving: more than one outlier moves; of validations one is enough
STAY = {"rl": WINDOW + 1, "validate": 1, "pretrain": 2}
EARLY = 0.3  # share of the golden steps that the early slope is taken over
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

    @property
    def departure(self) -> str:
        return f"{self.figure.label}, {self.side} it ({self.show(self.left)})"

    def show(self, index: int) -> str:
        curves = (self.run, self.low, self.high)
        value, low, high = (self.figure.show(curve[index]) for curve in curves)
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
    """The band of a figure in rows of metrics.jsonl; None if the run or a golden run lacks it."""
    steps, curves = aligned(figure, [run, *golden])
    if len(steps) < (FEWEST if figure.phase == "rl" else 1):
        return None
    if figure.early:
        whole = len(phase(golden[0], figure.phase))
        count = min(len(steps), max(FEWEST, round(EARLY * whole)))
        steps, curves = steps[count - 1 : count], np.array([slope(c[:count]) for c in curves])
        smooth, noise = curves[:, :1], curves[1:, 1].mean()
    else:
        window = window_of(figure, len(steps))
        smooth = np.array([moving(curve, window) for curve in curves])
        noise = jitter(figure, curves[1:], window, golden[0])
    mean, width = smooth[1:].mean(0), half_width(figure, smooth[1:], noise)
    limits = (0, 1) if figure.percent and not figure.early else (-np.inf, np.inf)
    low, high = np.clip(mean - width, *limits), np.clip(mean + width, *limits)
    band = Band(figure, steps, low, high, smooth[0])
    below = (band.run < band.low) & bool(figure.low)
    above = (band.run > band.high) & bool(figure.high)
    band.left = leaving(below | above, min(STAY[figure.phase], len(steps)))
    return band


def aligned(figure: Figure, runs: list[list[dict]]) -> tuple[list[float], np.ndarray]:
    """(steps that all runs hold the figure at, its values: a row for each run)."""
    curves = [dict(zip(*column(phase(rows, figure.phase), figure.name))) for rows in runs]
    steps = sorted(set.intersection(*map(set, curves)))
    values = np.array([[curve[step] for step in steps] for curve in curves])
    return steps, np.log(np.maximum(values, 1e-12)) if figure.logs else values


def window_of(figure: Figure, steps: int) -> int:
    """Steps of the moving mean: an odd number, fewer for a short run, 1 for rare measurements."""
    return min(WINDOW, max(1, steps // 2 * 2 - 1)) if figure.phase == "rl" else 1


def half_width(figure: Figure, smooth: np.ndarray, noise: float) -> np.ndarray:
    """Half the width of the band at each step. `smooth`: moving means, a row for a golden run."""
    runs, steps = smooth.shape
    if runs > 1:
        apart = moving(smooth.var(0, ddof=1), min(41, steps)) ** 0.5
    else:  # a guess
        apart = 0.1 if figure.logs else 0.1 * np.abs(smooth[0])
    return 3 * np.maximum(apart, noise) * (1 + 1 / runs) ** 0.5 + figure.floor


def jitter(figure: Figure, curves: np.ndarray, window: int, rows: list[dict]) -> float:
    """Chance in one value of a moving mean: the mean standard error of the validations in `rows`,
    or what is left of the jitter from step to step after averaging.
    """
    if figure.phase == "validate":
        errors = column(phase(rows, "validate"), "stderr")[1]
        return float(np.mean(errors)) if errors else 0.03
    return float(np.diff(curves, axis=1).std() / (2 * window) ** 0.5) if curves.shape[1] > 1 else 0


def slope(curve: np.ndarray) -> tuple[float, float]:
    """(rise of the straight line through the curve over its whole length, its standard error).

    >>> slope(np.array([1.0, 2.0, 3.0, 4.0]))
    (3.0, 0.0)
    """
    x = np.arange(len(curve)) / (len(curve) - 1) - 0.5
    rise = x @ curve / (x @ x)
    left = curve - curve.mean() - rise * x
    error = (left @ left / (len(x) - 2) / (x @ x)) ** 0.5
    return round(float(rise), 9), round(float(error), 9)


def leaving(outside: np.ndarray, stay: int) -> int | None:
    """Where the first `stay` steps outside begin, at the end of the run more than half as many;
    None if there is no such place.

    >>> leaving(np.array([True, False, True, True, False]), 2)
    2
    >>> leaving(np.array([False, True, False]), 2) is None
    True
    >>> leaving(np.array([False] * 91 + [True] * 9), 10)
    91
    """
    for i in range(len(outside) - stay // 2):
        if np.all(outside[i : i + stay]):
            return i
    return None


# ---------------------------------------------------------------- reading runs


def read_config(run: Path) -> dict:
    """The settings of a run, by dotted name. Raises UserError if RUN is no run folder."""
    if not run.is_dir():
        raise UserError(f"no folder {run}")
    path = run / "config.json"
    try:
        config = read_settings(path)
    except FileNotFoundError:
        raise UserError(f"{run} is not a run folder: it holds no config.json") from None
    if not isinstance(config.get("preset"), str):
        raise UserError(f"{path} is not the configuration of a run")
    return flat(config)


def flat(config: dict, prefix: str = "") -> dict:
    """
    >>> flat({"rl": {"lr": 1, "kl": 0}, "seed": 2})
    {'rl.lr': 1, 'rl.kl': 0, 'seed': 2}
    """
    settings = {}
    for name, value in config.items():
        if isinstance(value, dict):
            settings |= flat(value, f"{prefix}{name}.")
        else:
            settings[prefix + name] = value
    return settings


def golden_runs(preset: str, run: Path) -> list[Path]:
    """results/zero/PRESET-seed* of the working directory or of the repository, without the run
    itself. Raises UserError if there are none: a stage of R1 has none.
    """
    if any("readable" in row for row in read_metrics(run)):
        raise UserError("a stage of R1 has no golden run: name one with --against")
    for root in (Path(), Path(__file__).parent.parent.parent):
        paths = sorted(root.glob(f"results/zero/{preset}-seed*"))
        others = [path for path in paths if path.resolve() != run.resolve()]
        if others:
            return others
    raise UserError(
        f"no golden runs of preset {preset} to compare it with: name one with --against; "
        "a clone of the repository holds some in results/zero"
    )


def differences(config: dict, golden: dict) -> dict[str, tuple]:
    """{setting: (its value, the golden one)} of those that are not the golden ones.

    What a run knows nothing of is newer than the run, and was as the default keeps it.
    """
    default = flat(json.loads(to_json(Config())))
    config, golden = default | config, default | golden
    settings = {}
    for name in golden | config:
        free = name in FREE or name.split(".")[0] in FREE
        if not free and config.get(name) != golden.get(name):
            settings[name] = (config.get(name), golden.get(name))
    return settings


def differing(config: dict, golden: dict) -> list[str]:
    """Settings that are not the golden ones, as "rl.lr 0.001 (golden 0.0001)"."""
    pairs = differences(config, golden).items()
    return [f"{name} {value} (golden {known})" for name, (value, known) in pairs]


# ---------------------------------------------------------------- the verdict


def final_test(run: Path, golden: list[Path]) -> tuple[str, bool] | None:
    """The test accuracy beside the golden ones: (words, is it within reach?). None without one."""
    results = [entry(read_summary(path).get("zero")) for path in (run, *golden)]
    if not all("accuracy" in result for result in results):
        return None
    accuracy, *others = (result["accuracy"] for result in results)
    apart = float(np.std(others, ddof=1)) if len(others) > 1 else 0.02
    error = max(result.get("stderr", 0.0) for result in results)
    reach = 3 * max(apart, error) * (1 + 1 / len(others)) ** 0.5 + 0.02
    mean = float(np.mean(others))
    band = f"{100 * (mean - reach):.1f}% to {100 * (mean + reach):.1f}%"
    return f"test accuracy {100 * accuracy:.1f}%; golden {band}", abs(accuracy - mean) <= reach


def report(bands: list[Band]) -> str:
    """A line a figure: where it stands at the last shared step, and whether it left."""
    rows = []
    for band in bands:
        place = "within"
        if band.left is not None:
            place = f"left {band.side} at step {band.steps[band.left]:.0f}"
        rows.append((band.figure.label, band.show(-1), place))
    return table(("figure", "now", ""), rows)


def bands_of(rows: list[dict], known: list[list[dict]]) -> list[Band]:
    """The bands of all figures in `rows` and `known`. Raises UserError for too few RL steps."""
    bands = [band for figure in FIGURES if (band := compare(figure, known, rows)) is not None]
    if not any(band.figure.phase == "rl" for band in bands):
        raise UserError("the run and the golden runs share no RL steps to compare")
    return bands


def gone_of(bands: list[Band]) -> list[Band]:
    """Those that the run left, the first first; pretraining comes before all steps of RL."""
    gone = [band for band in bands if band.left is not None]
    return sorted(gone, key=lambda band: (band.figure.phase != "pretrain", band.steps[band.left]))


def judge(run: Path, golden: list[Path], settings: list[str]) -> tuple[str, bool]:
    """(what to say, is the run within the band?). Raises UserError for too few RL steps."""
    rows, known = read_metrics(run), [read_metrics(path) for path in golden]
    practice = phase(rows, "rl")
    if len(practice) < FEWEST:
        raise UserError(f"{run} holds {len(practice)} RL steps: too early, {FEWEST} are needed")
    bands = bands_of(rows, known)
    last, whole = practice[-1].get("step"), phase(known[0], "rl")[-1].get("step")
    lines = [f"{run} against {', '.join(map(str, golden))}: {last} of {whole} steps"]
    if settings:
        lines.append(f"settings that differ: {'; '.join(settings)}")
    if len(golden) == 1:
        guess = "how far such runs lie apart is a guess, and the band is wide"
        lines.append(f"one golden run only: {guess}")
    lines.append(report(bands))
    final_words, final_good = final_test(run, golden) or ("", True)
    gone, ill = gone_of(bands), trouble(practice)
    if gone:
        cause = f"the settings that differ; {usual(gone[0])}" if settings else usual(gone[0])
        words = f"Left the band first: {gone[0].departure}.\nUsual causes: {cause}."
    elif ill:
        words = f"Within the band, but {ill}."
    elif final_good:
        words = "Within the band."
    else:
        words = "The curves are within the band, the final test is not: "
        words += "another test set or temperature?"
    lines += [final_words, words]
    return "\n".join(filter(None, lines)), final_good and not gone and not ill


def usual(band: Band) -> str:
    return band.figure.low if band.side == "below" else band.figure.high


def main(arguments: list[str]) -> int:
    """`RUN [--against GOLDEN ...]`. Exit status 0: within the band, 1: not. Raises UserError."""
    parser, add = make_parser("golden", "Compare a run with known-good ones.", allow_abbrev=False)
    known_good = "golden runs (default: results/zero/PRESET-seed*)"
    add("run", metavar="RUN", type=Path, help="a run folder such as runs/cpu-0")
    add("--against", metavar="GOLDEN", type=Path, nargs="+", help=known_good)
    options = parse(parser, arguments)
    run, config = options.run, read_config(options.run)
    golden = options.against or golden_runs(config["preset"], run)
    known = [read_config(path) for path in golden]
    for path, settings in zip(golden, known):
        if settings["preset"] != config["preset"]:
            pair = f"{run} is a {config['preset']} run, {path} a {settings['preset']} run"
            raise UserError(f"{pair}: nothing to compare")
    words, good = judge(run, golden, differing(config, known[0]))
    print(words)
    return 0 if good else 1
