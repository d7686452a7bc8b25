"""The playground: what is recognised, what is streamed (the sampler's very tokens), what is shown,
and a real terminal.
"""

import json
import os
import re
import select
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minir1.__main__ import COMMANDS
from minir1.checkpoint import save_checkpoint
from minir1.config import ModelConfig, UserError
from minir1.corpus.mixture import sample_text
from minir1.data import FOLDER
from minir1.model import Transformer
from minir1.play import command as play
from minir1.play import practice
from minir1.play.command import Session
from minir1.play.practice import BILINGUAL, ZERO, Practice, best, practice_of
from minir1.play.questions import Asked, Draw, Response, judge, open_voice, recognise, spell, stream
from minir1.play.screen import Painter, tally, visible, why
from minir1.presets import PRESETS
from minir1.run.folder import Run
from minir1.sampler import Sampling, Stream, sample
from minir1.tasks.arithmetic import Arithmetic
from minir1.tasks.countdown import Countdown
from minir1.tokenizer import Tokenizer
from minir1.transcript import prompt

torch.set_num_threads(1)
TINY = {
    "heads": 2, "attention": "gqa", "kv_heads": 1,
    "head_width": 4, "dense_width": 8, "experts": 0,
}

SMALL = ModelConfig(
    vocab_size=30, width=16, layers=2, heads=2, kv_rank=8, nope_width=4, rope_width=4,
    value_width=4, dense_width=24,
    expert_width=8, positions=64, init_std=0.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(sample_text(PRESETS["cpu"].corpus, 0, 200), 400)


def scripted(tokenizer: Tokenizer, positions: int = 200_000) -> Transformer:
    """<think>787878...</think><answer>5</answer><|end|> to any question: the next token follows
    from the last alone.

    Greedy, it thinks for ever; at temperature 1 the thought ends behind each 8 with probability
    0.2.
    """
    model = Transformer(
        ModelConfig(vocab_size=len(tokenizer), width=16, layers=1, positions=positions, **TINY)
    ).eval()
    one = lambda text: tokenizer.encode(text)[0]  # noqa: E731
    last = tokenizer.encode(prompt("?"))[-1]
    chain = [
        last, *map(one, ("<think>", "7", "8", "</think>", "<answer>", "5", "</answer>", "<|end|>")),
    ]
    with torch.no_grad():
        for layer in (
            model.embed, model.head, model.blocks[0].attention.out, model.blocks[0].mixer.down,
        ):
            layer.weight.zero_()
        for i, (id, following) in enumerate(zip(chain, chain[1:])):
            model.embed.weight[id, i] = 1.0
            model.head.weight[following, i] = 10.0  # times sqrt(16), by the norm: a logit of 40
        model.head.weight[one("7"), 3] = 10.0 + torch.log(torch.tensor(4.0)) / 4
    return model


@pytest.fixture(scope="module")
def checkpoint(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("play") / "tiny.pt"
    save_checkpoint(path, scripted(tokenizer), tokenizer)
    return path


@pytest.fixture
def session(checkpoint) -> Session:
    return Session(open_voice(checkpoint, "cpu"))


def talk(session: Session, lines: list[str], monkeypatch, capsys) -> str:
    """What is on the screen after these lines and Ctrl-D."""
    given = iter(lines)

    def read(prompt):
        try:
            return next(given)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)
    session.run()
    return capsys.readouterr().out


# ---------------------------------------------------------------- what was typed


@pytest.mark.parametrize("text, question, problem", [
    (
        "19 36 55 7 = 65",
        "Using the numbers 19, 36, 55, 7, make an expression that equals 65.",
        Countdown((19, 36, 55, 7), 65),
    ),
    ("3,5,  7=22", None, Countdown((3, 5, 7), 22)),
    ("make 22 using 3, 5 and 7", None, Countdown((3, 5, 7), 22)),
    ("can you make 22 from 3, 5, 7?", "Make 22 from 3, 5, 7.", Countdown((3, 5, 7), 22)),
    ("用3，5和7凑出22", None, Countdown((3, 5, 7), 22, "zh")),
    ("make 22 from 3, 5, 7", "Make 22 from 3, 5, 7.", Countdown((3, 5, 7), 22)),
    ("用3、5、7算出22。", "用3、5、7算出22。", Countdown((3, 5, 7), 22, "zh")),
])  # fmt: skip
def test_countdown_is_recognised(text, question, problem):
    assert recognise(text) == Asked(question or problem.question(), problem)


@pytest.mark.parametrize("text, question, answer", [
    ("what is 4821 + 977?", "What is 4821 + 977?", "5798"),
    ("4821+977", "What is 4821 + 977?", "5798"), ("3 - 98 =", "3 - 98 =", "-95"),
    ("compute (9+8)×2", "Compute (9 + 8) * 2.", "34"),
    ("How much is 98 plus 45?", "How much is 98 plus 45?", "143"),
    ("98加45等于多少", "98加45等于多少？", "143"), ("请问12加13等于几？", "12加13等于多少？", "25"),
    ("what's 98 + 45", "What is 98 + 45?", "143"), ("37减18是几", "37减18等于多少？", "19"),
     ("7 - 2 * 3", "What is 7 - 2 * 3?", "1"),
])  # fmt: skip
def test_arithmetic_is_recognised(text, question, answer):
    asked = recognise(text)
    assert asked.question == question == asked.problem.question()
    assert (
        isinstance(asked.problem, Arithmetic)
        and asked.problem.answer == answer
        and asked.problem.verify(answer)
    )


@pytest.mark.parametrize("text", [
    "Who are you?", "你是谁？", "7", "what is 7", "7 / 2", "1 / 0", "2 ** 3", "__import__('os')",
    "what is what", "3 5 7", "= 3",
    "1 +", "007 + 1", "12 = 12", " * ".join(["999999999"] * 9), "1" * 5000 + " 2 = 3",
    "3 5 = " + "9" * 5000,
])  # fmt: skip
def test_anything_else_stays_as_it_is(text):
    assert recognise(text) == Asked(text, None)


@given(st.text(alphabet="0123456789 +-*/()=.,?加、what is\n²٣", max_size=30))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_recognising_is_total_and_right(text):
    asked = recognise(text)
    if isinstance(asked.problem, Arithmetic):
        assert asked.problem.verify(asked.problem.answer)


SORTING = Path(__file__).parents[1] / "notebooks" / "own_tasks" / "sorting.py"


def test_a_problem_of_any_task_is_a_line_of_a_problem_file():
    line = {"task": "countdown", "numbers": [3, 5], "target": 8}
    puzzle = recognise(json.dumps(line))
    assert puzzle == Asked(puzzle.problem.question(), Countdown((3, 5), 8))
    own = recognise(json.dumps({"task": str(SORTING), "numbers": [31, 4, 15, 9]}))
    assert own.question == "Sort: 31 4 15 9"
    right = judge(own.problem, "<answer>4 9 15 31</answer><|end|>", 9, True)
    wrong = judge(own.problem, "<answer>4 15 9 31</answer><|end|>", 9, True)
    assert right == Response("4 9 15 31", True, "", 9, True)
    assert wrong == Response("4 15 9 31", False, "", 9, True)
    fact = recognise('{"task": "file", "question": "Capital of France?", "answer": "Paris"}')
    assert judge(fact.problem, "<answer>Rome</answer><|end|>", 9, True).reason == "it is Paris"


@pytest.mark.parametrize(
    "line, said",
    [
        ({"task": "countdown", "numbers": 3, "target": 8}, '"numbers" must be'),
        ({"task": "none.py"}, "no task file"),
        ({"task": "sudoku"}, "no task 'sudoku'"),
        ({"task": str(SORTING)}, '"numbers" must be a list of integers'),
    ],
)
def test_a_line_that_is_no_problem_gets_one_line(line, said):
    with pytest.raises(UserError, match=re.escape(said)):
        recognise(json.dumps(line))


@pytest.mark.parametrize("text", ['{"a": 1}', "{", '{"task"', '{"a":' * 100_000])
def test_braces_alone_are_text(text):
    assert recognise(text) == Asked(text, None)


def test_a_response_is_judged_as_in_training():
    puzzle, total = Countdown((3, 5), 8), recognise("3 + 5").problem
    assert judge(puzzle, "<think>x</think><answer>5 + 3</answer><|end|>", 9, True) == Response(
        "5 + 3", True, "", 9, True
    )
    assert (
        judge(puzzle, "<answer>4 + 4</answer><|end|>", 9, True).reason
        == "it does not use each number once"
    )
    assert judge(puzzle, "<answer>x</answer><|end|>", 9, True).reason == "that is not an expression"
    assert judge(total, "<answer>9</answer><|end|>", 9, True) == Response(
        "9", False, "it is 8", 9, True
    )
    # cut: not well formed
    assert judge(total, "<answer>8</answer>", 9, False) == Response(None, False, "", 9, False)
    assert judge(None, "<answer>8</answer><|end|>", 9, True).right is None


# ---------------------------------------------------------------- token by token


@pytest.mark.parametrize("draft", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0, 2.0])
def test_the_stream_is_the_samplers(tokenizer, temperature, draft):
    """Random models of the default kind; some rows stop and some are cut."""
    stopped, free = set(), 0
    for seed in range(8):
        torch.manual_seed(seed)
        model = Transformer(replace(SMALL, mtp=draft)).eval()
        how = Sampling(25, (3, 4), temperature, vocabulary=SMALL.vocab_size - 4)
        draws = list(stream(model, [7, 8, 9], how, Stream.of(seed), draft))
        drawn = sample(model, [[7, 8, 9]], 1, how, Stream.of(seed))
        assert [d.id for d in draws] == drawn.ids_BT[0, : drawn.length_B[0]].tolist()
        assert torch.allclose(
            torch.tensor([d.chance for d in draws]).log(), drawn.logp_BT[0, : len(draws)], atol=1e-5
        )
        assert all(
            d.top == sorted(d.top, key=lambda pair: -pair[1]) and len(d.top) == 5 for d in draws
        )
        assert all(id < how.vocabulary for d in draws for id, _ in d.top)
        stopped.add(bool(drawn.stopped_B[0]))
        free += sum(d.free for d in draws)
    assert temperature == 0 or stopped == {True, False}
    assert (free > 0) == draft


