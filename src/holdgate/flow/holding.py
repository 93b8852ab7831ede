"""The hold of one source: since when it lasts, and whether the next one is the same hold.

A source whose circuit is half-open is released for each probe, for a moment: there is a permit to give, so nothing holds it. If the
probe fails, it is held again. To whoever looks on, that is one hold, as long as the outage, and not one of a second after each try. So a
hold that ends leaves behind which circuits were half-open then, and their generations. The hold after it is the same one as long as such a
circuit is not closed, and has not been through more than this probe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdgate.core import State
from holdgate.flow.plan import KEY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdgate.core.key_record import KeyRecord
    from holdgate.flow.gate import Gate


class Hold:
    """When the hold of one assignment began, what it was before that, and when it was last announced."""

    __slots__ = ("before", "keys", "probing", "since", "warned")

    def __init__(self) -> None:
        self.since: float | None = None  # when the hold began; None while the source is not held
        self.before: float | None = None  # when the hold before this one began
        self.probing: dict[Gate, int] = {}  # the circuits that were half-open when that hold ended, and their generations
        self.warned = 0.0  # when the hold was last announced
        self.keys: dict[KeyRecord, str] = {}  # where nothing may pass a message: the keys that hold it, and their dependencies

    @property
    def goes_on(self) -> bool:
        """Whether the outage of the last hold is not over: a circuit that was half-open then still is, or has opened again since."""
        return bool(self.probing) and any(
            gate.circuit.state is not State.CLOSED and gate.circuit.generation - generation in (0, 1)
            for gate, generation in self.probing.items()
        )

    def begin(self, now: float) -> None:
        """Note that the source is held from now on; `since` keeps its first value while the outage of the last hold goes on."""
        if self.probing and self.goes_on:
            self.since = self.before
        else:
            self.since = self.warned = now

    def end(self, gates: Iterable[Gate], now: float) -> float:
        """Note that the source is not held any more, which needs these gates or was held by them. Returns how long it was, in seconds."""
        since = now if self.since is None else self.since
        self.since = None
        self.before = since
        self.probing = {gate: gate.circuit.generation for gate in gates if gate.circuit.state is State.HALF_OPEN}
        return now - since

    def wait_for_key(self, record: KeyRecord, name: str) -> None:
        """Note that the source waits for a key of this dependency, until the key is not held any more."""
        self.keys[record] = name

    def key_reasons(self) -> Iterable[str]:
        """Return the reasons that keys are, and forget those that are not held any more."""
        self.keys = {record: name for record, name in self.keys.items() if record.is_held}
        return sorted({KEY + name for name in self.keys.values()})

    def reminder_due(self, every: float) -> float:
        """Return when the hold, which has begun, is to be announced again: `every` seconds after it was for the last time."""
        return max(self.since or 0.0, self.warned) + every

    def announced(self, now: float) -> None:
        """Note that it has just been announced again."""
        self.warned = now
