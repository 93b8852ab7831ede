"""How far a source is finished without a hole, known from the outside: what really happened, whatever a worker believes."""

from __future__ import annotations

from collections.abc import Callable


class Watermark:
    """Places that are finished, in any order. `low`: the first that is not. `following` gives the place after one."""

    __slots__ = ("_ahead", "_following", "low")

    def __init__(self, start: int, following: Callable[[int], int]) -> None:
        self.low = start
        self._following = following
        self._ahead: set[int] = set()

    def finish(self, place: int) -> bool:
        """Note that this place is finished; False when it was already."""
        if place in self:
            return False
        if place != self.low:
            self._ahead.add(place)
            return True
        self.low = self._following(place)
        while self.low in self._ahead:
            self._ahead.remove(self.low)
            self.low = self._following(self.low)
        return True

    def __contains__(self, place: int) -> bool:
        return place < self.low or place in self._ahead

    @property
    def ahead(self) -> int:
        """How many are finished beyond a hole."""
        return len(self._ahead)
