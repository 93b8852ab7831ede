"""rehearse: what an outage does to a handler, told in a report."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from holdgate import Delivery, Dependency, Reject, RetryPolicy
from holdgate.core import CircuitOpened
from holdgate.errors import SettingsError
from holdgate.testing import Outage, rehearse

COUNT = 100
START, END = 10.0, 70.0
BODIES = tuple(b"%d" % number for number in range(COUNT))


@pytest.fixture
def payments() -> Dependency:
    return Dependency("payments", failures=ConnectionError)


@pytest.fixture
def mailer() -> Dependency:
    return Dependency("mailer", failures=ConnectionError)


async def fine(delivery: Delivery[Any]) -> None:
    """A handler with nothing wrong about it."""


def test_without_an_outage_everything_is_processed_once(payments: Dependency) -> None:
    """In order, one call each, nothing held, and over with the last delivery."""
    report = rehearse(fine, needs=[payments])

    assert (report.processed, report.rejected, report.left) == (BODIES, (), ())
    assert (report.called, report.called_in_outage, report.held, report.took) == (COUNT, 0, 0.0, COUNT - 1.0)


@pytest.mark.parametrize("outage", [(), Outage(START, END)])
def test_a_good_rehearsal_logs_no_error(payments: Dependency, caplog: pytest.LogCaptureFixture, outage: Any) -> None:
    """An outage is announced, and whoever looks for what went wrong finds nothing."""
    rehearse(fine, needs=[payments], outage=outage)

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_an_outage_costs_a_few_calls_and_no_message(payments: Dependency) -> None:
    """The source is held through it, and everything is processed in order afterwards."""
    report = rehearse(fine, needs=[payments], outage=Outage(START, END))

    assert (report.processed, report.left) == (BODIES, ())
    assert 0 < report.called_in_outage < 15
    assert report.called == COUNT + report.called_in_outage
    assert END - START - 10 < report.held < 2 * (END - START)
    assert any(isinstance(event, CircuitOpened) for event in report.events)


def test_a_plain_handler_gets_the_same_report(payments: Dependency) -> None:
    """It runs in a thread, through the same outage."""

    def plain(delivery: Delivery[Any]) -> None:
        pass

    assert _numbers(rehearse(plain, needs=[payments], outage=Outage(START, END))) == _numbers(
        rehearse(fine, needs=[payments], outage=Outage(START, END))
    )


@pytest.mark.parametrize("milliseconds", [1, 20, 50])
def test_a_plain_handler_may_be_slow(payments: Dependency, milliseconds: int) -> None:
    """What it takes is real time and no virtual time: the report is the one of a handler that takes none, also where a retry is due in
    less than it takes."""
    settings: dict[str, Any] = {"deliveries": 12, "outage": Outage(3, 6), "retry": RetryPolicy(initial_backoff=0.01)}

    def slow(delivery: Delivery[Any]) -> None:
        time.sleep(milliseconds / 1000)

    assert _numbers(rehearse(slow, needs=[payments], **settings)) == _numbers(rehearse(fine, needs=[payments], **settings))


def test_a_plain_function_in_front_of_an_async_one(payments: Dependency) -> None:
    """A lambda, say: what it gives back is awaited, and only then is the message processed."""
    done: list[bytes | None] = []

    async def charge(delivery: Delivery[Any]) -> None:
        await asyncio.sleep(0.1)
        done.append(delivery.body)

    report = rehearse(lambda delivery: charge(delivery), needs=[payments], deliveries=3)  # noqa: PLW0108 - the lambda is the point

    assert report.processed == tuple(done) == BODIES[:3]


def test_an_object_with_an_async_call_is_an_async_handler(payments: Dependency) -> None:
    """Not one for a thread."""

    class Charge:
        loops: set[asyncio.AbstractEventLoop]

        async def __call__(self, delivery: Delivery[Any]) -> None:
            self.loops = {asyncio.get_running_loop()}

    assert rehearse(Charge(), needs=[payments], deliveries=2).processed == (b"0", b"1")


def test_the_outage_begins_at_its_start_and_is_over_at_its_end(payments: Dependency) -> None:
    """The delivery of the starting second fails, and a call of the ending second does not."""
    calls: list[float] = []

    async def note(delivery: Delivery[Any]) -> None:
        calls.append(asyncio.get_running_loop().time())

    report = rehearse(note, needs=[payments], deliveries=4, outage=Outage(2.0, 2.5), retry=RetryPolicy(initial_backoff=0.5, jitter=0))

    assert (calls, report.called_in_outage) == ([0.0, 1.0, 2.5, 3.0], 1)


def test_several_outages_come_one_after_the_other(payments: Dependency) -> None:
    """Each is held through."""
    outages = [Outage(10, 20), Outage(60, 70)]
    one = rehearse(fine, needs=[payments], outage=outages[:1])
    both = rehearse(fine, needs=[payments], outage=outages)

    assert both.processed == BODIES
    assert both.called_in_outage > one.called_in_outage > 0


def test_only_what_needs_the_dependency_is_held(payments: Dependency, mailer: Dependency) -> None:
    """Two topics, one dependency each: the other one goes on as if nothing were."""
    seconds: dict[str, list[float]] = {"orders": [], "mails": []}

    async def note(delivery: Delivery[Any]) -> None:
        seconds[delivery.source.name].append(asyncio.get_running_loop().time())

    report = rehearse(
        {"orders": note, "mails": note},
        needs={"orders": [payments], "mails": [mailer]},
        deliveries={"orders": BODIES, "mails": BODIES[:50]},
        outage=Outage(START, END, dependency=payments),
    )

    assert seconds["mails"] == [float(second) for second in range(50)]
    assert max(b - a for a, b in zip(seconds["orders"], seconds["orders"][1:], strict=False)) >= END - START
    assert len(report.processed) == COUNT + 50


def test_with_two_needs_the_outage_is_one_dependencys(payments: Dependency, mailer: Dependency) -> None:
    """Its circuit opens, and the other one's does not."""
    report = rehearse(fine, needs=[payments, mailer], outage=Outage(START, END, dependency=mailer))

    assert {event.name for event in report.events if isinstance(event, CircuitOpened)} == {"mailer"}


