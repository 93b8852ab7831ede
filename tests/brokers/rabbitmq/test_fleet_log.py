"""What goes wrong with a log in a stream: each refusal has its remedy, and the consumer beside it never suffers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aio_pika
import pytest

from holdgate.brokers.rabbitmq import RabbitMQFleetLog, fleet_log
from holdgate.brokers.rabbitmq.fleet_log import StreamMade
from holdgate.errors import FleetLogError, SettingsError

if TYPE_CHECKING:
    from tests.servers.rabbitmq import RabbitMQServer

LetIn = Callable[..., Awaitable[str]]
PATIENCE = 60.0
PASSWORD = "canary-password"  # noqa: S105 - of servers of ours


@asynccontextmanager
async def opened(where: object, stream: str) -> AsyncIterator[RabbitMQFleetLog]:
    log = RabbitMQFleetLog(where, stream)  # type: ignore[arg-type]
    await log.open()
    try:
        yield log
    finally:
        await log.close()


@pytest.fixture
async def stream(own_rabbitmq: RabbitMQServer) -> AsyncIterator[str]:
    """A stream of the test's own, with a dot in its name."""
    name = await own_rabbitmq.declare(f"fleet.{uuid.uuid4().hex[:8]}", fleet_log.STREAM)
    yield name
    await own_rabbitmq.delete(name)


async def refusal_of(where: str, stream: str) -> str:
    """Return why a log cannot be opened."""
    with pytest.raises(FleetLogError) as raised:
        await RabbitMQFleetLog(where, stream).open()
    assert "canary" not in str(raised.value)
    return str(raised.value)


def size_of(server: RabbitMQServer, stream: str) -> int:
    """Return the bytes of a stream on disk."""
    files = server._folder.glob(f"**/stream/*{stream.partition('.')[2]}*/*")
    return sum(path.stat().st_size for path in files)


async def read_all(log: RabbitMQFleetLog, last: bytes) -> list[bytes]:
    """Read until this record has come, and return all that came."""
    found: list[bytes] = []
    async with asyncio.timeout(PATIENCE):
        while last not in found:
            found += [entry.data for entry in await log.read()]
    return found


async def test_the_permissions_of_the_remedy_are_enough(let_in: LetIn, stream: str) -> None:
    """Without one of them the error tells what to give; with that, and nothing else, a log opens, writes and reads."""
    pattern = stream.replace(".", r"\.")
    remedy = rf"'^$' '^amq\.default$' '^{pattern}$'"
    assert remedy in await refusal_of(await let_in("^$", r"^amq\.default$", "^$"), stream)
    async with opened(await let_in("^$", "^$", f"^{pattern}$"), stream) as log:
        with pytest.raises(FleetLogError) as raised:
            await log.append([b"forbidden"])
        assert remedy in str(raised.value)
    async with opened(await let_in("^$", r"^amq\.default$", f"^{pattern}$"), stream) as log:
        await log.append([b"first"])
        assert await read_all(log, b"first") == [b"first"]


async def test_who_may_not_see_the_virtual_host_is_told(let_in: LetIn) -> None:
    """A user without any permission gets in nowhere."""
    assert "refuses the virtual host" in await refusal_of(await let_in(), "fleet")


async def test_a_wrong_password_is_told_without_it(own_rabbitmq: RabbitMQServer) -> None:
    """The error says to check the URL, and quotes no password."""
    assert "refuses this user or password" in await refusal_of(own_rabbitmq.as_user("guest", "canary-wrong"), "fleet")


@pytest.mark.versions
@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_a_queue_of_another_type_is_left_alone(own_rabbitmq: RabbitMQServer, kind: str) -> None:
    """A queue that is no stream is refused, and none of its messages is touched."""
    name = await own_rabbitmq.declare(f"{kind}-{uuid.uuid4().hex[:8]}", {"x-queue-type": kind})
    await own_rabbitmq.publish(name, [b"mine"])
    assert "is no stream: delete it" in await refusal_of(own_rabbitmq.url, name)
    (message,) = await own_rabbitmq.waiting(name)
    assert (message.body, message.returns, message.redelivered) == (b"mine", 0, False)
    await own_rabbitmq.delete(name)


