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
from holdgate.tasks import begin_later

log = logging.getLogger(__name__)

_ACK = Settlement.ACK

# What a crash repeats at most, in seconds of work, and what the broker's window waits for when a run is not full.
_SEND_WITHIN = 0.02
# Writing to a socket takes microseconds; a connection that cannot write is about to be lost.
_FLUSH_WITHIN = 5.0


class Acks:
    """The settlements of one channel. `unsettled` has what is out, by tag in order of arrival; who records one takes it from there."""

    def __init__(self, raw: Any, unsettled: Mapping[int, object]) -> None:
        self._raw = raw
        self._unsettled = unsettled
        self._unsent: dict[int, Settlement] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self.run = 1  # how many are sent at once: the rest of the window must last until the broker has them
        self.held_back = False  # nothing is sent before a flush: the window stays as full as it is

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
        self._unsent[tag] = settlement
        if len(self._unsent) >= self.run:
            self.soon()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SEND_WITHIN, self.soon)

    def soon(self) -> None:
        """Send what is recorded, in a task of its own."""
        self._stop_timer()
        if self._unsent and not self.held_back and (self._sending is None or self._sending.done()):
            self._sending = begin_later(self._send(), "rabbitmq acks")

    async def flush(self) -> bool:
        """Send everything, also what was held back, within a bound; returns whether it is out."""
        self.held_back = False
        self.soon()
        if self._sending is not None:
            await asyncio.wait((self._sending,), timeout=_FLUSH_WITHIN)
        return not self._unsent

    def end(self) -> None:
        """The channel is gone, and what was not sent with it: it comes again."""
        self._stop_timer()
        if self._unsent:
            log.warning("a channel closed before %d settlements were sent; their messages come again", len(self._unsent))
        self._unsent.clear()

    async def _send(self) -> None:
        try:
            while self._unsent:
                unsent, self._unsent = self._unsent, {}
                for tag, settlement, multiple in frames(unsent, next(iter(self._unsettled), None)):
                    if settlement is _ACK:
                        await self._raw.basic_ack(tag, multiple=multiple, wait=False)
                    else:
                        await self._raw.basic_reject(tag, requeue=False, wait=False)
        except (ChannelInvalidStateError, OSError) as error:
            log.info("settlements could not be sent, their channel is closing: %r", error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def frames(unsent: Mapping[int, Settlement], oldest: int | None) -> list[tuple[int, Settlement, bool]]:
    """What to send for these, in order: (tag, settlement, whether it covers all below it). `oldest` is unfinished; None: nothing is.

    Rejects come first, so that none is covered by a run.
    """
    rejected = [(tag, settlement, False) for tag, settlement in unsent.items() if settlement is not _ACK]
    acked = [tag for tag, settlement in unsent.items() if settlement is _ACK]
    run = [tag for tag in acked if oldest is None or tag < oldest]
    alone = [(tag, _ACK, False) for tag in acked if oldest is not None and tag > oldest]
    return rejected + ([(max(run), _ACK, len(run) > 1)] if run else []) + alone
