"""What the log says of a failed attempt: whose, what, where, on which message, in which attempt."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.runtime.stage import Down, Handler, broker_with, dependency, quiet_guard, running, until

from holdgate import CircuitSettings, CountWindow, Delivery, Dependency, Guard, LogSettings, Reject, RetryPolicy, http
from holdgate.testing import MemoryBroker, MemoryDeadLetters, MemoryIntake, in_virtual_time

HERE = Path(__file__).name
NEVER_OPENS = CircuitSettings(consecutive_failures=None, window=CountWindow(1000), minimum_calls=1000)


class HTTPStatusError(Exception):
    def __init__(self, status: int = 503) -> None:
        super().__init__(f"Server error '{status}' for url 'https://user:secret@payments/?token=secret'")
        self.response = SimpleNamespace(status_code=status, headers={})


def payments(**settings: Any) -> Dependency:
    return Dependency("payments", failures=http.failures, **settings)


@asynccontextmanager
async def worker(
    handler: Callable[[Delivery[Any]], Any], *needs: Dependency, messages: int = 1, log: LogSettings | None = None, **run: Any
) -> AsyncIterator[Guard]:
    intake = MemoryIntake(broker_with(messages), topics=["orders"])
    async with quiet_guard(log=log) as guard, running(guard.run(intake, handler, needs=list(needs), **run)):
        yield guard


def failures_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage() for record in caplog.records if f"at {HERE}" in record.getMessage() or "more failure" in record.getMessage()
    ]


@in_virtual_time
async def test_a_failure_of_a_dependency_says_which(caplog: pytest.LogCaptureFixture) -> None:
    """Type and status, the user's line, the message, the attempt; never the text, which has a URL with a password."""

    async def charge(_delivery: Delivery[Any]) -> None:
        raise HTTPStatusError

    async with worker(charge, payments(settings=NEVER_OPENS)):
        await until(lambda: bool(failures_in(caplog)))
    line = charge.__code__.co_firstlineno + 1
    assert failures_in(caplog)[0] == f"payments: HTTPStatusError 503 at {HERE}:{line}, orders[0]@0, attempt 1 of 5"
    assert "secret" not in caplog.text


@in_virtual_time
async def test_the_text_is_there_for_who_asks_for_it(caplog: pytest.LogCaptureFixture) -> None:
    """And says what it should not."""

    async def charge(_delivery: Delivery[Any]) -> None:
        raise HTTPStatusError

    async with worker(charge, payments(settings=NEVER_OPENS), log=LogSettings(exception_text=True)):
        await until(lambda: bool(failures_in(caplog)))
    assert failures_in(caplog)[0].endswith("attempt 1 of 5 (Server error '503' for url 'https://user:secret@payments/?token=secret')")


@in_virtual_time
async def test_a_failure_of_the_message_is_that_of_its_topic(caplog: pytest.LogCaptureFixture) -> None:
    """All its attempts are charged, and the dead letter covers those that were only counted."""
    caplog.set_level(logging.INFO, "holdgate")

    async def charge(_delivery: Delivery[Any]) -> None:
        raise KeyError("secret")

    letters = MemoryDeadLetters()
    async with worker(charge, payments(), dead_letters=letters):
        await until(lambda: bool(letters.letters))
        await asyncio.sleep(120.0)
    line = charge.__code__.co_firstlineno + 1
    assert failures_in(caplog) == [f"orders: KeyError at {HERE}:{line}, orders[0]@0, attempt 1 of 5"]
    assert "orders[0]@0 is in the dead letters: KeyError, attempt 5 of 5" in caplog.messages
    assert "secret" not in caplog.text


@in_virtual_time
async def test_twenty_handlers_that_hang_are_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    """One for the first, and one with the count of the others."""
    hangs = Dependency("payments", failures=TimeoutError, settings=NEVER_OPENS)
    log = LogSettings(repeat_every=1.0)
    retry = RetryPolicy(initial_backoff=60.0, max_backoff=60.0, jitter=0.0)
    async with worker(Handler(3600.0), hangs, messages=20, log=log, order="none", concurrency=20, timeout=5.0, retry=retry):
        await asyncio.sleep(10.0)
        said = [line for line in caplog.messages if line.startswith("payments: ")]
    assert len(said) == 2
    assert said[0].startswith("payments: TimeoutError at ")
    assert said[1].startswith("payments: 19 more failures in 1.0 s, the last TimeoutError at ")


