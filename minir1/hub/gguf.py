"""A checkpoint as llama.cpp and Ollama read it: model.gguf and a Modelfile.

    python -m minir1 export minir1/data/zero-cpu.pt my-zero --format gguf --type q8_0
    ollama create my-zero -f my-zero/Modelfile
    ollama run my-zero "Use 19, 36, 55, 7 to make 65."

A latent-attention model becomes deepseek2, a dense twin llama, qwen2 or qwen3. f32 is the same
function as ours; q8_0 keeps 8 bits of a matrix's numbers, 32 numbers to a scale, and f16 where rows
are no multiple of 32.
"""

import json
import os
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minir1.checkpoint import load_checkpoint
from minir1.config import ModelConfig, UserError
from minir1.hub.codec import ImportedCodec
from minir1.model import Transformer, slowed
from minir1.tasks import GENERAL, draw_problems, find_task
from minir1.tokenizer import Library, Regex, TextCodec, Tokenizer, pre_tokenizers
from minir1.transcript import END, prompt

TYPES = ("f32", "f16", "q8_0")
MISSING = 'export to GGUF needs the package gguf: pip install -e ".[export]"'

# ---------------------------------------------------------------- weights

_NAMES = {  # ours, between "blocks.3." and ".weight": theirs, behind "blk.3."
    "norm_1": "attn_norm", "norm_2": "ffn_norm", "attention.out": "attn_output",
    "attention.q": "attn_q", "attention.k": "attn_k", "attention.v": "attn_v",
    "attention.k_norm": "attn_k_norm", "attention.q_down": "attn_q_a",
    "attention.kv_down": "attn_kv_a_mqa", "attention.kv_norm": "attn_kv_a_norm",
    "mixer.gate": "ffn_gate", "mixer.up": "ffn_up", "mixer.down": "ffn_down",
    "mixer.shared.gate": "ffn_gate_shexp", "mixer.shared.up": "ffn_up_shexp",
    "mixer.shared.down": "ffn_down_shexp",
}  # fmt: skip
_WHOLE = {  # the same for what has no ".weight" here
    "mixer.router": "ffn_gate_inp.weight", "mixer.bias_E": "exp_probs_b.bias",
    "mixer.gate_EFD": "ffn_gate_exps.weight", "mixer.up_EFD": "ffn_up_exps.weight",
    "mixer.down_EDF": "ffn_down_exps.weight",
}  # fmt: skip
_ENDS = {"embed": "token_embd", "norm": "output_norm", "head": "output"}


def architecture(c: ModelConfig) -> str:
    """Raises UserError where llama.cpp has none that is the same function."""
    if c.attention == "mla":
        return "deepseek2"
    if c.experts and c.dense_layers < c.layers:
        raise UserError("cannot export: llama.cpp has no gqa model with our experts")
    if c.qk_norm and c.qkv_bias:
        raise UserError("cannot export: llama.cpp has no model with both qk_norm and qkv_bias")
    return "qwen3" if c.qk_norm else "qwen2" if c.qkv_bias else "llama"


def gguf_name(name: str, c: ModelConfig) -> str:
    """Our name of a tensor -> its name in a GGUF file.

    >>> gguf_name("blocks.3.attention.kv_down.weight", ModelConfig())
    'blk.3.attn_kv_a_mqa.weight'
    """
    if not name.startswith("blocks."):
        part, kind = name.split(".")
        return f"{_ENDS[part]}.{kind}"
    _, layer, rest = name.split(".", 2)
    if rest in _WHOLE:
        return f"blk.{layer}.{_WHOLE[rest]}"
    part, _, kind = rest.rpartition(".")
    latent = c.attention == "mla"
    own = {
        "attention.q_norm": "attn_q_a_norm" if latent else "attn_q_norm",
        "attention.q_up": "attn_q_b" if c.q_rank else "attn_q",
    }
    return f"blk.{layer}.{(_NAMES | own)[part]}.{kind}"


def gguf_weights(model: Transformer, tokens: int) -> dict[str, Tensor]:
    """Tensors under GGUF names, float32; of the vocabulary only `tokens` rows, so that an id
    without a token is never drawn."""
    c, weights = model.config, {}
    for name, value in model.state_dict().items():
        value = value.detach().float().cpu()
        if name.startswith("mtp_") or (c.tied and name == "head.weight"):
            continue
        if name in ("embed.weight", "head.weight"):
            value = value[:tokens]
        if name.endswith("kv_up.weight"):  # as the cache wants it: keys from latents, and back
            up_HUR = value.unflatten(0, (c.heads, -1))
            key_HCR, value_HUR = up_HUR.split([c.nope_width, c.value_width], dim=1)
            layer = f"blk.{name.split('.')[1]}"
            weights[f"{layer}.attn_k_b.weight"] = key_HCR.transpose(1, 2)
            weights[f"{layer}.attn_v_b.weight"] = value_HUR
            continue
        if architecture(c) == "llama" and re.search(r"attention\.[qk]\.", name):
            value = halves_to_pairs(value, c.head_width)
        weights[gguf_name(name, c)] = value
    if c.rope_factor != 1:
        exponent_A = torch.arange(0, c.head_width, 2, dtype=torch.float32) / c.head_width
        frequency_A = 1 / c.rope_base**exponent_A
        weights["rope_freqs.weight"] = frequency_A / slowed(frequency_A, c)
    return weights


