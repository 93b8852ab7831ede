"""Batches through the engine: admitted as one, cut in a ramp, and tried again in halves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow.stage import ORDERS, Stage, dependency_failed, messages, own_failure, refused, rejected, returned

from holdgate.core import CircuitSettings, State
from holdgate.flow.attribution import Attribution
from holdgate.flow.batch import Batch, batches_of
from holdgate.flow.events import AttributionShared, SourceBlocked
from holdgate.flow.inbox import Order
from holdgate.flow.message import Delivery, Partition
from holdgate.flow.policy import Needs, RetryPolicy, Verdict
from holdgate.flow.state import Run

PLAIN = CircuitSettings(open_jitter=0.0)
OTHER = Partition("orders", 1)


class BatchStage(Stage):
    """A stage whose run hands out batches of up to `most`. Starts are noted as the positions in them."""

    def __init__(
        self,
        most: int,
        *dependencies: str,
        order: Order = "source",
        concurrency: int | None = None,
        inbox: int = 5000,
        sources: tuple[Partition, ...] = (ORDERS,),
    ) -> None:
        run = Run(
            Needs(dependencies), order=order, concurrency=concurrency, inbox=inbox, span=1000, retry=RetryPolicy(jitter=0.0), batch=most
        )
        super().__init__(*dependencies, settings=PLAIN, run=run, sources=sources)
        self.calls: list[list[int]] = []

    def put(self, count: int, source: Partition = ORDERS, first: int = 0) -> None:
        """Messages come in with one poll."""
        self.engine.received(self.run, batches_of(messages(source, count, first)))
        self.turn()

    def next(self) -> Delivery[Any] | None:
        """What a free lane starts now, if anything."""
        delivery = self.engine.next(self.run, self.now)
        if delivery is not None:
            self.calls.append(positions(delivery))
        return delivery

    def handle(self, delivery: Delivery[Any], attribution: Attribution) -> Verdict:
        """As a lane does: a batch of one ends as its message."""
        single = delivery.single() if isinstance(delivery, Batch) and len(delivery) == 1 else delivery
        return self.end(single, attribution)

    def work(self, verdict_on: Callable[[list[int]], Attribution], seconds: float = 1000.0) -> list[int]:
        """Handle all there is, passing time where something waits for it; the positions in the order in which they were done."""
        done: list[int] = []
        end = self.now + seconds
        while self.now <= end:
            delivery = self.next()
            if delivery is None:
                deadline = self.engine.next_deadline()
                if deadline is None or deadline > end:
                    return done
                self.turn(max(0.0, deadline - self.now))
                continue
            if self.handle(delivery, verdict_on(positions(delivery))) is Verdict.DONE:
                done += positions(delivery)
        return done


def positions(delivery: Delivery[Any]) -> list[int]:
    return [one.position for one in delivery.items()] if isinstance(delivery, Batch) else [delivery.position]


def poisoned(*at: int, by: Callable[[], Attribution] = own_failure) -> Callable[[list[int]], Attribution]:
    """Fails with these positions in hand."""
    return lambda taken: by() if set(at) & set(taken) else returned()


# -- a batch is one delivery ----------------------------------------------------------------------------------------------------------


def test_a_batch_is_one_result_in_the_window() -> None:
    """Five hundred messages, one call of the dependency's handler: one success."""
    stage = BatchStage(500, "payments")
    stage.put(500)
    assert stage.work(lambda _: returned()) == list(range(500))
    snapshot = stage.gates[0].circuit.snapshot(stage.now)
    assert (len(stage.calls), snapshot.calls, snapshot.failures) == (1, 1, 0)


def test_a_batch_has_one_permit_of_its_weight() -> None:
    """The circuit knows how many messages are in flight."""
    stage = BatchStage(500, "payments")
    stage.put(300)
    batch = stage.start()
    assert [permit.weight for permit in batch.permits] == [300]
    assert stage.gates[0].circuit.snapshot(stage.now).in_flight == 300


