"""What an operator lays over a circuit: all refused, all admitted and unseen, or all admitted and only observed.

An override is not a state. The state below stays readable, its wait goes on, and when the override ends, work goes on from there.
FORCED_OPEN is the exception: nothing shows how the dependency has been meanwhile, so whatever the state below, it ends in HALF_OPEN.
Traffic never goes from nothing to everything in one step.

Setting and clearing one is a swap (circuit.py): the permits from before it are of an older generation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdgate.core import events, validation
from holdgate.core.states import Override, State, Trigger, transition

if TYPE_CHECKING:
    from holdgate.core.outages import Outage
    from holdgate.core.states import Reason


class Overridable:
    """The part of a circuit that an operator acts on. `override` is for reading."""

    __slots__ = ("_opened_by", "_override_until", "override")

    override: Override | None
    _opened_by: Reason | None  # why it is not CLOSED; None while it is, and after a forced opening, whose end says nothing of a cause
    _override_until: float | None  # when it ends by itself, in monotonic seconds; None: when it is cleared

    if TYPE_CHECKING:  # what the circuit has
        name: str
        state: State
        generation: int
        _outage: Outage
        _until: float

        def _monotonic(self, now: float) -> float: ...
        def _outage_at(self, now: float) -> Outage: ...
        def _swap(self, state: State, override: Override | None, outage: Outage, until: float = ...) -> None: ...
        def _heed(self, now: float) -> None: ...
        def _emit(self, event: events.Event) -> None: ...

    def force_open(self, now: float, *, until: float | None = None) -> None:
        """Reject everything until `until`, in monotonic seconds. None means until it is cleared. Ends in HALF_OPEN from every state."""
        self._set_override(Override.FORCED_OPEN, until, now)

    def disable(self, now: float, *, until: float | None = None) -> None:
        """Admit everything and record nothing until `until`, as in `force_open`. The wait of OPEN goes on below."""
        self._set_override(Override.DISABLED, until, now)

    def observe(self, now: float, *, until: float | None = None) -> None:
        """Admit everything, record, and report once per episode that the circuit would have opened. `until` as in `force_open`."""
        self._set_override(Override.METRICS_ONLY, until, now)

    def _set_override(self, override: Override, until: float | None, now: float) -> None:
        if until is not None:
            until = validation.number("until", until)
        now = self._monotonic(now)
        if self.override is override and self._override_until == until:
            return
        left = self._replace_override(override, until, now)
        self._emit(events.OverrideSet(self.name, now, self.generation, override, until))
        self._emit_half_opened(left, now)

    def clear_override(self, now: float) -> None:
        """End the override, and go on from the state below; after FORCED_OPEN from HALF_OPEN. Does nothing without an override."""
        now = self._monotonic(now)
        override = self.override
        if override is None:
            return
        left = self._replace_override(None, None, now)
        self._emit(events.OverrideCleared(self.name, now, self.generation, override))
        self._emit_half_opened(left, now)
        self._heed(now)  # what the fleet wants was not heeded meanwhile

    def _replace_override(self, override: Override | None, until: float | None, now: float) -> State | None:
        """Replace the override. If FORCED_OPEN ends, the state becomes HALF_OPEN, and the state before it is returned; otherwise None."""
        previous = self.state
        ends_forced = self.override is Override.FORCED_OPEN and override is not Override.FORCED_OPEN
        self._override_until = until
        if ends_forced:
            self._opened_by = None
            self._swap(transition(previous, Trigger.FORCE_ENDED), override, self._outage)
            return previous
        # While it is forced open no time counts as healthy, so the outage is fixed at what it is now.
        outage = self._outage_at(now) if override is Override.FORCED_OPEN else self._outage
        self._swap(previous, override, outage, self._until)
        return None

    def _emit_half_opened(self, previous: State | None, now: float) -> None:
        if previous is not None:
            self._emit(events.CircuitHalfOpened(self.name, now, self.generation, previous))
