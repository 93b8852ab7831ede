"""Threads and commits, with a consumer that answers when told to."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as Theirs
from tests.brokers.confluent.fakes import SETTINGS, A, B

from holdgate.brokers.confluent.client import Client, CommitTooLate, DaemonThreads
from holdgate.brokers.confluent.settings import ConsumerSettings
from holdgate.errors import SettingsError

TOO_LATE = KafkaError(KafkaError.ILLEGAL_GENERATION)
MAY_PASS = KafkaError(KafkaError.COORDINATOR_NOT_AVAILABLE)


class Consumer:
    """Keeps what is committed; a direct commit gets `answer`."""

    def __init__(self) -> None:
        self.sent: list[tuple[dict[int, int], bool]] = []
        self.answer: Any = None

    async def commit(self, *, offsets: list[Theirs], asynchronous: bool) -> Any:
        self.sent.append(({each.partition: each.offset for each in offsets}, asynchronous))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or offsets


def made() -> tuple[Client, Consumer]:
    client = Client(ConsumerSettings(SETTINGS), lambda error: None)
    client._consumer = consumer = Consumer()
    return client, consumer


def failed(at: Any, error: KafkaError) -> Any:
    """A partition of an answer, with an error."""

    class Part:
        topic, partition, offset = at.topic, at.partition, 5

    found: Any = Part()
    found.error = error
    return found


async def test_a_commit_is_handed_over_between_polls_and_ends_with_its_answer() -> None:
    """Which a later poll brings."""
    client, consumer = made()
    committing = asyncio.create_task(client.commit({A: 5}))
    await asyncio.sleep(0)
    assert (client.has_commits, consumer.sent) == (True, [])
    await client.send_commits()
    assert (client.has_commits, client.awaits_commit, consumer.sent) == (False, True, [({0: 5}, True)])
    await client._committed(None, [Theirs(*A, 5)])
    await committing
    assert not client.awaits_commit


async def test_an_answer_to_another_commit_is_not_taken_for_this_one() -> None:
    """One that was given up may be answered later."""
    client, _ = made()
    first = asyncio.create_task(client.commit({A: 5}))
    await asyncio.sleep(0)
    await client.send_commits()
    client.give_up_commit()
    with pytest.raises(CommitTooLate):
        await first
    second = asyncio.create_task(client.commit({A: 6}))
    await asyncio.sleep(0)
    await client.send_commits()
    await client._committed(None, [Theirs(*A, 5)])
    assert client.awaits_commit
    await client._committed(None, [Theirs(*A, 6)])
    await second


@pytest.mark.parametrize(("error", "kind"), [(TOO_LATE, CommitTooLate), (MAY_PASS, KafkaException)])
async def test_an_error_of_one_partition_is_one_of_the_commit(error: KafkaError, kind: type[Exception]) -> None:
    """Errors are values there, with a commit of either kind."""
    client, consumer = made()
    committing = asyncio.create_task(client.commit({A: 5}))
    await asyncio.sleep(0)
    await client.send_commits()
    await client._committed(None, [failed(A, error)])
    with pytest.raises(kind):
        await committing
    consumer.answer = [failed(A, error)]
    with client.directly(), pytest.raises(kind):
        await client.commit({A: 5})
    consumer.answer = KafkaException(error)
    with client.directly(), pytest.raises(kind):
        await client.commit({A: 5})


async def test_a_direct_commit_waits_for_its_answer() -> None:
    """No poll is needed for it."""
    client, consumer = made()
    with client.directly(), client.directly():
        pass
    with client.directly():
        await client.commit({A: 5, B: 6})
    assert consumer.sent == [({0: 5, 1: 6}, False)]


async def test_what_librdkafka_refuses_is_told_with_its_words() -> None:
    """At the start, with no broker asked."""
    client = Client(ConsumerSettings({**SETTINGS, "no.such.setting": 1}), lambda error: None)
    with pytest.raises(SettingsError, match="librdkafka refuses the settings: No such configuration property"):
        client.make(None)


async def test_a_call_from_within_another_gets_a_thread() -> None:
    """As a callback of a rebalance needs it; results and errors come back."""
    threads, loop = DaemonThreads(2, "test"), asyncio.get_running_loop()
    inside = threading.Event()

    def outer() -> str:
        assert inside.wait(30)
        return "outer"

    waiting = loop.run_in_executor(threads, outer)
    await loop.run_in_executor(threads, inside.set)
    assert await waiting == "outer"
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(threads, lambda: 1 / 0)
    threads.shutdown()


async def test_threads_are_used_again_and_not_waited_for() -> None:
    """One after the other needs one; none keeps the process."""
    threads, loop = DaemonThreads(4, "test"), asyncio.get_running_loop()
    first = await loop.run_in_executor(threads, threading.current_thread)
    assert first.daemon
    assert threads._started == 1
    threads.shutdown()
    await asyncio.to_thread(first.join, 30)
    assert not first.is_alive()
