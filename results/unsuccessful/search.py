"""Tree search at test time with a value head, beside sampling with as many tokens.

    python results/unsuccessful/search.py base --seed 0 --out results/unsuccessful

A value head on a copy of the policy learns from the policy's own responses to training puzzles, at
the end of each step, whether the answer will be right. On held-out puzzles it then guides

    beam K x M    each of K open thoughts is continued by M next steps; the K best go on
    tree N x M    Monte Carlo tree search: N times, the thought that UCT selects gets M next steps

Beside them: plain samples with a majority vote, with the best by the value head, with the best by
the process head, and with a perfect judge. OUT/search-POLICY-SEED.json holds counts.
"""

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from judging import (
    LONGEST,
    Response,
    StepJudge,
    auc,
    learn_judge,
    line_of,
    marks_of,
    puzzles,
    read,
    sample_responses,
)

from minir1.checkpoint import load_checkpoint
from minir1.console.files import write_text
from minir1.data import find_checkpoint
from minir1.fast.engine import Engine
from minir1.measure.statistics import consensus_answer, powers
from minir1.model import Transformer
from minir1.rewards import score
from minir1.rollout import roll_out, sampling
from minir1.sampler import Sampling, Stream
from minir1.tasks.countdown import Countdown
from minir1.tokenizer import Tokenizer
from minir1.transcript import parse, prompt

STEP = 64  # tokens of a step
BEAMS = ((1, 4), (1, 16), (4, 4))
TREES = ((16, 4), (48, 4))
WIDE = ((8, 8),)  # the most expensive one, last
EXPLORE = 0.5  # UCT's constant, beside values in 0..1

# ---------------------------------------------------------------- the tree


@dataclass
class Node:
    """A response up to the end of one of its steps."""

    ids: list[int] = field(default_factory=list)  # of the response so far
    value: float = 0.5  # P(the answer will be right), as the value head says
    done: bool = False
    parent: "Node | None" = None
    children: list["Node"] = field(default_factory=list)
    visits: int = 0
    total: float = 0.0

    def uct(self) -> float:
        """Mean value of the visits, and more for what was seldom visited."""
        spread = math.sqrt(math.log(1 + self.parent.visits) / (1 + self.visits))
        return (self.total + self.value) / (1 + self.visits) + EXPLORE * spread

    def back_up(self, value: float) -> None:
        self.visits += 1
        self.total += value
        if self.parent is not None:
            self.parent.back_up(value)


@dataclass
class Search:
    """The search for one puzzle, and what it costs."""

    problem: Countdown
    prompt_ids: list[int]
    root: Node = field(default_factory=Node)
    found: list[Node] = field(default_factory=list)  # whole responses
    tokens: int = 0
    children: int = 0
    distinct: int = 0  # of the children, by their text without the word that begins the next line

    def best(self) -> Node | None:
        return max(self.found, key=lambda node: node.value, default=None)


class Grower:
    """Continues thoughts by whole steps; one call serves many puzzles."""

    def __init__(self, policy: Transformer, judge: StepJudge, seed: int):
        self.policy, self.judge, self.tokenizer = policy, judge, judge.tokenizer
        self.seed, self.calls = seed, 0
        self.engine = Engine(policy, torch.float32, 256, LONGEST + STEP).sample
        self.settings = Sampling(STEP, marks_of(self.tokenizer), vocabulary=len(self.tokenizer))

    def grow(self, nodes: list[tuple[Search, Node]], count: int) -> list[list[Node]]:
        """`count` sampled next steps of each node, valued; equal ones once."""
        asked = [search.prompt_ids + node.ids for search, node in nodes]
        self.calls += 1
        stream = Stream.of("search", self.seed, self.calls)
        samples = self.engine(self.policy, asked, count, self.settings, stream)
        grown, fresh = [], []
        for n, (search, node) in enumerate(nodes):
            rows = range(n * count, (n + 1) * count)
            new = [samples.ids_BT[row, : samples.length_B[row]].tolist() for row in rows]
            grown.append(self._children(search, node, new))
            fresh += [(search, child) for child in grown[-1]]
        self._value(fresh)
        return grown

    def _children(self, search: Search, node: Node, new: list[list[int]]) -> list[Node]:
        texts = self.tokenizer.decode_batch(new)
        search.tokens += sum(map(len, new))
        search.children += len(new)
        search.distinct += len({line_of(text) for text in texts})
        children = []
        for ids in dict.fromkeys(map(tuple, new)):
            whole = node.ids + list(ids)
            done = ids[-1] == self.tokenizer.end or len(whole) >= LONGEST
            children.append(Node(whole, done=done, parent=node))
        node.children = children
        search.found += [child for child in children if child.done]
        return children

    def _value(self, fresh: list[tuple[Search, Node]]) -> None:
        rows = [search.prompt_ids + node.ids for search, node in fresh]
        scores = self.judge.score(rows, [[len(row) - 1] for row in rows])
        for (_, node), score_12 in zip(fresh, scores):
            node.value = score_12[0, 1].item()


