"""Behaviours: hand-counted transcripts in both languages, the trace writer as an oracle, totality,
and the corpus' rates.
"""

import json
from dataclasses import replace
from random import Random
from time import perf_counter
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minir1.config import CorpusConfig, Habits, UserError
from minir1.corpus.mixture import sample_text
from minir1.corpus.writers import plain_sums
from minir1.corpus.writers.plain import planned_attempt, write_trace
from minir1.measure.attempts import attempts_of, thought_of
from minir1.measure.behaviours import corpus_rates, observe, read_document, summarise, table
from minir1.measure.corpus import main
from minir1.presets import PRESETS
from minir1.rewards import score
from minir1.rollout import Rollouts, roll_out
from minir1.sampler import Samples, Stream
from minir1.tasks import arithmetic
from minir1.tasks.arithmetic import Arithmetic
from minir1.tasks.countdown import Countdown
from minir1.transcript import parse, render

PUZZLE = Countdown((19, 36, 55, 7), 65)
THREE = Countdown((3, 5, 13), 65)  # 13 * 5 = 65 leaves 3 over: no solution


def think(thought: str, end: str = "</think><answer>1</answer><|end|>") -> str:
    return f"<think>{thought}{end}"


def one(thought: str, problem: Countdown = PUZZLE):
    """The one attempt of a one-line thought."""
    (attempt,) = attempts_of(problem, thought)
    return attempt


# ---------------------------------------------------------------- whole transcripts, counted by
# hand

ENGLISH = think(
    "36 + 55 = 91, 91 - 19 = 72, 72 * 7 = 504, not 65\n"  # misses, rightly said
    "wait, 36 + 55 = 91, 91 - 19 = 72, 72 * 7 = 504\n"  # the same again, unchecked
    "try 65 + 7 = 72, need 72: 36 + 55 = 91, 91 - 19 = 72, yes\n"  # backward, hits
    "but 36 + 55 = 90, 90 - 19 = 71, 71 - 7 = 64, yes\n"  # a false step and a false verdict
    "hmm\n"  # not an attempt
    "72 - 7 = 65, make 72: 55 + 19 = 74, 36 + 74 = 110, not 72"  # a subgoal that is missed
)
CHINESE = think(
    "wait, 7 + 19 = 26，不是65\n"
    "36 + 55 = 91，91 - 19 = 72，72 - 7 = 65，对\n"
    "等等，65 + 19 = 84，还差84：36 + 55 = 91，91 - 7 = 84，对\n"
    "但是72 - 7 = 65，先凑72：36 + 55 = 91，91 - 19 = 72，不是65"  # right after all: a false verdict
)


def test_an_english_transcript():
    seen = observe(PUZZLE, ENGLISH)
    assert seen._asdict() == {
        "attempts": 5, "hits": 1, "checks": 4, "checks_right": 3, "backtracks": 3, "subgoals": 1,
        "backward": 1,
        "reflections": 3, "repeated": 1, "wrong_steps": 1, "steps": 15, "switched": 0,
        "words": 10,  # not wait try need yes but yes hmm make not
    }  # fmt: skip


def test_a_chinese_transcript():
    seen = observe(replace(PUZZLE, lang="zh"), CHINESE)
    assert seen._asdict() == {
        "attempts": 4, "hits": 3, "checks": 4, "checks_right": 3, "backtracks": 1, "subgoals": 1,
        "backward": 1,
        "reflections": 3, "repeated": 0, "wrong_steps": 0, "steps": 10, "switched": 1, "words": 15,
    }  # fmt: skip


@pytest.mark.parametrize(("lang", "thought", "share"), [
    ("en", "wait, 3 + 5 = 8, yes", 1.0), ("en", "wait 对", 0.5), ("en", "3 + 5 = 8", 1.0),
    ("zh", "wait, 3 + 5 = 8, yes", 0.0), ("zh", "wait 对", 0.5), ("zh", "3 + 5 = 8，对", 1.0),
])
def test_the_language_of_a_thought(lang, thought, share):
    response = render("", "3 + 5", thought).partition("Assistant:")[2]
    assert score(Countdown((3, 5), 8, lang), response) == (1.0, 1.0, share)


