"""The width: walls, chance, and what a trial changes."""

from __future__ import annotations

import pytest

from holdgate.core.experiments import Budget
from holdgate.core.width import Width
from holdgate.core.width_trial import Trial


def _width(level: int, most: int | None = None) -> Width:
    """A width that has grown to a level by calls that were let in."""
    width = Width(Budget(), most, is_sought=False)
    width.seek(level)
    for each in range(1, level + 1):
        width.accept(each, 0, 0.1)
    return width


def test_nothing_limits_what_is_not_sought() -> None:
    """In the cheap form only the user's number limits, until something is refused."""
    assert Width(Budget(), None, is_sought=False).room(1000) is None
    assert Width(Budget(), 8, is_sought=False).room(5) == 3
    unsought = Width(Budget(), None, is_sought=False)
    unsought.reopen(is_gentle=True)
    assert unsought.current is None


def test_it_grows_by_one_for_each_call_that_was_let_in() -> None:
    """From one in flight, and never over the user's number."""
    width = Width(Budget(), 2, is_sought=True)
    assert width.current == 1
    for level in (1, 2, 2, 2):
        width.accept(level, 0, 0.1)
    assert width.current == 2


def test_a_refusal_above_all_that_was_let_in_is_a_wall() -> None:
    """At nine in flight it was refused and at eight never: eight it is, and the next call starts alone."""
    width = _width(8)
    assert width.refuse(9, 0, is_throttled=True)
    assert width.current == 8
    assert width.is_careful
    width.accept(8, 0, 0.1)
    assert not width.is_careful


def test_throttled_at_a_level_that_was_let_in_is_a_rate() -> None:
    """That is no matter of width, and the width stays."""
    width = _width(8)
    assert not width.refuse(5, 0, is_throttled=True)
    assert width.current == 8


def test_throttled_alone_is_a_rate() -> None:
    """No cap refuses the only call."""
    assert not Width(Budget(), None, is_sought=True).refuse(1, 0, is_throttled=True)


def test_a_failure_now_and_then_is_chance() -> None:
    """One in fifty does not make a dependency narrower."""
    width = _width(8)
    for _ in range(20):
        for _ in range(50):
            width.accept(8, 0, 0.1)
        assert width.refuse(8, 0, is_throttled=False)
    assert width.current == 8


def test_a_cap_that_fell_is_followed_in_a_few_steps() -> None:
    """The first failure may be chance, the second takes one, and each more takes half."""
    width, seen = _width(20), []
    for level in (20, 20, 19, 9):
        width.refuse(level, 0, is_throttled=False)
        seen.append(width.current)
    assert seen == [20, 19, 9, 4]


@pytest.mark.parametrize(
    ("passed", "level", "width"),
    [(20, 5, 19), (0, 15, 14), (0, 1, 1), (10, 15, 14), (10, 10, 19)],
)
def test_the_level_of_a_failure_counts_only_above_what_was_let_in(passed: int, level: int, width: int) -> None:
    """There it shows a cap. Below, few happened to be in flight, and the width is what is cut."""
    found = Width(Budget(), None, is_sought=False)
    found.seek(20)
    if passed:
        found.accept(passed, 0, 0.1)
    for _ in range(2):
        found.refuse(level, 0, is_throttled=False)
    assert found.current == width


def test_one_call_let_in_between_two_cuts_saves_half_of_the_width() -> None:
    """The second cut takes one, as the first."""
    width = _width(20)
    for _ in range(2):
        width.refuse(20, 0, is_throttled=False)
    width.accept(19, 0, 0.1)
    width.refuse(19, 0, is_throttled=False)
    assert width.current == 18


@pytest.mark.parametrize(("between", "width"), [(9, 19), (10, 20)])
def test_ten_calls_between_two_failures_make_them_chance(between: int, width: int) -> None:
    """With nine they are too close to each other."""
    found = _width(20)
    found.refuse(20, 0, is_throttled=False)
    for _ in range(between):
        found.accept(20, 0, 0.1)
    found.refuse(20, 0, is_throttled=False)
    assert found.current == width


def test_two_are_the_fewest_that_can_be_too_many() -> None:
    """One was let in, the second was refused: that is a wall, and one is left."""
    width = _width(1)
    assert width.refuse(2, 0, is_throttled=True)
    assert width.current == 1