def test_the_ramp_ends_at_a_full_batch_for_every_lane() -> None:
    """It counts messages: two partitions with batches of fifty have a hundred in work at full rate."""
    stage = BatchStage(50, "payments", sources=(ORDERS, OTHER))
    assert stage.run.capacity == 100
    assert stage.gates[0].circuit.full == 100


def test_what_waits_is_counted_in_messages() -> None:
    """The read model tells a batch on the waiting list by its number."""
    stage = BatchStage(4, "payments")
    stage.trip()
    stage.put(6)
    assert stage.next() is None
    assert stage.engine.snapshot(stage.now).sources[ORDERS].waiting == 6


def test_what_comes_in_peace_calls_for_no_turn() -> None:
    """An idle lane may take it as it is; a full inbox, or anything that waits for a turn, has one."""
    stage = BatchStage(4, "payments", inbox=5)
    stage.engine.needs_turn = False
    assert stage.engine.received_quietly(stage.run, batches_of(messages(ORDERS, 4)))
    assert stage.next() is not None
    assert not stage.engine.received_quietly(stage.run, batches_of(messages(ORDERS, 5, 4)))
    assert stage.engine.needs_turn
    stage.turn()
    assert not stage.run.plan.of(ORDERS).fetch
    stage.engine.needs_turn = True
    assert not stage.engine.received_quietly(stage.run, batches_of(messages(ORDERS, 1, 9)))
    assert stage.assignment().inbox.waiting == 6


# -- the ramp -------------------------------------------------------------------------------------------------------------------------


def test_in_a_ramp_a_batch_is_never_longer_than_the_limit() -> None:
    """Probe and stages are met exactly, over two partitions; the rest of a cut batch comes next, in order."""
    stage = BatchStage(64, "payments", sources=(ORDERS, OTHER))
    circuit = stage.gates[0].circuit
    stage.trip()
    stage.put(400)
    stage.put(400, OTHER)
    stage.turn(20.0)
    limits: set[int] = set()
    done: dict[Partition, list[int]] = {ORDERS: [], OTHER: []}
    while circuit.state is not State.CLOSED:
        assert circuit.limit is not None
        limits.add(circuit.limit)
        taken: list[Delivery[Any]] = []
        while (delivery := stage.next()) is not None:
            taken.append(delivery)
            assert circuit.snapshot(stage.now).in_flight <= circuit.limit
        assert taken
        for delivery in taken:
            assert stage.handle(delivery, returned()) is Verdict.DONE
            done[delivery.source] += positions(delivery)  # type: ignore[index]
    assert limits == {1, 2, 4, 8, 16, 32, 64, 128}
    assert max(len(call) for call in stage.calls) <= 64
    assert all(order == list(range(len(order))) for order in done.values())


def test_a_probe_is_one_message() -> None:
    """Whatever waits: the first call after an outage risks one."""
    stage = BatchStage(100, "payments")
    stage.put(100)
    stage.trip()
    stage.turn(20.0)
    assert stage.next() is not None
    assert stage.calls == [[0]]
    assert stage.engine.snapshot(stage.now).sources[ORDERS].waiting == 99


def test_a_cut_batch_says_that_more_waits() -> None:
    """Its stage is none of low traffic: it must not be judged by its time."""
    stage = BatchStage(100, "payments")
    stage.put(100)
    stage.trip()
    stage.turn(20.0)
    stage.handle(stage.start(), returned())
    stage.start()
    assert stage.gates[0].circuit._half_open is not None
    assert stage.gates[0].circuit._half_open.ramp.refused


def test_what_a_ramp_gives_back_fills_the_inbox_again() -> None:
    """More than it has room for: fetching stops until half is worked off."""
    stage = BatchStage(100, "payments", inbox=50)
    stage.trip()
    stage.put(49)
    assert stage.next() is None
    stage.put(40, first=49)
    stage.turn(20.0)
    assert stage.next() is not None
    stage.turn()
    assert not stage.run.plan.of(ORDERS).fetch


def test_several_needs_cut_to_the_smallest_limit() -> None:
    """All or none, and never above what any of them admits."""
    stage = BatchStage(100, "mail", "payments")
    stage.put(100)
    stage.trip("payments")
    stage.turn(20.0)
    batch = stage.start()
    assert (len(batch.message), [permit.weight for permit in batch.permits]) == (1, [1, 1])


