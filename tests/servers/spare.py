"""A server for one test at a time, which may do with it what it likes: the next test gets it emptied, and running again.

To start one is what such a test costs most: seven seconds of the processor for a RabbitMQ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable


class Server(Protocol):
    """What can be lent."""

    async def start(self) -> None:
        """Start what of it does not run."""

    async def empty(self) -> None:
        """Remove what tests have made on it."""

    async def close(self) -> None:
        """End it and remove its files."""


Lent = TypeVar("Lent", bound=Server)


class Spare(Generic[Lent]):
    """Lends what `make` returns, to one test after another. `close` ends it."""

    def __init__(self, make: Callable[[], Lent]) -> None:
        self._make = make
        self._server: Lent | None = None

    async def lend(self) -> Lent:
        """Return it, running and empty; a new one, if the last test has left one that cannot be brought back."""
        if self._server is not None and not await self._is_back(self._server):
            await self.close()
        if self._server is None:
            self._server = self._make()
            try:
                await self._server.start()
            except BaseException:
                await self.close()
                raise
        return self._server

    async def close(self) -> None:
        """End it."""
        server, self._server = self._server, None
        if server is not None:
            await server.close()

    async def _is_back(self, server: Lent) -> bool:
        try:
            await server.start()
            await server.empty()
        except Exception:  # noqa: BLE001 - whatever the last test has done to it, this one gets another
            return False
        return True
