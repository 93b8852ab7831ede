"""A settings file is changed in an outage, and a worker process takes it up at SIGHUP."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from tests.cli.runner import invoke
from tests.ledger.ledger import mark

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.kafka.scene import Scene

AN_HOUR = '[dependencies.payments]\nopen_duration = "1h"\nopen_duration_max = "1h"\n'


async def logged(scene: Scene, words: str) -> None:
    """Wait until the worker's log has these words."""
    await scene.until(lambda _: any(words in worker.output for worker in scene.running))


async def status(path: Path) -> Any:
    """What `holdgate status` says of the dependency."""
    (payments,) = json.loads((await asyncio.to_thread(invoke, "status", "--json", "--socket", str(path))).stdout)["dependencies"]
    return payments


async def test_an_open_circuit_goes_on_by_the_changed_file(scene: Scene, tmp_path: Path) -> None:
    """It would wait for an hour. A slip of the pen changes nothing; a shorter wait ends it, and nothing is lost or repeated."""
    file, path = tmp_path / "holdgate.toml", tmp_path / "c.sock"
    file.write_text(AN_HOUR, encoding="utf-8")
    topic = await scene.topic(partitions=4)
    (worker,) = await scene.start(1, "--settings", str(file), "--control", str(path))
    begin = await scene.produce(topic, 50)
    await scene.processing(50, since=begin)
    outage = await scene.down()
    await scene.produce(topic, 50)
    await scene.opened(since=outage)
    await scene.up()
    before = await status(path)
    assert before["state"] == "open"

    file.write_text(AN_HOUR.replace('"1h"', '"1 second"'), encoding="utf-8")
    worker.hang_up()
    await logged(scene, "is not valid and changes nothing: ")
    await logged(scene, 'write "1s"')
    assert (await status(path))["since"] == before["since"]

    changed = mark()
    file.write_text(AN_HOUR.replace('"1h"', '"500ms"'), encoding="utf-8")
    worker.hang_up()
    await logged(scene, "was read again: dependencies.payments.circuit.open_duration 3600.0 -> 0.5")
    await scene.processing(50, since=changed)
    await scene.closed()
    await scene.finished()
    assert (await status(path))["state"] == "closed"
    await scene.drained()
    await scene.check(lanes=4)
