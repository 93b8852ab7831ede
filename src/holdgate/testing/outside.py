"""The world outside a virtual loop: what is at work there, so that time does not jump over its answer.

Two kinds can be known for sure. A job in a thread is under way until it has ended *and* the loop was told; between the two lies the step
in which a jump would come before the answer. A connection or pipe is at work as long as the loop listens to it: nobody can see whether an
answer is on its way or it is merely kept open, and of these two only waiting can be right.

Not outside are a listening socket, which promises nothing, and a connection with both of its ends in this loop: what is written at one end
can be read at the other one at once.
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

# The threads of a run's handlers and of asyncio's own pool: idle or not, their jobs are known.
_COUNTED = ("holdgate-", "asyncio_")

Keys = Iterable[selectors.SelectorKey]


class _Job(NamedTuple):
    job: Future[Any]
    told: asyncio.Future[Any]
    name: str

    @property
    def is_over(self) -> bool:
        return self.job.done() and self.told.done()


class Outside:
    """What is under way outside one loop. Only for the loop's own thread."""

    def __init__(self) -> None:
        self.given_up = False  # from then on time jumps as if there were nobody: a test that has failed must come to its end
        self._jobs: list[_Job] = []
        self._own: frozenset[int] = frozenset()
        self._here: set[str] = set()  # addresses of ends in this loop

    def know(self, keys: Keys) -> None:
        """These descriptors are the loop's own."""
        self._own = frozenset(key.fd for key in keys)

    def began(self, job: Future[Any], told: asyncio.Future[Any], function: object) -> None:
        """`function` was given to a thread; `told` is what the loop learns of its end by."""
        self._jobs.append(_Job(job, told, _name_of(function)))

    def is_at_work(self, keys: Keys) -> bool:
        """Whether anything may still come; `keys` are what the loop listens to."""
        if self.given_up:
            return False
        self._jobs = [each for each in self._jobs if not each.is_over]
        return bool(self._jobs) or bool(self._connections(keys))

    def give_up(self, seconds: float, keys: Keys) -> str:
        """Nothing came for so long: count nothing any more, and say what was waited for and what can be done."""
        self.given_up = True
        names = [each.name for each in self._jobs]
        if names:
            return (
                f"virtual time has stood still for {seconds:g} s of real time, because {', '.join(names)} did not return from its thread: "
                "does it wait for something that only virtual time brings? Let it wait in a coroutine, or give it a fake"
            )
        return (
            f"virtual time has stood still for {seconds:g} s of real time, because {', '.join(self._connections(keys))} is open and "
            "nothing comes by it, and nobody can see whether an answer is on its way. Close it after each call, or give a fake client"
        )

    def _connections(self, keys: Keys) -> list[str]:
        """The names of connections and pipes to somebody outside."""
        ends = [(key.fd, _ends(key.fd)) for key in keys if key.fd not in self._own]
        self._here.update(end.own for _, end in ends if end is not None)
        return [_named(fd, end) for fd, end in ends if end is None or not (end.listens or end.peer in self._here)]


class _Ends(NamedTuple):
    """The addresses of a network socket; `peer` is empty while it is not connected."""

    own: str
    peer: str
    listens: bool


def _ends(fd: int) -> _Ends | None:
    """None: a pipe, or another kind of socket."""
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
    """How many threads there are of which nobody says what they do."""
    return sum(not thread.name.startswith(_COUNTED) for thread in threading.enumerate())


def _address(name: tuple[Any, ...]) -> str:
    return f"{name[0]}:{name[1]}"


def _named(fd: int, end: _Ends | None) -> str:
    return f"descriptor {fd}" if end is None else f"a connection to {end.peer or 'somebody'}"


def _name_of(function: object) -> str:
    """How a person knows a function; `asyncio.to_thread` wraps it in a call of its context."""
    while isinstance(function, partial):
        is_context = isinstance(getattr(function.func, "__self__", None), Context)
        function = function.args[0] if is_context and function.args else function.func
    return str(getattr(function, "__qualname__", type(function).__name__))
