"""Calls that are throttled, in each form and in each shape in which a handler lets them out: the message waits, and nobody is blamed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from tests.runtime.stage import GROUP, ORDERS, broker_with, quiet_guard, running

from holdgate import Delivery, Dependency, RetryPolicy, State, http
from holdgate.core import CircuitOpened
from holdgate.testing import MemoryDeadLetters, MemoryIntake, in_virtual_time

MESSAGES = 12
ONCE = RetryPolicy(attempts=1)


class HTTPStatusError(Exception):
    """What a client raises for a status."""

    def __init__(self, response: Any) -> None:
        super().__init__(response.status_code)
        self.response = response


class Limited:
    """Lets one call a second through, two at once, on the loop's clock."""

    def __init__(self) -> None:
        self.free_at = 0.0
        self.refused = 0

    def answer(self, now: float) -> Any:
        headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}
        if now < self.free_at - 1.0:
            self.refused += 1
            return SimpleNamespace(status_code=429, headers=headers)
        self.free_at = max(now, self.free_at) + 1.0
        return SimpleNamespace(status_code=200, headers={})

    async def post(self) -> Any:
        await asyncio.sleep(0.01)
        return self.answer(asyncio.get_running_loop().time())

    async def charge(self) -> Any:
        response = await self.post()
        if response.status_code != 200:
            raise HTTPStatusError(response)
        return response


class Wrapped(Exception):
    """What a client of somebody's own makes of it."""


async def plain(payments: Dependency, server: Limited) -> None:
    await server.charge()


async def by_a_call(payments: Dependency, server: Limited) -> None:
    await payments.call(server.charge)


async def by_a_block(payments: Dependency, server: Limited) -> None:
    async with payments.calling():
        await server.charge()


async def by_a_result(payments: Dependency, server: Limited) -> None:
    """As with `raise_for_status` after the call."""
    response = await payments.call(server.post)
    if response.status_code != 200:
        raise HTTPStatusError(response)


async def in_a_cause(payments: Dependency, server: Limited) -> None:
    try:
        await server.charge()
    except HTTPStatusError as error:
        raise Wrapped from error


async def in_a_context(payments: Dependency, server: Limited) -> None:
    try:
        await payments.call(server.charge)
    except HTTPStatusError:
        raise Wrapped  # noqa: B904 - as many write it


async def in_a_group(payments: Dependency, server: Limited) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(server.charge())


FORMS: list[Callable[[Dependency, Limited], Awaitable[None]]] = [
    plain,
    by_a_call,
    by_a_block,
    by_a_result,
    in_a_cause,
    in_a_context,
    in_a_group,
]


# Where nothing calls the dependency by a call form, nobody could know it without `needs`.
CASES = [(form, True) for form in FORMS] + [(form, False) for form in (by_a_call, by_a_block, by_a_result, in_a_context)]


@pytest.mark.parametrize(("form", "declared"), CASES)
@in_virtual_time
async def test_each_message_is_processed_once_and_in_order(form: Any, declared: bool, caplog: pytest.LogCaptureFixture) -> None:
    """With one attempt for each: no dead letter, no circuit that opens; and a line that says what is going on, which is no warning."""
    caplog.set_level(logging.INFO, "holdgate")
    broker, seen, dead, server = broker_with(MESSAGES), list[Any](), MemoryDeadLetters(), Limited()
    payments = Dependency("payments", failures=(HTTPStatusError, OSError), result_throttled=http.throttled, told=http.told)
    order: list[tuple[int, int]] = []

    async def handler(delivery: Delivery[Any]) -> None:
        await form(payments, server)
        order.append((delivery.position, delivery.attempt))

    async with quiet_guard(observers=[seen.append]) as guard:
        intake = MemoryIntake(broker, topics=["orders"])
        run = guard.run(intake, handler, needs=[payments] if declared else [], retry=ONCE, dead_letters=dead)
        async with running(run):
            while broker.committed(GROUP).get(ORDERS[0], 0) < MESSAGES:
                await asyncio.sleep(0.1)
        assert payments.circuit.state is State.CLOSED
    assert order == [(position, 1) for position in range(MESSAGES)]
    assert dead.letters == []
    assert not [event for event in seen if isinstance(event, CircuitOpened)]
    assert server.refused > 0
    lines = [record for record in caplog.records if "payments: throttled (" in record.getMessage()]
    assert {record.levelno for record in lines} == {logging.INFO}
    assert "test_throttled.py:" in lines[0].getMessage()


@in_virtual_time
async def test_a_handler_that_deals_with_it_has_processed_its_message(caplog: pytest.LogCaptureFixture) -> None:
    """It was throttled, and answers by other means: that is no failure of the message, and no line says so."""
    caplog.set_level(logging.INFO, "holdgate")
    broker, payments = broker_with(1), Dependency("payments")

    async def refuse() -> None:
        raise HTTPStatusError(SimpleNamespace(status_code=429, headers={}))

    async def handler(_: Delivery[Any]) -> None:
        try:
            await payments.call(refuse)
        except HTTPStatusError:
            return

    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[payments])):
        while broker.committed(GROUP).get(ORDERS[0], 0) < 1:
            await asyncio.sleep(0.1)
    [line] = [record.getMessage() for record in caplog.records if "429" in record.getMessage()]
    assert line.startswith("payments: throttled (HTTPStatusError 429) at test_throttled.py:")
    assert line.endswith(", orders[0]@0, caught by the handler")


@pytest.mark.parametrize("form", ["call", "block", "guarded", "result"])
async def test_a_plain_breaker_counts_what_is_throttled_and_stays_closed(form: str) -> None:
    """Outside of any guard."""
    payments = Dependency("payments", result_throttled=http.throttled, told=http.told)
    server = Limited()
    server.free_at = 1e12
    if form == "call":
        with pytest.raises(HTTPStatusError):
            await payments.call(server.charge)
    elif form == "block":
        with pytest.raises(HTTPStatusError):
            async with payments.calling():
                await server.charge()
    elif form == "guarded":
        assert (await payments.guarded(server.post)()).status_code == 429
    else:
        assert (await payments.call(server.post)).status_code == 429
    totals = payments.circuit.read_totals()
    assert (totals.throttled, totals.failed.count, totals.succeeded.count, payments.circuit.state) == (1, 0, 0, State.CLOSED)
