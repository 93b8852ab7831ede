"""What a dependency lets through while it is only observed: the numbers that its limits would have, where nothing is held back.

Theory of operation
===================

A limiter learns from what it does. It yields when it is refused, shuts its gate, and asks with one call. Where all calls go through
nevertheless it learns nonsense: it would yield at each of a thousand refusals a minute that it could not prevent, and be left with a call
in an hour. So it is not asked at all while an operator observes, and begins anew when that ends.

A caller that hammers sees the limit of a rate better than any other. At a refusal nothing is left, so what was let in from one refusal to
another is what the limit has let through in that time. Spans of a minute have a whole window of most services, and their largest counts:
in a span with too little traffic the limit was not what bounded.

If the service says in its answers how many calls are left, that is the number (told_quota.py).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from holdgate.core.limits import LimiterSnapshot
from holdgate.core.outcomes import Outcome
from holdgate.core.told_quota import ToldQuota

if TYPE_CHECKING:
    from holdgate.core.limits import Limits
    from holdgate.core.outcomes import Told

# Most services count by the second or by the minute (seconds).
SPAN = 60.0
# What was seen before that may have been another limit: five minutes, as long as an operator looks at least.
SPANS = 5
# The first refusals come together, and what is let in between them says nothing yet (seconds).
SHORTEST = 5.0


class ObservedCalls:
    """Counts the calls of a dependency that is observed.

    `in_flight` is the weight of those that run. `is_limited` is whether it has refused one or named a limit, or somebody has set numbers.
    """

    __slots__ = ("_accepted", "_began", "_let_in", "_paces", "_quota", "_refused", "_seen", "in_flight", "is_limited")

    def __init__(self, in_flight: int, *, is_limited: bool) -> None:
        self.in_flight = in_flight
        self.is_limited = is_limited
        self._accepted = 0
        self._refused = 0
        self._quota = ToldQuota()
        self._paces: deque[float] = deque(maxlen=SPANS)  # of the spans that have ended, a second
        self._began: float | None = None  # the refusal that the running span began with
        self._let_in = 0  # since then
        self._seen: float | None = None  # the pace from that one to the last refusal

    def start(self, now: float, weight: int) -> None:
        """Count a call, or a batch of this weight, that starts."""
        self.in_flight += weight
        self._quota.start(now, weight)

    def end(self, outcome: Outcome, now: float, weight: int, told: Told | None) -> None:
        """Count the end of a call that had started here or before."""
        self.leave(weight)
        if told is not None and self._quota.tell(told, now, self.in_flight):
            self.is_limited = True
        if outcome is Outcome.THROTTLED:
            self.is_limited = True
            self._refused += weight
            self._measure(now)
        elif outcome is Outcome.FAILURE:
            self._refused += weight
        else:
            self._accepted += weight
            self._let_in += weight

    def leave(self, weight: int) -> None:
        """Count a call no longer that was never made, or whose end nobody knows."""
        self.in_flight = max(0, self.in_flight - weight)

    def _measure(self, now: float) -> None:
        """Take what was let in since an earlier refusal."""
        lasted = 0.0 if self._began is None else now - self._began
        if lasted >= SHORTEST:
            self._seen = self._let_in / lasted
        if self._began is None or lasted >= SPAN:
            if self._seen is not None:
                self._paces.append(self._seen)
            self._began, self._let_in, self._seen = now, 0, None

    @property
    def pace(self) -> float | None:
        """How many calls a second it lets through. None means that nobody can say yet."""
        found = max(self._paces) if self._paces else self._seen
        known = [each for each in (found or None, self._quota.rate) if each is not None]
        return min(known, default=None)

    def snapshot(self, limits: Limits | None) -> LimiterSnapshot:
        """Return what would be let through. `limits` are the numbers that somebody has set, those of this worker."""
        learns = limits is None or limits.adaptive
        paces = [each for each in (self.pace if learns else None, None if limits is None else limits.pace) if each is not None]
        return LimiterSnapshot(
            in_flight=self.in_flight,
            width=None if limits is None else limits.concurrency,
            pace=min(paces, default=None),
            next_at=None,
            accepted=self._accepted,
            refused=self._refused,
            experiments=0,
            why="free",
        )
