"""The RabbitMQ examples, on a real broker and through a real outage."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from tests.examples.payments import Payments
from tests.examples.running import example
from tests.servers.ports import release_port, reserve_port
from tests.servers.rabbitmq_address import QUORUM

if TYPE_CHECKING:
    from tests.servers.rabbitmq_address import RabbitMQAddress

BEFORE = [b"order %d" % number for number in range(1, 4)]
DURING = [b"order %d" % number for number in range(4, 8)]
AFTER = [b"order 8"]


def places(rabbitmq: RabbitMQAddress, queue: str, payments: Payments) -> dict[str, str]:
    """The environment that tells an example where things are."""
    return {"RABBITMQ": rabbitmq.url, "QUEUE": queue, "PAYMENTS_HOST": payments.host}


@pytest.mark.parametrize("name", ["rabbitmq_worker", "rabbitmq_handler", "rabbitmq_loop"])
async def test_an_outage_is_waited_out(rabbitmq: RabbitMQAddress, queue, name: str) -> None:
    """Every order is charged once, the outage costs a few calls, SIGTERM ends it with the queue empty."""
    orders = await queue(QUORUM)
    async with Payments() as payments, example(name, **places(rabbitmq, orders, payments)) as worker:
        await rabbitmq.publish(orders, BEFORE)
        await worker.until(lambda: sorted(payments.charged) == BEFORE)
        payments.is_up = False
        await rabbitmq.publish(orders, DURING)
        await worker.until(lambda: payments.refused >= 2)  # the first failure, and the probe a second later
        payments.is_up = True
        await worker.until(lambda: len(payments.charged) == len(BEFORE + DURING))
        assert sorted(payments.charged) == BEFORE + DURING
        assert payments.refused < 12  # what runs side by side when it begins, and a probe or two; a hot loop would have made thousands
        assert await worker.terminate() == 0
    assert await rabbitmq.waiting_once_free(orders) == []


async def test_the_handler_before_loses_messages_in_an_outage(rabbitmq: RabbitMQAddress, queue) -> None:
    """Which is why there is a diff: what it could not charge is gone, without a dead letter exchange for ever."""
    orders = await queue(QUORUM)
    async with Payments() as payments:
        async with example("rabbitmq_handler_before", **places(rabbitmq, orders, payments)) as worker:
            await rabbitmq.publish(orders, BEFORE)
            await worker.until(lambda: sorted(payments.charged) == BEFORE)
            payments.is_up = False
            await rabbitmq.publish(orders, DURING)
            await worker.until(lambda: payments.refused == len(DURING))
            payments.is_up = True
            await rabbitmq.publish(orders, AFTER)  # charged after the worker has heard of the refusals, and said what it makes of them
            await worker.until(lambda: sorted(payments.charged) == BEFORE + AFTER)
        # The last order may come again: it was charged, and Ctrl-C may have come before its ack.
        assert {found.body for found in await rabbitmq.waiting_once_free(orders)} <= set(AFTER)
        assert sorted(payments.charged) == BEFORE + AFTER


async def test_the_tutorials_three_terminals_work_together(rabbitmq: RabbitMQAddress) -> None:
    """Orders come, the worker takes them, the payment service says that it charged them; Ctrl-C there is an outage that is seen."""
    port = reserve_port()
    orders = f"tutorial-{port}"
    where = {"RABBITMQ": rabbitmq.url, "QUEUE": orders, "PORT": str(port), "PAYMENTS_HOST": f"127.0.0.1:{port}"}
    async with example("payments_service", **where) as service, example("publish_orders", **where) as producer:
        await producer.until(lambda: "ordered 1\n" in producer.log)
        async with example("rabbitmq_worker", **where) as worker:
            # In any order: the queue promises none, and those that had waited already are charged side by side.
            await service.until(lambda: {"charged order 1", "charged order 2"} <= set(service.log.splitlines()))
            service.process.send_signal(signal.SIGINT)
            assert await service.ended() == 0
            await worker.until(lambda: f"holding {orders}: circuit:payments" in worker.log)
    await rabbitmq.delete(orders)
    release_port(port)


async def test_a_queue_is_examined_before_an_outage_does_it(rabbitmq: RabbitMQAddress, queue) -> None:
    """What is only told leaves the exit code 0; what no worker would start with makes it 1."""
    expiring, stream = await queue({"x-expires": 90_000}), await queue({"x-queue-type": "stream"})
    for name, code, line in ((expiring, 0, "warning: it expires after 90 s"), (stream, 1, "refused: queue")):
        async with example("rabbitmq_examine", RABBITMQ=rabbitmq.url, QUEUE=name) as examining:
            assert await examining.ended() == code
            assert f"{name}, {line}" in examining.log
