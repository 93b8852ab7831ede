"""Tests of yours: each client's far end, scripted. The handlers are as they are in production."""

import aiohttp
import grpc.aio
import redis.asyncio
import requests
import sqlalchemy
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from holdgate import Delivery, Dependency, http
from holdgate.presets import grpc as grpc_errors
from holdgate.presets import redis as redis_errors
from holdgate.presets import sql
from holdgate.testing import Hung, Outage, in_virtual_time, rehearse, rehearse_async
from holdgate.testing.scripted.aiohttp import ScriptedConnector
from holdgate.testing.scripted.grpc import AsyncScriptedChannel
from holdgate.testing.scripted.redis import AsyncScriptedConnection
from holdgate.testing.scripted.requests import Reply, ScriptedAdapter
from holdgate.testing.scripted.sqlalchemy import script_engine

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
cache = Dependency("cache", failures=redis_errors.failures)
orders_db = Dependency("orders-db", failures=sql.failures)
bank = Dependency("bank", failures=grpc_errors.failures, retry_after=grpc_errors.retry_after)

outage = Outage(10, 70, fault=Hung())


# region requests
session = requests.Session()
session.mount("https://", ScriptedAdapter(payments, lambda _: Reply(201, {"paid": True})))


def with_requests(delivery: Delivery) -> None:  # a plain handler runs in a thread
    session.post("https://bank.example/charges", data=delivery.body, timeout=5).raise_for_status()


def test_requests() -> None:
    assert rehearse(with_requests, needs=[payments], outage=outage).problems == ()


# endregion


# region aiohttp
@in_virtual_time
async def test_aiohttp() -> None:
    patience = aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(connector=ScriptedConnector(payments), timeout=patience) as session:

        async def charge(delivery: Delivery) -> None:
            async with session.post("https://bank.example/charges", data=delivery.body) as response:
                response.raise_for_status()

        report = await rehearse_async(charge, needs=[payments], outage=outage)

    assert report.problems == ()


# endregion


# region redis
pool = redis.asyncio.ConnectionPool(
    connection_class=AsyncScriptedConnection, dependency=cache, socket_timeout=5, retry=Retry(NoBackoff(), 1)
)
client = redis.asyncio.Redis(connection_pool=pool)


async def with_redis(delivery: Delivery) -> None:
    await client.set("last-order", delivery.body or b"")


def test_redis() -> None:
    assert rehearse(with_redis, needs=[cache], outage=outage).problems == ()


# endregion


# region sqlalchemy
engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.StaticPool, connect_args={"check_same_thread": False})
script_engine(engine, orders_db, timeout=5)


def with_sqlalchemy(delivery: Delivery) -> None:
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("INSERT INTO orders VALUES (:body)"), {"body": delivery.body})


def test_sqlalchemy() -> None:
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE orders (body)"))

    assert rehearse(with_sqlalchemy, needs=[orders_db], outage=outage).problems == ()


# endregion


# region grpc
channel: grpc.aio.Channel = AsyncScriptedChannel(bank, {"/bank.Payments/Charge": lambda _: b"charged"})
charge = channel.unary_unary("/bank.Payments/Charge")  # or a generated stub: PaymentsStub(channel).Charge


async def with_grpc(delivery: Delivery) -> None:
    await charge(delivery.body, timeout=5)


def test_grpc() -> None:
    assert rehearse(with_grpc, needs=[bank], outage=outage).problems == ()


# endregion
