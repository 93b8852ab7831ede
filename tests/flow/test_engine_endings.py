"""How deliveries end: each verdict, what it leaves behind, and what a place that goes away or is gone makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.flow.stage import (
    ORDERS,
    QUICK,
    Message,
    Stage,
    dependency_failed,
    messages,
    own_failure,
    refused,
    rejected,
    returned,
    run_of,
)

from holdgate.core import Circuit
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.batch import Batch, batches_of
from holdgate.flow.engine import Engine
from holdgate.flow.events import MessageSkipped, SourceBlocked, SourceRetried
from holdgate.flow.fate import SettledParts
from holdgate.flow.message import Delivery, HandlerRequest, Partition
from holdgate.flow.policy import FallbackSettings, Needs, RetryPolicy, Verdict
from holdgate.flow.state import Run

AT_ONCE = RetryPolicy(attempts=1)
SKIPPING = RetryPolicy(attempts=1, on_exhausted="skip")


def staged(**settings: Any) -> Stage:
    """One message of one partition has come in, and needs payments."""
    stage = Stage("payments", run=run_of(["payments"], **settings))
    stage.receive(1)
    return stage


def with_fallback() -> tuple[Stage, Delivery[Any]]:
    """Payments is open, and one message falls back."""
    run = Run(Needs(["payments"]), order="source", concurrency=None, inbox=10, fallback=FallbackSettings())
    stage = Stage("payments", run=run)
    stage.receive(1)
    delivery = stage.start()
    stage.trip()
    stage.end(delivery, dependency_failed())
    stage.turn()
    falling = stage.start()
    assert falling.history.falling_back
    return stage, falling


def batch_of(count: int, **settings: Any) -> tuple[Stage, Batch]:
    """A batch of so many messages runs; batches are of four at most, and six have come in."""
    run = Run(Needs(["payments"]), order="source", concurrency=None, inbox=50, batch=count, **settings)
    stage = Stage("payments", run=run)
    stage.engine.received(run, batches_of(messages(ORDERS, 6)))
    stage.turn()
    batch = stage.start()
    assert isinstance(batch, Batch)
    return stage, batch


def close(stage: Stage) -> None:
    stage.engine.closing(stage.run, [ORDERS], stage.now)


def lose(stage: Stage) -> None:
    stage.engine.forget(stage.run, [ORDERS], stage.now)


def work(stage: Stage) -> tuple[int, int, int]:
    """Running, in flight at the place, permits out."""
    assignment = stage.run.assignments.get(ORDERS)
    in_flight = 0 if assignment is None else assignment.in_flight
    return stage.run.running, in_flight, stage.gates[0].circuit.snapshot(stage.now).in_flight


# -- settle ----------------------------------------------------------------------------------------------------------------------------


def test_a_return_is_done_and_the_next_may_start() -> None:
    """Its lane and its permit are free, and it leaves no history behind."""
    stage = staged()
    (second,) = stage.receive(1, first=1)
    delivery = stage.start()

    assert stage.engine.settle(delivery, returned(), "NoneType", stage.now) is Verdict.DONE
    assert stage.engine.needs_turn
    assert (work(stage), delivery.history) == ((0, 0, 0), None)
    assert stage.start() is second


@pytest.mark.parametrize(
    ("attribution", "failures"),
    [(own_failure(), 1), (dependency_failed(), 1), (refused("payments"), 0)],
    ids=["own", "dependency", "refused"],
)
def test_what_failed_comes_again(attribution: Attribution, failures: int) -> None:
    """It waits with its place kept; what was refused has not failed."""
    stage = staged()
    delivery = stage.start()

    assert stage.engine.settle(delivery, attribution, "ValueError", stage.now) is Verdict.AGAIN
    assert (work(stage), delivery.history.failures) == ((0, 0, 0), failures)
    stage.turn(later=60.0)
    assert stage.start() is delivery


def test_what_is_postponed_has_not_failed() -> None:
    """Its handler has asked for another try, and it comes at its time."""
    stage = staged()
    delivery = stage.start()
    delivery.retry(after=7.0)
    verdict = stage.engine.settle(delivery, Attribution((NeedVerdict(None),), Cause.POSTPONED), "NoneType", stage.now)

    assert (verdict, delivery.history.failures) == (Verdict.AGAIN, 0)
    stage.turn(later=6.9)
    assert stage.start_all() == []
    stage.turn(later=0.1)
    assert stage.start() is delivery


def test_a_failure_of_several_needs_is_announced_with_its_ending() -> None:
    """Once per source."""
    stage = Stage("ledger", "payments", run=run_of(["ledger", "payments"]))
    stage.receive(1)
    stage.events()
    stage.end(stage.start(), dependency_failed(2, shared=True))

    assert [type(event).__name__ for event in stage.events()] == ["AttributionShared"]


def test_a_rejected_message_with_a_way_out_keeps_its_lane() -> None:
    """Until it is out: no permit, though."""
    stage = staged(rejects=True)
    delivery = stage.start()

    assert stage.engine.settle(delivery, rejected(), "Reject", stage.now, reason="no address") is Verdict.REJECT
    assert (work(stage), delivery.history.reason) == ((1, 1, 0), "no address")


def test_a_rejected_message_without_a_way_out_blocks_its_place() -> None:
    """It keeps its lane no longer, and is named."""
    stage = staged()
    stage.events()
    delivery = stage.start()

    assert stage.engine.settle(delivery, rejected(), "Reject", stage.now) is Verdict.AGAIN
    assert (work(stage), stage.assignment().blocked) == ((0, 0, 0), [delivery])
    assert stage.events() == [SourceBlocked(0.0, ORDERS, 0, 0, "Reject")]


def test_a_policy_that_skips_is_done_with_it() -> None:
    """And says so; what is behind it goes on."""
    stage = staged(retry=SKIPPING)
    (second,) = stage.receive(1, first=1)
    stage.events()

    assert stage.end(stage.start(), own_failure()) is Verdict.DONE
    assert stage.events() == [MessageSkipped(0.0, ORDERS, 0, "ValueError", by_operator=False)]
    assert stage.start() is second


def test_a_lone_message_that_fails_as_an_outage_does_is_named_once() -> None:
    """Nobody tells whose fault it is: it is held, and named at one of its failures, until it is settled."""
    stage = staged(retry=RetryPolicy(attempts=2))
    named = []
    for _ in range(6):
        delivery = stage.start()
        stage.engine.settle(delivery, dependency_failed(), "ValueError", stage.now)
        named += [event.suspect for event in stage.events() if isinstance(event, SourceBlocked)]
        stage.turn(later=1000.0)
        stage.events()  # the word of the minute
    assert named == [True]
    delivery = stage.start()
    stage.end(delivery, returned())

    assert delivery not in stage.engine._reminders.named


# -- batches ---------------------------------------------------------------------------------------------------------------------------


def test_a_batch_that_returned_is_done_with_all() -> None:
    """The next one may start."""
    stage, batch = batch_of(4)

    assert stage.end(batch, returned()) is Verdict.DONE
    assert (work(stage), len(stage.start().message)) == ((0, 0, 0), 2)


def test_a_batch_that_was_the_last_leaves_nothing_to_start() -> None:
    """Its place is not offered to lanes."""
    stage, batch = batch_of(6)

    assert stage.end(batch, returned()) is Verdict.DONE
    assert (stage.start_all(), list(stage.run.ring)) == ([], [])


def test_a_batch_that_failed_comes_again_in_pieces() -> None:
    """It is never rejected as a whole, whatever the policy says."""
    stage, batch = batch_of(4, retry=AT_ONCE, rejects=True)

    assert stage.engine.settle(batch, own_failure(), "ValueError", stage.now) is Verdict.AGAIN
    assert work(stage) == (0, 0, 0)
    stage.turn()
    assert len(stage.start().message) == 2


def test_a_batch_in_parts_is_not_in_flight_any_more() -> None:
    """What was not mentioned is done; what is to be tried again waits."""
    stage, batch = batch_of(4)
    parts = stage.engine.settle_in_parts(batch, batch.items(), {1: HandlerRequest(after=5.0)}, returned(), stage.now)

    assert ([one.position for one in parts.done], parts.rejected, work(stage)) == ([0, 2, 3], (), (0, 0, 0))
    assert stage.engine.needs_turn


def test_parts_of_a_batch_that_is_gone_settle_nothing() -> None:
    """Its assignment is over: its permit goes back, and nobody is told anything."""
    stage, batch = batch_of(4)
    lose(stage)

    assert stage.engine.settle_in_parts(batch, batch.items(), {}, returned(), stage.now) == SettledParts()
    assert work(stage) == (0, 0, 0)


# -- what was sent, and what fell back -------------------------------------------------------------------------------------------------


def sending(**settings: Any) -> tuple[Stage, Message]:
    """A rejected message is on its way out."""
    stage = staged(rejects=True, **settings)
    delivery = stage.start()
    stage.end(delivery, rejected())
    stage.events()
    assert isinstance(delivery, Message)
    return stage, delivery


def test_a_message_that_is_out_is_finished() -> None:
    """Its lane is free, and the next one may start."""
    stage, delivery = sending()
    (second,) = stage.receive(1, first=1)

    assert stage.engine.rejected(delivery, stage.now) is Verdict.DONE
    assert work(stage) == (0, 0, 0)
    stage.turn()
    assert stage.start() is second


def test_a_message_that_could_not_be_sent_holds_its_place() -> None:
    """A lane has it again after the policy's longest backoff, to send it and to start nothing; then it is finished."""
    stage, delivery = sending()

    assert stage.engine.reject_failed(delivery, stage.now) is Verdict.AGAIN
    stage.turn()
    assert (stage.run.plan.of(ORDERS).reasons, work(stage), stage.start_all()) == (("dead letters",), (0, 0, 0), [])
    stage.turn(later=30.0)
    assert stage.start() is delivery
    assert stage.engine.rejected(delivery, stage.now) is Verdict.DONE
    stage.turn()
    assert stage.run.plan.of(ORDERS).reasons == ()


