"""The experiments, as data.

A study is a list of variants. A variant is a set of flags of train_zero.py and, where no flag does
it, hooks (studies/hooks.py; "budget" and "dense_twin" are worked out here).

>>> [variant.name for variant in STUDIES["headline"].variants]
['normal', 'references']
"""

from dataclasses import dataclass, field, replace

from minir1.config import UserError

Flags = dict[str, object]  # dotted names of config.Config: {"rl.lr": 1e-4}


@dataclass(frozen=True)
class Variant:
    """One setting of an experiment.

    hooks       names and arguments for studies.hooks.HOOKS; or "arms": the recipes that are tried
                on one base (studies/create.py)
    kind        rl; answer_only: RL that may not think; rejection_sft: fine-tuned on right answers
                of the base, as many samples drawn as RL draws; references: no training, the lines
                that an accuracy is shown beside
    pretrained  reads a base of its own first
    """

    name: str
    about: str
    flags: Flags = field(default_factory=dict)
    hooks: dict[str, object] = field(default_factory=dict)
    kind: str = "rl"
    pretrained: bool = False


@dataclass(frozen=True)
class Study:
    about: str
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...] = (0, 1, 2)


def own_base(name: str, about: str, flags: Flags | None = None, **hooks) -> Variant:
    """A variant that reads a base of its own first."""
    return Variant(name, about, flags or {}, hooks, pretrained=True)


NORMAL = Variant("normal", "the default run")
REFERENCES = Variant(
    "references", "no training: blind search, look-ahead, the forced base, pass@64",
    kind="references")

CONTROLS = Study(
    "Is it the reward? The same RL with rewards that say nothing, or the wrong thing; and what is "
    "not RL at all.",
    (
        NORMAL,
        Variant("random", "a coin decides the reward", hooks={"random_reward": 0.5}),
        Variant("format_only", "form is all that is rewarded",
                {"rl.accuracy_reward": 0.0, "rl.format_reward": 1.0}),
        Variant("inverted", "a right answer costs a point", {"rl.accuracy_reward": -1.0}),
        Variant("answer_only", "may not think, as many steps", kind="answer_only"),
        Variant("rejection_sft", "fine-tuned on the base's own right answers, as many samples",
                kind="rejection_sft"),
        *(Variant(f"rejection_sft_{times}", f"the same, at {times} times the learning rate",
                  {"rl.lr": lr}, kind="rejection_sft")
          for times, lr in ((3, 3.6e-4), (10, 1.2e-3))),
        Variant("expert_iteration", "right answers of the policy imitated, wrong ones ignored",
                hooks={"imitate": True}),
        Variant("response_mean", "each response weighs the same: 1/|o|, the paper's form",
                {"rl.average": "response"}),
        REFERENCES,
    ),
)

DOSES = (0.0, 0.001, 0.01, 0.05, 0.2, 0.8)
FOUR_HABITS = ("verification", "backtracking", "subgoals", "backward_chaining")


def without(*habits: str) -> Flags:
    return {f"corpus.habits.{habit}": 0.0 for habit in habits}


HABITS = Study(
    "What must the base have read? The share of Countdown documents with more than one attempt, "
    "the arithmetic matched; and each habit taken away.",
    (
        *(own_base(f"dose_{100 * d:g}", f"{100 * d:g}% retry", corpus={"dose": d}) for d in DOSES),
        own_base("all_habits", "the default corpus"),
        *(own_base(f"no_{habit}", f"{habit} at 0", without(habit)) for habit in FOUR_HABITS),
        own_base("no_check_no_retry", "the first two at 0", without(*FOUR_HABITS[:2])),
        own_base("none_of_four", "all at 0", without(*FOUR_HABITS)),
        own_base("false_checks", "a fifth of the verdicts is false", corpus={"false_checks": 0.2}),
    ),
)

