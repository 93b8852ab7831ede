"""The gate of a limiter."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_WAIT = 0.25
GROWTH = 2.0
MARKS = (60.0, 120.0, 180.0, 300.0)
STRIDE = 150.0
DOWN_FIRST = 1.0
DOWN_GROWTH = 1.7
DOWN_MOST = 20.0
RETRY_AFTER_MOST = 3600.0
PATIENCE = 4.0


class RefusalGate:
    __slots__ = ("_draw", "_usual", "_lasted", "ask_at", "asked_at", "asking", "asks", "is_down", "is_shut", "shut_at", "least")

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self.is_shut = False
        self.is_down = False
        self.shut_at = 0.0
        self.ask_at = 0.0
        self.asks = 0
        self.asking = 0
        self.asked_at = 0.0
        self.least = FIRST_WAIT
        self._usual = 0.0
        self._lasted = 0.0

    def saw_refusal(self, took: float) -> None:
        self._usual = took if not self._usual else self._usual + (took - self._usual) / 8

    def shut(self, now: float, down: bool, retry_after: float | None, least: float) -> None:
        self.is_shut, self.is_down = True, down
        self.shut_at = now
        self.asks = 0
        self.asking = 0
        self.least = max(FIRST_WAIT, min(60.0, least), min(2.0, self._lasted / 8))
        self._wait(now, retry_after)

    def refused(self, now: float, retry_after: float | None) -> None:
        self.asking = 0
        self.asks += 1
        self._wait(now, retry_after)

    def _wait(self, now: float, retry_after: float | None) -> None:
        if self.is_down:
            wait = min(DOWN_MOST, DOWN_FIRST * DOWN_GROWTH ** min(self.asks, 20))
        else:
            wait = self.least * GROWTH ** min(self.asks, 20)
            if retry_after is not None and retry_after > 0:
                # Obeyed exactly; one that is wrong again and again gives way to the back-off.
                wait = max(min(retry_after, RETRY_AFTER_MOST), wait / 8)
                self.ask_at = now + wait * (1 + 0.02 * self._draw())
                return
            elapsed = now - self.shut_at
            if wait > 30:
                mark = next((m for m in MARKS if m > elapsed + 10), None)
                if mark is None:
                    mark = ((elapsed + 10) // STRIDE + 1) * STRIDE
                self.ask_at = self.shut_at + mark + self._draw()
                return
        self.ask_at = now + wait * (1 + 0.1 * self._draw())

    def ask(self, token: int, now: float) -> None:
        self.asking, self.asked_at = token, now

    def patient_until(self) -> float | None:
        if self.is_down or not self._usual:
            return None
        return self.asked_at + PATIENCE * self._usual

    def open(self, now: float) -> None:
        self._lasted = now - self.shut_at
        self.is_shut = False
        self.asking = 0
