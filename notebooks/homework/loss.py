"""Task 2 (3 points): the clipped loss, a mean over tokens. (R1 report, Eq. 1; notebook 6)"""

from torch import Tensor

from minir1.config import UserError


def grpo_loss(
    logp_BT: Tensor, old_logp_BT: Tensor, adv_B: Tensor, mask_BT: Tensor, low: float, high: float
) -> Tensor:
    """-min(ratio * A, clip(ratio, 1 - low, 1 + high) * A), a mean over tokens: one number.

    ratio = exp(logp - old_logp), for each token. The mean is over the tokens that `mask_BT` marks.
    What stands in the other places is padding: it may hold any number, even infinity, and must
    reach neither the loss nor the gradient.
    """
    raise UserError("task 2: grpo_loss() in loss.py is not written yet")
