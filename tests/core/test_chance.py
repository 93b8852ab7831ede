"""Refusals by chance, and those of a limit."""

from __future__ import annotations

import random
from math import inf, log, nextafter

import pytest

from holdgate.core.chance import CALM, DOUBTS, ENOUGH, FALLEN, FIRST_AFTER, LATER, LATEST, OFTEN, SIZES, ChanceRefusals, ChanceVerdict
from holdgate.core.refusal_test import RefusalTest


def _refused(chance: ChanceRefusals, pace: float | None = 10.0) -> RefusalTest | None:
    """What is tested after a refusal that has shut the gate."""
    if not chance.refuse():
        chance.consider(0.0, pace)
    return chance.test


def _tested(chance: ChanceRefusals) -> RefusalTest:
    """The next test, however many refusals later."""
    for _ in range(LATEST + 1):
        test = _refused(chance)
        if test is not None:
            return test
    raise AssertionError("nothing was tested")


def _answered(chance: ChanceRefusals, let_in: int | None = None, asked: int | None = None) -> ChanceVerdict:
    """What the next test shows when so many of its calls have asked, and so many were let in. None is all."""
    test = _tested(chance)
    asked = test.size if asked is None else asked
    for token in range(1, asked + 1):
        test.start(token, 0.0)
        test.end(token, was_let_in=token <= (asked if let_in is None else let_in))
    return chance.conclude(test)


def _conclude(chance: ChanceRefusals, test: RefusalTest, let_in: int) -> ChanceVerdict:
    """What a test shows when all of its calls have asked, and so many were let in."""
    for token in range(1, test.size + 1):
        test.start(token, 0.0)
        test.end(token, was_let_in=token <= let_in)
    return chance.conclude(test)


def _known(share: float = 0.02) -> ChanceRefusals:
    """One that knows that so many calls are refused by chance."""
    chance = ChanceRefusals()
    while not chance.is_known:
        for _ in range(int(1 / share) - 1):
            chance.let_in()
        test = _refused(chance)
        if test is not None:
            _conclude(chance, test, test.size)
    return chance


def test_the_first_refusals_are_those_of_a_limit() -> None:
    """They come together, when its burst is used up; then one call asks immediately."""
    chance = ChanceRefusals()
    for _ in range(FIRST_AFTER - 1):
        assert _refused(chance) is None
    test = _refused(chance)
    assert test is not None
    assert test.size == SIZES[0]


def test_a_slow_pace_has_not_fallen() -> None:
    """There is none that it has fallen from."""
    chance = ChanceRefusals()
    assert [_refused(chance, 0.1) for _ in range(FIRST_AFTER - 1)] == [None] * (FIRST_AFTER - 1)


def test_where_no_pace_is_known_nothing_is_tested() -> None:
    """A test would disturb what is measured. As soon as there is a pace, it is time."""
    chance = ChanceRefusals()
    for _ in range(2 * FIRST_AFTER):
        assert _refused(chance, None) is None
    assert _refused(chance, 1.0) is not None


def test_what_is_let_in_leads_to_the_next_test_and_the_last_is_an_answer() -> None:
    """After one refusal each: one call, two together, four together."""
    chance = ChanceRefusals()
    sizes = []
    for _ in SIZES[:-1]:
        sizes.append(_tested(chance).size)
        assert _answered(chance) is ChanceVerdict.HINT
        assert not chance.is_known
        assert _refused(chance) is not None
    sizes.append(_tested(chance).size)
    assert _answered(chance) is ChanceVerdict.CHANCE
    assert chance.is_known
    assert tuple(sizes) == SIZES


def test_a_pace_that_has_fallen_far_is_tested() -> None:
    """At a tenth of a call a second a dozen refusals take an hour."""
    chance = ChanceRefusals()
    assert _answered(chance, 0) is ChanceVerdict.LIMIT
    assert _refused(chance, 8.0) is None
    assert _refused(chance, 8.0 * FALLEN) is None
    assert _refused(chance, 8.0 * FALLEN * 0.99) is not None


def test_the_pace_to_go_back_to_is_the_best_one() -> None:
    """What it was refused at first, before all yields."""
    chance = ChanceRefusals()
    for pace in (8.0, 10.0, 9.0, 5.0):
        _refused(chance, pace)
    assert chance.best == 10.0


