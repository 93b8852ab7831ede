"""What the call forms of one attempt saw, kept until the handler has ended and attribution reads it.

A handler that uses no call form never has a tally: it is created by the first call form, and None on the fast path. It is written from
the handler's own tasks and from its thread, so a running call is a key of a dict (one step for the interpreter), never a counter.
"""

from __future__ import annotations

from holdgate.core import Outcome

# Names of the module: an enum's member costs more to look up than the rest of a step here.
_SUCCESS = Outcome.SUCCESS
_FAILURE = Outcome.FAILURE
_IGNORED = Outcome.IGNORED


class Touch:
    """What the calls of one dependency came to in this attempt.

    `outcome` None: no call has ended with a verdict. `slowest` is the longest of those that ended in SUCCESS or FAILURE, `cut_short` the
    longest of those that the handler itself cancelled (None: none was), both in seconds. `running` has the start of every call that has
    not ended, and keeps those that the guard's own `timeout` ended.
    """

    __slots__ = ("cut_short", "failed_result", "outcome", "retry_after", "running", "slowest")

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.slowest = 0.0
        self.retry_after: float | None = None
        self.cut_short: float | None = None
        self.failed_result = False  # a call returned, and `result_failures` called that a failure
        self.running: dict[object, float] = {}

    def ended(self, outcome: Outcome, duration: float, retry_after: float | None = None) -> None:
        """One call ended by itself."""
        # A failure stays whatever comes after it; a good call says more than one that decides nothing.
        if outcome is _FAILURE or self.outcome is None or (outcome is _SUCCESS and self.outcome is _IGNORED):
            self.outcome = outcome
        if duration > self.slowest and outcome is not _IGNORED:
            self.slowest = duration
        if retry_after is not None:
            self.retry_after = max(retry_after, self.retry_after or 0.0)

    def cut(self, duration: float) -> None:
        """One call was cancelled by the handler after `duration` seconds."""
        self.cut_short = max(duration, self.cut_short or 0.0)

    def under_way(self, now: float) -> float | None:
        """How long the longest call that has not ended has taken; None when all have."""
        # list() first: a thread may begin a call at this moment, and a dict must not grow under a loop.
        return max((now - started for started in list(self.running.values())), default=None)


class Tally:
    """All call forms of one attempt.

    `touches` by name of the dependency, declared or not. `excused` are the exceptions that are not the message's own: a call form took
    them for its dependency's failure, or could not tell. `refused` are the dependencies that refused a call. `timed_out` is set before a
    handler is cancelled because its own `timeout` is over.
    """

    __slots__ = ("excused", "refused", "timed_out", "touches")

    def __init__(self) -> None:
        self.touches: dict[str, Touch] = {}
        self.timed_out = False
        self.excused: list[BaseException] = []
        self.refused: dict[str, None] = {}  # a set that keeps its order

    def touch(self, name: str) -> Touch:
        """The record of one dependency, created when it is asked for first."""
        found = self.touches.get(name)
        return self.touches.setdefault(name, Touch()) if found is None else found
