"""Calls that a client has waited in by itself: a hint in the log, because the guard cannot see such waits.

Many clients try again by themselves, and sleep in between: openai waits out a Retry-After of a minute inside of one call. Then the handler
is busy, nothing is throttled and nothing has failed, and a limit looks like a slow service. All that can be seen from outside is a call
that ended well after far longer than calls of its dependency take. That is no proof, so the line says what was seen, and what it may be.

Nothing is looked at before a call has taken seconds, so that no other call pays for this.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from holdgate.runtime.wording import lasting

if TYPE_CHECKING:
    from holdgate.core import Circuit

log = logging.getLogger("holdgate")

# Shorter than any wait that is worth a line, and longer than nearly every call (seconds).
LONG = 5.0
# A slow call is a few times its usual time; a wait for a limit is another order.
_TIMES = 10.0
# Fewer calls than this have no usual time.
_ENOUGH = 20
# Nine in ten: what is usual must not be moved by a few waits before this one.
_USUAL_SHARE = 0.9
# One line is enough to look into it, and an outage or a busy hour of a limit has many such calls (seconds).
_EVERY = 3600.0


class InnerWaits:
    """Watches the good calls of one dependency. From any thread: the worst that a race can do is a second line."""

    __slots__ = ("_circuit", "_told_at")

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit
        self._told_at: float | None = None

    def look(self, took: float, now: float) -> None:
        """Look at a good call that took longer than `LONG` seconds, and write the line if that is far from usual; once an hour."""
        if self._told_at is not None and now < self._told_at + _EVERY:
            return
        usual = self._usual()
        if usual is not None and took >= _TIMES * usual:
            self._told_at = now
            log.info(
                "%s: a call ended well after %s, and nine in ten take %s at most. If its client waits or tries again by itself, as SDKs do"
                " with a 429, the guard cannot see that, and a handler is busy meanwhile: let the client give up immediately",
                self._circuit.name,
                lasting(took),
                f"{usual:g} s",
            )

    def _usual(self) -> float | None:
        """Return what nine in ten good calls have taken at most. None means that too few are known, or that they take too long to tell."""
        calls = self._circuit.read_totals().succeeded
        if calls.count < _ENOUGH:
            return None
        seen = 0
        for bound, count in zip(calls.bounds, calls.counts, strict=False):
            seen += count
            if seen >= _USUAL_SHARE * calls.count:
                return bound
        return None
