"""Task 2, solved."""

import torch


def grpo_loss(logp_BT, old_logp_BT, adv_B, mask_BT, low, high):
    # only what counts, so that padding cannot do harm
    ratio_N = (logp_BT[mask_BT] - old_logp_BT[mask_BT]).exp()
    adv_N = adv_B[:, None].expand_as(mask_BT)[mask_BT]
    return -torch.minimum(ratio_N * adv_N, ratio_N.clamp(1 - low, 1 + high) * adv_N).mean()
