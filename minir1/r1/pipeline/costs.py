"""What a stage costs: minutes, tokens, floating-point operations, dollars."""

from minir1.model import Transformer
from minir1.run.summary import parameter_counts

DOLLARS_AN_HOUR = 2.0  # of one H100; a CPU's minutes are counted at the same rate, for comparison only


def cost(model: Transformer, seconds: float, tokens_sampled: int, tokens_trained: int) -> dict[str, float]:
    """Minutes, tokens, FLOPs and dollars of a phase: 2 N a sampled and 6 N a trained token, N the parameters a token uses."""
    used = parameter_counts(model)[1]
    return {
        "seconds": seconds, "tokens_sampled": tokens_sampled, "tokens_trained": tokens_trained,
        "flops": used * (2 * tokens_sampled + 6 * tokens_trained), "dollars": seconds / 3600 * DOLLARS_AN_HOUR,
    }  # fmt: skip


def add_costs(*costs: dict[str, float]) -> dict[str, float]:
    """
    >>> add_costs({"seconds": 1.0, "flops": 2}, {"seconds": 2.0})
    {'seconds': 3.0, 'flops': 2}
    """
    return {key: sum(c.get(key, 0) for c in costs) for key in dict.fromkeys(k for c in costs for k in c)}
