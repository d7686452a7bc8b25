"""A students' copy of this repository: notebooks without outputs, nothing that holds an answer.

python notebooks/student_copy.py FOLDER

FOLDER (new or empty) can be installed and run like the original. Left out: the solutions of puzzles
and homework, keys, exams and slides of the lessons, the tests. What a notebook says about a
prediction is folded: a click opens it, so nobody reads it by accident. The grader stays, and with
it its specifications, as loops: whoever looks for them finds them.
"""

import re
import shutil
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
PARTS = (
    "minir1", "train_zero.py", "train_r1.py", "notebooks", "results", "docs", "README.md",
    "pyproject.toml", "LICENSE", "CITATION.cff", "CHANGELOG.md",
)
LEFT_OUT = (
    "solutions", "student_copy.py", "*-key.md", "*-slides.md", "exam.md", "mine.*", "__pycache__",
    ".*",
)
FOLD = "<details><summary>After you have run it</summary>\n\n{}\n\n</details>"


def student_version(notebook):
    """Without outputs; the text that follows a prediction's cell is folded. Code is unchanged."""
    notebook, predicted = nbformat.from_dict(notebook), False
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            continue
        cell.source = folded(cell.source) if predicted else cell.source
        predicted = "**Predict before you run.**" in cell.source
    notebook.metadata.get("minir1", {})["student"] = True
    return notebook


def folded(text: str) -> str:
    """The first paragraphs of a cell, up to its next heading or prediction, as a fold."""
    end = re.search(r"^(#|\*\*Predict)", text, re.MULTILINE)
    answer, rest = (text[: end.start()], text[end.start() :]) if end else (text, "")
    if not answer.strip():
        return text
    fold = FOLD.format(answer.strip())
    return f"{fold}\n\n{rest}" if rest else fold


def copy(out: Path) -> list[Path]:
    """Write the copy into `out`; the notebooks written. Raises SystemExit if it holds anything."""
    parts = [ROOT / part for part in PARTS]
    if any(part in (out, *out.parents) for part in parts):
        raise SystemExit(f"student_copy.py: {out} lies in what is copied")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SystemExit(f"student_copy.py: {out} is no empty folder")
    out.mkdir(parents=True, exist_ok=True)
    ignore = shutil.ignore_patterns(*LEFT_OUT)
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, out / part, ignore=ignore)
        else:
            shutil.copy(ROOT / part, out / part)
    readme = out / "notebooks" / "homework" / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(text.partition("\n**Teachers.**")[0], encoding="utf-8")
    written = sorted((out / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    for path in written:
        nbformat.write(student_version(nbformat.read(path, as_version=4)), path)
    return written


def main(arguments: list[str]) -> None:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise SystemExit("usage: python notebooks/student_copy.py FOLDER")
    out = Path(arguments[0]).resolve()
    written = copy(out)
    print(f"{len(written)} notebooks without outputs, homework and handouts are in {out}")
    print("students there: pip install -e '.[notebooks,test]', then notebooks/00_tour.ipynb")


if __name__ == "__main__":
    main(sys.argv[1:])
