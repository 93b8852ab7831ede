"""The limiter of one dependency: how many calls more may start now, by the numbers that a user gave and by what the answers say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdgate.core.experiments import Budget
from holdgate.core.limits import LimiterSnapshot
from holdgate.core.outcomes import Outcome, Told
from holdgate.core.pace import Pace
from holdgate.core.rate_window import RateWindow
from holdgate.core.refusal_gate import RefusalGate
from holdgate.core.told_quota import ToldQuota
from holdgate.core.width import Width

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdgate.core.limits import Limits

# A call that never ends (its task was lost) would take its place for ever. An hour is longer than any sane call, and a bulkhead that a user
# has set must not let more through because one is slow.
LEASE = 3600.0
GENTLE_AFTER = 10.0


class Call:
    """One call in flight, or a batch. `level` is the weight in flight at its start, itself included."""

    __slots__ = ("began", "level", "tag", "weight")

    def __init__(self, began: float, level: int, weight: int, tag: int) -> None:
        self.began = began
        self.level = level
        self.weight = weight
        self.tag = tag


class Limiter:
    """Say how many calls more may start, and learn from how they end. Pure: `now` is monotonic seconds, and chance comes from `draw`.

    `limits` None is the cheap form: nothing is limited, and `active` is False, until an answer is throttled. A limiter that is not active
    needs to be told of throttled results only: `start` and `end` of other calls may be left out, with `token=0` for a call that was not
    told. `start` never refuses: who calls it without asking `free` has a reason, such as a probe.
    """

    def __init__(self, limits: Limits | None, draw: Callable[[], float]) -> None:
        self._limits = limits
        self._draw = draw
        self.active = limits is not None
        self.in_flight = 0
        self._window = None if limits is None or limits.rate is None else RateWindow(limits.rate, limits.per)
        self._calls: dict[int, Call] = {}  # in flight, oldest first
        self._next = 1
        self._now = 0.0
        self._accepted = 0
        self._refused = 0
        self._cut_at = -1.0
        self._careful = 0
        self._slow = False
        self._latency = 0.0
        self._well_at = 0.0
        self._in_a_row = 0
        self._careful_at = 0.0
        self._pressed = ""
        self._why = "free"
        self._most = None if limits is None else limits.concurrency
        self._adaptive = limits is None or limits.adaptive
        self.budget = Budget()
        self.gate = RefusalGate(draw)
        self.pace = Pace()
        self.width = Width(self.budget, self._most)
        self.quota = ToldQuota()

    def free(self, now: float) -> int | None:
        """Return how many calls more may start at `now`. None means any number."""
        if not self.active:
            return None
        now = self._advance(now)
        free = self._free_of_gate(now)
        if free == 0:
            return 0
        if self.width.careful and self._careful:
            until = self._careful_until()
            if until is None or now < until:
                self._why = "careful"
                return 0
        for why, room in (
            ("width", self._room()),
            ("rate", self._window and self._window.free(now)),
            ("quota", self.quota.free(now)),
            ("pace", self.pace.free(now)),
        ):
            if room is not None and (free is None or room < free):
                free = room
                self._why = why
            if free == 0:
                return 0
        return free

    def _free_of_gate(self, now: float) -> int | None:
        gate = self.gate
        if not gate.is_shut:
            return None
        self._why = "gate"
        if gate.asking:
            until = gate.patient_until()
            if until is not None and now >= until:
                self._open(now)
                return None
            return 0
        return 1 if now >= gate.ask_at else 0

    def next_at(self, now: float) -> float | None:
        """Return when time alone may let the next call start. None means that one may start now, or that only a result lets it."""
        if self.free(now) != 0:
            return None
        now = self._now
        gate = self.gate
        if self._why == "gate":
            if gate.asking:
                return gate.patient_until()
            return gate.ask_at
        if self._why == "width":
            return None
        if self._why == "careful":
            return self._careful_until()
        if self._why == "rate":
            return self._window.next_at(now)
        if self._why == "quota":
            return self.quota.next_at()
        return self.pace.next_at()

    def start(self, now: float, weight: int = 1) -> int:
        """Count a call, or a batch of `weight`, that starts. Returns the token for `end` or `give_back`."""
        now = self._advance(now)
        self.in_flight += weight
        token = self._next
        self._next += 1
        pressed, self._pressed = self._pressed, ""
        tag = 0
        if self.active and self._adaptive:
            if self.gate.is_shut and not self.gate.asking:
                self.gate.ask(token, now)
            elif not self.gate.is_shut:
                tag = self.width.start(self.in_flight, weight, pressed == "width")
            if self.width.careful:
                self._careful, self._careful_at = token, now
            self.pace.start(now, weight, pressed == "pace" or pressed == "gate")
            self.quota.start(now, weight)
        self._calls[token] = Call(now, self.in_flight, weight, tag)
        if self._window is not None:
            self._window.start(now, weight)
        return token

    def end(self, token: int, outcome: Outcome, began: float, now: float, weight: int = 1, told: Told | None = None) -> None:
        """Learn from a call that began at `began` and ended. A token that is unknown (0, or its lease is over) frees no place."""
        now = self._advance(now)
        call = self._forget(token)
        if token == self._careful:
            self._careful = 0
        if call is None:
            call = Call(min(began, now), self.in_flight + weight, weight, 0)
        if not self._adaptive:
            return
        if told is not None:
            self.quota.tell(told, now, self.in_flight)
        if outcome is Outcome.THROTTLED or outcome is Outcome.FAILURE:
            self._refused += weight
            if outcome is Outcome.THROTTLED:
                self.active = True
            if self.active:
                self._not_let_in(token, call, now, outcome is Outcome.THROTTLED, told)
        else:
            self._accepted += weight
            if self.active:
                self._let_in(token, call, now, outcome)

    def _let_in(self, token: int, call: Call, now: float, outcome: Outcome) -> None:
        self.budget.earn(call.weight)
        self._in_a_row = 0
        self._well_at = now
        self._latency += (now - call.began - self._latency) / 32 if self._latency else now - call.began
        if self.gate.is_shut:
            if token == self.gate.asking or (self.gate.is_down and call.began >= self.gate.shut_at):
                self._open(now)
            return
        if call.began >= self._cut_at:
            self.width.accepted(call.level, call.tag if outcome is Outcome.SUCCESS else 0, now - call.began, self._pressed == "width")

    def _not_let_in(self, token: int, call: Call, now: float, throttled: bool, told: Told | None) -> None:
        gate = self.gate
        retry_after = told.retry_after if told is not None else None
        if throttled or now - call.began < 1.0:
            gate.saw_refusal(now - call.began)
        if gate.is_shut:
            self.pace.refused(call.weight)
            if token == gate.asking:
                gate.refused(now, retry_after)
            return
        self._in_a_row += 1
        self._slow = now - call.began > 4 * self._latency > 0
        if not throttled and self._in_a_row >= 5 and now - self._well_at > 2 * self._latency:
            self.width._restore()
            gate.shut(now, True, retry_after, 0.0)
            return
        if self._slow:
            self.width.careful = True
        if call.began < self._cut_at:
            self.pace.refused(call.weight)
            self.width.late(call.level)
            return
        self._cut_at = now
        if self.width.refused(call.level, throttled, self.pace.rate is not None):
            self.pace.refused(call.weight)
            return
        if throttled:
            self.pace.shut(now, call.weight)
        gate.shut(now, not throttled, retry_after, 1 / self.pace.rate if self.pace.rate else 0.0)

    def _open(self, now: float) -> None:
        gate = self.gate
        shut_for = now - gate.shut_at
        if not gate.is_down:
            self.pace.opened(now, shut_for)
        gate.open(now)
        self._cut_at = now if gate.is_down else max(self._cut_at, gate.shut_at)
        self.width.reopened(gate.is_down or shut_for > GENTLE_AFTER or self.pace.rate is None)

    def give_back(self, token: int, now: float) -> None:
        """Take back a call that never reached the dependency."""
        self._advance(now)
        if token and token == self.gate.asking:
            self.gate.asking = 0
        call = self._forget(token)
        if call is not None and self._window is not None:
            self._window.give_back(call.weight)

    def expect_more(self) -> None:
        """Note that a caller wants a slot and there is none: the limit is what bounds, and not the traffic."""
        self._pressed = self._why

    def snapshot(self, now: float) -> LimiterSnapshot:
        """Return what is known at `now`."""
        now = self._advance(now)
        free = self.free(now)
        return LimiterSnapshot(
            in_flight=self.in_flight,
            width=self.width.current,
            pace=self.pace.rate,
            next_at=self.next_at(now),
            accepted=self._accepted,
            refused=self._refused,
            experiments=self.budget.count + self.pace.count,
            why="free" if free != 0 else self._why,
        )

    def _careful_until(self) -> float | None:
        return None if self._slow else self._careful_at + 4 * self.gate._usual

    def _room(self) -> int | None:
        if not self._adaptive:
            return None if self._most is None else max(0, self._most - self.in_flight)
        return max(0, self.width.current - self.in_flight)

    def _forget(self, token: int) -> Call | None:
        call = self._calls.pop(token, None)
        if call is not None:
            self.in_flight -= call.weight
        return call

    def _advance(self, now: float) -> float:
        """Return `now`, or the latest time that was seen if the clock jumped back, and take back what never ended."""
        now = self._now = max(now, self._now)
        calls = self._calls
        while calls:
            oldest = next(iter(calls))
            if calls[oldest].began + LEASE > now:
                break
            self._forget(oldest)
        return now
