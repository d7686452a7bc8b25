"""Tables beside the published ones: puzzles, token budgets, pass@k, temperatures, arithmetic,
reasoning-gym, and what it cost.

    python -m minir1 tables runs/gpu-0/checkpoints/zero.pt --base runs/gpu-0/checkpoints/base.pt \\
        --out results/tables
    python -m minir1 tables minir1/data/zero-cpu.pt --base minir1/data/base-cpu.pt \\
        --puzzles cpu --quick --out /tmp/tables

T = 0.6 and top-p 0.95 unless said. Everything is held out. A response of n tokens within a budget
of b < n counts as wrong at b: the policy does not know its budget, so that one sampling gives the
whole curve. Writes OUT/tables.json, tables.md and plots.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

from minir1.checkpoint import load_checkpoint
from minir1.config import Config, CorpusConfig, UserError, one_of
from minir1.console import files
from minir1.console.errors import make_parser, parse
from minir1.console.flags import Value, count, length, parts
from minir1.experiments.tables import page as tables_page
from minir1.experiments.tables import problems
from minir1.experiments.tables.published import BUDGETS
from minir1.fast.accelerate import sampler_of
from minir1.fast.device import pick_device
from minir1.fast.parallel import parallel_map
from minir1.measure.baselines import blind, lookahead, perfect_writer
from minir1.measure.diagnosis import column, phase
from minir1.measure.evaluate import evaluate_model
from minir1.measure.statistics import consensus_answer, interval, mean, pass_at_k, powers
from minir1.report.reading import read_metrics, read_summary
from minir1.report.words import entry
from minir1.rollout import sampling
from minir1.run.costs import DOLLARS_PER_HOUR, parameter_counts
from minir1.tasks import Problem
from minir1.tasks.countdown import DISTRIBUTIONS, Countdown
from minir1.tokenizer import Tokenizer
from minir1.transcript import ANSWER

TEMPERATURES = (0.0, 0.3, 0.6, 0.8, 1.0, 1.2)
SIZES = {"puzzles": 2048, "arithmetic": 2048, "gym": 200, "many": 128, "sweep": 512, "samples": 64}
QUICK = {"puzzles": 48, "arithmetic": 24, "gym": 12, "many": 8, "sweep": 24, "samples": 8}

# ---------------------------------------------------------------- asking


class AskedModel:
    """A model that is asked, and what that costs."""

    def __init__(self, path: Path, device_name: str, budget: int):
        self.device = pick_device(Config(device=device_name))
        self.model, self.tokenizer = load_checkpoint(path, self.device.name)
        self.budget = min(budget, self.model.config.positions - 128)
        self.batch = 2048 if self.device.name == "cuda" else 128
        size = (self.tokenizer, self.batch, self.budget)
        self.sampler = sampler_of(self.model, self.device, *size)
        self.tokens = 0
        self.seconds = 0.0
        self.seed = 0
        config = path.resolve().parent.parent / "config.json"
        settings = files.read_settings(config) if config.is_file() else {}
        # of the thoughts that its base has read
        with files.checked_read(config):
            self.writer = str(settings.get("corpus", {}).get("writer", CorpusConfig.writer))

    def ask(
        self, asked: list[Problem], samples: int = 1, temperature: float = 0.6, top_p: float = 0.95,
        prefix: str = "",
    ) -> list[dict]:
        """evaluate_model's results, one a problem. Each call has random numbers of its own."""
        began = time.time()
        self.seed += 1
        settings = sampling(self.tokenizer, self.budget, temperature, top_p)
        how = {"sampler": self.sampler, "seed": self.seed, "batch": self.batch}
        how |= {"prefix": prefix, "progress": True}
        results = evaluate_model(self.model, self.tokenizer, asked, samples, settings, **how)
        self.seconds += time.time() - began
        self.tokens += sum(s["tokens"] for r in results for s in r["samples"])
        return results


Models = dict[str, AskedModel]  # "zero" and perhaps "base"


