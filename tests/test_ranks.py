"""Several processes, one run: what 2 and 3 compute equals what 1 computes."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from minir1 import grpo
from minir1.config import Config, CorpusConfig, ModelConfig, PretrainConfig, RLConfig, UserError
from minir1.console.errors import describe
from minir1.fast import parallel
from minir1.fast.device import Device, make_learner, pick_device
from minir1.fast.ranks import Ranks
from minir1.model import Transformer
from minir1.r1.data.fine_tuning import fine_tune
from minir1.r1.students.distillation import pull
from minir1.rewards import Reward
from minir1.rollout import Batch
from minir1.run.folder import Run
from minir1.run.phases import MiniWeb, Parts, RLPhase, pretrain
from minir1.run.session import Session
from minir1.supervised import Learner, train_supervised
from train_zero import reinforce

ROOT = Path(__file__).parent.parent
PLAIN = Device("cpu", "CPU", torch.float32, "plain")  # the specification of every part
TINY = ModelConfig(
    vocab_size=320, width=16, layers=2, heads=2, kv_rank=8, nope_width=8, value_width=8,
    dense_width=24, experts=3, top_k=2, expert_width=8, positions=192, mtp=True,
)
CONFIG = Config(
    model=TINY,
    corpus=CorpusConfig(vocab_size=300, shard_tokens=1000, workers=1),
    pretrain=PretrainConfig(tokens=3200, batch_tokens=160, row_tokens=32, balance_loss=0.01),
    rl=RLConfig(  # 4 prompts: 3 processes get 1, 1 and 2
        steps=20, prompts=4, group_size=2, max_tokens=10, minibatches=2, recompute=True,
        train_tokens=100, lr=1e-3,
    ),
)
WITH_KL = replace(CONFIG, rl=replace(CONFIG.rl, steps=8, kl=0.1, kl_refresh=3, checkpoint_every=2))
SIZES = (1, 2, 3)
BROKEN = ("adamw", "muon", "float16")  # the last one: AdamW, on gradients that are scaled


# ---------------------------------------------------------------- what each process does


def lines() -> list[dict]:
    """Ten pairs, of lengths from 1 to 4 words."""
    words = ("red", "green", "blue", "white")
    return [{"question": words[i % 3], "response": " ".join(words[: 1 + i % 4])} for i in range(10)]


def judge(step: int, rollouts) -> list[Reward]:
    """Every fourth step nobody has signal, every fourth one response in all."""
    right = [len(text) % 2 == 0 for text in rollouts.texts]
    if step % 4 == 1:
        right = [False] * len(right)
    if step % 4 == 2:
        first = Ranks.current().rank == 0  # the first of all responses is the first rank's
        right = [first and row == 0 for row in range(len(right))]
    return [Reward(float(r), 0.0, 0.0) for r in right]


def advantages(reward_PG, scale):
    adv_PG = grpo.advantages(reward_PG, scale)
    if reward_PG.sum() == 1:
        adv_PG[:, 1:] = 0
    return adv_PG


def rl(session: Session, start: Transformer, stop: int = 99) -> tuple[Transformer, list]:
    seen = []

    def after(step, phase, rollouts, stats):
        figures = [stats.get(name, 0.0) for name in ("grad_norm", "loss", "entropy", "gap")]
        seen.append((step, rollouts.response_ids, stats["signal"], figures))
        if step == stop:
            raise InterruptedError

    parts = Parts(judge=judge, advantages=advantages, after=after)
    phase = RLPhase(session, start, "rl", session.config.rl, parts=parts)
    every_eighth = tuple(range(0, 320, 8))  # tokens end a response: lengths differ
    phase.settings = replace(phase.settings, stop_ids=every_eighth)
    try:
        return reinforce(phase), seen
    except InterruptedError:
        return phase.model, seen


def whole_run(folder: Path, ranks: Ranks) -> dict:
    """20 steps each of pretraining, fine-tuning and RL, in float64; then RL with a KL term: two
    processes stop in its step 5, three go on from where they saved."""
    torch.set_default_dtype(torch.float64)
    session = Session.unsaved(CONFIG, PLAIN, None)
    base = pretrain(session, TINY, MiniWeb(CONFIG), every=1)
    how = {"rows": 2, "epochs": 4, "lr": 1e-2}  # rows for two processes: a third one has none
    taught = fine_tune(session, base, lines(), **how)
    policy, seen = rl(session, taught)
    found = {"pretrain": base, "sft": taught, "rl": policy}
    found = {name: model.state_dict() for name, model in found.items()} | {"seen": seen}
    if ranks.size == 3:
        run = Run.resume(ranks.folder(folder / "2", copy=True))
    else:
        run = Run.start(ranks.folder(folder / str(ranks.size)), WITH_KL)
    run.silent = True
    stop = 5 if ranks.size == 2 else 99
    policy, found["kl seen"] = rl(Session(run, PLAIN, session.tokenizer), taught, stop)
    found["kl"] = policy.state_dict()
    torch.set_default_dtype(torch.float32)
    return found


class Watched(Learner):
    """Keeps the gradients that the optimizer is given."""

    def unscale(self):
        self.seen = torch.cat([p.grad.flatten() for p in self.parameters if p.grad is not None])


def gradients(ranks: Ranks) -> list[torch.Tensor]:
    """Summed gradients in float32, each from weights that all sizes share: of five rows of uneven
    lengths in pretraining, fine-tuning, RL and on-policy distillation (and its divergence)."""
    length_B = torch.tensor([13, 4, 9, 2, 11])
    mask_BT = torch.arange(12) < length_B[:, None] - 1
    adv_B = torch.tensor([1.0, -0.5, 0.0, 2.0, -1.0])
    found = []
    for step in range(11):
        torch.manual_seed(step)
        model = Transformer(TINY)
        ids_BT, logp_BT = torch.randint(320, (5, 13)), -torch.rand(5, 12) * mask_BT
        learner = Watched(model)
        learner.ranks = ranks
        batch = Batch(ids_BT, mask_BT, logp_BT, length_B)
        if step >= 9:
            found.append(torch.tensor(pull(model, Transformer(TINY), learner, batch, 20)))
            learner.step(1e-3)
        elif step % 3 == 2:
            # four: what one rank scores before the first update another one learns from
            how = {"recompute": True, "minibatches": 4} if step % 2 else {"recompute": False}
            config = RLConfig(group_size=1, train_tokens=20, **how)
            grpo.update(model, learner, batch, adv_B, config, 1e-3)
        else:
            batch = ids_BT, mask_BT if step % 3 else None
            train_supervised(model, learner, [batch], CONFIG.pretrain, 1, lambda step: None)
        found.append(learner.seen)
    return found


def broken(ranks: Ranks, optimizer: str) -> list:
    """The gradient norms of four steps, in the second of which the last rank alone has a loss that
    is not a number, in the third one an infinite loss whose gradient is finite."""
    torch.manual_seed(0)
    model = Transformer(replace(TINY, mtp=False))
    device = replace(PLAIN, dtype=torch.float16) if optimizer == "float16" else PLAIN
    learner = make_learner(model, 0.1, 1.0, device, optimizer)
    norms = []
    for fault in (0.0, float("nan"), float("inf"), 0.0):
        before = [p.clone() for p in model.parameters()]
        last = ranks.rank == ranks.size - 1
        value = model(torch.arange(12).view(2, 6)).square().mean()
        learner.backward(value * fault if fault != fault and last else value)
        learner.finite &= not (last and fault == float("inf"))
        norms.append(float(learner.step(1e-2)))
        moved = any(not torch.equal(a, b) for a, b in zip(before, model.parameters()))
        norms.append(moved)
    ranks.same(model)
    return norms + [int(learner.skipped), int(learner.in_a_row)]


def without_sums() -> tuple[dict, str]:
    """The mutant: three steps of pretraining in which gradients stay where they are, and what is
    told when they are to be saved."""
    usual, Ranks.reduce = Ranks.reduce, lambda *_: None
    try:
        config = replace(CONFIG, pretrain=replace(CONFIG.pretrain, tokens=3 * 160))
        session = Session.unsaved(config, PLAIN, None)
        model, told = pretrain(session, TINY, MiniWeb(config), every=1), ""
        try:
            session.keep("pretrain", 3, model, make_learner(model, 0.0, 1.0, PLAIN))
        except RuntimeError as fault:
            told = str(fault)
    finally:
        Ranks.reduce = usual
    return model.state_dict(), told


def handed(ranks: Ranks) -> list:
    last, run = ranks.rank == ranks.size - 1, Run(Path("unused"), CONFIG)
    Session(run, PLAIN)
    return [
        list(ranks.map(divmod, ((n, 3) for n in range(5)))), list(ranks.map(divmod, [])),
        ranks.each(divmod, [7, 8, 9, 10, 11], [2, 3, 2, 3, 2]), ranks.each(abs, []),
        ranks.gather(ranks.rank), ranks.first(lambda: ranks.rank),
        ranks.sum(torch.tensor([1, ranks.rank]), None)[0].tolist(),
        ranks.total(Counter(all=1.0, last=2.0) if last else Counter(all=1.0)), run.silent,
    ]


def work(rank: int, size: int, folder: Path) -> None:
    if size > 1:
        torch.set_num_threads(1)
        meeting = f"file://{folder}/meeting-{size}"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    ranks = Ranks.current()
    assert (ranks.rank, ranks.size) == (rank, size)
    found = {"run": whole_run(folder, ranks), "gradients": gradients(ranks)}
    found["handed"], found["mutant"] = handed(ranks), without_sums()
    for optimizer in BROKEN:
        found[optimizer] = broken(ranks, optimizer)
    torch.save(found, folder / f"{size}-{rank}.pt")
    if size > 1:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[int, list[dict]]:
    """What each process of each size has found."""
    folder = tmp_path_factory.mktemp("ranks")
    two = mp.spawn(work, (2, folder), 2, join=False)
    work(0, 1, folder)
    while not two.join():
        pass
    mp.spawn(work, (3, folder), 3)
    names = {size: [folder / f"{size}-{rank}.pt" for rank in range(size)] for size in SIZES}
    load = {"weights_only": False}
    return {size: [torch.load(path, **load) for path in paths] for size, paths in names.items()}


# ---------------------------------------------------------------- the proof


@pytest.mark.parametrize("phase", ["pretrain", "sft", "rl"])
def test_weights_are_those_of_one_process(found, phase):
    """After 20 steps each, float64: rows that do not divide, a process without rows in SFT, steps
    in which one process or none has signal."""
    alone = found[1][0]["run"]
    before = alone[{"pretrain": "sft", "sft": "pretrain", "rl": "sft"}[phase]]
    moved = max((alone[phase][name] - w).abs().max() for name, w in before.items())
    assert moved > 1e-3  # something was learned
    for size in SIZES[1:]:
        for rank in found[size]:
            for name, weight in alone[phase].items():
                assert weight.dtype == torch.float64 or "bias" in name
                torch.testing.assert_close(rank["run"][phase][name], weight, rtol=0, atol=1e-9)


def test_responses_are_those_of_one_process(found):
    """Token for token, and the same share of signal at every step."""
    alone = found[1][0]["run"]["seen"]
    assert len({len(ids) for _, responses, *_ in alone for ids in responses}) > 5
    assert {signal for *_, signal, _ in alone} >= {0.0, 1 / 8}
    for size in SIZES[1:]:
        for rank in found[size]:
            for one, other in zip(alone, rank["run"]["seen"], strict=True):
                assert one[:3] == other[:3]
                assert one[3] == pytest.approx(other[3], rel=1e-9, abs=1e-12)


def test_three_processes_go_on_where_two_stopped(found):
    alone = found[1][0]["run"]
    assert [step for step, *_ in found[2][0]["run"]["kl seen"]] == list(range(6))
    for rank in found[3]:
        assert [step for step, *_ in rank["run"]["kl seen"]] == list(range(4, 8))
        for one, other in zip(alone["kl seen"][4:], rank["run"]["kl seen"], strict=True):
            assert one[:3] == other[:3]
        for name, weight in alone["kl"].items():
            torch.testing.assert_close(rank["run"]["kl"][name], weight, rtol=0, atol=1e-9)


def test_summed_gradients_in_float32(found):
    alone = found[1][0]["gradients"]
    for size in SIZES[1:]:
        for rank in found[size]:
            for one, other in zip(alone, rank["gradients"], strict=True):
                assert one.norm() > 1e-3 and one.dtype == torch.float32
                assert (one - other).norm() / one.norm() < 1e-5


def test_gradients_that_do_not_meet_are_noticed(found):
    """The mutant without the sum of gradients learns something else, on each rank."""
    alone, told = found[1][0]["mutant"]
    assert told == ""
    for size in SIZES[1:]:
        for rank in found[size]:
            weights, told = rank["mutant"]
            gap = max((weights[name] - w).abs().max() for name, w in alone.items())
            assert gap > 1e-3 and "different weights" in told


@pytest.mark.parametrize("optimizer", BROKEN)
def test_all_leave_out_a_step_that_is_broken_on_one(found, optimizer):
    for size in SIZES[1:]:
        norms = [rank[optimizer] for rank in found[size]]
        for sound, moved, nan, stayed, infinite, still, again, on, skipped, in_a_row in norms:
            assert (moved, stayed, still, on, skipped, in_a_row) == (True, False, False, True, 2, 0)
            assert sound == norms[0][0] > 0 and nan != nan and infinite != infinite
            assert again == norms[0][6] > 0  # with one scale: all have halved it, or none


def test_what_is_handed_around(found):
    for size in SIZES:
        for place, rank in enumerate(found[size]):
            pairs, nothing, each, none, numbers, first, summed, total, silent = rank["handed"]
            assert silent == (place > 0)  # one progress bar
            assert pairs == [divmod(n, 3) for n in range(5)] and nothing == []
            assert each == list(map(divmod, [7, 8, 9, 10, 11], [2, 3, 2, 3, 2])) and none == []
            assert numbers == list(range(size)) and first == 0
            assert summed == [size, sum(range(size))] and total == {"all": size, "last": 2.0}


# ---------------------------------------------------------------- one process, and parts


def test_a_single_rank_sends_and_copies_nothing(monkeypatch):
    for name in ("all_reduce", "all_gather_object"):
        monkeypatch.setattr(dist, name, lambda *_: pytest.fail("something was sent"))
    ranks, parameter = Ranks.current(), torch.nn.Parameter(torch.ones(2))
    assert vars(ranks) == {"rank": 0, "size": 1} and str(ranks) == ""
    parameter.grad = grad = torch.ones(2)
    ranks.reduce([parameter], torch.tensor(True))
    ids_BT, sums = torch.ones(3, 2), Counter(a=1.0)
    assert parameter.grad is grad and ranks.sum(grad)[0] is grad and ranks.total(sums) is sums
    ranks.same(parameter)
    assert ranks.own_rows(ids_BT, None)[0].data_ptr() == ids_BT.data_ptr()
    assert ranks.folder(Path("run")) == Path("run")


@pytest.mark.parametrize("size", [2, 3, 5])
def test_every_row_is_dealt_once_and_evenly(size):
    groups = [torch.arange(7), torch.tensor([7]), torch.arange(8, 10), torch.tensor([10])]
    dealt = [Ranks(rank, size).deal(groups) for rank in range(size)]
    rows = sorted(torch.cat([torch.cat(own) for own in dealt]).tolist())
    assert rows == list(range(11)) and all(len(part) for own in dealt for part in own)
    counts = [sum(map(len, own)) for own in dealt]
    assert max(counts) - min(counts) <= 1
    ids_BT = torch.arange(14).view(7, 2)
    shares = [Ranks(rank, size).own_rows(ids_BT, ids_BT > 0) for rank in range(size)]
    assert sorted(torch.cat([ids for ids, _ in shares]).tolist()) == ids_BT.tolist()
    assert all(torch.equal(mask, ids > 0) for ids, mask in shares)


def test_a_rank_without_rows_reads_one_that_does_not_count():
    ids_BT = torch.ones(2, 3)
    ids, mask = Ranks(2, 3).own_rows(ids_BT, ids_BT > 0)
    assert ids.shape == (1, 3) and not mask.any()
    with pytest.raises(UserError, match="3 processes, but batches of only 2 rows"):
        Ranks(2, 3).own_rows(ids_BT, None)


# ---------------------------------------------------------------- by torchrun

DIES = """
import os, signal, sys
import train_zero
from minir1.console.errors import guard
from minir1.run.phases import RLPhase

