"""Homework: nothing passes at the start and each failure names its task.

The solutions pass, and train with the real loop.
"""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks" / "homework"
TASKS = {
    "task1": "advantages",
    "task2": "loss",
    "task3": "verifier",
    "task4": "attention",
    "task5": "sampler",
}


def call(*command: str, solved: str = "", limit: int = 300) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "MINIR1_HOMEWORK": solved or ".",
        "PYTHONIOENCODING": "utf-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    how = {"cwd": FOLDER, "env": environment, "timeout": limit}
    how |= {"capture_output": True, "text": True, "encoding": "utf-8"}
    return subprocess.run([sys.executable, *command], **how)


def solution(name: str) -> str:
    return (FOLDER / "solutions" / f"{name}.py").read_text(encoding="utf-8")


def copied(tmp_path: Path, **files: str) -> Path:
    """The homework with every task solved, except for the given sources.

    The folder can stand in MINIR1_HOMEWORK.
    """
    for name in TASKS.values():
        source = files.get(name, solution(name))
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    return tmp_path


def test_at_the_start_every_test_fails_and_names_its_task():
    done = call("-m", "pytest", "-p", "no:cacheprovider", "test_mine.py")
    assert done.returncode == 1
    assert re.search(r"\d+ failed", done.stdout) and "passed" not in done.stdout
    for task, name in TASKS.items():
        assert re.search(
            rf"UserError: task {task[4:]}: \w+\(\) in {name}\.py is not written yet", done.stdout
        )
    assert "NotImplementedError" not in done.stdout


def test_at_the_start_there_are_no_points_and_training_says_why():
    graded = call("grade.py")
    assert graded.returncode == 1 and "in all 0 of 16 points" in graded.stdout
    trained = call("train_with_mine.py", "--steps", "1")
    assert trained.returncode == 2 and not trained.stdout
    assert re.fullmatch(
        r"train_with_mine.py: task \d: \w+\(\) in \w+\.py is not written yet\n", trained.stderr
    )


def test_the_solutions_get_all_points():
    graded = call("grade.py", solved="solutions")
    assert graded.returncode == 0, graded.stdout
    for task, name in TASKS.items():
        assert re.search(rf"{task}  {name} +(\d+) of \1 tests +(\d) of \2 points", graded.stdout)
    assert "in all 16 of 16 points; now run" in graded.stdout


# (file, what is right, what a student writes instead, a part of the names of tests that notice)
MISTAKES = [
    ("advantages", "reward_PG - reward_PG[:, :1]", "reward_PG", "exact_zeros"),
    ("advantages", ".std(1, keepdim=True)", ".std(1, keepdim=True, correction=0)", "by_hand"),
    ("advantages", ".mean(1, keepdim=True)", ".mean()", "as_the_package"),
    ("loss", "torch.minimum", "torch.maximum", "by_hand"),
    ("loss", "1 + high", "1 + low", "by_hand"),
    ("loss", ".mean()", ".sum()", "as_the_package"),
    ("loss", "-torch.minimum", "torch.minimum", "by_hand"),
    (
        "verifier",
        "except (ValueError, IndexError, ZeroDivisionError)",
        "except (ValueError, IndexError)",
        "everything_else",
    ),
    ("verifier", "value == target", "abs(float(value) - target) < 0.6", "is_exact"),
    (
        "verifier",
        "return Fraction(int(tokens[place]))",
        "return float(int(tokens[place]))",
        "is_exact",
    ),
    ("verifier", "place == len(tokens) and ", "", "everything_else"),
    ("verifier", "and depth < 32", "", "everything_else"),
    ("attention", "> position_BT", ">= position_BT", "plain_loops"),
    (
        "attention",
        "store_BSW[row_B1, position_BT]",
        "store_BSW[row_B1, position_BT[:1]]",
        "own_position",
    ),
    ("attention", "stored_BSW[..., :rank]", "stored_BSW[..., -rank:]", "plain_loops"),
    ("sampler", "length_B[ends_B] = t + 1", "length_B[ends_B] = t", "stops_and_limits"),
    ("sampler", "torch.zeros(B, T)", "torch.ones(B, T)", "stops_and_limits"),
    ("sampler", ".cumsum(-1)", ".cummax(-1).values", "darts"),
    ("sampler", "stopped_B.all() or t + 1 == T", "t + 1 == T", "ends_when_all"),
]


