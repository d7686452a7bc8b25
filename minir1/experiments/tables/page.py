"""tables.json as a page and as pictures."""

from pathlib import Path

from minir1.console.tables import markdown
from minir1.experiments.tables import published
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


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}%"


def as_published(value: float | None) -> str:
    return "" if value is None else f"{value}%"


def in_words(results: dict[str, float]) -> str:
    return "; ".join(f"{name} {value}%" for name, value in results.items())


def accuracy(entry: dict | None) -> str:
    return percent(entry["accuracy"]) if entry else ""


def ranged(entry: dict | None) -> str:
    """Accuracy with its 95% interval, where it has one."""
    if not entry or "interval" not in entry:
        return accuracy(entry)
    low, high = entry["interval"]
    return f"{accuracy(entry)} ({100 * low:.1f} to {100 * high:.1f})"


def puzzles(section: dict, budget: int) -> str:
    sides = [side for side in NAMES if any(side in entry for entry in section.values())]
    rows = []
    for name, entry in section.items():
        zero = entry["zero"]
        cells = [ranged(entry.get(side)) for side in sides]
        rows.append([f"**{name}**", *cells, f"{zero['tokens']:.0f}", percent(zero["cut"])])
        for key in zero:
            if key.startswith("accuracy_"):
                cells = [percent(entry.get(side, {}).get(key)) for side in sides]
                rows.append([f"{key.removeprefix('accuracy_')} numbers", *cells, "", ""])
    n = next(iter(section.values()))["zero"]["n"]
    head = ["", *(NAMES[side] for side in sides), "tokens", "cut off"]
    return (
        f"## Puzzles\n\nWithin {budget:,} tokens, {n:,} puzzles a line, 95% intervals. "
        "Perfect writer: the corpus's own, without a mistake and without giving up.\n\n"
        f"{markdown(head, rows)}\n\n"
        f"Published on 3 and 4 numbers: {in_words(published.THREE_TO_FOUR)}. "
        f"On sos4: {in_words(published.SOS4_OTHER)}."
    )


def budgets(section: dict) -> str:
    parts = ["## Accuracy by token budget"]
    for name, entry in section.items():
        head = [name, *(f"{b:,}" for b in entry["budgets"])]
        rows = [[NAMES[side], *map(percent, values)] for side, values in entry["by_budget"].items()]
        if name == "sos4":
            for label, line in published.SOS4.items():
                values = dict(zip(published.BUDGETS, line))
                cells = [as_published(values.get(b)) for b in entry["budgets"]]
                rows.append([f"{label} (published)", *cells])
        parts.append(markdown(head, rows))
    return "\n\n".join(parts)


def many(section: dict) -> str:
    rows = []
    for side in ("zero", "base"):
        for what in ("pass", "cons") if side in section else ():
            rows.append([f"{NAMES[side]}, {what}@k", *map(percent, section[side][what])])
    size = f"{section['n']} puzzles, {section['samples']} responses each"
    table = markdown(["k", *map(str, section["k"])], rows)
    text = f"## More than one response\n\n{section['puzzles']}, {size}.\n\n{table}"
    if "best_of" in section:
        best = section["best_of"]
        text += (
            f"\n\nWith the tokens of one response of R1-Zero the base gives {best['n']}: at least "
            f"one is right in {percent(best['judged'])} of cases (a perfect judge), their majority "
            f"in {percent(best['majority'])}; R1-Zero {accuracy(section['zero'])}."
        )
    return text


def sweep(section: dict) -> str:
    rows = []
    for temperature, row in section.items():
        shares = (percent(row["cut"]), percent(row["loops"]))
        rows.append([temperature, ranged(row), f"{row['tokens']:.0f}", *shares])
    table = markdown(["T", "right", "tokens", "cut off", "endless loops"], rows)
    return f"## Temperature\n\nNo top-p. 0 is greedy.\n\n{table}"


def arithmetic(section: dict) -> str:
    rows = []
    for kind, entry in section.items():
        zero = entry["zero"]
        ours = [ranged(zero), ranged(entry["direct"]), ranged(entry.get("base"))]
        others = (published.GPT3.get(kind), *published.PRODUCTS.get(kind, (None, None)))
        rows.append([kind, *ours, f"{zero['tokens']:.0f}", *map(as_published, others)])
    head = ["", "R1-Zero", "R1-Zero, at once", "base", "tokens"]
    head += ["GPT-3, few-shot", "Goat-7B", "GPT-4 (May 2023)"]
    count = next(iter(section.values()))["zero"]["n"]
    about = f"GPT-3's wording, {count} questions a line."
    return f"## Arithmetic\n\n{about}\n\n{markdown(head, rows)}"


def gym(section: dict) -> str:
    if not section:
        return "## reasoning-gym\n\nNot installed where this was made."
    others = list(published.GYM["countdown easy"])
    rows = []
    for name, entry in section.items():
        ours = [ranged(entry["zero"]), ranged(entry.get("base"))]
        ours += [accuracy(entry.get(side)) for side in ("blind", "lookahead", "writer")]
        theirs = published.GYM.get(name, {})
        rows.append([name, *ours, *(as_published(theirs.get(other)) for other in others)])
    head = ["", "R1-Zero", "base", "blind", "look-ahead", "perfect writer", *others]
    return (
        "## reasoning-gym\n\nIts own items, asked in our wording; the others' answers are those it "
        "stores, to 50 other items, asked in its wording (± 12 points). Their models are general; "
        f"ours knows nothing else.\n\n{markdown(head, rows)}"
    )


