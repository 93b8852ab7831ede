"""Outages, and the stand-in that a fake of one's own asks."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from holdgate import Dependency, http
from holdgate.errors import SettingsError
from holdgate.testing import (
    Answered,
    Dropped,
    ErrorAnswer,
    Hung,
    Outage,
    Refused,
    ScriptedDependency,
    rehearse,
)

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
bank = ScriptedDependency(payments)


@pytest.mark.parametrize(("start", "end"), [(-1.0, 5.0), (5.0, 5.0), (6.0, 5.0)])
def test_an_outage_takes_time(start: float, end: float) -> None:
    """From 0 or later, to a later second."""
    with pytest.raises(SettingsError, match="must have 0 <= start < end"):
        Outage(start, end)


def test_an_outage_from_the_first_second_is_one() -> None:
    """Down already when the worker starts, and refusing."""
    assert (Outage(0.0, 1.0).start, Outage(0.0, 1.0).fault) == (0.0, Refused())


@pytest.mark.parametrize("fault", [Refused, ConnectionError, "refused", 503, KeyboardInterrupt()])
def test_a_fault_is_an_object(fault: Any) -> None:
    """A class is forgotten parentheses."""
    with pytest.raises(
        SettingsError, match=r"fault=...\) must be Refused\(\), Hung\(\), Dropped\(\), Answered\(503\) or an exception, got"
    ):
        Outage(0, 1, fault=fault)


@pytest.mark.parametrize(("status", "retry_after"), [(399, None), (200, None), (503, -1.0)])
def test_an_answer_of_an_outage_is_an_error(status: int, retry_after: float | None) -> None:
    """A status from 400, and a wait from 0."""
    with pytest.raises(SettingsError, match="Answered must have status >= 400 and retry_after >= 0, got"):
        Answered(status, retry_after)


def test_an_answer_that_asks_for_no_wait_is_one() -> None:
    """0 seconds, and the lowest error."""
    assert Answered(400, 0).headers == {"Retry-After": "0"}


def test_a_stand_in_takes_the_dependency_itself() -> None:
    """Its name is not enough."""
    with pytest.raises(SettingsError, match="takes a Dependency, got 'payments'"):
        ScriptedDependency("payments")  # type: ignore[arg-type]


async def test_outside_of_a_rehearsal_it_is_up() -> None:
    """And takes no time."""
    await bank.call()
    bank.call_sync()

    assert (bank.is_down(), bank.meet()) == (False, None)


ERRORS: dict[type[Exception], Any] = {
    ConnectionRefusedError: Refused(),
    ConnectionResetError: Dropped(),
    TimeoutError: Hung(),
    ErrorAnswer: Answered(503),
    ZeroDivisionError: ZeroDivisionError(),
}


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize("kind", ERRORS)
def test_each_fault_raises(kind: type[Exception], is_plain: bool) -> None:
    """On the loop and in a thread; a call that hangs ends after its timeout and not before."""
    found: list[tuple[type[BaseException], float]] = []

    async def on_loop(delivery: Any) -> None:
        start = clock()
        try:
            await bank.call(timeout=5)
        except Exception as error:
            found.append((type(error), clock() - start))
            raise

    def plain(delivery: Any) -> None:
        start = clock()
        try:
            bank.call_sync(timeout=5)
        except Exception as error:
            found.append((type(error), clock() - start))
            raise

    loops: list[asyncio.AbstractEventLoop] = []

    def clock() -> float:
        return loops[0].time()

    async def note_loop(delivery: Any) -> None:
        loops.append(asyncio.get_running_loop())

    handlers = {"first": note_loop, "rehearsal": plain if is_plain else on_loop}
    deliveries = {"first": [b"0"], "rehearsal": [b"0", b"1"]}
    rehearse(
        handlers,
        needs={name: [payments] for name in handlers},
        deliveries=deliveries,
        outage=Outage(1, 30, fault=ERRORS[kind]),
        patience=60,
    )

    assert found[0] == (kind, 5.0 if kind is TimeoutError else 0.0)


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize("timeout", [None, 30.0])
def test_a_call_that_outlasts_the_outage_is_reset(timeout: float | None, is_plain: bool) -> None:
    """When it is over; only a call without a limit is a problem."""
    found: list[type[BaseException]] = []

    def handler(delivery: Any) -> Any:
        if not is_plain:
            return on_loop()
        try:
            bank.call_sync(timeout)
        except OSError as error:
            found.append(type(error))
            raise
        return None

    async def on_loop() -> None:
        try:
            await bank.call(timeout)
        except OSError as error:
            found.append(type(error))
            raise

    report = rehearse(handler, needs=[payments], deliveries=30, outage=Outage(10, 30, fault=Hung()))

    assert found == [ConnectionResetError]
    assert len(report.problems) == (timeout is None)
    assert report.processed == tuple(b"%d" % number for number in range(30))


def test_an_outages_own_exception_does_not_grow() -> None:
    """It is raised again and again, without its old traceback."""
    fault = ConnectionError("again")
    depths: list[int] = []

    async def handler(delivery: Any) -> None:
        try:
            await bank.call()
        except ConnectionError as error:
            depth, trace = 0, error.__traceback__
            while trace is not None:
                depth, trace = depth + 1, trace.tb_next
            depths.append(depth)
            raise

    rehearse(handler, needs=[payments], outage=Outage(10, 70, fault=fault))

    assert len(depths) > 5
    assert set(depths) == {2}  # here, and in `call`


def test_a_fake_may_fail_in_its_own_way() -> None:
    """`is_down` counts no call, and `meet` does."""

    async def handler(delivery: Any) -> None:
        if bank.is_down():
            met = bank.meet()
            assert met is not None
            assert met.fault == Refused()
            raise ConnectionAbortedError

    report = rehearse(handler, needs=[payments], outage=Outage(10, 70))

    assert report.problems == ()
    assert report.failed_calls == report.called_in_outage > 0


def test_a_thread_of_ones_own_meets_the_outage_too() -> None:
    """Though nobody knows for which message: what is lost by it is not seen."""
    met: list[bool] = []

    def handler(delivery: Any) -> None:
        thread = threading.Thread(target=lambda: met.append(bank.meet() is not None))
        thread.start()
        thread.join()

    report = rehearse(handler, needs=[payments], deliveries=20, outage=Outage(5, 10))

    assert (sum(met), report.swallowed) == (5, ())
