"""What happens to a fleet, as one of its workers sees it: frozen values, named in the past tense, taken with `FleetMember.take_news`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FleetEvent:
    """What every event of a fleet carries: the monotonic second of this worker."""

    at: float


@dataclass(frozen=True, slots=True)
class FleetOpened(FleetEvent):
    """The fleet waits for `dependency`. `workers` had failed last, `failures` times in a row together; 0: an operator holds it."""

    dependency: str
    epoch: int
    workers: int
    failures: int


@dataclass(frozen=True, slots=True)
class FleetRecovered(FleetEvent):
    """The fleet has taken `dependency` back. The outage lasted `seconds`, and `failed` probes of it failed."""

    dependency: str
    epoch: int
    seconds: float
    failed: int


@dataclass(frozen=True, slots=True)
class ConductorChanged(FleetEvent):
    """`conductor` decides for the fleet from now on. `own`: it is this worker. `takeover`: another one has fallen silent or given up."""

    dependency: str
    epoch: int
    conductor: str
    own: bool
    takeover: bool


@dataclass(frozen=True, slots=True)
class LocalCauseFound(FleetEvent):
    """Our circuit has opened, and of `callers` workers that need `dependency` only `bad` have failures: look at this worker first."""

    dependency: str
    callers: int
    bad: int


@dataclass(frozen=True, slots=True)
class FleetLogFellSilent(FleetEvent):
    """Nothing that was written has come back for `seconds`: every circuit goes by its own rules."""

    seconds: float


@dataclass(frozen=True, slots=True)
class FleetLogCameBack(FleetEvent):
    """The log can be read again, after `seconds`: circuits go by the fleet's."""

    seconds: float


@dataclass(frozen=True, slots=True)
class FleetMembersChanged(FleetEvent):
    """Workers have come or gone: there are `size` now, with this one."""

    size: int
    joined: int
    left: int


@dataclass(frozen=True, slots=True)
class FleetOrdered(FleetEvent):
    """An operator's word has been read: "hold", "release", "force_open" or "reset". `lasts` of None means until another word."""

    dependency: str
    word: str
    reason: str
    actor: str
    lasts: float | None
