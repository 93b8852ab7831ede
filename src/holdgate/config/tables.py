"""The tables of a settings file as frozen dataclasses. What each means is with the class or method of the library that takes it.

Each is checked by that class where it can be made without a broker, so that a wrong value is found by its line.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdgate.config.fleet_table import FleetTable
from holdgate.config.intakes import ConfluentTable, ShareTable
from holdgate.config.named_failures import FailuresName
from holdgate.core import CircuitSettings, Limits, validation
from holdgate.flow.inbox import Order
from holdgate.flow.policy import RetryPolicy
from holdgate.runtime.dependency import check_name
from holdgate.runtime.folding import LogSettings
from holdgate.runtime.guard import Guard


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencyTable:
    """`[dependencies.NAME]`: what a Dependency is made of. `failures` names a rule of holdgate; None means a Dependency's default."""

    name: str
    failures: FailuresName | None = None
    probe_timeout: float = 5.0  # as a Dependency's own
    circuit: CircuitSettings = CircuitSettings()  # noqa: RUF009 - frozen
    limits: Limits | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        validation.seconds("probe_timeout", self.probe_timeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTable:
    """`[guard.log]`: the LogSettings."""

    repeat_every: float = 60.0  # these are the defaults of LogSettings
    work_every: float | None = 300.0
    exception_text: bool = False

    def __post_init__(self) -> None:
        self.made()

    def made(self) -> LogSettings:
        """Return the LogSettings. Raises SettingsError."""
        return LogSettings(self.repeat_every, self.work_every, self.exception_text)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardTable:
    """`[guard]`: arguments of Guard, with its defaults."""

    drain_timeout: float = 25.0
    signals: bool | None = None
    hold_warn_after: float = 600.0
    memory: int | None = 64 * 1024 * 1024
    stall_after: float = 300.0
    backlog_every: float = 5.0
    log: LogTable = LogTable()

    def __post_init__(self) -> None:
        Guard(
            drain_timeout=self.drain_timeout,
            signals=self.signals,
            hold_warn_after=self.hold_warn_after,
            memory=self.memory,
            stall_after=self.stall_after,
            backlog_every=self.backlog_every,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlTable:
    """`[control]`: arguments of Control, with its defaults."""

    port: int | None = None
    host: str = "127.0.0.1"
    socket: str | None = None
    token: str | None = None
    read_token: str | None = None
    name: str | None = None
    peers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTable:
    """`[run]` for every run, and `[runs.NAME]` for one: arguments of `guard.run`, with its defaults. `needs` names dependencies."""

    needs: tuple[str, ...] = ()
    order: Order | None = None
    concurrency: int | None = None
    span: int = 1000
    held_span: int | None = None
    fallback_after: float = 0.0
    fallback_concurrency: int | None = None
    timeout: float | None = None
    batch: int | None = None
    retry: RetryPolicy = RetryPolicy()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        validation.count("span", self.span)
        for name in ("concurrency", "held_span", "fallback_concurrency", "batch"):
            if getattr(self, name) is not None:
                validation.count(name, getattr(self, name))
        if self.timeout is not None:
            validation.seconds("timeout", self.timeout)
        if self.fallback_after != 0:
            validation.seconds("fallback_after", self.fallback_after)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRunTable(RunTable):
    """`[runs.NAME]`."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTables:
    """A whole file."""

    dependencies: tuple[DependencyTable, ...] = ()
    guard: GuardTable = GuardTable()
    control: ControlTable | None = None
    fleet: FleetTable | None = None
    run: RunTable = RunTable()
    runs: tuple[NamedRunTable, ...] = ()
    intakes: tuple[ConfluentTable | ShareTable, ...] = ()
