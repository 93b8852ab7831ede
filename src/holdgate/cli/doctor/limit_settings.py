"""What the settings of limits would do together with those of the runs: `holdgate doctor limits holdgate.toml`.

Each setting is right by itself, or the file would not have been read. Two of them may still not go together: a limit above what the worker
has handlers for bounds nothing, and a rate that its partitions cannot reach is no rate. No broker is asked. What only a person knows of the
place where the worker runs (partitions, prefetch, how long a handler takes) is an argument, and what needs it is not said without.

Each finding has the two values that clash, the sum where there is one, and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from holdgate.brokers.costs import counted, lasting
from holdgate.cli.doctor.loading import AppFinding
from holdgate.config.tables import FileTables, NamedRunTable, RunTable
from holdgate.core import Limits

# The lanes of a run that keeps no order of its sources, where `concurrency` is left out: as in runtime/run_settings.py.
_LANES = 16
# A call over a network within one region takes no less, with TLS and a little work (seconds): what needs quicker ones is out of reach.
_QUICKEST = 0.005
# What is in hand for longer is missed by the other workers, and comes again if this one ends (seconds).
_LONG_IN_HAND = 300.0
# From so many a second on, a pace is shown in whole calls.
_WHOLE_FROM = 100
# RabbitMQ takes back what is unacked for longer, unless it is set otherwise (seconds).
_CONSUMER_TIMEOUT = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a settings file does not say. None means that it is not known.

    - `partitions`: Kafka's, of all topics of a run together. `prefetch`: RabbitMQ's, of one worker. At most one of the two is known.
    - `workers`: so many run by this file.
    - `handler`: seconds that a handler usually takes. `body`: bytes of a usual message.
    """

    partitions: int | None = None
    prefetch: int | None = None
    workers: int = 1
    handler: float | None = None
    body: int | None = None


@dataclass(frozen=True, slots=True)
class _Slots:
    """So many messages of one run may be at work in a worker, and `why`: the setting with its value."""

    count: int
    why: str


def examine(tables: FileTables, around: Surroundings) -> list[AppFinding]:
    """Return what of the limits in a settings file does not go together with its runs. A run without `needs` may need everything."""
    runs: Sequence[RunTable] = tables.runs or (tables.run,)
    return [
        AppFinding(table.name, text, cost=False)
        for table in tables.dependencies
        if table.limits is not None
        for text in _of_dependency(table.name, table.limits, runs, tables.guard.memory, around)
    ]


def _of_dependency(name: str, limits: Limits, runs: Sequence[RunTable], memory: int | None, around: Surroundings) -> Iterator[str]:
    needing = [run for run in runs if not run.needs or name in run.needs]
    if not needing:
        yield (
            f'limits, and no "{name}" in needs of {_named(runs)}: a call of it waits in its handler, which occupies a lane, and not before.'
            f' Write needs = [..., "{name}"] where messages call it'
        )
    slots = [slots for run in needing if (slots := _slots(run, around)) is not None]
    if slots and len(slots) == len(needing):
        yield from _above_the_slots(limits, slots)
        yield from _out_of_reach(limits, slots, around)
    yield from _of_workers(limits, around)
    yield from _in_hand(limits, around)
    for run in needing:
        yield from _of_run(name, limits, run, around)
    yield from _of_memory(limits, slots, memory, around)


# -- what may be at work ----------------------------------------------------------------------------------------------------------------


def _order(run: RunTable, around: Surroundings) -> str | None:
    """Return the order of a run: the one that is set, or that of its broker. None means that it is not known."""
    if run.order is not None:
        return run.order
    return "source" if around.partitions is not None else "none" if around.prefetch is not None else None


def _slots(run: RunTable, around: Surroundings) -> _Slots | None:
    bounds = list(_bounds(run, around))
    return min(bounds, key=lambda each: each.count, default=None)


def _bounds(run: RunTable, around: Surroundings) -> Iterator[_Slots]:
    batch = run.batch or 1
    order = _order(run, around)
    of_run = f" of {_named([run])}"
    each = f" x batch={batch}" if batch > 1 else ""
    if run.concurrency is not None:
        yield _Slots(run.concurrency * batch, f"concurrency={run.concurrency}{each}{of_run}")
    elif order in {"key", "none"}:
        yield _Slots(_LANES * batch, f'concurrency={_LANES} (left out, with order="{order}"){each}{of_run}')
    if order == "source" and around.partitions is not None:
        share = ceil(around.partitions / around.workers)
        yield _Slots(share * batch, f'{counted(share, "partition")} with order="source"{each}{of_run}')
    if around.prefetch is not None:
        yield _Slots(around.prefetch, f"prefetch={around.prefetch}")


def _together(slots: Sequence[_Slots]) -> str:
    return " and ".join(dict.fromkeys(each.why for each in slots))


# -- two values that clash --------------------------------------------------------------------------------------------------------------


def _above_the_slots(limits: Limits, slots: Sequence[_Slots]) -> Iterator[str]:
    most = sum(each.count for each in slots)
    if limits.concurrency is not None and limits.concurrency > most:
        yield (
            f"limits.concurrency={limits.concurrency} and {_together(slots)}: no more than {most} messages that need it are at work in a"
            " worker, so this limit bounds nothing, unless a handler makes several of its calls in parallel. Lower it to what the"
            " dependency takes of this worker, or raise the other"
        )


