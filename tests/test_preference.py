"""The preference model: its pairs, its noise, its losses, and that it tells right from wrong on
wordings it has not read."""

from random import Random

import pytest
import torch

from minir1.config import ModelConfig, UserError
from minir1.model import Transformer
from minir1.r1.preference.model import (
    PreferenceModel,
    bradley_terry,
    preference_loss,
    train_points,
    train_preference,
    validate,
)
from minir1.r1.preference.pairs import (
    FLIPPED,
    LONGEST,
    Pair,
    draw_pair,
    draw_point,
    final_summary,
)
from minir1.r1.tasks import general
from minir1.supervised import Learner
from minir1.tokenizer import Tokenizer
from minir1.transcript import parse, render

LANGUAGES = ("en", "zh")


@pytest.fixture(scope="module")
def tokenizer():
    rng = Random(0)
    texts = [render(*general.documents(rng, lang)) for lang in LANGUAGES for _ in range(400)]
    return Tokenizer.train(texts, 512)


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    shape = {"width": 48, "layers": 2, "heads": 2, "dense_width": 96}
    return Transformer(ModelConfig(vocab_size=512, experts=0, positions=256, **shape))


@pytest.fixture(scope="module")
def trained(base, tokenizer):
    logged = []
    log = lambda **row: logged.append(row)  # noqa: E731
    return train_preference(base, tokenizer, 0, 100, "cpu", ("en",), log, lr=3e-3), logged


# ---------------------------------------------------------------- what it learns from


def test_pairs_are_of_similar_length_and_their_noise_is_as_stated():
    rng = Random(1)
    pairs = [draw_pair(rng, "train", LANGUAGES) for _ in range(4000)]
    flipped = sum(p.flipped for p in pairs) / len(pairs)
    error = (FLIPPED * (1 - FLIPPED) / len(pairs)) ** 0.5
    assert abs(flipped - FLIPPED) < 4 * error  # false alarm 6e-5
    assert all(max(map(len, p[1:3])) <= LONGEST * min(map(len, p[1:3])) for p in pairs)
    assert {p.kind for p in pairs} == set(general.KINDS)


def test_a_label_that_is_not_flipped_is_the_rules(monkeypatch):
    drawn, sample = [], general.sample
    record = lambda *arguments: drawn.append(sample(*arguments)) or drawn[-1]  # noqa: E731
    monkeypatch.setattr(general, "sample", record)
    rng = Random(2)
    for _ in range(300):
        pair = draw_pair(rng, "validation", LANGUAGES)
        right, wrong = pair.chosen, pair.rejected
        if pair.flipped:
            right, wrong = wrong, right
        problem = drawn[-1]
        assert problem.question() == pair.question and problem.split() == "validation"
        assert problem.verify(right) and not problem.verify(wrong)


def test_points_are_whole_responses_and_a_harmful_thought_is_unsafe():
    rng = Random(3)
    points = [draw_point(rng, "train", LANGUAGES) for _ in range(1500)]
    assert all(parse(response).well_formed for _, response, _ in points)
    unsafe = [response for _, response, safe in points if not safe]
    refusals = ("Sorry, I cannot do that.", "抱歉，我不能这样做。")
    polite = [r for r in unsafe if any(word in r.split("<answer>")[1] for word in refusals)]
    assert 0.1 < len(unsafe) / len(points) < 0.4 and polite and all("<think>" in r for r in polite)


def test_the_final_summary_is_what_stands_behind_the_thought():
    assert final_summary("<think>a</think>So it is 4.<answer>4</answer><|end|>") == "So it is 4. 4"
    assert final_summary("<answer>Paris</answer><|end|>") == "Paris"
    assert final_summary("<think>no end") == "no end"


# ---------------------------------------------------------------- losses


