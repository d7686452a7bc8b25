"""`python -m minir1 corpus`: the habits that a corpus really holds, measured on its text."""

import argparse
import json

from minir1.config import COUNT, LANGUAGES, apply
from minir1.console.errors import parse
from minir1.console.flags import Value, parts, seed, whole
from minir1.corpus.mixture import sample_text
from minir1.measure.behaviours import corpus_rates, table
from minir1.presets import PRESETS


def build_parser() -> argparse.ArgumentParser:
    about = "Measure the pretraining corpus."
    parser = argparse.ArgumentParser("minir1 corpus", description=about, allow_abbrev=False)
    add = parser.add_argument
    add("--preset", default="cpu", choices=tuple(PRESETS), help="whose corpus (default: cpu)")
    documents = "documents to measure (default: 20000)"
    add("--documents", type=Value(whole, COUNT), default=20_000, help=documents)
    instead = "en, zh or en,zh instead of the preset's"
    add("--languages", type=Value(parts, LANGUAGES), help=instead)
    add("--seed", type=seed, default=0, help="which documents (default: 0)")
    add("--json", action="store_true", help="print the rates as JSON, nothing else")
    return parser


def main(arguments: list[str]) -> None:
    """The rates of a preset's corpus, and some of its documents. Raises UserError."""
    arguments = parse(build_parser(), arguments)
    config = PRESETS[arguments.preset]
    if arguments.languages:
        config = apply(config, {"corpus.languages": arguments.languages})
    texts = sample_text(config.corpus, arguments.seed, arguments.documents)
    rates = corpus_rates(texts)
    if arguments.json:
        print(json.dumps(rates, indent=2, ensure_ascii=False))
        return
    of_what = f"the {arguments.preset} corpus, seed {arguments.seed}"
    print(f"{arguments.documents:,} documents of {of_what}\n\n{table(rates)}\n")
    for text in texts[:3]:
        print(f"{text}\n")
