"""The tokenizer: the cached encode is the library's, nothing is lost, digits stand alone."""

import re
import sys
import unicodedata
from random import Random

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import CorpusConfig, ModelConfig, UserError
from minir1.corpus.mixture import sample_text
from minir1.model import Transformer
from minir1.rollout import roll_out, sampling, to_batch
from minir1.sampler import Samples, pad
from minir1.tasks.countdown import Countdown
from minir1.tokenizer import Tokenizer
from minir1.transcript import SPECIAL_TOKENS, Transcript, prompt, render

CONFIG = CorpusConfig(languages=("en", "zh"))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(sample_text(CONFIG, 0, 4000), CONFIG.vocab_size)


def library_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The specification: the `tokenizers` library itself, without our cache and our copy of its
    splitting."""
    return tokenizer.library.encode(text, add_special_tokens=False).ids


def check(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids == library_ids(tokenizer, text), ascii(text)
    assert tokenizer.decode(ids) == text, ascii(text)
    assert all(0 <= i < len(tokenizer) for i in ids)


def test_documents_are_encoded_as_by_the_library(tokenizer):
    """2,000 documents that were not trained on; the texts end to end, too, as batches hold them."""
    documents = sample_text(CONFIG, 1, 2000)
    assert any(re.search("[一-鿿]", d) for d in documents) and any("wait" in d for d in documents)
    for document in documents:
        check(tokenizer, document)
    check(tokenizer, "".join(documents[:200]))


# Joined at random, these meet every seam between pieces: signs and their spaces, words with commas,
# tags.
PARTS = [
    *SPECIAL_TOKENS,
    *("<", ">", "|", "/", "<|", "|>", "<think", "think>", "<|end", "end|>", "</"),
    *(" ", "  ", "\n", "\t", "\r\n", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\xa0", "\x00"),
    *(
        "\u2028",
        "\u3000",
        "\u200b",
        "\ufeff",
        "é",
        "e\u0301",
        "ſ",
        "K",
        "İ",
        "ß",
        "😀",
        "Ġ",
        "Ċ",
        "\ufffd",
    ),
    *(
        " + ",
        " - ",
        " * (",
        ") / ",
        " = ",
        "+",
        "(",
        "))",
        ", ",
        "，",
        "：",
        "：",
        "? ",
        "。",
        "、",
    ),
    *("0", "65", "yes", "not ", "wait, ", "\ntry ", "\n等等，", "等等", "不是", "don't"),
]
mixed = st.lists(st.one_of(st.sampled_from(PARTS), st.text(max_size=2)), max_size=10).map("".join)


@settings(max_examples=2500, deadline=None)
@given(st.one_of(st.text(), mixed))
@example("\x1c + 1")
@example("<think>\x1d \x1e-")
def test_any_text_is_encoded_as_by_the_library_and_decoded_to_itself(tokenizer, text):
    """No text is skipped: special tokens and their fragments are taken apart by both sides
    alike."""
    check(tokenizer, text)


def test_every_white_space_and_control_character(tokenizer):
    """Python's and the library's regular expressions need not agree on what a space is: try each at
    a seam."""
    kinds = ("Cc", "Cf", "Zs", "Zl", "Zp")
    odd = [
        c
        for c in map(chr, range(sys.maxunicode + 1))
        if c.isspace() or unicodedata.category(c) in kinds
    ]
    assert len(odd) > 100
    wrong = []
    for c in odd:
        for text in (
            f"{c} + 1",
            f"1{c} = 2",
            f"yes{c} no",
            f", {c} yes",
            f"等{c} 等",
            f"{c}{c} ",
            f"\n{c} wait, ",
        ):
            if (
                tokenizer.encode(text) != library_ids(tokenizer, text)
                or tokenizer.decode(tokenizer.encode(text)) != text
            ):
                wrong.append(ascii(text))
    assert not wrong, wrong


def test_a_sample_of_all_code_points(tokenizer):
    rng = Random(0)
    for _ in range(3000):
        text = "".join(
            chr(
                rng.choice((rng.randrange(0x3000), rng.randrange(0x10000), rng.randrange(0x110000)))
            )
            for _ in range(6)
        )
        text = re.sub("[\ud800-\udfff]", " + ", text)
        check(tokenizer, text)


def test_cache_does_not_change_the_result(tokenizer):
    """Encoding is a function: neither order nor repetition nor a fresh cache matters."""
    texts = sample_text(CONFIG, 2, 50)
    fresh = Tokenizer.from_text(tokenizer.to_text())
    first = [fresh.encode(t) for t in texts]
    assert (
        first
        == [fresh.encode(t) for t in texts]
        == [tokenizer.encode(t) for t in reversed(texts)][::-1]
    )
    for text in ("7", " = ", "<think>", "1 = 2"):
        fresh.encode(text).append(-1)  # what a caller does with his list must not reach the cache
        assert -1 not in fresh.encode(text)


def test_digits_are_single_tokens(tokenizer):
    """No token holds a digit and anything else, so 123 is always the same three tokens."""
    digits = {tokenizer.encode(d)[0] for d in "0123456789"}
    assert len(digits) == 10
    for i in range(len(tokenizer)):
        text = tokenizer.decode([i])
        assert not re.search("[0-9]", text) or (i in digits and len(text) == 1), text
    for text in (
        "123",
        "a1b2",
        "1,000",
        " 7 ",
        "等3个",
        "19 + 36 = 55",
        "<think>5</think>",
        "0.5e10",
    ):
        ids = tokenizer.encode(text)
        assert [tokenizer.decode([i]) for i in ids if i in digits] == re.findall("[0-9]", text)


def test_special_tokens(tokenizer):
    ids = [tokenizer.id(t) for t in SPECIAL_TOKENS]
    assert len(set(ids)) == 7
    for token, i in zip(SPECIAL_TOKENS, ids):
        assert tokenizer.encode(token) == [i] and tokenizer.decode([i]) == token
        assert tokenizer.encode(f"a{token}1") == [*tokenizer.encode("a"), i, *tokenizer.encode("1")]
    named = [tokenizer.pad, tokenizer.begin, tokenizer.end]
    assert [tokenizer.decode([i]) for i in named] == ["<|pad|>", "<|begin|>", "<|end|>"]


def test_prompts_end_at_a_token_boundary(tokenizer):
    """The ids of a prompt begin the ids of the whole document: what is sampled continues what was
    trained on."""
    for question in ("Use 19, 36, 55, 7 to make 65.", "98 + 45 =", "用1、2算出3。", ""):
        head = tokenizer.encode(prompt(question))
        for document in (
            render(question, "1 + 1"),
            render(question, "1", "36 + 55 = 91, not 65"),
            render(question, "1", ""),
        ):
            assert tokenizer.encode(document)[: len(head)] == head


def test_vocabulary_is_as_large_as_asked_for(tokenizer):
    assert len(tokenizer) == CONFIG.vocab_size == 512
    assert len(tokenizer.encode(" = ")) == len(tokenizer.encode(", not ")) == 1, (
        "frequent pieces are one token"
    )


def test_training_and_saving_round_trip(tokenizer):
    """The same texts give the same tokenizer; its text gives it back."""
    texts = sample_text(CONFIG, 0, 4000)
    again = Tokenizer.train(texts, CONFIG.vocab_size)
    assert again.to_text() == tokenizer.to_text()
    loaded = Tokenizer.from_text(tokenizer.to_text())
    assert loaded.to_text() == tokenizer.to_text() and len(loaded) == len(tokenizer)
    for text in texts[:200]:
        assert (
            loaded.encode(text) == tokenizer.encode(text)
            and loaded.decode(loaded.encode(text)) == text
        )
    assert [loaded.id(t) for t in SPECIAL_TOKENS] == [tokenizer.id(t) for t in SPECIAL_TOKENS]


def test_ids_holding(tokenizer):
    for text in ("yes", "=", "7", "不", ")", "<think>"):
        found = tokenizer.ids_holding(text)
        assert found and len(set(found)) == len(found)
        for i in range(len(tokenizer)):
            assert (i in found) == (text in tokenizer.decode([i]))
    assert tokenizer.ids_holding("7") == tuple(tokenizer.encode("7"))
    assert tokenizer.ids_holding("<think>") == (tokenizer.id("<think>"),)
    assert tokenizer.ids_holding("nowhere to be found") == ()
    assert set(tokenizer.encode(", yes")) & set(tokenizer.ids_holding("yes"))


def test_decode_is_total(tokenizer):
    """A policy may sample half a character: that decodes to a replacement character, never to an
    error."""
    rng = Random(1)
    assert tokenizer.decode([]) == ""
    for _ in range(500):
        ids = [rng.randrange(len(tokenizer)) for _ in range(20)]
        assert isinstance(tokenizer.decode(ids), str)
    half = tokenizer.encode("😀")[:1]
    assert "�" in tokenizer.decode(half)


def test_many_rows_are_decoded_as_by_the_library(tokenizer):
    """Also those with parts of characters: a third of these tokens are single bytes."""
    rng, smiley = Random(2), tokenizer.encode("😀")
    rows = [[rng.randrange(len(tokenizer)) for _ in range(rng.randrange(9))] for _ in range(3000)]
    rows += [smiley, smiley[:2], tokenizer.encode("3 + 5 = 8, 不对"), []]
    rows += [[len(tokenizer) + 3, *smiley, len(tokenizer)], [len(tokenizer)]]
    texts = tokenizer.library.decode_batch(rows, skip_special_tokens=False)
    assert tokenizer.decode_batch(rows) == texts
    assert 100 < sum("�" in text for text in texts) < 2900


class Letters:
    """A codec of another kind: a token per byte, two tokens that end a response, tags in pieces."""

    pad, end_ids = 256, (257, 258)

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        ends = {257: "<|end|>", 258: "<|end|>", 256: ""}
        return "".join(ends[i] if i in ends else chr(i) for i in ids)

    def decode_batch(self, rows: list[list[int]]) -> list[str]:
        return [self.decode(row) for row in rows]

    def id(self, token: str) -> int:
        raise KeyError(token)

    def to_text(self) -> str:
        return "letters"

    def __len__(self) -> int:
        return 259


class Plain:
    """A template of another kind: a question and a word, no tags."""

    @staticmethod
    def prompt(question: str) -> str:
        return f"Q {question} A "

    @staticmethod
    def parse(response: str) -> Transcript:
        return Transcript(None, response.removesuffix("<|end|>"), response.endswith("<|end|>"))


def test_another_codec_and_another_template_go_through_the_core(tmp_path):
    codec, problem = Letters(), Countdown((3, 5), 8)
    written = [[*b"3 + 5", 257], [*b"5 + 3", 258], [*b"3 - 5", 257], [*b"3 + 5"]]
    asked = []

    def sampler(model, prompts, group, settings, stream):
        asked.append((prompts, settings.stop_ids))
        length = torch.tensor([len(ids) for ids in written])
        ids_BT = pad(written, codec.pad)
        return Samples(ids_BT, torch.zeros(ids_BT.shape), length, length == 6)

    how = (sampling(codec, 9), None, sampler)
    rollouts = roll_out(None, codec, [problem], 4, *how, template=Plain)
    assert asked == [([list(f"Q {problem.question()} A ".encode())], (257, 258))]
    assert [r.accuracy for r in rollouts.rewards] == [1, 1, 0, 0]
    assert to_batch(rollouts, codec.pad, "cpu").mask_BT.sum(1).tolist() == [6, 6, 6, 5]

    shape = ModelConfig(vocab_size=len(codec), width=16, layers=1, heads=2, positions=32)
    save_checkpoint(tmp_path / "x.pt", Transformer(shape), codec)
    with pytest.raises(UserError):
        load_checkpoint(tmp_path / "x.pt")
    _, again = load_checkpoint(tmp_path / "x.pt", read_codec={"letters": codec}.get)
    assert again is codec


def test_the_packages_own_codec_names_its_end(tokenizer):
    assert tokenizer.end_ids == (tokenizer.end,) == (tokenizer.id("<|end|>"),)
    assert sampling(tokenizer, 5).stop_ids == tokenizer.end_ids
