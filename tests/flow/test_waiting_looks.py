"""What the waiting list looks at, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
from tests.flow.mixed import Mixed
from tests.flow.stage import gate, own_failure, place_of, placed, positions
from tests.flow.tenants import Tenants, of_tenants
from tests.flow.test_waiting import batch_at, batch_place, free_run, grants, half_open, wait

from holdgate.core import Circuit
from holdgate.core.keys import Keys
from holdgate.flow import waiting as module
from holdgate.flow.waiting import GrantRound, Waiting, WaitingList, acquire

# -- what is asked of a circuit -------------------------------------------------------------------------------------------------------


def test_what_has_just_come_stands_in_line() -> None:
    """Only a key that has no room sets a message aside, and it has not been asked yet."""
    assert Waiting(placed(place_of()), (), 1, None).is_aside is False


@pytest.fixture
def wants(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The circuits that have heard that more would come."""
    heard: list[str] = []
    monkeypatch.setattr(Circuit, "expect_more", lambda circuit: heard.append(circuit.name))
    return heard


def test_a_batch_that_fits_exactly_wants_no_more(wants: list[str]) -> None:
    """Nothing of it goes back, and its ramp does not hear that more would come."""
    payments = half_open(limit=4)
    assignment = batch_place(payments)
    batch = batch_at(assignment, 4)

    assert acquire(batch, assignment.gates, 1.0)
    assert (len(batch), assignment.inbox.waiting, wants) == (4, 0, [])


def test_a_batch_that_is_cut_wants_more(wants: list[str]) -> None:
    """The stage of the ramp is one of high traffic."""
    payments = half_open(limit=4)
    assignment = batch_place(payments)

    assert acquire(batch_at(assignment, 5), assignment.gates, 1.0)
    assert (assignment.inbox.waiting, wants) == (1, ["payments"])


def test_a_head_whose_circuit_has_shut_since_is_not_counted_as_refused() -> None:
    """It stands with those that miss a lane alone until its line is made anew; who asks for it would be a call that nobody made."""
    payments, waiting = gate(), WaitingList()
    wait(waiting, place_of(payments, run=free_run()))
    payments.circuit.force_open(1.0)

    assert grants(waiting, payments) == []
    assert payments.circuit.snapshot(1.0).rejected == 0


def test_heads_of_a_dependency_that_has_no_slot_left_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand may wait there: the walk along its line ends with its slots."""
    payments, waiting = half_open(limit=2), WaitingList()
    wait(waiting, place_of(payments, run=free_run()), 20)
    looked_at: list[int] = []

    def keys(self: Waiting) -> tuple[Any, ...]:
        looked_at.append(self.delivery.position)
        return ()

    monkeypatch.setattr(Waiting, "keys", property(keys))

    assert grants(waiting, payments) == [0, 1]
    assert set(looked_at) == {0, 1}


def test_a_turn_walks_along_the_lines_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was admitted leaves no more room behind than there was before it."""
    payments, waiting = half_open(limit=2), WaitingList()
    wait(waiting, place_of(payments, run=free_run()), 20)
    walks: list[GrantRound] = []

    class Counted(GrantRound):
        __slots__ = ()

        def __init__(self, *told: Any) -> None:
            super().__init__(*told)
            walks.append(self)

    monkeypatch.setattr(module, "GrantRound", Counted)

    assert grants(waiting, payments) == [0, 1]
    assert len(walks) == 1


# -- who waits for what ---------------------------------------------------------------------------------------------------------------


def test_a_message_that_waits_for_time_waits_for_what_it_needs_and_nothing_else() -> None:
    """Another dependency is not waited for, so that its probe need not leave it a slot; nor is one by a message that has gone."""
    payments, mail, waiting = gate(), gate("mail"), WaitingList()
    assignment = place_of(payments, run=free_run())
    waiting.add(placed(assignment), (payments,), not_before=5.0)
    assert (waiting.has_any_for(payments), waiting.has_any_for(mail)) == (True, False)
    waiting.drop({assignment})
    assert (waiting.has_any_for(payments), waiting.has_any_for(mail)) == (False, False)


def test_backoffs_end_for_messages_of_the_same_needs_alone() -> None:
    """Those that need mail have worked again; those that need payments wait for their time."""
    stage = Mixed()
    stage.receive(4)
    for delivery in stage.start_all():
        stage.end(delivery, own_failure())
    assert stage.start_all() == []
    stage.engine._waiting.end_backoffs_of(stage.needing("mail").results)
    stage.turn()

    assert positions(stage.start_all()) == [1, 3]


# -- keys -----------------------------------------------------------------------------------------------------------------------------


def test_a_message_that_stands_in_line_again_waits_for_its_key_until_it_starts() -> None:
    """Its key has room for one, and no lane is free: it is the first of two that wait, and lets none of its key pass."""
    stage = Tenants(concurrency=1)
    stage.hold("a")
    stage.come("a", "a")
    assert stage.start_all() == []
    stage.turn()
    stage.come(None)
    (busy,) = stage.start_all()
    stage.turn(later=10.0)
    assert (stage.start_all(), stage.seen.waiting) == ([], 2)
    stage.engine._waiting.regroup(stage.gate)
    assert stage.seen.waiting == 2

    stage.succeed(busy)
    assert positions(stage.start_all()) == [0]
    assert stage.seen.waiting == 1


def test_a_key_that_was_forgotten_keeps_no_other_from_being_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two messages whose keys have no room, the first one's is forgotten in the same round: the other one waits for its own."""
    stage = Tenants()
    for tenant in ("a", "b"):
        stage.hold(tenant)
    stage.come("a", "b")
    assert stage.start_all() == []
    waiting = stage.engine._waiting
    find, forgotten = Keys.record_of, []

    def record_of(keys: Keys, key: object) -> Any:
        if key == "a" and "a" in forgotten:
            return None
        return find(keys, key)

    monkeypatch.setattr(Keys, "record_of", record_of)

    class Forgetting(GrantRound):
        __slots__ = ()

        def admit(self) -> Any:
            yield from super().admit()
            forgotten.append("a")

    monkeypatch.setattr(module, "GrantRound", Forgetting)
    admitted, looks_again = waiting._round(stage.gates, stage.now)

    assert (admitted, looks_again, stage.seen.waiting) == ([], True, 1)
    assert [line.record.key for line in waiting._key_waits.lines.values()] == ["b"]


def test_all_keys_whose_time_has_come_start_in_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only some of them stand in line at a time, and each round that starts some makes room for others."""
    monkeypatch.setattr("holdgate.flow.key_waits._IN_LINE", 2)
    stage = Tenants(concurrency=8)
    tenants = "abcdefg"
    for tenant in tenants:
        stage.hold(tenant)
    stage.come(*tenants)
    assert stage.start_all() == []
    stage.turn()  # they are set aside
    stage.turn(later=60.0)
    assert {*of_tenants(stage.start_all())} == {*tenants}
