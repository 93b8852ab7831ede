"""A test of yours: many at once, and the order of each key kept."""

import asyncio

from holdgate import Delivery, Dependency
from holdgate.testing import rehearse

payments = Dependency("payments", failures=ConnectionError)
seen: list[bytes] = []


# region test
async def charge(delivery: Delivery) -> None:
    body = delivery.body or b""
    await asyncio.sleep(9 if body.startswith(b"slow") else 1)
    seen.append(body)


def test_a_slow_customer_holds_up_only_himself() -> None:
    bodies = [b"slow 1", b"anna 1", b"slow 2", b"ben 1", b"anna 2", b"ben 2"]
    report = rehearse(
        charge,
        needs=[payments],
        deliveries=bodies,
        every=0.01,
        order="key",
        key=lambda delivery: (delivery.body or b"").split()[0],  # left out: the record's key
        concurrency=8,
    )

    assert report.took < 20  # one after the other it would be 22
    for customer in (b"slow", b"anna", b"ben"):
        assert [body for body in seen if body.startswith(customer)] == [customer + b" 1", customer + b" 2"]
    assert seen[-1] == b"slow 2"


# endregion
