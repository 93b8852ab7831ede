from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from holdgate.testing import LoopClock, run_virtual
from holdgate_lab.demo.report import Report
from holdgate_lab.demo.scenario import CONCURRENCY, DemoScenario
from holdgate_lab.demo.screen import Frame, Note, Silent
from holdgate_lab.demo.story import Story, all_or_none, until_over
from holdgate_lab.demo.venues import GUARDED, NAIVE, MemoryFeed, MemoryVenue, Place, Record, Venue
from holdgate_lab.demo.workers import ATTEMPTS

# Failures in a row that open a circuit by default, and how many more are on their way by then.
UNTIL_OPEN = 5 + CONCURRENCY - 1
# Ten seconds of outage with waits of one second and then two: not more than this many probes.
PROBES = 8


class Watching(Silent):
    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.notes: list[Note] = []
        self.ended = False

    def show(self, frame: Frame) -> None:
        self.frames.append(frame)

    def note(self, note: Note) -> None:
        self.notes.append(note)

    def end(self) -> None:
        self.ended = True


def story(venue: Venue | None = None, output: Watching | None = None) -> Story:
    return Story(DemoScenario(), venue or MemoryVenue(), "memory", output or Watching(), clock=LoopClock())


@pytest.fixture(scope="module")
def output() -> Watching:
    """What was shown of the one run that most tests look at."""
    return Watching()


@pytest.fixture(scope="module")
def report(output: Watching) -> Report:
    """The whole story, on virtual time."""
    return run_virtual(story(output=output).run())


def test_nothing_is_lost_on_either_side(report: Report) -> None:
    """Every message is processed, dead-lettered or waiting: the demo's own ledger is consistent."""
    for side in (report.guarded, report.naive):
        assert side.lost == 0
        assert side.processed + side.dead_letters + side.waiting == report.produced


def test_the_guarded_side_processes_everything(report: Report) -> None:
    """The outage cost it time, and nothing else: no dead letter, no duplicate, no rebalance, nothing left at the end."""
    guarded = report.guarded
    assert guarded.processed == report.produced
    assert (guarded.dead_letters, guarded.duplicates, guarded.rebalances, guarded.waiting) == (0, 0, 0, 0)


def test_the_guarded_side_wastes_few_calls(report: Report) -> None:
    """What it takes to see the outage, and probes: the bound that the library promises."""
    assert 0 < report.guarded.wasted_calls <= UNTIL_OPEN + PROBES


def test_the_bare_consumer_wastes_many_times_as_many(report: Report) -> None:
    """Retries against a service that is down, and each message that is given up cost all its attempts."""
    assert report.naive.wasted_calls > 5 * report.guarded.wasted_calls
    assert report.naive.dead_letters > 0
    assert report.naive.wasted_calls + report.naive.overrun_calls >= ATTEMPTS * report.naive.dead_letters


def test_the_guarded_side_comes_back_gently(report: Report) -> None:
    """Fewer calls in the weak service at once, and fewer that it could not answer, than with the bare consumer's stampede."""
    assert report.guarded.peak_in_flight_while_weak < report.naive.peak_in_flight_while_weak
    assert report.guarded.overrun_calls < report.naive.overrun_calls


def test_the_circuit_opens_probes_and_closes(report: Report) -> None:
    """All states are seen, and the last word is CLOSED."""
    assert report.guarded.states == ["CLOSED", "OPEN", "HALF_OPEN"]
    assert report.guarded.transitions[-1].state == "CLOSED"
    assert {transition.dependency for transition in report.guarded.transitions} == {"payments"}


def test_the_ramp_is_seen_in_the_row(report: Report) -> None:
    """Closed, open with probes, the steps of the ramp, closed again."""
    row = report.guarded.timeline
    assert row.startswith("--")
    assert "#1" in row
    assert set("24") <= set(row)
    assert row.endswith("--")


def test_receipts_do_not_wait_while_payments_is_down_or_ramps_up(report: Report, output: Watching) -> None:
    """Isolation: until the circuit closes again, what needs only email takes its normal time."""
    closed_at = report.guarded.transitions[-1].at
    affected = [frame.guarded.receipt_wait for frame in output.frames if report.scenario.down_at < frame.now < closed_at]
    assert len(affected) > 100
    assert {wait is not None and wait < 0.5 for wait in affected} == {True}


def test_receipts_wait_behind_orders_without_the_guard(report: Report) -> None:
    """The bare loop shares the outage of payments with everything it consumes."""
    assert report.naive.slowest_receipt_seconds is not None
    assert report.naive.slowest_receipt_seconds > 2.0


def test_receipts_do_not_wait_while_the_backlog_of_orders_drains(report: Report) -> None:
    """A free lane serves the sources in turn, also when one of them has much to catch up on."""
    assert report.guarded.slowest_receipt_seconds is not None
    assert report.guarded.slowest_receipt_seconds < 0.5


def test_the_screen_shows_the_hold(report: Report, output: Watching) -> None:
    """While the circuit is open, the partitions of orders are held, and those of receipts are not."""
    held = {frame.guarded.status.held for frame in output.frames if frame.guarded.status.word == "OPEN"}
    assert held == {4}
    assert report.guarded.peak_waiting > 300


