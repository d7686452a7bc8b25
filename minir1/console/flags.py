"""Command lines made from the fields of a configuration.

>>> parse_command_line(["--preset", "cpu", "--rl.lr", "1e-3"]).rl.lr
0.001
"""

import argparse
import types
import typing
from dataclasses import Field, dataclass, field, fields, is_dataclass

from minir1.config import Config, UserError, apply
from minir1.console.errors import parse
from minir1.presets import PRESETS, check


@dataclass(frozen=True)
class Program:
    """A script whose flags are the fields of `kind`.

    shown     flags that --help lists; None: those that the configuration marks as basic
    spelled   fields whose flag has another name
    switches  flags beside the fields, with their help: present or not
    """

    name: str
    about: str
    kind: type
    presets: dict
    shown: tuple[str, ...] | None = None
    spelled: dict[str, str] = field(default_factory=dict)
    switches: dict[str, str] = field(default_factory=dict)


TRAIN_ZERO = Program("train_zero.py", "R1-Zero from random weights.", Config, PRESETS)


def flags_of(kind: type, prefix: str = "") -> list[tuple[str, type, Field]]:
    """(dotted name, type, field) of every setting, nested ones included."""
    hints = typing.get_type_hints(kind)
    flags = []
    for f in fields(kind):
        name, hint = f"{prefix}{f.name}", hints[f.name]
        flags += flags_of(hint, f"{name}.") if is_dataclass(hint) else [(name, hint, f)]
    return flags


def boolean(text: str) -> bool:
    if text.lower() not in ("on", "off", "true", "false", "1", "0", "yes", "no"):
        raise argparse.ArgumentTypeError(f"{text!r} is not on or off")
    return text.lower() in ("on", "true", "1", "yes")


def whole(text: str) -> int:
    try:
        return int(text.replace("_", ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def parts(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


def wholes(text: str) -> tuple[int, ...]:
    return tuple(whole(part) for part in text.split(","))


def _converter(hint: type):
    if isinstance(hint, types.GenericAlias):
        return parts
    return {bool: boolean, int: whole}.get(hint, hint)


def build_parser(program: Program, everything: bool = False) -> argparse.ArgumentParser:
    """Flags that were not given have the value None."""
    parser = argparse.ArgumentParser(
        program.name, description=program.about, add_help=False, allow_abbrev=False
    )
    switches = {"help-all": "every flag", **program.switches}
    parser.add_argument(
        "--help", "-h", action="store_true", default=None, help="the flags most people need"
    )
    for flag, help in switches.items():
        parser.add_argument(f"--{flag}", action="store_true", default=None, help=help)
    resume = "go on with a run folder from its last checkpoint"
    parser.add_argument("--resume", nargs="?", const="", metavar="RUN", help=resume)
    for name, hint, f in flags_of(program.kind):
        flag = program.spelled.get(name, name)
        basic = f.metadata["basic"] if program.shown is None else flag in program.shown
        parser.add_argument(
            f"--{flag}",
            dest=name,
            type=_converter(hint),
            help=f.metadata["help"] if everything or basic else argparse.SUPPRESS,
            metavar=flag.split(".")[-1].upper(),
            **({"nargs": "?", "const": True} if hint is bool else {}),
        )
    return parser


def read_arguments(program: Program, arguments: list[str]) -> dict[str, object]:
    """What was given, by field name. Raises UserError; SystemExit(0) after printing help."""
    parser = build_parser(program, "--help-all" in arguments)
    values = vars(parse(parser, arguments))
    values = {name: value for name, value in values.items() if value is not None}
    if values.pop("help", False) or values.pop("help_all", False):
        parser.print_help()
        raise SystemExit(0)
    return values


def with_preset(program: Program, values: dict[str, object], default: str):
    """The configuration of a preset with the values given on top."""
    values = dict(values)
    preset = values.pop("preset", None) or default
    if preset not in program.presets:
        raise UserError(f"unknown preset {preset!r}; choose from {', '.join(program.presets)}")
    if "base" in values and "from_scratch" not in values:
        values["from_scratch"] = False
    return apply(program.presets[preset], values)


def parse_command_line(arguments: list[str], default: str = "cpu") -> Config:
    """Of train_zero.py: preset, then flags on top. Raises UserError."""
    values = read_arguments(TRAIN_ZERO, arguments)
    values.pop("resume", None)
    return check(with_preset(TRAIN_ZERO, values, default))
