"""Speed and memory as batch, length and model grow, one at a time.

    python results/bench/by_size.py --out by_size.json    and by_size.png

Around the preset's model, with random weights: generating responses of a fixed length (the fast
sampler), and pretraining. For generation the limit is the time that a decoding step needs at least:
to read all weights and the caches at the copy rate, or to compute at the matrix rate, whichever is
longer; for pretraining it is the matrix rate. Memory is the most that PyTorch had allocated at once
(CUDA). A point that does not fit is left out, saying so.
"""

import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from minir1.config import Config, ModelConfig, UserError, apply, replace
from minir1.console import errors
from minir1.console.files import write_json
from minir1.experiments.bench.measuring import Bench, decode_bytes, operations
from minir1.fast.accelerate import sampler_of
from minir1.model import Transformer
from minir1.presets import PRESETS
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
    sizes: tuple[tuple[int, int, int], ...]  # (width, layers, experts)
    size_rows: int  # responses of `length` tokens to each size
    group: int  # responses to one prompt
    steps: int  # of pretraining, timed after as many


GPU_SIZES = ((128, 4, 4), (192, 5, 8), (256, 6, 8), (320, 8, 8), (512, 9, 8))
CPU_SIZES = ((64, 3, 4), (128, 4, 4), (192, 4, 4))
LENGTHS = (128, 512, 1024, 4096)
PLANS = {
    "gpu": Plan((64, 256, 1024, 4096), 256, LENGTHS, 256, (1024, 4096), GPU_SIZES, 1024, 16, 12),
    "cpu": Plan((4, 16, 64), 64, (32, 64, 128), 16, (64, 128), CPU_SIZES, 32, 4, 1),
}

# ---------------------------------------------------------------- sizes and limits


def scaled(c: ModelConfig, width: int, layers: int, experts: int) -> ModelConfig:
    """The same kind of model, wider or narrower: heads keep their widths, all others grow.

    >>> c = scaled(ModelConfig(), 64, 3, 4)
    >>> c.heads, c.nope_width, c.kv_rank, c.dense_width, c.expert_width
    (2, 24, 24, 192, 48)
    """
    grown = ("heads", "kv_rank", "dense_width", "expert_width")
    widths = {name: max(1, round(getattr(c, name) * width / c.width)) for name in grown}
    top_k = min(c.top_k, experts)
    return replace(c, width=width, layers=layers, experts=experts, top_k=top_k, **widths)


def decode_limit(
    c: ModelConfig, counts: tuple[int, int], rows: int, context: float, width: int,
    limits: dict[str, float],
) -> float:
    """Tokens a second at most. `counts`: parameters (all, used per token); `context`: tokens a row
    looks back on; `width`: bytes a number."""
    everything, used = counts
    bytes_read = decode_bytes(c, everything, rows, context, width)
    copying = bytes_read / (1e9 * limits["copy_GB_s"])
    computing = rows * operations(c, used, context) / (1e12 * limits["matrix_TFLOP_s"])
    return rows / max(copying, computing)


def out_of_memory(fault: BaseException | None) -> bool:
    """Whether the fault, or one that it followed (a graph's broken capture), is a lack of memory.

    >>> out_of_memory(MemoryError()), out_of_memory(RuntimeError("wrong shape"))
    (True, False)
    """
    while fault is not None and not errors.out_of_memory(fault):
        fault = fault.__context__
    return fault is not None


# ---------------------------------------------------------------- what is measured


