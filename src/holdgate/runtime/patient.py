"""`Guard.patient`: a function that waits while what it needs is down, for workers whose messages another framework brings.

Theory of operation. The caller keeps its thread or task: its function runs there, and it waits there. Everything else is a step on the
guard's loop (patient_calls.py, home.py), and the steps answer into a mailbox of the call's own: a queue for a thread, a future for a task.

A thread wakes several times a second while it waits. Frameworks end a job in a thread by an exception that they put into it (dramatiq's
time limit and shutdown do), and Python raises such an exception only when the thread runs.

Whatever ends the caller gives the call up: a cancellation, such an exception, an exit, or `wait_at_most`. The circuit then learns nothing.

What is ugly. The two wrappers are alike but for `await`. A task that a patient function has begun, and that outlives it, may be refused
when it calls another patient function: the lane that it knows may have another call by then.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import get_ident
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from holdgate.core import validation
from holdgate.errors import CommandError, GuardClosed, SettingsError, WaitedTooLong
from holdgate.runtime.calling import current_attempt, running_delivery
from holdgate.runtime.dependency import check_name
from holdgate.runtime.functions import check_function, is_async, named
from holdgate.runtime.lane import Lane
from holdgate.runtime.needs import check_list
from holdgate.runtime.patient_calls import PatientCall, PatientCalls, Patients, Reply

if TYPE_CHECKING:
    from datetime import timedelta

    from holdgate.runtime.dependency import Dependency

P = ParamSpec("P")
R = TypeVar("R")

# How often a task that waits looks whether the guard's loop is gone: a step that was posted just before that is never answered (seconds).
_LOOK_FOR_HOME_EVERY = 5.0

# How often a thread that waits looks whether something was raised into it. Four times a second cost a thousandth of a core for each ten
# threads, and no framework's shutdown notices the quarter of a second.
_LOOK_EVERY = 0.25


class Patient:
    """Decorates functions: see `Guard.patient`. One may decorate several, which then share name and places."""

    __slots__ = ("_name", "_needs", "_patients", "_wait_at_most")

    def __init__(self, patients: Patients, needs: Sequence[Dependency], wait_at_most: float | timedelta | None, name: str | None) -> None:
        self._patients = patients
        self._needs = check_list(needs, "needs")
        if not self._needs:
            raise SettingsError("needs is empty, so the function would wait for nothing: name what it calls, as in needs=[payments]")
        self._wait_at_most = None if wait_at_most is None else validation.seconds("wait_at_most", wait_at_most)
        self._name = None if name is None else check_name(name)

    def __call__(self, fn: Callable[P, R]) -> Callable[P, R]:
        """Return the patient function, of the same colour."""
        check_function(fn, "patient")
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise SettingsError(
                f"{named(fn)} is a generator: its work happens after the call has returned; make a function of one step of it"
            )
        _refuse_framework_object(fn)
        name = check_name(getattr(fn, "__name__", type(fn).__name__).strip("<>")) if self._name is None else self._name
        calls = self._patients.calls_of(name, self._needs)
        wait = Wait(self._patients, calls, self._wait_at_most)
        if is_async(fn):

            @functools.wraps(fn)
            async def patient(*args: P.args, **kwargs: P.kwargs) -> Any:
                return await _call(wait, cast("Callable[..., Any]", fn), args, kwargs)

            return cast("Callable[P, R]", patient)

        @functools.wraps(fn)
        def patient_sync(*args: P.args, **kwargs: P.kwargs) -> R:
            return _call_sync(wait, fn, args, kwargs)

        return patient_sync


# By these a framework's decorator lets its function be called later: dramatiq's, Celery's, taskiq's.
_SENDERS = ("send", "delay", "kiq")


def _refuse_framework_object(fn: Callable[..., object]) -> None:
    """Raise SettingsError for what a framework has made of a function: its `send` would be gone, and its worker calls what is inside."""
    sender = None if inspect.isroutine(fn) else next((each for each in _SENDERS if callable(getattr(fn, each, None))), None)
    if sender is not None:
        raise SettingsError(
            f"{named(fn)} is a framework's {type(fn).__name__} already, with a {sender}() that a patient function does not have: put"
            " @guard.patient below the framework's decorator, next to the function"
        )


class Wait:
    """What the calls of one patient function have in common on the caller's side."""

    __slots__ = ("_needs", "_patients", "_within", "calls", "name")

    def __init__(self, patients: Patients, calls: PatientCalls, within: float | None) -> None:
        self._patients = patients
        self._within = within
        self.calls = calls
        self.name = calls.name
        self._needs = tuple(need.name for need in calls.needs)

    def begin(self, *, blocks: bool) -> None:
        """Look whether a call may wait here. `blocks`: it is a plain function's. Raises CommandError and GuardClosed."""
        attempt = current_attempt.get()
        if isinstance(attempt, Lane) and running_delivery(attempt) is not None and attempt.worker.engine is self._patients.engine:
            raise CommandError(
                f"{self.name} is patient, and was called where this guard waits already: give its needs to that handler or patient"
                " function, and call the plain one there"
            )
        self._patients.home.find()
        if blocks and self._patients.home.is_here:
            raise CommandError(
                f"{self.name} is a plain function, and would stop the event loop of its guard while it waits: call it in a thread, as in"
                " `await asyncio.to_thread(...)`, or make it async"
            )

    @property
    def is_lost(self) -> bool:
        """Whether nobody will answer any more."""
        return self._patients.home.is_gone

    def post(self, step: Callable[..., object], *args: object) -> bool:
        """Let the guard do a step. Returns False if its loop is closed."""
        return self._patients.home.post(step, *args)

    def left_of(self, began: float, now: float) -> float | None:
        """Return how many seconds the call may still wait, from 0. None means that there is no limit."""
        return None if self._within is None else max(0.0, began + self._within - now)

    def too_long(self, waited: float) -> WaitedTooLong:
        return WaitedTooLong(self.name, self._needs, waited)

    def closed(self, call: PatientCall | None = None) -> Exception:
        """Return why a call cannot wait any more."""
        refusal = None if call is None else call.refusal
        return GuardClosed(f"{self.name} does not wait any more: the guard's event loop is closed") if refusal is None else refusal


