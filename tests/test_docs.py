"""What the pages name exists: links, files, modules, lines, functions, flags, commands, metrics."""

import json
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from script import load

from minir1.__main__ import COMMANDS
from minir1.config import UserError
from minir1.console.flags import parse_command_line
from minir1.experiments.failures.gallery import FAILURES
from minir1.presets import PRESETS
from minir1.r1.pipeline.flags import parse as parse_r1

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
RESULTS = sorted((ROOT / "results").rglob("*.md"))
SCRIPTS = sorted((ROOT / "results").rglob("*.sh"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
HOMEWORK = ROOT / "notebooks" / "homework" / "README.md"
CARDS = sorted((ROOT / "minir1" / "data").glob("*.md"))
EVERYTHING = [ROOT / "README.md", *PAGES, *RESULTS, *CARDS, HOMEWORK, *NOTEBOOKS]
FOLDERS = "minir1|notebooks|results|tests|docs"

lines = load("docs/lines.py")


def text_of(page: Path) -> str:
    """A page without the rules of docs/figures.py; of a notebook the text and the code, without
    outputs."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return re.sub(r"<!-- figures\n.*?-->", "", text, flags=re.DOTALL)
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


def each(pages: list[Path]):
    name = lambda page: str(page.relative_to(ROOT))  # noqa: E731
    return pytest.mark.parametrize("page", pages, ids=name)


def links(text: str) -> list[str]:
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in targets if not target.startswith("https://")]


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


# ---------------------------------------------------------------- links


def anchors(text: str) -> set[str]:
    """What a page's headings can be linked by."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


def broken_links(text: str, folder: Path = DOCS) -> list[str]:
    broken = []
    for target in links(text):
        file, _, anchor = target.partition("#")
        path = folder / file if file else None
        if path is not None and not path.exists():
            broken.append(target)
        elif anchor and not re.fullmatch(r"L\d+", anchor):
            page = text if path is None else path.read_text(encoding="utf-8")
            if anchor not in anchors(page):
                broken.append(target)
    return broken


def test_there_are_pages_and_they_hold_links():
    names = {page.name for page in PAGES}
    assert names == {
        "README.md", "course.md", "glossary.md", "paper-map.md", "change-one-thing.md",
        "own-task.md", "commands.md", "design.md", "several-gpus.md", "real-models.md",
    }
    assert all(links(page.read_text(encoding="utf-8")) for page in PAGES)


@each(EVERYTHING)
def test_every_link_leads_somewhere(page):
    assert broken_links(text_of(page), page.parent) == []


def test_a_link_to_nowhere_is_found():
    text = "[a](../minir1/gone.py) [b](../README.md) [c](https://x.y)"
    assert broken_links(text) == ["../minir1/gone.py"]
    text = "## Two words\n[d](#two-words) [e](#none) [f](course.md#none)"
    assert broken_links(text) == ["#none", "course.md#none"]


@each(PAGES)
def test_every_function_stands_on_the_line_that_is_named(page):
    text = page.read_text(encoding="utf-8")
    assert lines.relined(text) == text, "run: python docs/lines.py"


def test_lines_are_found_by_name_and_a_name_that_is_gone_fails(tmp_path):
    path = tmp_path / "x.py"
    source = "def f():\n    pass\n\n\nclass A:\n    def g(self):\n        pass\n"
    path.write_text(source, encoding="utf-8")
    assert [lines.where(path, name) for name in ("f", "A", "A.g", "g")] == [1, 5, 6, None]
    stale = "[grpo_loss](../minir1/grpo.py#L1)"
    assert lines.relined(stale) != stale
    assert lines.relined("[grpo.py](../minir1/grpo.py)") == "[grpo.py](../minir1/grpo.py)"
    with pytest.raises(KeyError, match="no_such"):
        lines.relined("[no_such](../minir1/grpo.py#L1)")


def test_the_map_names_a_place_for_each_section():
    text = (DOCS / "paper-map.md").read_text(encoding="utf-8")
    rows = [row for row in text.splitlines() if row.startswith("| ")]
    rows = [row for row in rows if not re.match(r"\| (section|paper) \|", row)]
    assert len(rows) > 25
    assert all(lines.LINK.search(row) for row in rows)


# ---------------------------------------------------------------- files and modules


def missing_files(text: str) -> list[str]:
    """Of the paths in the text that begin in a folder of the repository."""
    paths = set(re.findall(rf"(?<![\w./-])(?:{FOLDERS})/[\w./-]*\w", text))
    return sorted(path for path in paths if not (ROOT / path).exists())


def missing_modules(text: str) -> list[str]:
    """Of `minir1.a.b`: files, or what they define."""
    return sorted(name for name in set(re.findall(r"\bminir1(?:\.\w+)+", text)) if not known(name))


def known(name: str) -> bool:
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:count])
        if path.with_suffix(".py").is_file() or path.is_dir():
            rest = parts[count:]
            return not rest or hasattr(import_module(".".join(parts[:count])), rest[0])
    return False


