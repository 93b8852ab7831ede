"""Fate: what circuits, limits and a message's history hear of the end of an attempt, also of calls that no need names."""

from __future__ import annotations

import pytest
from tests.flow.stage import QUICK, Message, dependency_failed, gate, own_failure, place_of, placed, run_of, throttled
from tests.flow.tenants import Tenants

from holdgate.core import CircuitSettings, Outcome, Permit, TimeWindow, Told
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.fate import Retries, note_no_attempt, record, record_successes, record_undeclared
from holdgate.flow.gate import Gate
from holdgate.flow.policy import RetryPolicy
from holdgate.flow.waiting import WaitingList

MINUTE = CircuitSettings(window=TimeWindow(seconds=60.0), minimum_calls=20, consecutive_failures=None)


def permit_of(each: Gate, now: float = 0.0) -> Permit:
    permit = each.circuit.try_acquire(now)
    assert isinstance(permit, Permit)
    return permit


def in_work(*gates: Gate, now: float = 0.0) -> Message:
    """A delivery that needs these gates and has its permits."""
    delivery = placed(place_of(*gates))
    delivery.permits = tuple(permit_of(each, now) for each in gates)
    return delivery


def well(settings: CircuitSettings = QUICK) -> Gate:
    """A dependency that nine others have succeeded on at the first second."""
    search = gate("search", settings)
    for _ in range(9):
        record_successes((search,), [permit_of(search)], 0.0)
    return search


def undeclared(*outcomes: tuple[str, Outcome], cause: Cause = Cause.DEPENDENCY, retry_after: float | None = None) -> Attribution:
    """The end of a handler with calls that no need names."""
    return Attribution((), cause, undeclared=outcomes, retry_after=retry_after)


def test_an_undeclared_failure_speaks_against_the_message_as_a_declared_one() -> None:
    """Among nine that went well; a dependency that is another guard's stands before it, and hides nothing."""
    search = well()
    delivery = placed(place_of())
    record_undeclared({"search": search}, delivery, undeclared(("elsewhere", Outcome.FAILURE), ("search", Outcome.FAILURE)), 1.0)

    assert (delivery.history.blames[search].attempts, delivery.history.extra) == (1, (search,))


@pytest.mark.parametrize(("now", "attempts"), [(1.0, 1), (1000.0, 0)])
def test_a_failure_is_compared_with_what_the_window_holds_at_that_time(now: float, attempts: int) -> None:
    """Declared or not: successes of a quarter of an hour ago speak against nobody in a window of a minute."""
    declared, not_declared = well(MINUTE), well(MINUTE)
    failed, also_failed = in_work(declared, now=now), placed(place_of())
    record(failed, dependency_failed(), now)
    record_undeclared({"search": not_declared}, also_failed, undeclared(("search", Outcome.FAILURE)), now)

    assert failed.history.blames[declared].attempts == attempts
    assert also_failed.history.blames[not_declared].attempts == attempts


def test_a_throttled_start_keeps_the_type_of_the_refusal() -> None:
    """People read it where they look for why the message waits; the attempt is taken back."""
    delivery = placed(place_of())
    delivery.attempt = 1
    note_no_attempt(delivery, throttled(0), "HTTPStatusError 429")

    assert (delivery.attempt, delivery.history.error) == (0, "HTTPStatusError 429")


def test_a_permit_too_few_is_no_need_to_forget() -> None:
    """Needs and permits are told apart by their order, and must be as many."""
    payments, mail = gate(), gate("mail")
    with pytest.raises(ValueError, match="shorter"):
        record_successes((payments, mail), [permit_of(payments)], 0.0)


def test_what_an_answer_says_of_the_limit_reaches_the_limiter() -> None:
    """Nobody has limited it before: fifty calls are left for ten seconds, and from now on there is a pace."""
    payments = gate()
    delivery = in_work(payments)
    assert payments.circuit.snapshot(0.0).limits is None
    told = Told(remaining=50, reset=10.0)
    record(delivery, Attribution((NeedVerdict(Outcome.SUCCESS, told=told),), Cause.RETURNED), 1.0)

    seen = payments.circuit.snapshot(1.0).limits
    assert seen is not None
    assert seen.pace is not None


class Throttled:
    """A message without needs whose handler called dependencies that throttled it; the guard knows `search`."""

    def __init__(self) -> None:
        self.waiting = WaitingList()
        self.search = gate("search")
        self.retries = Retries(self.waiting, {"search": self.search}, lambda: 0.0)
        self.delivery = placed(place_of(run=run_of(order="none", concurrency=2)))

    def waits(self, *names: str) -> float | None:
        """The second at which it asks again; the servers have asked for a week."""
        end = undeclared(*((name, Outcome.THROTTLED) for name in names), cause=Cause.THROTTLED, retry_after=7 * 86400.0)
        note_no_attempt(self.delivery, end, "HTTPStatusError 429")
        self.retries.add(self.delivery, end, 0.0)
        return self.waiting.next_deadline()


def test_an_undeclared_server_is_believed_as_far_as_its_own_settings_say() -> None:
    """No week, though the message does not need it by what was declared."""
    assert Throttled().waits("search") == QUICK.retry_after_max


def test_a_server_that_is_another_guard_s_has_no_settings_here() -> None:
    """It is believed, and that nobody knows it here is no error."""
    assert Throttled().waits("elsewhere") == 7 * 86400.0


def passed(stage: Tenants) -> int:
    """How many messages of its source others pass."""
    passing = stage.assignment().passing
    assert passing is not None
    return passing.passed


def test_others_pass_a_message_only_where_the_trouble_may_be_of_its_key() -> None:
    """A first failure of the dependency holds no key yet, and all the same the message takes nobody's room; its own failure is no such."""
    stage = Tenants(retry=RetryPolicy(attempts=5))
    stage.come("blue", "red")
    blue, red = stage.start_all()
    stage.end(blue, own_failure())
    assert passed(stage) == 0
    stage.end(red, dependency_failed())
    assert passed(stage) == 1


def test_nobody_passes_a_message_without_a_key() -> None:
    """What the dependency failed is the trouble of all that have none."""
    stage = Tenants(retry=RetryPolicy(attempts=5))
    [message] = stage.come(None)
    stage.start_all()
    stage.end(message, dependency_failed())
    assert passed(stage) == 0
