"""What every stage of a training script needs: the run folder, the device, the tokenizer.

It also says how to go on after a stop.
"""

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import torch

from minir1.checkpoint import check_finite, load_checkpoint, save_checkpoint
from minir1.config import Config, Diverged, ModelConfig, RLConfig, UserError
from minir1.console.errors import describe, out_of_memory
from minir1.console.flags import TRAIN_ZERO, read_arguments, settle
from minir1.data import find_checkpoint
from minir1.fast.accelerate import make_sampler
from minir1.fast.device import Device, pick_device
from minir1.fast.parallel import end_with_parent
from minir1.fast.ranks import Ranks
from minir1.measure.evaluator import Evaluator, many_problems
from minir1.model import Transformer
from minir1.rollout import Sampler, sampling
from minir1.run.costs import parameter_counts
from minir1.run.folder import MEMORY, Run, Unwritten
from minir1.supervised import Learner
from minir1.tasks import check_tasks
from minir1.tokenizer import Tokenizer

PATIENCE = """\
this takes about {minutes:.0f} minutes here. The shipped base has read 250 M tokens: a base that
cannot compute reliably gains nothing from checking itself, and RL then makes its responses shorter,
not longer."""


LOWER = {  # what takes the memory, and may change on resume
    "train_zero.py": "--rl.train_tokens (updates) or --eval.batch (validation)",
    "train_r1.py": "--*.train_tokens (updates) or --score.batch (scoreboard)",
}


@contextmanager
def resumable(script: str, folder: Path):
    """Say how to go on when the user or a fault stops the work."""
    name = script if Path(script).is_file() else f"-m {Path(script).stem}"  # installed, no checkout
    how = f"go on with: python {name} --resume {folder}"
    try:
        yield
        Ranks.current().leave()
    except KeyboardInterrupt as stop:
        raise type(stop)(f"{describe(stop)}; {how}") from None
    except Diverged as fault:
        how = f"begin again with other settings: {folder} keeps the last good state"
        raise Diverged(f"{fault}. {how}") from fault
    except (MemoryError, RuntimeError) as fault:
        if out_of_memory(fault):
            raise RuntimeError(f"no memory left; {how}, and lower {LOWER[script]}") from fault
        raise RuntimeError(f"{describe(fault)}; {how}") from fault
    except OSError as fault:
        raise OSError(f"{fault}; then {how}") from fault


def set_up_torch(config) -> None:
    """Threads, and no cuDNN attention: it plans anew for every shape, and ours vary."""
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.backends.cuda.enable_cudnn_sdp(False)


def check_base(config: Config, values: dict[str, object]) -> None:
    """Raises UserError if the base to start from is no checkpoint, or has no room for responses, or
    is given beside `values` that shape another one."""
    if config.from_scratch:
        return
    for name in values:
        if name.startswith(("model.", "pretrain.")):
            raise UserError(f"--{name} is for a base that is pretrained here: add --from_scratch")
    model, _ = load_checkpoint(find_checkpoint(config.base) or config.base)
    if config.rl.max_tokens + 128 > model.config.positions:
        limit = f"must fit in the {model.config.positions} positions of {config.base}"
        raise UserError(f"--rl.max_tokens plus a prompt of 128 {limit}")


