"""taskiq's workers under a guard, as processes of their own on a real RabbitMQ: an outage, their stop in it, and what is refused."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("taskiq_aio_pika", reason="taskiq-aio-pika is not installed: pip install 'holdgate[taskiq]'")

from taskiq import InMemoryBroker, SimpleRetryMiddleware, SmartRetryMiddleware, TaskiqMessage
from taskiq.acks import AcknowledgeType
from taskiq_aio_pika import AioPikaBroker
from tests.examples.payments import Payments
from tests.frameworks.workers import FrameworkWorker, run, worker
from tests.servers.rabbitmq_address import RabbitMQAddress

from holdgate import Dependency
from holdgate.errors import SettingsError
from holdgate.integrations.taskiq import GuardReceiver, PullGate, TaskiqGuard

MakeQueue = Callable[..., Awaitable[str]]

PYTHON = Path(sys.executable)
RECEIVER = "holdgate.integrations.taskiq:GuardReceiver"
QOS = 10
HOLD = 12.0
PATIENT = Dependency("payments")

SEND = """
import asyncio
from {module} import broker, {task}
async def main():
    await broker.startup()
    for each in {orders!r}:
        await {task}.kiq(each)
    await broker.shutdown()
asyncio.run(main())
"""


class Bench:
    """A module with a broker and its tasks, on a queue of its own."""

    def __init__(self, module: str, payments: Payments, where: dict[str, str]) -> None:
        self.payments = payments
        self._module = module
        self._where = where

    async def send(self, orders: list[str], task: str = "charge") -> None:
        """Kick a task for each order."""
        await run(PYTHON, SEND.format(module=self._module, task=task, orders=orders), **self._where)

    def worker(self, *arguments: str, receiver: bool = True) -> AbstractAsyncContextManager[FrameworkWorker]:
        """Start a worker process of it."""
        more = ("--receiver", RECEIVER) if receiver else ()
        return worker(PYTHON, "-m", "taskiq", "worker", f"{self._module}:broker", "--workers", "1", *more, *arguments, **self._where)

    @property
    def charged(self) -> list[str]:
        return sorted(body.decode() for body in self.payments.charged)


@asynccontextmanager
async def bench(rabbitmq: RabbitMQAddress, queue: MakeQueue, module: str = "examples.taskiq_app", **where: str) -> AsyncIterator[Bench]:
    """Taskiq makes its own queue, and a dead letter queue that nothing ever comes to."""
    name = f"{await queue()}-taskiq"
    async with Payments() as payments:
        payments.retry_after = None
        yield Bench(module, payments, {"RABBITMQ": rabbitmq.url, "QUEUE": name, "PAYMENTS_HOST": payments.host, **where})
    assert await rabbitmq.depth("taskiq.dead_letter") == (0, 0)
    await rabbitmq.delete(name)


def orders(first: int, last: int) -> list[str]:
    return [f"order {number:02}" for number in range(first, last + 1)]


@pytest.mark.slow
async def test_an_outage_loses_nothing_and_costs_few_calls_on_rabbitmq(rabbitmq: RabbitMQAddress, queue: MakeQueue) -> None:
    """`qos` tasks wait in the worker, unacknowledged, the rest in the queue; few calls are made; each order is charged once afterwards."""
    async with bench(rabbitmq, queue) as scene, scene.worker() as held:
        payments = scene.payments
        await scene.send(orders(1, 5))
        await held.until(lambda: len(payments.charged) == 5)
        payments.is_up = False
        await scene.send(orders(6, 45))
        await held.until(lambda: payments.refused >= 5)
        share = await held.rest(HOLD, 0.02)
        print(f"calls into the outage: {payments.refused}, CPU of the held worker: {share:.2%}")
        assert payments.refused <= 26
        assert await rabbitmq.depth(scene._where["QUEUE"]) == (40 - QOS, 1)
        payments.is_up = True
        await held.until(lambda: len(payments.charged) >= 45)
        assert scene.charged == orders(1, 45)
        await held.terminate()
        assert await rabbitmq.waiting_once_free(scene._where["QUEUE"]) == []


@pytest.mark.slow
async def test_a_worker_that_is_ended_in_an_outage_leaves_its_tasks_to_the_next_on_rabbitmq(
    rabbitmq: RabbitMQAddress, queue: MakeQueue
) -> None:
    """SIGTERM ends it though tasks wait, which taskiq alone would wait for; nothing is acknowledged."""
    async with bench(rabbitmq, queue) as scene:
        payments = scene.payments
        payments.is_up = False
        async with scene.worker() as held:
            await scene.send(orders(1, 20))
            await held.until(lambda: payments.refused >= 5)
            assert await held.terminate() == 0
            await rabbitmq.becomes(scene._where["QUEUE"], ready=20, consumers=0)
        payments.is_up = True
        async with scene.worker() as other:
            await other.until(lambda: len(payments.charged) >= 20)
            assert scene.charged == orders(1, 20)


@pytest.mark.slow
async def test_what_waits_for_too_long_goes_back_on_rabbitmq(rabbitmq: RabbitMQAddress, queue: MakeQueue) -> None:
    """Before the consumer timeout, by a nack: the broker hands it out again, and the task is done once."""
    async with bench(rabbitmq, queue, "tests.integrations.taskiq_app", CONSUMER_TIMEOUT="6") as scene, scene.worker() as held:
        payments = scene.payments
        payments.is_up = False
        await scene.send(orders(1, 3))
        await held.until(lambda: held.log.count("goes back to its queue") >= 3)
        payments.is_up = True
        await held.until(lambda: len(payments.charged) >= 3)
        assert scene.charged == orders(1, 3)


@pytest.mark.slow
async def test_tasks_of_one_worker_may_need_different_things_on_rabbitmq(rabbitmq: RabbitMQAddress, queue: MakeQueue) -> None:
    """By a mapping: one that needs nothing goes on, async tasks wait as plain ones do, and a task's own failure fails it at once."""
    async with bench(rabbitmq, queue, "tests.integrations.taskiq_app") as scene, scene.worker() as held:
        payments = scene.payments
        payments.is_up = False
        await scene.send(orders(1, 3), "charge_async")
        await held.until(lambda: payments.refused >= 5)
        await scene.send(["bad"], "charge_async")
        await scene.send(["note"], "write_down")
        await held.until(lambda: "written down: note" in held.log)
        payments.is_up = True
        await held.until(lambda: len(payments.charged) >= 3)
        await held.until(lambda: "ended: bad ValueError" in held.log)
        assert scene.charged == orders(1, 3)
        assert held.log.count("attempt at bad") == 1


