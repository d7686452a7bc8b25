"""The command line of train_r1.py, made from R1Config's fields.

>>> parse(["--preset", "smoke", "--stages", "2-3", "--no-control"]).control
False
"""

import argparse
import typing
from dataclasses import fields, is_dataclass
from pathlib import Path

from minir1.config import UserError, apply
from minir1.console.flags import _converter
from minir1.r1.presets import PRESETS, R1Config, check_r1, parse_stages

PROGRAM = "train_r1.py"
BASIC = ("preset", "stages", "from", "base", "zero", "no-control", "seed", "out", "from_scratch", "device")
SPELLED = {"source": "from"}  # a field cannot be called from


def _flags(kind: type, prefix: str = "") -> list[tuple[str, type, object]]:
    hints, found = typing.get_type_hints(kind), []
    for f in fields(kind):
        name, hint = f"{prefix}{f.name}", hints[f.name]
        found += _flags(hint, f"{name}.") if is_dataclass(hint) else [(name, hint, f)]
    return found


def build_parser(everything: bool = False) -> argparse.ArgumentParser:
    about = "The R1 pipeline: cold start, reasoning RL, rejection sampling, RL for all scenarios, distillation."
    parser = argparse.ArgumentParser(PROGRAM, description=about, add_help=False, allow_abbrev=False)
    parser.add_argument("--help", "-h", action="store_true", default=None, help="the flags most people need")
    parser.add_argument("--help-all", action="store_true", default=None, help="every flag")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run folder; --stages may choose what is done now")
    parser.add_argument("--no-control", action="store_true", default=None, help="leave out stage 2 without the language reward")
    for name, hint, f in _flags(R1Config):
        flag = SPELLED.get(name, name)
        help = f.metadata["help"] if everything or flag in BASIC else argparse.SUPPRESS
        boolean = {"nargs": "?", "const": True} if hint is bool else {}
        parser.add_argument(
            f"--{flag}", dest=name, type=_converter(hint), help=help, metavar=flag.split(".")[-1].upper(), **boolean
        )
    return parser


def read_arguments(arguments: list[str]) -> dict:
    """What was given, by field name. Raises UserError; prints help and raises SystemExit(0) for --help."""
    parser = build_parser("--help-all" in arguments)
    parser.error = lambda message: (_ for _ in ()).throw(UserError(f"{message} (see {PROGRAM} --help)"))
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    if given.pop("help", False) or given.pop("help_all", False):
        parser.print_help()
        raise SystemExit(0)
    if given.pop("no_control", False):
        given["control"] = False
    if "stages" in given:
        parse_stages(given["stages"])
    return given


def parse(arguments: list[str], default: str = "cpu") -> R1Config:
    """Preset, then flags on top."""
    return settle(read_arguments(arguments), default)


def settle(given: dict, default: str) -> R1Config:
    given = dict(given)
    preset = given.pop("preset", None) or default
    if preset not in PRESETS:
        raise UserError(f"unknown preset {preset!r}; choose from {', '.join(PRESETS)}")
    if "base" in given and "from_scratch" not in given:
        given["from_scratch"] = False
    config = apply(PRESETS[preset], given)
    if not config.out:
        config = apply(config, {"out": f"runs/r1-{config.preset}-{config.seed}"})
    for name in ("base", "zero"):
        value = getattr(config, name)
        if value and name in given and not Path(value).is_file() and "/" in value:
            raise UserError(f"--{name}: no checkpoint at {value}")
    return check_r1(config)
