"""How long a circuit stays open, and how carefully it resumes: the outage's age, relapses and levels."""

from __future__ import annotations

import pytest
from tests.core.driving import DOUBLING, FAILURE, FIRST_WAIT, SUCCESS, acquire, call, calls, half_opened, opened

from holdgate.core import Circuit, CircuitClosed, CircuitOpened, CircuitSettings, Limits, RampSettings, State
from holdgate.core.outages import Asked, Outage, level_raised, level_wait, middle_draw, opened_until

BY_LEVEL = CircuitSettings(open_duration=5.0, open_multiplier=2.0, open_duration_max=30.0, open_jitter=0.2)
BY_AGE = CircuitSettings(open_duration=4.0, open_share=0.1, open_duration_max=300.0, open_jitter=0.2)
STEADY = CircuitSettings(open_duration=4.0, open_jitter=0.0, ramp=RampSettings(full=1))


def wait(settings: CircuitSettings, outage: Outage, age: float, chance: float = 0.5) -> float:
    """The seconds that a circuit stays open after a quick probe that failed at this age."""
    return opened_until(settings, outage, Asked(age, age, chance)) - age


def recovered(circuit: Circuit, at: float) -> None:
    """Four good calls, which close a circuit whose full rate is one; a ramp that is slowed takes four seconds more at most."""
    calls(circuit, "SSSS", at)
    circuit.advance(at + 4.0)
    assert circuit.state is State.CLOSED


@pytest.mark.parametrize(("age", "seconds"), [(0.0, 4.0), (40.0, 4.0), (60.0, 6.0), (600.0, 60.0), (3000.0, 300.0), (21600.0, 300.0)])
def test_the_wait_follows_the_age_of_the_outage(age: float, seconds: float) -> None:
    """A tenth of it, at least the first wait and at most the longest."""
    assert wait(BY_AGE, Outage(since=0.0, level=1), age) == pytest.approx(seconds)


@pytest.mark.parametrize(("age", "seconds"), [(0.0, 20.0), (600.0, 20.0), (900.0, 30.0)])
def test_the_wait_after_a_silence_follows_the_age_from_ten_minutes_on(age: float, seconds: float) -> None:
    """A thirtieth of it, and twenty seconds before. The age is that of the outage, whatever the clock says."""
    asked = Asked(1000.0 + age - 5.0, 1000.0 + age, 0.5, is_silence=True)
    assert opened_until(STEADY, Outage(1000.0, 9, 1), asked) == pytest.approx(1000.0 + age + seconds)


def test_a_new_outage_has_no_level() -> None:
    """Nothing went wrong lately."""
    assert (Outage().level, Outage().probes, Outage().since) == (0, 0, None)


def test_a_long_outage_is_asked_seventy_times_in_its_first_hour() -> None:
    """Every 4 s, then at steps that grow by a tenth, then every five minutes; and twelve times in each hour after that."""
    circuit = opened(STEADY)
    asked: list[float] = []
    while (deadline := circuit.next_deadline()) is not None and deadline <= 7200.0:
        asked.append(deadline)
        call(circuit, FAILURE, deadline)
    assert len([at for at in asked if at <= 3600.0]) == 57
    assert len([at for at in asked if at > 3600.0]) == 12
    assert asked[:3] == [4.0, 8.0, 12.0]
    assert circuit.snapshot(7200.0).level == 1


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 4.0), (0.25, 4.5), (0.5, 5.0), (1.0, 6.0)])
def test_the_jitter_spreads_the_wait_both_ways(chance: float, seconds: float) -> None:
    """The factor is 1 - j + 2 j draw."""
    assert wait(BY_LEVEL, Outage(since=0.0, level=1), 0.0, chance) == pytest.approx(seconds)
    assert wait(BY_AGE, Outage(since=0.0, level=1), 100.0, chance) == pytest.approx(2 * seconds)


def test_the_cap_comes_after_the_jitter() -> None:
    """A wait is never longer than the maximum, and at the top the jitter can still shorten it."""
    assert wait(BY_LEVEL, Outage(since=0.0, level=4), 0.0, 0.99) == 30.0
    assert wait(BY_LEVEL, Outage(since=0.0, level=4), 0.0, 0.0) == 30.0  # 40 * 0.8 is still above
    assert wait(BY_LEVEL, Outage(since=0.0, level=3), 0.0, 0.99) == pytest.approx(23.92)
    assert wait(BY_AGE, Outage(since=0.0, level=1), 3000.0, 0.99) == 300.0
    assert wait(BY_AGE, Outage(since=0.0, level=1), 3000.0, 0.0) == pytest.approx(240.0)