def test_what_was_no_matter_of_width_is_taken_back() -> None:
    """The dependency was down: the width before that is the width after it."""
    width = _width(20)
    for level in (20, 20, 10):
        width.refuse(level, 0, is_throttled=False)
    width.restore()
    assert width.current == 20
    assert not width.is_careful
    width.restore()
    assert width.current == 20
    width.refuse(20, 0, is_throttled=False)
    assert width.current == 20  # the next failure is the first again


def test_without_a_refusal_there_is_nothing_to_take_back() -> None:
    """The width and the wish to go carefully are as they were."""
    width = Width(Budget(), None, is_sought=True)
    assert not width.is_careful
    width.seek(20)
    width.restore()
    assert width.current == 20


def test_old_news_may_lower_the_wall_and_nothing_else() -> None:
    """Of calls that began together the lowest that was refused counts."""
    width = _width(8)
    width.lower(5)
    width.refuse(16, 0, is_throttled=True)
    width.lower(8)
    assert width.current == 8
    width.lower(12)
    assert width.current == 8
    width.lower(10)
    assert width.refuse(9, 0, is_throttled=True)
    assert width.current == 8


def test_old_news_is_no_wall() -> None:
    """Where none was refused before, a call from before the last decision sets none."""
    width = Width(Budget(), None, is_sought=False)
    width.seek(20)
    width.lower(15)
    assert width.current == 20


def test_after_a_long_shut_it_comes_back_one_by_one() -> None:
    """From one in flight, one more for each call that is let in."""
    width = _width(4)
    width.reopen(is_gentle=True)
    seen = []
    for _ in range(4):
        seen.append(width.current)
        width.accept(1, 0, 0.1)
    assert seen == [1, 2, 3, 4]


def test_one_in_flight_is_no_less_after_a_long_shut() -> None:
    """It grows as it would have."""
    width = Width(Budget(), None, is_sought=True)
    width.reopen(is_gentle=True)
    width.accept(1, 0, 0.1)
    assert width.current == 2


def _pressed_at_wall() -> Width:
    """A cap of eight, and enough saved up to see whether it still stands."""
    budget = Budget()
    budget.earn(10_000)
    width = Width(budget, None, is_sought=False)
    width.seek(8)
    for level in (*range(1, 9), 8):
        width.accept(level, 0, 0.1)
    width.refuse(9, 0, is_throttled=True)
    width.accept(8, 0, 0.1)
    width.start(1.0, 8, 1.0, is_pressed=True)
    return width


def test_a_wall_is_tried_by_one_call() -> None:
    """It still stands: back to eight, and nothing else changes."""
    width = _pressed_at_wall()
    assert width.current == 9
    assert width.refuse(9, 0, is_throttled=True)
    assert width.current == 8
    assert not width.is_careful


def test_a_wall_that_fell_is_left_behind() -> None:
    """Ten calls above it were let in: it is none any more, and the next step is twice as large."""
    width = _pressed_at_wall()
    for _ in range(10):
        width.accept(9, 0, 0.1)
    assert width.current == 9


def test_a_trial_that_nobody_fills_ends() -> None:
    """Without demand the width is not full, and a round that waits for that would wait for ever."""
    width = Width(Budget(), None, is_sought=True)
    for level in range(1, 5):
        width.accept(level, 0, 0.1)
    for _ in range(200):
        width.start(1.0, 1, 1.0, is_pressed=False)
    assert width.current == 4


def test_a_call_of_a_trial_that_failed_by_chance_is_not_waited_for() -> None:
    """The round ends without it, and the width doubles as if it had not been."""
    width = Width(Budget(), None, is_sought=True)
    for level in range(1, 5):
        width.accept(level, 0, 0.1)
    arms = [width.start(1.0, 4, 1.0, is_pressed=False) for _ in range(8)]
    assert arms == [1] * 8
    width.refuse(4, 1, is_throttled=False)
    for arm in arms[1:]:
        width.accept(4, arm, 0.1)
    width.accept(4, 0, 0.1)
    assert width.current == 5


def test_no_experiment_goes_over_the_users_number() -> None:
    """At the user's number there is nothing wider to try."""
    width = Width(Budget(), 4, is_sought=False)
    width.seek(4)
    for level in (1, 2, 3, 4, 4):
        width.accept(level, 0, 0.1)
    width.refuse(9, 0, is_throttled=True)
    for _ in range(12):
        width.accept(4, 0, 0.1)
    width.start(1.0, 4, 1.0, is_pressed=True)
    assert width.current in {3, 4}


