"""Can RL compose what its base can only do one by one? One file: task, corpora, arms, counts.

    python results/composition/composition.py run --out OUT --work WORK --processes 8
    python results/composition/composition.py draw --out OUT

A problem is a string and functions to apply, the first one first: "r s ABCDEF" asks to reverse,
then to swap the first two letters: EFDCBA. The base reads about single functions; a corpus may add
lists of independent questions, and compositions of some pairs at a known rate. RL practises single
functions ("below"), compositions of the practised pairs ("at"), or both. Each model then answers
pairs that nothing ever showed or practised, and three functions in a row.

`run` makes every cell of CORPORA x ARMS x seeds that OUT does not hold yet, one file each.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from itertools import combinations, product
from math import e, factorial, log10, prod
from pathlib import Path
from random import Random
from statistics import mean, median
from typing import ClassVar

import numpy as np
import torch

from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import (
    Config,
    CorpusConfig,
    EvalConfig,
    ModelConfig,
    PretrainConfig,
    RLConfig,
)
from minir1.console.files import write_text
from minir1.corpus import mixture
from minir1.experiments.studies import verdicts
from minir1.fast.accelerate import make_sampler
from minir1.fast.device import pick_device
from minir1.measure.statistics import powers
from minir1.model import Transformer, token_logp
from minir1.report import drawing
from minir1.run.phases import R1_ZERO, MiniWeb, RLPhase, pretrain, training_problems
from minir1.run.session import Session
from minir1.sampler import pad
from minir1.tasks import Task, draw_problems
from minir1.tasks.countdown import split_of
from minir1.transcript import ANSWER, ANSWER_END, END, THINK, THINK_END, parse, prompt, render
from train_zero import reinforce

HERE = Path(__file__).resolve()
LETTERS = "ABCDEFGHIJ"

# ---------------------------------------------------------------- functions


def next_letters(text: str) -> str:
    """
    >>> next_letters("AIJ")
    'BJA'
    """
    return "".join(LETTERS[(LETTERS.index(c) + 1) % len(LETTERS)] for c in text)


FUNCTIONS: dict[str, Callable[[str], str]] = {
    "r": lambda x: x[::-1],  # reverse
    "l": lambda x: x[1:] + x[:1],  # rotate left
    "s": lambda x: x[1::-1] + x[2:],  # swap the first two
    "w": lambda x: x[-1:] + x[1:-1] + x[:1] if x[1:] else x,  # swap the first and the last
    "d": lambda x: x + x[-1:],  # double the last
    "x": lambda x: x[1:],  # drop the first
    "v": lambda x: "".join(c for c in x if c not in "AEI"),  # drop vowels
    "n": next_letters,
}
LENGTHS = (5, 6)
FOLDS = 3  # ways to divide the pairs into practised and held-out ones
KINDS = ("single", "practised", "held", "triple")


def apply(names: str, text: str) -> str:
    """The functions in the order in which they stand.

    >>> apply("rs", "ABCDEF"), apply("v", "ABE")
    ('EFDCBA', 'B')
    """
    for name in names:
        text = FUNCTIONS[name](text)
    return text


def practised_pairs(fold: int) -> frozenset[str]:
    """Half of the pairs, in both orders. Each function is in pairs of both halves, and no function
    is made by pairs of both: what commutes stays together, and so do "lw" and "sl", the only two
    other pairs that are the same."""
    pairs = list(combinations(FUNCTIONS, 2))
    rng = Random(f"pairs {fold}")
    while True:
        rng.shuffle(pairs)
        half = len(pairs) // 2
        parts = pairs[:half], pairs[half:]
        together = (("l", "s") in parts[0]) == (("l", "w") in parts[0])
        if together and all(len(set(sum(part, ()))) == len(FUNCTIONS) for part in parts):
            return frozenset(order for a, b in parts[0] for order in (a + b, b + a))


@lru_cache
def programs(kind: str) -> tuple[str, ...]:
    """What a kind of problem applies, such as "rs" for "practised-0" where that pair is."""
    part, _, fold = kind.partition("-")
    pairs = [a + b for a in FUNCTIONS for b in FUNCTIONS if a != b]
    if part == "single":
        return tuple(FUNCTIONS)
    practised = practised_pairs(int(fold))
    if part == "practised":
        return tuple(sorted(practised))
    held = tuple(sorted(set(pairs) - practised))
    if part == "held":
        return held
    short = [*FUNCTIONS, *pairs, *(2 * name for name in FUNCTIONS)]
    shorter = {behaviour(names) for names in short}
    chains = [pair + name for pair in held for name in FUNCTIONS if pair[1] + name in held]
    return tuple(names for names in chains if behaviour(names) not in shorter)


def behaviour(names: str) -> tuple[str, ...]:
    """What functions do to a hundred strings: equal for equal functions."""
    rng = Random("behaviour")
    texts = ("".join(rng.choices(LETTERS, k=rng.choice(LENGTHS))) for _ in range(100))
    return tuple(apply(names, text) for text in texts)


def shortcuts(names: str) -> set[str]:
    """Programs that leave functions out, the empty one included, and other orders of a pair.

    >>> sorted(shortcuts("rs"))
    ['', 'r', 's', 'sr']
    """
    parts = {""}
    for name in names:
        parts |= {part + name for part in parts}
    return parts - {names} | ({names[::-1]} if len(names) == 2 else set())


# ---------------------------------------------------------------- the task


@dataclass(frozen=True)
class Strings:
    """Apply the functions `names`, one letter each, to `text`."""

    names: str
    text: str
    lang: str = "en"
    id: str = ""
    task: ClassVar[str] = "strings"

    def question(self) -> str:
        return f"{' '.join(self.names)} {self.text}"

    @property
    def solution(self) -> str:
        return apply(self.names, self.text)

    def verify(self, answer: str) -> bool:
        return answer.strip() == self.solution

    def split(self) -> str:
        return split_of(f"strings {self.text}")

    def to_json(self) -> dict:
        return {"task": str(HERE), **asdict(self)}

    def trace(self) -> str:
        """The thought that applies one function a line."""
        lines, text = [], self.text
        for name in self.names:
            lines.append(f"{name} {text}={FUNCTIONS[name](text)}")
            text = FUNCTIONS[name](text)
        return "\n".join(lines)


def read(line: dict) -> Strings:
    names, text = line.get("names"), line.get("text")
    if not isinstance(names, str) or not names or set(names) - set(FUNCTIONS):
        raise ValueError('"names" must be letters of functions')
    if not isinstance(text, str) or len(text) < 2 or set(text) - set(LETTERS):
        raise ValueError('"text" must be letters from A to J')
    return Strings(names, text, id=str(line.get("id", "")))


def sample(rng: Random, kind: str, split: str, lang: str = "en") -> Strings:
    """Every function counts: leaving any of them out gives something else. No string on the way is
    shorter than two letters."""
    choices = programs(kind)
    while True:
        names = rng.choice(choices)
        text = "".join(rng.choices(LETTERS, k=rng.choice(LENGTHS)))
        problem = Strings(names, text)
        other = {apply(short, text) for short in shortcuts(names) if short != names[::-1]}
        shortest = min(len(apply(names[: i + 1], text)) for i in range(len(names)))
        if problem.split() == split and problem.solution not in other and shortest > 1:
            return problem


TASK = Task("strings", tuple(f"{k}-{f}" for k in KINDS for f in range(FOLDS)), sample, read)

# ---------------------------------------------------------------- what bases read


@dataclass(frozen=True)
class Diet:
    """Shares of documents; what is left shows single functions."""

    lists: float = 0.0  # two or three independent questions in one document
    twice: float = 0.0  # one function applied twice: a chain, but never of two functions
    shown: float = 0.0  # compositions of the practised pairs
    direct: float = 0.4  # of each kind: answered without a thought


CORPORA = {
    "lists": Diet(lists=0.3),
    "twice": Diet(lists=0.3, twice=0.1),
    "shown-0.1": Diet(lists=0.3, shown=0.001),
    "shown-1": Diet(lists=0.3, shown=0.01),
}


def write(rng: Random, corpus: CorpusConfig, diet: Diet, fold: int) -> str:
    """One document about training strings."""
    shares = (diet.lists, diet.twice, diet.shown)
    (kind,) = rng.choices(
        ("lists", "twice", "shown", "single"), (*shares, max(0.0, 1 - sum(shares)))
    )
    if kind == "shown":
        parts = [sample(rng, f"practised-{fold}", "train")]
    else:
        count = rng.choice((2, 3)) if kind == "lists" else 1
        parts = [sample(rng, f"single-{fold}", "train") for _ in range(count)]
    if kind == "twice":
        parts = [replace(part, names=2 * part.names) for part in parts]
    question = ", ".join(part.question() for part in parts)
    answer = ", ".join(part.solution for part in parts)
    thought = "\n".join(part.trace() for part in parts)
    return render(question, answer, None if rng.random() < diet.direct else thought)


def template_words(corpus: CorpusConfig, seed: int, documents: int) -> list[str]:
    """What the tokenizer learns from: the template becomes few tokens, capitals stay letters."""
    return ["User: \nAssistant: " + "".join(f"{name} " for name in FUNCTIONS)]


def reader(config: Config, diet: Diet) -> MiniWeb:
    document = partial(write, diet=diet, fold=config.seed % FOLDS)
    return MiniWeb(config, template_words, partial(mixture.shard, document=document))


# ---------------------------------------------------------------- arms

ARMS = {
    "below": {"single": 1.0},
    "at": {"practised": 1.0},
    "both": {"single": 0.5, "practised": 0.5},
}


@dataclass(frozen=True)
class Size:
    """How much one campaign does."""

    read: int = 4_000_000  # tokens
    steps: int = 150  # of RL
    prompts: int = 32  # a step, 16 responses to each
    problems: int = 56  # of each suite
    samples: int = 256  # of each problem; of single functions an eighth


SMOKE = Size(read=49_152, steps=2, prompts=2, problems=4, samples=8)
SHAPE = ModelConfig(
    width=96, layers=3, heads=4, kv_rank=36, nope_width=18, rope_width=6, value_width=24,
    dense_width=288, experts=0, positions=512,
)


def settings(seed: int, size: Size, arm: str = "at") -> Config:
    """Form earns nothing, as in the study `create`."""
    shares = ARMS.get(arm, ARMS["at"]).items()
    tasks = tuple(f"{HERE}:{kind}-{seed % FOLDS}={share}" for kind, share in shares)
    return Config(
        seed=seed, device="cpu", threads=1, model=SHAPE,
        corpus=CorpusConfig(vocab_size=320, workers=1, shard_tokens=100_000),
        pretrain=PretrainConfig(tokens=size.read, batch_tokens=3_072, row_tokens=128),
        rl=RLConfig(
            steps=size.steps, prompts=size.prompts, group_size=16, max_tokens=96, lr=2e-4,
            format_reward=0.0, tasks=tasks, train_tokens=6_144,
        ),
        eval=EvalConfig(batch=512),
    )


def open_session(config: Config, tokenizer=None) -> Session:
    torch.set_num_threads(1)
    return Session.unsaved(config, pick_device(config), tokenizer)


def make_base(diet: Diet, seed: int, size: Size) -> tuple[Transformer, Session]:
    session = open_session(settings(seed, size))
    model = pretrain(session, SHAPE, reader(session.config, diet))
    return model, session


def practise(session: Session, base: Transformer, arm: str) -> tuple[Transformer, list]:
    """One arm of RL by the loop of train_zero.py, and [step, right, tokens] of its steps."""
    rl, curve = session.config.rl, []

    def note(step: int, phase: RLPhase, rollouts, stats: dict) -> None:
        right = sum(reward.accuracy for reward in rollouts.rewards) / len(rollouts.rewards)
        tokens = sum(rollouts.lengths()) / len(rollouts.rewards)
        curve.append([step, round(right, 4), round(tokens, 2), round(float(stats["signal"]), 3)])

    draw = training_problems(session.config, rl, arm)
    parts = replace(R1_ZERO, after=note)
    return reinforce(RLPhase(session, base, arm, rl, draw, parts)), curve


# ---------------------------------------------------------------- counts


def suite(kind: str, seed: int, count: int) -> list[Strings]:
    """Test problems, the same for all models of a seed."""
    tasks = (f"{HERE}:{kind}-{seed % FOLDS}=1",)
    return draw_problems(tasks, ("en",), "test", f"composition {seed} {kind}", count)


def counts(session: Session, model: Transformer, kind: str, size: Size) -> dict:
    """How often each problem is answered right, and right with its trace; what wrong answers are.

    Lists have an entry a problem. `trace_log10` is the exact log-probability of the response that
    applies one function a line: a lower bound of the chance to be right.
    """
    config = session.config
    problems = suite(kind, config.seed, size.problems)
    samples = size.samples if kind in ("held", "triple") else size.samples // 8
    evaluator = session.evaluator(make_sampler(model, session.device, config, session.tokenizer))
    right, traced, answers, tokens = [], [], Counter(), 0
    for rollouts in evaluator.batches(model, problems, samples, config.seed):
        tokens += sum(rollouts.lengths())
        for i, problem in enumerate(rollouts.problems):
            rows = range(i * samples, (i + 1) * samples)
            texts = [rollouts.texts[row] for row in rows]
            hits = [rollouts.texts[row] for row in rows if rollouts.rewards[row].accuracy]
            right.append(len(hits))
            traced.append(sum(parse(text).think == problem.trace() for text in hits))
            answers.update(what_it_did(problem, text) for text in texts)
    return {
        "problems": [[problem.names, problem.text] for problem in problems],
        "samples": samples, "right": right, "traced": traced, "answers": dict(answers),
        "tokens": tokens / len(problems) / samples,
        "trace_log10": trace_chances(session, model, problems),
    }


def what_it_did(problem: Strings, response: str) -> str:
    """right, the shortcut that the answer is ("" is a copy), other, or nothing readable."""
    _, answer, well_formed = parse(response)
    if not well_formed or answer is None:
        return "unreadable"
    if problem.verify(answer):
        return "right"
    for short in sorted(shortcuts(problem.names), key=lambda s: (len(s), s)):
        if answer == apply(short, problem.text):
            return roles(problem.names, short)
    return "other"


def roles(names: str, short: str) -> str:
    """
    >>> roles("rs", "s"), roles("rs", "sr"), roles("rsd", "rd"), roles("rs", "")
    ('only 2', 'only 21', 'only 13', 'copy')
    """
    return "only " + "".join(str(names.index(name) + 1) for name in short) if short else "copy"


def trace_chances(session: Session, model: Transformer, problems: list[Strings]) -> list[float]:
    """log10 of the chance that the model writes a problem's trace and answer, token by token."""
    written = [response(problem.trace(), problem.solution) for problem in problems]
    return chances(session, model, [problem.question() for problem in problems], written)


