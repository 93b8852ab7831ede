from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from holdgate.core import Outcome, Told
from holdgate.core.outcomes import Classifier
from holdgate.errors import CallNotPermitted, Reject
from holdgate.flow.attribution import AttemptCalls, Attribution, Cause, NeedVerdict, attribute

NOW = 100.0
RELEASED = NeedVerdict(None)
SUCCESS = NeedVerdict(Outcome.SUCCESS)
FAILURE = NeedVerdict(Outcome.FAILURE)
IGNORED = NeedVerdict(Outcome.IGNORED)


class PaymentError(Exception):
    """What the payments client raises."""


class MailError(Exception):
    """What the mail client raises."""


@dataclass
class Need:
    """A dependency whose `failures` are some types; `doubtful` as if its predicate raised."""

    name: str
    failures: tuple[type[BaseException], ...] = (Exception,)
    retry_after: float | None = None
    doubtful: bool = False
    excluded: tuple[type[BaseException], ...] = ()
    throttled: tuple[type[BaseException], ...] = ()
    told: Told | None = None

    def classify(self, exception: BaseException) -> Outcome | None:
        if self.doubtful:
            return None
        if isinstance(exception, self.throttled):
            return Outcome.THROTTLED
        return Outcome.FAILURE if isinstance(exception, self.failures) and not self.excludes(exception) else Outcome.IGNORED

    def excludes(self, exception: BaseException) -> bool:
        return isinstance(exception, self.excluded)

    def retry_after_of(self, exception: BaseException) -> float | None:
        return self.retry_after

    def told_of(self, answer: object) -> Told | None:
        return self.told


class Read:
    """A dependency that reads exceptions as a real one does; every Exception is its failure."""

    def __init__(self, name: str) -> None:
        self.name = name

    def classify(self, exception: BaseException) -> Outcome | None:
        return Classifier().classify(exception)

    def excludes(self, exception: BaseException) -> bool:
        return False

    def retry_after_of(self, exception: BaseException) -> float | None:
        return None

    def told_of(self, answer: object) -> Told | None:
        return None


PAYMENTS = Need("payments", (PaymentError,))
MAIL = Need("mail", (MailError,))


def touched(name: str, outcome: Outcome, duration: float = 1.0, retry_after: float | None = None) -> AttemptCalls:
    calls = AttemptCalls()
    calls.summary_of(name).ended(outcome, duration, retry_after)
    return calls


def chained(outer: BaseException, inner: BaseException) -> BaseException:
    """`outer`, raised from `inner`."""
    try:
        raise outer from inner
    except BaseException as error:  # noqa: BLE001 - any kind is built here
        return error


def while_handling(outer: BaseException, inner: BaseException) -> BaseException:
    """`outer`, raised in the `except` of `inner`."""
    outer.__context__ = inner
    return outer


# Rule 2: no call form ran.


def test_a_return_is_a_success_of_every_need() -> None:
    """Without call forms the handler vouches for all it needs."""
    assert attribute([PAYMENTS, MAIL], None, None, NOW) == Attribution((SUCCESS, SUCCESS), Cause.RETURNED)


def test_an_exception_is_a_failure_of_the_need_it_matches() -> None:
    """The other need is told nothing."""
    result = attribute([PAYMENTS, MAIL], None, PaymentError(), NOW)
    assert result == Attribution((FAILURE, IGNORED), Cause.DEPENDENCY)


def test_an_exception_is_a_failure_of_every_need_it_matches_and_says_so() -> None:
    """Two needs match: one vote each, and the result is marked as shared."""
    result = attribute([Need("payments"), Need("mail")], None, PaymentError(), NOW)
    assert result == Attribution((FAILURE, FAILURE), Cause.DEPENDENCY, shared=True)


def test_a_server_that_asked_to_wait_is_heard() -> None:
    """A failure found by type carries the dependency's Retry-After."""
    result = attribute([Need("payments", retry_after=30.0)], None, PaymentError(), NOW)
    assert result.findings == (NeedVerdict(Outcome.FAILURE, None, 30.0),)


