"""Sample -> decode -> score: one piece for RL, evaluation and rejection sampling."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minir1 import transcript
from minir1.model import Transformer
from minir1.rewards import Reward, score
from minir1.sampler import UNNAMED, Samples, Sampling, Stream, pad, sample
from minir1.tasks import Problem
from minir1.tokenizer import TextCodec

Sampler = Callable[[Transformer, list[list[int]], int, Sampling, Stream], Samples]


@dataclass(frozen=True)
class Rollouts:
    """Responses to problems, group by group: row b answers problems[b // group]."""

    problems: list[Problem]
    group: int
    prompt_ids: list[list[int]]  # one per problem, prefix included
    response_ids: list[list[int]]  # the stop token included
    logp: list[Tensor]  # the sampler's, nats, one number per response token
    texts: list[str]  # prefix and response, decoded
    stopped: list[bool]  # False: cut off
    rewards: list[Reward]
    # False: forced tokens, such as a tool's output. No rows at all: every token was sampled.
    actions: list[list[bool]] = field(default_factory=list)

    @classmethod
    def joined(cls, parts: list["Rollouts"], group: int) -> "Rollouts":
        """Several as one."""
        names = cls.__dataclass_fields__.keys() - {"group"}
        lists = {name: [x for part in parts for x in getattr(part, name)] for name in names}
        return cls(group=group, **lists)

    def lengths(self) -> list[int]:
        """Tokens of each response."""
        return [len(ids) for ids in self.response_ids]

    def problem(self, row: int) -> Problem:
        return self.problems[row // self.group]


@dataclass(frozen=True)
class Batch:
    """Rollouts as tensors, padded on the right."""

    ids_BT: Tensor  # [B, T + 1], prompt and response
    mask_BT: Tensor  # [B, T], True where the *next* token was sampled (not forced)
    sampler_logp_BT: Tensor  # [B, T], nats, 0 outside the responses
    length_B: Tensor  # tokens of prompt and response; on the host, which deals rows out by length

    def rows(self, index: Tensor) -> "Batch":
        """Some rows, cut to the longest of them. `index` is on the host."""
        length_B, row_B = self.length_B[index], self.sent(index)
        T = int(length_B.max()) - 1
        mask_BT, logp_BT = self.mask_BT[row_B, :T], self.sampler_logp_BT[row_B, :T]
        return Batch(self.ids_BT[row_B, : T + 1], mask_BT, logp_BT, length_B)

    def sent(self, x: Tensor) -> Tensor:
        """A few numbers of the host, on the batch's device, which is not waited for."""
        return x.to(self.ids_BT.device, non_blocking=self.ids_BT.is_cuda)


def sampling(
    codec: TextCodec, max_tokens: int, temperature: float = 1.0, top_p: float = 1.0
) -> Sampling:
    """A response ends at an end token of `codec`, or is cut off at `max_tokens`."""
    return Sampling(max_tokens, codec.end_ids, temperature, top_p, len(codec))


def roll_out(
    model: Transformer, codec: TextCodec, problems: list[Problem], group: int, settings: Sampling,
    stream: Stream = UNNAMED, sampler: Sampler = sample, prefix: str = "",
    template: transcript.Template = transcript,
) -> Rollouts:
    """`group` scored responses to each problem. `prefix` is a forced beginning of every response,
    such as "<think>". `template` has prompt(question) and parse(response); by default the paper's.
    """
    prompt_ids = [codec.encode(template.prompt(p.question()) + prefix) for p in problems]
    samples = sampler(model, prompt_ids, group, settings, stream)
    lengths, stopped = samples.length_B.tolist(), samples.stopped_B.tolist()
    ids_BT, logp_BT = (x[:, : max(lengths)].cpu() for x in (samples.ids_BT, samples.logp_BT))
    response_ids = [row[:n].tolist() for row, n in zip(ids_BT.numpy(), lengths)]
    logp = [row[:n] for row, n in zip(logp_BT, lengths)]
    texts = [prefix + text for text in codec.decode_batch(response_ids)]
    pairs = [(row // group, text) for row, text in enumerate(texts)]  # of equal ones one is judged
    judged = {(i, text): score(problems[i], text, template.parse) for i, text in set(pairs)}
    rewards = [judged[pair] for pair in pairs]
    return Rollouts(problems, group, prompt_ids, response_ids, logp, texts, stopped, rewards)


def to_batch(rollouts: Rollouts, pad_id: int, device) -> Batch:
    """All rows as tensors on `device` (lengths on the host); log-probs are the sampler's."""
    prompt_BT = pad(rollouts.prompt_ids, pad_id).repeat_interleave(rollouts.group, 0)
    first_B = torch.tensor([*map(len, rollouts.prompt_ids)]).repeat_interleave(rollouts.group)
    length_B = first_B + torch.tensor(rollouts.lengths())
    position_T = torch.arange(int(length_B.max()) - 1)
    mask_BT = (position_T >= first_B[:, None] - 1) & (position_T < length_B[:, None] - 1)
    logp_BT = torch.zeros(mask_BT.shape)
    ids_BT = F.pad(prompt_BT, (0, len(position_T) + 1 - prompt_BT.shape[1]), value=pad_id)
    response_N = np.fromiter(chain.from_iterable(rollouts.response_ids), np.int64)
    ids_BT.numpy()[:, 1:][mask_BT.numpy()] = response_N  # ten times as fast as torch's indexing
    logp_BT.numpy()[mask_BT.numpy()] = torch.cat(rollouts.logp).numpy()
    if rollouts.actions:
        mask_BT[mask_BT.clone()] = torch.tensor([*chain.from_iterable(rollouts.actions)])
    return Batch(ids_BT.to(device), mask_BT.to(device), logp_BT.to(device), length_B)
