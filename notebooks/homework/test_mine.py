"""The tests that your functions must pass: python -m pytest test_mine.py -k task1 (task2, ...)

`python grade.py` counts points.
"""

import random
from fractions import Fraction

import pytest
import torch

import adapters
import minir1
from minir1.checkpoint import load_checkpoint
from minir1.config import RLConfig
from minir1.grpo import Total
from minir1.grpo import advantages as real_advantages
from minir1.grpo import grpo_loss as real_loss
from minir1.model import token_logp
from minir1.sampler import Sampling
from minir1.sampler import sample as real_sample
from minir1.tasks.countdown import Countdown
from minir1.transcript import prompt

SHIPPED = adapters.Path(minir1.__file__).parent / "data" / "base-cpu.pt"


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- task 1: advantages


def test_task1_by_hand():
    adv_PG = adapters.advantages.advantages(torch.tensor([[1.0, 0.0], [1.0, 3.0]]))
    by_hand = torch.tensor([[0.7070, -0.7070], [-0.7071, 0.7071]])
    torch.testing.assert_close(adv_PG, by_hand, rtol=0, atol=2e-4)


def test_task1_equal_rewards_are_exact_zeros():
    assert (adapters.advantages.advantages(torch.full((3, 8), 0.1)) == 0).all()


def test_task1_as_the_package_and_the_argument_is_left_alone():
    for seed in range(20):
        reward_PG = normal(seed, 5, 8).round(decimals=1)
        kept = reward_PG.clone()
        adv_PG = adapters.advantages.advantages(reward_PG)
        torch.testing.assert_close(adv_PG, real_advantages(kept), rtol=1e-4, atol=1e-5)
        assert torch.equal(reward_PG, kept)


# ---------------------------------------------------------------- task 2: the loss


def batch(seed):
    """(logp, old logp, advantages, mask) of four responses of several lengths, padded."""
    mask_BT = torch.arange(6) < torch.tensor([[5], [2], [6], [3]])
    logp_BT = normal(seed, 4, 6) * 0.5 - 1
    old_BT = normal(seed + 1, 4, 6) * 0.5 - 1
    return logp_BT, old_BT, normal(seed + 2, 4), mask_BT


def mine(logp_BT, old_BT, adv_B, mask_BT):
    return adapters.loss.grpo_loss(logp_BT, old_BT, adv_B, mask_BT, 0.2, 0.28)


def test_task2_by_hand():
    one, everywhere = torch.ones(1), torch.ones(1, 1, dtype=torch.bool)
    cases = (  # ratio, advantage, loss
        (1.0, 2.0, -2.0),
        (2.0, 1.0, -1.28),
        (2.0, -1.0, 2.0),
        (0.5, 1.0, -0.5),
        (0.5, -1.0, 0.8),
    )
    for ratio, advantage, expected in cases:
        loss = mine(torch.tensor([[ratio]]).log(), torch.zeros(1, 1), advantage * one, everywhere)
        case = f"ratio {ratio}, advantage {advantage}"
        assert loss.item() == pytest.approx(expected, rel=1e-5), case


def test_task2_value_and_gradient_as_the_package():
    for seed in range(20):
        logp_BT, old_BT, adv_B, mask_BT = batch(seed)
        total = Total(int(mask_BT.sum()), 4)
        found = []
        for loss in (mine, lambda *a, total=total: real_loss(*a, total, RLConfig())[0]):
            leaf = logp_BT.clone().requires_grad_()
            value = loss(leaf, old_BT, adv_B, mask_BT)
            value.backward()
            found.append((value.detach(), leaf.grad))
        torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_task2_padding_reaches_neither_loss_nor_gradient():
    logp_BT, old_BT, adv_B, mask_BT = batch(7)
    value = mine(logp_BT, old_BT, adv_B, mask_BT)
    spoiled = logp_BT.masked_fill(~mask_BT, torch.inf).requires_grad_()
    loss = mine(spoiled, old_BT, adv_B, mask_BT)
    loss.backward()
    assert loss.item() == pytest.approx(value.item(), rel=1e-5)
    assert (spoiled.grad[~mask_BT] == 0).all() and spoiled.grad.isfinite().all()


