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
from torch import Tensor

from minir1.checkpoint import load_checkpoint
from minir1.config import ModelConfig, UserError
from minir1.hub.codec import ImportedCodec, around
from minir1.hub.names import exported, leading_dense, rename
from minir1.model import Transformer, frequencies
from minir1.tasks import GENERAL, draw_problems, find_task
from minir1.tokenizer import Library, Regex, TextCodec, Tokenizer, pre_tokenizers
from minir1.transcript import prompt

TYPES = ("f32", "f16", "q8_0")

# ---------------------------------------------------------------- weights


def architecture(c: ModelConfig) -> str:
    """Raises UserError where llama.cpp has none that is the same function."""
    if c.attention == "mla":
        if c.rope_factor != 1:
            raise UserError("cannot export: llama.cpp has no latent model with rope_factor")
        return "deepseek2"
    if leading_dense(c) < c.layers or (c.qk_norm and c.qkv_bias):
        say = "gqa model with our experts, and none with both qk_norm and qkv_bias"
        raise UserError(f"cannot export: llama.cpp has no {say}")
    return "qwen3" if c.qk_norm else "qwen2" if c.qkv_bias else "llama"


def gguf_weights(model: Transformer, names, tokens: int) -> dict[str, Tensor]:
    """Tensors, float32, under GGUF names: `names` is the gguf package's map from transformers'. Of
    the vocabulary only `tokens` rows, so that an id without a token is never drawn."""
    c, weights = model.config, {}
    for name, value in exported(model):
        if name in ("embed.weight", "head.weight"):
            value = value[:tokens]
        if architecture(c) == "llama" and re.search(r"attention\.[qk]\.", name):
            value = halves_to_pairs(value, c.head_width)
        theirs = rename(name, c.attention, c.q_rank).replace("correction_bias", "correction.bias")
        if name.endswith(("_EFD", "_EDF")):
            theirs = theirs.replace(".mlp.", ".mlp.experts.")
        named = names.get_name(theirs, try_suffixes=(".weight", ".bias"))
        if name.endswith("kv_up.weight"):  # as the cache wants it: keys from latents, and back
            up_HUR = value.unflatten(0, (c.heads, -1))
            key_HCR, value_HUR = up_HUR.split([c.nope_width, c.value_width], dim=1)
            weights[named.replace("kv_b", "k_b")] = key_HCR.transpose(1, 2)
            weights[named.replace("kv_b", "v_b")] = value_HUR
        else:
            weights[named] = value
    if c.rope_factor != 1:
        how = (c.head_width, c.rope_base)
        weights["rope_freqs.weight"] = frequencies(*how) / frequencies(*how, c)
    return weights


