"""Runs within an ASGI app's lifespan: they begin with it, stop with its server's signal, and do not end unnoticed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from tests.runtime.stage import BreakingIntake, Handler, broker_with, dependency

from holdgate import Guard
from holdgate.errors import IntakeError
from holdgate.integrations.asgi import consuming
from holdgate.testing import LoopClock, MemoryIntake, in_virtual_time


class Server:
    """Takes SIGTERM and SIGINT, as uvicorn does, and does nothing but count them."""

    def __init__(self) -> None:
        self.signals = 0

    def handle_exit(self, signum: int, frame: Any) -> None:
        self.signals += 1


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    before = {number: signal.signal(number, made.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
    yield made
    for number, handler in before.items():
        assert signal.getsignal(number) == made.handle_exit  # put back
        signal.signal(number, handler)


def guard() -> Guard:
    return Guard(clock=LoopClock())


@in_virtual_time
async def test_runs_last_as_long_as_the_app(server: Server) -> None:
    """Two of them: open when the app begins, drained when it ends."""
    broker, handler = broker_with(6), Handler()
    async with guard() as made:
        runs = [made.run(MemoryIntake(broker, topics=["orders"], group=group), handler, needs=[dependency(group)]) for group in "ab"]
        async with consuming(made, *runs):
            assert all(worker.opened.done() for worker in made.workers)
            await asyncio.sleep(5.0)
        assert len(handler.done) == 12
        assert not list(made.workers)
    assert server.signals == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
@in_virtual_time
async def test_the_servers_signal_lets_them_drain_at_once(server: Server, number: signal.Signals) -> None:
    """The server hears it as ever, and may wait for its requests for long: nothing starts here meanwhile, and what runs may end."""
    broker, handler = broker_with(50), Handler(seconds=1.0)
    async with guard() as made, consuming(made, made.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[dependency()])):
        await asyncio.sleep(3.5)
        signal.raise_signal(number)
        started = len(handler.started)
        await asyncio.sleep(60.0)  # a request that does not end
        assert server.signals == 1
        assert len(handler.started) == started == len(handler.done)
        assert not list(made.workers)
        signal.raise_signal(number)
        await asyncio.sleep(0.1)
        assert server.signals == 2


@in_virtual_time
async def test_a_run_that_cannot_begin_fails_the_startup(server: Server) -> None:
    """The other one is drained, and the block never begins."""
    broken = BreakingIntake(broker_with(1), topics=["orders"])
    broken.breaks["open"] = IntakeError("no broker")
    began = False
    async with guard() as made:
        runs = [
            made.run(MemoryIntake(broker_with(1), topics=["orders"]), Handler(), needs=[dependency()]),
            made.run(broken, Handler(), needs=[dependency("email")]),
        ]
        with pytest.raises(IntakeError, match="no broker"):
            async with consuming(made, *runs):
                began = True
        assert not list(made.workers)
    assert not began


@in_virtual_time
async def test_a_run_that_ends_by_itself_ends_the_app(server: Server) -> None:
    """The server gets a SIGTERM, the other run drains, and the lifespan raises what was wrong."""
    breaking = BreakingIntake(broker_with(3), topics=["orders"])
    with pytest.raises(IntakeError, match="deleted"):  # noqa: PT012 - the app lasts until then
        async with guard() as made:
            runs = [
                made.run(MemoryIntake(broker_with(1), topics=["orders"]), Handler(), needs=[dependency()]),
                made.run(breaking, Handler(), needs=[dependency("email")]),
            ]
            async with consuming(made, *runs):
                await asyncio.sleep(1.0)
                assert server.signals == 0
                breaking.breaks["receive"] = IntakeError("deleted")
                await asyncio.sleep(5.0)
                assert server.signals == 1
                assert not list(made.workers)


@in_virtual_time
async def test_where_nobody_has_the_signal_nothing_is_wrapped() -> None:
    """A test client, or a script: a run that ends raises at the end of the block, and the process is not killed."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        breaking = BreakingIntake(broker_with(3), topics=["orders"])
        made = Guard(clock=LoopClock(), signals=False)
        with pytest.raises(IntakeError, match="deleted"):  # noqa: PT012 - as above
            async with made, consuming(made, made.run(breaking, Handler(), needs=[dependency()])):
                assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
                breaking.breaks["receive"] = IntakeError("deleted")
                await asyncio.sleep(5.0)
    finally:
        signal.signal(signal.SIGTERM, before)


@in_virtual_time
async def test_an_app_without_runs_is_fine(server: Server) -> None:
    """A list that happens to be empty."""
    async with guard() as made, consuming(made):
        await asyncio.sleep(1.0)
