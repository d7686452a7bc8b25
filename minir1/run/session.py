"""What every stage of a training script needs: the run folder, the device, the tokenizer, and how to go on after a stop."""

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from minir1.config import Config, ModelConfig, UserError
from minir1.console.flags import parse_command_line
from minir1.fast.accelerate import make_sampler
from minir1.fast.device import Device, pick_device
from minir1.measure.evaluator import Evaluator, many_problems, parse_tasks, sampling
from minir1.model import Transformer
from minir1.run.folder import Run
from minir1.run.summary import parameter_counts
from minir1.supervised import Learner
from minir1.tokenizer import Tokenizer


@dataclass
class Session:
    run: Run
    device: Device
    tokenizer: Tokenizer | None = None
    warmed: bool = False

    @property
    def config(self) -> Config:
        return self.run.config

    @classmethod
    def open(cls, arguments: list[str]) -> "Session":
        """A new run from the command line, or an old one with --resume RUN. Says where it computes."""
        if "--resume" in arguments:
            if len(arguments) != 2 or arguments[0] != "--resume":
                raise UserError("--resume takes a run folder and nothing else: its settings are in the folder")
            run = Run.resume(Path(arguments[1]))
        else:
            config = parse_command_line(arguments, default="gpu" if torch.cuda.is_available() else "cpu")
            parse_tasks(config.rl.tasks)
            pick_device(config)
            run = Run.start(Path(config.out or f"runs/{config.preset}-{config.seed}"), config)
        if run.config.threads:
            torch.set_num_threads(run.config.threads)
        torch.manual_seed(run.config.seed)
        torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for every shape, and ours vary
        session = cls(run, pick_device(run.config))
        print(f"minir1: preset {run.config.preset}, seed {run.config.seed}, {session.device}; run folder {run.path}", flush=True)
        return session

    def evaluator(self, sampler) -> Evaluator:
        settings = sampling(self.tokenizer, self.config.rl.max_tokens)
        return Evaluator(self.tokenizer, sampler, settings, self.config.eval.batch, self.device.name)

    def problems(self, split: str, count: int) -> list:
        """Of the first task, the same for every seed."""
        return many_problems(self.config.rl.tasks[:1], self.config.corpus.languages, split, split, count)

    def once(self, name: str, work: Callable) -> object:
        """Do a phase once: a resumed run takes its recorded result."""
        if name not in self.run.progress:
            start = time.time()
            result = work()
            self.run.finish(name, {"seconds": time.time() - start, "result": result})
        return self.run.progress[name]["result"]

    @contextmanager
    def resumable(self, script: str):
        """Say how to go on when the user or a fault stops the work."""
        try:
            yield
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted; go on with: python {script} --resume {self.run.path}") from None
        except OSError as fault:
            raise OSError(f"{fault}; then go on with: python {script} --resume {self.run.path}") from fault

    def announce_pretraining(self, model: Transformer) -> None:
        """What is about to be trained and, without a GPU, how long it takes and what too little of it leads to."""
        (everything, used), tokens = parameter_counts(model), self.config.pretrain.tokens
        print(f"pretraining {everything / 1e6:.1f} M parameters ({used / 1e6:.1f} M used per token) on {tokens / 1e6:.1f} M tokens")
        if self.device.name == "cpu" and tokens > 1_000_000:
            ids, start = torch.zeros(8, 256, dtype=torch.long), time.time()
            for _ in range(2):
                model(ids).sum().backward()
            model.zero_grad(set_to_none=True)
            minutes = (time.time() - start) / (2 * ids.numel()) * tokens / 60
            print(f"this takes about {minutes:.0f} minutes here. The shipped base has read 250 M tokens: a base that cannot")
            print("compute reliably gains nothing from checking itself, and RL then makes its responses shorter, not longer.")

    def warm_sampler(self, model: Transformer) -> None:
        """The first time, let another process compile the sampler's steps while this one pretrains: the compiler keeps its
        results on disk."""
        before, self.warmed = self.warmed, True
        if not before and self.config.compile and self.device.kernels == "grouped":
            how = (model.config, self.tokenizer.to_text(), self.device, self.config)
            get_context("spawn").Process(target=compile_sampler, args=how, daemon=True).start()

    def keep(self, phase: str, step: int, model: Transformer, learner: Learner, **more) -> None:
        """Save what it takes to go on with a phase from `step`."""
        self.run.save_state(phase, step, model=model.state_dict(), learner=learner.state(), **more)

    def restore(self, phase: str, model: Transformer, learner: Learner) -> int:
        """Take up the last saved state of a phase; returns the step to go on from."""
        state = self.run.load_state(phase)
        if state is None:
            return 0
        model.load_state_dict(state["model"])
        learner.restore(state["learner"])
        return state["step"]


def compile_sampler(shape: ModelConfig, tokenizer: str, device: Device, config: Config) -> None:
    """Sample a little with a model of this shape, as RL will."""
    model, tokens, rl = Transformer(shape).to(device.name), Tokenizer.from_text(tokenizer), config.rl
    prompts = [tokens.encode("Make 9 from 3, 6.")] * rl.prompts
    make_sampler(model, device, config)(model, prompts, rl.group_size, sampling(tokens, 32, rl.temperature))
