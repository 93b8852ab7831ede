"""Drills: outages that are brought to tests which know nothing of them, as `pytest --outage payments` does.

Theory of operation. A drill is one dependency, by its name, and one way in which it fails. While `drilling` lasts there are two ways by
which the outages reach a test:

- A rehearsal that needs the dependency has the drill's outages, in place of those that it was given for the same dependency.
- Outside of a rehearsal the stand-ins of the dependency meet them, from their first call on. So an outage begins with the first call that
  it can hurt, however long a test prepares itself. Each loop of a test has an outage of its own.

An outage of a minute would take a minute in real time, and so would the way back. Hence a drill is on virtual time only. A stand-in that is
called on a real loop stays up, and the drill notes that (`lacked_virtual_time`): the test has not rehearsed anything.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from holdgate.errors import SettingsError
from holdgate.runtime.dependency import Dependency
from holdgate.testing.clock import VirtualEventLoop
from holdgate.testing.outages import Hung, Outage, Refused, Script, found_by

# Four times down, and up again for half as long as it was down: too short for a ramp to end.
_FLAPS = 4
_DOWN = 2 / 3


def _down(dependency: Dependency, seconds: float) -> list[Outage]:
    return [Outage(0, seconds, dependency, Refused())]


def _slow(dependency: Dependency, seconds: float) -> list[Outage]:
    return [Outage(0, seconds, dependency, Hung())]


def _flapping(dependency: Dependency, seconds: float) -> list[Outage]:
    turn = seconds / _FLAPS
    return [Outage(each * turn, (each + _DOWN) * turn, dependency, Refused()) for each in range(_FLAPS)]


# The kinds of a drill: down refuses every call, slow answers none within a client's patience, flapping is down four times.
KINDS: Mapping[str, Callable[[Dependency, float], list[Outage]]] = MappingProxyType({"down": _down, "slow": _slow, "flapping": _flapping})


class Drill:
    """One dependency that fails in one way in one test, and what came of it.

    - `name`: the dependency's.
    - `kind`: one of `KINDS`.
    - `seconds`: how long it lasts, in virtual seconds above 0.

    Raises SettingsError.
    """

    def __init__(self, name: str, kind: str, seconds: float) -> None:
        if kind not in KINDS or not seconds > 0:
            raise SettingsError(f"a drill must have a kind of {', '.join(KINDS)} and seconds above 0, got {kind!r} and {seconds}")
        self.name = name
        self.kind = kind
        self.seconds = seconds
        self.lacked_virtual_time = False
        self.verdicts: list[str] = []  # of the rehearsals that had it
        self._rehearsed_calls = 0
        # By loop: on a second loop of the same test, time begins anew. The loops are kept, and with them the counts.
        self._scripts: dict[VirtualEventLoop, Script] = {}

    @property
    def calls(self) -> int:
        """How many calls met it."""
        return self._rehearsed_calls + sum(script.met for script in list(self._scripts.values()))

    @property
    def sentence(self) -> str:
        """What came of it, in words."""
        calls = f"{self.calls} {'call' if self.calls == 1 else 'calls'} met it"
        return "; ".join([*(["it needs virtual time"] if self.lacked_virtual_time else []), calls, *self.verdicts])

    def instead_of(self, outages: Sequence[tuple[Outage, Dependency]], known: Mapping[str, Dependency]) -> list[tuple[Outage, Dependency]]:
        """Return the outages of a rehearsal that needs `known`, by name: the drill's own in place of those of its dependency."""
        victim = known.get(self.name)
        if victim is None:
            return list(outages)
        own = [(each, victim) for each in KINDS[self.kind](victim, self.seconds)]
        return [*((outage, whose) for outage, whose in outages if whose is not victim), *own]

    def rehearsed(self, verdict: str, met: Mapping[str, int]) -> None:
        """Note how a rehearsal ended, and how many calls met an outage, by dependency."""
        if self.name in met:
            self.verdicts.append(verdict)
            self._rehearsed_calls += met[self.name]

    def script_of(self, dependency: Dependency) -> Script | None:
        """Return what a stand-in meets outside of a rehearsal. None means that it is up."""
        if dependency.name != self.name:
            return None
        loop = VirtualEventLoop.here()
        if loop is None:
            self.lacked_virtual_time = True
            return None
        script = self._scripts.get(loop)
        if script is None:
            script = self._scripts[loop] = Script(KINDS[self.kind](dependency, self.seconds), loop)
        return script


_current: list[Drill] = []


def current_drill() -> Drill | None:
    """Return the drill that is on. None means that there is none."""
    return _current[-1] if _current else None


@contextmanager
def drilling(drill: Drill) -> Generator[None, None, None]:
    """Let a drill be on, in all threads and loops of the process."""
    _current.append(drill)
    try:
        with found_by(drill.script_of):
            yield
    finally:
        _current.remove(drill)
