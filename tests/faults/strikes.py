"""What a worker of the fault table does to itself when SIGUSR2 tells it to: the faults that nobody can do to it from outside."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any

from aiokafka.errors import RequestTimedOutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.ledger.ledger import LedgerWriter

HOUR = 3600.0
NAMES = (
    "clock-forward",
    "clock-back",
    "observer-raises",
    "observer-blocks",
    "commits-fail",
    "commits-hang",
    "polls-stall",
    "bad-ack",
    "probe-hangs",
)
# Long enough to be seen, short enough for a heartbeat to come through between two of them.
BLOCKED_BY_AN_OBSERVER = 0.3
EVENTS_BLOCKED = 5
COMMITS = 3
COMMIT_HANGS = 3.0
# Twice the poll interval that its cells set.
POLLS_STALL = 4.0


class ObserverError(Exception):
    """What an observer of the guard fails with."""


class Strike:
    """One kind of fault, which begins with the signal; until then this is a worker like any other. `kind` None: there is none."""

    def __init__(self, kind: str | None, ledger: LedgerWriter) -> None:
        if kind is not None and kind not in NAMES:
            raise ValueError(f"no strike {kind!r}")
        self.kind = kind
        self.channels: list[Any] = []
        self._ledger = ledger
        self._struck = False
        self._left = {"commits-fail": COMMITS, "commits-hang": COMMITS, "polls-stall": 1, "observer-blocks": EVENTS_BLOCKED}.get(
            kind or "", 0
        )

    def listen(self) -> None:
        """Take the signal; to be called on the loop."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, self._begin)

    def observe(self, _event: Any) -> None:
        """Be an observer of the guard, the last one."""
        if self._struck and self.kind == "observer-raises":
            raise ObserverError("it says so")
        if self.takes_one("observer-blocks"):
            time.sleep(BLOCKED_BY_AN_OBSERVER)

    async def before_commit(self, failure: Callable[[], Exception] = lambda: RequestTimedOutError("it says so")) -> None:
        """Be in the way of a commit. Raises `failure`, what a broker's silence would come to."""
        if self.takes_one("commits-fail"):
            raise failure()
        if self.takes_one("commits-hang"):
            await asyncio.sleep(COMMIT_HANGS)

    async def before_poll(self) -> None:
        """Be in the way of a poll."""
        if self.takes_one("polls-stall"):
            await asyncio.sleep(POLLS_STALL)

    async def probe(self) -> bool:
        """Be the health probe of a dependency: it hangs once struck, until its guard gives it up."""
        if self._struck:
            self._struck = False
            self._ledger.write("note", probe="hangs")
            await asyncio.Event().wait()
        return True

    def _begin(self) -> None:
        self._struck = True
        self._ledger.write("note", strike=self.kind)
        if self.kind in ("clock-forward", "clock-back"):
            real, shift = time.time, HOUR if self.kind == "clock-forward" else -HOUR
            time.time = lambda: real() + shift
        elif self.kind == "bad-ack":
            for channel in self.channels:
                if not channel.is_closed:
                    self._acking = asyncio.ensure_future(channel.basic_ack(1_000_000))

    def takes_one(self, kind: str) -> bool:
        """Return whether this call is one of those that are struck; may be asked in any thread."""
        if not self._struck or self.kind != kind or self._left == 0:
            return False
        self._left -= 1
        return True
