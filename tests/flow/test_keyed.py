"""Messages with keys: each waits for its own key, and is compared with others of its key alone."""

from __future__ import annotations

from random import Random

import pytest
from tests.flow.stage import (
    ORDERS,
    QUICK,
    Stage,
    dependency_failed,
    in_flight,
    messages,
    own_failure,
    positions,
    refused,
    rejected,
    run_of,
    unclaimed,
)
from tests.flow.tenants import Tenants, of_tenants

from holdgate.core import Circuit, Limits, Outcome, Override, State, Told
from holdgate.core.keys import Keys
from holdgate.errors import NeedsError
from holdgate.flow import keyed
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.events import HoldContinued, SourceHeld, SourceReleased
from holdgate.flow.gate import gates_of
from holdgate.flow.inbox import Order
from holdgate.flow.message import AnyDelivery, Partition
from holdgate.flow.passing import MessageNeeds
from holdgate.flow.plan import SourcePlan
from holdgate.flow.policy import RetryPolicy, Verdict
from holdgate.flow.snapshot import PartlyWaiting


def test_a_message_of_a_held_key_waits_and_the_others_pass_it() -> None:
    """The source is not held, and is fetched from."""
    stage = Tenants()
    stage.hold("a")
    stage.come("a", "b", "a", "c", None)
    assert of_tenants(stage.start_all()) == ["b", "c", None]
    stage.turn()
    assert (stage.assignment().plan, stage.seen.waiting, stage.seen.held) == (SourcePlan(fetch=True), 2, 1)


def test_one_message_of_the_key_asks_when_its_wait_is_over() -> None:
    """The oldest; the next one after its success, and so on up the ramp."""
    stage = Tenants()
    stage.hold("a")
    came = stage.come("a", "a", "a")
    assert stage.start_all() == []
    stage.turn()
    assert stage.engine.next_deadline() == pytest.approx(10.0)
    stage.turn(later=10.0)
    (asks,) = stage.start_all()
    assert asks is came[0]
    stage.settle_well(asks)
    (second,) = stage.start_all()
    stage.settle_well(second)
    assert len(stage.start_all()) == 1
    assert (stage.seen.held, stage.seen.waiting) == (0, 0)


def test_a_failed_probe_holds_the_key_again() -> None:
    """And its message waits behind none of the others."""
    stage = Tenants()
    stage.hold("a")
    came = stage.come("a", "a")
    stage.turn(later=10.0)
    (asks,) = stage.start_all()
    stage.fail(asks)
    assert (stage.start_all(), stage.seen.waiting, asks) == ([], 2, came[0])
    assert stage.gate.circuit.state is State.CLOSED


def test_failures_of_one_key_hold_that_key_alone() -> None:
    """Two messages of it fail, as QUICK has it; the whole hears of one."""
    stage = Tenants()
    stage.come("a", "a", "a", "b")
    started = stage.start_all()
    stage.fail(*started[:2])
    stage.succeed(started[3])
    assert (stage.seen.held, stage.gate.circuit.state) == (1, State.CLOSED)


def test_two_keys_that_fail_in_a_row_open_the_whole_and_hold_the_source() -> None:
    """QUICK opens at two; the source is held as in any outage, and not message by message."""
    stage = Tenants()
    stage.come("a", "b")
    stage.fail(*stage.start_all())
    assert stage.gate.circuit.state is State.OPEN
    assert stage.assignment().plan.reasons == ("circuit:payments",)


def test_a_message_is_one_vote_on_its_key() -> None:
    """It fails again and again, and another of its key succeeded meanwhile: the key stays well."""
    stage = Tenants(retry=RetryPolicy(attempts=5, initial_backoff=1.0, multiplier=1.0, max_backoff=1.0, jitter=0.0))
    (bad,) = stage.come("a")
    for _ in range(4):
        (delivery,) = stage.start_all()
        assert delivery is bad
        stage.fail(delivery)
        stage.come("a")
        (other,) = stage.start_all()
        stage.succeed(other)
        stage.turn(later=2.0)
    assert stage.seen.held == 0


