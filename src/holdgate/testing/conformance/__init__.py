"""The cases every intake must pass: what `holdgate.ports.Intake` promises, checked against any broker.

Write a bed for your broker and run the cases on it; each needs a fresh one. With pytest:

    @pytest.mark.parametrize("case", conformance.cases_for(MyBed.capabilities), ids=str)
    async def test_my_intake(case: conformance.IntakeCase) -> None:
        async with my_bed() as bed:
            await case(bed)

A case that fails raises AssertionError saying what was promised and what happened. The in-memory intake passes all of them, and so do
the real ones: that is what makes a test on the memory broker worth something.
"""

from __future__ import annotations

# The order in which they are imported is the order in which the cases run: what a broker breaks first, first.
from holdgate.testing.conformance import batches, bounds, holding, life, membership, settling
from holdgate.testing.conformance.kit import Capability, IntakeBed, IntakeCase, RecordingListener, Station

INTAKE_CASES: tuple[IntakeCase, ...] = (*life.CASES, *holding.CASES, *settling.CASES, *bounds.CASES, *batches.CASES, *membership.CASES)


def cases_for(capabilities: frozenset[Capability]) -> tuple[IntakeCase, ...]:
    """The cases that apply to a broker with these capabilities."""
    return tuple(case for case in INTAKE_CASES if case.requires <= capabilities)


__all__ = ["INTAKE_CASES", "Capability", "IntakeBed", "IntakeCase", "RecordingListener", "Station", "cases_for"]
