"""RabbitMQ, one message per handler call: a guarded worker beside aio-pika's bare consumer callback, on the same broker and messages.

    python -m benchmarks.rabbitmq_throughput [--url amqp://...] [--messages 3000] [--rounds 15] [--prefetch 100]

Rounds alternate in random order, each on the same queue filled anew; what is printed are medians and the quartiles of the ratio. The clock
runs from the first message to the last one handled; the acks of the last window are in neither figure. The client's CPU time is that of the
whole loop, from connecting to closing.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import platform
import random
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from tests.servers.resolve import shared_rabbitmq
from tests.servers.unavailable import Unavailable

from benchmarks import faststream_loops
from holdgate import CircuitSettings, Delivery, Dependency, Guard
from holdgate.brokers.rabbitmq import RabbitMQIntake

PAYLOAD = b"x" * 100
PREFETCH = 100
KINDS = {"classic": {}, "quorum": {"x-queue-type": "quorum"}}


class Clock:
    """From the first message to the last."""

    def __init__(self, messages: int) -> None:
        self._left = messages
        self._begun = 0.0
        self.ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def tick(self) -> None:
        self._begun = self._begun or time.perf_counter()
        self._left -= 1
        if self._left == 0:
            self.ended.set_result(time.perf_counter() - self._begun)


async def bare(url: str, queue: str, messages: int, prefetch: int) -> float:
    """What people write: a consumer callback with `message.process()`."""
    connection = await aio_pika.connect_robust(url)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=prefetch)
        clock = Clock(messages)

        async def handler(message: AbstractIncomingMessage) -> None:
            async with message.process():
                clock.tick()

        await (await channel.get_queue(queue)).consume(handler)
        taken = await clock.ended
        await drained(connection, queue)
        return taken


async def guarded(url: str, queue: str, messages: int, prefetch: int) -> float:
    """The same work under a guard, one need, a count window and slow calls on."""
    clock = Clock(messages)

    async def handler(delivery: Delivery) -> None:
        clock.tick()

    dependency = Dependency("downstream", settings=CircuitSettings(slow_call_duration=1.0))
    async with Guard(signals=False) as guard:
        run = asyncio.create_task(guard.run(RabbitMQIntake(url, queue, prefetch=prefetch), handler, needs=[dependency]))
        await asyncio.wait({run, clock.ended}, return_when=asyncio.FIRST_COMPLETED)
        if not clock.ended.done():
            run.result()
    await run
    return clock.ended.result()


async def drained(connection: aio_pika.abc.AbstractConnection, queue: str) -> None:
    """The last acks are on their way: give them the time to arrive."""
    await (await connection.channel()).declare_queue(queue, passive=True)
    await asyncio.sleep(0.2)


async def fill(url: str, queue: str, messages: int) -> None:
    connection = await aio_pika.connect(url)
    async with connection:
        exchange = (await connection.channel()).default_exchange
        message = aio_pika.Message(PAYLOAD, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        for begin in range(0, messages, 500):
            await asyncio.gather(*(exchange.publish(message, routing_key=queue) for _ in range(begin, min(begin + 500, messages))))


Loop = Callable[[str, str, int, int], Awaitable[float]]
LOOPS: dict[str, Loop] = {
    "bare callback, `message.process()`": bare,
    "guarded": guarded,
    **({"FastStream": faststream_loops.rabbitmq} if faststream_loops.INSTALLED else {}),
}


@asynccontextmanager
async def declared_queue(url: str, kind: str) -> AsyncIterator[str]:
    """A queue of this kind, by its name, as long as it is needed."""
    queue = f"bench-{uuid.uuid4().hex[:8]}"
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True, arguments=KINDS[kind])
        yield queue
        await channel.queue_delete(queue)


async def measure(url: str, kind: str, messages: int, rounds: int, prefetch: int) -> dict[str, list[tuple[float, float]]]:
    async with declared_queue(url, kind) as queue:
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in LOOPS}
        for number in range(rounds + 1):
            for name in random.sample(list(LOOPS), len(LOOPS)):
                await fill(url, queue, messages)
                gc.collect()
                cpu = time.process_time()
                wall = await LOOPS[name](url, queue, messages, prefetch)
                cpu = time.process_time() - cpu
                if number:  # the first round warms everything
                    times[name].append((wall / messages * 1e6, cpu / messages * 1e6))
    return times


def report(times: dict[str, list[tuple[float, float]]], title: str) -> None:
    reference = next(iter(times.values()))
    print(f"\n{title}\n")
    print("| loop | µs per message (median) | the client's CPU | throughput, bare = 1 | quartiles |")
    print("|---|---|---|---|---|")
    for name, values in times.items():
        ratios = [base[0] / value[0] for base, value in zip(reference, values, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        wall, cpu = (statistics.median(column) for column in zip(*values, strict=True))
        print(f"| {name} | {wall:.1f} | {cpu:.1f} | {statistics.median(ratios):.2f} | {low:.2f} to {high:.2f} |")


async def run(options: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        url = options.url or (await stack.enter_async_context(shared_rabbitmq())).url
        for kind in KINDS:
            report(
                await measure(url, kind, options.messages, options.rounds, options.prefetch), f"{kind} queue, prefetch {options.prefetch}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="a running RabbitMQ; left out, one is started")
    parser.add_argument("--messages", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--prefetch", type=int, default=PREFETCH)
    options = parser.parse_args()
    print(f"CPython {platform.python_version()}, aio-pika {version('aio-pika')}, {options.messages} messages of 100 bytes")
    try:
        asyncio.run(run(options))
    except Unavailable as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
