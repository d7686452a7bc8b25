"""The lessons' sheets: their figures are right, each fits on a page, and they know the puzzles."""

import ast
import math
import re
from pathlib import Path

import pytest

from grader.hints import HELP
from minir1.tasks.countdown import Countdown

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "lessons"
SHEETS = sorted(FOLDER.glob("*.md"))
NOTEBOOKS = {1: "0", 2: "12", 3: "3", 4: "4", 5: "5", 6: "6", 7: "79", 8: "8"}
KNOWN = {name: getattr(math, name) for name in ("sqrt", "log", "exp", "comb")}
PAGE = {"lines": 50, "characters": 3200}  # of A4 in 10 points: printed and looked at


def text_of(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def sums(text: str) -> list[tuple[str, str]]:
    """(left side, right side) of each code span that is an equation of numbers."""
    spans = re.findall(r"`([^`\n]+?) = (-?[0-9.]+)`", text.replace("\n", " "))
    return [(left, right) for left, right in spans if re.search("[-+*/(]", left)]


def holds(left: str, right: str) -> bool:
    """Does the right side show the left side's value, rounded to its digits?"""
    value = eval(left, {"__builtins__": {}}, KNOWN)  # our own sheets
    digits = len(right.partition(".")[2])
    return abs(value - float(right)) <= 0.5 * 10**-digits + 1e-9


@pytest.mark.parametrize("path", SHEETS, ids=lambda path: path.stem)
def test_every_sum_is_right(path):
    for left, right in sums(path.read_text(encoding="utf-8")):
        if "=" not in left and not re.search("[a-zA-Z]", re.sub("sqrt|log|exp|comb", "", left)):
            assert holds(left, right), f"{left} = {right}"


def test_wrong_sums_would_be_seen():
    assert sums("`1 - 0.75**8 = 0.900` and\n`2 * 3 = 6`, `x = 3`") == [
        ("1 - 0.75**8", "0.900"),
        ("2 * 3", "6"),
    ]
    assert holds("1 - 0.75**8", "0.900") and not holds("1 - 0.75**8", "0.901")
    assert holds("9 / 2", "4.5") and not holds("9 / 2", "4.4")
    for number in NOTEBOOKS:
        assert len(sums(text_of(f"{number}-key.md"))) >= 2, number
    assert len(sums(text_of("exam.md"))) >= 15


def test_solutions_of_puzzles_are_solutions():
    for text, numbers, target in (
        ("1-key.md", (28, 18, 24), 72),
        ("1-key.md", (19, 36, 55, 7), 65),
        ("5-key.md", (19, 36, 55, 7), 65),
    ):
        shown = [left for left, right in sums(text_of(text)) if right == str(target)]
        assert shown and all(Countdown(numbers, target).verify(left) for left in shown)


def test_the_answers_to_judge_are_judged_rightly():
    """Lesson 5: the handout's seven answers, against the key's two right ones."""
    rows = re.findall(r"^   \| `(.+?)` \|", text_of("5-handout.md"), re.MULTILINE)
    right = [answer for answer in rows if Countdown((19, 36, 55, 7), 65).verify(answer)]
    assert len(rows) == 7 and right == [rows[0], rows[-1]]
    assert all(f"`{answer} = 65`" in text_of("5-key.md") for answer in right)


def test_the_clip_table_is_right():
    """Lesson 6: A, ratio, ratio * A, clipped * A, objective, slope."""
    number = r"\| ([-+0-9.]+) "
    rows = re.findall(number * 6 + r"\|", text_of("6-key.md"))
    assert len(rows) == 5
    for row in rows:
        a, ratio, *shown = map(float, row)
        left, right = ratio * a, min(max(ratio, 0.8), 1.2) * a
        slope = left if left <= right else 0
        assert shown == pytest.approx([left, right, min(left, right), slope])


def test_the_thoughts_of_lesson_3_hold_what_the_key_counts():
    thoughts = re.findall(r"> [A-D]: (.+)", text_of("3-handout.md"))
    attempts = [thought.split(" / ") for thought in thoughts]
    hits = [[attempt.endswith("yes") for attempt in row] for row in attempts]
    steps = re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)", " ".join(thoughts))
    false = [s for s in steps if eval(s[0] + s[1] + s[2]) != int(s[3])]
    assert [len(row) for row in attempts] == [1, 2, 1, 2] and len(steps) == 12
    assert sum(map(sum, hits)) == 2 and false == [("8", "+", "4", "13")]


