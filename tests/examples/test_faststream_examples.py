"""The FastStream examples as processes of their own, on real brokers and through a real outage: with a guard, and without."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("faststream", reason="faststream is not installed: pip install 'holdgate[faststream]'")

from docs.generate.snippets import diff
from tests.examples.payments import Payments
from tests.examples.running import example
from tests.frameworks.workers import worker

from examples import faststream_control_test

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.servers.kafka_address import KafkaAddress
    from tests.servers.rabbitmq_address import RabbitMQAddress

BEFORE = [b"order %d" % number for number in range(1, 4)]
DURING = [b"order %d" % number for number in range(4, 8)]
AFTER = [b"order 8"]
GROUP = "charger"


def on_kafka(kafka: KafkaAddress, topic: str, payments: Payments) -> dict[str, str]:
    """The environment that tells an example where things are."""
    return {"KAFKA": kafka.bootstrap, "TOPIC": topic, "PAYMENTS_HOST": payments.host}


def on_rabbitmq(rabbitmq: RabbitMQAddress, queue: str, payments: Payments) -> dict[str, str]:
    """The same for a queue."""
    return {"RABBITMQ": rabbitmq.url, "QUEUE": queue, "PAYMENTS_HOST": payments.host}


async def test_an_outage_is_waited_out_on_kafka(kafka: KafkaAddress, topic: Callable[..., Awaitable[str]]) -> None:
    """Every order is charged once and in order, the outage costs a call or two, SIGTERM ends the app with everything committed."""
    orders = await topic()
    async with Payments() as payments, example("faststream_kafka", **on_kafka(kafka, orders, payments)) as app:
        await kafka.produce(orders, BEFORE)
        await app.until(lambda: payments.charged == BEFORE)
        payments.is_up = False
        await kafka.produce(orders, DURING)
        await app.until(lambda: payments.refused >= 2)  # the first failure, and the probe a second later
        payments.is_up = True
        await app.until(lambda: len(payments.charged) == len(BEFORE + DURING))
        assert payments.charged == BEFORE + DURING
        assert payments.refused < 6  # a hot loop would have made thousands
        assert await app.terminate() == 0
    assert await kafka.committed(GROUP, orders) == {0: len(BEFORE + DURING)}


async def test_an_app_ends_in_an_outage(kafka: KafkaAddress, topic: Callable[..., Awaitable[str]]) -> None:
    """SIGTERM while it holds: it ends in order, without the messages that it holds, and the next process charges them."""
    orders = await topic()
    async with Payments() as payments:
        async with example("faststream_kafka", **on_kafka(kafka, orders, payments)) as app:
            await kafka.produce(orders, BEFORE)
            await app.until(lambda: payments.charged == BEFORE)
            payments.is_up = False
            await kafka.produce(orders, DURING)
            await app.until(lambda: payments.refused >= 2)
            assert await app.terminate() == 0
        assert await kafka.committed(GROUP, orders) == {0: len(BEFORE)}
        payments.is_up = True
        async with example("faststream_kafka", **on_kafka(kafka, orders, payments)) as app:
            await app.until(lambda: len(payments.charged) == len(BEFORE + DURING))
            assert payments.charged == BEFORE + DURING


async def test_an_outage_is_waited_out_in_a_fastapi_app(kafka: KafkaAddress, topic: Callable[..., Awaitable[str]]) -> None:
    """The same under uvicorn, where the app's lifespan starts the broker and stops it."""
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    orders = await topic()
    start = ("-m", "uvicorn", "examples.faststream_fastapi:app", "--port", "0")
    async with Payments() as payments, worker(Path(sys.executable), *start, **on_kafka(kafka, orders, payments)) as app:
        await kafka.produce(orders, BEFORE)
        await app.until(lambda: payments.charged == BEFORE)
        payments.is_up = False
        await kafka.produce(orders, DURING)
        await app.until(lambda: payments.refused >= 2)
        payments.is_up = True
        await app.until(lambda: len(payments.charged) == len(BEFORE + DURING))
        assert payments.charged == BEFORE + DURING
        assert payments.refused < 6
        assert await app.terminate() == -signal.SIGTERM  # uvicorn raises it again when all is done
    assert await kafka.committed(GROUP, orders) == {0: len(BEFORE + DURING)}


