from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.runtime.fake_lane import FakeLane, ManualClock, trip

from holdgate.core import Circuit, CircuitSettings, Outcome, Rejected, State
from holdgate.errors import CallNotPermitted, Reject
from holdgate.runtime.access import GuardCircuit
from holdgate.runtime.calling import Call, begin, current_attempt
from holdgate.runtime.dependency import Dependency


class Bound:
    """A dependency bound to a guard's circuit, on a clock moved by hand."""

    def __init__(self, dependency: Dependency) -> None:
        self.clock = ManualClock()
        self.dependency = dependency
        self.circuit = Circuit(dependency.name, dependency.settings)
        dependency.bind(GuardCircuit("guard A", self.circuit, self.clock, lambda: None, asyncio.get_running_loop()))

    @property
    def calls(self) -> int:
        return self.circuit.snapshot(self.clock.time).calls

    @property
    def in_flight(self) -> int:
        return self.circuit.snapshot(self.clock.time).in_flight


class PaymentError(Exception):
    """What the payments client raises."""


@pytest.fixture
async def payments() -> Bound:
    return Bound(Dependency("payments", failures=PaymentError, retry_after=lambda _: 30.0, result_failures=lambda result: result == 503))


def in_handler(lane: FakeLane) -> FakeLane:
    """Make a lane the current one, until the test's task ends."""
    current_attempt.set(lane)
    return lane


def begun(dependency: Dependency) -> Call:
    call = begin(dependency)
    assert not isinstance(call, Rejected)
    return call


# Outside of handlers


async def test_outside_a_call_settles_its_own_permit(payments: Bound) -> None:
    """Taken at the beginning, recorded at the end."""
    call = begun(payments.dependency)
    assert payments.in_flight == 1
    call.returned(200)
    assert (payments.in_flight, payments.calls) == (0, 1)


async def test_outside_a_block_without_a_result_is_a_success(payments: Bound) -> None:
    """There is nothing for `result_failures` to look at."""
    begun(payments.dependency).passed()
    assert (payments.in_flight, payments.calls) == (0, 1)


async def test_outside_a_failure_opens_for_as_long_as_the_server_asked(payments: Bound) -> None:
    """`retry_after` reaches the circuit."""
    begun(payments.dependency).raised(PaymentError())
    assert payments.circuit.snapshot(0.0).open_until == 30.0


async def test_outside_an_ignored_exception_asks_for_no_wait(payments: Bound) -> None:
    """Only a failure can tell when to come back."""
    begun(payments.dependency).raised(ValueError())
    assert payments.circuit.state is State.CLOSED
    assert (payments.in_flight, payments.calls) == (0, 0)


@pytest.mark.parametrize("never", [CallNotPermitted("mail"), Reject(), asyncio.CancelledError(), KeyboardInterrupt()])
async def test_outside_what_is_never_an_outcome_releases(payments: Bound, never: BaseException) -> None:
    """Trap 4: cancellation neither closes nor opens; the slot is free at once."""
    begun(payments.dependency).raised(never)
    assert (payments.in_flight, payments.calls) == (0, 0)


async def test_outside_a_refusal_is_the_circuits_own(payments: Bound) -> None:
    """It says when a try may be admitted."""
    trip(payments.circuit)
    refusal = begin(payments.dependency)
    assert isinstance(refusal, Rejected)
    assert refusal.retry_at is not None


async def test_an_idle_lane_is_outside(payments: Bound) -> None:
    """A task that a handler left behind calls while the lane waits: its own permit, no record."""
    lane = in_handler(FakeLane(payments.circuit))
    assert lane.delivery is not None
    lane.delivery.permits = None
    begun(payments.dependency).returned(200)
    assert lane.calls is None
    assert payments.calls == 1


# Inside a handler, a declared need


async def test_inside_a_declared_need_takes_and_settles_no_permit(payments: Bound) -> None:
    """The delivery's permit is the only one, and attribution settles it."""
    lane = in_handler(FakeLane(payments.circuit))
    call = begun(payments.dependency)
    assert payments.in_flight == 1
    payments.clock.time = 2.0
    call.returned(200)
    assert (payments.in_flight, payments.calls) == (1, 0)
    assert lane.calls is not None
    summary = lane.calls.summaries["payments"]
    assert (summary.outcome, summary.slowest, summary.running) == (Outcome.SUCCESS, 2.0, {})


