"""The loop form: `async for delivery in deliveries`, for people with a loop of their own. One lane over all sources."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import Token
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

from holdgate.errors import CommandError
from holdgate.flow.message import Delivery, Source
from holdgate.ports import Intake
from holdgate.runtime.calling import Attempt, current_attempt
from holdgate.runtime.handlers import Handler
from holdgate.runtime.lane import Lane, LaneOwner, exit_in
from holdgate.runtime.run_settings import RunSettings
from holdgate.runtime.worker import Worker, log_end


class LoopOwner(Protocol):
    """What the loop form asks of its guard."""

    def new_worker(self, intake: Intake[Any], plans: RunSettings, handler_of: Callable[[Source], Handler]) -> Worker:
        """Make a planned run, which `start` begins."""
        ...

    def start(self, worker: Worker) -> asyncio.Task[None]:
        """Run a worker in a task that the guard holds."""
        ...

    async def finish(self, runs: Mapping[Worker, asyncio.Task[None]]) -> None:
        """Drain these runs and wait until they have ended."""
        ...


def _no_handler(source: Source) -> NoReturn:
    raise CommandError(f"{source} is read by a loop, which has no handler")


class LoopDelivery:
    """One delivery of the loop form. `async with` it: the block is one attempt.

    A failure in the block is recorded and not raised; the same delivery comes again when it may. What ends more than the block goes
    through: the cancellation of the loop's task, KeyboardInterrupt, SystemExit, GeneratorExit. A CancelledError that nobody sent to that
    task is a failure like any other. Its attributes are those of `Delivery`.
    """

    __slots__ = ("_delivery", "_lane", "_token", "entered")

    def __init__(self, delivery: Delivery[Any], lane: LoopLane) -> None:
        self._delivery = delivery
        self._lane = lane
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
            raise CommandError("this delivery was entered already: each turn of the loop is one attempt")
        self.entered = True
        if self._lane.delivery is self._delivery:  # else its source has gone since: whatever comes of it settles nothing
            self._lane.task = asyncio.current_task()
            self._lane.started = True
            self._lane.since = self._lane.worker.now()
            self._token = current_attempt.set(self._lane)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        lane, delivery = self._lane, self._delivery
        if self._token is None:
            return isinstance(error, Exception)
        lane.started = False
        current_attempt.reset(self._token)
        ours = lane.interrupted
        if ours:
            lane.recovered()
        passes = error is not None and lane.passes(error)
        if error is not None and ours:
            lane.give_back(delivery)
        elif passes:
            lane.cut_by = error
        else:
            lane.end(delivery, error)
            lane.worker.turn_if_needed()
        return error is not None and not passes


class LoopLane(Lane):
    """The one lane of a loop. Its task is the user's, so that nothing here may count on it to come back.

    What goes through the block says nothing until the loop asks for more. Then whoever sent it has taken it back, and it is the failure of
    the delivery; a cancellation was a time limit around the block, and is read as its TimeoutError. When the loop ends instead, the
    delivery is given back.
    """

    __slots__ = ("cut_by",)

    def __init__(self, worker: LaneOwner) -> None:
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

    def __init__(self, guard: LoopOwner, intake: Intake[Any], plans: RunSettings) -> None:
        self._guard = guard
        self._intake = intake
        self._plans = plans
        self._worker: Worker | None = None
        self._lane: LoopLane | None = None
        self._task: asyncio.Task[None] | None = None
        self._current: LoopDelivery | None = None
        self._told = False  # what ended the run was raised, or the loop ended with it

    async def __aenter__(self) -> Self:
        if self._worker is not None:
            raise CommandError("these deliveries were entered already: ask the guard for new ones")
        worker = self._worker = self._guard.new_worker(self._intake, self._plans, _no_handler)
        self._lane = LoopLane(worker)
        worker.lanes.append(self._lane)  # the run's one lane is taken: no lane is made
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
        worker, lane, task = self._entered()
        last = self._current
        if last is not None and not last.entered:
            raise CommandError(f"{last.source}@{last.position} was not entered: write `async with delivery:` in the loop")
        self._current = None
        lane.go_on()
        await asyncio.sleep(0)  # a body that never waits must not keep the poll from running
        while not task.done():
            delivery = lane.delivery = lane.delivery or worker.next()
            if delivery is None:
                await asyncio.wait({lane.wait(), task}, return_when=asyncio.FIRST_COMPLETED)
            elif delivery.assignment.going:
                lane.give_back(delivery)
            else:
                self._current = LoopDelivery(delivery, lane)
                return self._current
        self._told = True
        task.result()
        raise StopAsyncIteration

    def _entered(self) -> tuple[Worker, LoopLane, asyncio.Task[None]]:
        if self._worker is None or self._lane is None or self._task is None:
            raise CommandError("enter it first: `async with guard.deliveries(...) as deliveries:`")
        return self._worker, self._lane, self._task