def test_a_message_whose_fallback_succeeded_is_finished() -> None:
    """Counted apart; no permit was taken for it."""
    stage, delivery = with_fallback()

    assert stage.engine.fell_back(delivery, stage.now) is Verdict.DONE
    assert (work(stage), stage.assignment().fallbacks, stage.run.falling) == ((0, 0, 0), 1, 0)


def test_a_message_whose_fallback_failed_waits_for_its_needs() -> None:
    """It does not fall back again before the circuit was tried, and is started when it admits."""
    stage, delivery = with_fallback()

    assert stage.engine.fallback_failed(delivery, stage.now) is Verdict.AGAIN
    stage.turn()
    assert (work(stage), stage.run.falling, stage.start_all()) == ((0, 0, 0), 0, [])
    stage.turn(later=10.0)
    assert stage.start() is delivery
    assert not delivery.history.falling_back


ENDINGS = ["rejected", "reject_failed", "fell_back", "fallback_failed", "interrupted"]


def running_for(ending: str) -> tuple[Stage, Delivery[Any]]:
    """Something that may end like this."""
    if ending.startswith("reject"):
        return sending()
    if ending == "interrupted":
        stage = staged()
        return stage, stage.start()
    return with_fallback()


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_gone_is_stale(ending: str) -> None:
    """Its lane and its permits go back, and nothing else happens."""
    stage, delivery = running_for(ending)
    lose(stage)

    assert getattr(stage.engine, ending)(delivery, stage.now) is Verdict.STALE
    assert stage.engine.needs_turn
    assert (work(stage), stage.run.falling) == ((0, 0, 0), 0)
    stage.turn(later=100.0)
    assert stage.start_all() == []


