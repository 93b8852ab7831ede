"""Fleets of six to whom anything happens in any order: outages, and a log that is frozen, killed, wiped and cut off, and workers that are
killed and stand still (`make test-fleet`). Whatever comes together, no message is lost, and all are back in the end.

`HOLDGATE_TEST_FLEET_CHAOS=20` plays so many rounds, from the one that `HOLDGATE_TEST_FLEET_CHAOS_FIRST` says; a round is a seed.
"""

from __future__ import annotations

import asyncio
import os
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.integration.kafka.agreeing import PARTITIONS, begin, finish
from tests.integration.kafka.fleet_logs import log_of
from tests.ledger.messages import uncommitted

if TYPE_CHECKING:
    from tests.integration.kafka.fleet_logs import LogInTrouble
    from tests.integration.kafka.scene import Scene
    from tests.servers.kafka import KafkaServer

KINDS = ("redis", "kafka", "rabbitmq", "valkey")
FIRST = int(os.environ.get("HOLDGATE_TEST_FLEET_CHAOS_FIRST", "0"))
ROUNDS = range(FIRST, FIRST + int(os.environ.get("HOLDGATE_TEST_FLEET_CHAOS", str(len(KINDS)))))
SIZE = 6
STEPS = 12
# For each crash, and for each worker that stands still for longer than its group waits (6 s): what its partitions have in flight.
AGAIN = 2 * PARTITIONS

pytestmark = pytest.mark.slow


class Chaos:
    """What happens to one fleet, by chance, and what it may cost."""

    def __init__(self, scene: Scene, log: LogInTrouble, url: str, chance: Random) -> None:
        self.scene, self.log, self.url, self.chance = scene, log, url, chance
        self.again = 0

    async def step(self) -> str:
        """Let one thing happen, and some time pass. Returns what it was."""
        name, thing = self.chance.choice(
            (
                ("outage", self.outage),
                ("outage", self.outage),
                ("freeze the log", self.freeze_log),
                ("kill the log", self.kill_log),
                ("wipe the log", self.log.wipe),
                ("cut the log off", self.cut_log),
                ("kill a worker", self.kill_worker),
                ("freeze a worker", self.freeze_worker),
            )
        )
        await thing()
        for topic in {topic for topic, _ in self.scene.places}:
            await self.scene.produce(topic, 15)
        await self.pause()
        return name

    async def pause(self) -> None:
        """Let some time pass: more than a log is silent for, or less."""
        await asyncio.sleep(self.chance.choice((0.3, 2.0, 5.0, 8.0)))

    async def outage(self) -> None:
        """Begin one, or end the one that is on."""
        await (self.scene.up() if self.scene.is_down() else self.scene.down())

    async def freeze_log(self) -> None:
        self.log.freeze()
        await self.pause()
        self.log.thaw()

    async def kill_log(self) -> None:
        await self.log.kill()
        await self.pause()
        await self.log.start()

    async def cut_log(self) -> None:
        """From half of the workers; of a log on Kafka from all."""
        self.log.proxy.cut()
        await self.pause()
        self.log.proxy.heal()

    async def kill_worker(self) -> None:
        """One ends without a word, and another one comes."""
        worker = self.chance.choice(self.scene.running)
        worker.kill()
        await worker.ended()
        self.again += uncommitted(self.scene.ledger.entries(), worker.name) + AGAIN
        await self.scene.start(1, "--session", "6", "--agree", self.url)

    async def freeze_worker(self) -> None:
        worker = self.chance.choice(self.scene.running)
        worker.freeze()
        self.again += uncommitted(self.scene.ledger.entries(), worker.name) + AGAIN
        await self.pause()
        worker.thaw()


@pytest.mark.parametrize("seed", ROUNDS)
async def test_whatever_happens_in_whatever_order(scene: Scene, own_kafka: KafkaServer, seed: int) -> None:
    """Twelve things of eight kinds; nothing is lost, nothing comes twice but by a crash, and all close within a minute of the last one."""
    async with log_of(KINDS[seed % len(KINDS)], own_kafka) as log:
        everywhere = KINDS[seed % len(KINDS)] == "kafka"
        url = log.through if everywhere else log.url
        await begin(scene, SIZE, url, through=None if everywhere else log.through)
        chaos = Chaos(scene, log, url, Random(f"fleet {seed}"))
        happened = [await chaos.step() for _ in range(STEPS)]
        print(f"round {seed}, {KINDS[seed % len(KINDS)]}: {', '.join(happened)}")
        if scene.is_down():
            await scene.up()
        await finish(scene, duplicates=chaos.again, order=None)
    print(f"failed calls: {scene.dependencies['payments'].failed}")
