"""What a response costs as batch, length and model grow: speed and memory along one axis at a time, beside the machine's limit.

    python -m minir1 bench --curves                            in words only
    python -m minir1 bench --curves --out results/bench/curves.json  and as JSON, with a PNG beside it

Around the preset's model, with random weights: generating responses of a fixed length (the fast sampler), and pretraining. For
generation the limit is the time that a decoding step needs at least: to read all weights and the caches at the copy rate, or
to compute at the matrix rate, whichever is longer; for pretraining it is the matrix rate. Memory is the most that PyTorch had
allocated at once (CUDA). A point that does not fit is left out, saying so.
"""

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from minir1.config import Config, ModelConfig, UserError, apply, replace
from minir1.console.files import write_text
from minir1.experiments.bench.command import Bench, about, decode_bytes, operations
from minir1.fast.accelerate import make_sampler
from minir1.model import Transformer
from minir1.report.drawing import BLUE, GREY, INK, ORANGE, RED, dress, figure_of, save
from minir1.run.costs import parameter_counts

PROMPT = 256  # positions kept for a prompt


class Plan(NamedTuple):
    """Where the curves are measured."""

    batches: tuple[int, ...]  # responses at once, each of `length` tokens
    length: int
    lengths: tuple[int, ...]  # tokens of each of `rows` responses
    rows: int
    long: tuple[int, int]  # (responses, tokens): the point whose memory matters
    sizes: tuple[tuple[int, int, int], ...]  # (width, layers, experts), each with `size_rows` responses of `length` tokens
    size_rows: int
    group: int  # responses to one prompt
    steps: int  # of pretraining, timed after as many


PLANS = {
    "gpu": Plan(
        (64, 256, 1024, 4096), 256, (128, 512, 1024, 4096), 256, (1024, 4096),
        ((128, 4, 4), (192, 5, 8), (256, 6, 8), (320, 8, 8), (512, 9, 8)), 1024, 16, 12,
    ),
    "cpu": Plan((4, 16, 64), 64, (32, 64, 128), 16, (64, 128), ((64, 3, 4), (128, 4, 4), (192, 4, 4)), 32, 4, 1),
}  # fmt: skip

# ---------------------------------------------------------------- sizes and limits


def scaled(c: ModelConfig, width: int, layers: int, experts: int) -> ModelConfig:
    """The same kind of model, wider or narrower: heads keep their widths, all other widths grow with the model's.

    >>> c = scaled(ModelConfig(), 64, 3, 4)
    >>> c.heads, c.nope_width, c.kv_rank, c.dense_width, c.expert_width
    (2, 24, 24, 192, 48)
    """
    grown = ("heads", "kv_rank", "dense_width", "expert_width")
    widths = {name: max(1, round(getattr(c, name) * width / c.width)) for name in grown}
    return replace(c, width=width, layers=layers, experts=experts, top_k=min(c.top_k, experts), **widths)


def decode_limit(c: ModelConfig, counts: tuple[int, int], rows: int, context: float, width: int, limits: dict[str, float]) -> float:
    """Tokens a second at most. `counts`: parameters (all, used); `context`: tokens a row looks back on; `width`: bytes a number."""
    copying = decode_bytes(c, counts[0], rows, context, width) / (1e9 * limits["copy_GB_s"])
    computing = rows * operations(c, counts[1], context) / (1e12 * limits["matrix_TFLOP_s"])
    return rows / max(copying, computing)


def out_of_memory(fault: BaseException | None) -> bool:
    """Whether the fault, or one that it followed (a graph's broken capture), is a lack of memory.

    >>> out_of_memory(torch.OutOfMemoryError()), out_of_memory(RuntimeError("wrong shape"))
    (True, False)
    """
    if fault is None:
        return False
    lack = isinstance(fault, (torch.OutOfMemoryError, MemoryError)) or "out of memory" in str(fault)
    return lack or out_of_memory(fault.__context__)


# ---------------------------------------------------------------- what is measured


