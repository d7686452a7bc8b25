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
    # -I -S: as in a plain install, without nbformat, and without anything else
    script = str(ROOT / "notebooks" / "student_copy.py")
    command = [sys.executable, "-I", "-S", script, str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and f"{len(NOTEBOOKS)} notebooks" in done.stdout, done.stderr
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
    hidden = "solution|rendered|key.md|exam|slides|/\\."
    assert not [name for name in names if re.search(hidden, name)]
    readme = folder / "notebooks" / "homework" / "README.md"
    assert "MINIR1_HOMEWORK" not in readme.read_text(encoding="utf-8")
    for path in (ROOT / "notebooks").rglob("solutions/*.py"):
        for function in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(function, ast.FunctionDef) and len(function.body) > 2:
                answer = ast.unparse(function.body[-2:][0])
                for copied in (folder / "notebooks").rglob("*.ipynb"):
                    assert answer not in copied.read_text(encoding="utf-8")


def test_the_address_for_colab_is_given_once(tmp_path):
    address = "https://example.org/minir1.git"
    for path in student.copy(tmp_path / "copy", address):
        setup = cells(path)[0].source
        assert f'SOURCE = "{address}"  # @param' in setup
        assert setup.replace(address, "") == cells(ROOT / "notebooks" / path.name)[0].source
    for wrong in ("example.org", 'https://a"b', "https://a b", "http://a"):
        with pytest.raises(SystemExit, match="--source is an address"):
            student.copy(tmp_path / "other", wrong)


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
    for arguments in ([], ["a", "b"], ["a", "--sauce", "b"]):
        with pytest.raises(SystemExit, match="2"):
            student.main(arguments)
