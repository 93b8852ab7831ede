from __future__ import annotations

import pytest

from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.rabbitmq_address import QUORUM
from tests.servers.spare import Spare


class Server:
    """Counts what is done with it; `broken` ones cannot be started again."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.broken = False

    async def start(self) -> None:
        if self.broken:
            raise RuntimeError("it does not come back")
        self.done.append("start")

    async def empty(self) -> None:
        self.done.append("empty")

    async def close(self) -> None:
        self.done.append("close")


async def test_the_next_one_gets_it_running_and_empty() -> None:
    """It is made once, and what the last test has stopped is started before it is emptied."""
    spare = Spare(Server)
    first = await spare.lend()
    assert await spare.lend() is first
    assert first.done == ["start", "start", "empty"]
    await spare.close()
    assert first.done[-1] == "close"


async def test_one_that_does_not_come_back_is_replaced() -> None:
    """And ended."""
    spare = Spare(Server)
    first = await spare.lend()
    first.broken = True
    second = await spare.lend()
    assert second is not first
    assert (first.done, second.done) == (["start", "close"], ["start"])


async def test_one_that_never_starts_is_ended() -> None:
    """Its error is the test's, and the next one tries a new one."""
    made: list[Server] = []

    def broken() -> Server:
        made.append(Server())
        made[-1].broken = True
        return made[-1]

    spare = Spare(broken)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="does not come back"):
            await spare.lend()
    await spare.close()
    assert [server.done for server in made] == [["close"], ["close"]]


async def test_a_rabbitmq_is_empty_for_the_next_one(spare_rabbitmq: Spare[RabbitMQServer]) -> None:
    """Killed with messages in a queue, it is running and has none of its queues when it is lent again."""
    first = await spare_rabbitmq.lend()
    await first.declare("left", QUORUM)
    await first.declare("orders")
    await first.publish("orders", [b"1"])
    first.kill()
    second = await spare_rabbitmq.lend()
    assert second is first
    await second.declare("left")  # refused, if there were one of another kind
    await second.declare("orders")
    assert await second.depth("orders") == (0, 0)
