"""Two builds beside the bare client: every row of the message path, in turn, on the same broker and the same messages.

    python -m benchmarks.message_builds [--base b1d6c3e] [--broker kafka|rabbitmq|engine] [--rounds 15] [--python PATH] [--uvloop] [--cpu]

Each build has a process of its own, which imports `holdgate` from its own sources and the loops from here; it is asked for one round after
the other, in random order with the others. So what wanders on a shared machine wanders for all of them. What is printed of each row is its
median and its least, and the ratio to the first row, round by round; the last column is the ratio of the two builds. Kafka's rows are CPU
time. RabbitMQ's are time on the wall, or with `--cpu` the client's CPU time, which a broker on the same cores does not stretch.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.builds import BASE

ROOT = Path(__file__).parent.parent

# The first row of each table is what the others are compared with. Where a loop is of the bare client, the builds do not differ.
BARE = "bare"


# -- in the process of one build ------------------------------------------------------------------------------------------------------


def _kafka(address: str, place: str, messages: int, *, cpu: bool = True) -> dict[str, Callable[[], Awaitable[float]]]:
    from benchmarks import kafka_throughput as module  # noqa: PLC0415 - each process imports what its rows need

    return {name: (lambda loop=loop: loop(address, place, messages)) for name, loop in module.LOOPS.items()}


def _rabbitmq(address: str, place: str, messages: int, *, cpu: bool = False) -> dict[str, Callable[[], Awaitable[float]]]:
    from benchmarks import rabbitmq_throughput as module  # noqa: PLC0415

    def filled(loop: module.Loop) -> Callable[[], Awaitable[float]]:
        async def work() -> float:
            await module.fill(address, place, messages)
            begun = time.process_time()
            wall = await loop(address, place, messages, module.PREFETCH)
            return time.process_time() - begun if cpu else wall

        return work

    return {name: filled(loop) for name, loop in module.LOOPS.items()}


def _engine(_address: str, _place: str, messages: int, *, cpu: bool = True) -> dict[str, Callable[[], Awaitable[float]]]:
    from benchmarks import flow_turn as module  # noqa: PLC0415

    def of(row: Callable[[], float]) -> Callable[[], Awaitable[float]]:
        async def work() -> float:
            return min(row() for _ in range(9)) * messages

        return work

    return {name: of(row) for name, row in module.message_rows().items()}


KINDS = {"kafka": _kafka, "rabbitmq": _rabbitmq, "engine": _engine}


def serve(options: argparse.Namespace) -> None:
    """Answer each line of standard input, the name of a row, with its seconds."""
    logging.disable(logging.CRITICAL)
    rows = KINDS[options.broker](options.address, options.place, options.messages, cpu=options.cpu)
    run: Callable[[Any], float] = asyncio.run
    if options.uvloop:
        import uvloop  # noqa: PLC0415 - not a dependency

        run = uvloop.run
    for line in sys.stdin:
        gc.collect()
        print(json.dumps(run(rows[json.loads(line)]())), flush=True)


# -- in the process that asks ---------------------------------------------------------------------------------------------------------


class Build:
    """A process that runs the rows of one build."""

    def __init__(self, source: Path, options: argparse.Namespace, address: str, place: str) -> None:
        command = [
            options.python,
            "-m",
            "benchmarks.message_builds",
            "--serve",
            "--broker",
            options.broker,
            "--messages",
            str(options.messages),
        ]
        command += ["--address", address, "--place", place] + ["--uvloop"] * options.uvloop + ["--cpu"] * options.cpu
        environment = {**os.environ, "PYTHONPATH": f"{source / 'src'}{os.pathsep}{ROOT}"}
        self._process = subprocess.Popen(  # noqa: S603 - this very module
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, row: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(row), file=self._process.stdin, flush=True)
        return float(json.loads(self._process.stdout.readline()))

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def sources_of(reference: str) -> Iterator[Path]:
    """The files of a commit or tag, in a folder that goes away."""
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(["git", "archive", reference, "src"], cwd=ROOT, check=True, stdout=subprocess.PIPE)  # noqa: S603, S607
        subprocess.run(["tar", "x", "-C", folder], input=packed.stdout, check=True)  # noqa: S603, S607
        yield Path(folder)


def compare(rows: list[str], builds: dict[str, Build], rounds: int, messages: int) -> None:
    """Ask for all rows of all builds, in turn, and print the table. A row of the bare client is asked of this build alone."""
    asked = [(row, build) for row in rows for build in builds if build == "now" or not row.startswith(BARE)]
    seen: dict[tuple[str, str], list[float]] = {each: [] for each in asked}
    for number in range(rounds + 1):
        for row, build in random.sample(asked, len(asked)):
            taken = builds[build](row)
            if number:  # the first round warms everything
                seen[row, build].append(taken / messages * 1e6)
    first = next(iter(seen.values()))
    print(f"| row | build | µs per message, median | least | {rows[0]} = 1, median of rounds | least to least | build before = 1 |")
    print("|---|---|---|---|---|---|---|")
    for (row, build), times in seen.items():
        ratio = statistics.median(one / other for one, other in zip(first, times, strict=True))
        base = seen.get((row, "base"))
        to_base = "" if base is None or build == "base" else f"{min(base) / min(times):.2f}"
        figures = f"{statistics.median(times):.3f} | {min(times):.3f} | {ratio:.2f} | {min(first) / min(times):.2f}"
        print(f"| {row} | {build} | {figures} | {to_base} |")


async def run(options: argparse.Namespace) -> None:
    """Start the broker, and its place with messages; then compare."""
    async with AsyncExitStack() as stack:
        address, place = await _prepared(stack, options)
        with ExitStack() as processes:
            sources = {"base": processes.enter_context(sources_of(options.base)), "now": ROOT}
            builds = {name: Build(source, options, address, place) for name, source in sources.items()}
            for build in builds.values():
                processes.callback(build.end)
            rows = options.rows or list(KINDS[options.broker](address, place, options.messages))
            loop = "uvloop" if options.uvloop else "asyncio"
            print(f"{await _version(options.python)}, {loop}, {os.cpu_count()} cores, base {options.base}, {options.rounds} rounds\n")
            await asyncio.to_thread(compare, rows, builds, options.rounds, options.messages)


async def _prepared(stack: AsyncExitStack, options: argparse.Namespace) -> tuple[str, str]:
    """The address of the broker, and the topic or queue."""
    if options.broker == "kafka":
        from benchmarks.kafka_throughput import filled_topic  # noqa: PLC0415
        from tests.servers.resolve import shared_kafka  # noqa: PLC0415

        address = options.address or (await stack.enter_async_context(shared_kafka())).bootstrap
        return address, options.place or await filled_topic(address, options.messages)
    if options.broker == "rabbitmq":
        from benchmarks.rabbitmq_throughput import declared_queue  # noqa: PLC0415
        from tests.servers.resolve import shared_rabbitmq  # noqa: PLC0415

        address = options.address or (await stack.enter_async_context(shared_rabbitmq())).url
        return address, await stack.enter_async_context(declared_queue(address, options.kind))
    return "", ""


async def _version(python: str) -> str:
    asked = await asyncio.create_subprocess_exec(python, "--version", stdout=asyncio.subprocess.PIPE)
    return (await asked.communicate())[0].decode().strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default=BASE, help="the commit or tag to compare with")
    parser.add_argument("--broker", choices=list(KINDS), default="kafka")
    parser.add_argument("--rows", nargs="*", help="which rows; left out, all. The first is what the others are compared with")
    parser.add_argument("--messages", type=int, default=0, help="per round; left out, what suits the broker")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--python", default=sys.executable, help="the interpreter of both builds")
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="RabbitMQ: the client's CPU time, and not the time on the wall")
    parser.add_argument("--kind", default="classic", help="RabbitMQ: classic or quorum")
    parser.add_argument("--address", help="a running broker; left out, the tests' own")
    parser.add_argument("--place", help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.messages = options.messages or {"kafka": 40_000, "rabbitmq": 3_000, "engine": 500}[options.broker]
    if options.serve:
        serve(options)
    else:
        asyncio.run(run(options))


if __name__ == "__main__":
    main()