def response(thought: str, answer: str) -> str:
    return f"{THINK}{thought}{THINK_END}{ANSWER}{answer}{ANSWER_END}{END}"


@torch.no_grad()
def chances(
    session: Session, model: Transformer, questions: list[str], responses: list[str]
) -> list[float]:
    """log10 of the chance of each response to its question."""
    codec = session.tokenizer
    asked = [codec.encode(prompt(question)) for question in questions]
    told = [codec.encode(text) for text in responses]
    ids_BT = pad([q + r for q, r in zip(asked, told)], codec.pad)
    logp_BT, _ = token_logp(model, ids_BT)
    spans = [(len(q) - 1, len(q) + len(r) - 1) for q, r in zip(asked, told)]
    sums = [logp_BT[row, first:last].sum().item() for row, (first, last) in enumerate(spans)]
    return [round(nats * log10(e), 3) for nats in sums]


# ---------------------------------------------------------------- one cell


def base_path(work: Path, corpus: str, seed: int) -> Path:
    return work / f"{corpus}-{seed}.pt"


def cell(corpus: str, seed: int, arm: str, size: Size, work: Path) -> dict:
    """The base of a corpus, or what one arm makes of it, measured."""
    path, start = base_path(work, corpus, seed), time.time()
    work.mkdir(parents=True, exist_ok=True)
    if arm == "base" and not path.is_file():
        model, session = make_base(CORPORA[corpus], seed, size)
        save_checkpoint(path, model, session.tokenizer)
    model, tokenizer = load_checkpoint(path)
    session = open_session(settings(seed, size, arm), tokenizer)
    curve = []
    if arm != "base":
        model, curve = practise(session, model, arm)
    trained = time.time() - start
    measured = {kind: counts(session, model.eval(), kind, size) for kind in KINDS}
    return {
        "corpus": corpus, "seed": seed, "arm": arm, "size": asdict(size),
        "parameters": sum(p.numel() for p in model.parameters()), "curve": curve,
        "seconds": [round(trained, 1), round(time.time() - start - trained, 1)], "suites": measured,
    }


