"""A hold costs no memory beside the window: whoever asks, and however often."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING, Any

from tests.brokers.rabbitmq.line import Line, supervisor
from tests.flow.stage import Stage, messages, run_of

from holdgate.brokers.rabbitmq import RabbitMQIntake
from holdgate.flow.message import Queue
from holdgate.flow.plan import Plan, SourcePlan
from holdgate.testing import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable

ORDERS: Any = Queue("orders")
WINDOW = 100
REFUSALS = 100_000
A_TURN = 50
HELD = SourcePlan(fetch=False, reasons=("circuit:payments",))


def grown(times: int, step: Callable[[], object]) -> int:
    """How many bytes are kept of so many steps, after a few that warm everything."""
    for _ in range(10):
        step()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(times):
        step()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return after - before


def staged(seconds: float) -> Stage:
    """A window of messages in front of a circuit that opened so long ago."""
    stage = Stage("payments", run=run_of(["payments"], order="none", concurrency=16, inbox=WINDOW), sources=[ORDERS])
    stage.trip()
    stage.engine.received(stage.run, messages(ORDERS, WINDOW))
    stage.turn(later=seconds)
    return stage


def refuse(stage: Stage) -> None:
    """A turn's worth of lanes ask, and get nothing."""
    for _ in range(A_TURN):
        assert stage.engine.next(stage.run, stage.now) is None
    stage.turn()


def test_an_open_circuit_refuses_a_hundred_thousand_times() -> None:
    """Lanes that ask for the messages in hand get nothing, and nothing is left of having asked."""
    stage = staged(1.0)

    assert grown(REFUSALS // A_TURN, lambda: refuse(stage)) < 1000


def test_a_ramp_without_room_refuses_a_hundred_thousand_times() -> None:
    """One probe is under way; the others are refused as often as they ask."""
    stage = staged(10.0)
    stage.start()

    assert grown(REFUSALS // A_TURN, lambda: refuse(stage)) < 1000


def test_an_intake_keeps_its_window_and_no_more() -> None:
    """Held, it hands out nothing however often it is asked, and plans that come and go leave nothing behind."""

    async def asks() -> tuple[int, int]:
        made = RabbitMQIntake("amqp://localhost/", "orders", prefetch=WINDOW)
        line = Line()
        kept = made._supervisors[ORDERS] = supervisor()
        kept.channel = line.channel
        await line.arrive(*range(1, WINDOW + 1))
        made.apply(Plan({ORDERS: HELD}, 0))
        versions = iter(range(1, REFUSALS))

        def ask() -> None:
            assert made._take() == []
            made.apply(Plan({ORDERS: HELD}, next(versions)))

        return grown(REFUSALS // 10, ask), len(line.channel.arrived)

    kept, waiting = run_virtual(asks())
    assert kept < 1000
    assert waiting == WINDOW