def test_the_text_is_the_samplers(session):
    voice = session.voice
    ids, how = voice.prepare(Asked("?", None), 500, 1.0)
    texts = set()
    for seed in range(5):
        drawn = sample(voice.model, [ids], 1, how, Stream.of(seed))
        expected = voice.tokenizer.decode(drawn.ids_BT[0, : drawn.length_B[0]].tolist())
        streamed = (
            draw.id for draw in stream(voice.model, ids, how, Stream.of(seed))
        )
        assert "".join(spell(voice.tokenizer, streamed)) == expected
        texts.add(expected)
    assert len(texts) > 1 and all(
        re.fullmatch(r"<think>(78)+</think><answer>5</answer><\|end\|>", text) for text in texts
    )


def test_a_character_of_several_tokens_waits(tokenizer):
    ids = tokenizer.encode("7你é🙂8")
    assert len(ids) > 5
    assert [piece for piece in spell(tokenizer, ids) if piece] == ["7", "你", "é", "🙂", "8"]
    # cut inside a character
    assert "".join(spell(tokenizer, ids[:-2])) == tokenizer.decode(ids[:-2])
    assert "".join(spell(tokenizer, [*ids[1:2], *ids])) == tokenizer.decode([*ids[1:2], *ids])


def test_a_token_that_ends_inside_a_character_is_shown_once():
    """A merge may hold a whole character and the first byte of the next."""

    class Merged:
        def decode(self, ids):
            return b"".join([b"7\xe4", b"\xbd", b"\xa0"][i] for i in ids).decode("utf-8", "replace")

    assert [piece for piece in spell(Merged(), [0, 1, 2, 0]) if piece] == ["7", "你", "7", "\ufffd"]


