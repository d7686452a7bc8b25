"""One run of a study, in a process of its own.

    python -m minir1.experiments.studies.worker RUN WRITERS

RUN holds spec.json; WRITERS processes write the corpus (if the flags say nothing else). A run goes
through train_zero's functions with its hooks, then is measured once on the test problems. A run
that was stopped goes on from its last checkpoint. Writes RUN/result.json.
"""

import sys
from pathlib import Path

from minir1.console.errors import guard
from minir1.console.files import read_object, write_json
from minir1.experiments.studies.corpora import reader
from minir1.experiments.studies.create import cells
from minir1.experiments.studies.hooks import parts_of
from minir1.experiments.studies.rejection import rejection_sft
from minir1.experiments.tables.problems import one_number_more
from minir1.measure.baselines import blind, blind_hit_rates, lookahead
from minir1.measure.behaviours import corpus_rates
from minir1.measure.evaluator import outcome
from minir1.model import Transformer
from minir1.run.session import Session
from minir1.transcript import ANSWER
from train_zero import answer_only, base_model, r1_zero


def references(session: Session, base: Transformer) -> dict:
    """What an accuracy is shown beside; no training."""
    config, tokenizer = session.config, session.tokenizer
    problems = session.problems("test", config.eval.problems)
    evaluator = session.evaluator(session.sampler(base))
    some, budget = problems[: config.eval.many], config.rl.max_tokens
    lines = {
        "base": evaluator.examine(base, problems),
        "blind_tokens": blind(problems, tokenizer, budget),
        "blind_hit_rates": blind_hit_rates(problems),
        "lookahead": lookahead(problems, tokenizer, budget),
        "forced_base": evaluator.forced(base, some),
        "pass64_base": evaluator.pass_at_any(base, some[: max(1, len(some) // 4)]),
    }
    return {name: line for name, line in lines.items() if line != {}}  # {}: it does not apply


def figures(session: Session, base: Transformer, model: Transformer, spec: dict) -> dict:
    """Base and policy on the test problems, and on puzzles with one number more than practised."""
    config = session.config
    prefix = ANSWER if spec["kind"] == "answer_only" else spec["hooks"].get("prefix", "")
    problems = session.problems("test", config.eval.problems)
    evaluator = session.evaluator(session.sampler(base))
    more = one_number_more(config.rl.tasks, "test", config.eval.many)

    def measured(problems: list) -> dict:
        models = {"base": base, "zero": model}
        return {n: outcome(evaluator.roll(m, problems, prefix=prefix)) for n, m in models.items()}

    result = measured(problems)
    result["more_numbers"] = measured(more)
    if lines := blind(more, session.tokenizer, config.rl.max_tokens):
        result["more_numbers"]["blind"] = lines
    return result | {"corpus": measured_corpus(session, spec)}


def measured_corpus(session: Session, spec: dict) -> dict:
    """The rates of the corpus that the base has read, on 4,000 documents; {} for a shipped base."""
    config = session.config
    if not config.from_scratch:
        return {}
    rates = corpus_rates(reader(session, spec["hooks"]).sample(config.corpus, 0, 4000))
    dose = rates.get("retrying", 0.0) * (1 - rates.get("direct", 0.0))
    return rates | {"dose": dose}


def work(session: Session, spec: dict) -> dict:
    """Train and measure; phases that are done are not done again."""
    kind, parts, steps = spec["kind"], parts_of(spec["hooks"]), session.config.rl.steps
    read = lambda: base_model(session, reader(session, spec["hooks"]))  # noqa: E731
    base = session.load_or_make("pretrain", read, "base")
    if kind == "references":
        return session.once("test", lambda: references(session, base))
    if "arms" in spec["hooks"]:
        return cells(session, base, spec["hooks"])
    train = {
        "rl": lambda: r1_zero(session, base, parts),
        "answer_only": lambda: answer_only(session, base, steps),
        "rejection_sft": lambda: rejection_sft(session, base),
    }[kind]
    phase = "answer_only" if kind == "answer_only" else "rl"
    model = session.load_or_make(phase, train, "zero" if phase == "rl" else "")
    return session.once("test", lambda: figures(session, base, model, spec))


def main(arguments: list[str]) -> None:
    run, writers = Path(arguments[0]), arguments[1]
    spec = read_object(run / "spec.json")
    if (run / "config.json").is_file():
        command = ["--resume", str(run)]
    else:
        command = ["--seed", str(spec["seed"]), "--out", str(run)]
        for name, value in ({"corpus.workers": writers} | spec["flags"]).items():
            command += [f"--{name}", str(value)]
    session = Session.open(command)
    measured = work(session, spec)
    result = {"device": str(session.device), "seconds": session.run.seconds(), **measured}
    write_json(run / "result.json", result)
    (session.run.checkpoints / "state.pt").unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(guard(main, sys.argv[1:], "study_worker"))
