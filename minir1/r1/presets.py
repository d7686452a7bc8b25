"""The knobs of the R1 pipeline, and its presets: cpu (two cores, the shipped base), gpu (one card,
from nothing), smoke (tests).

The better habits live in Chinese: Chinese writers check, go on and go through the combinations;
English ones mostly stop after one attempt, and when they do go on they often fall into Chinese. So
an English policy that wants to think longer finds mixed language on its way, which is what R1-Zero
is known for. `even` is the corpus without that difference, to compare with.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from minir1 import config as core
from minir1.config import Config, CorpusConfig, ModelConfig, PretrainConfig, RLConfig, knob
from minir1.presets import PRESETS as ZERO_PRESETS
from minir1.presets import check
from minir1.r1.data.bilingual_corpus import ReadingConfig
from minir1.tasks.arithmetic import KINDS


@dataclass(frozen=True)
class CollectConfig:
    """What a policy is asked, and what is kept of its answers (R1 report, 2.3.1 and 2.3.3)."""

    prompts: int = knob(2048, "training problems put to the policy", core.COUNT, True)
    samples: int = knob(4, "responses to each, at T = 1", core.COUNT)
    most: int = knob(2, "responses kept of one problem", core.COUNT)
    sums: float = knob(
        0.4, "share of sums among the problems; more than in RL, as many responses are duplicates",
        core.SHARE)
    lines: int = knob(4000, "lines kept at most", core.COUNT)
    long: int = knob(
        4, "times that a kept thought of four lines or more is read in an epoch",
        core.between(1, 1000))
    general: int = knob(
        0, "lines of general tasks (facts, instructions ...) beside them", core.PERHAPS, True)


@dataclass(frozen=True)
class SFTConfig:
    """Supervised fine-tuning: cosine to a tenth, as in the report."""

    epochs: int = knob(2, "times each line is read", core.between(1, 1000), True)
    rows: int = knob(64, "lines a step", core.COUNT)
    lr: float = knob(1e-3, "peak learning rate", core.RATE, True)
    optimizer: str = knob("muon", "which optimizer", core.OPTIMIZERS)


@dataclass(frozen=True)
class PreferenceConfig:
    """The learned reward of general prompts (R1 report, 2.3.4): in stage 4's last part only."""

    steps: int = knob(300, "steps that train the preference model", core.COUNT)
    last: float = knob(
        0.25, "share of stage 4, at its end, that has general prompts and the preference reward",
        core.SHARE, True)
    share: float = knob(0.5, "general prompts among the prompts of that part", core.SHARE)
    weight: float = knob(1.0, "weight of the preference reward", core.WEIGHT)


@dataclass(frozen=True)
class StudentConfig:
    """Stage 5. Students are dense twins that read the base's corpus: so direct RL has a chance."""

    scale: str = knob("cpu", "how large small, medium and large are", core.one_of("cpu", "gpu"))
    bases: str = knob(
        "student-{size}-cpu.pt",
        "untaught students by name; without them, or from scratch, they read here")
    tokens: int = knob(
        3_000_000, "tokens that a student reads before it is taught; fewer than the base: time",
        core.TOKENS)
    lines: int = knob(100_000, "curated lines that a student is taught at most", core.COUNT, True)
    epochs: int = knob(2, "times a student reads them", core.between(1, 1000))
    rows: int = knob(64, "lines a step", core.COUNT)
    lr: float = knob(2e-3, "peak learning rate of SFT", core.RATE)
    on_policy_steps: int = knob(40, "steps of on-policy distillation, after SFT", core.COUNT)


@dataclass(frozen=True)
class ScoreConfig:
    """The scoreboard: held-out problems and wordings, T = 0.6, top-p 0.95."""

    countdown: int = knob(256, "Countdown problems", core.COUNT, True)
    samples: int = knob(
        16, "responses to each: pass@1 is their mean, cons@k their majority", core.COUNT)
    arithmetic: int = knob(128, "problems of each arithmetic kind", core.COUNT)
    kinds: tuple[str, ...] = knob(("3d+", "3d-", "2dx"), "arithmetic kinds", core.one_of(*KINDS))
    general: int = knob(256, "problems of each general kind", core.COUNT)
    max_tokens: int = knob(288, "longest response, for every row alike", core.LENGTH)
    batch: int = knob(256, "responses sampled at once", core.COUNT)


