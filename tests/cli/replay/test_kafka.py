"""Replays through a real Kafka: what goes back, what is remembered, and what a stop in the middle costs."""

from __future__ import annotations

import asyncio
import io
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from rich.console import Console

from holdgate.cli.replay import kafka as kafka_route
from holdgate.cli.replay.command import Ending, Options, run_replay
from holdgate.cli.replay.kafka import KafkaRoute
from holdgate.cli.replay.route import Stop, move
from holdgate.errors import IntakeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.servers.kafka_address import KafkaAddress

FAST = 5000.0
PATIENCE = 60.0


def dead_headers(source: str, partition: int = 0, **more: bytes) -> list[tuple[str, bytes]]:
    headers = [("trace", b"t"), ("holdgate-source", source.encode()), ("holdgate-partition", b"%d" % partition)]
    return [*headers, ("holdgate-exception", b"KeyError"), *((f"holdgate-{name}", value) for name, value in more.items())]


async def moved(kafka: KafkaAddress, dead: str, to: str, **options: Any) -> int:
    """Survey, move, end, as the command does; returns how many were moved."""
    limit, stop = options.pop("limit", None), options.pop("stop", None) or Stop()
    route = KafkaRoute(kafka.bootstrap, dead, to, rate=FAST, **options)
    try:
        await route.survey()
        await route.begin()
        return await move(route, rate=FAST, limit=limit, stop=stop, moved=lambda _: None)
    finally:
        await route.end()


async def survey(kafka: KafkaAddress, dead: str, to: str, **options: Any) -> Any:
    route = KafkaRoute(kafka.bootstrap, dead, to, rate=FAST, **options)
    try:
        return await route.survey()
    finally:
        await route.end()


def values(records: list[Any]) -> list[bytes]:
    return [record.value for record in records]


async def test_letters_go_back_as_the_messages_that_they_were(kafka: KafkaAddress, topic) -> None:
    """Key, value and own headers; what told of the death is gone, and the replay is counted."""
    orders, dead = await topic(), await topic()
    await kafka.produce(dead, [b"1"], key=b"k", headers=dead_headers(orders, replays=b"1"))
    assert await moved(kafka, dead, orders) == 1
    (record,) = await kafka.read(orders)
    assert (record.key, record.value) == (b"k", b"1")
    assert record.headers == (("trace", b"t"), ("holdgate-replays", b"2"))


async def test_letters_keep_their_order(kafka: KafkaAddress, topic) -> None:
    """One at a time, from one partition to one."""
    orders, dead = await topic(), await topic()
    bodies = [b"%d" % number for number in range(50)]
    await kafka.produce(dead, bodies, headers=dead_headers(orders))
    assert await moved(kafka, dead, orders) == 50
    assert values(await kafka.read(orders)) == bodies


async def test_a_letter_goes_back_to_the_partition_it_came_from(kafka: KafkaAddress, topic) -> None:
    """Whoever chose it may have had a reason that no key shows; elsewhere, and without such a partition, it goes by its key."""
    orders, dead = await topic(4), await topic()
    for number in (3, 1, 9):
        await kafka.produce(dead, [b"%d" % number], key=b"same", headers=dead_headers(orders, number))
    await moved(kafka, dead, orders)
    places = {record.value: record.partition for record in await kafka.read(orders)}
    assert (places[b"3"], places[b"1"]) == (3, 1)
    other = await topic(4)
    await moved(kafka, dead, other, group=f"other-{other}")
    assert len({record.partition for record in await kafka.read(other)}) == 1


async def test_tombstones_and_records_of_nothing_go_back_too(kafka: KafkaAddress, topic) -> None:
    """A record without key and value is one that aiokafka's `send` refuses."""
    orders, dead = await topic(), await topic()
    await kafka.produce(dead, [None], key=b"k")
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    await producer.start()
    batch = producer.create_batch()
    batch.append(timestamp=None, key=None, value=None)
    await (await producer.send_batch(batch, dead, partition=0))
    await producer.stop()
    assert await moved(kafka, dead, orders) == 2
    assert [(record.key, record.value) for record in await kafka.read(orders)] == [(b"k", None), (None, None)]


