"""The event stream: every event of the guard as it happens, and once a second how things stand.

Theory of operation. `EventFeed` keeps the last events of the guard, numbered, and wakes the streams. A stream keeps its own place in that
list, so nothing is queued for a client: a slow one finds more events in one frame, or a gap that the next frame closes. What is sent is
made once and shared by all streams.

A client that was cut off comes back with the id of the last event that it has (`Last-Event-ID`), and gets what came after it. The id begins
with a mark of this process: after a restart, or too long a time, the client gets a frame alone, which has all of the present.

A client that does not read is cut after `_SEND_WITHIN`, and its stream ends. Its server must then drop the connection. Ours does so in any
case (server.py).
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from holdgate.control.views import Views
from holdgate.flow.events import AnyEvent
from holdgate.tasks import begin_later

# An outage of a hundred sources and its end are some hundreds of events. A client that has missed more gets a frame.
_KEPT = 1000
# The whole state, once in so many seconds: what a person still sees as moving.
_FRAME_EVERY = 1.0
# Events that follow each other closely are sent together. The first of them never waits (seconds).
_APART = 0.1
# Buffers of the kernel and the server take a minute of frames. A client for which they are full for longer does not read (seconds).
_SEND_WITHIN = 10.0
# No worker has so many events; and Python refuses to read thousands of digits.
_DIGITS = 20
# What a client sends for the id of its last event that has seen none, and wants all that there are: the page's timeline begins with them.
_FIRST = "first"
# What a browser waits before it connects again (milliseconds).
_RETRY = 3000

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class _Entry:
    """One event. It is written out when the first stream sends it."""

    __slots__ = ("event", "number", "text")

    def __init__(self, number: int, event: AnyEvent) -> None:
        self.number = number
        self.event = event
        self.text: bytes | None = None


class EventFeed:
    """The events of one guard, for any number of streams."""

    def __init__(self) -> None:
        self.open_streams = 0
        self.ended = False
        self._mark = secrets.token_hex(4)
        self._number = 0
        self._kept: deque[_Entry] = deque(maxlen=_KEPT)
        self._changed: asyncio.Future[None] | None = None

    def note(self, event: AnyEvent) -> None:
        """Take one event, and wake every stream."""
        self._number += 1
        self._kept.append(_Entry(self._number, event))
        self._wake()

    def end(self) -> None:
        """Let every stream end."""
        self.ended = True
        self._wake()

    def changed(self) -> asyncio.Future[None]:
        """Return what is done at the next event, and at the end. All streams wait for the same one, and none may cancel it."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        return self._changed

    def place_of(self, last_id: str) -> int:
        """Return the number after which a client goes on that has seen `last_id`: the present, for one that is not ours or too old.

        With "first" it gets all that is kept.
        """
        mark, _, number = last_id.partition("-")
        oldest = self._kept[0].number if self._kept else self._number + 1
        if last_id == _FIRST:
            return oldest - 1
        is_number = number.isascii() and number.isdigit() and len(number) < _DIGITS
        if mark == self._mark and is_number and oldest - 1 <= int(number) <= self._number:
            return int(number)
        return self._number

    def after(self, number: int, views: Views) -> tuple[bytes, int]:
        """Return the events after this number as they are sent, and the number of the last one."""
        if number >= self._number:
            return b"", number
        found = [self._write(entry, views) for entry in self._kept if entry.number > number]
        return b"".join(found), self._number

    def frame(self, views: Views) -> bytes:
        """Return the present state as it is sent."""
        return b"id: %s-%d\nevent: status\ndata: %s\n\n" % (self._mark.encode(), self._number, views.frame())

    def _write(self, entry: _Entry, views: Views) -> bytes:
        if entry.text is None:
            body = views.event(entry.event)
            entry.text = b"id: %s-%d\nevent: transition\ndata: %s\n\n" % (self._mark.encode(), entry.number, body)
        return entry.text

    def _wake(self) -> None:
        if self._changed is not None:
            if not self._changed.done():
                self._changed.set_result(None)
            self._changed = None


class EventStream:
    """One client's stream: an ASGI response. `last_id` is what the client has seen last, empty for nothing."""

    def __init__(self, feed: EventFeed, views: Views, last_id: str) -> None:
        self._feed = feed
        self._views = views
        self._place = feed.place_of(last_id)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the signature is ASGI's
        """Send until the client goes, does not read, or the feed ends."""
        self._feed.open_streams += 1
        gone = begin_later(_disconnected(receive), "client of an event stream")
        try:
            with suppress(TimeoutError):
                await self._begin(send)
                await self._follow(send, gone)
                if not gone.done():
                    await _send(send, {"type": "http.response.body", "body": b""})
        finally:
            self._feed.open_streams -= 1
            gone.cancel()

    async def _begin(self, send: Send) -> None:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"x-accel-buffering", b"no"),  # nginx would collect events before it passes them on
        ]
        await _send(send, {"type": "http.response.start", "status": 200, "headers": headers})
        await _send(send, _part(b"retry: %d\n\n" % _RETRY))

    async def _follow(self, send: Send, gone: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        frame_at = loop.time()
        while not (gone.done() or self._feed.ended):
            changed = self._feed.changed()
            body, self._place = self._feed.after(self._place, self._views)
            now = loop.time()
            if now >= frame_at:
                body += self._feed.frame(self._views)
                frame_at = now + _FRAME_EVERY
            if body:
                await _send(send, _part(body))
                await asyncio.wait({gone}, timeout=_APART)
            await asyncio.wait({gone, changed}, timeout=max(0.0, frame_at - loop.time()), return_when=asyncio.FIRST_COMPLETED)


def _part(body: bytes) -> MutableMapping[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _send(send: Send, message: MutableMapping[str, Any]) -> None:
    async with asyncio.timeout(_SEND_WITHIN):
        await send(message)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
