"""What prepare.py and seed.py share: answers, accuracy, facts, held-out puzzles."""

import json
import re
from dataclasses import replace
from pathlib import Path

from minir1.checkpoint import load_checkpoint
from minir1.config import Config
from minir1.console.flags import parse_command_line
from minir1.fast.accelerate import make_sampler
from minir1.fast.device import pick_device
from minir1.measure.evaluate import evaluate_model
from minir1.rollout import sampling
from minir1.sampler import Stream
from minir1.tasks import draw_problems
from minir1.transcript import END, prompt

TASK = ("countdown:cpu=1",)


def configured(seed: int, **flags) -> Config:
    """train_zero.py's configuration; `rl__lr=1e-5` is --rl.lr 1e-5."""
    settings = {"rl__warmup": 2, "rl__checkpoint_every": 1000} | flags
    words = ["--preset", "cpu", "--seed", str(seed), "--rl.tasks", TASK[0]]
    for name, value in settings.items():
        words += [f"--{name.replace('__', '.')}", str(value)]
    return parse_command_line(words)


class Policy:
    """A checkpoint with its engine, which samples other models of the same shape, too."""

    def __init__(self, path: Path, config: Config):
        self.config, self.device = config, pick_device(config)
        self.model, self.codec = load_checkpoint(path, self.device.name)
        self.sampler = make_sampler(self.model, self.device, config, self.codec)

    def answers(self, model, questions: list[str], tokens: int, temperature: float = 0.0):
        """An answer to each question, greedy by default."""
        how = sampling(self.codec, tokens, temperature=temperature)
        batch, found = self.config.eval.batch, []
        for i in range(0, len(questions), batch):
            ids = [self.codec.encode(prompt(q)) for q in questions[i : i + batch]]
            stream = Stream.of("answers", f"{temperature}", i)
            drawn = self.sampler(model, ids, 1, how, stream)
            pairs = zip(drawn.ids_BT.tolist(), drawn.length_B.tolist())
            found += self.codec.decode_batch([row[:n] for row, n in pairs])
        return found

    def facts(self, model, facts: list[tuple[str, list[str]]]) -> tuple[dict, list[dict]]:
        """Figures, and a row for each answer."""
        answers = self.answers(model, [question for question, _ in facts], 40)
        rows = [
            {"question": question, "answer": text, "right": knows(text, accepted)}
            for (question, accepted), text in zip(facts, answers)
        ]
        thinks = mean("<think>" in row["answer"] for row in rows)
        return share(row["right"] for row in rows) | {"thinks": thinks}, rows

    def evaluate(self, model, problems: list, samples: int) -> tuple[dict, list[dict]]:
        """Figures at T = 0.6, and the first responses to 64 problems."""
        how, config = sampling(self.codec, self.config.rl.max_tokens, 0.6), self.config
        more = {"sampler": self.sampler, "seed": config.seed, "batch": config.eval.batch}
        rows = evaluate_model(model, self.codec, problems, samples, how, **more)
        drawn = [sample for row in rows for sample in row["samples"]]
        reasons = sorted({s["reason"] for s in drawn})
        figures = {
            "samples": samples,
            "tokens": mean(s["tokens"] for s in drawn),
            "cut_off": mean(not s["stopped"] for s in drawn),
            "reasons": {why: mean(s["reason"] == why for s in drawn) for why in reasons},
        }
        shown = [
            {"numbers": p.numbers, "target": p.target} | row["samples"][0]
            for p, row in zip(problems[:64], rows)
        ]
        return share(row["pass_at_1"] for row in rows) | figures, shown


def knows(text: str, accepted: list[str]) -> bool:
    """Whether one of them begins a word of the text; short ones and numbers are whole words."""
    text = text.removesuffix(END)
    for words in accepted:
        whole = len(words) <= 2 or words.isdigit()
        pattern = rf"(?<!\w){re.escape(words)}" + (r"(?!\w)" if whole else "")
        if re.search(pattern, text, 0 if whole else re.IGNORECASE):
            return True
    return False


def mean(values) -> float:
    values = [float(value) for value in values]
    return round(sum(values) / max(1, len(values)), 5)


def share(values) -> dict:
    """A mean with its standard error."""
    values = [float(value) for value in values]
    p, n = sum(values) / len(values), len(values)
    spread = sum((v - p) ** 2 for v in values) / max(1, n - 1)
    return {"right": round(p, 5), "stderr": round((spread / n) ** 0.5, 5), "of": n}


def held_out(split: str, count: int) -> list:
    """Of the split "test" or "validation"."""
    problems = draw_problems(TASK, ("en",), split, f"smol {split}", count)
    return [replace(p, id=str(i)) for i, p in enumerate(problems)]


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
