"""GRPO and its family: the numbers by hand, the closed forms token by token, the update against a
slow one.

Specifications are written here in plain Python, with their derivatives, and share no code with the
package.
"""

import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minir1 import grpo
from minir1.config import ModelConfig, RLConfig
from minir1.fast.device import Device, HalfLearner
from minir1.grpo import (
    Total,
    advantages,
    average,
    grpo_loss,
    k3,
    learning_rate,
    micro_batches,
    score_tokens,
    update,
)
from minir1.model import Transformer, token_logp
from minir1.rewards import Reward
from minir1.rollout import Batch, Rollouts, to_batch
from minir1.run.phases import Parts
from minir1.run.progress import entropy
from minir1.sampler import Sampling, Stream, sample
from minir1.supervised import Learner
from minir1.tasks.countdown import Countdown
from minir1.variants.losses import LOSSES, cispo_loss, dr_grpo_loss, gspo_loss
from train_zero import reinforce

torch.set_num_threads(1)

STOP, PAD, V = 1, 0, 24
TINY = ModelConfig(
    vocab_size=V, width=16, layers=2, heads=2, kv_rank=8, nope_width=4, rope_width=4, value_width=4,
    dense_width=24, experts=4, top_k=2, expert_width=8, positions=64, init_std=0.2,
)


def tiny(seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(TINY)


def rollouts_by_hand(prompts, responses, group: int, rewards=()) -> Rollouts:
    logp = [
        -torch.rand(len(r), generator=torch.Generator().manual_seed(i))
        for i, r in enumerate(responses)
    ]
    return Rollouts(
        [Countdown((3, 5), 8)] * len(prompts),
        group,
        prompts,
        responses,
        logp,
        [],
        [],
        list(rewards),
    )


def random_rollouts(seed: int, prompts: int = 4, group: int = 4) -> Rollouts:
    """Prompts and responses of many lengths; most responses end in the stop token, some were cut
    off."""
    g = torch.Generator().manual_seed(seed)

    def ids(low, high):
        length = int(torch.randint(low, high, (), generator=g))
        return torch.randint(2, V, (length,), generator=g).tolist()

    responses = [ids(1, 14) + ([STOP] if row % 5 else []) for row in range(prompts * group)]
    return rollouts_by_hand([ids(2, 7) for _ in range(prompts)], responses, group)


def random_batch(seed: int, temperature: float = 1.0) -> Batch:
    """Random rollouts as tensors, with a sampler's log-probs a little off the model's own, as in
    another precision."""
    batch, model = to_batch(random_rollouts(seed), PAD, "cpu"), tiny()
    with torch.no_grad():
        logp_BT, _ = token_logp(model, batch.ids_BT, temperature)
    noise_BT = 0.3 * torch.randn(logp_BT.shape, generator=torch.Generator().manual_seed(seed))
    return replace(batch, sampler_logp_BT=(logp_BT + noise_BT) * batch.mask_BT)


ADV = torch.tensor(
    [1.5, -0.5, -0.5, -0.5, 0.0, 0.0, 0.0, 0.0, 0.9, -0.9, 0.9, -0.9, -1.5, 0.5, 0.0, 1.0]
)  # group 1: no signal


class Descent(Learner):
    """Plain gradient descent that keeps what it was given: Adam's first steps would show little but
    signs."""

    def __init__(self, model):
        super().__init__(model, clip=math.inf)
        self.seen, self.lrs = [], []

    def step(self, lr):
        self.lrs.append(lr)
        self.seen.append([p.grad.clone() for p in self.parameters])
        with torch.no_grad():
            for p in self.parameters:
                p -= lr * p.grad
                p.grad = None
        return torch.stack([g.norm() for g in self.seen[-1]]).norm()


# ---------------------------------------------------------------- advantages


def test_advantages_by_hand():
    # [1,0,0,1]: mean 1/2, squared deviations 4 x 1/4, std (ddof 1) = sqrt(1/3) = 0.5773503
    # [1.1,.1,.1,.1]: mean 0.35, deviations .75, -.25 (3x), squares .5625 + 3 x .0625 = 0.75, std =
    # sqrt(.75/3) = 0.5
    reward_PG = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.1, 0.1, 0.1, 0.1]], dtype=torch.float64)
    high = 0.5 / (math.sqrt(1 / 3) + 1e-4)
    expected = torch.tensor(
        [[high, -high, -high, high], [0.75 / 0.5001, *[-0.25 / 0.5001] * 3]], dtype=torch.float64
    )
    torch.testing.assert_close(advantages(reward_PG), expected, rtol=1e-9, atol=1e-9)
    assert high == pytest.approx(0.8658755, abs=1e-6)  # with ddof 0 it would be 0.9998
    centred = torch.tensor(
        [[0.5, -0.5, -0.5, 0.5], [0.75, -0.25, -0.25, -0.25]], dtype=torch.float64
    )
    torch.testing.assert_close(advantages(reward_PG, "none"), centred, rtol=1e-9, atol=1e-9)


def test_two_responses_are_enough_for_an_advantage():
    # mean 1/2, std (ddof 1) = sqrt(1/2)
    expected = 0.5 / (math.sqrt(0.5) + 1e-4)
    torch.testing.assert_close(
        advantages(torch.tensor([[1.0, 0.0]])), torch.tensor([[expected, -expected]])
    )


@pytest.mark.parametrize("scale", ["group", "none"])
def test_equal_rewards_have_exactly_no_advantage(scale):
    assert (advantages(torch.ones(3, 8), scale) == 0).all()
    assert (advantages(torch.zeros(3, 8), scale) == 0).all()


