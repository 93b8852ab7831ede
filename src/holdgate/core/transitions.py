"""The transitions of a circuit: the one table of them, and each as a function from one `Situation` to the next.

A situation is a value: the state, what an operator has laid over it, the outage, and the wait of OPEN. A method returns the situation after
one transition and changes nothing, so what raises has left everything as it was. circuit.py has the only reference, and puts the next one
in place; what follows from that (a new generation, forgotten permits, a ramp) is there.

The table is complete: a pair without a row cannot happen, and raises. The text of a `Trigger` is the label in the README's diagram, which
is made from the table.

An override is not a state. The state below stays readable, its wait goes on, and when the override ends, work goes on from there.
FORCED_OPEN is the exception: nothing shows how the dependency has been meanwhile, so whatever the state below, it ends in HALF_OPEN.
Traffic never goes from nothing to everything in one step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from math import inf
from typing import TYPE_CHECKING

from holdgate.core.outages import Asked, Outage, open_anew_until, opened_until
from holdgate.core.states import Override, Reason, State
from holdgate.errors import HoldgateError

if TYPE_CHECKING:
    from holdgate.core.settings import CircuitSettings


class Trigger(Enum):
    """What can change the state, with the reason in words."""

    BREACHED = "a rule was met"
    WAIT_REQUESTED = "a server or an operator asked for a wait"
    WAITED = "the wait is over"
    RECOVERED = "a good stage at the full rate"
    FORCE_ENDED = "a forced opening ended"
    RESET = "an operator reset it"
    FLEET_WAITS = "the fleet waits"
    FLEET_RAMPS = "the fleet gives a share"
    FLEET_RECOVERED = "the fleet has recovered"


TRANSITIONS: dict[tuple[State, Trigger], State] = {
    (State.CLOSED, Trigger.BREACHED): State.OPEN,
    (State.CLOSED, Trigger.WAIT_REQUESTED): State.OPEN,
    (State.HALF_OPEN, Trigger.BREACHED): State.OPEN,
    (State.HALF_OPEN, Trigger.WAIT_REQUESTED): State.OPEN,
    (State.OPEN, Trigger.WAITED): State.HALF_OPEN,
    (State.HALF_OPEN, Trigger.RECOVERED): State.CLOSED,
    # FORCED_OPEN always ends in HALF_OPEN, whatever the state below: traffic never goes from nothing to everything in one step.
    (State.CLOSED, Trigger.FORCE_ENDED): State.HALF_OPEN,
    (State.OPEN, Trigger.FORCE_ENDED): State.HALF_OPEN,
    (State.HALF_OPEN, Trigger.FORCE_ENDED): State.HALF_OPEN,
    (State.CLOSED, Trigger.RESET): State.CLOSED,
    (State.OPEN, Trigger.RESET): State.CLOSED,
    (State.HALF_OPEN, Trigger.RESET): State.CLOSED,
    (State.CLOSED, Trigger.FLEET_WAITS): State.OPEN,
    (State.HALF_OPEN, Trigger.FLEET_WAITS): State.OPEN,
    # A worker that comes while the fleet is on its way back has a share, too, and not the full rate.
    (State.CLOSED, Trigger.FLEET_RAMPS): State.HALF_OPEN,
    (State.OPEN, Trigger.FLEET_RAMPS): State.HALF_OPEN,
    (State.OPEN, Trigger.FLEET_RECOVERED): State.CLOSED,
    (State.HALF_OPEN, Trigger.FLEET_RECOVERED): State.CLOSED,
}


def transition(state: State, trigger: Trigger) -> State:
    """Return the state that follows. Raises HoldgateError for a pair without a row, which is a defect of the caller."""
    try:
        return TRANSITIONS[state, trigger]
    except KeyError:
        raise HoldgateError(f"a circuit in {state.name} has no transition for {trigger.name} ({trigger.value})") from None


# What opens a circuit without a rule that results have met.
_ASKED_FOR = {
    Reason.RETRY_AFTER: Trigger.WAIT_REQUESTED,
    Reason.OPEN_FOR: Trigger.WAIT_REQUESTED,
    Reason.FLEET: Trigger.FLEET_WAITS,
}
# Those of which no call of this worker says anything.
OF_NO_CALL = frozenset({Reason.OPEN_FOR, Reason.FLEET})
_HEALTHY = Outage()


@dataclass(frozen=True, slots=True)
class Situation:
    """What a circuit is in at one moment.

    - `closed_since`: the monotonic second of the last transition to CLOSED.
    - `override_until`: when the override ends by itself, in monotonic seconds. None means when it is cleared.
    - `until`: when the wait of OPEN ends, in monotonic seconds; in the past in every other state.
    - `asked`: what that wait follows from. None means that somebody asked for it.
    - `opened_by`: why it is not CLOSED. None while it is, and after a forced opening, whose end says nothing of a cause.
    """

    closed_since: float
    state: State = State.CLOSED
    override: Override | None = None
    override_until: float | None = None
    outage: Outage = _HEALTHY
    until: float = -inf
    asked: Asked | None = None
    opened_by: Reason | None = None

    # -- what it means ----------------------------------------------------------------------------------------------------------------

    @property
    def told_until(self) -> float | None:
        """Until when a server has asked to be left alone, while that is what OPEN waits for. None means that none has."""
        is_told = self.state is State.OPEN and self.opened_by is Reason.RETRY_AFTER and self.asked is None
        return self.until if is_told else None

    @property
    def is_plain(self) -> bool:
        """Whether it is CLOSED without an override."""
        return self.state is State.CLOSED and self.override is None

    def refuses_until(self, wait_ends: float) -> float:
        """Return until when everything is refused, if the wait of OPEN ends at `wait_ends`: in the past if it is not."""
        if self.override is Override.FORCED_OPEN:
            return inf if self.override_until is None else self.override_until
        return wait_ends if self.state is State.OPEN and self.override is None else -inf

    def outage_at(self, now: float, settings: CircuitSettings) -> Outage:
        """Return what is left of the outage by now: it is forgotten while the circuit is CLOSED."""
        if self.state is not State.CLOSED or self.override is Override.FORCED_OPEN:  # no call goes through, so nothing shows its health
            return self.outage
        return self.outage.healthy_for(now - self.closed_since, settings)

    # -- transitions ------------------------------------------------------------------------------------------------------------------

    def opened(self, reason: Reason, now: float, wait: Asked | float, settings: CircuitSettings) -> Situation:
        """Return the situation after it has opened. `wait` is what its wait follows from, or when a wait that was asked for ends."""
        state = transition(self.state, _ASKED_FOR.get(reason, Trigger.BREACHED))
        outage = self.outage_at(now, settings)
        outage = outage.begun(now) if reason in OF_NO_CALL else outage.opened(now, settings)
        asked, until = (wait, opened_until(settings, outage, wait)) if isinstance(wait, Asked) else (None, wait)
        return replace(self, state=state, outage=outage, until=until, asked=asked, opened_by=reason)

    def waited(self) -> Situation:
        """Return the situation after the wait of OPEN has ended."""
        return replace(self, state=transition(self.state, Trigger.WAITED), outage=self.outage.asked(), until=-inf)

    def led(self, now: float, settings: CircuitSettings) -> Situation:
        """Return the situation after a fleet has made it HALF_OPEN."""
        state = transition(self.state, Trigger.FLEET_RAMPS)
        return replace(self, state=state, outage=self.outage_at(now, settings).begun(now), until=-inf)

    def closed(self, trigger: Trigger, now: float) -> Situation:
        """Return the situation after it has closed. A reset forgets what outages there were, too."""
        outage = _HEALTHY if trigger is Trigger.RESET else self.outage.closed()
        state = transition(self.state, trigger)
        return replace(self, state=state, outage=outage, until=-inf, opened_by=None, closed_since=now)

    # -- a wait that becomes another --------------------------------------------------------------------------------------------------

    def put_off(self, until: float) -> Situation:
        """Return the situation if somebody asks to wait until then, at least."""
        return replace(self, until=max(self.until, until), asked=None)

    def waiting_anew(self, now: float, drawn: float, share: float, settings: CircuitSettings) -> Situation:
        """Return the situation if its wait was a fleet's, and now is its own: it ends after this share of its next wait, in [0, 1)."""
        asked = Asked(now, now, drawn)
        return replace(self, until=now + share * (opened_until(settings, self.outage, asked) - now), asked=asked)

    def reconfigured(self, now: float, settings: CircuitSettings) -> Situation:
        """Return the situation if it goes on by other settings."""
        if self.state is not State.OPEN:
            return self
        return replace(self, until=open_anew_until(settings, self.outage, self.asked, self.until, now))

    # -- overrides --------------------------------------------------------------------------------------------------------------------

    def ends_forced(self, override: Override | None) -> bool:
        """Return whether this override, or none, in its place ends a forced opening."""
        return self.override is Override.FORCED_OPEN and override is not Override.FORCED_OPEN

    def overridden(self, override: Override | None, until: float | None, now: float, settings: CircuitSettings) -> Situation:
        """Return the situation under another override, or under none."""
        if self.ends_forced(override):
            state = transition(self.state, Trigger.FORCE_ENDED)
            return replace(self, state=state, override=override, override_until=until, until=-inf, opened_by=None)
        # While it is forced open no time counts as healthy, so the outage is fixed at what it is now.
        outage = self.outage_at(now, settings) if override is Override.FORCED_OPEN else self.outage
        return replace(self, override=override, override_until=until, outage=outage)