def test_the_wait_begins_when_the_probe_was_sent() -> None:
    """A probe that hung for five seconds tells of the time before: what is left of the wait is at least a twentieth of it."""
    outage = Outage(since=0.0, level=1)
    assert opened_until(BY_AGE, outage, Asked(100.0, 105.0, 0.5)) == pytest.approx(110.0)
    assert opened_until(BY_AGE, outage, Asked(100.0, 109.9, 0.5)) == pytest.approx(110.4)
    assert opened_until(BY_AGE, outage, Asked(100.0, 400.0, 0.5)) == pytest.approx(400.5)


def test_with_a_multiplier_the_wait_begins_when_it_opens() -> None:
    """As it always did: the age and the time of the probe do not matter."""
    assert opened_until(BY_LEVEL, Outage(since=0.0, level=2), Asked(1000.0, 1005.0, 0.5)) == 1015.0


def test_a_probe_that_hangs_is_followed_soon() -> None:
    """In a circuit: sent at 3.5, given up at 8.5, and the next one may go 0.175 s later."""
    circuit = half_opened()
    call(circuit, FAILURE, FIRST_WAIT, took=5.0)
    assert circuit.next_deadline() == pytest.approx(8.5 + 0.05 * FIRST_WAIT)


def test_what_fails_after_a_good_probe_waits_from_then() -> None:
    """The dependency was well until then, so the probe's time says nothing."""
    circuit = half_opened()
    call(circuit, SUCCESS, FIRST_WAIT)
    calls(circuit, "FF", 5.0)
    assert (circuit.state, circuit.next_deadline()) == (State.OPEN, 5.0 + FIRST_WAIT)


def test_a_probe_after_one_that_decided_nothing_is_the_one_that_counts() -> None:
    """The first was given back; the wait begins with the second."""
    circuit = half_opened()
    circuit.release(acquire(circuit, 5.0), 5.0)
    call(circuit, FAILURE, 50.0)
    assert circuit.next_deadline() == pytest.approx(55.0)


def test_without_an_outage_the_wait_is_the_first_one() -> None:
    """Whatever the time: the age is none."""
    assert opened_until(BY_AGE, Outage(level=1), Asked(500.0, 500.0, 0.5)) == 504.0


def test_an_outage_soon_after_another_is_a_relapse() -> None:
    """Within a healthy interval of the close: the level rises, and with it the wait; later it is an outage like the first."""
    for pause, level, seconds in ((29.9, 2, 16.0), (30.0, 1, 4.0), (1e6, 1, 4.0)):
        circuit = half_opened(STEADY)
        recovered(circuit, 4.0)
        calls(circuit, "FFFFF", 4.0 + pause)
        assert circuit.snapshot(4.0 + pause).level == level
        assert circuit.next_deadline() == pytest.approx(4.0 + pause + seconds)


def test_trap_a_third_outage_of_a_minute_is_probed_as_soon_as_the_first() -> None:
    """Three within five minutes: the third once began at level 6, and its first probe came 178.8 s later."""
    circuit = Circuit("payments", STEADY)
    for began in (0.0, 120.0, 240.0):
        calls(circuit, "FFFFF", began)
        assert circuit.next_deadline() == began + 4.0
        while (deadline := circuit.next_deadline()) is not None and deadline < began + 60.0:
            call(circuit, FAILURE, deadline)
        assert deadline is not None
        assert deadline <= began + 66.0
        recovered(circuit, deadline)


def test_after_a_relapse_a_failed_probe_raises_the_level() -> None:
    """Each of its outages is young, so without that a dependency that flaps would be asked every few seconds for ever."""
    circuit = half_opened(STEADY)
    recovered(circuit, 4.0)
    calls(circuit, "FFFFF", 10.0)
    waits: list[float] = []
    for _ in range(5):
        deadline = circuit.next_deadline()
        assert deadline is not None
        call(circuit, FAILURE, deadline)
        waits.append((circuit.next_deadline() or 0.0) - deadline)
    assert waits == pytest.approx([64.0, 256.0, 300.0, 300.0, 300.0])
    assert circuit.snapshot(0.0).level == 5


@pytest.mark.parametrize(("level", "relapses"), [(0, 0), (1, 0), (2, 1), (4, 3), (5, 4), (7, 4)])
def test_relapses_are_the_levels_past_the_first(level: int, relapses: int) -> None:
    """At most four; none with `open_multiplier`, whose levels also count failed probes."""
    assert Outage(level=level).relapses(BY_AGE) == relapses
    assert Outage(level=level).relapses(BY_LEVEL) == 0


