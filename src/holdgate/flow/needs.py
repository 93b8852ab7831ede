"""Which dependencies a source needs: one list for all, or a mapping from topic or queue name to a list."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from holdgate.errors import SettingsError
from holdgate.flow.sources import Source


class Needs:
    """The needs of one run, by name of the dependency.

    Built from a sequence (every source needs them all) or a mapping of topic or queue name to a sequence. An empty sequence is fine: such
    a source is read, and never held by a circuit. Raises SettingsError for one name twice.
    """

    __slots__ = ("_by_name", "_for_all")

    def __init__(self, needs: Sequence[str] | Mapping[str, Sequence[str]]) -> None:
        self._for_all: tuple[str, ...] | None = None
        self._by_name: dict[str, tuple[str, ...]] = {}
        if isinstance(needs, Mapping):
            self._by_name = {name: _once(names, f"needs[{name!r}]") for name, names in needs.items()}
        else:
            self._for_all = _once(needs, "needs")

    def of(self, source: Source) -> tuple[str, ...] | None:
        """The dependencies of `source`; None when nobody said, so that it must be held."""
        return self._for_all if self._for_all is not None else self._by_name.get(source.name)

    def names(self) -> tuple[str, ...]:
        """Every dependency that some source needs, in the order given, each once."""
        every = self._for_all or tuple(name for names in self._by_name.values() for name in names)
        return tuple(dict.fromkeys(every))

    def check(self, names: Collection[str]) -> None:
        """Raise SettingsError unless a mapping and the topics or queues of the intake name the same things."""
        if self._for_all is not None:
            return
        missing = sorted(set(names) - set(self._by_name))
        if missing:
            raise SettingsError(f"needs has no entry for {missing}, only for {sorted(self._by_name)}: add one, [] if it needs nothing")
        unknown = sorted(set(self._by_name) - set(names))
        if unknown:
            raise SettingsError(f"needs has entries for {unknown}, which the intake does not deliver (it delivers {sorted(names)})")


def _once(names: Iterable[str], where: str) -> tuple[str, ...]:
    names = tuple(names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"{where} names {twice} twice")
    return names
