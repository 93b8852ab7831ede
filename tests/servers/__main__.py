"""Start a server by hand: `python -m tests.servers up kafka [--brokers 3]`; Ctrl-C stops it and removes what it wrote."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from tests.servers.kafka import KafkaServer
from tests.servers.unavailable import Unavailable


async def up_kafka(brokers: int) -> None:
    """Start Kafka, print its address, and stay until SIGINT or SIGTERM."""
    done = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, done.set)
    async with KafkaServer(brokers) as server:
        print(server.bootstrap, flush=True)
        print(f"HOLDGATE_TEST_KAFKA={server.bootstrap} make test   uses it; Ctrl-C ends it", file=sys.stderr, flush=True)
        await done.wait()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start a server in the foreground")
    up.add_argument("server", choices=["kafka"])
    up.add_argument("--brokers", type=int, default=1, help="how many brokers (default 1)")
    arguments = parser.parse_args()
    try:
        asyncio.run(up_kafka(arguments.brokers))
    except Unavailable as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
