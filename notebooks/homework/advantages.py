"""Task 1 (2 points): how much better is a response than its group? (R1, Eq. 3; notebook 6)"""

from torch import Tensor

from minir1.config import UserError


def advantages(reward_PG: Tensor) -> Tensor:
    """(r - mean) / (std + 1e-4) within each group: `[P, G]`.

    The rewards `[P, G]` are those of P groups with G responses each. std is the sample's (G - 1). A
    group whose rewards are all equal gets exact zeros: the mean of equal floats can be off by a
    bit, and divided by 1e-4 that is no longer small. Do not change the argument.
    """
    raise UserError("task 1: advantages() in advantages.py is not written yet")