async def test_a_survey_counts_and_tells_kinds_without_taking_anything(kafka: KafkaAddress, topic) -> None:
    """Asked twice it says the same."""
    orders, dead = await topic(), await topic(3)
    for partition in (0, 2):
        await kafka.produce(dead, [b"1", b"2"], partition=partition, headers=dead_headers(orders, replays=b"1"))
    for _ in range(2):
        found = await survey(kafka, dead, orders)
        assert (found.waiting, found.looked_at) == (4, 4)
        assert found.kinds == {(orders, "KeyError"): 4}
        assert found.replayed == {1: 4}


async def test_the_next_replay_goes_on_where_the_last_one_ended(kafka: KafkaAddress, topic) -> None:
    """First some, then the rest, then nothing; each letter once."""
    orders, dead = await topic(), await topic(2)
    for partition in range(2):
        await kafka.produce(dead, [b"%d-%d" % (partition, number) for number in range(5)], partition=partition)
    assert await moved(kafka, dead, orders, limit=3) == 3
    assert (await survey(kafka, dead, orders)).waiting == 7
    assert await moved(kafka, dead, orders) == 7
    assert await moved(kafka, dead, orders) == 0
    assert len(set(values(await kafka.read(orders)))) == len(await kafka.read(orders)) == 10


async def test_another_group_begins_anew(kafka: KafkaAddress, topic) -> None:
    """The letters are still there, for as long as the topic keeps them."""
    orders, dead = await topic(), await topic()
    await kafka.produce(dead, [b"1"])
    assert await moved(kafka, dead, orders) == 1
    assert await moved(kafka, dead, orders, group=f"again-{dead}") == 1


async def test_what_dies_again_meanwhile_waits_for_the_next_replay(kafka: KafkaAddress, topic) -> None:
    """Or a poison message would go round for ever."""
    dead, orders = await topic(), await topic()
    await kafka.produce(dead, [b"1", b"2"])
    route = KafkaRoute(kafka.bootstrap, dead, orders, rate=FAST)
    await route.survey()
    await route.begin()
    await kafka.produce(dead, [b"late"])
    assert await move(route, rate=FAST, limit=None, stop=Stop(), moved=lambda _: None) == 2
    await route.end()
    assert await moved(kafka, dead, orders) == 1


async def test_aborted_transactions_are_no_letters_and_hold_up_nothing(kafka: KafkaAddress, topic) -> None:
    """Their records and markers are gaps in the log."""
    orders, dead = await topic(), await topic()
    await kafka.produce(dead, [b"1"])
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=f"t-{dead}")
    await producer.start()
    for end in (producer.abort_transaction, producer.commit_transaction):
        await producer.begin_transaction()
        await producer.send_and_wait(dead, b"transaction", partition=0)
        await end()
    await producer.stop()
    assert await moved(kafka, dead, orders) == 2
    assert values(await kafka.read(orders)) == [b"1", b"transaction"]
    assert (await survey(kafka, dead, orders)).waiting == 0


async def test_records_that_retention_took_are_passed_over(kafka: KafkaAddress, topic) -> None:
    """The replay begins where the log does."""
    orders, dead = await topic(), await topic()
    await kafka.produce(dead, [b"1", b"2", b"3"])
    await kafka.delete_records(dead, {0: 2})
    assert (await survey(kafka, dead, orders)).waiting == 1
    assert await moved(kafka, dead, orders) == 1
    assert values(await kafka.read(orders)) == [b"3"]


async def test_a_letter_that_was_written_and_not_remembered_comes_twice_at_worst(kafka: KafkaAddress, topic) -> None:
    """As after a kill -9 between the two; none is lost."""
    orders, dead = await topic(), await topic()
    await kafka.produce(dead, [b"1", b"2"])
    route = KafkaRoute(kafka.bootstrap, dead, orders, rate=FAST)
    await route.survey()
    await route.begin()
    await route.put(await route.take())
    await route.end()
    assert await moved(kafka, dead, orders) == 2
    assert values(await kafka.read(orders)) == [b"1", b"1", b"2"]


