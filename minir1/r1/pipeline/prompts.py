"""What is asked in each stage: problems by step, drawn ahead, and the general lines of stage 3. Training split only.

A draw is `draw(step) -> (function, arguments)`: plain data, so that other processes can do the work.
"""

from collections.abc import Callable
from random import Random

from minir1.config import RLConfig
from minir1.measure.evaluator import draw_problems
from minir1.r1.data.curate import render_response
from minir1.r1.presets import R1Config
from minir1.r1.tasks import general
from minir1.transcript import Problem


def reasoning_only(config: R1Config, rl: RLConfig, phase: str) -> Callable[[int], tuple]:
    """Problems with a rule: the mixture of `rl.tasks`, both languages."""

    def draw(step: int) -> tuple:
        return draw_problems, (rl.tasks, config.corpus.languages, "train", f"{config.seed} {phase} {step}", rl.prompts)

    return draw


def mixed(config: R1Config, rl: RLConfig, phase: str) -> Callable[[int], tuple]:
    """The same, and from `begins(...)` on a share of general prompts."""

    def draw(step: int) -> tuple:
        share = config.preference.share if step >= begins(rl.steps, config.preference.last) else 0.0
        return draw_both, (rl.tasks, config.corpus.languages, f"{config.seed} {phase} {step}", rl.prompts, share)

    return draw


def begins(steps: int, last: float) -> int:
    """The first step of the last part: general prompts and the preference reward come from here on.

    >>> begins(40, 0.25), begins(40, 0.0)
    (30, 40)
    """
    return steps - round(last * steps)


def draw_both(tasks: tuple[str, ...], languages: tuple[str, ...], key: str, count: int, share: float) -> list[Problem]:
    rng, some = Random(f"general {key}"), round(share * count)
    asked = draw_problems(tasks, languages, "train", key, count - some) if some < count else []
    return asked + [general.sample(rng, general.draw_kind(rng), "train", rng.choice(languages)) for _ in range(some)]


def general_lines(config: R1Config) -> list[dict]:
    """Stage 3's non-reasoning data, with its provenance. Such a response has no thought: the answer is the summary."""
    rng, lines = Random(f"general lines {config.seed}"), []
    for i in range(config.rejection.general):
        lang = config.corpus.languages[i % len(config.corpus.languages)]
        problem = general.sample(rng, general.draw_kind(rng), "train", lang)
        response = plain_answer(general.canonical(problem))
        lines.append({"question": problem.question(), "response": response, "problem": problem.to_json(), "source": "general.py"})
    return lines


def plain_answer(answer: str) -> str:
    """A response without a thought.

    >>> plain_answer("Paris")
    '<answer>Paris</answer><|end|>'
    """
    whole = render_response(answer, "", "")
    return whole[whole.index("<answer>") :]
