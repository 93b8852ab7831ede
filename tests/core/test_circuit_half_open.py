"""A circuit that is half-open: the probe, the ramp, leases, and the end of a ramp."""

from __future__ import annotations

import pytest
from tests.core.driving import (
    DOUBLING,
    FAILURE,
    FIRST_WAIT,
    NO_LIMIT,
    SUCCESS,
    acquire,
    call,
    calls,
    half_opened,
    is_refused,
    kinds,
    opened,
    ramping,
    with_ramp,
)

from holdgate.core import (
    Circuit,
    CircuitClosed,
    CircuitOpened,
    CircuitSettings,
    LeaseExpired,
    LeaseTooShort,
    LimitChanged,
    Outcome,
    Permit,
    RampSettings,
    Reason,
    Rejected,
    State,
    ThresholdExceeded,
)
from holdgate.errors import SettingsError

SLOW_AFTER_ONE = CircuitSettings(slow_call_duration=1.0)


def test_a_probe_goes_alone() -> None:
    """Everybody else is refused, without a time to come back."""
    circuit = half_opened()
    assert (circuit.limit, circuit.free_slots) == (1, 1)
    assert circuit.may_acquire(5.0)
    acquire(circuit, 5.0)
    assert circuit.try_acquire(5.0) == Rejected(None, State.HALF_OPEN)
    assert not circuit.may_acquire(5.0)
    assert (circuit.free_slots, circuit.snapshot(5.0).rejected) == (0, 1)


@pytest.mark.parametrize("give_back", [None, Outcome.IGNORED, Outcome.THROTTLED])
def test_a_probe_without_a_verdict_makes_room_for_another(give_back: Outcome | None) -> None:
    """The next acquire is admitted at once, as often as it happens, as far as the circuit goes."""
    circuit = half_opened(limits=NO_LIMIT)
    for _ in range(5):
        probe = acquire(circuit, 6.0)
        if give_back is None:
            circuit.release(probe, 6.0)
        else:
            circuit.record(probe, give_back, 20.0, duration=100.0)
        assert (circuit.state, circuit.limit, circuit.free_slots) == (State.HALF_OPEN, 1, 1)
    assert circuit.take_events() == ()


def test_a_good_probe_starts_the_ramp() -> None:
    """With the limit `initial`; a limit that changes is told."""
    circuit = half_opened(with_ramp(initial=4))
    call(circuit, SUCCESS, 5.0)
    assert (circuit.limit, circuit.take_events()) == (4, (LimitChanged("payments", 5.0, 2, 1, 4),))
    circuit = half_opened()
    call(circuit, SUCCESS, 5.0)
    assert (circuit.limit, circuit.take_events()) == (1, ())


def test_the_whole_ramp_takes_thirty_five_calls() -> None:
    """1 + 3 + 3 + 4 + 8 + 16, then it closes with an empty window and the level it had."""
    circuit = half_opened()
    calls(circuit, "S" * 34, 6.0)
    assert circuit.state is State.HALF_OPEN
    calls(circuit, "S", 6.0)
    snapshot = circuit.snapshot(6.0)
    assert (snapshot.state, snapshot.calls, snapshot.level, snapshot.limit) == (State.CLOSED, 0, 1, None)
    assert [(event.previous, event.limit) for event in circuit.take_events() if isinstance(event, LimitChanged)] == [
        (1, 2),
        (2, 4),
        (4, 8),
        (8, 16),
    ]


def test_exactly_the_limit_is_in_flight() -> None:
    """A hundred waiting calls find one slot, and then in each round exactly the limit."""
    circuit = half_opened()
    seen: list[int] = []
    while circuit.state is State.HALF_OPEN:
        limit = circuit.limit
        admitted = [permit for permit in (circuit.try_acquire(6.0) for _ in range(100)) if isinstance(permit, Permit)]
        assert len(admitted) == limit
        seen.append(len(admitted))
        for permit in admitted:
            circuit.record(permit, SUCCESS, 6.0)
    assert seen == [1, 1, 1, 1, 2, 2, 4, 8, 16]


