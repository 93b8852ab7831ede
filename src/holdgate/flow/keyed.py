"""Messages with a key: how one starts and ends at a dependency whose limits and circuit are by key.

The key of a message is noted when it comes in, beside what it needs (runtime/keys.py). From then on the message needs room in two places,
the dependency and its key (core/keys.py), and takes both in one step or none. A message whose key has no room waits for that alone
(key_waits.py).

*Votes and blame by key.* A message is compared with others of its key, and not with all: behind a tenant that is down every message fails
while thousands of others succeed, and none of them is at fault. So a key's record is asked instead of the gate, by the same rules
(blame.py). What the whole dependency hears of it, core/keys.py decides.

What is ugly: a record stands in for a gate there. It has what these rules look at, and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from holdgate.core import Outcome
from holdgate.core.key_record import KeyRecord, KeySlot
from holdgate.flow import throttling
from holdgate.flow.blame import history_of
from holdgate.flow.passing import MessageNeeds

if TYPE_CHECKING:
    from collections.abc import Hashable

    from holdgate.core import Permit
    from holdgate.core.keys import Keys
    from holdgate.flow.attribution import NeedVerdict
    from holdgate.flow.gate import Gate
    from holdgate.flow.message import AnyDelivery
    from holdgate.flow.unclaimed import RunResults


class KeyOfMessage:
    """The key of one message at one dependency. `slot` is what it counts by while it is in work. None means that nothing
    is known of its key."""

    __slots__ = ("key", "keys", "slot")

    def __init__(self, keys: Keys, key: Hashable) -> None:
        self.keys = keys
        self.key = key
        self.slot: KeySlot | None = None


class KeyedNeeds(MessageNeeds):
    """What one message needs that has a key. `keys` are in the order of `gates`; None for a dependency at which it has none."""

    __slots__ = ("keys",)

    def __init__(self, gates: tuple[Gate, ...], keys: tuple[KeyOfMessage | None, ...], results: RunResults) -> None:
        self.gates = gates
        self.keys = keys
        self.results = results
        self.error = None


def lacking(keys: tuple[KeyOfMessage | None, ...], now: float) -> tuple[Keys, KeyRecord] | None:
    """Return the first key that has no room for a message with these. None means that all have."""
    for one in keys:
        if one is not None and (known := one.keys.record_of(one.key)) is not None and one.keys.free_of(known, now) == 0:
            return one.keys, known
    return None


def start(keys: tuple[KeyOfMessage | None, ...], now: float) -> None:
    """Count a message that starts, at each of its keys."""
    for one in keys:
        if one is not None:
            one.slot = one.keys.start(one.key, now)


def give_back(keys: tuple[KeyOfMessage | None, ...]) -> None:
    """Take back a message that has not been processed."""
    for one in keys:
        if one is not None:
            one.keys.give_back(one.slot)
            one.slot = None


def has_key(delivery: AnyDelivery) -> bool:
    """Return whether a delivery has a key at something that it needs."""
    return delivery.assignment.all_need is None and any(delivery.needs.keys)


def is_held(delivery: AnyDelivery) -> bool:
    """Return whether a key of a delivery is held, so that admission alone decides when it starts."""
    if delivery.assignment.all_need is not None:
        return False
    records = (one.keys.record_of(one.key) for one in delivery.needs.keys if one is not None)
    return any(record is not None and record.is_held for record in records)


def key_at(delivery: AnyDelivery, gate: Gate) -> KeyOfMessage | None:
    """Return the key of a delivery at a gate. None means that it has none there."""
    if gate.keys is None or delivery.assignment.all_need is not None:
        return None
    needs: MessageNeeds = delivery.needs
    return next((one for one in needs.keys if one is not None and one.keys is gate.keys), None)


def record_successes(delivery: AnyDelivery, now: float) -> bool:
    """Record a first attempt that went well for every need; True if a turn is needed, as without keys."""
    look = False
    needs: MessageNeeds = delivery.needs
    for gate, one, permit in zip(needs.gates, needs.keys, delivery.permits, strict=True):
        outcome = Outcome.SUCCESS
        if one is not None:
            outcome = _succeeded(one, now, now - permit.acquired_at)
            look = look or bool(one.keys.freed)
        gate.circuit.record(permit, outcome, now)
        gate.successes += 1
        look = look or bool(gate.circuit.events_pending) or (bool(gate.lines) and gate.limited)
    return look


def _succeeded(one: KeyOfMessage, now: float, took: float) -> Outcome:
    record = one.keys.record_of(one.key) if one.slot is None else one.slot.record
    if record is not None:
        record.succeeded()
    slot, one.slot = one.slot, None
    return one.keys.end(one.key, slot, Outcome.SUCCESS, now, took=took)


def record(  # noqa: PLR0917 - one result, and all that is known of it
    delivery: AnyDelivery, gate: Gate, one: KeyOfMessage, permit: Permit, finding: NeedVerdict, now: float, *, charged: bool
) -> None:
    """Settle the permit and the key of one need by its finding."""
    outcome, duration, retry_after, told = finding
    slot, one.slot = one.slot, None
    if outcome is None:
        one.keys.give_back(slot)
        gate.circuit.release(permit, now)
        return
    took = now - permit.acquired_at if duration is None else duration
    if outcome is Outcome.SUCCESS:
        gate.succeeded()
    known = one.keys.record_of(one.key) if outcome is Outcome.SUCCESS or outcome is Outcome.IGNORED else one.keys.known(one.key, now)
    if known is not None:
        outcome = _voted(delivery, known, slot, outcome, now, charged=charged)
    whole = one.keys.end(one.key, slot, outcome, now, took=took, retry_after=retry_after, told=told)
    gate.circuit.record(permit, whole, now, duration=duration, told=told if whole is Outcome.THROTTLED else None)


def _voted(delivery: AnyDelivery, known: KeyRecord, slot: KeySlot | None, outcome: Outcome, now: float, *, charged: bool) -> Outcome:
    """Return what a result of this message is for its key: its own repeated failures are one among those of others."""
    if outcome is Outcome.SUCCESS:
        known.succeeded()
        if delivery.history is not None:
            delivery.history.succeeded(_as_gate(known))
    elif outcome is Outcome.THROTTLED:
        if not throttling.is_news(history_of(delivery), _as_gate(known)):
            return Outcome.IGNORED
    elif outcome is Outcome.FAILURE and (slot is None or slot.generation == known.generation):
        history = history_of(delivery)
        blame = history.blame_of(_as_gate(known))
        blame.failed(_as_gate(known), now, charged=charged)
        is_vote = history.votes_again(_as_gate(known))
        if is_vote:
            known.voted()
        blame.mark(_as_gate(known))
        if not is_vote:
            return Outcome.IGNORED
    return outcome


def _as_gate(known: KeyRecord) -> Gate:
    return cast("Gate", known)
