"""Handlers that take too long: when one is interrupted, and when it is named.

A handler is interrupted after the run's `timeout`, and named after `hold_warn_after`, again and again. There is no timer per message,
because a handler that ends in time should cost nothing. Instead a run has one deadline: the earliest moment at which a handler that runs
now can be overdue. At that moment all running handlers are looked at, and before it none is. A handler that begins after a look cannot be
overdue before the next one, so one look per `timeout` is enough.

The race that a late look is skipped for: a process stands still (stopped, starved, suspended), and wakes with all its timers due. The
answers that handlers wait for have arrived meanwhile, and the timer runs before the handlers do. To cancel them now would make a failure of
work that is done. So the first look that comes late interrupts nobody, and the next one comes a moment later.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from holdgate.flow.events import HandlerStuck

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdgate.flow.message import AnyDelivery
    from holdgate.runtime.lane import Lane

# A busy event loop runs its timers some milliseconds late. A timer that is later than this means that the loop stood still (seconds).
_STOOD_STILL = 0.1
# The loop reads and handles what has arrived meanwhile within a few steps, and this is more than enough for those (seconds).
_CATCH_UP = 1.0


class Overdue:
    """Looks at the handlers of one run. `timeout` is in seconds; None means no limit. A handler is named every `warn_after` seconds."""

    def __init__(self, timeout: float | None, warn_after: float, now: float) -> None:
        self._timeout = math.inf if timeout is None else timeout
        self._warn_after = warn_after
        self._named: dict[Lane, tuple[AnyDelivery, int, float]] = {}  # what was named, which attempt of it, and when
        self._waited = False  # the last look came late and interrupted nobody
        self.next_at = now

    def look(self, lanes: Iterable[Lane], now: float) -> list[HandlerStuck]:
        """Interrupt the handlers that are overdue, and return those to name. Does nothing before `next_at`."""
        late = now - self.next_at
        if late < 0:
            return []
        self._waited = late > _STOOD_STILL and not self._waited
        if self._waited:
            self.next_at = now + min(late, _CATCH_UP)
            return []
        self.next_at = now + min(self._timeout, self._warn_after)
        stuck: list[HandlerStuck] = []
        named, self._named = self._named, {}
        for lane in lanes:
            if lane.delivery is not None and lane.started:
                self._look_at(lane, lane.delivery, named.get(lane), now, stuck)
        return stuck

    def _look_at(
        self, lane: Lane, delivery: AnyDelivery, last: tuple[AnyDelivery, int, float] | None, now: float, stuck: list[HandlerStuck]
    ) -> None:
        over = lane.since + self._timeout
        if now >= over:
            lane.time_out()
        else:
            self.next_at = min(self.next_at, over)
        named_at = last[2] if last is not None and last[:2] == (delivery, delivery.attempt) else lane.since
        if now >= named_at + self._warn_after:
            stuck.append(HandlerStuck(now, delivery.source, delivery.position, now - lane.since))
            named_at = now
        if named_at != lane.since:
            self._named[lane] = (delivery, delivery.attempt, named_at)
        self.next_at = min(self.next_at, named_at + self._warn_after)
