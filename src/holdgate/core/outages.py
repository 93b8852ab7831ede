"""One outage: how long it has lasted and how often it came back too soon, and from both when to ask next and how carefully to resume.

Theory of operation
===================

An outage begins when a circuit opens from CLOSED, and ends when it is CLOSED again.

    how often to ask     follows the age of this outage. After `a` seconds the next wait is `open_share * a`, at least `open_duration` and
                         at most `open_duration_max`. So the last wait adds a fixed share to any outage, and no worker is three minutes late
                         for an outage of one
    how carefully to     follows the level. It is 1 in an outage that comes after health. A relapse is an outage that comes sooner than one
    resume               `healthy_interval` after the one before: it raises the level, and the next ramp begins lower and climbs slower

A failed probe does not raise the level: how long the dependency is down says nothing about how it will return. After a relapse it does,
and then a level multiplies the wait, too. Otherwise a dependency that flaps (well for five seconds, down for twenty) would be asked every
few seconds for ever, because each of its outages is young.

The race that the wait is measured for: a probe is sent, the dependency hangs, and the probe is given up five seconds later. It says how the
dependency was when it was sent. So the wait begins then; what is left of it when the answer comes is all that is still to be waited. A
twentieth of the wait is always left, so that a dependency that hangs is not asked without a pause.

If `open_multiplier` is given, the usual rule holds instead: every opening raises the level, and a level multiplies the wait, which begins
when the circuit opens. Then no ramp is slowed, because a long outage raises the level as well.

Everything here is a value or a function that returns one. circuit.py keeps the `Outage`, and puts the next one in place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from holdgate.core.settings import CircuitSettings

# What is left of a wait at least when a probe has taken long. A twentieth of the first wait is 0.2 seconds: a probe that hangs for five
# seconds delays the next by next to nothing, and still leaves room for whatever else the worker has to do.
LEAST_REST = 0.05

# What a level multiplies the wait by after a relapse: 14, 56 and 224 seconds, then the maximum. The first return of a dependency that
# flaps is met in any case, which a slower rule mostly misses; with a factor of four it is called no more often in an hour than with Envoy's
# doubling from the first failure on (docs/reference/benchmarks.md).
RELAPSE_MULTIPLIER = 4.0

# After a probe that hung, with limits: the wait grows from one second to twenty, as that of a limiter's gate. A probe that hangs for five
# seconds is then one in 25, and a silence of ten minutes costs less than five calls a minute, those in flight at its beginning included.
# From ten minutes on it is a thirtieth of the age: in an hour that ends a day of silence nobody needs the minute.
SILENT_GROWTH = 1.7
SILENT_MOST = 20.0
SILENT_SHARE = 1 / 30

# More relapses make a ramp no slower: at four it takes about twenty seconds, and each is forgotten in one healthy interval.
MOST_RELAPSES = 4


@dataclass(frozen=True, slots=True)
class Outage:
    """What a circuit remembers of its outage, and of those before it.

    - `since`: the monotonic second at which it opened. None means that there is no outage.
    - `probes`: how often a wait of this outage has ended, so that a probe could be made.
    - `level`: how much went wrong lately. It falls by one per healthy interval.
    """

    since: float | None = None
    probes: int = 0
    level: int = 0

    def asked(self) -> Outage:
        """Return the outage after one more wait has ended."""
        return replace(self, probes=self.probes + 1)

    def closed(self) -> Outage:
        """Return what is left of it when the circuit closes."""
        return Outage(level=self.level)

    def healthy_for(self, seconds: float, settings: CircuitSettings) -> Outage:
        """Return what is left of it after so many seconds of unbroken CLOSED."""
        intervals = max(0, int(seconds / settings.healthy_interval))
        return replace(self, level=max(0, self.level - intervals))

    def begun(self, now: float) -> Outage:
        """Return the outage after the circuit has opened because somebody asked for it: the level stays."""
        return self if self.since is not None else replace(self, since=now)

    def opened(self, now: float, settings: CircuitSettings) -> Outage:
        """Return the outage after the circuit has opened at `now` because of what calls showed."""
        is_first = self.since is None or not self.level
        rises = is_first or self.level > 1 or settings.open_multiplier is not None
        return replace(self.begun(now), level=level_raised(settings, self.level) if rises else self.level)

    def relapses(self, settings: CircuitSettings) -> int:
        """Return how many relapses the next ramp has to heed."""
        return 0 if settings.open_multiplier is not None else min(MOST_RELAPSES, max(0, self.level - 1))


def middle_draw() -> float:
    """Return the middle of the jitter's range, so that without a source of chance the waits are what the settings say."""
    return 0.5


