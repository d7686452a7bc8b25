"""Supervised fine-tuning on curated lines: stages 1, 3 and 5 (R1 report, 2.3 and 2.4)."""

import copy
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from torch import Tensor

from minir1.config import PretrainConfig, UserError
from minir1.console.files import read_objects
from minir1.model import Transformer
from minir1.r1.data import curation
from minir1.run.phases import supervised_phase
from minir1.run.session import Session


def read_lines(path: Path) -> list[dict]:
    """The JSON objects of a file. Raises UserError for the first line that is none."""
    rows, faults = read_objects(path, lambda row, number: row)
    if faults:
        raise UserError(faults[0])
    return [row for _, row in rows]


def fine_tune(
    session: Session, start: Transformer, lines: list[dict], phase: str = "sft", *, epochs: int,
    rows: int, lr: float, optimizer: str = "muon",
) -> Transformer:
    """A copy of `start` that has read ({"question", "response"}) lines; only responses are learned.

    `rows`: lines per step. The learning rate falls along a cosine to a tenth, as in the report.
    """
    model = copy.deepcopy(start)
    if not lines:  # a policy that solves nothing teaches nothing
        print(f"{session.run.path}: no response was worth keeping, so the model stays as it is")
        return model
    config = PretrainConfig(lr=lr, optimizer=optimizer, weight_decay=0.0, checkpoint_every=200)
    rows = min(rows, len(lines))
    pairs, device = curation.pairs_of(lines), session.device.name

    def batches(first: int) -> Iterator[tuple[Tensor, Tensor]]:
        seed = session.config.seed
        whole = curation.batches(pairs, session.tokenizer, rows, epochs, seed, device)
        return islice(whole, first, None)

    return supervised_phase(session, model, phase, config, epochs * (len(lines) // rows), batches)
