"""A small byte-pair encoding in which every digit is a token of its own.

The `tokenizers` library trains and holds it. Since its merges never cross the pieces of `PIECES`,
a document's ids are its pieces' ids in a row: encode() looks pieces up in a cache, many times faster
than the library on text as repetitive as ours, and a test compares the two.
"""

import re
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Library

from minir1.transcript import BEGIN, END, PAD, SPECIAL_TOKENS

# Digits alone; an operator with its spaces and parentheses; a word with the comma before it and the
# space behind it (", not "); a line break with the word that opens the next attempt ("\nwait, ").
_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # what both libraries call \\s
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
    def __init__(self, library: Library):
        self.library = library
        self._pieces = re.compile("|".join(re.escape(t) for t in SPECIAL_TOKENS) + "|" + PIECES)
        self._known = {token: [library.token_to_id(token)] for token in SPECIAL_TOKENS}
        self.pad, self.begin, self.end = (library.token_to_id(token) for token in (PAD, BEGIN, END))

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> "Tokenizer":
        library = Library(models.BPE())
        split, to_bytes = pre_tokenizers.Split(Regex(PIECES), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)
        library.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
        library.decoder = decoders.ByteLevel()
        special = [AddedToken(t, special=True, normalized=False) for t in SPECIAL_TOKENS]
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
        library.train_from_iterator(texts, trainer)
        return cls(library)

    @classmethod
    def from_text(cls, text: str) -> "Tokenizer":
        return cls(Library.from_str(text))

    def to_text(self) -> str:
        return self.library.to_str()

    def encode(self, text: str) -> list[int]:
        known, ids = self._known, []
        for piece in self._pieces.findall(text):
            found = known.get(piece)
            if found is None:
                found = known[piece] = self.library.encode(piece, add_special_tokens=False).ids
            ids += found
        return ids

    def decode(self, ids: list[int]) -> str:
        """Text, special tokens included."""
        return self.library.decode(ids, skip_special_tokens=False)

    def decode_batch(self, rows: list[list[int]]) -> list[str]:
        return self.library.decode_batch(rows, skip_special_tokens=False)

    def __len__(self) -> int:
        return self.library.get_vocab_size()

    def id(self, token: str) -> int:
        return self._known[token][0]

    def ids_holding(self, text: str) -> tuple[int, ...]:
        """All tokens whose text contains `text`."""
        return tuple(i for i in range(len(self)) if text in self.decode([i]))
