"""Short writing with instructions that a rule can check: lines of words, and JSON objects.

>>> line = Instruction(text="Write a line of 3 words.", constraints=(("count", 3),))
>>> line.verify("sun river stone"), line.verify("sun, river, stone"), line.verify("sun river")
(True, False, False)
>>> record = Json(text="Write JSON: count = 3", pairs=(("count", 3),))
>>> [record.verify(text) for text in ('{"count": 3}', '{"count": "3"}', '{"count": 2, "count": 3}')]
[True, False, False]
"""

import json
import re
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from minir1.r1.tasks.general_problem import WORDINGS, GeneralProblem, pick

_WORDS = "sun river stone apple green quiet seven paper light house bird road snow moon milk"
_WORDS_ZH = "太阳 河流 石头 苹果 绿色 安静 纸张 灯光 房子 小鸟 道路 雨水 月亮 牛奶 小马 夜晚 白天"
WORDS = {"en": [*_WORDS.split(), "horse", "cold", "night"], "zh": [*_WORDS_ZH.split(), "大象"]}
_WORD = {"en": re.compile(r"[A-Za-z]{1,20}"), "zh": re.compile(r"[一-鿿]{1,4}")}
_MOST_WORDS = 12

FREE = ("count", "contains", "starts", "ends", "upper", "commas")  # the writer chooses the words
GIVEN = ("reverse", "sort", "rank", "repeat", "upper", "commas")  # the words are given
_ARGUMENTS = {"count": int, "repeat": int, "contains": str, "starts": str, "ends": str}


# ---------------------------------------------------------------- lines of words


@dataclass(frozen=True, kw_only=True)
class Instruction(GeneralProblem):
    """One or two constraints on a line of words.

    In Chinese the mark between words is stated too, as Chinese has no spaces to count by."""

    constraints: tuple[tuple[str, str | int], ...]  # (name, argument); "" for those without one
    words: tuple[str, ...] = ()  # given words, in the order given
    task: ClassVar[str] = "instruction"
    longest: ClassVar[int] = 300

    def mark(self) -> str:
        """What stands between words: a space in English, 、 in Chinese, or commas if asked for."""
        if "commas" in dict(self.constraints):
            return ", " if self.lang == "en" else "，"
        return " " if self.lang == "en" else "、"

    def accepts(self, answer: str) -> bool:
        answer = answer.strip()
        if self.words:
            return answer == self.canonical()
        pieces = answer.split(self.mark())
        words = all(_WORD[self.lang].fullmatch(piece) for piece in pieces)
        if len(pieces) > _MOST_WORDS or not words:
            return False
        return all(_holds(name, argument, pieces) for name, argument in self.constraints)

    def canonical(self) -> str:
        pieces = self._changed() if self.words else self._chosen(Random(self.text))
        line = self.mark().join(pieces)
        return line.upper() if "upper" in dict(self.constraints) else line

    def _changed(self) -> list[str]:
        """The given words, changed as asked for."""
        pieces = list(self.words)
        for name, argument in self.constraints:
            if name == "reverse":
                pieces.reverse()
            elif name == "sort":
                pieces.sort()
            elif name == "rank":
                pieces.sort(key=int)
            elif name == "repeat":
                pieces *= argument
        return pieces

    def _chosen(self, rng: Random) -> list[str]:
        """Words of our list, with the demanded ones put in their places."""
        want = dict(self.constraints)
        demanded = {want[name] for name in ("contains", "starts", "ends") if name in want}
        others = [word for word in WORDS[self.lang] if word not in demanded]
        pieces = rng.sample(others, want.get("count", 3))
        if "contains" in want:
            place = rng.randrange("starts" in want, len(pieces) - ("ends" in want))
            pieces[place] = want["contains"]
        if "starts" in want:
            pieces[0] = want["starts"]
        if "ends" in want:
            pieces[-1] = want["ends"]
        return pieces

    def mistakes(self, rng: Random) -> list[str]:
        """A word too few or too many, another order or case, other marks, the other language."""
        right, mark = self.canonical(), self.mark()
        pieces, foreign = right.split(mark), WORDS[self.other_language()]
        other = rng.choice([word for word in WORDS[self.lang] if word not in right.lower()])
        place = rng.randrange(len(pieces))
        lines = [pieces[:-1], pieces[1:], [*pieces, other], pieces[1:] + pieces[:1], pieces[::-1]]
        lines.append(pieces[:place] + [other] + pieces[place + 1 :])
        texts = [mark.join(line) for line in lines]
        texts.append(right.swapcase() if right.isascii() else right)
        wrong_mark = {"、": "，", "，": " ", " ": ", ", ", ": " "}[mark]
        texts.append(wrong_mark.join(pieces))
        foreign_mark = " " if self.lang == "zh" else "、"
        return [*texts, foreign_mark.join(rng.sample(foreign, min(len(pieces), 5)))]

    @classmethod
    def read_fields(cls, line: dict) -> dict:
        constraints, words = line.get("constraints"), line.get("words", [])
        texts = isinstance(words, list) and all(isinstance(word, str) and word for word in words)
        if not texts or len(words) > _MOST_WORDS:
            raise ValueError('"words" must be a list of texts')
        listed = isinstance(constraints, list) and constraints
        if not listed or not all(_is_constraint(value, bool(words)) for value in constraints):
            raise ValueError('"constraints" must be a list of [name, argument]')
        numbers = all(re.fullmatch(r"[0-9]{1,9}", word) for word in words)
        if any(name == "rank" for name, _ in constraints) and not numbers:
            raise ValueError('"rank" is for numbers')
        return {"constraints": tuple(map(tuple, constraints)), "words": tuple(words)}

    @classmethod
    def draw(cls, rng: Random, split: str, lang: str) -> "Instruction":
        if rng.random() < 0.5:
            frames, (constraints, words) = "free", _free(rng, lang)
        else:
            frames, (constraints, words) = "given", _given(rng, lang)
        if lang == "zh" and all(name != "commas" for name, _ in constraints):
            constraints.append(("marks", ""))
        frame = pick(rng, WORDINGS["instruction"][frames][lang], split)
        phrases, demands = [], []
        for name, argument in constraints:
            phrase = pick(rng, WORDINGS["instruction"]["phrases"][name][lang], split)
            phrases.append(phrase)
            demands.append(phrase.format(n=argument, x=argument))
        both, space = (" and ", " ") if lang == "en" else ("，", "、")
        text = frame.format(c=both.join(demands), w=space.join(words))
        given = {"constraints": tuple(constraints), "words": tuple(words)}
        return cls(text=text, lang=lang, wording=" | ".join([frame, *phrases]), **given)