def halves_to_pairs(value: Tensor, width: int) -> Tensor:
    """Rows of each head in the order of an interleaved rotation, which llama.cpp's llama turns.

    >>> halves_to_pairs(torch.arange(8), 4).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    return value.unflatten(0, (-1, 2, width // 2)).transpose(1, 2).flatten(0, 2)


def add_weights(writer, weights: dict[str, Tensor], kind: str) -> None:
    """Vectors and routers stay float32: they are small, and llama.cpp computes with them so."""
    from gguf import GGMLQuantizationType as Kind
    from gguf import quants

    for name, value in weights.items():
        array = np.ascontiguousarray(value.numpy())
        small = array.ndim == 1 or "ffn_gate_inp" in name or kind == "f32"
        if small:
            writer.add_tensor(name, array)
        elif kind == "q8_0" and array.shape[-1] % 32 == 0:
            packed = quants.quantize(array, Kind.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=Kind.Q8_0)
        else:
            writer.add_tensor(name, array.astype(np.float16))


# ---------------------------------------------------------------- settings


def add_settings(writer, c: ModelConfig, tokens: int) -> None:
    latent = c.attention == "mla"
    writer.add_vocab_size(tokens)
    writer.add_context_length(c.positions)
    writer.add_embedding_length(c.width)
    writer.add_block_count(c.layers)
    writer.add_feed_forward_length(c.dense_width)
    writer.add_head_count(c.heads)
    writer.add_head_count_kv(1 if latent else c.kv_heads)
    writer.add_layer_norm_rms_eps(c.norm_eps)
    writer.add_rope_freq_base(c.rope_base)
    writer.add_rope_dimension_count(c.rope_width if latent else c.head_width)
    if not latent:
        writer.add_key_length(c.head_width)
        writer.add_value_length(c.head_width)
        return
    from gguf import ExpertGatingFuncType as Gate

    writer.add_key_length(c.kv_rank + c.rope_width)
    writer.add_value_length(c.kv_rank)
    writer.add_key_length_mla(c.nope_width + c.rope_width)
    writer.add_value_length_mla(c.value_width)
    writer.add_kv_lora_rank(c.kv_rank)
    writer.add_q_lora_rank(c.q_rank)  # wanted even at 0
    writer.add_leading_dense_block_count(min(c.dense_layers, c.layers) if c.experts else c.layers)
    writer.add_expert_count(c.experts)
    writer.add_expert_used_count(c.top_k if c.experts else 0)
    writer.add_expert_shared_count(c.shared_experts)
    writer.add_expert_feed_forward_length(c.expert_width)
    writer.add_expert_weights_scale(c.routed_scale)
    writer.add_expert_weights_norm(True)
    writer.add_expert_gating_func(Gate.SIGMOID)


# ---------------------------------------------------------------- tokenizer

# llama.cpp knows by name how a text is split before it is merged: the name, and how to tell
_CASES = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PRE_TOKENIZERS = {
    ("Split", rf"{_CASES}\p{{N}}{_REST}", "ByteLevel"): "qwen2",
    ("Split", rf"{_CASES}\p{{N}}{{1,3}}{_REST}", "ByteLevel"): "llama-bpe",
    ("Digits", "True", "ByteLevel regex"): "smollm",
    ("ByteLevel regex",): "gpt-2",
}
OUR_SPLITS = "superbpe"  # at digits only: our tokens hold none, but words, spaces and line breaks


def pre_tokenizer(library: dict) -> str:
    """llama.cpp's name of a tokenizer.json's splits. Raises UserError if it has none."""
    split = library.get("pre_tokenizer") or {}
    signs = []
    for step in split.get("pretokenizers", [split]):
        regex = step.get("type") == "ByteLevel" and step.get("use_regex", True)
        signs.append(f"{step.get('type')}{' regex' if regex else ''}")
        if step.get("type") == "Split":
            signs.append(step["pattern"].get("Regex"))
        if step.get("type") == "Digits":
            signs.append(str(step["individual_digits"]))
    if tuple(signs) not in PRE_TOKENIZERS or library["model"].get("type") != "BPE":
        raise UserError("cannot export: llama.cpp has no name for how this tokenizer splits text")
    return PRE_TOKENIZERS[tuple(signs)]


def add_tokenizer(writer, codec: TextCodec) -> int:
    """Tokens, their kinds and how they merge. Returns their number. Raises UserError."""
    from gguf import TokenType as Kind

    imported = isinstance(codec, ImportedCodec)
    library = json.loads(codec.text if imported else codec.to_text())
    vocabulary = {id: token for token, id in library["model"]["vocab"].items()}
    added = {token["id"]: token for token in library["added_tokens"]}
    ends = (*codec.end_ids, codec.pad, codec.begin)
    texts, kinds = [], []
    for id in range(len(codec)):
        text, kind = vocabulary.get(id, f"[unused {id}]").encode(), Kind.NORMAL
        if id in added:
            control = id in ends or (imported and added[id]["special"])
            text = added[id]["content"].encode()
            kind = Kind.CONTROL if control else Kind.USER_DEFINED
        elif id not in vocabulary:
            kind = Kind.UNUSED
        texts.append(text)
        kinds.append(kind)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer(library) if imported else OUR_SPLITS)
    writer.add_token_list(texts)
    writer.add_token_types(kinds)
    writer.add_token_merges([f"{a} {b}" for a, b in merges_of(library)])
    writer.add_add_bos_token(False)  # the template writes it
    writer.add_eos_token_id(codec.end)
    writer.add_pad_token_id(codec.pad)
    if codec.begin is not None:
        writer.add_bos_token_id(codec.begin)
    return len(codec)


def as_llama_cpp_does(tokenizer: Tokenizer) -> Library:
    """Our tokens and merges, but text is cut at digits only; its encode gives llama.cpp's ids."""
    library = Library.from_str(tokenizer.to_text())
    digits = pre_tokenizers.Split(Regex("[0-9]+"), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(False, use_regex=False)
    library.pre_tokenizer = pre_tokenizers.Sequence([digits, to_bytes])
    return library


def cut_otherwise(tokenizer: Tokenizer, count: int = 1000) -> dict[str, float]:
    """Share of prompts whose ids llama.cpp makes otherwise: of puzzles, of all kinds we know."""
    theirs, shares = as_llama_cpp_does(tokenizer), {}
    puzzles = ("countdown:cpu=1", "countdown:3to4=1")
    kinds = (f"{name}:{kind}=1" for name in GENERAL for kind in find_task(name).kinds)
    for name, tasks in {"puzzles": puzzles, "general prompts": tuple(kinds)}.items():
        asked = draw_problems(tasks, ("en", "zh"), "train", "gguf", count)
        texts = [prompt(problem.question()) for problem in asked]
        other = sum(theirs.encode(text).ids != tokenizer.encode(text) for text in texts)
        shares[name] = other / count
    return shares


def merges_of(library: dict) -> list[tuple[str, str]]:
    """Pairs in order of rank; older files hold "a b"."""
    merges = library["model"].get("merges", [])
    return [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in merges]


# ---------------------------------------------------------------- the directory


def modelfile(codec: TextCodec, c: ModelConfig) -> str:
    """Ollama's: the template as it was trained with, and evaluate's sampling."""
    if isinstance(codec, ImportedCodec):
        before, after = codec.before, codec.after
        ends = [codec.token(id) for id in codec.end_ids]
    else:
        before, after = prompt("\0").split("\0")
        ends = [END]
    lines = ["FROM ./model.gguf", f'TEMPLATE """{before}{{{{ .Prompt }}}}{after}"""']
    sampling = {"temperature": 0.6, "top_p": 0.95, "top_k": 0, "repeat_penalty": 1.0}
    sampling["num_ctx"] = min(c.positions, 8192)
    lines += [f"PARAMETER {name} {value}" for name, value in sampling.items()]
    return "\n".join([*lines, *(f'PARAMETER stop "{end}"' for end in ends)]) + "\n"


def export_gguf(checkpoint: str | Path, directory: Path, kind: str) -> str:
    """Write the two files and return one line about them. Raises UserError."""
    try:
        import gguf
    except ImportError as fault:
        raise UserError(MISSING) from fault
    model, codec = load_checkpoint(checkpoint)
    name = architecture(model.config)
    path = directory / "model.gguf"
    writer = gguf.GGUFWriter(None, name)
    tokens = add_tokenizer(writer, codec)
    add_settings(writer, model.config, tokens)
    share = "ALL" if kind == "f32" else "MOSTLY"
    writer.add_file_type(gguf.LlamaFileType[f"{share}_{kind.upper()}"])
    add_weights(writer, gguf_weights(model, tokens), kind)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        part = path.with_name("model.gguf.part")
        writer.write_header_to_file(part)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(part, path)
        (directory / "Modelfile").write_text(modelfile(codec, model.config), encoding="utf-8")
    except OSError as fault:
        raise UserError(f"cannot write {directory}: {fault}") from fault
    size = f"{name} in {kind}, {path.stat().st_size / 1e6:.1f} MB"
    if isinstance(codec, ImportedCodec):
        return size
    other = ", ".join(f"{share:.1%} of {of}" for of, share in cut_otherwise(codec).items())
    return f"{size} (llama.cpp cuts {other} into other tokens)"
