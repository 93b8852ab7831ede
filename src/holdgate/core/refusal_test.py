"""One test after a refusal: some calls ask together and immediately, and how many of them are let in says whether there is a limit.

Theory of operation
===================

A rate limit has no token right after a refusal. A quick one has a token again before the first of them can ask, and not before the fourth
does. So a test counts only if all of its calls have begun in parallel: with less demand than that it shows nothing.

It is over when each result is known. A call that is silent counts as let in, because refusals are quick and answers may take seconds.
"""

from __future__ import annotations

IMMEDIATELY = 0.02  # seconds: what comes later may have met a new token


class RefusalTest:
    """Count the calls of one test. `size` is how many are to ask, `asked` how many have, and `let_in` how many of these were let in."""

    __slots__ = ("_began", "_last_at", "_waited_for", "asked", "let_in", "size")

    def __init__(self, size: int, now: float) -> None:
        self.size = size
        self.asked = 0
        self.let_in = 0
        self._began = self._last_at = now
        self._waited_for: set[int] = set()

    def free(self, now: float) -> int:
        """Return how many calls more may ask now."""
        return self.size - self.asked if now <= self._began + IMMEDIATELY else 0

    def start(self, token: int, now: float) -> None:
        """Note that this call asks."""
        self.asked += 1
        self._last_at = now
        self._waited_for.add(token)

    def end(self, token: int, *, was_let_in: bool) -> None:
        """Note the result of a call. One that is none of the test says nothing."""
        if token in self._waited_for:
            self._waited_for.discard(token)
            self.let_in += was_let_in

    def take_back(self, token: int) -> None:
        """Note that a call of the test was never made, or that nobody knows its result."""
        if token in self._waited_for:
            self._waited_for.discard(token)
            self.asked -= 1

    def is_over(self, now: float, patience: float) -> bool:
        """Return whether all results are known. A call that was silent for `patience` seconds counts as let in: refusals are quick."""
        if self.free(now):
            return False
        if self._waited_for and now >= self._last_at + patience:
            self.let_in += len(self._waited_for)
            self._waited_for.clear()
        return not self._waited_for

    def next_at(self, patience: float) -> float:
        """Return when time ends the test, if no result does before."""
        return self._last_at + patience