def _is_constraint(value, given: bool) -> bool:
    names = (*(GIVEN if given else FREE), "marks")
    if not isinstance(value, list) or len(value) != 2 or value[0] not in names:
        return False
    name, argument = value
    if _ARGUMENTS.get(name) is int:
        return type(argument) is int and 1 <= argument <= _MOST_WORDS
    return isinstance(argument, str) and (name not in _ARGUMENTS or bool(argument))


def _holds(name: str, argument: str | int, pieces: list[str]) -> bool:
    if name == "count":
        return len(pieces) == argument
    if name in ("contains", "starts", "ends"):
        place = {"contains": pieces, "starts": pieces[:1], "ends": pieces[-1:]}[name]
        return argument.lower() in [piece.lower() for piece in place]
    if name == "upper":
        return all(piece.isupper() for piece in pieces)
    return name != "commas" or len(pieces) > 1


def _free(rng: Random, lang: str) -> tuple[list, list[str]]:
    """(one or two constraints, no words)."""
    names = [name for name in FREE if lang == "en" or name != "upper"]
    names = sorted(rng.sample(names, rng.randint(1, 2)), key=FREE.index)
    constraints = []
    for name, word in zip(names, rng.sample(WORDS[lang], len(names))):
        if name == "count":
            constraints.append((name, rng.randint(2, 5)))
        else:
            constraints.append((name, word if name in _ARGUMENTS else ""))
    return constraints, []


def _given(rng: Random, lang: str) -> tuple[list, list[str]]:
    """(constraints, words): a change of order or number, or of look, or one of each."""
    order = rng.choice(["reverse", "rank", "repeat"] + (["sort"] if lang == "en" else []))
    look = rng.choice(["upper", "commas"] if lang == "en" and order != "rank" else ["commas"])
    draw = rng.random()
    words = rng.sample(WORDS[lang], rng.randint(2, 4))
    times = rng.randint(2, 4) if order == "repeat" else ""
    if order == "repeat":
        words = words[:1]
    if order == "rank":
        words = [str(n) for n in rng.sample(range(1, 100), len(words))]
    key = {"rank": int, "sort": str}.get(order)
    if key and words == sorted(words, key=key):  # in order already: nothing would be asked for
        words.reverse()
    if draw < 0.2 and order not in ("repeat", "rank"):
        return [(look, "")], words
    return [(order, times)] + ([(look, "")] if draw > 0.6 else []), words


