"""Runs cells side by side and prints one line of JSON for each: `python -m tests.faults.run FOLDER CELL...`.

A process of its own for each kind of broker, so that scenes, model dependencies and brokers of many cells share one event loop, and the
tests that wait for them another. It ends when its standard input closes: nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import traceback
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.cells import Broker, Cell, Ground
from tests.faults.table import find
from tests.faults.world import MissedStateError, World
from tests.faults.world_kafka import KafkaWorld
from tests.faults.world_kafka import Scene as KafkaScene
from tests.faults.world_rabbitmq import RabbitMQWorld
from tests.faults.world_rabbitmq import Scene as RabbitMQScene
from tests.faults.world_share import Scene as ShareScene
from tests.faults.world_share import ShareWorld
from tests.servers.kafka import KafkaServer
from tests.servers.kafka_jars import release_of, wanted_kafka
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.resolve import wanted_rabbitmq
from tests.servers.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

# Cells that share a broker mostly wait, each for a process that does not; beside them runs one cell of each other ground.
SIDE_BY_SIDE = int(os.environ.get("HOLDGATE_FAULTS_SIDE_BY_SIDE", "3"))
# A cell takes ten to thirty seconds; what hangs must not keep the rest.
CELL_TIMEOUT = 240.0
# On a machine with other things to do the fault may come too late for the state.
TRIES = 4
# A quorum queue that is killed younger than this does not come back.
GROWN_UP = 4.0
# The oldest Kafka with share groups, and the series of those that the tests have.
SHARES_FROM = (4, 2)
WITH_SHARES = "4.4"
# Longer than it takes to bring a worker into any state. Up to 4.2 a channel has the timeout of its opening, so it cannot be set later.
CONSUMER_TIMEOUT_MS = 6000


class Runner:
    """Runs the cells of one broker, by any client, on its grounds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._limit = asyncio.Semaphore(SIDE_BY_SIDE)

    async def run(self, cells: Iterable[Cell]) -> None:
        """Run all of them: those that leave their broker well at once, the others one after the other."""
        cells = list(cells)
        async with asyncio.TaskGroup() as tasks:
            for kind in (Broker.KAFKA, Broker.SHARE, Broker.RABBITMQ):
                for ground in Ground:
                    mine = [cell for cell in cells if cell.broker.server is kind and _ground(cell) is ground]
                    if mine:
                        tasks.create_task(self._on(ground, mine))

    async def _on(self, ground: Ground, cells: Sequence[Cell]) -> None:
        broker = cells[0].broker
        try:
            async with _server(broker, ground) as server:
                version = release_of(_version(broker)) if broker.is_kafka else server.version
                _tell(servers={cell.broker.value: version for cell in cells})
                if ground in (Ground.SHARED, Ground.IMPATIENT):
                    await asyncio.gather(*(self._in_turn(cell, server) for cell in cells))
                else:
                    for cell in cells:
                        await _whole(server)
                        await self._cell(cell, server)
        except Unavailable as error:
            for cell in cells:
                _tell(cell=cell.id, result="skipped", text=str(error))

    async def _in_turn(self, cell: Cell, server: Any) -> None:
        async with self._limit:
            await self._cell(cell, server)

    async def _cell(self, cell: Cell, server: Any) -> None:
        begun = time.monotonic()
        result, text = "failed", ""
        for number in range(TRIES):
            result, text = await self._try(cell, server, self._folder / f"{cell.id}-{number}")
            if result != "missed":
                break
        _tell(cell=cell.id, result=result, text=text, seconds=round(time.monotonic() - begun, 1))

    async def _try(self, cell: Cell, server: Any, folder: Path) -> tuple[str, str]:
        await asyncio.to_thread(folder.mkdir, parents=True)
        try:
            async with asyncio.timeout(CELL_TIMEOUT), _world(cell, server, folder) as world:
                wrong = await _course(world)
        except MissedStateError as error:
            return "missed", str(error)
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001  whatever it is, it is this cell's, and the others go on
            return "failed", traceback.format_exc()[-6000:]
        return ("held", "") if not wrong else ("violated", "\n".join(_few_of_each(wrong)))


def _few_of_each(wrong: Sequence[str]) -> list[str]:
    """Return the first lines of each invariant: one that is broken all the time must not hide another."""
    lines: dict[str, list[str]] = {}
    for line in wrong:
        lines.setdefault(line.partition(":")[0], []).append(line)
    return [line for of_one in lines.values() for line in of_one[:5]]


async def _course(world: World) -> list[str]:
    await world.begin()
    if world.cell.broker is Broker.RABBITMQ and world.cell.fault.ground is Ground.OWN:
        await asyncio.sleep(GROWN_UP)
    await world.reach()
    await world.strike()
    await world.finish()
    return await world.judge()


async def _whole(server: KafkaServer | RabbitMQServer) -> None:
    """A cell that failed in the middle may have left its broker frozen or dead."""
    for each in server.brokers if isinstance(server, KafkaServer) else [server]:
        if each.is_running:
            each.thaw()
    await server.start()


def _ground(cell: Cell) -> Ground:
    """A node of RabbitMQ can have a proxy for each cell; a Kafka tells its clients one address, so its proxy is everybody's."""
    if cell.broker is Broker.RABBITMQ and cell.fault.ground is Ground.PROXIED:
        return Ground.SHARED
    return cell.fault.ground


def _server(broker: Broker, ground: Ground) -> KafkaServer | RabbitMQServer:
    """A broker of our own: it is stopped, killed and asked for things that nobody does to a broker of somebody else."""
    if broker.is_kafka:
        return KafkaServer(3 if ground is Ground.CLUSTER else 1, version=_version(broker))
    settings = {"consumer_timeout": str(CONSUMER_TIMEOUT_MS)} if ground is Ground.IMPATIENT else {}
    return RabbitMQServer(wanted_rabbitmq(), settings)


def _version(broker: Broker) -> str:
    """The Kafka that was asked for, or the newest for share groups, which older ones do not have."""
    wanted = wanted_kafka()
    has_shares = tuple(int(part) for part in wanted.split(".")[:2]) >= SHARES_FROM
    return WITH_SHARES if broker is Broker.SHARE and not has_shares else wanted


@asynccontextmanager
async def _world(cell: Cell, server: Any, folder: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        proxy = None
        if cell.fault.ground is Ground.PROXIED:
            (proxy,) = server.proxies() if cell.broker.is_kafka else [server.proxy()]
            await stack.enter_async_context(proxy)
        if cell.broker.is_kafka:
            bootstrap = server.bootstrap if proxy is None else server.proxied_bootstrap
            if cell.broker is Broker.SHARE:
                yield ShareWorld(cell, await stack.enter_async_context(ShareScene(server, folder, bootstrap)), server, proxy)
            else:
                yield KafkaWorld(cell, await stack.enter_async_context(KafkaScene(server, folder, bootstrap)), server, proxy)
        else:
            url = server.url if proxy is None else server.url_through(proxy)
            yield RabbitMQWorld(cell, await stack.enter_async_context(RabbitMQScene(server, folder, url)), server, proxy)


def _tell(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


async def _main(folder: Path, names: Sequence[str]) -> None:
    running = asyncio.create_task(Runner(folder).run([find(name) for name in names]))
    deserted = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait((running, deserted), return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    await asyncio.wait((running,))
    # The thread that reads cannot be stopped.
    sys.stdout.flush()
    if not running.cancelled() and (error := running.exception()) is not None:
        traceback.print_exception(error)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), sys.argv[2:]))
