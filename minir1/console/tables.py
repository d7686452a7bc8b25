"""Tables of text: in columns for a terminal, in Markdown for a page."""


def without_empty_columns(head: tuple, rows: list[tuple]) -> list[tuple]:
    """Head and rows as lines; a column without any entry is left out, the first one never."""
    columns = list(zip(head, *rows))
    kept = [cells for i, cells in enumerate(columns) if i == 0 or any(cells[1:])]
    return list(zip(*kept))


def aligned(lines: list) -> str:
    """Columns under each other, the first flush left.

    >>> print(aligned([("", "a"), ("one", "1.5%"), ("other", "22%")]))
              a
    one    1.5%
    other   22%
    """
    columns = []
    for i, cells in enumerate(zip(*lines)):
        width = max(map(len, cells))
        columns.append([cell.rjust(width) if i else cell.ljust(width) for cell in cells])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns))


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """
    >>> print(markdown(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    lines.insert(1, "|" + "---|" * len(head))
    return "\n".join(lines)
