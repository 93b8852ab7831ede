"""One circuit: may a call be made now, and what do its results mean.

Theory of operation
===================

A circuit is a state, an override over it, and a generation.

    state       CLOSED, OPEN or HALF_OPEN. Every change of it is a row of the table in states.py: the row is looked up first (a pair without
                one raises, and nothing has changed), what the new state needs is computed, and `_swap` puts it in place.
    override    what an operator laid over the state. Not more states: the state below stays readable, and is where work goes on from.
    generation  counts the swaps: transitions, overrides, resets, and nothing else. A permit remembers the one it was issued in. A result
                of an older generation speaks of a world that is gone, so it is counted and otherwise ignored. This one rule keeps a call
                that was admitted while CLOSED from closing, opening or unbalancing a later half-open.

The live permits of this generation are a dict in the order they were issued. It is the only account of what is in flight: nothing outside
can miscount it, the oldest permit is its first key, and a swap forgets all of it at once. A permit that has become slow in flight moves
on to `evidence.overdue`.

Nothing happens by itself. Time is an argument, and what time alone decides (a wait is over, a lease has ended, a stage is old, calls in
flight have become slow) happens in `advance`, which `try_acquire` runs, and a half-open runs before every result. `next_deadline` tells
when that will be. Time that goes backwards is taken as the last one seen.

Who decides: evidence.py in CLOSED, ramp.py in HALF_OPEN, and the functions at the head of this file how long OPEN lasts. They return
values, and the circuit acts on them. It runs no user code but `draw`, and that before anything has changed.

What is ugly: `try_acquire` and `record` begin with a copy of the usual case (CLOSED, no override, a good and quick call), because they
run once per message. `plain_until` and `refuse_until` are the times before which the usual answer holds without a look at anything else;
`_is_plain` means CLOSED without an override. The decorator of the call forms (runtime/guarded.py) has a third copy and saves even the two
calls: that is what `latest`, `live`, `evidence`, `plain_until`, `refuse_until`, `rejection` and `rejected` are without an underscore for.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, cast

from holdgate.core import events, validation
from holdgate.core.evidence import Evidence
from holdgate.core.outcomes import Outcome
from holdgate.core.ramp import FULL_ALONE, HalfOpen, Ramp
from holdgate.core.settings import CircuitSettings
from holdgate.core.states import (
    EXPIRED,
    LIVE,
    SETTLED,
    Breach,
    CircuitSnapshot,
    Override,
    Permit,
    Reason,
    Rejected,
    State,
    Trigger,
    issue,
    transition,
)
from holdgate.core.windows import GOOD
from holdgate.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdgate.core.ramp import Step


# -- How long a circuit stays open: the wait of a level, and how levels rise and fall --------------------------------------------------


def middle_draw() -> float:
    """The middle of the jitter's range: without a source of chance the waits are exactly what the settings say, and repeatable."""
    return 0.5


def open_wait(settings: CircuitSettings, level: int, draw: Callable[[], float]) -> float:
    """The seconds to stay open at `level`, from 1. The cap comes last, so jitter never makes a wait longer than the maximum."""
    jitter = 1 - settings.open_jitter + 2 * settings.open_jitter * draw()
    return min(settings.open_duration_max, _nominal(settings, level) * jitter)


def level_raised(settings: CircuitSettings, level: int) -> int:
    """The level after one more opening. It stops at the first whose wait reaches the maximum: a long outage must be forgotten in time."""
    if level > 0 and _nominal(settings, level) >= settings.open_duration_max:
        return level
    return level + 1


def healthy_intervals(settings: CircuitSettings, since: float, now: float) -> int:
    """How many full healthy intervals fit between two times; each takes one level away."""
    return max(0, int((now - since) / settings.healthy_interval))


def _nominal(settings: CircuitSettings, level: int) -> float:
    return settings.open_duration * settings.open_multiplier ** (level - 1)


# Events that nobody takes must not fill the memory of a worker that runs for months: past this many the oldest are dropped. A circuit
# gives a handful per transition, so this is hundreds of transitions.
EVENTS_KEPT = 1024

