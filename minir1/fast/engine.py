"""The sampler under CUDA graphs: twin of `sampler.sample`, same signature, tested equal to it.

One decoding step of a small model is some hundred tiny kernels: launched one by one they cost ten
times what they compute. Here a step is captured once per (rows, span) bucket, with sampling and the
stop test on the device, and replayed. Every few steps the host looks how many rows still run and
moves them together into the next smaller bucket.
"""

import copy

import torch

from minir1.fast.experts import batched_experts, use
from minir1.model import Cache, Transformer
from minir1.sampler import Samples, Sampling, choose, prefill, sample

ROWS = (16, 32, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
LOOK = 16  # steps between looks at how many rows still run


def round_up(value: int, step: int) -> int:
    return -(-value // step) * step


class _View(Cache):
    """A window on the engine's static store: the first rows, read up to a fixed span."""

    def __init__(self, store_LBSW, length_B, span: int):
        self.store_LBSW, self.length_B, self._span = store_LBSW, length_B, span

    @property
    def span(self) -> int:
        return self._span

    @span.setter
    def span(self, value: int) -> None:
        pass  # fixed: a graph's shapes cannot grow


class Engine:
    """`engine.sample` has the core sampler's signature. It decodes with a half-precision copy of the policy."""

    def __init__(self, model: Transformer, dtype: torch.dtype, rows: int, room: int):
        self.device = model.embed.weight.device
        self.policy = copy.deepcopy(model).requires_grad_(False).eval()
        for name, weight in self.policy.named_parameters():
            weight.data = weight.data.to(torch.float32 if name.endswith("router") else dtype)
        use(self.policy, batched_experts)
        self.rows, c = rows, model.config
        self.size = min(c.positions, round_up(room + 128, 64))
        make = lambda *shape, dtype: torch.zeros(shape, dtype=dtype, device=self.device)  # noqa: E731
        self.store = make(c.layers, rows, self.size, c.cache_width, dtype=dtype)
        self.length, self.row, self.token = (make(rows, dtype=torch.long) for _ in range(3))
        self.done, self.free = (make(rows, dtype=torch.bool) for _ in range(2))
        self.out_ids, self.out_logp = make(rows, room, dtype=torch.long), make(rows, room, dtype=torch.float32)
        self.out_length, self.step = make(rows, dtype=torch.long), make(1, dtype=torch.long)
        self.graphs: dict = {}
        self.generator = None
        self.pool = torch.cuda.graph_pool_handle() if self.device.type == "cuda" else None

    @torch.no_grad()
    def refresh(self, model: Transformer) -> None:
        """Take over the policy's present weights."""
        torch._foreach_copy_(list(self.policy.parameters()), list(model.parameters()))
        torch._foreach_copy_(list(self.policy.buffers()), list(model.buffers()))

    @torch.no_grad()
    def sample(self, model: Transformer, prompts, group: int, settings: Sampling, generator=None) -> Samples:
        self.refresh(model)
        too_long = settings.max_tokens > self.out_ids.shape[1] or max(map(len, prompts)) + settings.max_tokens > self.size
        if too_long or group > self.rows:
            return sample(self.policy, prompts, group, settings, generator)  # rare and long: the plain loop
        self.generator = generator if self.device.type == "cpu" else None  # a graph draws from the device's own
        if self.device.type == "cuda":
            seed = torch.randint(2**62, (), generator=generator, device=generator.device).item() if generator else 0
            torch.cuda.manual_seed(seed)
        per_call = self.rows // group
        parts = [self._batch(prompts[i : i + per_call], group, settings) for i in range(0, len(prompts), per_call)]
        return Samples(*(torch.cat(column) for column in zip(*parts)))

    def _batch(self, prompts, group: int, settings: Sampling) -> Samples:
        B, longest = len(prompts) * group, max(map(len, prompts))
        logits_BV = self._prefill(prompts, group)
        self.row[:B] = torch.arange(B, device=self.device)
        self.done.fill_(True)
        self.done[:B], self.free[:B] = False, False
        self.row[B:] = torch.arange(B, self.rows, device=self.device)
        self.out_ids.fill_(settings.stop_ids[0])
        self.out_logp.zero_()
        self.out_length.zero_()
        self.step.zero_()
        self._record(logits_BV, settings, B)
        rows, t = self._bucket(B), 1
        while t < settings.max_tokens:
            if t % LOOK == 0:
                left = int((~self.done[:rows]).sum())
                if left == 0:
                    break
                if self._bucket(left) < rows:
                    rows = self._compact(rows, left, longest + t)
            self._advance(rows, min(self.size, round_up(longest + t + 1, 128)), settings)
            t += 1
        last = self.out_ids[:B].gather(1, self.out_length[:B, None] - 1)
        stopped = torch.isin(last[:, 0], torch.tensor(settings.stop_ids, device=self.device))
        return Samples(
            self.out_ids[:B, : settings.max_tokens].clone(), self.out_logp[:B, : settings.max_tokens].clone(),
            self.out_length[:B].clone(), stopped,
        )  # fmt: skip

    def _prefill(self, prompts, group: int) -> torch.Tensor:
        cache, logits_BV = prefill(self.policy, prompts, group, 0)
        B, span = cache.store_LBSW.shape[1:3]
        self.store[:, :B, :span] = cache.store_LBSW
        self.length.zero_()
        self.length[:B] = cache.length_B
        return logits_BV

    def _bucket(self, rows: int) -> int:
        return min(self.rows, next((b for b in ROWS if b >= rows), self.rows))

    def _compact(self, rows: int, left: int, span: int) -> int:
        """Move the running rows to the front of the store and shrink to their bucket."""
        kept = self.done[:rows].int().argsort(stable=True)[: self._bucket(left)]
        n = len(kept)
        self.store[:, :n, :span] = self.store[:, kept, :span]
        for state in (self.length, self.row, self.token, self.done, self.free):
            state[:n] = state[kept]
        return n

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
        view = _View(self.store[:, :rows], self.length[:rows], span)
        logits_BV = self.policy(self.token[:rows, None], view)[:, -1]
        self.length[:rows] = view.length_B.clamp(max=self.size - 1)
        self._record(logits_BV, settings, rows)

    def _record(self, logits_BV, settings: Sampling, rows: int) -> None:
        """Sample, write down, test for the stop token: all on the device."""
        token, logp = choose(logits_BV, settings, self.free[:rows], self.generator)
        done, row, step = self.done[:rows], self.row[:rows], self.step.expand(rows)
        token = torch.where(done, settings.stop_ids[0], token)
        self.out_ids[row, step], self.out_logp[row, step] = token, torch.where(done, 0.0, logp)
        self.out_length[row] = self.out_length[row] + (~done).long()
        for ids, flag in ((settings.stop_ids, self.done), (settings.until_ids, self.free)):
            for id in ids:
                flag[:rows] |= token == id
        self.token[:rows] = token
        self.step += 1
