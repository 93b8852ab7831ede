from __future__ import annotations

from tests.runtime.fake_lane import FakeLane

from holdgate.core import Circuit
from holdgate.flow.blame import FailureHistory
from holdgate.flow.gate import Gate
from holdgate.runtime.calling import current_attempt, permit_for, running_delivery

PAYMENTS = Circuit("payments")
MAIL = Circuit("mail")


def test_no_attempt_outside_of_handlers() -> None:
    """Nobody has to set anything for the plain breaker."""
    assert current_attempt.get() is None


def test_permit_is_found_by_circuit() -> None:
    """Each need has its own permit; a circuit that the delivery does not need has none."""
    lane = FakeLane(PAYMENTS, MAIL)
    assert lane.delivery is not None
    assert permit_for(lane.delivery, PAYMENTS) is lane.delivery.permits[0]
    assert permit_for(lane.delivery, MAIL) is lane.delivery.permits[1]
    assert permit_for(lane.delivery, Circuit("mail")) is None


def test_permit_of_a_need_that_came_by_refusal_is_found() -> None:
    """An undeclared dependency that refused once is a need of the message from then on, after the source's own."""
    lane = FakeLane(PAYMENTS)
    assert lane.delivery is not None
    lane.delivery.history = FailureHistory()
    lane.delivery.history.extra = (Gate(MAIL),)
    extra = MAIL.try_acquire(0.0)
    lane.delivery.permits += (extra,)
    assert permit_for(lane.delivery, MAIL) is extra


def test_a_lane_without_a_delivery_runs_nothing() -> None:
    """Idle, or between the verdict and the next delivery, when the permits are gone."""
    lane = FakeLane(PAYMENTS)
    assert running_delivery(lane) is lane.delivery
    assert lane.delivery is not None
    lane.delivery.permits = None
    assert running_delivery(lane) is None
    lane.delivery = None
    assert running_delivery(lane) is None


def test_a_delivery_without_needs_runs_too() -> None:
    """No permits because there are no needs is not the same as none any more."""
    lane = FakeLane()
    assert running_delivery(lane) is lane.delivery
