"""The calculator: only arithmetic is computed, every fault gets an answer, and what is forced is
never learned.
"""

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
import torch

from minir1.checkpoint import read
from minir1.config import ModelConfig, RLConfig
from minir1.corpus.mixture import sample_text
from minir1.experiments.calculator import rollout as calculator
from minir1.experiments.calculator.command import outcome, questions
from minir1.experiments.calculator.documents import Document, batches, document, encode
from minir1.experiments.calculator.rollout import (
    ERRORS,
    calls_in,
    judge_by_rule,
    pause_ids,
    pending,
    reply,
    roll_out_with_calculator,
    without_calls,
)
from minir1.fast.engine import Engine
from minir1.grpo import advantages, grpo_loss, update
from minir1.model import Transformer, token_logp
from minir1.presets import PRESETS
from minir1.rollout import roll_out, to_batch
from minir1.sampler import UNNAMED, Samples, Sampling, Stream, sample
from minir1.supervised import Learner
from minir1.tasks.arithmetic import Arithmetic
from minir1.tasks.countdown import evaluate
from minir1.tokenizer import Tokenizer
from minir1.transcript import parse, prompt

PRODUCT = Arithmetic("What is 12345 times 678?", "8369910")
ZH = replace(PRODUCT, text="12345乘678是多少？", lang="zh")


@pytest.fixture(scope="module")
def tokenizer():
    rng = Random(0)
    texts = sample_text(PRESETS["smoke"].corpus, 0, 300)
    texts += [document(rng, "en").response for _ in range(50)]
    return Tokenizer.train(texts, 320)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=320, width=32, layers=2, heads=2, experts=0, dense_width=64)
    return Transformer(config).eval()


class Script:
    """A sampler that writes given texts, row by row, and stops where the real one would.

    Notes what it was asked.
    """

    def __init__(self, tokenizer: Tokenizer, *texts: str):
        self.tokenizer = tokenizer
        self.left = [tokenizer.encode(text) for text in texts]
        self.asked = []

    def __call__(self, model, prompts, group, settings, stream=UNNAMED) -> Samples:
        rows = [p for p in prompts for _ in range(group)]
        self.asked.append([self.tokenizer.decode(p) for p in rows])
        if len(self.asked) == 1:
            self.row_of = {i: i for i in range(len(rows))}
            self.prompts = [len(p) for p in rows]
        out, alive = [], []
        for place in range(len(rows)):
            index = self.row_of[place]
            ids = self.left[index]
            stops = [i for i, token in enumerate(ids) if token in settings.stop_ids]
            stop = min([*stops, len(ids) - 1, settings.max_tokens - 1])
            out.append(ids[: stop + 1])
            self.left[index] = ids[stop + 1 :]
            if self.left[index]:
                alive.append(index)
        self.row_of = dict(enumerate(alive))
        T = settings.max_tokens
        ids_BT = torch.tensor([row + [settings.stop_ids[0]] * (T - len(row)) for row in out])
        logp_BT = torch.tensor([[-1.0] * len(row) + [0.0] * (T - len(row)) for row in out])
        stopped = torch.tensor([row[-1] in settings.stop_ids for row in out])
        return Samples(ids_BT, logp_BT, torch.tensor([len(row) for row in out]), stopped)


def run(tokenizer, model, *texts, problems=(PRODUCT,), group=1, most=200, **more):
    script = Script(tokenizer, *texts)
    settings = Sampling(most, (tokenizer.end,))
    arguments = (list(problems), group, settings, UNNAMED, script)
    return roll_out_with_calculator(model, tokenizer, *arguments, **more), script


# ---------------------------------------------------------------- replies


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("12345 * 678", "8369910"),
        ("2 - 9 + 3", "-4"),
        ("(9 + 8) * 2", "34"),
        ("7 / 2", "7/2"),
        ("6 / 3", "2"),
    ],
)
def test_the_calculator_is_exact(expression, said):
    assert reply(expression, "en") == said


CODE = ["__import__('os').system('x')", "9**9**9**9", "1 if 1 else 2", "print(1)"]
CODE += ["", "3 *", "1 / 0", "0x10", "1e9", "５ + 1"]


