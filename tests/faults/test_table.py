"""The table itself: whole, and without two rows of a name."""

from __future__ import annotations

from tests.faults.cells import EVERY_STATE, FAULTS, Broker, State, fault
from tests.faults.table import CELLS, ELSEWHERE, QUICK, QUICK_SHARE, find


def test_every_place_is_a_cell_or_has_a_reason() -> None:
    """Each fault in each state on each broker: one of both, and never none."""
    for each in FAULTS:
        for broker in Broker:
            for state in EVERY_STATE:
                reason = each.reason(broker, state)
                is_cell = any(cell.fault is each and cell.broker is broker and cell.state is state for cell in CELLS.values())
                assert is_cell == (reason is None), (each.name, broker, state)
                assert reason is None or reason.startswith("does not apply: "), reason


def test_every_fault_is_in_some_cell_and_says_what_it_is() -> None:
    """A row without a cell would be a promise that nobody keeps."""
    assert {each.name for each in FAULTS} == {cell.fault.name for cell in CELLS.values()}
    assert [each.name for each in FAULTS if not each.sentence.endswith(".")] == []


def test_names_are_unique() -> None:
    """Two rows or cells of one name would hide each other's results."""
    assert len({each.name for each in FAULTS}) == len(FAULTS)
    assert len(CELLS) == sum(each.reason(broker, state) is None for each in FAULTS for broker in Broker for state in EVERY_STATE)


def test_the_quick_selection_has_each_state_and_each_broker() -> None:
    """What every change is tried on is of this table, and leaves out no state and no client."""
    assert {CELLS[name].state for name in QUICK} == set(State)
    assert {CELLS[name].broker for name in (*QUICK, *QUICK_SHARE)} == set(Broker)
    assert {CELLS[name].broker for name in QUICK_SHARE} == {Broker.SHARE}


def test_a_mistaken_worker_is_another_cell_of_the_same_place() -> None:
    """Its name leads back to it, and is no name of the table."""
    name = "Kafka-kill_-9-Open!early"
    assert find(name).early
    assert find(name).id == name
    assert name not in CELLS
    assert find("Kafka-kill_-9-Open") is not find(name)
    assert not find("Kafka-kill_-9-Open").early


def test_what_no_real_broker_shows_says_where_it_is_shown() -> None:
    """Nothing that was asked for is missing without a word."""
    assert ELSEWHERE
    assert all(where for where in ELSEWHERE.values())


def test_only_one_broker_gives_the_other_a_reason() -> None:
    """`only` and `because` fill every state of the other broker."""
    before = list(FAULTS)
    try:

        @fault("a trial", "group", only=Broker.KAFKA, because="it has no groups")
        async def trial(world: object) -> None:
            """It is a trial."""

        made = FAULTS[-1]
        assert {made.reason(Broker.RABBITMQ, state) for state in State} == {"does not apply: it has no groups"}
        assert {made.reason(broker, state) for state in State for broker in Broker if broker.is_kafka} == {None}
    finally:
        FAULTS[:] = before


def test_a_row_may_leave_out_a_client_with_a_reason() -> None:
    """And then it is on all others."""
    before = list(FAULTS)
    try:

        @fault("a trial", "group", without={Broker.CONFLUENT: "it has no such call"})
        async def trial(world: object) -> None:
            """It is a trial."""

        reasons = {broker: FAULTS[-1].reason(broker, State.OPEN) for broker in Broker}
        assert reasons == dict.fromkeys(Broker) | {Broker.CONFLUENT: "does not apply: it has no such call"}
    finally:
        FAULTS[:] = before
