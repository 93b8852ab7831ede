"""One circuit: whether a call may be made now, and what the results of calls mean.

Theory of operation
===================

A circuit is a state, an override over it, and a generation.

    state       CLOSED, OPEN or HALF_OPEN. Every change is a row of the table in states.py. The row is looked up first; a pair without a
                row raises, and nothing has changed. Then what the new state needs is computed, and `_swap` puts it in place.
    override    what an operator has laid over the state. It is not a state, so the state below stays readable, and work goes on from it.
    generation  the number of swaps: transitions, overrides and resets. A permit keeps the generation in which it was issued.

The race that the generation is for: a call is admitted while the circuit is CLOSED, and hangs. Others fail, the circuit opens, waits, and
becomes HALF_OPEN with one probe in flight. Now the old call returns. A circuit that counted its success would close, though the probe has
not answered; one that counted its end would admit a second probe. Here the permit is of an older generation, so the result is counted as
late and changes nothing else.

The live permits of this generation are a dict in the order in which they were issued. It is the only account of what is in flight: no
other code can miscount it, the oldest permit is its first key, and a swap forgets all of it in one step. A permit that becomes slow in
flight moves to `evidence.overdue`.
`limits` asks a limiter how many calls the dependency takes, and a call needs room in both: in it, and in the ramp of a half-open. While the
limiter limits, each call goes the long way; before that, none is looked at.

Nothing happens by itself. Time is an argument. What time alone decides (a wait is over, a lease has ended, a stage is old, calls in flight
have become slow) happens in `advance`, which `try_acquire` runs, and which a half-open runs before every result. `next_deadline` returns
when that will be. A time before the last one seen is replaced by the last one seen.

The decisions are elsewhere: evidence.py decides in CLOSED, ramp.py in HALF_OPEN, and outages.py how long OPEN lasts. They return values,
and the circuit acts on them. The only user code that it runs is `draw`, before anything has changed.

What is ugly: the usual case (CLOSED, no override, a good and quick call) is spelled out six times: see the comment above `__slots__`.
"""

from __future__ import annotations

from collections import deque
from itertools import chain
from math import inf
from typing import TYPE_CHECKING, cast

from holdgate.core import events, validation
from holdgate.core.evidence import Evidence
from holdgate.core.following import Following
from holdgate.core.guided import Guidable
from holdgate.core.limited_calls import LimitedCalls
from holdgate.core.outages import Asked, Outage, middle_draw, open_anew_until, opened_until, requested_wait, silent_until
from holdgate.core.outcomes import Outcome
from holdgate.core.ramp import FULL_ALONE, HalfOpen, Ramp
from holdgate.core.readings import CircuitSnapshot, snapshot_of, totals_of
from holdgate.core.settings import CircuitSettings
from holdgate.core.states import (
    EXPIRED,
    LIVE,
    SETTLED,
    Breach,
    Override,
    Permit,
    Reason,
    Rejected,
    State,
    Trigger,
    issue,
    transition,
)
from holdgate.core.totals import CircuitTotals
from holdgate.core.windows import GOOD
from holdgate.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdgate.core.limits import Limits
    from holdgate.core.outcomes import Told
    from holdgate.core.ramp import Step


# Past this many pending events the oldest are dropped: events that are never taken must not fill the memory of a worker that runs for
# months. A transition emits a handful, so these are hundreds of transitions.
EVENTS_KEPT = 1024

_DEFAULTS = CircuitSettings()
_SUCCESS = Outcome.SUCCESS
_NO_ROOM = Rejected(None, State.HALF_OPEN)