# ---------------------------------------------------------------- the campaign


def cell_path(out: Path, corpus: str, seed: int, arm: str) -> Path:
    return out / "cells" / f"{corpus}-{seed}-{arm}.json"


def start_cell(arguments: argparse.Namespace, corpus: str, seed: int, arm: str) -> bool:
    """In a process of its own, one thread; whether its file is there in the end."""
    path = cell_path(arguments.out, corpus, seed, arm)
    known = arm != "base" or base_path(arguments.work, corpus, seed).is_file()
    if path.is_file() and known:
        return True
    left = arguments.deadline - time.time()
    if left <= 0:
        return False
    command = [sys.executable, str(HERE), "cell", "--corpus", corpus, "--seed", str(seed)]
    command += ["--arm", arm, "--out", str(arguments.out), "--work", str(arguments.work)]
    command += ["--smoke"] * arguments.smoke
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    one["PYTHONPATH"] = os.environ.get("PYTHONPATH", str(HERE.parents[2]))
    with (arguments.work / f"{path.stem}.log").open("w") as file:
        try:
            how = {"env": os.environ | one, "stdout": file, "stderr": file, "timeout": left}
            status = subprocess.run(command, **how).returncode
        except subprocess.TimeoutExpired:
            status = "out of time"
    print(f"{time.strftime('%H:%M:%S')} {path.stem}: {status}", flush=True)
    return path.is_file()


