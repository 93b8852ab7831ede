"""One key of a dependency (a tenant, an API key, a host): whether its calls may start now, by its own circuit and its own limits.

Theory of operation
===================

A `Circuit` and a `Limiter` take four kilobytes. A worker may meet a hundred thousand keys, so one of them may take one: the rules are those
of circuit.py and limiter.py, in their short form, in one slotted object. What is shared by all keys of a dependency is in `KeyRules`.

    circuit   the last results are bits of a number, judged by the thresholds of the dependency's settings. OPEN lasts as long as that of a
              whole dependency. Then one call of this key asks, and a ramp follows; a stage is judged by its results, at any traffic
    gate      refusal_gate.py, made at the first answer "not so fast": nothing starts, one call asks
    pace      key_pace.py, made with the gate: what was let in from opening to opening
    width     a refusal at more in flight than was ever let in, twice: that many and no more, and one more is tried after a hundred calls.
              Nothing is found out of latency, as limiter.py does: a key has too few calls for that
    quota     told_quota.py, made when an answer says what is left
    rate      the rate that a user has set, exactly: `StartsInSpan`

A key that is well and has no number set is not here at all (keys.py): it costs nothing. A call that began before its key was here has no
`KeySlot`; its end counts all the same.

Nothing happens by itself: a wait that is over ends when somebody asks (`free`). A result of an older generation decides nothing for the
circuit, as everywhere.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, ClassVar

from holdgate.core.evidence import Thresholds
from holdgate.core.key_pace import KeyPace
from holdgate.core.outages import Asked, Outage, opened_until, requested_wait
from holdgate.core.outcomes import MessageCounts, Outcome
from holdgate.core.ramp import FAILURES_IN_A_ROW, FULL_ALONE, HALF, PROBE_LIMIT, SMALLEST_LIMITS
from holdgate.core.refusal_gate import RefusalGate
from holdgate.core.states import State
from holdgate.core.told_quota import ToldQuota
from holdgate.core.windows import CountWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdgate.core.limits import Limits
    from holdgate.core.outcomes import Told
    from holdgate.core.settings import CircuitSettings

# The results that a key is judged by where the settings give a window of time: as many as the default window of calls has. A span of time
# holds a few calls of one key, or none.
RESULTS = 20

# Entries of a rate's span. With 24, a rate above that is off by a 48th on average, to the safe side, and takes 400 bytes; a lower one is
# exact. limiter.py has a thousand entries: 100 kB.
RESOLUTION = 24

# So often in a row a refusal comes at more in flight than was ever let in: once is chance, or a rate (limiter.py has the same two).
CAPPED_AT = 2
# Good calls at the full width before one more is tried: one refusal in a hundred calls is what a wider one may cost.
WIDER_AFTER = 100

_TICK = 1e-6  # as in limited_calls.py: a timer that fires a little early must not be set for the same moment for ever

_WELL = Outage()


class KeyRules:
    """What all keys of a dependency share. `full` is the limit at which a key's ramp ends."""

    __slots__ = ("adaptive", "concurrency", "draw", "full", "lease", "limits", "mask", "results", "settings", "thresholds")

    def __init__(self, settings: CircuitSettings, limits: Limits | None, draw: Callable[[], float]) -> None:
        self.draw = draw
        self.limits = limits
        self.concurrency = None if limits is None else limits.concurrency
        self.adaptive = limits is None or limits.adaptive
        self.settings = settings
        self.results = settings.window.calls if isinstance(settings.window, CountWindow) else max(RESULTS, settings.minimum_calls)
        self.mask = (1 << self.results) - 1
        self.thresholds = Thresholds(settings)
        self.full = FULL_ALONE if settings.ramp.full is None else settings.ramp.full
        self.lease = settings.permit_lease


