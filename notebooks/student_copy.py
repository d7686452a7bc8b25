"""A students' copy: the notebooks and the homework without outputs and without any answer.

python notebooks/student_copy.py FOLDER

FOLDER (new or empty) gets the ten notebooks, the puzzles' grader, the homework and the handouts of
the lessons. Left out: solutions, keys, exams, slides. What a notebook says about a prediction is
folded: a click opens it, so nobody reads it by accident. The grader holds the specifications, as
loops: whoever looks for them finds them.
"""

import re
import shutil
import sys
from pathlib import Path

import nbformat

FOLDER = Path(__file__).parent
LESSONS = FOLDER.parent / "docs" / "lessons"
TEACHERS = ("solutions", "__pycache__", ".pytest_cache", "mine.*")
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
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SystemExit(f"student_copy.py: {out} is no empty folder")
    out.mkdir(parents=True, exist_ok=True)
    ignore = shutil.ignore_patterns(*TEACHERS)
    for name in ("grader", "homework", "own_tasks"):
        shutil.copytree(FOLDER / name, out / name, ignore=ignore)
    (out / "handouts").mkdir()
    for handout in sorted(LESSONS.glob("[0-9]-handout.md")):
        shutil.copy(handout, out / "handouts")
    readme = out / "homework" / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(text.partition("\n**Teachers.**")[0], encoding="utf-8")
    written = []
    for path in sorted(FOLDER.glob("[0-9][0-9]_*.ipynb")):
        notebook = student_version(nbformat.read(path, as_version=4))
        nbformat.write(notebook, out / path.name)
        written.append(out / path.name)
    return written


def main(arguments: list[str]) -> None:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise SystemExit("usage: python notebooks/student_copy.py FOLDER")
    out = Path(arguments[0])
    written = copy(out)
    print(f"{len(written)} notebooks, the homework and the handouts are in {out}")


if __name__ == "__main__":
    main(sys.argv[1:])
