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
"""

import json
from pathlib import Path

from torch import Tensor

from minir1.checkpoint import load_checkpoint
from minir1.config import ModelConfig, UserError
from minir1.console.errors import make_parser, parse
from minir1.console.files import check_folder
from minir1.hub.codec import ImportedCodec, around
from minir1.hub.gguf import TYPES, export_gguf
from minir1.hub.names import COMMON, LATENT, SCALING, exported, leading_dense, rename
from minir1.model import Transformer
from minir1.tokenizer import Tokenizer
from minir1.transcript import BEGIN, END, PAD

# ---------------------------------------------------------------- configuration


def check(c: ModelConfig) -> None:
    """Raises UserError for a model that transformers' classes cannot hold exactly."""
    latent = c.attention == "mla"
    all_dense = leading_dense(c) == c.layers
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
        "qk_norm with qkv_bias, or a latent model with tied or rope_factor, has no class": not (
            (latent and (c.tied or c.rope_factor != 1)) or (c.qk_norm and c.qkv_bias)
        ),
    }
    for message, holds in rules.items():
        if not holds:
            raise UserError(f"cannot export: {message}")


def hub_config(c: ModelConfig, tokenizer: Tokenizer | ImportedCodec) -> dict:
    """config.json."""
    own = deepseek_config(c) if c.attention == "mla" else dense_config(c)
    return {theirs: getattr(c, ours) for theirs, ours in COMMON.items()} | own | {
        "hidden_act": "silu",
        "initializer_range": c.init_std,
        "rope_theta": c.rope_base,  # read by llama.cpp and by transformers before 5
        "rope_parameters": rope_parameters(c),
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_cache": True,
        "dtype": "float32",
        "bos_token_id": tokenizer.begin,
        "eos_token_id": tokenizer.end if len(tokenizer.end_ids) == 1 else [*tokenizer.end_ids],
        "pad_token_id": tokenizer.pad,
    }


def rope_parameters(c: ModelConfig) -> dict:
    parameters = {"rope_type": "default", "rope_theta": c.rope_base}
    if c.rope_factor == 1:
        return parameters
    scaling = {theirs: getattr(c, ours) for theirs, ours in SCALING.items()}
    return parameters | {"rope_type": "llama3"} | scaling


def generation_config(config: dict, tokens: int) -> dict:
    """generation_config.json, from config.json: a bare generate() samples as `evaluate` does.

    transformers would stop after 20 tokens, be greedy and, when sampling, keep 50 tokens.
    """
    ids = {name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    room = config["max_position_embeddings"] - 128  # left for a prompt
    how = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 0}  # 0: off
    how["suppress_tokens"] = [*range(tokens, config["vocab_size"])] or None  # ids without a token
    return ids | how | {"max_new_tokens": max(1, min(1024, room))}


def deepseek_config(c: ModelConfig) -> dict:
    """Every key is given: the defaults (8 groups, 3 dense layers ...) describe the 671B model."""
    # transformers wants a number even where first_k_dense_replace leaves no expert layer
    experts = c.experts or 2
    return {theirs: getattr(c, ours) for theirs, ours in LATENT.items()} | {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "deepseek_v3",
        "num_key_value_heads": c.heads,
        "q_lora_rank": c.q_rank or None,
        "rope_interleave": True,
        "first_k_dense_replace": leading_dense(c),
        "moe_layer_freq": 1,
        "n_routed_experts": experts,
        "num_experts_per_tok": min(c.top_k, experts),
        "n_group": 1,
        "topk_group": 1,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "norm_topk_prob": True,
        "num_nextn_predict_layers": 0,
    }


def dense_config(c: ModelConfig) -> dict:
    """Llama; Qwen3 where queries and keys are normalised; Qwen2 where they have biases."""
    family = "Qwen3" if c.qk_norm else "Qwen2" if c.qkv_bias else "Llama"
    config = {"architectures": [f"{family}ForCausalLM"], "model_type": family.lower()}
    config["mlp_bias" if family == "Llama" else "use_sliding_window"] = False
    return config | {"num_key_value_heads": c.kv_heads, "head_dim": c.head_width}


# ---------------------------------------------------------------- weights

def hub_weights(model: Transformer) -> dict[str, Tensor]:
    """float32 tensors by transformers' names, no MTP block; each expert has matrices of its own."""
    c, weights = model.config, {}
    for name, value in exported(model):
        renamed = rename(name, c.attention, c.q_rank)
        if name.endswith(("_EFD", "_EDF")):
            layer, matrix = renamed.split(".mlp.")
            for e, one in enumerate(value):
                weights[f"{layer}.mlp.experts.{e}.{matrix}"] = one.clone()
        else:
            weights[renamed] = value.clone()
    if c.shared_experts == 0:
        # transformers always builds the shared expert: here one of width 0
        for layer in range(leading_dense(c), c.layers):
            shared = f"model.layers.{layer}.mlp.shared_experts"
            empty = model.embed.weight.new_zeros(0, c.width).detach().cpu()
            weights[f"{shared}.gate_proj.weight"] = empty
            weights[f"{shared}.up_proj.weight"] = empty.clone()
            weights[f"{shared}.down_proj.weight"] = empty.T.contiguous()
    return weights


# ---------------------------------------------------------------- tokenizer


def tokenizer_files(codec: Tokenizer | ImportedCodec) -> dict[str, dict]:
    """The contents of tokenizer.json and tokenizer_config.json.

    Of our own tokenizer only begin, end and pad stay "special": generation front ends drop special
    tokens from their output, and the tags of thinking and answer must be seen (DeepSeek-R1 marks
    <think> the same way). Ids do not change. An imported one stays as it is.
    """
    imported = isinstance(codec, ImportedCodec)
    library = json.loads(codec.text if imported else codec.to_text())
    for token in () if imported else library["added_tokens"]:
        token["special"] = token["content"] in (BEGIN, END, PAD)
    ids = {"bos_token": codec.begin, "eos_token": codec.end, "pad_token": codec.pad}
    tokens = {k: codec.library.id_to_token(id) for k, id in ids.items() if id is not None}
    settings = tokens | {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,  # the chat template writes it
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "padding_side": "left",  # generate() goes on behind the last column
        "model_input_names": ["input_ids", "attention_mask"],
        "chat_template": chat_template(*around(codec), tokens["eos_token"]),
    }
    return {"tokenizer.json": library, "tokenizer_config.json": settings}


def chat_template(before: str, after: str, end: str) -> str:
    """One prompt a question, as in training; a finished exchange equals transcript.render."""
    before, after, end = map(json.dumps, (before, after, end))
    return (
        "{% for message in messages %}"
        f"{{% if message.role == 'user' %}}{{{{ {before} + message.content }}}}"
        f"{{% if add_generation_prompt or not loop.last %}}{{{{ {after} }}}}{{% endif %}}"
        f"{{% elif message.role == 'assistant' %}}{{{{ message.content + {end} }}}}"
        "{% else %}{{ raise_exception('only user and assistant: the model knows no other role') }}"
        "{% endif %}{% endfor %}"
    )


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
    texts = {"config.json": config}
    texts["generation_config.json"] = generation_config(config, len(tokenizer))
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
    parser, add = make_parser("export", about)
    checkpoint = "a file such as runs/cpu-0/checkpoints/zero.pt"
    add("checkpoint", metavar="CHECKPOINT", help=checkpoint)
    add("directory", metavar="DIR", help="folder to write; made if it is not there")
    add("--format", choices=("hub", "gguf"), default="hub", help="default: hub")
    add("--type", choices=TYPES, help="of gguf's matrices (default: f16)")
    arguments = parse(parser, arguments)
    directory = Path(arguments.directory)
    if arguments.format == "gguf":
        writable(directory)
        written = export_gguf(arguments.checkpoint, directory, arguments.type or "f16")
        load = f"ollama create {directory.resolve().name} -f {directory / 'Modelfile'}"
    elif arguments.type:
        raise UserError("--type is for --format gguf; a Hugging Face directory is in float32")
    else:
        written = export(arguments.checkpoint, directory)
        load = f"AutoModelForCausalLM.from_pretrained({arguments.directory!r})"
    print(f"wrote {written}, to {directory}; load it: {load}")