def test_a_message_behind_its_tenant_that_is_down_is_never_blamed() -> None:
    """Thousands of other tenants succeed meanwhile: compared with those it would look like poison."""
    stage = Tenants(retry=RetryPolicy(attempts=2, initial_backoff=1.0, multiplier=1.0, max_backoff=1.0, jitter=0.0), rejects=True)
    (unlucky,) = stage.come("a")
    for _ in range(30):
        for delivery in stage.start_all():
            if delivery is unlucky:
                assert stage.engine.settle(delivery, dependency_failed(), "Down", stage.now) is Verdict.AGAIN
                stage.turn()
            else:
                stage.succeed(delivery)
        stage.come(*"bcdefgh")
        stage.turn(later=5.0)
    assert unlucky.history.counted == 0


def test_poison_among_healthy_messages_of_its_key_is_found() -> None:
    """The rule of blame, with the key's own messages to compare."""
    stage = Tenants(retry=RetryPolicy(attempts=3, initial_backoff=1.0, multiplier=1.0, max_backoff=1.0, jitter=0.0), rejects=True)
    (poison,) = stage.come("a")
    verdict = Verdict.AGAIN
    for _ in range(30):
        for delivery in sorted(stage.start_all(), key=lambda started: started is poison):
            if delivery is poison:
                verdict = stage.engine.settle(delivery, dependency_failed(), "Down", stage.now)
                stage.turn()
            else:
                stage.succeed(delivery)
        if verdict is not Verdict.AGAIN:
            break
        stage.come(*"aaaaaaaa")
        stage.turn(later=2.0)
    assert verdict is Verdict.REJECT


def test_a_retry_that_succeeds_counts_for_its_key() -> None:
    """As a recovery: it must not look like another message."""
    stage = Tenants(retry=RetryPolicy(initial_backoff=1.0, jitter=0.0))
    stage.come("a")
    stage.fail(*stage.start_all())
    stage.turn(later=2.0)
    (again,) = stage.start_all()
    stage.settle_well(again)
    record = stage.keys.known("a", stage.now)
    assert (record.successes, record.recoveries, record.failures) == (1, 1, 1)


def test_a_late_failure_is_no_vote() -> None:
    """Its key has opened since it began."""
    stage = Tenants()
    stage.keys.known("a", 0.0)
    stage.come("a", "a", "a")
    started = stage.start_all()
    stage.fail(*started)
    assert stage.keys.known("a", 0.0).failures == 2


def test_a_throttled_key_waits_and_asks_with_one_message() -> None:
    """The whole is not limited, and the throttled message comes first, and at its place."""
    stage = Tenants()
    came = stage.come("a", "a", "b")
    started = stage.start_all()
    stage.throttle(started[0], retry_after=None)
    stage.succeed(*started[1:])
    stage.come("a", "b")
    assert of_tenants(stage.start_all()) == ["b"]
    assert (stage.seen.held, stage.gate.circuit.limits.active) == (1, False)
    stage.turn(later=1.0)
    (asks,) = stage.start_all()
    assert asks is came[0]
    stage.settle_well(asks)
    assert stage.seen.held == 0


def test_a_message_that_never_passes_its_limit_speaks_twice() -> None:
    """It is larger than the limit: from the third refusal on others of its key have been let in since, and it says nothing more."""
    stage = Tenants()
    (large,) = stage.come("a")
    for _ in range(6):
        for delivery in stage.start_all():
            if delivery is large:
                stage.throttle(delivery)
            else:
                stage.succeed(delivery)
        stage.come("a", "a")
        stage.turn(later=60.0)
    assert (large.history.throttled > 3, stage.seen.held) == (True, 0)


def test_numbers_are_those_of_each_key() -> None:
    """One at a time for each tenant, and all tenants beside each other."""
    stage = Tenants(limits=Limits(concurrency=1, adaptive=False))
    stage.come("a", "a", "b", "b")
    first = stage.start_all()
    assert of_tenants(first) == ["a", "b"]
    stage.succeed(first[0])
    assert of_tenants(stage.start_all()) == ["a"]
    stage.end(first[1], own_failure())
    assert of_tenants(stage.start_all()) == ["b"]


def test_a_throttled_message_waits_by_itself_where_nothing_is_found_out() -> None:
    """With adaptive=False the key's numbers say nothing of a refusal: time does."""
    stage = Tenants(limits=Limits(concurrency=2, adaptive=False))
    stage.come("a")
    stage.throttle(*stage.start_all(), retry_after=30.0)
    assert stage.start_all() == []
    stage.turn(later=20.0)
    assert stage.start_all() == []
    stage.turn(later=15.0)
    assert len(stage.start_all()) == 1