class Curves(Bench):
    """One model after another, one size of work after another."""

    def __init__(self, config: Config):
        on_gpu = torch.cuda.is_available() and config.device in ("auto", "cuda")
        plan = self.plan = PLANS["gpu" if on_gpu else "cpu"]
        longest = max(plan.length, *plan.lengths, plan.long[1])
        positions = max(config.model.positions, longest + PROMPT)
        super().__init__(apply(config, {"model.positions": positions}), None)
        self.base = self.model.config
        self.heading = self.about() | {"preset": config.preset, "plan": plan._asdict()}
        self.limits = self.heading["ceilings"]

    def points(self) -> Iterator[tuple[str, str, dict]]:
        """(curve, name, row); a row holds its place on the axes and what was measured there."""
        p = self.plan
        for rows in p.batches:
            yield "batch", f"{rows} responses", self.point(self.decode, rows, p.length)
        for tokens in p.lengths:
            yield "length", f"{tokens} tokens", self.point(self.decode, p.rows, tokens)
        name = "{} responses of {} tokens".format(*p.long)
        yield "long", name, self.point(self.decode, *p.long)
        for name in self.models():
            yield "size", name, self.point(self.decode, p.size_rows, p.length)
        for name in self.models():
            yield "pretraining", name, self.point(self.learn)

    def models(self) -> Iterator[str]:
        """Make `self.model` each of the sizes in turn; yields its name."""
        torch.manual_seed(0)
        for width, layers, experts in self.plan.sizes:
            torch._dynamo.reset()  # else the compiler gives up after a few shapes of one function
            model = Transformer(scaled(self.base, width, layers, experts))
            self.model = model.to(self.device.name).eval()
            self.everything, self.used = parameter_counts(self.model)
            yield f"{self.everything / 1e6:.1f} M parameters, {self.used / 1e6:.1f} M used"

    def point(self, work: Callable[..., dict], *where: int) -> dict:
        """What `work` measures, and the most memory it held (bytes, CUDA), if it was enough."""
        gc.collect()  # the last point's graphs and caches
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        place = {"parameters": [self.everything, self.used]}
        place |= dict(zip(("responses", "tokens"), where))
        try:
            figures = work(*where)
        except (RuntimeError, MemoryError) as fault:
            if not out_of_memory(fault):
                raise
            return place | {"left_out": "out of memory"}
        peak = torch.cuda.max_memory_allocated() if self.cuda else None
        return place | figures | {"peak_bytes": peak}

    def decode(self, rows: int, tokens: int) -> dict[str, float]:
        """Tokens a second of `rows` responses of exactly `tokens` tokens, and the limit."""
        group, counts = min(rows, self.plan.group), (self.everything, self.used)
        ids = [self.ids[i % len(self.ids)] for i in range(rows // group)]
        how = (self.tokenizer, rows, tokens, self.config.compile)
        sampler = sampler_of(self.model, self.device, *how)
        case = (self.model, ids, group, self.fixed(tokens))
        seconds = self.clock(lambda: sampler(*case), 1)
        context, width = sum(map(len, ids)) / len(ids) + tokens / 2, self.device.dtype.itemsize
        limit = decode_limit(self.model.config, counts, rows, context, width, self.limits)
        return {"tokens_s": rows * tokens / seconds, "limit_tokens_s": limit}

    def learn(self) -> dict[str, float]:
        """Tokens a second of pretraining with Muon: compiled and captured on CUDA, else plain."""
        on = dict.fromkeys(("compiled", "cudnn", "graph"), self.cuda)
        row = self.train(self.model, "muon", self.plan.steps, **on)
        share = row["operations_s"] / (1e12 * self.limits["matrix_TFLOP_s"])
        return row | {"matrix_share": share, "limit_tokens_s": row["tokens_s"] / share}


def main(arguments: list[str]) -> None:
    """Measure, print and (with --out) write what there is so far. Raises UserError for wrong
    arguments."""
    parser, flag = errors.make_parser("by_size.py", "Speed as batch, length and model grow.")
    flag("--preset", choices=sorted(PRESETS), help="shapes and settings; else by the machine")
    flag("--device", default="auto", help="auto, cpu, cuda or mps")
    flag("--out", type=Path, help="write JSON, and a PNG beside it")
    options = errors.parse(parser, arguments)
    if options.out and options.out.suffix != ".json":
        raise UserError(f"--out must end in .json, not {options.out.name!r}: a PNG goes beside it")
    preset = options.preset or ("gpu" if torch.cuda.is_available() else "cpu")
    curves = Curves(replace(PRESETS[preset], device=options.device))
    results = curves.heading
    print(f"by_size.py: {curves.device}, torch {torch.__version__}", flush=True)
    for curve, name, row in curves.points():
        results.setdefault(curve, {})[name] = row
        print(f"{curve:<12}{name:<36}{show(row)}", flush=True)
        if options.out:
            write_json(options.out, results)
    if options.out:
        print(f"written: {options.out}, {save(draw(results), options.out.with_suffix('.png'))}")


# ---------------------------------------------------------------- words and figure


def show(row: dict) -> str:
    if "left_out" in row:
        return f"left out, {row['left_out']}"
    memory = f", {row['peak_bytes'] / 1e9:.2f} GB" if row["peak_bytes"] else ""
    rate, share = row["tokens_s"] / 1e3, row["tokens_s"] / row["limit_tokens_s"]
    return f"{rate:10.1f} k tokens/s, {100 * share:5.1f}% of the limit{memory}"


def short(value: float) -> str:
    """A number for an axis.

    >>> short(1_250_000), short(4096), short(20_000)
    ('1.25 M', '4,096', '20 k')
    """
    if value < 1e4:
        return f"{value:,.0f}"
    return f"{value / 1e3:.0f} k" if value < 1e6 else f"{value / 1e6:.3g} M"


def draw(results: dict):
    """Speed over each axis on logarithmic scales, the limit dashed, memory beside the points."""
    plan, (figure, grid) = results["plan"], figure_of(2, 2, (9.5, 7.2))
    title = f"Tokens a second and peak memory: {results['device']}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, color=INK)
    length, rows, size_rows = (f"{plan[key]:,}" for key in ("length", "rows", "size_rows"))
    panels = {
        "batch": (f"Generation, {length} tokens each", "responses at once"),
        "length": (f"Generation, {rows} responses at once", "tokens of each response"),
        "size": (f"Generation, {size_rows} responses of {length} tokens", "parameters"),
        "pretraining": ("Pretraining", "parameters"),
    }
    for axes, (curve, (title, xlabel)) in zip(grid, panels.items()):
        dress(axes, title, xlabel=xlabel)
        key = {"batch": "responses", "length": "tokens"}.get(curve, "parameters")
        points = list(results[curve].values())
        line(axes, points, key, BLUE, "measured")
        if curve == "length":
            many = f"{plan['long'][0]:,} responses"
            line(axes, list(results["long"].values()), key, RED, many, "D")
        scales(axes, [place(row, key) for row in points])
        axes.legend(fontsize=8, frameon=False, labelcolor="linecolor", loc="best")
    return figure


def place(row: dict, key: str) -> int:
    """Where a row stands on its panel's axis; of parameters: all."""
    return row[key][0] if key == "parameters" else row[key]


def scales(axes, x: list[int]) -> None:
    """Both logarithmic; a mark for each point that was tried."""
    axes.set(xscale="log", yscale="log", xlim=(0.75 * min(x), 1.33 * max(x)))
    axes.margins(y=0.15)
    axes.set_xticks(x, map(short, x))
    axes.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
    axes.yaxis.set_major_formatter(lambda value, _: short(value))
    axes.minorticks_off()


def line(axes, rows: list[dict], key: str, colour: str, label: str, marker: str = "o") -> None:
    """Measured points with their memory, and their limit; what did not fit is named at the foot."""
    kept = [row for row in rows if "left_out" not in row]
    if kept:
        x = [place(row, key) for row in kept]
        solid = {"linewidth": 1.8, "marker": marker, "markersize": 4.5, "label": label}
        axes.plot(x, [row["tokens_s"] for row in kept], color=colour, **solid)
        dashed = {"linewidth": 1.3, "dashes": (4, 2)}
        dashed |= {"label": "limit"} if len(x) > 1 else {"marker": "_"}
        axes.plot(x, [row["limit_tokens_s"] for row in kept], color=GREY, **dashed)
    text = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "color": ORANGE}
    foot = {"xycoords": ("data", "axes fraction"), "rotation": 90}
    for row in rows:
        at = place(row, key)
        if "left_out" in row:
            axes.annotate(row["left_out"], (at, 0), (0, 6), **foot, **text)
        elif row["peak_bytes"]:
            memory = f"{row['peak_bytes'] / 1e9:.2g} GB"
            axes.annotate(memory, (at, row["tokens_s"]), (0, -13), **text)


if __name__ == "__main__":
    sys.exit(errors.guard(main, sys.argv[1:], "by_size.py"))