def _poor(level: int) -> Width:
    """The same, with nothing saved up for an experiment."""
    width = _width(level)
    width._budget.spend(1000)
    width._budget.lose(1000)
    return width


def _known_to_fail_by_chance(failures: int = 8) -> Width:
    """Forty in flight, of which one call in twenty has failed for a while, and nothing is saved up for an experiment."""
    width = _poor(40)
    for _ in range(failures):
        for _ in range(19):
            width.accept(40, 0, 0.1)
        width.refuse(40, 0, is_throttled=False)
    return width


def test_two_failures_together_prove_nothing_where_failures_are_known() -> None:
    """One call in twenty fails, so two are close to each other all the time."""
    width = _known_to_fail_by_chance()
    for _ in range(3):
        width.accept(40, 0, 0.1)
    width.refuse(40, 0, is_throttled=False)
    assert width.current == 40
    assert not width.is_careful


@pytest.mark.parametrize(("failures", "width"), [(3, 39), (4, 40)])
def test_failures_by_chance_are_known_with_the_fifth(failures: int, width: int) -> None:
    """Two that are close to each other are a cap before that."""
    found = _known_to_fail_by_chance(failures)
    for _ in range(20):
        found.accept(40, 0, 0.1)
    for _ in range(2):
        found.refuse(40, 0, is_throttled=False)
    assert found.current == width


def test_failures_by_chance_are_forgotten_in_a_thousand_calls() -> None:
    """Then two that are close to each other are a cap again."""
    width = _known_to_fail_by_chance()
    for _ in range(1000):
        width.accept(40, 0, 0.1)
    for _ in range(2):
        width.refuse(40, 0, is_throttled=False)
    assert width.current == 39


@pytest.mark.parametrize(("results", "width"), [("xxx..x", 39), ("xxx.....x", 40), ("xxxxx" + "." * 27 + "xxx", 0)])
def test_calls_between_failures_weigh_against_a_cap(results: str, width: int) -> None:
    """Each a sixth of a failure, and 27 of them are enough to forget any number of failures: four more it takes, then."""
    found = _known_to_fail_by_chance()
    for _ in range(30):
        found.accept(40, 0, 0.1)
    for at, result in enumerate(results):
        before = found.current or 0
        if result == "x":
            found.refuse(before, 0, is_throttled=False)
        else:
            found.accept(before, 0, 0.1)
        if width or at >= len(results) - 3:
            assert found.current == before or at == len(results) - 1
    assert found.current == (width or before)


def test_a_cap_is_found_among_failures_by_chance() -> None:
    """Four with hardly a call between them are no chance."""
    width = _known_to_fail_by_chance()
    seen: list[int | None] = []
    for _ in range(20):
        width.accept(40, 0, 0.1)
    for _ in range(4):
        width.refuse(40, 0, is_throttled=False)
        seen.append(width.current)
    assert seen == [40, 40, 40, 39]
    assert width.is_careful


def _cut_by_chance() -> Width:
    """The same, narrowed by one; the next call presses for more, although nothing is saved up for a refusal."""
    width = _known_to_fail_by_chance()
    for _ in range(4):
        width.refuse(40, 0, is_throttled=False)
    width.accept(39, 0, 0.1)
    width.start(1.0, 39, 1.0, is_pressed=True)
    return width


def test_what_chance_has_cut_is_regained_for_nothing() -> None:
    """The wall is tried immediately and not after hundreds of calls, and ten calls later the width is what it was before the cut."""
    width = _cut_by_chance()
    assert width.current == 40
    for _ in range(10):
        width.accept(40, 0, 0.1)
    assert width.current == 40


def test_one_failure_of_a_lift_is_chance_and_two_are_a_cap() -> None:
    """Ten lifted calls fail once in two times where one call in twenty does."""
    width = _cut_by_chance()
    width.refuse(40, 0, is_throttled=False)
    assert width.current == 40
    width.refuse(40, 0, is_throttled=False)
    assert width.current == 39
    width.start(2.0, 39, 2.0, is_pressed=True)
    assert (width.current or 0) <= 39


def test_a_lift_that_is_throttled_is_no_chance() -> None:
    """That failures come by chance excuses no "too many requests"."""
    width = _cut_by_chance()
    assert width.current == 40
    width.refuse(40, 0, is_throttled=True)
    assert width.current == 39