@pytest.mark.parametrize("code", [*CODE, "1" * 999, "(" * 99 + "1" + ")" * 99])
def test_nothing_but_arithmetic_is_evaluated(code, monkeypatch):
    def forbidden(*arguments, **named):
        raise AssertionError("code was evaluated")

    for name in ("eval", "exec", "compile", "__import__"):
        monkeypatch.setattr(f"builtins.{name}", forbidden)
    for lang in ("en", "zh"):
        said = reply(code, lang)
        monkeypatch.undo() if lang == "zh" else None
        assert said == ERRORS["expression"][lang]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<think><tool>2 * 3</", "6"),
        ("<think><tool>2 * 3</tool>6\n<tool>6 + 1</", "7"),
        ("<think><tool>2 * * 3</", ERRORS["expression"]["en"]),
        ("<think>2 * 3</", ERRORS["closed"]["en"]),
        ("<think><tool>2 * 3</tool>6\n</", ERRORS["closed"]["en"]),
        ("<tool>2 * 3</", ERRORS["outside"]["en"]),
        ("<think>a</think><tool>2 * 3</", ERRORS["outside"]["en"]),
        ("<think>1/", None),
        ("<think><tool>2 * 3", None),
    ],
)
def test_what_a_pause_is_answered_with(text, said):
    assert pending(text, "en", 0, 4) == said


def test_too_many_calls_are_told():
    assert pending("<think><tool>2 * 3</", "zh", 3, 3) == ERRORS["many"]["zh"]
    assert pending("<think><tool>2 * 3</", "zh", 2, 3) == "6"


def test_in_the_shipped_tokenizer_only_the_slash_of_a_closing_tag_pauses():
    base = Path(__file__).parent.parent / "minir1/data/base-cpu.pt"
    tokenizer = Tokenizer.from_text(read(base)["tokenizer"])
    pauses = pause_ids(tokenizer)
    assert tokenizer.encode("</tool>")[1] in pauses
    quiet = "<think><tool>(8 / 4) * 3 - 1</think>So 5.<answer>5</answer><|end|>"
    assert not set(tokenizer.encode(quiet)) & set(pauses)


# ---------------------------------------------------------------- roll-outs


def test_a_call_is_run_and_its_output_forced(tokenizer, model):
    called, answered = "<think><tool>12345 * 678</", "</think><answer>8369910</answer><|end|>"
    rollouts, script = run(tokenizer, model, called + answered)
    replied = f"{called}tool>8369910\n"
    assert rollouts.texts == [replied + answered]
    assert script.asked[1][0] == prompt(PRODUCT.text) + replied
    ids, actions = rollouts.response_ids[0], rollouts.actions[0]
    forced = [i for i, action in zip(ids, actions) if not action]
    assert tokenizer.decode(forced) == "tool>8369910\n"
    assert rollouts.logp[0].tolist() == [-1.0 if action else 0.0 for action in actions]
    assert rollouts.stopped == [True] and rollouts.rewards[0].accuracy == 1.0


def test_a_malformed_call_gets_its_error_and_the_run_goes_on(tokenizer, model):
    said = "<think><tool>12345 678</<tool>12345 * 678</</think><answer>8369910</answer><|end|>"
    rollouts, _ = run(tokenizer, model, said, said, problems=(PRODUCT, ZH))
    assert [calls_in(text) for text in rollouts.texts] == [
        [("12345 678", "error: not an expression"), ("12345 * 678", "8369910")],
        [("12345 678", "错误：不是算式"), ("12345 * 678", "8369910")],
    ]
    assert [reward.accuracy for reward in rollouts.rewards] == [1.0, 1.0]


def test_rows_go_their_own_ways_and_come_back_in_order(tokenizer, model):
    texts = [
        "<think><tool>1 + 1</<tool>2 + 2</</think><answer>4</answer><|end|>",
        "<answer>8369910</answer><|end|>",
        "<think><tool>3 + 3</</think><answer>6</answer><|end|>",
        "<think>1/2 no call</think><answer>5</answer><|end|>",
    ]
    rollouts, script = run(tokenizer, model, *texts, problems=(PRODUCT, ZH), group=2)
    assert [parse(text).answer for text in rollouts.texts] == ["4", "8369910", "6", "5"]
    # a slash that ends no call costs a pause and no more
    assert [len(asked) for asked in script.asked] == [4, 3, 1]
    assert rollouts.texts[3] == texts[3] and all(rollouts.actions[3])
    assert [reward.accuracy for reward in rollouts.rewards] == [0.0, 1.0, 0.0, 0.0]


def test_the_budget_counts_forced_tokens_and_cuts_them(tokenizer, model):
    said = "<think><tool>12345 * 678</</think><answer>8369910</answer><|end|>"
    first = len(tokenizer.encode("<think><tool>12345 * 678</"))
    for most in range(first, first + 40):
        rollouts, _ = run(tokenizer, model, said, most=most)
        ids = rollouts.response_ids[0]
        assert len(ids) <= most and len(ids) == len(rollouts.logp[0]) == len(rollouts.actions[0])
        assert rollouts.stopped[0] == rollouts.texts[0].endswith("<|end|>")
        assert rollouts.stopped[0] or len(ids) == most


