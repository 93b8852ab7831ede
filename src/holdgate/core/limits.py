"""What a user may set of a dependency's limits, and what a limiter shows of itself: frozen values, checked at construction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from holdgate.core import validation
from holdgate.errors import SettingsError

if TYPE_CHECKING:
    from datetime import timedelta

# No service takes more calls, and none counts over longer. A larger number is a mistake of units, which would wait for ever or overflow.
MOST_CALLS = 1_000_000_000
LONGEST_SPAN = 366 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one dependency: those that are known, and whether the rest is found out. The least of all of them holds.

    A dependency without `Limits` has the cheap form: nothing is limited until an answer is throttled, and then the rest is found out.

    - `rate`: at most this many calls start in any `per` seconds, a whole number from 1. None means that no rate is known. It is exact: no
      span of `per` seconds has more, wherever it begins. A batch counts as its messages.
    - `per`: the span of `rate`, seconds above 0, or a timedelta. For less than one call a second, give a longer one: `rate=1, per=60`.
    - `concurrency`: at most this many calls in flight, from 1: a bulkhead. None means that no number is known.
    - `adaptive`: whether rate and concurrency are found out by what the dependency answers, below what is known, and from the first call
      on. False means that only the numbers given here limit; then one of them must be given.

    Raises SettingsError, with the values that clash and the remedy.
    """

    rate: int | None = None
    per: float = 1.0  # most services write their limits by the second; with rate=None it means nothing
    concurrency: int | None = None
    adaptive: bool = True  # a limit that a service writes down is rarely the one that it has tonight

    if TYPE_CHECKING:

        def __init__(
            self, *, rate: int | None = ..., per: float | timedelta = ..., concurrency: int | None = ..., adaptive: bool = ...
        ) -> None: ...

    @property
    def pace(self) -> float | None:
        """The rate in calls a second. None means that none is known."""
        return None if self.rate is None else self.rate / self.per

    def __post_init__(self) -> None:
        object.__setattr__(self, "per", validation.seconds("limits.per", self.per))
        if self.per > LONGEST_SPAN:
            raise SettingsError(f"limits.per must be at most {LONGEST_SPAN:.0f} seconds, a year, got {self.per:g}")
        if self.rate is not None:
            _check_rate(self.rate, self.per)
        if self.concurrency is not None:
            validation.count("limits.concurrency", self.concurrency)
        if not isinstance(self.adaptive, bool):
            raise SettingsError(f"limits.adaptive must be True or False, got {self.adaptive!r}")
        if not self.adaptive and self.rate is None and self.concurrency is None:
            raise SettingsError(
                "limits.adaptive=False with rate=None and concurrency=None limits nothing: give a number, or leave limits out"
            )


def _check_rate(rate: object, per: float) -> None:
    if isinstance(rate, float) and 0 < rate < 1:
        raise SettingsError(f"limits.rate must be at least 1, got {rate!r} with per={per:g}: write rate=1, per={per / rate:g}")
    if rate == 0 and not isinstance(rate, bool):
        raise SettingsError("limits.rate must be at least 1, got 0: nothing would ever start. guard.force_open stops all calls for a time")
    if validation.count("limits.rate", rate) > MOST_CALLS:
        raise SettingsError(f"limits.rate must be at most {MOST_CALLS}, got more, with per={per:g}: leave rate out where nothing limits")


def share_of(limits: Limits, share: float) -> Limits:
    """Return the numbers of one worker that has this share of them, above 0 and up to 1.

    Of a rate that is less than one call the span is longer, up to the longest, and one call in flight is the least.
    """
    if share == 1:
        return limits
    rate, per, concurrency = limits.rate, limits.per, limits.concurrency
    if rate is not None:
        part = rate * share
        rate = max(1, int(part))
        per = min(LONGEST_SPAN, per * rate / part)
    return replace(limits, rate=rate, per=per, concurrency=None if concurrency is None else max(1, int(concurrency * share)))


@dataclass(frozen=True, slots=True)
class KeysSnapshot:
    """How many keys a dependency has, at one moment. Which ones they are stays in the process.

    - `known`: of so many something is remembered: they have failed or were throttled, or have numbers of their own.
    - `held`: so many of these are held, by their own circuit or limit.
    - `waiting`: so many messages in this process wait for them, without those behind them that have the same order key.
    - `max_keys`: so many are remembered at most.
    """

    known: int
    held: int
    waiting: int
    max_keys: int


@dataclass(frozen=True, slots=True)
class LimiterSnapshot:
    """What a limiter knows at one moment.

    - `in_flight`: the weight of the calls that have started and not ended.
    - `width`: at most this many in flight. None means that no number limits them.
    - `pace`: at most this many starts a second. None means that no rate is known.
    - `next_at`: when time alone will let the next call start. None means that one may start now, or that only a result lets it.
    - `accepted`, `refused`: the weight of the calls that were let in and that were not, since the limiter was made.
    - `experiments`: how often a higher pace or another width was tried.
    - `why`: what holds calls back now: `rate` and `concurrency` are the numbers that the user gave, `pace` and `width` those that were
      found, `throttled` and `down` a shut gate, and `free` is nothing.
    """

    in_flight: int
    width: int | None
    pace: float | None
    next_at: float | None
    accepted: int
    refused: int
    experiments: int
    why: str

    @property
    def waste(self) -> float:
        """The ratio of calls that were refused, in [0, 1]."""
        calls = self.accepted + self.refused
        return self.refused / calls if calls else 0.0
