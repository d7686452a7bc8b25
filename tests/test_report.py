"""The report must work on every folder a run can leave behind, and must never turn a transcript
into markup.
"""

import base64
import hashlib
import itertools
import json
import math
import random
import re
import struct
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from minir1.config import UserError
from minir1.measure.diagnosis import diagnosis, trend
from minir1.report import command as report
from minir1.report import drawing, fonts, plots, words
from minir1.report.reading import read_metrics
from minir1.report.words import summary_text

PNG = b"\x89PNG\r\n\x1a\n"


def rl_row(step: int, share: float, noise: random.Random, **changes) -> dict:
    """A healthy row; `share` says how far training has got."""
    accuracy = 0.19 + 0.48 * share + noise.gauss(0, 0.01)
    return {
        "phase": "rl", "step": step, "reward": accuracy + 0.09, "accuracy": accuracy,
        "format": 0.97, "length": 64 + 200 * share,
        "length_p95": 160 + 700 * share, "truncated": 0.02, "signal": 0.5, "loss": 0.001,
        "entropy": 0.5 - 0.2 * share,
        "clip_fraction": 0.01, "grad_norm": 0.3, "gap": 0.006, "attempts": 2 + 8 * share,
        "hit_rate": 0.07,
        "hit_rate_3": 0.15, "hit_rate_4": 0.04, "accuracy_3": 0.3 + 0.6 * share,
        "accuracy_4": 0.1 + 0.3 * share,
        "accuracy_arithmetic": 0.9, "checks": 8 * share, "check_right": 0.99,
        "backtracks": 7 * share, "subgoals": 0.1,
        "backward": 0.1, "reflections": 6 * share, "reflections_100": 1.5,
        "right_if_reflecting": accuracy, "repeated": 0.1,
        "wrong_steps": 0.01, "thinking": 0.9, "load_max": 1.3, "lr": 1e-4, "tokens": 2e5,
        "tokens_s": 1.5e5,
        "seconds_rollout": 1.0, "seconds_update": 1.0, "seconds": 2.0 * step, **changes,
    }


def healthy(steps: int, **changes) -> list[dict]:
    noise = random.Random(0)
    return [rl_row(i + 1, i / max(1, steps - 1), noise, **changes) for i in range(steps)]


def flat(steps: int, level: float = 0.37, **changes) -> list[dict]:
    return [
        rl_row(i, 0.5, random.Random(i)) | {"accuracy": level + 0.01 * (-1) ** i} | changes
        for i in range(steps)
    ]


def summary(**changes) -> dict:
    def found(accuracy, **more):
        return {
            "accuracy": accuracy, "stderr": 0.01, "n": 2048,
            "length": 100.0, "truncated": 0.01, **more,
        }

    return {
        "preset": "gpu", "seed": 0, "device": "NVIDIA H200", "date": "2026-01-05",
        "parameters": {"all": 4.7e6},
        "seconds": {"pretrain": 109, "rl": 350.0, "total": 504},
        "base": found(
            0.188, attempts=2.1, hit_rate=0.06, accuracy_3=0.3, accuracy_4=0.076,
            reflections=1.0, reflections_100=1.6,
        ),
        "zero": found(
            0.674, attempts=10.5, hit_rate=0.08, accuracy_3=0.89, accuracy_4=0.45,
            reflections=6.0, reflections_100=1.7,
            arithmetic={"5d+": {"accuracy": 0.93, "stderr": 0.01}, "5d-": 0.91},
        ),
        "references": {
            "blind_tokens": 0.69,
            "blind_attempts": {"accuracy": 0.43, "accuracy_3": 0.7, "accuracy_4": 0.16},
            "forced_base": found(0.51),
            "answer_only": found(0.31),
            "pass64_base": 0.86,
            "blind_hit_rates": {"hit_rate_3": 0.143, "hit_rate_4": 0.033},
        },
    } | changes


def folder(
    path: Path, rows: list[dict], samples: list[dict] = (), result: dict | None = None,
    tail: str = "",
) -> Path:
    (path / "samples").mkdir(parents=True)
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    if samples:
        (path / "samples" / "rl-00000.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in samples)
        )
    if result is not None:
        (path / "summary.json").write_text(json.dumps(result))
    return path