# ---------------------------------------------------------------- what is seen


def shown(pieces: list[str], colour: bool, capsys) -> str:
    painter = Painter(colour)
    for piece in pieces:
        painter.write(piece)
    return capsys.readouterr().out


def test_thoughts_are_dim_and_answers_bold(capsys):
    pieces = ["<think>", "7 +", " 8", "</think>", "<answer>", "5", "</answer>", "<|end|>"]
    dim = lambda text: f"\x1b[2m{text}\x1b[0m"  # noqa: E731
    coloured = [
        *map(dim, ["<think>", "7 +", " 8", "</think>", "\n<answer>"]), "\x1b[1m5\x1b[0m",
        dim("</answer>"),
    ]
    assert shown(pieces, True, capsys) == "".join(coloured)
    assert shown(pieces, False, capsys) == "<think>7 + 8</think>\n<answer>5</answer>"


def test_what_a_draft_gave_is_underlined(tokenizer, tmp_path, monkeypatch, capsys):
    model = scripted(tokenizer, positions=64)
    larger = Transformer(replace(model.config, mtp=True)).eval()
    larger.load_state_dict(model.state_dict(), strict=False)
    save_checkpoint(tmp_path / "mtp.pt", larger, tokenizer)
    session = Session(open_voice(tmp_path / "mtp.pt", "cpu"), colour=True, draft=True)
    monkeypatch.setattr(play, "stream", lambda *how: iter(  # as if each second one were free
        draw._replace(free=i % 2 == 1) for i, draw in enumerate(stream(*how))))
    out = talk(session, ["/temperature 0", "/budget 4", "?"], monkeypatch, capsys)
    assert "\x1b[2m<think>\x1b[0m\x1b[2;4m7\x1b[0m\x1b[2m8\x1b[0m\x1b[2;4m7\x1b[0m" in out
    assert "50% of the tokens were free, by a right draft: 2.00 per forward pass" in out


