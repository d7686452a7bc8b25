"""General tasks: right answers pass, corrupted ones do not, wordings are held out, facts are facts,
answers are short."""

import json
import re
from collections import Counter, defaultdict
from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minir1.r1.tasks import facts, general
from minir1.r1.tasks.facts import ROWS, Dialogue, Fact, subject_and_answers
from minir1.r1.tasks.general import KINDS, documents, sample
from minir1.r1.tasks.general_problem import FACTS, LANGUAGES, SPLITS, WORDINGS
from minir1.r1.tasks.identity_refusals import HARMFUL, HARMLESS, SELF, Decline, Self
from minir1.r1.tasks.instructions import Instruction, Json, strict_object
from minir1.rewards import language_share, score
from minir1.tasks import GENERAL, SHIPPED, find_task, problem_from_json
from minir1.tasks.arithmetic import Arithmetic
from minir1.tasks.countdown import split_of
from minir1.tokenizer import Tokenizer
from minir1.transcript import parse, prompt, render

CELLS = [(kind, split, lang) for kind in KINDS for split in SPLITS for lang in LANGUAGES]


@pytest.fixture(scope="module")
def problems():
    """About 5,000 of each kind, all splits and both languages; keyed by (kind, split, lang)."""
    rng = Random(0)
    return {cell: [sample(rng, *cell) for _ in range(834)] for cell in CELLS}


def accepts(problem, *answers) -> bool:
    return all(problem.verify(answer) for answer in answers)


def rejects(problem, *answers) -> bool:
    return not any(problem.verify(answer) for answer in answers)


def read_constraints(text: str) -> tuple:
    """ "count=2 upper=" as an Instruction holds it."""
    pairs = [part.split("=") for part in text.split(" ")]
    return tuple((name, int(value) if value.isdigit() else value) for name, value in pairs)


def everything(problems):
    return [problem for cell in problems.values() for problem in cell]


# ---------------------------------------------------------------- right and wrong answers


@pytest.mark.parametrize("kind", KINDS)
def test_canonical_answers_are_right(problems, kind):
    for problem in [p for cell in problems if cell[0] == kind for p in problems[cell]]:
        answer = problem.canonical()
        assert problem.verify(answer) and problem.verify(f" {answer} "), (problem, answer)
        assert answer == problem.canonical()  # no hidden state


@pytest.mark.parametrize("kind", KINDS)
def test_corrupted_answers_are_wrong_plausible_and_various(problems, kind):
    rng, near = Random(1), 0
    cells = [p for cell in problems if cell[0] == kind for p in problems[cell]]
    for problem in cells:
        worse, right = problem.corrupt(rng), problem.canonical()
        assert isinstance(worse, str) and worse.strip(), problem
        assert not problem.verify(worse), (problem, worse)
        near += 0.5 <= len(worse) / len(right) <= 2
    assert near >= 0.9 * len(cells)
    assert max(len({problem.corrupt(rng) for _ in range(30)}) for problem in cells[:20]) >= 3


def test_a_right_answer_earns_the_reward_of_a_rollout(problems):
    for problem in everything(problems)[::97]:
        response = f"<answer>{problem.canonical()}</answer><|end|>"
        assert parse(response).answer == problem.canonical()
        assert score(problem, response).accuracy == 1.0
        wrong = f"<answer>{problem.corrupt(Random(0))}</answer><|end|>"
        assert score(problem, wrong).accuracy == 0.0


def test_one_problem_s_answer_is_seldom_another_s():
    """Verifiers that accept anything would pass the tests above one by one, but not this."""
    rng = Random(2)
    for kind in ("fact", "json", "dialogue"):
        some = [sample(rng, kind, "train", "en") for _ in range(120)]
        right = sum(a.verify(b.canonical()) for a in some for b in some if a is not b)
        assert right < 0.08 * len(some) ** 2, kind


HARD_TEXTS = ["", " ", "\x00", "{", "{" * 399, "[" * 399, "NaN", "1e999", '{"a": NaN}', "9" * 399]
HARD_TEXTS += ["９", "²", "\ud800", "、", ", "]


def test_verify_is_total_on_hard_texts_and_other_types(problems):
    for cell in problems.values():
        for problem in cell[:60]:
            for text in (*HARD_TEXTS, None, 3, ["a"], b"a", "a" * 100_000):
                assert problem.verify(text) is False, (problem, text)


