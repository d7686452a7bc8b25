"""The curves that `minir1 golden` compares, and what it usually means when one leaves the band.

In the order in which causes come before effects: of two that leave at the same step the first one
is named.
"""

import math
from dataclasses import dataclass

PHASES = {"rl": "training", "validate": "validation", "pretrain": "pretraining"}


@dataclass(frozen=True)
class Figure:
    """A curve to compare: where it stands in metrics.jsonl, how much is always forgiven, and what
    leaving means.

    `floor`: forgiven in any case, in the unit of comparison: shares where `percent`, natural
    logarithms of positive figures, plain numbers where `signed`. `early`: not the curve, but how
    much a line through its first steps rises. `low`, `high`: the usual causes of a curve below or
    above the band; "" where that side is no fault.
    """

    name: str
    floor: float
    low: str
    high: str
    percent: bool = False
    phase: str = "rl"
    signed: bool = False
    early: bool = False

    @property
    def label(self) -> str:
        return f"{self.name}, {'early rise' if self.early else PHASES[self.phase]}"

    @property
    def logs(self) -> bool:
        return not self.percent and not self.signed

    def show(self, value: float) -> str:
        """A value that was compared, in the figure's own unit; of a rise in logarithms, the factor.

        >>> Figure("length", 0.1, "", "").show(math.log(40)), FIGURES[-1].show(0.5)
        ('40', '50%')
        """
        if self.logs:
            return f"{'x' if self.early else ''}{math.exp(value):.3g}"
        return f"{100 * value:.3g}%" if self.percent else f"{value:.3g}"


BASE = (
    "another base: is --base, or the corpus, the golden one? "
    "`minir1 corpus` measures what it has read"
)
LR = "steps too large: a lower --rl.lr; look at grad_norm and clip_fraction"
LOSS = "another --rl.loss or --rl.average, a sign, a mask, or advantages of another scale"
SLOW = "a --rl.lr too low, a --rl.kl too high, or the sign or the mask of the loss"
FORM = "a changed template, tokenizer or format reward; responses cut off (see truncated)"
FIGURES = (
    Figure(
        "loss", 0.03, "fewer kinds of documents: another corpus",
        "pretraining: another learning rate, batch or corpus", phase="pretrain",
    ),
    Figure(
        "gap", 2.3, "",
        "sampler and trainer disagree: precision (--dtype float32), --rl.recompute on, "
        "or experts routed otherwise",
    ),
    Figure(
        "grad_norm", 0.1,
        "the reward hardly varies: look at signal; or advantages are not divided by the group's "
        "deviation (--rl.scale)", LR,
    ),
    Figure("clip_fraction", 0.005, "", f"{LR}; or more --rl.minibatches", percent=True),
    Figure("loss", 0.03, LOSS, LOSS, signed=True),
    Figure(
        "entropy", 0.1, f"responses all alike: {LR}",
        "it does not sharpen: a lower temperature in the loss than in the sampler, or no signal",
    ),
    Figure(
        "signal", 0.06,
        "groups all right or all wrong: puzzles too hard or too easy (--rl.tasks), "
        "or a reward that never varies",
        "a reward that varies without reason", percent=True,
    ),
    Figure("format", 0.03, FORM, "form alone is rewarded? --rl.format_reward", percent=True),
    Figure(
        "truncated", 0.04, "a longer --rl.max_tokens than the golden runs had",
        "responses do not end: is the stop token in the mask? --rl.max_tokens too small?",
        percent=True,
    ),
    Figure("wrong_steps", 0.02, "", f"RL wears down the arithmetic: {LR}", percent=True),
    Figure("check_right", 0.02, f"false verdicts: {LR}; {BASE}", "", percent=True),
    Figure(
        "thinking", 0.06,
        "thinking does not pay: the base cannot compute, or thoughts are cut off", BASE,
        percent=True,
    ),
    Figure("hit_rate", 0.1, BASE, "easier puzzles: --rl.tasks"),
    Figure(
        "attempts", 0.1,
        "it does not learn to retry: the base hardly does (habits.backtracking), "
        "or --rl.average, --rl.lr",
        "it tries without checking: look at repeated and check_right",
    ),
    Figure(
        "length", 0.1,
        "responses shrink or do not grow: checking does not pay, or --rl.lr is too low",
        "long without being right: look at repeated and truncated",
    ),
    Figure(
        "accuracy", 0.03,
        "the reward does not reach the policy: --rl.lr, the sign of the advantage, the mask, "
        "the base",
        "easier puzzles: --rl.tasks, or questions that leak", percent=True,
    ),
    Figure(
        "accuracy", 0.03, f"too slow: {SLOW}", f"{LR}, or easier puzzles: --rl.tasks",
        percent=True, early=True,
    ),
    Figure("length", 0.1, f"too slow: {SLOW}", LR, early=True),
    Figure(
        "accuracy", 0.04,
        "as accuracy in training; if that is fine: learned by heart, too few training puzzles",
        "easier puzzles, or held-out ones that leak", phase="validate", percent=True,
    ),
)
