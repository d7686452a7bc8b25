"""The preference model: which of two answers a judge would like better.

R1 report, section 2.2 and appendix B.3.1. Two scalar heads stand on one copy of a small base.
*Helpful* learns from pairs with the Bradley-Terry loss and sees the question and the final summary
only. *Harmless* learns from single responses and sees all of them, thought included.

Deviations from the report: (1) the judge of the pairs is a rule with noise, not a model; (2) both
heads share a trunk; (3) thousands of pairs, not 66 k.
"""

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minir1.checkpoint import FORMAT, compare, read, write_whole
from minir1.config import ModelConfig, UserError, from_dict
from minir1.fast.experts import batched_experts, set_expert_kernel
from minir1.model import Transformer
from minir1.r1.preference.pairs import PAIRS, Pair, Point, draw_batches, draw_pair, draw_point
from minir1.r1.tasks import general
from minir1.sampler import pad
from minir1.supervised import Learner, cosine
from minir1.tokenizer import Tokenizer
from minir1.transcript import END, prompt

POINTS_A_STEP = 64  # of a judge that reads points only


class PreferenceModel(nn.Module):
    """`score` and `harmless_score` judge lists of texts; `figures`: what validation measured."""

    def __init__(self, trunk: Transformer, tokenizer: Tokenizer):
        super().__init__()
        self.trunk, self.tokenizer = trunk, tokenizer
        self.heads = nn.Linear(trunk.config.width, 2)  # helpful, harmless
        nn.init.zeros_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)
        self.register_buffer("centre", torch.zeros(()))  # of helpful raw values
        self.register_buffer("spread", torch.ones(()))
        self.figures: dict[str, float] = {}

    def on(self, device: str) -> "PreferenceModel":
        """Moved to a device. On a GPU its experts are computed without a loop."""
        if torch.device(device).type == "cuda":
            set_expert_kernel(self.trunk, batched_experts)
        return self.to(device)

    def forward(self, rows: list[list[int]], together: int = 32) -> Tensor:
        """Raw values `[N, 2]` (helpful, harmless), read off at each row's last token.

        Rows of similar length go through the trunk together, `together` at a time.
        """
        order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
        device, values = self.heads.weight.device, []
        for i in range(0, len(rows), together):
            part = [rows[n] for n in order[i : i + together]]
            last_N = torch.tensor([len(row) - 1 for row in part], device=device)
            hidden_NTD, _ = self.trunk.trunk(pad(part, self.tokenizer.pad, device))
            hidden_ND = hidden_NTD[torch.arange(len(part), device=device), last_N]
            values.append(self.heads(self.trunk.norm(hidden_ND.float())))
        place_N = torch.tensor(order, device=device).argsort()
        return torch.cat(values)[place_N]

    def rows_of(self, questions: list[str], answers: list[str]) -> list[list[int]]:
        """Ids of question and answer, closed by one end token; cut to what the trunk can hold."""
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
        """How helpful each final summary is, `[N]` in -1..1; 0: like the mean validation answer."""
        raw_N = self.raw(questions, summaries)[:, 0]
        return torch.tanh((raw_N - self.centre.cpu()) / (2 * self.spread.cpu()))

    def harmless_score(self, questions: list[str], responses: list[str]) -> Tensor:
        """How safe each whole response is, `[N]` in -1..1: 2 P(safe) - 1."""
        return 2 * self.raw(questions, responses)[:, 1].sigmoid() - 1

    def save(self, path: str | Path) -> None:
        whole = {"format": FORMAT, "kind": "preference", "config": dict(vars(self.trunk.config))}
        whole["tokenizer"] = self.tokenizer.to_text()
        whole["weights"] = {name: value.detach().cpu() for name, value in self.state_dict().items()}
        write_whole(Path(path), whole | {"figures": self.figures})

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> "PreferenceModel":
        """Raises UserError with one clear line."""
        value = read(path)
        if value.get("kind") != "preference":
            raise UserError(f"{path} is no preference model")
        try:
            config, weights = from_dict(ModelConfig, value["config"]), value["weights"]
            trunk = {k[6:]: w for k, w in weights.items() if k.startswith("trunk.")}
            compare(config, trunk)
            model = cls(Transformer(config), Tokenizer.from_text(value["tokenizer"]))
            model.load_state_dict(weights)
            model.figures = value["figures"]
        except Exception as fault:
            raise UserError(f"{path} does not fit this version of minir1 ({fault})") from fault
        return model.on(device).eval()


# ---------------------------------------------------------------- training


