"""What differs between two readings of settings, and what of it a worker can take up while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from holdgate.config.fields import shown
from holdgate.config.reading import masked
from holdgate.config.toml_file import Place, dotted

_ABSENT = object()

# So many changes are one line. The audit log keeps a thousand of those, and each change may have 200 characters.
_IN_A_LINE = 20

Values = Mapping[Place, object]  # every setting of a reading, as `SettingsReading.values` returns them


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


def differences(before: Values, after: Values) -> tuple[SettingChange, ...]:
    """Return every setting that differs, in the order of the tables."""
    return tuple(
        _change(place, before.get(place, _ABSENT), after.get(place, _ABSENT))
        for place in {**before, **after}
        if _differs(place, before, after)
    )


def changes(started: Values, known: Values, after: Values) -> Changes:
    """Return what `after` changes. What is applied while a worker runs is compared with what is known so far, the rest with its start."""
    return Changes(
        tuple(each for each in differences(known, after) if is_live(each.place, known, after)),
        tuple(each for each in differences(started, after) if not is_live(each.place, started, after)),
    )


def known_after(known: Values, after: Values) -> dict[Place, object]:
    """Return what is known once `after` was read. A table that it does not have stays: what it has made goes on by it."""
    tables = set(map(_table, after))
    return {place: value for place, value in known.items() if _table(place) not in tables} | {**after}


def is_live(place: Place, before: Values, after: Values) -> bool:
    """Return whether a worker can take up this setting while it runs: circuits, limits, retries and the times of the fleet."""
    table = _table(place)
    if len(table) > 1 and not all(any(_table(each) == table for each in values) for values in (before, after)):
        return False
    first = place[len(table)] if len(place) > len(table) else None
    if place[0] == "dependencies":
        return first in {"circuit", "limits", "probe_timeout"}
    if place[0] == "fleet":  # a log and a name are another fleet, and so is one that is new or gone
        return first in {"quorum", "open_share", "open_duration_max", "silence"} and place in before and place in after
    # With on_exhausted a run would need other dead letters than it has begun with.
    return place[0] in {"run", "runs"} and first == "retry" and place[-1] != "on_exhausted"


def _table(place: Place) -> Place:
    """Return the table that a setting stands in: with its name, where it has one."""
    return place[: 2 if place[0] in {"dependencies", "runs", "intakes"} else 1]


def _differs(place: Place, old: Values, new: Values) -> bool:
    return old.get(place, _ABSENT) != new.get(place, _ABSENT)


def _change(place: Place, before: object, after: object) -> SettingChange:
    return SettingChange(place, _text(place, before), _text(place, after))


def _text(place: Place, value: object) -> str:
    if value is _ABSENT:
        return ""
    return "none" if value is None else shown(masked(place, value))


def in_one_line(found: Iterable[SettingChange]) -> str:
    """Return the changes as a log line has them: as many as one reads, and how many more there are."""
    shown_changes = [str(each) for each in found]
    line = ", ".join(shown_changes[:_IN_A_LINE])
    more = len(shown_changes) - _IN_A_LINE
    return line if more <= 0 else f"{line}, and {more} more"