def test_a_failed_probe_opens_again() -> None:
    """A young outage waits as long as before; with `open_multiplier` it is one level up, and twice as long."""
    circuit = half_opened()
    call(circuit, FAILURE, 5.0)
    assert (circuit.state, circuit.next_deadline(), circuit.snapshot(5.0).level) == (State.OPEN, 5.0 + FIRST_WAIT, 1)
    circuit = half_opened(DOUBLING)
    call(circuit, FAILURE, 5.0)
    assert (circuit.state, circuit.next_deadline(), circuit.snapshot(5.0).level) == (State.OPEN, 15.0, 2)


def test_a_slow_probe_opens() -> None:
    """By the time since the acquire, or by the duration it is given."""
    for took, duration in ((1.01, None), (0.0, 1.01)):
        circuit = half_opened(SLOW_AFTER_ONE)
        circuit.record(acquire(circuit, 5.0), SUCCESS, 5.0 + took, duration=duration)
        assert circuit.state is State.OPEN
    circuit = half_opened(SLOW_AFTER_ONE)
    circuit.record(acquire(circuit, 5.0), SUCCESS, 7.0, duration=0.5)
    assert circuit.state is State.HALF_OPEN


def test_retry_after_in_half_open_wins_over_the_ramp() -> None:
    """One failure opens until the server's time, whatever the stage says."""
    circuit = ramping(16)
    circuit.record(acquire(circuit, 6.0), FAILURE, 6.0, retry_after=2.0)
    assert circuit.take_events() == (CircuitOpened("payments", 6.0, 3, Reason.RETRY_AFTER, 8.0, 1, State.HALF_OPEN, 0.0, 1),)


def test_a_cut_is_told() -> None:
    """Limit 4 with a bad stage is 2."""
    circuit = ramping(4)
    calls(circuit, "SFSS", 6.0)
    assert (circuit.limit, circuit.take_events()) == (2, (LimitChanged("payments", 6.0, 2, 4, 2),))


def test_a_batch_needs_room_for_its_weight() -> None:
    """The limit counts weight, the stage counts one result."""
    circuit = ramping(4)
    batch = acquire(circuit, 6.0, weight=3)
    assert circuit.free_slots == 1
    assert is_refused(circuit, 6.0, weight=2)
    acquire(circuit, 6.0)
    assert circuit.free_slots == 0
    circuit.record(batch, SUCCESS, 6.0)
    assert circuit.free_slots == 3
    assert is_refused(circuit, 6.0, weight=5)
    assert circuit._half_open is not None
    assert circuit._half_open.ramp.results == 1


def test_an_expired_lease_of_the_probe_opens() -> None:
    """A lost probe is a failure; its events come in the order of cause."""
    circuit = half_opened()
    acquire(circuit, 6.0)
    assert circuit.next_deadline() == 306.0
    circuit.advance(305.9)
    assert circuit.take_events() == ()
    circuit.advance(306.0)
    assert circuit.take_events() == (
        LeaseExpired("payments", 306.0, 2, 6.0, 300.0),
        ThresholdExceeded("payments", 306.0, 2, Reason.PERMIT_LEASE, 1, 1),
        CircuitOpened("payments", 306.0, 3, Reason.PERMIT_LEASE, 306.0 + 0.05 * FIRST_WAIT, 1, State.HALF_OPEN, 0.0, 1, asked=6.0),
    )


@pytest.mark.parametrize("look", ["advance", "try_acquire", "may_acquire"])
def test_whoever_looks_ends_a_lease(look: str) -> None:
    """A lost probe cannot hold the circuit for anybody."""
    circuit = half_opened()
    acquire(circuit, 6.0)
    assert not isinstance(getattr(circuit, look)(400.0), Permit)
    assert circuit.state is State.OPEN


