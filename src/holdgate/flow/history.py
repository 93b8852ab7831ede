"""What the last events say of the present: since when a circuit is in its state and why, which message blocks a source, what is suspected.

A snapshot shows the state and not how it came about. An operator who comes to an outage asks for both, and was not there. So this keeps, of
all events, the last one that still matters for each dependency and each source. It decides nothing: forget it, and only words are missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from holdgate.core.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, CircuitReset, ThresholdExceeded
from holdgate.flow.events import (
    AnyEvent,
    MessageSkipped,
    OutageOver,
    OutageSuspected,
    SourceBlocked,
    SourceReleased,
    SourceRetried,
)
from holdgate.flow.message import Source

# The engine names a blocked source, and what its source waits behind, once a minute for as long as that lasts (reminders.py), and so an
# outage that is suspected of it (suspicions.py). What it has not named for longer than this is over (seconds).
_NAMED_WITHIN = 90.0


@dataclass(frozen=True, slots=True)
class Change:
    """The last change of one circuit, and the outage that it belongs to.

    `since` is when it came into its present state, `down_since` when it left CLOSED, both in monotonic seconds. `reason` is why it left
    CLOSED; `value` had reached `threshold` then, both None where the reason has no figure. `failed_tries` is how often it has opened again
    since. All but `since` are None, or 0, for a circuit that is closed.
    """

    since: float
    down_since: float | None = None
    reason: str | None = None
    value: float | None = None
    threshold: float | None = None
    failed_tries: int = 0


class LastEvents:
    """Keeps the last event of each kind that still matters. `note` takes every event, in their order."""

    def __init__(self) -> None:
        self._changes: dict[str, Change] = {}
        self._thresholds: dict[str, ThresholdExceeded] = {}
        self._blocked: dict[Source, SourceBlocked] = {}
        self._suspected: dict[Source, OutageSuspected] = {}

    def change(self, dependency: str) -> Change | None:
        """Return the last change of this circuit. None means that it has been closed since the guard began."""
        return self._changes.get(dependency)

    @property
    def is_any_named(self) -> bool:
        """Whether `blocked` or `suspected` can give anything for any source."""
        return bool(self._blocked or self._suspected)

    def blocked(self, source: Source, now: float) -> SourceBlocked | None:
        """Return the message that this source waits behind. None means that there is none."""
        event = self._blocked.get(source) if self._blocked else None  # usually there is none, and sources are many
        return event if event is not None and now - event.at <= _NAMED_WITHIN else None

    def suspected(self, source: Source, now: float) -> OutageSuspected | None:
        """Return the outage without a need that is suspected of this source. None means that there is none."""
        event = self._suspected.get(source) if self._suspected else None
        return event if event is not None and now - event.at <= _NAMED_WITHIN else None

    def note(self, event: AnyEvent) -> None:
        """Take one event, and keep what it says if it matters for the present."""
        if isinstance(event, ThresholdExceeded):
            self._thresholds[event.name] = event
        elif isinstance(event, CircuitOpened):
            self._changes[event.name] = self._opened(event)
        elif isinstance(event, CircuitHalfOpened):
            outage = self._outage(event.name) or Change(event.at, event.at)  # none: a forced opening has ended
            self._changes[event.name] = replace(outage, since=event.at)
        elif isinstance(event, CircuitClosed | CircuitReset):
            self._changes[event.name] = Change(event.at)
        else:
            self._note_source(event)

    def _opened(self, event: CircuitOpened) -> Change:
        met = self._thresholds.pop(event.name, None)
        outage = self._outage(event.name)
        if outage is not None:
            return replace(outage, since=event.at, failed_tries=outage.failed_tries + 1)
        if met is None or met.observed or met.reason is not event.reason:
            return Change(event.at, event.at, event.reason.value)
        return Change(event.at, event.at, event.reason.value, met.value, met.threshold)

    def _outage(self, name: str) -> Change | None:
        change = self._changes.get(name)
        return change if change is not None and change.down_since is not None else None

    def _note_source(self, event: AnyEvent) -> None:
        if isinstance(event, SourceBlocked):
            self._blocked[event.source] = event
        elif isinstance(event, MessageSkipped | SourceReleased | SourceRetried):
            self._blocked.pop(event.source, None)
        elif isinstance(event, OutageSuspected):
            self._suspected |= dict.fromkeys(event.sources, event)
        elif isinstance(event, OutageOver):
            for source in event.sources:
                self._suspected.pop(source, None)
