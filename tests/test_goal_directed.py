"""The goal-directed writer: what is needed by brute force, whole traces read back by other code,
corpora that use it.
"""

from dataclasses import replace
from itertools import islice
from random import Random

import pytest

from minir1.__main__ import main as command
from minir1.config import CorpusConfig, Habits, UserError, apply
from minir1.corpus.mixture import sample_text
from minir1.corpus.writers import plain
from minir1.corpus.writers.goal_directed import (
    LARGE,
    NEED,
    VALUE,
    looks,
    needed,
    plans,
    write_trace,
)
from minir1.measure.attempts import attempts_of
from minir1.measure.baselines import TIRELESS, last_step, perfect_writer, states
from minir1.measure.behaviours import observe, read_document
from minir1.presets import PRESETS, check
from minir1.r1.data.curation import readable, reason_to_drop, rewrite
from minir1.tasks import countdown
from minir1.tasks.countdown import Countdown, sample, steps_of
from minir1.tokenizer import Tokenizer
from minir1.transcript import render

WRITER = "goal_directed"
NAMES = ("3to4", "sos4", "rg-easy", "rg-hard")


def drawn(name: str, count: int, lang: str = "en"):
    rng = Random(f"goal directed {name} {lang}")
    return rng, [sample(rng, name, "train", lang) for _ in range(count)]


def test_needed_values_are_those_that_one_step_turns_into_a_goal():
    for goals in ((65,), (12, 30)):
        for n in range(100):
            reach = {
                v for v in range(1, NEED + 1) if any(step.value in goals for step in steps_of(v, n))
            }
            assert set(needed(goals, n)) == reach, (goals, n)
    assert needed((65,), 100) == (35, 165) and needed((65,), 100, LARGE) == (35, 165, 6500)


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_keeps_every_number_once_and_its_ending_reaches_the_target(name):
    rng, problems = drawn(name, 40)
    for problem in problems:
        for plan in islice(plans(rng, problem.numbers, problem.target), 8):
            given = [*plan.kept, *plan.left]
            for step in reversed(plan.first):
                given.remove(step.value)
                given += [step.a, step.b]
            assert sorted(given) == sorted(problem.numbers)
            assert len(plan.left) == 3 or len(plan.left) == 2 and len(problem.numbers) < 5
            for value in plan.needs[-1]:
                steps = plan.ending(value, problem.target)
                assert [n for step in steps for n in (step.a, step.b) if n in plan.kept] != []
                assert steps[0].a == value or steps[0].b == value
                assert steps[-1].value == problem.target and len(steps) == len(plan.kept)


