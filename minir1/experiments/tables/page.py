"""tables.json as a page and as pictures."""

from pathlib import Path

from minir1.experiments.tables.published import (
    BUDGETS,
    GPT3,
    GYM,
    PRODUCTS,
    SOS4,
    SOS4_OTHER,
    THREE_TO_FOUR,
)
from minir1.report import drawing

NAMES = {
    "zero": "R1-Zero", "base": "base", "blind": "blind search",
    "lookahead": "look-ahead, computed", "writer": "perfect writer",
}
LOOKS = {
    "zero": (drawing.RED, "-"), "base": (drawing.BLUE, "-"), "blind": (drawing.GREY, ":"),
    "lookahead": (drawing.GREY, "--"), "writer": (drawing.GREY, "-."),
}

# ---------------------------------------------------------------- Markdown


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """
    >>> print(markdown(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [head, *rows]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(head), *text[1:]])


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}%"


def ranged(found: dict | None) -> str:
    """Accuracy with its 95% interval, where it has one."""
    if found is None:
        return ""
    low_high = (
        f" ({100 * found['interval'][0]:.1f} to {100 * found['interval'][1]:.1f})"
        if "interval" in found
        else ""
    )
    return percent(found["accuracy"]) + low_high


def puzzles(found: dict, budget: int) -> str:
    sides = [side for side in NAMES if any(side in entry for entry in found.values())]
    rows = []
    for name, entry in found.items():
        rows.append(
            [
                f"**{name}**", *(ranged(entry.get(side)) for side in sides),
                f"{entry['zero']['tokens']:.0f}", percent(entry["zero"]["cut"]),
            ]
        )
        for key in [k for k in entry["zero"] if k.startswith("accuracy_")]:
            cells = [percent(entry[side].get(key)) if side in entry else "" for side in sides]
            rows.append([f"{key.removeprefix('accuracy_')} numbers", *cells, "", ""])
    n = next(iter(found.values()))["zero"]["n"]
    head = ["", *(NAMES[side] for side in sides), "tokens", "cut off"]
    beside = "; ".join(f"{name} {value}%" for name, value in THREE_TO_FOUR.items())
    others = "; ".join(f"{name} {value}%" for name, value in SOS4_OTHER.items())
    return (
        f"## Puzzles\n\nWithin {budget:,} tokens, {n:,} puzzles a line, 95% intervals. "
        f"Perfect writer: the corpus's own, without a mistake and without giving up.\n\n{markdown(head, rows)}\n\n"
        f"Published on 3 and 4 numbers: {beside}. On sos4: {others}."
    )


def budgets(found: dict) -> str:
    parts = ["## Accuracy by token budget"]
    for name, entry in found.items():
        head = [name, *(f"{b:,}" for b in entry["budgets"])]
        rows = [[NAMES[side], *map(percent, values)] for side, values in entry["by_budget"].items()]
        if name == "sos4":
            published = [
                [dict(zip(BUDGETS, line)).get(b) for b in entry["budgets"]]
                for line in SOS4.values()
            ]
            rows += [
                [f"{label} (published)", *("" if v is None else f"{v}%" for v in line)]
                for label, line in zip(SOS4, published)
            ]
        parts.append(markdown(head, rows))
    return "\n\n".join(parts)


def many(found: dict) -> str:
    head = ["k", *map(str, found["k"])]
    rows = [
        [f"{NAMES[s]}, {what}@k", *map(percent, found[s][what])]
        for s in ("zero", "base")
        if s in found
        for what in ("pass", "cons")
    ]
    about = f"{found['puzzles']}, {found['n']} puzzles, {found['samples']} responses each."
    text = f"## More than one response\n\n{about}\n\n{markdown(head, rows)}"
    if "best_of" in found:
        best = found["best_of"]
        text += (
            f"\n\nWith the tokens of one response of R1-Zero the base gives {best['n']}: at least one is right in "
            f"{percent(best['judged'])} of cases (a perfect judge), their majority in {percent(best['majority'])}; "
            f"R1-Zero {percent(found['zero']['accuracy'])}."
        )
    return text


def sweep(found: dict) -> str:
    rows = [
        [t, ranged(f), f"{f['tokens']:.0f}", percent(f["cut"]), percent(f["loops"])]
        for t, f in found.items()
    ]
    return "## Temperature\n\nNo top-p. 0 is greedy.\n\n" + markdown(
        ["T", "right", "tokens", "cut off", "endless loops"], rows
    )


def arithmetic(found: dict) -> str:
    rows = []
    for kind, entry in found.items():
        goat, gpt4 = PRODUCTS.get(kind, (None, None))
        published = [
            f"{GPT3[kind]}%" if kind in GPT3 else "",
            *("" if v is None else f"{v}%" for v in (goat, gpt4)),
        ]
        rows.append(
            [
                kind, ranged(entry["zero"]), ranged(entry["direct"]), ranged(entry.get("base")),
                f"{entry['zero']['tokens']:.0f}", *published,
            ]
        )
    head = [
        "", "R1-Zero", "R1-Zero, at once", "base", "tokens", "GPT-3, few-shot", "Goat-7B",
        "GPT-4 (May 2023)",
    ]
    count = next(iter(found.values()))["zero"]["n"]
    about = f"GPT-3's wording, {count} questions a line."
    return f"## Arithmetic\n\n{about}\n\n{markdown(head, rows)}"


def gym(found: dict) -> str:
    if not found:
        return "## reasoning-gym\n\nNot installed where this was made."
    others = list(GYM["countdown easy"])
    rows = []
    for name, entry in found.items():
        cells = [
            ranged(entry["zero"]), ranged(entry.get("base")),
            percent(entry["blind"]["accuracy"]) if "blind" in entry else "",
        ]
        cells += [
            percent(entry[s]["accuracy"]) if s in entry else "" for s in ("lookahead", "writer")
        ]
        rows.append(
            [name, *cells, *(f"{GYM[name][o]}%" if o in GYM.get(name, {}) else "" for o in others)]
        )
    head = ["", "R1-Zero", "base", "blind", "look-ahead", "perfect writer", *others]
    return (
        "## reasoning-gym\n\nIts own items, asked in our wording; the others' answers are those it stores, to 50 other "
        f"items, asked in its wording (± 12 points). Their models are general; ours knows nothing else.\n\n{markdown(head, rows)}"
    )


def dollars(spent: dict, device: str) -> str:
    """What a rented card would cost; nothing is said of a laptop's processor."""
    return "" if "CPU" in device else f"{spent['dollars']:.2f}"


