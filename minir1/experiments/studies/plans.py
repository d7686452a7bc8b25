"""The experiments, as data: a study is a list of variants, a variant is a set of flags of train_zero.py and, where no flag
does it, hooks (minir1/experiments/studies/hooks.py; "budget" and "dense_twin" are worked out here).

>>> [v.name for v in STUDIES["headline"].variants]
['normal', 'references']
"""

from dataclasses import dataclass, field

from minir1.config import ModelConfig, UserError
from minir1.presets import PRESETS


@dataclass(frozen=True)
class Variant:
    """One setting of an experiment.

    kind: what is trained: rl; answer_only (may not think); rejection_sft (fine-tuned on right answers of the base, as many
    samples drawn as RL draws); references (nothing: the lines that an accuracy is shown beside). `flags` are dotted names of
    config.Config; `hooks` are names and arguments for study_hooks.HOOKS; `pretrained`: reads a base of its own first.
    """

    name: str
    about: str
    flags: dict[str, object] = field(default_factory=dict)
    hooks: dict[str, object] = field(default_factory=dict)
    kind: str = "rl"
    pretrained: bool = False


@dataclass(frozen=True)
class Study:
    about: str
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...] = (0, 1, 2)


NORMAL = Variant("normal", "the default run")
REFERENCES = Variant("references", "no training: blind search, look-ahead, the base forced to go on, pass@64", kind="references")

CONTROLS = Study(
    "Is it the reward? The same RL with rewards that say nothing, or the wrong thing; and what is not RL at all.",
    (
        NORMAL,
        Variant("random", "a coin decides the reward", hooks={"random_reward": 0.5}),
        Variant("format_only", "form is all that is rewarded", {"rl.accuracy_reward": 0.0, "rl.format_reward": 1.0}),
        Variant("inverted", "a right answer costs a point", {"rl.accuracy_reward": -1.0}),
        Variant("answer_only", "may not think, as many steps", kind="answer_only"),
        Variant("rejection_sft", "fine-tuned on the base's own right answers, as many samples", kind="rejection_sft"),
        Variant("expert_iteration", "right answers of the policy imitated, wrong ones ignored", hooks={"imitate": True}),
        Variant("response_mean", "each response weighs the same: 1/|o|, the paper's form", {"rl.average": "response"}),
        REFERENCES,
    ),
)

OFF = {name: {f"corpus.habits.{name}": 0.0} for name in ("verification", "backtracking", "subgoals", "backward_chaining")}
DOSES = (0.0, 0.001, 0.01, 0.05, 0.2, 0.8)
HABITS = Study(
    "What must the base have read? The share of Countdown documents with more than one attempt, the arithmetic matched; "
    "and each habit taken away.",
    (
        *(Variant(f"dose_{100 * d:g}", f"{100 * d:g}% retry", hooks={"corpus": {"dose": d}}, pretrained=True) for d in DOSES),
        Variant("all_habits", "the default corpus", pretrained=True),
        *(Variant(f"no_{name}", f"{name} at 0", flags, pretrained=True) for name, flags in OFF.items()),
        Variant("no_check_no_retry", "the first two at 0", OFF["verification"] | OFF["backtracking"], pretrained=True),
        Variant("none_of_four", "all at 0", {k: v for flags in OFF.values() for k, v in flags.items()}, pretrained=True),
        Variant("false_checks", "a fifth of the verdicts is false", hooks={"corpus": {"false_checks": 0.2}}, pretrained=True),
    ),
)

TRANSPLANT = Study(
    "Does RL carry a habit to a task whose documents never show it? Countdown documents hold one attempt without a check, "
    "except in the first variant; checking and retrying stand in documents of another kind, or nowhere.",
    tuple(
        Variant(f"habit_{name}", about, hooks={"corpus": {"transplant": name}}, pretrained=True)
        for name, about in (
            ("at_home", "in Countdown documents"),
            ("near", "in documents that look for two numbers with a given sum"),
            ("far", "in divisions found by trial"),
            ("nowhere", "no document checks or retries"),
        )
    ),
)


def _groups(prompts: int, group: int) -> dict[str, object]:
    return {"rl.prompts": prompts, "rl.group_size": group}