def beam(grower: Grower, searches: list[Search], width: int, count: int) -> None:
    """Step-level beam search; width 1: the best of `count` next steps, again and again."""
    open_nodes = [[search.root] for search in searches]
    while any(open_nodes):
        nodes = [(s, node) for s, opened in zip(searches, open_nodes) for node in opened]
        # the first step has one parent: as many children as later ones have together
        first = width if nodes[0][1].parent is None else 1
        grown = dict(zip((id(node) for _, node in nodes), grower.grow(nodes, count * first)))
        for i, opened in enumerate(open_nodes):
            children = [child for node in opened for child in grown[id(node)]]
            kept = sorted(children, key=lambda node: -node.value)[:width]
            open_nodes[i] = [node for node in kept if not node.done]


def tree(grower: Grower, searches: list[Search], rounds: int, count: int) -> None:
    """Monte Carlo tree search with the value head in the place of play-outs."""
    for _ in range(rounds):
        chosen = [(search, select(search.root)) for search in searches]
        for _, node in chosen:
            if node.done:
                node.back_up(node.value)
        nodes = [(search, node) for search, node in chosen if not node.done]
        if nodes:
            for (_, node), children in zip(nodes, grower.grow(nodes, count)):
                node.back_up(max(child.value for child in children))
    unfinished = [s for s in searches if not s.found]
    while unfinished:  # the most promising thought is written to its end
        nodes = [(search, most_visited(search.root)) for search in unfinished]
        grower.grow(nodes, 1)
        unfinished = [search for search in unfinished if not search.found]


def select(node: Node) -> Node:
    while node.children:
        node = max(node.children, key=Node.uct)
    return node


def most_visited(node: Node) -> Node:
    while node.children:
        node = max(node.children, key=lambda child: (child.visits, child.value))
    return node


# ---------------------------------------------------------------- counts


def is_right(tokenizer: Tokenizer, search: Search, node: Node | None) -> bool:
    if node is None:
        return False
    return bool(score(search.problem, tokenizer.decode(node.ids)).accuracy)


def count_search(tokenizer: Tokenizer, searches: list[Search]) -> dict:
    """Right answers, tokens, and where the search failed."""
    rows = []
    for search in searches:
        right = is_right(tokenizer, search, search.best())
        any_right = right or any(is_right(tokenizer, search, node) for node in search.found)
        rows.append((right, any_right))
    return {
        "puzzles": len(rows),
        "right": sum(right for right, _ in rows),
        "written_not_chosen": sum(any_right and not right for right, any_right in rows),
        "never_written": sum(not any_right for _, any_right in rows),
        "tokens": sum(search.tokens for search in searches),
        "children": sum(search.children for search in searches),
        "distinct": sum(search.distinct for search in searches),
        "finished": sum(len(search.found) for search in searches),
        "value_of_chosen": sum(s.best().value for s in searches if s.best()) / len(rows),
    }


class Sampled:
    """Plain samples of each puzzle, with their judges' scores."""

    def __init__(self, problems: list[Countdown], responses: list[Response], scores: list, n: int):
        self.problems, self.n = problems, n
        self.groups = [responses[i : i + n] for i in range(0, len(responses), n)]
        self.scores = [scores[i : i + n] for i in range(0, len(scores), n)]
        self.lengths = [[len(r.ids) for r in group] for group in self.groups]

    def chosen(self, i: int, rows: range) -> dict[str, bool]:
        """Whether each way of choosing among some samples of puzzle i gives a right answer."""
        group = [self.groups[i][row] for row in rows]
        scores = [self.scores[i][row] for row in rows]
        answers = [parse("".join(r.steps)) for r in group]
        written = [answer.answer if answer.well_formed else None for answer in answers]
        voted = consensus_answer(self.problems[i], written)
        best = max(range(len(group)), key=lambda n: scores[n][-1, 1].item())
        process = max(range(len(group)), key=lambda n: scores[n][:, 0].mean().item())
        return {
            "majority": voted is not None and self.problems[i].verify(voted),
            "best_value": group[best].right,
            "best_process": group[process].right,
            "perfect": any(r.right for r in group),
        }