class Circuit(Guidable):
    """Decide whether a call to one dependency may be made now.

    `state`, `override`, `generation` and `events_pending` (what `take_events` would return) are for reading. Must be used from one thread
    at a time.

    - `name`: the label of the circuit in logs, events and metrics.
    - `settings`: when the circuit opens, for how long, and how it comes back.
    - `now`: the monotonic second of its creation. Every `now` must come from the same clock.
    - `draw`: returns a number in [0, 1) for the jitter of a wait. The default returns the middle, which is no jitter: pass `random.random`
      if several workers must not come back in step.
    - `limits`: how many calls the dependency takes. None means that nothing limits them until an answer is THROTTLED.

    Raises SettingsError unless `name` is a str and `settings` are CircuitSettings.
    """

    # The usual case runs once per message or call, and so is spelled out six times. Whoever changes one looks at all; each is compared
    # with the way that it shortens, in the tests named here. A seventh is not worth its price.
    #     record, and try_acquire before it    tests/core/test_circuit_model.py
    #     renew                                tests/core/test_circuit_renew.py
    #     two wrappers in runtime/guarded.py   tests/runtime/test_guarded.py
    #     Engine.pass_on                       tests/flow/test_engine_passing_on.py
    #     record_successes in flow/fate.py     tests/flow/test_fate.py
    #
    # The wrappers read and write these, by contract, so they have no underscore; no other file may use them:
    #
    #     latest        the last time seen. guarded.py may only admit with `latest <= now`, and must set it then
    #     plain_until   before this time a call is admitted without a look at anything else (CLOSED, no override, nothing overdue)
    #     refuse_until, rejection, rejected   before this time a call is refused, on any thread, with this object, and counted here
    #     live          the permits in flight, in the order of issue. guarded.py adds its permit, and deletes it
    #     evidence      `quick`, `quick_seconds` and `in_a_row`, and of its `window` `clean_until` and `goods`: what a good result changes

    # fmt: off
    __slots__ = (
        "_closed_since", "_draw", "_full", "_given_full", "_half_open", "_is_plain", "_is_reported", "_outage",
        "events_pending", "evidence", "generation", "late_results", "latest", "limits", "live", "name", "plain_until", "refuse_until",
        "rejected", "rejection", "settings", "settled_twice", "state", "totals",
    )
    # fmt: on

    state: State
    generation: int
    evidence: Evidence
    settings: CircuitSettings
    _half_open: HalfOpen | None
    _is_reported: bool
    _outage: Outage

    def __init__(
        self,
        name: str,
        settings: CircuitSettings = _DEFAULTS,
        *,
        now: float = 0.0,
        draw: Callable[[], float] = middle_draw,
        limits: Limits | None = None,
    ) -> None:
        if not isinstance(cast("object", name), str):
            raise SettingsError(f"name must be a str, got {name!r}: logs, events and metrics use it as the label")
        if not isinstance(cast("object", settings), CircuitSettings):
            raise SettingsError(f"settings must be CircuitSettings, got {settings!r}: leave it out, or write CircuitSettings(...)")
        self.name = name
        self.settings = settings
        self.generation = -1  # the first swap, below, makes it 0
        self.events_pending: deque[events.Event] = deque(maxlen=EVENTS_KEPT)
        self._draw = draw
        self.latest = now
        self.live: dict[Permit, None] = {}
        self.evidence = Evidence(settings, self.live, now)
        self.limits = LimitedCalls(limits, draw)
        self.totals = CircuitTotals()  # `read_totals` adds what others count
        self._given_full: int | None = None
        self._full = self._ramp_end()
        self._asked = None
        self._override_until = None
        self._following = Following()
        self._opened_by = None
        self._closed_since = now
        self.rejected = self.late_results = self.settled_twice = 0
        self._swap(State.CLOSED, None, Outage())

    def _monotonic(self, now: float) -> float:
        """Return `now`, or the last time seen if that was later: a clock that steps back must not lengthen a wait or erase a window."""
        self.latest = max(self.latest, now)
        return self.latest

    # -- One call ------------------------------------------------------------------------------------------------------------------

    def try_acquire(self, now: float, weight: int = 1) -> Permit | Rejected:
        """Return a permit for one call, or the refusal, which is counted. Lets time pass.

        `weight` counts against a ramp's limit. A call that is heavier than the limit is refused. Raises SettingsError unless it is a whole
        number from 1.
        """
        if now < self.latest:
            now = self.latest
        else:
            self.latest = now
        if weight != 1:
            validation.count("weight", weight)
        if now < self.plain_until:
            permit = Permit()
            permit.generation = self.generation
            permit.acquired_at = now
            permit.weight = weight
            permit.standing = LIVE
            self.live[permit] = None
            return permit
        if now < self.refuse_until:
            self.rejected += 1
            return self.rejection
        return self._acquire(now, weight)

    def _acquire(self, now: float, weight: int) -> Permit | Rejected:
        self.advance(now)
        half_open = self._half_open
        if half_open is not None and not half_open.ramp.has_room(weight):
            half_open.ramp.refused = True
            self.rejected += 1
            return _NO_ROOM
        refusal = self.rejection if now < self.refuse_until else self.limits.refusal(now, weight, self.state)
        if refusal is not None:
            self.rejected += 1
            return refusal
        permit = issue(self.generation, now, weight)
        self.live[permit] = None
        self.limits.start(permit, now)
        if half_open is not None:
            half_open.admit(permit)
        return permit

    def may_acquire(self, now: float) -> bool:
        """Return whether `try_acquire` would admit a call of weight 1 now. Counts nothing, and lets time pass only in a half-open."""
        now = self._monotonic(now)
        if self._half_open is not None:
            self.advance(now)
        if self.limits.active and self.limits.free(now) == 0:
            return False
        if self._half_open is not None:
            return self._half_open.ramp.has_room(1)
        return now >= self.refuse_until and not (self._is_plain and self.evidence.slow_breach(now))

    def expect_more(self) -> None:
        """Note that more calls wait than are admitted, though none was refused: the stage of a half-open is not one of low traffic."""
        self.limits.expect_more()
        if self._half_open is not None:
            self._half_open.ramp.refused = True

    def record(
        self,
        permit: Permit,
        outcome: Outcome,
        now: float,
        *,
        retry_after: float | None = None,
        duration: float | None = None,
        told: Told | None = None,
    ) -> None:
        """Give a permit back with the outcome of its call.

        `retry_after` is how many seconds the server wants to be left alone. With a FAILURE it opens the circuit for that time, clamped to
        `retry_after_max`. None, NaN, zero and less mean that the server did not say. `duration` is how many seconds the call took, by
        which it is judged slow; None means the time since `acquired_at`. `told` is what the answer says of the dependency's limit. A permit
        of an older generation, or one that was settled before, is counted and changes nothing.
        """
        if now < self.latest:
            now = self.latest
        else:
            self.latest = now
        if self._is_plain and outcome is _SUCCESS and told is None:
            evidence = self.evidence
            quick = evidence.quick
            if (took := now - permit.acquired_at) <= quick and (duration is None or duration <= quick):
                try:
                    del self.live[permit]
                except KeyError:
                    self._late(permit, outcome, now)
                    return
                permit.standing = SETTLED
                evidence.in_a_row = 0
                evidence.quick_seconds += took if duration is None else duration
                window = evidence.window
                if now < window.clean_until:
                    window.goods += 1
                    return
                window.passed += 1
                if window.add(GOOD, now) >= window.enough:
                    self._judge(now)
                return
        if self.limits.end(permit, outcome, now, told):
            self._prepare_answers()
        self._settle(permit, outcome, now, retry_after, duration)

    def renew(self, permit: Permit, now: float) -> bool:
        """Record a SUCCESS and acquire again in one step, with the same permit, for a message that follows directly on another.

        Returns False, and changes nothing, unless this is the usual case: CLOSED, no override, nothing bad in the window, a quick call.
        """
        evidence = self.evidence
        window = evidence.window
        live = self.live
        if (
            permit not in live
            or now < self.latest
            or now >= self.plain_until
            or now >= window.clean_until
            or (took := now - permit.acquired_at) > evidence.quick
        ):
            return False
        self.latest = now
        evidence.in_a_row = 0
        evidence.quick_seconds += took
        window.goods += 1
        permit.acquired_at = now
        if len(live) > 1:  # the order of the dict is the order of issue
            del live[permit]
            live[permit] = None
        return True

    def _settle(self, permit: Permit, outcome: Outcome, now: float, retry_after: float | None, duration: float | None) -> None:
        is_verdict = outcome is not Outcome.IGNORED and outcome is not Outcome.THROTTLED
        if is_verdict:
            # Before the permit is taken: until its result is counted, a slow call in flight belongs to the episode, and must not end it.
            self._check_episode_end(now)
        if not self._take(permit, now):
            self._late(permit, outcome, now)
            return
        if not is_verdict:
            self.totals.unjudged(throttled=outcome is Outcome.THROTTLED)
            return
        held = now - permit.acquired_at
        took = held if duration is None else duration
        failed = outcome is not _SUCCESS
        self.totals.ended(took, failed=failed)
        if self.override is Override.DISABLED:
            return
        wait = requested_wait(retry_after, self.settings) if failed else None
        if self._half_open is None:
            self._count(failed, held, took, wait, now)
        elif wait is None:
            self._follow(self._half_open, self._half_open.settle(permit, failed, took, now), now)
        else:
            self._open_until_retry(wait, now)

    def release(self, permit: Permit, now: float) -> None:
        """Give a permit back without an outcome: the call was cancelled, or never made. Its place is free immediately."""
        self.limits.give_back(permit, now)
        if not self._take(permit, self._monotonic(now)):
            self.settled_twice += permit.standing == SETTLED
            permit.standing = SETTLED

    def _take(self, permit: Permit, now: float) -> bool:
        """Remove a permit from the live ones. Returns False if it is not among them."""
        if self._half_open is not None:
            # Time first: if the permit's lease ended before its result came, the result is late, even if no call has let time pass since.
            self._follow(self._half_open, self._half_open.pass_time(now), now)
        overdue = self.evidence.overdue.permits
        permits = overdue if permit in overdue else self.live
        if permit not in permits:
            return False
        del permits[permit]
        permit.standing = SETTLED
        if self._half_open is not None:
            self._half_open.give_back(permit)
        return True

    def _late(self, permit: Permit, outcome: Outcome, now: float) -> None:
        if permit.standing == SETTLED:
            self.settled_twice += 1
            return
        self.late_results += 1
        if permit.standing == EXPIRED and outcome is _SUCCESS:
            self._emit(events.LeaseTooShort(self.name, now, self.generation, now - permit.acquired_at))
        permit.standing = SETTLED

    # -- Judging -------------------------------------------------------------------------------------------------------------------

    def _count(self, failed: bool, held: float, took: float, wait: float | None, now: float) -> None:
        self.evidence.count(failed, took, now)
        if not failed and self.state is State.CLOSED:
            self.evidence.succeeded_after(held)
        if wait is None:
            self._judge(now)
        elif self.override is None:
            self._open_until_retry(wait, now)
        else:
            self._breached(Breach(Reason.RETRY_AFTER, wait, 0.0), now)

    def _judge(self, now: float) -> None:
        """Act on the rule that the results meet, if any.

        Called after every result unless nothing bad is in the window. Good ones count too: they can bring the calls up to the minimum, and
        push other good ones out of the window.
        """
        breach = self.evidence.breach()
        if breach is not None:
            self._breached(breach, now)
        else:
            self._check_episode_end(now)

    def _check_episode_end(self, now: float) -> None:
        """End the episode of METRICS_ONLY if everything is below the thresholds, so that the next breach is reported again.

        Called before each result too, because a time window also empties by time alone.
        """
        if self._is_reported:
            self._is_reported = not self.evidence.is_clear(now)

    def _breached(self, breach: Breach, now: float) -> None:
        if self.override is None:
            self._open(Trigger.BREACHED, breach.reason, now, self._outage_at(now).opened(now, self.settings), breach=breach)
        elif not self._is_reported:  # METRICS_ONLY reports once per episode; under other overrides nothing is judged
            self._is_reported = True
            self._exceeded(breach, now, observed=True)

    def _follow(self, half_open: HalfOpen, step: Step, now: float) -> None:
        """Act on what a half-open has decided."""
        for permit in step.expired:
            self.limits.give_back(permit, now)
            self._emit(events.LeaseExpired(self.name, now, self.generation, permit.acquired_at, half_open.lease))
        if step.breach is not None:
            self._breached(step.breach, now)
        elif step.recovered:
            self._recovered(Trigger.RECOVERED, now)
        elif half_open.ramp.limit != step.limit:
            self._emit(events.LimitChanged(self.name, now, self.generation, step.limit, half_open.ramp.limit))

    # -- Time ----------------------------------------------------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Let time pass up to `now`: end a wait, a forced opening, a lease or a stage, and judge calls in flight that have become slow."""
        now = self._monotonic(now)
        if self._override_until is not None and now >= self._override_until:
            self.clear_override(now)
        if self._is_led and self._following.is_over(now):
            self.guide(None, now)
        if self.override is Override.FORCED_OPEN:
            return
        if self.state is State.OPEN and now >= (self._wait_ends if self._is_led else self._until):
            self._end_wait(now)
        elif self._half_open is not None:
            self._follow(self._half_open, self._half_open.pass_time(now), now)
        elif self._is_plain or self.override is Override.METRICS_ONLY:
            self._judge_overdue(now)

    def _judge_overdue(self, now: float) -> None:
        self._check_episode_end(now)
        breach = self.evidence.slow_breach(now)
        if breach is not None:
            self._breached(breach, now)
        if self._is_plain and not self.limits.active:
            self.plain_until = self.evidence.overdue.unchanged_until(now)

    def next_deadline(self) -> float | None:
        """Return the monotonic second at which `advance` will next change something if nothing else happens before.

        None means that time alone changes nothing.
        """
        if self.override is Override.FORCED_OPEN:
            return self._override_until
        freed = self.limits.next_at(self.latest) if self.limits.active and self.state is not State.OPEN else None
        if self._half_open is not None:
            own = self._half_open.next_deadline()
            own = _earlier(own, self._following.lapses_at) if self._is_led else own
            return own if freed is None else freed if own is None else min(own, freed)
        wait_ends = None if self.state is not State.OPEN else self._opened_until if self._is_led else self._until
        overdue = self.evidence.next_deadline() if self._is_plain or self.override is Override.METRICS_ONLY else None
        return min((at for at in (self._override_until, wait_ends, overdue, freed) if at is not None), default=None)

    # -- Limits and readings -------------------------------------------------------------------------------------------------------

    @property
    def limit(self) -> int | None:
        """The weight that may be in flight. None means that the circuit sets no limit, 0 that it refuses everything."""
        if self._half_open is not None:
            return self._half_open.ramp.limit
        is_refusing = self.override is Override.FORCED_OPEN or (self.override is None and self.state is State.OPEN)
        return 0 if is_refusing else None

    @property
    def free_slots(self) -> int | None:
        """How much more weight `try_acquire` would admit, as of the last time seen. None means no limit."""
        half_open = self._half_open
        own = self.limit if half_open is None else max(0, half_open.ramp.limit - half_open.ramp.in_flight)
        return self.limits.within(own, self.latest) if self.limits.active else own

    @property
    def is_probing(self) -> bool:
        """Whether the circuit is half-open and waits for its first result, whose success begins the ramp."""
        return self._half_open is not None and self._half_open.ramp.is_probing

    def set_full(self, full: int, now: float) -> None:
        """Set the limit at which a ramp ends, from 1. A running limit above it comes down. An explicit `ramp.full` is never raised."""
        self._given_full = validation.count("full", full)
        self._full = self._ramp_end()
        self.advance(now)
        if self._half_open is not None:
            self._follow(self._half_open, self._half_open.set_full(self._full, self.latest), self.latest)

    def _ramp_end(self) -> int:
        explicit, given = self.settings.ramp.full, self._given_full
        if explicit is None:
            return FULL_ALONE if given is None else given
        return explicit if given is None else min(explicit, given)

    def set_limits(self, limits: Limits | None, now: float) -> None:
        """Go on by other limits. What was learned is forgotten, and what is in flight counts."""
        self.advance(now)
        self.limits.replace(limits, chain(self.evidence.overdue.permits, self.live), self.latest)
        self._prepare_answers()

    def reconfigure(self, settings: CircuitSettings, now: float) -> None:
        """Go on by other settings from `now` on, without a transition. State, outage, override, permits and totals stay.

        Results stay in the window if it is of the same kind, as far as they fit, and are judged with the next one. A wait of OPEN becomes
        what it would have been by the new settings, measured from when it began; one that was asked for is only clamped to
        `retry_after_max`. A ramp keeps its limit, and its running stage its times. Raises SettingsError unless they are CircuitSettings.
        """
        if not isinstance(cast("object", settings), CircuitSettings):
            raise SettingsError(f"settings must be CircuitSettings, got {settings!r}")
        self.advance(now)
        now = self.latest
        before, self.settings = self.settings, settings
        self._full = self._ramp_end()
        self.evidence.reconfigure(before, settings, now)
        if self.state is State.OPEN:
            self._until = open_anew_until(settings, self._outage, self._asked, self._until, now)
        half_open = self._half_open
        if half_open is not None:
            half_open.reconfigure(settings.ramp, self._lease(), self.evidence.slow)
        self._prepare_answers()
        if half_open is not None:
            self._follow(half_open, half_open.set_full(self._full, now), now)

    def snapshot(self, now: float) -> CircuitSnapshot:
        """Return the circuit as it is at `now`, without letting time pass: a wait that is over shows as OPEN until `advance`."""
        now = max(self.latest, now)
        guidance = self._following.active if self._is_led and self.override is None else None
        return snapshot_of(self, now, self._outage_at(now), until=self._until, full=self._full, guidance=guidance)

    def read_totals(self) -> CircuitTotals:
        """Return what has happened since construction, in an object that does not change any more."""
        return totals_of(self)

    # -- Transitions ---------------------------------------------------------------------------------------------------------------

    def open_for(self, duration: float, now: float) -> None:
        """Open for `duration` seconds, clamped to `retry_after_max`. The level stays. In OPEN it puts the end off, without an event."""
        wait = min(validation.seconds("duration", duration), self.settings.retry_after_max)
        now = self._monotonic(now)
        if self.state is State.OPEN:
            self._until = max(self._until, now + wait)
            self._asked = None
            self._prepare_answers()
        else:
            self._open(Trigger.WAIT_REQUESTED, Reason.OPEN_FOR, now, self._outage_at(now).begun(now), until=now + wait)

    def _open_until_retry(self, wait: float, now: float) -> None:
        self._open(Trigger.WAIT_REQUESTED, Reason.RETRY_AFTER, now, self._outage_at(now).opened(now, self.settings), until=now + wait)

    def _open(
        self,
        trigger: Trigger,
        reason: Reason,
        now: float,
        outage: Outage,
        *,
        until: float | None = None,
        breach: Breach | None = None,
    ) -> None:
        """Open. `outage` is the one after the opening; `until` of None means the wait that follows from it."""
        previous, asked = self.state, None
        self.limits.interrupt(now)
        if until is None:
            asked = Asked(now if self._half_open is None else self._half_open.probe_asked_at(now), now, self._draw())
            is_silence = outage.level == 1 and self.settings.open_multiplier is None and self.limits.is_silence(now - asked.asked)
            until = (silent_until if is_silence else opened_until)(self.settings, outage, asked)
        if breach is not None:
            self._exceeded(breach, now)
        state = transition(previous, trigger)
        self._asked, self._opened_by = asked, reason
        if self._is_led:
            self._following.opened(reason)
        self._swap(state, self.override, outage, until)
        began = None if asked is None else asked.asked
        since, probes, led = outage.since, outage.probes, self._is_led and self._following.says_when
        self._emit(events.CircuitOpened(self.name, now, self.generation, reason, until, outage.level, previous, since, probes, began, led))

    def _end_wait(self, now: float) -> None:
        previous = self.state
        self._swap(transition(previous, Trigger.WAITED), self.override, self._outage.asked())
        self._emit(events.CircuitHalfOpened(self.name, now, self.generation, previous))

    def end_wait(self, now: float) -> bool:
        """End the wait of OPEN now instead of at its time, so that a probe may be made. The outage goes on.

        Returns False, and changes nothing, unless the circuit is OPEN without an override.
        """
        now = self._monotonic(now)
        if self.state is not State.OPEN or self.override is not None:
            return False
        self._following.leave()
        self._end_wait(now)
        return True

    def reset(self, now: float) -> None:
        """Close with empty windows and level 0, at the full rate immediately. An override stays."""
        now = self._monotonic(now)
        self._following.leave()
        previous = self._close(Trigger.RESET, now, Outage())
        self._emit(events.CircuitReset(self.name, now, self.generation, previous))

    def _recovered(self, trigger: Trigger, now: float) -> None:
        outage = self._outage
        previous = self._close(trigger, now, outage.closed())
        self._emit(events.CircuitClosed(self.name, now, self.generation, previous, outage.since, outage.probes))

    def _close(self, trigger: Trigger, now: float, outage: Outage) -> State:
        previous = self.state
        state = transition(previous, trigger)
        self.evidence.clear(now)
        self._closed_since = now
        self._opened_by = None
        self._swap(state, self.override, outage)
        return previous

    def _swap(self, state: State, override: Override | None, outage: Outage, until: float = -inf) -> None:
        """Put a new state, a new override or both in place. Nothing else changes the generation, and nothing in here can raise."""
        self.state = state
        self.override = override
        if override is not None:
            self._following.rest()
        self.generation += 1
        self._outage = outage
        self._until = until
        self.live.clear()
        self.evidence.overdue.permits.clear()
        self._half_open = self._new_half_open() if state is State.HALF_OPEN and override is None else None
        self._is_reported = False
        self._prepare_answers()

    def _new_half_open(self) -> HalfOpen:
        relapses = self._outage.relapses(self.settings)
        if self._is_led:
            ramp = self._following.new_ramp(self.settings.ramp, self._full, relapses, self.latest)
        else:
            ramp = Ramp(self.settings.ramp, self._full, relapses)
        return HalfOpen(ramp, self.live, self._lease(), self.evidence.slow, self.totals)

    @property
    def _is_led(self) -> bool:
        """Whether a fleet has said how it goes. Otherwise it asks neither following.py nor guided.py for anything."""
        return self._following.guidance is not None

    def _lease(self) -> float:
        # Twice the longest success: a lease must not take back calls that are known to succeed.
        return max(self.settings.permit_lease, 2 * self.evidence.longest)

    def _prepare_answers(self) -> None:
        """Compute until when a call is admitted, or refused, without a look at anything else. All refusals are one object."""
        self._is_plain = self.state is State.CLOSED and self.override is None
        is_limited = self.limits.overridden(self.override)
        self.evidence.look_at_each(always=is_limited)  # `renew`, `record` and guarded.py go the usual way by `quick` alone
        self.plain_until = self.evidence.overdue.unchanged_until(self.latest) if self._is_plain and not is_limited else -inf
        self.refuse_until = -inf
        if self.override is Override.FORCED_OPEN:
            self.refuse_until = inf if self._override_until is None else self._override_until
        elif self.state is State.OPEN and self.override is None:
            until = self._opened_until if self._is_led else self._until
            self.refuse_until = inf if until is None else until
        self.without_share = self._half_open is not None and not self._half_open.ramp.limit
        self.rejection = Rejected(None if self.refuse_until == inf else self.refuse_until, self.state, self.override)

    def _outage_at(self, now: float) -> Outage:
        if self.state is not State.CLOSED or self.override is Override.FORCED_OPEN:  # no call goes through, so nothing shows its health
            return self._outage
        return self._outage.healthy_for(now - self._closed_since, self.settings)

    # -- Events --------------------------------------------------------------------------------------------------------------------

    def take_events(self) -> tuple[events.Event, ...]:
        """Return the events since the last call, oldest first. If it is not called for long, only the last 1,024 are kept."""
        taken = tuple(self.events_pending)
        self.events_pending.clear()
        return taken

    def _emit(self, event: events.Event) -> None:
        self.events_pending.append(event)

    def _exceeded(self, breach: Breach, now: float, *, observed: bool = False) -> None:
        self._emit(
            events.ThresholdExceeded(self.name, now, self.generation, breach.reason, breach.value, breach.threshold, observed=observed)
        )


def _earlier(one: float | None, other: float | None) -> float | None:
    return one if other is None else other if one is None else min(one, other)
