"""Settings: each number has a range, each choice its words, and whatever lies outside is one line
before a run folder is made; each flag is read by what it belongs to.
"""

import argparse
import json
import sys
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path

import pytest

import train_r1
import train_zero
from minir1.__main__ import COMMANDS, dispatch
from minir1.config import Config, RLConfig, UserError, apply, flags_of, from_dict
from minir1.console.errors import guard
from minir1.console.files import read_settings
from minir1.console.flags import TRAIN_ZERO, Value, parse_command_line
from minir1.model import Transformer
from minir1.presets import PRESETS, check
from minir1.r1.pipeline.flags import TRAIN_R1, UNREAD, parse
from minir1.r1.pipeline.pipeline import Pipeline
from minir1.r1.pipeline.stages import remix
from minir1.r1.presets import PRESETS as R1_PRESETS
from minir1.r1.presets import R1Config, check_r1, from_dict_r1, parse_stages
from minir1.r1.scoreboard import compare
from minir1.run import session
from minir1.tasks import parse_tasks

ROOT = Path(__file__).parent.parent
SCRIPTS = {
    "train_zero.py": (TRAIN_ZERO, parse_command_line), "train_r1.py": (TRAIN_R1, parse),
}
FLAGS = [
    (script, name, hint, f)
    for script, (program, _) in SCRIPTS.items()
    for name, hint, f in flags_of(program.kind)
    if name not in program.absent
]


def test_the_defaults_are_the_laptops_and_no_other_preset_takes_them_up():
    """A step of the laptop's is small and quick. What was measured with other steps keeps them."""
    laptop = PRESETS["cpu"].rl
    assert (laptop.prompts, laptop.lr) == (RLConfig().prompts, RLConfig().lr) == (24, 1.2e-4)
    others = [preset.rl for name, preset in PRESETS.items() if name != "cpu"]
    assert {rl.lr for rl in others} == {1e-4}
    stages = [R1_PRESETS["cpu"].zero_rl, R1_PRESETS["cpu"].reasoning, R1_PRESETS["cpu"].scenarios]
    assert [(rl.prompts, rl.lr) for rl in stages] == [(32, 1e-4), (32, 5e-5), (32, 5e-5)]
    others = [R1_PRESETS[name].zero_rl for name in ("gpu", "smoke")]
    assert [(rl.prompts, rl.lr) for rl in others] == [(64, 1e-4), (4, 1e-4)]


def test_the_control_trains_for_fewer_steps_than_r1_zero_on_the_laptop_alone():
    """For time: the last 20 steps are worth 2 points (results/LOG.md)."""
    steps = {name: (p.rl.steps, p.eval.answer_only_steps) for name, p in PRESETS.items()}
    assert steps["cpu"] == (100, 80) and steps["gpu"] == steps["t4"] == (240, 240)
NUMBERS = (int, float)


def fault_of(function, arguments: list[str]) -> str:
    with pytest.raises(UserError) as told:
        function(arguments)
    assert "\n" not in str(told.value)
    return str(told.value)


def outside(hint: type, allowed) -> list[str]:
    """Texts that a flag must refuse: below, above, not a number, endless, a word."""
    if hint is bool:
        return ["maybe", "2"]
    if allowed.words:
        return ["nonsense", ""]
    low, high = allowed.low, allowed.high
    return [repr(hint(low) - 1), repr(2 * hint(high) + 1), "nan", "inf", "-inf", "word", ""]


# ---------------------------------------------------------------- ranges


@pytest.mark.parametrize("kind", [Config, R1Config])
def test_every_number_has_a_range_and_every_default_lies_in_it(kind):
    bare = []
    for name, hint, f in flags_of(kind):
        allowed = f.metadata["allowed"]
        if hint in NUMBERS and (allowed is None or not allowed.low < allowed.high):
            bare.append(name)
        assert allowed is None or allowed.holds(f.default), name
    assert not bare


