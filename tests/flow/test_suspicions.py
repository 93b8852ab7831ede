"""The hold that an outage nobody described begins: who waits, who is tried, what ends it, and what is said."""

from __future__ import annotations

from typing import Any

import pytest
from tests.flow.stage import ORDERS, Stage, dependency_failed, messages, partitions, returned, run_of, unclaimed

from holdgate.core import Circuit
from holdgate.flow.batch import AS_THEY_ARE, Batch
from holdgate.flow.engine import Engine
from holdgate.flow.events import HoldContinued, OutageOver, OutageSuspected, SourceHeld, SourceReleased
from holdgate.flow.inbox import Order
from holdgate.flow.message import Delivery, HandlerRequest, Partition, Queue
from holdgate.flow.policy import RetryPolicy, Verdict
from holdgate.flow.state import Run

ERROR = "client.ConnectError"
HELD = ("unclaimed failures",)
THREE = partitions(3)
STEADY = RetryPolicy(attempts=3, jitter=0.0, max_backoff=8.0)


def working(
    sources: list[Partition] = THREE, *, order: Order = "source", concurrency: int | None = None, needs: tuple[str, ...] = ()
) -> Stage:
    """A run whose handler has succeeded ten times."""
    run = run_of(needs, order=order, concurrency=concurrency, retry=STEADY, rejects=True)
    stage = Stage(*needs, run=run, sources=sources)
    for _ in range(10):
        stage.receive(1, sources[0])
        assert stage.engine.succeeded(stage.start(), stage.now) is Verdict.DONE
    stage.turn()
    stage.events()
    return stage


def suspecting(stage: Stage | None = None, needs: int = 0) -> tuple[Stage, list[Delivery[Any]]]:
    """Each of three partitions has a message that failed, and another behind it: it is an outage. The failed ones come in their order."""
    stage = stage or working()
    for source in THREE:
        stage.receive(2, source)
    failed = stage.start_all()
    for delivery in failed:
        assert stage.end(delivery, unclaimed(needs)) is Verdict.AGAIN
    return stage, failed


def reasons(stage: Stage) -> set[tuple[str, ...]]:
    return {plan.reasons for plan in stage.run.plan.sources.values()}


def test_redelivered_messages_make_no_outage_however_many_fail() -> None:
    """A worker that was killed leaves its bad messages to this one, all of them in front: they are charged."""
    stage = working()
    for source in THREE:
        stage.receive(2, source)
    for delivery in stage.start_all():
        delivery.redelivered = True
        assert stage.end(delivery, unclaimed(0)) is Verdict.AGAIN
        assert delivery.history.charged == 1

    assert reasons(stage) == {()}


def test_the_failure_that_makes_it_an_outage_holds_every_source_of_the_handler() -> None:
    """With its reason in the plan and in the snapshot, and one event that names the type."""
    stage, _ = suspecting()

    assert reasons(stage) == {HELD}
    seen = stage.engine.snapshot(stage.now).sources[ORDERS]
    assert (seen.held, seen.reasons, seen.fetch) == (True, HELD, False)
    told = stage.events()
    assert told == [OutageSuspected(0.0, tuple(THREE), ERROR, 3, 3, 0.0), *[SourceHeld(0.0, source, HELD) for source in THREE]]


def test_such_a_failure_is_not_charged() -> None:
    """The first two were, before it was known; after that none, however often they are tried."""
    stage, failed = suspecting()
    for _ in range(10):
        stage.turn(8.0)
        for delivery in stage.start_all():
            assert stage.end(delivery, unclaimed()) is Verdict.AGAIN

    assert [delivery.history.charged for delivery in failed] == [1, 1, 0]
    assert failed[0].history.failures == 11


def test_a_failure_that_somebody_claims_is_charged_all_the_same() -> None:
    """By a need's `excluded` for one."""
    stage, _ = suspecting()
    stage.turn(0.5)
    delivery = stage.start()
    before = delivery.history.charged
    stage.end(delivery, unclaimed(error=""))

    assert delivery.history.charged == before + 1


def test_failed_messages_are_tried_while_it_lasts_and_nothing_else_in_order() -> None:
    """Each after its backoff; what stands behind it waits."""
    stage, failed = suspecting()
    assert stage.start_all() == []
    stage.turn(0.5)

    assert set(stage.start_all()) == set(failed)


