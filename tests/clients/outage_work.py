"""What is done in an outage: each client of the table as the handler of a topic or queue of its own, in each shape that its exceptions take
on their way out of a handler, and a ledger of all that happened."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tests.clients.outages import Wrapped
from tests.clients.table import Client

from holdgate import CircuitSettings, Delivery, Dependency

Handler = Callable[[Delivery[Any]], Awaitable[None]] | Callable[[Delivery[Any]], None]
OWN_FAULT = b"own fault"


class Outage:
    """Whether the far ends are down, for everybody at the same time."""

    is_on = False


class Combination:
    """One client in one shape on one broker: its dependency, its handler, what it met in the outage and what it processed."""

    def __init__(self, client: Client, shape: str, number: int, outage: Outage, settings: CircuitSettings) -> None:
        self.client = client
        self.shape = shape
        self.number = number
        self.topic = topic = f"clients-outage-{number}"
        self.name = f"{client.family}: {client.name}, {shape}"
        self.dependency = Dependency(topic, failures=client.preset.failures, settings=settings)
        self.met: Counter[str] = Counter()
        self.processed: Counter[bytes] = Counter()
        self._outage = outage
        self._situations = itertools.cycle(client.outage.items())
        self._produced = 0

    def good(self, count: int) -> list[bytes]:
        """So many new bodies."""
        first, self._produced = self._produced, self._produced + count
        return [self._body(number) for number in range(first, self._produced)]

    @property
    def all_good(self) -> list[bytes]:
        """The bodies so far."""
        return [self._body(number) for number in range(self._produced)]

    @property
    def poison(self) -> bytes:
        """The body of the one message that fails by its own fault."""
        return f"{self.topic} ".encode() + OWN_FAULT

    @property
    def has_met_all(self) -> bool:
        return self.met.keys() == self.client.outage.keys()

    def handler(self) -> Handler:
        """What a guard runs."""
        return SHAPES[self.shape](self)

    async def work(self, body: bytes) -> None:
        """Make the call of this message; in the outage, as its next situation has it.

        A call that begins in the outage may end after it, and succeed then: that says nothing of the message, whose own call is next.
        """
        if self._outage.is_on:
            situation, call = next(self._situations)
            try:
                await call()
            except Exception:
                self.met[situation] += 1
                raise
        if body == self.poison:
            await self.client.own_fault()
        else:
            await self.client.well()

    def _body(self, number: int) -> bytes:
        return f"{self.topic} {number}".encode()


def plain(combination: Combination) -> Handler:
    """As it is."""

    async def handler(delivery: Delivery[Any]) -> None:
        body = delivery.body or b""
        await combination.work(body)
        combination.processed[body] += 1

    return handler


def in_a_group(combination: Combination) -> Handler:
    """Out of a task group, beside a child that is cancelled by it."""

    async def handler(delivery: Delivery[Any]) -> None:
        body = delivery.body or b""

        async def work() -> None:
            await combination.work(body)
            sleeping.cancel()

        async with asyncio.TaskGroup() as group:
            sleeping = group.create_task(asyncio.sleep(3600))
            group.create_task(work())
        combination.processed[body] += 1

    return handler


def wrapped(combination: Combination) -> Handler:
    """In an error of somebody's own."""

    async def handler(delivery: Delivery[Any]) -> None:
        body = delivery.body or b""
        try:
            await combination.work(body)
        except Exception as error:
            raise Wrapped from error
        combination.processed[body] += 1

    return handler


def in_a_thread(combination: Combination) -> Handler:
    """Out of a plain function, which a guard runs in a thread; with an event loop of its own where the client may have one."""
    loop = asyncio.get_running_loop()

    def handler(delivery: Delivery[Any]) -> None:
        body = delivery.body or b""
        if combination.client.any_loop:
            asyncio.run(combination.work(body))
        else:
            asyncio.run_coroutine_threadsafe(combination.work(body), loop).result()
        combination.processed[body] += 1

    return handler


SHAPES: dict[str, Callable[[Combination], Handler]] = {
    "plain": plain,
    "in a group": in_a_group,
    "wrapped": wrapped,
    "in a thread": in_a_thread,
}


def combinations(clients: Sequence[Client], outage: Outage, settings: CircuitSettings) -> list[Combination]:
    """Each client in each shape, on one broker."""
    pairs = itertools.product(clients, SHAPES)
    return [Combination(client, shape, number, outage, settings) for number, (client, shape) in enumerate(pairs)]
