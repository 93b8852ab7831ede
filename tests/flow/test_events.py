"""The engine's events."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.flow.stage import ORDERS

from holdgate.flow.events import (
    CommandGiven,
    FlowEvent,
    LimitBegan,
    LocalCauseSuspected,
    OutageSuspected,
    SourceBlocked,
    SourceEvent,
    SourceHeld,
)


def test_an_event_cannot_be_changed() -> None:
    """Observers share one object."""
    event = SourceHeld(1.0, ORDERS, ("operator",))

    with pytest.raises(AttributeError):
        event.at = 2.0  # type: ignore[misc]


def test_what_concerns_one_source_can_be_told_by_its_type() -> None:
    """An observer that logs by source asks for one class, and the suspicion about everything is not of it."""
    assert isinstance(SourceHeld(1.0, ORDERS, ()), SourceEvent)
    suspicion = LocalCauseSuspected(1.0, ("mail", "payments"))
    assert isinstance(suspicion, FlowEvent)
    assert not isinstance(suspicion, SourceEvent)


def test_what_most_messages_fail_with_is_named_with_its_status() -> None:
    """A 401 says more than the type that it shares with a 422."""
    suspected = OutageSuspected(1.0, (), "httpx.HTTPStatusError", 3, 3, 1.0)
    assert suspected.what == "httpx.HTTPStatusError"
    assert replace(suspected, status=401).what == "httpx.HTTPStatusError 401"


def test_what_an_event_leaves_out_is_not_so() -> None:
    """Who makes one by hand, as an observer's test does, need not say what did not happen."""
    blocked = SourceBlocked(1.0, ORDERS, 5, 3, "KeyError")
    assert (blocked.suspect, blocked.throttled) == (False, False)
    suspected = OutageSuspected(1.0, (), "OSError", 3, 3, 1.0)
    assert (suspected.status, suspected.is_bug, suspected.began, suspected.needs) == (None, False, 0.0, None)
    limit = LimitBegan(1.0, "payments", 2.5, None, "pace")
    assert (limit.observed, limit.until) == (False, None)
    assert SourceHeld(1.0, ORDERS, ("operator",)).because == ""
    given = CommandGiven(1.0, "hold", ORDERS, "alice", "the schema changes")
    assert (given.until, given.position) == (None, None)