@pytest.mark.parametrize("scale", ["group", "none"])
@pytest.mark.parametrize("reward", [0.1, 0.3, 1.1, 1.0 + 1 / 3])
def test_equal_rewards_that_are_no_binary_fractions_have_exactly_no_advantage(reward, scale):
    """Format reward alone is 0.1: the mean of equal float32 numbers may be off by one bit, and /
    1e-4 makes that visible."""
    for group in range(2, 65):
        for prompts in (1, 4, 32):
            assert (advantages(torch.full((prompts, group), reward), scale) == 0).all()


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 0.1, 1.0, 1.1]), min_size=4, max_size=4),
        min_size=1,
        max_size=5,
    ),
    st.floats(-3, 3),
)
def test_advantages_sum_to_zero_keep_the_order_and_ignore_shifts(rewards, shift):
    reward_PG = torch.tensor(rewards, dtype=torch.float64)
    adv_PG = advantages(reward_PG)
    assert adv_PG.sum(1).abs().max() < 1e-9
    torch.testing.assert_close(advantages(reward_PG + shift), adv_PG, rtol=1e-6, atol=1e-6)
    better = reward_PG[:, :, None] > reward_PG[:, None] + 1e-6
    assert (adv_PG[:, :, None] > adv_PG[:, None])[better].all()


# ---------------------------------------------------------------- the KL estimate


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-20, 0), st.floats(-20, 0)), min_size=1, max_size=20))
def test_k3_is_never_negative_and_zero_at_equality(pairs):
    logp, ref = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    assert (k3(logp, ref) >= -1e-12 * ref.sub(logp).exp()).all()
    assert (k3(logp, logp) == 0).all()


def test_k3_by_hand():
    # reference twice as likely: 2 - ln 2 - 1 = 0.3068528; half as likely: 0.5 + ln 2 - 1 =
    # 0.1931472
    value = k3(torch.tensor([0.25, 0.5]).log(), torch.tensor([0.5, 0.25]).log())
    torch.testing.assert_close(value, torch.tensor([1 - math.log(2), math.log(2) - 0.5]))


def test_k3_is_an_unbiased_estimate_of_the_kl_divergence_from_policy_to_reference():
    """False alarm: a mean more than 5 standard errors off, 6e-7 (and the seed is fixed)."""
    g = torch.Generator().manual_seed(0)
    policy, reference = (
        torch.tensor([0.5, 0.3, 0.15, 0.05]).double(),
        torch.tensor([0.1, 0.3, 0.2, 0.4]).double(),
    )
    exact = (policy * (policy / reference).log()).sum()
    reverse = (reference * (reference / policy).log()).sum()
    draw = torch.multinomial(policy, 400_000, replacement=True, generator=g)
    estimate = k3(policy.log()[draw], reference.log()[draw])
    error = estimate.std() / len(draw) ** 0.5
    assert (estimate.mean() - exact).abs() < 5 * error
    assert (estimate.mean() - reverse).abs() > 20 * error  # the test tells the two directions apart


@pytest.mark.parametrize(("name", "direction"), [("grpo", 0), ("grpo_reverse_kl", 1)])
def test_which_kl_a_loss_follows(name, direction):
    """The mean gradient on the policy's own samples, against both KLs' exact gradients."""
    g = torch.Generator().manual_seed(3)
    logits = torch.randn(6, generator=g, dtype=torch.float64).mul(1.5).requires_grad_()
    ref = torch.randn(6, generator=g, dtype=torch.float64).mul(1.5).log_softmax(0)
    logp, policy = logits.log_softmax(0), logits.softmax(0).detach()
    forward = (ref.exp() * (ref - logp)).sum()  # KL(reference | policy)
    reverse = (logp.exp() * (logp - ref)).sum()  # KL(policy | reference)
    exact = [torch.autograd.grad(kl, logits, retain_graph=True)[0] for kl in (forward, reverse)]
    config, mean = RLConfig(kl=1.0), 0.0
    for i in range(6):  # each token alone, weighted by its probability: the exact mean
        row, other = logp[None, i : i + 1], ref[None, i : i + 1]
        case = (row, row.detach(), torch.zeros(1), torch.ones(1, 1) > 0, Total(1, 1), config)
        mean = mean + policy[i] * LOSSES[name](*case, other)[0]
    (found,) = torch.autograd.grad(mean, logits)
    torch.testing.assert_close(found, exact[direction])
    assert torch.cosine_similarity(exact[0], exact[1], dim=0) < 0.99


# ---------------------------------------------------------------- the losses


def specification(name, logp, old, adv, mask, total, c, ref=None):
    """TRL's closed form, one token after the other: (loss, d loss / d logp, share clipped)."""
    loss, gradient, cut = 0.0, [[0.0] * len(row) for row in logp], 0.0
    for b in range(len(logp)):
        own = [t for t in range(len(logp[b])) if mask[b][t]]
        sequence = math.exp(sum(logp[b][t] - old[b][t] for t in own) / len(own))
        weight = {
            "grpo": 1 / total.tokens if c.average == "token" else 1 / (len(own) * total.responses),
            "dapo": 1 / total.tokens,
            "dr_grpo": 1 / (total.responses * c.max_tokens),
            "gspo": 1 / (len(own) * total.responses),
            "cispo": 1 / total.tokens,
        }[name.removesuffix("_reverse_kl")]
        for t in own:
            r = sequence if name == "gspo" else math.exp(logp[b][t] - old[b][t])
            if name == "cispo":
                value, slope = -min(r, 5.0) * adv[b] * logp[b][t], -min(r, 5.0) * adv[b]
                clipped = r > 5.0
            else:
                value = -min(r * adv[b], min(max(r, 1 - c.clip_low), 1 + c.clip_high) * adv[b])
                clipped = (adv[b] > 0 and r > 1 + c.clip_high) or (
                    adv[b] < 0 and r < 1 - c.clip_low
                )
                slope = (
                    0.0 if clipped else -r * adv[b]
                )  # gspo: len(own) equal terms, each with d sequence / d logp = r / len(own)
            if ref is not None:
                d = ref[b][t] - logp[b][t]
                if name == "grpo_reverse_kl":
                    value, slope = value + c.kl * d * d / 2, slope - c.kl * d
                else:
                    value += c.kl * (math.exp(d) - d - 1)
                    slope += c.kl * (1 - math.exp(d))
            loss, gradient[b][t] = loss + weight * value, weight * slope
            cut += clipped / (len(own) * total.responses if name == "gspo" else total.tokens)
    return loss, gradient, cut


