"""The steps of a response, what the rules say of each, and a model that learns to say it.

A step is a line of the thought; the answer is the last one. A step is *good* if it is true (its
arithmetic, its numbers and its verdict) and helps: no true line above computes the same, and the
puzzle was not solved yet. The answer is good if the verifier accepts it.

>>> puzzle = Countdown((3, 5, 2), 16)
>>> text = "<think>3 + 5 = 8, 8 + 2 = 10, not 16|wait, 5 + 3 = 8, 8 + 2 = 10, not 16|"
>>> judge_steps(puzzle, [*text.split("|"), "3 + 5 = 8, 8 * 2 = 16, yes</think>", "..."], True)
[True, False, False, True, True]
"""

import copy
from collections.abc import Iterable
from random import Random
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minir1.fast.norms import norms_by_hand
from minir1.grpo import micro_batches
from minir1.measure.attempts import Attempt, attempts_of, steps_in
from minir1.model import Transformer
from minir1.rollout import Rollouts, roll_out, sampling
from minir1.sampler import Stream, pad
from minir1.supervised import Learner, cosine
from minir1.tasks import countdown
from minir1.tasks.countdown import Countdown
from minir1.tokenizer import Tokenizer
from minir1.transcript import END, THINK, THINK_END

ROWS = 64  # responses in a step of the judge's training
LONGEST = 256  # tokens of a response

# ---------------------------------------------------------------- steps


