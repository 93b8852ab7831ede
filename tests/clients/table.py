"""The whole table of clients, each as a handler meets it: a call that succeeds, one that fails by its message's own fault, and one for
each situation of an outage. The far ends are real sockets and servers, for as long as `standing` is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.clients import test_http_clients as http_cells
from tests.clients.http_clients import CALLS
from tests.clients.installed import installed
from tests.clients.places import IN_VAIN, PATIENCE, Serve, answer, refusing, serving
from tests.servers.kafka import KafkaServer
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq_address import RabbitMQAddress

from holdgate import http

Call = Callable[[], Awaitable[Any]]
# A client's call of a port, with the seconds that it waits.
Knock = Callable[[int, float], Awaitable[Any]]

WELL, OWN = "well", "own"


@dataclass(frozen=True, slots=True)
class Client:
    """One client of one kind of dependency. `any_loop`: whether its calls may be made in an event loop of somebody's own."""

    family: str
    name: str
    preset: ModuleType
    well: Call
    own_fault: Call
    outage: Mapping[str, Call]
    any_loop: bool = True


@dataclass(frozen=True, slots=True)
class Brokers:
    """The brokers that handlers publish to; `proxy` stands before the Kafka, and the outage goes through it."""

    kafka: KafkaServer
    proxy: Proxy
    rabbitmq: RabbitMQAddress


@asynccontextmanager
async def standing(brokers: Brokers) -> AsyncIterator[list[Client]]:
    """Every client that is installed, with its far ends."""
    async with AsyncExitStack() as stack:
        families: Sequence[Callable[[AsyncExitStack, Brokers], Awaitable[list[Client]]]]
        families = [_http]
        if not installed("niquests"):  # its environment has HTTP clients alone
            families = [_http, _sql, _redis, _grpc, _aws, _search, _mongo, _smtp, _amqp, _kafka]
        yield [client for family in families for client in await family(stack, brokers)]


async def _ports(stack: AsyncExitStack, serves: Mapping[str, Serve | None]) -> dict[str, int]:
    return {name: await stack.enter_async_context(refusing() if serve is None else serving(serve)) for name, serve in serves.items()}


def _on_sockets(family: str, name: str, preset: ModuleType, knock: Knock, ports: Mapping[str, int], outage: Iterable[str]) -> Client:  # noqa: PLR0917
    """A client that is told its port; the servers of `WELL` and `OWN` are among the ports."""

    def at(situation: str) -> Call:
        return partial(knock, ports[situation], IN_VAIN if situation == "hung" else PATIENCE)

    return Client(family, name, preset, at(WELL), at(OWN), {situation: at(situation) for situation in outage})


async def _http(stack: AsyncExitStack, _: Brokers) -> list[Client]:
    ports = await _ports(stack, {**http_cells.OUTAGES, WELL: answer(200), "422": answer(422), OWN: answer(200, b"<html>")})

    def client(name: str, call: Callable[[str, float], Awaitable[Any]]) -> Client:
        raises_for_no = http_cells.NO_STATUS.get(name, set())
        own = {} if "422" in raises_for_no else {OWN: ports["422"]}
        outage = [situation for situation in http_cells.OUTAGES if situation not in raises_for_no]
        return _on_sockets(
            "http", name, http, lambda port, patience: call(f"http://127.0.0.1:{port}/charges", patience), ports | own, outage
        )

    return [client(name, call) for name, call in CALLS.items()]


