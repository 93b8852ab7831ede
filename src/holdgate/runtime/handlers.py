"""The user's handlers: checked before anything is consumed, looked up by source, plain functions moved into threads, and spans around them.

An async handler runs in its lane's task. A plain handler runs in one of its run's own threads, never in asyncio's shared pool: a stuck
handler must not starve other code (threads.py).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, cast

from holdgate.errors import SettingsError
from holdgate.flow.message import AnyDelivery, Source
from holdgate.ports import Attempted, AttemptSpans, InGroup, Intake
from holdgate.runtime.calling import current_attempt
from holdgate.runtime.functions import is_async, is_of_a_second_loop, see_to
from holdgate.runtime.lane import Lane, TaskLane
from holdgate.runtime.threads import HandlerThreads

AnyHandler = Callable[[AnyDelivery], Any]
BatchHandler = Callable[[Sequence[AnyDelivery]], Any]
Handler = Callable[[AnyDelivery], Awaitable[object]]

# With one lane per source the number of lanes is not known beforehand. Threads are made as they are needed: a high bound costs nothing.
_THREADS = 1024

_GENERATORS = (inspect.isgeneratorfunction, inspect.isasyncgenfunction)


class Handlers:
    """One run's handlers. Used in a `with` block, whose end lets go of their threads."""

    def __init__(self, handler: AnyHandler | Mapping[str, AnyHandler], intake: Intake[Any], concurrency: int | None) -> None:
        self._threads: HandlerThreads | None = None
        self._size = concurrency or _THREADS
        self._for_all: Handler | None = None
        self._by_name: dict[str, Handler] = {}
        if isinstance(handler, Mapping):
            by_name = cast("Mapping[str, AnyHandler]", cast("object", handler))
            _check_names(by_name, intake)
            self._by_name = {name: self._prepared(each, f"handler[{name!r}]") for name, each in by_name.items()}
        else:
            self._for_all = self._prepared(handler, "handler")

    def prepare(self, fallback: AnyHandler | None) -> Handler | None:
        """Check the fallback of the run as a handler, and return it; a plain one is wrapped to run in a thread. Raises SettingsError."""
        return None if fallback is None else self._prepared(fallback, "fallback")

    @property
    def names(self) -> Collection[str] | None:
        """The topics or queues that have a handler. None means one handler for all."""
        return None if self._for_all is not None else self._by_name.keys()

    def of(self, source: Source) -> Handler:
        """Return the handler of a source.

        Raises KeyError for a topic that appeared under a pattern and has none. Such a topic is held, because its needs are not known.
        """
        return self._for_all or self._by_name[source.name]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._threads is not None:
            self._threads.close()

    def _prepared(self, handler: AnyHandler, where: str) -> Handler:
        check_handler(handler, where)
        if is_async(handler):
            return handler
        in_thread = self._in_thread(handler)
        if not is_async(handler, through_wrappers=True):
            return in_thread
        runs_itself = False

        async def on_the_loop(delivery: AnyDelivery) -> None:
            nonlocal runs_itself
            if not runs_itself:
                try:
                    result = handler(delivery)
                except RuntimeError as error:
                    if not is_of_a_second_loop(error):
                        raise
                    runs_itself = True  # `asyncio.run` in a wrapper: a plain function, whatever is beneath it
                else:
                    if result is not None:  # else the wrapper has run it to its end
                        await see_to(result)
                    return
            await in_thread(delivery)

        return on_the_loop

    def _in_thread(self, handler: AnyHandler) -> Handler:
        """Return what runs a plain function in a thread."""

        async def in_thread(delivery: AnyDelivery) -> None:
            threads = self._threads = self._threads or HandlerThreads(self._size, "handler")
            call = threads.start(handler, delivery)
            try:
                result = await call.result()
            except asyncio.CancelledError:
                lane = current_attempt.get()
                if not call.withdraw() and isinstance(lane, TaskLane):
                    lane.leave(call)
                raise
            if result is not None:  # a plain function in front of an async one, such as a lambda
                await see_to(result)

        return in_thread


