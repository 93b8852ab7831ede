"""SIGTERM while a broker takes the connection and says nothing: a pod that is rolled during a broker outage."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.servers.kafka import KafkaServer
    from tests.servers.proxy import Proxy
    from tests.servers.rabbitmq import RabbitMQServer

WORKER = Path(__file__).with_name("opening_worker.py")
# It takes a quarter of a second; only a failing test waits so long. Whoever did not give up would wait for an hour (opening_worker.py).
PATIENCE = 120.0

IN_KAFKA = [
    pytest.param("holdgate.brokers.kafka.dead_letters:KafkaDeadLetters._start", id="the dead letters' producer starts"),
    pytest.param("holdgate.brokers.kafka.dead_letters:KafkaDeadLetters._check_topic", id="the dead letters' topic"),
    pytest.param("holdgate.brokers.kafka.client:SideConsumer.topics", id="the topics' metadata"),
    pytest.param("holdgate.brokers.kafka.membership:ConsumerLifecycle.start", id="the consumer starts"),
    pytest.param("aiokafka.client:AIOKafkaClient._wait_on_metadata", id="its topic's metadata"),
    pytest.param("aiokafka.consumer.group_coordinator:CoordinatorGroupRebalance.perform_group_join", id="the group join"),
]
IN_RABBITMQ = [
    pytest.param("holdgate.brokers.rabbitmq.dead_letters:RabbitMQDeadLetters._ask", id="the dead letters' queue"),
    pytest.param("holdgate.brokers.rabbitmq.intake:RabbitMQIntake._open", id="the connection"),
    pytest.param("holdgate.brokers.rabbitmq.checks:declare", id="a declare"),
    pytest.param("holdgate.brokers.rabbitmq.checks:find_facts", id="what the queue is"),
]


@asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """A server that takes every connection and says nothing; its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def stopped_at(step: str, kind: str, address: str, name: str, *, first: Callable[[], object] = lambda: None) -> None:
    """Start a worker, and once it is at `step` do `first`, let it go on, and send SIGTERM. It leaves without an error, and waits for no
    answer."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, str(WORKER), kind, address, name, step)
    worker = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    assert worker.stdout is not None
    assert worker.stdin is not None
    lines: list[str] = []
    while not lines or lines[-1].strip() != "here":
        line = await worker.stdout.readline()
        assert line, lines
        lines.append(line.decode())
    first()
    worker.stdin.write(b"go on\n")
    await asyncio.sleep(0.5)  # into the wait
    worker.send_signal(signal.SIGTERM)
    try:
        said = (await asyncio.wait_for(worker.communicate(), PATIENCE))[0].decode()
    finally:
        if worker.returncode is None:
            worker.kill()
    told = "".join([*lines, said])
    assert worker.returncode == 0, told
    assert not [word for word in ("ERROR", "Traceback", "never retrieved", "was destroyed", "handled") if word in said], told


@pytest.mark.parametrize("kind", ["kafka", "rabbitmq"])
async def test_a_broker_that_only_takes_the_connection(kind: str) -> None:
    """The very first answer never comes."""
    async with black_hole() as address:
        await stopped_at("", kind, address if kind == "kafka" else f"amqp://guest:guest@{address}/", "orders")


@pytest.mark.parametrize("kind", ["probe", "plain-probe"])
async def test_a_probe_that_gets_no_answer(kind: str) -> None:
    """It has nothing in hand, in a thread no more than in a task: nobody waits for it."""
    async with black_hole() as address:
        await stopped_at("", kind, address, "orders")


@pytest.mark.parametrize("step", IN_KAFKA)
async def test_a_kafka_that_falls_silent(own_kafka: KafkaServer, kafka_proxy: Proxy, step: str) -> None:
    """At each step of a start at which something of the broker is waited for."""
    name = f"opening-{time.time_ns()}"
    await own_kafka.create_topic(name, 1)
    await own_kafka.create_topic(f"{name}.dead", 1)
    await stopped_at(step, "kafka", kafka_proxy.address, name, first=kafka_proxy.cut)


@pytest.mark.parametrize("step", IN_RABBITMQ)
async def test_a_rabbitmq_that_falls_silent(own_rabbitmq: RabbitMQServer, step: str) -> None:
    """At each step of a start at which something of the broker is waited for."""
    name = f"opening-{time.time_ns()}"
    for each in (name, f"{name}.dead"):
        await own_rabbitmq.declare(each)
    async with own_rabbitmq.proxy() as proxy:
        await stopped_at(step, "rabbitmq", own_rabbitmq.at(proxy.address), name, first=proxy.cut)
    for each in (name, f"{name}.dead"):
        await own_rabbitmq.delete(each)
