"""Verdicts: what a circuit, a gate and a trial are told of one end."""

from __future__ import annotations

import pytest
from tests.flow.stage import Message, dependency_failed, gate, own_failure, place_of, placed, returned

from holdgate.core import CircuitSettings, Outcome, Permit
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.fate import give_back, record, record_successes
from holdgate.flow.gate import Gate

SLOW = CircuitSettings(slow_call_duration=1.0, minimum_calls=10)


def permit_of(each: Gate, now: float = 0.0) -> Permit:
    permit = each.circuit.try_acquire(now)
    assert isinstance(permit, Permit)
    return permit


def running(*gates: Gate, permits: int = 1) -> Message:
    """A delivery that needs these gates, with so many permits of each."""
    delivery = placed(place_of(*gates))
    delivery.permits = tuple(permit_of(each) for each in gates for _ in range(permits))
    return delivery


def test_a_permit_too_many_is_no_permit_to_forget() -> None:
    """It would be in flight for ever: permits and needs are told apart by their order, and must be as many."""
    payments = gate()
    with pytest.raises(ValueError, match="longer"):
        give_back(running(payments, permits=2), 0.0)
    with pytest.raises(ValueError, match="longer"):
        record(running(payments, permits=2), returned(), 0.0)
    with pytest.raises(ValueError, match="longer"):
        record_successes((payments,), [permit_of(payments), permit_of(payments)], 0.0)


def test_every_success_is_counted() -> None:
    """By the short way and by the long one."""
    payments = gate()
    for _ in range(2):
        record_successes((payments,), [permit_of(payments)], 0.0)
    record(running(payments), returned(), 0.0)

    assert payments.successes == 3


def test_every_failure_of_its_own_is_charged() -> None:
    """One attempt each."""
    payments = gate()
    delivery = running(payments)
    record(delivery, own_failure(), 0.0)
    delivery.permits = (permit_of(payments),)
    record(delivery, own_failure(), 0.0)

    assert delivery.trial.charged == 2


def healthy() -> Gate:
    """A dependency that others have succeeded on."""
    payments = gate(settings=CircuitSettings())
    for _ in range(9):
        record_successes((payments,), [permit_of(payments)], 0.0)
    return payments


def test_a_failure_among_others_that_went_well_speaks_against_the_message() -> None:
    """When it is known to be of this dependency."""
    payments = healthy()
    delivery = running(payments)
    record(delivery, dependency_failed(), 0.0)

    assert delivery.trial.blames[payments].attempts == 1


def test_a_failure_that_may_be_another_dependency_s_speaks_against_nobody() -> None:
    """Doubt is never charged."""
    payments = healthy()
    delivery = running(payments)
    record(delivery, dependency_failed(shared=True), 0.0)

    assert delivery.trial.blames[payments].attempts == 0


def test_a_failing_call_in_a_handler_that_returned_speaks_against_nobody() -> None:
    """It is a vote, and the message is done."""
    payments = healthy()
    delivery = running(payments)
    record(delivery, Attribution((NeedVerdict(Outcome.FAILURE),), Cause.RETURNED), 0.0)

    assert (delivery.trial.blames[payments].attempts, payments.failures) == (0, 1)


def test_the_circuit_is_told_how_long_its_calls_took() -> None:
    """Not how long the handler did."""
    payments = gate(settings=SLOW)
    quick, slow = running(payments), running(payments)
    record(quick, Attribution((NeedVerdict(Outcome.SUCCESS, 0.5),), Cause.RETURNED), 5.0)
    record(slow, Attribution((NeedVerdict(Outcome.SUCCESS, 2.0),), Cause.RETURNED), 5.0)

    assert payments.circuit.snapshot(5.0).slow_calls == 1


def test_a_late_failure_is_a_late_result() -> None:
    """The circuit counts it as such, and nothing speaks against the message."""
    payments = gate()
    delivery = running(payments)
    payments.circuit.reset(1.0)
    record(delivery, dependency_failed(), 1.0)

    assert payments.circuit.snapshot(1.0).late_results == 1
    assert (payments.failures, delivery.trial) == (0, None)