async def test_a_second_replay_of_the_same_group_is_refused(kafka: KafkaAddress, topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would share the letters out."""
    orders, dead = await topic(), await topic()
    await kafka.produce(dead, [b"1"])
    first, second = (KafkaRoute(kafka.bootstrap, dead, orders, rate=FAST) for _ in range(2))
    await first.survey()
    await first.begin()
    try:
        monkeypatch.setattr(kafka_route, "_GONE_WITHIN", 0.5)
        with pytest.raises(IntakeError, match="is running already"):
            await second.begin()
    finally:
        await second.end()
        await first.end()


async def test_whoever_joins_the_group_meanwhile_ends_the_replay(kafka: KafkaAddress, topic) -> None:
    """It has lost its place, and says so instead of calling the rest moved."""
    orders, dead = await topic(), await topic(2)
    route = KafkaRoute(kafka.bootstrap, dead, orders, rate=FAST)
    for partition in range(2):
        await kafka.produce(dead, [b"1"] * 3, partition=partition)
    await route.survey()
    await route.begin()
    other = AIOKafkaConsumer(dead, bootstrap_servers=kafka.bootstrap, group_id=f"holdgate-replay-{dead}", enable_auto_commit=False)
    joining = asyncio.create_task(other.start())

    async def to_the_end() -> None:
        while (letter := await route.take()) is not None:
            await route.put(letter)
            await asyncio.wait({joining})

    try:
        with pytest.raises(IntakeError, match="another replay"):
            await asyncio.wait_for(to_the_end(), PATIENCE)
    finally:
        await route.end()
        await joining
        await other.stop()
    assert await kafka.committed(f"holdgate-replay-{dead}", dead) == {}


@pytest.mark.parametrize("missing", ["dead", "to"])
async def test_a_topic_that_is_not_there_is_named(kafka: KafkaAddress, topic, missing: str) -> None:
    """Before anything is moved."""
    names = {"dead": await topic(), "to": await topic(), missing: "no-such-topic"}
    with pytest.raises(IntakeError, match="no topic 'no-such-topic'"):
        await survey(kafka, **names)


async def test_a_broker_that_is_not_there_is_told(unused_port: int) -> None:
    """With its address."""
    route = KafkaRoute(f"127.0.0.1:{unused_port}", "dead", "orders", rate=FAST)
    with pytest.raises(IntakeError, match=f"no Kafka broker answers at 127.0.0.1:{unused_port}"):
        await route.survey()
    await route.end()


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that is bound meanwhile, so that nobody else listens there."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield int(unused.getsockname()[1])


# -- the whole command -----------------------------------------------------------------------------------------------------------------


async def test_the_command_moves_them(kafka: KafkaAddress, topic) -> None:
    """From the survey to the last commit, in a loop of its own."""
    orders, dead = await topic(), await topic()
    await kafka.produce(dead, [b"1", b"2"], headers=dead_headers(orders))
    out = io.StringIO()
    route = KafkaRoute(kafka.bootstrap, dead, orders, rate=FAST)
    ending = await asyncio.to_thread(run_replay, route, Options(dead, orders, FAST), lambda _: True, Console(file=out, width=150))
    assert ending is Ending.DONE
    assert "KeyError" in out.getvalue()
    assert "moved 2 of 2" in out.getvalue()


async def again(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """Run it, and once more where a busy broker is seconds late to let the killed one go."""
    async with asyncio.timeout(PATIENCE):
        while True:
            ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=PATIENCE, check=False)
            if b"is running already" not in ended.stdout + ended.stderr:
                return ended


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["Ctrl-C", "SIGTERM", "kill -9"])
async def test_stopped_in_the_middle_the_same_command_finishes_it(kafka: KafkaAddress, topic, number: signal.Signals) -> None:
    """Nothing is lost; in order, nothing is moved twice, and after a kill at most what a second had not committed."""
    orders, dead = await topic(), await topic()
    # At two a second there is a minute to stop it in.
    bodies = [b"%d" % count for count in range(120)]
    await kafka.produce(dead, bodies)
    command = [sys.executable, "-m", "holdgate", "replay", dead, "--to", orders, "--bootstrap", kafka.bootstrap, "--yes", "--rate"]
    process = await asyncio.create_subprocess_exec(*command, "2", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    async with asyncio.timeout(PATIENCE):
        while len(values(await kafka.read(orders))) < 5:
            assert process.returncode is None
            await asyncio.sleep(0.2)
    process.send_signal(number)
    said = (await process.communicate())[0].decode()
    before = values(await kafka.read(orders))
    assert 5 <= len(before) < len(bodies)
    assert process.returncode == (-9 if number is signal.SIGKILL else 130), said
    if number is not signal.SIGKILL:
        assert f"moved {len(before)} of 120; run it again" in said
    finished = await again([*command, "5000"])
    assert finished.returncode == 0, finished.stderr
    after = values(await kafka.read(orders))
    assert set(after) == set(bodies)
    assert len(after) - len(bodies) <= (15 if number is signal.SIGKILL else 0)
