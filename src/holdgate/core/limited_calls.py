"""The calls of one circuit as its limiter counts them, and whether it limits them now.

A circuit asks two questions before each call: is the dependency there (its own rules), and does it take so many (the limiter's). This file
keeps the second question apart. A limiter counts a call from its start to its end, and gives a token for that. The permit of a call knows
nothing of tokens, so that nothing is stored, added or compared for a call while nothing is limited. Four things follow:

- *Begin.* A dependency that nobody has given numbers for gets its limiter with the first answer that says something of a limit. What is in
  flight then has no token, and the limiter hears of its end alone.
- *Late results.* A permit of an older generation decides nothing for the circuit. For the limiter its call ran all the same, and has ended.
- *Overrides.* With one of them in force nothing is limited. Under METRICS_ONLY the calls are counted apart (observed.py), so that it can be
  said what would be let through, and what the limiter knew is forgotten when that ends: it was not asked meanwhile. Under DISABLED nothing
  is recorded.
- *Calls that wait.* Call forms that wait in a handler (runtime/slots.py) come before messages that have not begun, because what a handler
  occupies while it waits, a message in an inbox does not. So many slots are kept for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from holdgate.core.limiter import Limiter
from holdgate.core.limits import share_of
from holdgate.core.observed import ObservedCalls
from holdgate.core.outcomes import Outcome
from holdgate.core.permits import SETTLED, issue
from holdgate.core.states import Override, Rejected
from holdgate.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from holdgate.core.limits import LimiterSnapshot, Limits
    from holdgate.core.outcomes import Told
    from holdgate.core.permits import Permit
    from holdgate.core.states import State


# A timer may fire earlier by the clock's resolution, and a sum of seconds may be rounded down. What is set anew for the same moment, and
# finds nothing, would be set for ever (seconds).
_TICK = 1e-6

# Instead of a token: the limiter knows already how the call of this message has ended.
_TOLD = -1
# A call that has started before the limiter: no token of its own.
_UNTOLD = -2
# A call that no limiter has a token for, because an operator observes.
_OBSERVED = 0


class LimitedCalls:
    """The calls of one circuit that its limiter counts.

    `active` is whether it limits them now; the circuit looks at nothing else before it asks. `counts` is whether it sees them, also if an
    override lets them all through. `waiting` are the calls in handlers for which slots are kept.
    """

    __slots__ = (
        *("_called", "_draw", "_limiter", "_limits", "_observed", "_override", "_share", "_tokens"),
        *("active", "counts", "shared", "waiting"),
    )

    def __init__(self, limits: Limits | None, draw: Callable[[], float]) -> None:
        self._limits = limits
        self._draw = draw
        self._override: Override | None = None
        self._share = 1.0
        self.shared: Callable[[float, float], object] | None = None  # what else has numbers: the keys of a dependency
        self._limiter = None if limits is None else Limiter(limits, draw)
        self._observed: ObservedCalls | None = None  # while an operator observes it
        self._tokens: dict[Permit, int] = {}
        self._called: set[Permit] = set()  # of messages whose handler makes a call by a call form, or has made one
        self.waiting = 0
        self.active = self.counts = False
        self._look()

    # -- before a call ----------------------------------------------------------------------------------------------------------------

    def free(self, now: float) -> int | None:
        """Return how much more weight may start now. None means no limit."""
        free = self._limiter.free(now) if self.active and self._limiter is not None else None
        return None if free is None else max(0, free - self.waiting)

    def has_slot(self, now: float) -> bool:
        """Return whether a call may start that waits for a slot, and for which one is kept."""
        return not self.active or self._limiter is None or self._limiter.free(now) != 0

    def within(self, own: int | None, now: float) -> int | None:
        """Return the lesser of a number that the circuit admits and what is free here. None means no limit."""
        free = self.free(now)
        return own if free is None else free if own is None else min(own, free)

    def next_at(self, now: float) -> float | None:
        """Return when time alone may free a slot. None means that only a result does, or that one is free."""
        at = self._limiter.next_at(now) if self.active and self._limiter is not None else None
        return None if at is None else max(at, now + _TICK)

    def refusal(self, now: float, weight: int, state: State) -> Rejected | None:
        """Return the refusal of a call for which there is no room now, and note that more calls wait than may start."""
        free = self.free(now)
        if free is None or free >= weight or (not self.waiting and self._limiter is not None and self._limiter.fits(now, weight)):
            return None
        self.expect_more()
        return Rejected(self.next_at(now), state, is_limited=True)

    def expect_more(self) -> None:
        """Note that more calls wait than may start."""
        if self.active and self._limiter is not None:
            self._limiter.expect_more()

    # -- a call -----------------------------------------------------------------------------------------------------------------------

    def start(self, permit: Permit, now: float) -> None:
        """Count a call that starts."""
        if not self.counts:
            return
        if self._observed is not None:
            self._observed.start(now, permit.weight)
            self._tokens[permit] = _OBSERVED
        else:
            limiter = cast("Limiter", self._limiter)  # without one and unobserved, nothing counts
            self._tokens[permit] = limiter.start(now, permit.weight)

    def end(self, permit: Permit, outcome: Outcome, now: float, told: Told | None) -> bool:
        """Count the end of a call, late or not. Returns True if that begins the limiting."""
        if self._observed is not None:
            return self._observe_end(self._observed, permit, outcome, now, told)
        if self._limiter is None:
            if outcome is not Outcome.THROTTLED and told is None:
                return False
            self._limiter = Limiter(self._limits, self._draw)
        if permit.standing == SETTLED or self._override is Override.DISABLED:
            return False
        token = self._tokens.pop(permit, _UNTOLD)
        if token == _TOLD:
            self._called.discard(permit)
            return False
        self._limiter.end(token, outcome, permit.acquired_at, now, permit.weight, told)
        return self._look()

    def _observe_end(self, observed: ObservedCalls, permit: Permit, outcome: Outcome, now: float, told: Told | None) -> bool:
        """Do the same while an operator observes."""
        if permit.standing == SETTLED:
            return False
        token = self._tokens.pop(permit, _UNTOLD)
        if token == _TOLD:
            self._called.discard(permit)
            return False
        observed.end(outcome, now, permit.weight, told)
        return self._look()

    def give_back(self, permit: Permit, now: float) -> None:
        """Forget a call that was never made, or whose end nobody knows."""
        self._called.discard(permit)
        token = self._tokens.pop(permit, _TOLD)
        if self._observed is not None and token != _TOLD:
            self._observed.leave(permit.weight)
        elif token != _TOLD and self._limiter is not None:
            self._limiter.give_back(token, now)

    def interrupt(self, now: float) -> None:
        """Leave it to the circuit from now on when to ask and how fast to come back: it has opened."""
        if self._limiter is not None:
            self._limiter.interrupt(now)

    # -- calls in a handler -----------------------------------------------------------------------------------------------------------

    def slot(self, held: Permit, now: float, state: State) -> Permit | Rejected:
        """Return what a call counts by in a handler whose message holds a permit, or the refusal.

        The first call is what the message has started for. Each other one starts by itself: a message that calls three times is three
        calls. The permits of a batch stand for all of its calls.
        """
        if held.weight > 1 or (held not in self._called and self._tokens.get(held, _TOLD) != _TOLD):
            self._called.add(held)
            return held
        refusal = self.refusal(now, 1, state)
        if refusal is not None:
            return refusal
        permit = issue(held.generation, now, 1)
        self.start(permit, now)
        return permit

    def slot_ended(self, slot: Permit, outcome: Outcome | None, now: float, told: Told | None) -> None:
        """Count the end of such a call. None means that nobody knows how it ended. The circuit judges the end of the handler instead."""
        if slot.weight > 1:
            return
        is_the_first = slot in self._called
        self.end(slot, outcome or Outcome.IGNORED, now, told)
        if is_the_first:  # the end of the handler is not another call
            self._tokens[slot] = _TOLD

    # -- what a person or a program decides -------------------------------------------------------------------------------------------

    def is_silence(self, took: float) -> bool:
        """Return whether a failure that took so many seconds was no refusal, because no answer takes so long. False if nothing is known."""
        return self.active and self.learns and self._limiter is not None and self._limiter.is_silence(took)

    def overridden(self, override: Override | None, now: float) -> bool:
        """Note what an operator has laid over the circuit. Returns whether calls are limited under it."""
        self._override = override
        is_observed = override is Override.METRICS_ONLY
        if is_observed and self._observed is None:
            is_limited = self._limiter is not None and self._limiter.active
            self._observed = ObservedCalls(sum(permit.weight for permit in self._in_flight()), is_limited=is_limited)
        elif self._observed is not None and not is_observed:
            self._observed = None
            self._begin_anew(self._in_flight(), now)
        self._look()
        return self.active

    def _in_flight(self) -> list[Permit]:
        """Return the calls that run, as far as they are counted."""
        return [permit for permit, token in self._tokens.items() if token != _TOLD]

    def replace(self, limits: Limits | None, in_flight: Iterable[Permit], now: float) -> None:
        """Go on by other limits. What was learned is forgotten; what is in flight counts."""
        self._limits = limits
        self._called.clear()
        if self._observed is not None:
            self._observed = ObservedCalls(0, is_limited=limits is not None)
        self._begin_anew(in_flight, now)

    def _begin_anew(self, in_flight: Iterable[Permit], now: float) -> None:
        self._limiter = None if self._limits is None else Limiter(share_of(self._limits, self._share), self._draw)
        self._tokens.clear()
        self._look()
        for permit in in_flight:
            self.start(permit, now)

    def set_share(self, share: float, now: float) -> None:
        """Take this share of the numbers that somebody has set, above 0 and up to 1: so many others use the dependency by the same ones.

        Of a dependency with keys it is the share of each key's numbers. What is found out is this worker's own part anyway. Raises
        SettingsError.
        """
        if isinstance(share, bool) or not isinstance(cast("object", share), int | float) or not 0 < share <= 1:
            raise SettingsError(f"share must be a number above 0 and up to 1, got {share!r}: the part of one worker of twenty is 1 / 20")
        self._share = share
        if self._limits is not None:
            self.replace(self._limits, tuple(self._tokens), now)
        if self.shared is not None:
            self.shared(share, now)

    @property
    def is_observed(self) -> bool:
        """Whether an operator observes it, and nothing is held back. A message that is refused again is one more refusal then."""
        return self._observed is not None

    @property
    def learns(self) -> bool:
        """Whether a throttled answer moves the limit. Otherwise the numbers that somebody has set are all that limits."""
        return self._limits is None or self._limits.adaptive

    def found_in(self, seen: LimiterSnapshot) -> tuple[float | None, int | None]:
        """Return the pace and the width that limit by what was found, and not by what somebody has set. None means that there is none."""
        if not self.learns:
            return None, None
        limits = self._own_limits()
        given = (None, None) if limits is None else (limits.pace, limits.concurrency)
        pace = seen.pace if _is_lower(seen.pace, given[0]) else None
        return pace, seen.width if _is_lower(seen.width, given[1]) else None

    def _look(self) -> bool:
        before = self.counts
        is_active = self._observed.is_limited if self._observed is not None else self._limiter is not None and self._limiter.active
        self.active = is_active and self._override is None
        self.counts = is_active and self._override is not Override.DISABLED
        return self.counts is not before

    def snapshot(self, now: float) -> LimiterSnapshot | None:
        """Return what the limiter has found, also while it does not act. None means that nothing is known of a limit."""
        if self._observed is not None:
            return self._observed.snapshot(self._own_limits()) if self._observed.is_limited else None
        return None if self._limiter is None or not self._limiter.active else self._limiter.snapshot(now)

    def _own_limits(self) -> Limits | None:
        """Return this worker's part of the numbers that somebody has set."""
        return None if self._limits is None else share_of(self._limits, self._share)


def _is_lower(found: float | None, given: float | None) -> bool:
    return found is not None and (given is None or found < given)
