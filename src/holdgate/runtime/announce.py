"""Events go out: to the log, and to each observer, isolated from one another and from the guard."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import cast

from holdgate.core.events import CircuitOpened
from holdgate.errors import SettingsError
from holdgate.flow.events import (
    AnyEvent,
    HandlerStuck,
    HoldContinued,
    LocalCauseSuspected,
    MessageSkipped,
    OutageSuspected,
    SourceBlocked,
)
from holdgate.runtime.wording import lines

log = logging.getLogger("holdgate")

# What a person should hear of without having asked.
_WARNINGS = (CircuitOpened, HandlerStuck, HoldContinued, SourceBlocked, MessageSkipped, LocalCauseSuspected, OutageSuspected)

Observer = Callable[[AnyEvent], object]


class Announcer:
    """Hands every event to the log and to each observer, in order. An observer that raises is logged, and called again the next time."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        if not isinstance(cast("object", observers), Iterable):
            raise SettingsError(f"observers={observers!r} is no list: write observers=[...], be it of one function")
        self._observers = tuple(observers)
        for observer in self._observers:
            if not callable(observer):
                raise SettingsError(f"observer {observer!r} cannot be called: give a function that takes an event")
            if inspect.iscoroutinefunction(observer):
                raise SettingsError(f"observer {observer!r} is async and nobody would await it: give a plain function")

    def announce(self, events: Sequence[AnyEvent]) -> None:
        """Tell everybody now. Called at the end of a turn, when nothing is half done."""
        if not events:
            return
        for event, line in lines(events):
            log.log(logging.WARNING if isinstance(event, _WARNINGS) else logging.INFO, "%s", line)
        for event in events:
            for observer in self._observers:
                self._tell(observer, event)

    def _tell(self, observer: Observer, event: AnyEvent) -> None:
        try:
            observer(event)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - somebody else's code: whatever it raises is its own affair
            # Its name and no more: the repr of a partial shows its arguments, a webhook's address for one.
            name = getattr(observer, "__qualname__", type(observer).__qualname__)
            log.warning("observer %s raised %s on %s", name, type(error).__name__, type(event).__name__)
