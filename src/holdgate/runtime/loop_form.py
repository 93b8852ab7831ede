"""The loop form: `async for delivery in deliveries`, for people with a loop of their own. One lane over all sources."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from holdgate.errors import CommandError
from holdgate.flow.message import Delivery, Source, unknown_attribute
from holdgate.ports import Intake
from holdgate.runtime.calling import Attempt, current_attempt
from holdgate.runtime.lane import BorrowedTaskLane, LaneOwner
from holdgate.runtime.needs import needs_error
from holdgate.runtime.run_settings import RunSettings
from holdgate.runtime.worker import RunHost, Worker, has_opened, log_end, raise_end

if TYPE_CHECKING:
    from datetime import timedelta


def _no_handler(source: Source) -> NoReturn:
    raise CommandError(f"{source} is read by a loop, which has no handler")


class LoopDelivery:
    """One delivery of the loop form, with the attributes of `Delivery`. Enter it with `async with`: the block is one attempt.

    A failure in the block is recorded and not raised, and the same delivery comes again when it may. What ends more than the block goes
    through: the cancellation of the loop's task, KeyboardInterrupt, SystemExit, GeneratorExit. A CancelledError that was not sent to that
    task is a failure like any other.
    """

    __slots__ = ("_delivery", "_lane", "_span", "_token", "entered")

    def __init__(self, delivery: Delivery[Any], lane: LoopLane) -> None:
        self._delivery = delivery
        self._lane = lane
        self._token: Token[Attempt | None] | None = None
        self._span: object | None = None
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
        """How often the delivery was started in this process, this time included and starts left out in which a call was refused."""
        return self._delivery.attempt

    @property
    def redelivered(self) -> bool | None:
        """Whether the broker has handed the message out before. None means that the broker does not say."""
        return self._delivery.redelivered

    @property
    def position(self) -> int:
        """The place of the message in its source."""
        return self._delivery.position

    @property
    def body(self) -> bytes | None:
        """The payload. None means a tombstone."""
        return self._delivery.body

    @property
    def key(self) -> bytes | None:
        """The key of a Kafka record. None means that there is none."""
        return self._delivery.key

    @property
    def headers(self) -> Mapping[str, Any]:
        """The headers by name."""
        return self._delivery.headers

    @property
    def timestamp(self) -> float | None:
        """When the message was produced, in seconds since the epoch. None means unknown."""
        return self._delivery.timestamp

    if not TYPE_CHECKING:  # as of a Delivery

        def __getattr__(self, name: str) -> object:
            delivery = None if name == "_delivery" else getattr(self, "_delivery", None)
            raise unknown_attribute(self, name, getattr(delivery, "message", None))

    def reject(self, reason: str = "rejected by the handler") -> None:
        """Reject, from inside the block, a message that can never be processed. The message goes where rejected messages go."""
        self._delivery.reject(reason)

    def retry(self, after: float | timedelta | None = None) -> None:
        """Ask, from inside the block, for another try after so many seconds above 0, or a timedelta. None means the policy's next
        backoff."""
        self._delivery.retry(after)

    async def __aenter__(self) -> Self:
        if self.entered:
            raise CommandError("this delivery was entered already: each turn of the loop is one attempt")
        self.entered = True
        if self._lane.delivery is self._delivery:  # else its source is gone, and the result of the block settles nothing
            self._lane.task = asyncio.current_task()
            self._lane.started = True
            self._lane.since = self._lane.worker.now()
            self._token = current_attempt.set(self._lane)
            if self._lane.worker.tracing is not None:
                self._span = self._lane.worker.tracing.begin(self._delivery)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        lane, delivery = self._lane, self._delivery
        if self._token is None:
            return isinstance(error, Exception)
        lane.started = False
        if lane.worker.tracing is not None:
            lane.worker.tracing.end(self._span, error)
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


class LoopLane(BorrowedTaskLane):
    """The one lane of a loop. The task is the user's, so nothing here may rely on the task coming back.

    An exception that goes through the block is no verdict until the loop asks for more. If the loop does, the code outside has caught the
    exception, which then is the failure of the delivery. A cancellation was a time limit around the block, and counts as its TimeoutError.
    If the loop ends instead, the delivery is given back.
    """

    __slots__ = ("cut_by",)

    def __init__(self, worker: LaneOwner) -> None:
        super().__init__(worker)
        self.cut_by: BaseException | None = None  # what went through the block of the delivery in hand

    def go_on(self) -> None:
        """Settle what went through the last block, because the loop asks for more."""
        cut_by, self.cut_by = self.cut_by, None
        if cut_by is None or self.delivery is None:
            return
        if self.task is not None and self.task.cancelling():
            self.give_back(self.delivery)
        else:
            limit = TimeoutError().with_traceback(cut_by.__traceback__)
            self.end(self.delivery, limit if isinstance(cut_by, asyncio.CancelledError) else cut_by)
            self.worker.turn_if_needed()


class Deliveries:
    """What `guard.deliveries` returns. Enter it, then loop over it. Leaving it drains. The loop ends by itself when the guard stops."""

    def __init__(self, guard: RunHost, intake: Intake[Any], plans: RunSettings) -> None:
        self._guard = guard
        self._intake = intake
        self._plans = plans
        self._worker: Worker | None = None
        self._lane: LoopLane | None = None
        self._task: asyncio.Task[None] | None = None
        self._current: LoopDelivery | None = None
        self._end_is_known = False  # what ended the run was raised, or the loop ended with it

    async def __aenter__(self) -> Self:
        if self._worker is not None:
            raise CommandError("these deliveries were entered already: ask the guard for new ones")
        worker = self._worker = self._guard.new_worker(self._intake, self._plans, _no_handler)
        self._lane = LoopLane(worker)
        worker.lanes.append(self._lane)  # the run's one lane is taken: no lane is made
        task = self._task = self._guard.start(worker)
        if not await has_opened(self._guard, worker, task):
            self._end_is_known = True
            raise_end(task)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        worker, _, task = self._entered()
        await self._guard.finish({worker: task})
        if error is None and not self._end_is_known:
            raise_end(task)
        elif not self._end_is_known:
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
            elif (error := needs_error(delivery)) is not None:
                lane.end(delivery, error)
                worker.turn_if_needed()
            else:
                self._current = LoopDelivery(delivery, lane)
                return self._current
        self._end_is_known = True
        raise_end(task)
        raise StopAsyncIteration

    def _entered(self) -> tuple[Worker, LoopLane, asyncio.Task[None]]:
        if self._worker is None or self._lane is None or self._task is None:
            raise CommandError("enter it first: `async with guard.deliveries(...) as deliveries:`")
        return self._worker, self._lane, self._task