def run(arguments: argparse.Namespace) -> int:
    """Bases first, in the order of seeds; each base's arms follow it. 0 if every cell is there."""
    arguments.out, arguments.work = arguments.out.resolve(), arguments.work.resolve()
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.deadline = time.time() + 60 * arguments.minutes
    with ThreadPoolExecutor(arguments.processes) as pool:
        bases, arms = {}, []
        for seed in arguments.seeds:
            for corpus in arguments.corpora:
                bases[corpus, seed] = pool.submit(start_cell, arguments, corpus, seed, "base")
        for (corpus, seed), base in bases.items():
            if base.result():
                arms += [pool.submit(start_cell, arguments, corpus, seed, arm) for arm in ARMS]
        whole = all(cell.result() for cell in [*bases.values(), *arms])
    return 0 if whole else 1


# ---------------------------------------------------------------- what the counts say

KEYS = {"right": "answers", "traced": "by its trace"}


def load_cells(out: Path, place: Callable[[dict], tuple]) -> list[dict]:
    """Those of OUT/cells.jsonl and of OUT/cells, which are added to that file, in the order of
    their places."""
    file = out / "cells.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    lines += [path.read_text(encoding="utf-8") for path in (out / "cells").glob("*.json")]
    kept = {place(cell): cell for cell in map(json.loads, lines)}
    cells = [kept[key] for key in sorted(kept)]
    write_text(file, "".join(json.dumps(cell, separators=(",", ":")) + "\n" for cell in cells))
    return cells


