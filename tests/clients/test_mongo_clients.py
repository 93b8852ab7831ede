"""What the failures of MongoDB's client are taken for, on sockets, and on answers of a server as pymongo reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.clients.places import IN_VAIN, Serve, drop, hang, refusing, serving, talk_nonsense
from tests.clients.verdicts import is_failure, raised

from holdgate.presets import mongo as preset

SOCKETS: dict[str, Serve | None] = {"refused": None, "dropped": drop, "hung": hang, "nonsense": talk_nonsense}


async def insert_async(port: int, patience: float = IN_VAIN) -> None:
    from pymongo import AsyncMongoClient

    limit = int(patience * 1000)
    async with AsyncMongoClient("127.0.0.1", port, serverSelectionTimeoutMS=limit, connectTimeoutMS=limit) as client:
        await client.shop.orders.insert_one({"amount": 5})


def insert(port: int, patience: float = IN_VAIN) -> None:
    from pymongo import MongoClient

    limit = int(patience * 1000)
    with MongoClient("127.0.0.1", port, serverSelectionTimeoutMS=limit, connectTimeoutMS=limit) as client:
        client.shop.orders.insert_one({"amount": 5})


CLIENTS: dict[str, Callable[..., Awaitable[Any]]] = {
    "pymongo": lambda port, patience=IN_VAIN: asyncio.to_thread(insert, port, patience),
    "pymongo (async)": insert_async,
}
# What a server answers to one command; Debian has no MongoDB, so the driver's own reading of the answer is where these begin.
REPLIES: dict[str, tuple[dict[str, Any], bool]] = {
    "stepped down": ({"ok": 0, "code": 189, "errmsg": "stepped down"}, True),
    "not primary": ({"ok": 0, "code": 10107, "errmsg": "not primary"}, True),
    "shutting down": ({"ok": 0, "code": 91, "errmsg": "shutdown in progress"}, True),
    "out of time": ({"ok": 0, "code": 50, "errmsg": "operation exceeded time limit"}, True),
    "login": ({"ok": 0, "code": 18, "errmsg": "Authentication failed."}, True),
    "disk full": ({"ok": 0, "code": 14031, "errmsg": "no space"}, True),
    "retryable write": ({"ok": 0, "code": 1, "errmsg": "said so", "errorLabels": ["RetryableWriteError"]}, True),
    "too many requests": ({"ok": 0, "code": 16500, "errmsg": "Request rate is large"}, True),
    "duplicate key": ({"ok": 0, "code": 11000, "errmsg": "E11000"}, False),
    "write conflict": ({"ok": 0, "code": 112, "errmsg": "conflict", "errorLabels": ["TransientTransactionError"]}, False),
    "validation": ({"ok": 0, "code": 121, "errmsg": "Document failed validation"}, False),
    "no right": ({"ok": 0, "code": 13, "errmsg": "not authorized"}, False),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("situation", SOCKETS)
async def test_a_server_that_is_not_there_is_a_failure(client: str, situation: str, record: Callable[..., str]) -> None:
    """Refused, dropped, hung, nonsense: the driver looks for a server until its own time is over."""
    serve = SOCKETS[situation]
    async with refusing() if serve is None else serving(serve) as port:
        error = await raised(lambda: CLIENTS[client](port))
    assert record("mongo", client, "pymongo", situation, error) != "own", repr(error)


@pytest.mark.parametrize("situation", REPLIES)
async def test_an_answer_is_judged_by_its_number(situation: str, record: Callable[..., str]) -> None:
    """As the driver raises it."""
    from pymongo.helpers_shared import _check_command_response

    reply, expected = REPLIES[situation]

    async def read() -> None:
        _check_command_response(reply, None)

    error = await raised(read)
    assert (record("mongo", "pymongo", "pymongo", situation, error) != "own") is expected, repr(error)


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"writeErrors": [{"code": 11000}], "writeConcernErrors": []}, False),
        ({"writeErrors": [], "writeConcernErrors": [{"code": 64}]}, True),
        ({"writeErrors": [{"code": 11000}, {"code": 189}], "writeConcernErrors": []}, True),
    ],
)
def test_in_bulk_each_part_has_its_number(details: dict[str, Any], expected: bool) -> None:
    """One that the server could not take now is enough: it has to be sent again."""
    from pymongo.errors import BulkWriteError

    assert is_failure(preset, BulkWriteError(details)) is expected
