"""The states of a circuit, the overrides an operator may lay over them, and the one table of transitions."""

from __future__ import annotations

from enum import Enum

from holdgate.errors import HoldgateError


class State(Enum):
    """Where the circuit is. CLOSED: calls go through. OPEN: none do. HALF_OPEN: as many as the ramp's limit."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Override(Enum):
    """What an operator laid over the state. It is a second field, so that the state below is not lost.

    FORCED_OPEN rejects everything. DISABLED admits everything and records nothing. METRICS_ONLY admits everything, records, and tells when
    it would have opened.
    """

    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


class Trigger(Enum):
    """What can change the state."""

    BREACHED = "a rule was met"
    TOLD_TO_WAIT = "a server or an operator said when to come back"
    WAITED = "the wait is over"
    RECOVERED = "a good stage at the full rate"
    UNFORCED = "a forced opening ended"
    RESET = "an operator reset it"


TRANSITIONS: dict[tuple[State, Trigger], State] = {
    (State.CLOSED, Trigger.BREACHED): State.OPEN,
    (State.CLOSED, Trigger.TOLD_TO_WAIT): State.OPEN,
    (State.HALF_OPEN, Trigger.BREACHED): State.OPEN,
    (State.HALF_OPEN, Trigger.TOLD_TO_WAIT): State.OPEN,
    (State.OPEN, Trigger.WAITED): State.HALF_OPEN,
    (State.HALF_OPEN, Trigger.RECOVERED): State.CLOSED,
    # Out of FORCED_OPEN there is one way, whatever lay below: never from nothing to everything.
    (State.CLOSED, Trigger.UNFORCED): State.HALF_OPEN,
    (State.OPEN, Trigger.UNFORCED): State.HALF_OPEN,
    (State.HALF_OPEN, Trigger.UNFORCED): State.HALF_OPEN,
    (State.CLOSED, Trigger.RESET): State.CLOSED,
    (State.OPEN, Trigger.RESET): State.CLOSED,
    (State.HALF_OPEN, Trigger.RESET): State.CLOSED,
}


def transition(state: State, trigger: Trigger) -> State:
    """The state that follows; HoldgateError for a pair without a row, which is a defect of the caller: nothing has changed then."""
    try:
        return TRANSITIONS[state, trigger]
    except KeyError:
        raise HoldgateError(f"a circuit in {state.name} cannot change because {trigger.value}") from None