def place(cell: dict) -> tuple:
    arms = ["base", *ARMS]
    return list(CORPORA).index(cell["corpus"]), cell["seed"], arms.index(cell["arm"])


def floors(problems: list[Strings], k: int) -> dict[str, list[float]]:
    """pass@1 and pass@k of blind answers, by name, k of them drawn anew.

    >>> floors([Strings("rs", "ABC")], 2)["right letters, any order"]
    [0.16666666666666666, 0.30555555555555547]
    """
    chances = {
        "right length, any letters": [len(LETTERS) ** -len(p.solution) for p in problems],
        "right letters, any order": [1 / orders(p.solution) for p in problems],
        "as many functions, any": [program_chance(p) for p in problems],
    }
    found = {}
    for name, chance in chances.items():
        found[name] = [mean(chance), mean(1 - (1 - c) ** k for c in chance)]
    names = {"first alone": lambda n: n[0], "last alone": lambda n: n[-1]}
    for name, which in (names | {"other order": lambda n: n[::-1]}).items():
        hits = mean(p.solution == apply(which(p.names), p.text) for p in problems)
        found[name] = [hits, hits]
    return found


def orders(text: str) -> int:
    """
    >>> orders("AAB")
    3
    """
    return factorial(len(text)) // prod(factorial(n) for n in Counter(text).values())


def program_chance(problem: Strings) -> float:
    """That as many functions as are asked for, each drawn at random, give the right answer."""
    programs = list(product(FUNCTIONS, repeat=len(problem.names)))
    return mean(apply("".join(p), problem.text) == problem.solution for p in programs)


