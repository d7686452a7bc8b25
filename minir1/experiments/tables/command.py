"""Tables beside the published ones: puzzles, token budgets, pass@k, temperatures, arithmetic,
reasoning-gym, and what it cost.

    python -m minir1 tables runs/gpu-0/checkpoints/zero.pt --base runs/gpu-0/checkpoints/base.pt
    --out results/tables python -m minir1 tables minir1/data/zero-cpu.pt --base
    minir1/data/base-cpu.pt --puzzles cpu --quick --out /tmp/tables

T = 0.6 and top-p 0.95 unless said. Everything is held out. A response of n tokens within a budget
of b < n counts as wrong at b: the policy does not know its budget, so that one sampling gives the
whole curve. Writes OUT/tables.json, tables.md and plots.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

from minir1.checkpoint import load_checkpoint
from minir1.config import Config, CorpusConfig, EvalConfig, RLConfig, UserError
from minir1.console import errors as cli
from minir1.console.files import read_settings, write_text
from minir1.experiments.tables import page as tables_page
from minir1.experiments.tables import problems
from minir1.experiments.tables.published import BUDGETS
from minir1.fast.accelerate import make_sampler
from minir1.fast.device import pick_device
from minir1.fast.parallel import parallel_map
from minir1.measure.baselines import blind, lookahead, perfect_writer
from minir1.measure.evaluate import evaluate_model, interval, majority, pass_at_k, powers
from minir1.report.command import read_metrics, read_summary
from minir1.run.costs import parameter_counts
from minir1.sampler import Sampling
from minir1.tasks import Problem
from minir1.tasks.countdown import DISTRIBUTIONS, Countdown
from minir1.tokenizer import Tokenizer
from minir1.transcript import ANSWER

TEMPERATURES = (0.0, 0.3, 0.6, 0.8, 1.0, 1.2)
DOLLARS_AN_HOUR = 2.0
SIZES = {"puzzles": 2048, "arithmetic": 2048, "gym": 200, "many": 128, "sweep": 512, "samples": 64}
QUICK = {"puzzles": 48, "arithmetic": 24, "gym": 12, "many": 8, "sweep": 24, "samples": 8}

# ---------------------------------------------------------------- asking


class AskedModel:
    """A model that is asked, and what that costs."""

    def __init__(self, path: Path, device_name: str, budget: int):
        self.device = pick_device(Config(device=device_name))
        self.path = path
        self.model, self.tokenizer = load_checkpoint(path, self.device.name)
        self.budget = min(budget, self.model.config.positions - 128)
        self.batch = 2048 if self.device.name == "cuda" else 128
        config = Config(
            rl=RLConfig(max_tokens=self.budget, prompts=1, group_size=self.batch),
            eval=EvalConfig(batch=self.batch),
        )
        self.sampler = make_sampler(self.model, self.device, config)
        self.tokens, self.seconds, self.seed = 0, 0.0, 0
        config = path.resolve().parent.parent / "config.json"
        read = read_settings(config) if config.is_file() else {}
        # of the thoughts that its base has read
        self.writer = read.get("corpus", {}).get("writer", CorpusConfig.writer)

    def ask(
        self, asked: list[Problem], samples: int = 1, temperature: float = 0.6, top_p: float = 0.95,
        prefix: str = "",
    ) -> list[dict]:
        """evaluate_model's results, one a problem. Each call has random numbers of its own."""
        began, self.seed = time.time(), self.seed + 1
        settings = Sampling(self.budget, self.tokenizer.end_ids, temperature, top_p)
        how = {
            "sampler": self.sampler, "seed": self.seed, "batch": self.batch,
            "prefix": prefix, "progress": True,
        }
        found = evaluate_model(self.model, self.tokenizer, asked, samples, settings, **how)
        self.seconds += time.time() - began
        self.tokens += sum(s["tokens"] for r in found for s in r["samples"])
        return found


def mean(values) -> float:
    values = list(values)
    return sum(values) / max(1, len(values))


