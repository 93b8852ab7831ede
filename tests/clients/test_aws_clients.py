"""What the failures of real AWS clients are taken for, on sockets and on answers as the services give them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.clients.places import IN_VAIN, PATIENCE, Serve, answer, drop, hang, refusing, serving, talk_nonsense
from tests.clients.verdicts import is_failure, raised

from holdgate import Dependency, Outcome
from holdgate.core import Told
from holdgate.presets import aws as preset


def refusal(status: int, code: str, headers: dict[str, str] = {}) -> Serve:  # noqa: B006 - read only
    """As DynamoDB answers: JSON with the code behind a namespace."""
    return answer(status, f'{{"__type": "com.amazonaws#{code}", "message": "said so"}}'.encode(), headers)


SOCKETS: dict[str, Serve | None] = {"refused": None, "dropped": drop, "hung": hang, "nonsense": talk_nonsense}
TROUBLES: dict[str, Serve] = {
    "500": refusal(500, "InternalServerError"),
    "503": refusal(503, "ServiceUnavailable"),
    "503, no code": answer(503, b"<html>"),
    "429": refusal(429, "Whatever"),
    "ThrottlingException": refusal(400, "ThrottlingException"),
    "ProvisionedThroughputExceeded": refusal(400, "ProvisionedThroughputExceededException"),
    "RequestLimitExceeded": refusal(400, "RequestLimitExceeded"),
    "SlowDown": refusal(400, "SlowDown"),
    "ExpiredToken": refusal(400, "ExpiredTokenException"),
}
OWN_FAULTS: dict[str, Serve] = {
    "ConditionalCheckFailed": refusal(400, "ConditionalCheckFailedException"),
    "ResourceNotFound": refusal(400, "ResourceNotFoundException"),
    "ValidationException": refusal(400, "ValidationException"),
    "AccessDenied": refusal(400, "AccessDeniedException"),
    "403": answer(403, b"<html>"),
}

_KEYS = {"aws_access_key_id": "none", "aws_secret_access_key": "none", "region_name": "eu-central-1"}
_ITEM = {"TableName": "orders", "Item": {"id": {"S": "1"}}}


def _config(patience: float) -> Any:
    from botocore.config import Config

    return Config(connect_timeout=patience, read_timeout=patience, retries={"total_max_attempts": 1}, proxies={})


def put(port: int, patience: float) -> None:
    from botocore.session import Session

    client = Session().create_client("dynamodb", endpoint_url=f"http://127.0.0.1:{port}", config=_config(patience), **_KEYS)
    client.put_item(**_ITEM)


def put_without_credentials() -> None:
    from botocore.credentials import CredentialResolver
    from botocore.session import Session

    session = Session()
    session.register_component("credential_provider", CredentialResolver([]))
    session.create_client("dynamodb", endpoint_url="http://127.0.0.1:9", region_name="eu-central-1").put_item(**_ITEM)


async def put_async(port: int, patience: float) -> None:
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    config = AioConfig(connect_timeout=patience, read_timeout=patience, retries={"total_max_attempts": 1}, proxies={})
    async with get_session().create_client("dynamodb", endpoint_url=f"http://127.0.0.1:{port}", config=config, **_KEYS) as client:
        await client.put_item(**_ITEM)


CLIENTS: dict[str, Callable[[int, float], Awaitable[Any]]] = {
    "botocore": lambda port, patience: asyncio.to_thread(put, port, patience),
    "aiobotocore": put_async,
}


async def verdict_of(client: str, situation: str, serve: Serve | None, record: Callable[..., str]) -> str:
    async with refusing() if serve is None else serving(serve) as port:
        error = await raised(lambda: CLIENTS[client](port, IN_VAIN if situation == "hung" else PATIENCE))
    return record("aws", client, client, situation, error)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("situation", [*SOCKETS, *TROUBLES])
async def test_a_service_that_is_not_there_or_cannot_now_is_a_failure(client: str, situation: str, record: Callable[..., str]) -> None:
    """No answer, 5xx, 429, the codes of throttling, credentials that ran out."""
    assert await verdict_of(client, situation, (SOCKETS | TROUBLES)[situation], record) != "own"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("situation", OWN_FAULTS)
async def test_a_request_that_the_service_refuses_is_the_messages_own(client: str, situation: str, record: Callable[..., str]) -> None:
    """Conditions, missing tables, bad parameters, denied access."""
    assert await verdict_of(client, situation, OWN_FAULTS[situation], record) == "own"


async def test_no_credentials_is_a_failure(record: Callable[..., str]) -> None:
    """Every message meets it; mostly the metadata service did not answer."""
    error = await raised(lambda: asyncio.to_thread(put_without_credentials))
    record("aws", "botocore", "botocore", "no credentials", error)
    assert is_failure(preset, error)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(("headers", "seconds"), [({"x-amz-retry-after": "2500"}, 2.5), ({"Retry-After": "7"}, 7.0), ({}, None)])
async def test_the_services_wait_is_read(client: str, headers: dict[str, str], seconds: float | None) -> None:
    """From the headers in the exception's dict."""
    async with serving(refusal(503, "SlowDown", headers)) as port:
        error = await raised(lambda: CLIENTS[client](port, PATIENCE))
    assert preset.retry_after(error) == seconds


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (400, "ThrottlingException", Outcome.THROTTLED),
        (400, "ProvisionedThroughputExceededException", Outcome.THROTTLED),
        (503, "SlowDown", Outcome.THROTTLED),
        (429, "Whatever", Outcome.THROTTLED),
        (503, "ServiceUnavailable", Outcome.FAILURE),
        (500, "InternalServerError", Outcome.FAILURE),
        (400, "ConditionalCheckFailedException", Outcome.IGNORED),
    ],
)
async def test_the_codes_of_throttling_throttle(client: str, status: int, code: str, outcome: Outcome) -> None:
    """Whatever the status; a 503 by itself is an outage."""
    api = Dependency("api", failures=preset.failures)
    async with serving(refusal(status, code, {"x-amz-retry-after": "2500"})) as port:
        error = await raised(lambda: CLIENTS[client](port, PATIENCE))
    assert api.classify(error) is outcome
    if outcome is Outcome.THROTTLED:
        assert api.told_of(error) == Told(retry_after=2.5)


def test_an_exception_without_an_answer_has_no_wait() -> None:
    """A connection error has no headers."""
    assert preset.retry_after(ConnectionError()) is None
