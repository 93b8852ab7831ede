"""Turns two running sides into pictures, and remembers what only a watcher sees: peaks, trends and the row of cells."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from holdgate.cli.demo.frame import Frame, Note, SideFrame, Status
from holdgate.cli.demo.scenario import RECEIPTS, Phase, Scenario
from holdgate.cli.demo.timeline import Kind, Mark
from holdgate.cli.demo.work import Work

FRAMES_PER_SECOND = 8  # smooth for an eye, and next to nothing for two cores
# A trend is read over one second: shorter, and the arrow would flicker with every batch.
TREND_FRAMES = FRAMES_PER_SECOND
# Below this many messages a backlog is what happens to be on its way.
TREND_FLOOR = 3

PHASE_TEXT = {
    Phase.UP: "payments has its full capacity again",
    Phase.DOWN: "payments goes down: every call is refused",
    Phase.WEAK: "payments answers again, with little capacity",
}
PHASE_KIND = {Phase.UP: Kind.FINE, Phase.DOWN: Kind.BAD, Phase.WEAK: Kind.PARTLY}


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

    def __init__(self, scenario: Scenario, guarded: Side, naive: Side) -> None:
        self.guarded = SideHistory(guarded)
        self.naive = SideHistory(naive)
        self.notes: list[Note] = []
        self._scenario = scenario
        self._service = [Mark(0.0, Kind.FINE)]
        self._phase = Phase.UP

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
