"""Every setting, with its unit.

minir1/presets.py fills the settings in. minir1/console/flags.py makes the command line from them.
Configurations are frozen and derived values are properties. An unknown setting is a UserError, and
so is a value outside a setting's range: see check_ranges.

>>> apply(Config(), {"rl.lr": 1e-3}).rl.lr
0.001
"""

import json
import typing
from collections.abc import Iterator
from dataclasses import Field, asdict, dataclass, field, fields, is_dataclass, replace
from operator import attrgetter


class UserError(Exception):
    """Something the user can put right: shown as one line, exit status 2."""


class Diverged(RuntimeError):
    """A loss, gradient, logit or weight is not a finite number. One line, exit status 1."""


@dataclass(frozen=True)
class Allowed:
    """What a setting may be: numbers from `low` to `high` or, if there are any, `words`.

    >>> str(between(1, 4096)), between(0, 1).holds(float("nan")), one_of("en", "zh").holds(("en",))
    ('lies between 1 and 4_096', False, True)
    """

    low: float = 0
    high: float = 0
    words: tuple[str, ...] = ()

    def holds(self, value) -> bool:
        if self.words:
            parts = value if isinstance(value, tuple) else (value,)
            return len(parts) > 0 and all(part in self.words for part in parts)
        return isinstance(value, (int, float)) and self.low <= value <= self.high  # never NaN

    def __str__(self):
        if self.words:
            return f"is one of {', '.join(self.words)}"
        low, high = (f"{x:_}" if isinstance(x, int) else f"{x:g}" for x in (self.low, self.high))
        return f"lies between {low} and {high}"


def between(low: float, high: float) -> Allowed:
    return Allowed(low, high)


def one_of(*words: str) -> Allowed:
    """For a tuple: each of its parts."""
    return Allowed(words=words)


def knob(default, help: str, allowed: Allowed | None = None, basic: bool = False):
    """A configuration field. Basic ones are listed by --help, all of them by --help-all.

    `allowed` is the range of a number, or the words of a text that is a choice.
    """
    return field(default=default, metadata={"help": help, "basic": basic, "allowed": allowed})


SHARE = between(0, 1)
RATE = between(0, 1)  # learning rates
WEIGHT = between(0, 1000)  # of a term in a loss or a reward
COUNT = between(1, 1_000_000)  # of steps, problems, rows
PERHAPS = between(0, 1_000_000)  # the same, where 0 leaves something out
TOKENS = between(1, 10**12)  # read in training
LENGTH = between(1, 2**20)  # of a response or a sequence, in tokens
WIDTH = between(1, 16_384)
NORM = between(1e-6, 1e9)  # of a gradient
SEED = between(0, 2**32 - 1)
THREADS = between(0, 1024)
TEMPERATURE = between(0.01, 100)
LANGUAGES = one_of("en", "zh")
OPTIMIZERS = one_of("muon", "adamw")
DEVICES = one_of("auto", "cpu", "cuda", "mps")
DTYPES = one_of("auto", "float32", "bfloat16", "float16")
KERNELS = one_of("auto", "plain", "portable", "grouped")