# ---------------------------------------------------------------- task 3: the verifier

RIGHT = (
    "55 + 36 - 19 - 7", "(36 - 19 - 7) + 55", "55+36-19-7", " ((55)) + (36 - 19 - 7) ",
    "36 - (19 + 7 - 55)",
)
WRONG = (
    "", "65", "55 + 36 - 19", "55 + 36 - 19 - 7 + 0", "55 + 36 - 19 - 7 = 65",
    "55 + 36 - 19 - 7, 65", "(55 + 36 - 19 - 7) * 1", "055 + 36 - 19 - 7", "5 5 + 36 - 19 - 7",
    "55 + 36 - 19 - -7", "+55 + 36 - 19 - 7", "55 ** 1 + 36 - 19 - 7", "55 + 36 - 19 - 7)",
    "(55 + 36 - 19 - 7", "55 + 36 - 19 7", "(55 + 36 - 19 - 7) // 1", "55 + 36 - 19 - 7 # done",
    "５５ + 36 - 19 - 7", "()", "55 / (7 - 7) + 36 - 19", "__import__('os').getpid()",
    "9 ** 9 ** 9", "55 + 36 - 19 - 7\n", "1e9", "(" * 200, "36 + 19 + 7 + 3",
    "(" * 40 + "55 + 36 - 19 - 7" + ")" * 40, " " * 300 + "55 + 36 - 19 - 7",
)


def test_task3_right_answers_are_accepted():
    assert adapters.verifier.verify((5, 2), 10, "5 * 2")
    for answer in RIGHT:
        assert adapters.verifier.verify((19, 36, 55, 7), 65, answer) is True, answer


def test_task3_everything_else_is_false():
    assert adapters.verifier.verify((5, 2), 10, "5 + 2") is False
    assert adapters.verifier.verify((5, 5, 3), 3, "3 / (5 - 5)") is False
    for answer in WRONG:
        assert adapters.verifier.verify((19, 36, 55, 7), 65, answer) is False, answer


def test_task3_is_exact():
    assert adapters.verifier.verify((8, 3, 8, 3), 24, "8 / (3 - 8 / 3)") is True
    assert adapters.verifier.verify((7, 7, 3), 3, "7 / 7 * 3") is True
    assert adapters.verifier.verify((7, 2), 3, "7 / 2") is False


def test_task3_limits_and_foreign_digits():
    verify, sum_of = adapters.verifier.verify, "55 + 36 - 19 - 7"
    for depth, within in ((32, True), (33, False)):
        answer = "(" * depth + sum_of + ")" * depth
        assert verify((19, 36, 55, 7), 65, answer) is within, f"{depth} parentheses"
    for length, within in ((256, True), (257, False)):
        answer = sum_of + " " * (length - len(sum_of))
        assert verify((19, 36, 55, 7), 65, answer) is within, f"{length} characters"
    assert verify((19, 36, 55, 7), 65, "(" * 20 + "55" + ")" * 20 + " + (36 - 19 - 7)") is True
    deep = "(" * 32 + "{}" + ")" * 32
    assert verify((19, 36, 55, 7), 65, "36 - 19 - 7 + " + deep.format(55)) is True
    assert verify((7, 1), 7, "7 * " + deep.format(1)) is True
    assert verify((0, 7), 7, "0 + 7") is True
    assert verify((19, 36, 55, 7), 72, "(55 + 36 - 19 7") is False, "a number is no parenthesis"
    for answer in ("５ + ５", "5 + ²", "٥ + 5", "5 ? 5", "5 + 5?"):
        assert verify((5, 5), 10, answer) is False, answer


FORMS = ("{} + {}", "{} - {}", "{}*{}", "({}) / {}", "({} - {})", "{} / ({})")


def value_of(text: str) -> Fraction:
    exact = "".join(f"Fraction({c})" if c.isdigit() else c for c in text)
    return Fraction(eval(exact, {"Fraction": Fraction}))


