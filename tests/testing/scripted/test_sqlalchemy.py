"""The far end for SQLAlchemy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from holdgate import Dependency, Outcome
from holdgate.presets import sql
from holdgate.testing import Dropped, Hung
from tests.testing.scripted.rehearsed import COUNT, FAULTS, PATIENCE, assert_lost_nothing, first_error, name_of, through, through_async

sqlalchemy = pytest.importorskip("sqlalchemy")
from sqlalchemy.ext.asyncio import create_async_engine  # noqa: E402

from holdgate.testing.scripted.sqlalchemy import _EngineScript, script_engine  # noqa: E402

orders_db = Dependency("orders-db", failures=sql.failures)
INSERT = sqlalchemy.text("INSERT INTO charges VALUES (:body)")


def new_engine(timeout: float | None = PATIENCE) -> Any:
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool, connect_args={"check_same_thread": False})
    script_engine(engine, orders_db, timeout=timeout)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE charges (body)"))
    return engine


@pytest.fixture
def engine() -> Any:
    made = new_engine()
    yield made
    made.dispose()


def storing(engine: Any) -> Any:
    def store(delivery: Any) -> None:
        with engine.begin() as connection:
            connection.execute(INSERT, {"body": delivery.body})

    return store


@asynccontextmanager
async def storing_async() -> AsyncIterator[Any]:
    pytest.importorskip("aiosqlite")
    engine = create_async_engine("sqlite+aiosqlite://")
    script_engine(engine, orders_db, timeout=PATIENCE)
    async with engine.begin() as connection:
        await connection.execute(sqlalchemy.text("CREATE TABLE charges (body)"))

    async def store(delivery: Any) -> None:
        async with engine.begin() as connection:
            await connection.execute(INSERT, {"body": delivery.body})

    yield store
    await engine.dispose()


@pytest.mark.parametrize("situation", FAULTS)
def test_a_good_handler_loses_nothing(engine: Any, situation: str) -> None:
    """In threads; what SQLAlchemy raises is its own error around the driver's, and every row is there once."""
    error = first_error(lambda around: through(around(storing(engine)), orders_db, FAULTS[situation]))
    assert name_of(error) == "sqlalchemy.OperationalError"
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DELETE FROM charges"))

    assert_lost_nothing(through(storing(engine), orders_db, FAULTS[situation]))
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT count(*) FROM charges")).scalar() == COUNT


@pytest.mark.parametrize("situation", ["refused", "hung"])
def test_an_async_engine_loses_nothing(situation: str) -> None:
    """What hangs passes virtual time from inside of a greenlet. How much of it passes meanwhile is up to the driver's own thread."""
    report = through_async(storing_async, orders_db, FAULTS[situation])

    assert report.problems == (), report.verdict
    assert len(report.processed) == COUNT
    assert report.failed_calls > 0


def test_new_connections_fail_too(tmp_path: Any) -> None:
    """Without a pool, each message has a connection of its own."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'charges'}", poolclass=sqlalchemy.pool.NullPool)
    script_engine(engine, orders_db)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE charges (body)"))

    error: Any = first_error(lambda around: through(around(storing(engine)), orders_db, FAULTS["refused"]))
    assert "unable to open database file" in str(error.orig)
    assert_lost_nothing(through(storing(engine), orders_db, FAULTS["refused"]))


def test_ten_reports_are_equal(engine: Any) -> None:
    """In threads."""
    first = through(storing(engine), orders_db, Hung())

    assert all(through(storing(engine), orders_db, Hung()) == first for _ in range(9))


def test_a_driver_without_a_limit_hangs_until_the_outage_is_over() -> None:
    """It is said."""
    engine = new_engine(timeout=None)
    report = through(storing(engine), orders_db, Hung())
    engine.dispose()

    assert report.problems == ("orders-db: 1 call hung until the outage was over: the client has no time limit",)


def test_an_exception_of_ones_own_is_raised_as_it_is(engine: Any) -> None:
    """What no driver raises, SQLAlchemy lets through."""
    fault = TimeoutError("nobody came")

    assert first_error(lambda around: through(around(storing(engine)), orders_db, fault)) is fault


class DriversError(Exception):
    """What the drivers below raise, as PEP 249 wants it."""


@pytest.mark.parametrize(
    ("name", "driver", "module"),
    [
        ("postgresql", "psycopg", "psycopg"),
        ("postgresql", "asyncpg", "asyncpg"),
        ("postgresql", "psycopg2", "psycopg2"),
        ("mysql", "pymysql", "pymysql"),
        ("mariadb", "aiomysql", "pymysql"),
    ],
)
@pytest.mark.parametrize("situation", FAULTS)
def test_each_drivers_errors_are_failures_by_the_preset(name: str, driver: str, module: str, situation: str, monkeypatch: Any) -> None:
    """Drivers that are not here: an error of the class that they raise, with the text or number that they give."""
    mysqls = type("MySQLError", (DriversError,), {"__module__": f"{module}.err"})
    operational = type("OperationalError", (mysqls,), {"__module__": f"{module}.err"})
    dialect = SimpleNamespace(name=name, driver=driver, is_async=False, loaded_dbapi=SimpleNamespace(OperationalError=operational))
    monkeypatch.setattr(sqlalchemy.event, "listen", lambda *_: None)
    error = scripted_error(dialect, FAULTS[situation])

    assert orders_db.classify(error) is (Outcome.THROTTLED if situation == "429" else Outcome.FAILURE)
    assert isinstance(error, operational | OSError if driver == "asyncpg" else operational)  # it lets the errors of sockets through


@pytest.mark.parametrize(
    ("situation", "kind"), [("refused", ConnectionRefusedError), ("dropped", ConnectionResetError), ("hung", TimeoutError)]
)
def test_asyncpg_lets_the_errors_of_sockets_through(situation: str, kind: type[Exception]) -> None:
    """When it connects."""
    dialect = SimpleNamespace(name="postgresql", driver="asyncpg", is_async=False, loaded_dbapi=None)

    assert type(scripted_error(dialect, FAULTS[situation])) is kind


def scripted_error(dialect: Any, fault: Any) -> BaseException:
    """What connecting raises on an engine of such a dialect."""
    script = _EngineScript(SimpleNamespace(dialect=dialect), orders_db, PATIENCE)
    return first_error(lambda around: through(around(lambda _: script.connecting()), orders_db, fault))


def test_a_lost_connection_is_not_used_again() -> None:
    """SQLAlchemy is told so where the driver's connection looks alive; SQLite's is kept, or a database in memory would be gone."""
    dialect = SimpleNamespace(
        name="postgresql", driver="psycopg", is_async=False, loaded_dbapi=SimpleNamespace(OperationalError=DriversError)
    )
    script = _EngineScript(SimpleNamespace(dialect=dialect), orders_db, PATIENCE)
    lost = first_error(lambda around: through(around(lambda _: script.executing()), orders_db, Dropped()))
    context = SimpleNamespace(original_exception=lost, is_disconnect=False)
    other = SimpleNamespace(original_exception=DriversError(), is_disconnect=False)
    for each in (context, other):
        script.mark_lost(each)

    assert (context.is_disconnect, other.is_disconnect) == (True, False)