# -- in a task -------------------------------------------------------------------------------------------------------------------------


class TaskMailbox:
    """Answers to a task, from any thread."""

    __slots__ = ("_answers", "_loop", "_thread", "_waits")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._answers: deque[Reply] = deque()
        self._waits: asyncio.Future[None] | None = None

    def put(self, answer: Reply) -> None:
        if get_ident() == self._thread:
            self._arrived(answer)
        else:
            with suppress(RuntimeError):  # the caller's loop is closed, and the caller gone with it
                self._loop.call_soon_threadsafe(self._arrived, answer)

    def _arrived(self, answer: Reply) -> None:
        self._answers.append(answer)
        if self._waits is not None and not self._waits.done():
            self._waits.set_result(None)

    async def get(self, wait: Wait, within: float | None) -> Reply | None:
        """Return the next answer. None means that the time is over."""
        until = None if within is None else self._loop.time() + within
        while not self._answers:
            left = _LOOK_FOR_HOME_EVERY if until is None else min(_LOOK_FOR_HOME_EVERY, until - self._loop.time())
            if left <= 0:
                return None
            self._waits = self._loop.create_future()
            await asyncio.wait({self._waits}, timeout=left)
            if wait.is_lost and not self._answers:
                return Reply.CLOSED
        return self._answers.popleft()


async def _call(wait: Wait, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    wait.begin(blocks=False)
    mailbox = TaskMailbox()
    call = PatientCall(copy_context(), mailbox.put)
    now = asyncio.get_running_loop().time
    began = now()
    failed: Exception | None = None
    is_over = False
    try:
        if not wait.post(wait.calls.start, call):
            raise wait.closed()
        while True:
            answer = await mailbox.get(wait, wait.left_of(began, now()))
            if answer is None:
                raise wait.too_long(now() - began) from failed
            if answer is Reply.CLOSED:
                raise wait.closed(call) from failed
            token = current_attempt.set(call.lane)
            try:
                result = await fn(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - the guard says whose failure it is
                failed = error
            else:
                wait.post(wait.calls.ended, call, None)
                is_over = True
                return result
            finally:
                current_attempt.reset(token)
            answer = await mailbox.get(wait, None) if wait.post(wait.calls.ended, call, failed) else Reply.CLOSED
            if answer is Reply.CLOSED:
                raise wait.closed(call) from failed
            if answer is Reply.RAISE:
                is_over = True
                raise failed
    finally:
        if not is_over:
            wait.post(wait.calls.give_up, call)
        failed = None  # it has this frame, and this frame would have it


# -- in a thread -----------------------------------------------------------------------------------------------------------------------


def _next_answer(wait: Wait, answers: SimpleQueue[Reply], within: float | None) -> Reply | None:
    """Return the next answer. None means that the time is over."""
    until = None if within is None else time.monotonic() + within
    while True:
        left = _LOOK_EVERY if until is None else min(_LOOK_EVERY, until - time.monotonic())
        try:
            return answers.get(timeout=max(0.0, left))
        except Empty:
            if left <= 0:
                return None
            if wait.is_lost:
                return Reply.CLOSED


def _call_sync(wait: Wait, fn: Callable[..., R], args: Any, kwargs: Any) -> R:
    wait.begin(blocks=True)
    answers: SimpleQueue[Reply] = SimpleQueue()
    call = PatientCall(copy_context(), answers.put)
    began = time.monotonic()
    failed: Exception | None = None
    is_over = False
    try:
        if not wait.post(wait.calls.start, call):
            raise wait.closed()
        while True:
            answer = _next_answer(wait, answers, wait.left_of(began, time.monotonic()))
            if answer is None:
                raise wait.too_long(time.monotonic() - began) from failed
            if answer is Reply.CLOSED:
                raise wait.closed(call) from failed
            token = current_attempt.set(call.lane)
            try:
                result = fn(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - as above
                failed = error
            else:
                wait.post(wait.calls.ended, call, None)
                is_over = True  # only now: what a framework raises into the thread may come at any step
                return result
            finally:
                current_attempt.reset(token)
            answer = _next_answer(wait, answers, None) if wait.post(wait.calls.ended, call, failed) else Reply.CLOSED
            if answer is Reply.CLOSED:
                raise wait.closed(call) from failed
            if answer is Reply.RAISE:
                is_over = True
                raise failed
    finally:
        if not is_over:
            wait.post(wait.calls.give_up, call)
        failed = None
