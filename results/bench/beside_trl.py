"""A GRPO step beside TRL's GRPOTrainer, on one device in one run:

    python results/bench/beside_trl.py --out OUT            a GPU, 5 minutes; all: --seconds 600
    python results/bench/beside_trl.py --out OUT --toy      two cores, 1 minute, tiny shapes

Two models. `step`: the shipped one of the `gpu` preset and a dense Llama of its size, as in
`python -m minir1 bench`, but nothing else of that. `qwen`: Qwen2.5-0.5B's shape with its whole
vocabulary and random weights; 32 prompts of 64 tokens, 8 responses of exactly 256 tokens to each,
one update on all of them. The reward, a response's mean token id, differs in every group.

Each row is a process of its own and OUT/NAME.json, for `qwen` written anew after every step, so
that a kill loses nothing; OUT/summary.json has the medians and ratios. The first two steps of
`qwen` warm up. What does not fit in `--seconds` is left out, the least important first. The rows
of TRL, without vLLM: weights in bfloat16 or float32, bfloat16 operations in both; transformers'
generate or its continuous batching; no KL term, nothing computed again, 64 rows in a pass (128
need about 75 GB). TRL needs `trl`, `datasets`, `transformers`, `accelerate` and `safetensors`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

QWEN = {"vocab_size": 151_936, "width": 896, "layers": 24, "heads": 14, "head_width": 64,
        "dense_width": 4864, "positions": 1024}  # fmt: skip
TOY = {"vocab_size": 9000, "width": 64, "layers": 2, "heads": 4, "head_width": 16,
       "dense_width": 96, "positions": 256}  # fmt: skip
WARM = 2  # steps of each row that are not counted
ROWS = {  # by importance: seconds each may take on a GPU (twice what is expected), its settings
    "step-float32": (220, {"dtype": "float32"}),
    "qwen-minir1": (140, {"train_tokens": 16_384, "compiled": True}),
    "qwen-trl-bfloat16": (140, {"dtype": "bfloat16", "batch": 64}),
    "qwen-minir1-plain": (60, {"train_tokens": 16_384, "compiled": False}),
    "qwen-trl-bfloat16-continuous": (120, {"dtype": "bfloat16", "batch": 64, "continuous": True}),
    "step-bfloat16": (140, {"dtype": "bfloat16"}),
    "qwen-trl-float32": (120, {"dtype": "float32", "batch": 64}),
    "qwen-trl-bfloat16-half": (120, {"dtype": "bfloat16", "batch": 32}),
}
COUNTED = 4  # steps


class Row(dict):
    """A row's figures, on disk after every step."""

    def __init__(self, path: Path, **settings):
        import transformers

        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        super().__init__(card=card(), date=time.strftime("%Y-%m-%d"), **versions, **settings)
        self.path, self["steps_s"] = path, []

    def add(self, seconds: float, **figures) -> None:
        self["steps_s"].append(seconds)
        counted = self["steps_s"][WARM:]
        if counted:
            self["seconds"], self["least"] = statistics.median(counted), min(counted)
        for name, value in figures.items():
            self.setdefault(name, []).append(value)
        if torch.cuda.is_available():
            self["allocated_GB"] = torch.cuda.max_memory_allocated() / 1e9
            self["reserved_GB"] = torch.cuda.max_memory_reserved() / 1e9
        self.save()

    def save(self) -> None:
        self.path.write_text(json.dumps(self, indent=1) + "\n", encoding="utf-8")
        print(self.path.stem, self.get("rows", self["steps_s"]), flush=True)


