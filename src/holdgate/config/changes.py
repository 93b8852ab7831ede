"""What differs between two readings of settings, and what of it a worker can take up while it runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from holdgate.config.fields import shown
from holdgate.config.reading import SettingsReading, masked
from holdgate.config.toml_file import Place, dotted

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One setting that differs: its place, and both values as TOML writes them. It is empty for a table that is not there."""

    place: Place
    before: str
    after: str

    @property
    def setting(self) -> str:
        """The place as TOML writes it."""
        return dotted(self.place)

    def __str__(self) -> str:
        return f"{self.setting} {self.before or 'nothing'} -> {self.after or 'nothing'}"


@dataclass(frozen=True, slots=True)
class Changes:
    """What a file that was read again has changed: `applied` now, and `waiting` for a restart."""

    applied: tuple[SettingChange, ...] = ()
    waiting: tuple[SettingChange, ...] = ()


def differences(before: SettingsReading, after: SettingsReading) -> tuple[SettingChange, ...]:
    """Return every setting that differs, in the order of the tables."""
    old, new = before.values(), after.values()
    return tuple(_change(place, old.get(place, _ABSENT), new.get(place, _ABSENT)) for place in {**old, **new} if _differs(place, old, new))


def changes(started: SettingsReading, before: SettingsReading, after: SettingsReading) -> Changes:
    """Return what `after` changes. What is applied while a worker runs is compared with what was read before, the rest with its start."""
    return Changes(
        tuple(each for each in differences(before, after) if is_live(each.place, before, after)),
        tuple(each for each in differences(started, after) if not is_live(each.place, started, after)),
    )


def is_live(place: Place, before: SettingsReading, after: SettingsReading) -> bool:
    """Return whether a worker can take up this setting while it runs: circuits and retries of what both readings have."""
    if place[0] in {"dependencies", "runs"} and place[1] not in _names(before, place) & _names(after, place):
        return False
    if place[0] == "dependencies":
        return place[2] in {"circuit", "probe_timeout"}
    # With on_exhausted a run would need other dead letters than it has begun with.
    return place[0] in {"run", "runs"} and "retry" in place and place[-1] != "on_exhausted"


def _names(reading: SettingsReading, place: Place) -> set[str]:
    tables = reading.tables
    return {table.name for table in (tables.dependencies if place[0] == "dependencies" else tables.runs)}


def _differs(place: Place, old: dict[Place, object], new: dict[Place, object]) -> bool:
    return old.get(place, _ABSENT) != new.get(place, _ABSENT)


def _change(place: Place, before: object, after: object) -> SettingChange:
    return SettingChange(place, _text(place, before), _text(place, after))


def _text(place: Place, value: object) -> str:
    if value is _ABSENT:
        return ""
    return "none" if value is None else shown(masked(place, value))


def in_one_line(found: Iterable[SettingChange]) -> str:
    """Return the changes as a log line has them."""
    return ", ".join(map(str, found))
