"""One simulated worker, from its start to its end: what it reads, and how it comes and goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdgate.flow.state import Run
from holdgate_lab.fleet.lanes import Lanes
from holdgate_lab.fleet.queue_reader import QueueReader
from holdgate_lab.fleet.topic_reader import TopicReader

if TYPE_CHECKING:
    from holdgate_lab.fleet.strategy import Strategy
    from holdgate_lab.fleet.world import World


class Worker(Lanes):
    """Worker `number` of the fleet. `strategy` says how it treats failures."""

    def __init__(self, world: World, number: int, strategy: Strategy, life: int) -> None:
        super().__init__(world, number, strategy, life)
        self._is_draining = False
        if world.scenario.topics:
            self.readers.append(TopicReader(self, self._add_run(strategy.topic_run(world.scenario))))
        if world.scenario.queues:
            self.readers.append(QueueReader(self, self._add_run(strategy.queue_run(world.scenario))))

    def _add_run(self, run: Run) -> Run:
        self.engine.add_run(run)
        return run

    def start(self) -> None:
        """Open the readers."""
        self.say("starts")
        for reader in self.readers:
            reader.open()

    def leave(self) -> None:
        """Drain and end."""
        self.say("drains")
        self._is_draining = True
        for reader in self.readers:
            self.engine.drain(reader.run, self.now)
        self.turn()
        self.later(self.world.scenario.drain_timeout, self._lose_patience)
        self._look_for_end()

    def kill(self) -> None:
        """Be gone: nothing of it acts any more."""
        self.say("is killed")
        self.is_alive = False
        for reader in self.readers:
            if isinstance(reader, QueueReader):
                reader.break_channels()

    def drop(self) -> None:
        """Lose every connection."""
        self.say("loses its connections")
        for reader in self.readers:
            reader.lose()

    def lose_queues(self) -> None:
        """The broker closes the channels of a worker that was silent for too long; it finds out when it goes on."""
        for reader in self.readers:
            if isinstance(reader, QueueReader):
                reader.break_channels()
                self.act(reader.lose)

    def hear(self) -> None:
        """The group has changed."""
        for reader in self.readers:
            reader.hear()

    def look_for_messages(self) -> None:
        """Something may have come in."""
        for reader in self.readers:
            reader.want_poll()

    def _lose_patience(self) -> None:
        if self._is_draining:
            self.interrupt({delivery.assignment for delivery in (*self.attempts, *self.fallbacks)})
            self._end()

    def _something_ended(self) -> None:
        super()._something_ended()
        self._look_for_end()

    def _look_for_end(self) -> None:
        if self._is_draining and self.is_quiet:
            self._end()

    def _end(self) -> None:
        self._is_draining = False
        for reader in self.readers:
            self.engine.remove_run(reader.run, self.now)
            reader.close()
        self.is_alive = False
        self.say("has ended")
