"""A real HTTP server behind a limit: uvicorn with a token bucket, in a thread of its own. It answers 429 to what comes too early."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

_START_WITHIN = 60.0
# Seconds until an idle connection is closed: a client that stands still for uvicorn's five would write into one that has just been closed.
_IDLE = 120


class LimitedServer:
    """Lets `rate` calls a second through, up to `burst` at once. `answered` has each body that came, and the status of its answer.

    With `spent` others have just used up its bucket when the first call comes: that one is refused, however slow this machine is.
    """

    def __init__(
        self, rate: float, burst: int, headers: Callable[[LimitedServer], dict[str, str]] | None = None, *, spent: bool = False
    ) -> None:
        self.rate = rate
        self.burst = burst
        self.answered: list[tuple[bytes, int]] = []
        self.url = ""
        self._headers = headers
        self._tokens = float(burst)
        self._filled_at = time.monotonic()
        self._spent = spent

    @property
    def accepted(self) -> list[bytes]:
        """The bodies that were let through, in their order."""
        return [body for body, status in self.answered if status == 200]

    @property
    def refused(self) -> int:
        """How many calls were refused."""
        return sum(status == 429 for _, status in self.answered)

    def _take(self) -> bool:
        now = time.monotonic()
        if self._spent:
            self._spent, self._tokens, self._filled_at = False, 0.0, now
        self._tokens = min(self.burst, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        """Answer one request, as an ASGI application."""
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        status = 200 if self._take() else 429
        self.answered.append((body, status))
        headers = {} if self._headers is None else self._headers(self)
        sent = [(name.encode(), value.encode()) for name, value in {"content-length": "0", **headers}.items()]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": b""})

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Serve on a port of its own."""
        settings = uvicorn.Config(self, host="127.0.0.1", port=0, log_level="critical", lifespan="off", timeout_keep_alive=_IDLE)
        server = uvicorn.Server(settings)
        started = threading.Event()

        async def serve() -> None:
            task = asyncio.ensure_future(server.serve())
            while not server.started and not task.done():
                await asyncio.sleep(0.005)
            started.set()
            await task

        serving = threading.Thread(target=asyncio.run, args=(serve(),))
        serving.start()
        try:
            assert started.wait(_START_WITHIN), "uvicorn did not start"
            assert server.started, "uvicorn has ended"
            port = server.servers[0].sockets[0].getsockname()[1]
            self.url = f"http://127.0.0.1:{port}/charges"
            yield
        finally:
            server.should_exit = True
            serving.join()
