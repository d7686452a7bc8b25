"""Line numbers of links such as [grpo_loss](../minir1/grpo.py#L72): found by name.

`python docs/lines.py` sets them.

>>> where(ROOT / "minir1" / "grpo.py", "no_such_function") is None
True
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\[`?([\w.]+)`?\]\(\.\./([\w/.]+\.py)(?:#L(\d+))?\)")
NAMED = (ast.FunctionDef, ast.ClassDef)


def where(path: Path, name: str) -> int | None:
    """The line on which a function or class begins ("Countdown.verify": a method), or None."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    node = None
    for part in name.split("."):
        matches = [n for n in body if isinstance(n, NAMED) and n.name == part]
        if not matches:
            return None
        node = matches[0]
        body = node.body
    return node.lineno


def relined(text: str) -> str:
    """The text with every link's line as it is now. Raises KeyError for a name that is gone."""

    def link(match: re.Match) -> str:
        name, file = match[1], match[2]
        if name.endswith(".py"):
            return match[0]  # a file, not a name in it
        line = where(ROOT / file, name)
        if line is None:
            raise KeyError(f"{file} has no {name}")
        return f"[{name}](../{file}#L{line})"

    return LINK.sub(link, text)


if __name__ == "__main__":
    for page in sorted(Path(__file__).parent.glob("*.md")):
        text = relined(page.read_text(encoding="utf-8"))
        page.write_text(text, encoding="utf-8", newline="\n")
