"""How fast is it, how far from the machine's limits, and how do others fare: all in one run, on the machine at hand.

    python -m minir1 bench                        the preset that fits this machine
    python -m minir1 bench --preset cpu --out results/bench/cpu.json
    python -m minir1 bench --curves --out curves.json    speed and memory against batch, length and model size (bench_curves.py)

Measured one after another: the ceilings (copying, matrix products, launches), generating responses of a fixed length
(this engine, the plain loop, transformers), responses as they come in RL, one whole RL step (ours and TRL's), and
pretraining. What is not installed is left out, saying so. Operations count what a token needs: twice the parameters
it uses, and attention; that the fused decoder computes every expert is its own affair.
"""

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from minir1.checkpoint import load_checkpoint
from minir1.config import Config, ModelConfig, UserError, apply, replace
from minir1.console.files import write_text
from minir1.corpus.mixture import sample_text
from minir1.experiments.bench import others as bench_others
from minir1.fast.accelerate import accelerate, make_sampler
from minir1.fast.device import Device, make_learner, pick_device
from minir1.fast.engine import Engine
from minir1.grpo import advantages, update
from minir1.model import Transformer
from minir1.presets import PRESETS
from minir1.rollout import roll_out, to_batch
from minir1.run.costs import parameter_counts
from minir1.sampler import Sampling, sample
from minir1.supervised import train_supervised
from minir1.tasks import draw_problems
from minir1.tokenizer import Tokenizer
from minir1.transcript import prompt

# preset: prompts, responses to each, tokens of each, responses through the queue, slots for them, matrix width, copied MB
SHAPES = {"gpu": (64, 16, 256, 16_384, 512, 8192, 1024), "cpu": (8, 8, 64, 512, 64, 2048, 256)}


class Stopwatch:
    """Seconds of a piece of work: the median of some repeats after one to warm up, the device waited for."""

    def __init__(self, device: str):
        self.wait = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(device, lambda: None)

    def __call__(self, work: Callable[[], object], repeats: int = 3) -> float:
        work()
        seconds = []
        for _ in range(repeats):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds)


# ---------------------------------------------------------------- counting


def operations(c: ModelConfig, used: int, context: float) -> float:
    """Operations of one token's forward pass that looks back on `context` tokens.

    >>> c = ModelConfig(layers=1, heads=1, nope_width=2, rope_width=1, value_width=2)
    >>> operations(c, used=100, context=10)
    300
    """
    head = c.nope_width + c.rope_width + c.value_width if c.attention == "mla" else 2 * c.head_width
    return 2 * used + 2 * c.layers * c.heads * head * context


def decode_bytes(c: ModelConfig, everything: int, rows: int, context: float, width: int) -> float:
    """Bytes one decoding step must read: all weights once, and each row's cache."""
    return width * (everything + rows * context * c.layers * c.cache_width)


# ---------------------------------------------------------------- ceilings


def ceilings(device: Device, clock: Stopwatch, matrix: int, megabytes: int) -> dict[str, float]:
    a = torch.empty(megabytes << 18, dtype=torch.float32, device=device.name)
    b = torch.empty_like(a)
    x = torch.randn(matrix, matrix, device=device.name, dtype=device.dtype)
    tiny = torch.zeros(1, device=device.name)

    def launches() -> None:
        for _ in range(1000):
            tiny.add_(1)

    found = {
        "copy_GB_s": 2 * a.nbytes / clock(lambda: b.copy_(a)) / 1e9,
        "matrix_TFLOP_s": 2 * matrix**3 / clock(lambda: x @ x) / 1e12,
        "launches_M_s": 1e-3 / clock(launches),
    }
    if device.name == "cuda":
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            launches()
        found["graph_launches_M_s"] = 1e-3 / clock(graph.replay)
    return found


# ---------------------------------------------------------------- what is measured


