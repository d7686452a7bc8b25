"""Step 3, group: eight responses to each puzzle, compared with one another (R1 Eq. 3).

Now the baseline knows how hard the puzzle is, with no model of values. Where all eight are alike,
nothing is learned.
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
