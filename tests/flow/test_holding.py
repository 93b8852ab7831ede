"""When a hold began, and whether the next one is the same."""

from __future__ import annotations

from tests.flow.stage import gate

from holdgate.flow.gate import Gate
from holdgate.flow.holding import Hold


def half_open() -> Gate:
    """A dependency that was down at 0, and is tried at 10."""
    payments = gate()
    payments.circuit.open_for(10.0, 0.0)
    payments.circuit.advance(10.0)
    return payments


def test_a_new_assignment_was_never_held() -> None:
    """Nothing began, nothing goes on, nothing was announced."""
    hold = Hold()

    assert (hold.since, hold.before, hold.probing, hold.warned, hold.goes_on) == (None, None, {}, 0.0, False)


def test_a_hold_lasts_from_its_begin_to_its_end() -> None:
    """In seconds; after that it is not held."""
    hold = Hold()
    hold.begin(1.0)

    assert (hold.since, hold.warned) == (1.0, 1.0)
    assert hold.end((), 4.5) == 3.5
    assert (hold.since, hold.before) == (None, 1.0)


def test_what_was_not_held_was_so_for_no_time() -> None:
    """A source that was never held says nothing of hours before."""
    assert Hold().end((), 7.0) == 0.0


def test_a_hold_after_a_failed_probe_is_the_one_before_it() -> None:
    """It counts from its first begin, and is not announced anew for it."""
    payments = half_open()
    hold = Hold()
    hold.begin(0.0)
    hold.end([payments], 10.0)
    assert hold.goes_on
    payments.circuit.open_for(10.0, 11.0)
    hold.begin(11.0)

    assert (hold.since, hold.warned) == (0.0, 0.0)


def test_a_hold_after_the_circuit_has_closed_is_a_new_one() -> None:
    """Whatever it was held for before."""
    payments = half_open()
    hold = Hold()
    hold.begin(0.0)
    hold.end([payments], 10.0)
    payments.circuit.reset(11.0)
    assert not hold.goes_on
    hold.begin(12.0)

    assert (hold.since, hold.warned) == (12.0, 12.0)


def test_a_hold_after_another_outage_is_a_new_one() -> None:
    """The circuit has been closed in between, though nobody has looked."""
    payments = half_open()
    hold = Hold()
    hold.begin(0.0)
    hold.end([payments], 10.0)
    payments.circuit.reset(11.0)
    payments.circuit.open_for(10.0, 12.0)

    assert not hold.goes_on


def test_a_circuit_that_was_not_half_open_continues_no_hold() -> None:
    """An operator's hold ends while every circuit is closed."""
    payments = gate()
    hold = Hold()
    hold.begin(0.0)
    hold.end([payments], 1.0)
    payments.circuit.open_for(10.0, 2.0)

    assert (hold.probing, hold.goes_on) == ({}, False)


def test_a_reminder_is_due_after_the_last_announcement() -> None:
    """From the begin of the hold, and from then on from each reminder."""
    hold = Hold()
    hold.begin(5.0)
    assert hold.reminder_due(600.0) == 605.0
    hold.announced(605.0)

    assert hold.reminder_due(600.0) == 1205.0


class Held:
    """A key, as far as a hold asks it."""

    def __init__(self, *, is_held: bool) -> None:
        self.is_held = is_held


def test_a_key_is_a_reason_while_it_is_held_and_its_message_waits() -> None:
    """A message that was skipped waits for it no longer; a key that is well holds nobody."""
    held, well, skipped = Held(is_held=True), Held(is_held=False), Held(is_held=True)
    hold = Hold()
    hold.wait_for_key(held, "payments", 3)  # type: ignore[arg-type]
    hold.wait_for_key(well, "mail", 3)  # type: ignore[arg-type]
    hold.wait_for_key(skipped, "search", 2)  # type: ignore[arg-type]

    assert list(hold.key_reasons(3)) == ["key:payments"]
    assert list(hold.keys) == [held]
