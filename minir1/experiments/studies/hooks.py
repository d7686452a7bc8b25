"""What no flag does: rewards that lie, a prefilled tag, imitation in place of RL, a moving router, another corpus.

Each hook wraps a function that train_zero.py calls by name, for the length of a `with`; none repeats any of its code.

>>> reward = Paid.of(Reward(1.0, 1.0, 1.0), 0.25)
>>> reward.accuracy, reward.total(RLConfig())
(1.0, 0.25)
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from random import Random

import torch

import train_zero
from minir1 import grpo
from minir1.config import RLConfig
from minir1.corpus import mixture as corpus
from minir1.experiments.studies import corpora as study_corpus
from minir1.experiments.studies.corpora import patched
from minir1.measure import evaluator as measure
from minir1.model import Transformer, expert_load, move_router_bias
from minir1.rewards import Reward
from minir1.rollout import Rollouts, roll_out, to_batch
from minir1.sampler import sample
from minir1.variants.losses import LOSSES


class Paid(Reward):
    """A reward whose parts are true, so that metrics stay true, and whose total is another: what the policy is paid."""

    paid: float

    @classmethod
    def of(cls, reward: Reward, paid: float) -> "Paid":
        made = cls(*reward)
        made.paid = paid
        return made

    def total(self, config: RLConfig) -> float:
        return self.paid


def repaid(rollouts: Rollouts, pay: Callable[[int], float]) -> Rollouts:
    """The same rollouts; row b is paid pay(b)."""
    return replace(rollouts, rewards=[Paid.of(reward, pay(row)) for row, reward in enumerate(rollouts.rewards)])


@contextmanager
def random_reward(chance: float) -> Iterator[None]:
    """A point with a fixed chance, whatever the response. The texts seed the coin, so that a resumed run draws it again."""

    def wrapped(*arguments, **options):
        rollouts = roll_out(*arguments, **options)
        rng = Random("\n".join(rollouts.texts))
        return repaid(rollouts, lambda row: float(rng.random() < chance))

    with patched(train_zero, "roll_out", wrapped):
        yield


@contextmanager
def prefix(text: str) -> Iterator[None]:
    """Every response that is not forced to begin otherwise begins with `text`, in training and in tests."""

    def wrapped(model, tokenizer, problems, group, settings, generator=None, sampler=sample, prefix=""):
        return roll_out(model, tokenizer, problems, group, settings, generator, sampler, prefix or text)

    with patched(train_zero, "roll_out", wrapped), patched(measure, "roll_out", wrapped):
        yield


def imitation_loss(logp_BT, old_logp_BT, adv_B, mask_BT, total, config, ref_logp_BT=None):
    """Cross-entropy of the rows whose "advantage" is 1; no ratio, no clipping."""
    return grpo.average(-logp_BT * adv_B[:, None], mask_BT, total, config), {}


def right_ones(reward_PG: torch.Tensor, scale: str = "group") -> torch.Tensor:
    """In place of grpo.advantages: 1 for a right answer, 0 for any other.

    >>> right_ones(torch.tensor([[1.1, 0.1, 0.0]]))
    tensor([[1., 0., 0.]])
    """
    return (reward_PG >= 1).float()


@contextmanager
def imitate(on: bool) -> Iterator[None]:
    """Expert iteration: the policy's own right answers are imitated, step by step; nothing is learned from wrong ones."""
    with patched(grpo, "advantages", right_ones), patched(train_zero, "LOSSES", LOSSES | {"grpo": imitation_loss}):
        yield


@torch.no_grad()
def router_load(model: Transformer, rollouts: Rollouts, pad_id: int, rows: int = 64) -> torch.Tensor:
    """Share of the choices `[L, E]` that fell on each expert, over responses and prompts, padding left out."""
    batch, counts = to_batch(rollouts, pad_id, model.embed.weight.device), 0.0
    for index in torch.arange(len(batch.ids_BT)).split(rows):
        part = batch.rows(index.to(batch.ids_BT.device))
        _, routing = model.trunk(part.ids_BT)
        real_BT = torch.arange(part.ids_BT.shape[1], device=part.ids_BT.device) < part.length_B[:, None]
        kept = [layer._replace(expert_BTK=layer.expert_BTK[real_BT][None]) for layer in routing]
        counts = counts + expert_load(kept, model.config.experts) * int(real_BT.sum())
    return counts / counts.sum(-1, keepdim=True)


@contextmanager
def router(rate: float) -> Iterator[None]:
    """After each RL step the router's bias moves as in pretraining: busy experts become less likely to be chosen."""
    train = train_zero.train

    def wrapped(model, learner, steps, config, pad_id, generate, on_step, *rest):
        def stepped(step, rollouts, adv_B, stats):
            if model.expert_layers():
                move_router_bias(model, router_load(model, rollouts, pad_id), rate)
            on_step(step, rollouts, adv_B, stats)

        train(model, learner, steps, config, pad_id, generate, stepped, *rest)

    with patched(train_zero, "train", wrapped):
        yield


@contextmanager
def other_corpus(plan: dict[str, object]) -> Iterator[None]:
    """Another writer of the mini-web, see study_corpus.WRITERS."""
    texts = partial(study_corpus.sample, plan)
    with patched(corpus, "shard", partial(study_corpus.shard, plan)), patched(train_zero, "sample_text", texts):
        yield


HOOKS = {"random_reward": random_reward, "prefix": prefix, "imitate": imitate, "router": router, "corpus": other_corpus}


@contextmanager
def hooked(hooks: dict[str, object]) -> Iterator[None]:
    """All hooks of a variant at once."""
    with ExitStack() as stack:
        for name, setting in hooks.items():
            if name in HOOKS:  # the others have become flags
                stack.enter_context(HOOKS[name](setting))
        yield