def random_case(seed: int, B: int = 6, T: int = 9):
    """Ratios on both sides of both bounds, and beyond CISPO's cap; masks that begin late and end
    early."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    old, adv = -1 - draw(B, T).abs(), draw(B)
    logp, ref = old + 0.8 * draw(B, T), old + 0.5 * draw(B, T)
    first = torch.randint(0, 4, (B, 1), generator=g)
    position = torch.arange(T)
    mask = (position >= first) & (position < first + torch.randint(1, T - 3, (B, 1), generator=g))
    return logp.requires_grad_(), old, adv, mask, ref


SETTINGS = [
    RLConfig(kl=0.3, max_tokens=11),
    RLConfig(average="response", clip_low=0.1, clip_high=0.6, kl=0.05),
]


@pytest.mark.parametrize("c", SETTINGS, ids=["token", "response"])
@pytest.mark.parametrize("penalised", [False, True], ids=["plain", "kl"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_equal_their_closed_forms_in_value_and_gradient(name, penalised, c):
    clipped = 0.0
    for seed in range(12):
        logp, old, adv, mask, ref = random_case(seed)
        total = Total(int(mask.sum()) + 13, len(adv) + 2)  # as if there were other micro-batches
        loss, stats = LOSSES[name](logp, old, adv, mask, total, c, ref if penalised else None)
        loss.backward()
        lists = [x.tolist() for x in (logp, old, adv, mask)]
        value, gradient, cut = specification(
            name, *lists, total, c, ref.tolist() if penalised else None
        )
        assert loss.item() == pytest.approx(value, abs=1e-6, rel=1e-6)
        torch.testing.assert_close(
            logp.grad, torch.tensor(gradient, dtype=torch.float64), rtol=1e-6, atol=1e-6
        )
        assert float(stats["clip_fraction"]) == pytest.approx(cut, abs=1e-6)
        clipped += cut
    assert clipped > 0  # otherwise the comparison would have been blind


def by_hand(dtype=torch.float64):
    """Ratios 1.5, 1, 0.5 with advantage 1, and 1.5, 0.5, (padding) with advantage -1; old log-probs
    all -1."""
    old = torch.full((2, 3), -1.0, dtype=dtype)
    logp = (
        old + torch.tensor([[1.5, 1.0, 0.5], [1.5, 0.5, 7.0]], dtype=dtype).log()
    ).requires_grad_()
    mask = torch.tensor([[True, True, True], [True, True, False]])
    return logp, old, torch.tensor([1.0, -1.0], dtype=dtype), mask, Total(5, 2)


def test_grpo_by_hand():
    # clip to 0.8 .. 1.28. Row 0, A = 1: -min(1.5, 1.28) = -1.28, -1, -min(0.5, 0.8) = -0.5; sum
    # -2.78.
    # Row 1, A = -1: -min(-1.5, -1.28) = 1.5, -min(-0.5, -0.8) = 0.8; sum 2.3.
    # d/dlogp = -A r, 0 where clipped: row 0 0, -1, -0.5; row 1 1.5, 0.
    logp, old, adv, mask, total = by_hand()
    loss, stats = grpo_loss(logp, old, adv, mask, total, RLConfig())
    assert loss.item() == pytest.approx((-2.78 + 2.3) / 5, abs=1e-9)
    assert float(stats["clip_fraction"]) == pytest.approx(2 / 5)
    loss.backward()
    expected = torch.tensor([[0.0, -1.0, -0.5], [1.5, 0.0, 0.0]], dtype=torch.float64) / 5
    torch.testing.assert_close(logp.grad, expected, rtol=1e-9, atol=1e-12)
    # the paper's mean: each response first
    loss, _ = grpo_loss(logp, old, adv, mask, total, RLConfig(average="response"))
    assert loss.item() == pytest.approx((-2.78 / 3 + 2.3 / 2) / 2, abs=1e-9)


def test_the_kl_term_by_hand():
    # reference = old, so d = ref - logp = -ln r: k3 = 1/r + ln r - 1.
    # 1.5: 2/3 + 0.4054651 - 1 = 0.0721318; 1: 0; 0.5: 2 - 0.6931472 - 1 = 0.3068528; row 1:
    # 0.0721318 + 0.3068528
    # sum 2 x 0.3789846 = 0.7579692, times beta 0.5 over 5 tokens = 0.0757969
    logp, old, adv, mask, total = by_hand()
    loss, _ = grpo_loss(logp, old, adv, mask, total, RLConfig(kl=0.5), old)
    assert loss.item() == pytest.approx(-0.48 / 5 + 0.0757969, abs=1e-7)


def test_dr_grpo_by_hand():
    logp, old, adv, mask, total = by_hand()
    loss, _ = dr_grpo_loss(logp, old, adv, mask, total, RLConfig(max_tokens=10))
    assert loss.item() == pytest.approx(-0.48 / (2 * 10), abs=1e-9)


def test_gspo_by_hand():
    # Row 0: (1.5 * 1 * 0.5)^(1/3) = 0.9085603, inside 0.8 .. 1.28. Row 1: (1.5 * 0.5)^(1/2) =
    # 0.8660254.
    # Loss (-0.9085603 + 0.8660254) / 2; each token's gradient is -A r / length / 2.
    logp, old, adv, mask, total = by_hand()
    loss, stats = gspo_loss(logp, old, adv, mask, total, RLConfig())
    assert loss.item() == pytest.approx((-0.9085603 + 0.8660254) / 2, abs=1e-7)
    assert float(stats["clip_fraction"]) == 0
    loss.backward()
    expected = torch.tensor(
        [[-0.9085603 / 6] * 3, [0.8660254 / 4, 0.8660254 / 4, 0.0]], dtype=torch.float64
    )
    torch.testing.assert_close(logp.grad, expected, rtol=1e-6, atol=1e-9)
    # bounds 0.95 .. 1.05: row 1 has A < 0 and r < 0.95, so it is clipped as a whole: 0.95, without
    # gradient; row 0 has A > 0
    logp.grad = None
    loss, stats = gspo_loss(logp, old, adv, mask, total, RLConfig(clip_low=0.05, clip_high=0.05))
    loss.backward()
    assert loss.item() == pytest.approx((-0.9085603 + 0.95) / 2, abs=1e-7)
    assert float(stats["clip_fraction"]) == 0.5
    assert (logp.grad[1] == 0).all() and (logp.grad[0] < 0).all()


def test_cispo_by_hand():
    # logp = ln r - 1: 1.5: -0.5945349, 1: -1, 0.5: -1.6931472. -A r logp: 0.8918023 + 1 + 0.8465736
    # and
    # -0.8918023 - 0.8465736: the sum is 1, over 5 tokens 0.2. Gradient -A r, nowhere cut.
    logp, old, adv, mask, total = by_hand()
    loss, stats = cispo_loss(logp, old, adv, mask, total, RLConfig())
    assert loss.item() == pytest.approx(0.2, abs=1e-9)
    assert float(stats["clip_fraction"]) == 0
    loss.backward()
    expected = torch.tensor([[-1.5, -1.0, -0.5], [1.5, 0.5, 0.0]], dtype=torch.float64) / 5
    torch.testing.assert_close(logp.grad, expected, rtol=1e-9, atol=1e-12)
    # unmask the ratio 7: its weight is the cap, 5
    logp.grad = None
    loss, stats = cispo_loss(logp, old, adv, torch.ones_like(mask), Total(6, 2), RLConfig())
    loss.backward()
    assert logp.grad[1, 2].item() == pytest.approx(5 / 6)
    assert float(stats["clip_fraction"]) == pytest.approx(1 / 6)


def test_the_loss_of_a_step_begins_at_zero_but_its_gradient_does_not():
    """Ratio 1, a whole group of equal length: the advantages sum to 0. Not a bug (open-r1 #239, TRL
    #3452)."""
    adv = advantages(torch.tensor([[1.1, 0.1, 0.0, 1.1]], dtype=torch.float64)).flatten()
    mask = torch.ones(4, 5, dtype=torch.bool)
    for name in ("grpo", "dapo", "dr_grpo", "gspo"):
        logp = (-torch.rand(4, 5, dtype=torch.float64)).requires_grad_()
        loss, stats = LOSSES[name](logp, logp.detach(), adv, mask, Total(20, 4), RLConfig())
        loss.backward()
        assert abs(loss.item()) < 1e-12 and float(stats["clip_fraction"]) == 0
        assert (
            logp.grad.sign() == -adv.sign()[:, None]
        ).all()  # descending raises what was better than its group


@pytest.mark.parametrize("average_by", ["token", "response"])
def test_clipping_stops_the_gradient_only_on_the_side_that_goes_too_far(average_by):
    c = RLConfig(average=average_by)
    cases = [  # ratio, advantage, gradient flows
        (1.27, 1.0, True), (1.29, 1.0, False), (5.0, 1.0, False), (0.79, 1.0, True),
        (0.1, 1.0, True), (1.29, -1.0, True), (5.0, -1.0, True), (0.81, -1.0, True),
        (0.79, -1.0, False), (0.1, -1.0, False),
    ]
    for ratio, adv, flows in cases:
        logp = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
        args = (
            torch.zeros(1, 1).double(),
            torch.tensor([adv]).double(),
            torch.ones(1, 1) > 0,
            Total(1, 1),
            c,
        )
        loss, stats = grpo_loss(logp, *args)
        loss.backward()
        assert float(stats["clip_fraction"]) == (not flows)
        assert logp.grad.item() == pytest.approx(-adv * ratio if flows else 0.0, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_padding_columns_change_nothing(name):
    logp, old, adv, mask, ref = random_case(3)
    total, c = Total(int(mask.sum()), len(adv)), RLConfig(kl=0.2)
    loss, stats = LOSSES[name](logp, old, adv, mask, total, c, ref)
    loss.backward()
    wide = lambda x, value: torch.nn.functional.pad(x.detach(), (0, 4), value=value)  # noqa: E731
    padded = wide(logp, -9.0).requires_grad_()
    again, stats_2 = LOSSES[name](
        padded, wide(old, 0.0), adv, wide(mask, False), total, c, wide(ref, 3.0)
    )
    again.backward()
    assert again.item() == loss.item() and stats_2["clip_fraction"] == stats["clip_fraction"]
    assert torch.equal(padded.grad[:, :-4], logp.grad) and (padded.grad[:, -4:] == 0).all()
    assert (logp.grad[~mask] == 0).all() and (logp.grad[mask] != 0).any()


@pytest.mark.parametrize("name", LOSSES)
@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000), order=st.permutations(range(6)), cuts=st.sets(st.integers(1, 5))
)
def test_micro_batches_of_any_partition_add_up(name, seed, order, cuts):
    logp, old, adv, mask, ref = random_case(seed)
    total, c = (
        Total(int(mask.sum()), len(adv)),
        RLConfig(kl=0.2, average="response" if seed % 2 else "token"),
    )
    loss, stats = LOSSES[name](logp, old, adv, mask, total, c, ref)
    (whole,) = torch.autograd.grad(loss, logp)
    edges = [0, *sorted(cuts), 6]
    parts = [torch.tensor(order[a:b]) for a, b in zip(edges, edges[1:])]
    values = [LOSSES[name](logp[i], old[i], adv[i], mask[i], total, c, ref[i]) for i in parts]
    (summed,) = torch.autograd.grad(sum(v for v, _ in values), logp)
    assert sum(v.item() for v, _ in values) == pytest.approx(loss.item(), abs=1e-12)
    torch.testing.assert_close(summed, whole, rtol=1e-12, atol=1e-15)
    assert float(sum(s["clip_fraction"] for _, s in values)) == pytest.approx(
        float(stats["clip_fraction"]), abs=1e-6
    )


