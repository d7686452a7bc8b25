"""What is kept for the next model, how it is rewritten, and that only responses are learned."""

from collections import Counter
from random import Random

import pytest
import torch

from minir1.config import CorpusConfig
from minir1.corpus.mixture import sample_text
from minir1.corpus.writers.plain import planned_attempt, write_trace
from minir1.r1.data.curation import (
    Collection,
    batches,
    readable,
    reason_to_drop,
    rewrite,
    summary_in,
    without_summary,
)
from minir1.rewards import score
from minir1.rollout import Rollouts
from minir1.tasks.arithmetic import Arithmetic
from minir1.tasks.countdown import Countdown
from minir1.tokenizer import Tokenizer
from minir1.transcript import END, prompt, render

PUZZLE = Countdown((3, 5, 2), 4)
SEARCH = "3 + 2 = 5, 5 * 5 = 25, not 4\nwait, 3 + 5 = 8, 8 / 2 = 4, yes"
ANSWER = f"<answer>(3 + 5) / 2</answer>{END}"
GOOD = f"<think>{SEARCH}</think>{ANSWER}"


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (GOOD, ""),
        (GOOD.replace("(3 + 5) / 2", "3 + 5 + 2"), "wrong"),
        (GOOD.removesuffix(END), "not well formed"),
        (ANSWER, "no thought"),
        (GOOD.replace("wait, ", "等等，"), "other language"),
        (f"<think>3 + 5 = 8, 8 / 2 = 4，对</think>{ANSWER}", "other language"),  # all of it
        (GOOD.replace("wait, ", "wait, 3 + 2 = 5, 5 * 5 = 25, not 4\nbut "), "repeated attempt"),
        (GOOD.replace("5 * 5 = 25", "5 * 5 = 26"), "false step"),
        (GOOD.replace("3 + 2 = 5, 5 * 5 = 25", "3 + 7 = 10, 10 * 5 = 50"), "false operands"),
        (GOOD.replace("8 / 2 = 4, yes", "8 * 2 = 16, not 4"), "answer from nowhere"),
        (GOOD.replace("4, yes", "4, not 4"), "false check"),
    ],
)
def test_each_fault_has_its_reason(response, reason):
    assert reason_to_drop(PUZZLE, response) == reason


def test_a_rewritten_response_is_right_regular_and_readable():
    assert not readable(PUZZLE, GOOD)  # no summary yet
    text = rewrite(PUZZLE, GOOD)
    assert score(PUZZLE, without_summary(text)).accuracy == 1.0 and readable(PUZZLE, text)
    assert summary_in(text) == "So (3 + 5) / 2 = 4."
    assert rewrite(PUZZLE, text) == text  # nothing is left to be done


def test_a_search_that_looks_round_keeps_its_verdicts():
    thought = "3 + 5 = 8, with 2: 10, 6, 16, 4, yes"
    response = f"<think>3 * 5 = 15, with 2: 17, 13, 30, no\nbut {thought}</think>{ANSWER}"
    text = rewrite(PUZZLE, response)
    assert f"30, no\nwait, {thought}</think>" in text and readable(PUZZLE, text)
    without_verdict = response.replace(", yes", "")
    assert rewrite(PUZZLE, without_verdict) == text


def test_rewriting_is_in_the_prompts_language():
    problem = Countdown((3, 5, 2), 4, "zh")
    thought = "3 + 5 = 8, 8 * 2 = 16，不是4\n或者3 + 5 = 8, 8 / 2 = 4，对"
    text = rewrite(problem, f"<think>{thought}</think>{ANSWER}")
    assert summary_in(text) == "所以(3 + 5) / 2 = 4。"
    assert "等等" in text and "或者" not in text and readable(problem, text)
    assert score(problem, without_summary(text)).language == 1.0
    answer = Arithmetic("98加45是多少？", "143", "zh")
    response = f"<think>8 + 5 = 13, 1 + 9 + 4 = 14</think><answer>143</answer>{END}"
    assert summary_in(rewrite(answer, response)) == "答案是143。"


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_the_corpus_writes_well_stays_right_when_rewritten(lang):
    rng, reasons, config = Random(0), Counter(), CorpusConfig()
    for _ in range(600):
        target = rng.randint(10, 99)
        planned = planned_attempt(rng, rng.choice((3, 4)), 30, target)
        if planned is None:
            continue
        numbers, plan = planned
        problem = Countdown(numbers, target, lang)
        trace = write_trace(rng, numbers, target, config.habits, lang, plan)
        response = render("", trace.answer, trace.thought)
        response = response[response.index("<think>") :]
        reason = reason_to_drop(problem, response)
        reasons[reason] += 1
        if not reason:
            text = rewrite(problem, response)
            assert score(problem, without_summary(text)).accuracy == 1.0, text
            assert readable(problem, text), text
            assert reason_to_drop(problem, text) == "", text
    # wrong: gave up before the solution
    assert reasons[""] > 300 and set(reasons) <= {"", "repeated attempt", "wrong"}, reasons


def rollouts(texts: list[str], problems: list) -> Rollouts:
    group = len(texts) // len(problems)
    rewards = [score(problems[i // group], text) for i, text in enumerate(texts)]
    n, prompts, logp = len(texts), [[] for _ in problems], [torch.zeros(0) for _ in texts]
    return Rollouts(problems, group, prompts, [[]] * n, logp, texts, [True] * n, rewards)


def test_a_collection_tells_what_it_dropped_and_where_the_rest_came_from():
    kept = Collection("dev1.pt")
    wrong = GOOD.replace("(3 + 5) / 2", "3 + 5 + 2")
    kept.add(rollouts([GOOD, GOOD, wrong, GOOD.replace("25, not 4", "25")], [PUZZLE]))
    # the last response differs only in what is made regular
    assert kept.counts() == {"kept": 1, "duplicate": 2, "wrong": 1}
    line = kept.lines[0]
    assert line["source"] == "dev1.pt" and line["problem"] == PUZZLE.to_json()
    assert line["question"] == PUZZLE.question()
    assert score(PUZZLE, without_summary(line["response"])).accuracy == 1.0


def test_only_responses_are_learned():
    tokenizer = Tokenizer.train(sample_text(CorpusConfig(), 0, 500), 400)
    lines = [(PUZZLE.question(), GOOD), ("2 + 2 =", f"<answer>4</answer>{END}")] * 2
    seen = Counter()
    for ids_BT, mask_BT in batches(lines, tokenizer, 2, 3, 0, "cpu"):
        assert ids_BT.shape[1] == mask_BT.shape[1] + 1
        for ids, mask in zip(ids_BT, mask_BT):
            learned = tokenizer.decode(ids[1:][mask].tolist())
            whole = tokenizer.decode(ids[ids != tokenizer.pad].tolist())
            question, response = next((q, r) for q, r in lines if learned == r)
            assert whole == prompt(question) + response
            seen[response] += 1
    assert set(seen.values()) == {6}  # every line in every epoch


def test_batches_are_the_same_for_the_same_seed():
    tokenizer = Tokenizer.train(sample_text(CorpusConfig(), 0, 500), 400)
    lines = [(f"{i} + {i} =", f"<answer>{2 * i}</answer>{END}") for i in range(8)]

    def order(seed: int) -> list:
        return [ids.tolist() for ids, _ in batches(lines, tokenizer, 4, 2, seed, "cpu")]

    assert order(0) == order(0) != order(1)
