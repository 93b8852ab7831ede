"""The totals of one circuit since it was made: its calls by outcome, how long they took, and its probes. Metrics are made of them.

Theory of operation. A total is a plain integer that only goes up, and nobody reads it but who makes metrics. Most calls are good and quick,
and those cost a handful of nanoseconds here: the window counts them already (`goods`, and `passed` for those it has moved into its ring),
and the circuit adds up their seconds. So that they need no look at the buckets, a call counts as quick only if it belongs to the first one
(`QUICK`). Every other call takes milliseconds, and is put into its bucket when it ends.

What is counted is a call as the circuit sees it: one per permit. A handler that makes no call of its own is one call of each of its needs.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

# The upper bounds of the buckets, in seconds: those that Prometheus' own clients have, and two more for calls that hang until a timeout.
CALL_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# A call that took no longer belongs to the first bucket.
QUICK = CALL_BOUNDS[0]


@dataclass(slots=True)
class Histogram:
    """How many values are in each bucket, and their sum.

    `bounds` are the upper bounds of the buckets, each included in its bucket. `counts` has one more, for what is above the last bound.
    """

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def copy(self, *, lowest: int = 0, their_sum: float = 0.0) -> Histogram:
        """Return a copy, which does not change any more, with so many values more in the lowest bucket."""
        copied = Histogram(self.bounds)
        copied.counts = [self.counts[0] + lowest, *self.counts[1:]]
        copied.sum = self.sum + their_sum
        return copied

    @property
    def count(self) -> int:
        """Return how many values there are."""
        return sum(self.counts)


def _calls() -> Histogram:
    return Histogram(CALL_BOUNDS)


@dataclass(slots=True)
class CircuitTotals:
    """What has happened to one circuit since it was made.

    - `succeeded`, `failed`: the calls that ended so, by the seconds they took.
    - `ignored`: the calls that showed nothing of the dependency, as a message that fails again by its own fault.
    - `throttled`: the calls that the dependency refused because they were too many for now.
    - `late`: the results that came after the circuit had changed, and were not judged.
    - `refused`: the calls that were not permitted.
    - `probes_succeeded`, `probes_failed`: the first calls of half-opens.
    """

    succeeded: Histogram = field(default_factory=_calls)
    failed: Histogram = field(default_factory=_calls)
    ignored: int = 0
    throttled: int = 0
    late: int = 0
    refused: int = 0
    probes_succeeded: int = 0
    probes_failed: int = 0

    def ended(self, took: float, *, failed: bool) -> None:
        """Count one call that took `took` seconds."""
        (self.failed if failed else self.succeeded).add(took)

    def unjudged(self, *, throttled: bool) -> None:
        """Count one call that no rule of the circuit judges."""
        if throttled:
            self.throttled += 1
        else:
            self.ignored += 1

    def probed(self, *, good: bool) -> None:
        """Count the first call of a half-open."""
        if good:
            self.probes_succeeded += 1
        else:
            self.probes_failed += 1
