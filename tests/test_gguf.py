"""GGUF files in a real llama.cpp: the same tokens, the same greedy text, the same accuracy."""

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import torch
from test_export import GQA, SMALL, random_model
from test_import import CASES, library, write  # noqa: F401 - a fixture

from minir1.__main__ import main as minir1
from minir1.checkpoint import load_checkpoint, save_checkpoint
from minir1.config import CorpusConfig, UserError
from minir1.corpus.mixture import sample_text
from minir1.hub.gguf import as_llama_cpp_does, cut_otherwise, gguf_weights, pre_tokenizer
from minir1.model import Transformer
from minir1.rewards import score
from minir1.sampler import Sampling, sample
from minir1.tasks import GENERAL, draw_problems, find_task
from minir1.transcript import END, prompt

gguf = pytest.importorskip("gguf")
DATA = Path("minir1/data")
MODELS = ("student-small-cpu.pt", "student-large-cpu.pt", "zero-cpu.pt", "base-r1-cpu.pt")


@contextmanager
def llama_cpp(path: Path):
    """post(route, **question) to a server of one slot, one thread, an F32 cache."""
    cpp = pytest.importorskip("xllamacpp")
    how = cpp.CommonParams()
    how.model.path, how.n_ctx, how.n_parallel, how.n_gpu_layers = str(path), 1024, 1, 0
    how.cpuparams.n_threads, how.warmup, how.verbosity = 1, False, 0
    how.cache_type_k = how.cache_type_v = cpp.ggml_type.GGML_TYPE_F32
    how.flash_attn_type = cpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = cpp.Server(how)

    def post(route: str, **question) -> dict:
        headers = {"Content-Type": "application/json"}
        data = json.dumps(question).encode()
        request = Request(f"{server.listening_address}/{route}", data, headers)
        with urlopen(request, timeout=120) as answer:
            return json.load(answer)

    yield post
    del server


def exported(checkpoint: Path, folder: Path, kind: str = "f32") -> Path:
    arguments = ["export", str(checkpoint), str(folder), "--format", "gguf", "--type", kind]
    assert minir1(arguments) == 0
    return folder / "model.gguf"


def complete(post, ids: list[int], tokens: int, **how) -> list[int]:
    asked = {"prompt": ids, "n_predict": tokens, "cache_prompt": False, "return_tokens": True}
    return post("completion", **asked, **{"temperature": 0, "repeat_penalty": 1.0} | how)["tokens"]


KINDS = tuple(f"{name}:{kind}=1" for name in GENERAL for kind in find_task(name).kinds)
PUZZLES = ("countdown:cpu=1", "countdown:3to4=1", "countdown:rg-easy=1")


def questions(tasks: tuple[str, ...], count: int, languages=("en", "zh")) -> list[str]:
    return [p.question() for p in draw_problems(tasks, languages, "test", "gguf", count)]


@torch.no_grad()
def parting(model, ids: list[int], ours: list[int], theirs: list[int]) -> float | None:
    """None where two greedy texts are the same, else how much more likely our token was, in
    nats, where they part."""
    if ours == theirs:
        return None
    t = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), len(theirs))
    other = theirs[t] if t < len(theirs) else -1
    logp_V = model(torch.tensor([ids + ours[:t]]))[0, -1].log_softmax(-1)
    return float(logp_V[ours[t]] - logp_V[other])


# ---------------------------------------------------------------- against llama.cpp


@pytest.mark.parametrize("name", MODELS)
def test_greedy_text_is_that_of_llama_cpp(name, tmp_path):
    """50 prompts in F32. Near-ties may fall either way and are counted."""
    model, codec = load_checkpoint(DATA / name)
    ties, lengths = 0, []
    with llama_cpp(exported(DATA / name, tmp_path)) as post:
        for question in questions(PUZZLES, 40, ("en",)) + questions(KINDS, 10):
            ids = codec.encode(prompt(question))
            samples = sample(model, [ids], 1, Sampling(96, codec.end_ids, 0, 1.0, len(codec)))
            ours = samples.ids_BT[0, : samples.length_B[0]].tolist()
            theirs = complete(post, ids, 96)
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
    with llama_cpp(exported(DATA / name, tmp_path)) as post:
        for question in puzzles + general:
            text = prompt(question)
            asked = {"content": text, "add_special": True, "parse_special": True}
            theirs, ours = post("tokenize", **asked)["tokens"], codec.encode(text)
            assert theirs == foretold.encode(text).ids, text
            other += theirs != ours
            assert theirs == ours or question not in puzzles[:count], text
    print(f"{name}: of {2 * count} prompts, {other} are cut otherwise, none of them a puzzle")
    assert other / count == pytest.approx(cut_otherwise(codec)["general prompts"], abs=0.03)
