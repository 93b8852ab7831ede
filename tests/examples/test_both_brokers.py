"""The worker of docker-compose.yml on real brokers, and the one without a port, asked by a socket as Kubernetes asks it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.examples.payments import Payments
from tests.examples.running import example
from tests.examples.shipped import KUBERNETES, ROOT, load
from tests.servers.ports import release_port, reserve_port
from tests.servers.rabbitmq_address import QUORUM

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress
    from tests.servers.rabbitmq_address import RabbitMQAddress

ORDERS = [b"order 1", b"order 2"]
REFUNDS = [b"refund 1", b"refund 2"]
# Seconds. Only a failing test waits so long.
PATIENCE = 90.0


async def holdgate(*arguments: str) -> tuple[int, str]:
    """Run the command in a process of its own, as a probe does; return its exit code and what it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "holdgate", *arguments, env=dict(os.environ), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def sources(port: int) -> set[str]:
    """Return what the worker on this port says that it has."""
    code, said = await holdgate("status", "--json", "--url", f"http://127.0.0.1:{port}")
    assert code == 0, said
    return {each["source"] for each in json.loads(said)["sources"]}


async def test_one_worker_serves_both_brokers(kafka: KafkaAddress, rabbitmq: RabbitMQAddress, topic, queue) -> None:
    """One outage holds a partition of Kafka and a queue of RabbitMQ, one page shows both, and SIGTERM drains both."""
    orders, refunds, port = await topic(), await queue(QUORUM), reserve_port()
    async with Payments() as payments:
        where = {"KAFKA": kafka.bootstrap, "TOPIC": orders, "RABBITMQ": rabbitmq.url, "QUEUE": refunds, "PAYMENTS_HOST": payments.host}
        payments.is_up = False
        in_compose = load(ROOT / "docker-compose.yml")["services"]["worker"]["environment"]
        shown = {"PORT": str(port), "LISTEN": in_compose["LISTEN"], "HOLDGATE_TOKEN": in_compose["HOLDGATE_TOKEN"]}
        async with example("both_brokers", **where, **shown) as worker:
            await kafka.produce(orders, ORDERS)
            await rabbitmq.publish(refunds, REFUNDS)
            await worker.until(lambda: payments.refused >= 2)
            async with asyncio.timeout(PATIENCE):  # one of the two may be there seconds before the other
                while await sources(port) != {f"{orders}[0]", refunds}:
                    await asyncio.sleep(0.2)
            payments.is_up = True
            await worker.until(lambda: sorted(payments.charged) == ORDERS + REFUNDS)
            assert await worker.terminate() == 0
    release_port(port)


async def test_a_probe_asks_a_worker_that_has_no_port(rabbitmq: RabbitMQAddress, queue, tmp_path: Path) -> None:
    """With the manifest's own commands: yes in an outage as well, and no answer once the worker has gone."""
    refunds, socket = await queue(QUORUM), str(tmp_path / "holdgate.sock")
    probed = load(KUBERNETES / "rabbitmq-worker.yml")["spec"]["template"]["spec"]["containers"][0]
    probes = [[*probed[name]["exec"]["command"][1:-1], socket] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    async with Payments() as payments:
        payments.is_up = False
        where = {"RABBITMQ": rabbitmq.url, "QUEUE": refunds, "PAYMENTS_HOST": payments.host, "SOCKET": socket}
        async with example("socket_worker", **where) as worker:
            await rabbitmq.publish(refunds, REFUNDS)
            await worker.until(lambda: payments.refused >= 2)
            assert [(await holdgate(*probe))[0] for probe in probes] == [0, 0, 0]
            payments.is_up = True
            await worker.until(lambda: sorted(payments.charged) == REFUNDS)
            assert await worker.terminate() == 0
    assert (await holdgate(*probes[1]))[0] == 2
