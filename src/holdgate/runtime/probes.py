"""Health probes: the user's call that asks whether a dependency is well again, run in a task that the guard holds."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from holdgate.flow.gate import Gate
from holdgate.runtime.functions import is_async
from holdgate.runtime.threads import ThreadCall, start_daemon
from holdgate.tasks import begin_later

if TYPE_CHECKING:
    from contextvars import Context

    from holdgate.flow.engine import Engine
    from holdgate.runtime.dependency import Dependency
    from holdgate.runtime.failures import FailureLog


class ProbingGuard(Protocol):
    """What probes ask of their guard."""

    engine: Engine
    now: Callable[[], float]
    dependencies: dict[str, Dependency]
    context: Context  # belongs to no message; a probe begins with a copy of it
    failures: FailureLog

    def wake(self) -> None:
        """Take a turn at the loop's next step."""
        ...


class Prober:
    """Runs the probes of one guard.

    A plain probe runs in a thread of its own, one at a time for each dependency. A stuck probe blocks only that thread, and does not keep
    the process from ending.
    """

    def __init__(self, guard: ProbingGuard) -> None:
        self._guard = guard
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._calls: dict[str, ThreadCall[object]] = {}  # the last call of each dependency, which may still be running

    def run(self, gates: Iterable[Gate]) -> None:
        """Start the probe of each of these gates."""
        for gate in gates:
            task = begin_later(self._probe(gate), f"probe of {gate.name}", self._guard.context.copy())
            self._tasks[task] = None
            task.add_done_callback(lambda ended: self._tasks.pop(ended, None))

    def close(self) -> None:
        """Cancel the probes that run, and wait for none."""
        for task in self._tasks:
            task.cancel()

    async def _probe(self, gate: Gate) -> None:
        dependency = self._guard.dependencies[gate.name]
        good: bool | None = None
        retry_after: float | None = None
        try:
            async with asyncio.timeout(dependency.probe_timeout):
                good = await self._ask(dependency) is not False
        except Exception as error:  # noqa: BLE001 - the user's code: any exception means no
            good, retry_after = False, dependency.retry_after_of(error)
            self._guard.failures.probe(gate.name, error)
        finally:  # a cancelled probe leaves `good` None, which is no answer
            self._guard.engine.probe_ended(gate, good, self._guard.now(), retry_after=retry_after)
            self._guard.wake()

    async def _ask(self, dependency: Dependency) -> object:
        probe = dependency.probe
        if probe is None:  # the engine starts no probe for such a dependency
            return None
        if is_async(probe):
            answer = probe()
        else:
            answer = await self._in_thread(probe, dependency.name)
        return await answer if inspect.isawaitable(answer) else answer

    async def _in_thread(self, probe: Callable[[], object], name: str) -> object:
        last = self._calls.get(name)
        if last is not None:
            await last.ended()
        call = self._calls[name] = start_daemon(probe, f"probe-{name}")
        return await call.result()
