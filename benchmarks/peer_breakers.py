"""The circuit breakers that Python has, behind one face, for benchmarks/peers.py. Each is imported only when it is asked for.

A breaker is made with a wait of `wait` seconds while open, and otherwise as it comes, except that one that has a window and slow calls gets
a window of a hundred and slow calls: that is what is compared.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from holdgate import CircuitSettings, CountWindow, Dependency

LONG = 3000.0
WINDOW = 100
SLOW = 1.0

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class Peer:
    """`make(wait)` gives one decorator for plain and one for async functions; None: it has no such form. `has`: what it judges by.
    `refused_by`: module and name of the exception."""

    name: str
    distribution: str
    has: str
    refused_by: str
    make: Callable[[float], tuple[Decorator, Decorator | None]]

    def refusal(self) -> type[Exception]:
        """What it raises instead of calling."""
        module, _, name = self.refused_by.partition(":")
        found: type[Exception] = getattr(importlib.import_module(module), name)
        return found


def holdgate(wait: float) -> tuple[Decorator, Decorator | None]:
    settings = CircuitSettings(window=CountWindow(WINDOW), slow_call_duration=SLOW, open_duration=wait, open_duration_max=max(wait, LONG))
    dependency = Dependency("peer", settings=settings)
    return dependency.guarded, dependency.guarded


def interlock(wait: float) -> tuple[Decorator, Decorator | None]:
    from interlock import CircuitBreaker, Config

    breaker = CircuitBreaker(name="peer", config=Config(window_size=WINDOW, slow_call_duration_threshold=SLOW, wait_duration_in_open=wait))
    return breaker, breaker


def pyresilience(wait: float) -> tuple[Decorator, Decorator | None]:
    from pyresilience import CircuitBreakerConfig, resilient

    def guard(fn: Callable[..., Any]) -> Callable[..., Any]:
        return resilient(circuit_breaker=CircuitBreakerConfig(sliding_window_size=WINDOW, slow_call_duration=SLOW, recovery_timeout=wait))(
            fn
        )

    return guard, guard


def pybreaker(wait: float) -> tuple[Decorator, Decorator | None]:
    from pybreaker import CircuitBreaker

    return CircuitBreaker(reset_timeout=wait), None


def circuitbreaker(wait: float) -> tuple[Decorator, Decorator | None]:
    from circuitbreaker import CircuitBreaker

    breaker = CircuitBreaker(recovery_timeout=wait)
    return breaker, breaker


def aiobreaker(wait: float) -> tuple[Decorator, Decorator | None]:
    from aiobreaker import CircuitBreaker

    breaker = CircuitBreaker(timeout_duration=timedelta(seconds=wait))
    return breaker, breaker


def purgatory(wait: float) -> tuple[Decorator, Decorator | None]:
    from purgatory import AsyncCircuitBreakerFactory, SyncCircuitBreakerFactory

    return SyncCircuitBreakerFactory(default_ttl=wait)("peer"), AsyncCircuitBreakerFactory(default_ttl=wait)("peer")


PEERS = (
    Peer("holdgate", "holdgate", "window, slow calls", "holdgate:CallNotPermitted", holdgate),
    Peer("interlock-cb", "interlock-cb", "window, slow calls", "interlock:CircuitOpenError", interlock),
    Peer("pyresilience", "pyresilience", "window, slow calls", "pyresilience:CircuitOpenError", pyresilience),
    Peer("pybreaker", "pybreaker", "failures in a row", "pybreaker:CircuitBreakerError", pybreaker),
    Peer("circuitbreaker", "circuitbreaker", "failures in a row", "circuitbreaker:CircuitBreakerError", circuitbreaker),
    Peer("aiobreaker", "aiobreaker", "failures in a row", "aiobreaker:CircuitBreakerError", aiobreaker),
    Peer("purgatory", "purgatory", "failures in a row", "purgatory.domain.model:OpenedState", purgatory),
)
