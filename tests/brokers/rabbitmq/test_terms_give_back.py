from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers.kafka.drive import drive
from tests.brokers.rabbitmq.aging import TIMEOUT, grow_old
from tests.servers.rabbitmq_address import QUORUM

from holdgate.brokers.rabbitmq.terms import DeliveryLimitNear, QueueTerms, quiesce
from holdgate.flow.message import Queue
from holdgate.testing import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.brokers.kafka.drive import Drive
    from tests.brokers.rabbitmq.conftest import Kind
    from tests.servers.rabbitmq_address import RabbitMQAddress

    from holdgate.brokers.rabbitmq import RabbitMQIntake

pytestmark = pytest.mark.versions

WINDOW = 6
QUIET = 0.5


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]


async def given_back(at: Drive, times: int = 1) -> None:
    """Let what is in hand grow old, until the source was taken from the guard, and given to it again, so many times."""
    grow_old(at.intake)
    await at.until(lambda: at.count("revoked") == times and at.count("assigned") == times + 1)


async def test_messages_go_back_before_the_timeout(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], kind: Kind
) -> None:
    """Held for nearly the consumer timeout, everything in hand is in front of its queue again, in order, counted as the version does."""
    name = await queue(kind.arguments)
    await rabbitmq.publish(name, numbered(10))
    made = intake(name, prefetch=WINDOW, consumer_timeout=TIMEOUT, single_active=kind.single_active or None)
    async with drive(made) as at:
        await at.take(WINDOW)
        at.hold()
        if not kind.times_out:
            grow_old(made)
            await at.for_seconds(QUIET)
            assert at.count("revoked") == 0
            return
        await given_back(at)
        await at.beside(rabbitmq.becomes(name, ready=10, consumers=0))
        left = await at.beside(rabbitmq.waiting_once_free(name))
    assert [message.body for message in left] == numbered(10)
    assert [message.returns for message in left] == [kind.returned] * WINDOW + [0] * 4
    assert at.leaked == []


async def test_what_ends_while_it_goes_back_is_settled(rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake]) -> None:
    """The guard lets running handlers end first, and their acks are sent before the rest goes back."""
    name = await queue(QUORUM)
    await rabbitmq.publish(name, numbered(5))
    async with drive(intake(name, consumer_timeout=TIMEOUT)) as at:
        if rabbitmq.version == "4.3":
            pytest.skip("a classic queue of 4.3 takes nothing back")

        async def finish_two() -> None:
            at.ack(at.received[:2])

        at.in_revoked = finish_two
        await at.take(5)
        at.hold()
        await given_back(at)
        left = await at.beside(rabbitmq.waiting_once_free(name))
    assert [message.body for message in left] == numbered(3, first=2)


async def test_a_late_settlement_of_what_went_back_changes_nothing(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], kind: Kind
) -> None:
    """A delivery that went back is somebody else's: settled late it settles nothing, on a channel that stays as on one that does not."""
    if not kind.times_out:
        pytest.skip("this queue takes nothing back")
    name = await queue(kind.arguments)
    await rabbitmq.publish(name, numbered(3))
    async with drive(intake(name, consumer_timeout=TIMEOUT, single_active=kind.single_active or None)) as at:
        late = list(await at.take(3))
        at.hold()
        await given_back(at)
        at.ack(late)
        await at.intake.flush()
        left = await at.beside(rabbitmq.waiting_once_free(name))
    assert [message.body for message in left] == numbered(3)


async def test_after_it_a_window_of_one_probes(rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], kind: Kind) -> None:
    """Admitted again, one message comes alone; when it is done, the whole window, in order and each once."""
    if not kind.times_out or kind.single_active:
        pytest.skip("this queue takes nothing back, or is not probed")
    name = await queue(kind.arguments)
    await rabbitmq.publish(name, numbered(10))
    made = intake(name, prefetch=WINDOW, consumer_timeout=TIMEOUT)
    async with drive(made) as at:
        await at.take(WINDOW)
        at.hold()
        await given_back(at)
        at.received.clear()
        at.admit()
        await at.take(1)
        await at.for_seconds(QUIET)
        assert at.bodies() == [b"0"]
        at.ack(at.received)
        await at.take(1 + WINDOW)
        assert at.bodies() == numbered(1 + WINDOW)
        at.ack(at.received[1:])
        await at.take(10)
        at.ack(at.received[1 + WINDOW :])
        await made.flush()
        await at.beside(rabbitmq.becomes(name, ready=0))
    assert at.bodies() == numbered(10)
    assert await rabbitmq.waiting_once_free(name) == []


