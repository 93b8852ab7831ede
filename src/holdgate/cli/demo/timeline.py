"""A side's history as a row of cells: what a whole run looked like, on one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """What a cell tells, the rarest last: where a cell saw two, the rarer one is shown, or a probe of 20 ms would never be seen."""

    FINE = 0  # the circuit is closed; calls succeed; the service is up
    BAD = 1  # the circuit is open; calls fail; the service is down
    PARTLY = 2  # the circuit is half-open; the service is weak


@dataclass(frozen=True, slots=True)
class Mark:
    """From `at` on it is like this. `limit` is how many messages a half-open circuit admits at once; 0 where there is none."""

    at: float
    kind: Kind
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The characters of a row; `steps` are for the limits 1, 2, 4, 8 and above, and the last of them for no limit."""

    fine: str
    bad: str
    steps: str

    def glyph(self, mark: Mark) -> str:
        """The character for one cell."""
        if mark.kind is Kind.PARTLY:
            step = mark.limit.bit_length() - 1 if mark.limit else len(self.steps) - 1
            return self.steps[min(step, len(self.steps) - 1)]
        return self.bad if mark.kind is Kind.BAD else self.fine


BLOCKS = Alphabet(fine="─", bad="■", steps="▁▂▄▆█")
LETTERS = Alphabet(fine="-", bad="#", steps="1248+")


def timeline(marks: Sequence[Mark], now: float, cell_seconds: float, alphabet: Alphabet) -> str:
    """The row from 0 to `now`, one character per `cell_seconds`; `marks` are in order of time."""
    row: list[str] = []
    carried = Mark(0.0, Kind.FINE)
    index = 0
    while len(row) * cell_seconds < now:
        end = (len(row) + 1) * cell_seconds
        start = index
        while index < len(marks) and marks[index].at < end:
            index += 1
        inside = marks[start:index]
        shown = max(reversed(inside), key=lambda mark: mark.kind) if inside else carried
        carried = inside[-1] if inside else carried
        row.append(alphabet.glyph(shown))
    return "".join(row)
