"""What is at work outside of a virtual loop, so that time does not jump over its answer.

Two kinds of work are known for sure:

- A job in a thread. It is under way until it has ended *and* its result has reached the loop. The thread ends first, and the result comes
  with a callback a step later. If a job counted as over when its thread ends, a jump in between would let a timeout come before the result.
  While a job waits for virtual time itself (`VirtualEventLoop.wait_in_thread`), it is not at work.
- A connection or pipe, as long as the loop listens to it. Whether an answer is on its way, or the connection is merely kept open, cannot be
  seen; to wait is right in the first case, and in the second the loop stalls with an error that names the connection.

Not outside are a listening socket, which promises nothing, and a connection with both of its ends in this loop: what is written at one end
can be read at the other immediately.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from contextvars import Context
from functools import partial
from typing import Any, NamedTuple

# The threads of a run's handlers and of asyncio's own pool. Their jobs are known, so the threads need not be counted.
_COUNTED = ("holdgate-", "asyncio_")

Keys = Iterable[selectors.SelectorKey]


class _Job(NamedTuple):
    job: Future[Any]
    result: asyncio.Future[Any]
    name: str

    @property
    def is_over(self) -> bool:
        return self.job.done() and self.result.done()


class Outside:
    """Know what is under way outside of one loop. Must be used from the loop's own thread."""

    def __init__(self) -> None:
        self.given_up = False  # if True, time jumps as if nothing were at work: a test that has failed must come to its end
        self.waiting = 0  # jobs that wait for virtual time themselves
        self._jobs: list[_Job] = []
        self._own: frozenset[int] = frozenset()
        self._here: set[str] = set()  # addresses of ends in this loop

    def know(self, keys: Keys) -> None:
        """Note that these descriptors are the loop's own."""
        self._own = frozenset(key.fd for key in keys)

    def began(self, job: Future[Any], result: asyncio.Future[Any], function: object) -> None:
        """Note that `function` was given to a thread. `result` is the future in which the loop gets its result."""
        self._jobs.append(_Job(job, result, _name_of(function)))

    def is_at_work(self, keys: Keys) -> bool:
        """Return whether anything may still come. `keys` are what the loop listens to."""
        if self.given_up:
            return False
        self._jobs = [each for each in self._jobs if not each.is_over]
        return len(self._jobs) > self.waiting or bool(self._connections(keys))

    def give_up(self, seconds: float, keys: Keys) -> str:
        """Stop counting anything after `seconds` without an answer. Returns what was waited for, and what can be done."""
        self.given_up = True
        names = [each.name for each in self._jobs]
        if names:
            return (
                f"virtual time has stood still for {seconds:g} s of real time, because {', '.join(names)} did not return from its thread: "
                "if it waits for something that only virtual time brings, let it wait in a coroutine, or give it a fake"
            )
        return (
            f"virtual time has stood still for {seconds:g} s of real time, because {', '.join(self._connections(keys))} is open and "
            "nothing comes by it, and whether an answer is on its way cannot be seen: close it after each call, or give a fake client"
        )

    def _connections(self, keys: Keys) -> list[str]:
        """Return the names of connections and pipes to the outside."""
        ends = [(key.fd, _ends(key.fd)) for key in keys if key.fd not in self._own]
        self._here.update(end.own for _, end in ends if end is not None)
        return [_named(fd, end) for fd, end in ends if end is None or not (end.listens or end.peer in self._here)]


class _Ends(NamedTuple):
    """The addresses of a network socket; `peer` is empty while it is not connected."""

    own: str
    peer: str
    listens: bool


def _ends(fd: int) -> _Ends | None:
    """Return the addresses of a network socket. None means that `fd` is a pipe, or another kind of socket."""
    try:
        found = socket.socket(fileno=os.dup(fd))
    except OSError:
        return None
    with found:
        if found.family not in {socket.AF_INET, socket.AF_INET6}:
            return None
        try:
            peer = _address(found.getpeername())
        except OSError:
            peer = ""
        return _Ends(_address(found.getsockname()), peer, bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)))


def uncounted_threads() -> int:
    """Return how many threads there are whose work is not known."""
    return sum(not thread.name.startswith(_COUNTED) for thread in threading.enumerate())


def _address(name: tuple[Any, ...]) -> str:
    return f"{name[0]}:{name[1]}"


def _named(fd: int, end: _Ends | None) -> str:
    return f"descriptor {fd}" if end is None else f"a connection to {end.peer or 'an unknown address'}"


def _name_of(function: object) -> str:
    """Return the name of a function, without the call of a context in which `asyncio.to_thread` wraps it."""
    while isinstance(function, partial):
        is_context = isinstance(getattr(function.func, "__self__", None), Context)
        function = function.args[0] if is_context and function.args else function.func
    return str(getattr(function, "__qualname__", type(function).__name__))
