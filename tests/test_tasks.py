"""The registry of tasks: shipped ones, a user's file, lines of questions and answers, mixtures."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

import minir1.tasks as registry
from minir1.__main__ import main as command
from minir1.checkpoint import load_checkpoint
from minir1.config import Config, ModelConfig, UserError
from minir1.data import find_checkpoint
from minir1.measure.evaluate import read_problems
from minir1.measure.evaluator import Evaluator
from minir1.model import Transformer
from minir1.rewards import score
from minir1.rollout import sampling
from minir1.run import teach
from minir1.sampler import sample as sampler
from minir1.tasks import (
    SHIPPED,
    Problem,
    Task,
    complete,
    draw_problems,
    find_task,
    parse_tasks,
    problem_from_json,
    register,
)
from minir1.tasks.countdown import DISTRIBUTIONS
from minir1.tasks.lines import Line, number
from minir1.transcript import parse

ROOT = Path(__file__).parents[1]
SORTING = ROOT / "notebooks" / "own_tasks" / "sorting.py"
SPLITS = ("train", "validation", "test")
MINE = """
from dataclasses import dataclass
from typing import ClassVar
from minir1.tasks import Task

@dataclass(frozen=True)
class Double:
    n: int
    lang: str = "en"
    id: str = ""
    task: ClassVar[str] = "{name}"
    def question(self): return f"Twice {{self.n}}?"
    def verify(self, answer): return answer == str(2 * self.n)
    def split(self): return ("train", "validation", "test")[self.n % 3]
    def to_json(self): return {{"task": self.task, "n": self.n}}

def sample(rng, kind, split, lang):
    most = {{"small": 10, "large": 1000}}[kind]
    while True:
        problem = Double(rng.randrange(most), lang)
        if problem.split() == split:
            return problem

TASK = Task("{name}", ("small", "large"), sample, lambda line: Double(line["n"]))
"""


@pytest.fixture(autouse=True)
def registry_as_before(monkeypatch):
    """Whatever a test registers is gone after it; modules of files, too."""
    modules = set(sys.modules)
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    yield
    for name in set(sys.modules) - modules:
        if name.startswith(registry.FROM_FILE):
            del sys.modules[name]


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE.format(name="double"), encoding="utf-8")
    return path


def message(call, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


# ---------------------------------------------------------------- the registry


@pytest.mark.parametrize("name", [name for name in SHIPPED if name != "file"])
def test_shipped_problems_keep_their_split_and_come_back_from_json(name):
    task, rng = find_task(name), Random(name)
    assert task.name == name and task.kinds
    for kind in task.kinds:
        for split in SPLITS:
            problem = task.sample(rng, kind, split, "en")
            line = json.loads(json.dumps(problem.to_json()))
            again = problem_from_json(line)
            assert isinstance(problem, Problem) and problem.task == name
            assert problem.split() == again.split() == split
            assert again.question() == problem.question() and again.to_json() == problem.to_json()


def test_a_wrong_name_is_told_in_one_line():
    assert message(find_task, "sudoku").startswith("no task 'sudoku'; there are countdown, ")
    assert message(find_task, "no/such.py") == f"no task file {Path('no/such.py').resolve()}"


def test_a_task_can_be_registered_and_completed():
    look = lambda problem, response: {"letters": len(response)}  # noqa: E731
    complete("countdown", observe=look)
    assert find_task("countdown").observe is look
    assert find_task("countdown").kinds == tuple(DISTRIBUTIONS)
    register(Task("own", ("a",), lambda *how: how, dict))
    assert parse_tasks(("own:a=2",)) == [("own", "a", 2.0)]


def test_the_template_knows_no_task():
    imported = (ROOT / "minir1" / "transcript.py").read_text(encoding="utf-8")
    assert "minir1.tasks" not in imported.split('"""', 2)[2]


# ---------------------------------------------------------------- a file of one's own


def test_a_file_is_found_by_path_and_then_by_its_tasks_name(mine, monkeypatch):
    monkeypatch.chdir(mine.parent)
    task = find_task("mine.py")
    assert task is find_task(str(mine)) is find_task("double") and task.kinds == ("small", "large")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("x = 1", "has no TASK = "),
        ("TASK = 5", "has no TASK = "),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError"),
        (MINE.format(name="countdown"), "there is another task 'countdown'"),
    ],
)
def test_a_file_that_will_not_do_is_told_in_one_line(tmp_path, source, told):
    path = tmp_path / "bad.py"
    path.write_text(source, encoding="utf-8")
    for _ in range(2):
        text = message(find_task, str(path))
        assert text.startswith(str(path)) and told in text
    assert find_task("countdown").kinds[0] == "3to4"


