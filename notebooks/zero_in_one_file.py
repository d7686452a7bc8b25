"""R1-Zero in one file: reinforcement learning teaches a small DeepSeek to think before it answers.

    python notebooks/zero_in_one_file.py    two CPU cores, a few minutes

The base has a million parameters, has read a mini-web and solves one puzzle in four. It writes
eight responses to each puzzle, a rule says which are right, and what is better than the others
becomes more probable: GRPO (arXiv 2402.03300), as in R1-Zero (arXiv 2501.12948, section 2).

Names of tensors end in one letter per dimension: B responses, P prompts, G responses per prompt,
T tokens, S tokens looked back at, D width, V vocabulary, H heads, E experts, F hidden width. In
attention C and J are the parts of a head without and with position, R the latent, U the values.
"""

import argparse
import hashlib
import random
import re
import time
from fractions import Fraction
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

BASE = Path(__file__).resolve().parent.parent / "minir1" / "data" / "base-cpu.pt"
PROMPTS, GROUP, MAX_TOKENS = 32, 8, 256  # puzzles per step, responses to each, their length
LEARNING_RATE, WARMUP, UPDATES = 2e-4, 5, 2  # at its highest, steps up to there, updates per step
CLIP_LOW, CLIP_HIGH, MAX_NORM = 0.2, 0.28, 0.5  # bounds of the ratio, and of the gradient's norm

# ----------------------------------------------------------------------------------- the puzzle

WORDINGS = ("Use {n} to make {t}.", "Make {t} from {n}.",
            "Using the numbers {n}, make an expression that equals {t}.", "Reach {t} with {n}.")
NUMBER = r"[( ]*(?:0|[1-9][0-9]*)[) ]*"

class Puzzle(NamedTuple):
    """Countdown: use each number once, with + - * /, to make the target."""
    numbers: tuple[int, ...]
    target: int

    def prompt(self) -> str:
        wording = WORDINGS[(sum(self.numbers) + self.target) % len(WORDINGS)]
        question = wording.format(n=", ".join(map(str, self.numbers)), t=self.target)
        return f"<|begin|>User: {question}\nAssistant:"

    def verify(self, answer: str) -> bool:
        """The only teacher: exact, and it cannot be talked round."""
        if len(answer) > 64 or not re.fullmatch(rf"{NUMBER}([-+*/]{NUMBER})*", answer):
            return False  # so what is evaluated next can be nothing but arithmetic
        try:
            value = eval(re.sub("([0-9]+)", r"Fraction(\1)", answer), {"Fraction": Fraction})
        except (SyntaxError, ZeroDivisionError):
            return False
        used = sorted(map(int, re.findall("[0-9]+", answer)))
        return value == self.target and used == sorted(self.numbers)

def reachable(numbers: tuple[int, ...]) -> set[int]:
    """All that can be made of all the numbers without a fraction or a negative number."""
    if len(numbers) == 1:
        return set(numbers)
    values = set()
    for a, b, *rest in permutations(numbers):
        for result in (a + b, a - b, a * b, a / b if b else -1):
            if result >= 0 and result == int(result):
                values |= reachable((int(result), *rest))
    return values

def draw(rng: random.Random, split: str) -> Puzzle:
    """A random puzzle that can be solved. A hash of its numbers decides which split it is in."""
    target = rng.randint(10, 99)
    while True:
        numbers = tuple(rng.randint(1, 30) for _ in range(3))
        key = "countdown " + " ".join(map(str, sorted(numbers)))
        percent = int(hashlib.blake2b(key.encode(), digest_size=4).hexdigest(), 16) % 100
        where = "train" if percent < 80 else "validation" if percent < 90 else "test"
        if where == split and target in reachable(numbers):
            return Puzzle(numbers, target)

# ------------------------------------------------------------------------------------ the model

CHECKPOINT = torch.load(BASE, weights_only=True)
c = SimpleNamespace(**CHECKPOINT["config"])  # 4 layers of width 128, 4 heads, 4 experts ...

