"""One key, at the borders of its rules: what shuts its gate, what caps it, what its rate counts, and when its ramp goes on."""

from __future__ import annotations

import pytest
from tests.core.test_key_record import FAILED, OK, STEADY, THROTTLED, Key

from holdgate.core import CircuitSettings, CountWindow, Limits, RampSettings, State, Told
from holdgate.core.key_record import KeyRecord, KeyRules, KeySlot, StartsInSpan


def _in_flight(key: Key, count: int) -> list[KeySlot]:
    return [key.record.start(key.now, 1000 + at) for at in range(count)]


def _end(key: Key, slot: KeySlot, outcome: object, **more: object) -> None:
    key.record.end(slot, outcome, key.now, took=key.now - slot.began, **more)  # type: ignore[arg-type]


def _open_gate(key: Key) -> None:
    """Let the asking call in."""
    at = key.record.next_at(key.now)
    key.now = key.now if at is None else at
    key.call(OK, 0.02)
    assert not key.record.is_held


# -- its gate -------------------------------------------------------------------------------------------------------------------------


def test_an_asking_call_is_patient_by_how_long_refusals_take() -> None:
    """Four times that, whatever the clock says."""
    key = Key()
    key.now = 1000.0
    key.call(THROTTLED, 0.02)
    at = key.record.next_at(key.now)
    assert at is not None
    key.record.start(at, 99)
    assert key.record.next_at(at) == pytest.approx(at + 0.08)


def test_a_retry_after_of_the_asking_call_is_obeyed() -> None:
    """It is refused once more, and for longer."""
    key = Key()
    key.call(THROTTLED, 0.02)
    at = key.record.next_at(key.now)
    assert at is not None
    key.now = at
    key.call(THROTTLED, 0.02, told=Told(50.0))
    at = key.record.next_at(key.now)
    assert at is not None
    assert 50.0 <= at - key.now <= 51.0


def test_the_gate_of_a_slow_key_waits_an_interval_of_its_pace() -> None:
    """At one call in five seconds there is no use in asking after a quarter of one."""
    key = Key()
    key.call(THROTTLED, 0.02)
    for _ in range(3):
        key.now += 5.0
        _open_gate(key)
        key.now += 5.0
        key.call(THROTTLED, 0.02)
    at = key.record.next_at(key.now)
    assert at is not None
    assert at - key.now > 3.0


def test_an_unknown_call_opens_no_gate() -> None:
    """It has no number, and so it is not the one that asked, which has the number one."""
    key = Key()
    key.record.end(None, THROTTLED, 1.0, took=0.02)
    key.record.start(2.0, 1)
    key.record.end(None, OK, 2.1, took=0.1)
    assert key.record.is_held


def test_an_unknown_call_that_began_before_the_refusal_is_old_news() -> None:
    """It took two minutes, and the gate has opened since."""
    key = Key()
    key.call(THROTTLED, 0.02)
    _open_gate(key)
    key.now = 100.0
    key.record.end(None, THROTTLED, key.now, took=120.0)
    assert not key.record.is_held


def test_opening_lets_the_gate_go_for_good() -> None:
    """It is shut for ten minutes when the circuit opens, and after the circuit's own wait one call asks. Then all goes on."""
    key = Key()
    key.record.end(None, THROTTLED, 0.0, took=0.1, told=Told(600.0))
    slots = _in_flight(key, 5)
    for slot in slots:
        _end(key, slot, FAILED)
    key.now += 5.0
    assert key.free == 1
    key.calls(OK, 1 + 3 + 3 + 4 + 8 + 16)
    assert (key.record.state, key.record.is_held) == (State.CLOSED, False)
    key.call(THROTTLED, 0.02)
    _open_gate(key)


# -- its pace and its quota -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("waiting", "climbs"), [(0, False), (1, True)])
def test_a_pace_climbs_only_while_messages_wait(waiting: int, climbs: bool) -> None:
    """Without demand, time teaches nothing."""
    key = Key()
    key.call(THROTTLED, 0.02)
    _open_gate(key)
    pace = key.record._pace
    assert pace is not None
    before = pace.rate
    assert before is not None
    key.record.waiting = waiting
    key.now = pace.next_at()
    key.call(OK)
    assert (pace.rate > before) is climbs


def test_the_least_that_any_answer_said_of_a_quota_holds() -> None:
    """Fifty left, and a later answer of the same window that says sixty."""
    key = Key()
    key.record.end(None, OK, 0.0, told=Told(None, 50, 10.0))
    key.record.end(None, OK, 0.1, told=Told(None, 60, 10.3))
    key.record.start(0.1, 1)
    at = key.record.next_at(0.1)
    assert at is not None
    assert at == pytest.approx(9.9 / 50, abs=0.001)


