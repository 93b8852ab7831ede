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


def running_delivery(attempt: Attempt) -> Delivery[Any] | None:
    """The delivery whose handler runs, so that a call form belongs to it; None while none does."""
    delivery = attempt.delivery
    return None if delivery is None or delivery.permits is None else delivery


def permit_for(delivery: Delivery[Any], circuit: Circuit) -> Permit | None:
    """The permit that a running delivery holds for a declared need; None for a dependency that it does not need."""
    permits: tuple[Permit, ...] = delivery.permits
    for gate, permit in zip(gates_of(delivery), permits, strict=False):
        if gate.circuit is circuit:
            return permit
    return None
