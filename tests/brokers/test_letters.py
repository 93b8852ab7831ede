"""What the dead letters of every broker share: who opens and closes the target, and which names a template allows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdgate.brokers.letters import Runs, Template, no_reject
from holdgate.errors import SettingsError
from holdgate.flow.message import Partition
from holdgate.testing.memory.message import MemoryDelivery, Message

CLOSE_WITHIN = 7.0


class Target:
    """Notes what is done with it. `failing` names a step that fails, `slow` one that never ends."""

    def __init__(self, *, failing: str = "", slow: str = "") -> None:
        self.steps: list[Any] = []
        self.failing = failing
        self.slow = slow
        self.runs = Runs(self.stop, CLOSE_WITHIN)

    async def enter(self) -> None:
        await self.runs.enter(self.start, self.check)

    async def start(self) -> None:
        if not self.runs.any:
            await self._step("start")

    async def check(self) -> None:
        await self._step("check")

    async def stop(self, seconds: float) -> None:
        self.steps.append(seconds)

    async def _step(self, name: str) -> None:
        self.steps.append(name)
        await asyncio.sleep(0)
        if name == self.slow:
            await asyncio.Event().wait()
        if name == self.failing:
            raise OSError(name)


async def test_the_first_run_opens_and_the_last_one_closes() -> None:
    """Two runs that begin in the same step open it once, and each checks it."""
    target = Target()
    await asyncio.gather(target.enter(), target.enter())
    assert target.steps == ["start", "check", "check"]
    await target.runs.leave()
    assert target.runs.any
    await target.runs.leave()
    assert target.steps[3:] == [CLOSE_WITHIN]


async def test_a_run_that_begins_while_the_last_one_closes_opens_anew() -> None:
    """It waits until the target is closed: what it opened in the middle would be closed under its hands."""
    target, closed = Target(), asyncio.Event()
    await target.enter()
    stop = target.stop

    async def slowly(seconds: float) -> None:
        await closed.wait()
        await stop(seconds)

    target.runs = runs = Runs(slowly, CLOSE_WITHIN)
    await target.enter()
    target.steps.clear()
    leaving = asyncio.create_task(runs.leave())
    await asyncio.sleep(0)
    entering = asyncio.create_task(target.enter())
    await asyncio.sleep(0)
    closed.set()
    await asyncio.gather(leaving, entering)

    assert target.steps == [CLOSE_WITHIN, "start", "check"]
    assert runs.any


async def test_a_run_that_fails_at_once_does_not_close_what_the_next_one_has_opened() -> None:
    """The second run gets the target between the first one's failure and its close: it is the last one that closes."""
    target = Target()

    async def refuse() -> None:
        raise OSError("refused")

    results = await asyncio.gather(target.runs.enter(target.start, refuse), target.enter(), return_exceptions=True)
    assert [type(result) for result in results] == [OSError, type(None)]
    assert target.steps == ["start", "check"]
    await target.runs.leave()
    assert target.steps[2:] == [CLOSE_WITHIN]


async def test_leaving_without_entering_closes_nothing() -> None:
    """A run that never opened its target may close it, and so may one that closes twice."""
    target = Target()
    await target.runs.leave()
    await target.enter()
    await target.runs.leave()
    await target.runs.leave()
    assert target.steps == ["start", "check", CLOSE_WITHIN]


async def test_the_second_run_opens_what_the_first_one_could_not() -> None:
    """It waits for the first, and does not take a target for open that failed to open."""
    target = Target(failing="start")
    results = await asyncio.gather(target.enter(), target.enter(), return_exceptions=True)
    assert [type(result) for result in results] == [OSError, OSError]
    assert target.steps == ["start", "start"]
    assert not target.runs.any


async def test_a_check_that_fails_leaves_again() -> None:
    """The target is closed if no other run uses it."""
    target = Target(failing="check")
    with pytest.raises(OSError, match="check"):
        await target.enter()
    assert target.steps == ["start", "check", CLOSE_WITHIN]
    target.failing = ""
    await target.enter()
    target.failing = "check"
    with pytest.raises(OSError, match="check"):
        await target.enter()
    assert target.runs.any
    assert target.steps[3:] == ["start", "check", "check"]


async def test_a_run_that_is_cancelled_hardly_waits_for_the_close() -> None:
    """Its process must end, and it has nothing in hand."""
    target = Target(slow="check")
    entering = asyncio.create_task(target.enter())
    while target.steps != ["start", "check"]:
        await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert target.steps[2:] == [0.25]


@pytest.mark.parametrize(
    "text", ["", "{topic}.dead", "{}.dead", "{queue", "{queue.name}", "{queue.upper}", "{queue[0]}", "{queue}{other}", "{queue:d}", 7]
)
def test_a_template_has_its_field_alone_in_braces(text: Any) -> None:
    """Anything else would fail at the first rejected message."""
    with pytest.raises(SettingsError, match=r'routing_key must be a name, with \{queue\} alone in braces, got .*: write "\{queue\}\.dead"'):
        Template("routing_key", text, "queue")


def test_a_template_is_filled() -> None:
    """Its field may stand anywhere, several times or not at all; other braces are doubled."""
    assert Template("topic", "{topic}.dead", "topic").fill("orders") == "orders.dead"
    assert Template("topic", "{topic}.{topic}", "topic").fill("a") == "a.a"
    assert Template("topic", "graves", "topic").fill("orders") == "graves"
    assert Template("topic", "{{{topic}}}", "topic").fill("a") == "{a}"


def test_a_template_may_not_lead_back() -> None:
    """Dead letters in the queue from which they came would be rejected again for ever."""
    assert Template("topic", "orders", "topic").fill_elsewhere("mails") == "orders"
    with pytest.raises(SettingsError, match="topic='orders' would send the dead letters of 'orders' back to where they came from"):
        Template("topic", "orders", "topic").fill_elsewhere("orders")


def test_a_rejection_that_cannot_be_names_the_message_the_reason_and_the_remedy() -> None:
    """Its place alone, and nothing of what it says."""
    delivery = MemoryDelivery(Partition("orders", 3), Message(7, b"canary"), 7, None)
    assert str(no_reject(delivery, "Kafka has no reject")) == (
        "orders[3]@7 cannot be rejected: Kafka has no reject, so give the run dead_letters"
    )
