"""Lanes of a run with batches: a kind of their own, so that the loop of single deliveries asks nothing about them.

A lane takes one batch, and lets others run before the next: what waits for the loop meanwhile is the poll that brings it. A batch that was
cut down to one message is that message from its start on, by the rules of single deliveries. Where the intake made the batch, it is
settled by one call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from holdgate.errors import Reject
from holdgate.flow.attribution import attribute
from holdgate.flow.batch import AS_THEY_ARE, Batch, Deliveries
from holdgate.flow.delivery import Settlement
from holdgate.flow.verdicts import gates_of
from holdgate.runtime.lanes import AnyDelivery, Lane

if TYPE_CHECKING:
    from holdgate.runtime.worker import Worker


class BatchLane(Lane):
    """A lane whose handler takes a sequence of deliveries."""

    __slots__ = ("_rested",)

    def __init__(self, worker: Worker, ended: Callable[[Lane, asyncio.Task[None]], None]) -> None:
        super().__init__(worker, ended)
        self._rested = True  # others have run since its last batch

    def start(self) -> None:
        self._rested = True
        super().start()

    def wait(self) -> asyncio.Future[None]:
        self._rested = True
        return super().wait()

    def acknowledge(self, delivery: AnyDelivery) -> None:
        """Settle a batch whole if its intake knows it, else each of its deliveries."""
        if isinstance(delivery, Batch) and delivery.origin is AS_THEY_ARE:
            for one in delivery.message:
                self.worker.intake.settle(one, Settlement.ACK)
        else:
            self.worker.intake.settle(delivery, Settlement.ACK)

    async def _work(self, delivery: AnyDelivery) -> None:
        if not self._rested:
            await asyncio.sleep(0)
        if delivery.place.going:  # between the grant and now the source went away
            self.give_back(delivery)
            return
        if isinstance(delivery, Batch) and len(delivery) == 1:
            delivery = self.delivery = delivery.single()
        items: Deliveries[Any] = delivery.items() if isinstance(delivery, Batch) else Deliveries.of(delivery)
        handler = self.prepare(self.worker.handler_of(delivery.source))
        self._rested = False
        self.started = True
        self.since = self.worker.now()
        try:
            await handler(cast("AnyDelivery", items))  # the handler of a run with batches takes this
        except BaseException as error:  # noqa: BLE001 - every end is a verdict; what is not the handler's is raised again inside
            self._raised(delivery, error)
            return
        self.started = False
        self.look_at_task()
        if isinstance(delivery, Batch) and items.made and items.wishes():
            self._returned_in_parts(delivery, items)
        else:
            self._returned(delivery, self.worker.now())
        self.delivery = None
        self.worker.turn_if_needed()

    def _returned_in_parts(self, batch: Batch, items: Deliveries[Any]) -> None:
        """The handler has asked for something else for some of them."""
        if self.interrupted:  # it finished all the same: processed is processed
            self.recovered()
        self.spent = True  # some of them come again
        worker, now = self.worker, self.worker.now()
        tally, self.tally = self.tally, None
        attribution = attribute([worker.dependency_of(gate) for gate in gates_of(batch)], tally, None, now)
        parted = worker.engine.settle_in_parts(batch, items, items.wishes(), attribution, now)
        for one in parted.done:
            worker.intake.settle(one, Settlement.ACK)
        for one in parted.rejected:
            worker.reject(one, Reject(one.trial.reason))
