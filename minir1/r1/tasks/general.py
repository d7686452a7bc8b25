"""The general tasks: facts, who the model is, short writing, JSON, dialogues, polite refusals.

They are for what is not reasoning. Each kind is a Problem as the core knows it, so rollouts,
rewards and measurements take it as it is. A rule checks every answer. general_problem.py says how
wordings are held out.

>>> problem = sample(Random(0), "instruction", "train", "en")
>>> problem.question()
'Please answer: Repeat in the order of the alphabet: horse snow house paper'
>>> problem.canonical(), problem.verify(problem.canonical())
('horse house paper snow', True)
>>> problem.corrupt(Random(0))
'horse, house, paper, snow'
"""

from dataclasses import replace
from random import Random

from minir1.r1.tasks.facts import Dialogue, Fact
from minir1.r1.tasks.general_problem import LANGUAGES, SPLITS, WORDINGS, GeneralProblem, fits, pick
from minir1.r1.tasks.identity_refusals import Decline, Self
from minir1.r1.tasks.instructions import Instruction, Json
from minir1.tasks import Task

KINDS = {  # name: (class, share of documents; more where there is more to learn)
    "fact": (Fact, 0.2),
    "self": (Self, 0.07),
    "instruction": (Instruction, 0.45),
    "json": (Json, 0.1),
    "dialogue": (Dialogue, 0.1),
    "decline": (Decline, 0.08),
}


def sample(
    rng: Random, kind: str = "fact", split: str = "train", lang: str = "en"
) -> GeneralProblem:
    """One problem of a kind, worded as the split words it. Raises ValueError for unknown ones."""
    for value, known in ((kind, KINDS), (split, SPLITS), (lang, LANGUAGES)):
        if value not in known:
            raise ValueError(f"unknown {value!r}; choose from {', '.join(known)}")
    while True:
        problem = KINDS[kind][0].draw(rng, split, lang)
        opener = pick(rng, WORDINGS["openers"][lang], split)
        wording = " | ".join(filter(None, (split, problem.wording, opener.strip())))
        if fits(wording):
            return replace(problem, text=opener + problem.text, wording=wording)


def draw_kind(rng: Random) -> str:
    """A kind, by the shares of documents."""
    return rng.choices(list(KINDS), [share for _, share in KINDS.values()])[0]


def draw(rng: Random, split: str, languages: tuple[str, ...]) -> GeneralProblem:
    """One problem of any kind, by the shares of documents, in any of the languages."""
    return sample(rng, draw_kind(rng), split, rng.choice(languages))


def documents(rng: Random, lang: str = "en") -> tuple[str, str]:
    """One (question, answer) to learn from, of the training split only; kinds by their shares."""
    problem = sample(rng, draw_kind(rng), "train", lang)
    return problem.question(), problem.canonical()


TASKS = tuple(Task(name, (name,), sample, cls.from_json) for name, (cls, _) in KINDS.items())
