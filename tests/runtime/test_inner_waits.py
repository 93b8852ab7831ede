"""A client that waits by itself: what is said of a call that ended well after far longer than usual."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from holdgate import Delivery, Dependency
from holdgate.core import Circuit, Outcome, Permit
from holdgate.runtime.inner_waits import InnerWaits
from holdgate.testing import MemoryDeadLetters, rehearse

HINT = "If its client waits or tries again by itself"


def used(quick: int, slow: int = 0, took: float = 0.2) -> Circuit:
    """A circuit with so many good calls of this many seconds, and so many of a minute."""
    circuit = Circuit("payments")
    for seconds in [took] * quick + [60.0] * slow:
        permit = circuit.try_acquire(0.0)
        assert isinstance(permit, Permit)
        circuit.record(permit, Outcome.SUCCESS, 0.0, duration=seconds)
    return circuit


def hints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if HINT in record.getMessage()]


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "holdgate")


def test_a_call_that_took_far_longer_than_usual_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """What was seen, and what it may be."""
    InnerWaits(used(20)).look(61.0, 100.0)
    [line] = hints(caplog)
    assert line.startswith("payments: a call ended well after 1 min 1 s, and nine in ten take 0.25 s at most. ")


def test_once_an_hour_is_enough(caplog: pytest.LogCaptureFixture) -> None:
    """A busy hour of a limit has many such calls."""
    waits = InnerWaits(used(20))
    for now in (100.0, 101.0, 3699.0):
        waits.look(61.0, now)
    assert len(hints(caplog)) == 1
    waits.look(61.0, 3700.0)
    assert len(hints(caplog)) == 2


@pytest.mark.parametrize(
    ("circuit", "took"),
    [(used(19), 61.0), (used(100, took=6.0), 61.0), (used(20), 2.4), (used(20, slow=5), 61.0), (used(20, took=90.0), 600.0)],
    ids=["too few to compare", "usually slow", "a little slow", "as one in five does", "usually longer than is told apart"],
)
def test_what_may_be_usual_is_not_told(circuit: Circuit, took: float, caplog: pytest.LogCaptureFixture) -> None:
    """A slow service is no client that waits."""
    InnerWaits(circuit).look(took, 100.0)
    assert hints(caplog) == []


def test_a_call_form_in_a_handler_sees_it(caplog: pytest.LogCaptureFixture) -> None:
    """Twenty quick messages, then one whose client waits out a minute; its failures and other long ends are not told."""
    payments = Dependency("payments", failures=ConnectionError)

    async def charge(delivery: Delivery[Any]) -> None:
        await payments.call(asyncio.sleep, float(delivery.body or b"0"))

    report = rehearse(charge, needs=[payments], deliveries=[b"0.02"] * 25 + [b"4.9", b"61"], dead_letters=MemoryDeadLetters())
    assert len(report.processed) == 27
    [line] = hints(caplog)
    assert "after 1 min 1 s, and nine in ten take 0.025 s at most" in line


def test_a_plain_breaker_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """No handler is busy meanwhile."""
    Dependency("payments").access.took_long(600.0)
    assert hints(caplog) == []
