"""Aligned columns as Go's text/tabwriter makes them, which all of kubectl's text passes through.

A column is a run of neighbouring lines that have a cell there with another behind it: its width is their widest cell
and the padding. The last cell of a line is never padded. Pure.
"""

from collections.abc import Sequence


def table_lines(rows: Sequence[Sequence[str]], widths: list[int]) -> list[str]:
    """Return the lines of a table whose rows are equally long (kubectl: at least 6 wide, 3 apart).

    `widths` is what earlier rows needed; it is widened in place, so that a watch goes on in the same columns.
    """
    count = max((len(row) for row in rows), default=0)
    widths += [6] * (count - len(widths))
    for row in rows:
        for index, cell in enumerate(row[:-1]):
            widths[index] = max(widths[index], len(cell) + 3)
    return ["".join(cell.ljust(widths[i]) for i, cell in enumerate(row[:-1])) + row[-1] for row in rows]


def aligned(text: str, *, least: int = 0, padding: int = 2) -> str:
    """Return `text` with the tabs in it replaced by columns."""
    lines = [line.split("\t") for line in text.split("\n")]
    written: list[str] = []
    _block(lines, 0, len(lines), [], written, (least, padding))
    return "\n".join(written)


def _block(
    lines: list[list[str]], first: int, end: int, widths: list[int], written: list[str], sizes: tuple[int, int]
) -> None:
    column, least, padding = len(widths), *sizes
    this = first
    while this < end:
        if column >= len(lines[this]) - 1:
            this += 1
            continue
        _write(lines[first:this], widths, written)
        first = this
        width = least
        while this < end and column < len(lines[this]) - 1:
            width = max(width, len(lines[this][column]) + padding)
            this += 1
        _block(lines, first, this, [*widths, width], written, sizes)
        first = this
    _write(lines[first:end], widths, written)


def _write(lines: list[list[str]], widths: list[int], written: list[str]) -> None:
    written += [
        "".join(cell.ljust(widths[j]) if j < len(widths) else cell for j, cell in enumerate(line)) for line in lines
    ]
