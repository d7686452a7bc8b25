"""The scoreboard's arithmetic on hand-made responses, the R1 rewards, and what collecting keeps."""

import json
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from minir1.fast.device import pick_device
from minir1.measure.statistics import consensus_answer
from minir1.model import Transformer
from minir1.r1.data.bilingual_corpus import BilingualCorpus, ReadingConfig, page
from minir1.r1.data.curation import readable, unreadable
from minir1.r1.data.fine_tuning import fine_tune, read_lines
from minir1.r1.data.language import mixing, spoken
from minir1.r1.pipeline import stages
from minir1.r1.pipeline.prompts import begins, draw_both, general_lines, mixed
from minir1.r1.preference.rewards import PreferenceJudge, judge, plain
from minir1.r1.presets import PRESETS
from minir1.r1.scoreboard import board as board_module
from minir1.r1.scoreboard.board import Board, consensus, puzzle_figures
from minir1.r1.scoreboard.compare import shares
from minir1.r1.scoreboard.page import NOTE
from minir1.r1.tasks import general
from minir1.r1.tasks.facts import Fact
from minir1.rollout import Rollouts, sampling
from minir1.run.costs import cost, costs_of, parameter_counts
from minir1.run.folder import Run
from minir1.run.session import Session
from minir1.sampler import Samples
from minir1.tasks.countdown import Countdown, compose, solve
from minir1.transcript import END, prompt

EN, ZH = Countdown((3, 5, 2), 4), Countdown((3, 5, 2), 4, "zh")
THOUGHT = "3 + 2 = 5, 5 * 5 = 25, not 4\nwait, 3 + 5 = 8, 8 / 2 = 4, yes"
RIGHT = f"<think>{THOUGHT}</think>So (3 + 5) / 2 = 4.<answer>(3 + 5) / 2</answer>{END}"
WRONG = RIGHT.replace("(3 + 5) / 2", "3 + 5 - 2").replace(", yes", ", no")
MIXED = RIGHT.replace("wait, ", "等等，")


