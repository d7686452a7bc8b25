"""How fast is it, how far from the machine's limits, and how do others fare? One run, one machine.

    python -m minir1 bench                        the preset that fits this machine
    python -m minir1 bench --preset cpu --out results/bench/cpu.json
    python -m minir1 bench speedrun gpu           from nothing to a goal: a record (speedrun.py)

Measured one after another: the ceilings (copying, matrix products, launches), generating responses
of a fixed length (this engine, the plain loop, transformers), responses as they come in RL, one
whole RL step (ours and TRL's), and pretraining. What is not installed is left out, saying so.
Operations count what a token needs: twice the parameters it uses, and attention; that the fused
decoder computes every expert is its own affair.
"""

import copy
from pathlib import Path

import torch

from minir1.config import THREADS, Config, replace
from minir1.console.errors import make_parser, parse
from minir1.console.files import check_writable, write_json
from minir1.console.flags import Value, whole
from minir1.experiments.bench import others, speedrun
from minir1.experiments.bench.measuring import Bench, decode_bytes, operations
from minir1.fast.accelerate import accelerate, beyond, sampler_of
from minir1.fast.device import make_learner
from minir1.fast.engine import Engine
from minir1.grpo import advantages, update
from minir1.model import Transformer
from minir1.presets import PRESETS
from minir1.rollout import roll_out, sampling, to_batch
from minir1.sampler import sample
from minir1.transcript import prompt

WAYS = {  # to compute pretraining's gradients on a GPU; the first and the last with AdamW, too
    "compiled, cudnn, graph": {"compiled": True, "cudnn": True, "graph": True},
    "compiled, cudnn": {"compiled": True, "cudnn": True},
    "compiled": {"compiled": True},
    "eager": {},
}


