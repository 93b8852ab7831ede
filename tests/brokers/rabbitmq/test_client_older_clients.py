"""Both sides of each difference, whichever client is installed; `make test-lowest` meets the older side for real."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from holdgate.brokers.rabbitmq.client import close_called, on_consumer_cancel


@pytest.mark.parametrize("name", ["close_called", "_close_called"])
@pytest.mark.parametrize("closed", [False, True])
def test_a_close_that_was_called_is_seen(name: str, closed: bool) -> None:
    """By the public name of aio-pika 9.6, and by what the connections of before keep for themselves."""
    assert close_called(SimpleNamespace(**{name: closed})) is closed


def test_a_cancelled_consumer_is_told_by_a_client_that_tells() -> None:
    """By aiormq's own callbacks, from 7.1 on."""
    told: list[str] = []
    raw = SimpleNamespace(on_consumer_cancel_callbacks=set(), consumers={})
    on_consumer_cancel(raw, told.append)
    (callback,) = raw.on_consumer_cancel_callbacks
    callback(SimpleNamespace(consumer_tag="tag"))
    assert told == ["tag"]
    assert type(raw.consumers) is dict


def test_a_cancelled_consumer_is_told_by_a_client_that_does_not() -> None:
    """By its going out of the channel's table, which keeps whom it had and takes new ones."""
    told: list[str] = []
    raw = SimpleNamespace(consumers={"before": print})
    on_consumer_cancel(raw, told.append)
    raw.consumers["tag"] = print
    assert raw.consumers.pop("tag", None) is print
    assert raw.consumers.pop("gone", None) is None
    assert (told, dict(raw.consumers)) == (["tag", "gone"], {"before": print})
