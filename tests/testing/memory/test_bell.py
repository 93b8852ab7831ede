"""Bell: waking whoever waits."""

from __future__ import annotations

import asyncio

from holdgate.testing import run_virtual
from holdgate.testing.memory.broker import Bell


def test_a_ring_wakes_everybody_who_waits() -> None:
    """All at once, before any timeout."""

    async def main() -> float:
        bell = Bell()
        waiting = [asyncio.create_task(bell.wait(60)), asyncio.create_task(bell.wait())]
        await asyncio.sleep(1)
        bell.ring()
        bell.ring()
        await asyncio.gather(*waiting)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 1.0


def test_without_a_ring_the_timeout_ends_it() -> None:
    """After that many seconds, without an error."""

    async def main() -> float:
        await Bell().wait(5)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 5.0


def test_it_remembers_no_ring() -> None:
    """One from before does not count."""

    async def main() -> float:
        bell = Bell()
        bell.ring()
        await bell.wait(5)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 5.0


def test_a_cancelled_waiter_is_forgotten() -> None:
    """A receive that ends with its test leaves nobody behind to be woken."""

    async def main() -> int:
        bell = Bell()
        waiting = asyncio.create_task(bell.wait(60))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        return len(bell._waiters)

    assert run_virtual(main()) == 0


def test_those_who_wait_are_woken_in_the_order_in_which_they_came() -> None:
    """In every process the same: a set of futures has another order in each."""

    async def main() -> list[int]:
        bell, woken = Bell(), []

        async def wait(number: int) -> None:
            await bell.wait()
            woken.append(number)

        waiting = [asyncio.create_task(wait(number)) for number in range(50)]
        await asyncio.sleep(1)
        bell.ring()
        await asyncio.gather(*waiting)
        return woken

    assert run_virtual(main()) == list(range(50))
