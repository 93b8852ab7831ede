"""Batches in a run: what the handler gets, in which pieces it comes again, and that nothing is acknowledged unprocessed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from tests.runtime.stage import (
    GROUP,
    ORDERS,
    BreakingIntake,
    Down,
    Wrong,
    assert_nothing_left,
    broker_with,
    dependency,
    quiet_guard,
    running,
    until,
)

from holdgate import Delivery, Reject, RetryPolicy, State
from holdgate.errors import SettingsError
from holdgate.flow.message import Queue
from holdgate.runtime.worker import Worker
from holdgate.testing import MemoryBroker, MemoryDeadLetters, MemoryIntake, in_virtual_time
from holdgate.testing.clock import run_virtual

ORDER = ORDERS[0]


class Store:
    """A batch handler: notes what it was called with, and what it has done. `fails` says what it raises for the positions in hand."""

    def __init__(self, fails: Callable[[list[int]], BaseException | None] = lambda _: None, seconds: float = 0.01) -> None:
        self.fails = fails
        self.seconds = seconds
        self.calls: list[list[int]] = []
        self.done: list[int] = []
        self.attempts: list[int] = []
        self.running = 0
        self.most = 0

    async def __call__(self, deliveries: Sequence[Delivery[Any]]) -> None:
        taken = [delivery.position for delivery in deliveries]
        self.calls.append(taken)
        self.attempts.append(deliveries[0].attempt)
        self.running += len(taken)
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.seconds)
            error = self.fails(taken)
            if error is not None:
                raise error
            self.done += taken
        finally:
            self.running -= len(taken)


def poisoned(*positions: int, by: type[Exception] = Wrong) -> Callable[[list[int]], BaseException | None]:
    return lambda taken: by() if set(positions) & set(taken) else None


def intake(broker: MemoryBroker, **settings: Any) -> MemoryIntake:
    return MemoryIntake(broker, topics=["orders"], **settings)


def now() -> float:
    return asyncio.get_running_loop().time()


# -- what the handler gets ------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_handler_gets_what_is_in_hand_up_to_the_number() -> None:
    """Ten messages wait, four at a time: four, four, two; all of them are committed."""
    broker, store = broker_with(10), Store()
    async with quiet_guard() as guard, running(guard.run(intake(broker), store, batch=4)):
        await until(lambda: broker.committed(GROUP).get(ORDER) == 10)
    assert [len(call) for call in store.calls] == [4, 4, 2]
    assert store.done == list(range(10))


@in_virtual_time
async def test_a_batch_is_of_one_source() -> None:
    """Two partitions, a lane each: no call has messages of both."""
    broker, sources = broker_with(10, partitions=2), []

    async def handler(deliveries: Sequence[Delivery[Any]]) -> None:
        sources.append({delivery.source for delivery in deliveries})
        await asyncio.sleep(0.01)

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, batch=100)):
        await until(lambda: broker.committed(GROUP) == dict.fromkeys(ORDERS, 5))
    assert sorted(sources, key=str) == [{ORDERS[0]}, {ORDERS[1]}]


@in_virtual_time
async def test_a_plain_function_gets_them_in_a_thread() -> None:
    """As with single deliveries."""
    broker, seen = broker_with(3), []

    def handler(deliveries: Sequence[Delivery[Any]]) -> None:
        seen.append((len(deliveries), threading.current_thread() is threading.main_thread()))

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, batch=3)):
        await until(lambda: broker.committed(GROUP).get(ORDER) == 3)
    assert seen == [(3, False)]


@in_virtual_time
async def test_a_handler_that_never_waits_lets_the_poll_run() -> None:
    """A long backlog with a handler that returns at once: other tasks have their turn between two batches."""
    broker, calls, turns = broker_with(200), 0, [0]

    async def handler(deliveries: Sequence[Delivery[Any]]) -> None:
        nonlocal calls
        if not calls:
            asyncio.get_running_loop().call_soon(other)
        calls += 1

    def other() -> None:
        turns.append(calls)
        if calls < 100:
            asyncio.get_running_loop().call_soon(other)

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, batch=2)):
        await until(lambda: broker.committed(GROUP).get(ORDER) == 200)
    assert calls == 100
    assert max(later - before for before, later in pairwise(turns)) == 1


@in_virtual_time
async def test_an_acknowledgement_per_message_reaches_a_queue() -> None:
    """Queues without an order: what is in hand, and every message is acknowledged."""
    broker = MemoryBroker(queues=["mails"])
    for number in range(30):
        broker.produce("mails", str(number).encode())
    store = Store()
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, queues=["mails"], prefetch=20), store, batch=10)):
        await until(lambda: len(store.done) == 30)
        await asyncio.sleep(1)
    assert max(len(call) for call in store.calls) == 10
    assert not broker.waiting(Queue("mails"))


# -- failures -------------------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_halving_finds_the_poison_message() -> None:
    """One of 64 fails by its own fault: it is rejected alone, after `attempts`, and everything else is processed once and committed."""
    broker, store, dead = broker_with(64), Store(poisoned(37)), MemoryDeadLetters()
    payments = dependency()
    async with quiet_guard() as guard:
        async with running(guard.run(intake(broker), store, needs=[payments], batch=64, dead_letters=dead)):
            await until(lambda: broker.committed(GROUP).get(ORDER) == 64)
            assert guard.circuit("payments").state is State.CLOSED
        await assert_nothing_left(guard)
    failing = [len(call) for call in store.calls if 37 in call]
    assert failing == [64, 32, 16, 8, 4, 2, 1, 1, 1, 1, 1]
    assert store.done == [position for position in range(64) if position != 37]
    assert [letter.delivery.position for letter in dead.letters] == [37]


@in_virtual_time
async def test_an_outage_trips_in_five_calls() -> None:
    """A full batch in front of a dead dependency: five calls, then the circuit is open and the source held."""
    broker, store, payments = broker_with(500), Store(lambda _: Down()), dependency()
    async with quiet_guard(payments) as guard, running(guard.run(intake(broker), store, needs=[payments], batch=500)):
        await until(lambda: guard.circuit("payments").state is State.OPEN)
        assert [len(call) for call in store.calls] == [500, 250, 125, 63, 32]
        assert guard.snapshot().sources[ORDER].waiting == 500
    assert broker.committed(GROUP).get(ORDER, 0) == 0


@in_virtual_time
async def test_in_a_ramp_no_batch_is_longer_than_the_limit() -> None:
    """From one message up to the whole: what is in flight never exceeds the limit, over two partitions."""
    broker = broker_with(4000, partitions=2)
    payments = dependency()
    over: list[int] = []

    def fails(taken: list[int]) -> BaseException | None:
        return Down() if now() < 8.0 else None

    store = Store(fails)

    async def handler(deliveries: Sequence[Delivery[Any]]) -> None:
        circuit = guard.circuit("payments")
        limit = circuit.limit
        if limit is not None and store.running + len(deliveries) > limit:
            over.append(len(deliveries))
        await store(deliveries)

    async with quiet_guard(payments) as guard, running(guard.run(intake(broker), handler, needs=[payments], batch=200)):
        await until(lambda: guard.circuit("payments").state is State.OPEN)
        await until(lambda: guard.circuit("payments").state is State.CLOSED)
        await until(lambda: broker.committed(GROUP) == dict.fromkeys(ORDERS, 2000))
    assert over == []
    assert max(len(call) for call in store.calls) == 200


@in_virtual_time
async def test_a_handlers_word_rejects_the_one_that_it_is_about() -> None:
    """`raise Reject` from many: in halves until it stands alone, and then at once."""
    broker, dead = broker_with(8), MemoryDeadLetters()
    store = Store(lambda taken: Reject("no address") if 2 in taken else None)
    async with quiet_guard() as guard, running(guard.run(intake(broker), store, batch=8, dead_letters=dead)):
        await until(lambda: broker.committed(GROUP).get(ORDER) == 8)
    assert [call for call in store.calls if 2 in call] == [list(range(8)), [0, 1, 2, 3], [2, 3], [2]]
    assert [(letter.delivery.position, letter.reason) for letter in dead.letters] == [(2, "no address")]


@in_virtual_time
async def test_deliveries_count_the_attempts_of_their_batches() -> None:
    """Every start of the handler with them counts."""
    broker, store, dead = broker_with(4), Store(poisoned(3)), MemoryDeadLetters()
    once = RetryPolicy(attempts=1)
    async with quiet_guard() as guard, running(guard.run(intake(broker), store, batch=4, retry=once, dead_letters=dead)):
        await until(lambda: broker.committed(GROUP).get(ORDER) == 4)
    assert list(zip(store.calls, store.attempts, strict=True)) == [([0, 1, 2, 3], 1), ([0, 1], 2), ([2, 3], 2), ([2], 3), ([3], 3)]


# -- a word for some of them ----------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_what_a_handler_rejects_goes_alone() -> None:
    """Two of six by `delivery.reject()`: they are dead letters, the other four are done, and no call is made again."""
    broker, dead, calls = broker_with(6), MemoryDeadLetters(), []

    async def handler(deliveries: Sequence[Delivery[Any]]) -> None:
        calls.append(len(deliveries))
        await asyncio.sleep(0)
        deliveries[1].reject("no address")
        deliveries[4].reject("no sum")

    payments = dependency()
    async with quiet_guard() as guard:
        async with running(guard.run(intake(broker), handler, needs=[payments], batch=6, dead_letters=dead)):
            await until(lambda: broker.committed(GROUP).get(ORDER) == 6)
            assert guard.circuit("payments").snapshot(guard.now()).calls == 1
        await assert_nothing_left(guard)
    assert calls == [6]
    assert [(letter.delivery.position, letter.reason, letter.attempts) for letter in dead.letters] == [
        (1, "no address", 1),
        (4, "no sum", 1),
    ]


@in_virtual_time
async def test_what_a_handler_postpones_comes_again_as_one_piece() -> None:
    """The others are done; it comes after the longest of its times, in its order, and before everything behind it."""
    broker, calls = broker_with(8), []

    async def handler(deliveries: Sequence[Delivery[Any]]) -> None:
        calls.append((now(), [delivery.position for delivery in deliveries]))
        await asyncio.sleep(0)
        if len(calls) == 1:
            deliveries[1].retry(after=2.0)
            deliveries[3].retry(after=5.0)

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, batch=5)):
        await until(lambda: len(calls) == 1)
        await asyncio.sleep(2)
        assert broker.committed(GROUP).get(ORDER) == 1
        await until(lambda: broker.committed(GROUP).get(ORDER) == 8)
    begun = calls[0][0]
    assert [taken for _, taken in calls] == [[0, 1, 2, 3, 4], [1, 3], [5, 6, 7]]
    assert calls[1][0] - begun == pytest.approx(5.0, abs=0.1)


@in_virtual_time
async def test_a_word_without_a_return_is_forgotten() -> None:
    """The handler raised after all: the whole batch comes again in halves, and nothing is rejected."""
    broker, dead, calls = broker_with(4), MemoryDeadLetters(), 0

    async def handler(deliveries: Sequence[Delivery[Any]]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            deliveries[0].reject("too early")
            raise Wrong

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, batch=4, dead_letters=dead)):
        await until(lambda: broker.committed(GROUP).get(ORDER) == 4)
    assert dead.letters == []


@in_virtual_time
async def test_a_rejected_message_without_a_way_out_blocks_what_is_behind_it() -> None:
    """The others of its batch are done; the commit stays in front of it."""
    broker, calls = broker_with(6), []

    async def handler(deliveries: Sequence[Delivery[Any]]) -> None:
        calls.append([delivery.position for delivery in deliveries])
        deliveries[2].reject("no address")

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, batch=4)):
        await until(lambda: ORDER in guard.snapshot().sources and "blocked" in guard.snapshot().sources[ORDER].reasons)
        await asyncio.sleep(5)
    assert calls == [[0, 1, 2, 3]]
    assert broker.committed(GROUP).get(ORDER) == 2


@in_virtual_time
async def test_a_word_for_a_message_alone_is_that_of_a_single_delivery() -> None:
    """A batch of one: rejected and postponed as without batches."""
    broker, dead, calls = broker_with(2), MemoryDeadLetters(), []

    async def handler(deliveries: Sequence[Delivery[Any]]) -> None:
        calls.append((deliveries[0].position, now()))
        if deliveries[0].position == 0:
            deliveries[0].reject("no address")
        elif len(calls) == 2:
            deliveries[0].retry(after=3.0)

    async with quiet_guard() as guard, running(guard.run(intake(broker), handler, batch=1, dead_letters=dead)):
        await until(lambda: broker.committed(GROUP).get(ORDER) == 2)
    assert [position for position, _ in calls] == [0, 1, 1]
    assert calls[2][1] - calls[1][1] == pytest.approx(3.0, abs=0.1)
    assert [letter.delivery.position for letter in dead.letters] == [0]


# -- the end of an assignment ---------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_drain_lets_the_batch_end() -> None:
    """What runs is finished and committed, what waits is not started."""
    broker, store = broker_with(10), Store(seconds=5.0)
    async with quiet_guard() as guard, running(guard.run(intake(broker), store, batch=4)):
        await until(lambda: store.running > 0)
        await guard.stop()
        assert broker.committed(GROUP).get(ORDER) == 4
        await assert_nothing_left(guard)
    assert store.calls == [[0, 1, 2, 3]]


@in_virtual_time
async def test_a_batch_that_outlasts_the_drain_is_interrupted() -> None:
    """It settles nothing: the next worker gets all of it again."""
    broker, store = broker_with(10), Store(seconds=100.0)
    async with quiet_guard(drain_timeout=3.0) as guard, running(guard.run(intake(broker), store, batch=4)):
        await until(lambda: store.running > 0)
        await guard.stop()
        await assert_nothing_left(guard)
    assert broker.committed(GROUP).get(ORDER, 0) == 0
    assert store.done == []


@in_virtual_time
async def test_a_revoked_batch_is_committed_if_it_ends_in_time() -> None:
    """A rebalance lets it end; nothing is processed twice."""
    broker, store = broker_with(10), Store(seconds=1.0)
    async with quiet_guard() as guard, running(guard.run(intake(broker), store, batch=5)):
        await until(lambda: store.running > 0)
        broker.rebalance(GROUP)
        await until(lambda: broker.committed(GROUP).get(ORDER) == 10)
    assert store.done == list(range(10))


@in_virtual_time
async def test_a_lost_batch_settles_nothing() -> None:
    """Its source is gone at once: the handler is interrupted, and its messages come again."""
    broker, store = broker_with(5), Store(seconds=2.0)
    reading = BreakingIntake(broker, topics=["orders"])
    async with quiet_guard() as guard, running(guard.run(reading, store, batch=5)):
        await until(lambda: store.running > 0)
        assert reading.listener is not None
        reading.listener.lost([ORDER])
        await asyncio.sleep(3)
    assert store.done == []
    assert broker.committed(GROUP).get(ORDER, 0) == 0


@in_virtual_time
async def test_a_handler_that_returns_though_it_was_interrupted_is_heard() -> None:
    """It swallows our cancellation, and postpones one: the others are done, and what comes later is interrupted and judged as ever."""
    broker, calls = broker_with(6), []

    async def handler(deliveries: Sequence[Delivery[Any]]) -> None:
        calls.append([delivery.position for delivery in deliveries])
        if len(calls) == 1:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                deliveries[1].retry(after=1.0)
        elif 3 in calls[-1] and len(calls[-1]) > 1:
            raise Wrong

    async with quiet_guard() as guard, running(guard.run(intake(broker, rebalance_timeout=2.0), handler, batch=4)):
        await until(lambda: len(calls) == 1)
        broker.rebalance(GROUP)
        await until(lambda: broker.committed(GROUP).get(ORDER) == 6)
    assert calls[:4] == [[0, 1, 2, 3], [1, 2, 3, 4], [1, 2], [3, 4]]


def test_what_is_given_and_lost_in_the_same_step_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the grant and the lane's step the source goes away."""
    broker, store, lost = broker_with(3), Store(), []
    hand_out = Worker.hand_out

    def hand_out_and_lose(worker: Worker) -> None:
        hand_out(worker)
        if not lost and any(lane.delivery is not None for lane in worker.lanes):
            lost.append(ORDER)
            worker.lost([ORDER])

    async def play() -> None:
        async with quiet_guard() as guard, running(guard.run(intake(broker), store, batch=3)):
            await asyncio.sleep(5)

    monkeypatch.setattr(Worker, "hand_out", hand_out_and_lose)
    run_virtual(play())
    assert (lost, store.calls) == ([ORDER], [])