def test_the_status_of_an_answer_that_nobody_claims_is_known() -> None:
    """A 401 for all is another matter than a 422 for some, though their type is the same; a client keeps it where it likes."""

    class HTTPStatusError(Exception):
        status = 401

    result = attribute([PAYMENTS], None, HTTPStatusError(), NOW)
    assert (result.cause, result.status, result.is_bug) == (Cause.MESSAGE, 401, False)
    assert result.unclaimed.endswith("HTTPStatusError")


def test_an_exception_that_matches_no_need_is_the_messages_own() -> None:
    """A json error in front of healthy dependencies is charged."""
    assert attribute([PAYMENTS, MAIL], None, ValueError(), NOW) == Attribution(
        (IGNORED, IGNORED), Cause.MESSAGE, unclaimed="ValueError", is_bug=True
    )


def test_any_exception_without_needs_is_the_messages_own() -> None:
    """Nobody else could have caused it."""
    assert attribute([], None, PaymentError(), NOW) == Attribution((), Cause.MESSAGE, unclaimed=f"{__name__}.PaymentError")


def test_what_a_need_excludes_is_claimed_for_the_message() -> None:
    """The user has said that it is the message's own: nobody is to look for an outage behind it."""
    need = Need("payments", excluded=(ValueError,))
    assert attribute([MAIL, need], None, ValueError(), NOW) == Attribution((IGNORED, IGNORED), Cause.MESSAGE)
    assert attribute([need], touched("payments", Outcome.IGNORED), ValueError(), NOW).unclaimed == ""


@pytest.mark.parametrize(
    ("end", "options"),
    [(Reject("bad"), {}), (ValueError(), {"not_retryable": (ValueError,)}), (None, {}), (CallNotPermitted("mail", None), {})],
)
def test_only_the_messages_own_failures_are_unclaimed(end: BaseException | None, options: dict[str, Any]) -> None:
    """A word, a return and a refusal are claimed."""
    assert attribute([PAYMENTS], None, end, NOW, **options).unclaimed == ""


def test_a_predicate_that_fails_means_doubt_and_no_charge() -> None:
    """One need cannot be judged: it gets no verdict, and the message no charge."""
    result = attribute([PAYMENTS, Need("mail", doubtful=True)], None, ValueError(), NOW)
    assert result == Attribution((IGNORED, RELEASED), Cause.DEPENDENCY)


def test_an_exhausted_time_limit_is_a_failure_of_every_need() -> None:
    """The guard's own timeout asks no `failures`: neighbours clear the innocent."""
    result = attribute([PAYMENTS, MAIL], None, TimeoutError(), NOW, timed_out=True)
    assert result == Attribution((FAILURE, FAILURE), Cause.DEPENDENCY, shared=True)


def test_an_exhausted_time_limit_without_needs_is_the_messages_own() -> None:
    """Nothing but the message can have taken so long."""
    assert attribute([], None, TimeoutError(), NOW, timed_out=True).cause is Cause.MESSAGE


# Words that end an attempt whatever the needs say.


def test_reject_leaves_every_dependency_untouched() -> None:
    """Poison by the handler's own word, though `failures=Exception` would match it."""
    assert attribute([Need("payments")], None, Reject("bad"), NOW) == Attribution((RELEASED,), Cause.REJECTED, reason="bad")


def test_the_policys_word_is_as_good_as_reject() -> None:
    """An exception that is not retryable wins over `failures`."""
    assert attribute([PAYMENTS], None, PaymentError(), NOW, not_retryable=(PaymentError,)) == Attribution((RELEASED,), Cause.REJECTED)


@pytest.mark.parametrize("wrap", [lambda word: chained(RuntimeError(), word), lambda word: ExceptionGroup("x", [PaymentError(), word])])
def test_a_word_wins_wherever_somebody_put_it(wrap: Callable[[Exception], BaseException]) -> None:
    """As a cause, or beside a failure of the dependency in a group."""
    rejected = Attribution((RELEASED,), Cause.REJECTED)

    assert attribute([Need("payments")], None, wrap(Reject("bad")), NOW) == rejected._replace(reason="bad")
    assert attribute([Need("payments")], None, wrap(ValueError()), NOW, not_retryable=(ValueError,)) == rejected


