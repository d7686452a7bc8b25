"""What each puzzle of the notebooks asks for: the table. (Spoilers.)

The loops stand in one file a notebook. They are slow, and meant to be beyond doubt.
`PUZZLES` maps "notebook.name" to the specification and to a function that draws its arguments.
"""

from grader import (
    base_model,
    create_or_amplify,
    experts,
    grpo,
    pipeline,
    r1_zero,
    reading_a_run,
    real_model,
    rewards,
    sampler,
    tour,
    transformer,
)

TOPICS = (  # notebook 00, 01, ...
    tour,
    transformer,
    experts,
    base_model,
    sampler,
    rewards,
    grpo,
    r1_zero,
    pipeline,
    reading_a_run,
    real_model,
    create_or_amplify,
)
PUZZLES = {name: puzzle for topic in TOPICS for name, puzzle in topic.PUZZLES.items()}
