"""Rewards of the R1 stages: the core's three, and for general prompts the preference reward.

Responses of these stages carry a summary between </think> and <answer>. The core's template knows
none, so it is taken out before the core reads a response.

Deviations from the R1 report: (1) the format reward is readability (curation.readable), which the
report left to cold-start data and to people. (2) Only a right answer earns it. A long search risks
a repetition, so giving up early would otherwise pay as much as finding the answer.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from minir1.config import RLConfig
from minir1.r1.data.curation import readable, without_summary
from minir1.r1.preference.pairs import final_summary
from minir1.r1.presets import PreferenceConfig
from minir1.r1.tasks.general_problem import GeneralProblem
from minir1.rewards import Reward, score
from minir1.rollout import Rollouts
from minir1.tasks import Problem


@dataclass(frozen=True)
class Judgement:
    """A Reward, and what the preference model adds to it."""

    accuracy: float
    format: float
    language: float
    preference: float = 0.0  # already weighted
    counts: bool = True  # False: accuracy is known (it is measured) but not rewarded

    def total(self, config: RLConfig) -> float:
        accuracy = self.accuracy if self.counts else 0.0
        return Reward(accuracy, self.format, self.language).total(config) + self.preference


def plain(problem: Problem, response: str) -> Reward:
    """The core's reward of a response, with or without a summary.

    >>> from minir1.tasks.countdown import Countdown
    >>> response = "<think>3 + 5 = 8, yes</think>So 3 + 5 = 8.<answer>3 + 5</answer><|end|>"
    >>> plain(Countdown((3, 5), 8), response).accuracy
    1.0
    """
    return score(problem, without_summary(response))


def judge(problem: Problem, response: str) -> Judgement:
    """Reasoning: format means right and readable. General: format; being right does not pay."""
    accuracy, format, language = plain(problem, response)
    if isinstance(problem, GeneralProblem):
        return Judgement(accuracy, format, language, counts=False)
    return Judgement(accuracy, float(accuracy > 0 and readable(problem, response)), language)


def rejudged(rollouts: Rollouts, judge: Callable[[Problem, str], object]) -> Rollouts:
    """With other rewards: `judge` of every row."""
    rows = enumerate(rollouts.texts)
    return replace(rollouts, rewards=[judge(rollouts.problem(row), text) for row, text in rows])


def rescore(step: int, rollouts: Rollouts) -> list[Judgement]:
    """`judge` of every row; the signature that the RL loop takes."""
    return rejudged(rollouts, judge).rewards


class PreferenceJudge:
    """Stage 4's rewards: rules for reasoning; for general prompts the preference model too.

    Helpfulness is judged on the final summary, harmlessness on the whole response (R1 report,
    2.3.4). The reward is their mean.
    """

    def __init__(self, model, config: PreferenceConfig):
        self.model, self.config = model, config

    def __call__(self, step: int, rollouts: Rollouts) -> list[Judgement]:
        judged, rows = rescore(step, rollouts), range(len(rollouts.texts))
        rows = [row for row in rows if isinstance(rollouts.problem(row), GeneralProblem)]
        if not rows:
            return judged
        questions = [rollouts.problem(row).question() for row in rows]
        texts = [rollouts.texts[row] for row in rows]
        helpful = self.model.score(questions, [final_summary(text) for text in texts])
        harmless = self.model.harmless_score(questions, texts)
        for row, value in zip(rows, ((helpful + harmless) / 2).tolist()):
            judged[row] = replace(judged[row], preference=self.config.weight * value)
        return judged
