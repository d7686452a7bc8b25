"""Every setting, with its unit.

minir1/presets.py fills the settings in. minir1/console/flags.py makes the command line from them.
Configurations are frozen and derived values are properties. An unknown setting is a UserError.

>>> apply(Config(), {"rl.lr": 1e-3}).rl.lr
0.001
"""

import json
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace


class UserError(Exception):
    """Something the user can put right: shown as one line, exit status 2."""


def knob(default, help: str, basic: bool = False):
    """A configuration field. Basic ones are listed by --help, all of them by --help-all."""
    return field(default=default, metadata={"help": help, "basic": basic})


@dataclass(frozen=True)
class ModelConfig:
    """DeepSeek-V3 in miniature (attention="mla", experts > 0) or a dense twin (attention="gqa")."""

    vocab_size: int = knob(512, "tokens known; set from the tokenizer")
    width: int = knob(128, "model width D", True)
    layers: int = knob(4, "blocks", True)
    heads: int = knob(4, "attention heads")
    attention: str = knob("mla", "mla (latent cache, V3 section 2.1.1) or gqa (Llama/Qwen3-like)")
    q_rank: int = knob(0, "rank of the query latent; 0: one plain projection")
    kv_rank: int = knob(48, "mla: width of the latent kept in the cache")
    nope_width: int = knob(24, "mla: head width without position")
    rope_width: int = knob(8, "mla: head width that is rotated")
    value_width: int = knob(32, "mla: head width of the values")
    kv_heads: int = knob(2, "gqa: key and value heads")
    head_width: int = knob(32, "gqa: head width")
    qk_norm: bool = knob(False, "gqa: normalise queries and keys (Qwen3)")
    dense_width: int = knob(384, "hidden width of a dense feed-forward layer")
    dense_layers: int = knob(1, "first layers that are dense")
    experts: int = knob(4, "routed experts a layer; 0: dense everywhere", True)
    shared_experts: int = knob(1, "experts that see every token")
    top_k: int = knob(2, "routed experts a token")
    expert_width: int = knob(96, "hidden width of one expert")
    routed_scale: float = knob(1.0, "factor on the routed experts' output")
    mtp: bool = knob(False, "one multi-token-prediction block in pretraining (V3 section 2.2)")
    norm_eps: float = knob(1e-6, "epsilon of every RMSNorm")
    rope_base: float = knob(10000.0, "base of the rotary frequencies")
    positions: int = knob(1024, "longest sequence, in tokens")
    init_std: float = knob(0.02, "standard deviation of initial weights")

    @property
    def cache_width(self) -> int:
        """Numbers cached per token and layer: a latent and a rotated key, or keys and values."""
        if self.attention == "mla":
            return self.kv_rank + self.rope_width
        return 2 * self.kv_heads * self.head_width


@dataclass(frozen=True)
class Habits:
    """How often thinking documents show the habits of Gandhi et al. 2025 (arXiv 2503.01307)."""

    verification: float = knob(0.9, "attempts closed by comparing with the target", True)
    backtracking: float = knob(0.4, "chance of being ready for another attempt; 0: none", True)
    subgoals: float = knob(0.06, "attempts that first make a number so that ...")
    backward_chaining: float = knob(0.06, "attempts that start from the target")
    aim: float = knob(1.0, "attempts whose last step takes a hit when one operator gives it")
    systematic: float = knob(0.5, "thinking documents that try the combinations one by one")
    small_first: float = knob(0.0, "systematic documents that begin with small first steps")
    persistence: float = knob(0.25, "thinking documents with backtracking 0.95 (if not 0)", True)
    most_attempts: int = knob(40, "attempts in one document at most")
    switching: float = knob(0.0, "attempts that go on in the other language")


@dataclass(frozen=True)
class CorpusConfig:
    """The mini-web: shares of documents, and what they hold."""

    countdown: str = knob("cpu", "distributions of puzzles, by commas; twice: twice as often", True)
    writer: str = knob("plain", "who writes the thoughts: plain or goal_directed")
    sums: str = knob("plain_sums", "who writes how a sum is done: plain_sums or careful_sums")
    share_countdown: float = knob(0.6, "share of Countdown documents")
    share_arithmetic: float = knob(0.2, "share of arithmetic questions")
    share_equations: float = knob(0.15, "share of documents that list true equations")
    direct: float = knob(0.6, "Countdown documents answered without thinking")
    pairs: float = knob(0.0, "Countdown documents with two numbers only: where aiming is learned")
    solved: float = knob(0.3, "Countdown documents written around a known solution", True)
    arithmetic_direct: float = knob(0.85, "arithmetic documents answered without working")
    languages: tuple[str, ...] = knob(("en",), "languages of the documents: en, zh or en,zh", True)
    habits: Habits = field(default_factory=Habits)
    habits_zh: Habits = field(default_factory=lambda: Habits(switching=0.02))
    vocab_size: int = knob(512, "tokens of the BPE at most (1,024 is the limit)")
    shard_tokens: int = knob(500_000, "tokens generated by one process at a time")
    workers: int = knob(0, "processes that write the corpus; 0: one per core, less one")