def test_the_reasons_of_lesson_8_are_the_grader_s():
    from grader.pipeline import keep

    cases = ((True, "a", 0, 0, 1.0), (True, None, 0, 0, None), (True, "a", 1, 1, 1.0))
    cases += ((False, "a", 0, 0, 0.5), (True, "", 0, 0, None))
    said = [keep(*case) or "kept" for case in cases]
    line = next(line for line in text_of("8-key.md").splitlines() if line.startswith("2. "))
    places = [line.lower().index(reason) for reason in said[:4]]
    assert places == sorted(places) and said[4] == "kept" and "Kept by these five rules" in line


def test_the_scoreboard_on_the_slide_is_the_stored_one():
    import json

    stored = ROOT / "results" / "r1" / "cpu-0" / "scoreboard.json"
    rows = json.loads(stored.read_text(encoding="utf-8"))["rows"]
    names = {"base": "base", "R1-Zero": "zero", "Dev1": "dev1", "Dev3": "dev3", "R1": "r1"}
    for name, key in names.items():
        keys = ("countdown", "language", "readable", "fact")
        figures = " | ".join(f"{rows[key][column]:.0%}" for column in keys)
        assert f"| {name} | {figures} |" in text_of("8-slides.md")


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_handouts_list_the_puzzles_of_their_notebooks_with_their_stars(number):
    listed = re.findall(r"`(\d\d\.\w+)` \| (★+)", text_of(f"{number}-handout.md"))
    wanted = {
        (name, "★" * HELP[name].stars) for name in HELP
        if name[:2] in {f"0{digit}" for digit in NOTEBOOKS[number]}
    }
    assert set(listed) == wanted and len(listed) == len(wanted)


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_handout_and_key_fit_on_a_page(number):
    for kind in ("handout", "key"):
        text = text_of(f"{number}-{kind}.md")
        lines = sum(max(1, math.ceil(len(line) / 110)) for line in text.splitlines() if line)
        assert lines <= PAGE["lines"] and len(text) <= PAGE["characters"], (number, kind, lines)


@pytest.mark.parametrize("number", (1, 6, 8))
def test_slides_are_few_and_short(number):
    slides = text_of(f"{number}-slides.md").split("\n---\n")
    assert 8 <= len(slides) <= 12
    assert all(len(slide) < 520 for slide in slides)


def test_the_exam_asks_two_questions_a_lesson_with_answers_and_points():
    parts = re.split(r"^## Lesson (\d)$", text_of("exam.md"), flags=re.MULTILINE)
    assert parts[1::2] == [str(number) for number in NOTEBOOKS]
    for number, part in zip(parts[1::2], parts[2::2]):
        asked = re.findall(r"^\*\*(\d[ab])\.\*\*", part, re.MULTILINE)
        assert asked == [f"{number}a", f"{number}b"]
        assert part.count("*Answer.*") == part.count("*Rubric.*") == 2


def test_links_and_names_exist():
    for path in SHEETS:
        for link in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            assert (FOLDER / link).exists(), f"{path.name}: {link}"
        for file in re.findall(r"`(\d\d_\w+\.ipynb)`", path.read_text(encoding="utf-8")):
            assert (ROOT / "notebooks" / file).is_file()
    assert "lessons/README.md" in (ROOT / "docs" / "course.md").read_text(encoding="utf-8")


def test_calls_in_the_sheets_can_be_parsed():
    for path in SHEETS:
        for call in re.findall(r"`(check\(.+?\))`", path.read_text(encoding="utf-8")):
            name = ast.parse(call).body[0].value.args[0].value
            assert name in HELP
