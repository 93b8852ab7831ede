"""Batches, fallbacks, shared exceptions, Retry-After and an operator's words, each seen to be there."""

from __future__ import annotations

import re
from functools import cache

from holdgate.core import CircuitSettings
from holdgate_lab.fleet.explore import try_out
from holdgate_lab.fleet.extras import PLAIN, Command, Extras, random_extras
from holdgate_lab.fleet.generate import random_scenario
from holdgate_lab.fleet.scenario import DependencySpec, Fault, Scenario, TopicSpec

QUICK = CircuitSettings(consecutive_failures=2)
ONE = Scenario(
    name="one",
    seconds=25.0,
    topics=(TopicSpec(name="orders", needs=("payments", "mail"), backlog=80),),
    dependencies=(DependencySpec(name="payments", circuit=QUICK), DependencySpec(name="mail", circuit=QUICK)),
    faults=(Fault(at=1.0, until=20.0, dependency="payments", kind="refuse"),),
)


@cache
def story(extras: Extras) -> str:
    """What happens; nothing must break."""
    steps: list[str] = []
    assert try_out(ONE, 0, extras, tell=steps.append) is None
    return "\n".join(steps)


def test_a_batch_fails_as_one() -> None:
    """Its first and its last message are named."""
    assert re.search(r"fails at orders\[0\]@(\d+)\.\.(\d+): DependencyFailed payments", story(Extras(batch=4)))


def test_a_fallback_goes_on_while_the_circuit_is_open() -> None:
    """Nothing is held then."""
    assert "falls back for orders[0]" in story(Extras(fallback=0.0))
    assert "falls back" not in story(PLAIN)


def test_an_exception_that_two_claim_opens_both() -> None:
    """Without that only the one that failed."""
    assert "opens mail" in story(Extras(claims=True))
    assert "opens mail" not in story(PLAIN)


def test_a_server_that_says_when_opens_at_the_first_failure() -> None:
    """Until then."""
    assert "retry_after" in story(Extras(retry_after=2.0))
    assert "retry_after" not in story(PLAIN)


def test_an_operators_word_comes_in_its_time() -> None:
    """And ends by itself."""
    told = story(Extras(commands=(Command(0.5, "mail", "force_open", 1.0),)))
    assert "is told: FORCED_OPEN for mail" in told
    assert "ends FORCED_OPEN for mail" in told


def test_seeds_have_every_extra() -> None:
    """Within a hundred."""
    seen = [random_extras(seed, random_scenario(seed)) for seed in range(100)]
    assert {bool(extras.batch) for extras in seen} == {True, False}
    assert {extras.fallback is None for extras in seen} == {True, False}
    assert {extras.claims for extras in seen} == {True, False}
    assert {extras.retry_after is None for extras in seen} == {True, False}
    assert {command.word for extras in seen for command in extras.commands} == {"force_open", "disable", "observe", "reset"}
