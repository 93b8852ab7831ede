"""The pace of a limiter: how many starts a second a service lets in, found from what it accepted between two refusals.

Theory of operation
===================

From the moment the gate opens to the next time that it opens, a token bucket is as empty at the end as at the beginning. So what was let
in over that time, the shut included, is its rate, exactly. For a fixed window the same holds as soon as the time spans one. That is how
the pace is first found: ``unsure`` until enough calls were let in.

From then on it is never measured again while all goes well, because others may draw from the same limit and one's own share is no fact
but an agreement. Nobody can speak with the others, so all follow one rule that ends in equal shares:

    climb   with time, and the less one has the more, up to about two calls a second; above that with the pace
    yield   a quarter for each refusal, and less above two calls a second, where few share: there a quarter is much and is missed long
    ramp    after 200 calls without a refusal: up, faster and faster, to see whether far more is there
    hold    while three refusals in a row show the same limit: then nobody else draws from it (sole_use.py)

A worker that is refused at a pace under the one that ramps yields, and that is proportional to how much one has: of two that share, the
larger is refused more often. One that is refused in its own ramp has its answer, and yields a quarter as much: the one that has most ramps
most, and would keep it for ever if ramps cost nothing. If the pace had doubled by then, and more calls were let in for it than a burst has,
something has changed, and it is measured again as at first.

Waste is bounded by that, and not by luck: a ramp costs one refusal or two in 200 calls, and one that has cost more is followed by as many
more calls. A climb costs one in the time in which a quarter is regained, about a minute at one call a second. Under that no climb is faster
than one quarter in ten calls.

Time without demand teaches nothing: neither climb nor ramp goes on in it, and a measurement with much of it is thrown away. So a quiet
night does not make the pace lower or higher.

Why a climb that falls with the pace, and why the share of a quarter, is in docs/explanation/limits-by-evidence.md.
"""

from __future__ import annotations

from math import floor, sqrt

from holdgate.core.sole_use import SoleUse

# A measurement is one call and a fifth of a percent under what was let in: the border of a rate is nowhere to stay.
MARGIN = 0.998

CATCH_UP = 0.1  # seconds whose starts may be made up for: an event loop that was late must not lower the pace
LONG_SHUT = 90.0  # a shut that lasted longer was a quota or an operator, and says nothing of the pace

YIELD = 0.25  # of the pace, for a refusal: less is too noisy to end in equal shares, more leaves much unused
FEW_SHARE = 2.0  # calls a second from which on less is yielded: the share falls with the root of the pace
CLIMB = 0.0037  # a second, over the root of the pace: at one call a second a quarter is regained in 68 s; ten that share are refused 2.3 %
EVENER = 0.010  # from FEW_SHARE on at least so much, times the root of the pace, as a yield is: of two that share none gains by having more
CALM = 15  # calls without a refusal before that: ten that share are refused once in forty, and by luck one of them comes over FEW_SHARE
STEEPER = 0.005  # and from eight calls a second on at least so much for each more, because a second holds more calls to pay with
REGAIN_CALLS = 10  # and never faster than what was yielded in this many calls

RAMP_CALLS = 200  # calls without a refusal before a ramp: with one refusal or two, less than a percent is wasted
USUAL_COST = 2.0  # refusals of a ramp: one that has cost more is followed by as many more calls
RAMP_SECONDS = 8.0  # and at least so long, where 200 calls are nothing
RAMP_STEP = 0.02  # the ramp's first step, as a share of the pace. It doubles each second or each four calls, whichever is longer
RAMP_SECOND = 1.0
RAMP_STARTS = 4
RAMPED = 1.1  # a refusal at this many times the pace under the ramp is the ramp's own
SHORT_OF = 1.4  # a ramp doubles its steps, so what it reached is over what is possible by less than this, unless a burst was saved up
SAVED_UP = 1.7  # times the pace a ramp may reach on what a bucket has saved up: twice in a row is looked at
RAMP_SHARE = 0.25  # of a yield, for a ramp that was refused: its refusal was its own doing, and who has most ramps most
REPAID = 2.0  # times what a ramp has used up of a burst is left out until the next one: a climb takes half of it back
CHANGED = 2.0  # and at this many times the dependency is another than it was
LUCK = 25.0  # calls over the pace that show it: fewer are a burst that was saved up, and what others happened to leave

