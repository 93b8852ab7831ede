"""What the failures of real SQL clients are taken for, on sockets that refuse, drop, hang and talk nonsense, and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from tests.clients.places import PATIENCE, Serve, drop, drop_at_once, greet_with_nonsense, hang, refusing, serving
from tests.clients.servers import folder_of, postgres
from tests.clients.sql_clients import MYSQL, PACKAGES, POSTGRES
from tests.clients.verdicts import raised, verdict_on
from tests.servers.unavailable import Unavailable, in_ci

from holdgate.presets import sql

Record = Callable[..., str]

SOCKETS: dict[str, Serve | None] = {"refused": None, "dropped": drop, "hung": hang}
# Its server speaks first.
MYSQL_SOCKETS: dict[str, Serve | None] = {"refused": None, "dropped": drop_at_once, "hung": hang, "nonsense": greet_with_nonsense}
# libpq counts whole seconds, from 2 on.
IN_VAIN = 2.0

TERMINATE = "SELECT pg_terminate_backend(pg_backend_pid())"


def raising(state: str) -> list[str]:
    return [f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$"]


# user, database, statements
Situation = tuple[str, str, Sequence[str]]
OUTAGES: dict[str, Situation] = {
    "shut down": ("postgres", "postgres", [TERMINATE]),
    "lost before": ("postgres", "postgres", [TERMINATE, "SELECT 1"]),
    "starting up": ("postgres", "postgres", raising("57P03")),
    "too many connections": ("crowded", "postgres", ["SELECT 1"]),
    "statement timeout": ("hasty", "postgres", ["SELECT pg_sleep(60)"]),
    "read-only": ("reader", "postgres", ["INSERT INTO orders VALUES (3, 3)"]),
    "disk full": ("postgres", "postgres", raising("53100")),
    "no such login": ("nobody", "postgres", ["SELECT 1"]),
    "no such database": ("postgres", "nowhere", ["SELECT 1"]),
}
OWN_FAULTS: dict[str, Situation] = {
    "duplicate key": ("postgres", "postgres", ["INSERT INTO orders VALUES (1, 5)"]),
    "not null": ("postgres", "postgres", ["INSERT INTO orders VALUES (2, NULL)"]),
    "check": ("postgres", "postgres", ["INSERT INTO orders VALUES (2, -5)"]),
    "bad data": ("postgres", "postgres", ["SELECT 'a'::int"]),
    "division by zero": ("postgres", "postgres", ["SELECT 1/0"]),
    "syntax": ("postgres", "postgres", ["SELEKT"]),
    "no such table": ("postgres", "postgres", ["SELECT * FROM nowhere"]),
    "no right": ("stranger", "postgres", ["SELECT * FROM orders"]),
    "deadlock": ("postgres", "postgres", raising("40P01")),
    "serialization": ("postgres", "postgres", raising("40001")),
    "lock not available": ("postgres", "postgres", raising("55P03")),
}
SETUP = """
CREATE TABLE orders (id int PRIMARY KEY, amount int NOT NULL CHECK (amount > 0)); INSERT INTO orders VALUES (1, 5);
CREATE ROLE crowded LOGIN CONNECTION LIMIT 0; CREATE ROLE hasty LOGIN; ALTER ROLE hasty SET statement_timeout = 50;
CREATE ROLE reader LOGIN; ALTER ROLE reader SET default_transaction_read_only = on; GRANT ALL ON orders TO reader;
CREATE ROLE stranger LOGIN;
"""


@contextmanager
def database() -> Iterator[int]:
    """A PostgreSQL with all that the statements need; its port. Raises Unavailable."""
    with postgres() as port:
        where = ["-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]
        psql = [f"{folder_of('postgres')}/psql", *where, "-v", "ON_ERROR_STOP=1", "-q"]
        subprocess.run(psql, input=SETUP, text=True, check=True, capture_output=True)
        yield port


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    try:
        with database() as port:
            yield port
    except Unavailable as error:
        if in_ci():
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("client", POSTGRES)
@pytest.mark.parametrize("situation", SOCKETS)
async def test_a_database_that_is_not_there_is_a_failure(client: str, situation: str, record: Record) -> None:
    """Refused, dropped and hung while connecting."""
    serve = SOCKETS[situation]
    async with refusing() if serve is None else serving(serve) as port:
        patience = IN_VAIN if situation == "hung" else PATIENCE
        error = await raised(lambda: POSTGRES[client](port, "postgres", "postgres", ["SELECT 1"], patience))
    assert record("sql", client, PACKAGES[client], situation, error) != "own", repr(error)


@pytest.mark.parametrize("client", MYSQL)
@pytest.mark.parametrize("situation", MYSQL_SOCKETS)
async def test_a_mysql_that_is_not_there_is_a_failure(client: str, situation: str, record: Record) -> None:
    """The same for MySQL's clients; no server of theirs is started here."""
    serve = MYSQL_SOCKETS[situation]
    async with refusing() if serve is None else serving(serve) as port:
        error = await raised(lambda: MYSQL[client](port, "root", "orders", ["SELECT 1"], 1.0 if situation == "hung" else PATIENCE))
    assert record("sql", client, PACKAGES[client], situation, error) != "own", repr(error)