def test_a_peek_may_close() -> None:
    """An old good stage at the full rate ends by time, and then the answer is that of a closed circuit."""
    circuit = ramping(2, full=2)
    calls(circuit, "S", 6.0)
    assert circuit.may_acquire(50.0)
    assert circuit.state is State.CLOSED


def test_a_lease_is_twice_the_longest_success_if_that_is_longer() -> None:
    """Calls that are known to take 200 s and end well are not taken back after 300."""
    circuit = Circuit("payments")
    call(circuit, SUCCESS, 0.0, took=200.0)
    call(circuit, SUCCESS, 200.0, took=1.0)
    calls(circuit, "FFFFF", 210.0)
    acquire(circuit, 215.0)
    assert circuit.next_deadline() == 615.0


def test_successes_of_half_open_and_failures_do_not_stretch_the_lease() -> None:
    """Only what succeeded while CLOSED counts."""
    circuit = Circuit("payments")
    call(circuit, FAILURE, 0.0, took=1000.0)
    calls(circuit, "FFFF", 1000.0)
    call(circuit, SUCCESS, 1005.0, took=299.0)
    circuit.release(acquire(circuit, 1304.0), 1304.0)
    acquire(circuit, 1304.0)
    assert circuit.next_deadline() == 1604.0


def test_a_result_after_the_lease_comes_too_late_even_if_nobody_looked() -> None:
    """The permit is taken back first; the success then tells that the lease is too short, and opens or closes nothing."""
    circuit = half_opened()
    probe = acquire(circuit, 6.0)
    circuit.record(probe, SUCCESS, 306.0)
    assert kinds(circuit.take_events()) == ["LeaseExpired", "ThresholdExceeded", "CircuitOpened", "LeaseTooShort"]
    assert circuit.snapshot(306.0).late_results == 1


def test_a_success_after_an_expired_lease_tells_how_long_it_took() -> None:
    """Once, and in the same half-open as well as after it; a failure or a release tells nothing."""
    circuit = ramping(4)
    circuit.try_acquire(5.0, 5)  # refused: the stage waits for its results
    success, failure = acquire(circuit, 5.0), acquire(circuit, 6.0)
    circuit.advance(305.5)
    circuit.advance(306.5)
    assert circuit.state is State.HALF_OPEN
    circuit.take_events()
    circuit.record(failure, FAILURE, 310.0)
    circuit.record(success, SUCCESS, 310.0)
    assert circuit.take_events() == (LeaseTooShort("payments", 310.0, 2, 305.0),)
    circuit.record(success, SUCCESS, 311.0)
    assert circuit.take_events() == ()
    snapshot = circuit.snapshot(311.0)
    assert (snapshot.late_results, snapshot.settled_twice, snapshot.in_flight) == (2, 1, 0)


def test_releasing_after_the_lease_is_nothing() -> None:
    """Neither late nor twice; only a second settlement is counted."""
    circuit = half_opened()
    probe = acquire(circuit, 6.0)
    circuit.advance(400.0)
    circuit.release(probe, 401.0)
    assert (circuit.snapshot(401.0).late_results, circuit.snapshot(401.0).settled_twice) == (0, 0)
    circuit.release(probe, 401.0)
    assert circuit.snapshot(401.0).settled_twice == 1


def test_low_traffic_goes_on_by_time() -> None:
    """One good result per stage and ten seconds of nobody refused; the deadline says when."""
    circuit = ramping(1)
    now = FIRST_WAIT
    for limit in (2, 4, 8, 16):
        calls(circuit, "S", now)
        assert circuit.next_deadline() == now + 10.0
        now += 10.0
        circuit.advance(now)
        assert circuit.limit == limit
        assert circuit.next_deadline() is None
    calls(circuit, "S", now)
    circuit.advance(now + 10.0)
    assert circuit.take_events()[-1] == CircuitClosed("payments", now + 10.0, 3, State.HALF_OPEN, 0.0, 1)


