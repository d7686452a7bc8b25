"""`python -m minir1 corpus`: the habits that a corpus really holds, measured on its text."""

import json
import re
from collections.abc import Iterable

from minir1.config import apply
from minir1.console.errors import make_parser, parse
from minir1.console.flags import count, languages, seed
from minir1.corpus.mixture import sample_text
from minir1.measure.behaviours import corpus_rates, table
from minir1.presets import PRESETS
from minir1.tasks import draw_problems, parse_tasks
from minir1.tasks.arithmetic import canonical

_STEP = re.compile(r"(?<![0-9])([0-9]+) ([-+*]) ([0-9]+) = ")


def worked_in(texts: Iterable[str], kinds: Iterable[str], count: int = 512) -> dict[str, float]:
    """Of each kind of sum the share of its test questions that stand in the texts as a worked step.

    Held out are questions. Their operands may still meet in a thought, in either order.

    >>> worked_in(["<think>7 + 5 = 12, no</think>"], ["2d+"])
    {'2d+': 0.0}
    """
    steps = {match for text in texts for match in _STEP.findall(text)}
    keys = {canonical([int(a), operator, int(b)]) for a, operator, b in steps}
    shares = {}
    for kind in kinds:
        asked = draw_problems((f"arithmetic:{kind}=1",), ("en",), "test", f"test {kind}", count)
        shares[kind] = sum(problem.key in keys for problem in asked) / count
    return shares


def main(arguments: list[str]) -> None:
    """The rates of a preset's corpus, and some of its documents. Raises UserError."""
    parser, add = make_parser("corpus", "Measure the pretraining corpus.", allow_abbrev=False)
    add("--preset", default="cpu", choices=tuple(PRESETS), help="whose corpus (default: cpu)")
    add("--documents", type=count, default=20_000, help="documents to measure (default: 20000)")
    add("--languages", type=languages, help="en, zh or en,zh instead of the preset's")
    add("--seed", type=seed, default=0, help="which documents (default: 0)")
    add("--json", action="store_true", help="print the rates as JSON, nothing else")
    arguments = parse(parser, arguments)
    config = PRESETS[arguments.preset]
    if arguments.languages:
        config = apply(config, {"corpus.languages": arguments.languages})
    texts = sample_text(config.corpus, arguments.seed, arguments.documents)
    rates = corpus_rates(texts)
    practised = parse_tasks(config.rl.tasks)
    kinds = [kind for task, kind, _ in practised if task == "arithmetic"]
    if kinds:
        rates["test_questions_worked"] = worked_in(texts, kinds)
    if arguments.json:
        print(json.dumps(rates, indent=2, ensure_ascii=False))
        return
    of_what = f"the {arguments.preset} corpus, seed {arguments.seed}"
    worked = rates.pop("test_questions_worked", {})
    print(f"{arguments.documents:,} documents of {of_what}\n\n{table(rates)}\n")
    if worked:
        shares = ", ".join(f"{kind} {share:.0%}" for kind, share in worked.items())
        print(f"test questions that stand somewhere as a worked step: {shares}\n")
    for text in texts[:3]:
        print(f"{text}\n")
