"""A service that takes ten calls a second, and a guard that keeps to it."""

import asyncio
from pathlib import Path

from holdgate import Delivery, Dependency, Guard, Limits, http, load
from holdgate.testing import LoopClock, MemoryBroker, MemoryIntake, in_virtual_time

# region dependency
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)

# endregion

# region numbers
ledger = Dependency("ledger", limits=Limits(rate=100, per=60))
warehouse = Dependency("warehouse", limits=Limits(concurrency=8))
mail = Dependency("mail", limits=Limits(rate=1, per=0.5, adaptive=False))

# endregion

# region key
billing = Dependency(
    "billing",
    failures=http.failures,
    retry_after=http.retry_after,
    key=lambda delivery: delivery.headers.get("tenant"),
    limits=Limits(concurrency=4),
)

# endregion


MESSAGES = 200


class TooManyRequests(Exception):
    """What the service answers if there are too many calls."""


class Service:
    """Takes a call every 100 ms, and up to ten at once after a pause."""

    def __init__(self) -> None:
        self.clock = asyncio.get_running_loop().time
        self.tokens, self.last = 10.0, self.clock()
        self.done: list[float] = []
        self.refused = 0
        self.all_done = asyncio.Event()

    async def call(self) -> None:
        await asyncio.sleep(0.02)
        now = self.clock()
        self.tokens, self.last = min(10.0, self.tokens + 10.0 * (now - self.last)), now
        if self.tokens < 1.0:
            self.refused += 1
            raise TooManyRequests
        self.tokens -= 1.0
        self.done.append(now)
        if len(self.done) == MESSAGES:
            self.all_done.set()


@in_virtual_time
async def test_a_limit_that_nobody_has_named_is_found() -> None:
    """It is asked a few times too often at first, and then as often as it takes."""
    broker = MemoryBroker(topics={"orders": 1})
    for number in range(MESSAGES):
        broker.produce("orders", str(number).encode())
    service = Service()
    limited = Dependency("payments", throttled=TooManyRequests)

    async def charge(_: Delivery) -> None:
        await service.call()

    async with Guard(signals=False, clock=LoopClock()) as guard:
        task = asyncio.create_task(
            guard.run(MemoryIntake(broker, topics=["orders"]), charge, needs=[limited], order="none", concurrency=16)
        )
        await service.all_done.wait()
        task.cancel()
        await asyncio.wait({task})
    assert service.refused < 30


def test_the_settings_of_the_page(tmp_path: Path) -> None:
    """A file says the same."""
    path = tmp_path / "holdgate.toml"
    path.write_text('[dependencies.ledger.limits]\nrate = 100\nper = "1m"\n\n[dependencies.warehouse.limits]\nconcurrency = 8\n')
    settings = load(path)
    assert settings.dependency("ledger").limits == ledger.limits
    assert settings.dependency("warehouse").limits == warehouse.limits
    assert mail.limits is not None
