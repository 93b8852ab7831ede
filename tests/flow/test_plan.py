"""The plan: what it says of sources that it lists, and of others."""

from __future__ import annotations

from tests.flow.stage import ORDERS

from holdgate.flow.plan import UNCLAIMED, UNKNOWN, Plan, Plans, SourcePlan


def test_a_source_with_a_reason_is_held() -> None:
    """One reason is enough, and none means not held."""
    assert SourcePlan(fetch=False, reasons=("operator",)).held
    assert not SourcePlan().held


def test_a_full_inbox_is_no_hold() -> None:
    """No more is fetched, and handlers go on."""
    assert not SourcePlan(fetch=False).held


def test_an_unknown_source_is_held_and_not_fetched() -> None:
    """What the engine has not spoken of yet must not be read."""
    plan = Plan().of(ORDERS)

    assert plan is UNKNOWN
    assert (plan.held, plan.fetch) == (True, False)


def test_a_listed_source_has_its_own_plan() -> None:
    """The plan is looked up by source."""
    wanted = SourcePlan(fetch=True)

    assert Plan({ORDERS: wanted}).of(ORDERS) is wanted


def test_a_plan_says_nothing_against_fetching_at_first() -> None:
    """No reason, and the first version is nought."""
    assert (SourcePlan().fetch, SourcePlan().reasons, Plan().version) == (True, (), 0)


def test_a_plan_is_published_when_something_has_changed() -> None:
    """Its version goes up then, and only then; what was given out before stays as it was."""
    plans = Plans()
    first = plans.current
    changed = plans.begin()
    changed[ORDERS] = SourcePlan()
    plans.publish(changed)
    plans.publish(plans.begin())

    assert (first.version, plans.current.version) == (0, 1)
    assert (dict(first.sources), dict(plans.current.sources)) == ({}, {ORDERS: SourcePlan()})


def test_sources_that_are_alike_share_a_plan() -> None:
    """Within a turn: ten thousand held sources keep one object."""
    plans = Plans()
    one = plans.one(False, ("operator",), 0)

    assert one == SourcePlan(fetch=False, reasons=("operator",))
    assert plans.one(False, ("operator",), 0) is one
    assert plans.one(True, (), 0) is not one


def test_the_hold_by_unclaimed_failures_is_named_so() -> None:
    """People read it on status pages and in logs; nothing but the result of a message ends it."""
    assert UNCLAIMED == "unclaimed failures"
    assert SourcePlan(reasons=("unclaimed failures",)).lets_ask
    assert not SourcePlan(reasons=("operator",)).lets_ask
