"""Which exceptions of SQL databases are failures. With the real clients: tests/clients."""

from __future__ import annotations

import sqlite3
from types import SimpleNamespace
from typing import Any

import pytest

from holdgate.presets import sql


def error(name: str, module: str, *args: object, **carried: Any) -> Exception:
    """An exception of a client that is not installed here."""
    made = type(name, (Exception,), {"__module__": module})(*args)
    for key, value in carried.items():
        setattr(made, key, value)
    return made


@pytest.mark.parametrize(
    "state", ["08006", "08003", "28P01", "3D000", "53300", "53100", "57P01", "57P03", "57014", "25006", "58030", "XX000"]
)
@pytest.mark.parametrize("name", ["sqlstate", "pgcode"])
def test_a_database_in_trouble_says_so_in_its_state(name: str, state: str) -> None:
    """Connection, login, resources, shutdown, time, read-only after a failover."""
    assert sql.failures(error("Any", "any", **{name: state}))


@pytest.mark.parametrize("state", ["23505", "23503", "22P02", "42601", "42P01", "42501", "40001", "40P01", "55P03", "P0001"])
def test_what_a_statement_brings_about_is_the_messages_own(state: str) -> None:
    """Constraints, data, syntax, rights, conflicts, whatever the class is called."""
    assert not sql.failures(error("OperationalError", "psycopg", sqlstate=state))


@pytest.mark.parametrize("number", [0, 1040, 1045, 1053, 1205, 1213, 1290, 2003, 2006, 2013, 3024, 1062, 1064, 1146, 1452, "1040"])
def test_mysql_has_numbers(number: object) -> None:
    """The numbers of a connection, of resources and of time; not those of a conflict (1205, 1213) or a statement, and not as text."""
    base = type("MySQLError", (Exception,), {"__module__": "pymysql.err"})
    raised = type("OperationalError", (base,), {"__module__": "pymysql.err"})(number, "said so")
    assert sql.failures(raised) is (number in {1040, 1045, 1053, 1290, 2003, 2006, 2013, 3024})
    assert not sql.failures(Exception(number, "said so"))


def test_mysql_connectors_number_comes_before_its_state() -> None:
    """Its state is mostly HY000, and 08S01 for some."""
    base = type("Error", (Exception,), {"__module__": "mysql.connector.errors"})
    assert sql.failures(type("OperationalError", (base,), {})(2013, "Lost connection"))
    duplicate = type("IntegrityError", (base,), {})(1062, "Duplicate entry")
    duplicate.sqlstate = "08000"  # type: ignore[attr-defined]
    assert not sql.failures(duplicate)


@pytest.mark.parametrize(("code", "verdict"), [(10, True), (13, True), (14, True), (2570, True), (1, False), (5, False), (2067, False)])
def test_sqlite_has_result_codes(code: int, verdict: bool) -> None:
    """I/O (2570 is one of its kinds), full, cannot open; not a missing table (1), a lock (5), a unique constraint (2067)."""
    raised = sqlite3.OperationalError("said so")
    raised.sqlite_errorcode = code
    assert sql.failures(raised) is verdict