@dataclass(frozen=True)
class ModelConfig:
    """DeepSeek-V3 in miniature (attention="mla", experts > 0) or a dense twin (attention="gqa")."""

    vocab_size: int = knob(512, "tokens known; set from the tokenizer", LENGTH)
    width: int = knob(128, "model width D", WIDTH, True)
    layers: int = knob(4, "blocks", between(1, 256), True)
    heads: int = knob(4, "attention heads", between(1, 256))
    attention: str = knob(
        "mla", "mla: latent cache (V3 section 2.1.1); gqa: as in Llama", one_of("mla", "gqa"))
    q_rank: int = knob(0, "rank of the query latent; 0: one plain projection", between(0, 16_384))
    kv_rank: int = knob(48, "mla: width of the latent kept in the cache", WIDTH)
    nope_width: int = knob(24, "mla: head width without position", WIDTH)
    rope_width: int = knob(8, "mla: head width that is rotated", WIDTH)
    value_width: int = knob(32, "mla: head width of the values", WIDTH)
    kv_heads: int = knob(2, "gqa: key and value heads", between(1, 256))
    head_width: int = knob(32, "gqa: head width", WIDTH)
    qk_norm: bool = knob(False, "gqa: normalise queries and keys (Qwen3)")
    qkv_bias: bool = knob(False, "gqa: biases on queries, keys and values (Qwen2)")
    tied: bool = knob(False, "the head's matrix is the embedding's")
    dense_width: int = knob(384, "hidden width of a dense feed-forward layer", between(1, 65_536))
    dense_layers: int = knob(1, "first layers that are dense", between(0, 256))
    experts: int = knob(4, "routed experts a layer; 0: dense everywhere", between(0, 1024), True)
    shared_experts: int = knob(1, "experts that see every token", between(0, 64))
    top_k: int = knob(2, "routed experts a token", between(1, 64))
    expert_width: int = knob(96, "hidden width of one expert", between(1, 65_536))
    routed_scale: float = knob(1.0, "factor on the routed experts' output", WEIGHT)
    mtp: bool = knob(False, "one multi-token-prediction block in pretraining (V3 section 2.2)")
    norm_eps: float = knob(1e-6, "epsilon of every RMSNorm", between(1e-12, 1))
    rope_base: float = knob(10000.0, "base of the rotary frequencies", between(1, 1e9))
    rope_factor: float = knob(1.0, "slows slow rotations (Llama 3); 1: none", between(1, 1e6))
    rope_slow: float = knob(1.0, "turns within rope_original that are slow", between(0, 1e6))
    rope_fast: float = knob(4.0, "turns within it that are left alone", between(0, 1e6))
    rope_original: int = knob(8192, "positions read before the context was extended", LENGTH)
    positions: int = knob(1024, "longest sequence, in tokens", LENGTH)
    init_std: float = knob(0.02, "standard deviation of initial weights", between(1e-6, 1))

    @property
    def cache_width(self) -> int:
        """Numbers cached per token and layer: a latent and a rotated key, or keys and values."""
        if self.attention == "mla":
            return self.kv_rank + self.rope_width
        return 2 * self.kv_heads * self.head_width


@dataclass(frozen=True)
class Habits:
    """How often thinking documents show the habits of Gandhi et al. 2025 (arXiv 2503.01307)."""

    verification: float = knob(0.9, "attempts closed by comparing with the target", SHARE, True)
    backtracking: float = knob(0.4, "chance of another attempt; 0: none", SHARE, True)
    subgoals: float = knob(0.06, "attempts that first make a number so that ...", SHARE)
    backward_chaining: float = knob(0.06, "attempts that start from the target", SHARE)
    aim: float = knob(1.0, "attempts whose last step takes a hit when one operator gives it", SHARE)
    systematic: float = knob(0.5, "thinking documents that try the combinations one by one", SHARE)
    small_first: float = knob(0.0, "systematic documents that begin with small first steps", SHARE)
    persistence: float = knob(0.25, "thinking documents with backtracking 0.95", SHARE, True)
    most_attempts: int = knob(40, "attempts in one document at most", between(1, 10**9))
    switching: float = knob(0.0, "attempts that go on in the other language", SHARE)


@dataclass(frozen=True)
class CorpusConfig:
    """The mini-web: shares of documents, and what they hold."""

    countdown: str = knob(
        "cpu", "distributions of puzzles, by commas; twice: twice as often", basic=True)
    writer: str = knob("plain", "who writes thoughts", one_of("plain", "goal_directed"))
    sums: str = knob("plain_sums", "who works sums out", one_of("plain_sums", "careful_sums"))
    share_countdown: float = knob(0.6, "share of Countdown documents", SHARE)
    share_arithmetic: float = knob(0.2, "share of arithmetic questions", SHARE)
    share_equations: float = knob(0.15, "share of documents that list true equations", SHARE)
    direct: float = knob(0.6, "Countdown documents answered without thinking", SHARE)
    pairs: float = knob(0.0, "Countdown documents with two numbers: where aiming is learned", SHARE)
    solved: float = knob(0.3, "Countdown documents written around a known solution", SHARE, True)
    arithmetic_direct: float = knob(0.85, "arithmetic documents answered without working", SHARE)
    languages: tuple[str, ...] = knob(("en",), "languages of documents, by commas", LANGUAGES, True)
    habits: Habits = field(default_factory=Habits)
    habits_zh: Habits = field(default_factory=lambda: Habits(switching=0.02))
    vocab_size: int = knob(512, "tokens of the BPE at most", between(257, 1024))
    shard_tokens: int = knob(500_000, "tokens a process writes at a time", between(1000, 10**9))
    workers: int = knob(0, "processes that write the corpus; 0: one per core, less one", THREADS)


