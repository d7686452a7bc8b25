"""Short writing with instructions that a rule can check: lines of words, and JSON objects.

>>> line = Instruction(text="Write a line of 3 words.", constraints=(("count", 3),))
>>> line.verify("sun river stone"), line.verify("sun, river, stone"), line.verify("sun river")
(True, False, False)
>>> record = Json(text='Write JSON: count = 3', pairs=(("count", 3),))
>>> record.verify('{"count": 3}'), record.verify('{"count": "3"}'), record.verify('{"count": 2, "count": 3}')
(True, False, False)
"""

import json
import re
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from minir1.r1.tasks.base import LANGUAGES, WORDINGS, General, pick, wording

WORDS = {
    "en": [
        "sun", "river", "stone", "apple", "green", "quiet", "seven", "paper", "light",
        "house", "bird", "road", "snow", "moon", "milk", "horse", "cold", "night",
    ],
    "zh": [
        "太阳", "河流", "石头", "苹果", "绿色", "安静", "纸张", "灯光", "房子",
        "小鸟", "道路", "雨水", "月亮", "牛奶", "小马", "夜晚", "白天", "大象",
    ],
}
_WORD = {"en": re.compile(r"[A-Za-z]{1,20}"), "zh": re.compile(r"[一-鿿]{1,4}")}
_MOST_WORDS = 12

FREE = ("count", "contains", "starts", "ends", "upper", "commas")  # the writer chooses the words
GIVEN = ("reverse", "sort", "rank", "repeat", "upper", "commas")  # the words are given; one answer is right
_ARGUMENTS = {"count": int, "repeat": int, "contains": str, "starts": str, "ends": str}


# ---------------------------------------------------------------- lines of words


@dataclass(frozen=True, kw_only=True)
class Instruction(General):
    """One or two constraints (in Chinese the mark between words is stated too, as Chinese has no spaces to count by)."""

    constraints: tuple[tuple[str, str | int], ...]  # (name, argument); "" for those without one
    words: tuple[str, ...] = ()  # given words, in the order given
    task: ClassVar[str] = "instruction"

    def mark(self) -> str:
        """What stands between words: spaces in English, enumeration commas in Chinese, or commas where asked for."""
        commas = any(name == "commas" for name, _ in self.constraints)
        return {"en": ", " if commas else " ", "zh": "，" if commas else "、"}[self.lang]

    def verify(self, answer: str) -> bool:
        if not isinstance(answer, str) or len(answer) > 300:
            return False
        answer = answer.strip()
        if self.words:
            return answer == self.canonical()
        pieces = answer.split(self.mark())
        if len(pieces) > _MOST_WORDS or not all(_WORD[self.lang].fullmatch(piece) for piece in pieces):
            return False
        return all(_holds(name, argument, pieces) for name, argument in self.constraints)

    def canonical(self) -> str:
        pieces = self._given() if self.words else self._chosen(Random(self.text))
        line = self.mark().join(pieces)
        return line.upper() if any(name == "upper" for name, _ in self.constraints) else line

    def _given(self) -> list[str]:
        pieces = list(self.words)
        for name, argument in self.constraints:
            if name == "reverse":
                pieces.reverse()
            elif name == "sort":
                pieces.sort()
            elif name == "rank":
                pieces.sort(key=_size)
            elif name == "repeat":
                pieces *= argument
        return pieces

    def _chosen(self, rng: Random) -> list[str]:
        """Words of our list, with the demanded ones put in their places."""
        want = dict(self.constraints)
        asked = {want[name] for name in ("contains", "starts", "ends") if name in want}
        pieces = rng.sample([word for word in WORDS[self.lang] if word not in asked], want.get("count", 3))
        if "contains" in want:
            pieces[rng.randrange("starts" in want, len(pieces) - ("ends" in want))] = want["contains"]
        if "starts" in want:
            pieces[0] = want["starts"]
        if "ends" in want:
            pieces[-1] = want["ends"]
        return pieces

    def mistakes(self, rng: Random) -> list[str]:
        right, mark = self.canonical(), self.mark()
        pieces, there = right.split(mark), WORDS[LANGUAGES[1 - LANGUAGES.index(self.lang)]]
        other = rng.choice([word for word in WORDS[self.lang] if word not in right.lower()])
        at = rng.randrange(len(pieces))
        lines = [pieces[:-1], pieces[1:], [*pieces, other], pieces[1:] + pieces[:1], pieces[::-1]]
        lines.append(pieces[:at] + [other] + pieces[at + 1 :])
        texts = [mark.join(line) for line in lines] + [right.swapcase() if right.isascii() else right]
        texts.append(({"、": "，", "，": " ", " ": ", ", ", ": " "}[mark]).join(pieces))
        return [*texts, (" " if self.lang == "zh" else "、").join(rng.sample(there, min(len(pieces), 5)))]

    def own(self) -> dict:
        return {"constraints": [list(constraint) for constraint in self.constraints], "words": list(self.words)}

    @classmethod
    def read_own(cls, line: dict) -> dict:
        constraints, words = line.get("constraints"), line.get("words", [])
        if not isinstance(words, list) or len(words) > _MOST_WORDS or not all(isinstance(w, str) and w for w in words):
            raise ValueError('"words" must be a list of texts')
        if not isinstance(constraints, list) or not constraints or not all(_is_constraint(c, bool(words)) for c in constraints):
            raise ValueError('"constraints" must be a list of [name, argument]')
        if any(name == "rank" for name, _ in constraints) and not all(re.fullmatch(r"[0-9]{1,9}", word) for word in words):
            raise ValueError('"rank" is for numbers')
        return {"constraints": tuple((name, argument) for name, argument in constraints), "words": tuple(words)}


