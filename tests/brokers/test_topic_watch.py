"""What is made of the broker's answers about topics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdgate.brokers.topic_watch import TopicWatch
from holdgate.errors import IntakeError
from holdgate.testing import run_virtual

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import pytest

    from holdgate.brokers.topic_watch import Asking


class Answers:
    """Answers one question after the other; the last answer stays."""

    def __init__(self, *answers: Mapping[str, str | None]) -> None:
        self.left = list(answers)

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, str | None]:
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


class Starting:
    """A broker that has started when it is asked first, and does not know its topics for a second."""

    def __init__(self) -> None:
        self._knows_at: float | None = None

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, str | None]:
        now = asyncio.get_running_loop().time()
        if self._knows_at is None:
            self._knows_at = now + 1.0
        return dict.fromkeys(topics, "a" if now >= self._knows_at else None)


def looked(*answers: Mapping[str, str | None]) -> list[BaseException]:
    """Return what a watch reports within two minutes of these answers."""
    return watched(Answers(*answers))


def watched(broker: Asking) -> list[BaseException]:
    """Return what a watch reports within two minutes."""
    failed: list[BaseException] = []

    async def story() -> None:
        watch = TopicWatch(broker, ["orders"], "broker:9092", failed.append, anew="it begins anew")
        watch.start()
        await asyncio.sleep(120)
        watch.stop()

    run_virtual(story())
    return failed


def test_a_topic_that_is_missing_once_is_looked_for_again() -> None:
    """A broker that has just started may not know its topics yet."""
    assert looked({"orders": "a"}, {"orders": None}, {"orders": "a"}) == []
    assert watched(Starting()) == []


def test_a_topic_that_is_missing_twice_is_reported_once() -> None:
    """With its name and where it was looked for."""
    (error,) = looked({"orders": "a"}, {"orders": None})
    assert isinstance(error, IntakeError)
    assert "no topic 'orders' at broker:9092" in str(error)


def test_a_broker_that_does_not_answer_is_no_deleted_topic() -> None:
    """Its consumers say that it is away."""
    assert looked({"orders": "a"}, {}) == []


def test_one_that_was_made_anew_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    """With what becomes of it."""
    assert looked({"orders": "a"}, {"orders": None}, {"orders": "b"}) == []
    assert caplog.messages == ["orders was deleted and made anew: what waited in it is gone, and it begins anew"]
