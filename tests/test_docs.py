"""What docs/ names exists: links, files, lines, functions, flags, commands, metrics."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from minir1.__main__ import COMMANDS
from minir1.config import UserError
from minir1.console.flags import parse_command_line
from minir1.experiments.failures.gallery import FAILURES
from minir1.presets import PRESETS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))

_spec = importlib.util.spec_from_file_location("docs_lines", DOCS / "lines.py")
lines = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lines)


def links(text: str) -> list[str]:
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not target.startswith("https://")]


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


def broken_links(text: str) -> list[str]:
    return [target for target in links(text) if not (DOCS / target.partition("#")[0]).exists()]


def test_there_are_pages_and_they_hold_links():
    assert {page.name for page in PAGES} == {"README.md", "course.md", "glossary.md", "paper-map.md", "change-one-thing.md"}
    assert all(links(page.read_text(encoding="utf-8")) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    assert broken_links(page.read_text(encoding="utf-8")) == []


def test_a_link_to_nowhere_is_found():
    assert broken_links("[a](../minir1/gone.py) [b](../README.md) [c](https://x.y)") == ["../minir1/gone.py"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_function_stands_on_the_line_that_is_named(page):
    text = page.read_text(encoding="utf-8")
    assert lines.relined(text) == text, "run: python docs/lines.py"


def test_lines_are_found_by_name_and_a_name_that_is_gone_fails(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("def f():\n    pass\n\n\nclass A:\n    def g(self):\n        pass\n", encoding="utf-8")
    assert [lines.where(path, name) for name in ("f", "A", "A.g", "g")] == [1, 5, 6, None]
    stale = "[grpo_loss](../minir1/grpo.py#L1)"
    assert lines.relined(stale) != stale
    assert lines.relined("[grpo.py](../minir1/grpo.py)") == "[grpo.py](../minir1/grpo.py)"
    with pytest.raises(KeyError, match="no_such"):
        lines.relined("[no_such](../minir1/grpo.py#L1)")


def test_the_map_names_a_place_for_each_section():
    rows = [row for row in (DOCS / "paper-map.md").read_text(encoding="utf-8").splitlines() if row.startswith("| ")]
    rows = [row for row in rows if not re.match(r"\| (section|paper) \|", row)]
    assert len(rows) > 25
    assert all(lines.LINK.search(row) for row in rows)


# ---------------------------------------------------------------- flags and commands


def commands(text: str) -> list[str]:
    return [span for span in spans(text) if span.startswith(("--", "python "))]


def check_command(span: str) -> None:
    """Raises UserError or AssertionError if what the span names is not there."""
    words = shlex.split(span)
    if words[0].startswith("--"):
        parse_command_line(words if len(words) > 1 else [*words, "on"])
    elif words[:2] == ["python", "train_zero.py"]:
        parse_command_line(words[2:])
    elif words[:3] == ["python", "-m", "minir1"]:
        assert words[3] in COMMANDS, span
        if words[3] == "failures":
            assert set(words[4:]) <= {*FAILURES, "NAME", "all"}, span
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file(), span


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_and_command_is_known(page):
    text = page.read_text(encoding="utf-8")
    for span in commands(text):
        check_command(span)


def test_a_wrong_flag_or_command_is_found():
    with pytest.raises(UserError):
        check_command("--rl.lrr 1")
    with pytest.raises(UserError):
        check_command("python train_zero.py --nothing 1")
    with pytest.raises(AssertionError):
        check_command("python -m minir1 failures no-such-failure")
    with pytest.raises(AssertionError):
        check_command("python nothing.py")


def test_every_exercise_changes_one_thing():
    text = (DOCS / "change-one-thing.md").read_text(encoding="utf-8")
    exercises = [span for row in text.splitlines() if row.startswith("| `--") for span in commands(row.split(" | ")[0])]
    assert len(exercises) >= 30
    for span in exercises:
        assert parse_command_line(shlex.split(span)) != PRESETS["cpu"], span


def test_files_in_code_spans_exist():
    for page in PAGES:
        for span in spans(page.read_text(encoding="utf-8")):
            if re.fullmatch(r"(minir1|notebooks|results|tests|docs)/[\w./-]+", span):
                assert (ROOT / span).exists(), f"{page.name}: {span}"


# ---------------------------------------------------------------- the glossary


def names(rows: str) -> set[str]:
    """Metric names in the first column of tables."""
    cells = (row.split(" | ")[0] for row in rows.splitlines() if row.startswith("| `"))
    return {name for cell in cells for name in spans(cell)}


def test_the_glossary_has_every_metric_and_no_other():
    defined = names((ROOT / "minir1" / "tools" / "metrics.md").read_text(encoding="utf-8"))
    explained = names((DOCS / "glossary.md").read_text(encoding="utf-8").partition("## Every metric")[2])
    assert len(defined) > 40
    assert explained == defined


# ---------------------------------------------------------------- the course


def test_the_course_has_eight_lessons_of_ninety_minutes():
    text = (DOCS / "course.md").read_text(encoding="utf-8")
    lessons = re.split(r"^## Lesson \d: .*$", text, flags=re.MULTILINE)[1:]
    assert len(lessons) == 8
    for lesson in lessons:
        times = [tuple(map(int, pair)) for pair in re.findall(r"^\| (\d+)-(\d+) \|", lesson, flags=re.MULTILINE)]
        assert times[0][0] == 0 and times[-1][1] == 90
        assert all(end == start for (_, end), (start, _) in zip(times, times[1:]))
        assert "Students ask:" in lesson and "Aim:" in lesson


def test_the_course_uses_every_notebook():
    text = (DOCS / "course.md").read_text(encoding="utf-8")
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"../notebooks/{notebook.name}" in text, notebook.name
