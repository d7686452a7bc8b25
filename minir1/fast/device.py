"""Which device, which number format, which kernels; and the Learner's twins in half precision."""

from dataclasses import dataclass

import torch

from minir1.config import Config, UserError, check_ranges
from minir1.fast.parallel import usable_cores
from minir1.fast.ranks import Ranks
from minir1.supervised import Learner
from minir1.variants.muon import Muon


@dataclass(frozen=True)
class Device:
    """Where a run computes and how."""

    name: str  # cpu, cuda or mps
    label: str  # for people: "NVIDIA H200"
    dtype: torch.dtype
    kernels: str  # plain, portable or grouped

    def __str__(self):
        number = str(self.dtype).removeprefix("torch.")
        return f"{self.label}, {number}, {self.kernels} kernels"


def pick_device(config: Config) -> Device:
    """The device of a configuration. Raises UserError if there is none of that name."""
    check_ranges(config)
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    name, kernels = config.device, config.kernels
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    if not {"cuda": cuda, "mps": mps, "cpu": True}[name]:
        raise UserError(f"--device {name}: PyTorch sees no such device here")
    capability = torch.cuda.get_device_capability()[0] if name == "cuda" else 0
    half = torch.bfloat16 if capability >= 8 else torch.float16
    automatic = half if name == "cuda" else torch.float32
    dtype = automatic if config.dtype == "auto" else getattr(torch, config.dtype)
    if kernels == "auto":
        hopper = capability >= 9 and dtype == torch.bfloat16
        kernels = "grouped" if hopper else "portable"
    label = {"cpu": f"{usable_cores()} CPU cores", "mps": "Apple MPS"}.get(name)
    return Device(name, label or torch.cuda.get_device_name(), dtype, kernels)


class HalfLearner(Learner):
    """Float32 weights, half-precision operations. Float16 gradients are scaled: none vanishes."""

    def __init__(self, model, weight_decay: float, clip: float, device: Device):
        super().__init__(model, weight_decay, clip)
        self.device = device
        scales = device.dtype == torch.float16
        self.patience = 15 if scales else 5  # a scale too large is halved each time
        self.scaler = torch.amp.GradScaler(device.name, init_scale=2.0**12, enabled=scales)

    def autocast(self):
        return torch.autocast(self.device.name, self.device.dtype)

    def scaled(self, loss):
        return self.scaler.scale(loss)

    def unscale(self):
        self.scaler.unscale_(self.optimizer)

    def step(self, lr):
        norm = super().step(lr)
        self.scaler.update()
        return norm

    def state(self):
        return {"optimizer": super().state(), "scaler": self.scaler.state_dict()}

    def restore(self, state):
        super().restore(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])


def make_learner(
    model, weight_decay: float, clip: float, device: Device, optimizer: str = "adamw"
) -> Learner:
    if device.dtype == torch.float32:
        learner = Learner(model, weight_decay, clip)
    else:
        learner = HalfLearner(model, weight_decay, clip, device)
    if optimizer == "muon":
        learner.optimizer = Muon(model, weight_decay)
    learner.ranks = Ranks.current()
    return learner