@pytest.mark.slow
async def test_a_worker_without_a_guard_loses_its_tasks_on_rabbitmq(rabbitmq: RabbitMQAddress, queue: MakeQueue) -> None:
    """Which is what the guard is for: each task fails once in the outage, is acknowledged, and nothing is left of it."""
    async with bench(rabbitmq, queue, "tests.integrations.taskiq_app", BARE="1") as scene, scene.worker(receiver=False) as bare:
        scene.payments.is_up = False
        await scene.send(orders(1, 10))
        await bare.until(lambda: bare.log.count("ended: order") == 10)
        scene.payments.is_up = True
        await scene.send(["later"])
        await bare.until(lambda: bool(scene.payments.charged))
        assert scene.charged == ["later"]
        assert scene.payments.refused == 10


@pytest.mark.slow
async def test_a_worker_with_taskiqs_own_receiver_is_refused_on_rabbitmq(rabbitmq: RabbitMQAddress, queue: MakeQueue) -> None:
    """It would look guarded and hold nothing: it says so, and does not begin."""
    async with bench(rabbitmq, queue) as scene, scene.worker("--max-fails", "1", receiver=False) as refused:
        await refused.until(lambda: "start it with --receiver" in refused.log)


def broker(*middlewares: Any, **labels: Any) -> AioPikaBroker:
    made = AioPikaBroker("amqp://nowhere.invalid/").with_middlewares(*middlewares)
    made.register_task(lambda: None, "charge", **labels)
    return made