def test_a_late_verdict_is_stale() -> None:
    """Whatever the handler came to: it is no vote, and settles nothing."""
    stage = staged()
    delivery = stage.start()
    lose(stage)

    assert stage.engine.settle(delivery, dependency_failed(), "ValueError", stage.now) is Verdict.STALE
    assert stage.gates[0].circuit.snapshot(stage.now).failures == 0


@pytest.mark.parametrize("ending", ["reject_failed", "fallback_failed", "interrupted"])
def test_what_goes_away_is_dropped(ending: str) -> None:
    """Whoever has the source next gets it: here it waits for nothing."""
    stage, delivery = running_for(ending)
    close(stage)

    assert getattr(stage.engine, ending)(delivery, stage.now) is Verdict.AGAIN
    assert (work(stage), stage.assignment().unsent) == ((0, 0, 0), {})
    assert delivery not in stage.engine._waiting


@pytest.mark.parametrize("ending", ["rejected", "fell_back"])
def test_what_ends_well_on_its_way_out_is_settled(ending: str) -> None:
    """The source is still ours until it is forgotten."""
    stage, delivery = running_for(ending)
    close(stage)

    assert getattr(stage.engine, ending)(delivery, stage.now) is Verdict.DONE


def test_an_interrupted_first_attempt_leaves_nothing_behind() -> None:
    """Nothing is known of it, and it starts again."""
    stage = staged()
    delivery = stage.start()
    assert stage.engine.interrupted(delivery, stage.now) is Verdict.AGAIN
    assert (work(stage), delivery.history) == ((0, 0, 0), None)
    stage.turn()

    assert stage.start() is delivery


