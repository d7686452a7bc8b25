"""results/shapes: which way second steps lean, in puzzles, in corpora and in responses."""

from itertools import permutations
from random import Random
from types import SimpleNamespace

import pytest
from script import load

from minir1.measure.attempts import attempts_of, thought_of
from minir1.rewards import score
from minir1.rollout import Rollouts
from minir1.tasks.countdown import Countdown, evaluate
from minir1.transcript import ANSWER, THINK, THINK_END, parse, render


@pytest.fixture(scope="module")
def shapes():
    return load("results/shapes/shapes.py")


def left_values(numbers) -> set:
    """What left-leaning steps make of three numbers, by brute force over whole numbers."""

    def both(a, b):
        made = {a + b, a * b, a - b} | ({a // b} if b and a % b == 0 else set())
        return {value for value in made if value >= 0}

    return {v for a, b, c in permutations(numbers) for first in both(a, b) for v in both(first, c)}


def any_values(numbers) -> set:
    return left_values(numbers) | {
        int(value[0])
        for a, b, c in permutations(numbers)
        for inner in "+-*/"
        for outer in "-/"
        if (value := evaluate(f"{a} {outer} ({b} {inner} {c})")) and value[0].denominator == 1
    }


def test_right_puzzles_have_no_left_leaning_solution_and_left_ones_have_one(shapes):
    rng = Random(0)
    for kind in shapes.KINDS:
        for _ in range(200):
            problem = shapes.sample(rng, kind, "train")
            reached = problem.target in left_values(problem.numbers)
            assert reached == (kind == "left"), problem
            assert problem.target in any_values(problem.numbers)
            assert problem.split() == "train"


def test_the_corpus_without_right_leaning_solutions_holds_no_such_step(shapes):
    rng = Random(1)
    documents = [shapes.write(rng, None, 0.0) for _ in range(3000)]
    leaning = [shapes.shapes_in(text[text.find(THINK) :]) for text in documents if THINK in text]
    assert sum(right for _, right in leaning) == 0
    assert sum(left for left, _ in leaning) > 3000
    assert all("- (" not in text and "/ (" not in text for text in documents)  # nor the answer


def test_a_corpus_may_show_them_and_every_solution_is_true(shapes):
    rng = Random(2)
    for shown, kind in ((1.0, "right"), (0.0, "left")):
        for _ in range(100):
            problem = shapes.sample(rng, kind, "train")
            thought, answer = shapes.trace(rng, problem, kind)
            *failed, last = attempts_of(problem, thought)
            assert last.hit and last.wrong_steps == 0 and problem.verify(answer)
            assert not any(attempt.hit or attempt.wrong_steps for attempt in failed)
            lean = shapes.shapes_in(THINK + thought + THINK_END)
            assert lean[1] == shown  # the failed ones lean left


def test_lists_of_steps_are_unrelated_and_true(shapes):
    rng = Random(3)
    for _ in range(300):
        parts = shapes.single_steps(rng).removeprefix("<|begin|>").removesuffix("<|end|>")
        steps = [part.split() for part in parts.split(", ")]
        assert all(str(evaluate("".join(step[:3]))[0]) == step[4] for step in steps)
        assert all(one[4] not in (two[0], two[2]) for one, two in zip(steps, steps[1:]))


def test_second_steps_of_a_response_are_read(shapes):
    thought = "3 * 4 = 12, 12 + 20 = 32, not 8\n3 * 4 = 12, 20 - 12 = 8, yes"
    assert shapes.shapes_in(f"{THINK}{thought}{THINK_END}{ANSWER}20 - (3 * 4)") == (1, 1)
    assert shapes.shapes_in("20 - (3 * 4)") == (0, 0)


def test_every_document_is_a_response_that_parses(shapes):
    rng = Random(4)
    for _ in range(200):
        text = shapes.write(rng, None, 0.5)
        if THINK in text:
            thought, answer, well_formed = parse(text[text.find(THINK) :])
            assert well_formed and thought == thought_of(text[text.find(THINK) :])
            numbers = tuple(evaluate(answer)[1])
            assert Countdown(numbers, int(evaluate(answer)[0])).verify(answer)


def test_a_guess_is_correct_but_not_thought_through(shapes, monkeypatch):
    """Of each puzzle two responses: a valid right-leaning thought, and its answer alone."""
    problems, size = shapes.problems_of("right", 3), shapes.Size(problems=3, samples=2)
    texts = []
    for problem in problems:
        thought, answer = shapes.trace(Random(0), problem, "right")
        both = (thought.split("\n")[-1], None)
        texts += [render("", answer, t).partition("Assistant:")[2] for t in both]
    rewards = [score(problems[row // 2], text) for row, text in enumerate(texts)]
    empty = [[]] * len(texts)
    rollouts = Rollouts(problems, 2, empty, [[7] * 5] * len(texts), empty, texts, [], rewards)
    asked = SimpleNamespace(batches=lambda model, drawn, samples, seed: [rollouts])
    config = SimpleNamespace(seed=0)
    session = SimpleNamespace(config=config, device=None, tokenizer=None, evaluator=lambda _: asked)
    monkeypatch.setattr(shapes, "make_sampler", lambda *_: None)
    monkeypatch.setattr(shapes, "trace_chances", lambda *_: [])
    seen = shapes.counts(session, None, "right", size)
    assert (seen["right"], seen["thought"], seen["leaning"]) == ([2] * 3, [1] * 3, [0, 3])
    assert (seen["samples"], seen["tokens"]) == (2, 5.0)
