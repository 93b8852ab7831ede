"""The limiter of one dependency: how many calls more may start now, by the numbers that a user gave and by what the answers say.

Theory of operation
===================

A consumer needs no refusal: what it does not start stays in the broker, free of charge. So it can stop at the first refusal, ask with one
message, and choose when to try for more. Three controls use that, each in a file of its own, and the least of what they allow may start:

    gate   refusal_gate.py   after a refusal nothing starts. One call asks, later and later, until it is let in
    pace   pace.py           how many starts a second: found from what was accepted between two refusals
    width  width.py          how many in flight: where a refusal says "too many", or where more in flight gets no more done

Beside them: told_quota.py (the service says itself what is left, and nothing need be found out), rate_window.py (a rate that the user
gave), chance.py (refusals that are no limit's, and the tests that show it), experiments.py (what a trial of another width may cost).

This file decides what a result means, and whose it is:

- let in: the gate opens if that call had asked; the width learns what its level can do.
- throttled, at more in flight than was ever let in: that may be a cap. The width comes down by one, and the gate stays open. The next
  call starts alone, because at a rate limit it would be refused as well.
- throttled, at a level that was let in before: a rate. The gate shuts, and the pace yields; unless refusals are known to be by chance.
- failed (503, refused connection): the width decides whether that is chance or a cap. A failure is also the circuit's own matter.
- failed five times in a row, for longer than two usual calls take: down. The gate shuts, and asks seldom.
- a call that was refused was in flight, and never inside: those that began after it were let in at a lower level than it seemed.
- a result of a call that began before the last such decision is old news, and decides nothing.

A result may come in any order, and for some calls none comes at all: their places are taken back after a lease. `now` never goes back
here; while a clock that was set back catches up, time stands still.

What is ugly: `free` has the side effect that a silent asking call counts as let in after a while, because only the caller knows the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdgate.core.chance import ChanceRefusals, ChanceVerdict
from holdgate.core.experiments import Budget
from holdgate.core.limits import LimiterSnapshot
from holdgate.core.outcomes import Outcome, Told
from holdgate.core.pace import LearnedPace
from holdgate.core.rate_window import RateWindow
from holdgate.core.refusal_gate import RefusalGate
from holdgate.core.told_quota import ToldQuota
from holdgate.core.width import Width

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdgate.core.limits import Limits
    from holdgate.core.refusal_test import RefusalTest

# A call that never ends (its task was lost) would take its place for ever. An hour is longer than any sane call, and a bulkhead that a user
# has set must not let more through because one is slow.
LEASE = 3600.0

# After a shut of this many seconds calls come back one by one, doubling: who was away that long has cold caches.
GENTLE_AFTER = 10.0

# Failures in a row that mean "down", if they last for two usual calls: Envoy's number, as in the circuit, which opens by then.
DOWN_AFTER = 5
DOWN_LASTS = 2.0

# A failure that took this many times the usual latency was no refusal but a silence: until the next result nothing more is sent into it.
SILENT = 4.0

# A failure that took longer than an answer, and at least so many seconds, was decided by no service: it was given up in a queue.
SLOW = 1.0

# The usual latency is a mean over about this many calls. One that took longer than LONGEST_LATENCY (seconds) counts as so many: a machine
# that slept for a night in the middle of it must not make every outage of the next day look like a usual answer.
LATENCIES = 32
LONGEST_LATENCY = 600.0


class CallInFlight:
    """One call in flight, or a batch. `level` is the weight in flight at its start, itself included."""

    __slots__ = ("arm", "began", "level", "weight")

    def __init__(self, began: float, level: int, weight: int, arm: int = 0) -> None:
        self.began = began
        self.level = level
        self.weight = weight
        self.arm = arm  # of a trial of widths; 0 is none


class Limiter:
    """Say how many calls more may start, and learn from how they end. Pure: `now` is monotonic seconds, and chance comes from `draw`.

    `limits` None is the cheap form: nothing is limited, and `active` is False, until an answer is throttled or names its quota. While it is
    not active, `start` and `end` may be left out for all other results; `token=0` is a call that was not told. `start` never refuses:
    who calls it without asking `free` has a reason, such as a probe, and such a call asks for the gate.
    """

    # fmt: off
    __slots__ = (
        "_accepted",
        "_adaptive",
        "_alone",
        "_alone_at",
        "_alone_until_end",
        "_budget",
        "_calls",
        "_chance",
        "_cut_at",
        "_failures",
        "_gate",
        "_latency",
        "_limits",
        "_most",
        "_next",
        "_now",
        "_pace",
        "_pressed",
        "_quota",
        "_refused",
        "_started_at",
        "_well_at",
        "_why",
        "_width",
        "_window",
        "active",
        "in_flight",
    )
    # fmt: on

    def __init__(self, limits: Limits | None, draw: Callable[[], float]) -> None:
        self._limits = limits
        self.active = limits is not None
        self.in_flight = 0
        self._adaptive = limits is None or limits.adaptive
        self._most = None if limits is None else limits.concurrency
        self._window = None if limits is None or limits.rate is None else RateWindow(limits.rate, limits.per)
        self._budget = Budget()
        self._chance = ChanceRefusals(self._most)
        self._gate = RefusalGate(draw)
        self._pace = LearnedPace()
        self._width = Width(self._budget, self._most, is_sought=self.active and self._adaptive)
        self._quota = ToldQuota()
        self._calls: dict[int, CallInFlight] = {}  # in flight, oldest first
        self._next = 1
        self._now = 0.0
        self._accepted = 0
        self._refused = 0
        self._cut_at = -1.0  # calls that began before are old news
        self._latency = 0.0  # usual seconds of a call that was let in; 0 is not known
        self._started_at = 0.0  # the latest
        self._well_at = 0.0
        self._failures = 0  # in a row
        self._alone = 0  # the call that goes alone after a refusal
        self._alone_at = 0.0
        self._alone_until_end = False
        self._why = "free"
        self._pressed = ""  # what held a caller back that wanted more

    # -- before a call ----------------------------------------------------------------------------------------------------------------

    def free(self, now: float) -> int | None:
        """Return how many calls more may start at `now`. None means any number."""
        if not self.active:
            return None
        now = self._advance(now)
        self._why = "free"
        free = self._within("gate", self._free_of_gate(now), None)
        is_test = self._chance.test is not None
        if free == 0 or (not is_test and self._goes_alone(now)):
            return 0
        room = self._own_room() if is_test else self._width.room(self.in_flight)
        free = self._within("concurrency" if self._own_room() == 0 else "width", room, free)
        if not is_test and free != 0 and self._width.is_over_wall(self.in_flight) and now < self._apart_at():
            free = self._within("apart", 0, free)
        if self._window is not None:
            free = self._within("rate", self._window.free(now), free)
        free = self._within("quota", self._quota.free(now), free)
        if is_test:  # a call that waited for the pace asks too late to show anything
            return free
        return self._within("pace", self._pace.free(now), free)

    def fits(self, now: float, weight: int) -> bool:
        """Return whether a batch of `weight` may start at `now`.

        A batch that is heavier than a limit would wait for ever. It starts when a single call might and nothing else is in flight.
        """
        free = self.free(now)
        return free is None or free >= weight or (free > 0 and (self.in_flight == 0 or self._why in {"pace", "quota"}))

    def next_at(self, now: float) -> float | None:
        """Return when time alone may let the next call start. None means that one may start now, or that only a result lets it."""
        if self.free(now) != 0:
            return None
        now = self._now
        match self._why:
            case "gate":
                test = self._chance.test
                at = self._gate.next_at() if test is None else test.next_at(self._gate.patience)
            case "alone":
                at = self._alone_until()
            case "apart":
                at = self._apart_at()
            case "rate":
                at = None if self._window is None else self._window.next_at(now)
            case "quota":
                at = self._quota.next_at(now)
            case "pace":
                at = self._pace.next_at()
            case _:
                at = None
        return at

    def expect_more(self) -> None:
        """Note that a caller wants a slot and `free` was 0: the limit is what bounds, and not the traffic."""
        self._pressed = self._why

    # -- a call -----------------------------------------------------------------------------------------------------------------------

    def start(self, now: float, weight: int = 1) -> int:
        """Count a call, or a batch of `weight`, that starts. Returns the token for `end` or `give_back`, a number from 1."""
        now = self._advance(now)
        self.in_flight += weight
        token = self._next
        self._next += 1
        call = self._calls[token] = CallInFlight(now, self.in_flight, weight)
        if self.active and self._adaptive:
            self._note_start(token, call)
        if self._window is not None:
            self._window.start(now, weight)
        return token

    def _note_start(self, token: int, call: CallInFlight) -> None:
        pressed, self._pressed = self._pressed, ""
        self._started_at = call.began
        gate = self._gate
        if not gate.is_shut:
            oldest = next(iter(self._calls.values())).began
            call.arm = self._width.start(call.began, call.level, oldest, is_pressed=pressed == "width")
        elif (test := self._chance.test) is not None:
            test.start(token, call.began)
            gate.asked_at = call.began
        elif not gate.asking:
            gate.ask(token, call.began)
        if self._width.is_careful:
            self._alone, self._alone_at = token, call.began
        self._pace.start(call.began, call.weight, is_pressed=bool(pressed))
        self._quota.start(call.began, call.weight)

    def end(  # noqa: PLR0917 - one result, and all that is known of it
        self, token: int, outcome: Outcome, began: float, now: float, weight: int = 1, told: Told | None = None
    ) -> None:
        """Learn from a call that began at `began` and has ended. A token that is unknown (0, or its lease is over) frees no place."""
        now = self._advance(now)
        call = self._forget(token) or CallInFlight(min(began, now), self.in_flight + weight, weight)
        if told is not None and self._adaptive and self._quota.tell(told, now, self.in_flight, call.began):
            self.active = True
        refused = outcome is Outcome.THROTTLED or outcome is Outcome.FAILURE
        if refused:
            self._refused += call.weight
        else:
            self._accepted += call.weight
        if not self._adaptive:
            return
        if outcome is Outcome.THROTTLED and not self._width.is_sought:
            self.active = True
            self._width.seek(call.level)
        if refused and self.active:
            self._not_let_in(token, call, now, told if outcome is Outcome.THROTTLED else None, outcome is Outcome.THROTTLED)
        elif self.active:
            self._let_in(token, call, now, outcome is Outcome.SUCCESS)

    def give_back(self, token: int, now: float) -> None:
        """Take back a call that never reached the dependency, or whose end nobody knows."""
        self._advance(now)
        call = self._forget(token)
        if call is not None and self._window is not None:
            self._window.give_back(call.weight)
        if self._chance.test is not None:
            self._chance.test.take_back(token)

    def is_silence(self, took: float) -> bool:
        """Return whether a failure that took so many seconds was no refusal, because no answer takes so long. False if nothing is known."""
        return took > SILENT * self._latency > 0

    def interrupt(self, now: float) -> None:
        """Leave it to the circuit, which has opened, when to ask: the gate opens, and what is measured beside an outage is thrown away.

        The width stays as it was found: too many at a time is a failure of some dependencies, too. So does a pace that was measured.
        """
        now = self._advance(now)
        if not self._adaptive:
            return
        if self._gate.is_shut:
            self._gate.open(now)
        self._chance.test = None
        self._pace.interrupt(now)

    # -- what a result means ----------------------------------------------------------------------------------------------------------

    def _let_in(self, token: int, call: CallInFlight, now: float, is_success: bool) -> None:
        took = now - call.began
        self._budget.earn(call.weight)
        self._chance.let_in()
        self._failures = 0
        self._well_at = now
        counted = min(took, LONGEST_LATENCY)
        self._latency += (counted - self._latency) / LATENCIES if self._latency else counted
        gate = self._gate
        if gate.is_shut:
            if self._chance.test is not None:
                self._answer(self._chance.test, token, now, was_let_in=True)
            elif token == gate.asked or (gate.is_down and call.began >= gate.shut_at):
                self._open(now)
        elif call.began >= self._cut_at:
            level = call.level if call.level <= self._width.passed else call.level - self._unanswered(token, now)
            self._width.accept(level, call.arm if is_success else 0, took)

    def _not_let_in(self, token: int, call: CallInFlight, now: float, told: Told | None, is_throttled: bool) -> None:
        took = now - call.began
        gate = self._gate
        retry_after = None if told is None else self._quota.in_seconds(told)
        is_silent = self.is_silence(took)
        if is_throttled or not is_silent:
            gate.learn(took)
            self._was_never_inside(token, call.weight)
        if gate.is_shut:
            self._pace.refuse(call.weight)
            self._refuse_asking(token, now, retry_after)
            return
        if is_throttled and retry_after is None and self._chance.refuse():
            self._pace.excuse(call.weight)
            self._width.excuse(call.arm)
            return
        self._pace.refuse(call.weight)
        self._failures += 1
        if not is_throttled and self._failures >= DOWN_AFTER and now - self._well_at > DOWN_LASTS * self._latency:
            self._width.restore()
            gate.shut(now, is_down=True)
            return
        self._alone_until_end = is_silent
        if is_silent:
            self._width.is_careful = True
        if call.began < self._cut_at:
            self._width.lower(call.level)
            return
        self._judge(call, now, retry_after, is_throttled)

    def _judge(self, call: CallInFlight, now: float, retry_after: float | None, is_throttled: bool) -> None:
        """Decide whether a refusal is a matter of width, of pace, or of chance."""
        before = self._width.current
        is_slow = now - call.began >= max(self._latency, SLOW) and not is_throttled
        is_width = self._width.refuse(call.level, call.arm, is_throttled, is_slow=is_slow)
        if not is_width:
            self._gate.shut(now, is_down=False, retry_after=retry_after, pace=self._pace.rate)
            if retry_after is None:
                self._chance.consider(now, self._pace.base)
        if not is_width or self._width.current != before:  # not by chance: what began before is old news
            self._cut_at = now

    def _refuse_asking(self, token: int, now: float, retry_after: float | None) -> None:
        if self._chance.test is not None:
            self._answer(self._chance.test, token, now, was_let_in=False)
        elif token == self._gate.asked:
            self._gate.refuse(now, retry_after)

    def _unanswered(self, token: int, now: float) -> int:
        """Return the weight of calls before this one that may still be refused: they may have been in flight, and never inside."""
        since = now - self._gate.patience
        return sum(call.weight for other, call in self._calls.items() if other < token and call.began > since)

    def _was_never_inside(self, token: int, weight: int) -> None:
        """Take a call that was refused out of the levels of those that began after it."""
        for other in reversed(self._calls):
            if other < token or not token:
                return
            self._calls[other].level -= weight

    def _answer(self, test: RefusalTest, token: int, now: float, *, was_let_in: bool) -> None:
        """Take a result while a test runs, and judge the test if that was the last."""
        test.end(token, was_let_in=was_let_in)
        if test.is_over(now, self._gate.patience):
            self._conclude(test, now)

    def _conclude(self, test: RefusalTest, now: float) -> None:
        verdict = self._chance.conclude(test)
        if verdict is not ChanceVerdict.LIMIT and test.let_in:
            self._open(now, is_chance=verdict is ChanceVerdict.CHANCE)
        elif test.asked:
            self._gate.refuse(now, None)

    def _open(self, now: float, *, is_chance: bool = False) -> None:
        gate = self._gate
        shut_for = now - gate.shut_at
        self._chance.test = None
        if is_chance:
            self._pace.restore(now, self._chance.best)
        elif not gate.is_down:
            self._pace.reopen(now, shut_for, gate.asked_at)
        self._width.reopen(is_gentle=gate.is_down or shut_for > GENTLE_AFTER or self._pace.rate is None)
        self._cut_at = max(self._cut_at, now if gate.is_down else gate.shut_at)
        gate.open(now)

    # -- what bounds ------------------------------------------------------------------------------------------------------------------

    def _within(self, why: str, room: int | None, free: int | None) -> int | None:
        if room is None or (free is not None and free <= room):
            return free
        self._why = why
        return room

    def _free_of_gate(self, now: float) -> int | None:
        gate, test = self._gate, self._chance.test
        if test is not None:
            if not test.is_over(now, gate.patience):
                return test.free(now)
            self._conclude(test, now)
        elif gate.is_shut and gate.is_patience_over(now):
            self._open(now)
        return gate.free(now)

    def _goes_alone(self, now: float) -> bool:
        """Return whether the call that went alone after a refusal is still to be waited for."""
        if not self._width.is_careful or not self._alone:
            return False
        until = self._alone_until()
        if until is not None and now >= until:
            return False
        self._why = "alone"
        return True

    def _alone_until(self) -> float | None:
        return None if self._alone_until_end else self._alone_at + self._gate.patience

    def _apart_at(self) -> float:
        """Return when a call may start that tries the wall: in the midst of the others, because a rate without a burst refuses the one of
        two that start together, however few are in flight.
        """
        return self._started_at + self._latency / (self.in_flight + 1)

    def _own_room(self) -> int | None:
        return None if self._most is None else max(0, self._most - self.in_flight)

    # -- time -------------------------------------------------------------------------------------------------------------------------

    def _forget(self, token: int) -> CallInFlight | None:
        call = self._calls.pop(token, None)
        if call is not None:
            self.in_flight -= call.weight
        if token and token == self._alone:
            self._alone = 0
        self._gate.forget(token)
        return call

    def _advance(self, now: float) -> float:
        """Return `now`, or the latest time that was seen if the clock was set back, and take back what never ended."""
        now = self._now = max(now, self._now)
        calls = self._calls
        while calls:
            oldest = next(iter(calls))
            if calls[oldest].began + LEASE > now:
                break
            self._forget(oldest)
        return now

    def snapshot(self, now: float) -> LimiterSnapshot:
        """Return what is known at `now`."""
        free = self.free(now)
        paces = [
            pace for pace in (self._pace.rate, self._quota.rate, None if self._limits is None else self._limits.pace) if pace is not None
        ]
        return LimiterSnapshot(
            in_flight=self.in_flight,
            width=self._width.current if self._adaptive else self._most,
            pace=min(paces, default=None),
            next_at=self.next_at(now),
            accepted=self._accepted,
            refused=self._refused,
            experiments=self._budget.count + self._pace.experiments,
            why="free" if free != 0 else "down" if self._why == "gate" and self._gate.is_down else _WHY.get(self._why, self._why),
        )


_WHY = {"gate": "throttled", "alone": "throttled", "apart": "width", "quota": "pace"}
