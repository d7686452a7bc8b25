"""A training step without launches: both passes captured in a CUDA graph, the same gradients.

Launching some 1,000 kernels takes the host longer than computing them takes the card, once the
experts are fast. Pretraining's batches have one shape, so one graph serves them all; other calls
go through as they are.
"""

import torch

from minir1.supervised import Learner

WARM = 3  # first steps, run as usual: kernels are compiled and planned, which no capture may see


class Replayed:
    """Stands in for `learner.gradients(compute, model, ids, ...)`; results are copies."""

    def __init__(self, learner: Learner):
        self.plain, self.calls, self.graph = learner.gradients, 0, None
        self.stream = torch.cuda.Stream()  # of the capture; autograd may keep a weight's first one

    def __call__(self, compute, model, ids_BT, mask_BT, *others) -> list:
        self.calls += 1
        if mask_BT is not None or (self.graph and ids_BT.shape != self.ids_BT.shape):
            return self.plain(compute, model, ids_BT, mask_BT, *others)
        if self.calls <= WARM:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                results = self.plain(compute, model, ids_BT, None, *others)
            torch.cuda.current_stream().wait_stream(self.stream)
            return results
        if self.graph is None:
            self._capture(compute, model, ids_BT, *others)
        self.ids_BT.copy_(ids_BT)
        self.graph.replay()
        for parameter, gradient in self.gradients:  # the optimizer has let go of them
            parameter.grad = gradient
        return [rest.clone() if rest is not None else None for rest in self.rest]

    def _capture(self, compute, model, ids_BT, *others) -> None:
        self.ids_BT, self.graph = ids_BT.clone(), torch.cuda.CUDAGraph()
        how = {"capture_error_mode": "thread_local"}  # NCCL's thread may ask the device meanwhile
        with torch.cuda.graph(self.graph, stream=self.stream, **how):
            self.rest = self.plain(compute, model, self.ids_BT, None, *others)
        self.gradients = [(p, p.grad) for p in model.parameters() if p.grad is not None]