def test_two_files_cannot_share_a_name(mine):
    copy = mine.with_name("copy.py")
    copy.write_text(mine.read_text(encoding="utf-8"), encoding="utf-8")
    find_task(str(mine))
    assert "there is another task 'double'" in message(find_task, str(copy))


def test_problems_of_a_file_in_json_name_the_task_or_the_file(mine, tmp_path):
    path = tmp_path / "problems.jsonl"
    lines = [{"task": "double", "n": 3}, {"task": str(mine), "n": 4}, {"task": "double", "n": 5}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    problems, faults, _ = read_problems(path)
    assert [p.n for p in problems] == [4, 5] and "line 1: \"task\": no task 'double'" in faults[0]
    assert problem_from_json(problems[0].to_json()) == problems[0]


def test_answers_to_a_task_of_ones_own_are_evaluated(mine, tmp_path, capsys):
    problems, answers = tmp_path / "problems.jsonl", tmp_path / "answers.jsonl"
    rows = [{"id": str(n), "task": str(mine), "n": n} for n in range(4)]
    source = mine.read_text(encoding="utf-8")
    mine.write_text(source.replace('(line["n"])', '(line["n"], id=line["id"])'), encoding="utf-8")
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    said = [{"id": str(n), "answer": 2 * n if n else 1} for n in range(4)]
    answers.write_text("".join(json.dumps(row) + "\n" for row in said), encoding="utf-8")
    out = tmp_path / "out.jsonl"
    how = ["--problems", str(problems), "--answers", str(answers), "--out", str(out)]
    assert command(["evaluate", *how]) == 0
    results = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["correct"] for row in results] == [False, True, True, True]
    assert "double" in capsys.readouterr().out


SPAWN = """
import sys
sys.path.insert(0, {root!r})
from minir1.fast.parallel import parallel_map
from minir1.tasks import draw_problems

if __name__ == "__main__":
    keys = [(({mixture!r},), ("en",), "train", str(i), 3) for i in range(4)]
    for problems in parallel_map(draw_problems, keys, 2):
        print([p.n for p in problems], type(problems[0]).__name__)
"""


def test_spawned_workers_draw_from_a_file_that_the_parent_has_not_read(mine, tmp_path):
    """The parent unpickles problems of a module that it has never imported."""
    script, mixture = tmp_path / "script.py", f"{mine}:large=1"
    script.write_text(SPAWN.format(root=str(ROOT), mixture=mixture), encoding="utf-8")
    how = {"capture_output": True, "text": True, "timeout": 120}
    lines = subprocess.run([sys.executable, script], **how, check=True).stdout.splitlines()
    here = [draw_problems((mixture,), ("en",), "train", str(i), 3) for i in range(4)]
    assert lines == [f"{[p.n for p in problems]} Double" for problems in here]


# ---------------------------------------------------------------- mixtures


def test_the_last_colon_separates_the_kind(tmp_path):
    folder = tmp_path / "C:own=tasks"
    folder.mkdir()
    path = folder / "mine.py"
    path.write_text(MINE.format(name="colon"), encoding="utf-8")
    assert parse_tasks((f"{path}:large=0.25",)) == [(str(path), "large", 0.25)]
    assert parse_tasks((f"{path}=2",)) == [(str(path), "small", 2.0)]
    assert parse_tasks(("countdown:cpu", "arithmetic:5d-=0.5")) == [
        ("countdown", "cpu", 1.0), ("arithmetic", "5d-", 0.5),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("countdown:huge=1", "no task 'countdown:huge'; there are countdown:3to4|sos4|cpu|"),
        ("countdown", "no task 'countdown'; there are countdown:3to4|"),
        ("sudoku:9x9=1", "no task 'sudoku:9x9'; there are countdown, arithmetic, "),
        ("countdown:cpu=much", "'countdown:cpu=much' should read like countdown:3to4=0.8"),
        ("countdown:cpu=-1", "should read like"),
        ("countdown:cpu=nan", "should read like"),
        ("", "no task ''"),
        ("none.py:easy=1", "no task file "),
        (f"{SORTING}:hard=1", "there are "),
        ("file:none.jsonl=1", "no file none.jsonl"),
    ],
)
def test_wrong_mixtures_are_told_in_one_line(text, told):
    fault = message(parse_tasks, (text,))
    assert fault.startswith("--rl.tasks: ") and told in fault
    assert message(parse_tasks, (text,), "--tasks").startswith("--tasks: ")


