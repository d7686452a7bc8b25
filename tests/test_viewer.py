"""What a run keeps for the viewer, and the page itself in a real Chromium: from disk, with the
network off.

The browser tests need a Chromium on PATH (Debian and Ubuntu: apt-get install chromium); without one
they are skipped.
"""

import itertools
import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from browser import Browser, find_chromium
from test_report import HOSTILE, Page, folder, full, healthy, summary

from minir1.config import ModelConfig, RLConfig
from minir1.fast.device import Device
from minir1.grpo import advantages
from minir1.measure.evaluator import Evaluator
from minir1.model import Transformer, token_logp
from minir1.report import command as report
from minir1.report.page.marks import find_marks
from minir1.rewards import Reward
from minir1.rollout import Rollouts, roll_out
from minir1.run import recorder
from minir1.sampler import Sampling, Stream, sample
from minir1.tasks.countdown import Countdown
from minir1.tokenizer import Tokenizer
from minir1.transcript import prompt

CHROMIUM = find_chromium()
in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
RESULTS = Path(__file__).parents[1] / "results"
PUZZLES = [Countdown((23, 5, 13), 31), Countdown((1, 2, 3), 6), Countdown((1, 2, 3, 4), 10, "zh")]

# ---------------------------------------------------------------- recording


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    response = "<think>23 - 5 = 18, 18 + 13 = 31, yes</think><answer>再试</answer><|end|>"
    return Tokenizer.train([prompt("Use 23, 5, 13 to make 31.") + response] * 9, 300)


def small(tokenizer: Tokenizer, seed: int) -> Transformer:
    torch.manual_seed(seed)
    shape = {
        "width": 32, "layers": 2, "heads": 2,
        "kv_rank": 16, "nope_width": 8, "value_width": 16,
        "dense_width": 64,
    }
    return Transformer(ModelConfig(vocab_size=len(tokenizer), expert_width=32, **shape))