def test_a_look_round_is_not_judged_where_the_steps_before_do_not_hold():
    """Nobody knows what could be made of numbers that are not there."""
    seen = observe(Countdown((3, 5, 2), 4), "<think>3 + 9 = 12, with 2: 14, 6, no</think>")
    assert (seen.steps, seen.wrong_steps) == (3, 0)


def test_no_thought_no_behaviour():
    assert not any(observe(PUZZLE, "<answer>36 + 55 = 91, 91 - 19 = 72</answer><|end|>"))
    assert not any(observe(PUZZLE, "36 + 55 = 91, wait</think><answer>1</answer><|end|>"))
    assert not any(observe(PUZZLE, ""))


def test_a_thought_that_is_cut_off_counts_up_to_its_end():
    assert (
        thought_of("<think>1 + 1 = 2<|end|>")
        == "1 + 1 = 2"
        == thought_of("<think>1 + 1 = 2</think><answer>")
    )
    assert observe(PUZZLE, think("36 + 55 = 91, not 65\nwait, 36 + 5", "")).attempts == 1


# ---------------------------------------------------------------- hits


@pytest.mark.parametrize(
    ("thought", "hit"),
    [
        ("36 + 55 = 91, 91 - 19 = 72, 72 - 7 = 65", True),
        ("36 - 19 = 17, 17 - 7 = 10, 10 + 55 = 65", True),
        ("36 + 55 - 19 - 7 = 65", True),  # several terms in one step
        ("36 + 55 = 91, 91 - 19 - 7 = 65", True),
        ("19 - 36 = -17, 55 + -17 = 38, 38 - 7 = 31", False),  # true, but 31
        ("7 - 19 = -12, 36 + 55 = 91, 91 + (-12) = 79", False),
        ("36 + 55 = 91, 91 - 19 = 72", False),  # 7 is left over
        ("36 + 55 = 91, 91 - 19 = 72, 72 - 7 = 65, 65 - 0 = 65", False),  # there is no 0
        ("36 + 55 = 91, 91 - 19 = 72, 72 - 7 = 65, 65 + 7 = 72", False),  # 7 is used up
        ("36 + 36 = 72, 72 - 7 = 65", False),  # there is one 36
        ("36 + 55 = 90, 90 - 18 = 72, 72 - 7 = 65", False),
        # every number, the target, a false step
        ("36 + 55 = 91, 91 - 19 = 72, 72 + 7 = 65", False),
        ("65 + 0 = 65", False),
        ("65 + 7 = 72, need 72: 36 + 55 = 91, 91 - 19 = 72", True),
        ("65 + 7 = 72, need 72: 36 + 55 = 91, 91 - 7 = 84", False),  # 7 was set aside
        ("65 + 7 = 72, need 73: 36 + 55 = 91, 91 - 19 = 72", False),  # the plan says 72
        ("65 + 8 = 73, need 73: 36 + 55 = 91, 91 - 19 = 72", False),
        ("65 + 6 = 72, need 72: 36 + 55 = 91, 91 - 19 = 72", False),  # a false plan
        # two steps before "need"
        ("65 + 7 = 72, 1 + 1 = 2, need 72: 36 + 55 = 91, 91 - 19 = 72", False),
        ("65 + 3 + 4 = 72, need 72: 36 + 55 = 91, 91 - 19 = 72", False),
        (", need 65: 36 + 55 = 91, 91 - 19 = 72, 72 - 7 = 65", False),  # no step before it
        ("64 + 7 = 71, need 71: 36 + 55 = 91, 91 - 19 = 72", False),  # not from the target
        ("72 - 7 = 65, make 72: 36 + 55 = 91, 91 - 19 = 72", True),
        ("72 - 7 = 65, make 72: 36 + 55 = 91, 91 - 20 = 72", False),
        ("7 + 58 = 65, make 58: 36 + 55 = 91, 91 - 19 = 72", False),
        ("72 - 7 = 65, make 7: 36 + 55 = 91, 91 - 19 = 72", False),  # 72 is not one of the numbers
        ("65 + 7 = 72, need 72: 91 - 19 = 72, make 91: 36 + 55 = 91", True),  # a plan within a plan
    ],
)
def test_hits(thought, hit):
    assert one(thought).hit is hit