class Bench:
    def __init__(self, config: Config, checkpoint: Path | None):
        self.config, self.device = config, pick_device(config)
        torch.backends.cuda.enable_cudnn_sdp(False)
        torch.manual_seed(0)
        if checkpoint:
            self.model, self.tokenizer = load_checkpoint(checkpoint, self.device.name)
        else:
            self.tokenizer = Tokenizer.train(sample_text(config.corpus, 0, 5000), config.corpus.vocab_size)
            shape = replace(config.model, vocab_size=-(-len(self.tokenizer) // 64) * 64)
            self.model = Transformer(shape).to(self.device.name).eval()
        self.trained = checkpoint is not None
        self.clock, self.shape = Stopwatch(self.device.name), SHAPES["gpu" if self.device.name == "cuda" else "cpu"]
        self.everything, self.used = parameter_counts(self.model)
        self.problems = draw_problems(config.rl.tasks[:1], ("en",), "validation", "bench", 1024)
        self.ids = [self.tokenizer.encode(prompt(p.question())) for p in self.problems]

    def fixed(self, tokens: int) -> Sampling:
        """Responses that cannot stop."""
        return Sampling(tokens, (self.tokenizer.pad,), ban_ids=(self.tokenizer.end, self.tokenizer.pad))

    def generator(self) -> torch.Generator:
        return torch.Generator(self.device.name).manual_seed(0)

    def generate(self) -> dict[str, dict]:
        """Tokens a second of B responses of exactly T tokens."""
        P, G, T, *_ = self.shape
        shape = apply(self.config, {"rl.prompts": P, "rl.group_size": G, "eval.batch": P * G})
        rows, few, make = {}, min(T, 32), lambda: make_sampler(self.model, self.device, shape)  # noqa: E731
        plans = [("minir1", make(), T), ("minir1, plain loop", sample, few)]
        if self.device.name == "cuda":
            plans.append(("minir1, without kernels of its own", make(), T))
            plans[-1][1].__self__.decoder.use_plain()
        for name, sampler, tokens in plans:
            work = lambda: sampler(self.model, self.ids[:P], G, self.fixed(tokens), self.generator())  # noqa: B023, E731
            rows[name] = {"tokens_s": P * G * tokens / self.clock(work)}
        step = decode_bytes(self.model.config, self.everything, P * G, len(self.ids[0]) + T / 2, self.device.dtype.itemsize)
        rows["minir1"] |= {"bytes_s": step * rows["minir1"]["tokens_s"] / (P * G)}
        rows["minir1"] |= {"operations_s": operations(self.model.config, self.used, T / 2) * rows["minir1"]["tokens_s"]}
        rows |= bench_others.generate(self.model, self.tokenizer, [i for i in self.ids[:P] for _ in range(G)], few, self.clock)
        return rows

    def as_in_rl(self) -> dict[str, dict]:
        """Responses of their own length: one batch that waits for its longest, and a queue through fewer slots."""
        P, G, _, waiting, slots, *_ = self.shape
        settings, rows = Sampling(self.config.rl.max_tokens, self.tokenizer.end_ids), {}
        plans = ("one batch", P, P * G), ("a queue", waiting // G, slots), ("a queue", waiting // G, 4 * slots)
        for name, prompts, places in plans:
            engine = Engine(self.model, self.device.dtype, places, settings.max_tokens, self.config.compile)
            ids = (self.ids * (1 + prompts // len(self.ids)))[:prompts]
            kept, work = [], lambda: kept.append(engine.sample(self.model, ids, G, settings, self.generator()))  # noqa: B023, E731
            seconds = self.clock(work, 1)
            length = kept[-1].length_B.float()
            row = {"tokens_s": length.sum().item() / seconds, "mean": length.mean().item()}
            rows[f"{name}: {len(length)} responses, {places} slots"] = row | {"useful": engine.useful / engine.slot_steps}
        return rows

    def step(self) -> dict[str, dict]:
        """Rollout, scoring and one update of the same shape; every response has an advantage."""
        P, G, T, *_ = self.shape
        config = replace(self.config.rl, prompts=P, group_size=G, minibatches=1)
        model, phases = copy.deepcopy(self.model), {"rollout": 0.0, "update": 0.0}
        learner = make_learner(model, 0.0, config.clip, self.device)
        shape = apply(self.config, {"rl.prompts": P, "rl.group_size": G, "eval.batch": P * G})
        sampler = make_sampler(model, self.device, shape)

        def one() -> None:
            self.clock.wait()
            start = time.perf_counter()
            rollouts = roll_out(model, self.tokenizer, self.problems[:P], G, self.fixed(T), self.generator(), sampler)
            reward_B = torch.tensor(bench_others.share_of_digits(rollouts.texts))
            batch = to_batch(rollouts, self.tokenizer.pad, self.device.name)
            self.clock.wait()
            phases["rollout"], start = time.perf_counter() - start, time.perf_counter()
            update(model, learner, batch, advantages(reward_B.view(P, G)).flatten().to(self.device.name), config, 1e-4)
            self.clock.wait()
            phases["update"] = time.perf_counter() - start

        with accelerate(model, self.device):
            seconds = self.clock(one)
        ours = {"seconds": seconds, "samples_s": P * G / seconds, "tokens_s": P * G * T / seconds, **phases}
        prompts = [prompt(p.question()) for p in self.problems[:P]]
        return {"minir1": ours, **bench_others.trl_steps(self.model, self.tokenizer, prompts, G, T, self.device)}

    def pretrain(self) -> dict[str, dict]:
        """Tokens a second of the supervised loop on random tokens, by what is compiled and captured, and by optimizer; `first`:
        seconds to the end of the first step, with the compiler's work if nothing of it is on disk."""
        cuda, rows = self.device.name == "cuda", {}
        ways = {"compiled, cudnn, graph": (True, True, True), "compiled, cudnn": (True, False, True)}
        ways |= {"compiled": (True, False, False), "eager": (False, False, False)}
        for name, way in ways.items() if cuda else [("eager", ways["eager"])]:
            for optimizer in ("muon", "adamw") if way[1] or not way[0] else ("muon",):
                rows[f"minir1, {name}, {optimizer}"] = self.train(copy.deepcopy(self.model), optimizer, way, 30 if cuda else 2)
        return rows

    def train(self, model: Transformer, optimizer: str, way: tuple[bool, bool, bool], steps: int) -> dict[str, float]:
        """Tokens a second of `steps` supervised steps after as many; `way`: compiled, gradients from a graph, cuDNN's attention."""
        p, (compiled, graph, cudnn) = self.config.pretrain, way
        shape = p.batch_tokens // p.row_tokens, p.row_tokens + 1
        ids = torch.randint(model.config.vocab_size, shape, device=self.device.name)
        learner = make_learner(model, p.weight_decay, p.clip, self.device, optimizer)
        work = lambda n: train_supervised(model, learner, ((ids, None) for _ in range(n)), p, n, lambda step: None)  # noqa: E731
        torch._dynamo.reset()
        with accelerate(model, self.device, compiled, learner if graph else None, cudnn):
            start = time.perf_counter()
            work(1)
            self.clock.wait()
            first = time.perf_counter() - start
            rate = steps * p.batch_tokens / self.clock(lambda: work(steps), 1)
        flops = 3 * operations(model.config, parameter_counts(model)[1], p.row_tokens / 2)
        return {"tokens_s": rate, "operations_s": flops * rate, "first": first}


# ---------------------------------------------------------------- the table


def about(bench: Bench) -> dict:
    """Where and when, and the machine's limits."""
    found = {"device": str(bench.device), "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}
    found["command"] = "python -m minir1 bench " + " ".join(sys.argv[2:])
    return found | {"ceilings": ceilings(bench.device, bench.clock, *bench.shape[5:])}


def measure(config: Config, checkpoint: Path | None) -> dict:
    bench = Bench(config, checkpoint)
    print(f"minir1 bench: {bench.device}, torch {torch.__version__}, {bench.everything / 1e6:.1f} M parameters", flush=True)
    found = about(bench) | {"shape": list(bench.shape), "parameters": [bench.everything, bench.used]}
    parts = {"generate": bench.generate, "as_in_rl": bench.as_in_rl, "step": bench.step, "pretrain": bench.pretrain}
    for name, part in parts.items():
        if name == "as_in_rl" and not bench.trained:
            print("as_in_rl: left out, only a trained model stops by itself (give a CHECKPOINT)")
            continue
        found[name] = part()
        print("\n".join(show(name, found[name], found["ceilings"])), flush=True)
    return found


def show(part: str, rows: dict[str, dict], limits: dict[str, float]) -> list[str]:
    """A part's rows in words, ratios against the first."""
    first, lines = next(iter(rows.values())), [part]
    for name, row in rows.items():
        if "left_out" in row:
            lines.append(f"  {name}: left out, {row['left_out']}")
            continue
        text = [f"{row['tokens_s'] / 1e3:10.1f} k tokens/s", f"{first['tokens_s'] / row['tokens_s']:6.2f} x"]
        also = ("samples_s", "seconds", "rollout", "update", "mean", "useful", "first")
        text += [f"{key} {row[key]:.3g}" for key in also if key in row]
        if "bytes_s" in row:
            text.append(f"{100 * row['bytes_s'] / limits['copy_GB_s'] / 1e9:.1f}% of the copy rate")
        if "operations_s" in row:
            text.append(f"{100 * row['operations_s'] / limits['matrix_TFLOP_s'] / 1e12:.1f}% of the matrix rate")
        lines.append(f"  {name:<44}" + ", ".join(text))
    return lines


def main(arguments: list[str]) -> None:
    """`[CHECKPOINT] [--preset P] [--device D] [--curves] [--out FILE]`. Raises UserError for wrong arguments."""
    parser = argparse.ArgumentParser("minir1 bench", description="Speed, beside others and beside the machine's limits.")
    parser.add_argument("checkpoint", nargs="?", type=Path, metavar="CHECKPOINT", help="a trained model; random weights without")
    parser.add_argument("--preset", choices=sorted(PRESETS), help="shapes and settings; chosen by the machine when not given")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch's choice")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--curves", action="store_true", help="speed and memory against batch, length and model size instead")
    parser.error = lambda message: (_ for _ in ()).throw(UserError(f"{message} (see minir1 bench --help)"))
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    preset = given.preset or ("gpu" if torch.cuda.is_available() else "cpu")
    config = replace(PRESETS[preset], device=given.device)
    if given.curves:
        from minir1.experiments.bench import curves as bench_curves  # here, because it builds on this module

        return bench_curves.run(config, given.checkpoint, given.out)
    found = measure(config, given.checkpoint)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(given.out, json.dumps(found, indent=1))
