"""One attempt at a message: the handler's calls to its dependencies, one after the other, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from holdgate.core import Outcome
from holdgate.errors import CallNotPermitted, Reject
from holdgate.flow.message import Delivery
from holdgate_lab.fleet.parcel import Parcel
from holdgate_lab.fleet.scenario import PoisonKind

if TYPE_CHECKING:
    from holdgate_lab.fleet.dependency import Answer, ModelDependency
    from holdgate_lab.fleet.lanes import Lanes

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

    def excludes(self, exception: BaseException) -> bool:
        """It is said of the message's own failure, so that no strategy is told better of outages than another."""
        return isinstance(exception, Unprocessable)

    def retry_after_of(self, exception: BaseException) -> float | None:  # noqa: ARG002 - none of them says
        return None


class Attempt:
    """A handler at work on one message, or on a batch of them. `generations` are those of the circuits that it runs under."""

    __slots__ = ("_calls", "_worker", "delivery", "generations", "is_over", "parcels")

    def __init__(self, worker: Lanes, delivery: Delivery[Any], parcels: Sequence[Parcel], generations: tuple[int, ...]) -> None:
        self.delivery = delivery
        self.parcels = parcels
        self.generations = generations
        self.is_over = False
        self._worker = worker
        self._calls = list(reversed(worker.world.needs[delivery.source.name]))

    def begin(self) -> None:
        """Make the first call."""
        if self._calls:
            self._call(self._calls.pop(), is_first=True)
        else:
            self._worker.later(_OWN_WORK, self._did_its_work)

    def _call(self, dependency: ModelDependency, *, is_first: bool = False) -> None:
        schedule = self._worker.world.schedule
        answer = dependency.call(schedule.now, self.parcels[0].facts.key)
        patience = dependency.spec.timeout
        is_good = answer.good and answer.seconds <= patience and not (is_first and self._poison == "dependency")
        if answer.seconds > patience:
            if answer.occupies:
                schedule.after(answer.seconds, dependency.leave)
            answer = answer._replace(seconds=patience, occupies=False)
        schedule.after(answer.seconds, lambda: self._arrived(dependency, answer, is_good=is_good))

    @property
    def _poison(self) -> PoisonKind | None:
        """How the messages fail because of what they are; None: none of them does."""
        if any(parcel.facts.is_poison for parcel in self.parcels):
            return self._worker.world.traffic[self.delivery.source.name].spec.poison_as
        return None

    def _arrived(self, dependency: ModelDependency, answer: Answer, *, is_good: bool) -> None:
        # The call has ended, whatever has become of its caller.
        if answer.occupies:
            dependency.leave()
        self._worker.act(lambda: self._answered(dependency, is_good=is_good))

    def _answered(self, dependency: ModelDependency, *, is_good: bool) -> None:
        if self.is_over:
            return
        self._worker.world.called(dependency, failed=not is_good, wasted=not is_good and self._poison is None)
        if not is_good:
            self._worker.ended(self, DependencyFailed(dependency.spec.name))
        elif self._calls:
            self._call(self._calls.pop())
        else:
            self._did_its_work()

    def _did_its_work(self) -> None:
        if self.is_over:
            return
        poison = self._poison
        if poison is None:
            self._worker.ended(self, None)
        else:
            self._worker.ended(self, Reject("cannot be processed") if poison == "reject" else Unprocessable())

    def __str__(self) -> str:
        places = [parcel.place_in_source for parcel in self.parcels]
        return f"{self.delivery.source}@{places[0]}" + (f"..{places[-1]}" if len(places) > 1 else "")
