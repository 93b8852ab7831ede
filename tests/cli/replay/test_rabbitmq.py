"""Replays through a real RabbitMQ: a letter is out of its queue when its copy is confirmed, and not a moment before."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest
from rich.console import Console
from tests.servers.rabbitmq_address import QUORUM

from holdgate.cli.replay.command import Ending, Options, run_replay
from holdgate.cli.replay.rabbitmq import RabbitMQRoute
from holdgate.cli.replay.route import Stop, move
from holdgate.errors import IntakeError

if TYPE_CHECKING:
    from tests.servers.rabbitmq_address import RabbitMQAddress

FAST = 5000.0
PATIENCE = 60.0


async def moved(rabbitmq: RabbitMQAddress, dead: str, to: str, limit: int | None = None) -> int:
    """Survey, move, end, as the command does; returns how many were moved."""
    route = RabbitMQRoute(rabbitmq.url, dead, to)
    try:
        await route.survey()
        await route.begin()
        return await move(route, rate=FAST, limit=limit, stop=Stop(), moved=lambda _: None)
    finally:
        await route.end()


async def survey(rabbitmq: RabbitMQAddress, dead: str, to: str) -> Any:
    route = RabbitMQRoute(rabbitmq.url, dead, to)
    try:
        return await route.survey()
    finally:
        await route.end()


async def bodies(rabbitmq: RabbitMQAddress, queue: str) -> list[bytes]:
    return [message.body for message in await rabbitmq.waiting(queue)]


@pytest.mark.parametrize("arguments", [None, QUORUM], ids=["classic", "quorum"])
async def test_letters_go_back_in_their_order_and_leave_their_queue(rabbitmq: RabbitMQAddress, queue, arguments: Any) -> None:
    """Nothing is left behind, nothing comes twice."""
    orders, dead = await queue(), await queue(arguments)
    sent = [b"%d" % number for number in range(50)]
    await rabbitmq.publish(dead, sent)
    assert await moved(rabbitmq, dead, orders) == 50
    assert await bodies(rabbitmq, orders) == sent
    assert (await rabbitmq.depth(dead))[0] == 0


async def test_properties_are_the_messages(rabbitmq: RabbitMQAddress, queue) -> None:
    """And its own headers; what told of the death is gone, and the replay is counted."""
    orders, dead = await queue(), await queue()
    properties = {"content_type": "application/json", "correlation_id": "c1", "message_id": "m1", "type": "order", "priority": 3}
    when = datetime(2024, 5, 1, 12, tzinfo=UTC)
    headers = {"trace": "t", "holdgate-source": "orders", "holdgate-replays": "1", "x-death": "of an earlier life"}
    await rabbitmq.publish(dead, [b"1"], headers=headers, timestamp=when, **properties)
    await moved(rabbitmq, dead, orders)
    async with rabbitmq.channel() as channel:
        message = await (await channel.get_queue(orders)).get(no_ack=True)
    assert message is not None
    assert {name: getattr(message, name) for name in properties} == properties
    assert (message.timestamp, message.delivery_mode) == (when, aio_pika.DeliveryMode.PERSISTENT)
    assert message.headers == {"trace": "t", "holdgate-replays": "2"}


async def test_a_survey_counts_and_touches_nothing(rabbitmq: RabbitMQAddress, queue) -> None:
    """A look at a message would cost it a delivery."""
    orders, dead = await queue(), await queue(QUORUM)
    await rabbitmq.publish(dead, [b"1", b"2"])
    assert (await survey(rabbitmq, dead, orders)).waiting == 2
    assert [message.returns for message in await rabbitmq.waiting(dead)] == [0, 0]


async def test_the_next_replay_goes_on_where_the_last_one_ended(rabbitmq: RabbitMQAddress, queue) -> None:
    """What is left in the queue is what is to do."""
    orders, dead = await queue(), await queue()
    await rabbitmq.publish(dead, [b"%d" % number for number in range(5)])
    assert await moved(rabbitmq, dead, orders, limit=2) == 2
    assert await moved(rabbitmq, dead, orders) == 3
    assert await moved(rabbitmq, dead, orders) == 0
    assert await bodies(rabbitmq, orders) == [b"0", b"1", b"2", b"3", b"4"]


async def test_what_dies_again_meanwhile_waits_for_the_next_replay(rabbitmq: RabbitMQAddress, queue) -> None:
    """Or a poison message would go round for ever."""
    orders, dead = await queue(), await queue()
    await rabbitmq.publish(dead, [b"1", b"2"])
    route = RabbitMQRoute(rabbitmq.url, dead, orders)
    await route.survey()
    await route.begin()
    await rabbitmq.publish(dead, [b"late"])
    assert await move(route, rate=FAST, limit=None, stop=Stop(), moved=lambda _: None) == 2
    await route.end()
    assert await bodies(rabbitmq, dead) == [b"late"]


async def test_a_letter_under_way_goes_back_to_its_queue(rabbitmq: RabbitMQAddress, queue) -> None:
    """Taken and not written: nothing has happened."""
    orders, dead = await queue(), await queue()
    await rabbitmq.publish(dead, [b"1", b"2"])
    route = RabbitMQRoute(rabbitmq.url, dead, orders)
    await route.survey()
    await route.begin()
    await route.take()
    await route.end()
    await rabbitmq.becomes(dead, ready=2)
    assert await bodies(rabbitmq, dead) == [b"1", b"2"]


async def came_back(rabbitmq: RabbitMQAddress, dead: str, times: int) -> None:
    for _ in range(times):
        await rabbitmq.waiting(dead)


@pytest.mark.versions
async def test_a_letter_at_its_limit_is_not_lost_by_going_back(rabbitmq: RabbitMQAddress, queue) -> None:
    """One return more would drop it, so it is written again before it is acknowledged: at the end of its queue, counted from nothing."""
    dead = await queue({**QUORUM, "x-delivery-limit": 2})
    orders = await rabbitmq.declare(f"{dead}-target")
    headers = {"trace": "t", "holdgate-source": "orders", "holdgate-replays": "1"}
    await rabbitmq.publish(dead, [b"1", b"2"], headers=headers)
    await came_back(rabbitmq, dead, 2)
    await lose_the_target_in_the_middle(rabbitmq, dead, orders)
    await rabbitmq.becomes(dead, ready=2)
    assert [(message.body, message.returns) for message in await rabbitmq.waiting(dead)] == [(b"2", 2), (b"1", 0)]
    async with rabbitmq.channel() as channel:
        message = await (await channel.get_queue(dead, ensure=False)).get(no_ack=True)
    assert {name: message.headers.get(name) for name in headers} == headers


@pytest.mark.versions
async def test_a_letter_that_brought_its_count_along_is_not_lost_by_going_back(rabbitmq: RabbitMQAddress, queue) -> None:
    """On 4.3 what died of its limit has none left in the next queue: any return is its end there."""
    dead = await queue({**QUORUM, "x-delivery-limit": 2})
    dying = await queue({**QUORUM, "x-delivery-limit": 2, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    await rabbitmq.publish(dying, [b"1"])
    await came_back(rabbitmq, dying, 3)
    await rabbitmq.becomes(dead, ready=1)
    await lose_the_target_in_the_middle(rabbitmq, dead, await rabbitmq.declare(f"{dead}-target"))
    await rabbitmq.becomes(dead, ready=1)
    assert await bodies(rabbitmq, dead) == [b"1"]


async def test_a_publication_that_costs_its_channel_costs_no_letter(rabbitmq: RabbitMQAddress, queue) -> None:
    """The broker closes the channel of what it refuses: the letter is on another one, and is written back by a third; once."""
    dead, orders = await queue(QUORUM), await queue()
    await rabbitmq.publish(dead, [b"1"])
    await came_back(rabbitmq, dead, 1)
    route = RabbitMQRoute(rabbitmq.url, dead, orders)
    await route.survey()
    await route.begin()
    letter = await route.take()
    with pytest.raises(aio_pika.exceptions.ChannelClosed):
        await (await route._channel.get_exchange("no-such-exchange", ensure=False)).publish(letter, routing_key="")
    await route.end()
    await rabbitmq.becomes(dead, ready=1)
    assert await bodies(rabbitmq, dead) == [b"1"]


async def lose_the_target_in_the_middle(rabbitmq: RabbitMQAddress, dead: str, target: str) -> None:
    """Take a letter, fail to put it, and end."""
    route = RabbitMQRoute(rabbitmq.url, dead, target)
    await route.survey()
    await route.begin()
    letter = await route.take()
    await rabbitmq.delete(target)
    with pytest.raises(aio_pika.exceptions.DeliveryError):
        await route.put(letter)
    await route.end()


async def test_a_letter_that_cannot_be_written_back_is_told(rabbitmq: RabbitMQAddress, queue, caplog: pytest.LogCaptureFixture) -> None:
    """With its connection gone there is nobody to write to: it returns, and somebody must know."""
    orders, dead = await queue(), await queue(QUORUM)
    await rabbitmq.publish(dead, [b"1"])
    await came_back(rabbitmq, dead, 1)
    route = RabbitMQRoute(rabbitmq.url, dead, orders)
    await route.survey()
    await route.begin()
    await route.take()
    await route._connection.close()
    await route.end()
    assert f"the letter under way could not be written back to {dead}" in caplog.text
    await rabbitmq.becomes(dead, ready=1)


async def test_a_target_that_goes_away_is_an_error_and_no_loss(rabbitmq: RabbitMQAddress, queue) -> None:
    """The broker hands the copy back, and the letter stays where it is."""
    dead = await queue()
    orders = await rabbitmq.declare(f"{dead}-target")
    await rabbitmq.publish(dead, [b"1"])
    await lose_the_target_in_the_middle(rabbitmq, dead, orders)
    await rabbitmq.becomes(dead, ready=1)


@pytest.mark.parametrize("missing", ["dead", "to"])
async def test_a_queue_that_is_not_there_is_named(rabbitmq: RabbitMQAddress, queue, missing: str) -> None:
    """Before anything is moved, and without making it."""
    names = {"dead": await queue(), "to": await queue(), missing: "no-such-queue"}
    with pytest.raises(IntakeError, match="no queue 'no-such-queue'"):
        await survey(rabbitmq, **names)


async def test_a_broker_that_is_not_there_is_told_without_the_password() -> None:
    """The URL has one in it."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        route = RabbitMQRoute(f"amqp://guest:secret@127.0.0.1:{unused.getsockname()[1]}", "dead", "orders")
        with pytest.raises(IntakeError, match="no RabbitMQ answers") as caught:
            await route.survey()
    await route.end()
    assert "secret" not in str(caught.value)
    assert "within" not in str(caught.value), "it was refused at once"