async def test_a_failed_probe_costs_one_message_alone(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], kind: Kind
) -> None:
    """A probe that fails is held, and goes back by itself: the others have come back once, whatever the number of probes.

    On a quorum queue it goes behind those that came back with it.
    """
    if not kind.times_out or kind.single_active:
        pytest.skip("this queue takes nothing back, or is not probed")
    name = await queue(kind.arguments)
    await rabbitmq.publish(name, numbered(4))
    async with drive(intake(name, consumer_timeout=TIMEOUT, single_active=kind.single_active or None)) as at:
        await at.take(4)
        for times in (1, 2):
            at.hold()
            await given_back(at, times)
            if times == 1:
                at.received.clear()
                at.admit()
                await at.take(1)
        left = await at.beside(rabbitmq.waiting_once_free(name))
    assert [message.body for message in left] == ([b"1", b"2", b"3", b"0"] if kind.counts else numbered(4))
    assert {message.body: message.returns for message in left} == {
        b"0": 2 * kind.returned,
        **dict.fromkeys(numbered(3, first=1), kind.returned),
    }


async def test_a_single_active_consumer_keeps_its_order(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], kind: Kind
) -> None:
    """Its whole window is taken again after each give-back, since a probe alone would come back behind the others: order is kept."""
    if not kind.times_out or not kind.single_active:
        pytest.skip("this queue takes nothing back, or promises no order")
    name = await queue(kind.arguments)
    await rabbitmq.publish(name, numbered(10))
    async with drive(intake(name, prefetch=WINDOW, consumer_timeout=TIMEOUT, single_active=True)) as at:
        for times in (1, 2):
            at.admit()
            await at.take(WINDOW * times)
            at.hold()
            await given_back(at, times)
        left = await at.beside(rabbitmq.waiting_once_free(name))
    assert at.bodies() == numbered(WINDOW) * 2
    assert [message.body for message in left] == numbered(10)


async def test_slow_handlers_give_back_with_a_warning(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], caplog
) -> None:
    """Without a hold the same happens, with the remedy in the log, and the whole window is taken again at once."""
    name = await queue(QUORUM)
    await rabbitmq.publish(name, numbered(3))
    with caplog.at_level(logging.WARNING, "holdgate"):
        async with drive(intake(name, consumer_timeout=TIMEOUT)) as at:
            await at.take(3)
            grow_old(at.intake)
            await at.take(6)
            assert at.bodies() == numbered(3) * 2
            assert at.count("revoked") == 1
    assert "handlers are too slow for this prefetch" in caplog.text


async def test_a_message_near_its_limit_is_told(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], kind: Kind
) -> None:
    """Before a message goes back that this may kill, it is named to the callback; once."""
    if kind.name != "quorum" or kind.nacks:
        pytest.skip("only a quorum queue has a limit, and only where a give-back counts does it matter")
    name = await queue({**kind.arguments, "x-delivery-limit": 2})
    await rabbitmq.publish(name, [b"0"])
    told: list[DeliveryLimitNear] = []
    async with drive(intake(name, consumer_timeout=TIMEOUT, on_delivery_limit_near=told.append)) as at:
        await at.take(1)
        at.hold()
        await given_back(at)
    assert told == [DeliveryLimitNear(Queue(name), returns=0, limit=2)]


async def test_closing_gives_back_in_order(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], kind: Kind, caplog
) -> None:
    """A worker that ends leaves what it had in hand in front, in order; uncounted where nacks are."""
    name = await queue(kind.arguments)
    await rabbitmq.publish(name, numbered(10))
    async with drive(intake(name, prefetch=WINDOW, single_active=kind.single_active or None)) as at:
        await at.take(WINDOW)
    left = await rabbitmq.waiting_once_free(name)
    assert [message.body for message in left] == numbered(10)
    assert [message.returns for message in left] == [kind.returned] * WINDOW + [0] * 4
    assert "could not be given back" not in caplog.text


