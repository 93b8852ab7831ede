"""A case: one promise of the port, with the function that checks it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from holdgate.testing.conformance.bed import Capability, IntakeBed

Check = Callable[[IntakeBed], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class IntakeCase:
    """One promise. Await it with a fresh bed; `requires` is what the bed's broker must be able to do.

    Raises AssertionError when the promise is broken, and ValueError on a bed without the capability.
    """

    name: str
    check: Check
    requires: frozenset[Capability]

    async def __call__(self, bed: IntakeBed) -> None:
        """Run it."""
        if not self.requires <= bed.capabilities:
            raise ValueError(f"{self.name} needs a broker that can {', '.join(sorted(self.requires - bed.capabilities))}")
        await self.check(bed)

    def __str__(self) -> str:
        return self.name


def case(check: Check, *requires: Capability) -> IntakeCase:
    """The case of a function, under its name."""
    return IntakeCase(check.__name__, check, frozenset(requires))


def expect(condition: object, promise: str) -> None:
    """Raise AssertionError with the broken promise unless `condition` is true: the cases run with Python's asserts off as well."""
    if not condition:
        raise AssertionError(promise)


def expect_equal(found: object, wanted: object, promise: str) -> None:
    """Raise AssertionError unless both are equal."""
    if found != wanted:
        raise AssertionError(f"{promise}: expected {wanted!r}, found {found!r}")
