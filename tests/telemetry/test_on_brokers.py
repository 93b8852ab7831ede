"""Metrics, spans and logs of guarded workers on a real Kafka and a real RabbitMQ, with a canary in everything that a message has."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from tests.telemetry.test_prometheus import value
from tests.telemetry.test_spans import PRODUCER, TRACE, Traced, attributes

from holdgate import CircuitSettings, Delivery, Dependency, Guard, RetryPolicy
from holdgate.brokers.kafka import KafkaIntake
from holdgate.brokers.rabbitmq import RabbitMQIntake
from holdgate.telemetry.otel import GuardInstruments
from holdgate.telemetry.prometheus import render
from holdgate.telemetry.spans import Spans
from holdgate.testing import MemoryDeadLetters

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.kafka_address import KafkaAddress
    from tests.servers.rabbitmq_address import RabbitMQAddress

    from holdgate.ports import Intake

CANARY = "canary-4711"
BODY, KEY = f"body-{CANARY}".encode(), f"key-{CANARY}".encode()
TRACEPARENT = f"00-{TRACE}-{PRODUCER}-01"
PATIENCE = 60.0  # only a failing test waits so long
QUICK = CircuitSettings(open_duration=0.3, open_jitter=0.0)


class Down(Exception):
    """What the dependency fails with."""


class Worker:
    """Handles ten messages: the first is rejected, and after some more the dependency is down for as long as the test wants."""

    def __init__(self) -> None:
        self.traced = Traced()
        self.reader = InMemoryMetricReader()
        self.down = False
        self.done = 0
        self.guard = Guard(signals=False, spans=Spans(self.traced.provider, at_most=10_000), backlog_every=0.2)
        self.payments = Dependency("payments", failures=Down, settings=QUICK)

    async def handler(self, delivery: Delivery[Any]) -> None:
        assert CANARY in str(delivery.body)
        if self.down:
            raise Down(f"no answer to {CANARY}")
        if not self.done:
            self.done += 1
            raise ValueError(f"{CANARY} is wrong")
        self.done += 1

    async def run(self, intake: Intake[Any]) -> None:
        async with self.guard:
            GuardInstruments(self.guard, meter_provider=MeterProvider([self.reader]))
            more: dict[str, Any] = {"dead_letters": MemoryDeadLetters(), "retry": RetryPolicy(attempts=1)}
            await self.guard.run(intake, self.handler, needs=[self.payments], **more)

    async def until(self, condition: Callable[[bytes], bool]) -> bytes:
        """Scrape until the page says so; returns the page."""
        async with asyncio.timeout(PATIENCE):
            while not condition(page := render(self.guard)[1]):
                await asyncio.sleep(0.05)
        return page


async def play(worker: Worker, intake: Intake[Any], fill: Callable[[int], Any], backlog: dict[str, str], caplog: Any) -> None:
    """An outage and its end, looked at from outside alone. `backlog` are the labels of the backlog's series."""
    name = backlog["destination"]
    caplog.set_level("DEBUG", logger="holdgate")
    await fill(10)
    run = asyncio.create_task(worker.run(intake))
    try:
        processed = {"destination": name, "settlement": "processed"}
        await worker.until(lambda page: value(page, "holdgate_deliveries_total", **processed) == 9)
        worker.down = True
        await fill(20)
        open_now = {"dependency": "payments", "state": "open"}
        page = await worker.until(
            lambda page: value(page, "holdgate_circuit_state", **open_now) == 1 and value(page, "holdgate_backlog", **backlog) == 20
        )
        assert value(page, "holdgate_demand", group=backlog["group"] or name) == 1
        assert value(page, "holdgate_dead_letters_total", destination=name, reason="attempts") == 1
        told = str(worker.reader.get_metrics_data())
        worker.down = False
        page = await worker.until(
            lambda page: value(page, "holdgate_deliveries_total", **processed) == 29 and value(page, "holdgate_backlog", **backlog) == 0
        )
    finally:
        run.cancel()
        await asyncio.wait({run})
    spans = worker.traced.finished
    assert {span.name for span in spans} == {f"process {name}"}
    assert {f"{link.context.trace_id:032x}" for span in spans for link in span.links} == {TRACE}
    assert {attributes(span).get("error.type") for span in spans} == {None, "ValueError", "tests.telemetry.test_on_brokers.Down"}
    for text in (page.decode(), told, *(span.to_json() for span in spans), *(str(record.__dict__) for record in caplog.records)):
        assert CANARY not in text


async def test_on_kafka(kafka: KafkaAddress, topic, caplog: pytest.LogCaptureFixture) -> None:
    """The page, the instruments and the spans tell the outage; nothing of a message, and no exception's text, is in any of them."""
    name, group = await topic(partitions=2), f"group-{uuid.uuid4().hex[:8]}"

    async def fill(count: int) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
        await producer.start()
        headers = [("traceparent", TRACEPARENT.encode()), ("secret", CANARY.encode())]
        for number in range(count):
            await producer.send_and_wait(name, BODY, key=KEY, headers=headers, partition=number % 2)
        await producer.stop()

    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest")
    await play(Worker(), KafkaIntake(consumer, topics=[name]), fill, {"kind": "topic", "destination": name, "group": group}, caplog)


async def test_on_rabbitmq(rabbitmq: RabbitMQAddress, queue, caplog: pytest.LogCaptureFixture) -> None:
    """The same of a queue, and the password of the URL is nowhere."""
    name = await queue()

    async def fill(count: int) -> None:
        connection = await aio_pika.connect(rabbitmq.url)
        async with connection:
            exchange = (await connection.channel()).default_exchange
            for _ in range(count):
                headers = {"traceparent": TRACEPARENT, "secret": CANARY}
                await exchange.publish(aio_pika.Message(BODY, headers=headers, correlation_id=CANARY), routing_key=name)

    await play(Worker(), RabbitMQIntake(rabbitmq.url, name), fill, {"kind": "queue", "destination": name, "group": ""}, caplog)