async def _sql(stack: AsyncExitStack, _: Brokers) -> list[Client]:
    from tests.clients import test_sql_clients as cells
    from tests.clients.small_servers import mysql
    from tests.clients.sql_clients import MYSQL, POSTGRES, Run

    from holdgate.presets import sql

    port = stack.enter_context(cells.database())
    ports = await _ports(stack, cells.SOCKETS | {WELL: mysql})
    mysql_ports = await _ports(stack, cells.MYSQL_SOCKETS | {WELL: mysql})
    duplicate = "INSERT INTO orders VALUES (1, 5)"

    def patience(situation: str) -> float:
        return cells.IN_VAIN if situation == "hung" else PATIENCE

    def postgres(name: str, run: Run) -> Client:
        outage: dict[str, Call] = {
            situation: partial(run, ports[situation], "postgres", "postgres", ["SELECT 1"], patience(situation))
            for situation in cells.SOCKETS
        }
        outage |= {situation: partial(run, port, *asked, PATIENCE) for situation, asked in cells.OUTAGES.items()}
        at = partial(run, port, "postgres", "postgres")
        return Client("sql", name, sql, partial(at, ["SELECT 1"], PATIENCE), partial(at, [duplicate], PATIENCE), outage)

    def small(name: str, run: Run) -> Client:
        def at(situation: str, statement: str = "SELECT 1") -> Call:
            return partial(run, mysql_ports[situation], "root", "orders", [statement], patience(situation))

        return Client("sql", name, sql, at(WELL), at(WELL, duplicate), {situation: at(situation) for situation in cells.MYSQL_SOCKETS})

    return [postgres(*client) for client in POSTGRES.items()] + [small(*client) for client in MYSQL.items()]


async def _redis(stack: AsyncExitStack, _: Brokers) -> list[Client]:
    from tests.clients import test_redis_clients as cells
    from tests.clients.servers import redis

    from holdgate.presets import redis as preset

    ports = await _ports(stack, cells.SOCKETS | {situation: cells.replying(reply) for situation, reply in cells.REPLIES.items()})
    well = stack.enter_context(redis())
    # What ends a server, or blocks it for everybody, has one for each call; all others stay as their first call made them.
    for_each_call = ("shut down", "script without end")
    troubled = {situation: stack.enter_context(redis()) for situation in cells.TROUBLES if situation not in for_each_call}

    def get(connection: Any) -> Awaitable[Any]:
        return connection.get("nothing")  # type: ignore[no-any-return]

    async def use(name: str, port: int, what: Callable[[Any], Awaitable[Any]], patience: float = PATIENCE) -> None:
        async with cells.connected(name, port, patience) as connection:
            await what(connection)

    async def use_once(name: str, what: Callable[[Any], Awaitable[Any]]) -> None:
        with ExitStack() as own:
            port = await asyncio.to_thread(own.enter_context, redis())
            try:
                await use(name, port, what)
            finally:
                await asyncio.to_thread(own.close)

    def client(name: str) -> Client:
        outage: dict[str, Call] = {
            situation: partial(use, name, port, get, IN_VAIN if situation == "hung" else PATIENCE) for situation, port in ports.items()
        }
        outage |= {situation: partial(use, name, port, cells.TROUBLES[situation]) for situation, port in troubled.items()}
        outage |= {situation: partial(use_once, name, cells.TROUBLES[situation]) for situation in for_each_call}
        own_fault = partial(use, name, well, cells.OWN_FAULTS["wrong type"])
        return Client("redis", f"{name} (asyncio)", preset, partial(use, name, well, get), own_fault, outage)

    return [client(name) for name in cells.CLIENTS]


async def _grpc(stack: AsyncExitStack, _: Brokers) -> list[Client]:
    from tests.clients import test_grpc_clients as cells

    from holdgate.presets import grpc as preset

    async def method(context: Any) -> None:
        pass

    async def broken(context: Any) -> None:
        raise ValueError

    servers = {code: cells.aborting(code) for code in cells.FAILURES}
    servers |= {WELL: method, OWN: cells.aborting("FAILED_PRECONDITION"), "method raises": broken}
    ports = await _ports(stack, cells.SOCKETS)
    ports |= {name: await stack.enter_async_context(cells.server(does)) for name, does in servers.items()}
    outage = [name for name in ports if name not in (WELL, OWN)]
    return [
        # Its event loop is the first that it saw.
        replace(_on_sockets("grpc", "grpc.aio", preset, cells.call, ports, outage), any_loop=False),
        _on_sockets("grpc", "grpc", preset, lambda port, patience: asyncio.to_thread(cells.call_plainly, port, patience), ports, outage),
    ]


