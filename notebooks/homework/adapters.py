"""Plugs your functions into the real loop. There is nothing to write here.

Read it to see where each of them goes. The files come from this folder, or from another one named
by MINIR1_HOMEWORK (teachers: `solutions`).
"""

import ast
import importlib.util
import os
from pathlib import Path

import torch

from minir1.config import UserError
from minir1.model import LatentAttention
from minir1.sampler import UNNAMED, Samples, prefill, uniform
from minir1.tasks.countdown import Countdown

FOLDER = Path(__file__).parent / os.environ.get("MINIR1_HOMEWORK", ".")

MAY_IMPORT = (
    "torch", "numpy", "ast", "bisect", "collections", "copy", "dataclasses", "fractions",
    "functools", "heapq", "itertools", "math", "operator", "random", "re", "string", "typing",
)
NOT_NAMED = (  # what reaches another file's answer, or runs text as code
    "builtins", "compile", "eval", "exec", "getattr", "globals", "importlib", "inspect", "io",
    "locals", "open", "os", "sys", "vars",
)


def imported(node: ast.AST) -> list[str]:
    """Full names of what a node imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
    return []


def borrowed(source: str) -> str | None:
    """The first name in a homework file that could bring in an answer from elsewhere."""
    for node in ast.walk(ast.parse(source)):
        for full in imported(node):
            if full != "minir1.config.UserError" and full.split(".")[0] not in MAY_IMPORT:
                return full
        name = getattr(node, "id", getattr(node, "attr", ""))
        last = [full.rpartition(".")[2] for full in imported(node)]
        for word in (name, *last):
            if word in NOT_NAMED or word.startswith("__"):
                return word
    return None


class Refused:
    """Stands for a file that breaks the rules: whatever is asked of it raises UserError."""

    def __init__(self, why: str):
        self._why = why

    def __getattr__(self, name: str):
        raise UserError(self._why)


def load(name: str):
    """One of the five files, as a module; a Refused if the answer may come from elsewhere."""
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    try:
        found = borrowed(source)
    except SyntaxError:
        found = None  # Python's own message says more
    if found:
        why = "write it with torch and Python's standard library"
        return Refused(f"{name}.py uses {found}: {why} (rules of the game, README.md)")
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
