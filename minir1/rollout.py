"""Sample -> decode -> score: one piece for reinforcement learning, evaluation and rejection sampling."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from minir1.model import Transformer
from minir1.rewards import Reward, score
from minir1.sampler import Samples, Sampling, pad, sample
from minir1.tokenizer import Tokenizer
from minir1.transcript import Problem, prompt

Sampler = Callable[[Transformer, list[list[int]], int, Sampling, torch.Generator | None], Samples]


@dataclass(frozen=True)
class Rollouts:
    """Responses to problems, group by group: row b answers problems[b // group]."""

    problems: list[Problem]
    group: int
    prompt_ids: list[list[int]]  # one per problem, prefix included
    response_ids: list[list[int]]  # the stop token included
    logp: list[Tensor]  # the sampler's, one number per response token
    texts: list[str]  # prefix and response, decoded
    stopped: list[bool]
    rewards: list[Reward]
    actions: list[list[bool]] = field(default_factory=list)  # False: forced tokens, such as a tool's output; empty: all are sampled

    def lengths(self) -> list[int]:
        return [len(ids) for ids in self.response_ids]

    def problem(self, row: int) -> Problem:
        return self.problems[row // self.group]


@dataclass(frozen=True)
class Batch:
    """Rollouts as tensors. mask_BT marks positions whose *next* token was sampled (forced tokens are left out)."""

    ids_BT: Tensor  # [B, T + 1]
    mask_BT: Tensor  # [B, T]
    sampler_logp_BT: Tensor  # [B, T]
    length_B: Tensor  # tokens of prompt and response

    def rows(self, index: Tensor) -> "Batch":
        """Some rows, cut to the longest of them."""
        T = int(self.length_B[index].max()) - 1
        mask_BT, logp_BT = self.mask_BT[index, :T], self.sampler_logp_BT[index, :T]
        return Batch(self.ids_BT[index, : T + 1], mask_BT, logp_BT, self.length_B[index])


def roll_out(
    model: Transformer, tokenizer: Tokenizer, problems: list[Problem], group: int, settings: Sampling, generator:
    torch.Generator | None = None, sampler: Sampler = sample, prefix: str = ""
) -> Rollouts:
    """`group` scored responses to each problem. `prefix` is a forced beginning of every response ("<think>", "<answer>")."""
    prompt_ids = [tokenizer.encode(prompt(p.question()) + prefix) for p in problems]
    samples = sampler(model, prompt_ids, group, settings, generator)
    lengths = samples.length_B.tolist()
    response_ids = [row[:n] for row, n in zip(samples.ids_BT.tolist(), lengths)]
    texts = [prefix + text for text in tokenizer.decode_batch(response_ids)]
    rewards = [score(problems[row // group], text) for row, text in enumerate(texts)]
    logp = [row[:n] for row, n in zip(samples.logp_BT.cpu(), lengths)]
    return Rollouts(problems, group, prompt_ids, response_ids, logp, texts, samples.stopped_B.tolist(), rewards)


def to_batch(rollouts: Rollouts, pad_id: int, device) -> Batch:
    """Right-padded tensors of all rows."""
    prompts = [rollouts.prompt_ids[row // rollouts.group] for row in range(len(rollouts.response_ids))]
    ids_BT = pad([p + r for p, r in zip(prompts, rollouts.response_ids)], pad_id)
    first_B = torch.tensor([len(p) for p in prompts])
    length_B = first_B + torch.tensor(rollouts.lengths())
    position_T = torch.arange(ids_BT.shape[1] - 1)
    mask_BT = (position_T >= first_B[:, None] - 1) & (position_T < length_B[:, None] - 1)
    logp_BT = torch.zeros(mask_BT.shape)
    logp_BT[mask_BT] = torch.cat(rollouts.logp)
    if rollouts.actions:
        mask_BT[mask_BT.clone()] = torch.tensor([action for row in rollouts.actions for action in row])
    return Batch(ids_BT.to(device), mask_BT.to(device), logp_BT.to(device), length_B.to(device))


def sampling(tokenizer: Tokenizer, max_tokens: int, temperature: float = 1.0, top_p: float = 1.0) -> Sampling:
    return Sampling(max_tokens, (tokenizer.end,), temperature, top_p)


