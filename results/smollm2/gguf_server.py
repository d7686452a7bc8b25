"""A model in a real llama.cpp, and what is asked of it: for llama.py and tests/test_gguf.py."""

import json
from pathlib import Path
from urllib.request import Request, urlopen

import torch

from minir1.__main__ import main as minir1


class Llama:
    """A server with a cache in F32. Raises ImportError where there is no xllamacpp."""

    def __init__(self, path: Path, threads: int = 1, slots: int = 1):
        import xllamacpp as cpp

        how = cpp.CommonParams()
        how.model.path, how.n_ctx, how.n_parallel = str(path), 1024 * slots, slots
        how.n_gpu_layers = 0
        how.cpuparams.n_threads, how.warmup, how.verbosity = threads, False, 0
        how.cache_type_k = how.cache_type_v = cpp.ggml_type.GGML_TYPE_F32
        how.flash_attn_type = cpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server, self.slots = cpp.Server(how), slots

    def post(self, route: str, **question) -> dict:
        headers = {"Content-Type": "application/json"}
        data = json.dumps(question).encode()
        request = Request(f"{self.server.listening_address}/{route}", data, headers)
        with urlopen(request, timeout=600) as answer:
            return json.load(answer)

    def complete(self, ids: list[int], tokens: int, **how) -> list[int]:
        """What follows, the end token included; greedy by default."""
        asked = {"prompt": ids, "n_predict": tokens, "cache_prompt": False, "return_tokens": True}
        how = {"temperature": 0, "repeat_penalty": 1.0} | how
        return self.post("completion", **asked, **how)["tokens"]


def exported(checkpoint: Path, folder: Path, kind: str = "f32") -> Path:
    arguments = ["export", str(checkpoint), str(folder), "--format", "gguf", "--type", kind]
    assert minir1(arguments) == 0
    return folder / "model.gguf"


@torch.no_grad()
def parting(model, ids: list[int], ours: list[int], theirs: list[int]) -> float | None:
    """None where two greedy texts are the same, else how much more likely our token was, in nats,
    where they part."""
    if ours == theirs:
        return None
    t = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), len(theirs))
    other = theirs[t] if t < len(theirs) else -1
    logp_V = model(torch.tensor([ids + ours[:t]]))[0, -1].log_softmax(-1)
    return float(logp_V[ours[t]] - logp_V[other])
