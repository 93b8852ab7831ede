"""The parts of the status document that only some workers have: memory, limits, overrides, backlogs, and the order of sources."""

from __future__ import annotations

import pytest
from tests.flow.test_status import EPOCH, HEALTH, MAILS, NOW, ORDERS, circuit, document, hold, source, waits

from holdgate.core import LimiterSnapshot, Override, State
from holdgate.flow.events import CommandEnded
from holdgate.flow.history import LastEvents
from holdgate.flow.message import Partition
from holdgate.flow.snapshot import PartlyWaiting, Snapshot
from holdgate.flow.status import Surroundings, Wall, event_document, is_limited, status

SEEN = LimiterSnapshot(in_flight=3, width=8, pace=2.5, next_at=NOW + 4, accepted=99, refused=1, experiments=7, why="pace")


def test_memory_is_shown_by_what_it_is_made_of() -> None:
    """And the document says which form it has."""
    snapshot = Snapshot(NOW, {}, {}, (), held_bytes=10, read_ahead_bytes=4, memory=100, waiting_for_room=2)
    found = status(snapshot, LastEvents(), Surroundings(Wall(EPOCH, NOW), EPOCH - 60, "here:1", "0.1", HEALTH, {}))
    assert found["memory"] == {"held_bytes": 10, "read_ahead_bytes": 4, "bound": 100, "waiting_for_room": 2}
    assert found["schema"] == 1
    assert found["sources_left_out"] == 0


def test_a_moment_has_milliseconds() -> None:
    """No more of them, and no less. A tenth of a second is no clock that was set."""
    wall = Wall(EPOCH, NOW)
    assert wall.at(NOW + 0.12345) == EPOCH + 0.123
    assert wall.read_again(EPOCH + 60.2, NOW + 60).at(NOW) == EPOCH + 0.2


def test_limits_are_shown_as_the_limiter_sees_them() -> None:
    """Under METRICS_ONLY they are observed, and limit nothing."""
    expected = {
        "pace": 2.5,
        "width": 8,
        "in_flight": 3,
        "why": "pace",
        "next_start": EPOCH + 4,
        "accepted": 99,
        "refused": 1,
        "waste": 0.01,
        "experiments": 7,
        "observed": False,
    }
    (shown,) = document(circuit(limits=SEEN))["dependencies"]
    assert shown["limits"] == expected
    (shown,) = document(circuit(limits=SEEN, override=Override.METRICS_ONLY))["dependencies"]
    assert shown["limits"] == {**expected, "observed": True}


@pytest.mark.parametrize(
    ("more", "waiting", "limited"),
    [
        ({}, 5, True),
        ({}, 0, False),
        ({"state": State.OPEN}, 5, False),
        ({"override": Override.METRICS_ONLY}, 5, False),
        ({"override": Override.DISABLED}, 5, False),
        ({"limits": None}, 5, False),
        ({"limits": LimiterSnapshot(0, None, 2.5, None, 9, 0, 0, "free")}, 5, False),
    ],
)
def test_limited_is_what_waits_for_a_closed_circuit(more: dict[str, object], waiting: int, limited: bool) -> None:
    """Its limit holds something back now, nobody has overridden it, and messages wait."""
    (shown,) = document(circuit(**{"limits": SEEN, **more}), sources=(source(waiting=waiting),))["dependencies"]
    assert is_limited(shown) is limited


def test_an_override_ends_when_its_command_says() -> None:
    """That of this dependency. Without one nothing ends, whatever commands there were."""
    commands = (hold("email", NOW + 5, "force_open"), hold("payments", NOW + 50, "force_open"))
    forced, well = document(circuit(override=Override.FORCED_OPEN), circuit("email"), commands=commands)["dependencies"]
    assert (forced["name"], forced["override_until"], forced["failed_tries"]) == ("payments", EPOCH + 50, 0)
    assert (well["name"], well["override_until"]) == ("email", None)


def test_an_operators_holds_of_two_sources_have_their_own_ends() -> None:
    """They have the same reason. Those of circuits are found once."""
    commands = (hold(ORDERS, NOW + 5), hold(MAILS, NOW + 50))
    held = tuple(source(which, "operator", since=NOW - 1) for which in (ORDERS, MAILS))
    found = {each["source"]: each["next_try"] for each in document(circuit(), sources=held, commands=commands)["sources"]}
    assert found == {"orders[3]": EPOCH + 5, "mails": EPOCH + 50}


def test_sources_that_are_as_bad_come_by_their_name_and_number() -> None:
    """A queue has none, and comes before a partition of its name. One held since the beginning of time is the oldest."""
    names = [Partition("a", 0), MAILS, Partition("a", 1), Partition("mails", 0), Partition("mails", 1)]
    shown = document(circuit(), sources=tuple(source(which) for which in reversed(names)))["sources"]
    assert [each["source"] for each in shown] == ["a[0]", "a[1]", "mails", "mails[0]", "mails[1]"]
    assert [each["partition"] for each in shown] == [0, 1, None, 0, 1]
    held = (source(ORDERS, "operator", since=0.5), source(MAILS, "operator"))
    assert [each["source"] for each in document(circuit(), sources=held)["sources"]] == ["mails", "orders[3]"]


def test_held_partly_and_at_work_are_counted_each() -> None:
    """A source that is held for a dependency is not partly so; two that are partly so are two."""
    partly = PartlyWaiting(True, {"payments": 5, "email": 2}, behind=1)
    found = document(
        circuit(),
        sources=(
            source(Partition("orders", 0), "circuit:payments", since=NOW),
            source(Partition("orders", 1), "circuit:email", since=NOW),
            source(Partition("orders", 2), waiting=9, partly=partly),
            source(Partition("orders", 3), waiting=9, partly=partly),
        ),
    )
    (payments,) = found["dependencies"]
    assert (payments["sources"], payments["held"], payments["partly"], payments["waiting"]) == (4, 1, 2, 10)


def test_the_backlog_of_a_dependency_is_without_what_waits_for_others() -> None:
    """Of a hundred at the broker, three wait for another dependency, or behind those that do."""
    mixed = source(ORDERS, waiting=9, needs=("payments", "email"), partly=PartlyWaiting(True, {"payments": 5, "email": 2}, behind=1))
    payments, email = document(circuit(), circuit("email"), sources=(mixed,), backlog=waits(100))["dependencies"]
    assert {payments["name"]: payments["backlog"], email["name"]: email["backlog"]} == {"payments": 97, "email": 94}
    plain = source(ORDERS, waiting=9, partly=PartlyWaiting(False, {"email": 2}))
    assert document(circuit(), sources=(plain,), backlog=waits(100))["dependencies"][0]["backlog"] == 100
    assert document(circuit(), sources=(source(ORDERS),), backlog=waits(100))["dependencies"][0]["backlog"] == 100


def test_an_event_with_a_command_is_written_with_its_moments() -> None:
    """By its own name, and on the wall clock."""
    found = event_document(CommandEnded(NOW, hold(ORDERS, NOW + 5)), Wall(EPOCH, NOW))
    assert found["event"] == "CommandEnded"
    assert (found["given"]["at"], found["given"]["until"]) == (EPOCH - 10, EPOCH + 5)
