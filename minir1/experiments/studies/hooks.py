"""What no flag does: rewards that lie, a prefilled tag, imitation in place of RL, a moving router.

Each hook exchanges parts of the one RL loop (run.phases.Parts); none repeats any of its code.
Another corpus is a hook, too: studies/worker.py gives it to the reader of the mini-web.

>>> reward = Paid.of(Reward(1.0, 1.0, 1.0), 0.25)
>>> reward.accuracy, reward.total(RLConfig())
(1.0, 0.25)
"""

from dataclasses import replace
from random import Random

import torch

from minir1 import grpo
from minir1.config import RLConfig
from minir1.model import Transformer, expert_load, move_router_bias, without_padding
from minir1.rewards import Reward
from minir1.rollout import Rollouts, to_batch
from minir1.run.phases import Parts, RLPhase


class Paid(Reward):
    """Its parts are true, so metrics stay true; its total is another: what the policy is paid."""

    paid: float

    @classmethod
    def of(cls, reward: Reward, paid: float) -> "Paid":
        other = cls(*reward)
        other.paid = paid
        return other

    def total(self, config: RLConfig) -> float:
        return self.paid


def random_reward(parts: Parts, chance: float) -> Parts:
    """A point by chance alone. The texts seed the coin, so that a resumed run draws it again."""

    def judge(step: int, rollouts: Rollouts) -> list[Reward]:
        rng = Random("\n".join(rollouts.texts))
        return [Paid.of(reward, float(rng.random() < chance)) for reward in rollouts.rewards]

    return replace(parts, judge=judge)


def prefix(parts: Parts, text: str) -> Parts:
    """Every response begins with `text`."""
    return replace(parts, prefix=text)


def imitation_loss(logp_BT, old_logp_BT, adv_B, mask_BT, total, config, ref_logp_BT=None):
    """Cross-entropy of the rows whose "advantage" is 1; no ratio, no clipping."""
    return grpo.average(-logp_BT * adv_B[:, None], mask_BT, total, config), {}


def right_ones(reward_PG: torch.Tensor, scale: str = "group") -> torch.Tensor:
    """In place of grpo.advantages: 1 for a right answer, 0 for any other.

    >>> right_ones(torch.tensor([[1.1, 0.1, 0.0]]))
    tensor([[1., 0., 0.]])
    """
    return (reward_PG >= 1).float()


def imitate(parts: Parts, on: bool) -> Parts:
    """Expert iteration: at each step its right answers are imitated; wrong ones teach nothing."""
    return replace(parts, advantages=right_ones, loss=imitation_loss)


@torch.no_grad()
def router_load(
    model: Transformer, rollouts: Rollouts, pad_id: int, rows: int = 64
) -> torch.Tensor:
    """Share of the choices `[L, E]` that fell on each expert: prompts and responses, no padding."""
    batch, counts = to_batch(rollouts, pad_id, model.embed.weight.device), 0.0
    for index in torch.arange(len(batch.ids_BT)).split(rows):
        part = batch.rows(index)
        _, routing = model.trunk(part.ids_BT)
        position_T = torch.arange(part.ids_BT.shape[1], device=part.ids_BT.device)
        real_BT = position_T < part.length_B[:, None].to(position_T.device)
        kept = without_padding(routing, real_BT)
        counts = counts + expert_load(kept, model.config.experts) * int(real_BT.sum())
    return counts / counts.sum(-1, keepdim=True)


def router(parts: Parts, rate: float) -> Parts:
    """After each RL step the router's bias moves, as in pretraining, away from busy experts."""

    def after(step: int, phase: RLPhase, rollouts: Rollouts, stats: dict[str, float]) -> None:
        if phase.model.expert_layers():
            load_LE = router_load(phase.model, rollouts, phase.session.tokenizer.pad)
            move_router_bias(phase.model, load_LE, 0.0 if "skipped" in stats else rate)

    return replace(parts, after=after)


HOOKS = {"random_reward": random_reward, "prefix": prefix, "imitate": imitate, "router": router}


def parts_of(hooks: dict[str, object]) -> Parts:
    """All hooks of a variant at once; the others have become flags, or another corpus."""
    parts = Parts()
    for name, setting in hooks.items():
        if name in HOOKS:
            parts = HOOKS[name](parts, setting)
    return parts
