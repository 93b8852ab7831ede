"""A dependency has too many calls for now: its messages wait at their places, and nothing counts."""

from __future__ import annotations

import pytest
from tests.flow.stage import ORDERS, Stage, messages, own_failure, parallel, positions, returned, run_of, throttled

from holdgate.core import CircuitSettings, State
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.batch import Batch, batches_of
from holdgate.flow.events import SourceBlocked
from holdgate.flow.message import Delivery, HandlerRequest, Partition
from holdgate.flow.policy import Needs, RetryPolicy, Verdict
from holdgate.flow.state import Run

AT_ONCE = RetryPolicy(attempts=1)
HOUR = 3600.0


def asks(stage: Stage, within: float = HOUR) -> Delivery[int]:
    """The next delivery that starts, as soon as time lets it."""
    give_up = stage.now + within
    while (delivery := stage.engine.next(stage.run, stage.now)) is None:
        deadline = stage.engine.next_deadline()
        assert deadline is not None, "nothing would ever start"
        assert deadline <= give_up, f"nothing starts before {deadline}"
        stage.turn(later=max(0.0, deadline - stage.now))
    return delivery


def named(stage: Stage) -> list[SourceBlocked]:
    return [event for event in stage.events() if isinstance(event, SourceBlocked)]


def test_a_throttled_start_is_no_attempt() -> None:
    """One failure of its own would reject it, two would open the circuit: a hundred refusals do neither."""
    stage = Stage("payments", run=run_of(["payments"], retry=AT_ONCE, rejects=True))
    [message] = stage.receive(1)
    for _ in range(100):
        assert asks(stage) is message
        assert message.attempt == 1
        assert stage.end(message, throttled()) is Verdict.AGAIN
    assert message.history.counted == message.history.failures == 0
    assert stage.gates[0].circuit.state is State.CLOSED
    assert stage.gates[0].circuit.snapshot(stage.now).calls == 0
    assert asks(stage) is message
    assert stage.end(message, returned()) is Verdict.DONE


def test_a_service_that_refuses_everything_for_ever_is_asked_seldom() -> None:
    """No more than once in two and a half minutes in the long run, whatever waits; the rest has not started."""
    stage = parallel("payments", concurrency=16)
    stage.receive(200)
    for delivery in stage.start_all():
        stage.end(delivery, throttled())
    for _ in range(20):  # the waits have grown by then
        stage.end(asks(stage), throttled())
    began, questions = stage.now, 0
    while stage.now < began + 3 * HOUR:
        stage.end(asks(stage), throttled())
        questions += 1
    assert questions <= 3 * HOUR / 100.0


def test_the_order_of_the_source_is_kept() -> None:
    """Nothing behind a throttled message starts before it."""
    stage = Stage("payments")
    first, second = stage.receive(2)
    stage.end(asks(stage), throttled())
    assert asks(stage) is first
    assert stage.engine.next(stage.run, stage.now) is None
    stage.end(first, returned())
    assert asks(stage) is second


def test_a_throttled_message_keeps_its_place() -> None:
    """It had its turn: it goes before all that have not started, and before those that were throttled after it."""
    stage = parallel("payments", concurrency=3)
    stage.receive(9)
    first, second, third = stage.start_all()
    stage.end(second, throttled())
    stage.end(first, throttled())
    stage.end(third, returned())
    order = []
    for _ in range(8):
        delivery = asks(stage)
        order.append(delivery)
        stage.end(delivery, returned())
    assert positions(order) == [1, 0, 3, 4, 5, 6, 7, 8]


def test_without_a_limiter_it_waits_for_time_and_comes_first_all_the_same() -> None:
    """An operator only observes, and nothing limits: it waits for as long as the server said, and its place is before a retry's."""
    stage = parallel("payments", concurrency=2)
    stage.gates[0].circuit.observe(stage.now)
    stage.receive(4)
    first, second = stage.start_all()
    stage.end(second, own_failure())
    stage.end(first, throttled(retry_after=7.0))
    third, fourth = stage.start_all()
    stage.turn(later=6.0)
    stage.end(third, returned())
    assert stage.start() is second  # its backoff was over long before; the other's wait is not
    stage.end(second, own_failure())
    stage.turn(later=2.0)
    assert stage.start() is first
    stage.end(fourth, returned())
    assert stage.start() is second


