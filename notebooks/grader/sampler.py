"""What the puzzles of notebook 04 ask for (the sampler), as obvious loops. (Spoilers.)"""

import math
from random import Random

import torch
from torch import Tensor

from grader.draw import Puzzle, normal


def cooled(logits_V: Tensor, temperature: float) -> Tensor:
    raised = [math.exp(logit / temperature) for logit in logits_V.tolist()]
    total = sum(raised)
    return torch.tensor([math.log(x / total) for x in raised])


def draw_token(p_V: Tensor, u: float) -> int:
    right = 0.0
    for index, p in enumerate(p_V.tolist()):
        right += p
        if u < right:
            return index
    return len(p_V) - 1


def nucleus(p_V: Tensor, top_p: float) -> Tensor:
    kept, reached = [0.0] * len(p_V), 0.0
    for index in sorted(range(len(p_V)), key=lambda i: -float(p_V[i])):
        if reached < top_p:
            kept[index] = float(p_V[index])
            reached += kept[index]
    return torch.tensor([p / reached for p in kept])


def cut_at_stop(ids: list[int], stop_ids: tuple[int, ...], max_tokens: int) -> tuple[int, bool]:
    length = 0
    for token in ids:
        if length == max_tokens:
            break
        length += 1
        if token in stop_ids:
            return length, True
    return length, False


def slot_steps(lengths: list[int], slots: int) -> int:
    waiting, left, steps = list(lengths), [0] * slots, 0
    while True:
        for slot in range(slots):
            if left[slot] == 0 and waiting:
                left[slot] = waiting.pop(0)
        if not any(left):
            return steps
        left = [max(0, n - 1) for n in left]
        steps += 1


def action_mask(prompt_length: int, response_length: int, width: int) -> list[bool]:
    mask = []
    for position in range(width):
        following = position + 1
        mask.append(prompt_length <= following < prompt_length + response_length)
    return mask


def _chances(rng: Random) -> Tensor:
    """Of random tokens, or sixteenths: sums of those are exact, so that a dart may hit a border."""
    p_V = normal(rng, rng.randint(2, 6), scale=1.5).softmax(-1)
    return p_V if rng.random() < 0.6 else torch.tensor(rng.sample((8, 4, 3, 1), 4)) / 16


def _draw_chances(rng: Random) -> tuple:
    return _chances(rng), rng.choice((rng.random(), rng.randint(0, 15) / 16))


def _draw_nucleus(rng: Random) -> tuple:
    return _chances(rng), rng.choice((rng.uniform(0.2, 0.98), 0.5, 0.75))


def _draw_ids(rng: Random) -> tuple:
    most = rng.randint(1, 6)
    return rng.choices(range(6), k=most + rng.randint(0, 3)), rng.choice(((0,), (0, 1))), most


def _draw_slots(rng: Random) -> tuple:
    return [rng.choice((1, 2, 3, 9)) for _ in range(rng.randint(0, 9))], rng.randint(1, 4)


def _draw_mask(rng: Random) -> tuple:
    start, length = rng.randint(1, 4), rng.randint(1, 4)
    return start, length, start + length - 1 + rng.randint(0, 3)


_BEYOND = {
    "rounding: the pieces add up to less than 1, the last token gets the rest": (
        torch.tensor([0.226, 0.329, 0.072, 0.035, 0.337]),
        0.9995,
    ),
    "the dart lies at 0, and the first piece is empty": (torch.tensor([0.0, 0.5, 0.5]), 0.0),
}
_WHOLE = {
    "everything is kept": (torch.tensor([8, 4, 3, 1]) / 16, 1.0),
    "one token is enough": (torch.tensor([1, 8, 4, 3]) / 16, 0.1),
}
_LAST = {
    "it stops with the last token allowed": ([5, 4, 0], (0,), 3),
    "it stops one token too late": ([5, 4, 3, 0], (0,), 3),
    "it stops at once": ([0, 0], (0,), 2),
}
_SLOTS = {"nothing to do": ([], 3), "more slots than responses": ([4, 2], 5)}

PUZZLES = {
    "04.cooled": Puzzle(cooled, lambda rng: (normal(rng, rng.randint(2, 5)), rng.uniform(0.3, 3))),
    "04.draw_token": Puzzle(draw_token, _draw_chances, _BEYOND),
    "04.nucleus": Puzzle(nucleus, _draw_nucleus, _WHOLE),
    "04.cut_at_stop": Puzzle(cut_at_stop, _draw_ids, _LAST),
    "04.slot_steps": Puzzle(slot_steps, _draw_slots, _SLOTS),
    "04.action_mask": Puzzle(action_mask, _draw_mask),
}
