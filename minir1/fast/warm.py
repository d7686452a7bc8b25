"""Compiles in another process what pretraining will need, while pretraining has begun without.

The compiler works half a minute and keeps what it makes on disk, under a key of program, shapes and
settings. So a child process takes the same steps on random tokens. When it has ended, the parent's
compiler finds everything there and is done in two seconds.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict

import torch

from minir1.config import ModelConfig, PretrainConfig, from_dict
from minir1.fast.accelerate import accelerate
from minir1.fast.device import Device, make_learner
from minir1.model import Transformer
from minir1.supervised import Learner, language_loss

COMMAND = (sys.executable, "-m", "minir1.fast.warm")


class Waiting:
    """Stands in for `learner.gradients` of language_loss: as usual, until the child process that
    the second step starts has ended, well or not. Then `switch()` puts something else in place."""

    def __init__(self, learner: Learner, device: Device, switch: Callable):
        self.learner, self.plain = learner, learner.gradients
        self.device, self.switch = device, switch
        self.calls, self.child = 0, None

    def __call__(self, compute, model, ids_BT, mask_BT, config) -> list:
        self.calls += 1
        if self.calls == 2 and has_room():
            self.child = start(model, config, ids_BT.shape, self.device)
        elif self.calls > 1 and (self.child is None or self.child.poll() is not None):
            self.switch()
            return self.learner.gradients(compute, model, ids_BT, mask_BT, config)
        return self.plain(compute, model, ids_BT, mask_BT, config)

    def end(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.wait()


def has_room() -> bool:
    """Whether the card holds another process that needs as much as this one's steps so far."""
    return torch.cuda.mem_get_info()[0] > 1.25 * torch.cuda.max_memory_reserved()


def start(
    model: Transformer, config: PretrainConfig, shape: torch.Size, device: Device
) -> subprocess.Popen:
    task = {
        "model": asdict(model.config),
        "pretrain": asdict(config),
        "shape": shape,
        "threads": torch.get_num_threads(),
        "device": asdict(device) | {"dtype": str(device.dtype).removeprefix("torch.")},
        "cudnn": torch.backends.cuda.cudnn_sdp_enabled(),
    }
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}  # what is imported here must be found there
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*COMMAND, json.dumps(task)], env=os.environ | paths, **quiet)


def main(text: str) -> None:
    """Two compiled gradients of a new model, made as in pretraining in all that the key holds."""
    task = json.loads(text)
    torch.set_num_threads(task["threads"])
    torch.backends.cuda.enable_cudnn_sdp(task["cudnn"])
    device = Device(**task["device"] | {"dtype": getattr(torch, task["device"]["dtype"])})
    model = Transformer(from_dict(ModelConfig, task["model"])).to(device.name)
    config = from_dict(PretrainConfig, task["pretrain"])
    ids_BT = torch.randint(model.config.vocab_size, task["shape"], device=device.name)
    learner = make_learner(model, config.weight_decay, config.clip, device)
    with accelerate(model, device, compiled=True, cudnn=False):
        for _ in range(2):
            learner.gradients(language_loss, model, ids_BT, None, config)
            model.zero_grad(set_to_none=True)


if __name__ == "__main__":
    main(sys.argv[1])