def test_behind_a_circuit_that_has_opened_it_waits_for_that() -> None:
    """The dependency went down while the message was throttled."""
    stage = parallel("payments", concurrency=2)
    stage.gates[0].circuit.observe(stage.now)
    stage.receive(1)
    message = stage.start()
    stage.gates[0].circuit.force_open(stage.now)
    stage.end(message, throttled(retry_after=1.0))
    stage.turn(later=100.0)
    assert stage.engine.next(stage.run, stage.now) is None
    stage.gates[0].circuit.clear_override(stage.now)
    stage.turn()
    assert stage.start() is message


def test_a_handler_that_asks_for_another_time_gets_it() -> None:
    """`delivery.retry(after=...)` and then the exception of the client: the handler knows better."""
    stage = Stage("payments")
    [message] = stage.receive(1)
    stage.start()
    message.request = HandlerRequest(after=600.0)
    stage.end(message, throttled(retry_after=1.0))
    stage.turn(later=599.0)
    assert stage.engine.next(stage.run, stage.now) is None
    stage.turn(later=1.0)
    assert asks(stage) is message


def test_a_message_that_is_throttled_again_and_again_is_named_and_never_given_up() -> None:
    """A request that is larger than its limit is refused each time, while others pass: said once a minute, until it is settled."""
    stage = Stage("payments", run=run_of(["payments"], retry=AT_ONCE, rejects=True))
    [message] = stage.receive(1)
    for _ in range(11):
        stage.end(asks(stage), throttled())
    assert named(stage) == []
    stage.end(asks(stage), throttled())
    [event] = named(stage)
    assert (event.source, event.position, event.attempts, event.throttled, event.suspect) == (ORDERS, 0, 12, True, True)
    stage.turn(later=60.0)
    assert [event.at for event in named(stage)] == [stage.now]
    assert asks(stage) is message
    stage.end(message, returned())
    stage.events()
    stage.turn(later=60.0)
    assert named(stage) == []


def test_a_message_that_never_passes_keeps_nobody_else_waiting() -> None:
    """It is larger than its limit. First at its place it would ask each time, and each of its refusals would slow all others down."""
    stage = parallel("payments", concurrency=4)
    stage.receive(100)
    done, refused = set[int](), 0
    while len(done) < 99:
        delivery = asks(stage)
        if delivery.position == 0:
            refused += 1
            stage.end(delivery, throttled())
        else:
            done.add(delivery.position)
            stage.end(delivery, returned())
    assert stage.now < 120.0
    assert refused < 20


def test_a_limit_that_is_not_the_throttling_ones_does_not_let_it_ask_at_once() -> None:
    """One need only observed, another coming back: a slot of that one says nothing of the first."""
    stage = Stage("payments", "ledger", run=run_of(["payments", "ledger"], order="none", concurrency=2))
    payments, ledger = stage.gates
    payments.circuit.observe(stage.now)
    stage.trip("ledger")
    stage.turn(later=10.0)
    stage.receive(1)
    message = stage.start()
    assert ledger.limited
    stage.end(message, Attribution((throttled().findings[0], NeedVerdict(None)), Cause.THROTTLED, retry_after=7.0))
    assert stage.engine.next(stage.run, stage.now) is None
    stage.turn(later=7.5)
    assert stage.start() is message


def test_one_throttled_message_of_a_source_is_named() -> None:
    """With many lanes all of them are throttled as often: one line is enough. Another source has its own."""
    other = Partition("orders", 1)
    stage = Stage("payments", run=run_of(["payments"], order="none", concurrency=8), sources=(ORDERS, other))
    stage.gates[0].circuit.observe(stage.now)
    stage.receive(3)
    stage.receive(3, other)
    for _ in range(12):
        for delivery in stage.start_all():
            stage.end(delivery, throttled(retry_after=1.0))
        stage.turn(later=2.0)
    assert [event.source for event in named(stage)] == [ORDERS, other]


