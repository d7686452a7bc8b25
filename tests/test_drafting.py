"""Drafts change how many forward passes a response takes, never a token of it."""

from dataclasses import replace

import pytest
import torch

from minir1.config import ModelConfig
from minir1.model import Transformer
from minir1.sampler import Sampling, Stream, sample
from minir1.variants import drafting

torch.set_num_threads(1)

MLA = ModelConfig(
    vocab_size=12, width=16, layers=2, heads=2, kv_rank=8, nope_width=4, rope_width=4,
    value_width=4, dense_width=24, experts=4, top_k=2, expert_width=8, positions=49, init_std=0.3,
    mtp=True,
)
GQA = replace(MLA, attention="gqa", heads=4, kv_heads=2, head_width=8, experts=0)
PROMPTS = [[3, 4, 5, 6, 7, 8, 9, 1, 2], [10, 11], [6], [3, 4, 5, 6], [7, 3, 3], [9, 8], [2, 1]]
STREAM = Stream.of("test drafting")


def random_model(config: ModelConfig) -> Transformer:
    torch.manual_seed(0)
    return Transformer(config).double().eval()


def responses(model, prompts, group, *how) -> list[list[int]]:
    rows = [[] for _ in range(len(prompts) * group)]
    for done in drafting.passes(model, prompts, group, *how):
        tokens = zip(done.row_B, done.place_B, done.token_B2.tolist(), done.kept_B2.tolist())
        for row, place, pair, kept in tokens:
            assert place == len(rows[row])
            rows[row] += [token for token, is_kept in zip(pair, kept) if is_kept]
    return rows


@pytest.mark.parametrize("temperature, top_p", [(1.0, 1.0), (0.0, 1.0), (0.7, 0.8)])
@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("config", [MLA, GQA], ids=["mla", "gqa"])
def test_responses_are_the_samplers_token_for_token(config, batch, temperature, top_p):
    model = random_model(config)
    prompts = {1: PROMPTS[2:3], 7: PROMPTS, 64: [*PROMPTS, [5]]}[batch]
    settings = Sampling(40, (1, 2), temperature, top_p, vocabulary=11)
    how = (model, prompts, batch // len(prompts), settings, STREAM.after(5))
    plain = sample(*how)
    rows = zip(plain.ids_BT.tolist(), plain.length_B.tolist())
    assert responses(*how) == [row[:length] for row, length in rows]
    if temperature == 1 and batch == 64:  # ended and cut off, right drafts and wrong ones
        assert 0 < plain.stopped_B.sum() < batch
        agree = torch.cat([p.agrees_B[p.kept_B2[:, 0]] for p in drafting.passes(*how)])
        assert 0 < agree.sum() < len(agree)
        left = [done.kept_B2[:, 0].float().mean() for done in drafting.passes(*how)]
        assert min(left) >= 0.7  # rows that have ended are not computed for long


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_drafts_are_those_of_the_block_without_a_cache(temperature):
    """A wrong cache of the block would cost passes only: no response would show it."""
    model = random_model(MLA)
    settings = Sampling(40, (1,), temperature)
    how = (model, PROMPTS, 2, settings, STREAM)
    samples = sample(*how)
    for done in drafting.passes(*how):
        for b, row in enumerate(done.row_B.tolist()):
            place = int(done.place_B[b])
            if place == 0 or not done.kept_B2[b, 0]:
                continue
            ids = torch.tensor([PROMPTS[row // 2] + samples.ids_BT[row, :place].tolist()])
            hidden_BTD, _ = model.trunk(ids[:, :-1])
            logits_B1V = model.mtp_logits(hidden_BTD, ids[:, 1:])[0][:, -1:]
            place_B = torch.tensor([place])
            draft = drafting.draw(logits_B1V, settings, STREAM, torch.tensor([row]), place_B)
            assert done.agrees_B[b] == (draft[0, 0] == done.token_B2[b, 0])