def test_a_word_that_was_only_being_handled_wins_over_nobodys_failure_alone() -> None:
    """A handler that was about to reject and met an outage has met an outage."""
    error = while_handling(MailError(), Reject("bad"))

    assert attribute([PAYMENTS], None, error, NOW) == Attribution((RELEASED,), Cause.REJECTED, reason="bad")
    assert attribute([MAIL], None, error, NOW) == Attribution((FAILURE,), Cause.DEPENDENCY)
    unsaid = while_handling(MailError(), ValueError())
    assert attribute([PAYMENTS], None, unsaid, NOW, not_retryable=(ValueError,)) == Attribution((RELEASED,), Cause.REJECTED)
    assert attribute([PAYMENTS], None, unsaid, NOW).cause is Cause.MESSAGE


@pytest.mark.parametrize("not_retryable", [(), (ValueError,)])
def test_after_a_refusal_any_exception_means_hold(not_retryable: tuple[type[Exception], ...]) -> None:
    """Not even an exception that is not retryable outweighs it: what looks like poison may be the outage."""
    calls = AttemptCalls()
    calls.refused["mail"] = None
    result = attribute([PAYMENTS], calls, ValueError(), NOW, not_retryable=not_retryable)
    assert result == Attribution((RELEASED,), Cause.REFUSED, ("mail",))


def test_reject_after_a_refusal_means_hold() -> None:
    """Any exception means any."""
    calls = AttemptCalls()
    calls.refused["mail"] = None
    assert attribute([PAYMENTS], calls, Reject(), NOW).cause is Cause.REFUSED


def test_a_refusal_is_told_from_the_exception_alone() -> None:
    """A circuit outside of the guard refused: no calls knows, the exception does."""
    result = attribute([Need("payments")], None, CallNotPermitted("ledger"), NOW)
    assert result == Attribution((RELEASED,), Cause.REFUSED, ("ledger",))


@pytest.mark.parametrize(
    "exception",
    [
        chained(ValueError(), CallNotPermitted("ledger")),
        chained(RuntimeError(), chained(ValueError(), CallNotPermitted("ledger"))),
        ExceptionGroup("tasks", [ValueError(), CallNotPermitted("ledger")]),
    ],
)
def test_a_wrapped_refusal_means_hold_too(exception: BaseException) -> None:
    """Wrapped once, twice, or in a task group's exception."""
    assert attribute([Need("payments")], None, exception, NOW) == Attribution((RELEASED,), Cause.REFUSED, ("ledger",))


def test_a_refusal_is_found_in_a_suppressed_context() -> None:
    """`raise X from None` hides it from people only."""

    def handler() -> None:
        try:
            raise CallNotPermitted("ledger")
        except CallNotPermitted:
            raise ValueError from None

    with pytest.raises(ValueError) as caught:  # noqa: PT011 - any ValueError is the handler's
        handler()
    assert attribute([PAYMENTS], None, caught.value, NOW).refused == ("ledger",)


def test_a_chain_that_bites_its_tail_ends() -> None:
    """Two exceptions that are each other's context are looked at once each."""
    first, second = ValueError(), RuntimeError()
    first.__context__, second.__context__ = second, first
    assert attribute([PAYMENTS], None, first, NOW).cause is Cause.MESSAGE


def test_each_refusal_is_named_once() -> None:
    """Tally and exception tell of the same dependency."""
    calls = AttemptCalls()
    calls.refused["mail"] = None
    calls.refused["ledger"] = None
    assert attribute([], calls, CallNotPermitted("mail"), NOW).refused == ("mail", "ledger")


def test_a_handler_that_returns_after_a_refusal_is_done() -> None:
    """It had something else to do; the refusal is still named."""
    calls = touched("payments", Outcome.SUCCESS)
    calls.refused["mail"] = None
    assert attribute([PAYMENTS], calls, None, NOW) == Attribution((NeedVerdict(Outcome.SUCCESS, 1.0),), Cause.RETURNED, ("mail",))


