"""What the playground shows: a response as it comes, many as a table, why a token was drawn."""

import re
from collections import Counter

from minir1.config import UserError
from minir1.measure.evaluate import majority
from minir1.play.questions import Draw, Response
from minir1.tokenizer import Tokenizer
from minir1.transcript import ANSWER, ANSWER_END, END, THINK, THINK_END

DIM, BOLD, GREEN, RED = "2", "1", "32", "31"
_TAG = re.compile("(" + "|".join(map(re.escape, (THINK, THINK_END, ANSWER, ANSWER_END, END))) + ")")


def visible(text: str, keep: str = "\n") -> str:
    """Text without what could steer a terminal: a base model may write any byte."""
    return "".join(
        c if c in keep or c.isprintable() else "\\n" if c == "\n" else "\ufffd" for c in text
    )


class Painter:
    """Writes a response: thoughts dim, the answer bold and on a line of its own.

    Each write closes its style, so that nothing is left open when Ctrl-C strikes.
    """

    def __init__(self, colour: bool):
        self.colour, self.style, self.begun = colour, "", False

    def paint(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self.colour and style and text else text

    def write(self, piece: str) -> None:
        for part in _TAG.split(piece):
            if part == END or not part:
                continue
            if _TAG.fullmatch(part):
                self.style = {THINK: DIM, ANSWER: BOLD}.get(part, "")
                part = self.paint(("\n" if part == ANSWER and self.begun else "") + part, DIM)
            else:
                part = self.paint(visible(part), self.style)
            self.begun = True
            print(end=part, flush=True)

    def mark(self, right: bool | None) -> str:
        return {
            True: self.paint("✓ right", GREEN), False: self.paint("✗ wrong", RED),
            None: "– not checked",
        }[right]

    def verdict(self, found: Response) -> str:
        """
        >>> Painter(False).verdict(Response("3 * 5", False, "that makes 15", 8, True))
        '✗ wrong: that makes 15, 8 tokens'
        """
        reason = found.reason or ("no answer in the right form" if found.answer is None else "")
        cut = "" if found.stopped else " (cut off there)"
        return f"{self.mark(found.right)}{': ' if reason else ''}{reason}, {found.tokens} token{'s' * (found.tokens != 1)}{cut}"


def short(answer: str | None) -> str:
    text = "(no answer)" if answer is None else visible(" ".join(answer.split()) or "(empty)")
    return text if len(text) <= 60 else text[:59] + "…"


def tally(columns: dict[str, list[Response]], painter: Painter, most: int = 12) -> str:
    """Answers with their counts, a column for each model; below, what each model found in all."""
    first: dict[tuple, Response] = {}
    counts = {name: Counter(map(_same, found)) for name, found in columns.items()}
    for response in (r for found in columns.values() for r in found):
        first.setdefault(_same(response), response)
    order = sorted(first, key=lambda same: [-count[same] for count in counts.values()])
    rows = ["  ".join(f"{name:>5}" for name in columns)]
    for same in order[:most]:
        cells = [f"{count[same] or '':>{max(5, len(name))}}" for name, count in counts.items()]
        mark = "" if first[same].right is None else f"{painter.mark(first[same].right)}  "
        rows.append("  ".join([*cells, mark + short(first[same].answer)]))
    if order[most:]:
        rows.append(f"and {len(order) - most} more")
    return "\n".join(rows + [_in_all(name, found, painter) for name, found in columns.items()])


def _same(response: Response) -> tuple:
    """Answers that differ in their spaces only share a row."""
    return response.answer and response.answer.replace(" ", ""), response.right


def _in_all(name: str, found: list[Response], painter: Painter) -> str:
    winner = majority([r.answer for r in found])
    won = next((r for r in found if r.answer == winner), found[0])
    right = (
        "" if won.right is None else f"{sum(bool(r.right) for r in found)} of {len(found)} right, "
    )
    says = (
        f"majority {painter.paint(short(winner), BOLD)} {painter.mark(won.right)}"
        if winner is not None
        else "no majority"
    )
    mean, cut = sum(r.tokens for r in found) / len(found), sum(not r.stopped for r in found)
    return f"{name}: {right}{says}; {mean:.0f} tokens on average" + (
        f", {cut} cut off" if cut else ""
    )


def why(
    draws: list[Draw], tokenizer: Tokenizer, painter: Painter, in_order: bool = False,
    page: int = 1, rows: int = 16,
) -> str:
    """One page of a response's tokens: what was drawn, how likely it was, what else there was.

    Raises UserError past the last.
    """
    order = (
        range(len(draws)) if in_order else sorted(range(len(draws)), key=lambda t: draws[t].chance)
    )
    pages = -(-len(draws) // rows)
    if page > pages:
        raise UserError(f"there {'is one page' if pages == 1 else f'are {pages} pages'}")
    token = lambda id: '"' + visible(tokenizer.decode([id]), "") + '"'  # noqa: E731
    open_ = sum(draw.chance < 0.9 for draw in draws)
    kind = "in order" if in_order else "the least likely first"
    lines = [
        f"{open_} of {len(draws)} tokens had a chance below 90%; {kind}, page {page} of {pages}"
    ]
    for t in order[(page - 1) * rows : page * rows]:
        draw = draws[t]
        before = visible(tokenizer.decode([d.id for d in draws[max(0, t - 12) : t]]), "")[-20:]
        others = ", ".join(
            f"{token(id)} {percent(p)}" for id, p in draw.top if id != draw.id and p >= 0.005
        )
        drawn = painter.paint(f"{token(draw.id)} {percent(draw.chance)}", BOLD)
        lines.append(f"{t + 1:>4}  {before:>20} > {drawn}" + (f"  else {others}" if others else ""))
    return "\n".join(lines)


def percent(p: float) -> str:
    """
    >>> percent(0.62), percent(0.001), percent(0.999)
    ('62%', '<1%', '>99%')
    """
    return "<1%" if p < 0.005 else ">99%" if 0.995 <= p < 1 else f"{p:.0%}"
