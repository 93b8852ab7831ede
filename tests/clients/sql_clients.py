"""Statements through each client of SQL databases, as its documentation shows it: it raises whatever that client raises.

`run(port, user, database, statements, patience)`: what the statements before the last one raise is dropped, so that the last can find the
connection in the state that they left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from tests.clients.installed import installed

Run = Callable[[int, str, str, Sequence[str], float], Awaitable[Any]]


async def with_asyncpg(port: int, user: str, database: str, statements: Sequence[str], patience: float) -> None:
    import asyncpg

    connection = await asyncpg.connect(
        host="127.0.0.1", port=port, user=user, database=database, password="none", timeout=patience, command_timeout=patience, ssl=False
    )
    try:
        for statement in statements[:-1]:
            with suppress(Exception):
                await connection.execute(statement)
        await connection.execute(statements[-1])
    finally:
        connection.terminate()


def with_psycopg(port: int, user: str, database: str, statements: Sequence[str], patience: float) -> None:
    import psycopg

    _by_cursor(psycopg.connect(_libpq(port, user, database, patience), autocommit=True), statements)


async def with_psycopg_async(port: int, user: str, database: str, statements: Sequence[str], patience: float) -> None:
    import psycopg

    connection = await psycopg.AsyncConnection.connect(_libpq(port, user, database, patience), autocommit=True)
    try:
        for statement in statements[:-1]:
            with suppress(Exception):
                await connection.execute(statement)
        await connection.execute(statements[-1])
    finally:
        await connection.close()


def with_psycopg2(port: int, user: str, database: str, statements: Sequence[str], patience: float) -> None:
    import psycopg2

    connection = psycopg2.connect(_libpq(port, user, database, patience))
    connection.autocommit = True
    _by_cursor(connection, statements)


def with_pymysql(port: int, user: str, database: str, statements: Sequence[str], patience: float) -> None:
    import pymysql

    _by_cursor(
        pymysql.connect(host="127.0.0.1", port=port, user=user, database=database, connect_timeout=patience, read_timeout=patience),
        statements,
    )


async def with_aiomysql(port: int, user: str, database: str, statements: Sequence[str], patience: float) -> None:
    """Its connect_timeout covers the connection and not the greeting, and a query has no limit: a user's own time limit covers all.

    Not both: where both end in the same step, `asyncio.wait_for` of Python 3.11 drops the cancellation, and the greeting is waited for
    without a limit.
    """
    import aiomysql

    async with asyncio.timeout(patience):
        connection = await aiomysql.connect(host="127.0.0.1", port=port, user=user, db=database)
        try:
            async with connection.cursor() as cursor:
                await cursor.execute(statements[-1])
        finally:
            connection.close()


async def with_sqlalchemy_asyncpg(port: int, user: str, database: str, statements: Sequence[str], patience: float) -> None:
    await _by_async_engine(f"postgresql+asyncpg://{user}:none@127.0.0.1:{port}/{database}", statements, timeout=patience, ssl=False)


async def with_sqlalchemy_psycopg(port: int, user: str, database: str, statements: Sequence[str], patience: float) -> None:
    url = f"postgresql+psycopg://{user}:none@127.0.0.1:{port}/{database}"
    await _by_async_engine(url, statements, connect_timeout=int(patience), sslmode="disable", gssencmode="disable")


def with_sqlalchemy_psycopg2(port: int, user: str, database: str, statements: Sequence[str], patience: float) -> None:
    import sqlalchemy

    url = f"postgresql+psycopg2://{user}:none@127.0.0.1:{port}/{database}"
    engine = sqlalchemy.create_engine(url, connect_args={"connect_timeout": int(patience), "sslmode": "disable", "gssencmode": "disable"})
    try:
        with engine.connect() as connection:
            for statement in statements[:-1]:
                with suppress(Exception):
                    connection.execute(sqlalchemy.text(statement))
            connection.execute(sqlalchemy.text(statements[-1]))
    finally:
        engine.dispose()


async def _by_async_engine(url: str, statements: Sequence[str], **connect: Any) -> None:
    import sqlalchemy
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(url, connect_args=connect)
    try:
        async with engine.connect() as connection:
            for statement in statements[:-1]:
                with suppress(Exception):
                    await connection.execute(sqlalchemy.text(statement))
            await connection.execute(sqlalchemy.text(statements[-1]))
    finally:
        await engine.dispose()


def _by_cursor(connection: Any, statements: Sequence[str]) -> None:
    try:
        for statement in statements[:-1]:
            with suppress(Exception):
                connection.cursor().execute(statement)
        connection.cursor().execute(statements[-1])
    finally:
        with suppress(Exception):
            connection.close()


def _libpq(port: int, user: str, database: str, patience: float) -> str:
    # libpq counts whole seconds, from 2 on.
    return f"host=127.0.0.1 port={port} user={user} dbname={database} connect_timeout={int(patience)} sslmode=disable gssencmode=disable"


def _in_thread(run: Callable[[int, str, str, Sequence[str], float], Any]) -> Run:
    return lambda *arguments: asyncio.to_thread(run, *arguments)


# What it is called in the table, the package that raises, and the call.
_POSTGRES: tuple[tuple[str, str, Run], ...] = (
    ("asyncpg", "asyncpg", with_asyncpg),
    ("psycopg", "psycopg", _in_thread(with_psycopg)),
    ("psycopg (async)", "psycopg", with_psycopg_async),
    ("psycopg2", "psycopg2-binary", _in_thread(with_psycopg2)),
    ("SQLAlchemy, asyncpg", "sqlalchemy", with_sqlalchemy_asyncpg),
    ("SQLAlchemy, psycopg", "sqlalchemy", with_sqlalchemy_psycopg),
    ("SQLAlchemy, psycopg2", "sqlalchemy", _in_thread(with_sqlalchemy_psycopg2)),
)
_MYSQL: tuple[tuple[str, str, Run], ...] = (
    ("pymysql", "pymysql", _in_thread(with_pymysql)),
    ("aiomysql", "aiomysql", with_aiomysql),
)
POSTGRES = {name: run for name, package, run in _POSTGRES if installed(package)}
MYSQL = {name: run for name, package, run in _MYSQL if installed(package)}
PACKAGES = {name: package for name, package, _ in _POSTGRES + _MYSQL}
