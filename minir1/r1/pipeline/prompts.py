"""What is asked in each stage: problems by step, and the general lines of stage 3.

Training split only.

A draw is `draw(step) -> (function, arguments)`: plain data, so that other processes can do the
work.
"""

from random import Random

from minir1.config import RLConfig
from minir1.r1.data.curation import render_response
from minir1.r1.presets import R1Config
from minir1.r1.tasks import general
from minir1.run.phases import Draw
from minir1.tasks import Problem, draw_problems


def mixed(config: R1Config, rl: RLConfig, key: str) -> Draw:
    """The mixture of `rl.tasks`, both languages; from `begins` on with some general prompts."""
    first = begins(rl.steps, config.preference.last)

    def draw(step: int) -> tuple:
        share = config.preference.share if step >= first else 0.0
        seed = f"{config.seed} {key} {step}"
        return draw_both, (rl.tasks, config.corpus.languages, seed, rl.prompts, share)

    return draw


def begins(steps: int, last: float) -> int:
    """The first step of the last part: general prompts and the preference reward come from here on.

    >>> begins(40, 0.25), begins(40, 0.0)
    (30, 40)
    """
    return steps - round(last * steps)


def draw_both(
    tasks: tuple[str, ...], languages: tuple[str, ...], key: str, count: int, share: float
) -> list[Problem]:
    """`count` problems, `share` of them general."""
    rng, some = Random(f"general {key}"), round(share * count)
    problems = draw_problems(tasks, languages, "train", key, count - some) if some < count else []
    return problems + [general.draw(rng, "train", languages) for _ in range(some)]


def general_lines(config: R1Config) -> list[dict]:
    """Stage 3's non-reasoning data, with its source. No thought: the answer is the summary."""
    rng, lines = Random(f"general lines {config.seed}"), []
    for i in range(config.rejection.general):
        lang = config.corpus.languages[i % len(config.corpus.languages)]
        problem = general.sample(rng, general.draw_kind(rng), "train", lang)
        line = {"question": problem.question(), "response": render_response(problem.canonical())}
        lines.append(line | {"problem": problem.to_json(), "source": "general.py"})
    return lines
