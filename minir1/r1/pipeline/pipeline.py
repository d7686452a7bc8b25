"""What the stages share: run folders, checkpoints by name, costs, and how to go on after a stop.

RUN/config.json       every setting
RUN/checkpoints/      base.pt zero.pt dev1.pt dev2.pt dev2-plain.pt dev3.pt r1.pt, students
RUN/0-zero/ ...       one run folder per stage (metrics.jsonl, progress.json, samples/, data/)
RUN/scoreboard.json   and .md, .png; prompts.md: the same five prompts answered by every stage
"""

import shutil
from functools import reduce
from pathlib import Path

import torch

from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import RLConfig, UserError, apply, replace, to_json
from minir1.console.files import read_object, read_settings, write_json, write_text
from minir1.data import find_checkpoint
from minir1.fast.device import pick_device
from minir1.fast.ranks import Ranks
from minir1.model import Transformer
from minir1.r1.pipeline.flags import TRAIN_R1, read, settle
from minir1.r1.presets import STAGES, R1Config, check_r1, from_dict_r1, parse_stages
from minir1.run.costs import add_costs, cost, spent
from minir1.run.folder import MEMORY, Run, claim, refuse_leftovers
from minir1.run.session import Session, resumable, set_up_torch
from minir1.tasks import check_tasks
from minir1.tokenizer import Tokenizer

FOLDERS = {
    "base": "0-base", "students": "0-students", "0": "0-zero",
    "1": "1-cold-start", "2": "2-reasoning-rl", "3": "3-rejection-sampling",
    "4": "4-all-scenarios", "5": "5-distillation", "score": "scoreboard",
}

MAKES = {
    "base": ("base",), "students": ("untaught-small", "untaught-medium", "untaught-large"),
    "0": ("zero",), "1": ("dev1",), "2": ("dev2", "dev2-plain"), "3": ("dev3",), "4": ("r1",),
    "5": (
        "student-small", "student-medium", "student-large", "student-direct", "student-on-policy",
    ),
}

NEEDS = {"1": "zero", "2": "dev1", "3": "dev2", "4": "dev3", "5": "r1"}