def test_an_operator_holds_those_too() -> None:
    """One that was granted before the word is given back."""
    stage, _ = suspecting()
    stage.turn(0.5)
    stage.engine.hold("orders")
    stage.turn()

    assert stage.start_all() == []


def test_the_first_success_ends_it() -> None:
    """What waits goes on at once, the failed ones without the rest of their backoffs, and it is said."""
    stage, _ = suspecting()
    stage.turn(0.5)
    first, *others = stage.start_all()
    for delivery in others:
        stage.end(delivery, unclaimed())
    stage.events()
    assert stage.end(first, returned(0)) is Verdict.DONE

    assert reasons(stage) == {()}
    assert stage.events() == [
        OutageOver(0.5, tuple(THREE), ERROR, 0.5),
        *[SourceReleased(0.5, source, 0.5) for source in THREE],
    ]
    assert len(stage.start_all()) == 3
    assert {delivery.history.backoffs for delivery in others} == {0}


def test_how_long_it_lasted_counts_from_its_beginning() -> None:
    """And not from the start of the process."""
    stage = working()
    stage.turn(later=100.0)
    suspecting(stage)
    stage.turn(0.5)
    stage.end(stage.start(), returned(0))

    assert [event.held_for for event in stage.events() if isinstance(event, OutageOver)] == [0.5]


def test_a_success_that_was_under_way_when_it_began_ends_it() -> None:
    """Told by `succeeded`, the quick end."""
    stage = working(partitions(4))
    for source in partitions(4):
        stage.receive(1, source)
    first, *failed = stage.start_all()
    for delivery in failed:
        stage.end(delivery, unclaimed())
    assert reasons(stage) == {HELD}
    stage.engine.succeeded(first, stage.now)
    assert stage.engine.needs_turn
    stage.turn()

    assert reasons(stage) == {()}


def test_beside_the_failed_ones_a_fresh_message_is_tried() -> None:
    """Three bad messages at once would hold the queue for ever: at growing distances one that has not failed goes."""
    stage = working([ORDERS], order="none", concurrency=3)
    stage.receive(20)
    failed = stage.start_all()
    for delivery in failed:
        stage.end(delivery, unclaimed())
    assert reasons(stage) == {HELD}
    started: list[float] = []
    fresh: list[Delivery[Any]] = []
    while stage.now < 40:
        deadline = stage.engine.next_deadline()
        assert deadline is not None
        stage.turn(max(0.0, deadline - stage.now))
        for delivery in stage.start_all():
            if delivery.attempt == 1:
                started.append(stage.now)
                fresh.append(delivery)
            stage.end(delivery, unclaimed())

    assert started == [0.5, 1.5, 3.5, 7.5, 15.5, 23.5, 31.5, 39.5]
    stage.turn(8.0)
    good = next(delivery for delivery in stage.start_all() if delivery.attempt == 1)
    stage.engine.succeeded(good, stage.now)
    stage.turn()
    assert reasons(stage) == {()}


def test_the_fresh_message_comes_from_a_source_that_has_one() -> None:
    """The next in turn; those whose head has failed, and those that an operator holds, have none to give."""
    sources = partitions(6)
    stage = working(sources)
    for source in sources[:3]:
        stage.receive(2, source)
    for delivery in stage.start_all():
        stage.end(delivery, unclaimed())
    for source in sources[3:]:
        stage.receive(2, source)
    stage.engine.hold(sources[3])
    fresh = []
    for _ in range(6):
        stage.turn(8.0)
        for delivery in stage.start_all():
            fresh += [delivery.source] if delivery.attempt == 1 else []
            stage.end(delivery, unclaimed())

    assert set(fresh) == {sources[4], sources[5]}


def test_the_fresh_message_makes_room_in_a_full_inbox() -> None:
    """And a second one does not go before the first has found a lane."""
    run = run_of((), order="none", concurrency=3, inbox=2, retry=STEADY, rejects=True)
    stage = Stage(run=run)
    for _ in range(10):
        stage.receive(1)
        stage.engine.succeeded(stage.start(), 0.0)
    stage.receive(3)
    failed = stage.start_all()
    stage.receive(2, first=3)
    assert stage.assignment().full
    for delivery in failed:
        stage.end(delivery, unclaimed())
    stage.turn(0.5)
    assert [stage.assignment().unstarted, stage.assignment().inbox.waiting] == [0, 1]
    running = stage.start_all()
    assert len(running) == 3
    stage.turn(1.0)
    stage.turn(2.0)

    assert stage.assignment().full is False