@pytest.mark.parametrize(("script", "name", "hint", "f"), FLAGS, ids=[f[0] + f[1] for f in FLAGS])
def test_a_value_outside_is_refused_in_one_line_that_names_the_flag(script, name, hint, f):
    allowed, (_, read) = f.metadata["allowed"], SCRIPTS[script]
    for text in outside(hint, allowed) if allowed or hint is bool else ():
        told = fault_of(read, ["--preset", "smoke", f"--{name}={text}"])
        assert f"--{name}" in told, (text, told)


def ask(command: str, arguments: list[str]):
    """A command of minir1, or the one that stands alone."""
    return compare.main(arguments) if command == "compare" else dispatch([command, *arguments])


def number_flags(command: str, monkeypatch) -> list[tuple[str, argparse.Action]]:
    """The flags of a small command that take a value, seen as its parser is made."""
    seen, add = [], argparse._ActionsContainer.add_argument

    def note(self, *names, **how):
        action = add(self, *names, **how)
        seen.append(action)
        return action

    monkeypatch.setattr(argparse._ActionsContainer, "add_argument", note)
    with pytest.raises(SystemExit):
        ask(command, ["--help"])
    monkeypatch.undo()
    return seen


@pytest.mark.parametrize("command", [*COMMANDS, "compare"])
def test_the_small_commands_check_their_numbers_alike(command, monkeypatch, capsys):
    for action in number_flags(command, monkeypatch):
        assert action.type not in NUMBERS, f"{action.option_strings} has no range"
        if isinstance(action.type, Value):
            flag, allowed = action.option_strings[0], action.type.allowed
            read = type(allowed.low) if allowed.low != int(allowed.low) else int
            for text in outside(read, allowed):
                assert flag in fault_of(partial(ask, command), [f"{flag}={text}"]), text
    capsys.readouterr()


@pytest.mark.parametrize("temperature", ["1e-30", "0.009"])
def test_no_temperature_lets_logits_overflow(temperature):
    told = fault_of(dispatch, ["evaluate", "--problems", "p", "--temperature", temperature])
    assert "--temperature is 0 (greedy) or lies between" in told


@pytest.mark.parametrize("command", ["study", "failures"])
def test_each_of_several_seeds_is_checked(command):
    assert "--seed" in fault_of(dispatch, [command, "--seeds", "1,18446744073709551616"])


def test_every_preset_and_every_kept_run_is_within():
    for config in PRESETS.values():
        check(config)
    for config in R1_PRESETS.values():
        check_r1(config)
    runs = sorted((ROOT / "results").rglob("config.json"))
    assert len(runs) > 10
    for path in runs:
        values = read_settings(path)
        if "zero_rl" in values:
            from_dict_r1(values)
        else:
            check(from_dict(Config, values))


# ---------------------------------------------------------------- before a folder is made

