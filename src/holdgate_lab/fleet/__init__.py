"""A fleet of workers in front of model brokers and dependencies, on a virtual clock: deterministic, and checked at every step."""

from __future__ import annotations

from holdgate_lab.fleet.outcome import WORKER_KINDS, RunOutcome, WorkerKind
from holdgate_lab.fleet.scenario import Scenario
from holdgate_lab.fleet.simulation import simulate

__all__ = ["WORKER_KINDS", "RunOutcome", "Scenario", "WorkerKind", "simulate"]
