"""results/composition/composition.py: functions, problems, what bases read, and one small cell."""

import dataclasses
import doctest
import json
import math
from argparse import Namespace
from itertools import product
from random import Random

import pytest
import torch
from script import load

from minir1.model import Transformer
from minir1.tasks import problem_from_json
from minir1.tokenizer import Tokenizer
from minir1.transcript import parse, prompt

composition = load("results/composition/composition.py")  # shapes.py takes pieces of it


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


def test_examples_in_docstrings():
    assert doctest.testmod(composition).attempted > 5
    assert doctest.testmod(composition).failed == 0


def test_what_blind_answers_reach():
    problems = [composition.Strings("ds", "AAB"), composition.Strings("rs", "ABC")]
    assert [p.solution for p in problems] == ["AABB", "BCA"]
    blind = composition.floors(problems, 3)
    one = 1 / 6  # of 4! / (2! 2!), of 3! orders
    assert blind["right letters, any order"] == pytest.approx([one, 1 - (1 - one) ** 3])
    lengths = blind["right length, any letters"][0]
    assert lengths == pytest.approx((10**-4 + 10**-3) / 2)
    assert blind["first alone"][0] == 0.5  # swapping two equal letters is no step: "d" is enough
    assert blind["last alone"][0] == 0.0
    assert blind["other order"][0] == 0.5  # "sd" is "ds", "sr" is not "rs"
    hits = [a + b for a in composition.FUNCTIONS for b in composition.FUNCTIONS
            if composition.apply(a + b, "ABC") == "BCA"]  # fmt: skip
    assert "rs" in hits and composition.program_chance(problems[1]) == len(hits) / 64


def suite(right: list[int], traced: list[int], samples: int = 256) -> dict:
    problems = [["rs", "ABCDE"], ["nd", "ABCDE"]]  # the order matters; it does not
    counted = {"samples": samples, "right": right, "traced": traced}
    return counted | {"problems": problems, "trace_log10": [-5.0, -1.0]}


def test_a_comparison_says_what_is_new():
    before = [suite([0, 64], [0, 0]), suite([0, 64], [0, 0])]
    after = [suite([256, 64], [256, 0]), suite([128, 64], [0, 0])]
    row = composition.compare(list(zip(before, after)), 0.05)
    assert row["right@1"]["base"] == [0.125, 0.125]
    assert row["right@1"]["policy"] == [0.625, 0.375]
    assert row["right@k"]["policy"] == [1.0, 1.0] and row["traced@k"]["policy"] == [0.5, 0.0]
    assert (row["problems"], row["never right"], row["then mostly right"]) == (4, 2, 1)
    assert (row["rarely traced"], row["then mostly traced"]) == (2, 1)
    assert (row["traced by the base"], row["traced by the policy"]) == (0, 1)
    assert row["trace_log10 base"] == -3.0
    assert row["ordered@1"] == {"base": [0.0, 0.0], "policy": [1.0, 0.5]}
    everywhere = [(suite([0, 0], [0, 0]), suite([256, 256], [256, 256]))] * 3
    row = composition.compare(everywhere, 0.001)
    assert row["right: RL"] == row["traced: RL"] == "extends"
    assert row["right@1"]["gain"] == pytest.approx([1.0, 1.0])


def test_finished_cells_are_skipped_and_late_ones_not_begun(tmp_path):
    how = {"out": tmp_path, "work": tmp_path, "smoke": True, "deadline": 0.0}
    cell = ("lists", 0, "at")
    assert not composition.start_cell(Namespace(**how), *cell)  # no time is left
    path = composition.cell_path(tmp_path, *cell)
    path.parent.mkdir()
    path.write_text("{}")
    assert composition.start_cell(Namespace(**how), *cell)
    assert path.read_text() == "{}"


def test_one_cell_from_base_to_counts(tmp_path):
    base = composition.cell("lists", 1, "base", composition.SMOKE, tmp_path)
    policy = composition.cell("lists", 1, "at", composition.SMOKE, tmp_path)
    assert len(policy["curve"]) == composition.SMOKE.steps and not base["curve"]
    for kind in composition.KINDS:
        before, after = base["suites"][kind], policy["suites"][kind]
        assert before["problems"] == after["problems"]
        assert sum(after["answers"].values()) == after["samples"] * len(after["problems"])
        assert all(t <= r for t, r in zip(after["traced"], after["right"]))
        assert all(chance < 0 for chance in before["trace_log10"])
    for name, cell in (("base", base), ("at", policy)):
        path = composition.cell_path(tmp_path, "lists", 1, name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(cell) + "\n")
    assert composition.draw(Namespace(out=tmp_path)) == 0
    summary = json.loads((tmp_path / "composition.json").read_text())
    assert [row["suite"] for row in summary["rows"]] == list(composition.KINDS)
    assert (tmp_path / "composition.png").stat().st_size > 1000
    kept = (tmp_path / "cells.jsonl").read_text().splitlines()
    assert [json.loads(line)["arm"] for line in kept] == ["base", "at"]


def test_the_exact_chance_is_the_product_over_the_response_s_tokens():
    """Token by token, the end token included, against one reading of all."""
    tokenizer = Tokenizer.train(composition.template_words(None, 0, 1), 300)
    torch.manual_seed(0)
    shape = dataclasses.replace(composition.SHAPE, vocab_size=len(tokenizer), init_std=0.5)
    model = Transformer(shape).eval()
    session = composition.open_session(composition.settings(0, composition.SMOKE), tokenizer)
    problems = [composition.Strings("r", "ABCDE"), composition.Strings("rs", "ABCDEF")]
    found = composition.trace_chances(session, model, problems)
    for problem, chance in zip(problems, found):
        text = f"<think>{problem.trace()}</think><answer>{problem.solution}</answer><|end|>"
        ids, nats = tokenizer.encode(prompt(problem.question())), 0.0
        for token in tokenizer.encode(text):
            with torch.no_grad():
                nats += float(model(torch.tensor([ids]))[0, -1].log_softmax(-1)[token])
            ids.append(token)
        assert chance == pytest.approx(nats / math.log(10), abs=2e-3)
    assert found[0] != found[1]