@pytest.mark.parametrize(
    "name, right, wrong, noticed", MISTAKES, ids=[f"{m[0]}-{i}" for i, m in enumerate(MISTAKES)]
)
def test_mistakes_are_noticed(name, right, wrong, noticed, tmp_path):
    assert right in solution(name)
    folder = copied(tmp_path, **{name: solution(name).replace(right, wrong)})
    task = next(task for task, file in TASKS.items() if file == name)
    tests = ("-m", "pytest", "-p", "no:cacheprovider", "test_mine.py", "-k", task)
    done = call(*tests, solved=str(folder))
    failed = re.search(rf"FAILED .*::test_{task}\w*{noticed}", done.stdout)
    assert done.returncode == 1 and failed, done.stdout[-2000:]


BORROWED = (
    "from solutions.advantages import advantages",
    "from minir1.grpo import advantages",
    "import minir1.grpo as grpo\nadvantages = grpo.advantages",
    "from minir1 import grpo\nadvantages = grpo.advantages",
    "from test_mine import real_advantages as advantages",
    "import importlib\nadvantages = importlib.import_module('solutions.advantages').advantages",
    "advantages = __import__('solutions.advantages').advantages.advantages",
    "exec(open('solutions/advantages.py').read())",
    "import torch\nadvantages = torch.sys.modules['minir1.grpo'].advantages",
    "from torch import sys\nadvantages = sys.modules['minir1.grpo'].advantages",
    "def advantages(r):\n    from minir1 import grpo\n    return grpo.advantages(r)",
    "advantages = (lambda: 0).__globals__['__builtins__']",
    "from .solutions.advantages import advantages",
)


def test_answers_are_not_borrowed():
    spec = importlib.util.spec_from_file_location("homework_adapters", FOLDER / "adapters.py")
    adapters = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(adapters)
    for source in BORROWED:
        assert adapters.borrowed(source), source
    for name in TASKS.values():
        assert adapters.borrowed(solution(name)) is None


def test_a_borrowed_answer_is_no_answer(tmp_path):
    folder = copied(tmp_path, advantages=BORROWED[0] + "\n")
    tests = ("-m", "pytest", "-p", "no:cacheprovider", "test_mine.py", "-k", "task1")
    done = call(*tests, solved=str(folder))
    assert done.returncode == 1 and "passed" not in done.stdout
    assert "UserError: advantages.py uses " in done.stdout and "rules of the game" in done.stdout


def test_training_with_a_borrowed_answer_is_one_line(tmp_path):
    folder = copied(tmp_path, loss="from minir1.grpo import grpo_loss\n")
    arguments = ("train_with_mine.py", "--steps", "1", "--prompts", "2", "--out", str(tmp_path))
    done = call(*arguments, solved=str(folder))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "loss.py uses minir1.grpo.grpo_loss" in done.stderr