def test_rows_hold_what_the_trainer_sees(tokenizer):
    """Every figure of a row against its definition: token by token, group by group."""
    model, base = small(tokenizer, 0), small(tokenizer, 1)
    rl = RLConfig(group_size=3, temperature=0.7)
    cpu = Device("cpu", "cpu", torch.float32, "plain")
    settings = Sampling(20, (tokenizer.end,), 0.7)
    evaluator = Evaluator(tokenizer, sample, settings, 64)
    seen = roll_out(model, tokenizer, PUZZLES * 3, 1, settings, Stream.of(1))
    rows = recorder.Recorder(base, rl, cpu).rows(7, evaluator, model, seen, settings, "")
    assert [row["id"] for row in rows] == [i for i in "0125" for _ in range(3)] + list("34678")
    assert all(row["step"] == 7 and len(row["cuts"]) == row["tokens"] for row in rows[:12])
    assert "cuts" not in rows[12]
    again = evaluator.roll(model, [PUZZLES[i % 3] for i in (0, 1, 2, 5)], 3, 7, settings)
    assert [row["response"] for row in rows[:12]] == again.texts
    for i, row in enumerate(rows[:12]):
        start = again.prompt_ids[i // 3]
        ids = torch.tensor([start + again.response_ids[i]])
        for name, one in (("logp", model), ("base", base)):
            logp_BT, entropy_BT = token_logp(one, ids, 0.7)
            assert row[name] == pytest.approx(
                (100 * logp_BT[0, len(start) - 1 :]).tolist(), abs=0.51
            )
            if one is model:
                assert row["entropy"] == pytest.approx(
                    (100 * entropy_BT[0, len(start) - 1 :]).tolist(), abs=0.51
                )
        # what the sampler drew them with
        assert row["logp"] == pytest.approx((100 * again.logp[i]).tolist(), abs=0.6)
        assert row["stopped"] == again.stopped[i] and row["tokens"] == len(again.response_ids[i])


def test_advantages_and_equal_log_probs_at_step_0(tokenizer):
    model, rl = small(tokenizer, 0), RLConfig(group_size=2)
    ids = [
        tokenizer.encode(text) + [tokenizer.end]
        for text in ("<answer>1 + 2 + 3</answer>", "<answer>1</answer>", "再试", "5")
    ]
    rewards = [
        Reward(1.0, 1.0, 1.0), Reward(0.0, 1.0, 1.0), Reward(0.0, 0.0, 0.25), Reward(0.0, 0.0, 1.0),
    ]
    texts = tokenizer.decode_batch(ids)
    asked = [tokenizer.encode(prompt(p.question())) for p in PUZZLES[1:]]
    logp = [torch.zeros(len(row)) for row in ids]
    rollouts = Rollouts(PUZZLES[1:], 2, asked, ids, logp, texts, [True] * 4, rewards)
    cpu = Device("cpu", "cpu", torch.float32, "plain")
    rows = recorder.Recorder(model, rl, cpu).score(rollouts, tokenizer, model)
    wanted = advantages(torch.tensor([[1.1, 0.1], [0.0, 0.0]])).flatten().tolist()
    assert [row["advantage"] for row in rows] == pytest.approx(wanted, abs=1e-4)
    assert [row["reward"] for row in rows] == pytest.approx([1.1, 0.1, 0, 0])
    assert [row["sample"] for row in rows] == [0, 1, 0, 1]
    assert [row["correct"] for row in rows] == [True, False, False, False]
    assert rows[2]["language"] == 0.25
    assert all(row["logp"] == row["base"] for row in rows)


@pytest.mark.parametrize("text", ["<think>23 - 5 = 18, yes</think>", "再试 🤔 é", "", "a\n\tb  c"])
def test_cuts_follow_the_text(tokenizer, text):
    ids = tokenizer.encode(text)
    cut = recorder.cuts(tokenizer, ids)
    assert len(cut) == len(ids) and sum(cut) == len(text)
    assert recorder.cuts(tokenizer, ids[:-1]) == cut[: len(ids) - 1] or not text.isascii()
    at = list(itertools.accumulate(cut, initial=0))
    # tokens that are no part of a split character
    whole = [i for i, n in enumerate(cut) if n and (i == 0 or cut[i - 1])]
    assert all(
        tokenizer.decode([ids[i]]) == text[at[i] : at[i + 1]]
        for i in whole
        if "\ufffd" not in tokenizer.decode([ids[i]])
    )


def test_chosen_problems_take_turns_between_kinds():
    assert recorder.choose([PUZZLES[0]] * 5 + [PUZZLES[2]] * 5) == [0, 1, 5, 6]
    assert recorder.choose([PUZZLES[0]] * 9) == [0, 1, 2, 3] and recorder.choose(PUZZLES[:1]) == [0]


def test_marks_stand_where_the_text_says_so():
    text = (
        "<think>23 + 5 = 28, 28 - 13 = 15, not 31\nwait, 23 + 5 = 28, 28 - 13 = 15, not 30\n"
        "等等，23 - 5 = 19, 19 + 13 = 32\ntry 23 - 5 = 18, 18 + 13 = 31, yes</think>"
    )
    found = [
        (text[first:end], kind, what)
        for first, end, kind, what in find_marks(PUZZLES[0].question(), text)
    ]
    assert found == [
        ("23 + 5 = 28, 28 - 13 = 15", "miss", "attempt 1 misses"),
        (", not 31", "yes", "check: right"),
        ("wait", "reflect", "reflection"),
        ("23 + 5 = 28, 28 - 13 = 15", "miss", "attempt 2 misses, a repeat"),
        (", not 30", "no", "check: false"), ("等等", "reflect", "reflection"),
        ("等等", "switch", "switches to Chinese"),
        ("23 - 5 = 19, 19 + 13 = 32", "miss", "attempt 3 misses, false arithmetic"),
        ("try", "reflect", "reflection"), ("try", "switch", "switches to English"),
        ("23 - 5 = 18, 18 + 13 = 31", "hit", "attempt 4 hits"), (", yes", "yes", "check: right"),
    ]
    assert find_marks("What is 2 + 3?", "<answer>5</answer>") == []
    assert find_marks("", "<think>" * 9) == []


def test_a_task_of_ones_own_shows_with_the_marks_that_any_text_can_have(tmp_path):
    row = {"step": 0, "id": "0", "question": "Sort 3 1 2.", "response": "<think>wait</think>1 2 3"}
    lines = {"task": "sorting", "numbers": [3, 1, 2], **row, "correct": True}
    data = Page(report.write_html(folder(tmp_path / "run", [], [lines]))).data
    problem = data["runs"][0]["samples"]["problems"][0]
    assert problem["question"] == row["question"]
    response = problem["groups"]["0"][0]
    assert response["text"] == row["response"] and response["right"]
    assert response["marks"] == [[7, 11, "reflect", "reflection"]]


# ---------------------------------------------------------------- the page in Chromium

TRY = "13 - 5 = 8, 8 + 23 = 31"


def groups(steps=(0, 20, 40), problems=3, size=8) -> list[dict]:
    """Groups in which as many responses are right as the step says, the last one is truncated; each
    token has two characters.
    """
    rows = []
    for s, step in enumerate(steps):
        for p, g in itertools.product(range(problems), range(size)):
            right = g < 2 * s + p
            text = f"<think>5 + 13 = 18, not 31\nwait, {TRY}, yes</think><answer>{g}</answer>"
            n = -(-len(text) // 2)
            rows.append({
                "step": step, "id": str(p), "question": f"Use 23, 5, {13 + p} to make 31.",
                "response": text, "correct": right,
                "stopped": g < size - 1, "tokens": n, "sample": g, "reward": 1.1 if right else 0.1,
                "format": 1.0, "language": 1.0,
                "advantage": 0.7 if right else -0.7, "cuts": [2] * n, "logp": [-10] * n,
                "base": [-10 - 60 * (i % 5) for i in range(n)],
                "entropy": [40 * (i % 4) for i in range(n)],
            })
    return rows


@pytest.fixture(scope="module")
def browser():
    with Browser(CHROMIUM) as one:
        yield one


@pytest.fixture(scope="module")
def page_path(tmp_path_factory) -> Path:
    run = full(tmp_path_factory.mktemp("viewer") / "cpu-0", 60)
    (run / "samples" / "rl-00000.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in groups()), encoding="utf-8"
    )
    return report.write_html(run)


@pytest.fixture
def page(browser, page_path):
    one = browser.open(page_path)
    one.run(UNFOLD)
    yield one
    assert one.troubles() == []


def cards(page) -> list[str]:
    return page.run(
        "[...document.querySelectorAll('#rollouts .card')].map(c => c.getAttribute('aria-label'))"
    )


def now(page) -> tuple[str, str]:
    texts = "['#step', '#rollouts .question'].map(s => document.querySelector(s).textContent)"
    return page.run(texts)


UNFOLD = "document.querySelectorAll('details').forEach(d => d.open = true)"


def button(page, text: str) -> None:
    buttons = "[...document.querySelectorAll('#rollouts button')]"
    page.run(f"{buttons}.find(b => b.textContent.startsWith('{text}')).click()")


def choose(page, label: str, value: int) -> None:
    change = (
        f"(s => (s.value = '{value}', s.dispatchEvent(new Event('change', {{bubbles: true}}))))"
    )
    page.run(f"{change}(document.querySelector('select[aria-label={label}]'))")


@in_chromium
def test_opens_from_disk_without_network_or_complaint(page):
    assert page.run("document.querySelectorAll('.panel svg[role=img]').length") >= 20
    assert now(page) == ["step 40", "Use 23, 5, 13 to make 31."] and len(cards(page)) == 8
    with pytest.raises(AssertionError):  # the page's policy forbids what its own script does not do
        page.run("fetch('https://example.org')")
    page.browser.events.clear()


@in_chromium
def test_slider_problem_and_filters(page):
    page.run("document.querySelector('input[type=range]').focus()")
    page.press("ArrowLeft")
    assert now(page)[0] == "step 20" and sum("right" in c for c in cards(page)) == 2
    assert (
        page.run("document.querySelector('input[type=range]').getAttribute('aria-valuetext')")
        == "step 20"
    )
    button(page, "right")
    assert len(cards(page)) == 2
    button(page, "wrong")
    assert len(cards(page)) == 6 and "wrong 6" in page.run(
        "document.querySelector('#rollouts').textContent"
    )
    button(page, "truncated")
    assert cards(page) == ["response 8 of 8: wrong, cut at the token limit"]
    button(page, "all")
    choose(page, "problem", 2)
    assert (
        now(page)[1] == "Use 23, 5, 15 to make 31." and sum("right" in c for c in cards(page)) == 4
    )
    said = page.run("document.querySelector('#rollouts .about').textContent")
    assert said.startswith("4 of 8 right · reward 0.60 on average, standard deviation 0.53")


@in_chromium
def test_keyboard_alone(page):
    """Tab reaches the viewer; arrows change step and problem and stop at the ends; the focus can be
    seen.
    """
    for _ in range(200):
        page.press("Tab")
        if page.run("document.activeElement.type === 'range'"):
            break
    else:
        raise AssertionError("Tab never reaches the slider")
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("ArrowDown")
    assert now(page) == ["step 40", "Use 23, 5, 14 to make 31."]
    page.press("ArrowDown", 9)
    page.press("Home")
    assert now(page) == ["step 0, the base", "Use 23, 5, 15 to make 31."]
    page.press("ArrowLeft")
    page.press("ArrowRight", 2)
    assert now(page)[0] == "step 40"
    page.press("Tab", 13)  # filters, colours, marks; play, and a button for each of three steps
    assert page.run("document.activeElement.className").startswith("card")
    page.press("n", 4)
    assert page.run("document.querySelector('#said').textContent").startswith("token 4 of ")
    page.press("ArrowLeft")
    assert now(page)[0] == "step 20" and page.run("document.activeElement.className").startswith(
        "card"
    )


@in_chromium
def test_tokens_are_coloured_and_read(page):
    tokens = "[...document.querySelectorAll('#rollouts .card:first-child .tok')]"
    kinds = (
        f"[...new Set({tokens}.map(t => t.className.match(/(up|down|ent)\\d/)?.[0] || '-'))].sort()"
    )
    # 0, 0.6, 1.2, 1.8 and 2.4 nats above the base
    assert page.run(kinds) == ["-", "up2", "up3", "up4"]
    button(page, "entropy")
    assert page.run(kinds) == ["-", "ent2", "ent3", "ent4"]  # 0, 0.4, 0.8 and 1.2 nats
    button(page, "nothing")
    assert page.run(kinds) == ["-"]
    page.point("#rollouts .card [data-token='4']")
    said = page.run("document.querySelector('#said').textContent")
    assert said.startswith("token 5 of ")
    assert "probability 90% at this step, 8% under the base (+2.40 nats); entropy 0.00 nats" in said
    pieces = "[...document.querySelector('#rollouts .card .text').childNodes]"
    own = f"{pieces}.filter(n => !n.classList.contains('tag'))"
    text = page.run(f"{own}.map(n => n.textContent).join('')")
    assert text == groups()[0]["response"]
    tags = "[...document.querySelectorAll('#rollouts .card:first-child .tag')]"
    marks = f"{tags}.map(t => t.textContent + ' ' + t.title)"
    assert page.run(marks) == ["1✗ attempt 1 misses", "2✓ attempt 2 hits"]
    page.run("document.querySelector('#rollouts input[type=checkbox]').click()")
    assert page.run(marks) == []


@in_chromium
def test_curves_tell_their_values(page):
    page.point(".panel.main svg", 0.3, 0.5)
    tip = page.run("document.querySelector('.panel.main .tip').innerText")
    assert tip.startswith("step ") and "R1-Zero, training puzzles: " in tip
    page.run("document.querySelector('.panel.main svg').focus()")
    page.press("ArrowRight", 100)
    assert page.run("document.querySelector('.panel.main .tip').innerText").startswith(
        "step 60\nR1-Zero, validation puzzles: 67% ± 2%"
    )
    labels = page.run("document.querySelector('.panel.main svg').textContent")
    for line in (
        "blind search, same token limit  69%", "forced base, goes on until yes  51%",
        "base, test puzzles  18.8%", "◆ R1-Zero, test puzzles  67.4 ± 1.0%",
    ):
        assert line in labels
    assert "any of 64" not in labels  # 64 responses are not one: the table has them


@in_chromium
def test_it_opens_with_the_puzzle_that_changed_most(browser, tmp_path):
    """Of whole groups; a single response that turned right is no sign."""
    rows = groups()
    for row in rows:  # problem 1 goes from 1 to 8 of 8, the others from 0 and 2 to 4 and 6
        if row["id"] == "1" and row["step"] == 40:
            row |= {"correct": True, "advantage": 0.0, "reward": 1.1}
    for step, right in ((0, False), (40, True)):
        rows.append({"step": step, "id": "9", "question": "?", "response": "a", "correct": right})
    page = browser.open(report.write_html(folder(tmp_path / "run", [], rows)))
    pair = page.run("document.querySelector('#pair').textContent")
    assert "Use 23, 5, 14 to make 31." in pair and now(page)[1] == "Use 23, 5, 14 to make 31."
    assert "✗ wrong, as 7 of 8 are" in pair and "✓ right, as 8 of 8 are" in pair
    assert page.troubles() == []


@in_chromium
def test_a_group_is_watched_as_it_learns(page):
    lines = "[...document.querySelectorAll('.lessons li')].map(l => l.textContent)"
    assert page.run(lines) == [
        "step 0, the base0 of 8 right, 44 tokens each▼▼▼▼▼▼▼▼",
        "step 202 of 8 right, 44 tokens each▲▲▼▼▼▼▼▼",
        "step 404 of 8 right, 44 tokens each▲▲▲▲▼▼▼▼",
    ]
    said = "[...document.querySelectorAll('#rollouts .card')].map(c => c.textContent)"
    said = page.run(said)
    assert "▲ pushed up: right, in a group with 4 of 8 right" in said[0]
    assert "▼ pushed down: wrong, cut off, in a group with 4 of 8 right" in said[7]
    page.run("document.querySelectorAll('.lessons button')[1].click()")
    assert now(page)[0] == "step 20"
    button(page, "▶ play")
    assert now(page)[0] == "step 0, the base"
    page.wait("document.querySelector('#step').textContent === 'step 40'")


@in_chromium
def test_the_result_comes_first_and_the_rest_is_folded(browser, page_path):
    page = browser.open(page_path)
    seen = page.run("document.body.innerText")
    order = ["19% → 67%", "2048 held-out test puzzles, one response each: the base solves 18.8%",
             "The puzzle that changed most", "Use 23, 5, 13 to make 31.", "✗ wrong",
             "✓ right", "Right answers over the steps", "All figures", "Length",
             "Self-evolution", "Health", "Pretraining", "All kept"]
    places = [seen.index(words) for words in order]
    assert places == sorted(places)
    assert "accuracy from" not in seen and page.run("document.querySelectorAll('table').length") > 1
    pair = "[...document.querySelectorAll('#pair .card')].map(c => c.className + c.innerText)"
    before, after = page.run(pair)
    assert before.startswith("cardstep 0, the base · ") and "✗ wrong" in before
    assert after.startswith("card rightstep 40 · ") and "2✓" in after
    drawn = page.run("DATA.charts.flatMap(c => c.panels.flatMap(p => p.curves.map(v => v.key)))")
    assert len(drawn) == len(set(drawn)) > 20
    page.run("document.querySelector('#curves summary').click()")
    page.wait("document.querySelector('#curves svg[role=img]').getBoundingClientRect().width > 280")
    assert page.troubles() == []


@in_chromium
@pytest.mark.parametrize("name", ["cpu-seed0", "gpu-seed0"])
def test_a_real_run_on_a_phone(browser, tmp_path, name):
    """Folded and unfolded, nothing is wider than the screen, tables included."""
    run = tmp_path / name
    shutil.copytree(RESULTS / "zero" / name, run)
    page = browser.open(report.write_html(run), width=375, height=700)
    for _ in range(2):
        assert page.run("document.scrollingElement.scrollWidth") <= 375
        page.run(UNFOLD)
    wide = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth)"
    assert page.run(f"{wide}.length") == 0
    assert page.troubles() == []


@in_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark(browser, page_path, dark):
    page = browser.open(page_path, dark=dark)
    paper = "getComputedStyle(document.body).backgroundColor"
    colours = ["rgb(255, 255, 255)", "rgb(23, 24, 26)"]
    assert page.run(paper) == colours[dark]
    page.point("#theme", click=True)
    assert page.run(paper) == colours[not dark]
    assert page.troubles() == []


@in_chromium
@pytest.mark.parametrize("width", [320, 390, 800])
def test_narrow_screens_do_not_scroll_sideways(browser, page_path, width):
    page = browser.open(page_path, width=width, height=700)
    page.run(UNFOLD)
    assert page.run("document.documentElement.scrollWidth") <= width
    parts = "[...document.querySelectorAll('.card, .panel svg, select')]"
    assert page.run(f"Math.max(...{parts}.map(e => e.getBoundingClientRect().right))") <= width
    assert page.troubles() == []


@in_chromium
def test_hostile_run_is_text(browser, tmp_path):
    attack = "<img src=x onerror=window.hit=1></script><script>window.hit=1</script>"
    texts = [*HOSTILE, attack, "`${window.hit=1}`", "字" * 50_000, "🤔" * 3000 + attack]
    rows = [
        {
            "step": 0, "id": attack, "question": attack,
            "response": t, "correct": False, "tokens": attack,
        }
        for t in texts
    ]
    run = folder(tmp_path / "evil", healthy(20), rows, summary(device=attack, preset=attack))
    evil = run.rename(tmp_path / "<script>window.hit=1<")
    page = browser.open(report.write_html(evil))
    assert page.run("window.hit") is None and page.troubles() == []
    forbidden = "#rollouts img, #rollouts script, #summary img, think"
    assert page.run(f"document.querySelectorAll('{forbidden}').length") == 0
    assert page.run("document.querySelector('#rollouts .question').textContent") == attack
    shown = page.run("[...document.querySelectorAll('#rollouts .text')].map(t => t.textContent)")
    assert len(shown) == len(texts) and shown[0] == HOSTILE[0] and shown[6] == attack
    assert shown[8].startswith("字" * 6000) and "show 44,000 more characters" in shown[8]
    page.run("[...document.querySelectorAll('#rollouts .text button')].at(-1).click()")
    assert page.run("document.querySelectorAll('#rollouts .text')[8].textContent") == "字" * 50_000
    assert page.run("document.documentElement.scrollWidth") <= 1200


@in_chromium
def test_marks_and_colours_agree_beyond_the_basic_plane(browser, tmp_path):
    """Characters that JavaScript counts double must not shift what stands behind them."""
    text = f"<think>🤔🤔 wait, {TRY}, yes</think>"
    row = groups((0,), 1, 2)[0] | {"response": text, "cuts": [1] * len(text)}
    row |= {key: [-5] * len(text) for key in ("logp", "base", "entropy")}
    page = browser.open(report.write_html(folder(tmp_path / "run", [], [row, row])))
    checks = "[...document.querySelectorAll('#rollouts .card:first-child .m-yes')]"
    assert page.run(f"{checks}.map(t => t.textContent).join('')") == ", yes"
    assert page.run("document.querySelector('#rollouts .card .tag').nextSibling.textContent") == "1"
    emoji = page.run("document.querySelector(\"#rollouts [data-token='7']\").textContent")
    assert emoji == "🤔"


@in_chromium
def test_runs_are_compared(browser, tmp_path):
    runs = []
    for i, name in enumerate(("cpu-0", "cpu-1", "run <2> 中文")):
        run = full(tmp_path / name, 60 - 20 * i)
        rows = groups((0, 20) if i else (0, 20, 40))
        (run / "samples" / "rl-00000.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
        )
        runs.append(run)
    page = browser.open(report.write_comparison(runs, tmp_path / "compare.html"))
    drawn = "document.querySelectorAll('.panel:not(.main) path.line').length"
    panels = page.run("document.querySelectorAll('.panel.main path.line').length")
    assert panels == 6  # validation and training batches of three runs
    before = page.run(drawn)
    page.run("document.querySelectorAll('.runs input')[1].click()")
    assert page.run(drawn) == before * 2 // 3
    page.run("document.querySelectorAll('.runs input').forEach(i => i.click())")
    assert page.run("document.querySelectorAll('.runs input:checked').length") == 1
    assert now(page)[0] == "step 40"
    choose(page, "run", 2)
    assert now(page)[0] == "step 20"  # the nearest that this run has kept
    text = page.run("document.body.textContent")
    assert (
        "run <2> 中文" in text
        and page.run("document.querySelectorAll('#summary details').length") == 3
    )
    assert page.troubles() == []


@in_chromium
@pytest.mark.parametrize(
    "rows",
    [
        [], healthy(1),
        [{"phase": "pretrain", "step": i, "tokens": i, "loss": 6 - i} for i in range(4)],
    ],
)
def test_little_is_enough_for_a_page(browser, tmp_path, rows):
    page = browser.open(report.write_html(folder(tmp_path / "run", rows)))
    assert (
        "This run has kept no responses." in page.run("document.body.textContent")
        and page.troubles() == []
    )


@in_chromium
def test_odd_figures_draw_without_complaint(browser, tmp_path):
    rng = random.Random(0)
    rows = [
        {**row, "gap": rng.choice((0, 1e-9, 1e20)), "loss": -1e6, "length": 1e29, "kl": -0.1}
        for row in healthy(30)
    ]
    page = browser.open(report.write_html(folder(tmp_path / "run", rows)))
    drawn = page.run("[...document.querySelectorAll('.panel path')].map(p => p.getAttribute('d'))")
    assert len(drawn) > 30 and not any("NaN" in d or "Infinity" in d for d in drawn)
    assert page.troubles() == []