def _is_constraint(value, given: bool) -> bool:
    if not isinstance(value, list) or len(value) != 2 or value[0] not in (*(GIVEN if given else FREE), "marks"):
        return False
    name, argument = value
    if _ARGUMENTS.get(name) is int:
        return type(argument) is int and 1 <= argument <= _MOST_WORDS
    return isinstance(argument, str) and (name not in _ARGUMENTS or bool(argument))


def _size(piece: str) -> int:
    return int(piece)


def _holds(name: str, argument: str | int, pieces: list[str]) -> bool:
    if name == "count":
        return len(pieces) == argument
    if name in ("contains", "starts", "ends"):
        where = {"contains": pieces, "starts": pieces[:1], "ends": pieces[-1:]}[name]
        return argument.lower() in [piece.lower() for piece in where]
    if name == "upper":
        return all(piece.isupper() for piece in pieces)
    return len(pieces) > 1 if name == "commas" else True


def sample_instruction(rng: Random, split: str, lang: str) -> Instruction:
    free = rng.random() < 0.5
    constraints, words = _free(rng, lang) if free else _given(rng, lang)
    if lang == "zh" and all(name != "commas" for name, _ in constraints):
        constraints.append(("marks", ""))
    table = WORDINGS["instruction"]
    frame = pick(rng, table["free" if free else "given"][lang], split)
    phrases = [pick(rng, table["phrases"][name][lang], split) for name, _ in constraints]
    said = [phrase.format(n=argument, x=argument) for phrase, (_, argument) in zip(phrases, constraints)]
    text = frame.format(c=(" and " if lang == "en" else "，").join(said), w=(" " if lang == "en" else "、").join(words))
    how = wording(split, frame, *phrases)
    return Instruction(text=text, lang=lang, wording=how, constraints=tuple(constraints), words=tuple(words))


def _free(rng: Random, lang: str) -> tuple[list, list[str]]:
    names = [name for name in FREE if lang == "en" or name != "upper"]
    chosen = sorted(rng.sample(names, rng.randint(1, 2)), key=FREE.index)
    words = rng.sample(WORDS[lang], len(chosen))
    return [(name, rng.randint(2, 5) if name == "count" else word if name in _ARGUMENTS else "")
            for name, word in zip(chosen, words)], []  # fmt: skip


def _given(rng: Random, lang: str) -> tuple[list, list[str]]:
    """A change of order or number, or of look (upper case, commas), or one of each."""
    order = rng.choice(["reverse", "rank", "repeat"] + (["sort"] if lang == "en" else []))
    look = rng.choice(["upper", "commas"] if lang == "en" and order != "rank" else ["commas"])
    draw, words = rng.random(), rng.sample(WORDS[lang], rng.randint(2, 4))
    times = rng.randint(2, 4) if order == "repeat" else ""
    if order == "repeat":
        words = words[:1]
    if order == "rank":
        words = [str(n) for n in rng.sample(range(1, 100), len(words))]
        words = words if words != sorted(words, key=_size) else words[::-1]
    if order == "sort" and words == sorted(words):
        words.reverse()
    if draw < 0.2 and order not in ("repeat", "rank"):
        return [(look, "")], words
    return [(order, times)] + ([(look, "")] if draw > 0.6 else []), words


