"""General tasks, for what is not reasoning: facts, who the model is, short writing, JSON, dialogues, polite refusals.

Each kind is a Problem as the core knows it (question, verify, split, JSON), so rollouts, rewards and measurements take
it as it is; every answer is checked by rule. base.py tells how wordings are held out.

>>> problem = sample(Random(0), "instruction", "train", "en")
>>> problem.question(), canonical(problem), problem.verify(canonical(problem))
('Please answer: Repeat in the order of the alphabet: horse snow house paper', 'horse house paper snow', True)
>>> corrupt(Random(0), problem)
'horse, house, paper, snow'
"""

from dataclasses import replace
from random import Random

from minir1 import transcript
from minir1.r1.tasks.base import LANGUAGES, SPLITS, WORDINGS, General, fits, pick
from minir1.r1.tasks.facts import Dialogue, Fact, sample_dialogue, sample_fact
from minir1.r1.tasks.identity_refusals import Decline, Self, sample_decline, sample_self
from minir1.r1.tasks.instructions import Instruction, Json, sample_instruction, sample_json

CLASSES = (Fact, Self, Instruction, Json, Dialogue, Decline)
KINDS = {  # kind: (sampler, share of documents: where there is more to learn, there is more to read)
    "fact": (sample_fact, 0.2),
    "self": (sample_self, 0.07),
    "instruction": (sample_instruction, 0.45),
    "json": (sample_json, 0.1),
    "dialogue": (sample_dialogue, 0.1),
    "decline": (sample_decline, 0.08),
}


def register() -> None:
    """Let the core read these tasks from JSON (transcript.problem_from_json). May be called again.

    >>> register()
    >>> transcript.problem_from_json({"task": "fact", "question": "What is the capital of France?", "answers": ["Paris"]}).task
    'fact'
    """
    transcript.TASKS.update({kind.task: kind for kind in CLASSES})


def sample(rng: Random, kind: str = "fact", split: str = "train", lang: str = "en") -> General:
    """One problem of a kind, worded as the split words it. Raises ValueError for an unknown kind, split or language."""
    for value, known in ((kind, KINDS), (split, SPLITS), (lang, LANGUAGES)):
        if value not in known:
            raise ValueError(f"unknown {value!r}; choose from {', '.join(known)}")
    while True:
        problem, opener = KINDS[kind][0](rng, split, lang), pick(rng, WORDINGS["openers"][lang], split)
        said = " | ".join(filter(None, (problem.wording, opener.strip())))
        if fits(said):
            return replace(problem, text=opener + problem.text, wording=said)


def canonical(problem: General) -> str:
    """What a perfect model answers."""
    return problem.canonical()


def corrupt(rng: Random, problem: General) -> str:
    """A plausible wrong answer of similar length: the worse half of a preference pair."""
    return problem.corrupt(rng)


def draw_kind(rng: Random) -> str:
    """A kind, by the shares of documents."""
    return rng.choices(list(KINDS), [share for _, share in KINDS.values()])[0]


def documents(rng: Random, lang: str = "en") -> tuple[str, str]:
    """One (question, answer) to learn from, of the training split only; kinds by their shares."""
    problem = sample(rng, draw_kind(rng), "train", lang)
    return problem.question(), canonical(problem)
