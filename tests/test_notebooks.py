"""Notebooks run, import instead of redefining, and their puzzles' graders tell right from wrong."""

import ast
import importlib.util
import json
import re
import sys
import time
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from random import Random

import nbformat
import pytest
import torch

from grader.check import check, first_fault
from grader.hints import HELP
from grader.specs import PUZZLES
from minir1.config import ModelConfig, RLConfig, UserError
from minir1.grpo import Total
from minir1.rewards import language_share
from minir1.transcript import parse

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
SOLUTIONS = sorted((FOLDER / "solutions").glob("*.py"))
SECONDS = 90  # in the CI profile
RENDERED = FOLDER / "rendered"
PREDICT = "**Predict before you run.**"


def load(path: Path):
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load(FOLDER / "build.py")


def cells(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def named(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


# ---------------------------------------------------------------- the notebooks as they are saved


@named(NOTEBOOKS)
def test_students_see_no_output_and_the_rendered_copy_is_the_same_notebook(path):
    notebook, shown = (nbformat.read(p, as_version=4) for p in (path, RENDERED / path.name))
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in cells(path))
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in shown.cells]
    assert "minir1" not in notebook.metadata  # the mark of a rendered copy


@named(NOTEBOOKS)
def test_rendered_outputs_are_whole_and_belong_to_this_code(path):
    path = RENDERED / path.name
    notebook, code = nbformat.read(path, as_version=4), cells(path)
    nbformat.validate(notebook)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {
        "stream",
        "display_data",
        "execute_result",
    }
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert notebook.metadata["minir1"]["code"] == build.digest(notebook), (
        "run python notebooks/build.py"
    )


def test_all_notebooks_together_stay_small():
    rendered = sorted(RENDERED.iterdir())
    assert [path.name for path in rendered] == [path.name for path in NOTEBOOKS]
    assert sum(path.stat().st_size for path in [*rendered, *NOTEBOOKS]) <= 1_500_000


FOLD = "<details><summary>After you have run it</summary>\n\n"


@named(NOTEBOOKS)
def test_what_follows_a_prediction_is_folded(path):
    """The text behind a predicted cell begins with its fold, or with what is no answer."""
    before, folds, after = "", 0, []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            folds += cell.source.count(FOLD)
            assert cell.source.count("<details>") == cell.source.count("</details>")
            if PREDICT in before and not cell.source.startswith(FOLD):
                after.append(cell.source)
            before = cell.source
    assert folds >= 2
    for text in after:
        assert text.startswith(("#", "Token by token", "That was arithmetic")), text


@named(NOTEBOOKS)
def test_the_head_says_how_long_it_takes(path):
    head = nbformat.read(path, as_version=4).cells[0].source
    assert re.search(r"\*\*Time:\*\* .*(second|minute)", head)


def test_the_setup_is_folded_and_asks_once(monkeypatch, tmp_path):
    """Where minir1 is missing and no address is given, it asks for one and clones it."""
    setup = cells(NOTEBOOKS[0])[0]
    assert setup.metadata == {"cellView": "form", "jupyter": {"source_hidden": True}}
    asked, called = [], []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("builtins.input", lambda text: asked.append(text) or " https://x/y.git ")
    monkeypatch.setattr("subprocess.run", lambda command, check: called.append(command))
    monkeypatch.setattr(sys, "path", list(sys.path))
    exec(setup.source, {})
    assert len(asked) == 1 and "https://x/y.git" in called[0]
    exec(setup.source.replace('SOURCE = ""', 'SOURCE = "https://z"'), {})
    assert len(asked) == 1 and "https://z" in called[3]


@named(sorted(RENDERED.glob("*.ipynb")))
def test_no_machine_paths(path):
    for cell in nbformat.read(path, as_version=4).cells:
        text = cell.source + "".join(
            o.get("text", "") + o.get("data", {}).get("text/plain", "")
            for o in cell.get("outputs", ())
        )
        text = text.replace("/content/drive", "")  # where Colab mounts one's Drive
        assert not re.search(
            r"/(work|opt|root|home|tmp|usr|Users|content)/|site-packages|[A-Z]:\\", text
        )