UNSURE_STEP = 0.25  # while nothing is known the steps are larger: a first guess may be far off
FRESH = 1.0  # seconds of its rate that a bucket holds which nobody has used: most services give the burst and the rate as one number
SURE = 6  # calls that were let in from opening to opening, to believe in a measurement
EVENT = 3  # fewer between two refusals are one event, for which one yields once
GUESS_WITHIN = 2.0  # the length of a first shut that is a guess at the interval
IDLE_SHARE = 0.2  # of a measurement: with more time without demand it says nothing
FAR_OFF = 0.6  # measured to be this small a part of the pace, it has fallen: go there instead of yielding again and again

SLOWEST = 1 / 3600  # a second: one an hour, so that no lie of a service stops a worker for good
LONG_FROM = 5.0  # seconds of a shut that is no matter of the next token, if ten calls and more would have started in them
SPARE = 10.0  # calls: a bucket's burst, and what an asking call comes late
PAID = 20.0  # times what a shut has cost, before it is risked again: a twentieth of the time at most
DEAR = 60.0  # seconds of a shut that cost them all: as much is yielded as they are of a minute, up to a half
HALF = 0.5
MORE = 1.2  # times the pace was let in, a long shut counted: then it was no window that a ramp has used up early

ASLEEP = 10.0  # intervals of the pace without a start, although calls waited: a machine that slept, or a clock that jumped

DOUBLINGS = 30  # of a ramp: a billion times the pace is no limit


