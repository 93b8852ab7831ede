"""Lanes of a run with batches: a kind of their own, so that the loop of single deliveries asks nothing about them.

A lane takes one batch, and then lets others run: what waits for the loop meanwhile is the poll that brings the next one. A batch that was
cut down to one message ends as that message, by the rules of single deliveries. Where the intake made the batch, it is settled by one
call.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from holdgate.flow.batch import AS_THEY_ARE, Batch, Deliveries
from holdgate.flow.delivery import Settlement
from holdgate.runtime.lanes import AnyDelivery, Lane


class BatchLane(Lane):
    """A lane whose handler takes a sequence of deliveries."""

    __slots__ = ()

    def end(self, delivery: AnyDelivery, error: BaseException | None, *, timed_out: bool = False) -> None:
        """A batch of one ends as its message: that is what may be charged and rejected."""
        if isinstance(delivery, Batch) and len(delivery) == 1:
            delivery = self.delivery = delivery.single()
        super().end(delivery, error, timed_out=timed_out)

    def acknowledge(self, delivery: AnyDelivery) -> None:
        """Settle a batch whole if its intake knows it, else each of its deliveries."""
        if not isinstance(delivery, Batch):
            super().acknowledge(delivery)
        elif delivery.origin is AS_THEY_ARE:
            for one in delivery.message:
                self.worker.intake.settle(one, Settlement.ACK)
        else:
            self.worker.intake.settle(delivery, Settlement.ACK)

    async def _work(self, delivery: AnyDelivery) -> None:
        place = delivery.place
        if place.going:  # between the grant and now the source went away
            self.give_back(delivery)
            return
        handler = self.worker.handler_of(place.source)
        items: Deliveries[Any] = delivery.items() if isinstance(delivery, Batch) else Deliveries([delivery], AS_THEY_ARE, delivery.attempt)
        self.started = True
        self.since = self.worker.now()
        try:
            await handler(cast("AnyDelivery", items))  # the handler of a run with batches takes this
        except BaseException as error:  # noqa: BLE001 - every end is a verdict; what is not the handler's is raised again inside
            self._raised(delivery, error)
            return
        self.started = False
        self._returned(delivery, self.worker.now())
        self.delivery = None
        self.worker.turn_if_needed()
        await asyncio.sleep(0)
