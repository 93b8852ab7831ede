"""The far end for aiohttp."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdgate import Dependency, http
from holdgate.testing import Answered, Hung, in_virtual_time
from tests.testing.scripted.rehearsed import (
    FAULTS,
    PATIENCE,
    assert_lost_nothing,
    first_error,
    name_of,
    real,
    through_async,
)

aiohttp = pytest.importorskip("aiohttp")
from holdgate.testing.scripted.aiohttp import ScriptedConnector  # noqa: E402

URL = "https://bank.example/charge"
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
TOTAL = aiohttp.ClientTimeout(total=PATIENCE)
SOCK_READ = aiohttp.ClientTimeout(total=None, sock_read=PATIENCE)
NO_LIMIT = aiohttp.ClientTimeout(total=None)


@asynccontextmanager
async def charging(timeout: Any = TOTAL, *, is_careful: bool = True) -> AsyncIterator[Any]:
    async with aiohttp.ClientSession(connector=ScriptedConnector(payments), timeout=timeout) as session:

        async def charge(delivery: Any) -> None:
            async with session.post(URL, data=delivery.body) as response:
                if is_careful:
                    response.raise_for_status()
                    assert await response.json() == {}

        yield charge


def around_each(around: Any, timeout: Any) -> Any:
    @asynccontextmanager
    async def made() -> AsyncIterator[Any]:
        async with charging(timeout) as charge:
            yield around(charge)

    return made


@pytest.mark.parametrize("situation", FAULTS)
@pytest.mark.parametrize(("timeout", "client"), [(TOTAL, "aiohttp"), (SOCK_READ, "aiohttp (sock_read)")])
def test_it_fails_as_the_real_server(timeout: Any, client: str, situation: str) -> None:
    """The client raises what it raised on a real socket."""
    error = first_error(lambda around: through_async(around_each(around, timeout), payments, FAULTS[situation]))

    assert name_of(error) == real("http", client, situation)


@pytest.mark.parametrize("situation", FAULTS)
def test_a_good_handler_loses_nothing(situation: str) -> None:
    """Whose session is the test's own."""
    assert_lost_nothing(through_async(charging, payments, FAULTS[situation]))


def test_ten_reports_are_equal() -> None:
    """The wire is in memory, so that nothing of the machine has a part in it."""
    first = through_async(charging, payments, Hung())

    assert all(through_async(charging, payments, Hung()) == first for _ in range(9))


def test_a_handler_that_forgets_the_status_is_seen() -> None:
    """All 60 of the outage."""
    assert len(through_async(lambda: charging(is_careful=False), payments, Answered(503)).swallowed) == 60


def test_a_client_without_a_limit_hangs_until_the_outage_is_over() -> None:
    """It is said, and the connection ends then."""
    report = through_async(lambda: charging(NO_LIMIT), payments, Hung())

    assert report.problems == ("payments: 1 call hung until the outage was over: the client has no time limit",)


def test_an_exception_of_ones_own_is_raised_as_it_is() -> None:
    """What no stand-in knows of."""
    fault = aiohttp.ClientOSError(113, "no route")

    assert first_error(lambda around: through_async(around_each(around, TOTAL), payments, fault)) is fault


@in_virtual_time
async def test_it_answers_what_it_is_given() -> None:
    """Over one kept connection, and more than fits into a buffer."""
    seen: list[bytes] = []

    async def echo(request: Any) -> Any:
        seen.append(await request.read())
        return aiohttp.web.Response(status=201, body=seen[-1] * 1000)

    async with aiohttp.ClientSession(connector=ScriptedConnector(payments, echo)) as session:
        for body in (b"5", b"x" * 10_000):
            async with session.post(URL, data=body) as response:
                assert (response.status, await response.read()) == (201, body * 1000)

    assert seen == [b"5", b"x" * 10_000]
