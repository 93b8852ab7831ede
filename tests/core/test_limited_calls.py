"""The calls that a limiter counts: what a circuit asks it, what it tells it, and what an override makes of that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.core.driving import FAILURE, SUCCESS, acquire, half_opened

from holdgate.core import Circuit, Limits, Outcome, Override, Permit, Rejected, State
from holdgate.errors import SettingsError

TWO = Limits(concurrency=2, adaptive=False)
ONE_A_SECOND = Limits(rate=1, per=1.0, adaptive=False)
THROTTLED = Outcome.THROTTLED


def test_a_bulkhead_admits_so_many_in_parallel() -> None:
    """The third is refused as limited, without a time, and gets the slot of the first that ends."""
    circuit = Circuit("payments", limits=TWO)
    first = acquire(circuit, 0.0)
    acquire(circuit, 0.0)
    refused = circuit.try_acquire(0.0)
    assert isinstance(refused, Rejected)
    assert (refused.is_limited, refused.state) == (True, State.CLOSED)
    assert (circuit.may_acquire(0.0), circuit.free_slots, circuit.rejected) == (False, 0, 1)
    circuit.record(first, SUCCESS, 0.001)
    assert circuit.may_acquire(0.001)
    assert isinstance(circuit.try_acquire(0.001), Permit)


def test_a_rate_says_when_the_next_call_may_start() -> None:
    """The refusal, the deadline and the snapshot name the same moment."""
    circuit = Circuit("payments", limits=ONE_A_SECOND)
    circuit.record(acquire(circuit, 5.0), SUCCESS, 5.0)
    refused = circuit.try_acquire(5.25)
    assert isinstance(refused, Rejected)
    seen = circuit.snapshot(5.25).limits
    assert seen is not None
    assert seen.next_at is not None
    assert refused.retry_at == circuit.next_deadline() == seen.next_at
    assert seen.next_at == pytest.approx(6.0, abs=1e-6)
    assert isinstance(circuit.try_acquire(seen.next_at), Permit)


def test_nothing_is_looked_at_until_an_answer_is_throttled() -> None:
    """The usual way of a call stays open, and a failure does not close it either."""
    circuit = Circuit("payments")
    acquire(circuit, 0.0)
    circuit.record(acquire(circuit, 0.0), FAILURE, 0.0)
    assert not circuit.limits.active
    assert circuit.plain_until > 0.0
    assert circuit.snapshot(0.0).limits is None
    assert circuit.next_deadline() is None


def test_the_usual_way_is_closed_while_something_is_limited() -> None:
    """`renew`, which looks at nothing, must not let a call go for which there is no slot."""
    circuit = Circuit("payments", limits=ONE_A_SECOND)
    permit = acquire(circuit, 0.0)
    assert not circuit.renew(permit, 0.0)
    assert circuit.evidence.quick < 0
    circuit.set_limits(None, 0.0)
    circuit.record(permit, SUCCESS, 0.001)
    assert circuit.evidence.quick >= 0
    assert circuit.renew(acquire(circuit, 0.001), 0.001)
    assert circuit.plain_until > 0.001


def test_a_batch_takes_as_many_slots_as_it_has_messages() -> None:
    """It is refused while fewer are free."""
    circuit = Circuit("payments", limits=TWO)
    acquire(circuit, 0.0)
    assert isinstance(circuit.try_acquire(0.0, 2), Rejected)
    assert circuit.free_slots == 1


def test_a_call_that_was_never_made_costs_nothing() -> None:
    """Its slot and its place in the rate are free again."""
    circuit = Circuit("payments", limits=ONE_A_SECOND)
    circuit.release(acquire(circuit, 0.0), 0.0)
    assert isinstance(circuit.try_acquire(0.0), Permit)


def test_a_result_that_is_given_twice_ends_one_call() -> None:
    """The second one does not free a slot that another call has."""
    circuit = Circuit("payments", limits=TWO)
    first = acquire(circuit, 0.0)
    acquire(circuit, 0.0)
    circuit.record(first, SUCCESS, 0.001)
    circuit.record(first, SUCCESS, 0.001)
    acquire(circuit, 0.001)
    assert circuit.free_slots == 0


def test_a_late_result_frees_its_slot() -> None:
    """The circuit has opened since and judges nothing by it; its call has ended all the same."""
    circuit = Circuit("payments", limits=TWO)
    permit = acquire(circuit, 0.0)
    circuit.open_for(1.0, 0.0)
    circuit.record(permit, SUCCESS, 0.5)
    assert circuit.permits.late_results == 1
    seen = circuit.snapshot(0.5).limits
    assert seen is not None
    assert seen.in_flight == 0


def test_a_permit_that_was_taken_back_frees_its_slot() -> None:
    """A half-open ends the lease of a probe that never came back."""
    circuit = half_opened()
    circuit.set_limits(TWO, circuit.latest)
    acquire(circuit, circuit.latest)
    circuit.advance(circuit.latest + 301.0)
    seen = circuit.snapshot(circuit.latest).limits
    assert seen is not None
    assert seen.in_flight == 0


def test_the_lesser_of_ramp_and_limiter_counts() -> None:
    """A half-open admits one where two might start, and a bulkhead of two admits two where a ramp would take four."""
    circuit = half_opened()
    now = circuit.latest
    circuit.set_limits(TWO, now)
    assert circuit.free_slots == 1
    while circuit.limit != 4:
        circuit.record(acquire(circuit, now), SUCCESS, now)
    assert circuit.free_slots == 2
    acquire(circuit, now)
    acquire(circuit, now)
    assert not circuit.may_acquire(now)


@pytest.mark.parametrize(("override", "is_seen"), [(Override.FORCED_OPEN, True), (Override.METRICS_ONLY, True), (Override.DISABLED, False)])
def test_an_override_limits_nothing(override: Override, is_seen: bool) -> None:
    """Under METRICS_ONLY the limiter sees the calls nevertheless, and under DISABLED nothing is recorded."""
    circuit = Circuit("payments", limits=TWO)
    {Override.FORCED_OPEN: circuit.force_open, Override.METRICS_ONLY: circuit.observe, Override.DISABLED: circuit.disable}[override](0.0)
    assert not circuit.limits.active
    assert circuit.limits.counts is is_seen
    assert circuit.free_slots == (0 if override is Override.FORCED_OPEN else None)
    permits = [circuit.try_acquire(0.0) for _ in range(3)]
    assert all(isinstance(permit, Permit) for permit in permits) is (override is not Override.FORCED_OPEN)
    seen = circuit.snapshot(0.0).limits
    assert seen is not None
    assert seen.in_flight == (3 if override is Override.METRICS_ONLY else 0)
    for permit in permits:
        if isinstance(permit, Permit):
            circuit.record(permit, SUCCESS, 0.1)
    circuit.clear_override(0.1)
    assert circuit.limits.active


def test_calls_in_handlers_come_before_messages() -> None:
    """So many slots are kept as calls wait for one."""
    circuit = Circuit("payments", limits=TWO)
    circuit.limits.waiting = 1
    assert circuit.free_slots == 1
    acquire(circuit, 0.0)
    assert not circuit.may_acquire(0.0)
    circuit.limits.waiting = 0
    assert circuit.may_acquire(0.0)


def test_other_limits_count_what_is_in_flight() -> None:
    """A bulkhead that is set while a call runs has one slot less."""
    circuit = Circuit("payments")
    permit = acquire(circuit, 0.0)
    circuit.set_limits(TWO, 0.0)
    assert circuit.free_slots == 1
    circuit.record(permit, SUCCESS, 0.1)
    assert circuit.free_slots == 2
    circuit.set_limits(None, 0.1)
    assert circuit.free_slots is None


def test_what_somebody_has_set_was_not_found() -> None:
    """A limit is news only where it is lower than what is known."""
    circuit = Circuit("payments", limits=TWO)
    seen = circuit.snapshot(0.0).limits
    assert seen is not None
    assert circuit.limits.found_in(seen) == (None, None)
    assert Circuit("payments").limits.found_in(seen) == (None, 2)


def test_of_a_rate_that_was_set_and_a_width_that_was_found_only_the_width_is_found() -> None:
    """The line about a limit that was found would name the rate that somebody has set himself."""
    circuit = Circuit("payments", limits=Limits(rate=100, per=60))
    seen = circuit.snapshot(0.0).limits
    assert seen is not None
    assert circuit.limits.found_in(replace(seen, width=8)) == (None, 8)
    assert circuit.limits.found_in(replace(seen, pace=1.0)) == (1.0, seen.width)


# -- observed -------------------------------------------------------------------------------------------------------------------------


def hammer(circuit: Circuit, since: float, until: float) -> tuple[float, int]:
    """Make a call each 20 ms at a service that lets ten a second through; returns when it ends, and how many were let in."""
    now, let_in, good = since, since, 0
    while now < until:
        permit = circuit.try_acquire(now)
        if isinstance(permit, Permit):
            is_good = now >= let_in
            let_in += 0.1 if is_good else 0.0
            good += is_good
            circuit.record(permit, SUCCESS if is_good else THROTTLED, now + 0.01)
        now = round(now + 0.02, 2)
    return now, good


def test_what_is_observed_is_measured_and_not_yielded_to() -> None:
    """Every second call is refused, because nothing is held back. A limiter that took these refusals for its own would end at nothing."""
    circuit = Circuit("payments")
    circuit.observe(0.0)
    now, _ = hammer(circuit, 0.0, 300.0)
    seen = circuit.snapshot(now).limits
    assert seen is not None
    assert seen.pace == pytest.approx(10.0, rel=0.02)
    assert (seen.why, seen.next_at, seen.width) == ("free", None, None)
    assert seen.refused > seen.accepted


def test_what_was_observed_holds_nothing_back_afterwards() -> None:
    """The worker had stood still for years, at a call in an hour: it begins anew."""
    circuit = Circuit("payments")
    circuit.observe(0.0)
    now, _ = hammer(circuit, 0.0, 300.0)
    circuit.clear_override(now)
    assert circuit.snapshot(now).limits is None
    _, good = hammer(circuit, now, now + 60.0)
    assert good > 480


def test_numbers_hold_again_when_nothing_is_observed_any_more() -> None:
    """What is in flight counts, whenever it has begun."""
    circuit = Circuit("payments", limits=TWO)
    first = acquire(circuit, 0.0)
    circuit.observe(1.0)
    second = acquire(circuit, 1.0)
    third = acquire(circuit, 1.0)
    circuit.record(third, SUCCESS, 1.5)
    circuit.clear_override(2.0)
    assert circuit.free_slots == 0
    circuit.record(first, SUCCESS, 3.0)
    circuit.record(second, SUCCESS, 3.0)
    assert circuit.free_slots == 2


def test_limits_that_are_set_while_it_is_observed_begin_with_its_end() -> None:
    """They are shown, and limit nothing."""
    circuit = Circuit("payments")
    circuit.observe(0.0)
    acquire(circuit, 0.0)
    circuit.set_limits(TWO, 1.0)
    seen = circuit.snapshot(1.0).limits
    assert seen is not None
    assert (seen.width, seen.in_flight, circuit.free_slots) == (2, 1, None)
    circuit.clear_override(2.0)
    assert circuit.free_slots == 1


def test_the_first_throttled_answer_makes_a_limiter() -> None:
    """What is in flight then is heard of at its end alone."""
    circuit = Circuit("payments")
    permit = acquire(circuit, 0.0)
    circuit.record(acquire(circuit, 0.0), THROTTLED, 0.1)
    circuit.record(permit, SUCCESS, 0.2)
    assert circuit.read_totals().throttled == 1
    assert circuit.state is State.CLOSED


def test_a_429_in_an_outage_does_not_put_off_the_next_probe() -> None:
    """An API that goes down says 429 and 503 in turn. The circuit asks by its own waits, and comes back by its own ramp."""
    circuit = half_opened()
    for _ in range(6):
        deadline = circuit.next_deadline() or circuit.latest
        circuit.advance(deadline)
        circuit.record(acquire(circuit, deadline), THROTTLED, deadline + 0.01)
        asks = circuit.next_deadline()
        assert asks is not None
        assert asks - deadline < 1.0
        circuit.advance(asks)
        circuit.record(acquire(circuit, asks), FAILURE, asks + 0.01)
        assert circuit.state is State.OPEN
    deadline = circuit.next_deadline()
    assert deadline is not None
    for step in range(200):
        now = deadline + step * 0.01
        circuit.advance(now)
        while circuit.may_acquire(now):
            circuit.record(acquire(circuit, now), SUCCESS, now)
            if circuit.state is State.CLOSED:
                break
        if circuit.state is State.CLOSED:
            break
    assert circuit.state is State.CLOSED


@pytest.mark.parametrize(
    ("limits", "share", "pace", "width"),
    [
        (Limits(concurrency=40, adaptive=False), 1 / 20, None, 2),
        (Limits(concurrency=4, adaptive=False), 1 / 20, None, 1),
        (Limits(rate=100, per=10.0, adaptive=False), 1 / 4, 2.5, None),
        (Limits(rate=3, per=1.0, adaptive=False), 1 / 2, 1.5, None),
        (Limits(rate=1, per=1.0, adaptive=False), 1 / 20, 0.05, None),
    ],
)
def test_a_worker_takes_its_share(limits: Limits, share: float, pace: float | None, width: int | None) -> None:
    """So many calls start in a long time, or run in parallel, as its part of the numbers says, and one at least."""
    circuit = Circuit("payments", limits=limits)
    circuit.limits.set_share(share, 0.0)
    if width is not None:
        assert circuit.free_slots == width
    if pace is not None:
        now = started = 0.0
        while now < 400.0:
            permit = circuit.try_acquire(now)
            if isinstance(permit, Permit):
                circuit.record(permit, SUCCESS, now)
                started += 1
            else:
                assert permit.retry_at is not None
                now = permit.retry_at
        assert started / 400.0 == pytest.approx(pace, rel=0.05)


def test_a_share_counts_what_is_in_flight() -> None:
    """A call that runs has one of the slots that are left; the numbers themselves stay."""
    circuit = Circuit("payments", limits=Limits(concurrency=4, adaptive=False))
    permit = acquire(circuit, 0.0)
    circuit.limits.set_share(0.5, 0.0)
    assert circuit.free_slots == 1
    circuit.record(permit, SUCCESS, 0.1)
    circuit.limits.set_share(1.0, 0.1)
    assert circuit.free_slots == 4


@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan"), True, "half"])
def test_a_share_must_be_a_part(share: object) -> None:
    """Of nothing no message would ever start, and more than all is somebody else's."""
    with pytest.raises(SettingsError, match="share must be a number above 0 and up to 1"):
        Circuit("payments").limits.set_share(share, 0.0)  # type: ignore[arg-type]


