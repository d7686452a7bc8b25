"""Facts, and dialogues of two turns: questions with a short list of right answers.

>>> fact = Fact(text="What is the capital of France?", answers=("Paris",), relation="capital")
>>> fact.verify("paris."), fact.verify("Rome"), fact.verify("Paris or Rome")
(True, False, False)

A dialogue's text holds the earlier turn in the transcript's own form, so that prompt() reads as one
conversation:

>>> from minir1.transcript import prompt
>>> print(prompt(Dialogue(text=turns("2 + 2 =", "4", "Add 5 to it."), answers=("9",)).question()))
<|begin|>User: 2 + 2 =
Assistant: 4
User: Add 5 to it.
Assistant:
"""

import re
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from minir1.r1.tasks.general_problem import FACTS, LANGUAGES, WORDINGS, GeneralProblem, pick
from minir1.r1.tasks.instructions import WORDS
from minir1.tasks import arithmetic

_NUMERALS = "zero one two three four five six seven eight nine ten eleven twelve"
_NUMERALS_ZH = "零 一 二 三 四 五 六 七 八 九 十 十一 十二"
ROWS = [(relation, row) for relation, table in FACTS.items() for row in table["rows"]]


def accepted(cell: str, lang: str) -> tuple[str, ...]:
    """The right answers of a table's cell, the canonical one first. Small numbers may be words.

    >>> accepted("gray|grey", "en"), accepted("6", "zh")
    (('gray', 'grey'), ('6', '六'))
    """
    answers = tuple(cell.split("|"))
    if answers[0].isascii() and answers[0].isdigit() and int(answers[0]) <= 12:
        numerals = _NUMERALS_ZH if lang == "zh" else _NUMERALS
        answers += (numerals.split()[int(answers[0])],)
    return answers


def subject_and_answers(row: list[str], lang: str) -> tuple[str, tuple[str, ...]]:
    """A row is [English subject, English answers, Chinese subject, Chinese answers]."""
    column = 2 * LANGUAGES.index(lang)
    return row[column], accepted(row[column + 1], lang)


def normal(text: str, exact: bool) -> str:
    """Spaces around and one full stop do not count; nor, unless `exact`, do case and an article."""
    text = re.sub(r"[.。!！]$", "", text.strip())
    return text if exact else re.sub(r"^(the|an?) ", "", text.casefold())


@dataclass(frozen=True, kw_only=True)
class Fact(GeneralProblem):
    answers: tuple[str, ...]  # any of them is right; the first is canonical
    relation: str = ""  # of facts.json; where wrong answers of the same kind come from
    exact: bool = False  # case counts (chemical symbols)
    task: ClassVar[str] = "fact"
    longest: ClassVar[int] = 200

    def accepts(self, answer: str) -> bool:
        right = {normal(text, self.exact) for text in self.answers}
        return normal(answer, self.exact) in right

    def canonical(self) -> str:
        return self.answers[0]

    def mistakes(self, rng: Random) -> list[str]:
        """Answers to other questions of the relation, and the right one in the other language.

        The others are those whose length is closest to the right answer's."""
        others, foreign = set(), []
        for relation, row in ROWS:
            if self.relation in FACTS and relation != self.relation:
                continue
            answers = subject_and_answers(row, self.lang)[1]
            if answers == self.answers:
                foreign.append(subject_and_answers(row, self.other_language())[1][0])
            if not set(answers) & set(self.answers):
                others.add(answers[0])
        others = sorted(others)
        rng.shuffle(others)
        others.sort(key=lambda other: abs(len(other) - len(self.canonical())))
        return others[:4] + foreign[:1]

    @classmethod
    def read_fields(cls, line: dict) -> dict:
        answers = line.get("answers")
        kind = {"relation": line.get("relation", ""), "exact": line.get("exact", False)}
        texts = isinstance(answers, list) and all(isinstance(a, str) and a.strip() for a in answers)
        if not texts or not answers:
            raise ValueError('"answers" must be a list of texts')
        if not isinstance(kind["relation"], str) or not isinstance(kind["exact"], bool):
            raise ValueError('"relation" must be a text and "exact" true or false')
        return {"answers": tuple(answers), **kind}

    @classmethod
    def draw(cls, rng: Random, split: str, lang: str) -> "Fact":
        """Any fact in any split; the wording is the split's."""
        relation, row = rng.choice(ROWS)
        table = FACTS[relation]
        *forms, novel = WORDINGS["fact"][lang]
        template = pick(rng, [*forms, *table["direct"][lang], novel], split)
        phrase = rng.choice(table["phrases"][lang])
        subject, answers = subject_and_answers(row, lang)
        text = ask(relation, template, phrase, subject, lang)
        return cls(text=text, lang=lang, wording=template, answers=answers, **kind_of(relation))


