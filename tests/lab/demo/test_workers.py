from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from holdgate import State
from holdgate.core.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, LimitChanged
from holdgate.core.states import Reason
from holdgate.errors import IntakeError
from holdgate.events import FlowEvent
from holdgate.ports import Intake
from holdgate.testing import LoopClock, MemoryBroker, MemoryIntake, run_virtual
from holdgate_lab.demo import workers
from holdgate_lab.demo.scenario import LATENCY, ORDERS, PATIENCE, DemoScenario, ServiceError, StoryClock
from holdgate_lab.demo.screen import Kind, Note
from holdgate_lab.demo.venues import MemoryVenue, Place, Record
from holdgate_lab.demo.workers import ATTEMPTS, GuardedSide, Ledger, NaiveSide, Production, Transition, Work, settings

KIND = "orders"
NOW = 6.5


def produced(count: int) -> Production:
    production = Production()
    for number in range(count):
        production.send(number, float(number))
        production.store(number, Place(KIND, 0, number))
    return production


def test_what_is_neither_processed_nor_dead_waits() -> None:
    """Four produced, one processed, one dead-lettered: two wait."""
    ledger = Ledger(produced(4))
    ledger.process(KIND, 0, 1.0)
    ledger.bury(1)
    assert ledger.waiting() == 2


def test_what_is_unsettled_is_named_by_its_place() -> None:
    """Neither processed nor dead-lettered: a dead letter is misplaced, but there."""
    ledger = Ledger(produced(3))
    ledger.process(KIND, 0, 1.0)
    ledger.bury(1)
    assert list(ledger.unsettled()) == [Place(KIND, 0, 2)]


def test_each_success_after_the_first_is_a_duplicate_and_counts_once() -> None:
    """A message that comes three times is one processed message and two duplicates."""
    ledger = Ledger(produced(1))
    for now in (1.0, 2.0, 3.0):
        ledger.process(KIND, 0, now)
    assert (len(ledger.processed), ledger.duplicates) == (1, 2)


def test_the_slowest_message_of_a_kind_is_remembered() -> None:
    """From sent to processed, per kind of work."""
    ledger = Ledger(produced(2))
    ledger.process(KIND, 0, 4.0)
    ledger.process(KIND, 1, 2.0)
    assert ledger.slowest == {KIND: 4.0}


def test_a_message_may_be_processed_before_its_place_is_known() -> None:
    """A fast consumer can be done before the producer hears from the broker: then the message does not wait."""
    production = Production()
    production.send(0, 0.0)
    ledger = Ledger(production)
    ledger.process(KIND, 0, 0.1)
    production.store(0, Place(KIND, 0, 0))
    assert ledger.waiting() == 0


def test_how_long_a_message_takes_is_known_for_a_second_only() -> None:
    """The last one's time is shown while it is news, and nothing when none came through lately."""
    ledger = Ledger(produced(1))
    assert ledger.recent(KIND, 0.0) is None
    ledger.process(KIND, 0, 0.5)
    assert ledger.recent(KIND, 1.4) == 0.5
    assert ledger.recent(KIND, 1.5) is None


class FakeFeed:
    """Gives one batch, then nothing; notes the order of what is asked of it."""

    comes_again = False
    rebalances = 0

    def __init__(self, count: int) -> None:
        self.batches: list[Sequence[Record]] = [[Record(ORDERS, number, None) for number in range(count)]]
        self.told: list[str] = []
        self.empty = asyncio.Event()

    async def open(self) -> None:
        self.told.append("open")

    async def take(self, most: int) -> Sequence[Record]:
        if self.batches:
            return self.batches.pop()
        self.empty.set()
        await asyncio.sleep(0)
        return []

    async def commit(self) -> None:
        self.told.append("commit")

    async def bury(self, record: Record) -> None:
        self.told.append(f"bury {record.number}")

    async def close(self) -> None:
        self.told.append("close")


class FlakyWork(Work):
    """Fails the first `failures` calls for each message."""

    def __init__(self, failures: int) -> None:
        production = Production()
        production.send(0, 0.0)
        production.store(0, Place(ORDERS, 0, 0))
        super().__init__(DemoScenario(), StoryClock(), production)
        self.failures = failures
        self.calls = 0

    async def handle(self, kind: str, number: int) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise ServiceError
        self.ledger.process(kind, number, 0.0)


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(workers, "BACKOFF", 0.0)


async def lived(work: FlakyWork) -> FakeFeed:
    feed = FakeFeed(1)
    side = NaiveSide(feed, work)
    await side.start()
    await feed.empty.wait()
    await side.stop()
    return feed


async def test_a_batch_is_committed_after_it_was_handled() -> None:
    """The bare loop commits what it took once it is through with it, and leaves the group at the end."""
    work = FlakyWork(failures=0)
    assert (await lived(work)).told == ["open", "commit", "close"]
    assert work.ledger.processed == {0}


async def test_a_failure_is_tried_again() -> None:
    """Two failures, then a success: no dead letter."""
    work = FlakyWork(failures=ATTEMPTS - 1)
    assert (await lived(work)).told == ["open", "commit", "close"]
    assert (work.calls, work.ledger.dead) == (ATTEMPTS, set())