async def test_where_nothing_listens_the_address_is_named() -> None:
    """The error has host and port, and what to check."""
    assert "no RabbitMQ broker answers at 127.0.0.1:1/" in await refusal_of(f"amqp://guest:{PASSWORD}@127.0.0.1:1/", "fleet")


async def test_a_silent_server_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What accepts and never answers ends an `open`."""
    monkeypatch.setattr(fleet_log, "_CONNECT_WITHIN", 0.2)
    done = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        refusal = await refusal_of(f"amqp://guest:{PASSWORD}@127.0.0.1:{server.sockets[0].getsockname()[1]}/", "fleet")
        done.set()
    assert "within 0.2 s" in refusal


async def test_a_frozen_broker_has_a_time_limit(own_rabbitmq: RabbitMQServer, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An append and a read that wait for it raise; afterwards both work, and what was written meanwhile is there once."""
    async with opened(own_rabbitmq.url, stream) as log:
        await log.append([b"before"])
        assert await read_all(log, b"before") == [b"before"]
        reading = asyncio.ensure_future(log.read())
        for limit in ("_ANSWER_WITHIN", "_CONNECT_WITHIN"):
            monkeypatch.setattr(fleet_log, limit, 0.5)
        own_rabbitmq.freeze()
        try:
            with pytest.raises(FleetLogError, match=r"has not answered within 0\.5 s"):
                await log.append([b"frozen"])
            with pytest.raises(FleetLogError, match="has not answered"):
                await reading
            with pytest.raises(FleetLogError, match=r"within 0\.5 s"):
                await log.read()
        finally:
            own_rabbitmq.thaw()
            monkeypatch.undo()
        await log.append([b"after"])
        found = await read_all(log, b"after")
        assert found.count(b"after") == 1
        assert found.count(b"frozen") <= 1


async def test_a_stream_that_is_deleted_ends_the_read(own_rabbitmq: RabbitMQServer) -> None:
    """A read that waits raises with what happened, the next call with what to do, and it creates nothing."""
    name = await own_rabbitmq.declare(f"fleet-{uuid.uuid4().hex[:8]}", fleet_log.STREAM)
    async with opened(own_rabbitmq.url, name) as log:
        await log.append([b"first"])
        assert await read_all(log, b"first") == [b"first"]
        reading = asyncio.ensure_future(log.read())
        await own_rabbitmq.delete(name)
        with pytest.raises(FleetLogError, match="was deleted"):
            await reading
        for call in (log.read(), log.append([b"second"]), log.read()):
            with pytest.raises(FleetLogError, match=r"there is no stream .*holdgate fleet create"):
                await call


async def test_a_lost_connection_is_replaced_without_a_repetition(own_rabbitmq: RabbitMQServer, stream: str) -> None:
    """The connection is cut again and again while records come: each is read once, in order."""
    proxy = own_rabbitmq.proxy()
    async with proxy, opened(own_rabbitmq.url, stream) as writer, opened(own_rabbitmq.url_through(proxy), stream) as log:
        found: list[bytes] = []
        for turn in range(5):
            wanted = [b"%d %d" % (turn, number) for number in range(10)]
            await writer.append(wanted[:5])
            if turn % 2:
                found += await read_all(log, wanted[4])
            proxy.reset()
            await writer.append(wanted[5:])
            async with asyncio.timeout(PATIENCE):
                while wanted[-1] not in found:
                    try:
                        found += [entry.data for entry in await log.read()]
                    except FleetLogError as error:
                        assert "was lost" in str(error)  # noqa: PT017 - it need not be raised
        assert found == [b"%d %d" % (turn, number) for turn in range(5) for number in range(10)]


