"""The far end for httpx."""

from __future__ import annotations

from typing import Any

import pytest

from holdgate import Dependency, http
from holdgate.testing import Answered, Hung, Outage, Refused, rehearse
from tests.testing.scripted.rehearsed import FAULTS, PATIENCE, assert_lost_nothing, first_error, name_of, real, through

httpx = pytest.importorskip("httpx")
from holdgate.testing.scripted.httpx import AsyncScriptedTransport, ScriptedTransport  # noqa: E402

URL = "https://bank.example/charge"
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
plain_client = httpx.Client(transport=ScriptedTransport(payments), timeout=PATIENCE)
async_client = httpx.AsyncClient(transport=AsyncScriptedTransport(payments), timeout=PATIENCE)


def plain(delivery: Any) -> None:
    plain_client.post(URL, content=delivery.body).raise_for_status()


async def on_loop(delivery: Any) -> None:
    (await async_client.post(URL, content=delivery.body)).raise_for_status()


async def careless(delivery: Any) -> None:
    await async_client.post(URL, content=delivery.body)


@pytest.mark.parametrize("situation", FAULTS)
@pytest.mark.parametrize("handler", [plain, on_loop])
def test_it_fails_as_the_real_server(handler: Any, situation: str) -> None:
    """The client raises what it raised on a real socket."""
    error = first_error(lambda around: through(around(handler), payments, FAULTS[situation]))

    assert name_of(error) == real("http", "httpx", situation)


@pytest.mark.parametrize("situation", FAULTS)
@pytest.mark.parametrize("handler", [plain, on_loop])
def test_a_good_handler_loses_nothing(handler: Any, situation: str) -> None:
    """In a thread and on the loop."""
    assert_lost_nothing(through(handler, payments, FAULTS[situation]))


def test_a_thread_and_the_loop_have_the_same_report() -> None:
    """A call that hangs in a thread takes the client's timeout of virtual time, as one on the loop does."""
    assert through(plain, payments, Hung()) == through(on_loop, payments, Hung())


@pytest.mark.parametrize("handler", [plain, on_loop, careless])
@pytest.mark.parametrize("fault", [Hung(), Refused()])
def test_ten_reports_are_equal(handler: Any, fault: Any) -> None:
    """Events with their times included, on a busy machine as well."""
    first = through(handler, payments, fault)

    assert all(through(handler, payments, fault) == first for _ in range(9))


def test_a_handler_that_forgets_the_status_is_seen() -> None:
    """All 60 of the outage are lost in truth, one a second."""
    report = through(careless, payments, Answered(503))

    assert report.problems == (
        "payments: 60 messages were reported as done while every call failed: the handler swallows errors, or does not look at the status",
    )
    assert report.swallowed == tuple(b"%d" % number for number in range(10, 70))


def test_a_server_that_asks_to_wait_is_left_alone() -> None:
    """429 with Retry-After: 30 is two calls in a minute."""
    assert through(on_loop, payments, Answered(429, retry_after=30)).failed_calls == 2


@pytest.mark.parametrize("is_async", [True, False])
def test_a_client_without_a_limit_hangs_until_the_outage_is_over(is_async: bool) -> None:
    """It is said, and the connection is reset in the end."""
    if is_async:
        client = httpx.AsyncClient(transport=AsyncScriptedTransport(payments), timeout=None)
    else:
        client = httpx.Client(transport=ScriptedTransport(payments), timeout=None)

    def handler(delivery: Any) -> Any:
        return client.post(URL)

    error = first_error(lambda around: through(around(handler), payments, Hung()))
    report = through(handler, payments, Hung())

    assert name_of(error) == "httpx.ReadError"
    assert report.problems == ("payments: 1 call hung until the outage was over: the client has no time limit",)


@pytest.mark.parametrize("handler", [plain, on_loop])
def test_an_exception_of_ones_own_is_raised_as_it_is(handler: Any) -> None:
    """What no stand-in knows of."""
    fault = httpx.PoolTimeout("all busy")

    assert first_error(lambda around: through(around(handler), payments, fault)) is fault


async def test_it_answers_what_it_is_given() -> None:
    """Also where no rehearsal is: the dependency is up."""

    async def echo(request: Any) -> Any:
        return httpx.Response(201, content=request.content)

    client = httpx.AsyncClient(transport=AsyncScriptedTransport(payments, echo))
    plain_echo = httpx.Client(transport=ScriptedTransport(payments, lambda request: httpx.Response(202, content=request.content)))

    assert [
        (answer.status_code, answer.content) for answer in (await client.post(URL, content=b"5"), plain_echo.post(URL, content=b"6"))
    ] == [
        (201, b"5"),
        (202, b"6"),
    ]
    assert (plain_client.get(URL).json(), (await async_client.get(URL)).json()) == ({}, {})


def test_each_dependency_has_its_own_outage() -> None:
    """Two clients, one of them down: the other one's calls go through."""
    stock = Dependency("stock", failures=http.failures)
    other = httpx.AsyncClient(transport=AsyncScriptedTransport(stock), timeout=PATIENCE)
    statuses: list[int] = []

    async def both(delivery: Any) -> None:
        statuses.append((await other.get(URL)).status_code)
        await on_loop(delivery)

    report = rehearse(both, needs=[payments, stock], deliveries=30, outage=Outage(5, 15, dependency=payments))

    assert report.problems == ()
    assert set(statuses) == {200}
