"""docs/reference/benchmarks.md: where a benchmark's figures stand in it, and how they are put there and read again."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "benchmarks.md"


def put(name: str, printed: str, date: str) -> None:
    """Replace the block of this benchmark. Raises LookupError when the page has none."""
    text = PAGE.read_text()
    begin, end = _marks(text, name)
    PAGE.write_text(f"{text[:begin]}\n{printed.strip()}\n\n{date}.\n{text[end:]}")


def rows(name: str) -> list[dict[str, str]]:
    """The rows of every table in the block of this benchmark, each cell under its column's title."""
    text = PAGE.read_text()
    begin, end = _marks(text, name)
    return tables(text[begin:end])


def tables(text: str) -> list[dict[str, str]]:
    """The rows of every table in a Markdown text, each cell under its column's title."""
    found: list[dict[str, str]] = []
    titles: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            titles = []
        elif not titles:
            titles = cells
        elif not set(line) <= set("|-: "):
            found.append(dict(zip(titles, cells, strict=True)))
    return found


def number(cell: str) -> float:
    """The first number of a cell: its median, where quartiles follow."""
    match = re.match(r"[\d,]+(\.\d+)?", cell)
    if match is None:
        raise ValueError(f"no number in {cell!r}")
    return float(match[0].replace(",", ""))


def last_number(cell: str) -> float:
    """The last number of a cell: the most, where least and most stand in it."""
    return number(cell.rpartition(" ")[2])


def _marks(text: str, name: str) -> tuple[int, int]:
    opening = f"<!-- figures: {name} -->"
    begin = text.find(opening)
    if begin < 0:
        raise LookupError(f"{PAGE.name} has no line {opening}")
    return begin + len(opening), text.index("<!-- end -->", begin)
