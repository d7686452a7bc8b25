"""GRPO: advantages, the loss, the update (arXiv 2402.03300; R1 report Eq. 1-3).

The loss takes tensors, never a model. Its value is about 0 at the start of a step (every ratio is 1
and the advantages of a group sum to 0, up to differences in length); its gradient is not 0.

Deviations of the default from the paper, each one flag away: (1) the mean is over the batch's
tokens, not over each response first (DAPO; the paper's: --rl.average response); (2) clip 0.2 / 0.28
(DAPO's clip-higher); (3) no KL penalty (the paper's: --rl.kl 0.001); (4) the router's bias stays
frozen: a moving bias would change the policy between sampling and update.
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from minir1.config import RLConfig
from minir1.model import Transformer, token_logp
from minir1.rollout import Batch
from minir1.supervised import Learner


class Total(NamedTuple):
    """What a sum over a micro-batch is divided by, so that micro-batches add up to the whole."""

    tokens: int | Tensor
    responses: int


# (logp_BT, old_logp_BT, adv_B, mask_BT, total, config, ref_logp_BT) -> the loss, figures to report
Loss = Callable[..., tuple[Tensor, dict[str, Tensor]]]


def advantages(reward_PG: Tensor, scale: str = "group") -> Tensor:
    """How much better than its own group: (r - mean) / std, R1 Eq. 3 (std with ddof 1, plus 1e-4).
    With scale="none": r - mean. `[P, G]`.

    >>> advantages(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).round(decimals=2)
    tensor([[ 0.7100, -0.7100],
            [ 0.0000,  0.0000]])
    """
    reward_PG = reward_PG - reward_PG[:, :1]  # equal ones become 0, whose mean is exact
    centred_PG = reward_PG - reward_PG.mean(1, keepdim=True)
    return centred_PG / (reward_PG.std(1, keepdim=True) + 1e-4) if scale == "group" else centred_PG


def k3(logp_BT: Tensor, ref_logp_BT: Tensor) -> Tensor:
    """Schulman's unbiased, non-negative estimate of KL(policy | reference), R1 Eq. 2, `[B, T]`.
    Unbiased is its value: on the policy's own samples its mean gradient is KL(reference | policy)'s
    (the forward KL's). --rl.loss grpo_reverse_kl has the other."""
    log_ratio_BT = ref_logp_BT - logp_BT
    return log_ratio_BT.exp() - log_ratio_BT - 1


def grpo_loss(
    logp_BT: Tensor, old_logp_BT: Tensor, adv_B: Tensor, mask_BT: Tensor, total: Total,
    config: RLConfig, ref_logp_BT: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """R1 Eq. 1 with token-level ratios, negated: this micro-batch's share of the loss, and of the
    fraction of tokens whose ratio was clipped. Log-probs in nats, the mask True for what counts."""
    ratio_BT = ((logp_BT - old_logp_BT) * mask_BT).exp()
    low, high = 1 - config.clip_low, 1 + config.clip_high
    adv_BT = adv_B[:, None]
    loss_BT = -torch.minimum(ratio_BT * adv_BT, ratio_BT.clamp(low, high) * adv_BT)
    if ref_logp_BT is not None:
        loss_BT = loss_BT + config.kl * k3(logp_BT, ref_logp_BT)
    cut_BT = ((ratio_BT > high) & (adv_BT > 0)) | ((ratio_BT < low) & (adv_BT < 0))
    figures = {"clip_fraction": (cut_BT & mask_BT).sum() / total.tokens}
    return average(loss_BT, mask_BT, total, config), figures


def average(loss_BT: Tensor, mask_BT: Tensor, total: Total, config: RLConfig) -> Tensor:
    """token: over all tokens alike; response: over each response, then over responses (paper)."""
    loss_BT = loss_BT * mask_BT
    if config.average == "token":
        return loss_BT.sum() / total.tokens
    return (loss_BT.sum(1) / mask_BT.sum(1).clamp(min=1)).sum() / total.responses


def micro_batches(length_B: Tensor, budget: int) -> list[Tensor]:
    """Row indices sorted by length, so that rows x longest stays within `budget` tokens, an eighth
    of it padding at most. A row longer than the budget is alone.

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
    return [torch.tensor(group) for group in groups]


def own_batches(learner: Learner, length_B: Tensor, budget: int) -> list[Tensor]:
    """micro_batches of all processes together, and of the rows of each those of this process."""
    ranks = learner.ranks
    return ranks.deal(micro_batches(length_B, ranks.size * budget))


@torch.no_grad()
def score_tokens(model: Transformer, learner: Learner, batch: Batch, config: RLConfig) -> Tensor:
    """Log-probs `[B, T]` of the batch's tokens under `model`, without gradients."""
    out_BT = torch.zeros_like(batch.sampler_logp_BT)
    for index in own_batches(learner, batch.length_B, 2 * config.train_tokens):
        part = batch.rows(index)
        with learner.autocast():
            logp_BT, _ = token_logp(model, part.ids_BT, config.temperature)
        out_BT[batch.sent(index), : logp_BT.shape[1]] = logp_BT
    return learner.ranks.sum(out_BT)[0]


def update(
    model: Transformer, learner: Learner, batch: Batch, adv_B: Tensor, config: RLConfig, lr: float,
    loss: Loss = grpo_loss, reference: Transformer | None = None,
) -> dict[str, float | Tensor]:
    """`minibatches` optimizer steps on one rollout, each on every `minibatches`-th group. Rows
    without advantage only count in the averages, unless there is a KL term. See statistics();
    beside it stand the tokens trained on, and those that were only read once more. `adv_B` is on
    the host, so that nothing here waits for a device, which may still compute at the end."""
    signal_B = torch.where((adv_B != 0) | (config.kl > 0))[0]
    if len(signal_B) == 0:
        nothing = dict.fromkeys(("loss", "grad_norm", "clip_fraction", "signal"), 0.0)
        return nothing | {"tokens_trained": 0, "tokens_scored": 0}
    model.train()
    group_B = torch.arange(len(adv_B)) // config.group_size
    minibatch_B = group_B % config.minibatches
    old_logp_BT, sums, norm = batch.sampler_logp_BT, Counter(), 0.0
    later_B = signal_B[minibatch_B[signal_B] > 0]  # before the first step a forward pass gives both
    if config.recompute and len(later_B):
        scored_BT = score_tokens(model, learner, batch.rows(later_B), config)
        old_logp_BT = torch.zeros_like(old_logp_BT)
        old_logp_BT[batch.sent(later_B), : scored_BT.shape[1]] = scored_BT
    for minibatch in range(config.minibatches):
        chosen_B = minibatch_B == minibatch
        total = Total((batch.mask_BT & batch.sent(chosen_B)[:, None]).sum(), int(chosen_B.sum()))
        rows = signal_B[chosen_B[signal_B]]
        if len(rows) == 0:
            continue
        for index in own_batches(learner, batch.length_B[rows], config.train_tokens):
            part, row_B = batch.rows(rows[index]), batch.sent(rows[index])
            same = config.recompute and minibatch == 0
            old_BT = None if same else old_logp_BT[row_B, : part.mask_BT.shape[1]]
            case = (part, batch.sent(adv_B[rows[index]]), old_BT, total, config)
            sums.update(_backward(model, learner, *case, loss, reference, minibatch == 0))
        norm += learner.step(lr)
    sums = learner.ranks.total(sums)
    sums["grad_norm"] = norm
    trained = int(batch.length_B[signal_B].sum())
    scored = int(batch.length_B[later_B].sum()) if config.recompute else 0
    counts = {"tokens_trained": trained, "tokens_scored": scored + trained * bool(reference)}
    return statistics(sums, config.minibatches, len(signal_B) / len(adv_B)) | counts


def _backward(model, learner, part, adv_B, old_BT, total, config, loss, reference, fresh) -> dict:
    """Forward and backward of one micro-batch: its share of the loss, and sums over its tokens.
    Without `old_BT` its own log-probs serve. `fresh`: the weights are those that sampled."""
    ref_logp_BT = None
    with learner.autocast():
        logp_BT, entropy_BT = token_logp(model, part.ids_BT, config.temperature)
        if reference is not None:
            with torch.no_grad():
                ref_logp_BT, _ = token_logp(reference, part.ids_BT, config.temperature)
    own_BT = logp_BT.detach()
    old_BT = own_BT if old_BT is None else old_BT
    penalty = ref_logp_BT if config.kl > 0 else None
    value, figures = loss(logp_BT, old_BT, adv_B, part.mask_BT, total, config, penalty)
    learner.backward(value)
    mask_BT, tokens = part.mask_BT, part.mask_BT.sum()
    figures["loss"] = value.detach()
    figures |= {"entropy": (entropy_BT * mask_BT).sum(), "tokens": tokens}
    if fresh:
        gap_BT = (own_BT - part.sampler_logp_BT).abs()
        figures |= {"gap": (gap_BT * mask_BT).sum(), "fresh": tokens}
    if ref_logp_BT is not None:
        figures["kl"] = (k3(own_BT, ref_logp_BT) * mask_BT).sum()
    return figures


def statistics(sums: Counter, minibatches: int, signal: float) -> dict[str, float | Tensor]:
    """Figures of one update, tensors where a device computes them.

    loss, clip_fraction, grad_norm (before clipping)   means over minibatches
    entropy, kl     nats per token, over the tokens trained (not those of rows without advantage,
                    unless there is a KL term); kl only with a reference
    gap             over the same: by how much sampler and trainer differ, before the first step
    signal          share of the responses that were trained
    """
    divisor = {"gap": sums["fresh"], "entropy": sums["tokens"], "kl": sums["tokens"]}
    stats = {}
    for name, total in sums.items():
        if name not in ("fresh", "tokens"):
            stats[name] = total / divisor.get(name, minibatches)
    return stats | {"signal": signal}


def learning_rate(step: int, config: RLConfig) -> float:
    """Linear warm-up, then linear to `lr_end` times the peak."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    return config.lr * warm * (1 - (1 - config.lr_end) * step / max(1, config.steps))
