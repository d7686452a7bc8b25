"""A Hugging Face directory as a model and its tokenizer.

    python -m minir1 import Qwen2.5-0.5B qwen.pt
    python train_zero.py --base qwen.pt --rl.tasks countdown:cpu=1     or --base Qwen2.5-0.5B

Read are Llama (with Llama 3's longer contexts), Qwen2 and 2.5, Qwen3, and what `minir1 export`
writes; settings that would change the function and are not known here are refused.
"""

import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from minir1.checkpoint import check_finite, compare, save_checkpoint
from minir1.config import Diverged, ModelConfig, UserError, check_ranges, from_dict
from minir1.console.errors import make_parser, parse
from minir1.console.files import check_writable
from minir1.hub.codec import ImportedCodec, find_template
from minir1.hub.names import COMMON, DENSE, LATENT, SCALING, rename
from minir1.hub.tensors import read_json, read_tensors
from minir1.model import Transformer
from minir1.tokenizer import Library, TextCodec, Tokenizer
from minir1.transcript import SPECIAL_TOKENS

# ---------------------------------------------------------------- configuration

FAMILIES = {  # what an architecture sets
    "LlamaForCausalLM": {}, "DeepseekV3ForCausalLM": {"attention": "mla"},
    "Qwen2ForCausalLM": {"qkv_bias": True}, "Qwen3ForCausalLM": {"qk_norm": True},
}  # fmt: skip
ONLY = {  # settings that change the function: what they may be (missing ones are fine)
    "hidden_act": ("silu",), "attention_bias": (False,), "mlp_bias": (False,),
    "use_sliding_window": (False,), "quantization_config": (None,), "partial_rotary_factor": (1.0,),
    "rope_interleave": (True,), "scoring_func": ("sigmoid",), "norm_topk_prob": (True,),
    "n_group": (1, None), "topk_group": (1, None), "moe_layer_freq": (1,),
    "attention_multiplier": (None,), "residual_multiplier": (None,), "logits_scaling": (None,),
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
        values[ours] = _get(given, theirs)
    config = from_dict(ModelConfig, values | _rope(hub))
    check_ranges(config)
    return _checked(config, latent)


def _get(values: dict, name: str):
    if name not in values:
        raise UserError(f"{name} is missing")
    return values[name]


def _rope(hub: dict) -> dict:
    """Of the rotation: transformers 5 has one dictionary, earlier ones a key and a dictionary."""
    rope = hub.get("rope_parameters") or hub.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default")) if isinstance(rope, dict) else rope
    if kind not in ("default", "llama3"):
        raise UserError(f"rope_type {kind!r:.60} is not supported; there are default and llama3")
    values = {"rope_base": rope.get("rope_theta", hub.get("rope_theta", 10_000.0))}
    if kind == "llama3":
        values |= {ours: _get(rope, theirs) for theirs, ours in SCALING.items()}
    return values


def _checked(c: ModelConfig, latent: bool) -> ModelConfig:
    """Raises UserError for numbers that cannot work together."""
    rules = {
        "num_attention_heads % num_key_value_heads": not latent and c.heads % c.kv_heads,
        "the rotated width of a head % 2": (c.rope_width if latent else c.head_width) % 2,
        "num_experts_per_tok > n_routed_experts": latent and c.top_k > c.experts,
        "low_freq_factor >= high_freq_factor": c.rope_slow >= c.rope_fast,
    }
    if broken := [rule for rule, breaks in rules.items() if breaks]:
        raise UserError(f"it cannot be that {broken[0]}")
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
            places = (f"{layer}.mlp.experts.{e}.{matrix}" for e in range(c.experts))
            weights[name] = torch.stack([_take(left, p, weight[0]) for p in places])
        else:
            weights[name] = _take(left, theirs, weight)
    for name, tensor in left.items():
        if tensor.numel() and not name.endswith("rotary_emb.inv_freq"):
            raise UserError(f"{name} has no place in the model")
    return weights


def _take(left: dict[str, Tensor], name: str, expected: Tensor) -> Tensor:
    tensor = _get(left, name)
    del left[name]
    if tensor.shape != expected.shape:
        raise UserError(f"{name} is {list(tensor.shape)}, not {list(expected.shape)}")
    return tensor


# ---------------------------------------------------------------- tokenizer


def read_codec(directory: Path, config: dict, template: str) -> TextCodec:
    """Our own tokenizer if the directory holds one, else an ImportedCodec. Raises UserError."""
    path = directory / "tokenizer.json"
    library_json = read_json(path)
    generation = directory / "generation_config.json"
    more = read_json(generation) if generation.is_file() else {}
    ends = [values.get("eos_token_id") for values in (config, more)]
    end_ids = [id for end in ends for id in (end if isinstance(end, list) else [end])]
    try:
        text = path.read_text(encoding="utf-8")
        library = Library.from_str(text)
        if all(library.token_to_id(token) is not None for token in SPECIAL_TOKENS):
            for token in library_json["added_tokens"]:  # the export shows tags as ordinary text
                token["special"] |= token["content"] in SPECIAL_TOKENS
            return Tokenizer.from_text(json.dumps(library_json))
        template, pad = find_template(template, library), config.get("pad_token_id")
        return ImportedCodec(text, template, tuple(end_ids), pad)
    except Exception as fault:
        if isinstance(fault, UserError):
            raise
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
        raise UserError(f"{directory}: {len(codec)} tokens, but {config.vocab_size} embeddings")
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
    parser, add = make_parser("import", about)
    add("directory", metavar="DIR", type=Path, help="config.json, *.safetensors, tokenizer.json")
    add("out", metavar="OUT.pt", type=Path, help="file to write")
    how = "how it is asked: auto, chatml, llama3, plain, table1, or a file with {question}"
    add("--template", default="auto", help=f"{how} (default: by the tokenizer's marks)")
    arguments = parse(parser, arguments)
    check_writable(arguments.out, device=False)
    model, codec = read_directory(arguments.directory, arguments.template)
    save_checkpoint(arguments.out, model, codec)
    count = sum(weight.numel() for weight in model.parameters())
    ends = ", ".join(map(codec.library.id_to_token, codec.end_ids))
    size = f"{count:,} parameters in float32, {len(codec):,} tokens"
    print(f"wrote {arguments.out}: {size}; a response ends at {ends}")
