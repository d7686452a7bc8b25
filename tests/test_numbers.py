"""The figures of README, docs and results are those of the files under results/."""

import doctest
import json
from pathlib import Path

import pytest
from script import load

from minir1.experiments.failures.command import table as table_of_failures
from minir1.experiments.tables.page import page as page_of_tables
from minir1.r1.scoreboard.board import ROWS
from minir1.r1.scoreboard.page import table_text

ROOT = Path(__file__).parent.parent
figures = load("docs/figures.py")

PAGES = [str(page.relative_to(ROOT)) for page in figures.pages()]


def read(page: str) -> tuple[str, Path]:
    path = ROOT / page
    return path.read_text(encoding="utf-8"), path.parent


def wrong(text: str, folder: Path) -> list[str]:
    """What is printed, and what the file has, for each figure that differs."""
    found = figures.figures(text, folder)
    return [f"{f.printed}, but {f.right}" for f in found if f.right not in (None, f.printed)]


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_is_that_of_its_file(page):
    assert wrong(*read(page)) == [], "run: python docs/figures.py"


@pytest.mark.parametrize("page", PAGES)
def test_every_percentage_has_a_file_or_says_that_it_has_none(page):
    assert figures.unaccounted(*read(page)) == []


def test_the_pages_hold_many_figures():
    counts = {}
    for page in PAGES:
        found = figures.figures(*read(page))
        counts[page] = sum(figure.right is not None for figure in found)
    assert sum(counts.values()) > 1000
    assert counts["README.md"] == 30  # its table, four gains, blind pairs without repeats, lengths
    without = {page for page in PAGES if page.startswith("results/") and counts[page] == 0}
    # printed by a command; an index; a table of words; what stood there before; rules
    assert without == {
        "results/corpus.md", "results/studies/README.md", "results/golden/README.md",
        "results/changed-claims.md", "results/speedrun/README.md",
    }


MANY = ["README.md", "results/zero/README.md", "docs/change-one-thing.md"]


@pytest.mark.parametrize("page", MANY)
def test_a_figure_changed_by_hand_is_found_wherever_it_stands(page):
    text, folder = read(page)
    for figure in figures.figures(text, folder):
        if figure.right is not None:
            last = "1" if figure.printed[-1] == "0" else "0"
            changed = text[: figure.end - 1] + last + text[figure.end :]
            assert len(wrong(changed, folder)) == 1, figure
            assert figures.refreshed(changed, folder) == text


# ---------------------------------------------------------------- a page made up

PAGE = """# A page
Seed 0 has 94.1% ± 1.0 in `--seed 3` and [seed 1](x-2.json) 92.2%; 1,024 tokens.
Elsewhere 7% and 8%.

<!-- figures
runs = load("run-*.json")
"Seed 0 has" >> runs[0].right, 100 * runs[0].error, ..., runs[1].right
"%;" >> runs[0].tokens
-->
"""


@pytest.fixture
def folder(tmp_path):
    rows = [{"right": 0.94141, "error": 0.0104, "tokens": 1023.8}, {"right": 0.92188}]
    for seed, row in enumerate(rows):
        (tmp_path / f"run-{seed}.json").write_text(json.dumps(row), encoding="utf-8")
    return tmp_path


def test_numbers_are_paired_with_values_in_order(folder):
    found = figures.figures(PAGE, folder)
    assert [figure.printed for figure in found] == ["94.1", "1.0", "1", "92.2", "1,024"]
    assert [figure.right for figure in found] == ["94.1", "1.0", None, "92.2", "1,024"]


def test_a_wrong_figure_is_set_and_nothing_else_changes(folder):
    stale = PAGE.replace("94.1%", "93.9%").replace("1,024", "998")
    assert wrong(stale, folder) == ["93.9, but 94.1", "998, but 1,024"]
    assert figures.refreshed(stale, folder) == PAGE


def test_a_rule_that_does_not_fit_raises(folder):
    with pytest.raises(ValueError, match="'Seed 0 has' is not on the page"):
        figures.figures(PAGE.replace("Seed 0 has", "Seed nought has", 1), folder)
    with pytest.raises(ValueError, match="1 numbers, 2 values"):
        figures.figures(PAGE.replace('"%;" >> runs[0].tokens', '"7% and" >> 1, 2'), folder)
    for row in ("| base | 1 | 2 |", "| base | 1 |\n\n2"):  # in a table: all of the row, no more
        with pytest.raises(ValueError, match="numbers, [12] values"):
            rule = "1" if row.endswith("|") else "1, 2"
            figures.figures(f'{row}\n<!-- figures\n"| base |" >> {rule}\n-->', folder)
    with pytest.raises(KeyError):
        figures.figures(PAGE.replace("runs[0].right", "runs[0].left"), folder)


def test_a_percentage_needs_a_file_or_the_word_that_there_is_none(folder):
    assert [piece[-2:] for piece in figures.unaccounted(PAGE, folder)] == ["7%", "8%"]
    said = PAGE.replace("and 8%.\n", "and 8%.\n<!-- no file: read off a plot -->\n")
    assert figures.unaccounted(said, folder) == []


def test_a_value_takes_the_form_of_what_is_printed():
    assert figures.shown(-0.0004, "0.0", percent=True) == "0.0"
    assert figures.shown(0.0123, "+0.4", percent=True) == "+1.2"
    assert figures.shown(22360.78, "22,361", percent=False) == "22,361"
    assert figures.numbers("R1-Zero, 5d+, H200, 8.1 M, 66-75%, -0.4") == ["8.1", "66", "75", "-0.4"]


def test_the_examples_in_its_docstring_hold():
    result = doctest.testmod(figures)
    assert result.attempted == 2 and result.failed == 0


# ---------------------------------------------------------------- pages that commands write


def same_numbers(page: str, drawn: str, count: int) -> None:
    """The wording may have changed since; the numbers may not."""
    printed = figures.numbers((ROOT / page).read_text(encoding="utf-8"))
    expected = figures.numbers(drawn)
    assert len(expected) >= count
    assert printed[-len(expected) :] == expected


def read_json(page: str) -> dict:
    return json.loads((ROOT / page).read_text(encoding="utf-8"))


def test_the_tables_beside_published_results_are_those_of_their_file():
    drawn = page_of_tables(read_json("results/zero/tables-best/tables.json"))
    same_numbers("results/zero/tables-best/tables.md", drawn, 300)


def test_the_table_of_failures_is_that_of_its_file():
    failures = read_json("results/failures/failures.json")["failures"]
    same_numbers("results/failures/failures.md", table_of_failures(failures), 60)


SCOREBOARDS = sorted(path.parent.name for path in ROOT.glob("results/r1/*/scoreboard.json"))


@pytest.mark.parametrize("run", SCOREBOARDS)
def test_each_scoreboard_is_that_of_its_file(run):
    rows = read_json(f"results/r1/{run}/scoreboard.json")["rows"]
    drawn = table_text(rows, ROWS, 16).partition("\n\n")[0]
    text = (ROOT / "results" / "r1" / run / "scoreboard.md").read_text(encoding="utf-8")
    table = text[text.index("| stage |") :].partition("\n\n")[0]
    assert len(figures.numbers(drawn)) > 100
    assert figures.numbers(table) == figures.numbers(drawn)