# -- a poison message -----------------------------------------------------------------------------------------------------------------


def test_a_poison_message_is_found_in_log2_n_steps() -> None:
    """A batch of 512 with one message at fault, by its own failure: nine halvings, in order and without a wait, then it stands alone."""
    stage = BatchStage(512, "payments")
    stage.put(512)
    done = stage.work(poisoned(300), seconds=0.0)
    failing = [call for call in stage.calls if 300 in call]
    assert [len(call) for call in failing] == [512, 256, 128, 64, 32, 16, 8, 4, 2, 1]
    assert done == list(range(300))


def test_only_the_poison_message_is_rejected() -> None:
    """After `attempts` of its own, alone; everything before it is done, and its partition waits behind it."""
    stage = BatchStage(64, "payments")
    stage.put(64)
    done = stage.work(poisoned(37), seconds=60.0)
    assert done == list(range(37))
    assert stage.calls.count([37]) == 5
    blocked = [event for event in stage.events() if isinstance(event, SourceBlocked) and not event.suspect]
    assert (blocked[0].position, blocked[0].attempts) == (37, 5)
    assert stage.gates[0].circuit.state is State.CLOSED


def test_a_handlers_word_rejects_a_message_and_no_batch() -> None:
    """`raise Reject` in front of many does not say which one: it is found first, and rejected when it stands alone."""
    stage = BatchStage(8, "payments")
    stage.put(8)
    done = stage.work(poisoned(5, by=rejected), seconds=30.0)
    assert done == [0, 1, 2, 3, 4]
    assert [call for call in stage.calls if 5 in call] == [list(range(8)), [4, 5, 6, 7], [4, 5], [5]]
    assert [event.position for event in stage.events() if isinstance(event, SourceBlocked) and not event.suspect] == [5]


def test_a_poison_message_that_looks_like_an_outage_opens_nothing_behind_a_success() -> None:
    """The first half succeeds: from then on the pieces have no vote, and the search waits for nothing."""
    stage = BatchStage(512, "payments")
    stage.put(512)
    stage.work(poisoned(511, by=dependency_failed), seconds=1.0)
    assert [len(call) for call in stage.calls if 511 in call][:10] == [512, 256, 128, 64, 32, 16, 8, 4, 2, 1]
    snapshot = stage.gates[0].circuit.snapshot(stage.now)
    assert (snapshot.state, snapshot.failures) == (State.CLOSED, 1)


def test_the_second_half_waits_for_the_first() -> None:
    """Order by source: while the first half waits for its turn, nothing behind it starts."""
    stage = BatchStage(4, "payments")
    stage.put(8)
    stage.handle(stage.start(), dependency_failed())
    assert stage.next() is None
    stage.turn(0.5)
    assert stage.next() is not None
    assert stage.next() is None
    assert stage.calls == [[0, 1]]


# -- an outage ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 16, 500])
def test_an_outage_trips_in_five_calls(count: int) -> None:
    """Whatever the number in hand: nothing succeeds, so every piece has its vote, and no call is made in vain after the fifth."""
    stage = BatchStage(500, "payments")
    stage.put(count)
    circuit = stage.gates[0].circuit
    while circuit.state is State.CLOSED:
        delivery = stage.next()
        if delivery is None:
            stage.turn(0.5)
        else:
            stage.handle(delivery, dependency_failed())
    assert len(stage.calls) == 5
    assert all(call[0] == 0 for call in stage.calls)


def test_an_outage_costs_no_message_anything() -> None:
    """Down for ten minutes, then well: all are done, in order, none is rejected."""
    stage = BatchStage(100, "payments")
    stage.put(350)
    done = stage.work(lambda _: dependency_failed() if stage.now < 600 else returned(), seconds=2000.0)
    assert done == list(range(350))
    assert not [event for event in stage.events() if isinstance(event, SourceBlocked) and not event.suspect]