def test_a_false_plan_never_hits():
    assert not one("8 - 3 = 9, need 9: 5 + 4 = 9", Countdown((5, 3, 4), 8)).hit
    assert not one("9 - 3 = 8, make 9: 5 + 4 = 9", Countdown((5, 3, 4), 8)).hit


def test_division_is_exact_and_zero_cannot_be_undone():
    assert one("8 / 2 = 4", Countdown((8, 2), 4)).hit
    assert one("9 / 2 = 4", Countdown((9, 2), 4)).wrong_steps == 1
    assert one("4 / 0 = 4", Countdown((4, 0), 4)).wrong_steps == 1
    assert (
        one("3 * 7 / 2 + 1 = 10", THREE).wrong_steps == 1
        and one("3 * 8 / 2 + 1 = 13", THREE).wrong_steps == 0
    )
    assert one("65 / 5 = 13, need 13: 10 + 3 = 13", Countdown((5, 10, 3), 65)).hit
    assert not one("65 * 0 = 0, need 0: 5 - 5 = 0", Countdown((0, 5, 5), 65)).hit
    assert one("130 / 65 = 2, need 2: 5 - 3 = 2", Countdown((130, 5, 3), 65)).hit  # 130 / 2 = 65


# ---------------------------------------------------------------- checks, backtracks, words


@pytest.mark.parametrize(
    ("verdict", "right"),
    [
        ("72 - 7 = 65, yes", True),
        ("72 - 7 = 64, yes", False),
        ("72 - 7 = 64, not 65", True),
        ("72 - 7 = 65, not 65", False),
        ("72 - 7 = 64, not 66", False),  # 66 was never wanted
        ("72 - 7 = 64，不是65", True),
        ("72 - 7 = 65，对", True),
        ("72 - 7 = 65", None),
        ("72 - 7 = 65, yes, 1", None),  # a verdict closes the line
        ("65 + 7 = 72, need 72: 36 + 36 = 72, yes", True),  # the plan's goal counts
        ("65 + 7 = 72, need 72: 36 + 37 = 73, not 65", False),
        ("65 + 7 = 72, need 72: , yes", None),
    ],
)
def test_checks(verdict, right):
    assert one(verdict).check is right


def test_what_opens_a_line_says_nothing_unless_it_plans():
    steps = "36 + 55 = 91, 91 - 19 = 72, 72 - 7 = 65"
    plain, word, chinese, planned = (
        attempts_of(PUZZLE, f"{opening}{steps}, yes")
        for opening in ("", "wait, ", "等等，", "so, make 65: ")
    )
    assert plain == word == chinese and plain[0].hit and plain[0].text == steps
    assert planned[0].subgoal and not planned[0].hit  # the plan has no step before it


def test_only_an_attempt_after_a_failure_backtracks():
    hit, miss = "36 + 55 = 91, 91 - 19 = 72, 72 - 7 = 65, yes", "36 + 55 = 91, not 65"
    assert [
        observe(PUZZLE, think("\n".join(lines))).backtracks
        for lines in ([hit, miss], [miss, hit], [miss] * 3)
    ] == [0, 1, 2]


def test_reflection_words_are_whole_words():
    seen = observe(PUZZLE, think("Wait, waiter; but butter. However CHECK checker, try_ 等等wait"))
    assert seen.reflections == 7 and seen.switched == 1  # wait but however check try 等等 wait
    assert observe(PUZZLE, think("等等，再试")).switched == 0


def test_arithmetic_counts_column_sums():
    problem = Arithmetic("478 + 64 =", "542")
    true = "8 + 4 = 12, 1 + 7 + 6 = 14, 1 + 4 = 5, 5 = 5, 17 - 9 - 1 = 7"
    seen = observe(problem, think(f"{true}, -3 - 4 = -7, 2 * (-4) = -8"))
    assert (seen.steps, seen.wrong_steps, seen.attempts, seen.checks) == (7, 0, 0, 0)
    seen = observe(
        problem,
        think("8 + 4 = 11, 1 + 7 + 6 = 15, 5 = 6, 17 - 9 - 1 = 9, -3 - 4 = 1, 2 * (-4) = 8, wait"),
    )
    assert (seen.steps, seen.wrong_steps, seen.reflections) == (6, 6, 1)


