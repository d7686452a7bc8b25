"""GRPO: advantages, the loss, the update, the loop (arXiv 2402.03300; R1 report Eq. 1-3).

The loss takes tensors, never a model. Its value is about 0 at the start of a step (every ratio is 1 and
the advantages of a group sum to 0, up to differences in length): that is not a bug, the gradient is not 0.

Deviations of the default from the paper, each one flag away: (1) the mean is over the batch's tokens,
not over each response first (DAPO; --rl.average response is the paper's); (2) clip 0.2 / 0.28 (DAPO's
clip-higher); (3) no KL penalty (--rl.kl 0.001 is the paper's); (4) the router's bias stays frozen: a
moving bias would change the policy between sampling and update.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from minir1.config import RLConfig
from minir1.model import Transformer, token_logp
from minir1.rollout import Batch, Rollouts, to_batch
from minir1.supervised import Learner


class Total(NamedTuple):
    """What a sum over micro-batches is divided by, so that they add up to the whole exactly."""

    tokens: int
    responses: int


Loss = Callable[..., tuple[Tensor, dict[str, Tensor]]]


def advantages(reward_PG: Tensor, scale: str = "group") -> Tensor:
    """How much better than its own group: (r - mean) / std, R1 Eq. 3 (std with ddof 1, plus 1e-4).

    >>> advantages(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).round(decimals=2)
    tensor([[ 0.7100, -0.7100],
            [ 0.0000,  0.0000]])
    """
    reward_PG = reward_PG - reward_PG[:, :1]  # equal rewards become exact zeros: the mean of equal floats can be off by a bit
    centred_PG = reward_PG - reward_PG.mean(1, keepdim=True)
    return centred_PG / (reward_PG.std(1, keepdim=True) + 1e-4) if scale == "group" else centred_PG


def k3(logp_BT: Tensor, ref_logp_BT: Tensor) -> Tensor:
    """Schulman's unbiased, non-negative estimate of KL(policy | reference), R1 Eq. 2."""
    log_ratio = ref_logp_BT - logp_BT
    return log_ratio.exp() - log_ratio - 1


def grpo_loss(
    logp_BT: Tensor, old_logp_BT: Tensor, adv_B: Tensor, mask_BT: Tensor, total: Total, config: RLConfig, ref_logp_BT=None
) -> tuple[Tensor, dict[str, Tensor]]:
    """R1 Eq. 1 with token-level ratios. Sums over this micro-batch, divided by `total`."""
    ratio_BT = ((logp_BT - old_logp_BT) * mask_BT).exp()
    clipped_BT = ratio_BT.clamp(1 - config.clip_low, 1 + config.clip_high)
    adv_BT = adv_B[:, None]
    loss_BT = -torch.minimum(ratio_BT * adv_BT, clipped_BT * adv_BT)
    if ref_logp_BT is not None:
        loss_BT = loss_BT + config.kl * k3(logp_BT, ref_logp_BT)
    cut_BT = ((ratio_BT > 1 + config.clip_high) & (adv_BT > 0)) | ((ratio_BT < 1 - config.clip_low) & (adv_BT < 0))
    return average(loss_BT, mask_BT, total, config), {"clip_fraction": (cut_BT & mask_BT).sum() / total.tokens}


def average(loss_BT: Tensor, mask_BT: Tensor, total: Total, config: RLConfig) -> Tensor:
    """token: over all tokens alike; response: over each response, then over responses (the paper)."""
    loss_BT = loss_BT * mask_BT
    if config.average == "token":
        return loss_BT.sum() / total.tokens
    return (loss_BT.sum(1) / mask_BT.sum(1).clamp(min=1)).sum() / total.responses


def micro_batches(length_B: Tensor, budget: int) -> list[Tensor]:
    """Row indices sorted by length, so that rows x longest stays within `budget` tokens, an eighth of it padding at most.

    >>> [m.tolist() for m in micro_batches(torch.tensor([9, 2, 3, 8]), 18)]
    [[1, 2], [3, 0]]
    """
    lengths, groups, filled = length_B.tolist(), [], 0
    for row in length_B.argsort(stable=True).tolist():
        whole = (len(groups[-1]) + 1) * lengths[row] if groups else budget + 1
        if whole <= budget and whole - filled - lengths[row] <= budget / 8:
            groups[-1].append(row)
            filled += lengths[row]
        else:
            groups.append([row])
            filled = lengths[row]
    return [torch.tensor(group, device=length_B.device) for group in groups]


@torch.no_grad()
def score_tokens(model: Transformer, learner: Learner, batch: Batch, config: RLConfig) -> Tensor:
    """Log-probs `[B, T]` of the batch's tokens under `model`, without gradients."""
    out_BT = torch.zeros_like(batch.sampler_logp_BT)
    for index in micro_batches(batch.length_B, 2 * config.train_tokens):
        part = batch.rows(index)
        with learner.autocast():
            logp_BT, _ = token_logp(model, part.ids_BT, config.temperature)
        out_BT[index, : logp_BT.shape[1]] = logp_BT
    return out_BT


