"""The middleware: what happens to one message between FastStream's consumer and its handler.

Theory of operation. FastStream calls `consume_scope` around the handler, and `__aexit__` when the handler's result has been published,
too. The attempt is all of that, so a reply that cannot be published is a failed attempt, and its message is not settled. The
subscriber has `AckPolicy.MANUAL`: FastStream settles nothing by itself, and the guard does.

The guard's middleware is the outermost. A message that is held goes no further than here: no other middleware and no publisher sees it.
`Held` is how it leaves, because what `consume_scope` returns would be published as the handler's result. It is raised through FastStream's
own code only, and ends in `__aexit__`.

A message that FastStream cannot parse, or for which it has no handler, never comes to `consume_scope`. Its attempt begins and ends in
`__aexit__`.

What is on the way of every message makes no coroutine of its own: FastStream awaits what a plain function returns, the handler's coroutine
or `NOTHING_TO_AWAIT`. A coroutine that only passes on to another one would cost half a microsecond each time FastStream calls here.

What is ugly: FastStream's hooks for middlewares are `on_receive` and `after_processed`, which `__aenter__` and `__aexit__` await. This one
has the two themselves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, ClassVar, NoReturn, Protocol, cast

from faststream import BaseMiddleware, ContextRepo
from faststream.exceptions import AckMessage, HandlerException, IgnoredException, NackMessage, RejectMessage, SkipMessage, StopApplication
from faststream.message import AckStatus, StreamMessage

from holdgate.errors import Reject
from holdgate.flow.message import AnyDelivery
from holdgate.runtime.guests import GuestLane
from holdgate.runtime.wording import steps

log = logging.getLogger("holdgate")


class _Nothing(tuple[()]):
    """What is awaited, and is over before that."""

    __slots__ = ()
    # It runs no line of Python: the iterator of a tuple without items ends where it begins.
    __await__: Callable[[Any], Iterator[Any]] = cast("Any", tuple).__iter__


NOTHING_TO_AWAIT = _Nothing()

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

    def consume(self, visit: GuardMiddleware, call_next: CallNext, message: StreamMessage[Any]) -> Awaitable[Any]:
        """Return what runs the handler when the guard lets the message start, and ends with its result. Raises Held.

        What is awaited may raise Held, too; it sets `visit.is_held` then, and `visit.could_not_begin` is for a mistake of ours in there.
        """
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
    """One message on its way through a guarded subscriber; FastStream makes one for each, of a class that each guard has for itself."""

    __slots__ = ("_message", "_station", "delivery", "is_held", "lane")

    # The known ones, by subscriber, and who is asked for those of other subscribers: what every message of a guard has in common.
    stations: ClassVar[Mapping[Any, Station]]
    otherwise: ClassVar[StationOf]

    @classmethod
    def of(cls, stations: Mapping[Any, Station], otherwise: StationOf) -> type[GuardMiddleware]:
        """Return the class for a guard."""
        return type(cls.__name__, (cls,), {"__slots__": (), "stations": stations, "otherwise": otherwise})

    def __init__(self, msg: Any, /, *, context: ContextRepo) -> None:
        self.msg, self.context = msg, context  # all that the parent's constructor does
        self._station: Station | None = None
        self._message: StreamMessage[Any] | None = None
        self.is_held = False  # the station has raised Held; a middleware further in may have turned it into something else
        # The station's own: where the attempt runs, None while none does; and what it has made of the message.
        self.lane: GuestLane | None = None
        self.delivery: AnyDelivery | None = None

    def __aenter__(self) -> Any:
        subscriber = self.context.get_local("handler_")
        station = self.stations.get(subscriber)
        if station is None:
            return self._find_station(subscriber)
        if station.met(self.msg):
            self._station = station
        return NOTHING_TO_AWAIT

    async def _find_station(self, subscriber: Any) -> None:
        self._station = await self.otherwise.station_of(subscriber, self.msg)

    def consume_scope(self, call_next: CallNext, msg: StreamMessage[Any]) -> Any:
        station = self._station
        if station is None:
            return call_next(msg)
        self._message = msg
        try:
            return station.consume(self, call_next, msg)
        except Held:
            self.is_held = True
            raise
        except Exception as error:
            if self.lane is None:
                self.could_not_begin(error)
            raise

    def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> Any:
        """End the attempt. What is awaited returns whether what was raised ends here, which is so for all that the guard has settled."""
        station = self._station
        if station is None:
            return NOTHING_TO_AWAIT
        if exc_val is not None or self.is_held or self._message is None:
            return self._left_by(station, exc_val)
        try:
            ending = station.ended(self, self._message, None)
        except Exception as error:  # noqa: BLE001 - as in `_left_by`
            self._could_not_end(error)
        return NOTHING_TO_AWAIT if ending is None else self._end(ending)

    async def _end(self, ending: Awaitable[None]) -> None:
        try:
            await ending
        except Exception as error:  # noqa: BLE001 - as in `_left_by`
            self._could_not_end(error)

    async def _left_by(self, station: Station, error: BaseException | None) -> bool:
        if self.is_held:
            return True
        try:
            if self._message is not None:
                ending = station.ended(self, self._message, error)
                if ending is not None:
                    await ending
            elif isinstance(error, Exception):
                await station.unreadable(self.msg, error)
        except Held:
            return True
        except Exception as mistake:  # noqa: BLE001 - raised again as what FastStream does not swallow
            self._could_not_end(mistake)
        return error is not None and not goes_on(error)

    def could_not_begin(self, error: Exception) -> NoReturn:
        """Stop FastStream because of a mistake of ours before the handler: to go on would be to pass the message over."""
        log.error("a message did not come to its handler; FastStream stops", exc_info=error)
        self._stop(error)

    def _could_not_end(self, error: Exception) -> NoReturn:
        """Stop FastStream because of a mistake of ours, which FastStream would swallow, and pass the message over."""
        # No texts: they would quote the handler's.
        log.error(
            "an attempt could not be ended, %s; FastStream stops; report it to holdgate with this: %s", type(error).__name__, steps(error)
        )
        self._stop(error)

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