def test_a_rejected_message_is_left_and_blocks_the_rest(payments: Dependency) -> None:
    """Kafka without dead letters: the partition waits, and the rehearsal ends when its patience does."""

    async def choosy(delivery: Delivery[Any]) -> None:
        if delivery.body == b"3":
            raise Reject

    report = rehearse(choosy, needs=[payments], deliveries=6, patience=100)

    assert (report.processed, report.rejected, report.left) == (BODIES[:3], (), BODIES[3:6])
    assert (report.took, report.held) == (105.0, 102.0)


def test_patience_counts_from_the_end_of_the_outage(payments: Dependency) -> None:
    """An outage that is longer than the deliveries is seen to its end, and what it held is processed."""
    report = rehearse(fine, needs=[payments], deliveries=20, outage=Outage(START, 5000), patience=3600)

    assert (report.processed, report.left) == (BODIES[:20], ())


def test_deliveries_come_at_their_pace(payments: Dependency) -> None:
    """One every so many seconds, with the bodies that were given."""
    seconds: list[float] = []

    async def note(delivery: Delivery[Any]) -> None:
        seconds.append(asyncio.get_running_loop().time())

    report = rehearse(note, needs=[payments], deliveries=[b"a", b"b", b"c"], every=20.0)

    assert (seconds, report.processed) == ([0.0, 20.0, 40.0], (b"a", b"b", b"c"))


def test_settings_go_to_the_run(payments: Dependency) -> None:
    """What `guard.run` refuses is refused."""
    with pytest.raises(SettingsError, match="concurrency must be a whole number from 1, got 0"):
        rehearse(fine, needs=[payments], concurrency=0)


def test_the_dependencies_are_free_afterwards(payments: Dependency) -> None:
    """The next rehearsal begins with closed circuits."""
    first = rehearse(fine, needs=[payments], outage=Outage(START, END))
    second = rehearse(fine, needs=[payments], outage=Outage(START, END))

    assert _numbers(first) == _numbers(second)


@pytest.mark.parametrize(("start", "end"), [(-1.0, 5.0), (5.0, 5.0), (6.0, 5.0)])
def test_an_outage_takes_time(start: float, end: float) -> None:
    """From 0 or later, to a later second."""
    with pytest.raises(SettingsError, match="must have 0 <= start < end"):
        Outage(start, end)


def test_an_outage_from_the_first_second_is_one() -> None:
    """Down already when the worker starts."""
    assert Outage(0.0, 1.0).start == 0.0


def test_with_several_dependencies_the_outage_says_whose_it_is(payments: Dependency, mailer: Dependency) -> None:
    """Guessing would rehearse something else; with none there is nobody to be down."""
    with pytest.raises(SettingsError, match=r"needs=\['mailer', 'payments'\]"):
        rehearse(fine, needs=[payments, mailer], outage=Outage(START, END))
    with pytest.raises(SettingsError, match="must name one of needs"):
        rehearse(fine, outage=Outage(START, END))


def test_a_dependency_that_several_topics_need_is_the_only_one(payments: Dependency) -> None:
    """Named twice, it is still one."""
    needs = {"orders": [payments], "mails": [payments]}
    report = rehearse(fine, needs=needs, deliveries=dict.fromkeys(needs, BODIES[:20]), outage=Outage(5, 15))

    assert report.called_in_outage > 0


def test_an_outage_of_somebody_else_is_refused(payments: Dependency, mailer: Dependency) -> None:
    """Nobody would notice it, and the test would pass for nothing."""
    with pytest.raises(SettingsError, match=r"must be one of needs=.*, got 'mailer'"):
        rehearse(fine, needs=[payments], outage=Outage(START, END, dependency=mailer))


def test_an_error_that_counts_against_the_messages_is_refused(payments: Dependency) -> None:
    """The mistake that a rehearsal is for: `failures` do not know what an outage looks like."""
    with pytest.raises(SettingsError, match="must be one of the failures of 'payments', got TimeoutError"):
        rehearse(fine, needs=[payments], outage=Outage(START, END, error=TimeoutError()))


@pytest.mark.parametrize("nothing", [0, [], {}, {"orders": []}])
def test_nothing_to_deliver_is_refused(nothing: Any, payments: Dependency) -> None:
    """A rehearsal of nothing proves nothing."""
    with pytest.raises(SettingsError, match="deliveries must not be empty"):
        rehearse(fine, needs=[payments], deliveries=nothing)


def _numbers(report: Any) -> tuple[Any, ...]:
    return report.processed, report.rejected, report.left, report.called, report.called_in_outage, report.held, report.took
