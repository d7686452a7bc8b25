"""Facts, and dialogues of two turns: questions with a short list of right answers.

>>> fact = Fact(text="What is the capital of France?", answers=("Paris",), relation="capital")
>>> fact.verify("paris."), fact.verify("Rome"), fact.verify("Paris or Rome")
(True, False, False)

A dialogue's text holds the earlier turn in the transcript's own form, so that prompt() reads as one conversation:

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

from minir1.r1.tasks.base import FACTS, LANGUAGES, WORDINGS, General, forms_of, pick, wording
from minir1.r1.tasks.instructions import WORDS
from minir1.tasks import arithmetic

_NUMERALS = {
    "en": ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"],
    "zh": ["零", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二"],
}
ROWS = [(relation, row) for relation, table in FACTS.items() for row in table["rows"]]


def accepted(cell: str, lang: str) -> tuple[str, ...]:
    """The right answers of a table's cell, the canonical one first. Small numbers may be written as words.

    >>> accepted("gray|grey", "en"), accepted("6", "zh")
    (('gray', 'grey'), ('6', '六'))
    """
    answers = tuple(cell.split("|"))
    if answers[0].isascii() and answers[0].isdigit() and int(answers[0]) <= 12:
        answers += (_NUMERALS[lang][int(answers[0])],)
    return answers


def subject_and_answers(row: list[str], lang: str) -> tuple[str, tuple[str, ...]]:
    """A row is [English subject, English answers, Chinese subject, Chinese answers]."""
    at = 2 * LANGUAGES.index(lang)
    return row[at], accepted(row[at + 1], lang)


def normal(text: str, exact: bool) -> str:
    """Spaces around and one full stop do not count; nor, unless `exact`, do case and an article."""
    text = re.sub(r"[.。!！]$", "", text.strip())
    return text if exact else re.sub(r"^(the|an?) ", "", text.casefold())


@dataclass(frozen=True, kw_only=True)
class Fact(General):
    answers: tuple[str, ...]  # any of them is right; the first is canonical
    relation: str = ""  # of facts.json; where wrong answers of the same kind are found
    exact: bool = False  # case counts (chemical symbols)
    task: ClassVar[str] = "fact"

    def verify(self, answer: str) -> bool:
        if not isinstance(answer, str) or len(answer) > 200:
            return False
        return normal(answer, self.exact) in {normal(right, self.exact) for right in self.answers}

    def canonical(self) -> str:
        return self.answers[0]

    def mistakes(self, rng: Random) -> list[str]:
        """Answers to other questions of the relation, those of similar length; the right answer in the other language."""
        rows = FACTS[self.relation]["rows"] if self.relation in FACTS else [row for _, row in ROWS]
        there = LANGUAGES[1 - LANGUAGES.index(self.lang)]
        here = [(subject_and_answers(row, self.lang)[1], subject_and_answers(row, there)[1][0]) for row in rows]
        others = sorted({answers[0] for answers, _ in here if not set(answers) & set(self.answers)})
        rng.shuffle(others)
        others.sort(key=lambda other: abs(len(other) - len(self.canonical())))
        return others[:4] + [foreign for answers, foreign in here if answers == self.answers][:1]

    def own(self) -> dict:
        return {"answers": list(self.answers), "relation": self.relation, "exact": self.exact}

    @classmethod
    def read_own(cls, line: dict) -> dict:
        answers, relation, exact = line.get("answers"), line.get("relation", ""), line.get("exact", False)
        if not isinstance(answers, list) or not answers or not all(isinstance(a, str) and a.strip() for a in answers):
            raise ValueError('"answers" must be a list of texts')
        if not isinstance(relation, str) or not isinstance(exact, bool):
            raise ValueError('"relation" must be a text and "exact" true or false')
        return {"answers": tuple(answers), "relation": relation, "exact": exact}


def ask(relation: str, template: str, phrase: str, subject: str, lang: str) -> str:
    """A question in words.

    >>> ask("author", "{Q} is {p}?", "the author of {x}", "Hamlet", "en")
    'Who is the author of Hamlet?'
    """
    asked, p = FACTS[relation]["ask"][lang], phrase.format(x=subject)
    return template.format(p=p, P=p[0].upper() + p[1:], q=asked, Q=asked.capitalize(), x=subject)


def sample_fact(rng: Random, split: str, lang: str) -> Fact:
    """Any fact in any split; the wording is the split's."""
    relation, row = rng.choice(ROWS)
    table = FACTS[relation]
    direct = [] if split == "novel" else table["direct"][lang]
    template, phrase = rng.choice(forms_of(WORDINGS["fact"][lang], split) + direct), rng.choice(table["phrases"][lang])
    subject, answers = subject_and_answers(row, lang)
    text = ask(relation, template, phrase, subject, lang)
    exact = table.get("exact", False)
    return Fact(text=text, lang=lang, wording=wording(split, template), answers=answers, relation=relation, exact=exact)


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
        marks = re.findall(r"[ ,，、]+", right)
        words = re.split(r"[ ,，、]+", right if marks else earlier)
        mark = marks[0] if marks else ("、" if self.lang == "zh" else " ")
        turned = mark.join(words[1:] + words[:1])
        return [earlier, turned, mark.join(words[:-1]), *([] if marks else words)]


