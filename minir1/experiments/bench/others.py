"""The others: transformers' generate and TRL's GRPOTrainer, on the same weights, exported."""

import tempfile
import time
from importlib.util import find_spec
from string import digits

import torch

from minir1.checkpoint import save_checkpoint
from minir1.config import replace
from minir1.fast.device import Device
from minir1.hub.export import export
from minir1.model import Transformer
from minir1.tokenizer import Tokenizer


def share_of_digits(texts: list[str]) -> list[float]:
    """A reward that differs within every group, even for random weights: ours and TRL's alike."""
    return [sum(map(text.count, digits)) / max(1, len(text)) for text in texts]


def missing(*packages: str) -> str:
    """Which of the packages is not installed, in words; "" if all are."""
    absent = [p for p in packages if find_spec(p) is None]
    return f"{', '.join(absent)} not installed" if absent else ""


def exported(model: Transformer, tokenizer: Tokenizer, folder: str):
    """transformers' twin of the model, and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    save_checkpoint(f"{folder}/model.pt", model, tokenizer)
    export(f"{folder}/model.pt", f"{folder}/hub")
    hub = AutoTokenizer.from_pretrained(f"{folder}/hub")
    return AutoModelForCausalLM.from_pretrained(f"{folder}/hub", dtype=torch.float32), hub


def llama_of(model: Transformer) -> Transformer:
    """A dense model of the same width and depth, Llama's shape."""
    c = model.config
    heads = {"attention": "gqa", "kv_heads": c.heads, "head_width": c.width // c.heads}
    dense = replace(c, experts=0, dense_layers=c.layers, **heads)
    return Transformer(dense).to(model.embed.weight.device)


def generate(
    model: Transformer, tokenizer: Tokenizer, prompts: list[list[int]], tokens: int, clock
) -> dict[str, dict]:
    """transformers' generate on `prompts`, `tokens` each."""
    name = "transformers, DeepseekV3"
    if why := missing("transformers", "safetensors"):
        return {name: {"left_out": why}}
    device, width = model.embed.weight.device, max(map(len, prompts))
    with tempfile.TemporaryDirectory() as folder:
        twin, _ = exported(model, tokenizer, folder)
    pad, dtype = tokenizer.pad, torch.bfloat16 if device.type == "cuda" else torch.float32
    twin = twin.to(device, dtype).eval()
    ids_BT = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=device)
    mask_BT = (ids_BT != pad).long()
    how = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": True, "top_k": 0}
    how["pad_token_id"] = pad
    with torch.no_grad():
        seconds = clock(lambda: twin.generate(ids_BT, attention_mask=mask_BT, **how), 1)
    return {name: {"tokens_s": len(prompts) * tokens / seconds}}


def trl_steps(
    model: Transformer, tokenizer: Tokenizer, prompts: list[str], group: int, tokens: int,
    device: Device, dtype: torch.dtype = torch.float32,
) -> dict[str, dict]:
    """TRL's GRPOTrainer end to end on the same shape, weights in `dtype`: ours, a dense Llama."""
    if why := missing("trl", "datasets", "transformers", "safetensors"):
        return {"TRL": {"left_out": why}}
    rows = {}
    for name, ours in (("TRL, DeepseekV3", model), ("TRL, Llama", llama_of(model))):
        with tempfile.TemporaryDirectory() as folder:
            twin, hub = exported(ours, tokenizer, folder)
            seconds = _trl_seconds(twin.to(dtype), hub, prompts, group, tokens, device.name, folder)
        rate = len(prompts) * group / seconds
        rows[name] = {"seconds": seconds, "samples_s": rate, "tokens_s": rate * tokens}
    return rows


def _trl_seconds(
    twin, hub, prompts: list[str], group: int, tokens: int, device: str, folder: str, steps: int = 6
) -> float:
    """Median seconds of a step (rollout, reward, update), the first left out."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_, **__):
            if device == "cuda":
                torch.cuda.synchronize()
            ends.append(time.perf_counter())

    config = GRPOConfig(
        output_dir=folder, per_device_train_batch_size=len(prompts) * group, num_generations=group,
        max_completion_length=tokens, max_steps=steps, learning_rate=1e-4, temperature=1.0,
        generation_kwargs={"min_new_tokens": tokens, "top_k": 0}, gradient_checkpointing=False,
        bf16=device == "cuda", use_cpu=device == "cpu", report_to="none", save_strategy="no",
        logging_strategy="no", disable_tqdm=True,
    )
    reward = lambda completions, **_: share_of_digits(completions)  # noqa: E731
    data = Dataset.from_dict({"prompt": prompts * steps})
    GRPOTrainer(twin, reward, config, data, processing_class=hub, callbacks=[Clock()]).train()
    return sorted(b - a for a, b in zip(ends, ends[1:]))[(len(ends) - 1) // 2]