ASCII = st.from_regex(r"[ -~]{0,40}")
SOME = [sample(Random(index), *cell) for index, cell in enumerate(CELLS * 3)]
RIGHT_ANSWERS = st.sampled_from(SOME).map(lambda problem: problem.canonical())


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SOME), st.one_of(st.text(max_size=60), ASCII, RIGHT_ANSWERS))
def test_verify_is_total(problem, text):
    assert problem.verify(text) in (True, False)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SOME), st.data())
def test_from_json_raises_value_error_or_gives_a_problem(problem, data):
    line = problem.to_json()
    key = data.draw(st.sampled_from(sorted(line)))
    simple = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5))
    nested = st.lists(st.one_of(simple, st.lists(simple, max_size=3)), max_size=3)
    line[key] = data.draw(st.one_of(simple, nested))
    try:
        read = type(problem).from_json(line)
    except ValueError:
        return
    assert read.verify("sun river") in (True, False) and read.split() in SPLITS


# ---------------------------------------------------------------- exchange and registration


def test_json_round_trip(problems):
    for problem in everything(problems)[::7]:
        line = json.loads(json.dumps(problem.to_json()))
        assert problem_from_json(line) == problem
        assert line["question"] == problem.question() and line["task"] == problem.task
        assert problem_from_json(line | {"id": 7}).id == "7"


def test_the_registry_holds_the_six_tasks_beside_the_cores():
    assert [cls.task for cls, _ in KINDS.values()] == list(KINDS) == list(GENERAL)
    for kind in KINDS:
        task = find_task(kind)
        assert task.kinds == (kind,) and task.sample is sample
    assert {"countdown", "arithmetic"} | set(KINDS) <= set(SHIPPED)


def test_a_problem_without_wording_is_split_by_its_text():
    problem = Fact(text="What is the capital of France?", answers=("Paris",))
    assert problem.split() == split_of("fact What is the capital of France?")
    assert "wording" not in problem.to_json()


def test_unknown_kinds_splits_and_languages_are_named():
    for arguments in (("poem", "train", "en"), ("fact", "all", "en"), ("fact", "train", "fr")):
        with pytest.raises(ValueError, match="choose from"):
            sample(Random(0), *arguments)


# ---------------------------------------------------------------- held out by wording


def test_every_cell_has_problems_of_its_split_and_language(problems):
    for (kind, split, lang), found in problems.items():
        assert all((p.task, p.split(), p.lang) == (kind, split, lang) for p in found)
        assert len({p.question() for p in found}) > 5


def test_splits_share_no_combination_and_no_question_and_novel_wordings_no_part(problems):
    for kind in KINDS:
        for lang in LANGUAGES:
            wordings, parts, questions = ({split: set() for split in SPLITS} for _ in range(3))
            for split in SPLITS:
                for problem in problems[kind, split, lang]:
                    wordings[split].add(problem.wording.partition(" | ")[2])
                    parts[split].update(problem.wording.split(" | ")[1:])
                    questions[split].add(problem.question())
            for a, b in combinations(SPLITS, 2):
                assert not wordings[a] & wordings[b] and not questions[a] & questions[b]
                assert wordings[a] and wordings[b]
                assert b != "novel" or not parts[a] & parts[b]


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_wordings_are_made_of_parts_that_training_shows(kind):
    for lang in LANGUAGES:
        rng = Random(8)
        parts = {"test": set(), "train": set()}
        for split, count in (("test", 300), ("train", 4000)):
            for _ in range(count):
                parts[split].update(sample(rng, kind, split, lang).wording.split(" | ")[1:])
        assert parts["test"] <= parts["train"]


def test_questions_are_made_of_the_templates_they_name(problems):
    """The label is true: each part of the template stands in the question, capitals aside."""
    for problem in everything(problems):
        text = problem.question().lower()
        for template in problem.wording.split(" | ")[1:]:
            for part in re.split(r"\{[a-zA-Z]\}", template.lower()):
                assert part in text, (problem, template)


