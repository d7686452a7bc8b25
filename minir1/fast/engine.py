"""The sampler with continuous batching, under CUDA graphs: twin of `sampler.sample`.

A slot whose response has ended takes the next one from a queue, so that a batch does not wait for
its longest member. A step of all slots, with sampling and the stop test, is captured once per
(rows, span) bucket and replayed; the host looks at the slots every few steps only. When nobody
waits any more, the running rows move together into ever smaller buckets. On the CPU the same
scheduling runs without graphs, with a step of its own (cpu_decoder.py).
"""

import copy
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from minir1 import sampler
from minir1.config import ModelConfig
from minir1.fast.cpu_decoder import CoreDecoder, on_cores
from minir1.fast.decoder import Decoder, any_rows, can_fuse
from minir1.fast.experts import batched_experts, set_expert_kernel
from minir1.fast.grouped_decoder import GroupedDecoder, can_group
from minir1.model import Cache, Transformer
from minir1.sampler import UNNAMED, Samples, Sampling, Stream

ROWS = (16, 32, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
PREFILL = 65_536  # prompt tokens read at once
CPU_BYTES = 2**30  # of caches: more slots are not faster there; prompts that wait are read already
NOBODY = -1  # in place of a response's number: the slot is free


def round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def row_tokens(c: ModelConfig, room: int) -> int:
    """Tokens of a row of the cache: prompts of 128, more if they come, and responses."""
    return min(c.positions, round_up(room + 128, 64))


class View(Cache):
    """A window on the engine's static store, for one token: the first rows, up to a fixed span."""

    def __init__(self, store_LBSW, length_B):
        self.store_LBSW, self.length_B = store_LBSW, length_B
        self.span = store_LBSW.shape[2] - 1  # and the token to come


@dataclass
class Queue:
    """Prompts that have been read, the responses that wait, and those that are finished."""

    store_LPSW: Tensor
    length_P: Tensor
    logits_PV: Tensor
    group: int
    finished: Samples
    stream: Stream
    next: int = 0

    @property
    def waiting(self) -> int:
        return len(self.finished.length_B) - self.next


class Engine:
    """`engine.sample` has the core sampler's signature. It decodes with a copy in half precision.

    `rows` slots at most, responses of at most `room` tokens. `slot_steps` (rows x steps) and
    `useful` (tokens kept) tell how well the slots have been used since the engine was made.
    """

    def __init__(
        self, model: Transformer, dtype: torch.dtype, rows: int, room: int, compiled: bool = False
    ):
        c = model.config
        self.device, self.room = model.embed.weight.device, room
        self.zeros = partial(torch.zeros, device=self.device)
        self.policy = copy.deepcopy(model).requires_grad_(False).eval()
        self.exact = torch.promote_types(dtype, torch.float32)  # of routers and log-probs
        for name, weight in self.policy.named_parameters():
            weight.data = weight.data.to(self.exact if name.endswith("router") else dtype)
        set_expert_kernel(self.policy, batched_experts)
        cores = on_cores(model, dtype, compiled)
        if cores:
            self.decoder = CoreDecoder(model, dtype)
        elif can_fuse(model):
            self.decoder = Decoder(model, dtype, compiled)
        else:
            grouped = can_group(model)
            self.decoder = GroupedDecoder(self.policy, compiled) if grouped else None
        self.compiled, self.draw = compiled, torch.compile(draw) if compiled else draw
        self.size = row_tokens(c, room)
        self.cuda, self.pool, self.graphs = self.device.type == "cuda", None, {}
        if self.cuda:  # each (rows, span) is captured once: few of them; and a look waits: seldom
            self.grain, self.look, self.sizes = 128, 16, ROWS
            self.pool = torch.cuda.graph_pool_handle()
        else:
            row = c.layers * self.size * c.cache_width * dtype.itemsize * (2 if cores else 1)
            if self.device.type == "cpu":
                rows = min(rows, max(8, CPU_BYTES // row))
            self.grain, self.look, self.sizes = 8, 4, range(8, rows, 8)
        self.rows = rows
        self.slot_steps = self.useful = 0
        self._allocate(c, dtype, keys=cores)

    def _allocate(self, c, dtype: torch.dtype, keys: bool) -> None:
        """Caches and the state of each slot, at fixed addresses. `out_*` have a spare column."""
        rows, zeros = self.rows, self.zeros
        self.store = zeros(c.layers, rows, self.size, c.cache_width, dtype=dtype)
        self.keys = zeros(self.store.numel() if keys else 0, dtype=dtype)
        self.stores = (self.store,)
        whole = partial(zeros, dtype=torch.long)
        self.length, self.count, self.token = (whole(rows) for _ in range(3))
        self.budget = whole(())  # tokens of a response
        self.uniform = zeros(rows, self.room + 1)  # one a token, drawn ahead; one spare, too
        self.done, self.free = (zeros(rows, dtype=torch.bool) for _ in range(2))
        self.out_ids = zeros(rows, self.room + 1, dtype=torch.long)
        self.out_logp = zeros(rows, self.room + 1, dtype=self.exact)

    def _grow(self, longest: int) -> None:
        """Longer rows from now on: questions from a file may be of any length."""
        c, dtype = self.policy.config, self.store.dtype
        self.size = row_tokens(c, longest - 128)
        self.graphs, self.stores, self.store = {}, (), None  # before the new ones are made
        self._allocate(c, dtype, keys=False)

    @torch.no_grad()
    def refresh(self, model: Transformer) -> None:
        """Take over the policy's present weights."""
        torch._foreach_copy_(list(self.policy.parameters()), list(model.parameters()))
        torch._foreach_copy_(list(self.policy.buffers()), list(model.buffers()))
        if self.decoder:
            self.decoder.refresh(model)

    @torch.no_grad()
    def sample(
        self, model: Transformer, prompts, group: int, settings: Sampling,
        stream: Stream = UNNAMED,
    ) -> Samples:
        self.refresh(model)
        longest = max(map(len, prompts)) + settings.max_tokens
        if longest > self.size and isinstance(self.decoder, GroupedDecoder):
            self._grow(longest)
        if settings.max_tokens > self.room or longest > self.size:  # rare: the plain loop
            return sampler.sample(self.policy, prompts, group, settings, stream)
        self.budget.fill_(settings.max_tokens)
        if len(self.keys):  # number after number, which lie no further apart than needed
            L, R, _, W = self.store.shape
            keys_LRWS = self.keys[: L * R * W * longest].view(L, R, W, longest)
            self.stores = self.store, keys_LRWS.mT
        queue = self._prefill(prompts, group, settings, stream)
        self._run(queue, settings)
        self.useful += int(queue.finished.length_B.sum())
        return sampler.finite(queue.finished)

    def _prefill(self, prompts, group: int, settings: Sampling, stream: Stream) -> Queue:
        """Read each prompt once, some at a time."""
        P, longest, c = len(prompts), max(map(len, prompts)), self.policy.config
        store_LPSW = self.zeros(c.layers, P, longest, c.cache_width, dtype=self.store.dtype)
        logits, step = [], max(1, PREFILL // longest)
        for i in range(0, P, step):
            cache, logits_PV = self._read(prompts[i : i + step])
            store_LPSW[:, i : i + step, : cache.store_LBSW.shape[2]] = cache.store_LBSW
            logits.append(logits_PV)
        B, T = P * group, settings.max_tokens
        ids_BT = torch.full((B, T), settings.stop_ids[0], device=self.device)
        length_B, stopped_B = self.zeros(B, dtype=torch.long), self.zeros(B, dtype=torch.bool)
        logp_BT = self.zeros(B, T, dtype=self.exact)
        finished = Samples(ids_BT, logp_BT, length_B, stopped_B)
        length_P = torch.tensor([len(p) for p in prompts], device=self.device)
        return Queue(store_LPSW, length_P, torch.cat(logits), group, finished, stream)

    def _read(self, prompts) -> tuple[Cache, Tensor]:
        """Caches and next logits of some prompts."""
        if isinstance(self.decoder, GroupedDecoder):
            return self.decoder.prefill(prompts)
        return sampler.prefill(self.policy, prompts, 1, 0)

    # ------------------------------------------------------------ scheduling
    # `held` says for each slot which response it holds.

    def _run(self, queue: Queue, settings: Sampling) -> None:
        """Fill the slots, decode a few steps, collect what has ended, until no row runs."""
        rows = self._bucket(min(self.rows, queue.waiting))
        self.done.fill_(True)
        held = torch.full((rows,), NOBODY, device=self.device)
        running = self._fill(held, 0, queue, settings)
        while running:
            rows = self._bucket(running)
            if rows < len(held) and not queue.waiting:
                held = self._compact(held, rows)
            self._decode(len(held), settings)
            running = self._collect(held, queue, settings)
            running = self._fill(held, running, queue, settings)

    def _fill(self, held: Tensor, running: int, queue: Queue, settings: Sampling) -> int:
        """Responses that wait take the free slots. Returns how many rows run then."""
        while queue.waiting and running < len(held):
            self._start(held, queue, settings)
            running = self._collect(held, queue, settings)  # a first token may already be the last
        return running

    def _start(self, held: Tensor, queue: Queue, settings: Sampling) -> None:
        """Caches of the next prompts go into the free slots; first tokens are drawn."""
        slot_N = torch.where(held == NOBODY)[0][: queue.waiting]
        response_N = torch.arange(queue.next, queue.next + len(slot_N), device=self.device)
        prompt_N = response_N // queue.group
        queue.next += len(slot_N)
        held[slot_N] = response_N
        span = queue.store_LPSW.shape[2]
        for store in self.stores:
            store[:, slot_N, :span] = queue.store_LPSW[:, prompt_N]
        position_N = queue.length_P[prompt_N] - 1
        stream, place_T = queue.stream, torch.arange(settings.max_tokens + 1, device=self.device)
        number_N1 = (stream.first + response_N)[:, None]
        self.uniform[slot_N, : len(place_T)] = sampler.uniform(stream.key, number_N1, place_T)
        self.count[slot_N] = 0
        self.done[slot_N] = self.free[slot_N] = False
        self.out_ids[slot_N] = settings.stop_ids[0]
        self.out_logp[slot_N] = 0.0
        self._record(queue.logits_PV[prompt_N], settings, slot_N, position_N, draw)

    def _decode(self, rows: int, settings: Sampling) -> None:
        span = self._span(rows)
        for _ in range(self.look):
            self._advance(rows, span, settings)
        self.slot_steps += self.look * rows

    def _collect(self, held: Tensor, queue: Queue, settings: Sampling) -> int:
        """Hand over what has ended and free its slots. Returns how many rows run on."""
        ended_B = self.done[: len(held)] & (held != NOBODY)
        both = torch.stack([ended_B.sum(), (held != NOBODY).sum()])
        ended, running = both.tolist()  # to ask the device is to wait for it: once
        if ended:
            slot_N = torch.where(ended_B)[0]
            response_N, out, T = held[slot_N], queue.finished, settings.max_tokens
            out.ids_BT[response_N] = self.out_ids[slot_N, :T]
            out.logp_BT[response_N] = self.out_logp[slot_N, :T]
            out.length_B[response_N] = self.count[slot_N]
            last_N = self.out_ids[slot_N, self.count[slot_N] - 1]
            out.stopped_B[response_N] = among(last_N, settings.stop_ids)
            held[slot_N] = NOBODY
        return running - ended

    def _compact(self, held: Tensor, rows: int) -> Tensor:
        """Move the running rows to the front of the store and shrink to their bucket."""
        kept = (held == NOBODY).int().argsort(stable=True)[:rows]
        span = min(self.size, int(self.length[kept].max()) + 1)
        for store in self.stores:
            store[:, :rows, :span] = store[:, kept, :span]
        for state in (self.uniform, *self._state()):
            state[:rows] = state[kept]
        return held[kept]

    def _span(self, rows: int) -> int:
        """How far the store is read. Kernels read each row as far as it is filled: no question."""
        if self.decoder and self.decoder.kernels:
            return self.size
        longest = int(self.length[:rows].max()) + self.look
        return min(self.size, round_up(longest, self.grain), self.stores[-1].shape[2])

    def _bucket(self, rows: int) -> int:
        return min(self.rows, next((b for b in self.sizes if b >= rows), self.rows))

    # ------------------------------------------------------------ tokens

    def _advance(self, rows: int, span: int, settings: Sampling) -> None:
        key = (rows, span, settings)
        if key in self.graphs:
            self.graphs[key].replay()
            return
        self._step(rows, span, settings)  # the first time for real, which also warms up
        if self.cuda:
            graph = torch.cuda.CUDAGraph()
            # thread_local: NCCL's own thread may ask the device meanwhile
            with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
                self._step(rows, span, settings)
            self.graphs[key] = graph

    def _step(self, rows: int, span: int, settings: Sampling) -> None:
        position = self.length[:rows].clamp(max=span - 1)  # ended rows may stand still
        store, *keys = (store[:, :rows, :span] for store in self.stores)
        if self.decoder:
            logits_BV = self.decoder.step(self.token[:rows], store, position, *keys)
        else:
            logits_BV = self.policy(self.token[:rows, None], View(store, position))[:, -1]
        self._record(logits_BV, settings, slice(0, rows), position, self.draw)

    def _state(self) -> tuple[Tensor, ...]:
        """What a step changes of the slots, beside the store."""
        slots = (self.length, self.count, self.token, self.done, self.free)
        return *slots, self.out_ids, self.out_logp

    def _record(self, logits_BV, settings: Sampling, slots, position, draw) -> None:
        """Sample, write down, test for the stop token and the budget: all on the device."""
        any_budget = replace(settings, max_tokens=0)  # `draw` is not compiled for each budget
        parts = [state[slots] for state in self._state()]
        place = (self.budget, self.uniform[slots], position)
        if self.compiled:
            any_rows(logits_BV, *place[1:], *parts)
        draw(logits_BV, any_budget, *place, *parts)
        if not isinstance(slots, slice):  # then the parts are copies
            for state, part in zip(self._state(), parts):
                state[slots] = part


def draw(
    logits_BV, settings: Sampling, budget, uniform_BT, position_B,
    length_B, count_B, token_B, done_B, free_B, ids_BT, logp_BT,
) -> None:
    """Draw one token a row, behind the one at `position`, and note it: whatever is in the second
    line is changed in place. All in one function, so that a compiler makes few kernels of it."""
    uniform_B = uniform_BT.gather(1, count_B[:, None])[:, 0]
    drawn_B, chosen_B = sampler.choose(logits_BV, settings, free_B, uniform_B)
    drawn_B = torch.where(done_B, settings.stop_ids[0], drawn_B)
    place_B = count_B.masked_fill(done_B, ids_BT.shape[1] - 1)  # ended: in the spare column
    row_B = torch.arange(len(drawn_B), device=drawn_B.device)
    ids_BT[row_B, place_B] = drawn_B
    logp_BT[row_B, place_B] = chosen_B
    length_B.copy_(position_B + (~done_B).long())
    count_B.add_(~done_B)
    token_B.copy_(drawn_B)
    done_B.logical_or_((count_B >= budget) | among(drawn_B, settings.stop_ids))
    free_B.logical_or_(among(drawn_B, settings.until_ids))


def among(token_B: Tensor, ids: tuple[int, ...]) -> Tensor:
    held_B = torch.zeros_like(token_B, dtype=torch.bool)
    for id in ids:
        held_B = held_B | (token_B == id)
    return held_B
