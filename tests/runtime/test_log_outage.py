"""The log of an outage, read from the top by somebody who does not know holdgate."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from tests.runtime.stage import Down, Handler, broker_with, quiet_guard, running, until

from holdgate import CircuitSettings, CountWindow, Delivery, Dependency, State, TimeWindow
from holdgate.events import CircuitOpened, SourceBlocked
from holdgate.testing import MemoryIntake, in_virtual_time

FIVE_IN_A_ROW = CircuitSettings(open_duration=5.0, open_jitter=0.0)


class Failing(Handler):
    """Fails as the dependency does until it is `back`."""

    back = False

    async def __call__(self, delivery: Delivery[Any]) -> None:
        if not self.back:
            raise Down
        await super().__call__(delivery)


@in_virtual_time
async def test_a_plain_outage_reads_as_one(caplog: pytest.LogCaptureFixture) -> None:
    """One partition, so that no other message is tried: what failed, which circuit opened, what is held, and only then a doubt."""
    caplog.set_level(logging.INFO, "holdgate")
    payments, handler = Dependency("payments", failures=Down, settings=FIVE_IN_A_ROW), Failing()
    async with (
        quiet_guard() as guard,
        running(guard.run(MemoryIntake(broker_with(3), topics=["orders"]), handler, needs=[payments])),
    ):
        await until(lambda: "cannot tell" in caplog.text)
        handler.back = True
        await until(lambda: payments.circuit.state is State.CLOSED and len(handler.done) == 3)
        seen = [re.sub(r"(?<= at )\S+:\d+", "here", record.getMessage()) for record in caplog.records]

    assert seen == [
        "orders: no dead_letters given, so a rejected message blocks its partition, and everything behind it waits",
        "orders runs: orders[0] needs payments; a rejected message blocks its partition",
        "payments: Down at here, orders[0]@0, attempt 1 of 5",
        "payments is down (consecutive_failures): 5 calls in a row failed, the last with Down; next try in 5.0 s",
        "holding orders[0]: circuit:payments",
        (
            "orders[0] is waiting behind offset 0, which has failed 6 times (Down)."
            " No other message has been tried meanwhile, so holdgate cannot tell a bad message from an outage."
        ),
        "payments is still down (probe: Down), next try in 5.0 s, 3 wait; down for 5.0 s",
        "payments is back after 20.0 s: 6 calls failed, 3 messages waited; no longer holding orders[0]",
    ]


@pytest.mark.parametrize(
    "settings",
    [
        FIVE_IN_A_ROW,
        CircuitSettings(consecutive_failures=9, window=CountWindow(40), minimum_calls=40),
        CircuitSettings(consecutive_failures=None),
        CircuitSettings(consecutive_failures=None, window=TimeWindow(3600.0), minimum_calls=7),
    ],
    ids=["in a row", "more than attempts", "a rate of the last calls", "a rate of an hour"],
)
@in_virtual_time
async def test_the_circuit_speaks_before_the_doubt(settings: CircuitSettings) -> None:
    """Whatever opens it: no source is said to wait behind a message before the circuit has had its chance."""
    seen = list[Any]()
    payments = Dependency("payments", failures=Down, settings=settings)
    async with (
        quiet_guard(observers=[seen.append]) as guard,
        running(guard.run(MemoryIntake(broker_with(1), topics=["orders"]), Failing(), needs=[payments])),
    ):
        await until(lambda: any(isinstance(event, SourceBlocked) for event in seen), 6000.0)

    assert [type(event) for event in seen if isinstance(event, CircuitOpened | SourceBlocked)][:2] == [CircuitOpened, SourceBlocked]


@in_virtual_time
async def test_a_circuit_that_stays_closed_does_not_silence_the_doubt() -> None:
    """It could have opened and did not, because an operator only observes it: the message is named after one attempt more."""
    seen = list[Any]()
    payments = Dependency("payments", failures=Down, settings=FIVE_IN_A_ROW)
    async with (
        quiet_guard(observers=[seen.append]) as guard,
        running(guard.run(MemoryIntake(broker_with(1), topics=["orders"]), Failing(), needs=[payments])),
    ):
        await until(lambda: "payments" in guard.dependencies)
        guard.observe("payments", reason="test", for_=None)
        await until(lambda: any(isinstance(event, SourceBlocked) for event in seen))

    (blocked,) = [event for event in seen if isinstance(event, SourceBlocked)]
    assert (blocked.suspect, blocked.attempts) == (True, 6)
    assert not any(isinstance(event, CircuitOpened) for event in seen)
