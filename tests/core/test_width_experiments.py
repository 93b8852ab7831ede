"""What is tried with the width, in which order, for how long, and what comes of it: traces of how many may be in flight, call by call."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import pytest

from holdgate.core.experiments import Budget
from holdgate.core.width import Width

# So many may be in flight, for so many calls.
Trace = list[tuple[int | None, int]]


class Full:
    """A width that is kept full: each call begins at the most that may be in flight, and ends before the next one.

    With a `level` it stands there and does not grow at first. At more than `cap` in flight a call is refused.
    """

    def __init__(self, level: int = 0, most: int | None = None, *, seconds: Callable[[int], float] = lambda _level: 0.1) -> None:
        self.budget = Budget()
        self.width = Width(self.budget, most, is_sought=not level)
        self.seconds = seconds
        self.cap = 10**9
        self.calls = 0
        self.refused = 0
        self._seen: list[int | None] = []
        if not level:
            return
        self.width.seek(level)
        for each in range(1, level + 1):
            self.width.accept(each, 0, 0.1)
        for _ in range(4 * level + 2):  # calls that leave it unfilled end the round of growing
            self.width.start(0.0, 0, 0.0, is_pressed=False)

    def call(self) -> None:
        self.calls += 1
        level = self.width.current or 0
        self._seen.append(level)
        arm = self.width.start(self.calls, level, self.calls, is_pressed=True)
        if level > self.cap:
            self.refused += 1
            self.width.refuse(level, arm, is_throttled=True)
        else:
            self.budget.earn(1)
            self.width.accept(level, arm, self.seconds(level))

    def run(self, calls: int) -> Trace:
        self._seen.clear()
        for _ in range(calls):
            self.call()
        return [(level, len(list(same))) for level, same in groupby(self._seen)]


def _gaining(share: float) -> Callable[[int], float]:
    """Seconds at so many in flight, if that share of what a wider width adds is more work done."""
    return lambda level: 0.1 * (level / 20) ** (1 - share)


def _walled(cap: int, most: int | None = None) -> Full:
    """At a cap that has refused one more, and with as much saved up as can be."""
    full = Full(cap, most)
    full.cap = cap
    full.width.refuse(cap + 1, 0, is_throttled=True)
    full.width.accept(cap, 0, 0.1)
    full.budget.earn(10_000)
    return full


# -- growing --------------------------------------------------------------------------------------------------------------------------


def test_it_grows_in_rounds_of_doubling_to_a_little_over_the_knee() -> None:
    """Each width is held for as many calls as show its latency. Sixteen servers: at 32 nothing more gets done."""
    trace = Full(seconds=lambda level: 0.1 * max(1.0, level / 16)).run(266)
    assert [each for each in trace if each[1] > 1] == [(4, 9), (8, 17), (16, 65), (32, 128), (17, 18)]
    assert [level for level, _ in trace] == [*range(1, 33), 19, 17]


def test_a_round_at_the_users_number_is_the_last() -> None:
    """Then it is tried whether less would do."""
    full = Full(most=6)
    assert full.run(165)[3:] == [(4, 9), (5, 1), (6, 13), (5, 18), (6, 36), (5, 18), (6, 1), (5, 18), (6, 36), (5, 12)]


def test_who_fills_less_than_half_of_it_does_not_make_it_grow() -> None:
    """One call at a time shows nothing of three."""
    width = Width(Budget(), None, is_sought=True)
    seen = []
    for level in (1, 1, 1, 2):
        width.accept(level, 0, 0.1)
        seen.append(width.current)
    assert seen == [2, 3, 3, 4]


@pytest.mark.parametrize(("most", "calls"), [(4, 8), (5, 10), (8, 16), (9, 36), (16, 64), (23, 92)])
def test_a_round_has_two_calls_for_each_of_a_width_up_to_eight_and_four_over_it(most: int, calls: int) -> None:
    """A doubling that was luck costs little up to there. The call after the round still finds the width as it is."""
    trace = Full(most=most, seconds=_gaining(1.0)).run(300)
    assert next(seen for level, seen in trace if level == most) == calls + 1


def test_a_slow_mean_ends_the_growth_as_well() -> None:
    """Seven calls of eight are as quick as before. The eighth waits so long that hardly anything more gets done."""
    full = Full()
    full.seconds = lambda level: 3.0 if level == 32 and full.calls % 8 == 0 else 0.1
    assert max(level or 0 for level, _ in full.run(400)) == 32


def _one_in_eight(at: int, by_means: float) -> Full:
    """At that width one call in eight is so slow that the means show such a gain over half of it, and the deciles all of it."""
    full = Full()
    slow = 0.1 * (1 + 8 * (2 ** (1 - by_means) - 1))
    full.seconds = lambda level: slow if level == at and full.calls % 8 == 0 else 0.1
    return full


@pytest.mark.parametrize(("by_means", "ends"), [(-1.0, 19), (0.1, 20), (0.2, 22), (0.39, 25), (0.41, 32)])
def test_a_doubling_that_the_means_deny_ends_at_what_they_show(by_means: float, ends: int) -> None:
    """And a little over it. By the deciles it would be 27 in each case, or 64. From 0.4 on the means say nothing against it."""
    full = _one_in_eight(32, by_means)
    assert full.run(247)[-1] == (32, 128)
    assert full.width.current == ends
    assert full.run(2)[-1][0] == (33 if ends == 32 else round(ends / 1.15))


def test_of_deciles_and_means_the_less_is_what_a_doubling_has_shown() -> None:
    """Seven calls of eight wait, so that the deciles show a tenth. The slow ones have become quicker, and the means show three."""
    full = Full()

    def seconds(level: int) -> float:
        is_slow = full.calls % 8 == 0
        if level < 32:
            return 0.9 if is_slow else 0.1
        waits = 0.2 * (2**0.9 - 1)
        return 8 * 0.2 * 2**0.7 - 7 * (0.1 + waits) if is_slow else 0.1 + waits

    full.seconds = seconds
    full.run(247)
    assert full.width.current == 20


def test_of_few_calls_the_means_say_nothing() -> None:
    """The round at eight has sixteen: one slow call more or less would be a quarter of the mean."""
    full = _one_in_eight(16, -1.0)
    assert full.run(105)[-3:] == [(15, 1), (16, 65), (17, 1)]


@pytest.mark.parametrize(("lost", "most"), [(0, 7), (1, 10)])
def test_thirty_two_calls_are_enough_for_the_means(lost: int, most: int) -> None:
    """So many has a trial at its wider width, unless one of them has failed by chance. Nine in flight are tried after it, and denied."""
    full = Full(4)
    full.seconds = lambda level: 1.7 if level == 9 and full.calls % 9 == 0 else 0.1
    while full.width.current != 6:
        full.budget.earn(10_000)
        full.call()
    for _ in range(lost):
        full.width.excuse(full.width.start(full.calls, 6, full.calls, is_pressed=True))
    assert full.run(32 - lost + 16 + 3 + 36)[-1] == (9, 36)
    assert max(full.width.current or 0, *(level or 0 for level, _ in full.run(2)[1:])) == most


# -- trials ---------------------------------------------------------------------------------------------------------------------------


def test_a_trial_has_four_arms_and_what_gains_nothing_goes_down() -> None:
    """Narrow, wide, wide, narrow, with three calls for each of its width. The narrow one is kept, and the next trial comes directly."""
    assert Full(20, seconds=_gaining(0.0)).run(447) == [(20, 1), (17, 60), (23, 120), (17, 61), (15, 51), (20, 102), (15, 52)]


@pytest.mark.parametrize(
    ("level", "arms"),
    [
        (4, [(3, 16), (5, 32), (3, 17)]),
        (5, [(4, 16), (6, 32), (4, 17)]),
        (6, [(5, 18), (7, 36), (5, 19)]),
        (8, [(7, 24), (9, 48), (7, 25)]),
        (40, [(35, 120), (46, 240), (35, 121)]),
    ],
)
def test_an_arm_has_three_calls_for_each_of_its_width_and_sixteen_at_least(level: int, arms: Trace) -> None:
    """Both widths differ from the one between them, by one if not by more."""
    assert Full(level, seconds=_gaining(0.0)).run(1 + sum(calls for _, calls in arms)) == [(level, 1), *arms]


def test_at_one_in_flight_only_more_is_tried() -> None:
    """And after longer and longer pauses, up to four trials long: nothing is gained, and nothing can be saved."""
    trace = Full(1, seconds=_gaining(0.0)).run(1500)
    assert trace == [
        (1, 17),
        (2, 32),
        (1, 97),
        (2, 32),
        (1, 161),
        (2, 32),
        (1, 225),
        (2, 32),
        (1, 289),
        (2, 32),
        (1, 289),
        (2, 32),
        (1, 230),
    ]


@pytest.mark.parametrize("share", [0.16, 0.49])
def test_a_little_gain_keeps_the_width(share: float) -> None:
    """Its narrower one costs work, and its wider one only waits. A pause of one trial, then one that asks for more alone, then two."""
    full = Full(20, seconds=_gaining(share))
    full.budget.earn(10_000)
    trace = full.run(3300)
    assert trace[:8] == [(20, 1), (17, 60), (23, 120), (17, 60), (20, 301), (23, 120), (20, 541), (17, 60)]
    assert trace[8:] == [(23, 120), (17, 60), (20, 781), (23, 120), (20, 956)]
    assert full.budget.count == 4


def test_half_a_gain_is_a_wider_width() -> None:
    """So much as gets done, and a little more, but not more than was tried."""
    assert Full(20, seconds=_gaining(0.51)).run(620)[3:] == [(17, 60), (23, 310), (26, 69)]
    some = Full(40, seconds=lambda level: 0.1 * (level / 40) ** 0.45)
    assert some.run(660)[-1] == (46, 179)


def test_a_gain_that_is_hardly_one_goes_down() -> None:
    """Less than a sixth of it is none."""
    assert Full(20, seconds=_gaining(0.14)).run(250)[-1] == (15, 8)


def test_nearly_all_of_it_once_is_a_step_that_has_cost_nothing() -> None:
    """What the narrow arms have lost the wide ones have made up for, compared with the width that there was. So the next trial begins."""
    full = Full(20, seconds=_gaining(1.0))
    assert full.run(400) == [(20, 1), (17, 60), (23, 120), (17, 60), (23, 1), (20, 69), (26, 89)]


def test_what_a_trial_has_cost_is_by_how_much_more_was_done() -> None:
    """A third more in flight, of which 84 percent are work: the narrow arms have lost three calls of ten."""
    full = Full(20, seconds=_gaining(0.84))
    full.run(242)
    full.budget.earn(1226)
    assert not full.budget.affords_work()
    full.budget.earn(2)
    assert full.budget.affords_work()


def test_the_smallest_step_is_one() -> None:
    """From two, of which one and three are tried: half of it done is no reason for the third."""
    assert Full(2, seconds=lambda level: 0.1 * (level / 2) ** 0.498).run(100)[-1] == (2, 35)


def test_nearly_all_of_it_twice_begins_to_grow_again() -> None:
    """To one and a half times the width, in one go, and then by doubling as at first."""
    full = Full(20, seconds=_gaining(1.0))
    full.budget.earn(10_000)
    assert full.run(242)[-1] == (23, 1)
    full.budget.earn(10_000)
    trace = full.run(1026)
    assert [each for each in trace if each[1] > 1] == [(20, 69), (26, 138), (20, 69), (39, 157), (78, 313), (156, 152)]
    assert [level for level, _ in trace[3:]] == [*range(26, 157)]


@pytest.mark.parametrize(
    ("most", "rounds"),
    [(38, [(38, 153), (33, 114), (38, 228)]), (60, [(39, 157), (60, 241), (52, 180)]), (1000, [(39, 157), (78, 313), (156, 152)])],
)
def test_no_growth_goes_over_the_users_number(most: int, rounds: Trace) -> None:
    """Neither the first one nor a doubling: a round there is the last, and then it is tried whether less would do."""
    full = Full(20, most, seconds=_gaining(1.0))
    for calls in (242, 1026):
        full.budget.earn(10_000)
        trace = full.run(calls)
    assert [each for each in trace if each[1] > 1][3:6] == rounds


def test_growth_ends_under_a_wall() -> None:
    """Fifty were refused once, so 49 is the last round, although twice as many as before would be 78. Then the wall is tried."""
    full = Full(20, seconds=_gaining(1.0))
    full.width.refuse(50, 0, is_throttled=True)
    full.width.accept(20, 0, 0.1)
    for calls in (242, 1026):
        full.budget.earn(10_000)
        trace = full.run(calls)
    assert [each for each in trace if each[1] > 1][3:6] == [(39, 157), (49, 197), (50, 11)]


@pytest.mark.parametrize(("wall", "grows"), [(24, False), (25, True)])
def test_right_under_a_wall_a_trial_is_a_step_and_no_reason_to_grow(wall: int, grows: bool) -> None:
    """There is no more room than that. The next trial asks for more alone."""
    full = Full(20, seconds=_gaining(1.0))
    full.width.refuse(wall, 0, is_throttled=True)
    full.width.accept(20, 0, 0.1)
    full.budget.spend(10)
    for calls in (243, 400):
        full.budget.earn(100)
        full.budget.spend(10)
        full.budget.lose(-100)
        trace = full.run(calls)
    assert [level for level, _ in trace][:2] == ([20, 23] if grows else [23])


def test_growth_that_gets_nothing_done_ends_where_it_began() -> None:
    """Two trials have shown that 26 get all of it done, and the first round shows that 39 do not."""
    full = Full(20, seconds=lambda level: 0.1 * max(1.0, level / 26))
    for calls in (242, 470):
        full.budget.earn(10_000)
        trace = full.run(calls)
    assert [each for each in trace if each[1] > 1][3:] == [(39, 156), (26, 24)]


@pytest.mark.parametrize(("share", "grows"), [(0.84, False), (0.86, True)])
def test_how_much_is_nearly_all_of_it(share: float, grows: bool) -> None:
    """Seventeen parts of twenty."""
    full = Full(20, seconds=_gaining(share))
    for _ in range(12):
        full.budget.earn(10_000)
        full.run(60)
    assert ((full.width.current or 0) >= 39) is grows


def test_halves_that_contradict_each_other_say_nothing() -> None:
    """Something else has changed between them. The width stays, and the next trials are twice as long and four times; then shorter."""
    slow = [range(122, 242), range(723, 963), range(1924, 2404), range(3364, 7500)]
    full = Full(20)
    full.seconds = lambda level: 0.1 * (level / 20 if any(full.calls in each for each in slow) else 1.0)
    trace = full.run(6900)
    assert trace[:10] == [(20, 1), (17, 60), (23, 120), (17, 60), (20, 361), (23, 240), (20, 841), (23, 480), (20, 1441), (23, 480)]
    assert trace[10:15] == [(20, 2161), (17, 120), (23, 240), (17, 121), (15, 51)]


def test_a_trial_that_showed_something_halves_the_length_of_the_next() -> None:
    """After two that showed nothing the third is four times as long, the fourth twice, and the fifth as long as the first."""
    slow = [range(122, 242), range(723, 963)]
    full = Full(20)

    def seconds(level: int) -> float:
        is_contradictory = full.calls < 1050
        return 0.1 * (level / 20) ** (float(any(full.calls in each for each in slow)) if is_contradictory else 0.6)

    full.seconds = seconds
    trace = []
    for _ in range(45):
        full.budget.earn(10_000)
        trace += full.run(200)
    tried = [sum(calls for _, calls in same) for level, same in groupby(trace, lambda each: each[0]) if level == 23]
    assert tried[:6] == [120, 240, 480, 240, 120, 120]


# -- walls ----------------------------------------------------------------------------------------------------------------------------


def test_a_wall_that_stands_is_tried_once_in_250_calls() -> None:
    """Two refusals are the price of one try. What was saved up pays for two immediately, and a trial under the wall comes between."""
    full = _walled(8)
    trace = full.run(780)
    assert trace == [
        *[(8, 1), (9, 1), (8, 1), (9, 1), (8, 1)],
        *[(7, 24), (8, 48), (7, 24)],
        *[(8, 153), (9, 1), (8, 250), (9, 1), (8, 250), (9, 1), (8, 23)],
    ]
    assert full.budget.count == 6
    assert full.refused == 5


def test_a_wall_that_has_moved_is_left_behind() -> None:
    """Ten calls above it, and it is none any more: trials, and then growth, up to the next one, from which a lift is two at a time."""
    full = _walled(8)
    full.cap = 12
    trace = full.run(576)
    assert trace[:10] == [(8, 1), (9, 11), (8, 27), (10, 54), (8, 27), (10, 1), (9, 30), (12, 60), (9, 30), (12, 1)]
    assert trace[10:] == [(13, 1), (12, 1), (14, 1), (12, 1), (13, 1), (12, 1), (10, 36), (12, 72), (10, 36), (12, 105), (13, 1), (12, 78)]


def test_no_lift_goes_over_the_users_number() -> None:
    """The wall is behind it, and what lies above it is not tried."""
    full = _walled(8, most=9)
    full.cap = 30
    assert max(level or 0 for level, _ in full.run(600)) == 9


def test_each_wall_that_has_moved_doubles_the_next_step() -> None:
    """One more, then two, then four. One that stands begins anew."""
    full = _walled(8)
    width, steps = full.width, []
    for _ in range(3):
        before = width.current or 0
        width.refuse(before + 1, 0, is_throttled=True)
        width.accept(before, 0, 0.1)
        full.budget.earn(10_000)
        width.start(1.0, before, 1.0, is_pressed=True)
        steps.append((width.current or 0) - before)
        for _ in range(10):
            width.accept(width.current or 0, 0, 0.1)
    assert steps == [1, 2, 4]


def test_a_call_at_the_old_width_is_no_lift() -> None:
    """It is judged as any other: throttled at a level that was let in is a rate."""
    full = _walled(8)
    full.width.start(1.0, 8, 1.0, is_pressed=True)
    assert full.width.current == 9
    assert not full.width.refuse(8, 0, is_throttled=True)


@pytest.mark.parametrize("is_throttled", [True, False])
def test_only_a_wall_of_too_many_requests_may_be_a_rate(is_throttled: bool) -> None:
    """A try of it falls between other starts. One of refused connections is tried when somebody wants to, whatever was found before."""
    full = _walled(8)
    if not is_throttled:
        full.width.refuse(9, 0, is_throttled=False)
        full.width.refuse(9, 0, is_throttled=False)
        full.width.accept(8, 0, 0.1)
        full.budget.earn(10_000)
    width = full.width.current or 0
    full.width.start(1.0, width, 1.0, is_pressed=True)
    assert full.width.current == width + 1
    assert [full.width.is_over_wall(in_flight) for in_flight in (width - 1, width)] == [False, is_throttled]


def test_two_are_the_first_that_can_be_too_many() -> None:
    """One is left, and that wall is tried by a lift as any other."""
    full = _walled(1)
    assert full.run(6) == [(1, 1), (2, 1), (1, 1), (2, 1), (1, 2)]


def test_after_a_gentle_return_the_experiments_go_on() -> None:
    """One more for each call that was let in, and the first trial when the width is reached."""
    full = Full(4, seconds=_gaining(0.0))
    full.width.reopen(is_gentle=True)
    assert full.run(20) == [(1, 1), (2, 1), (3, 1), (4, 1), (3, 16)]
    two = Full(2)
    two.width.reopen(is_gentle=True)
    assert two.width.current == 1


def test_a_call_without_a_trial_belongs_to_none() -> None:
    """Neither before one, nor when one was given up for want of demand."""
    width = Width(Budget(), None, is_sought=True)
    assert width.start(0.0, 1, 0.0, is_pressed=False) == 0
    for level in range(1, 5):
        width.accept(level, 0, 0.1)
    assert {width.start(0.0, 0, 0.0, is_pressed=False) for _ in range(18)} == {0}
