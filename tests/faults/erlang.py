"""What a RabbitMQ node does to itself the moment it is told to."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.servers.rabbitmq import RabbitMQServer

BETWEEN_LOOKS = 0.05

# It says that it is there, and waits for a file.
WAITS = (
    'ok = file:write_file("{ready}", <<>>), '
    'Wait = fun Wait() -> case filelib:is_file("{fire}") of true -> ok; false -> timer:sleep(20), Wait() end end, Wait(), '
)


class Prepared:
    """An expression that waits in the node: rabbitmqctl, a program of its own, takes longer to start than a worker stays in a state."""

    def __init__(self, server: RabbitMQServer, expression: str) -> None:
        name = uuid.uuid4().hex[:8]
        seen = server._installation.seen(server._folder)
        self._ready, self._fire = (server._folder / f"{word}-{name}" for word in ("ready", "fire"))
        text = WAITS.format(ready=f"{seen}/{self._ready.name}", fire=f"{seen}/{self._fire.name}") + expression
        self._running = asyncio.create_task(server.ctl("eval", text))

    async def ready(self) -> None:
        """Return when it waits. Raises RuntimeError with what rabbitmqctl said."""
        while not await asyncio.to_thread(self._ready.exists):
            if self._running.done():
                await self._running
            await asyncio.sleep(BETWEEN_LOOKS)

    async def fire(self) -> None:
        """Let it be done, and return when it was."""
        await asyncio.to_thread(self._fire.touch)
        await self._running
