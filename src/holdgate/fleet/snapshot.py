"""What one worker shows of its fleet: a frozen reading, for `status`, the page and people who ask why nothing moves."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

# Six digits tell a few hundred workers apart, and fit into a column.
_SHOWN = 0xFFFFFF


def shown(worker: str) -> str:
    """Return a worker as people see it: a checksum, because what a stranger wrote into the log belongs into no terminal."""
    return f"{crc32(worker.encode()) & _SHOWN:06x}"


@dataclass(frozen=True, slots=True)
class MemberSnapshot:
    """One worker. `age`: seconds since it was heard. `own`: it is this one."""

    worker: str
    age: float
    own: bool


@dataclass(frozen=True, slots=True)
class SharerSnapshot:
    """What one worker has of one dependency. `backlog`: messages wait for it there. `share`: how many calls of the fleet's limit it has."""

    worker: str
    backlog: bool
    full: int
    share: int


@dataclass(frozen=True, slots=True)
class AgreementSnapshot:
    """One dependency, as the fleet has it.

    - `course`: "well", "wait" or "ramp".
    - `epoch`, `conductor`: who decides. None means nobody.
    - `phase`: how this worker's circuit goes by it, as in `Phase`.
    - `stage`, `limit`: of the ramp, how far it is and how many calls the whole fleet may have in flight.
    - `since`: for how many seconds the outage has lasted. None means that there is none.
    - `failed_probes`: of this outage.
    - `probe_in`: in how many seconds the next one is due. None means that none is.
    - `bad`, `failures`: how many workers' last call has failed, and how many calls of theirs in a row.
    - `word`, `reason`, `actor`, `word_ends_in`: the operator's word in force. None means that there is none, or that it has no end.
    """

    dependency: str
    course: str
    epoch: int
    conductor: str | None
    own: bool
    phase: str
    stage: int
    limit: int
    since: float | None
    failed_probes: int
    probe_in: float | None
    bad: int
    failures: int
    word: str | None
    reason: str | None
    actor: str | None
    word_ends_in: float | None
    sharers: tuple[SharerSnapshot, ...]


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """The fleet, as this worker sees it.

    - `name`, `worker`: the fleet, and this worker in it as others see it.
    - `silent_for`: for how many seconds the log has said nothing. None means that it is well.
    - `round_trip`: how many seconds a record needs to come back.
    - `skipped`, `stale`: records that were not understood or came too fast, and verdicts of conductors that are none any more.
    """

    name: str
    worker: str
    silent_for: float | None
    round_trip: float
    skipped: int
    stale: int
    members: tuple[MemberSnapshot, ...]
    agreements: tuple[AgreementSnapshot, ...]
