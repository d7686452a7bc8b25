"""Arithmetic: values by Python's own parser, GPT-3's ranges, wordings, split, strictness, written
working.
"""

import ast
import json
import re
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minir1.corpus.writers.plain_sums import working
from minir1.tasks import arithmetic, problem_from_json
from minir1.tasks.arithmetic import GPT3_TASKS, KINDS, Arithmetic, sample, sample_with_parts
from minir1.tasks.countdown import split_of

# ---------------------------------------------------------------- reading questions back

SPOKEN = {
    " plus ": " + ", " minus ": " - ", " times ": " * ",
    "加": " + ", "减": " - ", "乘": " * ",
}
FRAMES = {
    "en": (r"What is (.+)\?", r"(.+) =", r"Compute (.+)\.", r"How much is (.+)\?"),
    "zh": (r"(.+)等于多少？", r"(.+) =", r"计算(.+)。", r"(.+)是多少？"),
}
EXPRESSION = re.compile(r"\(?[0-9]+(?: [+\-*] \(?[0-9]+\)?)+")


def expression_in(question: str, lang: str) -> str:
    """The written expression that a question asks for, spoken operators put back into signs."""
    for frame in FRAMES[lang]:
        if match := re.fullmatch(frame, question):
            text = match[1]
            for word, sign in SPOKEN.items():
                text = text.replace(word, sign)
            if EXPRESSION.fullmatch(text):
                return text
    raise AssertionError(f"no wording of {lang}: {question}")


def value_of(text: str) -> int:
    """Exact integer value by Python's grammar; signs are allowed: a working may say 4 - (-6)."""

    def walk(node):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -walk(node.operand)
        assert isinstance(node, ast.BinOp), text
        a, b = walk(node.left), walk(node.right)
        return {ast.Add: a + b, ast.Sub: a - b, ast.Mult: a * b}[type(node.op)]

    return walk(ast.parse(text, mode="eval").body)


def content_key(text: str) -> str:
    """Operands and operation; sums and products are one question in any order."""
    if match := re.fullmatch(r"([0-9]+) ([+*]) ([0-9]+)", text):
        low, high = sorted((int(match[1]), int(match[3])))
        return f"{low} {match[2]} {high}"
    return arithmetic.canonical(parts_of(ast.parse(text, mode="eval").body))


def parts_of(node: ast.expr):
    """As arithmetic.expression gives them."""
    if isinstance(node, ast.Constant):
        return node.value
    sign = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}[type(node.op)]
    return [parts_of(node.left), sign, parts_of(node.right)]


def draws(
    kind: str, lang: str = "en", n: int = 1500, split: str = "train"
) -> list[tuple[Arithmetic, list, str]]:
    rng = Random(f"{kind} {lang} {split}")
    rows = [sample_with_parts(rng, kind, split, lang) for _ in range(n)]
    return [(problem, parts, expression_in(problem.question(), lang)) for problem, parts in rows]


# ---------------------------------------------------------------- sampling


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_right_and_the_split_is_kept(kind, lang):
    for split in ("train", "validation", "test"):
        for problem, _, text in draws(kind, lang, 150, split):
            assert problem.answer == str(value_of(text)), problem
            assert problem.verify(problem.answer) and not problem.verify(str(value_of(text) + 1))
            assert problem.split() == split == split_of("arithmetic " + content_key(text))
            assert problem.lang == lang


def test_kinds_hold_gpt3_tasks():
    assert {"2d+", "2d-", "3d+", "3d-", "4d+", "4d-", "5d+", "5d-", "2dx", "1dc"} == set(GPT3_TASKS)
    assert {"6d+", "6d-", "chain", "3dx", "4dx", "5dx"} == set(KINDS) - set(GPT3_TASKS)


