"""The report's words: each mistake that costs messages has its sentence, and a good handler has none."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from holdgate import CircuitSettings, Dependency, Reject, RetryPolicy, http
from holdgate.testing import Answered, Hung, MemoryDeadLetters, Outage, Rehearsal, ScriptedDependency, rehearse

payments = Dependency("payments", failures=http.failures)
bank = ScriptedDependency(payments)
OUTAGE = Outage(10, 70)


class Wrapped(Exception):
    """What a client of somebody's own makes of a failure, and no `failures` know."""


async def good(delivery: Any) -> None:
    await bank.call(timeout=5)


async def swallowing(delivery: Any) -> None:
    with suppress(Exception):
        await bank.call(timeout=5)


async def wrapping(delivery: Any) -> None:
    try:
        await bank.call(timeout=5)
    except OSError:
        raise Wrapped from None


async def calling_nobody(delivery: Any) -> None:
    """As with a client that no stand-in was given to."""


def report_of(handler: Any, outage: Any = OUTAGE, **settings: Any) -> Rehearsal:
    return rehearse(handler, needs=[payments], outage=outage, **settings)


def test_a_good_handler_has_no_problem() -> None:
    """How many, at what cost, and how soon they were back."""
    report = report_of(good)

    assert report.problems == ()
    assert report.verdict == "100 of 100 messages processed; 19 calls failed in the outage; all came back within 3.9 s"
    assert report.back_after == pytest.approx(3.87, abs=0.01)


def test_without_an_outage_there_is_little_to_say() -> None:
    """That all were processed."""
    assert report_of(good, (), deliveries=1).verdict == "1 of 1 message processed"


def test_a_handler_that_swallows_errors() -> None:
    """Its messages are named, and none of them came back."""
    report = report_of(swallowing)

    assert report.problems == ("payments: 60 messages were reported as done while every call failed: the handler swallows errors",)
    assert report.verdict == report.problems[0] + "; 100 of 100 messages processed; 60 calls failed in the outage"
    assert report.swallowed == tuple(b"%d" % number for number in range(10, 70))


def test_a_handler_that_does_not_look_at_the_status() -> None:
    """An answer is no exception in most clients: that is said, too."""
    report = report_of(swallowing, Outage(10, 11, fault=Answered(503)))

    assert report.problems == (
        "payments: 1 message was reported as done while every call failed: the handler swallows errors, or does not look at the status",
    )


def test_a_handler_that_swallows_its_last_error_alone() -> None:
    """Some calls went through before."""
    stock = Dependency("stock", failures=http.failures)
    shelf = ScriptedDependency(stock)

    async def late(delivery: Any) -> None:
        await shelf.call()
        await asyncio.sleep(0.5)
        with suppress(ConnectionError):
            await shelf.call()

    report = rehearse(late, needs=[stock], deliveries=3, every=5, outage=Outage(5.25, 5.75))
    assert report.problems == ("stock: 1 message was reported as done while the last call failed: the handler swallows errors",)


def test_a_handler_that_tries_again_by_itself_is_good() -> None:
    """A call that failed and then went through has lost nothing."""

    async def stubborn(delivery: Any) -> None:
        for _ in range(3):
            with suppress(ConnectionError):
                return await bank.call()
            await asyncio.sleep(1)
        raise ConnectionError

    report = report_of(stubborn, Outage(10, 11.5))

    assert (report.problems, report.swallowed) == ((), ())
    assert report.failed_calls > 0


@pytest.mark.parametrize("uses_call_form", [True, False])
def test_the_error_that_a_call_form_has_seen_counts_all_the_same(uses_call_form: bool) -> None:
    """What swallows it is lost in both, though the circuit opens in one."""

    async def handler(delivery: Any) -> None:
        with suppress(Exception):
            await (payments.call(bank.call) if uses_call_form else bank.call())

    report = report_of(handler)

    assert report.problems[0].endswith("reported as done while every call failed: the handler swallows errors")
    assert len(report.swallowed) < 20 if uses_call_form else len(report.swallowed) == 60


def test_an_error_that_matches_no_failures() -> None:
    """What to add where, and what it has cost."""
    report = report_of(wrapping, dead_letters=MemoryDeadLetters())

    assert report.problems == (
        f"payments: the circuit never opened: the handler's error {__name__}.Wrapped matches no failures; add it",
        "2 good messages became dead letters",
    )
    assert report.rejected == (b"10", b"11")


def test_an_error_that_a_call_form_has_seen_needs_no_match() -> None:
    """The circuit has opened by what the call raised, and nothing was charged for what the handler made of it."""

    async def handler(delivery: Any) -> None:
        try:
            await payments.call(bank.call)
        except ConnectionError:
            raise Wrapped from None

    assert report_of(handler, dead_letters=MemoryDeadLetters()).problems == ()


