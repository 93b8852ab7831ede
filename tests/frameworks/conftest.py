"""The Python that has the frameworks, a Redis, and each framework on its broker."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from tests.frameworks import benches
from tests.servers.redis_server import RedisServer
from tests.servers.unavailable import Unavailable

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def frameworks() -> Path:
    """The interpreter of the environment that has the frameworks: HOLDGATE_TEST_FRAMEWORKS, or what `make test-frameworks` makes."""
    found = Path(os.environ.get("HOLDGATE_TEST_FRAMEWORKS", ROOT / ".venv-frameworks" / "bin" / "python"))
    if not found.exists():
        pytest.skip(f"no {found}: `make test-frameworks` makes it")
    return found


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    """A Redis of the test's own."""
    try:
        own = RedisServer("redis")
    except Unavailable as missing:
        pytest.skip(str(missing))
    async with own as server:
        yield server


@pytest.fixture(params=["dramatiq-rabbitmq", "pika-rabbitmq", "eventiq-rabbitmq", "arq-redis"])
def framework(request: pytest.FixtureRequest, frameworks: Path) -> AbstractAsyncContextManager[benches.Bench]:
    """Each framework in turn."""
    name = request.param.partition("-")[0]
    if name == "arq":
        return benches.arq(frameworks, request.getfixturevalue("redis"))
    make = {"dramatiq": benches.dramatiq, "pika": benches.pika, "eventiq": benches.eventiq}[name]
    return make(frameworks, request.getfixturevalue("rabbitmq"), request.getfixturevalue("queue"))
