"""A shelf with letters that a test puts there."""

from __future__ import annotations

from dataclasses import dataclass, field

from holdgate.cli.letters.letter import Letter


@dataclass
class FakeLook:
    """What a look came to."""

    letters: list[Letter]
    waiting: int
    notes: list[str] = field(default_factory=list)


class FakeShelf:
    """Holds letters. `error` is what a look raises."""

    def __init__(self, letters: list[Letter] | None = None, *, notes: list[str] | None = None, error: BaseException | None = None) -> None:
        self._letters = letters or []
        self._notes = notes or []
        self._error = error
        self.closed = 0

    async def look(self, limit: int) -> FakeLook:
        """Return the first so many."""
        if self._error is not None:
            raise self._error
        return FakeLook(self._letters[:limit], len(self._letters), self._notes)

    async def close(self) -> None:
        """Count."""
        self.closed += 1
