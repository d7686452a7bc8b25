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

import train_zero
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
    """Experts, latent attention and the tokenizer: bit for bit the checkpoint they came from."""
    for name in ("zero-cpu.pt", "student-small-cpu.pt"):
        path = Path("minir1/data") / name
        model, tokenizer = load_checkpoint(path)
        export(path, tmp_path / name)
        back, codec = load_checkpoint(tmp_path / name)
        assert isinstance(codec, Tokenizer) and codec.to_text() == tokenizer.to_text()
        same_weights(model, back)
        difference = gap(back, tmp_path / name)
        print(f"{name}: max |logit difference| {difference:.1e}")
        assert difference < 1e-4  # float32; see the next test


class InFloat64:
    """torch, but for a module that says float32 where it does not want half precision."""

    float32 = torch.float64

    def __getattr__(self, name: str):
        return getattr(torch, name)


@torch.no_grad()
def test_what_is_left_between_transformers_and_us_is_rounding(tmp_path, monkeypatch):
    """zero-cpu's logits reach 34, and in float32 ours and transformers' differ by 4.9e-5 (1.4e-6 of
    34), not 1e-5. It is no term of the function: ours are 6.0e-5 off the same in float64, theirs
    5.1e-5, as each adds up in another order; and with all of both in float64 8e-14 is left."""
    from transformers.models.deepseek_v3 import modeling_deepseek_v3 as theirs_module

    export("minir1/data/zero-cpu.pt", tmp_path)
    ours, theirs = load_checkpoint(tmp_path)[0], load(tmp_path)
    theirs.set_experts_implementation("eager")  # the grouped one knows no float64
    ids = torch.randint(500, (3, 200), generator=torch.Generator().manual_seed(1))
    logits = [ours(ids), theirs(ids).logits]
    monkeypatch.setattr(theirs_module, "torch", InFloat64())
    exact = [ours.double()(ids), theirs.double()(ids).logits]
    assert (exact[0] - exact[1]).abs().max() < 1e-10
    off = [(rounded - exact[0]).abs().max() for rounded in logits]
    difference = (logits[0] - logits[1]).abs().max()
    assert difference < 2 * max(off) < 2e-4
    assert difference < 3e-6 * exact[0].abs().max()  # float32 has 1.2e-7 a step


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


# ---------------------------------------------------------------- tokens and templates


def test_text_is_encoded_as_transformers_does_with_the_template(library, tmp_path):
    """And back: end tokens are <|end|>, whichever of them it was; tags stay text."""
    _, codec = read_directory(write(tmp_path / "hub", library, "Llama", {}))
    assert isinstance(codec, ImportedCodec)
    export_to = tmp_path / "back"
    save_checkpoint(tmp_path / "base.pt", read_directory(tmp_path / "hub")[0], codec)
    export(tmp_path / "base.pt", export_to)
    twin = transformers.AutoTokenizer.from_pretrained(export_to)
    for question in [*QUESTIONS, "你好 {{ x }}", "a\nb", ""]:
        chat = [{"role": "user", "content": question}]
        text = twin.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        assert text == TEMPLATES["chatml"].replace("{question}", question)
        ids = codec.encode(prompt(question))
        assert twin.encode(text, add_special_tokens=False) == ids
        answer = "<think>1 + 1 = 2, yes</think><answer>1 + 1</answer>"
        whole = codec.encode(render(question, "1 + 1", "1 + 1 = 2, yes"))
        assert whole == ids + codec.encode(answer) + [2]
        assert codec.decode(whole[len(ids) :]) == answer + END
        assert codec.decode([*codec.encode("no"), 0]) == "no" + END
    assert codec.end_ids == (2, 0) and codec.pad == 1
    assert codec.id(END) == 2
    with pytest.raises(KeyError):
        codec.id("<think>")


def test_a_codec_in_a_checkpoint_is_the_same(library, tmp_path):
    model, codec = read_directory(write(tmp_path / "hub", library, "Qwen2", {}), "table1")
    save_checkpoint(tmp_path / "base.pt", model, codec)
    back, other = load_checkpoint(tmp_path / "base.pt")
    same_weights(model, back)
    assert other.to_text() == codec.to_text() and len(other) == len(codec) <= 512
    asked = other.decode(other.encode(prompt("1 + 1 =")))
    assert asked.startswith("A conversation between")
    assert asked.endswith(" User: 1 + 1 =. Assistant:")


