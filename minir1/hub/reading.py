"""A Hugging Face directory as a model and its tokenizer.

    python -m minir1 import Qwen2.5-0.5B qwen.pt
    python train_zero.py --base qwen.pt --rl.tasks countdown:cpu=1     or --base Qwen2.5-0.5B

Read are Llama (with Llama 3's longer contexts), Qwen2 and 2.5, Qwen3, and what `minir1 export`
writes. Every weight is used, in float32, and none is left out: tests/test_import.py holds the
logits to transformers'. A setting that would change the function and is not known here is refused.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from minir1.checkpoint import check_finite, compare, save_checkpoint
from minir1.config import Diverged, ModelConfig, UserError, check_ranges, from_dict
from minir1.console.errors import parse
from minir1.console.files import check_writable
from minir1.hub.codec import ImportedCodec, find_template
from minir1.hub.export import rename
from minir1.hub.tensors import read_json, read_tensors
from minir1.model import Transformer
from minir1.tokenizer import Library, TextCodec, Tokenizer
from minir1.transcript import SPECIAL_TOKENS

# ---------------------------------------------------------------- configuration

FAMILIES = {  # architecture: what it sets
    "LlamaForCausalLM": {},
    "Qwen2ForCausalLM": {"qkv_bias": True},
    "Qwen3ForCausalLM": {"qk_norm": True},
    "DeepseekV3ForCausalLM": {"attention": "mla"},
}
ONLY = {  # settings that change the function: what they may be (missing ones are fine)
    "hidden_act": ("silu",), "attention_bias": (False,), "mlp_bias": (False,),
    "use_sliding_window": (False,), "quantization_config": (None,), "partial_rotary_factor": (1.0,),
    "rope_interleave": (True,), "scoring_func": ("sigmoid",), "norm_topk_prob": (True,),
    "n_group": (1, None), "topk_group": (1, None), "moe_layer_freq": (1,),
    "attention_multiplier": (None,), "residual_multiplier": (None,), "logits_scaling": (None,),
}  # fmt: skip
DENSE = {"num_key_value_heads": "kv_heads", "head_dim": "head_width"}
LATENT = {
    "q_lora_rank": "q_rank", "kv_lora_rank": "kv_rank", "qk_nope_head_dim": "nope_width",
    "qk_rope_head_dim": "rope_width", "v_head_dim": "value_width",
    "first_k_dense_replace": "dense_layers", "n_routed_experts": "experts",
    "n_shared_experts": "shared_experts", "num_experts_per_tok": "top_k",
    "moe_intermediate_size": "expert_width", "routed_scaling_factor": "routed_scale",
}  # fmt: skip
COMMON = {  # theirs: ours
    "vocab_size": "vocab_size", "hidden_size": "width", "intermediate_size": "dense_width",
    "num_hidden_layers": "layers", "num_attention_heads": "heads", "rms_norm_eps": "norm_eps",
    "max_position_embeddings": "positions", "tie_word_embeddings": "tied",
}  # fmt: skip
SCALING = {
    "factor": "rope_factor", "low_freq_factor": "rope_slow", "high_freq_factor": "rope_fast",
    "original_max_position_embeddings": "rope_original",
}  # fmt: skip


def model_config(hub: dict) -> ModelConfig:
    """config.json as our configuration. Raises UserError for what it cannot hold."""
    family, *more = hub.get("architectures") or [None]
    if family not in FAMILIES or more:
        known = ", ".join(name.removesuffix("ForCausalLM") for name in FAMILIES)
        raise UserError(f"architecture {family!r:.60} is unknown; there are {known}")
    for name, allowed in ONLY.items():
        if name in hub and hub[name] not in allowed:
            raise UserError(f"{name} {hub[name]!r:.60} of {family} is not supported")
    if "sliding_attention" in (hub.get("layer_types") or ()):
        raise UserError("sliding attention is not supported")
    latent = family == "DeepseekV3ForCausalLM"
    values = {"attention": "gqa", "experts": 0} | FAMILIES[family]
    heads, width = hub.get("num_attention_heads"), hub.get("hidden_size")
    given = {"q_lora_rank": 0, "tie_word_embeddings": False, "num_key_value_heads": heads}
    if type(heads) is type(width) is int and heads > 0 and family != "Qwen3ForCausalLM":
        given["head_dim"] = width // heads
    given |= {name: value for name, value in hub.items() if value is not None}
    for theirs, ours in (COMMON | (LATENT if latent else DENSE)).items():
        if theirs not in given:
            raise UserError(f"{theirs} is missing")
        values[ours] = given[theirs]
    config = from_dict(ModelConfig, values | _rope(hub))
    check_ranges(config)
    return _checked(config, latent)


def _rope(hub: dict) -> dict:
    """Of the rotation: transformers 5 has one dictionary, earlier ones a key and a dictionary."""
    rope = hub.get("rope_parameters") or hub.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default")) if isinstance(rope, dict) else rope
    if kind not in ("default", "llama3"):
        raise UserError(f"rope_type {kind!r:.60} is not supported; there are default and llama3")
    values = {"rope_base": rope.get("rope_theta", hub.get("rope_theta", 10_000.0))}
    if kind == "llama3":
        if missing := [name for name in SCALING if name not in rope]:
            raise UserError(f"{missing[0]} of rope_type llama3 is missing")
        values |= {ours: rope[theirs] for theirs, ours in SCALING.items()}
    return values


def _checked(c: ModelConfig, latent: bool) -> ModelConfig:
    """Raises UserError for numbers that cannot work together."""
    rules = {
        "num_attention_heads is no multiple of num_key_value_heads":
            latent or c.heads % c.kv_heads == 0,
        "the rotated width of a head is odd": (c.rope_width if latent else c.head_width) % 2 == 0,
        "num_experts_per_tok exceeds n_routed_experts": not latent or c.top_k <= c.experts,
        "high_freq_factor is not above low_freq_factor": c.rope_fast > c.rope_slow,
    }  # fmt: skip
    for message, holds in rules.items():
        if not holds:
            raise UserError(message)
    dense = latent and c.dense_layers >= c.layers  # the export of a model without experts
    return replace(c, experts=0) if dense else c


# ---------------------------------------------------------------- weights


def model_weights(c: ModelConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our weights by our names, from theirs. Raises UserError unless they are exactly those that
    the configuration asks for. Costs no memory before that is known, but for stacked experts."""
    if not 0 < c.layers <= len(tensors):
        raise UserError(f"{c.layers} layers, but {len(tensors)} tensors")
    with torch.device("meta"):
        expected = Transformer(replace(c, positions=1)).state_dict()
    left, weights = dict(tensors), {}
    for name, weight in expected.items():
        theirs = rename(name, c.attention, c.q_rank)
        if name == "head.weight" and c.tied:
            left.pop(theirs, None)
            theirs = rename("embed.weight", c.attention)
            weights[name] = tensors.get(theirs, weight)
        elif name.endswith(("_EFD", "_EDF")):
            layer, matrix = theirs.split(".mlp.")
            each = [_take(left, f"{layer}.mlp.experts.{e}.{matrix}", weight[e])
                    for e in range(c.experts)]
            weights[name] = torch.stack(each)
        else:
            weights[name] = _take(left, theirs, weight)
    for name, tensor in left.items():
        if tensor.numel() and not name.endswith("rotary_emb.inv_freq"):
            raise UserError(f"{name} has no place in the model")
    return weights