def ablations(samples: int) -> Study:
    """`samples`: responses a step, the same whatever the size of a group. DAPO's loss is missing: it is the default's."""
    kl = {"rl.kl": 0.001}
    variants = [
        NORMAL,
        *(Variant(f"group_{g}", f"{g} responses a prompt, as many in all", _groups(samples // g, g)) for g in (2, 4, 16, 32)),
        *(Variant(f"loss_{name}", name, {"rl.loss": name}) for name in ("dr_grpo", "cispo")),
        Variant("loss_gspo", "sequence-level ratio", {"rl.loss": "gspo", "rl.clip_low": 3e-4, "rl.clip_high": 4e-4}),
        Variant("no_std", "advantages not divided by the group's std", {"rl.scale": "none"}),
        Variant("response_mean", "1/|o|, the paper's form", {"rl.average": "response"}),
        Variant("temperature_0.7", "sampled and learned at T = 0.7", {"rl.temperature": 0.7}),
        Variant("temperature_1.2", "sampled and learned at T = 1.2", {"rl.temperature": 1.2}),
        Variant("kl", "KL term to the base, 0.001 (the paper)", kl),
        Variant("kl_refreshed", "KL term to a reference renewed every 25 steps", kl | {"rl.kl_refresh": 25}),
        Variant("kl_strong", "KL term to the base, 0.05", {"rl.kl": 0.05}),
        Variant("router_moves", "RL moves the router's bias as pretraining does", hooks={"router": 1e-3}),
        Variant("think_prefilled", "<think> stands in the prompt", hooks={"prefix": "<think>"}),
        Variant("moe", "a base of its own, with experts", pretrained=True),
        Variant("dense", "its dense twin, as many parameters used a token", hooks={"dense_twin": True}, pretrained=True),
        *(Variant(f"base_{s:g}", f"{s:g} of the tokens read", hooks={"budget": s}, pretrained=True) for s in (0.0625, 0.25, 0.5)),
    ]
    return Study("Which part of the recipe matters?", tuple(variants), seeds=(0,))


STUDIES = {
    "controls": CONTROLS,
    "habits": HABITS,
    "transplant": TRANSPLANT,
    "ablations": ablations(256),
    "headline": Study("The default run.", (NORMAL, REFERENCES), seeds=(0, 1, 2, 3, 4)),
}

# ---------------------------------------------------------------- scales

SCALES = {
    "smoke": {"preset": "smoke"},
    "cpu": {"preset": "cpu"},  # a million parameters, three numbers
    "gpu": {"preset": "t4", "dtype": "auto", "kernels": "auto", "rl.steps": 100},  # eight million, three or four
}
# bases that a study pretrains; on a GPU the small model reads more
BASES = {
    ("smoke", "cpu"): {},
    ("cpu", "cpu"): {"pretrain.tokens": 8_000_000},
    ("cpu", "cuda"): {"pretrain.tokens": 60_000_000, "pretrain.batch_tokens": 24_576},
    ("gpu", "cuda"): {"pretrain.tokens": 100_000_000},
}
SHIPPED = {"smoke": {}, "cpu": {"base": "base-cpu.pt"}, "gpu": {"base": "base-gpu.pt"}}
ON_CUDA = {"rl.recompute": "on", "rl.train_tokens": 131_072, "eval.batch": 1024, "device": "cuda"}
ON_CPU = {"device": "cpu", "threads": 1, "corpus.workers": 1}


def dense_twin(model: ModelConfig) -> dict[str, object]:
    """Flags of a model without experts that uses as many feed-forward weights a token as this one does.

    >>> dense_twin(ModelConfig())
    {'model.experts': 0, 'model.dense_width': 312}
    """
    sparse = model.layers - model.dense_layers
    width = model.dense_layers * model.dense_width + sparse * (model.top_k + model.shared_experts) * model.expert_width
    return {"model.experts": 0, "model.dense_width": round(width / model.layers)}


def flags_of(variant: Variant, scale: str, device: str, given: dict[str, object]) -> dict[str, object]:
    """Every flag of a run. `device` is cpu or cuda; `given` comes last: what the command line sets for all variants."""
    flags = SCALES[scale] | {"eval.answer_only_steps": 0} | (ON_CUDA if device == "cuda" else ON_CPU)
    if variant.pretrained:
        if (scale, device) not in BASES:
            raise UserError(f"--scale {scale} pretrains bases: it needs a GPU (--devices cuda:0)")
        flags |= {"from_scratch": "on"} | BASES[scale, device]
    else:
        flags |= SHIPPED[scale]
    flags |= variant.flags | (dense_twin(PRESETS[scale].model) if "dense_twin" in variant.hooks else {}) | given
    if "budget" in variant.hooks and "pretrain.tokens" in flags:
        flags["pretrain.tokens"] = int(flags["pretrain.tokens"] * variant.hooks["budget"])
    return flags
