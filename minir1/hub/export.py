"""A checkpoint as a Hugging Face directory: config.json, generation_config.json, model.safetensors,
tokenizer.json, tokenizer_config.json.

    python -m minir1 export runs/cpu-0/checkpoints/zero.pt my-model
    model = AutoModelForCausalLM.from_pretrained("my-model")
    tokenizer = AutoTokenizer.from_pretrained("my-model")
    model.generate(**tokenizer(prompts, padding=True, return_tensors="pt"))

A latent-attention model becomes DeepseekV3ForCausalLM, a dense twin LlamaForCausalLM or (with
qk_norm) Qwen3ForCausalLM. Nothing is approximated: tests/test_export.py holds the logits together
to 1e-5. The multi-token-prediction block is left out: it serves pretraining, and no next-token
logit depends on it.

>>> rename("blocks.3.attention.kv_up.weight", "mla"), rename("blocks.0.mixer.gate.weight", "gqa")
('model.layers.3.self_attn.kv_b_proj.weight', 'model.layers.0.mlp.gate_proj.weight')
"""

import argparse
import json
from pathlib import Path

from torch import Tensor

from minir1.checkpoint import load_checkpoint
from minir1.config import ModelConfig, UserError
from minir1.console.errors import parse
from minir1.console.files import check_folder
from minir1.hub.codec import ImportedCodec
from minir1.hub.gguf import TYPES, export_gguf
from minir1.model import Transformer
from minir1.tokenizer import Tokenizer
from minir1.transcript import BEGIN, END, PAD

# One bos a document, as in the corpus; a finished exchange equals transcript.render.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'user' %}{{ bos_token + 'User: ' + message.content + '\\n' }}"
    "{% elif message.role == 'assistant' %}{{ 'Assistant:' + message.content + eos_token }}"
    "{% else %}"
    "{{ raise_exception('only user and assistant messages: the model knows no other role') }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)

# ---------------------------------------------------------------- configuration


def check(c: ModelConfig) -> None:
    """Raises UserError for a model that transformers' classes cannot hold exactly."""
    latent = c.attention == "mla"
    all_dense = not c.experts or c.dense_layers >= c.layers
    even = latent or c.qk_norm or c.width % c.heads == 0
    rules = {
        "a gqa model with experts has no twin in transformers; export needs experts 0": (
            latent or all_dense
        ),
        "DeepseekV3 fixes the epsilon of its latent norms at 1e-6; norm_eps differs": (
            not latent or c.norm_eps == 1e-6
        ),
        "DeepseekV3's router needs at least 2 experts": all_dense or c.experts >= 2,
        "LlamaConfig wants a width that is a multiple of the heads": even,
        "no class of transformers has both qk_norm and qkv_bias": not (c.qk_norm and c.qkv_bias),
        "a latent model with tied embeddings, or with rope_factor, is not supported": (
            not latent or (not c.tied and c.rope_factor == 1)
        ),
    }
    for message, holds in rules.items():
        if not holds:
            raise UserError(f"cannot export: {message}")


def hub_config(c: ModelConfig, tokenizer: Tokenizer | ImportedCodec) -> dict:
    """config.json."""
    own = deepseek_config(c) if c.attention == "mla" else dense_config(c)
    return own | {
        "vocab_size": c.vocab_size,
        "hidden_size": c.width,
        "intermediate_size": c.dense_width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "hidden_act": "silu",
        "max_position_embeddings": c.positions,
        "initializer_range": c.init_std,
        "rms_norm_eps": c.norm_eps,
        "rope_theta": c.rope_base,  # read by llama.cpp and by transformers before 5
        "rope_parameters": rope_parameters(c),
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": c.tied,
        "use_cache": True,
        "dtype": "float32",
        "bos_token_id": tokenizer.begin,
        "eos_token_id": tokenizer.end if len(tokenizer.end_ids) == 1 else [*tokenizer.end_ids],
        "pad_token_id": tokenizer.pad,
    }


def rope_parameters(c: ModelConfig) -> dict:
    parameters = {"rope_type": "default", "rope_theta": c.rope_base}
    if c.rope_factor != 1:
        parameters |= {
            "rope_type": "llama3",
            "factor": c.rope_factor,
            "low_freq_factor": c.rope_slow,
            "high_freq_factor": c.rope_fast,
            "original_max_position_embeddings": c.rope_original,
        }
    return parameters


def generation_config(config: dict) -> dict:
    """generation_config.json, from config.json: a bare generate() samples as `evaluate` does.

    transformers would stop after 20 tokens, be greedy and, when sampling, keep 50 tokens.
    """
    ids = {name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    room = config["max_position_embeddings"] - 128  # left for a prompt
    how = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 0}  # 0: off
    return ids | how | {"max_new_tokens": max(1, min(1024, room))}