def costs(found: dict) -> str:
    lines = found["training"] | {f"these tables: {name}": c for name, c in found["asking"].items()}
    # sections may have been asked on different machines
    where = {n: c.get("device", found["device"]) for n, c in lines.items()}
    rows = [
        [
            n, f"{c['tokens']:,}", f"{c['flops']:.2e}", f"{c['minutes']:.1f}", dollars(c, where[n]),
            where[n].partition(",")[0],
        ]
        for n, c in lines.items()
    ]
    note = "Operations: 2 a weight and token to sample, 6 to learn; attention left out. Dollars at $2 an hour for a card."
    return f"## Cost\n\n{note}\n\n" + markdown(
        ["", "tokens", "operations", "minutes", "$", "device"], rows
    )


def page(found: dict) -> str:
    """The whole page, of the sections that there are."""
    sections, parts = found["sections"], []
    size = f"{found['parameters'] / 1e6:.1f} M parameters, {found['used_per_token'] / 1e6:.1f} M used a token"
    commands = dict.fromkeys(c.get("command", found["command"]) for c in found["asking"].values())
    warning = "\n\nA trial on few problems: see the intervals." if found["quick"] else ""
    parts.append(f"# Tables: {Path(found['checkpoint']).name}\n\n{size}. {found['date']}, {found['device']}. T = 0.6, top-p 0.95 "
                 "unless said.\n\n" + "\n".join(f"    {command}" for command in commands) + warning)  # fmt: skip
    if "puzzles" in sections:
        parts += [puzzles(sections["puzzles"], found["budget"]), budgets(sections["puzzles"])]
    makers = {"many": many, "sweep": sweep, "arithmetic": arithmetic, "gym": gym}
    parts += [make(sections[name]) for name, make in makers.items() if name in sections]
    return "\n\n".join([*parts, costs(found)]) + "\n"


# ---------------------------------------------------------------- pictures


def draw(found: dict, out: Path) -> list[Path]:
    """budgets.png, passk.png and temperature.png, of the sections that there are."""
    sections, written = found["sections"], []
    if "puzzles" in sections:
        written.append(drawing.save(budget_plot(sections["puzzles"]), out / "budgets.png"))
    if "many" in sections:
        written.append(drawing.save(many_plot(sections["many"]), out / "passk.png"))
    if "sweep" in sections:
        written.append(drawing.save(sweep_plot(sections["sweep"]), out / "temperature.png"))
    return written


def _doubling(axes, ticks: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{t:,}" for t in ticks], rotation=30 if len(ticks) > 5 else 0)
    axes.minorticks_off()


def budget_plot(found: dict):
    """Accuracy over the token budget, one panel a distribution."""
    figure, grid = drawing.figure_of(-(-len(found) // 3), 3, (12, 3.6 * -(-len(found) // 3)))
    for axes, (name, entry) in zip(grid, found.items()):
        drawing.dress(axes, name, True, "token budget")
        for side, values in entry["by_budget"].items():
            colour, style = LOOKS[side]
            axes.plot(
                entry["budgets"], values, color=colour, linestyle=style, marker="o", markersize=3.5,
                label=NAMES[side],
            )
        for label, line in SOS4.items() if name == "sos4" else ():
            known = [(b, v / 100) for b, v in zip(BUDGETS, line) if b <= 1.1 * entry["budgets"][-1]]
            axes.plot(*zip(*known), linewidth=1, marker=".", alpha=0.8, label=label)
        _doubling(axes, entry["budgets"])
        axes.set_ylim(0, 1.02)
        if name in ("sos4", next(iter(found))):
            axes.legend(fontsize=7, frameon=False)
    for axes in grid[len(found) :]:
        axes.set_visible(False)
    return figure


def many_plot(found: dict):
    """pass@k and cons@k over k: where the base catches up, RL has sharpened and not added."""
    figure, (axes,) = drawing.figure_of(size=(7, 4.5))
    drawing.dress(axes, f"{found['puzzles']}: right with k responses", True, "k")
    for side in ("zero", "base"):
        for what, style in (("pass", "-"), ("cons", "--")) if side in found else ():
            axes.plot(
                found["k"], found[side][what], color=LOOKS[side][0], linestyle=style, marker="o",
                label=f"{NAMES[side]}, {what}@k",
            )
    _doubling(axes, found["k"])
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=9, frameon=False)
    return figure


def sweep_plot(found: dict):
    figure, (axes,) = drawing.figure_of(size=(7, 4.5))
    drawing.dress(axes, "by temperature (0: greedy)", True, "temperature")
    axes.xaxis.get_major_locator().set_params(integer=False)
    x = [float(t) for t in found]
    for key, colour, label in (
        ("accuracy", drawing.RED, "right"), ("cut", drawing.BLUE, "cut off"),
        ("loops", drawing.ORANGE, "endless loops"),
    ):
        axes.plot(x, [f[key] for f in found.values()], color=colour, marker="o", label=label)
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=9, frameon=False)
    return figure
