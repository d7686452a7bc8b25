"""One file holds a model, its configuration and its tokenizer; it is written whole or not at all.

    model, tokenizer = load_checkpoint("runs/cpu-0/checkpoints/zero.pt")
    logits_BTV = model(ids_BT)
"""

import hashlib
import os
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from minir1.config import Diverged, ModelConfig, UserError, from_dict
from minir1.model import Transformer
from minir1.tokenizer import TextCodec, Tokenizer

FORMAT = "minir1-2"
UNSIGNED = "minir1-1"  # files of earlier versions, without a checksum


def checksum(path: Path, size: int) -> bytes:
    """SHA-256 of a file's first `size` bytes as the comment that ends a zip file."""
    digest, left = hashlib.sha256(), size
    with path.open("rb") as file:
        while block := file.read(min(left, 1 << 20)):
            digest.update(block)
            left -= len(block)
    return f"sha256 {digest.hexdigest()}".encode()


COMMENT = len(checksum(Path(os.devnull), 0))  # bytes


def write_whole(path: Path, value: dict) -> None:
    """torch.save and a checksum to a neighbour, then rename: never half a file.

    Raises OSError on a full disk, and rather than replace a device."""
    if path.exists() and not path.is_file():
        raise OSError(f"cannot write {path}: it is not a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        torch.save(value, part)
        with part.open("r+b") as file:
            file.seek(-2, os.SEEK_END)  # the length of the comment
            file.write(COMMENT.to_bytes(2, "little"))
        comment = checksum(part, part.stat().st_size)
        with part.open("ab") as file:
            file.write(comment)
        os.replace(part, path)
    except (OSError, RuntimeError) as fault:
        part.unlink(missing_ok=True)
        raise OSError(f"cannot write {path}: {fault}") from fault


def read(path: str | Path) -> dict:
    """The dictionary in a checkpoint. Raises UserError if it is missing, unreadable or not ours."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}")
    size = max(0, path.stat().st_size - COMMENT)
    with path.open("rb") as file:
        file.seek(size)
        sound = file.read() == checksum(path, size)
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:
        raise UserError(f"{path} is not a readable checkpoint ({type(fault).__name__})") from fault
    if not isinstance(value, dict) or value.get("format") not in (FORMAT, UNSIGNED):
        raise UserError(f"{path} is not a minir1 checkpoint")
    if value["format"] == FORMAT and not sound:
        raise UserError(f"{path} is damaged: its checksum does not fit; copy or make it anew")
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
    """A float32 model in evaluation mode, and its tokenizer, from a checkpoint or a Hugging Face
    directory. Raises UserError with one line."""
    if Path(path).is_dir():
        model, codec = import_module("minir1.hub.reading").read_directory(path)
        return model.to(device).eval(), codec
    value = read(path)
    try:
        config, weights = from_dict(ModelConfig, value["config"]), value["weights"]
        compare(config, weights)
        codec = read_codec(value["tokenizer"])
        model = Transformer(config)
        whole = {k: w if isinstance(w, Tensor) else w[0] * w[1] for k, w in weights.items()}
        model.load_state_dict(whole)
    except Exception as fault:
        said = " ".join(str(fault).split())[:200]
        raise UserError(f"{path} does not fit this version of minir1 ({said})") from fault
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


def compare(config: ModelConfig, weights: dict) -> None:
    """Raises ValueError unless the weights are those of this configuration.

    Costs neither memory nor time, whatever sizes the configuration names."""
    if config.layers > len(weights):
        raise ValueError(f"{config.layers} layers, but {len(weights)} weights")
    if not 0 < config.positions <= 2**20:
        raise ValueError(f"{config.positions} positions")
    with torch.device("meta"):
        expected = Transformer(config).state_dict()
    if odd := sorted(expected.keys() ^ weights.keys()):
        raise ValueError(f"{odd[0]} is missing or unknown")
    for name, weight in expected.items():
        given = weights[name]
        values, scale = (given, None) if isinstance(given, Tensor) else given
        fits = values.shape == weight.shape and values.is_floating_point() == (scale is None)
        if scale is not None:
            fits &= values.dtype == torch.int8 and scale.shape == (*weight.shape[:-1], 1)
        if not fits:
            raise ValueError(f"{name} is not {list(weight.shape)}")