@pytest.mark.parametrize("taken", [50, 150, 400])
async def test_closing_under_flow_keeps_the_order(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], kind: Kind, taken: int
) -> None:
    """While messages flow, a cancel would lose the order of those on the wire: what is left is in order all the same."""
    name = await queue(kind.arguments)
    await rabbitmq.publish(name, numbered(800))
    async with drive(intake(name, prefetch=20, single_active=kind.single_active or None)) as at:
        done = 0
        while len(at.received) < taken:
            await at.poll()
            at.ack(at.received[done:])
            done = len(at.received)
    left = [int(message.body) for message in await rabbitmq.waiting_once_free(name)]
    assert left == list(range(len(at.received), 800))


def terms(**settings: Any) -> QueueTerms:
    usual: dict[str, Any] = {"timeout": 100.0, "margin": 20.0, "nacks": False, "limit": None, "single_active": False}
    return QueueTerms(Queue("orders"), **{**usual, **settings})


def channel(returns: Sequence[int], arrived_at: float = 0.0) -> Any:
    """As much of a channel as terms look at."""
    unsettled = {tag: SimpleNamespace(returns=count, arrived_at=arrived_at) for tag, count in enumerate(returns, 1)}
    return SimpleNamespace(unsettled=unsettled, oldest=next(iter(unsettled.values()), None), alive=True, last_arrival=0.0)


def test_it_is_due_a_margin_before_the_timeout() -> None:
    """The oldest delivery counts; with nothing out, or where the broker takes nothing back, nothing is due."""
    assert terms().due_at(channel([0, 0], arrived_at=7.0)) == 7.0 + 100.0 - 20.0
    assert terms().due_at(channel([])) is None
    assert terms(timeout=None).due_at(channel([0])) is None


def test_near_the_limit_it_is_due_at_the_last_moment() -> None:
    """With two returns left or fewer; where nacks are uncounted, nothing is limited, or there is an overflow, the limit does not matter."""
    limit = 20
    assert terms(limit=limit).due_at(channel([0, 17])) == 100.0 - 20.0
    assert terms(limit=limit).due_at(channel([0, 18])) == 100.0 - 5.0
    assert terms(limit=limit, nacks=True).due_at(channel([20])) == 100.0 - 20.0
    assert terms(limit=limit, nacks=True).due_at(channel([21])) == 100.0 - 5.0
    assert terms().due_at(channel([18])) == 100.0 - 20.0
    assert terms(limit=limit, has_overflow=True).due_at(channel([18])) == 100.0 - 20.0
    assert terms(limit=limit, margin=4.0).due_at(channel([18])) == 100.0 - 2.0


def test_the_message_with_least_returns_left_is_named() -> None:
    """One message is told, the one that is nearest to its end."""
    assert terms(limit=20).near_limit(channel([1, 19, 18])) == DeliveryLimitNear(Queue("orders"), returns=19, limit=20)
    assert terms(limit=20).near_limit(channel([])) is None


def test_the_last_return_is_known() -> None:
    """The one that goes over the limit; uncounted, only what brought more along than its queue allows is dropped by it."""
    for returns, counted, uncounted in ((19, 0, 0), (20, 1, 0), (21, 1, 1)):
        assert len(terms(limit=20).at_their_end(channel([returns, 0]))) == counted
        assert len(terms(limit=20, nacks=True).at_their_end(channel([returns, 0]))) == uncounted
    assert terms().at_their_end(channel([21])) == []


def test_quiescing_waits_for_quiet() -> None:
    """It ends when nothing has come for 150 ms; a trickle keeps it, but for two seconds at most; a dead channel not at all."""

    async def quiet_after(arrivals: Sequence[float]) -> float:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        at = channel([], 0.0)
        for delay in arrivals:
            loop.call_later(delay, lambda: setattr(at, "last_arrival", loop.time()))
        await quiesce(at)
        return round(loop.time() - begun, 2)

    async def dead() -> float:
        at = channel([])
        at.alive = False
        begun = asyncio.get_running_loop().time()
        await quiesce(at)
        return asyncio.get_running_loop().time() - begun

    assert run_virtual(quiet_after([])) == 0.15
    assert run_virtual(quiet_after([0.1])) == 0.25
    trickle = run_virtual(quiet_after([0.1 * step for step in range(1, 40)]))
    assert 2.0 <= trickle < 2.2
    assert run_virtual(dead()) == 0
