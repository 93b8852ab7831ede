"""The loop form: `async for delivery in deliveries`, for people with a loop of their own. One seat over all sources."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from holdgate.errors import HoldgateError
from holdgate.flow.delivery import Delivery
from holdgate.flow.sources import Source
from holdgate.ports import Intake
from holdgate.runtime.attempt import Attempt, current_attempt
from holdgate.runtime.seat import Seat
from holdgate.runtime.start import Plans

if TYPE_CHECKING:
    from holdgate.runtime.guard import Guard
    from holdgate.runtime.worker import Worker


def _no_handler(source: Source) -> NoReturn:
    raise HoldgateError(f"{source} is read by a loop, which has no handler")


class LoopDelivery:
    """One delivery of the loop form. `async with` it: the block is one attempt.

    A failure in the block is recorded and not raised; the same delivery comes again when it may. CancelledError goes through. Its
    attributes are those of `Delivery`.
    """

    __slots__ = ("_delivery", "_seat", "_token", "entered")

    def __init__(self, delivery: Delivery[Any], seat: Seat) -> None:
        self._delivery = delivery
        self._seat = seat
        self._token: Token[Attempt | None] | None = None
        self.entered = False

    @property
    def source(self) -> Source:
        """The partition or queue."""
        return self._delivery.source

    @property
    def message(self) -> Any:
        """The client library's own object."""
        return self._delivery.message

    @property
    def attempt(self) -> int:
        """How often it was started in this process, this time included."""
        return self._delivery.attempt

    @property
    def redelivered(self) -> bool | None:
        """The broker's word that it was handed out before; None where it does not say."""
        return self._delivery.redelivered

    @property
    def position(self) -> int:
        """Where it stands in its source."""
        return self._delivery.position

    @property
    def body(self) -> bytes | None:
        """The payload; None for a tombstone."""
        return self._delivery.body

    @property
    def key(self) -> bytes | None:
        """Kafka: the record's key; None where there is none."""
        return self._delivery.key

    @property
    def headers(self) -> Mapping[str, Any]:
        """The headers by name."""
        return self._delivery.headers

    @property
    def timestamp(self) -> float | None:
        """When it was produced, in seconds since the epoch; None when unknown."""
        return self._delivery.timestamp

    async def __aenter__(self) -> Self:
        if self.entered:
            raise HoldgateError("this delivery was entered already: each turn of the loop is one attempt")
        self.entered = True
        self._seat.task = asyncio.current_task()
        self._seat.started = True
        self._token = current_attempt.set(self._seat)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        seat, delivery = self._seat, self._delivery
        seat.started = False
        if self._token is not None:
            current_attempt.reset(self._token)
        ours = seat.interrupted
        if ours:
            seat.recovered()
        if error is None or (isinstance(error, Exception) and not ours):
            seat.end(delivery, error)
            seat.worker.turn_if_needed()
            return True
        seat.give_back(delivery)
        return ours


class Deliveries:
    """What `guard.deliveries` gives: enter it, then loop over it. Leaving drains; it ends by itself when the guard stops."""

    def __init__(self, guard: Guard, intake: Intake[Any], plans: Plans) -> None:
        self._guard = guard
        self._intake = intake
        self._plans = plans
        self._worker: Worker | None = None
        self._seat: Seat | None = None
        self._task: asyncio.Task[None] | None = None
        self._current: LoopDelivery | None = None

    async def __aenter__(self) -> Self:
        worker = self._worker = self._guard.new_worker(self._intake, self._plans, _no_handler)
        self._seat = Seat(worker)
        worker.seats.append(self._seat)  # the run's one seat is taken: no lane is made
        task = self._task = self._guard.start(worker)
        opened = asyncio.create_task(worker.opened.wait())
        try:
            await asyncio.wait({opened, task}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._guard.finish(worker, task)
            raise
        finally:
            opened.cancel()
        if task.done():
            task.result()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._task is None or self._worker is None or self._seat is None:
            return
        if self._seat.delivery is not None and not self._seat.started:  # `break` before entering it
            self._seat.give_back(self._seat.delivery)
        await self._guard.finish(self._worker, self._task)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LoopDelivery:
        seat, worker, task = self._seat, self._worker, self._task
        if seat is None or worker is None or task is None:
            raise HoldgateError("enter it first: `async with guard.deliveries(...) as deliveries:`")
        if self._current is not None and not self._current.entered:
            raise HoldgateError(f"{self._current.source}@{self._current.position} was not entered: write `async with delivery:` in the loop")
        self._current = None
        await asyncio.sleep(0)  # a body that never waits must not keep the poll from running
        while seat.delivery is None:
            seat.delivery = worker.next()
            if seat.delivery is None:
                await asyncio.wait({seat.wait(), task}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
                raise StopAsyncIteration
            if seat.delivery is not None and seat.delivery.place.going:
                seat.give_back(seat.delivery)
        self._current = LoopDelivery(seat.delivery, seat)
        return self._current
