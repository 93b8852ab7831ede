"""The lines about one run as a whole: that it runs, what it does, how much waits for it, and that it has stopped.

An operator who finds no trouble in the log must still be able to tell a worker that works from one that does nothing. So a run says when it
runs: its sources, their needs, and where rejected messages go. Every `work_every` seconds it says what it has done since. When it has
stopped, it says whether anything is left: what was given back, whether all that was finished is committed, and which handlers were cut off.

How much waits is the broker's to say. The broker is asked before each of these lines, and a second before an open circuit is tried again,
in a task of its own. A broker that does not answer costs a line its number, and delays nothing else. The question is not cancelled: it ends
by itself when its intake closes (backlog.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

from holdgate.core.validation import seconds
from holdgate.flow.message import Backlog, Queue, Source
from holdgate.ports import RejectingVisibly
from holdgate.runtime.wording import lasting, many, sources
from holdgate.tasks import begin_later

if TYPE_CHECKING:
    from holdgate.flow.engine import Engine
    from holdgate.flow.state import Run
    from holdgate.ports import DeadLetters, Intake
    from holdgate.runtime.access import GuardCircuit
    from holdgate.runtime.folding import LogSettings

log = logging.getLogger("holdgate")

# A broker in reach answers in milliseconds. A line does not wait longer than that for its number (seconds).
_ANSWER_WITHIN = 5.0

# How long before the next try the broker is asked: longer than it takes to answer, and too short for much to change (seconds).
_ASK_AHEAD = 1.0

# Kafka has assigned partitions when it is open, and a queue is consumed a moment later (seconds).
_FIRST_SOURCES_WITHIN = 1.0


class LoggedRun(Protocol):
    """What these lines are about."""

    engine: Engine
    run: Run
    intake: Intake[Any]
    name: str
    now: Callable[[], float]


class RunLog:
    """Writes the lines of one run, and counts for them what is counted nowhere else: `failed` attempts, and `dead` messages."""

    def __init__(self, run: LoggedRun, settings: LogSettings, dead_letters: DeadLetters | None) -> None:
        self.failed = 0
        self.dead = 0
        self._run = run
        self._every = None if settings.work_every is None else seconds("work_every", settings.work_every)
        self._dead_letters = dead_letters
        self._backlog: dict[Source, int] = {}
        self._asking: asyncio.Task[None] | None = None
        self._timers: set[asyncio.Handle] = set()  # those to come
        self._opened = self._said = self._stopped = False
        self._had: set[str] = set()  # every topic or queue of the run so far: those that went away have been worked on, too
        self._processed = self._processed_by_name()  # as of the last line; at first, that of earlier runs
        self._last = (0, 0)
        self._task: asyncio.Task[None] | None = None

    # -- it runs ----------------------------------------------------------------------------------------------------------------------

    def opened(self) -> None:
        """Say soon that it runs: with its first sources, or after a second without any. Then say regularly what it has done."""
        self._later(0.0 if self._run.run.assignments else _FIRST_SOURCES_WITHIN, self._say_it_runs)
        self._opened = True
        self._plan()

    def assigned(self) -> None:
        """Note which sources came. Say that it runs, because it has its first ones."""
        self._had |= self._names()
        if self._opened and not self._said:
            self._later(0.0, self._say_it_runs)

    def _say_it_runs(self) -> None:
        if not self._said:
            self._said = True
            log.info("%s runs: %s; %s", self._run.name, self._needs(), self._rejected())
            self._say_what_stays_idle()

    def _say_what_stays_idle(self) -> None:
        """Say which part of `concurrency` has nothing to do, because each source has one handler at a time."""
        run = self._run.run
        here = len(run.assignments)
        if run.order == "source" and run.concurrency > here > 0:
            by_key = "" if run.batch else "order='key' runs more and keeps the order of each key, "
            log.warning(
                "%s: concurrency=%d, but order='source' runs one handler per source, so %d at a time here: %sorder='none' runs more and"
                " keeps no order",
                self._run.name,
                run.concurrency,
                here,
                by_key,
            )

    def _needs(self) -> str:
        """Return what each source needs, those with the same needs together."""
        run = self._run.run
        missing = set(self._run.intake.names or ()) - {source.name for source in run.assignments}
        named: list[Source] = [*run.assignments, *(Queue(name) for name in sorted(missing))]
        by_needs: dict[tuple[str, ...] | None, list[Source]] = {}
        for source in named:
            by_needs.setdefault(run.needs.of(source), []).append(source)
        said = [f"{sources(several)} needs {_listed(needs)}" for needs, several in by_needs.items()]
        return ", ".join(said) or "no partition yet"

    def _rejected(self) -> str:
        """Return where rejected messages go, as far as their target or the broker shows it."""
        if self._run.run.retry.on_exhausted == "skip":
            return "rejected messages are settled and lost (on_exhausted='skip')"
        target = self._run.intake if self._dead_letters is None else self._dead_letters
        if self._dead_letters is None and not self._run.run.rejects:
            return "a rejected message blocks its partition"
        if not isinstance(target, RejectingVisibly):
            return (
                "rejected messages go where its intake puts them"
                if self._dead_letters is None
                else "rejected messages go to its dead_letters"
            )
        ways = sorted((target.way_of_rejected(name), name) for name in self._names())
        said = [(way, [name for _, name in same]) for way, same in groupby(ways, lambda each: each[0])]
        return "; ".join(f"rejected messages{'' if len(said) == 1 else ' of ' + ', '.join(of)} {way}" for way, of in said)

    # -- it works ---------------------------------------------------------------------------------------------------------------------

    def _plan(self) -> None:
        if self._every is not None:
            self._later(self._every, self._on_time)

    def _on_time(self) -> None:
        self._plan()
        if self._task is None or self._task.done():
            self._task = begin_later(self._say_work(), f"log of {self._run.name}")

    async def _say_work(self) -> None:
        """Say what was done since the last time, and what waits."""
        asking = self.ask()
        await asyncio.wait({asking}, timeout=_ANSWER_WITHIN)
        run = self._run.run
        before, self._processed = self._processed, self._processed_by_name()
        names = {self._run.engine.totals().label(name) for name in self._had}
        done = sum(self._processed.get(name, 0) - before.get(name, 0) for name in names)
        failed, dead = self.failed - self._last[0], self.dead - self._last[1]
        self._last = (self.failed, self.dead)
        snapshot = self._run.engine.snapshot(self._run.now())
        held = sorted({reason for source in run.assignments if source in snapshot.sources for reason in snapshot.sources[source].reasons})
        log.info(
            "%s: %s processed, %s, %s dead in %s; %s%s",
            sources(run.assignments) or self._run.name,
            f"{done:,}",
            many(failed, "failed attempt"),
            f"{dead:,}",
            lasting(self._every or 0.0),
            self._waits(run.assignments),
            f"; held: {', '.join(held)}" if held else "",
        )

    def _processed_by_name(self) -> dict[str, int]:
        return {name: counted.processed for name, counted in self._run.engine.totals().names.items()}

    def _names(self) -> set[str]:
        """Return the topics or queues of the run: those of its assignments, and those that the intake names."""
        return {source.name for source in self._run.run.assignments} | set(self._run.intake.names or ())

    # -- how much waits ---------------------------------------------------------------------------------------------------------------

    def ask(self) -> asyncio.Task[None]:
        """Ask the broker how much waits, in a task, unless a question is still open. Returns the task."""
        if self._asking is None or self._asking.done():
            self._asking = begin_later(self._ask(), f"backlog of {self._run.name}")
            self._later(_ANSWER_WITHIN, partial(self._forget_backlog_without, self._asking))
        return self._asking

    def _forget_backlog_without(self, answer: asyncio.Task[None]) -> None:
        if not answer.done():
            self._backlog.clear()

    async def _ask(self) -> None:
        found: Mapping[Source, Backlog] = {}
        try:
            found = await self._run.intake.backlog()
        except Exception as error:  # noqa: BLE001 - a broker that is away costs a line its number, and no more
            log.debug("%s: the broker does not say how much waits: %s", self._run.name, type(error).__name__)
        finally:  # aiormq cancels the calls of a channel that closes
            self._backlog = {source: backlog.messages for source, backlog in found.items() if backlog.messages is not None}

    def ask_before(self, at: float) -> None:
        """Ask the broker a second before this monotonic second, so that a line that is written then has a fresh number."""
        self._later(max(0.0, at - self._run.now() - _ASK_AHEAD), self.ask)

    def waiting(self, of: Iterable[Source]) -> tuple[int, bool]:
        """Return how many messages of these sources wait, and whether that is all. If not, the broker may have more than is here."""
        snapshot = None
        number, is_all = 0, True
        for source in of:
            known = self._backlog.get(source)
            if known is None:
                snapshot = snapshot or self._run.engine.snapshot(self._run.now())
                seen = snapshot.sources.get(source)
                known, is_all = 0 if seen is None else seen.waiting + seen.in_flight, False
            number += known
        return number, is_all

    def waiting_for(self, dependency: str) -> tuple[int, bool]:
        """Return the same for the sources that need this dependency."""
        return self.waiting(self._needing(dependency))

    def declares(self, dependency: str) -> bool:
        """Return whether all messages of one of its sources need this dependency."""
        return any(True for _ in self._needing(dependency))

    def _needing(self, dependency: str) -> Iterator[Source]:
        assignments = self._run.run.assignments.items()
        return (source for source, each in assignments if any(gate.name == dependency for gate in each.gates))

    def _waits(self, of: Iterable[Source]) -> str:
        number, is_all = self.waiting(of)
        return f"{'' if is_all else 'at least '}{number:,} wait" + ("s" if number == 1 else "")

    # -- it has stopped ---------------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask and say nothing more: the run ends."""
        self._stopped = True
        for timer in self._timers:
            timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def stops(self, handlers: int, within: float) -> None:
        """Say that it ends, and that so many handlers have these seconds to end."""
        log.info("%s stops: %s may take up to %s to end", self._run.name, many(handlers, "handler"), lasting(within))

    def stopped(self, held: int, cut_off: int, *, flushed: bool | None, error: BaseException | None) -> None:
        """Say that it has stopped: `held` sources were given back, and so many handlers cut off, which another line names."""
        why = "" if error is None else f" by {type(error).__name__}"
        committed = {
            True: "all committed",
            False: "not all committed, so finished messages may come again",
            None: "the end is not confirmed",
        }
        level = logging.WARNING if flushed is False else logging.INFO
        given_back, cut = many(held, "source"), many(cut_off, "handler")
        log.log(level, "%s stopped%s: %s given back, %s, %s cut off", self._run.name, why, given_back, committed[flushed], cut)

    def _later(self, wait: float, what: Callable[[], object]) -> None:
        if self._stopped:
            return

        def due() -> None:
            self._timers.discard(timer)
            what()

        # Nobody asks a timer when it is due: uvloop's does not know, if there is nothing to wait for.
        timer = asyncio.get_running_loop().call_later(wait, due)
        self._timers.add(timer)


