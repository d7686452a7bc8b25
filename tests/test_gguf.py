"""GGUF files in a real llama.cpp: the same tokens, the same greedy text, the same accuracy."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_export import GQA, SMALL, random_model
from test_import import CASES, library, write  # noqa: F401 - a fixture

from minir1.__main__ import main as minir1
from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import CorpusConfig, UserError
from minir1.corpus.mixture import sample_text
from minir1.hub.codec import TEMPLATES, ImportedCodec
from minir1.hub.gguf import (
    PRE_TOKENIZERS,
    architecture,
    as_llama_cpp_does,
    cut_otherwise,
    modelfile,
    pre_tokenizer,
    vocabulary,
)
from minir1.rewards import score
from minir1.sampler import Sampling, sample
from minir1.tasks import GENERAL, draw_problems, find_task
from minir1.tokenizer import Library, Tokenizer
from minir1.transcript import prompt

sys.path.append(str(Path(__file__).parent.parent / "results" / "smollm2"))
from gguf_server import Llama, exported, parting  # noqa: E402

gguf = pytest.importorskip("gguf")
DATA = Path("minir1/data")
MODELS = ("student-small-cpu.pt", "student-large-cpu.pt", "zero-cpu.pt", "base-r1-cpu.pt")


def llama_cpp(path: Path) -> Llama:
    pytest.importorskip("xllamacpp")
    return Llama(path)


KINDS = tuple(f"{name}:{kind}=1" for name in GENERAL for kind in find_task(name).kinds)
TIED = {"tie_word_embeddings": True}
PUZZLES = ("countdown:cpu=1", "countdown:3to4=1", "countdown:rg-easy=1")


def questions(tasks: tuple[str, ...], count: int, languages=("en", "zh")) -> list[str]:
    return [p.question() for p in draw_problems(tasks, languages, "test", "gguf", count)]


def test_where_texts_part_their_tokens_are_weighed():
    def model(ids_BT):
        return torch.tensor([1.0, 3.0, 0.5]).log().expand(1, ids_BT.shape[1], 3)

    assert parting(model, [0], [1, 2], [1, 2]) is None
    assert parting(model, [0], [1, 2], [1, 1]) == pytest.approx(math.log(0.5 / 3))


# ---------------------------------------------------------------- what the files say


def test_the_file_says_how_it_wants_to_be_read(tmp_path):
    """llama.cpp's answers do not depend on all of it: chats do, and size."""
    path = exported(DATA / "zero-cpu.pt", tmp_path, "q8_0")
    reader = gguf.GGUFReader(path)
    said = {name: field.contents() for name, field in reader.fields.items()}
    of = gguf.TokenType
    kinds = 3 * [of.CONTROL] + 4 * [of.USER_DEFINED] + 478 * [of.NORMAL]
    assert said["tokenizer.ggml.token_type"] == kinds
    ids = [said[f"tokenizer.ggml.{name}_token_id"] for name in ("padding", "bos", "eos")]
    assert ids == [0, 1, 2] and said["tokenizer.ggml.add_bos_token"] is False
    assert said["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q8_0
    assert said["deepseek2.vocab_size"] == 485 and said["deepseek2.context_length"] == 1024
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.1.ffn_gate_inp.weight"] == kinds["blk.1.attn_norm.weight"] == "F32"
    assert kinds["blk.1.attn_q.weight"] == "Q8_0"
    assert kinds["blk.1.attn_k_b.weight"] == "F16"  # rows of 24
    lines = ["temperature 0.6", "top_p 0.95", "top_k 0", "repeat_penalty 1.0", "num_ctx 1024"]
    parameters = [f"PARAMETER {line}" for line in [*lines, 'stop "<|end|>"']]
    text = (tmp_path / "Modelfile").read_text(encoding="utf-8").splitlines()
    template = ['TEMPLATE """<|begin|>User: {{ .Prompt }}', 'Assistant:"""']
    assert text == ["FROM ./model.gguf", *template, *parameters]


def test_half_precision_is_what_is_written_unless_told(tmp_path):
    assert minir1(["export", str(DATA / "zero-cpu.pt"), str(tmp_path), "--format", "gguf"]) == 0
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.1.attn_q.weight"] == kinds["token_embd.weight"] == "F16"
    assert kinds["blk.1.ffn_gate_inp.weight"] == kinds["output_norm.weight"] == "F32"
    assert reader.fields["general.file_type"].contents() == gguf.LlamaFileType.MOSTLY_F16


def test_a_long_context_is_not_reserved_whole():
    _, codec = load_checkpoint(DATA / "zero-cpu.pt")
    assert "num_ctx 8192\n" in modelfile(codec, replace(SMALL, positions=131_072))


def test_tokens_of_an_imported_model_keep_their_kinds(library):  # noqa: F811
    """Special ones that end no response are control tokens, too: a chat's template holds them. A
    number without a token is unused."""
    larger = Library.from_str(library.to_str())
    larger.add_special_tokens(["<|vision|>"])
    larger.add_tokens(["<tool>"])
    whole = json.loads(larger.to_str())
    whole["model"]["vocab"][max(whole["model"]["vocab"], key=whole["model"]["vocab"].get)] = 505
    said = vocabulary(ImportedCodec(json.dumps(whole), TEMPLATES["chatml"], (2,), 0))
    kinds, of = dict(zip(said["token_list"], said["token_types"])), gguf.TokenType
    for token in ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision|>"):
        assert kinds[token] == of.CONTROL
    assert kinds["<tool>"] == of.USER_DEFINED
    assert len(kinds) == 506 and kinds["[unused 504]"] == of.UNUSED


EXPERTS = replace(SMALL, attention="gqa")


def test_which_architecture_a_model_is():
    dense = replace(SMALL, **GQA)
    named = {
        "deepseek2": [SMALL], "llama": [dense, replace(EXPERTS, dense_layers=SMALL.layers)],
        "qwen2": [replace(dense, qkv_bias=True)], "qwen3": [replace(dense, qk_norm=True)],
    }  # fmt: skip
    for name, configs in named.items():
        assert [architecture(config) for config in configs] == len(configs) * [name]
    slowed = replace(SMALL, rope_factor=8.0)
    for config in (EXPERTS, replace(dense, qk_norm=True, qkv_bias=True), slowed):
        with pytest.raises(UserError, match="llama.cpp has no"):
            architecture(config)


def test_how_a_text_is_split_has_a_name_or_is_refused():
    split, level = {"type": "Split"}, {"type": "ByteLevel", "use_regex": False}
    patterns = {key[2]: name for key, name in PRE_TOKENIZERS.items() if key[1] == "Split"}
    assert sorted(patterns.values()) == ["llama-bpe", "qwen2"]
    for pattern, name in patterns.items():
        steps = [split | {"pattern": {"Regex": pattern}}, level]
        whole = {"type": "Sequence", "pretokenizers": steps}
        assert pre_tokenizer({"model": {"type": "BPE"}, "pre_tokenizer": whole}) == name
    digits = {"type": "Digits", "individual_digits": True}
    whole = {"type": "Sequence", "pretokenizers": [digits, level | {"use_regex": True}]}
    assert pre_tokenizer({"model": {"type": "BPE"}, "pre_tokenizer": whole}) == "smollm"
    alone = {"type": "ByteLevel"}
    assert pre_tokenizer({"model": {"type": "BPE"}, "pre_tokenizer": alone}) == "gpt-2"
    for kind, other in (("Unigram", alone), ("BPE", level), ("BPE", None)):
        with pytest.raises(UserError, match="no name for how"):
            pre_tokenizer({"model": {"type": kind}, "pre_tokenizer": other})


# ---------------------------------------------------------------- against llama.cpp


@pytest.mark.parametrize("name", MODELS)
def test_greedy_text_is_that_of_llama_cpp(name, tmp_path):
    """50 prompts in F32. Near-ties may fall either way and are counted."""
    model, codec = load_checkpoint(DATA / name)
    ties, lengths = 0, []
    llama = llama_cpp(exported(DATA / name, tmp_path))
    for question in questions(PUZZLES, 40, ("en",)) + questions(KINDS, 10):
        ids = codec.encode(prompt(question))
        samples = sample(model, [ids], 1, Sampling(96, codec.end_ids, 0, 1.0, len(codec)))
        ours = samples.ids_BT[0, : samples.length_B[0]].tolist()
        theirs = llama.complete(ids, 96)
        gap = parting(model, ids, ours, theirs)
        assert gap is None or abs(gap) < 1e-4, (question, gap, ours, theirs)
        ties += gap is not None
        lengths.append(len(ours))
    print(f"{name}: 50 greedy texts of {sum(lengths)} tokens, {ties} part at a near-tie")
    assert ties <= 2 and len(set(lengths)) > 5


@pytest.mark.parametrize("name", MODELS)
def test_prompts_are_cut_as_llama_cpp_cuts_them(name, tmp_path):
    """10,000 prompts, English and Chinese: puzzles exactly as here; of the others export says how
    many are not, for it knows what llama.cpp does."""
    _, codec = load_checkpoint(DATA / name)
    foretold, other, count = as_llama_cpp_does(codec), 0, 5000
    puzzles, general = (questions(tasks, count) for tasks in (PUZZLES, KINDS))
    llama = llama_cpp(exported(DATA / name, tmp_path))
    for question in puzzles + general:
        text = prompt(question)
        asked = {"content": text, "add_special": True, "parse_special": True}
        theirs, ours = llama.post("tokenize", **asked)["tokens"], codec.encode(text)
        assert theirs == foretold.encode(text).ids, text
        other += theirs != ours
        assert theirs == ours or question not in puzzles[:count], text
    print(f"{name}: of {2 * count} prompts, {other} are cut otherwise, none of them a puzzle")
    assert other / count == pytest.approx(cut_otherwise(codec)["general prompts"], abs=0.03)


@pytest.mark.parametrize("name", ["student-large-cpu.pt", "zero-cpu.pt"])
def test_q8_0_solves_as_many_puzzles(name, tmp_path):
    """512 puzzles, greedy: 8 bits in llama.cpp against float32 here."""
    model, codec = load_checkpoint(DATA / name)
    problems = draw_problems(PUZZLES[:1], ("en",), "test", "q8", 512)
    asked = [codec.encode(prompt(problem.question())) for problem in problems]
    settings = Sampling(256, codec.end_ids, 0, 1.0, len(codec))
    samples = sample(model, asked, 1, settings)
    ours = [row[:n] for row, n in zip(samples.ids_BT.tolist(), samples.length_B.tolist())]
    path = exported(DATA / name, tmp_path, "q8_0")
    assert path.stat().st_size < 0.5 * 4 * sum(p.numel() for p in model.parameters())
    llama = llama_cpp(path)
    theirs = [llama.complete(ids, 256) for ids in asked]
    shares = [accuracy(problems, codec, rows) for rows in (ours, theirs)]
    print(f"{name}: {shares[0]:.1%} here, {shares[1]:.1%} in q8_0")
    assert shares[0] > 0.3 and abs(shares[0] - shares[1]) <= 0.03


def accuracy(problems, codec, rows: list[list[int]]) -> float:
    right = (score(p, codec.decode(row)).accuracy for p, row in zip(problems, rows))
    return sum(right) / len(problems)


# ---------------------------------------------------------------- imported models and other shapes

OTHERS = {
    "llama": CASES["llama"], "llama 3 tied": ("Llama", CASES["llama 3"][1] | TIED),
    "qwen2": CASES["qwen2"], "qwen2 tied": CASES["qwen2 tied"], "qwen3 tied": CASES["qwen3 tied"],
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_an_imported_model_is_the_same_function(case, library, tmp_path):  # noqa: F811
    directory = write(tmp_path / "hub", library, *OTHERS[case])
    same_greedy_text(directory, tmp_path)
    text = (tmp_path / "gguf" / "Modelfile").read_text(encoding="utf-8")
    assert '{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n"""' in text
    assert 'stop "<|im_end|>"\nPARAMETER stop "<|endoftext|>"' in text


SHAPES = {
    "query latent": {"q_rank": 24}, "two dense layers": {"dense_layers": 2, "routed_scale": 2.5},
    "no experts": {"experts": 0}, "top 1 of many": {"experts": 12, "top_k": 1},
    "two shared experts": {"shared_experts": 2, "mtp": True},
    "other rope base": {"rope_base": 500.0}, "latent tied": {"tied": True},
    "dense": GQA, "tied": GQA | {"tied": True, "qk_norm": True},
}  # fmt: skip


@pytest.mark.parametrize("case", SHAPES)
def test_every_shape_is_the_same_function(case, tmp_path):
    tokenizer = Tokenizer.train(sample_text(CorpusConfig(), 0, 100), 400)
    model = random_model(replace(SMALL, vocab_size=448, **SHAPES[case]), gain=2.0)
    save_checkpoint(tmp_path / "model.pt", model, tokenizer)
    same_greedy_text(tmp_path / "model.pt", tmp_path)


def same_greedy_text(checkpoint: Path, folder: Path) -> None:
    """Eight prompts; random models soon go their own way, so the ids are random, too."""
    model, codec = load_checkpoint(checkpoint)
    draw, ties = torch.Generator().manual_seed(0), 0
    llama = llama_cpp(exported(checkpoint, folder / "gguf"))
    for _ in range(8):
        ids = torch.randint(7, len(codec), (40,), generator=draw).tolist()
        settings = Sampling(24, codec.end_ids, 0, 1.0, len(codec))
        samples = sample(model, [ids], 1, settings)
        ours = samples.ids_BT[0, : samples.length_B[0]].tolist()
        theirs = llama.complete(ids, 24)
        gap = parting(model, ids, ours, theirs)
        assert gap is None or abs(gap) < 1e-4, (gap, ours, theirs)
        ties += gap is not None
    assert ties <= 1
