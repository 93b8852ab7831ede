"""rehearse: what an outage does to a handler, told in a report."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

import pytest

from holdgate import Delivery, Dependency, Guard, Reject, RetryPolicy
from holdgate.core import CircuitOpened
from holdgate.errors import SettingsError
from holdgate.testing import (
    MemoryBroker,
    MemoryDeadLetters,
    MemoryIntake,
    Outage,
    Record,
    ScriptedDependency,
    in_virtual_time,
    rehearse,
    rehearse_async,
    run_virtual,
)

COUNT = 100
START, END = 10.0, 70.0
BODIES = tuple(b"%d" % number for number in range(COUNT))


PAYMENTS = Dependency("payments", failures=ConnectionError)
MAILER = Dependency("mailer", failures=ConnectionError)
bank, relay = ScriptedDependency(PAYMENTS), ScriptedDependency(MAILER)


@pytest.fixture
def payments() -> Dependency:
    return PAYMENTS


@pytest.fixture
def mailer() -> Dependency:
    return MAILER


async def fine(delivery: Delivery[Any]) -> None:
    """A handler with nothing wrong about it."""
    await bank.call()


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
    assert 0 < report.called_in_outage < 20  # five that open the circuit, and probes: ten in the first 35 s, then a few
    assert report.called == COUNT + report.called_in_outage
    assert END - START - 10 < report.held < 2 * (END - START)
    assert any(isinstance(event, CircuitOpened) for event in report.events)


def test_a_plain_handler_gets_the_same_report(payments: Dependency) -> None:
    """It runs in a thread, through the same outage."""

    def plain(delivery: Delivery[Any]) -> None:
        bank.call_sync()

    assert rehearse(plain, needs=[payments], outage=Outage(START, END)) == rehearse(fine, needs=[payments], outage=Outage(START, END))


@pytest.mark.parametrize("milliseconds", [1, 20, 50])
def test_a_plain_handler_may_be_slow(payments: Dependency, milliseconds: int) -> None:
    """What it takes is real time and no virtual time: the report is the one of a handler that takes none, also where a retry is due in
    less than it takes."""
    settings: dict[str, Any] = {"deliveries": 12, "outage": Outage(3, 6), "retry": RetryPolicy(initial_backoff=0.01)}

    def slow(delivery: Delivery[Any]) -> None:
        time.sleep(milliseconds / 1000)
        bank.call_sync()

    assert rehearse(slow, needs=[payments], **settings) == rehearse(fine, needs=[payments], **settings)


def test_a_plain_function_in_front_of_an_async_one(payments: Dependency) -> None:
    """A lambda, say: what it gives back is awaited, and only then is the message processed."""
    done: list[bytes | None] = []

    async def charge(delivery: Delivery[Any]) -> None:
        await asyncio.sleep(0.1)
        await bank.call()
        done.append(delivery.body)

    report = rehearse(lambda delivery: charge(delivery), needs=[payments], deliveries=3, outage=Outage(1, 2))  # noqa: PLW0108 - the point

    assert report.processed == tuple(done) == BODIES[:3]
    assert report.called_in_outage == report.failed_calls > 0


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
        await bank.call()
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
        await (bank if delivery.source.name == "orders" else relay).call()
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

    async def both(delivery: Delivery[Any]) -> None:
        await payments.call(bank.call)
        await mailer.call(relay.call)

    report = rehearse(both, needs=[payments, mailer], outage=Outage(START, END, dependency=mailer))

    assert {event.name for event in report.events if isinstance(event, CircuitOpened)} == {"mailer"}
    assert report.problems == ()


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

    assert first == second


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


@pytest.mark.parametrize("nothing", [0, [], {}, {"orders": []}])
def test_nothing_to_deliver_is_refused(nothing: Any, payments: Dependency) -> None:
    """A rehearsal of nothing proves nothing."""
    with pytest.raises(SettingsError, match="deliveries must not be empty"):
        rehearse(fine, needs=[payments], deliveries=nothing)


@pytest.mark.parametrize("handler", [{"rehearsal": fine}, fine])
@pytest.mark.parametrize("outage", [(1, 2), Outage, 5, "long", [Outage(1, 2), (3, 4)]])
def test_what_is_no_outage_is_refused(outage: Any, handler: Any, payments: Dependency) -> None:
    """Two numbers, say."""
    with pytest.raises(SettingsError, match=r"outage must be an Outage or a list of them, got .*write Outage\(start=10, end=70\)"):
        rehearse(handler, needs=[payments], outage=outage)


def test_an_outage_of_what_is_no_dependency_is_refused(payments: Dependency) -> None:
    """Its name is not enough."""
    with pytest.raises(SettingsError, match="must be a Dependency, got 'payments'"):
        rehearse(fine, needs=[payments], outage=Outage(1, 2, dependency="payments"))  # type: ignore[arg-type]


async def nothing_async() -> None:
    """Takes no delivery."""


def nothing() -> None:
    """Takes no delivery."""


async def yielding(delivery: Delivery[Any]) -> Any:
    """Runs nothing when it is called."""
    yield


@pytest.mark.parametrize("by_topic", [True, False])
@pytest.mark.parametrize("handler", [nothing, nothing_async, yielding, 5])
def test_a_handler_is_refused_as_by_the_run(handler: Any, by_topic: bool, payments: Dependency) -> None:
    """With the same words: without an argument, with a `yield`, and what cannot be called."""

    async def run() -> None:
        async with Guard(signals=False) as guard:
            intake = MemoryIntake(MemoryBroker(topics={"rehearsal": 1}), topics=["rehearsal"])
            await guard.run(intake, {"rehearsal": handler} if by_topic else handler)

    with pytest.raises(SettingsError) as by_the_run:
        run_virtual(run())
    with pytest.raises(SettingsError) as by_the_rehearsal:
        rehearse({"rehearsal": handler} if by_topic else handler, needs=[payments])

    assert str(by_the_rehearsal.value) == str(by_the_run.value)


@pytest.mark.parametrize("needs", [PAYMENTS, ["payments"], "payments"])
def test_needs_are_refused_as_by_the_run(needs: Any) -> None:
    """A forgotten list, a name."""
    with pytest.raises(SettingsError, match="takes a list"):
        rehearse(fine, needs=needs)


@pytest.mark.parametrize("deliveries", ["text", ["text"], [5], {"rehearsal": [None]}, None])
def test_what_is_no_message_is_refused(deliveries: Any, payments: Dependency) -> None:
    """Text has to be encoded by those who know how."""
    with pytest.raises(SettingsError, match="deliveries must"):
        rehearse(fine, needs=[payments], deliveries=deliveries)


def test_keys_and_headers_are_delivered(payments: Dependency) -> None:
    """A record has them; bodies alone have none."""
    seen: list[Any] = []

    async def note(delivery: Delivery[Any]) -> None:
        seen.append((delivery.body, delivery.key, dict(delivery.headers)))

    report = rehearse(note, needs=[payments], deliveries=[Record(b"5", b"anna", {"type": "charge"}), Record(None, b"ben"), b"6"])

    assert seen == [(b"5", b"anna", {"type": "charge"}), (None, b"ben", {}), (b"6", None, {})]
    assert report.processed == (b"5", None, b"6")


def test_a_batch_is_one_attempt_of_several_messages(payments: Dependency) -> None:
    """Those that the handler itself rejects are no part of what is done."""
    dead = MemoryDeadLetters()

    async def store(deliveries: Any) -> None:
        await bank.call()
        for delivery in deliveries:
            if delivery.body == b"3":
                delivery.reject("three")

    report = rehearse(store, needs=[payments], every=0.1, outage=Outage(1, 31), batch=10, dead_letters=dead)

    assert report.rejected == (b"3",)
    assert sorted(report.processed) == sorted(set(BODIES) - {b"3"})
    assert report.problems == ()


@pytest.mark.parametrize("is_plain", [True, False])
def test_what_the_fallback_takes_is_neither_processed_nor_rejected(is_plain: bool, payments: Dependency) -> None:
    """And it is no problem."""
    stored: list[bytes | None] = []

    async def store(delivery: Delivery[Any]) -> None:
        stored.append(delivery.body)

    def store_plainly(delivery: Delivery[Any]) -> None:
        stored.append(delivery.body)

    report = rehearse(fine, needs=[payments], outage=Outage(START, END), fallback=store_plainly if is_plain else store)

    assert report.fallen_back == tuple(stored)
    assert len(stored) > 40
    assert sorted([*report.processed, *report.fallen_back]) == sorted(BODIES)
    assert (report.rejected, report.problems) == ((), ())


# -- from an async test ---------------------------------------------------------------------------------------------------------------


async def test_an_async_test_awaits_it(payments: Dependency) -> None:
    """On a real loop it runs in a thread of its own: the report is the same, and the loop goes on meanwhile."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    report = await rehearse_async(fine, needs=[payments], outage=Outage(START, END))
    ticking.cancel()

    assert ticks > 1
    assert report == await asyncio.to_thread(rehearse, fine, needs=[payments], outage=Outage(START, END))


