"""Text to token ids and back: what the core asks of a tokenizer, and a small byte-pair encoding.

In it every digit is a token of its own. The `tokenizers` library trains and holds it. Since merges
never cross the pieces of `PIECES`, a document's ids are its pieces' ids in a row: encode() looks
pieces up in a cache, many times faster than the library on text as repetitive as ours. A test
compares the two.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from importlib import import_module
from operator import itemgetter
from typing import Protocol

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Library

from minir1.transcript import BEGIN, END, PAD, SPECIAL_TOKENS


class TextCodec(Protocol):
    """What the core asks of a tokenizer. A tag such as <think> may be several tokens."""

    pad: int  # fills rows behind their end; never predicted
    end_ids: tuple[int, ...]  # any of them ends a response

    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: list[int]) -> str: ...  # special tokens included
    def decode_batch(self, rows: list[list[int]]) -> list[str]: ...
    def id(self, token: str) -> int: ...  # of a special token; KeyError if there is none
    def to_text(self) -> str: ...  # all of it, as checkpoints keep it
    def __len__(self) -> int: ...  # ids are 0 .. len - 1


IMPORTED = '{"imported": '  # how the text of an imported codec begins


# Digits alone; an operator with its spaces and parentheses; a word with the comma before it and the
# space behind it (", not "); a line break with the word that opens the next attempt ("\nwait, ").
_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # both libraries' \\s
PIECES = (
    r"[0-9]"
    r"|\n(?:[a-z]+,? ?|[一-鿿]+，?)?"
    r"|\)* [+\-*/=] \(*"
    r"|(?:, |，)?[A-Za-z']+ ?"
    r"|[，：]?[一-鿿]+，?"
    rf"|[^{_SPACE}A-Za-z0-9一-鿿] ?"
    rf"|[{_SPACE}]"
)


class Tokenizer:
    """The package's own TextCodec. `pad`, `begin` and `end` are ids of special tokens."""

    def __init__(self, library: Library):
        self.library = library
        special = "|".join(re.escape(token) for token in SPECIAL_TOKENS)
        self._pieces = re.compile(f"{special}|{PIECES}")
        self._known = {token: [library.token_to_id(token)] for token in SPECIAL_TOKENS}
        self.pad, self.begin, self.end = (self.id(token) for token in (PAD, BEGIN, END))
        self.end_ids = (self.end,)
        self._texts = defaultdict(str, ((i, self.decode([i])) for i in range(len(self))))

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> "Tokenizer":
        """A byte-pair encoding of at most `vocab_size` tokens; the same texts give the same one."""
        library = Library(models.BPE())
        split = pre_tokenizers.Split(Regex(PIECES), "isolated")
        to_bytes = pre_tokenizers.ByteLevel(False, use_regex=False)
        library.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
        library.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size, show_progress=False,
            special_tokens=[AddedToken(t, special=True, normalized=False) for t in SPECIAL_TOKENS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        library.train_from_iterator(texts, trainer)
        return cls(library)

    @classmethod
    def from_text(cls, text: str) -> TextCodec:
        """What to_text() has written, an imported codec's, too. Any other text: an Exception."""
        if text.startswith(IMPORTED):
            return import_module("minir1.hub.codec").ImportedCodec.from_text(text)
        return cls(Library.from_str(text))

    def to_text(self) -> str:
        return self.library.to_str()

    def encode(self, text: str) -> list[int]:
        """Token ids; special tokens are recognised, none is added."""
        known, ids = self._known, []
        for piece in self._pieces.findall(text):
            piece_ids = known.get(piece)
            if piece_ids is None:
                piece_ids = self.library.encode(piece, add_special_tokens=False).ids
                known[piece] = piece_ids
            ids += piece_ids
        return ids

    def decode(self, ids: list[int]) -> str:
        """Text, special tokens included. Total: half a character becomes U+FFFD."""
        return self.library.decode(ids, skip_special_tokens=False)

    def decode_batch(self, rows: list[list[int]]) -> list[str]:
        """The same for many rows, by each token's own text. Unknown ids are nothing."""
        texts = ["".join(itemgetter(*row)(self._texts)) if row else "" for row in rows]
        return [self.decode(row) if "\ufffd" in text else text for row, text in zip(rows, texts)]

    def __len__(self) -> int:
        return self.library.get_vocab_size()

    def id(self, token: str) -> int:
        """The id of a special token. Raises KeyError if there is none."""
        return self._known[token][0]

    def ids_holding(self, text: str) -> tuple[int, ...]:
        """All tokens whose text contains `text`."""
        return tuple(i for i in range(len(self)) if text in self.decode([i]))