def figures(results: list[dict]) -> dict[str, float]:
    """pass@1 with its 95% interval, mean tokens, and the share that was cut off."""
    shares = [r["pass_at_1"] for r in results]
    drawn = [s for r in results for s in r["samples"]]
    return {
        "accuracy": mean(shares),
        "interval": interval(shares),
        "n": len(shares),
        "tokens": mean(s["tokens"] for s in drawn),
        "cut": mean(not s["stopped"] for s in drawn),
    }


def by_count(asked: list[Problem], results: list[dict]) -> dict[str, float]:
    """accuracy_3, accuracy_4, ...: pass@1 by count of numbers."""
    shares: dict[int, list[float]] = {}
    for problem, result in zip(asked, results):
        if isinstance(problem, Countdown):
            shares.setdefault(len(problem.numbers), []).append(result["pass_at_1"])
    return {f"accuracy_{count}": mean(shares[count]) for count in sorted(shares)}


def within(results: list[dict], budget: int) -> float:
    """pass@1 if responses were cut at `budget` tokens."""
    return mean(mean(s["correct"] and s["tokens"] <= budget for s in r["samples"]) for r in results)


def loops(text: str) -> bool:
    """Whether a text ends in a piece of 10 to 400 characters that is written three times.

    >>> loops("<think>1 + 2 = 3" + ", not 5 wait, 1 + 2 = 3" * 3)
    True
    >>> loops("<think>1 + 2 = 3, not 5 wait, 2 + 2 = 4, not 5")
    False
    """
    most = min(400, len(text) // 3)
    return any(text[-n:] == text[-2 * n : -n] == text[-3 * n : -2 * n] for n in range(10, most + 1))


# ---------------------------------------------------------------- the sections


def references(
    model: AskedModel, asked: list[Problem], budgets: list[int]
) -> dict[str, list[dict]]:
    """What needs no model, within each budget: three searches, in processes of their own."""
    writer = partial(perfect_writer, writer=model.writer)
    searches = {"blind": blind, "lookahead": lookahead, "writer": writer}
    text = model.tokenizer.to_text()
    jobs = ((search, asked, text, b) for search in searches.values() for b in budgets)
    lines = parallel_map(reference, jobs)
    return {name: list(islice(lines, len(budgets))) for name in searches}


def reference(
    search: Callable, asked: list[Problem], tokenizer_text: str, budget: int
) -> dict[str, float]:
    return search(asked, Tokenizer.from_text(tokenizer_text), budget)


def puzzle_section(models: Models, sizes: dict[str, int], main: str) -> dict:
    """Every distribution: models and references within the same tokens; budgets from 256 on."""
    zero, n = models["zero"], sizes["puzzles"]
    budgets = sorted({b for b in BUDGETS if b < zero.budget} | {zero.budget})
    asked = {name: problems.held_out(name, n) for name in DISTRIBUTIONS}
    harder = problems.one_number_more((f"countdown:{main}",), "test", n)
    section = {}
    for name, puzzles in (asked | {f"{main}, one number more": harder}).items():
        entry, curves = {}, {}
        for side, model in models.items():
            results = model.ask(puzzles)
            entry[side] = figures(results) | by_count(puzzles, results)
            curves[side] = [within(results, b) for b in budgets]
        for search, lines in references(zero, puzzles, budgets).items():
            entry[search] = lines[-1]
            curves[search] = [line["accuracy"] for line in lines]
        section[name] = entry | {"budgets": budgets, "by_budget": curves}
    return section


def many_section(models: Models, sizes: dict[str, int], main: str) -> dict:
    """pass@k and cons@k of both models; and the base with as many tokens as the policy takes,
    judged perfectly or by majority."""
    asked, samples = problems.held_out(main, sizes["many"]), sizes["samples"]
    ks = powers(samples)
    section: dict = {"puzzles": main, "n": len(asked), "samples": samples, "k": ks}

    def passing(results: list[dict], k: int) -> float:
        right = [sum(s["correct"] for s in r["samples"]) for r in results]
        return mean(pass_at_k(samples, c, k) for c in right)

    drawn = {side: model.ask(asked, samples) for side, model in models.items()}
    for side, results in drawn.items():
        section[side] = figures(results)
        section[side]["pass"] = [passing(results, k) for k in ks]
        section[side]["cons"] = [consensus(asked, results, k) for k in ks]
    if "base" in drawn:
        ratio = section["zero"]["tokens"] / section["base"]["tokens"]
        n = min(samples, max(1, round(ratio)))
        judged, voted = passing(drawn["base"], n), consensus(asked, drawn["base"], n)
        section["best_of"] = {"n": n, "judged": judged, "majority": voted}
    return section


def consensus(asked: list[Problem], results: list[dict], k: int) -> float:
    """cons@k: the majority of k answers, over as many sets of k as there are samples for."""
    shares = []
    for problem, result in zip(asked, results):
        answers = [s["answer"] for s in result["samples"]]
        sets = [answers[i : i + k] for i in range(0, len(answers) - k + 1, k)]
        votes = [consensus_answer(problem, some) for some in sets]
        shares.append(mean(vote is not None and problem.verify(vote) for vote in votes))
    return mean(shares)


def sweep_section(models: Models, sizes: dict[str, int], main: str) -> dict:
    """Accuracy, tokens and endless loops by temperature (no top-p)."""
    asked, section = problems.held_out(main, sizes["sweep"]), {}
    for temperature in TEMPERATURES:
        results = models["zero"].ask(asked, 1, temperature, 1.0)
        endless = mean(not s["stopped"] and loops(s["text"]) for r in results for s in r["samples"])
        section[str(temperature)] = figures(results) | {"loops": endless}
    return section


def arithmetic_section(models: Models, sizes: dict[str, int], main: str) -> dict:
    """GPT-3's ten tasks in its wording, and longer products: as it likes, and answered at once."""
    section = {}
    for kind in (*problems.arithmetic.GPT3_TASKS, "3dx", "4dx", "5dx"):
        asked = problems.gpt3(kind, sizes["arithmetic"])
        section[kind] = {side: figures(model.ask(asked)) for side, model in models.items()}
        section[kind]["direct"] = figures(models["zero"].ask(asked, prefix=ANSWER))
    return section


def gym_section(models: Models, sizes: dict[str, int], main: str) -> dict:
    """reasoning-gym's items; {} where the package is not installed."""
    zero, section = models["zero"], {}
    for name in problems.GYM:
        try:
            asked = problems.gym(name, sizes["gym"])
        except UserError as fault:
            print(f"left out: {fault}")
            return {}
        section[name] = {side: figures(model.ask(asked)) for side, model in models.items()}
        if isinstance(asked[0], Countdown):
            for search, (line,) in references(zero, asked, [zero.budget]).items():
                section[name][search] = line
    return section


SECTIONS: dict[str, Callable] = {
    "puzzles": puzzle_section, "many": many_section, "sweep": sweep_section,
    "arithmetic": arithmetic_section, "gym": gym_section,
}

# ---------------------------------------------------------------- cost


def cost(tokens: float, seconds: float, flops: float) -> dict[str, float]:
    """
    >>> cost(10, 90.0, 2e9)
    {'tokens': 10, 'flops': 2000000000.0, 'minutes': 1.5, 'dollars': 0.05}
    """
    dollars = seconds / 3600 * DOLLARS_PER_HOUR
    return {"tokens": tokens, "flops": flops, "minutes": seconds / 60, "dollars": dollars}


def training_cost(checkpoint: Path, used: int) -> dict[str, dict]:
    """What the run that a checkpoint lies in has cost, by phase; {} if it lies in none.

    2 operations a weight and token to sample, 6 to learn, 2 to score once more where --rl.recompute
    is on; attention aside.
    """
    run = checkpoint.resolve().parent.parent
    summary, rows = read_summary(run), read_metrics(run)
    seconds = entry(summary.get("seconds"))
    device = {"device": summary["device"]} if "device" in summary else {}
    costs = {}
    read = int(max(column(phase(rows, "pretrain"), "tokens", "tokens")[1], default=0))
    if read:
        costs["pretraining"] = cost(read, seconds.get("pretrain", 0.0), 6 * used * read) | device
    sampled = int(sum(column(phase(rows, "rl"), "tokens", "tokens")[1]))
    if sampled:
        config = files.read_settings(run / "config.json")
        with files.checked_read(run / "config.json"):
            flops = (8 + 2 * config["rl"]["recompute"]) * used * sampled
        costs["reinforcement learning"] = cost(sampled, seconds.get("rl", 0.0), flops) | device
    return costs


# ---------------------------------------------------------------- the command


def build_parser() -> argparse.ArgumentParser:
    parser, add = make_parser("tables", "Tables beside the published ones.", allow_abbrev=False)
    policy = "a policy such as runs/gpu-0/checkpoints/zero.pt"
    puzzles = "what pass@k and temperatures are measured on (default: 3to4)"
    longest = "longest response; what the model has room for, if that is less (default: 4096)"
    sections = f"of {', '.join(SECTIONS)}"
    size = "problems of a kind at most; 512 is a size for a CPU (default: 2048)"
    add("checkpoint", metavar="CHECKPOINT", type=Path, help=policy)
    add("--base", type=Path, help="the base it was trained from, to stand beside it")
    add("--out", type=Path, required=True, help="folder for tables.json, tables.md and plots")
    add("--puzzles", default="3to4", choices=tuple(DISTRIBUTIONS), help=puzzles)
    add("--budget", type=length, default=4096, help=longest)
    add("--only", type=Value(parts, one_of(*SECTIONS)), default=tuple(SECTIONS), help=sections)
    add("--quick", action="store_true", help="few problems: a trial")
    add("--problems", type=count, default=2048, help=size)
    add("--device", default="auto", help="auto, cpu, cuda or mps")
    return parser


def heading(arguments: argparse.Namespace, policy: AskedModel) -> dict:
    """What tables.json says beside its sections."""
    weights, used = parameter_counts(policy.model)
    return {
        "checkpoint": str(arguments.checkpoint),
        "base": str(arguments.base or ""),
        "date": time.strftime("%Y-%m-%d"),
        "quick": arguments.quick,
        "parameters": weights,
        "used_per_token": used,
        "budget": policy.budget,
        "training": training_cost(arguments.checkpoint, used),
    }


def main(arguments: list[str]) -> None:
    """Sections of OUT/tables.json that --only does not name are kept. Raises UserError."""
    command = "python -m minir1 tables " + " ".join(arguments)
    arguments = parse(build_parser(), arguments)
    path = files.check_folder(arguments.out) / "tables.json"
    kept = files.read_object(path) if path.is_file() else {}
    with files.checked_read(path):
        kept = {name: dict(kept.get(name, {})) for name in ("sections", "asking")}
    sizes = dict(QUICK)
    if not arguments.quick:
        sizes = {name: min(size, arguments.problems) for name, size in SIZES.items()}
        sizes["samples"] = SIZES["samples"]
    paths = {"zero": arguments.checkpoint, "base": arguments.base}
    how = (arguments.device, arguments.budget)
    models = {side: AskedModel(path, *how) for side, path in paths.items() if path}
    where = {"device": str(models["zero"].device), "command": command}
    tables = where | heading(arguments, models["zero"]) | kept
    for name in arguments.only:
        for model in models.values():
            model.tokens, model.seconds = 0, 0.0
        tables["sections"][name] = SECTIONS[name](models, sizes, arguments.puzzles)
        tokens = sum(model.tokens for model in models.values())
        seconds = sum(model.seconds for model in models.values())
        flops = 2 * tables["used_per_token"] * tokens
        tables["asking"][name] = cost(tokens, seconds, flops) | where
        files.write_json(path, tables)
        print(f"{name}: {tokens:,} tokens in {seconds:.0f} s", flush=True)
    files.write_text(arguments.out / "tables.md", tables_page.page(tables))
    for picture in tables_page.draw(tables, arguments.out):
        print(f"wrote {picture}")
    print(f"wrote {path} and {arguments.out / 'tables.md'}")