REFUSED = [
    ("--rl.lr nan", "--rl.lr"), ("--rl.clip_low 2", "--rl.clip_low"),
    ("--rl.steps -3", "--rl.steps"), ("--rl.prompts 0", "--rl.prompts"),
    ("--rl.checkpoint_every 0", "--rl.checkpoint_every"),
    ("--pretrain.tokens 100", "--pretrain.tokens must be a batch"),
    ("--pretrain.batch_tokens 100", "must hold a row"),
    ("--pretrain.row_tokens 2048", "cannot exceed --model.positions"),
    ("--kernels foo", "--kernels is one of"), ("--rl.tasks countdown:cpu=0", "a share above 0"),
    ("--rl.tasks countdown:cpu=nan", "a share above 0"), ("--rl.tasks=", "--rl.tasks names no"),
    ("--seed 18446744073709551616", "--seed"), ("--threads 100000", "--threads"),
    ("--eval.many 0", "--eval.many"), ("--model.heads 0", "--model.heads"),
    ("--rl.group_size 1", "--rl.group_size"), ("--model.experts 1", "cannot exceed"),
    ("--model.rope_width 7", "--model.rope_width must be even"),
    ("--model.attention gqa --model.head_width 7", "--model.head_width must be even"),
    ("--model.attention gqa --model.heads 3", "a multiple of --model.kv_heads"),
    ("--rl.early_tokens 49", "cannot exceed --rl.max_tokens"),
    ("--rl.max_tokens 1000", "must fit in --model.positions"),
    ("--corpus.share_countdown 0.9", "add up to 1"),
    ("--base typo.pt", "no checkpoint at typo.pt"),
    ("--base README.md", "README.md is not a readable checkpoint"),
    ("--base base-cpu.pt --rl.max_tokens 1000", "positions of base-cpu.pt"),
    ("--base base-cpu.pt --from_scratch", "exclude one another"),
    ("--base base-cpu.pt --model.width 64", "--model.width is for a base that is pretrained"),
    ("--rl.language_reward 2", "--rl.language_reward cannot exceed"),
    ("--rl.accuracy_reward 0 --rl.language_reward 0.1", "a wrong answer could beat a right"),
    ("--model.vocab_size 600", "unrecognized arguments"),
]
R1_REFUSED = [
    ("--reasoning.language_reward 2", "--reasoning.language_reward cannot exceed"),
    ("--zero_rl.early_tokens 33", "--zero_rl.early_tokens cannot exceed"),
    ("--scenarios.tasks countdown:cpu=0", "--scenarios.tasks:"),
    ("--students.tokens 4095", "--students.tokens must be a batch"),
    ("--students.bases {width}.pt", "--students.bases may hold {size}"),
    ("--score.kinds 3d+,9d+", "--score.kinds is one of"),
    ("--stages 2", "stage 2 needs dev1.pt"), ("--stages 0-1,3", "stage 3 needs dev2.pt"),
    ("--base README.md", "README.md is not a readable checkpoint"),
    ("--base base-cpu.pt --model.positions 2048 --score.max_tokens 1500", "too few for responses"),
    *((f"--{name} 2", "unrecognized arguments") for name in UNREAD),
]


