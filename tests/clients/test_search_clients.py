"""What the failures of real search clients are taken for, on sockets and on answers as Elasticsearch and OpenSearch give them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.clients.places import IN_VAIN, PATIENCE, Serve, answer, drop, hang, refusing, serving, talk_nonsense
from tests.clients.verdicts import raised

from holdgate.presets import search as preset

# The Elasticsearch client refuses to talk to anything that does not say what it is.
PRODUCT = {"X-Elastic-Product": "Elasticsearch"}


def refusal(status: int, kind: str, headers: dict[str, str] = {}) -> Serve:  # noqa: B006 - read only
    body = {"error": {"type": kind, "reason": "said so", "root_cause": []}, "status": status}
    return answer(status, json.dumps(body).encode(), PRODUCT | headers)


def bulk(*statuses: int) -> Serve:
    items = [{"index": {"_index": "orders", "_id": "1", "status": status, "error": {"type": "said so"}}} for status in statuses]
    return answer(200, json.dumps({"took": 1, "errors": True, "items": items}).encode(), PRODUCT)


SOCKETS: dict[str, Serve | None] = {
    "refused": None,
    "dropped": drop,
    "hung": hang,
    "nonsense": talk_nonsense,
    "broken off": answer(200, b'{"a', PRODUCT, length=99),
}
TROUBLES: dict[str, Serve] = {
    "503, no master": refusal(503, "master_not_discovered_exception"),
    "503 of a proxy": answer(503, b"<html>", {"Content-Type": "text/html"}),
    "429": refusal(429, "es_rejected_execution_exception"),
    "500": refusal(500, "some_exception"),
    "disks full": refusal(403, "cluster_block_exception"),
}
OWN_FAULTS: dict[str, Serve] = {
    "conflict": refusal(409, "version_conflict_engine_exception"),
    "bad document": refusal(400, "document_parsing_exception"),
    "no index": refusal(404, "index_not_found_exception"),
    "no right": refusal(403, "security_exception"),
}
BULKS: dict[str, tuple[Serve, bool]] = {
    "bulk, one rejected": (bulk(400, 429), True),
    "bulk, one unavailable": (bulk(503), True),
    "bulk, bad documents": (bulk(400, 409), False),
}


async def with_elasticsearch(port: int, patience: float, *, in_bulk: bool = False) -> None:
    from elasticsearch import AsyncElasticsearch
    from elasticsearch.helpers import async_bulk

    async with AsyncElasticsearch(f"http://127.0.0.1:{port}", request_timeout=patience, max_retries=0) as client:
        if in_bulk:
            await async_bulk(client, [{"_index": "orders", "amount": 5}, {"_index": "orders", "amount": 6}])
        await client.index(index="orders", document={"amount": 5})


async def with_opensearch(port: int, patience: float, *, in_bulk: bool = False) -> None:
    from opensearchpy import AsyncOpenSearch
    from opensearchpy.helpers import async_bulk

    async with AsyncOpenSearch(f"http://127.0.0.1:{port}", timeout=patience, max_retries=0) as client:
        if in_bulk:
            await async_bulk(client, [{"_index": "orders", "amount": 5}, {"_index": "orders", "amount": 6}])
        await client.index(index="orders", body={"amount": 5})


CLIENTS: dict[str, Callable[..., Awaitable[Any]]] = {"elasticsearch": with_elasticsearch, "opensearch-py": with_opensearch}


async def verdict_of(client: str, situation: str, serve: Serve | None, record: Callable[..., str], *, in_bulk: bool = False) -> str:
    async with refusing() if serve is None else serving(serve) as port:
        error = await raised(lambda: CLIENTS[client](port, IN_VAIN if situation == "hung" else PATIENCE, in_bulk=in_bulk))
    return record("search", client, client, situation, error)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("situation", [*SOCKETS, *TROUBLES])
async def test_a_cluster_that_is_not_there_or_cannot_now_is_a_failure(client: str, situation: str, record: Callable[..., str]) -> None:
    """No answer, 5xx, 429, indices that it closed to writes."""
    expected = "throttled" if situation == "429" else "failure"
    assert await verdict_of(client, situation, (SOCKETS | TROUBLES)[situation], record) == expected


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("situation", OWN_FAULTS)
async def test_a_request_that_the_cluster_refuses_is_the_messages_own(client: str, situation: str, record: Callable[..., str]) -> None:
    """Conflicts, bad documents, missing indices and rights."""
    assert await verdict_of(client, situation, OWN_FAULTS[situation], record) == "own"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("situation", BULKS)
async def test_in_bulk_each_document_has_its_status(client: str, situation: str, record: Callable[..., str]) -> None:
    """One that the cluster had no room for is enough: it has to be sent again."""
    serve, expected = BULKS[situation]
    assert (await verdict_of(client, situation, serve, record, in_bulk=True) != "own") is expected


async def test_the_wait_of_an_elasticsearch_is_read() -> None:
    """Its exception has the headers in `meta`; OpenSearch's has none."""
    async with serving(refusal(429, "es_rejected_execution_exception", {"Retry-After": "7"})) as port:
        error = await raised(lambda: with_elasticsearch(port, PATIENCE))
        other = await raised(lambda: with_opensearch(port, PATIENCE))
    assert preset.retry_after(error) == 7.0
    assert preset.retry_after(other) is None
