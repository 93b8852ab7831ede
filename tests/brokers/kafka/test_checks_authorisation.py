"""Needs a broker with access control of its own, and confluent-kafka's admin client: aiokafka's cannot make ACLs."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from tests.brokers.kafka.conftest import QUICK
from tests.brokers.kafka.drive import PATIENCE, Drive, drive
from tests.closing import serves
from tests.servers.kafka import KafkaServer
from tests.servers.kafka_settings import NEVER_KILLED
from tests.servers.resolve import label
from tests.servers.unavailable import Unavailable, in_ci

from holdgate.brokers.kafka import KafkaIntake
from holdgate.brokers.kafka.examination import examine
from holdgate.errors import IntakeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.integration
GUARDED = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}


@pytest.fixture
async def guarded(request: pytest.FixtureRequest) -> AsyncIterator[KafkaServer]:
    """A broker that lets everybody do everything, until a `rule`."""
    try:
        server = KafkaServer(settings={**NEVER_KILLED, **GUARDED})
    except Unavailable as error:
        if in_ci():
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    async with server:
        serves(request, label(server))
        yield server


async def rule(
    server: KafkaServer,
    kind: ResourceType,
    name: str,
    operation: AclOperation,
    permission: AclPermissionType = AclPermissionType.DENY,
) -> None:
    """Deny this to everybody, or allow it. What no rule allows is denied where there is a rule.

    The controller has it when it answers, and the broker asks its own copy of the rules: that one is waited for, too.
    """
    admin = AdminClient({"bootstrap.servers": server.bootstrap})
    binding = AclBinding(kind, name, ResourcePatternType.LITERAL, "User:*", "*", operation, permission)
    for answer in admin.create_acls([binding]).values():
        await asyncio.wrap_future(answer)
    this_one = AclBindingFilter(kind, name, ResourcePatternType.LITERAL, "User:*", "*", operation, permission)
    async with asyncio.timeout(PATIENCE):
        while binding not in await asyncio.wrap_future(admin.describe_acls(this_one)):
            await asyncio.sleep(0.05)


def consumer(server: KafkaServer) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(bootstrap_servers=server.bootstrap, group_id="workers", **QUICK)


async def test_what_is_not_allowed_is_named(guarded: KafkaServer) -> None:
    """A topic that may not be seen, a group that may not be joined, a topic that may not be read: an IntakeError each, with the remedy."""
    for name in ("hidden", "orders", "mails"):
        await guarded.create_topic(name)
    await rule(guarded, ResourceType.TOPIC, "hidden", AclOperation.ALL)
    with pytest.raises(IntakeError, match=r"no topic 'hidden' .* allow this user to describe it"):
        await KafkaIntake(consumer(guarded), topics=["hidden"]).open(Drive(None))

    async with drive(KafkaIntake(consumer(guarded), topics=["orders"])) as at:
        await guarded.produce("orders", [b"1"])
        await at.take(1)  # it knows its position: a client that may not ask for that one says nothing, and asks on
        await rule(guarded, ResourceType.TOPIC, "orders", AclOperation.READ)
        with pytest.raises(IntakeError, match="Read and Describe"):
            await at.until(lambda: False)

    await rule(guarded, ResourceType.GROUP, "workers", AclOperation.READ)
    with pytest.raises(IntakeError, match="group 'workers'"):
        await KafkaIntake(consumer(guarded), topics=["mails"]).open(Drive(None))


async def test_an_examination_says_which_permission_is_missing(guarded: KafkaServer) -> None:
    """A topic that may be described and not read has unknown ages alone; a group that may not be described is refused, with the remedy."""
    await guarded.create_topic("orders")
    await guarded.produce("orders", [b"1"])
    await rule(guarded, ResourceType.TOPIC, "orders", AclOperation.DESCRIBE, AclPermissionType.ALLOW)
    await rule(guarded, ResourceType.TOPIC, "orders", AclOperation.READ)
    found = await examine(guarded.bootstrap, "workers", ["orders"], {}, time.time(), outage=3600.0)
    assert [each.text for each in found if each.refused] == []
    assert any("1 record came in the last 1 hour" in each.text for each in found)

    await rule(guarded, ResourceType.GROUP, "workers", AclOperation.DESCRIBE)
    (refused,) = await examine(guarded.bootstrap, "workers", ["orders"], {}, time.time(), outage=3600.0)
    assert (refused.about, refused.text) == ("workers", "this user is not authorised for group 'workers': allow it Describe on the group")