class Curves(Bench):
    """Each curve yields (name, row) point by point; a row holds its place on the axes and what was measured there."""

    def __init__(self, config: Config):
        plan = self.plan = PLANS["gpu" if torch.cuda.is_available() and config.device in ("auto", "cuda") else "cpu"]
        longest = max(plan.length, *plan.lengths, plan.long[1])
        super().__init__(apply(config, {"model.positions": max(config.model.positions, longest + PROMPT)}), None)
        self.base = self.model.config
        self.cuda, self.heading = self.device.name == "cuda", about(self) | {"preset": config.preset, "plan": plan._asdict()}
        self.limits = self.heading["ceilings"]

    def batch(self) -> Iterator[tuple[str, dict]]:
        for rows in self.plan.batches:
            yield f"{rows} responses", self.point(self.decode, rows, self.plan.length)

    def length(self) -> Iterator[tuple[str, dict]]:
        for tokens in self.plan.lengths:
            yield f"{tokens} tokens", self.point(self.decode, self.plan.rows, tokens)

    def long(self) -> Iterator[tuple[str, dict]]:
        rows, tokens = self.plan.long
        yield f"{rows} responses of {tokens} tokens", self.point(self.decode, rows, tokens)

    def size(self) -> Iterator[tuple[str, dict]]:
        for name in self.models():
            yield name, self.point(self.decode, self.plan.size_rows, self.plan.length)

    def pretraining(self) -> Iterator[tuple[str, dict]]:
        for name in self.models():
            yield name, self.point(self.learn)

    def models(self) -> Iterator[str]:
        """Make `self.model` each of the sizes in turn; yields its name."""
        torch.manual_seed(0)
        for width, layers, experts in self.plan.sizes:
            torch._dynamo.reset()  # else the compiler gives up after a few shapes of one function
            self.model = Transformer(scaled(self.base, width, layers, experts)).to(self.device.name).eval()
            self.everything, self.used = parameter_counts(self.model)
            yield f"{self.everything / 1e6:.1f} M parameters, {self.used / 1e6:.1f} M used"

    def point(self, work: Callable[..., dict], *where: int) -> dict:
        """What `work` measures, and the most memory it held (bytes, CUDA); or that there was not enough."""
        gc.collect()  # the last point's graphs and caches
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        place = {"parameters": [self.everything, self.used]} | dict(zip(("responses", "tokens"), where))
        try:
            found = work(*where)
        except (RuntimeError, MemoryError) as fault:
            if not out_of_memory(fault):
                raise
            return place | {"left_out": "out of memory"}
        return place | found | {"peak_bytes": torch.cuda.max_memory_allocated() if self.cuda else None}

    def decode(self, rows: int, tokens: int) -> dict[str, float]:
        """Tokens a second of `rows` responses of exactly `tokens` tokens, and the most that the machine could do."""
        group, c = min(rows, self.plan.group), self.model.config
        ids = [self.ids[i % len(self.ids)] for i in range(rows // group)]
        sizes = {"rl.prompts": len(ids), "rl.group_size": group, "rl.max_tokens": tokens, "eval.batch": rows}
        sampler = make_sampler(self.model, self.device, apply(self.config, sizes))
        seconds = self.clock(lambda: sampler(self.model, ids, group, self.fixed(tokens), self.generator()), 1)
        context = sum(map(len, ids)) / len(ids) + tokens / 2
        limit = decode_limit(c, (self.everything, self.used), rows, context, self.device.dtype.itemsize, self.limits)
        return {"tokens_s": rows * tokens / seconds, "limit_tokens_s": limit}

    def learn(self) -> dict[str, float]:
        """Tokens a second of pretraining with Muon: compiled and captured on CUDA, plain elsewhere."""
        found = self.train(self.model, "muon", (self.cuda, self.cuda, self.cuda), self.plan.steps)
        share = found["operations_s"] / (1e12 * self.limits["matrix_TFLOP_s"])
        return found | {"matrix_share": share, "limit_tokens_s": found["tokens_s"] / share}


def run(config: Config, checkpoint: Path | None, out: Path | None) -> None:
    """Measure, print and (with `out`) write what there is after each curve. Raises UserError for wrong arguments."""
    if checkpoint:
        raise UserError("bench --curves measures random weights of several sizes: leave CHECKPOINT out")
    if out and out.suffix != ".json":
        raise UserError(f"bench --curves writes JSON, and a PNG beside it: --out must end in .json, not {out.name!r}")
    curves = Curves(config)
    found = curves.heading
    print(f"minir1 bench --curves: {curves.device}, torch {torch.__version__}", flush=True)
    for curve in (curves.batch, curves.length, curves.long, curves.size, curves.pretraining):
        rows = found[curve.__name__] = {}
        for name, row in curve():
            rows[name] = row
            print(f"{curve.__name__:<12}{name:<36}{show(row)}", flush=True)
        if out:
            write_text(out, json.dumps(found, indent=1))
    if out:
        print(f"written: {out}, {save(draw(found), out.with_suffix('.png'))}")


# ---------------------------------------------------------------- words and figure


def show(row: dict) -> str:
    if "left_out" in row:
        return f"left out, {row['left_out']}"
    memory = f", {row['peak_bytes'] / 1e9:.2f} GB" if row["peak_bytes"] else ""
    return f"{row['tokens_s'] / 1e3:10.1f} k tokens/s, {100 * row['tokens_s'] / row['limit_tokens_s']:5.1f}% of the limit{memory}"


def short(value: float) -> str:
    """A number for an axis.

    >>> short(1_250_000), short(4096), short(20_000)
    ('1.25 M', '4,096', '20 k')
    """
    return f"{value:,.0f}" if value < 1e4 else f"{value / 1e3:.0f} k" if value < 1e6 else f"{value / 1e6:.3g} M"


def draw(found: dict):
    """Speed over each axis on logarithmic scales, the limit dashed, memory beside the points."""
    plan, (figure, grid) = found["plan"], figure_of(2, 2, (9.5, 7.2))
    figure.suptitle(f"Tokens a second and peak memory: {found['device']}", x=0.01, ha="left", fontsize=11.5, color=INK)
    titles = {
        "batch": (f"Generation, {plan['length']:,} tokens each", "responses at once"),
        "length": (f"Generation, {plan['rows']:,} responses at once", "tokens of each response"),
        "size": (f"Generation, {plan['size_rows']:,} responses of {plan['length']:,} tokens", "parameters"),
        "pretraining": ("Pretraining", "parameters"),
    }
    for axes, (part, (title, xlabel)) in zip(grid, titles.items()):
        rows = list(found[part].values())
        dress(axes, title, xlabel=xlabel)
        line(axes, [(place(part, row), row) for row in rows], BLUE, "measured")
        if part == "length":
            line(axes, [(place(part, row), row) for row in found["long"].values()], RED, f"{plan['long'][0]:,} responses", "D")
        scales(axes, [place(part, row) for row in rows])
        axes.legend(fontsize=8, frameon=False, labelcolor="linecolor", loc="best")
    return figure


def place(part: str, row: dict) -> int:
    """Where a row stands on its panel's axis."""
    return row["responses"] if part == "batch" else row["tokens"] if part == "length" else row["parameters"][0]


def scales(axes, x: list[int]) -> None:
    """Both logarithmic; a mark for each point that was tried."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.75 * min(x), 1.33 * max(x))
    axes.margins(y=0.15)
    axes.set_xticks(x, map(short, x))
    axes.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
    axes.yaxis.set_major_formatter(lambda value, _: short(value))
    axes.minorticks_off()


def line(axes, points: list[tuple[int, dict]], colour: str, label: str, marker: str = "o") -> None:
    """Measured points with their memory, and their limit; what did not fit is named at the foot."""
    kept = [(at, row) for at, row in points if "left_out" not in row]
    if kept:
        x, rows = zip(*kept)
        axes.plot(x, [row["tokens_s"] for row in rows], color=colour, linewidth=1.8, marker=marker, markersize=4.5, label=label)
        limit = {"label": "limit"} if len(x) > 1 else {"marker": "_"}
        axes.plot(x, [row["limit_tokens_s"] for row in rows], color=GREY, linewidth=1.3, dashes=(4, 2), **limit)
    beside = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "color": ORANGE}
    for at, row in points:
        if "left_out" in row:
            axes.annotate(row["left_out"], (at, 0), (0, 6), xycoords=("data", "axes fraction"), rotation=90, **beside)
        elif row["peak_bytes"]:
            axes.annotate(f"{row['peak_bytes'] / 1e9:.2g} GB", (at, row["tokens_s"]), (0, -13), **beside)