def halves_to_pairs(value: Tensor, width: int) -> Tensor:
    """Rows of each head in the order of an interleaved rotation, which llama.cpp's llama turns."""
    return value.unflatten(0, (-1, 2, width // 2)).transpose(1, 2).flatten(0, 2)


def add_weights(writer, weights: dict[str, Tensor], kind: str) -> None:
    """Vectors and routers stay float32: they are small, and llama.cpp computes with them so."""
    from gguf import GGMLQuantizationType, quants

    for name, value in weights.items():
        array = np.ascontiguousarray(value.numpy())
        if array.ndim == 1 or "ffn_gate_inp" in name or kind == "f32":
            writer.add_tensor(name, array)
        elif kind == "q8_0" and array.shape[-1] % 32 == 0:
            packed = quants.quantize(array, GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, array.astype(np.float16))


def settings(c: ModelConfig, tokens: int) -> dict:
    """What the writer's add_ methods of these names are given."""
    values = {
        "vocab_size": tokens, "context_length": c.positions, "embedding_length": c.width,
        "block_count": c.layers, "feed_forward_length": c.dense_width, "head_count": c.heads,
        "layer_norm_rms_eps": c.norm_eps, "rope_freq_base": c.rope_base,
    }  # fmt: skip
    if c.attention == "gqa":
        return values | {
            "head_count_kv": c.kv_heads, "rope_dimension_count": c.head_width,
            "key_length": c.head_width, "value_length": c.head_width,
        }  # fmt: skip
    from gguf import ExpertGatingFuncType as Gate

    return values | {
        "head_count_kv": 1, "rope_dimension_count": c.rope_width, "value_length": c.kv_rank,
        "key_length": c.kv_rank + c.rope_width, "key_length_mla": c.nope_width + c.rope_width,
        "value_length_mla": c.value_width, "kv_lora_rank": c.kv_rank,
        "q_lora_rank": c.q_rank,  # wanted even at 0
        "leading_dense_block_count": leading_dense(c),
        "expert_count": c.experts, "expert_used_count": c.top_k if c.experts else 0,
        "expert_shared_count": c.shared_experts, "expert_feed_forward_length": c.expert_width,
        "expert_weights_scale": c.routed_scale, "expert_weights_norm": True,
        "expert_gating_func": Gate.SIGMOID,
    }  # fmt: skip


# ---------------------------------------------------------------- tokenizer

# llama.cpp knows by name how a text is split before it is merged: the name, and how to tell
_CASES = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PRE_TOKENIZERS = {
    ("BPE", "Split", rf"{_CASES}\p{{N}}{_REST}", "ByteLevel", False): "qwen2",
    ("BPE", "Split", rf"{_CASES}\p{{N}}{{1,3}}{_REST}", "ByteLevel", False): "llama-bpe",
    ("BPE", "Digits", True, "ByteLevel", True): "smollm",
    ("BPE", "ByteLevel", True): "gpt-2",
}
OUR_SPLITS = "superbpe"  # at digits only: our tokens hold none, but words, spaces and line breaks


def pre_tokenizer(library: dict) -> str:
    """llama.cpp's name of a tokenizer.json's splits. Raises UserError if it has none."""
    split = library.get("pre_tokenizer") or {}
    signs = [library["model"].get("type")]
    for step in split.get("pretokenizers", [split]):
        regex = (step.get("pattern") or {}).get("Regex", step.get("use_regex", True))
        signs += [step.get("type"), step.get("individual_digits", regex)]
    if tuple(signs) not in PRE_TOKENIZERS:
        raise UserError("cannot export: llama.cpp has no name for how this tokenizer splits text")
    return PRE_TOKENIZERS[tuple(signs)]


def vocabulary(codec: TextCodec) -> dict:
    """Tokens, their kinds and how they merge, as `settings`. Raises UserError."""
    from gguf import TokenType as Kind

    imported = isinstance(codec, ImportedCodec)
    library = json.loads(codec.text if imported else codec.to_text())
    tokens = {id: token for token, id in library["model"]["vocab"].items()}
    merges = [m if isinstance(m, str) else " ".join(m) for m in library["model"]["merges"]]
    added = {token["id"]: token for token in library["added_tokens"]}
    ends = (*codec.end_ids, codec.pad, codec.begin)
    texts, kinds = [], []
    for id in range(len(codec)):
        texts.append(added[id]["content"] if id in added else tokens.get(id, f"[unused {id}]"))
        kinds.append(Kind.NORMAL if id in tokens else Kind.UNUSED)
        if id in added:
            control = id in ends or (imported and added[id]["special"])
            kinds[-1] = Kind.CONTROL if control else Kind.USER_DEFINED
    values = {
        "tokenizer_model": "gpt2",
        "tokenizer_pre": pre_tokenizer(library) if imported else OUR_SPLITS,
        "token_list": texts, "token_types": kinds, "token_merges": merges,
        "add_bos_token": False,  # the template writes it
        "bos_token_id": codec.begin, "eos_token_id": codec.end, "pad_token_id": codec.pad,
    }  # fmt: skip
    return {name: value for name, value in values.items() if value is not None}


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
        shares[name] = sum(theirs.encode(t).ids != tokenizer.encode(t) for t in texts) / count
    return shares


# ---------------------------------------------------------------- the directory


def modelfile(codec: TextCodec, c: ModelConfig) -> str:
    """Ollama's: the template as it was trained with, and evaluate's sampling."""
    (before, after), ends = around(codec), map(codec.library.id_to_token, codec.end_ids)
    lines = ["FROM ./model.gguf", f'TEMPLATE """{before}{{{{ .Prompt }}}}{after}"""']
    how = {"temperature": 0.6, "top_p": 0.95, "top_k": 0, "repeat_penalty": 1.0}
    how["num_ctx"] = min(c.positions, 8192)
    lines += [f"PARAMETER {name} {value}" for name, value in how.items()]
    return "\n".join([*lines, *(f'PARAMETER stop "{end}"' for end in ends)]) + "\n"


def export_gguf(checkpoint: str | Path, directory: Path, kind: str) -> str:
    """Write the two files and return one line about them. Raises UserError."""
    try:
        import gguf
    except ImportError as fault:
        raise UserError('GGUF needs the package gguf: pip install -e ".[export]"') from fault
    model, codec = load_checkpoint(checkpoint)
    c, tokens = model.config, len(codec)
    name, path = architecture(c), directory / "model.gguf"
    writer = gguf.GGUFWriter(None, name)
    file_type = f"{'ALL' if kind == 'f32' else 'MOSTLY'}_{kind.upper()}"
    values = settings(c, tokens) | vocabulary(codec)
    for key, value in (values | {"file_type": gguf.LlamaFileType[file_type]}).items():
        getattr(writer, f"add_{key}")(value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[name.upper()], c.layers)
    add_weights(writer, gguf_weights(model, names, tokens), kind)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        part = path.with_name("model.gguf.part")
        writer.write_header_to_file(part)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(part, path)
        (directory / "Modelfile").write_text(modelfile(codec, c), encoding="utf-8")
    except OSError as fault:
        raise UserError(f"cannot write {directory}: {fault}") from fault
    size = f"{name} in {kind}, {path.stat().st_size / 1e6:.1f} MB"
    if isinstance(codec, ImportedCodec):
        return size
    other = ", ".join(f"{share:.1%} of {of}" for of, share in cut_otherwise(codec).items())
    return f"{size} (llama.cpp cuts {other} into other tokens)"
