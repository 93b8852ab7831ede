"""What the failures of real HTTP clients are taken for, on a socket that refuses, drops, hangs, breaks off, talks nonsense, or answers."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable

import pytest
from tests.clients.http_clients import CALLS, PACKAGES
from tests.clients.places import IN_VAIN, PATIENCE, Serve, answer, drop, hang, refusing, serving, talk_nonsense
from tests.clients.verdicts import is_failure, raised

from holdgate import Dependency, Outcome, http
from holdgate.core import Told

OUTAGES: dict[str, Serve | None] = {
    "refused": None,
    "dropped": drop,
    "hung": hang,
    "broken off": answer(200, b'{"a', length=99),
    "nonsense": talk_nonsense,
}
NOT_NOW = (500, 503, 429, 408)
OWN = (400, 401, 403, 404, 405, 422)
OUTAGES |= {str(status): answer(status) for status in NOT_NOW}
OWN_FAULTS = {str(status): answer(status) for status in OWN} | {"200, no JSON": answer(200, b"<html>")}

# They raise for no status, or only for those that they were told to try again.
NO_STATUS = {
    "http.client": {str(status) for status in NOT_NOW + OWN},
    "urllib3": {str(status) for status in OWN},
    "urllib3-future": {str(status) for status in OWN},
}

# Their exceptions carry no answer, or only a chain to one.
WITHOUT_HEADERS = {"pycurl", "requests (Retry)", "requests (urllib3-future, Retry)", "urllib3", "urllib3-future", "google-api-core (Retry)"}

# aiohttp's parser has a status of its own for an answer that is no HTTP, 400; the cause alone tells (findings/aiohttp_invents_a_status.sh).
FROM_ITS_CAUSE = {("aiohttp", "nonsense"), ("aiohttp (sock_read)", "nonsense")}


def cells(situations: dict[str, Serve | None]) -> list[tuple[str, str]]:
    return [(client, situation) for client in CALLS for situation in situations if situation not in NO_STATUS.get(client, ())]


async def fail(client: str, serve: Serve | None, patience: float) -> Exception:
    async with refusing() if serve is None else serving(serve) as port:
        return await raised(lambda: CALLS[client](f"http://127.0.0.1:{port}/charges", patience))


@pytest.mark.parametrize(("client", "situation"), cells(OUTAGES))
async def test_a_server_that_is_not_there_or_cannot_now_is_a_failure(client: str, situation: str, record: Callable[..., str]) -> None:
    """No answer, 408 and 5xx are the dependency's failures, whatever the client calls them; a 429 is throttled."""
    error = await fail(client, OUTAGES[situation], IN_VAIN if situation == "hung" else PATIENCE)
    assert record("http", client, PACKAGES[client], situation, error) == ("throttled" if situation == "429" else "failure"), repr(error)
    # By the client's own class, too: what it was raised from would hide that its name is not known.
    assert http.failures(error) is ((client, situation) not in FROM_ITS_CAUSE), repr(error)


@pytest.mark.parametrize(("client", "situation"), cells(dict(OWN_FAULTS)))
async def test_a_request_that_the_server_refuses_is_the_messages_own(client: str, situation: str, record: Callable[..., str]) -> None:
    """Any other 4xx, and an answer that the handler cannot read, are the message's own."""
    error = await fail(client, OWN_FAULTS[situation], PATIENCE)
    assert record("http", client, PACKAGES[client], situation, error) == "own", repr(error)


@pytest.mark.parametrize("client", sorted(CALLS.keys() - WITHOUT_HEADERS - {"http.client"}))
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "12"}, 12.0),
    ],
    ids=["seconds", "date", "milliseconds", "reset"],
)
async def test_the_servers_wait_is_read(client: str, headers: dict[str, str], seconds: float) -> None:
    """Whatever the client keeps the answer's headers in."""
    error = await fail(client, answer(429, headers=headers), PATIENCE)
    assert http.retry_after(error) == seconds
    said = Dependency("downstream", failures=http.failures).told_of(error)
    assert said is not None
    assert said.retry_after == seconds