class Pipeline:
    def __init__(self, root: Path, config: R1Config, stages: list[str]):
        self.root, self.config, self.stages = root, config, stages
        self.home = root  # the first rank's, for people
        self.device = pick_device(config.stage_config())
        self._tokenizer: Tokenizer | None = None

    @classmethod
    def open(cls, arguments: list[str]) -> "Pipeline":
        """A new run from the command line, or an old one with --resume RUN [--stages ...]."""
        values, ranks = read(arguments), Ranks.join()
        if "resume" in values:
            root = ranks.folder(Path(values.pop("resume")), copy=True)
            stages = values.pop("stages", None)
            memory = tuple(name.split(".")[-1] for name in MEMORY)
            if not all(name.endswith(memory) for name in values):
                say = "--resume takes a run folder and perhaps --stages: the settings are there"
                may = ", ".join(f"--*.{name}" for name in memory)
                raise UserError(f"{say}; only {may} may change")
            config = check_r1(apply(_read_config(root), values))
            pipeline = cls(root, config, parse_stages(stages or config.stages))
            pipeline.lock = claim(root)
            if values:
                write_text(root / "config.json", to_json(config))
        else:
            config = settle(values, "gpu" if torch.cuda.is_available() else "cpu")
            root = ranks.folder(Path(config.out))
            refuse_leftovers(root)
            pipeline = cls(root, config, parse_stages(config.stages))
            pipeline.check_source()
            pipeline.lock = claim(root)
            refuse_leftovers(root)
            write_text(root / "config.json", to_json(config))
        set_up_torch(config)
        where = f"{pipeline.device}{ranks}; run folder {root}"
        print(f"minir1: R1, preset {config.preset}, seed {config.seed}, {where}", flush=True)
        pipeline.home = ranks.first(lambda: root)  # when all have theirs
        return pipeline

    def check_source(self) -> None:
        """A wrong --from, --base, --zero or --*.tasks is told before anything is computed."""
        config = self.config
        longest = config.score.max_tokens
        for name in ("zero_rl", "reasoning", "scenarios"):
            rl = getattr(config, name)
            check_tasks(rl.tasks, config.corpus.languages, f"--{name}.tasks")
            longest = max(longest, rl.max_tokens)
        if config.source and not (Path(config.source) / "checkpoints").is_dir():
            raise UserError(f"--from {config.source}: no run there (no checkpoints folder)")
        own_base = not (config.from_scratch or config.source)
        for flag, given in (("base", config.base if own_base else ""), ("zero", config.zero)):
            if not given:
                continue
            if find_checkpoint(given) is None:
                raise UserError(f"--{flag}: no checkpoint {given}, here or in minir1/data")
            positions = load_checkpoint(find_checkpoint(given))[0].config.positions
            if longest + 128 > positions:
                room = f"has {positions} positions: too few for responses of {longest} tokens"
                raise UserError(f"--{flag} {given} {room}")
        source, made = Path(config.source or self.root), []
        for stage in self.stages:
            name = NEEDS.get(stage)
            if name not in (None, *made) and not (source / "checkpoints" / f"{name}.pt").is_file():
                raise UserError(unmade(name, stage))
            made += MAKES[stage]
        lines = source / FOLDERS["3"] / "data" / "sft.jsonl"
        if "5" in self.stages and "3" not in self.stages and not lines.is_file():
            raise UserError(f"stage 5 needs {lines}: run stage 3, too")

    # ------------------------------------------------------------ stages

    def session(self, stage: str, rl: RLConfig | None = None, tokens: int | None = None) -> Session:
        """The stage's own run folder, new or as it was left, as a session.

        `tokens`: that students read. Samplers are compiled for no stage: too short a use.
        """
        path, config = self.root / FOLDERS[stage], self.config.stage_config(rl)
        if stage not in ("base", "students"):
            config = replace(config, compile=False)
        if tokens:
            config = replace(config, pretrain=replace(config.pretrain, tokens=tokens))
        resumed = (path / "config.json").exists()
        given = {name: reduce(getattr, name.split("."), config) for name in MEMORY}
        run = Run.resume(path, given) if resumed else Run.start(path, config)
        torch.manual_seed(self.config.seed)
        return Session(run, self.device, self._tokenizer)

    def resumable(self):
        return resumable(TRAIN_R1.name, self.home)

    def missing(self) -> list[str]:
        """Stages to do now: those asked for and not ended; base and students if there are none."""
        done = set(self.costs())
        left = [stage for stage in self.stages if not done.issuperset(self.makes(stage))]
        if "5" in left and "students" not in left and not all(map(self.has, MAKES["students"])):
            left.insert(left.index("5"), "students")
        return left if "base" in left or self.has("base") else ["base", *left]

    def makes(self, stage: str) -> tuple[str, ...]:
        """The checkpoints that a stage makes."""
        plain = ("dev2-plain",) if self.config.control else ()
        return {**MAKES, "2": ("dev2", *plain)}[stage]

    # ------------------------------------------------------------ checkpoints

    def path(self, name: str) -> Path:
        return self.root / "checkpoints" / f"{name}.pt"

    def has(self, name: str) -> bool:
        """Whether a checkpoint is there, or can be taken from the run given with --from."""
        path = self.path(name)
        other = Path(self.config.source or ".") / "checkpoints" / path.name
        if not path.exists() and self.config.source and other.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(other, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
        return path.exists()

    def model(self, name: str, needed_by: str = "") -> Transformer:
        """A checkpoint by name. Raises UserError if neither this run nor --from's has it."""
        if not self.has(name):
            raise UserError(unmade(name, needed_by))
        model, self._tokenizer = load_checkpoint(self.path(name), self.device.name)
        return model

    def from_file(self, name: str) -> Transformer:
        """A checkpoint by path or shipped name; its tokenizer becomes the run's.

        Raises UserError if it does not descend from this run's base.
        """
        model, tokenizer = load_checkpoint(find_checkpoint(name) or name, self.device.name)
        if self.has("base") and tokenizer.to_text() != self.tokenizer.to_text():
            said = "does not descend from this run's base: their tokenizers differ"
            raise UserError(f"{name} {said}")
        self._tokenizer = tokenizer
        return model

    def shares_tokenizer(self, name: str) -> bool:
        """Whether a checkpoint of this name is there and has the base's tokenizer."""
        path = find_checkpoint(name)
        return path is not None and load_checkpoint(path)[1].to_text() == self.tokenizer.to_text()

    @property
    def tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            self.model("base")
        return self._tokenizer

    def finish(self, name: str, model: Transformer, session: Session | None, *phases: str) -> None:
        """Keep a stage's model under its name, and what its phases (all, if none is named) cost."""
        self._tokenizer = (session and session.tokenizer) or self.tokenizer
        save_checkpoint(self.path(name), model, self._tokenizer)
        totals, parts = spent(session.run) if session else {}, []
        for phase in phases or totals:
            if phase in totals:
                counted = ("seconds", "tokens_sampled", "tokens_trained")
                parts.append(cost(model, *(totals[phase][name] for name in counted)))
        costs = self.costs() | {name: add_costs(*parts)}
        write_json(self.root / "costs.json", costs)

    def costs(self, root: Path | None = None) -> dict[str, dict[str, float]]:
        path = (root or self.root) / "costs.json"
        costs = read_object(path) if path.is_file() else {}
        if not all(isinstance(cost, dict) for cost in costs.values()):
            raise UserError(f"{path} cannot be read (it does not hold the costs of checkpoints)")
        return costs

    def line(self) -> dict[str, dict[str, float]]:
        """The checkpoints that belong together, with their costs: those made here, and of the run
        given with --from those that came before them. What that run made later does not descend
        from this one.
        """
        own, before = self.costs(), []
        for stage in STAGES:
            if stage.isdigit() and not set(MAKES[stage]).isdisjoint(own):
                break
            before += filter(self.has, MAKES[stage])
        taken = self.costs(Path(self.config.source)) if self.config.source else {}
        return {name: taken.get(name, {}) for name in before} | own

    def data(self, stage: str) -> Path:
        """A stage's data folder, here or in --from's run. Raises UserError if neither has it."""
        for root in (self.root, Path(self.config.source or self.root)):
            if (root / FOLDERS[stage] / "data").is_dir():
                return root / FOLDERS[stage] / "data"
        raise UserError(f"there is no data of stage {stage}: run it, or give --from RUN")


def unmade(name: str, stage: str = "") -> str:
    told = f"stage {stage} needs {name}.pt" if stage else f"there is no {name}.pt"
    return f"{told}: run the stage that makes it, or give --from RUN"


def _read_config(root: Path) -> R1Config:
    path = root / "config.json"
    if not path.is_file():
        raise UserError(f"nothing to resume: {root} holds no config.json")
    try:
        return from_dict_r1(read_settings(path))
    except (ValueError, TypeError) as fault:
        raise UserError(f"{path} cannot be read ({fault})") from fault
    except UserError as fault:
        raise UserError(f"{path} is not a run of {TRAIN_R1.name} ({fault})") from fault
