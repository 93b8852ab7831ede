"""One circuit: whether a call may be made now, and what the results of calls mean.

Theory of operation
===================

A circuit is a situation and a generation.

    situation   a state, CLOSED, OPEN or HALF_OPEN, and what an operator has laid over it (transitions.py). It is a value: the next one is
                computed first, which raises for a pair of state and trigger without a row in the table. Then `_swap` puts it in place.
    generation  the number of swaps: transitions, overrides and resets. A permit keeps the generation in which it was issued.

The race that the generation is for: a call is admitted while the circuit is CLOSED, and hangs. Others fail, the circuit opens, waits, and
becomes HALF_OPEN with one probe in flight. Now the old call returns. A circuit that counted its success would close, though the probe has
not answered; one that counted its end would admit a second probe. Here the permit is of an older generation, so the result is counted as
late and changes nothing else.

What is in flight are the permits of this generation (permits.py), and a swap forgets all of them.
`limits` asks a limiter how many calls the dependency takes, and a call needs room in both: in it, and in the ramp of a half-open. While the
limiter limits, each call goes the long way; before that, none is looked at.

Nothing happens by itself. Time is an argument. What time alone decides (a wait is over, a lease has ended, a stage is old, calls in flight
have become slow) happens in `advance`, which `try_acquire` runs, and which a half-open runs before every result. `next_deadline` returns
when that will be. A time before the last one seen is replaced by the last one seen.

The decisions are elsewhere: evidence.py decides in CLOSED, ramp.py in HALF_OPEN, outages.py how long OPEN lasts, and following.py what a
fleet's wish means. They return values, and the circuit acts on them. The only user code that it runs is `draw`, before a swap.

What is ugly: the usual case (CLOSED, no override, a good and quick call) is spelled out six times: see the comment above `__slots__`.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, cast

from holdgate.core import events, validation
from holdgate.core.evidence import Evidence, slow_after
from holdgate.core.following import Following, Want
from holdgate.core.limited_calls import LimitedCalls
from holdgate.core.outages import Asked, middle_draw, requested_wait
from holdgate.core.outcomes import VERDICTS, Outcome
from holdgate.core.permits import LIVE, SETTLED, Permit, PermitsInFlight, issue
from holdgate.core.ramp import HalfOpen, Ramp, ramp_end
from holdgate.core.readings import CircuitSnapshot, snapshot_of, totals_of
from holdgate.core.settings import CircuitSettings, checked
from holdgate.core.states import Breach, Override, Reason, Rejected, State
from holdgate.core.totals import CircuitTotals
from holdgate.core.transitions import Situation, Trigger
from holdgate.core.windows import GOOD
from holdgate.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdgate.core.guidance import Guidance, OwnFacts
    from holdgate.core.limits import Limits
    from holdgate.core.outcomes import Told
    from holdgate.core.ramp import Step


# Past this many pending events the oldest are dropped: events that are never taken must not fill the memory of a worker that runs for
# months. A transition emits a handful, so these are hundreds of transitions.
EVENTS_KEPT = 1024

_DEFAULTS = CircuitSettings()
_SUCCESS = Outcome.SUCCESS
_NO_ROOM = Rejected(None, State.HALF_OPEN)


class Circuit:
    """Decide whether a call to one dependency may be made now.

    `state`, `override`, `generation`, `full` (the limit at which a ramp ends, from 1), `without_share` (half-open, and its fleet gives it
    nothing) and `events_pending` (what `take_events` would return) are for reading. Must be used from one thread at a time.

    - `name`: the label of the circuit in logs, events and metrics.
    - `settings`: when the circuit opens, for how long, and how it comes back.
    - `now`: the monotonic second of its creation. Every `now` must come from the same clock.
    - `draw`: returns a number in [0, 1) for the jitter of a wait. The default returns the middle, which is no jitter: pass `random.random`
      if several workers must not come back in step.
    - `limits`: how many calls the dependency takes. None means that nothing limits them until an answer is THROTTLED.

    Raises SettingsError unless `name` is a str and `settings` are CircuitSettings.
    """

    # The usual case runs once per message or call, and so is spelled out six times. A change of one is a change of all; each is compared
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
    #     live          the permits in flight, that of `permits`. guarded.py adds its permit, and deletes it
    #     evidence      `quick`, `quick_seconds` and `in_a_row`, and of its `window` `clean_until` and `goods`: what a good result changes

    __slots__ = (
        "_draw", "_emit", "_following", "_given_full", "_half_open", "_is_plain", "_situation",
        "events_pending", "evidence", "full", "generation", "latest", "limits", "live", "name", "override", "permits", "plain_until",
        "refuse_until", "rejected", "rejection", "settings", "state", "totals", "without_share",
    )  # fmt: skip

    state: State
    override: Override | None
    generation: int
    settings: CircuitSettings
    full: int
    without_share: bool
    _situation: Situation
    _half_open: HalfOpen | None
    _is_plain: bool

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
        self.name = name
        self.settings = checked(settings)
        self.generation = -1  # the first swap, below, makes it 0
        self.events_pending: deque[events.Event] = deque(maxlen=EVENTS_KEPT)
        self._emit = self.events_pending.append
        self._draw = draw
        self.latest = now
        self.permits = PermitsInFlight(slow_after(settings))
        self.live = self.permits.live
        self.evidence = Evidence(settings, self.permits, now)
        self.limits = LimitedCalls(limits, draw)
        self.totals = CircuitTotals()  # `read_totals` adds what others count
        self._given_full: int | None = None
        self.full = ramp_end(settings.ramp, None)
        self._following = Following()
        self.rejected = 0
        self._swap(Situation(now))

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
        is_verdict = outcome in VERDICTS
        if is_verdict:
            # Before the permit is taken: until its result is counted, a slow call in flight belongs to the episode, and must not end it.
            self.evidence.check_episode(now)
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
        wait = requested_wait(retry_after, self.settings) if failed and retry_after is not None else None
        if self._half_open is None:
            self._count(failed, held, took, wait, now)
        elif wait is None:
            self._follow(self._half_open, self._half_open.settle(permit, failed, took, now), now)
        else:
            self._open(Reason.RETRY_AFTER, now, until=now + wait)

    def release(self, permit: Permit, now: float) -> None:
        """Give a permit back without an outcome: the call was cancelled, or never made. Its place is free immediately."""
        self.limits.give_back(permit, now)
        if not self._take(permit, self._monotonic(now)):
            self.permits.release_was_late(permit)

    def _take(self, permit: Permit, now: float) -> bool:
        """Settle a permit that is in flight. Returns False if it is not."""
        if self._half_open is not None:
            # Time first: if the permit's lease ended before its result came, the result is late, even if no call has let time pass since.
            self._follow(self._half_open, self._half_open.pass_time(now), now)
        if not self.permits.take(permit):
            return False
        if self._half_open is not None:
            self._half_open.give_back(permit)
        return True

    def _late(self, permit: Permit, outcome: Outcome, now: float) -> None:
        if self.permits.result_was_late(permit) and outcome is _SUCCESS:
            self._emit(events.LeaseTooShort(self.name, now, self.generation, now - permit.acquired_at))

    # -- Judging -------------------------------------------------------------------------------------------------------------------

    def _count(self, failed: bool, held: float, took: float, wait: float | None, now: float) -> None:
        self.evidence.count(failed, took, now)
        if not failed and self.state is State.CLOSED:
            self.evidence.succeeded_after(held)
        if wait is None:
            self._judge(now)
        elif self.override is None:
            self._open(Reason.RETRY_AFTER, now, until=now + wait)
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
            self.evidence.check_episode(now)

    def _breached(self, breach: Breach, now: float) -> None:
        if self.override is None:
            self._open(breach.reason, now, breach=breach)
        elif self.evidence.begin_episode():  # METRICS_ONLY reports once per episode; under other overrides nothing is judged
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
        else:
            self._limit_changed(step.limit, half_open, now)

    def _limit_changed(self, before: int, half_open: HalfOpen, now: float, *, in_fleet: bool = False) -> None:
        if half_open.ramp.limit != before:
            self._emit(events.LimitChanged(self.name, now, self.generation, before, half_open.ramp.limit, in_fleet))

    # -- Time ----------------------------------------------------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Let time pass up to `now`: end a wait, a forced opening, a lease or a stage, and judge calls in flight that have become slow."""
        now = self._monotonic(now)
        if (ends := self._situation.override_until) is not None and now >= ends:
            self.clear_override(now)
        if self._is_led and self._following.is_over(now):
            self.guide(None, now)
        if self.override is Override.FORCED_OPEN:
            return
        situation = self._situation
        if self.state is State.OPEN and now >= (self._following.wait_ends(situation) if self._is_led else situation.until):
            self._half_opened(situation.waited(), now)
        elif self._half_open is not None:
            self._follow(self._half_open, self._half_open.pass_time(now), now)
        elif self._is_plain or self.override is Override.METRICS_ONLY:
            self._judge_overdue(now)

    def _judge_overdue(self, now: float) -> None:
        self.evidence.check_episode(now)
        breach = self.evidence.slow_breach(now)
        if breach is not None:
            self._breached(breach, now)
        if self._is_plain and not self.limits.active:
            self.plain_until = self.permits.unchanged_until(now)

    def next_deadline(self) -> float | None:
        """Return the monotonic second at which `advance` will next change something if nothing else happens before.

        None means that time alone changes nothing.
        """
        if self.override is Override.FORCED_OPEN:
            return self._situation.override_until
        freed = self.limits.next_at(self.latest) if self.limits.active and self.state is not State.OPEN else None
        if self._half_open is not None:
            times = (self._half_open.next_deadline(), self._following.lapses_at if self._is_led else None, freed)
            return min((at for at in times if at is not None), default=None)
        wait_ends = self._opened_until if self.state is State.OPEN else inf
        is_judged = self.evidence.slow < inf and (self._is_plain or self.override is Override.METRICS_ONLY)
        overdue = self.evidence.next_deadline() if is_judged else None
        soonest = min(at for at in (self._situation.override_until, wait_ends, overdue, freed) if at is not None)
        return None if soonest == inf else soonest

    # -- Limits and readings -------------------------------------------------------------------------------------------------------

    @property
    def limit(self) -> int | None:
        """The weight that may be in flight. None means that the circuit sets no limit, 0 that it refuses everything."""
        if self._half_open is not None:
            return self._half_open.ramp.limit
        return None if self.refuse_until == -inf else 0

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
        self.full = ramp_end(self.settings.ramp, self._given_full)
        self.advance(now)
        if self._half_open is not None:
            self._follow(self._half_open, self._half_open.set_full(self.full, self.latest), self.latest)

    def set_limits(self, limits: Limits | None, now: float) -> None:
        """Go on by other limits. What was learned is forgotten, and what is in flight counts."""
        self.advance(now)
        self.limits.replace(limits, self.permits, self.latest)
        self._prepare_answers()

    def reconfigure(self, settings: CircuitSettings, now: float) -> None:
        """Go on by other settings from `now` on, without a transition. State, outage, override, permits and totals stay.

        Results stay in the window if it is of the same kind, as far as they fit, and are judged with the next one. A wait of OPEN becomes
        what it would have been by the new settings, measured from when it began; one that was asked for is only clamped to
        `retry_after_max`. A ramp keeps its limit, and its running stage its times. Raises SettingsError unless they are CircuitSettings.
        """
        after = checked(settings)
        self.advance(now)
        now = self.latest
        before, self.settings = self.settings, after
        self.full = ramp_end(settings.ramp, self._given_full)
        self.evidence.reconfigure(before, settings, now)
        self._situation = self._situation.reconfigured(now, settings)
        half_open = self._half_open
        if half_open is not None:
            half_open.reconfigure(settings.ramp, self.evidence.lease(self.settings.permit_lease), self.evidence.slow)
        self._prepare_answers()
        if half_open is not None:
            self._follow(half_open, half_open.set_full(self.full, now), now)

    def snapshot(self, now: float) -> CircuitSnapshot:
        """Return the circuit as it is at `now`, without letting time pass: a wait that is over shows as OPEN until `advance`."""
        now = max(self.latest, now)
        guidance = self._following.active if self._is_led and self.override is None else None
        return snapshot_of(self, now, self._situation.outage_at(now, self.settings), until=self._situation.until, guidance=guidance)

    def seen_at(self, now: float) -> tuple[int, int, int]:
        """Return the calls that the window holds at `now`, and how many of them failed and were slow, as in `snapshot`."""
        return self.evidence.window.seen_at(now)

    def read_totals(self) -> CircuitTotals:
        """Return what has happened since construction, in an object that does not change any more."""
        return totals_of(self)

    # -- Transitions ---------------------------------------------------------------------------------------------------------------

    def open_for(self, duration: float, now: float) -> None:
        """Open for `duration` seconds, clamped to `retry_after_max`. The level stays. In OPEN it puts the end off, without an event."""
        wait = min(validation.seconds("duration", duration), self.settings.retry_after_max)
        now = self._monotonic(now)
        if self.state is State.OPEN:
            self._situation = self._situation.put_off(now + wait)
            self._prepare_answers()
        else:
            self._open(Reason.OPEN_FOR, now, until=now + wait)

    def _open(self, reason: Reason, now: float, *, until: float | None = None, breach: Breach | None = None) -> None:
        """Open. `until` of None means the wait that follows from the outage."""
        previous = self.state
        self.limits.interrupt(now)
        asked = now if self._half_open is None else self._half_open.probe_asked_at(now)
        wait = Asked(asked, now, self._draw(), self.limits.is_silence(now - asked)) if until is None else until
        situation = self._situation.opened(reason, now, wait, self.settings)
        if breach is not None:
            self._exceeded(breach, now)
        if self._is_led:
            self._following.opened(reason)
        self._swap(situation)
        outage, until, began = situation.outage, situation.until, None if situation.asked is None else situation.asked.asked
        since, probes, led = outage.since, outage.probes, self._is_led and self._following.says_when
        self._emit(events.CircuitOpened(self.name, now, self.generation, reason, until, outage.level, previous, since, probes, began, led))

    def _half_opened(self, situation: Situation, now: float) -> None:
        previous = self.state
        self._swap(situation)
        self._emit(events.CircuitHalfOpened(self.name, now, self.generation, previous))

    def end_wait(self, now: float) -> bool:
        """End the wait of OPEN now instead of at its time, so that a probe may be made. The outage goes on.

        Returns False, and changes nothing, unless the circuit is OPEN without an override.
        """
        now = self._monotonic(now)
        if self.state is not State.OPEN or self.override is not None:
            return False
        self._following.leave()
        self._half_opened(self._situation.waited(), now)
        return True

    def reset(self, now: float) -> None:
        """Close with empty windows and level 0, at the full rate immediately. An override stays."""
        now = self._monotonic(now)
        self._following.leave()
        previous = self._close(Trigger.RESET, now)
        self._emit(events.CircuitReset(self.name, now, self.generation, previous))

    def _recovered(self, trigger: Trigger, now: float) -> None:
        outage = self._situation.outage
        previous = self._close(trigger, now)
        self._emit(events.CircuitClosed(self.name, now, self.generation, previous, outage.since, outage.probes))

    def _close(self, trigger: Trigger, now: float) -> State:
        previous, situation = self.state, self._situation.closed(trigger, now)
        self.evidence.clear(now)
        self._swap(situation)
        return previous

    def _swap(self, situation: Situation) -> None:
        """Put a new state, a new override or both in place. Nothing else changes the generation, and nothing in here can raise."""
        self._situation = situation
        self.state = situation.state
        self.override = situation.override
        if situation.override is not None:
            self._following.rest()
        self.generation += 1
        self.permits.forget()
        self.evidence.forget_episode()
        self._half_open = self._new_half_open() if situation.state is State.HALF_OPEN and situation.override is None else None
        self._prepare_answers()

    def _new_half_open(self) -> HalfOpen:
        settings, relapses = self.settings.ramp, self._situation.outage.relapses(self.settings)
        is_led = self._is_led
        ramp = self._following.new_ramp(settings, self.full, relapses, self.latest) if is_led else Ramp(settings, self.full, relapses)
        return HalfOpen(ramp, self.permits, self.evidence.lease(self.settings.permit_lease), self.evidence.slow, self.totals)

    def _prepare_answers(self) -> None:
        """Compute until when a call is admitted, or refused, without a look at anything else. All refusals are one object."""
        self._is_plain = self._situation.is_plain
        is_limited = self.limits.overridden(self.override, self.latest)
        self.evidence.look_at_each(always=is_limited)  # `renew`, `record` and guarded.py go the usual way by `quick` alone
        self.plain_until = self.permits.unchanged_until(self.latest) if self._is_plain and not is_limited else -inf
        self.refuse_until = self._situation.refuses_until(self._opened_until)
        self.without_share = self._half_open is not None and not self._half_open.ramp.limit
        self.rejection = Rejected(None if self.refuse_until == inf else self.refuse_until, self.state, self.override)

    # -- An operator's overrides ---------------------------------------------------------------------------------------------------

    def force_open(self, now: float, *, until: float | None = None) -> None:
        """Reject everything until `until`, in monotonic seconds. None means until it is cleared. Ends in HALF_OPEN from every state."""
        self._set_override(Override.FORCED_OPEN, until, now)

    def disable(self, now: float, *, until: float | None = None) -> None:
        """Admit everything and record nothing until `until`, as in `force_open`. The wait of OPEN goes on below."""
        self._set_override(Override.DISABLED, until, now)

    def observe(self, now: float, *, until: float | None = None) -> None:
        """Admit everything, record, and report once per episode that the circuit would have opened. `until` as in `force_open`."""
        self._set_override(Override.METRICS_ONLY, until, now)

    def _set_override(self, override: Override, until: float | None, now: float) -> None:
        if until is not None:
            until = validation.number("until", until)
        now = self._monotonic(now)
        before = self._situation
        if (before.override, before.override_until) != (override, until):
            self._swap(before.overridden(override, until, now, self.settings))
            self._override_changed(before, events.OverrideSet(self.name, now, self.generation, override, until))

    def clear_override(self, now: float) -> None:
        """End the override, and go on from the state below; after FORCED_OPEN from HALF_OPEN. Does nothing without an override."""
        now = self._monotonic(now)
        before, override = self._situation, self.override
        if override is not None:
            self._swap(before.overridden(None, None, now, self.settings))
            self._override_changed(before, events.OverrideCleared(self.name, now, self.generation, override))
            self._heed(now)  # what the fleet wants was not heeded meanwhile

    def _override_changed(self, before: Situation, event: events.OverrideSet | events.OverrideCleared) -> None:
        self._emit(event)
        if before.ends_forced(self.override):
            self._emit(events.CircuitHalfOpened(self.name, event.at, self.generation, before.state))

    # -- A fleet's guidance --------------------------------------------------------------------------------------------------------

    def guide(self, guidance: Guidance | None, now: float) -> None:
        """Go by what the fleet wants from now on; None, or LOCAL: by the circuit's own rules alone. The same again changes nothing."""
        now = self._monotonic(now)
        before = self._following.guidance
        if self._following.take(guidance, now):
            self._heed(now, before)

    def own_facts(self, now: float) -> OwnFacts:
        """Return what this circuit knows by its own calls. For a turn, and not for each message."""
        self._monotonic(now)
        return self._following.facts(self, self._situation, self._half_open)

    def _heed(self, now: float, before: Guidance | None = None) -> None:
        """Bring the state to what the guidance wants, after `before`. An override decides alone."""
        if self.override is not None:
            return
        half_open, situation, want = self._half_open, self._situation, self._following.want(self.state)
        if want is Want.OPEN:
            if half_open is not None:
                self.evidence.in_a_row = half_open.ramp.in_a_row
            self._open(Reason.FLEET, now)
        elif want is Want.CLOSE:
            self._recovered(Trigger.FLEET_RECOVERED, now)
        elif want is not Want.NOTHING and half_open is not None:
            limit, own = half_open.ramp.limit, Ramp(self.settings.ramp, self.full, situation.outage.relapses(self.settings))
            self._following.steer(half_open, want, own, before, now)
            self._limit_changed(limit, half_open, now, in_fleet=True)
        elif want is Want.LEAD:
            self._half_opened(situation.led(now, self.settings), now)
        elif want is Want.RESUME and situation.until <= now:
            self._situation = situation.waiting_anew(now, self._draw(), self._draw(), self.settings)
        self._prepare_answers()

    @property
    def _is_led(self) -> bool:
        """Whether there is guidance of a fleet. Otherwise following.py is not asked for anything."""
        return self._following.guidance is not None

    @property
    def _opened_until(self) -> float:
        """When OPEN ends by time, or the fleet's wish for it."""
        return self._following.opened_until(self._situation) if self._is_led else self._situation.until

    @property
    def has_share(self) -> bool:
        """Whether it is half-open by a share of its fleet, which another worker's probe has opened the way for."""
        return self._half_open is not None and self._half_open.ramp.is_share

    # -- Events --------------------------------------------------------------------------------------------------------------------

    def take_events(self) -> tuple[events.Event, ...]:
        """Return the events since the last call, oldest first. If it is not called for long, only the last 1,024 are kept."""
        taken = tuple(self.events_pending)
        self.events_pending.clear()
        return taken

    def _exceeded(self, breach: Breach, now: float, *, observed: bool = False) -> None:
        reason, value, threshold = breach.reason, breach.value, breach.threshold
        self._emit(events.ThresholdExceeded(self.name, now, self.generation, reason, value, threshold, observed=observed))