def bradley_terry(chosen_N: Tensor, rejected_N: Tensor) -> Tensor:
    """-log P(chosen beats rejected), P = sigmoid of the difference; averaged.

    >>> bradley_terry(torch.tensor([1.0]), torch.tensor([1.0])).item()
    0.6931471824645996
    """
    return -F.logsigmoid(chosen_N - rejected_N).mean()


def preference_loss(model: PreferenceModel, pairs: list[Pair], points: list[Point]) -> Tensor:
    """Bradley-Terry on the pairs' summaries plus cross entropy on the points' whole responses.

    All go through the model at once. Without pairs the cross entropy is left.
    """
    questions = [p.question for p in pairs] * 2 + [question for question, _, _ in points]
    answers = [p.chosen for p in pairs] + [p.rejected for p in pairs]
    value_N2 = model(model.rows_of(questions, answers + [response for _, response, _ in points]))
    n = len(pairs)
    safe_N = torch.tensor([float(safe) for *_, safe in points], device=value_N2.device)
    harmless = F.binary_cross_entropy_with_logits(value_N2[2 * n :, 1], safe_N)
    helpful = bradley_terry(value_N2[:n, 0], value_N2[n : 2 * n, 0]) if pairs else 0.0
    return helpful + harmless


def train_preference(
    base: Transformer, tokenizer: Tokenizer, seed: int, steps: int, device: str,
    languages: tuple[str, ...] = ("en", "zh"), log: Callable | None = None, lr: float = 1e-3,
) -> PreferenceModel:
    """A preference model on a copy of `base`, judged on the validation split's wordings.

    `log(step=, loss=)` is called every 20 steps and `log(step=, **figures)` at the end.
    """
    torch.manual_seed(seed)
    model = PreferenceModel(copy.deepcopy(base), tokenizer).on(device)
    train(model, draw_batches(Random(f"preference {seed}"), languages), steps, lr, log)
    model.figures = validate(model, languages) | {"pairs": steps * PAIRS}
    if log:
        log(step=steps, **model.figures)
    return model


def train_points(
    base: Transformer, tokenizer: Tokenizer, points: list[Point], seed: int, device: str,
    lr: float = 1e-3,
) -> PreferenceModel:
    """A judge of whole responses by the second head alone; each point is read once."""
    torch.manual_seed(seed)
    model = PreferenceModel(copy.deepcopy(base), tokenizer).on(device)
    steps = len(points) // POINTS_A_STEP
    batches = (([], points[i * POINTS_A_STEP : (i + 1) * POINTS_A_STEP]) for i in range(steps))
    return train(model, batches, steps, lr)


def train(
    model: PreferenceModel, batches: Iterable[tuple], steps: int, lr: float, log=None
) -> PreferenceModel:
    """Minimise preference_loss over `steps` batches of (pairs, points)."""
    learner = Learner(model.train(), weight_decay=0.01, clip=1.0)
    for step, (pairs, points) in zip(range(steps), batches):
        loss = preference_loss(model, pairs, points)
        learner.backward(loss)
        learner.step(cosine(step, steps, lr, 0.1, 0.1))
        learner.check(step)
        if log and (step % 20 == 19 or step + 1 == steps):
            log(step=step + 1, loss=loss.item())
    return model.eval()


def validate(
    model: PreferenceModel, languages: tuple[str, ...], count: int = 512, split: str = "validation"
) -> dict[str, float]:
    """Accuracy against the true label on held-out wordings, by kind; sets the scale of `score`."""
    rng = Random(f"preference {split}")
    pairs = [draw_pair(rng, split, languages) for _ in range(count)]
    points = [draw_point(rng, split, languages) for _ in range(count)]
    asked = [pair.question for pair in pairs]
    chosen_N = model.raw(asked, [pair.chosen for pair in pairs])[:, 0]
    rejected_N = model.raw(asked, [pair.rejected for pair in pairs])[:, 0]
    both = torch.cat([chosen_N, rejected_N])
    model.centre.copy_(both.mean())
    model.spread.copy_(both.std().clamp(min=1e-3))
    beats_N = chosen_N > rejected_N
    right = {kind: [] for kind in general.KINDS}
    for pair, beats in zip(pairs, beats_N.tolist()):
        right[pair.kind].append(beats != pair.flipped)
    safe_N = model.harmless_score([q for q, _, _ in points], [r for _, r, _ in points])
    agree = [(score > 0) == safe for score, (*_, safe) in zip(safe_N.tolist(), points)]
    return {
        "accuracy": sum(map(sum, right.values())) / count,
        "label_accuracy": float(beats_N.float().mean()),
        "harmless_accuracy": sum(agree) / count,
        **{f"accuracy_{kind}": sum(part) / max(1, len(part)) for kind, part in right.items()},
    }