PLACES = {
    "at_home": "in Countdown documents",
    "near": "in documents that look for two numbers with a given sum",
    "far": "in divisions found by trial",
    "nowhere": "no document checks or retries",
}
TRANSPLANT = Study(
    "Does RL carry a habit to a task whose documents never show it? Countdown documents hold one "
    "attempt without a check, except in the first variant; checking and retrying stand in "
    "documents of another kind, or nowhere.",
    tuple(own_base(f"habit_{p}", text, corpus={"transplant": p}) for p, text in PLACES.items()),
)
CATCHING = Study(
    "How much of a habit must a task's own documents show before RL takes it up? A share of the "
    "Countdown documents that think checks and retries; besides, every pair sum does, or none.",
    tuple(
        own_base(f"{place}_{100 * dose:g}", f"{100 * dose:g}% of the puzzles; {PLACES[place]}",
                 corpus={"transplant": [place, dose]})
        for dose in (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3) for place in ("near", "nowhere")),
    seeds=tuple(range(16)),
)

GSPO: Flags = {"rl.loss": "gspo", "rl.clip_low": 3e-4, "rl.clip_high": 4e-4}
SAMPLES = 192  # responses a step, the same whatever the size of a group
ABLATIONS = Study(  # DAPO's loss is missing: it is the default's
    "Which part of the recipe matters?",
    (
        NORMAL,
        *(Variant(f"group_{size}", f"{size} responses a prompt, as many in all",
                  {"rl.prompts": SAMPLES // size, "rl.group_size": size})
          for size in (2, 4, 16, 32)),
        *(Variant(f"loss_{name}", name, {"rl.loss": name}) for name in ("dr_grpo", "cispo")),
        Variant("loss_gspo", "sequence-level ratio", GSPO),
        Variant("no_std", "advantages not divided by the group's std", {"rl.scale": "none"}),
        Variant("response_mean", "1/|o|, the paper's form", {"rl.average": "response"}),
        Variant("temperature_0.7", "sampled and learned at T = 0.7", {"rl.temperature": 0.7}),
        Variant("temperature_1.2", "sampled and learned at T = 1.2", {"rl.temperature": 1.2}),
        Variant("kl", "KL term to the base, 0.001 (the paper)", {"rl.kl": 0.001}),
        Variant("kl_refreshed", "KL term to a reference renewed every 25 steps",
                {"rl.kl": 0.001, "rl.kl_refresh": 25}),
        Variant("kl_strong", "KL term to the base, 0.05", {"rl.kl": 0.05}),
        Variant("router_moves", "RL moves the router's bias as pretraining does",
                hooks={"router": 1e-3}),
        Variant("think_prefilled", "<think> stands in the prompt", hooks={"prefix": "<think>"}),
        own_base("moe", "a base of its own, with experts"),
        own_base("dense", "its dense twin, as many parameters used a token", dense_twin=True),
        *(own_base(f"base_{share:g}", f"{share:g} of the tokens read", budget=share)
          for share in (0.0625, 0.25, 0.5)),
    ),
    seeds=(0,),
)

LOSSES: dict[str, Flags] = {
    "grpo": {}, "dr_grpo": {"rl.loss": "dr_grpo"}, "cispo": {"rl.loss": "cispo"}, "gspo": GSPO,
    "response_mean": {"rl.average": "response"},
    "unclipped": {"rl.clip_low": 0.9999, "rl.clip_high": 1e6},
}
OFF_POLICY = {"8_updates": (8, 3e-4), "32_updates": (32, 3e-4), "8_updates_fast": (8, 1e-3)}
CLIPPING = Study(
    "What does the loss do where the ratio is clipped? Many updates on one rollout, higher rates.",
    tuple(
        Variant(f"{loss}_{name}", f"{loss}, {updates} updates a rollout, learning rate {lr:g}",
                flags | {"rl.prompts": 32, "rl.minibatches": updates, "rl.lr": lr})
        for name, (updates, lr) in OFF_POLICY.items() for loss, flags in LOSSES.items()
    ),
)

EXPOSURES = (0.0, 0.001, 0.01, 0.1)
FRONTIERS = {"large": ("cpu-large", "4 numbers"), "five": ("cpu-five", "5 numbers")}


def frontier(name: str, exposure: float, *arms: str, **hooks) -> Variant:
    """A base that has read puzzles of three numbers and a share of harder ones, and RL from it."""
    kind, text = FRONTIERS[name]
    return own_base(
        f"{name}_{100 * exposure:g}", f"{text}, {100 * exposure:g}% read",
        {"rl.tasks": f"countdown:cpu=0.5,countdown:{kind}=0.5", "rl.steps": 100,
         "rl.group_size": 16, "rl.max_tokens": 384, "rl.early_tokens": 0,
         "rl.format_reward": 0.0, "eval.problems": 512 if "asked" in hooks else 64,
         "eval.batch": 4096},
        corpus={"exposure": [kind, exposure]}, arms=arms, **hooks)


CREATE = Study(
    "Does RL create, or only amplify? The base has read few harder puzzles, or none; RL practises "
    "three numbers (below), the harder puzzles (at), or both (mixed).",
    (
        *(frontier(name, e, "below", "at", "mixed",
                   *(("coin", "rejection_sft") if e == 0.01 else ()))
          for name in FRONTIERS for e in EXPOSURES),
    ),
)
CONFIRM = Study(
    "The strongest cells of `create` again: other bases, test puzzles. The last two: --scale gpu.",
    (
        *(frontier(name, 0.1, "mixed", "more", "rejection_sft", asked={"split": "test"})
          for name in FRONTIERS),
        replace(frontier("five", 0.1, "at", asked={"split": "test"}), name="five_10_at"),
        frontier("large", 0.01, "mixed", asked={"split": "test"}),
    ),
    seeds=tuple(range(10, 17)),
)

STUDIES = {
    "create": CREATE, "confirm": CONFIRM,
    "controls": CONTROLS, "habits": HABITS, "transplant": TRANSPLANT,
    "catching": CATCHING, "ablations": ABLATIONS, "clipping": CLIPPING,
    "headline": Study("The default run.", (NORMAL, REFERENCES), seeds=(0, 1, 2, 3, 4)),
}

SCALES: dict[str, Flags] = {
    "smoke": {"preset": "smoke"},
    "cpu": {"preset": "cpu"},  # a million parameters, three numbers
    # eight million parameters, three or four numbers
    "gpu": {"preset": "t4", "dtype": "auto", "kernels": "auto", "rl.steps": 100},
}
# bases that a study pretrains (on a GPU the small model reads more), and RL as in stored studies
STORED: Flags = {"rl.prompts": 32, "rl.lr": 1e-4}
BASES: dict[tuple[str, str], Flags] = {
    ("smoke", "cpu"): {}, ("cpu", "cpu"): {"pretrain.tokens": 8_000_000} | STORED,
    ("cpu", "cuda"): {"pretrain.tokens": 60_000_000, "pretrain.batch_tokens": 24_576} | STORED,
    ("gpu", "cuda"): {"pretrain.tokens": 100_000_000},
}
# of a model without experts that uses as many feed-forward weights a token as the one with them
DENSE_WIDTH = {"smoke": 80, "cpu": 312, "gpu": 528}
SHIPPED = {"smoke": {}, "cpu": {"base": "base-cpu.pt"}, "gpu": {"base": "base-gpu.pt"}}
DEVICES: dict[str, Flags] = {
    "cpu": {"device": "cpu", "threads": 1, "corpus.workers": 1},
    "cuda": {"rl.recompute": "on", "rl.train_tokens": 131_072, "eval.batch": 1024,
             "device": "cuda"},
}


def flags_of(variant: Variant, scale: str, device: str, common: Flags) -> Flags:
    """Every flag of a run. `device` is cpu or cuda; `common`, of all variants, comes last.

    Raises UserError for a base that is too large for the device.
    """
    flags = SCALES[scale] | {"eval.answer_only_steps": 0} | DEVICES[device]
    if not variant.pretrained:
        flags |= SHIPPED[scale]
    elif (scale, device) in BASES:
        flags |= {"from_scratch": "on"} | BASES[scale, device]
    else:
        raise UserError(f"--scale {scale} pretrains bases: it needs a GPU (--devices cuda:0)")
    flags |= variant.flags
    if "dense_twin" in variant.hooks:
        flags |= {"model.experts": 0, "model.dense_width": DENSE_WIDTH[scale]}
    flags |= common
    if "budget" in variant.hooks and "pretrain.tokens" in flags:
        flags["pretrain.tokens"] = int(float(flags["pretrain.tokens"]) * variant.hooks["budget"])
    return flags
