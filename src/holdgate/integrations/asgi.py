"""`consuming`: runs of a guard within the lifespan of an ASGI app, under uvicorn or another server.

Theory of operation. Three things go wrong where a lifespan simply begins a task, and all three are seen to here.

- *A worker that cannot begin.* The lifespan's startup waits until every run is open. What a run raises before fails the startup, and the
  server ends.
- *A worker that ends by itself*, because its queue was deleted, say. The app would go on without it, and look well. So the server gets a
  SIGTERM, and the lifespan raises what the run has ended with.
- *The stop.* On a SIGTERM or Ctrl-C a server first waits for open requests, which may be for ever (a stream of events), and ends the
  lifespan only then. A worker would consume until that, and its drain would come after it. So the signal's handler is wrapped: the drain
  begins with the signal, beside the server's own.

The signals stay the server's. Their handlers are called as ever, and put back at the end. Nothing is wrapped outside of the main thread (a
test client's), or where a signal has Python's default and so belongs to nobody.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

from holdgate.runtime.guard import Guard
from holdgate.tasks import begin_later

__all__ = ["consuming"]

log = logging.getLogger("holdgate")


@asynccontextmanager
async def consuming(guard: Guard, *runs: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Run these for as long as the block lasts, as the block of an app's lifespan.

    - `guard`: the Guard, entered around this block: `async with Guard() as guard, consuming(guard, guard.run(...)):`. It leaves SIGTERM to
      the server, because the server has taken it already.
    - `runs`: what `guard.run(...)` returns, not awaited.

    The block begins when all of them are open, and raises what one of them has raised before. SIGTERM and SIGINT let all of them drain,
    beside the server's own shutdown, and so does the end of the block, which waits for that: for `drain_timeout` and a few seconds at
    most. If one ends by an error in between, the process gets a SIGTERM, and the error is raised at the end.
    """
    tasks = [begin_later(run, "run of an ASGI app") for run in runs]
    try:
        with _stops_with_the_server(guard):
            await _opened(guard, tasks)
            for task in tasks:
                task.add_done_callback(_end_app)
            yield
    finally:
        for task in tasks:
            task.remove_done_callback(_end_app)
        await guard.stop()
        if tasks:
            await asyncio.wait(tasks)
    for task in tasks:
        task.result()


async def _opened(guard: Guard, tasks: list[asyncio.Task[None]]) -> None:
    """Return when all runs are open. Raises what one of them has ended with instead."""
    await asyncio.sleep(0)  # they make their workers
    opened = [worker.opened for worker in guard.workers]
    while not all(each.done() for each in opened) and not any(task.done() for task in tasks):
        waits: list[asyncio.Future[None]] = [*(each for each in opened if not each.done()), *tasks]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            task.result()


def _end_app(task: asyncio.Task[None]) -> None:
    """Let the server stop, because a run cannot go on: nobody would notice."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("a run of the app ended with %s: %s; the app stops", type(error).__name__, error)
        if callable(signal.getsignal(signal.SIGTERM)):  # else there is no server to hear it, and it would kill
            signal.raise_signal(signal.SIGTERM)


@contextmanager
def _stops_with_the_server(guard: Guard) -> Generator[None]:
    """Let the guard stop at a signal by which the server ends, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    stopping: list[asyncio.Task[None]] = []  # a task that nobody keeps may be collected
    servers: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop() -> None:
        stopping.append(begin_later(guard.stop(), "stop of an ASGI app"))

    def arrived(signum: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop)
        servers[signum](signum, frame)

    handler: Callable[[int, FrameType | None], None] = arrived
    wrapped = [number for number, owner in servers.items() if callable(owner) and owner is not signal.default_int_handler]
    for number in wrapped:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in wrapped:
            if signal.getsignal(number) is handler:
                signal.signal(number, servers[number])