def test_bradley_terry_by_hand():
    """P(chosen) = e^2 / (e^2 + e^0) and e^-1 / (e^-1 + e^0); the loss is the mean of -log P."""
    chosen, rejected = torch.tensor([3.0, 0.0]), torch.tensor([1.0, 1.0])
    by_hand = -(torch.tensor(0.880797).log() + torch.tensor(0.268941).log()) / 2
    assert torch.allclose(bradley_terry(chosen, rejected), by_hand, atol=1e-5)
    shifted = bradley_terry(chosen + 7, rejected + 7)  # only differences count
    assert torch.allclose(shifted, by_hand, atol=1e-5)


def test_bradley_terry_pushes_the_chosen_up_and_the_rejected_down():
    value = torch.zeros(2, requires_grad=True)
    bradley_terry(value[:1], value[1:]).backward()
    assert value.grad.tolist() == [-0.5, 0.5]


def test_each_head_learns_from_its_own_texts(base, tokenizer):
    model = PreferenceModel(base, tokenizer)
    pair = Pair("Q", "sun", "moon", "fact", False)
    preference_loss(model, [pair], [("Q", "<answer>sun</answer><|end|>", True)]).backward()
    both = model.heads.weight.grad.abs().sum(1)
    assert (both > 0).all()
    model.zero_grad()
    sun, moon = (model(model.rows_of(["Q"], [text]))[:, 0] for text in ("sun", "moon"))
    bradley_terry(sun, moon).backward()
    assert (model.heads.weight.grad.abs().sum(1) > 0).tolist() == [True, False]


# ---------------------------------------------------------------- the model


def test_values_do_not_depend_on_company_or_order(base, tokenizer):
    torch.manual_seed(4)
    model = PreferenceModel(base, tokenizer).eval()
    torch.nn.init.normal_(model.heads.weight, std=0.1)
    texts = ["sun", "a much longer answer, with words", "moon, sun", "x"] * 50
    questions = [f"Question {i}?" for i in range(len(texts))]
    together = model.score(questions, texts)
    alone = torch.cat([model.score([q], [t]) for q, t in zip(questions, texts)])
    assert torch.allclose(together, alone, atol=1e-5) and together.std() > 0.01
    with torch.no_grad():
        chunked = model(model.rows_of(questions, texts), 7)[:, 0]
    assert torch.allclose(torch.tanh(chunked / 2), alone, atol=1e-5)


def test_a_value_is_read_at_the_end_token_and_sees_the_whole_row(base, tokenizer):
    torch.manual_seed(7)
    model = PreferenceModel(base, tokenizer).eval()
    torch.nn.init.normal_(model.heads.weight, std=0.1)
    rows = model.rows_of(["Q", "Where is it?"], ["sun", "a longer answer, with words"])
    assert [row[-1] for row in rows] == [tokenizer.end] * 2
    with torch.no_grad():
        together = model(rows)
        for row, value_2 in zip(rows, together):  # one row alone, without padding
            hidden_BTD, _ = base.trunk(torch.tensor([row]))
            torch.testing.assert_close(value_2, model.heads(base.norm(hidden_BTD))[0, -1])
        others = model([[*row[:-1], tokenizer.pad + 9] for row in rows])
    assert ((together - others).abs() > 1e-3).all(), "the last token itself must count"


def test_any_text_gets_a_number_in_reach(base, tokenizer):
    model = PreferenceModel(base, tokenizer).eval()
    torch.nn.init.normal_(model.heads.weight, std=0.1)
    odd = ["", "<|end|>", "�" * 400, "\ud7ff", "对不起" * 200, "<think>"]
    for scores in (model.score(odd, odd), model.harmless_score(odd, odd)):
        assert scores.shape == (6,) and scores.isfinite().all() and (scores.abs() <= 1).all()
    assert model.score([], []).shape == (0,)


def test_it_is_better_than_chance_on_unseen_wordings_and_says_so(trained):
    model, logged = trained
    assert model.figures["accuracy"] > 0.5 + 4 * (0.25 / 512) ** 0.5  # 0.588; false alarm 3e-5
    assert model.figures["harmless_accuracy"] > 0.8  # 0.75 would be "always safe"
    assert [row["step"] for row in logged] == [20, 40, 60, 80, 100, 100]
    assert logged[-1]["accuracy"] == model.figures["accuracy"] and logged[-1]["pairs"] == 3200


