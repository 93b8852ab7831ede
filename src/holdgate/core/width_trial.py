"""One trial of widths: latencies at a narrower and a wider one in turn."""

from __future__ import annotations

from math import log


class Trial:
    __slots__ = ("_at", "_ended", "_n", "_skipped", "_tagged", "arms", "widths")

    def __init__(self, widths: tuple[int, ...], n: int) -> None:
        self.widths = widths
        self.arms: list[list[float]] = [[] for _ in widths]
        self._n = n
        self._at = 0
        self._tagged = 0
        self._ended = 0
        self._skipped = 0

    @property
    def arm(self) -> int:
        return self.widths[min(self._at, len(self.widths) - 1)]

    def tag(self, level: int, pressed: bool) -> int:
        if self._at >= len(self.widths):
            return 0
        if level != self.widths[self._at]:
            self._skipped += 1
            return 0
        self._tagged += 1
        tag = self._at + 1
        if self._tagged >= self._n:
            self._tagged = 0
            self._at += 1
        return tag

    @property
    def calls(self) -> int:
        return self._n * len(self.widths)

    @property
    def is_stale(self) -> bool:
        return self._skipped > 8 * self._n

    @property
    def is_over(self) -> bool:
        return self._ended >= self._n * len(self.widths)

    def ended(self, tag: int, took: float) -> None:
        self.arms[tag - 1].append(took)
        self._ended += 1

    @staticmethod
    def gain(lo: list[float], hi: list[float], narrow: float, wide: float) -> float:
        """Return the elasticity of throughput: 1 where a wider one gets as much more done, 0 where it gets nothing more."""
        lo, hi = sorted(lo), sorted(hi)
        shifts = sorted(_quantile(hi, k / 10) - _quantile(lo, k / 10) for k in range(1, 10))
        mean = sum(lo) / len(lo)
        grown = max(0.1, 1 + shifts[4] / mean) if mean > 0 else 1.0
        return 1 - log(grown) / log(wide / narrow)


def _quantile(values: list[float], share: float) -> float:
    at = share * (len(values) - 1)
    low = int(at)
    return values[low] + (values[min(low + 1, len(values) - 1)] - values[low]) * (at - low)
