"""A test of yours: what an outage of an hour does to a handler, in milliseconds and without a broker."""

from holdgate import Delivery, Dependency
from holdgate.testing import Outage, rehearse

# region test
payments = Dependency("payments", failures=ConnectionError)
charged: list[bytes | None] = []


async def charge(delivery: Delivery) -> None:
    charged.append(delivery.body)  # a fake of what your handler calls


def test_an_outage_of_an_hour_costs_nothing() -> None:
    report = rehearse(charge, needs=[payments], deliveries=200, outage=Outage(start=10, end=3610))

    assert report.left == report.rejected == ()
    assert len(charged) == len(set(charged)) == 200
    assert report.called_in_outage < 30


# endregion