def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Position (RoPE): two neighbours are one complex number, turned by an angle."""
    return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turn).flatten(-2)

class LatentAttention(nn.Module):
    """MLA (DeepSeek-V2, section 2.1). Of a token one short vector is kept: a latent, and a key that
    knows its position. Together they are the key of all heads; the latent is their value, too."""
    def __init__(self):
        super().__init__()
        self.q_up = nn.Linear(c.width, c.heads * (c.nope_width + c.rope_width), bias=False)
        self.kv_down = nn.Linear(c.width, c.kv_rank + c.rope_width, bias=False)
        self.kv_norm = nn.RMSNorm(c.kv_rank, c.norm_eps)
        self.kv_up = nn.Linear(c.kv_rank, c.heads * (c.nope_width + c.value_width), bias=False)
        self.out = nn.Linear(c.heads * c.value_width, c.width, bias=False)

    def forward(self, x_BTD: Tensor, turn_TA: Tensor, cache_BSW: Tensor | None, start: int):
        query = self.q_up(x_BTD).unflatten(-1, (c.heads, -1))
        query_BTHC, query_BTHJ = query.split([c.nope_width, c.rope_width], dim=-1)
        latent_BTR, key_BTJ = self.kv_down(x_BTD).split([c.kv_rank, c.rope_width], dim=-1)
        key_BSW = torch.cat([self.kv_norm(latent_BTR), rotate(key_BTJ, turn_TA)], dim=-1)
        end = start + x_BTD.shape[1]
        if cache_BSW is not None:
            cache_BSW[:, start:end] = key_BSW
            key_BSW = cache_BSW[:, :end]
        up_HXR = self.kv_up.weight.unflatten(0, (c.heads, -1))
        up_HCR, up_HUR = up_HXR.split([c.nope_width, c.value_width], dim=1)
        query_BTHR = torch.einsum("bthc,hcr->bthr", query_BTHC, up_HCR)
        query_BTHW = torch.cat([query_BTHR, rotate(query_BTHJ, turn_TA[:, None])], dim=-1)
        score_BHTS = torch.einsum("bthw,bsw->bhts", query_BTHW, key_BSW) / query.shape[-1] ** 0.5
        future_TS = torch.arange(end) > torch.arange(start, end)[:, None]
        weight_BHTS = score_BHTS.masked_fill(future_TS, -torch.inf).softmax(-1)
        mixed_BTHR = torch.einsum("bhts,bsr->bthr", weight_BHTS, key_BSW[..., : c.kv_rank])
        return self.out(torch.einsum("bthr,hur->bthu", mixed_BTHR, up_HUR).flatten(-2))

class FeedForward(nn.Module):
    def __init__(self, hidden: int):
        super().__init__()
        self.gate, self.up = (nn.Linear(c.width, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, c.width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x_BTD)) * self.up(x_BTD))

class Experts(nn.Module):
    """MoE (DeepSeek-V3, Eq. 12-16): an expert for all tokens, and for each token the best few of E.
    E is small here, so all of them compute, and those that were not chosen weigh 0."""
    def __init__(self):
        super().__init__()
        self.router = nn.Parameter(torch.empty(c.experts, c.width))
        self.register_buffer("bias_E", torch.empty(c.experts))  # kept them all busy in pretraining
        self.gate_EFD = nn.Parameter(torch.empty(c.experts, c.expert_width, c.width))
        self.up_EFD = nn.Parameter(torch.empty(c.experts, c.expert_width, c.width))
        self.down_EDF = nn.Parameter(torch.empty(c.experts, c.width, c.expert_width))
        self.shared = FeedForward(c.shared_experts * c.expert_width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        score_BTE = (x_BTD @ self.router.T).sigmoid()
        chosen_BTK = (score_BTE + self.bias_E).topk(c.top_k, dim=-1).indices
        weight_BTE = score_BTE * torch.zeros_like(score_BTE).scatter(-1, chosen_BTK, 1.0)
        weight_BTE = weight_BTE / weight_BTE.sum(-1, keepdim=True)
        gate, up = (torch.einsum("btd,efd->btef", x_BTD, w) for w in (self.gate_EFD, self.up_EFD))
        mixed = torch.einsum("btef,bte,edf->btd", F.silu(gate) * up, weight_BTE, self.down_EDF)
        return mixed + self.shared(x_BTD)

class Block(nn.Module):
    def __init__(self, layer: int):
        super().__init__()
        self.norm_1, self.norm_2 = (nn.RMSNorm(c.width, c.norm_eps) for _ in range(2))
        self.attention = LatentAttention()
        self.mixer = FeedForward(c.dense_width) if layer < c.dense_layers else Experts()

class Transformer(nn.Module):
    """`model(ids_BT)` gives logits `[B, T, V]` of what follows each token."""
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block(layer) for layer in range(c.layers))
        self.embed, self.norm = nn.Embedding(c.vocab_size, c.width), nn.RMSNorm(c.width, c.norm_eps)
        self.head = nn.Linear(c.width, c.vocab_size, bias=False)
        angle_A = c.rope_base ** (-torch.arange(0, c.rope_width, 2) / c.rope_width)
        angle_TA = torch.arange(c.positions)[:, None] * angle_A
        self.turn_TA = torch.polar(torch.ones_like(angle_TA), angle_TA)

    def forward(self, ids_BT: Tensor, cache_LBSW: Tensor | None = None, start: int = 0) -> Tensor:
        turn_TA = self.turn_TA[start : start + ids_BT.shape[1]]
        x_BTD = self.embed(ids_BT)
        for layer, block in enumerate(self.blocks):
            past = (None if cache_LBSW is None else cache_LBSW[layer], start)
            x_BTD = x_BTD + block.attention(block.norm_1(x_BTD), turn_TA, *past)
            x_BTD = x_BTD + block.mixer(block.norm_2(x_BTD))
        return self.head(self.norm(x_BTD))

def load() -> tuple[Transformer, Tokenizer]:
    """The base. Its matrices are kept as int8 values and one scale per row."""
    model, weights = Transformer(), CHECKPOINT["weights"].items()
    model.load_state_dict({n: w if isinstance(w, Tensor) else w[0] * w[1] for n, w in weights})
    return model, Tokenizer.from_str(CHECKPOINT["tokenizer"])

# ---------------------------------------------------------------------------------- the sampler

class Rollout(NamedTuple):
    ids_BT: Tensor  # prompts and responses; what stands behind an end does not count
    logp_BT: Tensor  # log-probability with which token t + 1 was drawn, in nats
    mask_BT: Tensor  # True where token t + 1 is one of the response

    def parts(self, row_B: Tensor):
        """Sixteen rows of like length at a time: (which ones, they without the empty end)."""
        length_B = (self.mask_BT * torch.arange(2, self.ids_BT.shape[1] + 1)).amax(1)
        for part_B in row_B[length_B[row_B].argsort()].split(16):
            T = int(length_B[part_B].max())
            ids_BT, logp_BT, mask_BT = (x[part_B] for x in self)
            yield part_B, Rollout(ids_BT[:, :T], logp_BT[:, : T - 1], mask_BT[:, : T - 1])

@torch.no_grad()
def sample(model: Transformer, prompts: list[list[int]], end: int) -> Rollout:
    """One response to each prompt. All rows are at the same place t: where a longer prompt is not
    over, its own token takes the place of the one drawn."""
    B, first_B = len(prompts), torch.tensor([len(prompt) for prompt in prompts])
    start, T = int(first_B.min()), int(first_B.max()) + MAX_TOKENS
    ids_BT = torch.tensor([prompt + [end] * (T - len(prompt)) for prompt in prompts])
    logp_BT = torch.zeros(B, T - 1)
    row_B = torch.arange(B)  # those still being written
    cache_LBSW = torch.zeros(c.layers, B, T, c.kv_rank + c.rope_width)
    logits_BV = model(ids_BT[:, :start], cache_LBSW)[:, -1]
    for t in range(start, T):
        logp_BV = logits_BV.log_softmax(-1)
        drawn_B = logp_BV.exp().multinomial(1)[:, 0]
        token_B = torch.where(t < first_B[row_B], ids_BT[row_B, t], drawn_B)
        ids_BT[row_B, t] = token_B
        logp_BT[row_B, t - 1] = logp_BV.gather(1, token_B[:, None])[:, 0]
        if t % 16 == 0:  # now and then, leave those that have ended
            open_B = (ids_BT[row_B, : t + 1] != end).all(1)
            row_B, token_B, cache_LBSW = row_B[open_B], token_B[open_B], cache_LBSW[:, open_B]
        if len(row_B) == 0:
            break
        logits_BV = model(token_B[:, None], cache_LBSW, t)[:, -1]
    t, first_B1 = torch.arange(1, T), first_B[:, None]
    ended_BT = (ids_BT[:, :-1] == end).cumsum(1) > 0
    return Rollout(ids_BT, logp_BT, (t >= first_B1) & (t < first_B1 + MAX_TOKENS) & ~ended_BT)

# ---------------------------------------------------------------- reward, loss, update, the loop

def reward(puzzle: Puzzle, response: str) -> float:
    """0.1 for the form, and 1 more for a right answer."""
    form = r"(<think>[^<>]*</think>)?\s*<answer>([^<>]*)</answer>\s*<\|end\|>"
    match = re.fullmatch(form, response)
    return 0.1 + puzzle.verify(match[2].strip()) if match else 0.0

def respond(model: Transformer, codec: Tokenizer, puzzles: list[Puzzle]):
    """One response to each puzzle: (rollout, rewards, texts)."""
    prompts = [codec.encode(puzzle.prompt()).ids for puzzle in puzzles]
    rollout = sample(model, prompts, codec.token_to_id("<|end|>"))
    ids = [row[mask].tolist() for row, mask in zip(rollout.ids_BT[:, 1:], rollout.mask_BT)]
    texts = codec.decode_batch(ids, skip_special_tokens=False)
    return rollout, torch.tensor(list(map(reward, puzzles, texts))), texts

def advantages(reward_PG: Tensor) -> Tensor:
    """How much better than its group (R1, Eq. 3)."""
    reward_PG = reward_PG - reward_PG[:, :1]  # where all are equal, nothing is learned: exactly 0
    centred_PG = reward_PG - reward_PG.mean(1, keepdim=True)
    return centred_PG / (reward_PG.std(1, keepdim=True) + 1e-4)

def log_probs(model: Transformer, ids_BT: Tensor) -> Tensor:
    """Of each token but the first, `[B, T - 1]`."""
    return model(ids_BT[:, :-1]).log_softmax(-1).gather(-1, ids_BT[:, 1:, None])[..., 0]

def clipped_loss(logp_BT: Tensor, old_logp_BT: Tensor, adv_B: Tensor, mask_BT: Tensor) -> Tensor:
    """R1, Eq. 1, summed over tokens: towards what was better, but not far at once."""
    ratio_BT, adv_B1 = (logp_BT - old_logp_BT).exp(), adv_B[:, None]
    clipped_BT = ratio_BT.clamp(1 - CLIP_LOW, 1 + CLIP_HIGH)
    return -(torch.minimum(ratio_BT * adv_B1, clipped_BT * adv_B1) * mask_BT).sum()

def update(model: Transformer, optimizer, rollout: Rollout, adv_B: Tensor) -> None:
    """UPDATES steps of the optimizer, each on its share of the groups."""
    group_B = torch.arange(len(adv_B)) // GROUP
    for u in range(UPDATES):
        mine_B = group_B % UPDATES == u
        tokens = rollout.mask_BT[mine_B].sum()
        for row_B, part in rollout.parts(torch.where(mine_B & (adv_B != 0))[0]):
            logp_BT = log_probs(model, part.ids_BT)
            loss = clipped_loss(logp_BT, part.logp_BT, adv_B[row_B], part.mask_BT)
            (loss / tokens).backward()
        nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        optimizer.step()
        optimizer.zero_grad()

def train(model: Transformer, codec: Tokenizer, seed: int, steps: int) -> list[float]:
    """R1-Zero. Returns the share of right responses, step by step."""
    torch.manual_seed(seed)
    rng, began, right = random.Random(seed), time.time(), []
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0)
    for step in range(steps):
        lr = LEARNING_RATE * min(1, (step + 1) / WARMUP) * (1 - 0.9 * step / steps)
        optimizer.param_groups[0]["lr"] = lr
        puzzles = [puzzle for _ in range(PROMPTS) for puzzle in [draw(rng, "train")] * GROUP]
        rollout, reward_B, _ = respond(model, codec, puzzles)
        adv_B = advantages(reward_B.view(PROMPTS, GROUP)).flatten()
        update(model, optimizer, rollout, adv_B)
        right.append((reward_B > 1).float().mean().item())
        tokens, seconds = rollout.mask_BT.sum() / len(puzzles), time.time() - began
        print(f"step {step + 1}: {right[-1]:.0%} right, {tokens:.0f} tokens each, {seconds:.0f} s")
    return right

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=60)
    options, (model, codec) = parser.parse_args(), load()
    puzzles = [draw(random.Random(i), "test") for i in range(512)]
    for steps in (0, options.steps):
        train(model, codec, options.seed, steps)
        _, reward_B, texts = respond(model, codec, puzzles)
        print(f"{puzzles[0].prompt()}{texts[0]}\nsolved: {(reward_B > 1).float().mean():.1%}")
