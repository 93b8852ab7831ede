"""Which exceptions of SQL databases are the dependency's failures.

PostgreSQL by its SQLSTATE (asyncpg, psycopg 3 and 2), MySQL and MariaDB by the error's number (aiomysql, pymysql, mysqlclient,
mysql-connector), SQLite by its result code, each plain or under SQLAlchemy. Class names alone do not tell: an OperationalError is a lost
connection as well as a missing table.

Not failures: deadlocks, serialization failures and lock timeouts. Two transactions were in each other's way while the database was well;
tried again they pass, and a circuit that opens for them stops all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from traceback import walk_tb
from typing import cast

from holdgate import network
from holdgate.network import attribute, known_as, known_in
from holdgate.slips import passed_uncalled

# PostgreSQL, appendix A: whole classes by their first two characters. Connection, login, no such database, out of resources, the server's
# own errors (I/O, internal).
_STATE_CLASSES = frozenset({"08", "28", "3D", "53", "58", "XX"})
# Read-only after a failover | cancelled by statement_timeout or an operator | shutting down, crashed, starting, dropped, idle too long.
_STATES = frozenset({"25006", "57014", "57P01", "57P02", "57P03", "57P04", "57P05"})
_STATE_LENGTH = 5

# MySQL's and MariaDB's numbers. The server: out of disk or memory (1021, 1037, 1038, 1041), too many connections (1040, 1203, 1226), login
# (1044, 1045, 1049, 1129, 1130), shutting down (1053, 1077, 1079), network (1152-1161), read-only after a failover (1290, 1792, 1836),
# interrupted or out of time (1317, 1969, 3024), connection killed (1927, 3169, 4031). The client: cannot connect (2002, 2003, 2005), lost
# (2006, 2012, 2013, 2026, 2055).
_NUMBERS = frozenset(
    {
        *(1021, 1037, 1038, 1040, 1041, 1044, 1045, 1049, 1053, 1077, 1079, 1129, 1130, 1152, *range(1156, 1162), 1203, 1226, 1290, 1317),
        *(1792, 1836, 1927, 1969, 2002, 2003, 2005, 2006, 2012, 2013, 2026, 2055, 3024, 3169, 4031),
    }
)
# pymysql's number for a connection that is closed already: lost in an earlier call.
_CLOSED = 0
_MYSQL = known_in(("pymysql", "asyncmy", "MySQLdb", "mysql", "mariadb"), {"MySQLError", "Error"})

# SQLite: out of memory (7), I/O error (10), disk full (13), cannot open (14). Busy (5) and locked (6) are conflicts.
_RESULT_CODES = frozenset({7, 10, 13, 14})

# psycopg has no SQLSTATE where no server answered: connecting, and a connection that broke.
_NO_STATE = known_in(("psycopg", "psycopg2"), {"OperationalError"})
# Used after it was lost: an InterfaceError is raised for mistakes in the handler, too, so the text has to say it.
_INTERFACE = known_as(
    {
        "asyncpg": {"InterfaceError"},
        "psycopg": {"InterfaceError"},
        "psycopg2": {"InterfaceError"},
        "pymysql": {"InterfaceError", "InternalError"},
    }
)
# The last is pymysql's InternalError, for bytes that are out of step with the server.
_CLOSED_TEXTS = (
    "connection is closed",
    "connection already closed",
    "connection was closed",
    "connection is lost",
    "Packet sequence number wrong",
)

# SQLAlchemy's own: no connection of the pool came free in time, the connection died in its hands.
_is_pool = known_as({"sqlalchemy": {"TimeoutError", "DisconnectionError"}})
# "Can't reconnect until invalid transaction is rolled back" (https://sqlalche.me/e/20/8s2b): the connection was lost before.
_LOST_BEFORE = "8s2b"


# Too many connections. PostgreSQL says so before there is a connection, and psycopg has no SQLSTATE then; the last is pgbouncer's.
_TOO_MANY_STATE = "53300"
_TOO_MANY_TEXTS = (
    "too many clients already",
    "remaining connection slots are reserved",
    "too many connections for",
    "no more connections allowed",
)
_is_connecting = known_as({"psycopg": {"OperationalError"}, "psycopg2": {"OperationalError"}, "asyncpg": {"PostgresError"}})
# MySQL's: too many connections (1040), those of the user (1203), more than the user may have an hour (1226).
_TOO_MANY_NUMBERS = frozenset({1040, 1203, 1226})
# No connection came free in time, or too many wait for one.
_is_full_pool = known_as({"sqlalchemy": {"TimeoutError"}, "psycopg_pool": {"TooManyRequests"}})
# psycopg_pool connects in a thread of its own, so its timeout is the same for a full pool and for a database that is gone.
_is_psycopg_pool = known_as({"psycopg_pool": {"PoolTimeout"}})
_ASYNCPG, _QUEUE = "asyncpg.pool", "asyncio.queues"


@passed_uncalled("failures=sql.failures")
def failures(error: BaseException) -> bool:
    """Return whether a database's exception is its failure: not there, cut off, out of time or resources, shutting down, read-only, no
    login.

    Constraints, bad data, syntax, missing tables, missing rights and conflicts between transactions are the message's own.
    """
    state = _state(error)
    if state is not None:
        return state[:2] in _STATE_CLASSES or state in _STATES
    if network.failures(error) or _is_sqlalchemys(error):
        return True
    return _is_by_number(error) or _is_closed(error)


@passed_uncalled("throttled=sql.throttled")
def throttled(error: object) -> bool:
    """Return whether it is too many connections that a database's exception is about: the server's, or a full pool of one's own.

    The pools are those of asyncpg, psycopg_pool and SQLAlchemy: no connection came free in time. A Dependency without `throttled` asks this
    by itself.
    """
    if not isinstance(error, BaseException):
        return False
    number = error.args[0] if error.args else None
    if _state(error) == _TOO_MANY_STATE or (isinstance(number, int) and number in _TOO_MANY_NUMBERS and _MYSQL(type(error))):
        return True
    if _is_full_pool(type(error)):
        return True
    if _is_psycopg_pool(type(error)):
        return not _has_failed_to_connect(error)
    return (_is_connecting(type(error)) and any(text in str(error) for text in _TOO_MANY_TEXTS)) or _is_waiting_for_asyncpg(error)


def _has_failed_to_connect(error: BaseException) -> bool:
    """Return whether psycopg_pool's own figures say that connecting has failed, or nobody knows: then a pool may be empty, not full.

    The pool is where its exception was raised. Its figures are counted since somebody has taken them (`pop_stats`).
    """
    for frame, _ in walk_tb(error.__traceback__):
        stats = attribute(frame.f_locals.get("self"), "get_stats")
        if frame.f_globals.get("__name__", "").startswith("psycopg_pool.") and callable(stats):
            return bool(cast("Mapping[str, int]", stats()).get("connections_errors"))
    return True


def _is_waiting_for_asyncpg(error: BaseException) -> bool:
    """Return whether a TimeoutError comes from a full pool of asyncpg: it was cut short where the pool waits for a connection to be given
    back. One that was cut short while it connected has another last step."""
    if not isinstance(error, TimeoutError):
        return False
    links: list[BaseException | None] = [error, error.__cause__, error.__context__]
    steps = [frame.f_globals.get("__name__") for link in links if link is not None for frame, _ in walk_tb(link.__traceback__)]
    return (_ASYNCPG, _QUEUE) in pairwise(steps)


def _state(error: BaseException) -> str | None:
    for name in ("sqlstate", "pgcode"):
        state = attribute(error, name)
        if isinstance(state, str) and len(state) == _STATE_LENGTH:
            # mysql-connector has both; its SQLSTATE is mostly HY000, and the number tells more.
            return None if _MYSQL(type(error)) else state
    return None


def _is_by_number(error: BaseException) -> bool:
    result = attribute(error, "sqlite_errorcode")
    if isinstance(result, int):
        return (result & 0xFF) in _RESULT_CODES
    number = error.args[0] if error.args else None
    return isinstance(number, int) and number in _NUMBERS and _MYSQL(type(error))


def _is_sqlalchemys(error: BaseException) -> bool:
    if attribute(error, "connection_invalidated") is True or _is_pool(type(error)):
        return True
    return attribute(error, "code") == _LOST_BEFORE and type(error).__module__.startswith("sqlalchemy")


def _is_closed(error: BaseException) -> bool:
    if _NO_STATE(type(error)):
        return True
    if not _INTERFACE(type(error)):
        return False
    return error.args[:1] == (_CLOSED,) or any(text in str(error) for text in _CLOSED_TEXTS)