def test_draws_follow_shares_languages_and_seed(mine):
    mixture = (f"{mine}:small=3", "arithmetic:2d+=1")
    problems = draw_problems(mixture, ("en", "zh"), "test", "key", 2000)
    assert problems == draw_problems(mixture, ("en", "zh"), "test", "key", 2000)
    assert problems != draw_problems(mixture, ("en", "zh"), "test", "other", 2000)
    tasks, languages = Counter(p.task for p in problems), Counter(p.lang for p in problems)
    assert abs(tasks["double"] - 1500) < 5 * (2000 * 3 / 16) ** 0.5  # five standard errors
    assert abs(languages["zh"] - 1000) < 5 * (2000 / 4) ** 0.5
    assert all(p.split() == "test" for p in problems)


# ---------------------------------------------------------------- lines of a file


def write_lines(path: Path, lines: list) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return f"file:{path}=1"


def test_questions_and_answers_from_a_file(tmp_path):
    rows = [{"question": f"What is {n} and {n}?", "answer": 2 * n} for n in range(200)]
    mixture = write_lines(tmp_path / "a=b:c.jsonl", rows)
    drawn = {s: draw_problems((mixture,), ("en",), s, "seed", 300) for s in SPLITS}
    texts = {split: {p.question() for p in problems} for split, problems in drawn.items()}
    assert sum(map(len, texts.values())) == len(set().union(*texts.values())), "disjoint"
    assert len(texts["train"]) > 100 and min(map(len, texts.values())) > 5
    for problem in drawn["train"]:
        assert problem.verify(problem.answer) and problem.verify(f" {problem.answer}.0")
        assert not problem.verify(f"{problem.answer}1")
        assert problem_from_json(json.loads(json.dumps(problem.to_json()))) == problem


@pytest.mark.parametrize("answer", [" B\n", "so\n#### B ", "B"])
def test_spaces_around_the_answer_of_a_line_are_dropped_as_it_is_read(answer):
    line = Line.from_json({"question": "q", "answer": answer, "read": "last"})
    assert line.answer == "B" and line.verify("(B)") and line.to_json()["answer"] == "B"


def test_a_line_may_name_its_split_and_language(tmp_path):
    rows = [
        {"question": f"{split} {lang}", "answer": "Paris", "split": split, "lang": lang}
        for split in SPLITS for lang in ("en", "zh")
    ]
    mixture = write_lines(tmp_path / "x.jsonl", rows)
    for split in SPLITS:
        for lang in ("en", "zh"):
            (problem,) = draw_problems((mixture,), (lang,), split, "k", 1)
            assert (problem.question(), problem.split()) == (f"{split} {lang}", split)
            assert problem.lang == lang and problem.verify(" paris ") and not problem.verify("Rome")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"question": "q"}, '"answer" must be a text'),
        ({"question": "", "answer": "a"}, '"question" must be a text'),
        ({"question": "q", "answer": True}, '"answer" must be a text'),
        ({"question": "q", "answer": "a", "split": "dev"}, '"split" must be one of'),
        ({"question": "q", "answer": "a", "lang": "fr"}, '"lang" must be en or zh'),
        ({"question": "q", "answer": "a", "read": "first"}, '"read" must be one of boxed, last'),
        ({"question": "q", "answer": "a", "read": ["last"]}, '"read" must be one of boxed, last'),
        ({"question": "q", "answer": "a b", "read": "last"}, "for a number or a choice"),
        (["q", "a"], "not a JSON object"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, told):
    mixture = write_lines(tmp_path / "x.jsonl", [{"question": "q", "answer": "a"}, line])
    text = message(parse_tasks, (mixture,))
    assert "x.jsonl: line 2: " in text and told in text