def test_what_was_cut_for_a_cap_is_not_regained_for_nothing() -> None:
    """No failure was by chance before, and a lift costs what every lift costs."""
    width = _poor(40)
    for _ in range(2):
        width.refuse(40, 0, is_throttled=False)
    width.accept(39, 0, 0.1)
    width.start(1.0, 39, 1.0, is_pressed=True)
    assert width.current == 39


def _cut_deep() -> Width:
    """Of forty calls in flight many failed on end, for a second or two: nothing is saved up, and nine are left."""
    width = _poor(40)
    for _ in range(4):
        width.refuse(width.current or 0, 0, is_throttled=False)
    return width


def _pressed(width: Width) -> int | None:
    level = width.current or 0
    width.start(1.0, level, 1.0, is_pressed=True)
    return width.current


def test_a_width_that_was_cut_deep_goes_back_when_the_failures_have_ended() -> None:
    """One of four servers has restarted. Ten calls later one more is tried, and ten of those later it grows to what it was, and no more."""
    width = _cut_deep()
    assert width.current == 9
    for _ in range(9):
        width.accept(9, 0, 0.1)
        assert _pressed(width) == 9
    width.accept(9, 0, 0.1)
    assert _pressed(width) == 10
    for _ in range(10):
        width.accept(10, 0, 0.1)
    for _ in range(100):
        width.accept(width.current or 0, 0, 0.1)
    assert width.current == 40
    assert _pressed(width) in {35, 40}  # a trial


def test_a_cut_that_was_a_cap_costs_one_refusal_more() -> None:
    """Then nothing is regained: what goes up is paid for as usual."""
    width = _cut_deep()
    for _ in range(10):
        width.accept(9, 0, 0.1)
    assert _pressed(width) == 10
    width.refuse(10, 0, is_throttled=False)
    assert width.current == 9
    for _ in range(10):
        width.accept(9, 0, 0.1)
    assert _pressed(width) == 9


def test_while_failures_go_on_nothing_that_was_saved_up_is_spent_on_a_lift() -> None:
    """It would be refused, and what was cut would not come back for minutes."""
    width = _cut_deep()
    width._budget.earn(1000)
    width.accept(9, 0, 0.1)
    assert _pressed(width) == 9


def test_what_was_cut_for_calls_that_were_given_up_is_not_regained() -> None:
    """They stood in a queue, which refuses nothing: to be back at the old width would be to stand in it again."""
    width = _poor(40)
    for _ in range(4):
        width.refuse(width.current or 0, 0, is_throttled=False, is_slow=True)
    narrow = width.current or 0
    assert narrow < 10
    for _ in range(10):
        width.accept(narrow, 0, 0.1)
    assert _pressed(width) == narrow


def _regained() -> Width:
    """Cut by chance to 39, and back at forty."""
    width = _cut_by_chance()
    for _ in range(10):
        width.accept(40, 0, 0.1)
    return width


def test_what_is_regained_goes_no_further_than_it_was() -> None:
    """The step has doubled since the last cut, and one is missing."""
    width = _regained()
    for _ in range(4):
        width.refuse(40, 0, is_throttled=False)
    assert width.current == 39
    width.accept(39, 0, 0.1)
    width.start(2.0, 39, 2.0, is_pressed=True)
    assert width.current == 40


@pytest.mark.parametrize(("saved", "width"), [(0, 40), (1000, 42)])
def test_a_later_wall_is_tried_for_its_price(saved: int, width: int) -> None:
    """All of what was cut is regained, so what is tried now was never had, and by the whole step."""
    found = _regained()
    found.refuse(41, 0, is_throttled=True)
    found.accept(40, 0, 0.1)
    found._budget.earn(saved)
    found.start(2.0, 40, 2.0, is_pressed=True)
    assert found.current == width


def test_what_went_before_a_calm_is_not_taken_back() -> None:
    """A width from before the last ten calls is old news, if what follows turns out to be no matter of width."""
    width = _width(20)
    for level in (20, 20):
        width.refuse(level, 0, is_throttled=False)
    for _ in range(10):
        width.accept(19, 0, 0.1)
    width.refuse(19, 0, is_throttled=False)
    width.restore()
    assert width.current == 19


def test_trap_a_queue_that_times_out_loses_one_place_at_a_time() -> None:
    """Calls that were given up after longer than an answer takes stood in a queue: the second of them takes half of the width."""
    width, seen = _width(64), []
    for _ in range(4):
        width.refuse(width.current or 0, 0, is_throttled=False, is_slow=True)
        seen.append(width.current)
    assert seen == [64, 32, 16, 8]