def update(
    model: Transformer, learner: Learner, batch: Batch, adv_B: Tensor, config: RLConfig, lr: float, loss: Loss = grpo_loss,
    reference: Transformer | None = None
) -> dict[str, float]:
    """`minibatches` steps on one rollout. Rows without advantage only count in the averages, unless there is a KL term."""
    signal_B = torch.where((adv_B != 0) | (config.kl > 0))[0]
    if len(signal_B) == 0:
        return {"loss": 0.0, "grad_norm": 0.0, "clip_fraction": 0.0, "signal": 0.0}
    model.train()
    old_logp_BT, sums = batch.sampler_logp_BT, Counter()
    group_B = torch.arange(len(adv_B), device=adv_B.device) // config.group_size
    later_B = signal_B[group_B[signal_B] % config.minibatches > 0]  # the first minibatch needs no scoring: no step lies between
    if config.recompute and len(later_B):
        scored_BT = score_tokens(model, learner, batch.rows(later_B), config)
        old_logp_BT = torch.zeros_like(old_logp_BT)
        old_logp_BT[later_B, : scored_BT.shape[1]] = scored_BT
    for minibatch in range(config.minibatches):
        chosen_B = group_B % config.minibatches == minibatch
        total = Total(int(batch.mask_BT[chosen_B].sum()), int(chosen_B.sum()))
        rows = signal_B[chosen_B[signal_B]]
        for index in micro_batches(batch.length_B[rows], config.train_tokens) if len(rows) else ():
            part = batch.rows(rows[index])
            old = None if config.recompute and minibatch == 0 else old_logp_BT[rows[index], : part.mask_BT.shape[1]]
            figures = _backward(model, learner, part, adv_B[rows[index]], old, total, config, loss, reference)
            sums.update(figures if minibatch == 0 else {k: v for k, v in figures.items() if k not in ("gap", "fresh")})
        if len(rows):
            sums["grad_norm"] += learner.step(lr)
    per = {"gap": "fresh", "entropy": "tokens", "kl": "tokens"}
    stats = {k: float(v / (sums[per[k]] if k in per else config.minibatches)) for k, v in sums.items() if k not in per.values()}
    return stats | {"signal": len(signal_B) / len(adv_B)}


def _backward(model, learner, part: Batch, adv_B, old_BT, total, config, loss, reference) -> dict[str, Tensor]:
    """Forward and backward of one micro-batch; without `old_BT` its own log-probs serve. Returns sums over tokens, mean loss."""
    with learner.autocast():
        logp_BT, entropy_BT = token_logp(model, part.ids_BT, config.temperature)
        with torch.no_grad():
            ref_logp_BT = token_logp(reference, part.ids_BT, config.temperature)[0] if reference is not None else None
    old_BT, penalty = logp_BT.detach() if old_BT is None else old_BT, ref_logp_BT if config.kl > 0 else None
    value, figures = loss(logp_BT, old_BT, adv_B, part.mask_BT, total, config, penalty)
    learner.backward(value)
    tokens = part.mask_BT.sum()
    figures |= {"loss": value.detach(), "entropy": (entropy_BT * part.mask_BT).sum(), "tokens": tokens, "fresh": tokens}
    figures["gap"] = ((logp_BT.detach() - part.sampler_logp_BT).abs() * part.mask_BT).sum()  # true before the first step only
    if ref_logp_BT is not None:
        figures["kl"] = (k3(logp_BT.detach(), ref_logp_BT) * part.mask_BT).sum()
    return figures


def learning_rate(step: int, config: RLConfig) -> float:
    """Linear warm-up, then linear to `lr_end` times the peak."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    return config.lr * warm * (1 - (1 - config.lr_end) * step / max(1, config.steps))


def train(
    model: Transformer, learner: Learner, steps: Iterable[int], config: RLConfig, pad_id: int, generate: Callable[[int],
    Rollouts], on_step: Callable[[int, Rollouts, Tensor, dict[str, float]], None], loss: Loss = grpo_loss, reference:
    Callable[[int], Transformer | None] = lambda step: None
) -> None:
    """The algorithm: sample groups, compare within each group, move towards the better ones."""
    for step in steps:
        rollouts = generate(step)
        reward_B = torch.tensor([reward.total(config) for reward in rollouts.rewards])
        adv_B = advantages(reward_B.view(-1, rollouts.group), config.scale).flatten()
        batch = to_batch(rollouts, pad_id, model.embed.weight.device)
        lr, device = learning_rate(step, config), batch.ids_BT.device
        stats = update(model, learner, batch, adv_B.to(device), config, lr, loss, reference(step))
        on_step(step, rollouts, adv_B, stats)
