"""Which keys are kept, at the borders of that rule, and what is counted of their calls."""

from __future__ import annotations

import pytest
from tests.core.test_keys import FAILED, OK, STEADY, THROTTLED, Whole

from holdgate.core import Circuit, CircuitSettings, Limits, Outcome, State
from holdgate.core.keys import Keys


def test_a_hundred_thousand_keys_are_kept_by_default() -> None:
    """A hundred megabytes at most."""
    assert Keys(Circuit("payments"), None, lambda: 0.5).snapshot().max_keys == 100_000


@pytest.mark.parametrize(("seconds", "kept"), [(599.0, 4), (600.0, 2)])
def test_with_each_new_key_the_two_oldest_go_if_they_are_idle(seconds: float, kept: int) -> None:
    """Ten minutes are idle. More than two are not looked at, while there is room."""
    whole = Whole()
    for key in "abc":
        whole.call(key, FAILED)
        whole.now = 0.0
    used = whole.keys.known("a", 0.0).used_at
    for key in "abc":
        whole.keys.known(key, 0.0).used_at = used
    whole.keys.known("d", used + seconds)
    assert len(whole.keys) == kept


def test_where_there_are_too_many_eight_of_the_oldest_are_looked_at() -> None:
    """Seven are in work and become the newest, the eighth goes. With eight in work one more is kept."""
    for pinned, known in ((7, 9), (8, 10)):
        whole = Whole(max_keys=9)
        for key in range(9):
            record = whole.keys.known(key, 0.0)
            record.in_flight = int(key < pinned)
        whole.keys.known("new", 1.0)
        assert len(whole.keys) == known


def test_no_two_calls_have_the_same_number() -> None:
    """From one on: the gate of a key knows the asking call by it."""
    whole = Whole(limits=Limits(concurrency=9))
    slots = [whole.keys.start(key, 0.0) for key in "aab"]
    assert [None if slot is None else slot.token for slot in slots] == [1, 2, 3]


def test_a_key_that_is_held_no_more_is_not_counted() -> None:
    """Its asking call was silent, and who looks at its room finds that it was let in."""
    whole = Whole()
    whole.call("a", THROTTLED)
    assert whole.keys.held == 1
    record = whole.keys.known("a", 0.0)
    at = record.next_at(whole.now)
    assert at is not None
    whole.now = at
    whole.keys.start("a", whole.now)
    whole.now += 10.0
    whole.free("a")
    assert whole.keys.held == 0


def test_a_retry_after_is_that_of_its_key() -> None:
    """A minute, where the settings have five seconds."""
    whole = Whole()
    whole.call("a", FAILED, retry_after=60.0)
    record = whole.keys.known("a", 0.0)
    assert (record.state, record.next_at(whole.now)) == (State.OPEN, pytest.approx(whole.now + 60.0))


def test_a_call_is_slow_from_above_the_duration_on() -> None:
    """Exactly that long is not, and neither is a call whose seconds nobody knows."""
    whole = Whole(CircuitSettings(slow_call_duration=0.5))
    for took in (0.5, None, 0.6):
        slot = whole.keys.start("a", 0.0)
        if took is None:
            whole.keys.end("a", slot, OK, 5.0)
        else:
            whole.keys.end("a", slot, OK, 5.0, took=took)
        assert len(whole.keys) == (took == 0.6)


def test_a_key_that_has_gone_is_throttled_no_more() -> None:
    """There is room for one, so no five keys are throttled at the same time."""
    whole = Whole(max_keys=1)
    assert {whole.call(key, THROTTLED) for key in range(8)} == {Outcome.IGNORED}


@pytest.mark.parametrize("how", ["limits", "share", "anew"])
def test_a_key_that_begins_anew_opens_again(how: str) -> None:
    """Messages wait for it, so it stays, and its circuit is closed from then on."""
    whole = Whole(limits=Limits(concurrency=8))
    whole.calls("a", FAILED, 5)
    record = whole.keys.known("a", 0.0)
    whole.keys.count_waiting(record, 1)
    if how == "limits":
        whole.keys.set_limits(Limits(concurrency=9), whole.now)
    elif how == "share":
        whole.keys.set_share(0.5, whole.now)
    else:
        whole.keys.begin_anew(whole.now)
    assert record.state is State.CLOSED
    whole.calls("a", FAILED, 5)
    assert record.state is State.OPEN


def test_a_share_of_no_numbers_is_none() -> None:
    """An operator has taken them away."""
    keys = Keys(Circuit("payments", STEADY), Limits(concurrency=8), lambda: 0.5)
    keys.set_share(0.5, 0.0)
    assert keys.limits == Limits(concurrency=4)
    keys.set_limits(None, 0.0)
    assert keys.limits is None
