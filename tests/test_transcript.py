"""The prompt and the tags: what render writes parse reads, and nothing that a model writes can fool
or stop it.
"""

import json
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minir1.measure import evaluate
from minir1.tasks import problem_from_json
from minir1.tasks.arithmetic import Arithmetic
from minir1.tasks.countdown import Countdown
from minir1.transcript import SPECIAL_TOKENS, Transcript, parse, prompt, render

# ---------------------------------------------------------------- render and parse


def response_to(question: str, document: str) -> str:
    """What follows the prompt; the prompt itself must be the document's beginning."""
    assert document.startswith(prompt(question))
    return document.removeprefix(prompt(question))


def test_the_exact_text():
    assert prompt("2 + 2 =") == "<|begin|>User: 2 + 2 =\nAssistant:"
    assert render("2 + 2 =", "4") == "<|begin|>User: 2 + 2 =\nAssistant:<answer>4</answer><|end|>"
    assert (
        render("q", "4", "t")
        == "<|begin|>User: q\nAssistant:<think>t</think><answer>4</answer><|end|>"
    )
    assert (
        render("q", "4", "")
        == "<|begin|>User: q\nAssistant:<think></think><answer>4</answer><|end|>"
    )


def test_special_tokens_are_seven():
    assert set(SPECIAL_TOKENS) == {
        "<|pad|>", "<|begin|>", "<|end|>", "<think>", "</think>", "<answer>", "</answer>",
    }
    assert len(SPECIAL_TOKENS) == 7


plain = st.text(alphabet=st.characters(exclude_characters="<>", exclude_categories=["Cs"]))


@settings(max_examples=500, deadline=None)
@given(plain, plain.map(str.strip), st.one_of(st.none(), plain))
def test_round_trip(question, answer, think):
    response = response_to(question, render(question, answer, think))
    assert parse(response) == Transcript(think, answer, True)


def test_comparison_signs_may_stand_in_a_thought():
    assert parse("<think>3 < 5 > 2 <b></think><answer>1</answer><|end|>") == Transcript(
        "3 < 5 > 2 <b>", "1", True
    )


ENDED = "<answer>1 + 1</answer><|end|>"
RESPONSES = {  # response: the transcript, worked out by hand
    ENDED: Transcript(None, "1 + 1", True),
    "<think>a</think>" + ENDED: Transcript("a", "1 + 1", True),
    "<think></think>" + ENDED: Transcript("", "1 + 1", True),
    "<think>a</think>\n " + ENDED: Transcript("a", "1 + 1", True),
    "<answer> 1 + 1 </answer><|end|>": Transcript(None, "1 + 1", True),
    "<answer></answer><|end|>": Transcript(None, "", True),
    "<answer>1 + 1</answer>": Transcript(None, "1 + 1", False),  # missing end
    "<think>a</think><answer>1 + 1</answer>": Transcript("a", "1 + 1", False),
    # text after the answer
    "<answer>1 + 1</answer> is it<|end|>": Transcript(None, "1 + 1", False),
    "<answer>1 + 1</answer><|end|> is it": Transcript(None, "1 + 1", False),
    "<answer>1 + 1</answer><|end|><|end|>": Transcript(None, "1 + 1", False),
    "<answer>1 + 1</answer><think>a</think><|end|>": Transcript(None, "1 + 1", False),
    "": Transcript(None, None, False),
    "<|end|>": Transcript(None, None, False),
    "it is 2<|end|>": Transcript(None, None, False),
    "it is " + ENDED: Transcript(None, None, False),  # text before the answer
    "<think>a": Transcript("a", None, False),
    "<think>a<|end|>": Transcript("a", None, False),
    "<think>a</think><|end|>": Transcript("a", None, False),
    # the thought never ends
    "<think>a" + ENDED: Transcript("a<answer>1 + 1</answer>", None, False),
    # answer inside
    "<think>so <answer>2</answer></think><|end|>": Transcript("so <answer>2</answer>", None, False),
}


@pytest.mark.parametrize(("response", "expected"), RESPONSES.items())
def test_responses_by_hand(response, expected):
    assert parse(response) == expected


NO_SINGLE_ANSWER = [
    "<answer>1</answer><answer>2</answer><|end|>",
    "<answer>1</answer><answer>1</answer><|end|>",
    "<think>a</think><answer>1</answer><think>b</think><answer>2</answer><|end|>",
    "<think><answer>1</answer></think><answer>2</answer><|end|>",
    "<answer><answer>1</answer></answer><|end|>",
    "<answer>1<answer>2</answer><|end|>",
    "<answer><think>1</think></answer><|end|>",
    "<answer>1<|end|></answer><|end|>",
    "<answer>1 < 2</answer><|end|>",
    "<answer>1<|end|>",
    "</answer>1<answer><|end|>",
    "<ANSWER>1</ANSWER><|end|>",
    "<answer >1</answer><|end|>",
    "< answer>1</answer><|end|>",
    "<think><think>a</think></think><answer>1</answer><|end|>",
    "<think>a</think><think>b</think><answer>1</answer><|end|>",
    "</think><answer>1</answer><|end|>",
    "a</think><answer>1</answer><|end|>",
]


