"""A worker that comes to a named step of its start, says so, and goes on when it is told to.

`python opening_worker.py KIND ADDRESS NAME STEP`: KIND is kafka, rabbitmq, probe or plain-probe; STEP is `module:Class.method` or
`module:function`, a coroutine function whose first call prints "here" and then waits for a line; empty: none.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import socket
import sys
from typing import Any

from holdgate import CircuitSettings, Delivery, Dependency, Guard

HOUR = 3600.0


def halt_at(step: str) -> None:
    """Make the first call of this coroutine function wait for a line."""
    module, _, path = step.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for each in classes:
        owner = getattr(owner, each)
    real, halted = getattr(owner, name), []

    async def halting(*args: Any, **named: Any) -> Any:
        if not halted:
            halted.append(True)
            print("here", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
        return await real(*args, **named)

    setattr(owner, name, halting)


def be_patient() -> None:
    """Let everything here that waits for a broker do so for an hour, but for who gives up. What ends soon nevertheless has given up."""
    waits = ("_CONNECT_WITHIN", "_TOPIC_WITHIN", "_START_WITHIN", "_ANSWER_WITHIN", "_FLUSH_WITHIN", "_STOP_WITHIN", "_CLOSE_WITHIN")
    for name, module in list(sys.modules.items()):
        for wait in waits if name.startswith("holdgate.") else ():
            if hasattr(module, wait):
                setattr(module, wait, HOUR)


async def handle(_: Delivery) -> None:
    print("handled", flush=True)


def intake(kind: str, address: str, name: str) -> tuple[Any, dict[str, Any]]:
    """What is consumed, and where rejected messages go."""
    if kind == "kafka":
        from aiokafka import AIOKafkaConsumer, AIOKafkaProducer  # noqa: PLC0415

        from holdgate.brokers.kafka import KafkaDeadLetters, KafkaIntake  # noqa: PLC0415

        settings: dict[str, Any] = {"bootstrap_servers": address, "request_timeout_ms": int(HOUR * 1000)}
        consumer = AIOKafkaConsumer(**settings, group_id=name, enable_auto_commit=False, auto_offset_reset="earliest")
        letters = KafkaDeadLetters(AIOKafkaProducer(**settings, acks="all"), f"{name}.dead")
        return KafkaIntake(consumer, topics=[name]), {"dead_letters": letters}
    from holdgate.brokers.rabbitmq import RabbitMQDeadLetters, RabbitMQIntake  # noqa: PLC0415

    return RabbitMQIntake(address, name, declare={}), {"dead_letters": RabbitMQDeadLetters(address, f"{name}.dead")}


async def start(kind: str, address: str, name: str) -> None:
    """Until it is asked to stop."""
    async with Guard() as guard:
        source, settings = intake(kind, address, name)
        be_patient()
        if not sys.argv[4]:
            print("here", flush=True)
        await guard.run(source, handle, **settings)


async def probe(address: str, *, plain: bool) -> None:
    """A dependency that is down, and whose probe asks somebody who says nothing."""
    from holdgate.testing import MemoryBroker, MemoryIntake  # noqa: PLC0415

    host, port = address.rsplit(":", 1)

    async def ask() -> None:
        reader, _writer = await asyncio.open_connection(host, int(port))
        print("here", flush=True)
        await reader.read(1)

    def ask_plainly() -> None:
        with socket.create_connection((host, int(port))) as asked:
            print("here", flush=True)
            asked.recv(1)

    async def fail(_: Delivery) -> None:
        raise ConnectionError

    settings = CircuitSettings(consecutive_failures=1, open_duration=0.01)
    payments = Dependency("payments", failures=ConnectionError, probe=ask_plainly if plain else ask, probe_timeout=HOUR, settings=settings)
    broker = MemoryBroker(topics={"orders": 1})
    broker.produce("orders", b"1")
    async with Guard() as guard:
        await guard.run(MemoryIntake(broker, topics=["orders"]), fail, needs=[payments])


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    given_kind, given_address, given_name, given_step = sys.argv[1:]
    if given_step:
        halt_at(given_step)
    if given_kind in {"kafka", "rabbitmq"}:
        asyncio.run(start(given_kind, given_address, given_name))
    else:
        asyncio.run(probe(given_address, plain=given_kind == "plain-probe"))
