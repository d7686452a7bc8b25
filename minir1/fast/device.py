"""Which device, which number format, which kernels; and the Learner's twins in half precision."""

import os
from dataclasses import dataclass

import torch

from minir1.config import Config, UserError
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
    """The device of a configuration. Raises UserError if it was asked for and is not there."""
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise UserError(f"--device {name}: PyTorch sees no such device here")
    if name not in ("cpu", "cuda", "mps"):
        raise UserError(f"--device is auto, cpu, cuda or mps, not {name!r}")
    if config.dtype not in ("auto", "float32", "bfloat16", "float16"):
        raise UserError(f"--dtype is auto, float32, bfloat16 or float16, not {config.dtype!r}")
    modern = name == "cuda" and torch.cuda.get_device_capability()[0] >= 8
    automatic = torch.bfloat16 if modern else torch.float16 if name == "cuda" else torch.float32
    dtype = automatic if config.dtype == "auto" else getattr(torch, config.dtype)
    kernels = config.kernels
    if kernels == "auto":
        hopper = modern and torch.cuda.get_device_capability()[0] >= 9 and dtype == torch.bfloat16
        kernels = "grouped" if hopper else "portable"
    label = torch.cuda.get_device_name() if name == "cuda" else f"{os.cpu_count()} CPU cores" if name == "cpu" else "Apple MPS"
    return Device(name, label, dtype, kernels)


class HalfLearner(Learner):
    """Float32 weights, half-precision operations; float16 gradients are scaled so that small ones survive."""

    def __init__(self, model, weight_decay: float, clip: float, device: Device):
        super().__init__(model, weight_decay, clip)
        self.device = device
        self.scaler = torch.amp.GradScaler(device.name, init_scale=2.0**12, enabled=device.dtype == torch.float16)

    def autocast(self):
        return torch.autocast(self.device.name, self.device.dtype)

    def backward(self, loss):
        self.scaler.scale(loss).backward()

    def step(self, lr):
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def state(self):
        return {"optimizer": super().state(), "scaler": self.scaler.state_dict()}

    def restore(self, state):
        super().restore(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])


def make_learner(model, weight_decay: float, clip: float, device: Device, optimizer: str = "adamw") -> Learner:
    plain = device.dtype == torch.float32
    learner = Learner(model, weight_decay, clip) if plain else HalfLearner(model, weight_decay, clip, device)
    if optimizer == "muon":
        learner.optimizer = Muon(model, weight_decay)
    return learner
