"""The preference model: which of two answers a judge would like better (R1 report, section 2.2 and appendix B.3.1).

Two scalar heads stand on one copy of a small base. *Helpful* is trained on pairs with the Bradley-Terry loss and sees the
question and the final summary only; *harmless* is trained pointwise and sees the whole response, thought included. As in
the report each pair is judged four times by a judge who errs, and kept if the judgements agree well enough: here with
probability ERROR each, kept at three of four or better. So 11.4% of the kept labels are wrong (FLIPPED, and a test), and both
answers of a pair are about as long.

Deviations from the report: (1) the judge is a rule with noise, not a model; (2) both heads share a trunk; (3) thousands of
pairs, not 66 k.

>>> round(FLIPPED, 3)
0.114
"""

import copy
from collections.abc import Callable, Iterator
from math import comb
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minir1.checkpoint import FORMAT, read, write_whole
from minir1.config import ModelConfig, UserError, from_dict
from minir1.fast.experts import batched_experts, set_expert_kernel
from minir1.model import Transformer
from minir1.r1.tasks import general
from minir1.r1.tasks.general_problem import WORDINGS
from minir1.sampler import pad
from minir1.supervised import Learner, cosine
from minir1.tokenizer import Tokenizer
from minir1.transcript import ANSWER, ANSWER_END, END, SPECIAL_TOKENS, THINK, THINK_END, prompt

JUDGEMENTS, ERROR, AGREE = 4, 0.3, 3  # votes a pair, chance that a vote is wrong, votes for one side that keep the pair
_WRONG = sum(comb(JUDGEMENTS, k) * ERROR**k * (1 - ERROR) ** (JUDGEMENTS - k) for k in range(AGREE, JUDGEMENTS + 1))
_RIGHT = sum(comb(JUDGEMENTS, k) * (1 - ERROR) ** k * ERROR ** (JUDGEMENTS - k) for k in range(AGREE, JUDGEMENTS + 1))
FLIPPED = _WRONG / (_WRONG + _RIGHT)  # share of the kept labels that are wrong
LONGEST = 2.0  # the longer answer of a pair has at most so many times the characters of the shorter
PAIRS, POINTS = 32, 16  # read in one step
POINTS_A_STEP = 64  # by a judge that reads points only


def final_summary(response: str) -> str:
    """What the user reads: everything behind the thought, without tags.

    >>> final_summary("<think>2 + 2 = 4</think>So it is 4.<answer>4</answer><|end|>")
    'So it is 4. 4'
    """
    text = response.split(THINK_END)[-1]
    for token in SPECIAL_TOKENS:
        text = text.replace(token, " ")
    return " ".join(text.split())


# ---------------------------------------------------------------- what it learns from


class Pair(NamedTuple):
    question: str
    chosen: str  # by the judge, who may err
    rejected: str
    kind: str
    flipped: bool  # the judge erred


def draw_pair(rng: Random, split: str, languages: tuple[str, ...]) -> Pair:
    """A right and a wrong answer to a general question, of about the same length, and the judge's label."""
    while True:
        (kind,) = rng.choices(list(general.KINDS), [share for _, share in general.KINDS.values()])
        problem = general.sample(rng, kind, split, rng.choice(languages))
        right, wrong = problem.canonical(), problem.corrupt(rng)
        if max(len(right), len(wrong)) > LONGEST * min(len(right), len(wrong)):
            continue
        votes = sum(rng.random() >= ERROR for _ in range(JUDGEMENTS))  # for the right answer
        if max(votes, JUDGEMENTS - votes) >= AGREE:
            chosen, rejected = (right, wrong) if votes >= AGREE else (wrong, right)
            return Pair(problem.question(), chosen, rejected, kind, votes < AGREE)


def draw_point(rng: Random, split: str, languages: tuple[str, ...]) -> tuple[str, str, bool]:
    """(question, whole response, is it safe). Requests that should be declined, and harmless ones of all kinds.

    Unsafe is a response that complies or is rude, be it in the thought alone.
    """
    kind, lang = rng.choice(list(general.KINDS) + ["decline"] * 5), rng.choice(languages)
    problem = general.sample(rng, kind, split, lang)
    right, thought = problem.canonical(), rng.choice(("", *_REFUSALS[lang], *_HARMLESS[lang]))
    if not (kind == "decline" and problem.harmful()) or rng.random() < 0.5:
        answer = right if kind != "decline" or problem.harmful() or rng.random() < 0.7 else rng.choice(_REFUSALS[lang])
        return problem.question(), response_of(answer, thought), True
    worse = rng.choice(WORDINGS["decline"]["complying"][lang] + WORDINGS["decline"]["rude"][lang])
    answer, thought = (right, worse) if rng.random() < 0.3 else (worse, thought)
    return problem.question(), response_of(answer, thought), False


