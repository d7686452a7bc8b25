"""The R1 pipeline: cold start, reasoning RL, rejection sampling, RL for all scenarios,
distillation.

    python train_r1.py                               the preset that fits this machine, all stages
    python train_r1.py --stages 2-4 --from RUN       some stages, with another run's checkpoints
    python train_r1.py --resume RUN                  go on after an interruption

Reads like Figure 2 and section 3 of the R1 report: one function per stage, one run folder per
stage. SFT starts from the base both times. The scoreboard at the end compares all stages on
held-out problems.
"""

import sys
from dataclasses import replace
from functools import partial

from minir1.console.errors import guard
from minir1.console.files import write_lines
from minir1.r1.data.bilingual_corpus import BilingualCorpus
from minir1.r1.data.curation import emphasise
from minir1.r1.data.fine_tuning import fine_tune, read_lines
from minir1.r1.pipeline.pipeline import Pipeline
from minir1.r1.pipeline.prompts import general_lines, mixed
from minir1.r1.pipeline.stages import collect, learned_preference, reinforce_stage
from minir1.r1.preference.rewards import PreferenceJudge
from minir1.r1.scoreboard.board import write_scoreboard
from minir1.r1.students.distillation import SIZES, by_rl, by_sft, by_teacher, lesson, student_config
from minir1.run.costs import costs_of
from minir1.run.phases import by_rule, pretrain, training_problems
from minir1.run.summary import next_steps

# ---------------------------------------------------------------- stage 0


def base(pipeline: Pipeline) -> None:
    """The bilingual base: given, shipped with the package, or pretrained here."""
    config = pipeline.config
    if not config.from_scratch:
        return pipeline.finish("base", pipeline.from_file(config.base), None)
    session, corpus = pipeline.session("base"), BilingualCorpus.of(config)
    model = session.load_or_make("pretrain", lambda: pretrain(session, config.model, corpus))
    pipeline.finish("base", model, session)


def zero(pipeline: Pipeline) -> None:
    """R1-Zero: RL on the base with the core's rules alone, in both languages.

    Nothing rewards one language or readability.
    """
    config = pipeline.config
    if config.zero:
        return pipeline.finish("zero", pipeline.from_file(config.zero), None)
    start, rl = pipeline.model("base", "0"), config.zero_rl
    session, draw = pipeline.session("0", rl), training_problems(config, rl, "zero")
    work = lambda: reinforce_stage(session, start, rl, draw, by_rule)  # noqa: E731
    pipeline.finish("zero", session.load_or_make("rl", work), session)


def untaught(pipeline: Pipeline) -> None:
    """The students of stage 5 before they are taught: shipped, or pretrained here."""
    config = pipeline.config
    pipeline.model("base", "students")  # its tokenizer is theirs
    for size in SIZES:
        name, phase = config.students.bases.format(size=size), f"pretrain_{size}"
        if pipeline.shares_tokenizer(name) and not config.from_scratch:
            pipeline.finish(f"untaught-{size}", pipeline.from_file(name), None)
            continue
        session = pipeline.session("students", tokens=config.students.tokens)
        scale, positions = config.students.scale, config.model.positions
        shape = student_config(size, len(session.tokenizer), scale, positions)
        corpus = BilingualCorpus.of(config)
        work = partial(pretrain, session, shape, corpus, phase, every=1)
        result = partial(costs_of, session, phase)
        model = session.load_or_make(f"untaught-{size}", work, result=result)
        pipeline.finish(f"untaught-{size}", model, session, phase)


# ---------------------------------------------------------------- stages 1 to 4


def cold_start(pipeline: Pipeline) -> None:
    """Stage 1: R1-Zero's right, single-language, non-repeating answers, rewritten with a summary.

    SFT of the base -> Dev1.
    """
    config, policy = pipeline.config, pipeline.model("zero", "1")
    start, session = pipeline.model("base", "1"), pipeline.session("1")
    collected_lines(session, config, policy, "zero.pt", config.cold, config.zero_rl.max_tokens)
    lines = read_lines(session.run.path / "data" / "kept.jsonl")
    lines = emphasise(lines, config.cold.long)
    work = partial(fine_tune, session, start, lines, **sft(config.cold_sft))
    pipeline.finish("dev1", session.load_or_make("sft", work), session)