def test_without_a_lane_one_fresh_message_waits_and_no_more() -> None:
    """Its lanes are busy with messages that hang."""
    stage = working([ORDERS], order="none", concurrency=3)
    stage.receive(20)
    for delivery in stage.start_all():
        stage.end(delivery, unclaimed())
    stage.turn(0.5)
    assert len(stage.start_all()) == 3
    for _ in range(5):
        stage.turn(8.0)

    assert stage.assignment().unstarted == 1


def test_with_nothing_left_to_try_it_goes_on_waiting() -> None:
    """Every source is gone, and comes again: it is held from the beginning, and its first message is the probe."""
    stage, _ = suspecting()
    stage.engine.forget(stage.run, THREE, stage.now)
    stage.turn(8.0)
    stage.engine.assigned(stage.run, [ORDERS], stage.now)
    assert stage.run.plan.of(ORDERS).reasons == HELD
    stage.receive(2)
    stage.turn(8.0)
    (probe,) = stage.start_all()
    stage.engine.succeeded(probe, stage.now)
    stage.turn()

    assert stage.run.plan.of(ORDERS).reasons == ()


def test_it_is_said_again_every_minute() -> None:
    """With how many have failed since, and since when; and the hold is announced as every hold is."""
    stage, _ = suspecting()
    stage.events()
    told: list[Any] = []
    while stage.now < 610:
        deadline = stage.engine.next_deadline()
        assert deadline is not None
        stage.turn(deadline - stage.now)
        for delivery in stage.start_all():
            stage.end(delivery, unclaimed())
        told += stage.events()

    suspected = [event for event in told if isinstance(event, OutageSuspected)]
    assert [event.at for event in suspected] == [60.0 * minute for minute in range(1, 11)]
    assert {event.since for event in suspected} == {0.0}
    (continued, *_) = (event for event in told if isinstance(event, HoldContinued))
    assert continued.next_try is not None
    assert 600 <= continued.next_try <= 608


def test_success_and_hold_in_turns_are_told_once_a_minute() -> None:
    """Nine calls in ten fail: the hold comes again with the next failures, and messages keep their backoffs."""
    stage, failed = suspecting()
    stage.turn(0.5)
    first, *others = stage.start_all()
    for delivery in others:
        stage.end(delivery, unclaimed())
    stage.end(first, returned(0))
    stage.events()
    for _ in range(2):
        for delivery in stage.start_all():
            stage.end(delivery, unclaimed())
        stage.turn(1.0)
    assert reasons(stage) == {HELD}
    stage.turn(8.0)
    succeeded = stage.start()
    stage.end(succeeded, returned(0))

    assert reasons(stage) == {()}
    assert [event for event in stage.events() if isinstance(event, OutageSuspected | OutageOver)] == []
    assert failed


def by_name(*, apart: bool) -> Run:
    """Topics that are named one by one, and need the same."""
    needs = run_of({"orders": [], "bills": []}).needs
    return Run(needs, order="source", concurrency=None, inbox=500, retry=STEADY, rejects=True, apart=apart)


def test_topics_that_are_named_one_by_one_are_looked_at_together() -> None:
    """One handler and the same needs: a partition of each is enough to see an outage."""
    topics = [partitions(1, name)[0] for name in ("orders", "bills")]
    stage = Stage(run=by_name(apart=False), sources=topics)
    for _ in range(1000):
        stage.receive(1, topics[0])
        stage.engine.succeeded(stage.start(), 0.0)
    for source in topics:
        stage.receive(1, source)
    for delivery in stage.start_all():
        stage.end(delivery, unclaimed())
    stage.turn()

    assert reasons(stage) == {HELD}


def test_topics_with_handlers_of_their_own_are_held_apart() -> None:
    """What one handler runs into says nothing of the other's."""
    orders, bills = partitions(3), partitions(3, "bills")
    stage = Stage(run=by_name(apart=True), sources=[*orders, *bills])
    for source in (orders[0], bills[0]):
        for _ in range(10):
            stage.receive(1, source)
            stage.engine.succeeded(stage.start(), 0.0)
    for source in [*orders, *bills]:
        stage.receive(1, source)
    for delivery in stage.start_all():
        if delivery.source.name == "orders":
            stage.end(delivery, unclaimed())
        else:
            stage.engine.succeeded(delivery, 0.0)
    stage.turn()

    assert {source.name: plan.reasons for source, plan in stage.run.plan.sources.items()} == {"orders": HELD, "bills": ()}
    assert isinstance(stage.events()[-1], SourceHeld)


