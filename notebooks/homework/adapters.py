"""Plugs your functions into the real loop. There is nothing to write here.

Read it to see where each of them goes. The files come from this folder, or from another one named
by MINIR1_HOMEWORK (teachers: `solutions`).
"""

import ast
import importlib.util
import os
import sys
from pathlib import Path

import torch

from minir1.config import UserError
from minir1.model import LatentAttention
from minir1.sampler import UNNAMED, Samples, prefill, uniform
from minir1.tasks.countdown import Countdown

FOLDER = Path(__file__).parent / os.environ.get("MINIR1_HOMEWORK", ".")

LENT = {"torch", "numpy", *sys.stdlib_module_names} - {"importlib", "runpy", "pkgutil", "imp"}


def borrowed(path: Path) -> str | None:
    """What a file takes from elsewhere: an import beyond LENT and UserError, or a hidden one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and (node.module, node.level) != ("minir1.config", 0):
            names = ["." * node.level + (node.module or "")]
        if isinstance(node, ast.Name) and node.id in ("__import__", "exec"):
            names = [node.id]
        for name in names:
            if name.partition(".")[0] not in LENT:
                return name
    return None


class Refused:
    """Stands for a file that is not the student's own work: none of its functions runs."""

    def __init__(self, file: str, name: str):
        self.reason = f"{file} uses {name}: write the function yourself, with torch alone"

    def __getattr__(self, function: str):
        def refuse(*arguments, **named):
            raise UserError(self.reason)

        return refuse


def load(name: str):
    """One of the five files, as a module."""
    if taken := borrowed(FOLDER / f"{name}.py"):
        return Refused(f"{name}.py", taken)
    spec = importlib.util.spec_from_file_location(f"homework_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


advantages = load("advantages")
loss = load("loss")
verifier = load("verifier")
attention = load("attention")
sampler = load("sampler")


def group_advantages(reward_PG, scale):
    """With the signature of minir1.grpo.advantages."""
    return advantages.advantages(reward_PG)


def grpo_loss(logp_BT, old_logp_BT, adv_B, mask_BT, total, config, ref_logp_BT=None):
    """With the signature of minir1.grpo.grpo_loss.

    Your mean over a micro-batch, weighed by its share of all tokens.
    """
    clip = (config.clip_low, config.clip_high)
    mean = loss.grpo_loss(logp_BT, old_logp_BT, adv_B, mask_BT, *clip)
    return mean * mask_BT.sum() / total.tokens, {}


class Puzzle(Countdown):
    """A Countdown problem that your verifier judges."""

    def verify(self, answer: str) -> bool:
        return verifier.verify(self.numbers, self.target, answer)


def judged(problems: list[Countdown]) -> list[Puzzle]:
    return [Puzzle(p.numbers, p.target, p.lang, p.id) for p in problems]


class CachedAttention(LatentAttention):
    """The model's attention, with your cache and your attention over it.

    Training without a cache is left as it is.
    """

    def _absorbed(self, q_BTHC, qr_BTHJ, latent_BTR, kr_BTJ, context, layer):
        c, cache, position_BT = self.c, context.cache, context.position_BT
        new_BTW = torch.cat([latent_BTR, kr_BTJ], dim=-1)
        store_BSW = attention.write(cache.store_LBSW[layer], new_BTW, position_BT)
        stored_BSW = store_BSW[:, : cache.span]
        up = self.kv_up.weight.unflatten(0, (c.heads, -1))
        up_HCR, up_HUR = up.split([c.nope_width, c.value_width], dim=1)
        query_BTHR = torch.einsum("bthc,hcr->bthr", q_BTHC, up_HCR)
        query_BTHW = torch.cat([query_BTHR, qr_BTHJ], dim=-1)
        where = (position_BT, c.kv_rank, self.scale)
        mixed_BTHR = attention.attend(query_BTHW, stored_BSW, *where)
        return torch.einsum("bthr,hur->bthu", mixed_BTHR, up_HUR)


def plug_attention(model):
    """The same weights, your attention while it writes."""
    for block in model.blocks:
        block.attention.__class__ = CachedAttention
    return model


@torch.no_grad()
def sample(model, prompts, group, settings, stream=UNNAMED):
    """With the signature of minir1.sampler.sample: your loop, your draws (at temperature 1)."""
    cache, logits_BV = prefill(model, prompts, group, settings.max_tokens)
    response_B1 = stream.first + torch.arange(len(logits_BV))[:, None]
    dart_BT = uniform(stream.key, response_B1, torch.arange(settings.max_tokens))

    def step(ids_B):
        return model(ids_B[:, None], cache)[:, -1]

    return Samples(*sampler.generate(logits_BV, step, dart_BT, settings.stop_ids[0]))
