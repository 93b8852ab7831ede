"""Liveness: once nothing is wrong any more, everything is processed within the longest wait and the ramp; nothing stays wedged.

Four things may wait, by design: what stands behind a rejected message that has nowhere to go; a message that fails as its dependency
does with no other message around to tell whose fault it is; one that fails by its own error after others did, with no success since, so
that it may be an outage that nobody has described; and, as long as one that looks like an outage opens the circuit again and again, others
that need the dependency. These must make progress all the same: nobody starves.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log2

from holdgate.flow.message import Source
from holdgate_lab.fleet.records import Watermark
from holdgate_lab.fleet.scenario import Scenario, Stream, TopicSpec
from holdgate_lab.fleet.traffic import StreamTraffic
from holdgate_lab.fleet.watched import SUSPICION
from holdgate_lab.fleet.world import World

# So long after all faults a dependency may still be busy with calls that began while it was weak, and is waited for. What is in for longer
# (an hour, if hundreds came while it was weak and slow) tells nothing of a worker, and what needs it is not judged.
_AFTERMATH = 60.0
# Bounds add up worst cases that come one after the other, and still something may take longer. Who waits by design is not waited for as
# long: a run ends at the bound itself when nothing waits that should not, and before when everything is finished.
_ROOM = 6.0


def quiet_from(scenario: Scenario) -> float:
    """The second from which on nothing is wrong: no fault, nobody comes or goes, nothing more arrives."""
    frozen = [event.at + (event.seconds if event.kind == "freeze" else 0.0) for event in scenario.members]
    return max([scenario.seconds, *frozen, *(fault.until for fault in scenario.faults)])


def patience(scenario: Scenario, room: float = _ROOM) -> float:
    """Seconds after `quiet_from` within which everything must be finished; with a `room` of 1 the bound itself."""
    membership = scenario.session_timeout + 2 * scenario.rebalance_timeout + scenario.drain_timeout
    waits = sum(spec.circuit.open_duration_max + _ramp(scenario, spec.circuit.ramp.stage_timeout) for spec in scenario.dependencies)
    work = sum(_work(scenario, spec) for spec in scenario.streams)
    return room * (membership + waits + work + 5 * scenario.retry.max_backoff)


def _ramp(scenario: Scenario, stage: float) -> float:
    return stage * (2 + log2(scenario.concurrency or 16))


def _work(scenario: Scenario, spec: Stream) -> float:
    """Seconds that one lane takes for all messages of a stream."""
    latency = {dependency.name: dependency.latency for dependency in scenario.dependencies}
    return (spec.backlog + spec.rate * scenario.seconds) * (0.02 + 2 * sum(latency[need] for need in spec.needs))


def is_finished(world: World) -> bool:
    """Whether everything that was produced has been finished, but for poison that looks like an outage: nothing is learnt by waiting for
    that."""
    checker = world.checker
    for name, traffic in world.traffic.items():
        left = traffic.produced - checker.finished_by_name[name]
        if traffic.spec.poison_as == "dependency" and traffic.spec.needs:
            left -= len(traffic.spec.poison) - checker.poison_by_name[name]
        if left > 0:
            return False
    return True


class Liveness:
    """Looks at a world twice: now, when nothing is wrong any more, and at the end.

    `well_from` is when its dependencies are well again: a call that began while one was weak and slow goes on occupying it.
    """

    def __init__(self, world: World) -> None:
        now = world.schedule.now
        occupied = {name: model.occupied_until for name, model in world.dependencies.items()}
        self._still_weak = {name for name, until in occupied.items() if until > now + _AFTERMATH}
        self.well_from = max([now, *(until for name, until in occupied.items() if name not in self._still_weak)])
        self._world = world
        self._before = {source: (done.low, done.ahead) for source, done in _watermarks(world).items()}

    def wedged(self) -> Iterator[str]:
        """What waits though nothing has been wrong for long, in words."""
        world = self._world
        if not any(worker.is_alive for worker in world.workers.values()):
            return
        done = _watermarks(world)
        waiting = {source: list(_unfinished(world.traffic[source.name], source, done[source], world.scenario.span)) for source in done}
        suspected = {need for source, places in waiting.items() for need in _suspected(world.traffic[source.name], source, places)}
        # Of one run, and of streams whose handlers call nothing: no dependency excludes the error.
        unclaimed = [
            source
            for source, places in waiting.items()
            if not world.traffic[source.name].spec.needs and _has_poison(world.traffic[source.name], source, places)
        ]
        undescribed = {source for worker in world.workers.values() for intake in worker.intakes for source in intake.held_for(SUSPICION)}
        if sum(_poison_in(world.traffic[source.name], source, waiting[source]) for source in unclaimed) > 1:
            undescribed.update(unclaimed)
        for source, places in waiting.items():
            traffic = world.traffic[source.name]
            if not places or _may_wait(world.scenario, traffic, source, places) or self._still_weak.intersection(traffic.spec.needs):
                continue
            if source in undescribed and _has_poison(traffic, source, places):
                continue
            has_moved = (done[source].low, done[source].ahead) != self._before.get(source)
            shared = len(suspected.intersection(traffic.spec.needs))
            # Behind two suspects at once it gets a turn only when both circuits are half-open in the same moment.
            if not (shared > 1 or (shared and has_moved)):
                yield f"{source}: {len(places)} messages from {places[0]} on are not processed, and nothing has been wrong for long"


def _watermarks(world: World) -> dict[Source, Watermark]:
    checker = world.checker
    partitions = {source: record.done for source, record in checker.partitions.items()}
    return partitions | {source: record.done for source, record in checker.queues.items()}


def _suspected(traffic: StreamTraffic, source: Source, waiting: list[int]) -> Iterator[str]:
    """The dependencies that a poison message which waits makes look as if they were down."""
    if traffic.spec.poison_as == "dependency" and any(traffic.facts_at(source, place).is_poison for place in waiting):
        yield from traffic.spec.needs


def _unfinished(traffic: StreamTraffic, source: Source, done: Watermark, span: int) -> Iterator[int]:
    place, found = done.low, 0
    end = _end(traffic, source)
    while place < end and found < span:
        if place not in done:
            found += 1
            yield place
        place = traffic.next_offset(place)


def _end(traffic: StreamTraffic, source: Source) -> int:
    for partition in traffic.partitions_of_topic:
        if partition == source:
            return traffic.offset_of(traffic.count_in(partition.number))
    return traffic.produced


def _may_wait(scenario: Scenario, traffic: StreamTraffic, source: Source, waiting: list[int]) -> bool:
    has_no_way_out = isinstance(traffic.spec, TopicSpec) and not scenario.dead_letters
    if not has_no_way_out and (traffic.spec.poison_as != "dependency" or not traffic.spec.needs):
        return False
    return _has_poison(traffic, source, waiting)


def _has_poison(traffic: StreamTraffic, source: Source, waiting: list[int]) -> bool:
    return _poison_in(traffic, source, waiting) > 0


def _poison_in(traffic: StreamTraffic, source: Source, waiting: list[int]) -> int:
    return sum(traffic.facts_at(source, place).is_poison for place in waiting)
