"""The clock of the story: it stands at zero until both sides are ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class StoryClock:
    """Seconds since traffic began; 0.0 before `start`. `read` gives monotonic seconds: the event loop's clock unless told otherwise, so
    that the story and everything that sleeps in it go by the same time."""

    def __init__(self, read: Callable[[], float] | None = None) -> None:
        self._read = read or _loop_time
        self._started: float | None = None

    def start(self) -> None:
        """Traffic begins now."""
        self._started = self._read()

    def now(self) -> float:
        """Seconds since `start`, monotonic."""
        return 0.0 if self._started is None else self._read() - self._started


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