@pytest.mark.parametrize("response", NO_SINGLE_ANSWER)
def test_no_answer_can_be_smuggled_in(response):
    """Two answers, nested tags or misspelt ones: nothing to verify, and never the format reward."""
    assert parse(response).answer is None and not parse(response).well_formed


@pytest.mark.parametrize("stray", [*SPECIAL_TOKENS, "</think></think>"])
def test_a_thought_with_a_stray_tag_is_not_well_formed(stray):
    """Else the format reward pays for nested and doubled tags."""
    for thought in (f"a{stray}b", stray, f"{stray}b", f"a{stray}"):
        assert not parse(f"<think>{thought}</think><answer>1</answer><|end|>").well_formed, thought


@pytest.mark.parametrize("stray", SPECIAL_TOKENS)
def test_an_answer_with_a_stray_tag_is_not_well_formed(stray):
    for response in (
        f"<answer>{stray}1</answer><|end|>", f"<answer>1{stray}</answer><|end|>",
        f"<answer>1</answer>{stray}<|end|>",
    ):
        assert not parse(response).well_formed


tokens = st.one_of(
    st.sampled_from([*SPECIAL_TOKENS, "<", ">", "</", " ", "\n", "1 + 1"]), st.text(max_size=3)
)


@settings(max_examples=1500, deadline=None)
@given(st.one_of(st.lists(tokens, max_size=12).map("".join), st.text(st.characters(), max_size=60)))
def test_parse_is_total(response):
    """Any text gives a Transcript; a well-formed one has an answer, ends in the end token and
    renders to itself.
    """
    transcript = parse(response)
    think, answer, well_formed = transcript
    assert isinstance(well_formed, bool)
    assert answer is None or (
        response.count("<answer>") == 1 and "<" not in answer and answer in response
    )
    assert think is None or response.startswith("<think>" + think)
    if well_formed:
        assert answer is not None and response.endswith("<|end|>")
        if "\n" not in response and " " not in response:
            again = response_to("q", render("q", answer, think))
            assert parse(again) == transcript


MEGABYTE = 1_000_000
UNITS = (*SPECIAL_TOKENS, "<", " ", "\n", "8", "<answer>1</answer>", "<think></think>")


