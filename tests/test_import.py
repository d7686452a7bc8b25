"""Directories that transformers has written become the same function here, and go back unchanged.

Weights are drawn at random, norms and biases too: a part that is left out shows in the logits.
"""

import json
import re
import shutil
import struct
from pathlib import Path
from random import Random

import pytest
import torch
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from minir1.__main__ import main as minir1
from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import CorpusConfig, UserError
from minir1.corpus.mixture import sample_text
from minir1.hub.codec import TEMPLATES, ImportedCodec
from minir1.hub.export import export
from minir1.hub.reading import read_directory
from minir1.hub.tensors import read_file
from minir1.sampler import Sampling, sample
from minir1.tasks.countdown import Countdown
from minir1.tokenizer import Tokenizer
from minir1.transcript import END, prompt, render

transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")
transformers.utils.logging.disable_progress_bar()

LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip
CASES = {  # of transformers: class, settings
    "llama": ("Llama", {}),
    "llama tied": ("Llama", {"tie_word_embeddings": True}),
    "llama 3": ("Llama", {"rope_parameters": LLAMA3, "head_dim": 20}),
    "one kv head": ("Llama", {"num_key_value_heads": 1, "rms_norm_eps": 1e-5}),
    "qwen2": ("Qwen2", {}),
    "qwen2 tied": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 24}),
    "qwen3 tied": ("Qwen3", {"head_dim": 24, "tie_word_embeddings": True}),
}
QUESTIONS = [Countdown(tuple(Random(i).sample(range(1, 99), 3)), 20 + i).question()
             for i in range(20)]  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def library() -> Library:
    """A byte-level tokenizer with ChatML's marks, as Qwen's; it knows none of our tags."""
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"])  # fmt: skip
    library.train_from_iterator(sample_text(CorpusConfig(), 0, 200), trainer)
    return library


@torch.no_grad()
def write(folder: Path, library: Library, kind: str, settings: dict, shard="50GB") -> Path:
    """A directory of a random two-layer model, as transformers writes it."""
    sizes = {
        "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**sizes | settings)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    for weight in model.parameters():
        weight.normal_(std=2 * weight.shape[-1] ** -0.5) if weight.ndim > 1 else weight.uniform_(
            0.5, 1.5)  # fmt: skip
    model.lm_head.weight.mul_(0.5)
    model.generation_config.eos_token_id = [2, 0]
    model.save_pretrained(folder, max_shard_size=shard)
    library.save(str(folder / "tokenizer.json"))
    return folder


def load(directory: Path):
    return transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


@torch.no_grad()
def gap(model, directory: Path) -> float:
    ids = torch.randint(500, (3, 200), generator=torch.Generator().manual_seed(1))
    logits = load(directory)(ids).logits
    assert logits.std() > 0.3
    return (model(ids) - logits).abs().max().item()


# ---------------------------------------------------------------- the same function


@pytest.mark.parametrize("shard", ["50GB", "60KB"])
@pytest.mark.parametrize("case", CASES)
def test_logits_agree(case, shard, library, tmp_path):
    directory = write(tmp_path / "hub", library, *CASES[case], shard)
    assert (directory / "model.safetensors.index.json").exists() == (shard == "60KB")
    model, _ = read_directory(directory)
    difference = gap(model, directory)
    print(f"{case}, shards of {shard}: max |logit difference| {difference:.1e}")
    assert difference < 1e-5


@pytest.mark.parametrize("case", ["llama 3", "qwen2 tied", "qwen3"])
def test_greedy_text_of_64_tokens_is_identical(case, library, tmp_path):
    directory = write(tmp_path / "hub", library, *CASES[case])
    model, codec = load_checkpoint(directory)
    twin = load(directory)
    for question in QUESTIONS:
        ids = codec.encode(prompt(question))
        theirs = twin.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=64)[0]
        settings = Sampling(64, codec.end_ids, temperature=0)
        ours = sample(model, [ids], 1, settings)
        assert ours.ids_BT[0, : ours.length_B[0]].tolist() == theirs[len(ids) :].tolist()


def test_our_own_exports_come_back(tmp_path):
    """Experts, latent attention and the tokenizer: byte for byte the checkpoint they came from."""
    for name in ("zero-cpu.pt", "student-small-cpu.pt"):
        path = Path("minir1/data") / name
        model, tokenizer = load_checkpoint(path)
        export(path, tmp_path / name)
        back, codec = load_checkpoint(tmp_path / name)
        assert isinstance(codec, Tokenizer) and codec.to_text() == tokenizer.to_text()
        same_weights(model, back)
        assert gap(back, tmp_path / name) < 1e-5


def same_weights(model, other) -> None:
    weights, others = model.state_dict(), other.state_dict()
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, others[name]), name


@pytest.mark.parametrize("case", CASES)
def test_there_and_back_nothing_changes(case, library, tmp_path):
    directory = write(tmp_path / "hub", library, *CASES[case])
    minir1(["import", str(directory), str(tmp_path / "base.pt")])
    minir1(["export", str(tmp_path / "base.pt"), str(tmp_path / "back")])
    before, after = (safetensors.load_file(d / "model.safetensors")
                     for d in (directory, tmp_path / "back"))  # fmt: skip
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    files = [d / "tokenizer.json" for d in (directory, tmp_path / "back")]
    assert json.loads(files[0].read_text()) == json.loads(files[1].read_text())
    theirs, ours = (transformers.AutoConfig.from_pretrained(d).to_dict()
                    for d in (directory, tmp_path / "back"))  # fmt: skip
    for name in ("rope_parameters", "tie_word_embeddings", "num_key_value_heads", "rms_norm_eps",
                 "max_position_embeddings", "architectures"):  # fmt: skip
        assert theirs[name] == ours[name], name
    ends = transformers.GenerationConfig.from_pretrained(tmp_path / "back").eos_token_id
    assert ends == [2, 0]
