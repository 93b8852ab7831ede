"""Made-up ledgers for the tests of the checker: a run in which all is well, to be doctored."""

from __future__ import annotations

from typing import Any

from tests.ledger.ledger import Entry


class Story:
    """Entries one after another, a second apart."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._at = 0.0

    def tell(self, who: str, kind: str, **facts: Any) -> Story:
        """Add one entry, a second after the last one."""
        self._at += 1.0
        self.entries.append(Entry(self._at, who, kind, facts))
        return self

    def at(self, who: str, kind: str, offset: int, **facts: Any) -> Story:
        """Add one entry on a message of orders[0], or on its next offset."""
        return self.tell(who, kind, topic="orders", partition=0, offset=offset, **facts)

    def source(self, who: str, kind: str) -> Story:
        """Add one entry on orders[0] as a whole."""
        return self.tell(who, kind, topic="orders", partition=0)

    def circuit(self, who: str, kind: str, **facts: Any) -> Story:
        """Add one entry on payments."""
        return self.tell(who, kind, dependency="payments", **facts)

    def produced(self, *offsets: int) -> Story:
        """Add these messages."""
        for offset in offsets:
            self.at("test", "produced", offset)
        return self

    def done(self, *offsets: int, who: str = "w1") -> Story:
        """Let a worker process these messages, one after another."""
        for offset in offsets:
            self.at(who, "called", offset).at(who, "processed", offset)
        return self