def _listed(names: Iterable[str] | None) -> str:
    if names is None:
        return "something that needs= does not say"
    return ", ".join(names) or "nothing"


class WatchedGuardRuns(Protocol):
    """What the lines about outages ask of their guard."""

    engine: Engine
    now: Callable[[], float]
    circuits: dict[str, GuardCircuit]

    @property
    def run_logs(self) -> Iterable[RunLog]: ...


class OutageFigures:
    """Answers for the lines about outages (`OutageFacts`): over all runs of one guard."""

    def __init__(self, guard: WatchedGuardRuns) -> None:
        self._guard = guard

    def waiting_for(self, dependency: str) -> tuple[int, bool]:
        """Return how many messages wait for it, and whether that is all.

        Of a source whose needs name it, that is everything. Of the others it is what waits in this process: only some of their messages
        need it, and how many of those the broker has nobody can tell.
        """
        found = [run_log.waiting_for(dependency) for run_log in self._guard.run_logs]
        gate = self._guard.engine.gates.get(dependency)
        waits = () if gate is None else (waiting.delivery for line in gate.lines.values() for waiting in line.values())
        here = sum(gate not in delivery.assignment.gates for delivery in waits)
        is_declared = any(run_log.declares(dependency) for run_log in self._guard.run_logs)
        return here + sum(number for number, _ in found), is_declared and not here and all(is_all for _, is_all in found)

    def failed_with(self, dependency: str, at: float) -> str | None:
        """Return what a call form of it has failed with last, once, unless that was long before `at`."""
        circuit = self._guard.circuits.get(dependency)
        return None if circuit is None or circuit.noted is None else circuit.failed_with(at)

    def ask_before(self, at: float) -> None:
        """Ask the brokers of all runs a second before `at`."""
        for run_log in self._guard.run_logs:
            run_log.ask_before(at)

    def ask(self, then: Callable[[], object]) -> None:
        """Ask the brokers of all runs, and call `then` once: when all have answered, or after some seconds."""
        waits = dict.fromkeys(run_log.ask() for run_log in self._guard.run_logs)

        def answered(question: asyncio.Task[None]) -> None:
            if waits and waits.pop(question, question) is None and not waits:
                late.cancel()
                then()

        def is_late() -> None:
            waits.clear()
            then()

        if not waits:
            then()
            return
        late = asyncio.get_running_loop().call_later(_ANSWER_WITHIN, is_late)
        for question in tuple(waits):
            question.add_done_callback(answered)

    def failures_of(self, dependency: str) -> int:
        """Return the failed calls in the window of its circuit."""
        gate = self._guard.engine.gates.get(dependency)
        return 0 if gate is None else gate.circuit.seen_at(self._guard.now())[1]
