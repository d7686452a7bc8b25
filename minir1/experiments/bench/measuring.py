"""What both kinds of bench need: a clock, counts, the machine's limits, a model to time."""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from minir1.checkpoint import load_checkpoint
from minir1.config import Config, ModelConfig, replace
from minir1.corpus.mixture import sample_text
from minir1.fast.accelerate import accelerate
from minir1.fast.device import Device, make_learner, pick_device
from minir1.model import Transformer
from minir1.rollout import sampling
from minir1.run.costs import parameter_counts
from minir1.sampler import Sampling
from minir1.supervised import train_supervised
from minir1.tasks import draw_problems
from minir1.tokenizer import Tokenizer
from minir1.transcript import prompt


class Shape(NamedTuple):
    """Sizes of what is measured."""

    prompts: int
    group: int  # responses to each
    tokens: int  # of each response
    queued: int  # responses through the queue
    slots: int  # for them
    matrix: int  # width of the square product
    megabytes: int  # copied


SHAPES = {
    "gpu": Shape(64, 16, 256, 16_384, 512, 8192, 1024),
    "cpu": Shape(8, 8, 64, 512, 64, 2048, 256),
}


class Stopwatch:
    """Seconds of a piece of work: the median of some repeats after one to warm up."""

    def __init__(self, device: str):
        waits = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}
        self.wait = waits.get(device, lambda: None)

    def __call__(self, work: Callable[[], object], repeats: int = 3) -> float:
        work()
        return statistics.median(self.once(work) for _ in range(repeats))

    def once(self, work: Callable[[], object]) -> float:
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start


def operations(c: ModelConfig, used: int, context: float) -> float:
    """Operations of one token's forward pass that looks back on `context` tokens.

    >>> c = ModelConfig(layers=1, heads=1, nope_width=2, rope_width=1, value_width=2)
    >>> operations(c, used=100, context=10)
    300
    """
    latent = c.nope_width + c.rope_width + c.value_width
    head = latent if c.attention == "mla" else 2 * c.head_width
    return 2 * used + 2 * c.layers * c.heads * head * context


def decode_bytes(c: ModelConfig, everything: int, rows: int, context: float, width: int) -> float:
    """Bytes one decoding step must read: all weights once, and each row's cache."""
    return width * (everything + rows * context * c.layers * c.cache_width)


def ceilings(device: Device, clock: Stopwatch, matrix: int, megabytes: int) -> dict[str, float]:
    """How fast the machine copies, multiplies and launches."""
    a = torch.empty(megabytes << 18, dtype=torch.float32, device=device.name)
    b = torch.empty_like(a)
    x = torch.randn(matrix, matrix, device=device.name, dtype=device.dtype)
    tiny = torch.zeros(1, device=device.name)

    def launches() -> None:
        for _ in range(1000):
            tiny.add_(1)

    rates = {
        "copy_GB_s": 2 * a.nbytes / clock(lambda: b.copy_(a)) / 1e9,
        "matrix_TFLOP_s": 2 * matrix**3 / clock(lambda: x @ x) / 1e12,
        "launches_M_s": 1e-3 / clock(launches),
    }
    if device.name == "cuda":
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            launches()
        rates["graph_launches_M_s"] = 1e-3 / clock(graph.replay)
    return rates


class Bench:
    """A model on a device (random weights without a checkpoint), and prompts for it."""

    def __init__(self, config: Config, checkpoint: Path | None):
        self.config, self.device = config, pick_device(config)
        torch.backends.cuda.enable_cudnn_sdp(False)
        torch.manual_seed(0)
        if checkpoint:
            self.model, self.tokenizer = load_checkpoint(checkpoint, self.device.name)
        else:
            texts = sample_text(config.corpus, 0, 5000)
            self.tokenizer = Tokenizer.train(texts, config.corpus.vocab_size)
            shape = replace(config.model, vocab_size=-(-len(self.tokenizer) // 64) * 64)
            self.model = Transformer(shape).to(self.device.name).eval()
        self.trained, self.cuda = checkpoint is not None, self.device.name == "cuda"
        self.clock = Stopwatch(self.device.name)
        self.shape = SHAPES["gpu" if self.cuda else "cpu"]
        self.everything, self.used = parameter_counts(self.model)
        tasks = config.rl.tasks[:1]
        self.problems = draw_problems(tasks, ("en",), "validation", "bench", 1024)
        self.ids = [self.tokenizer.encode(prompt(p.question())) for p in self.problems]

    def about(self) -> dict:
        """Where and when, and the machine's limits."""
        s = self.shape
        return {
            "device": str(self.device),
            "torch": torch.__version__,
            "date": time.strftime("%Y-%m-%d"),
            "command": "python -m minir1 bench " + " ".join(sys.argv[2:]),
            "ceilings": ceilings(self.device, self.clock, s.matrix, s.megabytes),
        }

    def fixed(self, tokens: int) -> Sampling:
        """Responses that cannot stop."""
        end, pad = self.tokenizer.end, self.tokenizer.pad
        return replace(sampling(self.tokenizer, tokens), stop_ids=(pad,), ban_ids=(end, pad))

    def train(
        self, model: Transformer, optimizer: str, steps: int,
        compiled: bool = False, cudnn: bool = False, graph: bool = False,
    ) -> dict[str, float]:
        """Tokens a second of `steps` supervised steps after as many, on random tokens.

        `first`: seconds to the end of the first step, with the compiler's work if nothing of it is
        on disk. `cudnn`: its attention; `graph`: gradients from a CUDA graph.
        """
        p = self.config.pretrain
        shape = p.batch_tokens // p.row_tokens, p.row_tokens + 1
        ids = torch.randint(model.config.vocab_size, shape, device=self.device.name)
        learner = make_learner(model, p.weight_decay, p.clip, self.device, optimizer)

        def work(count: int) -> None:
            batches = ((ids, None) for _ in range(count))
            train_supervised(model, learner, batches, p, count, lambda step: None)

        torch._dynamo.reset()
        with accelerate(model, self.device, compiled, learner if graph else None, cudnn):
            first = self.clock.once(lambda: work(1))
            rate = steps * p.batch_tokens / self.clock(lambda: work(steps), 1)
        flops = 3 * operations(model.config, parameter_counts(model)[1], p.row_tokens / 2)
        return {"tokens_s": rate, "operations_s": flops * rate, "first": first}
