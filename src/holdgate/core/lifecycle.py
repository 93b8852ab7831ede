"""The life of a circuit: its state, the override over it, its generation, and every change of them.

The rows are in states.py; here is what a change takes along. Each one looks its row up, computes, and swaps; then it is told.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

from holdgate.core import backoff, events, validation
from holdgate.core.evidence import Evidence
from holdgate.core.half_open import HalfOpen
from holdgate.core.permits import Permit, Rejected
from holdgate.core.ramp import FULL_ALONE, Ramp
from holdgate.core.states import Override, State, Trigger, transition
from holdgate.core.thresholds import Breach, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdgate.core.settings import CircuitSettings

# Events that nobody takes must not fill the memory of a worker that runs for months: past this many the oldest are dropped. A circuit
# gives a handful per transition, so this is hundreds of transitions.
EVENTS_KEPT = 1024


class Lifecycle:
    """What `Circuit` is made on: it changes state when told to. When to, `Circuit` decides."""

    # fmt: off
    __slots__ = (
        "_closed_since", "_draw", "_full", "_half_open", "_is_plain", "_is_reported", "_level",
        "_override_until", "_until",
        "events_pending", "evidence", "generation", "latest", "live", "name", "override", "plain_until", "refuse_until", "rejection",
        "settings", "state",
    )
    # fmt: on

    state: State
    override: Override | None
    _half_open: HalfOpen | None
    _until: float

    def __init__(self, name: str, settings: CircuitSettings, now: float, draw: Callable[[], float]) -> None:
        self.name = name
        self.settings = settings
        self.generation = -1  # the first swap, below, makes it 0
        self.events_pending: deque[events.Event] = deque(maxlen=EVENTS_KEPT)
        self._draw = draw
        self.latest = now
        self.live: dict[Permit, None] = {}
        self.evidence = Evidence(settings, self.live, now)
        self._full = FULL_ALONE if settings.ramp.full is None else settings.ramp.full
        self._override_until: float | None = None
        self._closed_since = now
        self._swap(State.CLOSED, None, level=0)

    def _seen(self, now: float) -> float:
        """`now`, or the last one seen if that was later: a clock that steps back must not lengthen a wait or erase a window."""
        self.latest = max(self.latest, now)
        return self.latest

    # -- Transitions ---------------------------------------------------------------------------------------------------------------

    def open_for(self, duration: float, now: float) -> None:
        """Open for `duration` seconds, clamped to `retry_after_max`; the level stays. While OPEN it only puts the end off, silently."""
        wait = min(validation.seconds("duration", duration), self.settings.retry_after_max)
        now = self._seen(now)
        if self.state is State.OPEN:
            self._until = max(self._until, now + wait)
            self._prepare_answers()
        else:
            self._open(Trigger.TOLD_TO_WAIT, Reason.OPEN_FOR, now, until=now + wait, level=self._level_at(now))

    def _open_as_told(self, wait: float, now: float) -> None:
        self._open(Trigger.TOLD_TO_WAIT, Reason.RETRY_AFTER, now, until=now + wait)

    def _open(
        self,
        trigger: Trigger,
        reason: Reason,
        now: float,
        *,
        until: float | None = None,
        level: int | None = None,
        breach: Breach | None = None,
    ) -> None:
        """Open: one level up unless `level` says otherwise, for the wait of the level unless `until` does."""
        previous = self.state
        state = transition(previous, trigger)
        if level is None:
            level = backoff.raised(self.settings, self._level_at(now))
        if until is None:
            until = now + backoff.wait(self.settings, level, self._draw)
        if breach is not None:
            self._exceeded(breach, now)
        self._swap(state, self.override, level, until)
        self._emit(events.CircuitOpened(self.name, now, self.generation, reason, until, level, previous))

    def _end_wait(self, now: float) -> None:
        previous = self.state
        self._swap(transition(previous, Trigger.WAITED), self.override, self._level)
        self._emit(events.CircuitHalfOpened(self.name, now, self.generation, previous))

    def end_wait(self, now: float) -> bool:
        """End the wait of OPEN now instead of at its time, so that a probe may go; the level stays. False, and nothing has happened,
        unless it is OPEN without an override."""
        now = self._seen(now)
        if self.state is not State.OPEN or self.override is not None:
            return False
        self._end_wait(now)
        return True

    def reset(self, now: float) -> None:
        """Close with empty windows and level 0: the full rate at once. It clears no override."""
        now = self._seen(now)
        previous = self._close(Trigger.RESET, now, level=0)
        self._emit(events.CircuitReset(self.name, now, self.generation, previous))

    def _close(self, trigger: Trigger, now: float, level: int) -> State:
        previous = self.state
        state = transition(previous, trigger)
        self.evidence.clear(now)
        self._closed_since = now
        self._swap(state, self.override, level)
        return previous

    def _swap(self, state: State, override: Override | None, level: int, until: float = -inf) -> None:
        """Put a new state, override or both in place. Nothing else changes the generation, and nothing in here can fail."""
        self.state = state
        self.override = override
        self.generation += 1
        self._level = level
        self._until = until
        self.live.clear()
        self.evidence.overdue.permits.clear()
        self._half_open = self._new_half_open() if state is State.HALF_OPEN and override is None else None
        self._is_reported = False
        self._prepare_answers()

    def _new_half_open(self) -> HalfOpen:
        # Twice the longest success: a lease must not take back calls that are known to end well.
        lease = max(self.settings.permit_lease, 2 * self.evidence.longest)
        return HalfOpen(Ramp(self.settings.ramp, self._full), self.live, lease, self.evidence.slow)

    def _prepare_answers(self) -> None:
        """Work out until when a call is admitted, or refused, without a look at anything else. A refusal is one object for all of them."""
        self._is_plain = self.state is State.CLOSED and self.override is None
        self.plain_until = self.evidence.overdue.look_again_at(self.latest) if self._is_plain else -inf
        self.refuse_until = -inf
        if self.override is Override.FORCED_OPEN:
            self.refuse_until = inf if self._override_until is None else self._override_until
        elif self.state is State.OPEN and self.override is None:
            self.refuse_until = self._until
        self.rejection = Rejected(None if self.refuse_until == inf else self.refuse_until, self.state, self.override)

    def _level_at(self, now: float) -> int:
        if self.state is not State.CLOSED or self.override is Override.FORCED_OPEN:  # nothing goes through: nobody knows of its health
            return self._level
        return max(0, self._level - backoff.healthy_intervals(self.settings, self._closed_since, now))

    # -- Overrides -----------------------------------------------------------------------------------------------------------------

    def force_open(self, now: float, *, until: float | None = None) -> None:
        """Reject everything until `until` (monotonic seconds; None: until cleared). It ends in HALF_OPEN, whatever the state was."""
        self._set_override(Override.FORCED_OPEN, until, now)

    def disable(self, now: float, *, until: float | None = None) -> None:
        """Admit everything and record nothing until `until`, as above. The wait of OPEN goes on below."""
        self._set_override(Override.DISABLED, until, now)

    def observe(self, now: float, *, until: float | None = None) -> None:
        """Admit everything, record, and tell once per episode when it would have opened, until `until`, as above."""
        self._set_override(Override.METRICS_ONLY, until, now)

    def _set_override(self, override: Override, until: float | None, now: float) -> None:
        if until is not None:
            until = validation.number("until", until)
        now = self._seen(now)
        if self.override is override and self._override_until == until:
            return
        unforced = self._lay(override, until, now)
        self._emit(events.OverrideSet(self.name, now, self.generation, override, until))
        self._tell_unforced(unforced, now)

    def clear_override(self, now: float) -> None:
        """Go on from the state below; a forced opening goes on from HALF_OPEN. Nothing happens without an override."""
        now = self._seen(now)
        override = self.override
        if override is None:
            return
        unforced = self._lay(None, None, now)
        self._emit(events.OverrideCleared(self.name, now, self.generation, override))
        self._tell_unforced(unforced, now)

    def _lay(self, override: Override | None, until: float | None, now: float) -> State | None:
        """Replace the override. What follows FORCED_OPEN finds HALF_OPEN below: the state that was left for it, otherwise None."""
        previous = self.state
        is_unforced = self.override is Override.FORCED_OPEN and override is not Override.FORCED_OPEN
        self._override_until = until
        if is_unforced:
            self._swap(transition(previous, Trigger.UNFORCED), override, self._level)
            return previous
        # What is forced open is not healthy meanwhile: the level stays what it is now.
        level = self._level_at(now) if override is Override.FORCED_OPEN else self._level
        self._swap(previous, override, level, self._until)
        return None

    def _tell_unforced(self, previous: State | None, now: float) -> None:
        if previous is not None:
            self._emit(events.CircuitHalfOpened(self.name, now, self.generation, previous))

    # -- Events --------------------------------------------------------------------------------------------------------------------

    def take_events(self) -> tuple[events.Event, ...]:
        """What happened since the last call, oldest first. Only the last 1,024 are kept for a caller that does not come."""
        taken = tuple(self.events_pending)
        self.events_pending.clear()
        return taken

    def _emit(self, event: events.Event) -> None:
        self.events_pending.append(event)

    def _exceeded(self, breach: Breach, now: float, *, observed: bool = False) -> None:
        self._emit(
            events.ThresholdExceeded(self.name, now, self.generation, breach.reason, breach.value, breach.threshold, observed=observed)
        )
