"""What the study `create` found: pass@k of base and policy at every k, and what the words mean.

    extends   RL's pass@k lies above the base's at every k to the number of samples
    sharpens  pass@1 rises, but not pass@k at every k
    narrows   pass@k at the largest k falls
    nothing   none of these

Each with an interval from a bootstrap over seeds and puzzles. A policy's response counts
where the steps of its thought reach the target; a base's wherever its answer is right, which
favours the base.
"""

from pathlib import Path

import numpy as np

from minir1.measure.statistics import pass_at_k, powers
from minir1.report import drawing
from minir1.report.words import table as columns

LEVEL = 0.05  # of all cells of a study together (Bonferroni)
DRAWS = 4000
LOOKS = {
    "base": (drawing.INK, "-"), "below": (drawing.SKY, "-"), "at": (drawing.BLUE, "-"),
    "mixed": (drawing.RED, "-"),
    "coin": (drawing.ORANGE, (0, (4, 2))), "rejection_sft": (drawing.PURPLE, (0, (4, 2))),
}


def curve(cell: dict, key: str) -> np.ndarray:
    """pass@k `[P, K]` of each puzzle at k = 1, 2, 4 ... samples."""
    n = cell["samples"]
    return np.array([[pass_at_k(n, c, k) for k in powers(n)] for c in cell[key]])


def curves(variant: dict, arm: str) -> np.ndarray:
    """`[S, P, K]` over the seeds."""
    key = "right" if arm.startswith("base") else "thought"
    return np.array([curve(seed[arm], key) for seed in variant["seeds"].values()])


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


def new_puzzles(variant: dict, arm: str) -> int:
    """Puzzles, over all seeds, that the policy thinks through and no sample of its base solves."""
    pairs = ((s["base"]["right"], s[arm]["thought"]) for s in variant["seeds"].values())
    return sum(not b and a > 0 for before, after in pairs for b, a in zip(before, after))


def new_shapes(variant: dict, arm: str) -> list[str]:
    """Shapes of right expressions that the policy writes and no sample of any base does."""
    known = {shape for seed in variant["seeds"].values() for shape in seed["base"]["shapes"]}
    return sorted({s for seed in variant["seeds"].values() for s in seed[arm]["shapes"]} - known)


def decide(summary: dict) -> list[dict]:
    """A row a cell: an exposure and a recipe. `k` below is the number of samples."""
    found = {n: v for n, v in summary["variants"].items() if v["seeds"]}
    arms = {name: list(next(iter(v["seeds"].values()))) for name, v in found.items()}
    pairs = [(n, arm) for n in found for arm in arms[n] if arm in LOOKS and arm != "base"]
    rows = []
    for name, arm in pairs:
        variant, cell = found[name], next(iter(found[name]["seeds"].values()))["base"]
        base_SPK, arm_SPK = curves(variant, "base"), curves(variant, arm)
        _, low_K, high_K = gain(base_SPK, arm_SPK, LEVEL / len(pairs))
        bases = [o for o in arms[name] if o.startswith("base")]
        rows.append({
            "cell": name, "arm": arm, "seeds": len(variant["seeds"]),
            "base@1": base_SPK[..., 0].mean(), "rl@1": arm_SPK[..., 0].mean(),
            "base@k": base_SPK[..., -1].mean(), "rl@k": arm_SPK[..., -1].mean(),
            "best base@k": max(curves(variant, o)[..., -1].mean() for o in bases),
            "random@k": floor(cell)[-1],
            "verdict": verdict(low_K, high_K), "new puzzles": new_puzzles(variant, arm),
            "new shapes": len(new_shapes(variant, arm)),
        })
    return rows


def table(summary: dict) -> str:
    """`decide` in lines."""
    rows = decide(summary)
    if not rows:
        return "nothing is done yet"
    shares = [name for name in rows[0] if "@" in name]
    cells = [[f"{100 * v:.1f}%" if n in shares else str(v) for n, v in r.items()] for r in rows]
    return columns(tuple(rows[0]), list(map(tuple, cells)))


def draw(summary: dict, out: Path) -> list[Path]:
    """create.png: a panel a base, a curve a recipe, pass@k over k."""
    trained = [v for v in summary["variants"].values() if v["seeds"] and v["hooks"]["arms"]]
    if not trained:
        return []
    rows = -(-len(trained) // 4)
    figure, grid = drawing.figure_of(rows, min(4, len(trained)), (13, 3.6 * rows))
    for axes, variant in zip(grid, trained):
        seeds = variant["seeds"].values()
        ks = powers(next(iter(seeds))["base"]["samples"])
        drawing.dress(axes, variant["about"], True, "samples (k)")
        for arm, (colour, dashes) in LOOKS.items():
            if all(arm in seed for seed in seeds):
                mean_SK = curves(variant, arm).mean(1)
                axes.fill_between(ks, mean_SK.min(0), mean_SK.max(0), color=colour, alpha=0.12)
                axes.plot(ks, mean_SK.mean(0), color=colour, linestyle=dashes, label=arm)
        random_K = floor(next(iter(seeds))["base"])
        axes.plot(ks, random_K, color=drawing.GREY, linestyle=":", label="random attempts")
        axes.set_xscale("log", base=2)
        axes.set_ylim(0, 1.02)
    handles = {t: h for axes in grid for h, t in zip(*axes.get_legend_handles_labels())}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=8, frameon=False)
    return [drawing.save(figure, out / f"{summary['study']}.png")]
