"""What the run showed, as values: the JSON document and the summary table are made of this alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from holdgate.cli.demo.scenario import RECEIPTS, Scenario
from holdgate.cli.demo.work import Work

# Raised when a key is renamed or removed; a new key alone leaves it as it is.
VERSION = 1


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of a circuit's state, `at` seconds into the run."""

    at: float
    dependency: str
    state: str


@dataclass(frozen=True, slots=True)
class SideReport:
    """What one side did.

    `calls` to payments, `wasted_calls` of them made while it was down and `overrun_calls` unanswered because too many were in it;
    `lost` counts messages behind the committed offset that were neither processed nor dead-lettered, `waiting` those that the next worker
    would take up; `slowest_receipt_seconds` is None when no receipt was processed.
    """

    calls: int
    wasted_calls: int
    overrun_calls: int
    processed: int
    duplicates: int
    dead_letters: int
    lost: int
    waiting: int
    peak_waiting: int
    peak_in_flight_while_weak: int
    rebalances: int
    slowest_receipt_seconds: float | None
    transitions: Sequence[Transition]
    timeline: str

    @property
    def states(self) -> list[str]:
        """The circuit states that were seen, each once, in order of first sight; the side without a guard has none."""
        return list(dict.fromkeys(["CLOSED", *(transition.state for transition in self.transitions)])) if self.transitions else []


@dataclass(frozen=True, slots=True)
class Report:
    """The whole run. `ran` is how long it was in seconds: less than `scenario.seconds` when it was interrupted."""

    broker: str
    scenario: Scenario
    ran: float
    interrupted: bool
    produced: int
    service_timeline: str
    guarded: SideReport
    naive: SideReport

    def document(self) -> dict[str, Any]:
        """The JSON document."""
        scenario = self.scenario
        return {
            "version": VERSION,
            "broker": self.broker,
            "seconds": scenario.seconds,
            "ran_seconds": round(self.ran, 3),
            "interrupted": self.interrupted,
            "produced": self.produced,
            "payments": {
                "down_at": scenario.down_at,
                "weak_at": scenario.weak_at,
                "up_at": scenario.up_at,
                "timeline": self.service_timeline,
            },
            "guarded": _side_document(self.guarded),
            "naive": _side_document(self.naive),
        }


def _side_document(side: SideReport) -> dict[str, Any]:
    document = asdict(side)
    document["states"] = side.states
    document["transitions"] = [{**asdict(transition), "at": round(transition.at, 3)} for transition in side.transitions]
    if side.slowest_receipt_seconds is not None:
        document["slowest_receipt_seconds"] = round(side.slowest_receipt_seconds, 3)
    return document


def side_report(
    work: Work,
    committed: Mapping[tuple[str, int], int],
    *,
    peak_waiting: int,
    rebalances: int,
    transitions: Sequence[Transition],
    timeline: str,
) -> SideReport:
    """What one side did, from its work and from what the broker holds as `committed` for its group."""
    ledger, payments = work.ledger, work.payments
    lost = ledger.lost(committed)
    return SideReport(
        calls=payments.calls,
        wasted_calls=payments.wasted,
        overrun_calls=payments.overrun,
        processed=len(ledger.processed),
        duplicates=ledger.duplicates,
        dead_letters=len(ledger.dead),
        lost=lost,
        waiting=ledger.waiting() - lost,
        peak_waiting=peak_waiting,
        peak_in_flight_while_weak=payments.peak_weak,
        rebalances=rebalances,
        slowest_receipt_seconds=ledger.slowest.get(RECEIPTS),
        transitions=transitions,
        timeline=timeline,
    )
