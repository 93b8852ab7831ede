"""What the records of a log say of its fleets, as somebody sees it who only reads: a fold of them, and its tables.

The records are folded by the same code as in a worker, one that never writes. Which fleets and dependencies there are is read off the
records, too. A user that may write to the log may have made all of it up: so both are bounded, and what is printed of a name is one line of
plain characters.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from holdgate.core.settings import CircuitSettings
from holdgate.fleet import AgreementSnapshot, FleetMember, FleetSettings, FleetSnapshot
from holdgate.fleet.records import LARGEST, LONGEST_NAME, Here, decode, is_name, readable
from holdgate.ports import LogEntry

# A log with more of them is somebody's joke, or no log of a fleet.
_MOST_FLEETS = 20
_MOST_DEPENDENCIES = 100


@dataclass(slots=True)
class LogSeen:
    """What was read of a log: each batch with the second at which it came."""

    batches: list[tuple[float, list[bytes]]] = field(default_factory=list[tuple[float, list[bytes]]])

    def add(self, at: float, entries: Sequence[LogEntry]) -> None:
        """Note what one read gave."""
        self.batches.append((at, [entry.data for entry in entries]))

    @property
    def records(self) -> list[bytes]:
        """All of them, in order."""
        return [data for _, batch in self.batches for data in batch]

    @property
    def size(self) -> int:
        """Their bytes."""
        return sum(map(len, self.records))


def fleets_of(reading: LogSeen, now: float) -> list[FleetSnapshot]:
    """Return each fleet that has written to the log, as a reader sees it at `now`. The one with the most records comes first."""
    names = Counter(name for data in reading.records if (name := _fleet_of(data)) is not None)
    return [_folded(name, reading, now) for name, _ in names.most_common(_MOST_FLEETS)]


def _folded(name: str, reading: LogSeen, now: float) -> FleetSnapshot:
    me = secrets.token_hex(6)  # one that nobody in the log has
    watcher = FleetMember(me, FleetSettings(name=name), lambda: 0.5)
    for dependency in _dependencies_of(name, reading.records):
        watcher.add(dependency, CircuitSettings(), reading.batches[0][0])
    for at, batch in reading.batches:
        watcher.heard(batch, at)
    return watcher.snapshot(now)


def _fleet_of(data: bytes) -> str | None:
    """Return the fleet that a record names. None means that it is no record of a fleet."""
    if len(data) > LARGEST:
        return None
    try:
        fields: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    name = cast("dict[str, object]", fields).get("f") if isinstance(fields, dict) else None
    return name if isinstance(name, str) and is_name(name) and decode(name, data) is not None else None


def _dependencies_of(name: str, records: Sequence[bytes]) -> list[str]:
    found: dict[str, None] = {}
    for data in records:
        record = decode(name, data)
        if record is not None:
            said = record.said
            named = [need.dependency for need in said.needs] if isinstance(said, Here) else [getattr(said, "dependency", "")]
            found.update(dict.fromkeys(each for each in named if is_name(each)))
    return list(found)[:_MOST_DEPENDENCIES]


def as_document(place: str, reading: LogSeen, fleets: Sequence[FleetSnapshot]) -> dict[str, Any]:
    """Return what other programs are given."""
    return {
        "place": place,
        "records": len(reading.records),
        "bytes": reading.size,
        "fleets": [
            {
                "name": fleet.name,
                "skipped": fleet.skipped,
                "members": [{"worker": each.worker, "age": each.age} for each in fleet.members],
                "dependencies": [asdict(each) for each in fleet.agreements],
            }
            for fleet in fleets
        ],
    }


def show(fleets: Sequence[FleetSnapshot], console: Console) -> None:
    """Print the members of each fleet, and where it is with each dependency."""
    for fleet in fleets:
        console.print(Text(f"\nfleet {_plain(fleet.name)}: {len(fleet.members)} {'worker' if len(fleet.members) == 1 else 'workers'}"))
        if fleet.members:
            table = Table("worker", "heard")
            for member in fleet.members:
                table.add_row(member.worker, f"{member.age:.1f} s ago")
            console.print(table)
        for agreement in fleet.agreements:
            _show_agreement(agreement, console)


def _show_agreement(agreement: AgreementSnapshot, console: Console) -> None:
    console.print(Text(f"{_plain(agreement.dependency)}: {', '.join(_words(agreement))}"))
    if agreement.course == "well" or not agreement.sharers:
        return
    table = Table("worker", "messages wait", "full", "share")
    for sharer in agreement.sharers:
        table.add_row(sharer.worker, "yes" if sharer.backlog else "no", str(sharer.full), str(sharer.share))
    console.print(table)


def _words(agreement: AgreementSnapshot) -> list[str]:
    """Return what is to be said of one dependency, the most urgent first."""
    words: list[str] = []
    if agreement.word is not None:
        until = "" if agreement.word_ends_in is None else f" for {agreement.word_ends_in:.0f} s more"
        words.append(f"{agreement.word} by {agreement.actor or 'somebody'}{until} ({agreement.reason})")
    if agreement.course == "ramp":
        words.append(f"ramp, stage {agreement.stage}, limit {agreement.limit} for all workers together")
    elif agreement.course == "wait":
        words.append(f"down, {agreement.failed_probes} probes failed")
    else:
        words.append("well" if not agreement.bad else f"well, {agreement.bad} workers fail, {agreement.failures} calls in a row")
    if agreement.since is not None:
        words.append(f"for {agreement.since:.0f} s")
    if agreement.conductor is not None:
        words.append(f"conductor {agreement.conductor} in epoch {agreement.epoch}")
    return words


def _plain(name: str) -> str:
    return readable(name, LONGEST_NAME)