def test_another_run_of_the_same_engine_goes_on() -> None:
    """Each handler has a past of its own; and a run that ends takes its suspicion along."""
    stage, _ = suspecting()
    other = run_of(())
    stage.engine.add_run(other)
    stage.engine.assigned(other, [Partition("bills", 0)], stage.now)
    stage.turn()
    assert other.plan.of(Partition("bills", 0)).reasons == ()
    stage.engine.remove_run(stage.run, stage.now)
    stage.turn(120.0)

    assert [event for event in stage.events() if isinstance(event, OutageSuspected) and event.at > 0] == []


def test_it_is_no_matter_of_circuits() -> None:
    """An open circuit is a reason of its own: then no failed message is tried either."""
    stage = working(needs=("payments",))
    stage, failed = suspecting(stage, 1)
    assert stage.engine.gates["payments"].failures == 0
    stage.turn(0.5)
    stage.engine.gates["payments"].circuit.open_for(10.0, stage.now)
    stage.turn()

    assert reasons(stage) == {("circuit:payments", *HELD)}
    assert stage.start_all() == []
    assert failed


def test_failures_of_a_dependency_are_results_of_another_kind() -> None:
    """Bad messages that pass by in the outage of a declared dependency are not taken for one of their own."""
    stage = working(needs=("payments",))
    for source in THREE:
        stage.receive(2, source)
    for _ in range(3):
        bad, *others = stage.start_all()
        for delivery in others:
            stage.engine.settle(delivery, dependency_failed(), "ConnectionError", stage.now)
        stage.end(bad, unclaimed(1))
        stage.engine.gates["payments"].circuit.reset(stage.now)
        stage.turn(8.0)

    assert (stage.assignment().results.claimed, reasons(stage)) == (6, {()})


def batches(stage: Stage, count: int, first: int) -> list[Batch]:
    return [Batch(ORDERS, list(messages(ORDERS, 4, first + 4 * number)), AS_THEY_ARE) for number in range(count)]


def test_batches_are_held_like_messages() -> None:
    """A batch is one voter and comes again in halves, each after its backoff; nothing of it is charged."""
    run = Run(run_of(()).needs, order="none", concurrency=4, inbox=500, retry=STEADY, rejects=True, batch=4)
    stage = Stage(run=run)
    for number in range(10):
        stage.engine.received(run, batches(stage, 1, 4 * number))
        stage.turn()
        stage.engine.settle(stage.start(), returned(0), "", 0.0)
        stage.turn()
    stage.engine.received(run, batches(stage, 4, 100))
    stage.turn()
    for delivery in stage.start_all():
        assert stage.end(delivery, unclaimed()) is Verdict.AGAIN

    assert reasons(stage) == {HELD}
    halves_at_once = stage.start_all()
    assert {len(half) for half in halves_at_once if isinstance(half, Batch)} == {2}  # of those that failed before it was known
    assert len(halves_at_once) == 4


def test_halves_of_a_batch_wait_while_it_lasts_though_lanes_are_free() -> None:
    """Two batches failed before it was known, and come in halves immediately. The other two are excused, and have a backoff."""
    run = Run(run_of(()).needs, order="none", concurrency=16, inbox=500, retry=STEADY, rejects=True, batch=4)
    stage = Stage(run=run)
    for number in range(10):
        stage.engine.received(run, batches(stage, 1, 4 * number))
        stage.turn()
        stage.engine.settle(stage.start(), returned(0), "", 0.0)
        stage.turn()
    stage.engine.received(run, batches(stage, 4, 100))
    stage.turn()
    failing = stage.start_all()
    for delivery in failing:
        stage.engine.settle(delivery, unclaimed(), "OSError", 0.0)
    stage.turn()

    assert [delivery.history.charged for delivery in failing] == [1, 1, 0, 0]
    assert len(stage.start_all()) == 4
    stage.turn(later=8.0)
    assert len(stage.start_all()) >= 4


