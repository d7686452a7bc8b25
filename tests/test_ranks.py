"""Several processes, one step: their sums equal those of one process."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from minir1.config import ModelConfig, RLConfig
from minir1.fast.ranks import Ranks
from minir1.grpo import Total, grpo_loss
from minir1.model import Transformer, token_logp

TINY = ModelConfig(
    vocab_size=32, width=16, layers=2, heads=2, kv_rank=8, nope_width=8, value_width=8,
    dense_width=24, experts=3, top_k=2, expert_width=8, mtp=True,
)
ROWS, T = 5, 9


def gradients(ranks: Ranks, shares: list[list[int]]) -> dict:
    """Counts, and gradients by name, of GRPO's loss on this rank's share of five responses."""
    torch.manual_seed(0)
    model = Transformer(TINY)
    ids_BT = torch.randint(TINY.vocab_size, (ROWS, T + 1))
    adv_B = torch.randn(ROWS)
    mask_BT = torch.arange(T) < torch.tensor([9, 2, 5, 1, 7])[:, None]
    rows = shares[ranks.rank]
    total = Total(*ranks.sum(int(mask_BT[rows].sum()), len(rows)))
    if rows:
        logp_BT, _ = token_logp(model, ids_BT[rows])
        case = (logp_BT, logp_BT.detach(), adv_B[rows], mask_BT[rows], total, RLConfig())
        grpo_loss(*case)[0].backward()
    ranks.reduce(model.parameters())
    return {"total": total, **{name: p.grad for name, p in model.named_parameters()}}


def work(rank: int, folder: str, shares: list[list[int]]) -> None:
    torch.set_num_threads(1)
    where = {"init_method": f"file://{folder}/meeting", "rank": rank, "world_size": 2}
    dist.init_process_group("gloo", **where)
    assert vars(Ranks.current()) == {"rank": rank, "size": 2}
    torch.save(gradients(Ranks.current(), shares), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("shares", [[[0, 3], [1, 2, 4]], [[0, 1, 2, 3, 4], []]], ids=str)
def test_two_processes_sum_to_what_one_computes(shares, tmp_path):
    """Unequal shares, and a rank without rows; what nobody trains (mtp) keeps no gradient."""
    alone = gradients(Ranks.single(), [list(range(ROWS))])
    assert alone["total"] == Total(24, 5) and alone["embed.weight"].abs().max() > 1e-3
    assert alone["mtp_merge.weight"] is None
    mp.spawn(work, (str(tmp_path), shares), nprocs=2)
    for rank in range(2):
        summed = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        assert summed.keys() == alone.keys() and summed["total"] == alone["total"]
        assert all(type(count) is int for count in summed["total"])
        for name, grad in list(alone.items())[1:]:
            assert (summed[name] is None) == (grad is None), name
            if grad is not None:
                torch.testing.assert_close(summed[name], grad, rtol=1e-6, atol=1e-6)


def test_a_single_rank_sends_nothing(monkeypatch):
    monkeypatch.setattr(dist, "all_reduce", lambda *_: pytest.fail("something was sent"))
    ranks, parameter = Ranks.current(), torch.nn.Parameter(torch.ones(2))
    assert vars(ranks) == vars(Ranks.single()) == {"rank": 0, "size": 1}
    parameter.grad = grad = torch.ones(2)
    ranks.reduce([parameter])
    assert parameter.grad is grad and ranks.sum(2, 0.5) == (2, 0.5)