def test_a_first_failure_waits_as_a_single_message_does() -> None:
    """It may be an outage: the first half is tried after the backoff, the next piece after twice that."""
    stage = BatchStage(8, "payments")
    stage.put(8)
    stage.handle(stage.start(), dependency_failed())
    assert stage.engine.next_deadline() == 0.5
    stage.turn(0.5)
    stage.handle(stage.start(), dependency_failed())
    assert stage.engine.next_deadline() == 1.5


def test_a_refused_batch_stays_whole() -> None:
    """A call in it was not permitted: nothing is known of its messages, and nothing is divided."""
    stage = BatchStage(8, "payments")
    stage.put(8)
    assert stage.handle(stage.start(), refused("payments")) is Verdict.AGAIN
    stage.turn(1.0)
    stage.next()
    assert stage.calls == [list(range(8))]


def test_a_failure_of_several_needs_is_announced() -> None:
    """Once for the source, as for a single message."""
    stage = BatchStage(4, "mail", "payments")
    stage.put(4)
    stage.handle(stage.start(), dependency_failed(2, shared=True))
    assert [event.dependencies for event in stage.events() if isinstance(event, AttributionShared)] == [("mail", "payments")]


# -- comings and goings ---------------------------------------------------------------------------------------------------------------


def test_an_interrupted_batch_comes_again_whole() -> None:
    """Cancelled from outside: no verdict, the permit is back, the same messages wait."""
    stage = BatchStage(4, "payments")
    stage.put(4)
    assert stage.engine.interrupted(stage.start(), stage.now) is Verdict.AGAIN
    assert stage.gates[0].circuit.snapshot(stage.now).in_flight == 0
    stage.turn()
    again = stage.next()
    assert (stage.calls, again and again.attempt) == ([[0, 1, 2, 3]], 2)


def test_a_batch_of_an_earlier_assignment_is_stale() -> None:
    """Its source was lost meanwhile: it settles nothing, whatever it came to."""
    stage = BatchStage(4, "payments")
    stage.put(4)
    batch = stage.start()
    stage.engine.forget(stage.run, [ORDERS], stage.now)
    assert stage.end(batch, returned()) is Verdict.STALE
    assert stage.gates[0].circuit.snapshot(stage.now).in_flight == 0
    assert stage.run.running == 0


def test_a_batch_that_fails_on_its_way_out_is_dropped() -> None:
    """Its source goes away in order: the pieces come again to whoever has it next."""
    stage = BatchStage(4, "payments")
    stage.put(6)
    batch = stage.start()
    stage.engine.closing(stage.run, [ORDERS], stage.now)
    assert stage.end(batch, dependency_failed()) is Verdict.AGAIN
    assert stage.engine.snapshot(stage.now).sources[ORDERS].waiting == 0
    stage.turn(100.0)
    assert stage.next() is None
    assert stage.run.running == 0


def test_a_batch_of_one_that_nobody_has_started_comes_again_as_it_is() -> None:
    """Its lane was ended from outside: there is nothing to halve."""
    stage = BatchStage(4, "payments")
    stage.put(1)
    stage.end(stage.start(), dependency_failed())
    stage.put(2, first=1)
    stage.turn(1.0)
    assert stage.work(lambda _: returned()) == [0, 1, 2]
    assert stage.calls == [[0], [1, 2]]


def test_a_message_alone_knows_since_when_it_fails() -> None:
    """It failed with its batch first."""
    stage = BatchStage(2, "payments")
    stage.put(2)
    stage.turn(3.0)
    stage.handle(stage.start(), own_failure())
    stage.turn(1.0)
    alone = stage.start()
    assert isinstance(alone, Batch)
    assert (alone.history.failures, alone.history.first_failed_at) == (1, 3.0)


def test_a_vote_of_another_generation_says_nothing_of_this_one() -> None:
    """A result that comes after the circuit was reset is late: whatever succeeded meanwhile, it waits as an outage would."""
    stage = BatchStage(8, "payments")
    stage.put(8)
    stage.handle(stage.start(), dependency_failed())
    stage.turn(0.5)
    late = stage.start()
    stage.gates[0].circuit.reset(stage.now)
    stage.gates[0].successes += 1
    stage.handle(late, dependency_failed())
    assert stage.engine.next_deadline() == 1.5