usual = RLPhase.learning_rate

def rate(self, step):
    if step == 2 and os.environ["RANK"] == "0":  # the other one tells whose folder to resume
        os.kill(os.getpid(), signal.SIGKILL)
    return usual(self, step)

RLPhase.learning_rate = rate
sys.exit(guard(train_zero.main, sys.argv[1:], "train_zero.py"))
"""
SMALL = ("--preset", "smoke", "--pretrain.tokens", "8192", "--eval.answer_only_steps", "0")
SMALL += ("--eval.problems", "4", "--eval.many", "1")


def command(processes: int, *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a script under torchrun."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes))
    how = (sys.executable, *(torchrun if processes > 1 else ()), *arguments)
    done = subprocess.run(how, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr.replace("\r", "\n")


def figures(folder: Path) -> list[dict]:
    """metrics.jsonl without what a clock decides."""
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    clock = ("seconds", "tokens_s")
    return [{k: v for k, v in row.items() if not k.startswith(clock)} for row in rows]


def test_a_killed_process_ends_the_run_and_another_goes_on(tmp_path, monkeypatch):
    """One line of ours says how to go on; three processes then end with the metrics of one alone,
    and of their folders leave none."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where what is killed leaves its folder
    (tmp_path / "dies.py").write_text(DIES)
    run = tmp_path / "run"
    status, shown, told = command(2, str(tmp_path / "dies.py"), *SMALL, "--out", str(run))
    ours = [line for line in told.splitlines() if "train_zero.py:" in line]
    assert status != 0 and len(ours) == 1 and f"--resume {run}" in ours[0], told
    assert shown.count("minir1: preset smoke") == 1 and ", 2 processes; run folder" in shown
    left = {path.name for path in tmp_path.glob("minir1-*")}
    status, shown, told = command(3, "train_zero.py", "--resume", str(run))
    assert status == 0 and shown.count("right answers (pass@1)") == 1, told
    assert {path.name for path in tmp_path.glob("minir1-*")} <= left
    status, *_ = command(1, "train_zero.py", *SMALL, "--out", str(tmp_path / "alone"))
    alone, together = figures(tmp_path / "alone"), figures(run)
    assert status == 0 and len(alone) == len(together) > 6
    for one, other in zip(alone, together):
        assert one.keys() == other.keys()
        for name, value in one.items():
            near = pytest.approx(value, rel=1e-3, abs=1e-6) if type(value) is float else value
            assert other[name] == near, (one, other)


def test_a_wrong_flag_is_told_once():
    status, shown, told = command(2, "train_zero.py", "--preset", "nix")
    assert status != 0 and told.count("train_zero.py: unknown preset 'nix'") == 1 and not shown


def test_words_of_a_lost_connection_are_explained_under_torchrun_alone(monkeypatch):
    fault = ConnectionResetError(104, "Connection reset by peer")
    assert describe(fault) == "[Errno 104] Connection reset by peer"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("RANK", "1")
    assert describe(fault) == "another process of this run has ended"


def test_processes_of_a_host_share_its_cores(monkeypatch):
    monkeypatch.setattr(parallel, "usable_cores", lambda: 8)
    monkeypatch.setattr(parallel, "ProcessPoolExecutor", lambda workers, *_: pytest.fail(workers))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert list(parallel.parallel_map(divmod, [(7, 2)])) == [(3, 1)]  # two each: one beside it


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_a_process_counts_the_cores_that_it_may_use():
    """`taskset -c 0`: one, whatever the machine has."""
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert parallel.usable_cores() == 1
        assert pick_device(Config(device="cpu")).label == "1 CPU cores"
    finally:
        os.sched_setaffinity(0, allowed)
