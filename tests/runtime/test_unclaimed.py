"""An outage that nobody described, seen from the runtime: what is logged, by lanes, by the loop form, and in a rehearsal."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from holdgate import Dependency, Guard, Reject, RetryPolicy
from holdgate.events import OutageOver, OutageSuspected
from holdgate.testing import LoopClock, MemoryBroker, MemoryDeadLetters, MemoryIntake, Outage, rehearse, run_virtual

if TYPE_CHECKING:
    from holdgate import Delivery

TOPICS = ("orders", "bills", "mails")


class ClientError(Exception):
    """What a client raises, and no dependency has in its `failures`."""


NAME = f"{__name__}.ClientError"


def by_topic(count: int) -> dict[str, list[bytes]]:
    return {name: [b"%s%d" % (name.encode(), number) for number in range(count)] for name in TOPICS}


async def through(delivery: Delivery[Any]) -> None:
    """Down for two minutes."""
    if 60.0 <= asyncio.get_running_loop().time() < 180.0:
        raise ClientError


def test_a_rehearsal_shows_what_is_missing_in_failures() -> None:
    """Three topics, one message in view in each: none is rejected, none is left, and the event names the type."""
    dead = MemoryDeadLetters()
    payments = Dependency("payments", failures=ConnectionError)
    report = rehearse(through, needs=[payments], deliveries=by_topic(200), dead_letters=dead, outage=Outage(300.0, 301.0))

    assert (dead.letters, report.rejected, report.left) == ([], (), ())
    suspected = [event for event in report.events if isinstance(event, OutageSuspected)]
    assert {event.error for event in suspected} == {NAME}
    assert len([event for event in report.events if isinstance(event, OutageOver)]) == 1
    assert report.held > 100
    assert report.called < 600 + 50


def test_an_outage_in_which_handlers_cancel_themselves_buries_nothing() -> None:
    """A deadline that cancels and raises no TimeoutError: no type for `failures`, and no message's own fault either."""

    async def impatient(delivery: Delivery[Any]) -> None:
        if 60.0 <= asyncio.get_running_loop().time() < 180.0:
            hanging = asyncio.create_task(asyncio.sleep(1000))
            asyncio.get_running_loop().call_later(2.0, hanging.cancel)
            await hanging

    dead = MemoryDeadLetters()
    payments = Dependency("payments", failures=ConnectionError)
    report = rehearse(impatient, needs=[payments], deliveries=by_topic(200), dead_letters=dead)

    assert (dead.letters, report.rejected, report.left) == ([], (), ())
    assert {event.is_bug for event in report.events if isinstance(event, OutageSuspected)} == {True}


@pytest.mark.parametrize("name", ["args", "__class__", "__traceback__", "__getattribute__"])
@pytest.mark.parametrize("failures", [ConnectionError, None])
def test_an_error_that_cannot_be_read_ends_no_run(name: str, failures: type[Exception] | None) -> None:
    """It is one message's failure like any other: its neighbours are processed, and it is rejected."""

    def fail(*_: object) -> NoReturn:
        raise RuntimeError(name)

    broken = type("Broken", (KeyError,), {name: fail if name == "__getattribute__" else property(fail)})

    async def handler(delivery: Delivery[Any]) -> None:
        if delivery.body == b"7":
            raise broken

    dead = MemoryDeadLetters()
    report = rehearse(handler, needs=[Dependency("payments", failures=failures)], deliveries=20, dead_letters=dead)

    assert [(letter.body, letter.attempts) for letter in dead.letters] == [(b"7", 5)]
    assert len(report.processed) == 19


def test_what_a_dependency_excludes_is_rejected_as_ever() -> None:
    """The same two minutes, in which every message is bad by the user's own word."""
    dead = MemoryDeadLetters()
    payments = Dependency("payments", failures=ConnectionError, excluded=ClientError)
    report = rehearse(through, needs=[payments], deliveries=by_topic(120), dead_letters=dead)

    assert len(dead.letters) > 20
    assert [event for event in report.events if isinstance(event, OutageSuspected)] == []


@pytest.mark.parametrize("by_type", [True, False])
def test_words_win(by_type: bool) -> None:
    """`Reject` and `not_retryable` are nobody's outage, and go at the first failure."""

    async def handler(delivery: Delivery[Any]) -> None:
        if (delivery.body or b"").endswith(b"9"):
            raise ClientError if by_type else Reject("nine")

    dead = MemoryDeadLetters()
    retry = RetryPolicy(not_retryable=ClientError if by_type else ())
    report = rehearse(handler, deliveries=by_topic(60), dead_letters=dead, retry=retry)

    assert [letter.attempts for letter in dead.letters] == [1] * 18
    assert report.left == ()


def test_the_log_says_what_to_declare(caplog: pytest.LogCaptureFixture) -> None:
    """A warning that names the exception type and both remedies, a minute apart, and a line at the end."""
    caplog.set_level(logging.INFO, "holdgate")
    rehearse(through, deliveries=by_topic(120))
    lines = [(record.levelname, record.getMessage()) for record in caplog.records if NAME in record.getMessage()]

    assert [level for level, _ in lines] == ["WARNING", "WARNING", "WARNING", "INFO"]
    assert f"Add {NAME} to failures= of the dependency" in lines[0][1]
    assert "a Dependency to needs=" in lines[0][1]


def test_the_loop_form_is_held_as_well() -> None:
    """One lane over three partitions, whose heads all fail."""

    async def main() -> tuple[list[Any], int]:
        broker = MemoryBroker(topics={"orders": 3})
        for number in range(60):
            broker.produce("orders", b"%d" % number, partition=number % 3)
        events: list[Any] = []
        done = 0
        guard = Guard(clock=LoopClock(), signals=False, observers=[events.append])
        async with guard, guard.deliveries(MemoryIntake(broker, topics=["orders"]), dead_letters=MemoryDeadLetters()) as deliveries:
            async for delivery in deliveries:
                async with delivery:
                    if done >= 30 and asyncio.get_running_loop().time() < 120.0:
                        raise ClientError
                    done += 1
                if done == 60:
                    break
        return events, done

    events, done = run_virtual(main())
    assert done == 60
    assert [event.error for event in events if isinstance(event, OutageOver)] == [NAME]