@pytest.mark.parametrize("kind", [k for k in KINDS if re.fullmatch(r"[2-6]d[-+x]", k)])
def test_operands_are_uniform_from_zero(kind):
    """nD: both operands in 0..10^n - 1, with the ends of the range met (a miss has a chance below
    1e-6).
    """
    limit, sign, low_half = 10 ** int(kind[0]), kind[2].replace("x", "*"), 0
    pairs = []
    for problem, parts, text in draws(kind):
        a, operator, b = text.split(" ")
        assert operator == sign and parts == [int(a), sign, int(b)]
        assert all(0 <= n < limit for n in (int(a), int(b)))
        pairs.append((int(a), int(b)))
        low_half += int(a) < limit / 2
        assert (int(problem.answer) < 0) == (sign == "-" and int(a) < int(b))
    for side in zip(*pairs):
        assert min(side) < limit / 50 and max(side) >= limit - limit / 50
    assert abs(low_half - 750) < 5 * (1500 / 4) ** 0.5
    if sign == "-":
        negatives = sum(a < b for a, b in pairs) / len(pairs)
        assert 0.4 < negatives < 0.6


def test_one_digit_composites_have_both_shapes_and_all_operators():
    shapes, operators, digits = Counter(), Counter(), Counter()
    for problem, _, text in draws("1dc", n=3000):
        match = re.fullmatch(r"(\(?)(\d) ([+\-*]) (\(?)(\d)(\)?) ([+\-*]) (\d)(\)?)", text)
        assert match and text.count("(") == text.count(")") == 1, text
        shapes["left" if match[1] else "right"] += 1
        operators[match[3], match[7]] += 1
        digits.update((match[2], match[5], match[8]))
        shapes["negative"] += int(problem.answer) < 0
    assert len(operators) == 9 and len(digits) == 10
    assert abs(shapes["left"] - shapes["right"]) < 5 * 3000**0.5 and shapes["negative"] > 300


def test_chains_have_2_to_6_terms_of_1_to_4_digits():
    terms, digits, signs = Counter(), Counter(), Counter()
    for _, _, text in draws("chain", n=3000):
        parts = text.split(" ")
        assert set(parts[1::2]) <= {"+", "-"}
        assert all(p == str(int(p)) and len(p) <= 4 for p in parts[::2])
        terms[len(parts[::2])] += 1
        digits.update(map(len, parts[::2]))
        signs.update(parts[1::2])
    assert set(terms) == {2, 3, 4, 5, 6} and set(digits) == {1, 2, 3, 4}
    assert min(terms.values()) > 400 and abs(signs["+"] - signs["-"]) < 5 * signs.total() ** 0.5


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_wordings_vary(lang):
    """Four forms, each with signs and with words; half of them spoken."""
    questions = [p.question() for p, *_ in draws("2d-", lang, 800)]
    forms = Counter(re.sub(r"[0-9]+", "N", q) for q in questions)
    assert len(forms) == 8 and min(forms.values()) > 50
    spoken = sum(bool(re.search(r"minus|减", q)) for q in questions)
    assert abs(spoken - 400) < 5 * 200**0.5
    assert not any(re.search(r"[A-Za-z]", q) for q in questions) or lang == "en"


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_operator_is_spoken(lang):
    asked = " ".join(
        p.question()
        for kind in ("2d+", "2d-", "2dx", "1dc", "chain")
        for p, *_ in draws(kind, lang, 100)
    )
    for word in {"en": ("plus", "minus", "times"), "zh": ("加", "减", "乘")}[lang]:
        assert word in asked


def test_split_is_commutative_only_where_the_operation_is():
    for operator in "+*":
        for a, b in ((98, 45), (9, 10), (100, 99), (7, 7)):
            one, other = (
                arithmetic.canonical([x, operator, y])
                for x, y in ((a, b), (b, a))
            )
            assert one == other == content_key(f"{a} {operator} {b}")
    assert arithmetic.canonical([98, "-", 45]) == "98 - 45"
    assert arithmetic.canonical([45, "-", 98]) == "45 - 98"