@in_virtual_time
async def test_an_outage_costs_no_attempt_and_the_line_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """The number of the attempt is above that of the charged ones."""
    caplog.set_level(logging.DEBUG, "holdgate")

    async def charge(delivery: Delivery[Any]) -> None:
        if delivery.attempt <= 2:
            raise HTTPStatusError
        raise KeyError

    async with worker(charge, payments(settings=NEVER_OPENS), dead_letters=MemoryDeadLetters()):
        await until(lambda: "is in the dead letters" in caplog.text)
    attempts = [line.rpartition("@0, ")[2] for line in failures_in(caplog) if "more failure" not in line]
    assert attempts == [
        "attempt 1 of 5",
        "attempt 2, none of 5 charged",
        *[f"attempt {number + 2}, {number} of 5 charged" for number in range(1, 6)],
    ]


@in_virtual_time
async def test_while_it_is_known_to_be_down_a_failure_has_no_line(caplog: pytest.LogCaptureFixture) -> None:
    """The line of the failed probe says what it failed with."""

    async def charge(_delivery: Delivery[Any]) -> None:
        raise HTTPStatusError

    async with worker(charge, payments(settings=CircuitSettings(open_duration=5.0, open_jitter=0.0))):
        await until(lambda: caplog.text.count("is still down (probe: HTTPStatusError 503)") == 3)
    assert len(failures_in(caplog)) == 1


@in_virtual_time
async def test_a_failed_call_that_the_handler_catches_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """The message is done all the same, which may be a mistake."""
    needed = payments(settings=NEVER_OPENS)

    async def post() -> None:
        raise HTTPStatusError

    async def charge(_delivery: Delivery[Any]) -> None:
        try:
            await needed.call(post)
        except HTTPStatusError:
            return

    async with worker(charge, needed):
        await until(lambda: bool(failures_in(caplog)))
    line = post.__code__.co_firstlineno + 1
    assert failures_in(caplog) == [f"payments: HTTPStatusError 503 at {HERE}:{line}, orders[0]@0, caught by the handler"]


@in_virtual_time
async def test_a_refusal_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    """It was not its turn: nothing at INFO and above says more than the outage does."""
    ledger = Dependency("ledger", failures=http.failures)

    async def post() -> None: ...

    async def charge(_delivery: Delivery[Any]) -> None:
        await ledger.call(post)

    caplog.set_level(logging.DEBUG, "holdgate")
    intake = MemoryIntake(broker_with(1), topics=["orders"])
    async with quiet_guard(ledger) as guard, running(guard.run(intake, charge)):
        guard.force_open("ledger", reason="test", for_=None)
        await until(lambda: "was not its turn" in caplog.text)
    assert failures_in(caplog) == []


@in_virtual_time
async def test_a_rejection_without_dead_letters_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A queue may drop it: that is a warning."""

    async def charge(_delivery: Delivery[Any]) -> None:
        raise Reject("duplicate")

    broker = MemoryBroker(queues=["orders"])
    broker.produce("orders", b"0")
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, queues=["orders"]), charge)):
        await until(lambda: "was rejected" in caplog.text)
    (said,) = [record for record in caplog.records if "was rejected" in record.getMessage()]
    assert (said.levelno, said.getMessage()) == (logging.WARNING, "orders@1 was rejected: Reject, attempt 1 of 5")


@in_virtual_time
async def test_a_failed_health_probe_is_told_by_the_outage(caplog: pytest.LogCaptureFixture) -> None:
    """By its type, and without a line of its own."""

    async def ask() -> None:
        raise HTTPStatusError(502)

    async def charge(_delivery: Delivery[Any]) -> None:
        raise HTTPStatusError

    async with worker(charge, payments(probe=ask)):
        await until(lambda: "is still down (probe: HTTPStatusError 502)" in caplog.text)
    assert len(failures_in(caplog)) == 1


@in_virtual_time
async def test_a_health_probe_that_fails_while_all_is_well_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing else would say it."""

    async def ask() -> None:
        raise HTTPStatusError(502)

    needed = payments(probe=ask)
    async with quiet_guard(needed) as guard:
        try:
            await ask()
        except HTTPStatusError as error:
            guard.failures.probe("payments", error)
    line = ask.__code__.co_firstlineno + 1
    assert caplog.messages == [f"payments: its health probe failed with HTTPStatusError 502 at {HERE}:{line}"]


