"""What may be wrong with a run: looks at its figures, and at the settings that are not golden.

The likely cause is the first look that finds something, causes before their effects: what shows in
the curves, then a setting that lies far from the golden one, then what `measure.diagnosis` and
`golden` say.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from minir1.measure.diagnosis import column, trouble
from minir1.report import golden

SAMPLED = ("accuracy", "format", "length", "hit_rate", "wrong_steps", "check_right", "thinking")
EARLY, LATE = slice(0, 3), slice(-5, None)  # RL steps that a figure is averaged over
Cause = tuple[str, str]  # the likely cause; what to change

# setting -> (factor from the golden value that counts as far, what too much does, what too little)
SETTINGS = {
    "rl.lr": (3, "the steps are too large", "the policy hardly moves"),
    "rl.kl": (3, "the policy is paid for staying the base", "nothing holds the policy"),
    "rl.group_size": (2, "fewer puzzles", "of a group of few, hardly any response stands out"),
    "rl.prompts": (4, "fewer steps for the same work", "each step is a guess from few puzzles"),
    "rl.minibatches": (4, "late updates learn from a policy that is gone", "fewer updates"),
    "rl.max_tokens": (3, "responses have no end", "thoughts are cut off and earn nothing"),
    "rl.temperature": (1.3, "samples are noise", "the improbable is never sampled, nor judged"),
    "rl.clip_high": (2, "no token's pull ever ends", "hardly any token may grow"),
    "rl.accuracy_reward": (3, "form is hardly paid", "being right is hardly paid"),
    "rl.format_reward": (3, "form is paid like being right", "form is not paid"),
}
OTHER = {
    "rl.scale": "advantages are of another size in every group",
    "rl.average": "long and short responses weigh otherwise",
    "rl.loss": "another loss", "rl.tasks": "other problems",
} | dict.fromkeys(("base", "from_scratch", "model", "corpus", "pretrain"), "another base")
REMEDIES = {  # of what `measure.diagnosis` names with its effect
    "entropy collapsed": "lower --rl.lr, and read some responses",
    "thinking stops": "raise --rl.max_tokens, or begin with another --base",
}


@dataclass
class Case:
    """A run beside its golden runs: what the looks look at."""

    rows: list[dict]  # of RL
    test: dict[str, float]  # of the final test; {} before it
    config: dict
    settings: dict[str, tuple]  # that differ from the golden ones
    gone: list[golden.Band]  # that left, in order
    before: dict[str, float] = field(default_factory=dict)  # the base's validation, if there is one

    def mean(self, name: str, part: slice = LATE) -> float:
        """Not a number, which is neither above nor below, where the figure is unknown."""
        values = column(self.rows, name)[1][part]
        return sum(values) / len(values) if values else math.nan

    def left(self, *names: str, by: float = math.inf) -> bool:
        """Whether one of these RL figures left its band, at RL step `by` at the latest."""
        return any(band.figure.name in names and band.figure.phase == "rl"
                   and band.steps[band.left] <= by for band in self.gone)


# ---------------------------------------------------------------- looks: None where nothing shows


def broken(case: Case) -> Cause | None:
    words = trouble(case.rows)
    if words.startswith("broken"):
        what, _, change = words.partition("; ")
        return what, change


def padding(case: Case) -> Cause | None:
    """Every response counts as long as the longest, though hardly any is cut off."""
    mean, p95 = case.mean("length"), case.mean("length_p95")
    if abs(p95 - mean) < 1e-3 * mean and case.mean("truncated") < 0.5:
        why = f"padding is counted: every response is {mean:.0f} tokens long"
        return why, "make the mask from the lengths of the responses, not from the tensor's shape"


def disagreement(case: Case) -> Cause | None:
    """What the sampler says of its tokens is not what the learner says; its course tells why."""
    gaps = column(case.rows, "gap")[1]
    if not case.mean("gap") > 0.01 and not max(gaps, default=0) > 0.03:
        return None
    cause = f"sampler and trainer disagree by {case.mean('gap'):.2g} nats a token"
    if gaps[0] < 1e-3 and any(b < 0.1 * a for a, b in zip(gaps, gaps[1:]) if a > 0.01):
        return f"{cause}, more with each step, then less at once: it samples with old weights", (
            "give the sampler the new weights before every rollout")
    if gaps[0] > 0.02 and case.left(*SAMPLED, by=2):
        return f"{cause} from the first step on, and its responses are not the golden ones", (
            "sample as the loss assumes: --rl.temperature for both, top-p 1")
    if case.mean("entropy", EARLY) > 1.4 * case.mean("entropy_all", EARLY):
        return f"{cause}, on more tokens than were sampled", (
            "let the mask hold sampled tokens only: neither the prompt's nor padding")
    if gaps[0] > 0.02 and case.gone:
        return f"{cause} from the first step on, though its responses are the golden ones", (
            "let each log-prob stand at its own token, and the learner run without dropout")
    experts = "keep the router's bias fixed during RL (experts are routed otherwise), or "
    return cause, f"{experts * bool(case.config.get('model.experts', 1))}use --dtype float32"


def repeated_puzzle(case: Case) -> Cause | None:
    """Accuracies of a step's puzzles differ no more than responses to one puzzle would."""
    spread = []
    for row in case.rows[EARLY]:
        right = row.get("accuracy") or 0.0
        responses = (row.get("n") or 0) * case.config.get("rl.group_size", 0)
        alone = math.sqrt(right * (1 - right) / max(responses, 1))
        spread.append((row.get("stderr") or 0.0) / alone if alone else math.inf)
    lead = case.mean("accuracy", EARLY) - case.before.get("accuracy", math.nan)
    if abs(lead) > 0.25 and sum(spread) < 1.2 * len(spread):
        why = f"all puzzles of a step are alike: {100 * lead:+.0f} points from validation at once"
        return why, "draw other puzzles for each prompt of each step"