def test_the_shipped_block_belongs_to_the_shipped_r1_zero():
    plain, with_block = (
        open_voice(FOLDER / name, "cpu").model.state_dict()
        for name in ("zero-cpu.pt", "zero-cpu-mtp.pt")
    )
    assert all(torch.equal(weight, with_block[name]) for name, weight in plain.items())
    assert {name[:4] for name in with_block.keys() - plain.keys()} == {"mtp_"}


def test_drafts_need_a_block(checkpoint):
    with pytest.raises(UserError, match="has no block for multi-token prediction"):
        play.main([str(checkpoint), "--draft"])


def test_a_model_cannot_steer_the_terminal(capsys):
    assert (
        shown(["\x1b[2J\x07\r\x9b1m\u202eab\nc"], False, capsys)
        == "\ufffd[2J\ufffd\ufffd\ufffd1m\ufffdab\nc"
    )
    assert visible("a\nb\x1b", "") == "a\\nb\ufffd"


def test_tally_counts_and_names_the_majority():
    right, spaced = Response("3 + 5", True, "", 10, True), Response("3+5", True, "", 10, True)
    wrong, none = (
        Response("3", False, "that makes 3", 4, True), Response(None, False, "", 20, False),
    )
    text = tally(
        {"zero": [wrong, right, spaced, none], "base-cpu": [none, none, wrong, none]},
        Painter(False),
    )
    assert text.splitlines() == [
        " zero  base-cpu",
        "    2            ✓ right  3 + 5",
        "    1         3  ✗ wrong  (no answer)",
        "    1         1  ✗ wrong  3",
        "zero: 2 of 4 right, majority 3 + 5 ✓ right; 11 tokens on average, 1 cut off",
        "base-cpu: 0 of 4 right, majority 3 ✗ wrong; 16 tokens on average, 3 cut off",
    ]
    many = tally(
        {"m": [Response(str(i), None, "", 1, True) for i in range(20)]}, Painter(False), most=3
    )
    assert "and 17 more" in many and many.count("✗") == 0


def test_why_shows_the_open_choices_first(tokenizer):
    a, b, line = (tokenizer.encode(text)[0] for text in ("7", "8", "\n"))
    sure, open_, odd = (
        Draw(a, 1.0, [(a, 1.0)]), Draw(b, 0.6, [(b, 0.6), (a, 0.4)]),
        Draw(line, 0.1, [(a, 0.9), (line, 0.1)]),
    )
    text = why([sure, open_, odd], tokenizer, Painter(False)).splitlines()
    assert text[0] == "2 of 3 tokens had a chance below 90%; the least likely first, page 1 of 1"
    rows = [" ".join(row.split()) for row in text[1:]]
    assert rows == ['3 78 > "\\n" 10% else "7" 90%', '2 7 > "8" 60% else "7" 40%', '1 > "7" 100%']
    ordered = why([sure, open_, odd], tokenizer, Painter(False), True, 2, rows=2).splitlines()
    assert len(ordered) == 2 and ordered[1].split()[0] == "3"
    with pytest.raises(UserError, match="there are 2 pages"):
        why([sure, open_, odd], tokenizer, Painter(False), page=3, rows=2)


