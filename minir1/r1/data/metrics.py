"""The metrics of a stage's responses."""

from minir1.config import RLConfig
from minir1.measure.statistics import mean
from minir1.r1.data.curation import readable
from minir1.r1.data.language import mixing
from minir1.r1.tasks.general_problem import GeneralProblem
from minir1.rollout import Rollouts


def describe_stage(rollouts: Rollouts, rl: RLConfig) -> dict[str, float]:
    """reward, length, truncated: of all responses. accuracy, readable, mixed words and switches: of
    those to reasoning problems. general_...: of the others."""
    rewards, texts, rows = rollouts.rewards, rollouts.texts, range(len(rollouts.rewards))
    problems = [rollouts.problem(row) for row in rows]
    general = [row for row in rows if isinstance(problems[row], GeneralProblem)]
    reasoning = [row for row in rows if not isinstance(problems[row], GeneralProblem)]

    metrics = {
        "reward": mean(reward.total(rl) for reward in rewards),
        "length": sum(rollouts.lengths()) / len(rewards),
        "truncated": 1 - sum(rollouts.stopped) / len(rewards),
    }
    if reasoning:
        metrics["accuracy"] = mean(rewards[row].accuracy for row in reasoning)
        metrics["readable"] = mean(readable(problems[row], texts[row]) for row in reasoning)
        metrics |= mixing([(problems[row], texts[row]) for row in reasoning])
    if general:
        metrics["general_accuracy"] = mean(rewards[row].accuracy for row in general)
        preferences = [getattr(rewards[row], "preference", 0.0) for row in general]
        metrics["general_preference"] = mean(preferences)
    return metrics