@pytest.mark.parametrize("in_parts", [False, True])
def test_what_succeeds_after_all_is_no_failure_that_repeats(in_parts: bool) -> None:
    """It takes its last failure with it: the next one of its kind is a first one."""
    run = Run(run_of(()).needs, order="source", concurrency=1, inbox=500, retry=STEADY, rejects=True, batch=4)
    stage = Stage(run=run)
    stage.engine.received(run, batches(stage, 1, 0))
    stage.turn()
    stage.engine.settle(stage.start(), unclaimed(), "OSError", 0.0)
    stage.turn(later=8.0)
    batch = stage.start()
    assert isinstance(batch, Batch)
    assert batch.history.unclaimed is not None
    if in_parts:
        stage.engine.settle_in_parts(batch, batch.items(), {0: HandlerRequest(after=5.0)}, returned(0), 8.0)
    else:
        stage.engine.settle(batch, returned(0), "", 8.0)

    assert batch.history.unclaimed is None


def test_a_batch_that_is_done_in_parts_is_a_success() -> None:
    """Its handler returned."""
    run = Run(run_of(()).needs, order="source", concurrency=1, inbox=500, retry=STEADY, rejects=True, batch=4)
    stage = Stage(run=run)
    stage.engine.received(run, batches(stage, 1, 0))
    stage.turn()
    batch = stage.start()
    assert isinstance(batch, Batch)
    stage.engine.settle_in_parts(batch, batch.items(), {0: HandlerRequest(after=5.0)}, returned(0), 0.0)

    assert stage.assignment().results.successes == 1


def test_one_queue_with_many_lanes_is_several_sources_enough() -> None:
    """The most common RabbitMQ worker: its messages are compared, and not its sources."""
    engine = Engine(draw=lambda: 0.5)
    engine.add_gate(Circuit("payments"))
    run = run_of((), order="none", concurrency=16, retry=STEADY, rejects=True)
    engine.add_run(run)
    queue: Any = Queue("orders")
    engine.assigned(run, [queue], 0.0)
    engine.received(run, messages(queue, 50))
    engine.turn(0.0)
    started = [engine.next(run, 0.0) for _ in range(16)]
    for number, delivery in enumerate(started):
        assert delivery is not None
        if number < 10:
            engine.succeeded(delivery, 0.0)
        else:
            engine.settle(delivery, unclaimed(), "ConnectError", 0.0)
    engine.turn(0.0)

    assert run.plan.of(queue).reasons == HELD


@pytest.mark.parametrize("attempts", [1, 2])
def test_with_few_attempts_the_first_ones_go(attempts: int) -> None:
    """Two have failed before it is known: with one attempt they are rejected, with two nobody is."""
    stage = working()
    stage.run.retry = RetryPolicy(attempts=attempts, jitter=0.0)
    for source in THREE:
        stage.receive(1, source)
    verdicts = [stage.end(delivery, unclaimed()) for delivery in stage.start_all()]

    assert verdicts.count(Verdict.REJECT) == (2 if attempts == 1 else 0)


def test_when_nothing_is_left_to_try_more_is_fetched() -> None:
    """The hold may have begun before more than the failed ones had come; what comes then is enough, until it has been tried."""
    stage = working([ORDERS], order="none", concurrency=3)
    stage.receive(3)
    for delivery in stage.start_all():
        stage.end(delivery, unclaimed())
    plan = stage.run.plan.of(ORDERS)
    assert (plan.reasons, plan.fetch) == (HELD, True)
    stage.receive(1, first=3)
    assert stage.run.plan.of(ORDERS).fetch is False
    stage.turn(0.5)
    assert len(stage.start_all()) == 3
    stage.turn(8.0)

    assert stage.run.plan.of(ORDERS).fetch is True


@pytest.mark.parametrize(("status", "is_bug"), [(401, False), (None, True)])
def test_what_is_suspected_is_named_with_all_that_is_known(status: int | None, is_bug: bool) -> None:
    """The status of the answer, whether it looks like a bug, and when the first of them failed."""
    stage = working()
    stage.turn(100.0)
    for source in THREE:
        stage.receive(2, source)
    for delivery in stage.start_all():
        stage.end(delivery, unclaimed(0)._replace(status=status, is_bug=is_bug))
        stage.turn(1.0)
    (suspected,) = (event for event in stage.events() if isinstance(event, OutageSuspected))
    assert (suspected.status, suspected.is_bug, suspected.began) == (status, is_bug, 100.0)
    assert (suspected.failed, suspected.of, suspected.since) == (3, 3, 102.0)