def test_a_ramp_after_a_relapse_is_slower() -> None:
    """Each stage lasts a second at least; the deadline says when it will be judged."""
    circuit = half_opened(STEADY)
    recovered(circuit, 4.0)
    calls(circuit, "FFFFF", 10.0)
    calls(circuit, "SSSS", 26.0)
    assert (circuit.state, circuit.next_deadline()) == (State.HALF_OPEN, 27.0)
    circuit.advance(27.0)
    assert circuit.state is State.CLOSED


@pytest.mark.parametrize("settings", [STEADY, DOUBLING], ids=["by age", "by level"])
def test_events_tell_the_outage(settings: CircuitSettings) -> None:
    """When it began and how often it was asked: with each opening, at the close, and in between in the snapshot."""
    circuit = opened(settings)
    circuit.set_full(1, 0.0)
    for _ in range(2):
        call(circuit, FAILURE, circuit.next_deadline() or 0.0)
    snapshot = circuit.snapshot(30.0)
    assert (snapshot.outage_since, snapshot.probes) == (0.0, 2)
    recovered(circuit, 50.0)
    told = [event for event in circuit.take_events() if isinstance(event, CircuitOpened | CircuitClosed)]
    assert [(event.outage_since, event.probes) for event in told] == [(0.0, 0), (0.0, 1), (0.0, 2), (0.0, 3)]
    assert (circuit.snapshot(50.0).outage_since, circuit.snapshot(50.0).probes) == (None, 0)
    calls(circuit, "FFFFF", 500.0)
    assert (circuit.snapshot(500.0).outage_since, circuit.snapshot(500.0).probes) == (500.0, 0)


def test_a_wait_that_was_asked_for_is_part_of_the_outage() -> None:
    """From CLOSED it begins one; from HALF_OPEN the outage goes on, at its level."""
    circuit = Circuit("payments", STEADY)
    circuit.open_for(10.0, 5.0)
    assert (circuit.snapshot(5.0).outage_since, circuit.snapshot(5.0).level) == (5.0, 0)
    circuit.advance(15.0)
    circuit.open_for(10.0, 16.0)
    assert (circuit.snapshot(16.0).outage_since, circuit.snapshot(16.0).probes) == (5.0, 1)
    call(circuit, FAILURE, 26.0)
    assert (circuit.snapshot(26.0).outage_since, circuit.snapshot(26.0).level) == (5.0, 1)


def test_an_operators_opening_is_no_outage() -> None:
    """A circuit that was forced open while it was well tells none at its close."""
    circuit = Circuit("payments", STEADY)
    circuit.force_open(0.0, until=10.0)
    recovered(circuit, 10.0)
    closed = circuit.take_events()[-1]
    assert isinstance(closed, CircuitClosed)
    assert (closed.outage_since, closed.probes) == (None, 0)


def test_retry_after_is_kept() -> None:
    """The server's time is neither shortened nor stretched by the age of the outage."""
    circuit = half_opened(STEADY)
    circuit.record(acquire(circuit, 1000.0), FAILURE, 1005.0, retry_after=7.0)
    assert circuit.next_deadline() == 1012.0


@pytest.mark.parametrize(("level", "seconds"), [(1, 5.0), (2, 10.0), (3, 20.0), (4, 40.0)])
def test_a_level_multiplies_the_wait(level: int, seconds: float) -> None:
    """By `open_multiplier`, or by four after a relapse."""
    assert level_wait(BY_LEVEL, level) == seconds
    assert level_wait(BY_AGE, level) == 4.0**level


@pytest.mark.parametrize(("level", "after"), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 4)])
def test_the_level_stops_where_the_wait_reaches_the_maximum(level: int, after: int) -> None:
    """Level 4 is the first whose wait, 40 s without the cap, reaches 30 s."""
    assert level_raised(BY_LEVEL, level) == after


def test_the_maximum_itself_is_reached() -> None:
    """With open_duration = open_duration_max, level 1 is the top, and 0 still goes to it."""
    settings = CircuitSettings(open_duration=7.0, open_duration_max=7.0)
    assert level_raised(settings, 0) == 1
    assert level_raised(settings, 1) == 1
    flat = CircuitSettings(open_duration=7.0, open_duration_max=7.0, open_multiplier=1.0)
    assert level_raised(flat, 0) == 1


@pytest.mark.parametrize(("seconds", "level"), [(0, 3), (59.9, 3), (60.0, 2), (119.9, 2), (120.0, 1), (600.0, 0), (-5.0, 3)])
def test_only_full_healthy_intervals_count(seconds: float, level: int) -> None:
    """The level goes down per full interval, and not below 0."""
    assert Outage(level=3).healthy_for(seconds, CircuitSettings(healthy_interval=60.0)).level == level


