"""The playground: ask a checkpoint in the terminal and watch it think, token by token.

python -m minir1 play runs/cpu-0/checkpoints/zero.pt
"""

import argparse
import contextlib
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

from minir1.config import Config, UserError
from minir1.console.errors import describe, parse
from minir1.data import FOLDER
from minir1.fast.device import pick_device
from minir1.play.practice import BILINGUAL, CHINESE, DRAFTING, ZERO, best, practice_of
from minir1.play.questions import Asked, Draw, Voice, judge, open_voice, recognise, spell, stream
from minir1.play.screen import BOLD, DIM, Painter, saved, short, tally, visible, why

HELP = """\
  23 5 13 = 31          a puzzle: make 31 of these numbers, each used once
  what is 57 + 86?      a sum, worded or bare
  98加45等于多少？      the same in Chinese
  {"task": "countdown", "numbers": [17, 22, 1], "target": 38}   a line of a problem file
  anything else         asked as it is; it cannot be checked
  /samples N            N responses at once, to the last question and those to come; 1 streams again
  /temperature T        0 is greedy
  /budget N             tokens in a response at most
  /base [CHECKPOINT]    show the base model's answer too; again: no longer
  /why [all] [PAGE]     the last streamed response's tokens, the least likely first (all: in order)
  /seed N               start the random numbers afresh
  /help, /quit          Ctrl-C stops a response, Ctrl-D (Windows: Ctrl-Z, Enter) leaves"""

# ---------------------------------------------------------------- the conversation


def whole(text: str, low: int, high: int, name: str) -> int:
    """Raises UserError with one line for anything but a whole number from low to high."""
    if not re.fullmatch("[0-9]{1,18}", text) or not low <= int(text) <= high:
        raise UserError(f"{name} takes a whole number from {low} to {high}")
    return int(text)