@pytest.mark.parametrize(
    "terminal, no_color, colour", [(True, None, True), (True, "1", False), (False, None, False)]
)
def test_colour_is_for_terminals(terminal, no_color, colour, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert play.terminal() == colour


def test_line_editing_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "readline", None)  # importing it fails, as on Windows
    assert play.terminal() in (True, False)


# ---------------------------------------------------------------- the conversation


def test_a_question_is_streamed_and_checked(session, monkeypatch, capsys):
    out = talk(
        session, ["/temperature 1", "2 + 3", "2 + 2", "2 3 = 5", "who?", "/why", "/why all 1"],
        monkeypatch, capsys,
    )
    body = r"<think>(78)+</think>\n<answer>5</answer>\n"
    assert re.search(rf"User: What is 2 \+ 3\?\n{body}✓ right, \d+ tokens\n", out)
    assert re.search(rf"User: What is 2 \+ 2\?\n{body}✗ wrong: it is 4, \d+ tokens\n", out)
    wrong = r"✗ wrong: it does not use each number once, \d+ tokens\n"
    assert re.search(rf"{body}{wrong}User: who\?\n{body}– not checked", out)
    assert '"7" 80%  else "</think>" 20%' in out or '"</think>" 20%  else "7" 80%' in out
    assert "the least likely first" in out and "in order, page 1" in out


@pytest.mark.parametrize("line, said", [
    ("/foo 3", "no command /foo; /help lists them"), ("/", "no command /; /help lists them"),
    ("/samples", "/samples takes a whole number from 1 to 1024"),
    ("/samples 0", "/samples takes a whole number from 1 to 1024"),
    ("/samples 1.5", "/samples takes a whole number from 1 to 1024"),
    ("/temperature nan", "/temperature takes 0 (greedy) or a number from 0.01 to 10"),
    ("/temperature -1", "/temperature takes 0 (greedy) or a number from 0.01 to 10"),
    ("/temperature 0.001", "/temperature takes 0 (greedy) or a number from 0.01 to 10"),
    ("/temperature 11", "/temperature takes 0 (greedy) or a number from 0.01 to 10"),
    ("/budget 200000", "/budget takes a whole number from 1 to 199999"),
    ("/budget " + "9" * 5000, "/budget takes a whole number from 1 to 199999"),
    ("/seed x", "/seed takes a whole number from 0 to 9007199254740992"),
    ("/why", "/why follows a streamed response"),
    ("/base nowhere.pt", "no checkpoint at nowhere.pt"), ("", ""),
])  # fmt: skip
def test_wrong_input_gets_one_line(session, line, said, monkeypatch, capsys):
    assert talk(session, [line], monkeypatch, capsys) == (f"{said}\n\n" if said else "\n")


def test_settings_change_what_follows(session, monkeypatch, capsys):
    lines = [
        "/seed 7", "/temperature 1", "2 + 3", "/seed 7", "2 + 3", "2 + 3", "/temperature 0",
        "/budget 9", "2 + 3",
    ]
    out = talk(session, lines, monkeypatch, capsys)
    first, again, other, cut = (
        part.partition("✓")[0].partition("\nseed")[0] for part in out.split("3?\n")[1:]
    )
    assert first == again != other
    assert cut.startswith(
        "<think>78787878\n✗ wrong: no answer in the right form, 9 tokens (cut off there)"
    )


def test_samples_ask_the_last_question_again(session, monkeypatch, capsys):
    lines = ["/temperature 1", "2 + 3", "/samples 8", "2 + 2", "/samples 1", "2 + 3"]
    out = talk(session, lines, monkeypatch, capsys)
    assert (
        "User: What is 2 + 3?\n tiny\n    8  ✓ right  5\ntiny: 8 of 8 right, majority 5 ✓ right; "
        in out
    )
    assert "    8  ✗ wrong  5\ntiny: 0 of 8 right" in out
    assert out.count("<think>") == 2