def marks_of(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens that end a step: those with a line break, </think> and the end token."""
    lines = tokenizer.ids_holding("\n")
    return (*lines, tokenizer.id(THINK_END), tokenizer.end)


def step_ends(ids: list[int], marks: tuple[int, ...]) -> list[int]:
    """Where each step of a response ends: places of its last tokens. The rest is a step, too."""
    ends = [place for place, id in enumerate(ids) if id in marks]
    last = len(ids) - 1
    return ends if ends and ends[-1] == last else [*ends, last]


def texts_of(tokenizer: Tokenizer, ids: list[int], ends: list[int]) -> list[str]:
    starts = [0, *(end + 1 for end in ends)]
    return tokenizer.decode_batch([ids[a : b + 1] for a, b in zip(starts, ends)])


# ---------------------------------------------------------------- what the rules say


def line_of(step: str) -> str:
    """A step without its tags and what begins the next one."""
    return step.removeprefix(THINK).split("\n")[0].split(THINK_END)[0].removesuffix(END)


def key_of(attempt: Attempt) -> tuple:
    """What an attempt computes, whatever its wording: a + b is b + a."""
    return tuple((s.operator, *sorted(s.operands)) for s in steps_in(attempt.text))


def uses_numbers(problem: Countdown, attempt: Attempt) -> bool:
    """Whether each step takes numbers that are still there. Plans run backwards: not asked."""
    if attempt.subgoal or attempt.backward:
        return True
    pool = list(problem.numbers)
    for step in steps_in(attempt.text):
        for number in step.operands:
            if number not in pool:
                return False
            pool.remove(number)
        pool.append(step.value)
    return True


def is_true(problem: Countdown, attempt: Attempt) -> bool:
    return not attempt.wrong_steps and attempt.check is not False and uses_numbers(problem, attempt)


class Lines:
    """Reads the lines of one thought in order."""

    def __init__(self, problem: Countdown):
        self.problem, self.seen, self.solved = problem, set(), False
        self.repeated = self.after_hit = self.false = self.empty = 0

    def judge(self, step: str) -> bool:
        attempts = attempts_of(self.problem, line_of(step))
        keys = {key_of(attempt) for attempt in attempts}
        true = all(is_true(self.problem, attempt) for attempt in attempts)
        known = bool(keys) and keys <= self.seen
        late = self.solved
        self.empty += not attempts
        self.false += bool(attempts) and not true
        self.repeated += true and known and not late
        self.after_hit += true and bool(attempts) and late
        self.seen |= keys if true else set()
        self.solved |= any(attempt.hit for attempt in attempts)
        return bool(attempts) and true and not known and not late


def judge_steps(problem: Countdown, steps: list[str], right: bool) -> list[bool]:
    """Whether each step is good. `right`: the verifier accepts the answer, the last step."""
    lines = Lines(problem)
    return [*(lines.judge(step) for step in steps[:-1]), right]


class Response(NamedTuple):
    """A response as its judges read it."""

    problem: Countdown
    ids: list[int]  # prompt and response
    ends: list[int]  # places in `ids` where steps end
    steps: list[str]
    good: list[bool]
    right: bool


def read(rollouts: Rollouts, tokenizer: Tokenizer) -> list[Response]:
    marks, responses = marks_of(tokenizer), []
    for row, ids in enumerate(rollouts.response_ids):
        problem, right = rollouts.problem(row), bool(rollouts.rewards[row].accuracy)
        asked = rollouts.prompt_ids[row // rollouts.group]
        ends = step_ends(ids, marks)
        steps = texts_of(tokenizer, ids, ends)
        good = judge_steps(problem, steps, right)
        places = [len(asked) + end for end in ends]
        responses.append(Response(problem, asked + ids, places, steps, good, right))
    return responses


# ---------------------------------------------------------------- the learned judge


class StepJudge(nn.Module):
    """Two numbers at the end of each step: is the step good, and will the answer be right?

    A linear head (process, value) on the last hidden states of a copy of a policy.
    """

    def __init__(self, policy: Transformer, tokenizer: Tokenizer):
        super().__init__()
        self.trunk, self.tokenizer = copy.deepcopy(policy).requires_grad_(True), tokenizer
        self.head = nn.Linear(policy.config.width, 2)

    def hidden(self, rows: list[list[int]], ends: list[list[int]]) -> Tensor:
        """`[N, D]`, normalised: of every step of every row, in order."""
        hidden_BTD, _ = self.trunk.trunk(pad(rows, self.tokenizer.pad))
        row_N = torch.tensor([row for row, places in enumerate(ends) for _ in places])
        place_N = torch.tensor([place for places in ends for place in places])
        return self.trunk.norm(hidden_BTD[row_N, place_N])

    def hidden_of(self, responses: list[Response]) -> Tensor:
        return self.hidden([r.ids for r in responses], [r.ends for r in responses])

    @torch.no_grad()
    def score(self, rows: list[list[int]], ends: list[list[int]], together: int = 64) -> list:
        """A tensor `[steps, 2]` of probabilities (good, right in the end) for each row."""
        order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
        scores: list = [None] * len(rows)
        for i in range(0, len(rows), together):
            part = order[i : i + together]
            value_N2 = self.head(self.hidden([rows[n] for n in part], [ends[n] for n in part]))
            sizes = [len(ends[n]) for n in part]
            for n, value_S2 in zip(part, value_N2.sigmoid().split(sizes)):
                scores[n] = value_S2
        return scores

    def read(self, responses: list[Response]) -> list[Tensor]:
        return self.score([r.ids for r in responses], [r.ends for r in responses])


def labels(responses: Iterable[Response]) -> Tensor:
    """`[N, 2]`, one row a step: good, and whether the response ends in a right answer."""
    return torch.tensor([(float(g), float(r.right)) for r in responses for g in r.good])


def parts_of(responses: list[Response], tokens: int = 4096) -> list[list[Response]]:
    """Responses of similar length together."""
    lengths = torch.tensor([len(r.ids) for r in responses])
    return [[responses[n] for n in part.tolist()] for part in micro_batches(lengths, tokens)]


def train_judge(judge: StepJudge, responses: list[Response], seed: int, lr: float = 3e-4) -> None:
    """Cross entropy over all steps alike; each response is read once."""
    torch.manual_seed(seed)
    learner, steps = Learner(judge, weight_decay=0.01, clip=1.0), len(responses) // ROWS
    order = Random(f"judge {seed}").sample(responses, len(responses))
    with norms_by_hand(judge.train().trunk):
        for step in range(steps):
            batch = order[step * ROWS : (step + 1) * ROWS]
            total = sum(len(r.ends) for r in batch)
            for part in parts_of(batch):
                value_N2 = judge.head(judge.hidden_of(part))
                loss = F.binary_cross_entropy_with_logits(value_N2, labels(part), reduction="sum")
                learner.backward(loss / (2 * total))
            learner.step(cosine(step, steps, lr, 0.1, 0.1))
            learner.check(step)
    judge.eval()


def fit_probe(judge: StepJudge, responses: list[Response], rounds: int = 60) -> nn.Linear:
    """A head alone, on the hidden states as they are: logistic regression."""
    with torch.no_grad():
        parts = parts_of(responses)
        hidden_ND = torch.cat([judge.hidden_of(part) for part in parts])
    label_N2 = labels([r for part in parts for r in part])
    head = nn.Linear(hidden_ND.shape[1], 2)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=rounds, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(head(hidden_ND), label_N2)
        loss = loss + 1e-4 * head.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return head


def auc(value_N: Tensor, true_N: Tensor) -> float:
    """Chance that a true one is valued above a false one, by ranks; a half without any to compare.

    >>> auc(torch.tensor([0.1, 0.4, 0.4, 0.9]), torch.tensor([False, True, False, True]))
    0.875
    """
    positive, negative = int(true_N.sum()), int((~true_N).sum())
    if not positive or not negative:
        return 0.5
    _, group_N, count_G = value_N.unique(return_inverse=True, return_counts=True)
    rank_G = count_G.cumsum(0) - (count_G - 1) / 2
    ranks = rank_G.double()[group_N][true_N].sum().item()
    return (ranks - positive * (positive + 1) / 2) / (positive * negative)


def quality(responses: list[Response], scores: list[Tensor]) -> dict[str, float]:
    """How well a judge tells good steps from bad ones, right responses from wrong ones (AUC)."""
    label_N2, value_N2 = labels(responses).bool(), torch.cat(scores)
    ends_N = torch.tensor([i + 1 == len(r.good) for r in responses for i in range(len(r.good))])
    good_N, right_N = label_N2.T
    figures = {"steps": len(good_N), "lines": int((~ends_N).sum())}
    for name, chosen_N in (("lines", ~ends_N), ("answers", ends_N)):
        figures[f"good_{name}"] = good_N[chosen_N].float().mean().item()
        figures[f"auc_process_{name}"] = auc(value_N2[chosen_N, 0], good_N[chosen_N])
        figures[f"auc_value_{name}"] = auc(value_N2[chosen_N, 1], right_N[chosen_N])
    return figures


def puzzles(key: object, split: str, count: int) -> list[Countdown]:
    rng = Random(f"unsuccessful {key} {split}")
    return [countdown.sample(rng, "cpu", split, "en") for _ in range(count)]


def sample_responses(
    policy: Transformer, tokenizer: Tokenizer, sampler, key: object, split: str, count: int
) -> list[Response]:
    """`count` responses of `policy`, two to a puzzle of the split."""
    responses, settings = [], sampling(tokenizer, LONGEST)
    for i in range(0, count, 512):
        problems = puzzles(f"{key} {i}", split, min(512, count - i) // 2)
        stream = Stream.of("unsuccessful", key, split, i)
        rollouts = roll_out(policy, tokenizer, problems, 2, settings, stream, sampler)
        responses += read(rollouts, tokenizer)
    return responses


def learn_judge(
    policy: Transformer, tokenizer: Tokenizer, train: list[Response], held: list[Response],
    seed: int,
) -> tuple[StepJudge, dict]:
    """A judge on a copy of `policy`, and its figures beside those of the head alone."""
    judge = StepJudge(policy, tokenizer)
    judge.head = fit_probe(judge, train[:4096])
    figures = {"read": len(train), "probe": quality(held, judge.read(held))}
    train_judge(judge, train, seed)  # from there on
    return judge, figures | {"judge": quality(held, judge.read(held))}
