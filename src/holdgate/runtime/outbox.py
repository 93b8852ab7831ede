"""Rejected messages on their way to the dead letters of one run.

Each letter is published by a task of its own, which the guard holds: no scope of the user's cancels it, and no lane waits for it. Only
when the target has confirmed is the message settled, so whatever goes wrong before costs a second letter at worst, never a message.

The engine hands a message over with `send` and gets exactly one answer, `sent` or `failed`; after `failed` it hands the message over
again. A publication that takes too long counts as failed, and goes on: handed over again, its message waits for that one instead of being
published twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from holdgate.core.causes import find, is_group, named
from holdgate.errors import HoldgateError, Reject
from holdgate.flow.blame import FailureHistory
from holdgate.flow.message import DeadLetter, Delivery, type_name
from holdgate.flow.state import Assignment, Run
from holdgate.ports import DeadLetters
from holdgate.runtime.log import whereabouts
from holdgate.tasks import begin_later

log = logging.getLogger("holdgate")

AnyDelivery = Delivery[Any]

# A broker in reach confirms within milliseconds, a failover takes up to 13 s: what takes longer is shown as a hold.
_CONFIRM_WITHIN = 15.0
# What the drain has not seen confirmed is given up; a client's call lets go within a step or never.
_LET_GO_WITHIN = 2.0


class Outbox:
    """The letters of one run; without a `target` it stays empty. `sent` and `failed` are called on the loop, outside of anything else."""

    def __init__(self, target: DeadLetters | None, *, sent: Callable[[AnyDelivery], None], failed: Callable[[AnyDelivery], None]) -> None:
        self._target = target
        self._sent = sent
        self._failed = failed
        self._posts: dict[AnyDelivery, _Post] = {}
        self._unwanted: set[asyncio.Task[None]] = set()  # publications that nobody waits for
        self._opened = False
        self._worker = f"{socket.gethostname()}:{os.getpid()}"

    @property
    def has_target(self) -> bool:
        """Whether letters can be sent."""
        return self._target is not None

    async def open(self, names: Collection[str] | None) -> None:
        """Open the target; raises what it raises."""
        if self._target is not None:
            await self._target.open(names)
            self._opened = True

    async def close(self) -> None:
        """Give up what is not confirmed yet, and close the target."""
        tasks = {post.task for post in self._posts.values() if post.task is not None and not post.task.done()} | self._unwanted
        for post in self._posts.values():
            post.put_down()
        self._posts.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_LET_GO_WITHIN)
        if self._opened and self._target is not None:
            self._opened = False
            await self._target.close()

    def add(self, delivery: AnyDelivery, error: BaseException | None) -> None:
        """Write the letter for a message that was rejected just now, after its last attempt raised `error`, and send it."""
        self._posts[delivery] = _Post(_letter(delivery, error, self._worker))
        self.send(delivery)

    def send(self, delivery: AnyDelivery) -> None:
        """Publish the letter of this message, which was added before; the first time, or again after `failed`."""
        post = self._posts[delivery]
        if post.confirmed:  # it came while the message was waiting to be sent again
            self._finish(delivery)
            return
        loop = asyncio.get_running_loop()
        post.in_hand = True
        post.timer = loop.call_later(_CONFIRM_WITHIN, self._took_too_long, delivery)
        if post.task is None and self._target is not None:
            post.task = begin_later(_publish(self._target, post.letter), f"dead letter of {delivery.source}")
            post.task.add_done_callback(partial(self._ended, delivery, post))

    def works_for(self, assignments: Collection[Assignment]) -> bool:
        """Whether a message of one of these places is on its way now."""
        return any(post.in_hand and delivery.assignment in assignments for delivery, post in self._posts.items())

    @property
    def is_quiet(self) -> bool:
        """Whether no message is on its way now."""
        return not any(post.in_hand for post in self._posts.values())

    def forget(self) -> None:
        """Places have gone: their messages come again to whoever has them next. What is under way may end."""
        for delivery in [delivery for delivery, post in self._posts.items() if not post.in_hand and not delivery.assignment.alive]:
            self.drop(delivery)

    def drop(self, delivery: AnyDelivery) -> None:
        """No letter is wanted of this message any more, if one was; the engine waits for no answer. A publication under way may end."""
        post = self._posts.pop(delivery, None)
        if post is not None and post.task is not None:
            self._unwanted.add(post.task)
            post.task.add_done_callback(self._unwanted.discard)

    def _ended(self, delivery: AnyDelivery, post: _Post, task: asyncio.Task[None]) -> None:
        post.task = None
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            self._put_down(delivery, post, _cause(error))
        elif post.in_hand:
            self._finish(delivery)
        else:
            post.confirmed = True

    def _took_too_long(self, delivery: AnyDelivery) -> None:
        self._put_down(delivery, self._posts[delivery], f"no confirmation within {_CONFIRM_WITHIN:g} s")

    def _put_down(self, delivery: AnyDelivery, post: _Post, why: str) -> None:
        if not post.in_hand:  # the engine has its answer already, or the run is over
            return
        post.put_down()
        log.warning("the dead letter of %s@%s could not be published: %s", delivery.source, delivery.position, why)
        self._failed(delivery)

    def _finish(self, delivery: AnyDelivery) -> None:
        self._posts.pop(delivery).put_down()
        log.info("%s@%s is in the dead letters", delivery.source, delivery.position)
        self._sent(delivery)


def _cause(error: BaseException) -> str:
    """Why, without a text that is not ours: a target has seen the message, and may quote it."""
    if isinstance(error, HoldgateError):
        return f"{type(error).__name__}: {error}"
    return f"{type(error).__name__} at {whereabouts(error)}"


class _Post:
    """One letter. `in_hand`: the engine waits for an answer. `task`: its publication, while it is under way. `confirmed`: it ended well
    when nobody waited for it."""

    __slots__ = ("confirmed", "in_hand", "letter", "task", "timer")

    def __init__(self, letter: DeadLetter) -> None:
        self.letter = letter
        self.in_hand = False
        self.confirmed = False
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def put_down(self) -> None:
        """The engine has its answer, or does not want it any more."""
        self.in_hand = False
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


async def _publish(target: DeadLetters, letter: DeadLetter) -> None:
    await target.publish(letter)


def _letter(delivery: AnyDelivery, error: BaseException | None, worker: str) -> DeadLetter:
    trial: FailureHistory = delivery.history  # whatever was rejected has one
    # People read these times beside other systems' logs, so they are of the wall clock; how long it failed, of the monotonic one.
    now = time.time()
    return DeadLetter(
        delivery=delivery,
        attempts=delivery.attempt,
        first_failure=now - (trial.last_failed_at - trial.first_failed_at),
        last_failure=now,
        exception=None if error is None else _kind(error),
        text=_text(error),
        reason=trial.reason if error is None or find(error, Reject) is not None else None,
        worker=worker,
    )


def _kind(error: BaseException) -> str:
    """The type of an exception; of a group, which is nobody's own, also those of its members."""
    return named(error, type_name) if is_group(error) else type_name(type(error))


def _text(error: BaseException | None) -> str:
    """What an exception says. Its `__str__` is somebody else's code, and may fail."""
    try:
        return "" if error is None else str(error)
    except Exception as failure:  # noqa: BLE001 - whatever it is, the letter goes out
        return f"<its text raised {type(failure).__name__}>"


def tell_way_out(name: str, run: Run, outbox: Outbox) -> None:
    """Say at start what becomes of a rejected message where nobody has said it."""
    if outbox.has_target or run.retry.on_exhausted == "skip":
        return
    if run.rejects:
        line = "%s: no dead_letters given, so a rejected message goes to the dead letter exchange of its queue, or is dropped without one"
        log.info(line, name)
    else:
        log.warning("%s: no dead_letters given, so a rejected message blocks its partition, and everything behind it waits", name)
