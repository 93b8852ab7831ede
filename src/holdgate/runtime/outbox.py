"""Rejected messages on their way to the dead letters of one run.

A task of its own publishes each letter. The guard holds the task, so no scope of the user's cancels it, and no lane waits for it. The
message is settled only after the target has confirmed. What goes wrong before that costs a second letter at worst, never a message.

The engine hands a message over with `send` and gets exactly one answer, `sent`, `failed` or `withheld`. After `failed` the engine hands the
message over again. A publication that takes too long counts as failed but goes on. A message that is handed over again meanwhile waits for
that publication instead of being published twice.

A broker may lock a message for us only for a time (`ports.Locking`). Its intake says before each publication whether the message is still
ours. If not, the letter is `withheld`: another worker writes it, and two workers would write two.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Collection
from functools import partial

from holdgate.core.causes import find, is_group, named
from holdgate.errors import HoldgateError, Reject
from holdgate.flow.blame import FailureHistory
from holdgate.flow.message import AnyDelivery, DeadLetter, type_name
from holdgate.flow.state import Assignment, Run
from holdgate.ports import DeadLetters, Locking
from holdgate.runtime.wording import whereabouts
from holdgate.tasks import begin_later

log = logging.getLogger("holdgate")

# A broker in reach confirms within milliseconds, and a failover takes up to 13 s. What takes longer is shown as a hold (seconds).
_CONFIRM_WITHIN = 15.0
# The drain gives up what was not confirmed. A cancelled call of a client ends within a step of the loop or never (seconds).
_LET_GO_WITHIN = 2.0


class Outbox:
    """The letters of one run. Without a `target` there are none. `locks` is the intake, if messages are ours for a time only.

    `sent` and `failed` are called on the loop, outside of anything else, and `withheld` in `add` and `send`.
    """

    def __init__(
        self,
        target: DeadLetters | None,
        locks: Locking | None = None,
        *,
        sent: Callable[[AnyDelivery], None],
        failed: Callable[[AnyDelivery], None],
        withheld: Callable[[AnyDelivery], None],
    ) -> None:
        self._target = target
        self._locks = locks
        self._sent = sent
        self._failed = failed
        self._withheld = withheld
        self._posts: dict[AnyDelivery, _Post] = {}
        self._unwanted: set[asyncio.Task[None]] = set()  # publications that nobody waits for
        self._opened = False
        self._worker = f"{socket.gethostname()}:{os.getpid()}"

    @property
    def has_target(self) -> bool:
        """Whether letters can be sent."""
        return self._target is not None

    async def open(self, names: Collection[str] | None) -> None:
        """Open the target, and raise what the target raises."""
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
        """Write and send the letter of a message that was rejected just now. `error` is what its last attempt raised."""
        self._posts[delivery] = _Post(_letter(delivery, error, self._worker))
        self.send(delivery)

    def send(self, delivery: AnyDelivery) -> None:
        """Publish the letter of a message that was added before, for the first time or again after `failed`."""
        post = self._posts[delivery]
        if post.confirmed:  # the confirmation came while the message was waiting to be sent again
            self._finish(delivery)
            return
        if post.task is None and self._locks is not None and not self._locks.begin_letter(delivery):
            self._posts.pop(delivery)
            self._withheld(delivery)
            return
        loop = asyncio.get_running_loop()
        post.in_hand = True
        post.timer = loop.call_later(_CONFIRM_WITHIN, self._took_too_long, delivery)
        if post.task is None and self._target is not None:
            post.task = begin_later(_publish(self._target, post.letter), f"dead letter of {delivery.source}")
            post.task.add_done_callback(partial(self._ended, delivery, post))

    def works_for(self, assignments: Collection[Assignment]) -> bool:
        """Return whether a message of one of these assignments is on its way now."""
        return any(post.in_hand and delivery.assignment in assignments for delivery, post in self._posts.items())

    @property
    def is_quiet(self) -> bool:
        """Whether no message is on its way now."""
        return not any(post.in_hand for post in self._posts.values())

    def forget(self) -> None:
        """Drop the letters of assignments that are gone, except those under way: the next owner gets these messages again."""
        for delivery in [delivery for delivery, post in self._posts.items() if not post.in_hand and not delivery.assignment.alive]:
            self.drop(delivery)

    def drop(self, delivery: AnyDelivery) -> None:
        """Drop the letter of this message, if there is one: the engine waits for no answer any more. A publication under way may end."""
        post = self._posts.pop(delivery, None)
        if post is not None and post.task is not None:
            self._unwanted.add(post.task)
            post.task.add_done_callback(self._unwanted.discard)

    def _ended(self, delivery: AnyDelivery, post: _Post, task: asyncio.Task[None]) -> None:
        post.task = None
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self._locks is not None:
            self._locks.letter_ended(delivery, confirmed=error is None)
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
        self._sent(delivery)


def _cause(error: BaseException) -> str:
    """Return why a publication failed. Only our own texts are quoted: a target has seen the message, and its text may hold payload."""
    if isinstance(error, HoldgateError):
        return f"{type(error).__name__}: {error}"
    return f"{type(error).__name__} at {whereabouts(error)}"


class _Post:
    """One letter.

    `in_hand` is true while the engine waits for an answer. `task` is the publication that is under way; None means that none is.
    `confirmed` is true when a publication ended well while the engine did not wait for an answer.
    """

    __slots__ = ("confirmed", "in_hand", "letter", "task", "timer")

    def __init__(self, letter: DeadLetter) -> None:
        self.letter = letter
        self.in_hand = False
        self.confirmed = False
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def put_down(self) -> None:
        """Stop the timer: the engine has its answer, or does not want one any more."""
        self.in_hand = False
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


async def _publish(target: DeadLetters, letter: DeadLetter) -> None:
    await target.publish(letter)


def _letter(delivery: AnyDelivery, error: BaseException | None, worker: str) -> DeadLetter:
    history: FailureHistory = delivery.history  # every rejected message has one
    # People read these times beside other systems' logs, so they come from the wall clock. The duration comes from the monotonic one.
    now = time.time()
    return DeadLetter(
        delivery=delivery,
        attempts=delivery.attempt,
        first_failure=now - (history.last_failed_at - history.first_failed_at),
        last_failure=now,
        exception=None if error is None else _kind(error),
        text=_text(error),
        reason=history.reason if error is None or find(error, Reject) is not None else None,
        worker=worker,
    )


def _kind(error: BaseException) -> str:
    """Return the type of an exception. For a group, whose own type says little, the types of its members are added."""
    return named(error, type_name) if is_group(error) else type_name(type(error))


def _text(error: BaseException | None) -> str:
    """Return the text of an exception. Its `__str__` is not ours and may fail."""
    try:
        return "" if error is None else str(error)
    except Exception as failure:  # noqa: BLE001 - whatever it is, the letter goes out
        return f"<its text raised {type(failure).__name__}>"


def tell_way_out(name: str, run: Run, outbox: Outbox) -> None:
    """Log at start what becomes of a rejected message, where the user has not chosen."""
    if outbox.has_target or run.retry.on_exhausted == "skip":
        return
    if not run.rejects:
        log.warning("%s: no dead_letters given, so a rejected message blocks its partition, and everything behind it waits", name)