# ---------------------------------------------------------------- the trace writer as an oracle


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_agrees_with_the_trace_writer(lang):
    """The writer knows how often it tried and whether it hit; the reader must find the same in the
    text.
    """
    rng = Random(lang)
    habits = Habits(
        verification=0.8, backtracking=0.7, subgoals=0.3, backward_chaining=0.3, aim=0.5,
        systematic=0.0,
    )
    solved = 0
    for _ in range(2000):
        numbers, plan = planned_attempt(rng, rng.choice((3, 4)), 30, rng.randint(10, 99))
        problem = Countdown(numbers, plan[-1].value, lang)
        trace = write_trace(
            rng, numbers, problem.target, habits, lang, plan if rng.random() < 0.3 else None
        )
        text = render(problem.question(), trace.answer, trace.thought).partition("Assistant:")[2]
        seen = observe(problem, text)
        assert (seen.attempts, seen.hits) == (trace.attempts, int(trace.solved)), text
        assert (seen.checks_right, seen.wrong_steps, seen.backtracks, seen.switched) == (
            seen.checks, 0, seen.attempts - 1, 0,
        )
        assert bool(seen.hits) == (score(problem, text).accuracy == 1), text
        solved += trace.solved
    assert 400 < solved < 1600


def test_agrees_with_written_working():
    rng = Random(0)
    for kind in arithmetic.KINDS:
        for _ in range(50):
            problem, parts = arithmetic.sample_with_parts(rng, kind, "train", "en")
            working = plain_sums.working(parts)
            seen = observe(problem, think(working))
            assert seen.steps == working.count(" = ") and seen.wrong_steps == 0, working


# ---------------------------------------------------------------- totality and speed

PIECES = [
    *"0123456789+-*/=(),: \n", "36", "55", "65", " + ", " - ", " * ", " / ", " = ", ", ", "(-5)",
    "36 + 55 = 91", "8 / 0 = 0",
    ", yes", ", not ", "，对", "，不是", "wait, ", "\n等等，", ", need ", ", make ", "，还差", "：", ": ",
    "<think>", "</think>", "<answer>", "<|end|>", "９", "²", "\x00",
]  # fmt: skip
PROBLEMS = [
    PUZZLE, THREE, Countdown((0, 0), 0, "zh"), Countdown((5,), 5), Arithmetic("1 + 1 =", "2"),
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=80),
    st.sampled_from(PROBLEMS),
)
def test_observe_is_total_and_consistent(text, problem):
    for response in (text, "<think>" + text):
        seen = observe(problem, response)
        assert min(seen) >= 0
        assert (
            seen.hits <= seen.attempts
            and seen.checks_right <= seen.checks <= seen.attempts <= max(1, seen.steps)
        )
        assert (
            seen.wrong_steps <= seen.steps
            and seen.repeated <= seen.attempts
            and seen.backtracks <= max(0, seen.attempts - 1)
        )
        assert seen.switched <= 1 and seen.switched + seen.reflections <= 2 * seen.words


