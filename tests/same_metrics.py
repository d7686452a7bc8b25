"""Do two checkouts compute the same? Run the same commands in both, compare every figure.

    git worktree add ../before COMMIT
    python tests/same_metrics.py ../before .          every run, in both (15 minutes on two cores)
    python tests/same_metrics.py ../before . cpu r1   some of them

What a clock or a machine decides (seconds, tokens per second, memory, dates) is left out. All else
in metrics.jsonl, summaries, samples, boards and results must be equal bit by bit; figures that only
the second checkout has are ignored. Runs of the first one are kept beside it, in
CHECKOUT.same-metrics/, so that they are computed only once.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MINIR1 = ("-m", "minir1")
SMALL_CPU = ("--rl.steps", "12", "--eval.problems", "64", "--eval.validation", "64")
SMALL_CPU += ("--eval.many", "16", "--eval.answer_only_steps", "4")
BASE, BILINGUAL = "minir1/data/base-cpu.pt", "minir1/data/base-r1-cpu.pt"
STUDY = (*MINIR1, "study", "controls", "--scale", "smoke", "--devices", "cpu", "--seeds", "0")
STUDY += ("--workers", "1", "--variants")
HACK = (*MINIR1, "hack")
HACK_SIZE = ("--steps", "3", "--judge_steps", "3", "--max_tokens", "24", "--languages", "en,zh")
ZERO = ("train_zero.py", "--seed", "3", "--preset")
RUNS = {  # name: arguments after `python`; OUT is replaced by the folder to write into
    "smoke": (*ZERO, "smoke", "--out", "OUT"),
    "kl": (*ZERO, "smoke", "--rl.kl", "0.05", "--rl.kl_refresh", "2", "--rl.recompute", "on",
           "--rl.early_tokens", "24", "--rl.loss", "gspo", "--out", "OUT"),
    "dense": (*ZERO, "smoke", "--model.experts", "0", "--model.attention", "gqa", "--out", "OUT"),
    "cpu": (*ZERO, "cpu", *SMALL_CPU, "--out", "OUT"),
    "r1": ("train_r1.py", "--preset", "smoke", "--out", "OUT"),
    "study": (*STUDY, "random,rejection_sft,expert_iteration", "--out", "OUT"),
    "failures": (*MINIR1, "failures", "all", "--steps", "2", "--prompts", "2", "--workers", "1",
                 "--out", "OUT"),
    "hack": (*HACK, "reasoning", BASE, *HACK_SIZE[:6], "--out", "OUT"),
    "hack-preference": (*HACK, "preference", BILINGUAL, *HACK_SIZE, "--warm", "3", "--out", "OUT"),
    "calculator": (*MINIR1, "calculator", BASE, "--documents", "256", "--problems", "16",
                   "--out", "OUT"),
}
CLOCK = ("seconds", "tokens_s", "date", "dollars", "memory", "device", "command", "machine")
CLOCK += ("began",)
READ = ("*.jsonl", "*.json")


def run(checkout: Path, name: str, folder: Path) -> Path:
    """The folder with a run's files, computed unless it is there."""
    out = folder / name
    if (out / "done").exists():
        return out
    shutil.rmtree(out, ignore_errors=True)
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *(str(out) if a == "OUT" else a for a in RUNS[name])]
    log = out.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        subprocess.run(command, cwd=checkout, env=environment, stdout=file, stderr=file, check=True)
    (out / "done").touch()
    return out


def plain(value):
    """Without what a clock or a machine decides."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if not k.startswith(CLOCK)}
    return [plain(v) for v in value] if isinstance(value, list) else value


def figures(folder: Path) -> dict[str, list]:
    """Every line of every JSON file, by its path in the folder."""
    paths = sorted(path for pattern in READ for path in folder.rglob(pattern))
    found = {}
    for path in paths:
        name, text = str(path.relative_to(folder)), path.read_text(encoding="utf-8")
        if name in ("spec.json",) or path.name in ("config.json", "spec.json"):
            continue
        parts = text.splitlines() if path.suffix == ".jsonl" else [text]
        found[name] = [plain(json.loads(part)) for part in parts]
    return found


def holds(x, y) -> bool:
    """Whether `y` has all that `x` has, with the same values."""
    if isinstance(x, dict) and isinstance(y, dict):
        return all(k in y and holds(v, y[k]) for k, v in x.items())
    if isinstance(x, list) and isinstance(y, list):
        return len(x) == len(y) and all(map(holds, x, y))
    return x == y


def differences(first: Path, second: Path) -> list[str]:
    a, b = figures(first), figures(second)
    found = [f"{name}: in the first checkout only" for name in sorted(set(a) - set(b))]
    for name in sorted(set(a) & set(b)):
        if len(a[name]) != len(b[name]):
            found.append(f"{name}: {len(a[name])} against {len(b[name])} lines")
        for number, (x, y) in enumerate(zip(a[name], b[name]), 1):
            keys = [k for k in x if not holds(x[k], y.get(k))] if isinstance(x, dict) else []
            if not holds(x, y):
                found.append(f"{name}, line {number}: {', '.join(keys) or 'values'} differ")
                break
    return found


def main(arguments: list[str]) -> int:
    before, after, *names = arguments
    wrong, old = 0, Path(before).resolve()
    kept, new = old.parent / f"{old.name}.same-metrics", Path(tempfile.mkdtemp())
    for name in names or RUNS:
        first, second = run(old, name, kept), run(Path(after).resolve(), name, new)
        found = differences(first, second)
        rows = sum(map(len, figures(first).values()))
        print(f"{name}: {'; '.join(found) if found else f'{rows} lines equal'}", flush=True)
        wrong += bool(found)
    return min(1, wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
