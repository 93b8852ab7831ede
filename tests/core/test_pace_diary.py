"""The pace, number by number, in scenes that show its rules: starts a second after each opening, as the law has them today.

A change of a number here is a change of the law: then its worlds are played anew (benchmarks/limits).
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from holdgate.core.pace import LearnedPace


class Diary:
    """A pace, and what becomes of it. It is under pressure unless a scene says otherwise."""

    def __init__(self) -> None:
        self.pace = LearnedPace()
        self.now = 0.0
        self.rates: list[float | None] = []

    def burst(self, count: int, every: float) -> Diary:
        """Start so many, whatever the pace says."""
        for _ in range(count):
            self.pace.start(self.now, 1, is_pressed=True)
            self.now += every
        return self

    def run(self, seconds: float, *, weight: int = 1) -> int:
        """Start whenever it may. Returns how often it did."""
        end, starts = self.now + seconds, 0
        self.now = max(self.now, self.pace.next_at())
        while self.now < end:
            self.pace.start(self.now, weight, is_pressed=True)
            starts += 1
            self.now = max(self.now, self.pace.next_at())
        return starts

    def climb_to(self, rate: float) -> Diary:
        while self.rate < rate:
            self.run(0.1)
        return self

    def refuse(self, shut_for: float, calls: int = 1) -> Diary:
        """Refuse so many, and let in the asking call after so many seconds."""
        for _ in range(calls):
            self.pace.start(self.now, 1, is_pressed=True)
            self.pace.refuse(1)
        self.now += shut_for
        self.pace.start(self.now, 1, is_pressed=True)
        self.pace.reopen(self.now, shut_for, self.now)
        self.rates.append(self.pace.rate)
        return self

    @property
    def rate(self) -> float:
        assert self.pace.rate is not None
        return self.pace.rate

    def found(self, rate: float) -> Diary:
        """Let it measure that rate twice."""
        for _ in range(2):
            self.burst(11, 1 / rate)
            self.pace.start(self.now, 1, is_pressed=True)
            self.pace.reopen(self.now, 0.2, self.now)
        return self


def _same(rates: Sequence[float | None], expected: Sequence[float | None]) -> bool:
    return list(rates) == [None if each is None else pytest.approx(each, rel=1e-6) for each in expected]


def _one(diary: Diary) -> Diary:
    """One start more, when it is due."""
    diary.now = max(diary.now, diary.pace.next_at())
    diary.pace.start(diary.now, 1, is_pressed=True)
    diary.now = max(diary.now, diary.pace.next_at())
    return diary


def _starts_to_ramp(diary: Diary) -> int:
    before, count = diary.pace.experiments, 0
    while diary.pace.experiments == before:
        _one(diary)
        count += 1
    return count


# -- while nothing is refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "rate"),
    [(0.1, 0.16353392), (1.0, 1.0686214), (1.9, 1.9460848), (2.1, 2.1804800), (4.0, 4.0869909), (10.0, 10.115046), (30.0, 30.094638)],
)
def test_it_climbs(found: float, rate: float) -> None:
    """Twenty starts without a refusal: the less one has the more, up to two a second, and above that with the pace."""
    diary = Diary().found(found)
    for _ in range(20):
        _one(diary)
    assert diary.rate == pytest.approx(rate, rel=1e-6)


def test_two_a_second_are_few() -> None:
    """Only above that a pace climbs by its root as well."""
    diary = Diary()
    diary.pace.restore(0.0, 2.0)
    diary.pace._age = -100.0
    diary.pace._started = 20  # of these calls none was refused
    _one(diary)
    _one(diary)
    assert diary.rate == pytest.approx(2.0 + 0.5 * 0.005, rel=1e-5)


@pytest.mark.parametrize(
    ("found", "starts", "rates"),
    [
        (0.5, 508, [2.0067069, 2.0393626, 2.0780253, 2.1183556, 2.1606262, 2.2051347]),
        (10.0, 200, [11.047956, 11.186228, 11.364665, 11.595431, 11.89315, 12.274645]),
        (100.0, 796, [104.91305, 106.29423, 108.0925, 110.44082, 113.49984, 117.45419]),
    ],
)
def test_it_ramps(found: float, starts: int, rates: list[float]) -> None:
    """After 200 calls, by what the pace was then, and after eight seconds at least. The steps double each second or each four calls."""
    diary, count = Diary().found(found), 0
    before = diary.pace.experiments
    while diary.pace.experiments == before:
        _one(diary)
        count += 1
    seen = []
    for _ in range(6):
        for _ in range(max(4, int(found // 2))):
            _one(diary)
        seen.append(diary.rate)
    assert count == starts
    assert _same(seen, rates)


def test_a_ramp_has_an_end() -> None:
    """A billion times the pace is no limit, and no number is too large."""
    diary = Diary().found(10.0)
    diary.pace._age = 1e6
    _one(diary)
    assert diary.rate == pytest.approx(10.0 * 0.02 * 2**30, rel=0.02)


# -- refused --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "rate"), [(0.1, 0.10074937), (1.0, 0.77898367), (1.9, 1.4423302), (2.1, 1.6083686), (4.0, 2.9390244), (10.0, 10.040767)]
)
def test_it_yields(found: float, rate: float) -> None:
    """A quarter up to two a second, less above. Ten calls in a second are too few to yield after what a shut has brought back."""
    diary = Diary().found(found)
    diary.run(10 / found)
    assert _same(diary.refuse(0.25).rates, [rate])


def test_its_ramps_are_refused() -> None:
    """At 1.3 times the pace, at 1.8 times, which may be a burst, three times on end, and at four times, which is another service."""
    diary = Diary().found(10.0)
    for reached in (13, 18, 18, 18, 50):
        diary.climb_to(reached).refuse(0.25)
    diary.run(3.0)
    diary.refuse(0.25, calls=3)
    assert _same(diary.rates, [10.814637, 11.086238, 11.386075, 11.793196, 28.947281, 26.5672])


def test_a_ramp_that_doubled_by_a_few_calls_shows_no_other_service() -> None:
    """Under two a second it takes a dozen calls to four times as much, and others may have left those. Its pace grows by a little."""
    diary = Diary().found(1.7).climb_to(6.0)
    assert _same(diary.refuse(0.25).rates, [2.4934668])
    assert diary.pace.base == diary.rate


@pytest.mark.parametrize(("found", "reached", "is_other"), [(3.0, 17.5, True), (8.0, 25.0, False), (40.0, 72.0, False)])
def test_a_ramp_shows_another_service(found: float, reached: float, is_other: bool) -> None:
    """By four times the pace and 25.4 calls over it. Three times with 24.6 are too few, and 1.7 times is no doubling, however many."""
    diary = Diary().found(found).climb_to(reached).refuse(0.25)
    assert (diary.pace.base is None) is is_other


def test_what_was_excused_is_no_part_of_a_ramp() -> None:
    """Half of these calls were refused by chance, so they do not show that the other half was let in beyond a burst."""
    diary = Diary().found(10.0).climb_to(20.0)
    for _ in range(5):
        diary.burst(10, 0.05)
        diary.pace.excuse(10)
    diary.refuse(0.25)
    assert diary.pace.base == diary.rate


def test_a_first_guess_falls_by_half_at_most() -> None:
    """One call was let in, and the next one asked in vain for fourteen seconds: by that alone a pace of one in sixteen seconds."""
    diary = Diary().burst(1, 1.0).refuse(2.0).burst(1, 2.0).refuse(14.0)
    assert _same(diary.rates, [0.5, 0.29148332])


@pytest.mark.parametrize(("let_in", "rate"), [(2, 6.1712929), (3, 7.2814538), (4, 8.1485822), (5, 8.8442421), (6, 8.909823)])
def test_few_calls_between_two_refusals(let_in: int, rate: float) -> None:
    """What is measured counts, and not less than half of the pace."""
    assert _same(Diary().found(10.0).refuse(0.25).burst(let_in, 0.1).refuse(0.25).rates, [9.991225, rate])


@pytest.mark.parametrize(
    ("let_in", "rate"),
    [(5, 4.3217483), (9, 4.4136684), (29, 4.4198529), (40, 5.6692385), (50, 7.1685715), (60, 8.6777427), (63, 9.1320368), (65, 9.3134768)],
)
def test_it_has_fallen(let_in: int, rate: float) -> None:
    """So many calls were let in ten seconds. Under six parts of ten it goes there, but not to less than a half."""
    assert _same(Diary().found(10.0).refuse(0.25).burst(let_in, 10 / let_in).refuse(0.1).rates, [9.991225, rate])


# -- shut for long --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "rates"),
    [
        (4.9, [8.998968, 10.899316, 25.451415]),
        (5.0, [9.344843, 11.630321, 10.114591]),
        (12.0, [8.558617, 11.630321, 30.049986]),
        (30.0, [5.4116356, 11.630321, 30.049986]),
        (90.0, [5.2449689, 11.630321, 30.049986]),
        (90.5, [10.440007, 11.159227, 11.286029]),
        (1200.0, [10.440007, 11.159227, 11.286029]),
    ],
)
def test_it_was_shut(seconds: float, rates: list[float]) -> None:
    """At its pace, in a ramp that had come to 1.6 times as much, and in one at four times as much."""
    plain = Diary().found(10.0)
    plain.run(10.0)
    diaries = plain, Diary().found(10.0).climb_to(16.0), Diary().found(10.0).climb_to(40.0)
    assert _same([rate for diary in diaries for rate in diary.refuse(seconds).rates], rates)


# -- the first openings ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("let_in", "seconds", "first", "then"),
    [
        (1, 0.25, 4.0, 13.820954),  # nothing was let in: a short shut is a guess
        (1, 2.0, 0.5, 5.5044742),
        (1, 2.1, None, 17.108571),  # a longer one is none
        (2, 0.25, 4.4355556, 9.7105569),
        (5, 0.25, 6.6533333, 10.130573),
        (6, 0.25, 7.0447059, 10.171779),  # too few: measured on
        (7, 0.25, 3.5223529, 13.423847),  # enough, with a burst of a second in it
        (7, 2.0, 2.2177778, 11.759447),
        (12, 4.9, 1.7996721, 10.910708),
        (12, 5.0, 1.7706452, 4.1964261),  # a window, or a ban
        (12, 30.0, 0.35185897, 1.1986002),
        (5, 100.0, None, 0.33912621),  # a quota
        (6, 100.0, 5.8333333, 6.6194495),  # a ban
        (30, 100.0, 5.1666667, 5.9646682),
    ],
)
def test_it_begins(let_in: int, seconds: float, first: float | None, then: float) -> None:
    """So many calls, a tenth of a second apart, and a shut of so many seconds. Then it starts up to its ramp, and thirty are let in."""
    diary = Diary().burst(let_in, 0.1).refuse(seconds)
    before = diary.pace.experiments
    for _ in range(400):
        if diary.pace.rate is None or diary.pace.experiments > before:
            break
        _one(diary)
    diary.burst(30, 0.05).refuse(0.25)
    assert _same(diary.rates, [first, then])


def test_refusals_before_anything_was_known_are_no_border() -> None:
    """A guess was measured on, and its ramp banned. What it had reached at the first of all refusals is not known, so it stays."""
    diary = Diary().burst(3, 2.0).refuse(0.5).climb_to(1.5 * 0.46061538).refuse(60.0)
    assert _same(diary.rates, [0.46061538, 0.59468501])
    assert _starts_to_ramp(diary) == 635


def test_what_was_excused_was_not_let_in() -> None:
    """It is counted from the first start on, also if that was refused by chance; and so many less were let in."""
    first = Diary().burst(1, 5.0)
    first.pace.excuse(1)
    assert _same(first.burst(12, 0.1).refuse(0.25).rates, [1.5247222])
    some = Diary().burst(10, 0.1)
    some.pace.excuse(5)
    assert _same(some.burst(10, 0.1).refuse(0.25).rates, [4.6573333])


def test_bans_before_anything_is_known() -> None:
    """Half of what was let in, a quarter, an eighth; and what is let in then is measured as at first."""
    diary = Diary().burst(20, 0.01).refuse(100.0).burst(10, 0.01).refuse(100.0).burst(10, 0.01).refuse(100.0)
    assert _starts_to_ramp(diary) == 208
    diary.burst(30, 0.05).refuse(0.25)
    assert _same(diary.rates, [52.5, 26.262878, 13.137756, 13.304803])


def test_ramps_that_came_far() -> None:
    """Twice in a row to 1.8 times the pace: then the third is measured, and the fourth is the first of two again."""
    diary = Diary().found(10.0)
    for _ in range(5):
        diary.climb_to(1.8 * diary.pace._base).refuse(0.25)
    assert _same(diary.rates, [10.123358, 10.239471, 11.815841, 11.808795, 11.801987])


# -- and what it cost -----------------------------------------------------------------------------------------------------------------


def test_a_ban_is_paid_for() -> None:
    """Twenty times as long as it has lasted, at half of the pace and with half of the climb, before the next ramp."""
    diary = Diary().found(10.0)
    diary.run(10.0)
    diary.refuse(30.0)
    assert _starts_to_ramp(diary) == 4079
    assert diary.rate == pytest.approx(8.9282749, rel=1e-6)


def test_a_shut_that_a_burst_explains_has_cost_nothing() -> None:
    """A ramp had used up more than was missed in it, so the next one comes after eight seconds as always."""
    diary = Diary().found(100.0).climb_to(1000.0).refuse(5.0)
    assert _same(diary.rates, [719.25031])
    assert _starts_to_ramp(diary) == 5871


def test_a_ramp_that_lets_in_more_for_long_shows_a_faster_service() -> None:
    """Half as much again as its pace was let in, the shut counted, and that was no burst."""
    assert _same(Diary().found(10.0).climb_to(200.0).refuse(8.0).rates, [149.84924])


def test_what_was_paid_for_is_no_guess() -> None:
    """The next refusal at the pace yields as any other, and measures nothing."""
    diary = Diary().found(10.0)
    diary.run(10.0)
    assert _same(diary.refuse(12.0).burst(62, 0.16).refuse(0.25).rates, [8.558617, 7.7115548])


def test_refusals_by_chance_at_the_pace_put_no_ramp_off() -> None:
    """They are no price of a ramp."""
    diary = Diary().found(10.0)
    diary.run(3.0)
    for _ in range(6):
        diary.pace.excuse(1)
    diary.run(2.0)
    diary.refuse(0.25)
    assert _starts_to_ramp(diary) == 211


def test_one_an_hour_is_the_slowest() -> None:
    """Three calls in six hours are taken for that."""
    assert Diary().burst(3, 7200.0).refuse(1.0).rates == [1 / 3600]


# -- time that teaches nothing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "climbs"), [(95.0, True), (105.0, False)])
def test_ten_intervals_without_a_start_are_sleep(seconds: float, climbs: bool) -> None:
    """At one in ten seconds these are a hundred seconds."""
    diary = _one(Diary().found(0.1))
    before = diary.rate
    diary.pace.start(diary.pace._last + seconds, 1, is_pressed=True)
    assert (diary.rate > before) is climbs


@pytest.mark.parametrize(("late", "climbs"), [(0.5, True), (1.5, False)])
def test_a_call_that_did_not_wait_teaches_something_if_it_is_hardly_late(late: float, climbs: bool) -> None:
    """By less than an interval of the pace."""
    diary = _one(Diary().found(1.0))
    before = diary.rate
    diary.pace.start(diary.pace.next_at() + late, 1, is_pressed=False)
    assert (diary.rate > before) is climbs


def test_a_fifth_of_a_measurement_may_be_idle() -> None:
    """Nearly a second of four had no demand: what was let in is of the other three."""
    diary = Diary().burst(12, 0.1).refuse(0.25).burst(10, 0.2)
    diary.now += 0.7
    diary.pace.start(diary.now, 1, is_pressed=False)
    assert _same(diary.burst(10, 0.2).refuse(0.25).rates, [4.99, 5.1352059])


def test_an_opening_in_the_moment_of_the_last_says_nothing() -> None:
    """No time has passed in which calls could be let in."""
    diary = Diary()
    diary.pace.restore(5.0, 2.0)
    diary.pace.reopen(5.0, 0.2, 5.0)
    assert diary.rate == 2.0


def test_it_goes_back_to_a_pace() -> None:
    """Also from none, however small; and where it is already, it stays, and does not look for more."""
    unknown = LearnedPace()
    unknown.restore(5.0, 0.5)
    assert unknown.rate == 0.5
    diary = Diary().found(10.0)
    before = diary.rate
    diary.pace.restore(diary.now, before)
    _one(_one(diary))
    assert before < diary.rate < 1.01 * before


# -- alone in front of a bucket -------------------------------------------------------------------------------------------------------


class _Bucket:
    """Tokens that come back at a rate, up to a burst."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = self._tokens = burst
        self._at = 0.0

    def lets_in(self, diary: Diary) -> bool:
        """Have a call started, and take its token."""
        diary.pace.start(diary.now, 1, is_pressed=True)
        self._tokens, self._at = min(self._burst, self._tokens + (diary.now - self._at) * self._rate), diary.now
        has_token = self._tokens >= 1
        self._tokens -= has_token
        return has_token