def test_templates(library, tmp_path):
    """By the tokenizer's marks, by name or from a file; its own first token stands in front."""
    directory = write(tmp_path / "hub", library, "Llama", {})

    def asked(template: str) -> str:
        _, codec = read_directory(directory, template)
        return codec.decode(codec.encode(prompt("Q")))

    assert asked("auto") == asked("chatml")
    assert asked("auto").endswith(f"{END}\n<|im_start|>user\nQ{END}\n<|im_start|>assistant\n")
    (tmp_path / "mine.txt").write_text("{bos}Q: {question}\nA:", encoding="utf-8")
    assert asked(str(tmp_path / "mine.txt")) == "Q: Q\nA:"
    first = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    changed = Library.from_file(str(directory / "tokenizer.json"))
    changed.post_processor = first
    changed.save(str(directory / "tokenizer.json"))
    assert asked(str(tmp_path / "mine.txt")) == "<|im_start|>Q: Q\nA:"
    assert asked("plain") == "<|im_start|>User: Q\nAssistant:"
    for bad, said in (("none", "no template"), (str(directory / "config.json"), "once")):
        with pytest.raises(UserError, match=said):
            asked(bad)


def test_llama_3_headers_end_a_turn_with_eot(tmp_path, library):
    marks = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    llama3 = Library.from_str(library.to_str())
    llama3 = Library.from_str(re.sub(r"<\|im_(start|end)\|>", r"<|\1|>", llama3.to_str()))
    llama3.add_special_tokens(marks)
    _, codec = read_directory(write(tmp_path / "hub", llama3, "Llama", {}))
    assert codec.end == llama3.token_to_id("<|eot_id|>") and codec.end_ids[1:] == (2, 0)
    ids = codec.encode(prompt("Q"))
    text = codec.library.decode(ids, skip_special_tokens=False)
    assert text == TEMPLATES["llama3"].format(bos="", question="Q")


# ---------------------------------------------------------------- hostile directories


def edit(**changes):
    """Of config.json; None takes a key out."""

    def change(directory: Path) -> None:
        path = directory / "config.json"
        values = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({k: v for k, v in values.items() if v != "gone"}))

    return change


def header(change):
    """Of the safetensors header; its length follows."""

    def edit_header(directory: Path) -> None:
        path = directory / "model.safetensors"
        data = path.read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        entries = json.loads(data[8 : 8 + length])
        entries = change(entries) or entries
        text = json.dumps(entries).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])

    return edit_header


def entry(**changes):
    return header(lambda entries: entries["model.norm.weight"].update(changes))


def cut(keep: int):
    def shorten(directory: Path) -> None:
        path = directory / "model.safetensors"
        path.write_bytes(path.read_bytes()[:keep])

    return shorten


def put(name: str, text: str):
    return lambda directory: (directory / name).write_text(text)


def renamed(entries: dict) -> None:
    entries["model.other.weight"] = entries.pop("model.norm.weight")


def nan(directory: Path) -> None:
    path = directory / "model.safetensors"
    weights = safetensors.load_file(path)
    weights["model.norm.weight"][3] = torch.nan
    safetensors.save_file(weights, path)


def append(directory: Path, data: bytes) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes() + data)