def test_several_errors_that_match_no_failures() -> None:
    """All of them."""

    async def handler(delivery: Any) -> None:
        try:
            await bank.call()
        except ConnectionError:
            raise (Wrapped if delivery.attempt % 2 else KeyError) from None

    report = report_of(handler, dead_letters=MemoryDeadLetters())

    assert report.problems[0] == (
        f"payments: the circuit never opened: the handler's errors KeyError and {__name__}.Wrapped match no failures; add them"
    )


def test_good_messages_that_are_skipped() -> None:
    """Nobody has kept them."""
    report = report_of(wrapping, retry=RetryPolicy(attempts=1, on_exhausted="skip"))

    assert report.problems[-1] == f"{len(report.rejected)} good messages skipped, and lost"
    assert len(report.rejected) > 1


def test_a_good_message_that_blocks_its_partition() -> None:
    """Without dead letters."""
    report = report_of(wrapping, retry=RetryPolicy(attempts=1))

    assert (
        report.problems[-1] == "90 messages were not processed: rehearsal[0]@10 was charged for the outage alone, and blocks its partition"
    )
    assert report.back_after is None


def test_a_good_message_that_the_handler_rejects() -> None:
    """Because of the outage."""

    async def rejecting(delivery: Any) -> None:
        try:
            await bank.call()
        except ConnectionError:
            raise Reject("the bank says no") from None

    report = report_of(rejecting, dead_letters=MemoryDeadLetters())

    assert report.problems == ("60 good messages became dead letters",)


def test_a_bad_message_is_no_good_one() -> None:
    """It failed while everything was up, too: a dead letter is right for it."""

    async def handler(delivery: Any) -> None:
        if delivery.body in {b"5", b"40"}:
            raise KeyError("amount")
        await bank.call()

    report = report_of(handler, dead_letters=MemoryDeadLetters())

    assert (report.rejected, report.problems) == ((b"5", b"40"), ())


def test_a_bad_message_without_dead_letters_is_left() -> None:
    """With what waits behind it, and for no fault of the outage."""

    async def handler(delivery: Any) -> None:
        if delivery.body == b"90":
            raise Reject("no amount")
        await bank.call()

    report = report_of(handler)

    assert report.problems == ("10 messages were not processed",)


def test_an_outage_that_no_call_has_met() -> None:
    """The rehearsal proves nothing: the client is a real one, or a fake that never fails."""
    report = report_of(calling_nobody)

    (problem,) = report.problems
    assert problem.startswith("payments: no call met its outage, though 60 handlers ran meanwhile: give the handler's client a stand-in")


def test_an_outage_in_which_nothing_came() -> None:
    """It begins after the last message."""
    report = report_of(good, Outage(200, 210))

    assert report.problems == (
        "payments: no handler ran while it was down: deliver more, or let the outage begin before the last delivery",
    )


def test_a_client_without_a_time_limit() -> None:
    """Nothing is lost, and one call holds everything up."""

    async def patient(delivery: Any) -> None:
        await bank.call()

    report = report_of(patient, Outage(10, 70, fault=Hung()))

    assert report.problems == ("payments: 1 call hung until the outage was over: the client has no time limit",)


def test_each_dependency_has_its_own_sentences() -> None:
    """With its name in front."""
    stock = Dependency("stock", failures=http.failures)
    shelf = ScriptedDependency(stock)

    async def handler(delivery: Any) -> None:
        with suppress(ConnectionError):
            await shelf.call()
        await bank.call()

    outages = [Outage(10, 20, dependency=stock), Outage(30, 40, dependency=payments)]
    report = rehearse(handler, needs=[payments, stock], outage=outages)

    assert report.problems == ("stock: 10 messages were reported as done while every call failed: the handler swallows errors",)
    assert "failed in 2 outages" in report.verdict


def test_the_fallback_is_in_the_verdict() -> None:
    """With how much it took."""

    async def store(delivery: Any) -> None:
        """Keep it."""

    report = report_of(good, fallback=store)

    assert f"the fallback took {len(report.fallen_back)} messages" in report.verdict


def test_few_calls_that_open_nothing_are_no_problem() -> None:
    """An outage of two seconds; or a circuit that opens late."""
    lazy = Dependency("payments", failures=http.failures, settings=CircuitSettings(consecutive_failures=50))

    async def handler(delivery: Any) -> None:
        await ScriptedDependency(lazy).call()

    assert rehearse(handler, needs=[lazy], outage=Outage(10, 12)).problems == ()
