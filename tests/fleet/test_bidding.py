"""When a worker claims."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from holdgate.fleet.bidding import LAST_CHOICE, LOST_AFTER, OPENING_SPREAD, VACANT_SPREAD, Bid, Occasion, Vacancy

CHANCE = Occasion(Vacancy.OPENING, 3, 10.0, last_choice=False)


def bid(*lots: float) -> Bid:
    drawn = iter(lots)
    return Bid(lambda: next(drawn))


def test_claims_are_spread_by_chance() -> None:
    """A claim comes within a fifth of a second where the fleet opens, and within a second where a conductor has gone."""
    opening, vacant = bid(0.5), bid(0.5)
    opening.consider(CHANCE)
    vacant.consider(replace(CHANCE, vacancy=Vacancy.VACANT))
    assert opening.at == 10.0 + OPENING_SPREAD / 2
    assert vacant.at == 10.0 + VACANT_SPREAD / 2


def test_who_is_not_to_be_the_first_waits() -> None:
    """Who has no messages, or has just given the epoch back, leaves the others three seconds."""
    last = bid(0.0)
    last.consider(replace(CHANCE, last_choice=True))
    assert last.at == 10.0 + LAST_CHOICE


def test_the_same_chance_draws_one_lot() -> None:
    """A chance that is considered again keeps its time; another epoch draws anew."""
    numbers = count()
    again = Bid(lambda: float(next(numbers)))
    again.consider(CHANCE)
    again.consider(CHANCE)
    assert again.at == 10.0
    again.consider(replace(CHANCE, epoch=4))
    assert again.at == 10.0 + OPENING_SPREAD


def test_a_claim_is_written_once_and_again_if_it_is_lost() -> None:
    """A claim that is due is written, and then not until it must be lost."""
    once = bid(0.0)
    assert not once.is_due(10.0)
    once.consider(CHANCE)
    assert not once.is_due(9.9)
    assert once.is_due(10.0)
    assert not once.is_due(10.1)
    once.consider(CHANCE)
    assert once.is_due(10.0 + LOST_AFTER)


def test_a_chance_that_is_gone_is_not_taken() -> None:
    """When somebody else conducts, nothing is claimed."""
    gone = bid(0.0)
    gone.consider(CHANCE)
    gone.consider(None)
    assert gone.at is None
    assert not gone.is_due(100.0)
