"""What the study `create` found: pass@k of base and policy at every k, and what the words mean.

    extends   RL's pass@k lies above the base's at every k to the number of samples
    sharpens  pass@1 rises, but not pass@k at every k
    narrows   pass@k at the largest k falls
    nothing   none of these

Each with an interval from a bootstrap over seeds and puzzles. For right answers, and for those that
the true steps of a thought reach: a base may guess an answer without a thought.
"""

from pathlib import Path

import numpy as np

from minir1.measure.statistics import pass_at_k, powers
from minir1.report import drawing
from minir1.report.words import table as columns

LEVEL = 0.05  # of all cells of a study together (Bonferroni)
DRAWS = 40_000  # the bounds lie at one draw in two thousand
TITLES = {"right": "right answers", "thought": "reached by true steps"}
LOOKS = {
    "below": (drawing.SKY, "-"), "at": (drawing.BLUE, "-"), "mixed": (drawing.RED, "-"),
    "coin": (drawing.ORANGE, (0, (4, 2))), "rejection_sft": (drawing.PURPLE, (0, (4, 2))),
    "more": (drawing.GREEN, (0, (4, 2))),
}


def curve(cell: dict, key: str) -> np.ndarray:
    """pass@k `[P, K]` of each puzzle at k = 1, 2, 4 ... samples."""
    n = cell["samples"]
    return np.array([[pass_at_k(n, c, k) for k in powers(n)] for c in cell[key]])


def curves(variant: dict, arm: str, key: str, beside: str = "base") -> np.ndarray:
    """`[S, P, K]` over the seeds that have both."""
    return np.array([curve(s[arm], key) for s in having(variant, arm) if beside in s])


def floor(cell: dict, attempts: float = 1.0) -> np.ndarray:
    """pass@k `[K]` of random attempts, `attempts` of them a sample."""
    chance_P1 = np.array(cell["chance"])[:, None]
    return (1 - (1 - chance_P1) ** (attempts * np.array(powers(cell["samples"])))).mean(0)


def gain(
    before_SPK: np.ndarray, after_SPK: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, lower and upper bound `[K]` of what RL adds: seeds and puzzles drawn anew."""
    rng, difference_SPK = np.random.default_rng(0), after_SPK - before_SPK
    S, P, _ = difference_SPK.shape
    weight_DS = rng.multinomial(S, [1 / S] * S, DRAWS) / S
    weight_DP = rng.multinomial(P, [1 / P] * P, DRAWS) / P
    mean_DK = np.einsum("ds,spk,dp->dk", weight_DS, difference_SPK, weight_DP, optimize=True)
    low_K, high_K = np.quantile(mean_DK, (level / 2, 1 - level / 2), axis=0)
    return difference_SPK.mean((0, 1)), low_K, high_K


def verdict(low_K: np.ndarray, high_K: np.ndarray) -> str:
    """
    >>> verdict(np.array([0.1, 0.0, -0.3]), np.array([0.2, 0.2, -0.1]))
    'sharpens and narrows'
    """
    words = ["sharpens"] * bool(low_K[0] > 0) + ["narrows"] * bool(high_K[-1] < 0)
    return "extends" if (low_K > 0).all() else " and ".join(words) or "nothing"


def new_ones(seeds: list[dict], arm: str) -> tuple[int, int]:
    """(puzzles thought through, shapes of right expressions) that no sample of the base shows."""
    pairs = [pair for s in seeds for pair in zip(s["base"]["right"], s[arm]["thought"])]
    known = {shape for seed in seeds for shape in seed["base"]["shapes"]}
    shapes = {shape for seed in seeds for shape in seed[arm]["shapes"]}
    return sum(not before and after > 0 for before, after in pairs), len(shapes - known)


def having(variant: dict, arm: str) -> list[dict]:
    """The cells of the seeds that have this recipe."""
    return [cells for cells in variant["seeds"].values() if arm in cells]


def decide(summary: dict) -> list[dict]:
    """A row a cell (a base and a recipe): pass@1 and pass@k before and after, and the verdict, for
    right answers and for those that the thought reaches. k is the policy's number of samples."""
    found = {n: v for n, v in summary["variants"].items() if v["seeds"]}
    cells = [(n, arm) for n, v in found.items() for arm in LOOKS if having(v, arm)]
    level = LEVEL / (2 * len(cells) or 1)
    rows = []
    for name, arm in cells:
        variant, row = found[name], {"cell": name, "recipe": arm}
        for key in ("right", "thought"):
            before_SPK, after_SPK = curves(variant, "base", key, arm), curves(variant, arm, key)
            before_SPK = before_SPK[..., : after_SPK.shape[-1]]
            _, low_K, high_K = gain(before_SPK, after_SPK, level)
            for place, title in ((0, f"{key}@1"), (-1, f"{key}@k")):
                row[title] = [float(x[..., place].mean()) for x in (before_SPK, after_SPK)]
            row[f"{key}: RL"] = verdict(low_K, high_K)
        seeds = having(variant, arm)
        row["random@k"] = float(floor(seeds[0][arm])[-1])
        row["new puzzles"], row["new shapes"] = new_ones(seeds, arm)
        right = [n for s in seeds for n in s[arm].get("again", {}).get("right", [])]
        row["asked again"], row["never right"] = len(right), right.count(0)  # create.again
        rows.append(row)
    return rows


def table(summary: dict) -> str:
    """`decide` in lines, in percent."""
    rows = summary["rows"]
    if not rows:
        return "nothing is done yet"
    cells = [tuple(map(shown, row.values())) for row in rows]
    return columns(tuple(rows[0]), cells)


def shown(value: object) -> str:
    """
    >>> shown([0.01, 0.02]), shown(0.5), shown("nothing")
    ('1.00 -> 2.00', '50.0', 'nothing')
    """
    if isinstance(value, list):
        return " -> ".join(f"{100 * share:.2f}" for share in value)
    return f"{100 * value:.1f}" if isinstance(value, float) else str(value)


def draw(summary: dict, out: Path) -> list[Path]:
    """create.png: a column a base that solves anything, a curve a recipe, pass@k over k."""
    trained = [v for v in summary["variants"].values() if v["seeds"] and v["hooks"]["arms"]]
    trained = [v for v in trained if curves(v, "base", "right").mean((0, 1))[-1] > 0.05]
    if not trained:
        return []
    figure, grid = drawing.figure_of(2, len(trained), (3.6 * len(trained), 7))
    panels = [(key, variant) for key in TITLES for variant in trained]
    for axes, (key, variant) in zip(grid, panels):
        base = having(variant, "base")[0]["base"]
        ks = powers(base["samples"])
        drawing.dress(axes, f"{TITLES[key]}\n{variant['about']}", True, "samples (k)")
        for arm, (colour, dashes) in ({"base": (drawing.INK, "-")} | LOOKS).items():
            if having(variant, arm):
                mean_SK = curves(variant, arm, key).mean(1)
                some = ks[: mean_SK.shape[-1]]
                axes.fill_between(some, mean_SK.min(0), mean_SK.max(0), color=colour, alpha=0.12)
                axes.plot(some, mean_SK.mean(0), color=colour, linestyle=dashes, label=arm)
        axes.plot(ks, floor(base), color=drawing.GREY, linestyle=":", label="random attempts")
        axes.set_xscale("log", base=2)
        axes.set_ylim(0, 1)
    handles = {t: h for axes in grid for h, t in zip(*axes.get_legend_handles_labels())}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=8, frameon=False)
    return [drawing.save(figure, out / f"{summary['study']}.png")]