def test_average_by_hand():
    loss_BT = torch.tensor([[1.0, 2.0, 100.0], [4.0, 100.0, 100.0]])
    mask_BT = torch.tensor([[True, True, False], [True, False, False]])
    assert average(loss_BT, mask_BT, Total(3, 2), RLConfig()).item() == pytest.approx(7 / 3)
    assert average(
        loss_BT, mask_BT, Total(3, 2), RLConfig(average="response")
    ).item() == pytest.approx((1.5 + 4) / 2)


def test_average_leaves_its_inputs_alone():
    """Masking in place through a view once erased the count of the normaliser (nano-aha-moment)."""
    logp, old, adv, mask, ref = random_case(0)
    before = [x.clone() for x in (logp, old, adv, mask, ref)]
    for loss in LOSSES.values():
        loss(logp, old, adv, mask, Total(9, 9), RLConfig(kl=1.0), ref)
    assert all(torch.equal(x, y) for x, y in zip(before, (logp, old, adv, mask, ref)))


# ---------------------------------------------------------------- which tokens are trained


def test_the_mask_covers_the_response_and_its_stop_token_and_nothing_else():
    #      prompt     response             predicted from positions
    # row 0: 5 6 7    8 9 STOP             2, 3, 4
    # row 1: 5 6 7    STOP                 2
    # row 2: 4 5      6 7 8 9 (cut off)    1, 2, 3, 4
    # row 3: 4 5      STOP                 1
    rollouts = rollouts_by_hand(
        [[5, 6, 7], [4, 5]], [[8, 9, STOP], [STOP], [6, 7, 8, 9], [STOP]], group=2
    )
    batch = to_batch(rollouts, PAD, "cpu")
    assert batch.ids_BT.tolist() == [
        [5, 6, 7, 8, 9, STOP], [5, 6, 7, STOP, PAD, PAD], [4, 5, 6, 7, 8, 9], [4, 5, STOP, PAD, PAD,
        PAD],
    ]
    assert batch.mask_BT.int().tolist() == [
        [0, 0, 1, 1, 1],
        [0, 0, 1, 0, 0],
        [0, 1, 1, 1, 1],
        [0, 1, 0, 0, 0],
    ]
    assert batch.length_B.tolist() == [6, 4, 6, 3]
    for row in range(4):
        own = batch.mask_BT[row]
        assert batch.ids_BT[row, 1:][own].tolist() == rollouts.response_ids[row]
        assert torch.equal(batch.sampler_logp_BT[row, own], rollouts.logp[row])
        assert (batch.sampler_logp_BT[row, ~own] == 0).all()
    assert to_batch(rollouts, 23, "cpu").ids_BT[3].tolist() == [4, 5, STOP, 23, 23, 23]


