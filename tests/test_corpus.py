"""The mini-web, read back from its own text: the split, the measured rates, and that it is the same
wherever it is made.

Rates are compared within five binomial standard deviations: for a fresh seed each comparison raises
a false alarm with probability 6e-7 (the seeds are fixed, so a test that passes keeps passing).
"""

import hashlib
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from test_arithmetic import content_key, equations_in, expression_in, value_of
from test_countdown import check_attempt, check_systematic, read_equation, read_thought

from minir1.config import CorpusConfig, Habits
from minir1.corpus.mixture import batches, sample_text, shard
from minir1.fast.parallel import parallel_map, script_hidden
from minir1.measure.corpus import worked_in
from minir1.tasks import draw_problems
from minir1.tasks.countdown import Countdown
from minir1.tokenizer import Tokenizer
from minir1.transcript import parse

BOTH = CorpusConfig(languages=("en", "zh"))

# ---------------------------------------------------------------- reading documents

NUMBERS = r"(?P<n>[0-9]+(?:(?:, |、)[0-9]+)+)"
TARGET = r"(?P<t>[0-9]+)"
PUZZLES = {
    "en": (
        f"Use {NUMBERS} to make {TARGET}\\.",
        f"Make {TARGET} from {NUMBERS}\\.",
        f"Using the numbers {NUMBERS}, make an expression that equals {TARGET}\\.",
        f"Reach {TARGET} with {NUMBERS}\\.",
    ),
    "zh": (
        f"用{NUMBERS}算出{TARGET}。", f"请用{NUMBERS}得到{TARGET}。", f"用数字{NUMBERS}写一个等于{TARGET}的算式。",
        f"{NUMBERS}怎样算出{TARGET}？",
    ),
}
GENERAL = re.compile(
    r"Which is larger, \d+ or \d+\?|How many words: .*\?|Repeat: .*"
    r"|What is the last word of: .*\?|Hello"
    r"|\d+和\d+哪个大？|有几个词：.*？|重复：.*|最后一个词是什么：.*？|你好"
)
HAN = re.compile("[一-鿿]")
LANGUAGES = ("en", "zh")


class Document(SimpleNamespace):
    """kind; lang (None where the text does not show it); question and transcript, or equations."""


def read(text: str) -> Document:
    """A document without its begin token.

    Fails for one that is of no known kind: nothing escapes the checks below.
    """
    assert text.endswith("<|end|>") and text.count("<|end|>") == 1
    match = re.fullmatch(r"User: (.*)\nAssistant:(.*)", text, re.DOTALL)
    if match is None:
        return Document(
            kind="equations", lang=None,
            steps=[read_equation(t) for t in text.removesuffix("<|end|>").split(", ")],
        )
    question, transcript = match[1], parse(match[2])
    assert transcript.well_formed, text
    found = Document(
        kind="", lang="zh" if HAN.search(question) else "en", question=question,
        transcript=transcript,
    )
    for lang, forms in PUZZLES.items():
        for puzzle in filter(None, (re.fullmatch(form, question) for form in forms)):
            numbers = tuple(map(int, re.findall("[0-9]+", puzzle["n"])))
            found.kind, found.problem = "countdown", Countdown(numbers, int(puzzle["t"]), lang)
    if not found.kind and GENERAL.fullmatch(question):
        found.kind = "general"
    elif not found.kind:
        found.kind, found.expression = "arithmetic", expression_in(question, found.lang)
        # "45 + 98 =" is both
        found.lang = None if question.endswith(" =") and found.lang == "en" else found.lang
    return found


def documents(config: CorpusConfig, n: int, seed: int = 0) -> list[Document]:
    return [read(text.removeprefix("<|begin|>")) for text in sample_text(config, seed, n)]


def split_by_hash(key: str) -> str:
    """A second spelling of the split, so that a change of it shows here as well."""
    bucket = int(hashlib.blake2b(key.encode(), digest_size=4).hexdigest(), 16) % 100
    return ("train", "validation", "test")[(bucket >= 80) + (bucket >= 90)]


