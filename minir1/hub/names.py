"""Names of settings and tensors: transformers' and ours.

>>> rename("blocks.3.attention.kv_up.weight", "mla"), rename("blocks.0.mixer.gate.weight", "gqa")
('model.layers.3.self_attn.kv_b_proj.weight', 'model.layers.0.mlp.gate_proj.weight')
"""

from collections.abc import Iterator

from torch import Tensor

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


def leading_dense(c) -> int:
    """Layers without experts, which come first: all of a model that has none."""
    return min(c.dense_layers, c.layers) if c.experts else c.layers


def exported(model) -> Iterator[tuple[str, Tensor]]:
    """Our names, and float32 values: without the MTP block, and a head that is the embedding."""
    for name, value in model.state_dict().items():
        if not (name.startswith("mtp_") or (model.config.tied and name == "head.weight")):
            yield name, value.detach().float().cpu()


def rename(name: str, attention: str, q_rank: int = 0) -> str:
    """Our name of a tensor -> its name in transformers, word by word."""
    words = _NAMES | _ATTENTION_NAMES[attention] | ({} if q_rank else {"q_up": "q_proj"})
    return ".".join(words.get(word, word) for word in name.split("."))
