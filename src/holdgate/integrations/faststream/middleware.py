"""The middleware: what happens to one message between FastStream's consumer and its handler.

Theory of operation. FastStream calls `consume_scope` around the handler, and `after_processed` when the handler's result has been published,
too. The attempt is all of that, so a reply that cannot be published is a failed attempt, and its message is not settled. The subscriber has
`AckPolicy.MANUAL`: FastStream settles nothing by itself, and the guard does.

The guard's middleware is the outermost. A message that is held goes no further than here: no other middleware and no publisher sees it.
`Held` is how it leaves, because what `consume_scope` returns would be published as the handler's result. It is raised through FastStream's
own code only, and ends in `after_processed`.

A message that FastStream cannot parse, or for which it has no handler, never comes to `consume_scope`. Its attempt begins and ends in
`after_processed`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Protocol

from faststream import BaseMiddleware, ContextRepo
from faststream.exceptions import AckMessage, HandlerException, IgnoredException, NackMessage, RejectMessage, SkipMessage
from faststream.message import AckStatus, StreamMessage

from holdgate.errors import Reject
from holdgate.runtime.guests import GuestLane

CallNext = Callable[[StreamMessage[Any]], Awaitable[Any]]


class Held(IgnoredException):
    """The message may not start now. It never leaves FastStream's subscriber."""

    def __str__(self) -> str:
        return "held by the guard"


class Station(Protocol):
    """Where the messages of one subscriber meet the guard. Each broker has its own."""

    async def consume(self, lane_of: GuardMiddleware, call_next: CallNext, message: StreamMessage[Any]) -> Any:
        """Run the handler when the guard lets the message start, and return its result. Raises Held, or what the handler raised."""
        ...

    async def ended(self, lane: GuestLane, raw: Any, error: BaseException | None) -> None:
        """End the attempt with what was raised after `consume`, or by it. None means that the result is published, too."""
        ...

    async def unreadable(self, raw: Any, error: BaseException) -> None:
        """Let a message be an attempt that failed with `error`, before it had a handler. Raises Held."""
        ...


class StationOf(Protocol):
    """What a middleware asks for the station of its subscriber."""

    async def station_of(self, subscriber: Any, raw: Any) -> Station | None:
        """Return the station. None means that this subscriber, or this message, is none of the guard's."""
        ...


class GuardMiddleware(BaseMiddleware[Any, Any]):
    """One message on its way through a guarded subscriber; FastStream makes one for each."""

    __slots__ = ("_held", "_stations", "lane", "message", "station")

    def __init__(self, msg: Any, /, *, context: ContextRepo, stations: StationOf) -> None:
        super().__init__(msg, context=context)
        self._stations = stations
        self._held = False
        self.station: Station | None = None
        self.message: StreamMessage[Any] | None = None
        self.lane: GuestLane | None = None  # where the attempt runs; None while none does

    async def on_receive(self) -> None:
        self.station = await self._stations.station_of(self.context.get_local("handler_"), self.msg)

    async def consume_scope(self, call_next: CallNext, msg: StreamMessage[Any]) -> Any:
        if self.station is None:
            return await call_next(msg)
        self.message = msg
        try:
            return await self.station.consume(self, call_next, msg)
        except Held:
            self._held = True
            raise

    async def after_processed(
        self,
        exc_type: type[BaseException] | None = None,  # noqa: ARG002 - FastStream's signature
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,  # noqa: ARG002
    ) -> bool | None:
        """End the attempt. Returns whether what was raised ends here, which is so for all that the guard has settled."""
        if self.station is None or self._held:
            return self._held
        try:
            if self.lane is not None:
                await self.station.ended(self.lane, self.msg, meant_by(self.lane, self.message, exc_val))
            elif self.message is None and isinstance(exc_val, Exception):
                await self.station.unreadable(self.msg, exc_val)
        except Held:
            return True
        return exc_val is not None and not goes_on(exc_val)


def goes_on(error: BaseException) -> bool:
    """Return whether FastStream must see what was raised, because it ends more than the message: its own StopConsume, or an exit."""
    return not isinstance(error, Exception | BaseExceptionGroup) or (
        isinstance(error, IgnoredException) and not isinstance(error, HandlerException)
    )


def meant_by(lane: GuestLane, message: StreamMessage[Any] | None, error: BaseException | None) -> BaseException | None:
    """Return how the attempt ended, where the handler has used FastStream's words for it. None means that the message is done."""
    status = None if message is None else message.committed
    if isinstance(error, RejectMessage):
        return Reject("rejected by the handler").with_traceback(error.__traceback__)
    if status in (AckStatus.ACKED, AckStatus.REJECTED) or isinstance(error, AckMessage | SkipMessage):
        return None  # settled by the handler itself, whatever it has raised afterwards
    if isinstance(error, NackMessage) or (error is None and status is AckStatus.NACKED):
        if lane.delivery is not None:
            lane.delivery.retry()
        return None
    return error