def turned(rng: Random, parts):
    """The same sums and products, some of them written the other way round."""
    if isinstance(parts, int):
        return parts
    a, operator, b = turned(rng, parts[0]), parts[1], turned(rng, parts[2])
    return [b, operator, a] if operator in "+*" and rng.random() < 0.5 else [a, operator, b]


@pytest.mark.parametrize("kind", ["1dc", "chain"])
def test_a_question_and_its_twins_share_a_key_and_nothing_else_does(kind):
    rng, values = Random(kind), {}
    for _ in range(5000):
        _, parts = arithmetic.expression(rng, kind)
        key = arithmetic.canonical(parts)
        assert arithmetic.canonical(turned(rng, parts)) == key
        assert values.setdefault(key, arithmetic.value_of(parts)) == arithmetic.value_of(parts)


def test_split_ignores_wording_and_language():
    """The same operands and operation fall into one split, however and in whichever language they
    are asked.
    """
    found = {}
    for lang in ("en", "zh"):
        for problem, _, text in draws("2d+", lang, 3000):
            assert found.setdefault(content_key(text), problem.split()) == problem.split()
    assert len(found) < 5000, "some of 4,600 questions must have been asked twice"


def test_held_out_questions_never_appear_in_train():
    keys = {
        s: {content_key(t) for *_, t in draws("2d+", "en", 2000, s)}
        for s in ("train", "validation", "test")
    }
    assert (
        not keys["train"] & keys["test"]
        and not keys["train"] & keys["validation"]
        and not keys["test"] & keys["validation"]
    )
    assert min(map(len, keys.values())) > 150


@pytest.mark.parametrize("kind", ["", "7d+", "2d*", "2d/", "countdown", None])
def test_unknown_kind(kind):
    with pytest.raises(ValueError, match="2d"):
        sample(Random(0), kind)


def test_same_seed_same_problems():
    assert draws("chain", n=50) == draws("chain", n=50)


# ---------------------------------------------------------------- verifying


def oracle(answer: str, right: int) -> bool:
    """Without a regular expression: after spaces are taken off, it is the one way to write the
    integer.
    """
    while answer.startswith(" "):
        answer = answer[1:]
    while answer.endswith(" "):
        answer = answer[:-1]
    return answer == str(right)


rights = st.one_of(
    st.sampled_from([0, 1, -1, 7, 10, 143, -143, 1000000]), st.integers(-(10**12), 10**12)
)
dirt = st.sampled_from(
    ["", " ", "  ", "0", "+", "-", "--", "\n", "\t", "\r", "\u00a0", "\u3000", "\x00", "\ud800"]
    + [".", ".0", ",", "e0", "_", "=", "１", "٣", "²"]
)


@settings(max_examples=2500, deadline=None)
@given(rights, dirt, dirt, dirt, st.integers(0, 14))
def test_verify_equals_an_oracle_without_regex(right, before, within, behind, place):
    text = str(right)
    text = before + text[:place] + within + text[place:] + behind
    assert Arithmetic("?", str(right)).verify(text) is oracle(text, right)


@settings(max_examples=800, deadline=None)
@given(
    st.one_of(st.text(alphabet="0123456789-+ .", max_size=5), st.text(st.characters())),
    st.integers(-99, 99),
)
def test_verify_equals_the_oracle_on_any_text(text, right):
    assert Arithmetic("?", str(right)).verify(text) is (oracle(text, right) and len(text) <= 64)


HOSTILE = [
    *(
        "0143", "+143", "143.0", "143.", "1 43", "１４３", "1_43", "0x8f", "143 143", "143,", "= 143",
        "98 + 45",
    ),
    *(
        "143\n", "\n143", "143\t", "143\xa0", "143\x00", "\ud800", "143" + " " * 62, "1" * 10**7,
        "__import__('os')",
    ),
    *("--143", "-143", "- 143", "142", "1430", "", " ", "-"),
    *(None, 143, 143.0, b"143", True, ["143"], object()),
]


@pytest.mark.parametrize("answer", HOSTILE, ids=lambda a: ascii(a)[:20])
def test_hostile_answers_are_false(answer):
    assert Arithmetic("What is 98 plus 45?", "143").verify(answer) is False


