"""One run from the first connection to the report: who is started, watched and stopped, in which order."""

from __future__ import annotations

import asyncio
from functools import partial

from holdgate.cli.demo.clock import StoryClock
from holdgate.cli.demo.frame import Note, Output
from holdgate.cli.demo.guarded import GuardedSide
from holdgate.cli.demo.history import FRAMES_PER_SECOND, History
from holdgate.cli.demo.ledger import Production
from holdgate.cli.demo.naive import NaiveSide
from holdgate.cli.demo.report import Report, side_report
from holdgate.cli.demo.scenario import Scenario
from holdgate.cli.demo.screen_parts import CELLS
from holdgate.cli.demo.tasks import all_or_none, until_over
from holdgate.cli.demo.timeline import LETTERS, timeline
from holdgate.cli.demo.traffic import Traffic
from holdgate.cli.demo.venue import GUARDED, NAIVE, Venue
from holdgate.cli.demo.work import Work
from holdgate.errors import IntakeError
from holdgate.ports import Clock

# A first join takes about three seconds on the embedded broker, and up to ten with a real one's default settings.
JOIN_TIMEOUT = 20.0
# Reading eight offsets takes milliseconds.
AUDIT_TIMEOUT = 5.0


class Story:
    """The run of `scenario` on `venue`, shown on `output`.

    `broker` is the name under which the venue is spoken of. `clock` is the guard's; None: the system's.
    """

    def __init__(self, scenario: Scenario, venue: Venue, broker: str, output: Output, *, clock: Clock | None = None) -> None:
        self._scenario = scenario
        self._venue = venue
        self._broker = broker
        self._output = output
        self._guard_clock = clock
        self._clock = StoryClock()
        self._production = Production()
        self._interrupted = False
        self._ran = 0.0

    async def run(self) -> Report:
        """Live through it; returns what was seen, also when cancelled in the middle. Raises `IntakeError` when the broker is not there."""
        try:
            self._output.begin(self._broker)
            await self._venue.open()
            return await self._run_sides()
        finally:
            self._output.end()
            await self._venue.close()

    async def _run_sides(self) -> Report:
        guarded = GuardedSide(self._venue, self._work(), self._scenario, self._note, self._guard_clock)
        naive = NaiveSide(self._venue.feed(), self._work())
        self._history = History(self._scenario, guarded, naive)
        try:
            await self._play(guarded, naive)
        except asyncio.CancelledError:
            # Ctrl-C asks for an end, not for silence: what was seen so far is reported.
            self._interrupted = True
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
        finally:
            self._ran = self._clock.now()
            await asyncio.gather(guarded.stop(), naive.stop())
        return await self._report(guarded, naive)

    def _work(self) -> Work:
        return Work(self._scenario, self._clock, self._production)

    def _note(self, note: Note) -> None:
        self._history.notes.append(note)
        self._output.note(note)

    async def _play(self, guarded: GuardedSide, naive: NaiveSide) -> None:
        try:
            async with asyncio.timeout(JOIN_TIMEOUT):
                await all_or_none(guarded.start(), naive.start())
        except TimeoutError as error:
            raise IntakeError(f"no partitions within {JOIN_TIMEOUT:g} s on {self._broker}: is its group coordinator up?") from error
        self._clock.start()
        traffic = Traffic(self._scenario, self._clock, self._production, self._venue)
        await until_over(self._watch(), guarded.wait(), naive.wait(), traffic.run())

    async def _watch(self) -> None:
        while (now := self._clock.now()) < self._scenario.seconds:
            note = self._history.phase_note(now)
            if note is not None:
                self._note(note)
            self._output.show(self._history.take(now))
            await asyncio.sleep(1 / FRAMES_PER_SECOND)

    async def _report(self, guarded: GuardedSide, naive: NaiveSide) -> Report:
        async with asyncio.timeout(AUDIT_TIMEOUT):
            committed = {group: await self._venue.committed(group) for group in (GUARDED, NAIVE)}
        frame = self._history.take(self._ran)
        draw = partial(timeline, now=self._ran, cell_seconds=self._scenario.seconds / CELLS, alphabet=LETTERS)
        return Report(
            broker=self._broker,
            scenario=self._scenario,
            ran=self._ran,
            interrupted=self._interrupted,
            produced=len(self._production.places),
            service_timeline=draw(frame.service),
            guarded=side_report(
                guarded.work,
                committed[GUARDED],
                peak_waiting=self._history.guarded.peak_waiting,
                rebalances=guarded.rebalances,
                transitions=guarded.transitions,
                timeline=draw(frame.guarded.marks),
            ),
            naive=side_report(
                naive.work,
                committed[NAIVE],
                peak_waiting=self._history.naive.peak_waiting,
                rebalances=naive.rebalances,
                transitions=(),
                timeline=draw(frame.naive.marks),
            ),
        )