@pytest.mark.parametrize(
    ("script", "flags", "message"),
    [(train_zero, *row) for row in REFUSED] + [(train_r1, *row) for row in R1_REFUSED],
)
def test_what_cannot_end_well_is_one_line_status_2_and_no_folder(
    script, flags, message, tmp_path, monkeypatch, capsys
):
    (tmp_path / "README.md").write_text("# no checkpoint", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    arguments = ["--preset", "smoke", "--device", "cpu", *flags.split()]
    assert guard(script.main, arguments) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1, told
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_a_task_that_cannot_draw_for_the_test_is_told_at_the_start(tmp_path, monkeypatch, capsys):
    text = (ROOT / "notebooks" / "own_tasks" / "sorting.py").read_text(encoding="utf-8")
    broken = "\n\ndef sample(rng, kind, split, lang):\n    return {}['train'][split]\n\n\nTASK = "
    mine = tmp_path / "mine.py"
    text = text.replace("\nTASK = ", broken).replace('"sorting"', '"broken"')
    mine.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert guard(train_zero.main, ["--preset", "smoke", "--rl.tasks", "mine.py"]) == 2
    told = capsys.readouterr().err
    assert "--rl.tasks" in told and "KeyError" in told and told.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_controls_with_strange_rewards_stay_possible():
    """The study's: form alone is paid, or a right answer costs a point."""
    for flags in (["--rl.accuracy_reward=0", "--rl.format_reward=1"], ["--rl.accuracy_reward=-1"]):
        rl = parse_command_line(flags).rl
        assert rl.accuracy_reward <= 0 and rl.language_reward == 0


@pytest.mark.parametrize("tasks", ["countdown:cpu=0.8,arithmetic:2d+=0.2", "arithmetic:5d+=1"])
def test_sums_in_practice_are_tested_to_the_end(tasks, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # where a new run would be made
    run = tmp_path / "run"
    how = ["--preset", "smoke", "--device", "cpu", "--rl.tasks", tasks, "--rl.steps", "1"]
    train_zero.main([*how, "--eval.answer_only_steps", "0", "--out", str(run)])
    progress = json.loads((run / "progress.json").read_text(encoding="utf-8"))
    assert progress["test"]["result"]["zero"]["n"] == 16
    capsys.readouterr()
    train_zero.main([f"--resume={run}"])  # and again, with the equals sign
    assert f"run folder {run}\n" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


# ---------------------------------------------------------------- flags that are read

CHECKS = ("check", "check_r1", "check_ranges", "check_tasks")


def traced(config, reads: set[str], prefix: str = ""):
    """The same configuration, which notes the dotted names of settings that are read.

    Checks and copies do not count. A copy with other values goes on noting.
    """
    kind, values = type(config), {}
    names = {f.name for f in fields(kind)}

    def noted(self, name):
        caller = sys._getframe(1)
        copied = caller.f_globals.get("__name__") == "dataclasses"
        copied = copied or caller.f_code.co_filename == "<string>"  # a dataclass's own methods
        if name in names and not copied and caller.f_code.co_name not in CHECKS:
            reads.add(f"{prefix}{name}")
        return object.__getattribute__(self, name)

    for name in names:
        value = getattr(config, name)
        values[name] = traced(value, reads, f"{prefix}{name}.") if is_dataclass(value) else value
    return type(kind.__name__, (kind,), {"__getattribute__": noted})(**values)


def never_read(program, reads: set[str]) -> list[str]:
    """Flags of stages that nothing has read. (The command itself reads those without a dot.)"""
    names = [name for name, *_ in flags_of(program.kind) if name not in program.absent]
    return [name for name in names if "." in name and name not in reads]


DENSE = {"attention": "gqa", "qk_norm": True, "kv_heads": 1, "rope_factor": 2.0}
EVERYTHING = {"model.mtp": True, "model.q_rank": 8, "corpus.pairs": 0.1}


def everything_on(config, *stages: str):
    """With a KL term and a short beginning: settings that are read only then."""
    for stage in stages:
        more = {"kl": 0.01, "kl_refresh": 1, "early_tokens": 16, "recompute": True}
        config = apply(config, {f"{stage}.{name}": value for name, value in more.items()})
    return apply(config, EVERYTHING | {"device": "cpu"})


def test_every_flag_of_train_zero_is_read(tmp_path, monkeypatch):
    reads: set[str] = set()
    config = apply(everything_on(PRESETS["smoke"], "rl"), {"out": str(tmp_path / "run")})
    config = traced(apply(config, {"corpus.languages": ("en", "zh")}), reads)
    monkeypatch.setattr(session, "settle", lambda *_: config)
    train_zero.main([])
    Transformer(type(config.model)(**vars(config.model) | DENSE))
    assert never_read(TRAIN_ZERO, reads) == []


def test_every_flag_of_every_stage_of_train_r1_is_read_and_none_is_hidden_that_is(
    tmp_path, monkeypatch, capsys
):
    reads: set[str] = set()
    config = everything_on(R1_PRESETS["smoke"], "zero_rl", "reasoning", "scenarios")
    config = traced(config, reads)
    pipeline = Pipeline(tmp_path, config, parse_stages("0-5"))
    monkeypatch.setattr(Pipeline, "open", lambda arguments: pipeline)
    train_r1.main([])
    Transformer(type(config.model)(**vars(config.model) | DENSE))
    assert never_read(TRAIN_R1, reads) == []
    assert not reads & set(UNREAD)
    for stage in ("0-zero", "2-reasoning-rl", "4-all-scenarios"):  # the KL term is there
        lines = (tmp_path / stage / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        assert any("kl" in json.loads(line) for line in lines), stage


@pytest.mark.parametrize(("sums", "left"), [(0.0, "countdown:cpu=1"), (1.0, "arithmetic:3d+=1")])
def test_a_mixture_without_sums_or_of_sums_alone_can_be_drawn(sums, left):
    """--cold.sums 0 gives a share of 0, which a task may not have: it is left out."""
    mixture = remix(("countdown:cpu=0.75", "arithmetic:3d+=0.25"), sums)
    assert mixture == (left,) and parse_tasks(mixture)