async def _aws(stack: AsyncExitStack, _: Brokers) -> list[Client]:
    from tests.clients import test_aws_clients as cells

    from holdgate.presets import aws as preset

    serves = cells.SOCKETS | cells.TROUBLES
    ports = await _ports(stack, serves | {WELL: answer(200), OWN: cells.OWN_FAULTS["ConditionalCheckFailed"]})
    clients = [_on_sockets("aws", name, preset, knock, ports, serves) for name, knock in cells.CLIENTS.items()]
    without = {"no credentials": partial(asyncio.to_thread, cells.put_without_credentials)}
    return [replace(client, outage={**client.outage, **without}) if client.name == "botocore" else client for client in clients]


async def _search(stack: AsyncExitStack, _: Brokers) -> list[Client]:
    from tests.clients import test_search_clients as cells

    from holdgate.presets import search as preset

    in_bulk = {situation: serve for situation, (serve, is_failure) in cells.BULKS.items() if is_failure}
    serves = cells.SOCKETS | cells.TROUBLES
    ports = await _ports(stack, serves | {WELL: answer(200, headers=cells.PRODUCT), OWN: cells.OWN_FAULTS["conflict"]} | in_bulk)

    def client(name: str, call: Callable[..., Awaitable[Any]]) -> Client:
        bulks = {situation: partial(call, ports[situation], PATIENCE, in_bulk=True) for situation in in_bulk}
        alone = _on_sockets("search", name, preset, call, ports, serves)
        return replace(alone, outage={**alone.outage, **bulks})

    return [client(name, call) for name, call in cells.CLIENTS.items()]


async def _mongo(stack: AsyncExitStack, _: Brokers) -> list[Client]:
    from tests.clients import test_mongo_clients as cells
    from tests.clients.small_servers import mongo

    from holdgate.presets import mongo as preset

    serves = cells.SOCKETS | {situation: mongo(reply) for situation, (reply, is_failure) in cells.REPLIES.items() if is_failure}
    duplicate = {"ok": 1, "n": 0, "writeErrors": [{"index": 0, "code": 11000, "errmsg": "E11000"}]}
    ports = await _ports(stack, serves | {WELL: mongo({"ok": 1, "n": 1}), OWN: mongo(duplicate)})

    def knock(call: Callable[..., Awaitable[Any]]) -> Knock:
        # The driver tries every socket again until its own time is over; only a server that talks its language answers at once.
        vain = {ports[situation] for situation in cells.SOCKETS}
        return lambda port, patience: call(port, IN_VAIN if port in vain else PATIENCE)

    return [_on_sockets("mongo", name, preset, knock(call), ports, serves) for name, call in cells.CLIENTS.items()]


async def _smtp(stack: AsyncExitStack, _: Brokers) -> list[Client]:
    from tests.clients import test_smtp_clients as cells

    from holdgate.presets import smtp as preset

    serves = cells.SOCKETS | cells.TROUBLES
    ports = await _ports(stack, serves | {WELL: cells.relay({}), OWN: cells.OWN_FAULTS["550 recipients"]})
    with_login = {port for situation, port in ports.items() if "login" in situation}

    def knock(send: Callable[..., Awaitable[Any]]) -> Knock:
        return lambda port, patience: send(port, patience, login=port in with_login)

    return [_on_sockets("smtp", name, preset, knock(send), ports, serves) for name, send in cells.CLIENTS.items()]


