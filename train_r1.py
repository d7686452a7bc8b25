"""The R1 pipeline: R1-Zero -> cold start -> reasoning RL -> rejection sampling -> RL for all scenarios -> distillation.

    python train_r1.py                               the preset that fits this machine, all stages
    python train_r1.py --stages 2-4 --from RUN       some stages, with another run's checkpoints
    python train_r1.py --resume RUN                  go on after an interruption

Reads like Figure 2 and section 3 of the R1 report: one function a stage, one run folder a stage. SFT starts from the base both
times. The scoreboard at the end compares all stages on held-out problems.
"""

import sys
from functools import partial

from minir1.config import replace
from minir1.console.errors import guard
from minir1.r1.data.curate import emphasise
from minir1.r1.pipeline.pipeline import Pipeline
from minir1.r1.pipeline.prompts import general_lines, mixed, reasoning_only
from minir1.r1.pipeline.stages import (
    collect,
    fine_tune,
    learned_preference,
    load_or_make,
    pretrain,
    read_lines,
    reinforce,
    write_lines,
)
from minir1.r1.preference.rewards import PreferenceJudge, by_core
from minir1.r1.scoreboard.scoreboard import write_scoreboard
from minir1.r1.students.stage import SIZES, by_rl, by_sft, by_teacher, lesson, student

# ---------------------------------------------------------------- stage 0


def base(pipeline: Pipeline) -> None:
    """The bilingual base: given, shipped with the package, or pretrained here."""
    config = pipeline.config
    if config.from_scratch:
        session = pipeline.session("base")
        model = load_or_make(session, "pretrain", lambda: pretrain(session, config, config.model))
    else:
        model, session = pipeline.given(config.base), None
    pipeline.finish("base", model, session)


def zero(pipeline: Pipeline) -> None:
    """R1-Zero: RL on the base with the core's rules alone, in both languages. Nothing rewards one language or readability."""
    config = pipeline.config
    if config.zero:
        return pipeline.finish("zero", pipeline.given(config.zero), None)
    start, session = pipeline.model("base", "0"), pipeline.session("0", config.zero_rl)
    draw = reasoning_only(config, config.zero_rl, "zero")
    pipeline.finish("zero", load_or_make(session, "rl", lambda: reinforce(session, config, start, config.zero_rl, draw, by_core)), session)


def untaught(pipeline: Pipeline) -> None:
    """The students of stage 5 before they are taught: shipped with the package, or pretrained here on the base's corpus."""
    config = pipeline.config
    pipeline.model("base", "students")  # its tokenizer is theirs
    for size in SIZES:
        name = config.students.bases.format(size=size)
        if pipeline.shares_tokenizer(name) and not config.from_scratch:
            pipeline.finish(f"untaught-{size}", pipeline.given(name), None)
        else:
            session = pipeline.session("students", tokens=config.students.tokens)
            pipeline.finish(f"untaught-{size}", student(session, config, size), session, f"pretrain_{size}")


# ---------------------------------------------------------------- stages 1 to 4


def cold_start(pipeline: Pipeline) -> None:
    """Stage 1: R1-Zero's right, single-language, non-repeating answers, rewritten with a summary; SFT of the base -> Dev1."""
    config, policy, start = pipeline.config, pipeline.model("zero", "1"), pipeline.model("base", "1")
    session = pipeline.session("1")
    session.once("collect", lambda: len(collect(session, config, policy, "zero.pt", config.cold, config.zero_rl.max_tokens)))
    lines = emphasise(read_lines(session.run.path / "data" / "kept.jsonl"), config.cold.long)
    pipeline.finish("dev1", load_or_make(session, "sft", lambda: fine_tune(session, config, start, lines, config.cold_sft)), session)


def reasoning_rl(pipeline: Pipeline) -> None:
    """Stage 2: RL with accuracy, readable format and language (Eq. 7) -> Dev2; and, as a control, without the last."""
    config, start, rl = pipeline.config, pipeline.model("dev1", "2"), pipeline.config.reasoning
    session, draw = pipeline.session("2", rl), reasoning_only(config, rl, "reasoning")
    pipeline.finish("dev2", load_or_make(session, "rl", lambda: reinforce(session, config, start, rl, draw)), session, "rl")
    if config.control:
        plain = replace(rl, language_reward=0.0)
        work = partial(reinforce, session, config, start, plain, draw, phase="rl_plain")
        pipeline.finish("dev2-plain", load_or_make(session, "rl_plain", work), session, "rl_plain")


def rejection_sampling(pipeline: Pipeline) -> None:
    """Stage 3: Dev2's right and readable answers, several samples a prompt, and general data; SFT of the base again -> Dev3."""
    config, policy, start = pipeline.config, pipeline.model("dev2", "3"), pipeline.model("base", "3")
    session = pipeline.session("3")
    session.once("collect", lambda: len(collect(session, config, policy, "dev2.pt", config.rejection, config.reasoning.max_tokens)))
    data = session.run.path / "data"
    lines = read_lines(data / "kept.jsonl") + general_lines(config)
    write_lines(data / "sft.jsonl", lines)
    lines = emphasise(lines, config.rejection.long)
    pipeline.finish("dev3", load_or_make(session, "sft", lambda: fine_tune(session, config, start, lines, config.rejection_sft)), session)


def all_scenarios(pipeline: Pipeline) -> None:
    """Stage 4: RL over all scenarios -> R1. Rules for reasoning; general prompts come in the last part only, judged by a learned
    preference model: helpfulness on the final summary, harmlessness on the whole response."""
    config, start, rl = pipeline.config, pipeline.model("dev3", "4"), pipeline.config.scenarios
    session = pipeline.session("4", rl)
    judge = PreferenceJudge(learned_preference(session, config, pipeline.model("base", "4")), config.preference)
    work = partial(reinforce, session, config, start, rl, mixed(config, rl, "scenarios"), judge)
    pipeline.finish("r1", load_or_make(session, "rl", work), session)


# ---------------------------------------------------------------- stage 5


def distillation(pipeline: Pipeline) -> None:
    """Stage 5: the curated data into dense students of three sizes, by SFT alone; the smallest one also by direct RL at
    equal compute, the largest one also on-policy with R1 as its teacher."""
    config, teacher = pipeline.config, pipeline.model("r1", "5")
    lines = lesson(config, read_lines(pipeline.data("3") / "sft.jsonl"))
    students = {size: pipeline.model(f"untaught-{size}", "5") for size in SIZES}
    session = pipeline.session("5", config.scenarios)
    for size in SIZES:
        pipeline.finish(f"student-{size}", by_sft(session, config, students[size], lines, size), session, f"distil-{size}")
    pipeline.finish("student-direct", by_rl(session, config, students["small"]), session, "direct")
    pipeline.finish("student-on-policy", by_teacher(session, config, teacher, lines), session, "on-policy")


# ---------------------------------------------------------------- putting it together

STAGES = {
    "base": base, "students": untaught, "0": zero, "1": cold_start, "2": reasoning_rl, "3": rejection_sampling, "4": all_scenarios,
    "5": distillation,
}  # fmt: skip


def main(arguments: list[str]) -> None:
    pipeline = Pipeline.open(arguments)
    with pipeline.resumable():
        for stage in pipeline.missing():
            STAGES[stage](pipeline)
        if any(stage.isdigit() for stage in pipeline.stages):
            print(write_scoreboard(pipeline))


if __name__ == "__main__":
    sys.exit(guard(main, sys.argv[1:], "train_r1.py"))
