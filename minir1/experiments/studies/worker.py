"""One run of a study, in a process of its own: python -m minir1.experiments.studies.worker RUN WRITERS, where RUN holds spec.json and
WRITERS processes write the corpus (if the flags say nothing else).

A run goes through train_zero's functions under its hooks, then is measured once on the test problems. A run that was
stopped goes on from its last checkpoint. Writes RUN/result.json.
"""

import copy
import json
import sys
from pathlib import Path

import torch

import minir1

sys.path.insert(0, str(Path(minir1.__file__).parent.parent))  # train_zero.py stands beside the package

import train_zero  # noqa: E402
from minir1.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from minir1.config import PretrainConfig, replace  # noqa: E402
from minir1.console.errors import guard  # noqa: E402
from minir1.console.files import write_text  # noqa: E402
from minir1.corpus.mixture import sample_text  # noqa: E402
from minir1.experiments.studies import corpora as study_corpus  # noqa: E402
from minir1.experiments.studies.hooks import hooked  # noqa: E402
from minir1.experiments.tables.problems import one_number_more  # noqa: E402
from minir1.fast.accelerate import accelerate, make_sampler  # noqa: E402
from minir1.fast.device import make_learner  # noqa: E402
from minir1.measure.behaviours import corpus_rates  # noqa: E402
from minir1.measure.evaluator import blind, blind_hit_rates, draw_problems, outcome, sampling  # noqa: E402
from minir1.measure.lookahead import lookahead  # noqa: E402
from minir1.rollout import Rollouts, roll_out, to_batch  # noqa: E402
from minir1.run.session import Session  # noqa: E402
from minir1.supervised import train_supervised  # noqa: E402
from minir1.transcript import ANSWER  # noqa: E402

EPOCHS = 2  # R1 report: SFT for 2 to 3 epochs

# ---------------------------------------------------------------- rejection sampling, then SFT


