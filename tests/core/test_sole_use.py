"""Whether a limit is shared: refusals at one place, and at many."""

from __future__ import annotations

import math

import pytest

from holdgate.core.sole_use import SAME, SoleUse


def _refused(sole_use: SoleUse, *refusals: tuple[float, float], pace: float = 10.0, in_ramp: bool = False) -> float | None:
    """Refusals as pairs of the pace at each and of what was let in. Returns the last answer."""
    limit = None
    for refused_at, let_in in refusals:
        limit = sole_use.limit(pace, refused_at, let_in, in_ramp=in_ramp)
    return limit


def test_two_refusals_that_agree_may_be_chance() -> None:
    """Nothing is shown by them."""
    sole_use = SoleUse()
    assert _refused(sole_use, (10.0, 8.0), (10.1, 9.0)) is None
    assert not sole_use.holds


def test_three_at_the_same_pace_are_a_limit() -> None:
    """The pace stays three percent under the latest of them."""
    sole_use = SoleUse()
    assert _refused(sole_use, (10.0, 8.0), (10.1, 9.0), (10.0, 8.0)) == pytest.approx(10.0 * 0.97)
    assert sole_use.holds


def test_three_that_let_in_the_same_are_a_limit() -> None:
    """A bucket with a burst refuses at any pace: what it let in is its rate, and the pace stays there."""
    assert _refused(SoleUse(), (15.0, 10.0), (12.0, 10.1), (14.0, 10.0)) == pytest.approx(10.0)


def test_the_pace_is_believed_before_what_was_let_in() -> None:
    """A bucket without room for a burst lets in less than its rate, and the same each time."""
    assert _refused(SoleUse(), (10.0, 9.0), (10.0, 9.0), (10.0, 9.0)) == pytest.approx(9.7)


def test_refusals_that_differ_are_of_a_shared_limit() -> None:
    """Five of them, each two percent from the one before."""
    assert _refused(SoleUse(), (10.0, 8.0), (10.2, 8.2), (10.0, 8.0), (10.2, 8.2), (10.0, 8.0)) is None


def test_the_agreement_must_be_in_a_row() -> None:
    """One that differs begins the count anew."""
    sole_use = SoleUse()
    assert _refused(sole_use, (10.0, 8.0), (10.0, 9.0), (11.0, 8.0), (11.0, 9.0)) is None
    assert _refused(sole_use, (11.0, 8.0)) == pytest.approx(11.0 * 0.97)


def test_a_ramp_that_went_far_shows_no_limit() -> None:
    """It ends at the same place each time because it used up the same burst. At up to 1.15 times the pace it is no such ramp."""
    assert _refused(SoleUse(), (11.6, 8.0), (11.6, 9.0), (11.6, 8.0), (11.6, 9.0)) is None
    assert _refused(SoleUse(), (11.5, 8.0), (11.5, 9.0), (11.5, 8.0)) is not None


def test_the_first_refusal_agrees_with_none() -> None:
    """Also at one call a second: it takes three."""
    assert _refused(SoleUse(), (1.0, 1.0), (1.0, 1.0), pace=1.0) is None


def test_a_ramp_that_went_far_is_none_of_those_that_agree() -> None:
    """The same pace later, when it is near, is the first of them."""
    sole_use = SoleUse()
    assert _refused(sole_use, (11.6, 8.0), pace=10.0) is None
    assert _refused(sole_use, (11.6, 9.0), pace=11.0) is None
    assert _refused(sole_use, (11.6, 8.0), pace=11.0) == pytest.approx(11.6 * 0.97)


def test_a_refusal_under_the_limit_takes_it_back() -> None:
    """Everything begins anew, and the next such limit is believed by three percent less."""
    sole_use = SoleUse()
    _refused(sole_use, (10.0, 8.0), (10.0, 9.0), (10.0, 8.0))
    assert _refused(sole_use, (9.7, 9.0), pace=9.7) is None
    assert not sole_use.holds
    assert _refused(sole_use, (9.7, 8.0)) is None
    assert _refused(sole_use, (9.7, 9.0)) == pytest.approx(9.7 * 0.97**2)