def test_somebody_refused_ends_no_stage_by_time() -> None:
    """There is demand, so results will come."""
    circuit = ramping(1)
    permit = acquire(circuit, 5.0)
    assert is_refused(circuit, 5.0)
    circuit.record(permit, SUCCESS, 5.0)
    assert circuit.next_deadline() is None
    circuit.advance(100.0)
    assert circuit.limit == 1


def test_calls_that_wait_end_no_stage_by_time() -> None:
    """An engine that asks with a peek says that more wait; that is no refusal, and ends with the stage."""
    circuit = ramping(1)
    calls(circuit, "S", 5.0)
    circuit.expect_more()
    circuit.advance(100.0)
    assert (circuit.limit, circuit.next_deadline(), circuit.snapshot(100.0).rejected) == (1, None, 0)
    calls(circuit, "SSS", 100.0)
    assert circuit.limit == 2
    assert circuit.next_deadline() == 110.0


def test_a_closed_circuit_expects_what_comes() -> None:
    """Without a half-open there is no stage to keep."""
    circuit = Circuit("payments")
    before = circuit.snapshot(0.0)
    circuit.expect_more()
    assert circuit.snapshot(0.0) == before


def test_a_peek_is_no_refusal() -> None:
    """It counts nothing, so low traffic still goes on."""
    circuit = ramping(1)
    permit = acquire(circuit, 5.0)
    assert not circuit.may_acquire(5.0)
    circuit.record(permit, SUCCESS, 5.0)
    circuit.advance(15.0)
    assert (circuit.limit, circuit.snapshot(15.0).rejected) == (2, 0)


def test_calls_of_a_stage_that_hang_are_bad() -> None:
    """One in flight for over a second beside four good ones cuts."""
    circuit = ramping(4, SLOW_AFTER_ONE)
    acquire(circuit, 5.0)
    calls(circuit, "SSSS", 6.01)
    assert circuit.limit == 2


def test_a_circuit_alone_ramps_to_sixteen() -> None:
    """Without a setting and without set_full."""
    circuit = ramping(16)
    calls(circuit, "S" * 16, 6.0)
    assert circuit.state is State.CLOSED


@pytest.mark.parametrize(("setting", "given", "full"), [(None, 40, 40), (None, 3, 3), (8, 40, 8), (8, 3, 3)])
def test_set_full_lowers_an_explicit_value_and_never_raises_it(setting: int | None, given: int, full: int) -> None:
    """None takes what is given."""
    circuit = half_opened(CircuitSettings(ramp=RampSettings(full=setting)))
    circuit.set_full(given, 5.0)
    limits = [circuit.limit]
    while circuit.state is State.HALF_OPEN:
        limits.append(circuit.limit)
        call(circuit, SUCCESS, 5.0)
    assert limits[-1] == full


def test_set_full_brings_a_running_limit_down() -> None:
    """And tells so; raising it again leaves the limit to the stages."""
    circuit = ramping(8)
    permits = [acquire(circuit, 5.0) for _ in range(6)]
    circuit.set_full(4, 6.0)
    assert (circuit.limit, circuit.free_slots, circuit.take_events()) == (4, 0, (LimitChanged("payments", 6.0, 2, 8, 4),))
    circuit.release(permits[0], 6.0)
    circuit.release(permits[1], 6.0)
    assert is_refused(circuit, 6.0)
    circuit.set_full(64, 7.0)
    assert (circuit.limit, circuit.take_events()) == (4, ())


def test_set_full_lets_time_pass_first() -> None:
    """An old stage is judged at its own limit."""
    circuit = ramping(4, full=8)
    calls(circuit, "S", 5.0)
    circuit.set_full(8, 100.0)
    assert circuit.limit == 8