# ---------------------------------------------------------------- JSON objects

_VALUES_EN = {
    "word": WORDS["en"],
    "color": ["red", "green", "blue", "black", "white"],
    "animal": ["dog", "cat", "cow", "horse", "lion"],
    "city": ["Paris", "Rome", "Berlin", "Tokyo", "London"],
}
_VALUES_ZH = {
    "词": WORDS["zh"],
    "颜色": ["红色", "绿色", "蓝色", "黑色", "白色"],
    "动物": ["狗", "猫", "牛", "马", "狮子"],
    "城市": ["巴黎", "罗马", "柏林", "东京", "北京"],
}
VALUES = {  # by key: the words to choose from, or the highest number, or bool
    "en": _VALUES_EN | {"count": 100, "age": 100, "year": 2000, "open": bool, "new": bool},
    "zh": _VALUES_ZH | {"个数": 100, "长度": 100, "年": 2000, "开": bool, "新": bool},
}


def _text(value) -> str:
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class Json(GeneralProblem):
    pairs: tuple[tuple[str, str | int | bool], ...]
    task: ClassVar[str] = "json"
    longest: ClassVar[int] = 400

    def accepts(self, answer: str) -> bool:
        """Exactly these keys, values of exactly these types; order and spaces do not count."""
        record, right = strict_object(answer), dict(self.pairs)
        if record is None or set(record) != set(right):
            return False
        return all(type(record[k]) is type(v) and record[k] == v for k, v in self.pairs)

    def canonical(self) -> str:
        return _text(dict(self.pairs))

    def mistakes(self, rng: Random) -> list[str]:
        """Another type or value, another key, a key too few or twice, and what is no JSON."""
        right, (key, value) = self.canonical(), rng.choice(self.pairs)
        retyped = len(value) if isinstance(value, str) else str(value)
        if isinstance(value, bool):
            changed = not value
        else:
            changed = value + 1 if isinstance(value, int) else value[::-1] + "s"
        renamed = {}
        foreign = list(VALUES[self.other_language()])
        for k, v in self.pairs:
            renamed[rng.choice(foreign) if k == key else k] = v
        texts = [_text(dict(self.pairs) | {key: other}) for other in (retyped, changed)]
        texts += [_text(renamed), _text(dict(self.pairs[1:]))]
        texts.append(f"{right[:-1]}, {_text(key)}: {_text(value)}}}")
        texts += [right.replace('"', "'"), right[:-1], right[1:]]
        return [*texts, right.replace('": ', '" = ')]

    @classmethod
    def read_fields(cls, line: dict) -> dict:
        pairs = line.get("pairs")
        listed = isinstance(pairs, list) and all(isinstance(p, list) and len(p) == 2 for p in pairs)
        good = listed and all(isinstance(k, str) and type(v) in (str, int, bool) for k, v in pairs)
        if not good:
            raise ValueError('"pairs" must be a list of [key, value]')
        if not pairs or len({key for key, _ in pairs}) != len(pairs):
            raise ValueError('"pairs" must have keys, each once')
        return {"pairs": tuple(map(tuple, pairs))}

    @classmethod
    def draw(cls, rng: Random, split: str, lang: str) -> "Json":
        pairs = []
        for key in rng.sample(list(VALUES[lang]), rng.randint(1, 3)):
            values = VALUES[lang][key]
            if isinstance(values, list):
                value = rng.choice(values)
            else:
                value = rng.random() < 0.5 if values is bool else rng.randint(1, values)
            pairs.append((key, value))
        frame = pick(rng, WORDINGS["json"]["frames"][lang], split)
        form = pick(rng, WORDINGS["json"]["pairs"][lang], split)
        listed = [form.format(k=key, v=_text(value)) for key, value in pairs]
        text = frame.format(p=(", " if lang == "en" else "，").join(listed))
        return cls(text=text, lang=lang, wording=f"{frame} | {form}", pairs=tuple(pairs))


def strict_object(text: str) -> dict | None:
    """The JSON object that the text is: no key twice, no NaN, nothing around it. None otherwise."""
    try:
        record = json.loads(text, object_pairs_hook=_each_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _each_once(pairs: list[tuple]) -> dict:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _refuse(name: str):
    raise ValueError(f"{name} is not JSON")