def signatures(tree: ast.Module) -> dict[str, list[str]]:
    """The arguments of each public function."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {f.name: [a.arg for a in f.args.args] for f in functions if f.name[0] != "_"}


def test_exercises_and_solutions_ask_for_the_same_functions():
    for name in TASKS.values():
        wanted = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
        assert signatures(wanted) == signatures(ast.parse(solution(name)))
        for function in wanted.body:
            if isinstance(function, ast.FunctionDef):
                assert ast.get_docstring(function) and len(function.body) == 2
                assert isinstance(function.body[1], ast.Raise)
    for name in TASKS.values():  # a solution of its own, not the package's
        assert "minir1" not in solution(name)


def test_the_readme_and_the_grader_agree_on_the_points():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    grader = (FOLDER / "grade.py").read_text(encoding="utf-8")
    for task, name in TASKS.items():
        points = re.search(rf'"{task}": \("{name}", (\d)\)', grader)[1]
        assert re.search(rf"^\| {task[4:]} \| `{name}\.py` .* \| {points} \|$", text, re.MULTILINE)


@pytest.mark.parametrize("arguments", [("--steps", "0"), ("--prompts", "3"), ("--stepz", "3")])
def test_wrong_arguments_get_one_line(arguments):
    done = call("train_with_mine.py", *arguments, solved="solutions")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def rows(folder: Path) -> list[dict]:
    text = (folder / "mine.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_solutions_train_in_the_real_loop(tmp_path):
    size = ("--steps", "2", "--prompts", "2")
    done = call("train_with_mine.py", *size, "--out", str(tmp_path), solved="solutions")
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in rows(tmp_path)] == [1, 2] and rows(tmp_path)[0]["gap"] < 1e-4
    assert (tmp_path / "mine.png").read_bytes()[:4] == b"\x89PNG"
    assert "0 of 4 points" in done.stdout


def test_it_is_the_student_s_functions_that_train(tmp_path):
    """A verifier that accepts nothing must show in the rewards, an advantage of 0 in the signal."""
    folder = copied(tmp_path, verifier="def verify(numbers, target, answer):\n    return False\n")
    arguments = ("train_with_mine.py", "--steps", "1", "--prompts", "2", "--out", str(tmp_path))
    done = call(*arguments, solved=str(folder))
    assert done.returncode == 0 and rows(tmp_path)[0]["accuracy"] == 0
    folder = copied(tmp_path, advantages="def advantages(reward_PG):\n    return 0 * reward_PG\n")
    done = call(*arguments, solved=str(folder))
    assert done.returncode == 0 and rows(tmp_path)[0]["signal"] == 0


@pytest.mark.slow
def test_the_solutions_learn(tmp_path):
    size = ("--steps", "16", "--prompts", "12", "--out", str(tmp_path))
    done = call("train_with_mine.py", *size, solved="solutions", limit=600)
    assert done.returncode == 0 and "4 of 4 points" in done.stdout, done.stdout


# ---------------------------------------------------------------- mutants of the solutions

EVERY = 19  # of the mutants one is tried on every commit
EQUIVALENT = Path(__file__).with_name("equivalent_homework_mutants.txt")
RUN_MUTANTS = """
import ast, os, signal, sys, types
os.environ["MINIR1_HOMEWORK"] = "solutions"
every, sys.path[:0] = int(sys.argv[1]), sys.argv[2:]
import torch
torch.set_num_threads(1)
import adapters, test_mine
from mutation import mutants

def stop(*_):
    raise TimeoutError

def fails(task, name, source):
    module = types.ModuleType(name)
    exec(compile(source, name, "exec"), vars(module))
    setattr(adapters, name, module)
    signal.setitimer(signal.ITIMER_VIRTUAL, 20)
    try:
        for test, function in vars(test_mine).items():
            if test.startswith(f"test_{task}"):
                function()
    except BaseException as fault:
        return not isinstance(fault, KeyboardInterrupt)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return False

signal.signal(signal.SIGVTALRM, stop)
count = 0
for number, name in enumerate(("advantages", "loss", "verifier", "attention", "sampler"), 1):
    tree = ast.parse((adapters.FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    assert not fails(f"task{number}", name, ast.unparse(tree))
    for place, function in enumerate(tree.body):
        for change, source in mutants(function) if isinstance(function, ast.FunctionDef) else ():
            count += 1
            if count % every:
                continue
            body = list(tree.body)
            body[place] = ast.parse(source).body[0]
            alive = not fails(f"task{number}", name, ast.unparse(ast.Module(body, [])))
            print("alive" if alive else "dead", name, change)
"""


def tried(every: int) -> tuple[int, set[str], set[str]]:
    """(how many of the mutants, one in `every`; those that no test noticed; equivalent ones)."""
    folders = [str(Path(__file__).parent), str(FOLDER), str(ROOT)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN_MUTANTS, str(every), *folders],
        capture_output=True, text=True, cwd=FOLDER, timeout=900,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert {line.split()[1] for line in lines} == set(TASKS.values())
    alive = {line.removeprefix("alive ") for line in lines if line.startswith("alive ")}
    listed = EQUIVALENT.read_text(encoding="utf-8").splitlines()
    return len(lines), alive, {line for line in listed if line and not line.startswith("# ")}


def test_some_wrong_versions_of_a_solution_are_noticed():
    """A sample of the test below, which is slow: some seconds."""
    count, alive, equivalent = tried(every=EVERY)
    assert count >= 40 and alive <= equivalent


@pytest.mark.slow
def test_every_wrong_version_of_a_solution_is_noticed():
    """All tests of a task against each mutant of its solution, in one process: a minute."""
    count, alive, equivalent = tried(every=1)
    assert count >= 800 and alive == equivalent
