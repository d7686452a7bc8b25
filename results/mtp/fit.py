"""Give a shipped checkpoint the multi-token-prediction block that it lacks: all else stays frozen.

    python results/mtp/fit.py base-cpu.pt cpu 4_000_000 base.pt
    python results/mtp/fit.py zero-cpu.pt cpu 0 carried.pt --block base.pt
    python results/mtp/fit.py zero-cpu.pt cpu 1_500_000 own.pt --own --block base.pt

The block reads so many tokens of the preset's corpus or, with --own, of the model's own responses
to training puzzles. With --block it begins as that of another checkpoint of the same shape.
"""

import argparse
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import Config, replace
from minir1.data import find_checkpoint
from minir1.fast.accelerate import make_sampler
from minir1.fast.device import make_learner, pick_device
from minir1.model import Transformer
from minir1.presets import PRESETS
from minir1.rollout import roll_out, sampling
from minir1.run.phases import MiniWeb
from minir1.sampler import Stream, pad
from minir1.supervised import cosine
from minir1.tasks import draw_problems

BATCH, PEAK = 12_288, 4e-3  # tokens a step; learning rate


def with_block(model: Transformer) -> Transformer:
    """The same model with a block of random weights."""
    torch.manual_seed(0)
    larger = Transformer(replace(model.config, mtp=True))
    larger.load_state_dict(model.state_dict(), strict=False)
    return larger.eval()


def corpus_rows(config: Config, tokenizer, steps: int) -> Iterator[Tensor]:
    """`[rows, T]`, ids of the corpus that the preset's bases read."""
    width = config.pretrain.row_tokens
    for rows_BT in MiniWeb(config).batches(tokenizer, BATCH // width, width, 0, steps):
        yield torch.from_numpy(rows_BT)


def own_rows(config: Config, tokenizer, model: Transformer) -> Iterator[Tensor]:
    """`[rows, T]`, prompts and responses of the model at T = 1, padded with -100."""
    rl, device = config.rl, pick_device(Config(device="cpu"))
    sampler = make_sampler(model, device, config, tokenizer)
    settings = sampling(tokenizer, rl.max_tokens)
    for step in count():
        problems = draw_problems(rl.tasks, ("en",), "train", f"mtp fit {step}", 128)
        stream = Stream.of("mtp fit", step)
        rolled = roll_out(model, tokenizer, problems, 1, settings, stream, sampler)
        rows = [q + r for q, r in zip(rolled.prompt_ids, rolled.response_ids)]
        rows.sort(key=len)
        for i in range(0, len(rows), 64):
            yield pad(rows[i : i + 64], -100)


def fit(model: Transformer, rows: Iterator[Tensor], tokens: int) -> None:
    """Cross entropy of the token after the next; nothing but the block learns."""
    block = nn.ModuleList([model.mtp_norms, model.mtp_merge, model.mtp_block])
    learner = make_learner(block, 0.1, 1.0, pick_device(Config(device="cpu")), "muon")
    model.requires_grad_(False)
    block.requires_grad_(True)
    read, step = 0, 0
    for ids_BT in rows:
        known_BT = ids_BT.clamp(min=0)
        hidden_BTD, _ = model.trunk(known_BT[:, :-2])
        logits_BTV, _ = model.mtp_logits(hidden_BTD, known_BT[:, 1:-1])
        loss = F.cross_entropy(logits_BTV.flatten(0, 1), ids_BT[:, 2:].flatten())
        learner.backward(loss)
        learner.step(cosine(read, tokens, PEAK, 0.1, 0.02))
        read, step = read + int((ids_BT >= 0).sum()), step + 1
        if step % 20 == 0:
            print(f"{read / 1e6:.2f} M tokens, loss {loss.item():.3f}", flush=True)
        if read >= tokens:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("checkpoint")
    add("preset", choices=PRESETS)
    add("tokens", type=int)
    add("out", type=Path)
    add("--own", action="store_true", help="read the model's own responses")
    add("--block", help="take over the block of this checkpoint first")
    options = parser.parse_args()
    plain, tokenizer = load_checkpoint(find_checkpoint(options.checkpoint))
    model, config = with_block(plain), PRESETS[options.preset]
    if options.block:
        theirs = load_checkpoint(options.block)[0].state_dict()
        block = {name: weight for name, weight in theirs.items() if name.startswith("mtp_")}
        model.load_state_dict(block, strict=False)
    if options.own:
        fit(model, own_rows(config, tokenizer, plain), options.tokens)
    elif options.tokens:
        steps = -(-options.tokens // BATCH)
        fit(model, corpus_rows(config, tokenizer, steps), options.tokens)
    save_checkpoint(options.out, model, tokenizer)


if __name__ == "__main__":
    main()