def test_trap_a_refusal_names_its_end_in_milliseconds() -> None:
    """Two good answers have shown the unit: the key is shut for twenty seconds, and not for five hours."""
    key = Key()
    for at, left, reset in ((0.1, 599, 59_900.0), (1.1, 590, 58_900.0)):
        key.record.end(None, OK, at, told=Told(None, left, reset))
    key.now = 40.0
    key.call(THROTTLED, 0.02, told=Told(20_000.0, 0, 20_000.0))
    at = key.record.next_at(key.now)
    assert at is not None
    assert 20.0 <= at - key.now <= 25.0


# -- its width ------------------------------------------------------------------------------------------------------------------------


def _capped(at: int) -> Key:
    """So many at a time are let in, and one more is not, twice."""
    key = Key()
    key.now = 10.0
    for _ in range(2):
        slots = _in_flight(key, at + 1)
        for slot in slots[:at]:
            _end(key, slot, OK)
        _end(key, slots[at], THROTTLED)
        while key.record.is_held:
            _open_gate(key)
        key.now += 1000.0
    return key


def _width(key: Key) -> int:
    """How many it lets start, with time for its pace between them."""
    slots: list[KeySlot] = []
    while len(slots) < 10:
        key.now += 1000.0
        if key.record.free(key.now) == 0:
            break
        slots.append(key.record.start(key.now, 2000 + len(slots)))
    for slot in slots:
        key.record.give_back(slot)
    return len(slots)


def _good_at_full_width(key: Key, count: int, width: int) -> None:
    """So many good calls beside others that keep it full."""
    others = _in_flight(key, width - 1)
    for _ in range(count):
        key.now += 1000.0
        slot = key.record.start(key.now, 3000)
        _end(key, slot, OK)
    for slot in others:
        key.record.give_back(slot)


@pytest.mark.parametrize("cap", [1, 2, 3])
def test_what_was_let_in_is_the_cap(cap: int) -> None:
    """From one on. A hundred good calls at the cap are the price of one more, and the next hundred of another."""
    key = _capped(cap)
    assert _width(key) == cap
    for width in (cap, cap + 1):
        _good_at_full_width(key, 99, width)
        assert _width(key) == width
        _good_at_full_width(key, 1, width)
        assert _width(key) == width + 1


def test_refused_at_the_cap_is_one_less() -> None:
    """Down to one, and there it is no matter of width: the gate shuts."""
    key = _capped(3)
    for width in (3, 2):
        slots = _in_flight(key, width)
        _end(key, slots[-1], THROTTLED)
        for slot in slots[:-1]:
            key.record.give_back(slot)
        assert not key.record.is_held
        assert _width(key) == width - 1
    _end(key, _in_flight(key, 1)[0], THROTTLED)
    assert key.record.is_held


def test_a_refusal_in_the_moment_of_the_last_decision_is_news() -> None:
    """Two calls begin at the second in which the cap came down, and are refused in it."""
    key = _capped(3)
    slots = _in_flight(key, 3)
    _end(key, slots.pop(), THROTTLED)
    again = _in_flight(key, 1)
    _end(key, again[0], THROTTLED)
    for slot in slots:
        key.record.give_back(slot)
    assert _width(key) == 1


def test_where_none_was_let_in_there_is_no_cap() -> None:
    """The only call is refused, again and again. That is a rate, and one call after another asks."""
    key = Key()
    for _ in range(3):
        key.call(THROTTLED, 0.02)
        assert key.record.is_held
        at = key.record.next_at(key.now)
        assert at is not None
        key.record.start(at, 99)
        key.now = at + 10.0  # silent, and so let in
        assert key.free != 0 or key.record.next_at(key.now) is not None


def test_an_unknown_call_was_alone() -> None:
    """It shows that one is let in, and two that are refused above it are a cap of one."""
    key = Key()
    key.record.end(None, OK, 0.0, took=0.1)
    key.call(THROTTLED, 0.02)  # makes it known, at one in flight
    _open_gate(key)
    key.record.begin_anew(KeyRules(STEADY, None, lambda: 0.5), key.now)
    key.record.end(None, OK, key.now, took=0.1)
    for _ in range(2):
        key.now += 1000.0
        slots = _in_flight(key, 2)
        _end(key, slots[1], THROTTLED)
        key.record.give_back(slots[0])
        while key.record.is_held:
            at = key.record.next_at(key.now)
            assert at is not None
            key.record.start(at, 99)
            key.now = at + 10.0
            key.record.free(key.now)
    assert key.record._width == 1


