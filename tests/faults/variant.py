"""Workers of the fault runs with what the table needs beside: settings, strikes, and mistakes that the checker must find."""

from __future__ import annotations

import argparse
import dataclasses
import signal
from typing import TYPE_CHECKING, Any

from holdgate import Dependency, Guard, RetryPolicy
from holdgate.core import CircuitClosed, CircuitHalfOpened, CircuitOpened, LimitChanged
from tests.faults.strikes import NAMES, Strike
from tests.ledger.ledger import LedgerWriter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

# A drain that waits for something that never comes ends within a cell.
DRAIN = 8.0
PROBE_TIMEOUT = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What the table asks of a worker; seconds. None: as the guard does by itself."""

    strike: str | None
    timeout: float | None
    slow_call: float | None
    attempts: int | None
    early: bool

    @classmethod
    def take(cls, arguments: Sequence[str]) -> tuple[Options, list[str]]:
        """Return the options and the arguments that are left for the worker itself."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--strike", choices=NAMES)
        parser.add_argument("--timeout", type=float)
        parser.add_argument("--slow-call", type=float)
        parser.add_argument("--attempts", type=int)
        parser.add_argument("--early", action="store_true", help="settle what has not been processed yet: a mistake to be found")
        found, rest = parser.parse_known_args(arguments)
        return cls(**vars(found)), rest


class Variant:
    """Puts the options into a worker's module before it runs."""

    def __init__(self, worker: ModuleType, options: Options, left: argparse.Namespace) -> None:
        self.options = options
        self.worker = worker
        self.ledger = LedgerWriter(left.ledger, left.name)
        self.strike = Strike(options.strike, self.ledger)
        worker.Guard = self._guard()  # type: ignore[attr-defined]
        worker.Dependency = self._dependency  # type: ignore[attr-defined]

    async def work(self, left: argparse.Namespace) -> None:
        """Run the worker until SIGTERM."""
        self.strike.listen()
        await self.worker.work(left)

    def _guard(self) -> type[Guard]:
        variant = self

        class VariantGuard(Guard):
            def __init__(self, *given: Any, observers: Any = (), **settings: Any) -> None:
                super().__init__(*given, observers=[*observers, variant.observe, variant.strike.observe], drain_timeout=DRAIN, **settings)

            async def run(self, intake: Any, handler: Any, **settings: Any) -> None:
                await super().run(intake, handler, **{**settings, **variant.run_settings()})

        return VariantGuard

    def observe(self, event: Any) -> None:
        """Write down what a circuit did, with the time at which it did it: an observer hears of it later."""
        match event:
            case CircuitOpened() | CircuitHalfOpened() | CircuitClosed():
                self.ledger.write("note", circuit=type(event).__name__, of=event.name, at=event.at)
            case LimitChanged():
                self.ledger.write("note", circuit="LimitChanged", of=event.name, limit=event.limit, at=event.at)
            case _:
                pass

    def run_settings(self) -> dict[str, Any]:
        """Settings of `guard.run` that take the place of the worker's own."""
        found: dict[str, Any] = {}
        if self.options.timeout is not None:
            found["timeout"] = self.options.timeout
        if self.options.attempts is not None:
            found["retry"] = RetryPolicy(attempts=self.options.attempts, initial_backoff=0.05, max_backoff=0.2)
        return found

    def _dependency(self, name: str, **settings: Any) -> Dependency:
        if self.options.slow_call is not None:
            settings["settings"] = dataclasses.replace(settings["settings"], slow_call_duration=self.options.slow_call)
        if self.strike.kind == "probe-hangs":
            settings |= {"probe": self.strike.probe, "probe_timeout": PROBE_TIMEOUT}
        return Dependency(name, **settings)


def ignore_until_ready() -> None:
    """A signal that comes before the worker listens would end it."""
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