@pytest.mark.parametrize(("passed", "let_in", "times"), [(0, 0, LATER), (1, 0, LATER), (2, 0, 1), (2, 1, 1)])
def test_most_that_are_refused_are_a_limit(passed: int, let_in: int, times: int) -> None:
    """The next test has one call, and the pace to fall from is a new one. After a strong hint it comes as soon as the first one."""
    chance = ChanceRefusals()
    for _ in range(passed):
        _answered(chance)
    assert _answered(chance, let_in) is ChanceVerdict.LIMIT
    assert chance.best == 0.0
    for _ in range(FIRST_AFTER * times - 1):
        assert _refused(chance) is None
    test = _refused(chance)
    assert test is not None
    assert test.size == 1


@pytest.mark.parametrize("passed", [1, 2])
def test_half_that_are_refused_say_nothing_once(passed: int) -> None:
    """The same test is made again after the next refusal, and if half are refused again it is a limit."""
    chance = ChanceRefusals()
    for _ in range(passed):
        _answered(chance)
    half = SIZES[passed] // 2
    assert _answered(chance, half) is ChanceVerdict.NOTHING
    test = _refused(chance)
    assert test is not None
    assert test.size == SIZES[passed]
    assert _answered(chance, half) is ChanceVerdict.LIMIT


def test_half_that_are_refused_are_forgotten_with_the_next_answer() -> None:
    """Each test may be even once."""
    chance = ChanceRefusals()
    _answered(chance)
    _answered(chance, 1)
    assert _answered(chance) is ChanceVerdict.HINT
    assert _answered(chance, 2) is ChanceVerdict.NOTHING


def test_one_of_four_may_be_refused() -> None:
    """Where one call in twelve is refused by chance, one of four is so in a third of all tests."""
    chance = ChanceRefusals()
    for _ in SIZES[:-1]:
        _answered(chance)
    assert _answered(chance, SIZES[-1] - 1) is ChanceVerdict.CHANCE


def test_a_limit_is_tested_more_and_more_seldom() -> None:
    """But never more seldom than once in so many refusals: what it is may change."""
    chance = ChanceRefusals()
    gaps = []
    for _ in range(5):
        before = 0
        while _refused(chance) is None:
            before += 1
        gaps.append(before + 1)
        assert chance.test is not None
        _conclude(chance, chance.test, 0)
    assert gaps == [4, 12, 32, 32, 32]


def test_a_test_that_too_few_have_asked_in_shows_nothing() -> None:
    """There was no demand for it. The next refusal is tested again."""
    chance = ChanceRefusals()
    _answered(chance)
    assert _answered(chance, asked=1) is ChanceVerdict.NOTHING
    test = _refused(chance)
    assert test is not None
    assert test.size == SIZES[1]


def test_a_test_that_too_few_have_asked_in_is_a_limit_if_those_were_refused() -> None:
    """Otherwise it would be made after each refusal."""
    chance = ChanceRefusals()
    _answered(chance)
    assert _answered(chance, 0, asked=1) is ChanceVerdict.LIMIT


def test_no_test_is_wider_than_a_number_that_somebody_has_set() -> None:
    """With two at a time, four never ask together."""
    chance = ChanceRefusals(2)
    sizes = []
    while not chance.is_known:
        sizes.append(_tested(chance).size)
        _answered(chance)
    assert sizes == [1, 2, 2]


def test_refusals_as_seldom_as_by_chance_are_excused() -> None:
    """One call in fifty, for ten thousand calls, in any order that chance gives."""
    chance, draw = _known(0.02), random.Random(3).random
    excused = refused = 0
    for _ in range(10_000):
        if draw() < 0.02:
            refused += 1
            test = _refused(chance)
            excused += test is None
            if test is not None:
                _conclude(chance, test, sum(draw() >= 0.02 for _ in range(test.size)))
        else:
            chance.let_in()
    assert chance.is_known
    assert excused >= 0.9 * refused


def test_refusals_that_come_in_a_row_are_doubted() -> None:
    """Four on end: then four calls ask together."""
    chance = _known()
    assert [chance.refuse() for _ in range(4)] == [True, True, True, False]
    chance.consider(0.0, 10.0)
    assert chance.test is not None
    assert chance.test.size == SIZES[-1]
    assert chance.is_known


