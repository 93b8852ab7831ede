"""The transitions of a circuit: their table, each of them as a value, what it leaves untouched, and what raises."""

from __future__ import annotations

import itertools
from math import inf

import pytest

from holdgate.core import CircuitSettings, Override, Reason, State
from holdgate.core.outages import Asked, Outage
from holdgate.core.transitions import TRANSITIONS, Situation, Trigger, transition
from holdgate.errors import HoldgateError

SETTINGS = CircuitSettings(open_duration=4.0, open_jitter=0.0)
CLOSED = Situation(0.0)
OPEN = CLOSED.opened(Reason.FAILURE_RATE, 10.0, Asked(10.0, 10.0, 0.5), SETTINGS)
HALF_OPEN = OPEN.waited()

ROWS = """
CLOSED     BREACHED        OPEN
CLOSED     WAIT_REQUESTED  OPEN
HALF_OPEN  BREACHED        OPEN
HALF_OPEN  WAIT_REQUESTED  OPEN
OPEN       WAITED          HALF_OPEN
HALF_OPEN  RECOVERED       CLOSED
CLOSED     FORCE_ENDED     HALF_OPEN
OPEN       FORCE_ENDED     HALF_OPEN
HALF_OPEN  FORCE_ENDED     HALF_OPEN
CLOSED     RESET           CLOSED
OPEN       RESET           CLOSED
HALF_OPEN  RESET           CLOSED
CLOSED     FLEET_WAITS     OPEN
HALF_OPEN  FLEET_WAITS     OPEN
CLOSED     FLEET_RAMPS     HALF_OPEN
OPEN       FLEET_RAMPS     HALF_OPEN
OPEN       FLEET_RECOVERED CLOSED
HALF_OPEN  FLEET_RECOVERED CLOSED
"""


def test_the_table_is_what_the_docs_say() -> None:
    """Every row, and no other."""
    rows = {(State[old], Trigger[trigger]): State[new] for old, trigger, new in (row.split() for row in ROWS.strip().splitlines())}
    assert rows == TRANSITIONS


@pytest.mark.parametrize(("state", "trigger"), list(itertools.product(State, Trigger)))
def test_a_pair_without_a_row_raises(state: State, trigger: Trigger) -> None:
    """A row gives the next state; anything else raises and names both."""
    if (state, trigger) in TRANSITIONS:
        assert transition(state, trigger) is TRANSITIONS[state, trigger]
        return
    with pytest.raises(HoldgateError, match=state.name) as caught:
        transition(state, trigger)
    assert trigger.value in str(caught.value)


def test_a_rule_that_was_met_opens_with_the_wait_that_follows_from_the_outage() -> None:
    """The level rises, and the wait counts from the call that was asked."""
    assert (OPEN.state, OPEN.opened_by, OPEN.until) == (State.OPEN, Reason.FAILURE_RATE, 14.0)
    assert OPEN.outage == Outage(since=10.0, probes=0, level=1)
    assert OPEN.asked == Asked(10.0, 10.0, 0.5)


@pytest.mark.parametrize(
    ("reason", "level"), [(Reason.OPEN_FOR, 0), (Reason.FLEET, 0), (Reason.RETRY_AFTER, 1), (Reason.CONSECUTIVE_FAILURES, 1)]
)
def test_the_level_rises_only_by_what_calls_say(reason: Reason, level: int) -> None:
    """Who asks for a wait says nothing of how well the dependency is; a server that asks for one does."""
    opened = CLOSED.opened(reason, 10.0, 15.0, SETTINGS)
    assert opened.outage == Outage(since=10.0, level=level)
    assert (opened.until, opened.asked, opened.opened_by) == (15.0, None, reason)


def test_a_transition_without_a_row_raises() -> None:
    """An open circuit cannot open again, and a closed one waits for nothing."""
    with pytest.raises(HoldgateError, match="OPEN has no transition for FLEET_WAITS"):
        OPEN.opened(Reason.FLEET, 11.0, 12.0, SETTINGS)
    with pytest.raises(HoldgateError, match="OPEN has no transition for WAIT_REQUESTED"):
        OPEN.opened(Reason.OPEN_FOR, 11.0, 12.0, SETTINGS)
    with pytest.raises(HoldgateError, match="OPEN has no transition for BREACHED"):
        OPEN.opened(Reason.PROBE, 11.0, 12.0, SETTINGS)
    with pytest.raises(HoldgateError, match="CLOSED has no transition for WAITED"):
        CLOSED.waited()


def test_what_waited_is_half_open_and_has_asked_once_more() -> None:
    """The cause of the opening stays until it is closed."""
    assert (HALF_OPEN.state, HALF_OPEN.until, HALF_OPEN.opened_by) == (State.HALF_OPEN, -inf, Reason.FAILURE_RATE)
    assert HALF_OPEN.outage == Outage(since=10.0, probes=1, level=1)


def test_a_fleet_makes_it_half_open_and_begins_an_outage() -> None:
    """Also from CLOSED: a worker that comes while the fleet is on its way back has a share, too."""
    led = CLOSED.led(20.0, SETTINGS)
    assert (led.state, led.until, led.outage) == (State.HALF_OPEN, -inf, Outage(since=20.0))
    assert OPEN.led(20.0, SETTINGS).outage == OPEN.outage


def test_closing_keeps_the_level_and_a_reset_does_not() -> None:
    """What was healthy is remembered from then on."""
    closed = HALF_OPEN.closed(Trigger.RECOVERED, 30.0)
    assert closed == Situation(30.0, outage=Outage(level=1), asked=OPEN.asked)
    assert HALF_OPEN.closed(Trigger.RESET, 30.0).outage == Outage()
    assert closed.outage_at(30.0 + SETTINGS.healthy_interval, SETTINGS).level == 0
    assert closed.outage_at(29.0 + SETTINGS.healthy_interval, SETTINGS).level == 1


