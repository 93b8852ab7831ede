"""Clients that try again by themselves: by default a throttled call is several, and with the setting of the how-to it is one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.clients.clients_that_wait import CLIENTS
from tests.clients.places import PATIENCE, answer, serving
from tests.clients.verdicts import raised

from holdgate import Dependency, Outcome
from holdgate.core import Told

# A number that no client waits for by itself while a test looks on.
LONG = {"Retry-After": "30"}
REFUSAL = b'{"error": {"type": "requests", "message": "said so"}, "__type": "ThrottlingException"}'


class Limited:
    """Answers 429 to everything, and counts it."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.asked = 0
        self.often = asyncio.Event()  # it was asked more than once
        self._answer = answer(429, REFUSAL, headers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        if self.asked > 1:
            self.often.set()
        await self._answer(reader, writer)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        async with serving(self._serve) as port:
            yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("client", CLIENTS)
async def test_with_the_setting_a_throttled_call_is_one_and_the_guard_is_told(client: str) -> None:
    """One request, and the exception says 429 and how long to wait, as a Dependency without settings reads it."""
    make, _, ask = CLIENTS[client]
    server = Limited(LONG)
    async with server.listening() as url:
        made = make(url)
        error = await raised(lambda: ask(made))
    api = Dependency("api")
    assert server.asked == 1
    assert api.classify(error) is Outcome.THROTTLED, repr(error)
    assert api.told_of(error) == Told(retry_after=30.0)


@pytest.mark.parametrize("client", CLIENTS)
async def test_by_default_it_tries_again_inside_of_the_call(client: str) -> None:
    """That is what the setting is for. If a client gives it up, the how-to can let it go."""
    _, make, ask = CLIENTS[client]
    server = Limited({"Retry-After": "0"} if client != "openai" else {"retry-after-ms": "10"})
    async with server.listening() as url:
        made = make(url)
        asking = asyncio.ensure_future(raised(lambda: ask(made)))
        await asyncio.wait_for(server.often.wait(), PATIENCE)
        error = await asking
    assert Dependency("api").classify(error) is Outcome.THROTTLED, repr(error)