class LearnedPace:
    """Keep the pace. `rate` is in starts a second; None means that nothing has shown one. `experiments` counts the ramps."""

    # fmt: off
    __slots__ = (
        "_age", "_base", "_border", "_cost", "_double", "_due", "_extra", "_guessed", "_idle", "_is_banned", "_is_first", "_last", "_lost",
        "_opened", "_paced", "_refused", "_rest", "_sole_use", "_started", "_step", "_unsure", "_was_far", "experiments", "rate",
    )
    # fmt: on

    def __init__(self) -> None:
        self.rate: float | None = None
        self.experiments = 0
        self._base = 0.0  # the pace under a ramp
        self._age = 0.0  # seconds with demand since the last opening
        self._rest = 0.0  # the age at which a ramp begins
        self._step = RAMP_STEP
        self._double = RAMP_SECOND
        self._due = 0.0  # when the next call may start
        self._last = 0.0  # when the latest started
        self._opened: float | None = None  # since when is counted
        self._started = 0
        self._refused = 0
        self._idle = 0.0
        self._unsure = True
        self._is_first = True  # counted from the first start, and not from an opening
        self._guessed = False  # a first opening showed nothing
        self._paced = 0.0  # the pace that the latest start has waited for
        self._border = 0.0  # that of the first call that was refused since the last opening
        self._extra = 0.0  # calls that a ramp has started since the last opening, over what the pace under it would have
        self._cost = 0  # refusals in the last ramp
        self._lost = 0.0  # seconds that the last shut has cost: in which the pace would have started calls
        self._is_banned = False  # the last shut was long, and came sooner than a quota is used up
        self._was_far = False  # the last ramp came as far as a burst does
        self._sole_use = SoleUse()

    def free(self, now: float) -> int | None:
        """Return how many calls may start now. None means any number."""
        if self.rate is None:
            return None
        late = now - self._due
        return 1 + floor(min(late, CATCH_UP) * self.rate) if late >= 0 else 0

    def next_at(self) -> float:
        """Return when the next call may start."""
        return self._due

    def start(self, now: float, weight: int, *, is_pressed: bool) -> None:
        """Count a start. `is_pressed`: it had to wait."""
        if self._opened is None and not self._started:
            self._opened = now
        self._started += weight
        if self.rate is None:
            return
        self._paced = self.rate
        self._extra += self._over(weight)
        late = now - self._due
        if (not is_pressed and late > max(CATCH_UP, 1 / self.rate)) or now - self._last > max(LONG_SHUT, ASLEEP / self.rate):
            self._idle += late
            self._age = min(self._age, self._rest)
        else:
            self._climb(min(now - self._last, CATCH_UP + 10 / self.rate))
        self._last = now
        self._due = max(self._due, now - CATCH_UP) + weight / self.rate

    def refuse(self, weight: int) -> None:
        """Count a call that was not let in."""
        if not self._refused:
            self._border = self._paced
        self._refused += weight
        self._pay_for_ramp(weight)

    def excuse(self, weight: int) -> None:
        """Count a call that was refused by chance: it was none that shows a pace."""
        self._started -= weight
        self._extra -= self._over(weight)
        self._pay_for_ramp(weight)

    def _pay_for_ramp(self, weight: int) -> None:
        if self.rate is not None and self.rate > RAMPED * self._base:
            self._cost += weight

    def _over(self, weight: int) -> float:
        """Return how many of these calls a ramp has started over what the pace under it would have."""
        return 0.0 if self.rate is None else weight * max(0.0, 1 - self._base / self.rate)

    def reopen(self, now: float, shut_for: float, asked_at: float) -> None:
        """Judge the time since the last opening: the call that asked at `asked_at` was let in, and is counted as started."""
        self._lost = 0.0
        self._judge(now, shut_for)
        if self.rate is not None:  # the asking call is a start like any other
            self._due = max(self._due, asked_at + 1 / self.rate)

    def _judge(self, now: float, shut_for: float) -> None:
        accepted = self._started - 2 - self._refused  # without the asking call, and one less: the border itself was refused
        # Nothing is counted that shows a pace, while all calls have asked in vain, and the first time that only the asking one was let in.
        if self._opened is None or (self.rate is None and (accepted < 0 or not (accepted or self._guessed))):
            self._guess(now, shut_for)
            return
        span = now - self._opened
        busy = span - self._idle
        if shut_for > LONG_SHUT or busy <= 0 or self._idle > IDLE_SHARE * span:
            self._say_nothing(now, shut_for, span - shut_for)
            return
        measured = max(1, accepted) / busy * MARGIN
        if self.rate is not None and shut_for >= LONG_FROM and shut_for * self._base > SPARE:
            self._pay(now, shut_for, self.rate, measured)
        elif self._unsure or self.rate is None:
            self._measure(now, accepted, busy, shut_for)
        elif accepted < EVENT:
            self._last = now
        elif (limit := self._sole_limit(accepted, busy)) is not None:
            self._begin(now, limit)
        elif self.rate > RAMPED * self._base:
            self._answer(now, self.rate, measured, shut_for)
        else:
            base = max(measured / FAR_OFF * MARGIN, self._base / 2) if measured < FAR_OFF * self._base else self._base
            self._begin(now, base * (1 - _share(base)))

    def _sole_limit(self, accepted: int, busy: float) -> float | None:
        return self._sole_use.limit(self._base, self._border, (accepted + 1) / busy, in_ramp=self._age > self._rest)

    def _say_nothing(self, now: float, shut_for: float, open_for: float) -> None:
        """Go on as before: after a quota, or a time without demand.

        A quota takes longer to be used up than to come back. What is shut for long again, or before anything is known, sooner than that is
        a ban, and the pace was too quick for it.
        """
        was_banned, self._is_banned = self._is_banned, shut_for > LONG_SHUT and open_for < shut_for
        if not self._is_banned or not (was_banned or self._unsure):
            if self.rate is not None:
                self._begin(now, self._base)
        elif self.rate is not None:
            is_ramp = self.rate > RAMPED * self._base
            self._unsure = self._unsure and not is_ramp
            self._lost = 0.0 if self._unsure else shut_for
            self._begin(now, self._base * (1.0 if is_ramp else HALF))
        elif self._started - self._refused > SURE:
            self._begin(now, HALF * (self._started - self._refused) / open_for)

    def _pay(self, now: float, shut_for: float, rate: float, measured: float) -> None:
        """Judge a shut that was longer than any token takes: the rest of a window, or a ban.

        What a ramp has used up in advance explains the first. A window lets in as much as before, whatever the pace; so what was let in is
        the answer. What nothing explains was lost, and is not to be lost again soon.
        """
        base = self._base
        self._lost = max(0.0, shut_for - (self._extra + SPARE) / base)
        yielded = base * (1 - max(_share(base), min(HALF, self._lost / DEAR)))
        if rate > RAMPED * base and (self._lost > HALF * shut_for or measured > MORE * base):
            yielded = max(base, min(rate, self._border) / SHORT_OF)
        self._unsure = False
        self._begin(now, max(measured, yielded))

    def interrupt(self, now: float) -> None:
        """Begin anew, with the pace that was measured; without one nothing is known any more."""
        if self.rate is not None and not self._unsure:
            self._begin(now, self._base)
        else:
            self.rate = self._opened = None
            self._started = self._refused = 0
            self._idle = 0.0
            self._unsure = self._is_first = True
            self._guessed = False

    @property
    def base(self) -> float | None:
        """The pace without a ramp. None means that nothing has shown one, or that what has is a guess."""
        return None if self.rate is None or self._unsure else self._base

    def restore(self, now: float, pace: float) -> None:
        """Go back to a pace from which it has fallen for nothing, and look soon whether more is there: no refusal has shown a limit."""
        if pace > (self.rate or 0.0):
            self._begin(now, pace)
            self._climb_steeply()

    def _guess(self, now: float, shut_for: float) -> None:
        """Begin where nothing was counted before: the first opening of a limiter that was not active."""
        if shut_for <= GUESS_WITHIN:
            self._is_first = False
            self._begin(now, 1 / max(shut_for, CATCH_UP))
            self._climb_steeply()
        else:
            self._guessed = self._opened is not None
            self._opened, self._started, self._refused = now, 1, 0
            self._is_first = False

    def _measure(self, now: float, accepted: int, busy: float, shut_for: float) -> None:
        if accepted < SURE:
            # And measure on, over this time and the next. Of so few calls, one less would be much, and a pace that is much too low is
            # left slowly. So it falls by half at most: one call that asks in vain four times has waited for fifteen intervals.
            least = HALF * self._base if self.rate is not None else SLOWEST
            self._base = self.rate = max(least, max(1, accepted + 1) / busy * MARGIN)
            self._climb_steeply()
            self._last = now
            return
        self._unsure, self._is_first = self._is_first, False
        # It has a burst in it that had been saved up, but for what the shut has brought back.
        saved = max(0.0, FRESH - shut_for) if self._unsure else 0.0
        self._begin(now, accepted / (busy + saved) * MARGIN)
        if self._unsure and shut_for >= LONG_FROM:  # a window, or a ban: look soon which of the two
            self._rest = min(self._rest, max(RAMP_SECONDS, shut_for))
        elif self._unsure:
            self._climb_steeply()

    def _climb_steeply(self) -> None:
        """Ramp from now on, in large steps: what was found so far is a guess, and too low a one is missed for minutes."""
        self._age = self._rest = 0.0
        self._step, self._double = UNSURE_STEP, max(RAMP_SECOND, RAMP_STARTS / self._base)

    def _answer(self, now: float, rate: float, measured: float, shut_for: float) -> None:
        """Take what a ramp has shown. What it has used up of a burst is missing after it, unless the shut has brought it back.

        If two in a row came far, that was perhaps no burst: what the service lets in is measured, now that nothing is saved up.
        """
        base = self._base
        if rate > CHANGED * base and self._extra > LUCK:
            self._unsure = True
            self._begin(now, rate / CHANGED)
            return
        was_far, self._was_far = self._was_far, rate > SAVED_UP * base
        owed = REPAID * max(0.0, self._extra - shut_for * base) / RAMP_CALLS
        share = min(_share(base), RAMP_SHARE * _share(base) + owed)
        self._begin(now, max(base * (1 - share), min(measured * (1 - owed), rate / SHORT_OF)))
        if was_far and self._was_far:
            self._unsure, self._was_far = True, False
            self._climb_steeply()

    def _begin(self, now: float, base: float) -> None:
        self._base = self.rate = base = max(SLOWEST, base)
        self._opened = self._last = now
        self._started, self._refused = 1, 0
        self._idle = self._age = self._extra = 0.0
        self._due = max(self._due, now)
        self._step, self._double = RAMP_STEP, max(RAMP_SECOND, RAMP_STARTS / base)
        self._rest = max(RAMP_SECONDS, RAMP_CALLS * max(1.0, self._cost / USUAL_COST) / base, PAID * self._lost)
        self._cost = 0

    def _climb(self, took: float) -> None:
        before = self._age
        self._age += took
        base = self._base
        if not self._sole_use.holds:
            climb = min(_climb(base, self._started), YIELD * base * base / REGAIN_CALLS)
            if self._lost:
                climb = min(climb, HALF * base / (PAID * self._lost))
            self._base = base = base + took * climb
        over = self._age - self._rest
        if over <= 0:
            self.rate = base
            return
        if before <= self._rest:
            self.experiments += 1
        self.rate = base * (1 + self._step * (2 ** min(DOUBLINGS, over / self._double) - 1))


def _share(pace: float) -> float:
    """Return the share of the pace that is yielded for a refusal."""
    return YIELD / sqrt(max(1.0, pace / FEW_SHARE))


def _climb(pace: float, calm: int) -> float:
    """Return by how much the pace grows in a second, after `calm` calls without a refusal."""
    evener = EVENER * sqrt(pace) if pace > FEW_SHARE and calm >= CALM else 0.0
    return max(CLIMB / sqrt(pace), evener, STEEPER * (pace - 1))
