"""Attribution: when a handler has ended, whose success or failure was it? One finding for each delivery and need, and one cause.

1. A need that a call form called: FAILURE if any of its calls failed (the handler returning changes nothing), THROTTLED if any was
   throttled, else what they came to.
2. No call form ran: a return is SUCCESS for every need; an exception is FAILURE for *every* need whose `failures` match, one vote each.
   Neighbours clear the innocent. It is THROTTLED for every need whose `throttled` matches.
3. Call forms ran: a need without a call gets no verdict, and an exception that none of them took for a failure is the message's own.

An exception is read with all that it stands for (core/causes.py): causes, members of groups, and last what was being handled when it was
raised. `Reject` and the policy's `not_retryable` win wherever they were put on purpose. If one was only being handled, it wins if the
exception is nobody's failure. So of a group with a failure of the dependency and an error of the message's own, the failure counts: the
dependency was down, and what is wrong with the message shows again when it is not.

Doubt never spends a message's budget. That decides six cases which the rules leave open:
- An exception raised because of one that a call form took for a failure (its cause, its context, a member of a group) is not the
  message's own.
- A call whose result failed (`result_failures`) is often followed by an exception made from that result, as `raise_for_status` does. It
  belongs to that dependency, if its `failures` match it.
- A call that the handler's own `asyncio.timeout` cut short ended without a verdict, since cancelling is routine. The TimeoutError that
  leaves the handler then belongs to that dependency, if its `failures` match it.
- The guard's own `timeout` is no exception type of any client, so `failures` is not asked: the needs whose calls were under way failed, or
  all needs if no call form ran.
- An exception that is throttled for one need and a failure for another is a failure: the message comes again either way.
- A user's predicate that raises says nothing: no verdict and no charge.
- What is no Exception (a cancellation of the handler's own making, a GeneratorExit, a group of nothing else) is no type that `failures`
  could match, and it is the message's own: an end that nothing counts would be tried for ever. If it cut a call short, that call may be the
  reason, and then it is read as the TimeoutError of a limit that the handler has set. It is unclaimed like any other: a handler that
  cancels itself when nobody answers does so for every message of an outage.

`AttemptCalls` keeps what the call forms of one attempt saw, until the handler has ended and `attribute` reads it. A handler that uses no
call form never has one: the first call form creates it, and on the fast path it is None. It is written from the handler's own tasks and
from its thread, so a running call is a key of a dict (one step for the interpreter), never a counter.

What is ugly: a call that outlives its handler, in a task left behind, is seen by nobody, or by the lane's next delivery.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol, cast

from holdgate.core import Outcome, Told
from holdgate.core.causes import chain_of, leaves, reading
from holdgate.core.outcomes import is_program_error
from holdgate.errors import CallNotPermitted, Reject

# Names of the module: an enum's member costs more to look up than the rest of a step here.
_SUCCESS = Outcome.SUCCESS
_FAILURE = Outcome.FAILURE
_THROTTLED = Outcome.THROTTLED
_IGNORED = Outcome.IGNORED


# What shows more stays, whatever comes after it: one failed call of several is a failure, and a good call shows more than one that decides
# nothing.
_WEIGHT = {_IGNORED: 0, _SUCCESS: 1, _THROTTLED: 2, _FAILURE: 3}


class CallSummary:
    """What the calls of one dependency came to in this attempt.

    `outcome` None means that no call has ended with a verdict. `slowest` is the longest of those that ended in SUCCESS or FAILURE, and
    `cut_short` the longest of those that the handler itself cancelled, in seconds; None means that it cancelled none. `told` is what the
    answers said of a limit; None means that none did. `running` has the start of every call that has not ended, and keeps those that the
    guard's own `timeout` ended.
    """

    __slots__ = ("cut_short", "failed_result", "outcome", "retry_after", "running", "slowest", "told")

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.slowest = 0.0
        self.retry_after: float | None = None
        self.told: Told | None = None
        self.cut_short: float | None = None
        self.failed_result = False  # a call returned, and `result_failures` or `result_throttled` took that for one
        self.running: dict[object, float] = {}

    def ended(self, outcome: Outcome, duration: float, retry_after: float | None = None, told: Told | None = None) -> None:
        """Note a call that ended by itself."""
        if self.outcome is None or _WEIGHT[outcome] > _WEIGHT[self.outcome]:
            self.outcome = outcome
        if duration > self.slowest and (outcome is _SUCCESS or outcome is _FAILURE):
            self.slowest = duration
        if retry_after is not None:
            self.retry_after = max(retry_after, self.retry_after or 0.0)
        if told is not None:
            self.told = told if self.told is None else told.after(self.told)

    def cut(self, duration: float) -> None:
        """Note a call that the handler cancelled after `duration` seconds."""
        self.cut_short = max(duration, self.cut_short or 0.0)

    def under_way(self, now: float) -> float | None:
        """Return how long the longest call that has not ended has taken; None means that all have."""
        # list() first: a thread may begin a call at this moment, and a dict must not grow under a loop.
        return max((now - started for started in list(self.running.values())), default=None)


class AttemptCalls:
    """All calls of one attempt that were made with call forms.

    `summaries` go by name of the dependency, declared or not. `excused` are the exceptions that are not the message's own: a call form took
    them for its dependency's failure, or could not tell. `refused` are the dependencies that refused a call. `timed_out` is set before a
    handler is cancelled because its own `timeout` is over. `held` is the call forms' own: what they know, after its first call, of a
    dependency whose permit the delivery holds.
    """

    __slots__ = ("excused", "held", "refused", "summaries", "timed_out")

    def __init__(self) -> None:
        self.summaries: dict[str, CallSummary] = {}
        self.timed_out = False
        self.excused: list[BaseException] = []
        self.refused: dict[str, None] = {}  # a set that keeps its order
        self.held: dict[object, Any] = {}

    def summary_of(self, name: str) -> CallSummary:
        """Return the summary of one dependency; created by the first request for it."""
        found = self.summaries.get(name)
        return self.summaries.setdefault(name, CallSummary()) if found is None else found


class Judge(Protocol):
    """A dependency, as far as attribution asks it. None of the methods raises."""

    @property
    def name(self) -> str: ...

    def classify(self, exception: BaseException) -> Outcome | None:
        """Return FAILURE, THROTTLED or IGNORED; None means that it gives no verdict: it is never an outcome, or the user's predicate
        failed."""
        ...

    def excludes(self, exception: BaseException) -> bool:
        """Return whether the user's settings exclude it from this dependency's failures."""
        ...

    def retry_after_of(self, exception: BaseException) -> float | None:
        """Return how many seconds the server asked to wait; None means that it did not ask."""
        ...

    def told_of(self, answer: object) -> Told | None:
        """Return what a throttled exception says of the limit; None means nothing."""
        ...


class Cause(Enum):
    """Why a handler ended as it did, and so what becomes of its message.

    RETURNED: done. DEPENDENCY: not the message's fault, or nothing shows whose: again, uncharged. MESSAGE: its own failure, charged.
    THROTTLED: a dependency has too many calls for now: again at its place, and nothing counts.
    REJECTED: the handler or the policy rejects it. REFUSED: a call was not permitted, so it was not its turn: held, nothing counts.
    POSTPONED: its handler asked for another time: again, nothing counts.
    """

    RETURNED = "returned"
    DEPENDENCY = "dependency"
    THROTTLED = "throttled"
    MESSAGE = "message"
    REJECTED = "rejected"
    REFUSED = "refused"
    POSTPONED = "postponed"


class NeedVerdict(NamedTuple):
    """The finding on one need. `outcome` None means: release the permit. `duration` None means as long as the permit was held.

    `retry_after` is of a failure. `told` is what a throttled or a good answer said of the limit; None means nothing.
    """

    outcome: Outcome | None
    duration: float | None = None
    retry_after: float | None = None
    told: Told | None = None


class Attribution(NamedTuple):
    """`findings` has one entry per need, in the order they were given.

    `refused` names the dependencies that refused a call, declared ones too; it may be filled after a return as well. `shared`: one
    exception was a failure of several needs, because no call form shows whose it was. `reason` is that of a `Reject`; None means that there
    was none. `unclaimed` is the type of an exception, with its module, that is the message's own only because no setting speaks of it; of a
    group that of its first member. It is empty for every other end. `status` is that of the HTTP answer in such an exception; None means
    that there is none. `is_bug`: such an exception is an error of the program, as KeyError is, or no Exception. `undeclared` has what the
    calls of dependencies came to that are no needs of the message, by name: SUCCESS, THROTTLED or FAILURE. `retry_after` is how many
    seconds those ask to wait that have throttled it, the longest; None means that none does.
    """

    findings: tuple[NeedVerdict, ...]
    cause: Cause
    refused: tuple[str, ...] = ()
    shared: bool = False
    reason: str | None = None
    unclaimed: str = ""
    status: int | None = None
    is_bug: bool = False
    undeclared: tuple[tuple[str, Outcome], ...] = ()
    retry_after: float | None = None

    def named(self, needs: Iterable[str], outcome: Outcome) -> list[str]:
        """Return the dependencies with this outcome, of the needs by their names, and of the others that were called."""
        declared = [name for name, finding in zip(needs, self.findings, strict=True) if finding.outcome is outcome]
        return declared + [name for name, found in self.undeclared if found is outcome]


_NO_VERDICT = NeedVerdict(None)
_SUCCEEDED = NeedVerdict(Outcome.SUCCESS)
_FAILED = NeedVerdict(Outcome.FAILURE)
_LEFT_OUT = NeedVerdict(Outcome.IGNORED)


def attribute(
    needs: Sequence[Judge],
    calls: AttemptCalls | None,
    exception: BaseException | None,
    now: float,
    *,
    timed_out: bool = False,
    not_retryable: tuple[type[Exception], ...] = (),
    postponed: bool = False,
) -> Attribution:
    """Return whose success or failure the end of a handler was; `exception` None means that it returned.

    `timed_out`: the guard's own `timeout` ended it (then `exception` is any TimeoutError). `not_retryable` are the policy's types that
    reject a message. `postponed`: the handler returned, and asked to be called again. A refusal comes before an exception: what looks
    like poison may be the outage. Not for handlers that were interrupted by shutdown or a lost channel, nor for one that ends the process:
    those give their permits back without a verdict.
    """
    found = _attribute(needs, calls, exception, now, timed_out=timed_out, not_retryable=not_retryable, postponed=postponed)
    undeclared = () if calls is None else _undeclared(needs, calls)
    return found._replace(undeclared=undeclared) if undeclared else found


def _attribute(
    needs: Sequence[Judge],
    calls: AttemptCalls | None,
    exception: BaseException | None,
    now: float,
    *,
    timed_out: bool,
    not_retryable: tuple[type[Exception], ...],
    postponed: bool,
) -> Attribution:
    refused = _refused(calls, exception)
    if exception is None and postponed:
        return Attribution(_by_calls(needs, calls, None, now), Cause.POSTPONED, refused)
    if exception is None:
        findings = (_SUCCEEDED,) * len(needs) if calls is None else _by_calls(needs, calls, None, now)
        return Attribution(findings, Cause.RETURNED, refused)
    if refused:
        return Attribution(_by_calls(needs, calls, None, now), Cause.REFUSED, refused)
    raised, meanwhile = chain_of(exception)
    kinds: tuple[type[Exception], ...] = (Reject, *not_retryable)
    rejection = _first(raised, kinds)
    if rejection is None:
        ended = _ended(needs, calls, exception, now, timed_out=timed_out)
        rejection = _first(meanwhile, kinds) if ended.cause is Cause.MESSAGE else None
        if rejection is None:
            return ended
    reason = rejection.reason if isinstance(rejection, Reject) else None
    return Attribution(_by_calls(needs, calls, None, now), Cause.REJECTED, reason=reason)


def _undeclared(needs: Sequence[Judge], calls: AttemptCalls) -> tuple[tuple[str, Outcome], ...]:
    """Return what the calls of dependencies came to that are no needs."""
    declared = [need.name for need in needs]
    return tuple(
        (name, summary.outcome)
        for name, summary in calls.summaries.items()
        if name not in declared and summary.outcome is not None and summary.outcome is not _IGNORED
    )


def _first(links: Sequence[BaseException], kinds: tuple[type[Exception], ...]) -> BaseException | None:
    return next((link for link in links if isinstance(link, kinds)), None)


def _ended(needs: Sequence[Judge], calls: AttemptCalls | None, exception: BaseException, now: float, *, timed_out: bool) -> Attribution:
    """Attribute an exception by the needs and the calls: neither the handler nor the policy rejects the message."""
    if calls is None:
        return _by_end(needs, exception, timed_out=timed_out)
    own = not _excused(needs, calls, exception, timed_out=timed_out)
    findings = _by_calls(needs, calls, exception, now, timed_out=timed_out)
    if own:
        return _own(needs, exception, findings)
    seen = calls.summaries.values()
    if any(finding.outcome is _FAILURE for finding in findings) or any(summary.outcome is _FAILURE for summary in seen):
        return Attribution(findings, Cause.DEPENDENCY)
    said = [summary.told for summary in seen if summary.outcome is _THROTTLED]
    return Attribution(findings, Cause.THROTTLED, retry_after=_longest(said)) if said else Attribution(findings, Cause.DEPENDENCY)


def _longest(said: Iterable[Told | None]) -> float | None:
    return max((told.retry_after for told in said if told is not None and told.retry_after is not None), default=None)


def _refused(calls: AttemptCalls | None, exception: BaseException | None) -> tuple[str, ...]:
    # A refusal that is not in `calls` comes from the circuit of another guard, or from a thread that lost its context.
    unseen = [link.dependency for link in _chain(exception) if isinstance(link, CallNotPermitted)]
    seen = () if calls is None else calls.refused
    return tuple(dict.fromkeys([*seen, *unseen])) if seen or unseen else ()


def _by_end(needs: Sequence[Judge], exception: BaseException, *, timed_out: bool) -> Attribution:
    """Attribute an exception by itself: no call form ran."""
    findings = (_FAILED,) * len(needs) if timed_out else tuple(_judged(need, exception) for need in needs)
    outcomes = [finding.outcome for finding in findings]
    failures = outcomes.count(_FAILURE)
    if _THROTTLED in outcomes and not failures:
        return Attribution(findings, Cause.THROTTLED, retry_after=_longest(finding.told for finding in findings))
    own = not failures and (not isinstance(exception, Exception) or outcomes.count(_IGNORED) == len(outcomes))
    return _own(needs, exception, findings) if own else Attribution(findings, Cause.DEPENDENCY, shared=failures > 1)


def _own(needs: Sequence[Judge], exception: BaseException, findings: tuple[NeedVerdict, ...]) -> Attribution:
    """Return the message's own failure: a need excludes the exception, or no need claims it."""
    if any(need.excludes(exception) for need in needs):
        return Attribution(findings, Cause.MESSAGE)
    leaf = leaves(exception)[0]
    is_bug = is_program_error(leaf) or not isinstance(leaf, Exception)
    return Attribution(findings, Cause.MESSAGE, unclaimed=_name_of(type(leaf)), status=_status_of(leaf), is_bug=is_bug)