@pytest.mark.parametrize(
    "response",
    [unit * (MEGABYTE // len(unit)) for unit in UNITS]
    + [
        "<think>" + "</think>" * (MEGABYTE // 8),
        "<think>" + "</think> <answer>" * (MEGABYTE // 17),
        "<think>" + ("</think>" + " " * 1000) * 1000,
        "<think>" + "</think>" + " " * MEGABYTE,
        "<think>" + "a" * MEGABYTE + ENDED,
        "<think>" + "a" * MEGABYTE + "</think>" + ENDED,
        "<answer>" + " " * MEGABYTE + "</answer><|end|>",
        "<answer>1</answer>" + "\n" * MEGABYTE,
    ],
    ids=lambda r: ascii(r[:18]),
)
def test_a_megabyte_is_quick(response):
    times = []
    for _ in range(2):
        start = time.thread_time()
        assert isinstance(parse(response), Transcript)
        times.append(time.thread_time() - start)
    assert min(times) < 0.5


# ---------------------------------------------------------------- problem files

COUNTDOWN = {"id": "c", "task": "countdown", "lang": "en", "numbers": [19, 36, 55, 7], "target": 65}
ARITHMETIC = {
    "id": "a", "task": "arithmetic", "lang": "zh",
    "question": "98加45等于多少？", "answer": "143",
}


def test_problems_from_json():
    assert problem_from_json(COUNTDOWN) == Countdown((19, 36, 55, 7), 65, "en", "c")
    assert problem_from_json(ARITHMETIC) == Arithmetic("98加45等于多少？", "143", "zh", "a")


NO_NUMBERS = (None, 5, "5", [], ["5"], [5, None], [5.0], [True], {"5": 5}, [[5]], [-5])
BAD_LINES = {
    "deeply nested list": "[" * 100_000,
    "deeply nested object": '{"a":' * 100_000,
    "deeply nested, closed": "[" * 50_000 + "]" * 50_000,
    "not JSON": "numbers: 1 2 3",
    "half a line": json.dumps(COUNTDOWN)[:-5],
    "two objects": json.dumps(COUNTDOWN) * 2,
    "byte order mark": "\ufeff" + json.dumps(COUNTDOWN),
    "null": "null",
    "number": "5",
    "NaN": "NaN",
    "list": json.dumps([COUNTDOWN]),
    "text": json.dumps(json.dumps(COUNTDOWN)),
    "empty object": "{}",
    "huge int": '{"task": "countdown", "numbers": [1, 2], "target": 1' + "0" * 5000 + "}",
    "huge int at top": "9" * 100_000,
    "NUL": "\x00",
    **{
        f"task {task!r}": json.dumps(COUNTDOWN | {"task": task})
        for task in (None, 5, "sudoku", "", ["countdown"], {"a": 1}, True)
    },
    **{
        f"lang {lang!r}": json.dumps(COUNTDOWN | {"lang": lang})
        for lang in (None, 5, "fr", ["en"], {"en": 1})
    },
    **{f"numbers {n!r}": json.dumps(COUNTDOWN | {"numbers": n}) for n in NO_NUMBERS},
    **{
        f"target {t!r}": json.dumps(COUNTDOWN | {"target": t})
        for t in (None, "65", 65.0, True, [65], float("nan"), float("inf"))
    },
    "target 1e999": '{"task": "countdown", "numbers": [1, 2], "target": 1e999}',
    "number NaN": '{"task": "countdown", "numbers": [NaN], "target": 3}',
    **{
        f"question {q!r}": json.dumps(ARITHMETIC | {"question": q})
        for q in (None, 5, "", " \n", ["a"])
    },
    **{
        f"answer {a!r}": json.dumps(ARITHMETIC | {"answer": a})
        for a in (None, "", "x", 1.5, "1.5", True, [143], float("nan"))
    },
    "answer huge int": '{"task": "arithmetic", "question": "?", "answer": ' + "9" * 5000 + "}",
    "no answer": json.dumps({"task": "arithmetic", "question": "?"}),
    "no numbers": json.dumps({"task": "countdown", "target": 3}),
}


def read_problems(lines):
    """Through a file, as evaluate reads it; the file's name is cut off the messages."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problems.jsonl"
        path.write_text("".join(line.rstrip("\n") + "\n" for line in lines), encoding="utf-8")
        problems, faults, _ = evaluate.read_problems(path)
        return problems, [fault.removeprefix(f"{path}: ") for fault in faults]


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_named_and_the_rest_kept(line):
    lines = [json.dumps(COUNTDOWN), "", line, "   \n", json.dumps(ARITHMETIC) + "\n"]
    problems, faults = read_problems(lines)
    assert [p.id for p in problems] == ["c", "a"]
    assert (
        len(faults) == 1 and faults[0].startswith("line 3: ") and len(faults[0]) > len("line 3: ")
    )
    assert "\n" not in faults[0] and len(faults[0]) < 2000


def test_all_bad_lines_at_once():
    """Numbers are those of the file: blank lines count, as in an editor."""
    lines = [line for bad in BAD_LINES.values() for line in (bad, "", json.dumps(COUNTDOWN))]
    problems, faults = read_problems(iter(lines))
    assert len(problems) == len(BAD_LINES)
    assert [int(f.split(":")[0].removeprefix("line ")) for f in faults] == list(
        range(1, 3 * len(BAD_LINES), 3)
    )


def test_lines_without_id_are_named_by_their_number():
    line = json.dumps({k: v for k, v in COUNTDOWN.items() if k != "id"})
    assert [p.id for p in read_problems(["", line, "", line])[0]] == ["2", "4"]
    assert read_problems([]) == ([], []) and read_problems(["", " \n", "\t"]) == ([], [])


def test_written_problems_are_read_back():
    problems = [problem_from_json(COUNTDOWN), problem_from_json(ARITHMETIC)]
    lines = [
        json.dumps(p.to_json(), ensure_ascii=ascii) + "\n"
        for p in problems
        for ascii in (True, False)
    ]
    assert read_problems(lines) == ([p for p in problems for _ in range(2)], [])


junk = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
        st.sampled_from(["countdown", "en"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
names = st.sampled_from(["task", "lang", "id", "numbers", "target", "question", "answer"])


@settings(max_examples=300, deadline=None)
@given(st.one_of(junk, st.dictionaries(names, junk)))
def test_reading_is_total(value):
    """One fault or one problem for each line, whatever it holds; a problem that was read can be
    asked and verified.
    """
    for base in (None, COUNTDOWN, ARITHMETIC):
        line = value if base is None or not isinstance(value, dict) else base | value
        problems, faults = read_problems([json.dumps(line)])
        assert len(problems) + len(faults) == 1
        for problem in problems:
            assert isinstance(problem.question(), str) and problem.verify("x") is False
            assert isinstance(problem.id, str) and problem.split() in (
                "train", "validation", "test",
            )


def test_lone_surrogates_are_a_bad_line():
    r"""JSON can spell half a character ("\ud800"), which no tokenizer and no hash takes.

    It is a fault of the line, not of the run.
    """
    problems, faults = read_problems(
        [json.dumps(ARITHMETIC | {"question": "\ud800 + 1 ="}), json.dumps(COUNTDOWN)]
    )
    assert [p.id for p in problems] == ["c"] and faults and faults[0].startswith("line 1: ")
