"""The command line of the training scripts, made from the configuration's fields.

>>> parse_command_line(["--preset", "cpu", "--rl.lr", "1e-3"]).rl.lr
0.001
"""

import argparse
import types
import typing
from dataclasses import fields, is_dataclass

from minir1.config import Config, UserError, apply
from minir1.presets import PRESETS, check


def _flags(kind: type, prefix: str = "") -> list[tuple[str, type, object]]:
    hints, found = typing.get_type_hints(kind), []
    for f in fields(kind):
        name = f"{prefix}{f.name}"
        nested = is_dataclass(hints[f.name])
        found += _flags(hints[f.name], f"{name}.") if nested else [(name, hints[f.name], f)]
    return found


def _converter(hint: type):
    def boolean(text: str) -> bool:
        if text.lower() not in ("on", "off", "true", "false", "1", "0", "yes", "no"):
            raise argparse.ArgumentTypeError(f"{text!r} is not on or off")
        return text.lower() in ("on", "true", "1", "yes")

    def whole(text: str) -> int:
        try:
            return int(text.replace("_", ""))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None

    if isinstance(hint, types.GenericAlias):
        return lambda text: tuple(part for part in text.split(",") if part)
    return {bool: boolean, int: whole}.get(hint, hint)


def build_parser(program: str, everything: bool = False) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(program, description="R1-Zero from random weights.", add_help=False, allow_abbrev=False)
    parser.add_argument("--help", "-h", action="store_true", help="the flags most people need")
    parser.add_argument("--help-all", action="store_true", help="every flag")
    parser.add_argument("--resume", nargs="?", const="", metavar="RUN", help="go on with a run folder from its last checkpoint")
    for name, hint, f in _flags(Config):
        help = f.metadata["help"] if everything or f.metadata["basic"] else argparse.SUPPRESS
        boolean = {"nargs": "?", "const": True} if hint is bool else {}
        parser.add_argument(f"--{name}", type=_converter(hint), help=help, metavar=name.split(".")[-1].upper(), **boolean)
    return parser


def parse_command_line(arguments: list[str], program: str = "train_zero.py", default: str = "cpu") -> Config:
    """Preset, then flags on top. Raises UserError; prints help and raises SystemExit(0) for --help."""
    parser = build_parser(program, "--help-all" in arguments)
    parser.error = lambda message: (_ for _ in ()).throw(UserError(f"{message} (see {program} --help)"))
    given = vars(parser.parse_args(arguments))
    if given.pop("help") | given.pop("help_all"):
        parser.print_help()
        raise SystemExit(0)
    given.pop("resume")
    preset = given.pop("preset") or default
    if preset not in PRESETS:
        raise UserError(f"unknown preset {preset!r}; choose from {', '.join(PRESETS)}")
    if given["base"] and given["from_scratch"] is None:
        given["from_scratch"] = False
    return check(apply(PRESETS[preset], {name: value for name, value in given.items() if value is not None}))
