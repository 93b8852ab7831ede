"""Throttled messages: how long one waits before it asks again, and when it is named as the one that its source waits behind.

A dependency that says "not so fast" is well, and so is the message: it was no attempt, nobody is blamed, and no circuit counts it. The
message waits at its place, before all that have not started yet, and asks again: after the time that the server asked for, or else after
waits that grow by themselves.

"Not so fast" may mean a second, the rest of a day, or for ever: a request that is larger than its whole limit is refused each time, while
others pass. So the waits are bounded, at one call in two and a half minutes, and a message that was throttled often enough is named, in the
log and to observers, once a minute until it is settled. It is never given up for that: a limit by tenant looks the same from here, and
heals. An operator may skip it, and its handler may reject it.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from holdgate.flow.blame import FailureHistory
    from holdgate.flow.gate import Gate

# A token bucket of ten a second has its next token in a tenth of a second, and a call that comes too early is wasted: a quarter is neither
# long nor wasteful. From there on it grows slower than a backoff of failures, because a limit mostly heals within seconds.
_FIRST = 0.25
_GROWTH = 1.7
# A quota heals in hours. 24 calls an hour are too few for anybody to block a key for, and nobody waits longer than this when it is back.
_LONGEST = 150.0
# Past this many steps every wait is the longest; the power must not overflow in a week of refusals.
_STEPS = 16
# A wait is longer by up to so much, so that those that were asked to wait for the same second do not come back together. It is never
# shorter: a server has asked for it.
_SPREAD = 0.1

# So often a message asks before the others, because it had its turn. Then they come first: if it is the one that never passes, and asked
# each time, nobody would ever be let in.
_ITS_TURNS = 2

# So many waits in a row take six minutes: longer than that no source stands unexplained.
_NAMED_AT = 12


def asks_at(
    history: FailureHistory, gates: Collection[Gate], retry_after: float | None, now: float, draw: float, *, needed: Collection[Gate]
) -> float | None:
    """Return when a message may ask again that these gates have throttled; None means as soon as it gets a slot of those `needed`.

    Where all of them learn, the limiter hands out slots, and knows when one question is due for all that wait. A message that was
    refused more than once waits for half as long as the limiter would: that delays no question, and bounds how often it asks where the
    limiter takes its refusals for chance, because others pass. Time alone decides while an operator only observes, where the settings
    leave the limiter out, and where the message gets no slot before its handler calls.
    """
    if any(gate.shut and gate in needed for gate in gates):
        return None
    if gates and all(gate.learns and gate in needed for gate in gates):
        return None if history.throttled == 1 else now + wait(history.throttled - 1, None, inf, draw) / 2
    longest = min((gate.circuit.settings.retry_after_max for gate in gates), default=inf)
    return now + wait(history.throttled, retry_after, longest, draw)


def keeps_place(history: FailureHistory) -> bool:
    """Return whether a throttled message is still before all that have not started."""
    return history.throttled <= _ITS_TURNS


def is_news(history: FailureHistory, gate: Gate) -> bool:
    """Return whether a refusal by this gate, which is noted, says something of the limit, or only of the message.

    The rule of votes (gate.py), a little later: calls that were under way may still come back well after a first refusal. From the third in
    a row on, a message speaks no more if others were let in since it was refused last.
    """
    before = history.note_let_in(gate)
    return history.throttled < _ITS_TURNS or before in {None, gate.successes}


def wait(times: int, retry_after: float | None, longest: float, draw: float) -> float:
    """Return the seconds before a message asks again that was throttled for the n-th time in a row, from 1.

    `retry_after` is what the server asks for; None means nothing. It is believed up to `longest` seconds. `draw` is in [0, 1).
    """
    told = retry_after if retry_after is not None and retry_after > 0 else None  # false for NaN, too
    plain = min(_LONGEST, _FIRST * _GROWTH ** min(times - 1, _STEPS)) if told is None else min(told, longest)
    return plain * (1 + _SPREAD * draw)


def is_to_be_named(history: FailureHistory) -> bool:
    """Return whether a message was throttled so often in a row that somebody should look at it."""
    return history.throttled >= _NAMED_AT