# by commands that a page shows
MADE = ("results/tables", "results/tables-best", "results/bench/curves.json")


@each(EVERYTHING)
def test_every_file_and_module_that_a_page_names_exists(page):
    text = text_of(page)
    assert [path for path in missing_files(text) if path not in MADE] == []
    assert missing_modules(text) == []


def test_a_missing_file_or_module_is_found():
    assert missing_files("see `minir1/tools/lab.py`, minir1/grpo.py.") == ["minir1/tools/lab.py"]
    assert missing_modules("minir1.tools.lab, minir1.grpo.update, minir1.grpo.gone") == [
        "minir1.grpo.gone", "minir1.tools.lab",
    ]


def test_files_in_code_spans_exist():
    for page in PAGES:
        for span in spans(page.read_text(encoding="utf-8")):
            if re.fullmatch(rf"({FOLDERS})/[\w./-]+", span):
                assert (ROOT / span).exists(), f"{page.name}: {span}"


# ---------------------------------------------------------------- flags and commands


def commands(text: str) -> list[str]:
    return [span for span in spans(text) if span.startswith(("--", "python "))]


def script_commands(text: str) -> list[str]:
    """The commands of a shell script, each in one line."""
    text = text.replace("\\\n", " ").replace("$seed", "0")
    return [line.strip() for line in text.splitlines() if line.strip().startswith("python ")]


def check_command(span: str) -> None:
    """Raises UserError or AssertionError if what the span names is not there."""
    words = shlex.split(span)
    if words[0].startswith("--"):
        parse_command_line(words if len(words) > 1 else [*words, "on"])
    elif words[2:3] == ["--resume"]:  # takes a run folder and nothing else
        assert words[1] in ("train_zero.py", "train_r1.py") and len(words) == 4, span
    elif words[:2] == ["python", "train_zero.py"]:
        parse_command_line(words[2:])
    elif words[:2] == ["python", "train_r1.py"]:
        parse_r1(words[2:])
    elif words[:3] == ["python", "-m", "minir1"]:
        assert words[3] in COMMANDS, span
        if words[3] == "failures":
            names = [word for word in words[4:] if re.match("[a-z]", word)]
            assert names[:1] in ([], ["all"]) or names[0] in FAILURES, span
    elif words[:2] == ["python", "-m"]:
        assert known(words[2]), span
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file(), span


@each(PAGES)
def test_every_flag_and_command_is_known(page):
    text = page.read_text(encoding="utf-8")
    for span in commands(text):
        check_command(span)


@each([page for page in RESULTS if page.name == "README.md"])
def test_the_command_of_every_result_is_known(page):
    text = page.read_text(encoding="utf-8").replace("--seed N", "--seed 0")
    for span in commands(text):
        if span.startswith("python "):
            check_command(span)


