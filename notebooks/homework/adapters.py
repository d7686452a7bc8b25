"""Plugs your functions into the real loop. There is nothing to write here; read it to see where each of them goes.

The files come from this folder, or from another one named by MINIR1_HOMEWORK (teachers: `solutions`).
"""

import importlib.util
import os
from pathlib import Path

import torch

from minir1.model import LatentAttention
from minir1.sampler import Samples, prefill
from minir1.tasks.countdown import Countdown

FOLDER = Path(__file__).parent / os.environ.get("MINIR1_HOMEWORK", ".")


def load(name: str):
    """One of the five files, as a module."""
    spec = importlib.util.spec_from_file_location(f"homework_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


advantages, loss, verifier, attention, sampler = map(load, ("advantages", "loss", "verifier", "attention", "sampler"))


def grpo_loss(logp_BT, old_logp_BT, adv_B, mask_BT, total, config, ref_logp_BT=None):
    """With the signature of minir1.grpo.grpo_loss: your mean over a micro-batch, weighed by its share of all tokens."""
    mean = loss.grpo_loss(logp_BT, old_logp_BT, adv_B, mask_BT, config.clip_low, config.clip_high)
    return mean * mask_BT.sum() / total.tokens, {}


class Puzzle(Countdown):
    """A Countdown problem that your verifier judges."""

    def verify(self, answer: str) -> bool:
        return verifier.verify(self.numbers, self.target, answer)


def judged(problems: list[Countdown]) -> list[Puzzle]:
    return [Puzzle(p.numbers, p.target, p.lang, p.id) for p in problems]


class CachedAttention(LatentAttention):
    """The model's attention, with your cache and your attention over it; training without a cache is left as it is."""

    def _absorbed(self, q_BTHC, qr_BTHC, latent_BTR, kr_BTC, context, layer):
        c, cache = self.c, context.cache
        new_BTW = torch.cat([latent_BTR, kr_BTC], dim=-1)
        stored_BSW = attention.write(cache.store_LBSW[layer], new_BTW, context.position_BT)[:, : cache.span]
        up_HCR = self.kv_up.weight.unflatten(0, (c.heads, -1))
        query_BTHW = torch.cat([torch.einsum("bthc,hcr->bthr", q_BTHC, up_HCR[:, : c.nope_width]), qr_BTHC], dim=-1)
        mixed_BTHR = attention.attend(query_BTHW, stored_BSW, context.position_BT, c.kv_rank, self.scale)
        return torch.einsum("bthr,hcr->bthc", mixed_BTHR, up_HCR[:, c.nope_width :])


def plug_attention(model):
    """The same weights, your attention while it writes."""
    for block in model.blocks:
        block.attention.__class__ = CachedAttention
    return model


@torch.no_grad()
def sample(model, prompts, group, settings, generator=None):
    """With the signature of minir1.sampler.sample: your loop, your draws (temperature 1, as in training)."""
    cache, logits_BV = prefill(model, prompts, group, settings.max_tokens)
    dart_BT = torch.rand(len(logits_BV), settings.max_tokens, generator=generator)
    step = lambda ids_B: model(ids_B[:, None], cache)[:, -1]  # noqa: E731
    return Samples(*sampler.generate(logits_BV, step, dart_BT, settings.stop_ids[0]))
