"""Does RL find a shape of expression that its base has never read? One file: task, corpora, counts.

    python results/shapes/shapes.py run --out OUT       every cell that OUT lacks, two at a time
    python results/shapes/shapes.py draw --out OUT      shapes.json, shapes.png and a table

Three numbers to a target, in two steps. A step leans left if the earlier result comes first,
"3 * 4 = 12, 12 + 20 = 32", and right if it comes second, "3 * 4 = 12, 20 - 12 = 8". Some puzzles
have no solution that leans left. The base reads only solutions and attempts that lean left, and
lists of single steps of every kind; a corpus may add right-leaning solutions at a known rate. RL
practises right-leaning puzzles ("at"), or both kinds ("both"). A cell is a corpus and a seed: a
base, and what each arm makes of it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path
from random import Random
from statistics import mean, median

import numpy as np

from minir1.config import Config, CorpusConfig
from minir1.console.files import write_json
from minir1.corpus import mixture
from minir1.experiments.studies import verdicts
from minir1.experiments.studies.create import right_ones
from minir1.fast.accelerate import make_sampler
from minir1.measure.attempts import steps_in, thought_of
from minir1.measure.statistics import powers
from minir1.model import Transformer
from minir1.report import drawing
from minir1.run.phases import MiniWeb, RLPhase, pretrain, training_problems
from minir1.run.session import Session
from minir1.tasks import Task, draw_problems
from minir1.tasks.countdown import Countdown, Step, compose, moves, steps_of
from minir1.transcript import BEGIN, END, render
from train_zero import reinforce

HERE = Path(__file__).resolve()
sys.path.append(str(HERE.parents[1] / "composition"))
import composition  # noqa: E402
from composition import (  # noqa: E402
    SHAPE,
    SMOKE,
    Size,
    chances,
    load_cells,
    open_session,
    response,
)

HIGHEST = 25  # of the numbers
TARGETS = (2, 60)
KINDS = ("left", "right")

# ---------------------------------------------------------------- the task


def leans_right(first: Step, second: Step) -> bool:
    """Whether only the second operand is what the first step has made.

    >>> leans_right(Step(3, "*", 4, 12), Step(20, "-", 12, 8))
    True
    """
    return second.b == first.value != second.a


@lru_cache(1 << 16)
def solutions(numbers: tuple[int, ...], target: int) -> dict[str, list[tuple[Step, Step]]]:
    """All pairs of steps that reach the target, by the way they lean. Sums and products have the
    earlier result first."""
    found = {"left": [], "right": []}
    for first, left in moves(numbers):
        for second in steps_of(left[-1], left[0]):
            if second.value == target:
                found["right" if leans_right(first, second) else "left"].append((first, second))
    return found


def sample(rng: Random, kind: str, split: str, lang: str = "en") -> Countdown:
    """A puzzle with a left-leaning solution, or one that only right-leaning ones solve."""
    while True:
        numbers = tuple(rng.randint(1, HIGHEST) for _ in range(3))
        problem = Countdown(numbers, rng.randint(*TARGETS), lang)
        if problem.split() == split:
            found = solutions(tuple(sorted(numbers)), problem.target)
            if found["left"] if kind == "left" else found["right"] and not found["left"]:
                return problem


TASK = Task("shapes", KINDS, sample, Countdown.from_json)

# ---------------------------------------------------------------- what bases read

# Share of right-leaning solutions.
CORPORA = {"none": 0.0, "shown-1": 0.01, "shown-10": 0.1}
LISTS = 0.3  # of the documents: steps that have nothing to do with each other
RETRY = 0.5  # that one more attempt fails before the last


def attempt(rng: Random, numbers: tuple[int, ...]) -> tuple[Step, Step]:
    """Two steps at random, which lean left."""
    while True:
        first, left = rng.choice(moves(numbers))
        options = [s for s in steps_of(left[-1], left[0]) if not leans_right(first, s)]
        if options:
            return first, rng.choice(options)


def trace(rng: Random, problem: Countdown, kind: str) -> tuple[str, str]:
    """(thought, answer): failed attempts that lean left, then a solution of that kind."""
    numbers = tuple(rng.sample(problem.numbers, 3))
    lines = []
    while rng.random() < RETRY:
        steps = attempt(rng, numbers)
        if steps[1].value != problem.target:
            lines.append(f"{steps[0]}, {steps[1]}, not {problem.target}")
    steps = rng.choice(solutions(tuple(sorted(numbers)), problem.target)[kind])
    lines.append(f"{steps[0]}, {steps[1]}, yes")
    return "\n".join(lines), compose(problem.numbers, list(steps))


def single_steps(rng: Random) -> str:
    """A document of unrelated steps, of the sizes that second steps have."""
    steps = []
    while len(steps) < 6:
        high = HIGHEST if rng.random() < 0.5 else HIGHEST**2 // 2
        step = rng.choice(steps_of(rng.randint(1, high), rng.randint(1, HIGHEST)))
        if not steps or steps[-1].value not in (step.a, step.b):
            steps.append(step)
    return f"{BEGIN}{', '.join(map(str, steps))}{END}"


def write(rng: Random, corpus: CorpusConfig, shown: float) -> str:
    """One document about training puzzles."""
    if rng.random() < LISTS:
        return single_steps(rng)
    kind = "right" if rng.random() < shown else "left"
    problem = sample(rng, kind, "train")
    thought, answer = trace(rng, problem, kind)
    return render(problem.question(), answer, thought)


def texts(shown: float, corpus: CorpusConfig, seed: int, documents: int) -> list[str]:
    rng = Random(f"shapes {seed}")
    return [write(rng, corpus, shown) for _ in range(documents)]


def reader(config: Config, shown: float) -> MiniWeb:
    document = partial(write, shown=shown)
    return MiniWeb(config, partial(texts, shown), partial(mixture.shard, document=document))


# ---------------------------------------------------------------- arms

ARMS = {"at": {"right": 1.0}, "both": {"left": 0.5, "right": 0.5}}


SIZE = Size(problems=64)  # of each kind; samples of each: of left-leaning ones an eighth


def settings(seed: int, size: Size, arm: str = "at") -> Config:
    """As in composition; a thought may have several attempts, so that it is longer."""
    config = composition.settings(seed, size)
    tasks = tuple(f"{HERE}:{kind}={share}" for kind, share in ARMS[arm].items())
    return replace(config, rl=replace(config.rl, max_tokens=160, tasks=tasks))


# ---------------------------------------------------------------- counts


def problems_of(kind: str, count: int) -> list[Countdown]:
    """Test puzzles, the same for all models."""
    return draw_problems((f"{HERE}:{kind}=1",), ("en",), "test", f"shapes {kind}", count)


def shapes_in(response: str) -> tuple[int, int]:
    """(second steps that lean left, that lean right) in a thought's attempts."""
    left = right = 0
    for line in thought_of(response).split("\n"):
        steps = steps_in(line)
        if len(steps) == 2 and len(steps[1].operands) == 2:
            a, b = steps[1].operands
            left += a == steps[0].value
            right += b == steps[0].value != a
    return left, right


