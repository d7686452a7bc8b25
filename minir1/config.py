"""Every knob, with its unit; the presets; and the command line made from them.

Configuration is frozen. Derived values are properties. Unknown flags and presets fail with one line.

>>> PRESETS["cpu"].rl.group_size
8
>>> parse_command_line(["--preset", "cpu", "--rl.lr", "1e-4"]).rl.lr
0.0001
"""

import argparse
import json
import types
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
    def moe(self) -> bool:
        return self.experts > 0

    @property
    def cache_width(self) -> int:
        """Numbers kept per token and layer: a latent and one rotated key, or all keys and values."""
        return self.kv_rank + self.rope_width if self.attention == "mla" else 2 * self.kv_heads * self.head_width


@dataclass(frozen=True)
class Habits:
    """How often the corpus shows each habit of Gandhi et al. 2025 (arXiv 2503.01307) in a thinking document."""

    verification: float = knob(0.9, "attempts closed by comparing with the target", True)
    backtracking: float = knob(0.5, "failed attempts that are followed by another one", True)
    subgoals: float = knob(0.06, "attempts that first make a number so that ...")
    backward_chaining: float = knob(0.06, "attempts that start from the target")
    aim: float = knob(0.5, "attempts whose last step takes a hit when one operator gives it")
    persistence: float = knob(0.1, "thinking documents that go on after 95 of 100 failures", True)
    repeating: float = knob(0.1, "attempts drawn without looking back, which may repeat an earlier one")
    most_attempts: int = knob(40, "attempts in one document at most")
    switching: float = knob(0.0, "attempts that go on in the other language")


@dataclass(frozen=True)
class CorpusConfig:
    """The mini-web: shares of documents, and what they hold."""

    countdown: str = knob("cpu", "distribution of the Countdown documents", True)
    share_countdown: float = knob(0.6, "share of Countdown documents")
    share_arithmetic: float = knob(0.2, "share of arithmetic questions")
    share_equations: float = knob(0.15, "share of documents that list true equations")
    direct: float = knob(0.35, "Countdown documents answered without thinking")
    pairs: float = knob(0.15, "Countdown documents with two numbers only: where aiming is learned")
    solved: float = knob(0.3, "Countdown documents that were written around a known solution", True)
    arithmetic_direct: float = knob(0.85, "arithmetic documents answered without working")
    languages: tuple[str, ...] = knob(("en",), "en, zh or en,zh: languages of the documents", True)
    habits: Habits = field(default_factory=Habits)
    habits_zh: Habits = field(default_factory=lambda: Habits(switching=0.02))
    vocab_size: int = knob(512, "tokens of the BPE at most (1,024 is the limit)")
    shard_tokens: int = knob(500_000, "tokens generated by one process at a time")
    workers: int = knob(0, "processes that write the corpus; 0: one per core, less one")


@dataclass(frozen=True)
class PretrainConfig:
    tokens: int = knob(20_000_000, "tokens read in pretraining", True)
    batch_tokens: int = knob(12_288, "tokens a step")
    row_tokens: int = knob(384, "tokens a row")
    lr: float = knob(3e-3, "peak learning rate", True)
    lr_end: float = knob(0.1, "last learning rate, as a share of the peak")
    warmup: float = knob(0.02, "share of the steps spent warming up")
    weight_decay: float = knob(0.1, "AdamW weight decay")
    clip: float = knob(1.0, "largest gradient norm")
    balance_rate: float = knob(1e-3, "router bias moved by this much a step (V3: gamma)")
    balance_loss: float = knob(1e-4, "weight of the sequence-wise balance loss (V3: alpha)")
    mtp_weight: float = knob(0.3, "weight of the multi-token-prediction loss")


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
    average: str = knob("token", "token: mean over the batch's tokens; response: over each response first (the paper)", True)
    scale: str = knob("group", "group: advantages divided by the group's std; none")
    kl: float = knob(0.0, "weight of the KL penalty to the reference (beta)", True)
    kl_refresh: int = knob(400, "steps after which the reference becomes the policy")
    accuracy_reward: float = knob(1.0, "reward of a right answer")
    format_reward: float = knob(0.1, "reward of a well-formed response")
    language_reward: float = knob(0.0, "reward times the share of words in the prompt's language (R1 Eq. 7)")
    tasks: tuple[str, ...] = knob(("countdown:cpu=1",), "what is practised: countdown:NAME=share or arithmetic:KIND=share", True)
    think: bool = knob(True, "off: <answer> is prefilled, the policy cannot think (answer-only control)")
    train_tokens: int = knob(16_384, "tokens in one forward pass of the update (memory)")
    balance_rate: float = knob(0.0, "router bias moved by this much an update; 0: frozen, see README")
    evaluate_every: int = knob(20, "steps between validations")
    checkpoint_every: int = knob(20, "steps between checkpoints")


