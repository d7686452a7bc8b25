"""Several processes, one run: every process does the same steps and computes a part of each.

    torchrun --nproc_per_node 4 train_zero.py --preset gpu

grpo.Total and supervised.Whole divide every part by the counts of the whole batch, so that parts
add up exactly. What decides (responses, rewards, lengths) is gathered, so that all ranks take the
same decisions; gradients are summed before anything looks at them. Prompts are divided by their
number and random numbers go by place: any number of ranks draws the same responses.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from torch import Tensor

from minir1 import rollout
from minir1.config import UserError
from minir1.fast.parallel import parallel_map
from minir1.model import Transformer
from minir1.rollout import Rollouts
from minir1.sampler import UNNAMED, Sampling, Stream
from minir1.supervised import Alone

_folders: list[TemporaryDirectory] = []  # removed when the process ends


class Ranks(Alone):
    """The `rank`-th (from 0) of `size` processes. One alone sends nothing and copies nothing.

    All ranks must call what sends: sum, total, reduce, gather, first, each, map, same.
    """

    def __init__(self, rank: int, size: int):
        self.rank, self.size = rank, size

    def __str__(self):
        return f", {self.size} processes" if self.size > 1 else ""

    @classmethod
    def current(cls) -> "Ranks":
        """The ranks of torch.distributed where it is initialised, else a single one."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls(0, 1)

    @classmethod
    def join(cls) -> "Ranks":
        """The processes that torchrun has started: NCCL between GPUs, gloo between CPUs; a GPU for
        each. Raises UserError if there are too few."""
        if int(os.environ.get("WORLD_SIZE", 1)) > 1 and dist.is_torchelastic_launched():
            cuda, local = torch.cuda.is_available(), int(os.environ["LOCAL_RANK"])
            if cuda:
                if local >= torch.cuda.device_count():
                    count = torch.cuda.device_count()
                    raise UserError(f"--nproc_per_node is {count} at most: a GPU for each process")
                torch.cuda.set_device(local)
            dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
        return cls.current()

    def leave(self) -> None:
        """At the end, when nothing is sent any more."""
        if self.size > 1:
            dist.destroy_process_group()

    # ------------------------------------------------------------ parts of a batch

    def deal(self, groups: list[Tensor]) -> list[Tensor]:
        """Every `size`-th row, through all groups; groups without one are left out."""
        dealt, before = [], 0
        for rows in groups:
            dealt.append(rows[(self.rank - before) % self.size :: self.size])
            before += len(rows)
        return [rows for rows in dealt if len(rows)]

    def own_rows(self, ids_BT: Tensor, mask_BT: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Every `size`-th row. Where there are fewer, the first one, in which nothing counts."""
        if self.rank < len(ids_BT):
            own = slice(self.rank, None, self.size)
            return ids_BT[own], None if mask_BT is None else mask_BT[own]
        if mask_BT is None:
            raise UserError(f"{self.size} processes, but batches of only {len(ids_BT)} rows")
        return ids_BT[:1], torch.zeros_like(mask_BT[:1])

    def sum(self, *parts: Tensor | None) -> tuple:
        for part in parts if self.size > 1 else ():
            if part is not None:
                dist.all_reduce(part)
        return parts

    def total(self, sums: Counter) -> Counter:
        if self.size == 1:
            return sums
        total = Counter()
        for part in self.gather({name: float(value) for name, value in sums.items()}):
            total.update(part)
        return total

    @torch.no_grad()
    def reduce(self, parameters: list[Tensor], finite: Tensor) -> None:
        """A gradient that is None counts as 0, and stays None where it is None on every rank (an
        optimizer leaves such parameters alone)."""
        if self.size == 1:
            return
        used = torch.tensor([int(p.grad is not None) for p in parameters])
        dist.all_reduce(used)  # on the host: the device need not be waited for
        trained = [p for p, ranks in zip(parameters, used.tolist()) if ranks]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        if grads:
            broken = (~finite).to(grads[0].dtype)
            flat = torch.cat([grad.flatten() for grad in grads] + [broken[None]])
            dist.all_reduce(flat)
            finite.copy_(flat[-1] == 0)
            for p, grad in zip(trained, flat[:-1].split([p.numel() for p in trained])):
                p.grad = grad.view_as(p)

    # ------------------------------------------------------------ objects

    def gather(self, thing) -> list:
        """What each rank gives, in their order."""
        things = [thing] * self.size
        if self.size > 1:
            dist.all_gather_object(things, thing)
        return things

    def first(self, work: Callable[[], object]) -> object:
        """What `work()` gives, which the first rank alone does, when all have come here."""
        return self.gather(work() if self.rank == 0 else None)[0]

    def slice(self, count: int) -> slice:
        """Of so many things in a row, those of this rank."""
        return slice(*(count * rank // self.size for rank in (self.rank, self.rank + 1)))

    def each(self, function: Callable, *rows: list) -> list:
        """function(*row) for each row of lists side by side, of which each rank does a slice."""
        own = self.slice(len(rows[0]))
        parts = self.gather([function(*row) for row in zip(*(items[own] for items in rows))])
        return [result for part in parts for result in part]

    def map(self, function: Callable, arguments: Iterable[tuple], workers: int = 0) -> Iterator:
        """parallel_map, of which each rank computes its share and hands it to the others."""
        own = parallel_map(function, islice(arguments, self.rank, None, self.size), workers)
        return own if self.size == 1 else self._handed_out(own)

    def _handed_out(self, own: Iterator) -> Iterator:
        parts = [None]
        while parts:
            parts = [part[0] for part in self.gather([*islice(own, 1)]) if part]
            yield from parts

    # ------------------------------------------------------------ the run

    def folder(self, path: Path, copy: bool = False) -> Path:
        """Where this rank keeps its run: the first in `path` itself, each other in a copy of its
        own (made if `copy`, else empty) that goes when it ends."""
        if self.rank == 0:
            return path
        _folders.append(TemporaryDirectory(prefix="minir1-"))
        own = Path(_folders[-1].name, "run")
        if copy and path.is_dir():
            left = shutil.ignore_patterns(".lock", "*.part", "samples", "plots")
            shutil.copytree(path, own, ignore=left)
        return own

    def same(self, model: Transformer) -> None:
        """Raises RuntimeError unless all ranks hold the same weights."""
        if self.size > 1:
            weights = model.state_dict().values()
            sums = torch.stack([weight.double().sum() for weight in weights]).tolist()
            if any(other != sums for other in self.gather(sums)):
                raise RuntimeError("the processes hold different weights: their sums do not meet")


def roll_out(
    model: Transformer, codec, problems: list, group: int, settings: Sampling,
    stream: Stream = UNNAMED, *how, judge: Callable[[Rollouts], list] | None = None,
) -> Rollouts:
    """rollout.roll_out by all ranks, each of which answers a part of the problems and gets all
    responses. `judge` gives other rewards, by the row."""
    ranks = Ranks.current()
    part, own = ranks.slice(len(problems)), Rollouts.joined([], group)
    if problems[part]:
        place = stream.after(part.start * group)
        own = rollout.roll_out(model, codec, problems[part], group, settings, place, *how)
        own = replace(own, rewards=judge(own)) if judge else own
    if ranks.size == 1:
        return own
    flat = [torch.cat(own.logp)] if own.logp else []  # a view each would be sent as the whole
    parts = ranks.gather(replace(own, problems=[], logp=flat))
    whole = Rollouts.joined(parts, group)
    logp = list(torch.cat(whole.logp).split(whole.lengths()))
    return replace(whole, problems=problems, logp=logp)