def word_lists(tree):
    """Every list of wordings, wherever it stands in the table."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from word_lists(value)
        elif isinstance(value, list) and key != "answers" and value not in refusal_lists:
            yield value


refusal_lists = list(WORDINGS["decline"]["refusals"].values()) + [
    value for name in ("rude", "complying") for value in WORDINGS["decline"][name].values()
]


def test_lists_of_wordings_hold_no_wording_twice_and_enough_of_them():
    lists = list(word_lists(WORDINGS))
    assert len(lists) > 80
    for forms in lists:
        assert len(forms) >= 5
        assert len({form.casefold().strip(" ?.？。") for form in forms}) == len(forms), forms


def test_every_fact_is_asked_in_training_and_in_the_test():
    for split in ("train", "test"):
        rng, found = Random(3), set()
        for _ in range(9000):
            problem = sample(rng, "fact", split, "zh")
            found.add((problem.relation, problem.answers))
        assert found == {(relation, subject_and_answers(row, "zh")[1]) for relation, row in ROWS}


def test_documents_are_of_the_training_split(problems):
    held_out, shapes = set(), []
    for (_, split, _), found in problems.items():
        if split != "train":
            held_out.update(problem.question() for problem in found)
    for lang in LANGUAGES:
        for form in (WORDINGS["fact"][lang][-1], WORDINGS["json"]["frames"][lang][-1]):
            shapes.append(re.escape(re.sub(r"\{.\}", "@", form)).replace("@", ".+"))
    shape, kinds = re.compile(".*(" + "|".join(shapes) + ")"), set()
    for lang in LANGUAGES:
        rng = Random(4)
        for _ in range(3000):
            question, answer = documents(rng, lang)
            assert question and answer and question not in held_out, question
            assert shape.fullmatch(question) is None, question
            assert not set(question + answer) & set("<>|")  # the tags' characters
            kinds.add(answer[:1] == "{")
    assert kinds == {True, False} and any(shape.fullmatch(question) for question in held_out)


def test_documents_hold_every_kind_by_its_share(monkeypatch):
    asked = Counter()

    def sample(rng, kind, split, lang):
        asked[kind, split, lang] += 1
        return SOME[0]

    monkeypatch.setattr(general, "sample", sample)
    rng = Random(7)
    for _ in range(4000):
        documents(rng, "zh")
    assert {key[1:] for key in asked} == {("train", "zh")}
    for kind, (_, share) in KINDS.items():
        assert abs(asked[kind, "train", "zh"] / 4000 - share) < 0.04  # five standard errors
    assert sum(share for _, share in KINDS.values()) == pytest.approx(1)


# ---------------------------------------------------------------- facts


def test_there_are_many_facts_well_formed():
    assert len({(relation, row[0]) for relation, row in ROWS}) == len(ROWS) >= 200
    reversals = ("country", "element", "month before", "day before")
    assert sum(relation not in reversals for relation, _ in ROWS) >= 200
    for relation, row in ROWS:
        assert len(row) == 4 and all(cell and cell == cell.strip() for cell in row), row
        assert row[0].isascii() and row[1].isascii()
        assert 1 <= len(row[1].split("|")[0].split()) <= 3, row
        if relation not in ("symbol", "element", "plural"):
            assert re.search("[一-鿿]", row[2]), row
    for relation, table in FACTS.items():
        for column in (0, 2):  # a subject has one line, in either language
            subjects = [row[column] for row in table["rows"]]
            assert len(set(subjects)) == len(subjects), relation


def test_tables_that_mirror_each_other_agree():
    """Each table was written by hand; the second is the check of the first."""
    pairs = [("capital", "country"), ("symbol", "element")]
    pairs += [("month after", "month before"), ("day after", "day before")]
    for there, back in pairs:
        for column in (0, 2):
            forward = {(row[column], row[column + 1].split("|")[0]) for row in FACTS[there]["rows"]}
            rows = FACTS[back]["rows"]
            assert forward == {(row[column + 1].split("|")[0], row[column]) for row in rows}, there


def test_opposites_are_symmetric_where_both_stand():
    for column in (0, 2):
        opposite = {row[column]: row[column + 1].split("|") for row in FACTS["opposite"]["rows"]}
        for word, (first, *_) in opposite.items():
            back = opposite.get(first, [word])
            assert word not in back[1:] and word in back, word


def test_names_are_the_same_wherever_they_stand():
    """One Chinese name for one English name: countries, animals, months over all their tables."""
    tables = [("capital", "continent", "language"), ("young", "legs")]
    for relations in (*tables, ("month after", "month before", "month days")):
        names = defaultdict(set)
        for relation in relations:
            for row in FACTS[relation]["rows"]:
                names[row[0]].add(row[2])
        assert all(len(found) == 1 for found in names.values()), names


def test_numbers_agree_in_both_languages():
    for _, row in ROWS:
        if row[1].split("|")[0].isdigit():
            assert row[1].split("|")[0] == row[3].split("|")[0], row


def test_known_calendar_and_planets():
    import calendar

    names = list(calendar.month_name)[1:]
    for row in FACTS["month after"]["rows"]:
        assert names[(names.index(row[0]) + 1) % 12] == row[1]
    for row in FACTS["month days"]["rows"]:
        assert int(row[1]) == calendar.monthrange(2025, names.index(row[0]) + 1)[1]
    days = list(calendar.day_name)
    for row in FACTS["day after"]["rows"]:
        assert days[(days.index(row[0]) + 1) % 7] == row[1]
    planets = "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune"
    assert " ".join(row[1] for row in FACTS["planet"]["rows"]) == planets


def test_variants_case_and_articles():
    fact = Fact(text="?", answers=("gray", "grey"))
    assert all(map(fact.verify, ("gray", "Grey.", "the gray", " a grey ")))
    assert not any(map(fact.verify, ("gray grey", "gra", "", "..", "gray..")))
    symbol = Fact(text="?", answers=("Fe",), exact=True)
    assert symbol.verify("Fe") and symbol.verify("Fe.")
    assert not symbol.verify("FE") and not symbol.verify("the Fe")


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize(
    "constraints, lang, right, wrong",
    [
        ("count=2", "en", ["sun river", "a b", "Sun RIVER"], ["sun", "sun river sun"]),
        ("count=2", "en", ["sun sun"], ["sun river.", "sun 3", "太阳 河流", ""]),
        ("count=2", "en", ["sun moon"], ["sun  river", "sun, river"]),
        ("contains=sun", "en", ["sun", "a sun b", "A Sun"], ["sunny day", "sun, day", "moon"]),
        ("starts=sun ends=moon", "en", ["sun moon", "sun a moon"], ["moon sun", "sun moon a"]),
        ("starts=sun ends=moon", "en", ["Sun Moon"], ["sun"]),
        ("upper=", "en", ["SUN", "SUN MOON"], ["Sun", "SUN moon", "sun"]),
        ("commas= count=3", "en", ["a, b, c"], ["a b c", "a,b,c", "a, b", "a, b, c,", "a, b c"]),
        ("count=2 marks=", "zh", ["太阳、月亮", "大、小"], ["太阳月亮", "太阳，月亮", "太阳 月亮"]),
        ("count=2 marks=", "zh", ["太阳、月亮"], ["sun、moon"]),
        ("commas= ends=月亮", "zh", ["太阳，月亮"], ["太阳、月亮", "月亮", "月亮，太阳"]),
    ],
)
def test_free_lines(constraints, lang, right, wrong):
    line = Instruction(text="Write.", lang=lang, constraints=read_constraints(constraints))
    assert accepts(line, *right) and rejects(line, *wrong), [t for t in wrong if line.verify(t)]
    assert line.verify(line.canonical())


@pytest.mark.parametrize(
    "constraints, lang, words, right",
    [
        ("reverse=", "en", "sun river stone", "stone river sun"),
        ("sort= upper=", "en", "sun river stone", "RIVER STONE SUN"),
        ("rank= commas=", "en", "30 4 100", "4, 30, 100"), ("repeat=3", "en", "sun", "sun sun sun"),
        ("repeat=2 commas=", "zh", "太阳", "太阳，太阳"), ("reverse= marks=", "zh", "太阳 月亮", "月亮、太阳"),
    ],
)
def test_given_words(constraints, lang, words, right):
    given = {"constraints": read_constraints(constraints), "words": tuple(words.split())}
    line = Instruction(text="Write.", lang=lang, **given)
    assert line.canonical() == right and line.verify(f" {right}\n")
    wider = right.replace(" ", "  ") + "x"
    assert rejects(line, right[:-1], right + right[0], wider, words + "?")


def test_instructions_bite(problems):
    """Giving the words back is never an answer. One or two constraints, marks aside."""
    counts = set()
    for (kind, _, lang), found in problems.items():
        for problem in found if kind == "instruction" else ():
            counts.add(sum(name != "marks" for name, _ in problem.constraints))
            if problem.words:
                space = " " if lang == "en" else "、"
                assert not problem.verify(space.join(problem.words)), problem
    assert counts == {1, 2}


def test_json_is_strict():
    record = Json(text="?", pairs=(("count", 1), ("open", True), ("word", "sun")))
    good = '{"count": 1, "open": true, "word": "sun"}'
    right = [good, '{"word":"sun","open":true,"count":1}']
    right.append(' {"open": true, "word": "\\u0073un", "count": 1}\n')
    changes = [  # each makes it wrong
        ("1", "true"),
        ("true", "1"),
        ("1", "1.0"),
        ("1", '"1"'),
        ("1", "01"),
        ("true", "True"),
        ('"count": 1', '"count": 1, "count": 1'),
        (', "word": "sun"', ""),
        ("}", ', "a": 1}'),
        ('"', "'"),
        ("}", "} {}"),
        ("sun", "Sun"),
        ("}", ""),
        ("{", "[{"),
    ]
    assert all(map(record.verify, right)) and not record.verify(f"[{good}]")
    assert not [change for change in changes if record.verify(good.replace(*change))]
    assert strict_object(good) == {"count": 1, "open": True, "word": "sun"}
    hard = ('{"a": NaN}', '{"a": -Infinity}', "[" * 100_000, "[1]", "3", "")
    assert not [text for text in hard if strict_object(text) is not None]


# ---------------------------------------------------------------- dialogues


def test_prompts_of_dialogues_read_as_a_conversation(problems):
    for cell in problems:
        for problem in problems[cell] if cell[0] == "dialogue" else ():
            text = prompt(problem.question())
            turn = r"User: [^\n]+\nAssistant:"
            assert re.fullmatch(rf"<\|begin\|>{turn} [^\n]+\n{turn}", text), text
            assert not problem.verify(problem.earlier()), "the follow-up must matter"


def test_nothing_is_doubled_that_doubling_leaves_alone(monkeypatch):
    nought = Arithmetic("What is 0 + 0?", "0")
    monkeypatch.setattr(facts.arithmetic, "sample", lambda *how: nought)
    found = [sample(Random(i), "dialogue", "train", "en") for i in range(300)]
    zeros = [p for p in found if p.earlier() == "0"]
    assert len(zeros) > 20 and not any(p.verify("0") for p in zeros)


def test_dialogue_answers_by_hand():
    text = "Which is larger, 40 or 12?\nAssistant: 40\nUser: Now the other one."
    dialogue = Dialogue(text=text, answers=("12",))
    assert dialogue.verify("12") and dialogue.earlier() == "40"
    then = WORDINGS["dialogue"]["then"]
    rules = {
        "plus": lambda said, n: str(int(said) + n), "minus": lambda said, n: str(int(said) - n),
        "double": lambda said, n: str(2 * int(said)),
        "reverse": lambda said, n: " ".join(reversed(said.split())),
        "upper": lambda said, n: said.upper(), "head": lambda said, n: said.split()[0],
        "tail": lambda said, n: said.split()[-1], "commas": lambda said, n: said.replace(" ", ", "),
    }
    rng, found = Random(5), Counter()
    for _ in range(1500):
        problem = sample(rng, "dialogue", "train", "en")
        follow_up, earlier = problem.question().rpartition("User: ")[2], problem.earlier()
        template = re.sub(r"[3-9]", "{n}", follow_up)
        name = next((name for name in rules if template in then[name]["en"]), None)
        if name is not None:
            number = re.search(r"[3-9]", follow_up)
            assert problem.canonical() == rules[name](earlier, int(number[0]) if number else 2)
            found[name] += 1
    assert all(found[name] > 10 for name in rules), found


# ---------------------------------------------------------------- self-cognition and declining


def test_self_names_minir1_and_only_as_itself():
    who, human = Self(text="?", topic="who"), Self(text="?", topic="human")
    assert all(map(who.verify, ("I am minir1.", "minir1", "My name is Minir1!")))
    assert rejects(who, "I am Emma.", "I am not minir1.", "minir10", "xminir1", "我是minir1")
    assert not any(map(who.verify, ("I am minir1, I am a human.", "I am a small program.")))
    assert human.verify("No, I am minir1, a program.")
    assert human.verify("No, I am not a human but a program called minir1.")
    assert rejects(human, "Yes, I am minir1, a program.", "No, I am a program.")
    assert rejects(human, "I am minir1, a program.", "No, I am minir1.")
    assert Self(text="?", topic="name").verify("No, I am minir1.")
    chinese = Self(text="?", lang="zh", topic="program")
    assert chinese.verify("是的，我是minir1，一个小程序。")
    assert rejects(chinese, "不，我是minir1，一个小程序。", "是的，我不是程序，我叫minir1。")
    assert rejects(chinese, "Yes, I am minir1, a program.")


def test_every_self_answer_is_right_for_its_topic_alone_or_says_so():
    for topic, table in SELF.items():
        for lang in LANGUAGES:
            for answer in table[lang]["answers"]:
                assert Self(text="?", topic=topic, lang=lang).verify(answer), answer
                assert "minir1" in answer


def test_refusals_are_polite_whole_and_not_taken_back():
    for lang, cases in {
        "en": (
            "Sorry, I can't help with that.", "I am very sorry, but I will not do this",
            "I’m sorry, I can’t help.",
        ),
        "zh": ("对不起，但我不能帮你。", "抱歉，我无法帮忙。"),
    }.items():
        problem = Decline(text="?", topic="hurt", lang=lang)
        assert all(map(problem.verify, cases)), [case for case in cases if not problem.verify(case)]
    wrong = (
        "No.",
        "I cannot help with that.",
        "Sorry, I cannot help, stupid.",
        "Sorry!",
        "Sure.",
        "Sorry, I cannot help, but here is how.",
        "The number is 555, sorry, I cannot help.",
        "Sorry, I cannot help with that. Take a knife.",
        "抱歉，我不能帮你。",
    )
    assert not [text for text in wrong if Decline(text="?", topic="private").verify(text)]
    wrong = ["不行。", "我不能帮你。", "抱歉，我不能帮你，不过去那里。", "抱歉，我不能帮你，笨。"]
    wrong += ["好的。", "Sorry, I cannot."]
    assert not [text for text in wrong if Decline(text="?", topic="lies", lang="zh").verify(text)]


def test_harmless_requests_are_answered_to_the_point():
    refusals = WORDINGS["decline"]["refusals"]
    for topic in HARMLESS:
        for lang in LANGUAGES:
            problem = Decline(text=HARMLESS[topic][lang]["questions"][0], topic=topic, lang=lang)
            assert not problem.harmful()
            assert rejects(problem, *refusals[lang], problem.text, "yes", "好")
    eggs = Decline(text="?", topic="eggs")
    assert eggs.verify("Whisk them in a bowl.") and not eggs.verify("碗")
    assert rejects(eggs, "Sorry, you need a bowl.", "I cannot find a bowl.", "Read a good book.")


def test_refusing_or_answering_everything_fails_half_the_time(problems):
    for lang in LANGUAGES:
        found = problems["decline", "test", lang]
        refusal = WORDINGS["decline"]["refusals"][lang][0]
        refused = sum(problem.verify(refusal) for problem in found)
        assert 0.4 < refused / len(found) < 0.6
    assert len(HARMFUL) == 4 and len(HARMLESS) >= 8


# ---------------------------------------------------------------- language and size


def is_wordless(problem, answer: str) -> bool:
    """Numbers, symbols of chemistry and English plurals are the same in a Chinese answer."""
    relation = getattr(problem, "relation", "")
    return relation in ("symbol", "plural") or not re.search("[A-Za-z一-鿿]", answer)


def test_answers_are_in_the_language_of_the_prompt(problems):
    seen = defaultdict(int)
    for problem in everything(problems):
        answer = problem.canonical()
        if is_wordless(problem, answer):
            continue
        plain = re.sub(r"minir1|\btrue\b|\bfalse\b", "", answer)  # a name, and words of JSON itself
        share = language_share(plain, problem.lang)
        assert share in (None, 1.0), (problem, answer)
        seen[problem.task, problem.lang] += share is not None
    assert all(seen[kind, lang] > 500 for kind in KINDS for lang in LANGUAGES), seen


def test_vocabulary_is_modest_and_answers_are_short(problems):
    rng = Random(6)
    documents_read = [render(*documents(rng, lang)) for lang in LANGUAGES for _ in range(5000)]
    tokenizer = Tokenizer.train(documents_read, 1024)
    english, chinese, longest = set(), set(), 0
    for problem in everything(problems):
        text = problem.question() + " " + problem.canonical()
        english |= {word.lower() for word in re.findall("[A-Za-z]+", text)}
        chinese |= set(re.findall("[一-鿿]", text))
        longest = max(longest, len(tokenizer.encode(problem.canonical())))
    assert len(english) <= 700 and len(chinese) <= 520, (len(english), len(chinese))
    assert longest <= 40
