"""What needs a broker of its own: permissions, a broker that creates topics by itself, one that is frozen, and a leader that is killed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AclOperation, AclPermissionType, ResourceType
from tests.brokers.kafka.test_checks_authorisation import GUARDED, rule
from tests.closing import serves
from tests.servers.kafka import KafkaServer
from tests.servers.kafka_settings import NEVER_KILLED
from tests.servers.resolve import label
from tests.servers.unavailable import Unavailable, in_ci

from holdgate.brokers.kafka import KafkaFleetLog, fleet_clients
from holdgate.errors import FleetLogError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.integration

PATIENCE = 60.0  # seconds, for what a broker does that comes back on a loaded machine


@pytest.fixture
async def eager(request: pytest.FixtureRequest) -> AsyncIterator[KafkaServer]:
    """A broker that makes topics by itself, as Kafka does by default, and that lets everybody do everything until a rule."""
    try:
        server = KafkaServer(settings={**NEVER_KILLED, **GUARDED, "auto.create.topics.enable": "true"})
    except Unavailable as error:
        if in_ci():
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    async with server:
        serves(request, label(server))
        yield server


def log_of(server: KafkaServer, topic: str) -> KafkaFleetLog:
    return KafkaFleetLog(bootstrap_servers=server.bootstrap, topic=topic)


async def topics(server: KafkaServer) -> set[str]:
    async with server.admin() as admin:
        return set(await admin.list_topics())


async def read(log: KafkaFleetLog, count: int) -> list[bytes]:
    found: list[bytes] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            found += [entry.data for entry in await log.read()]
    return found


async def refused(work: object) -> str:
    """Return what it is refused with."""
    with pytest.raises(FleetLogError) as caught:
        async with asyncio.timeout(PATIENCE):
            await work
    return str(caught.value)


async def delete_and_make_anew(eager: KafkaServer, log: KafkaFleetLog) -> None:
    await eager.delete_topic("agree")
    assert "holdgate fleet create kafka://" in await refused(log.read())
    assert "holdgate fleet create kafka://" in await refused(log.append([b"lost"]))
    await asyncio.sleep(1)  # some turns of aiokafka's own questions
    assert await topics(eager) == set()

    assert (await log.create()).is_new
    await log.append([b"2"])
    assert await read(log, 1) == [b"2"]


async def test_permissions_and_topics_that_come_by_themselves(eager: KafkaServer) -> None:
    """No look makes a topic, not even of one that was deleted under open logs. Each permission that is missing is named with the remedy."""
    log, looking = log_of(eager, "agree"), log_of(eager, "absent")
    assert "there is no topic 'absent'" in await refused(looking.open())
    assert await topics(eager) == set()

    assert (await log.create()).is_new
    again = await log.create()
    assert (again.is_new, again.notes) == (False, ())
    await log.open()
    await log.append([b"1"])
    assert await read(log, 1) == [b"1"]

    if fleet_clients._CAN_FORBID:
        await delete_and_make_anew(eager, log)

    await rule(eager, ResourceType.TOPIC, "agree", AclOperation.READ, AclPermissionType.ALLOW)
    await rule(eager, ResourceType.TOPIC, "agree", AclOperation.WRITE)
    assert "allow it Write and Describe on the topic" in await refused(log.append([b"3"]))
    reader = log_of(eager, "agree")
    await reader.open()
    assert await read(reader, 1) == [b"2" if fleet_clients._CAN_FORBID else b"1"]

    await rule(eager, ResourceType.TOPIC, "agree", AclOperation.READ)
    assert "allow it Read and Describe on the topic" in await refused(reader.read())

    await rule(eager, ResourceType.TOPIC, "agree", AclOperation.DESCRIBE)
    hidden = log_of(eager, "agree")
    assert "if it exists, allow this user Describe on it" in await refused(hidden.open())
    assert "allow it Create, Describe and DescribeConfigs" in await refused(hidden.create())
    for each in (log, looking, reader, hidden):
        await each.close()


async def test_appends_that_are_given_up_do_not_pile_up(fresh_kafka: KafkaServer) -> None:
    """A worker gives up 200 appends to a frozen broker: one of them is under way, and no other comes when the broker goes on."""
    log = log_of(fresh_kafka, await fresh_kafka.create_topic("agree"))
    await log.open()
    await log.append([b"first"])
    fresh_kafka.brokers[0].freeze()
    try:
        for number in range(200):
            appending = asyncio.ensure_future(log.append([b"given up %d" % number]))
            # The first has time to be under way, in a process that stands still for a moment, too.
            await asyncio.sleep(0.002 if number else 2.0)
            appending.cancel()
            await asyncio.wait((appending,))
    finally:
        fresh_kafka.brokers[0].thaw()
    async with asyncio.timeout(PATIENCE):
        await log.append([b"last"])
    found: list[bytes] = []
    while b"last" not in found:
        found += await read(log, 1)
    assert found == [b"first", b"given up 0", b"last"]
    await log.close()


@pytest.mark.slow
async def test_the_leader_is_killed(kafka_cluster: KafkaServer) -> None:
    """One of three brokers is killed, the one that leads the topic: both calls work again, and nothing is lost, doubled or disordered."""
    log = log_of(kafka_cluster, "agree")
    made = await log.create()
    assert made.is_new
    await log.open()
    await log.append([b"0"])
    leader = log._consumer._consumer._client.cluster.leader_for_partition(log._consumer._tp)
    kafka_cluster.brokers[leader - 1].kill()
    for number in range(1, 6):
        async with asyncio.timeout(PATIENCE):
            await log.append([b"%d" % number])
    assert await read(log, 6) == [b"%d" % number for number in range(6)]
    await log.close()