def test_what_calls_came_to_counts_before_a_refusal() -> None:
    """Payments was called and answered before mail refused: that is evidence, whatever becomes of the message."""
    calls = touched("payments", Outcome.SUCCESS)
    calls.refused["mail"] = None
    assert attribute([PAYMENTS], calls, ValueError(), NOW).findings == (NeedVerdict(Outcome.SUCCESS, 1.0),)


class Cancelled(BaseException):
    pass


@pytest.mark.parametrize("calls", [None, AttemptCalls()])
@pytest.mark.parametrize("error", [Cancelled(), GeneratorExit(), BaseExceptionGroup("both", [Cancelled(), GeneratorExit()])])
def test_what_is_no_exception_is_the_messages_own(calls: AttemptCalls | None, error: BaseException) -> None:
    """A cancellation of the handler's own making: no need's failure, and charged, or it would be tried for ever.

    Where it meets every message it is an outage that nobody described, like any other failure.
    """
    result = attribute([Read("payments"), Read("mail")], calls, error, NOW)
    assert (result.findings, result.cause, result.is_bug) == ((RELEASED, RELEASED), Cause.MESSAGE, True)
    assert result.unclaimed in {f"{Cancelled.__module__}.Cancelled", "GeneratorExit"}


def test_a_cancellation_with_a_dependencys_failure_beside_or_behind_it_is_the_dependencys() -> None:
    """The failure is read out of the group, or out of the cause."""
    caused = Cancelled()
    caused.__cause__ = PaymentError()
    for error in (BaseExceptionGroup("both", [Cancelled(), PaymentError()]), caused):
        assert attribute([Read("payments")], None, error, NOW) == Attribution((FAILURE,), Cause.DEPENDENCY)


def test_a_call_that_a_cancellation_cut_short_is_judged_as_by_a_time_limit() -> None:
    """Nobody can tell whose limit it was: a failure where TimeoutError is one, else the message's own."""
    calls = AttemptCalls()
    calls.summary_of("payments").cut(2.0)
    matching, other = Need("payments", (TimeoutError,)), Need("payments", (PaymentError,))
    assert attribute([matching], calls, Cancelled(), NOW) == Attribution((NeedVerdict(Outcome.FAILURE, 2.0),), Cause.DEPENDENCY)
    result = attribute([other], calls, Cancelled(), NOW)
    assert (result.findings, result.cause) == ((RELEASED,), Cause.MESSAGE)


# Rules 1 and 3: call forms ran.


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.FAILURE])
def test_a_need_that_was_called_gets_what_its_calls_came_to(outcome: Outcome) -> None:
    """With the time of the slowest call and the server's request; the handler returning changes nothing."""
    calls = touched("payments", outcome, 2.5, 30.0)
    assert attribute([PAYMENTS], calls, None, NOW) == Attribution((NeedVerdict(outcome, 2.5, 30.0),), Cause.RETURNED)


def test_calls_that_were_all_ignored_say_nothing() -> None:
    """Trap 5: 'not a failure' is not taken for a success, nor its duration for a quick call."""
    calls = touched("payments", Outcome.IGNORED)
    assert attribute([PAYMENTS], calls, None, NOW).findings == (IGNORED,)


def test_a_summary_without_an_outcome_gives_no_verdict() -> None:
    """Its only call was cancelled by the handler, which then returned."""
    calls = AttemptCalls()
    calls.summary_of("payments").cut(1.0)
    assert attribute([PAYMENTS], calls, None, NOW) == Attribution((RELEASED,), Cause.RETURNED)


def test_an_untouched_need_is_released() -> None:
    """Nothing is known of mail, so it is neither good nor bad."""
    calls = touched("payments", Outcome.SUCCESS)
    assert attribute([PAYMENTS, MAIL], calls, None, NOW).findings == (NeedVerdict(Outcome.SUCCESS, 1.0), RELEASED)


