"""The middleware: what happens to one message between FastStream's consumer and its handler.

Theory of operation. FastStream calls `consume_scope` around the handler, and `__aexit__` when the handler's result has been published,
too. The attempt is all of that, so a reply that cannot be published is a failed attempt, and its message is not settled. The
subscriber has `AckPolicy.MANUAL`: FastStream settles nothing by itself, and the guard does.

The guard's middleware is the outermost. A message that is held goes no further than here: no other middleware and no publisher sees it.
`Held` is how it leaves, because what `consume_scope` returns would be published as the handler's result. It is raised through FastStream's
own code only, and ends in `__aexit__`.

A message that FastStream cannot parse, or for which it has no handler, never comes to `consume_scope`. Its attempt begins and ends in
`__aexit__`.

What is ugly: FastStream's hooks for middlewares are `on_receive` and `after_processed`, which `__aenter__` and `__aexit__` await. This one
is on the way of every message, and so has the two themselves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

from faststream import BaseMiddleware, ContextRepo
from faststream.exceptions import AckMessage, HandlerException, IgnoredException, NackMessage, RejectMessage, SkipMessage, StopApplication
from faststream.message import AckStatus, StreamMessage

from holdgate.errors import Reject
from holdgate.flow.message import AnyDelivery
from holdgate.runtime.guests import GuestLane
from holdgate.runtime.wording import steps

log = logging.getLogger("holdgate")

CallNext = Callable[[StreamMessage[Any]], Awaitable[Any]]


class Held(IgnoredException):
    """The message may not start now. It never leaves FastStream's subscriber."""

    def __str__(self) -> str:
        return "held by the guard"


class Station(Protocol):
    """Where the messages of one subscriber meet the guard. Each broker has its own."""

    def met(self, raw: Any) -> bool:
        """Note a message that has come, before anything of it runs. False: it came from FastStream's test client, and is none of ours."""
        ...

    async def consume(self, visit: GuardMiddleware, call_next: CallNext, message: StreamMessage[Any]) -> Any:
        """Run the handler when the guard lets the message start, and return its result. Raises Held, or what the handler raised."""
        ...

    def ended(self, visit: GuardMiddleware, message: StreamMessage[Any], error: BaseException | None) -> Awaitable[None] | None:
        """End what `consume` began, by what was raised in it or after it. None means that the result is published, too.

        What it returns must be awaited, unless it is None.
        """
        ...

    async def unreadable(self, raw: Any, error: Exception) -> None:
        """Let a message be an attempt that failed with `error`, before it had a handler. Raises Held."""
        ...


class StationOf(Protocol):
    """What a middleware asks for the station of a subscriber that has none yet."""

    async def station_of(self, subscriber: Any, raw: Any) -> Station | None:
        """Return the station; begin if it is time for that. None means that this subscriber, or this message, is none of the guard's."""
        ...


class GuardMiddleware(BaseMiddleware[Any, Any]):
    """One message on its way through a guarded subscriber; FastStream makes one for each.

    `stations` are the known ones, by subscriber; `otherwise` is asked for those of other subscribers.
    """

    __slots__ = ("_held", "_message", "_otherwise", "_station", "_stations", "delivery", "lane")

    def __init__(self, msg: Any, /, *, context: ContextRepo, stations: Mapping[Any, Station], otherwise: StationOf) -> None:
        self.msg, self.context = msg, context  # all that the parent's constructor does
        self._stations = stations
        self._otherwise = otherwise
        self._held = False
        self._station: Station | None = None
        self._message: StreamMessage[Any] | None = None
        # The station's own: where the attempt runs, None while none does; and what it has made of the message.
        self.lane: GuestLane | None = None
        self.delivery: AnyDelivery | None = None

    async def __aenter__(self) -> Self:
        subscriber = self.context.get_local("handler_")
        station = self._stations.get(subscriber)
        if station is None:
            self._station = await self._otherwise.station_of(subscriber, self.msg)
        elif station.met(self.msg):
            self._station = station
        return self

    async def consume_scope(self, call_next: CallNext, msg: StreamMessage[Any]) -> Any:
        if self._station is None:
            return await call_next(msg)
        self._message = msg
        try:
            return await self._station.consume(self, call_next, msg)
        except Held:
            self._held = True
            raise
        except Exception as error:
            if self.lane is None and self.delivery is None:  # a mistake of ours: to go on would be to pass the message over
                log.error("a message did not come to its handler; FastStream stops", exc_info=True)  # noqa: G201 - a level that the page of log lines reads
                self._stop(error)
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> bool | None:
        """End the attempt. Returns whether what was raised ends here, which is so for all that the guard has settled."""
        if self._station is None or self._held:
            return self._held
        try:
            if self._message is not None:
                ending = self._station.ended(self, self._message, exc_val)
                if ending is not None:
                    await ending
            elif isinstance(exc_val, Exception):
                await self._station.unreadable(self.msg, exc_val)
        except Held:
            return True
        except Exception as error:  # noqa: BLE001 - raised again as what FastStream does not swallow
            # A mistake of ours, which FastStream would swallow, and pass the message over. No texts: they would quote the handler's.
            log.error(  # noqa: TRY400
                "an attempt could not be ended, %s; FastStream stops; report it to holdgate with this: %s",
                type(error).__name__,
                steps(error),
            )
            self._stop(error)
        return exc_val is not None and not goes_on(exc_val)

    def _stop(self, error: Exception) -> NoReturn:
        """Let nothing behind this message start, and let the app end."""
        app = self.context.get("app")
        if app is not None:
            app.exit()  # FastStream's own comes too late on Kafka: it stops the subscriber first, and so cancels the task it is in
        raise StopApplication from error


def goes_on(error: BaseException) -> bool:
    """Return whether FastStream must see what was raised, because it ends more than the message: its own StopConsume, or an exit."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0  # else it was the guard's own, or raised by hand
    if not isinstance(error, Exception | BaseExceptionGroup):
        return True
    return isinstance(error, IgnoredException) and not isinstance(error, HandlerException)


def meant_by(delivery: AnyDelivery | None, status: AckStatus | None, error: BaseException | None) -> BaseException | None:
    """Return how the attempt ended, where the handler has used FastStream's words for it. None means that the message is done.

    `status` is what the handler has settled itself; None means nothing. A message that shall come again is told to the delivery.
    """
    if isinstance(error, RejectMessage):
        return Reject("rejected by the handler").with_traceback(error.__traceback__)
    if status in (AckStatus.ACKED, AckStatus.REJECTED) or isinstance(error, AckMessage | SkipMessage):
        return None  # whatever it has raised afterwards
    if isinstance(error, NackMessage) or (error is None and status is AckStatus.NACKED):
        if delivery is not None:
            delivery.retry()
        return None
    return error
