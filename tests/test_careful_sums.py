"""The careful workings: equations are true, the value is last; signs and digits by other code."""

import re
from dataclasses import replace
from random import Random

import pytest

from minir1.config import CorpusConfig, UserError, apply
from minir1.corpus.mixture import sample_text
from minir1.corpus.writers.careful_sums import working
from minir1.measure.behaviours import observe, read_document
from minir1.presets import PRESETS, check
from minir1.r1.data.curation import readable, reason_to_drop, rewrite
from minir1.tasks import arithmetic
from minir1.tasks.arithmetic import KINDS, expression, value_of
from minir1.transcript import render

EQUATION = re.compile(r"(?<![-+*] )\b([0-9]+(?: [-+*] [0-9]+)*) = ([0-9]+)")


@pytest.mark.parametrize("kind", KINDS)
def test_every_equation_is_true_and_the_last_value_is_the_answer(kind):
    rng = Random(f"careful {kind}")
    for _ in range(300):
        text, parts = expression(rng, kind)
        said = working(parts)
        equations = EQUATION.findall(said)
        assert equations and all(eval(left) == int(right) for left, right in equations), (
            text, said,
        )
        assert int(re.findall(r"-?[0-9]+", said)[-1]) == value_of(parts), (text, said)


@pytest.mark.parametrize("kind", ("2d-", "3d-", "4d-", "5d-", "1dc", "chain"))
def test_no_step_computes_with_a_negative_number(kind):
    rng = Random(f"signs {kind}")
    for _ in range(300):
        said = working(expression(rng, kind)[1])
        assert not re.search(r"(?<![0-9] )-[0-9]+\)? [-+*] [()0-9-]+ = ", said), said
        assert not re.search(r"\(-[0-9]+\) = ", said), said
        assert all(
            int(a) >= int(b) for a, b in re.findall(r"(?:^|[:,] )([0-9]+) - ([0-9]+) = ", said)
        ), said


def test_digits_are_compared_before_a_long_difference():
    rng = Random("compare")
    for _ in range(500):
        a, b = rng.randrange(100000), rng.randrange(100, 100000)
        head = working([a, "-", b]).partition(":")[0].split(", ")
        width = max(len(str(a)), len(str(b)))
        for text, p, q in zip(head, f"{a:0{width}}", f"{b:0{width}}"):
            assert text == f"{p} {'=' if p == q else '<' if p < q else '>'} {q}"
        assert all(text[2] == "=" for text in head[:-1])
        assert a == b or head[-1][2] == ("<" if a < b else ">")


def test_longer_questions_are_taken_apart_from_the_inside():
    assert working([[9, "+", 8], "*", 2]) == "9 + 8 = 17, 17 * 2 = 34"
    assert working([4, "-", [3, "-", 9]]) == "3 - 9: 9 - 3 = 6, -6, 4 - (-6): 4 + 6 = 10"
    assert working([[1, "-", 9], "*", 0]) == "1 - 9: 9 - 1 = 8, -8, -8 * 0: 8 * 0 = 0"
    assert working([[2, "-", 9], "+", 3]) == "2 - 9: 9 - 2 = 7, -7, -7 + 3: 7 - 3 = 4, -4"
    assert (
        working([45, "+", 0]) == "45 + 0 = 45"
        and working([478, "+", 64]) == "8 + 4 = 12, 1 + 7 + 6 = 14, 1 + 4 = 5, 542"
    )
    assert working([64, "-", 478]) == "0 < 4: 478 - 64: 8 - 4 = 4, 7 - 6 = 1, 4 - 0 = 4, 414, -414"
    assert working([123, "*", 40]) == "123 * 40: 3 * 4 = 12, 2 * 4 + 1 = 9, 1 * 4 = 4, 4920"
    assert working([0, "*", 123]) == "123 * 0 = 0" and working([7, "*", 123]) == working(
        [123, "*", 7]
    )


def test_observer_and_curation_read_them():
    rng = Random("read back")
    for lang in ("en", "zh"):
        for _ in range(400):
            problem, parts = arithmetic.sample_with_parts(rng, rng.choice(KINDS), "train", lang)
            document = render(problem.question(), problem.answer, working(parts))
            response = document[document.index("<think>") :]
            assert observe(problem, response).wrong_steps == 0 and problem.verify(problem.answer)
            assert not reason_to_drop(problem, response) and readable(
                problem, rewrite(problem, response)
            )


def test_a_corpus_may_hold_them_and_only_the_workings_differ():
    plain = replace(
        CorpusConfig(), share_countdown=0.0, share_arithmetic=1.0, arithmetic_direct=0.5
    )
    careful = replace(plain, sums="careful_sums")
    pairs = list(zip(sample_text(plain, 0, 300), sample_text(careful, 0, 300)))
    assert all(a.partition("<think>")[0] == b.partition("<think>")[0] for a, b in pairs)
    assert sum(a != b for a, b in pairs) > 60
    assert all(read_document(b)[0] == "arithmetic" for _, b in pairs)


def test_an_unknown_writer_of_sums_is_named():
    with pytest.raises(UserError, match="corpus.sums is one of"):
        check(apply(PRESETS["cpu"], {"corpus.sums": "os.path"}))
