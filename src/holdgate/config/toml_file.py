"""A TOML file: what it says, and the line in which it says it. Named by its path, or one of the scenarios that come with holdgate."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import cast

from holdgate.errors import SettingsError

# Keys, and numbers for the tables of a list: ("faults", 2, "kind").
Place = tuple[str | int, ...]

_SUFFIX = ".toml"
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class TomlFile:
    """What was read. `name` is how errors call it."""

    name: str
    text: str
    data: Mapping[str, object]

    def line(self, place: Place) -> int:
        """The line in which this place begins, from 1; of what is not there, the line of what it would be in."""
        while place and not _holds(self.data, place):
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
            if _holds(data, place):
                high = middle
            else:
                low = whole
        return low + 1


class Problems:
    """Everything that is wrong in one file, so that one look mends it all."""

    def __init__(self, file: TomlFile) -> None:
        self._file = file
        self._found: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._found)

    def knows(self, place: Place) -> bool:
        """Whether the file says something at this place."""
        return _holds(self._file.data, place)

    def add(self, place: Place, words: str) -> None:
        """What is wrong at this place, and what is allowed there."""
        line = self._file.line(place)
        where = f"{dotted(place)}: " if place else ""
        self._found.append((line, f"{self._file.name}:{line}: {where}{words}"))

    def check(self) -> None:
        """Raises SettingsError with all of it, in the order of the file."""
        if self._found:
            raise SettingsError("\n".join(text for _, text in sorted(self._found)))


def read_toml(path: Path) -> TomlFile:
    """Read it. Raises SettingsError for a file that cannot be read, or is no TOML."""
    try:
        text = path.read_text(encoding="utf-8")
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


def dotted(place: Place) -> str:
    """How TOML writes the place: `faults[2].kind`."""
    words = ""
    for step in place:
        if isinstance(step, int):
            words += f"[{step}]"
        else:
            words += ("." if words else "") + (step if _BARE.fullmatch(step) else json.dumps(step, ensure_ascii=False))
    return words


def _holds(data: object, place: Place) -> bool:
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


# -- the scenarios that come with holdgate ------------------------------------------------------------------------------------------------


def shipped() -> dict[str, Traversable]:
    """Every scenario that comes with holdgate, by name."""
    folder = files("holdgate_lab") / "scenarios"
    found = {each.name.removesuffix(_SUFFIX): each for each in folder.iterdir() if each.name.endswith(_SUFFIX)}
    return dict(sorted(found.items()))


def named(argument: str) -> TomlFile:
    """The file with this path, or the shipped scenario of this name. Raises SettingsError with the nearest name for neither."""
    path = Path(argument)
    known = shipped()
    if argument in known and not path.is_file():
        return parse_toml(argument + _SUFFIX, known[argument].read_text(encoding="utf-8"))
    if path.exists() or argument.endswith(_SUFFIX) or "/" in argument or os.sep in argument:
        return read_toml(path)
    near = difflib.get_close_matches(argument, known, n=1)
    guess = f"did you mean {near[0]}?" if near else "holdgate simulate --list names them."
    raise SettingsError(f"{argument!r} is neither a file nor a scenario that comes with holdgate; {guess}")


def name_of(file: TomlFile) -> str:
    """What a scenario is called that gives itself no name: as its file."""
    return Path(file.name).stem