def test_findings_come_in_the_order_of_the_needs() -> None:
    """Permits and findings are paired by place."""
    calls = touched("payments", Outcome.FAILURE)
    assert attribute([MAIL, PAYMENTS], calls, None, NOW).findings == (RELEASED, NeedVerdict(Outcome.FAILURE, 1.0))


def test_an_exception_that_no_call_saw_is_the_messages_own() -> None:
    """Even one that a need's `failures` match: it did not come out of its call."""
    calls = touched("payments", Outcome.SUCCESS)
    result = attribute([Need("payments"), Need("mail")], calls, ValueError(), NOW)
    assert result == Attribution((NeedVerdict(Outcome.SUCCESS, 1.0), RELEASED), Cause.MESSAGE, unclaimed="ValueError", is_bug=True)


def test_an_exception_that_a_call_took_for_a_failure_is_not_charged() -> None:
    """It is told by identity."""
    seen = PaymentError()
    calls = touched("payments", Outcome.FAILURE)
    calls.excused.append(seen)
    assert attribute([PAYMENTS], calls, seen, NOW) == Attribution((NeedVerdict(Outcome.FAILURE, 1.0),), Cause.DEPENDENCY)
    assert attribute([PAYMENTS], calls, PaymentError(), NOW).cause is Cause.MESSAGE


@pytest.mark.parametrize("wrap", [lambda seen: chained(ValueError(), seen), lambda seen: ExceptionGroup("tasks", [ValueError(), seen])])
def test_an_exception_made_from_one_that_a_call_saw_is_not_charged(wrap: object) -> None:
    """Wrapping a client's error in one's own is usual."""
    seen = PaymentError()
    calls = touched("payments", Outcome.FAILURE)
    calls.excused.append(seen)
    assert callable(wrap)
    assert attribute([PAYMENTS], calls, wrap(seen), NOW).cause is Cause.DEPENDENCY


def test_a_failure_that_was_swallowed_excuses_no_later_exception() -> None:
    """Payments failed, the handler went on, and then the message could not be read."""
    calls = touched("payments", Outcome.FAILURE)
    calls.excused.append(PaymentError())
    result = attribute([PAYMENTS], calls, ValueError(), NOW)
    assert result == Attribution((NeedVerdict(Outcome.FAILURE, 1.0),), Cause.MESSAGE, unclaimed="ValueError", is_bug=True)


def test_an_exception_that_a_call_ignored_is_charged() -> None:
    """`excluded` means: the message's own."""
    assert attribute([PAYMENTS], touched("payments", Outcome.IGNORED), ValueError(), NOW).cause is Cause.MESSAGE


# Results that failed.


@pytest.mark.parametrize(
    ("need", "expected"),
    [(PAYMENTS, Cause.DEPENDENCY), (Need("payments", doubtful=True), Cause.DEPENDENCY), (MAIL, Cause.MESSAGE)],
)
def test_an_exception_made_from_a_failed_result_is_the_dependencys(need: Need, expected: Cause) -> None:
    """`raise_for_status` comes after the call has returned; whether it is the dependency's, its `failures` say."""
    calls = touched(need.name, Outcome.FAILURE)
    calls.summary_of(need.name).failed_result = True
    assert attribute([need], calls, PaymentError(), NOW).cause is expected


def test_a_failed_result_of_an_undeclared_dependency_means_doubt() -> None:
    """Nobody is there to judge its exception."""
    calls = touched("ledger", Outcome.FAILURE)
    calls.summary_of("ledger").failed_result = True
    assert attribute([PAYMENTS], calls, PaymentError(), NOW) == Attribution(
        (RELEASED,), Cause.DEPENDENCY, undeclared=(("ledger", Outcome.FAILURE),)
    )


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.FAILURE])
def test_what_calls_of_undeclared_dependencies_came_to_is_known(outcome: Outcome) -> None:
    """However the handler ended; those that decide nothing are left out, and so are needs."""
    calls = touched("ledger", outcome)
    calls.summary_of("payments").ended(Outcome.SUCCESS, 1.0)
    calls.summary_of("search").ended(Outcome.IGNORED, 1.0)
    calls.summary_of("maps").cut(1.0)
    for ended in (None, PaymentError(), Reject("no")):
        assert attribute([PAYMENTS], calls, ended, NOW).undeclared == (("ledger", outcome),)


