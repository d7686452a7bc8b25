"""The house: imports run downwards, lines and functions stay short, each loop is written once."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = [ROOT / "train_zero.py", ROOT / "train_r1.py"]


def name_of(path: Path) -> str:
    """minir1/model.py is minir1.model, minir1/tasks/__init__.py is minir1.tasks."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in [*sorted((ROOT / "minir1").rglob("*.py")), *SCRIPTS]}


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


@cache
def names_imported(name: str) -> frozenset[str]:
    """Full names of the modules and things that a file imports, inside functions, too."""
    names = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def imports(name: str) -> set[str]:
    """The files of this repository that a file imports."""
    modules = set()
    for full in names_imported(name):
        modules.add(full if full in FILES else full.rpartition(".")[0])
    return modules & set(FILES)


# ---------------------------------------------------------------- rooms

CORE = (
    "config", "tasks", "transcript", "tokenizer", "model", "checkpoint", "supervised", "sampler",
    "rewards", "rollout", "grpo",
)
FLOORS = (  # from the ground up; a file may import its own room and those before it
    "core", "data", "corpus", "presets", "console", "variants", "fast", "hub", "measure", "report",
    "run", "train_zero", "r1.tasks", "r1.data", "r1.presets", "r1.preference", "r1.pipeline",
    "r1.students", "r1.scoreboard", "train_r1", "play", "experiments.tables",
    "experiments.evolution", "experiments.studies", "experiments.failures", "experiments.hacking",
    "experiments.calculator", "experiments.bench", "__main__",
)
FOLDERS_OF_ROOMS = ("r1", "experiments")  # their __init__ files hold nothing but words
FILES_IN_A_ROOM = 12  # at most; tests/test_core.py counts the core


def room_of(name: str) -> str:
    """minir1.r1.data.curation is in r1.data, minir1.fast.engine in fast, minir1.model in core."""
    _, *parts = name.split(".") if name.startswith("minir1") else ("", name)
    if not parts or parts[0] in CORE:
        return "core"
    return ".".join(parts[:2]) if parts[0] in FOLDERS_OF_ROOMS else parts[0]


def test_imports_between_rooms_run_downwards():
    upwards = []
    for name in FILES:
        room = room_of(name)
        assert room in (*FLOORS, *FOLDERS_OF_ROOMS), f"{name} is in no room"
        for imported in imports(name):
            other = room_of(imported)
            if FLOORS.index(other) > FLOORS.index(room):
                upwards.append(f"{name} ({room}) imports {imported} ({other})")
    assert not upwards, "\n".join(upwards)


def test_no_files_import_one_another_in_a_circle():
    order = list(TopologicalSorter({name: imports(name) for name in FILES}).static_order())
    assert order.index("minir1.config") < order.index("minir1.grpo") < order.index("train_zero")


def test_a_room_has_at_most_twelve_files():
    folders = {path.parent for path in FILES.values()} - {ROOT, ROOT / "minir1"}
    for folder in folders:
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= FILES_IN_A_ROOM, folder


# ---------------------------------------------------------------- lengths


class Limits(NamedTuple):
    columns: int  # of package, scripts and tests
    function: int  # lines of one function of the package or the scripts; a test may be longer
    package: int  # non-blank lines of Python and JavaScript, the scripts included


# package: 14,000 is the aim; lower this when lines go
LIMITS = Limits(columns=100, function=40, package=19_431)