async def test_an_outage_is_waited_out_on_rabbitmq(rabbitmq: RabbitMQAddress, queue: Callable[..., Awaitable[str]]) -> None:
    """Every order is charged once, the outage costs a few calls, SIGTERM ends it with the queue empty."""
    orders = await queue()
    async with Payments() as payments, example("faststream_rabbitmq", **on_rabbitmq(rabbitmq, orders, payments)) as app:
        await rabbitmq.publish(orders, BEFORE)
        await app.until(lambda: sorted(payments.charged) == BEFORE)
        payments.is_up = False
        await rabbitmq.publish(orders, DURING)
        await app.until(lambda: payments.refused >= 2)
        payments.is_up = True
        await app.until(lambda: len(payments.charged) == len(BEFORE + DURING))
        assert sorted(payments.charged) == BEFORE + DURING
        assert payments.refused < 12  # what runs side by side when it begins, and a probe or two
        assert await app.terminate() == 0
    assert await rabbitmq.waiting_once_free(orders) == []


async def test_a_held_app_uses_no_processor(
    kafka: KafkaAddress, topic: Callable[..., Awaitable[str]], rabbitmq: RabbitMQAddress, queue: Callable[..., Awaitable[str]]
) -> None:
    """A hold costs less than a fiftieth of one processor on either broker, probes of every second included."""
    python = Path(sys.executable)
    records, orders = await topic(), await queue()
    async with (
        Payments() as payments,
        worker(python, "examples/faststream_kafka.py", **on_kafka(kafka, records, payments)) as reader,
        worker(python, "examples/faststream_rabbitmq.py", **on_rabbitmq(rabbitmq, orders, payments)) as consumer,
    ):
        await kafka.produce(records, BEFORE)
        await rabbitmq.publish(orders, BEFORE)
        await reader.until(lambda: len(payments.charged) == 2 * len(BEFORE))
        payments.is_up = False
        await kafka.produce(records, DURING)
        await rabbitmq.publish(orders, DURING)
        await reader.until(lambda: payments.refused >= 4)
        assert await reader.rest(5.0, 0.02) < 0.02
        assert await consumer.rest(5.0, 0.02) < 0.02
    assert sorted(payments.charged) == sorted(2 * BEFORE)


async def test_the_app_before_loses_orders_on_kafka(kafka: KafkaAddress, topic: Callable[..., Awaitable[str]]) -> None:
    """Which is why there is a diff: by FastStream's default what could not be charged is passed over."""
    orders = await topic()
    async with Payments() as payments, example("faststream_kafka_before", **on_kafka(kafka, orders, payments)) as app:
        await kafka.produce(orders, BEFORE)
        await app.until(lambda: payments.charged == BEFORE)
        payments.is_up = False
        await kafka.produce(orders, DURING)
        await app.until(lambda: payments.refused == len(DURING))
        payments.is_up = True
        await kafka.produce(orders, AFTER)
        await app.until(lambda: payments.charged == BEFORE + AFTER)
        assert await app.terminate() == 0
    assert await kafka.committed(GROUP, orders) == {0: len(BEFORE + DURING + AFTER)}


async def test_the_app_before_loses_orders_on_rabbitmq(rabbitmq: RabbitMQAddress, queue: Callable[..., Awaitable[str]]) -> None:
    """By FastStream's default what could not be charged is rejected, and without a dead letter exchange gone."""
    orders = await queue()
    async with Payments() as payments:
        async with example("faststream_rabbitmq_before", **on_rabbitmq(rabbitmq, orders, payments)) as app:
            await rabbitmq.publish(orders, BEFORE)
            await app.until(lambda: sorted(payments.charged) == BEFORE)
            payments.is_up = False
            await rabbitmq.publish(orders, DURING)
            await app.until(lambda: payments.refused == len(DURING))
            payments.is_up = True
            await rabbitmq.publish(orders, AFTER)
            await app.until(lambda: sorted(payments.charged) == BEFORE + AFTER)
        # The last order may come again: it was charged, and Ctrl-C may have come before its ack.
        assert {found.body for found in await rabbitmq.waiting_once_free(orders)} <= set(AFTER)


async def test_the_test_of_an_app_with_a_control_passes() -> None:
    """The page's example of a guard of one's own, and of FastStream's test client."""
    faststream_control_test.charged.clear()
    await faststream_control_test.test_an_order_is_charged()


@pytest.mark.parametrize("broker", ["kafka", "rabbitmq"])
def test_an_app_needs_three_lines(broker: str) -> None:
    """Imports apart: the dependency, the guard, and the subscriber's own line."""
    changed = diff(f"examples/faststream_{broker}_before.py", f"examples/faststream_{broker}.py", "app").splitlines()
    added = [line for line in changed if line.startswith("+") and line[1:].strip() and "import" not in line]
    assert len(added) == 3
