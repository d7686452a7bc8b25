"""The figures of the pages, taken from the files under results/: python docs/figures.py sets them.

A page ends in a comment that says where its figures come from, in Python:

    <!-- figures
    runs = load("cpu-seed*/summary.json")
    "| **R1-Zero** |" >> runs[0].zero.accuracy, 100 * runs[0].zero.stderr, ...
    -->

A rule gives the numbers that follow its text, in order. Rules stand in the page's order: each text
is looked for behind the last rule's numbers. Before a percent sign a value is multiplied by 100.
`...` passes a number over; in a table a rule goes to the end of its row. Numbers in code, in link
targets and inside words do not count. `<!-- no file: why -->` ends a paragraph or table whose
figures are in no file.

>>> numbers("**R1-Zero** 94.1% of 1,024 in `--seed 3`")
['94.1', '1,024']
>>> shown(0.94141, "90.0", percent=True), shown(1023.6, "1,000", percent=False)
('94.1', '1,024')
"""

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).parent.parent
# written by commands
GENERATED = ("tables.md", "failures.md", "diagnoses.md", "scoreboard.md", "prompts.md")
NUMBER = re.compile(r"(?<![\w.])[+-]?\d+(?:,\d{3})*(?:\.\d+)?(?!\w)")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
HIDDEN = re.compile(r"<!--.*?-->|```.*?```|`[^`\n]*`|\]\([^)\n]*\)", re.DOTALL)
BUILTINS = {f.__name__: f for f in (min, max, sum, len, sorted, abs, zip, range)}


def pages() -> list[Path]:
    """Those written by hand, the log excepted: it tells what was true on its day."""
    found = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("results/**/*.md")]
    return sorted(p for p in found if p.name not in (*GENERATED, "LOG.md"))


@dataclass(frozen=True)
class Figure:
    """A number on a page: where it stands and what it should read (None: anything)."""

    start: int
    end: int
    printed: str
    right: str | None


class Record(dict):
    """record.key for record["key"]."""

    __getattr__ = dict.__getitem__


def load(folder: Path, pattern: str):
    """What a JSON file holds; with a * in the pattern, a list of what each file holds; of a .jsonl
    file a list of its lines."""
    paths = sorted(folder.glob(pattern)) if "*" in pattern else [folder / pattern]
    assert paths, f"no file {pattern} in {folder}"
    texts = [path.read_text(encoding="utf-8") for path in paths]
    if pattern.endswith(".jsonl"):
        texts = texts[0].splitlines()
    found = [json.loads(text, object_hook=Record) for text in texts]
    return found[0] if pattern.endswith(".json") and "*" not in pattern else found


def hide(text: str, pattern: re.Pattern) -> str:
    """What matches becomes as many spaces, so that all else keeps its place."""
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def numbers(text: str) -> list[str]:
    return [match[0] for match in NUMBER.finditer(hide(text, HIDDEN))]


def flat(value) -> list:
    """Nested lists and tuples as one list."""
    if not isinstance(value, (list, tuple)):
        return [value]
    return [leaf for part in value for leaf in flat(part)]


def shown(value: float, like: str, percent: bool) -> str:
    """The value with the decimals, the commas and the sign that `like` has."""
    decimals = len(like.partition(".")[2])
    value = round(100 * value if percent else value, decimals) + 0.0  # no negative zero
    sign = "+" if like[0] == "+" else ""
    comma = "," if abs(value) >= 1000 and ("," in like or len(like) < 4) else ""
    return f"{value:{sign}{comma}.{decimals}f}"


def rules(text: str, folder: Path) -> list[tuple[str, list]]:
    """(text, values) of each rule in the page's comments.

    They are run as code of this repository, like its tests: few names keep them plain, not safe.
    """
    names = {"__builtins__": BUILTINS, "mean": mean, "load": lambda name: load(folder, name)}
    found = []
    for comment in re.findall(r"<!-- figures\n(.*?)-->", text, re.DOTALL):
        for statement in ast.parse(comment).body:
            if isinstance(statement, ast.Assign):
                exec(ast.unparse(statement), names)
                continue
            first, *rest = getattr(statement.value, "elts", [statement.value])
            assert isinstance(first, ast.BinOp) and isinstance(first.op, ast.RShift), comment
            values = [eval(ast.unparse(part), names) for part in (first.right, *rest)]
            found.append((first.left.value, flat(values)))
    return found


def figures(text: str, folder: Path) -> list[Figure]:
    """Every number that the page has a rule for. Raises ValueError if a rule does not fit."""
    visible, plain = hide(text, COMMENT), hide(text, HIDDEN)
    found, place = [], 0
    for begin, values in rules(text, folder):
        place = visible.find(begin, place)
        if place < 0:
            raise ValueError(f"{begin!r} is not on the page, or not behind the rule before")
        place += len(begin)
        row = plain.rfind("\n", 0, place) + 1
        in_table = plain.startswith("|", row)
        end = plain.find("\n", place) if in_table else len(plain)
        matches = list(NUMBER.finditer(plain, place, end))
        if len(matches) < len(values) or (in_table and len(matches) > len(values)):
            raise ValueError(f"after {begin!r}: {len(matches)} numbers, {len(values)} values")
        for match, value in zip(matches, values):
            percent = plain.startswith("%", match.end())
            right = None if value is ... else shown(value, match[0], percent)
            found.append(Figure(*match.span(), match[0], right))
            place = match.end()
    return found


def unaccounted(text: str, folder: Path) -> list[str]:
    """The percentages without a rule, outside paragraphs that say "no file"."""
    covered = {figure.start for figure in figures(text, folder)}
    plain = hide(text, HIDDEN)
    for match in re.finditer(r"(?:(?:[^\n]+\n)+|[^\n]+)<!-- no file: [^\n]+ -->", text):
        covered.update(range(*match.span()))
    every = re.finditer(NUMBER.pattern + r"(?=%)", plain)
    return [plain[m.start() - 30 : m.end() + 1] for m in every if m.start() not in covered]


def refreshed(text: str, folder: Path) -> str:
    """The page with every figure as the files have it."""
    for figure in sorted(figures(text, folder), key=lambda f: -f.start):
        text = text[: figure.start] + (figure.right or figure.printed) + text[figure.end :]
    return text


if __name__ == "__main__":
    for page in pages():
        old = page.read_text(encoding="utf-8")
        try:
            new = refreshed(old, page.parent)
        except ValueError as error:
            raise SystemExit(f"{page.relative_to(ROOT)}: {error}") from None
        if new != old:
            print("set:", page.relative_to(ROOT))
            page.write_text(new, encoding="utf-8", newline="\n")
