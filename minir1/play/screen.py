"""What the playground shows: a response as it comes, many as a table, why a token was drawn."""

import re
from collections import Counter

from minir1.config import UserError
from minir1.measure.statistics import majority, mean
from minir1.play.questions import Draw, Response
from minir1.tokenizer import Tokenizer
from minir1.transcript import ANSWER, ANSWER_END, END, THINK, THINK_END

DIM, BOLD, GREEN, RED = "2", "1", "32", "31"
_TAG = re.compile("(" + "|".join(map(re.escape, (THINK, THINK_END, ANSWER, ANSWER_END, END))) + ")")

# ---------------------------------------------------------------- a response


def visible(text: str, keep: str = "\n") -> str:
    """Text without what could steer a terminal: a base model may write any byte."""
    shown = []
    for c in text:
        if c in keep or c.isprintable():
            shown.append(c)
        else:
            shown.append("\\n" if c == "\n" else "\ufffd")
    return "".join(shown)


def short(answer: str | None) -> str:
    text = "(no answer)" if answer is None else visible(" ".join(answer.split()) or "(empty)")
    return text if len(text) <= 60 else text[:59] + "…"


class Painter:
    """Writes a response: thoughts dim, the answer bold and on a line of its own.

    Each write closes its style, so that nothing is left open when Ctrl-C strikes.
    """

    def __init__(self, colour: bool):
        self.colour, self.style, self.begun = colour, "", False

    def paint(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self.colour and style and text else text

    def write(self, piece: str, underlined: bool = False) -> None:
        for part in _TAG.split(piece):
            if part == END or not part:
                continue
            if _TAG.fullmatch(part):
                self.style = {THINK: DIM, ANSWER: BOLD}.get(part, "")
                part = self.paint(("\n" if part == ANSWER and self.begun else "") + part, DIM)
            else:
                style = f"{self.style};4".strip(";") if underlined else self.style
                part = self.paint(visible(part), style)
            self.begun = True
            print(end=part, flush=True)

    def mark(self, right: bool | None) -> str:
        if right is None:
            return "– not checked"
        return self.paint("✓ right", GREEN) if right else self.paint("✗ wrong", RED)

    def verdict(self, response: Response) -> str:
        """
        >>> Painter(False).verdict(Response("3 * 5", False, "that makes 15", 8, True))
        '✗ wrong: that makes 15, 8 tokens'
        """
        reason = response.reason
        if not reason and response.answer is None:
            reason = "no answer in the right form"
        said = f"{self.mark(response.right)}: {reason}" if reason else self.mark(response.right)
        cut = "" if response.stopped else " (cut off there)"
        return f"{said}, {response.tokens} token{'s' * (response.tokens != 1)}{cut}"


def saved(draws: list[Draw]) -> str:
    """What drafts were good for.

    >>> saved([Draw(7, 1.0, []), Draw(8, 1.0, [], free=True), Draw(9, 1.0, [])])
    '; 33% of the tokens were free, by a right draft: 1.50 per forward pass'
    """
    free = sum(draw.free for draw in draws)
    share, rate = percent(free / len(draws)), len(draws) / (len(draws) - free)
    return f"; {share} of the tokens were free, by a right draft: {rate:.2f} per forward pass"


# ---------------------------------------------------------------- many responses


def tally(columns: dict[str, list[Response]], painter: Painter, most: int = 12) -> str:
    """Answers with their counts, a column for each model; below, what each model found in all."""
    first: dict[tuple, Response] = {}
    for responses in columns.values():
        for response in responses:
            first.setdefault(_same(response), response)
    counts = {name: Counter(map(_same, responses)) for name, responses in columns.items()}
    order = sorted(first, key=lambda same: [-count[same] for count in counts.values()])
    rows = ["  ".join(f"{name:>5}" for name in columns)]
    for same in order[:most]:
        cells = [f"{count[same] or '':>{max(5, len(name))}}" for name, count in counts.items()]
        right = first[same].right
        mark = "" if right is None else f"{painter.mark(right)}  "
        rows.append("  ".join([*cells, mark + short(first[same].answer)]))
    if order[most:]:
        rows.append(f"and {len(order) - most} more")
    rows += [_in_all(name, responses, painter) for name, responses in columns.items()]
    return "\n".join(rows)


def _same(response: Response) -> tuple:
    """Answers that differ in their spaces only share a row."""
    return response.answer and response.answer.replace(" ", ""), response.right


def _in_all(name: str, responses: list[Response], painter: Painter) -> str:
    winner = majority([r.answer for r in responses])
    won = next((r for r in responses if r.answer == winner), responses[0])
    says = "no majority"
    if winner is not None:
        says = f"majority {painter.paint(short(winner), BOLD)} {painter.mark(won.right)}"
    if won.right is not None:
        says = f"{sum(bool(r.right) for r in responses)} of {len(responses)} right, {says}"
    cut = sum(not r.stopped for r in responses)
    cut_off = f", {cut} cut off" if cut else ""
    return f"{name}: {says}; {mean(r.tokens for r in responses):.0f} tokens on average{cut_off}"


# ---------------------------------------------------------------- why a token


def why(
    draws: list[Draw], tokenizer: Tokenizer, painter: Painter, in_order: bool = False,
    page: int = 1, rows: int = 16,
) -> str:
    """A page of tokens: what was drawn, how likely, what else. Raises UserError past the last."""
    pages = -(-len(draws) // rows)
    if page > pages:
        raise UserError(f"there {'is one page' if pages == 1 else f'are {pages} pages'}")

    def text(*ids: int) -> str:
        return visible(tokenizer.decode(list(ids)), "")

    order = list(range(len(draws)))
    if not in_order:
        order.sort(key=lambda t: draws[t].chance)
    unsure = sum(draw.chance < 0.9 for draw in draws)
    kind = "in order" if in_order else "the least likely first"
    head = f"{unsure} of {len(draws)} tokens had a chance below 90%"
    lines = [f"{head}; {kind}, page {page} of {pages}"]
    for t in order[(page - 1) * rows : page * rows]:
        draw = draws[t]
        before = text(*(d.id for d in draws[max(0, t - 12) : t]))[-20:]
        drawn = painter.paint(f'"{text(draw.id)}" {percent(draw.chance)}', BOLD)
        others = [(id, p) for id, p in draw.top if id != draw.id and p >= 0.005]
        beside = ", ".join(f'"{text(id)}" {percent(p)}' for id, p in others)
        lines.append(f"{t + 1:>4}  {before:>20} > {drawn}" + (f"  else {beside}" if beside else ""))
    return "\n".join(lines)


def percent(p: float) -> str:
    """
    >>> percent(0.62), percent(0.001), percent(0.999)
    ('62%', '<1%', '>99%')
    """
    return "<1%" if p < 0.005 else ">99%" if 0.995 <= p < 1 else f"{p:.0%}"
