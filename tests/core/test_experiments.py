"""What experiments may cost."""

from __future__ import annotations

from holdgate.core.experiments import Budget


def test_a_budget_earns_spends_and_has_bounds() -> None:
    """Calls that went well pay, nothing is saved up without end, and no debt lasts for ever."""
    budget = Budget()
    assert budget.affords_refusals(3)
    assert not budget.affords_refusals(3.5)
    budget.earn(1_000_000)
    assert budget.affords_refusals(4)
    assert not budget.affords_refusals(4.1)
    budget.spend(1000)
    budget.earn(500)
    assert budget.affords_refusals(1.99)


def test_work_is_paid_for_by_other_work() -> None:
    """After work was lost nothing that costs some begins until a hundred times as much went well."""
    budget = Budget()
    assert budget.affords_work()
    budget.lose(25)
    assert not budget.affords_work()
    budget.earn(501)
    assert budget.affords_work()
    budget.lose(1e9)
    budget.earn(3001)
    assert budget.affords_work()


def test_a_refusal_is_paid_for_by_a_hundred_and_twenty_five_calls() -> None:
    """From the deepest debt of two refusals it takes 375 calls until one may be risked."""
    budget = Budget()
    assert budget.count == 0
    budget.spend(1000)
    budget.earn(374)
    assert not budget.affords_refusals(1.0)
    budget.earn(2)
    assert budget.affords_refusals(1.0)


def test_a_call_is_paid_for_by_a_hundred() -> None:
    """Twenty are given in advance and sixty are saved up at most. With nothing left nothing begins."""
    budget = Budget()
    budget.lose(20)
    assert not budget.affords_work()
    budget.lose(5)
    budget.earn(499)
    assert not budget.affords_work()
    budget.earn(2)
    assert budget.affords_work()
    budget.earn(1_000_000)
    budget.lose(60)
    assert not budget.affords_work()
