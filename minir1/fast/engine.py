"""The sampler with continuous batching, under CUDA graphs: twin of `sampler.sample`, same signature, tested equal to it.

Responses wait in a queue; each takes a slot, and a slot whose response has ended takes the next one, so that a batch
does not wait for its longest member. A step of all slots, with sampling and the stop test, is captured once per
(rows, span) bucket and replayed; the host looks at the slots every few steps only. When nobody waits any more, the
running rows move together into ever smaller buckets. On the CPU the same scheduling runs without graphs, with a step of its own
(cores.py).
"""

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from minir1.fast.cpu_decoder import CoreDecoder, on_cores
from minir1.fast.decoder import Decoder, can_fuse
from minir1.fast.experts import batched_experts, set_expert_kernel
from minir1.model import Cache, Transformer
from minir1.sampler import Samples, Sampling, choose, prefill, sample

ROWS = (16, 32, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
PREFILL = 65_536  # prompt tokens read at once
CPU_BYTES = 2**30  # of caches at most, where more slots are not faster: other responses wait, their prompts already read


def round_up(value: int, step: int) -> int:
    return -(-value // step) * step


class _View(Cache):
    """A window on the engine's static store: the first rows, read up to a fixed span."""

    def __init__(self, store_LBSW, length_B):
        self.store_LBSW, self.length_B = store_LBSW, length_B

    @property
    def span(self) -> int:
        return self.store_LBSW.shape[2]

    @span.setter
    def span(self, value: int) -> None:
        pass  # fixed: a graph's shapes cannot grow


@dataclass
class Queue:
    """Prompts that have been read, the responses that wait, and those that are finished."""

    store_LPSW: Tensor
    length_P: Tensor
    logits_PV: Tensor
    group: int
    done: Samples
    next: int = 0

    @property
    def waiting(self) -> int:
        return len(self.done.length_B) - self.next


class Engine:
    """`engine.sample` has the core sampler's signature. It decodes with a half-precision copy of the policy.

    `rows` slots at most, responses of at most `room` tokens; `slot_steps` and `useful` tell how well the slots were used.
    """

    def __init__(self, model: Transformer, dtype: torch.dtype, rows: int, room: int, compiled: bool = False):
        self.device = model.embed.weight.device
        self.policy = copy.deepcopy(model).requires_grad_(False).eval()
        for name, weight in self.policy.named_parameters():
            weight.data = weight.data.to(torch.float32 if name.endswith("router") else dtype)
        set_expert_kernel(self.policy, batched_experts)
        cores = on_cores(model, dtype, compiled)
        self.decoder = CoreDecoder(model, dtype) if cores else Decoder(model, dtype, compiled) if can_fuse(model) else None
        self.draw = torch.compile(draw) if compiled else draw
        c, self.room = model.config, room
        self.size = min(c.positions, round_up(room + 128, 64))
        if self.device.type == "cpu":
            row = c.layers * self.size * c.cache_width * dtype.itemsize * (2 if cores else 1)  # with keys of their own
            rows = min(rows, max(8, CPU_BYTES // row))
        self.rows = rows
        graphs = self.device.type == "cuda"  # each (rows, span) is captured once: few of them, and seldom a look, which waits
        self.grain, self.look, self.sizes = (128, 16, ROWS) if graphs else (8, 4, range(8, rows, 8))
        make = lambda *shape, dtype: torch.zeros(shape, dtype=dtype, device=self.device)  # noqa: E731
        self.store = make(c.layers, rows, self.size, c.cache_width, dtype=dtype)
        self.stores, self.keys = (self.store,), make(self.store.numel() if cores else 0, dtype=dtype)
        self.length, self.count, self.token = (make(rows, dtype=torch.long) for _ in range(3))
        self.done, self.free = (make(rows, dtype=torch.bool) for _ in range(2))
        self.out_ids, self.out_logp = make(rows, room + 1, dtype=torch.long), make(rows, room + 1, dtype=torch.float32)
        self.slot_steps = self.useful = 0  # since the engine was made: rows x steps, and tokens that were kept
        self.graphs: dict = {}
        self.generator = None
        self.pool = torch.cuda.graph_pool_handle() if self.device.type == "cuda" else None

    @torch.no_grad()
    def refresh(self, model: Transformer) -> None:
        """Take over the policy's present weights."""
        torch._foreach_copy_(list(self.policy.parameters()), list(model.parameters()))
        torch._foreach_copy_(list(self.policy.buffers()), list(model.buffers()))
        if self.decoder:
            self.decoder.refresh(model)

    @torch.no_grad()
    def sample(self, model: Transformer, prompts, group: int, settings: Sampling, generator=None) -> Samples:
        self.refresh(model)
        longest = max(map(len, prompts))
        if settings.max_tokens > self.room or longest + settings.max_tokens > self.size:
            return sample(self.policy, prompts, group, settings, generator)  # rare and long: the plain loop
        self.generator = None if self.device.type == "cuda" else generator  # a graph draws from the device's own
        if self.device.type == "cuda":
            seed = torch.randint(2**62, (), generator=generator, device=generator.device).item() if generator else 0
            torch.cuda.manual_seed(seed)
        if len(self.keys):  # as the store, but number after number, which then lie as many places apart: no more than needed
            L, R, _, W, size = *self.store.shape, longest + settings.max_tokens
            self.stores = self.store, self.keys[: L * R * W * size].view(L, R, W, size).mT
        queue = self._read(prompts, group, settings)
        self._run(queue, settings)
        self.useful += int(queue.done.length_B.sum())
        return queue.done

    # ------------------------------------------------------------ scheduling

    def _run(self, queue: Queue, settings: Sampling) -> None:
        rows = self._bucket(min(self.rows, queue.waiting))
        self.done.fill_(True)
        held = torch.full((rows,), -1, device=self.device)  # which response each slot holds; -1: none
        running = 0
        while True:
            if queue.waiting and running < len(held):
                self._refill(held, queue, settings)
                running = self._collect(held, queue, settings)  # a first token may already be the last
            if running == 0 and not queue.waiting:
                return
            if queue.waiting:
                if running < len(held):
                    continue  # slots came free at once
            elif self._bucket(running) < len(held):
                held = self._compact(held, self._bucket(running))
            span = self._span(len(held))
            for _ in range(self.look):
                self._advance(len(held), span, settings)
            self.slot_steps += self.look * len(held)
            running = self._collect(held, queue, settings)

    def _refill(self, held: Tensor, queue: Queue, settings: Sampling) -> None:
        slot_N = torch.where(held < 0)[0][: queue.waiting]
        response_N = torch.arange(queue.next, queue.next + len(slot_N), device=self.device)
        queue.next += len(slot_N)
        held[slot_N], prompt_N = response_N, response_N // queue.group
        span = queue.store_LPSW.shape[2]
        for store in self.stores:
            store[:, slot_N, :span] = queue.store_LPSW[:, prompt_N]
        self.length[slot_N] = queue.length_P[prompt_N]
        self.count[slot_N], self.done[slot_N], self.free[slot_N] = 0, False, False
        self.out_ids[slot_N], self.out_logp[slot_N] = settings.stop_ids[0], 0.0
        self._record(queue.logits_PV[prompt_N], settings, slot_N, draw)

    def _collect(self, held: Tensor, queue: Queue, settings: Sampling) -> int:
        """Hand over what has ended and free its slots; returns how many rows run on. To ask the device is to wait for it: once."""
        ended_B = self.done[: len(held)] & (held >= 0)
        ended, running = torch.stack([ended_B.sum(), (held >= 0).sum()]).tolist()
        if ended:
            slot_N = torch.where(ended_B)[0]
            response_N, out, T = held[slot_N], queue.done, settings.max_tokens
            out.ids_BT[response_N], out.logp_BT[response_N] = self.out_ids[slot_N, :T], self.out_logp[slot_N, :T]
            out.length_B[response_N] = self.count[slot_N]
            out.stopped_B[response_N] = among(self.out_ids[slot_N, self.count[slot_N] - 1], settings.stop_ids)
            held[slot_N] = -1
        return running - ended

    def _compact(self, held: Tensor, rows: int) -> Tensor:
        """Move the running rows to the front of the store and shrink to their bucket."""
        kept = (held < 0).int().argsort(stable=True)[:rows]
        span = min(self.size, int(self.length[kept].max()) + 1)
        for store in self.stores:
            store[:, :rows, :span] = store[:, kept, :span]
        for state in (self.length, self.count, self.token, self.done, self.free, self.out_ids, self.out_logp):
            state[:rows] = state[kept]
        return held[kept]

    def _span(self, rows: int) -> int:
        """How far the store is read. The kernels read each row as far as it is filled: the device need not be asked."""
        if self.decoder and self.decoder.kernels:
            return self.size
        return min(self.size, round_up(int(self.length[:rows].max()) + self.look, self.grain), self.stores[-1].shape[2])

    def _bucket(self, rows: int) -> int:
        return min(self.rows, next((b for b in self.sizes if b >= rows), self.rows))

    # ------------------------------------------------------------ tokens

    def _read(self, prompts, group: int, settings: Sampling) -> Queue:
        """Prefill, each prompt once, some at a time."""
        P, longest, c = len(prompts), max(map(len, prompts)), self.policy.config
        store_LPSW = torch.zeros(c.layers, P, longest, c.cache_width, dtype=self.store.dtype, device=self.device)
        logits, step = [], max(1, PREFILL // longest)
        for i in range(0, P, step):
            cache, logits_PV = prefill(self.policy, prompts[i : i + step], 1, 0)
            store_LPSW[:, i : i + step, : cache.store_LBSW.shape[2]] = cache.store_LBSW
            logits.append(logits_PV)
        B, T, device = P * group, settings.max_tokens, self.device
        done = Samples(
            torch.full((B, T), settings.stop_ids[0], device=device), torch.zeros(B, T, device=device),
            torch.zeros(B, dtype=torch.long, device=device), torch.zeros(B, dtype=torch.bool, device=device),
        )  # fmt: skip
        return Queue(store_LPSW, torch.tensor([len(p) for p in prompts], device=device), torch.cat(logits), group, done)

    def _advance(self, rows: int, span: int, settings: Sampling) -> None:
        key = (rows, span, settings)
        if key in self.graphs:
            self.graphs[key].replay()
            return
        self._step(rows, span, settings)  # the first time for real, which also warms up
        if self.device.type == "cuda":
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.pool):
                self._step(rows, span, settings)
            self.graphs[key] = graph

    def _step(self, rows: int, span: int, settings: Sampling) -> None:
        position = self.length[:rows].clamp(max=span - 1)  # ended rows may stand still
        store, *keys = (store[:, :rows, :span] for store in self.stores)
        if self.decoder:
            logits_BV = self.decoder.step(self.token[:rows], store, position, *keys)
        else:
            logits_BV = self.policy(self.token[:rows, None], _View(store, position))[:, -1]
        self.length[:rows] = position + (~self.done[:rows]).long()
        if self.decoder and self.decoder.compiled:
            torch._dynamo.maybe_mark_dynamic(logits_BV, 0)
        self._record(logits_BV, settings, slice(0, rows), self.draw)

    def _record(self, logits_BV, settings: Sampling, slots, draw) -> None:
        """Sample, write down, test for the stop token and the budget: all on the device."""
        count = self.count[slots]
        last = count + 1 >= settings.max_tokens  # not in draw: it would be compiled anew for every budget
        any_budget = replace(settings, max_tokens=0)
        token, logp, kept, done, free = draw(logits_BV, any_budget, self.done[slots], self.free[slots], last, self.generator)
        row = torch.arange(self.rows, device=self.device)[slots]
        place = torch.where(kept, count, self.room)  # what an ended row draws goes to the spare column
        self.out_ids[row, place], self.out_logp[row, place] = token, logp
        self.token[slots], self.count[slots], self.done[slots], self.free[slots] = token, count + kept, done, free


def draw(logits_BV: Tensor, settings: Sampling, done_B: Tensor, free_B: Tensor, last_B: Tensor, generator) -> tuple[Tensor, ...]:
    """One token a row, the last of its budget or not: (tokens, log-probs, whether they count, rows then done, rows then free)."""
    token_B, logp_B = choose(logits_BV, settings, free_B, generator)
    token_B = torch.where(done_B, settings.stop_ids[0], token_B)
    ends_B = last_B | among(token_B, settings.stop_ids)
    return token_B, logp_B, ~done_B, done_B | ends_B, free_B | among(token_B, settings.until_ids)


def among(token_B: Tensor, ids: tuple[int, ...]) -> Tensor:
    found = torch.zeros_like(token_B, dtype=torch.bool)
    for id in ids:
        found = found | (token_B == id)
    return found
