"""One POST by each HTTP client, as its documentation shows it: it raises whatever that client raises. `patience` is its time limit."""

from __future__ import annotations

import asyncio
import http.client
import json
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

from tests.clients.installed import installed

BODY = b'{"amount": 5}'

Call = Callable[[str, float], Awaitable[Any]]


async def with_httpx(url: str, patience: float) -> None:
    import httpx

    async with httpx.AsyncClient(timeout=patience, trust_env=False) as client:
        (await client.post(url, content=BODY)).raise_for_status().json()


async def with_httpx2(url: str, patience: float) -> None:
    import httpx2

    async with httpx2.AsyncClient(timeout=patience, trust_env=False) as client:
        (await client.post(url, content=BODY)).raise_for_status().json()


async def with_aiohttp(url: str, patience: float) -> None:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=patience)
    async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session, session.post(url, data=BODY) as response:
        await response.json()


async def with_aiohttp_reading(url: str, patience: float) -> None:
    """The other of its two timeouts: ServerTimeoutError."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(sock_read=patience)
    async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session, session.post(url, data=BODY) as response:
        await response.json()


def with_requests(url: str, patience: float) -> None:
    import requests

    response = requests.post(url, data=BODY, timeout=patience)
    response.raise_for_status()
    response.json()


def with_requests_retrying(url: str, patience: float) -> None:
    """Its adapter tries again by itself, and wraps the last error."""
    import requests
    from urllib3.util import Retry

    retry = Retry(2, backoff_factor=0, allowed_methods=None, status_forcelist=[429, 500, 502, 503, 504], respect_retry_after_header=False)
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
        response = session.post(url, data=BODY, timeout=patience)
        response.raise_for_status()
        response.json()


def with_niquests(url: str, patience: float) -> None:
    import niquests

    response = niquests.post(url, data=BODY, timeout=patience)
    response.raise_for_status()
    response.json()


async def with_niquests_async(url: str, patience: float) -> None:
    import niquests

    async with niquests.AsyncSession() as session:
        response = await session.post(url, data=BODY, timeout=patience)
        response.raise_for_status()
        response.json()


def with_urllib3(url: str, patience: float) -> None:
    """Raises for no status by itself, unless it is told to retry."""
    import urllib3

    retry = urllib3.Retry(
        0, backoff_factor=0, allowed_methods=None, status_forcelist=[408, 429, 500, 502, 503, 504], respect_retry_after_header=False
    )
    with urllib3.PoolManager(retries=retry, timeout=patience) as pool:
        json.loads(pool.request("POST", url, body=BODY).data)


def with_urllib(url: str, patience: float) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, data=BODY), timeout=patience) as response:
        json.load(response)


def with_http_client(url: str, patience: float) -> None:
    """Raises for no status."""
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=patience)
    connection.request("POST", f"/{path}", body=BODY)
    json.loads(connection.getresponse().read())


def with_pycurl(url: str, patience: float) -> None:
    import pycurl

    said: list[bytes] = []
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.POSTFIELDS, BODY)
    curl.setopt(pycurl.TIMEOUT_MS, int(patience * 1000))
    curl.setopt(pycurl.FAILONERROR, True)
    curl.setopt(pycurl.WRITEFUNCTION, said.append)
    try:
        curl.perform()
    finally:
        curl.close()
    json.loads(b"".join(said))


async def with_openai(url: str, patience: float) -> None:
    import openai

    async with openai.AsyncOpenAI(base_url=url, api_key="none", timeout=patience, max_retries=0) as client:
        await client.chat.completions.create(model="any", messages=[{"role": "user", "content": "?"}])


async def with_anthropic(url: str, patience: float) -> None:
    import anthropic

    async with anthropic.AsyncAnthropic(base_url=url, api_key="none", timeout=patience, max_retries=0) as client:
        await client.messages.create(model="any", max_tokens=9, messages=[{"role": "user", "content": "?"}])


def with_google(url: str, patience: float) -> None:
    """As the REST clients on google-api-core do it."""
    import requests
    from google.api_core.exceptions import from_http_response

    response = requests.post(url, data=BODY, timeout=patience)
    if not response.ok:
        raise from_http_response(response)
    response.json()


def with_google_retrying(url: str, patience: float) -> None:
    """Its own retry gives up with a RetryError."""
    import requests
    from google.api_core.exceptions import InternalServerError, ServiceUnavailable, TooManyRequests
    from google.api_core.retry import Retry, if_exception_type

    again = if_exception_type(InternalServerError, ServiceUnavailable, TooManyRequests, requests.ConnectionError, requests.Timeout)
    Retry(predicate=again, initial=0.01, timeout=0.1)(with_google)(url, patience)


def with_azure(url: str, patience: float) -> None:
    from azure.core import PipelineClient
    from azure.core.pipeline.transport import RequestsTransport
    from azure.core.rest import HttpRequest

    transport = RequestsTransport(connection_timeout=patience, read_timeout=patience)
    with PipelineClient(url, policies=[], transport=transport) as client:
        response = client.send_request(HttpRequest("POST", url, content=BODY))
        response.raise_for_status()
        response.json()


async def with_azure_aiohttp(url: str, patience: float) -> None:
    from azure.core import AsyncPipelineClient
    from azure.core.pipeline.transport import AioHttpTransport
    from azure.core.rest import HttpRequest

    transport = AioHttpTransport(connection_timeout=patience, read_timeout=patience)
    async with AsyncPipelineClient(url, policies=[], transport=transport) as client:
        response = await client.send_request(HttpRequest("POST", url, content=BODY))
        response.raise_for_status()
        response.json()


def _in_thread(call: Callable[[str, float], Any]) -> Call:
    return lambda url, patience: asyncio.to_thread(call, url, patience)


# What it is called in the table, the package it needs (None: Python's own), and the call.
_ALL: tuple[tuple[str, str | None, Call], ...] = (
    ("httpx", "httpx", with_httpx),
    ("httpx2", "httpx2", with_httpx2),
    ("aiohttp", "aiohttp", with_aiohttp),
    ("aiohttp (sock_read)", "aiohttp", with_aiohttp_reading),
    ("requests", "requests", _in_thread(with_requests)),
    ("requests (Retry)", "requests", _in_thread(with_requests_retrying)),
    ("niquests", "niquests", _in_thread(with_niquests)),
    ("niquests (AsyncSession)", "niquests", with_niquests_async),
    ("urllib3", "urllib3", _in_thread(with_urllib3)),
    ("urllib.request", None, _in_thread(with_urllib)),
    ("http.client", None, _in_thread(with_http_client)),
    ("pycurl", "pycurl", _in_thread(with_pycurl)),
    ("openai", "openai", with_openai),
    ("anthropic", "anthropic", with_anthropic),
    ("google-api-core", "google-api-core", _in_thread(with_google)),
    ("google-api-core (Retry)", "google-api-core", _in_thread(with_google_retrying)),
    ("azure-core", "azure-core", _in_thread(with_azure)),
    ("azure-core (aiohttp)", "azure-core", with_azure_aiohttp),
)

# niquests' environment has urllib3-future in the place of urllib3, requests on it included; what needs neither was tried elsewhere.
_ON_FUTURE = {
    "requests": "requests (urllib3-future)",
    "requests (Retry)": "requests (urllib3-future, Retry)",
    "urllib3": "urllib3-future",
    "niquests": "niquests",
    "niquests (AsyncSession)": "niquests (AsyncSession)",
}
if installed("niquests"):
    _ALL = tuple((_ON_FUTURE[name], package, call) for name, package, call in _ALL if name in _ON_FUTURE)
CALLS: dict[str, Call] = {name: call for name, package, call in _ALL if installed(package)}
PACKAGES: dict[str, str | None] = {name: package for name, package, _ in _ALL}
