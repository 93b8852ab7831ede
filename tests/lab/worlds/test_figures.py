from __future__ import annotations

from dataclasses import replace

import pytest

from holdgate_lab.worlds.answers import OK, CountingClient
from holdgate_lab.worlds.catalogue import changing_rate, rate, strangers
from holdgate_lab.worlds.figures import figures_of, missed
from holdgate_lab.worlds.world import Promise

WHATEVER = Promise(goodput=0.0, waste=1.0)


class Nobody:
    def arrive(self, reply: object) -> None:
        raise AssertionError(reply, OK)


def client(good: dict[int, int], wasted: int = 0, calls: dict[int, int] | None = None) -> CountingClient:
    """A client that has seen this."""
    seen = CountingClient(Nobody(), 5.0)
    seen.good.update(good)
    seen.wasted.update({"429": wasted})
    seen.calls.update(good if calls is None else calls)
    return seen


def test_goodput_is_of_the_best_possible_and_waste_of_all_calls() -> None:
    """100 seconds at 10 a second and a burst of ten could have 1,010."""
    figures = figures_of(rate(100.0), [client({1: 505}, wasted=5)], [1] * 98 + [7, 9])
    assert (figures.goodput, figures.waste, figures.in_flight) == (0.5, 5 / 510, 9)
    assert (figures.fairness, figures.calls_a_minute, figures.back_after, figures.was_troubled) == (None, None, None, False)


@pytest.mark.parametrize(("shares", "expected"), [((5, 5), 1.0), ((10, 0), 0.5), ((0, 0), 0.0)])
def test_fairness_is_jains_index(shares: tuple[int, int], expected: float) -> None:
    """Equal shares are 1, and one of two that has everything is a half."""
    assert figures_of(strangers(100.0), [client({1: share}) for share in shares], []).fairness == expected


def test_the_trouble_has_figures_of_its_own() -> None:
    """Calls from its first second to its last, and ten good seconds in a row after it."""
    world = changing_rate(100.0, 20.0, 40.0)
    good = dict.fromkeys(range(45, 100), 30)
    figures = figures_of(world, [client(good, calls={19: 50, 20: 3, 39: 3, 40: 50})], [])
    assert figures.calls_a_minute == 18
    assert figures.back_after == 4  # one slow second of ten is nine tenths


def test_who_never_comes_back_has_no_time_for_it() -> None:
    """And does not keep a promise about it."""
    world = changing_rate(100.0, 20.0, 40.0)
    figures = figures_of(world, [client({50: 1})], [])
    assert figures.back_after is None
    assert missed(figures, replace(WHATEVER, back_after=9)) == ["it must be back at most 9 s after the trouble, got never"]


@pytest.mark.parametrize(
    ("promise", "words"),
    [
        (Promise(goodput=0.9, waste=1), "goodput must be at least 0.90 of the best possible, got 0.7800"),
        (Promise(goodput=0, waste=0.01), "at most 1.00% of calls may be in vain, got 25.00% (800)"),
        (replace(WHATEVER, in_flight=5), "at most 5 calls may be in flight (p99), got 6"),
        (replace(WHATEVER, fairness=0.9), "the fairness must be at least 0.90, got 0.500"),
        (replace(WHATEVER, calls_a_minute=1), "at most 1 calls a minute may be made in the trouble, got 6.00"),
        (replace(WHATEVER, back_after=10), "it must be back at most 10 s after the trouble, got after 12 s"),
    ],
)
def test_each_figure_is_held_against_its_promise(promise: Promise, words: str) -> None:
    """One line for each that is missed, and none for one that is just kept."""
    world = replace(changing_rate(100.0, 20.0, 40.0), best=lambda _: 2400 / 0.78)
    good = dict.fromkeys(range(52, 100), 50)
    figures = figures_of(world, [client(good, wasted=800, calls={25: 2}), client({})], [6])
    assert figures.back_after == 8
    figures = replace(figures, back_after=12.0)
    assert missed(figures, promise) == [words]
    assert missed(figures, Promise(goodput=0.78, waste=0.25, in_flight=6, fairness=0.5, calls_a_minute=6, back_after=12)) == []
