"""Task 4 (4 points): attention over a cache. (V3 report, section 2.1.1, absorbed; notebook 1)

What is kept for each token and layer is W = rank + rope numbers: a latent, which plays key and
value, and a rotated key.
"""

from torch import Tensor

from minir1.config import UserError


def write(store_BSW: Tensor, new_BTW: Tensor, position_BT: Tensor) -> Tensor:
    """Put the entry of each new token into its row's store, at its position; return the store.

    The store is yours to change. Rows have their own positions: row 0 may be at 5 while row 1 is at
    9. An entry that is there already is overwritten.
    """
    raise UserError("task 4: write() in attention.py is not written yet")


def attend(
    query_BTHW: Tensor, stored_BSW: Tensor, position_BT: Tensor, rank: int, scale: float
) -> Tensor:
    """Attention of T new tokens with H heads over S stored entries: `[B, T, H, rank]`.

    Scores are scalar products of whole queries with whole entries, times `scale`. A query at
    position p sees the entries 0 .. p, no later one. Softmax over what it sees; the values are the
    first `rank` numbers of the entries.
    """
    raise UserError("task 4: attend() in attention.py is not written yet")