def test_the_notes_tell_the_story_in_order(report: Report, output: Watching) -> None:
    """What happened to the service, and what the guard made of it."""
    texts = " | ".join(note.text for note in output.notes)
    steps = ["payments goes down", "payments OPEN", "payments HALF_OPEN", "payments answers again", "full capacity", "payments CLOSED"]
    places = [texts.index(step) for step in steps[:-1]] + [texts.rindex(steps[-1])]
    assert places == sorted(places)
    assert output.ended


def test_an_interruption_ends_it_with_what_was_seen() -> None:
    """Cancelled in the middle of the outage: a report of that far, marked as interrupted, and the output is closed."""
    output = Watching()

    async def cut() -> Report:
        task = asyncio.create_task(story(output=output).run())
        await asyncio.sleep(8.0)
        task.cancel()
        report = await task
        assert task.cancelling() == 0  # it was heard; whoever runs the story may go on
        return report

    report = run_virtual(cut())
    assert report.interrupted
    assert 7.0 < report.ran <= 8.0
    assert report.guarded.lost == report.naive.lost == 0
    assert output.ended


def test_what_the_guarded_side_does_behind_its_page_is_not_told() -> None:
    """The story ended with the address of the page; a line after it would look as if it went on. The ledger has it all the same."""
    shown = Watching()
    told = story(output=shown)
    told._history = ledger = SimpleNamespace(notes=[])  # type: ignore[assignment]
    before, after = Note(1.0, "before"), Note(2.0, "after")
    told._note(before)
    told._stayed = True
    told._note(after)
    assert (shown.notes, ledger.notes) == ([before], [before, after])


def test_both_sides_have_left_their_groups_at_the_end() -> None:
    """Nothing goes on behind the report."""
    venue = MemoryVenue()

    async def members_after() -> list[str]:
        await story(venue).run()  # looked at before the loop ends, which would end everything
        return [*venue._broker.members(GUARDED), *venue._broker.members(NAIVE)]

    assert run_virtual(members_after()) == []


class BreakingFeed(MemoryFeed):
    async def take(self, most: int) -> Sequence[Record]:
        raise ConnectionError("the broker is gone")


class BreakingVenue(MemoryVenue):
    def feed(self) -> BreakingFeed:
        return BreakingFeed(self._broker)


def test_what_breaks_one_side_ends_the_run_and_is_raised() -> None:
    """A broker that goes away must not look like a consumer that waits."""
    output = Watching()
    with pytest.raises(ConnectionError, match="gone"):
        run_virtual(story(BreakingVenue(), output).run())
    assert output.ended


class StumblingVenue(MemoryVenue):
    async def produce(self, kind: str, number: int) -> Place:
        if number == 10:
            raise ConnectionError("the broker is gone")
        return await super().produce(kind, number)


def test_a_producer_that_fails_ends_the_run_with_its_own_error() -> None:
    """Not with a group of errors, which no command line could explain."""
    with pytest.raises(ConnectionError, match="gone"):
        run_virtual(story(StumblingVenue()).run())


class Endless:
    def __init__(self) -> None:
        self.ended = False

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


async def fail() -> None:
    await asyncio.sleep(0)
    raise ConnectionError("gone")


async def soon() -> None:
    await asyncio.sleep(0)


async def test_all_steps_are_through_when_it_returns() -> None:
    """None is left behind."""
    through: list[int] = []

    async def step(number: int) -> None:
        for _ in range(number):
            await asyncio.sleep(0)
        through.append(number)

    await all_or_none(step(3), step(1))
    assert through == [1, 3]


async def test_the_first_failure_ends_the_other_steps_and_is_raised_as_it_is() -> None:
    """No group of errors, and nothing goes on behind it."""
    other = Endless()
    with pytest.raises(ConnectionError, match="gone"):
        await all_or_none(other.run(), fail())
    assert other.ended


async def test_when_the_watch_is_over_everything_is() -> None:
    """What still runs beside it is ended, and waited for."""
    other = Endless()
    await until_over(soon(), other.run())
    assert other.ended


async def test_what_is_done_before_the_watch_is_no_reason_to_stop() -> None:
    """The producer is done before the backlog is drained."""
    looks: list[int] = []

    async def watch() -> None:
        for look in range(5):
            looks.append(look)
            await asyncio.sleep(0)

    await until_over(watch(), soon())
    assert looks == [0, 1, 2, 3, 4]


async def test_what_fails_beside_the_watch_ends_it() -> None:
    """A run with a broken side is not shown to its end as if nothing were."""
    watch = Endless()
    with pytest.raises(ConnectionError, match="gone"):
        await until_over(watch.run(), fail())
    assert watch.ended


async def test_a_cancellation_from_outside_ends_all() -> None:
    """Ctrl-C reaches every task."""
    watch, other = Endless(), Endless()
    task = asyncio.create_task(until_over(watch.run(), other.run()))
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (watch.ended, other.ended) == (True, True)
