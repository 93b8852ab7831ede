"""Start a server by hand: `python -m tests.servers up kafka [--brokers 3]`, `... up rabbitmq`, each with `--version 4.3` where it matters.

Ctrl-C stops it and removes what it wrote. `... get rabbitmq --version 4.3` (or kafka) only brings here what it needs, or says why it cannot
be had; `... get cpython --version 3.14` brings a CPython that this machine has not, for `make test-pythons`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from tests.servers import cpython_install, kafka_jars
from tests.servers.kafka import KafkaServer
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.rabbitmq_install import RELEASES, install
from tests.servers.unavailable import Unavailable


async def up_kafka(brokers: int, version: str | None) -> None:
    """Start Kafka, print its address, and stay until SIGINT or SIGTERM."""
    done = _asked_to_end()
    async with KafkaServer(brokers, version=version) as server:
        print(server.bootstrap, flush=True)
        print(f"HOLDGATE_TEST_KAFKA={server.bootstrap} make test   uses it; Ctrl-C ends it", file=sys.stderr, flush=True)
        await done.wait()


async def up_rabbitmq(version: str | None) -> None:
    """Start RabbitMQ, print its address, and stay until SIGINT or SIGTERM."""
    done = _asked_to_end()
    async with RabbitMQServer(version) as server:
        print(server.url, flush=True)
        print(f"RabbitMQ {server.version}, management at {server.management_url}", file=sys.stderr)
        print(f"HOLDGATE_TEST_RABBITMQ={server.url} make test   uses it; Ctrl-C ends it", file=sys.stderr, flush=True)
        await done.wait()


def _get(server: str, version: str | None) -> str:
    if server == "cpython":
        version = version or next(iter(cpython_install.RELEASES))
        return f"CPython {version}, {cpython_install.interpreter(version)},"
    if server == "rabbitmq":
        return f"RabbitMQ {install(version).version}"
    version = version or kafka_jars.wanted_kafka()
    kafka_jars.classpath(version)
    return f"Kafka {kafka_jars.release_of(version)}"


def _asked_to_end() -> asyncio.Event:
    done = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, done.set)
    return done


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start a server in the foreground")
    up.add_argument("server", choices=["kafka", "rabbitmq"])
    up.add_argument("--brokers", type=int, default=1, help="Kafka: how many brokers (default 1)")
    get = commands.add_parser("get", help="bring here what a server needs, and start nothing")
    get.add_argument("server", choices=["kafka", "rabbitmq", "cpython"])
    for command in (up, get):
        known = f"Kafka: {', '.join(kafka_jars.RELEASES)} or a release in full; RabbitMQ: {', '.join(RELEASES)}"
        if command is get:
            known += f"; CPython: {', '.join(cpython_install.RELEASES)}"
        command.add_argument("--version", help=f"which (default: Kafka {kafka_jars.DEFAULT}, this machine's RabbitMQ). {known}")
    arguments = parser.parse_args()
    try:
        if arguments.command == "get":
            print(f"{_get(arguments.server, arguments.version)} is here")
        elif arguments.server == "kafka":
            asyncio.run(up_kafka(arguments.brokers, arguments.version))
        else:
            asyncio.run(up_rabbitmq(arguments.version))
    except Unavailable as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