def by_samples(sampled: Sampled, asked: list[int]) -> list[dict]:
    """Each way of choosing, by number of samples; over disjoint groups of the samples."""
    rows = []
    for n in powers(sampled.n):
        tally, groups, tokens = Counter(), sampled.n // n, 0
        for i, lengths in enumerate(sampled.lengths):
            tokens += sum(lengths) - asked[i] * sampled.n
            for g in range(groups):
                tally.update(sampled.chosen(i, range(g * n, (g + 1) * n)))
        trials = len(sampled.groups) * groups
        rows.append({"n": n, "trials": trials, "tokens": tokens / trials, **tally})
    return rows


def at_equal_tokens(sampled: Sampled, asked: list[int], searches: list[Search]) -> dict:
    """Each way of choosing among as many samples as fit in the tokens of each puzzle's search."""
    tally, used, short = Counter(), 0, 0
    for i, search in enumerate(searches):
        n, spent = 0, 0
        for length in sampled.lengths[i]:
            if n and spent + length - asked[i] > search.tokens:
                break
            n, spent = n + 1, spent + length - asked[i]
        short += n == sampled.n
        used += spent
        tally.update(sampled.chosen(i, range(n)))
        tally.update(samples=n)
        tally["one"] += sum(r.right for r in sampled.groups[i]) / sampled.n
    return {"tokens": used, "ran_out": short, **tally}


def within_puzzles(sampled: Sampled) -> list[dict]:
    """How well the heads rank the samples of one puzzle against one another, by step (AUC, averaged
    over puzzles with both right and wrong ones). Step -1: the answer."""
    rows = []
    for step in (0, 1, 2, 4, 8, -1):
        areas = []
        for group, scores in zip(sampled.groups, sampled.scores):
            reach = [n for n, r in enumerate(group) if len(r.steps) > step + 1]
            right = torch.tensor([group[n].right for n in reach], dtype=torch.bool)
            if 0 < right.sum() < len(reach):
                areas.append(auc(torch.stack([scores[n][step, 1] for n in reach]), right))
        if areas:
            rows.append({"step": step, "puzzles": len(areas), "auc": sum(areas) / len(areas)})
    return rows


# ---------------------------------------------------------------- the command


def run(
    name: str, seed: int, out: Path, read_first: int, problems: int, samples: int,
    beams: Iterable[tuple[int, int]] = BEAMS, trees: Iterable[tuple[int, int]] = TREES,
    wide: Iterable[tuple[int, int]] = WIDE,
) -> Path:
    torch.manual_seed(seed)
    start = time.time()
    policy, tokenizer = load_checkpoint(find_checkpoint(f"{name}-cpu.pt"))
    sampler = Engine(policy, torch.float32, 256, LONGEST).sample
    how, key = (policy, tokenizer, sampler), f"search {name} {seed}"
    train = sample_responses(*how, key, "train", read_first)
    held = sample_responses(*how, key, "validation", 1024)
    judge, figures = learn_judge(policy, tokenizer, train, held, seed)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"search-{name}-{seed}.json"
    result = {"policy": name, "seed": seed, "judge": figures, "torch": torch.__version__}

    def save(**more) -> None:
        result.update(more, seconds=time.time() - start)
        write_text(path, json.dumps(result, indent=1))
        print(f"{name} {seed}: {', '.join(more)} after {result['seconds']:.0f} s", flush=True)

    asked = puzzles(f"search {seed}", "validation", problems)
    settings, stream = sampling(tokenizer, LONGEST), Stream.of("samples", seed)
    rollouts = roll_out(policy, tokenizer, asked, samples, settings, stream, sampler)
    responses = read(rollouts, tokenizer)
    sampled = Sampled(asked, responses, judge.read(responses), samples)
    lengths = [len(ids) for ids in rollouts.prompt_ids]
    save(sampled=by_samples(sampled, lengths), within=within_puzzles(sampled))

    grower, rows = Grower(policy, judge, seed), []
    ways: list[tuple[str, Callable, tuple[int, int]]] = [("beam", beam, b) for b in beams]
    ways += [("tree", tree, t) for t in trees]
    ways += [("beam", beam, b) for b in wide]
    for kind, method, (a, b) in ways:
        searches = [Search(p, tokenizer.encode(prompt(p.question()))) for p in asked]
        method(grower, searches, a, b)
        row = {"method": f"{kind} {a} x {b}", **count_search(tokenizer, searches)}
        rows.append(row | {"equal": at_equal_tokens(sampled, lengths, searches)})
        save(searches=rows)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("policy", choices=("base", "zero"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--read", type=int, default=8192, help="responses that train the heads")
    parser.add_argument("--problems", type=int, default=128, help="held-out puzzles")
    parser.add_argument("--samples", type=int, default=64, help="plain samples of each")
    given = parser.parse_args()
    torch.set_num_threads(1)
    how = (given.read, given.problems, given.samples)
    print(run(given.policy, given.seed, given.out, *how))


if __name__ == "__main__":
    main()
