"""The failures: how each breaks the recipe, what shows it, and the fix.

A broken piece wraps the core's; it never copies it. Beside it stands the fixed one, so that their
difference is the fix.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F

from minir1.experiments.failures import bases
from minir1.experiments.failures.runs import Arm
from minir1.model import Transformer, expert_load, move_router_bias
from minir1.r1.preference.rewards import rejudged
from minir1.rewards import Reward, score
from minir1.rollout import Rollouts, to_batch
from minir1.tasks.countdown import evaluate
from minir1.tokenizer import Tokenizer
from minir1.transcript import ANSWER_END, parse

LR = 2e-4  # above the recipe's: these runs are short


@dataclass(frozen=True)
class Symptom:
    """A figure of runs.last_figures and which way the failure moves it."""

    key: str
    words: str
    sign: int  # +1: higher when broken
    percent: bool = True


@dataclass(frozen=True)
class Failure:
    line: str  # what is broken, in one line
    story: str  # what happens and why
    seen: str  # where it occurred
    broken: Arm
    fixed: Arm
    symptom: Symptom
    curve: str  # the metric of a step that the figure shows beside accuracy
    settings: dict[str, object] = field(default_factory=dict)  # both arms alike
    choice: bool = False  # the "broken" arm is not the worse one, so no case for --blind


ACCURACY = Symptom("accuracy", "right answers", -1)
BEHIND = Symptom("behind_practice", "points by which the policy falls behind its practice", 1)

# ---------------------------------------------------------------- broken pieces, fixed twins


def _stop_masked(model: Transformer, tokenizer: Tokenizer, rollouts: Rollouts) -> Rollouts:
    answered = tokenizer.id(ANSWER_END)
    actions = [[answered not in ids[:i] for i in range(len(ids))] for ids in rollouts.response_ids]
    return replace(rollouts, actions=actions)


def _stop_trained(model: Transformer, tokenizer: Tokenizer, rollouts: Rollouts) -> Rollouts:
    actions = [[True for i in range(len(ids))] for ids in rollouts.response_ids]
    return replace(rollouts, actions=actions)


def _padding_counted(model: Transformer, tokenizer: Tokenizer, rollouts: Rollouts) -> Rollouts:
    width = max(rollouts.lengths())
    ids = [row + [tokenizer.pad] * (width - len(row)) for row in rollouts.response_ids]
    logp = [F.pad(row, (0, width - len(row))) for row in rollouts.logp]
    return replace(rollouts, response_ids=ids, logp=logp)


def _unchanged(model: Transformer, tokenizer: Tokenizer, rollouts: Rollouts) -> Rollouts:
    return rollouts


def _nucleus(sample: Callable, model, prompts, group, settings, *stream):
    return sample(model, prompts, group, replace(settings, top_p=0.6), *stream)


def _whole_distribution(sample: Callable, model, prompts, group, settings, *stream):
    return sample(model, prompts, group, replace(settings, top_p=1.0), *stream)


def _value_only(model: Transformer, tokenizer: Tokenizer, rollouts: Rollouts) -> Rollouts:
    def judge(problem, text: str) -> Reward:
        value = evaluate(parse(text).answer or "")
        right = value is not None and value[0] == problem.target
        return score(problem, text)._replace(accuracy=float(right))

    return rejudged(rollouts, judge)


def _every_number_once(model: Transformer, tokenizer: Tokenizer, rollouts: Rollouts) -> Rollouts:
    return rejudged(rollouts, score)


def _router_moves(model: Transformer, tokenizer: Tokenizer, rollouts: Rollouts) -> Rollouts:
    with torch.no_grad():
        _, routing = model.trunk(to_batch(rollouts, tokenizer.pad, "cpu").ids_BT)
    move_router_bias(model, expert_load(routing, model.config.experts), rate=0.05)
    return rollouts


# ---------------------------------------------------------------- the gallery

FAILURES = {
    "stop-token": Failure(
        "the stop token is masked out of the loss",
        "The base runs on after its answer, as bases do. What follows the answer is cut out of the "
        "loss, the end token with it: stopping is rewarded and never credited for it.",
        "tiny-grpo masks the end token because pad = eos; nanochat's engine drops it",
        broken=Arm(base=bases.runs_on, feed=_stop_masked),
        fixed=Arm(base=bases.runs_on, feed=_stop_trained),
        symptom=Symptom("stopped", "responses that stop by themselves", -1),
        curve="truncated", settings={"rl.max_tokens": 96},
    ),
    "padding": Failure(
        "padding is counted in the loss",
        "Rows are padded to the longest of the batch, and the mask forgets it. Most of what is "
        "averaged are then pads, which the policy did not choose: the same direction hundreds of "
        "times a row, as loud as all the rest.",
        "masks made from shapes instead of lengths",
        broken=Arm(feed=_padding_counted), fixed=Arm(feed=_unchanged),
        symptom=Symptom("padding", "padding among the tokens of the loss", 1),
        curve="entropy", settings={"rl.recompute": True, "rl.max_tokens": 96},
    ),
    "top-p": Failure(
        "sampled with top-p, scored with the full softmax",
        "The sampler never draws from the tail, so nothing there is ever punished; the loss "
        "believes it had the chance. Practice looks fine as long as the sampler hides the tail; "
        "the policy that was trained is the one without top-p.",
        "nanochat, minimind, reasoning-from-scratch: top-k or top-p in training, log-probs without",
        broken=Arm(sampler=_nucleus), fixed=Arm(sampler=_whole_distribution),
        symptom=BEHIND, curve="accuracy",
    ),
    "verifier": Failure(
        "a verifier that can be cheated",
        "It asks whether the answer has the target's value, not whether the numbers were used. One "
        "page in ten of this base's corpus answers with the target itself; RL finds that in a few "
        "steps. The reward is perfect, the answers are worthless.",
        "TinyZero, nano-aha-moment, GRPO-Zero: eval on a filtered string",
        broken=Arm(base=bases.repeats_the_target, feed=_value_only),
        fixed=Arm(base=bases.repeats_the_target, feed=_every_number_once),
        symptom=Symptom("overpaid", "rewards for wrong answers", 1),
        curve="paid", settings={"rl.max_tokens": 192},
    ),
    "format-reward": Failure(
        "form is paid better than being right",
        "A thought may be cut off and lose its form; an answer without thinking never does. "
        "Paid for form, the policy stops thinking.",
        "simple_GRPO: 1.25 for form, 1 for being right",
        broken=Arm({"rl.accuracy_reward": 0.1, "rl.format_reward": 1.0}),
        fixed=Arm({"rl.accuracy_reward": 1.0, "rl.format_reward": 0.1}),
        symptom=Symptom("thinking", "responses that think", -1),
        curve="thinking", settings={"rl.max_tokens": 128},
    ),
    "length-bias": Failure(
        "each response is averaged first (1/|o|): wrong answers stay long, though more are right",
        "A wrong answer of 200 tokens is punished no more than one of 20. With a base that "
        "rambles, going on to the limit stays cheap; averaged over tokens, it is what costs most. "
        "What it costs is length: in runs as short as these more answers are right with it.",
        "the GRPO papers' own form; Dr. GRPO (arXiv 2503.20783) found it",
        broken=Arm({"rl.average": "response"}, base=bases.rambles),
        fixed=Arm({"rl.average": "token"}, base=bases.rambles),
        symptom=Symptom("length_wrong", "tokens of a wrong response", 1, percent=False),
        curve="length", settings={"rl.max_tokens": 160}, choice=True,
    ),
    "truncation": Failure(
        "a token limit that cuts most thoughts off, silently",
        "A thought that does not fit earns nothing. No error is raised; the policy learns not to "
        "think, and `truncated` is where it shows.",
        "TRL #6263: a default completion limit below what the answers need",
        broken=Arm({"rl.max_tokens": 24}), fixed=Arm({"rl.max_tokens": 256}),
        symptom=ACCURACY, curve="thinking",
    ),
    "kl-too-strong": Failure(
        "a KL penalty that outweighs the reward",
        "The policy is paid for staying the base, and stays it.",
        "beta copied from a recipe with another loss scale",
        broken=Arm({"rl.kl": 3.0}), fixed=Arm({"rl.kl": 0.0}),
        symptom=ACCURACY, curve="entropy",
    ),
    "lr-too-high": Failure(
        "a learning rate that breaks the policy",
        "The first steps look well; then written arithmetic breaks, and no response is right any "
        "more, so nothing can repair it.",
        "everyone's first week",
        broken=Arm({"rl.lr": 5e-3}), fixed=Arm({"rl.lr": LR}),
        symptom=ACCURACY, curve="format",
    ),
    "router-drift": Failure(
        "the router's bias moves between sampling and update",
        "The experts that scored a token are not those that wrote it: the ratio is not 1 at the "
        "start, and what is learned is not what was sampled. `gap` shows it at once. (Load "
        "balancing goes on in RL, with steps of 0.05.)",
        "MoE trainers whose sampler and trainer route differently",
        broken=Arm(feed=_router_moves), fixed=Arm(feed=_unchanged),
        symptom=Symptom("gap", "nats between trainer and sampler, a token", 1, percent=False),
        curve="gap",
    ),
    "cannot-compute": Failure(
        "a base that cannot compute",
        "Seven of ten results in what it read are false. Checking does not pay when checks lie: "
        "thoughts shrink, not grow, and RL settles for a guess.",
        "RL on a base pretrained too little (the prototypes of this project)",
        broken=Arm(base=bases.cannot_compute), fixed=Arm(base=bases.computes),
        symptom=ACCURACY, curve="length",
    ),
    "zero-variance": Failure(
        "every group earns the same: nothing to compare, nothing to learn",
        "The puzzles are far beyond the base, all responses of a group are wrong, all advantages "
        "are 0. The loss is 0 and so is the gradient. `signal` shows it. Ease the task until some "
        "of each group are right.",
        "RL on too hard a task: rewards that stay at zero",
        broken=Arm({"rl.tasks": ("countdown:rg-hard=1",)}),
        fixed=Arm({"rl.tasks": ("countdown:cpu=1",)}),
        symptom=Symptom("signal", "responses with a signal", -1),
        curve="signal", settings={"rl.format_reward": 0.0},
    ),
}