def strict_judge(case: Case) -> Cause | None:
    """Practice begins below the base's own validation, with the same responses."""
    right, length = case.mean("accuracy", EARLY), case.mean("length", EARLY)
    lack = case.before.get("accuracy", math.nan) - right
    alike = abs(case.before.get("length", math.nan) - length) < 0.3 * length
    if lack > 0.1 and alike and right > 0:
        why = f"a verifier that refuses right answers: practice begins {100 * lack:.0f} points low"
        return why, "judge the value of an answer, not its letters; try the verifier on known ones"


def same_responses(case: Case) -> Cause | None:
    """Some puzzles are solved, others not, and no group differs in itself."""
    if case.mean("signal", EARLY) < 0.02 and 0.1 < case.mean("accuracy", EARLY) < 0.9:
        why = "all responses to a puzzle are the same: no group differs, at any accuracy"
        return why, "let random numbers depend on the response, and sample at temperature 1"


def rate_is_gone(case: Case) -> Cause | None:
    steps, rates = column(case.rows, "lr")
    off = [step for step, rate in zip(steps[2:-1], rates[2:-1]) if rate <= 0]
    if off:
        why = f"the learning rate is {rates[-1]:.2g} at the end, and none from step {off[0]:.0f} on"
        return why, "let the schedule know the number of steps, and end above 0"


def other_reward(case: Case) -> Cause | None:
    """More is paid than the settings can pay for right answers in form."""
    kinds = ("accuracy", "format", "language")
    right, form, language = (case.config.get(f"rl.{kind}_reward", math.nan) for kind in kinds)
    most = right * case.mean("accuracy", EARLY) + form + language
    paid = case.mean("reward", EARLY)
    if paid > most + 0.05:
        pair = f"{paid:.2f} a response at first, {most:.2f} at most for right answers in form"
        why = f"the reward pays for something else: {pair}"
        return why, "take out what else is paid, such as length"


def uncentred(case: Case) -> Cause | None:
    """Gradients a hundred times the usual from the first step on."""
    norm = case.mean("grad_norm", EARLY)
    if case.left("grad_norm", by=2) and norm > 10 and case.mean("gap", EARLY) < 0.01:
        why = f"advantages are far too large: gradient norm {norm:.0f} at first"
        return why, "subtract the group's mean reward; where all are equal, let the advantage be 0"


def away_from_the_reference(case: Case) -> Cause | None:
    weight, kl = case.config.get("rl.kl") or 0.0, case.mean("kl")
    if weight * kl > 0.5:
        why = f"the KL term drives the policy away: {kl:.2g} nats a token, at a weight of {weight}"
        return why, "look at its sign: the loss must grow with the distance"


def unlike_ratio(case: Case) -> Cause | None:
    """Before the first update a ratio is 1, if sampler and trainer agree: nothing is clipped."""
    clipped = case.mean("clip_fraction", slice(0, 1))
    if clipped > 0.05 and case.mean("gap", EARLY) < 1e-3:
        why = f"{clipped:.0%} of tokens are clipped at first, though both log-probs are the same"
        return why, "look at the ratio, exp(new - old), and at the bounds around 1"


def lost_gradient(case: Case) -> Cause | None:
    """The golden responses, but less is learned from them."""
    norms = [b for b in case.gone if b.figure.name == "grad_norm" and b.steps[b.left] <= 2]
    if norms and norms[0].side == "below" and not case.left(*SAMPLED, by=2):
        why = f"the gradient is too small: its norm is {case.mean('grad_norm', EARLY):.2g} at first"
        return why, "add up all micro-batches, divide once; see --rl.scale and --rl.group_size"


def paid_for_noise(case: Case) -> Cause | None:
    first, last = case.mean("entropy", EARLY), case.mean("entropy")
    if last - first > 0.5:
        why = f"responses turn random: entropy {first:.2f} -> {last:.2f} nats a token"
        return why, "take out what pays for entropy; then lower --rl.lr"


def backwards(case: Case) -> Cause | None:
    """It unlearns by golden steps: nothing is too large, so the direction is wrong."""
    first, last = case.mean("accuracy", EARLY), case.mean("accuracy")
    calm = case.mean("grad_norm", EARLY) < 1 and case.mean("gap") < 0.01
    if calm and first - last > 0.1 and last < 0.7 * first and case.left("accuracy"):
        why = f"what is rewarded becomes rarer, {first:.0%} -> {last:.0%}, by steps of usual size"
        change = "print a group: the advantage's sign, and whether each reward meets its response"
        return why, change


