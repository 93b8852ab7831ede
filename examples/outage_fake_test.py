"""Tests of yours: a fake of your own that has outages, from a plain test and from an async one."""

import asyncio

from holdgate import Delivery, Dependency
from holdgate.testing import Hung, Outage, Record, ScriptedDependency, rehearse, rehearse_async

payments = Dependency("payments", failures=(ConnectionError, TimeoutError))


# region fake
class FakeBank:
    """What the handler gets in place of the bank's client."""

    def __init__(self) -> None:
        self.scripted = ScriptedDependency(payments)
        self.charged: dict[bytes | None, bytes | None] = {}

    async def charge(self, customer: bytes | None, amount: bytes | None) -> None:
        await self.scripted.call(timeout=5)  # returns, or fails as the outage says; 5 seconds are the real client's patience
        await asyncio.sleep(0.2)  # what a charge takes, on virtual time
        self.charged[customer] = amount


bank = FakeBank()


async def charge(delivery: Delivery) -> None:
    await bank.charge(delivery.key, delivery.body)


def test_a_bank_that_hangs_costs_nothing() -> None:
    orders = [Record(b"%d" % number, key=b"customer-%d" % number) for number in range(100)]
    report = rehearse(charge, needs=[payments], deliveries=orders, outage=Outage(10, 70, fault=Hung()))

    assert report.problems == ()
    assert len(bank.charged) == 100


# endregion


# region async
async def test_from_an_async_test() -> None:
    report = await rehearse_async(charge, needs=[payments], outage=Outage(10, 70))

    assert report.problems == ()


# endregion