async def test_a_refused_password_is_not_told_as_a_broker_that_is_away(rabbitmq: RabbitMQAddress) -> None:
    """It does answer; and the password is still not told."""
    route = RabbitMQRoute(rabbitmq.as_user("guest", "secret"), "dead", "orders")
    with pytest.raises(IntakeError, match="refuses this user or password") as caught:
        await route.survey()
    assert "secret" not in str(caught.value)


async def test_an_exclusive_queue_is_not_told_as_a_missing_one(rabbitmq: RabbitMQAddress, queue) -> None:
    """It is there, and somebody else's."""
    async with rabbitmq.channel() as channel:
        name = (await channel.declare_queue(exclusive=True)).name
        with pytest.raises(IntakeError, match=f"queue '{name}' is exclusive to another connection"):
            await survey(rabbitmq, name, await queue())


async def test_ending_twice_is_fine(rabbitmq: RabbitMQAddress, queue) -> None:
    """As is ending what never began."""
    route = RabbitMQRoute(rabbitmq.url, await queue(), await queue())
    await route.end()
    await route.survey()
    await asyncio.gather(route.end(), route.end())


# -- the whole command -----------------------------------------------------------------------------------------------------------------


async def test_a_dry_run_and_then_the_command_itself(rabbitmq: RabbitMQAddress, queue) -> None:
    """The first says what the second would do and moves nothing, and costs no letter a delivery."""
    orders, dead = await queue(), await queue(QUORUM)
    await rabbitmq.publish(dead, [b"1", b"2", b"3"])
    said: list[str] = []
    for dry_run in (True, False):
        out = io.StringIO()
        options = Options(dead, orders, FAST, dry_run=dry_run)
        route = RabbitMQRoute(rabbitmq.url, dead, orders)
        ending = await asyncio.to_thread(run_replay, route, options, lambda _: True, Console(file=out, width=150))
        assert ending is Ending.DONE
        said.append(out.getvalue())
        if dry_run:
            assert (await rabbitmq.depth(dead))[0] == 3
            assert await bodies(rabbitmq, orders) == []
    assert said[0].strip() in said[1]
    assert f"3 wait in {dead}; 3 go to {orders}" in said[0]
    assert "moved 3 of 3" in said[1]
    assert await bodies(rabbitmq, orders) == [b"1", b"2", b"3"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["Ctrl-C", "SIGTERM", "kill -9"])
