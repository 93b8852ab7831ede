from __future__ import annotations

import pytest

from tests.ledger.check import Expected, check
from tests.ledger.ledger import Ledger


def test_an_empty_ledger_proves_nothing(tmp_path) -> None:
    """A run in which nothing was processed does not pass, whatever else is in it."""
    ledger = Ledger(tmp_path)
    writer = ledger.writer("w1")
    writer.write("note", text="started")
    writer.close()
    with pytest.raises(AssertionError, match="no processed message"):
        check(ledger, Expected())


def test_what_is_wrong_is_told(tmp_path) -> None:
    """The error lists the violations of what the processes wrote."""
    ledger = Ledger(tmp_path)
    writer = ledger.writer("w1")
    for offset in (0, 1):
        writer.write("produced", topic="orders", partition=0, offset=offset)
    writer.write("called", topic="orders", partition=0, offset=0)
    writer.write("processed", topic="orders", partition=0, offset=0)
    writer.close()
    with pytest.raises(AssertionError, match=r"1 violations:\nlost: 1 messages"):
        check(ledger, Expected())
    check(ledger, Expected(complete=False))