def test_a_file_in_another_encoding_is_told(tmp_path):
    (tmp_path / "x.jsonl").write_bytes('{"question": "café"}'.encode("latin-1"))
    assert "is not text in UTF-8" in message(parse_tasks, (f"file:{tmp_path / 'x.jsonl'}=1",))


def test_a_file_needs_problems_in_every_split(tmp_path):
    rows = [{"question": "q", "answer": "a", "split": split} for split in ("train", "validation")]
    mixture = write_lines(tmp_path / "x.jsonl", rows)
    assert "holds no problem of the test split" in message(parse_tasks, (mixture,))


@pytest.mark.parametrize(
    ("right", "yes", "no"),
    [
        ("12", ["12", " 12 ", "12.0", "24/2"], ["12a", "1 2", "", "012.5", "1e1", "twelve"]),
        ("1,200", ["1200", "1,200", "1200.00"], ["1,2,0,0", "12,00"]),
        ("-0.5", ["-1/2", "-0.50"], ["0.5", "1/2", "-1/0"]),
        ("New York", ["new york", " New York\n"], ["NewYork", "York"]),
        ("B", ["B", "b", "(B)", "B.", " (b) ", "(B)\n"], ["A", "", "AB", "B or C", "((", "BB"]),
    ],
)
def test_numbers_are_compared_as_numbers_and_words_as_words(right, yes, no):
    problem = Line("?", right)
    assert all(problem.verify(answer) for answer in yes)
    assert not any(problem.verify(answer) for answer in (*no, None, 12, "9" * 500))


@pytest.mark.parametrize(
    ("read", "right", "yes", "no"),
    [
        ("last", "18", ["She pays 3 + 15 = $18.", "18", "I say 18. I do", "1/2 or 18.0"],
         ["18 or 19", "none", "", "18 of 20 dollars"]),
        ("last", "1,200", ["It costs 1,200, he says"], ["1, 200"]),
        ("last", "-3", ["x = -3"], ["x = 3"]),
        ("last", "B", ["The answer is (B).", "A? No, B", "B"], ["A or B? A", "b", "ABB"]),
        ("boxed", "42", [r"so \boxed{42}", r"\boxed{1}: \boxed{ 42.0 }"], ["42", r"\boxed{43}"]),
        ("boxed", "New York", [r"\boxed{new york}"], ["New York", r"\boxed{}"]),
    ],
)
def test_an_answer_is_read_where_the_line_says(tmp_path, read, right, yes, no):
    lines = [{"question": f"q{i}", "answer": right, "read": read} for i in range(40)]
    mixture = write_lines(tmp_path / "x.jsonl", lines)
    (problem,) = draw_problems((mixture,), ("en",), "test", "", 1)
    assert all(problem.verify(answer) for answer in yes)
    assert not any(problem.verify(answer) for answer in no)
    assert problem_from_json(json.loads(json.dumps(problem.to_json()))) == problem



@pytest.mark.parametrize("text", ["1" * 10**6, "1/" + "0" * 10**6, "-", "٣", "１２", "\ud800", ","])
def test_no_text_stops_the_reading_of_numbers(text):
    assert number(text) is None


# ---------------------------------------------------------------- sorting, from file to run


def test_the_example_fits_on_a_page_and_writes_what_it_says():
    assert len(SORTING.read_text(encoding="utf-8").splitlines()) <= 60
    task, rng = find_task(str(SORTING)), Random(0)
    problem = problem_from_json({"task": str(SORTING), "numbers": [31, 4, 15, 9]})
    assert problem.question() == "Sort: 31 4 15 9"
    assert problem.verify("4 9 15 31") and not problem.verify("4 15 9 31")
    assert replace(problem, numbers=(4, 9, 15, 31)).split() == problem.split()
    thinking, right = Counter(), Counter()
    for _ in range(1000):
        text = task.document(rng, "en")
        question, _, response = text.removeprefix("<|begin|>User: ").partition("\nAssistant:")
        numbers = [int(n) for n in question.removeprefix("Sort: ").split()]
        problem = replace(problem, numbers=tuple(numbers))
        transcript, reward = parse(response), score(problem, response)
        assert problem.split() == "train" and reward.format == 1
        assert sorted(numbers) == sorted(map(int, transcript.answer.split()))
        thinking[transcript.think is not None] += 1
        right[transcript.think is not None] += reward.accuracy
    assert 0.3 < thinking[True] / 1000 < 0.5
    assert right[False] / thinking[False] < 0.1  # one order of 24
    assert 0.35 < right[True] / thinking[True] < 0.75