def test_the_base_is_shown_beside(session, tokenizer, tmp_path, monkeypatch, capsys):
    save_checkpoint(tmp_path / "tiny.pt", scripted(tokenizer), tokenizer)  # a namesake
    other = str(tmp_path / "tiny.pt")
    lines = [
        "/temperature 1", f"/base {other}", "2 + 3", "/samples 4", "/base", "2 + 3",
        f"/base {session.voice.path}",
    ]
    out = talk(session, lines, monkeypatch, capsys)
    assert re.search(rf"✓ right, \d+ tokens\n{re.escape(other)}: 5  ✓ right, \d+ tokens\n", out)
    assert f" tiny  {other}\n    4  {4:>{len(other)}}  ✓ right  5\n" in out
    assert "the base is no longer shown" in out and out.count(f"{other}: ") == 3
    assert out.endswith(
        "that is the model you are talking to; /base CHECKPOINT shows another beside it\n\n"
    )


def test_the_base_draws_its_own_random_numbers(
    session, checkpoint, tokenizer, tmp_path, monkeypatch, capsys
):
    save_checkpoint(tmp_path / "base.pt", scripted(tokenizer), tokenizer)
    plain = talk(session, ["2 + 3", "2 + 3"], monkeypatch, capsys)
    beside = talk(
        Session(open_voice(checkpoint, "cpu")), [f"/base {tmp_path / 'base.pt'}", "2 + 3", "2 + 3"],
        monkeypatch, capsys,
    )
    assert re.findall("<think>.*", beside) == re.findall("<think>.*", plain)


def test_a_prompt_too_long_gets_one_line(tokenizer, tmp_path, monkeypatch, capsys):
    save_checkpoint(tmp_path / "small.pt", scripted(tokenizer, positions=40), tokenizer)
    session = Session(open_voice(tmp_path / "small.pt", "cpu"))
    out = talk(session, ["12345 " * 20, "/temperature 0", "2 + 3"], monkeypatch, capsys)
    assert re.fullmatch(
        r"a prompt of \d+ tokens is too long: small has 40 positions", out.splitlines()[0]
    )
    room = 40 - len(tokenizer.encode(prompt("What is 2 + 3?")))
    assert f", {min(20, room)} tokens (cut off there)" in out
    session.budget = 39  # more than there is room for: cut where the positions end
    assert f", {room} tokens (cut off there)" in talk(session, ["2 + 3"], monkeypatch, capsys)


@pytest.mark.parametrize("shipped, first", [(True, "zero-cpu.pt"), (False, "base-cpu.pt")])
def test_the_default_checkpoint(shipped, first, checkpoint, tmp_path, monkeypatch, capsys):
    """The shipped R1-Zero, else its base; and the best bilingual model for Chinese."""
    for name in ("zero-cpu.pt", "base-cpu.pt", "base-r1-cpu.pt", "zero-r1-cpu.pt")[not shipped :]:
        (tmp_path / name).write_bytes(checkpoint.read_bytes())
    monkeypatch.setattr(play, "best", lambda names: practice.best(names, tmp_path))
    monkeypatch.setattr(practice, "FOLDER", tmp_path)
    said = iter(["98加45等于多少？", "2 + 3"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(said, None) or leave())
    monkeypatch.setattr(Session, "stream_one", lambda session, asked: print(session.voice.name))
    play.main([])
    verb = "has practised" if shipped else "has only read"
    sizes = "puzzles of 3 numbers up to 30 with targets from 10 to 99"
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / first}: 0.0 M parameters; {verb} {sizes}, in English",
        "/help says what can be asked",
        f"{tmp_path / 'zero-r1-cpu.pt'}: 0.0 M parameters; has practised {sizes}, "
        "in English and Chinese",
        "User: 98加45等于多少？", "zero-r1-cpu",
        "User: What is 2 + 3?", Path(first).stem, "",
    ]


def leave():
    raise EOFError


# ---------------------------------------------------------------- what a model has practised