def _take(left: dict[str, Tensor], name: str, expected: Tensor) -> Tensor:
    """The tensor of that name, which it takes out."""
    if name not in left:
        raise UserError(f"{name} is missing")
    tensor = left.pop(name)
    if tensor.shape != expected.shape:
        raise UserError(f"{name} is {list(tensor.shape)}, not {list(expected.shape)}")
    return tensor


# ---------------------------------------------------------------- tokenizer


def read_codec(directory: Path, config: dict, template: str) -> TextCodec:
    """Our own tokenizer if the directory holds one, else an ImportedCodec. Raises UserError."""
    path = directory / "tokenizer.json"
    library_json = read_json(path)
    generation = directory / "generation_config.json"
    settings = [config] + ([read_json(generation)] if generation.is_file() else [])
    ends = [s.get("eos_token_id") for s in settings]
    end_ids = [id for end in ends for id in (end if isinstance(end, list) else [end])]
    try:
        text = path.read_text(encoding="utf-8")
        library = Library.from_str(text)
        if all(library.token_to_id(token) is not None for token in SPECIAL_TOKENS):
            for token in library_json["added_tokens"]:  # the export shows tags as ordinary text
                token["special"] |= token["content"] in SPECIAL_TOKENS
            return Tokenizer.from_text(json.dumps(library_json))
        template, pad = find_template(template, library), config.get("pad_token_id")
        whole = tuple(id for id in end_ids if type(id) is int)
        return ImportedCodec(text, template, whole, pad if type(pad) is int else None)
    except UserError:
        raise
    except Exception as fault:
        said = " ".join(str(fault).split())[:160]
        raise UserError(f"{path} is no tokenizer that can be read ({said})") from None


# ---------------------------------------------------------------- the directory


def read_directory(directory: str | Path, template: str = "auto") -> tuple[Transformer, TextCodec]:
    """A float32 model and its tokenizer. Raises UserError with one line."""
    directory = Path(directory)
    settings = read_json(directory / "config.json")
    try:
        config = model_config(settings)
        weights = model_weights(config, read_tensors(directory))
        compare(config, weights)
    except (UserError, ValueError, TypeError, AttributeError) as fault:
        place = "" if str(directory) in str(fault) else f"{directory} cannot be imported: "
        raise UserError(f"{place}{fault}") from None
    codec = read_codec(directory, settings, template)
    if len(codec) > config.vocab_size:
        say = f"the tokenizer has {len(codec)} tokens, the model {config.vocab_size}"
        raise UserError(f"{directory} cannot be imported: {say}")
    model = Transformer(config)
    model.load_state_dict(weights)
    try:
        check_finite(model)
    except Diverged as fault:
        raise UserError(f"{directory}: {fault}") from None
    return model.eval(), codec


def main(arguments: list[str]) -> None:
    """`DIR OUT.pt`. Raises UserError; prints help and raises SystemExit(0) for --help."""
    about = "Write a Hugging Face directory (Llama, Qwen2, Qwen3, our own) as a checkpoint."
    parser = argparse.ArgumentParser("minir1 import", description=about)
    add = parser.add_argument
    add("directory", metavar="DIR", type=Path, help="config.json, *.safetensors, tokenizer.json")
    add("out", metavar="OUT.pt", type=Path, help="file to write")
    how = "how it is asked: auto, chatml, llama3, plain, table1, or a file with {question}"
    add("--template", default="auto", help=f"{how} (default: by the tokenizer's marks)")
    arguments = parse(parser, arguments)
    check_writable(arguments.out, device=False)
    model, codec = read_directory(arguments.directory, arguments.template)
    save_checkpoint(arguments.out, model, codec)
    count = sum(weight.numel() for weight in model.parameters())
    size = f"{count:,} parameters in float32, {len(codec):,} tokens"
    ends = ", ".join(codec.library.id_to_token(id) for id in codec.end_ids)
    print(f"wrote {arguments.out}: {size}; a response ends at {ends}")