def test_calls_beyond_the_limit_are_answered_by_an_error_until_the_budget_ends(tokenizer, model):
    rollouts, _ = run(tokenizer, model, "<think>" + "<tool>1 + 1</" * 40, most=160, most_calls=2)
    outputs = [output for _, output in calls_in(rollouts.texts[0])]
    assert outputs[:2] == ["2", "2"] and len(outputs) > 4
    assert set(outputs[2:-1]) == {"error: no calls are left"}


def test_banned_tokens_are_refused(tokenizer, model):
    settings = Sampling(8, (tokenizer.end,), ban_ids=(3,))
    with pytest.raises(ValueError, match="banned"):
        roll_out_with_calculator(model, tokenizer, [PRODUCT], 1, settings)


@pytest.mark.parametrize("fast", [False, True])
def test_without_pauses_it_is_the_cores_roll_out(tokenizer, model, fast, monkeypatch):
    monkeypatch.setattr(calculator, "pause_ids", lambda tokenizer: ())
    settings = Sampling(40, (tokenizer.end,))
    sampler = Engine(model, torch.float32, 16, 40).sample if fast else sample

    def rolled(function):
        return function(model, tokenizer, [PRODUCT, ZH], 4, settings, Stream.of(3), sampler)

    a, b = rolled(roll_out), rolled(roll_out_with_calculator)
    assert a.response_ids == b.response_ids and a.texts == b.texts and a.stopped == b.stopped
    assert all(torch.allclose(x, y, atol=1e-6) for x, y in zip(a.logp, b.logp))
    assert all(map(all, b.actions))


def test_the_sampled_log_probs_are_the_models_own_given_the_forced_tokens(tokenizer, model):
    """A model made to write calls.

    Every action's log-prob, also behind an output, is what the trainer finds.
    """
    prefix = "<think><tool>12 * 3"
    settings, slash = Sampling(60, (tokenizer.end,)), tokenizer.encode("</")

    def pushed(model, prompts, group, settings, stream=UNNAMED):
        """The first round writes `</` at once; the log-probs of these two are not compared."""
        if pushed.first:
            pushed.first, B = False, len(prompts) * group
            ids_BT = torch.tensor([slash + [settings.stop_ids[0]] * (settings.max_tokens - 2)] * B)
            stopped_B = torch.ones(B, dtype=torch.bool)
            return Samples(ids_BT, torch.zeros(ids_BT.shape), torch.full((B,), 2), stopped_B)
        return sample(model, prompts, group, settings, stream)

    pushed.first = True
    arguments = ([PRODUCT], 4, settings, UNNAMED, pushed)
    rollouts = roll_out_with_calculator(model, tokenizer, *arguments, prefix=prefix)
    assert all("</tool>36\n" in text for text in rollouts.texts)
    batch = to_batch(rollouts, tokenizer.pad, "cpu")
    logp_BT, _ = token_logp(model, batch.ids_BT)
    mask_BT = batch.mask_BT.clone()
    first = len(rollouts.prompt_ids[0]) - 1
    mask_BT[:, first : first + 2] = False
    assert mask_BT.sum() > 50
    assert torch.allclose(logp_BT[mask_BT], batch.sampler_logp_BT[mask_BT], atol=1e-4)


# ---------------------------------------------------------------- what is learned


def test_gradients_come_from_actions_only(tokenizer, model):
    """Forced tokens may say anything as targets: loss and mask leave them out, and count only what
    was sampled.
    """
    said = "<think><tool>12345 * 678</</think><answer>8369910</answer><|end|>"
    rollouts, _ = run(tokenizer, model, said, "<answer>1</answer><|end|>", group=2)
    batch = to_batch(rollouts, tokenizer.pad, "cpu")
    assert int(batch.mask_BT.sum()) == sum(map(sum, rollouts.actions))
    logp_BT, _ = token_logp(model, batch.ids_BT)
    adv_B, total = torch.tensor([1.0, -1.0]), total_of(batch)
    loss, _ = grpo_loss(logp_BT, batch.sampler_logp_BT, adv_B, batch.mask_BT, total, RLConfig())
    (gradient_BT,) = torch.autograd.grad(loss, logp_BT, retain_graph=True)
    forced = ~torch.tensor(rollouts.actions[0])
    first = len(rollouts.prompt_ids[0]) - 1
    assert forced.any() and (gradient_BT[0, first : first + len(forced)][forced] == 0).all()
    assert (gradient_BT[0, first : first + len(forced)][~forced] != 0).all()
    # flip the target of a forced token, its context left as it is
    last = first + int(forced.nonzero().max())
    flipped_BT = logp_BT.clone()
    flipped_BT[0, last] -= 5.0
    again, _ = grpo_loss(flipped_BT, batch.sampler_logp_BT, adv_B, batch.mask_BT, total, RLConfig())
    assert torch.equal(loss, again)