def _after_trials(*gains: float) -> Width:
    """A width of twenty after trials of 17 and 23, of which the wider one got so much more done: 0 is nothing, 1 is all of it."""
    width = _width(20)
    width._growing = False
    for gained in gains:
        trial = Trial((17, 23, 23, 17), 1)
        slower = 0.1 * (23 / 17) ** (1 - gained)
        for arm, took in ((1, 0.1), (2, slower), (3, slower), (4, 0.1)):
            trial.end(arm, took)
        width._conclude(trial)
    return width


def test_trap_one_lucky_trial_doubles_the_width() -> None:
    """Of uneven calls that is a matter of luck, and twice what a queue can take is given up in it. So one trial makes one step."""
    lucky = _after_trials(1.0)
    assert lucky.current == 23
    lucky.accept(23, 0, 0.1)
    assert lucky.current == 23


def test_two_trials_that_get_all_of_it_done_begin_to_grow_again() -> None:
    """The dependency has grown. One between them that gets half of it done is a step of its own."""
    grown = _after_trials(1.0, 1.0)
    grown.accept(23, 0, 0.1)
    assert grown.current == 24
    half = _after_trials(1.0, 0.6, 1.0)
    half.accept(23, 0, 0.1)
    assert half.current == 23


def test_trap_more_than_all_of_it_is_luck() -> None:
    """A third more in flight cannot get half more done. Both halves may say so, where one call in five is slow, and it was luck twice."""
    assert _after_trials(1.2).current == 23
    lucky = _after_trials(1.4, 1.4)
    assert lucky.current == 20
    lucky.accept(20, 0, 0.1)
    assert lucky.current == 20


@pytest.mark.parametrize(("by_means", "goes_on"), [(0.35, False), (0.45, True)])
def test_doubling_goes_on_if_the_means_show_it_as_well(by_means: float, goes_on: bool) -> None:
    """Most calls are as quick as before, and a few so much slower that less is done than the deciles say."""
    width = _width(16)
    width._conclude_round([0.1] * 32)
    width._width = 32
    slow = 0.1 + 10 * 0.1 * (2 ** (1 - by_means) - 1)
    width._conclude_round([0.1] * 54 + [slow] * 6)
    assert width._growing is goes_on


def test_trap_one_slow_call_among_sixteen_ends_the_growth() -> None:
    """One call in twenty takes two seconds: none of the first eight did, and one of the next sixteen. The means of so few say nothing."""
    width = _width(4)
    width._conclude_round([0.01] * 8)
    width._width = 8
    width._conclude_round([0.01] * 15 + [2.0])
    assert width._growing


def test_a_call_of_a_trial_that_was_refused_by_chance_is_not_waited_for() -> None:
    """It says nothing of the width; without a trial there is nothing to drop."""
    width = Width(Budget(), None, is_sought=True)
    width.excuse(1)
    for level in range(1, 5):
        width.accept(level, 0, 0.1)
    arms = [width.start(1.0, 4, 1.0, is_pressed=False) for _ in range(8)]
    assert arms == [1] * 8
    width.excuse(1)
    for arm in arms[1:]:
        width.accept(4, arm, 0.1)
    width.accept(4, 0, 0.1)
    assert width.current == 5


def test_an_arm_without_a_single_answer_says_nothing() -> None:
    """All of its calls have failed by chance."""
    width = _width(20)
    width._growing = False
    trial = Trial((17, 23, 23, 17), 1)
    for arm in (1, 2, 3):
        trial.end(arm, 0.1)
    trial.drop(4)
    width._conclude(trial)
    assert width.current == 20


def test_trap_a_call_of_a_trial_that_was_broken_off_ends_in_the_next() -> None:
    """Two times a queue gave up breaks a trial off, and later the width grows. The calls of that trial are still in flight."""
    width = _width(20)
    width._growing = False
    width.reopen(is_gentle=False)
    width.start(1.0, 1, 1.0, is_pressed=True)
    old = [arm for at in range(2, 300) if (arm := width.start(at, width.current or 0, at, is_pressed=True))]
    assert max(old) == 5
    for _ in range(2):
        width.refuse(20, 0, is_throttled=False, is_slow=True)
    width._growing, width._grow_to = True, width.current or 0
    width.accept(width.current or 0, 0, 0.1)
    assert width.start(3.0, width.current or 0, 3.0, is_pressed=False) == 6
    for arm in old:
        width.accept(1, arm, 0.1)
    assert width._trial is not None
    assert width._trial.arms == [[]]