class Session:
    """The settings, the last question, and what each line of input does.

    `bilingual`: a checkpoint that is asked in `voice`'s place what holds Chinese. `draft`: stream
    by multi-token prediction what has it.
    """

    def __init__(
        self, voice: Voice, colour: bool = False, bilingual: Path | None = None, draft: bool = False
    ):
        self.draft = draft
        self.voice = self.first = voice
        self.second: Voice | None = None
        self.bilingual = bilingual
        self.base: Voice | None = None
        self.painter = Painter(colour)
        positions = voice.model.config.positions
        self.budget = min(1024, max(positions // 2, positions - 128))  # leaves room for a prompt
        self.seed = 0
        self.samples = 1
        self.temperature = 0.6
        self.asked: Asked | None = None
        self.draws: list[Draw] = []  # of the response streamed last

    def run(self) -> None:
        """Until Ctrl-D. Notes are printed inside the try: Ctrl-C may strike there, too."""
        note = ""
        while True:
            try:
                print(end=note, flush=True)
                note = "\n(Ctrl-D or /quit leaves)\n"
                line = input("> " if sys.stdin.isatty() else "")
                note = "\n(stopped)\n"
                self.handle(line)
                note = ""
            except EOFError:
                print()
                return
            except (UserError, RuntimeError, MemoryError) as fault:
                note = f"{describe(fault)}\n"
            except KeyboardInterrupt:
                pass

    def handle(self, line: str) -> None:
        """One line of input. Raises UserError if it is wrong, EOFError for /quit."""
        line = line.strip("\ufeff \t\r\n")
        name, *rest = line.split(maxsplit=1) or [""]
        command = getattr(self, f"do_{name[1:]}", None) if name.startswith("/") else None
        if command:
            command(rest[0] if rest else "")
        elif line.startswith("/"):
            raise UserError(f"no command {visible(name, '')}; /help lists them")
        elif line:
            self.ask(recognise(line))

    # ---------------------------------------------------------------- asking

    def ask(self, asked: Asked) -> None:
        self.voice = self.first
        if self.bilingual and CHINESE.search(asked.question):
            self.voice = self.second = self.second or self.open(self.bilingual)
        for voice in self.voices():  # before anything is shown
            voice.prepare(asked, self.budget, self.temperature)
        self.asked = asked
        practice = practice_of(self.voice.path)
        if outside := practice and practice.outside(asked):
            print(f"{self.voice.name} has not seen the like: {outside}")
        print(self.painter.paint(f"User: {visible(asked.question)}", DIM))
        if self.samples == 1:
            self.stream_one(asked)
            return
        how = (self.samples, self.budget, self.temperature)
        columns = {voice.name: voice.answers(asked, *how) for voice in self.voices()}
        print(tally(columns, self.painter))

    def open(self, path: Path) -> Voice:
        voice = open_voice(path, self.first.model.embed.weight.device.type, self.seed)
        print(introduce(voice))
        return voice

    def voices(self) -> list[Voice]:
        return [self.voice, self.base] if self.base else [self.voice]

    def stream_one(self, asked: Asked) -> None:
        """The response as it is drawn, its verdict, and the base's answer if it is wanted."""
        model, tokenizer = self.voice.model, self.voice.tokenizer
        ids, settings = self.voice.prepare(asked, self.budget, self.temperature)
        painter = Painter(self.painter.colour)  # of this response
        self.draws = []
        draft = self.draft and model.config.mtp
        draws = stream(model, ids, settings, self.voice.draws(), draft)
        text = ""
        for piece in spell(tokenizer, map(self.note, draws)):
            text += piece
            painter.write(piece, underlined=self.draws[-1].free)
        stopped = self.draws[-1].id in tokenizer.end_ids
        response = judge(asked.problem, text, len(self.draws), stopped)
        print(f"\n{painter.verdict(response)}{saved(self.draws) if draft else ''}")
        if self.base:
            [other] = self.base.answers(asked, 1, self.budget, self.temperature)
            answer = painter.paint(short(other.answer), BOLD)
            print(f"{self.base.name}: {answer}  {painter.verdict(other)}")

    def note(self, draw: Draw) -> int:
        """Kept as it comes, so that /why can be asked about a response that was stopped."""
        self.draws.append(draw)
        return draw.id

    # ---------------------------------------------------------------- commands: do_X is /X

    def do_samples(self, text: str) -> None:
        self.samples = whole(text, 1, 1024, "/samples")
        if self.samples == 1:
            print("one response, streamed")
        elif self.asked:
            self.ask(self.asked)
        else:
            print(f"{self.samples} responses to each question")

    def do_temperature(self, text: str) -> None:
        value = float(text) if re.fullmatch(r"[0-9]{1,2}(\.[0-9]{0,6})?|\.[0-9]{1,6}", text) else -1
        if value != 0 and not 0.01 <= value <= 10:  # colder than that, logits overflow
            raise UserError("/temperature takes 0 (greedy) or a number from 0.01 to 10")
        self.temperature = value
        print(f"temperature {value:g}" + (" (greedy)" if value == 0 else ""))

    def do_budget(self, text: str) -> None:
        self.budget = whole(text, 1, self.voice.model.config.positions - 1, "/budget")
        print(f"at most {self.budget} tokens per response")

    def do_base(self, text: str) -> None:
        if self.base and not text:
            self.base = None
            print("the base is no longer shown")
            return
        path = Path(text).expanduser() if text else FOLDER / "base-cpu.pt"
        if path.exists() and path.samefile(self.first.path):
            other = "/base CHECKPOINT shows another beside it"
            raise UserError(f"that is the model you are talking to; {other}")
        base = self.open(path)
        self.base = replace(base, name=str(path)) if base.name == self.first.name else base

    def do_seed(self, text: str) -> None:
        self.seed = whole(text, 0, 2**53, "/seed")
        for voice in filter(None, (self.first, self.second, self.base)):
            voice.seed, voice.asked = self.seed, 0
        print(f"seed {self.seed}")

    def do_why(self, text: str) -> None:
        if not self.draws:
            raise UserError("/why follows a streamed response")
        match = re.fullmatch(r"(all)?\s*([1-9][0-9]{0,5})?", text)
        if not match:
            raise UserError("/why takes all, a page, or both")
        how = (bool(match[1]), int(match[2] or 1))
        print(why(self.draws, self.voice.tokenizer, self.painter, *how))

    def do_help(self, text: str) -> None:
        print(HELP)

    def do_quit(self, text: str) -> None:
        raise EOFError


# ---------------------------------------------------------------- the command


def introduce(voice: Voice) -> str:
    """One line on who is asked and what it has practised."""
    size = f"{sum(w.numel() for w in voice.model.parameters()) / 1e6:.1f} M parameters"
    practice = practice_of(voice.path)
    return f"{voice.path}: {size}{f'; {practice}' if practice else ''}"


def terminal() -> bool:
    """UTF-8 whatever the locale says, line editing where there is any. Whether to use colours."""
    for file in (sys.stdin, sys.stdout):
        if hasattr(file, "reconfigure"):
            file.reconfigure(encoding="utf-8", errors="replace")
    with contextlib.suppress(ImportError):  # Windows has none
        import readline  # noqa: F401
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    if colour and os.name == "nt":
        os.system("")  # makes an older console obey colours
    return colour


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "minir1 play", description="Ask a checkpoint, in the terminal.", allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter, epilog=f"then type:\n{HELP}",
    )
    add = parser.add_argument
    device = "auto, cpu, cuda or mps (default: cpu, quick enough for one response)"
    add("checkpoint", metavar="CHECKPOINT", nargs="?", type=Path, help="default: the shipped one")
    add("--device", default="cpu", help=device)
    add("--draft", action="store_true", help="stream by multi-token prediction: the same responses")
    return parser


def main(arguments: list[str]) -> None:
    """`[CHECKPOINT]`: a conversation until Ctrl-D."""
    arguments = parse(build_parser(), arguments)
    path = arguments.checkpoint or best(DRAFTING if arguments.draft else ZERO)
    voice = open_voice(path, pick_device(Config(device=arguments.device)).name)
    if arguments.draft and not voice.model.config.mtp:
        lacks = "has no block for multi-token prediction, which --draft needs"
        raise UserError(f"{path} {lacks}: see results/mtp/README.md")
    bilingual = None if arguments.checkpoint else best(BILINGUAL)
    session = Session(voice, terminal(), bilingual, arguments.draft)
    print(f"{introduce(voice)}\n/help says what can be asked")
    session.run()
