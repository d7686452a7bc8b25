"""One run of a study, in a process of its own.

    python -m minir1.experiments.studies.worker RUN WRITERS

RUN holds spec.json; WRITERS processes write the corpus (if the flags say nothing else). A run goes
through train_zero's functions with its hooks, then is measured once on the test problems. A run
that was stopped goes on from its last checkpoint. Writes RUN/result.json.
"""

import copy
import json
import sys
from functools import partial
from pathlib import Path

import torch

from minir1.config import PretrainConfig, replace
from minir1.console.errors import guard
from minir1.console.files import read_object, write_text
from minir1.corpus.mixture import sample_text
from minir1.experiments.studies import corpora
from minir1.experiments.studies.hooks import parts_of
from minir1.experiments.tables.problems import one_number_more
from minir1.fast.accelerate import make_sampler
from minir1.measure.baselines import blind, blind_hit_rates, lookahead
from minir1.measure.behaviours import corpus_rates
from minir1.measure.evaluator import outcome
from minir1.model import Transformer
from minir1.rollout import Rollouts, roll_out, sampling, to_batch
from minir1.run.phases import MiniWeb, supervised_phase, training_problems
from minir1.run.session import Session
from minir1.sampler import Stream
from minir1.transcript import ANSWER
from train_zero import answer_only, base_model, r1_zero

EPOCHS = 2  # R1 report: SFT for 2 to 3 epochs

# ---------------------------------------------------------------- rejection sampling, then SFT

Example = tuple[list[int], list[int]]  # ids of a prompt, and of a response


def right_answers(session: Session, base: Transformer) -> list[Example]:
    """The base's right answers among as many samples as RL would draw, on RL's own problems."""
    config, rl, examples = session.config, session.config.rl, []
    sampler = make_sampler(base, session.device, config)
    settings = sampling(session.tokenizer, rl.max_tokens, rl.temperature)
    draw = training_problems(config, rl, "rl")
    for step in range(rl.steps):
        function, arguments = draw(step)
        how = (rl.group_size, settings, Stream.of("rl", config.seed, step), sampler)
        rollouts = roll_out(base, session.tokenizer, function(*arguments), *how)
        rows = [row for row, reward in enumerate(rollouts.rewards) if reward.accuracy]
        for row in rows:
            prompt = rollouts.prompt_ids[row // rollouts.group]
            examples.append((prompt, rollouts.response_ids[row]))
        session.run.log("rejection", step=step + 1, right=len(rows), samples=len(rollouts.texts))
    return examples


def rejection_sft(session: Session, base: Transformer) -> Transformer:
    """The base fine-tuned on its own right answers; validated before, half way and after."""
    examples, rl, device = right_answers(session, base), session.config.rl, session.device
    model = copy.deepcopy(base)
    generator = torch.Generator().manual_seed(session.config.seed)
    orders = [torch.randperm(len(examples), generator=generator) for _ in range(EPOCHS)]
    order = torch.cat(orders).tolist()
    rows = rl.prompts * rl.group_size // rl.minibatches
    batches = [[examples[i] for i in order[a : a + rows]] for a in range(0, len(order), rows)]
    evaluator = session.evaluator(make_sampler(model, device, session.config))
    validation = session.problems("validation", session.config.eval.validation)

    def validate(step: int, model: Transformer) -> None:
        figures = evaluator.examine(model, validation, seed=step)
        session.run.log("validate", step=step * rl.steps // len(batches), **figures)

    def after(step, model: Transformer) -> None:
        if step.step + 1 in (len(batches) // 2, len(batches)):
            validate(step.step + 1, model)

    def source(first: int):
        return (_batch(part, session.tokenizer.pad, device.name) for part in batches[first:])

    session.run.log("validate", step=0, **evaluator.examine(base, validation))
    config = replace(
        PretrainConfig(), lr=rl.lr, warmup=0.05, weight_decay=0.0, clip=rl.clip, optimizer="adamw"
    )
    return supervised_phase(session, model, "sft", config, len(batches), source, after=after)


def _batch(part: list[Example], pad_id: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids `[B, T + 1]`, and the mask `[B, T]` of the tokens that were sampled."""
    prompts, responses = [p for p, _ in part], [r for _, r in part]
    zeros = [torch.zeros(len(r)) for r in responses]
    batch = to_batch(Rollouts([], 1, prompts, responses, zeros, [], [], []), pad_id, device)
    return batch.ids_BT, batch.mask_BT


# ---------------------------------------------------------------- measuring


def references(session: Session, base: Transformer) -> dict:
    """What an accuracy is shown beside; no training."""
    config, tokenizer = session.config, session.tokenizer
    problems = session.problems("test", config.eval.problems)
    evaluator = session.evaluator(make_sampler(base, session.device, config))
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
    evaluator = session.evaluator(make_sampler(base, session.device, config))
    more = one_number_more(config.rl.tasks, "test", config.eval.many)

    def measured(problems: list) -> dict:
        models = {"base": base, "zero": model}
        return {n: outcome(evaluator.roll(m, problems, prefix=prefix)) for n, m in models.items()}

    budget = config.rl.max_tokens
    result = measured(problems)
    result["more_numbers"] = measured(more)
    if lines := blind(more, session.tokenizer, budget):
        result["more_numbers"]["blind"] = lines
    return result | {"corpus": measured_corpus(session, spec)}


def measured_corpus(session: Session, spec: dict) -> dict:
    """The rates of the corpus that the base has read, on 4,000 documents; {} for a shipped base."""
    config = session.config
    if not config.from_scratch:
        return {}
    plan = spec["hooks"].get("corpus")
    sample = partial(corpora.sample, plan) if plan else sample_text
    rates = corpus_rates(sample(config.corpus, 0, 4000))
    dose = rates.get("retrying", 0.0) * (1 - rates.get("direct", 0.0))
    return rates | {"dose": dose}


# ---------------------------------------------------------------- one run


def reader(session: Session, spec: dict) -> MiniWeb:
    """The corpus of a variant: the mini-web, or another writer of it (corpora.WRITERS)."""
    plan = spec["hooks"].get("corpus")
    if plan is None:
        return MiniWeb(session.config)
    sample, shard = partial(corpora.sample, plan), partial(corpora.shard, plan)
    return MiniWeb(session.config, sample, shard)


def work(session: Session, spec: dict) -> dict:
    """Train and measure; phases that are done are not done again."""
    kind, parts, steps = spec["kind"], parts_of(spec["hooks"]), session.config.rl.steps
    read = lambda: base_model(session, reader(session, spec))  # noqa: E731
    base = session.load_or_make("pretrain", read, "base")
    if kind == "references":
        return session.once("test", lambda: references(session, base))
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
    seconds = {}
    for name, phase in session.run.progress.items():
        if isinstance(phase, dict):
            seconds[name] = phase["seconds"]
    result = {"device": str(session.device), "seconds": seconds, **measured}
    write_text(run / "result.json", json.dumps(result, indent=1, ensure_ascii=False))
    (session.run.checkpoints / "state.pt").unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(guard(main, sys.argv[1:], "study_worker"))
