"""The base asked again: what is left after 16,384 samples, and is it more than rare thoughts?

    python results/studies/again.py          the table of create.md, from confirm/again-five.json
    python results/studies/again.py store    writes what follows from the counts into that file,
                                             and of confirm-8M.json, its picture too

Each puzzle has a chance that the base thinks it through in a round of 1,024 samples. If RL only
amplifies, the chances have some smooth distribution down to 0: a beta distribution is fitted. What
the base can never think through would stay in every round: `never` is the share of such puzzles.
"""

import json
import sys
from collections.abc import Iterator
from copy import deepcopy
from math import comb, exp, lgamma, log
from pathlib import Path

import numpy as np

from minir1.experiments.studies.verdicts import (
    LEVEL,
    LOOKS,
    curve,
    decide,
    draw,
    gain,
    having,
    verdict,
)
from minir1.tasks.countdown import steps_of

HERE = Path(__file__).parent / "confirm"
ROUND = 1024  # samples
DOUBLED = 2.0 ** np.arange(11)  # rounds: 1,024 to a million samples


def asked_again(seeds: dict) -> list[dict]:
    """A row a puzzle: how often policy and base solved it; the base in all of its samples."""
    rows = []
    for seed, cells in seeds.items():
        base, policy = cells["base"], cells["mixed"]
        for place, samples, right, thought in zip(*policy["again"].values()):
            rows.append({
                "seed": int(seed), "puzzle": base["puzzles"][place],
                "RL": policy["thought"][place], "samples": base["samples"] + samples,
                "right": base["right"][place] + right, "thought": thought,
            })
    return rows


def rounds(row: dict) -> int:
    """Asked again: the first samples are those that the puzzle was chosen by."""
    return row["samples"] // ROUND - 1


def log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def likelihood(rows: list[dict], never: float, a: float, b: float) -> float:
    """Of the round in which each puzzle was thought through, or of being left (log)."""
    total, whole = 0.0, log_beta(a, b)
    for row in rows:
        n = rounds(row)
        if row["thought"]:
            total += log(1 - never) + log_beta(a + 1, b + n - 1) - whole
        else:
            total += log(never + (1 - never) * exp(log_beta(a, b + n) - whole))
    return total


def fit(rows: list[dict]) -> dict:
    """The likeliest beta distribution, with a share of puzzles that are never thought through."""
    shapes = [(a, b) for a in np.geomspace(0.3, 6, 50) for b in np.geomspace(0.5, 40, 50)]
    best = {
        float(never): max((likelihood(rows, never, *shape), shape) for shape in shapes)
        for never in np.linspace(0, 0.2, 21)
    }
    peak = max(value for value, _ in best.values())
    likely = [never for never, (value, _) in best.items() if value > peak - 1.92]  # 95%
    a, b = best[0.0][1]
    share = [exp(log_beta(a, b + n) - log_beta(a, b)) for n in DOUBLED]
    return {
        "never": max(best, key=lambda never: best[never][0]), "never at most": max(likely),
        "beta": [a, b], "left": {int(ROUND * n): len(rows) * s for n, s in zip(DOUBLED, share)},
    }


def surprising(puzzles: int, chance: float, level: float = 0.01) -> int:
    """The least number of puzzles left that chance alone reaches in less than `level` of cases.

    >>> surprising(10, 0.1)
    5
    """
    def at_least(n: int) -> float:
        terms = range(n, puzzles + 1)
        return sum(comb(puzzles, k) * chance**k * (1 - chance) ** (puzzles - k) for k in terms)

    return next(n for n in range(puzzles + 2) if at_least(n) < level)


def new_thoughts(seeds: dict) -> int:
    """Puzzles that the policy thinks through, and none of the base's first 1,024 samples."""
    pairs = [zip(cells["base"]["thought"], cells["mixed"]["thought"]) for cells in seeds.values()]
    return sum(policy > 0 and not base for pair in pairs for base, policy in pair)


