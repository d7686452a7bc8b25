"""Speculative decoding: multi-token prediction speaks (DeepSeek-V3, sections 2.2 and 5.4.3).

A forward pass reads two tokens: the last one drawn, and the block's draft of the next. The model
then draws that next token itself, with the uniform of its place. If it is the draft, the second
position has read the right token, and a second one is drawn there for nothing. If not, the second
position is forgotten. So these are the responses of sampler.sample, up to rounding. Drafts decide
how many passes they take. (V3's acceptance by chance, arXiv 2211.17192, keeps the distribution.)

A draft is drawn with the uniform of the token that it guesses: where the block's probabilities are
the model's, both draw the same.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from minir1.model import Cache, Transformer
from minir1.sampler import UNNAMED, Sampling, Stream, choose, pad, uniform


class Pass(NamedTuple):
    """What one forward pass gave to each row that was left."""

    row_B: Tensor  # the row's number
    place_B: Tensor  # tokens that it had before
    token_B2: Tensor
    kept_B2: Tensor  # False: behind a wrong draft, or behind the end
    agrees_B: Tensor  # the first token is the draft
    logits_B2V: Tensor


def rewind(cache: Cache, length_B: Tensor) -> None:
    """Forget what each row has behind so many tokens: it is masked, then overwritten."""
    cache.length_B, cache.span = length_B, int(length_B.max())


def read(model: Transformer, prompts: list[list[int]], group: int, room: int):
    """Prefill, each prompt once: a cache whose last layer is the block's, each row's last position
    `[B]` and the hidden state there, twice: `[B, 2, D]`, B = prompts * group."""
    c, weight = model.config, model.embed.weight
    ids_BT = pad(prompts, 0, weight.device)
    size = (len(prompts), ids_BT.shape[1] + room)
    cache = Cache(replace(c, layers=c.layers + 1), *size, weight.device, weight.dtype)
    hidden_BTD, _ = model.trunk(ids_BT, cache)
    rewind(cache, torch.zeros_like(cache.length_B))
    model.mtp_logits(hidden_BTD[:, :-1], ids_BT[:, 1:], cache)
    rows = torch.arange(len(prompts), device=weight.device).repeat_interleave(group)
    last_B = torch.tensor([len(p) - 1 for p in prompts], device=weight.device)[rows]
    cache.keep(rows)
    return cache, last_B, hidden_BTD[rows, last_B][:, None].expand(-1, 2, -1)


def draw(logits_BNV, settings: Sampling, stream: Stream, row_B, place_B) -> Tensor:
    """Each row's tokens at N places from place_B on, `[B, N]`."""
    place_BN = place_B[:, None] + torch.arange(logits_BNV.shape[1], device=place_B.device)
    uniform_BN = uniform(stream.key, stream.first + row_B[:, None], place_BN)
    free = torch.ones(place_BN.numel(), dtype=torch.bool, device=place_B.device)
    ids, _ = choose(logits_BNV.flatten(0, 1), settings, free, uniform_BN.flatten())
    return ids.view_as(place_BN)


@torch.no_grad()
def passes(
    model: Transformer, prompts: list[list[int]], group: int, settings: Sampling,
    stream: Stream = UNNAMED,
) -> Iterator[Pass]:
    """The first is behind the prompts, without a draft. Only with config.mtp; banned tokens are not
    supported."""
    cache, at_B, hidden_B2D = read(model, prompts, group, settings.max_tokens)
    row_B = torch.arange(len(at_B), device=at_B.device)
    place_B, draft_B1 = torch.zeros_like(row_B), torch.full_like(row_B[:, None], -1)  # no token
    runs_B, stop_ids = place_B == 0, torch.tensor(settings.stop_ids, device=at_B.device)
    while True:
        logits_B2V = model.logits(hidden_B2D)
        token_B2 = draw(logits_B2V, settings, stream, row_B, place_B)
        agrees_B, stops_B2 = token_B2[:, 0] == draft_B1[:, 0], torch.isin(token_B2, stop_ids)
        two_B = runs_B & agrees_B & ~stops_B2[:, 0] & (place_B + 1 < settings.max_tokens)
        kept_B2 = torch.stack([runs_B, two_B], dim=1)
        yield Pass(row_B, place_B, token_B2, kept_B2, agrees_B, logits_B2V)

        last_B1, place_B = two_B.long()[:, None], place_B + kept_B2.sum(1)
        ends_B = stops_B2.gather(1, last_B1)[:, 0] | (place_B == settings.max_tokens)
        runs_B = runs_B & ~ends_B
        if not runs_B.any():
            return
        rewind(cache, at_B)
        ahead_B2V, _ = model.mtp_logits(hidden_B2D, token_B2, cache)
        ahead_B1V = ahead_B2V.take_along_dim(last_B1[:, :, None], dim=1)
        draft_B1 = draw(ahead_B1V, settings, stream, row_B, place_B)
        pair_B2 = torch.cat([token_B2.gather(1, last_B1), draft_B1], dim=1)
        at_B = at_B + kept_B2.sum(1) * runs_B  # ended rows stand still
        if runs_B.sum() < 0.7 * len(runs_B):
            cache.keep(runs_B)
            state = (row_B, at_B, place_B, draft_B1, pair_B2, runs_B)
            row_B, at_B, place_B, draft_B1, pair_B2, runs_B = (x[runs_B] for x in state)
        rewind(cache, at_B)
        hidden_B2D, _ = model.trunk(pair_B2, cache)

