"""What a result of a message with a key is told: to its key, and to the circuit of the whole dependency."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.flow.stage import QUICK, gate, place_of, placed
from tests.flow.tenants import Tenants

from holdgate.core import Circuit, Limits, Outcome, State, Told
from holdgate.core.keys import Keys
from holdgate.flow import keyed
from holdgate.flow.attribution import NeedVerdict
from holdgate.flow.keyed import KeyedNeeds, KeyOfMessage
from holdgate.flow.message import Delivery
from holdgate.flow.unclaimed import RunResults

SUCCESS, FAILURE, THROTTLED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.THROTTLED


def _stage(*more: str, slow: float | None = None) -> Tenants:
    """At the hundredth second. From `slow` seconds on a call is slow."""
    stage = Tenants("none", *more, concurrency=20)
    stage.turn(later=100.0)
    if slow is not None:
        stage.gate.circuit.reconfigure(replace(QUICK, slow_call_duration=slow), stage.now)
        stage.keys.begin_anew(stage.now)
    return stage


def _started(stage: Tenants, tenant: str | None = "a") -> Delivery[Any]:
    stage.come(tenant)
    (delivery,) = stage.start_all()
    return delivery


def _record(stage: Tenants, delivery: Delivery[Any], finding: NeedVerdict) -> None:
    one = keyed.key_at(delivery, stage.gate)
    assert one is not None
    keyed.record(delivery, stage.gate, one, delivery.permits[0], finding, stage.now, charged=True)


def _succeeded(stage: Tenants) -> tuple[int, float]:
    totals = stage.gate.circuit.read_totals().succeeded
    return totals.count, totals.sum


# -- who has a key --------------------------------------------------------------------------------------------------------------------


def test_a_key_counts_nothing_before_its_message_starts() -> None:
    """And nothing after that was taken back."""
    keys = Keys(Circuit("payments", QUICK), None, lambda: 0.5)
    one = KeyOfMessage(keys, "a")
    assert one.slot is None
    keys.known("a", 0.0)
    keyed.start((one, None), 0.0)
    assert one.slot is not None
    keyed.give_back((one, None))
    assert one.slot is None
    assert keys.known("a", 0.0).in_flight == 0
    assert KeyedNeeds((), (one,), RunResults()).error is None


def test_a_message_has_a_key_only_where_its_gate_has_keys() -> None:
    """None at a dependency without keys, and none if it has no tenant."""
    stage = _stage("stock")
    with_key, without = _started(stage, "a"), _started(stage, None)
    one = keyed.key_at(with_key, stage.gate)
    assert one is not None
    assert one.key == "a"
    assert keyed.key_at(with_key, stage.gates[1]) is None
    assert keyed.key_at(without, stage.gate) is None


# -- a first attempt that went well ---------------------------------------------------------------------------------------------------


def test_a_success_counts_at_each_need() -> None:
    """At its key, at the whole, and at what has no keys. No turn is needed for it."""
    stage = _stage("stock")
    for count in (1, 2):
        delivery = _started(stage)
        assert keyed.record_successes(delivery, stage.now) is False
        assert [gate.successes for gate in stage.gates] == [count, count]
        assert [gate.circuit.read_totals().succeeded.count for gate in stage.gates] == [count, count]


def test_a_success_of_a_key_that_became_known_meanwhile_is_its_own() -> None:
    """Another message of it has failed while this one was in work."""
    stage = _stage()
    delivery = _started(stage)
    record = stage.keys.known("a", stage.now)
    keyed.record_successes(delivery, stage.now)
    assert (record.successes, record.seen_at(stage.now)) == (1, (1, 0, 0))


@pytest.mark.parametrize(("seconds", "known"), [(0.5, 0), (2.0, 1)])
def test_a_slow_success_makes_its_key_known(seconds: float, known: int) -> None:
    """By how long it took, and not by what the clock says."""
    stage = _stage(slow=1.0)
    delivery = _started(stage)
    stage.now += seconds
    keyed.record_successes(delivery, stage.now)
    assert len(stage.keys) == known


def test_a_turn_is_needed_where_a_success_may_let_others_go() -> None:
    """Its key may have room for one that waits; the circuit has something to say; or others stand in line at a limit."""
    freed = _stage()
    delivery = _started(freed)
    freed.keys.count_waiting(freed.keys.known("a", freed.now), 1)
    assert keyed.record_successes(delivery, freed.now) is True
    spoken = _stage()
    delivery = _started(spoken)
    spoken.gate.circuit.observe(spoken.now)
    assert keyed.record_successes(delivery, spoken.now) is True


# -- any other result -----------------------------------------------------------------------------------------------------------------


def test_a_finding_counts_as_long_as_it_says() -> None:
    """A call form has measured its own seconds; otherwise it is the time in which the permit was held."""
    stage = _stage()
    first, second = _started(stage), _started(stage)
    stage.now += 3.0
    _record(stage, first, NeedVerdict(SUCCESS, duration=0.25))
    _record(stage, second, NeedVerdict(SUCCESS))
    assert _succeeded(stage) == (2, pytest.approx(3.25))
    assert stage.gate.successes == 2


@pytest.mark.parametrize(("held", "duration", "known"), [(0.5, None, 0), (2.0, None, 1), (2.0, 0.5, 0), (0.5, 2.0, 1)])
def test_a_finding_is_slow_by_its_own_seconds(held: float, duration: float | None, known: int) -> None:
    """Where it has some."""
    stage = _stage(slow=1.0)
    delivery = _started(stage)
    stage.now += held
    _record(stage, delivery, NeedVerdict(SUCCESS, duration=duration))
    assert len(stage.keys) == known


def test_a_failure_is_no_success_of_the_gate_and_its_retry_after_is_the_keys() -> None:
    """A minute, for this key alone."""
    stage = _stage()
    _record(stage, _started(stage), NeedVerdict(FAILURE, retry_after=60.0))
    record = stage.keys.known("a", stage.now)
    assert (stage.gate.successes, record.state, stage.gate.circuit.state) == (0, State.OPEN, State.CLOSED)
    assert record.next_at(stage.now) == pytest.approx(stage.now + 60.0)


def test_what_nobody_knows_is_taken_back() -> None:
    """At the key and at the whole."""
    stage = _stage()
    stage.keys.known("a", stage.now)
    delivery = _started(stage)
    assert stage.keys.known("a", stage.now).in_flight == 1
    _record(stage, delivery, NeedVerdict(None))
    assert (stage.keys.known("a", stage.now).in_flight, stage.gate.circuit.permits.weight) == (0, 0)


def test_the_whole_hears_of_a_quota_only_where_it_is_throttled() -> None:
    """What a good answer says of one tenant's quota is no matter of the others. Five tenants that are throttled are everybody."""
    stage = _stage()
    _record(stage, _started(stage), NeedVerdict(SUCCESS, told=Told(None, 20, 10.0)))
    assert not stage.gate.circuit.limits.active
    for tenant in "bcdef":
        assert stage.gate.circuit.snapshot(stage.now).limits is None
        _record(stage, _started(stage, tenant), NeedVerdict(THROTTLED, told=Told(7.0)))
    seen = stage.gate.circuit.snapshot(stage.now).limits
    assert seen is not None
    assert seen.next_at is not None
    assert seen.next_at >= stage.now + 7.0


# -- what is looked at ----------------------------------------------------------------------------------------------------------------


def test_a_message_of_a_source_without_keys_has_none_anywhere() -> None:
    """Not even at a dependency with keys that has refused one of its calls: that was nobody's need."""
    stage = _stage()
    plain = placed(place_of(gate("mail")))

    assert keyed.key_at(plain, stage.gate) is None


@pytest.mark.parametrize(("waits", "limited", "turn"), [(True, True, True), (True, False, False), (False, True, False)])
def test_a_success_needs_a_turn_only_where_somebody_waits_at_a_limit(waits: bool, limited: bool, turn: bool) -> None:
    """Those who wait for a lane have it by themselves, and a limit that nobody waits at is no news."""
    stage = _stage()
    delivery = _started(stage)
    if limited:
        stage.gate.circuit.set_limits(Limits(concurrency=5, adaptive=False), stage.now)
    if waits:
        stage.gate.lines[stage.run] = {1: object()}

    assert keyed.record_successes(delivery, stage.now) is turn