async def test_a_given_connection_is_only_looked_at(own_rabbitmq: RabbitMQServer, stream: str) -> None:
    """The log goes where that connection goes, by one of its own, and leaves it as it was."""
    connection = await aio_pika.connect_robust(own_rabbitmq.url)
    async with opened(connection, stream) as log:
        transport = connection.transport
        assert transport is not None
        assert list(transport.connection.channels) in ([], [0])
        await log.append([b"first"])
        assert await read_all(log, b"first") == [b"first"]
    assert not connection.is_closed
    await connection.close()


async def test_a_broker_without_memory_stops_the_log_and_not_the_consumer(
    own_rabbitmq: RabbitMQServer, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker reads no more from a connection that publishes: an append raises, and the acks on the given connection go out."""
    name = await own_rabbitmq.declare(f"orders-{uuid.uuid4().hex[:8]}")
    await own_rabbitmq.publish(name, [b"order"])
    connection = await aio_pika.connect_robust(own_rabbitmq.url)
    channel = await connection.channel()
    message = await (await channel.get_queue(name, ensure=False)).get()
    assert message is not None
    async with opened(connection, stream) as log:
        monkeypatch.setattr(fleet_log, "_ANSWER_WITHIN", 0.5)
        await own_rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1")
        try:
            with pytest.raises(FleetLogError, match="short of neither memory nor disk"):
                await log.append([b"first"])
            await message.ack()
            await channel.declare_queue(name, passive=True)  # answered: the ack before it has arrived
        finally:
            await own_rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")
            monkeypatch.undo()
    await connection.close()
    assert await own_rabbitmq.depth(name) == (0, 0)
    await own_rabbitmq.delete(name)


@pytest.mark.versions
async def test_the_stream_stays_small_on_disk(own_rabbitmq: RabbitMQServer, stream: str) -> None:
    """Whole segments go when a new one begins: eight megabytes leave five at most."""
    for _ in range(4):
        await own_rabbitmq.publish(stream, [b"x" * 1000] * 2000)
    async with asyncio.timeout(PATIENCE):
        while not 1_000_000 < size_of(own_rabbitmq, stream) < 5_500_000:
            await asyncio.sleep(0.1)


async def test_a_refused_open_can_be_repeated(own_rabbitmq: RabbitMQServer) -> None:
    """The same log opens when the stream is there."""
    name = f"fleet-{uuid.uuid4().hex[:8]}"
    log = RabbitMQFleetLog(own_rabbitmq.url, name)
    with pytest.raises(FleetLogError):
        await log.open()
    await own_rabbitmq.declare(name, fleet_log.STREAM)
    await log.open()
    await log.append([b"first"])
    assert await read_all(log, b"first") == [b"first"]
    await log.close()
    await own_rabbitmq.delete(name)


async def test_create_makes_the_stream_once(own_rabbitmq: RabbitMQServer) -> None:
    """The first call makes it, and the second one finds it as it must be; a log opens on it."""
    log = RabbitMQFleetLog(own_rabbitmq.url, f"fleet-{uuid.uuid4().hex[:8]}")
    assert [await log.create(), await log.create()] == [StreamMade(is_new=True), StreamMade(is_new=False)]
    await log.open()
    await log.close()
    await own_rabbitmq.delete(log._stream)


async def test_create_compares_what_is_there(own_rabbitmq: RabbitMQServer) -> None:
    """A stream with other arguments is left as it is, with the first of them; a queue of another type is an error."""
    name = await own_rabbitmq.declare(f"fleet-{uuid.uuid4().hex[:8]}", {"x-queue-type": "stream", "x-max-age": "1h"})
    made = await RabbitMQFleetLog(own_rabbitmq.url, name).create()
    assert not made.is_new
    assert "x-max-" in made.notes[0]
    await own_rabbitmq.delete(name)
    await own_rabbitmq.declare(name, {"x-queue-type": "quorum"})
    with pytest.raises(FleetLogError, match="is no stream: delete it"):
        await RabbitMQFleetLog(own_rabbitmq.url, name).create()
    await own_rabbitmq.delete(name)


async def test_create_needs_a_permission_that_a_worker_does_not(let_in: LetIn, stream: str) -> None:
    """Who may not configure the stream can neither make nor compare it, and is told so."""
    url = await let_in("^$", ".*", ".*")
    assert "this user may not configure it" in (await RabbitMQFleetLog(url, stream).create()).notes[0]
    with pytest.raises(FleetLogError, match="cannot be made: this user needs the permission to configure it"):
        await RabbitMQFleetLog(url, "nowhere").create()


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (f"amqp://guest:{PASSWORD}@broker", "stream 'fleet' at broker:5672/"),
        (f"amqps://guest:{PASSWORD}@broker/vhost?heartbeat=5", "stream 'fleet' at broker:5671/vhost"),
        (f"amqp://guest:{PASSWORD}@broker:1234/%2F", "stream 'fleet' at broker:1234//"),
    ],
)
def test_the_place_has_no_password(url: str, place: str) -> None:
    """Host, port and virtual host are known before it is open, outside of an event loop."""
    assert RabbitMQFleetLog(url, "fleet").place == place


def test_what_is_no_broker_is_refused() -> None:
    """As an intake refuses it; and a stream must have a name."""
    with pytest.raises(SettingsError, match="must begin with amqp:// or amqps://"):
        RabbitMQFleetLog("redis://broker", "fleet")
    with pytest.raises(SettingsError, match="must not be empty"):
        RabbitMQFleetLog("amqp://broker", "")


# -- What was given ----------------------------------------------------------------------------------------------------------------------


class Reader:
    """Drives what remembers the records that were given, on a clock of the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.given = fleet_log._Given()
        monkeypatch.setattr(fleet_log, "_now", lambda: self.now)

    def gets(self, *messages: tuple[int, str]) -> list[str]:
        """Return the names of the messages that are new."""
        delivered = [fleet_log._Delivered(0, position, name, b"") for position, name in messages]
        return [message.name for message in delivered if self.given.is_new(message)]


def test_what_comes_again_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new connection begins before the last record: what was given is not given again."""
    reader = Reader(monkeypatch)
    assert reader.gets((5, "a"), (6, "b")) == ["a", "b"]
    assert reader.gets((5, "a"), (6, "b"), (7, "c")) == ["c"]


def test_a_stream_made_anew_is_given_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another message at a known position, or one before all that is known, is of another stream."""
    reader = Reader(monkeypatch)
    assert reader.gets((5, "a"), (6, "b")) == ["a", "b"]
    assert reader.gets((0, "c"), (1, "d")) == ["c", "d"]
    assert reader.gets((0, "e"), (1, "f"), (2, "g")) == ["e", "f", "g"]
    assert reader.gets((0, "e"), (1, "f"), (2, "g")) == []


def test_a_new_connection_looks_back_from_the_last_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the seconds since that, so that nothing is skipped, and no further than the stream reaches."""
    reader = Reader(monkeypatch)
    assert reader.given.look_back() == 30.0
    reader.given.begun()
    reader.now = 12.0
    assert reader.given.look_back() == 42.0  # what the first connection has brought may not have been read
    reader.given.begun()
    assert reader.given.look_back() == 42.0
    reader.gets((1, "a"))
    assert reader.given.look_back() == 30.0
    reader.now = 24.0
    assert reader.given.look_back() == 42.0
    reader.now = 10_000.0
    assert f"{reader.given.look_back():g}s" == fleet_log.STREAM["x-max-age"]


def test_what_no_connection_brings_again_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered reaches further back than a connection looks, and no more than a few minutes."""
    reader = Reader(monkeypatch)
    for position in range(1000):
        reader.now = float(position)
        reader.gets((position, f"{position}"))
    assert 30 < len(reader.given._names) < 150
    assert reader.gets((960, "960"), (1000, "1000")) == ["1000"]
