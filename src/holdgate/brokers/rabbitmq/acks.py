"""Acks: what is finished is settled in runs, with `multiple=True` up to the oldest unfinished delivery, and one by one past it.

What must hold (RabbitMQ answers each of these mistakes by closing the channel, with everything in hand):
- each tag is settled once, on the channel it came by, and a run ends at a tag that is still out;
- a run covers nothing unfinished: it ends below the oldest delivery that is not settled.

`basic.ack` is written, never answered; that the broker has it is known when the next call on the channel is. Sending is never cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from aiormq.exceptions import ChannelInvalidStateError

from holdgate.flow.delivery import Settlement

log = logging.getLogger(__name__)

_ACK = Settlement.ACK

# What a crash repeats at most, in seconds of work, and what the broker's window waits for when a run is not full.
_SEND_WITHIN = 0.02
# Writing to a socket takes microseconds; a connection that cannot write is about to be lost.
_FLUSH_WITHIN = 5.0


class Acks:
    """The settlements of one channel. `unsettled` has what is out, by tag in order of arrival; recording takes it from there."""

    def __init__(self, raw: Any, unsettled: Mapping[int, object]) -> None:
        self._raw = raw
        self._unsettled = unsettled
        self._unsent: dict[int, Settlement] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self.run = 1  # how many are sent at once: the rest of the window must last until the broker has them
        self.held_back = False  # nothing is sent: the window stays as full as it is

    @property
    def waiting(self) -> bool:
        """Whether something is recorded and not sent."""
        return bool(self._unsent)

    @property
    def has_success(self) -> bool:
        """Whether an ack is among what waits."""
        return _ACK in self._unsent.values()

    def record(self, tag: int, settlement: Settlement) -> None:
        """Note one; it goes out when a run is full, or soon."""
        unsent = self._unsent
        unsent[tag] = settlement
        if len(unsent) >= self.run:
            self.soon()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SEND_WITHIN, self.soon)

    def soon(self) -> None:
        """Send what is recorded, in a task of its own."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._unsent and not self.held_back and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send(), name="holdgate rabbitmq acks")

    def release(self) -> None:
        """Send again."""
        self.held_back = False
        self.soon()

    async def flush(self) -> bool:
        """Send everything, within a bound; returns whether it is out."""
        self.release()
        if self._sending is not None:
            await asyncio.wait((self._sending,), timeout=_FLUSH_WITHIN)
        return not self._unsent

    def end(self) -> None:
        """The channel is gone, and what was not sent with it: it comes again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._unsent:
            log.warning("a channel closed before %d settlements were sent; their messages come again", len(self._unsent))
        self._unsent.clear()

    async def _send(self) -> None:
        try:
            while self._unsent:
                unsent, self._unsent = self._unsent, {}
                await self._send_these(unsent, next(iter(self._unsettled), None))
        except (ChannelInvalidStateError, OSError) as error:
            log.info("settlements could not be sent, their channel is closing: %r", error)

    async def _send_these(self, unsent: Mapping[int, Settlement], oldest: int | None) -> None:
        acked: list[int] = []
        for tag, settlement in unsent.items():
            if settlement is _ACK:
                acked.append(tag)
            else:
                await self._raw.basic_reject(tag, requeue=False, wait=False)
        run = [tag for tag in acked if oldest is None or tag < oldest]
        if run:
            await self._raw.basic_ack(max(run), multiple=len(run) > 1, wait=False)
        if len(run) < len(acked):
            for tag in acked:
                if oldest is not None and tag > oldest:
                    await self._raw.basic_ack(tag, wait=False)
