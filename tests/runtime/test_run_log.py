"""The lines about a run as a whole: it runs, it works, it has stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests.runtime.stage import BreakingIntake, Handler, broker_with, dependency, quiet_guard, running, until

from holdgate import Delivery, LogSettings, RetryPolicy
from holdgate.errors import IntakeError
from holdgate.flow.message import Backlog, Source
from holdgate.runtime.run_log import OutageFigures
from holdgate.testing import MemoryBroker, MemoryDeadLetters, MemoryIntake, QueueSettings, in_virtual_time


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "holdgate")


def runs_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in caplog.messages if " runs: " in line]


def dead(broker: MemoryBroker) -> MemoryBroker:
    broker.create_topic("orders.dead")
    return broker


@in_virtual_time
async def test_it_says_that_it_runs_and_with_what(caplog: pytest.LogCaptureFixture) -> None:
    """Sources, needs, and where rejected messages go."""
    broker = dead(broker_with(0, partitions=3))
    run: dict[str, Any] = {"needs": [dependency()], "dead_letters": MemoryDeadLetters(broker)}
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), Handler(), **run)):
        await asyncio.sleep(2.0)
    assert runs_in(caplog) == ["orders runs: orders[0,1,2] needs payments; rejected messages go to 'orders.dead'"]


@in_virtual_time
async def test_a_timer_need_not_know_when_it_is_due(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uvloop gives a plain Handle for a call that waits for nothing: a worker began with an AttributeError there."""
    loop = asyncio.get_running_loop()
    later = loop.call_later

    def call_later(wait: float, what: Callable[..., object], *arguments: Any) -> asyncio.Handle:
        return later(wait, what, *arguments) if wait > 0 else loop.call_soon(what, *arguments)

    monkeypatch.setattr(loop, "call_later", call_later)
    broker = broker_with(1)
    handler = Handler()
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[dependency()])):
        await asyncio.sleep(400.0)
    assert runs_in(caplog) == ["orders runs: orders[0] needs payments; a rejected message blocks its partition"]
    assert [line for line in caplog.messages if "1 processed" in line]


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({}, "order='key' runs more and keeps the order of each key, order='none' runs more and keeps no order"),
        ({"batch": 10}, "order='none' runs more and keeps no order"),
    ],
    ids=["one at a time", "batches"],
)
@in_virtual_time
async def test_concurrency_that_order_by_source_cannot_use_is_told_once(
    settings: dict[str, Any], remedy: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Eight were asked for, and three partitions came: five of them would wait for ever. Batches have no order by key."""
    intake = MemoryIntake(broker_with(0, partitions=3), topics=["orders"])
    async with quiet_guard() as guard, running(guard.run(intake, Handler(), needs=[dependency()], concurrency=8, **settings)):
        await asyncio.sleep(2.0)
    said = "orders: concurrency=8, but order='source' runs one handler per source, so 3 at a time here: "
    assert [line for line in caplog.messages if "concurrency=" in line] == [said + remedy]


@pytest.mark.parametrize("settings", [{}, {"concurrency": 3}, {"concurrency": 8, "order": "key"}, {"concurrency": 8, "order": "none"}])
@in_virtual_time
async def test_concurrency_that_is_used_is_not_told(settings: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Left out, no more than there are partitions, or in an order that shares lanes."""
    intake = MemoryIntake(broker_with(0, partitions=3), topics=["orders"])
    async with quiet_guard() as guard, running(guard.run(intake, Handler(), needs=[dependency()], **settings)):
        await asyncio.sleep(2.0)
    assert not [line for line in caplog.messages if "concurrency=" in line]


@in_virtual_time
async def test_topics_with_different_needs_are_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    """Each with its own."""
    broker = MemoryBroker(topics={"orders": 2, "refunds": 1})
    needs = {"orders": [dependency()], "refunds": []}
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders", "refunds"]), Handler(), needs=needs)):
        await asyncio.sleep(2.0)
    assert runs_in(caplog) == [
        "orders+refunds runs: orders[0,1] needs payments, refunds[0] needs nothing; a rejected message blocks its partition"
    ]


@in_virtual_time
async def test_each_queue_says_where_its_rejected_messages_go(caplog: pytest.LogCaptureFixture) -> None:
    """One has a dead letter queue, the other drops them."""
    broker = MemoryBroker(queues=["dead", "orders"])
    broker.create_queue("refunds", QueueSettings(dead_letters="dead"))
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, queues=["orders", "refunds"]), Handler())):
        await asyncio.sleep(2.0)
    (line,) = runs_in(caplog)
    runs, of_orders, of_refunds = line.split("; ")
    assert runs == "orders+refunds runs: orders, refunds needs nothing"
    assert of_orders == "rejected messages of orders are dropped: the queue has no dead letter exchange"
    assert of_refunds == "rejected messages of refunds go to queue 'dead'"