def test_a_share_of_what_is_found_changes_nothing() -> None:
    """It is this worker's own part anyway."""
    circuit = Circuit("payments")
    circuit.limits.set_share(0.5, 0.0)
    assert circuit.free_slots is None


def test_each_call_of_a_handler_takes_a_slot() -> None:
    """The first one that of its message, which is free when that call has ended; the others their own."""
    circuit = Circuit("payments", limits=TWO)
    held = acquire(circuit, 0.0)
    limits = circuit.limits
    assert limits.slot(held, 0.0, State.CLOSED) is held
    second = limits.slot(held, 0.0, State.CLOSED)
    assert isinstance(second, Permit)
    assert second is not held
    assert isinstance(limits.slot(held, 0.0, State.CLOSED), Rejected)
    limits.slot_ended(held, SUCCESS, 0.1, None)
    assert circuit.free_slots == 1
    limits.slot_ended(second, None, 0.1, None)
    assert circuit.free_slots == 2
    circuit.record(held, SUCCESS, 0.2)
    assert circuit.free_slots == 2
    assert circuit.snapshot(0.2).in_flight == 0


def test_the_calls_of_a_batch_are_its_messages_slots() -> None:
    """It has taken one for each message already."""
    circuit = Circuit("payments", limits=TWO)
    held = acquire(circuit, 0.0, weight=2)
    assert circuit.limits.slot(held, 0.0, State.CLOSED) is held
    assert circuit.limits.slot(held, 0.0, State.CLOSED) is held
    circuit.limits.slot_ended(held, SUCCESS, 0.1, None)
    assert circuit.free_slots == 0
    circuit.record(held, SUCCESS, 0.2)
    assert circuit.free_slots == 2


def test_a_handler_that_is_cut_after_its_call_frees_its_slot_once() -> None:
    """Its call has given it back already."""
    circuit = Circuit("payments", limits=TWO)
    held = acquire(circuit, 0.0)
    circuit.limits.slot(held, 0.0, State.CLOSED)
    circuit.limits.slot_ended(held, SUCCESS, 0.1, None)
    acquire(circuit, 0.1)
    circuit.release(held, 0.2)
    assert circuit.free_slots == 1


def test_a_slot_that_is_free_is_one_for_those_who_wait() -> None:
    """What is kept for them is not free to messages, and free to them."""
    circuit = Circuit("payments", limits=ONE_A_SECOND)
    circuit.limits.waiting = 1
    assert circuit.free_slots == 0
    assert circuit.limits.has_slot(0.0)
    circuit.limits.waiting = 0
    acquire(circuit, 0.0)
    assert not circuit.limits.has_slot(0.5)
    assert Circuit("payments").limits.has_slot(0.0)
