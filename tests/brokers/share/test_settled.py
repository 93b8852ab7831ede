"""What is settled is remembered so far and for so long, and a letter is known from its beginning to its end."""

from __future__ import annotations

from holdgate.brokers.share import settled
from holdgate.brokers.share.client import Place
from holdgate.brokers.share.settled import Letters, Settled, Suspects
from holdgate.flow.blame import FailureHistory

PLACE = Place(0, 7)
HOUR = 3600.0


def test_what_was_settled_is_remembered_until_the_broker_has_heard_of_it() -> None:
    """By its place."""
    done = Settled()
    done.add([PLACE], 0.0)
    assert done.has(PLACE, 1.0)
    assert not done.has(Place(1, 7), 1.0)
    done.forget(PLACE)
    assert not done.has(PLACE, 1.0)


def test_after_an_hour_a_place_may_be_another_record() -> None:
    """A topic that is made anew begins at offset 0, too."""
    done = Settled()
    done.add([PLACE], 0.0)
    assert done.has(PLACE, HOUR - 1)
    assert not done.has(PLACE, HOUR)


def test_the_oldest_are_forgotten_first() -> None:
    """Memory is bounded; what was settled once more counts from then on."""
    done = Settled()
    most = settled._REMEMBERED
    done.add([Place(0, number) for number in range(most)], 0.0)
    done.add([Place(0, 0)], 1.0)
    done.add([Place(1, 0)], 2.0)
    assert done.has(Place(0, 0), 3.0)
    assert not done.has(Place(0, 1), 3.0)
    assert done.has(Place(0, 2), 3.0)


def test_a_letter_is_under_way_until_it_has_ended() -> None:
    """One that failed is known as that until it is tried again, or its record has a lock again."""
    letters = Letters()
    letters.begin(PLACE)
    assert letters.is_under_way(PLACE)
    letters.end(PLACE, confirmed=False)
    assert (letters.is_under_way(PLACE), letters.has_failed(PLACE)) == (False, True)
    letters.begin(PLACE)
    assert (letters.is_under_way(PLACE), letters.has_failed(PLACE)) == (True, False)
    letters.end(PLACE, confirmed=True)
    assert not letters.has_failed(PLACE)
    letters.end(PLACE, confirmed=False)
    letters.forget_failure(PLACE)
    assert not letters.has_failed(PLACE)


def failed(times: int) -> FailureHistory:
    """A message that has failed so often by its own fault."""
    history = FailureHistory()
    for _ in range(times):
        history.charge()
    return history


def test_a_suspect_goes_on_where_it_was() -> None:
    """Once: what becomes of it in this delivery is remembered when it goes back again."""
    suspects = Suspects()
    suspects.keep(PLACE, failed(2), 0.0)
    history = suspects.take(PLACE, 1.0)
    assert history is not None
    assert history.charged == 2
    assert suspects.take(PLACE, 1.0) is None


def test_what_has_only_met_an_outage_is_no_suspect() -> None:
    """Nor is what has not failed at all; either makes an earlier suspicion void."""
    suspects = Suspects()
    for history in (failed(0), None):
        suspects.keep(PLACE, failed(1), 0.0)
        suspects.keep(PLACE, history, 1.0)
        assert suspects.take(PLACE, 2.0) is None


def test_a_suspicion_of_long_ago_is_void() -> None:
    """The place may be another record's by now."""
    suspects = Suspects()
    suspects.keep(PLACE, failed(1), 0.0)
    assert suspects.take(PLACE, HOUR) is None


def test_the_oldest_suspects_are_forgotten_first() -> None:
    """Memory is bounded."""
    suspects = Suspects()
    for number in range(settled._SUSPECTS + 1):
        suspects.keep(Place(0, number), failed(1), 0.0)
    assert suspects.take(Place(0, 0), 1.0) is None
    assert suspects.take(Place(0, 1), 1.0) is not None


def test_the_oldest_failed_letters_are_forgotten_first() -> None:
    """Their records may never come to this worker again, so a target that is away for a week would fill its memory."""
    letters = Letters()
    for number in range(settled._REMEMBERED + 1):
        letters.begin(Place(0, number))
        letters.end(Place(0, number), confirmed=False)
    assert not letters.has_failed(Place(0, 0))
    assert letters.has_failed(Place(0, 1))
