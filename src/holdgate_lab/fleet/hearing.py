"""What a worker's engine announces: told as a story, and compared with what may be announced."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from holdgate.core.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, LimitChanged, OverrideCleared, OverrideSet
from holdgate.events import AnyEvent, SourceBlocked, SourceFallingBack, SourceHeld, SourceReleased

if TYPE_CHECKING:
    from holdgate_lab.fleet.lanes import Lanes


def hear(worker: Lanes, event: AnyEvent) -> None:
    """Take an event in."""
    if isinstance(event, LimitChanged | CircuitHalfOpened | CircuitClosed):
        _look_at_ramp(worker, event)
    elif isinstance(event, SourceHeld):
        _look_at_reasons(worker, event)
    words = _WORDS.get(type(event))
    if words is not None:
        worker.say(words(event))


def _look_at_ramp(worker: Lanes, event: LimitChanged | CircuitHalfOpened | CircuitClosed) -> None:
    gate = worker.engine.gates[event.name]
    ramp = gate.circuit.settings.ramp
    full = worker.full_of(gate)
    record = worker.records[gate]
    if isinstance(event, LimitChanged):
        record.moved(event, ramp, full)
    elif isinstance(event, CircuitHalfOpened):
        record.half_opened()
    else:
        # Sources may have come in the very turn in which it has closed.
        record.closed(min(full, worker.full_before.get(gate, full), full if ramp.full is None else ramp.full))


def _look_at_reasons(worker: Lanes, event: SourceHeld) -> None:
    needs = {f"circuit:{name}" for name in worker.world.traffic[event.source.name].spec.needs}
    foreign = [reason for reason in event.reasons if reason.startswith("circuit:") and reason not in needs]
    if foreign:
        worker.world.witness.complain("isolation", f"{event.source} is held by {', '.join(foreign)}, which it does not need")


_WORDS: dict[type, Callable[[Any], str]] = {
    LimitChanged: lambda event: f"lets {event.limit} through to {event.name} at a time, after {event.previous}",
    SourceHeld: lambda event: f"holds {event.source}: {', '.join(event.reasons)}",
    SourceReleased: lambda event: f"holds {event.source} no longer",
    SourceFallingBack: lambda event: f"falls back for {event.source}",
    SourceBlocked: lambda event: f"waits with {event.source} behind {event.position}",
    CircuitOpened: lambda event: f"opens {event.name} until {event.until:.3f} s: {event.reason}",
    CircuitHalfOpened: lambda event: f"probes {event.name}",
    CircuitClosed: lambda event: f"closes {event.name}",
    OverrideSet: lambda event: f"is told: {event.override.name} for {event.name}",
    OverrideCleared: lambda event: f"ends {event.override.name} for {event.name}",
}
