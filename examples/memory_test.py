"""A test of yours: big messages, a slow dependency, and what a worker has in hand of them."""

import asyncio

from holdgate import Delivery, Guard
from holdgate.testing import MemoryBroker, MemoryIntake, in_virtual_time

MEGABYTE = 1_000_000


async def convert(_: Delivery) -> None:
    await asyncio.sleep(1)


# region worker
async def work(intake: MemoryIntake) -> str:
    async with Guard(memory=16 * 1024 * 1024) as guard:
        run = asyncio.create_task(guard.run(intake, convert))
        await asyncio.sleep(10.5)
        in_hand = guard.health().memory
        await guard.stop()
        await run
    return in_hand


# endregion


@in_virtual_time
async def test_a_few_of_them_are_in_hand() -> None:
    """A hundred of a megabyte wait, and the process has no more of them in hand than its bound allows."""
    broker = MemoryBroker(topics={"images": 1})
    for _ in range(100):
        broker.produce("images", b"x" * MEGABYTE)
    in_hand = await work(MemoryIntake(broker, topics=["images"]))

    assert in_hand == "2.9 MiB of messages in hand, of 16 MiB"  # the one in work, and two ahead