_DEFAULTS = CircuitSettings()
_SUCCESS = Outcome.SUCCESS
_NO_ROOM = Rejected(None, State.HALF_OPEN)


class Circuit:
    """Decides whether a call to one dependency may be made now.

    `now` is monotonic seconds everywhere, of one clock. `draw` gives chance in [0, 1) for the jitter of the wait; the default always gives
    the middle, because this floor has no randomness: pass `random.random` where a fleet must not come back in step. `state`, `override`,
    `generation` and `events_pending` (what `take_events` would return, truthy while there is something) are for reading. Not for use from
    several threads. Raises SettingsError for a name that is no text, and settings that are none.
    """

    # fmt: off
    __slots__ = (
        "_closed_since", "_draw", "_full", "_half_open", "_is_plain", "_is_reported", "_late_results", "_level",
        "_override_until", "_settled_twice", "_until",
        "events_pending", "evidence", "generation", "latest", "live", "name", "override", "plain_until", "refuse_until", "rejected",
        "rejection", "settings", "state",
    )
    # fmt: on

    state: State
    override: Override | None
    generation: int
    _half_open: HalfOpen | None
    _is_reported: bool
    _level: int
    _until: float

    def __init__(
        self, name: str, settings: CircuitSettings = _DEFAULTS, *, now: float = 0.0, draw: Callable[[], float] = middle_draw
    ) -> None:
        if not isinstance(cast("object", name), str):
            raise SettingsError(f"name={name!r} is no text: a circuit is told by its name everywhere")
        if not isinstance(cast("object", settings), CircuitSettings):
            raise SettingsError(f"settings={settings!r} is no CircuitSettings: leave it out, or write CircuitSettings(...)")
        self.name = name
        self.settings = settings
        self.generation = -1  # the first swap, below, makes it 0
        self.events_pending: deque[events.Event] = deque(maxlen=EVENTS_KEPT)
        self._draw = draw
        self.latest = now
        self.live: dict[Permit, None] = {}
        self.evidence = Evidence(settings, self.live, now)
        self._full = FULL_ALONE if settings.ramp.full is None else settings.ramp.full
        self._override_until: float | None = None
        self._closed_since = now
        self.rejected = self._late_results = self._settled_twice = 0
        self._swap(State.CLOSED, None, level=0)

    def _seen(self, now: float) -> float:
        """`now`, or the last one seen if that was later: a clock that steps back must not lengthen a wait or erase a window."""
        self.latest = max(self.latest, now)
        return self.latest

    # -- One call ------------------------------------------------------------------------------------------------------------------

    def try_acquire(self, now: float, weight: int = 1) -> Permit | Rejected:
        """A permit for one call, or the refusal, which is counted. Lets time pass.

        `weight` counts against a ramp's limit, from 1; one above the limit is refused. Raises SettingsError for less than 1.
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
        if now < self.refuse_until:
            self.rejected += 1
            return self.rejection
        permit = issue(self.generation, now, weight)
        self.live[permit] = None
        if half_open is not None:
            half_open.admit(permit)
        return permit

    def may_acquire(self, now: float) -> bool:
        """Whether `try_acquire` would admit a call of weight 1 now. Counts nothing; only a half-open lets time pass for it."""
        now = self._seen(now)
        if self._half_open is not None:
            self.advance(now)
        if self._half_open is not None:
            return self._half_open.ramp.has_room(1)
        return now >= self.refuse_until and not (self._is_plain and self.evidence.slow_breach(now))

    def expect_more(self) -> None:
        """More calls wait than a half-open admits, though nobody was refused: its stage is not one of low traffic. Counts nothing."""
        if self._half_open is not None:
            self._half_open.ramp.refused = True

    def record(
        self, permit: Permit, outcome: Outcome, now: float, *, retry_after: float | None = None, duration: float | None = None
    ) -> None:
        """Give a permit back with what its call came to.

        `retry_after`: seconds until the server wants to be asked again; with a FAILURE it opens the circuit until then, clamped to
        `retry_after_max`. None, NaN, zero or less: it did not say. `duration`: seconds that the call is judged slow by; None: since
        `acquired_at`. A permit of an older generation, or one settled before, is counted and changes nothing.
        """
        if now < self.latest:
            now = self.latest
        else:
            self.latest = now
        if self._is_plain and outcome is _SUCCESS:
            evidence = self.evidence
            quick = evidence.quick
            if now - permit.acquired_at <= quick and (duration is None or duration <= quick):
                try:
                    del self.live[permit]
                except KeyError:
                    self._late(permit, outcome, now)
                    return
                permit.standing = SETTLED
                evidence.in_a_row = 0
                window = evidence.window
                if now < window.clean_until:
                    window.goods += 1
                elif window.add(GOOD, now) >= window.enough:
                    self._judge(now)
                return
        self._settle(permit, outcome, now, retry_after, duration)

    def renew(self, permit: Permit, now: float) -> bool:
        """`record` a SUCCESS and acquire again in one step, with the same permit: for work that follows on work.

        False, and nothing has happened, unless this is the usual case: CLOSED, no override, nothing bad in the window, a quick call.
        """
        evidence = self.evidence
        window = evidence.window
        live = self.live
        if (
            permit not in live
            or now < self.latest
            or now >= self.plain_until
            or now >= window.clean_until
            or now - permit.acquired_at > evidence.quick
        ):
            return False
        self.latest = now
        evidence.in_a_row = 0
        window.goods += 1
        del live[permit]  # and in again, as the youngest
        permit.acquired_at = now
        live[permit] = None
        return True

    def _settle(self, permit: Permit, outcome: Outcome, now: float, retry_after: float | None, duration: float | None) -> None:
        if not self._take(permit, now):
            self._late(permit, outcome, now)
            return
        if outcome is Outcome.IGNORED or self.override is Override.DISABLED:
            return
        held = now - permit.acquired_at
        took = held if duration is None else duration
        failed = outcome is not _SUCCESS
        wait = self._asked_wait(retry_after) if failed else None
        if self._half_open is None:
            self._count(failed, held, took, wait, now)
        elif wait is None:
            self._follow(self._half_open, self._half_open.settle(permit, failed, took, now), now)
        else:
            self._open_as_told(wait, now)

    def release(self, permit: Permit, now: float) -> None:
        """Give a permit back without a verdict: the call was cancelled, or never made. The next acquire is admitted at once."""
        if not self._take(permit, self._seen(now)):
            self._settled_twice += permit.standing == SETTLED
            permit.standing = SETTLED

    def _take(self, permit: Permit, now: float) -> bool:
        """Take a permit out of the live ones; False when it is not among them."""
        if self._half_open is not None:
            self._follow(self._half_open, self._half_open.pass_time(now), now)  # its lease may have ended before it came back
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
            self._settled_twice += 1
            return
        self._late_results += 1
        if permit.standing == EXPIRED and outcome is _SUCCESS:
            self._emit(events.LeaseTooShort(self.name, now, self.generation, now - permit.acquired_at))
        permit.standing = SETTLED

    # -- Judging -------------------------------------------------------------------------------------------------------------------

    def _count(self, failed: bool, held: float, took: float, wait: float | None, now: float) -> None:
        self._look_for_end_of_episode(now)
        self.evidence.count(failed, took, now)
        if not failed and self.state is State.CLOSED:
            self.evidence.succeeded_after(held)
        if wait is None:
            self._judge(now)
        elif self.override is None:
            self._open_as_told(wait, now)
        else:
            self._breached(Breach(Reason.RETRY_AFTER, wait, 0.0), now)

    def _judge(self, now: float) -> None:
        """Look whether the results meet a rule: after every one of them, a good one too, unless nothing bad is in the window."""
        breach = self.evidence.breach()
        if breach is not None:
            self._breached(breach, now)
        else:
            self._look_for_end_of_episode(now)

    def _look_for_end_of_episode(self, now: float) -> None:
        """METRICS_ONLY tells again once everything has been below the thresholds; before each result too, since a window also empties by
        time alone."""
        if self._is_reported:
            self._is_reported = not self.evidence.is_clear(now)

    def _breached(self, breach: Breach, now: float) -> None:
        if self.override is None:
            self._open(Trigger.BREACHED, breach.reason, now, breach=breach)
        elif not self._is_reported:  # METRICS_ONLY tells once per episode; nothing else is judged under an override
            self._is_reported = True
            self._exceeded(breach, now, observed=True)

    def _asked_wait(self, retry_after: float | None) -> float | None:
        # What a server sends is not to be trusted. The comparison is false for NaN, too.
        return min(retry_after, self.settings.retry_after_max) if retry_after is not None and retry_after > 0 else None

    def _follow(self, half_open: HalfOpen, step: Step, now: float) -> None:
        """Act on what a half-open decided."""
        for permit in step.expired:
            self._emit(events.LeaseExpired(self.name, now, self.generation, permit.acquired_at, half_open.lease))
        if step.breach is not None:
            self._breached(step.breach, now)
        elif step.recovered:
            previous = self._close(Trigger.RECOVERED, now, self._level)
            self._emit(events.CircuitClosed(self.name, now, self.generation, previous))
        elif half_open.ramp.limit != step.limit:
            self._emit(events.LimitChanged(self.name, now, self.generation, step.limit, half_open.ramp.limit))

    # -- Time ----------------------------------------------------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Let time pass up to `now`: end a wait, a forced opening, a lease or a stage, and judge calls in flight that have become slow."""
        now = self._seen(now)
        if self._override_until is not None and now >= self._override_until:
            self.clear_override(now)
        if self.override is Override.FORCED_OPEN:
            return
        if self.state is State.OPEN and now >= self._until:
            self._end_wait(now)
        elif self._half_open is not None:
            self._follow(self._half_open, self._half_open.pass_time(now), now)
        elif self._is_plain or self.override is Override.METRICS_ONLY:
            self._judge_overdue(now)

    def _judge_overdue(self, now: float) -> None:
        self._look_for_end_of_episode(now)
        breach = self.evidence.slow_breach(now)
        if breach is not None:
            self._breached(breach, now)
        if self._is_plain:
            self.plain_until = self.evidence.overdue.look_again_at(now)

    def next_deadline(self) -> float | None:
        """The monotonic second at which `advance` will next matter if nothing else happens before; None: time alone changes nothing."""
        if self.override is Override.FORCED_OPEN:
            return self._override_until
        if self._half_open is not None:
            return self._half_open.next_at()
        wait_ends = self._until if self.state is State.OPEN else None
        overdue = self.evidence.next_overdue() if self._is_plain or self.override is Override.METRICS_ONLY else None
        return min((at for at in (self._override_until, wait_ends, overdue) if at is not None), default=None)

    # -- Limits and readings -------------------------------------------------------------------------------------------------------

    @property
    def limit(self) -> int | None:
        """The weight that may be in flight; None without a limit of the circuit's own, 0 while everything is refused."""
        if self._half_open is not None:
            return self._half_open.ramp.limit
        is_refusing = self.override is Override.FORCED_OPEN or (self.override is None and self.state is State.OPEN)
        return 0 if is_refusing else None

    @property
    def free_slots(self) -> int | None:
        """The weight that would be admitted now, as far as time has been let pass; None: as much as comes."""
        if self._half_open is None:
            return self.limit
        return max(0, self._half_open.ramp.limit - self._half_open.ramp.in_flight)

    @property
    def is_probing(self) -> bool:
        """Whether it is half-open and waits for the first result: its success begins the ramp, and closes nothing."""
        return self._half_open is not None and self._half_open.ramp.is_probing

    def set_full(self, full: int, now: float) -> None:
        """Set the limit at which a ramp ends, from 1; a running limit comes down with it. An explicit `ramp.full` is never raised."""
        explicit = self.settings.ramp.full
        self._full = validation.count("full", full) if explicit is None else min(explicit, validation.count("full", full))
        self.advance(now)
        if self._half_open is not None:
            self._follow(self._half_open, self._half_open.set_full(self._full, self.latest), self.latest)

    def snapshot(self, now: float) -> CircuitSnapshot:
        """The circuit as it is at `now`. Reading it changes nothing: a wait that is over shows as OPEN until time is let pass."""
        now = max(self.latest, now)
        evidence = self.evidence
        calls, failures, slow = evidence.window.seen_at(now)
        rates = evidence.rates(calls, failures, slow)
        return CircuitSnapshot(
            name=self.name,
            state=self.state,
            override=self.override,
            generation=self.generation,
            level=self._level_at(now),
            open_until=self._until if self.state is State.OPEN else None,
            limit=self.limit,
            in_flight=sum(permit.weight for permits in (self.live, evidence.overdue.permits) for permit in permits),
            calls=calls,
            failures=failures,
            slow_calls=slow,
            failure_rate=None if rates is None else rates[0],
            slow_call_rate=None if rates is None else rates[1],
            consecutive_failures=evidence.in_a_row,
            rejected=self.rejected,
            late_results=self._late_results,
            settled_twice=self._settled_twice,
            next_deadline=self.next_deadline(),
        )

    # -- Transitions ---------------------------------------------------------------------------------------------------------------

    def open_for(self, duration: float, now: float) -> None:
        """Open for `duration` seconds, clamped to `retry_after_max`; the level stays. While OPEN it only puts the end off, silently."""
        wait = min(validation.seconds("duration", duration), self.settings.retry_after_max)
        now = self._seen(now)
        if self.state is State.OPEN:
            self._until = max(self._until, now + wait)
            self._prepare_answers()
        else:
            self._open(Trigger.TOLD_TO_WAIT, Reason.OPEN_FOR, now, until=now + wait, level=self._level_at(now))

    def _open_as_told(self, wait: float, now: float) -> None:
        self._open(Trigger.TOLD_TO_WAIT, Reason.RETRY_AFTER, now, until=now + wait)

    def _open(
        self,
        trigger: Trigger,
        reason: Reason,
        now: float,
        *,
        until: float | None = None,
        level: int | None = None,
        breach: Breach | None = None,
    ) -> None:
        """Open: one level up unless `level` says otherwise, for the wait of the level unless `until` does."""
        previous = self.state
        state = transition(previous, trigger)
        if level is None:
            level = level_raised(self.settings, self._level_at(now))
        if until is None:
            until = now + open_wait(self.settings, level, self._draw)
        if breach is not None:
            self._exceeded(breach, now)
        self._swap(state, self.override, level, until)
        self._emit(events.CircuitOpened(self.name, now, self.generation, reason, until, level, previous))

    def _end_wait(self, now: float) -> None:
        previous = self.state
        self._swap(transition(previous, Trigger.WAITED), self.override, self._level)
        self._emit(events.CircuitHalfOpened(self.name, now, self.generation, previous))

    def end_wait(self, now: float) -> bool:
        """End the wait of OPEN now instead of at its time, so that a probe may go; the level stays. False, and nothing has happened,
        unless it is OPEN without an override."""
        now = self._seen(now)
        if self.state is not State.OPEN or self.override is not None:
            return False
        self._end_wait(now)
        return True

    def reset(self, now: float) -> None:
        """Close with empty windows and level 0: the full rate at once. It clears no override."""
        now = self._seen(now)
        previous = self._close(Trigger.RESET, now, level=0)
        self._emit(events.CircuitReset(self.name, now, self.generation, previous))

    def _close(self, trigger: Trigger, now: float, level: int) -> State:
        previous = self.state
        state = transition(previous, trigger)
        self.evidence.clear(now)
        self._closed_since = now
        self._swap(state, self.override, level)
        return previous

    def _swap(self, state: State, override: Override | None, level: int, until: float = -inf) -> None:
        """Put a new state, override or both in place. Nothing else changes the generation, and nothing in here can fail."""
        self.state = state
        self.override = override
        self.generation += 1
        self._level = level
        self._until = until
        self.live.clear()
        self.evidence.overdue.permits.clear()
        self._half_open = self._new_half_open() if state is State.HALF_OPEN and override is None else None
        self._is_reported = False
        self._prepare_answers()

    def _new_half_open(self) -> HalfOpen:
        # Twice the longest success: a lease must not take back calls that are known to end well.
        lease = max(self.settings.permit_lease, 2 * self.evidence.longest)
        return HalfOpen(Ramp(self.settings.ramp, self._full), self.live, lease, self.evidence.slow)

    def _prepare_answers(self) -> None:
        """Work out until when a call is admitted, or refused, without a look at anything else. A refusal is one object for all of them."""
        self._is_plain = self.state is State.CLOSED and self.override is None
        self.plain_until = self.evidence.overdue.look_again_at(self.latest) if self._is_plain else -inf
        self.refuse_until = -inf
        if self.override is Override.FORCED_OPEN:
            self.refuse_until = inf if self._override_until is None else self._override_until
        elif self.state is State.OPEN and self.override is None:
            self.refuse_until = self._until
        self.rejection = Rejected(None if self.refuse_until == inf else self.refuse_until, self.state, self.override)

    def _level_at(self, now: float) -> int:
        if self.state is not State.CLOSED or self.override is Override.FORCED_OPEN:  # nothing goes through: nobody knows of its health
            return self._level
        return max(0, self._level - healthy_intervals(self.settings, self._closed_since, now))

    # -- Overrides -----------------------------------------------------------------------------------------------------------------

    def force_open(self, now: float, *, until: float | None = None) -> None:
        """Reject everything until `until` (monotonic seconds; None: until cleared). It ends in HALF_OPEN, whatever the state was."""
        self._set_override(Override.FORCED_OPEN, until, now)

    def disable(self, now: float, *, until: float | None = None) -> None:
        """Admit everything and record nothing until `until`, as above. The wait of OPEN goes on below."""
        self._set_override(Override.DISABLED, until, now)

    def observe(self, now: float, *, until: float | None = None) -> None:
        """Admit everything, record, and tell once per episode when it would have opened, until `until`, as above."""
        self._set_override(Override.METRICS_ONLY, until, now)

    def _set_override(self, override: Override, until: float | None, now: float) -> None:
        if until is not None:
            until = validation.number("until", until)
        now = self._seen(now)
        if self.override is override and self._override_until == until:
            return
        unforced = self._lay(override, until, now)
        self._emit(events.OverrideSet(self.name, now, self.generation, override, until))
        self._tell_unforced(unforced, now)

    def clear_override(self, now: float) -> None:
        """Go on from the state below; a forced opening goes on from HALF_OPEN. Nothing happens without an override."""
        now = self._seen(now)
        override = self.override
        if override is None:
            return
        unforced = self._lay(None, None, now)
        self._emit(events.OverrideCleared(self.name, now, self.generation, override))
        self._tell_unforced(unforced, now)

    def _lay(self, override: Override | None, until: float | None, now: float) -> State | None:
        """Replace the override. What follows FORCED_OPEN finds HALF_OPEN below: the state that was left for it, otherwise None."""
        previous = self.state
        is_unforced = self.override is Override.FORCED_OPEN and override is not Override.FORCED_OPEN
        self._override_until = until
        if is_unforced:
            self._swap(transition(previous, Trigger.UNFORCED), override, self._level)
            return previous
        # What is forced open is not healthy meanwhile: the level stays what it is now.
        level = self._level_at(now) if override is Override.FORCED_OPEN else self._level
        self._swap(previous, override, level, self._until)
        return None

    def _tell_unforced(self, previous: State | None, now: float) -> None:
        if previous is not None:
            self._emit(events.CircuitHalfOpened(self.name, now, self.generation, previous))

    # -- Events --------------------------------------------------------------------------------------------------------------------

    def take_events(self) -> tuple[events.Event, ...]:
        """What happened since the last call, oldest first. Only the last 1,024 are kept for a caller that does not come."""
        taken = tuple(self.events_pending)
        self.events_pending.clear()
        return taken

    def _emit(self, event: events.Event) -> None:
        self.events_pending.append(event)

    def _exceeded(self, breach: Breach, now: float, *, observed: bool = False) -> None:
        self._emit(
            events.ThresholdExceeded(self.name, now, self.generation, breach.reason, breach.value, breach.threshold, observed=observed)
        )
