"""The cases that every intake, and every log of a fleet, must pass: what `holdgate.ports` promises, checked with any broker.

Write a bed for your broker, and run the cases on it. Each case needs a fresh bed. With pytest:

    @pytest.mark.parametrize("case", conformance.cases_for(MyBed.capabilities), ids=str)
    async def test_my_intake(case: conformance.IntakeCase) -> None:
        async with my_bed() as bed:
            await case(bed)

A case that fails raises AssertionError with the broken promise and what happened instead. The memory intake passes all cases, and so do
the real ones: hence a test on the memory broker proves something about a real one.

The cases of a `holdgate.ports.FleetLog` are run in the same way, with a `LogBed` and `log_cases_for`.
"""

from __future__ import annotations

from holdgate.testing.conformance import batches, bounds, holding, lifecycle, locks, membership, settling
from holdgate.testing.conformance.fleet_logs import FLEET_LOG_CASES
from holdgate.testing.conformance.kit import Capability, IntakeBed, IntakeCase, RecordingListener, Station
from holdgate.testing.conformance.log_kit import LogBed, LogCapability, LogCase, LogReader

# What a broken intake breaks first runs first.
INTAKE_CASES: tuple[IntakeCase, ...] = (
    *lifecycle.CASES,
    *holding.CASES,
    *settling.CASES,
    *bounds.CASES,
    *batches.CASES,
    *membership.CASES,
    *locks.CASES,
)


def cases_for(capabilities: frozenset[Capability]) -> tuple[IntakeCase, ...]:
    """Return the cases that apply to a broker with these capabilities."""
    return tuple(case for case in INTAKE_CASES if case.requires <= capabilities)


def log_cases_for(capabilities: frozenset[LogCapability]) -> tuple[LogCase, ...]:
    """Return the cases of a fleet's log that apply to a server with these capabilities."""
    return tuple(case for case in FLEET_LOG_CASES if case.requires <= capabilities)


__all__ = [
    "FLEET_LOG_CASES",
    "INTAKE_CASES",
    "Capability",
    "IntakeBed",
    "IntakeCase",
    "LogBed",
    "LogCapability",
    "LogCase",
    "LogReader",
    "RecordingListener",
    "Station",
    "cases_for",
    "log_cases_for",
]