def deepseek_config(c: ModelConfig) -> dict:
    """Every key is given: the defaults (8 groups, 3 dense layers, scale 2.5 ...) describe the 671B
    model.
    """
    # transformers wants a number even where first_k_dense_replace leaves no expert layer
    experts = c.experts or 2
    return {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "deepseek_v3",
        "num_key_value_heads": c.heads,
        "q_lora_rank": c.q_rank or None,
        "kv_lora_rank": c.kv_rank,
        "qk_nope_head_dim": c.nope_width,
        "qk_rope_head_dim": c.rope_width,
        "v_head_dim": c.value_width,
        "rope_interleave": True,
        "first_k_dense_replace": min(c.dense_layers, c.layers) if c.experts else c.layers,
        "moe_layer_freq": 1,
        "n_routed_experts": experts,
        "n_shared_experts": c.shared_experts,
        "num_experts_per_tok": min(c.top_k, experts),
        "moe_intermediate_size": c.expert_width,
        "n_group": 1,
        "topk_group": 1,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "norm_topk_prob": True,
        "routed_scaling_factor": c.routed_scale,
        "num_nextn_predict_layers": 0,
    }


def dense_config(c: ModelConfig) -> dict:
    """Llama; Qwen3 where queries and keys are normalised; Qwen2 where they have biases."""
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "mlp_bias": False}
    if c.qk_norm:
        config = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
        config["use_sliding_window"] = False
    elif c.qkv_bias:
        config = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
        config["use_sliding_window"] = False
    return config | {"num_key_value_heads": c.kv_heads, "head_dim": c.head_width}


# ---------------------------------------------------------------- weights

_NAMES = {  # ours -> transformers', a word of a tensor's name
    "embed": "model.embed_tokens", "norm": "model.norm", "head": "lm_head",
    "blocks": "model.layers", "norm_1": "input_layernorm", "norm_2": "post_attention_layernorm",
    "attention": "self_attn", "out": "o_proj",
    "mixer": "mlp", "gate": "gate_proj", "up": "up_proj", "down": "down_proj",
    "shared": "shared_experts", "router": "gate.weight", "bias_E": "gate.e_score_correction_bias",
    "gate_EFD": "gate_proj.weight", "up_EFD": "up_proj.weight", "down_EDF": "down_proj.weight",
}
_ATTENTION_NAMES = {
    "mla": {
        "q_down": "q_a_proj", "q_norm": "q_a_layernorm", "q_up": "q_b_proj",
        "kv_down": "kv_a_proj_with_mqa", "kv_norm": "kv_a_layernorm", "kv_up": "kv_b_proj",
    },
    "gqa": {"q": "q_proj", "k": "k_proj", "v": "v_proj"},
}


def rename(name: str, attention: str, q_rank: int = 0) -> str:
    """Our name of a tensor -> its name in transformers, word by word."""
    words = _NAMES | _ATTENTION_NAMES[attention] | ({} if q_rank else {"q_up": "q_proj"})
    return ".".join(words.get(word, word) for word in name.split("."))


def hub_weights(model: Transformer) -> dict[str, Tensor]:
    """Tensors under transformers' names, float32, without the MTP block.

    Each expert's gate, up and down are matrices of their own.
    """
    c, weights = model.config, {}
    for name, value in model.state_dict().items():
        if name.startswith("mtp_") or (c.tied and name == "head.weight"):
            continue
        renamed = rename(name, c.attention, c.q_rank)
        value = value.detach().float().cpu()
        if name.endswith(("_EFD", "_EDF")):
            layer, matrix = renamed.split(".mlp.")
            for e, one in enumerate(value):
                weights[f"{layer}.mlp.experts.{e}.{matrix}"] = one.clone()
        else:
            weights[renamed] = value.clone()
    if c.experts and c.shared_experts == 0:
        # transformers always builds the shared expert: here one of width 0
        for layer in range(c.dense_layers, c.layers):
            shared = f"model.layers.{layer}.mlp.shared_experts"
            empty = model.embed.weight.new_zeros(0, c.width).detach().cpu()
            weights[f"{shared}.gate_proj.weight"] = empty
            weights[f"{shared}.up_proj.weight"] = empty.clone()
            weights[f"{shared}.down_proj.weight"] = empty.T.contiguous()
    return weights


# ---------------------------------------------------------------- tokenizer


