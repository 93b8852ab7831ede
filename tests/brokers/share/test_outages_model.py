"""What an outage costs the records of a share group with several workers: whole guards on the model of a group, in virtual time.

Each worker that meets the outage with records of its own gives them back, once, and asks the broker for nothing until it is over. So a
record costs one delivery. Only a worker that does not know of the outage yet can take what others have given back, and spend another one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers.share.model import ModelBroker

from holdgate import Delivery, Dependency, Guard
from holdgate.testing import LoopClock, MemoryDeadLetters, run_virtual
from holdgate.testing.memory import ShareState

if TYPE_CHECKING:
    from holdgate.flow.message import DeadLetter

LOCK = 15.0
LIMIT = 5
IN_HAND = 20
WORK = 0.05
POISON = b"poison"
RECOVERS_WITHIN = 240.0  # twelve hundredths of ten minutes, and the ramp


@dataclass(frozen=True, slots=True)
class Cost:
    """What a play came to: how many records were sent and handled, and how many deliveries an outage has cost each record, counted."""

    sent: int
    handled: int
    spent: Counter[int]

    @property
    def most(self) -> int:
        """The most that one record cost."""
        return max(self.spent)


class Play:
    """Workers on one topic, and a service that is up or down."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, limit: int = LIMIT) -> None:
        self.broker = ModelBroker("orders", lock=LOCK, limit=limit)
        self.broker.joining = 2.0  # about what a consumer needs to join on a real broker
        self.broker.install(monkeypatch)
        self.down = False
        self.dead = MemoryDeadLetters()
        self.handled: Counter[bytes] = Counter()
        self.sent = 0
        self._draws = random.Random(16)
        self._workers: list[asyncio.Task[None]] = []

    def send(self, count: int = 1) -> None:
        self.broker.produce("orders", *(b"%d" % number for number in range(self.sent, self.sent + count)))
        self.sent += count

    async def stream(self, rate: float, seconds: float) -> None:
        """Send about so many a second."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            self.send()
            await asyncio.sleep(self._draws.expovariate(rate))

    async def start(self, workers: int = 1) -> None:
        """Start so many workers, and wait until they have joined."""
        self._workers += [asyncio.create_task(self._work()) for _ in range(workers)]
        await asyncio.sleep(3)

    async def _work(self) -> None:
        service = Dependency("service", failures=ConnectionError)

        async def handle(delivery: Delivery[Any]) -> None:
            await asyncio.sleep(WORK)
            if self.down or delivery.body == POISON:
                raise ConnectionError
            self.handled[delivery.body or b""] += 1

        clock = LoopClock(tuple(self._draws.random() for _ in range(997)))
        async with Guard(service, clock=clock, signals=False) as guard:
            await guard.run(self.broker.intake(in_hand=IN_HAND), handle, needs=[service], concurrency=8, dead_letters=self.dead)

    async def recover(self) -> Cost:
        """Bring the service back, wait until everything is handled, end the workers, and return what it cost."""
        self.down = False
        end = asyncio.get_running_loop().time() + RECOVERS_WITHIN
        while len(self.handled) < self.sent and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(1)
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        records = [self.broker.groups["orders"].record(number) for number in range(self.sent)]
        return Cost(self.sent, len(self.handled), Counter(record.deliveries - 1 for record in records))


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Play:
    caplog.set_level(logging.CRITICAL)  # six workers say much in ten minutes, and nobody reads it
    return Play(monkeypatch)


@pytest.mark.parametrize(("workers", "seconds"), [(2, 4.0), (2, 600.0), (3, 60.0), (6, 4.0), (6, 60.0), (6, 600.0)])
def test_an_outage_costs_a_record_one_delivery_at_most(play: Play, workers: int, seconds: float) -> None:
    """With records for each worker, as in any topic that is read: it learns of the outage by its own."""

    async def story() -> Cost:
        await play.start(workers)
        await play.stream(10.0, 5.0)
        play.down = True
        await play.stream(10.0, 4.0)
        await asyncio.sleep(seconds - 4.0)
        return await play.recover()

    cost = run_virtual(story())
    assert cost.handled == cost.sent
    assert cost.most <= 1


def test_an_outage_that_is_shorter_than_the_lock_costs_nothing(play: Play) -> None:
    """What is in hand stays there, and is handled as soon as the circuit lets it."""

    async def story() -> Cost:
        await play.start(3)
        await play.stream(10.0, 5.0)
        play.down = True
        await play.stream(10.0, 4.0)
        return await play.recover()

    cost = run_virtual(story())
    assert cost.handled == cost.sent
    assert cost.most == 0


@pytest.mark.parametrize("workers", [2, 3, 6])
def test_workers_without_a_record_of_their_own_cost_one_more_together(play: Play, workers: int) -> None:
    """One has everything. What it gives back goes to the others one by one, so that all of them learn in the same moment."""

    async def story() -> Cost:
        await play.start(workers)
        play.down = True
        play.send(IN_HAND)
        await asyncio.sleep(10 * LOCK)  # each in turn would have had them by then
        return await play.recover()

    cost = run_virtual(story())
    assert cost.handled == cost.sent
    assert cost.most == 2


@pytest.mark.parametrize("joins", [1, 2])
def test_each_worker_that_joins_in_the_outage_costs_one_more(play: Play, joins: int) -> None:
    """It knows nothing of it, and takes what is there. What others do not get costs one."""

    async def story() -> Cost:
        await play.start(2)
        await play.stream(10.0, 5.0)
        play.down = True
        await play.stream(10.0, 20.0)
        for _ in range(joins):
            await asyncio.sleep(60)
            await play.start()
        await asyncio.sleep(60)
        return await play.recover()

    cost = run_virtual(story())
    assert cost.handled == cost.sent
    assert cost.most <= 1 + joins
    assert cost.spent[0] + cost.spent[1] >= cost.sent - 2 * joins * IN_HAND  # it has a second consumer


def test_a_worker_that_dies_costs_what_it_had_one_more(play: Play) -> None:
    """Its records go to whoever asks; those who know of the outage do not."""

    async def story() -> Cost:
        await play.start(2)
        await play.stream(10.0, 5.0)
        play.down = True
        await play.stream(10.0, 4.0)
        play.broker.kill(play.broker.clients[0])
        await asyncio.sleep(60)
        return await play.recover()

    cost = run_virtual(story())
    assert cost.handled == cost.sent
    assert cost.most <= 2


def test_more_idle_workers_than_deliveries_lose_nothing(play: Play) -> None:
    """One record, and six workers that each have to learn by it: after its last delivery a copy waits in memory until it is handled."""

    async def story() -> Cost:
        await play.start(6)
        play.down = True
        play.send()
        await asyncio.sleep(120)
        return await play.recover()

    cost = run_virtual(story())
    assert cost.handled == cost.sent
    assert play.broker.groups["orders"].record(0).state is ShareState.ARCHIVED
    assert cost.most == LIMIT - 1


def test_a_message_that_fails_alone_is_found_out_by_others(play: Play) -> None:
    """It fails on a service that is well. Others are read beside it, also when it was delivered for the last time."""

    async def story() -> list[DeadLetter]:
        await play.start()
        play.broker.produce("orders", POISON)
        await asyncio.sleep(2)
        await play.stream(20.0, 90.0)
        await play.recover()
        return play.dead.letters

    letters = run_virtual(story())
    assert {letter.body for letter in letters} == {POISON}
    assert len(play.handled) == play.sent


def test_a_message_that_opens_the_circuit_alone_does_not_keep_others_for_ever(play: Play) -> None:
    """With nothing beside it, it looks like an outage. After twenty minutes the topic is read all the same, and not before."""

    async def story() -> None:
        await play.start()
        play.broker.produce("orders", POISON)
        await asyncio.sleep(60)
        play.send(30)
        await asyncio.sleep(1000)
        assert not play.handled
        await asyncio.sleep(600)  # probes are two minutes apart by then
        assert len(play.handled) == play.sent
        await play.recover()

    run_virtual(story())


def test_a_message_that_fails_alone_is_found_out_before_its_deliveries_are_used_up(play: Play) -> None:
    """With a message now and then beside it, one lock is not long enough for a verdict. What is known of it outlives its delivery."""

    async def story() -> list[DeadLetter]:
        await play.start()
        play.broker.produce("orders", POISON)
        await play.stream(1.0, 60.0)
        await play.recover()
        return play.dead.letters

    letters = run_virtual(story())
    assert [letter.body for letter in letters] == [POISON]
    assert play.broker.groups["orders"].record(0).state is ShareState.ACCEPTED
    assert len(play.handled) == play.sent