def card() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def now() -> float:
    """Seconds on the clock, once the device has done all its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def size(toy: bool) -> tuple[int, int, int, int]:
    """Prompts, responses to each, tokens of a prompt and of a response."""
    return (2, 4, 9, 12) if toy else (32, 8, 64, 256)


def prompts_of(tokenizer, toy: bool) -> tuple[list[str], list[list[int]]]:
    """Texts of exactly as many tokens as asked, and those tokens."""
    prompts, _, length, _ = size(toy)
    texts, ids = [], []
    for number in range(prompts):
        text = ""
        while len(found := tokenizer(text)["input_ids"]) < length:
            text += f"{number + 7} "[len(found) % 2 :][:1]
        assert len(found) == length, (text, found)
        texts.append(text)
        ids.append(found)
    return texts, ids


# ---------------------------------------------------------------- the preset's model


def step(path: Path, toy: bool, dtype: str, **_) -> None:
    """minir1 and TRL (DeepseekV3, a dense Llama) as `bench` times them, weights in float32; then
    TRL alone with bfloat16, as GRPOTrainer loads a checkpoint that is stored so."""
    from minir1.data import find_checkpoint
    from minir1.experiments.bench import measuring, others
    from minir1.experiments.bench.command import Table
    from minir1.presets import PRESETS
    from minir1.transcript import prompt

    preset = "cpu" if toy else "gpu"
    table = Table(PRESETS[preset], find_checkpoint(f"base-{preset}.pt"))
    if toy:
        table.shape = measuring.Shape(4, 4, 16, 32, 8, 256, 8)
    P, G, T, *_ = table.shape
    row = Row(path, shape=[P, G, T], parameters=[table.everything, table.used], dtype=dtype)
    if dtype == "float32":
        row["rows"] = table.step()
        row["seconds"] = row["rows"]["minir1"]["seconds"]
    else:
        asked = [prompt(p.question()) for p in table.problems[:P]]
        case = (table.model, table.tokenizer, asked, G, T, table.device)
        row["rows"] = others.trl_steps(*case, getattr(torch, dtype))
    row.save()


# ---------------------------------------------------------------- Qwen2.5-0.5B's shape


def exported_tokenizer():
    """transformers' twin of the small preset's tokenizer: ids are all that is needed of it."""
    from minir1.checkpoint import load_checkpoint
    from minir1.data import find_checkpoint
    from minir1.experiments.bench.others import exported

    with tempfile.TemporaryDirectory() as folder:
        return exported(*load_checkpoint(find_checkpoint("base-cpu.pt")), folder)[1]


def minir1(path: Path, toy: bool, steps: int, train_tokens: int, compiled: bool) -> None:
    """`steps` steps of ours, as train_zero takes them with a large model."""
    from minir1 import grpo
    from minir1.config import Config, ModelConfig, RLConfig
    from minir1.fast.accelerate import accelerate
    from minir1.fast.device import make_learner, pick_device
    from minir1.fast.engine import Engine
    from minir1.model import Transformer
    from minir1.rollout import Batch
    from minir1.sampler import Sampling, Stream

    device, (P, G, length, T) = pick_device(Config()), size(toy)
    c = ModelConfig(
        **(TOY if toy else QWEN), attention="gqa", kv_heads=2, experts=0, qkv_bias=True,
        tied=True, rope_base=1e6,
    )  # fmt: skip
    torch.backends.cuda.enable_cudnn_sdp(False)  # as a run does
    torch.manual_seed(0)
    rl = RLConfig(
        train_tokens=train_tokens, minibatches=1, group_size=G, max_tokens=T, prompts=P,
        recompute=True,  # the first ratios are 1, as TRL's are
    )  # fmt: skip
    with torch.device(device.name):
        model = Transformer(c)
    parameters = sum(weight.numel() for weight in model.parameters())
    row = Row(path, responses=P * G, tokens=T, prompt=length, parameters=parameters,
              train_tokens=train_tokens, compiled=compiled)  # fmt: skip
    _, prompts = prompts_of(exported_tokenizer(), toy)
    engine = Engine(model, device.dtype, P * G, T, compiled and device.name == "cuda")
    learner = make_learner(model, 0.0, rl.clip, device)
    never = c.vocab_size - 1  # drawn by nobody: responses end at T tokens
    how = Sampling(T, (never,), ban_ids=(never,))
    with accelerate(model, device):
        for number in range(steps):
            start = now()
            samples = engine.sample(model, prompts, G, how, Stream.of("beside", number))
            drawn = now()
            asked = torch.tensor([p for p in prompts for _ in range(G)], device=device.name)
            ids_BT = torch.cat([asked, samples.ids_BT], 1)
            mask_BT = torch.ones_like(ids_BT[:, 1:], dtype=torch.bool)
            mask_BT[:, : length - 1] = False
            logp_BT = torch.zeros(mask_BT.shape, device=device.name)
            logp_BT[:, length - 1 :] = samples.logp_BT
            length_B = torch.full((P * G,), ids_BT.shape[1], device=device.name)
            batch = Batch(ids_BT, mask_BT, logp_BT, length_B)
            reward_B = samples.ids_BT.double().mean(1) / c.vocab_size
            adv_B = grpo.advantages(reward_B.view(P, G)).flatten().float().cpu()
            stats = grpo.update(model, learner, batch, adv_B, rl, 1e-6)
            end = now()
            row["tokens"] = int(samples.length_B.sum())
            row["trained"] = stats["tokens_trained"]
            row["entropy"] = float(stats["entropy"])
            row.add(end - start, rollout_s=drawn - start, update_s=end - drawn)


def trl(
    path: Path, toy: bool, steps: int, dtype: str, batch: int, continuous: bool = False
) -> None:
    """The same with GRPOTrainer: `batch` rows in a pass, weights in `dtype`."""
    from datasets import Dataset
    from transformers import Qwen2Config, Qwen2ForCausalLM, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer
    from trl import __version__ as version

    cuda, (P, G, length, T), c = torch.cuda.is_available(), size(toy), TOY if toy else QWEN
    batch = 4 if toy else batch
    tokenizer = exported_tokenizer()
    texts, _ = prompts_of(tokenizer, toy)
    torch.manual_seed(0)
    with torch.device("cuda" if cuda else "cpu"):
        model = Qwen2ForCausalLM(Qwen2Config(
            vocab_size=c["vocab_size"], hidden_size=c["width"], intermediate_size=c["dense_width"],
            num_hidden_layers=c["layers"], num_attention_heads=c["heads"], num_key_value_heads=2,
            max_position_embeddings=c["positions"], tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )).to(getattr(torch, dtype))  # fmt: skip
    row = Row(path, responses=P * G, prompt=length, parameters=model.num_parameters(),
              dtype=dtype, batch=batch, continuous=continuous, trl=version,
              attention=model.config._attn_implementation)  # fmt: skip
    drawn = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *_, **__):
            self.last = now()

        def on_step_end(self, *_, **__):
            end = now()
            row.add(end - self.last, rollout_s=drawn[-1])
            self.last = end

    class Trainer(GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            start = now()
            found = super()._generate_and_score_completions(inputs)
            drawn.append(now() - start)
            row["tokens"] = int(found["completion_mask"].sum())
            row["prompt"] = found["prompt_ids"].shape[1]
            return found

    more = {"max_memory_percent": 0.3} if cuda else {"num_blocks": 64, "max_batch_tokens": 64}
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=batch, num_generations=G,
        gradient_accumulation_steps=P * G // batch, max_completion_length=T, max_steps=steps,
        learning_rate=1e-6, temperature=1.0, beta=0.0, gradient_checkpointing=False, bf16=cuda,
        generation_kwargs={"top_k": 0} if continuous else {"min_new_tokens": T, "top_k": 0},
        use_transformers_continuous_batching=continuous, use_cpu=not cuda,
        transformers_continuous_batching_config=more if continuous else None,
        report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True,
    )  # fmt: skip

    def reward(completion_ids, **_) -> list[float]:
        return [sum(ids) / len(ids) / c["vocab_size"] for ids in completion_ids]

    data = Dataset.from_dict({"prompt": texts * steps})
    how = {"processing_class": tokenizer, "callbacks": [Clock()]}
    Trainer(model, reward, config, data, **how).train()


# ---------------------------------------------------------------- all of it

WORK = {"step": step, "qwen-minir1": minir1, "qwen-trl": trl}


def summary(out: Path) -> dict:
    """Medians of all rows that are there, and how many times as long TRL's take."""
    found = {name: json.loads((out / f"{name}.json").read_text()) for name in ROWS
             if (out / f"{name}.json").exists()}  # fmt: skip
    result = {name: row["seconds"] for name, row in found.items() if "seconds" in row}
    ours = [s for name, s in result.items() if name.startswith("qwen-minir1")]
    theirs = [s for name, s in result.items() if name.startswith("qwen-trl")]
    if ours and theirs:
        result["qwen: TRL's fastest over ours"] = min(theirs) / min(ours)
    if "step-float32" in found:
        ours = found["step-float32"]["seconds"]
        steps = {f"{kind[5:]}: {name}": row["seconds"] / ours
                 for kind, rows in found.items() for name, row in rows.get("rows", {}).items()
                 if "seconds" in row}  # fmt: skip
        result["step: seconds over ours"] = steps
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--seconds", type=float, default=290)
    parser.add_argument("--row", choices=ROWS, help="one, in this process")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    if a.row:
        work = next(work for start, work in WORK.items() if a.row.startswith(start))
        work(a.out / f"{a.row}.json", a.toy, steps=WARM + (1 if a.toy else COUNTED),
             **ROWS[a.row][1])  # fmt: skip
        return
    begin = time.time()
    for name in a.rows.split(","):
        left, usual = a.seconds - (time.time() - begin), ROWS[name][0]
        if left < usual / 3:
            print(f"{name}: left out, {left:.0f} s are left")
            continue
        command = [sys.executable, __file__, "--out", str(a.out), "--row", name]
        with (a.out / f"{name}.log").open("w") as log:
            try:
                done = subprocess.run(
                    command + ["--toy"] * a.toy, stdout=log, stderr=subprocess.STDOUT,
                    timeout=min(left, usual),
                )  # fmt: skip
                ended = f"rc {done.returncode}"
            except subprocess.TimeoutExpired:
                ended = "stopped"
        print(f"{name}: {ended}, {time.time() - begin:.0f} s so far", flush=True)
        result = summary(a.out)
        (a.out / "summary.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(summary(a.out), indent=1))


if __name__ == "__main__":
    main()