def test_a_failure_of_its_own_ends_the_row_and_the_place() -> None:
    """It was tried, so it has had its turn, and waits as every message that has failed."""
    stage = parallel("payments", concurrency=2)
    stage.receive(1)
    message = stage.start()
    stage.end(message, throttled())
    assert asks(stage) is message
    stage.end(message, own_failure())
    assert (message.history.throttled, message.history.place, message.history.charged) == (0, None, 1)


def test_a_batch_that_was_throttled_is_not_divided() -> None:
    """Nothing speaks against one of its messages: it comes again, whole."""
    run = Run(Needs(["payments"]), order="source", concurrency=None, inbox=50, batch=4)
    stage = Stage("payments", run=run, settings=CircuitSettings())
    stage.engine.received(run, batches_of(messages(ORDERS, 4)))
    stage.turn()
    batch = asks(stage)
    assert isinstance(batch, Batch)
    assert stage.end(batch, throttled()) is Verdict.AGAIN
    for _ in range(9):  # as much of it as the limit lets through
        batch = asks(stage)
        if len(batch.message) == 4:
            break
        stage.end(batch, throttled())
    assert batch.history is None or batch.history.failures == 0


def test_an_undeclared_dependency_that_throttles_is_needed_from_now_on() -> None:
    """The next attempt waits for its limit, and there is no vote on it."""
    stage = Stage("payments", "ledger", run=run_of(["payments"]))
    [message] = stage.receive(1)
    asks(stage)
    end = Attribution((NeedVerdict(None),), Cause.THROTTLED, undeclared=(("ledger", throttled().findings[0].outcome),))
    stage.end(message, end)
    assert [gate.name for gate in message.history.extra] == ["ledger"]
    assert stage.engine.gates["ledger"].failures == 0


def test_an_undeclared_dependency_that_throttled_a_call_of_a_good_handler_is_not_needed() -> None:
    """The handler has dealt with it."""
    stage = Stage("payments", "ledger", run=run_of(["payments"]))
    [message] = stage.receive(1)
    asks(stage)
    good = returned()
    end = Attribution(good.findings, Cause.MESSAGE, undeclared=(("ledger", throttled().findings[0].outcome),))
    stage.end(message, end)
    assert message.history.extra == ()


@pytest.mark.parametrize("going", ["closing", "gone"])
def test_a_source_that_goes_away_takes_its_throttled_messages_along(going: str) -> None:
    """What waits is dropped, and a late end is stale."""
    stage = Stage("payments")
    stage.receive(2)
    message = asks(stage)
    if going == "gone":
        stage.engine.forget(stage.run, [ORDERS], stage.now)
        assert stage.end(message, throttled()) is Verdict.STALE
    else:
        stage.engine.closing(stage.run, [ORDERS], stage.now)
        assert stage.end(message, throttled()) is Verdict.AGAIN
    stage.turn(later=HOUR)
    assert stage.engine.next(stage.run, stage.now) is None


@pytest.mark.parametrize("jump", [-86400.0, -1.0, 0.0, 86400.0])
def test_a_clock_that_jumps_costs_no_message_and_no_order(jump: float) -> None:
    """Back or forth by a day: what waits asks again within what the server said, and a limit forgets nothing that hurts."""
    stage = Stage("payments")
    stage.receive(3)
    stage.end(asks(stage), throttled(retry_after=30.0))
    before = stage.now
    stage.turn(later=jump)
    first = asks(stage, within=86400.0 + HOUR)
    assert (first.position, first.attempt) == (0, 1)
    assert stage.now <= max(before, before + jump) + 60.0
    stage.end(first, returned())
    assert positions([each for each in (asks(stage),) if stage.end(each, returned()) is Verdict.DONE]) == [1]


def test_a_wait_of_the_server_is_believed_up_to_a_bound() -> None:
    """Ten to the ninth seconds would be thirty years: an hour is the most that a wrong header can cost (`retry_after_max`)."""
    stage = Stage("payments")
    stage.gates[0].circuit.observe(stage.now)
    stage.receive(1)
    stage.end(asks(stage), throttled(retry_after=1e9))
    asks(stage, within=HOUR * 1.1)