@in_virtual_time
async def test_dead_letters_are_named_until_there_are_many(caplog: pytest.LogCaptureFixture) -> None:
    """Five by name, the others by their number."""
    caplog.set_level(logging.INFO, "holdgate")

    async def charge(_delivery: Delivery[Any]) -> None:
        raise Reject("duplicate")

    letters = MemoryDeadLetters()
    async with worker(charge, payments(), messages=8, dead_letters=letters):
        await until(lambda: len(letters.letters) == 8)
        await asyncio.sleep(61.0)
        said = [line for line in caplog.messages if "dead letters: " in line]
    assert said[:5] == [f"orders[0]@{number} is in the dead letters: Reject, attempt 1 of 5" for number in range(5)]
    assert said[5:] == [
        "orders: 3 more messages rejected in 1 min, the last: orders[0]@7 is in the dead letters: Reject, attempt 1 of 5",
    ]


def failed_with(guard: Guard) -> dict[str, list[tuple[str, int]]]:
    return {name: [(kind.error, kind.count) for kind in kinds] for name, kinds in guard.snapshot().failures.items()}


@in_virtual_time
async def test_the_snapshot_says_what_calls_failed_with() -> None:
    """Of handlers, also where they caught it themselves, by type and status; each once, and no text of an exception."""
    declared = payments(settings=NEVER_OPENS)

    async def refused(status: int) -> None:
        raise HTTPStatusError(status)

    async def charge(delivery: Delivery[Any]) -> None:
        if delivery.attempt == 1:
            await declared.call(refused, 503)
        with pytest.raises(HTTPStatusError):
            await declared.call(refused, 502)

    async with worker(charge, declared, messages=2) as guard:
        await until(lambda: failed_with(guard).get("payments", [])[:1] == [("HTTPStatusError 502", 2)])
        assert failed_with(guard) == {"payments": [("HTTPStatusError 502", 2), ("HTTPStatusError 503", 2)]}
        assert "secret" not in repr(guard.snapshot())


@in_virtual_time
async def test_the_snapshot_says_what_calls_outside_of_handlers_failed_with() -> None:
    """From the loop and from another thread. What is no failure of the dependency is not in it."""
    declared = payments(settings=NEVER_OPENS)

    def call(error: Exception) -> None:
        with declared.calling():
            raise error

    async with quiet_guard(declared) as guard:
        for error in (HTTPStatusError(503), ConnectionRefusedError(111, "no"), KeyError("secret")):
            with pytest.raises(type(error)):
                call(error)
        assert failed_with(guard) == {"payments": [("ConnectionRefusedError ECONNREFUSED", 1), ("HTTPStatusError 503", 1)]}
        with pytest.raises(HTTPStatusError):
            await asyncio.to_thread(call, HTTPStatusError(503))
        await asyncio.sleep(0)
        assert failed_with(guard)["payments"][0] == ("HTTPStatusError 503", 2)


@in_virtual_time
async def test_the_snapshot_says_what_health_probes_failed_with() -> None:
    """A probe is a call of the dependency, too."""

    async def ask() -> None:
        raise HTTPStatusError(429)

    declared = payments(probe=ask)
    async with quiet_guard(declared) as guard:
        guard.circuit("payments").open_for(1.0, guard.now())
        guard.wake()
        await until(lambda: failed_with(guard) == {"payments": [("HTTPStatusError 429", 1)]})


class Refused(Down):
    """What a call outside of handlers meets."""


@in_virtual_time
async def test_the_line_of_an_outage_names_what_opened_the_circuit_and_no_older_call(caplog: pytest.LogCaptureFixture) -> None:
    """A call of this morning that has opened nothing is not what the last of them failed with."""
    payments = dependency()

    async def refuse() -> None:
        raise Refused

    async with quiet_guard(payments) as guard:
        with pytest.raises(Refused):
            await payments.call(refuse)
        await asyncio.sleep(3600.0)
        async with running(guard.run(MemoryIntake(broker_with(9), topics=["orders"]), Handler(down=True), needs=[payments])):
            await until(lambda: "payments is down" in caplog.text)
    (line,) = [line for line in caplog.messages if "payments is down" in line]
    assert ", the last with Down;" in line


class Answer(Exception):
    """Looks every attribute up in what its server has answered, as some clients' errors do."""

    def __getattr__(self, name: str) -> object:
        return self.args[0][name]


@in_virtual_time
async def test_an_error_that_raises_for_unknown_attributes_is_a_failure_like_any(caplog: pytest.LogCaptureFixture) -> None:
    """To write about it asks it for nothing that it may not have: the run goes on, and the message comes again."""
    seen: list[int] = []

    async def charge(delivery: Delivery[Any]) -> None:
        seen.append(delivery.attempt)
        if delivery.attempt == 1:
            raise Answer({})

    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker_with(1), topics=["orders"]), charge)) as run:
        await until(lambda: seen == [1, 2])
        assert not run.done()
    assert "Answer at test_failures.py:" in caplog.text