def test_some_rows_of_a_batch_are_cut_to_the_longest_of_them():
    batch = to_batch(random_rollouts(1), PAD, "cpu")
    index = torch.tensor([5, 0, 9])
    part = batch.rows(index)
    longest = int(batch.length_B[index].max())
    assert part.ids_BT.shape == (
        3,
        longest,
    ) and part.mask_BT.shape == part.sampler_logp_BT.shape == (3, longest - 1)
    assert torch.equal(part.mask_BT.sum(1), batch.mask_BT[index].sum(1)) and torch.equal(
        part.length_B, batch.length_B[index]
    )
    assert torch.equal(part.ids_BT, batch.ids_BT[index, :longest])


@pytest.mark.parametrize("pad_id", [PAD, STOP], ids=["own pad", "pad is the stop token"])
@pytest.mark.parametrize("name", LOSSES)
def test_the_stop_token_gets_a_gradient_and_prompt_and_padding_get_none(name, pad_id):
    """In tiny-grpo, pad = eos took the stop token out of the loss: stopping was never trained."""
    model, seen = tiny(), []
    batch = to_batch(
        rollouts_by_hand(
            [[5, 6, 7], [4, 5]], [[8, 9, STOP], [STOP], [6, 7, 8, 9], [STOP]], group=2
        ),
        pad_id,
        "cpu",
    )

    def watch(module, inputs, logits):
        logits.retain_grad()
        seen.append(logits)

    model.register_forward_hook(watch)
    logp_BT, _ = token_logp(model, batch.ids_BT)
    adv_B = torch.tensor([1.0, -1.0, 0.5, 2.0])
    loss, _ = LOSSES[name](logp_BT, logp_BT.detach(), adv_B, batch.mask_BT, Total(9, 4), RLConfig())
    loss.backward()
    gradient_BTV = seen[0].grad
    assert torch.equal(gradient_BTV.abs().sum(-1) > 0, batch.mask_BT)
    for row, position in ((0, 4), (1, 2), (3, 1)):  # where the stop token is predicted
        slope = gradient_BTV[row, position, STOP]
        assert (
            slope != 0 and slope.sign() == -adv_B[row].sign()
        )  # stopping becomes likelier where it was good


# ---------------------------------------------------------------- micro-batches


@settings(deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.integers(1, 1000))
def test_micro_batches_hold_each_row_once_within_the_budget(lengths, budget):
    groups = [g.tolist() for g in micro_batches(torch.tensor(lengths), budget)]
    assert sorted(row for g in groups for row in g) == list(range(len(lengths)))
    for g in groups:
        size = len(g) * max(lengths[row] for row in g)
        assert len(g) == 1 or size <= budget
        assert size - sum(lengths[row] for row in g) <= budget / 8  # padding


def test_micro_batches_are_not_smaller_than_they_must_be():
    assert [len(g) for g in micro_batches(torch.full((10,), 7), 28)] == [4, 4, 2]
    assert [len(g) for g in micro_batches(torch.full((3,), 50), 10)] == [1, 1, 1]
    # 10, 10, 14: padding 8 is an eighth of 64 and allowed; with another 14 the size is 56; a fifth
    # row would make 70
    assert [len(g) for g in micro_batches(torch.tensor([14, 10, 14, 10, 14]), 64)] == [4, 1]