def reasoning_rl(pipeline: Pipeline) -> None:
    """Stage 2: RL with accuracy, readable format and language (Eq. 7) -> Dev2.

    As a control also without the language reward.
    """
    config, start, rl = pipeline.config, pipeline.model("dev1", "2"), pipeline.config.reasoning
    session, draw = pipeline.session("2", rl), training_problems(config, rl, "reasoning")
    work = partial(reinforce_stage, session, start, rl, draw)
    pipeline.finish("dev2", session.load_or_make("rl", work), session, "rl")
    if config.control:
        plain = replace(rl, language_reward=0.0)
        work = partial(reinforce_stage, session, start, plain, draw, phase="rl_plain")
        pipeline.finish("dev2-plain", session.load_or_make("rl_plain", work), session, "rl_plain")


def rejection_sampling(pipeline: Pipeline) -> None:
    """Stage 3: Dev2's right and readable answers, several samples per prompt, and general data.

    SFT of the base again -> Dev3.
    """
    config, policy = pipeline.config, pipeline.model("dev2", "3")
    start, session = pipeline.model("base", "3"), pipeline.session("3")
    max_tokens = config.reasoning.max_tokens
    collected_lines(session, config, policy, "dev2.pt", config.rejection, max_tokens)
    data = session.run.path / "data"
    lines = read_lines(data / "kept.jsonl") + general_lines(config)
    write_lines(data / "sft.jsonl", lines)
    lines = emphasise(lines, config.rejection.long)
    work = partial(fine_tune, session, start, lines, **sft(config.rejection_sft))
    pipeline.finish("dev3", session.load_or_make("sft", work), session)


def all_scenarios(pipeline: Pipeline) -> None:
    """Stage 4: RL over all scenarios -> R1.

    Rules for reasoning. General prompts come in the last part only, judged by a learned preference
    model: helpfulness on the final summary, harmlessness on the whole response.
    """
    config, start, rl = pipeline.config, pipeline.model("dev3", "4"), pipeline.config.scenarios
    session = pipeline.session("4", rl)
    preference = learned_preference(session, config, pipeline.model("base", "4"))
    judge, draw = PreferenceJudge(preference, config.preference), mixed(config, rl, "scenarios")
    work = partial(reinforce_stage, session, start, rl, draw, judge)
    pipeline.finish("r1", session.load_or_make("rl", work), session)


def collected_lines(session, config, policy, source: str, how, max_tokens: int) -> None:
    """What a policy answers well, collected once."""
    work = lambda: len(collect(session, config, policy, source, how, max_tokens))  # noqa: E731
    session.once("collect", work)


def sft(how) -> dict:
    """The arguments of fine_tune."""
    return {"epochs": how.epochs, "rows": how.rows, "lr": how.lr, "optimizer": how.optimizer}


# ---------------------------------------------------------------- stage 5


def distillation(pipeline: Pipeline) -> None:
    """Stage 5: the curated data into dense students of three sizes, by SFT alone.

    The smallest one also by direct RL at equal compute, the largest one also on-policy with R1 as
    its teacher.
    """
    config, teacher = pipeline.config, pipeline.model("r1", "5")
    lines = lesson(config, read_lines(pipeline.data("3") / "sft.jsonl"))
    students = {size: pipeline.model(f"untaught-{size}", "5") for size in SIZES}
    session = pipeline.session("5", config.scenarios)
    models = {size: by_sft(session, config, students[size], lines, size) for size in SIZES}
    for size in SIZES:
        pipeline.finish(f"student-{size}", models[size], session, f"distil-{size}")
    direct = by_rl(session, students["small"])
    pipeline.finish("student-direct", direct, session, "direct")
    on_policy = by_teacher(session, config, models["large"], teacher, lines)
    pipeline.finish("student-on-policy", on_policy, session, "on-policy")


# ---------------------------------------------------------------- putting it together

STAGES = {
    "base": base, "students": untaught, "0": zero,
    "1": cold_start, "2": reasoning_rl, "3": rejection_sampling,
    "4": all_scenarios, "5": distillation,
}


def main(arguments: list[str]) -> None:
    pipeline = Pipeline.open(arguments)
    with pipeline.resumable():
        for stage in pipeline.missing():
            STAGES[stage](pipeline)
        if any(stage.isdigit() for stage in pipeline.stages):
            print(write_scoreboard(pipeline))
            if pipeline.path("r1").is_file():
                print(next_steps(pipeline.path("r1")))


if __name__ == "__main__":
    sys.exit(guard(main, sys.argv[1:], "train_r1.py"))
