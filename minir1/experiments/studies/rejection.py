"""Rejection sampling, then SFT: a base fine-tuned on its own right answers, a control of RL."""

import copy

import torch

from minir1.config import PretrainConfig, replace
from minir1.model import Transformer
from minir1.rollout import Rollouts, roll_out, sampling, to_batch
from minir1.run.phases import supervised_phase, training_problems
from minir1.run.session import Session
from minir1.sampler import Stream

EPOCHS = 2  # R1 report: SFT for 2 to 3 epochs

Example = tuple[list[int], list[int]]  # ids of a prompt, and of a response


def right_answers(session: Session, base: Transformer) -> list[Example]:
    """The base's right answers among as many samples as RL would draw, on RL's own problems."""
    config, rl, examples = session.config, session.config.rl, []
    sampler = session.sampler(base)
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
    evaluator = session.evaluator(session.sampler(model))
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