def test_task3_as_the_package_on_four_thousand_texts():
    rng, right = random.Random("homework"), 0
    for _ in range(4000):
        numbers = tuple(rng.randint(1, 9) for _ in range(rng.randint(1, 4)))
        used = list(map(str, rng.sample(numbers, len(numbers)) if rng.random() < 0.9 else (1, 2)))
        text = used[0]
        for number in used[1:]:
            text = rng.choice(FORMS).format(text, number)
        if rng.random() < 0.3:
            place = rng.randrange(len(text) + 1)
            text = text[:place] + rng.choice("()+-*/ 0=.") + text[place + rng.randint(0, 1) :]
        try:
            target = int(value_of(text))
        except Exception:
            target = 5
        expected = Countdown(numbers, target).verify(text)
        right += expected
        assert adapters.verifier.verify(numbers, target, text) is expected, (numbers, target, text)
    assert right > 500


# ---------------------------------------------------------------- task 4: attention over a cache


def test_task4_entries_go_to_each_row_s_own_position():
    position = torch.tensor([[0, 1], [3, 4]])
    store = adapters.attention.write(torch.zeros(2, 6, 3), torch.ones(2, 2, 3), position)
    assert store[..., 0].tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0]]
    store = adapters.attention.write(store, torch.full((2, 1, 3), 5.0), torch.tensor([[1], [5]]))
    assert store[..., 2].tolist() == [[1, 5, 0, 0, 0, 0], [0, 0, 0, 1, 1, 5]]


def test_task4_attention_as_plain_loops():
    B, T, H, W, S, rank, scale = 2, 2, 3, 5, 6, 3, 0.4
    query, stored = normal(1, B, T, H, W), normal(2, B, S, W)
    position = torch.tensor([[2, 3], [4, 5]])
    expected = torch.zeros(B, T, H, rank)
    for b in range(B):
        for t in range(T):
            seen = stored[b, : position[b, t] + 1]
            for h in range(H):
                expected[b, t, h] = (scale * seen @ query[b, t, h]).softmax(0) @ seen[:, :rank]
    mixed = adapters.attention.attend(query, stored, position, rank, scale)
    torch.testing.assert_close(mixed, expected)


def test_task4_later_entries_do_not_matter():
    query, stored, position = normal(1, 1, 1, 2, 4), normal(2, 1, 6, 4), torch.tensor([[3]])
    before = adapters.attention.attend(query, stored, position, 2, 0.5)
    stored[:, 4:] = 1e4
    after = adapters.attention.attend(query, stored, position, 2, 0.5)
    torch.testing.assert_close(after, before)


def test_task4_the_model_says_the_same_with_your_cache():
    model, tokenizer = load_checkpoint(SHIPPED)
    questions = ("Make 94 from 17, 6, 8.", "Reach 97 with 5, 27, 14, 3, 25.")
    prompts = [tokenizer.encode(prompt(text)) for text in questions]
    greedy = Sampling(24, tokenizer.end_ids, temperature=0.0)
    expected = real_sample(model, prompts, 1, greedy)
    found = real_sample(adapters.plug_attention(model), prompts, 1, greedy)
    assert torch.equal(found.ids_BT, expected.ids_BT)
    torch.testing.assert_close(found.logp_BT, expected.logp_BT, rtol=1e-3, atol=1e-4)


# ---------------------------------------------------------------- task 5: the sampler


def test_task5_darts_hit_the_pieces():
    logits_BV = torch.tensor([[0.5, 0.25, 0.25]]).log().expand(5, -1)
    dart_B = torch.tensor([0.0, 0.49, 0.51, 0.74, 0.9999999])
    ids_B, logp_B = adapters.sampler.draw(logits_BV, dart_B)
    assert ids_B.tolist() == [0, 0, 1, 1, 2]
    torch.testing.assert_close(logp_B.exp(), torch.tensor([0.5, 0.5, 0.25, 0.25, 0.25]))


