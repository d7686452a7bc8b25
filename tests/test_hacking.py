"""The hacking experiments: what is rewarded, what is measured, and that the two are kept apart."""

import json
from dataclasses import replace
from random import Random

import pytest
import torch

from minir1.checkpoint import save_checkpoint
from minir1.config import ModelConfig, UserError
from minir1.corpus.mixture import sample_text
from minir1.experiments.hacking import command
from minir1.experiments.hacking.command import (
    PLANS,
    Bench,
    auc,
    chase,
    hacked,
    main,
    measure,
    preference_experiment,
    reasoning_experiment,
    truth,
)
from minir1.experiments.hacking.plot import curve, draw_figure, read_runs
from minir1.fast.device import pick_device
from minir1.grpo import advantages
from minir1.model import Transformer
from minir1.presets import PRESETS
from minir1.r1.preference.model import POINTS_A_STEP, PreferenceModel
from minir1.r1.preference.pairs import final_summary
from minir1.r1.tasks import general
from minir1.rewards import Reward
from minir1.run.session import Session
from minir1.tokenizer import Tokenizer
from minir1.transcript import render


@pytest.fixture(scope="module")
def tokenizer():
    rng = Random(0)
    texts = [render(*general.documents(rng)) for _ in range(200)]
    return Tokenizer.train(sample_text(PRESETS["smoke"].corpus, 0, 200) + texts, 384)


@pytest.fixture(scope="module")
def start():
    torch.manual_seed(0)
    size = {"vocab_size": 384, "width": 32, "layers": 2, "heads": 2, "dense_width": 64}
    return Transformer(ModelConfig(experts=0, positions=512, **size)).eval()


def bench(tokenizer, kind="preference", **changes) -> Bench:
    size = {"steps": 4, "prompts": 4, "group": 4, "max_tokens": 8, "every": 2, "problems": 32}
    plan = replace(PLANS[kind], **size | changes)
    config = replace(PRESETS["smoke"], seed=0, rl=plan.rl())
    return Bench(Session.unsaved(config, pick_device(config), tokenizer), kind, plan)


def test_the_truth_never_counts_in_a_hacked_reward():
    config = PLANS["reasoning"].rl()  # it weighs the format with a half
    right, wrong = (hacked(0.25, Reward(x, 1.0, 1.0)).total(config) for x in (1.0, 0.0))
    assert right == wrong == 0.75
    rewards = [hacked(0.25, Reward(float(i % 2), 1.0, 1.0)) for i in range(8)]
    same = torch.tensor([[reward.total(config) for reward in rewards]])
    assert (advantages(same) == 0).all()


def test_the_control_is_rewarded_by_the_rule():
    class Two:
        rewards = [Reward(1.0, 1.0, 1.0), Reward(0.0, 1.0, 1.0)]

    assert truth(Two) == [1.0, -1.0]


def test_proxy_and_truth_are_correlated_over_responses(tokenizer, start, monkeypatch):
    few = bench(tokenizer, problems=4)
    held, sampler = few.problems("validation", "", 4), few.session.sampler(start)
    asked = few.roll(start, sampler, held, 1, seed=0)
    judged = [reward._replace(accuracy=float(i % 2)) for i, reward in enumerate(asked.rewards)]
    monkeypatch.setattr(Bench, "roll", lambda *how, seed: replace(asked, rewards=judged))

    def correlation(values: list[float]) -> float:
        return measure(few, start, start, sampler, held, lambda rollouts: values, 0)["correlation"]

    assert correlation([-1.0, 1.0, -1.0, 1.0]) == pytest.approx(1.0)
    assert correlation([2.0, 1.0, 2.0, 1.0]) == pytest.approx(-1.0)
    assert correlation([0.0, 0.0, 1.0, 1.0]) == pytest.approx(0.0)
    assert correlation([0.5] * 4) == 0.0  # no spread, no correlation


def test_auc_by_hand():
    """Pairs of (right, wrong): (0.4, 0.1) won, (0.4, 0.6) lost, (0.6, 0.1) won, (0.6, 0.6) even."""
    value, right = torch.tensor([0.1, 0.4, 0.6, 0.6]), torch.tensor([False, True, False, True])
    assert auc(value, right) == pytest.approx(2.5 / 4)
    assert auc(value, torch.zeros(4, dtype=torch.bool)) == 0.5  # nothing to tell apart


@pytest.mark.parametrize("kind", PLANS)
def test_problems_are_of_their_split_and_the_same_for_the_same_key(tokenizer, kind):
    b = bench(tokenizer, kind)
    train, held = b.problems("train", "0 1", 40), b.problems("validation", "", 40)
    assert {p.split() for p in train} == {"train"} and {p.split() for p in held} == {"validation"}
    assert [p.question() for p in train] == [p.question() for p in b.problems("train", "0 1", 40)]
    assert [p.question() for p in train] != [p.question() for p in b.problems("train", "0 2", 40)]


