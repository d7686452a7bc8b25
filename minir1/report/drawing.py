"""What all plots are drawn with: colours, axes, curves, labels beside them.

Colours are Okabe and Ito's, a little darker for text, told apart by colour-blind readers. Figures
are objects of their own: nothing here touches pyplot's global state, so a notebook or a thread can
draw.

>>> spread([0.5, 0.5, 0.9], 0.1)
[0.45, 0.55, 0.9]
"""

from pathlib import Path

import numpy as np

BLUE, SKY, RED, GREEN = "#0072B2", "#56B4E9", "#D55E00", "#009E73"
PURPLE, ORANGE, GREY, INK = "#A8508A", "#B87A00", "#777777", "#222222"
SEVERAL = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, INK, GREY)  # curves of a kind
LARGEST = 250_000  # bytes of one PNG


def smooth(values: list[float]) -> list[float]:
    """Each value by a straight line fitted around it (over a twentieth of the curve): a moving mean
    that keeps its ends.

    >>> smooth([1.0, 5.0, 3.0]), smooth([2.0 * i for i in range(13)])[-1]
    ([1.0, 5.0, 3.0], 24.0)
    """
    n = len(values)
    if n < 12:
        return list(values)
    reach = max(n // 40, 2)
    width = 2 * reach + 1
    # sums over a window are differences of running sums, so that the time grows with n alone
    y = np.asarray(values, dtype=float)
    middle = y.mean()
    sums = np.cumsum([0.0, *(y - middle)])
    moments = np.cumsum([0.0, *(np.arange(n) * (y - middle))])
    first = np.clip(np.arange(n) - reach, 0, n - width)  # at the ends the window stays as wide
    total = sums[first + width] - sums[first]
    moment = moments[first + width] - moments[first] - (first + reach) * total
    slope = moment / (width * (width * width - 1) / 12)
    return (middle + total / width + slope * (np.arange(n) - first - reach)).tolist()


def spread(heights: list[float], gap: float) -> list[float]:
    """Positions in 0..1 near `heights`, about `gap` apart: neighbours push each other away."""
    order, placed = sorted(range(len(heights)), key=heights.__getitem__), list(heights)
    for _ in range(300):
        for low, high in zip(order, order[1:]):
            push = max(0.0, gap - placed[high] + placed[low]) / 2
            placed[low] = max(0.0, placed[low] - push)
            placed[high] = min(1.0, placed[high] + push)
    return [round(y, 4) for y in placed]


def figure_of(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (9, 5),
    layout: str | None = "constrained",
):
    """(figure, its axes as a list); `size` in inches."""
    from matplotlib.figure import Figure  # here, because importing it takes a second

    figure = Figure(size, layout=layout, facecolor="white")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def dress(axes, title: str, percent: bool = False, xlabel: str = "") -> None:
    def tick(value: float, _) -> str:
        if percent:
            return f"{100 * value:.3g}%"
        return f"{value / 1000:g} k" if abs(value) >= 10_000 else f"{value:.4g}"

    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors="#444444", labelsize=9)
    axes.set_title(title, loc="left", fontsize=10.5, color=INK)
    axes.set_xlabel(xlabel, fontsize=9, color="#444444")
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)
    axes.yaxis.set_major_formatter(tick)


def draw_curve(axes, x: list, y: list, colour: str) -> None:
    """The raw values pale, their moving mean on top."""
    if len(y) >= 12:
        axes.plot(x, y, color=colour, alpha=0.28, linewidth=0.9)
    marker = "o" if len(y) < 4 else None
    axes.plot(x, smooth(y), color=colour, linewidth=1.8, marker=marker, markersize=3.5)


def write_labels(axes, labels: list[tuple[float, str, str, object]]) -> None:
    """(height in data, text, colour, line style) at the right, apart, tied to their heights."""
    low, high = axes.get_ylim()
    heights = [min(max((y - low) / (high - low), 0), 1) for y, *_ in labels]
    places = spread(heights, 0.062)
    for (_, text, colour, style), height, place in zip(labels, heights, places):
        tie = {"transform": axes.transAxes, "clip_on": False, "color": colour}
        axes.plot([1.0, 1.05], [height, place], linewidth=0.8, **tie)
        axes.plot([1.05, 1.085], [place, place], linestyle=style, linewidth=1.8, **tie)
        axes.text(
            1.095, place, text, transform=axes.transAxes, color=colour, fontsize=9, va="center",
            parse_math=False,
        )


def save(figure, path: Path) -> Path:
    """A PNG below LARGEST: fewer dots until it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for dpi in (110, 90, 60):
        figure.savefig(path, dpi=dpi, pil_kwargs={"optimize": True})
        if path.stat().st_size < LARGEST:
            break
    return path
