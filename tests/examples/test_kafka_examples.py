"""The Kafka examples, on a real broker and through a real outage."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from tests.cli.runner import invoke
from tests.examples.payments import Payments
from tests.examples.running import ROOT, example
from tests.servers.ports import release_port, reserve_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.kafka_address import KafkaAddress

BEFORE = [b"order %d" % number for number in range(1, 4)]
DURING = [b"order %d" % number for number in range(4, 8)]
GROUP = "charger"


def places(kafka: KafkaAddress, topic: str, payments: Payments) -> dict[str, str]:
    """The environment that tells an example where things are."""
    return {"KAFKA": kafka.bootstrap, "TOPIC": topic, "PAYMENTS_HOST": payments.host}


def at_these_places(path: Path, places: dict[str, str]) -> Path:
    """A copy of the shortest worker, whose places are written down in it, with other ones."""
    text = (ROOT / "examples" / "shortest_worker.py").read_text()
    written_down = {"kafka:9092": places["KAFKA"], "payments:8080": places["PAYMENTS_HOST"], '"orders"': f'"{places["TOPIC"]}"'}
    for written, wanted in written_down.items():
        assert text.count(written) == 1
        text = text.replace(written, wanted)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["shortest_worker", "kafka_worker", "kafka_confluent", "kafka_loop"])
async def test_an_outage_is_waited_out(kafka: KafkaAddress, topic, tmp_path: Path, name: str) -> None:
    """Every order is charged once and in order, the outage costs a call or two, SIGTERM ends it with everything committed."""
    orders = await topic()
    async with Payments() as payments, AsyncExitStack() as stack:
        where = places(kafka, orders, payments)
        file = at_these_places(tmp_path / "worker.py", where) if name == "shortest_worker" else name
        worker = await stack.enter_async_context(example(file, **where))
        await kafka.produce(orders, BEFORE)
        await worker.until(lambda: payments.charged == BEFORE)
        payments.is_up = False
        await kafka.produce(orders, DURING)
        await worker.until(lambda: payments.refused >= 2)  # the first failure, and the probe a second later
        payments.is_up = True
        await worker.until(lambda: len(payments.charged) == len(BEFORE + DURING))
        await worker.until(lambda: "payments is down (retry_after)" in worker.log)

        assert payments.charged == BEFORE + DURING
        assert payments.refused < 6  # a hot loop would have made thousands
        assert await worker.terminate() == 0
    assert await kafka.committed(GROUP, orders) == {0: len(BEFORE + DURING)}


async def test_the_worker_says_what_it_holds_and_why(kafka: KafkaAddress, topic) -> None:
    """The log tells of the opening, the hold, the release and the close, as the tutorial shows them."""
    orders = await topic()
    async with Payments() as payments, example("kafka_worker", **places(kafka, orders, payments)) as worker:
        payments.is_up = False
        await kafka.produce(orders, BEFORE)
        await worker.until(lambda: "payments is down (retry_after)" in worker.log)
        await worker.until(lambda: f"holding {orders}[0]: circuit:payments" in worker.log)
        payments.is_up = True
        await kafka.produce(orders, DURING)
        await worker.until(lambda: "payments is back after" in worker.log)
        await worker.until(lambda: f"no longer holding {orders}[0]" in worker.log)


async def test_the_loop_before_does_the_same_work_without_an_outage(kafka: KafkaAddress, topic) -> None:
    """The left side of the README's diff is a loop that works, while nothing fails."""
    orders = await topic()
    async with Payments() as payments, example("kafka_loop_before", **places(kafka, orders, payments)) as loop:
        await kafka.produce(orders, BEFORE)
        await loop.until(lambda: payments.charged == BEFORE)


async def test_the_loop_before_crashes_in_an_outage(kafka: KafkaAddress, topic) -> None:
    """Which is why there is a diff."""
    orders = await topic()
    async with Payments() as payments, example("kafka_loop_before", **places(kafka, orders, payments)) as loop:
        payments.is_up = False
        await kafka.produce(orders, BEFORE)

        assert await loop.ended() == 1
        assert "503" in loop.log


