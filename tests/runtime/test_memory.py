"""`Guard(memory=)`: what reaches the engine and the intakes of it, and what people are told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.runtime.stage import ORDERS, Handler, dependency, quiet_guard, running

from holdgate import Delivery, Guard
from holdgate.errors import SettingsError
from holdgate.testing import MemoryBroker, MemoryIntake, in_virtual_time

MIB = 1024 * 1024


class AheadIntake(MemoryIntake):
    """Its client reads ahead, and it weighs in its own way."""

    bounds: list[int]
    sends_unasked = False
    read_ahead = 3 * MIB

    def __init__(self, broker: MemoryBroker, **settings: Any) -> None:
        super().__init__(broker, **settings)
        self.bounds = []

    def bound(self, memory: int) -> None:
        self.bounds.append(memory)

    def weigh(self, deliveries: Sequence[Delivery[Any]]) -> int:
        return len(deliveries) * MIB


def broker(count: int, partitions: int = 1) -> MemoryBroker:
    """So many messages of a megabyte, dealt to the partitions in turn."""
    made = MemoryBroker(topics={"orders": partitions})
    for number in range(count):
        made.produce("orders", b"x" * MIB, partition=number % partitions)
    return made


@pytest.mark.parametrize("value", [0, -1, 64, 1.5e9, True, "64 MiB"])
def test_a_bound_that_makes_no_sense_is_refused(value: Any) -> None:
    """64 was meant as megabytes, and would stop everything."""
    with pytest.raises(SettingsError, match=r"memory.* must be"):
        Guard(memory=value)


@in_virtual_time
async def test_a_worker_has_few_big_messages_in_hand() -> None:
    """A backlog that would fit into the inbox stays with the broker; everything is handled all the same."""
    handler = Handler(1.0)
    async with quiet_guard(memory=16 * MIB) as guard, running(guard.run(MemoryIntake(broker(60), topics=["orders"]), handler)):
        held = []
        for _ in range(70):
            await asyncio.sleep(1)
            held.append(guard.snapshot().held_bytes)

        assert len(handler.done) == 60
        assert MIB < max(held) < 4 * MIB


@in_virtual_time
async def test_an_outage_fills_no_memory() -> None:
    """What came before the circuit opened stays in hand, and no more comes."""
    intake = MemoryIntake(broker(60, 2), topics=["orders"])
    async with quiet_guard(memory=16 * MIB) as guard, running(guard.run(intake, Handler(down=True), needs=[dependency()])):
        await asyncio.sleep(600)
        snapshot = guard.snapshot()

        assert snapshot.sources[ORDERS[0]].held
        assert 0 < snapshot.held_bytes < 6 * MIB


@in_virtual_time
async def test_an_intake_that_reads_ahead_is_told_the_bound() -> None:
    """Before it opens, once; it is asked how much it has, and how heavy its deliveries are."""
    intake = AheadIntake(broker(10), topics=["orders"])
    async with quiet_guard(memory=16 * MIB) as guard, running(guard.run(intake, Handler(100))):
        await asyncio.sleep(1)
        snapshot = guard.snapshot()

        assert intake.bounds == [16 * MIB]
        assert (snapshot.held_bytes, snapshot.read_ahead_bytes) == (2 * MIB, 3 * MIB)
        assert guard.health().memory == "5.0 MiB of messages in hand, of 16 MiB"


@in_virtual_time
async def test_without_a_bound_it_is_told_all_the_same() -> None:
    """No intake is bounded, and health says what there is."""
    intake = AheadIntake(broker(10), topics=["orders"])
    async with quiet_guard(memory=None) as guard, running(guard.run(intake, Handler(100))):
        await asyncio.sleep(1)

        assert intake.bounds == []
        assert guard.health().memory == "13.0 MiB of messages in hand"


@in_virtual_time
async def test_health_names_the_sources_that_wait_for_room() -> None:
    """It is no trouble: the bound does its work."""
    async with quiet_guard(memory=16 * MIB) as guard, running(guard.run(MemoryIntake(broker(40, 40), topics=["orders"]), Handler(1000))):
        await asyncio.sleep(10)
        health = guard.health()

        assert health.status == "ok"
        assert health.memory.endswith("of 40 sources wait for room")
