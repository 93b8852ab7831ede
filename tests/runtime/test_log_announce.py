from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import Any

import pytest

from holdgate import Partition, State
from holdgate.core.states import Reason
from holdgate.errors import SettingsError
from holdgate.events import CircuitOpened, HandlerStuck, MessageSkipped, SourceBlocked, SourceHeld, SourceRetried, UndeclaredNeed
from holdgate.runtime import log
from holdgate.runtime.folding import FAILURE, Folding
from holdgate.runtime.log import Announcer
from holdgate.runtime.outages import Outages
from holdgate.testing import in_virtual_time


class NoFacts:
    """Nothing waits, and nothing was counted."""

    def waiting_for(self, dependency: str) -> tuple[int, bool]:
        return 0, True

    def ask(self, then: Callable[[], object]) -> None:
        then()

    def ask_before(self, at: float) -> None:
        pass

    def failed_with(self, dependency: str, at: float) -> str | None:
        return None

    def failures_of(self, dependency: str) -> int:
        return 0


def announcer(observers: Any) -> Announcer:
    return Announcer(observers, Outages(NoFacts()), Folding(60.0, lambda: 0.0))


ORDER = Partition("orders", 0)
QUIET = SourceRetried(1.0, ORDER, 2, "mended")
LOUD = SourceBlocked(1.0, ORDER, 7, 5, "ValueError")


def test_every_observer_gets_every_event_in_order() -> None:
    """One after the other, the events themselves."""
    first: list[object] = []
    second: list[object] = []
    announcer([first.append, second.append]).announce([QUIET, LOUD])
    assert first == second == [QUIET, LOUD]


def test_what_a_person_should_hear_of_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The rest is information."""
    caplog.set_level(logging.INFO, logger="holdgate")
    announcer([]).announce([QUIET, LOUD])
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]


@pytest.mark.parametrize("error", [ValueError("secret payload"), asyncio.CancelledError()])
def test_an_observer_that_raises_is_named_and_called_again(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """Its text is not repeated, the others are told, and it gets the next event."""
    calls: list[object] = []
    told: list[object] = []

    def broken(event: object) -> None:
        calls.append(event)
        raise error

    announcer([broken, told.append]).announce([LOUD, UndeclaredNeed(2.0, ORDER, "mail")])
    assert len(calls) == len(told) == 2
    assert f"broken raised {type(error).__name__} on SourceBlocked" in caplog.text
    assert "secret payload" not in caplog.text


def test_what_an_observer_carries_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A partial's repr shows its arguments, and they may be a webhook's address."""

    def post(url: str, event: object) -> None:
        raise ConnectionError(url)

    announcer([functools.partial(post, "http://hooks/secret")]).announce([QUIET])
    assert "observer partial raised ConnectionError" in caplog.text
    assert "secret" not in caplog.text


def test_keyboard_interrupt_goes_through() -> None:
    """An observer cannot keep a person from stopping the process."""

    def interrupted(_event: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        announcer([interrupted]).announce([QUIET])


async def _async_observer(event: object) -> None: ...


@pytest.mark.parametrize(
    ("observer", "text"), [(_async_observer, "is async, and the guard does not await it"), (7, "observer 7 must be a function")]
)
def test_what_cannot_observe_is_refused(observer: Any, text: str) -> None:
    """At construction, with the remedy."""
    with pytest.raises(SettingsError, match=text):
        announcer([observer])


@pytest.mark.parametrize("observers", [print, None, 3])
def test_a_lone_observer_is_no_list(observers: Any) -> None:
    """The most likely slip, and what to write instead."""
    with pytest.raises(SettingsError, match=r"observers=.* must be a list: write observers=\[...\]"):
        announcer(observers)


@in_virtual_time
async def test_twenty_handlers_that_hang_are_one_line_and_a_count(caplog: pytest.LogCaptureFixture) -> None:
    """Each of them is an event, and the log says how many there are."""
    folding = Folding(60.0, asyncio.get_running_loop().time)
    announce = Announcer([], Outages(NoFacts()), folding).announce
    announce([HandlerStuck(600.0, ORDER, number, 600.0) for number in range(20)])
    announce([MessageSkipped(600.0, ORDER, number, "KeyError", by_operator=False) for number in range(3)])
    announce([MessageSkipped(600.0, ORDER, number, "duplicate", by_operator=True) for number in (7, 8)])
    folding.flush()
    assert caplog.messages == [
        "the handler of orders[0]@0 has run for 10 min and has not ended",
        "orders[0]@0 was skipped by the retry policy: KeyError",
        "orders[0]@7 was skipped by an operator: duplicate",
        "orders[0]@8 was skipped by an operator: duplicate",
        (
            "orders: 19 more handlers have not ended within 0.0 s, the last: the handler of orders[0]@19 has run for 10 min and has not"
            " ended"
        ),
        "orders: 2 more messages were skipped within 0.0 s, the last: orders[0]@2 was skipped by the retry policy: KeyError",
    ]


@in_virtual_time
async def test_what_was_counted_before_an_outage_is_in_its_line(caplog: pytest.LogCaptureFixture) -> None:
    """The failures that opened the circuit are not told a second time."""
    folding = Folding(60.0, asyncio.get_running_loop().time)
    for number in range(5):
        folding.write((FAILURE, "payments", "TimeoutError"), f"failure {number}", "{} more".format)
    announcer_of_both = Announcer([], Outages(NoFacts()), folding)
    announcer_of_both.announce([CircuitOpened("payments", 1.0, 1, Reason.OPEN_FOR, 6.0, 1, State.CLOSED)])
    folding.flush()
    assert caplog.messages == ["failure 0", "payments is down (open_for): the program asked to leave it alone; next try in 5.0 s"]


def test_what_is_told_aside_is_made_for_a_reader_alone(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage may hold ten thousand sources: nobody words a line for each that no log keeps."""
    held = [SourceHeld(1.0, Partition("orders", number), ("circuit:payments",)) for number in range(3)]
    worded: list[object] = []
    before = log.words
    monkeypatch.setattr(log, "words", lambda event: worded.append(event) or before(event))
    caplog.set_level(logging.INFO, logger="holdgate")
    announcer([]).announce(held)
    assert ([record.getMessage() for record in caplog.records], worded) == (["holding orders[0,1,2]: circuit:payments"], [])

    caplog.set_level(logging.DEBUG, logger="holdgate")
    announcer([]).announce(held)
    assert ([record.levelname for record in caplog.records[1:]], worded) == (["DEBUG"] * 3 + ["INFO"], held)