def test_zero_and_negatives():
    assert Arithmetic("?", "0").verify("0") and Arithmetic("?", "-6").verify(" -6 ")
    for wrong in ("-0", "+0", "00", "0.0", ""):
        assert not Arithmetic("?", "0").verify(wrong)
    assert not Arithmetic("?", "-6").verify("6") and not Arithmetic("?", "-6").verify("- 6")


# ---------------------------------------------------------------- JSON


@pytest.mark.parametrize("split", ["train", "test"])
def test_json_round_trip(split):
    """A problem that goes through a file is the same problem: same question, answer and split."""
    for kind in KINDS:
        for problem, *_ in draws(kind, "zh", 20, split):
            back = problem_from_json(json.loads(json.dumps(problem.to_json())))
            assert (back.question(), back.answer, back.lang, back.id) == (
                problem.text, problem.answer, "zh", "",
            )
            assert back.split() == split
            assert back == problem


GOOD = {"id": "a", "task": "arithmetic", "lang": "en", "question": "98 + 45 =", "answer": "143"}


@pytest.mark.parametrize(
    "change",
    [
        *({"question": q} for q in (None, "", "  ", 5, ["98 + 45 ="], {})),
        *(
            {"answer": a}
            for a in (None, "", "x", "1.5", "0143", "+143", "1 43", "１４３", "98 + 45")
        ),
        *({"answer": a} for a in (1.5, True, [143], {"a": 1}, float("nan"))),
        *({"lang": lang} for lang in ("fr", None, 5, [], {})),
    ],
    ids=repr,
)
def test_malformed_lines_are_value_errors(change):
    with pytest.raises(ValueError, match=f'"{next(iter(change))}"'):
        problem_from_json(GOOD | change)


@pytest.mark.parametrize("answer", [" 143\n", "143", 143])
def test_an_answer_is_kept_without_the_spaces_around_it(answer):
    assert problem_from_json(GOOD | {"answer": answer}).answer == "143"


def test_missing_fields_are_value_errors():
    for name in ("task", "question", "answer"):
        with pytest.raises(ValueError, match=name):
            problem_from_json({k: v for k, v in GOOD.items() if k != name})
    assert (
        problem_from_json({k: v for k, v in GOOD.items() if k not in ("id", "lang")}).lang == "en"
    )


def test_answer_may_be_a_number_in_json():
    assert (
        problem_from_json({"task": "arithmetic", "question": "98 + 45 =", "answer": 143}).answer
        == "143"
    )


# ---------------------------------------------------------------- written working

EQUATION = re.compile(r"([0-9+\-*() ]+) = (-?[0-9]+)")


def equations_in(text: str) -> list[tuple[str, int]]:
    """All equations of a working, each one checked; what stands outside an equation is left out."""
    found = []
    for piece in text.split(", "):
        piece = piece.rpartition(": ")[2]
        if match := EQUATION.fullmatch(piece):
            assert value_of(match[1]) == int(match[2]), f"{piece} is wrong in {text}"
            found.append((match[1], int(match[2])))
        else:
            assert re.fullmatch(r"-?[0-9]+", piece), text
    return found


def by_columns(equations: list[tuple[str, int]]) -> int:
    """The answer that columns spell, units first: the last digit of each, the whole of the last
    one.
    """
    digits = "".join(str(value % 10) for _, value in equations[:-1])
    return int(str(equations[-1][1]) + digits[::-1])


@pytest.mark.parametrize("kind", KINDS)
def test_every_equation_in_a_working_is_true(kind):
    for _, parts, text in draws(kind, n=400):
        assert equations_in(working(parts)), text