def costs(tables: dict) -> str:
    spent = dict(tables["training"])
    spent |= {f"these tables: {name}": entry for name, entry in tables["asking"].items()}
    rows = []
    for name, entry in spent.items():
        # sections may have been asked on different machines
        device = entry.get("device", tables["device"])
        # what a rented card would cost; nothing is said of a laptop's processor
        dollars = "" if "CPU" in device else f"{entry['dollars']:.2f}"
        work = [f"{entry['tokens']:,}", f"{entry['flops']:.2e}", f"{entry['minutes']:.1f}"]
        rows.append([name, *work, dollars, device.partition(",")[0]])
    note = "Operations: 2 a weight and token to sample, 6 to learn; attention left out."
    table = markdown(["", "tokens", "operations", "minutes", "$", "device"], rows)
    return f"## Cost\n\n{note} Dollars at $2 an hour for a card.\n\n{table}"


def page(tables: dict) -> str:
    """The whole page, of the sections that there are."""
    sections = tables["sections"]
    size = f"{tables['parameters'] / 1e6:.1f} M parameters"
    used = f"{tables['used_per_token'] / 1e6:.1f} M used a token"
    made = f"{tables['date']}, {tables['device']}. T = 0.6, top-p 0.95 unless said."
    asking = tables["asking"].values()
    commands = dict.fromkeys(entry.get("command", tables["command"]) for entry in asking)
    parts = [f"# Tables: {Path(tables['checkpoint']).name}", f"{size}, {used}. {made}"]
    parts.append("\n".join(f"    {command}" for command in commands))
    if tables["quick"]:
        parts.append("A trial on few problems: see the intervals.")
    if "puzzles" in sections:
        parts.append(puzzles(sections["puzzles"], tables["budget"]))
    makers = {"puzzles": budgets, "many": many, "sweep": sweep, "arithmetic": arithmetic}
    for name, make in (makers | {"gym": gym}).items():
        if name in sections:
            parts.append(make(sections[name]))
    return "\n\n".join([*parts, costs(tables)]) + "\n"


# ---------------------------------------------------------------- pictures


def draw(tables: dict, out: Path) -> list[Path]:
    """budgets.png, passk.png and temperature.png, of the sections that there are."""
    pictures = {
        "puzzles": (budget_plot, "budgets.png"),
        "many": (many_plot, "passk.png"),
        "sweep": (sweep_plot, "temperature.png"),
    }
    sections, written = tables["sections"], []
    for name, (plot, file) in pictures.items():
        if name in sections:
            written.append(drawing.save(plot(sections[name]), out / file))
    return written


def _doubling(axes, ticks: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{t:,}" for t in ticks], rotation=30 if len(ticks) > 5 else 0)
    axes.minorticks_off()


def _shares(axes, size: int = 9) -> None:
    axes.set_ylim(0, 1.02)
    if size:
        axes.legend(fontsize=size, frameon=False)


def budget_plot(section: dict):
    """Accuracy over the token budget, one panel a distribution."""
    rows = -(-len(section) // 3)
    figure, grid = drawing.figure_of(rows, 3, (12, 3.6 * rows))
    for axes, (name, entry) in zip(grid, section.items()):
        drawing.dress(axes, name, True, "token budget")
        ticks = entry["budgets"]
        for side, values in entry["by_budget"].items():
            colour, style = LOOKS[side]
            look = {"color": colour, "linestyle": style, "marker": "o", "markersize": 3.5}
            axes.plot(ticks, values, label=NAMES[side], **look)
        for label, line in published.SOS4.items() if name == "sos4" else ():
            known = [(b, v / 100) for b, v in zip(published.BUDGETS, line) if b <= 1.1 * ticks[-1]]
            axes.plot(*zip(*known), linewidth=1, marker=".", alpha=0.8, label=label)
        _doubling(axes, ticks)
        _shares(axes, 7 if name in ("sos4", next(iter(section))) else 0)
    for axes in grid[len(section) :]:
        axes.set_visible(False)
    return figure


def many_plot(section: dict):
    """pass@k and cons@k over k: where the base catches up, RL has sharpened and not added."""
    figure, (axes,) = drawing.figure_of(size=(7, 4.5))
    drawing.dress(axes, f"{section['puzzles']}: right with k responses", True, "k")
    for side in ("zero", "base"):
        for what, style in (("pass", "-"), ("cons", "--")) if side in section else ():
            look = {"color": LOOKS[side][0], "linestyle": style, "marker": "o"}
            axes.plot(section["k"], section[side][what], label=f"{NAMES[side]}, {what}@k", **look)
    _doubling(axes, section["k"])
    _shares(axes)
    return figure


def sweep_plot(section: dict):
    figure, (axes,) = drawing.figure_of(size=(7, 4.5))
    drawing.dress(axes, "by temperature (0: greedy)", True, "temperature")
    axes.xaxis.get_major_locator().set_params(integer=False)
    x = [float(t) for t in section]
    curves = {"accuracy": (drawing.RED, "right"), "cut": (drawing.BLUE, "cut off")}
    for key, (colour, label) in (curves | {"loops": (drawing.ORANGE, "endless loops")}).items():
        axes.plot(x, [row[key] for row in section.values()], color=colour, marker="o", label=label)
    _shares(axes)
    return figure