@in_virtual_time
async def test_a_policy_that_skips_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Messages are lost by it."""
    retry = RetryPolicy(on_exhausted="skip")
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker_with(0), topics=["orders"]), Handler(), retry=retry)):
        await asyncio.sleep(2.0)
    assert runs_in(caplog) == ["orders runs: orders[0] needs nothing; rejected messages are settled and lost (on_exhausted='skip')"]


@in_virtual_time
async def test_every_five_minutes_it_says_what_it_has_done(caplog: pytest.LogCaptureFixture) -> None:
    """What was processed since the last time, what failed, what is dead, what waits."""
    broker = dead(broker_with(1500, partitions=2))
    seen = 0

    async def charge(delivery: Delivery[Any]) -> None:
        nonlocal seen
        seen += 1
        is_bad = seen % 700 == 0
        await asyncio.sleep(0.01)
        if is_bad:
            raise KeyError

    run: dict[str, Any] = {"needs": [dependency()], "dead_letters": MemoryDeadLetters(broker), "retry": RetryPolicy(not_retryable=KeyError)}
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), charge, **run)):
        await asyncio.sleep(305.0)
        broker.produce("orders", b"one more")
        await asyncio.sleep(300.0)
    worked = [line for line in caplog.messages if "processed" in line]
    assert worked == [
        "orders[0,1]: 1,498 processed, 2 failed attempts, 2 dead in 5 min; 0 wait",
        "orders[0,1]: 1 processed, 0 failed attempts, 0 dead in 5 min; 0 wait",
    ]


@in_virtual_time
async def test_a_later_run_counts_its_own_work(caplog: pytest.LogCaptureFixture) -> None:
    """A run that has ended on the same guard has had lines of its own."""
    broker = broker_with(7)
    async with quiet_guard(log=LogSettings(work_every=60.0)) as guard:
        for _ in range(2):
            async with running(guard.run(MemoryIntake(broker, topics=["orders"]), Handler())):
                await asyncio.sleep(61.0)
            broker.produce("orders", b"one more")
    assert [line.split(": ")[1].split(",")[0] for line in caplog.messages if "processed" in line] == ["7 processed", "1 processed"]


class OfAPattern(MemoryIntake):
    """Which topics it has is known by what is assigned."""

    @property
    def names(self) -> Any:
        return None


@in_virtual_time
async def test_work_on_a_topic_that_went_away_stays_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Under a pattern a rebalance takes whole topics: what was done there is neither taken off again, nor counted twice later."""
    broker = MemoryBroker(topics={"orders": 1, "refunds": 1})
    for topic in ("orders", "refunds"):
        for _ in range(5):
            broker.produce(topic, b"x")
    intake = OfAPattern(broker, topics=["orders", "refunds"])
    async with quiet_guard(log=LogSettings(work_every=60.0)) as guard, running(guard.run(intake, Handler())):
        await asyncio.sleep(50.0)
        (worker,) = guard.workers
        for source in list(worker.run.assignments):
            if source.name == "refunds":
                await worker.revoked([source])
        await asyncio.sleep(75.0)
    assert [line.split(": ")[1].split(",")[0] for line in caplog.messages if "processed" in line] == ["10 processed", "0 processed"]