def test_an_interrupted_message_forgets_what_its_handler_asked_for() -> None:
    """The request was one attempt's; what it failed before stays known."""
    stage = staged()
    stage.end(stage.start(), own_failure())
    stage.turn(later=1.0)
    delivery = stage.start()
    delivery.retry(after=500.0)
    stage.engine.interrupted(delivery, stage.now)
    stage.turn()

    assert stage.start() is delivery
    assert (delivery.request, delivery.history.failures) == (None, 1)


def test_an_interrupted_sending_is_sent_again_at_once() -> None:
    """It was rejected before, so no handler starts."""
    stage, delivery = sending()
    stage.engine.interrupted(delivery, stage.now)
    stage.turn()

    assert list(stage.run.resend) == [delivery]


# -- what an operator ends -------------------------------------------------------------------------------------------------------------


def test_a_retry_lets_what_blocks_go_on_afresh() -> None:
    """With nothing known of it, and an event that says how many there are; where nothing is blocked there is none."""
    stage = staged()
    delivery = stage.start()
    stage.end(delivery, rejected())
    stage.events()

    assert stage.engine.retry(ORDERS, "mended", stage.now) == 1
    assert stage.engine.needs_turn
    assert stage.events() == [SourceRetried(0.0, ORDERS, 1, "mended")]
    assert delivery.history is None
    stage.turn()
    assert stage.start() is delivery
    stage.events()
    assert (stage.engine.retry(ORDERS, "mended", stage.now), stage.events()) == (0, [])
    assert stage.engine.retry(Partition("bills", 0), "mended", stage.now) == 0


def test_a_skip_finishes_one_message() -> None:
    """It is to be settled, an event says why, and what is behind it goes on."""
    stage = staged()
    (second,) = stage.receive(1, first=1)
    delivery = stage.start()
    stage.end(delivery, rejected())
    stage.events()

    assert stage.engine.skip(stage.run, ORDERS, 0, "test data", stage.now) is delivery
    assert stage.engine.needs_turn
    assert stage.events() == [MessageSkipped(0.0, ORDERS, 0, "test data", by_operator=True)]
    stage.turn()
    assert stage.start() is second


def test_there_may_be_nothing_to_skip() -> None:
    """Another source, another position, a handler that runs, a source that goes away."""
    stage = staged()
    assert stage.engine.skip(stage.run, Partition("bills", 0), 0, "test", stage.now) is None
    assert stage.engine.skip(stage.run, ORDERS, 7, "test", stage.now) is None
    delivery = stage.start()
    assert stage.engine.skip(stage.run, ORDERS, 0, "test", stage.now) is None
    stage.end(delivery, rejected())
    close(stage)

    assert stage.engine.skip(stage.run, ORDERS, 0, "test", stage.now) is None


def blocked(stage: Stage) -> list[SourceBlocked]:
    return [event for event in stage.events() if isinstance(event, SourceBlocked)]


def test_an_engine_has_nothing_to_do_at_first() -> None:
    """No turn is asked for before something has happened."""
    assert Engine(draw=lambda: 0.5).needs_turn is False


def suspect() -> Stage:
    """A lone message in front of a circuit that opened for it, one failure short of being a suspect."""
    stage = Stage("payments", run=run_of(["payments"]))
    stage.receive(1)
    for _ in range(4):
        stage.end(stage.start(), dependency_failed())
        stage.turn(later=1000.0)
    stage.events()
    return stage


