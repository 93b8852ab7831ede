from __future__ import annotations

from holdgate.cli.demo.ledger import Ledger, Place, Production

KIND = "orders"


def produced(count: int) -> Production:
    production = Production()
    for number in range(count):
        production.send(number, float(number))
        production.store(number, Place(KIND, 0, number))
    return production


def test_what_is_neither_processed_nor_dead_waits() -> None:
    """Four produced, one processed, one dead-lettered: two wait."""
    ledger = Ledger(produced(4))
    ledger.process(KIND, 0, 1.0)
    ledger.bury(1)
    assert ledger.waiting() == 2


def test_a_message_is_lost_when_the_offset_is_past_it_and_nobody_has_it() -> None:
    """Committed past messages 1 and 2 without processing them: two lost; message 3 merely waits."""
    ledger = Ledger(produced(4))
    ledger.process(KIND, 0, 1.0)
    assert ledger.lost({(KIND, 0): 3}) == 2


def test_a_dead_letter_is_not_lost() -> None:
    """It stands in the dead letter topic: misplaced, but there."""
    ledger = Ledger(produced(1))
    ledger.bury(0)
    assert ledger.lost({(KIND, 0): 1}) == 0


def test_without_a_commit_nothing_is_lost() -> None:
    """A partition that the group has committed nothing for comes again from its start."""
    assert Ledger(produced(3)).lost({}) == 0


def test_a_second_success_is_a_duplicate_and_counts_once() -> None:
    """A message that comes twice is one processed message."""
    ledger = Ledger(produced(1))
    ledger.process(KIND, 0, 1.0)
    ledger.process(KIND, 0, 2.0)
    assert (len(ledger.processed), ledger.duplicates) == (1, 1)


def test_the_slowest_message_of_a_kind_is_remembered() -> None:
    """From sent to processed, per kind of work."""
    ledger = Ledger(produced(2))
    ledger.process(KIND, 0, 4.0)
    ledger.process(KIND, 1, 2.0)
    assert ledger.slowest == {KIND: 4.0}


def test_a_message_may_be_processed_before_its_place_is_known() -> None:
    """A fast consumer can be done before the producer hears from the broker: then the message does not wait."""
    production = Production()
    production.send(0, 0.0)
    ledger = Ledger(production)
    ledger.process(KIND, 0, 0.1)
    production.store(0, Place(KIND, 0, 0))
    assert ledger.waiting() == 0


def test_how_long_a_message_takes_is_known_for_a_second_only() -> None:
    """The last one's time is shown while it is news, and nothing when none came through lately."""
    ledger = Ledger(produced(1))
    assert ledger.recent(KIND, 0.0) is None
    ledger.process(KIND, 0, 0.5)
    assert ledger.recent(KIND, 1.4) == 0.5
    assert ledger.recent(KIND, 1.5) is None
