"""results/composition/composition.py: functions, problems, what bases read, and one small cell."""

import importlib.util
import json
from itertools import product
from pathlib import Path
from random import Random

import pytest

from minir1.tasks import problem_from_json
from minir1.tokenizer import Tokenizer
from minir1.transcript import parse

FILE = Path(__file__).parents[1] / "results" / "composition" / "composition.py"
spec = importlib.util.spec_from_file_location("composition", FILE)
composition = importlib.util.module_from_spec(spec)
spec.loader.exec_module(composition)


@pytest.mark.parametrize(
    ("name", "result"),
    [("r", "DECBA"), ("l", "BCEDA"), ("s", "BACED"), ("w", "DBCEA"), ("d", "ABCEDD"),
     ("x", "BCED"), ("v", "BCD"), ("n", "BCDFE")],
)  # fmt: skip
def test_each_function(name, result):
    assert composition.apply(name, "ABCED") == result


def test_the_first_function_is_applied_first():
    problem = composition.Strings("xr", "ABCDE")
    assert problem.question() == "x r ABCDE"
    assert problem.solution == "EDCB" != composition.apply("rx", "ABCDE")
    assert problem.trace() == "x ABCDE=BCDE\nr BCDE=EDCB"
    assert problem.verify(" EDCB ") and not problem.verify("EDC") and not problem.verify("")


@pytest.mark.parametrize("fold", range(composition.FOLDS))
def test_held_out_pairs_are_no_practised_function_by_another_name(fold):
    rng = Random(0)
    texts = ["".join(rng.choices(composition.LETTERS, k=n)) for n in (5, 6) for _ in range(200)]

    def outputs(kind: str) -> set[tuple]:
        names = composition.programs(f"{kind}-{fold}")
        return {tuple(composition.apply(name, text) for text in texts) for name in names}

    kinds = ("single", "practised", "held", "triple")
    single, practised, held, triple = map(outputs, kinds)
    assert not held & (single | practised)
    assert not triple & (single | practised)
    assert len(held | practised) > 40  # and most pairs differ from one another
    assert set("".join(composition.programs(f"held-{fold}"))) == set(composition.FUNCTIONS)
    for names in composition.programs(f"triple-{fold}"):
        assert {names[:2], names[1:]} <= set(composition.programs(f"held-{fold}"))
    assert len(triple) > 20


def test_a_problem_needs_all_of_its_functions():
    rng = Random(1)
    for kind, split in product(("practised-0", "held-1", "triple-2"), ("train", "test")):
        for _ in range(30):
            problem = composition.sample(rng, kind, split)
            assert problem.split() == split and problem.names in composition.programs(kind)
            for left_out in range(len(problem.names)):
                names = problem.names[:left_out] + problem.names[left_out + 1 :]
                assert composition.apply(names, problem.text) != problem.solution


def test_bases_read_no_composition_unless_it_is_shown():
    rng, fold = Random(2), 1
    practised = set(composition.programs(f"practised-{fold}"))
    for name, diet in composition.CORPORA.items():
        shown, thoughts = 0, 0
        for _ in range(3000):
            text = composition.write(rng, None, diet, fold)
            question = text.split("User: ")[1].split("\n")[0]
            response = text.split("Assistant:")[1]
            assert parse(response).well_formed
            thoughts += parse(response).think is not None
            parts = question.split(", ")
            answers = []
            for part in parts:
                *names, letters = part.split()
                problem = composition.Strings("".join(names), letters)
                assert problem.split() == "train"
                if len(set(names)) > 1:
                    assert problem.names in practised
                    shown += 1
                answers.append(problem.solution)
            assert parse(response).answer == ", ".join(answers)
        assert shown == 0 if diet.shown == 0 else abs(shown - 3000 * diet.shown) < 16, name
        assert abs(thoughts / 3000 - (1 - diet.direct)) < 0.05, name


def test_letters_and_names_are_tokens():
    tokenizer = Tokenizer.train(composition.template_words(None, 0, 1), 320)
    plain = len(tokenizer.encode("AB"))
    assert plain == 2
    for name, letters in product(composition.FUNCTIONS, ("ABCDE", "JIHGF")):
        assert len(tokenizer.encode(f"{name} {letters}=")) == 1 + 5 + 1
        assert len(tokenizer.encode(f"\n{name} {letters}")) == 1 + 1 + 5


@pytest.mark.parametrize(
    ("answer", "what"),
    [("EFDCBA", "right"), ("FEDCBA", "only 1"), ("BACDEF", "only 2"), ("ABCDEF", "copy"),
     ("FEDCAB", "only 21"), ("A", "other")],
)  # fmt: skip
def test_what_a_wrong_answer_is(answer, what):
    problem = composition.Strings("rs", "ABCDEF")
    assert composition.what_it_did(problem, f"<answer>{answer}</answer><|end|>") == what
    assert composition.what_it_did(problem, f"<answer>{answer}") == "unreadable"


def test_json_comes_back():
    problem = composition.Strings("dn", "ABCDE")
    again = problem_from_json(problem.to_json())
    assert (again.names, again.text, again.solution) == ("dn", "ABCDE", "BCDEFF")
    for broken in ({"names": "q"}, {"text": "abc"}, {"names": ""}):
        with pytest.raises(ValueError):
            composition.read({"names": "r", "text": "ABC"} | broken)


def test_one_cell_from_base_to_counts(tmp_path):
    base = composition.cell("lists", 1, "base", composition.SMOKE, tmp_path)
    policy = composition.cell("lists", 1, "both", composition.SMOKE, tmp_path)
    assert len(policy["curve"]) == composition.SMOKE.steps and not base["curve"]
    for kind in composition.KINDS:
        before, after = base["suites"][kind], policy["suites"][kind]
        assert before["problems"] == after["problems"]
        assert sum(after["answers"].values()) == after["samples"] * len(after["problems"])
        assert all(t <= r for t, r in zip(after["traced"], after["right"]))
        assert all(chance < 0 for chance in before["trace_log10"])
    json.dumps([base, policy])
