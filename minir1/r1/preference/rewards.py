"""Rewards of the R1 stages: the core's three, on responses that carry a summary, and the preference reward.

The core's template knows no summary between </think> and <answer>, so it is taken out before the core reads a response. Deviation
from the R1 report: (1) the format reward of these stages is readability (curation.readable): stopped by itself, no
attempt repeated, every written step true, a summary that states the answer. The report left that to cold-start data and to people.
(2) Only a right answer earns it: a long search risks a repetition, so that giving up early would pay as much as finding the answer.
"""

from dataclasses import dataclass, replace

from minir1.config import RLConfig
from minir1.r1.data.curation import readable, without_summary
from minir1.r1.preference.model import final_summary
from minir1.r1.presets import PreferenceConfig
from minir1.r1.tasks.general_problem import GeneralProblem
from minir1.rewards import Reward, score
from minir1.rollout import Rollouts
from minir1.transcript import Problem


@dataclass(frozen=True)
class Judgement:
    """A Reward, and what the preference model adds to it; has what grpo.train asks of a reward."""

    accuracy: float
    format: float
    language: float
    preference: float = 0.0  # already weighted
    counts: bool = True  # False: accuracy is known (it is measured) but not rewarded

    def total(self, config: RLConfig) -> float:
        rule = Reward(self.accuracy if self.counts else 0.0, self.format, self.language).total(config)
        return rule + self.preference


def plain(problem: Problem, response: str) -> Reward:
    """The core's reward of a response, with or without a summary.

    >>> from minir1.tasks.countdown import Countdown
    >>> plain(Countdown((3, 5), 8), "<think>3 + 5 = 8, yes</think>So 3 + 5 = 8.<answer>3 + 5</answer><|end|>").accuracy
    1.0
    """
    return score(problem, without_summary(response))


def judge(problem: Problem, response: str) -> Judgement:
    """Reasoning: format means right and readable. General tasks: a well-formed answer, and no reward for its being right."""
    reward = plain(problem, response)
    if isinstance(problem, GeneralProblem):
        return Judgement(reward.accuracy, reward.format, reward.language, counts=False)
    return Judgement(reward.accuracy, float(reward.accuracy > 0 and readable(problem, response)), reward.language)


def rescore(step: int, rollouts: Rollouts) -> list[Judgement]:
    """`judge` of every row; the signature that stages.reinforce takes."""
    return [judge(rollouts.problem(row), text) for row, text in enumerate(rollouts.texts)]


def by_core(step: int, rollouts: Rollouts) -> list[Reward]:
    """R1-Zero's rewards: the core's own."""
    return rollouts.rewards


class PreferenceJudge:
    """Stage 4's rewards: rules for reasoning; for general prompts format, and what the preference model says.

    Helpfulness is judged on the final summary, harmlessness on the whole response (R1 report, 2.3.4); they are averaged.
    """

    def __init__(self, model, config: PreferenceConfig):
        self.model, self.config = model, config

    def __call__(self, step: int, rollouts: Rollouts) -> list[Judgement]:
        judged = rescore(step, rollouts)
        rows = [row for row in range(len(judged)) if isinstance(rollouts.problem(row), GeneralProblem)]
        if not rows:
            return judged
        questions = [rollouts.problem(row).question() for row in rows]
        helpful = self.model.score(questions, [final_summary(rollouts.texts[row]) for row in rows])
        harmless = self.model.harmless_score(questions, [rollouts.texts[row] for row in rows])
        for row, value in zip(rows, ((helpful + harmless) / 2).tolist()):
            judged[row] = replace(judged[row], preference=self.config.weight * value)
        return judged