@in_virtual_time
async def test_a_revoked_source_is_let_go_while_others_are_busy() -> None:
    """Messages of another source come without a pause: whoever waits for the end of a batch is told of it all the same."""
    broker = broker_with(0, partitions=2)
    reading = BreakingIntake(broker, topics=["orders"])
    slow = Store(seconds=1.0)

    async def handler(deliveries: Sequence[Delivery[Any]]) -> None:
        if deliveries[0].source == ORDERS[0]:
            await slow(deliveries)

    async def produce() -> None:
        while True:
            broker.produce("orders", b"", partition=1)
            await asyncio.sleep(0.01)

    broker.produce("orders", b"", partition=0)
    async with quiet_guard() as guard, running(produce()), running(guard.run(reading, handler, batch=10)):
        await until(lambda: slow.running > 0)
        assert reading.listener is not None
        begun = now()
        await reading.listener.revoked([ORDERS[0]])
        assert now() - begun < 2.0


# -- settings -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"batch": 0}, "batch must be a whole number from 1, got 0"),
        ({"batch": True}, "got True"),
        ({"batch": 2.5}, "got 2.5"),
        ({"batch": 10, "order": "key"}, 'batch=10 and order="key"'),
        ({"batch": 501}, "batch=501 is more than the 500"),
    ],
)
@in_virtual_time
async def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    """Before anything is consumed, with the values that clash."""
    broker = broker_with(1)
    async with quiet_guard() as guard:
        with pytest.raises(SettingsError) as caught:
            await guard.run(intake(broker), Store(), **settings)
    assert said in str(caught.value)


@in_virtual_time
async def test_without_an_order_there_are_as_many_lanes_as_full_batches() -> None:
    """More would only make the batches smaller."""
    broker = MemoryBroker(queues=["mails"])
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, queues=["mails"], prefetch=50), Store(), batch=20)):
        await until(lambda: bool(guard.engine.runs))
        (run,) = guard.engine.runs
        await until(lambda: Queue("mails") in run.assignments)
        assert (run.concurrency, run.capacity) == (2, 40)


@in_virtual_time
async def test_a_full_batch_does_not_stop_fetching() -> None:
    """What a lane takes at once does not wait: fetching stops when so much is left behind it."""
    broker, store = broker_with(2000), Store(seconds=10.0)
    async with quiet_guard() as guard, running(guard.run(intake(broker, inbox=100), store, batch=100)):
        await until(lambda: store.running > 0)
        await asyncio.sleep(1)
        seen = guard.snapshot().sources[ORDER]
        assert not seen.fetch
        assert 200 <= seen.waiting <= 300