@dataclass(frozen=True)
class EvalConfig:
    problems: int = knob(512, "test problems, read once at the end", True)
    validation: int = knob(256, "validation problems, read during training")
    arithmetic: int = knob(0, "test problems of each arithmetic kind in practice")
    many: int = knob(128, "problems for pass@64 of the base and for the forced base")
    answer_only_steps: int = knob(60, "steps of the answer-only control; 0: left out", True)
    batch: int = knob(256, "responses sampled at once")


@dataclass(frozen=True)
class Config:
    preset: str = knob("cpu", "cpu, gpu, t4 or smoke; chosen by the machine when not given", True)
    out: str = knob("", "run folder; runs/PRESET-SEED when not given", True)
    seed: int = knob(0, "seed of everything", True)
    device: str = knob("auto", "auto, cpu, cuda or mps", True)
    dtype: str = knob("auto", "auto, float32, bfloat16 or float16", True)
    kernels: str = knob("auto", "auto, plain (the core), portable (graphs, T4 and later) or grouped (Hopper and later)")
    compile: bool = knob(False, "torch.compile the forward pass in pretraining")
    threads: int = knob(0, "CPU threads; 0: torch's choice")
    from_scratch: bool = knob(False, "pretrain the base here instead of taking the shipped one", True)
    base: str = knob("", "checkpoint to start from instead", True)
    model: ModelConfig = field(default_factory=ModelConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    rl: RLConfig = field(default_factory=RLConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)


# ---------------------------------------------------------------- presets

_GPU = Config(
    preset="gpu",
    from_scratch=True,
    compile=True,
    model=ModelConfig(
        vocab_size=768, width=256, layers=6, heads=8, kv_rank=96, nope_width=32, rope_width=16, value_width=48,
        dense_width=768, experts=8, top_k=2, expert_width=160, positions=1280,
    ),
    corpus=CorpusConfig(countdown="3to4", vocab_size=768),
    pretrain=PretrainConfig(tokens=250_000_000, batch_tokens=65_536, row_tokens=1024, lr=3e-3),
    rl=RLConfig(
        steps=200, prompts=64, group_size=16, lr=1e-4, max_tokens=1024, early_tokens=512, train_tokens=262_144,
        tasks=("countdown:3to4=0.8", "arithmetic:5d+=0.07", "arithmetic:5d-=0.07", "arithmetic:2dx=0.06"),
    ),
    eval=EvalConfig(problems=2048, validation=512, arithmetic=512, many=512, answer_only_steps=100, batch=2048),
)
PRESETS = {
    "cpu": Config(),
    "gpu": _GPU,
    "t4": replace(
        _GPU, preset="t4", dtype="float16", kernels="portable", from_scratch=False,
        rl=replace(_GPU.rl, prompts=32, train_tokens=32_768), eval=replace(_GPU.eval, problems=1024, batch=512),
    ),
    "smoke": Config(
        preset="smoke",
        from_scratch=True,
        model=ModelConfig(width=32, layers=2, heads=2, kv_rank=16, nope_width=8, value_width=16, dense_width=64, expert_width=32),
        corpus=CorpusConfig(shard_tokens=20_000, workers=1),
        pretrain=PretrainConfig(tokens=40_000, batch_tokens=4096),
        rl=RLConfig(steps=4, prompts=4, group_size=4, max_tokens=48, evaluate_every=2, checkpoint_every=2),
        eval=EvalConfig(problems=16, validation=8, many=4, answer_only_steps=2),
    ),
}  # fmt: skip


# ---------------------------------------------------------------- to and from text


def to_dict(config) -> dict:
    return asdict(config)


def from_dict(kind: type, values: dict):
    """A frozen configuration from plain values. Raises UserError for an unknown or mistyped field."""
    known, hints = {f.name: f for f in fields(kind)}, typing.get_type_hints(kind)
    given = {}
    for name, value in values.items():
        if name not in known:
            raise UserError(f"unknown setting {name!r} in {kind.__name__}")
        hint = hints[name]
        if is_dataclass(hint):
            value = from_dict(hint, value)
        elif typing.get_origin(hint) is tuple:
            value = tuple(value)
        given[name] = value
    return kind(**given)


def to_json(config) -> str:
    return json.dumps(to_dict(config), indent=2, ensure_ascii=False)


def _flags(kind: type, prefix: str = "") -> list[tuple[str, type, object]]:
    hints, found = typing.get_type_hints(kind), []
    for f in fields(kind):
        name = f"{prefix}{f.name}"
        nested = is_dataclass(hints[f.name])
        found += _flags(hints[f.name], f"{name}.") if nested else [(name, hints[f.name], f)]
    return found


def _converter(hint: type):
    def boolean(text: str) -> bool:
        if text.lower() not in ("on", "off", "true", "false", "1", "0", "yes", "no"):
            raise argparse.ArgumentTypeError(f"{text!r} is not on or off")
        return text.lower() in ("on", "true", "1", "yes")

    if isinstance(hint, types.GenericAlias):
        return lambda text: tuple(part for part in text.split(",") if part)
    return {bool: boolean, int: lambda text: int(text.replace("_", ""))}.get(hint, hint)


def build_parser(program: str, everything: bool = False) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(program, description="R1-Zero from random weights.", add_help=False, allow_abbrev=False)
    parser.add_argument("--help", "-h", action="store_true", help="the flags most people need")
    parser.add_argument("--help-all", action="store_true", help="every flag")
    parser.add_argument("--resume", nargs="?", const="", metavar="RUN", help="go on with a run folder from its last checkpoint")
    for name, hint, f in _flags(Config):
        help = f.metadata["help"] if everything or f.metadata["basic"] else argparse.SUPPRESS
        boolean = {"nargs": "?", "const": True} if hint is bool else {}
        parser.add_argument(f"--{name}", type=_converter(hint), help=help, metavar=name.split(".")[-1].upper(), **boolean)
    return parser


def apply(config, changes: dict[str, object]):
    """Replace dotted names: apply(config, {"rl.lr": 1e-4})."""
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        config = replace(config, **{head: apply(getattr(config, head), {rest: value}) if rest else value})
    return config


def check(config: Config) -> Config:
    """Raises UserError for settings that cannot work together."""
    model, rl = config.model, config.rl
    rules = [
        (model.attention in ("mla", "gqa"), "--model.attention is mla or gqa"),
        (model.top_k <= model.experts or not model.moe, "--model.top_k cannot exceed --model.experts"),
        (256 < config.corpus.vocab_size <= 1024, "--corpus.vocab_size lies between 257 and 1024"),
        (rl.loss in ("grpo", "dr_grpo", "dapo", "gspo", "cispo"), f"unknown --rl.loss {rl.loss!r}"),
        (rl.average in ("token", "response"), "--rl.average is token or response"),
        (rl.scale in ("group", "none"), "--rl.scale is group or none"),
        (rl.group_size >= 2, "--rl.group_size must be at least 2: an advantage compares with the group"),
        (rl.minibatches >= 1 and rl.prompts % rl.minibatches == 0, "--rl.prompts must be a multiple of --rl.minibatches"),
        (rl.temperature > 0, "--rl.temperature must be above 0"),
        (rl.max_tokens + 128 <= model.positions, "--rl.max_tokens plus a prompt of 128 must fit in --model.positions"),
        (set(config.corpus.languages) <= {"en", "zh"}, "--corpus.languages is en, zh or en,zh"),
    ]
    for holds, message in rules:
        if not holds:
            raise UserError(message)
    return config


def parse_command_line(arguments: list[str], program: str = "train_zero.py", default: str = "cpu") -> Config:
    """Preset, then flags on top. Raises UserError; prints help and raises SystemExit(0) for --help."""
    parser = build_parser(program, "--help-all" in arguments)
    parser.error = lambda message: (_ for _ in ()).throw(UserError(f"{message} (see {program} --help)"))
    given = vars(parser.parse_args(arguments))
    if given.pop("help") | given.pop("help_all"):
        parser.print_help()
        raise SystemExit(0)
    given.pop("resume")
    preset = given.pop("preset") or default
    if preset not in PRESETS:
        raise UserError(f"unknown preset {preset!r}; choose from {', '.join(PRESETS)}")
    return check(apply(PRESETS[preset], {name: value for name, value in given.items() if value is not None}))