@pytest.mark.parametrize("middleware", [SimpleRetryMiddleware, SmartRetryMiddleware])
async def test_retries_by_middleware_are_refused(middleware: type[Any]) -> None:
    """They send copies, and use up their number in an outage."""
    made = broker(middleware())
    TaskiqGuard(made, needs=[PATIENT])
    with pytest.raises(SettingsError, match=f"{middleware.__name__}, which sends a copy"):
        GuardReceiver(made)


async def test_needs_of_a_task_that_the_worker_does_not_have_are_refused() -> None:
    """A misspelt name would be an unguarded task; the error has both names."""
    made = broker()
    TaskiqGuard(made, needs={"chrage": [PATIENT]})
    with pytest.raises(SettingsError, match=r"needs has \['chrage'\], and the worker's tasks are \['charge'\]"):
        GuardReceiver(made)
    made = broker()
    TaskiqGuard(made, needs={"charge": [PATIENT]})
    assert GuardReceiver(made)


async def test_trap_a_second_guard_of_a_broker_is_refused() -> None:
    """It replaced the first, whose tasks then ran without a guard."""
    made = broker()
    TaskiqGuard(made, needs={"charge": [PATIENT]})
    with pytest.raises(SettingsError, match="has a TaskiqGuard already"):
        TaskiqGuard(made, needs={"charge": [PATIENT]})


async def test_trap_a_sender_that_wants_an_early_ack_does_not_get_it_for_a_guarded_task(caplog: pytest.LogCaptureFixture) -> None:
    """A label of the message alone, which no check of the worker sees: the task would be lost while it waits."""
    made = broker()
    TaskiqGuard(made, needs={"charge": [PATIENT]})
    receiver = GuardReceiver(made, ack_type=AcknowledgeType.WHEN_EXECUTED)
    early = TaskiqMessage(task_id="1", task_name="charge", labels={"ack_type": "when_received"}, args=[], kwargs={})
    for _ in range(2):
        assert receiver._get_ack_time(early) is AcknowledgeType.WHEN_SAVED
    [said] = [record.getMessage() for record in caplog.records if "ack_type=when_received" in record.getMessage()]
    assert said.endswith("by which it would be lost while it waits: it is acknowledged when its result is saved")
    free = early.model_copy(update={"task_name": "free"})
    assert receiver._get_ack_time(free) is AcknowledgeType.WHEN_RECEIVED
    assert receiver._get_ack_time(early.model_copy(update={"labels": {}})) is AcknowledgeType.WHEN_EXECUTED


async def test_early_acknowledgement_is_refused() -> None:
    """Of the worker, and of one task."""
    made = broker()
    TaskiqGuard(made, needs=[PATIENT])
    with pytest.raises(SettingsError, match="--ack-type: when_received"):
        GuardReceiver(made, ack_type=AcknowledgeType.WHEN_RECEIVED)
    for early in (AcknowledgeType.WHEN_RECEIVED, "when_received"):
        made = broker(ack_type=early)
        TaskiqGuard(made, needs=[PATIENT])
        with pytest.raises(SettingsError, match=r"tasks \['charge'\]: when_received"):
            GuardReceiver(made)


async def test_a_broker_without_a_guard_is_refused() -> None:
    """Its receiver would not know what its tasks need."""
    with pytest.raises(SettingsError, match="has no TaskiqGuard"):
        GuardReceiver(broker())


@pytest.mark.parametrize(
    ("made", "needs", "text"),
    [(InMemoryBroker, [PATIENT], "AioPikaBroker"), (broker, [], "needs names no dependency"), (broker, {"charge": []}, "needs names no")],
)
async def test_wrong_settings_are_refused(made: Callable[[], Any], needs: Any, text: str) -> None:
    """Where the guard is made."""
    with pytest.raises(SettingsError, match=text):
        TaskiqGuard(made(), needs=needs)


async def test_nothing_is_pulled_while_a_gate_is_shut() -> None:
    """And afterwards as much as ever."""
    is_open = False
    gate = PullGate(asyncio.Semaphore(1), lambda: is_open)
    pulled = asyncio.create_task(gate.acquire())
    await asyncio.sleep(0.1)
    assert not pulled.done()
    is_open = True
    assert await pulled
    waits = asyncio.create_task(gate.acquire())
    await asyncio.sleep(0.1)
    assert not waits.done()
    gate.release()
    assert await waits
