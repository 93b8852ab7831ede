from __future__ import annotations

import asyncio

import pytest

from holdgate import http
from holdgate.testing import in_virtual_time
from holdgate_lab.worlds.answers import OK, CountingClient, HttpAnswer, Reply, StatusError


class Answers:
    """Answers the calls with these, one after the other, half a second later; None: never."""

    def __init__(self, *answers: HttpAnswer | None) -> None:
        self._answers = iter(answers)

    def arrive(self, reply: Reply) -> None:
        answer = next(self._answers)
        if answer is not None:
            asyncio.get_running_loop().call_later(0.5, reply, answer)


@in_virtual_time
async def test_what_a_refused_call_raises_is_read_as_that_of_a_real_client() -> None:
    """By its status and its headers."""
    client = CountingClient(Answers(HttpAnswer(429, {"Retry-After": "7"})), 5.0)
    with pytest.raises(StatusError) as raised:
        await client.post()
    assert http.throttled(raised.value)
    assert http.retry_after(raised.value) == 7


@in_virtual_time
async def test_calls_are_counted_by_their_seconds_and_kinds() -> None:
    """Good ones by when they end, all by when they begin."""
    client = CountingClient(Answers(OK, HttpAnswer(503), None, HttpAnswer(0)), 5.0)
    await client.post()
    for error in (StatusError, TimeoutError, ConnectionRefusedError):
        with pytest.raises(error):
            await client.post()
    assert dict(client.calls) == {0: 2, 1: 1, 6: 1}
    assert dict(client.good) == {0: 1}
    assert dict(client.wasted) == {"503": 1, "no answer": 1, "refused connection": 1}


@in_virtual_time
async def test_a_call_is_in_flight_until_it_ends_however_it_ends() -> None:
    """A cancelled one as well, whose answer comes to nobody."""
    client = CountingClient(Answers(OK), 5.0)
    task = asyncio.create_task(client.post())
    await asyncio.sleep(0.1)
    assert client.in_flight == 1
    task.cancel()
    await asyncio.wait({task})
    await asyncio.sleep(1)
    assert client.in_flight == 0
    assert client.good.total() == 0