def test_a_wait_is_put_off_and_never_brought_forward() -> None:
    """And then nothing of it follows from the settings any more."""
    assert OPEN.put_off(20.0).until == 20.0
    assert OPEN.put_off(11.0).until == 14.0
    assert OPEN.put_off(11.0).asked is None


def test_a_wait_that_was_a_fleets_ends_somewhere_within_its_own_next_one() -> None:
    """The share is by chance, so that not all of a fleet ask together."""
    waiting = OPEN.waiting_anew(100.0, 0.5, 0.25, SETTINGS)
    full = OPEN.waiting_anew(100.0, 0.5, 1.0, SETTINGS)
    assert full.until > 104.0  # the outage is ninety seconds old
    assert waiting.until == pytest.approx(100.0 + (full.until - 100.0) / 4)
    assert waiting.asked == Asked(100.0, 100.0, 0.5)


def test_other_settings_change_the_wait_of_open_alone() -> None:
    """In every other state there is none."""
    shorter = CircuitSettings(open_duration=2.0, open_jitter=0.0)
    assert OPEN.reconfigured(11.0, shorter).until == 12.0
    assert HALF_OPEN.reconfigured(11.0, shorter) is HALF_OPEN


def test_a_forced_opening_ends_half_open_from_every_state() -> None:
    """Nothing shows how the dependency has been meanwhile."""
    for below in (CLOSED, OPEN, HALF_OPEN):
        forced = below.overridden(Override.FORCED_OPEN, 50.0, 20.0, SETTINGS)
        assert (forced.state, forced.override, forced.override_until) == (below.state, Override.FORCED_OPEN, 50.0)
        assert forced.ends_forced(None)
        assert forced.ends_forced(Override.DISABLED)
        assert not forced.ends_forced(Override.FORCED_OPEN)
        ended = forced.overridden(None, None, 60.0, SETTINGS)
        assert (ended.state, ended.override, ended.override_until) == (State.HALF_OPEN, None, None)
        assert (ended.until, ended.opened_by) == (-inf, None)


def test_under_other_overrides_the_state_below_goes_on() -> None:
    """The wait of OPEN is the same after them."""
    disabled = OPEN.overridden(Override.DISABLED, None, 11.0, SETTINGS)
    assert disabled.overridden(None, None, 12.0, SETTINGS) == OPEN
    assert not disabled.ends_forced(None)


def test_no_time_counts_as_healthy_while_it_is_forced_open() -> None:
    """What was healthy before it began still does."""
    closed = HALF_OPEN.closed(Trigger.RECOVERED, 0.0)
    early = closed.overridden(Override.FORCED_OPEN, None, 1.0, SETTINGS)
    assert early.outage_at(2 * SETTINGS.healthy_interval, SETTINGS).level == 1
    late = closed.overridden(Override.FORCED_OPEN, None, SETTINGS.healthy_interval, SETTINGS)
    assert late.outage.level == 0


def test_everything_is_refused_while_it_waits_or_is_forced_open() -> None:
    """An override over an open circuit admits everything, and without an end nobody knows when."""
    assert OPEN.refuses_until(OPEN.until) == 14.0
    assert HALF_OPEN.refuses_until(inf) == CLOSED.refuses_until(inf) == -inf
    assert OPEN.overridden(Override.METRICS_ONLY, None, 11.0, SETTINGS).refuses_until(14.0) == -inf
    assert CLOSED.overridden(Override.FORCED_OPEN, 50.0, 11.0, SETTINGS).refuses_until(-inf) == 50.0
    assert CLOSED.overridden(Override.FORCED_OPEN, None, 11.0, SETTINGS).refuses_until(-inf) == inf


def test_only_a_closed_circuit_without_an_override_is_plain() -> None:
    """What is plain has the short way."""
    assert CLOSED.is_plain
    assert not OPEN.is_plain
    assert not CLOSED.overridden(Override.DISABLED, None, 1.0, SETTINGS).is_plain


def test_a_wait_is_in_the_past_in_every_state_but_open() -> None:
    """However it has ended; and a new situation follows from nothing that was asked."""
    closed = Situation(0.0)
    is_open = closed.opened(Reason.FAILURE_RATE, 10.0, Asked(10.0, 10.0, 0.5), SETTINGS)
    assert (closed.asked, closed.until, is_open.until) == (None, -inf, 14.0)
    ended = (
        is_open.waited(),
        is_open.waited().closed(Trigger.RECOVERED, 20.0),
        is_open.closed(Trigger.RESET, 20.0),
        is_open.led(20.0, SETTINGS),
    )
    assert {it.until for it in ended} == {-inf}


def test_a_forced_opening_that_is_forced_again_goes_on() -> None:
    """It ends when another override takes its place, and that one ends when it says."""
    forced = OPEN.overridden(Override.FORCED_OPEN, None, 11.0, SETTINGS)
    again = forced.overridden(Override.FORCED_OPEN, 60.0, 12.0, SETTINGS)
    assert (again.state, again.override, again.override_until) == (State.OPEN, Override.FORCED_OPEN, 60.0)
    other = again.overridden(Override.METRICS_ONLY, 90.0, 13.0, SETTINGS)
    assert (other.state, other.override, other.override_until) == (State.HALF_OPEN, Override.METRICS_ONLY, 90.0)
