"""What a checkpoint has practised, in words, and what in a question lies outside it."""

import re
from dataclasses import dataclass
from pathlib import Path

from minir1.config import UserError
from minir1.console.files import read_object
from minir1.data import FOLDER
from minir1.play.questions import Asked
from minir1.tasks.arithmetic import Arithmetic
from minir1.tasks.countdown import DISTRIBUTIONS, Countdown, Distribution

CHINESE = re.compile("[一-鿿]")
SUMS = {"sum": 5, "product": 2}  # digits up to which every shipped model is mostly right
SAID = {"en": "English", "zh": "Chinese"}


@dataclass(frozen=True)
class Practice:
    """`puzzles`: names of distributions. What reads Chinese has read other questions, too."""

    puzzles: tuple[str, ...]
    languages: tuple[str, ...] = ("en",)
    verb: str = "has practised"

    def __str__(self):
        known = [DISTRIBUTIONS[name] for name in self.puzzles]
        counts = sorted({str(count) for each in known for count in each.counts})
        many, highest = " to ".join(counts[:: len(counts) - 1 or 1]), max(d.highest for d in known)
        low, high = min(d.targets[0] for d in known), max(d.targets[1] for d in known)
        spoken = " and ".join(SAID[lang] for lang in self.languages)
        sizes = f"{many} numbers up to {highest} with targets from {low} to {high}"
        return f"{self.verb} puzzles of {sizes}, in {spoken}"

    def outside(self, asked: Asked) -> str:
        """What of a question it has not practised; "" if it has, or if that is not known.

        >>> Practice(("cpu",)).outside(Asked("", Countdown((19, 36, 55, 7), 65)))
        '4 numbers, and one above 30'
        """
        problem = asked.problem
        lang = "zh" if CHINESE.search(asked.question) else "en"
        if lang not in self.languages:
            return SAID[lang]
        if isinstance(problem, Countdown):
            return min((_beyond(problem, DISTRIBUTIONS[name]) for name in self.puzzles), key=len)
        if isinstance(problem, Arithmetic):
            return _hard(problem)
        return "" if problem or "zh" in self.languages else "no puzzle and no sum"


def _beyond(problem: Countdown, known: Distribution) -> str:
    low, high = known.targets
    reasons = {
        f"{len(problem.numbers)} numbers": len(problem.numbers) not in known.counts,
        f"one above {known.highest}": max(problem.numbers) > known.highest,
        f"a target that is not from {low} to {high}": not low <= problem.target <= high,
    }
    return ", and ".join(reason for reason, holds in reasons.items() if holds)


def _hard(problem: Arithmetic) -> str:
    numbers = re.findall("[0-9]+", problem.text)
    kind = "product" if re.search("[*乘]|times", problem.text) else "sum"
    if len(numbers) > 2:
        return f"{len(numbers)} numbers in a {kind}"
    long = max(map(len, numbers)) > SUMS[kind]
    return f"a {kind} of more than {SUMS[kind]} digits" if long else ""


# ---------------------------------------------------------------- of a checkpoint

_BOTH = ("en", "zh")
SHIPPED = {
    "zero-cpu.pt": Practice(("cpu",)),
    "zero-cpu-mtp.pt": Practice(("cpu",)),
    "r1-cpu.pt": Practice(("cpu",), _BOTH),
    "zero-r1-cpu.pt": Practice(("cpu",), _BOTH),
    "base-r1-cpu.pt": Practice(("cpu",), _BOTH, "has only read"),
    "zero-gpu.pt": Practice(("3to4", "sos4")),
    "base-cpu.pt": Practice(("cpu",), verb="has only read"),
    "base-gpu.pt": Practice(("3to4",), verb="has only read"),
}
ZERO = ("zero-cpu.pt", "base-cpu.pt")  # the best one first
DRAFTING = ("zero-cpu-mtp.pt", *ZERO)
BILINGUAL = ("r1-cpu.pt", "zero-r1-cpu.pt", "base-r1-cpu.pt")


def best(names: tuple[str, ...], folder: Path = FOLDER) -> Path | None:
    """The first of these checkpoints that is shipped."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def practice_of(path: Path) -> Practice | None:
    """Of a shipped checkpoint, or one that lies in its run folder; None if it is not known."""
    if path.parent == FOLDER:
        return SHIPPED.get(path.name)
    try:
        config = read_object(path.resolve().parents[1] / "config.json")
        phase = config.get("rl") or config["zero_rl"]
        corpus, languages = config["corpus"], tuple(config["corpus"]["languages"])
    except (UserError, OSError, LookupError, TypeError, ValueError):
        return None
    names = [re.sub("countdown:|=.*", "", task) for task in phase["tasks"]]
    verb = "has practised"
    if path.stem == "base":
        names, verb = corpus["countdown"].split(","), "has only read"
    known = tuple(name for name in names if name in DISTRIBUTIONS)
    return Practice(known, languages, verb) if known else None
