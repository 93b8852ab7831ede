"""Fleets of six whose log fails in the middle of an outage: frozen, killed, wiped, and cut off from half of them (`make test-fleet`).

The workers consume from Kafka, and another dependency of theirs is well all the time. So what a log in trouble does to handlers that have
nothing to do with it can be measured.
"""

from __future__ import annotations

import asyncio
from statistics import quantiles
from typing import TYPE_CHECKING

import pytest
from tests.integration.kafka import looks
from tests.integration.kafka.agreeing import PARTITIONS, all_noted, begin, conducted, finish, knows, outage
from tests.integration.kafka.fleet_logs import log_of
from tests.ledger.ledger import Mark, after, mark

from holdgate import CircuitSettings
from holdgate.core import Circuit, Outcome, Permit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.kafka.scene import Scene
    from tests.ledger.ledger import Entry
    from tests.servers.kafka import KafkaServer

SIZE = 6
# Seconds of one window, in each of which some 500 handlers of the other topic start.
WINDOW = 4.0
LATENCY = 0.05
# What a handler may start later at most because of the log (seconds).
LATE = 0.001
# As the workers have it.
CIRCUIT = CircuitSettings(open_duration=0.5, open_duration_max=2.0)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["redis", "valkey", "rabbitmq", "kafka"])
async def test_a_log_that_is_frozen_killed_and_wiped(scene: Scene, own_kafka: KafkaServer, kind: str) -> None:
    """Each worker goes by its own rules until the log is back. Nothing is lost, and no handler waits for it."""
    async with log_of(kind, own_kafka) as log:
        url = log.through if kind == "kafka" else log.url
        mails = await scene.topic("mail", partitions=PARTITIONS)
        scene.latency(LATENCY, "mail")
        workers = await begin(scene, SIZE, url)
        down = await outage(scene)
        await conducted(scene, down)
        usual, frozen = [await _window(scene, mails)], []
        for _ in range(2):
            since = mark()
            log.freeze()
            frozen.append(await _window(scene, mails))
            await scene.until(lambda entries, since=since: all_noted(entries, workers, since, log="FleetLogFellSilent"))
            since = mark()
            log.thaw()
            await scene.until(lambda entries, since=since: all_noted(entries, workers, since, log="FleetLogCameBack"))
            usual.append(await _window(scene, mails))
        since = mark()
        await log.kill()
        await scene.until(lambda entries: all_noted(entries, workers, since, log="FleetLogFellSilent"))
        again = mark()
        await log.start()
        await scene.until(lambda entries: all_noted(entries, workers, again, log="FleetLogCameBack"))
        await conducted(scene, again)
        await log.wipe()
        wiped = mark()
        await conducted(scene, wiped)
        await scene.up()
        await finish(scene)
    entries = scene.ledger.entries()
    _check_that_nobody_is_worse_than_alone(entries, [worker.name for worker in workers])
    _check_that_no_handler_starts_later(entries, mails, usual, frozen)


@pytest.mark.parametrize("kind", ["redis", "rabbitmq", "kafka"])
async def test_half_of_the_fleet_that_is_cut_off_goes_by_its_own_rules(scene: Scene, own_kafka: KafkaServer, kind: str) -> None:
    """The other half goes on as a fleet of three. All come back, apart, and are one fleet when the way to the log is free again."""
    async with log_of(kind, own_kafka) as log:
        workers = await begin(scene, SIZE, log.url, through=log.through)
        near, far = workers[: SIZE // 2], workers[SIZE // 2 :]
        down = await outage(scene)
        await conducted(scene, down)
        cut = mark()
        log.proxy.cut()
        await scene.until(lambda entries: all_noted(entries, far, cut, log="FleetLogFellSilent"))
        await scene.until(lambda entries: all(knows(entries, worker, len(near), cut) for worker in near))
        await scene.up()
        await scene.closed()
        assert not any(looks.told(after(scene.ledger.entries(), cut), "note", worker.name, log="FleetLogFellSilent") for worker in near)
        healed = mark()
        log.proxy.heal()
        # In quiet times a worker speaks every half minute, and hears of it that it is heard again.
        await scene.until(lambda entries: all_noted(entries, far, healed, log="FleetLogCameBack"))
        await scene.until(lambda entries: all(knows(entries, worker, SIZE, healed) for worker in near))
        await finish(scene)
    _check_that_nobody_is_worse_than_alone(scene.ledger.entries(), [worker.name for worker in workers])


async def _window(scene: Scene, topic: str) -> tuple[Mark, Mark]:
    """Let some seconds pass with work for a part more, and return when they began and ended."""
    await scene.produce(topic, int(1.5 * WINDOW / LATENCY))
    begins = mark()
    await asyncio.sleep(WINDOW)
    return begins, mark()


def _check_that_nobody_is_worse_than_alone(entries: Sequence[Entry], names: Sequence[str]) -> None:
    """No worker has failed more often than one alone may, whatever the log did, with a call that was under way for each partition."""
    (down,), (up,) = (looks.told(entries, kind, dependency="payments") for kind in ("down", "up"))
    wasted = {name: len(looks.told(entries, "wasted", dependency="payments", caller=name)) for name in names}
    most = _most_alone(up.at - down.at)
    print(f"failed calls in {up.at - down.at:.0f} s of outage: {sum(wasted.values())}; each alone at most {len(names) * most}")
    assert max(wasted.values()) <= most + PARTITIONS, wasted


def _most_alone(seconds: float) -> int:
    """The calls of a circuit in such an outage that is always as early as chance allows."""
    circuit, now, calls = Circuit("payments", CIRCUIT, draw=lambda: 0.0), 0.0, 0
    while now < seconds:
        permit = circuit.try_acquire(now)
        if isinstance(permit, Permit):
            calls += 1
            circuit.record(permit, Outcome.FAILURE, now)
        else:
            now = max(now + 0.01, permit.retry_at)
    return calls


def _check_that_no_handler_starts_later(
    entries: Sequence[Entry], topic: str, usual: Sequence[tuple[Mark, Mark]], frozen: Sequence[tuple[Mark, Mark]]
) -> None:
    """From the end of a handler to the start of the next one of its partition no more time passes than in the worst usual window."""
    waits = _waits(entries, topic)
    for name, nth in (("median", 4), ("90 %", 8)):
        before, while_frozen = ([_tenths(waits, window)[nth] for window in windows] for windows in (usual, frozen))
        print(f"{name} of the waits, ms: usually {_shown(before)}, with a frozen log {_shown(while_frozen)}")
        assert min(while_frozen) <= max(before) + LATE


def _waits(entries: Sequence[Entry], topic: str) -> list[tuple[float, float]]:
    ended: dict[tuple[str, int], float] = {}
    waits: list[tuple[float, float]] = []
    for entry in entries:
        if entry.facts.get("topic") != topic:
            continue
        if entry.kind == "processed":
            ended[entry.who, entry.place[1]] = entry.at
        elif entry.kind == "called" and (end := ended.pop((entry.who, entry.place[1]), None)) is not None:
            waits.append((entry.at, entry.at - end))
    return waits


def _tenths(waits: Sequence[tuple[float, float]], window: tuple[Mark, Mark]) -> list[float]:
    return quantiles([wait for at, wait in waits if window[0] <= at < window[1]], n=10)


def _shown(seconds: Sequence[float]) -> str:
    return ", ".join(f"{each * 1000:.2f}" for each in seconds)
