"""What was seen of a run: the pictures while it goes on, and at its end the report, as a JSON document and as a table.

`History` turns two running sides into frames and remembers what only a watcher sees: peaks, trends and the row of cells. `Report` has the
facts as values; the document and the table are made of it alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from holdgate_lab.demo.scenario import RECEIPTS, DemoScenario, ServicePhase
from holdgate_lab.demo.screen import ASCII_LEGEND, LABEL, Frame, Kind, Mark, Note, SideFrame, Status
from holdgate_lab.demo.workers import Transition, Work

# Raised when a key is renamed or removed; a new key alone leaves it as it is.
VERSION = 1

FRAMES_PER_SECOND = 8  # smooth for an eye, and next to nothing for two cores
# A trend is read over one second: shorter, and the arrow would flicker with every batch.
TREND_FRAMES = FRAMES_PER_SECOND
# Below this many messages a backlog is what happens to be on its way.
TREND_FLOOR = 3

PHASE_TEXT = {
    ServicePhase.UP: "payments has its full capacity again",
    ServicePhase.DOWN: "payments goes down: every call is refused",
    ServicePhase.WEAK: "payments answers again, with little capacity",
}
PHASE_KIND = {ServicePhase.UP: Kind.FINE, ServicePhase.DOWN: Kind.BAD, ServicePhase.WEAK: Kind.PARTLY}


class Side(Protocol):
    """A running side, as a watcher sees it."""

    @property
    def work(self) -> Work:
        """Its handler, services and ledger."""
        ...

    def status(self) -> Status:
        """What it is doing now."""
        ...

    def marks(self) -> list[Mark]:
        """Its row of cells, where it keeps one itself; else empty, and what `status` says makes the row."""
        ...


class SideHistory:
    """What was seen of one side."""

    def __init__(self, side: Side) -> None:
        self.peak_waiting = 0
        self._side = side
        self._marks: list[Mark] = []
        self._backlogs: deque[int] = deque(maxlen=TREND_FRAMES)

    def take(self, now: float) -> SideFrame:
        """The side now."""
        work = self._side.work
        waiting = work.ledger.waiting()
        self.peak_waiting = max(self.peak_waiting, waiting)
        status = self._side.status()
        self._marks.append(Mark(now, Kind.BAD if status.mood == "bad" else Kind.FINE))
        self._backlogs.append(waiting)
        return SideFrame(
            status=status,
            in_flight=work.payments.in_flight(),
            waiting=waiting,
            trend=self._trend(waiting),
            processed=len(work.ledger.processed),
            wasted=work.payments.wasted,
            dead=len(work.ledger.dead),
            receipt_wait=work.ledger.recent(RECEIPTS, now),
            marks=self._side.marks() or self._marks,
        )

    def _trend(self, waiting: int) -> int:
        change = waiting - self._backlogs[0]
        if waiting < TREND_FLOOR or abs(change) < TREND_FLOOR:
            return 0
        return 1 if change > 0 else -1


class History:
    """What was seen of a run."""

    def __init__(self, scenario: DemoScenario, guarded: Side, naive: Side) -> None:
        self.guarded = SideHistory(guarded)
        self.naive = SideHistory(naive)
        self.notes: list[Note] = []
        self._scenario = scenario
        self._service = [Mark(0.0, Kind.FINE)]
        self._phase = ServicePhase.UP

    def phase_note(self, now: float) -> Note | None:
        """What to say when the payment service has changed since the last call; None when it has not."""
        phase = self._scenario.payments(now)
        if phase is self._phase:
            return None
        self._phase = phase
        self._service.append(Mark(now, PHASE_KIND[phase]))
        return Note(now, PHASE_TEXT[phase])

    def take(self, now: float) -> Frame:
        """The run now."""
        return Frame(
            now=now,
            scenario=self._scenario,
            phase=self._phase,
            service=self._service,
            guarded=self.guarded.take(now),
            naive=self.naive.take(now),
            notes=self.notes,
        )


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
    scenario: DemoScenario
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
    *,
    lost: int,
    peak_waiting: int,
    rebalances: int,
    transitions: Sequence[Transition],
    timeline: str,
) -> SideReport:
    """What one side did, from its work, and how many messages it has lost by what the broker has of its group."""
    ledger, payments = work.ledger, work.payments
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


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def rows(side: SideReport) -> list[tuple[str, str]]:
    """The facts of one side, in the order in which a person asks for them."""
    return [
        ("orders and receipts processed", str(side.processed)),
        ("lost", str(side.lost)),
        ("dead letters, all of them good messages", str(side.dead_letters)),
        ("still waiting at the end", str(side.waiting)),
        ("calls to payments", str(side.calls)),
        ("  wasted: made while it was down", str(side.wasted_calls)),
        ("  unanswered: too many at once", str(side.overrun_calls)),
        ("most calls in payments while it was weak", str(side.peak_in_flight_while_weak)),
        ("longest backlog", str(side.peak_waiting)),
        ("slowest receipt (needs only email)", _seconds(side.slowest_receipt_seconds)),
        ("processed twice", str(side.duplicates)),
        ("rebalances", str(side.rebalances)),
    ]


def table(report: Report, *, ascii_only: bool) -> Table:
    """The summary of a run."""
    summary = Table(box=box.ASCII if ascii_only else box.ROUNDED)
    summary.add_column("", no_wrap=True)
    summary.add_column("with holdgate", justify="right", no_wrap=True)
    summary.add_column("without", justify="right", no_wrap=True)
    for (label, guarded), (_, naive) in zip(rows(report.guarded), rows(report.naive), strict=True):
        summary.add_row(label, guarded, naive)
    return summary


def headline(report: Report) -> str:
    """What the numbers are about."""
    ending = "interrupted after" if report.interrupted else "ran"
    return f"{report.produced} messages on {report.broker}, {ending} {report.ran:.0f} s; payments was down for {_down(report):.0f} s"


def _down(report: Report) -> float:
    return max(0.0, min(report.ran, report.scenario.weak_at) - report.scenario.down_at)


def print_rows(report: Report, console: Console) -> None:
    """Print the three rows of cells with their legend, in ASCII: for outputs that have no last picture to show them."""
    for label, row in (
        ("payments", report.service_timeline),
        ("with holdgate", report.guarded.timeline),
        ("without", report.naive.timeline),
    ):
        console.print(Text(f"{label:<{LABEL}} {row}"), soft_wrap=True)
    console.print(Text(ASCII_LEGEND), soft_wrap=True)


def print_summary(report: Report, console: Console, *, ascii_only: bool) -> None:
    """Print the headline and the table. `ascii_only`: for pipes and logs, where nothing else is sure to be readable."""
    console.print(Text(headline(report)), soft_wrap=True)
    console.print(table(report, ascii_only=ascii_only))
