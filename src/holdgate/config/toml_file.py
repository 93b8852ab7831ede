"""A TOML file: what it says, and the line in which it says it.

`tomllib` says no lines. They are found when an error needs one, by the shortest beginning of the file that has the place.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from holdgate.errors import SettingsError

# Keys, and numbers for the tables of a list: ("faults", 2, "kind").
Place = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class TomlFile:
    """What was read. `name` is how errors call it."""

    name: str
    text: str
    data: Mapping[str, object]

    def line(self, place: Place) -> int:
        """The line in which this place begins, from 1; of what is not there, the line of what it would be in."""
        while place and not holds(self.data, place):
            place = place[:-1]
        if not place:
            return 1
        lines = self.text.split("\n")
        # The first `low` lines are whole and do not have it; the first whole part of `high` lines or more has it. A part that ends within
        # a value is not whole, so what is found in the end is the first line of the value.
        low, high = 0, len(lines)
        while high - low > 1:
            middle = (low + high) // 2
            whole, data = _whole_part(lines, middle)
            if holds(data, place):
                high = middle
            else:
                low = whole
        return low + 1


@dataclass(frozen=True, slots=True)
class Traced:
    """Tables that were made of a file, and where each part of them comes from.

    - `data`: the tables, to be read.
    - `moved`: where in the file a place of `data` stands. One that is not here stands where it is.
    - `outside`: who says what stands at a place, unless the file does: a variable of the environment, or the program.
    """

    data: Mapping[str, object]
    moved: Mapping[Place, Place] = field(default_factory=dict[Place, Place])
    outside: Mapping[Place, str] = field(default_factory=dict[Place, str])

    def place(self, place: Place) -> Place:
        """Return where in the file this place stands."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.moved:
                return (*self.moved[place[:length]], *place[length:])
        return place

    def speaker(self, place: Place) -> str | None:
        """Return who says what stands there. None means the file, or nobody."""
        there = self.place(place)
        return next((self.outside[there[:length]] for length in range(len(there), 0, -1) if there[:length] in self.outside), None)


class Problems:
    """Everything that is wrong in one file, so that one look mends it all. `traced` are the tables that are read, if not the file's own."""

    def __init__(self, file: TomlFile, traced: Traced | None = None) -> None:
        self._file = file
        self._traced = Traced(file.data) if traced is None else traced
        # By line. Several tables may have one value from one line, and a problem is told once.
        self._found: dict[tuple[int, str], None] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def follow(self, moved: Mapping[Place, Place]) -> None:
        """Know where these places stand, too."""
        self._traced = replace(self._traced, moved={**self._traced.moved, **moved})

    def knows(self, place: Place) -> bool:
        """Whether the file says something at this place."""
        return self._traced.speaker(place) is not None or holds(self._file.data, self._traced.place(place))

    def add(self, place: Place, words: str) -> None:
        """What is wrong at this place, and what is allowed there."""
        self._count += 1
        speaker, there = self._traced.speaker(place), self._traced.place(place)
        line = 0 if speaker is not None else self._file.line(there)
        where = f"{dotted(there)}: " if there else ""
        self._found[line, f"{speaker or f'{self._file.name}:{line}'}: {where}{words}"] = None

    def check(self) -> None:
        """Raises SettingsError with all of it, in the order of the file."""
        if self._found:
            raise SettingsError("\n".join(text for _, text in sorted(self._found)))


def read_toml(path: Path) -> TomlFile:
    """Read it. Raises SettingsError for a file that cannot be read, or is no TOML."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors of Windows begin a file with a mark, which is no TOML
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"{path}: cannot be read: {reason}") from None
    return parse_toml(str(path), text)


def parse_toml(name: str, text: str) -> TomlFile:
    """The same for a text that is read already."""
    text = text.replace("\r\n", "\n")
    try:
        return TomlFile(name, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{name}: is not TOML: {error}") from None
    except RecursionError:
        raise SettingsError(f"{name}: has tables within tables without end") from None


def dotted(place: Place) -> str:
    """How TOML writes the place: `faults[2].kind`."""
    words = ""
    for step in place:
        if isinstance(step, int):
            words += f"[{step}]"
        else:
            words += ("." if words else "") + (step if _BARE.fullmatch(step) else json.dumps(step, ensure_ascii=False))
    return words


def holds(data: object, place: Place) -> bool:
    """Return whether there is something at this place."""
    for step in place:
        if isinstance(step, int):
            if not isinstance(data, list) or step >= len(cast("list[object]", data)):
                return False
            data = cast("list[object]", data)[step]
        elif isinstance(data, dict) and step in data:
            data = cast("dict[str, object]", data)[step]
        else:
            return False
    return True


def _whole_part(lines: list[str], count: int) -> tuple[int, Mapping[str, object]]:
    """The shortest beginning of at least so many lines that is TOML by itself; the whole file always is."""
    while True:
        try:
            return count, tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            count += 1