# Time limits.


def cut_short(name: str, duration: float = 5.0) -> AttemptCalls:
    calls = AttemptCalls()
    calls.summary_of(name).cut(duration)
    return calls


def test_a_time_limit_in_the_handler_belongs_to_the_call_it_cut_short() -> None:
    """`asyncio.timeout` around a call: the TimeoutError is a failure of the dependency that hung, with the time it took."""
    need = Need("payments", (TimeoutError,))
    calls = cut_short("payments")
    calls.summary_of("payments").ended(Outcome.SUCCESS, 1.0)
    assert attribute([need], calls, TimeoutError(), NOW) == Attribution((NeedVerdict(Outcome.FAILURE, 5.0),), Cause.DEPENDENCY)


def test_the_slowest_call_counts_beside_a_cut_one() -> None:
    """An earlier call took longer than the one that was cut."""
    need = Need("payments", (TimeoutError,))
    calls = cut_short("payments", 2.0)
    calls.summary_of("payments").ended(Outcome.SUCCESS, 3.0)
    assert attribute([need], calls, TimeoutError(), NOW).findings == (NeedVerdict(Outcome.FAILURE, 3.0),)


def test_a_wrapped_time_limit_counts_too() -> None:
    """The handler made its own exception of it."""
    need = Need("payments", (TimeoutError,))
    result = attribute([need], cut_short("payments"), chained(ValueError(), TimeoutError()), NOW)
    assert result == Attribution((NeedVerdict(Outcome.FAILURE, 5.0),), Cause.DEPENDENCY)


def test_a_time_limit_that_is_no_failure_of_the_need_is_the_messages_own() -> None:
    """Its `failures` do not match a TimeoutError."""
    result = attribute([PAYMENTS], cut_short("payments"), TimeoutError(), NOW)
    assert result == Attribution((RELEASED,), Cause.MESSAGE, unclaimed="TimeoutError")


def test_a_time_limit_that_cannot_be_judged_means_doubt() -> None:
    """The predicate raised: no verdict, no charge."""
    need = Need("payments", doubtful=True)
    assert attribute([need], cut_short("payments"), TimeoutError(), NOW) == Attribution((RELEASED,), Cause.DEPENDENCY)


def test_a_time_limit_around_an_undeclared_call_means_doubt() -> None:
    """Nobody is there to judge it."""
    assert attribute([PAYMENTS], cut_short("ledger"), TimeoutError(), NOW) == Attribution((RELEASED,), Cause.DEPENDENCY)


def test_a_cut_call_excuses_no_other_exception() -> None:
    """The loser of a race was cancelled, and then the message could not be read."""
    need = Need("payments", (TimeoutError,))
    result = attribute([need], cut_short("payments"), ValueError(), NOW)
    assert result == Attribution((RELEASED,), Cause.MESSAGE, unclaimed="ValueError", is_bug=True)


def test_a_time_limit_with_no_call_cut_is_the_messages_own() -> None:
    """The calls had ended; the time went elsewhere."""
    need = Need("payments", (TimeoutError,))
    result = attribute([need], touched("payments", Outcome.SUCCESS), TimeoutError(), NOW)
    assert result == Attribution((NeedVerdict(Outcome.SUCCESS, 1.0),), Cause.MESSAGE, unclaimed="TimeoutError")


def under_way(name: str, started: float = 90.0) -> AttemptCalls:
    calls = AttemptCalls()
    calls.summary_of(name).running["a call"] = started
    return calls


def test_the_guards_time_limit_belongs_to_the_call_under_way() -> None:
    """Whatever its `failures` are; with the time since its start. The other need had ended well."""
    calls = under_way("payments")
    calls.summary_of("mail").ended(Outcome.SUCCESS, 1.0)
    result = attribute([PAYMENTS, MAIL], calls, TimeoutError(), NOW, timed_out=True)
    assert result == Attribution((NeedVerdict(Outcome.FAILURE, 10.0), NeedVerdict(Outcome.SUCCESS, 1.0)), Cause.DEPENDENCY)


