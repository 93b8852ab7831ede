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
        await worker.fall_back(delivery)
    except BaseException as raised:  # noqa: BLE001 - every end is a verdict; what is not the fallback's is raised again below
        error = raised
    lane.started = False
    ours, timed_out = lane.interrupted, lane.timed_out
    if ours:
        lane.recovered()
    lane.tally = None  # its calls are nobody's verdict
    if error is None:
        if worker.engine.fell_back(delivery, worker.now()) is Verdict.DONE:
            worker.intake.settle(delivery, Settlement.ACK)
    elif ours and not timed_out:
        lane.give_back(delivery)
    else:
        worker.fallback_failed(delivery, error)
    lane.delivery = None
    worker.turn_if_needed()
    if error is not None and not isinstance(error, Exception) and not _is_cancellation(lane, error, ours=ours):
        raise error


def _is_cancellation(lane: Lane, error: BaseException, *, ours: bool) -> bool:
    """Whether it is a cancellation that nobody else sent to the lane."""
    return isinstance(error, asyncio.CancelledError) and (ours or (lane.task is not None and not lane.task.cancelling()))
