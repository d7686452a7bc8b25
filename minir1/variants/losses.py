"""Other losses of the GRPO family, with the signature of `grpo.grpo_loss`: `LOSSES[config.loss]`.

They differ in what is clipped, where the gradient flows and what a sum is divided by; with
r = exp(logp - old):

    grpo      min(r A, clip(r) A) of each token    mean as config.average says
    dapo      the same                             sum / tokens
    dr_grpo   the same                             sum / (responses * max_tokens)
    gspo      r of the whole response              mean over responses
    cispo     stopgrad(min(r, cap)) A logp         sum / tokens

and grpo_reverse_kl is grpo with another KL term.

They are TRL 1.16's loss types of the same names (gspo: "grpo" with importance_sampling_level
"sequence"), with two deviations: (1) the KL term is plain k3, as in the paper; TRL multiplies it by
r unless use_bias_correction_kl=False; (2) the numbers to clip at are the configuration's.
"""

from dataclasses import replace

import torch
from torch import Tensor

from minir1.grpo import Loss, average, grpo_loss, k3

Figures = tuple[Tensor, dict[str, Tensor]]  # the loss, figures to report

# An absolute bound on the ratio (ScaleRL, arXiv 2510.13786, sets 5), unlike config.clip_high, an
# offset from 1: as a bound, its 0.2 would cut every token and only rescale the gradient.
CISPO_CAP = 5.0


def dapo_loss(logp_BT, old_logp_BT, adv_B, mask_BT, total, config, ref_logp_BT=None) -> Figures:
    """DAPO (arXiv 2503.14476): every token weighs the same, so long responses count in full."""
    config = replace(config, average="token")
    return grpo_loss(logp_BT, old_logp_BT, adv_B, mask_BT, total, config, ref_logp_BT)


def dr_grpo_loss(logp_BT, old_logp_BT, adv_B, mask_BT, total, config, ref_logp_BT=None) -> Figures:
    """Dr. GRPO (arXiv 2503.20783): divided by a constant; a long wrong token is not cheaper.

    Its other half, advantages not divided by the group's std, is --rl.scale none. (TRL's dr_grpo
    divides unless scale_rewards="none".)
    """
    loss, stats = dapo_loss(logp_BT, old_logp_BT, adv_B, mask_BT, total, config, ref_logp_BT)
    return loss * total.tokens / (total.responses * config.max_tokens), stats


def gspo_loss(logp_BT, old_logp_BT, adv_B, mask_BT, total, config, ref_logp_BT=None) -> Figures:
    """GSPO (arXiv 2507.18071): one ratio a response, the geometric mean of its tokens' ratios,
    clipped as a whole. `clip_fraction` counts responses.

    The gradient flows through that mean, so all tokens of a response share one weight; TRL's mean
    over tokens, then responses, is the same number. A mean ratio hardly leaves 1: the paper clips
    at --rl.clip_low 3e-4 --rl.clip_high 4e-4.

    >>> from minir1.config import RLConfig
    >>> from minir1.grpo import Total
    >>> case = (torch.tensor([[0.5, -0.3]]), torch.zeros(1, 2), torch.ones(1), torch.ones(1, 2) > 0)
    >>> gspo_loss(*case, Total(tokens=2, responses=1), RLConfig())[0]  # -exp(0.1)
    tensor(-1.1052)
    """
    log_ratio_BT = (logp_BT - old_logp_BT) * mask_BT
    ratio_B = (log_ratio_BT.sum(1) / mask_BT.sum(1).clamp(min=1)).exp()
    low, high = 1 - config.clip_low, 1 + config.clip_high
    loss_B = -torch.minimum(ratio_B * adv_B, ratio_B.clamp(low, high) * adv_B)
    loss_BT = loss_B[:, None].expand_as(logp_BT)
    if ref_logp_BT is not None:
        loss_BT = loss_BT + config.kl * k3(logp_BT, ref_logp_BT)
    cut_B = ((ratio_B > high) & (adv_B > 0)) | ((ratio_B < low) & (adv_B < 0))
    loss = average(loss_BT, mask_BT, total, replace(config, average="response"))
    return loss, {"clip_fraction": cut_B.sum() / total.responses}


def cispo_loss(logp_BT, old_logp_BT, adv_B, mask_BT, total, config, ref_logp_BT=None) -> Figures:
    """CISPO (MiniMax-M1, arXiv 2506.13585): REINFORCE with a capped importance weight.

    No token loses its gradient. The value at the start of a step is not 0, unlike the others'.
    `clip_fraction` counts tokens whose weight was cut (TRL: only those with a positive advantage).
    """
    ratio_BT = ((logp_BT - old_logp_BT) * mask_BT).exp().detach()
    adv_BT = adv_B[:, None]
    loss_BT = -ratio_BT.clamp(max=CISPO_CAP) * adv_BT * logp_BT
    if ref_logp_BT is not None:
        loss_BT = loss_BT + config.kl * k3(logp_BT, ref_logp_BT)
    cut_BT = (ratio_BT > CISPO_CAP) & (adv_BT != 0) & mask_BT
    loss = average(loss_BT, mask_BT, total, replace(config, average="token"))
    return loss, {"clip_fraction": cut_BT.sum() / total.tokens}


def reverse_kl_loss(
    logp_BT, old_logp_BT, adv_B, mask_BT, total, config, ref_logp_BT=None
) -> Figures:
    """grpo with the KL term (logp - ref)² / 2 in place of k3 (Schulman's k2).

    On the policy's own samples its mean gradient is KL(policy | reference)'s, the reverse KL's.
    """
    loss, stats = grpo_loss(logp_BT, old_logp_BT, adv_B, mask_BT, total, config)
    if ref_logp_BT is not None:
        k2_BT = (logp_BT - ref_logp_BT).square() / 2
        loss = loss + average(config.kl * k2_BT, mask_BT, total, config)
    return loss, stats


LOSSES: dict[str, Loss] = {
    "grpo": grpo_loss,
    "dr_grpo": dr_grpo_loss,
    "dapo": dapo_loss,
    "gspo": gspo_loss,
    "cispo": cispo_loss,
    "grpo_reverse_kl": reverse_kl_loss,
}
