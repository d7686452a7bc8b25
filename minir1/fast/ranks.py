"""One step on several GPUs: a process for each, which computes a share of the rows.

grpo.Total divides every micro-batch by the counts of the whole batch, so that micro-batches add up
exactly. Ranks add up the same way: first sum the counts, then each rank's gradients.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch.nn import Parameter


class Ranks:
    """The `rank`-th (from 0) of `size` processes. One alone sends nothing and copies nothing.

    >>> Ranks.single().sum(3, 0.5)
    (3, 0.5)
    """

    def __init__(self, rank: int, size: int):
        self.rank, self.size = rank, size

    @classmethod
    def single(cls) -> "Ranks":
        return cls(0, 1)

    @classmethod
    def current(cls) -> "Ranks":
        """The ranks of torch.distributed where it is initialised, else a single one."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls.single()

    def sum(self, *numbers: int | float) -> tuple[int | float, ...]:
        """Each number summed over all ranks; counts stay whole. All ranks must call it."""
        if self.size == 1:
            return numbers
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        total = torch.tensor(numbers, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return tuple(type(number)(value) for number, value in zip(numbers, total.tolist()))

    @torch.no_grad()
    def reduce(self, parameters: Iterable[Parameter]) -> None:
        """Gradients become their sums over all ranks: None counts as 0, and stays None where it is
        None on every rank (an optimizer leaves such parameters alone)."""
        if self.size == 1:
            return
        parameters = list(parameters)
        users = self.sum(*(int(p.grad is not None) for p in parameters))
        trained = [p for p, count in zip(parameters, users) if count]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        if grads:
            flat = torch.cat([grad.flatten() for grad in grads])
            dist.all_reduce(flat)
            for p, part in zip(trained, flat.split([p.numel() for p in trained])):
                p.grad = part.view_as(p)
