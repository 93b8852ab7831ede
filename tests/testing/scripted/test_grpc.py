"""The far end for gRPC."""

from __future__ import annotations

from typing import Any

import pytest

from holdgate import Dependency
from holdgate.presets import grpc as preset
from holdgate.testing import Answered, Hung, Refused
from tests.testing.scripted.rehearsed import COUNT, FAULTS, PATIENCE, assert_lost_nothing, first_error, name_of, real, through

grpc = pytest.importorskip("grpc")
from holdgate.testing.scripted.grpc import AsyncScriptedChannel, ScriptedChannel  # noqa: E402

bank = Dependency("bank", failures=preset.failures, retry_after=preset.retry_after)


async def charged(request: Any) -> bytes:
    return b"async " + request


ANSWERS = {
    "/bank.Payments/Charge": lambda request: b"charged " + request,
    "/bank.Payments/ChargeSlowly": charged,
    "/bank.Payments/Sum": sum,
    "/bank.Payments/List": lambda request: [request, request + 1],
}
CODES = {"refused": "UNAVAILABLE", "dropped": "UNAVAILABLE", "hung": "DEADLINE_EXCEEDED", "503": "UNAVAILABLE", "429": "RESOURCE_EXHAUSTED"}
plain_channel, async_channel = ScriptedChannel(bank, ANSWERS), AsyncScriptedChannel(bank, ANSWERS)
# As a generated stub has them.
charge_plainly = plain_channel.unary_unary("/bank.Payments/Charge", request_serializer=bytes, response_deserializer=bytes)
charge = async_channel.unary_unary("/bank.Payments/Charge", request_serializer=bytes, response_deserializer=bytes)


def plain(delivery: Any) -> None:
    charge_plainly(delivery.body, timeout=PATIENCE)


async def on_loop(delivery: Any) -> None:
    await charge(delivery.body, timeout=PATIENCE)


async def streamed(delivery: Any) -> None:
    assert [each async for each in async_channel.unary_stream("/bank.Payments/List")(1, timeout=PATIENCE)] == [1, 2]


def streamed_plainly(delivery: Any) -> None:
    assert list(plain_channel.unary_stream("/bank.Payments/List")(1, PATIENCE)) == [1, 2]


@pytest.mark.parametrize("situation", FAULTS)
@pytest.mark.parametrize("handler", [plain, on_loop, streamed, streamed_plainly])
def test_it_fails_as_the_real_server(handler: Any, situation: str) -> None:
    """The code is that of a real server, and the class of the asynchronous client's error as well."""
    error: Any = first_error(lambda around: through(around(handler), bank, FAULTS[situation]))

    assert (error.code().name, isinstance(error, grpc.RpcError)) == (CODES[situation], True)
    assert error.details()
    assert list(error.initial_metadata()) == []
    if handler is on_loop and situation in {"refused", "dropped", "hung"}:
        assert name_of(error) == real("grpc", "grpc.aio", situation)


@pytest.mark.parametrize("situation", FAULTS)
@pytest.mark.parametrize("handler", [plain, on_loop, streamed, streamed_plainly])
def test_a_good_handler_loses_nothing(handler: Any, situation: str) -> None:
    """In a thread, on the loop, and with streams."""
    assert_lost_nothing(through(handler, bank, FAULTS[situation]))


@pytest.mark.parametrize("handler", [plain, on_loop])
def test_a_push_back_is_read(handler: Any) -> None:
    """30 seconds: two calls in a minute."""
    assert through(handler, bank, Answered(429, retry_after=30)).failed_calls == 2


@pytest.mark.parametrize("is_async", [True, False])
def test_who_waits_for_a_connection_hangs(is_async: bool) -> None:
    """`wait_for_ready` is not refused: it ends by its deadline."""
    call = charge if is_async else charge_plainly
    error: Any = first_error(lambda around: through(around(lambda _: call(b"5", timeout=PATIENCE, wait_for_ready=True)), bank, Refused()))

    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("is_async", [True, False])
def test_who_waits_for_a_connection_longer_than_the_outage_is_answered(is_async: bool) -> None:
    """The connection comes when the outage is over, and nothing was swallowed."""
    call = charge if is_async else charge_plainly
    report = through(lambda delivery: call(delivery.body, timeout=3600, wait_for_ready=True), bank, Refused())

    assert report.problems == ()
    assert (report.failed_calls, report.swallowed) == (1, ())
    assert report.called == len(report.processed) == COUNT  # no message needed a second attempt


@pytest.mark.parametrize("is_async", [True, False])
def test_a_call_without_a_deadline_hangs_until_the_outage_is_over(is_async: bool) -> None:
    """It is said."""
    call = charge if is_async else charge_plainly
    report = through(lambda delivery: call(delivery.body), bank, Hung())

    assert report.problems == ("bank: 1 call hung until the outage was over: the client has no time limit",)


def test_an_exception_of_ones_own_is_raised_as_it_is() -> None:
    """What no stand-in knows of."""
    fault = RuntimeError("channel closed")

    assert first_error(lambda around: through(around(on_loop), bank, fault)) is fault


async def test_it_answers_what_it_is_given() -> None:
    """By the method, async or plain, with streams of both sides; it is up where no rehearsal is."""
    async with async_channel as channel:
        assert await channel.unary_unary("/bank.Payments/ChargeSlowly")(b"5") == b"async 5"
        assert await channel.stream_unary("/bank.Payments/Sum")([1, 2]) == 3
        assert [each async for each in channel.stream_stream("/bank.Payments/List")(1)] == [1, 2]
        await channel.channel_ready()
        assert channel.get_state() is grpc.ChannelConnectivity.READY
    with plain_channel as channel:
        assert channel.stream_unary("/bank.Payments/Sum")([1, 2]) == 3
        assert list(channel.stream_stream("/bank.Payments/List")(1)) == [1, 2]


def test_a_method_without_an_answer_is_named() -> None:
    """And those that have one."""
    with pytest.raises(LookupError, match=r"no answer for /bank.Payments/Refund, only for \['/bank.Payments/Charge'"):
        plain_channel.unary_unary("/bank.Payments/Refund")(b"5")
