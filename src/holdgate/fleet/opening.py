"""Opening for the fleet: when the failures of several workers are one outage, and when they are not.

Each worker always opens by its own rules; this is about one that has seen less. It opens for all if its own last call has failed, and
what the others have written of theirs meets one of three rules. A worker whose last call was good never does: its own evidence is a veto.

    most have just failed   of the workers that need the dependency, seven of ten have failed last, with as many failures together as the
                            rule of `consecutive_failures` asks of three workers. In a full outage that is so after one call of each
    half have just opened   by their own rules, within two seconds: as many as `failure_rate_threshold` asks of calls
    nearly all are bad      nine of ten have failed last or have opened, within ten seconds

The first rule has to tell an outage from bad luck within a tenth of a second. At a failure rate of 0.3 the last call of a worker was bad
with a chance of 0.3. Of 20 workers 6 are bad at any moment, and 10 so often that "half" would open soon after such a minute begins;
14 are bad once in 4,000 looks, and by then what is written of single failures has become rare (marking.py). In an outage the wait for 14
instead of 10 costs a fifth of a call of each worker. A few workers are bad together much sooner, so they need more failures each.

A circuit that has been open for a while says nothing of the present: the dependency may be well, or mostly well, as it was when it opened.
So an opening counts while it is new, and no longer than until a worker that was bad has a good call (agreement.py takes its mark's time
away). At a failure rate of 0.3 twenty circuits open three times a second, and ten of them within two seconds twice a minute; but of
those that are bad somebody is good again five times a second.

The third rule is for an outage that begins so: many circuits are open when it does, and learn of it by their own probes.

Until all that is known a tenth of a second passes, in which every worker would fail once more. So a worker whose own call has just failed
stops for a moment as soon as one in five have failed just now, and nobody has had a good call after a bad one. If no outage follows, it
goes on as if nothing had been: it was a hunch, which nobody else hears of.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdgate.core.settings import CircuitSettings

# See above. With fewer, a bad minute of a dependency that mostly works would open the fleet.
MOST = 0.7

# As many failures as this many workers would need to open by themselves. Three are enough to outdo chance where workers are few, and never
# more than all together would have made.
RUNS = 3

# A worker that has failed last, and called nobody since, says less and less of the present (seconds). Ten are a call every ten seconds.
MARK_LASTS = 10.0

# In an outage circuits open within a second or two of each other. Later ones have a reason of their own.
OPENING_LASTS = 2.0


# A hunch: of the workers that need the dependency so many have failed in so short a time (seconds), none of which is good again. A tenth of
# calls that fail look like that once in ten times that it begins, and never later: then somebody is good again at any moment.
HUNCH = 0.2
JUST_NOW = 0.15

# Who stops for a hunch cannot be good again meanwhile, so more and more seem bad. So for a while (seconds) more of them must be.
NEARLY_ALL = 0.9
HUNCH_COUNTS = 0.5


@dataclass(frozen=True, slots=True)
class BadMark:
    """A worker's last word: its last `run` calls have failed. `opened`: by its own rules. Heard at `at`, in seconds of the reader.

    An `at` of minus infinity means that somebody else has had a good call since.
    """

    run: int
    opened: bool
    at: float


def is_outage(
    marks: Mapping[str, BadMark], callers: int, quorum: int, settings: CircuitSettings, now: float, *, hunched: bool = False
) -> bool:
    """Return whether the failures of several workers are an outage for all.

    `marks` are the workers whose last call was bad, by worker. `callers` is how many need the dependency, those among them included.
    `hunched`: some have stopped for a hunch lately, so that nearly all must have failed, or most of them twice.
    """
    recent = [mark for mark in marks.values() if now - mark.at <= MARK_LASTS]
    fresh = [mark for mark in recent if not mark.opened or now - mark.at <= OPENING_LASTS]
    if sum(mark.opened for mark in fresh) >= max(quorum, ceil(settings.failure_rate_threshold * callers)):
        return True
    needed = failures_needed(callers, settings)
    if len(recent) >= max(quorum, ceil(NEARLY_ALL * callers)) and sum(mark.run for mark in recent) >= needed:
        return True
    enough = 2 * needed if hunched else needed
    return len(fresh) >= max(quorum, ceil(MOST * callers)) and sum(mark.run for mark in fresh) >= enough


def is_hunch(marks: Mapping[str, BadMark], callers: int, quorum: int, settings: CircuitSettings, now: float, *, good_at: float) -> bool:
    """Return whether this may be the beginning of an outage for all. `good_at` is when a bad worker was good again last.

    Where workers are few, each must fail more than once before it is one; then a stop would only put that off.
    """
    if callers < failures_needed(callers, settings) or now - good_at <= JUST_NOW:
        return False
    return sum(now - mark.at <= JUST_NOW for mark in marks.values()) >= max(quorum, ceil(HUNCH * callers))


def failures_needed(callers: int, settings: CircuitSettings) -> int:
    """Return how many failures the workers that have failed last must have in a row, all together."""
    own = settings.minimum_calls if settings.consecutive_failures is None else settings.consecutive_failures
    return own * min(RUNS, callers)