def counts(session: Session, model: Transformer, kind: str, size: Size) -> dict:
    """How often each puzzle is answered right, and thought through, and how second steps lean.

    Lists have an entry a puzzle. `trace_log10`: of the likeliest right-leaning solution, written
    as the only attempt, a lower bound of the chance to think it through.
    """
    config, problems = session.config, problems_of(kind, size.problems)
    samples = size.samples if kind == "right" else max(2, size.samples // 8)
    evaluator = session.evaluator(make_sampler(model, session.device, config, session.tokenizer))
    right, thought, leaning, tokens = [], [], np.zeros(2, int), 0
    for rollouts in evaluator.batches(model, problems, samples, config.seed):
        tokens += sum(rollouts.lengths())
        leaning += np.sum([shapes_in(text) for text in rollouts.texts], axis=0)
        for hits, reached in right_ones(rollouts):
            right.append(len(hits))
            thought.append(reached)
    result = {
        "puzzles": [[*problem.numbers, problem.target] for problem in problems],
        "samples": samples, "right": right, "thought": thought, "leaning": leaning.tolist(),
        "tokens": tokens / len(problems) / samples,
    }
    if kind == "right":
        result["trace_log10"] = trace_chances(session, model, problems)
    return result


def trace_chances(session: Session, model: Transformer, problems: list[Countdown]) -> list[float]:
    """log10 of the chance of each puzzle's likeliest right-leaning solution at the first try."""
    best = []
    for problem in problems:
        written = [
            response(f"{first}, {second}, yes", compose(problem.numbers, [first, second]))
            for first, second in solutions(tuple(sorted(problem.numbers)), problem.target)["right"]
        ]
        best.append(max(chances(session, model, [problem.question()] * len(written), written)))
    return best


# ---------------------------------------------------------------- the campaign


def cell(corpus: str, seed: int, size: Size) -> dict:
    """The base of a corpus, and what each arm makes of it, measured."""
    start = time.time()
    session = open_session(settings(seed, size))
    base = pretrain(session, SHAPE, reader(session.config, CORPORA[corpus]))
    result = {"corpus": corpus, "seed": seed, "size": asdict(size)}
    measured = {"base": {kind: counts(session, base, kind, size) for kind in KINDS}}
    for arm in ARMS:
        run = open_session(settings(seed, size, arm), session.tokenizer)
        draw = training_problems(run.config, run.config.rl, arm)
        policy = reinforce(RLPhase(run, base, arm, run.config.rl, draw))
        measured[arm] = {kind: counts(run, policy, kind, size) for kind in KINDS}
    return result | {"models": measured, "seconds": round(time.time() - start, 1)}


def run(arguments: argparse.Namespace) -> int:
    """Each cell in a process of its own, one thread. 0 if every cell is there."""
    places = [(corpus, seed) for seed in arguments.seeds for corpus in arguments.corpora]
    arguments.out.mkdir(parents=True, exist_ok=True)
    one = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    one["PYTHONPATH"] = os.environ.get("PYTHONPATH", str(HERE.parents[2]))

    def start(place: tuple[str, int]) -> bool:
        path = arguments.out / "cells" / "{}-{}.json".format(*place)
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            command = [sys.executable, str(HERE), "cell", "--out", str(arguments.out.resolve())]
            command += ["--corpora", place[0], "--seeds", str(place[1])]
            command += ["--smoke"] * arguments.smoke
            with path.with_suffix(".log").open("w") as log:
                subprocess.run(command, env=os.environ | one, stdout=log, stderr=log)
        print(f"{time.strftime('%H:%M:%S')} {path.stem}: {path.is_file()}", flush=True)
        return path.is_file()

    with ThreadPoolExecutor(arguments.processes) as pool:
        return 0 if all(pool.map(start, places)) else 1


# ---------------------------------------------------------------- what the counts say


def summarise(cells: list[dict]) -> list[dict]:
    """A row for each corpus and arm, over its seeds: right-leaning puzzles, base and policy."""
    rows = []
    for corpus in [name for name in CORPORA if any(c["corpus"] == name for c in cells)]:
        own = [c["models"] for c in cells if c["corpus"] == corpus]
        for arm in ARMS:
            row = {"corpus": corpus, "arm": arm, "seeds": len(own)}
            for key in ("right", "thought"):
                before, after = (
                    np.array([verdicts.curve(models[who]["right"], key) for models in own])
                    for who in ("base", arm)
                )
                level = verdicts.LEVEL / (len(CORPORA) * len(ARMS) * 2)
                _, low_K, high_K = verdicts.gain(before, after, level)
                for place, name in ((0, "1"), (-1, "k")):
                    both = [curve[..., place].mean(1).tolist() for curve in (before, after)]
                    row[f"{key}@{name}"] = dict(zip(("base", "policy"), both))
                row[f"{key}: RL"] = verdicts.verdict(low_K, high_K)
            for name, who in (("base", "base"), ("policy", arm)):
                suites = [models[who]["right"] for models in own]
                row[f"leaning {name}"] = np.sum([s["leaning"] for s in suites], axis=0).tolist()
                row[f"trace_log10 {name}"] = median(x for s in suites for x in s["trace_log10"])
                lefts = [models[who]["left"] for models in own]
                row[f"left@1 {name}"] = [mean(s["right"]) / s["samples"] for s in lefts]
                row[f"tokens {name}"] = mean(s["tokens"] for s in suites)
            rows.append(row)
    return rows


def place(cell: dict) -> tuple:
    return list(CORPORA).index(cell["corpus"]), cell["seed"]


def draw(arguments: argparse.Namespace) -> int:
    cells = load_cells(arguments.out, place)
    rows = summarise(cells)
    write_json(arguments.out / "shapes.json", {"size": cells[0]["size"], "rows": rows})
    draw_figure(cells, arguments.out / "shapes.png")
    for row in rows:
        print(json.dumps(row))
    return 0


def draw_figure(cells: list[dict], path: Path) -> None:
    """A column a corpus: pass@k by valid steps on puzzles that only right-leaning steps solve."""
    corpora = [name for name in CORPORA if any(c["corpus"] == name for c in cells)]
    figure, grid = drawing.figure_of(1, len(corpora), (3.6 * len(corpora), 3.4))
    ks = powers(cells[0]["size"]["samples"])
    colours = {"base": drawing.INK, "at": drawing.BLUE, "both": drawing.RED}
    for axes, corpus in zip(np.ravel(grid), corpora):
        drawing.dress(axes, corpus, True, "samples (k)")
        own = [c["models"] for c in cells if c["corpus"] == corpus]
        for who, colour in colours.items():
            curves = [verdicts.curve(models[who]["right"], "thought").mean(0) for models in own]
            axes.fill_between(ks, np.min(curves, 0), np.max(curves, 0), color=colour, alpha=0.12)
            axes.plot(ks, np.mean(curves, 0), color=colour, label=who)
        axes.set_xscale("log", base=2)
        axes.set_ylim(0, 1.02)
    handles = {t: h for h, t in zip(*np.ravel(grid)[0].get_legend_handles_labels())}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, frameon=False)
    drawing.save(figure, path)


def main() -> int:
    parser = argparse.ArgumentParser("shapes", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("run", "cell", "draw"))
    parser.add_argument("--out", type=Path, default=HERE.parent)
    parser.add_argument("--processes", type=int, default=2)
    words = {"type": lambda text: text.split(","), "default": list(CORPORA)}
    parser.add_argument("--corpora", **words)
    numbers = {"type": lambda text: [int(s) for s in text.split(",")], "default": [0, 1, 2]}
    parser.add_argument("--seeds", **numbers)
    parser.add_argument("--smoke", action="store_true")
    a = parser.parse_args()
    if a.command == "cell":
        result = cell(a.corpora[0], a.seeds[0], SMOKE if a.smoke else SIZE)
        path = a.out / "cells" / f"{a.corpora[0]}-{a.seeds[0]}.json"
        write_json(path, result)
        return 0
    return run(a) if a.command == "run" else draw(a)


if __name__ == "__main__":
    sys.exit(main())