def right_answers(session: Session, base) -> list[tuple[list[int], list[int]]]:
    """(prompt, response) ids of the base's right answers among as many samples as RL would draw, on RL's own problems."""
    rl, kept = session.config.rl, []
    sampler, settings = make_sampler(base, session.device, session.config), sampling(session.tokenizer, rl.max_tokens, rl.temperature)
    for step in range(rl.steps):
        key = f"{session.config.seed} rl {step}"
        problems = draw_problems(rl.tasks, session.config.corpus.languages, "train", key, rl.prompts)
        generator = torch.Generator(session.device.name).manual_seed(session.config.seed * 1_000_003 + step)
        rollouts = roll_out(base, session.tokenizer, problems, rl.group_size, settings, generator, sampler)
        rows = [row for row, reward in enumerate(rollouts.rewards) if reward.accuracy]
        kept += [(rollouts.prompt_ids[row // rollouts.group], rollouts.response_ids[row]) for row in rows]
        session.run.log("rejection", step=step + 1, right=len(rows), samples=len(rollouts.texts))
    return kept


def rejection_sft(session: Session, base) -> torch.nn.Module:
    """The base fine-tuned on its own right answers; validated before, half way and after."""
    examples, rl = right_answers(session, base), session.config.rl
    model, generator = copy.deepcopy(base), torch.Generator().manual_seed(session.config.seed)
    order = torch.cat([torch.randperm(len(examples), generator=generator) for _ in range(EPOCHS)]).tolist()
    rows = rl.prompts * rl.group_size // rl.minibatches
    parts = [[examples[i] for i in order[first : first + rows]] for first in range(0, len(order), rows)]
    settings = replace(PretrainConfig(), lr=rl.lr, warmup=0.05)
    evaluator = session.evaluator(make_sampler(model, session.device, session.config))
    validation = session.problems("validation", session.config.eval.validation)

    def on_step(step) -> None:
        session.run.log("sft", step=step.step + 1, loss=step.loss, lr=step.lr)
        if step.step + 1 in (len(parts) // 2, len(parts)):
            found = evaluator.examine(model, validation, seed=step.step + 1)
            session.run.log("validate", step=(step.step + 1) * rl.steps // len(parts), **found)

    session.run.log("validate", step=0, **evaluator.examine(base, validation))
    with accelerate(model, session.device):
        batches = (_batch(part, session.tokenizer.pad, session.device.name) for part in parts)
        train_supervised(model, make_learner(model, 0.0, rl.clip, session.device), batches, settings, len(parts), on_step)
    return model.eval()


def _batch(part: list, pad_id: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids `[B, T + 1]`, and the mask `[B, T]` of the tokens that were sampled."""
    prompts, responses = [p for p, _ in part], [r for _, r in part]
    zeros = [torch.zeros(len(r)) for r in responses]
    batch = to_batch(Rollouts([], 1, prompts, responses, zeros, [], [], []), pad_id, device)
    return batch.ids_BT, batch.mask_BT


# ---------------------------------------------------------------- measuring


def references(session: Session, base) -> dict:
    """What an accuracy is shown beside; no training."""
    config, e = session.config, session.config.eval
    problems, evaluator = session.problems("test", e.problems), session.evaluator(make_sampler(base, session.device, session.config))
    some = problems[: e.many]
    return {
        "base": evaluator.examine(base, problems),
        "blind_tokens": blind(problems, session.tokenizer, config.rl.max_tokens),
        "blind_hit_rates": blind_hit_rates(problems),
        "lookahead": lookahead(problems, session.tokenizer, config.rl.max_tokens),
        "forced_base": evaluator.forced(base, some),
        "pass64_base": evaluator.pass_at_any(base, some[: max(1, len(some) // 4)]),
    }


def figures(session: Session, base, model, spec: dict) -> dict:
    """Base and policy on the test problems, and on puzzles with one number more than any it has practised."""
    config, start = session.config, ANSWER if spec["kind"] == "answer_only" else ""
    problems, evaluator = session.problems("test", config.eval.problems), session.evaluator(make_sampler(base, session.device, session.config))
    more = one_number_more(config.rl.tasks, "test", config.eval.many)
    found = {name: outcome(evaluator.roll(m, problems, prefix=start)) for name, m in (("base", base), ("zero", model))}
    found["more_numbers"] = {name: outcome(evaluator.roll(m, more, prefix=start)) for name, m in (("base", base), ("zero", model))}
    found["more_numbers"]["blind"] = blind(more, session.tokenizer, config.rl.max_tokens)
    return found | {"corpus": measured_corpus(session, spec)}


def measured_corpus(session: Session, spec: dict) -> dict:
    """The rates of the corpus that the base has read, on 4,000 documents; {} for a shipped base."""
    if not session.config.from_scratch:
        return {}
    plan = spec["hooks"].get("corpus")
    texts = study_corpus.sample(plan, session.config.corpus, 0, 4000) if plan else sample_text(session.config.corpus, 0, 4000)
    rates = corpus_rates(texts)
    return rates | {"dose": rates.get("retrying", 0.0) * (1 - rates.get("direct", 0.0))}


# ---------------------------------------------------------------- one run


def work(session: Session, spec: dict) -> dict:
    """Train and measure; phases that are done are not done again."""
    session.once("pretrain", lambda: train_zero.base_model(session) and None)
    base, steps = train_zero.base_model(session), session.config.rl.steps
    if spec["kind"] == "references":
        return session.once("test", lambda: references(session, base))
    if spec["kind"] == "rejection_sft":
        path = session.run.checkpoints / "zero.pt"
        session.once("rl", lambda: save_checkpoint(path, rejection_sft(session, base), session.tokenizer))
        model = load_checkpoint(path, session.device.name)[0]
    else:
        think = spec["kind"] == "rl"
        model = train_zero.policy(session, base, "rl" if think else "answer_only", think, steps)
    return session.once("test", lambda: figures(session, base, model, spec))


def main(arguments: list[str]) -> None:
    run, writers = Path(arguments[0]), arguments[1]
    spec = json.loads((run / "spec.json").read_text(encoding="utf-8"))
    started = (run / "config.json").is_file()
    flags = [text for name, value in ({"corpus.workers": writers} | spec["flags"]).items() for text in (f"--{name}", str(value))]
    with hooked(spec["hooks"]):
        session = Session.open(["--resume", str(run)] if started else [*flags, "--seed", str(spec["seed"]), "--out", str(run)])
        found = work(session, spec)
    seconds = {name: phase["seconds"] for name, phase in session.run.progress.items() if isinstance(phase, dict)}
    result = {"device": str(session.device), "seconds": seconds, **found}
    write_text(run / "result.json", json.dumps(result, indent=1, ensure_ascii=False))
    (session.run.checkpoints / "state.pt").unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(guard(main, sys.argv[1:], "study_worker"))