# -- without an order -----------------------------------------------------------------------------------------------------------------


def test_without_an_order_several_lanes_take_batches() -> None:
    """Of the same source, each its own."""
    stage = BatchStage(4, "payments", order="none", concurrency=2)
    stage.put(10)
    assert [stage.next() is not None for _ in range(3)] == [True, True, False]
    assert stage.calls == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_without_an_order_both_halves_wait_side_by_side() -> None:
    """Neither waits for the other, and what came later goes on meanwhile."""
    stage = BatchStage(4, "payments", order="none", concurrency=2)
    stage.put(6)
    stage.handle(stage.start(), dependency_failed())
    stage.next()
    stage.turn(0.5)
    stage.next()
    assert stage.calls == [[4, 5], [0, 1]]
    assert stage.next() is None
    assert stage.run.running == 2


def test_without_an_order_what_a_ramp_gives_back_can_be_taken_at_once() -> None:
    """The rest of a cut batch waits for a slot, and for no lane."""
    stage = BatchStage(4, "payments", order="none", concurrency=4)
    stage.trip()
    stage.put(4)
    stage.turn(20.0)
    stage.handle(stage.start(), returned())
    for _ in range(3):
        stage.handle(stage.start(), returned())
    assert stage.gates[0].circuit.limit == 2


@given(
    most=st.integers(1, 20),
    polls=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    poison=st.sets(st.integers(0, 60), max_size=3),
    order=st.sampled_from(["source", "none"]),
    down=st.floats(0.0, 50.0),
)
def test_nothing_is_lost_and_only_poison_is_rejected(most: int, polls: list[int], poison: set[int], order: Order, down: float) -> None:
    """Through an outage, with messages at fault in any place: in order up to the first of them, and without an order all the others."""
    stage = BatchStage(most, "payments", order=order, concurrency=3 if order == "none" else None)
    total = 0
    for count in polls:
        stage.put(count, first=total)
        total += count
    bad = sorted(position for position in poison if position < total)
    verdicts = poisoned(*bad)
    done = stage.work(lambda taken: dependency_failed() if stage.now < down else verdicts(taken), seconds=3000.0)
    blocked = next(_blocked(stage.events()), None)
    assert max(len(call) for call in stage.calls) <= most
    if order == "source":
        assert done == list(range(bad[0] if bad else total))
    assert len(done) == len(set(done))
    assert not set(done) & set(bad)
    assert blocked == (bad[0] if bad else None) or (order == "none" and blocked in bad)
    assert stage.gates[0].circuit.snapshot(stage.now).in_flight == 0


def _blocked(events: list[object]) -> Iterator[int]:
    return (event.position for event in events if isinstance(event, SourceBlocked) and not event.suspect)


def test_a_shared_failure_of_a_batch_is_told_with_its_time() -> None:
    """As that of a message."""
    run = Run(Needs(["mail", "payments"]), order="source", concurrency=None, inbox=10, batch=2)
    stage = Stage("mail", "payments", settings=CircuitSettings(), run=run)
    stage.engine.received(run, batches_of(messages(ORDERS, 2)))
    stage.turn(later=3.0)
    stage.end(stage.start(), dependency_failed(needs=2, shared=True))
    assert [event for event in stage.events() if isinstance(event, AttributionShared)] == [
        AttributionShared(3.0, ORDERS, ("mail", "payments"))
    ]


def test_halves_of_a_batch_that_failed_by_itself_wait_for_no_time() -> None:
    """Unless an outage that no need describes excuses it: then they wait as after any failure of a dependency."""
    for excused, waits in (({}, False), ({"excused": True}, True)):
        stage = BatchStage(4, "payments")
        stage.put(4)
        batch = stage.next()
        assert isinstance(batch, Batch)
        stage.engine._bisection.again(batch, own_failure(), "ValueError", stage.now, **excused)
        assert (stage.engine._waiting.next_deadline() is not None) is waits
