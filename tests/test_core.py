"""The core stays small, reads top to bottom and knows nothing of devices."""

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest
from test_house import FILES, ROOT, imports

ORDER = (
    "config", "tasks", "tasks.countdown", "tasks.arithmetic", "transcript", "tokenizer", "model",
    "checkpoint", "supervised", "sampler", "rewards", "rollout", "grpo",
)
CORE = [f"minir1.{name}" for name in ORDER]


def code_lines(path: Path) -> int:
    """Lines that hold code: no blank lines, comments or docstrings."""
    source = path.read_text(encoding="utf-8")
    docstrings = set()
    for node in ast.walk(ast.parse(source)):
        may_have_one = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if may_have_one and ast.get_docstring(node) is not None:
            first = node.body[0]
            docstrings |= set(range(first.lineno, first.end_lineno + 1))
    lines = set()
    layout = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (tokenize.COMMENT, *layout):
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def test_counting_lines_counts_code_only(tmp_path):
    path = tmp_path / "x.py"
    source = '"""Doc\nstring."""\n\n# comment\nx = 1  # with a comment\n\n\n'
    source += 'def f():\n    """Doc."""\n    return (\n        1\n    )\n'
    path.write_text(source)
    assert code_lines(path) == 5


def test_core_fits_its_budget():
    counts = {name: code_lines(FILES[name]) for name in [*CORE, "train_zero"]}
    assert len(counts) <= 14
    assert sum(counts.values()) <= 1720, counts
    assert code_lines(FILES["minir1"]) == 0  # the reading guide


def test_each_core_module_imports_only_modules_above_it():
    for index, name in enumerate(CORE):
        below = imports(name) - set(CORE[:index])
        assert not below, f"{name} imports {below}"


def test_core_has_no_branch_on_device_compilation_or_graphs():
    for name in CORE:
        source = FILES[name].read_text(encoding="utf-8")
        for word in ("torch.cuda", "is_available", "torch.compile", "CUDAGraph", "torch.backends"):
            assert word not in source, f"{name} mentions {word}"


def test_the_loss_is_at_most_forty_lines():
    functions = ast.walk(ast.parse(FILES["minir1.grpo"].read_text(encoding="utf-8")))
    loss = next(n for n in functions if isinstance(n, ast.FunctionDef) and n.name == "grpo_loss")
    assert loss.end_lineno - loss.lineno + 1 <= 40


def test_run_time_packages_are_the_five_allowed_ones():
    allowed = {"torch", "numpy", "tqdm", "tokenizers", "matplotlib", "minir1", "train_zero"}
    allowed |= set(sys.stdlib_module_names) | {"safetensors", "gguf"}  # the export extra
    optional = {  # used where they are installed
        "minir1.experiments.bench.others": {"transformers", "trl", "datasets"},  # rivals
        "minir1.experiments.tables.problems": {"reasoning_gym"},
        "minir1.fast.kernels": {"triton"},  # a part of PyTorch's CUDA builds
    }
    for file, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                package = name.split(".")[0]
                assert package in allowed | optional.get(file, set()), f"{file} imports {name}"


@pytest.mark.parametrize("module", ["train_zero", "train_r1", "minir1.play.command"])
def test_a_start_does_not_wait_for_the_compiler(module):
    """Importing it takes as long as all the rest; who compiles or trains pays for it later."""
    slow = "('torch._dynamo', 'matplotlib')"
    code = f"import sys, {module}; print([name for name in {slow} if name in sys.modules])"
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown == "[]\n"