@pytest.mark.parametrize(
    ("raised", "verdict"),
    [
        (ConnectionRefusedError(), True),
        (error("OperationalError", "psycopg", "connection timeout expired"), True),
        (error("OperationalError", "psycopg2", "could not connect"), True),
        (error("InterfaceError", "asyncpg.exceptions._base", "connection is closed"), True),
        (error("InterfaceError", "asyncpg.exceptions._base", "another operation is in progress"), False),
        (error("InterfaceError", "psycopg2", "connection already closed"), True),
        (error("InterfaceError", "psycopg2", "cursor already closed"), False),
        (error("InterfaceError", "pymysql.err", 0, ""), True),
        (error("TimeoutError", "sqlalchemy.exc", "QueuePool limit"), True),
        (error("DBAPIError", "sqlalchemy.exc", connection_invalidated=True), True),
        (error("DBAPIError", "sqlalchemy.exc", connection_invalidated=False), False),
        (error("PendingRollbackError", "sqlalchemy.exc", code="8s2b"), True),
        (error("PendingRollbackError", "sqlalchemy.exc", code="7s2a"), False),
        (error("NoResultFound", "sqlalchemy.exc"), False),
        (ValueError(), False),
    ],
    ids=repr,
)
def test_where_no_server_answered_the_client_says_it(raised: Exception, verdict: bool) -> None:
    """Refused, timed out, closed before, no connection free; not a mistake in the handler."""
    assert sql.failures(raised) is verdict


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (error("TooManyConnectionsError", "asyncpg.exceptions", sqlstate="53300"), True),
        (error("DiskFullError", "asyncpg.exceptions", sqlstate="53100"), False),
        (error("OperationalError", "psycopg", "connection failed: FATAL:  sorry, too many clients already"), True),
        (error("OperationalError", "psycopg2", "FATAL:  remaining connection slots are reserved for roles with SUPERUSER"), True),
        (error("OperationalError", "psycopg", 'FATAL:  too many connections for role "crowded"'), True),
        (error("OperationalError", "psycopg2", "FATAL:  no more connections allowed (max_client_conn)"), True),
        (error("OperationalError", "psycopg", "server closed the connection unexpectedly"), False),
        (error("OtherError", "elsewhere", "sorry, too many clients already"), False),
        (error("TimeoutError", "sqlalchemy.exc", "QueuePool limit of size 5 overflow 10 reached"), True),
        (error("TooManyRequests", "psycopg_pool.errors", "the pool has already 1 requests waiting"), True),
        (error("PoolTimeout", "psycopg_pool.errors", "couldn't get a connection after 30.00 sec"), False),  # nobody knows its pool
        (TimeoutError(), False),
        (error("Any", "any", []), False),
        ("an answer", False),
    ],
)
def test_too_many_connections_throttle(raised: Any, expected: bool) -> None:
    """The server's, and full pools of one's own."""
    assert sql.throttled(raised) is expected


@pytest.mark.parametrize(("number", "expected"), [(1040, True), (1203, True), (1226, True), (1045, False), (2013, False)])
def test_mysqls_numbers_of_too_many_connections_throttle(number: int, expected: bool) -> None:
    """And nobody else's."""
    base = type("MySQLError", (Exception,), {"__module__": "pymysql.err"})
    assert sql.throttled(type("OperationalError", (base,), {"__module__": "pymysql.err"})(number, "said so")) is expected
    assert not sql.throttled(Exception(number, "said so"))


@pytest.mark.parametrize(
    ("code", "is_failure", "is_throttled"),
    [
        ("DPY-6005", True, False),
        ("DPY-4011", True, False),
        ("ORA-12541", True, False),
        ("ORA-01033", True, False),
        ("ORA-01017", True, False),
        ("ORA-12519", True, True),
        ("DPY-4005", True, True),
        ("ORA-00001", False, False),
        ("ORA-00942", False, False),
        ("ORA-00060", False, False),
    ],
)
def test_oracle_by_its_code(code: str, is_failure: bool, is_throttled: bool) -> None:
    """The driver keeps it in an object of its own; a duplicate, a missing table, a deadlock are the message's."""
    base = type("Error", (Exception,), {"__module__": "oracledb.exceptions"})
    given = type("OperationalError", (base,), {"__module__": "oracledb.exceptions"})(SimpleNamespace(full_code=code, message="no"))

    assert sql.failures(given) is is_failure
    assert sql.throttled(given) is is_throttled


@pytest.mark.parametrize(
    ("args", "is_failure", "is_throttled"),
    [
        ((20009, b"Unable to connect"), True, False),
        (((20009, b"Unable to connect"),), True, False),
        ((18456, b"Login failed"), True, False),
        ((40501, b"The service is busy"), True, True),
        ((2627, b"Violation of PRIMARY KEY"), False, False),
        ((1205, b"deadlocked"), False, False),
        ((), False, False),
        (((),), False, False),
    ],
)
def test_sql_server_by_its_number(args: tuple[object, ...], is_failure: bool, is_throttled: bool) -> None:
    """It is an argument, or in a tuple in it."""
    given = error("Error", "pymssql.exceptions", *args)

    assert sql.failures(given) is is_failure
    assert sql.throttled(given) is is_throttled


@pytest.mark.parametrize(
    ("state", "verdict"), [("08S01", True), ("08001", True), ("HYT00", True), ("28000", True), ("23000", False), ("42S02", False)]
)
def test_odbc_by_its_state(state: str, verdict: bool) -> None:
    """ODBC drivers have it as its first argument, whatever database is behind it."""
    assert sql.failures(error("Error", "pyodbc", state, f"[{state}] [Microsoft] ...")) is verdict
