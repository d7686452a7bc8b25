"""The students' copy: no output, no answer, and everything that is needed to work."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from test_notebooks import NOTEBOOKS, ROOT, build, cells, load

student = load(ROOT / "notebooks" / "student_copy.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("class") / "copy"
    command = [sys.executable, str(ROOT / "notebooks" / "student_copy.py"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "11 notebooks" in done.stdout, done.stderr
    return out


def test_code_is_the_same_and_outputs_are_gone(folder):
    for path in NOTEBOOKS:
        copied = folder / "notebooks" / path.name
        notebook = nbformat.read(copied, as_version=4)
        nbformat.validate(notebook)
        assert build.digest(notebook) == build.digest(nbformat.read(path, as_version=4))
        assert all(not cell.outputs and cell.execution_count is None for cell in cells(copied))


def test_nothing_holds_an_answer(folder):
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    assert not [name for name in names if re.search("solution|key.md|exam|slides|/\\.", name)]
    readme = folder / "notebooks" / "homework" / "README.md"
    assert "MINIR1_HOMEWORK" not in readme.read_text(encoding="utf-8")
    for path in (ROOT / "notebooks").rglob("solutions/*.py"):
        for function in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(function, ast.FunctionDef) and len(function.body) > 2:
                answer = ast.unparse(function.body[-2:][0])
                for copied in (folder / "notebooks").rglob("*.ipynb"):
                    assert answer not in copied.read_text(encoding="utf-8")


def test_what_follows_a_prediction_is_folded(folder):
    text = (folder / "notebooks" / "06_grpo_by_hand.ipynb").read_text(encoding="utf-8")
    cell = next(
        cell
        for cell in nbformat.reads(text, as_version=4).cells
        if "The loss is 0 and the gradient is not" in cell.source
    )
    assert cell.source.startswith("<details><summary>After you have run it</summary>")
    predictions = text.count("**Predict before you run.**")
    assert predictions - 1 <= text.count("<details>") <= predictions


def test_a_fold_ends_at_the_next_heading_or_prediction():
    fold = student.FOLD.format("It is 0.")
    assert student.folded("It is 0.\n\n## Next\n\nMore.") == f"{fold}\n\n## Next\n\nMore."
    assert student.folded("It is 0.\n\n**Predict** it.") == f"{fold}\n\n**Predict** it."
    assert student.folded("It is 0.") == fold
    assert student.folded("## Next\n\nMore.") == "## Next\n\nMore."


def test_the_copy_works_by_itself(folder):
    script = "from grader import check; check('00.majority', lambda a: None); import minir1; "
    script += "print(minir1.__file__)"
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{folder / 'notebooks'}"}
    how = {"cwd": folder / "notebooks", "env": environment, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", script], **how)
    assert "not done yet" in done.stdout and str(folder) in done.stdout, done.stderr
    graded = [sys.executable, "grade.py"]
    how["cwd"] = folder / "notebooks" / "homework"
    done = subprocess.run(graded, **how)
    assert "in all 0 of 16 points" in done.stdout, done.stderr


def test_it_overwrites_nothing(folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "mine.txt", ROOT / "docs" / "copy"):
        with pytest.raises(SystemExit, match="student_copy.py: "):
            student.copy(Path(out))
    assert not (ROOT / "docs" / "copy").exists()
    for arguments in ([], ["a", "b"], ["--help"]):
        with pytest.raises(SystemExit, match="usage"):
            student.main(arguments)