def compare(pairs: list[tuple[dict, dict]], level: float) -> dict:
    """Base and policy of each seed on one suite."""
    row = {"seeds": len(pairs)}
    for key in KEYS:
        before_SPK, after_SPK = (
            np.array([verdicts.curve(pair[i], key) for pair in pairs]) for i in (0, 1)
        )
        _, low_K, high_K = verdicts.gain(before_SPK, after_SPK, level)
        for place, name in ((0, "1"), (-1, "k")):
            both = [x[..., place].mean(1).tolist() for x in (before_SPK, after_SPK)]
            row[f"{key}@{name}"] = {"base": both[0], "policy": both[1]}
            row[f"{key}@{name}"]["gain"] = [float(low_K[place]), float(high_K[place])]
        row[f"{key}: RL"] = verdicts.verdict(low_K, high_K)
    for name, i in (("base", 0), ("policy", 1)):
        row[f"trace_log10 {name}"] = median(x for pair in pairs for x in pair[i]["trace_log10"])
    if all(len(names) == 2 for names, _ in pairs[0][0]["problems"]):
        row["ordered@1"] = {
            "base": [ordered(base, base) for base, _ in pairs],
            "policy": [ordered(base, policy) for base, policy in pairs],
        }
    return row | what_is_new(pairs)


def ordered(asked: dict, suite: dict) -> float:
    """pass@1 on those problems where the other order of the two gives something else."""
    shares = [
        right / suite["samples"]
        for (names, text), right in zip(asked["problems"], suite["right"])
        if apply(names, text) != apply(names[::-1], text)
    ]
    return mean(shares) if shares else 0.0


RARE = -4.0  # log10: expected once in 10,000 samples


def what_is_new(pairs: list[tuple[dict, dict]]) -> dict:
    """Problems that the base never answers right, or whose trace it writes less than once in
    10,000 samples; and how many of them the policy answers, or traces, in most samples."""
    never = new = rare = traced = 0
    for base, policy in pairs:
        most = policy["samples"] / 2
        for before, after in zip(base["right"], policy["right"]):
            never, new = never + (before == 0), new + (before == 0 and after > most)
        for before, after in zip(base["trace_log10"], policy["traced"]):
            rare, traced = rare + (before < RARE), traced + (before < RARE and after > most)
    problems = sum(len(base["right"]) for base, _ in pairs)
    return {
        "problems": problems, "never right": never, "then mostly right": new,
        "rarely traced": rare, "then mostly traced": traced,
        "traced by the base": sum(t > 0 for base, _ in pairs for t in base["traced"]),
        "traced by the policy": sum(t > 0 for _, policy in pairs for t in policy["traced"]),
    }


def summarise(cells: list[dict]) -> dict:
    """Floors, what each base does, and a row for each corpus, suite and arm."""
    made = {(c["corpus"], c["seed"], c["arm"]): c for c in cells}
    seeds = sorted({c["seed"] for c in cells})
    corpora = [name for name in CORPORA if any(c["corpus"] == name for c in cells)]
    level = verdicts.LEVEL / (len(corpora) * len(ARMS) * len(KINDS) * len(KEYS))
    rows, bases = [], {}
    for corpus in corpora:
        own = [made[corpus, seed, "base"] for seed in seeds if (corpus, seed, "base") in made]
        bases[corpus] = {kind: kind_of_base(own, kind) for kind in KINDS}
        for arm, kind in product(ARMS, KINDS):
            pairs = []
            for base in own:
                policy = made.get((corpus, base["seed"], arm))
                if policy:
                    pairs.append((base["suites"][kind], policy["suites"][kind]))
            if pairs:
                row = {"corpus": corpus, "arm": arm, "suite": kind}
                rows.append(row | compare(pairs, level))
    some = {kind: asked(cells, kind) for kind in KINDS}
    blind = {kind: floors(problems, cells[0]["size"]["samples"]) for kind, problems in some.items()}
    return {"size": cells[0]["size"], "floors": blind, "bases": bases, "rows": rows}


def asked(cells: list[dict], kind: str) -> list[Strings]:
    """All problems of a suite, of every seed once."""
    by_seed = {cell["seed"]: cell["suites"][kind]["problems"] for cell in cells}
    return [Strings(*pair) for problems in by_seed.values() for pair in problems]


def kind_of_base(cells: list[dict], kind: str) -> dict:
    """pass@1 of each seed, and shares of what the answers are, over the seeds."""
    suites = [cell["suites"][kind] for cell in cells]
    answers = sum((Counter(suite["answers"]) for suite in suites), Counter())
    return {
        "right@1": [mean(s["right"]) / s["samples"] for s in suites],
        "traced@1": [mean(s["traced"]) / s["samples"] for s in suites],
        "answers": {name: n / answers.total() for name, n in answers.most_common()},
        "trace_log10": median(x for suite in suites for x in suite["trace_log10"]),
    }


