"""The keys of one dependency: limits and circuits by tenant, API key or host, below the circuit of the whole dependency.

Theory of operation
===================

`Keys` belongs to one `Circuit`, the *whole*. A call needs room in both: in the whole, and in its key. A key without a record has room.

    who is here   a key gets its record with its first failure or "not so fast", or with its first call if the user has set numbers. The
                  record of a key that was not used for `IDLE` seconds is dropped unless it is held. At more than `max_keys` the one that
                  was used longest ago goes. A key for which messages wait, or are in work, never goes: it would let all of them through
    its own       a key's circuit and limits follow its own results (key_record.py)
    the whole     opens by evidence over all keys: see below

*What the whole is told.* A dependency may be down for one key or for everybody. If each key had to find out by itself, a thousand keys
would cost five thousand failures. If each failure counted, one tenant with a wrong password would stop the others. So a key is to the whole
what a message is to a circuit (flow/gate.py): one witness, and not as many as it makes calls.

- *A key's failure* is counted once. The key is counted again when its own window has nothing bad in it any more, or when the whole has
  changed its state. So five keys that fail in a row open the whole, five failures of one key do not, and a key that fails every second
  call for ever is one result in twenty at most.
- *A slow call* of a key counts as slow under the same rule.
- *A success* is counted each time, since it may end a row. It costs the whole as much evidence as it gives: a key that succeeds is well.
- *Retry-After* of a failure is the key's alone.
- *The one that asks for the whole* is a call of some key. If that fails, its key opens immediately, so that the next to ask is another
  one: a key that is down for itself must not keep all others waiting.
- *Not so fast* goes to the limit of the whole only if `ALL_THROTTLED` different keys were throttled with no success in between, or if the
  whole is being asked already. A limit that all keys share, and that now and then lets some of them in, cannot be told from one by key: it
  belongs to a dependency without `key`.

An operator's override lies over the whole, and over its keys: while everything is admitted, no key holds.

Keys are never shown: not in a log line, an event, a label or a repr. Counts are.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from holdgate.core.key_record import KeyRecord, KeyRules
from holdgate.core.limits import KeysSnapshot, share_of
from holdgate.core.outcomes import Outcome
from holdgate.core.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from holdgate.core.circuit import Circuit
    from holdgate.core.key_record import KeySlot
    from holdgate.core.limits import Limits
    from holdgate.core.outcomes import Told

# A hundred thousand records are less than a hundred megabytes, and more tenants than one worker has in trouble at a time.
MAX_KEYS = 100_000

# Twice the longest wait of an open circuit (seconds): a key that comes back remembers its outage, and its pace for as long.
IDLE = 600.0

# As many as failures in a row open a circuit: with fewer, tenants that work in step would be taken for everybody.
ALL_THROTTLED = 5

# How many of the oldest are looked at with each new key: two, so that those that are idle go faster than new ones come, and more if there
# are too many of them. What is in work is passed over, and becomes the newest.
_IDLE_LOOKS = 2
_LOOKS = 8


class Keys:
    """The records of one dependency's keys. Must be used from one thread at a time, as its circuit.

    `held` is how many keys are held now. `freed` gets each key that may have room again while messages wait for it, and `waiting` is how
    many wait: flow/key_waits.py keeps these messages.
    """

    __slots__ = (
        "_circuit",
        "_draw",
        "_given",
        "_records",
        "_rules",
        "_share",
        "_throttled",
        "_tokens",
        "freed",
        "held",
        "limits",
        "max_keys",
        "waiting",
    )

    def __init__(self, circuit: Circuit, limits: Limits | None, draw: Callable[[], float], max_keys: int = MAX_KEYS) -> None:
        self._circuit = circuit
        self._draw = draw
        self._given = limits
        self._share = 1.0
        self.limits = limits  # of one key here: this worker's share of what was given
        self.max_keys = max_keys
        self._rules = KeyRules(circuit.settings, limits, draw)
        self._records: OrderedDict[Hashable, KeyRecord] = OrderedDict()
        self._tokens = 0
        self._throttled: set[KeyRecord] = set()  # since the last success, up to ALL_THROTTLED
        self.held = 0
        self.waiting = 0
        self.freed: list[KeyRecord] = []
        circuit.limits.shared = self.set_share

    @property
    def name(self) -> str:
        """Return the name of the dependency."""
        return self._circuit.name

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"<Keys of {self._circuit.name!r}: {self.held} of {len(self)} held>"

    @property
    def learns(self) -> bool:
        """Whether a throttled answer moves the limits of its key."""
        return self._rules.adaptive

    # -- a call -----------------------------------------------------------------------------------------------------------------------

    def free_of(self, record: KeyRecord, now: float) -> int | None:
        """Return how many calls of this key may start now, as far as the key decides. None means any number."""
        if self._circuit.override is not None:
            return None
        before = record.is_held
        free = record.free(now)
        self.held += record.is_held - before
        return free

    def start(self, key: Hashable, now: float) -> KeySlot | None:
        """Count a call that starts. None means that nothing is known of its key, and nothing is counted."""
        records = self._records
        record = records.get(key)
        if record is None:
            if self.limits is None:
                return None
            record = self._add(key, now)
        else:
            records.move_to_end(key)
        self._tokens += 1
        return record.start(now, self._tokens)

    def give_back(self, slot: KeySlot | None) -> None:
        """Take back a call that never reached the dependency, or whose end nobody knows."""
        if slot is not None:
            slot.record.give_back(slot)
            self._note_freed(slot.record)

    def end(
        self,
        key: Hashable,
        slot: KeySlot | None,
        outcome: Outcome,
        now: float,
        *,
        took: float = 0.0,
        retry_after: float | None = None,
        told: Told | None = None,
    ) -> Outcome:
        """Learn from a call that took `took` seconds and has ended, and return what the whole is told.

        `slot` is what `start` has returned. `retry_after` and `told` are the key's alone, unless the whole is told of a THROTTLED.
        """
        circuit = self._circuit
        record = self.record_of(key) if slot is None else slot.record
        if record is None:
            is_well = outcome is not Outcome.FAILURE and outcome is not Outcome.THROTTLED and told is None
            if is_well and not self._is_slow(outcome, took):
                self._well(outcome)
                return outcome
            record = self._add(key, now)
        before = record.is_held
        is_alone = circuit.override is None and circuit.state is not State.CLOSED
        record.end(slot, outcome, now, took=took, retry_after=retry_after, told=told, is_alone=is_alone)
        self.held += record.is_held - before
        self._note_freed(record)
        return self._told_to_the_whole(record, outcome, took)

    def _told_to_the_whole(self, record: KeyRecord, outcome: Outcome, took: float) -> Outcome:
        self._well(outcome)
        if outcome is Outcome.THROTTLED:
            return outcome if self._throttles_all(record) else Outcome.IGNORED
        is_bad = outcome is Outcome.FAILURE or self._is_slow(outcome, took)
        return Outcome.IGNORED if is_bad and not self._speaks(record) else outcome

    def _is_slow(self, outcome: Outcome, took: float) -> bool:
        slow = self._rules.settings.slow_call_duration
        return outcome is Outcome.SUCCESS and slow is not None and took > slow

    def _well(self, outcome: Outcome) -> None:
        if outcome is Outcome.SUCCESS and self._throttled:
            self._throttled.clear()

    def _speaks(self, record: KeyRecord) -> bool:
        """Return whether this key is counted now as one that is not well, and note that it is."""
        generation = self._circuit.generation
        if record.spoke == generation:
            return False
        record.spoke = generation
        return True

    def _throttles_all(self, record: KeyRecord) -> bool:
        if len(self._throttled) < ALL_THROTTLED:
            self._throttled.add(record)
        return len(self._throttled) >= ALL_THROTTLED or self._circuit.limits.free(self._circuit.latest) is not None

    def _note_freed(self, record: KeyRecord) -> None:
        if record.waiting:
            self.freed.append(record)

    def count_waiting(self, record: KeyRecord, change: int) -> None:
        """Add `change` to the messages that wait for a key."""
        record.waiting += change
        self.waiting += change

    def take_freed(self) -> list[KeyRecord]:
        """Return the keys that may have room again since the last call."""
        freed, self.freed = self.freed, []
        return freed

    def snapshot(self) -> KeysSnapshot:
        """Return how many keys there are."""
        return KeysSnapshot(len(self), self.held, self.waiting, self.max_keys)

    # -- who is here ------------------------------------------------------------------------------------------------------------------

    def record_of(self, key: Hashable) -> KeyRecord | None:
        """Return what is known of a key. None means nothing."""
        return self._records.get(key)

    def known(self, key: Hashable, now: float) -> KeyRecord:
        """Return what is known of a key, from now on at the latest."""
        return self._records.get(key) or self._add(key, now)

    def _add(self, key: Hashable, now: float) -> KeyRecord:
        self._forget(now)
        record = self._records[key] = KeyRecord(key, self._rules, now)
        return record

    def _forget(self, now: float) -> None:
        """Drop what is idle among the oldest, and make room for one more."""
        records = self._records
        for looks in range(_LOOKS):
            is_full = len(records) >= self.max_keys
            if not records or (looks >= _IDLE_LOOKS and not is_full):
                return
            oldest, record = next(iter(records.items()))
            if record.is_pinned:
                records.move_to_end(oldest)
            elif is_full or (record.used_at + IDLE <= now and not record.is_held):
                del records[oldest]
                self.held -= record.is_held
                self._throttled.discard(record)
            else:
                return

    def look_again(self) -> None:
        """Have each key that is waited for looked at: the whole has changed, and with it what overrides its keys."""
        self.freed += [record for record in self._records.values() if record.waiting]

    # -- what a person or a program decides -------------------------------------------------------------------------------------------

    def set_limits(self, limits: Limits | None, now: float) -> None:
        """Go on by other limits, the same for each key. What was learned is forgotten."""
        self._given = limits
        self._take_share()
        self.begin_anew(now)

    def set_share(self, share: float, now: float) -> None:
        """Take this share of each key's numbers, as `LimitedCalls.set_share` does. What was learned is forgotten, if there are numbers."""
        self._share = share
        if self._given is not None:
            self._take_share()
            self.begin_anew(now)

    def _take_share(self) -> None:
        self.limits = None if self._given is None else share_of(self._given, self._share)

    def begin_anew(self, now: float) -> None:
        """Forget what was learned of every key, and go on by the settings that the circuit has now."""
        self._rules = KeyRules(self._circuit.settings, self.limits, self._draw)
        self._throttled.clear()
        self.held = 0
        kept = [record for record in self._records.values() if record.is_pinned]
        self._records.clear()
        for record in kept:
            record.begin_anew(self._rules, now)
            self._records[record.key] = record
            self._note_freed(record)
