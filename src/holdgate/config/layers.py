"""What is laid over a file: variables of the environment, and what the program says. Both are tables like the file's, place by place.

`HOLDGATE__DEPENDENCIES__PAYMENTS__OPEN_DURATION=30s` is `open_duration = "30s"` in `[dependencies.payments]`. A variable is written in
capitals, so a part of it stands for the name in the file that is the same without regard to case and to what is no letter or digit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from holdgate.config.fields import Said, shown, unknown
from holdgate.config.toml_file import Place, Problems, TomlFile, Traced

Table = dict[str, object]

PREFIX = "HOLDGATE__"
IN_CODE = "the program"

# Under these stand names that the file gives. A variable may not give one: a slip of the pen would be one more dependency that nobody uses.
_NAMED = ("dependencies", "runs", "bases", "intakes")


def lay_over(file: TomlFile, environment: Mapping[str, str], in_code: Mapping[str, object]) -> Traced:
    """Return the file's tables with the environment over them, and the program over both. Raises SettingsError for what fits nowhere."""
    layers = _Layers(file)
    for variable in sorted(environment):
        if variable.startswith(PREFIX):
            layers.hear(variable, environment[variable])
    layers.lay(in_code, ())
    return layers.checked()


class _Layers:
    def __init__(self, file: TomlFile) -> None:
        self._file = file
        self._data = _copied(file.data)
        self._outside: dict[Place, str] = {}
        self._wrong: list[tuple[Place, str]] = []

    def hear(self, variable: str, value: str) -> None:
        """Put what a variable says into its place."""
        speaker = f"environment {variable}"
        table = self._data
        place: Place = ()
        *above, last = variable.removeprefix(PREFIX).split("__")
        for part in above:
            key = _key(part, table)
            if key not in table and place and place[0] in _NAMED and len(place) == 1:
                self._say((*place, key), speaker, unknown(key, table))
                return
            place = (*place, key)
            below = table.setdefault(key, {})
            if not isinstance(below, dict):
                self._say(place, speaker, f"{shown(below)} is no table of settings")
                return
            table = cast("Table", below)
        key = _key(last, table)
        table[key] = Said(value)
        self._outside[*place, key] = speaker

    def lay(self, upper: Mapping[str, object], place: Place) -> None:
        """Put what the program says into its place, table by table."""
        table = self._data
        for step in place:
            table = cast("Table", table[str(step)])
        for key, value in upper.items():
            here = (*place, key)
            if isinstance(value, Mapping) and isinstance(table.get(key, {}), dict) and key != "window":
                table.setdefault(key, {})
                self.lay(cast("Mapping[str, object]", value), here)
            else:
                table[key] = _copied(cast("Mapping[str, object]", value)) if isinstance(value, Mapping) else value
                self._outside[here] = IN_CODE

    def _say(self, place: Place, speaker: str, words: str) -> None:
        self._outside.setdefault(place, speaker)
        self._wrong.append((place, words))

    def checked(self) -> Traced:
        traced = Traced(self._data, outside=self._outside)
        problems = Problems(self._file, traced)
        for place, words in self._wrong:
            problems.add(place, words)
        problems.check()
        return traced


def _key(part: str, table: Mapping[str, object]) -> str:
    """Return the key of the table that a part of a variable's name stands for; where there is none, its own in small letters."""
    return next((key for key in table if _plain(key) == _plain(part)), part.lower())


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "_", name.lower())


def _copied(table: Mapping[str, object]) -> Table:
    return {key: _copied(cast("Table", value)) if isinstance(value, dict) else value for key, value in table.items()}