@pytest.mark.parametrize("client", POSTGRES)
@pytest.mark.parametrize("situation", OUTAGES)
async def test_a_database_in_trouble_is_a_failure(client: str, situation: str, port: int, record: Record) -> None:
    """Shut down, out of resources or time, read-only after a failover, no login: what every message meets."""
    user, database, statements = OUTAGES[situation]
    error = await raised(lambda: POSTGRES[client](port, user, database, statements, PATIENCE))
    verdict = record("sql", client, PACKAGES[client], situation, error)
    assert verdict == ("throttled" if situation == "too many connections" else "failure"), repr(error)


@pytest.mark.parametrize("client", POSTGRES)
@pytest.mark.parametrize("situation", OWN_FAULTS)
async def test_a_statement_that_the_database_refuses_is_the_messages_own(client: str, situation: str, port: int, record: Record) -> None:
    """Constraints, bad data, syntax, missing tables and rights, and conflicts between transactions."""
    user, database, statements = OWN_FAULTS[situation]
    error = await raised(lambda: POSTGRES[client](port, user, database, statements, PATIENCE))
    assert record("sql", client, PACKAGES[client], situation, error) == "own", repr(error)


async def with_asyncpg_pool(port: int) -> None:
    import asyncpg

    pool = await asyncpg.create_pool(host="127.0.0.1", port=port, user="postgres", password="none", ssl=False, min_size=1, max_size=1)
    try:
        async with pool.acquire(), pool.acquire(timeout=0.1):
            pass
    finally:
        pool.terminate()


async def with_psycopg_pool(port: int) -> None:
    import psycopg_pool

    pool = psycopg_pool.AsyncConnectionPool(url_of(port), open=False, min_size=1, max_size=1, timeout=5.0)
    async with pool, pool.connection(), pool.connection(timeout=0.1):
        pass


def with_psycopg_pool_plainly(port: int) -> None:
    import psycopg_pool

    with (
        psycopg_pool.ConnectionPool(url_of(port), min_size=1, max_size=1, timeout=5.0) as pool,
        pool.connection(),
        pool.connection(timeout=0.1),
    ):
        pass


def with_a_crowd_before_psycopg_pool(port: int) -> None:
    """Nobody may wait: the next one is refused at once."""
    import threading

    import psycopg_pool

    with psycopg_pool.ConnectionPool(url_of(port), min_size=1, max_size=1, max_waiting=1) as pool, pool.connection():
        waits = threading.Event()

        def wait() -> None:
            with suppress(psycopg_pool.PoolTimeout), pool.connection(timeout=2.0):
                pass

        waiting = threading.Thread(target=wait)
        waiting.start()
        try:
            while not pool.get_stats().get("requests_waiting"):
                waits.wait(0.01)
            with pool.connection(timeout=0.1):
                pass
        finally:
            waiting.join()


def with_sqlalchemy_pool(port: int) -> None:
    import sqlalchemy

    url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    engine = sqlalchemy.create_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    try:
        with engine.connect(), engine.connect():
            pass
    finally:
        engine.dispose()


def url_of(port: int) -> str:
    return f"host=127.0.0.1 port={port} user=postgres dbname=postgres connect_timeout=2"


FULL_POOLS: dict[str, Callable[[int], Any]] = {
    "asyncpg": with_asyncpg_pool,
    "psycopg_pool (async)": with_psycopg_pool,
    "psycopg_pool": with_psycopg_pool_plainly,
    "psycopg_pool (max_waiting)": with_a_crowd_before_psycopg_pool,
    "SQLAlchemy": with_sqlalchemy_pool,
}


@pytest.mark.parametrize("pool", FULL_POOLS)
async def test_a_full_pool_of_ones_own_throttles(pool: str, port: int) -> None:
    """No connection came free in time: the database is well, and too many want it."""
    use = FULL_POOLS[pool]
    error = await raised(lambda: use(port) if asyncio.iscoroutinefunction(use) else asyncio.to_thread(use, port))
    assert verdict_on(sql, error) == "throttled", repr(error)


async def test_a_database_that_does_not_answer_is_no_full_pool() -> None:
    """A pool that cannot connect has nothing to give, too: its timeouts look the same, and are failures."""
    import asyncpg
    import psycopg_pool

    async def with_asyncpg() -> None:
        async with serving(hang) as port:
            pool = asyncpg.create_pool(host="127.0.0.1", port=port, user="postgres", password="none", ssl=False, min_size=0, max_size=1)
            await pool
            async with pool.acquire(timeout=0.3):
                pass

    def with_psycopg() -> None:
        with refusing_plainly() as port, psycopg_pool.ConnectionPool(url_of(port), min_size=1, max_size=1) as pool:
            while not pool.get_stats().get("connections_errors"):
                time.sleep(0.01)
            with pool.connection(timeout=0.1):
                pass

    for use in (with_asyncpg, lambda: asyncio.to_thread(with_psycopg)):
        error = await raised(use)
        assert verdict_on(sql, error) == "failure", repr(error)


@contextmanager
def refusing_plainly() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