_REFUSALS = WORDINGS["decline"]["refusals"]
_HARMLESS = {lang: [topic[lang]["answer"] for topic in WORDINGS["decline"]["harmless"].values()] for lang in _REFUSALS}


def response_of(answer: str, thought: str = "") -> str:
    """A response in the template's form, its thought left out if there is none."""
    return f"{THINK}{thought}{THINK_END}" * bool(thought) + f"{ANSWER}{answer}{ANSWER_END}{END}"


# ---------------------------------------------------------------- the model


class PreferenceModel(nn.Module):
    """`score` and `harmless_score`: lists of texts in, numbers out. `figures` holds what the validation measured."""

    def __init__(self, trunk: Transformer, tokenizer: Tokenizer):
        super().__init__()
        self.trunk, self.tokenizer = trunk, tokenizer
        self.heads = nn.Linear(trunk.config.width, 2)  # helpful, harmless
        nn.init.zeros_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)
        self.register_buffer("centre", torch.zeros(()))  # of the helpful head, over validation answers
        self.register_buffer("spread", torch.ones(()))
        self.figures: dict[str, float] = {}

    def forward(self, rows: list[list[int]], together: int = 32) -> Tensor:
        """Raw values `[N, 2]` (helpful, harmless), read off at each row's last token; rows of similar length go together."""
        order, values = sorted(range(len(rows)), key=lambda n: len(rows[n])), []
        for i in range(0, len(rows), together):
            ids_NT = pad([rows[n] for n in order[i : i + together]], self.tokenizer.pad, self.heads.weight.device)
            last_N = torch.tensor([len(rows[n]) - 1 for n in order[i : i + together]], device=ids_NT.device)
            hidden_NTD, _ = self.trunk.trunk(ids_NT)
            values.append(self.heads(self.trunk.norm(hidden_NTD[torch.arange(len(last_N), device=last_N.device), last_N].float())))
        place_N = torch.tensor(order, device=values[0].device).argsort()
        return torch.cat(values)[place_N]

    def rows_of(self, questions: list[str], answers: list[str]) -> list[list[int]]:
        """Token ids of question and answer, closed by one end token; cut to what the trunk can hold."""
        most = self.trunk.config.positions - 1
        texts = [prompt(q) + a.removesuffix(END) for q, a in zip(questions, answers, strict=True)]
        return [self.tokenizer.encode(text)[:most] + [self.tokenizer.end] for text in texts]

    @torch.no_grad()
    def raw(self, questions: list[str], answers: list[str]) -> Tensor:
        """Raw values `[N, 2]`, on the CPU."""
        if not questions:
            return torch.zeros(0, 2)
        return self(self.rows_of(questions, answers), 128).float().cpu()

    def score(self, questions: list[str], summaries: list[str]) -> Tensor:
        """How helpful each final summary is, `[N]` in -1..1: 0 is the mean over right and wrong validation answers."""
        raw_N = self.raw(questions, summaries)[:, 0]
        return torch.tanh((raw_N - self.centre.cpu()) / (2 * self.spread.cpu()))

    def harmless_score(self, questions: list[str], responses: list[str]) -> Tensor:
        """How safe each whole response is, `[N]` in -1..1: twice the probability of "safe", less 1."""
        return 2 * self.raw(questions, responses)[:, 1].sigmoid() - 1

    def save(self, path: str | Path) -> None:
        weights = {name: value.detach().cpu() for name, value in self.state_dict().items()}
        config = vars(self.trunk.config)
        whole = {"format": FORMAT, "kind": "preference", "config": dict(config), "tokenizer": self.tokenizer.to_text()}
        write_whole(Path(path), whole | {"weights": weights, "figures": self.figures})

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> "PreferenceModel":
        """Raises UserError with one clear line."""
        value = read(path)
        if value.get("kind") != "preference":
            raise UserError(f"{path} is no preference model")
        model = cls(Transformer(from_dict(ModelConfig, value["config"])), Tokenizer.from_text(value["tokenizer"]))
        model.load_state_dict(value["weights"])
        model.figures = value["figures"]
        return _plug(model.to(device).eval())


def _plug(model: PreferenceModel) -> PreferenceModel:
    """On a GPU experts are computed without a loop."""
    if model.heads.weight.device.type == "cuda":
        set_expert_kernel(model.trunk, batched_experts)
    return model


# ---------------------------------------------------------------- training


def bradley_terry(chosen_N: Tensor, rejected_N: Tensor) -> Tensor:
    """-log P(chosen beats rejected), P = sigmoid of the difference; averaged.

    >>> bradley_terry(torch.tensor([1.0]), torch.tensor([1.0])).item()
    0.6931471824645996
    """
    return -F.logsigmoid(chosen_N - rejected_N).mean()


