"""A far end for SQLAlchemy: an engine whose connections and statements fail in an outage as its driver's do.

    engine = create_async_engine("sqlite+aiosqlite://")
    script_engine(engine, orders_db)

Outside of an outage the engine works on whatever database it has, which in a test may be SQLite. In an outage each new connection fails,
and each statement on one that is there, with an exception of the engine's own driver, which SQLAlchemy wraps as ever. `_TEXTS` and its
neighbours have what the drivers say.

What is not played: a commit or rollback that meets the outage, and a ping of `pool_pre_ping`. They go through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.util import await_only

from holdgate.runtime.dependency import Dependency
from holdgate.testing.outages import TOO_MUCH, Answered, Hung, Met, Refused, ScriptedDependency, raisable, refusal, reset

__all__ = ["script_engine"]

Kind = Literal["refused", "lost", "silent", "unavailable", "too much"]

# What the client library of PostgreSQL and its servers say. Other databases have texts like these.
_TEXTS: dict[Kind, str] = {
    "refused": "connection failed: Connection refused. Is the server running on that host and accepting TCP/IP connections?",
    "lost": "server closed the connection unexpectedly",
    "silent": "timeout expired",
    "unavailable": "FATAL:  the database system is starting up",
    "too much": "FATAL:  sorry, too many clients already",
}
# PostgreSQL's SQLSTATEs, which there are where a server has answered.
_STATES: dict[Kind, str] = {"unavailable": "57P03", "too much": "53300"}
# MySQL and MariaDB: numbers of the client library (2003, 2013) and of the server.
_NUMBERS: dict[Kind, tuple[int, str]] = {
    "refused": (2003, "Can't connect to MySQL server ([Errno 111] Connection refused)"),
    "lost": (2013, "Lost connection to MySQL server during query"),
    "silent": (2013, "Lost connection to MySQL server during query (timed out)"),
    "unavailable": (1053, "Server shutdown in progress"),
    "too much": (1040, "Too many connections"),
}
# SQLite has no server: a file on a disk that is gone (14), broken (10) or full (13).
_RESULT_CODES: dict[Kind, tuple[int, str]] = {
    "refused": (14, "unable to open database file"),
    "lost": (10, "disk I/O error"),
    "silent": (10, "disk I/O error"),
    "unavailable": (14, "unable to open database file"),
    "too much": (13, "database or disk is full"),
}


def script_engine(engine: Any, dependency: Dependency, *, timeout: float | None = None) -> None:
    """Let an engine fail in the outages of a dependency, for as long as the engine lives.

    - `engine`: an Engine or AsyncEngine.
    - `dependency`: the Dependency whose outages it has.
    - `timeout`: seconds after which its driver gives up on a database that hangs, as your `connect_args` say (`connect_timeout`,
      `command_timeout`, `read_timeout`). None means never.
    """
    sync_engine: Engine = getattr(engine, "sync_engine", engine)
    script = _EngineScript(sync_engine, dependency, timeout)
    event.listen(sync_engine, "do_connect", script.connecting)
    for name in ("do_execute", "do_executemany", "do_execute_no_params"):
        event.listen(sync_engine, name, script.executing)
    event.listen(sync_engine, "handle_error", script.mark_lost)


class _EngineScript:
    """The listeners of one engine."""

    def __init__(self, engine: Engine, dependency: Dependency, timeout: float | None) -> None:
        self._dialect: Any = engine.dialect
        self._stand_in = ScriptedDependency(dependency)
        self._timeout = timeout
        self._lost: WeakSet[Exception] = WeakSet()

    def connecting(self, *_: Any) -> None:
        """Fail to connect. It counts as a call only if it fails: a statement comes after it."""
        met = self._stand_in.meet() if self._stand_in.is_down() else None
        if met is not None:
            raise self._error(met, is_connected=False)

    def executing(self, *_: Any) -> None:
        """Fail to execute a statement."""
        met = self._stand_in.meet()
        if met is not None:
            raise self._error(met, is_connected=True)

    def mark_lost(self, context: Any) -> None:
        """Let SQLAlchemy drop a connection that was lost, where its own look at the driver's connection finds it alive."""
        if context.original_exception in self._lost:
            context.is_disconnect = True

    def _error(self, met: Met, *, is_connected: bool) -> Exception:
        if isinstance(met.fault, Exception):
            return raisable(met.fault)
        times_out = isinstance(met.fault, Hung) and self._hang(met)
        kind = _kind(met, is_connected=is_connected, times_out=times_out)
        if self._dialect.driver == "asyncpg" and not is_connected and kind in _OF_SOCKETS:
            return _OF_SOCKETS[kind]()  # it lets them through
        error: Exception = self._drivers(kind)
        # SQLite has no connection to lose, and with its connection a database in memory would be gone.
        if kind in {"lost", "silent"} and self._dialect.name != "sqlite":
            self._lost.add(error)
        return error

    def _hang(self, met: Met) -> bool:
        if self._dialect.is_async:
            found: bool = await_only(met.hang(self._timeout))
            return found
        return met.hang_in_thread(self._timeout)

    def _drivers(self, kind: Kind) -> Any:
        """Return an exception of the driver."""
        operational: Callable[..., Any] = self._dialect.loaded_dbapi.OperationalError
        if self._dialect.name == "sqlite":
            code, text = _RESULT_CODES[kind]
            error = operational(text)
            error.sqlite_errorcode = code
            return error
        if self._dialect.name in {"mysql", "mariadb"}:
            return operational(*_NUMBERS[kind])
        error = operational(_TEXTS[kind])
        if kind in _STATES and self._dialect.driver != "psycopg2":  # it has none for a connection that was not made
            error.sqlstate = _STATES[kind]
        return error


_OF_SOCKETS: dict[Kind, Callable[[], Exception]] = {"refused": refusal, "lost": reset, "silent": asyncio.TimeoutError}


def _kind(met: Met, *, is_connected: bool, times_out: bool) -> Kind:
    if isinstance(met.fault, Answered):
        return "too much" if met.fault.status == TOO_MUCH else "unavailable"
    if isinstance(met.fault, Refused) and not is_connected:
        return "refused"
    return "silent" if times_out else "lost"