def full(path: Path, steps: int = 60) -> Path:
    pretrain = [
        {"phase": "pretrain", "step": i, "tokens": i * 1e6, "loss": 1 + 5 * math.exp(-i / 5)}
        for i in range(1, 40)
    ]
    exam = [
        {"phase": "validate", "step": i, "accuracy": 0.19 + 0.008 * i, "stderr": 0.02}
        for i in range(0, steps + 1, 20)
    ]
    control = [{"phase": "answer_only", "step": i, "accuracy": 0.2 + 0.002 * i} for i in range(30)]
    text = {"question": "Make 65 from 5, 13.", "response": "<think>5 * 13 = 65, yes</think>"}
    samples = []
    for step, i in itertools.product((0, 20, 40), range(3)):
        samples.append({"step": step, "id": str(i), **text, "correct": i == 0, "tokens": 9})
    return folder(
        path, pretrain + exam[:1] + healthy(steps) + exam[1:] + control, samples, summary()
    )


class Page(HTMLParser):
    """What a browser would see: the elements, where they point, and the data that the script draws
    from.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.tags, self.pointers, self.scripts, self.inside, self.words = [], [], [], False, ""
        self.feed(path.read_text(encoding="utf-8"))
        self.data = json.loads(self.scripts[0])

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.pointers += [value for name, value in attributes if name in ("src", "href")]
        assert not any(name.startswith("on") or name == "style" for name, _ in attributes)
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data
        else:
            self.words += data

    def responses(self) -> list[str]:
        problems = self.data["runs"][0]["samples"]["problems"]
        return [r["text"] for p in problems for group in p["groups"].values() for r in group]


# ---------------------------------------------------------------- folders


def test_full_run(tmp_path, capsys):
    run = full(tmp_path / "gpu-0")
    report.main([str(run)])
    said = capsys.readouterr().out
    assert {p.stem for p in (run / "plots").iterdir()} == set(plots.PLOTS)
    for picture in (run / "plots").iterdir():
        data = picture.read_bytes()
        width, height = struct.unpack(">II", data[16:24])
        assert data.startswith(PNG) and len(data) < drawing.LARGEST and width > 700 and height > 300
    page = Page(run / "report.html")
    assert (run / "report.html").stat().st_size < 5_000_000
    assert page.tags.count("script") == 2 and page.tags.count("style") == 1
    assert all(p.startswith("#") for p in page.pointers)
    assert {"link", "iframe", "img", "object", "base", "form"}.isdisjoint(page.tags)
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "width=device-width" in text and not re.search("https?://(?!www.w3.org/2000/svg)", text)
    samples = page.data["runs"][0]["samples"]
    assert samples["steps"] == [0, 20, 40] and samples["note"] == "" and len(page.responses()) == 9
    assert sum(r["right"] for p in samples["problems"] for r in p["groups"]["20"]) == 1
    assert "67.4% ± 1.0" in page.words and "RL with rule rewards raised accuracy" in page.words
    assert "67.4% ± 1.0" in said and "learning" in said


# numpy and matplotlib warn where a figure is about to be wrong
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("steps", [1, 12])
def test_short_runs(tmp_path, steps):
    run = folder(
        tmp_path / "run", [{"phase": "validate", "step": 0, "accuracy": 0.0}] + healthy(steps)
    )
    assert {p.stem for p in report.draw(run)} == {"accuracy", "length", "evolution", "health"}
    assert "no summary yet" in report.write_html(run).read_text(encoding="utf-8")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "row",
    [{}, {"phase": "rl"}, {"phase": "rl", "step": 0}, {"phase": "rl", "step": 1, "accuracy": 0.5}],
)
def test_minimal_run(tmp_path, row):
    run = folder(tmp_path / "run", [row])
    assert len(report.draw(run)) == ("accuracy" in row)  # it stands in one plot
    assert report.write_html(run).is_file() and diagnosis(read_metrics(run))


def test_no_rl_rows_yet(tmp_path):
    rows = [{"phase": "pretrain", "step": i, "tokens": i * 1000, "loss": 6 - i} for i in range(4)]
    run = folder(tmp_path / "run", rows)
    assert [p.stem for p in report.draw(run)] == ["pretrain"]
    assert diagnosis(rows) == "pretraining: loss 6.00 -> 3.00, no RL step yet"
    assert diagnosis([]) == "no RL step yet"


def test_empty_run(tmp_path, capsys):
    report.main([str(folder(tmp_path / "run", []))])
    assert "no summary yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    "tail",
    ['{"phase": "rl", "st', '{"phase": "rl"', "\x00\x00\x00", "[1, 2]", "[" * 100_000, "\udce9"],
)
def test_torn_last_line(tmp_path, tail):
    run = folder(tmp_path / "run", healthy(5))
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(tail.encode("utf-8", "surrogateescape"))
    assert read_metrics(run) == healthy(5)


def test_line_separators_inside_a_string_do_not_split_it(tmp_path):
    rows = [{"phase": "rl", "note": "a\u2028b\x85c"}]
    (tmp_path / "metrics.jsonl").write_text(
        json.dumps(rows[0], ensure_ascii=False) + "\n", encoding="utf-8"
    )
    assert read_metrics(tmp_path) == rows


@pytest.mark.filterwarnings("error")
@pytest.mark.filterwarnings("ignore:unclosed")
def test_values_that_are_no_numbers(tmp_path):
    """NaN, infinities, strings, nulls, booleans, lists and the largest float: in every key, in
    every phase.
    """
    rng = random.Random(1)
    odd = [
        math.nan, math.inf, -math.inf, 1e308, -1e308, "0.5", None, True, [1], {"a": 1}, 10**400, -1,
        0,
    ]
    keys = [*rl_row(0, 0, rng), "kl", "hit_rate_5", "stderr", "loss"]
    phases = ["rl", "rl", "validate", "answer_only", "pretrain"]
    rows = [
        {key: rng.choice([*odd, 0.5, 3.0]) for key in keys} | {"phase": rng.choice(phases)}
        for _ in range(300)
    ]
    value = {key: rng.choice(odd) for key in keys}
    result = {
        "base": value, "zero": {"accuracy": 0.3, "stderr": math.nan, "n": 0},
        "seconds": {"rl": None}, "parameters": "many",
    }
    result |= {
        "references": {
            "blind_tokens": math.nan, "forced_base": None, "pass64_base": "0.4",
            "answer_only": value,
        }
    }
    run = folder(tmp_path / "run", rows, result=result)
    report.draw(run)
    report.write_html(run)
    for found in (result, {"references": [], "base": [], "zero": 0.4, "seconds": 3}):
        assert "nan" not in summary_text(found)
    for _ in range(200):
        assert "nan" not in diagnosis(rng.sample(rows, rng.randint(0, 30)))


# ---------------------------------------------------------------- hostile text

HOSTILE = [
    "</pre><script>alert(1)</script><img src=x onerror=alert(1)>",
    "<!-- & &lt; &amp; \" ' ]]> <style>",
    "等等，5 × 13 = 65 🤔👩‍👩‍👧 \U0010ffff",
    "a\x00b\x1b[31m\r\x7f\x9b\u202eabc\u2066",
    "\ud800 lone surrogate",
    "<think>" + "x" * 100_000,
]


def test_hostile_transcripts_stay_text(tmp_path):
    samples = [
        {"step": 0, "id": t, "question": t, "response": t, "correct": False, "tokens": t}
        for t in HOSTILE
    ]
    run = folder(
        tmp_path / "a & <b> $x_ 中文 {{data}}", healthy(1), samples,
        summary(device=HOSTILE[0], preset=HOSTILE[1]),
    )
    page = Page(report.write_html(run))
    shown = page.responses()
    assert shown[:3] == HOSTILE[:3]
    assert shown[3] == "a␀b␛[31m␍␡\ufffd\ufffdabc\ufffd" and shown[4].endswith("lone surrogate")
    assert (
        len(shown[5]) == 60_000
        and page.data["runs"][0]["samples"]["problems"][5]["groups"]["0"][0]["more"] == 40_007
    )
    assert page.data["runs"][0]["name"] == "a & <b> $x_ 中文 {{data}}" and HOSTILE[0] in page.words
    assert page.tags.count("script") == 2 and {"img", "think", "b"}.isdisjoint(page.tags)


def test_the_policy_lets_only_the_pages_own_script_and_style_run(tmp_path):
    text = report.write_html(folder(tmp_path / "run", healthy(2))).read_text(encoding="utf-8")
    policy = re.search('Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "unsafe" not in policy and policy.startswith("default-src 'none'; ")
    for kind, pattern in (("style", "<style>(.*?)</style>"), ("script", "<script>(.*?)</script>")):
        digest = base64.b64encode(
            hashlib.sha256(re.search(pattern, text, re.DOTALL)[1].encode()).digest()
        ).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_samples_without_sense(tmp_path):
    samples = [
        {}, {"step": "x", "response": None}, {"step": math.nan, "response": ["<b>"]}, {"step": 3},
    ]
    figures = {"cuts": [1], "logp": [-3], "base": [-3], "entropy": [3]}
    for name in figures:
        for value in (None, 3, ["1"], [1.5], [True], [1, 2], [10**9], {"a": 1}):
            samples.append({"step": 4, "response": "a"} | figures | {name: value})
    samples.append({"step": 4, "response": "a"} | figures)
    page = Page(report.write_html(folder(tmp_path / "run", [], samples)))
    groups = page.data["runs"][0]["samples"]["problems"][0]["groups"]
    assert {step: len(group) for step, group in groups.items()} == {"-1": 3, "3": 1, "4": 32}
    samples = samples[-31:]  # a group holds at most 32
    page = Page(report.write_html(folder(tmp_path / "other", [], samples)))
    assert ["cuts" in r for r in page.data["runs"][0]["samples"]["problems"][0]["groups"]["4"]] == [
        False
    ] * 30 + [True]


def test_page_stays_small(tmp_path):
    """The worst text: characters whose escape is longest, in more samples than a page can hold."""
    long = "<" * 10_000
    samples = [
        {"step": i // 20, "question": long, "response": long, "correct": True, "tokens": long}
        for i in range(800)
    ]
    page = report.write_html(folder(tmp_path / "run", healthy(400), samples, summary()))
    assert page.stat().st_size < 5_000_000
    kept = Page(page).data["runs"][0]["samples"]
    assert kept["steps"][0] == 0 and kept["steps"][-1] == 39 and "of 40 kept steps" in kept["note"]


def test_a_long_run_with_every_group_stays_small(tmp_path):
    """The gpu preset: 280 steps, 15 validations, 4 groups of 16 responses of up to 1,024 tokens,
    230 on average.
    """
    rng = random.Random(0)
    samples = []
    for step, problem, place in itertools.product(range(0, 281, 20), range(4), range(16)):
        n = min(1024, int(rng.expovariate(1 / 230)) + 5)
        figures = {k: [rng.choice((0, -1, -37, -260)) for _ in range(n)] for k in ("logp", "base")}
        figures["entropy"] = [rng.choice((0, 3, 45)) for _ in range(n)]
        samples.append({
            "step": step, "id": str(problem), "question": "Make 65 from 5, 13.",
            "response": "12" * n, "correct": True, "stopped": True, "sample": place, "tokens": n,
            "reward": 1.1, "advantage": 0.35, "cuts": [2] * n, **figures,
        })
    page = report.write_html(folder(tmp_path / "run", healthy(280), samples, summary()))
    assert 2_000_000 < page.stat().st_size < 5_000_000
    assert len(Page(page).data["runs"][0]["samples"]["steps"]) >= 8


# ---------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    "rows, sentence",
    [
        ([{"accuracy": 0.31 + 0.13 * i / 9} for i in range(10)],
         "learning: accuracy 31% -> 44% over the last 10 steps"),
        (flat(30, signal=0.05),
         "no signal: 95% of groups have equal rewards, but accuracy 37%: look at the reward"),
        (flat(30, 0.98, signal=0.04),
         "solved: accuracy 98%, so 96% of groups are all right"),
        (flat(30, 0.98), "solved: accuracy 98%"),
        (flat(30, 0.98, signal=0.11), "solved: accuracy 98%"),
        (flat(30, truncated=0.4), "responses are cut at the limit (40%): raise --rl.max_tokens"),
        ([row | {"length": 45 - i / 2} for i, row in enumerate(flat(30))],
         "length shrinks (43 -> 33 tokens) while accuracy stalls at 37%: "
         "base may not compute reliably"),
        ([row | {"entropy": 0.5 if i < 10 else 0.005} for i, row in enumerate(flat(30))],
         "entropy collapsed (0.005 nats a token): responses to a question are all alike"),
        (flat(30, gap=0.3),
         "sampler and trainer disagree (gap 0.30 nats a token): "
         "what is learnt is not what was sampled"),
        (flat(30, loss=math.nan),
         "broken since step 1: loss is not a number; a lower --rl.lr or, in half precision, "
         "--dtype float32 may help"),
        (flat(30), "flat: accuracy 37% over the last 10 steps"),
        (flat(3), "too early to tell: accuracy 37% after 3 steps"),
        (healthy(1), "too early to tell: accuracy 20% after 1 step"),
        ([{"accuracy": 0.6 - 0.02 * i} for i in range(10)],
         "getting worse: accuracy 60% -> 42% over the last 10 steps; a lower --rl.lr may help"),
        ([row | {"format": 0.3 + 0.05 * i} for i, row in enumerate(flat(10, 0.02))],
         "learning the form (30% -> 75% well formed), not yet the task: accuracy 2%"),
        ([{"phase": "rl", "step": 3}], "accuracy is not measured"),
        (flat(30) + [{"phase": "validate", "step": 30, "accuracy": 0.9}],
         "flat: accuracy 37% over the last 10 steps"),
    ],
)
def test_verdict(rows, sentence):
    assert diagnosis(rows) == sentence


def test_verdict_on_slow_progress_looks_further_back():
    noise = random.Random(3)
    rows = [{"accuracy": 0.5 + 0.002 * i + noise.gauss(0, 0.015)} for i in range(60)]
    assert re.fullmatch(
        r"learning slowly: accuracy 5\d% -> 6\d% over the last 40 steps", diagnosis(rows)
    )
    thinned = [row | {"step": 8 * i} for i, row in enumerate(rows)]
    assert diagnosis(thinned).endswith("over the last 313 steps"), (
        "steps are counted, not the rows that were kept"
    )


def test_out_is_for_several_runs(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="--out is for the picture of several runs"):
        report.main([str(tmp_path), "--out", str(tmp_path / "x.png")])
    assert len(list(tmp_path.iterdir())) == 1


def test_verdict_seldom_takes_noise_for_learning():
    """A line through 10 points of noise passes 2.5 standard errors upwards with probability 1.8%
    (t, 8 degrees of freedom).

    Of 2,000 runs 37 are expected; more than 65 would be 4.6 standard deviations away.
    """
    rng = random.Random(5)
    runs = [[{"accuracy": 0.5 + rng.gauss(0, 0.03)} for _ in range(10)] for _ in range(2000)]
    assert 10 < sum(diagnosis(rows).startswith("learning") for rows in runs) < 65


def test_verdict_is_quick_and_needs_no_plots():
    code = (
        "import sys, time; from minir1.measure.diagnosis import diagnosis; "
        "rows = [{'accuracy': i / 1e4, 'length': 9} for i in range(5000)]; "
        "t = time.perf_counter(); diagnosis(rows); "
        "print(time.perf_counter() - t, 'matplotlib' in sys.modules)"
    )
    seconds, loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert float(seconds) < 0.2 and loaded == "False"


def test_trend_is_least_squares():
    # slope 0.08, mean 0.25, by hand
    start, end, sure = trend([{"a": v} for v in (0.1, 0.3, 0.2, 0.4)], "a")
    assert (start, end) == pytest.approx((0.13, 0.37)) and not sure


# ---------------------------------------------------------------- the result in words


def test_summary_says_what_is_not_beaten():
    text = summary_text(summary())
    assert 'R1-Zero does not beat "blind search, same token limit": 67.4% against 69.0%.' in text
    assert '"base, any of 64' not in text  # one try is not compared with 64
    assert "forced" not in text.split("does not beat", 1)[1]
    assert (
        "RL amplified habits the base holds at a measured rate: attempts a response 2.1 -> 10.5"
        in text
    )
    assert "per 100 tokens 1.6" not in text  # 1.6 -> 1.7 is no amplification
    assert re.search(r"right answers \(pass@1\) +18\.8% ± 1\.0 +67\.4% ± 1\.0", text)
    assert re.search(r"3 numbers +30\.0% +89\.0%", text) and re.search(
        r"4 numbers +7\.6% +45\.0%", text
    )
    assert re.search(
        r"blind search, as many attempts +43\.0% +70\.0% +16\.0% +\+24\.4", text
    )
    assert re.search(r"arithmetic 5d\+ +93\.0% ± 1\.0", text) and re.search(
        r"arithmetic 5d- +91\.0%", text
    )
    assert "emerg" not in text.lower()
    assert (
        "took 8 min 24 s (pretrain 1 min 49 s, rl 5 min 50 s)" in text
        and "4.7 M parameters" in text
    )


def test_summary_when_every_line_is_beaten_or_nothing_was_gained():
    assert "R1-Zero beats every baseline here" in summary_text(
        summary(references={"blind_tokens": 0.5})
    )
    programs = {"blind_pairs": 0.5, "lookahead_pairs": 0.92, "plain_writer": 0.6}
    text = summary_text(summary(references=programs))
    assert "beats every baseline" in text and "solves more: look-ahead search 92.0%." in text
    within = summary_text(summary(references={"blind_tokens": 0.66}))
    assert "even" in within and "by more than chance: 67.4% against 66.0%" in within
    same = {"accuracy": 0.2, "n": 100, "attempts": 2.0}
    text = summary_text(summary(base=same, zero=same | {"accuracy": 0.25}))
    assert "no difference that can be told from chance" in text and "RL did not amplify" in text
    assert "lowered accuracy from 67.4% to 18.8%" in summary_text(
        summary(base=summary()["zero"], zero=summary()["base"])
    )


def test_summary_does_not_call_amplified_what_began_at_zero():
    text = summary_text(
        summary(
            base={"accuracy": 0.1, "reflections": 0.0}, zero={"accuracy": 0.2, "reflections": 3.0}
        )
    )
    assert (
        "Not seen in the base's responses, and found after RL: reflection words a response." in text
    )
    assert "amplif" not in text


@pytest.mark.parametrize("key", [*summary(), None])
def test_summary_with_parts_missing(key):
    found = {} if key is None else {k: v for k, v in summary().items() if k != key}
    assert isinstance(summary_text(found), str)


# ---------------------------------------------------------------- several runs, the command, the
# page of metrics


@pytest.mark.filterwarnings("error")
def test_seeds(tmp_path, capsys):
    runs = [full(tmp_path / f"gpu-{i}", steps) for i, steps in enumerate((60, 40))] + [
        folder(tmp_path / "gpu-2", healthy(7))
    ]
    assert report.draw_seeds(runs, tmp_path / "band.png") == tmp_path / "band.png"
    assert report.draw_seeds([folder(tmp_path / "none", [])], tmp_path) is None
    assert report.draw_seeds(runs, tmp_path / "all") == tmp_path / "all" / "seeds.png"
    report.main([str(runs[2]), str(tmp_path / "none"), "--out", str(tmp_path / "other.png")])
    assert (tmp_path / "other.png").read_bytes().startswith(PNG)
    assert "other.png" in capsys.readouterr().out
    assert [run["name"] for run in Page(tmp_path / "other.html").data["runs"]] == ["gpu-2", "none"]


@pytest.mark.filterwarnings("error")
def test_names_of_runs_in_any_script(tmp_path):
    """Drawn where a font has the character, escaped where none has; a dollar is no formula."""
    runs = [folder(tmp_path / name, healthy(20)) for name in ("跑一次 $x_1$", "🤔\u202e", "plain")]
    assert report.draw_seeds(runs, tmp_path).read_bytes().startswith(PNG)
    assert fonts.readable("a\ud800\n") == "a\\ud800\\n" and fonts.readable("é ± →") == "é ± →"
    assert fonts.readable("跑") == ("跑" if len(fonts.families()) > 1 else "\\u8dd1")


def test_without_a_chinese_font_characters_are_escaped(monkeypatch):
    monkeypatch.setattr(fonts, "families", lambda: ("DejaVu Sans",))
    fonts._drawable.cache_clear()
    assert fonts.readable("跑 3") == "\\u8dd1 3"
    fonts._drawable.cache_clear()


def test_command_line_errors(tmp_path):
    for arguments in ([], [str(tmp_path / "nowhere")], [str(tmp_path)], ["--what", str(tmp_path)]):
        with pytest.raises(UserError) as fault:
            report.main(arguments)
        assert "\n" not in str(fault.value)
    with pytest.raises(SystemExit) as stop:
        report.main(["--help"])
    assert stop.value.code == 0


def test_labels_keep_apart():
    heights = [0.5, 0.5, 0.51, 0.0, 0.02, 1.0, 0.99, 0.98]
    placed = sorted(drawing.spread(heights, 0.06))
    assert min(placed) >= 0 and max(placed) <= 1
    assert min(b - a for a, b in zip(placed, placed[1:])) > 0.055


def test_every_metric_that_is_drawn_is_defined():
    page = (Path(report.__file__).parent / "metrics.md").read_text(encoding="utf-8")
    drawn = {
        name
        for panels in (plots.LENGTH, plots.HEALTH, plots.EVOLUTION)
        for _, curves, *_ in panels
        for name, *_ in curves
    }
    logged = set(rl_row(0, 0, random.Random())) - {"phase", "step"}
    names = {name.replace("*", "3") for name in drawn} | logged | set(words.REFERENCES)
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []
