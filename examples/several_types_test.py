"""Two kinds of messages in one topic: while payments is down, mails go on."""

from holdgate import Delivery, Dependency, needs_by_header
from holdgate.events import MessagesHeld
from holdgate.testing import MemoryDeadLetters, Outage, Record, ScriptedDependency, rehearse

payments = Dependency("payments", failures=ConnectionError)
email = Dependency("email", failures=ConnectionError)
bank = ScriptedDependency(payments)

KINDS = [Record(b"charge", headers={"type": b"charge"}), Record(b"mail", headers={"type": b"mail"})]


async def handle(delivery: Delivery) -> None:
    if delivery.headers["type"] == b"charge":
        await bank.call()  # a fake of the payment service


# region by_header
needs = needs_by_header("type", {"charge": [payments], "mail": [email], "note": []})


def test_mails_go_on_while_payments_is_down() -> None:
    report = rehearse(handle, needs=needs, order="none", deliveries=KINDS * 100, outage=Outage(10, 70, payments))

    assert report.problems == ()
    assert report.held == 0  # the topic is never held, only the charges in it
    assert [event.dependencies for event in report.events if isinstance(event, MessagesHeld)] == [("payments",)]


# endregion


# region function
def needs_of(delivery: Delivery) -> list[Dependency]:
    kind = delivery.headers["type"]
    return [payments] if kind == b"charge" else [email] if kind == b"mail" else []


def test_a_message_that_the_function_cannot_tell_goes_where_rejected_messages_go() -> None:
    dead = MemoryDeadLetters()
    broken = Record(b"no header")
    report = rehearse(
        handle, needs=needs_of, dependencies=[payments, email], order="none", deliveries=[*KINDS, broken, *KINDS], dead_letters=dead
    )

    assert [letter.body for letter in dead.letters] == [b"no header"]
    assert dead.letters[0].exception == "holdgate.errors.NeedsError"
    assert report.left == ()


# endregion


def test_in_the_order_of_the_source_everything_waits_behind_the_first_one() -> None:
    """What the page says of order="source"."""
    report = rehearse(handle, needs=needs, deliveries=KINDS * 100, outage=Outage(10, 70, payments))

    assert report.problems == ()
    assert report.held > 50