def questions_of(document: Document) -> list[str]:
    """The keys of all questions that a document asks or states as a fact."""
    if document.kind == "countdown":
        return ["countdown " + " ".join(map(str, sorted(document.problem.numbers)))]
    if document.kind == "arithmetic":
        return ["arithmetic " + content_key(document.expression)]
    if document.kind == "equations":
        return ["arithmetic " + content_key(f"{s.a} {s.operator} {s.b}") for s in document.steps]
    return []


def within(count: int, total: int, rate: float) -> bool:
    return total > 0 and abs(count - total * rate) <= 5 * (total * rate * (1 - rate)) ** 0.5


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(sample_text(BOTH, 0, 4000), 512)


# ---------------------------------------------------------------- the split


def check_split(config: CorpusConfig, tokenizer: Tokenizer, tokens: int) -> Counter:
    """Decode the shards that a run reads, and look at every question in them; returns how many of
    each kind.
    """
    text, seen, asked = tokenizer.to_text(), Counter(), set()
    config = replace(config, shard_tokens=500_000)
    for index in range(-(-tokens // config.shard_tokens)):
        ids = shard(config, text, 7, index)
        assert len(ids) == config.shard_tokens
        # the last document may be cut
        *whole, _ = tokenizer.decode(ids.tolist()).split("<|begin|>")[1:]
        for document in map(read, whole):
            keys = questions_of(document)
            held_out = [key for key in keys if key not in asked and split_by_hash(key) != "train"]
            assert not held_out, (held_out, document)
            asked.update(keys)
            seen[document.kind] += 1
    seen["questions"] = len(asked)
    return seen


@pytest.mark.parametrize("name", ["cpu", "3to4"])
def test_no_held_out_question_in_half_a_million_tokens_each(name, tokenizer):
    """One million tokens in all. Without the split, one question in five would be held out."""
    seen = check_split(replace(BOTH, countdown=name), tokenizer, 500_000)
    assert (
        min(seen[k] for k in ("countdown", "arithmetic", "equations", "general")) > 300
        and seen["questions"] > 8_000
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cpu", "3to4"])
def test_no_held_out_question_in_ten_million_tokens(name, tokenizer, request):
    if "slow" not in request.config.getoption("markexpr"):
        pytest.skip("about a minute: ask for it with -m slow")
    seen = check_split(replace(BOTH, countdown=name), tokenizer, 10_000_000)
    assert seen["questions"] > 40_000


def test_general_questions_are_not_arithmetic():
    """They have no split, so they must not ask what the other kinds hold out."""
    for document in documents(
        replace(BOTH, share_countdown=0.0, share_arithmetic=0.0, share_equations=0.0), 3000
    ):
        assert document.kind == "general" and not re.search(
            r"[0-9] *[+\-*/=] *[0-9]", document.question
        )


# ---------------------------------------------------------------- what the documents say


@pytest.fixture(scope="module")
def mixture() -> list[Document]:
    return documents(BOTH, 20_000)


def test_documents_say_only_true_things_but_for_wrong_guesses(mixture):
    """Answers to arithmetic are right, written working is true; only Countdown is sometimes
    answered wrongly.
    """
    right = Counter()
    for document in mixture:
        if document.kind == "arithmetic":
            assert document.transcript.answer == str(value_of(document.expression))
            assert document.transcript.think is None or equations_in(document.transcript.think)
        elif document.kind == "equations":
            assert len(document.steps) == 8  # each was checked when it was read
        elif document.kind == "countdown":
            problem = document.problem
            assert Counter(map(int, re.findall(r"\d+", document.transcript.answer))) == Counter(
                problem.numbers
            )
            right[problem.verify(document.transcript.answer)] += 1
            if document.transcript.think is not None:
                if re.search("with|配", document.transcript.think):
                    hits = check_systematic(
                        document.transcript.think, problem.numbers, problem.target
                    )
                else:
                    attempts = read_thought(document.transcript.think, problem.target)
                    hits = [check_attempt(a, problem.numbers, problem.target) for a in attempts]
                    assert all(
                        a.verdict in (None, "yes" if hit else a.goal)
                        for a, hit in zip(attempts, hits)
                    )
                assert problem.verify(document.transcript.answer) == hits[-1] and not any(hits[:-1])
    assert 0.2 < right[True] / right.total() < 0.6, "often wrong, as in a base corpus"


def test_general_answers_are_right():
    for document in documents(
        replace(BOTH, share_countdown=0.0, share_arithmetic=0.0, share_equations=0.0), 3000
    ):
        question, answer = document.question, document.transcript.answer
        numbers = [int(n) for n in re.findall(r"\d+", question)]
        words = re.split(r"[ 、]", re.split(": |：", question)[-1].rstrip("?？"))
        if re.search("^Which is larger|大？$", question):
            assert int(answer) == max(numbers)
        elif re.search("^How many|^有几个", question):
            assert int(answer) == len(words)
        elif re.search("^What is the last|^最后", question):
            assert answer == words[-1]
        elif re.search("^Repeat|^重复", question):
            assert re.split(r"[ 、]", answer) == words
        else:
            assert re.fullmatch("Hello, .*|你好，.*", answer)


def test_english_documents_hold_no_chinese():
    for text in sample_text(replace(BOTH, languages=("en",)), 3, 5000):
        assert text.isascii(), text


def test_chinese_documents_hold_chinese():
    """All but bare arithmetic ("45 + 98 =") and equations; no English word but the two of the
    frame.
    """
    config = replace(BOTH, languages=("zh",), habits_zh=Habits())
    chinese = 0
    for text in sample_text(config, 3, 5000):
        document = read(text.removeprefix("<|begin|>"))
        assert document.kind in ("arithmetic", "equations") or HAN.search(document.question)
        plain = re.sub(r"<[^<>]*>|^User:|\nAssistant:", "", re.sub(r"^<\|begin\|>", "", text))
        assert not re.search("[A-Za-z]", plain), text
        chinese += bool(HAN.search(text))
    assert chinese > 0.7 * 5000


def test_languages_come_in_equal_parts(mixture):
    puzzles = [d.lang for d in mixture if d.kind == "countdown"]
    assert within(puzzles.count("zh"), len(puzzles), 0.5)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_switching_comes_at_its_rate(lang):
    """Attempts that go on in the other language, seen by the verdicts of neighbours; at rate zero
    none does.
    """
    for rate in (0.0, 0.02, 0.3):
        habits = Habits(
            switching=rate, verification=1.0, backtracking=0.8, subgoals=0.0, backward_chaining=0.0,
            persistence=0.5,
        )
        config = replace(
            BOTH, languages=(lang,), share_countdown=1.0, direct=0.0, habits=habits,
            habits_zh=habits,
        )
        pairs = switches = 0
        for document in documents(config, 2000, seed=6):
            lines = document.transcript.think.split("\n")
            tongues = ["zh" if re.search("，(对|不是|不行)", line) else "en" for line in lines]
            assert tongues[0] == lang == document.lang
            pairs += len(tongues) - 1
            switches += sum(a != b for a, b in zip(tongues, tongues[1:]))
        assert within(switches, pairs, rate), rate


# ---------------------------------------------------------------- the measured rates


@pytest.mark.parametrize(
    "config",
    [
        BOTH,
        replace(
            BOTH, share_countdown=0.3, share_arithmetic=0.4, share_equations=0.1, direct=0.7,
            arithmetic_direct=0.2,
        ),
    ],
    ids=["default", "changed"],
)
def test_kinds_and_direct_answers_come_at_their_rates(config, mixture):
    found = mixture if config == BOTH else documents(config, 10_000)
    kinds = Counter(d.kind for d in found)
    shares = {
        "countdown": config.share_countdown, "arithmetic": config.share_arithmetic,
        "equations": config.share_equations,
    }
    for kind, rate in (shares | {"general": 1 - sum(shares.values())}).items():
        assert within(kinds[kind], len(found), rate), kind
    for kind, rate in (("countdown", config.direct), ("arithmetic", config.arithmetic_direct)):
        direct = sum(d.kind == kind and d.transcript.think is None for d in found)
        assert within(direct, kinds[kind], rate), kind
    assert all(d.transcript.think is None for d in found if d.kind == "general")


def test_arithmetic_holds_every_kind_alike():
    """Read by the size of what is asked: 6-digit sums and 5 by 5 digit products are there, as often
    as their share says.
    """
    found = [
        d.expression
        for d in documents(replace(BOTH, share_countdown=0.0, share_arithmetic=1.0), 8000)
    ]
    assert within(sum("(" in e for e in found), 8000, 1 / 16), "1dc"
    product = [e for e in found if "*" in e and "(" not in e]
    assert within(len(product), 8000, 4 / 16), "2dx to 5dx"
    long = sum(bool(re.search(r"\d{6}", e)) for e in found)
    assert within(long, 8000, 2 / 16 * 0.99), (
        "6d+ and 6d-: one of the two operands has six digits 99 times in 100"
    )


def thoughts(config: CorpusConfig, n: int, lang: str) -> list[list[tuple]]:
    """For each thinking Countdown document of a language: (attempt, it failed) in order."""
    told = []
    for document in documents(replace(config, share_countdown=1.0, direct=0.0), n, seed=5):
        if document.lang == lang:
            problem = document.problem
            attempts = read_thought(document.transcript.think, problem.target)
            told.append(
                [(a, not check_attempt(a, problem.numbers, problem.target)) for a in attempts]
            )
    return told


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(("verification", "backtracking"), [(0.9, 0.5), (0.25, 0.1), (0.6, 0.7)])
def test_habits_come_at_their_rates(lang, verification, backtracking):
    """Without known solutions (solved=0), where each rate can be read off; the other language has
    other rates.
    """
    mine = Habits(
        verification=verification, backtracking=backtracking, persistence=0.0, most_attempts=100,
        systematic=0.0,
    )
    other = Habits(verification=0.05, backtracking=0.9, persistence=0.5, systematic=0.0)
    habits, habits_zh = (mine, other) if lang == "en" else (other, mine)
    told = thoughts(replace(BOTH, solved=0.0, habits=habits, habits_zh=habits_zh), 6000, lang)
    attempts = [a for thought in told for a, _ in thought]
    assert within(sum(a.verdict is not None for a in attempts), len(attempts), verification)
    failed = sum(f for thought in told for _, f in thought)
    followed = sum(f for thought in told for _, f in thought[:-1])
    assert within(followed, failed, backtracking)
    for kind, rate in (("need", mine.backward_chaining), ("make", mine.subgoals)):
        share = sum(a.kind == kind for a in attempts) / len(attempts)
        assert 0.5 * rate < share < 1.2 * rate  # a little rarer: some numbers cannot be set aside


def test_documents_with_several_attempts_follow_backtracking():
    """DESIGN section 5's independent variable: known solutions hardly change it; only a hit at once
    takes some away.
    """
    for rate in (0.05, 0.5):
        for solved in (0.0, 0.2, 1.0):
            habits = Habits(backtracking=rate, persistence=0.0, aim=0.5, systematic=0.0)
            told = thoughts(
                replace(BOTH, languages=("en",), solved=solved, habits=habits), 1500, "en"
            )
            several = sum(len(thought) > 1 for thought in told)
            assert within(several, len(told), rate) or 0.8 * rate < several / len(told) < rate


def test_persistence_is_a_share_of_documents():
    """A persistent writer goes on after 95 of 100 failures, the others as backtracking says: read
    off at the first failure.
    """
    for persistence, backtracking in ((1.0, 0.2), (0.3, 0.2)):
        habits = Habits(
            persistence=persistence, backtracking=backtracking, most_attempts=2, systematic=0.0
        )
        told = thoughts(replace(BOTH, languages=("en",), solved=0.0, habits=habits), 2000, "en")
        failed = [thought for thought in told if thought[0][1]]
        rate = persistence * 0.95 + (1 - persistence) * backtracking
        assert within(sum(len(thought) > 1 for thought in failed), len(failed), rate)


def test_at_most_so_many_attempts():
    habits = Habits(backtracking=1.0, persistence=0.0, most_attempts=4, systematic=0.0)
    told = thoughts(replace(BOTH, habits=habits), 2000, "en")
    lengths = Counter(map(len, told))
    assert max(lengths) == 4 and lengths[4] > len(told) / 2


SIGNS = {  # what a document shows of a habit
    "verification": r", yes|, not?\b|，对|，不是|，不行",
    "backtracking": r"(?s)<think>.*(\n|; ).*</think>",
    "subgoals": r", make [0-9]|，先凑",
    "backward_chaining": r", need [0-9]|，还差",
}


@pytest.mark.parametrize("habit", SIGNS)
def test_a_habit_at_rate_zero_never_occurs(habit):
    """The ablations rest on this.

    At the default rates the same pattern is found, so it would be seen.
    """
    config = replace(BOTH, share_countdown=1.0)
    rates = {habit: 0.0} | ({"persistence": 0.0} if habit == "backtracking" else {})
    without = replace(
        config, habits=replace(config.habits, **rates), habits_zh=replace(config.habits_zh, **rates)
    )
    assert not any(re.search(SIGNS[habit], text) for text in sample_text(without, 0, 8000))
    assert sum(bool(re.search(SIGNS[habit], text)) for text in sample_text(config, 0, 2000)) > 20


def test_direct_and_solved_at_their_ends():
    for solved, low, high in ((1.0, 1.0, 1.0), (0.0, 0.001, 0.3)):
        for direct in (0.0, 1.0):
            plain = Habits(systematic=0.0)  # a systematic writer has to find the solution
            found = documents(
                replace(
                    BOTH, share_countdown=1.0, direct=direct, solved=solved, habits=plain,
                    habits_zh=plain,
                ),
                1500,
            )
            assert all((d.transcript.think is None) == (direct == 1.0) for d in found)
            right = sum(d.problem.verify(d.transcript.answer) for d in found) / len(found)
            assert low <= right <= high


@pytest.mark.parametrize(
    ("name", "counts", "highest"), [("cpu", {3}, 30), ("3to4", {3, 4}, 99), ("sos4", {4}, 99)]
)
def test_puzzles_are_of_the_distribution_asked_for(name, counts, highest):
    found = [d.problem for d in documents(replace(BOTH, share_countdown=1.0, countdown=name), 1500)]
    assert {len(p.numbers) for p in found} == counts
    assert {n for p in found for n in p.numbers} == set(range(1, highest + 1))
    assert {p.target for p in found} == set(range(10, 100)), (
        "a missing target has a chance below 1e-5"
    )


def test_pairs_come_at_their_rate_and_are_solved():
    """Two numbers only, around a known solution; a target that two numbers cannot make is another
    document's.
    """
    found = documents(replace(BOTH, share_countdown=1.0, countdown="3to4", pairs=0.3), 4000)
    pairs = [d for d in found if len(d.problem.numbers) == 2]
    assert within(len(pairs), len(found), 0.3)
    assert all(d.problem.verify(d.transcript.answer) for d in pairs)


# ---------------------------------------------------------------- shards and batches

SMALL = replace(BOTH, shard_tokens=4000, workers=1)


def test_shards_are_functions_of_seed_and_index(tokenizer):
    text = tokenizer.to_text()
    one = shard(SMALL, text, 1, 2)
    assert one.dtype == np.uint16 and one.shape == (4000,) and one.max() < len(tokenizer)
    assert np.array_equal(one, shard(SMALL, text, 1, 2))
    for other in (shard(SMALL, text, 1, 3), shard(SMALL, text, 2, 2), shard(SMALL, text, 2, 1)):
        assert not np.array_equal(one, other)
    assert tokenizer.decode(one.tolist()).startswith("<|begin|>")


def test_two_spawned_workers_write_the_same_shards_in_the_same_order(tokenizer):
    """Seven shards through a window of four, in processes whose string hashes differ from ours."""
    keys = [(SMALL, tokenizer.to_text(), 3, index) for index in range(5, 12)]
    plain, spawned = (
        list(parallel_map(shard, keys, workers=1)), list(parallel_map(shard, keys, workers=2)),
    )
    assert len(plain) == len(spawned) == 7
    assert all(np.array_equal(a, b) for a, b in zip(plain, spawned))
    assert all(
        np.array_equal(a, shard(SMALL, tokenizer.to_text(), 3, 5 + i)) for i, a in enumerate(plain)
    )


def test_workers_end_when_the_reader_stops_early(tokenizer):
    reader = parallel_map(
        shard, ((SMALL, tokenizer.to_text(), 3, index) for index in range(500)), workers=2
    )
    assert len(next(reader)) == 4000
    start = time.monotonic()
    reader.close()
    assert time.monotonic() - start < 30, "the 497 shards that nobody wants are not written"


SCRIPT = """
import os, sys
from functools import partial
from operator import add, call as apply
sys.path.insert(0, {root!r})
from minir1.fast.parallel import parallel_map

os.write(1, f"imported as {{__name__}}\\n".encode())  # whole lines, for all processes write here


def own(a, b):
    return 10 * add(a, b)


if __name__ == "__main__":
    functions = {{"module": add, "own": own, "part": partial(own, 1), "argument": apply}}
    pairs = {{"argument": [(own, 1, 2), (own, 3, 4)], "part": [(2,), (4,)]}}
    pairs = pairs.get(sys.argv[1], [(1, 2), (3, 4)])
    found = list(parallel_map(functions[sys.argv[1]], pairs, 2))
    os.write(1, f"{{found}} {{os.path.basename(__file__)}} {{__spec__}}\\n".encode())
"""


WAYS = [  # what is sent, its result, and whether a worker must import the script for it
    ("module", "[3, 7]", False),
    ("own", "[30, 70]", True),
    ("part", "[30, 50]", True),
    ("argument", "[30, 70]", True),
]


@pytest.mark.parametrize(("function", "result", "again"), WAYS)
def test_workers_import_the_script_only_for_its_own_functions(function, result, again, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT.format(root=str(Path(__file__).parents[1])))
    command = [sys.executable, str(tmp_path / "script.py"), function]
    lines = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True
    ).stdout.splitlines()
    assert f"{result} script.py None" in lines, "and the script keeps its name"
    assert ("imported as __mp_main__" in lines) == again


@pytest.mark.parametrize("missing", [(), ("__file__",), ("__spec__",)])
def test_a_hidden_script_comes_back_whatever_happens(missing, monkeypatch):
    script, spec = ModuleType("__main__"), object()
    vars(script).update(__file__="a.py", __spec__=spec)
    for name in missing:
        del vars(script)[name]
    before = dict(vars(script))
    monkeypatch.setitem(sys.modules, "__main__", script)
    with pytest.raises(KeyboardInterrupt), script_hidden():
        assert "__file__" not in vars(script) and script.__spec__ is None
        raise KeyboardInterrupt
    assert vars(script) == before


@pytest.mark.parametrize(("rows", "row_tokens"), [(3, 50), (1, 7), (4, 1000), (5, 2013)])
def test_batches_are_the_shards_in_a_row(rows, row_tokens, tokenizer):
    """Row after row continues the stream and repeats one token; batches may be smaller or larger
    than a shard.
    """
    count = 9
    made = list(batches(SMALL, tokenizer, 4, rows, row_tokens, 0, count))
    need = rows * row_tokens
    stream = np.concatenate(
        [shard(SMALL, tokenizer.to_text(), 4, index) for index in range(count * need // 4000 + 1)]
    )
    assert len(made) == count
    for b, batch in enumerate(made):
        assert batch.shape == (rows, row_tokens + 1) and batch.dtype == np.int64
        for r in range(rows):
            start = b * need + r * row_tokens
            assert np.array_equal(batch[r], stream[start : start + row_tokens + 1])
        assert np.array_equal(batch[1:, 0], batch[:-1, -1])
        assert b == 0 or made[b - 1][-1, -1] == batch[0, 0]


@pytest.mark.parametrize("first", [1, 5, 11, 12, 40])
@pytest.mark.parametrize(("rows", "row_tokens"), [(4, 100), (2, 1000), (3, 1777)])
def test_a_restart_gives_the_same_later_batches(first, rows, row_tokens, tokenizer):
    """A resumed run reads what the interrupted one would have read; 400, 2000 and 5331 tokens a
    batch meet 4000 in every way.
    """
    whole = list(batches(SMALL, tokenizer, 4, rows, row_tokens, 0, first + 4))
    again = list(batches(SMALL, tokenizer, 4, rows, row_tokens, first, 4))
    assert len(whole) == first + 4 and len(again) == 4
    assert all(np.array_equal(a, b) for a, b in zip(whole[first:], again))


def test_a_batch_that_is_whole_shards(tokenizer):
    """The one token that neighbours share is the first of the next shard: it must be fetched."""
    made = list(batches(SMALL, tokenizer, 4, 4, 1000, 0, 2))
    assert (
        len(made) == 2
        and made[0][-1, -1] == shard(SMALL, tokenizer.to_text(), 4, 1)[0] == made[1][0, 0]
    )


def test_batches_with_workers(tokenizer):
    one, two = (
        list(batches(replace(SMALL, workers=w), tokenizer, 6, 4, 500, 3, 5)) for w in (1, 2)
    )
    assert len(one) == len(two) == 5 and all(np.array_equal(a, b) for a, b in zip(one, two))


def test_speed(tokenizer):
    """DESIGN section 5 asks for 0.5 M tokens a second and core, tokenisation included; here only a
    floor is held.
    """
    config, text = replace(BOTH, shard_tokens=200_000), tokenizer.to_text()
    shard(config, text, 0, 0)  # fills the cache of pieces
    start = time.process_time()
    shard(config, text, 0, 1)
    speed = config.shard_tokens / (time.process_time() - start)
    print(f"corpus: {speed / 1e6:.2f} M tokens/s of CPU time, generation and tokenisation")
    assert speed > 0.1e6


def test_the_share_of_test_questions_that_are_worked_somewhere():
    """Of 512 questions those count whose operands meet in a step, in either order."""
    asked = draw_problems(("arithmetic:2d+=1",), ("en",), "test", "test 2d+", 512)
    keys = sorted({problem.key for problem in asked})
    half = keys[: len(keys) // 2]
    turned = [" + ".join(reversed(key.split(" + "))) for key in half]
    texts = [f"<think>{key} = {sum(map(int, key.split(' + ')))}, no</think>" for key in turned]
    expected = sum(problem.key in half for problem in asked) / 512
    assert worked_in(texts, ["2d+"]) == {"2d+": expected} and 0.3 < expected < 0.7
    assert worked_in(["1" + texts[0][7:]], ["2d+"]) == {"2d+": 0.0}  # another number
