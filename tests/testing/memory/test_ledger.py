"""Ledger: what happened, in order."""

from __future__ import annotations

from holdgate.flow.message import Partition, Queue
from holdgate.testing.memory.message import Ledger

ORDERS, MAILS = Partition("orders", 0), Queue("mails")


def test_entries_stay_in_the_order_in_which_they_were_noted() -> None:
    """Each is a plain triple, to compare with."""
    ledger = Ledger()
    ledger.note("produced", ORDERS, 4)
    ledger.note("lost", MAILS)

    assert list(ledger) == [("produced", ORDERS, 4), ("lost", MAILS, 0)]
    assert (len(ledger), ledger[1].event) == (2, "lost")


def test_positions_are_those_of_one_event_on_one_source() -> None:
    """Other events and sources are left out."""
    ledger = Ledger()
    for event, source, position in (("acked", MAILS, 2), ("acked", ORDERS, 3), ("dead", MAILS, 4), ("acked", MAILS, 1)):
        ledger.note(event, source, position)  # type: ignore[arg-type]

    assert ledger.positions("acked", MAILS) == [2, 1]
