"""One cross-entropy loop, for pretraining and supervised fine-tuning, and the Learner that steps.

The Learner is the only place where weights change. Its autocast() and scaled() are plain float32
here; minir1/fast/device.py gives the bfloat16 and float16 twins. Its `ranks` is one process here;
minir1/fast/ranks.py gives several, each of which computes a part of every batch.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minir1.config import Diverged, PretrainConfig
from minir1.model import (
    Transformer,
    balance_loss,
    expert_counts,
    move_router_bias,
    without_padding,
)

BROKEN = (
    "nothing is learned since step {since}: the loss or its gradient was not a finite number, "
    "{lost} times in a row. Usual causes: a learning rate too high, float16 that overflows "
    "(--dtype float32), a reward that is not a number"
)


class Alone:
    """The processes that train one model: a single one."""

    size = 1

    def deal(self, groups: list[Tensor]) -> list[Tensor]:
        """Of each group of rows, those that this process computes."""
        return groups

    def own_rows(self, ids_BT: Tensor, mask_BT: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The rows of a batch that this process computes."""
        return ids_BT, mask_BT

    def sum(self, *parts: Tensor | None) -> tuple:
        """Each one summed over the processes."""
        return parts

    def total(self, sums: Counter) -> Counter:
        """Figures by name, each one summed over the processes."""
        return sums

    def reduce(self, parameters: list[Tensor], finite: Tensor) -> None:
        """Gradients become their sums over the processes, and `finite` whether all of them are."""


