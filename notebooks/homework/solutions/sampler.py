"""Task 5, solved."""

import torch


def draw(logits_BV, dart_B):
    logp_BV = logits_BV.log_softmax(-1)
    ids_B = (logp_BV.exp().cumsum(-1) <= dart_B[:, None]).sum(-1).clamp(max=logits_BV.shape[-1] - 1)
    return ids_B, logp_BV.gather(-1, ids_B[:, None])[:, 0]


def generate(logits_BV, step, dart_BT, stop_id):
    B, T = dart_BT.shape
    ids_BT, logp_BT = torch.full((B, T), stop_id), torch.zeros(B, T)
    length_B, stopped_B = torch.full((B,), T), torch.zeros(B, dtype=torch.bool)
    for t in range(T):
        token_B, chosen_B = draw(logits_BV, dart_BT[:, t])
        running_B = ~stopped_B
        ids_BT[running_B, t], logp_BT[running_B, t] = token_B[running_B], chosen_B[running_B]
        ends_B = running_B & (token_B == stop_id)
        length_B[ends_B] = t + 1
        stopped_B |= ends_B
        if stopped_B.all() or t + 1 == T:
            return ids_BT, logp_BT, length_B, stopped_B
        logits_BV = step(ids_BT[:, t])
