"""A lane runs the fallback of a delivery instead of its handler."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from holdgate.flow.delivery import Delivery, Settlement
from holdgate.flow.fate import Verdict

if TYPE_CHECKING:
    from holdgate.runtime.lanes import Lane


async def fall_back(lane: Lane, delivery: Delivery[Any]) -> None:
    """Run it to its end and settle the delivery by it; one that comes too late waits for its needs instead. Raises what is not a fallback's
    own end, as a handler's lane does."""
    place = delivery.place
    if place.stopped or not place.falling_back:
        # Between the grant and now no lane was free, or a step has passed: its dependency is being tried by now, or an operator has spoken.
        delivery.attempt -= 1
        lane.give_back(delivery)
        return
    worker = lane.worker
    lane.since = worker.now()
    lane.started = True
    error: BaseException | None = None
    try:
        await lane.prepare(worker.fall_back)(delivery)
    except BaseException as raised:  # noqa: BLE001 - every end is a verdict; what is not the fallback's is raised again below
        error = raised
    lane.started = False
    beyond = None if error is None else lane.beyond(error)
    if isinstance(beyond, GeneratorExit):
        raise beyond
    ours, timed_out = lane.interrupted, lane.timed_out
    if ours:
        lane.recovered()
    lane.tally = None  # its calls are nobody's verdict
    if error is None and not ours:
        lane.look_at_task()
    else:
        lane.spent = True
    if error is None:
        if worker.engine.fell_back(delivery, worker.now()) is Verdict.DONE:
            worker.intake.settle(delivery, Settlement.ACK)
    elif (ours and not timed_out) or beyond is not None:
        lane.give_back(delivery)
    else:
        worker.fallback_failed(delivery, error)
    lane.delivery = None
    if isinstance(beyond, asyncio.CancelledError):
        raise beyond
    worker.turn_if_needed()
