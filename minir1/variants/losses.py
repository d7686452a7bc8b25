"""Other losses of the GRPO family, each with the signature of `grpo.grpo_loss`: `LOSSES[config.loss]`.

r = exp(logp - old). They differ in what is clipped, where the gradient flows and what a sum is divided by:

    grpo      min(r A, clip(r) A) of each token    mean as config.average says
    dapo      the same                             sum / tokens
    dr_grpo   the same                             sum / (responses * max_tokens)
    gspo      r of the whole response              mean over responses
    cispo     stopgrad(min(r, cap)) A logp         sum / tokens

They are TRL 1.16's loss types of the same names (gspo: loss_type "grpo" with importance_sampling_level
"sequence"), with two deviations: (1) the KL term is plain k3, as in the paper; TRL multiplies it by r
unless use_bias_correction_kl=False; (2) only the clipping is theirs, the numbers are the configuration's.
"""

from dataclasses import replace

import torch
from torch import Tensor

from minir1.config import RLConfig
from minir1.grpo import Loss, Total, average, grpo_loss, k3

# An absolute bound on the ratio (ScaleRL, arXiv 2510.13786, sets 5). config.clip_high is an offset from 1: read as
# a bound, its 0.2 or so would cut every token, those at ratio 1 included, and only rescale the gradient.
CISPO_CAP = 5.0


def dapo_loss(
    logp_BT: Tensor, old_logp_BT: Tensor, adv_B: Tensor, mask_BT: Tensor, total: Total, config: RLConfig, ref_logp_BT=None
) -> tuple[Tensor, dict[str, Tensor]]:
    """DAPO (arXiv 2503.14476): every token weighs the same, so long responses count in full."""
    return grpo_loss(logp_BT, old_logp_BT, adv_B, mask_BT, total, replace(config, average="token"), ref_logp_BT)


def dr_grpo_loss(
    logp_BT: Tensor, old_logp_BT: Tensor, adv_B: Tensor, mask_BT: Tensor, total: Total, config: RLConfig, ref_logp_BT=None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Dr. GRPO (arXiv 2503.20783): divided by a constant, so that a long wrong answer is not cheaper by the token.

    Its other half, advantages without the division by the group's std, is --rl.scale none. (TRL's dr_grpo
    goes on dividing unless scale_rewards="none".)
    """
    loss, stats = dapo_loss(logp_BT, old_logp_BT, adv_B, mask_BT, total, config, ref_logp_BT)
    return loss * total.tokens / (total.responses * config.max_tokens), stats


def gspo_loss(
    logp_BT: Tensor, old_logp_BT: Tensor, adv_B: Tensor, mask_BT: Tensor, total: Total, config: RLConfig, ref_logp_BT=None
) -> tuple[Tensor, dict[str, Tensor]]:
    """GSPO (arXiv 2507.18071): one ratio a response, the geometric mean of its tokens' ratios, clipped as a whole.

    The gradient flows through that mean, so all tokens of a response share one weight. In TRL the term is
    constant along a response, averaged over its tokens and then over responses: the same number. A mean
    ratio hardly leaves 1: the paper clips at --rl.clip_low 3e-4 --rl.clip_high 4e-4. `clip_fraction` counts responses.

    >>> logp, total = torch.tensor([[0.5, -0.3]]), Total(tokens=2, responses=1)
    >>> gspo_loss(logp, torch.zeros(1, 2), torch.ones(1), torch.ones(1, 2) > 0, total, RLConfig())[0]  # -exp(0.1)
    tensor(-1.1052)
    """
    ratio_B = (((logp_BT - old_logp_BT) * mask_BT).sum(1) / mask_BT.sum(1).clamp(min=1)).exp()
    clipped_B = ratio_B.clamp(1 - config.clip_low, 1 + config.clip_high)
    loss_BT = -torch.minimum(ratio_B * adv_B, clipped_B * adv_B)[:, None].expand_as(logp_BT)
    if ref_logp_BT is not None:
        loss_BT = loss_BT + config.kl * k3(logp_BT, ref_logp_BT)
    cut_B = ((ratio_B > 1 + config.clip_high) & (adv_B > 0)) | ((ratio_B < 1 - config.clip_low) & (adv_B < 0))
    return average(loss_BT, mask_BT, total, replace(config, average="response")), {"clip_fraction": cut_B.sum() / total.responses}


def cispo_loss(
    logp_BT: Tensor, old_logp_BT: Tensor, adv_B: Tensor, mask_BT: Tensor, total: Total, config: RLConfig, ref_logp_BT=None
) -> tuple[Tensor, dict[str, Tensor]]:
    """CISPO (MiniMax-M1, arXiv 2506.13585): REINFORCE with a capped importance weight; no token loses its gradient.

    Its value at the start of a step is not 0, unlike the others'. `clip_fraction` counts tokens whose weight
    was cut (TRL: only those with a positive advantage).
    """
    ratio_BT, adv_BT = ((logp_BT - old_logp_BT) * mask_BT).exp().detach(), adv_B[:, None]
    loss_BT = -ratio_BT.clamp(max=CISPO_CAP) * adv_BT * logp_BT
    if ref_logp_BT is not None:
        loss_BT = loss_BT + config.kl * k3(logp_BT, ref_logp_BT)
    cut_BT = (ratio_BT > CISPO_CAP) & (adv_BT != 0) & mask_BT
    return average(loss_BT, mask_BT, total, replace(config, average="token")), {"clip_fraction": cut_BT.sum() / total.tokens}


LOSSES: dict[str, Loss] = {
    "grpo": grpo_loss,
    "dr_grpo": dr_grpo_loss,
    "dapo": dapo_loss,
    "gspo": gspo_loss,
    "cispo": cispo_loss,
}


def overlong_penalty(length_B: Tensor, max_tokens: int, margin: int) -> Tensor:
    """DAPO's soft penalty, Eq. 13: added to the reward, from 0 to -1 over the last `margin` tokens of the budget.

    >>> overlong_penalty(torch.tensor([10, 80, 90, 100]), max_tokens=100, margin=20)
    tensor([ 0.0000,  0.0000, -0.5000, -1.0000])
    """
    return ((max_tokens - margin - length_B) / margin).clamp(-1, 0)
