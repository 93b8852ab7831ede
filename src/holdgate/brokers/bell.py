"""What runs beside `receive`, and how it is heard: it wakes a receive that waits, ends it by an error, or goes to the user's own function.

Tasks and callbacks of an intake cannot raise into `receive`. So they leave their error here, and the next receive raises it. The first one
stays: what fails after it fails because of it, as a rule.

A receive looks for messages first, and waits then, without an await in between. So no ring can fall into the gap.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


class Bell:
    """Wakes the one receive that waits, and keeps the error that ends it."""

    __slots__ = ("_fault", "_waiting")

    def __init__(self) -> None:
        self._fault: BaseException | None = None
        self._waiting: asyncio.Future[None] | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether a receive waits."""
        return self._waiting is not None

    async def wait_until(self, at: float) -> None:
        """Wait for a ring, until `at` on the loop's clock at most."""
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        timer = loop.call_at(at, self.ring)
        try:
            await self._waiting
        finally:
            timer.cancel()
            self._waiting = None

    def ring(self) -> None:
        """Wake the receive that waits. Without one nothing happens: the next one looks for itself."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def fail(self, error: BaseException) -> None:
        """Keep the first error of what runs beside. The next receive raises it."""
        self._fault = self._fault or error
        self.ring()

    def check(self) -> None:
        """Raise the error that was kept, if there is one."""
        if self._fault is not None:
            raise self._fault


def give_to_user(name: str, function: Callable[[T], None] | None, news: T) -> None:
    """Call a function of the user, the setting `name`, which must not end the intake. None means that there is none."""
    if function is None:
        return
    try:
        function(news)
    except Exception as error:  # noqa: BLE001 - somebody else's code; its text may quote anything, so the log has its type alone
        log.error("%s raised %s", name, type(error).__name__)  # noqa: TRY400
