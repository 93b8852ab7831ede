"""What a log record has beside its line."""

from __future__ import annotations

import json
import logging

import pytest
from docs.generate.log_lines import EXAMPLES
from tests.runtime.test_log_announce import announcer

from holdgate.core.states import Reason, State
from holdgate.events import AnyEvent, CircuitOpened, CommandEnded, CommandGiven, HoldContinued, MessageSkipped, OutageSuspected, SourceHeld
from holdgate.flow.message import Partition, Queue
from holdgate.runtime.log import fields_of
from holdgate.runtime.wording import one_line

ORDERS = Partition("orders", 3)
HOLD = CommandGiven(90.0, "hold", "orders", "alice", "deploying", 1890.0)


def test_a_transition_has_its_figures() -> None:
    """Times of a monotonic clock become seconds from the event on."""
    opened = CircuitOpened("payments", 90.0, 1, Reason.CONSECUTIVE_FAILURES, 95.5, 2, State.CLOSED, asked=85.0)
    assert fields_of([opened]) == {
        "holdgate_event": "CircuitOpened",
        "holdgate_dependency": "payments",
        "holdgate_generation": 1,
        "holdgate_reason": "consecutive_failures",
        "holdgate_until_in": 5.5,
        "holdgate_level": 2,
        "holdgate_previous": "closed",
        "holdgate_outage_since_ago": None,
        "holdgate_probes": 0,
        "holdgate_asked_ago": 5.0,
        "holdgate_in_fleet": False,
    }


def test_a_hold_that_goes_on_says_since_when_and_what_next() -> None:
    """Seconds back, and seconds ahead; None where nothing is planned."""
    found = fields_of([HoldContinued(690.0, ORDERS, ("circuit:payments",), 90.0, 702.0)])
    assert (found["holdgate_source"], found["holdgate_since_ago"], found["holdgate_next_try_in"]) == ("orders[3]", 600.0, 12.0)
    assert fields_of([HoldContinued(690.0, ORDERS, (), 90.0, None)])["holdgate_next_try_in"] is None


def test_a_suspected_outage_says_how_long_ago_it_began() -> None:
    """Its hold, and the first failure before that: no moment of a clock that the reader does not have."""
    found = fields_of([OutageSuspected(690.0, (ORDERS,), "mailer.RelayDown", 9, 10, 90.0, began=88.0)])
    assert (found["holdgate_since_ago"], found["holdgate_began_ago"]) == (600.0, 602.0)
    assert "holdgate_began" not in found


def test_sources_that_are_held_together_are_all_there() -> None:
    """One record, one line, three partitions."""
    alike = [SourceHeld(90.0, Partition("orders", number), ("operator",)) for number in range(3)]
    found = fields_of(alike)
    assert found["holdgate_sources"] == ["orders[0]", "orders[1]", "orders[2]"]
    assert found["holdgate_reasons"] == ["operator"]
    assert "holdgate_source" not in found


def test_the_end_of_a_command_has_the_fields_of_the_command() -> None:
    """Who had given it, and why."""
    found = fields_of([CommandEnded(1890.0, HOLD)])
    assert (found["holdgate_event"], found["holdgate_command"], found["holdgate_actor"]) == ("CommandEnded", "hold", "alice")


@pytest.mark.parametrize("event", [event for event, _ in EXAMPLES], ids=lambda event: type(event).__name__)
def test_every_event_can_be_written_as_json(event: AnyEvent) -> None:
    """With standard words alone, and no name that a record has already."""
    found = json.loads(json.dumps(fields_of([event])))
    assert found["holdgate_event"] == type(event).__name__
    assert all(name.startswith("holdgate_") for name in found)


def test_hostile_names_stay_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """No name can begin a line that looks like another record, or talk to a terminal."""
    caplog.set_level(logging.INFO)
    announcer([]).announce([MessageSkipped(1.0, Queue("bills\n2026-01-01 ERROR \x1b[31m\u202e"), 7, "why", by_operator=True)])
    (record,) = caplog.records
    assert record.getMessage().startswith("bills\\n2026-01-01 ERROR \\x1b[31m\\u202e@7 was skipped")
    assert record.__dict__["holdgate_source"] == "bills\\n2026-01-01 ERROR \\x1b[31m\\u202e"
    assert one_line("plain, ä and ✓") == "plain, ä and ✓"


def test_records_that_belong_together_are_told_apart_from_others(caplog: pytest.LogCaptureFixture) -> None:
    """Two holds with reasons of their own are two records, each with its own sources."""
    caplog.set_level(logging.INFO)
    events = [SourceHeld(1.0, Partition("orders", number), ("operator",) if number < 2 else ("blocked",)) for number in range(3)]
    announcer([]).announce(events)
    assert [record.__dict__["holdgate_sources"] for record in caplog.records] == [["orders[0]", "orders[1]"], ["orders[2]"]]