def tokenizer_files(tokenizer: Tokenizer | ImportedCodec) -> dict[str, dict]:
    """The contents of tokenizer.json and tokenizer_config.json.

    Only begin, end and pad stay "special": generation front ends drop special tokens from their
    output, and the tags of thinking and answer must be seen (DeepSeek-R1 marks <think> the same
    way). Ids do not change. An imported tokenizer stays as it is, with the template it was asked
    with.
    """
    if isinstance(tokenizer, ImportedCodec):
        return {
            "tokenizer.json": json.loads(tokenizer.text),
            "tokenizer_config.json": TOKENIZER_SETTINGS | imported_settings(tokenizer),
        }
    library = json.loads(tokenizer.to_text())
    for token in library["added_tokens"]:
        token["special"] = token["content"] in (BEGIN, END, PAD)
    settings = {
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "add_bos_token": False,  # the chat template writes it
        "add_eos_token": False,
        "chat_template": CHAT_TEMPLATE,
    }
    return {"tokenizer.json": library, "tokenizer_config.json": TOKENIZER_SETTINGS | settings}


TOKENIZER_SETTINGS = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "clean_up_tokenization_spaces": False,
    "padding_side": "left",  # generate() goes on behind the last column
    "model_input_names": ["input_ids", "attention_mask"],
}


def imported_settings(codec: ImportedCodec) -> dict:
    """Tokens and the chat template: each question in the codec's template, answers behind them."""
    before, after, end = map(json.dumps, (codec.before, codec.after, codec.token(codec.end)))
    chat = (
        "{% for message in messages %}"
        f"{{% if message.role == 'user' %}}{{{{ {before} + message.content + {after} }}}}"
        f"{{% elif message.role == 'assistant' %}}{{{{ message.content + {end} }}}}"
        "{% else %}"
        "{{ raise_exception('only user and assistant messages: the template has its own') }}"
        "{% endif %}{% endfor %}"
    )
    tokens = {"eos_token": codec.token(codec.end), "pad_token": codec.token(codec.pad)}
    if codec.begin is not None:
        tokens["bos_token"] = codec.token(codec.begin)
    return tokens | {"chat_template": chat}


# ---------------------------------------------------------------- the directory


def writable(directory: Path) -> None:
    """Raises UserError for a directory that cannot be written."""
    try:
        check_folder(directory)
    except OSError as fault:
        raise UserError(str(fault)) from fault


def export(checkpoint_path: str | Path, directory: str | Path) -> str:
    """Write the five files and return one line about them.

    Raises UserError when the checkpoint cannot be read, the directory not written, safetensors is
    not installed, or transformers has no class for the model.
    """
    try:
        from safetensors.torch import save_file
    except ImportError as fault:
        raise UserError('export needs safetensors: pip install -e ".[export]"') from fault
    directory = Path(directory)
    writable(directory)
    model, tokenizer = load_checkpoint(checkpoint_path)
    check(model.config)
    config = hub_config(model.config, tokenizer)
    texts = {"config.json": config, "generation_config.json": generation_config(config)}
    weights = hub_weights(model)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in (texts | tokenizer_files(tokenizer)).items():
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            (directory / name).write_text(text, encoding="utf-8")
        save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    except OSError as fault:
        raise UserError(f"cannot write {directory}: {fault}") from fault
    numbers = sum(value.numel() for name, value in weights.items() if not name.endswith("_bias"))
    size = f"{numbers:,} parameters in float32, with its tokenizer"
    left_out = " (the multi-token-prediction block is left out)" if model.config.mtp else ""
    return f"{config['architectures'][0]}, {size}{left_out}"


def main(arguments: list[str]) -> None:
    """`CHECKPOINT DIR`. Raises UserError; prints help and raises SystemExit(0) for --help."""
    about = "Write a checkpoint as a Hugging Face directory, or for llama.cpp and Ollama."
    parser = argparse.ArgumentParser("minir1 export", description=about)
    checkpoint = "a file such as runs/cpu-0/checkpoints/zero.pt"
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=checkpoint)
    parser.add_argument("directory", metavar="DIR", help="folder to write; made if it is not there")
    parser.add_argument("--format", choices=("hub", "gguf"), default="hub", help="default: hub")
    parser.add_argument("--type", choices=TYPES, help="of gguf's matrices (default: f16)")
    arguments = parse(parser, arguments)
    if arguments.format == "gguf":
        print(f"wrote {_gguf(arguments)}")
        return
    if arguments.type:
        raise UserError("--type is for --format gguf; a Hugging Face directory is in float32")
    written = export(arguments.checkpoint, arguments.directory)
    load = f"AutoModelForCausalLM.from_pretrained({arguments.directory!r})"
    print(f"wrote {written}, to {arguments.directory}; load it: {load}")


def _gguf(arguments: argparse.Namespace) -> str:
    directory = Path(arguments.directory)
    writable(directory)
    written = export_gguf(arguments.checkpoint, directory, arguments.type or "f16")
    name = directory.resolve().name
    return f"{written}, to {directory}; load it: ollama create {name} -f {directory / 'Modelfile'}"