class StartsInSpan:
    """Count the starts of the last `per` seconds, as `RateWindow` does, in at most `RESOLUTION` + 1 entries."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries = array("d")  # time of the last start, number of starts, and so on, oldest first

    def __len__(self) -> int:
        return len(self._entries)

    def free(self, limits: Limits, now: float) -> int:
        """Return how many may start now."""
        entries = self._entries
        while entries and entries[0] + limits.per <= now:
            del entries[:2]
        return max(0, (limits.rate or 0) - int(sum(entries[1::2])))

    def next_at(self, limits: Limits) -> float:
        """Return when the next one may start, if none may now."""
        return self._entries[0] + limits.per

    def start(self, limits: Limits, now: float) -> None:
        """Count a start."""
        entries = self._entries
        cell = limits.per / RESOLUTION
        if (limits.rate or 0) > RESOLUTION and entries and entries[-2] // cell == now // cell:
            entries[-2] = now
            entries[-1] += 1
        else:
            entries.extend((now, 1))

    def give_back(self) -> None:
        """Take back the last start: it never reached the dependency."""
        entries = self._entries
        if entries:
            entries[-1] -= 1
            if not entries[-1]:
                del entries[-2:]


class KeySlot:
    """A call of a key in flight. `level` is how many of its calls were in flight at its start, itself included."""

    __slots__ = ("began", "generation", "level", "record", "token")

    def __init__(self, record: KeyRecord, now: float, token: int) -> None:
        self.record = record
        self.generation = record.generation
        self.began = now
        self.level = record.in_flight
        self.token = token


class KeyRecord(MessageCounts):
    """What is known of one key. It counts messages as a gate does.

    `waiting` is how many messages wait for this key. `spoke` is the generation of the whole circuit in which this key was
    counted as failing there; -1 means that it may be counted (keys.py).
    """

    # fmt: off
    __slots__ = (
        "_at", "_bad", "_calls", "_cut_at", "_gate", "_in_a_row", "_limit", "_outage", "_over", "_pace", "_passed", "_probing", "_proved",
        "_quota", "_slow", "_stage", "_stage_bad", "_starts", "_wide", "_width",
        "generation", "in_flight", "key", "rules", "spoke", "state", "used_at", "waiting",
    )
    # fmt: on

    # What a gate has beside, for the rules of votes and blame: a key has no health probe, and nobody lays an override over it.
    probed: ClassVar[bool] = False
    good_probes: ClassVar[int] = 0
    override: ClassVar[None] = None

    def __init__(self, key: object, rules: KeyRules, now: float) -> None:
        super().__init__()
        self.key = key
        self.rules = rules
        self.used_at = now
        self.state = State.CLOSED
        self.generation = self.in_flight = self.waiting = 0
        self.spoke = -1
        self._bad = self._slow = self._calls = self._in_a_row = 0
        self._limit = self._probing = self._stage = self._stage_bad = 0
        self._proved = False
        self._at = now  # CLOSED: since when. OPEN: until when. HALF_OPEN: when the last call started
        self._outage = _WELL
        self._gate: RefusalGate | None = None
        self._pace: KeyPace | None = None
        self._quota: ToldQuota | None = None
        self._starts = StartsInSpan() if rules.limits is not None and rules.limits.rate is not None else None
        self._width: int | None = None
        self._passed = self._over = self._wide = 0
        self._cut_at = -1.0

    # -- what it is asked -------------------------------------------------------------------------------------------------------------

    @property
    def circuit(self) -> KeyRecord:
        """Return itself: the rules of votes and blame ask a gate for its circuit."""
        return self

    @property
    def settings(self) -> CircuitSettings:
        """Return the settings of its circuit."""
        return self.rules.settings

    @property
    def is_held(self) -> bool:
        """Whether its messages wait, but for one that asks."""
        if self.state is State.CLOSED:
            return self._gate is not None and self._gate.is_shut
        return self.state is State.OPEN or not self._proved

    @property
    def is_pinned(self) -> bool:
        """Whether it must not be forgotten: messages wait for it, or are in work."""
        return self.waiting > 0 or self.in_flight > 0

    def seen_at(self, now: float) -> tuple[int, int, int]:  # noqa: ARG002 - as that of a circuit
        """Return the calls that its window holds, and how many of them failed. Of slow ones it knows nothing."""
        return self._calls, self._bad.bit_count(), 0

    def free(self, now: float) -> int | None:
        """Return how many of its calls may start now. None means any number. Lets time pass."""
        self._pass_time(now)
        return min((room for room, _ in self._rooms(now)), default=None)

    def next_at(self, now: float) -> float | None:
        """Return when time alone may let the next call start. None means that one may start now, or that only a result lets it."""
        self._pass_time(now)
        times = [at for room, at in self._rooms(now) if not room]
        if not times or None in times:
            return None
        return max(now + _TICK, *(at for at in times if at is not None))

    def _rooms(self, now: float) -> Iterator[tuple[int, float | None]]:
        """Yield for each control how many calls it lets start, and when it lets the next one start if that is none."""
        if self.state is State.OPEN:
            yield 0, self._at
            return
        if self.state is State.HALF_OPEN:
            yield max(0, self._limit - self._probing), self._at + self.rules.lease
        rules = self.rules
        if rules.concurrency is not None:
            yield max(0, rules.concurrency - self.in_flight), None
        if self._starts is not None and rules.limits is not None:
            room = self._starts.free(rules.limits, now)
            yield room, None if room else self._starts.next_at(rules.limits)
        yield from self._found_rooms(now)

    def _found_rooms(self, now: float) -> Iterator[tuple[int, float | None]]:
        gate, pace, quota = self._gate, self._pace, self._quota
        if gate is not None and gate.is_shut:
            yield gate.free(now) or 0, gate.next_at()
            return  # the one that asks is not paced
        if self._width is not None:
            yield max(0, self._width - self.in_flight), None
        if quota is not None and (left := quota.free(now)) is not None:
            yield left, quota.next_at(now)
        if pace is not None and (room := pace.free(now)) is not None:
            yield room, pace.next_at()

    # -- a call -----------------------------------------------------------------------------------------------------------------------

    def start(self, now: float, token: int) -> KeySlot:
        """Count a call that starts. `token` is a number from 1 that no other call has."""
        self.used_at = now
        self.in_flight += 1
        rules = self.rules
        if self.state is State.HALF_OPEN:
            self._probing += 1
            self._at = now
        if self._starts is not None and rules.limits is not None:
            self._starts.start(rules.limits, now)
        gate = self._gate
        if gate is not None and gate.is_shut and not gate.asking:
            gate.ask(token, now)
        if self._pace is not None:
            self._pace.start(now, is_pressed=self.waiting > 0)
        if self._quota is not None:
            self._quota.start(now, 1)
        return KeySlot(self, now, token)

    def give_back(self, slot: KeySlot) -> None:
        """Take back a call that never reached the dependency, or whose end nobody knows."""
        self._leave(slot)
        if self._starts is not None:
            self._starts.give_back()

    def end(
        self,
        slot: KeySlot | None,
        outcome: Outcome,
        now: float,
        *,
        took: float = 0.0,
        retry_after: float | None = None,
        told: Told | None = None,
        is_alone: bool = False,
    ) -> None:
        """Learn from a call that took `took` seconds and has ended. None for a call that began before this key was known.

        `is_alone`: it has asked for the whole dependency, which is not closed. A failure then opens this key's circuit immediately, so that
        another key asks next.
        """
        self.used_at = now
        slot_generation, level, began, token = (
            (0, 1, now - took, 0) if slot is None else (slot.generation, slot.level, slot.began, slot.token)
        )
        if slot is not None:
            self._leave(slot)
        if self.rules.adaptive:
            if told is not None:
                self._tell(told, now)
            if outcome is Outcome.THROTTLED:
                self._not_let_in(level, began, token, now, told)
            elif outcome is not Outcome.FAILURE:
                self._let_in(level, token, now)
        if slot_generation == self.generation and (outcome is Outcome.SUCCESS or outcome is Outcome.FAILURE):
            self._judge(outcome is Outcome.FAILURE, took, began, now, requested_wait(retry_after, self.settings), is_alone=is_alone)

    def _leave(self, slot: KeySlot) -> None:
        self.in_flight -= 1
        if slot.generation == self.generation and self.state is State.HALF_OPEN:
            self._probing -= 1
        if self._gate is not None:
            self._gate.forget(slot.token)

    # -- its limits -------------------------------------------------------------------------------------------------------------------

    def _tell(self, told: Told, now: float) -> None:
        quota = ToldQuota() if self._quota is None else self._quota
        if quota.tell(told, now, self.in_flight):
            self._quota = quota

    def _let_in(self, level: int, token: int, now: float) -> None:
        gate, pace = self._gate, self._pace
        if gate is not None and pace is not None and gate.is_shut:
            if token and token == gate.asked:
                self._open_gate(gate, pace, now)
            return
        if level > self._passed:
            self._passed, self._over = level, 0
        if self._width is not None and level >= self._width:
            self._wide += 1
            if self._wide >= WIDER_AFTER:
                self._width, self._wide = self._width + 1, 0

    def _not_let_in(self, level: int, began: float, token: int, now: float, told: Told | None) -> None:
        if self._gate is None or self._pace is None:
            self._gate, self._pace = RefusalGate(self.rules.draw), KeyPace(now)
        gate, pace = self._gate, self._pace
        gate.learn(now - began)
        pace.refuse()
        retry_after = None
        if told is not None:  # a quota knows the unit, which may be milliseconds
            retry_after = told.sure_wait if self._quota is None else self._quota.in_seconds(told)
        if gate.is_shut:
            if token and token == gate.asked:
                gate.refuse(now, retry_after)
            return
        if began < self._cut_at:
            return
        self._cut_at = now
        if self._width is not None and level >= self._width > 1:  # the cap is known, and one more was tried or came by chance
            self._passed = self._width = self._width - 1
            return
        if level > self._passed > 0:
            self._over += 1
            if self._over >= CAPPED_AT:
                self._width, self._wide = self._passed, 0
                self._pace = KeyPace(now)  # what was measured was this cap
                return
        gate.shut(now, is_down=False, retry_after=retry_after, pace=pace.rate)

    def _open_gate(self, gate: RefusalGate, pace: KeyPace, now: float) -> None:
        pace.reopen(now, now - gate.shut_at, gate.asked_at)
        self._cut_at = max(self._cut_at, gate.shut_at)
        gate.open(now)

    # -- its circuit ------------------------------------------------------------------------------------------------------------------

    def _judge(self, failed: bool, took: float, began: float, now: float, wait: float | None, *, is_alone: bool) -> None:
        slow_from = self.settings.slow_call_duration
        slow = slow_from is not None and took > slow_from
        self._in_a_row = self._in_a_row + 1 if failed else 0
        if wait is not None or (is_alone and failed):
            self._open(now, began, None if wait is None else now + wait)
        elif self.state is State.HALF_OPEN:
            self._judge_ramp(began, now, is_bad=failed or slow)
        else:
            self._count(failed, slow, began, now)

    def _count(self, failed: bool, slow: bool, began: float, now: float) -> None:
        rules = self.rules
        self._bad = (self._bad << 1 | failed) & rules.mask
        self._slow = (self._slow << 1 | slow) & rules.mask
        self._calls = min(rules.results, self._calls + 1)
        if not (self._bad or self._slow):
            self.spoke = -1
        if rules.thresholds.breach(self._calls, self._bad.bit_count(), self._slow.bit_count(), self._in_a_row) is not None:
            self._open(now, began)

    def _judge_ramp(self, began: float, now: float, *, is_bad: bool) -> None:
        if not self._proved:
            if is_bad:
                self._open(now, began)
            else:
                self._proved, self._limit = True, self.settings.ramp.initial
            return
        ramp = self.settings.ramp
        self._stage += 1
        self._stage_bad += is_bad
        if self._in_a_row >= FAILURES_IN_A_ROW:
            self._open(now, began)
            return
        if self._stage < max(ramp.minimum_verdicts, self._limit):
            return
        share = self._stage_bad / self._stage
        self._stage = self._stage_bad = 0
        if share > ramp.bad_rate and self._limit <= SMALLEST_LIMITS and share >= HALF:
            self._open(now, began)
        elif share > ramp.bad_rate:
            self._limit = max(1, self._limit // 2)
        elif self._limit >= self.rules.full:
            self._close(now)
        else:
            self._limit = min(self.rules.full, max(self._limit + 1, int(self._limit * ramp.growth)))

    def _open(self, now: float, began: float, until: float | None = None) -> None:
        settings = self.settings
        outage = self._outage
        if self.state is State.CLOSED:
            outage = outage.healthy_for(now - self._at, settings)
        self._outage = outage = outage.opened(now, settings)
        self._at = opened_until(settings, outage, Asked(began, now, self.rules.draw())) if until is None else until
        gate = self._gate
        if gate is not None and gate.is_shut:  # the circuit says from now on when to ask
            gate.open(now)
        if self._pace is not None:
            self._pace.interrupt(now)
        self._swap(State.OPEN)

    def _close(self, now: float) -> None:
        self._outage = self._outage.closed()
        self._at = now
        self._bad = self._slow = self._calls = self._in_a_row = 0
        self.spoke = -1
        self._swap(State.CLOSED)

    def begin_anew(self, rules: KeyRules, now: float) -> None:
        """Go on by other rules, or by the same as if nothing had been learned. What is in flight counts."""
        self.rules = rules
        self._gate = self._pace = self._quota = self._width = None
        self._passed = self._over = self._wide = 0
        self._starts = StartsInSpan() if rules.limits is not None and rules.limits.rate is not None else None
        self._outage = _WELL
        self._close(now)

    def _swap(self, state: State) -> None:
        self.state = state
        self.generation += 1
        self._probing = self._stage = self._stage_bad = 0

    def _pass_time(self, now: float) -> None:
        """End a wait that is over, the lease of a call that never came back, and the patience with one that asks."""
        if self.state is State.OPEN and now >= self._at:
            self._outage = self._outage.asked()
            self._swap(State.HALF_OPEN)
            self._limit, self._proved, self._in_a_row = PROBE_LIMIT, False, 0
        elif self.state is State.HALF_OPEN and self._probing >= self._limit and now >= self._at + self.rules.lease:
            self._open(now, self._at)
        gate, pace = self._gate, self._pace
        if gate is not None and pace is not None and gate.is_shut and gate.is_patience_over(now):
            self._open_gate(gate, pace, now)