class Table(Bench):
    """Each part gives rows by name."""

    def sampler(self, model: Transformer):
        """The fast one, for one batch of the shape."""
        rows, config = self.shape.prompts * self.shape.group, self.config
        size = (rows, config.rl.max_tokens)
        return sampler_of(model, self.device, self.tokenizer, *size, config.compile)

    def rate(self, sampler, tokens: int) -> dict[str, float]:
        P, G, *_ = self.shape
        case = (self.model, self.ids[:P], G, self.fixed(tokens))
        return {"tokens_s": P * G * tokens / self.clock(lambda: sampler(*case))}

    def generate(self) -> dict[str, dict]:
        """Tokens a second of B responses of exactly T tokens."""
        P, G, T, *_ = self.shape
        c, few = self.model.config, min(T, 32)
        ours = self.rate(self.sampler(self.model), T)
        rows = {"minir1": ours, "minir1, plain loop": self.rate(sample, few)}
        if self.cuda:
            sampler = self.sampler(self.model)
            sampler.__self__.decoder.use_plain()
            rows["minir1, without kernels of its own"] = self.rate(sampler, T)
        context, width = len(self.ids[0]) + T / 2, self.device.dtype.itemsize
        step = decode_bytes(c, self.everything, P * G, context, width)
        ours["bytes_s"] = step * ours["tokens_s"] / (P * G)
        ours["operations_s"] = operations(c, self.used, T / 2) * ours["tokens_s"]
        prompts = [ids for ids in self.ids[:P] for _ in range(G)]
        return rows | others.generate(self.model, self.tokenizer, prompts, few, self.clock)

    def as_in_rl(self) -> dict[str, dict]:
        """Responses of their own length: one batch, which waits for its longest, and a queue
        through fewer slots."""
        P, G, _, queued, slots, *_ = self.shape
        rows = self.in_slots("one batch", P, P * G)
        rows |= self.in_slots("a queue", queued // G, slots)
        return rows | self.in_slots("a queue", queued // G, 4 * slots)

    def in_slots(self, name: str, prompts: int, slots: int) -> dict[str, dict]:
        settings = sampling(self.tokenizer, self.config.rl.max_tokens)
        how = (slots, settings.max_tokens + beyond(self.tokenizer), self.config.compile)
        engine = Engine(self.model, self.device.dtype, *how)
        ids = (self.ids * (1 + prompts // len(self.ids)))[:prompts]
        case, lengths = (self.model, ids, self.shape.group, settings), []

        def work() -> None:
            lengths.append(engine.sample(*case).length_B.float())

        seconds = self.clock(work, 1)
        row = {"tokens_s": lengths[-1].sum().item() / seconds, "mean": lengths[-1].mean().item()}
        row["useful"] = engine.useful / engine.slot_steps
        return {f"{name}: {len(lengths[-1])} responses, {slots} slots": row}

    def step(self) -> dict[str, dict]:
        """Rollout, scoring and one update of the same shape; every response has an advantage."""
        P, G, T, *_ = self.shape
        rl = replace(self.config.rl, prompts=P, group_size=G, minibatches=1)
        model, pad, phases = copy.deepcopy(self.model), self.tokenizer.pad, {}
        learner = make_learner(model, 0.0, rl.clip, self.device)
        sampler = self.sampler(model)
        case = (model, self.tokenizer, self.problems[:P], G, self.fixed(T))
        batch = reward_B = None

        def rollout() -> None:
            nonlocal batch, reward_B
            rollouts = roll_out(*case, sampler=sampler)
            reward_B = torch.tensor(others.share_of_digits(rollouts.texts))
            batch = to_batch(rollouts, pad, self.device.name)

        def learn() -> None:
            adv_B = advantages(reward_B.view(P, G)).flatten()
            update(model, learner, batch, adv_B, rl, 1e-4)

        def work() -> None:
            phases["rollout"] = self.clock.once(rollout)
            phases["update"] = self.clock.once(learn)

        with accelerate(model, self.device):
            seconds = self.clock(work, 5)
        ours = {"seconds": seconds, "samples_s": P * G / seconds, "tokens_s": P * G * T / seconds}
        prompts = [prompt(p.question()) for p in self.problems[:P]]
        trl = others.trl_steps(self.model, self.tokenizer, prompts, G, T, self.device)
        return {"minir1": ours | phases, **trl}

    def pretrain(self) -> dict[str, dict]:
        """Tokens a second of the supervised loop, by what is compiled and by optimizer."""
        rows = {}
        for name in WAYS if self.cuda else ["eager"]:
            both = name in (next(iter(WAYS)), "eager")
            for optimizer in ("muon", "adamw") if both else ("muon",):
                model, steps = copy.deepcopy(self.model), 30 if self.cuda else 2
                row = self.train(model, optimizer, steps, **WAYS[name])
                rows[f"minir1, {name}, {optimizer}"] = row
        return rows


def measure(config: Config, checkpoint: Path | None) -> dict:
    """All parts, each printed when it is done."""
    table = Table(config, checkpoint)
    size = f"{table.everything / 1e6:.1f} M parameters"
    print(f"minir1 bench: {table.device}, torch {torch.__version__}, {size}", flush=True)
    results = table.about()
    results |= {"shape": list(table.shape), "parameters": [table.everything, table.used]}
    for part in (table.generate, table.as_in_rl, table.step, table.pretrain):
        name = part.__name__
        if name == "as_in_rl" and not table.trained:
            print("as_in_rl: left out, only a trained model stops by itself (give a CHECKPOINT)")
            continue
        results[name] = part()
        print("\n".join(show(name, results[name], results["ceilings"])), flush=True)
    return results


def show(part: str, rows: dict[str, dict], limits: dict[str, float]) -> list[str]:
    """A part's rows in words, ratios against the first."""
    first, lines = next(iter(rows.values())), [part]
    for name, row in rows.items():
        if "left_out" in row:
            lines.append(f"  {name}: left out, {row['left_out']}")
            continue
        ratio = first["tokens_s"] / row["tokens_s"]
        text = [f"{row['tokens_s'] / 1e3:10.1f} k tokens/s", f"{ratio:6.2f} x"]
        for key in ("samples_s", "seconds", "rollout", "update", "mean", "useful", "first"):
            text += [f"{key} {row[key]:.3g}"] if key in row else []
        if "bytes_s" in row:
            percent = 100 * row["bytes_s"] / limits["copy_GB_s"] / 1e9
            text.append(f"{percent:.1f}% of the copy rate")
        if "operations_s" in row:
            percent = 100 * row["operations_s"] / limits["matrix_TFLOP_s"] / 1e12
            text.append(f"{percent:.1f}% of the matrix rate")
        lines.append(f"  {name:<44}" + ", ".join(text))
    return lines


def main(arguments: list[str]) -> int | None:
    """See --help. Raises UserError for wrong arguments."""
    if arguments[:1] == ["speedrun"]:
        return speedrun.main(arguments[1:])
    parser, flag = make_parser("bench", "Speed, beside others and beside the machine's limits.")
    trained = "a trained model; random weights without"
    flag("checkpoint", nargs="?", type=Path, metavar="CHECKPOINT", help=trained)
    flag("--preset", choices=sorted(PRESETS), help="shapes and settings; else by the machine")
    flag("--device", default="auto", help="auto, cpu, cuda or mps")
    threads = "CPU threads; 0: torch's choice"
    flag("--threads", type=Value(whole, THREADS), default=0, help=threads)
    flag("--out", type=Path, help="write the figures as JSON")
    options = parse(parser, arguments)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        check_writable(options.out)
    if options.threads:
        torch.set_num_threads(options.threads)
    preset = options.preset or ("gpu" if torch.cuda.is_available() else "cpu")
    config = replace(PRESETS[preset], device=options.device)
    results = measure(config, options.checkpoint)
    if options.out:
        write_json(options.out, results)