def test_what_was_not_processed_is_given_back_to_its_key() -> None:
    """Interrupted, refused, or its assignment is gone: neither key nor whole count it as in work."""
    stage = Tenants(limits=Limits(concurrency=1, adaptive=False))
    for end in ("interrupted", "refused", "forgotten", "withdrawn"):
        stage.come("a")
        if end == "withdrawn":
            stage.turn()
        else:
            (delivery,) = stage.start_all()
        if end == "interrupted":
            stage.engine.interrupted(delivery, stage.now)
            stage.turn()
            stage.succeed(*stage.start_all())
        elif end == "refused":
            stage.end(delivery, refused("payments"))
            stage.turn(later=100.0)
            stage.succeed(*stage.start_all())
        else:
            stage.engine.forget(stage.run, [ORDERS], stage.now)
            stage.engine.assigned(stage.run, [ORDERS], stage.now)
            if end == "forgotten":
                stage.engine.succeeded(delivery, stage.now)
            stage.turn()
        assert (stage.keys.known("a", stage.now).in_flight, in_flight(stage), stage.seen.waiting) == (0, 0, 0), end


def test_a_rejected_message_says_nothing_of_its_key() -> None:
    """Its own failure, as its handler says."""
    stage = Tenants(rejects=True)
    stage.come("a")
    (delivery,) = stage.start_all()
    assert stage.engine.settle(delivery, rejected(), "Reject", stage.now, reason="bad") is Verdict.REJECT
    stage.engine.rejected(delivery, stage.now)
    assert (stage.seen.known, in_flight(stage)) == (0, 0)


def test_needs_without_keys_beside_it_go_on_as_ever() -> None:
    """All or none: a message of a well key waits for the mail relay, and holds nothing of its key meanwhile."""
    stage = Tenants("none", "mail", limits=Limits(concurrency=1, adaptive=False))
    stage.come("z", "z")
    for delivery in stage.start_all():
        stage.succeed(delivery)
    (interrupted,) = stage.start_all()
    stage.engine.interrupted(interrupted, stage.now)
    stage.turn()
    stage.succeed(*stage.start_all())
    stage.trip("mail")
    stage.come("a", "b")
    assert (stage.start_all(), stage.assignment().plan.reasons) == ([], ("circuit:mail",))
    assert stage.keys.record_of("a") is None
    stage.turn(later=10.0)
    (probe,) = stage.start_all()
    stage.fail(probe)
    assert stage.gates[1].circuit.state is State.OPEN


def test_order_by_key_keeps_each_tenant_in_order() -> None:
    """Behind the held one its own wait, and the others go on."""
    stage = Tenants("key")
    stage.hold("a")
    stage.come("a", "a", "b", "a", "b")
    done = []
    while started := stage.start_all():
        done += positions(started)
        stage.succeed(*started)
    assert done == [2, 4]
    stage.turn(later=10.0)
    while started := stage.start_all():
        done += positions(started)
        stage.succeed(*started)
    assert done == [2, 4, 0, 1, 3]


def test_in_the_order_of_the_source_the_head_holds_it_and_the_order_is_why() -> None:
    """One hold from the first failure to the first success, however often it asks in between."""
    stage = Tenants("source", concurrency=None)
    stage.hold("a")
    stage.events()
    stage.come("a", "b")
    assert stage.start_all() == []
    stage.turn()
    assert stage.assignment().plan == SourcePlan(fetch=False, reasons=("key:payments",))
    (held,) = [event for event in stage.events() if isinstance(event, SourceHeld)]
    assert (held.reasons, held.because) == (("key:payments",), "order")

    stage.turn(later=10.0)
    (asks,) = stage.start_all()
    stage.fail(asks)
    assert stage.assignment().held
    stage.turn(later=100.0)
    (asks,) = stage.start_all()
    stage.settle_well(asks)
    stage.turn()
    assert [event for event in stage.events() if isinstance(event, SourceHeld | SourceReleased)] == [
        SourceReleased(110.0, ORDERS, pytest.approx(110.0))
    ]
    assert of_tenants(stage.start_all()) == ["b"]