@pytest.mark.parametrize("kind", ["3d+", "4d+", "5d+", "6d+"])
def test_columns_of_a_sum_spell_the_answer(kind):
    for problem, (a, _, b), _ in draws(kind, n=600):
        equations = equations_in(working([a, "+", b]))
        if max(a, b) < 100:
            assert [(f"{a} + {b}", a + b)] == equations
            continue
        assert by_columns(equations) == a + b == int(problem.answer)
        assert len(equations) == len(str(max(a, b)))
        carry = 0
        # each column: the carry, then the digits of a and b
        for i, (terms, total) in enumerate(equations):
            digits = [int(str(n)[-1 - i]) for n in (a, b) if len(str(n)) > i]
            assert [int(t) for t in terms.split(" + ")] == ([carry] if carry else []) + digits
            carry = total // 10


@pytest.mark.parametrize("kind", ["3d-", "4d-", "5d-", "6d-"])
def test_columns_of_a_difference_spell_the_answer(kind):
    negatives = 0
    for problem, (a, _, b), _ in draws(kind, n=600):
        text = working([a, "-", b])
        equations = equations_in(text)
        if max(a, b) < 100:
            assert [(f"{a} - {b}", a - b)] == equations
            continue
        assert by_columns(equations) == abs(a - b) == abs(int(problem.answer))
        assert all(0 <= value <= 9 for _, value in equations), "one digit a column"
        if a < b:  # "64 - 478" is worked as 478 - 64, and the sign put back at the end
            negatives += 1
            assert text.startswith(f"{b} - {a}: ") and text.endswith(f", {b - a}, {a - b}")
        borrow, high, low = 0, max(a, b), min(a, b)
        for i, (terms, _) in enumerate(equations):
            top, *rest = (int(t) for t in terms.split(" - "))
            assert top % 10 == high // 10**i % 10
            assert rest == [low // 10**i % 10] + ([1] if borrow else [])
            borrow = top >= 10
        assert not borrow
    assert negatives > 200


@pytest.mark.parametrize("kind", ["2d+", "2d-", "2dx", "3dx", "4dx", "5dx", "1dc"])
def test_working_ends_in_the_answer(kind):
    for problem, parts, text in draws(kind, n=500):
        equations = equations_in(working(parts))
        assert equations[-1][1] == int(problem.answer), (text, working(parts))


def test_product_rows_are_the_digits_of_the_second_factor():
    assert working([12, "*", 34]) == "12 * 4 = 48, 12 * 30 = 360, 48 + 360 = 408"
    assert working([12, "*", 30]) == "12 * 30 = 360"
    assert working([12, "*", 304]) == "12 * 4 = 48, 12 * 300 = 3600, 48 + 3600 = 3648"


def test_working_of_chains_goes_step_by_step():
    """From three terms on, each step but the first starts from the value so far."""
    for problem, parts, text in draws("chain", n=800):
        terms = text.split(" ")
        equations = equations_in(working(parts))
        if len(terms) < 5:
            continue
        later = equations[-(len(terms) - 3) // 2 :]
        so_far = value_of(" ".join(terms[:3]))
        for i, (left, value) in enumerate(later):
            operator, term = terms[3 + 2 * i : 5 + 2 * i]
            assert left == f"{so_far} {operator} {term}" or left == f"{so_far} {operator} ({term})"
            so_far = value
        assert so_far == int(problem.answer)


def test_working_by_hand():
    assert working([478, "+", 64]) == "8 + 4 = 12, 1 + 7 + 6 = 14, 1 + 4 = 5"
    assert working([999, "+", 1]) == "9 + 1 = 10, 1 + 9 = 10, 1 + 9 = 10"
    assert working([503, "-", 78]) == "13 - 8 = 5, 10 - 7 - 1 = 2, 5 - 0 - 1 = 4"
    assert working([64, "-", 478]) == "478 - 64: 8 - 4 = 4, 7 - 6 = 1, 4 - 0 = 4, 414, -414"
    assert working([4, "-", [3, "-", 9]]) == "3 - 9 = -6, 4 - (-6) = 10"
    assert working([[9, "+", 8], "*", 2]) == "9 + 8 = 17, 17 * 2 = 34"
    assert working([45, "+", 0]) == "45 + 0 = 45"
