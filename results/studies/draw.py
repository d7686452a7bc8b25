"""Draws reward.png, habits.png, recipe.png, a dot for each seed: python results/studies/draw.py"""

import json
from pathlib import Path

from minir1.report.drawing import GREY, RED, dress, figure_of, save

FOLDER = Path(__file__).parent

REWARD = {
    "normal": "right answers (GRPO)", "expert_iteration": "right answers imitated",
    "rejection_sft": "SFT on the base's right answers", "answer_only": "right answers, no thinking",
    "format_only": "form alone", "random": "a coin", "inverted": "wrong answers",
}
HABITS = {
    "all_habits": "default corpus", "no_backward_chaining": "no backward chaining",
    "no_subgoals": "no subgoals", "no_check_no_retry": "no checks, no retries",
    "no_backtracking": "no retries", "no_verification": "no checks",
}
DOSE = {
    "dose_80": "80% of documents retry", "dose_20": "20%", "dose_5": "5%", "dose_1": "1%",
    "dose_0.1": "0.1%", "dose_0": "none",
}
TRANSPLANT = {
    "habit_at_home": "checks, retries: in puzzles", "habit_near": "only in sums",
    "habit_far": "only in divisions", "habit_nowhere": "nowhere",
}
CATCHING = {
    f"{place}_{dose}": f"in {dose}% of thoughts{text}"
    for dose in ("3", "1", "0.3", "0.1", "0")
    for place, text in (("near", ", and sums"), ("nowhere", ""))
}
RECIPE = {
    "normal": "default", "group_2": "2 responses per prompt, not 8", "group_4": "4",
    "group_16": "16", "group_32": "32", "loss_dr_grpo": "Dr. GRPO", "loss_cispo": "CISPO",
    "loss_gspo": "GSPO", "no_std": "not divided by the deviation",
    "response_mean": "mean over each response", "temperature_0.7": "T = 0.7",
    "temperature_1.2": "T = 1.2", "kl": "KL 0.001", "kl_refreshed": "the same, refreshed",
    "kl_strong": "KL 0.05", "router_moves": "router moves", "think_prefilled": "<think> prefilled",
}
LOSSES = {
    "response": "GRPO, mean over each response", "gspo": "GSPO", "dr_grpo": "Dr. GRPO",
    "grpo": "GRPO, mean over all tokens", "cispo": "CISPO", "unclipped": "not clipped",
}


def variants(study: str) -> dict:
    path = FOLDER / study / f"{study}.json"
    return json.loads(path.read_text(encoding="utf-8"))["variants"]


def seeds(study: dict, names: dict[str, str]) -> list[tuple[str, list[float], list[float]]]:
    """(label, accuracies of the bases, accuracies after RL) of each variant."""
    rows = []
    for name, label in names.items():
        runs = study[name]["seeds"].values()
        pairs = [(run["base"]["accuracy"], run["zero"]["accuracy"]) for run in runs]
        rows.append((label, [base for base, _ in pairs], [zero for _, zero in pairs]))
    return rows


def dots(axes, title: str, rows: list[tuple[str, list[float], list[float]]]) -> None:
    """Rows from above: grey the base, red each seed after RL, a line over their range."""
    dress(axes, title)
    for height, (_, bases, zeros) in enumerate(rows):
        axes.plot([min(zeros), max(zeros)], [height, height], color=RED, linewidth=1.5)
        axes.plot(bases, [height] * len(bases), "|", color=GREY, markersize=11, markeredgewidth=2)
        axes.plot(zeros, [height] * len(zeros), "o", color=RED, markersize=5, clip_on=False)
    axes.grid(axis="x", color="#E4E4E4", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    axes.set_xlim(-0.02, 1)
    axes.set_xlabel("solved (grey: base, red: seeds after RL)", fontsize=9)


def clipping() -> list[tuple[str, list[float], list[float]]]:
    """Eight updates per rollout at 3e-4; the runs start from the shipped base of `controls`."""
    lines = (FOLDER / "clipping" / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    runs = [run for run in map(json.loads, lines) if (run["updates"], run["lr"]) == (8, 3e-4)]
    return [
        (label, [], [run["test"] for run in runs if run["loss"] == loss])
        for loss, label in LOSSES.items()
    ]


figure, (axes,) = figure_of(size=(8, 3.2))
dots(axes, "What is rewarded: only right answers help", seeds(variants("controls"), REWARD))
save(figure, FOLDER / "reward.png")

figure, panels = figure_of(2, 2, (11, 6.4))
habits = variants("habits")
dots(panels[0], "Taken away: checks and retries are needed", seeds(habits, HABITS))
dots(panels[1], "Dose: from 5% on every seed gains", seeds(habits, DOSE))
dots(panels[2], "Transplant: nothing is carried over", seeds(variants("transplant"), TRANSPLANT))
few = seeds(variants("catching"), CATCHING)
dots(panels[3], "Few in puzzles: not enough", few)
save(figure, FOLDER / "habits.png")

figure, panels = figure_of(1, 2, (12, 4.6))
ablations = seeds(variants("ablations"), RECIPE)
dots(panels[0], "Little is clipped: the details do not matter", ablations)
dots(panels[1], "Much is clipped: the loss decides", clipping())
save(figure, FOLDER / "recipe.png")
