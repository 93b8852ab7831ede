"""Dependencies that nobody has declared: what is logged of them at start, and how a guard takes one up at its first call.

A dependency that neither `needs` nor `Guard(...)` names would be a plain breaker inside a handler: it refuses calls, and no guard holds a
source, announces anything or wakes a message for it. So the guard that runs a handler takes up each dependency that the handler calls. From
then on it has a circuit, a row in the snapshot and events like a declared one. `needs` does more all the same: with it the source is held
before a handler starts, and not when the handler is refused.

The rule for two guards. Each guard has a circuit of its own for what its handlers call, because a circuit belongs to one event loop, and
a guard must wake its own messages. Calls outside of handlers go through the circuit of the guard that has declared the dependency, else of
the first that has met it in a handler. A guard that declares it later takes that place; the other keeps its circuit for its handlers.

The rule for two dependencies of one name. The name is the label everywhere, so they share the circuit of that name, and a warning says so.
That is what `Dependency("payments")` within a handler comes to, which makes a new one for each message. With a new name for each message a
guard would grow for ever: it takes up so many names and no more, and warns once.

`Undeclared` is the guard's part. `CalledInHandlers` is that of one run: it knows what its handlers have called before, in one look into a
dict. A call from a handler's thread asks the event loop the first time, and waits for the answer, as for a permit (access.py).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from threading import get_ident
from typing import TYPE_CHECKING, Protocol, cast

from holdgate.errors import GuardClosed

if TYPE_CHECKING:
    from holdgate.flow.engine import Engine
    from holdgate.flow.message import Source
    from holdgate.flow.state import Run
    from holdgate.runtime.access import Access, GuardCircuit
    from holdgate.runtime.calling import CalledDependency
    from holdgate.runtime.dependency import Dependency

log = logging.getLogger("holdgate")

# A handler calls a handful of dependencies. Each is a label in metrics, a row in the snapshot and a look in each turn.
_MOST = 32


def tell_unguarded(name: str, run: Run, names: Collection[str] | None, *, others: bool) -> None:
    """Log at start which topics and queues have no needs, and what an outage would do to their messages.

    `names` are those of the intake; None means that they are not known yet. `others`: the guard was given dependencies beside `needs`, so
    that handlers which call them are guarded, too. The line of a run (run_log.py) has the needs of the others.
    """
    unguarded = [each for each in sorted(names or ()) if not run.needs.of_name(each)]
    if names is None and not run.needs.names():
        unguarded = [name]
    if unguarded:
        log.log(
            logging.INFO if others else logging.WARNING,
            "%s: needs nothing declared; a failing dependency would be charged to the messages, unless a call form calls it: add needs=",
            ", ".join(unguarded),
        )


class Owner(Protocol):
    """What this file needs of the guard."""

    engine: Engine
    now: Callable[[], float]
    dependencies: dict[str, Dependency]
    circuits: dict[str, GuardCircuit]

    def keep(self, dependency: Dependency, *, is_declared: bool) -> None:
        """Make a circuit for a dependency, and have the guard act on it from now on."""
        ...


class Undeclared:
    """What the handlers of one guard have brought."""

    def __init__(self, guard: Owner) -> None:
        self._guard = guard
        self._shared: set[str] = set()  # names of two dependencies, which a warning has named
        self._is_full = False  # as many were taken up as may be, and a warning was written

    def take_up(self, dependency: Dependency, run: Run, source: Source) -> GuardCircuit | None:
        """Return the guard's circuit for a dependency that a handler of this run calls, and take the dependency up if it is not known.

        None means that the guard has taken up as many as it takes: then the dependency stays a plain breaker.
        """
        name = dependency.name
        guard = self._guard
        known = guard.dependencies.get(name)
        if known is None:
            if sum(not circuit.is_declared for circuit in guard.circuits.values()) >= _MOST:
                self._warn_of_too_many(name)
                return None
            guard.keep(dependency, is_declared=False)
        elif known is not dependency and name not in self._shared:
            self._shared.add(name)
            log.warning(
                "%s: a handler has called another Dependency that is named %r: both share one circuit. Create a Dependency once, at the"
                " top of a module, and not for each message; give two different dependencies two names",
                source,
                name,
            )
        guard.engine.met(run, name, source if known is None else None, guard.now())
        return guard.circuits[name]

    def _warn_of_too_many(self, name: str) -> None:
        if not self._is_full:
            self._is_full = True
            log.warning(
                "the handlers have called %d dependencies that nobody has declared, and now %r: this and later ones hold no source. Create"
                " a Dependency once, at the top of a module, and not for each message",
                _MOST,
                name,
            )


class CalledInHandlers:
    """What the handlers of one run have called. It must be made on the event loop's thread; `take_up` is called on that thread alone."""

    def __init__(self, take_up: Callable[[Dependency, Source], GuardCircuit | None]) -> None:
        self._take_up = take_up
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._known: dict[str, tuple[CalledDependency, GuardCircuit]] = {}
        self._lock = threading.Lock()  # guards the two below: threads wait for answers that a run which ends must give
        self._pending: set[Future[Access]] = set()
        self._closed = False

    def access_of(self, dependency: CalledDependency, source: Source) -> Access:
        """Return how the guard reaches a dependency that a handler of this source calls, from any thread.

        Raises GuardClosed in a thread whose run ends meanwhile.
        """
        known = self._known.get(dependency.name)
        if known is not None and known[0] is dependency:
            return known[1]
        if get_ident() == self._thread:
            return self._ask(dependency, source)
        return self._ask_the_loop(dependency, source)

    def close(self) -> None:
        """Take up nothing any more: the run ends. Waiting threads get GuardClosed."""
        with self._lock:
            self._closed = True
            pending = list(self._pending)
            self._pending.clear()
        for answer in pending:
            answer.set_exception(GuardClosed("the run has ended while a handler's thread called a dependency for the first time"))

    def _ask(self, dependency: CalledDependency, source: Source) -> Access:
        if self._closed:
            return dependency.access
        access = self._take_up(cast("Dependency", dependency), source)
        if access is None:
            return dependency.access
        self._known.setdefault(dependency.name, (dependency, access))
        return access

    def _ask_the_loop(self, dependency: CalledDependency, source: Source) -> Access:
        answer: Future[Access] = Future()
        with self._lock:
            if self._closed:
                return dependency.access
            self._pending.add(answer)
        try:
            self._loop.call_soon_threadsafe(self._answer, answer, dependency, source)
        except RuntimeError:  # the loop is closed, and nobody has left the guard
            return dependency.access
        return answer.result()

    def _answer(self, answer: Future[Access], dependency: CalledDependency, source: Source) -> None:
        with self._lock:
            if answer not in self._pending:
                return
            self._pending.remove(answer)
        try:
            answer.set_result(self._ask(dependency, source))
        except BaseException as error:  # noqa: BLE001 - whatever it is, a thread waits for it
            answer.set_exception(error)
