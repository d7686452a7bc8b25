"""Problem sets for tables: GPT-3's wording, reasoning-gym's tasks, a number more than practised.

>>> gpt3("1dc", 1)[0].question()
'What is 5 - (1 + 3)?'
"""

from random import Random

from minir1.config import UserError
from minir1.tasks import Problem, arithmetic, countdown
from minir1.tasks.arithmetic import Arithmetic, canonical, expression, value_of
from minir1.tasks.countdown import DISTRIBUTIONS, Countdown, solve, split_of


def one_number_more(tasks: tuple[str, ...], split: str, count: int) -> list[Countdown]:
    """Solvable puzzles with one number more than any Countdown task of `tasks`
    ("countdown:3to4=0.4", ...) has.

    Numbers and targets are those of the first such task, drawn its way: the target first, then
    numbers until it can be reached. Raises UserError if no task is Countdown.
    """
    names = [t.partition("=")[0].partition(":")[2] for t in tasks if t.startswith("countdown:")]
    if not names:
        raise UserError("--rl.tasks names no Countdown task")
    kind = DISTRIBUTIONS[names[0]]
    size = 1 + max(max(DISTRIBUTIONS[name].counts) for name in names)
    rng = Random(f"one number more {split}")
    puzzles = []
    for _ in range(count):
        target = rng.randint(*kind.targets)
        while True:
            numbers = tuple(rng.randint(1, kind.highest) for _ in range(size))
            puzzle = Countdown(numbers, target)
            if puzzle.split() == split and solve(numbers, target) is not None:
                break
        puzzles.append(puzzle)
    return puzzles


def held_out(name: str, count: int) -> list[Countdown]:
    """Test puzzles of a named distribution."""
    rng = Random(f"table {name}")
    return [countdown.sample(rng, name, "test") for _ in range(count)]


# ---------------------------------------------------------------- arithmetic


def gpt3(kind: str, count: int) -> list[Arithmetic]:
    """Test questions of one of GPT-3's ten tasks in its wording (arXiv 2005.14165, section 3.9.1):
    "What is 98 plus 45?".

    Operators are words, but symbols in the composite task. Its "Q:" and "A:" are our template's
    "User:" and "Assistant:". Products of more digits (3dx, 4dx, 5dx) read alike.
    """
    rng = Random(f"gpt3 {kind}")
    words = {} if kind == "1dc" else arithmetic.SPOKEN["en"]
    questions = []
    while len(questions) < count:
        text, parts = expression(rng, kind)
        key = canonical(parts)
        if split_of("arithmetic " + key) == "test":
            for symbol, word in words.items():
                text = text.replace(symbol, word)
            questions.append(Arithmetic(f"What is {text}?", str(value_of(parts)), key=key))
    return questions


# ---------------------------------------------------------------- reasoning-gym

# name -> (its task, its parameters): its defaults, and the ranges of its authors' hard evaluation
GYM = {
    "countdown easy": ("countdown", {}),
    "countdown hard": (
        "countdown", {"min_numbers": 3, "max_numbers": 9, "min_target": 100, "max_target": 1000},
    ),
    "chain_sum easy": ("chain_sum", {}),
    "chain_sum hard": (
        "chain_sum", {"min_terms": 5, "max_terms": 8, "min_digits": 4, "max_digits": 6},
    ),
    "basic_arithmetic easy": ("basic_arithmetic", {}),
    "products easy": ("products", {"max_digits": 5}),
    "products hard": (
        "products", {"min_terms": 4, "max_terms": 8, "min_digits": 4, "max_digits": 8},
    ),
}


def gym(name: str, count: int, seed: int = 0) -> list[Problem]:
    """`count` problems of a reasoning-gym task, asked in the wordings that our models have read.

    The items are the package's own; only the wording changes ("What is 4 + 3?"), and our verifiers
    judge. Raises UserError if the package is not installed.
    """
    try:
        import reasoning_gym
    except ImportError as fault:
        raise UserError('reasoning-gym is not installed: pip install "minir1[test]"') from fault
    task, parameters = GYM[name]
    items = reasoning_gym.create_dataset(task, size=count, seed=seed, **parameters)
    return [adapt(task, item) for item in items]


def adapt(task: str, item: dict) -> Problem:
    """One item of reasoning-gym as a problem of ours."""
    metadata = item["metadata"]
    if task == "countdown":
        return Countdown(tuple(metadata["numbers"]), metadata["target"])
    text = " ".join(str(metadata["expression"]).split())
    text = text.replace("( ", "(").replace(" )", ")")
    return Arithmetic(f"What is {text}?", str(item["answer"]), key=text)