async def test_the_tutorials_three_terminals_work_together(kafka: KafkaAddress, topic) -> None:
    """Orders come, the worker takes them, the payment service says that it charged them; Ctrl-C there is an outage that is seen."""
    orders = await topic()
    port = reserve_port()
    where = {"KAFKA": kafka.bootstrap, "TOPIC": orders, "PORT": str(port), "PAYMENTS_HOST": f"127.0.0.1:{port}"}
    async with example("payments_service", **where) as service, example("produce_orders", **where) as producer:
        await producer.until(lambda: "ordered 1\n" in producer.log)
        async with example("kafka_worker", **where) as worker:
            await service.until(lambda: "charged order 1\ncharged order 2\n" in service.log)
            service.process.send_signal(signal.SIGINT)
            assert await service.ended() == 0
            await worker.until(lambda: "payments: URLError ECONNREFUSED at kafka_worker.py" in worker.log)
    release_port(port)


async def test_a_worker_with_a_control_plane_is_asked_and_commanded(kafka: KafkaAddress, topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its head says: `holdgate status`, and a hold with the token of the environment."""
    token = "that-of-the-examples"  # noqa: S105 - of this test alone
    monkeypatch.setenv("HOLDGATE_TOKEN", token)
    orders, port = await topic(), reserve_port()
    async with Payments() as payments:
        where = places(kafka, orders, payments)
        async with example("control_worker", **where, PORT=str(port), HOLDGATE_TOKEN=token) as worker:
            await kafka.produce(orders, BEFORE)
            await worker.until(lambda: payments.charged == BEFORE)
            address = ("--url", f"http://127.0.0.1:{port}")
            document = json.loads((await asyncio.to_thread(invoke, "status", "--json", *address)).stdout)
            assert document["sources"][0]["source"] == f"{orders}[0]"
            held = await asyncio.to_thread(invoke, "hold", orders, "--reason", "a test", *address)
            assert held.exit_code == 0
            await kafka.produce(orders, DURING)
            released = await asyncio.to_thread(invoke, "unhold", orders, "--reason", "a test", *address)
            assert released.exit_code == 0
            await worker.until(lambda: payments.charged == BEFORE + DURING)
            assert await worker.terminate() == 0
    release_port(port)


async def test_three_workers_agree_over_a_topic(kafka: KafkaAddress, topic) -> None:
    """One command starts them. An outage is one for all, one of them tries it for the others, and every order is charged once."""
    orders, agree = await topic(partitions=6), await topic()
    before, during = ([b"order %d" % number for number in range(first, first + 60)] for first in (0, 60))
    async with Payments() as payments:
        payments.retry_after = None
        where = places(kafka, orders, payments)
        async with example("fleet_worker", "3", **where, FLEET_TOPIC=agree) as workers:
            await workers.until(lambda: workers.log.count("fleet: 3 workers now") >= 3)
            await produce_everywhere(kafka, orders, before)
            await workers.until(lambda: sorted(payments.charged) == sorted(before))
            payments.is_up = False
            await produce_everywhere(kafka, orders, during)
            await workers.until(lambda: "fleet: payments is down for all" in workers.log)
            await workers.until(lambda: "fleet: this worker tries payments for all" in workers.log)
            payments.is_up = True
            await workers.until(lambda: len(payments.charged) >= 120)
            assert sorted(payments.charged) == sorted(before + during)
            assert payments.refused < 60  # a hot loop would have made thousands
            assert await workers.terminate() == 0
    assert await kafka.committed(GROUP, orders) == dict.fromkeys(range(6), 20)


async def produce_everywhere(kafka: KafkaAddress, topic: str, bodies: list[bytes]) -> None:
    """Spread over the six partitions, so that each worker has some."""
    for partition in range(6):
        await kafka.produce(topic, bodies[partition::6], partition=partition)


async def test_a_rebalance_undoes_a_pause_by_hand(kafka: KafkaAddress, topic) -> None:
    """Why the loop that pauses by hand has a diff: it holds for ten minutes, but each worker that joins or leaves makes it call again."""
    orders = await topic()
    async with Payments() as payments:
        where = places(kafka, orders, payments) | {"PAUSE": "600"}
        async with example("kafka_pause_before", **where) as loop:
            await kafka.produce(orders, BEFORE)
            await loop.until(lambda: payments.charged == BEFORE)
            payments.is_up = False
            await kafka.produce(orders, DURING)
            await loop.until(lambda: payments.refused == 1)
            async with example("kafka_pause_before", **where) as other:
                await other.until(lambda: payments.refused >= 2)
            await loop.until(lambda: payments.refused >= 3)  # the partition has come back, or was its own all the time
            assert payments.charged == BEFORE
