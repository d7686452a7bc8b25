"""Acceptance of the drafts of multi-token prediction, and what they gain on this machine.

    python results/mtp/measure.py results/mtp/cpu.json countdown:cpu 256 base=runs/base.pt ...

The arguments: a file for the figures, a kind of puzzle, a token limit, checkpoints with a block.
The last one is timed. Puzzles are from validation.
"""

import json
import sys
import time
from collections import Counter
from functools import partial
from statistics import median

import torch

from minir1.checkpoint import load_checkpoint
from minir1.rollout import roll_out, sampling
from minir1.sampler import Sampling, Stream, choose, sample, uniform
from minir1.tasks import draw_problems
from minir1.transcript import prompt
from minir1.variants import drafting

PUZZLES, STREAM = 256, Stream.of("mtp measure")
TIMED = {1: 15, 8: 5, 64: 3, 256: 3}  # rows at once: repetitions


def kind_of(text: str) -> str:
    if text.strip().isdigit():
        return "digits"
    return "operators" if set(text.strip()) & set("+-*/=()") else "words"


@torch.no_grad()
def drafts(model, row: int, asked: list[int], response: list[int], settings: Sampling):
    """For each token of a response but the first: whether its draft is right, when drawn with the
    token's uniform, and when the most probable is taken; and with which chance V3 accepts one."""
    ids_1T = torch.tensor([asked + response])
    place_N = torch.arange(1, len(response))
    hidden_BTD, _ = model.trunk(ids_1T[:, :-1])
    ahead_BTV, _ = model.mtp_logits(hidden_BTD[:, :-1], ids_1T[:, 1:-1])
    ahead_NV = ahead_BTV[0, len(asked) - 1 :, : settings.vocabulary]
    own_NV = model.logits(hidden_BTD)[0, len(asked) :, : settings.vocabulary]
    row_N = torch.full_like(place_N, row)
    drawn_N, _ = choose(ahead_NV, settings, row_N == row, uniform(STREAM.key, row_N, place_N))
    token_N = torch.tensor(response[1:])
    overlap_N = torch.minimum(ahead_NV.softmax(-1), own_NV.softmax(-1)).sum(-1)
    return {
        "same uniform": (drawn_N == token_N).tolist(),
        "most probable": (ahead_NV.argmax(-1) == token_N).tolist(),
        "by chance": overlap_N.tolist(),  # of temperature 1
    }


def acceptance(model, tokenizer, problems, settings: Sampling) -> dict[str, dict]:
    """Tokens by kind, and the share of them whose draft is accepted, by rule of drafting."""
    rolled = roll_out(model, tokenizer, problems, 1, settings, STREAM)
    tokens, rules = Counter(), {}
    for row, (asked, response) in enumerate(zip(rolled.prompt_ids, rolled.response_ids)):
        kinds = [kind_of(tokenizer.decode([id])) for id in response[1:]]
        tokens.update(kinds + ["all"] * len(kinds))
        for rule, right in drafts(model, row, asked, response, settings).items():
            counts = rules.setdefault(rule, Counter())
            for kind, one in zip(kinds, right):
                counts.update({kind: one, "all": one})
    shares = {rule: {kind: right[kind] / tokens[kind] for kind in tokens}
              for rule, right in rules.items()}
    return {"tokens": dict(tokens), "share": shares}


def decode(model, prompts, settings: Sampling) -> dict[str, float]:
    """Tokens of all responses, and the forward passes that each of them took, added up."""
    tokens = rows = 0
    for done in drafting.passes(model, prompts, 1, settings, STREAM):
        tokens += int(done.kept_B2.sum())
        rows += int(done.kept_B2[:, 0].sum())
    return {"tokens": tokens, "passes": rows, "tokens_a_pass": tokens / rows}


def seconds(work) -> float:
    """Of one core: other work on the machine does not count."""
    start = time.process_time()
    work()
    return time.process_time() - start


def speed(model, prompts, settings: Sampling, batch: int, repeats: int) -> dict[str, float]:
    """The same responses by the plain loop and by drafts, in turn: median seconds."""
    taken = {"plain": [], "drafts": []}
    for i in range(repeats):
        part = [prompts[(i * batch + b) % len(prompts)] for b in range(batch)]
        taken["plain"].append(seconds(partial(sample, model, part, 1, settings, STREAM)))
        taken["drafts"].append(seconds(partial(decode, model, part, settings)))
    gains = [plain / drafts for plain, drafts in zip(*taken.values())]
    rates = [decode(model, prompts[i * batch :][:batch], settings)["tokens_a_pass"]
             for i in range(min(repeats, max(1, len(prompts) // batch)))]
    row = {name: median(each) for name, each in taken.items()}
    return row | {"gain": median(gains), "tokens_a_pass": sum(rates) / len(rates)}


def main(out: str, task: str, limit: str, *checkpoints: str) -> None:
    problems = draw_problems((task,), ("en",), "validation", "mtp measure", PUZZLES)
    command = " ".join(["python", *sys.argv])
    results = {"command": command, "torch": torch.__version__, "puzzles": PUZZLES, "models": {}}
    for name, path in (each.split("=") for each in checkpoints):
        model, tokenizer = load_checkpoint(path)
        prompts = [tokenizer.encode(prompt(p.question())) for p in problems]
        for temperature in (1.0, 0.0):
            settings = sampling(tokenizer, int(limit), temperature)
            row = acceptance(model, tokenizer, problems, settings)
            row["decoding"] = decode(model, prompts, settings)
            results["models"].setdefault(name, {})[f"T{temperature:g}"] = row
            print(name, temperature, json.dumps(row), flush=True)
    settings = sampling(tokenizer, int(limit))
    results["speed"] = {}
    for batch, repeats in TIMED.items():
        row = results["speed"][f"rows_{batch}"] = speed(model, prompts, settings, batch, repeats)
        print(batch, row, flush=True)
    with open(out, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