def found(rows: list[dict]) -> dict:
    """What create.md says about these puzzles."""
    left = [row for row in rows if not row["thought"]]
    # with a base rate of c / 1,024 / factor, 0 of 17 * 1,024 samples in one case of twenty
    needed = {c: 17 * c / log(20) for c in (4, 9)}
    factors = [
        row["RL"] / ROUND * row["samples"] / row["thought"] for row in rows if row["thought"]
    ]
    fitted = fit(rows)
    later = fitted["left"][128 * ROUND] / fitted["left"][16 * ROUND]
    return {
        "asked": len(rows), "of seeds": [sum(r["seed"] == s for r in rows) for s in (10, 11, 12)],
        "left": {n * ROUND: sum(rounds(r) > n or not r["thought"] for r in rows)
                 for n in (1, 2, 4, 8, 16)},
        "left of seeds": [sum(r["seed"] == s for r in left) for s in (10, 11, 12)],
        "never right": sum(not row["right"] for row in left),
        "RL four or more": sum(row["RL"] >= 4 for row in left),
        "factor needed": needed,
        "as large": {c: sum(f >= least for f in factors) for c, least in needed.items()},
        "fit": fitted, "later": later, "surprising": surprising(len(left), later),
    }


def alone(cells: dict) -> str:
    """The verdict on the thoughts of one run, over puzzles, corrected for twelve looks."""
    before_1PK, after_1PK = (curve(cells[arm], "thought")[None] for arm in ("base", "mixed"))
    _, low_K, high_K = gain(before_1PK, after_1PK, LEVEL / 12)
    return verdict(low_K, high_K)


def curves_of(variant: dict, key: str) -> dict:
    """pass@k at k = 1, 2, 4 ..., averaged over puzzles, of each recipe: a list a seed."""
    cells = {arm: having(variant, arm) for arm in ("base", *LOOKS)}
    means = {arm: [curve(c[arm], key).mean(0).tolist() for c in own] for arm, own in cells.items()}
    return {arm: lists for arm, lists in means.items() if lists}


def chains(value: int, text: str, rest: tuple[int, ...], target: int) -> Iterator[str]:
    """The expressions that go on from `value` with one number after another to the target."""
    if not rest and value == target:
        yield text
    for i, number in enumerate(rest):
        for step in steps_of(value, number):
            own = f"({text})" if " " in text else text
            left, right = (own, number) if step.a == value else (number, own)
            grown = f"{left} {step.operator} {right}"
            yield from chains(step.value, grown, rest[:i] + rest[i + 1 :], target)


def solution(numbers: tuple[int, ...], target: int) -> str:
    """The first chain, found by search: of responses only counts are kept."""
    starts = ((x, numbers[:i] + numbers[i + 1 :]) for i, x in enumerate(numbers))
    ways = (way for x, rest in starts for way in chains(x, str(x), rest, target))
    return next(ways, "no chain")


def table(rows: list[dict]) -> str:
    lines = [f"{'seed':4} {'numbers':>15} {'target':>6} {'RL':>3} {'right':>5}  a chain"]
    for row in sorted((r for r in rows if not r["thought"]), key=lambda r: -r["RL"]):
        *numbers, target = row["puzzle"]
        shown = " ".join(map(str, numbers))
        chain = solution(tuple(numbers), target)
        lines.append(
            f"{row['seed']:4} {shown:>15} {target:6} {row['RL']:3} {row['right']:5}  {chain}"
        )
    return "\n".join(lines)


def main() -> None:
    summary = json.loads((HERE / "again-five.json").read_text(encoding="utf-8"))
    cells = summary["variants"]["five_10"]["seeds"]
    rows = asked_again(cells)
    if sys.argv[1:] == ["store"]:
        summary["rows"] = decide(summary)
        earlier = json.loads((HERE / "confirm.json").read_text(encoding="utf-8"))
        both = deepcopy(earlier)
        both["variants"]["five_10"]["seeds"] |= {f"{s}, again": c for s, c in cells.items()}
        summary["rows of six"] = [r for r in decide(both) if r["cell"] == "five_10"]
        six = both["variants"]["five_10"]["seeds"]
        summary["alone"] = {seed: alone(cells) for seed, cells in six.items()}
        summary["again"] = {"only RL": new_thoughts(cells)} | found(rows)
        (HERE / "again-five.json").write_text(json.dumps(summary), encoding="utf-8")
        larger = json.loads((HERE / "confirm-8M.json").read_text(encoding="utf-8"))
        cells = larger["variants"]["five_10"]["seeds"]
        larger["again"] = {"only RL": new_thoughts(cells)} | found(asked_again(cells))
        variants = larger["variants"].items()
        larger["curves"] = {
            key: {name: curves_of(variant, key) for name, variant in variants}
            for key in ("right", "thought")
        }
        larger["rows"] = decide(larger)
        draw(larger, HERE)
        (HERE / "confirm-8M.json").write_text(json.dumps(larger), encoding="utf-8")
    else:
        print(table(rows))


if __name__ == "__main__":
    main()
