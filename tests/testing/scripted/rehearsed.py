"""What the tests of all far ends ask: do they fail as the real thing does, and does a good handler lose nothing by it?"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from holdgate import Dependency
from holdgate.testing import Answered, Dropped, Hung, MemoryDeadLetters, Outage, Refused, Rehearsal, rehearse, rehearse_async, run_virtual

# By the names that tests/clients uses for the same situations on real sockets.
FAULTS: dict[str, Any] = {
    "refused": Refused(),
    "dropped": Dropped(),
    "hung": Hung(),
    "503": Answered(503),
    "429": Answered(429, retry_after=30),
}
START, END, COUNT = 10.0, 70.0, 100
PATIENCE = 5.0  # what the clients here wait for an answer

_RESULTS = Path(__file__).parents[2] / "clients" / "results.json"

Handler = Callable[[Any], Any]
# A client that must be made in the loop in which it is used gives its handler inside of a block.
Made = Callable[[], Any]


def real(family: str, client: str, situation: str) -> str:
    """What the real client raised on a real socket, when `make test-clients` ran last."""
    cell: dict[str, str] = json.loads(_RESULTS.read_text())[family][client]["cells"][situation]
    return cell["raised"]


def name_of(error: BaseException) -> str:
    """A class as the results have it."""
    module = type(error).__module__.partition(".")[0]
    return type(error).__name__ if module == "builtins" else f"{module}.{type(error).__name__}"


def through(handler: Handler, needs: Dependency, fault: Any, **settings: Any) -> Rehearsal:
    """The report of an outage of a minute."""
    return rehearse(handler, needs=[needs], deliveries=COUNT, outage=Outage(START, END, fault=fault), **_letters(settings))


def through_async(made: Made, needs: Dependency, fault: Any, **settings: Any) -> Rehearsal:
    """The same for a client that is made in its loop."""

    async def main() -> Rehearsal:
        async with made() as handler:
            outage = Outage(START, END, fault=fault)
            return await rehearse_async(handler, needs=[needs], deliveries=COUNT, outage=outage, **_letters(settings))

    return run_virtual(main())


def _letters(settings: dict[str, Any]) -> dict[str, Any]:
    return {"dead_letters": MemoryDeadLetters(), **settings}


def first_error(rehearsed: Callable[[Callable[[Handler], Handler]], object]) -> BaseException:
    """What a handler raised first. `rehearsed` gets what stands around the handler, plain or async as the handler."""
    found: list[BaseException] = []

    def around(handler: Handler) -> Handler:
        def plain(delivery: Any) -> Any:
            try:
                result = handler(delivery)
            except Exception as error:
                found.append(error)
                raise
            return awaited(result) if isinstance(result, Awaitable) else None

        async def awaited(result: Awaitable[Any]) -> None:
            try:
                await result
            except Exception as error:
                found.append(error)
                raise

        return plain

    rehearsed(around)
    return found[0]


def assert_lost_nothing(report: Rehearsal) -> None:
    """A good handler: every message processed, a few calls for the outage, and nothing to say against it."""
    assert report.problems == (), report.verdict
    assert len(report.processed) == COUNT
    assert report.rejected == report.left == ()
    # Five open the circuit. In a minute it is asked every 3.5 s ten times, and then each time that it is a tenth older.
    assert 0 < report.called_in_outage <= 5 + 17
    assert report.back_after is not None
    assert report.back_after < 25
