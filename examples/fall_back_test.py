"""A test of yours: what goes to the side store while the payment service is down."""

from holdgate import Delivery, Dependency, Parking
from holdgate.testing import Outage, ScriptedDependency, rehearse

payments = Dependency("payments", failures=ConnectionError)
bank = ScriptedDependency(payments)
charged: list[bytes | None] = []
stored: list[bytes | None] = []


async def charge(delivery: Delivery) -> None:
    await bank.call()  # a fake of the payment service
    charged.append(delivery.body)


# region fallback
async def store(delivery: Delivery) -> None:
    stored.append(delivery.body)  # in real life: write it where somebody picks it up, and return when it is safe


def test_nothing_waits_while_the_service_is_down() -> None:
    report = rehearse(charge, needs=[payments], fallback=store, deliveries=200, outage=Outage(start=10, end=110))

    assert report.problems == ()
    assert sorted([*charged, *stored]) == sorted(b"%d" % number for number in range(200))
    assert len(stored) > 80


# endregion


# region parking
parking = Parking(store, key=lambda delivery: (delivery.body or b"")[:1])  # left out: the record's key


def test_no_message_overtakes_a_parked_one_of_its_key() -> None:
    charged.clear()
    stored.clear()
    rehearse(
        parking.fence(charge), needs=[payments], fallback=parking, deliveries=[b"a1", b"a2", b"b3"] * 30, outage=Outage(start=0, end=20)
    )

    assert {body[:1] for body in stored if body} & {body[:1] for body in charged if body} == set()


# endregion
