"""A test of yours: which messages a handler rejects, on a broker in memory and without waiting."""

from holdgate import Delivery, Reject
from holdgate.testing import MemoryDeadLetters, rehearse


async def charge(delivery: Delivery) -> None:
    if not (delivery.body or b"").isdigit():
        raise Reject("not an amount")


# region test
def test_what_is_no_amount_goes_to_the_dead_letters() -> None:
    dead = MemoryDeadLetters()
    report = rehearse(charge, deliveries=[b"17", b"much", b"4"], dead_letters=dead)

    assert report.processed == (b"17", b"4")
    assert [letter.body for letter in dead.letters] == [b"much"]
    assert dead.letters[0].reason == "not an amount"


# endregion