def ask(relation: str, template: str, phrase: str, subject: str, lang: str) -> str:
    """A question in words.

    >>> ask("author", "{Q} is {p}?", "the author of {x}", "Hamlet", "en")
    'Who is the author of Hamlet?'
    """
    word, p = FACTS[relation]["ask"][lang], phrase.format(x=subject)
    capital = p[0].upper() + p[1:]
    return template.format(p=p, P=capital, q=word, Q=word.capitalize(), x=subject)


def kind_of(relation: str) -> dict:
    return {"relation": relation, "exact": FACTS[relation].get("exact", False)}


# ---------------------------------------------------------------- dialogues


def turns(question: str, answer: str, follow_up: str) -> str:
    return f"{question}\nAssistant: {answer}\nUser: {follow_up}"


class Dialogue(Fact):
    """A follow-up that means nothing without the turn before it."""

    task: ClassVar[str] = "dialogue"

    def earlier(self) -> str:
        """The answer of the first turn: what a model says that does not listen to the second."""
        return self.text.partition("\nAssistant: ")[2].partition("\nUser: ")[0]

    def mistakes(self, rng: Random) -> list[str]:
        right, earlier = self.canonical(), self.earlier()
        if self.relation:
            return [*super().mistakes(rng), earlier]
        if re.fullmatch(r"-?[0-9]{1,9}", right):
            return [earlier, *(str(int(right) + error) for error in (-10, -1, 1, 10))]
        commas = re.findall(r"[ ,，、]+", right)  # between words
        words = re.split(r"[ ,，、]+", right if commas else earlier)
        comma = commas[0] if commas else ("、" if self.lang == "zh" else " ")
        turned, cut = words[1:] + words[:1], words[:-1]
        return [earlier, comma.join(turned), comma.join(cut), *([] if commas else words)]

    @classmethod
    def draw(cls, rng: Random, split: str, lang: str) -> "Dialogue":
        turns_of = rng.choice((_fact_turns, _number_turns, _word_turns))
        return turns_of(rng, split, lang)


def _fact_turns(rng: Random, split: str, lang: str) -> Dialogue:
    relation = rng.choice([name for name, table in FACTS.items() if table.get("follow")])
    table = FACTS[relation]
    right = answers = ("",)
    while set(answers) & set(right):
        first, second = rng.sample(table["rows"], 2)
        subject, answers = subject_and_answers(first, lang)
        next_subject, right = subject_and_answers(second, lang)
    template = pick(rng, WORDINGS["fact"][lang], split)
    follow_up = pick(rng, WORDINGS["dialogue"]["then"]["fact"][lang], split)
    question = ask(relation, template, table["phrases"][lang][0], subject, lang)
    text = turns(question, answers[0], follow_up.format(x=next_subject))
    wording = f"{template} | {follow_up}"
    return Dialogue(text=text, lang=lang, wording=wording, answers=right, **kind_of(relation))


def _number_turns(rng: Random, split: str, lang: str) -> Dialogue:
    """First a choice of two numbers, or a sum of the split's own: sums are held out by content."""
    options, templates = ["plus", "minus"], []
    a, b = rng.sample(range(10, 100), 2)
    if rng.random() < 0.5:
        templates.append(pick(rng, WORDINGS["dialogue"]["first"]["larger"][lang], split))
        question, value = templates[0].format(a=a, b=b), max(a, b)
        options.append("other")
    else:
        problem = arithmetic.sample(rng, "2d+", "test" if split == "novel" else split, lang)
        question, value = problem.question(), int(problem.answer)
    if value != 0:
        options.append("double")
    then, n = rng.choice(options), rng.randint(2, 9)
    right = {"plus": value + n, "minus": value - n, "double": 2 * value, "other": min(a, b)}[then]
    follow_up = pick(rng, WORDINGS["dialogue"]["then"][then][lang], split)
    text = turns(question, str(value), follow_up.format(n=n))
    wording = " | ".join([*templates, follow_up])
    return Dialogue(text=text, lang=lang, wording=wording, answers=(str(right),), exact=True)


def _word_turns(rng: Random, split: str, lang: str) -> Dialogue:
    words = rng.sample(WORDS[lang], rng.randint(2, 3))
    space, comma = (" ", ", ") if lang == "en" else ("、", "，")
    line = space.join(words)
    rights = {"reverse": space.join(words[::-1]), "commas": comma.join(words)}
    rights |= {"head": words[0], "tail": words[-1]}
    if lang == "en":
        rights["upper"] = line.upper()
    then = rng.choice(list(rights))
    template = pick(rng, WORDINGS["dialogue"]["first"]["words"][lang], split)
    follow_up = pick(rng, WORDINGS["dialogue"]["then"][then][lang], split)
    text = turns(template.format(n=len(words)), line, follow_up)
    wording = f"{template} | {follow_up}"
    return Dialogue(text=text, lang=lang, wording=wording, answers=(rights[then],), exact=True)
