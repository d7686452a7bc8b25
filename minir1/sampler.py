"""Token ids in, token ids and log-probs out: prefill, decode, stop. The plain cached loop.

The sampler knows ids, never text. The stop token is an action: it is returned with its log-prob, so
that stopping is learned like anything else; a response cut at the budget has no stop token, and
`stopped_B` tells the two apart.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import torch
from torch import Tensor

from minir1.config import Diverged
from minir1.model import Cache, Transformer


@dataclass(frozen=True)
class Sampling:
    """How to sample. Training uses temperature 1 and top_p 1: loss and sampler share one policy."""

    max_tokens: int
    stop_ids: tuple[int, ...]
    temperature: float = 1.0  # 0: greedy
    top_p: float = 1.0
    vocabulary: int | None = None  # ids from here on mean nothing and are never drawn
    ban_ids: tuple[int, ...] = ()  # never sampled ...
    until_ids: tuple[int, ...] = ()  # ... until one of these was


class Stream(NamedTuple):
    """Random numbers by place. Which one a draw takes is decided by the stream, the response and
    the token, not by what was drawn before: neither the size of a batch nor its order matters."""

    key: int = 0
    first: int = 0  # the number of the first response among all that the stream serves

    @classmethod
    def of(cls, *name) -> "Stream":
        """Stream.of("rl", seed, step): another one for each name."""
        digest = blake2b(" ".join(map(str, name)).encode(), digest_size=8).digest()
        return cls(int.from_bytes(digest, "big", signed=True))

    def after(self, responses: int) -> "Stream":
        return Stream(self.key, self.first + responses)


UNNAMED = Stream()


def mix(x: Tensor) -> Tensor:
    """SplitMix64's output function (Steele, Lea and Flood 2014): every bit depends on all bits."""
    x = x + -0x61C8864680B583EB
    x = (x ^ (x >> 30 & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    x = (x ^ (x >> 27 & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return x ^ (x >> 31 & 0x1FFFFFFFF)


def uniform(key: Tensor | int, response_B: Tensor, token_B: Tensor | int) -> Tensor:
    """A number in [0, 1) for each place, `[B]`: the same on every device, a multiple of 2^-24.

    >>> uniform(Stream.of("doc").key, torch.arange(3), 0)
    tensor([0.0411, 0.6334, 0.7461])
    """
    bits_B = mix(mix(response_B + key) + token_B) >> 40 & 0xFFFFFF
    return bits_B.float() * 2.0**-24


class Samples(NamedTuple):
    """One row per prompt and sample, in the prompts' order, group by group."""

    ids_BT: Tensor  # padded with stop_ids[0] behind each row's length
    logp_BT: Tensor  # nats, of each sampled token, under its distribution before top_p
    length_B: Tensor  # tokens, the stop token included
    stopped_B: Tensor  # False: cut off at max_tokens


def pad(rows: list[list[int]], value: int, device=None) -> Tensor:
    """Rows of ids (or of marks, if `value` is a bool) as one tensor, padded on the right."""
    padded_BT = torch.full((len(rows), max(map(len, rows))), value)
    for padded_T, row in zip(padded_BT.numpy(), rows):  # NumPy reads lists ten times as fast
        padded_T[: len(row)] = row
    return padded_BT.to(device)


def restrict(logits_BV: Tensor, top_p: float) -> Tensor:
    """Nucleus (arXiv 1904.09751): keep the most probable tokens that reach top_p; others: -inf."""
    if top_p >= 1:
        return logits_BV
    ordered_BV, index_BV = logits_BV.sort(dim=-1, descending=True)
    share_BV = ordered_BV.softmax(-1)
    cut_BV = share_BV.cumsum(-1) - share_BV >= top_p
    cut_BV = torch.empty_like(cut_BV).scatter(-1, index_BV, cut_BV)  # back in the tokens' order
    return logits_BV.masked_fill(cut_BV, -torch.inf)


def choose(
    logits_BV: Tensor, settings: Sampling, free_B: Tensor, uniform_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Draw one token a row, by inverting the cumulated distribution: (ids_B, logp_B). Rows that are
    not `free` cannot draw banned ones."""
    logits_BV = logits_BV[:, : settings.vocabulary]
    if settings.ban_ids:
        logits_BV = logits_BV.clone()
        for banned in settings.ban_ids:
            logits_BV[:, banned] = logits_BV[:, banned].masked_fill(~free_B, -torch.inf)
    logp_BV = (logits_BV / (settings.temperature or 1.0)).log_softmax(-1)
    if settings.temperature == 0:
        ids_B = logp_BV.argmax(-1)
    else:
        cumulated_BV = restrict(logp_BV, settings.top_p).softmax(-1).cumsum(-1)
        passed_BV = cumulated_BV <= uniform_B[:, None] * cumulated_BV[:, -1:]
        ids_B = passed_BV.sum(-1).clamp(max=logp_BV.shape[-1] - 1)
    return ids_B, logp_BV.gather(-1, ids_B[:, None])[:, 0]


def prefill(model: Transformer, prompts: list[list[int]], group: int, room: int):
    """Read each prompt once, then repeat its cache `group` times. Returns the cache, with `room`
    for more tokens, and the next logits `[B, V]`, B = prompts * group."""
    weight = model.embed.weight
    length_B = torch.tensor([len(p) for p in prompts], device=weight.device)
    ids_BT = pad(prompts, 0, weight.device)
    size = (len(prompts), ids_BT.shape[1] + room)
    cache = Cache(model.config, *size, weight.device, weight.dtype)
    logits_BTV = model(ids_BT, cache)
    cache.length_B = length_B
    rows = torch.arange(len(prompts), device=weight.device).repeat_interleave(group)
    cache.keep(rows)
    return cache, logits_BTV[torch.arange(len(prompts)), length_B - 1][rows]


@torch.no_grad()
def sample(
    model: Transformer, prompts: list[list[int]], group: int, settings: Sampling,
    stream: Stream = UNNAMED,
) -> Samples:
    """`group` responses to each prompt. Rows that have stopped are dropped once they are three in
    ten. A prompt and max_tokens must fit in the model's positions. Raises Diverged."""
    cache, logits_BV = prefill(model, prompts, group, settings.max_tokens)
    (B, _), T, device = logits_BV.shape, settings.max_tokens, logits_BV.device
    stop_ids = torch.tensor(settings.stop_ids, device=device)
    until_ids = torch.tensor(settings.until_ids, dtype=torch.long, device=device)
    ids_BT = torch.full((B, T), settings.stop_ids[0], device=device)
    logp_BT = torch.zeros(B, T, dtype=logits_BV.dtype, device=device)
    length_B = torch.full((B,), T, device=device)
    stopped_B = torch.zeros(B, dtype=torch.bool, device=device)
    row_B = torch.arange(B, device=device)  # the rows kept
    free_B = torch.zeros_like(stopped_B)  # of the rows kept
    for t in range(T):
        uniform_B = uniform(stream.key, stream.first + row_B, t)
        token_B, chosen_B = choose(logits_BV, settings, free_B, uniform_B)
        running_B = ~stopped_B[row_B]
        ids_BT[row_B, t] = torch.where(running_B, token_B, ids_BT[row_B, t])
        logp_BT[row_B, t] = torch.where(running_B, chosen_B, 0.0)
        ends_B = running_B & torch.isin(token_B, stop_ids)
        length_B[row_B[ends_B]], stopped_B[row_B[ends_B]] = t + 1, True
        free_B |= torch.isin(token_B, until_ids)
        left = int((running_B & ~ends_B).sum())
        if left == 0 or t + 1 == T:
            break
        if left < 0.7 * len(row_B):
            kept = torch.where(~stopped_B[row_B])[0]
            cache.keep(kept)
            row_B, free_B, token_B = row_B[kept], free_B[kept], token_B[kept]
        logits_BV = model(token_B[:, None], cache)[:, -1]
    return finite(Samples(ids_BT, logp_BT, length_B, stopped_B))


def finite(samples: Samples) -> Samples:
    """The same. Raises Diverged if they were drawn from logits that are not numbers."""
    if samples.logp_BT.isnan().any():
        raise Diverged("the model's logits are not finite numbers: no token can be drawn")
    return samples