def sources(*patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


PACKAGE = sources("minir1/**/*.py", "minir1/**/*.js", "train_*.py")


def test_lines_are_not_wide():
    wide = []
    for path in [*PACKAGE, *sources("tests/*.py")]:
        lines = path.read_text(encoding="utf-8").splitlines()
        numbers = [n for n, line in enumerate(lines, 1) if len(line) > LIMITS.columns]
        if numbers:
            wide.append(f"{path.relative_to(ROOT)}: lines {numbers}")
    assert not wide, "\n".join(wide)


def test_functions_fit_on_a_screen():
    long = []
    for name in FILES:
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.FunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > LIMITS.function:
                    long.append(f"{name}.{node.name}: {lines}")
    assert not long, "\n".join(long)


def test_the_package_stays_small():
    texts = (path.read_text(encoding="utf-8") for path in PACKAGE)
    lines = sum(bool(line.strip()) for text in texts for line in text.splitlines())
    assert lines <= LIMITS.package


# ---------------------------------------------------------------- loops

STUDIES = "minir1.experiments"
MAY_USE = {  # a loop, or a step of one: the files that may use it, beside its own
    "train_zero.reinforce": {
        "minir1.r1.pipeline.stages",
        "minir1.r1.students.comparison",
        "minir1.r1.students.distillation",
        f"{STUDIES}.failures.runs",
        f"{STUDIES}.hacking.command",
        f"{STUDIES}.studies.create",
        f"{STUDIES}.studies.worker",
    },
    "minir1.supervised.train_supervised": {
        "minir1.run.phases",
        f"{STUDIES}.calculator.command",
        f"{STUDIES}.failures.bases",
        f"{STUDIES}.bench.measuring",  # times it
    },
    "minir1.grpo.update": {
        "minir1.run.phases",  # the default part of the loop in train_zero
        f"{STUDIES}.bench.command",  # times it
    },
}


def users(full: str) -> set[str]:
    """Files that import a function, or read it from its module (`grpo.update`)."""
    module, _, function = full.rpartition(".")
    short = module.rpartition(".")[2]
    files = set()
    for name in FILES:
        imported = names_imported(name)
        if full in imported:
            files.add(name)
        if module in imported:
            for node in ast.walk(tree(name)):
                reads = isinstance(node, ast.Attribute) and node.attr == function
                if reads and ast.unparse(node.value) in (module, short):
                    files.add(name)
    return files


@pytest.mark.parametrize("function", MAY_USE)
def test_each_loop_is_called_from_named_places_only(function):
    strangers = users(function) - MAY_USE[function]
    assert not strangers, f"{strangers} use {function}: go through the phases of minir1/run instead"


MAY_BUILD = {  # a class: the files that may make one, for it must know the codec
    "Sampling": {"minir1.rollout"},  # `sampling`: no id without a token is drawn
    "Engine": {  # `make_sampler`: there is room for the template
        "minir1.fast.accelerate",
        f"{STUDIES}.bench.command",  # of a given number of slots
    },
}


@pytest.mark.parametrize("name", MAY_BUILD)
def test_what_must_know_the_codec_is_built_in_named_places_only(name):
    builders = set()
    for file in FILES:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == name:
                builders.add(file)
    assert builders == MAY_BUILD[name]


def reached_into(path: Path) -> list[str]:
    """Private names of our other files that a file uses, and what of theirs it exchanges."""
    nodes, ours, found = list(ast.walk(ast.parse(path.read_text(encoding="utf-8")))), set(), []
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module.startswith(("minir1", "train_")):
            ours |= {alias.asname or alias.name for alias in node.names}
            found += [alias.name for alias in node.names if alias.name.startswith("_")]
    for node in nodes:
        if isinstance(node, ast.Attribute) and ast.unparse(node).split(".")[0] in ours:
            private = node.attr.startswith("_") and not node.attr.startswith("__")
            if private or isinstance(node.ctx, ast.Store):
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("folder", ["minir1", "results", "docs"])
def test_no_file_reaches_into_another(folder):
    for path in [*SCRIPTS, *sorted((ROOT / folder).rglob("*.py"))]:
        assert not reached_into(path), path


def test_the_search_for_users_finds_both_ways():
    assert "minir1.run.phases" in users("minir1.grpo.update")  # grpo.update
    assert "train_zero" in users("minir1.checkpoint.load_checkpoint")  # from ... import