async def test_what_still_fails_after_the_last_attempt_goes_to_the_dead_letters() -> None:
    """The worker goes on at the price of a good message."""
    work = FlakyWork(failures=ATTEMPTS)
    assert (await lived(work)).told == ["open", "bury 0", "commit", "close"]
    assert (work.calls, work.ledger.dead) == (ATTEMPTS, {0})


async def test_what_comes_again_by_itself_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given back, and no dead letter."""
    monkeypatch.setattr(FakeFeed, "comes_again", True)
    work = FlakyWork(failures=1)
    assert (await lived(work)).told == ["open", "bury 0", "commit", "close"]
    assert (work.calls, work.ledger.dead) == (1, set())


async def test_what_ends_the_loop_is_raised_to_whoever_waits() -> None:
    """A broken client must not look like a quiet topic, and it still leaves the group."""

    class Broken(FakeFeed):
        async def take(self, most: int) -> Sequence[Record]:
            raise ConnectionError("gone")

    feed = Broken(0)
    side = NaiveSide(feed, FlakyWork(0))
    await side.start()
    with pytest.raises(ConnectionError, match="gone"):
        await side.wait()
    await side.stop()
    assert feed.told == ["open", "close"]


@pytest.fixture
def told() -> list[Note]:
    """What the side said at once."""
    return []


@pytest.fixture
def side(told: list[Note]) -> GuardedSide:
    """A side that was not started, half a minute into nothing: events are handed to it by hand."""
    clock = StoryClock(iter((0.0, *[NOW] * 20)).__next__)
    clock.start()
    return GuardedSide(MemoryVenue(), Work(DemoScenario(), clock, Production()), DemoScenario(), told.append)


def opened(name: str = "payments") -> CircuitOpened:
    return CircuitOpened(name, 10.0, 1, reason=Reason.CONSECUTIVE_FAILURES, until=11.5, level=1, previous=State.CLOSED)


def test_a_transition_is_told_at_once_and_kept_for_the_report(side: GuardedSide, told: list[Note]) -> None:
    """In seconds of the story, with the reason and when the next probe comes."""
    side._observe(opened())
    assert told == [Note(NOW, "payments OPEN (consecutive failures): its partitions are held, next probe in 1.5 s")]
    assert side.transitions == [Transition(NOW, "payments", "OPEN")]


def test_the_row_follows_the_payment_circuit(side: GuardedSide) -> None:
    """Open, a probe, the ramp's limits, closed; each begins where the event came."""
    side._observe(opened())
    side._observe(CircuitHalfOpened("payments", 11.5, 2, previous=State.OPEN))
    side._observe(LimitChanged("payments", 11.6, 2, previous=1, limit=2))
    side._observe(CircuitClosed("payments", 12.0, 3, previous=State.HALF_OPEN))
    assert [(mark.kind, mark.limit) for mark in side.marks()[1:]] == [(Kind.BAD, 0), (Kind.PARTLY, 1), (Kind.PARTLY, 2), (Kind.FINE, 0)]


def test_another_circuit_is_told_but_not_drawn(side: GuardedSide, told: list[Note]) -> None:
    """The row is of payments; a surprise with email must not go unsaid."""
    side._observe(opened("email"))
    assert len(side.marks()) == 1
    assert [note.text[:10] for note in told] == ["email OPEN"]


def test_what_is_no_circuits_event_is_passed_over(side: GuardedSide, told: list[Note]) -> None:
    """The screen shows holds from the snapshot."""
    side._observe(FlowEvent(10.0))
    assert (told, side.transitions) == ([], [])


def test_a_slow_call_is_noticed_before_callers_give_up() -> None:
    """Between the normal latency and the caller's patience: the ramp slows down before calls fail."""
    slow = settings(DemoScenario()).slow_call_duration
    assert slow is not None
    assert LATENCY < slow < PATIENCE


def test_waits_fit_the_length_of_the_story() -> None:
    """A run of half the length waits half as long."""
    assert settings(DemoScenario(15.0)).open_duration == settings(DemoScenario(30.0)).open_duration / 2


class Refusing(MemoryVenue):
    def intake(self, on_rebalance: Callable[[], None]) -> Intake[Any]:
        return MemoryIntake(MemoryBroker(), topics=[ORDERS, "receipts"])


def test_what_keeps_the_guarded_side_from_starting_is_raised() -> None:
    """No topics on the broker: the intake's own error, not a wait for partitions that never come."""

    async def start() -> None:
        side = GuardedSide(Refusing(), Work(DemoScenario(), StoryClock(), Production()), DemoScenario(), lambda _: None, LoopClock())
        try:
            async with asyncio.timeout(60):
                await side.start()
        finally:
            await side.stop()

    with pytest.raises(IntakeError, match="orders"):
        run_virtual(start())


def test_stopping_the_guarded_side_before_it_was_started_is_fine(side: GuardedSide) -> None:
    """An interrupted start stops everything, whatever had begun."""
    run_virtual(side.stop())
    assert side.transitions == []