async def test_stopped_in_the_middle_the_same_command_finishes_it(rabbitmq: RabbitMQAddress, queue, number: signal.Signals) -> None:
    """Nothing is lost; in order, nothing is moved twice, and after a kill at most the one under way."""
    orders, dead = await queue(), await queue(QUORUM)
    # At two a second there is a minute to stop it in.
    sent = [b"%d" % count for count in range(120)]
    await rabbitmq.publish(dead, sent)
    command = [sys.executable, "-m", "holdgate", "replay", dead, "--to", orders, "--yes", "--rate"]
    # As a variable: a URL on a command line shows its password to whoever lists processes.
    environment = {**os.environ, "HOLDGATE_AMQP_URL": rabbitmq.url}
    process = await asyncio.create_subprocess_exec(*command, "2", env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    async with asyncio.timeout(PATIENCE):
        while (await rabbitmq.depth(orders))[0] < 5:
            assert process.returncode is None
            await asyncio.sleep(0.05)
    process.send_signal(number)
    said = (await process.communicate())[0].decode()
    before = await bodies(rabbitmq, orders)
    assert 5 <= len(before) < len(sent)
    assert process.returncode == (-9 if number is signal.SIGKILL else 130), said
    if number is not signal.SIGKILL:
        assert f"moved {len(before)} of 120; run it again" in said
    async with asyncio.timeout(PATIENCE):  # what it had in hand comes back when the broker has seen its end
        while (await rabbitmq.depth(dead))[0] < len(sent) - len(before):
            await asyncio.sleep(0.05)
    finished = await asyncio.to_thread(
        subprocess.run, [*command, "5000"], env=environment, capture_output=True, timeout=PATIENCE, check=False
    )
    assert finished.returncode == 0, finished.stderr
    after = await bodies(rabbitmq, orders)
    assert sorted(set(after)) == sorted(sent)
    assert len(after) - len(sent) <= (1 if number is signal.SIGKILL else 0)
    assert (await rabbitmq.depth(dead))[0] == 0


async def test_the_rate_is_a_bound(rabbitmq: RabbitMQAddress, queue) -> None:
    """Eleven letters at fifty a second take ten fiftieths at least, however quick the broker is."""
    orders, dead = await queue(), await queue()
    await rabbitmq.publish(dead, [b"%d" % count for count in range(11)])
    route = RabbitMQRoute(rabbitmq.url, dead, orders)
    await route.survey()
    await route.begin()
    began = asyncio.get_running_loop().time()
    assert await move(route, rate=50, limit=None, stop=Stop(), moved=lambda _: None) == 11
    took = asyncio.get_running_loop().time() - began
    await route.end()
    assert took >= 10 / 50
