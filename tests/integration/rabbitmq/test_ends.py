"""A process that ends, by a crash or in order, in each state of its circuit and while it ends already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.rabbitmq.scene import limit, state, told
from tests.ledger.ledger import after, mark
from tests.servers.rabbitmq_address import QUORUM, SINGLE_ACTIVE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.integration.rabbitmq.scene import Scene
    from tests.ledger.fleet import Worker

STATES = ("closed", "tripping", "open", "half-open", "ramping", "shutting down")
PREFETCH = 20


@pytest.mark.parametrize("when", STATES)
async def test_killed(scene: Scene, arguments: Mapping[str, Any], when: str) -> None:
    """After kill -9 another process makes again at most what was in hand of the dead one, and nothing is lost."""
    worker = await _begin(scene, arguments, when)
    worker.kill()
    assert await worker.ended() == -9
    _was(scene, worker, when)
    await _finish(scene)
    scene.check(lanes=PREFETCH, duplicates=PREFETCH)


@pytest.mark.parametrize("when", STATES)
async def test_terminated(scene: Scene, arguments: Mapping[str, Any], when: str) -> None:
    """After SIGTERM everything that was finished is acked, and what was not is processed by another process, once."""
    worker = await _begin(scene, arguments, when)
    worker.terminate()
    assert await worker.ended() == 0, worker.output
    await _finish(scene)
    scene.check(lanes=PREFETCH)


async def _begin(scene: Scene, arguments: Mapping[str, Any], when: str) -> Worker:
    """Bring the first of two workers into this state."""
    queue = await scene.queue(arguments)
    # Slow enough that much is left when the end comes.
    scene.latency(0.1)
    # One handler fails five times in five seconds: between the first and the last is time for an end.
    lanes = ("--concurrency", "1") if when == "tripping" else ()
    # It must still be open when it ends, however long that takes.
    waits = ("--open", "600") if when == "open" else ()
    (worker,) = await scene.start(1, "--prefetch", str(PREFETCH), *lanes, *waits)
    (other,) = await scene.start(1, "--prefetch", str(PREFETCH), *lanes)
    begin = await scene.produce(queue, 300)
    await scene.processing(40, since=begin)
    match when:
        case "closed":
            pass
        case "tripping":
            scene.latency(1.0)
            outage = await scene.outage(queue, 100)
            await scene.until(lambda entries: bool(told(after(entries, outage), "failed", worker.name)))
        case "shutting down":
            # Its running handlers keep it from ending at once.
            scene.latency(4)
            begin = await scene.produce(queue, 100)
            await scene.until(lambda entries: bool(told(after(entries, begin), "called", worker.name)))
            drain = mark()
            worker.terminate()
            await scene.until(lambda entries: bool(told(after(entries, drain), "held", worker.name)))
        case _:
            await _during_an_outage(scene, queue, [worker, other])
            if when != "open":
                # Slow enough that a probe, or a ramp, is met half-way.
                scene.latency(1.0)
                await scene.up()
                least = 1 if when == "half-open" else 2
                await scene.until(lambda entries: limit(entries, worker.name) >= least)
    return worker


async def _during_an_outage(scene: Scene, queue: str, workers: list[Worker]) -> None:
    outage = await scene.outage(queue, 100)
    for worker in workers:
        await scene.opened(worker, since=outage)


def _was(scene: Scene, worker: Worker, when: str) -> None:
    """Look whether the end came in time."""
    entries = scene.ledger.entries()
    found = state(entries, worker.name)
    expected = {"open": "opened", "half-open": "half_opened", "ramping": "half_opened"}
    assert found == expected.get(when, "closed")
    assert [entry for entry in told(entries, "note", worker.name) if "drained" in entry.facts] == []


async def _finish(scene: Scene) -> None:
    scene.latency(0.005)
    if scene.is_down():
        await scene.up()
    await scene.finished()
    await scene.drained()


@pytest.mark.versions
@pytest.mark.parametrize("end", ["kill", "terminate"])
async def test_a_single_active_consumer_hands_over(scene: Scene, end: str) -> None:
    """Two workers, one active: when it ends during a hold the other takes over where it was, in order."""
    queue = await scene.queue({**QUORUM, **SINGLE_ACTIVE})
    scene.latency(0.005)
    (first,) = await scene.start(1, "--single-active", "--prefetch", str(PREFETCH))
    begin = await scene.produce(queue, 200)
    await scene.processing(20, since=begin)
    (second,) = await scene.start(1, "--single-active", "--prefetch", str(PREFETCH))
    begin = await scene.produce(queue, 40)
    await scene.processing(20, since=begin)
    assert not told(scene.ledger.entries(), "called", second.name)
    outage = await scene.outage(queue)
    await scene.opened(first, since=outage)
    getattr(first, end)()
    await first.ended()
    await scene.opened(second, since=outage)
    await _finish(scene)
    # What the dead one had finished in its last acks comes again, and so out of order.
    scene.check(lanes=1, order="source" if end == "terminate" else None, duplicates=PREFETCH if end == "kill" else 0)
