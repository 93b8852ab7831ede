"""Which exceptions of SQL databases are the dependency's failures.

PostgreSQL by its SQLSTATE (asyncpg, psycopg 3 and 2), MySQL and MariaDB by the error's number (aiomysql, pymysql, mysqlclient,
mysql-connector), SQLite by its result code, Oracle by its code (oracledb), SQL Server by its number (pymssql), anything behind ODBC by its
SQLSTATE (pyodbc, aioodbc), each plain or under SQLAlchemy. Class names alone do not tell: an OperationalError is a lost connection as well
as a missing table.

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
from holdgate.signs import recognised_by
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

# ODBC's states for a time that is over. A driver manager without its driver (IM002) is a mistake of the machine.
_ODBC = known_in(("pyodbc", "aioodbc"), {"Error"})
_ODBC_TIMEOUTS = frozenset({"HYT00", "HYT01"})

# Oracle's codes, its server's and the driver's. The server: sessions (00018, 00020), killed (00028), starting or stopping (01033, 01034,
# 01089, 01090, 01092), login (01017, 28000), out of space (01653, 01654, 19809), idle too long (02396), cut off (03113, 03114, 03135,
# 12537, 12547, 12571), no such service or nobody there (12154, 12170, 12505, 12514, 12528, 12541, 12543), no handler (12516, 12519, 12520),
# read-only (16000). The driver: no connection (1001), no connection of the pool in time (4005), cut off (4011), out of time (4024), cannot
# connect (6000-6006).
_ORACLE = known_as({"oracledb": {"Error"}})
_TOO_MANY_CODES = frozenset({"ORA-00018", "ORA-00020", "ORA-12516", "ORA-12519", "ORA-12520", "DPY-4005"})
_CODES = _TOO_MANY_CODES | frozenset(
    {
        *("ORA-00028", "ORA-01017", "ORA-01033", "ORA-01034", "ORA-01089", "ORA-01090", "ORA-01092", "ORA-01653", "ORA-01654", "ORA-02396"),
        *("ORA-03113", "ORA-03114", "ORA-03135", "ORA-12154", "ORA-12170", "ORA-12505", "ORA-12514", "ORA-12528", "ORA-12537", "ORA-12541"),
        *("ORA-12543", "ORA-12547", "ORA-12571", "ORA-16000", "ORA-19809", "ORA-28000"),
        *("DPY-1001", "DPY-4011", "DPY-4024", *(f"DPY-{number}" for number in range(6000, 6007))),
    }
)

# SQL Server's numbers: cannot connect, cut off, out of time (20002-20009, 20047 of DB-Library; 64, 121, 233, 10053, 10054, 10060), login
# and no such database (4060, 18456), out of space (1101, 1105, 9002), shutting down (6005), Azure: failing over or too busy (40143, 40197,
# 40501, 40540, 40613, 10928, 10929, 49918-49920), read-only (3906).
_SQL_SERVER = known_in(("pymssql", "_mssql"), {"Error", "MSSQLException"})
_TOO_MANY_OF_SQL_SERVER = frozenset({10928, 10929, 40501, 49918, 49919, 49920})
_NUMBERS_OF_SQL_SERVER = _TOO_MANY_OF_SQL_SERVER | frozenset(
    {
        *(64, 121, 233, 1101, 1105, 3906, 4060, 6005, 9002, 10053, 10054, 10060, 18456, *range(20002, 20010), 20047),
        *(40143, 40197, 40540, 40613),
    }
)

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


def _is_timeout(cls: type[BaseException]) -> bool:
    return issubclass(cls, TimeoutError)


# Whose class leads to a state, a number, a code or a text in an argument, or says by itself what it is.
_TELLING = (_ODBC, _MYSQL, _ORACLE, _SQL_SERVER, _is_full_pool, _is_psycopg_pool, _is_connecting, _is_timeout)


@passed_uncalled("failures=sql.failures")
def failures(error: BaseException) -> bool:
    """Return whether a database's exception is its failure: not there, cut off, out of time or resources, shutting down, read-only, no
    login.

    Constraints, bad data, syntax, missing tables, missing rights and conflicts between transactions are the message's own.
    """
    state = _state(error)
    if state is not None:
        return state[:2] in _STATE_CLASSES or state in _STATES or state in _ODBC_TIMEOUTS
    if network.failures(error) or _is_sqlalchemys(error):
        return True
    return _is_by_number(error) or _is_closed(error)


@recognised_by("sqlstate", "pgcode", classes=_TELLING)
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
    if _code_of_oracle(error) in _TOO_MANY_CODES or _number_of_sql_server(error) in _TOO_MANY_OF_SQL_SERVER:
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
    first = error.args[0] if error.args and _ODBC(type(error)) else None
    return first if isinstance(first, str) and len(first) == _STATE_LENGTH else None


def _code_of_oracle(error: BaseException) -> object:
    """Return the code of oracledb's exception, whose only argument keeps it. None means that there is none."""
    return attribute(error.args[0], "full_code") if error.args and _ORACLE(type(error)) else None


def _number_of_sql_server(error: BaseException) -> int | None:
    """Return the number of pymssql's exception. Where connecting failed it is in a tuple in its argument."""
    first: object = error.args[0] if error.args and _SQL_SERVER(type(error)) else None
    if isinstance(first, tuple) and first:
        first = cast("tuple[object, ...]", first)[0]
    return first if isinstance(first, int) else None


def _is_by_number(error: BaseException) -> bool:
    if _code_of_oracle(error) in _CODES or _number_of_sql_server(error) in _NUMBERS_OF_SQL_SERVER:
        return True
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
