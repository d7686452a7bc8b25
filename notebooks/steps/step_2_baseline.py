"""Step 2, baseline: only what was better than the mean of all becomes more probable.

A baseline leaves the gradient's mean as it is and takes away noise. But it is one number for all:
a right answer to an easy puzzle counts as much as one to a hard puzzle.
"""

import random

import torch

import zero_in_one_file as zero


def train(model, codec, seed: int, steps: int) -> list[float]:
    """Returns the share of right responses, step by step."""
    torch.manual_seed(seed)
    rng, right = random.Random(seed), []
    how = {"lr": zero.LEARNING_RATE, "betas": (0.9, 0.95), "weight_decay": 0}
    optimizer = torch.optim.AdamW(model.parameters(), **how)
    for step in range(steps):
        puzzles = [zero.draw(rng, "train") for _ in range(256)]
        rollout, reward_B, _ = zero.respond(model, codec, puzzles)
        adv_B = reward_B - reward_B.mean()
        every_B = torch.arange(256)
        for mine_B in [every_B]:
            tokens = rollout.mask_BT[mine_B].sum()
            for row_B, part in rollout.parts(mine_B):
                logp_BT = zero.log_probs(model, part.ids_BT)
                loss = -(logp_BT * adv_B[row_B, None] * part.mask_BT).sum()
                (loss / tokens).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), zero.MAX_NORM)
            optimizer.step()
            optimizer.zero_grad()
        right.append((reward_B > 1).float().mean().item())
        print(f"step {step + 1}: {right[-1]:.0%} right", flush=True)
    return right
