"""Start a server by hand: `python -m tests.servers up kafka [--brokers 3]`, `... up rabbitmq [--version 4.3]`.

Ctrl-C stops it and removes what it wrote. `... get rabbitmq --version 4.3` only brings here what it needs, or says why it cannot be had.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from tests.servers.kafka import KafkaServer
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.rabbitmq_install import RELEASES, install
from tests.servers.unavailable import Unavailable


async def up_kafka(brokers: int) -> None:
    """Start Kafka, print its address, and stay until SIGINT or SIGTERM."""
    done = _asked_to_end()
    async with KafkaServer(brokers) as server:
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
    get.add_argument("server", choices=["rabbitmq"])
    for command in (up, get):
        command.add_argument("--version", choices=sorted(RELEASES), help="RabbitMQ: which (default: what this machine's packages have)")
    arguments = parser.parse_args()
    try:
        if arguments.command == "get":
            print(f"RabbitMQ {install(arguments.version).version} is here")
        else:
            asyncio.run(up_kafka(arguments.brokers) if arguments.server == "kafka" else up_rabbitmq(arguments.version))
    except Unavailable as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