def test_a_key_holds_no_source_whose_message_has_ended() -> None:
    """It was rejected, or skipped: nobody asks for its key any more, which stays held, and the next one has another key."""
    for end in ("rejected", "skipped"):
        stage = Tenants("source", concurrency=None, rejects=True)
        stage.come("a", "b")
        for _ in range(2):
            stage.fail(*stage.start_all())
            stage.turn(later=2.0)
        assert stage.assignment().plan.reasons == ("key:payments",)
        if end == "skipped":
            assert stage.engine.skip(stage.run, ORDERS, 0, "known", stage.now)
        else:
            stage.turn(later=10.0)
            (asks,) = stage.start_all()
            assert stage.engine.settle(asks, rejected(), "Reject", stage.now, reason="bad") is Verdict.REJECT
            stage.engine.rejected(asks, stage.now)
        stage.turn()
        assert (stage.assignment().plan.reasons, stage.seen.held) == ((), 1), end
        assert of_tenants(stage.start_all()) == ["b"], end


def test_nothing_waits_for_a_key_that_was_forgotten_for_another_one() -> None:
    """In the very round in which its message was to be set aside: there is room for one key, and the other has just started."""
    stage = Tenants(limits=Limits(concurrency=1, adaptive=False))
    stage.keys.max_keys = 1
    stage.come("a", "b")
    for delivery in stage.start_all():
        stage.engine.interrupted(delivery, stage.now)
    stage.keys.begin_anew(stage.now)
    for _ in range(2):
        stage.keys.end("a", None, Outcome.FAILURE, stage.now)
    assert (stage.seen.held, stage.seen.known) == (1, 1)
    stage.turn()
    assert (of_tenants(stage.start_all()), stage.seen.waiting, stage.seen.held) == (["b", "a"], 0, 0)


@pytest.mark.parametrize("order", ["none", "key", "source"])
def test_a_message_without_needs_takes_no_permit_when_the_whole_comes_back(order: Order) -> None:
    """Its key could not be found out, so it ends with that error; it is the only one here that could ask."""
    stage = Tenants(order, concurrency=None if order == "source" else 4)
    stage.trip()
    (unknown,) = messages(ORDERS, 1)
    unknown.needs = MessageNeeds((), NeedsError("key= raised"))
    stage.engine.received(stage.run, [unknown])
    stage.turn(later=10.0)
    assert stage.start_all() == [unknown]
    assert stage.engine.settle(unknown, Attribution((), Cause.MESSAGE), "NeedsError", stage.now) is Verdict.AGAIN
    assert in_flight(stage) == 0


def test_a_message_without_needs_takes_no_permit_in_an_outage_that_no_need_describes() -> None:
    """It is the next that was never tried, so it is the one that asks."""
    stage = Tenants("none", concurrency=8)
    stage.come(*"abcdefgh")
    for delivery in stage.start_all():
        stage.end(delivery, unclaimed(1))
    assert stage.assignment().plan.reasons == ("unclaimed failures",)
    (unknown,) = messages(ORDERS, 1, first=8)
    unknown.needs = MessageNeeds((), NeedsError("key= raised"))
    stage.engine.received(stage.run, [unknown])
    asks: list[AnyDelivery] = []
    while unknown not in asks:
        stage.turn(later=10.0)
        asks = stage.start_all()
        for delivery in asks:
            found = own_failure(0) if delivery is unknown else unclaimed(1)
            assert stage.engine.settle(delivery, found, "OSError", stage.now) is Verdict.AGAIN
    assert in_flight(stage) == 0


@pytest.mark.parametrize(
    "came_to",
    [
        Attribution((), Cause.DEPENDENCY, undeclared=(("search", Outcome.FAILURE),)),
        Attribution((), Cause.THROTTLED, undeclared=(("search", Outcome.THROTTLED),)),
        Attribution((), Cause.REFUSED, refused=("search",)),
    ],
)
def test_what_nobody_has_declared_never_becomes_a_need_where_it_has_keys(came_to: Attribution) -> None:
    """Its calls ask for their keys themselves. So time decides, be the whole shut or not, and nothing is charged though others succeed."""
    stage = Stage(run=run_of((), order="none", concurrency=4, retry=RetryPolicy(attempts=2)))
    circuit = Circuit("search", QUICK)
    stage.engine.add_gate(circuit, keys=Keys(circuit, None, lambda: 0.5))
    stage.receive()
    for is_shut in (False, False, False, True):
        stage.engine.gates["search"].successes += 5
        if is_shut:
            circuit.force_open(stage.now)
        delivery = stage.start()
        assert stage.end(delivery, came_to) is Verdict.AGAIN
        assert (stage.start_all(), gates_of(delivery), delivery.history.counted) == ([], (), 0)
        stage.turn(later=200.0)


