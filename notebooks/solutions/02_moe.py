"""Solutions to the puzzles of 02_moe.ipynb, for teachers."""

import torch


def gates(score_E, bias_E, top_k):
    chosen = (score_E + bias_E).topk(top_k).indices  # the bias decides who is chosen ...
    gate_E = torch.zeros(len(score_E))
    gate_E[chosen] = score_E[chosen] / score_E[chosen].sum()  # ... and has no say in the weight
    return gate_E


def share_of_choices(expert_NK, experts):
    return torch.bincount(expert_NK.flatten(), minlength=experts) / expert_NK.numel()


def step_bias(bias_E, load_E, rate):
    return bias_E - rate * torch.sign(load_E - load_E.mean())


def sequence_balance(expert_TK, score_TE):
    experts = score_TE.shape[1]
    f_E = experts * torch.bincount(expert_TK.flatten(), minlength=experts) / expert_TK.numel()
    p_E = (score_TE / score_TE.sum(1, keepdim=True)).mean(0)
    return (f_E * p_E).sum()