def _status_of(exception: BaseException) -> int | None:
    from holdgate.http.answers import status_of  # noqa: PLC0415 - the package brings the reading of dates along, which a start needs not

    return status_of(exception)


def _name_of(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _judged(need: Judge, exception: BaseException) -> NeedVerdict:
    outcome = need.classify(exception)
    if outcome is Outcome.FAILURE:
        return NeedVerdict(Outcome.FAILURE, None, need.retry_after_of(exception))
    if outcome is Outcome.THROTTLED:
        return NeedVerdict(Outcome.THROTTLED, told=need.told_of(exception))
    return _NO_VERDICT if outcome is None else _LEFT_OUT


def _by_calls(
    needs: Sequence[Judge], calls: AttemptCalls | None, exception: BaseException | None, now: float, *, timed_out: bool = False
) -> tuple[NeedVerdict, ...]:
    summaries = {} if calls is None else calls.summaries
    timeout = _timeout(exception)
    return tuple(_of_calls(need, summaries.get(need.name), timeout, now, timed_out=timed_out) for need in needs)


def _of_calls(need: Judge, summary: CallSummary | None, timeout: TimeoutError | None, now: float, *, timed_out: bool) -> NeedVerdict:
    if summary is None:
        return _NO_VERDICT
    cut = summary.under_way(now) if timed_out else summary.cut_short
    if cut is not None and (timed_out or (timeout is not None and need.classify(timeout) is Outcome.FAILURE)):
        return NeedVerdict(Outcome.FAILURE, max(summary.slowest, cut), summary.retry_after)
    if summary.outcome in (None, Outcome.IGNORED):
        return NeedVerdict(summary.outcome)
    return NeedVerdict(summary.outcome, summary.slowest, summary.retry_after, summary.told)


def _excused(needs: Sequence[Judge], calls: AttemptCalls, exception: BaseException, *, timed_out: bool) -> bool:
    """Return whether the exception is not the message's own, or may not be."""
    if timed_out:
        return any(summary.running for summary in calls.summaries.values())
    if any(link is seen for link in _chain(exception) for seen in calls.excused):
        return True
    timeout = _timeout(exception)
    judges = {need.name: need for need in needs}
    return any(_suspect(judges.get(name), summary, exception, timeout) for name, summary in calls.summaries.items())


def _suspect(judge: Judge | None, summary: CallSummary, exception: BaseException, timeout: TimeoutError | None) -> bool:
    """Return whether the exception may come from this dependency though no call form saw it: a result that failed, a call cut short."""
    evidence = exception if summary.failed_result else timeout if summary.cut_short is not None else None
    # An undeclared dependency cannot be asked here: doubt.
    return evidence is not None and (judge is None or judge.classify(evidence) is not Outcome.IGNORED)


def _timeout(exception: BaseException | None) -> TimeoutError | None:
    """Return the exception that a call which was cut short is judged by."""
    unnamed = None if exception is None or isinstance(exception, Exception) else TimeoutError()
    return next((link for link in _chain(exception) if isinstance(link, TimeoutError)), unnamed)


def _chain(exception: BaseException | None) -> Sequence[BaseException]:
    """Return the exception and all that it came from: causes, contexts (suppressed ones too), members of groups; each once."""
    return () if exception is None else reading(_walk, exception)


def _walk(exception: BaseException) -> list[BaseException]:
    met: set[int] = set()
    found: list[BaseException] = []
    ahead: list[BaseException | None] = [exception]
    while ahead:
        link = ahead.pop()
        if link is None or id(link) in met:
            continue
        met.add(id(link))
        found.append(link)
        ahead += [link.__context__, link.__cause__]
        if isinstance(link, BaseExceptionGroup):
            ahead.extend(cast("BaseExceptionGroup[BaseException]", link).exceptions)
    return found