@in_virtual_time
async def test_on_virtual_time_it_runs_in_the_tests_own_loop() -> None:
    """Its seconds count from the first delivery, however late that is."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(1000)

    async def handler(delivery: Delivery[Any]) -> None:
        assert asyncio.get_running_loop() is loop
        await bank.call()

    report = await rehearse_async(handler, needs=[PAYMENTS], outage=Outage(START, END))
    begun_late = (report.problems, report.called_in_outage, report.held, report.back_after)
    at_zero = await asyncio.to_thread(rehearse, fine, needs=[PAYMENTS], outage=Outage(START, END))

    assert begun_late == (at_zero.problems, at_zero.called_in_outage, pytest.approx(at_zero.held), pytest.approx(at_zero.back_after))


async def test_in_a_loop_the_plain_one_names_the_other(payments: Dependency) -> None:
    """It would block the loop, and asyncio refuses it with words of its own."""
    with pytest.raises(SettingsError, match=r"write `await rehearse_async\(...\)`"):
        rehearse(fine, needs=[payments])


async def test_a_cancelled_rehearsal_ends(payments: Dependency) -> None:
    """Its thread as well, and its dependencies are free."""
    is_on, goes_on = threading.Event(), threading.Event()

    async def endless(delivery: Delivery[Any]) -> None:
        is_on.set()
        await asyncio.to_thread(goes_on.wait)

    running = asyncio.create_task(rehearse_async(endless, needs=[payments], patience=1e9))
    await asyncio.to_thread(is_on.wait)
    running.cancel()
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert (await rehearse_async(fine, needs=[payments], deliveries=3)).problems == ()


async def test_two_rehearsals_of_one_dependency_are_refused(payments: Dependency) -> None:
    """A stand-in could not know whose outage it is in."""
    is_on, goes_on = threading.Event(), threading.Event()

    def waiting(delivery: Delivery[Any]) -> None:
        is_on.set()
        goes_on.wait()

    running = asyncio.create_task(rehearse_async(waiting, needs=[payments], deliveries=1, outage=Outage(5, 6)))
    await asyncio.to_thread(is_on.wait)
    with pytest.raises(SettingsError, match="another rehearsal of payments is running"):
        await rehearse_async(fine, needs=[payments], outage=Outage(5, 6))
    goes_on.set()
    await running
