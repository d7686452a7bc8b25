"""One file holds a model, its configuration and its tokenizer; it is written whole or not at all.

    model, tokenizer = load_checkpoint("runs/cpu-0/checkpoints/zero.pt")
    logits_BTV = model(ids_BT)
"""

import os
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from minir1.config import Diverged, ModelConfig, UserError, from_dict
from minir1.model import Transformer
from minir1.tokenizer import TextCodec, Tokenizer

FORMAT = "minir1-1"


def write_whole(path: Path, value: dict) -> None:
    """torch.save to a neighbour, then rename: never half a file. Raises OSError on a full disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        torch.save(value, part)
        os.replace(part, path)
    except (OSError, RuntimeError) as fault:
        part.unlink(missing_ok=True)
        raise OSError(f"cannot write {path}: {fault}") from fault


def read(path: str | Path) -> dict:
    """The dictionary in a checkpoint. Raises UserError if it is missing, unreadable or not ours."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}")
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:
        raise UserError(f"{path} is not a readable checkpoint ({type(fault).__name__})") from fault
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise UserError(f"{path} is not a minir1 checkpoint")
    return value


def save_checkpoint(
    path: str | Path, model: Transformer, codec: TextCodec, pack=lambda name, value: value, **extra
) -> None:
    """Writes one file, `extra` included. Raises OSError, and Diverged for weights that are not
    finite. `pack(name, weight)` may shrink what is written: a tensor, or int8 values and their
    scale (minir1/hub/pack.py)."""
    weights = {name: pack(name, value.detach().cpu()) for name, value in model.state_dict().items()}
    check_finite(model)
    whole = {"format": FORMAT, "config": asdict(model.config), "tokenizer": codec.to_text()}
    write_whole(Path(path), whole | {"weights": weights} | extra)


def load_checkpoint(
    path: str | Path, device: str | torch.device = "cpu", read_codec=Tokenizer.from_text
) -> tuple[Transformer, TextCodec]:
    """A float32 model in evaluation mode, and its tokenizer. Raises UserError with one line."""
    value = read(path)
    try:
        model = Transformer(from_dict(ModelConfig, value["config"]))
        weights = value["weights"].items()
        model.load_state_dict({k: w if isinstance(w, Tensor) else w[0] * w[1] for k, w in weights})
        codec = read_codec(value["tokenizer"])
    except Exception as fault:
        raise UserError(f"{path} does not fit this version of minir1 ({fault})") from fault
    try:
        check_finite(model)
    except Diverged as fault:
        raise UserError(f"{path}: {fault}") from None
    return model.to(device).eval(), codec


def check_finite(model: torch.nn.Module) -> None:
    """Raises Diverged for a weight that is not finite."""
    for name, weight in model.state_dict().items():
        if not weight.isfinite().all():
            raise Diverged(f"the weights are not finite numbers ({name})")
