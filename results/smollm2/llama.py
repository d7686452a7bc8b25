"""A student in a real llama.cpp: greedy text in F32, accuracy in Q8_0.

    python results/smollm2/llama.py WORK/seed-0/run/checkpoints/distil.pt WORK/llama.json

Needs `gguf` and `xllamacpp`. Where two greedy texts part, the file says how much more likely our
token was, in nats. The puzzles are the test's first ones, one response to each, as in seed.py.
"""

import argparse
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from gguf_server import Llama, exported, parting
from policy import held_out, share

from minir1.checkpoint import load_checkpoint
from minir1.rewards import score
from minir1.sampler import Sampling, sample
from minir1.transcript import prompt


def greedy(a, model, codec, folder: Path) -> dict:
    """Our text and llama.cpp's."""
    asked = [codec.encode(prompt(p.question())) for p in held_out("validation", a.prompts)]
    drawn = sample(model, asked, 1, Sampling(a.tokens, codec.end_ids, 0, 1.0, len(codec)))
    ours = [ids[:n] for ids, n in zip(drawn.ids_BT.tolist(), drawn.length_B.tolist())]
    path = exported(a.checkpoint, folder, "f32")
    llama = Llama(path, a.threads)
    theirs = [llama.complete(ids, a.tokens) for ids in asked]
    cases = zip(asked, ours, theirs)
    apart = [gap for case in cases if (gap := parting(model, *case)) is not None]
    return {"prompts": a.prompts, "same": a.prompts - len(apart), "apart": apart,
            "f32_bytes": path.stat().st_size}  # fmt: skip


def accuracy(a, codec, folder: Path) -> dict:
    path, problems = exported(a.checkpoint, folder, "q8_0"), held_out("test", a.problems)
    asked = [codec.encode(prompt(p.question())) for p in problems]
    llama, how = Llama(path, a.threads, slots=8), {"top_p": 1.0, "top_k": 0, "min_p": 0.0}
    with ThreadPoolExecutor(llama.slots) as pool:
        answers = [pool.submit(llama.complete, ids, a.tokens, temperature=0.6, seed=seed, **how)
                   for seed, ids in enumerate(asked)]  # fmt: skip
        drawn = [answer.result() for answer in answers]
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
    with tempfile.TemporaryDirectory() as folder:
        result = {
            "llama.cpp": version("xllamacpp"),
            "q8_0": accuracy(a, codec, Path(folder) / "q8_0"),
            "greedy": greedy(a, model, codec, Path(folder) / "f32"),
        }
    a.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
