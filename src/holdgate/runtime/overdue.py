"""Handlers that take too long: interrupted when the run has a `timeout`, and named when they outlive `hold_warn_after`.

There is no timer per message. A run has one deadline: when the first of the handlers that run now may be over. Until then nothing is
looked at, and then everything that runs is. What began after the last look is over later than that, so a look once per `timeout` is
enough, and a handler that ends in time costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from holdgate.flow.delivery import Delivery
from holdgate.flow.events import HandlerStuck
from holdgate.runtime.seat import Seat

AnyDelivery = Delivery[Any]


class Overdue:
    """Looks at the handlers of one run. `timeout` in seconds, None: no limit. `warn_after` seconds until one is named, and again."""

    def __init__(self, timeout: float | None, warn_after: float, now: float) -> None:
        self._timeout = math.inf if timeout is None else timeout
        self._warn_after = warn_after
        self._named: dict[Seat, tuple[AnyDelivery, int, float]] = {}  # what was named, which attempt of it, and when
        self.next_at = now

    def look(self, seats: Iterable[Seat], now: float) -> list[HandlerStuck]:
        """Interrupt what is over, and return whom to name. Does nothing before `next_at`."""
        if now < self.next_at:
            return []
        self.next_at = now + min(self._timeout, self._warn_after)
        stuck: list[HandlerStuck] = []
        named, self._named = self._named, {}
        for seat in seats:
            if seat.delivery is not None and seat.started:
                self._look_at(seat, seat.delivery, named.get(seat), now, stuck)
        return stuck

    def _look_at(
        self, seat: Seat, delivery: AnyDelivery, last: tuple[AnyDelivery, int, float] | None, now: float, stuck: list[HandlerStuck]
    ) -> None:
        over = seat.since + self._timeout
        if now >= over:
            seat.time_out()
        else:
            self.next_at = min(self.next_at, over)
        said = last[2] if last is not None and last[:2] == (delivery, delivery.attempt) else seat.since
        if now >= said + self._warn_after:
            stuck.append(HandlerStuck(now, delivery.source, delivery.position, now - seat.since))
            said = now
        if said != seat.since:
            self._named[seat] = (delivery, delivery.attempt, said)
        self.next_at = min(self.next_at, said + self._warn_after)