def preference_loss(model: PreferenceModel, pairs: list[Pair], points: list[tuple[str, str, bool]]) -> Tensor:
    """Bradley-Terry on the pairs' summaries plus cross entropy on the points' whole responses, in one forward pass."""
    questions = [p.question for p in pairs] * 2 + [q for q, _, _ in points]
    answers = [p.chosen for p in pairs] + [p.rejected for p in pairs] + [r for _, r, _ in points]
    value_N2, n = model(model.rows_of(questions, answers)), len(pairs)
    safe_N = torch.tensor([float(safe) for *_, safe in points], device=value_N2.device)
    helpful = bradley_terry(value_N2[:n, 0], value_N2[n : 2 * n, 0])
    return helpful + F.binary_cross_entropy_with_logits(value_N2[2 * n :, 1], safe_N)


def train_preference(
    base: Transformer, tokenizer: Tokenizer, seed: int, steps: int, device: str, languages: tuple[str, ...] = ("en", "zh"),
    log: Callable[..., None] | None = None, lr: float = 1e-3
) -> PreferenceModel:
    """A preference model on a copy of `base`, judged on the validation split's wordings.

    `log(step=, loss=)` is called every 20 steps and `log(step=, **figures)` at the end.
    """
    torch.manual_seed(seed)
    model = _plug(PreferenceModel(copy.deepcopy(base), tokenizer).to(device).train())
    learner, rng = Learner(model, weight_decay=0.01, clip=1.0), Random(f"preference {seed}")
    for step, (pairs, points) in zip(range(steps), _batches(rng, languages)):
        loss = preference_loss(model, pairs, points)
        learner.backward(loss)
        learner.step(cosine(step, steps, lr, 0.1, 0.1))
        if log and (step % 20 == 19 or step + 1 == steps):
            log(step=step + 1, loss=loss.item())
    model.eval()
    model.figures = validate(model, languages) | {"pairs": steps * PAIRS}
    if log:
        log(step=steps, **model.figures)
    return model


def train_points(
    base: Transformer, tokenizer: Tokenizer, examples: list[tuple[str, str, bool]], seed: int, device: str, lr: float = 1e-3
) -> PreferenceModel:
    """A judge of whole responses by the second head alone: `examples` are (question, response, good), each read once."""
    torch.manual_seed(seed)
    model = _plug(PreferenceModel(copy.deepcopy(base), tokenizer).to(device).train())
    learner, rows, steps = Learner(model, weight_decay=0.01, clip=1.0), POINTS_A_STEP, len(examples) // POINTS_A_STEP
    for step in range(steps):
        part = examples[step * rows : (step + 1) * rows]
        value_N2 = model(model.rows_of([q for q, *_ in part], [r for _, r, _ in part]))
        good_N = torch.tensor([float(good) for *_, good in part], device=value_N2.device)
        learner.backward(F.binary_cross_entropy_with_logits(value_N2[:, 1], good_N))
        learner.step(cosine(step, steps, lr, 0.1, 0.1))
    return model.eval()


def _batches(rng: Random, languages: tuple[str, ...]) -> Iterator[tuple[list[Pair], list]]:
    while True:
        pairs = [draw_pair(rng, "train", languages) for _ in range(PAIRS)]
        yield pairs, [draw_point(rng, "train", languages) for _ in range(POINTS)]


def validate(model: PreferenceModel, languages: tuple[str, ...], count: int = 512, split: str = "validation") -> dict[str, float]:
    """Accuracy against the true label on held-out wordings, all kinds and each; sets the scale of `score`."""
    rng = Random(f"preference {split}")
    pairs, points = ([draw(rng, split, languages) for _ in range(count)] for draw in (draw_pair, draw_point))
    questions = [p.question for p in pairs]
    chosen_N, rejected_N = (model.raw(questions, [getattr(p, side) for p in pairs])[:, 0] for side in ("chosen", "rejected"))
    model.centre.copy_(torch.cat([chosen_N, rejected_N]).mean())
    model.spread.copy_(torch.cat([chosen_N, rejected_N]).std().clamp(min=1e-3))
    right = [bool(c > r) != p.flipped for p, c, r in zip(pairs, chosen_N, rejected_N)]
    safe_N = model.harmless_score([q for q, *_ in points], [r for _, r, _ in points])
    figures = {"accuracy": sum(right) / count, "label_accuracy": float((chosen_N > rejected_N).float().mean())}
    figures["harmless_accuracy"] = sum(bool(s > 0) == safe for s, (*_, safe) in zip(safe_N, points)) / count
    for kind in general.KINDS:
        of_kind = [r for r, p in zip(right, pairs) if p.kind == kind]
        figures[f"accuracy_{kind}"] = sum(of_kind) / max(1, len(of_kind))
    return figures


