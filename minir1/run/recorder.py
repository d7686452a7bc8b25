"""What a run keeps for the viewer: whole groups of responses to the same few held-out problems.

A row is one response (samples/*.jsonl, one JSON object a line):

    step, id           when; which problem of the validation set
    question, response text
    correct, stopped   the verifier's word; ended by itself, or was cut at the token limit
    tokens             sampled, the end token included
    sample             its place in the group
    reward, format, language, advantage    as GRPO would have them; nothing learns from these groups
    cuts               characters of `response` that each token completes
    logp, base         log-prob of each token under policy and base, in hundredths of a nat
    entropy            of the policy where it drew the token, in hundredths of a nat

Both log-probs come from the trainer's own forward pass, so that at step 0 they are equal. The rows
behind the groups are one response each to further problems, without the figures of tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from minir1.config import RLConfig
from minir1.fast.device import Device
from minir1.grpo import advantages, micro_batches
from minir1.measure.evaluator import Evaluator
from minir1.model import Transformer, token_logp
from minir1.rollout import Rollouts, to_batch
from minir1.sampler import Sampling
from minir1.tasks import Problem
from minir1.tokenizer import Tokenizer

GROUPS, SINGLES = 4, 16  # problems with a whole group, and with one response


def choose(problems: Sequence[Problem], count: int = GROUPS) -> list[int]:
    """Indices of the first `count` problems, taking turns between kinds (task, how many numbers,
    language).

    >>> from minir1.tasks.countdown import Countdown
    >>> choose([Countdown((3, 5, 2), 4), Countdown((1, 2, 3), 6), Countdown((1, 2, 3, 4), 10)], 2)
    [0, 2]
    """
    seen: dict[tuple, int] = {}
    turns = []
    for i, p in enumerate(problems):
        kind = (p.task, len(getattr(p, "numbers", ())), p.lang)
        turns.append((seen.setdefault(kind, 0), i))
        seen[kind] += 1
    return sorted(i for _, i in sorted(turns)[:count])


def cuts(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    """Characters that each token adds to the text: 0 for a part of a character."""
    lengths, open_ids = [], []
    for i in ids:
        open_ids.append(i)
        text = tokenizer.decode(open_ids)
        whole = "\ufffd" not in text or len(open_ids) == 4  # a character has at most four bytes
        lengths.append(len(text) if whole else 0)
        open_ids = [] if whole else open_ids
    if open_ids:  # cut in the middle of a character
        lengths[-1] = len(tokenizer.decode(open_ids))
    return lengths


@torch.no_grad()
def rescore(
    model: Transformer, rollouts: Rollouts, pad: int, device: Device, temperature: float,
    budget: int = 16_384,
) -> list:
    """(log-probs, entropies) of each row's tokens, by the trainer's pass, `budget` at a time."""
    batch = to_batch(rollouts, pad, device.name)
    scored: list = [None] * len(rollouts.response_ids)
    for index in micro_batches(batch.length_B, budget):
        part = batch.rows(index)
        with torch.autocast(device.name, device.dtype, enabled=device.dtype != torch.float32):
            logp_BT, entropy_BT = token_logp(model, part.ids_BT, temperature)
        for place, row in enumerate(index.tolist()):
            mask_T = part.mask_BT[place]
            logp_T, entropy_T = logp_BT[place][mask_T], entropy_BT[place][mask_T]
            scored[row] = (hundredths(logp_T), hundredths(entropy_T))
    return scored


def hundredths(value_T: Tensor) -> list[int]:
    """Whole hundredths; what is not finite reads as -100.

    >>> hundredths(torch.tensor([-0.026, 1.5, float("-inf")]))
    [-3, 150, -10000]
    """
    whole_T = (100 * value_T.float()).nan_to_num(-1e4, 1e4, -1e4).clamp(-1e4, 1e4)
    return whole_T.round().int().tolist()


class Recorder:
    """Samples and scores the groups of one phase. `base` is the policy before it."""

    def __init__(self, base: Transformer, config: RLConfig, device: Device):
        self.base, self.config, self.device = base, config, device

    def rows(
        self, step: int, evaluator: Evaluator, model: Transformer, seen: Rollouts,
        settings: Sampling, prefix: str,
    ) -> list:
        """The rows of one validation: new groups for the chosen problems, `seen` for others."""
        chosen = choose(seen.problems)
        problems = [seen.problems[i] for i in chosen]
        groups = evaluator.roll(model, problems, self.config.group_size, step, settings, prefix)
        rows = self.score(groups, evaluator.tokenizer, model)
        for place, row in enumerate(rows):
            row |= {"step": step, "id": str(chosen[place // groups.group])}
        others = [i for i in range(len(seen.problems)) if i not in chosen][:SINGLES]
        return rows + [{"step": step, "id": str(i), **plain(seen, i * seen.group)} for i in others]

    def score(self, rollouts: Rollouts, tokenizer: Tokenizer, model: Transformer) -> list[dict]:
        """One row a response: text, rewards, advantage, and the figures of its tokens."""
        reward_B = torch.tensor([reward.total(self.config) for reward in rollouts.rewards])
        adv_B = advantages(reward_B.view(-1, rollouts.group), self.config.scale).flatten().tolist()
        how = (rollouts, tokenizer.pad, self.device, self.config.temperature)
        now, before = rescore(model, *how), rescore(self.base, *how)
        rows = []
        for i, ids in enumerate(rollouts.response_ids):
            reward = rollouts.rewards[i]
            figures = {
                "sample": i % rollouts.group, "reward": round(reward_B[i].item(), 4),
                "format": reward.format, "language": round(reward.language, 4),
                "advantage": round(adv_B[i], 4), "cuts": cuts(tokenizer, ids), "logp": now[i][0],
                "base": before[i][0], "entropy": now[i][1],
            }
            rows.append(plain(rollouts, i) | figures)
        return rows


def plain(rollouts: Rollouts, row: int) -> dict:
    """What any response has."""
    return {
        "question": rollouts.problem(row).question(), "response": rollouts.texts[row],
        "correct": bool(rollouts.rewards[row].accuracy), "stopped": bool(rollouts.stopped[row]),
        "tokens": len(rollouts.response_ids[row]),
    }