def test_a_moment_holds_no_source() -> None:
    """The gate of a limit is shut for a quarter of a second: an inbox bridges that. An hour does hold."""
    for wait, reasons in ((0.3, ()), (3600.0, ("key:payments",))):
        stage = Tenants("source", concurrency=None)
        stage.come("a")
        (first,) = stage.start_all()
        told = NeedVerdict(Outcome.THROTTLED, told=Told(retry_after=wait))
        stage.end(first, Attribution((told,), Cause.THROTTLED, retry_after=wait))
        stage.turn()
        assert stage.assignment().plan.reasons == reasons


def test_a_source_whose_key_another_source_has_freed_is_released() -> None:
    """Its head had waited; the key was let in by a message of another partition."""
    other = Partition("orders", 1)
    stage = Tenants("source", concurrency=None)
    stage.engine.assigned(stage.run, [other], stage.now)
    stage.hold("a")
    stage.come("a")
    stage.come("a", source=other)
    assert stage.start_all() == []
    stage.turn()
    assert {assignment.plan.reasons for assignment in stage.run.assignments.values()} == {("key:payments",)}
    stage.turn(later=10.0)
    (asks,) = stage.start_all()
    stage.succeed(asks)
    (second,) = stage.start_all()
    stage.succeed(second)
    stage.turn()
    assert {assignment.plan.reasons for assignment in stage.run.assignments.values()} == {()}


def test_an_operator_who_observes_lets_the_keys_go() -> None:
    """And a source that an operator holds does not start a message whose key is free."""
    stage = Tenants()
    stage.hold("a")
    stage.come("a", "a")
    stage.engine.hold(ORDERS)
    stage.turn(later=10.0)
    assert (stage.start_all(), stage.seen.waiting) == ([], 0)
    stage.gate.circuit.observe(stage.now)
    stage.turn()
    stage.engine.unhold(ORDERS)
    stage.turn()
    assert len(stage.start_all()) == 2
    assert stage.gate.circuit.override is Override.METRICS_ONLY


def test_waiting_messages_go_when_an_override_begins() -> None:
    """Nothing else would look at them: their key is open for ten more seconds."""
    stage = Tenants()
    stage.hold("a")
    stage.come("a", "a")
    stage.gate.circuit.disable(stage.now)
    stage.turn()
    assert len(stage.start_all()) == 2


def test_a_tenant_that_comes_back_shares_the_lanes_with_the_others() -> None:
    """A hundred of its messages have waited; each second lane is for messages that have not."""
    stage = Tenants(concurrency=4)
    stage.hold("a")
    stage.come(*["a"] * 100)
    assert stage.start_all() == []
    stage.turn()
    stage.keys.begin_anew(stage.now)
    stage.turn()
    order = []
    for _ in range(20):
        stage.come("b", "c")
        for delivery in stage.start_all():
            order.append(delivery.order_key)
            stage.succeed(delivery)
    assert order.count("b") + order.count("c") >= 15


def test_a_thousand_keys_share_evenly() -> None:
    """All of them come back at the same time, with ten messages each: no tenant is done before another has begun."""
    stage = Tenants("none", concurrency=16, span=100_000, inbox=100_000)
    stage.keys.max_keys = 10_000
    tenants = [f"tenant-{number}" for number in range(1000)]
    for tenant in tenants:
        stage.keys.known(tenant, 0.0).end(None, Outcome.FAILURE, 0.0, retry_after=30.0)
    stage.come(*tenants * 10)
    assert stage.start_all() == []
    stage.turn()
    stage.keys.begin_anew(stage.now)
    stage.turn(later=1.0)
    begun: dict[object, int] = dict.fromkeys(tenants, 0)
    rng = Random(1)
    running: list[AnyDelivery] = []
    started = 0
    while started < 2000:
        running += (came := stage.start_all())
        for delivery in came:
            begun[delivery.order_key] += 1
            started += 1
        stage.engine.succeeded(running.pop(rng.randrange(len(running))), stage.now)
        stage.turn()
    assert max(begun.values()) - min(begun.values()) <= 1


