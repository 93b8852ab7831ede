"""Health probes: the user's call that asks whether a dependency is well again, run in a task that the guard holds."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from holdgate.flow.gate import Gate
from holdgate.runtime.calling import is_async
from holdgate.runtime.threads import HandlerThreads
from holdgate.tasks import begin_later

if TYPE_CHECKING:
    from holdgate.runtime.dependency import Dependency
    from holdgate.runtime.guard import Guard

log = logging.getLogger("holdgate")


class Prober:
    """Runs the probes of one guard. A plain probe runs in a thread of its dependency's own; one that is stuck keeps that thread alone."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._threads: dict[str, HandlerThreads] = {}

    def run(self, gates: Iterable[Gate]) -> None:
        """Start the probe of each of these."""
        for gate in gates:
            task = begin_later(self._probe(gate), f"probe of {gate.name}", self._guard.context.copy())
            self._tasks[task] = None
            task.add_done_callback(lambda ended: self._tasks.pop(ended, None))

    def close(self) -> None:
        """End what runs, and wait for nothing."""
        for task in self._tasks:
            task.cancel()
        for threads in self._threads.values():
            threads.close()

    async def _probe(self, gate: Gate) -> None:
        dependency = self._guard.dependencies[gate.name]
        good: bool | None = None
        retry_after: float | None = None
        try:
            async with asyncio.timeout(dependency.probe_timeout):
                good = await self._ask(dependency) is not False
        except Exception as error:  # noqa: BLE001 - somebody else's code: whatever it raises is a no
            good, retry_after = False, dependency.retry_after_of(error)
            log.info("the probe of %s says no: %s", gate.name, type(error).__name__)
        finally:  # cancelled, it says nothing
            self._guard.engine.probe_ended(gate, good, self._guard.now(), retry_after=retry_after)
            self._guard.wake()

    async def _ask(self, dependency: Dependency) -> object:
        probe = dependency.probe
        if probe is None:  # there is none to ask, and nobody begins one
            return None
        if is_async(probe):
            answer = probe()
        else:
            threads = self._threads.setdefault(dependency.name, HandlerThreads(1, f"probe-{dependency.name}"))
            answer = await threads.start(probe).result()
        return await answer if inspect.isawaitable(answer) else answer