@pytest.mark.parametrize("line", [{}, {"numbers": 5}, {"numbers": ["5"]}, {"numbers": [True]}])
def test_the_example_says_what_is_wrong_with_a_line(line):
    with pytest.raises(ValueError, match='"numbers" must be a list of integers'):
        problem_from_json({"task": str(SORTING)} | line)


def test_teach_writes_a_base_that_has_read_on(tmp_path, capsys):
    out, mixture = tmp_path / "taught.pt", f"{SORTING}:easy"
    how = ["--base", "base-cpu.pt", "--tasks", mixture, "--tokens", "12_288", "--device", "cpu"]
    assert command(["teach", *how, "--out", str(out)]) == 0
    assert f"train_zero.py --base {out} --rl.tasks {mixture}\n" in capsys.readouterr().out
    taught, tokenizer = load_checkpoint(out)
    base, _ = load_checkpoint(find_checkpoint("base-cpu.pt"))
    find_task(str(SORTING))
    (problem,) = draw_problems(("sorting:easy=1",), ("en",), "train", "k", 1)
    ids_BT = torch.tensor([tokenizer.encode(problem.question())])
    assert not torch.equal(taught(ids_BT), base(ids_BT))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["--tasks", "countdown:cpu"], "countdown has no document(rng, lang)"),
        (["--tasks", "none.py:easy"], "--tasks: no task file"),
        (["--share", "0"], "--share: lies between 1e-06 and 1"),
        (["--tokens", "5"], "--tokens: lies between"),
        (["--out", "/no/such/folder/x.pt"], "/no/such/folder"),
        (["--base", "none.pt"], "none.pt"),
    ],
)
def test_teach_tells_what_is_wrong_before_it_reads(changes, told, capsys):
    how = ["--base", "base-cpu.pt", "--tasks", f"{SORTING}:easy", "--tokens", "12_288"]
    assert command(["teach", *how, *changes]) == (1 if changes[0] == "--out" else 2)
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_lessons_mix_old_and_new_documents_alike_in_every_process():
    _, tokenizer = load_checkpoint(find_checkpoint("base-cpu.pt"))
    lessons = teach.Lessons(Config().corpus, (f"{SORTING}:easy=1",), 0.5, 0)
    rng = Random(1)
    new = sum("Sort: " in lessons.write(rng) for _ in range(600))
    assert abs(new - 300) < 5 * 150**0.5
    rows = teach.lesson_rows(lessons, tokenizer.to_text(), 3)
    assert rows.shape == (teach.ROWS, teach.ROW_TOKENS + 1)
    assert (next(iter(lessons.batches(tokenizer, 3, 1))) == rows).all()


def test_a_task_without_baselines_shows_none():
    """Countdown's blind search and perfect writer have no say about sorting."""
    _, tokenizer = load_checkpoint(find_checkpoint("base-cpu.pt"))
    torch.manual_seed(0)
    shape = replace(ModelConfig(), width=32, layers=1, dense_width=32, experts=0)
    model = Transformer(shape).eval()
    config = Config()
    config = replace(
        config,
        rl=replace(config.rl, tasks=(f"{SORTING}:easy=1",), max_tokens=8),
        eval=replace(config.eval, problems=8, many=8),
    )
    evaluator = Evaluator(tokenizer, sampler, sampling(tokenizer, 8), 64)

    def draw(split, count):
        return draw_problems(config.rl.tasks, ("en",), split, split, count)

    figures = evaluator.compare({"base": model, "zero": model}, draw, config)
    assert set(figures["references"]) == {"pass64_base"}
    assert {"accuracy", "accuracy_sorting"} <= set(figures["zero"])
    assert not {"attempts", "hit_rate"} & set(figures["zero"])


@pytest.mark.parametrize("task", ["countdown:cpu", "arithmetic:2d+"])
def test_a_split_that_does_not_exist_is_said_at_once(task):
    message = "unknown split 'val'; choose from train, validation, test"
    with pytest.raises(ValueError, match=message):
        draw_problems((f"{task}=1",), ("en",), "val", "key", 1)