def test_who_begins_anew_knows_no_cap() -> None:
    """Two refusals above nothing show none. And its circuit opens as that of a new key."""
    key = _capped(1)
    key.record.begin_anew(KeyRules(STEADY, None, lambda: 0.5), key.now)
    for _ in range(2):
        key.now += 1000.0
        slots = _in_flight(key, 2)
        _end(key, slots[1], THROTTLED)
        assert key.record.is_held
        at = key.record.next_at(key.now)
        assert at is not None
        key.record.give_back(slots[0])
        key.record.start(at, 99)
        key.now = at + 10.0
        key.record.free(key.now)
    assert key.record._width is None
    key.record.begin_anew(KeyRules(STEADY, None, lambda: 0.5), key.now)
    key.calls(FAILED, 5)
    assert key.record.state is State.OPEN


def test_what_the_pace_was_under_a_cap_says_nothing() -> None:
    """It is measured anew from when the cap was found: ten calls in a hundred seconds."""
    key = _capped(3)
    began = key.now
    for at in range(10):
        key.now = began + 10.0 * at
        slot = key.record.start(key.now, 3000)
        _end(key, slot, OK)
    key.now = began + 100.0
    key.call(THROTTLED, 0.02)
    _open_gate(key)
    assert key.record._pace is not None
    assert key.record._pace.rate is not None
    assert key.record._pace.rate < 0.2


# -- its circuit ----------------------------------------------------------------------------------------------------------------------


def test_each_change_of_state_is_a_generation() -> None:
    """And what the whole has counted of a key is counted again when the key is well."""
    record = (key := Key()).record
    assert (record.generation, record.spoke) == (0, -1)
    record.spoke = 7
    key.calls(FAILED, 5)
    assert (record.state, record.generation, record.spoke, record.used_at) == (State.OPEN, 1, 7, key.now)
    key.now += 5.0
    assert key.free == 1
    assert (record.state, record.generation) == (State.HALF_OPEN, 2)
    key.calls(OK, 1 + 3 + 3 + 4 + 8 + 16)
    assert (record.state, record.generation, record.spoke) == (State.CLOSED, 3, -1)
    record.start(key.now + 1.0, 5)
    assert record.used_at == key.now + 1.0


def test_a_key_may_be_counted_again_when_its_window_is_good() -> None:
    """Not before its only failure has left the window."""
    key = Key(CircuitSettings(window=CountWindow(5)))
    key.record.spoke = 7
    key.call(FAILED)
    key.calls(OK, 4)
    assert key.record.spoke == 7
    key.call(OK)
    assert key.record.spoke == -1


def test_calls_of_a_stage_are_in_flight_together() -> None:
    """Two at a limit of two, and no third. A call from before the ramp makes no room in it."""
    key = Key()
    old = key.record.start(key.now, 500)
    key.calls(FAILED, 5)
    key.now += 5.0
    assert key.free == 1
    key.calls(OK, 1 + 3)
    assert key.free == 2
    _in_flight(key, 2)
    assert key.free == 0
    key.record.give_back(old)
    assert key.free == 0


@pytest.mark.parametrize(("first", "count", "state"), [(OK, 4, State.CLOSED), (OK, 5, State.OPEN)])
def test_a_success_ends_a_row(first: object, count: int, state: State) -> None:
    """Four failures after it are four."""
    key = Key(CircuitSettings(minimum_calls=100, window=CountWindow(100)))
    key.call(first)  # type: ignore[arg-type]
    key.calls(FAILED, count)
    assert key.record.state is state


def test_a_row_does_not_begin_with_a_recovery() -> None:
    """After a ramp five failures open it again, as before, and for twice as long. An hour of health later it is as at first."""
    key = Key(CircuitSettings(open_duration=5.0, open_multiplier=2.0, open_jitter=0.0, healthy_interval=60.0))
    key.now, waits = 1000.0, []
    for healthy in (0.0, 3600.0):
        key.calls(FAILED, 4)
        assert key.record.state is State.CLOSED
        key.calls(FAILED, 1)
        at = key.record.next_at(key.now)
        assert at is not None
        waits.append(at - key.now)
        while key.record.state is not State.CLOSED:
            at = key.record.next_at(key.now)
            key.now = key.now if at is None else at
            assert key.free != 0
            key.call(OK)
        key.now += healthy
    key.calls(FAILED, 5)
    at = key.record.next_at(key.now)
    assert at is not None
    waits.append(at - key.now)
    assert waits == pytest.approx([5.0, 10.0, 5.0], abs=0.2)


