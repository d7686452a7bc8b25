"""One entry point for the tools: `python -m minir1 COMMAND ...`, installed as `minir1` too."""

import sys
from importlib import import_module

from minir1.config import UserError
from minir1.console.errors import guard

# command: (module, one line of help); its main is imported only when asked for
COMMANDS = {
    "evaluate": ("minir1.measure.evaluate",
        "score a checkpoint, or answers from elsewhere, on a problem file"),
    "play": ("minir1.play.command", "ask a checkpoint in the terminal and watch it think"),
    "page": ("minir1.play.page", "a base and its R1-Zero as one web page that thinks"),
    "report": ("minir1.report.command", "plots, a page and the result of a run, or of several"),
    "corpus": ("minir1.measure.corpus", "measure the habits in the pretraining corpus"),
    "failures": ("minir1.experiments.failures.command",
        "known ways to break R1-Zero, each run beside its fix"),
    "bench": ("minir1.experiments.bench.command",
        "measure speed beside others and beside the machine's limits"),
    "study": ("minir1.experiments.studies.command",
        "controls, habits, ablations: variants of the default run, with bands over seeds"),
    "golden": ("minir1.report.golden",
        "is a run as it should be? its curves beside those of known-good runs"),
    "tables": ("minir1.experiments.tables.command",
        "a policy's results beside the published ones, and what they cost"),
    "evolution": ("minir1.experiments.evolution.command",
        "how a policy changed over RL, beside what its base has read"),
    "hack": ("minir1.experiments.hacking.command",
        "optimise a learned reward for too long, and look"),
    "calculator": ("minir1.experiments.calculator.command",
        "teach a checkpoint to call a calculator while it thinks"),
    "teach": ("minir1.run.teach", "let a base read on about a new task"),
    "distil": ("minir1.r1.students.command", "fine-tune a base on curated lines"),
    "pack": ("minir1.hub.pack", "write a checkpoint at a quarter of its size, to be shipped"),
    "import": ("minir1.hub.reading", "make a checkpoint of a Llama or a Qwen"),
    "export": ("minir1.hub.export", "write a checkpoint as a Hugging Face directory"),
}


def usage() -> str:
    commands = [f"  {name:<11}{help}" for name, (_, help) in COMMANDS.items()]
    end = "minir1 COMMAND --help says more; train_zero.py trains."
    return "\n".join(["usage: minir1 COMMAND ...", "", *commands, "", end])


def dispatch(arguments: list[str]) -> int | None:
    """Run the command named first. Raises UserError if there is none of that name."""
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(usage())
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in COMMANDS:
        raise UserError(f"unknown command {name!r}; there are {', '.join(COMMANDS)}")
    return import_module(COMMANDS[name][0]).main(rest)


def main(arguments: list[str] | None = None) -> int:
    """Returns an exit status: see `guard`."""
    return guard(dispatch, sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
