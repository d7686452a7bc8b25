"""What training costs: tokens, seconds, floating-point operations, dollars.

A token that is sampled or read costs 2 N operations and one that is trained on 6 N, N the
parameters that a token uses. The products of attention itself are left out, for every model alike.
"""

from minir1.measure.diagnosis import number
from minir1.model import Transformer
from minir1.report.reading import read_metrics
from minir1.run.folder import Run

DOLLARS_PER_HOUR = 2.0  # of one H100; minutes of a CPU are counted at the same rate, to compare


def parameter_counts(model: Transformer) -> tuple[int, int]:
    """(all, used per token): a token passes through top_k of the routed experts only."""
    c = model.config
    everything = sum(p.numel() for p in model.parameters())
    idle = 3 * c.width * c.expert_width * (c.experts - c.top_k) * len(model.expert_layers())
    return everything, everything - idle


def operations(model: Transformer, read: int = 0, trained: int = 0) -> int:
    """Floating-point operations of so many tokens read (or sampled) and trained on."""
    return parameter_counts(model)[1] * (2 * read + 6 * trained)


def spent(run: Run) -> dict[str, dict]:
    """Steps, seconds, tokens (and operations, where they are logged) of each phase so far.

    Read from metrics.jsonl, which a resumed run cuts back to its last checkpoint: what was computed
    twice is counted once.
    """
    totals: dict[str, dict] = {}
    for row in read_metrics(run.path):
        if "seconds_step" in row:
            total = totals.setdefault(row["phase"], dict.fromkeys(SPENT, 0))
            row = {name: value for name, value in row.items() if number(value) is not None}
            total |= {"steps": row.get("step", 0), "flops": row.get("flops", 0)}
            total["seconds"] += row.get("seconds_step", 0)
            for name in ("tokens_sampled", "tokens_trained"):
                total[name] += row.get(name, 0)
    return totals


def costs_of(session, phase: str) -> dict:
    """What one phase of a session has cost so far."""
    return spent(session.run)[phase]


SPENT = ("steps", "seconds", "tokens_sampled", "tokens_trained", "flops")


def cost(model: Transformer, seconds: float, tokens_sampled: int, tokens_trained: int) -> dict:
    """What a phase has cost, with its operations and dollars."""
    return {
        "seconds": seconds, "tokens_sampled": tokens_sampled, "tokens_trained": tokens_trained,
        "flops": operations(model, tokens_sampled, tokens_trained),
        "dollars": seconds / 3600 * DOLLARS_PER_HOUR,
    }


def add_costs(*costs: dict[str, float]) -> dict[str, float]:
    """
    >>> add_costs({"seconds": 1.0, "flops": 2}, {"seconds": 2.0})
    {'seconds': 3.0, 'flops': 2}
    """
    keys = dict.fromkeys(key for c in costs for key in c)
    return {key: sum(c.get(key, 0) for c in costs) for key in keys}
