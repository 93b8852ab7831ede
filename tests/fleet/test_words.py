"""Operators' words for the whole fleet."""

from __future__ import annotations

from holdgate.fleet.records import LARGEST_NUMBER, FleetOrder
from holdgate.fleet.words import REPEATED_EVERY, Word, Words


def order(word: str, number: int = 1, *, again: bool = False, lasts: int = 0) -> FleetOrder:
    return FleetOrder("payments", word, number, again, lasts, "a release", "ada")


def test_a_hold_lasts_until_a_release() -> None:
    """Without an end of its own, a hold ends by another word alone."""
    words = Words()
    assert words.hear(order("hold"), 0.0)
    assert words.holds(1e9)
    assert words.ends_at(0.0) is None
    assert words.hear(order("release", 2), 1.0)
    assert not words.holds(1.0)
    assert words.in_force(1.0) is None


def test_a_forced_opening_ends_by_itself() -> None:
    """A word with an end is in force until then, by the clock of who has read it."""
    words = Words()
    words.hear(order("force_open", lasts=60), 100.0)
    standing = words.in_force(159.9)
    assert standing is not None
    assert (standing.word, standing.reason, standing.actor) == (Word.FORCE_OPEN, "a release", "ada")
    assert words.ends_at(159.9) == 160.0
    assert not words.holds(160.0)
    assert words.ends_at(160.0) is None
    assert words.ended_at(160.0) == 160.0


def test_an_old_hold_that_is_repeated_late_is_not_revived() -> None:
    """A repetition of a word that was followed by another one changes nothing."""
    words = Words()
    words.hear(order("hold"), 0.0)
    words.hear(order("release", 2), 1.0)
    assert not words.hear(order("hold", 1, again=True), 2.0)
    assert not words.holds(2.0)


def test_two_words_in_the_same_moment_both_count() -> None:
    """Of two words with the same number the later one in the log is in force: nobody's order is lost."""
    words = Words()
    words.hear(order("hold"), 0.0)
    assert words.hear(order("release", 1), 0.0)
    assert not words.holds(0.0)


def test_a_newcomer_hears_a_word_that_is_repeated() -> None:
    """Who has not read the word takes it from its repetition, with the time that is left."""
    first, second = Words(), Words()
    first.hear(order("hold", lasts=60), 0.0)
    again = first.repetition("payments", 20.5)
    assert again == order("hold", 1, again=True, lasts=40)
    assert second.hear(again, 5.0)
    assert second.ends_at(5.0) == 45.0
    assert first.repetition("payments", 60.0) is None


def test_a_word_is_repeated_if_nobody_else_does() -> None:
    """Ten to twenty seconds after the last time a word in force is to be repeated, and what others repeat counts."""
    words = Words()
    assert words.repeat_at(0.5, 0.0) is None
    assert not words.wants_repetition(0.5, 0.0)
    words.hear(order("hold"), 0.0)
    assert words.repeat_at(0.5, 1.0) == REPEATED_EVERY * 1.5
    assert not words.hear(order("hold", 1, again=True), 9.0)
    assert words.repeat_at(0.0, 9.0) == 9.0 + REPEATED_EVERY
    assert words.wants_repetition(0.0, 19.0)
    words.repeated(19.0)
    assert not words.wants_repetition(0.0, 20.0)


def test_the_numbers_do_not_run_out() -> None:
    """After a word with the largest number that a record can carry, the next one can still be repeated."""
    words = Words()
    words.hear(order("hold", LARGEST_NUMBER, again=True), 0.0)
    words.hear(order("hold", 1), 1.0)
    again = words.repetition("payments", 2.0)
    assert again is not None
    assert again.number == LARGEST_NUMBER


def test_who_has_missed_older_words_counts_on_from_the_writers_number() -> None:
    """A newcomer whose first word has number 9 is at 9 as all are, so that a late repetition of the eighth is old to it, too."""
    words = Words()
    words.hear(order("release", 9), 0.0)
    assert not words.hear(order("hold", 8, again=True), 0.1)
    assert not words.holds(0.1)


def test_who_was_cut_off_holds_no_longer_than_the_others() -> None:
    """It reads the hold of five minutes ago, and what was repeated of it since, in one moment: the end is that of the last repetition."""
    words = Words()
    for record in (order("hold", lasts=300), order("hold", 1, again=True, lasts=160), order("hold", 1, again=True, lasts=12)):
        words.hear(record, 1000.0)
    assert words.ends_at(1000.0) == 1012.0


def test_a_repetition_never_puts_an_end_off() -> None:
    """One that comes late says more time than is left, one without an end says nothing, and one of another word is none."""
    words = Words()
    words.hear(order("hold", lasts=60), 0.0)
    for late in (order("hold", 1, again=True, lasts=55), order("hold", 1, again=True), order("force_open", 1, again=True, lasts=5)):
        words.hear(late, 20.0)
        assert words.ends_at(20.0) == 60.0