def rollouts(problems: list, texts: list[str]) -> Rollouts:
    n, group = len(texts), len(texts) // len(problems)
    rewards = [plain(problems[i // group], text) for i, text in enumerate(texts)]
    ids = [[0] * (10 + i) for i in range(n)]
    prompts, logp = [[1, 2]] * len(problems), [torch.zeros(len(row)) for row in ids]
    return Rollouts(problems, group, prompts, ids, logp, texts, [True] * n, rewards)


def test_cons_takes_the_answer_given_most_often():
    other = RIGHT.replace("(3 + 5) / 2", "(5 + 3) / 2")
    two_ways_to_write_4 = ["(3 + 5) / 2", "(5 + 3) / 2"]
    assert consensus_answer(EN, ["3 + 5 - 2", *two_ways_to_write_4]) == "(3 + 5) / 2"
    assert consensus(rollouts([EN], [WRONG, RIGHT, other])) == 1.0
    assert consensus(rollouts([EN], [WRONG, WRONG, RIGHT])) == 0.0
    assert consensus(rollouts([EN, ZH], [WRONG, WRONG, RIGHT, RIGHT])) == 0.5
    assert consensus_answer(EN, [None, None]) is None
    assert consensus(rollouts([EN], ["nothing", "at all"])) == 0.0


def test_shares_are_told_by_count_of_numbers():
    four = Countdown((3, 5, 2, 1), 4)
    asked = rollouts([EN, EN, four], [RIGHT, RIGHT.replace("So (3 + 5) / 2 = 4.", ""), WRONG])
    assert shares(asked).split("; ") == [
        "all 66.7% right, 66.7% readable of 3",
        "3 numbers 100.0% right, 50.0% readable of 2",
        "4 numbers 0.0% right, 100.0% readable of 1",
        "not readable: 33.3% no summary",
    ]


@pytest.mark.parametrize("old, new, fault", [
    ("", "", ""),
    ("<answer>", "", "cut off or not well formed"),
    ("<think>", "<think>3 + 2 = 5, 5 * 5 = 25, not 4\nwait, ", "repeated attempt"),
    ("<think>", "<think>3 * 5 = 14, not 4\nwait, ", "false step"),
    ("So (3 + 5) / 2 = 4.", "So it is.", "no summary"),
])
def test_what_makes_a_response_unreadable_is_named(old, new, fault):
    response = RIGHT.replace(old, new, 1)
    assert unreadable(EN, response) == fault
    assert readable(EN, response) == (not fault)


def test_figures_of_hand_made_responses():
    texts = [RIGHT, WRONG, MIXED, RIGHT.replace("So (3 + 5) / 2 = 4.", "")]
    found = puzzle_figures(rollouts([EN, EN], texts))
    assert found["countdown"] == 0.75 and found["length"] == 11.5
    assert found["countdown_stderr"] == pytest.approx(0.25)  # of 0.5 and 1.0: std 0.3536 / sqrt 2
    assert found["readable"] == 0.75  # the last one has no summary
    # not wait yes, not wait no, not 等 等 yes, not wait yes
    assert found["mixed"] == pytest.approx(2 / 13)
    assert found["switched"] == 0.25


def test_standard_errors_are_over_problems_not_responses():
    """Four equal responses to each of two problems say no more than one: shares 1 and 0, std
    0.7071 over sqrt 2. Eight independent ones would give 0.189.
    """
    found = puzzle_figures(rollouts([EN, EN], [MIXED] * 4 + [WRONG] * 4))
    assert found["countdown_stderr"] == pytest.approx(0.5)
    assert found["switched_per_response_stderr"] == pytest.approx(0.5)
    foreign = found["foreign_per_response"]  # a share in one problem, none in the other
    assert foreign > 0.1 and found["foreign_per_response_stderr"] == pytest.approx(foreign)


def test_the_board_asks_at_the_temperature_that_its_table_names():
    config, asked = PRESETS["smoke"], []

    def sampler(model, prompts, group, settings, generator):
        asked.append(settings)
        rows = len(prompts) * group
        ids_BT, one_B = torch.full((rows, 1), 2), torch.ones(rows, dtype=torch.long)
        return Samples(ids_BT, torch.zeros(rows, 1), one_B, one_B > 0)

    texts = BilingualCorpus(config.corpus, config.reading, 0)
    pipeline = SimpleNamespace(
        config=config, tokenizer=texts.train_tokenizer(400), device=SimpleNamespace(name="cpu")
    )
    assert "T = 0.6, top-p 0.95" in NOTE
    board = Board(pipeline)
    board.ask(None, sampler, board.puzzles[:2], 2)
    settings = sampling(pipeline.tokenizer, config.score.max_tokens, 0.6, 0.95)
    assert asked == [settings]


def test_the_board_asks_held_out_problems_only():
    board = Board(SimpleNamespace(config=PRESETS["smoke"]))
    assert {p.split() for p in board.puzzles + board.sums} == {"test"}
    for kind, problems in board.general.items():
        assert {p.split() for p in problems} == {"novel" if kind == "novel" else "test"}
    assert {p.task for p in board.general["novel"]} == set(general.KINDS)


def test_what_is_asked_at_once_is_counted_by_kind(monkeypatch):
    """Right are the sums, the facts, and of the novel wordings those of facts."""
    monkeypatch.setattr(board_module, "sampler_for", lambda *arguments: None)
    pipeline = SimpleNamespace(config=PRESETS["smoke"], model=lambda name: None)
    board, asked = Board(pipeline), []

    def ask(model, sampler, problems, samples):
        asked.append((len(problems), samples))
        if samples > 1:
            return rollouts([EN], [RIGHT, WRONG])
        right = [float(problem.task in ("arithmetic", "fact")) for problem in problems]
        return SimpleNamespace(rewards=[SimpleNamespace(accuracy=value) for value in right])

    board.ask = ask
    row, s = board.row("r1"), PRESETS["smoke"].score
    novel = [p.task == "fact" for p in board.general["novel"]]
    assert row["arithmetic"] == 1.0
    for kind in general.KINDS:
        assert row[kind] == float(kind == "fact")
    assert row["novel"] == pytest.approx(sum(novel) / len(novel)) and row["countdown"] == 0.5
    others = len(board.sums) + len(novel) + s.general * len(general.KINDS)
    assert asked == [(others, 1), (s.countdown, s.samples)]


def test_mixing_counts_words_by_the_prompts_language():
    summary = "所以(3 + 5) / 2 = 4。<answer>(3 + 5) / 2</answer>"
    plain_zh = f"<think>3 + 5 = 8, 8 / 2 = 4，对</think>{summary}{END}"
    found = mixing([(ZH, plain_zh), (ZH, RIGHT), (EN, f"<answer>3 + 5</answer>{END}")])
    assert found["mixed_zh"] == pytest.approx(3 / 4)
    assert found["wordless"] == pytest.approx(1 / 3) and found["few_words"] == 2 / 3
    assert "language" not in found  # none has five words
    long = RIGHT.replace("yes", "yes it is good")
    assert mixing([(EN, long)])["language"] == 1.0 and mixing([(ZH, long)])["language"] == 0.0
    assert spoken(RIGHT).endswith("yes So (3 + 5) / 2 = 4.")


def test_the_core_counts_a_summary_as_nothing_and_the_format_reward_wants_it():
    assert plain(EN, RIGHT).accuracy == 1.0
    assert judge(EN, RIGHT).format == 1.0
    assert judge(EN, RIGHT.replace("So (3 + 5) / 2 = 4.", "")).format == 0.0
    assert readable(EN, WRONG) and judge(EN, WRONG).format == 0.0  # only a right answer is paid
    assert judge(EN, WRONG).accuracy == 0.0 and judge(ZH, MIXED).language == 0.5
    rl = PRESETS["cpu"].reasoning
    assert judge(EN, RIGHT).total(rl) == pytest.approx(1 + rl.format_reward + rl.language_reward)


class Liking:
    """A preference model that likes short summaries and finds a thought unsafe."""

    def score(self, questions, summaries):
        return torch.tensor([1.0 if len(s) < 8 else -1.0 for s in summaries])

    def harmless_score(self, questions, responses):
        return torch.tensor([-1.0 if "<think>" in r else 1.0 for r in responses])


def test_general_prompts_are_rewarded_by_preference_and_form_not_by_being_right():
    fact = Fact(text="What is the capital of France?", answers=("Paris",), relation="capital")
    rl, answers = PRESETS["cpu"].scenarios, ("<answer>Paris</answer>", "<answer>Rome</answer>")
    texts = [answers[0] + END, answers[1] + END, f"<think>hm</think>{answers[1]}{END}", RIGHT]
    preference_judge = PreferenceJudge(Liking(), PRESETS["cpu"].preference)
    judged = preference_judge(0, rollouts([fact, fact, fact, EN], texts))
    assert judged[0].accuracy == 1.0 and judged[1].accuracy == 0.0
    assert judged[0].total(rl) == judged[1].total(rl) == 1.0 + rl.format_reward + rl.language_reward
    assert judged[2].preference == 0.0  # liked, but unsafe in its thought
    assert judged[3].preference == 0.0 and judged[3].total(rl) > judged[1].total(rl) - 1


def test_the_preference_counts_as_much_as_its_weight():
    fact = Fact(text="What is the capital of France?", answers=("Paris",), relation="capital")
    texts = [f"<answer>Paris</answer>{END}", f"<think>hm</think><answer>Paris it is</answer>{END}"]
    rl, plain_rewards = PRESETS["cpu"].scenarios, rollouts([fact, fact], texts)
    for weight in (0.25, 0.0, 2.0):
        config = replace(PRESETS["cpu"].preference, weight=weight)
        judged = PreferenceJudge(Liking(), config)(0, plain_rewards)
        assert [judgement.preference for judgement in judged] == [weight, -weight]
        form = rl.format_reward + rl.language_reward
        assert [j.total(rl) for j in judged] == pytest.approx([form + weight, form - weight])


def test_general_prompts_come_in_the_last_part_only():
    config = PRESETS["cpu"]
    draw = mixed(config, config.scenarios, "x")
    first = begins(config.scenarios.steps, config.preference.last)
    assert draw(first - 1)[1][-1] == 0.0 and draw(first)[1][-1] == config.preference.share
    drawn = draw_both(*draw(first)[1])
    assert len(drawn) == config.scenarios.prompts
    assert all(problem.split() == "train" for problem in drawn)
    others = [problem for problem in drawn if problem.task not in ("countdown", "arithmetic")]
    assert len(others) == round(config.preference.share * len(drawn))
    assert {problem.lang for problem in drawn} == {"en", "zh"}


def test_costs_are_two_and_six_operations_a_parameter():
    model = Transformer(PRESETS["smoke"].model)
    used = parameter_counts(model)[1]
    found = cost(model, 3600.0, 10, 5)
    assert found["flops"] == used * (2 * 10 + 6 * 5) and found["dollars"] == 2.0


# ---------------------------------------------------------------- collecting


@pytest.fixture
def session(tmp_path):
    config = PRESETS["smoke"]
    run = Run.start(tmp_path / "stage", config.stage_config())
    tokenizer = BilingualCorpus(config.corpus, config.reading, 0).train_tokenizer(400)
    return Session(run, pick_device(run.config), tokenizer)


def test_collecting_keeps_what_is_right_and_says_where_it_is_from(session, monkeypatch):
    """The policy is a script: of three answers one is right, one wrong, one in another language."""
    config = replace(PRESETS["smoke"], cold=replace(PRESETS["smoke"].cold, prompts=8, samples=3))
    config = replace(config, reasoning=replace(config.reasoning, tasks=("countdown:cpu=1",)))
    asked = []

    def roll_out(model, tokenizer, problems, group, settings, stream, sampler):
        texts = []
        for problem in problems:
            steps = solve(problem.numbers, problem.target)
            answer, line = compose(problem.numbers, steps), ", ".join(map(str, steps))
            words = {"en": (", yes", "，对"), "zh": ("，对", ", yes")}[problem.lang]
            for word in words:
                texts.append(f"<think>{line}{word}</think><answer>{answer}</answer>{END}")
            texts.append(f"<think>{line}{words[0]}</think><answer>1</answer>{END}")
        asked.extend(problems)
        return rollouts(problems, texts)

    monkeypatch.setattr(stages, "roll_out", roll_out)
    model = Transformer(replace(config.model, vocab_size=512))
    lines = stages.collect(session, config, model, "zero.pt", config.cold, 32)
    counts = json.loads((session.run.path / "data" / "counts.json").read_text(encoding="utf-8"))
    assert counts["responses"] == 3 * len(asked) == 24
    assert counts["kept"] == len({p.question() for p in asked})
    assert counts["wrong"] == 8 and counts["other language"] == 8
    assert len(lines) == counts["written"] and all(p.split() == "train" for p in asked)
    assert {line["source"] for line in lines} == {"zero.pt"}
    assert lines == read_lines(session.run.path / "data" / "kept.jsonl")


def test_fine_tuning_learns_its_lines(session):
    config = PRESETS["smoke"]
    torch.manual_seed(0)
    start = Transformer(replace(config.model, vocab_size=512))
    lines = general_lines(config)[:2] * 8
    model = fine_tune(session, start, lines, epochs=30, rows=config.cold_sft.rows, lr=5e-3)
    rows = read_lines(session.run.path / "metrics.jsonl")
    assert rows[-1]["loss"] < 0.2 < rows[0]["loss"] and rows[0]["tokens_trained"] > 0
    assert costs_of(session, "sft")["tokens_trained"] == sum(row["tokens_trained"] for row in rows)
    assert model is not start


# ---------------------------------------------------------------- reading


def test_the_base_reads_general_questions_at_the_stated_rates_and_none_held_out(monkeypatch):
    corpus, drawn, real = PRESETS["cpu"].corpus, [], general.sample

    def sample(rng, kind, split, lang):
        drawn.append(real(rng, kind, split, lang))
        return drawn[-1]

    monkeypatch.setattr(general, "sample", sample)
    rng = random.Random(0)
    texts = [page(rng, corpus, ReadingConfig(general=0.25, right=0.6)) for _ in range(4000)]
    assert abs(len(drawn) / len(texts) - 0.25) < 0.035  # five standard deviations
    assert all(problem.split() == "train" for problem in drawn)
    assert {problem.lang for problem in drawn} == {"en", "zh"}
    answers = {}
    for text in texts:
        question, _, rest = text.partition("<answer>")
        answers[question] = rest.partition("</answer>")[0]
    asked = [problem for problem in drawn if prompt(problem.question()) in answers]
    right = sum(problem.verify(answers[prompt(problem.question())]) for problem in asked)
    assert abs(right / len(asked) - 0.6) < 0.08


def test_batches_of_reading_are_the_same_wherever_they_begin():
    config = PRESETS["smoke"]
    tokenizer = BilingualCorpus(config.corpus, config.reading, 0).train_tokenizer(400)
    corpus = BilingualCorpus(config.corpus, config.reading, 0)
    all_four = list(corpus.batches(tokenizer, 4, 64, 0, 4))
    last_two = list(corpus.batches(tokenizer, 4, 64, 2, 2))
    assert all((a == b).all() for a, b in zip(all_four[2:], last_two))
    assert all_four[0].shape == (4, 65)
    for block in all_four:
        assert (block[1:, 0] == block[:-1, -1]).all()  # neighbours share one token