def test_the_guards_time_limit_with_no_call_under_way_is_the_messages_own() -> None:
    """A call that the handler had cut short earlier is not what hung."""
    result = attribute([Need("payments")], cut_short("payments"), TimeoutError(), NOW, timed_out=True)
    assert result == Attribution((RELEASED,), Cause.MESSAGE, unclaimed="TimeoutError")


def test_the_guards_time_limit_during_an_undeclared_call_is_not_charged() -> None:
    """The undeclared dependency hung; its own permit tells its circuit."""
    assert attribute([PAYMENTS], under_way("ledger"), TimeoutError(), NOW, timed_out=True) == Attribution((RELEASED,), Cause.DEPENDENCY)


def test_a_call_still_under_way_at_a_return_says_nothing() -> None:
    """It was left behind in a task; only the guard's time limit makes a running call a failure."""
    assert attribute([PAYMENTS], under_way("payments"), None, NOW) == Attribution((RELEASED,), Cause.RETURNED)


def test_asking_for_another_time_leaves_the_calls_what_they_were() -> None:
    """The handler returned: its calls have their verdicts, an untouched need has none."""
    calls = AttemptCalls()
    calls.summary_of("payments").ended(Outcome.FAILURE, 1.0)
    result = attribute([PAYMENTS, MAIL], calls, None, NOW, postponed=True)

    assert result == Attribution((NeedVerdict(Outcome.FAILURE, 1.0), RELEASED), Cause.POSTPONED)


def test_asking_for_another_time_is_no_success_of_what_was_not_called() -> None:
    """Nobody knows how the dependency is."""
    assert attribute([PAYMENTS], None, None, NOW, postponed=True) == Attribution((RELEASED,), Cause.POSTPONED)


def test_an_exception_says_more_than_the_request_for_another_time() -> None:
    """It is judged as ever."""
    assert attribute([PAYMENTS], None, CallNotPermitted("payments"), NOW, postponed=True).cause is Cause.REFUSED


def test_a_handler_that_postpones_keeps_what_refused_it() -> None:
    """The refusing dependency is one of the message's needs until it is settled."""
    calls = AttemptCalls()
    calls.refused["mail"] = None

    assert attribute([PAYMENTS], calls, None, NOW, postponed=True) == Attribution((RELEASED,), Cause.POSTPONED, ("mail",))


def test_the_server_s_word_is_read_off_the_exception() -> None:
    """The very one that the handler raised."""

    class Told(Need):
        def retry_after_of(self, exception: BaseException) -> float | None:
            return 30.0 if isinstance(exception, PaymentError) else None

    result = attribute([Told("payments", (PaymentError,))], None, PaymentError(), NOW)
    assert result.findings == (NeedVerdict(Outcome.FAILURE, None, 30.0),)


def test_a_call_that_was_cut_short_keeps_what_the_server_said_before() -> None:
    """An earlier call of the same handler was told when to come back."""
    calls = touched("payments", Outcome.FAILURE, 1.0, retry_after=30.0)
    calls.summaries["payments"].cut_short = 2.0
    result = attribute([Need("payments")], calls, TimeoutError(), NOW)

    assert result.findings == (NeedVerdict(Outcome.FAILURE, 2.0, 30.0),)


def test_every_member_of_a_group_is_looked_at() -> None:
    """The refusal is found before and behind another exception."""
    refusal = CallNotPermitted("mail", None)
    for members in ([refusal, PaymentError()], [PaymentError(), refusal]):
        assert attribute([PAYMENTS], None, ExceptionGroup("both", members), NOW).refused == ("mail",)


# Too many calls for now.


class SlowDown(PaymentError):
    """What the payments client raises for a 429."""


LIMITED = Need("payments", (PaymentError,), throttled=(SlowDown,), told=Told(retry_after=7.0))
THROTTLED = NeedVerdict(Outcome.THROTTLED, told=Told(retry_after=7.0))


