"""`python -m minir1 distil`: curated lines into a base, ours or imported (R1 report, 2.4).

    python -m minir1 distil r1.jsonl general.jsonl --base Qwen2.5-0.5B --out student.pt
    python train_zero.py --base student.pt --rl.tasks countdown:cpu=1
    python -m minir1 distil r1.jsonl --base DIR --compare RUN --rl.steps 20     both, and a table

Lines are {"question": "...", "response": "<think>...</think><answer>...</answer><|end|>"}, as
train_r1.py curates them. Only responses are learned.
"""

import argparse
from pathlib import Path

import torch

from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import RATE, Config, UserError
from minir1.console.errors import make_parser, parse_some
from minir1.console.files import check_writable
from minir1.console.flags import Value, count, parse_command_line, real, seed
from minir1.data import find_checkpoint
from minir1.fast.device import pick_device
from minir1.r1.data.fine_tuning import fine_tune, read_lines
from minir1.r1.students.comparison import compare
from minir1.run.session import Session
from minir1.tasks import check_tasks
from minir1.transcript import END


def main(arguments: list[str]) -> None:
    """Raises UserError; prints help and raises SystemExit(0) for --help."""
    about = "Fine-tune a checkpoint, or an imported base, on curated lines."
    parser, add = make_parser("distil", about, allow_abbrev=False)
    add("lines", metavar="LINES.jsonl", nargs="+", type=Path, help="several files are mixed")
    add("--base", required=True, help="checkpoint or Hugging Face directory to start from")
    add("--out", type=Path, default=Path("student.pt"), help="what is written (student.pt)")
    add("--epochs", type=count, default=2, help="times each line is read (2)")
    add("--rows", type=count, default=32, help="lines a step (32)")
    add("--lr", type=Value(real, RATE), default=1e-4, help="peak learning rate (1e-4)")
    add("--seed", type=seed, default=0)
    add("--device", default="auto", help="auto, cpu, cuda or mps")
    both = "then RL, beside RL alone at equal operations, in this run folder; takes --rl.* flags"
    add("--compare", metavar="RUN", type=Path, help=both)
    given, more = parse_some(parser, arguments)
    check_writable(given.out, device=False)
    lines, config = read_all(given.lines), configured(given, more)
    device = pick_device(config)
    model, codec = load_checkpoint(find_checkpoint(given.base) or given.base, device.name)
    torch.manual_seed(given.seed)
    how = {"epochs": given.epochs, "rows": given.rows, "lr": given.lr, "optimizer": "adamw"}
    board = ""
    if given.compare:
        model, board = compare(given.compare, config, device, model, codec, lines, how)
    else:
        session = Session.unsaved(config, device, codec, silent=False)
        model = fine_tune(session, model, lines, "distil", **how)
    save_checkpoint(given.out, model, codec)
    print(f"wrote {given.out} after {given.epochs} x {len(lines):,} lines", board, sep="\n")


def configured(given: argparse.Namespace, more: list[str]) -> Config:
    """What RL takes from the command line. Raises UserError for what it does not know."""
    if not given.compare:
        if more:
            raise UserError(f"unknown: {more[0]} (see minir1 distil --help)")
        return Config(seed=given.seed, device=given.device)
    config = parse_command_line([*more, "--seed", str(given.seed), "--device", given.device])
    check_tasks(config.rl.tasks, config.corpus.languages)
    return config


def read_all(paths: list[Path]) -> list[dict]:
    """The lines of all files. Raises UserError for a malformed one, and if there is none."""
    lines = []
    for path in paths:
        for number, line in enumerate(read_lines(path), 1):
            texts = all(isinstance(line.get(name), str) for name in ("question", "response"))
            if not (texts and line["response"].endswith(END)):
                say = f'"question" and "response" must be texts, the latter ending in {END}'
                raise UserError(f"{path}: line {number}: {say}")
            lines.append(line)
    if not lines:
        raise UserError(f"no line in {', '.join(map(str, paths))}")
    return lines