@pytest.mark.parametrize(("share", "let_in"), [(0.003, 40), (0.01, 19), (0.02, 10), (0.05, 4), (0.1, 2), (0.25, 1), (0.5, 1)])
def test_calls_that_are_let_in_take_the_doubt_away(share: float, let_in: int) -> None:
    """After three refusals on end a fourth is excused if so many came between: the more, the fewer are refused by chance."""
    excused = []
    for count in (let_in - 1, let_in):
        chance = _known(share)
        for _ in range(3):
            assert chance.refuse()
        for _ in range(count):
            chance.let_in()
        excused.append(chance.refuse())
    assert excused == [False, True]


def test_a_test_begins_when_the_gate_was_shut() -> None:
    """Its calls ask within a moment of that, also where refusals are known."""
    chance = _known()
    for _ in range(4):
        chance.refuse()
    chance.consider(7.0, 10.0)
    assert chance.test is not None
    assert (chance.test.free(7.0), chance.test.free(8.0)) == (4, 0)


def test_a_limit_after_two_hundred_calls_is_the_first_of_a_row() -> None:
    """With one call less it is the second."""
    for calm, is_known in ((CALM, True), (CALM - 1, False)):
        chance = _known()
        for count in (0, 0, calm):
            for _ in range(count):
                chance.let_in()
            assert _answered(chance, 0) is ChanceVerdict.LIMIT
        assert chance.is_known is is_known


def test_after_it_was_no_chance_the_first_tests_come_as_at_first() -> None:
    """After as many refusals, and from the pace of then on."""
    chance = _known()
    for _ in range(DOUBTS):
        assert _answered(chance, 0) is ChanceVerdict.LIMIT
    assert chance.best == 0.0
    assert [_refused(chance, 0.1) is None for _ in range(FIRST_AFTER)] == [True] * (FIRST_AFTER - 1) + [False]
    assert chance.best == 0.1


def test_a_doubt_that_is_let_in_was_none() -> None:
    """The next three are excused again."""
    chance = _known()
    for _ in range(2 * DOUBTS):
        assert _answered(chance) is ChanceVerdict.CHANCE
        assert [chance.refuse() for _ in range(3)] == [True, True, True]
    assert chance.is_known


def test_refusals_that_grow_with_the_pace_end_the_excuse() -> None:
    """One limit after another, with few calls between them, until it was no chance. Then everything begins anew."""
    chance = _known()
    for _ in range(DOUBTS):
        assert chance.is_known
        assert _answered(chance, 0) is ChanceVerdict.LIMIT
        chance.let_in()
    assert not chance.is_known
    assert _refused(chance) is None


def test_a_limit_now_and_then_does_not_end_it() -> None:
    """Limits with many good calls between them are those of a service that has both."""
    chance = _known()
    for _ in range(3 * DOUBTS):
        for _ in range(CALM):
            chance.let_in()
        assert _answered(chance, 0) is ChanceVerdict.LIMIT
    assert chance.is_known


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_a_share_that_was_seen_lower_is_the_lower(share: float) -> None:
    """What a start has refused is not excused for ever: with fewer refusals the bound comes down."""
    chance = _known(share)
    for _ in range(5000):
        chance.let_in()
    assert [chance.refuse() for _ in range(4)] == [True, True, True, False]


def test_at_first_nothing_is_known() -> None:
    """A refusal is that of a limit until tests have shown another thing."""
    assert ChanceRefusals().is_known is False


def test_the_share_that_is_refused_is_a_mean_over_a_thousand_calls() -> None:
    """Each call counts by a thousandth less with each that comes after it, and one before all of them is taken for let in."""
    chance = ChanceRefusals()
    for number in range(200):
        (chance.let_in, chance.refuse)[number % 10 == 0]()
    kept = [0.999 ** (199 - number) for number in range(200)]
    assert chance._seen == pytest.approx(sum(kept[::10]) / (sum(kept) + 0.999**200), rel=1e-9)


def test_refusals_that_have_come_often_enough_are_no_longer_excused() -> None:
    """Exactly enough is enough; a hair less is not."""
    enough = next(each for each in _around(ENOUGH - log(OFTEN)) if each + log(OFTEN) == ENOUGH)
    for evidence, excused in ((enough, False), (enough - 1e-9, True)):
        chance = _known()
        chance._evidence = evidence
        assert chance.refuse() is excused


def _around(value: float) -> list[float]:
    """Return the floats next to this one, too: sums are rounded."""
    return [value, nextafter(value, 0.0), nextafter(value, inf)]
