"""Solutions to the puzzles of 01_transformer.ipynb, for teachers."""

import torch


def cache_numbers(kind, heads, kv_heads, head_width, kv_rank, rope_width):
    if kind == "mla":
        return kv_rank + rope_width  # one latent and one rotated key, for all heads together
    return 2 * head_width * (heads if kind == "mha" else kv_heads)


def rotate_pairs(x_C, position, base):
    a, b = x_C[0::2], x_C[1::2]
    angle = position / base ** (torch.arange(0, len(x_C), 2) / len(x_C))
    first = a * angle.cos() - b * angle.sin()
    second = a * angle.sin() + b * angle.cos()
    return torch.stack([first, second], dim=1).flatten()


def causal_weights(score_TS):
    T, S = score_TS.shape
    later_TS = torch.arange(S) > torch.arange(S - T, S)[:, None]
    return score_TS.masked_fill(later_TS, -torch.inf).softmax(-1)


def absorb_query(q_HC, up_HCR):
    return torch.einsum("hc,hcr->hr", q_HC, up_HCR)


def attend_latent(query_HW, stored_SW, rank, scale):
    weight_HS = (query_HW @ stored_SW.T * scale).softmax(-1)
    return weight_HS @ stored_SW[:, :rank]