def test_a_refusal_in_a_ramp_from_the_limit_confirms_it() -> None:
    """It came over the limit, so the limit was right."""
    sole_use = SoleUse()
    _refused(sole_use, (10.0, 8.0), (10.0, 9.0), (10.0, 8.0))
    assert _refused(sole_use, (10.1, 9.0), pace=9.7) == pytest.approx(10.1 * 0.97)


def test_a_confirmed_limit_does_not_sink() -> None:
    """What is let in under a held pace is a little less than it, each time."""
    sole_use = SoleUse()
    assert _refused(sole_use, (15.0, 10.0), (12.0, 10.0), (15.0, 10.0)) == pytest.approx(10.0)
    assert _refused(sole_use, (13.0, 9.9), (13.0, 9.8), pace=10.0) == 10.0


def test_after_three_doubts_only_what_was_let_in_counts() -> None:
    """The pace has shown a limit three times, and was wrong three times."""
    sole_use = SoleUse()
    for _ in range(3):
        limit = None
        for let_in in (8.0, 9.0, 8.0, 9.0):
            limit = limit or _refused(sole_use, (10.0, let_in))
        assert limit is not None
        assert _refused(sole_use, (limit, 1.0), pace=limit) is None
    for let_in in (8.0, 9.0, 8.0, 9.0):
        assert _refused(sole_use, (10.0, let_in)) is None
    assert _refused(sole_use, (10.0, 9.0), (10.0, 9.0)) == pytest.approx(9.0)


def test_trap_a_ramp_takes_the_limit_back_that_it_confirms() -> None:
    """Its first step is over the limit by next to nothing, and is refused. 200 calls before it were let in: the pace was right."""
    sole_use = SoleUse()
    held = _refused(sole_use, (10.0, 9.0), (10.0, 9.0), (10.0, 9.0))
    assert held is not None
    assert _refused(sole_use, (held * 1.01, 9.6), pace=held, in_ramp=True) == held
    assert _refused(sole_use, (held * 1.15, 9.6), pace=held, in_ramp=True) == held
    assert sole_use.holds


def test_a_ramp_that_went_far_confirms_nothing() -> None:
    """At more than 1.15 times the pace somebody else may have gone, or a burst was saved up: what was let in is compared."""
    sole_use = SoleUse()
    held = _refused(sole_use, (10.0, 9.0), (10.0, 9.0), (10.0, 9.0))
    assert held is not None
    assert _refused(sole_use, (held * 1.16, 12.0), pace=held, in_ramp=True) is None
    assert not sole_use.holds


@pytest.mark.parametrize(("let_in", "limit"), [(197.0, 200.0), (math.nextafter(197.0, 0.0), None)])
def test_what_differs_by_exactly_as_much_as_calls_do_is_the_same(let_in: float, limit: float | None) -> None:
    """Three of two hundred calls: with a third refusal that agrees it is a limit. A hair more, and it is none."""
    assert SAME * 200.0 == 3.0
    assert _refused(SoleUse(), (20.0, let_in), (30.0, 200.0), (40.0, 200.0)) == limit


def test_a_refusal_at_the_pace_that_it_stays_at_is_a_doubt_to_the_border() -> None:
    """One and a half percent above it is no higher: the pace was wrong. Above that a ramp has been refused."""
    for refused_at, doubts in ((10.0 * (1 + SAME), 1), (math.nextafter(10.0 * (1 + SAME), math.inf), 0)):
        sole_use = SoleUse()
        sole_use.holds = True
        sole_use.limit(10.0, refused_at, 9.0, in_ramp=False)
        assert sole_use._doubts == doubts


def test_at_first_it_stays_nowhere() -> None:
    """Nothing has been refused."""
    assert SoleUse().holds is False