@each(SCRIPTS)
def test_the_script_of_every_result_holds_known_commands(page):
    found = script_commands(page.read_text(encoding="utf-8"))
    assert found
    for command in found:
        check_command(command)


def test_every_folder_of_results_has_its_page():
    for folder in (ROOT / "results").iterdir():
        if folder.is_dir():
            text = (folder / "README.md").read_text(encoding="utf-8")
            assert text.startswith("# ") and text.splitlines()[0].endswith("?"), folder


def test_a_wrong_flag_or_command_is_found():
    with pytest.raises(UserError):
        check_command("--rl.lrr 1")
    with pytest.raises(UserError):
        check_command("python train_zero.py --nothing 1")
    with pytest.raises(UserError):
        check_command(script_commands("python train_r1.py \\\n  --nothing 1")[0])
    with pytest.raises(AssertionError):
        check_command("python -m minir1 failures no-such-failure")
    with pytest.raises(AssertionError):
        check_command("python nothing.py")


def test_every_exercise_changes_one_thing():
    text = (DOCS / "change-one-thing.md").read_text(encoding="utf-8")
    first_cells = [row.split(" | ")[0] for row in text.splitlines() if row.startswith("| `--")]
    exercises = [span for cell in first_cells for span in commands(cell)]
    assert len(exercises) >= 30
    for span in exercises:
        assert parse_command_line(shlex.split(span)) != PRESETS["cpu"], span


# ---------------------------------------------------------------- the glossary


def names(rows: str) -> set[str]:
    """Metric names in the first column of tables."""
    cells = (row.split(" | ")[0] for row in rows.splitlines() if row.startswith("| `"))
    return {name for cell in cells for name in spans(cell)}


def test_the_glossary_has_every_metric_and_no_other():
    metrics = ROOT / "minir1" / "report" / "metrics.md"
    defined = names(metrics.read_text(encoding="utf-8"))
    glossary = (DOCS / "glossary.md").read_text(encoding="utf-8")
    explained = names(glossary.partition("## Every metric")[2])
    assert len(defined) > 40
    assert explained == defined


OURS = (
    "answer only", "attempt", "blind pairs", "blind search", "dose", "forced base", "golden run",
    "habit", "held out", "look-ahead program", "preset", "slip", "trace", "transplant", "writer",
)


def test_the_glossary_has_every_word_that_has_a_sense_of_its_own_here():
    glossary = (DOCS / "glossary.md").read_text(encoding="utf-8")
    part = glossary.partition("## Words in a special sense")[2].partition("\n## ")[0]
    explained = {row.split(" | ")[0].strip("| ") for row in part.splitlines()}
    assert [word for word in OURS if word not in explained] == []


def test_the_glossary_explains_no_word_twice():
    glossary = (DOCS / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| ", glossary, re.MULTILINE)
    words = [word for word in rows if word not in ("word", "metric")]
    assert len(words) == len(set(words)) > 100


# ---------------------------------------------------------------- the course


def test_the_course_has_eight_lessons_of_ninety_minutes():
    text = (DOCS / "course.md").read_text(encoding="utf-8")
    lessons = re.split(r"^## Lesson \d: .*$", text, flags=re.MULTILINE)[1:]
    assert len(lessons) == 8
    for lesson in lessons:
        rows = re.findall(r"^\| (\d+)-(\d+) \|", lesson, flags=re.MULTILINE)
        times = [(int(start), int(end)) for start, end in rows]
        assert times[0][0] == 0 and times[-1][1] == 90
        assert all(end == start for (_, end), (start, _) in zip(times, times[1:]))
        assert "Students ask:" in lesson and "Aim:" in lesson


def test_the_course_uses_every_notebook():
    text = (DOCS / "course.md").read_text(encoding="utf-8")
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"../notebooks/{notebook.name}" in text, notebook.name
