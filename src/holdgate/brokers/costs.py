"""What an outage costs a consumer that has no guard: the arithmetic that every broker shares, and its words.

A broker does not see what a consumer does with a message whose handler fails. There are only a few things that it can do, so what each of
them costs in an outage is worked out. Every number that a sentence has is in it with its sum, so that a reader can put in another.
"""

from __future__ import annotations

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0

# What a failed attempt takes until the same message is tried again, where nothing waits in between: a call that is refused, and the way to
# the broker and back (seconds). On one machine RabbitMQ took 4 to 8 ms and Kafka
# 2 ms; the handler's own work comes on top.
TURN = 0.01


def lasting(seconds: float) -> str:
    """Return a duration in words, such as "1 hour" or "90 minutes"."""
    for size, word in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= size and (seconds % size == 0 or seconds >= 2 * size):
            amount = f"{seconds / size:.3g}"
            return f"{amount} {word}{'' if amount == '1' else 's'}"
    return f"{seconds:.3g} {'second' if seconds == 1 else 'seconds'}"


def counted(number: float, what: str = "") -> str:
    """Return a number with its commas, and what is counted: "3,600 messages"."""
    return f"{number:,.0f}" + (f" {what}{'' if round(number) == 1 else 's'}" if what else "")


def plain(number: float) -> str:
    """Return a number as a reader writes it into a sum: to the hundredth, and without an exponent."""
    return f"{round(number, 2):.12g}"


def hot_loop(outage: float, turn: float = TURN) -> str:
    """Return what one handler does in an outage if its message comes back after a turn of so many seconds and is never given up."""
    calls = counted(outage / turn, "call")
    return f"{plain(outage)} s / {plain(turn)} s a turn = {calls} that fail, for each handler, into a service that tries to get up"


def gone_after(attempts: int, outage: float, turn: float = TURN) -> str:
    """Return after how long a message is gone that comes back after a turn of so many seconds, but only so often."""
    gone = attempts * turn
    return f"{counted(attempts, 'attempt')} of {plain(turn)} s each = {plain(gone)} s, and it is gone: {given_up(gone, outage)}"


def lost_share(covered: float, outage: float) -> float:
    """Return which share of the messages that come in an outage is given up before it ends, from 0 to 1, if they come evenly.

    `covered` is for how many seconds one message is tried. What comes in the last `covered` seconds of the outage is tried afterwards, too.
    """
    return max(0.0, outage - covered) / outage


def given_up(covered: float, outage: float) -> str:
    """Return the same in words."""
    if covered == 0:
        return "all that comes in the outage is given up, 100 of 100 messages"
    if covered >= outage:
        return f"the outage of {plain(outage)} s is over by then, so none is given up"
    return (
        f"what comes in the first {plain(outage)} s - {plain(covered)} s = {plain(outage - covered)} s of the outage is given up before "
        f"it ends, {100 * lost_share(covered, outage):.3g} of 100 messages"
    )