@dataclass
class Session:
    run: Run
    device: Device
    tokenizer: Tokenizer | None = None
    warmed: bool = False
    noticed: bool = False  # whether it was said that the machine seems busy
    home: Path | None = None  # the first rank's run folder, for people

    def __post_init__(self):
        self.ranks = Ranks.current()
        self.run.silent |= self.ranks.rank > 0

    @property
    def config(self) -> Config:
        return self.run.config

    @classmethod
    def open(cls, arguments: list[str]) -> "Session":
        """A new run from the command line, or an old one with --resume RUN."""
        values, ranks = read_arguments(TRAIN_ZERO, arguments), Ranks.join()
        if "resume" in values:
            folder = values.pop("resume")
            if not folder or values.keys() - set(MEMORY):
                may = ", ".join(f"--{name}" for name in MEMORY)
                say = "--resume takes a run folder and nothing else: its settings are in the folder"
                raise UserError(f"{say}; only {may} may change")
            run = Run.resume(ranks.folder(Path(folder), copy=True), values)
        else:
            config = settle(values, "gpu" if torch.cuda.is_available() else "cpu")
            check_tasks(config.rl.tasks, config.corpus.languages)
            pick_device(config)
            check_base(config, values)
            path = Path(config.out or f"runs/{config.preset}-{config.seed}")
            run = Run.start(ranks.folder(path), config)
        config = run.config
        set_up_torch(config)
        torch.manual_seed(config.seed)
        session = cls(run, pick_device(config))
        where = f"{session.device}{ranks}; run folder {run.path}"
        print(f"minir1: preset {config.preset}, seed {config.seed}, {where}", flush=True)
        session.home = ranks.first(lambda: run.path)  # when all have theirs
        return session

    @classmethod
    def unsaved(
        cls, config: Config, device: Device, tokenizer: Tokenizer, silent: bool = True
    ) -> "Session":
        """A session without a run folder: nothing is logged or saved, nothing can be resumed."""
        run = Unwritten(config)
        run.silent = silent
        return cls(run, device, tokenizer)

    def resumable(self, script: str):
        return resumable(script, self.home or self.run.path)

    def sampler(self, model: Transformer, rl: RLConfig | None = None) -> Sampler:
        """The fast one, with room for what `rl` asks for; by default what the run does."""
        config = replace(self.config, rl=rl or self.config.rl)
        return make_sampler(model, self.device, config, self.tokenizer)

    def evaluator(self, sampler: Sampler) -> Evaluator:
        settings = sampling(self.tokenizer, self.config.rl.max_tokens)
        return Evaluator(self.tokenizer, sampler, settings, self.config.eval.batch)

    def problems(self, split: str, count: int) -> list:
        """Of the first task, the same for every seed."""
        tasks, languages = self.config.rl.tasks[:1], self.config.corpus.languages
        return many_problems(tasks, languages, split, split, count)

    # ------------------------------------------------------------ phases

    def once(self, phase: str, work: Callable) -> object:
        """Do a phase once and record its result: a resumed run takes the recorded one."""
        if phase not in self.run.progress:
            start = time.time()
            result = work()
            self.run.finish(phase, {"seconds": time.time() - start, "result": result})
        return self.run.progress[phase]["result"]

    def load_or_make(
        self, phase: str, work: Callable[[], Transformer], name: str = "",
        result: Callable[[], object] = lambda: None,
    ) -> Transformer:
        """The model a phase makes, once: checkpoints/NAME.pt; `result()` is recorded beside it."""
        path = self.run.checkpoints / f"{name or phase}.pt"

        def make() -> object:
            save_checkpoint(path, work(), self.tokenizer)
            return result()

        self.once(phase, make)
        model, self.tokenizer = load_checkpoint(path, self.device.name)
        return model

    def keep(self, phase: str, step: int, model: Transformer, learner: Learner, **more) -> None:
        """Save what it takes to go on with a phase from `step`. Raises Diverged, and RuntimeError
        if ranks have gone apart."""
        check_finite(model)
        self.ranks.same(model)
        state = {"model": model.state_dict(), "learner": learner.state()}
        self.run.save_state(phase, step, **state, **more)

    def restore(self, phase: str, model: Transformer, learner: Learner) -> int:
        """Take up the last saved state of a phase; returns the step to go on from."""
        state = self.run.load_state(phase)
        if state is None:
            return 0
        model.load_state_dict(state["model"])
        learner.restore(state["learner"])
        return state["step"]

    # ------------------------------------------------------------ pretraining

    def announce_pretraining(self, model: Transformer) -> None:
        """What is about to be trained and, without a GPU, how long that takes."""
        everything, used = parameter_counts(model)
        tokens = self.config.pretrain.tokens
        size = f"{everything / 1e6:.1f} M parameters ({used / 1e6:.1f} M used per token)"
        print(f"pretraining {size} on {tokens / 1e6:.1f} M tokens")
        if self.device.name == "cpu" and tokens > 1_000_000:
            minutes = seconds_per_token(model) * tokens / 60
            print(PATIENCE.format(minutes=minutes))

    def warm_sampler(self, model: Transformer) -> None:
        """The first time, let another process compile the sampler's steps while this one pretrains:
        the compiler keeps its results on disk."""
        before, self.warmed = self.warmed or self.ranks.rank > 0, True
        if not before and self.config.compile and self.device.kernels == "grouped":
            how = (model.config, self.tokenizer.to_text(), self.device, self.config)
            get_context("spawn").Process(target=compile_sampler, args=how, daemon=True).start()


def seconds_per_token(model: Transformer) -> float:
    """Of a forward and backward pass on this machine, from two small batches."""
    ids_BT, start = torch.zeros(8, 256, dtype=torch.long), time.time()
    for _ in range(2):
        model(ids_BT).sum().backward()
    model.zero_grad(set_to_none=True)
    return (time.time() - start) / (2 * ids_BT.numel())


def compile_sampler(shape: ModelConfig, tokenizer: str, device: Device, config: Config) -> None:
    """Sample a little with a model of this shape, as RL will."""
    end_with_parent()
    model, codec, rl = Transformer(shape).to(device.name), Tokenizer.from_text(tokenizer), config.rl
    prompts = [codec.encode("Make 9 from 3, 6.")] * rl.prompts
    settings = sampling(codec, 32, rl.temperature)
    make_sampler(model, device, config, codec)(model, prompts, rl.group_size, settings)
