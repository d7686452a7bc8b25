"""Command lines made from the fields of a configuration.

>>> parse_command_line(["--preset", "cpu", "--rl.lr", "1e-3"]).rl.lr
0.001
"""

import argparse
import types
from collections.abc import Callable
from dataclasses import Field, dataclass, field

from minir1.config import (
    COUNT,
    LANGUAGES,
    LENGTH,
    SEED,
    Allowed,
    Config,
    UserError,
    apply,
    flags_of,
)
from minir1.console.errors import parse
from minir1.presets import PRESETS, check


@dataclass(frozen=True)
class Program:
    """A script whose flags are the fields of `kind`.

    shown     flags that --help lists; None: those that the configuration marks as basic
    spelled   fields whose flag has another name
    switches  flags beside the fields, with their help: present or not
    absent    fields that have no flag, because this script does not read them
    """

    name: str
    about: str
    kind: type
    presets: dict
    shown: tuple[str, ...] | None = None
    spelled: dict[str, str] = field(default_factory=dict)
    switches: dict[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()


VOCABULARY = "model.vocab_size"  # the tokenizer decides
TRAIN_ZERO = Program(
    "train_zero.py", "R1-Zero from random weights.", Config, PRESETS, absent=(VOCABULARY,)
)


def boolean(text: str) -> bool:
    if text.lower() not in ("on", "off", "true", "false", "1", "0", "yes", "no"):
        raise argparse.ArgumentTypeError(f"{text!r} is not on or off")
    return text.lower() in ("on", "true", "1", "yes")


def whole(text: str) -> int:
    try:
        return int(text.replace("_", ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def real(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def parts(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


@dataclass(frozen=True)
class Value:
    """The `type` of a flag of a small command: how its text is read, and what it may then be.

    >>> Value(whole, Allowed(1, 9))("7")
    7
    """

    read: Callable[[str], object]
    allowed: Allowed

    def __call__(self, text: str):
        value = self.read(text)
        if not self.allowed.holds(value):
            raise argparse.ArgumentTypeError(f"{self.allowed}, not {text!r}")
        return value


seed, count, length = (Value(whole, allowed) for allowed in (SEED, COUNT, LENGTH))
languages = Value(parts, LANGUAGES)


def seeds(text: str) -> tuple[int, ...]:
    return tuple(map(seed, text.split(",")))


def _converter(hint: type):
    if isinstance(hint, types.GenericAlias):
        return parts
    return {bool: boolean, int: whole, float: real}.get(hint, hint)


def _help(f: Field) -> str:
    help, allowed = f.metadata["help"], f.metadata["allowed"]
    return f"{help} ({str(allowed).partition(' ')[2]})" if allowed else help


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
        if name in program.absent:
            continue
        flag = program.spelled.get(name, name)
        basic = f.metadata["basic"] if program.shown is None else flag in program.shown
        parser.add_argument(
            f"--{flag}",
            dest=name,
            type=_converter(hint),
            help=_help(f) if everything or basic else argparse.SUPPRESS,
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
    if "base" in values and values.setdefault("from_scratch", False):
        raise UserError("--base and --from_scratch exclude one another")
    return apply(program.presets[preset], values)


def parse_command_line(arguments: list[str], default: str = "cpu") -> Config:
    """Of train_zero.py: preset, then flags on top. Raises UserError."""
    return settle(read_arguments(TRAIN_ZERO, arguments), default)


def settle(values: dict[str, object], default: str) -> Config:
    """The same from what was given, by field name."""
    if "resume" in values:
        say = "--resume takes a run folder and nothing else: its settings are in the folder"
        raise UserError(say)
    return check(with_preset(TRAIN_ZERO, values, default))