def test_what_has_no_key_here_has_none() -> None:
    """A message of a source without keys, and a dependency without."""
    stage = Tenants("none", "mail")
    (message,) = stage.come("a")
    assert (keyed.key_at(message, stage.gates[1]), keyed.has_key(message), keyed.is_held(message)) == (None, True, False)
    plain = Stage("payments")
    (without,) = plain.receive()
    assert (keyed.key_at(without, plain.gates[0]), keyed.has_key(without), keyed.is_held(without)) == (None, False, False)


def test_a_source_that_is_full_of_messages_of_a_held_key_is_held_and_says_so() -> None:
    """Nothing passes them any more; with the key its hold ends, and so it does where a message that was passed has ended."""
    stage = Tenants("key", span=4, held_span=6)
    stage.hold("a")
    stage.events()
    stage.come("a", "b", "c", "d", "a", "e", "f", "g")
    while started := stage.start_all():
        stage.succeed(*started)
    stage.turn()
    seen = stage.engine.snapshot(stage.now).sources[ORDERS]
    assert (seen.held, seen.reasons, seen.since, seen.key_try) == (True, ("key:payments",), 0.0, 10.0)
    assert seen.partly == PartlyWaiting(by_message=False, waiting_for={"payments": 1}, behind=1, stands_because="held_span")
    (held,) = [event for event in stage.events() if isinstance(event, SourceHeld)]
    assert (held.reasons, held.because) == (("key:payments",), "held_span")

    stage.turn(later=10.0)
    (asks,) = stage.start_all()
    assert stage.assignment().held
    stage.settle_well(asks)
    stage.turn()
    assert [event for event in stage.events() if isinstance(event, SourceHeld | SourceReleased)] == [SourceReleased(10.0, ORDERS, 10.0)]
    seen = stage.engine.snapshot(stage.now).sources[ORDERS]
    assert (seen.held, seen.partly, seen.key_try) == (False, None, None)


def test_what_others_pass_is_seen_as_partly_waiting_and_holds_nothing() -> None:
    """Two messages for their key, in a source that goes on."""
    stage = Tenants("none")
    stage.hold("a")
    stage.come("a", "a", "b")
    assert of_tenants(stage.start_all()) == ["b"]
    stage.turn()
    seen = stage.engine.snapshot(stage.now).sources[ORDERS]
    assert (seen.held, seen.partly) == (False, PartlyWaiting(by_message=False, waiting_for={"payments": 2}))


def test_all_keys_that_wait_are_counted_and_none_that_is_free() -> None:
    """Two messages for one key and one for another; the first key is well again before its messages are looked at."""
    stage = Tenants("none")
    stage.hold("a")
    stage.hold("b")
    stage.come("a", "a", "b")
    assert stage.start_all() == []
    stage.turn()
    hold = stage.assignment().hold
    assert hold.waiting_by_name() == {"payments": 3}
    for record in list(hold.waiting):
        if record.key == "a":
            record.begin_anew(record.rules, stage.now)
    assert hold.waiting_by_name() == {"payments": 1}


def test_a_whole_that_is_down_counts_no_keys() -> None:
    """All of the source waits for it, whatever its keys."""
    stage = Tenants("none")
    stage.hold("a")
    stage.come("a")
    assert stage.start_all() == []
    stage.turn()
    stage.gate.circuit.open_for(60.0, stage.now)
    stage.turn()
    seen = stage.engine.snapshot(stage.now).sources[ORDERS]
    assert seen.reasons == ("circuit:payments",)
    assert seen.partly is None or seen.partly.waiting_for == {}


def test_a_hold_by_a_key_is_announced_again_with_when_it_asks() -> None:
    """The first of its keys ends it."""
    stage = Tenants("key", span=4, held_span=4)
    stage.come("a")
    told = NeedVerdict(Outcome.THROTTLED, told=Told(retry_after=2000.0))
    stage.end(*stage.start_all(), Attribution((told,), Cause.THROTTLED, retry_after=2000.0))
    stage.come("b", "c", "d", "e")
    while started := stage.start_all():
        stage.succeed(*started)
    stage.turn()
    stage.turn(later=600.0)
    (again,) = [event for event in stage.events() if isinstance(event, HoldContinued)]
    assert (again.reasons, again.next_try) == (("key:payments",), 2020.0)  # spread by a hundredth