@dataclass(frozen=True)
class PretrainConfig:
    """Next-token prediction, for pretraining and fine-tuning alike."""

    tokens: int = knob(20_000_000, "tokens read in pretraining", TOKENS, True)
    batch_tokens: int = knob(12_288, "tokens a step", between(1, 10**9))
    row_tokens: int = knob(384, "tokens a row", between(2, 2**20))
    optimizer: str = knob("muon", "muon orthogonalises matrices only", OPTIMIZERS)
    lr: float = knob(4e-3, "peak learning rate", RATE, True)
    lr_end: float = knob(0.1, "last learning rate, as a share of the peak", SHARE)
    warmup: float = knob(0.02, "share of the steps spent warming up", SHARE)
    weight_decay: float = knob(0.1, "AdamW weight decay", WEIGHT)
    clip: float = knob(1.0, "largest gradient norm", NORM)
    balance_rate: float = knob(1e-3, "router bias moved by this much a step (V3: gamma)", RATE)
    balance_loss: float = knob(1e-4, "weight of the sequence-wise balance loss (V3: alpha)", WEIGHT)
    mtp_weight: float = knob(0.3, "weight of the multi-token-prediction loss", WEIGHT)
    checkpoint_every: int = knob(500, "steps between checkpoints", COUNT)


@dataclass(frozen=True)
class RLConfig:
    """GRPO (arXiv 2402.03300, section 4; R1 report, Eq. 1-3) and its rewards."""

    steps: int = knob(100, "reinforcement learning steps", PERHAPS, True)
    prompts: int = knob(24, "prompts a step", COUNT, True)
    group_size: int = knob(8, "responses sampled per prompt (G)", between(2, 100_000), True)
    minibatches: int = knob(2, "updates per rollout", COUNT, True)
    lr: float = knob(1.2e-4, "learning rate", RATE, True)
    warmup: int = knob(5, "steps of learning-rate warm-up", PERHAPS)
    lr_end: float = knob(0.1, "last learning rate, as a share of the first (linear)", SHARE)
    clip: float = knob(0.5, "largest gradient norm", NORM)
    temperature: float = knob(1.0, "temperature of sampler and loss alike", TEMPERATURE)
    max_tokens: int = knob(256, "longest response, in tokens", LENGTH, True)
    early_tokens: int = knob(
        0, "longest response in the first half; 0: max_tokens", between(0, 2**20))
    loss: str = knob("grpo", "which loss", one_of(
        "grpo", "dr_grpo", "dapo", "gspo", "cispo", "grpo_reverse_kl"), True)
    clip_low: float = knob(0.2, "the ratio is clipped below 1 - this", SHARE)
    clip_high: float = knob(0.28, "the ratio is clipped above 1 + this", between(0, 1e9))
    average: str = knob(
        "token", "token: mean over all tokens; response: over each response first (paper)",
        one_of("token", "response"), True)
    scale: str = knob("group", "group: advantages divided by its std", one_of("group", "none"))
    kl: float = knob(0.0, "weight of the KL penalty to the reference (beta)", WEIGHT, True)
    kl_refresh: int = knob(400, "steps after which the reference becomes the policy", COUNT)
    accuracy_reward: float = knob(1.0, "reward of a right answer", between(-1000, 1000))
    format_reward: float = knob(0.1, "reward of a well-formed response", WEIGHT)
    language_reward: float = knob(0.0, "reward of the prompt's language (R1 Eq. 7)", WEIGHT)
    tasks: tuple[str, ...] = knob(
        ("countdown:cpu=1",), "practised: countdown:NAME=share or arithmetic:KIND=share",
        basic=True)
    recompute: bool = knob(
        False, "old log-probs from the trainer, not from the sampler (where their numbers differ)")
    save_memory: bool = knob(False, "keep blocks' inputs only, compute the rest again (slower)")
    train_tokens: int = knob(3_072, "tokens in a forward pass of the update", between(1, 10**9))
    evaluate_every: int = knob(20, "steps between validations", COUNT)
    checkpoint_every: int = knob(20, "steps between checkpoints", COUNT)