class Tracing:
    """The spans of one run: what goes around its handlers, its fallback, and the blocks of a loop."""

    def __init__(self, spans: AttemptSpans, intake: Intake[Any], needs: Callable[[Source], tuple[str, ...] | None]) -> None:
        self._spans = spans
        self._group = intake.group if isinstance(intake, InGroup) else ""
        self._needs = needs
        self._handlers: dict[Source, Handler] = {}
        self._attempted: dict[Source, Attempted] = {}

    def around(self, handler_of: Callable[[Source], Handler]) -> Callable[[Source], Handler]:
        """Return what gives the handler of a source, with a span around each of its calls if these are wanted now."""

        def traced_handler_of(source: Source) -> Handler:
            if not self._spans.wanted():
                return handler_of(source)
            traced = self._handlers.get(source)
            if traced is None:
                traced = self._handlers[source] = self.traced(handler_of(source), source)
            return traced

        return traced_handler_of

    def around_fallback(self, fallback: Handler, source: Source) -> Handler:
        """Return what falls back for one message, with a span around it if that is wanted now."""
        return self.traced(fallback, source, fallback=True) if self._spans.wanted() else fallback

    def traced(self, handler: Handler, source: Source, *, fallback: bool = False) -> Handler:
        """Return this handler with a span around each of its calls."""
        attempted, begin = self.attempted(source), self._spans.begin

        async def in_span(delivery: AnyDelivery) -> None:
            attempt = begin(attempted, delivery, fallback=fallback)
            try:
                result = await handler(delivery)
                if result is not None:
                    await see_to(result)
            except BaseException as error:
                self.end(attempt, error)
                raise
            self.end(attempt, None)

        return in_span

    def begin(self, delivery: AnyDelivery) -> object | None:
        """Begin the span of a block, if it is wanted."""
        if not self._spans.wanted():
            return None
        return self._spans.begin(self.attempted(delivery.source), delivery)

    def end(self, attempt: object | None, error: BaseException | None) -> None:
        """End a span, with what the attempt has raised. A handler that its guard has cancelled has failed only if its time was over."""
        if attempt is None:
            return
        lane = current_attempt.get()
        interrupted = isinstance(lane, Lane) and lane.interrupted and error is not None
        if interrupted and isinstance(lane, Lane) and lane.timed_out:
            error, interrupted = TimeoutError(), False
        self._spans.end(attempt, error, interrupted=interrupted)

    def attempted(self, source: Source) -> Attempted:
        """Return what the attempts at a source's messages have in common."""
        found = self._attempted.get(source)
        if found is None:
            found = self._attempted[source] = Attempted(source, self._group, self._needs(source) or ())
        return found


def check_handler(handler: object, where: str) -> None:
    """Raise SettingsError for what cannot be a handler, before anything is consumed. `where` is what the error calls it."""
    if inspect.iscoroutine(handler):
        handler.close()
        raise SettingsError(f"{where} is a coroutine object: pass the function itself, without calling it")
    if not callable(handler):
        raise SettingsError(f"{where}={handler!r} cannot be called: pass a function that takes one delivery")
    if any(is_generator(each) for is_generator in _GENERATORS for each in (handler, getattr(handler, "__call__", None))):  # noqa: B004
        # Calling such a function only makes the generator: every message would be settled, and none processed.
        raise SettingsError(f"{where} has a `yield`, so that calling it runs nothing: pass a function without one")
    try:
        inspect.signature(handler).bind(None)
    except TypeError:
        raise SettingsError(f"{where} must take one argument, the delivery; its signature is {inspect.signature(handler)}") from None
    except ValueError:
        return  # a builtin without a signature


def _check_names(handlers: Mapping[str, AnyHandler], intake: Intake[Any]) -> None:
    if not handlers:
        raise SettingsError("handler is an empty mapping: give one handler, or one for each topic or queue")
    if intake.names is None:
        return
    missing = sorted(set(intake.names) - set(handlers))
    if missing:
        raise SettingsError(f"handler has no entry for {missing}, only for {sorted(handlers)}: add one for each topic or queue")
    unknown = sorted(set(handlers) - set(intake.names))
    if unknown:
        raise SettingsError(f"handler has entries for {unknown}, which the intake does not deliver (it delivers {sorted(intake.names)})")