def figures(results: list[dict]) -> dict[str, float]:
    """pass@1 with its 95% interval, mean tokens, and the share that was cut off."""
    shares = [r["pass_at_1"] for r in results]
    drawn = [s for r in results for s in r["samples"]]
    cut = mean(not s["stopped"] for s in drawn)
    return {
        "accuracy": mean(shares), "interval": interval(shares), "n": len(shares),
        "tokens": mean(s["tokens"] for s in drawn), "cut": cut,
    }


def by_count(asked: list[Problem], results: list[dict]) -> dict[str, float]:
    """accuracy_3, accuracy_4, ...: pass@1 by count of numbers."""
    counts = sorted({len(p.numbers) for p in asked if isinstance(p, Countdown)})
    return {
        f"accuracy_{k}": mean(r["pass_at_1"] for p, r in zip(asked, results) if len(p.numbers) == k)
        for k in counts
    }


def within(results: list[dict], budget: int) -> float:
    """pass@1 if responses were cut at `budget` tokens."""
    return mean(mean(s["correct"] and s["tokens"] <= budget for s in r["samples"]) for r in results)


def loops(text: str) -> bool:
    """Whether a text ends in the same words over and over: a piece of 10 to 400 characters, three
    times.

    >>> loops("<think>1 + 2 = 3" + ", not 5 wait, 1 + 2 = 3" * 3), loops("<think>1 + 2 = 3, not 5 wait, 2 + 2 = 4, not 5")
    (True, False)
    """
    most = min(400, len(text) // 3)
    return any(text[-n:] == text[-2 * n : -n] == text[-3 * n : -2 * n] for n in range(10, most + 1))


# ---------------------------------------------------------------- the sections


def references(desk: AskedModel, asked: list[Problem], budgets: list[int]) -> dict[str, list[dict]]:
    """What needs no model, within each budget, in processes of their own: blind search, look-ahead,
    the corpus's writer.
    """
    searches = {
        "blind": blind, "lookahead": lookahead,
        "writer": partial(perfect_writer, writer=desk.writer),
    }
    jobs = (
        (search, asked, desk.tokenizer.to_text(), b)
        for search in searches.values()
        for b in budgets
    )
    lines = parallel_map(reference, jobs)
    return {name: list(islice(lines, len(budgets))) for name in searches}


def reference(
    search: Callable, asked: list[Problem], tokenizer_text: str, budget: int
) -> dict[str, float]:
    return search(asked, Tokenizer.from_text(tokenizer_text), budget)


def puzzle_section(desks: dict[str, AskedModel], sizes: dict[str, int], main: str) -> dict:
    """Every distribution: both models and the references within the same tokens; budgets from 256
    on.
    """
    found, desk, n = {}, desks["zero"], sizes["puzzles"]
    more = f"{main}, one number more"
    for name in (*DISTRIBUTIONS, more):
        asked = (
            problems.one_number_more((f"countdown:{main}",), "test", n)
            if name == more
            else problems.held_out(name, n)
        )
        rows = {side: one.ask(asked) for side, one in desks.items()}
        entry = {
            side: figures(results) | by_count(asked, results) for side, results in rows.items()
        }
        budgets = sorted({b for b in BUDGETS if b < desk.budget} | {desk.budget})
        curves = {side: [within(results, b) for b in budgets] for side, results in rows.items()}
        for search, lines in references(desk, asked, budgets).items():
            entry[search], curves[search] = lines[-1], [line["accuracy"] for line in lines]
        found[name] = entry | {"budgets": budgets, "by_budget": curves}
    return found


def many_section(desks: dict[str, AskedModel], sizes: dict[str, int], main: str) -> dict:
    """pass@k and cons@k of both models; and the base with as many tokens as the policy takes,
    judged perfectly or by majority.
    """
    asked, samples = problems.held_out(main, sizes["many"]), sizes["samples"]
    found: dict = {"puzzles": main, "n": len(asked), "samples": samples, "k": powers(samples)}
    drawn = {side: desk.ask(asked, samples) for side, desk in desks.items()}
    for side, results in drawn.items():
        right = [sum(s["correct"] for s in r["samples"]) for r in results]
        pass_at = [mean(pass_at_k(samples, c, k) for c in right) for k in powers(samples)]
        found[side] = figures(results) | {
            "pass": pass_at, "cons": [consensus(asked, results, k) for k in powers(samples)],
        }
    if "base" in drawn:
        n = min(samples, max(1, round(found["zero"]["tokens"] / found["base"]["tokens"])))
        right = [sum(s["correct"] for s in r["samples"]) for r in drawn["base"]]
        found["best_of"] = {
            "n": n, "judged": mean(pass_at_k(samples, c, n) for c in right),
            "majority": consensus(asked, drawn["base"], n),
        }
    return found


def consensus(asked: list[Problem], results: list[dict], k: int) -> float:
    """cons@k: the majority of k answers, over as many sets of k as there are samples for."""
    shares = []
    for problem, result in zip(asked, results):
        answers = [s["answer"] for s in result["samples"]]
        votes = [majority(answers[i : i + k]) for i in range(0, len(answers) - k + 1, k)]
        shares.append(mean(vote is not None and problem.verify(vote) for vote in votes))
    return mean(shares)


def sweep_section(desks: dict[str, AskedModel], sizes: dict[str, int], main: str) -> dict:
    """Accuracy, tokens and endless loops by temperature (no top-p)."""
    asked, found = problems.held_out(main, sizes["sweep"]), {}
    for temperature in TEMPERATURES:
        results = desks["zero"].ask(asked, 1, temperature, 1.0)
        endless = mean(not s["stopped"] and loops(s["text"]) for r in results for s in r["samples"])
        found[str(temperature)] = figures(results) | {"loops": endless}
    return found


def arithmetic_section(desks: dict[str, AskedModel], sizes: dict[str, int], main: str) -> dict:
    """GPT-3's ten tasks in its wording, and longer products: as the model likes, and answered at
    once.
    """
    found = {}
    for kind in (*problems.arithmetic.GPT3_TASKS, "3dx", "4dx", "5dx"):
        asked = problems.gpt3(kind, sizes["arithmetic"])
        found[kind] = {side: figures(desk.ask(asked)) for side, desk in desks.items()}
        found[kind]["direct"] = figures(desks["zero"].ask(asked, prefix=ANSWER))
    return found


def gym_section(desks: dict[str, AskedModel], sizes: dict[str, int], main: str) -> dict:
    """reasoning-gym's items; {} where the package is not installed."""
    found = {}
    for name in problems.GYM:
        try:
            asked = problems.gym(name, sizes["gym"])
        except UserError as fault:
            print(f"left out: {fault}")
            return {}
        found[name] = {side: figures(desk.ask(asked)) for side, desk in desks.items()}
        if isinstance(asked[0], Countdown):
            found[name] |= {
                k: v[0] for k, v in references(desks["zero"], asked, [desks["zero"].budget]).items()
            }
    return found


SECTIONS: dict[str, Callable] = {
    "puzzles": puzzle_section, "many": many_section, "sweep": sweep_section,
    "arithmetic": arithmetic_section, "gym": gym_section,
}  # fmt: skip

# ---------------------------------------------------------------- cost


def cost(tokens: float, seconds: float, flops: float) -> dict[str, float]:
    """
    >>> cost(10, 90.0, 2e9)
    {'tokens': 10, 'flops': 2000000000.0, 'minutes': 1.5, 'dollars': 0.05}
    """
    return {
        "tokens": tokens, "flops": flops, "minutes": seconds / 60,
        "dollars": seconds / 3600 * DOLLARS_AN_HOUR,
    }


def training_cost(checkpoint: Path, used: int) -> dict[str, dict]:
    """What the run that a checkpoint lies in has cost, by phase; {} if it lies in none.

    2 operations a weight and token to sample, 6 to learn, 2 to score once more where --rl.recompute
    is on; attention aside.
    """
    run = checkpoint.resolve().parent.parent
    summary, rows = read_summary(run), read_metrics(run)
    seconds, found, device = (
        summary.get("seconds", {}), {},
        {"device": summary["device"]} if "device" in summary else {},
    )
    read = max((row.get("tokens", 0) for row in rows if row["phase"] == "pretrain"), default=0)
    if read:
        found["pretraining"] = cost(read, seconds.get("pretrain", 0.0), 6 * used * read) | device
    sampled = sum(row.get("tokens", 0) for row in rows if row["phase"] == "rl")
    if sampled:
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
        flops = (8 + 2 * config["rl"]["recompute"]) * used * sampled
        found["reinforcement learning"] = cost(sampled, seconds.get("rl", 0.0), flops) | device
    return found


# ---------------------------------------------------------------- the command


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "minir1 tables", description="Tables beside the published ones.", allow_abbrev=False
    )
    add = parser.add_argument
    add(
        "checkpoint", metavar="CHECKPOINT", type=Path,
        help="a policy such as runs/gpu-0/checkpoints/zero.pt",
    )
    add("--base", type=Path, help="the base it was trained from, to stand beside it")
    add("--out", type=Path, required=True, help="folder for tables.json, tables.md and plots")
    add(
        "--puzzles", default="3to4", choices=tuple(DISTRIBUTIONS),
        help="what pass@k and temperatures are measured on (default: 3to4)",
    )
    add(
        "--budget", type=int, default=4096,
        help="longest response; what the model has room for, if that is less (default: 4096)",
    )
    add(
        "--only", type=lambda text: text.split(","), default=list(SECTIONS),
        help=f"of {', '.join(SECTIONS)}",
    )
    add("--quick", action="store_true", help="few problems: a trial")
    add(
        "--problems", type=int, default=2048,
        help="problems of a kind at most; 512 is a size for a CPU (default: 2048)",
    )
    add("--device", default="auto", help="auto, cpu, cuda or mps")
    return parser


