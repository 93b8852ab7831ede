"""The loop form: `async for delivery in deliveries`, for people with a loop of their own. One seat over all sources."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from holdgate.errors import HoldgateError
from holdgate.flow.message import Delivery, Source
from holdgate.ports import Intake
from holdgate.runtime.calling import Attempt, current_attempt
from holdgate.runtime.lane import Lane, exit_in
from holdgate.runtime.run_settings import RunSettings
from holdgate.runtime.worker import log_end

if TYPE_CHECKING:
    from holdgate.runtime.guard import Guard
    from holdgate.runtime.worker import Worker


def _no_handler(source: Source) -> NoReturn:
    raise HoldgateError(f"{source} is read by a loop, which has no handler")


class LoopDelivery:
    """One delivery of the loop form. `async with` it: the block is one attempt.

    A failure in the block is recorded and not raised; the same delivery comes again when it may. What ends more than the block goes
    through: the cancellation of the loop's task, KeyboardInterrupt, SystemExit, GeneratorExit. A CancelledError that nobody sent to that
    task is a failure like any other. Its attributes are those of `Delivery`.
    """

    __slots__ = ("_delivery", "_seat", "_token", "entered")

    def __init__(self, delivery: Delivery[Any], seat: LoopLane) -> None:
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

    def reject(self, reason: str = "rejected by the handler") -> None:
        """Say in the block that this message can never be processed; it goes where rejected messages go."""
        self._delivery.reject(reason)

    def retry(self, after: float | None = None) -> None:
        """Say in the block that this message is to be tried again, after so many seconds above 0; None: the policy's next backoff."""
        self._delivery.retry(after)

    async def __aenter__(self) -> Self:
        if self.entered:
            raise HoldgateError("this delivery was entered already: each turn of the loop is one attempt")
        self.entered = True
        if self._seat.delivery is self._delivery:  # else its source has gone since: whatever comes of it settles nothing
            self._seat.task = asyncio.current_task()
            self._seat.started = True
            self._seat.since = self._seat.worker.now()
            self._token = current_attempt.set(self._seat)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        seat, delivery = self._seat, self._delivery
        if self._token is None:
            return isinstance(error, Exception)
        seat.started = False
        current_attempt.reset(self._token)
        ours = seat.interrupted
        if ours:
            seat.recovered()
        passes = error is not None and seat.passes(error)
        if error is not None and ours:
            seat.give_back(delivery)
        elif passes:
            seat.cut_by = error
        else:
            seat.end(delivery, error)
            seat.worker.turn_if_needed()
        return error is not None and not passes


class LoopLane(Lane):
    """The one seat of a loop. Its task is the user's, so that nothing here may count on it to come back.

    What goes through the block says nothing until the loop asks for more. Then whoever sent it has taken it back, and it is the failure of
    the delivery; a cancellation was a time limit around the block, and is read as its TimeoutError. When the loop ends instead, the
    delivery is given back.
    """

    __slots__ = ("cut_by",)

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self.cut_by: BaseException | None = None  # what went through the block of the delivery in hand

    def passes(self, error: BaseException) -> bool:
        """Whether it goes through the block: it ends more than that."""
        if isinstance(error, asyncio.CancelledError):
            return self.task is not None and self.task.cancelling() > 0
        return exit_in(error) is not None or not isinstance(error, Exception | BaseExceptionGroup)

    def go_on(self) -> None:
        """The loop asks for more."""
        cut_by, self.cut_by = self.cut_by, None
        if cut_by is None or self.delivery is None:
            return
        if self.task is not None and self.task.cancelling():
            self.give_back(self.delivery)
        else:
            limit = TimeoutError().with_traceback(cut_by.__traceback__)
            self.end(self.delivery, limit if isinstance(cut_by, asyncio.CancelledError) else cut_by)
            self.worker.turn_if_needed()

    def let_go(self) -> None:
        """Take back a delivery whose block was not entered, or was cut off."""
        if self.delivery is not None and not self.started:
            self.give_back(self.delivery)

    def interrupt(self) -> None:
        """Cancel the block; before it was entered, take the delivery back."""
        self.let_go()
        super().interrupt()


class Deliveries:
    """What `guard.deliveries` gives: enter it, then loop over it. Leaving drains; it ends by itself when the guard stops."""

    def __init__(self, guard: Guard, intake: Intake[Any], plans: RunSettings) -> None:
        self._guard = guard
        self._intake = intake
        self._plans = plans
        self._worker: Worker | None = None
        self._seat: LoopLane | None = None
        self._task: asyncio.Task[None] | None = None
        self._current: LoopDelivery | None = None
        self._told = False  # what ended the run was raised, or the loop ended with it

    async def __aenter__(self) -> Self:
        if self._worker is not None:
            raise HoldgateError("these deliveries were entered already: ask the guard for new ones")
        worker = self._worker = self._guard.new_worker(self._intake, self._plans, _no_handler)
        self._seat = LoopLane(worker)
        worker.seats.append(self._seat)  # the run's one seat is taken: no lane is made
        task = self._task = self._guard.start(worker)
        try:
            await asyncio.wait({worker.opened, task}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._guard.finish({worker: task})
            raise
        if task.done():
            self._told = True
            task.result()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        worker, _, task = self._entered()
        await self._guard.finish({worker: task})
        if error is None and not self._told:
            task.result()
        elif not self._told:
            log_end(worker, task)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LoopDelivery:
        worker, seat, task = self._entered()
        last = self._current
        if last is not None and not last.entered:
            raise HoldgateError(f"{last.source}@{last.position} was not entered: write `async with delivery:` in the loop")
        self._current = None
        seat.go_on()
        await asyncio.sleep(0)  # a body that never waits must not keep the poll from running
        while not task.done():
            delivery = seat.delivery = seat.delivery or worker.next()
            if delivery is None:
                await asyncio.wait({seat.wait(), task}, return_when=asyncio.FIRST_COMPLETED)
            elif delivery.assignment.going:
                seat.give_back(delivery)
            else:
                self._current = LoopDelivery(delivery, seat)
                return self._current
        self._told = True
        task.result()
        raise StopAsyncIteration

    def _entered(self) -> tuple[Worker, LoopLane, asyncio.Task[None]]:
        if self._worker is None or self._seat is None or self._task is None:
            raise HoldgateError("enter it first: `async with guard.deliveries(...) as deliveries:`")
        return self._worker, self._seat, self._task