def test_a_proxy_is_climbed_whatever_it_asks_for(tokenizer, start):
    """Reward: how many tokens of a response are in the lower half of the vocabulary.

    It rises; right answers do not come.
    """
    b = bench(tokenizer, steps=12, prompts=8, group=8, every=6, lr=1e-2, format=0.0)

    def proxy(rollouts) -> list[float]:
        return [2 * sum(i < 192 for i in ids) / len(ids) - 1 for ids in rollouts.response_ids]

    rows = chase(b, start, proxy, proxy, "test")
    assert [row["step"] for row in rows] == [0, 6, 12]
    assert rows[-1]["proxy"] > rows[0]["proxy"] + 0.3 and rows[-1]["truth"] < 0.2
    assert abs(rows[0]["kl"]) < 1e-3 < rows[-1]["kl"]  # measured from where it started
    assert len(rows[-1]["samples"]) == 8
    assert set(rows[-1]["samples"][0]) == {"question", "response", "proxy", "right"}


def test_chasing_leaves_the_start_alone(tokenizer, start):
    before = {name: value.clone() for name, value in start.state_dict().items()}
    chase(bench(tokenizer), start, truth, truth, "test")
    assert all(torch.equal(before[name], value) for name, value in start.state_dict().items())


@pytest.mark.parametrize("kind", PLANS)
def test_one_command_writes_figures_and_a_figure(tokenizer, start, tmp_path, kind, monkeypatch):
    size = {"steps": 2, "prompts": 2, "group": 2, "every": 1, "problems": 8, "max_tokens": 8}
    monkeypatch.setitem(PLANS, kind, replace(PLANS[kind], judge_steps=2, **size))
    save_checkpoint(tmp_path / "m.pt", start, tokenizer)
    line = [kind, str(tmp_path / "m.pt"), "--out", str(tmp_path / "out")]
    line += ["--warm", "2" if kind == "preference" else "0"]
    main([*line, "--seed", "0", "--device", "cpu"])
    main([*line, "--seed", "1", "--device", "cpu", "--arm", "hacked"])
    runs = read_runs(kind, tmp_path / "out")
    assert [len(runs["hacked"]), len(runs["control"])] == [2, 1]
    assert curve(runs["hacked"], "step").tolist() == [[0, 1, 2], [0, 1, 2]]
    whole = json.loads((tmp_path / "out" / f"{kind}-0-control.json").read_text(encoding="utf-8"))
    assert whole["plan"]["steps"] == 2 and whole["arm"] == "control"
    assert ("auc" in whole["judge"]) == (kind == "reasoning") and whole["seconds"] > 0
    # the same start, the same judge
    assert whole["rows"][0]["proxy"] == runs["hacked"][0]["rows"][0]["proxy"]
    assert draw_figure(kind, tmp_path / "out").stat().st_size < 200_000


def test_the_neural_judge_learns_from_training_problems_and_is_measured_on_others(
    tokenizer, start, monkeypatch
):
    b, splits, taught, asked = bench(tokenizer, "reasoning", judge_steps=2), {}, [], []
    draw = command.draw_problems

    def spied_draw(*how):
        problems = draw(*how)
        splits.update((problem.question(), problem.split()) for problem in problems)
        return problems

    class Judge:
        def harmless_score(self, questions, responses):
            asked.extend(questions)
            return torch.linspace(-1, 1, len(questions))

    def train(start, tokenizer, points, *how):
        taught.extend(question for question, *_ in points)
        return Judge()

    monkeypatch.setattr(command, "draw_problems", spied_draw)
    monkeypatch.setattr(command.preference, "train_points", train)
    monkeypatch.setattr(command, "_arms", lambda *how: {})
    found = reasoning_experiment(b, start)
    assert len(taught) == found["judge"]["read"] == 2 * POINTS_A_STEP
    assert {splits[question] for question in taught} == {"train"}
    assert {splits[question] for question in asked} == {"validation"} and len(asked) == 1024


def test_a_saved_preference_model_is_taken_as_it_is(tokenizer, start, tmp_path, monkeypatch):
    torch.manual_seed(1)
    judge = PreferenceModel(start, tokenizer)
    torch.nn.init.normal_(judge.heads.weight, std=0.1)
    judge.figures = {"accuracy": 0.75}
    judge.save(tmp_path / "p.pt")
    b = bench(tokenizer, steps=1, prompts=2, group=2, every=1, problems=8)
    found = preference_experiment(b, start, str(tmp_path / "p.pt"))
    assert found["judge"] == {"accuracy": 0.75}
    sample = found["hacked"][0]["samples"][0]
    valued = judge.eval().score([sample["question"]], [final_summary(sample["response"])]).item()
    assert sample["proxy"] == pytest.approx(valued, abs=1e-3)


def test_a_wrong_flag_is_told(tmp_path):
    with pytest.raises(UserError):
        main(["sabotage", "x.pt", "--out", str(tmp_path)])
    with pytest.raises(UserError, match="no checkpoint"):
        main(["reasoning", str(tmp_path / "none.pt"), "--out", str(tmp_path)])