def throttled_call(name: str = "payments", told: Told | None = None) -> AttemptCalls:
    calls = AttemptCalls()
    calls.summary_of(name).ended(Outcome.THROTTLED, 1.0, None, told)
    return calls


def test_an_exception_that_says_not_so_fast_is_nobodys_failure() -> None:
    """The need is told so, with what the server said; the message comes again, and the time that it was told goes with it."""
    result = attribute([LIMITED, MAIL], None, SlowDown(), NOW)
    assert result == Attribution((THROTTLED, IGNORED), Cause.THROTTLED, retry_after=7.0)


def test_what_is_a_failure_for_another_need_is_a_failure() -> None:
    """Nothing shows whose it was, and the failure is what another message would meet."""
    result = attribute([LIMITED, Need("ledger")], None, SlowDown(), NOW)
    assert (result.cause, [finding.outcome for finding in result.findings]) == (Cause.DEPENDENCY, [Outcome.THROTTLED, Outcome.FAILURE])


def test_a_call_that_was_throttled_is_no_failure_of_the_message() -> None:
    """The exception of the call leaves the handler."""
    calls = throttled_call(told=Told(retry_after=3.0))
    error = SlowDown()
    calls.excused.append(error)
    result = attribute([LIMITED], calls, error, NOW)
    assert (result.cause, result.retry_after) == (Cause.THROTTLED, 3.0)
    assert result.findings[0].told == Told(retry_after=3.0)


def test_an_exception_made_from_a_throttled_result_is_no_failure_of_the_message() -> None:
    """As `raise_for_status` does after a call that returned a 429."""
    calls = throttled_call()
    calls.summary_of("payments").failed_result = True
    assert attribute([LIMITED], calls, SlowDown(), NOW).cause is Cause.THROTTLED


def test_a_mistake_after_a_throttled_call_is_the_messages_own() -> None:
    """The need is told that it was too fast all the same."""
    result = attribute([LIMITED], throttled_call(), KeyError("amount"), NOW)
    assert (result.cause, result.findings[0].outcome) == (Cause.MESSAGE, Outcome.THROTTLED)


def test_a_handler_that_returns_has_processed_its_message() -> None:
    """It may have waited itself and called again; the limit is learned from nevertheless."""
    calls = throttled_call()
    calls.summary_of("payments").ended(Outcome.SUCCESS, 1.0)
    result = attribute([LIMITED], calls, None, NOW)
    assert (result.cause, result.findings[0].outcome) == (Cause.RETURNED, Outcome.THROTTLED)


def test_a_failed_call_of_another_dependency_is_what_counts() -> None:
    """Its circuit decides when the message comes again."""
    calls = throttled_call()
    calls.summary_of("mail").ended(Outcome.FAILURE, 1.0)
    error = SlowDown()
    calls.excused.append(error)
    assert attribute([LIMITED, MAIL], calls, error, NOW).cause is Cause.DEPENDENCY


def test_an_undeclared_dependency_that_throttles_is_named() -> None:
    """So that the message needs it from now on."""
    calls = throttled_call("ledger", Told(retry_after=2.0))
    error = SlowDown()
    calls.excused.append(error)
    result = attribute([MAIL], calls, error, NOW)
    assert (result.undeclared, result.cause, result.retry_after) == ((("ledger", Outcome.THROTTLED),), Cause.THROTTLED, 2.0)


def test_dependencies_are_named_by_outcome() -> None:
    """Needs in their order, then what was called besides."""
    findings = (SUCCESS, FAILURE, NeedVerdict(Outcome.THROTTLED))
    result = Attribution(findings, Cause.DEPENDENCY, undeclared=(("ledger", Outcome.FAILURE), ("mail", Outcome.SUCCESS)))
    assert result.named(["orders", "payments", "stock"], Outcome.FAILURE) == ["payments", "ledger"]
    assert result.named(["orders", "payments", "stock"], Outcome.THROTTLED) == ["stock"]
