"""The command line of train_r1.py, made from R1Config's fields.

>>> parse(["--preset", "smoke", "--stages", "2-3", "--no-control"]).control
False
"""

from minir1.config import apply
from minir1.console.flags import VOCABULARY, Program, read_arguments, with_preset
from minir1.r1.presets import PRESETS, R1Config, check_r1

ABOUT = "R1: cold start, reasoning RL, rejection sampling, RL for all scenarios, distillation."
UNREAD = (  # no stage validates; shards are the core's; stage 1 has no general lines
    "zero_rl.evaluate_every", "reasoning.evaluate_every", "scenarios.evaluate_every",
    "corpus.shard_tokens", "cold.general",
)
SHOWN = ("preset", "stages", "from", "base", "zero", "seed", "out", "from_scratch", "device")
TRAIN_R1 = Program(
    "train_r1.py",
    ABOUT,
    R1Config,
    PRESETS,
    SHOWN,
    spelled={"source": "from"},  # a field cannot be called from
    switches={"no-control": "leave out stage 2 without the language reward"},
    absent=(VOCABULARY, *UNREAD),
)


def read(arguments: list[str]) -> dict[str, object]:
    """What was given, by field name. Raises UserError; SystemExit(0) after printing help."""
    values = read_arguments(TRAIN_R1, arguments)
    if values.pop("no_control", False):
        values["control"] = False
    return values


def parse(arguments: list[str], default: str = "cpu") -> R1Config:
    """Preset, then flags on top."""
    return settle(read(arguments), default)


def settle(values: dict[str, object], default: str) -> R1Config:
    config = with_preset(TRAIN_R1, values, default)
    if not config.out:
        config = apply(config, {"out": f"runs/r1-{config.preset}-{config.seed}"})
    return check_r1(config)
