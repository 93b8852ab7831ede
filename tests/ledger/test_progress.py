from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.ledger.check import Expected, violations
from tests.ledger.progress import MIB, slowed_by_others, slower_after
from tests.ledger.story import Story

if TYPE_CHECKING:
    from tests.ledger.ledger import Entry


def told(story: Story, **expected: Any) -> str:
    return "\n".join(violations(story.entries, Expected(complete=False, order=None, **expected)))


def sampled(story: Story, rss: int = 0, waiting: int = 0) -> Story:
    return story.tell("w1", "sampled", waiting=waiting, rss=rss)


def test_more_in_hand_than_the_inbox_takes_is_found() -> None:
    """The bound itself is right, one more is not."""
    assert told(sampled(Story(), waiting=10), in_hand=10) == ""
    assert "memory: w1 had 11 deliveries of a source in hand, allowed 10" in told(sampled(Story(), waiting=11), in_hand=10)


def test_memory_that_grows_during_a_hold_is_found() -> None:
    """Measured from the hold's first sample; what grew before or after it is not the hold's."""
    story = sampled(Story(), 0).source("w1", "held")
    sampled(sampled(story, 100 * MIB), 110 * MIB)
    assert told(story, growth=10.0) == ""
    assert "memory: w1 grew by 10 MiB while ('orders', 0) was held, allowed 9" in told(story, growth=9.0)
    sampled(story.source("w1", "unheld"), 500 * MIB)
    assert told(story, growth=10.0) == ""


def recovery(state: str) -> Story:
    """Healthy at 3; five seconds later the worker still lives."""
    story = Story().circuit("test", "down").circuit("w1", "opened").circuit("test", "up").circuit("w1", state)
    for _ in range(5):
        sampled(story)
    return story


def test_a_circuit_that_does_not_close_is_found() -> None:
    """Half-open for ever is as wedged as open; what has closed is right."""
    assert "not recovered: w1 has payments half_opened, 3 s after it was healthy" in told(recovery("half_opened"), recovers_within=3.0)
    assert told(recovery("closed"), recovers_within=3.0) == ""


def test_who_died_or_met_the_next_outage_need_not_recover() -> None:
    """Judged are those that live on, while the dependency stays healthy."""
    assert told(recovery("half_opened"), recovers_within=6.5) == ""
    assert told(recovery("half_opened").circuit("test", "down"), recovers_within=8.0) == ""


class Race:
    """A topic beside the calls that set the pace, `measuring` from begin to end."""

    def __init__(self) -> None:
        self.story = Story().tell("test", "note", measuring="begin")

    def run(self, paced: int, processed: int) -> Race:
        for _ in range(paced):
            self.story.tell("w1", "paced")
        for offset in range(processed):
            self.story.at("w1", "processed", offset)
        return self

    def then(self, kind: str, who: str = "test") -> Race:
        self.story.circuit(who, kind)
        return self

    @property
    def entries(self) -> list[Entry]:
        return self.story.tell("test", "note", measuring="end").entries


def test_a_topic_that_an_outage_elsewhere_slows_is_found() -> None:
    """Its rate in the outage against its rate around it, both against the pace of that time."""
    good = Race().run(100, 100).then("down").run(200, 190).then("up").run(100, 100)
    assert list(slowed_by_others(good.entries, "orders", "payments", 0.95)) == []
    bad = Race().run(100, 100).then("down").run(200, 188).then("up").run(100, 100)
    assert list(slowed_by_others(bad.entries, "orders", "payments", 0.95)) == [
        "rate: orders ran at 94% of its rate while payments was down, wanted 95%"
    ]


def test_a_topic_that_does_not_come_back_is_found() -> None:
    """Its rate after the last circuit has closed against its rate before the outage; the ramp between is left out."""
    good = Race().run(100, 100).then("down").then("up").run(10, 0).then("closed", "w1").run(100, 95)
    assert list(slower_after(good.entries, "orders", "payments", 0.95)) == []
    bad = Race().run(100, 100).then("down").then("up").then("closed", "w1").run(100, 94)
    assert len(list(slower_after(bad.entries, "orders", "payments", 0.95))) == 1


def test_a_rate_without_a_pace_proves_nothing() -> None:
    """Too few calls beside it, or no outage at all, are told instead of being taken for good."""
    short = Race().run(99, 100).then("down").run(200, 200).then("up")
    assert "too few to judge" in next(slowed_by_others(short.entries, "orders", "payments", 0.95))
    assert "nothing is shown" in next(slower_after(Race().run(200, 200).entries, "orders", "payments", 0.95))
