"""One share consumer and its thread: what a cancellation leaves behind."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from holdgate.brokers.share.client import ShareClient


class Consumer:
    """Notes that it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


async def test_a_consumer_whose_open_was_cancelled_is_closed() -> None:
    """It is made in its thread all the same, and would stay in its group until nothing refers to it."""
    consumer, begun, may_go_on = Consumer(), threading.Event(), threading.Event()

    def make(_: dict[str, Any]) -> Consumer:
        begun.set()
        may_go_on.wait()
        return consumer

    client = ShareClient("orders", {}, make)
    opening = asyncio.ensure_future(client.open())
    await asyncio.to_thread(begun.wait)
    opening.cancel()
    await asyncio.wait((opening,))
    may_go_on.set()
    await client.close(30.0)
    assert (opening.cancelled(), consumer.closed) == (True, True)


async def test_what_never_opened_is_closed() -> None:
    """Nothing was made, and nothing is missed."""
    await ShareClient("orders", {}).close(30.0)
