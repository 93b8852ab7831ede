"""What is made of FastStream's own words, and of exceptions that end more than a message."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("faststream", reason="faststream is not installed: pip install 'holdgate[faststream]'")

from faststream import ContextRepo
from faststream.exceptions import AckMessage, IgnoredException, NackMessage, RejectMessage, SkipMessage, StopApplication, StopConsume
from faststream.message import AckStatus

from holdgate import Delivery, Queue, Reject
from holdgate.integrations.faststream.middleware import GuardMiddleware, Held, goes_on, meant_by
from holdgate.integrations.faststream.rabbitmq import RabbitMQStation

ORDERS = Queue("orders")
BAD = ValueError("bad")


class Stations:
    """Gives this station."""

    def __init__(self, station: Any) -> None:
        self._station = station

    async def station_of(self, *_: object) -> Any:
        return self._station


@pytest.mark.parametrize("error", [AckMessage(), SkipMessage()])
def test_what_is_to_be_acked_is_done(error: BaseException) -> None:
    """AckMessage and SkipMessage end a message well."""
    assert meant_by(Delivery(ORDERS, None), None, error) is None


@pytest.mark.parametrize("status", [AckStatus.ACKED, AckStatus.REJECTED])
def test_what_the_handler_has_settled_is_done(status: AckStatus) -> None:
    """Whatever it raises afterwards: the broker has been told."""
    assert meant_by(Delivery(ORDERS, None), status, BAD) is None


@pytest.mark.parametrize(("status", "error"), [(None, NackMessage()), (AckStatus.NACKED, None)])
def test_what_is_to_come_again_asks_for_another_try(status: AckStatus | None, error: BaseException | None) -> None:
    """NackMessage and `await message.nack()` are `delivery.retry()`, which charges nothing."""
    delivery = Delivery(ORDERS, None)
    assert meant_by(delivery, status, error) is None
    assert delivery.request is not None
    assert delivery.request.reason is None


def test_a_reject_message_is_a_reject() -> None:
    """It goes where rejected messages go, at once."""
    assert isinstance(meant_by(Delivery(ORDERS, None), None, RejectMessage()), Reject)


@pytest.mark.parametrize("status", [None, AckStatus.NACKED])
def test_any_other_exception_is_the_attempts(status: AckStatus | None) -> None:
    """The engine judges it, even where the handler has nacked before."""
    assert meant_by(Delivery(ORDERS, None), status, BAD) is BAD


@pytest.mark.parametrize("error", [StopConsume(), StopApplication(), SystemExit(3), KeyboardInterrupt(), IgnoredException()])
def test_what_ends_more_than_the_message_is_faststreams(error: BaseException) -> None:
    """FastStream stops the subscriber, or the app, when it sees them."""
    assert goes_on(error)


@pytest.mark.parametrize("error", [BAD, NackMessage(), AckMessage(), ExceptionGroup("several", [BAD])])
def test_what_the_guard_has_settled_ends_there(error: BaseException) -> None:
    """FastStream would log it with a traceback, for each failure of an outage."""
    assert not goes_on(error)


async def test_a_cancellation_goes_on_if_the_task_is_cancelled() -> None:
    """One raised by hand, or the guard's own that was taken back, cancels nothing."""
    assert not goes_on(asyncio.CancelledError())
    seen: list[bool] = []

    async def handle() -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError as error:
            seen.append(goes_on(error))
            raise

    task = asyncio.create_task(handle())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [True]


def test_held_is_quiet_in_faststreams_log() -> None:
    """FastStream logs an IgnoredException by its text alone."""
    assert isinstance(Held(), IgnoredException)
    assert str(Held()) == "held by the guard"


async def test_a_mistake_of_ours_in_a_rabbitmq_task_stops_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised where FastStream awaits, and FastStream would swallow it."""
    station: Any = RabbitMQStation("orders", 10, 1800.0)
    monkeypatch.setattr(station, "_arrived", lambda _: [].missing)
    middleware = GuardMiddleware.of({}, Stations(station))(object(), context=ContextRepo())
    await middleware.__aenter__()
    message: Any = SimpleNamespace(raw_message=object())
    with pytest.raises(StopApplication):
        await middleware.consume_scope(lambda _: message, message)


async def test_what_is_held_in_a_rabbitmq_task_ends_in_the_middleware() -> None:
    """Whatever a middleware further in has made of it: the guard stops, and the message is the broker's."""
    station: Any = RabbitMQStation("orders", 10, 1800.0)  # no run, as after a stop
    middleware = GuardMiddleware.of({}, Stations(station))(object(), context=ContextRepo())
    await middleware.__aenter__()
    message: Any = SimpleNamespace(raw_message=object())
    with pytest.raises(Held):
        await middleware.consume_scope(lambda _: message, message)
    assert await middleware.__aexit__(None, None, None) is True