@dataclass(frozen=True)
class PretrainConfig:
    """Next-token prediction, for pretraining and fine-tuning alike."""

    tokens: int = knob(20_000_000, "tokens read in pretraining", True)
    batch_tokens: int = knob(12_288, "tokens a step")
    row_tokens: int = knob(384, "tokens a row")
    optimizer: str = knob("muon", "muon (matrices orthogonalised, AdamW for the rest) or adamw")
    lr: float = knob(4e-3, "peak learning rate", True)
    lr_end: float = knob(0.1, "last learning rate, as a share of the peak")
    warmup: float = knob(0.02, "share of the steps spent warming up")
    weight_decay: float = knob(0.1, "AdamW weight decay")
    clip: float = knob(1.0, "largest gradient norm")
    balance_rate: float = knob(1e-3, "router bias moved by this much a step (V3: gamma)")
    balance_loss: float = knob(1e-4, "weight of the sequence-wise balance loss (V3: alpha)")
    mtp_weight: float = knob(0.3, "weight of the multi-token-prediction loss")
    checkpoint_every: int = knob(500, "steps between checkpoints")


@dataclass(frozen=True)
class RLConfig:
    """GRPO (arXiv 2402.03300, section 4; R1 report, Eq. 1-3) and its rewards."""

    steps: int = knob(100, "reinforcement learning steps", True)
    prompts: int = knob(32, "prompts a step", True)
    group_size: int = knob(8, "responses sampled per prompt (G)", True)
    minibatches: int = knob(2, "updates per rollout", True)
    lr: float = knob(1e-4, "learning rate", True)
    warmup: int = knob(5, "steps of learning-rate warm-up")
    lr_end: float = knob(0.1, "last learning rate, as a share of the first (linear)")
    clip: float = knob(0.5, "largest gradient norm")
    temperature: float = knob(1.0, "temperature of sampler and loss alike")
    max_tokens: int = knob(256, "longest response, in tokens", True)
    early_tokens: int = knob(0, "longest response in the first half of the steps; 0: max_tokens")
    loss: str = knob("grpo", "grpo, dr_grpo, dapo, gspo or cispo", True)
    clip_low: float = knob(0.2, "the ratio is clipped below 1 - this")
    clip_high: float = knob(0.28, "the ratio is clipped above 1 + this")
    average: str = knob(
        "token", "token: mean over all tokens; response: over each response first (paper)", True)
    scale: str = knob("group", "group: advantages divided by the group's std; none")
    kl: float = knob(0.0, "weight of the KL penalty to the reference (beta)", True)
    kl_refresh: int = knob(400, "steps after which the reference becomes the policy")
    accuracy_reward: float = knob(1.0, "reward of a right answer")
    format_reward: float = knob(0.1, "reward of a well-formed response")
    language_reward: float = knob(0.0, "reward of keeping to the prompt's language (R1 Eq. 7)")
    tasks: tuple[str, ...] = knob(
        ("countdown:cpu=1",), "practised: countdown:NAME=share or arithmetic:KIND=share", True)
    recompute: bool = knob(
        False, "old log-probs from the trainer, not from the sampler (where their numbers differ)")
    train_tokens: int = knob(3_072, "tokens in a forward pass of the update (GPU: 16_384 and more)")
    evaluate_every: int = knob(20, "steps between validations")
    checkpoint_every: int = knob(20, "steps between checkpoints")


@dataclass(frozen=True)
class EvalConfig:
    """What is measured, and on how many held-out problems."""

    problems: int = knob(512, "test problems, read once at the end", True)
    validation: int = knob(256, "validation problems, read during training")
    arithmetic: int = knob(0, "test problems of each arithmetic kind in practice")
    many: int = knob(128, "problems for the forced base; a quarter of them for its pass@64")
    answer_only_steps: int = knob(100, "steps of the answer-only control; 0: left out", True)
    batch: int = knob(256, "responses sampled at once")


@dataclass(frozen=True)
class Config:
    """A run of train_zero.py."""

    preset: str = knob("cpu", "cpu, gpu, best, t4 or smoke; by default the machine chooses", True)
    out: str = knob("", "run folder; runs/PRESET-SEED when not given", True)
    seed: int = knob(0, "seed of everything", True)
    device: str = knob("auto", "auto, cpu, cuda or mps", True)
    dtype: str = knob("auto", "auto, float32, bfloat16 or float16", True)
    kernels: str = knob(
        "auto", "auto, plain (core), portable (graphs, T4 and later) or grouped (Hopper and later)")
    compile: bool = knob(False, "compile the forward pass in pretraining (CUDA)")
    threads: int = knob(0, "CPU threads; 0: torch's choice")
    from_scratch: bool = knob(False, "pretrain the base here instead of taking a shipped one", True)
    base: str = knob("base-cpu.pt", "checkpoint to start from: a path or one in minir1/data", True)
    model: ModelConfig = field(default_factory=ModelConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    rl: RLConfig = field(default_factory=RLConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)


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