@in_virtual_time
async def test_what_is_held_is_told_with_the_work(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is processed, and the line says why."""
    intake = MemoryIntake(broker_with(3), topics=["orders"])
    async with quiet_guard(log=LogSettings(work_every=60.0)) as guard, running(guard.run(intake, Handler(100.0))):
        await asyncio.sleep(1.0)
        guard.hold("orders", reason="test", for_=None)
        await asyncio.sleep(120.0)
    worked = [line for line in caplog.messages if "processed" in line]
    assert worked[1] == "orders[0]: 1 processed, 0 failed attempts, 0 dead in 1 min; 2 wait; held: operator"


@in_virtual_time
async def test_the_messages_of_batches_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """And not the batches."""
    log = LogSettings(work_every=60.0)
    async with quiet_guard(log=log) as guard, running(guard.run(MemoryIntake(broker_with(100), topics=["orders"]), Many(), batch=50)):
        await asyncio.sleep(61.0)
    assert any("100 processed" in line for line in caplog.messages)


class Many:
    async def __call__(self, deliveries: Any) -> None:
        await asyncio.sleep(0.01)


@in_virtual_time
async def test_no_line_is_no_line(caplog: pytest.LogCaptureFixture) -> None:
    """`work_every=None`."""
    log = LogSettings(work_every=None)
    async with quiet_guard(log=log) as guard, running(guard.run(MemoryIntake(broker_with(1), topics=["orders"]), Handler())):
        await asyncio.sleep(3600.0)
    assert not [line for line in caplog.messages if "processed" in line]


class SilentBroker(MemoryIntake):
    """A broker that does not say how much waits: it raises, or it never answers."""

    hangs = False

    async def backlog(self) -> Mapping[Source, Backlog]:
        if self.hangs:
            await asyncio.sleep(10_000.0)
        raise ConnectionError("secret")


@pytest.mark.parametrize("hangs", [False, True])
@in_virtual_time
async def test_a_broker_that_does_not_answer_costs_the_number_alone(hangs: bool, caplog: pytest.LogCaptureFixture) -> None:
    """What is in hand is the least that waits."""
    intake = SilentBroker(broker_with(3), topics=["orders"])
    intake.hangs = hangs
    log = LogSettings(work_every=60.0)
    async with quiet_guard(log=log) as guard, running(guard.run(intake, Handler(1000.0))):
        await asyncio.sleep(70.0)
    assert "orders[0]: 0 processed, 0 failed attempts, 0 dead in 1 min; at least 3 wait" in caplog.messages
    assert "secret" not in caplog.text


class AsksSlowly(MemoryIntake):
    """A broker that takes its time to say how much waits (seconds)."""

    takes = 0.0

    async def backlog(self) -> Mapping[Source, Backlog]:
        await asyncio.sleep(self.takes)
        return await super().backlog()


class Stopping(MemoryIntake):
    """A broker that answers, and then no more: not at all, or with a call that its client cancels."""

    answers = True
    hangs = True
    asked = 0
    cancelled = 0

    async def backlog(self) -> Mapping[Source, Backlog]:
        self.asked += 1
        if self.answers:
            return await super().backlog()
        if not self.hangs:
            raise asyncio.CancelledError
        try:
            await asyncio.sleep(1000.0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return {}


@pytest.mark.parametrize("hangs", [False, True])
@in_virtual_time
async def test_an_old_number_is_not_told_as_one_of_now(hangs: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The broker has answered once. What it does not say any more is not known any more."""
    broker = broker_with(3)
    intake = Stopping(broker, topics=["orders"])
    intake.hangs = hangs
    async with quiet_guard(log=LogSettings(work_every=60.0)) as guard, running(guard.run(intake, Handler(1000.0))):
        await asyncio.sleep(70.0)
        intake.answers = False
        await asyncio.sleep(60.0)
    assert [line.split("; ")[1] for line in caplog.messages if "processed" in line] == ["3 wait", "at least 3 wait"]


@in_virtual_time
async def test_the_end_of_a_run_cancels_no_question_and_asks_none() -> None:
    """A channel call that is cancelled may leave its channel behind."""
    intake = Stopping(broker_with(3), topics=["orders"])
    intake.answers = False
    async with quiet_guard() as guard:
        async with running(guard.run(intake, Handler())):
            await asyncio.sleep(1.0)
            (run_log,) = guard.run_logs
            run_log.ask()
            await asyncio.sleep(1.0)
        run_log.ask_before(guard.now() + 2000.0)
        await asyncio.sleep(3000.0)
    assert (intake.asked, intake.cancelled) == (1, 0)


@in_virtual_time
async def test_the_line_of_a_failed_probe_has_a_fresh_number(caplog: pytest.LogCaptureFixture) -> None:
    """The broker is asked a second before, so what has come meanwhile is counted."""
    broker = broker_with(1)
    async with (
        quiet_guard() as guard,
        running(guard.run(MemoryIntake(broker, topics=["orders"], inbox=10), Handler(down=True), needs=[dependency()])),
    ):
        await until(lambda: "payments is down" in caplog.text)
        for number in range(1499):
            broker.produce("orders", str(number).encode())
        await until(lambda: "is still down" in caplog.text)
    assert any(", 1,500 wait; down for" in line for line in caplog.messages)


@in_virtual_time
async def test_it_says_that_it_has_stopped(caplog: pytest.LogCaptureFixture) -> None:
    """What it gave back, that all is committed, and that nobody was cut off."""
    async with (
        quiet_guard() as guard,
        running(guard.run(MemoryIntake(broker_with(9, partitions=3), topics=["orders"]), Handler(5.0))),
    ):
        await asyncio.sleep(1.0)
        await guard.stop()
    assert caplog.messages[-2:] == [
        "orders stops: 3 handlers may take up to 25.0 s to end",
        "orders stopped: 3 sources given back, all committed, 0 handlers cut off",
    ]


@in_virtual_time
async def test_handlers_that_are_cut_off_are_named(caplog: pytest.LogCaptureFixture) -> None:
    """In a line of their own, with what cut them off; the last line has their number."""
    handler, broker = Handler(1000.0), broker_with(12, partitions=12)
    async with (
        quiet_guard(drain_timeout=10.0) as guard,
        running(guard.run(MemoryIntake(broker, topics=["orders"]), handler)),
    ):
        await until(lambda: handler.running == 12)
        await guard.stop()
    assert caplog.messages[-1] == "orders stopped: 12 sources given back, all committed, 12 handlers cut off"
    assert caplog.records[-2].levelno == logging.WARNING
    assert "drain_timeout (10 s) is over" in caplog.messages[-2]
    assert "orders[0]@0" in caplog.messages[-2]


class Uncommitted(MemoryIntake):
    """Its broker refuses the last commit."""

    answer: bool | None = False

    async def flush(self) -> bool:
        await super().flush()
        return self.answer  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("answer", "words"),
    [(False, "not all committed, so finished messages may come again"), (None, "the end is not confirmed")],
)
@in_virtual_time
async def test_what_is_not_committed_is_told(answer: bool | None, words: str, caplog: pytest.LogCaptureFixture) -> None:
    """It may be processed again."""
    intake = Uncommitted(broker_with(1), topics=["orders"])
    intake.answer = answer
    async with quiet_guard() as guard, running(guard.run(intake, Handler())):
        await asyncio.sleep(1.0)
        await guard.stop()
    assert caplog.messages[-1] == f"orders stopped: 1 source given back, {words}, 0 handlers cut off"


