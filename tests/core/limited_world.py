"""A small world for limiters: a service with a rate, a cap and servers, and a consumer with work for it. Virtual seconds, no chance."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from holdgate.core.limiter import Limiter
from holdgate.core.outcomes import Outcome, Told

REFUSAL = 0.02


@dataclass
class Service:
    """Lets in `rate` a second with a `burst`, at most `cap` at once, and works on `servers` of them for `seconds` each.

    `window`: so many in each minute, too. `ban`: after a refusal nothing is let in for so many seconds; `anew`: after each of them.
    `by_chance`: every so many-th call is refused, whatever else goes on; 0 is none.
    """

    rate: float = 1e9
    burst: float = 1e9
    cap: int = 10**9
    servers: int = 10**9
    seconds: Callable[[int], float] = lambda _call: 0.1
    refusal: Outcome = Outcome.THROTTLED
    told: Callable[[float], Told | None] = lambda _now: None
    is_silent: Callable[[float], bool] = lambda _now: False
    window: int = 10**9
    ban: float = 0.0
    anew: bool = False
    by_chance: int = 0
    asked: int = 0
    banned: float = -1.0
    minute: int = -1
    used: int = 0
    tokens: float = -1.0
    at: float = 0.0
    inside: int = 0
    busy: list[float] = field(default_factory=list)
    calls: int = 0
    live: list[tuple[float, int, float, Outcome]] = field(default_factory=list)

    def ask(self, now: float) -> tuple[float, Outcome]:
        """Return when the answer comes, and what it is."""
        if self.is_silent(now):
            return now + 5.0, Outcome.FAILURE
        self.tokens = self.burst if self.tokens < 0 else min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if not self.is_open(now):
            return now + REFUSAL, self.refusal
        self.tokens -= 1
        self.used += 1
        self.inside += 1
        self.calls += 1
        begins = now if len(self.busy) < self.servers else max(now, heapq.heappop(self.busy))
        ends = begins + self.seconds(self.calls)
        heapq.heappush(self.busy, ends)
        return ends, Outcome.SUCCESS

    def is_open(self, now: float) -> bool:
        self.asked += 1
        if int(now // 60) != self.minute:
            self.minute, self.used = int(now // 60), 0
        if self.by_chance and self.asked % self.by_chance == 0:
            return False
        has_room = self.tokens >= 1 and self.inside < self.cap and self.used < self.window
        if (now < self.banned and self.anew) or (now >= self.banned and not has_room):
            self.banned = now + self.ban
        return has_room and now >= self.banned


@dataclass
class Played:
    """What became of a run. `starts` are the times of all calls, and `good` the times at which calls were done."""

    starts: list[float] = field(default_factory=list)
    good: list[float] = field(default_factory=list)
    refused: int = 0
    widest: int = 0


def play(
    limiter: Limiter, service: Service, until: float, *, since: float = 0.0, works: Callable[[float], bool] = lambda _now: True
) -> Played:
    """Give the limiter work without end (or while `works`) until a time. Fails if it stands still."""
    played, now, live = Played(), since, service.live
    while now < until:
        limiter_free = limiter.free(now)
        while works(now) and limiter_free != 0 and len(live) < 200:
            token = limiter.start(now)
            at, outcome = service.ask(now)
            heapq.heappush(live, (at, token, now, outcome))
            played.starts.append(now)
            played.widest = max(played.widest, len(live))
            limiter_free = limiter.free(now)
        if works(now) and limiter_free == 0:
            limiter.expect_more()
        due = limiter.next_at(now)
        assert limiter_free != 0 or due is not None or live, "neither time nor a result lets it go on"
        times = [time for time in (due, live[0][0] if live else None, None if works(now) else now + 1.0) if time is not None]
        now = max(now + 1e-6, min(times, default=until))
        while live and live[0][0] <= now:
            ended, token, began, outcome = heapq.heappop(live)
            if outcome is Outcome.SUCCESS:
                service.inside -= 1
                played.good.append(ended)
            else:
                played.refused += 1
            limiter.end(token, outcome, began, now, told=service.told(now))
    return played
