"""Distilled, and then RL, beside RL alone for as many operations (R1 report, Table 16).

    python -m minir1 distil lines.jsonl --base DIR --compare RUN --rl.tasks countdown:cpu=1

All four policies answer the same held-out problems once, at RL's own temperature. Both kinds of RL
have the same settings, and a constant learning rate: how many steps RL alone gets for the
operations is not known beforehand.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from minir1.config import Config
from minir1.console.files import write_json
from minir1.console.tables import aligned
from minir1.fast.device import Device
from minir1.model import Transformer
from minir1.r1.data.fine_tuning import fine_tune
from minir1.r1.students.distillation import taught
from minir1.run.folder import Run
from minir1.run.phases import RLPhase
from minir1.run.session import Session
from minir1.tasks import draw_problems
from minir1.tokenizer import TextCodec
from train_zero import reinforce

COLUMNS = ("", "operations", "right", "well-formed", "tokens", "cut off")


def compare(
    folder: Path, config: Config, device: Device, base: Transformer, codec: TextCodec,
    lines: list[dict], how: dict,
) -> tuple[Transformer, str]:
    """The student of the lines, and the scoreboard in words. `how` is fine_tune's. Writes a run
    folder with metrics.jsonl, checkpoints and scoreboard.json."""
    run = Run.start(folder, config)
    session, rl = Session(run, device, codec), replace(config.rl, lr_end=1.0, early_tokens=0)

    def trained(start: Transformer, phase: str, budget: float | None = None) -> Transformer:
        return reinforce(RLPhase(session, start, phase, rl, budget=budget))

    def cost(*phases: str) -> float:
        return sum(run.progress[phase]["result"]["flops"] for phase in phases)

    student = taught(session, "distil", partial(fine_tune, session, base, lines, "distil", **how))
    both = taught(session, "distil-rl", partial(trained, student, "distil-rl"))
    budget = cost("distil", "distil-rl")
    alone = taught(session, "rl-alone", partial(trained, base, "rl-alone", budget))
    policies = {
        "base": (base, 0.0), "RL alone": (alone, cost("rl-alone")),
        "distilled": (student, cost("distil")), "distilled, then RL": (both, budget),
    }
    board = scoreboard(session, policies)
    write_json(folder / "scoreboard.json", board)
    return student, table(board)


def scoreboard(session: Session, policies: dict[str, tuple]) -> dict[str, dict]:
    """Figures of each policy on config.eval.problems of the test split, and what it has cost."""
    config = session.config
    key = (config.rl.tasks, config.corpus.languages, "test", "test", config.eval.problems)
    problems, board = draw_problems(*key), {}
    base, _ = policies["base"]
    sampler = session.sampler(base)
    for name, (model, operations) in policies.items():
        figures = session.evaluator(sampler).examine(model, problems)
        board[name] = {"operations": operations} | figures
    return board


def table(board: dict[str, dict]) -> str:
    rows = [list(COLUMNS)]
    for name, row in board.items():
        right = f"{row['accuracy']:.1%} ± {100 * row['stderr']:.1f}"
        shares = (f"{row['format']:.1%}", f"{row['length']:.0f}", f"{row['truncated']:.1%}")
        rows.append([name, f"{row['operations']:.2g}", right, *shares])
    return aligned(rows)