def main(arguments: list[str]) -> None:
    """Raises UserError.

    Sections that OUT/tables.json holds already, and --only does not name, are kept.
    """
    given = cli.parse(build_parser(), arguments)
    unknown = [name for name in given.only if name not in SECTIONS]
    if unknown or min(given.budget, given.problems) < 1:
        raise UserError(
            f"--only: no section {unknown[0]!r}"
            if unknown
            else "--budget and --problems must be at least 1"
        )
    sizes = (
        QUICK
        if given.quick
        else {k: n if k == "samples" else min(n, given.problems) for k, n in SIZES.items()}
    )
    paths = {"zero": given.checkpoint} | ({"base": given.base} if given.base else {})
    desks = {side: AskedModel(path, given.device, given.budget) for side, path in paths.items()}
    path = given.out / "tables.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    everything, used = parameter_counts(desks["zero"].model)
    found = {
        "checkpoint": str(given.checkpoint), "base": str(given.base or ""),
        "device": str(desks["zero"].device),
        "date": time.strftime("%Y-%m-%d"),
        "command": "python -m minir1 tables " + " ".join(arguments), "quick": given.quick,
        "parameters": everything, "used_per_token": used, "budget": desks["zero"].budget,
        "training": training_cost(given.checkpoint, used), "sections": kept.get("sections", {}),
        "asking": kept.get("asking", {}),
    }  # fmt: skip
    for name in given.only:
        before = sum(d.tokens for d in desks.values()), sum(d.seconds for d in desks.values())
        found["sections"][name] = SECTIONS[name](desks, sizes, given.puzzles)
        tokens, seconds = (
            sum(getattr(d, key) for d in desks.values()) - b
            for key, b in zip(("tokens", "seconds"), before)
        )
        found["asking"][name] = cost(tokens, seconds, 2 * used * tokens) | {
            "device": found["device"], "command": found["command"],
        }
        write_text(path, json.dumps(found, indent=1))
        print(f"{name}: {tokens:,} tokens in {seconds:.0f} s", flush=True)
    write_text(given.out / "tables.md", tables_page.page(found))
    for picture in tables_page.draw(found, given.out):
        print(f"wrote {picture}")
    print(f"wrote {path} and {given.out / 'tables.md'}")
