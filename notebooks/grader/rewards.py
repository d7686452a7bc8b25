"""What the puzzles of notebook 05 ask for (rewards by rule), as obvious loops. (Spoilers.)"""

from fractions import Fraction
from random import Random

from grader.draw import Puzzle


def well_formed(response: str) -> bool:
    tags, inside, position = [], False, 0
    while position < len(response):
        found = next((tag for tag in _TAGS if response.startswith(tag, position)), None)
        if found is not None:
            tags.append(found)
            inside = found in ("<think>", "<answer>")
            position += len(found)
        elif not inside and not response[position].isspace():
            return False  # text that belongs to no pair of tags
        else:
            position += 1
    answered = ["<answer>", "</answer>", "<|end|>"]
    return response.endswith("<|end|>") and tags in (answered, ["<think>", "</think>", *answered])


def uses_each_once(numbers: tuple[int, ...], used: list[int]) -> bool:
    left = list(numbers)
    for n in used:
        if n not in left:
            return False
        left.remove(n)
    return len(left) == 0


def exact_value(parts: list) -> Fraction | None:
    parts = list(parts)
    for first in ("*/", "+-"):
        place = 1
        while place < len(parts):
            a, operator, b = Fraction(parts[place - 1]), parts[place], Fraction(parts[place + 1])
            if operator not in first:
                place += 2
                continue
            if operator == "/" and b == 0:
                return None
            parts[place - 1 : place + 2] = [_combine(a, operator, b)]
    return Fraction(parts[0])


def _combine(a: Fraction, operator: str, b: Fraction) -> Fraction:
    if operator == "*":
        return a * b
    if operator == "/":
        return a / b
    return a + b if operator == "+" else a - b


def total_reward(right: bool, formed: bool, format_weight: float) -> float:
    if not formed:
        return 0.0
    if right:
        return 1.0 + format_weight
    return format_weight


def share_in_language(words: list[str], lang: str) -> float:
    count = 0
    for word in words:
        chinese = word[0] >= "一"
        if chinese == (lang == "zh"):
            count += 1
    return count / len(words) if words else 1.0


_TAGS = ("<think>", "</think>", "<answer>", "</answer>", "<|end|>")
_FAULTS = ("none", "none", "lost", "doubled", "swapped", "stray", "behind", "cut", "hedged")
_WORDS = ("wait", "try", "一", "等", "再", "make")


def _draw_response(rng: Random) -> tuple:
    """A proper response, and in most cases one fault in it."""
    pieces = ["<answer>", "3 + 5", "</answer>", "<|end|>"]
    if rng.random() < 0.6:
        pieces = ["<think>", "3 + 5 = 8, yes", "</think>", *rng.choice(([], ["\n"])), *pieces]
    place = rng.randrange(len(pieces))
    fault = rng.choice(_FAULTS)
    if fault == "lost":
        del pieces[place]
    elif fault == "doubled":
        pieces.insert(place, pieces[place])
    elif fault == "swapped":
        pieces[place - 1], pieces[place] = pieces[place], pieces[place - 1]
    elif fault == "stray":
        pieces.insert(place, "8")
    elif fault == "behind":
        pieces.append("8")
    elif fault == "cut":
        pieces[-1] = pieces[-1][:-1]
    elif fault == "hedged":
        pieces[-1:-1] = ["<answer>", "8", "</answer>"]
    return ("".join(pieces),)


def _draw_used(rng: Random) -> tuple:
    numbers = tuple(rng.randint(1, 5) for _ in range(rng.randint(2, 4)))
    used = rng.sample(numbers, len(numbers))
    fault = rng.choice(("none", "lost", "doubled", "other", "swapped", "shifted"))
    if fault == "lost":
        used.pop()
    elif fault == "doubled":
        used.append(used[0])
    elif fault == "other":
        used[0] = rng.randint(1, 6)
    elif fault == "swapped":
        used[0] = used[-1]
    elif fault == "shifted":
        used[0], used[1] = used[0] + 1, used[1] - 1
    return numbers, used


def _draw_parts(rng: Random) -> tuple:
    parts: list = [rng.randint(0, 9)]
    for _ in range(rng.randint(0, 4)):
        parts += [rng.choice("+-*/"), 0 if rng.random() < 0.15 else rng.randint(1, 9)]
    return (parts,)


def _draw_words(rng: Random) -> tuple:
    return [rng.choice(_WORDS) for _ in range(rng.randint(0, 5))], rng.choice(("en", "zh"))


def _draw_judged(rng: Random) -> tuple:
    return rng.random() < 0.5, rng.random() < 0.5, rng.choice((0.1, 0.5, 1.0))


_TAILS = {
    "a space behind the end": ("<answer>3 + 5</answer><|end|> ",),
    "nothing at all": ("",),
    "only the end": ("<|end|>",),
    "text between thought and answer": ("<think>a</think> so <answer>8</answer><|end|>",),
    "a thought inside the answer": ("<answer><think>a</think></answer><|end|>",),
    "two thoughts": ("<think>a</think><think>b</think><answer>8</answer><|end|>",),
    "the thought comes last": ("<answer>8</answer><think>a</think><|end|>",),
}
_USED = {
    "nothing is used": ((3, 5), []),
    "twice in the puzzle, once used": ((3, 3), [3]),
    "the other number twice": ((3, 3, 5), [3, 5, 5]),
}
_PARTS = {
    "a single number": ([7],),
    "0 / 0": ([0, "/", 0],),
    "it divides by zero after a sum": ([3, "+", 5, "/", 0],),
    "from left to right, twice": ([8, "/", 4, "/", 2],),
    "a difference of differences": ([8, "-", 4, "-", 2],),
}
_MIXED = {
    "words of both kinds of characters": (["股A", "wait"], "zh"),
    "no words": ([], "zh"),
}

PUZZLES = {
    "05.well_formed": Puzzle(well_formed, _draw_response, _TAILS),
    "05.uses_each_once": Puzzle(uses_each_once, _draw_used, _USED),
    "05.exact_value": Puzzle(exact_value, _draw_parts, _PARTS),
    "05.total_reward": Puzzle(total_reward, _draw_judged),
    "05.share_in_language": Puzzle(share_in_language, _draw_words, _MIXED),
}
