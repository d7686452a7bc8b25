"""The curves that `minir1 golden` compares, and what it usually means when one leaves the band.

In the order in which causes come before effects: of two that leave at the same step the first one
is named.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A curve to compare: where it stands in metrics.jsonl, how much is always forgiven, and what
    leaving means.

    `floor`: forgiven in any case, in percent points where `percent`, else as a share of the golden
    mean. `low`, `high`: the usual causes of a curve below or above the band; "" where that side is
    no fault.
    """

    phase: str
    name: str
    floor: float
    percent: bool
    low: str
    high: str

    @property
    def label(self) -> str:
        where = {"rl": "training", "validate": "validation", "pretrain": "pretraining"}
        return f"{self.name}, {where[self.phase]}"


BASE = "another base: is --base, or the corpus, the golden one? `minir1 corpus` measures what it has read"
LR = "steps too large: a lower --rl.lr; look at grad_norm and clip_fraction"
FORM = "a changed template, tokenizer or format reward; responses cut off (see truncated)"
FIGURES = (
    Figure(
        "pretrain",
        "loss",
        0.03,
        False,
        "fewer kinds of documents: another corpus",
        "pretraining: another learning rate, batch or corpus",
    ),
    Figure(
        "rl",
        "gap",
        9.0,
        False,
        "",
        "sampler and trainer disagree: precision (--dtype float32), --rl.recompute on, or experts routed otherwise",
    ),
    Figure("rl", "grad_norm", 1.0, False, "the reward hardly varies: look at signal", LR),
    Figure(
        "rl",
        "entropy",
        0.35,
        False,
        f"responses all alike: {LR}",
        "it does not sharpen: a lower temperature in the loss than in the sampler, or no signal",
    ),
    Figure(
        "rl",
        "signal",
        0.12,
        True,
        "groups all right or all wrong: puzzles too hard or too easy (--rl.tasks), or a reward that never varies",
        "a reward that varies without reason",
    ),
    Figure("rl", "format", 0.06, True, FORM, "form alone is rewarded? --rl.format_reward"),
    Figure(
        "rl",
        "truncated",
        0.08,
        True,
        "a longer --rl.max_tokens than the golden runs had",
        "responses do not end: is the stop token in the mask? --rl.max_tokens too small?",
    ),
    Figure("rl", "wrong_steps", 0.03, True, "", f"RL wears down the arithmetic: {LR}"),
    Figure("rl", "check_right", 0.04, True, f"false verdicts: {LR}; {BASE}", ""),
    Figure(
        "rl",
        "thinking",
        0.12,
        True,
        "thinking does not pay: the base cannot compute, or thoughts are cut off",
        BASE,
    ),
    Figure("rl", "hit_rate", 0.3, False, BASE, "easier puzzles: --rl.tasks"),
    Figure(
        "rl",
        "attempts",
        0.3,
        False,
        "it does not learn to retry: the base hardly does (habits.backtracking), or --rl.average, --rl.lr",
        "it tries without checking: look at repeated and check_right",
    ),
    Figure(
        "rl",
        "length",
        0.3,
        False,
        "responses shrink or do not grow: checking does not pay, or --rl.lr is too low",
        "long without being right: look at repeated and truncated",
    ),
    Figure(
        "rl",
        "accuracy",
        0.04,
        True,
        "the reward does not reach the policy: --rl.lr, the sign of the advantage, the mask, the base",
        "easier puzzles: --rl.tasks, or questions that leak",
    ),
    Figure(
        "validate",
        "accuracy",
        0.04,
        True,
        "as accuracy in training; if that is fine: learned by heart, too few training puzzles",
        "easier puzzles, or held-out ones that leak",
    ),
)