@pytest.mark.parametrize("full", [0, -1, 1.5])
@pytest.mark.parametrize("setting", [None, 8])
def test_set_full_wants_a_whole_number(full: int, setting: int | None) -> None:
    """Anything else raises."""
    circuit = Circuit("payments", CircuitSettings(ramp=RampSettings(full=setting)))
    with pytest.raises(SettingsError, match="full must be"):
        circuit.set_full(full, 0.0)


def test_set_full_of_a_closed_circuit_is_kept_for_its_next_ramp() -> None:
    """No ramp runs, so nothing changes now."""
    circuit = Circuit("payments")
    circuit.set_full(2, 0.0)
    assert circuit.limit is None
    calls(circuit, "FFFFF", 0.0)
    calls(circuit, "S" * 7, FIRST_WAIT)
    assert circuit.state is State.CLOSED


def test_calls_that_wait_elsewhere_make_a_stage_one_of_high_traffic() -> None:
    """Told that more wait, a half-open is not judged by its age; a circuit that is not half-open has nothing to note."""
    told, untold = (Circuit("payments", CircuitSettings(consecutive_failures=1, open_jitter=0.0)) for _ in range(2))
    for circuit in (told, untold):
        circuit.expect_more()
        circuit.record(acquire(circuit, 0.0), FAILURE, 0.0)
        for _ in range(2):  # the probe, and one of the three results that the stage needs
            circuit.record(acquire(circuit, 5.0), SUCCESS, 5.0)
    told.expect_more()
    for circuit in (told, untold):
        circuit.advance(15.0)

    assert (told.limit, untold.limit) == (1, 2)
    assert told.snapshot(15.0).rejected == 0


def test_every_refusal_for_want_of_room_is_counted() -> None:
    """Beside those of before."""
    circuit = opened()
    assert is_refused(circuit, 1.0)
    acquire(circuit, FIRST_WAIT)
    for _ in range(3):
        assert is_refused(circuit, FIRST_WAIT)
    assert circuit.snapshot(FIRST_WAIT).rejected == 4


def test_only_a_half_open_without_a_result_probes() -> None:
    """Not a closed or an open circuit, and not a ramp."""
    assert Circuit("payments").is_probing is False
    assert opened().is_probing is False
    assert half_opened().is_probing is True
    assert ramping(2).is_probing is False


def test_a_ramp_that_becomes_shorter_in_the_middle_of_a_stage_goes_on() -> None:
    """What has come in is too little for a verdict, and too young."""
    circuit = ramping(8)
    calls(circuit, "S", FIRST_WAIT)
    circuit.set_full(4, FIRST_WAIT)
    assert (circuit.limit, circuit.state) == (4, State.HALF_OPEN)
    circuit.set_full(4, FIRST_WAIT + 20.0)
    assert circuit.state is State.CLOSED


def test_an_explicit_end_of_the_ramp_is_its_end() -> None:
    """Four, where nobody has said another number since."""
    circuit = half_opened(CircuitSettings(ramp=RampSettings(initial=4, full=4)))
    calls(circuit, "SSSSS", FIRST_WAIT)
    assert circuit.state is State.CLOSED


def test_the_first_success_is_learnt_however_quick() -> None:
    """A lease of half a second is too short for a dependency whose calls take one."""
    circuit = Circuit("payments", CircuitSettings(permit_lease=0.5))
    call(circuit, SUCCESS, 0.0, took=0.9)
    calls(circuit, "FFFFF", 1.0)
    acquire(circuit, 6.0)
    assert circuit.next_deadline() == 7.8


def test_the_lease_is_twice_the_longest_success() -> None:
    """A call of 200 seconds has been seen to end well: from then on a permit may be away for 400, and no longer."""
    circuit = Circuit("payments")
    call(circuit, SUCCESS, 0.0, took=200.0)
    calls(circuit, "FFFFF", 200.0)
    acquire(circuit, 205.0)
    assert circuit.next_deadline() == 605.0
