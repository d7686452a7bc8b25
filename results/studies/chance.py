"""How likely does a base write what a policy has written? Exactly, not by samples.

    python results/studies/chance.py BASE POLICY 30,26,8,9,17 42 counts.jsonl

FILE is ask_more.py's, of the policy. For each response that is right by its thought: its chance at
T = 1 under both models, and the chance of its rarest token under the base.
"""

import argparse
import json
from pathlib import Path

import torch

from minir1.checkpoint import load_checkpoint
from minir1.console.flags import parts
from minir1.experiments.studies.create import thought_through
from minir1.model import token_logp
from minir1.tasks.countdown import Countdown
from minir1.transcript import prompt


@torch.no_grad()
def logp_of(path: Path, problem: Countdown, response: str) -> torch.Tensor:
    """Of each of the response's tokens, in nats."""
    model, tokenizer = load_checkpoint(path)
    question, answer = tokenizer.encode(prompt(problem.question())), tokenizer.encode(response)
    logp_BT, _ = token_logp(model, torch.tensor([question + answer]), 1.0)
    return logp_BT[0, -len(answer) :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("base", "policy"):
        parser.add_argument(name, type=Path)
    parser.add_argument("numbers", type=parts)
    parser.add_argument("target", type=int)
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    problem = Countdown(tuple(map(int, options.numbers)), options.target)
    lines = options.file.read_text(encoding="utf-8").splitlines()
    texts = {text for line in lines for text in json.loads(line)["texts"]}
    for text in sorted(text for text in texts if thought_through(problem, text)):
        base, policy = (logp_of(p, problem, text) for p in (options.base, options.policy))
        row = {
            "tokens": len(base), "base": base.sum().exp().item(),
            "policy": policy.sum().exp().item(), "rarest token": base.min().exp().item(),
            "text": text,
        }
        print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main()