class Counts(NamedTuple):
    tokens: int
    responses: int


def total_of(batch) -> Counts:
    return Counts(int(batch.mask_BT.sum()), len(batch.mask_BT))


def test_grpo_takes_such_rollouts(tokenizer, model):
    said = "<think><tool>12345 * 678</</think><answer>8369910</answer><|end|>"
    rollouts, _ = run(tokenizer, model, said, "<answer>1</answer><|end|>", group=2)
    twin = Transformer(model.config)
    twin.load_state_dict(model.state_dict())
    config = RLConfig(group_size=2, minibatches=1, recompute=True)
    adv_B = advantages(torch.tensor([[r.total(config) for r in rollouts.rewards]])).flatten()
    batch = to_batch(rollouts, tokenizer.pad, "cpu")
    stats = update(twin, Learner(twin), batch, adv_B, config, 1e-3)
    assert stats["grad_norm"] > 0 and stats["signal"] == 1.0


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_documents_are_right_and_encoded_as_a_roll_out_writes_them(tokenizer, model, lang):
    rng, broken, several, strange = Random(1), 0, 0, 0
    for _ in range(1000):
        d = document(rng, lang)
        ids, learned = encode(d, tokenizer)
        assert ids == tokenizer.encode(d.response) and len(ids) == len(learned)
        calls = calls_in(d.response)
        assert all(output == reply(expression, lang) for expression, output in calls)
        wrong = [e for e, _ in calls if evaluate(e) is None]
        broken, several = broken + len(wrong), several + (len(calls) - len(wrong) > 1)
        # a broken call of another question
        strange += bool(wrong) and calls[1][0].split()[0] not in wrong[0]
        assert len(wrong) <= 1 and calls[-1][1] in d.response.split("<answer>")[1]
        unlearned = [i for i, mark in zip(ids, learned) if not mark and i < 256]
        quiet = "".join(tokenizer.decode([i]) for i in unlearned)
        assert quiet.count(">") >= len(calls)
        text = "".join(d.response[a:b] for a, b in d.forced)
        assert all(f"tool>{output}\n" in text for _, output in calls)
        assert all(expression in text for expression in wrong)
    assert 60 <= broken <= 140 and several > 0 and 0.3 < strange / broken < 0.6


def test_only_what_the_model_writes_is_learned(tokenizer):
    response = "<think><tool>3 * 5</tool>15\n</think>So 15.<answer>15</answer><|end|>"
    d = Document("Q", response, [(20, 28)])
    assert d.response[20:28] == "tool>15\n"
    ids_BT, mask_BT = next(batches([d], tokenizer, 1, 0, "cpu"))
    learned = tokenizer.decode(ids_BT[0, 1:][mask_BT[0]].tolist())
    assert learned == d.response.replace("tool>15\n", "")


def test_words_of_calls_are_no_words_of_a_language():
    text = "<think>算<tool>3 * 5</tool>15\n</think>答案是15。<answer>15</answer><|end|>"
    problem = Arithmetic("3乘5是多少？", "15", "zh")
    assert without_calls(text) == "<think>算</think>答案是15。<answer>15</answer><|end|>"
    assert judge_by_rule(problem, text) == (1.0, 1.0, 1.0)


def test_the_measurement_counts_calls_errors_and_what_stayed_open(tokenizer, model):
    texts = [
        "<think><tool>12345 * 678</</think><answer>8369910</answer><|end|>",
        "<think><tool>12345 678</</think><answer>1</answer><|end|>",
        "<think><tool>12345 * 678</think><answer>1</answer><|end|>",
        "<answer>1</answer><|end|>",
    ]
    rollouts, _ = run(tokenizer, model, *texts, group=4)
    found = outcome([rollouts])
    shares = [found[name] for name in ("accuracy", "calls", "errors", "unclosed")]
    assert found["n"] == 4 and shares == [0.25, 0.5, 0.5, 0.25]


def test_held_out_questions_are_held_out():
    rng = Random(2)
    asked = questions("5dx", ("en", "zh"), "test", 50)
    assert {p.split() for p in asked} == {"test"} and {p.lang for p in asked} == {"en", "zh"}
    learned = {document(rng, "en", ("1dc",)).question for _ in range(400)}
    assert not {p.text for p in questions("1dc", ("en",), "test", 200)} & learned