def test_without_chance_the_jitter_is_left_out() -> None:
    """The default draw is the middle of the range."""
    assert middle_draw() == 0.5


@pytest.mark.parametrize(
    ("probes", "age", "seconds"),
    [
        (0, 5.0, 4.0),
        (1, 15.0, 4.0),
        (4, 40.0, 1.7**4),
        (5, 60.0, 1.7**5),
        (6, 80.0, 20.0),
        (30, 600.0, 20.0),
        (60, 3600.0, 120.0),
        (99, 9e4, 300.0),
    ],
)
def test_after_a_probe_that_hung_the_wait_grows_to_twenty_seconds(probes: int, age: float, seconds: float) -> None:
    """From the first wait on, measured from when it was given up; then a thirtieth of the age, up to the longest."""
    outage = Outage(since=0.0, level=1, probes=probes)
    assert opened_until(BY_AGE, outage, Asked(age - 5.0, age, 0.5, is_silence=True)) - age == pytest.approx(seconds)


def test_the_wait_after_a_silence_has_the_jitter_and_needs_no_outage() -> None:
    """Workers that hung together ask apart; a fleet may have opened it."""
    assert opened_until(BY_AGE, Outage(since=0.0, level=1, probes=9), Asked(95.0, 100.0, 1.0, is_silence=True)) - 100.0 == pytest.approx(
        24.0
    )
    assert opened_until(BY_AGE, Outage(level=1), Asked(95.0, 100.0, 0.5, is_silence=True)) - 100.0 == pytest.approx(4.0)


def test_a_long_first_wait_is_kept_after_a_silence() -> None:
    """Somebody has set it."""
    settings = CircuitSettings(open_duration=60.0, open_jitter=0.0)
    assert opened_until(settings, Outage(since=0.0, level=1, probes=9), Asked(95.0, 100.0, 0.5, is_silence=True)) == pytest.approx(160.0)


def _hung(circuit: Circuit, at: float) -> float:
    """A probe that hangs for five seconds. Returns the seconds until the next."""
    circuit.advance(at)
    call(circuit, FAILURE, at, took=5.0)
    deadline = circuit.next_deadline()
    assert deadline is not None
    return deadline - at - 5.0


@pytest.mark.parametrize(
    ("limits", "waits"), [(Limits(), [3.5, 3.5]), (Limits(concurrency=9, adaptive=False), [0.175, 0.175]), (None, [0.175, 0.175])]
)
def test_a_limiter_that_learns_makes_probes_that_hang_come_less_often(limits: Limits | None, waits: list[float]) -> None:
    """It knows how long an answer takes, so that a hang is none. Without it, what is left of the wait is next to nothing."""
    circuit = Circuit("payments", CircuitSettings(open_jitter=0.0), limits=limits)
    for number in range(5):
        call(circuit, SUCCESS, float(number), took=0.2)
    calls(circuit, "FFFFF", 10.0)
    found = []
    for _ in waits:
        deadline = circuit.next_deadline()
        assert deadline is not None
        found.append(_hung(circuit, deadline))
    assert found == pytest.approx(waits)


def test_a_probe_that_is_refused_quickly_waits_as_ever() -> None:
    """That is no silence, whatever a limiter knows."""
    circuit = Circuit("payments", CircuitSettings(open_jitter=0.0), limits=Limits())
    for number in range(5):
        call(circuit, SUCCESS, float(number), took=0.2)
    calls(circuit, "FFFFF", 10.0)
    circuit.advance(110.0)
    call(circuit, FAILURE, 110.0, took=0.02)
    assert circuit.next_deadline() == pytest.approx(120.0)


def test_with_a_multiplier_a_silence_waits_by_its_level() -> None:
    """Who has set that gets it, with a limiter as without: ten seconds at level two, five of which the probe has hung."""
    circuit = Circuit("payments", CircuitSettings(open_duration=5.0, open_jitter=0.0, open_multiplier=2.0), limits=Limits())
    for number in range(5):
        call(circuit, SUCCESS, float(number), took=0.2)
    calls(circuit, "FFFFF", 10.0)
    assert _hung(circuit, 15.0) == pytest.approx(10.0)


def test_after_a_relapse_a_silence_waits_by_its_level() -> None:
    """A dependency that flaps is asked as seldom as it was."""
    assert opened_until(BY_AGE, Outage(since=0.0, level=2), Asked(10.0, 15.0, 0.5, is_silence=True)) == pytest.approx(26.0)


def test_a_call_was_no_silence_unless_somebody_says_so() -> None:
    """Nobody knows how long an answer takes at first."""
    assert Asked(1.0, 2.0, 0.5).is_silence is False
