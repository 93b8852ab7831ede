"""The part of a circuit that goes by a fleet: it acts on what `Following` decides.

`Circuit.guide` is called in each turn with what the fleet wants (guidance.py), and `Circuit.own_facts` says what the fleet may know.
Without a guidance nothing here changes anything, and a circuit is what it is alone.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from holdgate.core import events
from holdgate.core.following import Following, GuidedRamp, Want
from holdgate.core.outages import Asked, opened_until
from holdgate.core.overrides import Overridable
from holdgate.core.ramp import Ramp
from holdgate.core.states import Breach, Reason, State, Trigger, transition

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdgate.core.evidence import Evidence
    from holdgate.core.guidance import Guidance, OwnFacts
    from holdgate.core.limited_calls import LimitedCalls
    from holdgate.core.outages import Outage
    from holdgate.core.ramp import HalfOpen
    from holdgate.core.settings import CircuitSettings
    from holdgate.core.states import Permit
    from holdgate.core.totals import CircuitTotals


class Guidable(Overridable):
    """The part of a circuit that goes by its fleet."""

    __slots__ = ("_asked", "_following", "_until", "without_share")

    _following: Following
    _asked: Asked | None  # what the wait of OPEN follows from; None: somebody asked for it
    _until: float  # when it ends
    without_share: bool  # half-open, and the fleet gives it nothing; for reading

    if TYPE_CHECKING:  # what the circuit has
        evidence: Evidence
        limits: LimitedCalls
        settings: CircuitSettings
        totals: CircuitTotals
        live: dict[Permit, None]
        latest: float
        _draw: Callable[[], float]
        _full: int
        _half_open: HalfOpen | None

        def _open(
            self,
            trigger: Trigger,
            reason: Reason,
            now: float,
            outage: Outage,
            *,
            until: float | None = None,
            breach: Breach | None = None,
        ) -> None: ...
        def _recovered(self, trigger: Trigger, now: float) -> None: ...
        def _prepare_answers(self) -> None: ...

    def guide(self, guidance: Guidance | None, now: float) -> None:
        """Go by what the fleet wants from now on; None, or LOCAL: by the circuit's own rules alone. The same again changes nothing."""
        now = self._monotonic(now)
        before = self._following.guidance
        if self._following.take(guidance, now):
            self._heed(now, before)

    def own_facts(self, now: float) -> OwnFacts:
        """Return what this circuit knows by its own calls. For a turn, and not for each message."""
        self._monotonic(now)
        return self._following.facts(self, self._opened_by, self._half_open)

    def _heed(self, now: float, before: Guidance | None = None) -> None:
        """Bring the state to what the guidance wants, after `before`. An override decides alone."""
        if self.override is not None:
            return
        want = self._following.want(self.state)
        if want is Want.OPEN:
            if self._half_open is not None:
                self.evidence.in_a_row = self._half_open.ramp.in_a_row
            self._open(Trigger.FLEET_WAITS, Reason.FLEET, now, self._outage_at(now).begun(now))
        elif want is Want.CLOSE:
            self._recovered(Trigger.FLEET_RECOVERED, now)
        elif want is Want.LEAD:
            self._lead(before, now)
        elif want is Want.RESUME:
            self._resume(now)
        self._prepare_answers()

    def _lead(self, before: Guidance | None, now: float) -> None:
        half_open = self._half_open
        if half_open is None:
            previous = self.state
            self._swap(transition(previous, Trigger.FLEET_RAMPS), None, self._outage_at(now).begun(now))
            self._emit(events.CircuitHalfOpened(self.name, now, self.generation, previous))
            return
        limit = half_open.ramp.limit
        self._following.lead(half_open, before, self.settings.ramp, now)
        if half_open.ramp.limit != limit:
            self._emit(events.LimitChanged(self.name, now, self.generation, limit, half_open.ramp.limit))

    def _resume(self, now: float) -> None:
        """Go on by own rules, where the fleet's have led so far."""
        if self._half_open is not None:
            ramp = self._half_open.ramp
            own = Ramp(self.settings.ramp, self._full, self._outage.relapses(self.settings))
            self._half_open.ramp = own.after(ramp, now, proved=self._following.is_proved)
            if own.limit != ramp.limit:
                self._emit(events.LimitChanged(self.name, now, self.generation, ramp.limit, own.limit))
        elif self._until <= now:
            asked = self._asked = Asked(now, now, self._draw())
            self._until = now + self._draw() * (opened_until(self.settings, self._outage, asked) - now)

    @property
    def has_share(self) -> bool:
        """Whether it is half-open by a share of its fleet, which another worker's probe has opened the way for."""
        half_open = self._half_open
        return half_open is not None and isinstance(half_open.ramp, GuidedRamp) and not half_open.ramp.is_probing

    @property
    def told_until(self) -> float | None:
        """Until when a server has asked to be left alone, while the circuit waits for that. None means that none has."""
        is_told = self.state is State.OPEN and self._opened_by is Reason.RETRY_AFTER and self._asked is None
        return self._until if is_told else None

    @property
    def full(self) -> int:
        """The limit at which a ramp of its own ends, from 1."""
        return self._full

    @property
    def _opened_until(self) -> float | None:
        """When OPEN ends by time, or the fleet's wish for it. None means that neither does."""
        lapses = None if self.override is not None else self._following.lapses_at
        ends = self._wait_ends if lapses is None else min(self._wait_ends, lapses)
        return None if ends == inf else ends

    @property
    def _wait_ends(self) -> float:
        """When the wait of OPEN ends, the fleet's wish included: infinite while it waits for somebody else's probe."""
        if self.override is not None:
            return self._until
        return self._following.wait_ends(self._until, None if self._asked is None else self._asked.asked)