def _out_of_reach(limits: Limits, slots: Sequence[_Slots], around: Surroundings) -> Iterator[str]:
    if limits.pace is None:
        return
    most, why = sum(each.count for each in slots), _together(slots)
    if limits.concurrency is not None and limits.concurrency < most:
        most, why = limits.concurrency, f"limits.concurrency={limits.concurrency}"
    wanted = f"{_rate(limits)} and {why}"
    if around.handler is not None and most / around.handler < limits.pace:
        yield (
            f"{wanted}: at {around.handler:g} s a message these are at most {most} / {around.handler:g} s ="
            f" {_pace(most / around.handler)} a second, and the rate lets {_pace(limits.pace)} through: it is never reached. Lower it to"
            " what the dependency takes of this worker, or raise the other"
        )
    elif around.handler is None and most / limits.pace < _QUICKEST:
        yield (
            f"{wanted}: the rate is reached only if a message takes less than {most} / {_pace(limits.pace)} ="
            f" {most / limits.pace:.2g} s, and a call over a network takes longer. Lower it, or raise the other;"
            " --handler says how long a message takes"
        )


def _of_workers(limits: Limits, around: Surroundings) -> Iterator[str]:
    workers = around.workers
    if workers == 1:
        return
    each = "The numbers are those of each worker: write down its part of what the dependency takes"
    if limits.concurrency is not None:
        yield (
            f"limits.concurrency={limits.concurrency} and {workers} workers: {limits.concurrency * workers:,} calls may be in flight"
            f" together. {each}"
        )
    if limits.rate is not None:
        yield (f"{_rate(limits)} and {workers} workers: {limits.rate * workers:,} calls may start in {lasting(limits.per)}. {each}")


def _in_hand(limits: Limits, around: Surroundings) -> Iterator[str]:
    if limits.pace is None or around.prefetch is None:
        return
    waits = around.prefetch / limits.pace
    if waits <= _LONG_IN_HAND:
        return
    back = ""
    if waits > _CONSUMER_TIMEOUT:
        back = (
            f", which is longer than RabbitMQ's consumer timeout of {lasting(_CONSUMER_TIMEOUT)}: each return in time counts as a delivery"
        )
    yield (
        f"prefetch={around.prefetch} and {_rate(limits)}: the last message in hand waits {around.prefetch} /"
        f" {_pace(limits.pace)} = {lasting(waits)} for its turn, where no other worker can take it{back}. Lower prefetch:"
        f" {max(1, int(limits.pace * _LONG_IN_HAND))} is work for {lasting(_LONG_IN_HAND)} or a call"
    )


def _of_run(name: str, limits: Limits, run: RunTable, around: Surroundings) -> Iterator[str]:
    if _order(run, around) == "source" and len(run.needs) > 1:
        others = ", ".join(each for each in run.needs if each != name)
        yield (
            f'limits and order="source" of {_named([run])}, which needs {others}, too: a message that waits for {name} holds up all'
            f' behind it in its partition or queue. Where only some messages call {name}, give needs by message and order="key" or "none"'
        )
    for setting, most in (("limits.concurrency", limits.concurrency), ("limits.rate", limits.rate)):
        if run.batch is not None and most is not None and run.batch > most:
            yield (
                f"{setting}={most} and batch={run.batch} of {_named([run])}: a batch counts as its messages, so it is cut to {most}."
                " Lower batch, or leave the limit out if the dependency counts a batch as one call: concurrency of the run then limits it"
            )
    if run.timeout is not None and limits.pace is not None and 1 / limits.pace > run.timeout:
        yield (
            f"timeout={run.timeout:g} of {_named([run])} and {_rate(limits)}: a second call in the same handler waits up to"
            f" {1 / limits.pace:.3g} s for its turn, and the handler is over before. Make one call for each message, or raise timeout"
        )


def _of_memory(limits: Limits, slots: Sequence[_Slots], memory: int | None, around: Surroundings) -> Iterator[str]:
    if memory is None or around.body is None:
        return
    room = max(1, memory // around.body)
    wanted = sum(each.count for each in slots) if slots else limits.concurrency
    if wanted is not None and limits.concurrency is not None:
        wanted = min(wanted, limits.concurrency)
    if wanted is not None and wanted > room:
        yield (
            f"guard.memory={memory} and {_together(slots) or f'limits.concurrency={limits.concurrency}'}: {memory:,} / {around.body:,} ="
            f" {counted(room, 'message')} fit into it, and {wanted} may be at work. Raise memory to {wanted * around.body:,}"
        )
    elif around.prefetch is not None and around.prefetch > room:
        yield (
            f"guard.memory={memory} and prefetch={around.prefetch}: {around.prefetch} x {around.body:,} bytes ="
            f" {around.prefetch * around.body:,} in hand while the limit holds them back. Lower prefetch, or raise memory"
        )


def _named(runs: Sequence[RunTable]) -> str:
    return " and ".join(f"runs.{run.name}" if isinstance(run, NamedRunTable) else "run" for run in runs)


def _rate(limits: Limits) -> str:
    return f"limits.rate={limits.rate} per={limits.per:g}"


def _pace(a_second: float) -> str:
    return f"{a_second:,.0f}" if a_second >= _WHOLE_FROM else f"{a_second:.3g}"
