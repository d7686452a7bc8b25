"""R1-Zero in a tab: checkpoints, their tokenizer and the model's code as one file, to be opened from
disk.

    python -m minir1 page minir1/data/base-cpu.pt minir1/data/zero-cpu.pt --out page.html

What was typed and what a model writes is shown as text nodes only; the page's policy lets nothing
run but its own script, and nothing be fetched.
"""

import argparse
import base64
import json
import re
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from minir1.checkpoint import load_checkpoint
from minir1.config import UserError
from minir1.console.errors import parse
from minir1.console.files import check_writable, write_text
from minir1.data import find_checkpoint
from minir1.hub.pack import pack
from minir1.report.page.groups import embedded
from minir1.report.page.page import fingerprint
from minir1.tasks.countdown import QUESTIONS
from minir1.tokenizer import PIECES
from minir1.transcript import SPECIAL_TOKENS

FOLDER = Path(__file__).parent
SCRIPTS = ("engine.js", "page.js")
BUDGET = 256  # tokens of a response, as in the preset cpu
NAMES = {"base-cpu": "the base", "zero-cpu": "R1-Zero"}


def blob(weights: dict[str, Tensor]) -> tuple[list, bytes]:
    """([name, shape, in int8?] of each, their numbers): float32, or a scale per row and int8."""
    names, parts = [], []
    for name, weight in weights.items():
        packed = pack(name, weight)
        names.append([name, list(weight.shape), not isinstance(packed, Tensor)])
        if isinstance(packed, Tensor):
            parts.append(packed.numpy().astype("<f4").tobytes())
        else:
            values, scale = packed
            parts += [scale.numpy().astype("<f4").tobytes(), values.numpy().tobytes()]
    return names, b"".join(parts)


def entry(path: Path) -> dict:
    """A model as the page's script wants it. Raises UserError for one that it cannot compute."""
    model, tokenizer = load_checkpoint(path)
    if model.config.attention != "mla":
        raise UserError(f"{path}: the page computes latent attention only")
    weights = {n: w for n, w in model.state_dict().items() if not n.startswith("mtp_")}
    names, numbers = blob(weights)
    library = json.loads(tokenizer.to_text())["model"]
    codec = {"vocab": library["vocab"], "merges": library["merges"]}
    codec |= {"special": SPECIAL_TOKENS, "pieces": PIECES}
    return {
        "name": NAMES.get(path.stem, path.stem), "config": asdict(model.config), "budget": BUDGET,
        "codec": codec, "weights": names, "blob": base64.b64encode(numbers).decode(),
    }


def build_page(paths: list[Path]) -> str:
    """The document. Raises UserError."""
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    script = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)
    allowed = f"style-src {fingerprint(style)}; script-src {fingerprint(script)}"
    data = {"models": [entry(path) for path in paths], "wordings": QUESTIONS["en"]}
    parts = {
        "policy": f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'",
        "style": style, "script": script, "data": embedded(data),
    }
    page = (FOLDER / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], page)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("minir1 page", description=__doc__.split(":")[0])
    given = "one or two checkpoints, by path or by the name of a shipped one"
    parser.add_argument("checkpoints", metavar="CHECKPOINT", nargs="+", help=given)
    parser.add_argument("--out", type=Path, default=Path("page.html"), help="file to write")
    arguments = parse(parser, arguments)
    if len(arguments.checkpoints) > 2:
        raise UserError("a page holds one or two checkpoints")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    check_writable(arguments.out)
    page = build_page([find_checkpoint(name) or Path(name) for name in arguments.checkpoints])
    write_text(arguments.out, page)
    print(f"{arguments.out}: {len(page.encode()) / 1e6:.1f} MB; open it in a browser")
