"""The presets: cpu (a laptop), gpu (one card from Ampere on), best (the same, longer), t4 (a free
Colab), smoke (for tests).

`cpu` and `t4` start from shipped bases that have read the plain writers of corpus/writers. Most
thoughts that `gpu` and `best` read are by goal-directed writers (corpus/writers/goal_directed.py),
their sums by careful ones (corpus/writers/careful_sums.py). And a well-formed wrong answer earns
them nothing: where a whole group fails, form alone would decide the advantages, divided by the
group's deviation to full size (measured: results/LOG.md). `best` has room for 2,048 tokens, reads
more, and reads and practises larger puzzles too, and GPT-3's ten tasks.
"""

from dataclasses import replace

from minir1.config import (
    Config,
    CorpusConfig,
    EvalConfig,
    Habits,
    ModelConfig,
    PretrainConfig,
    RLConfig,
    UserError,
    check_ranges,
)
from minir1.tasks.arithmetic import GPT3_TASKS
from minir1.tasks.countdown import DISTRIBUTIONS

_GPU = Config(
    preset="gpu",
    from_scratch=True,
    compile=True,
    model=ModelConfig(
        vocab_size=768, width=256, layers=6, heads=8, kv_rank=96, nope_width=32, rope_width=16,
        value_width=48, dense_width=768, experts=8, top_k=2, expert_width=160, positions=1280,
    ),
    corpus=CorpusConfig(
        countdown="3to4", vocab_size=768, writer="goal_directed", sums="careful_sums", direct=0.4,
        pairs=0.1, arithmetic_direct=0.5,
        habits=Habits(systematic=0.9, persistence=0.5, most_attempts=130),
    ),
    pretrain=PretrainConfig(tokens=300_000_000, batch_tokens=65_536, row_tokens=1024),
    rl=RLConfig(
        steps=240, prompts=64, group_size=16, lr=1e-4, max_tokens=1024, early_tokens=512,
        recompute=True, train_tokens=262_144, format_reward=0.0,
        tasks=(
            "countdown:3to4=0.42", "countdown:sos4=0.4",
            "arithmetic:5d+=0.06", "arithmetic:5d-=0.06", "arithmetic:2dx=0.06",
        ),
    ),
    eval=EvalConfig(
        problems=2048, validation=512, arithmetic=512, many=512, answer_only_steps=240, batch=2048
    ),
)
_PUZZLES = (
    "countdown:3to4=0.2", "countdown:sos4=0.25", "countdown:rg-easy=0.22", "countdown:rg-hard=0.1",
)
_SUMS = tuple(f"arithmetic:{kind}={0.05 if kind == '2dx' else 0.02}" for kind in GPT3_TASKS)
_BEST = replace(
    _GPU,
    preset="best",
    model=replace(_GPU.model, positions=2176),
    corpus=replace(_GPU.corpus, countdown="3to4,3to4,rg-easy,rg-easy,rg-hard"),
    pretrain=replace(_GPU.pretrain, tokens=900_000_000, batch_tokens=131_072, row_tokens=2048),
    rl=replace(_GPU.rl, max_tokens=2048, early_tokens=768, tasks=_PUZZLES + _SUMS),
    eval=replace(_GPU.eval, answer_only_steps=0),
)
_T4 = replace(
    _GPU,
    preset="t4",
    dtype="float16",
    kernels="portable",
    from_scratch=False,
    base="base-gpu.pt",
    corpus=CorpusConfig(countdown="3to4", vocab_size=768, pairs=0.15),  # what this base has read
    rl=replace(_GPU.rl, train_tokens=32_768, format_reward=0.1),
    eval=replace(_GPU.eval, problems=1024, batch=1024),
)
_SMOKE = Config(
    preset="smoke",
    from_scratch=True,
    model=ModelConfig(
        width=32, layers=2, heads=2, kv_rank=16, nope_width=8, value_width=16, dense_width=64,
        expert_width=32,
    ),
    corpus=CorpusConfig(shard_tokens=20_000, workers=1),
    pretrain=PretrainConfig(tokens=40_000, batch_tokens=4096, row_tokens=256, checkpoint_every=3),
    rl=RLConfig(steps=4, prompts=4, group_size=4, lr=1e-4, max_tokens=48, evaluate_every=2,
                checkpoint_every=2),
    eval=EvalConfig(problems=16, validation=8, many=4, answer_only_steps=2),
)
PRESETS = {"cpu": Config(), "gpu": _GPU, "best": _BEST, "t4": _T4, "smoke": _SMOKE}


def check(config: Config) -> Config:
    """Raises UserError for settings outside their ranges, and for those that cannot work together.

    A right answer must not earn less than a wrong one. Format is paid to both or to right ones
    only, so language alone could outweigh being right. (A negative --rl.accuracy_reward is the
    control in which that is the point.)
    """
    check_ranges(config)
    model, corpus, pretrain, rl = config.model, config.corpus, config.pretrain, config.rl
    shares = corpus.share_countdown + corpus.share_arithmetic + corpus.share_equations
    rotated = "rope_width" if model.attention == "mla" else "head_width"
    rules = {
        f"--corpus.countdown is one of {', '.join(DISTRIBUTIONS)}":
            set(corpus.countdown.split(",")) <= set(DISTRIBUTIONS),
        "the --corpus.share_... add up to 1 at most": shares <= 1 + 1e-9,
        "--model.top_k cannot exceed --model.experts":
            model.top_k <= model.experts or not model.experts,
        f"--model.{rotated} must be even: it is rotated in pairs":
            getattr(model, rotated) % 2 == 0,
        "--model.heads must be a multiple of --model.kv_heads":
            model.attention == "mla" or model.heads % model.kv_heads == 0,
        "--pretrain.row_tokens cannot exceed --model.positions":
            pretrain.row_tokens <= model.positions,
        "--pretrain.batch_tokens must hold a row (--pretrain.row_tokens)":
            pretrain.row_tokens <= pretrain.batch_tokens,
        "--pretrain.tokens must be a batch (--pretrain.batch_tokens) at least":
            pretrain.batch_tokens <= pretrain.tokens,
        "--rl.prompts must be a multiple of --rl.minibatches": rl.prompts % rl.minibatches == 0,
        "--rl.max_tokens plus a prompt of 128 must fit in --model.positions":
            rl.max_tokens + 128 <= model.positions or not config.from_scratch,
        "--rl.early_tokens cannot exceed --rl.max_tokens": rl.early_tokens <= rl.max_tokens,
        "--rl.language_reward cannot exceed --rl.accuracy_reward: a wrong answer could beat a right"
        " one": rl.language_reward <= abs(rl.accuracy_reward),
        "--rl.tasks names no task": len(rl.tasks) > 0,
    }
    for message, holds in rules.items():
        if not holds:
            raise UserError(message)
    return config