class Asked(NamedTuple):
    """What a wait follows from, beside the settings: when the call was made that opened, when the circuit opened, and chance in [0, 1).

    `is_silence`: that call took longer than any answer does. False means that it did not, or that nobody knows.
    """

    asked: float
    opened: float
    drawn: float
    is_silence: bool = False


def opened_until(settings: CircuitSettings, outage: Outage, asked: Asked) -> float:
    """Return until when a circuit stays open after what was asked."""
    if asked.is_silence and outage.level == 1 and settings.open_multiplier is None:
        return _silent_until(settings, outage, asked)
    jitter = 1 - settings.open_jitter + 2 * settings.open_jitter * asked.drawn
    nominal = level_wait(settings, max(1, outage.level))  # 0: a fleet has opened it, and no call of its own
    if settings.open_multiplier is None and outage.since is not None:
        nominal = max(nominal, settings.open_share * (asked.asked - outage.since))
    wait = min(settings.open_duration_max, nominal * jitter)  # the cap comes last: jitter never makes a wait longer than the maximum
    if settings.open_multiplier is not None:
        return asked.opened + wait
    return max(asked.asked + wait, asked.opened + LEAST_REST * wait)


def _silent_until(settings: CircuitSettings, outage: Outage, asked: Asked) -> float:
    """Return the same for a probe that has hung, where a limiter knows how long an answer takes. The wait begins when it was given up.

    Each such probe costs a slot and seconds, so they come further apart from the start. Later on they come closer than a tenth of the
    outage's age: a limiter that has stood still for ten minutes has all of its backlog to catch up with.
    """
    age = 0.0 if outage.since is None else asked.opened - outage.since
    longest = max(SILENT_MOST, SILENT_SHARE * age, settings.open_duration)
    nominal = min(longest, max(settings.open_duration, SILENT_GROWTH**outage.probes))
    jitter = 1 - settings.open_jitter + 2 * settings.open_jitter * asked.drawn
    return asked.opened + min(settings.open_duration_max, nominal * jitter)


def open_anew_until(settings: CircuitSettings, outage: Outage, asked: Asked | None, until: float, now: float) -> float:
    """Return until when a circuit stays open whose settings have changed in its wait, which was to end at `until`.

    `asked` of None means that a server or the program asked for the wait. It is none of the settings', so it is only clamped.
    """
    return min(until, now + settings.retry_after_max) if asked is None else opened_until(settings, outage, asked)


def level_wait(settings: CircuitSettings, level: int) -> float:
    """Return the wait of a level, from 1, without jitter and cap. Where waits follow the age, it is the shortest one of this level."""
    multiplier = RELAPSE_MULTIPLIER if settings.open_multiplier is None else settings.open_multiplier
    return settings.open_duration * multiplier ** (level - 1)


def level_raised(settings: CircuitSettings, level: int) -> int:
    """Return the level after one more.

    It stops at the first level whose wait reaches the maximum. A higher one would wait no longer, but take longer to be forgotten.
    """
    if level > 0 and level_wait(settings, level) >= settings.open_duration_max:
        return level
    return level + 1


def requested_wait(retry_after: float | None, settings: CircuitSettings) -> float | None:
    """Return how long a server is left alone that asks for it. None means that it does not."""
    # A server may send anything. The comparison is false for NaN, too.
    return min(retry_after, settings.retry_after_max) if retry_after is not None and retry_after > 0 else None
