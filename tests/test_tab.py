"""R1-Zero in a tab: the page in a real Chromium, from disk and offline, against PyTorch.

Without a Chromium on PATH (Debian and Ubuntu: apt-get install chromium) these tests are skipped.
"""

import contextlib
import json
import os
import random
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from browser import Browser, find_chromium

from minir1.__main__ import main
from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import ModelConfig, UserError
from minir1.data import FOLDER
from minir1.hub.pack import pack
from minir1.model import Transformer
from minir1.play.page import build_page
from minir1.rewards import score
from minir1.rollout import sampling
from minir1.sampler import sample
from minir1.tasks import countdown
from minir1.tasks.countdown import Countdown
from minir1.transcript import prompt

torch.set_num_threads(1)

CHROMIUM = find_chromium()
in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
PAIR = [FOLDER / "base-cpu.pt", FOLDER / "zero-cpu.pt"]
HOSTILE = (
    "</script><img src=x onerror=alert(1)>&amp;<!-- {{data}} \U0001f914\u202e等等 <think><|end|>"
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    out = tmp_path_factory.mktemp("tab") / "page.html"
    assert main(["page", "base-cpu.pt", str(PAIR[1]), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def browser():
    with Browser(CHROMIUM) as browser:
        yield browser


@pytest.fixture
def page(path, browser):
    browser.events.clear()
    page = browser.open(path)
    page.run("at('pace').value = '0'")
    yield page
    assert page.troubles() == []


@pytest.fixture(scope="module")
def models():
    return [load_checkpoint(path) for path in PAIR]


def puzzles(n: int) -> list[Countdown]:
    rng = random.Random(5)
    return [countdown.sample(rng, "cpu", "test") for _ in range(n)]


def ask(page, text: str) -> None:
    page.run(f"at('question').value = {json.dumps(text)}, at('ask').requestSubmit()")
    page.wait("cards.every(card => card.attempt.done)")


def shown(page, selector: str) -> list[str]:
    found = f"document.querySelectorAll({json.dumps(selector)})"
    return page.run(f"[...{found}].map(element => element.textContent)")


# ---------------------------------------------------------------- the file


def test_one_file_of_at_most_four_megabytes_that_asks_for_nothing(path):
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 4e6 and text.count("<script") == 2
    assert "default-src 'none'" in text and "unsafe" not in text and "{{" not in text
    assert " src=" not in text and " href=" not in text and "url(" not in text


def test_the_page_in_docs_is_what_the_command_writes(path):
    """Else: python -m minir1 page base-cpu.pt zero-cpu.pt --out docs/think.html"""
    shipped = Path(__file__).parent.parent / "docs/think.html"
    same = path.read_bytes() == shipped.read_bytes()
    assert same  # without a diff of millions of characters


def test_a_model_that_it_cannot_compute_is_refused_in_one_line(tmp_path, capsys):
    config = ModelConfig(width=32, layers=1, q_rank=8)
    save_checkpoint(tmp_path / "low.pt", Transformer(config), load_checkpoint(PAIR[0])[1])
    for path in (FOLDER / "student-small-cpu.pt", tmp_path / "low.pt"):
        with pytest.raises(UserError, match="--attention mla with --q_rank 0 only"):
            build_page([path])
    assert main(["page", "nowhere.pt", "--out", str(tmp_path / "page.html")]) == 2
    assert capsys.readouterr().err == "minir1: no checkpoint at nowhere.pt\n"
    assert not (tmp_path / "page.html").exists()


# ---------------------------------------------------------------- equal to PyTorch

COMPUTE = """(ids => {
  const {model} = cards[%d], cache = model.cache();
  return ids.map(id => [...model.read(id, cache)]);
})(%s)"""


@in_chromium
@pytest.mark.parametrize("which", [0, 1])
def test_logits(page, models, which):
    model, tokenizer = models[which]
    for problem in puzzles(3):
        text = prompt(problem.question()) + "<think>13 + 5 = 18, with 23: 41, 5, no\nwait, 2"
        ids = tokenizer.encode(text)
        logits_TV = torch.tensor(page.run(COMPUTE % (which, ids)))
        with torch.no_grad():
            theirs_TV = model(torch.tensor([ids]))[0, :, : len(tokenizer)]
        torch.testing.assert_close(logits_TV, theirs_TV, atol=1e-3, rtol=0)


@in_chromium
def test_shapes_other_than_the_presets(tmp_path, browser, models):
    """Two dense layers of four, no shared expert, three experts a token, a scale, other turns."""
    _, tokenizer = models[0]
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=512, width=48, layers=4, heads=3, kv_rank=20, nope_width=12, rope_width=4,
        value_width=16, dense_width=64, dense_layers=2, experts=5, shared_experts=0, top_k=3,
        expert_width=40, routed_scale=1.7, rope_base=500.0, rope_factor=8.0, rope_original=32,
        positions=64, init_std=0.3, mtp=True)
    model = Transformer(config)
    for layer in model.expert_layers():
        layer.bias_E.copy_(torch.randn(5))
    save_checkpoint(tmp_path / "other.pt", model, tokenizer)
    (tmp_path / "page.html").write_text(build_page([tmp_path / "other.pt"]), encoding="utf-8")
    page = browser.open(tmp_path / "page.html")
    packed = {name: pack(name, weight) for name, weight in model.state_dict().items()}
    packed = {n: w if isinstance(w, torch.Tensor) else w[0] * w[1] for n, w in packed.items()}
    model.load_state_dict(packed)
    ids = tokenizer.encode(prompt("Use 1, 2, 3 to make 6."))
    with torch.no_grad():
        theirs_TV = model(torch.tensor([ids]))[0, :, : len(tokenizer)]
    logits_TV = torch.tensor(page.run(COMPUTE % (0, ids)))
    torch.testing.assert_close(logits_TV, theirs_TV, atol=1e-3, rtol=0)
    assert theirs_TV.std() > 0.5


GREEDY = """(prompts => prompts.map(prompt => {
  const {model, cache} = cards[%d], attempt = new Attempt(model, prompt, "", 0, cache);
  while (!attempt.done) attempt.step();
  return [attempt.text, attempt.stopped];
}))(%s)"""


@in_chromium
@pytest.mark.parametrize("which", [0, 1])
def test_the_same_greedy_text_on_fifty_puzzles(page, models, which):
    model, tokenizer = models[which]
    prompts = [prompt(problem.question()) for problem in puzzles(50)]
    texts = page.run(GREEDY % (which, json.dumps(prompts)))
    ids = [tokenizer.encode(text) for text in prompts]
    theirs = sample(model, ids, 1, sampling(tokenizer, 256, 0.0))
    rows = [row[:n] for row, n in zip(theirs.ids_BT.tolist(), theirs.length_B.tolist())]
    expected = list(zip(tokenizer.decode_batch(rows), theirs.stopped_B.tolist()))
    assert [tuple(pair) for pair in texts] == expected


TEXTS = [
    HOSTILE, "", " ", "3 + 4 = 7, not 12\nwait, (5 - 2) * 3", "What is 12 plus 7?", "it's, so",
    "用 3、4 算出 7。", "\t\xa0\u3000a  b\x00\x85", "<think></think><answer>1</answer><|end|>",
    "<|begin|> <|nothing|> <think", "\ufeffa\ufeff", "e\u0301 ﬁ 👩‍👩‍👧 \U0010ffff",
]


@in_chromium
@pytest.mark.parametrize("text", TEXTS)
def test_the_tokenizer(page, models, text):
    _, tokenizer = models[0]
    ids = page.run(f"cards[0].model.codec.encode({json.dumps(text)})")
    assert ids == tokenizer.encode(text)
    for part in (ids, ids[1:], ids[:-1], ids[1::2]):  # half characters, too
        assert page.run(f"cards[0].model.codec.decode({part})") == tokenizer.decode(part)


@in_chromium
def test_the_tokenizer_on_random_text(page, models):
    rng = random.Random(0)
    letters = "0123456789 +-*/=(),.\n'abctwaino<>|/think等不对🤔é"
    texts = ["".join(rng.choices(letters, k=rng.randrange(40))) for _ in range(400)]
    ids = page.run(f"{json.dumps(texts)}.map(text => cards[0].model.codec.encode(text))")
    assert ids == [models[0][1].encode(text) for text in texts]


# ---------------------------------------------------------------- problems and verdicts


@in_chromium
def test_expressions_have_their_exact_value(page):
    rng = random.Random(1)
    texts = ["".join(rng.choices("0123456789+-*/() ", k=rng.randrange(1, 9))) for _ in range(900)]
    texts += ["(1 + 2) * 3 / 4", "1 / 3 * 3", "2 - 3 - 4", "8 / 4 / 2", "((7))", "9" * 40 + " + 1"]
    texts += ["05", "1 2", "1 // 2", "2 ** 3", "1 / (2 - 2)", "(1", "1)", "-1", "", "()", "1 +"]
    texts += ["1" + " + 1" * 63, "1" + " + 1" * 64]  # 253 and 257 characters
    values = page.run(f"{json.dumps(texts)}.map(evaluate).map(v => v && v.map(String))")
    found = 0
    for text, value in zip(texts, values):
        theirs = countdown.evaluate(text)
        assert (value is None) == (theirs is None), text
        if theirs:
            assert Fraction(int(value[0]), int(value[1])) == theirs[0], text
            found += 1
    assert found > 100


@in_chromium
def test_what_is_typed_is_recognised(page):
    def recognised(text: str) -> list:
        seen = page.run(
            f"(({{question, numbers, target}}) => [question, numbers ?? null, "
            f"target === undefined ? null : String(target)])(recognise({json.dumps(text)}))")
        return seen

    for problem in puzzles(40):
        expected = [problem.question(), list(problem.numbers), str(problem.target)]
        bare = f"{' '.join(map(str, problem.numbers))}={problem.target}"
        assert recognised(problem.question()) == expected == recognised(bare)
    assert recognised("what is 4821+977") == ["What is 4821 + 977?", None, "5798"]
    assert recognised("12 × 3 = ?") == ["What is 12 * 3?", None, "36"]
    assert recognised("8 ÷ 2 − 1 × 3") == ["What is 8 / 2 - 1 * 3?", None, "1"]
    for other in ("Who are you?", "7", "5 = 5", "1 / 3", HOSTILE):
        assert recognised(other) == [other, None, None]


RESPONSES = [
    "<think>x</think><answer>23 - 5 + 13</answer><|end|>", "<answer>13 + (23 - 5)</answer><|end|>",
    "<answer>23 + 5</answer><|end|>", "<answer>31</answer><|end|>", "<answer></answer><|end|>",
    "<answer>13 + (23 - 5)</answer>", "13 + (23 - 5)<|end|>", "<|end|>",
    "<answer>a</answer><|end|>",
    "<think>a<answer>13 + (23 - 5)</answer><|end|>", "<answer>1/0</answer><|end|>",
    "<think><think></think><answer>13 + (23 - 5)</answer><|end|>",
    "<think>3 < 5</think>\n<answer> 13 + (23 - 5) </answer> <|end|>",
    "<answer>5 / 2</answer><|end|>", "<answer>13 + (23 - 5)</answer><answer>1</answer><|end|>",
]


@in_chromium
@pytest.mark.parametrize("response", RESPONSES)
def test_verdicts_are_those_of_the_reward(page, response):
    problem = Countdown((23, 5, 13), 31)
    attempt = json.dumps({"text": response, "stopped": response.endswith("<|end|>")})
    kind = page.run(f"judge(recognise({json.dumps(problem.question())}), {attempt}).kind")
    assert (kind == "right") == (score(problem, response).accuracy == 1)


SUM, PUZZLE = "What is 12 + 7?", "Use 23, 5, 13 to make 31."


@in_chromium
@pytest.mark.parametrize("question, response, said", [
    (SUM, "<answer>19</answer><|end|>", "right"),
    (SUM, "<answer>18</answer><|end|>", "wrong: it is 19"),
    (SUM, "19<|end|>", "wrong: there is no answer"), (SUM, "<think>1", "wrong: it comes to no end"),
    (PUZZLE, "<answer>a</answer><|end|>", "wrong: that is no expression"),
    (PUZZLE, "<answer>23 + 5</answer><|end|>", "wrong: that makes 28"),
    (PUZZLE, "<answer>23 / 5</answer><|end|>", "wrong: that makes a fraction"),
    (PUZZLE, "<answer>62 / 2</answer><|end|>", "wrong: it uses other numbers"),
    (PUZZLE, "<answer>23 - 5 + 13</answer><|end|>", "right: 23 - 5 + 13 = 31"),
    ("Who are you?", "<answer>7</answer><|end|>", "it says 7"),
])  # fmt: skip
def test_verdicts_give_their_reason(page, question, response, said):
    attempt = json.dumps({"text": response, "stopped": response.endswith("<|end|>")})
    assert page.run(f"judge(recognise({json.dumps(question)}), {attempt}).said") == said


# ---------------------------------------------------------------- what a visitor does


@in_chromium
def test_both_models_answer_side_by_side(page):
    ask(page, "23, 5, 13 = 31")
    assert shown(page, "h2") == ["The base", "R1-Zero"]
    assert shown(page, "#note") == ["Asked: Use 23, 5, 13 to make 31."]
    for k, (text, verdict) in enumerate(zip(shown(page, ".text"), shown(page, ".verdict"))):
        assert text == page.run(f"cards[{k}].attempt.text") and text.endswith("<|end|>")
        right = score(Countdown((23, 5, 13), 31), text).accuracy == 1
        assert verdict.startswith("right:" if right else "wrong:")
        assert shown(page, ".count")[k] == f"{page.run(f'cards[{k}].attempt.steps.length')} tokens"


@in_chromium
def test_an_example_is_asked_by_a_click_at_the_temperature_that_is_set(page):
    heat = "at('temperature')"
    page.run(f"{heat}.value = '0', {heat}.dispatchEvent(new Event('input', {{bubbles: true}}))")
    page.point("#examples button:nth-child(4)", click=True)
    page.wait("cards.every(card => card.attempt.done)")
    assert shown(page, "#note") == ["Asked: What is 38 + 57?"] and shown(page, "#degrees") == ["0"]
    steps = page.run("cards[0].attempt.steps.map(s => [s.shares[s.id], Math.max(...s.shares)])")
    assert all(share == best for share, best in steps)
    tokens = "[...cards[0].text.querySelectorAll('.token')]"
    doubts = page.run(f"{tokens}.map(token => parseFloat(token.style.getPropertyValue('--doubt')))")
    assert doubts == pytest.approx([75 * (1 - share) for share, _ in steps], abs=0.51)


@in_chromium
def test_a_response_ends_where_the_model_knows_no_further_position(page):
    page.run("cards[0].model.config.positions = 40, at('temperature').value = '1.5'")
    page.run("cards[0].model.codec.ids.set('<|end|>', -1)")  # it never stops by itself
    ask(page, "23, 5, 13 = 31")
    assert page.run("(a => a.prompt.length + a.steps.length)(cards[0].attempt)") == 40
    assert shown(page, ".card:nth-child(1) .verdict") == ["wrong: it comes to no end"]


@in_chromium
def test_votes_are_counted(page):
    ask(page, "23, 5, 13 = 31")
    answers = [*"aaabbcdefgh", None]
    verdicts = [{"answer": a, "kind": "right" if a == "a" else "wrong"} for a in answers]
    verdicts = json.dumps(verdicts).replace('"answer": null, ', "")
    page.run(f"cards[0].vote({verdicts}, 16)")
    rows = [("a", 3), ("b", 2), *((letter, 1) for letter in "cdef")]
    assert shown(page, ".row code") == [answer for answer, _ in rows]
    assert shown(page, ".row span") == [f"{n} of 16" for _, n in rows]
    panel = shown(page, ".panel")[0]
    assert panel.startswith("12 samples, 3 of them right.") and "and 3 other answers" in panel
    page.run("cards[0].vote([{kind: 'wrong'}], 16)")
    assert shown(page, ".row code") == ["no answer"]


@in_chromium
def test_a_token_shows_its_alternatives_and_one_of_them_goes_on_from_there(page):
    ask(page, "23, 5, 13 = 31")
    page.point("#models .card:nth-child(2) .token:nth-child(4)", click=True)
    rows = shown(page, ".card:nth-child(2) button.row")
    assert 6 <= len(rows) <= 7 and len(shown(page, ".chosen")) == 1
    before = page.run("cards[1].attempt.ids")
    place = page.run("document.querySelector('.picked').place")
    page.run("document.querySelector('button.row:not(.chosen)').click()")
    page.wait("cards[1].attempt.done")
    after = page.run("cards[1].attempt.ids")
    assert after[:place] == before[:place] and after[place] != before[place]
    assert shown(page, ".card:nth-child(2) .text") == [page.run("cards[1].attempt.text")]
    # what it went on with is drawn from the right distributions: read anew, they are the same
    difference = page.run("""(attempt => {
      const {model, prompt, ids, steps, temperature} = attempt, cache = model.cache();
      const all = [...prompt, ...ids];
      return Math.max(...all.slice(0, -1).map((id, i) => {
        const shares = softmax(model.read(id, cache), temperature);
        const then = steps[i + 1 - prompt.length]?.shares ?? shares;
        return Math.max(...shares.map((share, v) => Math.abs(share - then[v])));
      }));
    })(cards[1].attempt)""")
    assert difference < 1e-5


@in_chromium
def test_a_token_that_was_unlikely_stands_below_the_six_likely_ones(page):
    ask(page, "23, 5, 13 = 31")
    page.run("""(card => {
      const {shares} = card.attempt.steps[3];
      card.attempt.fork(3, shares.indexOf(Math.min(...shares)));
      card.draw();
    })(cards[1])""")
    page.run("cards[1].pick(cards[1].text.querySelectorAll('.token')[3])")
    rows = shown(page, "button.row")
    assert len(rows) == 7 and shown(page, "button.chosen") == rows[-1:]
    codes = []
    for place in range(4):
        page.run(f"cards[1].pick(cards[1].text.querySelectorAll('.token')[{place}])")
        codes += shown(page, "button.row code")
    assert "␣" in "".join(codes) and not set(" \n") & set("".join(codes))


@in_chromium
def test_it_must_answer_at_once(page):
    page.point("#at-once", click=True)
    ask(page, "23, 5, 13 = 31")
    assert all(text.startswith("<answer>") for text in shown(page, ".text"))
    assert all("<think>" not in text for text in shown(page, ".text"))


@in_chromium
def test_sixteen_samples_and_their_vote(page):
    page.point("#many", click=True)
    page.wait("/^16 samples/.test(cards[1].panel.textContent)", 60)
    for k in (1, 2):
        counts = shown(page, f".card:nth-child({k}) .row span")
        assert all(count.endswith(" of 16") for count in counts)
        numbers = [int(count.split()[0]) for count in counts]
        others = "other answers" in shown(page, f".card:nth-child({k}) .panel")[0]
        assert numbers == sorted(numbers, reverse=True)
        assert sum(numbers) < 16 if others else sum(numbers) == 16
    said = page.run("cards[1].panel.querySelector('p').textContent")
    assert int(said.split(", ")[1].split(" of")[0]) >= 8  # 93% of such puzzles at temperature 1
    assert int(shown(page, "#speed")[0].split()[1]) > 0


@in_chromium
def test_a_new_question_ends_the_old_one(page):
    page.run("at('pace').value = '6'")
    page.run("at('question').value = '7, 25, 4 = 72', at('ask').requestSubmit()")
    page.run("at('pace').value = '0'")
    ask(page, "23, 5, 13 = 31")
    texts = shown(page, ".text")
    assert texts == page.run("cards.map(card => card.attempt.text)")
    page.run("new Promise(done => setTimeout(done, 300))")
    assert texts == shown(page, ".text")


@in_chromium
def test_a_new_question_ends_the_samples_of_the_old_one(page):
    page.point("#many", click=True)
    page.wait("/samples/.test(cards[0].panel.textContent)")
    ask(page, "7, 25, 4 = 72")
    texts = shown(page, ".text")
    page.run("new Promise(done => setTimeout(done, 500))")
    assert texts == shown(page, ".text") and shown(page, ".panel") == []


@in_chromium
def test_hostile_text_is_shown_as_text(page):
    ask(page, HOSTILE)
    assert HOSTILE in shown(page, "#note")[0]
    assert page.run("document.querySelectorAll('main img, main script').length") == 0
    page.run("cards[0].model.codec.tokens[30] = '<img>'")  # a model that writes markup
    page.run("cards[0].attempt.fork(0, 30), cards[0].draw()")
    assert "<img>" in shown(page, ".card:nth-child(1) .token")[0]
    assert page.run("document.querySelectorAll('main img').length") == 0


@in_chromium
def test_a_question_that_is_too_long_is_refused(page):
    ask(page, "1 + 1")
    page.run(f"at('question').value = {json.dumps('🤔' * 400)}, at('ask').requestSubmit()")
    assert shown(page, "#note") == ["This question is too long for the model."]


@in_chromium
def test_keyboard_alone(page):
    page.run("at('question').focus()")
    page.press("Enter")
    page.wait("cards.every(card => card.attempt?.done)")
    page.run("document.querySelector('.token').focus()")
    page.press("Enter")
    assert shown(page, ".chosen")


@in_chromium
@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_screen(path, browser, width, dark):
    page = browser.open(path, width=width, dark=dark)
    page.run("at('pace').value = '0'")
    ask(page, "23, 5, 13 = 31")
    page.run("document.querySelector('.card .token').click()")
    assert page.run("document.documentElement.scrollWidth") <= width


def processor_seconds(pid: int) -> float:
    """Of all descendants of a process, from /proc."""
    children: dict[int, list] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            ticks = int(fields[11]) + int(fields[12])
            children.setdefault(int(fields[1]), []).append((int(path.parent.name), ticks))
    total, parents = 0, [pid]
    while parents:
        for child, ticks in children.get(parents.pop(), []):
            total += ticks
            parents.append(child)
    return total / os.sysconf("SC_CLK_TCK")


@in_chromium
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_two_hundred_tokens_a_second_and_the_first_one_within_a_second(page):
    """By the processor's time, which other work on the machine does not change."""
    page.run("turn++")  # nothing else is written meanwhile
    page.run("cards[1].start({question: 'Use 23, 5, 13 to make 31.'})")
    began = processor_seconds(page.browser.process.pid)
    page.run("cards[1].attempt.step()")
    first = processor_seconds(page.browser.process.pid) - began
    began = processor_seconds(page.browser.process.pid)
    page.run("""(({model, cache}) => {
      for (let i = 0; i < 600; i++) {
        if (i % 200 === 0) cache.length = 0;
        model.read(i % 400, cache);
      }
    })(cards[1])""")
    speed = 600 / (processor_seconds(page.browser.process.pid) - began)
    print(f"{speed:.0f} tokens per second, the first one after {first:.2f} s")
    assert speed >= 200 and first < 1
