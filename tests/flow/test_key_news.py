"""What is announced of keys: that some are held, that there are twice as many, and that none is any more."""

from __future__ import annotations

from tests.flow.tenants import Tenants

from holdgate.flow.events import FlowEvent, KeysHeld, KeysReleased


def news(stage: Tenants) -> list[FlowEvent]:
    return [event for event in stage.events() if isinstance(event, KeysHeld | KeysReleased)]


def test_keys_that_are_held_for_a_while_are_announced_once() -> None:
    """With how many wait; and that none is held any more."""
    stage = Tenants()
    stage.hold("a")
    stage.come("a", "a", "b")
    stage.start_all()
    stage.turn()
    assert news(stage) == []
    stage.turn(later=5.0)
    assert news(stage) == [KeysHeld(5.0, "payments", 1, 1, 2)]
    stage.hold("b")
    stage.turn()
    assert news(stage) == []
    stage.keys.begin_anew(stage.now)
    stage.turn(later=1.0)
    assert news(stage) == [KeysReleased(6.0, "payments", 6.0)]


def test_sources_that_are_full_of_their_messages_are_counted() -> None:
    """The others do not go on there."""
    stage = Tenants("key", span=3, held_span=3)
    stage.hold("a")
    stage.come("a", "b", "c", "d")
    while started := stage.start_all():
        stage.succeed(*started)
    stage.turn(later=5.0)
    assert news(stage) == [KeysHeld(5.0, "payments", 1, 1, 1, holds=1)]


def test_what_is_over_in_a_moment_is_no_news() -> None:
    """The gate of a limit shuts and opens all the time."""
    stage = Tenants()
    stage.hold("a")
    stage.keys.begin_anew(stage.now)
    stage.turn(later=1.0)
    stage.turn(later=10.0)
    assert news(stage) == []


def test_twice_as_many_are_news_a_minute_later() -> None:
    """A thousand that are held one after the other are ten lines."""
    stage = Tenants()
    stage.hold("a")
    stage.turn(later=5.0)
    stage.hold("b")
    stage.turn(later=59.0)
    assert [event.held for event in news(stage) if isinstance(event, KeysHeld)] == [1]
    stage.turn(later=1.0)
    assert [event.held for event in news(stage) if isinstance(event, KeysHeld)] == [2]
    stage.hold("c")
    stage.turn(later=100.0)
    assert news(stage) == []


def test_news_of_keys_goes_by_their_own_time() -> None:
    """However long the worker has run before."""
    stage = Tenants()
    stage.turn(later=1000.0)
    stage.hold("a")
    assert news(stage) == []
    stage.turn(later=4.0)
    assert news(stage) == []
    stage.turn(later=1.0)
    stage.keys.begin_anew(stage.now)
    stage.turn(later=1.0)
    assert news(stage) == [KeysHeld(1005.0, "payments", 1, 1, 0), KeysReleased(1006.0, "payments", 6.0)]
