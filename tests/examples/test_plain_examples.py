"""The examples that need no broker."""

from __future__ import annotations

import asyncio

from tests.examples.running import example

from examples import (
    dead_letters_test,
    fall_back_test,
    operate_test,
    order_test,
    outage_clients_test,
    outage_fake_test,
    outage_test,
    several_types_test,
    sort_errors_test,
)


async def test_the_call_forms_admit_refuse_fall_back_and_recover() -> None:
    """Each form goes through while all is well; three failures open, two calls are refused, and the wait ends in a probe."""
    async with example("call_form") as running:
        assert await running.ended() == 0

    assert running.log.splitlines() == [
        "call: 3.5",
        "guarded: 3.5",
        "block: 3.5",
        "sync: 3",
        "call 1: failed, and the circuit is CLOSED",
        "call 2: failed, and the circuit is CLOSED",
        "call 3: failed, and the circuit is OPEN",
        "call 4: refused, dependency 'prices' does not admit calls now",
        "call 5: refused, dependency 'prices' does not admit calls now",
        "fallback: 3.0",
        "after the wait: 3.5 HALF_OPEN",
    ]


async def test_a_loop_of_ones_own_loses_no_mail_and_closes_again() -> None:
    """Every mail is sent once, in order; the circuit opens, probes, and closes."""
    async with example("bring_your_own_loop") as running:
        assert await running.ended() == 0

    lines = running.log.splitlines()
    assert [line for line in lines if line.startswith("sent")] == [f"sent mail {number}" for number in range(1, 6)]
    events = [line.strip() for line in lines if not line.startswith("sent")]
    assert events[:2] == ["ThresholdExceeded", "CircuitOpened"]
    assert events[-1] == "CircuitClosed"


def test_the_rehearsals_pass() -> None:
    """The tests that a reader copies."""
    outage_test.charged.clear()
    outage_test.test_an_outage_of_an_hour_costs_nothing()
    outage_test.test_what_a_careless_handler_loses()


async def test_the_rehearsals_of_a_fake_pass() -> None:
    """From a plain test, and from an async one."""
    await asyncio.to_thread(outage_fake_test.test_a_bank_that_hangs_costs_nothing)
    await outage_fake_test.test_from_an_async_test()


def test_the_rehearsals_of_each_client_pass() -> None:
    """Five clients whose far end hangs for a minute."""
    outage_clients_test.test_requests()
    outage_clients_test.test_aiohttp()
    outage_clients_test.test_redis()
    outage_clients_test.test_sqlalchemy()
    outage_clients_test.test_grpc()


def test_the_test_of_dead_letters_passes() -> None:
    """The one that a reader copies."""
    dead_letters_test.test_what_is_no_amount_goes_to_the_dead_letters()


async def test_an_operators_words_hold_and_release() -> None:
    """For as long as they say."""
    operate_test.charged.clear()
    await operate_test.test_nothing_is_processed_during_the_migration()


def test_every_error_finds_its_way() -> None:
    """Each by its own, on a broker in memory."""
    sort_errors_test.test_every_error_finds_its_way()
    sort_errors_test.test_a_database_that_is_gone_is_a_failure_and_a_bug_is_not()


def test_what_goes_to_the_side_store() -> None:
    """In an outage all of it, and of a parked key all that comes after."""
    fall_back_test.charged.clear()
    fall_back_test.stored.clear()
    fall_back_test.test_nothing_waits_while_the_service_is_down()
    fall_back_test.test_no_message_overtakes_a_parked_one_of_its_key()


def test_a_slow_customer_holds_up_only_himself() -> None:
    """The order of each key is kept."""
    order_test.seen.clear()
    order_test.test_a_slow_customer_holds_up_only_himself()


def test_mails_go_on_while_charges_wait() -> None:
    """By a header, by a function, and not at all in the order of the source."""
    several_types_test.test_mails_go_on_while_payments_is_down()
    several_types_test.test_a_message_that_the_function_cannot_tell_goes_where_rejected_messages_go()
    several_types_test.test_in_the_order_of_the_source_everything_waits_behind_the_first_one()