def once(rng, numbers, target):
    """The plans of a writer who goes through everything once; `plans` does it twice."""
    found = list(plans(rng, numbers, target))
    return found[: len(found) // 2]


def test_plans_that_promise_more_come_first_and_long_ones_never_twice():
    rng, problems = drawn("rg-easy", 30)
    for problem in (p for p in problems if len(p.numbers) > 4):
        found = list(islice(plans(rng, problem.numbers, problem.target), 20))
        assert len({(p.first, tuple(sorted(p.kept)), p.left, p.again) for p in found}) == len(found)
    rng, first, last = Random(1), 0.0, 0.0
    for problem in drawn("sos4", 100)[1]:
        given = [plan for plan in once(rng, problem.numbers, problem.target) if not plan.first]
        first, last = first + given[0].promise(), last + given[-1].promise()
    assert first > 1.25 * last


def test_kept_numbers_come_first_then_made_ones_from_one_side_then_the_large_values():
    rng, problems = drawn("sos4", 40)
    for problem in problems:
        found = once(rng, problem.numbers, problem.target)
        order = [2 if plan.again else 1 if plan.first else 0 for plan in found]
        assert order == sorted(order) and set(order) == {0, 1, 2}
        made = [plan for plan in found if plan.first]
        assert all(problem.numbers[0] in (plan.first[0].a, plan.first[0].b) for plan in made)
        assert len({(plan.kept, tuple(sorted(plan.left))) for plan in made}) == len(made)
        for kind in (0, 2):
            kept = [plan.kept for plan, k in zip(found, order) if k == kind]
            assert len(set(kept)) == len(kept) and {n for (n,) in kept} <= set(problem.numbers)
    assert all(not plan.first for plan in plans(rng, (19, 36, 7), 65))


def test_all_plans_come_a_second_time_in_another_order():
    rng, problems, moved = drawn("sos4", 20)[0], drawn("sos4", 20)[1], 0
    for problem in problems:
        found = list(plans(rng, problem.numbers, problem.target))
        halves = found[: len(found) // 2], found[len(found) // 2 :]
        first, second = ([(p.first, p.kept, p.again) for p in half] for half in halves)
        assert sorted(map(repr, first)) == sorted(map(repr, second))
        moved += first != second
    assert moved > 15


def test_the_second_round_shows_only_what_the_first_left_out():
    rng, problems = drawn("sos4", 60)
    seen = 0
    for problem in problems:
        for plan in plans(rng, problem.numbers, problem.target):
            for step, _, last in looks(rng, plan):
                if plan.again:
                    assert step.value > VALUE or all(s.value > NEED for s in last)
                    seen += 1
                else:
                    assert all(s.value <= NEED for s in last)
    assert seen > 60


def test_the_second_round_says_that_it_is_one_and_needs_more():
    found = list(plans(Random(1), (19, 90, 7), 65))
    first, again = (
        {plan.kept[0]: plan for plan in found if plan.again is side} for side in (False, True)
    )
    assert first[90].needs[-1] == (25, 155) and again[90].needs[-1] == (25, 155, 5850)
    assert first[90].text("en") == "keep 90, need 25, 155: "
    assert (
        again[90].text("en") == "again keep 90, need 25, 155, 5850: "
        and again[90].text("zh") == "再留90，还差25, 155, 5850: "
    )


def test_two_rounds_find_every_solution_with_values_up_to_the_limit():
    """Against a search by other code: what the writer misses has no way that stays within his
    limits.
    """
    rng, problems = drawn("3to4", 150)
    missed = [
        p
        for p in problems
        if not write_trace(rng, p.numbers, p.target, TIRELESS, "en", None).solved
    ]
    assert len(missed) < 6
    for problem in missed:
        limit = 1_000  # well inside: needed values of the first round reach 3,000
        assert not any(
            last_step(pair, problem.target)
            for pair in states(tuple(sorted(problem.numbers)), limit)
        ), problem


def test_looks_stop_at_the_first_needed_value_and_show_no_pair_twice():
    rng, problems = drawn("sos4", 60)
    for problem in problems:
        for plan in plans(rng, problem.numbers, problem.target):
            seen = []
            for step, pair, last in looks(rng, plan):
                assert step is None or step.value <= (LARGE if plan.again else VALUE)
                assert all(s.value not in plan.needs[-1] for s in last[:-1])
                assert {s.value for s in last} <= {s.value for s in steps_of(*pair)}
                seen.append(tuple(sorted(pair)))
            assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("lang", ("en", "zh"))
@pytest.mark.parametrize("name", NAMES)
def test_traces_are_read_back_by_the_observer(name, lang):
    """Attempts, hits, steps and checks, counted by code that knows nothing of the writer."""
    habits = Habits(
        systematic=1.0, backtracking=0.6, persistence=0.7, most_attempts=130, switching=0.05
    )
    rng, problems = drawn(name, 60, lang)
    solved = 0
    for problem in problems:
        trace = write_trace(rng, problem.numbers, problem.target, habits, lang, None)
        seen = observe(
            problem, f"<think>{trace.thought}</think><answer>{trace.answer}</answer><|end|>"
        )
        assert (seen.attempts, seen.hits, seen.wrong_steps) == (
            trace.attempts, int(trace.solved), 0,
        ), trace
        assert seen.checks == seen.checks_right == seen.hits and seen.backward == seen.attempts
        assert problem.verify(trace.answer) == trace.solved
        assert countdown.evaluate(trace.answer) is not None
        solved += trace.solved
    assert solved > 0.3 * len(problems)


def test_the_observer_counts_what_is_wrong_in_a_look():
    problem = Countdown((19, 36, 55, 7), 65)
    right = (
        "keep 7, need 58, 72, 455: 36 + 55 = 91, with 19: 110, 72, yes: 91 - 19 = 72, 72 - 7 = 65"
    )
    (one,) = attempts_of(problem, right)
    assert (one.hit, one.check, one.wrong_steps, one.steps, one.backward) == (
        True, True, 0, 5, True,
    )
    (wrong_value,) = attempts_of(problem, right.replace("110", "111"))
    assert (wrong_value.hit, wrong_value.wrong_steps) == (True, 1)
    (wrong_need,) = attempts_of(problem, right.replace("455", "456"))
    assert wrong_need.wrong_steps == 1
    (not_needed,) = attempts_of(
        problem,
        "keep 7, need 58, 72: 36 + 55 = 91, with 19: 110, yes: 91 + 19 = 110, 110 - 7 = 103",
    )
    assert (not_needed.hit, not_needed.check) == (False, False)
    (not_there,) = attempts_of(problem, right.replace("keep 7", "keep 8"))
    assert not not_there.hit and not_there.wrong_steps > 0
    two = attempts_of(
        problem,
        "wait, keep 7, need 58, 72: 36 - 19 = 17, with 55: 72; 19 + 36 = 55, with 55: 110, 1",
    )
    assert [a.check for a in two] == [None, None] and not any(a.hit for a in two)
    again = attempts_of(
        problem,
        "keep 7, need 58: 55 - 19 = 36, with 36: 72\n"
        "but keep 7, need 58: 55 - 19 = 36, with 36: 72",
    )
    assert len(again) == 2 and again[0].text == again[1].text
    made = "36 + 7 = 43, keep 43, need 22: 55, 19: 74"
    once, twice = attempts_of(problem, f"wait, {made}\ntry {made}")
    assert once.text == twice.text and once.steps == 2, (
        "the word that opens a line is no part of the attempt"
    )
    (other,) = attempts_of(problem, f"or {made.replace('36 + 7 = 43', '50 - 7 = 43')}")
    assert other.text != once.text, "but how a kept number was made is"
    (large,) = attempts_of(
        Countdown((99, 3, 5, 7), 99), "keep 99, need 9801, 198: 3 + 5 = 8, with 7: 15"
    )
    assert large.wrong_steps == 0, "true, though no writer would write it"
    for text in (
        "keep 0, need 5: 1, 2: 3", "keep , need 5", "keep 7, need 5: ", "留7，还差58：36, 55：91，对：",
    ):
        attempts_of(problem, text)  # whatever a policy writes


def test_other_thoughts_are_the_cores_and_so_are_puzzles_of_two_numbers():
    habits = Habits(systematic=0.0, persistence=0.5)
    for seed, problem in enumerate(drawn("sos4", 50)[1]):
        ours, theirs = Random(seed), Random(seed)
        theirs.random()  # ours has asked first whether this writer is goal-directed
        arguments = (problem.numbers, problem.target, habits, "en", None)
        assert write_trace(ours, *arguments) == plain.write_trace(theirs, *arguments)
    assert (
        "keep"
        not in write_trace(
            Random(1), (20_000, 42_910, 90_001), 5, Habits(systematic=1.0), "en", None
        ).thought
    )
    pair = write_trace(Random(1), (3, 5), 8, replace(habits, systematic=1.0), "en", None)
    assert "keep" not in pair.thought


@pytest.mark.parametrize("most", [1, 5])
def test_a_writer_gives_up_after_as_many_attempts_as_he_may_make(most):
    habits = Habits(systematic=1.0, backtracking=1.0, persistence=0.0, most_attempts=most)
    rng, problems = drawn("sos4", 100)
    made = [write_trace(rng, p.numbers, p.target, habits, "en", None) for p in problems]
    assert all(t.solved or t.attempts == most for t in made)
    assert max(t.attempts for t in made) == most and sum(t.solved for t in made) < 60


def test_the_perfect_writer_beats_the_cores_with_the_same_tokens():
    _, problems = drawn("sos4", 150)
    tokenizer = Tokenizer.train(sample_text(PRESETS["best"].corpus, 0, 1500), 768)
    lines = {
        w: [perfect_writer(problems, tokenizer, b, w)["accuracy"] for b in (256, 1024)]
        for w in (CorpusConfig.writer, WRITER)
    }
    assert lines[WRITER][0] > lines[CorpusConfig.writer][0] + 0.05
    assert lines[WRITER][1] > 0.94 and lines[WRITER] == sorted(lines[WRITER])


def test_the_perfect_writer_is_charged_for_its_answer():
    problem = Countdown((3, 5, 4), 27)
    tokenizer = Tokenizer.train(sample_text(PRESETS["best"].corpus, 0, 500), 512)
    trace = write_trace(Random("perfect writer"), problem.numbers, 27, TIRELESS, "en", None)
    used = len(
        tokenizer.encode(f"<think>{trace.thought}</think><answer>{trace.answer}</answer><|end|>")
    )
    assert perfect_writer([problem], tokenizer, used, WRITER)["accuracy"] == 1
    assert perfect_writer([problem], tokenizer, used - 1, WRITER)["accuracy"] == 0


def test_a_corpus_may_hold_several_distributions_and_the_writers_thoughts():
    config = replace(
        CorpusConfig(), countdown="3to4,rg-easy", writer=WRITER, habits=Habits(systematic=1.0),
        share_countdown=1.0,
    )
    puzzles = [read_document(text)[1:] for text in sample_text(config, 0, 800)]
    counts = [len(problem.numbers) for problem, _ in puzzles]
    # two thirds of a half
    assert set(counts) == {3, 4, 5, 6} and 0.25 < sum(c > 4 for c in counts) / len(counts) < 0.42
    assert all(problem.target > 99 for problem, _ in puzzles if len(problem.numbers) > 4)
    thoughts = [response for problem, response in puzzles if response.startswith("<think>")]
    assert all("keep " in thought for thought in thoughts) and len(thoughts) > 200
    assert all(problem.split() == "train" for problem, _ in puzzles)


def test_unknown_writers_and_distributions_are_named(capsys):
    for key, value in (("writer", "os.path"), ("countdown", "3to4,none")):
        with pytest.raises(UserError, match=f"corpus.{key} is one of"):
            check(apply(PRESETS["cpu"], {f"corpus.{key}": value}))
    assert command(["corpus", "--preset", "best", "--documents", "50"]) == 0
    assert "Countdown" in capsys.readouterr().out


@pytest.mark.parametrize("lang", ("en", "zh"))
def test_curation_keeps_right_thoughts_as_they_are(lang):
    rng, problems = drawn("3to4", 60, lang)
    kept = 0
    for problem in problems:
        trace = write_trace(
            rng, problem.numbers, problem.target, Habits(systematic=1.0, persistence=1.0), lang,
            None,
        )
        whole = render("", trace.answer, trace.thought)
        response = whole[whole.index("<think>") :]
        if trace.solved and not reason_to_drop(problem, response):
            said = rewrite(problem, response)
            assert readable(problem, said), said
            assert said.count("yes" if lang == "en" else "对") == 1
            kept += 1
    assert kept > 35