@pytest.mark.parametrize(
    "part",
    [
        "1 + ", "9", ", yes", "1 + 1 = 2\n", ", not 1", " - 1", "-", "(", "1 + 1 = 2, need 2: ",
        ", yes    ", "等等", "1 + 1 = 2, ", "try ", "<think>",
    ],
)
def test_reading_is_linear(part):
    """A quadratic reader would take minutes here; ours takes less than a second even on a busy
    machine.
    """
    text, start = "<think>" + part * (200_000 // len(part)), perf_counter()
    for problem in (PUZZLE, PROBLEMS[-1]):
        observe(problem, text)
    assert perf_counter() - start < 5


# ---------------------------------------------------------------- batches


def rollouts(problems: list, group: int, texts: list[str]) -> Rollouts:
    rewards = [score(problems[row // group], text) for row, text in enumerate(texts)]
    ids = [[1] * 50 for _ in texts]
    return Rollouts(
        problems, group, [[1]] * len(problems), ids, [torch.zeros(50)] * len(ids), texts,
        [True] * len(ids), rewards,
    )


def test_summarise():
    right = "</think><answer>36 + 55 - 19 - 7</answer><|end|>"
    batch = rollouts(
        [PUZZLE, THREE, Arithmetic("2 + 2 =", "4")],
        2,
        [
            ENGLISH.replace("</think><answer>1</answer><|end|>", right),
            "<answer>1</answer><|end|>", think("13 * 5 = 65, yes\n13 * 5 = 65, yes"),
            think("13 * 3 = 38"), "<answer>4</answer><|end|>",
            think("2 + 2 = 4, wait", "</think><answer>4</answer><|end|>"),
        ],
    )
    found = summarise(batch)
    expected = {
        "attempts": 8 / 4, "checks": 6 / 4, "backtracks": 4 / 4, "subgoals": 1 / 4,
        "backward": 1 / 4, "hit_rate": 1 / 8,
        "check_right": 5 / 6, "repeated": 2 / 8, "attempts_3": 3 / 2, "hit_rate_3": 0.0,
        "accuracy_3": 0.0, "attempts_4": 5 / 2,
        "hit_rate_4": 1 / 5, "accuracy_4": 1 / 2, "accuracy_arithmetic": 1.0, "reflections": 4 / 6,
        "reflections_100": 4 / 3,
        "right_if_reflecting": 1.0, "wrong_steps": 2 / 19, "switched": 0.0, "thinking": 4 / 6,
    }  # fmt: skip
    assert found == pytest.approx(expected)
    json.dumps(found, allow_nan=False)


def test_equal_responses_are_read_once_for_each_problem():
    """Judged and observed once, counted as often as they came, each by its own problem."""
    text = "<think>3 + 5 = 8, yes</think><answer>3 + 5</answer><|end|>"
    looked, problems = [], [Countdown((3, 5), 8), Countdown((3, 5), 2)]
    codec = SimpleNamespace(encode=lambda text: [5], decode_batch=lambda rows: [text] * len(rows))
    zeros, two = torch.zeros(6, 2), torch.full((6,), 2)
    samples = Samples(zeros.long(), zeros, two, two > 0)
    template = SimpleNamespace(prompt=str, parse=lambda text: looked.append(text) or parse(text))
    how = (None, Stream(), lambda *given: samples, "", template)
    batch = roll_out(None, codec, problems, 3, *how)
    assert [reward.accuracy for reward in batch.rewards] == [1, 1, 1, 0, 0, 0] and len(looked) == 2
    found = summarise(batch)
    assert found["attempts"] == 1 and found["hit_rate"] == found["check_right"] == 0.5


def test_summarise_leaves_out_what_has_no_denominator():
    found = summarise(rollouts([PUZZLE], 2, ["<answer>1</answer><|end|>"] * 2))
    assert {
        "hit_rate", "hit_rate_4", "check_right", "repeated", "right_if_reflecting", "wrong_steps",
    }.isdisjoint(found)
    assert found["attempts"] == found["thinking"] == found["accuracy_4"] == 0
    found = summarise(rollouts([Arithmetic("2 + 2 =", "4")], 2, ["<answer>4</answer><|end|>"] * 2))
    assert found == {
        "accuracy_arithmetic": 1, "reflections": 0, "reflections_100": 0,
        "switched": 0, "thinking": 0,
    }


# ---------------------------------------------------------------- the corpus

HABITS = Habits(
    verification=0.7, backtracking=0.6, subgoals=0.2, backward_chaining=0.1, aim=0.0,
    persistence=0.0, systematic=0.0,
)
MIXTURE = CorpusConfig(
    countdown="3to4", share_countdown=0.5, share_arithmetic=0.25, share_equations=0.15, direct=0.3,
    solved=0.0,
    arithmetic_direct=0.8, pairs=0.0, languages=("en", "zh"), habits=HABITS, habits_zh=HABITS,
)  # fmt: skip


def test_corpus_rates_are_the_configured_ones():
    """4,000 documents; each tolerance is 5 standard errors: correct code fails once in some 10^5
    seeds.
    """
    found = corpus_rates(sample_text(MIXTURE, 0, 4000))
    expected = {
        "share_countdown": (0.5, 4000), "share_arithmetic": (0.25, 4000),
        "share_equations": (0.15, 4000),
        "share_general": (0.1, 4000),
        "direct": (0.3, 2000), "arithmetic_direct": (0.8, 1000), "checked": (0.7, 3400),
        "backtracking": (0.6, 3300),
    }  # fmt: skip
    for name, (rate, n) in expected.items():
        assert found[name] == pytest.approx(rate, abs=5 * (rate * (1 - rate) / n) ** 0.5), name
    # one plan in five is impossible: n > target
    assert 0.13 < found["subgoals"] < 0.2 and 0.06 < found["backward"] < 0.1
    assert found["attempts"] == pytest.approx(2.5, abs=0.3) and found["retrying"] == pytest.approx(
        0.6, abs=0.07
    )
    assert (
        found["wrong_steps"] == 0
        and found["check_right"] == 1
        and found["right"] < 0.1
        and found["switched"] == 0
    )
    assert found["right_thinking"] == pytest.approx(found["hit_rate"] * found["attempts"])
    assert min(found[f"{word}_1000"] for word in ("wait", "try", "but", "等等", "再试", "但是")) > 0


def test_corpus_rates_of_three_documents_by_hand():
    miss, hit = "3 + 5 = 8, 8 + 13 = 21, not 15", "3 * 5 = 15, 15 + 13 = 28"
    texts = [
        render(
            "Make 28 from 3, 5, 13.", "(3 * 5) + 13", f"{miss.replace('15', '28')}\nwait, {hit}"
        ),
        render("Make 15 from 3, 5, 13.", "(3 + 5) + 13", f"{miss}\ntry {miss}"),
        render("Make 15 from 3, 5, 7.", "3 + 5 + 7"),
    ]
    found = corpus_rates(texts)
    expected = {
        "direct": 1 / 3, "right": 2 / 3, "right_direct": 1, "right_thinking": 1 / 2, "retrying": 1,
        "attempts": 2, "checked": 3 / 4,
        "check_right": 1, "hit_rate": 1 / 4, "hit_rate_3": 1 / 4, "backtracking": 2 / 3,
        "repeated": 1 / 4, "wrong_steps": 0,
        "share_countdown": 1,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["wait_1000"] == pytest.approx(1000 / (3 * found["tokens"]))


def test_corpus_rates_see_the_solved_share():
    found = corpus_rates(sample_text(replace(MIXTURE, solved=0.8, share_countdown=1.0), 0, 1000))
    assert found["right_direct"] == pytest.approx(0.8, abs=0.1) and found[
        "right_thinking"
    ] == pytest.approx(0.8, abs=0.1)
    assert "share_arithmetic" in found and "arithmetic_direct" not in found


def test_every_question_is_read_back():
    for lang in ("en", "zh"):
        for target in range(40, 44):  # all four wordings
            problem = Countdown((7, 19, 36), target, lang)
            assert read_document(render(problem.question(), "1"))[:2] == ("countdown", problem)
    rng = Random(1)
    for kind in arithmetic.KINDS:
        for lang in ("en", "zh"):
            question = arithmetic.sample(rng, kind, "train", lang).question()
            assert read_document(render(question, "1"))[0] == "arithmetic", question
    assert (
        read_document(render("Is 5 even?", "no"))[0]
        == "general"
        == read_document(render("5是偶数吗？", "不是"))[0]
    )


def test_corpus_rates_of_nothing():
    assert corpus_rates([]) == {}
    # all equations, all false
    assert table(corpus_rates(["<|begin|>1 + 1 = 3<|end|>"])).count("100.00%") == 2


def test_the_corpus_command(capsys):
    assert main(["--preset", "cpu", "--documents", "200"]) is None
    shown = capsys.readouterr().out
    assert (
        "200 documents of the cpu corpus" in shown
        and shown.count("<|begin|>") == 3
        and "attempts that hit" in shown
    )
    assert main(["--documents", "50", "--languages", "zh", "--json"]) is None
    assert 0 < json.loads(capsys.readouterr().out)["tokens"] < 1000
    for wrong in (
        ["--documents", "0"], ["--preset", "huge"], ["--languages", "fr"], ["--nonsense"],
    ):
        with pytest.raises(UserError):
            main(wrong)
    assert set(PRESETS) >= {"cpu", "gpu"}