async def test_inside_a_call_is_timed_from_its_own_beginning(payments: Bound) -> None:
    """Begun at 10 and ended at 12, it took two seconds."""
    lane = in_handler(FakeLane(payments.circuit))
    payments.clock.time = 10.0
    call = begun(payments.dependency)
    payments.clock.time = 12.0
    call.returned(200)
    assert lane.calls is not None
    assert lane.calls.summaries["payments"].slowest == 2.0


async def test_inside_a_failure_is_tallied_with_its_exception(payments: Bound) -> None:
    """Outcome, time, the server's wish, and the exception by identity."""
    lane = in_handler(FakeLane(payments.circuit))
    call = begun(payments.dependency)
    payments.clock.time = 3.0
    error = PaymentError()
    call.raised(error)
    assert lane.calls is not None
    summary = lane.calls.summaries["payments"]
    assert (summary.outcome, summary.slowest, summary.retry_after) == (Outcome.FAILURE, 3.0, 30.0)
    assert lane.calls.excused == [error]


async def test_inside_an_ignored_exception_stays_the_messages_own(payments: Bound) -> None:
    """It is not excused."""
    lane = in_handler(FakeLane(payments.circuit))
    begun(payments.dependency).raised(ValueError())
    assert lane.calls is not None
    assert lane.calls.summaries["payments"].outcome is Outcome.IGNORED
    assert lane.calls.excused == []


async def test_inside_an_exception_that_cannot_be_judged_is_excused() -> None:
    """The predicate raised: no outcome, and no charge for the message."""
    payments = Bound(Dependency("payments", failures=lambda _: 1 / 0 > 0))
    lane = in_handler(FakeLane(payments.circuit))
    error = ValueError()
    begun(payments.dependency).raised(error)
    assert lane.calls is not None
    assert lane.calls.summaries["payments"].outcome is None
    assert lane.calls.excused == [error]


async def test_inside_a_failed_result_is_marked(payments: Bound) -> None:
    """An exception may still be made from it."""
    lane = in_handler(FakeLane(payments.circuit))
    begun(payments.dependency).returned(503)
    assert lane.calls is not None
    summary = lane.calls.summaries["payments"]
    assert (summary.outcome, summary.failed_result) == (Outcome.FAILURE, True)


async def test_inside_a_block_without_a_result_is_a_success(payments: Bound) -> None:
    """`calling()` that ends well."""
    lane = in_handler(FakeLane(payments.circuit))
    begun(payments.dependency).passed()
    assert lane.calls is not None
    assert lane.calls.summaries["payments"].outcome is Outcome.SUCCESS


async def test_inside_a_cancelled_call_is_cut_short(payments: Bound) -> None:
    """The handler's own time limit: no outcome, but its length is kept."""
    lane = in_handler(FakeLane(payments.circuit))
    call = begun(payments.dependency)
    payments.clock.time = 5.0
    call.raised(asyncio.CancelledError())
    assert lane.calls is not None
    summary = lane.calls.summaries["payments"]
    assert (summary.outcome, summary.cut_short, summary.running) == (None, 5.0, {})


async def test_inside_a_call_that_the_guards_time_limit_ended_stays_under_way(payments: Bound) -> None:
    """It is what took too long; attribution reads its age."""
    lane = in_handler(FakeLane(payments.circuit))
    call = begun(payments.dependency)
    assert lane.calls is not None
    lane.calls.timed_out = True
    payments.clock.time = 5.0
    call.raised(asyncio.CancelledError())
    summary = lane.calls.summaries["payments"]
    assert (summary.cut_short, summary.under_way(5.0)) == (None, 5.0)


async def test_inside_calls_share_one_tally(payments: Bound) -> None:
    """Two calls at once are two running calls in one summary."""
    lane = in_handler(FakeLane(payments.circuit))
    begun(payments.dependency)
    begun(payments.dependency)
    assert lane.calls is not None
    assert len(lane.calls.summaries["payments"].running) == 2


# Inside a handler, with a permit of an older generation


async def test_inside_a_permit_of_this_generation_is_not_refused(payments: Bound) -> None:
    """A probe's handler may call as often as it likes."""
    trip(payments.circuit)
    payments.clock.time = 60.0
    in_handler(FakeLane(payments.circuit, now=60.0))
    assert payments.circuit.state is State.HALF_OPEN
    for _ in range(3):
        begun(payments.dependency).returned(200)