def test_task5_darts_beyond_the_pieces_and_before_the_first():
    last = torch.tensor([1 - 2**-24])  # the largest number below 1; rounded pieces may end before
    for tokens in range(3, 100):
        ids_B, logp_B = adapters.sampler.draw(torch.zeros(1, tokens), last)
        assert ids_B.tolist() == [tokens - 1]
        torch.testing.assert_close(logp_B.exp(), torch.tensor([1 / tokens]))
    never = torch.tensor([[-torch.inf, 0.0, 0.0]])
    ids_B, _ = adapters.sampler.draw(never, torch.zeros(1))
    assert ids_B.tolist() == [1], "a token that has no piece"


def test_task5_shares_of_many_draws():
    logits_V = normal(3, 6)
    dart_B = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    ids_B, _ = adapters.sampler.draw(logits_V.expand(20_000, -1), dart_B)
    share_V = torch.bincount(ids_B, minlength=6) / 20_000
    # 0.02 is more than 5 standard errors
    torch.testing.assert_close(share_V, logits_V.softmax(-1), rtol=0, atol=0.02)


def scripted(script_BT):
    """Logits for the first token, a step that makes each row say its script, and its calls."""
    calls = []

    def logits(t):
        return torch.nn.functional.one_hot(script_BT[:, t], 8).float() * 50

    def step(ids_B):
        calls.append(ids_B.tolist())
        return logits(len(calls))

    return logits(0), step, calls


def test_task5_stops_and_limits():
    script_BT = torch.tensor([[1, 2, 0, 5, 5, 5], [3, 3, 3, 3, 3, 3], [0, 4, 4, 4, 4, 4]])
    first, step, calls = scripted(script_BT)
    dart_BT = torch.full((3, 4), 0.5)
    written = adapters.sampler.generate(first, step, dart_BT, 0)
    ids_BT, logp_BT, length_B, stopped_B = written
    assert ids_BT.tolist() == [[1, 2, 0, 0], [3, 3, 3, 3], [0, 0, 0, 0]]
    assert length_B.tolist() == [3, 4, 1] and stopped_B.tolist() == [True, False, True]
    assert (logp_BT[0, 3:] == 0).all() and (logp_BT[2, 1:] == 0).all() and logp_BT.shape == (3, 4)
    assert len(calls) == 3, "no step after the last token"


def test_task5_what_comes_after_the_stop_changes_nothing():
    script_BT = torch.tensor([[1, 3, 3, 1, 3], [2, 1, 4, 2, 3], [4, 2, 1, 5, 7]])
    first, step, _ = scripted(script_BT)
    written = adapters.sampler.generate(first, step, torch.full((3, 5), 0.5), 3)
    ids_BT, logp_BT, length_B, stopped_B = written
    assert ids_BT.tolist() == [[1, 3, 3, 3, 3], [2, 1, 4, 2, 3], [4, 2, 1, 5, 7]]
    assert length_B.tolist() == [2, 5, 5] and stopped_B.tolist() == [True, True, False]
    assert (logp_BT[0, 2:] == 0).all()


def test_task5_ends_when_all_have_stopped():
    first, step, calls = scripted(torch.tensor([[1, 0, 5, 5], [0, 5, 5, 5]]))
    length_B = adapters.sampler.generate(first, step, torch.full((2, 4), 0.5), 0)[2]
    assert length_B.tolist() == [2, 1] and len(calls) == 1


def test_task5_log_probs_are_the_trainer_s():
    model, tokenizer = load_checkpoint(SHIPPED)
    ids = tokenizer.encode(prompt("Make 94 from 17, 6, 8."))
    settings = Sampling(32, tokenizer.end_ids)
    samples = adapters.sample(model, [ids], 8, settings)
    whole_BT = torch.cat([torch.tensor([ids]).expand(8, -1), samples.ids_BT], dim=1)
    with torch.no_grad():
        logp_BT = token_logp(model, whole_BT)[0][:, len(ids) - 1 :]
    inside_BT = torch.arange(32) < samples.length_B[:, None]
    torch.testing.assert_close(samples.logp_BT[inside_BT], logp_BT[inside_BT], rtol=1e-3, atol=1e-4)
    assert len({tuple(row) for row in samples.ids_BT.tolist()}) > 1