@pytest.mark.parametrize(
    ("rate", "burst", "rates"),
    [
        (0.2, 1, [None, 0.12860825, 0.13875507, 0.15739482, 0.15683511, 0.19693262, 0.19693262]),
        (1.0, 1, [0.57142857, 0.65881018, 0.75441925, 0.75584426, 0.97040389, 0.97040389, 0.97040389]),
        (2.0, 20, [15.801667, 7.9332847, 3.9731633, 2.2764746, 1.8368642, 1.7922128, 1.8731436, 1.997644]),
        (10.0, 10, [8.1654545, 9.653878, 9.4560574, 10.288159, 10.00476, 10.00476, 10.00476]),
    ],
)
def test_alone_it_finds_the_limit_and_stays(rate: float, burst: float, rates: list[float | None]) -> None:
    """A little under it without a burst, and at it with one. From then on its ramps are refused, and change nothing."""
    diary, bucket = Diary(), _Bucket(rate, burst)
    while len(diary.rates) < len(rates):
        diary.now = max(diary.now, diary.pace.next_at())
        if not bucket.lets_in(diary):
            began, wait = diary.now, 0.25
            diary.pace.refuse(1)
            diary.now += wait
            while not bucket.lets_in(diary):
                diary.pace.refuse(1)
                wait *= 2
                diary.now += wait
            diary.pace.reopen(diary.now, diary.now - began, diary.now)
            diary.rates.append(diary.pace.rate)
        if diary.pace.rate is None:
            diary.now += 0.01
    assert _same(diary.rates, rates)
