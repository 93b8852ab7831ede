"""Clients that try again by themselves, each as it is by default and with the setting that makes it tell the guard instead: the code of
docs/how-to/clients-that-wait.md. test_waiting_clients.py runs it against a server that answers 429."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Ask = Callable[[Any], Awaitable[Any]]


def openai_client(url: str) -> Any:
    # region openai
    import openai

    client = openai.AsyncOpenAI(max_retries=0, base_url=url, api_key="none")
    # endregion
    return client  # noqa: RET504 - the how-to shows the line before


def openai_by_default(url: str) -> Any:
    import openai

    return openai.AsyncOpenAI(base_url=url, api_key="none")


async def ask_openai(client: Any) -> None:
    await client.chat.completions.create(model="any", messages=[{"role": "user", "content": "?"}])


def anthropic_client(url: str) -> Any:
    # region anthropic
    import anthropic

    client = anthropic.AsyncAnthropic(max_retries=0, base_url=url, api_key="none")
    # endregion
    return client  # noqa: RET504 - the how-to shows the line before


def anthropic_by_default(url: str) -> Any:
    import anthropic

    return anthropic.AsyncAnthropic(base_url=url, api_key="none")


async def ask_anthropic(client: Any) -> None:
    await client.messages.create(model="any", max_tokens=9, messages=[{"role": "user", "content": "?"}])


_AWS = {"region_name": "eu-central-1", "aws_access_key_id": "none", "aws_secret_access_key": "none"}


def botocore_client(url: str) -> Any:
    # region botocore
    from botocore.config import Config
    from botocore.session import Session

    once = Config(retries={"total_max_attempts": 1})  # for boto3.client(..., config=once), too
    client = Session().create_client("dynamodb", endpoint_url=url, config=once, **_AWS)
    # endregion
    return client  # noqa: RET504 - the how-to shows the line before


def botocore_by_default(url: str) -> Any:
    """In the mode that AWS advises; in the old one, which is the default, the same takes half a minute."""
    from botocore.config import Config
    from botocore.session import Session

    return Session().create_client("dynamodb", endpoint_url=url, config=Config(retries={"mode": "standard"}), **_AWS)


async def ask_botocore(client: Any) -> None:
    await asyncio.to_thread(client.list_tables)


def google_method(url: str, retry: Any = ...) -> Any:
    """A method as the clients on google-api-core have them, with the retry that they bring along."""
    import requests
    from google.api_core.exceptions import TooManyRequests, from_http_response
    from google.api_core.gapic_v1.method import wrap_method
    from google.api_core.retry import Retry, if_exception_type

    def call(**_: Any) -> None:
        response = requests.post(url, timeout=20)
        if not response.ok:
            raise from_http_response(response)

    method = wrap_method(call, default_retry=Retry(predicate=if_exception_type(TooManyRequests), initial=0.01, timeout=0.5))
    return method if retry is ... else lambda: method(retry=retry)


def google_client(url: str) -> Any:
    return google_method(url, None)


async def ask_google(method: Any) -> None:
    await asyncio.to_thread(method)


def tenacity_client(url: str) -> Any:
    import httpx

    # region tenacity
    from tenacity import retry, retry_if_exception, stop_after_attempt, wait_exponential

    from holdgate import http

    tries_again = retry(
        retry=retry_if_exception(lambda error: http.failures(error) and not http.throttled(error)),
        stop=stop_after_attempt(3),
        wait=wait_exponential(max=2),
        reraise=True,
    )
    # endregion

    @tries_again
    async def charge() -> None:
        async with httpx.AsyncClient() as client:
            (await client.post(url)).raise_for_status()

    return charge


def tenacity_by_default(url: str) -> Any:
    import httpx
    from tenacity import retry, stop_after_attempt, wait_fixed

    @retry(stop=stop_after_attempt(3), wait=wait_fixed(0.01))
    async def charge() -> None:
        async with httpx.AsyncClient() as client:
            (await client.post(url)).raise_for_status()

    return charge


async def ask(method: Any) -> None:
    await method()


def requests_client(url: str) -> Any:
    # region requests
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    session = requests.Session()
    # It still tries again where no connection comes about, and never for a status.
    session.mount("http://", HTTPAdapter(max_retries=Retry(3, status=0, respect_retry_after_header=False)))
    # endregion
    return lambda: session.post(url, timeout=20).raise_for_status()


def requests_by_default(url: str) -> Any:
    """As most people write it: with this, urllib3 sleeps for as long as Retry-After says."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=Retry(3, allowed_methods=None)))
    return lambda: session.post(url, timeout=20).raise_for_status()


def azure_client(url: str) -> Any:
    # region azure
    from azure.core import PipelineClient
    from azure.core.pipeline.policies import RetryPolicy

    client = PipelineClient(url, policies=[RetryPolicy(retry_total=0)])  # the SDKs' clients take retry_total=0 themselves
    # endregion
    return _azure_call(client, url)


def azure_by_default(url: str) -> Any:
    from azure.core import PipelineClient
    from azure.core.pipeline.policies import RetryPolicy

    return _azure_call(PipelineClient(url, policies=[RetryPolicy()]), url)


def _azure_call(client: Any, url: str) -> Callable[[], Any]:
    from azure.core.rest import HttpRequest

    return lambda: client.send_request(HttpRequest("PUT", url)).raise_for_status()


def elasticsearch_client(url: str) -> Any:
    # region elasticsearch
    import elasticsearch

    client = elasticsearch.Elasticsearch(url, retry_on_status=(502, 503, 504))  # without 429
    # endregion
    return client.info


def elasticsearch_by_default(url: str) -> Any:
    import elasticsearch

    return elasticsearch.Elasticsearch(url).info


# By name: with the setting, by default, and how it is asked.
CLIENTS: dict[str, tuple[Callable[[str], Any], Callable[[str], Any], Ask]] = {
    "openai": (openai_client, openai_by_default, ask_openai),
    "anthropic": (anthropic_client, anthropic_by_default, ask_anthropic),
    "botocore": (botocore_client, botocore_by_default, ask_botocore),
    "google-api-core": (google_client, google_method, ask_google),
    "tenacity": (tenacity_client, tenacity_by_default, ask),
    "requests": (requests_client, requests_by_default, ask_google),
    "azure-core": (azure_client, azure_by_default, ask_google),
    "elasticsearch": (elasticsearch_client, elasticsearch_by_default, ask_google),
}
