"""A batch whose handler returned and has asked for something else for some of its messages: `delivery.reject()`, `delivery.retry()`.

The others are done. What is rejected goes its way as a message of its own, and what is to be tried again is one piece, in its order. The
batch is finished when all of these are: with the order of the source, nothing behind it starts before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from holdgate.flow.attribution import Attribution, Cause
from holdgate.flow.batch import Batch, Deliveries
from holdgate.flow.batch_inbox import BatchInbox
from holdgate.flow.delivery import Delivery, Wish
from holdgate.flow.events import FlowEvent
from holdgate.flow.fate import Verdict
from holdgate.flow.place import Place
from holdgate.flow.rejections import Rejections
from holdgate.flow.retries import Retries
from holdgate.flow.verdicts import trial_of

AnyDelivery = Delivery[Any]

_POSTPONED = Attribution((), Cause.POSTPONED)


class Parted(NamedTuple):
    """What is to be done with the deliveries of a batch now: `done` are to be acknowledged, `rejected` to be sent, each still in flight."""

    done: tuple[AnyDelivery, ...] = ()
    rejected: tuple[AnyDelivery, ...] = ()


class Wishes:
    """Acts on what handlers ask for messages of their batches, for one engine."""

    def __init__(self, retries: Retries, rejections: Rejections) -> None:
        self._retries = retries
        self._rejections = rejections

    def grant(self, batch: Batch, items: Deliveries[Any], wishes: Mapping[int, Wish], now: float) -> tuple[Parted, list[FlowEvent]]:
        """Its outcomes are recorded, and it is not in flight any more. What is not mentioned in the answer waits, is blocked, or, where its
        place is going away, dropped."""
        place: Place = batch.place
        done = [one for index, one in enumerate(items) if index not in wishes]
        finished = [number for index, number in enumerate(batch.numbers) if index not in wishes]
        sent: list[AnyDelivery] = []
        blocked = 0
        events: list[FlowEvent] = []
        for index, wish in wishes.items():
            if wish.reason is None:
                continue
            one = items[index]
            _place(one, batch, index, now)
            verdict, announced = self._rejections.reject(one, "Reject", wish.reason, now)
            events += announced
            if verdict is Verdict.DONE:
                done.append(one)
                finished.append(one.serial)
            elif verdict is Verdict.REJECT:
                sent.append(one)
            else:
                blocked += 1
        place.in_flight += len(sent)
        place.run.running += len(sent)
        postponed = [index for index, wish in wishes.items() if wish.reason is None]
        if postponed and not place.going:
            events += self._postpone(batch.piece(postponed), [wishes[index].after for index in postponed], now)
        self._divide(batch, len(sent) + blocked + bool(postponed), finished)
        return Parted(tuple(done), tuple(sent)), events

    def _postpone(self, piece: Batch, times: list[float | None], now: float) -> list[FlowEvent]:
        """All of them after the longest of their times: they are one piece, so that they stay in their order."""
        known = [after for after in times if after is not None]
        trial_of(piece).wish = Wish(after=max(known) if known else None)
        return list(self._retries.add(piece, _POSTPONED, now))

    def _divide(self, batch: Batch, parts: int, finished: list[int]) -> None:
        place: Place = batch.place
        inbox = cast("BatchInbox", place.inbox)  # where batches come from
        if not parts:
            if inbox.done(batch):
                place.run.offer(place)
            return
        inbox.divided(parts)
        inbox.finished(finished)
        if place.run.shared:
            place.run.offer(place)


def _place(one: AnyDelivery, batch: Batch, index: int, now: float) -> None:
    """From now on it is a delivery of its own."""
    one.place = batch.place
    one.serial = batch.numbers[index]
    trial = trial_of(one)
    trial.wish = None
    trial.failed("Reject", now)
