"""R1-Zero in a tab: checkpoints and the code that computes them as one file, opened from disk.

    python -m minir1 page base-cpu.pt zero-cpu.pt --out page.html

What is typed and what a model writes become text nodes, never markup, and the page's policy lets
nothing run but its own script and nothing be fetched.
"""

import base64
import json
from pathlib import Path

from torch import Tensor

from minir1.checkpoint import load_checkpoint
from minir1.config import UserError
from minir1.console.errors import make_parser, parse
from minir1.console.files import check_writable, write_text
from minir1.data import find_checkpoint
from minir1.hub.pack import pack
from minir1.model import frequencies
from minir1.report.page.groups import embedded
from minir1.report.page.page import filled
from minir1.tasks.countdown import QUESTIONS
from minir1.tokenizer import PIECES
from minir1.transcript import SPECIAL_TOKENS

NAMES = {"base-cpu": "The base", "zero-cpu": "R1-Zero"}  # of shipped checkpoints, for the page
BUDGET = 256  # tokens of a response, as in the preset cpu
FIELDS = (  # of the configuration, as far as engine.js reads it
    "width", "layers", "heads", "kv_rank", "nope_width", "rope_width", "value_width",
    "dense_layers", "experts", "shared_experts", "top_k", "routed_scale", "norm_eps", "positions",
)


def entry(path: Path) -> dict:
    """A model as engine.js wants it. Raises UserError for one that it cannot compute."""
    model, tokenizer = load_checkpoint(path)
    c = model.config
    if c.attention != "mla" or c.q_rank:
        raise UserError(f"{path}: the page computes --attention mla with --q_rank 0 only")
    weights, numbers = [], []
    for name, weight in model.state_dict().items():
        if not name.startswith("mtp_"):
            packed = pack(name, weight)
            parts = [packed] if isinstance(packed, Tensor) else [*reversed(packed)]
            weights.append([name, list(weight.shape), len(parts) == 2])
            numbers += [part.numpy().tobytes() for part in parts]
    codec = {key: json.loads(tokenizer.to_text())["model"][key] for key in ("vocab", "merges")}
    return {
        "name": NAMES.get(path.stem, path.stem), "budget": BUDGET,
        "config": {field: getattr(c, field) for field in FIELDS},
        "turns": frequencies(c.rope_width, c.rope_base, c).tolist(),
        "codec": codec | {"special": SPECIAL_TOKENS, "pieces": PIECES}, "weights": weights,
        "blob": base64.b64encode(b"".join(numbers)).decode(),
    }


def build_page(paths: list[Path]) -> str:
    """The document. Raises UserError."""
    data = embedded({"models": [entry(p) for p in paths], "wordings": QUESTIONS["en"]})
    return filled(Path(__file__).parent, ("engine.js", "page.js"), {"data": data})


def main(arguments: list[str]) -> None:
    parser, add = make_parser("page", __doc__.splitlines()[0])
    given = "by path or by the name of a shipped one; they stand side by side"
    add("checkpoints", metavar="CHECKPOINT", nargs="+", help=given)
    add("--out", type=Path, default=Path("page.html"), help="file to write")
    arguments = parse(parser, arguments)
    check_writable(arguments.out)
    page = build_page([find_checkpoint(name) or Path(name) for name in arguments.checkpoints])
    write_text(arguments.out, page)
    print(f"{arguments.out}: {len(page.encode()) / 1e6:.1f} MB; open it in a browser")
