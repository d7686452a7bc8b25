"""What each puzzle of the notebooks asks for, as obvious loops: slow, and meant to be beyond doubt. (Spoilers.)

`PUZZLES` maps "notebook.name" to the specification and to a function that draws its arguments.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor


class Puzzle(NamedTuple):
    specification: Callable
    draw: Callable[[Random], tuple]


def _normal(rng: Random, *shape: int, scale: float = 1.0) -> Tensor:
    return torch.tensor([rng.gauss(0, scale) for _ in range(math.prod(shape))]).view(shape)


# ---------------------------------------------------------------- 01 transformer


def cache_numbers(kind: str, heads: int, kv_heads: int, head_width: int, kv_rank: int, rope_width: int) -> int:
    count = 0
    if kind == "mla":
        for _ in range(kv_rank):
            count += 1
        for _ in range(rope_width):
            count += 1
        return count
    for _ in range(heads if kind == "mha" else kv_heads):
        for _ in ("key", "value"):
            count += head_width
    return count


def rotate_pairs(x_C: Tensor, position: int, base: float) -> Tensor:
    turned = torch.zeros(len(x_C))
    for pair in range(len(x_C) // 2):
        angle = position / base ** (2 * pair / len(x_C))
        a, b = float(x_C[2 * pair]), float(x_C[2 * pair + 1])
        turned[2 * pair] = a * math.cos(angle) - b * math.sin(angle)
        turned[2 * pair + 1] = a * math.sin(angle) + b * math.cos(angle)
    return turned


def causal_weights(score_TS: Tensor) -> Tensor:
    T, S = score_TS.shape
    weight_TS = torch.zeros(T, S)
    for t in range(T):
        seen = [s for s in range(S) if s <= S - T + t]
        total = sum(math.exp(float(score_TS[t, s])) for s in seen)
        for s in seen:
            weight_TS[t, s] = math.exp(float(score_TS[t, s])) / total
    return weight_TS


def absorb_query(q_HC: Tensor, up_HCR: Tensor) -> Tensor:
    H, C, R = up_HCR.shape
    moved_HR = torch.zeros(H, R)
    for h in range(H):
        for r in range(R):
            for c in range(C):
                moved_HR[h, r] += q_HC[h, c] * up_HCR[h, c, r]
    return moved_HR


def attend_latent(query_HW: Tensor, stored_SW: Tensor, rank: int, scale: float) -> Tensor:
    H, W = query_HW.shape
    mixed_HR = torch.zeros(H, rank)
    for h in range(H):
        score = [scale * sum(float(query_HW[h, w] * stored[w]) for w in range(W)) for stored in stored_SW]
        total = sum(math.exp(x) for x in score)
        for s in range(len(stored_SW)):
            for r in range(rank):
                mixed_HR[h, r] += math.exp(score[s]) / total * stored_SW[s, r]
    return mixed_HR


def _draw_cache(rng: Random) -> tuple:
    kind, heads = rng.choice(("mha", "gqa", "mla")), rng.choice((4, 8, 16))
    return kind, heads, heads // rng.choice((2, 4)), rng.randint(20, 64), rng.randint(30, 99), rng.randint(4, 16)


def _draw_scores(rng: Random) -> tuple:
    T = rng.randint(1, 4)
    return (_normal(rng, T, T + rng.randint(0, 3)),)


def _draw_absorb(rng: Random) -> tuple:
    H, C, R = rng.randint(1, 3), rng.randint(2, 4), rng.randint(2, 5)
    return _normal(rng, H, C), _normal(rng, H, C, R)


def _draw_attend(rng: Random) -> tuple:
    H, rank, rope, S = rng.randint(1, 3), rng.randint(2, 4), rng.randint(1, 3), rng.randint(1, 5)
    return _normal(rng, H, rank + rope), _normal(rng, S, rank + rope), rank, rng.uniform(0.2, 0.8)


def _draw_pairs(rng: Random) -> tuple:
    return _normal(rng, 2 * rng.randint(1, 3)), rng.randint(0, 9), rng.choice((10.0, 100.0))


# ---------------------------------------------------------------- 02 experts


def gates(score_E: Tensor, bias_E: Tensor, top_k: int) -> Tensor:
    E = len(score_E)
    chosen = sorted(range(E), key=lambda e: -float(score_E[e] + bias_E[e]))[:top_k]
    total = sum(float(score_E[e]) for e in chosen)
    gate_E = torch.zeros(E)
    for e in chosen:
        gate_E[e] = float(score_E[e]) / total
    return gate_E


def share_of_choices(expert_NK: Tensor, experts: int) -> Tensor:
    share_E = torch.zeros(experts)
    for row in expert_NK.tolist():
        for e in row:
            share_E[e] += 1 / expert_NK.numel()
    return share_E


def step_bias(bias_E: Tensor, load_E: Tensor, rate: float) -> Tensor:
    mean = sum(load_E.tolist()) / len(load_E)
    moved = []
    for bias, load in zip(bias_E.tolist(), load_E.tolist()):
        if load > mean:
            moved.append(bias - rate)
        elif load < mean:
            moved.append(bias + rate)
        else:
            moved.append(bias)
    return torch.tensor(moved)


def sequence_balance(expert_TK: Tensor, score_TE: Tensor) -> float:
    (T, K), E = expert_TK.shape, score_TE.shape[1]
    total = 0.0
    for e in range(E):
        count = sum(chosen == e for row in expert_TK.tolist() for chosen in row)
        p = sum(float(score_TE[t, e] / score_TE[t].sum()) for t in range(T)) / T
        total += E / (K * T) * count * p
    return total


def _draw_choices(rng: Random) -> tuple[Tensor, Tensor]:
    T, E, K = rng.randint(3, 6), rng.randint(3, 6), rng.randint(1, 2)
    score_TE = _normal(rng, T, E).sigmoid()
    return (score_TE + _normal(rng, E)).topk(K).indices, score_TE


def _draw_gates(rng: Random) -> tuple:
    E = rng.randint(3, 8)
    return _normal(rng, E).sigmoid(), _normal(rng, E, scale=0.5), rng.randint(1, E - 1)


def _draw_share(rng: Random) -> tuple:
    expert_TK, score_TE = _draw_choices(rng)
    return expert_TK, score_TE.shape[1]


def _draw_bias(rng: Random) -> tuple:
    E = rng.choice((4, 8))
    load_E = torch.tensor(rng.choices((0.0, 0.125, 0.25, 0.5), k=E))
    return _normal(rng, E, scale=0.1), torch.full((E,), 0.25) if rng.random() < 0.2 else load_E, rng.uniform(0.001, 0.1)


# ---------------------------------------------------------------- 03 base model


def true_share(steps: list[tuple[int, str, int, int]]) -> float:
    true = 0
    for a, operator, b, value in steps:
        result = {"+": a + b, "-": a - b, "*": a * b}[operator]
        if result == value:
            true += 1
    return true / len(steps)


def count_attempts(thought: str) -> int:
    count = 0
    for line in thought.split("\n"):
        if " = " in line:
            count += 1
    return count


def pass_at_k(n: int, c: int, k: int) -> float:
    hits, draws = 0, 0
    for chosen in combinations(range(n), k):  # responses 0 .. c-1 are the right ones
        draws += 1
        if any(i < c for i in chosen):
            hits += 1
    return hits / draws


def _draw_steps(rng: Random) -> tuple:
    steps = []
    for _ in range(rng.randint(1, 6)):
        a, operator, b = rng.randint(0, 30), rng.choice("+-*"), rng.randint(0, 30)
        value = {"+": a + b, "-": a - b, "*": a * b}[operator]
        steps.append((a, operator, b, value if rng.random() < 0.6 else value + rng.choice((-10, -1, 1, 10))))
    return (steps,)


def _draw_thought(rng: Random) -> tuple:
    lines = ("3 + 5 = 8, not 9", "wait, 3 * 5 = 15, 15 - 6 = 9, yes", "hm", "", "so 3 and 5", "try 3 - 5")
    return ("\n".join(rng.choices(lines, k=rng.randint(0, 5))),)


def _draw_pass(rng: Random) -> tuple:
    n = rng.randint(1, 8)
    return n, rng.randint(0, n), rng.randint(1, n)


# ---------------------------------------------------------------- 05 rewards


def well_formed(response: str) -> bool:
    tags, inside, position = [], False, 0
    while position < len(response):
        found = next((tag for tag in _TAGS if response.startswith(tag, position)), None)
        if found is not None:
            tags.append(found)
            inside = found in ("<think>", "<answer>")
            position += len(found)
        elif not inside and not response[position].isspace():
            return False  # text that belongs to no pair of tags
        else:
            position += 1
    answered = ["<answer>", "</answer>", "<|end|>"]
    return response.endswith("<|end|>") and tags in (answered, ["<think>", "</think>", *answered])


def uses_each_once(numbers: tuple[int, ...], used: list[int]) -> bool:
    left = list(numbers)
    for n in used:
        if n not in left:
            return False
        left.remove(n)
    return len(left) == 0


def exact_value(parts: list) -> Fraction | None:
    parts = list(parts)
    for first in ("*/", "+-"):
        place = 1
        while place < len(parts):
            a, operator, b = Fraction(parts[place - 1]), parts[place], Fraction(parts[place + 1])
            if operator not in first:
                place += 2
                continue
            if operator == "/" and b == 0:
                return None
            value = a * b if operator == "*" else a / b if operator == "/" else a + b if operator == "+" else a - b
            parts[place - 1 : place + 2] = [value]
    return Fraction(parts[0])


def total_reward(right: bool, formed: bool, format_weight: float) -> float:
    if not formed:
        return 0.0
    if right:
        return 1.0 + format_weight
    return format_weight


def share_in_language(words: list[str], lang: str) -> float:
    count = 0
    for word in words:
        chinese = word[0] >= "一"
        if chinese == (lang == "zh"):
            count += 1
    return count / len(words) if words else 1.0


_TAGS = ("<think>", "</think>", "<answer>", "</answer>", "<|end|>")
_WORDS = ("wait", "try", "一", "等", "再", "make")


def _draw_response(rng: Random) -> tuple:
    """A proper response, and in two of three cases one fault: a piece lost, doubled, swapped, or stray text."""
    pieces = ["<answer>", "3 + 5", "</answer>", "<|end|>"]
    if rng.random() < 0.6:
        pieces = ["<think>", "3 + 5 = 8, yes", "</think>", *rng.choice(([], ["\n"])), *pieces]
    place, fault = (
        rng.randrange(len(pieces)),
        rng.choice(("none", "none", "lost", "doubled", "swapped", "stray", "behind", "cut", "hedged")),
    )
    if fault == "lost":
        del pieces[place]
    elif fault == "doubled":
        pieces.insert(place, pieces[place])
    elif fault == "swapped":
        pieces[place - 1], pieces[place] = pieces[place], pieces[place - 1]
    elif fault == "stray":
        pieces.insert(place, "8")
    elif fault == "behind":
        pieces.append("8")
    elif fault == "cut":
        pieces[-1] = pieces[-1][:-1]
    elif fault == "hedged":
        pieces[-1:-1] = ["<answer>", "8", "</answer>"]
    return ("".join(pieces),)


def _draw_used(rng: Random) -> tuple:
    numbers = tuple(rng.randint(1, 5) for _ in range(rng.randint(2, 4)))
    used = rng.sample(numbers, len(numbers))
    fault = rng.choice(("none", "lost", "doubled", "other", "swapped", "shifted"))
    if fault == "lost":
        used.pop()
    elif fault == "doubled":
        used.append(used[0])
    elif fault == "other":
        used[0] = rng.randint(1, 6)
    elif fault == "swapped":
        used[0] = used[-1]
    elif fault == "shifted":
        used[0], used[1] = used[0] + 1, used[1] - 1
    return numbers, used


def _draw_parts(rng: Random) -> tuple:
    parts: list = [rng.randint(0, 9)]
    for _ in range(rng.randint(0, 4)):
        parts += [rng.choice("+-*/"), 0 if rng.random() < 0.15 else rng.randint(1, 9)]
    return (parts,)


def _draw_words(rng: Random) -> tuple:
    return [rng.choice(_WORDS) for _ in range(rng.randint(0, 5))], rng.choice(("en", "zh"))


# ---------------------------------------------------------------- 06 grpo by hand


def advantages(reward_G: Tensor) -> Tensor:
    reward = reward_G.tolist()
    if all(r == reward[0] for r in reward):
        return torch.zeros(len(reward))
    mean = sum(reward) / len(reward)
    std = math.sqrt(sum((r - mean) ** 2 for r in reward) / (len(reward) - 1))
    return torch.tensor([(r - mean) / (std + 1e-4) for r in reward])


def clipped_terms(ratio_T: Tensor, advantage: float, low: float, high: float) -> Tensor:
    terms = []
    for ratio in ratio_T.tolist():
        clipped = ratio
        if ratio < 1 - low:
            clipped = 1 - low
        if ratio > 1 + high:
            clipped = 1 + high
        terms.append(min(ratio * advantage, clipped * advantage))
    return torch.tensor(terms)


def gradient_weights(ratio_T: Tensor, advantage: float, low: float, high: float) -> Tensor:
    weights = []
    for ratio in ratio_T.tolist():
        good_enough = advantage > 0 and ratio > 1 + high
        bad_enough = advantage < 0 and ratio < 1 - low
        weights.append(0.0 if good_enough or bad_enough else ratio * advantage)
    return torch.tensor(weights)


def kl_estimate(logp_T: Tensor, ref_logp_T: Tensor) -> Tensor:
    estimate = []
    for logp, ref in zip(logp_T.tolist(), ref_logp_T.tolist()):
        ratio = math.exp(ref) / math.exp(logp)
        estimate.append(ratio - math.log(ratio) - 1)
    return torch.tensor(estimate)


def average_three_ways(loss_BT: Tensor, mask_BT: Tensor, max_tokens: int) -> tuple[float, float, float]:
    total, tokens, of_responses = 0.0, 0, 0.0
    for loss_T, mask_T in zip(loss_BT.tolist(), mask_BT.tolist()):
        mine, length = 0.0, 0
        for loss, counted in zip(loss_T, mask_T):
            if counted:
                mine, length = mine + loss, length + 1
        total, tokens, of_responses = total + mine, tokens + length, of_responses + mine / length
    responses = len(loss_BT)
    return of_responses / responses, total / tokens, total / (responses * max_tokens)


def response_ratio(logp_T: Tensor, old_logp_T: Tensor, mask_T: Tensor) -> float:
    product, length = 1.0, 0
    for logp, old, counted in zip(logp_T.tolist(), old_logp_T.tolist(), mask_T.tolist()):
        if counted:
            product, length = product * math.exp(logp - old), length + 1
    return product ** (1 / length)


def _draw_rewards(rng: Random) -> tuple:
    G = rng.randint(2, 8)
    levels = (0.0, 0.1, 1.1) if rng.random() < 0.8 else (0.1,)
    return (torch.tensor(rng.choices(levels, k=G)),)


def _draw_ratios(rng: Random) -> tuple:
    T = rng.randint(1, 6)
    return _normal(rng, T, scale=0.4).exp(), rng.choice((-1, 1)) * rng.uniform(0.2, 2), rng.uniform(0.1, 0.3), rng.uniform(0.3, 0.5)


def _draw_mask(rng: Random, B: int, T: int) -> Tensor:
    first = [rng.randint(0, 1) for _ in range(B)]
    length = [rng.randint(1, T - 1) for _ in range(B)]
    return torch.tensor([[start <= t < start + n for t in range(T)] for start, n in zip(first, length)])


def _draw_losses(rng: Random) -> tuple:
    B, T = rng.randint(2, 4), rng.randint(3, 6)
    return _normal(rng, B, T), _draw_mask(rng, B, T), rng.randint(T, 12)


def _draw_logps(rng: Random) -> tuple:
    T = rng.randint(2, 6)
    return -_normal(rng, T).abs(), -_normal(rng, T).abs()


def _draw_masked_logps(rng: Random) -> tuple:
    T = rng.randint(3, 6)
    return -_normal(rng, T).abs(), -_normal(rng, T).abs(), _draw_mask(rng, 1, T)[0]


# ---------------------------------------------------------------- the table

PUZZLES = {
    "01.cache_numbers": Puzzle(cache_numbers, _draw_cache),
    "01.rotate_pairs": Puzzle(rotate_pairs, _draw_pairs),
    "01.causal_weights": Puzzle(causal_weights, _draw_scores),
    "01.absorb_query": Puzzle(absorb_query, _draw_absorb),
    "01.attend_latent": Puzzle(attend_latent, _draw_attend),
    "02.gates": Puzzle(gates, _draw_gates),
    "02.share_of_choices": Puzzle(share_of_choices, _draw_share),
    "02.step_bias": Puzzle(step_bias, _draw_bias),
    "02.sequence_balance": Puzzle(sequence_balance, _draw_choices),
    "03.true_share": Puzzle(true_share, _draw_steps),
    "03.count_attempts": Puzzle(count_attempts, _draw_thought),
    "03.pass_at_k": Puzzle(pass_at_k, _draw_pass),
    "05.well_formed": Puzzle(well_formed, _draw_response),
    "05.uses_each_once": Puzzle(uses_each_once, _draw_used),
    "05.exact_value": Puzzle(exact_value, _draw_parts),
    "05.total_reward": Puzzle(total_reward, lambda rng: (rng.random() < 0.5, rng.random() < 0.5, rng.choice((0.1, 0.5, 1.0)))),
    "05.share_in_language": Puzzle(share_in_language, _draw_words),
    "06.advantages": Puzzle(advantages, _draw_rewards),
    "06.clipped_terms": Puzzle(clipped_terms, _draw_ratios),
    "06.gradient_weights": Puzzle(gradient_weights, _draw_ratios),
    "06.kl_estimate": Puzzle(kl_estimate, _draw_logps),
    "06.average_three_ways": Puzzle(average_three_ways, _draw_losses),
    "06.response_ratio": Puzzle(response_ratio, _draw_masked_logps),
}
