"""A students' copy of this repository: notebooks without outputs, nothing that holds an answer.

python notebooks/student_copy.py FOLDER
python notebooks/student_copy.py FOLDER --source https://example.org/minir1.git    for Colab

FOLDER (new or empty) can be installed and run like the original. Left out: the solutions of puzzles
and homework, the notebooks with outputs, keys, exams and slides of the lessons, the tests. The
grader stays, and with it its specifications, as loops: whoever looks for them finds them. With
--source each notebook knows where to fetch minir1, so that no student is asked.
"""

import argparse
import json
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = (
    "minir1", "train_zero.py", "train_r1.py", "notebooks", "results", "docs", "README.md",
    "pyproject.toml", "LICENSE", "CITATION.cff", "CHANGELOG.md",
)
LEFT_OUT = (
    "solutions", "rendered", "student_copy.py", "build.py", "*-key.md", "*-slides.md", "exam.md",
    "mine.*", "__pycache__", ".*",
)
SETTING = 'SOURCE = ""  # @param'  # in the first cell of each notebook


def copy(out: Path, source: str = "") -> list[Path]:
    """Write the copy into `out`; the notebooks written. Raises SystemExit if it holds anything, or
    if `source` is no address.
    """
    parts = [ROOT / part for part in PARTS]
    if any(part in (out, *out.parents) for part in parts):
        raise SystemExit(f"student_copy.py: {out} lies in what is copied")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SystemExit(f"student_copy.py: {out} is no empty folder")
    if source and (not source.startswith("https://") or set(source) & set("\"\\' \n")):
        raise SystemExit(f"student_copy.py: --source is an address (https://...), not {source!r}")
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
    quoted = [json.dumps(SETTING.replace('""', f'"{address}"'))[1:-1] for address in ("", source)]
    for path in written:
        text = path.read_text(encoding="utf-8")
        assert text.count(quoted[0]) == 1, path
        path.write_text(text.replace(*quoted), encoding="utf-8")
    return written


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("student_copy.py", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a new or an empty folder")
    parser.add_argument("--source", default="", help="the repository's address, for Colab")
    chosen = parser.parse_args(arguments)
    out = chosen.folder.resolve()
    written = copy(out, chosen.source)
    print(f"{len(written)} notebooks without outputs, homework and handouts are in {out}")
    print("students there: pip install -e '.[notebooks,test]', then notebooks/00_tour.ipynb")


if __name__ == "__main__":
    main()