LLAMA_3 = {
    "rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 4.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip
HOSTILE = {  # what is done to a good directory: what the one line says
    "no config": (lambda d: (d / "config.json").unlink(), "cannot read"),
    "config is a list": (put("config.json", "[1]"), "no JSON object"),
    "config is half": (put("config.json", '{"a": '), "is not JSON"),
    "deep config": (put("config.json", "[" * 100_000), "is not JSON"),
    "unknown architecture": (edit(architectures=["GPT2LMHeadModel"]), "'GPT2LMHeadModel' is unkno"),
    "architecture of another kind": (edit(architectures=7), "cannot be imported"),
    "two architectures": (edit(architectures=["LlamaForCausalLM", "X"]), "'LlamaForCausalLM' is"),
    "a switch that is off": (edit(norm_topk_prob=False), "norm_topk_prob False"),
    "sliding layers": (edit(layer_types=["full_attention", "sliding_attention"]), "sliding"),
    "linear, as it was once written": (
        edit(rope_parameters="gone", rope_scaling={"type": "linear"}), "rope_type 'linear'"),
    "slow above fast": (edit(rope_parameters=LLAMA_3), "low_freq_factor >= high_freq_factor"),
    "an odd head": (edit(head_dim=15), "rotated width of a head % 2"),
    "another activation": (edit(hidden_act="gelu"), "hidden_act 'gelu'"),
    "biases": (edit(attention_bias=True), "attention_bias True"),
    "yarn": (edit(rope_parameters={"rope_type": "yarn", "factor": 4}), "rope_type 'yarn'"),
    "half a llama3": (edit(rope_parameters={"rope_type": "llama3"}), "factor is missing"),
    "a missing size": (edit(hidden_size="gone"), "hidden_size is missing"),
    "an absurd width": (edit(hidden_size=10**12), "--width lies between"),
    "absurdly many layers": (edit(num_hidden_layers=200), "200 layers"),
    "an absurd vocabulary": (edit(vocab_size=2**20), "embed_tokens.weight is [512, 64], not"),
    "a size that is text": (edit(num_hidden_layers="2"), "is not of its kind"),
    "negative": (edit(intermediate_size=-3), "lies between"),
    "heads that do not fit": (edit(num_key_value_heads=3), "% num_key_value_heads"),
    "no weights": (lambda d: (d / "model.safetensors").unlink(), "no file"),
    "empty weights": (cut(0), "within its header"),
    "truncated header": (cut(100), "within its header"),
    "truncated weights": (cut(100_000), "not a sound safetensors file"),
    "half of a length": (cut(4), "within its header"),
    "bytes behind": (lambda d: append(d, bytes(8)), "8 bytes belong to no tensor"),
    "header length": (lambda d: (d / "model.safetensors").write_bytes(b"\xff" * 64), "sound"),
    "header is no JSON": (
        lambda d: (d / "model.safetensors").write_bytes(struct.pack("<Q", 8) + b"x" * 64), "sound"),
    "offsets beyond the end": (entry(data_offsets=[10**9, 10**9 + 256]), "sound"),
    "offsets backwards": (entry(data_offsets=[256, 0]), "sound"),
    "offsets overlap": (entry(data_offsets=[0, 256]), "lies at"),
    "offsets are text": (entry(data_offsets=["0", "256"]), "sound"),
    "dtype": (entry(dtype="I64"), "dtype I64"),
    "shape": (entry(shape=[63]), "bytes, which are not"),
    "shape of half the bytes": (entry(shape=[32]), "bytes, which are not"),
    "negative shape": (entry(shape=[-8, -8]), "no sizes"),
    "absurd shape": (entry(shape=[2**50]), "no sizes"),
    "shape of the same size": (entry(shape=[8, 8]), "is [8, 8], not [64]"),
    "another name": (header(renamed), "model.norm.weight is missing"),
    "one too many": (edit(num_hidden_layers=1), "has no place"),
    "not a number": (nan, "finite"),
    "index leads out": (
        put("model.safetensors.index.json", '{"weight_map": {"a": "../x"}}'), "no file beside it"),
    "index of another kind": (put("model.safetensors.index.json", "{}"), "no weight_map"),
    "index without its shard": (
        put("model.safetensors.index.json", '{"weight_map": {"a": "b"}}'), "no file"),
    "no tokenizer": (lambda d: (d / "tokenizer.json").unlink(), "cannot read"),
    "tokenizer of another kind": (put("tokenizer.json", "{}"), "no tokenizer that can be read"),
    "no end": (lambda d: [edit(eos_token_id=None)(d), (d / "generation_config.json").unlink(),
                          strip_marks(d)], "end token"),
    "an end that is text": (edit(eos_token_id="</s>"), "no tokenizer"),
    "end beyond the vocabulary": (edit(eos_token_id=10**6), "no tokenizer"),
    "tokenizer too large": (
        lambda d: put("tokenizer.json", wordy(d))(d), "100502 tokens, but 512"),
}  # fmt: skip


def strip_marks(directory: Path) -> None:
    path = directory / "tokenizer.json"
    path.write_text(path.read_text().replace("<|im_", "<|no_"))


def wordy(directory: Path) -> str:
    value = json.loads((directory / "tokenizer.json").read_text())
    value["model"]["vocab"] |= {"w": 100_501}
    return json.dumps(value)


@pytest.fixture(scope="module")
def good(library, tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("good") / "hub", library, "Llama", {})


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_directory_is_one_line(name, good, tmp_path, capsys):
    spoil, said = HOSTILE[name]
    directory = Path(shutil.copytree(good, tmp_path / "hub"))
    spoil(directory)
    assert minir1(["import", str(directory), str(tmp_path / "out.pt")]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and len(shown.err) < 500
    assert said in shown.err, shown.err
    assert not (tmp_path / "out.pt").exists()


def test_a_good_directory_is_one_line_too(good, tmp_path, capsys):
    assert minir1(["import", str(good), str(tmp_path / "out.pt")]) == 0
    assert capsys.readouterr().out.endswith("a response ends at <|im_end|>, <|endoftext|>\n")


def test_half_precision_is_read_as_it_stands(tmp_path):
    weights = {"a": torch.randn(3, 5).bfloat16(), "b": torch.randn(7).half()}
    weights["c"] = torch.zeros(0, 4)
    safetensors.save_file(weights, tmp_path / "x.safetensors")
    read = read_file(tmp_path / "x.safetensors")
    assert {n: t.dtype for n, t in read.items()} == {n: t.dtype for n, t in weights.items()}
    assert all(torch.equal(read[name], weights[name]) for name in weights)


# ---------------------------------------------------------------- what the commands do with it


def test_a_directory_is_distilled_into_trained_and_played(good, tmp_path, capsys):
    """--base DIR: curated lines, then RL, then an evaluation; each goes on from the one before."""
    lines, student, run = tmp_path / "lines.jsonl", tmp_path / "student.pt", tmp_path / "run"
    rows = [{"question": q, "response": f"<think>no</think><answer>{i}</answer>{END}"}
            for i, q in enumerate(QUESTIONS)]  # fmt: skip
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = ["--out", str(student), "--epochs", "12", "--rows", "10", "--lr", "1e-2"]
    assert minir1(["distil", str(lines), "--base", str(good), *more]) == 0
    assert "after 12 x 20 lines" in capsys.readouterr().out
    model, codec = load_checkpoint(student)
    ids = codec.encode(prompt(QUESTIONS[3]))
    samples = sample(model, [ids], 4, Sampling(40, codec.end_ids, 1.0))
    texts = codec.decode_batch([r[:n] for r, n in zip(samples.ids_BT.tolist(), samples.length_B)])
    assert sum(text.startswith("<think>no</think><answer>") for text in texts) >= 2, texts
    small = ["--preset", "smoke", "--from_scratch", "off", "--rl.steps", "1", "--eval.many", "1"]
    small += ["--eval.problems", "2", "--eval.validation", "2", "--eval.answer_only_steps", "1"]
    train_zero.main([*small, "--base", str(student), "--out", str(run)])
    assert "right answers" in capsys.readouterr().out
    _, other = load_checkpoint(run / "checkpoints" / "zero.pt")
    assert other.to_text() == codec.to_text()
    problems = tmp_path / "problems.jsonl"
    problems.write_text(json.dumps({"id": "a", "task": "file", "question": "Q", "answer": "3"}))
    how = ["--problems", str(problems), "--max-tokens", "8"]
    assert minir1(["evaluate", str(good), *how]) == 0
    assert "cut off" in capsys.readouterr().out


def test_malformed_lines_are_named(good, tmp_path, capsys):
    for text, said in (("", "no line in"), ("{}", "line 1: "), ("{", "line 1: "),
                       ('{"question": "q", "response": "r"}', "ending in <|end|>")):  # fmt: skip
        (tmp_path / "x.jsonl").write_text(text)
        assert minir1(["distil", str(tmp_path / "x.jsonl"), "--base", str(good)]) == 2
        shown = capsys.readouterr().err
        assert said in shown and shown.count("\n") == 1


def test_a_codec_ends_with_its_template_and_cuts_nothing(library):
    """An id that is no token does not pad."""
    codec = ImportedCodec(library.to_str(), TEMPLATES["chatml"], (0, 2), 900)
    assert codec.end_ids == (2, 0) and codec.pad == 1
    other = Library.from_str(library.to_str())
    other.enable_truncation(4)
    other.enable_padding(length=64)
    text = "Use 3, 5 and 7 to make 22."
    same = ImportedCodec(other.to_str(), TEMPLATES["chatml"], (0, 2), 900)
    assert same.encode(text) == codec.encode(text) and 4 < len(codec.encode(text)) < 64
