"""results/unsuccessful: what a step is, how rules judge it, and what the searches count."""

import json
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parent.parent / "results" / "unsuccessful"
sys.path.insert(0, str(FOLDER))

import search as searching  # noqa: E402
from judging import (  # noqa: E402
    Lines,
    StepJudge,
    auc,
    judge_steps,
    marks_of,
    parts_of,
    sample_responses,
    step_ends,
    texts_of,
)
from reward import Rewards, process_reward, run  # noqa: E402
from search import Grower, Node, Search, beam, count_search, tree  # noqa: E402

from minir1.checkpoint import load_checkpoint  # noqa: E402
from minir1.data import find_checkpoint  # noqa: E402
from minir1.fast.engine import Engine  # noqa: E402
from minir1.tasks.countdown import Countdown  # noqa: E402
from minir1.transcript import prompt  # noqa: E402

PUZZLE = Countdown((4, 6, 9), 33)
FALSE = "<think>4 * 6 = 25, with 9: 34, no\nor "
NEW = "4 + 6 = 10, with 9: 19, 1, 90, no\nwait, "
AGAIN = "6 + 4 = 10, with 9: 19, 1, 90, no\nbut "
FOREIGN = "7 + 6 = 13, 13 + 9 = 22, not 33\n"
HIT = "4 * 6 = 24, with 9: 33, yes\n"
LATE = "9 - 6 = 3, with 4: 7, 1, 12, no</think>"
ANSWER = "<answer>4 * 6 + 9</answer><|end|>"
STEPS = [FALSE, NEW, AGAIN, FOREIGN, HIT, LATE, ANSWER]


@pytest.fixture(scope="module")
def base():
    return load_checkpoint(find_checkpoint("base-cpu.pt"))


def test_a_good_step_is_true_new_and_not_late():
    assert judge_steps(PUZZLE, STEPS, True) == [False, True, False, False, True, False, True]
    lines = Lines(PUZZLE)
    for step in STEPS[:-1]:
        lines.judge(step)
    counts = (lines.false, lines.repeated, lines.after_hit, lines.empty)
    assert counts == (2, 1, 1, 0)


def test_steps_end_at_line_breaks_the_thoughts_end_and_the_last_token(base):
    _, tokenizer = base
    ids = tokenizer.encode("".join(STEPS))
    ends = step_ends(ids, marks_of(tokenizer))
    assert texts_of(tokenizer, ids, ends) == STEPS
    cut = ids[: ends[1] + 3]  # cut off in the third step
    assert step_ends(cut, marks_of(tokenizer)) == [*ends[:2], ends[1] + 2]


def test_auc_counts_equal_values_as_half():
    generator = torch.Generator().manual_seed(0)
    value_N = torch.randint(0, 5, (60,), generator=generator).float()
    true_N = torch.rand(60, generator=generator) < 0.4
    pairs = value_N[true_N][:, None] - value_N[~true_N]
    by_pairs = ((pairs > 0).float() + 0.5 * (pairs == 0).float()).mean().item()
    assert auc(value_N, true_N) == pytest.approx(by_pairs)


def test_a_judge_reads_each_step_as_if_it_were_the_last(base):
    """Scores do not depend on what comes later, nor on who else is in the batch."""
    policy, tokenizer = base
    torch.manual_seed(0)
    judge = StepJudge(policy, tokenizer)
    asked = tokenizer.encode(prompt(PUZZLE.question()))
    ids = tokenizer.encode("".join(STEPS))
    ends = [len(asked) + end for end in step_ends(ids, marks_of(tokenizer))]
    whole, short = judge.score([asked + ids, asked + ids[:9]], [ends, [len(asked) + 8]])
    assert whole.shape == (7, 2) and short.shape == (1, 2)
    (part,) = judge.score([(asked + ids)[: ends[2] + 1]], [ends[:3]])
    torch.testing.assert_close(whole[:3], part)


def test_the_process_reward_is_the_mean_over_steps():
    scores = [torch.tensor([[1.0, 0.0], [0.5, 0.0], [0.0, 1.0], [0.5, 0.3]]), torch.ones(1, 2)]
    assert process_reward(scores) == [0.0, 1.0]


def test_responses_are_split_whole_and_the_rule_rewards_them(base):
    policy, tokenizer = base
    sampler = Engine(policy, torch.float32, 16, 256).sample
    responses = sample_responses(policy, tokenizer, sampler, "test", "train", 16)
    for r in responses:
        assert len(r.ends) == len(r.steps) == len(r.good) and r.ends[-1] == len(r.ids) - 1
        assert r.good[-1] == r.right and tokenizer.decode(r.ids).endswith("".join(r.steps))
    assert sum(map(len, parts_of(responses, 300))) == 16


def test_arms_differ_in_the_reward_only(base):
    policy, tokenizer = base
    rewards = Rewards(StepJudge(policy, tokenizer))
    names = {arm: rewards.of(arm) for arm in ("rule", "learned", "both", "stated", "wide")}
    assert names["wide"] == names["learned"] == rewards.learned
    assert names["stated"] == rewards.stated and names["both"] == rewards.both


def test_a_tiny_run_writes_what_it_measured(tmp_path):
    path = run("both", 0, tmp_path, steps=1, read_first=64, problems=4, prompts=2)
    written = json.loads(path.read_text(encoding="utf-8"))
    (row,) = written["rows"]  # before the first step
    assert row["responses"] == 4 and row["truth"] == row["right"] / 4
    assert {len(shown["steps"][0]) for shown in row["shown"]} == {3}


# ---------------------------------------------------------------- search


class Rule(StepJudge):
    """Values a thought by rule: 1 for an answer that is right, else by its length."""

    def score(self, rows, ends, together=64):
        right = [self.tokenizer.encode(ANSWER)[:-1] == row[-len(self.tokenizer.encode(ANSWER)) : -1]
                 for row in rows]
        values = [1.0 if r else 0.3 for r in right]
        return [torch.tensor([[0.0, value]]) for value in values]


@pytest.mark.parametrize("method, size", [(beam, (2, 4)), (tree, (6, 4))])
def test_searches_count_their_tokens_and_choose_the_best_value(base, method, size):
    policy, tokenizer = base
    grower = Grower(policy, Rule(policy, tokenizer), seed=0)
    drawn = []
    engine = grower.engine

    def counted(*arguments):
        samples = engine(*arguments)
        drawn.append(int(samples.length_B.sum()))
        return samples

    grower.engine = counted
    searches = [Search(p, tokenizer.encode(prompt(p.question()))) for p in (PUZZLE, PUZZLE)]
    method(grower, searches, *size)
    counts = count_search(tokenizer, searches)
    assert counts["tokens"] == sum(drawn)
    assert counts["right"] + counts["written_not_chosen"] + counts["never_written"] == 2
    for search in searches:
        assert search.found and search.best().value == max(n.value for n in search.found)
        assert all(n.ids[-1] == tokenizer.end or len(n.ids) >= 256 for n in search.found)


def test_uct_prefers_value_and_what_was_seldom_seen():
    root = Node()
    good, seen, bad = (Node(parent=root, value=v) for v in (0.6, 0.6, 0.1))
    root.children = [bad, seen, good]
    seen.back_up(0.6)
    assert root.visits == 1 and searching.select(root) is good
    for _ in range(200):
        good.back_up(0.0)
    assert searching.select(root) is seen
