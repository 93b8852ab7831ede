"""The clock of the story: it stands at zero until both sides are ready."""

from __future__ import annotations

import time


class StoryClock:
    """Seconds since traffic began; 0.0 before `start`."""

    def __init__(self) -> None:
        self._started: float | None = None

    @property
    def running(self) -> bool:
        """Whether traffic has begun."""
        return self._started is not None

    def start(self) -> None:
        """Traffic begins now."""
        self._started = time.monotonic()

    def now(self) -> float:
        """Seconds since `start`, monotonic."""
        return 0.0 if self._started is None else time.monotonic() - self._started
