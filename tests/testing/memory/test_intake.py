"""MemoryIntake: what it shows, what it refuses, how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.message import Delivery, Partition, Queue, Settlement
from holdgate.flow.plan import Plan
from holdgate.testing import MemoryBroker, MemoryIntake, Message, QueueSettings, in_virtual_time
from holdgate.testing.conformance import RecordingListener
from tests.testing.memory.driver import driving

POLL_TIMEOUT = 7.0


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker(topics={"orders": 1}, queues=["mails"])


@pytest.mark.parametrize("names", [{}, {"topics": ["orders"], "queues": ["mails"]}])
def test_it_reads_topics_or_queues(broker: MemoryBroker, names: dict[str, Any]) -> None:
    """Neither, or both, is refused."""
    with pytest.raises(SettingsError, match="one of them"):
        MemoryIntake(broker, **names)


@pytest.mark.parametrize("setting", ["inbox", "prefetch", "poll_timeout", "commit_every", "rebalance_timeout"])
def test_settings_are_above_zero(broker: MemoryBroker, setting: str) -> None:
    """None of them has a meaning at 0."""
    settings: dict[str, Any] = {setting: 0}
    with pytest.raises(SettingsError, match=setting):
        MemoryIntake(broker, topics=["orders"], **settings)


def test_the_smallest_settings_are_accepted(broker: MemoryBroker) -> None:
    """One message at a time is a way to work."""
    assert MemoryIntake(broker, topics=["orders"], inbox=1, prefetch=1).inbox == 1


def test_it_shows_its_settings(broker: MemoryBroker) -> None:
    """The inbox is the prefetch where there are queues."""
    topics = MemoryIntake(broker, topics=["orders"], rebalance_timeout=3.0)
    queues = MemoryIntake(broker, queues=["mails"])

    assert (topics.names, topics.inbox, topics.rebalance_timeout) == (("orders",), 500, 3.0)
    assert (queues.names, queues.inbox) == (("mails",), 50)


def test_its_order_is_the_brokers(broker: MemoryBroker) -> None:
    """A partition keeps order; a queue does only with a single active consumer, and two queues only if both do."""
    broker.create_queue("strict", QueueSettings(single_active=True))

    assert MemoryIntake(broker, topics=["orders"]).order == "source"
    assert MemoryIntake(broker, queues=["strict"]).order == "source"
    assert MemoryIntake(broker, queues=["mails"]).order == "none"
    assert MemoryIntake(broker, queues=["strict", "mails"]).order == "none"
    assert MemoryIntake(broker, queues=["nowhere"]).order == "none"


@pytest.mark.parametrize(("names", "remedy"), [({"topics": ["t"]}, r"topics=\{'t': 1\}"), ({"queues": ["q"]}, r"queues=\['q'\]")])
@in_virtual_time
async def test_an_unknown_name_is_refused_with_the_remedy(broker: MemoryBroker, names: dict[str, Any], remedy: str) -> None:
    """It says what to write."""
    with pytest.raises(IntakeError, match=remedy):
        await MemoryIntake(broker, **names).open(RecordingListener())


@in_virtual_time
async def test_receiving_before_opening_is_an_error(broker: MemoryBroker) -> None:
    """Nothing could ever come."""
    with pytest.raises(IntakeError, match="not open"):
        await MemoryIntake(broker, topics=["orders"]).receive()


@in_virtual_time
async def test_a_closed_one_cannot_be_opened_again(broker: MemoryBroker) -> None:
    """As a consumer that was stopped."""
    async with driving(MemoryIntake(broker, topics=["orders"])) as at:
        pass
    with pytest.raises(IntakeError, match="make a new one"):
        await at.intake.open(RecordingListener())


@pytest.mark.parametrize("names", [{"topics": ["orders"]}, {"queues": ["mails"]}])
@in_virtual_time
async def test_unopened_everything_else_is_harmless(broker: MemoryBroker, names: dict[str, Any]) -> None:
    """Whoever cleans up need not know how far it came."""
    intake = MemoryIntake(broker, **names)
    intake.apply(Plan())
    await intake.flush()
    broker.drop(intake)
    await intake.close()

    assert await intake.backlog() == {}


@pytest.mark.parametrize("names", [{"topics": ["orders"]}, {"queues": ["mails"]}])
@in_virtual_time
async def test_closed_everything_else_is_harmless(broker: MemoryBroker, names: dict[str, Any]) -> None:
    """Late results and plans arrive after the end; nothing comes, nothing is settled."""
    broker.produce(*(("orders", b"a") if "topics" in names else ("mails", b"a")))
    async with driving(MemoryIntake(broker, **names)) as at:
        pass
    before = len(broker.ledger)
    at.intake.apply(Plan())
    at.ack(at.received)
    await at.intake.flush()
    broker.drop(at.intake)

    assert (list(await at.intake.receive()), len(broker.ledger), await at.intake.backlog()) == ([], before, {})


@pytest.mark.parametrize("names", [{"topics": ["orders"]}, {"queues": ["mails"]}])
@in_virtual_time
async def test_a_close_ends_a_receive_that_waits(broker: MemoryBroker, names: dict[str, Any]) -> None:
    """At once, with nothing."""
    intake = MemoryIntake(broker, **names, poll_timeout=POLL_TIMEOUT)
    async with driving(intake):
        waiting = asyncio.create_task(intake.receive())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        start = asyncio.get_running_loop().time()
        await intake.close()
        deliveries = await waiting

    assert (list(deliveries), asyncio.get_running_loop().time()) == ([], start)


@pytest.mark.parametrize("names", [{"topics": ["orders"]}, {"queues": ["mails"]}])
@in_virtual_time
async def test_a_flush_ends_a_receive_that_waits(broker: MemoryBroker, names: dict[str, Any]) -> None:
    """At the end of a run nobody waits for the poll's timeout, which may be longer than the run's patience."""
    async with driving(MemoryIntake(broker, **names, poll_timeout=POLL_TIMEOUT)) as at:
        start = asyncio.get_running_loop().time()
        waiting = asyncio.create_task(at.intake.receive())
        await asyncio.sleep(1)
        await at.intake.flush()
        deliveries = await waiting

        assert (list(deliveries), asyncio.get_running_loop().time() - start) == ([], 1.0)


@pytest.mark.parametrize(("names", "name"), [({"topics": ["orders"]}, "orders"), ({"queues": ["mails"]}, "mails")])
@in_virtual_time
async def test_a_deleted_name_ends_it(broker: MemoryBroker, names: dict[str, Any], name: str) -> None:
    """The next receive says so."""
    async with driving(MemoryIntake(broker, **names)) as at:
        broker.delete(name)
        with pytest.raises(IntakeError, match=f"no (topic|queue) '{name}'"):
            await at.intake.receive()


@pytest.mark.parametrize("names", [{"topics": ["orders"]}, {"queues": ["mails"]}])
@in_virtual_time
async def test_an_empty_receive_waits_for_the_poll_timeout(broker: MemoryBroker, names: dict[str, Any]) -> None:
    """And not longer."""
    async with driving(MemoryIntake(broker, **names, poll_timeout=POLL_TIMEOUT)) as at:
        start = asyncio.get_running_loop().time()
        await at.intake.receive()

        assert asyncio.get_running_loop().time() - start == POLL_TIMEOUT


@pytest.mark.parametrize(("names", "name"), [({"topics": ["orders"]}, "orders"), ({"queues": ["mails"]}, "mails")])
@in_virtual_time
async def test_a_message_ends_the_wait(broker: MemoryBroker, names: dict[str, Any], name: str) -> None:
    """It is delivered when it is produced and not a poll later."""
    async with driving(MemoryIntake(broker, **names, poll_timeout=POLL_TIMEOUT)) as at:
        start = asyncio.get_running_loop().time()
        asyncio.get_running_loop().call_later(1, broker.produce, name, b"a")
        deliveries = await at.intake.receive()

        assert ([delivery.body for delivery in deliveries], asyncio.get_running_loop().time() - start) == ([b"a"], 1.0)


@pytest.mark.parametrize(("names", "name"), [({"topics": ["orders"]}, "orders"), ({"queues": ["mails"]}, "mails")])
@in_virtual_time
async def test_an_admission_ends_the_wait(broker: MemoryBroker, names: dict[str, Any], name: str) -> None:
    """Resuming shows at once, so that a ramp is not slowed down by polls."""
    async with driving(MemoryIntake(broker, **names, poll_timeout=POLL_TIMEOUT)) as at:
        at.hold(*at.listener.owned)
        broker.produce(name, b"a")
        start = asyncio.get_running_loop().time()

        def admit() -> None:
            at.listener.held.clear()
            at.intake.apply(at.listener.plan())

        asyncio.get_running_loop().call_later(1, admit)
        deliveries = await at.intake.receive()

        assert (len(deliveries), asyncio.get_running_loop().time() - start) == (1, 1.0)


@pytest.mark.parametrize("names", [{"topics": ["orders"]}, {"queues": ["mails"]}])
@in_virtual_time
async def test_a_plan_that_opens_nothing_does_not_end_the_wait(broker: MemoryBroker, names: dict[str, Any]) -> None:
    """A guard applies its plan at every turn: if that woke the poll, both would spin."""
    async with driving(MemoryIntake(broker, **names, poll_timeout=POLL_TIMEOUT)) as at:
        start = asyncio.get_running_loop().time()
        asyncio.get_running_loop().call_later(1, lambda: at.intake.apply(at.listener.plan()))
        await at.intake.receive()

        assert asyncio.get_running_loop().time() - start == POLL_TIMEOUT


@in_virtual_time
async def test_a_delivery_shows_the_message(broker: MemoryBroker) -> None:
    """Everything that was produced, the offset, and no word on redelivery: Kafka has none."""
    broker.produce("orders", b"first")
    await asyncio.sleep(30)
    broker.produce("orders", b"body", b"key", {"trace": b"1"})
    async with driving(MemoryIntake(broker, topics=["orders"])) as at:
        delivery = at.received[1]

    assert (delivery.source, delivery.position, delivery.redelivered) == (Partition("orders", 0), 1, None)
    assert (delivery.body, delivery.key, delivery.headers, delivery.timestamp) == (b"body", b"key", {"trace": b"1"}, 30.0)


@in_virtual_time
async def test_a_delivery_of_a_queue_shows_its_history(broker: MemoryBroker) -> None:
    """The tag on its channel, whether it came before, and how often it had come back."""
    broker.produce("mails", b"a")
    async with driving(MemoryIntake(broker, queues=["mails"])) as at:
        broker.drop(at.intake)
        await at.drain()
        first, again = at.received

    assert (first.position, first.redelivered, getattr(first, "delivery_count", None)) == (1, False, 0)
    assert (again.position, again.redelivered, getattr(again, "delivery_count", None), again.key) == (1, True, 1, None)


@in_virtual_time
async def test_a_partition_cannot_reject(broker: MemoryBroker) -> None:
    """Kafka has no such word; a guard that says it has a mistake."""
    broker.produce("orders", b"a")
    async with driving(MemoryIntake(broker, topics=["orders"])) as at:
        with pytest.raises(IntakeError, match="give the run dead_letters"):
            at.intake.settle(at.received[0], Settlement.REJECT)


@pytest.mark.parametrize("names", [{"topics": ["orders"]}, {"queues": ["mails"]}])
@in_virtual_time
async def test_a_delivery_of_another_broker_is_ignored(broker: MemoryBroker, names: dict[str, Any]) -> None:
    """It cannot be one of ours."""
    async with driving(MemoryIntake(broker, **names)) as at:
        at.ack([Delivery(Partition("orders", 0), Message(0, b""))])
        await at.intake.flush()

    assert broker.committed("holdgate") == {}


@in_virtual_time
async def test_an_intake_that_vanishes_says_nothing_to_its_group() -> None:
    """As a process that was killed: what was settled is not committed, and the group still counts on the member."""
    broker = MemoryBroker(topics={"orders": 1})
    broker.produce("orders", b"0")
    intake = MemoryIntake(broker, topics=["orders"])
    async with driving(intake) as driver:
        (delivery,) = driver.received
        intake.settle(delivery, Settlement.ACK)
        intake.vanish()
        await asyncio.sleep(5.0)
        assert broker.committed("holdgate") == {}
        assert list(broker.members("holdgate")) == [intake.member]


@in_virtual_time
async def test_the_channels_of_an_intake_that_vanishes_close() -> None:
    """The broker sees that connection break: what was unsettled, recorded or not, comes again."""
    broker = MemoryBroker(queues=["mails"])
    broker.produce("mails", b"0")
    intake = MemoryIntake(broker, queues=["mails"])
    async with driving(intake) as driver:
        (delivery,) = driver.received
        intake.settle(delivery, Settlement.ACK)
        intake.vanish()
        await asyncio.sleep(5.0)
        assert [message.body for message in broker.waiting(Queue("mails"))] == [b"0"]
        assert intake.member == ""


@in_virtual_time
async def test_channels_that_broke_are_found_out_by_a_drop() -> None:
    """Between the two the broker has the messages back, and a settlement goes nowhere."""
    broker = MemoryBroker(queues=["mails"])
    broker.produce("mails", b"0")
    intake = MemoryIntake(broker, queues=["mails"])
    async with driving(intake) as driver:
        (delivery,) = driver.received
        intake.break_channels()
        intake.settle(delivery, Settlement.ACK)
        broker.drop(intake)
        (again,) = await driver.drain()
        assert (again.body, again.redelivered) == (b"0", True)


@in_virtual_time
async def test_a_refused_commit_is_known() -> None:
    """The group has evicted the member meanwhile."""
    broker = MemoryBroker(topics={"orders": 1})
    broker.produce("orders", b"0")
    intake = MemoryIntake(broker, topics=["orders"])
    async with driving(intake) as driver:
        (delivery,) = driver.received
        assert intake.is_committed
        broker.model.group("holdgate").leave(intake.member, 0.0)
        intake.settle(delivery, Settlement.ACK)
        await intake.flush()
        assert not intake.is_committed
