"""A fleet of workers in front of model brokers and dependencies, on a virtual clock: deterministic, and checked at every step."""

from __future__ import annotations

from holdgate.simulator.fleet.outcome import WORKER_KINDS, Outcome, WorkerKind
from holdgate.simulator.fleet.scenario import Scenario
from holdgate.simulator.fleet.simulation import simulate

__all__ = ["WORKER_KINDS", "Outcome", "Scenario", "WorkerKind", "simulate"]
