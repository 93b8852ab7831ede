"""What a lane is working on, so that a call form deep inside a handler knows whose call it is.

A lane puts itself into `current_attempt` once, when it starts, and afterwards only changes what it works on: setting a contextvar costs
more than the guard may spend per message. A handler's child tasks and its thread copy the context, and so share the lane.

A task that outlives its handler still has the lane: its calls count as outside of any handler while the lane is idle, and for the lane's
next delivery afterwards.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol

from holdgate.core import Circuit, Permit
from holdgate.flow.delivery import Delivery
from holdgate.flow.tally import Tally
from holdgate.flow.verdicts import gates_of


class Attempt(Protocol):
    """A lane, as call forms see it.

    `delivery` is None, or has no permits (not even an empty tuple), while no handler runs. `tally` is made by the first call form of a
    handler; the lane takes it away at the handler's end, so that the next one starts without.
    """

    delivery: Delivery[Any] | None
    tally: Tally | None


# None outside of handlers. Set once per lane.
current_attempt: ContextVar[Attempt | None] = ContextVar("holdgate_attempt", default=None)


def is_running(attempt: Attempt) -> bool:
    """Whether a handler runs, so that a call form belongs to its delivery."""
    return attempt.delivery is not None and attempt.delivery.permits is not None


def permit_for(attempt: Attempt, circuit: Circuit) -> Permit | None:
    """The permit that the running delivery holds for a declared need; None for a dependency that it does not need."""
    delivery = attempt.delivery
    if delivery is None or delivery.permits is None:
        return None
    permits: tuple[Permit, ...] = delivery.permits
    pairs = zip(gates_of(delivery), permits, strict=False)
    return next((permit for gate, permit in pairs if gate.circuit is circuit), None)