# ---------------------------------------------------------------- JSON objects

VALUES = {
    "en": {
        "word": WORDS["en"], "color": ["red", "green", "blue", "black", "white"], "animal": ["dog", "cat", "cow", "horse", "lion"],
        "city": ["Paris", "Rome", "Berlin", "Tokyo", "London"], "count": 100, "age": 100, "year": 2000, "open": bool, "new": bool,
    },
    "zh": {
        "词": WORDS["zh"], "颜色": ["红色", "绿色", "蓝色", "黑色", "白色"], "动物": ["狗", "猫", "牛", "马", "狮子"],
        "城市": ["巴黎", "罗马", "柏林", "东京", "北京"], "个数": 100, "长度": 100, "年": 2000, "开": bool, "新": bool,
    },
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Json(General):
    pairs: tuple[tuple[str, str | int | bool], ...]
    task: ClassVar[str] = "json"

    def verify(self, answer: str) -> bool:
        """Exactly these keys, values of exactly these types; the order of keys and the spaces do not count."""
        found = strict_object(answer) if isinstance(answer, str) and len(answer) <= 400 else None
        if found is None or set(found) != {key for key, _ in self.pairs}:
            return False
        return all(type(found[key]) is type(value) and found[key] == value for key, value in self.pairs)

    def canonical(self) -> str:
        return json.dumps(dict(self.pairs), ensure_ascii=False)

    def mistakes(self, rng: Random) -> list[str]:
        right, (key, value) = self.canonical(), rng.choice(self.pairs)
        there = list(VALUES[LANGUAGES[1 - LANGUAGES.index(self.lang)]])
        wrong = str(value) if not isinstance(value, str) else len(value)
        changed = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else "".join(reversed(value)) + "s"
        renamed = {(rng.choice(there) if k == key else k): v for k, v in self.pairs}
        texts = [json.dumps(dict(self.pairs) | {key: other}, ensure_ascii=False) for other in (wrong, changed)]
        texts += [json.dumps(renamed, ensure_ascii=False), json.dumps(dict(self.pairs[1:]), ensure_ascii=False)]
        doubled = f"{right[:-1]}, {json.dumps(key, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}}}"
        return [*texts, doubled, right.replace('"', "'"), right[:-1], right[1:], right.replace('": ', '" = ')]

    def own(self) -> dict:
        return {"pairs": [list(pair) for pair in self.pairs]}

    @classmethod
    def read_own(cls, line: dict) -> dict:
        pairs = line.get("pairs")
        good = isinstance(pairs, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in pairs)
        if not good or not all(isinstance(key, str) and type(value) in (str, int, bool) for key, value in pairs):
            raise ValueError('"pairs" must be a list of [key, value]')
        if not pairs or len({key for key, _ in pairs}) != len(pairs):
            raise ValueError('"pairs" must have keys, each once')
        return {"pairs": tuple((key, value) for key, value in pairs)}


def strict_object(text: str) -> dict | None:
    """The one JSON object that the text is, or None: no second value for a key, no NaN, nothing around it."""
    try:
        found = json.loads(text, object_pairs_hook=_each_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _each_once(pairs: list[tuple]) -> dict:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _refuse(name: str):
    raise ValueError(f"{name} is not JSON")


def sample_json(rng: Random, split: str, lang: str) -> Json:
    keys, pairs, table = rng.sample(list(VALUES[lang]), rng.randint(1, 3)), [], WORDINGS["json"]
    for key in keys:
        kind = VALUES[lang][key]
        value = rng.choice(kind) if isinstance(kind, list) else rng.random() < 0.5 if kind is bool else rng.randint(1, kind)
        pairs.append((key, value))
    frame, form = pick(rng, table["frames"][lang], split), pick(rng, table["pairs"][lang], split)
    said = [form.format(k=key, v=json.dumps(value, ensure_ascii=False)) for key, value in pairs]
    text = frame.format(p=(", " if lang == "en" else "，").join(said))
    return Json(text=text, lang=lang, wording=wording(split, frame, form), pairs=tuple(pairs))
