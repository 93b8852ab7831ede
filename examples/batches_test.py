"""A test of yours: a handler that stores many messages at once, through an outage and with messages that it cannot read."""

import json
from collections.abc import Sequence

from holdgate import Delivery, Dependency
from holdgate.testing import MemoryDeadLetters, Outage, ScriptedDependency, rehearse

database = Dependency("database", failures=ConnectionError)
scripted = ScriptedDependency(database)
stored: list[object] = []
inserts: list[int] = []


async def insert(rows: list[object]) -> None:
    """A fake of the database: one statement for all rows, and all or none of them."""
    await scripted.call()
    if "too long" in rows:
        raise ValueError("value too long for column")
    inserts.append(len(rows))
    stored.extend(rows)


# region handler
async def store(deliveries: Sequence[Delivery]) -> None:
    rows: list[object] = []
    for delivery in deliveries:
        try:
            rows.append(json.loads(delivery.body or b""))
        except ValueError:
            delivery.reject("not JSON")  # this one alone; the others go on
    await insert(rows)  # one for all: when it fails, all of them come again


# endregion


# region test
def test_many_at_once() -> None:
    bodies = [b"%d" % number for number in range(1000)]
    bodies[300] = b"{"
    bodies[700] = b'"too long"'
    dead = MemoryDeadLetters()

    outage = Outage(start=2, end=62)
    report = rehearse(store, needs=[database], deliveries=bodies, every=0.01, outage=outage, batch=100, dead_letters=dead)

    assert report.left == ()
    assert stored == [number for number in range(1000) if number not in (300, 700)]  # each once, in their order
    assert sorted(letter.body or b"" for letter in dead.letters) == [b'"too long"', b"{"]
    assert report.problems == ()
    assert report.called_in_outage < 30
    assert max(inserts) == 100


# endregion
