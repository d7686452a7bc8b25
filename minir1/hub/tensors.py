"""safetensors files, read memory-mapped: eight bytes of length, a JSON header, raw numbers.

    {"model.norm.weight": {"dtype": "BF16", "shape": [576], "data_offsets": [0, 1152]}, ...}

A directory holds model.safetensors, or shards with an index that names each tensor's file.
"""

import json
import mmap
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from minir1.config import UserError

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def read_json(path: Path) -> dict:
    """Raises UserError unless the file holds a JSON object."""
    try:
        value = json.loads(path.read_bytes())
    except OSError as fault:
        raise UserError(f"cannot read {path}: {fault.strerror}") from None
    except (ValueError, RecursionError) as fault:
        raise UserError(f"{path} is not JSON ({fault})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object")
    return value


def read_tensors(directory: Path) -> dict[str, Tensor]:
    """All tensors of a directory, by name; pages are read when they are used. Raises UserError."""
    if not (directory / INDEX).is_file():
        return read_file(directory / WHOLE)
    places = read_json(directory / INDEX).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(f, str) for f in places.values()):
        raise UserError(f"{directory / INDEX} has no weight_map from tensors to files")
    tensors = {}
    for name in sorted(set(places.values())):
        if Path(name).name != name:  # nothing is read from elsewhere
            raise UserError(f"{directory / INDEX} names {name!r}, which is no file beside it")
        tensors |= read_file(directory / name)
    return tensors


def read_file(path: Path) -> dict[str, Tensor]:
    """The tensors of one file. Raises UserError with one line."""
    if not path.is_file():
        raise UserError(f"no file {path}")
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise ValueError(f"it ends at {size} bytes, within its header")
            header = json.loads(file.read(length))
            # a private copy-on-write map: torch wants memory that may be written to
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        header.pop("__metadata__", None)
        check_offsets(header, size - 8 - length)
        return {name: _tensor(data, 8 + length, **entry) for name, entry in header.items()}
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError) as fault:
        said = " ".join(str(fault).split())[:160]
        raise UserError(f"{path} is not a sound safetensors file ({said})") from None


def check_offsets(header: dict, size: int) -> None:
    """Raises ValueError, or what else a header of the wrong kind causes, unless the tensors fill
    `size` bytes one behind the other, each as long as its shape and dtype say."""
    expected = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        shape, (first, last) = entry["shape"], entry["data_offsets"]
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"{name} is of dtype {entry['dtype']}; read are {', '.join(DTYPES)}")
        if not all(type(n) is int and 0 <= n < 2**40 for n in (*shape, first, last)):
            raise ValueError(f"{name} has a shape or offsets that are no sizes")
        if last - first != prod(shape) * DTYPES[entry["dtype"]].itemsize:
            raise ValueError(f"{name} has {last - first} bytes, which are not {shape}")
        if first != expected or last > size:
            raise ValueError(f"{name} lies at {first}:{last} of {size}, not at {expected}")
        expected = last
    if expected != size:
        raise ValueError(f"{size - expected} bytes belong to no tensor")


def _tensor(data: mmap.mmap, start: int, dtype: str, shape: list, data_offsets: list) -> Tensor:
    if prod(shape) == 0:
        return torch.zeros(shape, dtype=DTYPES[dtype])
    how = {"dtype": DTYPES[dtype], "count": prod(shape), "offset": start + data_offsets[0]}
    return torch.frombuffer(data, **how).view(shape)
