"""Solutions to the puzzles of 06_grpo_by_hand.ipynb, for teachers."""

import torch


def advantages(reward_G):
    centred_G = reward_G - reward_G.mean()
    if torch.equal(reward_G, reward_G[:1].expand(len(reward_G))):
        return torch.zeros(len(reward_G))
    return centred_G / (reward_G.std() + 1e-4)


def clipped_terms(ratio_T, advantage, low, high):
    clipped_T = ratio_T.clamp(1 - low, 1 + high)
    return torch.minimum(ratio_T * advantage, clipped_T * advantage)


def gradient_weights(ratio_T, advantage, low, high):
    cut_T = ratio_T > 1 + high if advantage > 0 else ratio_T < 1 - low
    return (ratio_T * advantage).masked_fill(cut_T, 0.0)


def kl_estimate(logp_T, ref_logp_T):
    log_ratio_T = ref_logp_T - logp_T
    return log_ratio_T.exp() - log_ratio_T - 1


def average_three_ways(loss_BT, mask_BT, max_tokens):
    sum_B, length_B = (loss_BT * mask_BT).sum(1), mask_BT.sum(1)
    grpo = (sum_B / length_B).mean()
    dapo = sum_B.sum() / length_B.sum()
    dr_grpo = sum_B.sum() / (len(sum_B) * max_tokens)
    return grpo, dapo, dr_grpo


def response_ratio(logp_T, old_logp_T, mask_T):
    return (logp_T - old_logp_T)[mask_T].mean().exp()
