"""The tokenizer of an imported base, and the template that it is asked with.

The package writes prompts and responses in one notation, that of transcript.py. An ImportedCodec
puts it into the base's own words when it encodes and takes it back when it decodes:

    <|begin|>User: Q\\nAssistant:   <|im_start|>user\\nQ<|im_end|>\\n<|im_start|>assistant\\n
    <|end|>                        <|im_end|>, and any other end token of the base

A template is a text with {question} in it and, where the base wants its first token, {bos}.

>>> sorted(TEMPLATES)
['chatml', 'llama3', 'plain', 'table1']
"""

import json
import re
from pathlib import Path

from tokenizers import Tokenizer as Library

from minir1.config import UserError
from minir1.tokenizer import IMPORTED, TextCodec
from minir1.transcript import BEGIN, END, PAD, prompt

TABLE_1 = (  # R1 report
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves "
    "it. The assistant first thinks about the reasoning process in the mind and then provides the "
    "user with the answer. The reasoning process and answer are enclosed within <think> </think> "
    "and <answer> </answer> tags, respectively, i.e., <think> reasoning process here </think> "
    "<answer> answer here </answer>."
)
TURN, HEAD = "<|im_start|>", "<|start_header_id|>"
TEMPLATES = {
    "table1": f"{{bos}}{TABLE_1} User: {{question}}. Assistant:",
    "chatml": f"{TURN}system\n{TABLE_1}<|im_end|>\n{TURN}user\n{{question}}<|im_end|>\n"
    f"{TURN}assistant\n",
    "llama3": f"{{bos}}{HEAD}system<|end_header_id|>\n\n{TABLE_1}<|eot_id|>"
    f"{HEAD}user<|end_header_id|>\n\n{{question}}<|eot_id|>"
    f"{HEAD}assistant<|end_header_id|>\n\n",
    "plain": "{bos}User: {question}\nAssistant:",
}
TURNS = {"chatml": (TURN, "<|im_end|>"), "llama3": (HEAD, "<|eot_id|>")}  # opened and closed by
_PROMPT = re.compile(f"{re.escape(BEGIN)}User: (.*?)\nAssistant:", re.DOTALL)


def find_template(name: str, library: Library) -> str:
    """A template by its name, from a file, or ("auto") the one whose marks the tokenizer knows,
    the paper's Table 1 if it knows none. Raises UserError."""
    if name == "auto":
        known = (t for t in TURNS if library.token_to_id(TURNS[t][0]) is not None)
        name = next(known, "table1")
    if name in TEMPLATES:
        return TEMPLATES[name]
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise UserError(f"no template {name!r}; see minir1 import --help") from None
    if text.count("{question}") != 1:
        raise UserError(f"{name} must hold {{question}} once: the place of the question")
    return text


class ImportedCodec:
    """A TextCodec around a tokenizer.json. `template` holds {question}; {bos} is filled in."""

    def __init__(self, text: str, template: str, end_ids: tuple[int, ...], pad: int | None):
        self.text, self.template = text, template
        self.library = Library.from_str(text)
        self.library.no_padding()
        self.library.no_truncation()
        self._size = max(self.library.get_vocab().values()) + 1
        first = self.library.encode("").ids  # what it puts before a text by itself
        self.begin = first[0] if first else None
        bos = "" if self.begin is None else self.library.id_to_token(self.begin)
        self.before, _, self.after = template.replace("{bos}", bos).partition("{question}")
        closing = [self.library.token_to_id(end) for m, end in TURNS.values() if m in template]
        self.end_ids = tuple(id for id in dict.fromkeys((*closing, *end_ids)) if id is not None)
        if not self.end_ids or not all(0 <= id < len(self) for id in self.end_ids):
            raise ValueError(f"it knows no end token among {self.end_ids}")
        self.end = self.end_ids[0]
        others = (i for i in (pad, self.begin, *range(len(self))) if i is not None)
        self.pad = next(i for i in others if i not in self.end_ids and i < len(self))

    @classmethod
    def from_text(cls, text: str) -> "ImportedCodec":
        """What to_text() has written. Raises an Exception for any other text."""
        value = json.loads(text)["imported"]
        return cls(value["tokenizer"], value["template"], tuple(value["end_ids"]), value["pad"])

    def to_text(self) -> str:
        value = {"template": self.template, "end_ids": self.end_ids, "pad": self.pad}
        return IMPORTED + json.dumps(value | {"tokenizer": self.text}) + "}"

    def encode(self, text: str) -> list[int]:
        """Token ids of a text in transcript.py's notation; nothing else is added."""
        text = _PROMPT.sub(lambda match: f"{self.before}{match[1]}{self.after}", text)
        text = text.replace(END, self.library.id_to_token(self.end))
        return self.library.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        """Text, special tokens included; each end token is <|end|>."""
        ends = [i for i, id in enumerate(ids) if id in self.end_ids]
        parts = (ids[a + 1 : b] for a, b in zip([-1, *ends], [*ends, len(ids)]))
        return END.join(self.library.decode(part, skip_special_tokens=False) for part in parts)

    def decode_batch(self, rows: list[list[int]]) -> list[str]:
        return [self.decode(row) for row in rows]

    def __len__(self) -> int:
        return self._size

    def id(self, token: str) -> int:
        """Of a special token or a tag that is one token. Raises KeyError if it is none."""
        own = {BEGIN: self.begin, END: self.end, PAD: self.pad}
        id = own[token] if token in own else self.library.token_to_id(token)
        if id is None:
            raise KeyError(token)
        return id

    def ids_holding(self, text: str) -> tuple[int, ...]:
        """All tokens whose text contains `text`."""
        return tuple(i for i in range(len(self)) if text in self.decode([i]))


def around(codec: TextCodec) -> tuple[str, str]:
    """What stands before and behind a question."""
    if isinstance(codec, ImportedCodec):
        return codec.before, codec.after
    return tuple(prompt("\0").split("\0"))