def test_exactly_as_long_as_a_slow_call_is_not_slow() -> None:
    """Ten of them open nothing. And of ten, the five first ones that were slow count as much as the last."""
    key = Key(CircuitSettings(slow_call_duration=1.0))
    for _ in range(10):
        slot = key.record.start(key.now, 1)
        key.now += 1.0
        key.record.end(slot, OK, key.now, took=1.0)
    assert key.record.state is State.CLOSED
    slow = Key(CircuitSettings(slow_call_duration=1.0, window=CountWindow(10), minimum_calls=10))
    for took in (2.0,) * 5 + (0.1,) * 5:
        slow.call(OK, took)
    assert slow.record.state is State.OPEN


def _at_limit(limit: int, ramp: RampSettings) -> Key:
    """A key whose ramp has come to this limit."""
    key = Key(CircuitSettings(open_duration=5.0, open_jitter=0.0, ramp=ramp))
    key.calls(FAILED, 5)
    key.now += 5.0
    assert key.free == 1
    key.call(OK)
    while key.free != limit:
        key.call(OK)
    return key


@pytest.mark.parametrize(
    ("limit", "growth", "results", "then"),
    [
        (4, 2.0, "OFOO", 2),  # a quarter is more than a tenth
        (3, 1.2, "OFO", 1),  # half of three, in whole calls
        (1, 2.0, "OFO", 1),  # a third at one: as few as there can be
        (2, 2.0, "OFO", 1),  # a third at two
        (2, 2.0, "FOFO", None),  # half at two
        (4, 2.0, "FOFO", 2),  # half at four
        (2, 1.2, "OOO", 3),  # one more at least
        (10, 1.2, "OOOOOFOOOO", 12),  # a tenth is not more than a tenth
        (4, 2.0, "OOOO", 8),
    ],
)
def test_a_stage_is_judged_by_its_share_of_bad_results(limit: int, growth: float, results: str, then: int | None) -> None:
    """None is open again."""
    key = _at_limit(limit, RampSettings(initial=limit, growth=growth, bad_rate=0.1, full=20, minimum_verdicts=3 if len(results) < 4 else 4))
    for result in results:
        key.call(OK if result == "O" else FAILED)
    assert key.free == (0 if then is None else then)
    assert (key.record.state is State.OPEN) is (then is None)


# -- its rate -------------------------------------------------------------------------------------------------------------------------


def test_a_timer_is_never_set_for_now() -> None:
    """A start that is free in a ten-millionth of a second is waited for a little longer."""
    key = Key(limits=Limits(rate=1, adaptive=False))
    key.record.start(5.0, 1)
    now = 6.0 - 1e-7
    assert key.record.next_at(now) == pytest.approx(now + 1e-6, abs=1e-9)


@pytest.mark.parametrize(("rate", "entries"), [(24, 3), (25, 2), (100, 2)])
def test_starts_of_a_high_rate_share_an_entry(rate: int, entries: int) -> None:
    """From 25 in a span on, those of a twenty-fourth of it, which count until the last of them is out of the span."""
    limits, starts = Limits(rate=rate, per=24.0, adaptive=False), StartsInSpan()
    for now in (0.0, 1.25, 1.5):
        starts.start(limits, now)
    assert len(starts) == 2 * entries
    assert starts.free(limits, 24.0) == rate - 2
    assert starts.free(limits, 25.3) == rate - (1 if rate == 24 else 2)
    assert starts.free(limits, 25.5) == rate


def test_taking_back_one_of_two_starts_keeps_the_other() -> None:
    """Of one entry, and of two."""
    limits, starts = Limits(rate=100, per=24.0, adaptive=False), StartsInSpan()
    starts.start(limits, 0.0)
    starts.start(limits, 0.0)
    starts.give_back()
    assert (len(starts), starts.free(limits, 0.0)) == (2, 99)
    starts.start(limits, 5.0)
    starts.give_back()
    assert (len(starts), starts.free(limits, 5.0)) == (2, 99)


def test_a_record_knows_who_it_is() -> None:
    """Its key, and when it was last used."""
    record = KeyRecord("a", KeyRules(STEADY, None, lambda: 0.5), 3.0)
    assert (record.key, record.used_at) == ("a", 3.0)