def _fact_turns(rng: Random, split: str, lang: str) -> dict:
    relation = rng.choice([name for name, table in FACTS.items() if table.get("follow")])
    table = FACTS[relation]
    while True:
        (subject, answers), (next_subject, right) = (subject_and_answers(row, lang) for row in rng.sample(table["rows"], 2))
        if not set(answers) & set(right):
            break
    template = pick(rng, WORDINGS["fact"][lang], split)
    follow_up = pick(rng, WORDINGS["dialogue"]["then"]["fact"][lang], split)
    question = ask(relation, template, table["phrases"][lang][0], subject, lang)
    text = turns(question, answers[0], follow_up.format(x=next_subject))
    exact = table.get("exact", False)
    return {"text": text, "answers": right, "relation": relation, "exact": exact, "wording": wording(split, template, follow_up)}


def _number_turns(rng: Random, split: str, lang: str) -> dict:
    """The first turn is a sum of the split's own (arithmetic is held out by content) or a choice of two numbers."""
    options, templates = ["plus", "minus"], []
    a, b = rng.sample(range(10, 100), 2)
    if rng.random() < 0.5:
        templates.append(pick(rng, WORDINGS["dialogue"]["first"]["larger"][lang], split))
        question, value = templates[0].format(a=a, b=b), max(a, b)
        options.append("other")
    else:
        problem = arithmetic.sample(rng, "2d+", "test" if split == "novel" else split, lang)
        question, value = problem.question(), int(problem.answer)
    then, n = rng.choice(options + ["double"] * (value != 0)), rng.randint(2, 9)
    right = {"plus": value + n, "minus": value - n, "double": 2 * value, "other": min(a, b)}[then]
    follow_up = pick(rng, WORDINGS["dialogue"]["then"][then][lang], split)
    text = turns(question, str(value), follow_up.format(n=n))
    return {"text": text, "answers": (str(right),), "exact": True, "wording": wording(split, *templates, follow_up)}


def _word_turns(rng: Random, split: str, lang: str) -> dict:
    words, mark, comma = rng.sample(WORDS[lang], rng.randint(2, 3)), *((" ", ", ") if lang == "en" else ("、", "，"))
    then = rng.choice(["reverse", "commas", "head", "tail"] + (["upper"] if lang == "en" else []))
    right = {
        "reverse": mark.join(words[::-1]), "commas": comma.join(words), "head": words[0], "tail": words[-1],
        "upper": mark.join(words).upper(),
    }[then]  # fmt: skip
    template = pick(rng, WORDINGS["dialogue"]["first"]["words"][lang], split)
    follow_up = pick(rng, WORDINGS["dialogue"]["then"][then][lang], split)
    text = turns(template.format(n=len(words)), mark.join(words), follow_up)
    return {"text": text, "answers": (right,), "exact": True, "wording": wording(split, template, follow_up)}


def sample_dialogue(rng: Random, split: str, lang: str) -> Dialogue:
    make = rng.choice((_fact_turns, _number_turns, _word_turns))
    return Dialogue(lang=lang, **make(rng, split, lang))
