"""A student in a real llama.cpp: greedy text in F32, accuracy in Q8_0.

    python results/smollm2/llama.py WORK/seed-0/run/distil.pt WORK/llama.json

Needs `gguf` and `xllamacpp`. Where two greedy texts part, the file says how much more likely our
token was, in nats. The puzzles are the test's first ones, one response to each, as in seed.py.
"""

import argparse
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from urllib.request import Request, urlopen

import torch
import xllamacpp as cpp
from policy import held_out, share

from minir1.__main__ import main as minir1
from minir1.checkpoint import load_checkpoint
from minir1.rewards import score
from minir1.sampler import Sampling, Stream, sample
from minir1.transcript import prompt


class Llama:
    """A server with a cache in F32."""

    def __init__(self, path: Path, threads: int, slots: int = 1):
        how = cpp.CommonParams()
        how.model.path, how.n_ctx, how.n_parallel = str(path), 1024 * slots, slots
        how.n_gpu_layers = 0
        how.cpuparams.n_threads, how.warmup, how.verbosity = threads, False, 0
        how.cache_type_k = how.cache_type_v = cpp.ggml_type.GGML_TYPE_F32
        how.flash_attn_type = cpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server, self.slots = cpp.Server(how), slots

    def complete(self, ids: list[int], **how) -> list[int]:
        asked = {"prompt": ids, "cache_prompt": False, "return_tokens": True, "repeat_penalty": 1.0}
        data, headers = json.dumps(asked | how).encode(), {"Content-Type": "application/json"}
        request = Request(f"{self.server.listening_address}/completion", data, headers)
        with urlopen(request, timeout=600) as answer:
            return json.load(answer)["tokens"]

    def all(self, prompts: list[list[int]], **how) -> list[list[int]]:
        with ThreadPoolExecutor(self.slots) as pool:
            asked = enumerate(prompts)
            return list(pool.map(lambda p: self.complete(p[1], **how, seed=p[0]), asked))


def exported(checkpoint: Path, folder: Path, kind: str) -> Path:
    assert minir1(["export", str(checkpoint), str(folder), "--format", "gguf", "--type", kind]) == 0
    return folder / "model.gguf"


@torch.no_grad()
def parting(model, ids: list[int], ours: list[int], theirs: list[int]) -> float | None:
    """None where they are the same, else by how many nats ours was likelier where they part."""
    if ours == theirs:
        return None
    t = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), len(theirs))
    logp_V = model(torch.tensor([ids + ours[:t]]))[0, -1].log_softmax(-1)
    other = theirs[t] if t < len(theirs) else -1
    return float(logp_V[ours[t]] - logp_V[other])


def greedy(a, model, codec, folder: Path) -> dict:
    """Our text and llama.cpp's."""
    asked = [codec.encode(prompt(p.question())) for p in held_out("validation", a.prompts)]
    how = Sampling(a.tokens, codec.end_ids, temperature=0.0)
    drawn = sample(model, asked, 1, how, Stream.of("greedy", 0))
    ours = [ids[:n] for ids, n in zip(drawn.ids_BT.tolist(), drawn.length_B.tolist())]
    path = exported(a.checkpoint, folder, "f32")
    theirs = Llama(path, a.threads).all(asked, n_predict=a.tokens, temperature=0)
    trimmed = [[ids[:-1] if ids and ids[-1] in codec.end_ids else ids for ids in text]
               for text in (ours, theirs)]  # fmt: skip
    apart = [gap for case in zip(asked, *trimmed) if (gap := parting(model, *case)) is not None]
    return {"prompts": a.prompts, "same": a.prompts - len(apart), "apart": apart,
            "f32_bytes": path.stat().st_size}  # fmt: skip


def accuracy(a, codec, folder: Path) -> dict:
    path, problems = exported(a.checkpoint, folder, "q8_0"), held_out("test", a.problems)
    asked = [codec.encode(prompt(p.question())) for p in problems]
    how = {"n_predict": a.tokens, "temperature": 0.6, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
    drawn = Llama(path, a.threads, slots=8).all(asked, **how)
    texts = codec.decode_batch(drawn)
    right = share(score(p, text).accuracy for p, text in zip(problems, texts))
    tokens = sum(map(len, drawn)) / len(drawn)
    return right | {"tokens": round(tokens, 2), "q8_0_bytes": path.stat().st_size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("checkpoint", type=Path)
    add("out", type=Path)
    add("--prompts", type=int, default=50)
    add("--problems", type=int, default=512)
    add("--tokens", type=int, default=256)
    add("--threads", type=int, default=4)
    a = parser.parse_args()
    model, codec = load_checkpoint(a.checkpoint)
    result = {"llama.cpp": version("xllamacpp")}
    with tempfile.TemporaryDirectory() as folder:
        for name, figures in (
            ("q8_0", accuracy(a, codec, Path(folder) / "q8_0")),
            ("greedy", greedy(a, model, codec, Path(folder) / "f32")),
        ):
            result[name] = figures
    a.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
