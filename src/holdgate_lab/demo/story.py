"""One run from the first connection to the report: who is started, watched and stopped, in which order.

The first of several tasks that fails ends the others, and is raised as it is: a person is to read it, not a group of it.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
import threading
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from holdgate.errors import IntakeError
from holdgate.ports import Clock
from holdgate_lab.demo.report import FRAMES_PER_SECOND, History, Report, side_report
from holdgate_lab.demo.scenario import ORDERS, RECEIPTS, DemoScenario, StoryClock
from holdgate_lab.demo.screen import CELLS, LETTERS, Note, Output, timeline
from holdgate_lab.demo.venues import GUARDED, NAIVE, Venue
from holdgate_lab.demo.workers import GuardedSide, NaiveSide, Production, Work

if TYPE_CHECKING:  # it comes with an extra
    from holdgate.control import Control

# A first join takes about three seconds on the embedded broker, and up to ten with a real one's default settings: several times that on a
# busy machine.
JOIN_TIMEOUT = 60.0
# Reading eight offsets takes milliseconds, but the clients connect anew for it. Without the answer the whole demo has shown nothing.
AUDIT_TIMEOUT = 30.0


async def until_terminated(story: Story) -> Report:
    """Run the story; SIGTERM ends it as Ctrl-C does, which asyncio brings by itself."""
    task = asyncio.current_task()
    if task is not None and sys.platform != "win32" and threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await story.run()


class Page(NamedTuple):
    """The page of the guarded side. `show` prints what is known when the story has come to its end; then the page stays."""

    control: Control
    show: Callable[[Report], None]


class Story:
    """The run of `scenario` on `venue`, shown on `output`.

    `broker` is the name that the output calls the venue by. `clock` is the guard's; None means the system's. With `page` the guarded side
    is on a page, and goes on after the end of the story until the run is cancelled; None means neither.
    """

    def __init__(
        self, scenario: DemoScenario, venue: Venue, broker: str, output: Output, *, clock: Clock | None = None, page: Page | None = None
    ) -> None:
        self._scenario = scenario
        self._venue = venue
        self._broker = broker
        self._output = output
        self._guard_clock = clock
        self._page = page
        self._clock = StoryClock()
        self._production = Production()
        self._interrupted = False
        self._stayed = False
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
        control = None if self._page is None else self._page.control
        guarded = GuardedSide(self._venue, self._work(), self._scenario, self._note, self._guard_clock, control=control)
        naive = NaiveSide(self._venue.feed(), self._work())
        self._history = History(self._scenario, guarded, naive)
        try:
            await self._play(guarded, naive)
            if self._page is not None:
                await self._stay(self._page, guarded, naive)
        except asyncio.CancelledError:
            # Ctrl-C asks for an end, not for silence: what was seen so far is reported.
            self._interrupted = not self._stayed
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
        finally:
            self._ran = self._ran or self._clock.now()
            await asyncio.gather(guarded.stop(), naive.stop())
        return await self._report(guarded, naive)

    async def _stay(self, page: Page, guarded: GuardedSide, naive: NaiveSide) -> None:
        self._ran = self._clock.now()
        await naive.stop()
        report = await self._report(guarded, naive)
        self._stayed = True
        self._output.end()
        page.show(report)
        await guarded.wait()

    def _work(self) -> Work:
        return Work(self._scenario, self._clock, self._production)

    def _note(self, note: Note) -> None:
        self._history.notes.append(note)
        if not self._stayed:  # then the story has been told, and its page goes on
            self._output.note(note)

    async def _play(self, guarded: GuardedSide, naive: NaiveSide) -> None:
        try:
            async with asyncio.timeout(JOIN_TIMEOUT):
                await all_or_none(guarded.start(), naive.start())
        except TimeoutError as error:
            raise IntakeError(f"no partitions within {JOIN_TIMEOUT:g} s on {self._broker}: is its group coordinator up?") from error
        self._clock.start()
        if self._page is not None:
            self._note(Note(0.0, f"the page of the guarded side: {self._page.control.url}"))
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
            lost = [await self._venue.lost(group, side.work.ledger.unsettled()) for group, side in ((GUARDED, guarded), (NAIVE, naive))]
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
                lost=lost[0],
                peak_waiting=self._history.guarded.peak_waiting,
                rebalances=guarded.rebalances,
                transitions=guarded.transitions,
                timeline=draw(frame.guarded.marks),
            ),
            naive=side_report(
                naive.work,
                lost=lost[1],
                peak_waiting=self._history.naive.peak_waiting,
                rebalances=naive.rebalances,
                transitions=(),
                timeline=draw(frame.naive.marks),
            ),
        )


class Traffic:
    """The producer: orders and receipts at a steady rate until `scenario.quiet_at`, whatever happens behind them.

    It keeps to the schedule: a pause of the process is made up for, so that the number of messages is the same on a busy machine.
    """

    def __init__(self, scenario: DemoScenario, clock: StoryClock, production: Production, venue: Venue) -> None:
        self._scenario = scenario
        self._clock = clock
        self._production = production
        self._venue = venue
        self._numbers = itertools.count()

    async def run(self) -> None:
        """Produce both kinds; returns when the last message is stored."""
        await all_or_none(
            self._produce(ORDERS, self._scenario.orders_per_second),
            self._produce(RECEIPTS, self._scenario.receipts_per_second),
        )

    async def _produce(self, kind: str, rate: float) -> None:
        for index in range(int(self._scenario.quiet_at * rate)):
            await asyncio.sleep(max(0.0, index / rate - self._clock.now()))
            number = next(self._numbers)
            self._production.send(number, self._clock.now())
            self._production.store(number, await self._venue.produce(kind, number))


async def all_or_none(*steps: Coroutine[Any, Any, None]) -> None:
    """Return when all are through; the first that fails ends the others, and is raised as it is."""
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _end(tasks)


async def until_over(watch: Coroutine[Any, Any, None], *others: Coroutine[Any, Any, None]) -> None:
    """Return when `watch` ends; raise what ends another before. A producer that is done is no reason to stop."""
    watching = asyncio.create_task(watch)
    tasks = [watching, *(asyncio.create_task(other) for other in others)]
    running = set(tasks)
    try:
        while watching in running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        await _end(tasks)


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
