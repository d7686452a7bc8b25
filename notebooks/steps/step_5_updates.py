"""Step 5, several updates: four from each rollout, each on a quarter of its groups.

Sampling costs as much as learning, so more is learned from each sample. From the second update on
the policy is no longer the one that sampled; the ratio corrects for it, the clip bounds it. This is
GRPO, and zero_in_one_file.py but for its warm-up, its falling learning rate and two updates.
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
        puzzles = [puzzle for _ in range(32) for puzzle in 8 * [zero.draw(rng, "train")]]
        rollout, reward_B, _ = zero.respond(model, codec, puzzles)
        adv_B = zero.advantages(reward_B.view(32, 8)).flatten()
        every_B = torch.arange(256)
        for mine_B in every_B.view(4, 64):
            tokens = rollout.mask_BT[mine_B].sum()
            for row_B, part in rollout.parts(mine_B):
                logp_BT = zero.log_probs(model, part.ids_BT)
                loss = zero.clipped_loss(logp_BT, part.logp_BT, adv_B[row_B], part.mask_BT)
                (loss / tokens).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), zero.MAX_NORM)
            optimizer.step()
            optimizer.zero_grad()
        right.append((reward_B > 1).float().mean().item())
        print(f"step {step + 1}: {right[-1]:.0%} right", flush=True)
    return right