def definitions(source: str) -> set[str]:
    """Functions and classes, lambdas given a name included."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def package_names() -> set[str]:
    """What the package defines at the top level of its files, and methods of its classes."""
    found = set()
    for path in [ROOT / "train_zero.py", *(ROOT / "minir1").rglob("*.py")]:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            found |= (
                definitions(ast.unparse(node))
                if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Assign))
                else set()
            )
    return found


@named(NOTEBOOKS)
def test_nothing_of_the_package_is_defined_again(path):
    assert not definitions("\n".join(cell.source for cell in cells(path))) & package_names()


def test_redefinitions_would_be_seen():
    assert {"advantages", "Transformer", "grpo_loss", "observe"} <= package_names()
    assert definitions("def f():\n    class A: ...\ng = lambda x: x") == {"f", "A", "g"}


@named(NOTEBOOKS)
def test_begins_with_the_same_setup_and_ends_in_its_puzzles(path):
    code = cells(path)
    assert code[0].source == cells(NOTEBOOKS[0])[0].source
    assert "torch" in code[0].source and "--no-deps" in code[0].source  # Colab's own torch stays
    stubs = [cell for cell in code if re.search(r"^check\(", cell.source, re.MULTILINE)]
    assert 3 <= len(stubs) <= 6 and code[-len(stubs) :] == stubs
    asked = []
    for cell in stubs:
        name, function = re.fullmatch(
            r'def .*\n\ncheck\("(.+)", (\w+)\)', cell.source, re.DOTALL
        ).groups()
        stub = ast.parse(cell.source).body[0]
        assert stub.name == function == f"my_{name[3:]}"
        assert ast.get_docstring(stub) and len(stub.body) == 2
        arguments = PUZZLES[name].specification.__code__
        assert [a.arg for a in stub.args.args] == list(
            arguments.co_varnames[: arguments.co_argcount]
        )
        asked.append(name)
    assert asked == [name for name in PUZZLES if name[:2] == path.stem[:2]]
    for cell in cells(RENDERED / path.name)[-len(stubs) :]:
        assert "not done yet" in cell.outputs[0].text


@named(NOTEBOOKS)
@pytest.mark.slow
def test_runs_from_a_clean_state(path, monkeypatch):
    monkeypatch.setenv("MINIR1_CI", "1")
    start = time.monotonic()
    build.execute(path, limit=SECONDS)
    assert time.monotonic() - start <= SECONDS


# ---------------------------------------------------------------- specifications and the package


def arguments(name: str, rounds: int = 60):
    rng = Random(f"agree {name}")
    edges = list(PUZZLES[name].edges.values())
    return edges + [PUZZLES[name].draw(rng) for _ in range(rounds)]


def wanted(name: str, *drawn):
    return PUZZLES[name].specification(*drawn)


def agree(name: str, function) -> None:
    for drawn in arguments(name):
        expected = torch.as_tensor(wanted(name, *drawn)).double()
        got = torch.as_tensor(function(*drawn)).double()
        torch.testing.assert_close(expected, got, rtol=1e-4, atol=1e-6)


def test_tour_puzzles_ask_what_the_package_does():
    from minir1.grpo import advantages

    for (reward_G,) in arguments("00.push"):
        signs = advantages(reward_G[None])[0].sign().int().tolist()
        assert wanted("00.push", reward_G) == signs


def test_transformer_puzzles_ask_what_the_package_does():
    from minir1.model import rotary_table, rotate

    for kind, heads, kv_heads, width, rank, rope in arguments("01.cache_numbers"):
        config = ModelConfig(
            attention="mla" if kind == "mla" else "gqa",
            heads=heads,
            kv_heads=heads if kind == "mha" else kv_heads,
            head_width=width,
            kv_rank=rank,
            rope_width=rope,
        )
        drawn = (kind, heads, kv_heads, width, rank, rope)
        assert wanted("01.cache_numbers", *drawn) == config.cache_width

    def turn(x_C, at, base):
        turns = rotary_table(len(x_C), 10, base)[None, at, None]
        return rotate(x_C[None, None, None], turns, True).flatten()

    agree("01.rotate_pairs", turn)


def test_expert_puzzles_ask_what_the_package_does():
    from minir1 import model as m

    def load(expert_NK, experts):
        routing = m.Routing(expert_NK[None], torch.zeros(1, len(expert_NK), 1))
        return m.expert_load([routing], experts)[0]

    def balance(expert_TK, score_TE):
        return m.balance_loss([m.Routing(expert_TK[None], score_TE[None])])

    agree("02.share_of_choices", load)
    agree("02.sequence_balance", balance)

    def moved(bias_E, load_E, rate):
        shape = {"width": 8, "layers": 1, "heads": 1, "dense_layers": 0, "positions": 8}
        model = m.Transformer(ModelConfig(experts=len(bias_E), expert_width=4, **shape))
        model.expert_layers()[0].bias_E.copy_(bias_E)
        m.move_router_bias(model, load_E[None], rate)
        return model.expert_layers()[0].bias_E

    agree("02.step_bias", moved)

    def gates(score_E, bias_E, top_k):
        E, shape = len(score_E), {"shared_experts": 0, "expert_width": 2}
        layer = m.MixtureOfExperts(ModelConfig(width=E, experts=E, top_k=top_k, **shape))
        seen = []
        for weight in layer.parameters():
            torch.nn.init.ones_(weight)
        layer.router.data, layer.bias_E = torch.eye(E), bias_E

        def compute(x_ND, expert_NK, weight_NK, *weights):
            seen.append((expert_NK, weight_NK))
            return torch.zeros_like(x_ND)

        layer.compute = compute
        layer(score_E.logit()[None, None])
        return torch.zeros(1, E).scatter(1, *seen[0])[0].detach()

    agree("02.gates", gates)


def test_base_model_puzzles_ask_what_the_package_does():
    from minir1.measure.attempts import attempts_of
    from minir1.measure.behaviours import observe
    from minir1.measure.statistics import pass_at_k
    from minir1.tasks.countdown import Countdown

    puzzle = Countdown((3, 5), 9)
    agree("03.pass_at_k", pass_at_k)
    agree("03.count_attempts", lambda thought: len(attempts_of(puzzle, thought)))

    def share(steps):
        thought = "\n".join(f"{a} {operator} {b} = {value}" for a, operator, b, value in steps)
        seen = observe(puzzle, "<think>" + thought)
        assert seen.steps == len(steps)
        return 1 - seen.wrong_steps / seen.steps

    agree("03.true_share", share)


MANY = 20_000  # draws


def test_cooling_the_nucleus_and_darts_are_the_package_s():
    from minir1.sampler import Sampling, choose, restrict

    def draws(logits_V, settings, count):
        free_B = torch.ones(count) > 0
        uniform_B = torch.rand(count, generator=torch.Generator().manual_seed(0))
        return choose(logits_V.expand(count, -1), settings, free_B, uniform_B)

    for logits_V, temperature in arguments("04.cooled", 20):
        expected_V = wanted("04.cooled", logits_V, temperature)
        ids_B, logp_B = draws(logits_V, Sampling(1, (0,), temperature), 4000)
        got_V = expected_V.clone()  # choose() returns one token's log-prob; not all are drawn
        got_V[ids_B] = logp_B
        torch.testing.assert_close(got_V, expected_V, rtol=1e-4, atol=1e-5)
    for p_V, top_p in arguments("04.nucleus"):
        reached_V = p_V.sort(descending=True).values.cumsum(-1)
        if (reached_V - top_p).abs().min() > 1e-5:  # logarithms round
            got_V = restrict(p_V.log()[None], top_p).softmax(-1)[0]
            expected_V = wanted("04.nucleus", p_V, top_p)
            torch.testing.assert_close(got_V, expected_V, rtol=1e-4, atol=1e-6)
    for p_V, _ in arguments("04.draw_token", 10):
        spread = [wanted("04.draw_token", p_V, (i + 0.5) / 500) for i in range(500)]
        dart_V = torch.bincount(torch.tensor(spread), minlength=len(p_V)) / 500
        ids_B, _ = draws(p_V.log(), Sampling(1, (0,)), MANY)
        share_V = torch.bincount(ids_B, minlength=len(p_V)) / MANY
        # 0.02 is more than 5 standard errors
        torch.testing.assert_close(dart_V, share_V, rtol=0, atol=0.02)


def test_the_mask_puzzle_asks_what_the_package_does():
    from minir1.rollout import Rollouts, to_batch

    for start, length, width in arguments("04.action_mask"):
        longer = width - start + 1  # a second response sets the width
        prompt, responses = [9] * start, [[9] * length, [9] * longer]
        logp = [torch.zeros(length), torch.zeros(longer)]
        rollouts = Rollouts([None], 2, [prompt], responses, logp, ["", ""], [True] * 2, [])
        mask_T = to_batch(rollouts, 0, "cpu").mask_BT[0]
        assert wanted("04.action_mask", start, length, width) == mask_T.tolist()


class Scripted(torch.nn.Module):
    """A model that says the given ids, one after the other."""

    def __init__(self, ids):
        super().__init__()
        self.ids = ids
        self.config = ModelConfig(layers=1, positions=16)
        self.embed = torch.nn.Embedding(8, 8)

    def forward(self, ids_BT, cache):
        T = ids_BT.shape[1]
        place = int(cache.length_B[0]) + T - 1
        cache.span += T
        cache.length_B = cache.length_B + T
        says_BT = torch.tensor([[self.ids[place]] * T])
        return torch.nn.functional.one_hot(says_BT, 8).float() * 100


def test_the_stop_puzzle_asks_what_the_package_does():
    from minir1.sampler import Sampling, sample

    for ids, stop_ids, most in arguments("04.cut_at_stop"):
        samples = sample(Scripted(ids), [[7]], 1, Sampling(most, stop_ids, temperature=0.0))
        ended = (int(samples.length_B), bool(samples.stopped_B))
        assert wanted("04.cut_at_stop", ids, stop_ids, most) == ended


def test_reward_puzzles_ask_what_the_package_does():
    from minir1.rewards import Reward
    from minir1.tasks.countdown import Countdown, evaluate

    for (response,) in arguments("05.well_formed", 300):
        assert wanted("05.well_formed", response) == parse(response).well_formed, response
    for numbers, used in arguments("05.uses_each_once", 100):
        accepted = Countdown(numbers, sum(used)).verify(" + ".join(map(str, used)))
        assert wanted("05.uses_each_once", numbers, used) == accepted
    for (parts,) in arguments("05.exact_value", 200):
        read = evaluate(" ".join(map(str, parts)))
        assert wanted("05.exact_value", parts) == (read and read[0])
    for right, formed, weight in arguments("05.total_reward"):
        reward = Reward(float(right and formed), float(formed), 1.0)
        total = reward.total(RLConfig(format_reward=weight))
        assert wanted("05.total_reward", right, formed, weight) == pytest.approx(total)
    for words, lang in arguments("05.share_in_language"):
        if any(len(word) == 2 for word in words):
            continue  # the package counts the two parts of a mixed word
        share = language_share(" ".join(words), lang)
        expected = pytest.approx(1.0 if share is None else share)
        assert wanted("05.share_in_language", words, lang) == expected


def test_grpo_puzzles_ask_what_the_package_does():
    from minir1.grpo import advantages, grpo_loss, k3
    from minir1.variants.losses import gspo_loss

    agree("06.advantages", lambda reward_G: advantages(reward_G[None])[0])
    agree("06.kl_estimate", k3)

    def graded(ratio_T, advantage, low, high):
        """Each token as a response of its own: (terms, slopes)."""
        logp_T1 = ratio_T.log()[:, None].requires_grad_()
        settings = RLConfig(clip_low=low, clip_high=high)
        adv_B, mask_BT = torch.tensor([advantage]), torch.ones(1, 1) > 0
        terms = []
        for row in logp_T1:
            case = (row[None], torch.zeros(1, 1), adv_B, mask_BT, Total(1, 1), settings)
            terms.append(-grpo_loss(*case)[0])
        torch.stack(terms).sum().backward()
        return torch.stack(terms).detach(), logp_T1.grad[:, 0]

    agree("06.clipped_terms", lambda *drawn: graded(*drawn)[0])
    agree("06.gradient_weights", lambda *drawn: graded(*drawn)[1])

    def ratio(logp_T, old_T, mask_T):
        total, config = Total(int(mask_T.sum()), 1), RLConfig(clip_low=1, clip_high=1e9)
        return -gspo_loss(logp_T[None], old_T[None], torch.ones(1), mask_T[None], total, config)[0]

    agree("06.response_ratio", ratio)


def test_the_averages_puzzle_asks_what_the_package_does():
    from minir1.grpo import average
    from minir1.variants.losses import dr_grpo_loss

    for loss_BT, mask_BT, max_tokens in arguments("06.average_three_ways"):
        total = Total(int(mask_BT.sum()), len(loss_BT))
        config = RLConfig(max_tokens=max_tokens, clip_low=9, clip_high=99)
        by_response = replace(config, average="response")
        grpo = average(loss_BT, mask_BT, total, by_response)
        dapo = average(loss_BT, mask_BT, total, replace(config, average="token"))
        zero_BT, adv_B = torch.zeros_like(loss_BT), torch.zeros(len(loss_BT))
        assert dr_grpo_loss(zero_BT, zero_BT, adv_B, mask_BT, total, config)[0] == 0
        dr_grpo = dapo * total.tokens / (total.responses * max_tokens)
        expected = torch.tensor(wanted("06.average_three_ways", loss_BT, mask_BT, max_tokens))
        got = torch.stack([grpo, dapo, dr_grpo])
        torch.testing.assert_close(expected, got, rtol=1e-4, atol=1e-6)


def test_real_model_puzzles_ask_what_the_package_does():
    from minir1.hub.gguf import halves_to_pairs
    from minir1.model import Transformer
    from minir1.run.costs import operations
    from minir1.run.memory import Load, plan

    agree("10.neighbours", lambda rows_KD: halves_to_pairs(rows_KD, len(rows_KD)))
    shape = {"attention": "gqa", "experts": 0, "layers": 3, "kv_heads": 2, "head_width": 6}
    config = ModelConfig(width=8, heads=4, positions=32, **shape)
    model = Transformer(config)
    count = sum(p.numel() for p in model.parameters())
    parts = plan(config, RLConfig(), Load(rows=5, size=7))
    named = ("weights", "gradients", "moments", "sampler", "cache")
    assert wanted("10.training_bytes", count, 5, 7, 3, 2, 6) == sum(parts[name] for name in named)
    for lines, tokens, responses, length in arguments("10.equal_steps"):
        whole = operations(model, trained=lines * tokens)
        step = operations(model, responses * length, responses * length)
        assert wanted("10.equal_steps", lines, tokens, responses, length) == whole // step


def test_training_puzzles_ask_what_the_package_does():
    from minir1.grpo import advantages, learning_rate
    from minir1.measure.behaviours import observe
    from minir1.tasks.countdown import Countdown

    def rate(step, steps, peak, warmup, end):
        return learning_rate(step, RLConfig(steps=steps, lr=peak, warmup=warmup, lr_end=end))

    agree("07.learning_rate", rate)
    for (reward_PG,) in arguments("07.signal"):
        # with two no reward of a group that differs is its mean, so each one has an advantage
        if reward_PG.shape[1] == 2:
            share = (advantages(reward_PG) != 0).float().mean().item()
            assert wanted("07.signal", reward_PG) == pytest.approx(share)
    for (attempts,) in arguments("07.repeats"):
        thought = "\n".join(f"{attempt}, not 9" for attempt in attempts)
        seen = observe(Countdown((3, 5), 9), "<think>" + thought)
        assert wanted("07.repeats", attempts) == seen.repeated


def test_pipeline_puzzles_ask_what_the_package_does():
    from minir1.model import Transformer
    from minir1.r1.preference.model import bradley_terry
    from minir1.r1.students.distillation import reverse_kl
    from minir1.rewards import Reward
    from minir1.run.costs import cost, parameter_counts

    agree("08.preference_loss", bradley_terry)
    agree("08.reverse_kl", lambda s_V, t_V: reverse_kl(s_V[None, None], t_V[None, None])[0, 0])
    for (share,) in arguments("08.highest_weight"):
        config = RLConfig(language_reward=wanted("08.highest_weight", share))
        clean = Reward(0.0, 1.0, 1.0).total(config)
        assert Reward(1.0, 1.0, share).total(config) == pytest.approx(clean)
    shape = {"vocab_size": 8, "width": 4, "layers": 1, "heads": 1, "kv_rank": 4}
    model = Transformer(ModelConfig(experts=0, positions=8, **shape))
    used = parameter_counts(model)[1]
    for _, sampled, trained in arguments("08.operations"):
        flops = cost(model, 1.0, sampled, trained)["flops"]
        assert wanted("08.operations", used, sampled, trained) == flops


def test_the_filter_puzzle_asks_what_the_package_does():
    from minir1.r1.data.curation import reason_to_drop
    from minir1.tasks.countdown import Countdown

    hit, miss = "3 + 5 = 8, yes", "5 - 3 = 2, not 8"
    false, mixed = "5 - 3 = 4, not 8", "5 - 3 = 2, 不是8"
    end = "<answer>3 + 5</answer><|end|>"
    cases = (  # response, then right, thought, repeated, false steps, share in the language
        (f"<think>{miss}\n{hit}</think>{end}", (True, "", 0, 0, 1.0)),
        (f"<think>{hit}</think><answer>3 - 5</answer><|end|>", (False, "", 0, 0, 1.0)),
        (end, (True, None, 0, 0, None)),
        (f"<think>{mixed}\n{miss}\n{miss}\n{hit}</think>{end}", (True, "", 1, 0, 0.5)),
        (f"<think>{miss}\n{miss}\n{false}\n{hit}</think>{end}", (True, "", 1, 1, 1.0)),
        (f"<think>{false}\n{hit}</think>{end}", (True, "", 0, 1, 1.0)),
    )
    for response, facts in cases:
        assert reason_to_drop(Countdown((3, 5), 8), response) == wanted("08.keep", *facts)


def test_reading_puzzles_ask_what_the_package_does():
    from minir1.measure.diagnosis import trend
    from minir1.measure.evaluator import outcome
    from minir1.model import Routing, expert_load
    from minir1.rewards import Reward
    from minir1.rollout import Rollouts
    from minir1.tasks.countdown import Countdown

    def measured(right_PG):
        (P, G), B = right_PG.shape, right_PG.numel()
        rewards = [Reward(right, 1.0, 1.0) for right in right_PG.flatten().tolist()]
        asked = ([Countdown((3, 5), 8)] * P, G, [[1]] * P)
        said = ([[1]] * B, [torch.zeros(1)] * B, [""] * B, [True] * B)
        return outcome(Rollouts(*asked, *said, rewards))["stderr"]

    agree("09.stderr", measured)
    for (values,) in arguments("09.trend"):
        if len(values) >= 3 and max(values) > 1:
            line = trend([{"a": value} for value in values], "a")[:2]
            assert line == pytest.approx(wanted("09.trend", values), abs=1e-6)

    def busiest(chosen_LN, experts):
        layers = [Routing(row[None, :, None], None) for row in chosen_LN]
        return expert_load(layers, experts).max() * experts

    agree("09.load_max", busiest)


def test_create_puzzles_ask_what_the_package_does():
    import numpy as np

    from minir1.experiments.studies.verdicts import floor, verdict

    for chance_P, k in arguments("11.random_floor"):
        cell = {"chance": chance_P.tolist(), "samples": k}
        assert floor(cell)[-1] == pytest.approx(wanted("11.random_floor", chance_P, k))
    words = set()
    for bounds in arguments("11.verdict"):
        words.add(word := wanted("11.verdict", *bounds))
        assert verdict(*map(np.array, bounds)) == word
    assert words == {"extends", "sharpens", "narrows", "sharpens and narrows", "nothing"}
    for (samples,) in arguments("11.at_most"):
        none = (1 - wanted("11.at_most", samples)) ** samples
        assert none == pytest.approx(0.05, rel=1e-4)


# ---------------------------------------------------------------- what a notebook promises


def test_live_training_gained_ten_points():
    said = "".join(
        o.get("text", "") for cell in cells(RENDERED / "07_r1_zero.ipynb") for o in cell.outputs
    )
    pattern = r", ([-+0-9.]+) points \(± ([0-9.]+)\), in ([0-9]+) s of processor time"
    gain, error, seconds = map(float, re.search(pattern, said).groups())
    assert gain >= 10 and gain >= 2 * error and seconds <= 2 * 240  # two cores, four minutes


def test_create_or_amplify_shows_what_its_text_says():
    rendered = cells(RENDERED / "11_create_or_amplify.ipynb")
    said = "".join(o.get("text", "") for cell in rendered for o in cell.outputs)
    text = (ROOT / "results" / "studies" / "create" / "create.json").read_text(encoding="utf-8")
    rows = json.loads(text)["rows"]
    assert len(rows) == 28 and str(Counter(row["thought: RL"] for row in rows)) in said
    assert "'sharpens': 1" in said and "'extends'" not in said
    five = {row["recipe"]: row for row in rows if row["cell"] == "five_10"}
    assert all(f" -> {row['thought@1'][1]:.2%}" in said for row in five.values())
    for who, least, most in (("base, three", 100, 300), ("R1-Zero, three", 450, 512)):
        assert least <= int(re.search(rf"{who} numbers +(\d+) of 512", said)[1]) <= most
    for who in ("base, five", "R1-Zero, five"):
        assert int(re.search(rf"{who} numbers +(\d+) of 512", said)[1]) <= 2
    assert re.search("this look alone: extends .*\n56 looks: +sharpens ", said)
    assert re.search("base +618 right,  19% of them", said)  # four of five are guesses


# ---------------------------------------------------------------- the graders


def test_every_puzzle_has_a_solution_and_every_solution_a_puzzle():
    solved = [
        f"{path.stem[:2]}.{node.name}"
        for path in SOLUTIONS
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    ]
    assert sorted(solved) == sorted(PUZZLES)
    stems = {path.stem for path in SOLUTIONS}
    assert {path.stem for path in NOTEBOOKS} <= stems


@pytest.mark.parametrize("name", PUZZLES)
def test_the_solution_is_accepted(name, capsys):
    module = load(next(path for path in SOLUTIONS if path.stem[:2] == name[:2]))
    assert first_fault(name, getattr(module, name[3:])) is None
    check(name, getattr(module, name[3:]))
    count = 40 + len(PUZZLES[name].edges)
    stars = "★" * HELP[name].stars
    assert capsys.readouterr().out == f"{name}: right ({count} cases) {stars}\n"


def replay_that_raises(numbers, steps, target):
    """A step that takes a number twice passes the check and fails to be taken away."""
    there = list(numbers)
    for a, operator, b in steps:
        if a not in there or b not in there:
            return False
        there.remove(a)
        there.remove(b)
        there.append({"+": a + b, "-": a - b, "*": a * b}[operator])
    return there == [target]


def replay_by_sets(numbers, steps, target):
    """Takes a number twice."""
    there = list(numbers)
    for a, operator, b in steps:
        if not {a, b} <= set(there):
            return False
        there = [n for i, n in enumerate(there) if i not in (there.index(a), there.index(b))]
        there.append({"+": a + b, "-": a - b, "*": a * b}[operator])
    return there == [target]


# Mistakes that students make; each must be turned down.
WRONG = {
    "00.replay": (
        lambda numbers, steps, target: (
            replayed(numbers, steps)[-1:] == [target]
        ),  # numbers left over, or used twice
        lambda numbers, steps, target: sum(numbers) == target,
        lambda numbers, steps, target: (
            len(steps) == len(numbers) - 1 and replayed(numbers, steps)[-1:] == [target]
        ),
        replay_that_raises,
        replay_by_sets,
    ),
    "00.response_probability": (
        lambda logp: logp.mean().exp(),
        lambda logp: logp.exp().sum(),
        lambda logp: logp.sum(),
    ),
    "00.push": (
        lambda r: [1 if x > 0.5 else -1 for x in r.tolist()],  # against a fixed mark
        lambda r: [1 if x >= r.mean() else -1 for x in r.tolist()],
        lambda r: [int(x > r.median()) - int(x < r.median()) for x in r],
        lambda r: torch.sign(r - r.mean()).tolist(),  # a mean of equal ones that is off by a bit
        lambda r: [0 if r.std() == 0 else 1 if x > r.mean() else -1 for x in r],
    ),
    "00.majority": (
        lambda answers: max(answers, key=answers.count),  # counts missing answers
        lambda answers: next((a for a in answers if a), None),
        lambda answers: max(
            sorted({a for a in answers if a}), key=answers.count, default=None
        ),  # ties by the alphabet
    ),
    "01.cache_numbers": (
        lambda kind, heads, kv_heads, width, rank, rope: (
            rank + rope if kind == "mla" else 2 * heads * width
        ),  # forgets the groups
        lambda kind, heads, kv_heads, width, rank, rope: (
            rank + heads * rope
            if kind == "mla"
            else 2 * width * (heads if kind == "mha" else kv_heads)
        ),
        lambda kind, heads, kv_heads, width, rank, rope: (
            rank + rope if kind == "mla" else width * (heads if kind == "mha" else kv_heads)
        ),
    ),
    "01.rotate_pairs": (
        lambda x, at, base: halves(x, at, base),  # Llama's pairs
        lambda x, at, base: neighbours(x, -at, base),  # the other way round
        lambda x, at, base: neighbours(x, at + 1, base),
    ),
    "01.causal_weights": (
        lambda s: s.softmax(-1),
        lambda s: s.masked_fill(
            torch.arange(s.shape[1]) > torch.arange(s.shape[0])[:, None], -torch.inf
        ).softmax(-1),  # from the left
        lambda s: s.softmax(-1).tril(
            s.shape[1] - s.shape[0]
        ),  # masked after the softmax: rows no longer sum to 1
    ),
    "01.absorb_query": (
        lambda q, up: torch.einsum("hc,hcr->r", q, up),
        lambda q, up: torch.einsum("hc,hcr->rh", q, up),
        lambda q, up: torch.einsum("hc,hcr->hr", q, up) / up.shape[1] ** 0.5,
    ),
    "01.attend_latent": (
        lambda q, s, rank, scale: (
            (q[:, :rank] @ s[:, :rank].T * scale).softmax(-1) @ s[:, :rank]
        ),  # forgets the position
        lambda q, s, rank, scale: (
            (q @ s.T * scale).softmax(-1) @ s
        ),  # values with the rotated key in them
        lambda q, s, rank, scale: (q @ s.T).softmax(-1) @ s[:, :rank],
        lambda q, s, rank, scale: (q @ s.T * scale).softmax(0) @ s[:, :rank],
    ),
    "02.gates": (
        lambda s, b, k: chosen_gates(s, s.topk(k).indices, s),  # bias ignored
        lambda s, b, k: chosen_gates(s, (s + b).topk(k).indices, s + b),  # bias in the weight
        lambda s, b, k: s / s.sum(),
        lambda s, b, k: torch.zeros(len(s)).scatter(
            0, (s + b).topk(k).indices, s
        ),  # not normalised
    ),
    "02.share_of_choices": (
        lambda e, experts: torch.bincount(e.flatten(), minlength=experts) / len(e),
        lambda e, experts: torch.bincount(e[:, 0], minlength=experts) / len(e),
        lambda e, experts: torch.bincount(e.flatten(), minlength=experts),
    ),
    "02.step_bias": (
        lambda b, load, rate: b + rate * torch.sign(load - load.mean()),
        lambda b, load, rate: b - rate * (load - load.mean()),
        lambda b, load, rate: (
            b - rate * torch.where(load > load.mean(), 1.0, -1.0)
        ),  # moves at balance
    ),
    "02.sequence_balance": (
        lambda e, s: (
            torch.bincount(e.flatten(), minlength=s.shape[1])
            / e.numel()
            * (s / s.sum(1, keepdim=True)).mean(0)
        ).sum(),
        lambda e, s: (
            s.shape[1]
            * (torch.bincount(e.flatten(), minlength=s.shape[1]) / e.numel() * s.mean(0)).sum()
        ),  # not normalised
        lambda e, s: (
            s.shape[1]
            * (
                torch.bincount(e.flatten(), minlength=s.shape[1])
                / len(e)
                * (s / s.sum(1, keepdim=True)).mean(0)
            ).sum()
        ),
    ),
    "03.true_share": (
        lambda steps: float(all(true_step(*step) for step in steps)),
        lambda steps: sum(true_step(*step) for step in steps),
        lambda steps: 1 - sum(true_step(*step) for step in steps) / len(steps),
    ),
    "03.count_attempts": (
        lambda thought: thought.count("\n") + 1,
        lambda thought: thought.count(" = "),  # steps, not attempts
        lambda thought: thought.count("wait") + 1,
    ),
    "03.pass_at_k": (
        lambda n, c, k: 1 - (1 - c / n) ** k,  # with replacement: biased
        lambda n, c, k: c / n,
        lambda n, c, k: float(c >= k),
    ),
    "04.cooled": (
        lambda logits, temperature: (
            logits.log_softmax(-1) / temperature
        ),  # no longer a distribution
        lambda logits, temperature: (logits * temperature).log_softmax(-1),
        lambda logits, temperature: (logits / temperature).softmax(-1),
    ),
    "04.draw_token": (
        lambda p, u: int(p.argmax()),
        lambda p, u: int((p <= u).sum()),  # forgets to lay the pieces side by side
        lambda p, u: int(
            (p.sort(descending=True).values.cumsum(-1) <= u).sum()
        ),  # in another order
        lambda p, u: int((p.cumsum(-1) <= u).sum()) - 1,
    ),
    "04.nucleus": (
        lambda p, top_p: p.where(p >= top_p, 0) / p.where(p >= top_p, 0).sum().clamp(min=1e-9),
        lambda p, top_p: kept(p, top_p) * p.where(kept(p, top_p) > 0, 0).sum(),  # not one in sum
        lambda p, top_p: kept(p, top_p / 2),
        lambda p, top_p: p,
    ),
    "04.cut_at_stop": (
        lambda ids, stops, most: next(
            ((i + 1, True) for i, x in enumerate(ids) if x in stops), (most, False)
        ),  # beyond the limit
        lambda ids, stops, most: next(
            ((i, True) for i, x in enumerate(ids[:most]) if x in stops), (most, False)
        ),  # loses the stop
        lambda ids, stops, most: (most, True) if len(ids) > most else (len(ids), False),
        lambda ids, stops, most: next(
            ((i + 1, True) for i, x in enumerate(ids[:most]) if x == stops[0]), (most, False)
        ),
    ),
    "04.slot_steps": (
        lambda lengths, slots: -(-sum(lengths) // slots),  # as if work could be split
        lambda lengths, slots: sum(
            max(lengths[i : i + slots]) for i in range(0, len(lengths), slots)
        ),  # batch after batch
        lambda lengths, slots: max(
            [0, *(sum(lengths[i::slots]) for i in range(slots))]
        ),  # dealt out beforehand
    ),
    "04.action_mask": (
        lambda start, length, width: [
            start <= t < start + length for t in range(width)
        ],  # the tokens, not who predicts them
        lambda start, length, width: [t >= start - 1 for t in range(width)],  # padding too
        lambda start, length, width: [
            start - 1 <= t < start + length - 2 for t in range(width)
        ],  # without the stop token
    ),
    "05.well_formed": (
        lambda r: "<answer>" in r and "</answer>" in r and r.endswith("<|end|>"),
        lambda r: (
            re.fullmatch(r"<think>.*</think>\s*<answer>.*</answer><\|end\|>", r, re.DOTALL)
            is not None
        ),  # demands a thought
        lambda r: (
            re.fullmatch(r"(<think>.*</think>)?\s*<answer>.*</answer><\|end\|>", r, re.DOTALL)
            is not None
        ),  # greedy
    ),
    "05.uses_each_once": (
        lambda numbers, used: set(numbers) == set(used),
        lambda numbers, used: sum(numbers) == sum(used),
        lambda numbers, used: all(n in numbers for n in used) and len(numbers) == len(used),
        lambda numbers, used: all(n in used for n in numbers),
    ),
    "05.exact_value": (
        lambda parts: left_to_right(parts),
        lambda parts: eval("".join(map(str, parts))),
        lambda parts: int(evaluated(parts)) if evaluated(parts) is not None else None,
        lambda parts: evaluated(parts) or Fraction(0),
    ),
    "05.total_reward": (
        lambda right, formed, weight: right + weight * formed,
        lambda right, formed, weight: float(right and formed),
        lambda right, formed, weight: 1.0 if right and formed else weight * formed,
    ),
    "05.share_in_language": (
        lambda words, lang: sum(w >= "一" for w in words) / len(words) if words else 1.0,
        lambda words, lang: (
            sum((w >= "一") == (lang == "zh") for w in words) / len(words) if words else 0.0
        ),
        lambda words, lang: float(all((w >= "一") == (lang == "zh") for w in words)),
    ),
    "06.advantages": (
        lambda r: r - r.mean(),
        lambda r: (r - r.mean()) / (r.std(correction=0) + 1e-4),
        lambda r: (r - r.mean()) / r.std(),  # nan where all agree
        lambda r: (r - r.median()) / (r.std() + 1e-4),
    ),
    "06.clipped_terms": (
        lambda r, a, low, high: r.clamp(1 - low, 1 + high) * a,  # no minimum
        lambda r, a, low, high: torch.maximum(r * a, r.clamp(1 - low, 1 + high) * a),
        lambda r, a, low, high: torch.minimum(r * a, r.clamp(1 - high, 1 + low) * a),
    ),
    "06.gradient_weights": (
        lambda r, a, low, high: (r * a).masked_fill(
            (r > 1 + high) | (r < 1 - low), 0.0
        ),  # cuts both sides
        lambda r, a, low, high: torch.full_like(r, a).masked_fill(
            r > 1 + high if a > 0 else r < 1 - low, 0.0
        ),  # forgets the ratio
        lambda r, a, low, high: r * a,
    ),
    "06.kl_estimate": (
        lambda logp, ref: logp - ref,
        lambda logp, ref: (logp - ref).exp() - (logp - ref) - 1,  # upside down
        lambda logp, ref: (ref - logp).exp() - (ref - logp),
    ),
    "06.average_three_ways": (
        lambda loss, mask, most: (
            loss.mean(),
            (loss * mask).sum() / mask.sum(),
            (loss * mask).sum() / (len(loss) * most),
        ),
        lambda loss, mask, most: (
            (loss * mask).mean(1).mean(),
            (loss * mask).sum() / mask.sum(),
            (loss * mask).sum() / (len(loss) * most),
        ),
        lambda loss, mask, most: (
            ((loss * mask).sum(1) / mask.sum(1)).mean(),
            (loss * mask).sum() / mask.sum(),
            (loss * mask).sum() / most,
        ),
        lambda loss, mask, most: ((loss * mask).sum(1) / mask.sum(1)).mean(),
    ),
    "06.response_ratio": (
        lambda logp, old, mask: ((logp - old) * mask).sum().exp(),
        lambda logp, old, mask: ((logp - old) * mask).mean().exp(),
        lambda logp, old, mask: (logp - old)[mask].exp().mean(),  # arithmetic mean
    ),
    "07.learning_rate": (
        lambda step, steps, peak, warmup, end: (
            peak * min(1, (step + 1) / max(1, warmup))
        ),  # never falls
        lambda step, steps, peak, warmup, end: peak * (1 - (1 - end) * step / steps),  # no warm-up
        lambda step, steps, peak, warmup, end: (
            peak * min(1, step / max(1, warmup)) * (1 - (1 - end) * step / steps)
        ),
        lambda step, steps, peak, warmup, end: (
            peak * min(1, (step + 1) / max(1, warmup)) * (1 - step / steps)
        ),
    ),
    "07.signal": (
        lambda r: ((r - r.mean(1, keepdim=True)).abs() > 0.6).float().mean(),
        lambda r: (r != r[0, 0]).float().mean(),
        lambda r: float(r.std(1).mean()),
    ),
    "07.search": (
        lambda h, most: (h * most, 1 / h),
        lambda h, most: (1 - (1 - h) ** most, float(most)),  # nobody stops early
        lambda h, most: (1 - (1 - h) ** most, min(1 / h, most)),
    ),
    "07.repeats": (
        lambda attempts: len(set(attempts)),
        lambda attempts: sum(a == b for a, b in zip(attempts, attempts[1:])),  # neighbours only
        lambda attempts: sum(attempts.count(a) > 1 for a in attempts),  # the first one too
    ),
    "08.keep": (
        lambda right, thought, repeated, false, share: (
            "" if right and thought and not repeated and not false else "wrong"
        ),
        lambda right, thought, repeated, false, share: kept_or_not(
            right, thought or None, repeated, false, share
        ),
        lambda right, thought, repeated, false, share: kept_or_not(
            right, thought, repeated, false, share or 0.0
        ),
        lambda right, thought, repeated, false, share: kept_or_not(
            right, thought, 0, repeated or false, share
        ),
    ),
    "08.thin_out": (
        lambda pairs, most: list(dict.fromkeys(pairs)),
        lambda pairs, most: [
            p for i, p in enumerate(pairs) if sum(q[0] == p[0] for q in pairs[:i]) < most
        ],  # doubles use up room
        lambda pairs, most: sorted(set(pairs))[:most],
    ),
    "08.highest_weight": (
        lambda share: 1 / share if share else 1.0,
        lambda share: 1 - share,
        lambda share: 1.0,
    ),
    "08.preference_loss": (
        lambda better, worse: -(better - worse).mean(),
        lambda better, worse: -(worse - better).sigmoid().log().mean(),
        lambda better, worse: -(better - worse).sigmoid().log().sum() / 2,
        lambda better, worse: -(better - worse).mean().sigmoid().log(),
    ),
    "08.reverse_kl": (
        lambda s, t: (t.softmax(-1) * (t.log_softmax(-1) - s.log_softmax(-1))).sum(),  # forward
        lambda s, t: (s.softmax(-1) * (s - t)).sum(),  # logits are not log-probabilities
        lambda s, t: (s.log_softmax(-1) - t.log_softmax(-1)).mean(),
    ),
    "08.operations": (
        lambda n, sampled, trained: 2 * n * (sampled + trained),
        lambda n, sampled, trained: n * (2 * sampled + 4 * trained),
        lambda n, sampled, trained: 6 * n * (sampled + trained),
    ),
    "09.stderr": (
        lambda right: (
            right.flatten().std() / right.numel() ** 0.5
        ),  # as if all responses were independent
        lambda right: right.mean(1).std(correction=0) / len(right) ** 0.5,
        lambda right: right.mean(1).std(),
        lambda right: (right.mean() * (1 - right.mean()) / len(right)) ** 0.5,
    ),
    "09.differ": (
        lambda a, ea, b, eb: abs(a - b) > 2 * (ea + eb),  # bars that do not touch
        lambda a, ea, b, eb: abs(a - b) > 2 * max(ea, eb),
        lambda a, ea, b, eb: b - a > 2 * (ea**2 + eb**2) ** 0.5,
    ),
    "09.trend": (
        lambda values: (values[0], values[-1]),
        lambda values: (min(values), max(values)),
        lambda values: (sum(values) / len(values),) * 2,
    ),
    "09.gap": (
        lambda trainer, sampler, mask: (trainer - sampler).abs().mean(),  # padding too
        lambda trainer, sampler, mask: (trainer - sampler)[mask].mean().abs(),
        lambda trainer, sampler, mask: ((trainer - sampler).abs() * mask).mean(),
    ),
    "09.load_max": (
        lambda chosen, experts: (
            experts * torch.bincount(chosen.flatten(), minlength=experts).max() / chosen.numel()
        ),
        lambda chosen, experts: (
            max(torch.bincount(row).max() for row in chosen) / chosen.shape[1]
        ),  # a share
        lambda chosen, experts: float(experts),
    ),
    "10.training_bytes": (
        lambda n, rows, tokens, L, kv, K: 14 * n + 4 * L * kv * K * rows * tokens,  # one moment
        lambda n, rows, tokens, L, kv, K: 18 * n + 2 * L * kv * K * rows * tokens,  # keys only
        lambda n, rows, tokens, L, kv, K: 18 * n + 4 * L * K * rows * tokens,
    ),
    "10.equal_steps": (
        lambda lines, line, many, tokens: round(6 * lines * line / (8 * many * tokens)),
        lambda lines, line, many, tokens: lines * line // (many * tokens),
        lambda lines, line, many, tokens: 6 * lines * line / (8 * many * tokens),
    ),
    "10.neighbours": (
        lambda rows: torch.cat([rows[0::2], rows[1::2]]),  # the way back
        lambda rows: rows.flip(0),
    ),
    "11.at_most": (
        lambda samples: 3 / samples,  # only where there are many
        lambda samples: 1 - 0.95 ** (1 / samples),
        lambda samples: 0.05 ** (1 / samples),
    ),
    "11.random_floor": (
        lambda chance, k: 1 - (1 - chance.mean()) ** k,  # as if all puzzles were alike
        lambda chance, k: (k * chance).clamp(max=1).mean(),
        lambda chance, k: ((1 - chance) ** k).mean(),
    ),
    "11.verdict": (
        lambda low, high: (
            "extends" if low[0] > 0 < low[-1] else wanted("11.verdict", low, high)
        ),  # looks at both ends only
        lambda low, high: {"sharpens and narrows": "narrows"}.get(
            word := wanted("11.verdict", low, high), word
        ),
        lambda low, high: wanted("11.verdict", high, low),
        lambda low, high: wanted("11.verdict", [x + 1e-9 for x in low], high),  # 0 is enough
    ),
}


def kept_or_not(*drawn):
    return PUZZLES["08.keep"].specification(*drawn)


def replayed(numbers, steps):
    """The numbers there after the steps, without a look at whether they were there before."""
    there = list(numbers)
    for a, operator, b in steps:
        there = [n for n in there if n not in (a, b)] + [
            {"+": a + b, "-": a - b, "*": a * b}[operator]
        ]
    return there


def kept(p, top_p):
    return PUZZLES["04.nucleus"].specification(p, top_p)


def neighbours(x, at, base):
    return load(next(path for path in SOLUTIONS if path.stem[:2] == "01")).rotate_pairs(x, at, base)


def halves(x, at, base):
    a, b = x.chunk(2)
    angle = at / base ** (torch.arange(0, len(x), 2) / len(x))
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()])


def chosen_gates(s, index, weight):
    return torch.zeros(len(s)).scatter(0, index, weight[index] / weight[index].sum())


def true_step(a, operator, b, value):
    return value == {"+": a + b, "-": a - b, "*": a * b}[operator]


def left_to_right(parts):
    value = Fraction(parts[0])
    for operator, n in zip(parts[1::2], parts[2::2]):
        if operator == "/" and n == 0:
            return None
        value = {"+": value + n, "-": value - n, "*": value * n, "/": value / (n or 1)}[operator]
    return value


def evaluated(parts):
    return PUZZLES["05.exact_value"].specification(parts)


@pytest.mark.parametrize("name", PUZZLES)
def test_mistakes_are_turned_down(name):
    assert len(WRONG[name]) >= 2
    for number, wrong in enumerate(WRONG[name]):
        assert (first_fault(name, wrong) or "").startswith("wrong"), (
            f"mistake {number} of {name} was accepted"
        )


@pytest.mark.parametrize(
    "wrong, said",
    [
        (lambda r: None, "not done yet (it returns None)"),
        (lambda r: r[:-1], "shape"),
        (lambda r: 1 / 0, "it raises ZeroDivisionError"),
        (lambda r: "one", "got 'one'"),
        (lambda r: r * torch.nan, "nan"),
        (lambda r: r - r.mean(), "most at ["),
        (lambda r: (r - r.mean()) / (r.std() + 1e-4) if r.std() > 0 else None, "it returns None"),
    ],
)
def test_the_grader_says_what_is_wrong(wrong, said, capsys):
    check("06.advantages", wrong)
    text = capsys.readouterr().out
    assert text.startswith("06.advantages: ") and said in text and "right (" not in text


def test_the_grader_is_not_fooled_by_changing_its_arguments():
    def spoil(bias_E, load_E, rate):
        load_E.zero_()
        return bias_E.zero_()

    assert first_fault("02.step_bias", spoil) is not None


def test_right_answers_in_other_types_are_accepted():
    def as_list(bias, load, rate):
        return (bias - rate * torch.sign(load - load.mean())).tolist()

    assert first_fault("02.step_bias", as_list) is None
    alike = lambda numbers, used: sorted(numbers) == sorted(used)  # noqa: E731
    name = "05.uses_each_once"
    assert first_fault(name, lambda *drawn: torch.tensor(alike(*drawn))) is None
    assert first_fault(name, lambda *drawn: int(alike(*drawn))) is not None
    push = PUZZLES["00.push"].specification
    assert first_fault("00.push", lambda r: torch.tensor(push(r)).float()) is None
    fault = first_fault("00.push", lambda r: (r - r.mean()).sign())  # named where it is met
    assert "expected [0, 0, " in fault


def test_every_puzzle_has_stars_and_two_hints_that_lead_on():
    assert list(HELP) == list(PUZZLES)
    for name, (stars, hints) in HELP.items():
        assert stars in (1, 2, 3) and len(set(hints)) == 2, name
        assert all(12 < len(hint) < 200 for hint in hints), name
        solution = next(path for path in SOLUTIONS if path.stem[:2] == name[:2])
        code = solution.read_text(encoding="utf-8")
        lines = [line for line in code.splitlines() if line.startswith("    return ")]
        assert not any(line.strip().removeprefix("return ") in hints[0] for line in lines), name


def test_hints_are_given_when_asked_for(capsys):
    check("00.majority", lambda answers: "no", hint=2)
    said = capsys.readouterr().out
    hint = HELP["00.majority"].hints[1]
    assert "wrong" in said and said.endswith(f"Hint 2 of 2 (★): {hint}\n")
    check("00.majority", lambda answers: "no")
    assert 'For a hint: check("00.majority", ..., hint=1)' in capsys.readouterr().out
    check("00.majority", lambda answers: None)
    assert capsys.readouterr().out == "00.majority: not done yet (it returns None)\n"
    for hint in (3, -1):
        with pytest.raises(UserError, match=f"no hint {hint}"):
            check("00.majority", lambda answers: "no", hint=hint)


def test_an_unknown_puzzle_is_one_line():
    with pytest.raises(UserError, match="no puzzle '06.advantage'"):
        check("06.advantage", lambda reward_G: reward_G)


def test_build_finds_the_notebooks():
    assert build.notebooks() == NOTEBOOKS and NOTEBOOKS
    assert "minir1" in sys.modules