class Learner:
    """AdamW (0.9, 0.95), weight decay on matrices only, gradient norm clipped at `clip`.

    An update whose loss or gradient is not finite is left out: weights and moments stay as they
    are. `skipped` counts such updates, `in_a_row` the latest of them. All of it happens on the
    model's device; only check() waits for it. It takes 0.05% of a step (results/bench/guard.py).
    """

    patience = 5  # updates left out in a row, after which check() gives up
    ranks = Alone()

    def __init__(self, model: Transformer, weight_decay: float = 0.0, clip: float = 1.0):
        matrices = [p for p in model.parameters() if p.ndim > 1]
        vectors = [p for p in model.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors}]
        self.optimizer = torch.optim.AdamW(groups, 1.0, (0.9, 0.95), weight_decay=0.0, fused=True)
        self.parameters, self.clip = matrices + vectors, clip
        count = torch.zeros((), dtype=torch.long, device=self.parameters[0].device)
        self.skipped, self.in_a_row, self.finite = count, count.clone(), count == 0

    def autocast(self):
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add up gradients; several calls before a step() are one batch."""
        self.finite &= loss.detach().isfinite()
        self.scaled(loss).backward()

    def scaled(self, loss: Tensor) -> Tensor:
        return loss

    def unscale(self) -> None:
        pass

    def gradients(self, compute: Callable, *inputs) -> list:
        """Add up the gradients of what `compute(*inputs)` gives first; returns the rest of it."""
        with self.autocast():
            loss, *rest = compute(*inputs)
        self.backward(loss)
        return rest

    def step(self, lr: float) -> Tensor:
        """One update from the gathered gradients; returns their norm before clipping: nan if it
        was left out."""
        self.ranks.reduce(self.parameters, self.finite)
        self.unscale()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        broken = ~(norm.isfinite() & self.finite)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.found_inf = broken.float()  # its kernel then changes nothing
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.skipped += broken
        self.in_a_row.add_(1).mul_(broken)
        self.finite.fill_(True)
        return norm.masked_fill(broken, torch.nan)

    def check(self, step: int, updates: int = 1) -> None:
        """Raises Diverged when too many updates in a row were left out. `step` is the present one,
        with so many `updates` a step."""
        lost = int(self.in_a_row)
        if lost >= self.patience:
            since = step + 2 - -(-lost // updates)
            raise Diverged(BROKEN.format(since=since, lost=lost))

    def state(self) -> dict:
        return self.optimizer.state_dict()

    def restore(self, state: dict) -> None:
        self.optimizer.load_state_dict(state)


def cosine(step: int, steps: int, peak: float, end: float, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then a cosine down to `end` times the peak.

    >>> [round(cosine(s, 100, 1.0, 0.1, 0.1), 2) for s in (0, 9, 10, 55, 100)]
    [0.1, 1.0, 1.0, 0.55, 0.1]
    """
    first = max(1, round(warmup * steps))
    if step < first:
        return peak * (step + 1) / first
    progress = (step - first) / max(1, steps - first)
    return peak * (end + (1 - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class Step(NamedTuple):
    """What one step reports (tensors, so that reading them is the caller's choice)."""

    step: int
    loss: Tensor  # cross entropy before the step, nats per token
    grad_norm: Tensor  # before clipping
    lr: float
    load_LE: Tensor | None  # see model.expert_load; None: a dense model


class Whole(NamedTuple):
    """A batch by what the sums over some of its rows are divided by, so that parts add up."""

    rows: int
    tokens: int | Tensor  # to be predicted
    ahead: int | Tensor  # the same by multi-token prediction: all but each row's first

    @classmethod
    def of(cls, ids_BT: Tensor, mask_BT: Tensor | None) -> "Whole":
        rows, T = ids_BT[:, 1:].shape
        if mask_BT is None:
            return cls(rows, rows * T, rows * (T - 1))
        return cls(rows, mask_BT.sum(), mask_BT[:, 1:].sum())


def language_loss(
    model: Transformer, ids_BT: Tensor, mask_BT: Tensor | None, config: PretrainConfig,
    whole: Whole | None = None, ranks: Alone = Learner.ranks,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """(total loss, cross entropy in nats per token, how often each expert was chosen `[L, E]`).

    `ids_BT` is `[B, T + 1]`; `mask_BT` `[B, T]` marks what is to be predicted: behind its last mark
    a row is padding, which does not count in the experts' load. The total adds balance_loss and,
    with config.mtp, the loss of mtp_logits (V3 Eq. 24-25). Of a part of the `whole` it is the
    part's share, which it adds to those of the other `ranks`.
    """
    whole = whole or Whole.of(ids_BT, mask_BT)
    hidden_BTD, routing = model.trunk(ids_BT[:, :-1])
    target_BT = ids_BT[:, 1:]
    if mask_BT is not None:
        target_BT = target_BT.masked_fill(~mask_BT, -100)  # cross_entropy leaves these out
    logits_BTV = model.logits(hidden_BTD)
    flat = logits_BTV.flatten(0, 1), target_BT.flatten()
    cross_entropy = F.cross_entropy(*flat, reduction="sum") / whole.tokens
    loss, count_LE = cross_entropy, None
    if mask_BT is not None:
        real_BT = mask_BT.flip(1).cumsum(1).flip(1) > 0
        routing = without_padding(routing, real_BT)
    if model.config.mtp:
        ahead_BTV, chosen = model.mtp_logits(hidden_BTD[:, :-1], ids_BT[:, 1:-1])
        flat = ahead_BTV.flatten(0, 1), target_BT[:, 1:].flatten()
        ahead = F.cross_entropy(*flat, reduction="sum") / whole.ahead
        loss = loss + config.mtp_weight * ahead
        routing += chosen if mask_BT is None else without_padding(chosen, real_BT[:, 1:])
    if routing:
        count_LBE = expert_counts(routing, model.config.experts)
        count_LE, part = count_LBE.sum(1), len(ids_BT) / whole.rows
        if mask_BT is not None:  # one long row, of which each process has some tokens
            (count_LBE,), part = ranks.sum(count_LBE), 1.0
        loss = loss + config.balance_loss * part * balance_loss(routing, count_LBE)
    return loss, cross_entropy.detach(), count_LE


def train_supervised(
    model: Transformer, learner: Learner, batches: Iterable[tuple[Tensor, Tensor | None]],
    config: PretrainConfig, steps: int, on_step: Callable[[Step], None], first: int = 0,
) -> None:
    """Minimise cross entropy over `batches` of (ids_BT, mask_BT or None), one a step."""
    model.train()
    ranks = learner.ranks
    for step, (ids_BT, mask_BT) in zip(range(first, steps), batches):
        own, whole = ranks.own_rows(ids_BT, mask_BT), Whole.of(ids_BT, mask_BT)
        figures = learner.gradients(language_loss, model, *own, config, whole, ranks)
        cross_entropy, count_LE = ranks.sum(*figures)
        lr = cosine(step, steps, config.lr, config.lr_end, config.warmup)
        grad_norm = learner.step(lr)
        load_LE = None if count_LE is None else count_LE / count_LE.sum(1, keepdim=True)
        if load_LE is not None and step < 0.9 * steps:  # V3 section 4.2: gamma is 0 at the end
            move_router_bias(model, load_LE, config.balance_rate * grad_norm.isfinite())
        on_step(Step(step, cross_entropy, grad_norm, lr, load_LE))
        if step % 20 == 19 or step + 1 == steps:  # seldom: it waits for the device
            learner.check(step)
