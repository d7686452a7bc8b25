"""The core stays small, reads top to bottom and knows nothing of devices."""

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = (
    "config", "tasks.countdown", "tasks.arithmetic", "transcript", "tokenizer", "corpus", "model", "checkpoint",
    "supervised", "sampler", "rewards", "rollout", "grpo",
)  # fmt: skip
FILES = {name: ROOT / "minir1" / (name.replace(".", "/") + ".py") for name in ORDER} | {"train_zero": ROOT / "train_zero.py"}
PACKAGES = ("__init__", "tasks.__init__")  # docstrings only


def code_lines(path: Path) -> int:
    """Lines that hold code: no blank lines, comments or docstrings."""
    source = path.read_text(encoding="utf-8")
    docstrings = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            first = node.body[0]
            docstrings |= set(range(first.lineno, first.end_lineno + 1))
    lines = set()
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minir1"):
            found.add(node.module.removeprefix("minir1").removeprefix("."))
            if node.module in ("minir1", "minir1.tasks"):
                found |= {f"{node.module}.{a.name}".removeprefix("minir1.") for a in node.names}
        if isinstance(node, ast.Import):
            found |= {a.name.removeprefix("minir1.") for a in node.names if a.name.startswith("minir1")}
    return found - {"", "tasks"}


def test_counting_lines_counts_code_only(tmp_path):
    path = tmp_path / "x.py"
    source = '"""Doc\nstring."""\n\n# comment\nx = 1  # with a comment\n\n\ndef f():\n    """Doc."""\n'
    path.write_text(source + "    return (\n        1\n    )\n")
    assert code_lines(path) == 5


def test_core_fits_its_budget():
    counts = {name: code_lines(path) for name, path in FILES.items()}
    assert len(counts) <= 14
    assert sum(counts.values()) <= 1500, counts
    for name in PACKAGES:
        assert code_lines(ROOT / "minir1" / (name.replace(".", "/") + ".py")) == 0


def test_each_core_module_imports_only_modules_above_it():
    for index, name in enumerate(ORDER):
        below = imports(FILES[name]) - set(ORDER[:index])
        assert not below, f"{name} imports {below}"


def test_core_has_no_branch_on_device_compilation_or_graphs():
    for name in ORDER:
        source = FILES[name].read_text(encoding="utf-8")
        for word in ("torch.cuda", "is_available", "torch.compile", "CUDAGraph", "torch.backends"):
            assert word not in source, f"{name} mentions {word}"


def test_the_loss_is_at_most_forty_lines():
    tree = ast.parse(FILES["grpo"].read_text(encoding="utf-8"))
    loss = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "grpo_loss")
    assert loss.end_lineno - loss.lineno + 1 <= 40


def test_run_time_packages_are_the_five_allowed_ones():
    import sys

    allowed = {"torch", "numpy", "tqdm", "tokenizers", "matplotlib", "minir1", "train_zero"} | set(sys.stdlib_module_names)
    rivals = {"transformers", "trl", "datasets"}  # measured by `minir1 bench` where they are installed
    for path in [ROOT / "train_zero.py", ROOT / "train_r1.py", *(ROOT / "minir1").rglob("*.py")]:
        extra = {"bench_others.py": rivals, "problems.py": {"reasoning_gym"}}  # asked for where they are installed
        extra["kernels.py"] = {"triton"}  # a part of PyTorch's CUDA builds
        optional = {"safetensors"} | extra.get(path.name, set())  # safetensors: the export extra
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                assert name.split(".")[0] in allowed | optional, f"{path.name} imports {name}"


@pytest.mark.parametrize("module", ["train_zero", "train_r1", "minir1.play.command"])
def test_a_start_does_not_wait_for_the_compiler(module):
    """Importing it takes as long as everything else together; who compiles or trains pays for it later."""
    code = f"import sys, {module}; print([name for name in ('torch._dynamo', 'matplotlib') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout == "[]\n"