def test_a_suspect_is_named_at_its_failure_and_not_again_at_the_next() -> None:
    """The next word on it is that of the minute."""
    stage = suspect()
    stage.engine.settle(stage.start(), dependency_failed(), "ValueError", stage.now)
    assert [event.suspect for event in blocked(stage)] == [True]
    stage.engine.turn(stage.now)
    stage.now += 1000.0
    stage.engine.turn(stage.now)
    stage.events()
    stage.engine.settle(stage.start(), dependency_failed(), "ValueError", stage.now)
    assert blocked(stage) == []


def test_its_own_failure_makes_nobody_a_suspect() -> None:
    """There is no question whose fault it is."""
    stage = suspect()
    stage.engine.settle(stage.start(), own_failure(), "ValueError", stage.now)
    assert blocked(stage) == []


def test_a_suspect_of_a_place_that_goes_away_is_not_named() -> None:
    """Whoever has the source next finds out."""
    stage = suspect()
    delivery = stage.start()
    stage.engine.closing(stage.run, [ORDERS], stage.now)
    stage.engine.settle(delivery, dependency_failed(), "ValueError", stage.now)
    assert blocked(stage) == []


def batches(most: int = 4, count: int = 8, **settings: Any) -> Stage:
    run = Run(Needs(["payments"]), order="source", concurrency=None, inbox=500, batch=most, **settings)
    stage = Stage("payments", run=run)
    stage.engine.received(run, batches_of(messages(ORDERS, count)))
    stage.turn()
    return stage


@pytest.mark.parametrize("end", [returned(), own_failure(), dependency_failed()])
def test_a_batch_that_has_ended_is_not_in_flight(end: Any) -> None:
    """Whatever it came to, its lane is free."""
    stage = batches()
    batch = stage.start()
    assert (stage.assignment().in_flight, stage.run.running) == (1, 1)
    stage.engine.settle(batch, end, "ValueError", stage.now)
    assert (stage.assignment().in_flight, stage.run.running) == (0, 0)


def test_a_message_keeps_what_its_batch_failed_with() -> None:
    """Its half has it, for whoever wants to know why it comes again."""
    stage = batches(most=2, count=2)
    stage.engine.settle(stage.start(), own_failure(), "OSError", stage.now)
    stage.turn()
    half = stage.start()
    assert isinstance(half, Batch)
    assert (half.history.error, half.history.failures) == ("OSError", 1)


def test_a_batch_that_ends_in_parts_asks_for_a_turn() -> None:
    """Its postponed part waits from then on."""
    stage = batches()
    batch = stage.start()
    assert isinstance(batch, Batch)
    assert stage.engine.needs_turn is False
    stage.engine.settle_in_parts(batch, batch.items(), {}, returned(), stage.now)
    assert stage.engine.needs_turn is True


def test_every_fallback_is_counted() -> None:
    """Apart from what handlers did."""
    engine = Engine(draw=lambda: 0.5)
    gate = engine.add_gate(Circuit("payments", QUICK))
    run = Run(Needs(["payments"]), order="none", concurrency=4, inbox=10, fallback=FallbackSettings(0.0, None))
    engine.add_run(run)
    engine.assigned(run, [ORDERS], 0.0)
    gate.circuit.open_for(10.0, 0.0)
    engine.turn(0.0)
    engine.received(run, messages(ORDERS, 2))
    engine.turn(0.0)
    for _ in range(4):
        engine.turn(0.0)
        delivery = engine.next(run, 0.0)
        if delivery is not None:
            engine.fell_back(delivery, 0.0)
    assert run.assignments[ORDERS].fallbacks == 2


def test_a_skip_asks_for_a_turn() -> None:
    """What stood behind the message goes on."""
    stage = Stage("payments", run=run_of(["payments"], retry=RetryPolicy(attempts=1)))
    stage.receive(2)
    assert stage.end(stage.start(), own_failure()) is Verdict.AGAIN
    assert stage.engine.needs_turn is False
    assert stage.engine.skip(stage.run, ORDERS, 0, "hopeless", stage.now) is not None
    assert stage.engine.needs_turn is True


def test_a_skip_of_nothing_asks_for_nothing() -> None:
    """There is no such message."""
    stage = Stage("payments")
    assert stage.engine.skip(stage.run, ORDERS, 7, "hopeless", stage.now) is None
    assert stage.engine.needs_turn is False
