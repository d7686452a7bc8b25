"""The curves that `minir1 golden` compares, and what it usually means when one leaves the band.

In the order in which causes come before effects: of two that leave at the same step the first one
is named.
"""

from dataclasses import dataclass

PHASES = {"rl": "training", "validate": "validation", "pretrain": "pretraining"}


@dataclass(frozen=True)
class Figure:
    """A curve to compare: where it stands in metrics.jsonl, how much is always forgiven, and what
    leaving means.

    `floor`: forgiven in any case, in percent points where `percent`, else as a share of the golden
    mean. `low`, `high`: the usual causes of a curve below or above the band; "" where that side is
    no fault.
    """

    name: str
    floor: float
    low: str
    high: str
    percent: bool = False
    phase: str = "rl"

    @property
    def label(self) -> str:
        return f"{self.name}, {PHASES[self.phase]}"


BASE = (
    "another base: is --base, or the corpus, the golden one? "
    "`minir1 corpus` measures what it has read"
)
LR = "steps too large: a lower --rl.lr; look at grad_norm and clip_fraction"
FORM = "a changed template, tokenizer or format reward; responses cut off (see truncated)"
FIGURES = (
    Figure(
        "loss", 0.03, "fewer kinds of documents: another corpus",
        "pretraining: another learning rate, batch or corpus", phase="pretrain",
    ),
    Figure(
        "gap", 9.0, "",
        "sampler and trainer disagree: precision (--dtype float32), --rl.recompute on, "
        "or experts routed otherwise",
    ),
    Figure("grad_norm", 1.0, "the reward hardly varies: look at signal", LR),
    Figure(
        "entropy", 0.35, f"responses all alike: {LR}",
        "it does not sharpen: a lower temperature in the loss than in the sampler, or no signal",
    ),
    Figure(
        "signal", 0.12,
        "groups all right or all wrong: puzzles too hard or too easy (--rl.tasks), "
        "or a reward that never varies",
        "a reward that varies without reason", percent=True,
    ),
    Figure("format", 0.06, FORM, "form alone is rewarded? --rl.format_reward", percent=True),
    Figure(
        "truncated", 0.08, "a longer --rl.max_tokens than the golden runs had",
        "responses do not end: is the stop token in the mask? --rl.max_tokens too small?",
        percent=True,
    ),
    Figure("wrong_steps", 0.03, "", f"RL wears down the arithmetic: {LR}", percent=True),
    Figure("check_right", 0.04, f"false verdicts: {LR}; {BASE}", "", percent=True),
    Figure(
        "thinking", 0.12,
        "thinking does not pay: the base cannot compute, or thoughts are cut off", BASE,
        percent=True,
    ),
    Figure("hit_rate", 0.3, BASE, "easier puzzles: --rl.tasks"),
    Figure(
        "attempts", 0.3,
        "it does not learn to retry: the base hardly does (habits.backtracking), "
        "or --rl.average, --rl.lr",
        "it tries without checking: look at repeated and check_right",
    ),
    Figure(
        "length", 0.3,
        "responses shrink or do not grow: checking does not pay, or --rl.lr is too low",
        "long without being right: look at repeated and truncated",
    ),
    Figure(
        "accuracy", 0.04,
        "the reward does not reach the policy: --rl.lr, the sign of the advantage, the mask, "
        "the base",
        "easier puzzles: --rl.tasks, or questions that leak", percent=True,
    ),
    Figure(
        "accuracy", 0.04,
        "as accuracy in training; if that is fine: learned by heart, too few training puzzles",
        "easier puzzles, or held-out ones that leak", phase="validate", percent=True,
    ),
)