@pytest.mark.parametrize("client", sorted(CALLS.keys() - WITHOUT_HEADERS - {"http.client"}))
async def test_a_503_that_asks_to_wait_is_throttled_by_choice(client: str) -> None:
    """By itself it is an outage with a known end."""
    error = await fail(client, answer(503, headers={"Retry-After": "7"}), PATIENCE)
    assert Dependency("downstream", failures=http.failures).classify(error) is Outcome.FAILURE
    chosen = Dependency("downstream", failures=http.failures, throttled=http.asks_to_wait)
    assert chosen.classify(error) is Outcome.THROTTLED
    assert chosen.classify(await fail(client, answer(503), PATIENCE)) is Outcome.FAILURE


RESPONSES = sorted({"httpx", "httpx2", "aiohttp", "requests", "niquests"} & CALLS.keys())


@pytest.mark.parametrize("client", RESPONSES)
async def test_a_response_says_it_as_well_as_an_exception(client: str) -> None:
    """For handlers that look at the status: `result_throttled=http.throttled`, and `told=http.told` for good answers, too."""
    headers = {"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "12"}
    async with serving(answer(429, headers=headers)) as refusing_port, serving(answer(200, headers=headers)) as port:
        refused = await respond(client, f"http://127.0.0.1:{refusing_port}/")
        good = await respond(client, f"http://127.0.0.1:{port}/")
    api = Dependency("api", result_throttled=http.throttled, told=http.told)
    assert (api.classify_result(refused), api.classify_result(good)) == (Outcome.THROTTLED, Outcome.SUCCESS)
    assert api.told_of(good) == Told(remaining=3, reset=12.0)
    assert api.told_of(refused) == Told(12.0, 3, 12.0)


async def respond(client: str, url: str) -> object:
    """The response of a GET, whatever its status."""
    if client == "aiohttp":
        import aiohttp

        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response
    return await asyncio.to_thread(importlib.import_module(client).get, url)


async def test_a_redirect_that_leads_nowhere_is_the_messages_own() -> None:
    """Urllib's HTTPError is a URLError, and its 302 no refusal."""
    if "urllib.request" not in CALLS:
        pytest.skip("tried in the other environment")
    error = await fail("urllib.request", answer(302, headers={"Location": "/charges"}), PATIENCE)
    assert not is_failure(http, error), repr(error)


@pytest.mark.parametrize(
    "client", sorted({"httpx", "httpx2", "requests", "aiohttp", "urllib.request", "pycurl", "niquests"} & CALLS.keys())
)
async def test_a_url_that_cannot_be_is_the_messages_own(client: str) -> None:
    """What is wrong with the request itself says nothing of the server."""
    error = await raised(lambda: CALLS[client]("nowhere://127.0.0.1/", PATIENCE))
    assert not is_failure(http, error), repr(error)


STREAMED = {
    "openai": ('data: {"error": {"type": "%s", "message": "said so"}}', "server_error"),
    "anthropic": ('event: error\ndata: {"type": "error", "error": {"type": "%s", "message": "said so"}}', "overloaded_error"),
}


async def stream(client: str, url: str) -> None:
    if client == "openai":
        import openai

        async with openai.AsyncOpenAI(base_url=url, api_key="none", timeout=PATIENCE, max_retries=0) as connection:
            question = [{"role": "user", "content": "?"}]
            async for _ in await connection.chat.completions.create(model="any", messages=question, stream=True):
                pass
        return
    import anthropic

    async with anthropic.AsyncAnthropic(base_url=url, api_key="none", timeout=PATIENCE, max_retries=0) as other:
        question = [{"role": "user", "content": "?"}]
        async for _ in await other.messages.create(model="any", max_tokens=9, messages=question, stream=True):
            pass


@pytest.mark.parametrize("client", sorted(STREAMED.keys() & CALLS.keys()))
@pytest.mark.parametrize("is_own", [False, True], ids=["trouble", "own"])
async def test_a_server_may_say_in_the_middle_of_a_stream_that_it_cannot_go_on(
    client: str, is_own: bool, record: Callable[..., str]
) -> None:
    """The status was 200 by then."""
    events, trouble = STREAMED[client]
    body = f"{events % ('invalid_request_error' if is_own else trouble)}\n\n".encode()
    async with serving(answer(200, body, {"Content-Type": "text/event-stream"})) as port:
        error = await raised(lambda: stream(client, f"http://127.0.0.1:{port}"))
    assert is_failure(http, error) is not is_own, repr(error)
    if not is_own:
        record("http", client, PACKAGES[client], "200, trouble in the stream", error)
