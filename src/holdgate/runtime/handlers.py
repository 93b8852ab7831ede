"""The user's handlers: checked before anything is consumed, looked up by source, and plain functions moved into threads.

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
from holdgate.ports import Intake
from holdgate.runtime.calling import current_attempt, is_async
from holdgate.runtime.lane import TaskLane
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
        if is_async(handler, through_wrappers=True):
            return handler

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
            if inspect.isawaitable(result):  # a plain function in front of an async one, such as a lambda
                await result

        return in_thread


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