async def test_inside_an_older_permit_is_refused_while_open(payments: Bound) -> None:
    """The circuit opened while the handler ran: it says when to come back, and the message is held."""
    lane = in_handler(FakeLane(payments.circuit))
    trip(payments.circuit)
    refusal = begin(payments.dependency)
    assert isinstance(refusal, Rejected)
    assert refusal.retry_at == payments.circuit.next_deadline()
    assert lane.calls is not None
    assert list(lane.calls.refused) == ["payments"]


async def test_inside_an_older_permit_is_refused_in_half_open(payments: Bound) -> None:
    """A half-open counts its calls, and this one is not among them; when it will do, nobody knows."""
    in_handler(FakeLane(payments.circuit))
    trip(payments.circuit)
    payments.clock.time = 60.0
    payments.circuit.advance(60.0)
    refusal = begin(payments.dependency)
    assert isinstance(refusal, Rejected)
    assert (refusal.state, refusal.retry_at) == (State.HALF_OPEN, None)


async def test_inside_an_older_permit_is_fine_once_closed_again(payments: Bound) -> None:
    """Opened and closed meanwhile: the dependency is known to be well."""
    in_handler(FakeLane(payments.circuit))
    trip(payments.circuit)
    payments.circuit.reset(1.0)
    begun(payments.dependency)


async def test_inside_forced_open_refuses_whatever_the_state(payments: Bound) -> None:
    """An operator wants no calls; only an operator ends it."""
    in_handler(FakeLane(payments.circuit))
    payments.circuit.force_open(0.0)
    refusal = begin(payments.dependency)
    assert isinstance(refusal, Rejected)
    assert refusal.retry_at is None


@pytest.mark.parametrize("override", [Circuit.disable, Circuit.observe])
async def test_inside_an_override_that_admits_everything_admits_this_too(
    payments: Bound, override: Callable[[Circuit, float], None]
) -> None:
    """Over an open circuit."""
    in_handler(FakeLane(payments.circuit))
    trip(payments.circuit)
    override(payments.circuit, 1.0)
    begun(payments.dependency)


# Inside a handler, an undeclared dependency


@pytest.fixture
async def mail() -> Bound:
    return Bound(Dependency("mail", settings=CircuitSettings(consecutive_failures=1)))


async def test_inside_an_undeclared_dependency_settles_its_own_permit(payments: Bound, mail: Bound) -> None:
    """Taken and recorded, and tallied too, so that its exceptions are known."""
    lane = in_handler(FakeLane(payments.circuit))
    call = begun(mail.dependency)
    assert mail.in_flight == 1
    error = ConnectionError()
    call.raised(error)
    assert mail.circuit.state is State.OPEN
    assert lane.calls is not None
    assert lane.calls.excused == [error]
    assert lane.calls.summaries["mail"].outcome is Outcome.FAILURE


async def test_inside_an_undeclared_refusal_is_remembered(payments: Bound, mail: Bound) -> None:
    """It becomes a need of the message."""
    lane = in_handler(FakeLane(payments.circuit))
    trip(mail.circuit)
    assert isinstance(begin(mail.dependency), Rejected)
    assert lane.calls is not None
    assert list(lane.calls.refused) == ["mail"]
    assert lane.calls.summaries == {}


async def test_inside_a_cancelled_undeclared_call_gives_no_verdict(payments: Bound, mail: Bound) -> None:
    """Its slot is free at once."""
    in_handler(FakeLane(payments.circuit))
    begun(mail.dependency).raised(asyncio.CancelledError())
    assert (mail.circuit.state, mail.in_flight) == (State.CLOSED, 0)


async def test_inside_an_undeclared_call_that_the_guards_time_limit_ended_is_a_failure(payments: Bound, mail: Bound) -> None:
    """Nobody else tells its circuit that it hung."""
    lane = in_handler(FakeLane(payments.circuit))
    call = begun(mail.dependency)
    assert lane.calls is not None
    lane.calls.timed_out = True
    call.raised(asyncio.CancelledError())
    assert mail.circuit.state is State.OPEN


async def test_inside_a_dependency_of_no_guard_is_undeclared(payments: Bound) -> None:
    """A plain breaker of the same name is another circuit."""
    lane = in_handler(FakeLane(payments.circuit))
    plain = Dependency("payments", settings=CircuitSettings(consecutive_failures=1))
    begun(plain).raised(ConnectionError())
    assert plain.circuit.state is State.OPEN
    assert isinstance(begin(plain), Rejected)
    assert lane.calls is not None
    assert list(lane.calls.refused) == ["payments"]
