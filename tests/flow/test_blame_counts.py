"""Blame: what is counted from which moment, and the edges of a conviction."""

from __future__ import annotations

import pytest
from tests.flow.stage import gate

from holdgate.core import CircuitSettings, Outcome, Permit
from holdgate.flow.blame import Blame
from holdgate.flow.gate import Gate
from holdgate.flow.policy import RetryPolicy


def half_open() -> Gate:
    payments = gate()
    payments.circuit.open_for(1.0, 0.0)
    payments.circuit.advance(1.0)
    return payments


@pytest.mark.parametrize("resets", [0, 1, 2])
def test_the_first_failure_looks_at_the_window_whatever_the_generation(resets: int) -> None:
    """Nine others succeeded before the message was first tried."""
    payments = gate(settings=CircuitSettings())
    for _ in range(resets):
        payments.circuit.reset(0.0)
    for _ in range(9):
        permit = payments.circuit.try_acquire(0.0)
        assert isinstance(permit, Permit)
        payments.circuit.record(permit, Outcome.SUCCESS, 0.0)
    blame = Blame(payments)
    assert blame.attempts == 0
    blame.failed(payments, 0.0, charged=True)
    assert blame.attempts == 1


def test_a_pair_is_a_good_probe_and_a_charged_failure_after_it() -> None:
    """Not a failure without a probe before it, nor one that may be another dependency's; a word from others ends the row."""
    payments = half_open()
    blame = Blame(payments)
    blame.failed(payments, 1.0, charged=True)
    assert blame.pairs == 0
    payments.good_probes += 1
    blame.failed(payments, 1.0, charged=False)
    assert blame.pairs == 0
    for pairs in (1, 2):
        payments.good_probes += 1
        blame.failed(payments, 1.0, charged=True)
        assert blame.pairs == pairs
    payments.successes += 1
    blame.failed(payments, 1.0, charged=True)
    assert blame.pairs == 0


def test_a_message_is_convicted_at_the_threshold() -> None:
    """Not past it."""
    payments, policy = gate(), RetryPolicy()
    blame = Blame(payments)
    blame.failed(payments, 0.0, charged=True)
    blame.attempts, blame.blame = policy.attempts, policy.conviction
    assert blame.convicts(payments, policy)
    blame.attempts -= 1
    assert not blame.convicts(payments, policy)