def test_scores_are_centred_on_the_validation_answers(trained):
    model, _ = trained
    rng = Random("preference validation")
    pairs = [draw_pair(rng, "validation", ("en",)) for _ in range(512)]
    questions = [p.question for p in pairs]
    chosen = model.score(questions, [p.chosen for p in pairs])
    scores = torch.cat([chosen, model.score(questions, [p.rejected for p in pairs])])
    assert abs(scores.mean()) < 0.1 and 0.3 < scores.std() < 0.6 and (scores.abs() < 1).all()


def test_training_leaves_the_base_alone_and_depends_on_the_seed_only(base, tokenizer):
    before = {name: value.clone() for name, value in base.state_dict().items()}
    a, b, c = (train_preference(base, tokenizer, seed, 3, "cpu", ("en",)) for seed in (0, 0, 1))
    assert all(torch.equal(before[name], value) for name, value in base.state_dict().items())
    assert torch.equal(a.heads.weight, b.heads.weight)
    assert not torch.equal(a.heads.weight, c.heads.weight)


def test_it_is_saved_and_loaded_whole(trained, tmp_path):
    model, _ = trained
    model.save(tmp_path / "p.pt")
    again = PreferenceModel.load(tmp_path / "p.pt")
    texts = ["Paris", "Rome is here", "抱歉，我不能这样做。"]
    assert torch.equal(model.score(texts, texts), again.score(texts, texts))
    assert again.figures == model.figures
    assert torch.equal(model.harmless_score(texts, texts), again.harmless_score(texts, texts))
    with pytest.raises(UserError, match="no preference model"):
        torch.save({"format": "minir1-1"}, tmp_path / "x.pt")
        PreferenceModel.load(tmp_path / "x.pt")


def test_a_judge_of_points_learns_a_rule_that_it_can_see(base, tokenizer):
    rng = Random(5)
    words = ["sun", "moon", "milk", "road"]
    drawn = [rng.choices(words, k=3) for _ in range(64 * 30)]
    examples = [(f"{a} {b}", f"<answer>{c}</answer><|end|>", c == "sun") for a, b, c in drawn]
    judge = train_points(base, tokenizer, examples, 0, "cpu", lr=3e-3)
    value = judge.harmless_score([q for q, *_ in examples[:200]], [r for _, r, _ in examples[:200]])
    assert all((v > 0) == good for v, (*_, good) in zip(value.tolist(), examples))


def test_validation_counts_against_the_true_label(base, tokenizer):
    """A model that always prefers the right answer agrees with the noisy labels less often."""
    model = PreferenceModel(base, tokenizer)
    rng = Random("preference validation")
    right = {}
    for _ in range(256):
        p = draw_pair(rng, "validation", ("en",))
        right[p.question] = right.get(p.question, set()) | {p.rejected if p.flipped else p.chosen}

    def raw(questions, answers):
        helpful = [float(a in right.get(q, ())) for q, a in zip(questions, answers)]
        return torch.tensor([[value, 0.0] for value in helpful])

    model.raw = raw
    figures = validate(model, ("en",), 256)
    assert figures["accuracy"] > 0.98 and 0.8 < figures["label_accuracy"] < 0.95


def test_the_learner_steps_it(base, tokenizer):
    model = PreferenceModel(Transformer(base.config), tokenizer)
    learner, rng = Learner(model), Random(6)
    pairs = [draw_pair(rng, "train", ("en",)) for _ in range(8)]
    points = [draw_point(rng, "train", ("en",)) for _ in range(4)]
    losses = []
    for _ in range(25):
        loss = preference_loss(model, pairs, points)
        losses.append(loss.item())
        learner.backward(loss)
        learner.step(3e-3)
    assert losses[0] == pytest.approx(2 * 0.6931, abs=1e-3)  # both heads begin at 0: log 2 each
    assert losses[-1] < 0.3