@in_virtual_time
async def test_the_end_by_an_error_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """By its type: the error itself is raised."""
    intake = BreakingIntake(broker_with(0), topics=["orders"])
    async with quiet_guard() as guard, running(guard.run(intake, Handler())) as run:
        await asyncio.sleep(1.0)
        intake.breaks["receive"] = IntakeError("secret")
        with pytest.raises(IntakeError):
            await run
    assert caplog.messages[-1].startswith("orders stopped by IntakeError: 1 source given back")


@in_virtual_time
async def test_a_run_that_never_opened_has_not_stopped(caplog: pytest.LogCaptureFixture) -> None:
    """Its error says what is wrong."""
    intake = BreakingIntake(broker_with(0), topics=["orders"])
    intake.breaks["open"] = IntakeError("no broker")
    async with quiet_guard() as guard:
        with pytest.raises(IntakeError):
            await guard.run(intake, Handler())
    assert not [line for line in caplog.messages if "stopped" in line or "runs:" in line]


@in_virtual_time
async def test_what_waits_for_an_answer_is_told_once() -> None:
    """When all brokers have answered, or after some seconds; immediately where nobody is to be asked."""
    told: list[float] = []
    async with quiet_guard() as guard:
        figures = OutageFigures(guard)
        figures.ask(lambda: told.append(guard.now()))
        assert len(told) == 1
        intake = AsksSlowly(broker_with(1), topics=["orders"])
        async with running(guard.run(intake, Handler(), needs=[dependency()])):
            await until(lambda: guard.health().started)
            for takes, waits in ((1.0, 1.0), (60.0, 5.0)):
                intake.takes, began = takes, guard.now()
                told.clear()
                figures.ask(lambda: told.append(guard.now()))
                await asyncio.sleep(100.0)
                assert told == [pytest.approx(began + waits, abs=0.01)]