def test_token_logp_by_hand():
    """At temperature 0.5: log softmax(2 x logits), of the *next* token."""
    model, ids = tiny(), torch.tensor([[3, 4, 5], [6, 7, 8]])
    logp, entropy = token_logp(model, ids, 0.5)
    for b in range(2):
        for t in range(2):
            z = [2 * x for x in model(ids[b : b + 1, : t + 1])[0, -1].tolist()]
            total = math.log(sum(math.exp(x) for x in z))
            assert logp[b, t].item() == pytest.approx(z[int(ids[b, t + 1])] - total, abs=1e-5)
            assert entropy[b, t].item() == pytest.approx(
                -sum(math.exp(x - total) * (x - total) for x in z), abs=1e-5
            )


@pytest.mark.parametrize("budget", [1, 40, 10_000])
def test_scoring_does_not_depend_on_how_rows_are_put_together(budget):
    model = tiny()
    batch = to_batch(random_rollouts(2), PAD, "cpu")
    got = score_tokens(model, Learner(model), batch, RLConfig(train_tokens=budget, temperature=0.8))
    assert not got.requires_grad and got.shape == batch.mask_BT.shape
    for row, length in enumerate(batch.length_B.tolist()):
        alone, _ = token_logp(model, batch.ids_BT[row : row + 1, :length], 0.8)
        torch.testing.assert_close(got[row, : length - 1], alone[0], rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- the update


def slow_update(model, batch: Batch, adv_B, c: RLConfig, lr: float, loss, reference=None):
    """Every row by itself, none left out, no padding: the specification of `update`. Returns
    gradients and statistics."""
    rows = range(len(adv_B))

    def alone(m, b):
        ids_BT = batch.ids_BT[b : b + 1, : batch.length_B[b]]
        return [x[0] for x in token_logp(m, ids_BT, c.temperature)]

    with torch.no_grad():
        old = [
            alone(model, b)[0] if c.recompute else batch.sampler_logp_BT[b, : batch.length_B[b] - 1]
            for b in rows
        ]
    gradients, stats = [], {"loss": 0.0, "clip_fraction": 0.0, "grad_norm": 0.0}
    learner = Descent(model)
    for minibatch in range(c.minibatches):
        mine = [b for b in rows if (b // c.group_size) % c.minibatches == minibatch]
        total = Total(sum(int(batch.mask_BT[b].sum()) for b in mine), len(mine))
        for b in mine:
            logp, _ = alone(model, b)
            mask = batch.mask_BT[b : b + 1, : len(logp)]
            ref = None
            if reference is not None and c.kl > 0:
                with torch.no_grad():
                    ref = alone(reference, b)[0][None]
            value, extra = loss(logp[None], old[b][None], adv_B[b : b + 1], mask, total, c, ref)
            value.backward()
            stats["loss"] += value.item() / c.minibatches
            stats["clip_fraction"] += float(extra["clip_fraction"]) / c.minibatches
        stats["grad_norm"] += learner.step(lr).item() / c.minibatches
        gradients.append(learner.seen[-1])
    return gradients, stats


def close(left, right, tolerance=2e-6):
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=tolerance)


UPDATES = [
    RLConfig(group_size=4, max_tokens=16, minibatches=2, recompute=False),
    RLConfig(
        group_size=4,
        max_tokens=16,
        minibatches=1,
        recompute=True,
        average="response",
        temperature=0.7,
    ),
    RLConfig(group_size=4, max_tokens=16, minibatches=4, recompute=True, kl=0.2, temperature=0.8),
]


@pytest.mark.parametrize("c", UPDATES, ids=["token", "response", "kl"])
@pytest.mark.parametrize("name", LOSSES)
def test_update_equals_the_slow_one_whatever_the_micro_batches(name, c):
    """Also: rows without advantage, which update leaves out and the slow one does not, change
    nothing."""
    batch, reference, slow = random_batch(7, c.temperature), tiny(5), tiny()
    gradients, expected = slow_update(slow, batch, ADV, c, 0.05, LOSSES[name], reference)
    assert (
        max(g.abs().max() for step in gradients for g in step) > 0.01
    )  # not a comparison of zeros
    results = []
    for budget in (60, 100_000):
        model = tiny()
        learner = Descent(model)
        stats = update(
            model,
            learner,
            batch,
            ADV,
            replace(c, train_tokens=budget),
            0.05,
            LOSSES[name],
            reference,
        )
        assert len(learner.seen) == c.minibatches
        for seen, wanted in zip(learner.seen, gradients, strict=True):
            close(seen, wanted)
        close(list(model.parameters()), list(slow.parameters()))
        assert {k: stats[k] for k in expected} == pytest.approx(expected, abs=1e-5, rel=1e-4)
        results.append({name: float(figure) for name, figure in stats.items()})
    assert results[0] == pytest.approx(results[1], abs=1e-5, rel=1e-4)
    signal = 1.0 if c.kl > 0 else 11 / 16  # ADV has five zeros
    assert results[0]["signal"] == pytest.approx(signal)


def test_statistics_of_an_update_are_means_over_the_tokens_trained():
    model, reference, batch = tiny(), tiny(5), random_batch(7)
    stats = update(
        model,
        Descent(model),
        batch,
        ADV,
        RLConfig(group_size=4, minibatches=2),
        0.0,
        reference=reference,
    )  # lr 0
    entropy, kl, gap = [], [], []
    with torch.no_grad():
        for b in torch.where(ADV != 0)[0].tolist():
            logp, h = token_logp(model, batch.ids_BT[b : b + 1])
            ref, _ = token_logp(reference, batch.ids_BT[b : b + 1])
            own = batch.mask_BT[b]
            entropy, kl = entropy + h[0, own].tolist(), kl + k3(logp, ref)[0, own].tolist()
            if (
                b // 4 % 2 == 0
            ):  # the first minibatch: later ones have moved away from the sampler for good reason
                gap += (logp[0] - batch.sampler_logp_BT[b])[own].abs().tolist()
    assert stats["entropy"] == pytest.approx(sum(entropy) / len(entropy), rel=1e-4)
    assert stats["kl"] == pytest.approx(
        sum(kl) / len(kl), rel=1e-4
    )  # watched, although it has no weight in the loss
    assert stats["gap"] == pytest.approx(sum(gap) / len(gap), rel=1e-4)


def test_the_entropy_of_all_responses_is_estimated_from_what_was_sampled():
    """Within four standard errors of the exact one (p < 1e-4 by chance; the seed is fixed)."""
    model, group = tiny(), 512
    prompts = [[5, 6], [7, 8, 9]]
    settings = Sampling(24, (STOP,), 0.7, 1.0, V)
    samples = sample(model, prompts, group, settings, Stream.of("entropy"))
    lengths = samples.length_B.tolist()
    responses = [row[:n] for row, n in zip(samples.ids_BT.tolist(), lengths)]
    logp = [row[:n] for row, n in zip(samples.logp_BT, lengths)]
    rollouts = replace(rollouts_by_hand(prompts, responses, group), logp=logp)
    batch = to_batch(rollouts, PAD, "cpu")
    with torch.no_grad():
        exact_BT = token_logp(model, batch.ids_BT, 0.7)[1]
    exact_N, drawn_N = exact_BT[batch.mask_BT], -torch.cat(logp)
    error = (drawn_N - exact_N).std().item() / len(drawn_N) ** 0.5
    assert entropy(rollouts) == pytest.approx(exact_N.mean().item(), abs=4 * error)
    assert error < 0.02 < exact_N.std()


def test_forced_tokens_have_no_entropy():
    rollouts = rollouts_by_hand([[5]], [[6, 7, STOP], [STOP]], 2)
    rollouts = replace(rollouts, logp=[torch.tensor([-1.0, 0.0, -2.0]), torch.tensor([-4.5])])
    assert entropy(rollouts) == 7.5 / 4
    assert entropy(replace(rollouts, actions=[[True, False, True], [True]])) == 2.5


def test_padding_of_the_batch_changes_no_gradient():
    batch, c = random_batch(7), RLConfig(group_size=4, minibatches=2)
    wide = lambda x, value: torch.nn.functional.pad(x, (0, 6), value=value)  # noqa: E731
    padded = Batch(
        wide(batch.ids_BT, 9),
        wide(batch.mask_BT, False),
        wide(batch.sampler_logp_BT, 0.0),
        batch.length_B,
    )
    seen = []
    for b in (batch, padded):
        model = tiny()
        learner = Descent(model)
        update(model, learner, b, ADV, c, 0.05)
        seen.append([g for step in learner.seen for g in step])
    assert all(torch.equal(x, y) for x, y in zip(*seen))
    # and more padding *inside* the forward pass, as a longer neighbour in the micro-batch would
    # bring
    logp, _ = token_logp(tiny(), batch.ids_BT)
    logp_wide, _ = token_logp(tiny(), padded.ids_BT)
    torch.testing.assert_close(logp_wide[:, :-6], logp, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("recompute", [False, True], ids=["sampler's", "trainer's"])
def test_every_minibatch_is_compared_with_the_policy_that_sampled(recompute):
    """The second minibatch's old log-probs come from before the first one's step."""
    model, calls = tiny(), []

    def spy(logp, old, *rest):
        calls.append((logp.detach(), old))
        return grpo_loss(logp, old, *rest)

    ids = torch.randint(
        2, V, (20, 6), generator=torch.Generator().manual_seed(0)
    ).tolist()  # one length: one micro-batch
    batch = to_batch(rollouts_by_hand(ids[:4], ids[4:], group=4), PAD, "cpu")
    c = RLConfig(group_size=4, minibatches=2, temperature=0.7, recompute=recompute)
    adv = torch.where(ADV == 0, 0.3, ADV)
    update(model, Descent(model), batch, adv, c, 0.5, spy)
    assert len(calls) == 2
    for minibatch, (logp, old) in enumerate(calls):
        part = batch.rows(torch.where(torch.arange(16) // 4 % 2 == minibatch)[0])  # whole groups
        before, _ = token_logp(tiny(), part.ids_BT, 0.7)
        expected = before if recompute else part.sampler_logp_BT
        torch.testing.assert_close(old[part.mask_BT], expected[part.mask_BT], rtol=1e-5, atol=1e-5)
        drift = (logp - before)[part.mask_BT].abs().max()
        assert drift < 1e-5 if minibatch == 0 else drift > 0.05


@pytest.mark.parametrize("minibatches", [1, 2, 4])
def test_only_minibatches_that_come_after_a_step_are_scored(minibatches, monkeypatch):
    """The first one is learned from by the policy that wrote it: its update knows the log-probs
    anyhow."""
    scored, whole = [], grpo.score_tokens
    monkeypatch.setattr(
        grpo, "score_tokens", lambda *given: scored.append(len(given[2].ids_BT)) or whole(*given)
    )
    model, batch = tiny(), to_batch(random_rollouts(7), PAD, "cpu")
    c = RLConfig(group_size=4, minibatches=minibatches, recompute=True)
    update(model, Descent(model), batch, torch.where(ADV == 0, 0.3, ADV), c, 0.1)
    assert sum(scored) == 16 - 16 // minibatches


def test_scoring_and_updating_compute_in_the_learners_number_format():
    model, formats = tiny(), []
    model.blocks[0].attention.out.register_forward_hook(
        lambda layer, given, out: formats.append(out.dtype)
    )
    learner = HalfLearner(model, 0.0, 1.0, Device("cpu", "CPU", torch.bfloat16, "plain"))
    c = RLConfig(group_size=4, minibatches=1, train_tokens=10_000)
    score_tokens(model, learner, random_batch(0), c)
    own = len(formats)
    update(model, learner, random_batch(0), ADV, c, 0.01)
    assert 1 <= own < len(formats)
    assert set(formats) == {torch.bfloat16}


@pytest.mark.parametrize("c", UPDATES, ids=["token", "response", "kl"])
def test_an_update_never_waits_for_its_device(c):
    """On PyTorch's "meta" device tensors have no values: to ask for one is an error."""
    model, batch = Transformer(replace(TINY, experts=0)), random_batch(7)
    learner, reference = Descent(model), copy.deepcopy(model).to("meta")
    learner.parameters = list(model.to("meta").parameters())
    learner.finite = learner.finite.to("meta")
    there = {name: x.to("meta") for name, x in vars(batch).items() if name != "length_B"}
    stats = update(model, learner, replace(batch, **there), ADV, c, 0.1, reference=reference)
    assert all(stats[name].is_meta for name in ("loss", "gap", "kl", "grad_norm"))
    assert stats["signal"] == (1.0 if c.kl > 0 else 11 / 16)


def test_a_rollout_without_any_signal_leaves_the_model_alone():
    model, batch = tiny(), to_batch(random_rollouts(7), PAD, "cpu")
    learner = Descent(model)
    stats = update(model, learner, batch, torch.zeros(16), RLConfig(group_size=4), 0.1)
    assert stats["signal"] == 0 and stats["loss"] == 0 and not learner.seen
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), tiny().parameters()))


def test_a_minibatch_without_signal_makes_no_step():
    model, batch = tiny(), to_batch(random_rollouts(7), PAD, "cpu")
    learner = Descent(model)
    update(
        model,
        learner,
        batch,
        torch.where(torch.arange(16) // 4 % 2 == 1, 0.0, ADV),
        RLConfig(group_size=4),
        0.1,
    )
    assert len(learner.seen) == 1


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kernel", ["AdamW", "descent"])
def test_an_update_makes_the_better_response_likelier_and_the_worse_one_less_likely(name, kernel):
    model = tiny()
    rollouts = rollouts_by_hand([[5, 6, 7]], [[8, 9, 10, STOP], [11, 12, 13, STOP]], group=2)
    batch = to_batch(rollouts, PAD, "cpu")
    adv = advantages(torch.tensor([[1.1, 0.1]])).flatten()
    learner, lr = (Learner(model), 1e-3) if kernel == "AdamW" else (Descent(model), 0.02)

    def likelihood():
        return (token_logp(model, batch.ids_BT)[0] * batch.mask_BT).sum(1).detach()

    before = likelihood()
    update(
        model,
        learner,
        batch,
        adv,
        RLConfig(group_size=2, minibatches=1, recompute=True),
        lr,
        LOSSES[name],
    )
    change = likelihood() - before
    assert change[0] > 1e-3 and change[1] < -1e-3


def test_repeated_updates_teach_the_model_to_stop():
    """Rewarding the short response must raise the probability of the stop token itself."""
    model = tiny()
    batch = to_batch(rollouts_by_hand([[5, 6, 7]], [[STOP], [8, 9, 10, STOP]], group=2), PAD, "cpu")
    learner, adv = Learner(model), torch.tensor([0.7, -0.7])
    chance = lambda: model(torch.tensor([[5, 6, 7]])).softmax(-1)[0, -1, STOP].item()  # noqa: E731
    before = chance()
    for _ in range(40):
        update(
            model, learner, batch, adv, RLConfig(group_size=2, minibatches=1, recompute=True), 5e-3
        )
    assert before < 0.2 and chance() > 0.5


# ---------------------------------------------------------------- schedule and loop


def test_learning_rate_warms_up_then_falls_on_a_line():
    c = RLConfig(lr=1.0, warmup=5, steps=100, lr_end=0.1)
    # step 0: 1/5 of the way up; step 4: up, and 4% of the way down 0.9; step 50: half-way down; the
    # end: a tenth
    for step, expected in ((0, 0.2), (1, 0.4 * 0.991), (4, 0.964), (50, 0.55), (100, 0.1)):
        assert learning_rate(step, c) == pytest.approx(expected)
    assert learning_rate(0, replace(c, warmup=0)) == 1.0
    assert learning_rate(7, replace(c, lr=3e-6, lr_end=1.0)) == pytest.approx(3e-6)


class PhaseByHand(SimpleNamespace):
    """What train_zero.reinforce asks of a phase, without sampling, files or progress."""

    def __enter__(self):
        return self

    def __exit__(self, *fault):
        pass

    def steps(self):
        return range(1, 3)

    def roll_out(self, step):
        right, wrong = Reward(1.0, 1.0, 1.0), Reward(0.0, 1.0, 1.0)
        malformed = Reward(0.0, 0.0, 1.0)
        rewards = [right, wrong, malformed, malformed, wrong, right]
        responses = [[8, STOP], [9, STOP], [6, 7, 8], [STOP], [7, STOP], [8]]
        return rollouts_by_hand([[5, 6, 7], [4, 5], [3]], responses, 2, rewards)

    def learning_rate(self, step):
        return learning_rate(step, self.rl)

    def reference(self, step):
        return None

    def finish_step(self, step, rollouts, stats):
        self.seen.append((step, stats))


def test_the_loop_compares_within_groups_and_follows_the_schedule():
    model, asked = tiny(), []
    learner = Descent(model)
    c = RLConfig(group_size=2, minibatches=1, lr=0.1, warmup=2, steps=4)

    def spied(model, learner, batch, adv_B, *how):
        asked.append(adv_B)
        return update(model, learner, batch, adv_B, *how)

    session = SimpleNamespace(
        device=SimpleNamespace(name="cpu"), tokenizer=SimpleNamespace(pad=PAD)
    )
    phase = PhaseByHand(
        model=model, learner=learner, rl=c, parts=Parts(update=spied), session=session,
        loss=grpo_loss, seen=[],
    )
    assert reinforce(phase) is model
    assert [step for step, _ in phase.seen] == [1, 2]
    high = 0.5 / (math.sqrt(0.5) + 1e-4)  # rewards 1.1 and 0.1
    expected = torch.tensor([high, -high, 0.0, 0.0, -high, high])
    assert len(asked) == 2
    for adv_B, (_, stats) in zip(asked, phase.seen):
        torch.testing.assert_close(adv_B, expected, rtol=1e-5, atol=1e-6)
        assert stats["signal"] == pytest.approx(2 / 3)
    assert learner.lrs == pytest.approx([learning_rate(1, c), learning_rate(2, c)])
