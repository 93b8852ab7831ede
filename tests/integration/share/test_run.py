"""What the ledger of a fault run forgives: a second letter whose first one a killed worker had just written, and nothing else."""

from __future__ import annotations

from tests.integration.share.run import Letter, cut_off

KILLED, OTHER = 11, 12
LOCK = 15.0
AT = 1000.0


def test_a_kill_explains_one_more_letter_of_what_it_has_cut_off() -> None:
    """The killed process had written it within the lock of the record."""
    letters = [Letter("poison1", KILLED, AT - 1), Letter("poison1", OTHER, AT + 9), Letter("poison2", KILLED, AT - 1)]
    assert cut_off(letters, {KILLED: AT}, LOCK) == ("poison1",)


def test_a_kill_explains_nothing_of_long_before() -> None:
    """The accept of that record was due within its lock."""
    letters = [Letter("poison1", KILLED, AT - LOCK - 1), Letter("poison1", OTHER, AT + 9)]
    assert cut_off(letters, {KILLED: AT}, LOCK) == ()


def test_two_letters_of_workers_that_live_are_never_explained() -> None:
    """Somebody else was killed."""
    letters = [Letter("poison1", OTHER, AT - 1), Letter("poison1", OTHER + 1, AT + 9)]
    assert cut_off(letters, {KILLED: AT}, LOCK) == ()


def test_a_third_letter_is_never_explained() -> None:
    """One kill cuts off one letter of a message."""
    letters = [Letter("poison1", KILLED, AT - 1), Letter("poison1", OTHER, AT + 9), Letter("poison1", OTHER + 1, AT + 10)]
    assert cut_off(letters, {KILLED: AT}, LOCK) == ("poison1",)
