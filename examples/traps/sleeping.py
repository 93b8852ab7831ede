"""A handler that sleeps until its dependency is back does not poll: the group gives its partition to the next one, which does the same."""

import asyncio

from examples.traps.world import Figures, Payments, guarded

from holdgate import Partition
from holdgate.testing import MemoryBroker, MemoryIntake

# What Kafka and aiokafka allow between two polls.
MAX_POLL_INTERVAL = 300.0
DOWN = (2.0, 1202.0)
ENOUGH = 1800.0
PLACE = Partition("orders", 0)


def topic() -> MemoryBroker:
    broker = MemoryBroker(topics={"orders": 1})
    for number in range(50):
        broker.produce("orders", b"order %d" % number)
    return broker


class Member:
    """One consumer of the group, which the group gives up when it has not polled for `MAX_POLL_INTERVAL`."""

    def __init__(self, broker: MemoryBroker, name: str) -> None:
        self.broker, self.name = broker, name
        self.group = broker.model.group("charger")
        self.consumer = broker.model.consumer("charger")
        self.generation = -1
        self.evictions = 0
        self._timer: asyncio.TimerHandle | None = None
        self.group.join(name, ["orders"], broker.now())

    async def poll(self) -> list[bytes]:
        """Wait for one message. A member that was given up joins again; one that a rebalance waits for gives back first."""
        self._watch()
        while True:
            if self.name not in self.group.members:
                self.group.join(self.name, ["orders"], self.broker.now())
            self.group.rejoin(self.name)
            if self.generation != self.group.generation and not self.group.is_rebalancing:
                self.generation = self.group.generation
                self.consumer.assign(self.group.assignment(self.name))
            for _, messages in self.consumer.poll(1):
                return [message.body or b"" for message in messages]
            self._watch()
            await asyncio.sleep(0.1)

    def commit(self) -> bool:
        """Commit what was read, and return whether the group has accepted it."""
        return PLACE in self.consumer.assigned and self.group.commit(self.name, self.generation, {PLACE: self.consumer.position(PLACE)})

    def _watch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(MAX_POLL_INTERVAL, self._give_up)

    def _give_up(self) -> None:
        self.evictions += 1
        self.group.leave(self.name, self.broker.now())


async def without() -> Figures:
    broker, payments = topic(), Payments(DOWN)
    refused = 0

    # region without
    async def consume(member: Member) -> None:
        nonlocal refused
        while True:
            for body in await member.poll():
                while True:
                    try:
                        await payments.charge(body)
                        break
                    except ConnectionError:
                        await asyncio.sleep(5)
                if not member.commit():
                    refused += 1

    # endregion

    members = [Member(broker, "a"), Member(broker, "b")]
    tasks = [asyncio.create_task(consume(member)) for member in members]
    await asyncio.wait(tasks, timeout=ENOUGH)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return result(broker, payments, sum(member.evictions for member in members), refused)


async def behind_a_guard() -> Figures:
    broker, payments = topic(), Payments(DOWN)
    broker.add_member("holdgate")  # the second worker: it gets nothing, for there is one partition
    await guarded(payments, MemoryIntake(broker, topics=["orders"]), lasts=ENOUGH)
    evicted = [entry for entry in broker.ledger if entry.event == "lost"]
    return result(broker, payments, len(evicted), 0)


def result(broker: MemoryBroker, payments: Payments, evictions: int, refused: int) -> Figures:
    return {
        "charged": len(set(payments.charged)),
        "charged twice": payments.twice,
        "workers given up by the group": evictions,
        "commits refused": refused,
        "calls into the outage": payments.failed,
    }