def another_sampler(case: Case) -> Cause | None:
    """Practice and test are the same policy: their responses must be alike."""
    thinks, length = (case.mean(n) - case.test.get(n, math.nan) for n in ("thinking", "length"))
    if abs(thinks) > 0.2 or abs(length) > 0.5 * case.mean("length"):
        why = "practice is not sampled as the test is: top-p, top-k or a temperature"
        return why, "sample from the whole distribution (top-p 1), at the temperature of the loss"


def another_judge(case: Case) -> Cause | None:
    """The same responses, right in practice and wrong in the test."""
    lead = case.mean("accuracy") - case.test.get("accuracy", math.nan)
    if lead > 0.25:
        why = f"a verifier that can be cheated: practice is {100 * lead:.0f} points above the test"
        return why, "read responses that were called right, and close the verifier's hole"


def paid_for_form(case: Case) -> Cause | None:
    reward, right = case.mean("reward"), case.mean("accuracy")
    if reward > 0.3 and reward - right > 0.45 * reward and case.mean("thinking") < 0.9:
        why = f"form is paid better than being right: reward {reward:.2f}, {100 * right:.0f}% right"
        return why, "lower --rl.format_reward, or raise --rl.accuracy_reward"


def no_end(case: Case) -> Cause | None:
    """Cut off from the first step on, and RL does not mend it, as it mends a low limit."""
    first, last = case.mean("truncated", EARLY), case.mean("truncated")
    if first > 0.5 and last > 0.7 * first:
        why = f"the stop token is not in the loss: {100 * last:.0f}% of responses do not end"
        return why, "let the mask cover the stop token; if it does, raise --rl.max_tokens"


def false_sums(case: Case) -> Cause | None:
    wrong = case.mean("wrong_steps", slice(0, 1))  # of the base itself
    if wrong > 0.15:
        why = f"the base cannot compute: {100 * wrong:.0f}% of its steps are false before any RL"
        return why, "another --base, or one that has read more, and true, sums"


def far_setting(case: Case) -> Cause | None:
    """The setting that lies farthest from the golden one, in its own unit of far."""
    words, distances = trouble(case.rows), {"": 0.0}
    for name, (value, known) in case.settings.items():
        far = distance(name, value, known)  # one that is near is not what the run complains of
        distances[name] = far + 10 * (far >= 0.5 and f"--{name}" in words)
    farthest = max(distances, key=distances.get)
    if distances[farthest] < 1:
        return None
    value, known = case.settings[farthest]
    effect = OTHER.get(farthest.split(".")[0]) or OTHER.get(farthest)
    effect = effect or SETTINGS[farthest][1 if value > known else 2]
    value, known = (",".join(v) if isinstance(v, list) else v for v in (value, known))
    return f"{farthest} is {value}, golden {known}: {effect}", f"--{farthest} {known}"


def distance(name: str, value, known) -> float:
    """How far a setting lies from the golden one; from 1 on that is far.

    >>> distance("rl.lr", 9e-4, 1e-4), distance("rl.kl", 0.001, 0.0), distance("rl.steps", 1, 9)
    (2.0, 0.0, 0.0)
    """
    if name in OTHER or name.split(".")[0] in OTHER:
        return 2.0
    if name not in SETTINGS:
        return 0.0
    least = 0.0 if value and known else 0.05  # what is no more than this is as good as 0
    ratio = max(value, least) / max(known, least)
    return round(abs(math.log(ratio)) / math.log(SETTINGS[name][0]), 9)


def stuck(case: Case) -> Cause | None:
    """Nothing is wrong with the responses, only that they stay as they were."""
    names = [band.figure.name for band in case.gone if band.figure.early]
    now, before = case.mean("accuracy"), case.mean("accuracy", EARLY)
    alike = abs(case.mean("thinking") - case.mean("thinking", EARLY)) < 0.15
    if "accuracy" in names and alike and now - before < 0.2:
        change = "raise --rl.lr or lower --rl.kl; then look at the sign and the mask of the loss"
        return "the reward does not move the policy", change


def said_by_the_run(case: Case) -> Cause | None:
    words = trouble(case.rows)
    cause, _, change = words.rpartition(": ")
    for beginning, better in REMEDIES.items():
        if words.startswith(beginning):
            cause, change = words, better
    return (cause, change) if cause else None


def said_by_the_band(case: Case) -> Cause | None:
    if case.gone:
        return golden.usual(case.gone[0]), f"first what acts on {case.gone[0].figure.name}"


LOOKS: tuple[Callable[[Case], Cause | None], ...] = (
    broken, rate_is_gone, padding, same_responses, disagreement, repeated_puzzle, another_sampler,
    another_judge, strict_judge, other_reward, paid_for_form, uncentred, away_from_the_reference,
    far_setting, no_end, false_sums, unlike_ratio, lost_gradient, paid_for_noise, backwards,
    said_by_the_run, stuck, said_by_the_band,
)