@pytest.mark.parametrize("typed, outside", [
    ("23 5 13 = 31", ""), ("19 36 5 7 = 65", "4 numbers, and one above 30"),
    ("3 5 7 = 8", "a target that is not from 10 to 99"), ("12345 + 99999", ""),
    ("123456 plus 1", "a sum of more than 5 digits"), ("99 times 99", ""),
    ("100 * 7", "a product of more than 2 digits"), ("1 + 2 + 3", "3 numbers in a sum"),
    ("who are you?", "no puzzle and no sum"), ("你好", "Chinese"), ("98加45等于多少？", "Chinese"),
    ('{"task": "file", "question": "Capital of France?", "answer": "Paris"}', ""),
])  # fmt: skip
def test_what_lies_outside_is_said(typed, outside):
    assert Practice(("cpu",)).outside(recognise(typed)) == outside
    if outside in ("Chinese", "no puzzle and no sum"):
        assert Practice(("cpu",), ("en", "zh")).outside(recognise(typed)) == ""
    said = Practice(("cpu", "rg-hard")).outside(recognise("19 36 5 7 = 165"))
    assert said == ""  # one of them has such puzzles


def test_it_is_said_before_the_answer(session, monkeypatch, capsys):
    monkeypatch.setattr(play, "practice_of", lambda path: Practice(("cpu",)))
    out = talk(session, ["/temperature 1", "1 2 3 4 = 10", "23 5 13 = 31"], monkeypatch, capsys)
    assert out.index("tiny has not seen the like: 4 numbers\nUser: ") < out.index("<think>")
    assert out.count("has not seen") == 1


def test_a_run_tells_what_it_has_practised(tmp_path):
    run = Run.start(tmp_path / "run", PRESETS["gpu"])
    known = practice_of(run.path / "checkpoints" / "zero.pt")
    assert str(known) == (
        "has practised puzzles of 3 to 4 numbers up to 99 with targets from 10 to 99, in English")
    assert practice_of(run.path / "checkpoints" / "base.pt") == Practice(
        ("3to4",), verb="has only read")
    assert practice_of(tmp_path / "alone" / "zero.pt") is None
    (run.path / "config.json").write_text("[]")
    assert practice_of(run.path / "checkpoints" / "zero.pt") is None


EXAMPLES = [re.split(r" {3,}", line.strip())[0] for line in play.HELP.splitlines()]
EXAMPLES = EXAMPLES[: EXAMPLES.index("anything else")]
WORDINGS = (
    "make 32 using 29, 10 and 13", "can you make 38 from 17, 22, 1?", "27, 14 and 5 = 97",
    "what's 57 plus 86", "47+38", "98加45等于多少？", "请问12加13等于几？", "37减18是几",
    "用15、9、1凑出25", "用15，9和1得到25",
)


@pytest.fixture(scope="module")
def shipped():
    return open_voice(best(ZERO), "cpu"), best(BILINGUAL)


@pytest.mark.parametrize("typed", [*EXAMPLES, *WORDINGS])
def test_examples_and_wordings_are_answered_right(shipped, typed, capsys):
    """By the shipped models, at the first try: /help's as they come, the others greedily.

    The puzzles are held out.
    """
    session = Session(replace(shipped[0]), bilingual=shipped[1])
    session.temperature = 0.6 if typed in EXAMPLES else 0
    session.handle(typed)
    out = capsys.readouterr().out
    assert "✓ right" in out and "has not seen" not in out
    assert ("-r1-cpu.pt: " in out) == bool(re.search("[一-鿿]", typed))
    problem = recognise(typed).problem
    assert problem.task == "arithmetic" or problem.split() != "train"
    assert len(EXAMPLES) == 4


def test_the_command_is_listed():
    assert COMMANDS["play"][0] == "minir1.play.command"


def test_through_a_pipe_all_is_utf8_and_plain(checkpoint):
    """Whatever the locale says; a byte order mark and bytes that are no UTF-8 do no harm."""
    command = [sys.executable, "-m", "minir1", "play", str(checkpoint)]
    typed = "\ufeff/temperature 1\n2加3等于多少？\n".encode() + b"\xff\xe4\n/quit\nnever read\n"
    done = subprocess.run(
        command, input=typed, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"},
        timeout=60,
    )
    out = done.stdout.decode().replace("\r\n", "\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (
        "temperature 1\nUser: 2加3等于多少？\n<think>7" in out
        and "✓ right" in out
        and "User: \ufffd" in out
    )
    assert "\x1b" not in out and "> " not in out and "never" not in out


