"""How likely does a base write what a policy has written? Exactly, not by samples.

    python results/studies/chance.py BASE POLICY 30,26,8,9,17 42 counts.jsonl

FILE is ask_more.py's, of the policy. For each response that is right by its thought: its chance at
T = 1 under both models; under the base that of its rarest token and of its rarest step (the tokens
of "8 + 26 = 34" multiplied); and the five tokens that gained most, as (what stands before, token,
chance under the base, under the policy). Then an estimate of the base's chance to think the puzzle
through in one of the policy's ways: importance sampling, the mean over the policy's samples of
base / policy for right thoughts, 0 for all others.
"""

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path

import torch

from minir1.checkpoint import load_checkpoint
from minir1.console.flags import parts
from minir1.experiments.studies.create import thought_through
from minir1.model import token_logp
from minir1.tasks.countdown import Countdown
from minir1.transcript import prompt

STEP = re.compile(r"\d+ [-+*/] \d+ = \d+")


@torch.no_grad()
def logp_of(asked: tuple, problem: Countdown, response: str) -> tuple[torch.Tensor, list[str]]:
    """Of each of the response's tokens, in nats; and the tokens. `asked`: model and tokenizer."""
    model, tokenizer = asked
    question, answer = tokenizer.encode(prompt(problem.question())), tokenizer.encode(response)
    logp_BT, _ = token_logp(model, torch.tensor([question + answer]), 1.0)
    return logp_BT[0, -len(answer) :], [tokenizer.decode([token]) for token in answer]


def rarest_step(logp_T: torch.Tensor, tokens: list[str]) -> tuple[float, str]:
    """The chance of the step that is least likely at its place, and the step."""
    ends = torch.tensor([len(token) for token in tokens]).cumsum(0)
    steps = []
    for match in STEP.finditer("".join(tokens)):
        within_T = (ends > match.start()) & (ends - ends.diff(prepend=ends[:1] * 0) < match.end())
        steps.append((logp_T[within_T].sum().exp().item(), match[0]))
    return min(steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("base", "policy"):
        parser.add_argument(name, type=Path)
    parser.add_argument("numbers", type=parts)
    parser.add_argument("target", type=int)
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    models = [load_checkpoint(path) for path in (options.base, options.policy)]
    problem = Countdown(tuple(map(int, options.numbers)), options.target)
    lines = options.file.read_text(encoding="utf-8").splitlines()
    rounds = [json.loads(line) for line in lines]
    drawn = Counter(text for row in rounds for text in row["texts"])
    samples, estimate = sum(row["samples"] for row in rounds), 0.0
    for text, times in sorted(drawn.items()):
        if not thought_through(problem, text):
            continue
        (base, tokens), (policy, _) = (logp_of(asked, problem, text) for asked in models)
        estimate += times / samples * (base.sum() - policy.sum()).exp().item()
        gained = [
            ("".join(tokens[:i])[-40:], tokens[i], base[i].exp().item(), policy[i].exp().item())
            for i in (policy - base).topk(5).indices.tolist()
        ]
        print(json.dumps({
            "tokens": len(base), "drawn": times, "base": base.sum().exp().item(),
            "policy": policy.sum().exp().item(), "rarest token": base.min().exp().item(),
            "rarest step": rarest_step(base, tokens),
            "gained most": gained, "text": text,
        }, ensure_ascii=False))
    if estimate > 1:
        sys.exit(f"{options.file} does not hold responses of {options.policy}")
    print(json.dumps({"samples": samples, "estimate": estimate}))


if __name__ == "__main__":
    main()