LOOKS = {"base": drawing.INK, "below": drawing.SKY, "at": drawing.BLUE, "both": drawing.RED}
PANELS = {
    ("held", "right"): "two functions, right answers",
    ("held", "traced"): "two functions, by true steps",
    ("triple", "traced"): "three functions, by true steps",
}


def draw_figure(summary: dict, cells: list[dict], path: Path) -> None:
    """A column a corpus, a line a policy: pass@k over k. Only seeds that practised."""
    practised = {c["corpus"] for c in cells if c["arm"] == "at"}
    corpora = [name for name in CORPORA if name in practised]
    figure, grid = drawing.figure_of(len(PANELS), len(corpora), (3.4 * len(corpora), 9))
    ks = powers(summary["size"]["samples"])
    for axes, ((kind, key), corpus) in zip(grid, product(PANELS, corpora)):
        drawing.dress(axes, f"{corpus}\n{PANELS[kind, key]}", True, "samples (k)")
        own = [c for c in cells if c["corpus"] == corpus]
        seeds = {c["seed"] for c in own if c["arm"] == "at"}
        for arm, colour in LOOKS.items():
            suites = [c["suites"][kind] for c in own if c["arm"] == arm and c["seed"] in seeds]
            if suites:
                mean_SK = np.array([verdicts.curve(suite, key).mean(0) for suite in suites])
                axes.fill_between(ks, mean_SK.min(0), mean_SK.max(0), color=colour, alpha=0.12)
                axes.plot(ks, mean_SK.mean(0), color=colour, label=arm)
        if key == "right":
            chance_P1 = np.array([program_chance(p) for p in asked(cells, kind)])[:, None]
            blind_K = (1 - (1 - chance_P1) ** np.array(ks)).mean(0)
            blind = {"color": drawing.GREY, "linestyle": ":", "label": "random functions"}
            axes.plot(ks, blind_K, **blind)
        axes.set_xscale("log", base=2)
        axes.set_ylim(0, 1.02)
    handles = {t: h for axes in grid for h, t in zip(*axes.get_legend_handles_labels())}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=5, frameon=False)
    drawing.save(figure, path)


def draw(arguments: argparse.Namespace) -> int:
    cells = load_cells(arguments.out, place)
    summary = summarise(cells)
    write_text(arguments.out / "composition.json", json.dumps(summary, indent=1) + "\n")
    draw_figure(summary, cells, arguments.out / "composition.png")
    for row in summary["rows"]:
        print(line_of(row))
    return 0


def line_of(row: dict) -> str:
    """One row of the summary, in percent, means over seeds."""
    text = f"{row['corpus']:10} {row['arm']:6} {row['suite']:10}"
    for key, at in product(KEYS, "1k"):
        part = row[f"{key}@{at}"]
        text += f" {key}@{at} {100 * mean(part['base']):.2f} -> {100 * mean(part['policy']):.2f}"
    return f"{text}  {row['right: RL']} / {row['traced: RL']}"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("composition", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("run", "cell", "draw"))
    parser.add_argument("--out", type=Path, default=HERE.parent)
    parser.add_argument("--work", type=Path, default=Path("runs/composition"))
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=19.0, help="then unfinished cells end")
    words = {"type": lambda text: text.split(",")}
    parser.add_argument("--corpora", **words, default=list(CORPORA))
    parser.add_argument("--seeds", type=lambda t: [int(s) for s in t.split(",")], default=[0, 1, 2])
    parser.add_argument("--corpus", choices=CORPORA)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arm", choices=("base", *ARMS))
    parser.add_argument("--smoke", action="store_true")
    return parser


def main() -> int:
    a = build_parser().parse_args()
    if a.command == "run":
        return run(a)
    if a.command == "cell":
        result = cell(a.corpus, a.seed, a.arm, SMOKE if a.smoke else Size(), a.work)
        path = cell_path(a.out, a.corpus, a.seed, a.arm)
        write_text(path, json.dumps(result, separators=(",", ":")) + "\n")
    return draw(a) if a.command == "draw" else 0


if __name__ == "__main__":
    sys.exit(main())