# ---------------------------------------------------------------- a real terminal


class Terminal:
    """The program on the other end of a pseudo-terminal."""

    def __init__(self, arguments: list[str]):
        import pty

        environment = os.environ | {"TERM": "dumb", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        environment.pop("NO_COLOR", None)
        self.screen, self.read_to = "", 0
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.execve(
                sys.executable, [sys.executable, "-m", "minir1", "play", *arguments], environment
            )

    def wait(self, text: str, seconds: float = 60) -> str:
        """Read on until `text` stands behind what was read before; returns what was new."""
        end = time.monotonic() + seconds
        while (found := self.screen.find(text, self.read_to)) < 0:
            assert time.monotonic() < end, f"no {text!r} in {self.screen[self.read_to :][-2000:]!r}"
            if select.select([self.file], [], [], 0.2)[0]:
                self.screen += os.read(self.file, 65536).decode("utf-8", "replace")
        new, self.read_to = self.screen[self.read_to : found + len(text)], found + len(text)
        return new

    def send(self, text: str) -> None:
        os.write(self.file, text.encode())

    def status(self, seconds: float = 20) -> int:
        """Of the program, which must end by itself."""
        end = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = None
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < end, "still running"
            if select.select([self.file], [], [], 0.1)[0]:
                try:
                    self.screen += os.read(self.file, 65536).decode("utf-8", "replace")
                except OSError:  # Linux: the other end is closed
                    time.sleep(0.05)

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
        os.close(self.file)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals of this kind")
def test_in_a_terminal(checkpoint):
    terminal = Terminal([str(checkpoint)])
    try:
        assert str(checkpoint) in terminal.wait("> ")
        terminal.send("/temperature 1\n2 3 = 5\n")
        shown = terminal.wait("use each number once")
        assert "\x1b[2m<think>\x1b[0m\x1b[2m7\x1b[0m\x1b[2m8\x1b[0m" in shown  # token by token
        assert "\x1b[1m5\x1b[0m" in shown and "\x1b[31m✗ wrong\x1b[0m" in shown
        terminal.wait("> ")
        terminal.send("/temperature 0\n/budget 150000\n")
        terminal.wait("at most 150000")
        terminal.wait("> ")
        terminal.send("2 + 3\n")
        terminal.wait("\x1b[2m8\x1b[0m")  # it thinks, and would go on for minutes
        terminal.send("\x03")
        assert "✓" not in terminal.wait("(stopped)")
        terminal.wait("> ")
        # a signal between the prompt and readline's select() may have to wait for a key
        time.sleep(0.5)
        terminal.send("\x03")
        terminal.wait("(Ctrl-D or /quit leaves)")
        terminal.wait("> ")
        terminal.send("/temperature 1\n")
        terminal.wait("temperature 1\r\n")
        terminal.wait("> ")
        terminal.send("2 + 3\n")
        assert "\x1b[1m5\x1b[0m" in terminal.wait("\x1b[32m✓ right\x1b[0m")
        terminal.wait("> ")
        terminal.send("/wrong\n")
        terminal.wait("/wrong\r\n")
        assert terminal.wait("> ") == "no command /wrong; /help lists them\r\n> "
        terminal.send("\x04")
        assert terminal.status() == 0
        assert "Traceback" not in terminal.screen
    finally:
        terminal.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals of this kind")
def test_in_a_terminal_the_examples_of_help_are_right():
    """As a newcomer meets it: no checkpoint named, the examples one after the other."""
    terminal = Terminal([])
    try:
        said = terminal.wait("> ")
        assert "has practised puzzles of 3 numbers" in said and "/help" in said
        terminal.send("/help\n")
        assert all(typed in terminal.wait(typed) for typed in EXAMPLES)
        for typed in EXAMPLES:
            terminal.wait("> ")
            terminal.send(f"{typed}\n")
            assert "✗" not in terminal.wait("\x1b[32m✓ right\x1b[0m")
        terminal.wait("> ")
        terminal.send("19 36 55 7 = 65\n")
        terminal.wait("zero-cpu has not seen the like: 4 numbers, and one above 30")
    finally:
        terminal.close()
