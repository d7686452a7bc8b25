"""Task 5 (4 points): draw a token, and the loop that writes a response. (Notebook 4)"""

from collections.abc import Callable

from torch import Tensor

from minir1.config import UserError


def draw(logits_BV: Tensor, dart_B: Tensor) -> tuple[Tensor, Tensor]:
    """One token a row: (ids_B, logp_B). The dart of a row lies in [0, 1).

    Lay the row's probabilities side by side in the order of the vocabulary: the token whose piece
    the dart hits is drawn. By rounding the pieces may add up to a little less than 1: a dart beyond
    them means the last token. logp_B is the log-probability of what was drawn.
    """
    raise UserError("task 5: draw() in sampler.py is not written yet")


def generate(
    logits_BV: Tensor, step: Callable[[Tensor], Tensor], dart_BT: Tensor, stop_id: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Write B responses of at most T tokens: (ids_BT, logp_BT, length_B, stopped_B).

    `logits_BV` are those of the first token; `step(ids_B)` reads one more token a row and returns
    the next logits. Column t of the darts is for token t. The stop token is part of the response:
    it counts in the length and has a log-probability. Behind a response's end ids are `stop_id` and
    log-probs 0. A response without a stop token has length T and stopped False. Once all rows have
    stopped, or T tokens are written, `step` is not called any more.
    """
    raise UserError("task 5: generate() in sampler.py is not written yet")