@dataclass(frozen=True)
class EvalConfig:
    """What is measured, and on how many held-out problems."""

    problems: int = knob(512, "test problems, read once at the end", COUNT, True)
    validation: int = knob(256, "validation problems, read during training", COUNT)
    arithmetic: int = knob(0, "test problems of each arithmetic kind in practice", PERHAPS)
    many: int = knob(128, "problems for the forced base; a quarter of them for its pass@64", COUNT)
    answer_only_steps: int = knob(80, "steps of the answer-only control", PERHAPS, True)
    batch: int = knob(512, "responses sampled at once", COUNT)


@dataclass(frozen=True)
class Config:
    """A run of train_zero.py."""

    preset: str = knob(
        "cpu", "cpu, gpu, best, t4 or smoke; by default the machine chooses", basic=True)
    out: str = knob("", "run folder; runs/PRESET-SEED when not given", basic=True)
    seed: int = knob(0, "seed of everything", SEED, True)
    device: str = knob("auto", "where to compute", DEVICES, True)
    dtype: str = knob("auto", "number format", DTYPES, True)
    kernels: str = knob("auto", "portable: T4 and later; grouped: Hopper and later", KERNELS)
    compile: bool = knob(False, "compile the forward pass in pretraining (CUDA)")
    threads: int = knob(0, "CPU threads; 0: torch's choice", THREADS)
    from_scratch: bool = knob(
        False, "pretrain the base here instead of taking a shipped one", basic=True)
    base: str = knob(
        "base-cpu.pt", "checkpoint to start from: a path or one in minir1/data", basic=True)
    model: ModelConfig = field(default_factory=ModelConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    rl: RLConfig = field(default_factory=RLConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)


# ---------------------------------------------------------------- ranges


def flags_of(kind: type, prefix: str = "") -> Iterator[tuple[str, type, Field]]:
    """(dotted name, type, field) of every setting, nested ones included."""
    hints = typing.get_type_hints(kind)
    for f in fields(kind):
        name, hint = f"{prefix}{f.name}", hints[f.name]
        if is_dataclass(hint):
            yield from flags_of(hint, f"{name}.")
        else:
            yield name, hint, f


def check_ranges(config) -> None:
    """Raises UserError for the first setting outside its range."""
    for name, hint, f in flags_of(type(config)):
        value, allowed = attrgetter(name)(config), f.metadata["allowed"]
        whole = isinstance(value, int) or hint is not int
        if allowed and not (whole and allowed.holds(value)):
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            raise UserError(f"--{name} {allowed}, not {shown!r}")


# ---------------------------------------------------------------- to and from text


def from_dict(kind: type, values: dict):
    """A frozen configuration from plain values. Raises UserError for an unknown field, and for a
    value that is not of the field's kind."""
    if not isinstance(values, dict):
        raise UserError(f"{kind.__name__} is not an object of settings")
    hints = typing.get_type_hints(kind)
    names = {f.name for f in fields(kind)}
    arguments = {}
    for name, value in values.items():
        if name not in names:
            raise UserError(f"unknown setting {name!r} in {kind.__name__}")
        hint = hints[name]
        if is_dataclass(hint):
            value = from_dict(hint, value)
        elif not of_kind(value, hint):
            raise UserError(f"{name} = {value!r:.60} in {kind.__name__} is not of its kind")
        elif typing.get_origin(hint) is tuple:
            value = tuple(value)
        arguments[name] = value
    return kind(**arguments)


def of_kind(value, hint: type) -> bool:
    """Whether a plain value, as JSON holds it, can be a field's.

    >>> of_kind(1, float), of_kind(True, int), of_kind(["en"], tuple[str, ...]), of_kind([1], str)
    (True, False, True, False)
    """
    if typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        return isinstance(value, list | tuple) and all(of_kind(v, kind) for v in value)
    return type(value) is hint or (hint is float and type(value) is int)


def to_json(config) -> str:
    """The configuration as indented JSON; from_dict reads it back."""
    return json.dumps(asdict(config), indent=2, ensure_ascii=False)


def apply(config, changes: dict[str, object]):
    """A copy with fields replaced by dotted names, as in apply(config, {"rl.lr": 1e-4})."""
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        if rest:
            value = apply(getattr(config, head), {rest: value})
        config = replace(config, **{head: value})
    return config
