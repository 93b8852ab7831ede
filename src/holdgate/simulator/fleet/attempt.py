"""One attempt at a message: the handler's calls to its dependencies, one after the other, and how it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdgate.core import Outcome
from holdgate.errors import CallNotPermitted, Reject
from holdgate.simulator.fleet.parcel import Parcel

if TYPE_CHECKING:
    from holdgate.simulator.fleet.dependency import Answer, ModelDependency
    from holdgate.simulator.fleet.worker import Worker

# What a handler takes that calls nothing.
_OWN_WORK = 0.01


class DependencyFailed(Exception):
    """A call to `dependency` failed, or was given up."""

    def __init__(self, dependency: str) -> None:
        super().__init__(dependency)
        self.dependency = dependency


class Unprocessable(Exception):
    """The message's own failure."""


class Judging:
    """A dependency as attribution asks it: its own failures are failures, every other exception is none of its business."""

    def __init__(self, name: str) -> None:
        self.name = name

    def classify(self, exception: BaseException) -> Outcome | None:
        if isinstance(exception, CallNotPermitted) or not isinstance(exception, Exception):
            return None
        is_mine = isinstance(exception, DependencyFailed) and exception.dependency == self.name
        return Outcome.FAILURE if is_mine else Outcome.IGNORED

    def retry_after_of(self, exception: BaseException) -> float | None:  # noqa: ARG002 - none of them says
        return None


class Attempt:
    """A handler at work. `generations` are those of the circuits that it runs under."""

    __slots__ = ("_calls", "_worker", "generations", "is_over", "parcel")

    def __init__(self, worker: Worker, parcel: Parcel, generations: tuple[int, ...]) -> None:
        self.parcel = parcel
        self.generations = generations
        self.is_over = False
        self._worker = worker
        self._calls = list(reversed(worker.calls_of(parcel)))

    def begin(self) -> None:
        """Make the first call."""
        if self._calls:
            self._call(self._calls.pop(), is_first=True)
        else:
            self._worker.later(_OWN_WORK, self._did_its_work)

    def _call(self, dependency: ModelDependency, *, is_first: bool = False) -> None:
        schedule = self._worker.world.schedule
        answer = dependency.call(schedule.now, self.parcel.facts.key)
        patience = dependency.spec.timeout
        is_good = answer.good and answer.seconds <= patience and not (is_first and self._worker.fails_at_once(self.parcel))
        if answer.seconds > patience:
            if answer.occupies:
                schedule.after(answer.seconds, dependency.leave)
            answer = answer._replace(seconds=patience, occupies=False)
        schedule.after(answer.seconds, lambda: self._arrived(dependency, answer, is_good=is_good))

    def _arrived(self, dependency: ModelDependency, answer: Answer, *, is_good: bool) -> None:
        # The call has ended, whatever has become of its caller.
        if answer.occupies:
            dependency.leave()
        self._worker.act(lambda: self._answered(dependency, is_good=is_good))

    def _answered(self, dependency: ModelDependency, *, is_good: bool) -> None:
        if self.is_over:
            return
        self._worker.world.called(dependency, self.parcel, failed=not is_good)
        if not is_good:
            self._worker.ended(self, DependencyFailed(dependency.spec.name))
        elif self._calls:
            self._call(self._calls.pop())
        else:
            self._did_its_work()

    def _did_its_work(self) -> None:
        if self.is_over:
            return
        if not self.parcel.facts.is_poison:
            self._worker.ended(self, None)
        elif self._worker.world.traffic[self.parcel.source.name].spec.poison_as == "reject":
            self._worker.ended(self, Reject("cannot be processed"))
        else:
            self._worker.ended(self, Unprocessable())
