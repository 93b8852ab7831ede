"""Many lanes on one queue of a real broker, by key and without an order: an outage, a message at fault, and one that blocks its key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers.rabbitmq.worker import Worker, working
from tests.servers.rabbitmq_address import QUORUM

from holdgate.brokers.rabbitmq import RabbitMQIntake

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.servers.rabbitmq_address import RabbitMQAddress

    from holdgate import Delivery

LANES = 16
KEYS = 24
COUNT = 720


def keyed(count: int) -> list[bytes]:
    """Bodies "key:number", the keys in turn."""
    return [b"%d:%d" % (number % KEYS, number) for number in range(count)]


def key(delivery: Delivery[Any]) -> bytes:
    return key_of(delivery.body or b"")


def key_of(body: bytes) -> bytes:
    return body.split(b":")[0]


def by_key(bodies: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for body in bodies:
        found.setdefault(key_of(body), []).append(body)
    return found


@pytest.fixture(params=[{}, QUORUM], ids=["classic", "quorum"])
def arguments(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """Both types of queue in turn."""
    found: Mapping[str, Any] = request.param
    return found


ORDERS: Mapping[str, Mapping[str, Any]] = {"key": {"order": "key", "key": key}, "none": {"order": "none"}}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
async def test_sixteen_lanes_through_poison_and_an_outage(
    rabbitmq: RabbitMQAddress,
    queue,
    arguments: Mapping[str, Any],
    order: Mapping[str, Any],
) -> None:
    """Exactly the message at fault is a dead letter, every other is processed once, none comes back to the queue; by key, each in order."""
    name = await queue(arguments)
    bodies = keyed(COUNT)
    await rabbitmq.publish(name, bodies)
    poison = bodies[100]
    worker = Worker(RabbitMQIntake(rabbitmq.url, name, prefetch=100), concurrency=LANES, poison=[poison], seconds=0.005, **order)
    async with working(worker) as at:
        await at.until(lambda at: len(at.processed) >= 200)
        await at.outage()
        await at.until(lambda at: len(at.processed) == COUNT - 1 and bool(at.letters))
    good = [body for body in bodies if body != poison]
    assert at.letters == [poison]
    assert sorted(at.processed) == sorted(good)
    assert at.most_at_once == LANES
    assert at.over == []
    assert at.redelivered == 0
    if "key" in order:
        assert by_key(at.processed) == by_key(good)
    assert await rabbitmq.waiting_once_free(name) == []


class Blocking(Worker):
    """One message never ends."""

    blocked: bytes = b""

    async def work(self, bodies: Sequence[bytes]) -> None:
        if self.blocked in bodies:
            await asyncio.Event().wait()


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
async def test_what_is_finished_past_a_blocked_message_is_acked_alone(
    rabbitmq: RabbitMQAddress,
    queue,
    arguments: Mapping[str, Any],
    order: Mapping[str, Any],
) -> None:
    """No run of acks covers a message that is not finished: stopped, exactly what was not processed is in the queue, in order."""
    name = await queue(arguments)
    bodies = keyed(120)
    await rabbitmq.publish(name, bodies)
    worker = Blocking(RabbitMQIntake(rabbitmq.url, name, prefetch=40), concurrency=LANES, **order)
    worker.blocked = bodies[3]
    behind = [body for body in bodies if key_of(body) == b"3"] if "key" in order else [bodies[3]]
    async with working(worker) as at:
        await at.until(lambda at: len(at.processed) == len(bodies) - len(behind))
        await at.until(lambda at: not at._intake._supervisors[next(iter(at._intake._supervisors))].channel.acks.waiting)  # type: ignore[union-attr]
        await rabbitmq.becomes(name, ready=0)
    left = [message.body for message in await rabbitmq.waiting_once_free(name)]
    assert left == behind
    assert sorted(at.processed) == sorted(body for body in bodies if body not in behind)