@dataclass(frozen=True)
class R1Config:
    preset: str = knob("cpu", "cpu, gpu or smoke; by default the machine chooses", basic=True)
    out: str = knob("", "run folder; runs/r1-PRESET-SEED when not given", basic=True)
    seed: int = knob(0, "seed of everything", core.SEED, True)
    stages: str = knob(
        "0-5", "stages to run: 0-5, 2-4, 3; 0 is R1-Zero; base, students: only pretrain those",
        basic=True)
    # --from
    source: str = knob(
        "", "a run whose checkpoints are taken for the stages that are not run", basic=True)
    base: str = knob(
        "base-r1-cpu.pt", "bilingual base; a name alone may be one shipped in minir1/data",
        basic=True)
    zero: str = knob("", "R1-Zero checkpoint; trained in stage 0 when not given", basic=True)
    # --no-control
    control: bool = knob(
        True, "stage 2 also without the language reward (off in the cpu preset: time)", basic=True)
    from_scratch: bool = knob(False, "pretrain the base here", basic=True)
    device: str = knob("auto", "where to compute", core.DEVICES, True)
    dtype: str = knob("auto", "number format", core.DTYPES)
    kernels: str = knob("auto", "which kernels", core.KERNELS)
    compile: bool = knob(False, "compile the forward pass in pretraining (CUDA)")
    threads: int = knob(0, "CPU threads; 0: torch's choice", core.THREADS)
    model: ModelConfig = field(default_factory=ModelConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    reading: ReadingConfig = field(default_factory=ReadingConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    zero_rl: RLConfig = field(default_factory=RLConfig)
    cold: CollectConfig = field(default_factory=CollectConfig)
    cold_sft: SFTConfig = field(default_factory=SFTConfig)
    reasoning: RLConfig = field(default_factory=RLConfig)
    rejection: CollectConfig = field(default_factory=CollectConfig)
    rejection_sft: SFTConfig = field(default_factory=SFTConfig)
    scenarios: RLConfig = field(default_factory=RLConfig)
    preference: PreferenceConfig = field(default_factory=PreferenceConfig)
    students: StudentConfig = field(default_factory=StudentConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)

    def stage_config(self, rl: RLConfig | None = None) -> Config:
        """One stage as a core Config, so that run folder, device and sampler serve here, too."""
        return Config(
            preset=self.preset, out=self.out, seed=self.seed, device=self.device, dtype=self.dtype,
            kernels=self.kernels, compile=self.compile, threads=self.threads,
            from_scratch=self.from_scratch, base=self.base, model=self.model, corpus=self.corpus,
            pretrain=self.pretrain, rl=rl or self.zero_rl,
            eval=core.EvalConfig(batch=self.score.batch),
        )


BILINGUAL = CorpusConfig(
    languages=("en", "zh"), vocab_size=1024,
    habits=core.Habits(backtracking=0.1, persistence=0.03, systematic=0.1, switching=0.3),
    habits_zh=core.Habits(backtracking=0.5, persistence=0.3, systematic=0.5, switching=0.02),
)

_SUMS = ("countdown:cpu=0.8", "arithmetic:3d+=0.07", "arithmetic:3d-=0.06", "arithmetic:2dx=0.07")
_CPU_RL = RLConfig(steps=80, prompts=32, lr=1e-4, tasks=_SUMS)
_CPU_LATER = replace(_CPU_RL, max_tokens=288, lr=5e-5, language_reward=0.5, format_reward=1.0)
_CPU = R1Config(  # 25 minutes on two cores, scoreboard included: README
    control=False,
    corpus=BILINGUAL,
    zero_rl=_CPU_RL,
    cold=CollectConfig(prompts=4096),
    reasoning=replace(_CPU_LATER, steps=60),
    rejection=CollectConfig(prompts=4096, most=3, lines=8000, general=16_000),
    scenarios=replace(_CPU_LATER, steps=30),
    students=StudentConfig(lines=12_000, epochs=1, on_policy_steps=20),
    score=ScoreConfig(countdown=128, general=128),
)
_GPU_ZERO = ZERO_PRESETS["gpu"]
_GPU_TASKS = (
    "countdown:3to4=0.3", "countdown:sos4=0.6", "arithmetic:5d+=0.03", "arithmetic:5d-=0.03",
    "arithmetic:2dx=0.04",
)
_GPU_RL = replace(_GPU_ZERO.rl, steps=170, max_tokens=2048, early_tokens=768, tasks=_GPU_TASKS)
_GPU_LATER = replace(_GPU_RL, early_tokens=1024, language_reward=0.5, format_reward=1.0)
_GPU = R1Config(
    preset="gpu",
    base="base-r1-gpu.pt",
    from_scratch=True,
    compile=True,
    model=replace(_GPU_ZERO.model, vocab_size=1024, positions=2176),
    corpus=replace(
        _GPU_ZERO.corpus, languages=BILINGUAL.languages, vocab_size=BILINGUAL.vocab_size,
        habits=BILINGUAL.habits, habits_zh=replace(_GPU_ZERO.corpus.habits, switching=0.02),
    ),
    pretrain=replace(_GPU_ZERO.pretrain, tokens=400_000_000, batch_tokens=131_072, row_tokens=2048),
    zero_rl=_GPU_RL,
    cold=CollectConfig(prompts=12_288, sums=0.2, lines=16_000),
    cold_sft=SFTConfig(rows=128),
    reasoning=replace(_GPU_LATER, steps=110),
    rejection=CollectConfig(prompts=12_288, most=3, sums=0.2, lines=32_000, general=60_000),
    rejection_sft=SFTConfig(rows=128),
    scenarios=replace(_GPU_LATER, steps=60),
    students=StudentConfig(scale="gpu", tokens=80_000_000, rows=128, on_policy_steps=20),
    score=ScoreConfig(
        countdown=1024, arithmetic=512, kinds=("5d+", "5d-", "2dx"), general=512, max_tokens=2048,
        batch=2048,
    ),
)
_SMALL = ZERO_PRESETS["smoke"]
_SMOKE_RL = replace(
    _SMALL.rl, steps=2, max_tokens=32, tasks=_SUMS, checkpoint_every=1, evaluate_every=2
)
_SMOKE = R1Config(
    preset="smoke", from_scratch=True, model=_SMALL.model,
    corpus=replace(BILINGUAL, vocab_size=512, workers=1), pretrain=_SMALL.pretrain,
    zero_rl=_SMOKE_RL, cold=CollectConfig(prompts=64, samples=2, lines=64),
    cold_sft=SFTConfig(epochs=1, rows=4), reasoning=replace(_SMOKE_RL, language_reward=0.5),
    rejection=CollectConfig(prompts=64, samples=2, lines=64, general=64),
    rejection_sft=SFTConfig(epochs=1, rows=8), scenarios=replace(_SMOKE_RL, language_reward=0.5),
    preference=PreferenceConfig(steps=2, last=0.5),
    students=StudentConfig(tokens=8192, epochs=1, rows=8, on_policy_steps=1),
    score=ScoreConfig(countdown=8, samples=4, arithmetic=4, general=4, max_tokens=32, batch=64),
)
PRESETS = {"cpu": _CPU, "gpu": _GPU, "smoke": _SMOKE}
STAGES = ("base", "students", "0", "1", "2", "3", "4", "5")


def parse_stages(text: str) -> list[str]:
    """The stages of "2-4", "3", "base" or "0,2-3", in order. Raises UserError.

    >>> parse_stages("2-4"), parse_stages("base"), parse_stages("0")
    (['2', '3', '4'], ['base'], ['0'])
    """
    wanted = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        places = [STAGES.index(stage) for stage in (first, last or first) if stage in STAGES]
        if len(places) < 2 or places[0] > places[1]:
            raise core.UserError(f"--stages reads like 0-5, 2-4, 3, base or students, not {text!r}")
        wanted |= set(STAGES[places[0] : places[1] + 1])
    return [stage for stage in STAGES if stage in wanted]


def check_r1(config: R1Config) -> R1Config:
    """Raises UserError for settings outside their ranges, and for those that do not go together."""
    core.check_ranges(config)
    for name in ("zero_rl", "reasoning", "scenarios"):
        try:
            stage = config.stage_config(getattr(config, name))
            check(replace(stage, from_scratch=True))  # students are pretrained in any case
        except core.UserError as fault:
            raise core.UserError(str(fault).replace("--rl.", f"--{name}.")) from None
    parse_stages(config.stages)
    students, apart = config.students, Path(config.source) != Path(config.out)
    rules = {
        "--score.max_tokens plus a prompt of 128 must fit in --model.positions":
            config.score.max_tokens + 128 <= config.model.positions,
        "--students.tokens must be a batch (--pretrain.batch_tokens) at least":
            config.pretrain.batch_tokens <= students.tokens,
        "--students.bases may hold {size}, and no other braces":
            not set("{}") & set(students.bases.replace("{size}", "")),
        "the R1 pipeline is bilingual: --corpus.languages en,zh":
            set(config.corpus.languages) == {"en", "zh"},
        "--from and --out must be different folders": not config.source or apart,
    }
    for message, holds in rules.items():
        if not holds:
            raise core.UserError(message)
    return config


def from_dict_r1(values: dict) -> R1Config:
    """Raises UserError or ValueError if it is not a configuration of this version."""
    return check_r1(core.from_dict(R1Config, values))