async def _amqp(stack: AsyncExitStack, brokers: Brokers) -> list[Client]:
    import aio_pika
    from tests.clients import test_amqp_clients as cells

    from holdgate.presets import amqp as preset

    rabbitmq = brokers.rabbitmq
    names = SimpleNamespace(full="clients-outage-full", well="clients-outage-well")
    await rabbitmq.declare(names.full, {"x-max-length": 1, "x-overflow": "reject-publish"})
    stack.push_async_callback(rabbitmq.delete, names.full)
    await rabbitmq.declare(names.well)
    stack.push_async_callback(rabbitmq.delete, names.well)
    ports = await _ports(stack, cells.SOCKETS)

    async def connect(url: str, patience: float) -> None:
        await (await aio_pika.connect(url, timeout=patience)).close()

    async def publish(what: Callable[[Any, Proxy], Awaitable[Any]]) -> None:
        async with cells.publishing(rabbitmq.url) as (channel, proxy):
            await what(channel, proxy)

    async def channel_gone(channel: Any, proxy: Proxy) -> None:
        try:
            await cells.cut_off(channel, proxy)
        except Exception:  # noqa: BLE001 - whoever publishes next is meant
            await channel.default_exchange.publish(cells.HELLO, "anywhere")

    async def to_nowhere(channel: Any, _: Proxy) -> None:
        await (await channel.get_exchange("nowhere", ensure=False)).publish(cells.HELLO, "anywhere")

    outage: dict[str, Call] = {
        situation: partial(connect, f"amqp://guest:guest@127.0.0.1:{port}/", IN_VAIN if situation == "hung" else PATIENCE)
        for situation, port in ports.items()
    }
    outage |= {
        "wrong password": partial(connect, cells.with_a_wrong_password(rabbitmq.url), PATIENCE),
        "cut off": partial(publish, cells.cut_off),
        "channel gone": partial(publish, channel_gone),
        "not confirmed in time": partial(publish, cells.not_confirmed),
        "queue full": partial(publish, lambda channel, _: cells.fill(channel, names.full)),
    }
    well = partial(publish, lambda channel, _: channel.default_exchange.publish(cells.HELLO, names.well))
    return [Client("amqp", "aio-pika", preset, well, partial(publish, to_nowhere), outage)]


async def _kafka(stack: AsyncExitStack, brokers: Brokers) -> list[Client]:
    from confluent_kafka import Producer
    from tests.clients import test_kafka_clients as cells

    from holdgate.presets import kafka as preset

    topic, unseen = [await brokers.kafka.create_topic(f"clients-outage-{word}") for word in (WELL, "unseen")]
    for name in (topic, unseen):
        stack.push_async_callback(brokers.kafka.delete_topic, name)
    ports = await _ports(stack, cells.SOCKETS)
    # It lives through the outage, as a worker's does: when the proxy refuses, what it sends ends with its own time.
    producer = await stack.enter_async_context(cells.working(brokers.proxy.address))

    async def start(port: int) -> None:
        async with cells.producing(f"127.0.0.1:{port}", 500):
            pass

    outage: dict[str, Call] = {situation: partial(start, port) for situation, port in ports.items()}
    outage["cut off"] = partial(producer.send_and_wait, topic, b"hello")
    outage["cut off before the first record"] = partial(producer.send_and_wait, unseen, b"hello")
    well, own = partial(producer.send_and_wait, topic, b"hello"), partial(producer.send_and_wait, topic, b"x" * 2_000_000)

    def ask(address: str, seconds: float) -> None:
        Producer({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=seconds)

    def too_large() -> None:
        Producer({"bootstrap.servers": brokers.kafka.bootstrap, "log_level": 0}).produce(topic, b"x" * 2_000_000)

    in_thread = partial(partial, asyncio.to_thread)
    plainly = {"refused": in_thread(ask, f"127.0.0.1:{ports['refused']}", 0.5)}
    return [
        Client("kafka", "aiokafka", preset, well, own, outage, any_loop=False),
        Client("kafka", "confluent-kafka", preset, in_thread(ask, brokers.kafka.bootstrap, PATIENCE), in_thread(too_large), plainly),
    ]
